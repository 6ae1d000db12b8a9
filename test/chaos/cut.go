package chaos

import (
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

func noNetwork(r *run) string { return r.noNetwork }

// longestCut is how long a network stays cut at most.
const longestCut = 8 * time.Second

func (r *run) cutLength() time.Duration {
	return r.between(500*time.Millisecond, r.longest(longestCut))
}

// quietly picks how packets get lost; see network.block.
func (r *run) quietly() bool { return r.random.IntN(2) == 0 }

// isolateLeader cuts the leader off from the other nodes, not from its clients:
// it must not answer them with what the others have changed since.
func isolateLeader(r *run) []*proc.Node {
	leader := r.leader()
	others := r.others(leader)
	r.deaths++
	known := r.newLink("")
	r.burst()
	until := time.Now().Add(r.cutLength())
	mend := r.network.cut(leader, others, r.quietly())
	answered := r.changeBehind(leader, known)
	r.pause(time.Until(until))
	mend()
	answered()
	return nil
}

// isolateFollower cuts a follower off: nobody else notices, neither then nor
// when it comes back.
func isolateFollower(r *run) []*proc.Node {
	victim := r.follower()
	mend := r.network.cut(victim, r.others(victim), r.quietly())
	r.pause(r.cutLength())
	mend()
	return r.others(victim)
}

// cutOneWay lets a leader hear the others but not be heard, or the reverse.
func cutOneWay(r *run) []*proc.Node {
	leader := r.leader()
	quiet, heard := r.quietly(), r.random.IntN(2) == 0
	r.deaths++
	r.burst()
	var undo []func()
	for _, n := range r.others(leader) {
		if heard {
			undo = append(undo, r.network.block(n, leader, quiet))
		} else {
			undo = append(undo, r.network.block(leader, n, quiet))
		}
	}
	r.pause(r.cutLength())
	for _, u := range undo {
		u()
	}
	return nil
}

// cutPair leaves the leader and a follower without a way to each other, while
// both reach all others: the others, and the leader, go on undisturbed.
func cutPair(r *run) []*proc.Node {
	leader, victim := r.leader(), r.follower()
	mend := r.network.cut(leader, []*proc.Node{victim}, r.quietly())
	r.pause(r.cutLength())
	mend()
	return r.others(victim)
}

// flap pulls the leader's wire again and again, for about as long as an
// election takes.
func flap(r *run) []*proc.Node {
	leader := r.leader()
	r.deaths++
	for range 3 + r.random.IntN(4) {
		r.network.plug(leader, false)
		r.pause(r.between(100*time.Millisecond, 700*time.Millisecond))
		r.network.plug(leader, true)
		r.pause(r.between(100*time.Millisecond, 700*time.Millisecond))
	}
	return nil
}

// unplug pulls the wire of any node.
func unplug(r *run) []*proc.Node {
	victim := pick(r.random, r.cluster.Nodes)
	if victim == r.leader() {
		r.deaths++
	}
	r.network.plug(victim, false)
	r.pause(r.cutLength())
	r.network.plug(victim, true)
	return nil
}
