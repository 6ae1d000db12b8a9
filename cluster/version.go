package cluster

import (
	"context"
	"fmt"
	"time"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// versionTick is how often the leader asks which commands the members know, as
// long as it knows newer ones than the cluster uses.
const versionTick = time.Second

// raiseVersion has the cluster use newer commands once all members know them: in
// an upgrade, when the last node was restarted. It goes by what they say now, so
// it waits for nodes that are away: they may come back as they were.
func (n *Node) raiseVersion(ctx context.Context) {
	tick := time.NewTicker(versionTick)
	defer tick.Stop()
	for n.machine.Version() < n.cfg.commands {
		if common := n.commonVersion(ctx); common > n.machine.Version() {
			_, err := n.proposeOne(ctx, &pb.Command{Op: &pb.Command_RaiseVersion{RaiseVersion: &pb.RaiseVersion{Version: common}}})
			if err == nil {
				n.log.Info("all nodes know them: commands of a new version are used", "version", common)
				continue
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// commonVersion is the newest version of the command set that all members know; 0
// if one does not answer.
func (n *Node) commonVersion(ctx context.Context) uint32 {
	servers, err := n.servers()
	if err != nil {
		return 0
	}
	common := n.cfg.commands
	for _, s := range servers {
		if string(s.ID) == n.cfg.NodeID {
			continue
		}
		status, err := n.statusOf(ctx, string(s.Address))
		if err != nil || status.Node != string(s.ID) {
			return 0
		}
		common = min(common, commandsOf(status))
	}
	return common
}

// commandsOf is the newest version that a node knows. Those of version 1 do not say.
func commandsOf(s interface{ GetCommands() uint32 }) uint32 { return max(s.GetCommands(), 1) }

// known refuses a command that a member may not know yet.
func (n *Node) known(cmd *pb.Command) error {
	if need := fsm.Needs(cmd); need > n.machine.Version() {
		return fmt.Errorf("%w: it needs commands of version %d, and the cluster uses version %d as long as a node knows no newer one, or is away; `kgs cluster status` names it",
			ErrUpgrade, need, n.machine.Version())
	}
	return nil
}

// admitJoiner refuses a node that does not know the commands in use.
func (n *Node) admitJoiner(r *clusterpb.JoinRequest) error {
	if knows, used := commandsOf(r), n.machine.Version(); knows < used {
		return fmt.Errorf("%w: the cluster uses commands of version %d, %s knows version %d; upgrade %s first", ErrUpgrade, used, r.Id, knows, r.Id)
	}
	return nil
}
