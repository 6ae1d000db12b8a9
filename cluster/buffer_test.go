package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
)

var bufferSpace = sync.OnceValue(func() *keyspace.Permutation {
	perm, err := keyspace.NewPermutation(keyspace.Space{Alphabet: keyspace.Base62, Length: 6}, make([]byte, 32))
	if err != nil {
		panic(err)
	}
	return perm
})

func testBuffer(minKeys, maxKeys int, reserved ...string) *buffer {
	return newBuffer(newSpaceKeys(bufferSpace(), reserved), minKeys, maxKeys)
}

func run(from, to uint64) keyspace.Run { return keyspace.Run{From: from, To: to} }

// popped is what a buffer gives at once: n keys, or none with the reason.
func popped(b *buffer, n int) (keys []string, err error) {
	grants, more, err := b.pop(nil, n)
	if err != nil {
		return nil, err
	}
	if more != nil {
		return nil, errors.New("not enough")
	}
	for _, g := range grants {
		length := len(g.keys) / int(g.count)
		for i := range int(g.count) {
			keys = append(keys, string(g.keys[i*length:(i+1)*length]))
		}
	}
	return keys, nil
}

func TestBufferRule1OnlyALeaseOfThisTermEnters(t *testing.T) {
	b := testBuffer(10, 100)
	if b.add(1, b.keys, 1, run(0, 10)) {
		t.Error("a closed buffer took keys")
	}
	b.open(2, time.Now())
	for _, term := range []uint64{0, 1, 3} {
		if b.add(term, b.keys, 1, run(0, 10)) {
			t.Errorf("a buffer of term 2 took keys of term %d", term)
		}
	}
	if !b.add(2, b.keys, 1, run(0, 10)) || b.stats().available != 10 {
		t.Errorf("keys of its own term: %+v", b.stats())
	}
	if lost := b.stats().lost; lost != 40 {
		t.Errorf("%d keys counted as lost, want 40", lost)
	}
}

func TestBufferRule2NothingBeforeItOpens(t *testing.T) {
	b := testBuffer(10, 100)
	if keys, err := popped(b, 1); !errors.Is(err, ErrNotLeader) {
		t.Errorf("%v, %v", keys, err)
	}
	if count, _ := b.want(time.Now()); count != 0 {
		t.Errorf("a closed buffer wants %d keys", count)
	}
}

func TestBufferRule3ClosingEmptiesItForGood(t *testing.T) {
	b := testBuffer(10, 100)
	b.open(1, time.Now())
	b.add(1, b.keys, 1, run(0, 10))
	b.close()
	b.open(2, time.Now())
	if keys, err := popped(b, 1); err == nil {
		t.Errorf("the next term begins with %v", keys)
	}
	if s := b.stats(); s.lost != 10 || s.available != 0 {
		t.Errorf("%+v", s)
	}
}

func TestBufferRule4DrainingReturnsWhatIsLeft(t *testing.T) {
	b := testBuffer(10, 100)
	b.open(1, time.Now())
	b.add(1, b.keys, 7, run(100, 110))
	if _, err := popped(b, 4); err != nil {
		t.Fatal(err)
	}
	left, handedOut := b.drain()
	if len(left) != 1 || left[0].Lease != 7 || left[0].From != 104 || left[0].Count != 6 || handedOut != 4 {
		t.Errorf("left %v, handed out %d", left, handedOut)
	}
	if keys, err := popped(b, 1); !errors.Is(err, ErrNotLeader) {
		t.Errorf("after it: %v, %v", keys, err)
	}
	if lost := b.stats().lost; lost != 0 {
		t.Errorf("%d keys counted as lost", lost)
	}
}

func TestBufferRule5AWaitEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*buffer, context.CancelFunc)
		want error
	}{
		{"at its deadline", func(_ *buffer, cancel context.CancelFunc) { cancel() }, ErrBusy},
		{"with leadership", func(b *buffer, _ context.CancelFunc) { b.close() }, ErrNotLeader},
		{"with a hand-over", func(b *buffer, _ context.CancelFunc) { b.drain() }, ErrNotLeader},
		{"with the key space", func(b *buffer, _ context.CancelFunc) { b.runDry(fsm.ErrKeyspaceExhausted) }, fsm.ErrKeyspaceExhausted},
		{"with enough keys", func(b *buffer, _ context.CancelFunc) { b.add(1, b.keys, 2, run(10, 20)) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := testBuffer(10, 100)
				b.open(1, time.Now())
				b.add(1, b.keys, 1, run(0, 5))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				result := make(chan error, 1)
				go func() {
					grants, err := b.take(ctx, nil, 12)
					if err != nil && len(grants) > 0 {
						err = fmt.Errorf("keys with an error: %v, %w", grants, err)
					}
					result <- err
				}()
				synctest.Wait()
				c.end(b, cancel)
				if err := <-result; !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
			})
		})
	}
}

