package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
)

const (
	heartbeat = 200 * time.Millisecond
	bufferMin = 200 // keys in the leader's memory
	bufferMax = 2000
)

// plan is what a seed decides.
type plan struct {
	seed         uint64
	profile      profile
	nodes        int
	clients      int
	length       time.Duration // of the nemesis' work
	space        keyspace.Space
	snapshotEach uint64 // log entries
	trailing     uint64
}

// profile is a mix of faults.
type profile struct {
	name   string
	faults []weighted
	// calm: one fault at a time, and only once the one before is over and all
	// nodes have caught up. Then clients of the other nodes may not see any error.
	calm bool
	// graceful: no fault kills or cuts anything. Then no key may be lost either.
	graceful bool
	overlap  bool // a fault may begin before the last one has ended
	restores bool // of backups: each burns keys, so the key space is a large one
}

type weighted struct {
	fault  *fault
	weight int
}

// newPlan draws the plan of a seed. The profiles take turns.
func newPlan(seed uint64, length time.Duration) plan {
	random := rand.New(rand.NewPCG(seed, 0))
	p := plan{seed: seed, profile: profiles[seed%uint64(len(profiles))], nodes: 3, clients: 6, length: length,
		space: keyspace.Space{Alphabet: keyspace.Base62, Length: 6}, snapshotEach: 1 << 20, trailing: 1 << 20}
	if p.profile.graceful { // the moments in which it can go wrong are short
		p.clients = 20
	}
	if random.IntN(4) == 0 {
		p.nodes = 5
	}
	if random.IntN(3) == 0 && !p.profile.restores { // a million keys: aliases and guesses meet them
		p.space = keyspace.Space{Alphabet: "0123456789", Length: 6}
	}
	switch random.IntN(3) {
	case 0:
		p.snapshotEach, p.trailing = 50, 5
	case 1:
		p.snapshotEach, p.trailing = 500, 100
	}
	return p
}

func (p plan) String() string {
	return fmt.Sprintf("seed %d: profile %s, %d nodes, %d clients, %s, keys of %d from %d characters, a snapshot each %d entries, %d kept",
		p.seed, p.profile.name, p.nodes, p.clients, p.length, p.space.Length, len(p.space.Alphabet), p.snapshotEach, p.trailing)
}
