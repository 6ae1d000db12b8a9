package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
)

// A member that is removed while it serves would owe its clients answers that it
// can never give: what it acknowledges it must have applied, and nobody sends it
// the log any more. So the leader first asks it to end its requests, and removes it
// once it has, or after leaveTimeout.

// leaveTimeout bounds the wait for a member to end its requests, and afterwards
// that of the member to be removed.
const leaveTimeout = 3 * time.Second

// leaving is the way out of a node.
type leaving struct {
	drained chan struct{} // closed when no request is left
	close   func()
}

func newLeaving() leaving {
	drained := make(chan struct{})
	return leaving{drained, sync.OnceFunc(func() { close(drained) })}
}

// askToLeave has a member end its requests. One that does not answer needs no
// asking: it has none.
func (n *Node) askToLeave(ctx context.Context, member raft.Server) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	err := n.call(ctx, string(member.Address), methodLeave, &clusterpb.RemoveRequest{Id: string(member.ID)}, &clusterpb.RemoveResponse{})
	if err != nil {
		n.log.Info("a member is removed without having ended its requests", "node", member.ID, "reason", err)
	}
}

// handleLeave answers once no request is left here.
func (n *Node) handleLeave(ctx context.Context, from Identity, r *clusterpb.RemoveRequest) (*clusterpb.RemoveResponse, error) {
	if leader := n.leader.current().id; r.Id != n.cfg.NodeID || from.NodeID != leader {
		return nil, fmt.Errorf("%w: %s asks %s to leave, the leader is %q", ErrRefused, from.NodeID, r.Id, leader)
	}
	if n.cfg.Leave == nil {
		return &clusterpb.RemoveResponse{}, nil
	}
	n.log.Info("leaving the cluster")
	n.cfg.Leave()
	select {
	case <-n.leave.drained:
		return &clusterpb.RemoveResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Left is for a process that was told to leave (Config.Leave) and has no request
// left. It waits until this node is removed, without whose voice the others may
// not be able to do it, and says so; nil if it is still a member.
func (n *Node) Left(ctx context.Context) error {
	n.leave.close()
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	for pause(ctx, leavePoll); ctx.Err() == nil; pause(ctx, leavePoll) {
		if fault := n.fault.Load(); fault != nil {
			return *fault
		}
	}
	return nil
}

const leavePoll = 50 * time.Millisecond