func TestBufferHandsOutNoReservedWord(t *testing.T) {
	blocked := string(bufferSpace().AppendKey(nil, 5))
	b := testBuffer(10, 100, blocked, "not-a-key")
	b.open(1, time.Now())
	b.add(1, b.keys, 1, run(0, 10))
	keys, err := popped(b, 9)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if key == blocked {
			t.Errorf("%s was handed out", key)
		}
	}
	if keys, err := popped(b, 1); err == nil {
		t.Errorf("a tenth key of nine: %v", keys)
	}
}

func TestBufferHoldsWhatItHasNotHandedOut(t *testing.T) {
	b := testBuffer(10, 100)
	b.open(1, time.Now())
	b.add(1, b.keys, 1, run(10, 20))
	if _, err := popped(b, 3); err != nil {
		t.Fatal(err)
	}
	for pos, want := range map[uint64]bool{9: false, 10: false, 12: false, 13: true, 19: true, 20: false} {
		if held, _, err := b.holds(0, pos); held != want || err != nil {
			t.Errorf("position %d: %v", pos, held)
		}
	}
}

// A key of a lease is held from before anybody can be given one of it until it is
// given; what the buffer does not know of, it does not answer for.
func TestBufferSaysUpToWhichLeaseItKnows(t *testing.T) {
	b := testBuffer(10, 100)
	expect := func(pos uint64, held bool, settledTo uint64) {
		t.Helper()
		if h, s, err := b.holds(0, pos); h != held || s != settledTo || err != nil {
			t.Errorf("position %d: %v, settled to %d, %v; want %v, %d", pos, h, s, err, held, settledTo)
		}
	}
	b.open(3, time.Now())
	expect(10, false, 0)
	b.settle(2, 9, 0, []keyspace.Run{run(10, 20)}) // of another term
	expect(10, false, 0)
	b.settle(3, 7, 0, []keyspace.Run{run(10, 20), run(30, 40)})
	expect(10, true, 7)
	b.push(3, grant{0, 1, 10, 5, make([]byte, 5*b.keys.perm.Space().Length)})
	expect(10, true, 7)
	if _, err := popped(b, 5); err != nil {
		t.Fatal(err)
	}
	expect(10, false, 7) // given
	expect(15, true, 7)
	b.push(3, grant{0, 1, 32, 8, make([]byte, 8*b.keys.perm.Space().Length)}) // what comes before is left out
	expect(15, false, 7)
	expect(30, false, 7)
	expect(39, true, 7)

	b.close()
	if _, _, err := b.holds(0, 10); !errors.Is(err, ErrNotLeader) {
		t.Error("closed:", err)
	}
	b.open(3, time.Now()) // a hand-over has failed: who has keys still has them
	expect(10, false, 7)
	b.close()
	b.open(4, time.Now())
	expect(10, false, 0)
}

// The target follows the use of the last seconds, between the bounds.
func TestBufferTargetFollowsUse(t *testing.T) {
	now := time.Now()
	b := testBuffer(100, 10_000)
	b.open(1, now)
	lease, at := uint64(0), uint64(0)
	second := func(used int) (wanted int) {
		for used > 0 {
			if keys, err := popped(b, min(used, 50)); err == nil {
				used -= len(keys)
				continue
			}
			lease++
			b.add(1, b.keys, lease, run(at, at+500))
			at += 500
		}
		now = now.Add(time.Second)
		b.want(now)
		return b.target
	}
	for range 60 {
		second(300)
	}
	if b.target < 2500 || b.target > 3500 {
		t.Errorf("at 300 keys a second the target is %d, want about ten seconds' worth", b.target)
	}
	for range 60 {
		second(5000)
	}
	if b.target != 10_000 {
		t.Errorf("at 5000 keys a second the target is %d, want the most", b.target)
	}
	for range 120 {
		second(0)
	}
	if b.target != 100 {
		t.Errorf("idle the target is %d, want the least", b.target)
	}
}

// What a lease could not report is reported by the next one, or by the release.
func TestBufferReportsEachKeyOnce(t *testing.T) {
	now := time.Now()
	b := testBuffer(10, 100)
	b.open(1, now)
	b.add(1, b.keys, 1, run(0, 10))
	if _, err := popped(b, 8); err != nil {
		t.Fatal(err)
	}
	count, handedOut := b.want(now)
	if count != 8 || handedOut != 8 {
		t.Fatalf("wants %d, reports %d", count, handedOut)
	}
	if _, again := b.want(now); again != 0 {
		t.Errorf("reports %d again", again)
	}
	b.unreported(handedOut)
	if _, err := popped(b, 1); err != nil {
		t.Fatal(err)
	}
	if _, handedOut := b.drain(); handedOut != 9 {
		t.Errorf("the release reports %d", handedOut)
	}
}

