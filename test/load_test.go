package test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/harness"
)

// load is clients that work until they are stopped.
type load struct {
	t      *testing.T
	c      *harness.Cluster
	stop   context.CancelFunc
	ctx    context.Context
	done   sync.WaitGroup
	worked atomic.Int64 // requests answered with success
}

func newLoad(t *testing.T, c *harness.Cluster) *load {
	l := &load{t: t, c: c}
	l.ctx, l.stop = context.WithCancel(t.Context())
	t.Cleanup(l.end)
	return l
}

// client runs work again and again on the node, while it is up. work reports
// whether the request succeeded; it may be cut short only by a dying node.
func (l *load) client(id string, work func(ctx context.Context, n *cluster.Node) bool) {
	l.done.Go(func() {
		idle := time.NewTicker(10 * time.Millisecond)
		defer idle.Stop()
		for l.ctx.Err() == nil {
			n := l.c.Node(id)
			if n == nil {
				<-idle.C
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), clientDeadline)
			if work(ctx, n) {
				l.worked.Add(1)
			}
			cancel()
		}
	})
}

// end stops the clients and waits for their last answers.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// progress waits until some more requests have succeeded.
func (l *load) progress(more int64) {
	l.t.Helper()
	from := l.worked.Load()
	harness.Await(l.t, fmt.Sprintf("%d more requests", more), func() error {
		if now := l.worked.Load(); now < from+more {
			return fmt.Errorf("only %d", now-from)
		}
		return nil
	})
}

// mayFail tells the errors that a client may meet while nodes die under it.
func mayFail(err error) bool {
	return errors.Is(err, cluster.ErrNoLeader) || errors.Is(err, cluster.ErrStopped) ||
		errors.Is(err, cluster.ErrBusy) || errors.Is(err, fsm.ErrOutcomeUnknown)
}

// keyring is all keys that any client was given.
type keyring struct {
	t    *testing.T
	mu   sync.Mutex
	seen map[string]string // to whom
}

func newKeyring(t *testing.T) *keyring { return &keyring{t: t, seen: map[string]string{}} }

// add notes that the keys were given to the client.
func (r *keyring) add(to string, keys ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		if first, again := r.seen[key]; again {
			r.t.Errorf("key %s was given to %s and to %s", key, first, to)
		}
		r.seen[key] = to
	}
}

func (r *keyring) count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return uint64(len(r.seen))
}

// takeThrough has clients on the node that take keys in every way there is:
// some or many from the buffer, more than it holds, under an idempotency key
// with a repeat through another node, and as the key of a link.
func (r *keyring) takeThrough(l *load, id string) {
	var number atomic.Int64
	name := func(kind string) string { return fmt.Sprintf("%s-%s-%d", id, kind, number.Add(1)) }
	take := func(ctx context.Context, n *cluster.Node, count int) bool {
		keys, err := n.TakeKeys(ctx, cluster.TakeRequest{Count: count})
		if err != nil {
			r.explain(n, "take", err)
			return false
		}
		if keys.Count() != count {
			r.t.Errorf("asked for %d keys, got %d", count, keys.Count())
		}
		r.add(name("take"), list(keys)...)
		return true
	}
	l.client(id, func(ctx context.Context, n *cluster.Node) bool { return take(ctx, n, 1) })
	l.client(id, func(ctx context.Context, n *cluster.Node) bool {
		count := 1 + rand.IntN(100)
		if rand.IntN(50) == 0 {
			count = 2500 // of a buffer of 4000: straight from the log
		}
		return take(ctx, n, count)
	})
	l.client(id, func(ctx context.Context, n *cluster.Node) bool {
		o := create(ctx, n, linkTo("http://example.com/"), nil)
		if o.Err != nil {
			r.explain(n, "create", o.Err)
			return false
		}
		r.add(name("link"), o.Key)
		return true
	})
	l.client(id, func(ctx context.Context, n *cluster.Node) bool { return r.takeOnce(ctx, l.c, n, name("once")) })
}

// takeOnce takes keys and asks for the same ones again through another node.
func (r *keyring) takeOnce(ctx context.Context, c *harness.Cluster, n *cluster.Node, name string) bool {
	request := cluster.TakeRequest{Count: 1 + rand.IntN(5), Idempotency: idem(name)}
	first, err := n.TakeKeys(ctx, request)
	if err != nil {
		r.explain(n, "take once", err)
		return false
	}
	r.add(name, list(first)...)
	for _, other := range c.Followers(n.ID()) {
		if m := c.Node(other); m != nil {
			again, err := m.TakeKeys(ctx, request)
			if err != nil {
				r.explain(m, "repeat", err)
			} else if string(again.Bytes) != string(first.Bytes) || !again.Replayed {
				r.t.Errorf("%s: first %v, then %v (replayed: %v)", name, list(first), list(again), again.Replayed)
			}
			break
		}
	}
	return true
}

func (r *keyring) explain(n *cluster.Node, what string, err error) {
	if !mayFail(err) {
		r.t.Errorf("%s through %s: %v", what, n.ID(), err)
	}
}
