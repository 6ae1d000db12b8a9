package cluster

import (
	"iter"
	"slices"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// spaceKeys turns positions of one key space into keys that may be handed out.
type spaceKeys struct {
	perm    *keyspace.Permutation
	blocked []uint64            // positions never handed out, sorted
	words   *keyspace.Blocklist // no key that contains one is
}

// newSpaceKeys blocks the reserved words that are keys of the space.
func newSpaceKeys(perm *keyspace.Permutation, reserved []string) spaceKeys {
	s := spaceKeys{perm: perm}
	for _, word := range reserved {
		if pos, ok := perm.Position(word); ok {
			s.blocked = append(s.blocked, pos)
		}
	}
	slices.Sort(s.blocked)
	return s
}

// unblocked is the run without the blocked positions. They stay in used_keys.
func (s spaceKeys) unblocked(run keyspace.Run) []keyspace.Run {
	var parts []keyspace.Run
	i, _ := slices.BinarySearch(s.blocked, run.From)
	for ; i < len(s.blocked) && s.blocked[i] < run.To; i++ {
		if run.From < s.blocked[i] {
			parts = append(parts, keyspace.Run{From: run.From, To: s.blocked[i]})
		}
		run.From = s.blocked[i] + 1
	}
	if run.From < run.To {
		parts = append(parts, run)
	}
	return parts
}

// allowed are the parts of a grant without the keys that contain a blocked word.
func (s spaceKeys) allowed(g grant) iter.Seq[grant] {
	return func(yield func(grant) bool) {
		length := s.perm.Space().KeyLength()
		for n := uint64(0); s.words != nil && n < g.count; { // of g are allowed so far
			if !s.words.Blocks(g.keys[int(n)*length:][:length]) {
				n++
				continue
			}
			if n > 0 && !yield(g.split(n)) {
				return
			}
			g.from, g.count, g.keys, n = g.from+1, g.count-1, g.keys[length:], 0
		}
		if g.count > 0 {
			yield(g)
		}
	}
}

// blocks tells whether a position is never handed out.
func (s spaceKeys) blocks(pos uint64) bool {
	_, blocked := slices.BinarySearch(s.blocked, pos)
	return blocked || s.words != nil && s.words.Blocks(s.perm.AppendKey(nil, pos))
}

// spaceKeys are the keys of the key space whose permutation it is.
func (n *Node) spaceKeys(perm *keyspace.Permutation) spaceKeys {
	s := newSpaceKeys(perm, n.cfg.Reserved)
	s.words = n.machine.Blocklist(perm)
	return s
}

// encode returns the keys of grants that this node has applied. The key space is
// looked up only then: a restore may have brought another permutation.
func (n *Node) encode(space string, grants []*pb.Grant) ([]grant, error) {
	perm, _, err := n.machine.Space(space)
	if err != nil {
		return nil, err
	}
	return n.spaceKeys(perm).encode(grants), nil
}

// encode returns the keys of the grants, without the blocked ones.
func (s spaceKeys) encode(grants []*pb.Grant) []grant {
	var encoded []grant
	for _, g := range grants {
		for _, run := range s.unblocked(keyspace.Run{From: g.From, To: g.From + g.Count}) {
			whole := grant{g.Lease, run.From, run.Len(), s.perm.AppendKeys(nil, run.From, run.Len())}
			encoded = slices.AppendSeq(encoded, s.allowed(whole))
		}
	}
	return encoded
}
