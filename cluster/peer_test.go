package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Each call gets as many keys as it wanted, and all of them together what came.
func TestShareGivesEachItsPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.IntRange(1, 5), 1, 20).Draw(t, "counts")
		calls := make([]*takeCall, len(counts))
		left := 0
		for i, n := range counts {
			calls[i] = &takeCall{count: n}
			left += n
		}
		a := &clusterpb.TakeAnswer{}
		for lease := uint64(1); left > 0; lease++ {
			n := rapid.IntRange(1, left).Draw(t, "grant")
			from := uint64(rapid.IntRange(0, 1000).Draw(t, "from"))
			a.Grants = append(a.Grants, &pb.Grant{Lease: lease, From: from, Count: uint64(n)})
			a.Keys = bufferSpace().AppendKeys(a.Keys, from, uint64(n))
			left -= n
		}
		if err := share(a, calls); err != nil {
			t.Fatal(err)
		}
		var keys []byte
		var grants []*pb.Grant
		for i, c := range calls {
			got := 0
			for _, g := range c.grants {
				if want := bufferSpace().AppendKeys(nil, g.from, g.count); string(g.keys) != string(want) {
					t.Fatalf("positions from %d with keys %s, want %s", g.from, g.keys, want)
				}
				keys = append(keys, g.keys...)
				got += int(g.count)
				if last := len(grants) - 1; last >= 0 && grants[last].Lease == g.lease {
					grants[last].Count += g.count
				} else {
					grants = append(grants, &pb.Grant{Lease: g.lease, From: g.from, Count: g.count})
				}
			}
			if got != counts[i] {
				t.Fatalf("call %d got %d keys, want %d", i, got, counts[i])
			}
		}
		same := func(a, b *pb.Grant) bool { return a.Lease == b.Lease && a.From == b.From && a.Count == b.Count }
		if string(keys) != string(a.Keys) || !slices.EqualFunc(grants, a.Grants, same) {
			t.Fatalf("%s as %v, want %s as %v", keys, grants, a.Keys, a.Grants)
		}
	})
}

// An answer that does not add up gives nobody a key.
func TestShareRefusesWhatDoesNotAddUp(t *testing.T) {
	grants := func(counts ...uint64) (gs []*pb.Grant) {
		for _, n := range counts {
			gs = append(gs, &pb.Grant{Lease: 1, Count: n})
		}
		return gs
	}
	for name, a := range map[string]*clusterpb.TakeAnswer{
		"no keys":          {Grants: grants(3)},
		"half a key":       {Grants: grants(3), Keys: make([]byte, 17)},
		"too few":          {Grants: grants(2), Keys: make([]byte, 12)},
		"too many":         {Grants: grants(4), Keys: make([]byte, 24)},
		"an empty grant":   {Grants: grants(3, 0), Keys: make([]byte, 18)},
		"a huge grant":     {Grants: grants(1<<63, 1<<63, 3), Keys: make([]byte, 18)},
		"nothing":          {},
		"a key of nothing": {Grants: grants(1, 2), Keys: []byte{}},
	} {
		calls := []*takeCall{{count: 1}, {count: 2}}
		if err := share(a, calls); !errors.Is(err, errNoAnswer) || calls[0].grants != nil || calls[1].grants != nil {
			t.Errorf("%s: %v, %v, %v", name, err, calls[0].grants, calls[1].grants)
		}
	}
}

// At the end of a key space there are too few keys for all that ask at once
// through a follower: those that are left are given all the same.
func TestTheLastKeysThroughAFollower(t *testing.T) {
	const size, left = 1_000_000, 37
	n := followerOfTwo(t, Config{Keyspace: keyspace.Space{Alphabet: "0123456789", Length: 6}, BufferMin: 10, BufferMax: 20})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for n.machine.Version() < fsm.Version && n.machine.WaitApplied(ctx, n.machine.Applied()+1) == nil {
	}
	ends := false
	if _, err := n.UpdateKeyspace(ctx, "", &ends, nil); err != nil {
		t.Fatal(err)
	}
	for taken := 1; taken < size-left; { // followerOfTwo took one
		count := min(100_000, size-left-taken)
		if _, err := n.TakeKeys(ctx, TakeRequest{Count: count}); err != nil {
			t.Fatal(err)
		}
		taken += count
	}
	var mu sync.Mutex
	given := map[string]bool{}
	var callers sync.WaitGroup
	for range 3 * left {
		callers.Go(func() {
			keys, err := n.TakeKeys(ctx, TakeRequest{Count: 1})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && given[string(keys.Bytes)]:
				t.Errorf("key %s twice", keys.Bytes)
			case err == nil:
				given[string(keys.Bytes)] = true
			case !errors.Is(err, fsm.ErrKeyspaceExhausted):
				t.Error(err)
			}
		})
	}
	callers.Wait()
	stats, err := n.Keyspace(ctx, Linearizable, "")
	if err != nil {
		t.Fatal(err)
	}
	if lost := int(stats.Lost); len(given) > left || len(given)+lost < left { // lost: a leader that got no time left office
		t.Errorf("%d keys given and at most %d lost, %d were left", len(given), lost, left)
	}
}
