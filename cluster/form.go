package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// How a node without state finds its cluster, and how two clusters are never
// made out of one:
//
//   - One node of the initial cluster, the first by id, bootstraps raft, for all
//     of them. It does so only after it has met every other one, and all were
//     without state and had the same list. The others start empty and are found
//     by the first leader.
//   - A data directory has an identity (identity.go) that the cluster records
//     with the node. An emptied directory is another node under a used name: it
//     is refused on every connection, and the process says so and ends.
//   - The id of the cluster is part of every handshake.

// enter decides what a node does at its start.
func (n *Node) enter(known bool) error {
	switch {
	case known:
		n.log.Info("restarting from the data directory; initial cluster and join are ignored", "index", n.machine.Applied())
	case len(n.cfg.Join) > 0:
		n.spawn(n.join)
	case n.cfg.NodeID == n.founder():
		n.spawn(n.found)
	default:
		n.log.Info("waiting for the first node to form the cluster", "first", n.founder())
	}
	n.spawn(func(ctx context.Context) { n.greet(ctx, known) })
	n.spawn(n.watchWelcome)
	return nil
}

// founder is the node that bootstraps.
func (n *Node) founder() string {
	ids := make([]string, 0, len(n.cfg.InitialCluster))
	for id := range n.cfg.InitialCluster {
		ids = append(ids, id)
	}
	return slices.Min(ids)
}

// enterRetry is the wait between two tries to meet the other nodes;
// enterReport is how often a node says that it still waits.
const (
	enterRetry  = 200 * time.Millisecond
	enterReport = 10 * time.Second
)

// found bootstraps the cluster once all initial nodes have been met.
func (n *Node) found(ctx context.Context) {
	var reported time.Time
	for ctx.Err() == nil {
		err := n.meetAll(ctx)
		if err == nil {
			if err = n.bootstrap(); err != nil {
				n.fail(fmt.Errorf("bootstrap: %w", err))
			}
			return
		}
		var foreign *foreignError
		if errors.As(err, &foreign) {
			n.fail(err)
			return
		}
		if time.Since(reported) > enterReport {
			n.log.Info("waiting for all nodes of the initial cluster", "missing", err)
			reported = time.Now()
		}
		pause(ctx, enterRetry)
	}
}

// foreignError: a node of the initial cluster belongs elsewhere already.
type foreignError struct{ text string }

func (e *foreignError) Error() string { return e.text }

// meetAll checks that every other initial node is there, without state, and has
// the same list.
func (n *Node) meetAll(ctx context.Context) error {
	for id, addr := range n.cfg.InitialCluster {
		if id == n.cfg.NodeID {
			continue
		}
		status, err := n.statusOf(ctx, addr)
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			return &foreignError{fmt.Sprintf("%s at %s refuses this node: %s", id, addr, refused.Reason)}
		case err != nil:
			return fmt.Errorf("%s at %s: %w", id, addr, err)
		case status.HasState:
			return &foreignError{fmt.Sprintf("%s at %s belongs to a cluster already (%s) and this data directory is empty: a second cluster is not formed; remove this node there and start it with --join, or restore its data directory",
				id, addr, status.ClusterId)}
		case status.Node != id:
			return &foreignError{fmt.Sprintf("%s answers as node %q, the initial cluster calls it %q: correct either", addr, status.Node, id)}
		case status.InitialCluster != n.cfg.initialCluster():
			return &foreignError{fmt.Sprintf("%s was started with another initial cluster (%s) than this node (%s): use the same list on every first node",
				id, status.InitialCluster, n.cfg.initialCluster())}
		}
	}
	return nil
}

// bootstrap writes the first configuration, after the cluster's id is on disk.
func (n *Node) bootstrap() error {
	if n.id.self().ClusterID == "" {
		if err := n.id.adopt(randomID()); err != nil {
			return err
		}
	}
	var c raft.Configuration
	for id, addr := range n.cfg.InitialCluster {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(addr)})
	}
	err := n.futures.await(func() raft.Future { return n.raft.BootstrapCluster(c) })
	if errors.Is(err, raft.ErrCantBootstrap) {
		return nil // there is state meanwhile
	}
	n.log.Info("cluster formed", "cluster", n.id.self().ClusterID, "nodes", n.cfg.initialCluster())
	return err
}

// join asks the given nodes, again and again, to be taken in.
func (n *Node) join(ctx context.Context) {
	request := &clusterpb.JoinRequest{
		Id: n.cfg.NodeID, Disk: n.id.self().DiskID, Http: n.cfg.HTTPAdvertise,
		Cluster: n.cfg.ClusterAdvertise, NonVoter: n.cfg.NonVoter, Commands: n.cfg.commands,
	}
	var reported time.Time
	for ctx.Err() == nil {
		for _, addr := range n.cfg.Join {
			response := &clusterpb.JoinResponse{}
			try, cancel := context.WithTimeout(ctx, askTimeout)
			err := n.call(try, addr, methodJoin, request, response)
			cancel()
			if err == nil {
				if err = n.id.adopt(response.ClusterId); err != nil {
					n.fail(err)
				}
				n.log.Info("joined", "cluster", response.ClusterId, "through", addr)
				return
			}
			if errors.Is(err, fsm.ErrNodeConflict) || errors.Is(err, ErrUpgrade) || errors.As(err, new(*RefusedError)) {
				n.fail(fmt.Errorf("%s does not take this node in: %w", addr, err))
				return
			}
			if time.Since(reported) > enterReport {
				n.log.Info("not joined yet", "asked", addr, "reason", err)
				reported = time.Now()
			}
		}
		pause(ctx, enterRetry)
	}
}

