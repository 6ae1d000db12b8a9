package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi"
	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func poolOf(t testing.TB, node httpapi.Service, config client.PoolConfig) *client.Pool {
	t.Helper()
	s, err := httpapi.New(httpapi.Config{Service: node})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	c, err := client.New(client.Config{Addrs: []string{front.URL}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	pool, err := c.NewPool(config)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// takenKeys are all that the node gave away, by Take.
func takenKeys(node *fakenode.Node) (count, requests, largest, returned int) {
	for _, asked := range node.Asked() {
		switch call := asked.(fakenode.Call); call.Method {
		case "TakeKeys":
			n := call.Args[0].(cluster.TakeRequest).Count
			count, requests, largest = count+n, requests+1, max(largest, n)
		case "ReturnKeys":
			returned += len(call.Args[2].([]string))
		}
	}
	return count, requests, largest, returned
}

func TestPool(t *testing.T) {
	node := &fakenode.Node{}
	pool := poolOf(t, node, client.PoolConfig{Min: 10, Max: 500})
	const clients, each = 8, 2_000
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range each {
				key, err := pool.Take(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[key] {
					t.Errorf("%s came twice", key)
				}
				seen[key] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	returned, err := pool.Close(t.Context())
	if err != nil {
		t.Error(err)
	}
	count, requests, largest, gone := takenKeys(node)
	if count != len(seen)+returned || gone != returned {
		t.Errorf("%d keys fetched, %d taken, %d returned, %d of them arrived", count, len(seen), returned, gone)
	}
	if largest != 500 || requests > clients*each/100 {
		t.Errorf("%d requests of up to %d keys for %d: it has not found its size", requests, largest, clients*each)
	}
	if _, err := pool.Take(t.Context()); !errors.Is(err, client.ErrPoolClosed) {
		t.Error(err)
	}
	if n, err := pool.Close(t.Context()); n != 0 || err != nil {
		t.Error(n, err)
	}
}

func TestPoolWithoutACluster(t *testing.T) {
	node := &fakenode.Node{Err: cluster.ErrRefused}
	pool := poolOf(t, node, client.PoolConfig{Min: 4, Max: 4})
	if _, err := pool.Take(t.Context()); !client.HasCode(err, "refused") {
		t.Error(err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := pool.Take(gone); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := pool.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, bad := range []client.PoolConfig{{Min: -1}, {Min: 5, Max: 4}, {Max: 100_001}} {
		c := must(client.New(client.Config{Addrs: []string{"http://127.0.0.1:1"}}))(t)
		if _, err := c.NewPool(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// endless has as many keys as anybody wants, all the same.
type endless struct{ fakenode.Node }

func (*endless) TakeKeys(_ context.Context, r cluster.TakeRequest) (cluster.Keys, error) {
	return cluster.Keys{Keyspace: "default", Length: 6, Bytes: bytes.Repeat([]byte("aB3xZ9"), r.Count), Receipt: []byte("r")}, nil
}

func BenchmarkPool(b *testing.B) {
	pool := poolOf(b, &endless{}, client.PoolConfig{Min: 10_000, Max: 100_000})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pool.Take(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleClient_NewPool() {
	c, err := client.New(client.Config{Addrs: []string{"http://127.0.0.1:8080", "http://127.0.0.1:8081"}})
	if err != nil {
		return
	}
	defer c.Close()
	pool, err := c.NewPool(client.PoolConfig{})
	if err != nil {
		return
	}
	defer pool.Close(context.Background())
	key, err := pool.Take(context.Background())
	fmt.Println(key, err)
}
