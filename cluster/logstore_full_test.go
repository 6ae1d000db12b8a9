package cluster

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// onDisk has the guard of the log ask a disk.
func (g *guardUnderTest) onDisk(t *testing.T, disk *smallDisk) {
	guard, _ := guardOn(t, disk)
	g.cfg.Disk, g.watch.cfg.Disk = guard, guard
}

func TestLogRefusesOnASpentDisk(t *testing.T) {
	g := newGuardUnderTest()
	disk := newSmallDisk(4 * testReserve)
	g.onDisk(t, disk)
	if err := g.StoreLogs([]*raft.Log{entry(1, 1, "a"), entry(2, 1, "b")}); err != nil {
		t.Fatal(err)
	}
	disk.free.Store(0)
	g.cfg.Disk.look()
	if err := g.DeleteRange(2, 2); err != nil { // as a follower does before it stores what the leader has there
		t.Fatal(err)
	}
	if err := g.StoreLogs([]*raft.Log{entry(2, 2, "c")}); !errors.Is(err, ErrDiskFull) {
		t.Fatal(err)
	}
	if got := contents(t, g); got != "1@1 2@1 " {
		t.Errorf("after a refusal: %s", got)
	}
	if g.heard() != "[]" {
		t.Errorf("a full disk is no stall: %s", g.heard())
	}
	disk.free.Store(4 * testReserve)
	g.cfg.Disk.look()
	if err := errors.Join(g.DeleteRange(2, 2), g.StoreLogs([]*raft.Log{entry(2, 2, "c")})); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, g); got != "1@1 2@2 " {
		t.Errorf("with room again: %s", got)
	}
}

// A write that finds no room is rolled back, also when that takes long for the
// same reason; it counts as full, not as a hanging disk that a restart may mend.
func TestLogWriteFindsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardUnderTest()
		g.onDisk(t, newSmallDisk(4*testReserve))
		if err := g.StoreLogs([]*raft.Log{entry(1, 1, "a"), entry(2, 1, "b")}); err != nil {
			t.Fatal(err)
		}
		if err := g.DeleteRange(2, 2); err != nil {
			t.Fatal(err)
		}
		g.inner.always(&fault{full: true})
		if err := g.StoreLogs([]*raft.Log{entry(2, 2, "c")}); !errors.Is(err, ErrLogStalled) {
			t.Fatal(err)
		}
		if got := contents(t, g); got != "1@1 2@1 " {
			t.Errorf("during the rollback: %s", got)
		}
		if _, spent := g.cfg.Disk.fullness(); !spent {
			t.Error("the disk is not known to be full")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if g.heard() != "[stall]" {
			t.Errorf("heard %s", g.heard())
		}
		g.inner.always(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := contents(t, g); got != "1@1 2@1 " || g.heard() != "[stall recover]" {
			t.Errorf("rolled back: %s, heard %s", got, g.heard())
		}
	})
}

// fullStable has no room for some writes, if negative for all.
type fullStable struct {
	raft.StableStore
	full atomic.Int64
}

func (s *fullStable) SetUint64(k []byte, v uint64) error {
	if full := s.full.Load(); full != 0 {
		s.full.Store(max(full-1, -1))
		return syscall.ENOSPC
	}
	return s.StableStore.SetUint64(k, v)
}

func TestStableWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuardUnderTest()
		g.onDisk(t, newSmallDisk(4*testReserve))
		inner := &fullStable{StableStore: raft.NewInmemStore()}
		inner.full.Store(10_000) // for a quarter of an hour
		stable := &guardedStable{inner, g.watch, g.cfg.Disk}
		if err := stable.SetUint64([]byte("term"), 7); err != nil {
			t.Fatal(err)
		}
		if term, err := inner.GetUint64([]byte("term")); term != 7 || err != nil {
			t.Error(term, err)
		}
		if g.heard() != "[]" {
			t.Errorf("heard %s", g.heard())
		}
	})
}

// Raft would panic on an error, and must not believe that it is stored.
func TestStableWaitEndsWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, closing := context.WithCancel(t.Context())
		disk, err := newDiskGuard(ctx, newSmallDisk(4*testReserve), "", "n1", hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		inner := &fullStable{StableStore: raft.NewInmemStore()}
		inner.full.Store(-1)
		stable := &guardedStable{inner, newGuardUnderTest().watch, disk}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			t.Error("returned", stable.SetUint64([]byte("term"), 7))
		}()
		time.Sleep(time.Minute)
		select {
		case <-ended:
			t.Error("ended before the node")
		default:
		}
		closing()
		<-ended
	})
}

// Raft itself: it panics when it cannot store its term. Here it waits, goes on
// with the first room there is, and can be shut down while it waits.
func TestRaftWithoutRoomForItsTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{inFlight: 1, timeout: time.Second})
		leader := r.leader(time.Minute)
		for _, n := range r.nodes {
			if n != leader {
				n.stable.full.Store(-1)
				r.net.CutBoth(leader.id, n.id)
			}
		}
		time.Sleep(10 * time.Minute)
		for _, n := range r.nodes {
			n.stable.full.Store(0)
		}
		next := r.leader(time.Minute, leader.id)
		r.net.HealAll()
		for _, n := range r.nodes {
			n.stable.full.Store(-1)
		}
		if err := next.raft.Shutdown().Error(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // the next election waits for room
		if stuck := r.stop(); len(stuck) > 0 {
			t.Errorf("%v did not shut down", stuck)
		}
	})
}
