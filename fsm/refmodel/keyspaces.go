package refmodel

import (
	"crypto/hmac"
	"crypto/sha256"
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
	indexStep    = 5000
)

const keyChars = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

func described(row *pb.Keyspace) keyspace.Space {
	return keyspace.Space{Alphabet: row.Alphabet, Length: int(row.Length), Prefix: row.Prefix, Check: row.Check, CaseInsensitive: row.CaseInsensitive}
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
		PermutationKey: given.PermutationKey, Id: m.State.NextKeyspace, CreatedAt: m.State.Clock, Grow: given.Grow, CaseInsensitive: given.CaseInsensitive}
	words, err := keyspace.CleanBlocklist(described(row), given.Blocklist)
	if described(row).Validate() != nil || err != nil {
		return code(pb.Code_INVALID_KEYSPACE)
	}
	row.Blocklist = words
	if all := m.Lengths(name); len(all) > 0 {
		old, last := all[0].Row, m.Space(name).Row
		if described(old) != described(row) || !slices.Equal(old.Blocklist, words) || row.Grow != nil && row.GetGrow() != mayGrow(last) {
			return code(pb.Code_KEYSPACE_EXISTS)
		}
		return &pb.Result{Keyspace: told(last)}
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

func mayGrow(row *pb.Keyspace) bool {
	return row.GetGrow() || row.Grow == nil && row.Name == defaultKeyspace
}

func (m *Model) growKeyspace(op *pb.GrowKeyspace) *pb.Result {
	s := m.Space(op.Keyspace)
	switch {
	case s == nil:
		return code(pb.Code_KEYSPACE_NOT_FOUND)
	case s.Row.Length != op.FromLength:
		return &pb.Result{Keyspace: told(s.Row)}
	case s.Row.HighWaterMark != s.Perm.Size():
		return code(pb.Code_INVALID)
	}
	next, why := nextOf(s, m.Spaces)
	if next == nil {
		return code(why)
	}
	next.Row.Id, next.Row.CreatedAt = m.State.NextKeyspace, m.State.Clock
	m.State.NextKeyspace++
	m.Spaces = append(m.Spaces, next)
	m.claim(next)
	return &pb.Result{Keyspace: told(next.Row), Count: 1}
}

// nextOf is what the key space grows to, but for id and time; else the reason.
func nextOf(s *Space, all []*Space) (*Space, pb.Code) {
	if !mayGrow(s.Row) {
		return nil, pb.Code_KEYSPACE_EXHAUSTED
	}
	mac := hmac.New(sha256.New, s.Row.PermutationKey)
	mac.Write([]byte("one character more"))
	row := &pb.Keyspace{Name: s.Row.Name, Alphabet: s.Row.Alphabet, Length: s.Row.Length + 1, Prefix: s.Row.Prefix, Check: s.Row.Check,
		Blocklist: s.Row.Blocklist, Grow: s.Row.Grow, CaseInsensitive: s.Row.CaseInsensitive, PermutationKey: mac.Sum(nil)}
	perm, err := keyspace.NewPermutation(described(row), row.PermutationKey)
	if err != nil {
		return nil, pb.Code_INVALID_KEYSPACE
	}
	for _, other := range all {
		if meet(patterns(other.Row), patterns(row)) {
			return nil, pb.Code_KEYSPACES_MEET
		}
	}
	row.ClaimFrom = claimStart(row)
	return newSpace(row, perm), pb.Code_OK
}

func (m *Model) updateKeyspace(op *pb.UpdateKeyspace) *pb.Result {
	s := m.Space(op.Keyspace)
	if s == nil {
		return code(pb.Code_KEYSPACE_NOT_FOUND)
	}
	if op.Grow != nil {
		s.Row.Grow = op.Grow
	}
	return &pb.Result{Keyspace: told(s.Row)}
}

func told(row *pb.Keyspace) *pb.Keyspace {
	row = proto.CloneOf(row)
	row.PermutationKey = nil
	return row
}

// folded is the key that may be written so: links are under no other name.
func (m *Model) folded(key string) string {
	for _, s := range m.Spaces {
		if _, ok := s.Perm.Position(key); ok && s.Row.CaseInsensitive {
			if strings.ToLower(s.Row.Prefix+s.Row.Alphabet) == s.Row.Prefix+s.Row.Alphabet {
				return strings.ToLower(key)
			}
			return strings.ToUpper(key)
		}
	}
	return key
}

// LinkOf is the key of the link that is asked for so.
func (m *Model) LinkOf(key string) string {
	if m.Links[key] != nil {
		return key
	}
	return m.folded(key)
}

// patterns are the characters that may be written for a key, place by place.
func patterns(row *pb.Keyspace) []string {
	places := strings.Split(row.Prefix, "")
	for range row.Length {
		places = append(places, row.Alphabet)
	}
	if row.Check {
		places = append(places, row.Alphabet)
	}
	if row.CaseInsensitive {
		for i, chars := range places {
			places[i] = strings.ToUpper(chars) + strings.ToLower(chars)
		}
	}
	return places
}

func meet(a, b []string) bool {
	return slices.EqualFunc(a, b, func(a, b string) bool { return strings.ContainsAny(a, b) })
}

func claimStart(row *pb.Keyspace) string {
	if row.Prefix == "" || row.CaseInsensitive {
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
		if key >= s.Row.ClaimFrom && (s.Row.Prefix == "" || s.Row.CaseInsensitive || strings.HasPrefix(key, s.Row.Prefix)) {
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
