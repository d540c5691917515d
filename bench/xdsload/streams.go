package main

import (
	"context"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
)

// sotw runs one state-of-the-world stream until it ends.
func (p *proxy) sotw(ctx context.Context, cc *grpc.ClientConn, node *core.Node) error {
	s, err := discovery.NewAggregatedDiscoveryServiceClient(cc).StreamAggregatedResources(ctx)
	if err != nil {
		return err
	}
	version, nonce := map[string]string{}, map[string]string{}
	for _, t := range []string{resource.ClusterType, resource.ListenerType} {
		if err := s.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: t}); err != nil {
			return err
		}
		node = nil
	}
	p.isOpen()
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		now, fresh := time.Now(), map[string][]string{}
		p.mu.Lock()
		for _, a := range r.Resources {
			p.take(r.TypeUrl, a.Value, now, fresh)
		}
		p.received(r.TypeUrl, now)
		version[r.TypeUrl], nonce[r.TypeUrl] = r.VersionInfo, r.Nonce
		send := []*discovery.DiscoveryRequest{{TypeUrl: r.TypeUrl}}
		for t := range fresh {
			if t != r.TypeUrl {
				send = append(send, &discovery.DiscoveryRequest{TypeUrl: t})
			}
		}
		for _, q := range send {
			// The wildcard of scoped routes is an empty list in state of the world.
			if a := p.asked[q.TypeUrl]; a != nil && q.TypeUrl != resource.ScopedRouteType {
				q.ResourceNames = a.list[:len(a.list):len(a.list)]
			}
			q.VersionInfo, q.ResponseNonce = version[q.TypeUrl], nonce[q.TypeUrl]
		}
		p.mu.Unlock()
		for _, q := range send {
			if err := s.Send(q); err != nil {
				return err
			}
		}
	}
}

// delta runs one incremental stream until it ends. A stream that follows another begins by saying what is held, as Envoy does.
func (p *proxy) delta(ctx context.Context, cc *grpc.ClientConn, node *core.Node) error {
	s, err := discovery.NewAggregatedDiscoveryServiceClient(cc).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	for _, t := range []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.ScopedRouteType, resource.RouteType} {
		q := p.first(t)
		if q == nil {
			continue
		}
		q.Node, node = node, nil
		if err := s.Send(q); err != nil {
			return err
		}
	}
	p.isOpen()
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		now, fresh := time.Now(), map[string][]string{}
		p.mu.Lock()
		for _, a := range r.Resources {
			p.hold(r.TypeUrl, a.Name, a.Version)
			p.take(r.TypeUrl, a.GetResource().GetValue(), now, fresh)
		}
		for _, n := range r.RemovedResources {
			p.lose(r.TypeUrl, n, now)
		}
		p.received(r.TypeUrl, now)
		p.mu.Unlock()
		if err := s.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce}); err != nil {
			return err
		}
		for t, n := range fresh {
			if err := s.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: t, ResourceNamesSubscribe: n}); err != nil {
				return err
			}
		}
	}
}

// first is the first request for a type on a new delta stream; nil while nothing is known of that type.
func (p *proxy) first(typeURL string) *discovery.DeltaDiscoveryRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &discovery.DeltaDiscoveryRequest{TypeUrl: typeURL}
	if held := p.held[typeURL]; len(held) > 0 {
		q.InitialResourceVersions = make(map[string]string, len(held))
		for n, v := range held {
			q.InitialResourceVersions[n] = v
		}
	}
	switch typeURL {
	case resource.ClusterType, resource.ListenerType: // wildcard: no names
		return q
	case resource.ScopedRouteType:
		if len(q.InitialResourceVersions) == 0 {
			return nil
		}
		p.subscriptions(typeURL).add("*")
		q.ResourceNamesSubscribe = []string{"*"}
		return q
	}
	for n := range q.InitialResourceVersions {
		p.subscriptions(typeURL).add(n)
	}
	if q.ResourceNamesSubscribe = p.subscriptions(typeURL).list; len(q.ResourceNamesSubscribe) == 0 {
		return nil
	}
	return q
}

// isOpen counts a stream whose first requests are sent.
func (p *proxy) isOpen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened++
}
