package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// transferHere moves leadership; it is done when another node leads.
func (n *Node) transferHere(ctx context.Context, to string) error {
	if _, err := n.leading(); err != nil {
		return err
	}
	if to == n.cfg.NodeID {
		return nil
	}
	return n.moveLeadership(ctx, to)
}

// HandOver gives leadership away, if this node leads and another can: for a node
// that is about to be closed, and still serves meanwhile. Close tries again what fails.
func (n *Node) HandOver(ctx context.Context) {
	if _, err := n.leading(); err != nil || n.onlyVoter() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if err := n.moveLeadership(ctx, ""); err != nil {
		n.log.Warn("stopping as the leader", "reason", err)
	}
}

// moveLeadership hands over; if the node still leads afterwards, it serves again.
func (n *Node) moveLeadership(ctx context.Context, to string) error {
	begun, err := n.handOver(ctx, to)
	if begun {
		n.resume()
	}
	return err
}

// handOver is handOverNow, unless a transfer failed a short while ago.
func (n *Node) handOver(ctx context.Context, to string) (begun bool, err error) {
	if since := time.Since(n.lead.failed()); since < transferAgain {
		return false, fmt.Errorf("%w: the last transfer failed %s ago; another one is safe after %s", ErrRefused, since.Round(time.Second), transferAgain)
	}
	return n.handOverNow(ctx, to)
}

// handOverNow returns the buffered keys through the log, then transfers
// leadership. Once begun, the node hands out nothing until resume, or a new term.
func (n *Node) handOverNow(ctx context.Context, to string) (begun bool, err error) {
	if _, err := n.leading(); err != nil {
		return false, err
	}
	if to == "" {
		to = n.disks.current().fit // else raft chooses
	}
	var address raft.ServerAddress
	if to != "" {
		if address, err = n.voterAddress(to); err != nil {
			return false, err
		}
	}
	if !n.lead.handing.CompareAndSwap(false, true) {
		return false, fmt.Errorf("%w: another hand-over, or a restore, is under way", ErrRefused)
	}
	n.awaitServed(ctx)
	if err := n.releaseBuffers(ctx); err != nil {
		n.log.Warn("buffered keys not returned: they are lost", "reason", err)
	}
	if to == "" && n.onlyVoter() {
		return true, errOnlyVoter
	}
	done := make(chan error, 1)
	go func() {
		done <- n.futures.await(func() raft.Future {
			if to == "" {
				return n.raft.LeadershipTransfer()
			}
			return n.raft.LeadershipTransferToServer(raft.ServerID(to), address)
		})
	}()
	select {
	case err = <-done:
	case <-time.After(min(closeTimeout, time.Until(deadlineOf(ctx)))): // not ctx itself: it ends with this leadership, too
		err = errors.New("the transfer did not end")
	}
	if err != nil {
		now := time.Now()
		n.lead.failedAt.Store(&now)
		err = fmt.Errorf("%w: leadership stays with %s: %v", ErrRefused, n.cfg.NodeID, err)
	}
	return true, err
}

var errOnlyVoter = fmt.Errorf("%w: there is no other voter", ErrRefused)

func (n *Node) onlyVoter() bool {
	servers, err := n.servers()
	return err == nil && !slices.ContainsFunc(servers, func(s raft.Server) bool {
		return s.Suffrage == raft.Voter && s.ID != raft.ServerID(n.cfg.NodeID)
	})
}

func (n *Node) voterAddress(id string) (raft.ServerAddress, error) {
	servers, err := n.servers()
	if err != nil {
		return "", err
	}
	for _, s := range servers {
		if s.ID == raft.ServerID(id) {
			if s.Suffrage != raft.Voter {
				return "", fmt.Errorf("%w: %s is a non-voter", ErrRefused, id)
			}
			return s.Address, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrUnknownNode, id)
}

// resume lets a leader whose hand-over failed serve again, in its old term.
func (n *Node) resume() {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	term := n.lead.ready.Load()
	if term == 0 || !n.lead.handing.Load() || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return
	}
	if n.lead.open == nil {
		return // the term is ending
	}
	for _, b := range n.lead.open.buffers {
		b.open(term, time.Now())
		b.poke()
	}
	n.lead.handing.Store(false)
	n.spawn(n.watchTransfer)
}

// transferAgain is the wait after a failed transfer: raft's replication to the
// chosen node must have had a turn, which its backoff delays up to 10.24 s, or
// the next transfer could leave its flag set (see transferStuck).
const transferAgain = raftTimeout + 11*time.Second

// failed returns when the last transfer failed; long ago if none did.
func (l *leadership) failed() time.Time {
	if at := l.failedAt.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// transferStuck is how long raft may go on refusing entries after a transfer
// failed: an honest one ends within raft's timeout and two elections. The flag
// "transfer in progress" can outlive its transfer, even its term, and nothing
// but a new start clears it then (hashicorp/raft#696).
const transferStuck = 15 * time.Second

var errTransferStuck = errors.New("raft is stuck in a leadership transfer that has ended; the node must be restarted")

// watchTransfer makes sure that raft takes entries again in the same term; a
// new term looks for itself (runTerm).
func (n *Node) watchTransfer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, transferStuck)
	defer cancel()
	for ctx.Err() == nil {
		if err := n.barrier(time.Second); !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return
		}
		pause(ctx, 100*time.Millisecond)
	}
	if n.ctx.Err() == nil {
		n.fail(errTransferStuck)
	}
}

// servedTimeout bounds how long a hand-over waits for calls under way.
const servedTimeout = 2 * time.Second

// awaitServed waits until no call holds keys that it has not used yet.
func (n *Node) awaitServed(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	for n.lead.serving.Load() > 0 && ctx.Err() == nil {
		pause(ctx, time.Millisecond)
	}
}

// releaseBuffers empties the buffers and gives what was in them back.
func (n *Node) releaseBuffers(ctx context.Context) error {
	n.lead.mu.Lock()
	var buffers map[string]*buffer
	if n.lead.open != nil {
		buffers = maps.Clone(n.lead.open.buffers) // the lock is not held while the log is waited for
	}
	n.lead.mu.Unlock()
	var failed error
	for space, b := range buffers {
		if err := n.release(ctx, space, b); err != nil {
			failed = errors.Join(failed, fmt.Errorf("key space %q: %w", space, err))
		}
	}
	return failed
}

func (n *Node) release(ctx context.Context, space string, b *buffer) error {
	if err := b.filling.take(ctx); err != nil {
		return err
	}
	defer b.filling.leave()
	left, handedOut := b.drain()
	result, err := n.proposeOne(ctx, &pb.Command{Op: &pb.Command_Release{
		Release: &pb.Release{Keyspace: space, Grants: left, HandedOut: handedOut}}})
	if err != nil {
		b.abandon(left)
		return err
	}
	n.log.Info("buffered keys returned", "keyspace", space, "count", result.Count)
	return nil
}
