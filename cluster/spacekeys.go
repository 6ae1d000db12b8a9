package cluster

import (
	"slices"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// spaceKeys turns positions of one key space into keys that may be handed out.
type spaceKeys struct {
	perm    *keyspace.Permutation
	blocked []uint64 // positions never handed out, sorted
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

// blocks tells whether a position is never handed out.
func (s spaceKeys) blocks(pos uint64) bool {
	_, blocked := slices.BinarySearch(s.blocked, pos)
	return blocked
}

// encode returns the keys of grants that this node has applied. The key space is
// looked up only then: a restore may have brought another permutation.
func (n *Node) encode(space string, grants []*pb.Grant) ([]grant, error) {
	perm, _, err := n.machine.Space(space)
	if err != nil {
		return nil, err
	}
	return newSpaceKeys(perm, n.cfg.Reserved).encode(grants), nil
}

// encode returns the keys of the grants, without the blocked ones.
func (s spaceKeys) encode(grants []*pb.Grant) []grant {
	var encoded []grant
	for _, g := range grants {
		for _, run := range s.unblocked(keyspace.Run{From: g.From, To: g.From + g.Count}) {
			encoded = append(encoded, grant{g.Lease, run.From, run.Len(), s.perm.AppendKeys(nil, run.From, run.Len())})
		}
	}
	return encoded
}
