package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Stopped is the data directory of a node that does not run: the way to go on
// when a majority of the nodes is lost for good, as no majority can agree on it.
type Stopped struct {
	node    *Node
	members raft.Configuration
	http    map[string]string // addresses, by node
	spaces  []*pb.Keyspace    // of the state, and of the log those that it lacks
	term    uint64            // no entry and no vote is of a later one
	last    snapshotEnd
	logEnd  uint64 // last index of snapshot and log, which last may be beyond
}

// Survivor is what such a directory holds. Of the survivors of a lost majority
// the newest is that with the highest LastTerm, then the highest LastIndex.
type Survivor struct {
	Node, Cluster       string
	LastTerm, LastIndex uint64
	Members             []SurvivorMember
}

// SurvivorMember is a member of the cluster as the directory knows it.
type SurvivorMember struct {
	ID, Cluster, HTTP string // addresses; HTTP is "" until the member has said it
	Voter             bool
}

// OpenStopped opens and locks the data directory that cfg names; of its other
// fields only Disk and Logger matter. It changes nothing in it but to finish
// what a crash has left half done. A directory in use is refused.
func OpenStopped(cfg Config) (*Stopped, error) {
	cfg = cfg.withDefaults()
	data, err := readFile(cfg.Disk.Files(), filepath.Join(cfg.DataDir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not the data directory of a node: there is no %s", cfg.DataDir, identityFile)
	}
	var id identity
	if err := errors.Join(err, json.Unmarshal(data, &id)); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(cfg.DataDir, identityFile), err)
	}
	cfg.NodeID = id.Node
	s := &Stopped{node: &Node{cfg: cfg, log: cfg.Logger}, http: map[string]string{}}
	s.node.ctx, s.node.stop = context.WithCancel(context.Background())
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stopped) open() (err error) {
	n := s.node
	if n.id, err = openIdentity(n.cfg.Disk.Files(), n.cfg.DataDir, n.cfg.NodeID); err != nil {
		return err
	}
	if n.disk, err = newDiskGuard(n.ctx, n.cfg.Disk.Files(), n.cfg.DataDir, n.cfg.NodeID, n.log); err != nil {
		return err
	}
	if err := n.openState(); err != nil {
		return err
	}
	rows, err := n.machine.Nodes()
	if err != nil {
		return err
	}
	for _, row := range rows {
		s.http[row.Id] = row.Http
	}
	if s.spaces, err = n.machine.Keyspaces(); err != nil {
		return err
	}
	if err := s.readLog(); err != nil {
		return err
	}
	if len(s.members.Servers) == 0 {
		return fmt.Errorf("%s has no state: this node never was a member of a cluster", n.cfg.DataDir)
	}
	return nil
}

// readLog finds the members, as raft does at a start, and the last entry. After
// a crash the state may be far behind the log.
func (s *Stopped) readLog() error {
	n := s.node
	snapshots, err := n.snaps.List()
	if err != nil {
		return err
	}
	if len(snapshots) > 0 {
		s.members, s.last = snapshots[0].Configuration, snapshotEnd{snapshots[0].Index, snapshots[0].Term}
	}
	end, err := n.logs.LastIndex()
	if err != nil {
		return err
	}
	for index := s.last.index + 1; index <= end; index++ {
		var entry raft.Log
		if err := n.logs.GetLog(index, &entry); err != nil {
			return fmt.Errorf("log entry %d: %w", index, err)
		}
		switch entry.Type {
		case raft.LogConfiguration:
			s.members = raft.DecodeConfiguration(entry.Data)
		case raft.LogCommand:
			if err := s.readCommands(entry.Data); err != nil {
				return fmt.Errorf("log entry %d: %w", index, err)
			}
		}
		s.last = snapshotEnd{index, entry.Term}
	}
	s.logEnd = s.last.index
	// A state that another node sent may be ahead of what followed in the log.
	if applied := n.db.Applied(); applied.Index > s.last.index {
		s.last = snapshotEnd{applied.Index, max(applied.Term, s.last.term)}
	}
	voted, err := n.stable.GetUint64(currentTermKey)
	s.term = max(voted, s.last.term)
	return err
}

