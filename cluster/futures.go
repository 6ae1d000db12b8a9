package cluster

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// futures are the answers that raft owes. Raft answers each while it runs, but
// forgets those that are still in its queues when it shuts down (not even their
// timeout ends the wait then), and takes new ones after that. So nothing is asked
// once the node closes, and raft is not shut down before it has answered.
type futures struct {
	mu     sync.Mutex
	open   int
	closed bool
	idle   chan struct{} // closed when closed and none is open
}

func newFutures() *futures { return &futures{idle: make(chan struct{})} }

// await asks raft and waits for its answer.
func (f *futures) await(ask func() raft.Future) error {
	if !f.begin() {
		return raft.ErrRaftShutdown
	}
	defer f.end()
	return ask().Error()
}

func (f *futures) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.open++
	return true
}

func (f *futures) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	f.settle()
}

func (f *futures) settle() {
	if f.closed && f.open == 0 {
		close(f.idle)
	}
}

// close lets nobody ask any more and waits for the answers that are due.
func (f *futures) close(within time.Duration) error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		f.settle()
	}
	f.mu.Unlock()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-f.idle:
		return nil
	case <-timer.C:
		return errors.New("raft does not answer")
	}
}
