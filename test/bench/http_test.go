package bench

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
)

// BenchmarkTakeKey compares POST /v1/keys, one key a request, at the leader and
// at a follower, with a bare echo server that answers a constant of the same
// size: the limit of the HTTP server. The same 64 clients load them in turn.
func BenchmarkTakeKey(b *testing.B) {
	nodes := startNodes(b, cluster.Config{BufferMin: 1_000_000})
	bare := echo.New()
	answer := []byte(`{"keyspace":"default","keys":["aB3xZ9"],"receipt":"AQAAAAAAAAAAAAAAAAAAAAABARAB"}` + "\n")
	bare.POST("/v1/keys", func(c echo.Context) error { return c.JSONBlob(http.StatusCreated, answer) })
	targets := []struct{ name, url string }{
		{"echo", serveHandler(b, bare)},
		{"leader", serveHTTP(b, nodes[0])},
		{"follower", serveHTTP(b, nodes[1])},
	}
	const rounds = 5
	rates := map[string][]time.Duration{} // time of a round's requests
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxIdleConns: 256}}
	for b.Loop() {
		for range rounds {
			for _, t := range targets {
				rates[t.name] = append(rates[t.name], post(b, client, t.url+"/v1/keys", 4000))
			}
		}
	}
	bareTime := percentile(rates["echo"], 0.5)
	for _, t := range targets {
		took := percentile(rates[t.name], 0.5)
		b.ReportMetric(4000/took.Seconds(), t.name+"-req/s")
		b.ReportMetric(bareTime.Seconds()/took.Seconds(), t.name+"/echo")
	}
}

// post sends count requests from 64 clients and returns how long they took.
func post(b *testing.B, client *http.Client, url string, count int64) time.Duration {
	b.Helper()
	var sent atomic.Int64
	var clients sync.WaitGroup
	start := time.Now()
	for range 64 {
		clients.Go(func() {
			for sent.Add(1) <= count {
				response, err := client.Post(url, "", nil)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode != http.StatusCreated {
					b.Errorf("status %s", response.Status)
				}
			}
		})
	}
	clients.Wait()
	return time.Since(start)
}

// BenchmarkTakeBatch takes 10,000 keys a request as text, at the leader.
func BenchmarkTakeBatch(b *testing.B) {
	nodes := startNodes(b, cluster.Config{BufferMin: 1_000_000, BufferMax: 10_000_000})
	url := serveHTTP(b, nodes[0])
	for b.Loop() {
		request, err := http.NewRequest(http.MethodPost, url+"/v1/keys", strings.NewReader(`{"count":10000}`))
		if err != nil {
			b.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "text/plain")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		n, _ := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if n != 70_000 {
			b.Fatal(fmt.Errorf("%s: %d bytes", response.Status, n))
		}
	}
	b.ReportMetric(10_000*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}
