package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// slowStore is a log whose next writes hang or fail as told.
type slowStore struct {
	raft.LogStore
	mu     sync.Mutex
	faults []fault
	all    *fault // for every write, when set
	widest uint64 // range deleted at once
}

// fault befalls one write of the inner store.
type fault struct {
	before, after time.Duration // hangs before and after it takes effect
	gate          <-chan struct{}
	lost          bool // fails, without effect
	full          bool // finds no room
	fails         bool // fails, and yet has its effect
}

var errDisk = errors.New("disk failure")

func (s *slowStore) write(do func() error) error {
	s.mu.Lock()
	f := fault{}
	if s.all != nil {
		f = *s.all
	} else if len(s.faults) > 0 {
		f, s.faults = s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	hang(f.before)
	if f.gate != nil {
		<-f.gate
	}
	if f.lost {
		return errDisk
	}
	if f.full {
		return syscall.ENOSPC
	}
	if err := do(); err != nil {
		return err
	}
	hang(f.after)
	if f.fails {
		return errDisk
	}
	return nil
}

// hang avoids a timer of no time at all, which crashes the race detector of Go
// 1.26 in a synctest bubble.
func hang(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

func (s *slowStore) plan(faults ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

func (s *slowStore) always(f *fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = f
}

func (s *slowStore) StoreLogs(logs []*raft.Log) error {
	return s.write(func() error { return s.LogStore.StoreLogs(logs) })
}

func (s *slowStore) DeleteRange(from, to uint64) error {
	s.mu.Lock()
	s.widest = max(s.widest, to-from+1)
	s.mu.Unlock()
	return s.write(func() error { return s.deleteRange(from, to) })
}

// deleteRange keeps raft.InmemStore's bounds right, which it does not do itself
// when the range goes beyond them.
func (s *slowStore) deleteRange(from, to uint64) error {
	last, _ := s.LastIndex()
	return s.LogStore.DeleteRange(from, min(to, last))
}

// guardUnderTest counts the callbacks.
type guardUnderTest struct {
	*guardedLog
	inner *slowStore

	mu    sync.Mutex
	calls []string
}

func newGuardUnderTest() *guardUnderTest {
	g := &guardUnderTest{inner: &slowStore{LogStore: raft.NewInmemStore()}}
	note := func(s string) { g.mu.Lock(); g.calls = append(g.calls, s); g.mu.Unlock() }
	g.guardedLog, _ = guardLog(g.inner, nil, logConfig{
		OnStall:   func(error) { note("stall") },
		OnRecover: func() { note("recover") },
		OnDead:    func(error) { note("dead") },
	})
	return g
}

func (g *guardUnderTest) heard() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return fmt.Sprint(g.calls)
}

// entries reads a log through its interface.
func entries(t *testing.T, s raft.LogStore) (all []raft.Log) {
	t.Helper()
	first, err1 := s.FirstIndex()
	last, err2 := s.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for i := first; i <= last && i > 0; i++ {
		var e raft.Log
		if err := s.GetLog(i, &e); err != nil {
			t.Fatalf("entry %d of [%d, %d]: %v", i, first, last, err)
		}
		all = append(all, e)
	}
	return all
}

// contents are the index and term of each entry.
func contents(t *testing.T, s raft.LogStore) string {
	t.Helper()
	var text strings.Builder
	for _, e := range entries(t, s) {
		fmt.Fprintf(&text, "%d@%d ", e.Index, e.Term)
	}
	return text.String()
}

func batch(from, to, term uint64) (logs []*raft.Log) {
	for i := from; i <= to; i++ {
		logs = append(logs, entry(i, term, "data"))
	}
	return logs
}

func TestGuardStalledAppend(t *testing.T) {
	for name, hang := range map[string]fault{"before": {before: 20 * time.Second}, "after": {after: 20 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuardUnderTest()
				if err := g.StoreLogs(batch(1, 3, 1)); err != nil {
					t.Fatal(err)
				}
				g.inner.plan(hang)
				start := time.Now()
				if err := g.StoreLogs(batch(4, 6, 1)); !errors.Is(err, ErrLogStalled) || time.Since(start) != 5*time.Second {
					t.Fatal(err, time.Since(start))
				}
				if err := errors.Join(g.StoreLog(entry(4, 2, "")), g.DeleteRange(1, 2), g.DeleteRange(3, 3)); err == nil || time.Since(start) != 5*time.Second {
					t.Fatal(err, time.Since(start))
				}
				if got := contents(t, g); got != "1@1 2@1 3@1 " {
					t.Fatal("while it hangs:", got)
				}
				if g.heard() != "[stall]" {
					t.Fatal(g.heard())
				}
				<-time.After(16 * time.Second)
				if got := contents(t, g.inner); got != "1@1 2@1 3@1 " || g.heard() != "[stall recover]" {
					t.Fatal("after it:", got, g.heard())
				}
				if err := g.StoreLog(entry(4, 2, "")); err != nil {
					t.Fatal(err)
				}
				<-time.After(2 * time.Minute) // nobody is declared dead later
				if got := contents(t, g.inner); got != "1@1 2@1 3@1 4@2 " || g.heard() != "[stall recover]" {
					t.Fatal(got, g.heard())
				}
			})
		})
	}
}

