package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Join takes a node into the cluster; through any member.
func (n *Node) Join(ctx context.Context, r JoinRequest) error {
	_, err := n.handleJoin(ctx, Identity{}, &clusterpb.JoinRequest{
		Id: r.ID, Disk: r.DiskID, Http: r.HTTP, Cluster: r.Cluster, NonVoter: r.NonVoter,
		Commands: n.cfg.commands, // of a node that is not asked, as its disk is named; it may be down
	})
	return err
}

// Remove takes a node out of the cluster for good; through any member. If that
// would cost the majority it is refused, unless force: then the removal, and all
// writes, wait for the nodes that are missing. The last voter always stays.
func (n *Node) Remove(ctx context.Context, id string, force bool) error {
	return n.membership(ctx, methodRemove, &clusterpb.RemoveRequest{Id: id, Force: force}, func(ctx context.Context) error {
		return n.removeHere(ctx, id, force)
	})
}

// Transfer moves leadership to the node, or with "" to any up-to-date voter,
// without losing a buffered key; through any member.
func (n *Node) Transfer(ctx context.Context, to string) error {
	asked := "" // the leader that may have moved leadership already, its answer was lost
	return n.toLeader(ctx, func(ctx context.Context, at target) error {
		if to == "" && asked != "" && asked != at.id {
			return nil // it has: asked again, the new leader would move it on
		}
		err := n.changeAt(ctx, at, methodTransfer, &clusterpb.TransferRequest{To: to}, func(ctx context.Context) error {
			return n.transferHere(ctx, to)
		})
		if maybeDone(err) {
			asked = at.id
		}
		return err
	})
}

// membership runs a change on the leader. Each is idempotent.
func (n *Node) membership(ctx context.Context, m method, request proto.Message, here func(context.Context) error) error {
	return n.toLeader(ctx, func(ctx context.Context, to target) error {
		return n.changeAt(ctx, to, m, request, here)
	})
}

// changeAt makes one try of a change at the leader, here or elsewhere.
func (n *Node) changeAt(ctx context.Context, to target, m method, request proto.Message, here func(context.Context) error) error {
	if to.id == n.cfg.NodeID {
		return here(ctx)
	}
	return n.call(ctx, to.addr, m, request, &clusterpb.RemoveResponse{})
}

// handleJoin passes a join on to the leader: the joiner may ask any member.
func (n *Node) handleJoin(ctx context.Context, _ Identity, r *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error) {
	if err := checkAddr(r.Cluster); err != nil || !ValidNodeID(r.Id) {
		return nil, fmt.Errorf("%w: node id %q, cluster address %q: %v", ErrRefused, r.Id, r.Cluster, err)
	}
	response := &clusterpb.JoinResponse{}
	err := n.toLeader(ctx, func(ctx context.Context, to target) error {
		if to.id == n.cfg.NodeID {
			response.ClusterId = n.machine.ClusterID()
			return n.joinHere(ctx, r)
		}
		return n.call(ctx, to.addr, methodJoin, r, response)
	})
	return response, err
}

// joinHere records the node, then adds it as a non-voter; promoteNodes makes it
// a voter once it has caught up. A new voter that lags, or cannot be reached,
// could cost the majority.
func (n *Node) joinHere(ctx context.Context, r *clusterpb.JoinRequest) error {
	if _, err := n.leading(); err != nil {
		return err
	}
	disk := r.Disk
	if disk == "" { // asked for by an admin, not by the node: the node itself knows
		status, err := n.statusOf(ctx, r.Cluster)
		if err != nil {
			return fmt.Errorf("%w: %s at %s does not answer (%v); start it first, with --join", ErrRefused, r.Id, r.Cluster, err)
		}
		disk, r.Commands = status.Disk, status.Commands
	}
	if err := n.admitJoiner(r); err != nil {
		return err
	}
	if err := n.removeReplaced(ctx, r.Id, r.Replaces); err != nil {
		return err
	}
	_, err := n.proposeOne(ctx, &pb.Command{Op: &pb.Command_PutNode{PutNode: &pb.PutNode{Node: &pb.Node{
		Id: r.Id, DiskId: disk, Http: r.Http, Cluster: r.Cluster, NonVoter: r.NonVoter}}}})
	if err != nil {
		return err
	}
	servers, err := n.servers()
	if err != nil {
		return err
	}
	for _, s := range servers {
		if s.ID == raft.ServerID(r.Id) && s.Address == raft.ServerAddress(r.Cluster) {
			return nil // a repeat
		}
	}
	n.log.Info("node joins", "node", r.Id, "address", r.Cluster)
	return changeError(n.futures.await(func() raft.Future {
		return n.raft.AddNonvoter(raft.ServerID(r.Id), raft.ServerAddress(r.Cluster), 0, changeTimeout)
	}))
}

