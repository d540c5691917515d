// gopeer serves a synthetic mesh through go-control-plane's snapshot cache, the library that most control planes are built
// on, as the reference that Meshwright's speed is compared with.
//
// It holds -services services of -endpoints endpoints, the same for every proxy, in one of two shapes:
//
//	plain   the leanest: bare clusters, one listener, one route configuration with a virtual host for each service
//	scoped  what Meshwright serves: clusters that choose between mTLS and plaintext for each endpoint, a listener with
//	        scoped routes, a scope for each host name and a route configuration for each service
//
//	POST /change?endpoint=IP:PORT  replaces the first endpoint of service 0
//	POST /add?endpoint=IP:PORT     adds a service with that endpoint first
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

var (
	listen    = flag.String("addr", "127.0.0.1:18010", "xDS address")
	control   = flag.String("http", "127.0.0.1:18011", "control address")
	services  = flag.Int("services", 1000, "services")
	endpoints = flag.Int("endpoints", 10, "endpoints of each service")
	shape     = flag.String("shape", "plain", "plain or scoped")
	meshed    = flag.Bool("meshed", false, "endpoints carry the metadata by which clusters choose mTLS")
	certFile  = flag.String("cert", "", "server certificate: use TLS")
	keyFile   = flag.String("key", "", "its key")
	clientCA  = flag.String("client-ca", "", "require client certificates of this CA")
)

// everyone gives all proxies the one snapshot.
type everyone struct{}

func (everyone) ID(*core.Node) string { return "all" }

// publisher turns the mesh into snapshots. A type keeps its version while nothing of it changed.
type publisher struct {
	mu                sync.Mutex
	cache             cache.SnapshotCache
	mesh              mesh
	version, topology int
}

func (p *publisher) publish() error {
	p.version++
	of, topology := fmt.Sprint(p.version), fmt.Sprint(p.topology)
	s := &cache.Snapshot{}
	s.Resources[types.Cluster] = cache.NewResources(topology, p.mesh.clusters)
	s.Resources[types.Listener] = cache.NewResources("1", p.mesh.listeners)
	s.Resources[types.ScopedRoute] = cache.NewResources(topology, p.mesh.scopes)
	s.Resources[types.Route] = cache.NewResources(topology, p.mesh.routes())
	s.Resources[types.Endpoint] = cache.NewResources(of, p.mesh.assignments)
	return p.cache.SetSnapshot(context.Background(), "all", s)
}

// change makes an HTTP handler of a change of the mesh that takes an endpoint.
func (p *publisher) change(apply func(endpoint string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		apply(r.URL.Query().Get("endpoint"))
		if err := p.publish(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, `{"published": true}`)
	}
}

func serverCredentials() (grpc.ServerOption, error) {
	if *certFile == "" {
		return grpc.EmptyServerOption{}, nil
	}
	pair, err := tls.LoadX509KeyPair(*certFile, *keyFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if *clientCA != "" {
		pem, err := os.ReadFile(*clientCA)
		if err != nil {
			return nil, err
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", *clientCA)
		}
	}
	return grpc.Creds(credentials.NewTLS(config)), nil
}

func main() {
	flag.Parse()
	if *shape != "plain" && *shape != "scoped" {
		log.Fatalf("-shape %q: use plain or scoped", *shape)
	}
	p := &publisher{cache: cache.NewSnapshotCache(true, everyone{}, nil), mesh: newMesh(*shape == "scoped", *meshed, *endpoints), topology: 1}
	for range *services {
		p.mesh.add("")
	}
	if err := p.publish(); err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/change", p.change(func(endpoint string) { p.mesh.replace(0, endpoint) }))
	http.HandleFunc("/add", p.change(func(endpoint string) {
		p.mesh.add(endpoint)
		p.topology++
	}))
	go func() { log.Fatal(http.ListenAndServe(*control, nil)) }()
	creds, err := serverCredentials()
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxConcurrentStreams(100000), creds)
	discovery.RegisterAggregatedDiscoveryServiceServer(s, server.NewServer(context.Background(), p.cache, nil))
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(s.Serve(l))
}