// A follower that deletes a conflicting suffix and cannot store what comes in
// its place keeps the suffix: raft goes on believing in it.
func TestGuardFailedReplacementOfASuffix(t *testing.T) {
	faults := map[string][]fault{
		"delete hangs":          {{before: 20 * time.Second}},
		"delete done and hangs": {{after: 20 * time.Second}},
		"delete fails":          {{lost: true}},
		"store hangs":           {{}, {before: 20 * time.Second}},
		"store done and hangs":  {{}, {after: 20 * time.Second}},
		"store fails":           {{}, {lost: true}},
		"store fails, with effect, so does the rollback": {{}, {fails: true}, {lost: true}, {lost: true}, {}, {lost: true}},
	}
	for name, plan := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuardUnderTest()
				if err := g.StoreLogs(batch(1, 9, 1)); err != nil {
					t.Fatal(err)
				}
				g.inner.plan(plan...)
				if err := g.DeleteRange(4, 9); err != nil {
					t.Fatal(err)
				}
				if got := contents(t, g); got != "1@1 2@1 3@1 " {
					t.Fatal("deleted, and still seen:", got)
				}
				if err := g.StoreLogs(batch(4, 5, 2)); err == nil {
					t.Fatal("no error")
				}
				const old = "1@1 2@1 3@1 4@1 5@1 6@1 7@1 8@1 9@1 "
				if got := contents(t, g); got != old {
					t.Fatal("not what raft believes in:", got)
				}
				<-time.After(30 * time.Second)
				if got := contents(t, g.inner); got != old || contents(t, g) != old {
					t.Fatal("not put back:", got)
				}
				if err := errors.Join(g.DeleteRange(4, 9), g.StoreLogs(batch(4, 5, 2))); err != nil {
					t.Fatal(err)
				}
				if got := contents(t, g.inner); got != "1@1 2@1 3@1 4@2 5@2 " || contents(t, g) != got || g.heard() != "[stall recover]" {
					t.Fatal(got, g.heard())
				}
			})
		})
	}
}

// A compaction hangs just between raft's deletion of a suffix and the store.
func TestGuardReplacementThatNeverBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardUnderTest()
		if err := errors.Join(g.StoreLogs(batch(1, 9, 1)), g.DeleteRange(7, 9)); err != nil {
			t.Fatal(err)
		}
		g.inner.plan(fault{before: 20 * time.Second})
		compacted := make(chan error)
		go func() { compacted <- g.DeleteRange(1, 2) }()
		synctest.Wait()
		<-time.After(time.Second)
		if err := g.StoreLog(entry(7, 2, "")); !errors.Is(err, ErrLogStalled) {
			t.Fatal(err)
		}
		if err := <-compacted; !errors.Is(err, ErrLogStalled) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Second)
		const old = "3@1 4@1 5@1 6@1 7@1 8@1 9@1 "
		if got := contents(t, g); got != old {
			t.Fatal("not what raft believes in:", got)
		}
		if err := errors.Join(g.DeleteRange(7, 9), g.StoreLog(entry(7, 2, ""))); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, g.inner); got != "3@1 4@1 5@1 6@1 7@2 " {
			t.Fatal(got)
		}
	})
}

func TestGuardSuffixTooLargeToKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardUnderTest()
		huge := batch(1, 4, 1)
		for _, e := range huge {
			e.Data = make([]byte, maxUndo/3)
		}
		if err := errors.Join(g.StoreLogs(huge), g.DeleteRange(1, 4), g.StoreLog(entry(1, 2, ""))); err != nil {
			t.Fatal("no fault, but", err)
		}
		if err := errors.Join(g.StoreLogs(huge), g.DeleteRange(1, 4)); err != nil {
			t.Fatal(err)
		}

		g.inner.plan(fault{}, fault{lost: true})
		if err := g.StoreLog(entry(1, 2, "")); err == nil || g.heard() != "[dead stall]" {
			t.Fatal(err, g.heard())
		}
		if err := g.StoreLog(entry(1, 2, "")); !errors.Is(err, ErrLogStalled) {
			t.Fatal(err)
		}
	})
}

func TestGuardDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardUnderTest()
		gate := make(chan struct{})
		g.inner.plan(fault{gate: gate})
		start := time.Now()
		g.StoreLogs(batch(1, 3, 1))
		<-time.After(time.Minute - time.Since(start) - time.Nanosecond)
		if g.heard() != "[stall]" {
			t.Fatal("too early:", g.heard())
		}
		<-time.After(2 * time.Nanosecond)
		if g.heard() != "[stall dead]" {
			t.Fatal(g.heard())
		}
		if err := g.close(func() error { t.Error("closed under a write"); return nil }); !errors.Is(err, ErrLogStalled) {
			t.Fatal(err)
		}
		close(gate)
	})
}

func TestGuardStableStallIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardUnderTest()
		stable := &guardedStable{slowStable{raft.NewInmemStore()}, g.watch, g.cfg.Disk}
		if err := stable.SetUint64([]byte("k"), 1); err != nil || g.heard() != "[stall recover]" {
			t.Fatal(err, g.heard())
		}
		if err := stable.Set([]byte("k"), nil); err != nil || g.heard() != "[stall recover stall recover]" {
			t.Fatal(err, g.heard())
		}
	})
}

// Raft panics when its term cannot be stored. Its main goroutine ends instead,
// and the node says why; before raft runs the error is the opener's.
func TestStableThatFailsEndsTheNode(t *testing.T) {
	g := newGuardUnderTest()
	runs := true
	g.watch.cfg.RaftRuns = func() bool { return runs }
	stable := &guardedStable{failingStable{raft.NewInmemStore()}, g.watch, g.cfg.Disk}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.Error("returned", stable.SetUint64([]byte("term"), 7))
	}()
	<-ended
	if g.heard() != "[dead]" {
		t.Error("heard", g.heard())
	}
	runs = false
	if err := stable.Set([]byte("vote"), nil); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}

type failingStable struct{ raft.StableStore }

func (failingStable) Set(k, v []byte) error              { return syscall.EIO }
func (failingStable) SetUint64(k []byte, v uint64) error { return syscall.EIO }

type slowStable struct{ raft.StableStore }

func (s slowStable) Set(k, v []byte) error {
	<-time.After(10 * time.Second)
	return s.StableStore.Set(k, v)
}

func (s slowStable) SetUint64(k []byte, v uint64) error {
	<-time.After(10 * time.Second)
	return s.StableStore.SetUint64(k, v)
}

