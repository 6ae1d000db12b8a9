package fsm

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// history is a log with what a machine that took it entry by entry answered.
type history struct {
	entries []LogEntry
	results [][]*pb.Result
	applied []store.Applied
	digests [][32]byte
}

// replica follows a history in its own way.
type replica struct {
	*driver
	h    *history
	next int // entry

	saved     []byte // a snapshot, nil if there is none, taken before entry savedNext
	savedNext int
}

// take applies the next n entries in one batch, after some that it may have had.
func (r *replica) take(n, had int) {
	r.t.Helper()
	from, to := max(r.next-had, 0), min(r.next+n, len(r.h.entries))
	results, err := r.m.Apply(r.h.entries[from:to])
	check(r.t, err)
	for i, got := range results {
		for j := range got {
			want := r.h.results[from+i][j]
			if recalled := from+i < r.next; recalled && (got[j].Code == pb.Code_OUTCOME_UNKNOWN || got[j].Index > r.h.entries[from+i].Index) {
				continue // forgotten since, or a later copy was answered too
			}
			if !proto.Equal(got[j], want) {
				r.t.Fatalf("entry %d, command %d: got %v, want %v", from+i, j, got[j], want)
			}
		}
	}
	r.next = to
	r.compare()
}

// compare compares the state with the history's at the same index.
func (r *replica) compare() {
	r.t.Helper()
	if r.next == 0 {
		return
	}
	if got, want := r.m.db.Applied(), r.h.applied[r.next-1]; got != want {
		r.t.Fatalf("after entry %d: at %v, want %v", r.next-1, got, want)
	}
	if r.digest() != r.h.digests[r.next-1] {
		r.t.Fatalf("after entry %d: the chain is the same, the state is not", r.next-1)
	}
}

// crash loses power: what is left is some prefix.
func (r *replica) crash(percent int, seed uint64) {
	r.t.Helper()
	after := r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
	r.close()
	r.fs = after
	r.open()
	for r.next = 0; r.next < len(r.h.applied) && r.h.applied[r.next].Index <= r.m.Applied(); {
		r.next++
	}
	r.compare()
}

// rewind restores an older snapshot in the same machine.
func (r *replica) rewind() {
	r.t.Helper()
	if r.saved == nil {
		r.saved, r.savedNext = r.stream(), r.next
		return
	}
	check(r.t, r.m.Restore(bytes.NewReader(r.saved)))
	r.next, r.saved = r.savedNext, nil
	r.compare()
}

// move goes on in a fresh machine with the snapshot of this one.
func (r *replica) move() {
	r.t.Helper()
	stream := r.stream()
	r.close()
	r.fs = vfs.NewCrashableMem()
	r.open()
	check(r.t, r.m.Restore(bytes.NewReader(stream)))
	r.compare()
}

// P8: replicas that applied the same entries hold the same state and gave the
// same answers, however the entries were batched, and whatever happened between.
func TestReplicasAreEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(evenly(t))
		w.backups = &backups{}
		h := play(t, w, times(10+w.draw(70, "entries")))

		batched := &replica{driver: emptyDriver(t), h: h}
		defer func() { batched.close() }()
		for batched.next < len(h.entries) {
			batched.take(rapid.IntRange(1, 20).Draw(t, "batch"), 0)
		}

		tossed := &replica{driver: emptyDriver(t), h: h}
		defer func() { tossed.close() }()
		for tossed.next < len(h.entries) {
			had := 0
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			case 1:
				tossed.reopen()
				had = rapid.IntRange(0, 5).Draw(t, "replayed")
			case 2:
				tossed.crash(rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept"), rapid.Uint64().Draw(t, "seed"))
			case 3:
				tossed.move()
				had = rapid.IntRange(0, 5).Draw(t, "replayed")
			case 4:
				tossed.rewind()
				had = rapid.IntRange(0, 5).Draw(t, "replayed")
			case 5:
				check(t, tossed.m.db.Flush())
			}
			tossed.take(rapid.IntRange(1, 10).Draw(t, "batch"), had)
		}
	})
}
