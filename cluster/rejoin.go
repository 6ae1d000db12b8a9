package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/store"
)

// How a node whose data directory is damaged comes back under its id. Its disk
// has forgotten votes and entries that it promised to keep, so it must not go on
// as the member that it was:
//
//  1. A new directory is made beside the damaged one, with an identity of its own
//     that says which one it replaces (identity.Replaces).
//  2. The damaged one is renamed, the new one takes its place. A crash in between
//     is finished by the next Rejoin.
//  3. The leader removes the old member, unless that costs the majority, and takes
//     the new one in as a non-voter. If nobody is known to do so, the damaged
//     directory gets its name back; the new one waits, as its id may be in the log.
//
// Then the node starts as any that joins.

// rejoinTimeout is how long a running cluster is looked for.
const rejoinTimeout = 30 * time.Second

// Rejoin replaces a damaged data directory by an empty one and has the cluster
// replace the member: through cfg.Join or the other nodes of cfg.InitialCluster.
// It returns the Config to open the node with. A directory without damage is
// refused and stays as it is.
func Rejoin(ctx context.Context, cfg Config) (Config, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return cfg, err
	}
	for id, addr := range cfg.InitialCluster {
		if id != cfg.NodeID {
			cfg.Join = append(cfg.Join, addr)
		}
	}
	cfg.InitialCluster = nil
	if len(cfg.Join) == 0 {
		return cfg, fmt.Errorf("%w: there is no other node that could take %s back", ErrRefused, cfg.NodeID)
	}
	slices.Sort(cfg.Join)
	r := &rejoin{cfg: cfg, files: cfg.Disk.Files(), fresh: cfg.DataDir + ".rejoin"}
	aside, err := r.replaceDir(ctx)
	if err != nil {
		return cfg, err
	}
	if err := r.ask(ctx); err != nil {
		return cfg, errors.Join(err, r.undo(aside))
	}
	return cfg, nil
}

type rejoin struct {
	cfg   Config
	files vfs.FS
	fresh string // where the new directory is made
}

// replaceDir leaves an empty data directory that replaces the damaged one, whose
// new name it returns: "" if an earlier call has done so.
func (r *rejoin) replaceDir(ctx context.Context) (aside string, err error) {
	files, dir := r.files, r.cfg.DataDir
	if _, err := files.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if _, err := files.Stat(r.fresh); err != nil {
			return "", fmt.Errorf("%s is not there: nothing is damaged; start this node without --wipe-and-rejoin", dir)
		}
		return "", r.moveIn()
	}
	if _, err := files.Stat(filepath.Join(dir, identityFile)); err != nil {
		return "", fmt.Errorf("%s is not the data directory of a node: %w", dir, err)
	}
	id, err := openIdentity(files, dir, r.cfg.NodeID)
	if err != nil {
		return "", err
	}
	defer id.close() // held until the directory has its new name
	damage, err := examine(ctx, r.cfg, id)
	if err != nil {
		return "", err
	}
	if damage == nil {
		if id.Replaces != "" {
			return "", nil // nothing but the new identity is in there
		}
		return "", fmt.Errorf("%w: %s is not damaged; start this node without --wipe-and-rejoin", ErrRefused, dir)
	}
	if err := r.makeFresh(id); err != nil {
		return "", err
	}
	aside = dir + ".damaged-" + r.cfg.Now().UTC().Format("20060102T150405.000Z")
	if err := files.Rename(dir, aside); err != nil {
		return "", fmt.Errorf("%w; if it is a mount, remove %s from the cluster, empty the directory and start it with --join", err, r.cfg.NodeID)
	}
	r.cfg.Logger.Warn("the data directory is damaged; it is kept under another name", "damage", damage, "kept", aside)
	return aside, r.moveIn()
}

// makeFresh makes the new directory with its identity, unless it is there: the
// cluster may have heard of that one.
func (r *rejoin) makeFresh(old *identity) error {
	if err := makeDir(r.files, r.fresh); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	fresh := &identity{fs: r.files, dir: r.fresh}
	if err := fresh.load(old.Node); err != nil {
		return err
	}
	if fresh.Replaces == old.Disk {
		return nil
	}
	fresh.Disk, fresh.Cluster, fresh.Replaces = randomID(), old.Cluster, old.Disk
	return fresh.save()
}

func (r *rejoin) moveIn() error {
	if err := r.files.Rename(r.fresh, r.cfg.DataDir); err != nil {
		return err
	}
	return syncDir(r.files, filepath.Dir(r.cfg.DataDir))
}

// undo gives the damaged directory its name back.
func (r *rejoin) undo(aside string) error {
	if aside == "" {
		return nil
	}
	return errors.Join(r.files.Rename(r.cfg.DataDir, r.fresh), r.files.Rename(aside, r.cfg.DataDir),
		syncDir(r.files, filepath.Dir(r.cfg.DataDir)))
}

