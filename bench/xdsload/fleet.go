package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/types/known/structpb"
)

// fleet is all simulated proxies, and what they share.
type fleet struct {
	proxies        []*proxy
	parser         *parser
	begun          time.Time
	watch          atomic.Pointer[watch]
	received, sent atomic.Int64 // payload bytes of all streams
	unready        atomic.Int64
	allReady       chan struct{}
}

func newFleet(n int) *fleet {
	f := &fleet{parser: newParser(), allReady: make(chan struct{}), begun: time.Now()}
	f.unready.Store(int64(n))
	for i := range n {
		f.proxies = append(f.proxies, newProxy(f, i))
	}
	return f
}

func (f *fleet) expect(w *watch) { f.watch.Store(w) }

// TagRPC, HandleRPC, TagConn and HandleConn make a fleet a grpc stats.Handler, which counts bytes.
func (f *fleet) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (f *fleet) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch payload := s.(type) {
	case *stats.InPayload:
		f.received.Add(int64(payload.Length))
	case *stats.OutPayload:
		f.sent.Add(int64(payload.Length))
	}
}
func (f *fleet) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (f *fleet) HandleConn(context.Context, stats.ConnStats)                       {}

func (f *fleet) start(ctx context.Context) {
	go func() {
		var cc *grpc.ClientConn
		var err error
		for i, p := range f.proxies {
			if i%*perConn == 0 {
				if cc, err = f.dial(i); err != nil {
					log.Fatal(err)
				}
			}
			go p.run(ctx, cc)
			if *rate > 0 {
				time.Sleep(time.Second / time.Duration(*rate))
			}
		}
	}()
}

func sub(s string, i int) string { return strings.ReplaceAll(s, "%d", fmt.Sprint(i)) }

func (f *fleet) dial(i int) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if *caFile != "" {
		pem, err := os.ReadFile(*caFile)
		if err != nil {
			return nil, err
		}
		config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: *server}
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", *caFile)
		}
		if *certFile != "" {
			pair, err := tls.LoadX509KeyPair(sub(*certFile, i), sub(*keyFile, i))
			if err != nil {
				return nil, err
			}
			config.Certificates = []tls.Certificate{pair}
		}
		creds = credentials.NewTLS(config)
	}
	return grpc.NewClient(*addr, grpc.WithTransportCredentials(creds), grpc.WithStatsHandler(f),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
}

// run keeps one proxy's stream open: when it ends, another is opened after a growing pause.
func (p *proxy) run(ctx context.Context, cc *grpc.ClientConn) {
	node := &core.Node{Id: sub(*nodeID, p.number), Cluster: *nodeClus, UserAgentName: "envoy"}
	if *nodeMeta != "" {
		node.Metadata = &structpb.Struct{}
		if err := node.Metadata.UnmarshalJSON([]byte(sub(*nodeMeta, p.number))); err != nil {
			log.Fatal(err)
		}
	}
	if k, v, ok := strings.Cut(*header, "="); ok {
		ctx = metadata.AppendToOutgoingContext(ctx, k, sub(v, p.number))
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		stream, cancel := context.WithCancel(ctx)
		p.begin(cancel)
		var err error
		if *mode == "delta" {
			err = p.delta(stream, cc, node)
		} else {
			err = p.sotw(stream, cc, node)
		}
		cancel()
		p.end(err)
		time.Sleep(wait)
	}
}

// readied counts a proxy that became ready.
func (f *fleet) readied() {
	if f.unready.Add(-1) == 0 {
		close(f.allReady)
	}
}

func (f *fleet) awaitReady(patience time.Duration) map[string]any {
	select {
	case <-f.allReady:
	case <-time.After(patience):
	}
	times := make([]time.Time, len(f.proxies))
	for i, p := range f.proxies {
		p.mu.Lock()
		times[i] = p.ready
		p.mu.Unlock()
	}
	return percentiles(f.begun, times)
}

// streams returns how many streams were opened and how many ended so far.
func (f *fleet) streams() (opened, broken int) {
	for _, p := range f.proxies {
		p.mu.Lock()
		opened, broken = opened+p.opened, broken+p.broken
		p.mu.Unlock()
	}
	return
}

// reconnect breaks every stream, waits until all are open again and quiet, and tells what that moved.
func (f *fleet) reconnect(quiet, patience time.Duration) map[string]any {
	received, sent, begun := f.received.Load(), f.sent.Load(), time.Now()
	opened, _ := f.streams()
	for _, p := range f.proxies {
		p.mu.Lock()
		if p.cancel != nil {
			p.cancel()
		}
		p.mu.Unlock()
	}
	out := map[string]any{}
	last, since := f.received.Load(), time.Now()
	for time.Since(begun) < patience {
		time.Sleep(20 * time.Millisecond)
		if now, _ := f.streams(); now-opened < len(f.proxies) {
			since = time.Now()
			continue
		}
		if out["open_ms"] == nil {
			out["open_ms"] = float64(time.Since(begun).Microseconds()) / 1000
		}
		if now := f.received.Load(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) >= quiet {
			break
		}
	}
	now, _ := f.streams()
	out["reopened"], out["received_bytes"], out["sent_bytes"] = now-opened, f.received.Load()-received, f.sent.Load()-sent
	return out
}

func (f *fleet) stats() map[string]any {
	responses, resources, failures := map[string]int64{}, map[string]int64{}, map[string]int{}
	for _, p := range f.proxies {
		p.mu.Lock()
		for t, n := range p.responses {
			responses[t] += n
		}
		for t, n := range p.resources {
			resources[t] += n
		}
		if p.failure != nil {
			failures[p.failure.Error()]++
		}
		p.mu.Unlock()
	}
	opened, broken := f.streams()
	return map[string]any{"received_bytes": f.received.Load(), "sent_bytes": f.sent.Load(), "opened_streams": opened,
		"broken_streams": broken, "responses": responses, "resources": resources, "errors": failures}
}
