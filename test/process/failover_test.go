package process

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// TestP1P3P9_KillLeaderUnderLoad kills leaders with -9 under load. Clients of
// the surviving nodes see no error, no key comes twice, and every acknowledged
// link is on every node afterwards.
func TestP1P3P9_KillLeaderUnderLoad(t *testing.T) {
	c := proc.Start(t, 3)
	keys := newKeySet()
	var links sync.Map // key -> url
	for range 3 {
		leader := c.Leader()
		ctx, stop := context.WithCancel(context.Background())
		var load sync.WaitGroup
		var done atomic.Int64
		for _, node := range c.Nodes {
			if node == leader {
				continue
			}
			api := connect(t, node.URL)
			for w := range 2 {
				load.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						url := fmt.Sprintf("https://%s.example/%d/%d/%d", node.ID, w, i, time.Now().UnixNano())
						takeAndCreate(t, api, keys, &links, url)
						done.Add(1)
					}
				})
			}
		}
		progress := func(from int64) {
			proc.Until(t, 20*time.Second, func() (bool, string) {
				return done.Load() >= from+40, fmt.Sprintf("%d requests done, waiting for %d", done.Load(), from+40)
			})
		}
		progress(0)
		leader.Kill()
		progress(done.Load())
		stop()
		load.Wait()
		leader.Start()
		leader.WaitReady(30 * time.Second)
	}
	checkLinks(t, c, &links)
	if t.Failed() {
		return
	}
	t.Logf("%d keys, all distinct", keys.len())
}

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

func (s *keySet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}
