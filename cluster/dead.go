package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// deadTick is how often the leader asks every member whether it is there, if it
// is to remove dead ones; deadVoters is how many voters it leaves in any case.
const (
	deadTick   = 5 * time.Second
	deadVoters = 3
)

// removeDead removes members that have not answered for cfg.RemoveDeadAfter, one
// at a time. Looks that found nobody are counted rather than the time: a leader
// that was frozen, or is new, takes nobody for dead.
func (n *Node) removeDead(ctx context.Context) {
	missed := map[raft.ServerID]time.Duration{}
	tick := time.NewTicker(deadTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		servers, err := n.servers()
		if err != nil {
			continue
		}
		voters := 0
		for _, s := range servers {
			if s.Suffrage == raft.Voter {
				voters++
			}
		}
		removed := false
		for _, s := range servers {
			if s.ID == raft.ServerID(n.cfg.NodeID) {
				continue
			}
			if status, err := n.statusOf(ctx, string(s.Address)); err == nil && status.Node == string(s.ID) {
				delete(missed, s.ID)
				continue
			}
			missed[s.ID] += deadTick
			if missed[s.ID] < n.cfg.RemoveDeadAfter || removed || s.Suffrage == raft.Voter && voters <= deadVoters {
				continue
			}
			if err := n.removeHere(ctx, string(s.ID), false); err != nil {
				n.log.Warn("a dead node is not removed", "node", s.ID, "silent", missed[s.ID], "reason", err)
				continue
			}
			n.log.Warn("a dead node was removed", "node", s.ID, "silent", missed[s.ID])
			n.deadRemoved.Add(1)
			delete(missed, s.ID)
			removed = true
		}
	}
}
