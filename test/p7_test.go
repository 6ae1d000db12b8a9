package test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// awaitBalance waits until every used key is accounted for: handed out to the
// clients, in the leader's buffer, or among the missing.
func awaitBalance(t *testing.T, c *harness.Cluster, keys *keyring, missing func(uint64, cluster.KeyspaceStats) error) {
	t.Helper()
	harness.Await(t, "the keys to add up", func() error {
		s := stats(t, c.Node(c.WaitLeader()))
		gone := s.Used - s.Returned - s.Buffered - keys.count()
		if err := missing(gone, s); err != nil {
			return fmt.Errorf("%w: %d handed out; %+v", err, keys.count(), s)
		}
		return nil
	})
}

// takers take keys in both ways that count as handed out by the buffer.
func takers(t *testing.T, l *load, keys *keyring, id string) {
	l.client(id, func(ctx context.Context, n *cluster.Node) bool {
		k, err := n.TakeKeys(ctx, cluster.TakeRequest{Count: 7})
		if err != nil {
			t.Errorf("take through %s: %v", id, err)
			return false
		}
		keys.add("take", list(k)...)
		return true
	})
	l.client(id, func(ctx context.Context, n *cluster.Node) bool {
		o := create(ctx, n, linkTo("http://example.com/"), nil)
		if o.Err != nil {
			t.Errorf("create through %s: %v", id, o.Err)
			return false
		}
		keys.add("link", o.Key)
		return true
	})
}

func TestP7_AHandOverUnderLoadLosesNoKey(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	l, keys := newLoad(t, c), newKeyring(t)
	for _, id := range c.Up() {
		takers(t, l, keys, id)
	}
	for range 8 {
		l.progress(60)
		transfer(t, c)
	}
	l.progress(60)
	l.end()
	awaitBalance(t, c, keys, func(missing uint64, s cluster.KeyspaceStats) error {
		if missing != 0 || s.Lost != 0 {
			return fmt.Errorf("%d keys are missing, %d counted as lost", missing, s.Lost)
		}
		return nil
	})
}

func TestP7_AStopOfTheLeaderLosesNoKey(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	keys := newKeyring(t)
	for range 3 {
		for _, id := range c.Up() {
			keys.add(id, list(mustTake(t, c.Node(id), 100))...)
		}
		leader := c.WaitLeader()
		c.Stop(leader)
		c.WaitLeader()
		c.Restart(leader)
	}
	awaitBalance(t, c, keys, func(missing uint64, s cluster.KeyspaceStats) error {
		if missing != 0 || s.Lost != 0 {
			return fmt.Errorf("%d keys are missing, %d counted as lost", missing, s.Lost)
		}
		return nil
	})
}

// The buffer's keys die with a killed leader, no more than those, and the count
// of the lost says at least as many.
func TestP7_ACrashLosesAtMostTheBuffer(t *testing.T) {
	t.Parallel()
	const most = 2000
	c := harness.Start(t, 3, func(cfg *cluster.Config) { cfg.BufferMin, cfg.BufferMax = 1000, most })
	keys := newKeyring(t)
	const kills = 3
	for range kills {
		leader := c.WaitLeader()
		keys.add("before", list(mustTake(t, c.Node(c.Followers(leader)[0]), 10))...)
		c.Kill(leader)
		survivor := c.Node(c.WaitLeader())
		keys.add("after", list(mustTake(t, survivor, 10))...)
		c.Restart(leader)
	}
	awaitBalance(t, c, keys, func(missing uint64, s cluster.KeyspaceStats) error {
		switch {
		case missing == 0:
			return fmt.Errorf("a crash has lost nothing: this test has shown nothing")
		case missing > kills*most:
			return fmt.Errorf("%d keys are missing after %d crashes", missing, kills)
		case s.Lost < missing || s.Lost > kills*most:
			return fmt.Errorf("%d keys are missing, %d counted as lost", missing, s.Lost)
		}
		return nil
	})
}

// A request beyond the buffer is leased straight from the log. When the leader
// never hears of that lease, its keys are lost, and counted; those of one that
// went well are not, also not by a hand-over or a crash right after it.
func TestP7_LeasesPastTheBufferAreAccountedFor(t *testing.T) {
	t.Parallel()
	const large = 3000 // the buffer holds 4000 at most
	c := harness.Start(t, 3, func(cfg *cluster.Config) { cfg.Heartbeat, cfg.Election = time.Second, time.Second })
	keys := newKeyring(t)
	for _, id := range c.Up() {
		keys.add("whole", list(mustTake(t, c.Node(id), large))...)
		transfer(t, c)
	}
	awaitBalance(t, c, keys, func(missing uint64, s cluster.KeyspaceStats) error {
		if missing != 0 || s.Lost != 0 {
			return fmt.Errorf("%d keys are missing, %d counted as lost, by hand-overs", missing, s.Lost)
		}
		return nil
	})
	var gone uint64
	for range 10 { // an append that was under way at the cut keeps the lease from the others
		leader := c.WaitLeader()
		for _, other := range c.Followers(leader) {
			c.Net.Cut(other, leader) // the entry gets there, the answers do not get back
		}
		if k, err := c.Node(leader).TakeKeys(within(t, clientDeadline), cluster.TakeRequest{Count: large}); err == nil {
			keys.add("after all", list(k)...)
		}
		c.WaitLeaderOther(leader)
		c.Heal()
		c.WaitEqual(t)
		s := stats(t, c.Node(c.WaitLeader()))
		before := gone
		if gone = s.Used - s.Returned - s.Buffered - keys.count(); gone < before+large {
			continue
		}
		awaitBalance(t, c, keys, func(missing uint64, s cluster.KeyspaceStats) error {
			if s.Lost < missing {
				return fmt.Errorf("%d keys are missing, %d counted as lost", missing, s.Lost)
			}
			return nil
		})
		return
	}
	t.Error("no lease was abandoned: this test has shown nothing")
}
