package test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

func TestP2_OnlyTheReceiptReturnsAKey(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	n := c.Node("n2")
	mine, others := mustTake(t, n, 3), mustTake(t, n, 3)
	bound := list(mine)[2]
	mustCreate(t, n, &pb.CreateLink{TakenKey: bound, Link: &pb.Link{Url: "http://example.com/"}})
	forged := slices.Clone(mine.Receipt)
	forged[len(forged)/2] ^= 1
	for _, attempt := range []struct {
		name    string
		receipt []byte
		keys    []string
		want    error
	}{
		{"a forged receipt", forged, list(mine)[:1], fsm.ErrInvalidReceipt},
		{"no receipt", nil, list(mine)[:1], fsm.ErrInvalidReceipt},
		{"another caller's receipt", others.Receipt, list(mine)[:1], fsm.ErrNotReturnable},
		{"a key with a link", mine.Receipt, []string{bound}, fsm.ErrNotReturnable},
		{"a key twice", mine.Receipt, []string{list(mine)[0], list(mine)[0]}, fsm.ErrNotReturnable},
		{"one bad key among good ones", mine.Receipt, list(mine), fsm.ErrNotReturnable},
		{"no key at all", mine.Receipt, []string{"!!!!!!"}, fsm.ErrNotReturnable},
	} {
		if o := n.ReturnKeys(patient(t), "", attempt.receipt, attempt.keys, nil); !errors.Is(o.Err, attempt.want) {
			t.Errorf("%s: %v, want %v", attempt.name, o.Err, attempt.want)
		}
	}
	for _, key := range append(list(mine), list(others)...) {
		if row := leaseOf(t, n, key); row.Purpose != pb.Purpose_LEASE {
			t.Errorf("%s left its owner: %v", key, row)
		}
	}
	if o := n.ReturnKeys(patient(t), "", mine.Receipt, list(mine)[:2], nil); o.Err != nil || o.Count != 2 {
		t.Errorf("the owner's return: %+v", o)
	}
}

func TestP2_AKeyIsReturnedOnceThroughWhicheverNode(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	for range 5 {
		keys := mustTake(t, c.Node("n1"), 4)
		var won atomic.Int32
		var all sync.WaitGroup
		for _, id := range c.Up() {
			all.Go(func() {
				o := c.Node(id).ReturnKeys(patient(t), "", keys.Receipt, list(keys), nil)
				if o.Err == nil {
					won.Add(1)
				} else if !errors.Is(o.Err, fsm.ErrNotReturnable) {
					t.Error(id, o.Err)
				}
			})
		}
		transfer(t, c)
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%d callers returned the same keys", won.Load())
		}
	}
	if s := stats(t, c.Node("n1")); s.Returned != 20 {
		t.Errorf("%d keys wait in quarantine, want 20", s.Returned)
	}
}

// A returned key rests in quarantine, then it may be handed out anew, and the
// first receipt is worth nothing any more.
func TestP2_AReceiptIsVoidOnceTheKeyIsLeasedAnew(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64 // of the real time
	c := harness.Start(t, 3, func(cfg *cluster.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		cfg.BufferMin, cfg.BufferMax = 50, 50
	})
	n := c.Node("n1")
	first := mustTake(t, n, 1)
	key := list(first)[0]
	if o := n.ReturnKeys(patient(t), "", first.Receipt, []string{key}, nil); o.Err != nil {
		t.Fatal(o.Err)
	}
	if again := list(mustTake(t, n, 200)); slices.Contains(again, key) {
		t.Fatal("handed out while in quarantine")
	}
	ahead.Store(int64(fsm.Quarantine + time.Minute))
	var second cluster.Keys
	harness.AwaitTrue(t, "the key is handed out again", func() bool {
		second = mustTake(t, n, 100)
		return slices.Contains(list(second), key)
	})
	if o := n.ReturnKeys(patient(t), "", first.Receipt, []string{key}, nil); !errors.Is(o.Err, fsm.ErrNotReturnable) {
		t.Errorf("the first owner's receipt: %v", o.Err)
	}
	if o := n.ReturnKeys(patient(t), "", second.Receipt, []string{key}, nil); o.Err != nil {
		t.Errorf("the second owner's receipt: %v", o.Err)
	}
}
