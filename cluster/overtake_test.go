package cluster

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func TestOvertakeLog(t *testing.T) {
	for name, c := range map[string]struct {
		before     []*raft.Log
		want, next string // at once, and with another entry after the snapshot
	}{
		"empty log":                            {nil, "", "10@3 "},
		"all before the snapshot":              {batch(1, 5, 1), "", "10@3 "},
		"all after the snapshot":               {batch(10, 12, 3), "10@3 11@3 12@3 ", "10@3 "},
		"up to the snapshot, which agrees":     {batch(7, 9, 3), "7@3 8@3 9@3 ", "7@3 8@3 9@3 10@3 "},
		"beyond the snapshot, which agrees":    {batch(8, 11, 3), "8@3 9@3 10@3 11@3 ", "8@3 9@3 10@3 "},
		"up to the snapshot, which conflicts":  {batch(7, 9, 1), "", "10@3 "},
		"beyond the snapshot, which conflicts": {batch(7, 11, 1), "10@1 11@1 ", "10@3 "},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuardUnderTest()
			log, err := raft.NewLogCache(16, g)
			if err != nil {
				t.Fatal(err)
			}
			if err := log.StoreLogs(c.before); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time is after a crash
				if err := overtakeLog(log, snapshotEnd{9, 3}); err != nil {
					t.Fatal(err)
				}
				if got := contents(t, log); got != c.want {
					t.Fatalf("%q, want %q", got, c.want)
				}
			}
			if err := log.StoreLogs(batch(10, 10, 3)); err != nil {
				t.Fatal(err)
			}
			if got := contents(t, log); got != c.next || contents(t, g.inner) != got {
				t.Errorf("%q, in the store %q, want %q", got, contents(t, g.inner), c.next)
			}
		})
	}
}

// The log is touched only when the machine has the snapshot.
func TestOvertakingFSM(t *testing.T) {
	failed := errors.New("failed")
	for _, want := range []error{nil, failed} {
		called := 0
		f := overtakingFSM{restoringFSM{err: want}, func() error { called++; return nil }}
		if err := f.Restore(nil); !errors.Is(err, want) || (called == 1) != (want == nil) {
			t.Errorf("%v, called %d times", err, called)
		}
	}
}

type restoringFSM struct {
	raft.BatchingFSM
	err error
}

func (f restoringFSM) Restore(io.ReadCloser) error { return f.err }

// What follows on the received snapshot is not compared; everything else is.
func TestTransportPassesWhatFollowsOnASnapshot(t *testing.T) {
	leakCheck(t)
	w := wireOn(t, newPipeNet().at("a"), "a", nil)
	tr := newTransport(w.RaftLayer(), hclog.NewNullLogger(), 5*time.Second, maxRPCsInFlight)
	defer tr.Close()
	got := make(chan raft.AppendEntriesRequest, 1)
	go func() {
		for {
			select {
			case rpc := <-tr.Consumer():
				got <- *rpc.Command.(*raft.AppendEntriesRequest)
				rpc.Respond(&raft.AppendEntriesResponse{}, nil)
			case <-w.closed:
				return
			}
		}
	}()
	for _, c := range []struct {
		snapshot *snapshotEnd
		want     uint64
	}{{nil, 9}, {&snapshotEnd{9, 2}, 9}, {&snapshotEnd{8, 3}, 9}, {&snapshotEnd{9, 3}, 0}} {
		tr.snapshot.Store(c.snapshot)
		request := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 9, PrevLogTerm: 3, LeaderCommitIndex: 20, Entries: batch(10, 11, 3)}
		if err := tr.AppendEntries("a", "a", request, new(raft.AppendEntriesResponse)); err != nil {
			t.Fatal(err)
		}
		r := <-got
		if r.PrevLogEntry != c.want || (r.PrevLogTerm != 0) != (c.want != 0) {
			t.Errorf("with %v raft compares %d of term %d", c.snapshot, r.PrevLogEntry, r.PrevLogTerm)
		}
		if r.LeaderCommitIndex != 11 {
			t.Errorf("commits up to %d, was sent 11", r.LeaderCommitIndex)
		}
	}
	w.Close()
}
