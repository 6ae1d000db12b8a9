package refmodel

import (
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// recoverCluster leaves one node, and no key below the mark that is not used.
func (m *Model) recoverCluster(op *pb.RecoverCluster) *pb.Result {
	if m.Nodes[op.Node] == nil {
		return code(pb.Code_NODE_NOT_FOUND)
	}
	for id, old := range m.Nodes {
		m.Nodes[id] = proto.CloneOf(old)
		m.Nodes[id].Removed = id != op.Node
		if id == op.Node {
			m.Nodes[id].NonVoter = false
		}
	}
	told := &pb.Restored{Links: m.State.Links}
	for _, s := range m.Spaces {
		size, known, used := s.Perm.Size(), s.Row.HighWaterMark, s.Row.Used
		mark := max(known+min(adoptMargin, size/marginShare, size-known), min(op.Floor, size))
		s.Row.HighWaterMark, s.Row.Unused = mark, mark-s.usedBelow(mark)
		m.newRow(s, pb.Purpose_BLOCKED)
		for _, run := range s.returned {
			for pos := run.from; pos < run.to; pos++ {
				s.set(pos)
			}
		}
		s.returned = nil
		for pos := range mark {
			if s.Used(pos) == nil {
				s.set(pos)
			}
		}
		s.first = mark
		s.Row.LeasedTo, s.Row.Returned = mark, 0
		s.Row.Lost, s.Row.Buffered = s.Row.Lost+s.Row.Buffered, 0
		told.Keyspaces = append(told.Keyspaces, &pb.RestoredKeyspace{
			Name: s.Row.Name, HighWaterMark: mark, Burned: s.Row.Used - used, Margin: mark - known, Left: size - mark,
		})
	}
	return &pb.Result{Restored: told}
}
