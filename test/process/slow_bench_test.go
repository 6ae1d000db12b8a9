package process

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// BenchmarkSlowConnections: what clients of a node feel of 2,000 connections that
// each send a byte of their headers a second, and come again when they are cut off.
// p99-ratio is with them to without, the median of the rounds:
//
//	go test ./test/process -run '^$' -bench SlowConnections -benchtime 5x
func BenchmarkSlowConnections(b *testing.B) {
	const strangers, clients, period = 2000, 8, 2 * time.Second
	node := proc.Start(b, 1).Nodes[0]
	p99 := func() time.Duration {
		transport := &http.Transport{MaxIdleConnsPerHost: clients}
		defer transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(b.Context(), period)
		defer cancel()
		var mu sync.Mutex
		var all []time.Duration
		var work sync.WaitGroup
		for range clients {
			work.Go(func() {
				var own []time.Duration
				for ctx.Err() == nil {
					request, err := http.NewRequest("POST", node.URL+"/v1/keys", nil)
					if err != nil {
						b.Error(err)
						return
					}
					start := time.Now()
					response, err := transport.RoundTrip(request)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, response.Body)
					response.Body.Close()
					own = append(own, time.Since(start))
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, own...)
			})
		}
		work.Wait()
		slices.Sort(all)
		return all[len(all)*99/100]
	}
	p99() // warm
	var ratios, before, with []float64
	for b.Loop() {
		calm := p99()
		ctx, cancel := context.WithCancel(b.Context())
		var slow, held sync.WaitGroup
		held.Add(strangers)
		for i := range strangers {
			slow.Go(func() {
				creep(ctx, b, strings.TrimPrefix(node.URL, "http://"), time.Duration(i)*time.Second/strangers, held.Done)
			})
		}
		held.Wait()
		attacked := p99()
		cancel()
		slow.Wait()
		ratios = append(ratios, float64(attacked)/float64(calm))
		before, with = append(before, calm.Seconds()*1e3), append(with, attacked.Seconds()*1e3)
	}
	median := func(values []float64) float64 {
		slices.Sort(values)
		return values[len(values)/2]
	}
	b.ReportMetric(median(ratios), "p99-ratio")
	b.ReportMetric(median(before), "p99-ms-calm")
	b.ReportMetric(median(with), "p99-ms-attacked")
}

// creep holds a connection until ctx ends. Its first byte is sent after delay.
func creep(ctx context.Context, b *testing.B, addr string, delay time.Duration, held func()) {
	const head = "GET /livez HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	once := sync.OnceFunc(held)
	defer once()
	next := time.NewTimer(delay)
	defer next.Stop()
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		once()
		for i := 0; i < len(head) && err == nil; i++ {
			select {
			case <-next.C:
				next.Reset(time.Second)
				_, err = conn.Write([]byte(head[i : i+1]))
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		conn.Close()
	}
}
