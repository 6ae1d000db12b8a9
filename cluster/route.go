package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// target is the leader as this node knows it. Its context ends when that
// knowledge changes: what is under way to an old leader is given up then, and
// repeated to the new one under the same request ids.
type target struct {
	id, addr string // "" when there is none
	term     uint64
	ctx      context.Context
	cancel   context.CancelFunc
}

// leaderWatch follows who leads.
type leaderWatch struct {
	raft    *raft.Raft
	pulse   pulse // of run
	mu      sync.Mutex
	target  target
	changed chan struct{} // closed with each change

	last    string // the newest leader's id; it stays while there is none
	changes uint64 // of it, after the first
}

// watchTick bounds how late a change is seen if an observation was dropped.
const watchTick = 50 * time.Millisecond

// run follows raft's observations until ctx ends.
func (w *leaderWatch) run(ctx context.Context) {
	seen := make(chan raft.Observation, 16)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	w.raft.RegisterObserver(observer)
	defer w.raft.DeregisterObserver(observer)
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	defer w.pulse.stop()
	for {
		w.look(ctx)
		select {
		case <-seen:
		case <-tick.C:
			w.pulse.beat()
		case <-ctx.Done():
			w.current().cancel()
			return
		}
	}
}

func (w *leaderWatch) look(ctx context.Context) {
	addr, id := w.raft.LeaderWithID()
	term := w.raft.CurrentTerm()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.target.ctx != nil && w.target.id == string(id) && w.target.addr == string(addr) && w.target.term == term {
		return
	}
	if w.target.cancel != nil {
		w.target.cancel()
	}
	w.target = target{id: string(id), addr: string(addr), term: term}
	w.note(string(id))
	w.target.ctx, w.target.cancel = context.WithCancel(ctx)
	if w.changed != nil {
		close(w.changed)
	}
	w.changed = make(chan struct{})
}

// current returns the leader as known now, with no context before run's first look.
func (w *leaderWatch) current() target {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.target.ctx == nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return target{ctx: ctx, cancel: cancel}
	}
	return w.target
}

// note counts the leaders; the caller holds the lock.
func (w *leaderWatch) note(id string) {
	if id == "" || id == w.last {
		return
	}
	if w.last != "" {
		w.changes++
	}
	w.last = id
}

// changesSeen is how often another node came to lead.
func (w *leaderWatch) changesSeen() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes
}

// wait returns when the leader may be another one than before, after a short
// while in any case, or with ctx.
func (w *leaderWatch) wait(ctx context.Context) {
	w.mu.Lock()
	changed := w.changed
	w.mu.Unlock()
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// retryPause is the wait between two tries of a held request when the leader
// seems to be the same.
const retryPause = 20 * time.Millisecond

// retryable errors say that another try, perhaps elsewhere, can succeed.
func retryable(err error) bool {
	return errors.Is(err, ErrNotLeader) || errors.Is(err, ErrNoLeader) || errors.Is(err, fsm.ErrOutcomeUnknown) ||
		errors.Is(err, errNotSent) || errors.Is(err, errNoAnswer) || errors.Is(err, ErrStopped)
}

// tryAgain says the same of an error from a try at a leader, which another one
// may have overtaken: what waited there in vain need not wait in vain elsewhere.
func tryAgain(err error, at target) bool {
	return retryable(err) || errors.Is(err, ErrBusy) && at.ctx.Err() != nil
}

// maybeDone says that the request may have had its effect all the same.
func maybeDone(err error) bool {
	return errors.Is(err, fsm.ErrOutcomeUnknown) || errors.Is(err, errNoAnswer)
}

// toLeader is hold for attempts that wait: each gets a context of its own, which
// also ends when its leader does.
func (n *Node) toLeader(ctx context.Context, attempt func(ctx context.Context, to target) error) error {
	return n.hold(ctx, func(to target) error {
		try, cancel := to.bound(ctx)
		defer cancel()
		return attempt(try, to)
	})
}

// bound returns a context that ends with ctx, or when t leads no more.
func (t target) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	try := &tryContext{Context: ctx, leader: t.ctx}
	return try, try.release
}

// hold tries until an attempt ends otherwise than retryable, or ctx ends: this
// is where front ends hold requests through an election. An attempt ends with
// ctx and with to.ctx. The error is then ErrNoLeader, or the outcome is unknown.
func (n *Node) hold(ctx context.Context, attempt func(to target) error) error {
	unknown := false
	for {
		to := n.leader.current()
		err := ErrNoLeader
		if to.id != "" {
			if err = attempt(to); !tryAgain(err, to) {
				return err
			}
			unknown = unknown || maybeDone(err)
		}
		if n.ctx.Err() != nil {
			err = ErrStopped
		} else if ctx.Err() == nil {
			n.leader.wait(ctx)
			continue
		}
		if unknown {
			return fsm.ErrOutcomeUnknown
		}
		if errors.Is(err, ErrStopped) {
			return err
		}
		return ErrNoLeader
	}
}