// ledger is the model: what became of every position that was ever leased.
type ledger struct {
	b                     *buffer
	next, lease, term     uint64 // term 0: closed
	entered               map[uint64]uint64
	given                 map[string]bool
	added, drained, taken uint64
}

// Whatever happens in whatever order: no key comes out twice, none of another
// term, and every key is in exactly one place.
func TestBufferAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &ledger{b: testBuffer(10, 1000), entered: map[uint64]uint64{}, given: map[string]bool{}}
		terms := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"open": func(*rapid.T) {
				if m.term == 0 { // as the leader does: closed or drained before
					terms++
					m.term = terms
					m.b.open(m.term, time.Now())
				}
			},
			"close": func(*rapid.T) { m.b.close(); m.term = 0 },
			"drain": func(*rapid.T) { m.drain(); m.term = 0 },
			"add": func(t *rapid.T) {
				if m.term > 0 {
					m.add(t, m.term)
				}
			},
			"add late": func(t *rapid.T) {
				if terms > 0 {
					m.add(t, rapid.Uint64Range(1, terms).Draw(t, "term"))
				}
			},
			"pop": m.pop,
			"":    m.check,
		})
	})
}

func (m *ledger) add(t *rapid.T, term uint64) {
	count := rapid.Uint64Range(1, 30).Draw(t, "count")
	m.lease++
	m.entered[m.lease] = term
	if ok := m.b.add(term, m.b.keys, m.lease, run(m.next, m.next+count)); ok != (term == m.term) {
		t.Fatalf("keys of term %d into a buffer of term %d: %v", term, m.term, ok)
	}
	m.next += count
	m.added += count
}

func (m *ledger) drain() {
	left, _ := m.b.drain()
	for _, g := range left {
		m.drained += g.Count
	}
}

func (m *ledger) pop(t *rapid.T) {
	n := rapid.IntRange(1, 40).Draw(t, "n")
	grants, more, err := m.b.pop(nil, n)
	if err != nil || more != nil {
		if len(grants) > 0 {
			t.Fatalf("%d grants with %v", len(grants), err)
		}
		return
	}
	got := 0
	for _, g := range grants {
		if m.entered[g.lease] != m.term {
			t.Fatalf("lease %d is of term %d, this is %d", g.lease, m.entered[g.lease], m.term)
		}
		for i := range g.count {
			key := string(bufferSpace().AppendKey(nil, g.from+i))
			if at := int(i) * 6; string(g.keys[at:at+6]) != key {
				t.Fatalf("position %d has key %s", g.from+i, g.keys[at:at+6])
			}
			if m.given[key] {
				t.Fatalf("key %s twice", key)
			}
			m.given[key] = true
			got++
		}
	}
	if got != n {
		t.Fatalf("%d keys of %d", got, n)
	}
	m.taken += uint64(n)
}

func (m *ledger) check(t *rapid.T) {
	s := m.b.stats()
	if s.total != m.taken || m.added != m.taken+m.drained+s.lost+uint64(s.available) {
		t.Fatalf("%d added; %d taken, %d drained, %+v", m.added, m.taken, m.drained, s)
	}
}

