package main

import (
	"sort"
	"sync"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// watch records when each proxy first sees (or loses) one endpoint and, if a cluster is named, when it has both the
// endpoint and a route to that cluster.
type watch struct {
	mu             sync.Mutex
	begun          time.Time
	endpoint, gone string
	cluster        string
	seen, routed   []time.Time
	left           int
	done           chan struct{}
}

func newWatch(proxies int, endpoint, gone, cluster string) *watch {
	w := &watch{begun: time.Now(), endpoint: endpoint, gone: gone, cluster: cluster,
		seen: make([]time.Time, proxies), routed: make([]time.Time, proxies), left: proxies, done: make(chan struct{})}
	if cluster != "" {
		w.left *= 2
	}
	return w
}

// see is told of each change of an assignment or a route configuration; after is nil when it was removed.
func (w *watch) see(number int, typeURL string, before, after *parsed, now time.Time) {
	var slot *time.Time
	switch {
	case typeURL == resource.EndpointType && w.endpoint != "" && after != nil && after.holds[w.endpoint]:
		slot = &w.seen[number]
	case typeURL == resource.EndpointType && w.gone != "" && before != nil && before.holds[w.gone] && (after == nil || !after.holds[w.gone]):
		slot = &w.seen[number]
	case typeURL == resource.RouteType && w.cluster != "" && after != nil && after.holds[w.cluster]:
		slot = &w.routed[number]
	default:
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slot.IsZero() {
		return
	}
	*slot = now
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

func (w *watch) await(since time.Time, patience time.Duration) map[string]any {
	select {
	case <-w.done:
	case <-time.After(patience):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := percentiles(since, w.seen)
	if w.cluster != "" {
		both := make([]time.Time, len(w.seen))
		for i := range both {
			if w.seen[i].IsZero() || w.routed[i].IsZero() {
				continue
			}
			both[i] = w.seen[i]
			if w.routed[i].After(both[i]) {
				both[i] = w.routed[i]
			}
		}
		out["routed"] = percentiles(since, both)
	}
	return out
}

// percentiles of the times that were reached, in milliseconds since `since`.
func percentiles(since time.Time, times []time.Time) map[string]any {
	ms := []float64{}
	for _, t := range times {
		if !t.IsZero() {
			ms = append(ms, float64(t.Sub(since).Microseconds())/1000)
		}
	}
	sort.Float64s(ms)
	out := map[string]any{"proxies": len(times), "reached": len(ms)}
	if n := len(ms); n > 0 {
		out["p50_ms"], out["p99_ms"], out["max_ms"] = ms[n/2], ms[n*99/100], ms[n-1]
	}
	return out
}
