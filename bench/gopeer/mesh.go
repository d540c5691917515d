package main

import (
	"fmt"
	"log"
	"math"
	"net"
	"strconv"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	previous "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	raw "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstreams "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// mesh is the synthetic mesh as Envoy resources.
type mesh struct {
	scoped      bool
	meshed      bool
	endpoints   int
	clusters    []types.Resource
	assignments []types.Resource
	listeners   []types.Resource
	scopes      []types.Resource     // scoped: one for each host name
	own         []types.Resource     // scoped: a route configuration for each service
	hosts       []*route.VirtualHost // plain: all of them, in one route configuration
}

func newMesh(scoped, meshed bool, endpoints int) mesh {
	m := mesh{scoped: scoped, meshed: meshed, endpoints: endpoints}
	manager := &hcm.HttpConnectionManager{StatPrefix: "out", HttpFilters: []*hcm.HttpFilter{{
		Name: "envoy.filters.http.router", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: pack(&router.Router{})}}}}
	if scoped {
		manager.RouteSpecifier = &hcm.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcm.ScopedRoutes{
			Name: "outbound", RdsConfigSource: ads(),
			ScopeKeyBuilder: &hcm.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
				Type: &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
					HeaderValueExtractor: &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
						Name: ":authority", ElementSeparator: ":",
						ExtractType: &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{Index: 0}}}}}},
			ConfigSpecifier: &hcm.ScopedRoutes_ScopedRds{ScopedRds: &hcm.ScopedRds{ScopedRdsConfigSource: ads()}}}}
	} else {
		manager.RouteSpecifier = &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{ConfigSource: ads(), RouteConfigName: "out"}}
	}
	m.listeners = []types.Resource{&listener.Listener{Name: "out", Address: address("127.0.0.1", 15001), FilterChains: []*listener.FilterChain{{
		Filters: []*listener.Filter{{Name: "hcm", ConfigType: &listener.Filter_TypedConfig{TypedConfig: pack(manager)}}}}}}}
	return m
}

func (m *mesh) routes() []types.Resource {
	if m.scoped {
		return m.own
	}
	return []types.Resource{&route.RouteConfiguration{Name: "out", VirtualHosts: m.hosts}}
}

// add makes one more service, with first as its first endpoint if that is not empty.
func (m *mesh) add(first string) {
	i := len(m.clusters)
	service := fmt.Sprintf("svc-%d", i)
	m.assignments = append(m.assignments, m.assignment(i, first))
	c := &cluster.Cluster{Name: m.clusterName(i), ConnectTimeout: durationpb.New(time.Second),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig:     &cluster.Cluster_EdsClusterConfig{EdsConfig: ads()}}
	m.clusters = append(m.clusters, c)
	if !m.scoped {
		m.hosts = append(m.hosts, virtualHost(c.Name, service, service, service+".mesh"))
		return
	}
	dress(c, service)
	names := []string{service + ".default.mesh", service + ".default", service + ".mesh", service}
	var domains []string
	for _, name := range names {
		domains = append(domains, name, name+":80")
		m.scopes = append(m.scopes, &route.ScopedRouteConfiguration{Name: name, RouteConfigurationName: "default/" + service,
			Key: &route.ScopedRouteConfiguration_Key{Fragments: []*route.ScopedRouteConfiguration_Key_Fragment{{
				Type: &route.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name}}}}})
	}
	host := virtualHost(c.Name, c.Name, domains...)
	retry(host.Routes[0].GetRoute())
	m.own = append(m.own, &route.RouteConfiguration{Name: "default/" + service, ValidateClusters: wrapperspb.Bool(false),
		VirtualHosts: []*route.VirtualHost{host}})
}

// replace puts another endpoint in the place of the first one of service i.
func (m *mesh) replace(i int, first string) {
	// The slice is that of a published snapshot: leave it as it is.
	m.assignments = append([]types.Resource{}, m.assignments...)
	m.assignments[i] = m.assignment(i, first)
}

func (m *mesh) clusterName(i int) string {
	if m.scoped {
		return fmt.Sprintf("default/svc-%d:80", i)
	}
	return fmt.Sprintf("svc-%d", i)
}