// Many takers, one filler and a hand-over, at once.
func TestBufferConcurrentTakers(t *testing.T) {
	b := testBuffer(1000, 5000)
	b.open(1, time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const takers, each, takes = 8, 7, 200
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup
	for range takers {
		all.Go(func() {
			for range takes {
				grants, err := b.take(ctx, nil, each)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, g := range grants {
					for i := range int(g.count) {
						key := string(g.keys[i*6 : (i+1)*6])
						if seen[key] {
							t.Errorf("key %s twice", key)
						}
						seen[key] = true
					}
				}
				mu.Unlock()
			}
		})
	}
	filled := make(chan uint64)
	taken := make(chan struct{})
	go func() {
		var at uint64
		for lease := uint64(1); ; lease++ {
			if n, _ := b.want(time.Now()); n > 0 {
				b.add(1, b.keys, lease, run(at, at+uint64(n)))
				at += uint64(n)
			}
			select {
			case <-b.low:
			case <-taken:
				filled <- at
				return
			}
		}
	}()
	all.Wait()
	close(taken)
	added := <-filled
	var left uint64
	grants, _ := b.drain()
	for _, g := range grants {
		left += g.Count
	}
	if len(seen) != takers*each*takes || uint64(len(seen))+left != added {
		t.Errorf("%d keys taken, %d left of %d", len(seen), left, added)
	}
}

// Who waits for more keys than the buffer aims to hold by now gets them all the
// same: the target sinks while they wait.
func TestBufferFetchesWhatSomebodyWaitsFor(t *testing.T) {
	for name, b := range map[string]*buffer{"of an idle key space": testBuffer(0, 1000), "with a floor": testBuffer(100, 1000)} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			b.open(1, now)
			b.add(1, b.keys, 1, run(0, 80))
			for n, from := 90, uint64(80); n <= 500; n *= 2 {
				if _, err := popped(b, n); err == nil {
					t.Fatalf("%d keys are there", n)
				}
				for range 50 { // looks, none of which brings keys
					now = now.Add(time.Second)
					b.want(now)
				}
				count, _ := b.want(now)
				if b.available+count < n {
					t.Fatalf("%d keys are there, %d are wanted, %d more are to come", b.available, n, count)
				}
				b.add(1, b.keys, 1, run(from, from+uint64(count)))
				from += uint64(count)
				if keys, err := popped(b, n); err != nil || len(keys) != n {
					t.Fatalf("%d of %d keys, %v", len(keys), n, err)
				}
			}
		})
	}
}

// While a key space grows, keys of two lengths are here: nobody gets some of each,
// a large request does not wait for the end of the older ones, and what is held, and
// given back, is told apart.
func TestBufferOfTwoLengths(t *testing.T) {
	b := testBuffer(100, 1000)
	longer := b.keys
	longer.space = 9
	longer.perm, _ = keyspace.NewPermutation(keyspace.Space{Alphabet: keyspace.Base62, Length: 7}, make([]byte, 32))
	b.open(1, time.Now())
	b.settle(1, 5, 0, []keyspace.Run{run(0, 5)})
	b.add(1, b.keys, 1, run(0, 5))
	b.settle(1, 6, 9, []keyspace.Run{run(0, 30)})
	if held, _, _ := b.holds(9, 3); !held {
		t.Error("a key on its way is not held")
	}
	if held, _, _ := b.holds(0, 20); held {
		t.Error("the same position of another length is held")
	}
	b.add(1, longer, 2, run(0, 10))
	b.add(1, b.keys, 3, run(100, 103))
	b.add(1, longer, 4, run(20, 30))
	took := func(n int, spaces ...uint32) {
		t.Helper()
		grants, more, err := b.pop(nil, n)
		if err != nil || more != nil || countOf(grants) != uint64(n) {
			t.Fatalf("%d keys: %v, %v", n, grants, err)
		}
		for i, g := range grants {
			if len(spaces) != len(grants) || g.space != spaces[i] || len(g.keys) != int(g.count)*map[uint32]int{0: 6, 9: 7}[g.space] {
				t.Fatalf("%d keys: %v, want those of %v", n, grants, spaces)
			}
		}
	}
	took(1, 0)
	took(12, 9, 9)
	took(6, 0, 0)
	for space, want := range map[uint32]bool{0: true, 9: false} {
		if held, _, _ := b.holds(space, 102); held != want {
			t.Errorf("102 of %d is held: %v", space, held)
		}
	}
	// Nine are left, eight of one length: who wants nine waits, and has them fetched.
	if _, more, err := b.pop(nil, 9); more == nil || err != nil {
		t.Fatalf("nine of two lengths were taken, %v", err)
	}
	if count, _ := b.want(time.Now()); count < 9 {
		t.Errorf("%d are to be fetched", count)
	}
	took(8, 9)
	took(1, 0)
	b.add(1, longer, 5, run(40, 42))
	left, _ := b.drain()
	if len(left) != 1 || left[0].Space != 9 || left[0].Count != 2 {
		t.Errorf("%v is left", left)
	}
}

func TestSameLength(t *testing.T) {
	of := func(space uint32, froms ...uint64) (grants []grant) {
		for _, from := range froms {
			grants = append(grants, grant{space: space, from: from, count: 2})
		}
		return grants
	}
	for _, c := range []struct {
		before, more []grant
		want         uint64
	}{{nil, nil, 0}, {nil, of(9, 1), 2}, {of(0, 1), of(0, 3, 5), 6}, {of(0, 1), nil, 2}, {of(0, 1, 3), of(9, 1), 2}} {
		got := sameLength(c.before, c.more)
		if countOf(got) != c.want || len(got) > 0 && len(c.more) > 0 && got[0].space != c.more[0].space {
			t.Errorf("%v and %v: %v", c.before, c.more, got)
		}
	}
}
