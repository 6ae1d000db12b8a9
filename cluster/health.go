package cluster

import (
	"fmt"
	"slices"
	"time"
)

// readyLag is how many log entries a ready node may be behind.
const readyLag = 10_000

// Ready lists what this node needs in order to serve, and what is missing.
func (n *Node) Ready() []Check {
	check := func(name string, ok bool, format string, args ...any) Check {
		return Check{Name: name, OK: ok, Detail: fmt.Sprintf(format, args...)}
	}
	full, _ := n.disk.fullness()
	leader := n.leader.current().id
	age, leading := n.Age()
	lag := int64(n.raft.CommitIndex()) - int64(n.raft.AppliedIndex())
	checks := []Check{
		check("node", n.problem() == "", "%s", n.problem()),
		check("disk", full == "", "full on %s", full),
		check("cluster", n.machine.ClusterID() != "", "not formed, or not joined yet"),
		check("leader", leader != "", "no leader is known"),
		check("caught-up", lag < readyLag, "%d log entries behind", lag),
	}
	if leader != "" && !leading && leader != n.cfg.NodeID {
		checks = append(checks, check("leader-contact", age < 10*n.cfg.Heartbeat, "nothing heard for %s", age.Round(time.Millisecond)))
	}
	if leader == n.cfg.NodeID {
		checks = append(checks, check("leading", leading, "elected, but its state is not complete yet"))
	}
	return checks
}

// ready tells whether all that Ready lists is there.
func (n *Node) ready() bool {
	return !slices.ContainsFunc(n.Ready(), func(c Check) bool { return !c.OK })
}

// problem says why the node cannot go on, or what holds it up; "" if nothing.
func (n *Node) problem() string {
	if fault := n.fault.Load(); fault != nil {
		return (*fault).Error()
	}
	if stalled := n.stalled.Load(); stalled != nil {
		return (*stalled).Error()
	}
	return ""
}
