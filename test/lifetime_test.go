package test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

// Visitors of all nodes rush at a link while its leader dies: it is never seen
// more often than it may be, and every visit that its limit allows is had.
func TestALimitOfVisitsIsExactAcrossADeath(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	const limit = 300
	link := linkTo("http://example.com/")
	link.Link.MaxVisits = limit
	leader := c.WaitLeader()
	key := mustCreate(t, c.Node(leader), link)
	var had, unknown atomic.Int64
	var all sync.WaitGroup
	for _, id := range c.Followers(leader) {
		for range 8 {
			all.Go(func() {
				for {
					o := c.Node(id).VisitLink(patient(t), key)
					switch {
					case o.Err == nil:
						if had.Add(1) == limit/3 {
							go c.Kill(leader)
						}
					case errors.Is(o.Err, fsm.ErrLinkUsedUp):
						return
					case errors.Is(o.Err, fsm.ErrOutcomeUnknown):
						unknown.Add(1)
					default:
						t.Error(o.Err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	if n := had.Load(); n > limit || n+unknown.Load() < limit {
		t.Errorf("%d visits, and %d of unknown outcome, of %d", n, unknown.Load(), limit)
	}
}

// Clients of all nodes ask for a link to the same page at once: one link comes of
// it, and no key is spent on finding it again.
func TestFindIfExistsHasNoRace(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	for round := range 10 {
		url := fmt.Sprintf("http://example.com/%d", round)
		var mu sync.Mutex
		keys := map[string]int{} // how often it was created
		var all sync.WaitGroup
		for _, id := range c.Up() {
			for range 3 {
				all.Go(func() {
					o := find(patient(t), c.Node(id), url)
					mu.Lock()
					defer mu.Unlock()
					if o.Err != nil {
						t.Error(o.Err)
					} else if keys[o.Key] += 0; !o.Found {
						keys[o.Key]++
					}
				})
			}
		}
		all.Wait()
		if len(keys) != 1 {
			t.Fatalf("links to one page: %v", keys)
		}
		for key, created := range keys {
			if created != 1 {
				t.Errorf("%s was created %d times", key, created)
			}
		}
	}
	spent := spending(t, c)
	for range 20 {
		if o := find(patient(t), c.Node("n2"), "http://example.com/3"); !o.Found {
			t.Fatal(o)
		}
	}
	spent(0)
}

// spending returns a function that waits until so many keys more have left the
// leader's buffer, which may be filled up meanwhile.
func spending(t *testing.T, c *harness.Cluster) func(more uint64) {
	handedOut := func() (n uint64) {
		var seen [2]uint64 // keys on their way to the buffer are used already
		harness.AwaitTrue(t, "the buffer is at rest", func() bool {
			s, last := stats(t, c.Node(c.WaitLeader())), seen
			seen = [2]uint64{s.Used, s.Buffered}
			return seen == last
		})
		return seen[0] - seen[1]
	}
	leader := c.WaitLeader()
	before := handedOut()
	return func(more uint64) {
		t.Helper()
		harness.AwaitTrue(t, fmt.Sprintf("%d keys are spent", more), func() bool {
			return handedOut() == before+more || c.Leader() != leader // its buffer died with its term
		})
	}
}

// The first who asks for a link by its URL waits until all there are can be found so,
// also if the leader dies meanwhile, and spends no key on his waiting.
func TestFindIfExistsAmongManyLinks(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]bool{"calm": false, "the leader dies": true} {
		t.Run(name, func(t *testing.T) {
			c := harness.Start(t, 3, nil)
			leader := c.WaitLeader()
			front := c.Node(c.Followers(leader)[0])
			var all []cluster.CreateRequest
			for i := range 8_000 {
				all = append(all, cluster.CreateRequest{Create: linkTo(fmt.Sprint("http://example.com/", i))})
			}
			var last cluster.Outcome
			for _, last = range front.CreateLinks(patient(t), all) {
				if last.Err != nil {
					t.Fatal(last.Err)
				}
			}
			spent := spending(t, c)
			found := make(chan cluster.Outcome)
			go func() { found <- find(patient(t), front, last.Link.Url) }()
			if kill {
				c.Kill(leader)
			}
			if o := <-found; o.Err != nil || o.Key != last.Key || !o.Found {
				t.Fatalf("%+v", o)
			}
			if !kill { // with whom what is buffered dies
				spent(0)
			}
			if o := find(patient(t), front, "http://example.com/new"); o.Err != nil || o.Found {
				t.Errorf("%+v", o)
			}
			if got := links(t, front); got != len(all)+1 {
				t.Errorf("%d links", got)
			}
		})
	}
}

// While very many links are being indexed others do not wait, and who asks again gets
// his answer.
func TestFindIfExistsAmongVeryManyLinks(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	front := c.Node(c.Followers(c.WaitLeader())[0])
	var last cluster.Outcome
	for from := range 8 {
		var all []cluster.CreateRequest
		for i := range 9_000 {
			all = append(all, cluster.CreateRequest{Create: linkTo(fmt.Sprint("http://example.com/", from, "/", i))})
		}
		for _, last = range front.CreateLinks(patient(t), all) {
			if last.Err != nil {
				t.Fatal(last.Err)
			}
		}
	}
	busy := 0
	for ; ; busy++ {
		o := find(patient(t), front, last.Link.Url)
		if o.Err == nil && o.Key == last.Key && o.Found {
			break
		}
		if !errors.Is(o.Err, fsm.ErrURLsNotIndexed) || busy == 10 {
			t.Fatalf("%+v", o)
		}
	}
	if busy == 0 {
		t.Error("all were indexed at once: whoever came with it has waited")
	}
}

func find(ctx context.Context, n *cluster.Node, url string) cluster.Outcome {
	return create(ctx, n, &pb.CreateLink{Link: &pb.Link{Url: url}, FindIfExists: true}, nil)
}
