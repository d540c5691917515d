// xdsload opens many ADS streams that behave like Envoy sidecars, and measures
// how long a control plane takes to bring all of them up to date.
//
// Every simulated proxy subscribes to CDS and LDS with a wildcard, then to the
// EDS, scoped route and RDS resources which those name, and acknowledges every
// response. With -parse each, every proxy parses what it receives, as sidecars do;
// with -parse once, equal bodies are parsed once for all proxies, so that on a small
// machine the generator's own work hides less of the server's.
//
//	xdsload -addr 127.0.0.1:18000 -n 1000 -http 127.0.0.1:9900
//
//	GET  /ready      waits until every proxy holds its first full configuration
//	POST /expect?endpoint=IP:PORT[&cluster=NAME]  (or ?gone=IP:PORT)
//	                 begins to watch for that endpoint and, with a cluster, for the
//	                 first route that leads to it; one watch at a time
//	GET  /wait?since=UNIX_NS
//	                 waits until every proxy saw what is expected; times count from
//	                 `since`, or from /expect
//	POST /reconnect  breaks every stream; waits until all are open again and nothing
//	                 was received for `quiet` (2s)
//	GET  /stats      bytes, responses and resources received so far, per type
//
// Times are in milliseconds: the 50th and 99th percentile and the maximum.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

var (
	addr     = flag.String("addr", "127.0.0.1:18000", "control plane address")
	count    = flag.Int("n", 100, "simulated proxies")
	nodeID   = flag.String("node", "proxy-%d", "node id, with %d for the proxy's number")
	nodeClus = flag.String("cluster", "web", "node cluster")
	nodeMeta = flag.String("meta", "", "node metadata, a JSON object; %d is replaced")
	mode     = flag.String("mode", "sotw", "sotw or delta")
	httpAddr = flag.String("http", "127.0.0.1:9900", "where to answer measurements")
	caFile   = flag.String("ca", "", "CA bundle: use TLS")
	certFile = flag.String("cert", "", "client certificate; %d is replaced")
	keyFile  = flag.String("key", "", "client key; %d is replaced")
	server   = flag.String("server-name", "", "name that the server's certificate must hold, if not that of addr")
	header   = flag.String("header", "", "gRPC metadata as name=value; %d is replaced")
	parse    = flag.String("parse", "each", "each: every proxy parses what it receives; once: equal bodies are parsed once for all")
	rate     = flag.Int("rate", 0, "streams opened a second; 0: all at once")
	perConn  = flag.Int("per-conn", 1, "streams on one connection")
	patience = flag.Duration("patience", 120*time.Second, "longest wait for any one thing")
)

func main() {
	flag.Parse()
	if *mode != "sotw" && *mode != "delta" {
		log.Fatalf("-mode %q: use sotw or delta", *mode)
	}
	if *parse != "each" && *parse != "once" {
		log.Fatalf("-parse %q: use each or once", *parse)
	}
	// Fewer collections of garbage: the cores belong to the server under test.
	debug.SetGCPercent(400)
	f := newFleet(*count)
	f.start(context.Background())
	answer := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(value); err != nil {
			log.Print(err)
		}
	}
	http.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) { answer(w, f.awaitReady(*patience)) })
	http.HandleFunc("/expect", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		f.expect(newWatch(len(f.proxies), q.Get("endpoint"), q.Get("gone"), q.Get("cluster")))
		answer(w, map[string]any{"watching": true})
	})
	http.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		watch := f.watch.Load()
		if watch == nil {
			http.Error(w, "nothing is expected: POST /expect first", http.StatusConflict)
			return
		}
		since := watch.begun
		if ns, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64); err == nil {
			since = time.Unix(0, ns)
		}
		answer(w, watch.await(since, *patience))
	})
	http.HandleFunc("/reconnect", func(w http.ResponseWriter, r *http.Request) {
		quiet := 2 * time.Second
		if d, err := time.ParseDuration(r.URL.Query().Get("quiet")); err == nil {
			quiet = d
		}
		answer(w, f.reconnect(quiet, *patience))
	})
	http.HandleFunc("/stats", func(w http.ResponseWriter, r *http.Request) { answer(w, f.stats()) })
	log.Fatal(http.ListenAndServe(*httpAddr, nil))
}
