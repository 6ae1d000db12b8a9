package cluster

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
)

func TestOvertake(t *testing.T) {
	for name, c := range map[string]struct {
		before      []*raft.Log
		index, term uint64
		want, next  string // at once, and with another entry after the snapshot
	}{
		"empty log":                            {nil, 9, 3, "", "10@3 "},
		"all before the snapshot":              {batch(1, 5, 1), 9, 3, "", "10@3 "},
		"up to the snapshot, which agrees":     {batch(1, 9, 3), 9, 3, "9@3 ", "9@3 10@3 "},
		"beyond the snapshot, which agrees":    {batch(8, 11, 3), 9, 3, "9@3 10@3 11@3 ", "9@3 10@3 "},
		"a try that a crash cut short":         {append(batch(7, 8, 1), batch(9, 9, 3)...), 9, 3, "9@3 ", "9@3 10@3 "},
		"up to the snapshot, which conflicts":  {batch(7, 9, 1), 9, 3, "9@3 ", "9@3 10@3 "},
		"beyond the snapshot, which conflicts": {batch(7, 11, 1), 9, 3, "9@3 10@1 11@1 ", "9@3 10@3 "},
		"from the snapshot on, in conflict":    {batch(9, 11, 1), 9, 3, "9@3 10@1 11@1 ", "9@3 10@3 "},
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
				if err := overtake(log, c.index, c.term); err != nil {
					t.Fatal(err)
				}
				if got := contents(t, log); got != c.want {
					t.Fatalf("%q, want %q", got, c.want)
				}
			}
			if err := log.StoreLogs(batch(c.index+1, c.index+1, c.term)); err != nil {
				t.Fatal(err)
			}
			if got := contents(t, log); got != c.next || contents(t, g.inner) != got {
				t.Errorf("%q, in the store %q, want %q", got, contents(t, g.inner), c.next)
			}
		})
	}
}

// Each received snapshot overtakes the log, and does so again after a restart;
// a snapshot of one's own does not.
func TestSnapshotThatIsReceivedOvertakesTheLog(t *testing.T) {
	leader, follower := openReplica(t, t.TempDir()), openReplica(t, t.TempDir())
	leader.apply(20)
	leader.snapshot(20)
	var calls string
	note := func(index, term uint64) error { calls += fmt.Sprintf("%d@%d ", index, term); return nil }
	follower.snaps.overtake = note
	follower.snapshot(5)
	follower.restore(follower.receive(20, leader.stream()))
	again := follower.reopen()
	again.snaps.overtake = note
	if err := again.snaps.overtaken(); err != nil || calls != "20@1 20@1 " {
		t.Errorf("%q, %v", calls, err)
	}
	again.apply(25)
	again.snapshot(25)
	if err := again.snaps.overtaken(); err != nil || calls != "20@1 20@1 " {
		t.Errorf("%q, %v", calls, err)
	}
}
