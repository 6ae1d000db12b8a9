package fsm

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Raft adapts a Machine to raft.BatchingFSM. Its methods are called by raft's
// FSM goroutine, one at a time, except Persist, which overlaps with Apply.
type Raft struct {
	machine *Machine
	flush   func() error
	fatal   func(error)

	entries, bytes atomic.Uint64
}

// NewRaft returns the adaptor. flush makes all that was applied survive a power
// loss; fatal is called once, when the machine has failed and the node must stop.
func NewRaft(m *Machine, flush func() error, fatal func(error)) *Raft {
	return &Raft{machine: m, flush: flush, fatal: fatal}
}

// Reply is what a raft.ApplyFuture of a committed pb.Entry responds with.
type Reply struct {
	Results []*pb.Result
	Err     error // the machine has failed: whether the entry had effect here is open
}

// Apply implements raft.FSM.
func (r *Raft) Apply(log *raft.Log) any { return r.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (r *Raft) ApplyBatch(logs []*raft.Log) []any {
	entries := make([]LogEntry, 0, len(logs))
	for _, log := range logs {
		if log.Type == raft.LogCommand {
			entries = append(entries, LogEntry{log.Index, log.Term, log.Data})
			r.bytes.Add(uint64(len(log.Data)))
		}
	}
	r.entries.Add(uint64(len(entries)))
	failed := r.machine.failed != nil
	results, err := r.machine.Apply(entries)
	if err != nil && !failed {
		r.fatal(err)
	}
	replies := make([]any, len(logs))
	next := 0
	for i, log := range logs {
		switch {
		case log.Type != raft.LogCommand:
		case err != nil:
			replies[i] = Reply{Err: err}
		default:
			replies[i] = Reply{Results: results[next]}
			next++
		}
	}
	return replies
}

// Applied counts the entries, and their bytes, that this process applied.
func (r *Raft) Applied() (entries, bytes uint64) { return r.entries.Load(), r.bytes.Load() }

// Snapshot implements raft.FSM. The store itself is the snapshot: nothing is copied.
func (r *Raft) Snapshot() (raft.FSMSnapshot, error) {
	if r.machine.failed != nil {
		return nil, r.machine.failed
	}
	return flushed{r.flush}, nil
}

// Restore implements raft.FSM.
func (r *Raft) Restore(stream io.ReadCloser) error {
	return errors.Join(r.machine.Restore(stream), stream.Close())
}

// flushed is a snapshot whose content is the store's own files.
type flushed struct{ flush func() error }

// Persist makes the state durable before the snapshot becomes visible, because
// raft then deletes the log entries that could rebuild it.
func (f flushed) Persist(sink raft.SnapshotSink) error {
	if err := f.flush(); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (flushed) Release() {}
