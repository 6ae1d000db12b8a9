package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
)

// Status asks every member and says who leads, who lags and who is away.
func (n *Node) Status(ctx context.Context) (Status, error) {
	leader := n.leader.current()
	status := Status{ClusterID: n.machine.ClusterID(), Leader: leader.id, Term: n.raft.CurrentTerm(), Commands: n.machine.Version()}
	status.Applied, status.Chain = n.machine.Position()
	servers, err := n.servers()
	if err != nil {
		return Status{}, err
	}
	status.Nodes = make([]NodeStatus, len(servers))
	var asked sync.WaitGroup
	for i, s := range servers {
		asked.Go(func() { status.Nodes[i] = n.nodeStatus(ctx, s, leader.id) })
	}
	asked.Wait()
	return status, nil
}

func (n *Node) nodeStatus(ctx context.Context, s raft.Server, leader string) NodeStatus {
	ns := NodeStatus{ID: string(s.ID), Role: RoleFollower, Cluster: string(s.Address)}
	switch {
	case s.Suffrage != raft.Voter:
		ns.Role = RoleNonvoter
	case string(s.ID) == leader:
		ns.Role = RoleLeader
	}
	if row, err := n.machine.Node(ns.ID); err == nil && row != nil {
		ns.HTTP = row.Http
	}
	own := n.ownStatus()
	if ns.ID != n.cfg.NodeID {
		var err error
		if own, err = n.statusOf(ctx, ns.Cluster); err != nil {
			ns.Problem = err.Error()
			return ns
		}
	}
	ns.Healthy, ns.Problem = own.Fault == "", own.Fault
	ns.Applied, ns.Version, ns.Commands = own.Applied, own.Version, commandsOf(own)
	ns.LastContact = time.Duration(own.LastContactMs) * time.Millisecond
	return ns
}

// ownStatus is what this node knows of itself.
func (n *Node) ownStatus() *clusterpb.StatusResponse {
	self := n.id.self()
	age, leading := n.Age()
	s := &clusterpb.StatusResponse{
		Node: self.NodeID, Disk: self.DiskID, ClusterId: self.ClusterID,
		HasState: n.raft.LastIndex() > 0, InitialCluster: n.cfg.initialCluster(),
		Leader: n.leader.current().id, Term: n.raft.CurrentTerm(),
		Applied: n.machine.Applied(), LastLog: n.raft.LastIndex(),
		Http: n.cfg.HTTPAdvertise, LastContactMs: age.Milliseconds(),
		Version: n.cfg.Version, Commands: n.cfg.commands, Leading: leading, Fault: n.problem(),
	}
	if s.DiskFull, _ = n.disk.fullness(); s.DiskFull != "" && s.Fault == "" {
		s.Fault = "disk full on " + s.DiskFull
	}
	for space, b := range n.ownBuffers() {
		s.Buffers = append(s.Buffers, &clusterpb.BufferStatus{Keyspace: space, Buffered: uint64(b.available), Rate: b.rate})
	}
	return s
}

// leaderBuffers asks the leader what its buffers hold; nothing if it is away.
func (n *Node) leaderBuffers(ctx context.Context) map[string]bufferStats {
	leader := n.leader.current()
	if leader.id == n.cfg.NodeID {
		return n.ownBuffers()
	}
	buffers := map[string]bufferStats{}
	if leader.id == "" {
		return buffers
	}
	status, err := n.statusOf(ctx, leader.addr)
	if err != nil {
		return buffers
	}
	for _, b := range status.Buffers {
		buffers[b.Keyspace] = bufferStats{available: int(b.Buffered), rate: b.Rate}
	}
	return buffers
}

func (n *Node) ownBuffers() map[string]bufferStats {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	buffers := map[string]bufferStats{}
	if n.lead.ready.Load() == 0 {
		return buffers
	}
	for space, b := range n.lead.buffers {
		buffers[space] = b.stats()
	}
	return buffers
}
