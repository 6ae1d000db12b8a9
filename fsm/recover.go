package fsm

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// recoverCluster goes on with one node, on which the last entries that the others
// acknowledged may be missing. Keys may have been issued in them: so no key
// that was unused here, or might have been generated since, is issued any more,
// as after the restore of a backup from elsewhere. And no receipt from before is
// good any more: its key may have been returned, and be somebody else's.
//
// Of what a recovery writes nothing is refused: nobody would hear of it.
func (m *Machine) recoverCluster(op *pb.RecoverCluster) (*pb.Result, error) {
	if op.Node.GetId() == "" {
		return refuse(pb.Code_INVALID, "a recovery needs its node"), nil
	}
	if err := m.removeOthers(op.Node); err != nil {
		return nil, err
	}
	if op.Grow { // it may bring what no older program knows, and the only node knows it
		m.use(2)
	}
	m.state.ReceiptSecret = nextSecret(m.state.ReceiptSecret)
	m.unpublished = true
	m.changes.Cut(m.entry.index) // others may have seen another end of the log
	told := &pb.Restored{Links: m.state.Links}
	for i := 0; i < len(m.spaces); i++ { // there may be more of them while it goes on
		s := m.spaces[i]
		restored := m.burnUnused(s, m.burnedTo(s, op))
		if op.Grow {
			restored.Length = s.row.Length
		}
		told.Keyspaces = append(told.Keyspaces, restored)
	}
	return &pb.Result{Restored: told}, nil
}

// nextSecret is one that whoever has only receipts cannot tell.
func nextSecret(secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("after a recovery"))
	return mac.Sum(nil)
}

// removeOthers leaves one node.
func (m *Machine) removeOthers(left *pb.Node) error {
	var nodes []*pb.Node
	var failed error
	m.batch.Scan(store.Nodes, nil, nil, func(_, value []byte) bool {
		node := &pb.Node{}
		failed = proto.Unmarshal(value, node)
		nodes = append(nodes, node)
		return failed == nil
	})
	for _, node := range nodes {
		node.Removed = true
		m.put(store.Nodes, []byte(node.Id), node)
	}
	m.put(store.Nodes, []byte(left.Id), left)
	return failed
}

// burnedTo is the position below which keys may have been issued. If all of a key
// space may, and the command says so, it grows.
func (m *Machine) burnedTo(s *space, op *pb.RecoverCluster) uint64 {
	size, mark := s.perm.Size(), s.row.HighWaterMark
	before, last := placeOf(s.row, rowsOf(m.spaces))
	if !last {
		return mark
	}
	mark += adoptedMargin(op.Grow).of(size)
	if floor, _ := (Floors{op.Floor, op.Floors}).Of(s.row.Name); floor > before {
		mark = max(mark, floor-before)
	}
	if mark >= size && op.Grow {
		m.grow(s) // or it may not
	}
	return min(mark, size)
}

// burnUnused blocks every position below the mark that is not used, and what waits
// in quarantine.
func (m *Machine) burnUnused(s *space, mark uint64) *pb.RestoredKeyspace {
	known, before := s.row.HighWaterMark, s.row.Used
	blocked := &pb.Used{
		Purpose: pb.Purpose_BLOCKED, Node: m.entry.node, Term: m.entry.term, Index: m.entry.index, Time: m.state.Clock,
	}
	m.dropQuarantine(s, blocked)
	m.unused(s).Take(s.row.Unused, math.MaxInt)
	for _, gap := range m.used(s).Gaps(keyspace.Run{To: mark}) {
		m.used(s).Insert(gap, blocked)
		s.row.Used += gap.Len()
	}
	s.row.HighWaterMark, s.row.LeasedTo, s.row.Unused = mark, mark, 0
	s.row.Lost += s.row.Buffered
	s.row.Buffered = 0
	s.dirty = true
	return &pb.RestoredKeyspace{
		Name: s.row.Name, HighWaterMark: mark, Burned: s.row.Used - before, Margin: mark - known, Left: s.perm.Size() - mark,
	}
}

// dropQuarantine blocks the positions that were returned.
func (m *Machine) dropQuarantine(s *space, blocked *pb.Used) {
	var keys [][]byte
	var runs []keyspace.Run
	m.batch.Scan(store.Quarantine, spaceKey(s.row.Id), spaceKey(s.row.Id+1), func(key, value []byte) bool {
		keys = append(keys, slices.Clone(key))
		runs = append(runs, keyspace.Run{From: binary.BigEndian.Uint64(key[12:]), To: binary.BigEndian.Uint64(value)})
		return true
	})
	for i, run := range runs {
		m.batch.Delete(store.Quarantine, keys[i])
		returned := m.used(s).Cut(run, func(u *pb.Used) bool { return u.Purpose == pb.Purpose_RETURNED })
		m.expect(returned && m.used(s).Insert(run, blocked), s, run, "in quarantine, but not returned")
	}
	s.row.Returned = 0
}
