package cluster

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// restoreHere has a restore applied by this node, the leader. No key is handed
// out meanwhile: the buffers are empty, returned through the log, before the
// restore is proposed, in the term that it then names; and they are filled again
// only by a service that begins anew, after a barrier. So no key leased before
// the restore is handed out after it, whatever becomes of the proposal.
func (n *Node) restoreHere(ctx context.Context, cmd *pb.Command) answer {
	if !n.lead.handing.CompareAndSwap(false, true) {
		return answer{err: ErrNotLeader} // a hand-over; perhaps another node leads soon
	}
	term, err := n.leading() // the term whose end, or new beginning, ends handing
	if err != nil {
		n.lead.handing.Store(false)
		return answer{err: err}
	}
	defer n.serveAnew(term)
	n.awaitServed(ctx)
	if err := n.releaseBuffers(ctx); err != nil {
		return answer{err: ErrNotLeader} // not proposed yet
	}
	cmd = proto.CloneOf(cmd) // the given one may still be on its way from an earlier try
	cmd.GetRestoreBackup().Term, cmd.GetRestoreBackup().Grow = term, n.machine.Version() >= 2
	a := n.proposer.submit(ctx, []*pb.Command{cmd}, proto.Size(cmd))[0]
	if a.err == nil && a.result.Code == pb.Code_NOT_STOPPED {
		return answer{err: ErrNotLeader} // another term has begun
	}
	return a
}

// isRestore: the command goes to restoreHere, and alone into its log entry.
func isRestore(cmd *pb.Command) bool { return cmd.GetRestoreBackup() != nil }
