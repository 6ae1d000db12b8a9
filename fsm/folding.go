package fsm

import (
	"errors"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// A key of a case-insensitive key space may be written in several ways. The key
// tables have its position, the links' tables the key itself, its canonical form:
// what names a new link is made canonical first. What asks for a link is looked for
// as it is written, so that links of before the key space, and those of all others,
// are found as ever, and only then in the canonical form.

// folding are the permutations of the case-insensitive key spaces. It is immutable.
type folding []*keyspace.Permutation

// canonical is the key that key is written for, or key itself if it is none of a
// case-insensitive key space. At most one has it, as key spaces do not meet.
func (f folding) canonical(key string) string {
	for _, perm := range f {
		if canonical, ok := perm.Canonical(key); ok {
			return canonical
		}
	}
	return key
}

// linkKey is the key under which a command finds the link that it names.
func (m *Machine) linkKey(key string) string {
	if len(m.folding) == 0 || m.batch.Has(store.Links, []byte(key)) {
		return key
	}
	return m.folding.canonical(key)
}

// Find is Link, and if there has never been one of the key as it is written, that
// of its canonical form; at is the key of the link.
func (m *Machine) Find(key string) (at string, link *pb.Link, err error) {
	folding := *m.readFolding.Load() // before the look: since then none was bound to what is not canonical
	link, err = m.Link(key)
	if errors.Is(err, ErrLinkNotFound) && !errors.Is(err, ErrLinkDeleted) {
		if canonical := folding.canonical(key); canonical != key {
			link, err = m.Link(canonical)
			return canonical, link, err
		}
	}
	return key, link, err
}
