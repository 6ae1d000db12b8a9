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
}

func newArchive() *archive { return &archive{entries: map[uint64]raft.Log{}} }

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

// commands are the entries of the state machine up to an index, in order. An
// entry that no node has shown is an error.
func (a *archive) commands(upTo uint64) ([]fsm.LogEntry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
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
