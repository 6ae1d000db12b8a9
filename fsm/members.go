package fsm

import (
	"slices"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// initCluster gives a new state its identity; on one that has it, it does nothing.
func (m *Machine) initCluster(op *pb.InitCluster) *pb.Result {
	if m.state.ClusterId != "" {
		return &pb.Result{}
	}
	if op.ClusterId == "" || len(op.ReceiptSecret) == 0 {
		return refuse(pb.Code_INVALID, "a cluster needs an id and a secret for receipts")
	}
	spaces := make([]*space, len(op.Keyspaces))
	for i, given := range op.Keyspaces {
		row := &pb.Keyspace{
			Name: given.Name, Alphabet: given.Alphabet, Length: given.Length, Prefix: given.Prefix, Check: given.Check,
			PermutationKey: given.PermutationKey, Id: m.state.NextKeyspace + uint32(i), CreatedAt: m.state.Clock,
		}
		s, err := newSpace(row)
		if err != nil {
			return refuse(pb.Code_INVALID, "%v", err)
		}
		if slices.ContainsFunc(spaces[:i], func(other *space) bool { return other.row.Name == row.Name }) {
			return refuse(pb.Code_INVALID, "two key spaces are called %q", row.Name)
		}
		s.dirty = true
		spaces[i] = s
	}
	m.state.ClusterId, m.state.ReceiptSecret = op.ClusterId, op.ReceiptSecret
	m.state.NextKeyspace += uint32(len(spaces))
	m.setSpaces(spaces)
	m.unpublished = true
	return &pb.Result{}
}

// putNode records a node's addresses. A node id belongs to one data directory
// until the node is removed: an emptied directory has forgotten votes and
// entries that the node promised to keep.
func (m *Machine) putNode(op *pb.PutNode) (*pb.Result, error) {
	if op.Node.GetId() == "" {
		return refuse(pb.Code_INVALID, "a node needs an id"), nil
	}
	old := &pb.Node{}
	found, err := m.getRow(store.Nodes, []byte(op.Node.Id), old)
	if err != nil {
		return nil, err
	}
	if found && !old.Removed && old.DiskId != op.Node.DiskId {
		return refuse(pb.Code_NODE_CONFLICT, "%s is a member with another data directory; remove it first", op.Node.Id), nil
	}
	if found && old.Removed && old.DiskId == op.Node.DiskId {
		return refuse(pb.Code_NODE_CONFLICT, "%s was removed; empty its data directory before it joins again", op.Node.Id), nil
	}
	m.put(store.Nodes, []byte(op.Node.Id), op.Node)
	return &pb.Result{}, nil
}

func (m *Machine) removeNode(op *pb.RemoveNode) (*pb.Result, error) {
	node := &pb.Node{}
	found, err := m.getRow(store.Nodes, []byte(op.Id), node)
	if err != nil {
		return nil, err
	}
	if !found || node.Removed {
		return refuse(pb.Code_NODE_NOT_FOUND, "%s", op.Id), nil
	}
	node.Removed = true
	m.put(store.Nodes, []byte(op.Id), node)
	return &pb.Result{}, nil
}
