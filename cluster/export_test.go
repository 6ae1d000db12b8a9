package cluster

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// KnowCommands makes the node one of a build that knows commands up to the version.
func (c *Config) KnowCommands(version uint32) { c.commands = version }

// Propose proposes a command as a front end does.
func (n *Node) Propose(ctx context.Context, cmd *pb.Command) error {
	return n.mutate(ctx, nil, cmd).Err
}

// SlowApplies has wait called before each batch of entries is applied.
func (c *Config) SlowApplies(wait func()) {
	c.wrapFSM = func(inner raft.BatchingFSM) raft.BatchingFSM { return slowFSM{inner, wait} }
}

type slowFSM struct {
	raft.BatchingFSM
	wait func()
}

func (f slowFSM) ApplyBatch(logs []*raft.Log) []any {
	f.wait()
	return f.BatchingFSM.ApplyBatch(logs)
}
