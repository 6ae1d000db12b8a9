package fsm

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// A key space that is used up goes on with keys of one character more: a second row
// of its name, with an id, a permutation and rows in the key tables of its own. Its
// older lengths are all generated; what is still unused of them, or comes back, is
// leased first.
//
// The permutation of a length follows from that of the one before. So a cluster
// that was recovered without the entry of a growth, or has a backup from before it,
// comes to the same keys at the same positions when it grows, and what it burned
// there stays burned; with one drawn anew, any key could come twice.

// grows tells whether a key space may go on, by the row of its last length.
func grows(row *pb.Keyspace) bool {
	if row.Grow != nil {
		return *row.Grow
	}
	return row.Name == DefaultKeyspace
}

// nextLength is the row that follows the last one of its name, but for id and
// times, or why there can be none. all are the rows of all key spaces.
func nextLength(row *pb.Keyspace, all []*pb.Keyspace) (*pb.Keyspace, *pb.Result) {
	if !grows(row) {
		return nil, refuse(pb.Code_KEYSPACE_EXHAUSTED, "%q does not grow", row.Name)
	}
	next := &pb.Keyspace{
		Name: row.Name, Alphabet: row.Alphabet, Length: row.Length + 1, Prefix: row.Prefix, Check: row.Check,
		PermutationKey: nextPermutationKey(row.PermutationKey), Blocklist: row.Blocklist, Grow: row.Grow,
		CaseInsensitive: row.CaseInsensitive,
	}
	if err := spaceOf(next).Validate(); err != nil {
		return nil, refuse(pb.Code_INVALID_KEYSPACE, "%q cannot grow: %v", row.Name, err)
	}
	for _, other := range all {
		if spaceOf(other).Meets(spaceOf(next)) {
			return nil, refuse(pb.Code_KEYSPACES_MEET, "%q cannot grow to length %d: a key of it could be one of %q", row.Name, next.Length, other.Name)
		}
	}
	next.ClaimFrom = claimAll(next)
	return next, nil
}

func nextPermutationKey(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("one character more"))
	return mac.Sum(nil)[:keyspace.CipherKeySize]
}

// growKeyspace adds the next length, once all of the last one is generated: then
// the positions of a name can be counted through its lengths.
func (m *Machine) growKeyspace(op *pb.GrowKeyspace) *pb.Result {
	s, refused := m.spaceNamed(op.Keyspace)
	if refused != nil {
		return refused
	}
	if s.row.Length != op.FromLength {
		return &pb.Result{Keyspace: withoutSecret(s.row)}
	}
	if s.row.HighWaterMark < s.perm.Size() {
		return refuse(pb.Code_INVALID, "of %q not all keys are generated", s.row.Name)
	}
	grown, refused := m.grow(s)
	if refused != nil {
		return refused
	}
	m.claimAliases(grown)
	return &pb.Result{Keyspace: withoutSecret(grown.row), Count: 1}
}

func (m *Machine) grow(s *space) (*space, *pb.Result) {
	row, refused := nextLength(s.row, rowsOf(m.spaces))
	if refused != nil {
		return nil, refused
	}
	row.Id, row.CreatedAt = m.state.NextKeyspace, m.state.Clock
	grown, err := newSpace(row)
	if err != nil {
		return nil, refuse(pb.Code_INVALID_KEYSPACE, "%v", err)
	}
	m.addSpace(grown)
	return grown, nil
}

// updateKeyspace changes what may change of a key space.
func (m *Machine) updateKeyspace(op *pb.UpdateKeyspace) *pb.Result {
	s, refused := m.spaceNamed(op.Keyspace)
	if refused != nil {
		return refused
	}
	if op.Grow != nil {
		s.row.Grow = op.Grow
		s.dirty = true
	}
	return &pb.Result{Keyspace: withoutSecret(s.row)}
}

func rowsOf(spaces []*space) []*pb.Keyspace {
	rows := make([]*pb.Keyspace, len(spaces))
	for i, s := range spaces {
		rows[i] = s.row
	}
	return rows
}

// addSpace adds a new key space, or a new length of one.
func (m *Machine) addSpace(s *space) {
	m.state.NextKeyspace++
	m.setSpaces(append(m.spaces, s))
	m.unpublished = true
	s.dirty = true
}

func (m *Machine) setSpaces(spaces []*space) {
	m.spaces, m.lengths, m.folding = spaces, map[string][]*space{}, nil
	for _, s := range spaces {
		if s.row.CaseInsensitive {
			m.folding = append(m.folding, s.perm)
		}
		m.lengths[s.row.Name] = append(m.lengths[s.row.Name], s)
	}
}

// lengthOf finds the length of which a string may be a key: no other one has as
// long keys. Of none, it is the last one.
func lengthOf(lengths []*space, key string) *space {
	for _, s := range lengths {
		if s.perm.Space().KeyLength() == len(key) {
			return s
		}
	}
	return lengths[len(lengths)-1]
}

// grantSpace finds the length that a grant is of.
func grantSpace(lengths []*space, g *pb.Grant) *space {
	if g.Space == 0 {
		return lengths[0]
	}
	for _, s := range lengths {
		if s.row.Id == g.Space {
			return s
		}
	}
	return nil
}
