package cluster

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
)

// A reader that comes while a round is under way waits for the next one: the
// round under way may have asked before the reader's question.
func TestRoundsAReaderNeverJoinsARoundThatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		var begun uint64
		release := make(chan struct{})
		ask := func() (uint64, error) {
			begun++
			index := begun
			<-release
			return index, nil
		}
		answers := make(chan uint64, 10)
		reader := func() {
			index, err := r.do(t.Context(), ask)
			if err != nil {
				t.Error(err)
			}
			answers <- index
		}
		go reader()
		synctest.Wait() // the first round is under way
		for range 5 {
			go reader()
		}
		synctest.Wait()
		release <- struct{}{}
		if got := <-answers; got != 1 {
			t.Fatalf("the first reader is told %d", got)
		}
		synctest.Wait()
		select {
		case got := <-answers:
			t.Fatalf("a later reader is told %d by the first round", got)
		default:
		}
		release <- struct{}{}
		for range 5 {
			if got := <-answers; got != 2 {
				t.Fatalf("told %d: five readers share the second round", got)
			}
		}
		if begun != 2 {
			t.Fatalf("%d rounds for six readers", begun)
		}
	})
}

// Under any interleaving a reader is told at least what was true when it asked.
func TestRoundsAnswersAreNeverOlderThanTheQuestion(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		delays := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 40).Draw(rt, "delays")
		asking := rapid.IntRange(0, 10).Draw(rt, "asking")
		synctest.Test(t, func(t *testing.T) {
			var r rounds
			start := time.Now()
			now := func() uint64 { return uint64(time.Since(start)) }
			var all sync.WaitGroup
			for _, d := range delays {
				all.Go(func() {
					pause(t.Context(), time.Duration(d))
					asked := now()
					told, err := r.do(t.Context(), func() (uint64, error) {
						truth := now()
						pause(t.Context(), time.Duration(asking))
						return truth, nil
					})
					if err != nil || told < asked {
						t.Errorf("asked at %d, told %d, %v", asked, told, err)
					}
				})
			}
			all.Wait()
		})
	})
}

func TestRoundsGiveUpAndFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		release := make(chan struct{})
		failed := errors.New("failed")
		ask := func() (uint64, error) { <-release; return 0, failed }
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.do(short, ask); !errors.Is(err, ErrNoLeader) {
			t.Errorf("the reader's time is over: %v", err)
		}
		close(release)
		if _, err := r.do(t.Context(), ask); !errors.Is(err, failed) {
			t.Errorf("the round failed: %v", err)
		}
	})
}

// alone is a cluster of one node that leads.
func alone(t testing.TB) *Node {
	t.Helper()
	const addr = "n1:1"
	n, err := Open(Config{
		NodeID: "n1", DataDir: t.TempDir(), ClusterAddr: addr, InitialCluster: map[string]string{"n1": addr},
		Heartbeat: 50 * time.Millisecond, Election: 50 * time.Millisecond, Network: newPipeNet().at(addr),
		Keyspace: keyspace.Space{Alphabet: keyspace.Base62, Length: 10}, // a fuzzer takes 100 million keys at a time
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := n.TakeKeys(ctx, TakeRequest{Count: 1}); err != nil {
		t.Fatal(err)
	}
	return n
}

// The word that leadership was lost, and won again, comes late: the node leads
// in a later term than the one it is ready for, and others may have written in
// between.
func TestReadIndexIsOfTheTermThatTheNodeIsReadyFor(t *testing.T) {
	n := alone(t)
	if index, err := n.readIndex(); err != nil || index == 0 {
		t.Fatalf("%d, %v", index, err)
	}
	n.lead.ready.Store(n.raft.CurrentTerm() - 1)
	if index, err := n.readIndex(); !errors.Is(err, ErrNotLeader) {
		t.Errorf("ready for an older term: %d, %v", index, err)
	}
}

// Leadership may end at any moment of its beginning: nothing of it may stay.
func TestLeadershipThatEndsWhileItBegins(t *testing.T) {
	n := alone(t)
	for i := range 200 {
		stop := n.startLeading(t.Context())
		for range i % 20 {
			n.raft.CurrentTerm() // takes a moment
			runtime.Gosched()
		}
		stop()
		if term := n.lead.ready.Load(); term != 0 {
			t.Fatalf("try %d: the node still serves term %d", i, term)
		}
		for space, b := range n.lead.buffers {
			if keys, err := popped(b, 1); !errors.Is(err, ErrNotLeader) {
				t.Fatalf("try %d: the buffer of %q still hands out: %v, %v", i, space, keys, err)
			}
		}
	}
}
