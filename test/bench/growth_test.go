package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/httpapi/client/load"
	"github.com/kgs-cluster/kgs/test/proc"
)

// TestGrowth is make bench-growth.
func TestGrowth(t *testing.T) {
	setting(t, "KGS_BENCH_GROWTH")
	o := options{seconds: 3, links: 1_000_000, rounds: 1}
	o.read(t)
	result := newResult(o)
	ctx := interruptible(t)
	for _, part := range []struct {
		name string
		run  func(*growth)
	}{
		{"links", (*growth).overLinks},
		{"nodes", (*growth).overNodes},
		{"clients", (*growth).overClients},
		{"fill", (*growth).overFill},
		{"aliases", (*growth).overAliases},
	} {
		if o.only.MatchString(part.name) {
			t.Run(part.name, func(t *testing.T) {
				part.run(&growth{bench: newBench(t, ctx, seconds(o.seconds), o.links), result: result})
			})
			result.save(t, "growth") // what there is so far
		}
	}
	if len(result.Curves) == 0 {
		t.Fatalf("ONLY=%s: no such curve", o.only)
	}
	result.print(os.Stdout)
	result.printCurves(os.Stdout)
}

// growth is one part under way.
type growth struct {
	*bench
	result *Result
}

// sizes are the powers of ten from least up to the largest.
func (g *growth) sizes(least int) []int {
	var sizes []int
	for n := least; n <= g.links; n *= 10 {
		sizes = append(sizes, n)
	}
	return sizes
}

func (g *growth) keep(curves ...*Curve) {
	for _, c := range curves {
		g.result.Curves = append(g.result.Curves, *c)
	}
}

// must is for what ends a part.
func (g *growth) must(err error) {
	g.t.Helper()
	if g.ctx.Err() != nil {
		g.t.Fatal("broken off")
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

// at measures one operation.
func (g *growth) at(target load.Target, clients int, op func() load.Operation) sample {
	g.t.Helper()
	s, err := g.load(clients, target.Connect(op))
	g.must(err)
	return s
}

// overNodes: a commit waits for a majority, so more nodes cost, but not much.
func (g *growth) overNodes() {
	rates := &Curve{ID: "nodes", What: "Nodes", X: "nodes", Note: "64 clients at the leader; all nodes share the machine's cores."}
	times := &Curve{ID: "nodes-time", What: "Nodes: time of a link's creation", X: "nodes"}
	for _, n := range []int{1, 3, 5} {
		g.t.Run(strconv.Itoa(n), func(t *testing.T) {
			c := proc.Start(t, n)
			target := load.Target{Addrs: []string{c.Leader().URL}}
			rates.Steps, times.Steps = append(rates.Steps, strconv.Itoa(n)), append(times.Steps, strconv.Itoa(n))
			rates.add("keys, one a request, requests/s", g.at(target, 64, load.TakeKeys(1, false))[rate])
			create := g.at(target, 64, load.CreateLinks(g.urls))
			rates.add("links created/s", create[rate])
			times.add("64 clients, p50, ms", create[p50])
			times.add("64 clients, p99, ms", create[p99])
			times.add("one client, p50, ms", g.at(target, 1, load.CreateLinks(g.urls))[p50])
		})
	}
	g.keep(rates, times)
}

// overClients: more clients share commits.
func (g *growth) overClients() {
	rates := &Curve{ID: "clients", What: "Clients", X: "clients", Note: "Each with a connection of its own, at the leader."}
	times := &Curve{ID: "clients-time", What: "Clients: time of a request", X: "clients", LogY: true}
	for _, n := range []int{1, 4, 16, 64, 256, 1024} {
		rates.Steps, times.Steps = append(rates.Steps, strconv.Itoa(n)), append(times.Steps, strconv.Itoa(n))
		keys := g.at(g.leader(), n, load.TakeKeys(1, false))
		rates.add("keys, one a request, requests/s", keys[rate])
		create := g.at(g.leader(), n, load.CreateLinks(g.urls))
		rates.add("links created/s", create[rate])
		times.add("keys, p50, ms", keys[p50])
		times.add("keys, p99, ms", keys[p99])
		times.add("links created, p50, ms", create[p50])
		times.add("links created, p99, ms", create[p99])
	}
	g.keep(rates, times)
}

// overAliases: each alias in the shape of a key splits a run of positions, so
// the key tables grow.
func (g *growth) overAliases() {
	rates := &Curve{ID: "aliases", What: "Aliases", X: "aliases", Note: "Random ones in the shape of generated keys, each a row of used_keys."}
	have := 0
	for _, n := range append([]int{0}, g.sizes(1000)...) {
		if n > 1_000_000 {
			break
		}
		start := time.Now()
		g.claim(n - have)
		if n > 0 {
			g.t.Logf("%d aliases claimed at %.0f/s", n-have, float64(n-have)/time.Since(start).Seconds())
		}
		have = n
		rates.Steps = append(rates.Steps, figure(float64(n)))
		rates.add("keys, one a request, requests/s", g.at(g.leader(), 64, load.TakeKeys(1, false))[rate])
		rates.add("keys in batches of 10,000, thousand keys/s", g.at(g.leader(), 4, load.TakeKeys(10_000, true))[items]/1000)
		rates.add("links created/s", g.at(g.leader(), 64, load.CreateLinks(g.urls))[rate])
	}
	g.keep(rates)
}

// claim makes count links with random aliases.
func (g *growth) claim(count int) {
	api, err := client.New(client.Config{Addrs: g.leader().Addrs, Timeout: time.Minute})
	g.must(err)
	defer api.Close()
	const batch = 1000
	batches := make(chan int)
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for size := range batches {
				links := make([]client.NewLink, size)
				for i := range links {
					links[i] = client.NewLink{URL: g.urls.Next(), Alias: randomKey()}
				}
				results, err := api.CreateLinks(g.ctx, links)
				if err != nil {
					g.t.Error(err)
				}
				for _, r := range results {
					if r.Err != nil && r.Err.Code != "alias_taken" { // drawn twice: one fewer does not matter
						g.t.Error(r.Err)
						break
					}
				}
			}
		})
	}
	for left := count; left > 0 && g.ctx.Err() == nil; left -= batch {
		batches <- min(left, batch)
	}
	close(batches)
	senders.Wait()
	g.must(context.Cause(g.ctx))
}

// printCurves prints the values, for people.
func (r *Result) printCurves(w *os.File) {
	for _, c := range r.Curves {
		fmt.Fprintf(w, "\n%s\n", c.What)
		width := 0
		for _, s := range c.Series {
			width = max(width, len(s.Name))
		}
		line := func(name string, cells []string) {
			fmt.Fprintf(w, "  %-*s", width, name)
			for _, cell := range cells {
				fmt.Fprintf(w, " %12s", cell)
			}
			fmt.Fprintln(w)
		}
		line(c.X, c.Steps)
		for _, s := range c.Series {
			var cells []string
			for _, v := range s.Values {
				cells = append(cells, figure(v))
			}
			line(s.Name, cells)
		}
	}
}
