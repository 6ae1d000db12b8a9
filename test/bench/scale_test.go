package bench

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

func TestMain(m *testing.M) {
	code := m.Run()
	proc.Clean()
	os.Exit(code)
}

const million = 1_000_000

// BenchmarkMillionLinks fills three real processes with a million links and
// reports how fast that went, what a node's memory is then, and how long a node
// takes from its start to ready, after SIGTERM and after kill -9.
func BenchmarkMillionLinks(b *testing.B) {
	for b.Loop() {
		c := proc.Start(b, 3)
		start := time.Now()
		importLinks(b, c.URLs(), million)
		b.ReportMetric(million/time.Since(start).Seconds(), "links/s")
		for _, n := range c.Nodes {
			b.ReportMetric(residentMB(b, n.Pid(), "VmRSS:"), n.ID+"-RSS-MB")
			b.ReportMetric(residentMB(b, n.Pid(), "RssAnon:"), n.ID+"-of-it-heap-MB")
		}
		node := c.Nodes[0]
		node.Stop()
		b.ReportMetric(readyAfter(node), "s-to-ready-after-stop")
		node.Kill()
		b.ReportMetric(readyAfter(node), "s-to-ready-after-kill")
	}
}

func readyAfter(n *proc.Node) float64 {
	start := time.Now()
	n.Start()
	n.WaitReady(time.Minute)
	return time.Since(start).Seconds()
}

// importLinks creates count links in batches of 5,000, four at a time.
func importLinks(b *testing.B, urls []string, count int) {
	b.Helper()
	api, err := client.New(client.Config{Addrs: urls, Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	const batch = 5000
	batches := make(chan int)
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for first := range batches {
				links := make([]client.NewLink, batch)
				for i := range links {
					links[i].URL = fmt.Sprintf("https://www.example.org/articles/2026/%09d/why-keys-collide.html", first+i)
				}
				results, err := api.CreateLinks(context.Background(), links)
				if err != nil {
					b.Error(err)
					continue
				}
				for _, r := range results {
					if r.Err != nil {
						b.Error(r.Err)
						break
					}
				}
			}
		})
	}
	for first := 0; first < count; first += batch {
		batches <- first
	}
	close(batches)
	senders.Wait()
}

// residentMB reads a field of a process's resident memory (Linux): VmRSS is all,
// RssAnon what is not pages of its files.
func residentMB(b *testing.B, pid int, field string) float64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), field); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatal("no " + field)
	return 0
}

// BenchmarkSnapshot creates links one after the other at the leader of a
// cluster with a million links, first undisturbed, then while it takes raft
// snapshots, and reports the slowest of each.
func BenchmarkSnapshot(b *testing.B) {
	leader := startNodes(b, cluster.Config{})[0]
	url := serveHTTP(b, leader)
	importLinks(b, []string{url}, million)
	create := func(count int) (slowest time.Duration) {
		for range count {
			start := time.Now()
			if o := leader.CreateLinks(context.Background(), []cluster.CreateRequest{{Create: &pb.CreateLink{Link: link()}}})[0]; o.Err != nil {
				b.Fatal(o.Err)
			}
			slowest = max(slowest, time.Since(start))
		}
		return slowest
	}
	var quiet, disturbed, taking time.Duration
	for b.Loop() {
		quiet = max(quiet, create(500))
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- leader.Snapshot() }()
		for running := true; running; {
			disturbed = max(disturbed, create(1))
			select {
			case err := <-done:
				if err != nil {
					b.Fatal(err)
				}
				running = false
			default:
			}
		}
		taking = max(taking, time.Since(start))
	}
	b.ReportMetric(float64(quiet.Microseconds())/1000, "slowest-ms-undisturbed")
	b.ReportMetric(float64(disturbed.Microseconds())/1000, "slowest-ms-in-snapshot")
	b.ReportMetric(float64(taking.Microseconds())/1000, "snapshot-ms")
}

// BenchmarkFailover kills the leader of three real processes with -9, under
// load, ten times, and reports how long after the kill the first request
// through another node succeeds.
func BenchmarkFailover(b *testing.B) {
	for b.Loop() {
		c := proc.Start(b, 3)
		var pauses []time.Duration
		for range 10 {
			leader := c.Leader()
			var others []string
			for _, n := range c.Nodes {
				if n != leader {
					others = append(others, n.URL)
				}
			}
			ctx, stop := context.WithCancel(context.Background())
			var load sync.WaitGroup
			for _, url := range others {
				api, err := client.New(client.Config{Addrs: []string{url}})
				if err != nil {
					b.Fatal(err)
				}
				for range 4 {
					load.Go(func() {
						for ctx.Err() == nil {
							if _, err := api.CreateLink(context.Background(), client.NewLink{URL: "https://example.org/"}); err != nil {
								b.Errorf("a client of a surviving node saw: %v", err)
							}
						}
					})
				}
			}
			probe, err := client.New(client.Config{Addrs: others[:1]})
			if err != nil {
				b.Fatal(err)
			}
			leader.Kill()
			start := time.Now()
			if _, err := probe.CreateLink(context.Background(), client.NewLink{URL: "https://example.org/first"}); err != nil {
				b.Fatal(err)
			}
			pauses = append(pauses, time.Since(start))
			stop()
			load.Wait()
			leader.Start()
			leader.WaitReady(30 * time.Second)
		}
		b.ReportMetric(float64(percentile(pauses, 0.5).Milliseconds()), "median-ms")
		b.ReportMetric(float64(percentile(pauses, 1).Milliseconds()), "max-ms")
	}
}
