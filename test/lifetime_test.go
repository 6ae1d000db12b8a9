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
	buffered := func() uint64 { return stats(t, c.Node(c.Leader())).Buffered }
	before := buffered()
	for range 20 {
		if o := find(patient(t), c.Node("n2"), "http://example.com/3"); !o.Found {
			t.Fatal(o)
		}
	}
	if after := buffered(); after != before {
		t.Errorf("finding spent %d keys", before-after)
	}
}

func find(ctx context.Context, n *cluster.Node, url string) cluster.Outcome {
	return create(ctx, n, &pb.CreateLink{Link: &pb.Link{Url: url}, FindIfExists: true}, nil)
}
