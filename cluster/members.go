package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Join takes a node into the cluster; through any member.
func (n *Node) Join(ctx context.Context, r JoinRequest) error {
	_, err := n.handleJoin(ctx, Identity{}, &clusterpb.JoinRequest{
		Id: r.ID, Disk: r.DiskID, Http: r.HTTP, Cluster: r.Cluster, NonVoter: r.NonVoter})
	return err
}

// Remove takes a node out of the cluster for good, unless that would cost the
// majority; through any member.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.membership(ctx, methodRemove, &clusterpb.RemoveRequest{Id: id}, func(ctx context.Context) error {
		return n.removeHere(ctx, id)
	})
}

// Transfer moves leadership to the node, or with "" to any up-to-date voter,
// without losing a buffered key; through any member.
func (n *Node) Transfer(ctx context.Context, to string) error {
	return n.membership(ctx, methodTransfer, &clusterpb.TransferRequest{To: to}, func(ctx context.Context) error {
		return n.transferHere(ctx, to)
	})
}

// membership runs a change on the leader. Each is idempotent.
func (n *Node) membership(ctx context.Context, m method, request proto.Message, here func(context.Context) error) error {
	return n.toLeader(ctx, func(ctx context.Context, to target) error {
		if to.id == n.cfg.NodeID {
			return here(ctx)
		}
		return n.call(ctx, to.addr, m, request, &clusterpb.RemoveResponse{})
	})
}

// handleJoin passes a join on to the leader: the joiner may ask any member.
func (n *Node) handleJoin(ctx context.Context, _ Identity, r *clusterpb.JoinRequest) (*clusterpb.JoinResponse, error) {
	if err := checkAddr(r.Cluster); err != nil || !nodeIDPattern.MatchString(r.Id) {
		return nil, fmt.Errorf("%w: node id %q, cluster address %q: %v", ErrRefused, r.Id, r.Cluster, err)
	}
	response := &clusterpb.JoinResponse{}
	err := n.toLeader(ctx, func(ctx context.Context, to target) error {
		if to.id == n.cfg.NodeID {
			response.ClusterId = n.machine.ClusterID()
			return n.joinHere(ctx, r)
		}
		return n.call(ctx, to.addr, methodJoin, r, response)
	})
	return response, err
}

// joinHere records the node, then adds it as a non-voter; promoteNodes makes it
// a voter once it has caught up. A new voter that lags, or cannot be reached,
// could cost the majority.
func (n *Node) joinHere(ctx context.Context, r *clusterpb.JoinRequest) error {
	if _, err := n.leading(); err != nil {
		return err
	}
	disk := r.Disk
	if disk == "" { // asked for by an admin, not by the node: the node itself knows
		status, err := n.statusOf(ctx, r.Cluster)
		if err != nil {
			return fmt.Errorf("%w: %s at %s does not answer (%v); start it first, with --join", ErrRefused, r.Id, r.Cluster, err)
		}
		disk = status.Disk
	}
	_, err := n.proposeOne(ctx, &pb.Command{Op: &pb.Command_PutNode{PutNode: &pb.PutNode{Node: &pb.Node{
		Id: r.Id, DiskId: disk, Http: r.Http, Cluster: r.Cluster, NonVoter: r.NonVoter}}}})
	if err != nil {
		return err
	}
	servers, err := n.servers()
	if err != nil {
		return err
	}
	for _, s := range servers {
		if s.ID == raft.ServerID(r.Id) && s.Address == raft.ServerAddress(r.Cluster) {
			return nil // a repeat
		}
	}
	n.log.Info("node joins", "node", r.Id, "address", r.Cluster)
	return changeError(n.raft.AddNonvoter(raft.ServerID(r.Id), raft.ServerAddress(r.Cluster), 0, changeTimeout).Error())
}

// changeTimeout bounds the wait for room in raft's queue.
const changeTimeout = 5 * time.Second

func changeError(err error) error {
	if err == nil {
		return nil
	}
	return proposeError(err)
}

func (n *Node) servers() ([]raft.Server, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, err
	}
	return f.Configuration().Servers, nil
}

