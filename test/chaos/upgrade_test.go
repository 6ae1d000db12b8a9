package chaos

import (
	"testing"
	"time"
)

// What an admin does in daylight disturbs nobody: rovers, clients that know
// all addresses and go on to the next only when a connection is refused, meet
// no error at all.

// startWithRovers starts a run that has rovers besides the clients of each node.
func startWithRovers(t *testing.T, nodes int) *run {
	t.Helper()
	r := start(t, "", newSettings(t, time.Minute), nodes)
	r.load.rove(rovers, r.cluster.URLs())
	return r
}

const rovers = 32

// TestP9_RollingRestart restarts one node after the other, as the README says.
func TestP9_RollingRestart(t *testing.T) {
	t.Parallel()
	r := startWithRovers(t, 3)
	for range 2 { // the second time another node leads
		r.strike(fault{class: "rolling restart", strike: rollingRestart})
	}
	r.finish()
}
