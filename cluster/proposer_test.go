package cluster

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm"
)

// Only what certainly was not proposed may be called failed.
func TestProposeErrors(t *testing.T) {
	for _, c := range []struct{ raft, want error }{
		{raft.ErrNotLeader, ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, ErrNotLeader},
		{raft.ErrEnqueueTimeout, ErrBusy},
		{raft.ErrLeadershipLost, fsm.ErrOutcomeUnknown},
		{raft.ErrRaftShutdown, fsm.ErrOutcomeUnknown},
		{raft.ErrAbortedByRestore, fsm.ErrOutcomeUnknown},
		{errors.New("a log write failed"), fsm.ErrOutcomeUnknown},
	} {
		if got := proposeError(c.raft); !errors.Is(got, c.want) {
			t.Errorf("%v: %v, want %v", c.raft, got, c.want)
		}
	}
}
