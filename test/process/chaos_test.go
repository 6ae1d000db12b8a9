package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// TestChaos disturbs three real processes at random, under load, for
// KGS_CHAOS_DURATION (5s if unset). A client may see errors then; but no key
// may come twice, and every acknowledged link must be on every node once all
// is well again, which must be soon. KGS_CHAOS_SEED repeats the order of faults.
func TestChaos(t *testing.T) {
	duration, seed := 5*time.Second, uint64(time.Now().UnixNano())
	if text := os.Getenv("KGS_CHAOS_DURATION"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("KGS_CHAOS_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("KGS_CHAOS_SEED=%d", seed)
	c := proc.Start(t, 3)
	ctx, stop := context.WithTimeout(context.Background(), duration)
	defer stop()
	load := startLoad(t, ctx, c)
	faults := disturb(t, ctx, c, rand.New(rand.NewPCG(seed, 0)))
	load.running.Wait()

	for _, n := range c.Nodes {
		n.WaitReady(30 * time.Second)
	}
	api := connect(t, c.URLs()...)
	takeAndCreate(t, api, load.keys, &load.links, "https://example.org/after")
	checkLinks(t, c, &load.links)
	for _, kind := range slices.Sorted(maps.Keys(faults)) {
		t.Logf("%4d x %s", faults[kind], kind)
	}
	t.Logf("%d requests acknowledged, %d not, %d keys, all distinct", load.acknowledged.Load(), load.failed.Load(), load.keys.len())
}

// chaosLoad is what clients saw.
type chaosLoad struct {
	running              sync.WaitGroup
	keys                 *keySet
	links                sync.Map // key -> URL
	acknowledged, failed atomic.Int64
}

// startLoad has clients at each node take keys and create links until ctx ends.
func startLoad(t *testing.T, ctx context.Context, c *proc.Cluster) *chaosLoad {
	load := &chaosLoad{keys: newKeySet()}
	for _, node := range c.Nodes {
		api := connect(t, node.URL)
		for w := range 2 {
			load.running.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					load.once(t, api, fmt.Sprintf("https://%s.example/%d/%d", node.ID, w, i))
				}
			})
		}
	}
	return load
}

func (l *chaosLoad) once(t *testing.T, api *client.Client, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	taken, err := api.Take(ctx, "", 5)
	l.count(err)
	for _, key := range taken.Keys {
		l.keys.add(t, key)
	}
	made, err := api.CreateLink(ctx, client.NewLink{URL: url})
	l.count(err)
	if err == nil {
		l.keys.add(t, made.Key)
		l.links.Store(made.Key, url)
	}
}

func (l *chaosLoad) count(err error) {
	if err != nil {
		l.failed.Add(1)
	} else {
		l.acknowledged.Add(1)
	}
}

// disturb draws one fault after the other until ctx ends, and leaves all nodes
// running.
func disturb(t *testing.T, ctx context.Context, c *proc.Cluster, random *rand.Rand) map[string]int {
	t.Helper()
	count := map[string]int{}
	kinds := []string{"kill -9 of the leader", "kill -9 of a follower", "kill -9 of all", "SIGSTOP of the leader", "SIGTERM of a node", "transfer"}
	for ctx.Err() == nil {
		kind := kinds[random.IntN(len(kinds))]
		count[kind]++
		leader := c.Leader()
		node := c.Nodes[random.IntN(len(c.Nodes))]
		pause := time.Duration(random.IntN(1500)) * time.Millisecond
		switch kind {
		case "kill -9 of the leader":
			restart(leader, pause, leader.Kill)
		case "kill -9 of a follower":
			for node == leader {
				node = c.Nodes[random.IntN(len(c.Nodes))]
			}
			restart(node, pause, node.Kill)
		case "kill -9 of all":
			for _, n := range c.Nodes {
				n.Kill()
			}
			for _, n := range c.Nodes {
				n.Start()
			}
		case "SIGSTOP of the leader": // beyond the lease: another one leads meanwhile
			leader.Signal(syscall.SIGSTOP)
			after(pause)
			leader.Signal(syscall.SIGCONT)
		case "SIGTERM of a node":
			restart(node, pause, func() {
				node.WaitReady(30 * time.Second) // SIGTERM in the first milliseconds just ends the process
				if code := node.Stop(); code != 0 {
					t.Errorf("%s ended with %d:\n%s", node.ID, code, node.Output)
				}
			})
		case "transfer":
			var refused *client.Error // by a leader that is just losing its office
			if _, err := connect(t, c.URLs()...).Transfer(context.Background(), ""); err != nil && !errors.As(err, &refused) {
				t.Logf("transfer: %v", err)
			}
		}
	}
	return count
}

func restart(n *proc.Node, pause time.Duration, end func()) {
	end()
	after(pause)
	n.Start()
}

// after waits: here a fault's length, not a condition, is what is wanted.
func after(d time.Duration) { <-time.After(d) }
