package process

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// TestP3_RestartAll stops all nodes at once with -9; all acknowledged links are
// there after the restart, and no key comes twice.
func TestP3_RestartAll(t *testing.T) {
	c := proc.Start(t, 3)
	keys := newKeySet()
	var links sync.Map
	for round := range 2 {
		api := connect(t, c.URLs()...)
		for i := range 50 {
			takeAndCreate(t, api, keys, &links, fmt.Sprintf("https://example.org/%d/%d", round, i))
		}
		for _, n := range c.Nodes {
			n.Kill()
		}
		for _, n := range c.Nodes {
			n.Start()
		}
		for _, n := range c.Nodes {
			n.WaitReady(30 * time.Second)
		}
	}
	checkLinks(t, c, &links)
}

// TestP7_StopTheLeader stops the leader as an admin would: it ends well, another
// leads, and no buffered key is lost.
func TestP7_StopTheLeader(t *testing.T) {
	c := proc.Start(t, 3)
	leader := c.Leader()
	api := connect(t, c.URLs()...)
	if _, err := api.Take(context.Background(), "", 7); err != nil {
		t.Fatal(err)
	}
	if code := leader.Stop(); code != 0 {
		t.Fatalf("%s ended with %d:\n%s", leader.ID, code, leader.Output)
	}
	stats, err := api.Keyspace(context.Background(), "default")
	if err != nil {
		t.Fatal(err)
	}
	if stats.Lost != 0 {
		t.Errorf("%d keys lost by a graceful stop", stats.Lost)
	}
}

func connect(t *testing.T, urls ...string) *client.Client {
	t.Helper()
	api, err := client.New(client.Config{Addrs: urls})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func takeAndCreate(t *testing.T, api *client.Client, keys *keySet, links *sync.Map, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	taken, err := api.Take(ctx, "", 3)
	if err != nil {
		t.Errorf("take: %v", err)
		return
	}
	for _, key := range taken.Keys {
		keys.add(t, key)
	}
	made, err := api.CreateLink(ctx, client.NewLink{URL: url})
	if err != nil {
		t.Errorf("create: %v", err)
		return
	}
	keys.add(t, made.Key)
	links.Store(made.Key, url)
}

func checkLinks(t *testing.T, c *proc.Cluster, links *sync.Map) {
	t.Helper()
	for _, node := range c.Nodes {
		links.Range(func(key, url any) bool {
			checkRedirect(t, node.URL, key.(string), url.(string))
			return !t.Failed()
		})
	}
}

// keySet is every key any client was ever given.
type keySet struct {
	mu   sync.Mutex
	seen map[string]bool
}

func newKeySet() *keySet { return &keySet{seen: map[string]bool{}} }

func (s *keySet) add(t *testing.T, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[key] {
		t.Errorf("key %s given twice", key)
	}
	s.seen[key] = true
}
