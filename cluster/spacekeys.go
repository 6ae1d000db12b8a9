package cluster

import (
	"iter"
	"slices"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// spaceKeys turns positions of a length of a key space into keys that may be handed
// out.
type spaceKeys struct {
	space   uint32 // as in pb.Grant
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

// spaceKeys are the keys of the length whose permutation it is.
func (n *Node) spaceKeys(space uint32, perm *keyspace.Permutation) spaceKeys {
	s := newSpaceKeys(perm, n.cfg.Reserved)
	s.space, s.words = space, n.machine.Blocklist(perm)
	return s
}

// lastKeys are the keys of a key space's last length.
func (n *Node) lastKeys(space string) (spaceKeys, error) {
	perm, id, err := n.machine.Space(space)
	if err != nil {
		return spaceKeys{}, err
	}
	if !n.hasGrown(space) {
		id = 0 // as grants say it
	}
	return n.spaceKeys(id, perm), nil
}

// grantedKeys are the keys of the length that the grants are of, all of one lease
// that this node has applied. The key space is looked up only then: it may have
// grown, or a restore may have brought another permutation.
func (n *Node) grantedKeys(space string, grants []*pb.Grant) (spaceKeys, error) {
	var of uint32
	if len(grants) > 0 {
		of = grants[0].Space
	}
	perm, _, err := n.machine.GrantSpace(space, of)
	if err != nil {
		return spaceKeys{}, err
	}
	return n.spaceKeys(of, perm), nil
}

// encode returns the keys of a lease, without the blocked ones.
func (n *Node) encode(space string, grants []*pb.Grant) ([]grant, error) {
	keys, err := n.grantedKeys(space, grants)
	if err != nil {
		return nil, err
	}
	return keys.encode(grants), nil
}

// encode returns the keys of the grants, without the blocked ones.
func (s spaceKeys) encode(grants []*pb.Grant) []grant {
	var encoded []grant
	for _, g := range grants {
		for _, run := range s.unblocked(keyspace.Run{From: g.From, To: g.From + g.Count}) {
			whole := grant{s.space, g.Lease, run.From, run.Len(), s.perm.AppendKeys(nil, run.From, run.Len())}
			encoded = slices.AppendSeq(encoded, s.allowed(whole))
		}
	}
	return encoded
}

// hasGrown: the key space has keys of several lengths.
func (n *Node) hasGrown(space string) bool {
	_, first, _ := n.machine.GrantSpace(space, 0)
	_, last, err := n.machine.Space(space)
	return err == nil && first != last
}

// sameLength are the grants that one caller gets when more has been leased for him:
// keys of one length. If the key space has grown meanwhile, what there was before is
// given to nobody.
func sameLength(before, more []grant) []grant {
	if len(before) > 0 && len(more) > 0 && before[0].space != more[0].space {
		return more
	}
	return append(before, more...)
}

func countOf(grants []grant) (n uint64) {
	for _, g := range grants {
		n += g.count
	}
	return n
}
