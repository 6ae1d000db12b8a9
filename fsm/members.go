package fsm

import (
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// initCluster gives a new state its identity; on one that has it, it does nothing.
func (m *Machine) initCluster(op *pb.InitCluster) (*pb.Result, error) {
	if m.state.ClusterId != "" {
		return &pb.Result{}, nil
	}
	m.state.ClusterId, m.state.ReceiptSecret = op.ClusterId, op.ReceiptSecret
	for _, given := range op.Keyspaces {
		row := proto.CloneOf(given)
		row.Id = m.state.NextKeyspace
		row.CreatedAt = m.state.Clock
		s, err := newSpace(row)
		if err != nil {
			return nil, err
		}
		m.state.NextKeyspace++
		s.dirty = true
		m.spaces = append(m.spaces, s)
	}
	m.publish()
	return &pb.Result{}, nil
}

// putNode records a node's addresses. A node id belongs to one data directory
// until the node is removed: an emptied directory has forgotten votes and
// entries that the node promised to keep.
func (m *Machine) putNode(op *pb.PutNode) (*pb.Result, error) {
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