// examine reads all that is in the data directory. err: it could not, for a
// reason that is no damage. A directory without any state is damaged too, unless
// it is about to replace one.
func examine(ctx context.Context, cfg Config, id *identity) (damage, err error) {
	cfg.Fatal = func(error) {} // it is damage, and seen below
	n := &Node{cfg: cfg, log: cfg.Logger}
	n.ctx, n.stop = context.WithCancel(ctx)
	defer func() {
		n.stop()
		n.tasks.Wait()
		if closing := n.closeFiles(); damage == nil {
			damage = closing
		}
	}()
	if n.disk, err = newDiskGuard(n.ctx, cfg.Disk.Files(), cfg.DataDir, cfg.NodeID, n.log); err != nil {
		return nil, err
	}
	damage = n.readAll(id)
	for _, other := range []error{fs.ErrPermission, store.ErrVersion, store.ErrLocked, store.ErrUnwritable} {
		if errors.Is(damage, other) {
			return nil, damage
		}
	}
	if foundNoRoom(damage) || ctx.Err() != nil {
		return nil, errors.Join(damage, ctx.Err())
	}
	return damage, nil
}

// readAll opens the state and the log, and reads every row and every entry.
func (n *Node) readAll(id *identity) (err error) {
	defer func() {
		if fault := recover(); fault != nil { // raft does so at an entry that it cannot read
			err = fmt.Errorf("%w: %v", ErrLogCorrupt, fault)
		}
	}()
	if err := n.openState(); err != nil {
		return err
	}
	known, err := raft.HasExistingState(n.logs, n.stable, n.snaps)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if !known {
		if id.Replaces != "" {
			return nil
		}
		return errors.New("the state is gone")
	}
	if err := (&Stopped{node: n, http: map[string]string{}}).readLog(); err != nil {
		return err
	}
	view, err := n.db.View()
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer view.Close()
	if _, err := view.WriteTo(io.Discard); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if fault := n.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// ask has the cluster replace the member.
func (r *rejoin) ask(ctx context.Context) error {
	id, err := openIdentity(r.files, r.cfg.DataDir, r.cfg.NodeID)
	if err != nil {
		return err
	}
	defer id.close()
	if id.Replaces == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, rejoinTimeout)
	defer cancel()
	now, before := id.self(), id.self()
	before.DiskID = id.Replaces
	request := &clusterpb.JoinRequest{
		Id: now.NodeID, Disk: now.DiskID, Http: r.cfg.HTTPAdvertise,
		Cluster: r.cfg.ClusterAdvertise, NonVoter: r.cfg.NonVoter, Replaces: before.DiskID, Commands: fsm.Version,
	}
	for {
		for _, addr := range r.cfg.Join {
			err = r.askOne(ctx, addr, before, request)
			if errors.As(err, new(*RefusedError)) { // it has been replaced, or removed, already
				err = r.askOne(ctx, addr, now, request)
			}
			if err == nil {
				r.cfg.Logger.Info("the cluster has replaced this node", "through", addr)
				id.Replaces = ""
				return id.save()
			}
			if errors.Is(err, ErrRefused) {
				return err
			}
		}
		pause(ctx, enterRetry)
		if ctx.Err() != nil {
			return fmt.Errorf("no member of the cluster takes this node back: %w", err)
		}
	}
}

// askOne asks one member, as the given identity.
func (r *rejoin) askOne(ctx context.Context, addr string, self Identity, request *clusterpb.JoinRequest) error {
	n := &Node{cfg: r.cfg}
	n.wire = newWire(wireConfig{
		Listener: noListener{}, Network: r.cfg.Network, Advertise: r.cfg.ClusterAdvertise, Self: func() Identity { return self },
		Check: func(_ connKind, peer Identity) error {
			if self.ClusterID != "" && peer.ClusterID != self.ClusterID {
				return fmt.Errorf("%w: %s belongs to %q, this node to %s", ErrWrongCluster, peer.NodeID, peer.ClusterID, self.ClusterID)
			}
			return nil
		},
		TLS: r.cfg.TLS, Logger: r.cfg.Logger.Named("wire"),
	})
	defer n.wire.Close()
	n.client = newRPCClient(func(_ context.Context, addr string) (net.Conn, error) {
		conn, _, err := n.wire.Dial(kindRPC, addr, dialTimeout)
		return conn, err
	})
	defer n.client.Close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return n.call(ctx, addr, methodJoin, request, &clusterpb.JoinResponse{})
}

// noListener takes no connections.
type noListener struct{}

func (noListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noListener) Close() error              { return nil }
func (noListener) Addr() net.Addr            { return &net.TCPAddr{} }
