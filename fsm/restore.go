package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// How many positions a restore burns; see the package comment.
const (
	// restoreMargin positions above both high-water marks are burned.
	restoreMargin = 100_000
	// adoptMargin is that above the mark of another cluster's backup.
	adoptMargin = 10_000_000
	// marginShare: of a small key space, at most one position in so many is margin.
	marginShare = 100
	// stagedKept, in the machine's clock, is how long a staged backup waits for its next part or its restore.
	stagedKept = SessionIdle
)

var stagedRow = []byte("staged")

func partKey(part uint64) []byte { return binary.BigEndian.AppendUint64(nil, part) }

func (m *Machine) loadStaged() error {
	value, ok, err := m.db.Get(store.Meta, stagedRow)
	if m.staged = nil; err != nil || !ok {
		return err
	}
	m.staged = &pb.Staged{}
	return proto.Unmarshal(value, m.staged)
}

// stageBackup adds a part. One that does not follow the parts that are there is
// refused: another restore has begun, or this one waited too long.
func (m *Machine) stageBackup(op *pb.StageBackup) *pb.Result {
	if op.Restore == "" || len(op.Data) == 0 {
		return refuse(pb.Code_INVALID, "a part without a restore or without data")
	}
	if op.Part == 0 {
		m.dropStaged()
		m.staged = &pb.Staged{Restore: op.Restore}
	}
	if m.staged.GetRestore() != op.Restore || m.staged.Parts != op.Part {
		return refuse(pb.Code_NOT_STAGED, "part %d of %s", op.Part, op.Restore)
	}
	m.batch.Put(store.Staging, partKey(op.Part), op.Data)
	m.staged.Parts, m.staged.Time = op.Part+1, m.state.Clock
	m.put(store.Meta, stagedRow, m.staged)
	return &pb.Result{Count: m.staged.Parts}
}

func (m *Machine) dropStaged() {
	for part := range m.staged.GetParts() {
		m.batch.Delete(store.Staging, partKey(part))
	}
	if m.staged != nil {
		m.batch.Delete(store.Meta, stagedRow)
		m.staged = nil
	}
}

// sweepStaged drops a backup that nobody goes on with.
func (m *Machine) sweepStaged() {
	if m.staged != nil && m.state.Clock-m.staged.Time > stagedKept.Milliseconds() {
		m.dropStaged()
	}
}

// stagedReader reads the parts as the file that they were.
type stagedReader struct {
	m    *Machine
	next uint64 // part
	part []byte // of it, what is not read yet
}

func (r *stagedReader) Read(p []byte) (int, error) {
	if len(r.part) == 0 {
		if r.next == r.m.staged.Parts {
			return 0, io.EOF
		}
		part, ok := r.m.batch.Get(store.Staging, partKey(r.next))
		if !ok {
			return 0, errors.Join(fmt.Errorf("%w: part %d of %d is gone", ErrDamaged, r.next, r.m.staged.Parts), r.m.batch.Err())
		}
		r.next++
		r.part = append(r.part[:0], part...)
	}
	n := copy(p, r.part)
	r.part = r.part[n:]
	return n, nil
}

// restoreBackup decides on a restore and counts what it will do; the entry's end
// carries it out (replaceState).
func (m *Machine) restoreBackup(op *pb.RestoreBackup) (*pb.Result, error) {
	switch {
	case !m.entry.alone:
		return refuse(pb.Code_INVALID, "a restore needs a log entry of its own"), nil
	case op.Term != m.entry.term:
		return refuse(pb.Code_NOT_STOPPED, "the hand-out was stopped in term %d, this is term %d", op.Term, m.entry.term), nil
	case m.staged == nil || m.staged.Restore != op.Restore || m.staged.Parts != op.Parts:
		return refuse(pb.Code_NOT_STAGED, "%s, %d parts", op.Restore, op.Parts), nil
	}
	r := &restoration{m: m, floors: Floors{op.Floor, op.Floors}, grow: op.Grow, result: &pb.Restored{}}
	err := r.run(func(store.Table, []byte, []byte) error { return nil })
	switch {
	case r.refused != nil:
		m.dropStaged()
		return r.refused, nil
	case errors.Is(err, ErrBackup):
		m.dropStaged()
		return refuse(pb.Code_INVALID, "%v", err), nil
	case err != nil:
		return nil, err
	}
	m.restoring = r
	return &pb.Result{Restored: r.result}, nil
}

// replaceState ends an entry with a restore: the new state is in place, and in
// memory, when it returns.
func (m *Machine) replaceState(index, term uint64) error {
	r := m.restoring
	m.restoring = nil
	m.links.forgetAll()
	if err := m.batch.Replace(index, term, r.run); err != nil {
		return err
	}
	m.batch.Close()
	if err := m.load(); err != nil {
		return err
	}
	m.batch = m.db.NewBatch()
	return nil
}

// MayRestore tells beforehand, from the header alone, what a restore of the
// backup would certainly be refused for.
func (m *Machine) MayRestore(h *pb.BackupHeader, floors Floors) error {
	if used := m.Version(); h.Version > used {
		return ResultError(tooNew(h, used))
	}
	own := m.ClusterID()
	if h.ClusterId != own {
		if refused := floors.refusal(h, own); refused != nil {
			return ResultError(refused)
		}
	}
	return floors.fit(h.Keyspaces)
}

// tooNew refuses a backup of what this cluster does not use yet.
func tooNew(h *pb.BackupHeader, used uint32) *pb.Result {
	return refuse(pb.Code_RESTORE_REFUSED, "its cluster used commands of version %d, this one uses version %d until all its nodes have been upgraded", h.Version, used)
}
