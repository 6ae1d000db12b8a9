package test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/harness"
)

// links counts the links as a node sees them, with all that is acknowledged.
func links(t *testing.T, n *cluster.Node) int {
	t.Helper()
	page, err := n.Links(patient(t), cluster.Linearizable, fsm.LinkQuery{Limit: 10_000})
	if err != nil || page.Next != "" {
		t.Fatalf("links on %s: %v, more from %q", n.ID(), err, page.Next)
	}
	return len(page.Links)
}

// The same idempotency key goes through all nodes at once, again and again,
// while leadership moves: one link, one answer.
func TestP5_OneEffectForOneIdempotencyKeyDuringElections(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	for round, f := range faults {
		name := fmt.Sprintf("order-%d", round)
		var mu sync.Mutex
		keys := map[string]int{}
		l := newLoad(t, c)
		for _, id := range c.Up() {
			n := c.Node(id)
			l.done.Go(func() {
				for l.ctx.Err() == nil {
					o := create(within(t, clientDeadline), n, linkTo("http://example.com/"+name), idem(name))
					if o.Err != nil {
						if !mayFail(o.Err) {
							t.Errorf("%s through %s: %v", name, n.ID(), o.Err)
						}
						if c.Node(n.ID()) != n {
							return
						}
						continue
					}
					l.worked.Add(1)
					mu.Lock()
					keys[o.Key]++
					mu.Unlock()
				}
			})
		}
		f.run(t, c, func() { l.progress(20) })
		l.progress(20)
		l.end()
		if len(keys) != 1 {
			t.Fatalf("%s (%s) has links %v", name, f.name, keys)
		}
		if got := links(t, c.Node(c.WaitLeader())); got != round+1 {
			t.Fatalf("%d links after %d requests", got, round+1)
		}
	}
	c.WaitEqual(t)
}

func TestP5_AnotherRequestUnderTheSameKeyIsRefused(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	first := create(patient(t), c.Node("n1"), linkTo("http://example.com/"), idem("same"))
	if first.Err != nil || first.Replayed {
		t.Fatalf("%+v", first)
	}
	again := create(patient(t), c.Node("n2"), linkTo("http://example.com/"), idem("same"))
	if again.Err != nil || !again.Replayed || again.Key != first.Key {
		t.Errorf("repeat: %+v, first: %+v", again, first)
	}
	other := create(patient(t), c.Node("n3"), linkTo("http://example.org/"),
		&cluster.Idempotency{Key: "same", Fingerprint: []byte("another body")})
	if !errors.Is(other.Err, fsm.ErrIdempotencyMismatch) {
		t.Errorf("another body: %+v", other)
	}
	if _, err := c.Node("n3").TakeKeys(patient(t), cluster.TakeRequest{Count: 1,
		Idempotency: &cluster.Idempotency{Key: "same", Fingerprint: []byte("another route")}}); !errors.Is(err, fsm.ErrIdempotencyMismatch) {
		t.Errorf("another route: %v", err)
	}
	if got := links(t, c.Node("n1")); got != 1 {
		t.Errorf("%d links", got)
	}
}

// The leader writes the entry into its own log, but nobody hears it: the front
// end must find the new leader and repeat, under the same request id.
func TestP5_FrontEndRepeatsWhatTheOldLeaderCouldNotCommit(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	for range 3 {
		before := links(t, c.Node("n1"))
		leader := c.WaitLeader()
		front := c.Node(c.Followers(leader)[0])
		for _, other := range c.Followers(leader) {
			c.Net.Cut(leader, other) // requests still reach the leader
		}
		key := mustCreate(t, front, linkTo("http://example.com/held"))
		c.Heal()
		if got := links(t, front); got != before+1 {
			t.Fatalf("%d links became %d", before, got)
		}
		resolves(t, c, map[string]string{key: "http://example.com/held"})
	}
	c.WaitEqual(t)
}

// The entry is committed, only the answer gets lost: the repeat must not have
// a second effect.
func TestP5_FrontEndRepeatsWhatTheLeaderHadCommitted(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	followers := c.Followers(leader)
	front, other := c.Node(followers[0]), followers[1]
	c.Net.Cut(leader, front.ID())
	outcome := make(chan cluster.Outcome, 1)
	go func() { outcome <- create(patient(t), front, linkTo("http://example.com/lost-answer"), nil) }()
	harness.AwaitTrue(t, "the link is committed", func() bool {
		page, err := c.Node(other).Links(patient(t), cluster.Local, fsm.LinkQuery{Limit: 1})
		return err == nil && len(page.Links) == 1
	})
	c.Kill(leader)
	c.Heal()
	o := <-outcome
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	if got := links(t, front); got != 1 {
		t.Fatalf("%d links", got)
	}
	resolves(t, c, map[string]string{o.Key: "http://example.com/lost-answer"})
}
