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
	if op.Grow {
		m.use(2)
	}
	told := &pb.Restored{Links: m.State.Links}
	for i := 0; i < len(m.Spaces); i++ {
		s := m.Spaces[i]
		size, known, used := s.Perm.Size(), s.Row.HighWaterMark, s.Row.Used
		mark := known
		if m.Space(s.Row.Name) == s {
			mark = s.mark(m.Lengths(s.Row.Name), known, adoptMargin, widened(op.Grow), floorOf(s, op.Floor, op.Floors))
			if next, _ := nextOf(s, m.Spaces); mark >= size && op.Grow && next != nil {
				next.Row.Id, next.Row.CreatedAt = m.State.NextKeyspace, m.State.Clock
				m.State.NextKeyspace++
				m.Spaces = append(m.Spaces, next)
			}
			mark = min(mark, size)
		}
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
			Name: s.Row.Name, HighWaterMark: mark, Burned: s.Row.Used - used, Margin: mark - known, Left: size - mark, Length: lengthTold(s, op.Grow),
		})
	}
	return &pb.Result{Restored: told}
}

// mark is up to where the last of these lengths, which it is, is burned; beyond its
// end, the next one is, too. The floor counts through all of them.
func (s *Space) mark(all []*Space, known, margin, share, floor uint64) uint64 {
	for _, older := range all {
		if older != s {
			floor -= min(floor, older.Perm.Size())
		}
	}
	return max(floor, known+min(margin, s.Perm.Size()/share))
}

func widened(grow bool) uint64 {
	if grow {
		return 10
	}
	return marginShare
}

func lengthTold(s *Space, grow bool) uint32 {
	if grow {
		return s.Row.Length
	}
	return 0
}