// Appends get their turn between the chunks of a compaction.
func TestGuardCompactionDoesNotHoldUpAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardUnderTest()
		if err := g.StoreLogs(batch(1, 10_500, 1)); err != nil {
			t.Fatal(err)
		}
		g.inner.always(&fault{before: 4 * time.Second}) // each chunk
		compacted := make(chan error)
		go func() { compacted <- g.DeleteRange(1, 10_000) }()
		synctest.Wait()
		start := time.Now()
		g.inner.always(&fault{before: 500 * time.Millisecond})
		if err := g.StoreLog(entry(10_501, 1, "")); err != nil || time.Since(start) >= 5*time.Second {
			t.Fatal(err, time.Since(start))
		}
		if err := <-compacted; err != nil {
			t.Fatal(err)
		}
		first, _ := g.FirstIndex()
		last, _ := g.LastIndex()
		if first != 10_001 || last != 10_501 || g.inner.widest != deleteChunk || deleteChunk > 1000 {
			t.Fatal(first, last, g.inner.widest)
		}
	})
}

// A received snapshot overtakes the log: what is left of it, which may never
// have been committed, must not be found once entries follow on the snapshot.
func TestGuardForgetsWhatASnapshotOvertook(t *testing.T) {
	g := newGuardUnderTest()
	for _, logs := range [][]*raft.Log{batch(1, 5, 1), batch(100, 102, 3)} {
		if err := g.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	if first, err := g.FirstIndex(); err != nil || first != 100 {
		t.Errorf("the log begins at %d, %v", first, err)
	}
	if err := g.GetLog(5, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
		t.Errorf("entry 5: %v", err)
	}
}

// Whatever hangs and fails, the log holds what raft was told, and shows it at
// every moment.
func TestGuardAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			g := newGuardUnderTest()
			var model []*raft.Log // what raft was told
			show := func() (s string) {
				for _, e := range model {
					s += fmt.Sprintf("%d@%d ", e.Index, e.Term)
				}
				return s
			}
			next, term := uint64(1), uint64(1)
			for range 60 {
				if rng.IntN(3) == 0 {
					g.inner.plan(randomFaults(rng)...)
				}
				switch n := len(model); {
				case n > 2 && rng.IntN(4) == 0: // follower with a conflict
					cut := rng.IntN(n)
					term++
					at := model[cut].Index
					logs := batch(at, at+uint64(rng.IntN(5)), term)
					if g.DeleteRange(at, model[n-1].Index) == nil && g.StoreLogs(logs) == nil {
						model = append(model[:cut:cut], logs...)
					}
				case n > 5 && rng.IntN(5) == 0: // compaction
					cut := 1 + rng.IntN(n-2)
					if g.DeleteRange(model[0].Index, model[cut-1].Index) == nil {
						model = model[cut:]
					} else { // may have happened
						<-time.After(2 * time.Minute)
						if first, _ := g.FirstIndex(); first == model[cut].Index {
							model = model[cut:]
						}
					}
				default:
					if n > 0 {
						next = model[n-1].Index + 1
					}
					logs := batch(next, next+uint64(rng.IntN(5)), term)
					if g.StoreLogs(logs) == nil {
						model = append(model[:n:n], logs...)
					}
				}
				if got := contents(t, g); got != show() {
					t.Fatalf("seed %d: shows %s, raft was told %s", seed, got, show())
				}
				hang(time.Duration(rng.IntN(8)) * time.Second)
				if got := contents(t, g); got != show() {
					t.Fatalf("seed %d, later: shows %s, raft was told %s", seed, got, show())
				}
			}
			g.inner.plan()
			<-time.After(5 * time.Minute)
			if n := len(model); n > 0 {
				next = model[n-1].Index + 1
			}
			if err := g.StoreLog(entry(next, term, "")); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			g.inner.LogStore.DeleteRange(next, next)
			for i, e := range model {
				var got raft.Log
				if err := g.inner.GetLog(e.Index, &got); err != nil || got.Term != e.Term {
					t.Fatalf("seed %d: entry %d of %d: %v %v", seed, i, len(model), got, err)
				}
			}
		})
	}
}

func randomFaults(rng *rand.Rand) (faults []fault) {
	for range 1 + rng.IntN(6) {
		var f fault
		switch rng.IntN(5) {
		case 0:
			f.before = time.Duration(rng.IntN(30)) * time.Second
		case 1:
			f.after = time.Duration(rng.IntN(30)) * time.Second
		case 2:
			f.lost = true
		case 3:
			f.fails = true
		}
		faults = append(faults, f)
	}
	return faults
}
