package test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

// register is a link whose URL holds a number that one writer only raises. A
// linearizable read must not show less than was acknowledged when it began.
type register struct {
	t     *testing.T
	key   string
	acked atomic.Int64
	next  int64
	reads atomic.Int64
}

func newRegister(t *testing.T, n *cluster.Node) *register {
	return &register{t: t, key: mustCreate(t, n, linkTo(numbered(0)))}
}

func numbered(v int64) string { return fmt.Sprintf("http://example.com/%d", v) }

// write raises the number; of an unknown outcome only the attempt counts.
func (r *register) write(ctx context.Context, n *cluster.Node) bool {
	r.next++
	url := numbered(r.next)
	o := n.UpdateLink(ctx, &pb.UpdateLink{Key: r.key, Url: &url}, nil)
	if o.Err != nil {
		if !mayFail(o.Err) {
			r.t.Errorf("write through %s: %v", n.ID(), o.Err)
		}
		return false
	}
	r.acked.Store(r.next)
	return true
}

func (r *register) read(ctx context.Context, n *cluster.Node) bool {
	least := r.acked.Load()
	_, link, err := n.Link(ctx, cluster.Linearizable, r.key)
	if err != nil {
		if !mayFail(err) {
			r.t.Errorf("read through %s: %v", n.ID(), err)
		}
		return false
	}
	got, err := strconv.ParseInt(link.Url[strings.LastIndexByte(link.Url, '/')+1:], 10, 64)
	if err != nil {
		r.t.Error(err)
	}
	if got < least {
		r.t.Errorf("read %d through %s; %d was acknowledged before it began", got, n.ID(), least)
	}
	r.reads.Add(1)
	return true
}

func TestP6_LinearizableReadsAreNeverStale(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	r := newRegister(t, c.Node("n1"))
	l := newLoad(t, c)
	for _, id := range c.Up() {
		for range 2 {
			l.client(id, func(ctx context.Context, n *cluster.Node) bool {
				short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				defer cancel()
				return r.read(short, n)
			})
		}
	}
	l.done.Go(func() { // one writer, through whichever node is up
		for i := 0; l.ctx.Err() == nil; i++ {
			up := c.Up()
			if n := c.Node(up[i%len(up)]); n != nil {
				ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
				r.write(ctx, n)
				cancel()
			}
		}
	})
	written := func(more int64) {
		from := r.acked.Load()
		harness.AwaitTrue(t, "more writes", func() bool { return r.acked.Load() >= from+more })
	}
	written(5)
	for _, f := range faults {
		f.run(t, c, func() { written(5); l.progress(50) })
		written(5)
	}
	l.end()
	t.Logf("%d writes, %d reads", r.acked.Load(), r.reads.Load())
	c.WaitEqual(t)
}

// A leader that nobody hears any more still believes in itself for a lease. It
// must not answer from its own state; with a long lease there is time to ask.
func TestP6_APartitionedLeaderAnswersNoLinearizableRead(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	c := harness.New(t, 3, nil)
	for _, id := range []string{"n1", "n2", "n3"} {
		cfg := c.Config(id)
		if id == "n1" {
			cfg.Heartbeat, cfg.Election = lease*5/4, lease*5/4 // the others give up much earlier
		}
		c.RunWith(cfg)
	}
	c.WaitLeader()
	old := mustTransferTo(t, c, "n1")
	r := newRegister(t, old)
	c.Isolate(old.ID())
	fresh := c.Node(c.WaitLeaderOther(old.ID()))
	if !r.write(patient(t), fresh) {
		t.Fatal("no write to the new leader")
	}
	if _, leading := old.Age(); !leading {
		t.Log("the machine is busy: the old leader's lease is over already")
	}
	_, link, err := old.Link(within(t, 2*lease), cluster.Linearizable, r.key)
	if !errors.Is(err, cluster.ErrNoLeader) {
		t.Errorf("the old leader answers %v, %v", link, err)
	}
	// Its state is the old one: a local read shows it, as it may.
	if _, link, err := old.Link(within(t, lease), cluster.Local, r.key); err != nil || link.Url != numbered(0) {
		t.Errorf("local read: %v, %v", link, err)
	}
	c.Heal()
	harness.AwaitTrue(t, "the old leader catches up", func() bool { return r.read(patient(t), old) })
}

func TestP6_AClientSeesItsOwnWritesOnItsNode(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	for _, other := range c.Followers(leader) { // the followers are always behind
		c.Net.Delay(leader, other, 10*time.Millisecond)
	}
	local := func(n *cluster.Node, key, want string) {
		t.Helper()
		link, err := n.Machine().Link(key) // without the second look of Node.Link
		if err != nil || link.Url != want {
			t.Errorf("on %s: %v, %v; want %s", n.ID(), link, err, want)
		}
	}
	for _, id := range c.Up() {
		n := c.Node(id)
		for i := range 10 {
			key := mustCreate(t, n, linkTo(numbered(int64(i))))
			local(n, key, numbered(int64(i)))
			url := "http://example.org/"
			if o := n.UpdateLink(patient(t), &pb.UpdateLink{Key: key, Url: &url}, nil); o.Err != nil {
				t.Fatal(o.Err)
			}
			local(n, key, url)
			if o := n.DeleteLink(patient(t), "", key, nil); o.Err != nil {
				t.Fatal(o.Err)
			}
			if _, err := n.Machine().Link(key); !errors.Is(err, fsm.ErrLinkDeleted) {
				t.Errorf("on %s, deleted: %v", id, err)
			}
		}
	}
}

// A node that lags does not have the link yet, and finds it all the same.
func TestP6_ALocalReadFindsWhatWasAcknowledgedElsewhere(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	behind := c.Node(c.Followers(leader)[0])
	c.Net.Delay(leader, behind.ID(), 50*time.Millisecond)
	missed := 0
	for i := range 10 {
		key := mustCreate(t, c.Node(leader), linkTo(numbered(int64(i))))
		if _, err := behind.Machine().Link(key); errors.Is(err, fsm.ErrLinkNotFound) {
			missed++
		}
		_, link, err := behind.Link(patient(t), cluster.Local, key)
		if err != nil || link.Url != numbered(int64(i)) {
			t.Errorf("%v, %v", link, err)
		}
	}
	if missed == 0 {
		t.Error("the follower was never behind: this test has shown nothing")
	}
	if _, _, err := behind.Link(patient(t), cluster.Local, "nothere"); !errors.Is(err, fsm.ErrLinkNotFound) {
		t.Errorf("a link that does not exist: %v", err)
	}
	c.Isolate(behind.ID())
	if _, _, err := behind.Link(within(t, time.Second), cluster.Local, "nothere"); errors.Is(err, fsm.ErrLinkNotFound) || err == nil {
		t.Errorf("alone it cannot know, but says: %v", err)
	}
}
