package main

import (
	"fmt"
	"sync"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

// parsed is what a simulated proxy needs to know of one resource's body. With -parse once it is shared by all proxies that receive that body.
type parsed struct {
	name    string
	next    []reference     // what it refers to, to be subscribed to
	holds   map[string]bool // of a ClusterLoadAssignment: its addresses; of a RouteConfiguration: the clusters it leads to
	failure error
}

type reference struct{ typeURL, name string }

// parser remembers each distinct body, with -parse once.
type parser struct {
	mu    sync.RWMutex
	known map[string]map[string]*parsed // type URL -> body -> what it says
	names map[string]string             // one string for each name and version
}

func newParser() *parser {
	return &parser{known: map[string]map[string]*parsed{}, names: map[string]string{}}
}

// intern returns one shared string equal to s.
func (p *parser) intern(s string) string {
	p.mu.RLock()
	shared, ok := p.names[s]
	p.mu.RUnlock()
	if ok {
		return shared
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names[s] = s
	return s
}

func (p *parser) parse(typeURL string, body []byte) *parsed {
	if *parse == "each" {
		return read(typeURL, body)
	}
	p.mu.RLock()
	found := p.known[typeURL][string(body)]
	p.mu.RUnlock()
	if found != nil {
		return found
	}
	fresh := read(typeURL, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[typeURL] == nil {
		p.known[typeURL] = map[string]*parsed{}
	}
	if found = p.known[typeURL][string(body)]; found == nil {
		found = fresh
		p.known[typeURL][string(body)] = fresh
	}
	return found
}

func read(typeURL string, body []byte) *parsed {
	out := &parsed{}
	switch typeURL {
	case resource.ClusterType:
		c := &cluster.Cluster{}
		if out.failure = proto.Unmarshal(body, c); out.failure != nil {
			return out
		}
		out.name = c.Name
		if c.GetType() == cluster.Cluster_EDS {
			name := c.GetEdsClusterConfig().GetServiceName()
			if name == "" {
				name = c.Name
			}
			out.next = append(out.next, reference{resource.EndpointType, name})
		}
	case resource.ListenerType:
		l := &listener.Listener{}
		if out.failure = proto.Unmarshal(body, l); out.failure != nil {
			return out
		}
		out.name = l.Name
		chains := l.FilterChains
		if l.DefaultFilterChain != nil {
			chains = append(chains, l.DefaultFilterChain)
		}
		for _, chain := range chains {
			for _, filter := range chain.Filters {
				h := &hcm.HttpConnectionManager{}
				if filter.GetTypedConfig() == nil || !filter.GetTypedConfig().MessageIs(h) || filter.GetTypedConfig().UnmarshalTo(h) != nil {
					continue
				}
				if h.GetRds() != nil {
					out.next = append(out.next, reference{resource.RouteType, h.GetRds().RouteConfigName})
				}
				if h.GetScopedRoutes().GetScopedRds() != nil {
					out.next = append(out.next, reference{resource.ScopedRouteType, "*"})
				}
			}
		}
	case resource.ScopedRouteType:
		r := &route.ScopedRouteConfiguration{}
		if out.failure = proto.Unmarshal(body, r); out.failure != nil {
			return out
		}
		out.name = r.Name
		if r.RouteConfigurationName != "" {
			out.next = append(out.next, reference{resource.RouteType, r.RouteConfigurationName})
		}
	case resource.RouteType:
		r := &route.RouteConfiguration{}
		if out.failure = proto.Unmarshal(body, r); out.failure != nil {
			return out
		}
		out.name, out.holds = r.Name, map[string]bool{}
		for _, host := range r.VirtualHosts {
			for _, one := range host.Routes {
				if name := one.GetRoute().GetCluster(); name != "" {
					out.holds[name] = true
				}
				for _, weighted := range one.GetRoute().GetWeightedClusters().GetClusters() {
					out.holds[weighted.GetName()] = true
				}
			}
		}
	case resource.EndpointType:
		e := &endpoint.ClusterLoadAssignment{}
		if out.failure = proto.Unmarshal(body, e); out.failure != nil {
			return out
		}
		out.name, out.holds = e.ClusterName, map[string]bool{}
		for _, locality := range e.Endpoints {
			for _, one := range locality.LbEndpoints {
				a := one.GetEndpoint().GetAddress().GetSocketAddress()
				out.holds[fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue())] = true
			}
		}
	}
	return out
}
