package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi"
)

// startNodes starts a cluster of three in this process, over loopback TCP with
// real files, and returns its nodes, the leader first. base says what is
// not as usual.
func startNodes(tb testing.TB, base cluster.Config) []*cluster.Node {
	tb.Helper()
	initial := map[string]string{}
	for i := range 3 {
		initial[fmt.Sprintf("n%d", i+1)] = freeAddr(tb)
	}
	var nodes []*cluster.Node
	for id, addr := range initial {
		cfg := base
		cfg.NodeID, cfg.DataDir, cfg.ClusterAddr, cfg.InitialCluster = id, tb.TempDir(), addr, initial
		n, err := cluster.Open(cfg)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { n.Close() })
		nodes = append(nodes, n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := nodes[0].TakeKeys(ctx, cluster.TakeRequest{Count: 1}); err != nil {
		tb.Fatal(err)
	}
	slices.SortFunc(nodes, func(a, b *cluster.Node) int {
		_, leads := a.Age()
		if leads {
			return -1
		}
		return 1
	})
	return nodes
}

// serveHTTP puts a node's front end on a free port and returns its URL.
func serveHTTP(tb testing.TB, n *cluster.Node) string {
	tb.Helper()
	api, err := httpapi.New(httpapi.Config{Service: n})
	if err != nil {
		tb.Fatal(err)
	}
	return serveHandler(tb, api)
}

func serveHandler(tb testing.TB, h http.Handler) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go server.Serve(listener)
	tb.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String()
}

func freeAddr(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// percentile of durations, p in 0..1.
func percentile(ds []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(ds))
	return sorted[int(p*float64(len(sorted)-1))]
}
