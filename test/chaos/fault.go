package chaos

import (
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// fault is one class of faults.
type fault struct {
	class string
	// takes is about how long one takes, until all is well again.
	takes time.Duration
	// missing says why this machine cannot do it; "" if it can. nil: any machine can.
	missing func(*run) string
	// strike does it and undoes it again, in the test's goroutine. Clients of the
	// nodes that it returns must have met no error from the moment before it
	// until all is well again.
	strike func(*run) (undisturbed []*proc.Node)
}

// faults are all classes.
var faults = []fault{
	{class: "kill -9 of the leader", takes: 2 * time.Second, strike: killLeader},
	{class: "kill -9 of a follower", takes: time.Second, strike: killFollower},
	{class: "kill -9 of a majority", takes: 3 * time.Second, strike: killMajority},
	{class: "kill -9 of all", takes: 2 * time.Second, strike: killAll},
	{class: "SIGTERM of a node", takes: 2 * time.Second, strike: terminate},
	{class: "SIGSTOP of the leader", takes: 6 * time.Second, strike: freezeLeader},
	{class: "SIGSTOP of a follower", takes: 4 * time.Second, strike: freezeFollower},
	{class: "transfer of leadership", takes: time.Second, strike: transfer},
	{class: "rolling restart", takes: 5 * time.Second, strike: rollingRestart},
	{class: "replacement of every node", takes: 15 * time.Second, strike: replaceAll},

	{class: "leader cut off", takes: 5 * time.Second, missing: noNetwork, strike: isolateLeader},
	{class: "follower cut off", takes: 5 * time.Second, missing: noNetwork, strike: isolateFollower},
	{class: "leader cut off one way", takes: 5 * time.Second, missing: noNetwork, strike: cutOneWay},
	{class: "leader and follower cut apart", takes: 5 * time.Second, missing: noNetwork, strike: cutPair},
	{class: "flapping wire of the leader", takes: 5 * time.Second, missing: noNetwork, strike: flap},
	{class: "wire of a node pulled", takes: 5 * time.Second, missing: noNetwork, strike: unplug},

	{class: "slow disk", takes: 4 * time.Second, missing: noTamper, strike: slowDisk},
	{class: "hung disk of the leader", takes: 12 * time.Second, missing: noTamper, strike: hungDisk},
	{class: "hung disk of a follower", takes: 8 * time.Second, missing: noTamper, strike: hungFollower},
	{class: "failing disk of the leader", takes: 5 * time.Second, missing: noTamper, strike: failingLeader},
	{class: "failing disk of a follower", takes: 5 * time.Second, missing: noTamper, strike: failingFollower},

	{class: "full disk of the leader", takes: 8 * time.Second, missing: noSmallDisk, strike: fillLeader},
	{class: "full disk of a follower", takes: 8 * time.Second, missing: noSmallDisk, strike: fillFollower},
	{class: "full disks of all nodes", takes: 12 * time.Second, missing: noSmallDisk, strike: fillAll},

	{class: "backup and restore", takes: 8 * time.Second, missing: noBackup, strike: restoreBackup},
}
