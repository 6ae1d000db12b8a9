package cluster

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"
)

// acks knows of each peer how recent a question it has answered. Questions are
// ordered by counting, not by a clock: however long an answer was under way, and
// however long this process stood still, it answers only what was asked before
// its append was sent.
type acks struct {
	mu     sync.Mutex
	asked  uint64 // questions so far
	newest map[raft.ServerID]ack
	heard  chan struct{} // poked at each answer
}

// ack is a peer's word that when it got an append of the term, it knew of no
// later term; the append was sent after the question.
type ack struct{ term, question uint64 }

func newAcks() *acks {
	return &acks{newest: map[raft.ServerID]ack{}, heard: make(chan struct{}, 1)}
}

// ask begins a question, which only appends sent from now on answer.
func (a *acks) ask() (question uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	return a.asked
}

// latest is the question that an append sent now answers.
func (a *acks) latest() (question uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (a *acks) add(from raft.ServerID, answer ack) {
	a.mu.Lock()
	last := a.newest[from]
	if answer.term > last.term || answer.term == last.term && answer.question > last.question {
		a.newest[from] = answer
	}
	a.mu.Unlock()
	select {
	case a.heard <- struct{}{}:
	default:
	}
}

// majority tells whether most voters, self included, have answered the question.
func (a *acks) majority(self raft.ServerID, servers []raft.Server, want ack) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	voters, answered := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if got := a.newest[s.ID]; s.ID == self || got.term == want.term && got.question >= want.question {
			answered++
		}
	}
	return answered > voters/2
}

// await returns true once the majority has answered, false when ctx ends. It is
// for one caller at a time.
func (a *acks) await(ctx context.Context, self raft.ServerID, servers []raft.Server, want ack) bool {
	for !a.majority(self, servers, want) {
		select {
		case <-a.heard:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
