package fsm

import (
	"fmt"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// compareChains compares this replica's state with the proposer's, as far as it
// remembers the index. Which of the two is wrong it cannot know.
func (m *Machine) compareChains(entry *pb.Entry) error {
	chain, ok := m.chains.at(entry.CheckIndex)
	if !ok {
		return nil
	}
	m.compared.Add(1)
	if chain == entry.CheckChain {
		return nil
	}
	return fmt.Errorf("%w: at index %d it has %016x, the leader %s has %016x; if other nodes stop with the value of this one, the leader is damaged, else this node: remove the damaged one, empty its data directory and join it again",
		ErrDiverged, entry.CheckIndex, chain, entry.Node, entry.CheckChain)
}

// chainRing remembers the hash chain at the last entries, to compare with the
// leader's.
type chainRing struct {
	slots [1024]struct{ index, chain uint64 }
	next  int
}

func (r *chainRing) add(index, chain uint64) {
	r.slots[r.next%len(r.slots)] = struct{ index, chain uint64 }{index, chain}
	r.next++
}

// at finds the chain after index; entries ask for recent ones, so it looks
// backwards.
func (r *chainRing) at(index uint64) (uint64, bool) {
	if index == 0 {
		return 0, false
	}
	for i := range min(r.next, len(r.slots)) {
		slot := r.slots[(r.next-1-i)%len(r.slots)]
		if slot.index == index {
			return slot.chain, true
		}
		if slot.index < index {
			return 0, false
		}
	}
	return 0, false
}
