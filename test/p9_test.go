package test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/harness"
)

// Clients of the surviving nodes only wait while a leader dies: no request of
// any kind fails within the usual deadline.
func TestP9_NoErrorOnSurvivorsWhileTheLeaderDies(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		name string
		gone func(*harness.Cluster, string)
		back func(*harness.Cluster, string)
	}{
		{"killed", (*harness.Cluster).Kill, func(c *harness.Cluster, id string) { c.Restart(id) }},
		{"unreachable", (*harness.Cluster).Isolate, func(c *harness.Cluster, _ string) { c.Heal() }},
	} {
		t.Run(how.name, func(t *testing.T) {
			c := harness.Start(t, 3, nil)
			known := mustCreate(t, c.Node("n1"), linkTo("http://example.com/known"))
			for range 3 {
				leader := c.WaitLeader()
				l := newLoad(t, c)
				for _, id := range c.Followers(leader) {
					unfailing(t, l, id, known)
				}
				l.progress(20)
				how.gone(c, leader)
				l.progress(100)
				c.WaitLeaderOther(leader)
				l.progress(100)
				l.end()
				how.back(c, leader)
				c.WaitEqual(t)
			}
		})
	}
}

// unfailing has clients of each kind on the node, which accept no error.
func unfailing(t *testing.T, l *load, id, known string) {
	do := func(what string, request func(context.Context, *cluster.Node) error) {
		l.client(id, func(ctx context.Context, n *cluster.Node) bool {
			start := time.Now()
			err := request(ctx, n)
			if err != nil {
				t.Errorf("%s through %s: %v after %s", what, id, err, time.Since(start))
			}
			return err == nil
		})
	}
	do("take", func(ctx context.Context, n *cluster.Node) error {
		_, err := n.TakeKeys(ctx, cluster.TakeRequest{Count: 2})
		return err
	})
	do("create", func(ctx context.Context, n *cluster.Node) error {
		return create(ctx, n, linkTo("http://example.com/"), nil).Err
	})
	do("linearizable read", func(ctx context.Context, n *cluster.Node) error {
		_, _, err := n.Link(ctx, cluster.Linearizable, known)
		return err
	})
	do("redirect", func(ctx context.Context, n *cluster.Node) error {
		_, _, err := n.Link(ctx, cluster.Local, known)
		return err
	})
}

func TestP9_RedirectsGoOnWithoutAMajority(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	key := mustCreate(t, c.Node("n1"), linkTo("http://example.com/"))
	c.WaitEqual(t)
	last := c.Node("n3")
	c.Kill("n1")
	c.Kill("n2")
	harness.AwaitTrue(t, "the survivor knows that it is alone", func() bool { return c.Leader() == "" })
	over, cancel := context.WithCancel(t.Context())
	cancel() // not even time to ask anybody
	for range 100 {
		if _, link, err := last.Link(over, cluster.Local, key); err != nil || link.Url != "http://example.com/" {
			t.Fatalf("redirect: %v, %v", link, err)
		}
	}
	if age, leading := last.Age(); leading || age <= 0 {
		t.Errorf("the answer's age is %s, leading: %v", age, leading)
	}
	short := within(t, 300*time.Millisecond)
	if _, _, err := last.Link(short, cluster.Linearizable, key); !errors.Is(err, cluster.ErrNoLeader) {
		t.Errorf("linearizable read: %v", err)
	}
	if _, _, err := last.Link(short, cluster.Local, "unknown"); err == nil || errors.Is(err, fsm.ErrLinkNotFound) {
		t.Errorf("a link that this node cannot know to be absent: %v", err)
	}
	c.Restart("n1")
	mustCreate(t, last, linkTo("http://example.org/"))
}
