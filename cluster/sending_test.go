package cluster

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// While a snapshot is on its way, what follows on it stays in the log, and a
// while longer.
func TestLogIsKeptForASnapshotUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending()
		log := sendingLog{raft.NewInmemStore(), s, newAhead()}
		check := func(when string, want uint64) {
			t.Helper()
			if first, err := log.FirstIndex(); err != nil || first != want {
				t.Errorf("%s: the log begins at %d, not %d (%v)", when, first, want, err)
			}
		}
		compact := func(last uint64) {
			t.Helper()
			first, err := log.FirstIndex()
			if err = errors.Join(err, log.DeleteRange(first, last)); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.StoreLogs(batch(1, 100, 1)); err != nil {
			t.Fatal(err)
		}
		compact(10)
		check("nothing under way", 11)
		endFirst := s.begin("a", 20, 0)
		endSecond := s.begin("b", 30, 0)
		compact(50)
		check("two under way", 20)
		endFirst()
		<-time.After(keepAfter)
		compact(50)
		check("the first has just arrived", 20)
		<-time.After(time.Second)
		compact(50)
		check("the first is long there", 30)
		endSecond()
		<-time.After(keepAfter + time.Second)
		compact(50)
		check("both are long there", 51)
	})
}

// What the node has acknowledged is kept no longer, what it has not asked for is.
func TestLogIsKeptWhileItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSending()
		log := sendingLog{raft.NewInmemStore(), s, newAhead()}
		if err := log.StoreLogs(batch(1, 100, 1)); err != nil {
			t.Fatal(err)
		}
		end := s.begin("a", 20, 0)
		s.acknowledged("a", batch(1, 30, 1)) // before the snapshot was on its way
		if last := s.deletable(100); last != 19 {
			t.Errorf("up to %d may be deleted", last)
		}
		end()
		for sent := uint64(21); sent <= 70; sent += 10 {
			<-time.After(keepAfter - time.Second)
			s.acknowledged("a", batch(sent, sent+9, 1))
			s.acknowledged("b", batch(90, 99, 1))
			s.acknowledged("a", nil) // a heartbeat
			if last := s.deletable(100); last != sent+8 {
				t.Errorf("up to %d may be deleted, %d are there", last, sent+9)
			}
		}
		<-time.After(keepAfter + time.Second)
		if last := s.deletable(100); last != 100 {
			t.Errorf("of a node that asks for nothing more only up to %d may be deleted", last)
		}
	})
}

// A log that outgrows the snapshot is not kept for it.
func TestLogIsNotKeptForEver(t *testing.T) {
	s := newSending()
	log := sendingLog{raft.NewInmemStore(), s, newAhead()}
	if err := log.StoreLogs(batch(1, 100, 1)); err != nil {
		t.Fatal(err)
	}
	s.begin("a", 20, keptLogBytes+1000)
	large := &raft.Log{Index: 101, Term: 1, Data: make([]byte, keptLogBytes+1000)}
	if err := log.StoreLogs([]*raft.Log{large}); err != nil {
		t.Fatal(err)
	}
	if last := s.deletable(50); last != 19 {
		t.Errorf("up to %d may be deleted", last)
	}
	if err := log.StoreLogs(batch(102, 102, 1)); err != nil {
		t.Fatal(err)
	}
	if last := s.deletable(50); last != 50 {
		t.Errorf("with more in the log than in the snapshot only up to %d may be deleted", last)
	}
}

// What raft truncates, and what a snapshot overtakes, goes all the same.
func TestKeptLogIsTruncated(t *testing.T) {
	s := newSending()
	log := sendingLog{raft.NewInmemStore(), s, newAhead()}
	if err := log.StoreLogs(batch(1, 100, 1)); err != nil {
		t.Fatal(err)
	}
	s.begin("a", 20, 0)
	if err := log.DeleteRange(60, 100); err != nil {
		t.Fatal(err)
	}
	if last, err := log.LastIndex(); err != nil || last != 59 {
		t.Errorf("the log ends at %d, %v", last, err)
	}
	if err := overtakeLog(log.LogStore, snapshotEnd{40, 2}); err != nil {
		t.Fatal(err)
	}
	if first, err := log.FirstIndex(); err != nil || first != 41 {
		t.Errorf("overtaken up to 40, the log begins at %d, %v", first, err)
	}
}

// The cache of the log held raft's futures, and with them 128 entries' results.
func TestLogKeepsNoResults(t *testing.T) {
	n := alone(t)
	link := func() weak.Pointer[pb.Link] {
		o := n.CreateLinks(t.Context(), []CreateRequest{{Create: &pb.CreateLink{Link: &pb.Link{Url: "https://a.example/"}}}})[0]
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		return weak.Make(o.Link)
	}()
	// Another entry takes the place of what raft's goroutines have at hand.
	if o := n.CreateLinks(t.Context(), []CreateRequest{{Create: &pb.CreateLink{Link: &pb.Link{Url: "https://b.example/"}}}})[0]; o.Err != nil {
		t.Fatal(o.Err)
	}
	for deadline := time.Now().Add(10 * time.Second); link.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("the result of an entry is still in memory")
		}
	}
}
