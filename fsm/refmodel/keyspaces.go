package refmodel

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	maxKeyspaces = 1000
	maxName      = 64
	claimStep    = 10_000
)

const keyChars = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

func described(row *pb.Keyspace) keyspace.Space {
	return keyspace.Space{Alphabet: row.Alphabet, Length: int(row.Length), Prefix: row.Prefix, Check: row.Check}
}

// spaceOf finds a key space by its id.
func (m *Model) spaceOf(id uint64) *Space {
	for _, s := range m.Spaces {
		if uint64(s.Row.Id) == id {
			return s
		}
	}
	return nil
}

func (m *Model) createKeyspace(given *pb.Keyspace) *pb.Result {
	if m.State.ClusterId == "" {
		return code(pb.Code_INVALID)
	}
	name := given.GetName()
	if name == "" || len(name) > maxName || strings.Trim(name, keyChars) != "" {
		return code(pb.Code_INVALID_KEYSPACE)
	}
	row := &pb.Keyspace{Name: name, Alphabet: given.Alphabet, Length: given.Length, Prefix: given.Prefix, Check: given.Check,
		PermutationKey: given.PermutationKey, Id: m.State.NextKeyspace, CreatedAt: m.State.Clock}
	words, err := keyspace.CleanBlocklist(described(row), given.Blocklist)
	if described(row).Validate() != nil || err != nil {
		return code(pb.Code_INVALID_KEYSPACE)
	}
	row.Blocklist = words
	if old := m.Space(name); old != nil {
		if described(old.Row) != described(row) || !slices.Equal(old.Row.Blocklist, words) {
			return code(pb.Code_KEYSPACE_EXISTS)
		}
		return &pb.Result{Keyspace: told(old.Row)}
	}
	if len(m.Spaces) >= maxKeyspaces {
		return code(pb.Code_TOO_MANY_KEYSPACES)
	}
	for _, s := range m.Spaces {
		if meet(patterns(s.Row), patterns(row)) {
			return code(pb.Code_KEYSPACES_MEET)
		}
	}
	perm, err := keyspace.NewPermutation(described(row), row.PermutationKey)
	if err != nil {
		return code(pb.Code_INVALID_KEYSPACE)
	}
	row.ClaimFrom = claimStart(row)
	s := newSpace(row, perm)
	m.Spaces = append(m.Spaces, s)
	m.State.NextKeyspace++
	m.claim(s)
	return &pb.Result{Keyspace: told(row), Count: 1}
}

func told(row *pb.Keyspace) *pb.Keyspace {
	row = proto.CloneOf(row)
	row.PermutationKey = nil
	return row
}

// patterns are the characters that a key may have, place by place.
func patterns(row *pb.Keyspace) []string {
	places := strings.Split(row.Prefix, "")
	for range row.Length {
		places = append(places, row.Alphabet)
	}
	if row.Check {
		places = append(places, row.Alphabet)
	}
	return places
}

func meet(a, b []string) bool {
	return slices.EqualFunc(a, b, func(a, b string) bool { return strings.ContainsAny(a, b) })
}

func claimStart(row *pb.Keyspace) string {
	if row.Prefix == "" {
		return "-"
	}
	return row.Prefix
}

// claim looks at the next links: those that are keys of the space are used.
func (m *Model) claim(s *Space) {
	if s.Row.ClaimFrom == "" {
		return
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(m.Links)) {
		if key >= s.Row.ClaimFrom && (s.Row.Prefix == "" || strings.HasPrefix(key, s.Row.Prefix)) {
			keys = append(keys, key)
		}
	}
	s.Row.ClaimFrom = ""
	if len(keys) > claimStep {
		s.Row.ClaimFrom, keys = keys[claimStep], keys[:claimStep]
	}
	m.newRow(s, pb.Purpose_ALIAS)
	for _, key := range keys {
		if pos, ok := s.Perm.Position(key); ok && s.Used(pos) == nil {
			s.set(pos)
		}
	}
}
