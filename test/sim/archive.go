package sim

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm"
)

// archive is the committed log of the cluster, put together from all nodes: two
// that disagree on a committed entry are found here.
type archive struct {
	mu      sync.Mutex
	entries map[uint64]raft.Log
	differs []string
	dropped map[uint64][]raft.Log // entries that may have been committed
}

func newArchive() *archive {
	return &archive{entries: map[uint64]raft.Log{}, dropped: map[uint64][]raft.Log{}}
}

// add takes committed entries of one node.
func (a *archive) add(entries []raft.Log) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range entries {
		old, known := a.entries[e.Index]
		if !known {
			a.entries[e.Index] = e
			continue
		}
		if old.Term != e.Term || old.Type != e.Type || !bytes.Equal(old.Data, e.Data) {
			a.differs = append(a.differs, fmt.Sprintf("the committed entry %d has two forms: term %d, type %s, %d bytes; term %d, type %s, %d bytes",
				e.Index, old.Term, old.Type, len(old.Data), e.Term, e.Type, len(e.Data)))
		}
	}
}

// drop takes entries that one node has removed, or has at the end.
func (a *archive) drop(entries []raft.Log) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range entries {
		a.dropped[e.Index] = append(a.dropped[e.Index], e)
	}
}

// complete finds the committed entry at an index among what was dropped, when no
// node at work ever showed it: those that had it were overtaken by snapshots of
// one that got there by a snapshot itself, or were removed. Another form of it is of a leader that
// was deposed before, and has a lower term. What is taken here is judged by the
// replay like everything else.
func (a *archive) complete(index uint64) (committed raft.Log, ok bool) {
	next, last := a.entries[index+1]
	for _, e := range a.dropped[index] {
		if (!last || e.Term <= next.Term) && (!ok || e.Term > committed.Term) {
			committed, ok = e, true
		}
	}
	return committed, ok
}

// commands are the entries of the state machine up to an index, in order. An
// entry that no node has shown is an error.
func (a *archive) commands(upTo uint64) ([]fsm.LogEntry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for index := upTo; index > 0; index-- {
		if _, ok := a.entries[index]; ok {
			continue
		}
		if e, ok := a.complete(index); ok {
			a.entries[index] = e
		}
	}
	var commands []fsm.LogEntry
	for index := uint64(1); index <= upTo; index++ {
		e, ok := a.entries[index]
		if !ok {
			return nil, fmt.Errorf("no node has shown the committed entry %d of %d", index, upTo)
		}
		if e.Type == raft.LogCommand {
			commands = append(commands, fsm.LogEntry{Index: e.Index, Term: e.Term, Data: e.Data})
		}
	}
	return commands, nil
}

// terms counts those in which something was committed.
func (a *archive) terms() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	terms := map[uint64]bool{}
	for _, e := range a.entries {
		terms[e.Term] = true
	}
	return len(terms)
}

// disagreements are the differences found so far.
func (a *archive) disagreements() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.differs)
}
