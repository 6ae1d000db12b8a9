package fsm

import (
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// After a restart raft replays entries that the store has: they are answered
// from what is remembered, without effect.
func TestReplayedEntriesAreRecalled(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 100))
	entry := d.entry(request(lease(digits, 10), 77, 1, 1), request(alias("a"), 77, 2, 1), alias("b"), request(alias("a"), 77, 3, 1))
	later := d.entry(request(lease(digits, 5), 77, 4, 2))
	results, err := d.m.Apply([]LogEntry{entry, later})
	check(t, err)
	before, at := d.digest(), d.m.db.Applied()

	for _, restart := range []bool{false, true} {
		if restart {
			d.reopen()
		}
		again, err := d.m.Apply([]LogEntry{entry, later})
		check(t, err)
		equal(t, again[0][0].Code, pb.Code_OUTCOME_UNKNOWN) // answered, hence forgotten
		expectResult(t, again[0][1], results[0][1])
		equal(t, again[0][2].Code, pb.Code_OUTCOME_UNKNOWN) // has no request id
		expectResult(t, again[0][3], results[0][3])
		equal(t, again[0][3].Code, pb.Code_ALIAS_TAKEN)
		expectResult(t, again[1][0], results[1][0])
		if d.digest() != before || d.m.db.Applied() != at {
			t.Fatal("a replayed entry had an effect")
		}
	}

	// A replayed entry and a new one in one call.
	again, err := d.m.Apply([]LogEntry{later, d.entry(generate(digits, 1))})
	check(t, err)
	expectResult(t, again[0][0], results[1][0])
	equal(t, again[1][0].Code, pb.Code_OK)
	equal(t, d.m.Applied(), d.index)
}
