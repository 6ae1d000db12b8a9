package refmodel

import (
	"crypto/hmac"
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// recoverCluster leaves one node, and no key below the mark that is not used.
func (m *Model) recoverCluster(op *pb.RecoverCluster) *pb.Result {
	if op.Node.GetId() == "" {
		return code(pb.Code_INVALID)
	}
	for id, old := range m.Nodes {
		m.Nodes[id] = proto.CloneOf(old)
		m.Nodes[id].Removed = true
	}
	m.Nodes[op.Node.Id] = op.Node
	mac := hmac.New(sha256.New, m.State.ReceiptSecret)
	mac.Write([]byte("after a recovery"))
	m.State.ReceiptSecret = mac.Sum(nil)
	told := &pb.Restored{Links: m.State.Links}
	for _, s := range m.Spaces {
		size, known, used := s.Perm.Size(), s.Row.HighWaterMark, s.Row.Used
		mark := max(known+min(adoptMargin, size/marginShare, size-known), min(floorOf(s, op.Floor, op.Floors), size))
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