// maxCallCommands is how many commands of one request go as one call, so that
// a large batch leaves room in an entry for others.
const maxCallCommands = 512

// propose has the commands applied, through whichever node leads, and returns
// an answer for each. It repeats them across elections; their request ids make
// that harmless.
func (n *Node) propose(ctx context.Context, commands []*pb.Command) []answer {
	if full, spent := n.disk.fullness(); spent { // whoever leads, this node could not follow, see awaitOwn
		return failAll(len(commands), fmt.Errorf("%w on %s", ErrDiskFull, full))
	}
	for _, cmd := range commands {
		if err := n.known(cmd); err != nil {
			return failAll(len(commands), err)
		}
	}
	n.requests.number(commands)
	defer n.requests.finish(commands)
	answers := make([]answer, len(commands))
	var calls sync.WaitGroup
	for from := 0; from < len(commands); from += maxCallCommands {
		to := min(from+maxCallCommands, len(commands))
		if len(commands) <= maxCallCommands {
			n.proposeCall(ctx, commands, answers, n.proposeAt)
			break
		}
		calls.Go(func() { n.proposeCall(ctx, commands[from:to], answers[from:to], n.proposeAt) })
	}
	calls.Wait()
	n.awaitOwn(ctx, commands, answers)
	return answers
}

// tryFunc makes one try at a leader, until ctx or to.ctx ends, and returns an
// answer for each command.
type tryFunc func(ctx context.Context, to target, commands []*pb.Command) []answer

// proposeCall tries the commands that have no final answer yet.
func (n *Node) proposeCall(ctx context.Context, commands []*pb.Command, answers []answer, propose tryFunc) {
	open := make([]int, len(commands))
	for i := range open {
		open[i] = i
	}
	unknown := make([]bool, len(commands))
	err := n.hold(ctx, func(to target) error {
		pending := make([]*pb.Command, len(open))
		for i, at := range open {
			pending[i] = commands[at]
		}
		var again []int
		var last error
		for i, a := range propose(ctx, to, pending) {
			at := open[i]
			unknown[at] = unknown[at] || maybeDone(a.err)
			if answers[at] = a; tryAgain(a.err, to) {
				again, last = append(again, at), a.err
			} else if a.err != nil && unknown[at] { // this try failed, an earlier one may not have
				answers[at].err = &UnknownOutcomeError{requestName(commands[at].Request)}
			}
		}
		open = again
		return last
	})
	for _, at := range open {
		switch {
		case unknown[at]:
			answers[at].err = &UnknownOutcomeError{requestName(commands[at].Request)}
		case err != nil && !errors.Is(err, fsm.ErrOutcomeUnknown):
			answers[at].err = err
		default:
			answers[at].err = ErrNoLeader
		}
	}
}

// proposeAt makes one try at the leader, here or elsewhere.
func (n *Node) proposeAt(ctx context.Context, to target, commands []*pb.Command) []answer {
	ctx, cancel := to.bound(ctx)
	defer cancel()
	if to.id != n.cfg.NodeID {
		ctx, answered := n.forwarding(ctx, to)
		defer answered()
		return n.peers.get(n, to.addr).propose(ctx, commands)
	}
	return n.proposeHere(ctx, commands)
}

// awaitOwn waits until this node has applied what it is about to acknowledge,
// so that a client that stays here sees its own writes at once.
func (n *Node) awaitOwn(ctx context.Context, commands []*pb.Command, answers []answer) {
	var index uint64
	for _, a := range answers {
		if a.err == nil {
			index = max(index, a.result.Index)
		}
	}
	if n.machine.WaitApplied(ctx, index) == nil {
		return
	}
	// Done, but invisible here: the promise of one's own writes would not hold.
	applied := n.machine.Applied()
	for i, a := range answers {
		if a.err == nil && a.result.Index > applied {
			answers[i] = answer{err: &UnknownOutcomeError{requestName(commands[i].Request)}}
		}
	}
}

// takeAt makes one try at the leader's buffer, here or elsewhere. Here the keys
// are nearly always there, and nothing waits.
func (n *Node) takeAt(ctx context.Context, to target, space string, count int) ([]grant, error) {
	if to.id == n.cfg.NodeID {
		if grants, ok := n.takeBuffered(space, count); ok {
			return grants, nil
		}
	}
	ctx, cancel := to.bound(ctx)
	defer cancel()
	if to.id != n.cfg.NodeID {
		ctx, answered := n.forwarding(ctx, to)
		defer answered()
		return n.peers.get(n, to.addr).take(ctx, space, count)
	}
	return n.takeHere(ctx, space, count)
}

// takeBuffered pops keys from this leader's buffer if they are there at once.
func (n *Node) takeBuffered(space string, count int) (grants []grant, ok bool) {
	b, err := n.bufferOf(space)
	if err != nil || count > b.max/2 { // so many are leased straight from the log, see takeHere
		return nil, false
	}
	grants, more, err := b.pop(nil, count)
	return grants, err == nil && more == nil
}
