package cluster

import (
	"context"
	"sync"
	"sync/atomic"
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
// The proof counts acknowledgements of heartbeats that may have been sent
// before the question. A process that was frozen could prove itself with those,
// so after a pause of a lease or more the proof is a barrier through the log.
func (n *Node) readIndex() (uint64, error) {
	term, err := n.leading()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	index := n.machine.Applied()
	if err := n.raft.VerifyLeader().Error(); err != nil {
		return 0, ErrNotLeader
	}
	if time.Since(start) >= n.lease() || n.pauses.suspect(n.lease()) {
		if err := n.raft.Barrier(barrierTimeout).Error(); err != nil {
			return 0, ErrNotLeader
		}
	}
	// ready alone may be behind: its word of a lost and won leadership takes a
	// while, and between the two others may have written.
	if n.lead.ready.Load() != term || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return 0, ErrNotLeader
	}
	return index, nil
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

// pauseDetector notices that the process did not run for a while: stopped by a
// signal, by the virtual machine, or starved. The monotonic clock goes on then.
type pauseDetector struct {
	lastTick  atomic.Int64 // nanoseconds since started
	lastPause atomic.Int64
	started   time.Time
}

const (
	pauseTick = 20 * time.Millisecond
	// pauseEcho is how long after a pause old acknowledgements may come in.
	pauseEcho = 2 * time.Second
)

func (p *pauseDetector) now() int64 { return int64(time.Since(p.started)) }

func (p *pauseDetector) run(ctx context.Context) {
	tick := time.NewTicker(pauseTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.look(100 * time.Millisecond)
			p.lastTick.Store(p.now())
		case <-ctx.Done():
			return
		}
	}
}

// look notes a pause if the last tick is longer ago than limit.
func (p *pauseDetector) look(limit time.Duration) {
	if now := p.now(); now-p.lastTick.Load() > int64(limit) {
		p.lastPause.Store(now)
	}
}

// suspect tells whether the process may have been paused for limit just now, or
// was a short while ago.
func (p *pauseDetector) suspect(limit time.Duration) bool {
	p.look(limit / 2)
	paused := p.lastPause.Load()
	return paused != 0 && p.now()-paused < int64(pauseEcho)
}
