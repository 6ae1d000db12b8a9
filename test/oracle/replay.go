package oracle

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/fsm/refmodel"
	"github.com/kgs-cluster/kgs/store"
)

// Replayed is what the committed log of a run comes to.
type Replayed struct {
	Model  *refmodel.Model // the state at the end
	Index  uint64          // of the last entry
	Digest [32]byte        // of the state at the end: every node that is at Index must have it

	first    uint64             // entries up to here were not seen: the replay began with their state
	executed []executed         // in the order of the log
	placed   map[[3]uint64]bool // index, session and number of those with a request id
	leases   []*pb.Grant
}

// executed is a command of a client that took effect: no repeat, no refusal.
type executed struct {
	index   uint64
	command *pb.Command
	result  *pb.Result
}

// replayBatch is how many entries the machine gets at once, as raft would do it.
const replayBatch = 64

// Replay applies the committed entries that hold commands, in their order, to the
// reference model and to a fresh machine with an empty store, and compares every
// answer and the states at the end. The machine compares itself with the hash
// chains that the leaders wrote into the entries.
//
// A log that begins after a snapshot or a restore needs the state before it: the
// store stream from, else nil. On a violation the rest is not replayed.
func Replay(entries []fsm.LogEntry, from io.Reader) (*Replayed, []Violation) {
	r, err := replay(entries, from)
	if err != nil {
		return r, []Violation{{"replay", err.Error()}}
	}
	return r, nil
}

func newReplayed() *Replayed {
	return &Replayed{Model: refmodel.New(), placed: map[[3]uint64]bool{}}
}

func replay(entries []fsm.LogEntry, from io.Reader) (_ *Replayed, err error) {
	r := newReplayed()
	// Small memtables: each lease deletes the first row of unused_keys, and until a
	// compaction the next one has to pass over it.
	db, err := store.Open(store.Options{Dir: "replay", FS: vfs.NewMem(), MemTableBytes: 1 << 20})
	if err != nil {
		return r, err
	}
	defer func() {
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}()
	machine, err := fsm.New(db)
	if err != nil {
		return r, err
	}
	if from != nil {
		if err := machine.Restore(from); err != nil {
			return r, err
		}
		if r.Model, err = refmodel.Load(db); err != nil {
			return r, fmt.Errorf("the state that the replay begins with: %w", err)
		}
		r.first = db.Applied().Index
		r.Index = r.first
	}
	for len(entries) > 0 && entries[0].Index <= r.first {
		entries = entries[1:]
	}
	for len(entries) > 0 {
		n := min(replayBatch, len(entries))
		if err := r.apply(machine, entries[:n]); err != nil {
			return r, err
		}
		entries = entries[n:]
	}
	stored, err := refmodel.Load(db)
	if err != nil {
		return r, fmt.Errorf("the machine's state after index %d: %w", r.Index, err)
	}
	if err := refmodel.Diff(stored, r.Model); err != nil {
		return r, fmt.Errorf("the machine's state after index %d: %w", r.Index, err)
	}
	_, r.Digest, err = machine.Digest()
	return r, err
}

// apply applies entries to both, and compares their answers.
func (r *Replayed) apply(machine *fsm.Machine, entries []fsm.LogEntry) error {
	got, err := machine.Apply(entries)
	if err != nil {
		return fmt.Errorf("the machine stopped: %w", err)
	}
	for i, entry := range entries {
		if entry.Index <= r.Index {
			return fmt.Errorf("log index %d comes after %d", entry.Index, r.Index)
		}
		r.Index = entry.Index
		e := &pb.Entry{}
		if err := proto.Unmarshal(entry.Data, e); err != nil {
			return fmt.Errorf("log index %d: %w", entry.Index, err)
		}
		for j, want := range r.Model.Apply(entry.Index, entry.Term, e) {
			if !sameAnswer(got[i][j], want) {
				return fmt.Errorf("log index %d, command %d: %v: answered %v, want %v", entry.Index, j, e.Commands[j], got[i][j], want)
			}
			r.note(entry.Index, e.Commands[j], want)
		}
	}
	return nil
}

// sameAnswer compares but for the text, which the model does not have.
func sameAnswer(got, want *pb.Result) bool {
	if got.GetDetail() != "" {
		got = proto.CloneOf(got)
		got.Detail = ""
	}
	return proto.Equal(got, want)
}

// note keeps the commands that took effect here and now.
func (r *Replayed) note(index uint64, c *pb.Command, result *pb.Result) {
	if result.Code != pb.Code_OK || result.Replayed || result.Index != index {
		return
	}
	if id := c.Request; id != nil {
		place := [3]uint64{index, id.Session, id.Seq}
		if r.placed[place] {
			return // the front end's repeat came into the same entry
		}
		r.placed[place] = true
	}
	if c.GetLease() != nil {
		r.leases = append(r.leases, result.Grants...)
	}
	if signature(c) != "" {
		r.executed = append(r.executed, executed{index, c, result})
	}
}
