package fsm

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

const (
	// MaxKeyspaces bounds the key spaces: each node has their permutations in memory.
	MaxKeyspaces = 1000
	// MaxKeyspaceName bounds a key space's name, in characters of A-Z a-z 0-9 _ -.
	MaxKeyspaceName = 64
	// claimStep is how many links one command looks at to find aliases to claim.
	claimStep = 10_000
)

func spaceOf(row *pb.Keyspace) keyspace.Space {
	return keyspace.Space{Alphabet: row.Alphabet, Length: int(row.Length), Prefix: row.Prefix, Check: row.Check,
		CaseInsensitive: row.CaseInsensitive}
}

// createKeyspace adds a key space none of whose keys can be a key of another one:
// all links have one table, so that such a key could be given to two callers.
func (m *Machine) createKeyspace(op *pb.CreateKeyspace) *pb.Result {
	row, refused := m.newKeyspace(op.GetKeyspace())
	if refused != nil {
		return refused
	}
	if lengths := m.lengths[row.Name]; lengths != nil {
		old, last := lengths[0].row, lengths[len(lengths)-1].row
		if !slices.Equal(old.Blocklist, row.Blocklist) || spaceOf(old) != spaceOf(row) || row.Grow != nil && *row.Grow != grows(last) {
			return refuse(pb.Code_KEYSPACE_EXISTS, "%q, and it is another one", row.Name)
		}
		return &pb.Result{Keyspace: withoutSecret(last)}
	}
	if len(m.spaces) >= MaxKeyspaces {
		return refuse(pb.Code_TOO_MANY_KEYSPACES, "there are %d", MaxKeyspaces)
	}
	for _, s := range m.spaces {
		if spaceOf(s.row).Meets(spaceOf(row)) {
			return refuse(pb.Code_KEYSPACES_MEET, "a key of %q could be one of %q: choose another length or prefix", row.Name, s.row.Name)
		}
	}
	s, err := newSpace(row)
	if err != nil {
		return refuse(pb.Code_INVALID_KEYSPACE, "%v", err)
	}
	m.addSpace(s)
	m.claimAliases(s)
	return &pb.Result{Keyspace: withoutSecret(row), Count: 1}
}

// newKeyspace is the row of a description that is sound in itself.
func (m *Machine) newKeyspace(given *pb.Keyspace) (*pb.Keyspace, *pb.Result) {
	if m.state.ClusterId == "" {
		return nil, refuse(pb.Code_INVALID, "a key space before there is a cluster")
	}
	name := given.GetName()
	if name == "" || len(name) > MaxKeyspaceName || strings.Trim(name, keyspace.Base62+"_-") != "" {
		return nil, refuse(pb.Code_INVALID_KEYSPACE, "name %.80q: want 1 to %d characters of A-Z a-z 0-9 _ -", name, MaxKeyspaceName)
	}
	row := &pb.Keyspace{
		Name: name, Alphabet: given.Alphabet, Length: given.Length, Prefix: given.Prefix, Check: given.Check,
		PermutationKey: given.PermutationKey, Id: m.state.NextKeyspace, CreatedAt: m.state.Clock, Grow: given.Grow,
		CaseInsensitive: given.CaseInsensitive,
	}
	if err := spaceOf(row).Validate(); err != nil {
		return nil, refuse(pb.Code_INVALID_KEYSPACE, "%v", err)
	}
	words, err := keyspace.CleanBlocklist(spaceOf(row), given.Blocklist)
	if err != nil {
		return nil, refuse(pb.Code_INVALID_KEYSPACE, "%v", err)
	}
	row.Blocklist, row.ClaimFrom = words, claimAll(row)
	return row, nil
}

func withoutSecret(row *pb.Keyspace) *pb.Keyspace {
	told := proto.CloneOf(row)
	told.PermutationKey = nil
	return told
}

// claimAll is where the search for aliases that are keys of the space begins.
func claimAll(row *pb.Keyspace) string {
	if row.Prefix != "" && !row.CaseInsensitive { // else aliases may have it in the other case
		return row.Prefix
	}
	return "-" // the first of the characters that keys are of
}

// claimAliases claims links that are keys of a space that was not there when they
// were made: aliases, as no other space has such keys. After a restore the links
// of the space's own keys come by, too. It goes on where the last call stopped.
func (m *Machine) claimAliases(s *space) {
	var end []byte
	if prefix := []byte(s.row.Prefix); len(prefix) > 0 && !s.row.CaseInsensitive {
		prefix[len(prefix)-1]++ // the character after it
		end = prefix
	}
	var found []uint64
	seen, next := 0, ""
	m.batch.Scan(store.Links, []byte(s.row.ClaimFrom), end, func(key, _ []byte) bool {
		if seen == claimStep {
			next = string(key)
			return false
		}
		seen++
		if pos, ok := s.perm.Position(string(key)); ok {
			found = append(found, pos)
		}
		return true
	})
	for _, pos := range found {
		if _, _, taken := m.used(s).Find(pos); !taken {
			m.claim(s, pos)
		}
	}
	s.row.ClaimFrom = next
	s.dirty = true
}