func (m *mesh) assignment(i int, first string) *endpoint.ClusterLoadAssignment {
	l := &endpoint.LocalityLbEndpoints{Locality: &core.Locality{Zone: "a"}}
	for j := range m.endpoints {
		ip, port := fmt.Sprintf("10.%d.%d.%d", i/250, i%250, j+1), 8080
		if j == 0 && first != "" {
			h, p, err := net.SplitHostPort(first)
			if err != nil {
				log.Fatal(err)
			}
			ip = h
			port, _ = strconv.Atoi(p)
		}
		one := &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{
			Endpoint: &endpoint.Endpoint{Address: address(ip, uint32(port))}}}
		if m.scoped {
			one.HealthStatus, one.LoadBalancingWeight = core.HealthStatus_HEALTHY, wrapperspb.UInt32(1)
		}
		if m.meshed {
			one.Metadata = &core.Metadata{FilterMetadata: map[string]*structpb.Struct{
				"envoy.transport_socket_match": {Fields: map[string]*structpb.Value{"mtls": structpb.NewBoolValue(true)}}}}
		}
		l.LbEndpoints = append(l.LbEndpoints, one)
	}
	return &endpoint.ClusterLoadAssignment{ClusterName: m.clusterName(i), Endpoints: []*endpoint.LocalityLbEndpoints{l}}
}

func virtualHost(clusterName, name string, domains ...string) *route.VirtualHost {
	return &route.VirtualHost{Name: name, Domains: domains, Routes: []*route.Route{{
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier: &route.RouteAction_Cluster{Cluster: clusterName}}}}}}
}

// dress gives a cluster what Meshwright's has besides its endpoints.
func dress(c *cluster.Cluster, service string) {
	c.LbPolicy = cluster.Cluster_LEAST_REQUEST
	c.TransportSocketMatches = socketMatches(service)
	unlimited := wrapperspb.UInt32(math.MaxUint32)
	c.CircuitBreakers = &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{
		MaxConnections: unlimited, MaxPendingRequests: unlimited, MaxRequests: unlimited, MaxRetries: unlimited}}}
	c.UpstreamConnectionOptions = &cluster.UpstreamConnectionOptions{TcpKeepalive: &core.TcpKeepalive{
		KeepaliveTime: wrapperspb.UInt32(60), KeepaliveInterval: wrapperspb.UInt32(10), KeepaliveProbes: wrapperspb.UInt32(3)}}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(&upstreams.HttpProtocolOptions{
		CommonHttpProtocolOptions: &core.HttpProtocolOptions{MaxConnectionDuration: durationpb.New(time.Hour)},
		UpstreamProtocolOptions: &upstreams.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreams.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreams.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &core.Http1ProtocolOptions{}}}}})}
}

// retry gives a route what Meshwright's has: no time limit of its own, and safe retries on another host.
func retry(action *route.RouteAction) {
	action.Timeout = durationpb.New(0)
	action.MaxStreamDuration = &route.RouteAction_MaxStreamDuration{GrpcTimeoutHeaderMax: durationpb.New(0)}
	action.RetryPolicy = &route.RetryPolicy{RetryOn: "connect-failure,refused-stream,reset-before-request", NumRetries: wrapperspb.UInt32(2),
		HostSelectionRetryMaxAttempts: 5, RetryHostPredicate: []*route.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &route.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pack(&previous.PreviousHostsPredicate{})}}}}
}

// socketMatches is the choice between mTLS and plaintext for each endpoint, with the size that Meshwright's has.
func socketMatches(service string) []*cluster.Cluster_TransportSocketMatch {
	secret := func(name string) *tlsv3.SdsSecretConfig { return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads()} }
	mesh := &tlsv3.UpstreamTlsContext{Sni: "80." + service + ".default.mesh.local", CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{secret("identity")},
		AlpnProtocols:                  []string{"http/1.1"},
		TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			ValidationContextSdsSecretConfig: secret("roots"),
			DefaultValidationContext: &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
				SanType: tlsv3.SubjectAltNameMatcher_URI, Matcher: &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{
					Exact: "spiffe://mesh.local/ns/default/sa/" + service}}}}}}}}}
	socket := func(name string, config proto.Message) *core.TransportSocket {
		return &core.TransportSocket{Name: name, ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: pack(config)}}
	}
	return []*cluster.Cluster_TransportSocketMatch{
		{Name: "mtls", Match: &structpb.Struct{Fields: map[string]*structpb.Value{"mtls": structpb.NewBoolValue(true)}},
			TransportSocket: socket("envoy.transport_sockets.tls", mesh)},
		{Name: "plaintext", Match: &structpb.Struct{}, TransportSocket: socket("envoy.transport_sockets.raw_buffer", &raw.RawBuffer{})},
	}
}

func ads() *core.ConfigSource {
	return &core.ConfigSource{ResourceApiVersion: core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}
}

func address(ip string, port uint32) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: ip, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port}}}}
}

func pack(m proto.Message) *anypb.Any {
	packed, err := anypb.New(m)
	if err != nil {
		log.Fatal(err)
	}
	return packed
}