// removeHere removes a node if a healthy majority is left without it. The
// leader itself hands over first; the caller then tries the new one.
func (n *Node) removeHere(ctx context.Context, id string) error {
	if _, err := n.leading(); err != nil {
		return err
	}
	servers, err := n.servers()
	if err != nil {
		return err
	}
	var voters []raft.Server
	member := false
	for _, s := range servers {
		member = member || s.ID == raft.ServerID(id)
		if s.Suffrage == raft.Voter && s.ID != raft.ServerID(id) {
			voters = append(voters, s)
		}
	}
	row, err := n.machine.Node(id)
	if err != nil {
		return err
	}
	if !member && (row == nil || row.Removed) {
		return fmt.Errorf("%w: %s", ErrUnknownNode, id)
	}
	if member {
		if err := n.checkMajority(ctx, id, voters); err != nil {
			return err
		}
		if id == n.cfg.NodeID {
			if err := n.moveLeadership(ctx, ""); err != nil {
				return err
			}
			return ErrNotLeader
		}
		if err := changeError(n.raft.RemoveServer(raft.ServerID(id), 0, changeTimeout).Error()); err != nil {
			return err
		}
	}
	_, err = n.proposeOne(ctx, &pb.Command{Op: &pb.Command_RemoveNode{RemoveNode: &pb.RemoveNode{Id: id}}})
	if errors.Is(err, fsm.ErrNodeNotFound) {
		err = nil // it never registered
	}
	if err == nil {
		n.log.Info("node removed", "node", id)
	}
	return err
}

// checkMajority refuses a removal after which the healthy voters would be no
// majority.
func (n *Node) checkMajority(ctx context.Context, id string, left []raft.Server) error {
	if len(left) == 0 {
		return fmt.Errorf("%w: %s is the last voter", ErrRefused, id)
	}
	healthy := 0
	var sick string
	for _, s := range left {
		if s.ID == raft.ServerID(n.cfg.NodeID) {
			healthy++
		} else if _, err := n.statusOf(ctx, string(s.Address)); err == nil {
			healthy++
		} else {
			sick += " " + string(s.ID)
		}
	}
	if healthy < len(left)/2+1 {
		return fmt.Errorf("%w: %d voters would remain, unhealthy:%s; removing %s leaves no healthy majority", ErrRefused, len(left), sick, id)
	}
	return nil
}

// transferHere moves leadership; it is done when another node leads.
func (n *Node) transferHere(ctx context.Context, to string) error {
	if _, err := n.leading(); err != nil {
		return err
	}
	if to == n.cfg.NodeID {
		return nil
	}
	return n.moveLeadership(ctx, to)
}

// moveLeadership hands over; if the node still leads afterwards, it serves again.
func (n *Node) moveLeadership(ctx context.Context, to string) error {
	err := n.handOver(ctx, to)
	n.resume()
	return err
}

// handOver returns the buffered keys through the log, then transfers
// leadership. After it the node hands out nothing until resume, or a new term.
func (n *Node) handOver(ctx context.Context, to string) (err error) {
	if _, err := n.leading(); err != nil {
		return err
	}
	var address raft.ServerAddress
	if to != "" {
		if address, err = n.voterAddress(to); err != nil {
			return err
		}
	}
	if since := time.Since(n.lead.failed()); since < transferAgain {
		return fmt.Errorf("%w: the last transfer failed %s ago; another one is safe after %s", ErrRefused, since.Round(time.Second), transferAgain)
	}
	if !n.lead.handing.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: another hand-over is under way", ErrRefused)
	}
	n.awaitServed(ctx)
	n.releaseBuffers(ctx)
	if to == "" && n.onlyVoter() {
		return errOnlyVoter
	}
	done := make(chan error, 1)
	go func() {
		if to == "" {
			done <- n.raft.LeadershipTransfer().Error()
		} else {
			done <- n.raft.LeadershipTransferToServer(raft.ServerID(to), address).Error()
		}
	}()
	select {
	case err = <-done:
	case <-time.After(closeTimeout):
		err = errors.New("the transfer did not end")
	}
	if err != nil {
		now := time.Now()
		n.lead.failedAt.Store(&now)
		err = fmt.Errorf("%w: leadership stays with %s: %v", ErrRefused, n.cfg.NodeID, err)
	}
	return err
}

var errOnlyVoter = fmt.Errorf("%w: there is no other voter", ErrRefused)

func (n *Node) onlyVoter() bool {
	servers, err := n.servers()
	return err == nil && !slices.ContainsFunc(servers, func(s raft.Server) bool {
		return s.Suffrage == raft.Voter && s.ID != raft.ServerID(n.cfg.NodeID)
	})
}

