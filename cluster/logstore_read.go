package cluster

import (
	"sort"

	"github.com/hashicorp/raft"
)

// The reading half of guardedLog. None of it waits for a write: where the log
// is being changed, the answer is that from before the change.

// logView is the end of the log as raft knows it.
type logView struct {
	from    uint64
	entries []*raft.Log // at from and beyond
	lost    bool        // too many to keep: reads there fail
	hidden  bool        // deleted by raft; still there until the next StoreLogs
}

// GetLog reads one entry.
func (g *guardedLog) GetLog(index uint64, entry *raft.Log) error {
	view := g.view.Load()
	if view == nil || index < view.from {
		return g.inner.GetLog(index, entry)
	}
	if view.lost {
		return ErrLogStalled
	}
	i := sort.Search(len(view.entries), func(i int) bool { return view.entries[i].Index >= index })
	if i == len(view.entries) || view.entries[i].Index != index {
		return raft.ErrLogNotFound
	}
	*entry = *view.entries[i]
	return nil
}

// FirstIndex is that of the oldest entry; 0: there is none.
func (g *guardedLog) FirstIndex() (uint64, error) {
	view := g.view.Load()
	first, err := g.inner.FirstIndex()
	if err != nil || view == nil || first != 0 && first < view.from {
		return first, err
	}
	if view.lost {
		return 0, ErrLogStalled
	}
	if len(view.entries) == 0 {
		return 0, nil
	}
	return view.entries[0].Index, nil
}

// LastIndex is that of the newest entry; 0: there is none.
func (g *guardedLog) LastIndex() (uint64, error) {
	view := g.view.Load()
	if view == nil {
		return g.inner.LastIndex()
	}
	if view.lost {
		return 0, ErrLogStalled
	}
	if n := len(view.entries); n > 0 {
		return view.entries[n-1].Index, nil
	}
	first, err := g.inner.FirstIndex()
	if err != nil || first == 0 || first >= view.from {
		return 0, err
	}
	last, err := g.inner.LastIndex() // of an append under way, or hidden, or below the view
	return min(last, view.from-1), err
}
