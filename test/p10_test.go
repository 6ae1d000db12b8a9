package test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/harness"
)

// The leader with the client attached is cut off after it has the request: the
// answer is "unknown", and the same request later has one effect.
func TestP10_AnIsolatedLeaderSaysThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	for round := range 3 {
		leader := c.WaitLeader()
		n := c.Node(leader)
		alias := fmt.Sprintf("uncertain-%d", round)
		c.Isolate(leader)
		o := create(within(t, 600*time.Millisecond), n, aliasTo(alias, "http://example.com/"), idem(alias))
		var unknown *cluster.UnknownOutcomeError
		if !errors.As(o.Err, &unknown) || !errors.Is(o.Err, fsm.ErrOutcomeUnknown) || unknown.Request == "" {
			t.Fatalf("%+v: want an unknown outcome", o)
		}
		c.Heal()
		again := create(patient(t), n, aliasTo(alias, "http://example.com/"), idem(alias))
		if again.Err != nil {
			t.Fatalf("repeat: %v", again.Err)
		}
		resolves(t, c, map[string]string{alias: "http://example.com/"})
	}
}

// What certainly was not proposed is not called unknown.
func TestP10_WithoutALeaderNothingHappens(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	c.Kill("n1")
	c.Kill("n2")
	harness.AwaitTrue(t, "no leader", func() bool {
		s, err := c.Node("n3").Status(t.Context())
		return err == nil && s.Leader == ""
	})
	o := create(within(t, 300*time.Millisecond), c.Node("n3"), aliasTo("never", "http://example.com/"), nil)
	if !errors.Is(o.Err, cluster.ErrNoLeader) || errors.Is(o.Err, fsm.ErrOutcomeUnknown) {
		t.Errorf("%+v", o)
	}
	if _, err := c.Node("n3").TakeKeys(within(t, 300*time.Millisecond), cluster.TakeRequest{Count: 1}); !errors.Is(err, cluster.ErrNoLeader) {
		t.Errorf("take: %v", err)
	}
}

// Impatient clients create aliases, each once, while everything breaks. In the
// end: acknowledged ones are there, failed ones are not; of the unknown ones
// both is right.
func TestP10_AcknowledgedIsThereAndFailedIsNot(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	l := newLoad(t, c)
	var mu sync.Mutex
	outcomes := map[string]error{}
	for _, id := range c.Up() {
		for client := range 3 {
			var number atomic.Int64
			l.client(id, func(ctx context.Context, n *cluster.Node) bool {
				alias := fmt.Sprintf("%s-%d-%d", id, client, number.Add(1))
				impatient, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				o := create(impatient, n, aliasTo(alias, "http://example.com/"+alias), nil)
				mu.Lock()
				defer mu.Unlock()
				outcomes[alias] = o.Err
				return o.Err == nil
			})
		}
	}
	l.progress(20)
	for _, f := range faults {
		f.run(t, c, func() { l.progress(20) })
		l.progress(20)
	}
	l.end()
	c.WaitEqual(t)
	counts := map[string]int{}
	for alias, err := range outcomes {
		kind := checkOutcome(t, c.Node("n1"), alias, err)
		counts[kind]++
	}
	t.Log(counts)
	if counts["acknowledged"] == 0 || counts["unknown"] == 0 {
		t.Errorf("outcomes %v: this test has shown nothing", counts)
	}
}

func checkOutcome(t *testing.T, n *cluster.Node, alias string, outcome error) string {
	t.Helper()
	link, err := n.Machine().Link(alias)
	if err == nil && link.Url != "http://example.com/"+alias {
		t.Errorf("%s leads to %s", alias, link.Url)
	}
	switch {
	case errors.Is(outcome, fsm.ErrOutcomeUnknown):
		return "unknown"
	case outcome != nil:
		if err == nil {
			t.Errorf("%s: said %v, but it is there", alias, outcome)
		}
		return "failed"
	default:
		if err != nil {
			t.Errorf("%s: acknowledged, but %v", alias, err)
		}
		return "acknowledged"
	}
}