// greetTries bounds how often a starting node looks whether it is welcome.
const greetTries = 25

// greet finds out at the start whether the others know this node as another
// one, or belong to another cluster: then the process should end with a clear
// word rather than wait for ever.
func (n *Node) greet(ctx context.Context, known bool) {
	addrs := slices.Clone(n.cfg.Join)
	for id, addr := range n.cfg.InitialCluster {
		if id != n.cfg.NodeID {
			addrs = append(addrs, addr)
		}
	}
	for range greetTries {
		welcome := 0
		var refusal *RefusedError
		for _, addr := range addrs {
			var refused *RefusedError
			if status, err := n.statusOf(ctx, addr); err == nil {
				if status.HasState { // another emptied node's welcome says nothing
					welcome++
				}
			} else if errors.As(err, &refused) && refused.ByPeer {
				refusal = refused
			}
		}
		if refusal != nil && welcome == 0 {
			n.fail(refusal)
			return
		}
		if welcome > 0 && (known || n.machine.ClusterID() != "") {
			return
		}
		pause(ctx, enterRetry)
	}
}

// welcomeTick is how often a node without a leader looks whether it was removed.
const welcomeTick = time.Second

// watchWelcome ends a node that was removed while it ran, or while it was cut
// off: raft does not tell it, it only hears from nobody any more. Connections
// that are open were made before the removal, so each look dials anew.
func (n *Node) watchWelcome(ctx context.Context) {
	for pause(ctx, welcomeTick); ctx.Err() == nil; pause(ctx, welcomeTick) {
		servers, err := n.servers()
		if err != nil || n.leader.current().id != "" {
			continue
		}
		welcome := false
		var refusal *RefusedError
		for _, s := range servers {
			if string(s.ID) == n.cfg.NodeID {
				continue
			}
			var refused *RefusedError
			conn, _, err := n.wire.Dial(kindRPC, string(s.Address), dialTimeout)
			if err == nil {
				welcome = true
				conn.Close()
			} else if errors.As(err, &refused) && refused.ByPeer {
				refusal = refused
			}
		}
		if refusal != nil && !welcome {
			n.fail(refusal)
			return
		}
	}
}

// checkPeer is what every connection must pass, on both sides.
func (n *Node) checkPeer(kind connKind, peer Identity) error {
	self := n.id.self()
	if self.ClusterID != "" && peer.ClusterID != "" && self.ClusterID != peer.ClusterID {
		return fmt.Errorf("%w: %s belongs to cluster %s, %s to %s; give each node its own data directory and the right peers",
			ErrWrongCluster, peer.NodeID, peer.ClusterID, self.NodeID, self.ClusterID)
	}
	if peer.NodeID == self.NodeID && peer.DiskID != self.DiskID {
		return fmt.Errorf("%w: two nodes call themselves %s", fsm.ErrNodeConflict, self.NodeID)
	}
	row, err := n.machine.Node(peer.NodeID)
	if err != nil {
		return err
	}
	switch {
	case row == nil:
	case row.Removed && row.DiskId == peer.DiskID:
		return fmt.Errorf("%w: %s was removed from cluster %s; empty its data directory and start it with --join to bring it back",
			fsm.ErrNodeConflict, peer.NodeID, self.ClusterID)
	case !row.Removed && row.DiskId != peer.DiskID:
		return fmt.Errorf("%w: %s is a member of cluster %s with another data directory; restore that directory, or remove %s and start it with --join",
			fsm.ErrNodeConflict, peer.NodeID, self.ClusterID, peer.NodeID)
	}
	if kind == kindRaft && self.ClusterID == "" && peer.ClusterID != "" && n.cfg.InitialCluster[peer.NodeID] != "" {
		return n.id.adopt(peer.ClusterID) // the founder found this node
	}
	return nil
}

// register keeps this node's row in the table of nodes true: its data
// directory and addresses, once the cluster's first state is known here.
func (n *Node) register(ctx context.Context) {
	for ctx.Err() == nil && n.awaitFormed(ctx) != nil {
		pause(ctx, enterRetry)
	}
	for ctx.Err() == nil {
		if err := n.registerOnce(ctx); err == nil {
			return
		} else if errors.Is(err, fsm.ErrNodeConflict) {
			n.fail(err)
			return
		}
		pause(ctx, enterRetry)
	}
}

func (n *Node) registerOnce(ctx context.Context) error {
	if err := n.id.adopt(n.machine.ClusterID()); err != nil {
		n.fail(err)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	old, err := n.machine.Node(n.cfg.NodeID)
	if err != nil {
		return err
	}
	row := &pb.Node{
		Id: n.cfg.NodeID, DiskId: n.id.self().DiskID, Http: n.cfg.HTTPAdvertise,
		Cluster: n.cfg.ClusterAdvertise, NonVoter: old.GetNonVoter() || n.cfg.NonVoter,
	}
	if proto.Equal(old, row) {
		return nil
	}
	return n.mutate(ctx, nil, &pb.Command{Op: &pb.Command_PutNode{PutNode: &pb.PutNode{Node: row}}}).Err
}

// statusOf asks a node what it knows of itself.
func (n *Node) statusOf(ctx context.Context, addr string) (*clusterpb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	response := &clusterpb.StatusResponse{}
	return response, n.call(ctx, addr, methodStatus, &clusterpb.StatusRequest{}, response)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
