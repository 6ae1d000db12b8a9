package cluster

import (
	"errors"

	"github.com/hashicorp/raft"
)

// overtake makes the log agree with a received snapshot that ends at index, with
// an entry of term (Raft, section 7). What the log holds up to there may never
// have been committed: entries of a deposed leader. Raft only deletes the oldest
// of it, and two things can go wrong with the rest:
//
//   - As a leader the node would one day send it to a node that lags, as if it
//     had been committed.
//   - When the log goes beyond the snapshot, and differs at its end, the node
//     refuses whatever follows on the snapshot, and is sent it again, for ever
//     (raft#697). Deleting the log is no cure (raft.MonotonicLogStore): raft
//     goes on believing in its last entry, and does not find it.
//
// So the end of the snapshot gets an entry that agrees with it, everything below
// goes, and what is above waits to be replaced: raft finds its last entry, and
// that it conflicts. Doing it again changes nothing, so a crash does no harm.
// Raft must keep more entries (TrailingLogs) than a leader ever has under way,
// or it deletes the new one.
func overtake(log raft.LogStore, index, term uint64) error {
	first, err1 := log.FirstIndex()
	last, err2 := log.LastIndex()
	if err := errors.Join(err1, err2); err != nil || last == 0 {
		return err
	}
	if last < index {
		return log.DeleteRange(first, last)
	}
	var end raft.Log
	err := log.GetLog(index, &end)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	if err == nil && end.Term == term { // perhaps by an earlier try that got no further
		return deleteBelow(log, first, index)
	}
	kept := []*raft.Log{{Index: index, Term: term, Type: raft.LogNoop}}
	for i := index + 1; i <= last; i++ {
		entry := new(raft.Log)
		if err := log.GetLog(i, entry); err != nil {
			return err
		}
		kept = append(kept, entry)
	}
	if err := log.StoreLogs(kept); err != nil {
		return err
	}
	return deleteBelow(log, first, index)
}

// deleteBelow leaves nothing before index: with no entry to compare with, the
// entry at index is never sent to anybody.
func deleteBelow(log raft.LogStore, first, index uint64) error {
	if first >= index {
		return nil
	}
	return log.DeleteRange(first, index-1)
}
