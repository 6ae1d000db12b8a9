package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// nemesis breaks things, one after the other, as the seed has it.
type nemesis struct {
	w       *world
	random  *rand.Rand
	running sync.WaitGroup // faults that are not over
	joined  int            // nodes added so far
}

func newNemesis(w *world) *nemesis {
	return &nemesis{w: w, random: rand.New(rand.NewPCG(w.plan.seed, 2))}
}

// run works for as long as the plan says, and leaves the cluster broken.
func (n *nemesis) run() {
	total := 0
	for _, f := range n.w.plan.profile.faults {
		total += f.weight
	}
	for n.w.now() < n.w.plan.length {
		if n.w.plan.profile.calm && !n.settle() {
			return
		}
		at := n.random.IntN(total)
		for _, f := range n.w.plan.profile.faults {
			if at -= f.weight; at < 0 {
				n.begin(f.fault)
				break
			}
		}
		time.Sleep(n.between(50*time.Millisecond, 700*time.Millisecond))
	}
	n.running.Wait()
}

// begin starts a fault, and waits for its end unless faults may overlap.
func (n *nemesis) begin(f *fault) {
	// Each fault draws from a source of its own: how long one takes must not
	// change what the next one draws.
	own := &nemesis{w: n.w, random: rand.New(rand.NewPCG(n.random.Uint64(), 3)), joined: n.joined}
	if f.joins {
		n.joined++
	}
	n.w.counts.fault(f.name)
	if n.w.plan.profile.overlap && !f.joins && !f.alone && n.random.IntN(3) == 0 {
		n.running.Go(func() { f.run(own, f.name) })
		return
	}
	f.run(own, f.name)
}

// settle waits until all nodes are up and at one index, under one leader.
func (n *nemesis) settle() bool {
	ok := await(30*time.Second, func() bool { return len(n.w.down()) == 0 && n.w.leader() != nil && n.w.level() })
	if !ok {
		n.w.violate("liveness", "30 s after a single fault not all nodes have caught up")
	}
	time.Sleep(500 * time.Millisecond)
	return ok
}

// level tells whether all nodes are up and about as far as each other.
func (w *world) level() bool {
	var low, high uint64
	alive := w.alive()
	for i, p := range alive {
		at := p.node.Machine().Applied()
		if i == 0 {
			low, high = at, at
		}
		low, high = min(low, at), max(high, at)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	running := 0
	for _, m := range w.members {
		if !m.gone {
			running++
		}
	}
	return len(alive) == running && high-low < 20
}

func (n *nemesis) between(from, to time.Duration) time.Duration {
	return from + time.Duration(n.random.Int64N(int64(to-from)))
}

// leader is who leads, or else any node that is up; nil if there is none.
func (n *nemesis) leader() *process {
	if leaders := n.w.leaders(); len(leaders) > 0 {
		return leaders[n.random.IntN(len(leaders))]
	}
	return n.anyone()
}

func (n *nemesis) anyone() *process {
	if alive := n.w.alive(); len(alive) > 0 {
		return alive[n.random.IntN(len(alive))]
	}
	return nil
}

// follower is a node that does not lead, if there is one.
func (n *nemesis) follower() *process {
	alive := n.w.alive()
	for _, i := range n.random.Perm(len(alive)) {
		if _, leading := alive[i].node.Age(); !leading {
			return alive[i]
		}
	}
	return nil
}

// either is the leader as often as a follower.
func (n *nemesis) either() *process {
	if n.random.IntN(2) == 0 {
		return n.leader()
	}
	return n.follower()
}

// others are the ids of all other nodes.
func (n *nemesis) others(p *process) []string {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	var ids []string
	for _, m := range n.w.members {
		if m != p.member && !m.gone {
			ids = append(ids, m.id)
		}
	}
	return ids
}

// kill ends a process, and starts another one for the node later.
func (n *nemesis) kill(name string, unsynced int, later time.Duration, victims ...*process) {
	names := ""
	for _, p := range victims {
		_, led := p.node.Age()
		if !n.w.end(p, unsynced) {
			continue
		}
		names += " " + p.member.id
		if led {
			names += " (the leader)"
			n.w.counts.death()
			if n.w.plan.profile.calm {
				n.w.counts.timed(&n.w.counts.deaths, n.w.now())
			}
		}
	}
	n.w.note("%s:%s, back after %s", name, names, later)
	time.Sleep(later)
	for _, p := range victims {
		n.w.start(p.member)
	}
}

// during applies something for a while.
func (n *nemesis) during(name, what string, d time.Duration, begin, end func()) {
	n.w.note("%s: %s, for %s", name, what, d)
	begin()
	time.Sleep(d)
	end()
	n.w.note("%s: over", name)
}

// newID is that of a node that joins.
func (n *nemesis) newID() string { return fmt.Sprintf("j%d", n.joined+1) }
