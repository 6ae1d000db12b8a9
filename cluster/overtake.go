package cluster

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// What a node's log holds up to the end of a snapshot that another node sent may
// never have been committed: entries of a deposed leader. Raft only deletes the
// oldest of it, and two things can go wrong with the rest:
//
//   - As a leader the node would one day send it to a node that lags, as if it
//     had been committed. So it is deleted, once the machine has the snapshot
//     (Raft, section 7).
//   - When the log goes as far as the snapshot or beyond, and differs at its end,
//     the node refuses whatever follows on the snapshot, and is sent it again,
//     for ever (raft#697). That raft deletes the whole log (raft.MonotonicLogStore)
//     is no cure: it goes on believing in its last entry. So the transport tells
//     raft to compare nothing when a leader's entries follow on the snapshot: its
//     end is committed, and what lies beyond is compared entry by entry.
//
// The latter is as true of a node's own snapshot. Its last entry is deleted with
// the others when enough follow in the log, though they may never be committed;
// a new leader that asks for it was told "not found", went on to older entries
// and at last sent a snapshot older than the node's own.

// snapshotEnd is the last entry that a snapshot includes.
type snapshotEnd struct{ index, term uint64 }

// overtakingFSM acts after each restored snapshot.
type overtakingFSM struct {
	raft.BatchingFSM
	restored func() error
}

func (f overtakingFSM) Restore(stream io.ReadCloser) error {
	if err := f.BatchingFSM.Restore(stream); err != nil {
		return err
	}
	return f.restored()
}

// overtake makes the log and the transport agree with the newest snapshot. Doing
// it again changes nothing, also for one of the node's own: a start does so, as
// a crash may have come in between.
func (n *Node) overtake() error {
	snapshots, err := n.snaps.List()
	if err != nil || len(snapshots) == 0 {
		return err
	}
	end := snapshotEnd{snapshots[0].Index, snapshots[0].Term}
	n.transport.snapshot.Store(&end)
	return overtakeLog(n.logs, end)
}

// overtakeLog deletes what is in the log up to the snapshot's end, unless the
// two agree there.
func overtakeLog(log raft.LogStore, end snapshotEnd) error {
	first, err1 := log.FirstIndex()
	last, err2 := log.LastIndex()
	if err := errors.Join(err1, err2); err != nil || last == 0 || first > end.index {
		return err
	}
	var entry raft.Log
	if err := log.GetLog(end.index, &entry); err == nil && entry.Term == end.term {
		return nil
	} else if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	return log.DeleteRange(first, min(last, end.index))
}
