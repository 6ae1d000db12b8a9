package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
)

// rounds lets all readers that wait share one answer: a reader joins the round
// that has not begun yet, so that what it is told is not older than its
// question (the shape of etcd's LinearizableReadLoop).
type rounds struct {
	mu      sync.Mutex
	next    *round
	running bool
}

type round struct {
	done  chan struct{}
	index uint64
	err   error
}

// do returns the answer of a round that began after the call. ask must end by
// itself: its context is the node's, not one reader's.
func (r *rounds) do(ctx context.Context, ask func() (uint64, error)) (uint64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	joined := r.next
	if !r.running {
		r.running = true
		go r.run(ask)
	}
	r.mu.Unlock()
	select {
	case <-joined.done:
		return joined.index, joined.err
	case <-ctx.Done():
		return 0, ErrNoLeader
	}
}

func (r *rounds) run(ask func() (uint64, error)) {
	for {
		r.mu.Lock()
		current := r.next
		r.next = nil
		if current == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		current.index, current.err = ask()
		close(current.done)
	}
}

// readIndex is the leader's answer to "up to where must a read see?": the order
// of its steps is what makes it safe. First the machine's own applied index
// (raft's counts entries that are only queued), then the proof that this node
// still led after that, then the same term still.
//
// VerifyLeader alone is no such proof: it counts the answers to heartbeats that
// were sent before it was called. A process that was frozen, or whose answers
// were long under way, would confirm itself with those. It is asked because it
// sends a heartbeat to every peer; whose answers count is for acks to say.
func (n *Node) readIndex() (uint64, error) {
	term, err := n.leading()
	if err != nil {
		return 0, err
	}
	question := n.transport.acks.ask()
	index := n.machine.Applied()
	if err := n.futures.await(n.raft.VerifyLeader); err != nil {
		return 0, ErrNotLeader
	}
	if !n.confirmed(ack{term, question}) {
		return 0, ErrNotLeader
	}
	// ready alone may be behind: its word of a lost and won leadership takes a
	// while, and between the two others may have written.
	if n.lead.ready.Load() != term || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return 0, ErrNotLeader
	}
	return index, nil
}

// confirmed waits until a majority has answered the question in the term. A
// leader that hears from none for a heartbeat's timeout has lost its lease.
func (n *Node) confirmed(want ack) bool {
	servers, err := n.servers()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(n.ctx, n.cfg.Heartbeat)
	defer cancel()
	return n.transport.acks.await(ctx, raft.ServerID(n.cfg.NodeID), servers, want)
}

// askIndex asks the leader, here or elsewhere, for the read index.
func (n *Node) askIndex() (uint64, error) {
	to := n.leader.current()
	switch to.id {
	case "":
		return 0, ErrNoLeader
	case n.cfg.NodeID:
		return n.ledReads.do(to.ctx, n.readIndex)
	}
	ctx, cancel := context.WithTimeout(to.ctx, askTimeout)
	defer cancel()
	response := &clusterpb.ReadIndexResponse{}
	err := n.call(ctx, to.addr, methodReadIndex, &clusterpb.ReadIndexRequest{}, response)
	return response.Index, err
}

// askTimeout bounds one question to another node.
const askTimeout = 2 * time.Second