func (s *Stopped) readCommands(data []byte) error {
	var entry pb.Entry
	if err := proto.Unmarshal(data, &entry); err != nil {
		return err
	}
	for _, c := range entry.Commands {
		if node := c.GetPutNode().GetNode(); node != nil {
			s.http[node.Id] = node.Http
		}
		if space := c.GetCreateKeyspace().GetKeyspace(); space != nil { // created or not
			s.addSpaces(space)
		}
		s.addSpaces(c.GetInitCluster().GetKeyspaces()...)
	}
	return nil
}

func (s *Stopped) addSpaces(spaces ...*pb.Keyspace) {
	for _, space := range spaces {
		if !slices.ContainsFunc(s.spaces, func(known *pb.Keyspace) bool { return known.Name == space.Name }) {
			s.spaces = append(s.spaces, space)
		}
	}
}

// currentTermKey is raft's (keyCurrentTerm in raft.go).
var currentTermKey = []byte("CurrentTerm")

// Survivor tells what the directory holds.
func (s *Stopped) Survivor() Survivor {
	self := s.node.id.self()
	found := Survivor{Node: self.NodeID, Cluster: self.ClusterID, LastTerm: s.last.term, LastIndex: s.last.index}
	for _, server := range s.members.Servers {
		found.Members = append(found.Members, SurvivorMember{
			ID: string(server.ID), Cluster: string(server.Address), HTTP: s.http[string(server.ID)], Voter: server.Suffrage == raft.Voter,
		})
	}
	return found
}

// Recover makes this node the whole cluster: it leads again once it is started.
//
// Two entries are added to its log: a configuration of this node alone, with
// which it elects itself, and so commits all before; and the machine's own
// command, which removes the others and burns the keys that they may have
// issued in entries that are missing here. A crash leaves both or none.
func (s *Stopped) Recover(floors Floors) error {
	n := s.node
	self := raft.Server{ID: raft.ServerID(n.cfg.NodeID)}
	for _, server := range s.members.Servers {
		if server.ID == self.ID {
			self.Address = server.Address
		}
	}
	switch {
	case self.Address == "":
		return fmt.Errorf("%w: %s is no member of the cluster any more", ErrRefused, self.ID)
	case len(s.members.Servers) == 1:
		return fmt.Errorf("%w: %s is the only member already; start it", ErrRefused, self.ID)
	}
	if err := floors.Fit(s.spaces); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	row := &pb.Node{Id: n.cfg.NodeID, DiskId: n.id.self().DiskID, Cluster: string(self.Address), Http: s.http[n.cfg.NodeID]}
	recovery := &pb.Command{Op: &pb.Command_RecoverCluster{RecoverCluster: &pb.RecoverCluster{Node: row, Grow: true, Floor: floors.Others, Floors: floors.Named}}}
	command, err := proto.Marshal(&pb.Entry{
		Version: max(n.machine.Version(), fsm.Needs(recovery)), Time: n.cfg.Now().UnixMilli(), Node: n.cfg.NodeID,
		Commands: []*pb.Command{recovery},
	})
	if err != nil {
		return err
	}
	term := s.term + termLeap
	var entries []*raft.Log
	for index := s.logEnd + 1; index <= s.last.index; index++ { // raft wants no hole
		entries = append(entries, &raft.Log{Index: index, Term: term, Type: raft.LogNoop})
	}
	alone := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{self}})
	if err := n.stable.SetUint64(currentTermKey, term); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	err = n.logs.StoreLogs(append(entries,
		&raft.Log{Index: s.last.index + 1, Term: term, Type: raft.LogConfiguration, Data: alone},
		&raft.Log{Index: s.last.index + 2, Term: term, Type: raft.LogCommand, Data: command},
	))
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return s.readLog()
}

// termLeap takes the survivor to terms that the lost nodes do not come to: with
// two entries of one term and index their logs and its could be taken for one.
const termLeap = 1_000_000

// Close gives the directory free. Closing again does nothing.
func (s *Stopped) Close() (err error) {
	s.node.closed.Do(func() {
		s.node.stop()
		s.node.tasks.Wait()
		err = s.node.closeFiles()
	})
	return err
}

// refusePeersFile: other programs that use raft take their members from such a
// file after a majority was lost. Here that would give keys twice.
func refusePeersFile(files vfs.FS, dir string) error {
	for _, path := range []string{filepath.Join(dir, "peers.json"), filepath.Join(dir, "raft", "peers.json")} {
		if _, err := files.Stat(path); err == nil {
			return fmt.Errorf("%s: kgs does not read this file; if a majority is lost for good, `kgs cluster recover` goes on with one node; remove the file", path)
		}
	}
	return nil
}