// removeReplaced removes the member if it still is the one with that disk.
func (n *Node) removeReplaced(ctx context.Context, id, disk string) error {
	row, err := n.machine.Node(id)
	if err != nil || disk == "" || row == nil || row.Removed || row.DiskId != disk {
		return err
	}
	return n.removeHere(ctx, id, false)
}

// changeTimeout bounds the wait for room in raft's queue.
const changeTimeout = 5 * time.Second

func changeError(err error) error {
	if err == nil {
		return nil
	}
	return proposeError(err)
}

// servers are the members. The slice is raft's own: it must not be changed.
func (n *Node) servers() ([]raft.Server, error) {
	var f raft.ConfigurationFuture
	err := n.futures.await(func() raft.Future { f = n.raft.GetConfiguration(); return f })
	if err != nil {
		return nil, err
	}
	return f.Configuration().Servers, nil
}

// removeHere removes a node if a healthy majority is left without it, or by
// force. The leader itself hands over first; the caller then tries the new one.
func (n *Node) removeHere(ctx context.Context, id string, force bool) error {
	if _, err := n.leading(); err != nil {
		return err
	}
	servers, err := n.servers()
	if err != nil {
		return err
	}
	var voters []raft.Server
	var leaves raft.Server
	member := false
	for _, s := range servers {
		if s.ID == raft.ServerID(id) {
			member, leaves = true, s
		}
		if s.Suffrage == raft.Voter && s.ID != raft.ServerID(id) {
			voters = append(voters, s)
		}
	}
	row, err := n.machine.Node(id)
	if err != nil {
		return err
	}
	if !member && (row == nil || row.Removed) {
		return fmt.Errorf("%w: %s", ErrUnknownNode, id)
	}
	if member {
		if err := n.checkMajority(ctx, id, voters, force); err != nil {
			return err
		}
		if id == n.cfg.NodeID {
			if err := n.moveLeadership(ctx, ""); err != nil {
				return err
			}
			return ErrNotLeader
		}
		n.askToLeave(ctx, leaves)
		if err := changeError(n.futures.await(func() raft.Future {
			return n.raft.RemoveServer(raft.ServerID(id), 0, changeTimeout)
		})); err != nil {
			return err
		}
	}
	_, err = n.proposeOne(ctx, &pb.Command{Op: &pb.Command_RemoveNode{RemoveNode: &pb.RemoveNode{Id: id}}})
	if errors.Is(err, fsm.ErrNodeNotFound) {
		err = nil // it never registered
	}
	if err == nil {
		n.log.Info("node removed", "node", id, "force", force)
	}
	return err
}

// checkMajority refuses a removal after which the healthy voters would be no
// majority, or there would be no voter.
func (n *Node) checkMajority(ctx context.Context, id string, left []raft.Server, force bool) error {
	if len(left) == 0 {
		return fmt.Errorf("%w: %s is the last voter", ErrRefused, id)
	}
	if force {
		return nil
	}
	var sick []string
	for _, s := range left {
		if s.ID == raft.ServerID(n.cfg.NodeID) {
			continue
		}
		if _, err := n.statusOf(ctx, string(s.Address)); err != nil {
			sick = append(sick, string(s.ID))
		}
	}
	if len(left)-len(sick) < len(left)/2+1 {
		return fmt.Errorf("%w: %d voters would remain, %d unhealthy (%s): removing %s leaves no healthy majority, and writes would wait for one; bring them back or remove them first, or force it",
			ErrRefused, len(left), len(sick), strings.Join(sick, ", "), id)
	}
	return nil
}

// promoteTick is how often the leader looks for non-voters that have caught up;
// they must be found so promoteChecks times in a row.
const (
	promoteTick   = 300 * time.Millisecond
	promoteChecks = 3
	promoteLag    = 1000 // log entries
)

// promoteNodes makes non-voters voters once they are caught up and stable.
func (n *Node) promoteNodes(ctx context.Context) {
	good := map[raft.ServerID]int{}
	tick := time.NewTicker(promoteTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		servers, err := n.servers()
		if err != nil {
			continue
		}
		for _, s := range servers {
			if s.Suffrage == raft.Voter {
				continue
			}
			row, err := n.machine.Node(string(s.ID))
			if err != nil || row == nil || row.NonVoter {
				continue
			}
			status, err := n.statusOf(ctx, string(s.Address))
			if err != nil || status.Node != string(s.ID) || status.Applied+promoteLag < n.machine.Applied() {
				good[s.ID] = 0
				continue
			}
			if good[s.ID]++; good[s.ID] < promoteChecks {
				continue
			}
			delete(good, s.ID)
			err = n.futures.await(func() raft.Future { return n.raft.AddVoter(s.ID, s.Address, 0, changeTimeout) })
			if err != nil {
				n.log.Warn("node not promoted", "node", s.ID, "reason", err)
			} else {
				n.log.Info("node is a voter now", "node", s.ID)
			}
		}
	}
}
