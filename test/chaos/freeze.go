package chaos

import (
	"syscall"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// freezeLeader stops the leader's process for longer than its lease: another
// one leads meanwhile, and when it wakes up it believes in itself for a moment.
func freezeLeader(r *run) []*proc.Node {
	leader := r.leader()
	r.deaths++
	known := r.newLink("")
	r.burst()
	leader.Signal(syscall.SIGSTOP)
	thaw := time.Now().Add(r.between(time.Second, r.longest(10*time.Second)))
	answered := r.changeBehind(leader, known)
	r.pause(time.Until(thaw))
	leader.Signal(syscall.SIGCONT)
	answered()
	return nil
}

func freezeFollower(r *run) []*proc.Node {
	victim := r.follower()
	victim.Signal(syscall.SIGSTOP)
	r.pause(r.between(time.Second, r.longest(5*time.Second)))
	victim.Signal(syscall.SIGCONT)
	return r.others(victim)
}
