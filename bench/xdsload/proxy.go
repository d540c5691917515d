package main

import (
	"context"
	"sync"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// names are resource names in the order in which they were first seen.
type names struct {
	index map[string]bool
	list  []string
}

func (n *names) add(name string) bool {
	if n.index[name] {
		return false
	}
	if n.index == nil {
		n.index = map[string]bool{}
	}
	n.index[name] = true
	n.list = append(n.list, name)
	return true
}

// proxy is one simulated sidecar. Its stream's goroutine writes; everything is read under mu.
type proxy struct {
	mu      sync.Mutex
	number  int
	fleet   *fleet
	types   map[string]bool               // type URLs with a response so far
	bodies  map[string]map[string]*parsed // type URL -> name -> what is held of route configurations and assignments
	held    map[string]map[string]string  // type URL -> name -> version, kept over reconnects (delta)
	asked   map[string]*names             // subscriptions of the present stream
	missing int                           // named assignments, routes and scopes that were never received
	ready   time.Time                     // when it first held everything it had asked for
	opened  int                           // streams opened so far
	broken  int                           // streams ended so far
	failure error                         // how the last one ended
	cancel  context.CancelFunc

	responses, resources map[string]int64
}

func newProxy(f *fleet, number int) *proxy {
	return &proxy{number: number, fleet: f, types: map[string]bool{}, bodies: map[string]map[string]*parsed{},
		held: map[string]map[string]string{}, asked: map[string]*names{},
		responses: map[string]int64{}, resources: map[string]int64{}}
}

// begin forgets the subscriptions of a stream that ended.
func (p *proxy) begin(cancel context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.cancel = map[string]*names{}, cancel
}

func (p *proxy) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure, p.broken = err, p.broken+1
}

// subscriptions returns the set of names asked for, to be added to.
func (p *proxy) subscriptions(typeURL string) *names {
	if p.asked[typeURL] == nil {
		p.asked[typeURL] = &names{}
	}
	return p.asked[typeURL]
}

// needed says whether a proxy is not ready before it has a resource of that type which something names.
func needed(typeURL string) bool {
	return typeURL == resource.EndpointType || typeURL == resource.RouteType
}

// take records one resource and adds the names it refers to, which were not yet asked for, to fresh.
func (p *proxy) take(typeURL string, body []byte, now time.Time, fresh map[string][]string) *parsed {
	one := p.fleet.parser.parse(typeURL, body)
	p.resources[typeURL]++
	if needed(typeURL) {
		before := p.bodies[typeURL][one.name]
		if before == nil {
			if p.bodies[typeURL] == nil {
				p.bodies[typeURL] = map[string]*parsed{}
			}
			if p.subscriptions(typeURL).index[one.name] {
				p.missing--
			}
		}
		p.bodies[typeURL][one.name] = one
		if watch := p.fleet.watch.Load(); watch != nil {
			watch.see(p.number, typeURL, before, one, now)
		}
	}
	for _, wanted := range one.next {
		if !p.subscriptions(wanted.typeURL).add(wanted.name) {
			continue
		}
		fresh[wanted.typeURL] = append(fresh[wanted.typeURL], wanted.name)
		if needed(wanted.typeURL) && p.bodies[wanted.typeURL][wanted.name] == nil {
			p.missing++
		}
	}
	return one
}

// lose forgets a resource that the server removed.
func (p *proxy) lose(typeURL, name string, now time.Time) {
	delete(p.held[typeURL], name)
	if before := p.bodies[typeURL][name]; before != nil {
		delete(p.bodies[typeURL], name)
		if watch := p.fleet.watch.Load(); watch != nil {
			watch.see(p.number, typeURL, before, nil, now)
		}
	}
}

// received closes one response: the proxy is ready once it has clusters, listeners, scopes if asked for, and all they name.
func (p *proxy) received(typeURL string, now time.Time) {
	p.types[typeURL] = true
	p.responses[typeURL]++
	if !p.ready.IsZero() || p.missing > 0 || !p.types[resource.ClusterType] || !p.types[resource.ListenerType] {
		return
	}
	if p.asked[resource.ScopedRouteType] != nil && !p.types[resource.ScopedRouteType] {
		return
	}
	p.ready = now
	p.fleet.readied()
}

// hold remembers the version of a resource.
func (p *proxy) hold(typeURL, name, version string) {
	if p.held[typeURL] == nil {
		p.held[typeURL] = map[string]string{}
	}
	p.held[typeURL][p.fleet.parser.intern(name)] = p.fleet.parser.intern(version)
}