func (n *Node) voterAddress(id string) (raft.ServerAddress, error) {
	servers, err := n.servers()
	if err != nil {
		return "", err
	}
	for _, s := range servers {
		if s.ID == raft.ServerID(id) {
			if s.Suffrage != raft.Voter {
				return "", fmt.Errorf("%w: %s is a non-voter", ErrRefused, id)
			}
			return s.Address, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrUnknownNode, id)
}

// resume lets a leader whose hand-over failed serve again, in its old term.
func (n *Node) resume() {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	term := n.lead.ready.Load()
	if term == 0 || !n.lead.handing.Load() || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return
	}
	for _, b := range n.lead.buffers {
		b.open(term, time.Now())
		b.poke()
	}
	n.lead.handing.Store(false)
	n.spawn(n.watchTransfer)
}

// transferAgain is the wait after a failed transfer: raft's replication to the
// chosen node must have had a turn, which its backoff delays up to 10.24 s, or
// the next transfer could leave its flag set (see transferStuck).
const transferAgain = raftTimeout + 11*time.Second

// failed returns when the last transfer failed; long ago if none did.
func (l *leadership) failed() time.Time {
	if at := l.failedAt.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// transferStuck is how long raft may go on refusing entries after a transfer
// failed: an honest one ends within raft's timeout and two elections. The flag
// "transfer in progress" can outlive its transfer, even its term, and nothing
// but a new start clears it then (hashicorp/raft#696).
const transferStuck = 15 * time.Second

var errTransferStuck = errors.New("raft is stuck in a leadership transfer that has ended; the node must be restarted")

// watchTransfer makes sure that raft takes entries again in the same term; a
// new term looks for itself (runTerm).
func (n *Node) watchTransfer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, transferStuck)
	defer cancel()
	for ctx.Err() == nil {
		if err := n.raft.Barrier(time.Second).Error(); !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return
		}
		pause(ctx, 100*time.Millisecond)
	}
	if n.ctx.Err() == nil {
		n.fail(errTransferStuck)
	}
}

// servedTimeout bounds how long a hand-over waits for calls under way.
const servedTimeout = 2 * time.Second

// awaitServed waits until no call holds keys that it has not used yet.
func (n *Node) awaitServed(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	for n.lead.serving.Load() > 0 && ctx.Err() == nil {
		pause(ctx, time.Millisecond)
	}
}

// releaseBuffers empties the buffers and gives what was in them back.
func (n *Node) releaseBuffers(ctx context.Context) {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	for space, b := range n.lead.buffers {
		b.filling.Lock()
		left, handedOut := b.drain()
		b.filling.Unlock()
		result, err := n.proposeOne(ctx, &pb.Command{Op: &pb.Command_Release{
			Release: &pb.Release{Keyspace: space, Grants: left, HandedOut: handedOut}}})
		if err != nil {
			n.log.Warn("buffered keys not returned: they are lost", "keyspace", space, "reason", err)
			b.abandon(left)
		} else {
			n.log.Info("buffered keys returned", "keyspace", space, "count", result.Count)
		}
	}
}

// promoteTick is how often the leader looks for non-voters that have caught up;
// they must be found so promoteChecks times in a row.
const (
	promoteTick   = 300 * time.Millisecond
	promoteChecks = 3
	promoteLag    = 1000 // log entries
)

// promoteNodes makes non-voters voters once they are caught up and stable.
func (n *Node) promoteNodes(ctx context.Context) {
	good := map[raft.ServerID]int{}
	tick := time.NewTicker(promoteTick)
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
		for _, s := range servers {
			if s.Suffrage == raft.Voter {
				continue
			}
			row, err := n.machine.Node(string(s.ID))
			if err != nil || row == nil || row.NonVoter {
				continue
			}
			status, err := n.statusOf(ctx, string(s.Address))
			if err != nil || status.Node != string(s.ID) || status.Applied+promoteLag < n.machine.Applied() {
				good[s.ID] = 0
				continue
			}
			if good[s.ID]++; good[s.ID] < promoteChecks {
				continue
			}
			delete(good, s.ID)
			if err := n.raft.AddVoter(s.ID, s.Address, 0, changeTimeout).Error(); err != nil {
				n.log.Warn("node not promoted", "node", s.ID, "reason", err)
			} else {
				n.log.Info("node is a voter now", "node", s.ID)
			}
		}
	}
}

// Status asks every member and says who leads, who lags and who is away.
func (n *Node) Status(ctx context.Context) (Status, error) {
	leader := n.leader.current()
	status := Status{ClusterID: n.machine.ClusterID(), Leader: leader.id, Term: n.raft.CurrentTerm()}
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
	ns.Applied, ns.Version = own.Applied, own.Version
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
		Version: n.cfg.Version, Leading: leading, Fault: n.problem(),
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
