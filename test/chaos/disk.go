package chaos

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// longestBadDisk is how long a disk is slow or failing at most.
const longestBadDisk = 5 * time.Second

// hungWithin: a leader whose disk hangs gives way so soon that writes go on.
const hungWithin = 15 * time.Second

const oracleHung = "P9 writes go on when the leader's disk hangs"

// tamper is tamper on a node, which must work once noTamper has found no fault.
func (r *run) tamper(n *proc.Node, inject string) (detach func()) {
	r.tb.Helper()
	detach, err := tamper(n.Pid(), inject, filepath.Join(r.cluster.Dir, n.ID+".strace"))
	if err != nil {
		r.tb.Fatalf("%s: %v", n.ID, err)
	}
	r.tb.Cleanup(detach)
	return detach
}

// slowDisk makes each sync of some node take long, not so long that it counts
// as hanging.
func slowDisk(r *run) []*proc.Node {
	victim := pick(r.random, r.cluster.Nodes)
	detach := r.tamper(victim, fmt.Sprintf("delay_enter=%d", r.between(50*time.Millisecond, 400*time.Millisecond).Microseconds()))
	r.pause(r.between(time.Second, r.longest(longestBadDisk)))
	detach()
	return nil
}

// hungDisk stops the leader's disk altogether, while its network is fine.
func hungDisk(r *run) []*proc.Node {
	leader := r.leader()
	r.deaths++
	r.burst()
	detach := r.tamper(leader, "delay_enter=600000000")
	took := r.writeWithin(hungWithin, r.others(leader), oracleHung)
	r.logf("writes went on after %s", took.Round(time.Millisecond))
	r.pause(r.between(0, r.longest(longestBadDisk)))
	detach()
	r.revive(leader)
	return nil
}

// hungFollower stops a follower's disk: the others do not need it.
func hungFollower(r *run) []*proc.Node {
	victim := r.follower()
	detach := r.tamper(victim, "delay_enter=600000000")
	r.pause(r.between(time.Second, r.longest(2*longestBadDisk)))
	detach()
	r.revive(victim)
	return r.others(victim)
}

// failingLeader has each sync of the leader fail for a while.
func failingLeader(r *run) []*proc.Node {
	leader := r.leader()
	r.deaths++
	r.failDisk(leader)
	return nil
}

// failingFollower has each sync of a follower fail: the others do not need it.
func failingFollower(r *run) []*proc.Node {
	victim := r.follower()
	r.failDisk(victim)
	return r.others(victim)
}

func (r *run) failDisk(victim *proc.Node) {
	detach := r.tamper(victim, "error=EIO")
	r.write(r.others(victim), oracleDeath)
	r.pause(r.between(0, r.longest(longestBadDisk)))
	detach()
	r.revive(victim)
}

// endsWithin is the longest that a node which gives up takes to close.
const endsWithin = 30 * time.Second

func isReady(n *proc.Node) bool {
	response, err := plainClient.Get(n.URL + "/readyz")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// revive starts a node again if it has given up: a node may do so, with a word,
// when it cannot trust its files any more.
func (r *run) revive(n *proc.Node) {
	for end := time.Now().Add(endsWithin); n.Running(); time.Sleep(100 * time.Millisecond) {
		if isReady(n) || time.Now().After(end) {
			return
		}
	}
	words := lastWords(n)
	r.logf("%s ended by itself: %s", n.ID, words)
	if strings.HasPrefix(words, "panic: ") {
		r.violatef(oracleEnds, "%s panicked:\n%s", n.ID, n.Output)
	}
	n.Start()
}

// lastWords is why a node gave up: its panic, else the last line that it said.
func lastWords(n *proc.Node) string {
	said := strings.Split(strings.TrimSpace(n.Output.String()), "\n")
	for i := len(said) - 1; i >= 0 && !strings.Contains(said[i], "node is up"); i-- {
		if strings.HasPrefix(said[i], "panic: ") {
			return said[i]
		}
	}
	return said[len(said)-1]
}
