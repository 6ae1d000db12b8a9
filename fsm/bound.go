package fsm

import (
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/store"
)

const (
	maxWatched    = 16      // runs of leases
	maxWatchedRun = 1 << 22 // positions: half a megabyte of bits
)

// watchedRun knows which keys of a leased run have links, deleted ones among
// them, without a look at the store: nothing of it was leased before, so none
// had a link when this process saw it leased, and it sees each one made.
type watchedRun struct {
	space *space
	lease uint64
	run   keyspace.Run
	bound []uint64 // a bit a position; nil: none
}

// watch follows the links of a run that has just been leased for the first time.
// What a replica watches shows nowhere but in the time it takes.
func (m *Machine) watch(s *space, lease uint64, run keyspace.Run) {
	if run.Len() > maxWatchedRun {
		return
	}
	if len(m.watched) == maxWatched {
		m.watched = append(m.watched[:0], m.watched[1:]...)
	}
	m.watched = append(m.watched, watchedRun{space: s, lease: lease, run: run})
}

// bind notes that the key, at a position of the space, has a link. It may be a key
// of other spaces too.
func (m *Machine) bind(in *space, pos uint64, key string) {
	for _, s := range m.spaces {
		if s == in {
			m.bindPosition(s, pos)
		} else if other, ok := s.perm.Position(key); ok {
			m.bindPosition(s, other)
		}
	}
}

func (m *Machine) bindPosition(s *space, pos uint64) {
	for i := range m.watched {
		if w := &m.watched[i]; w.space == s && w.run.Contains(pos) {
			if w.bound == nil {
				w.bound = make([]uint64, (w.run.Len()+63)/64)
			}
			w.bound[(pos-w.run.From)/64] |= 1 << ((pos - w.run.From) % 64)
		}
	}
}

// isBound tells whether the key at a position of a lease has, or had, a link.
func (m *Machine) isBound(s *space, lease, pos uint64, key string) bool {
	for i := len(m.watched) - 1; i >= 0; i-- {
		if w := &m.watched[i]; w.space == s && w.lease == lease && w.run.Contains(pos) {
			return w.bound != nil && w.bound[(pos-w.run.From)/64]&(1<<((pos-w.run.From)%64)) != 0
		}
	}
	return m.batch.Has(store.Links, []byte(key))
}
