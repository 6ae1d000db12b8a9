package cluster

import "github.com/hashicorp/raft"

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
