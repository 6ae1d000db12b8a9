// Package refmodel is the state machine of package fsm said as simply as
// possible: what each position of a key space is used for, in an array, the
// links in a map; no runs, no store. It shares no code with the machine but the
// permutation, and restates its constants, so that a mistake in one of the two
// shows as a difference. It is a judge for tests: fsm's own, and the replay of a
// whole cluster's log.
//
//	model.go     Model, Apply, membership
//	requests.go  request ids, idempotency keys
//	keys.go      the keys of a key space; keyspaces.go new ones
//	links.go     links
//	tokens.go    tokens
//	restore.go   backups staged and restored
//	load.go      the model that the rows of a store stand for
//	diff.go      in what two models differ
package refmodel

import (
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Milliseconds.
const (
	second = 1000
	minute = 60 * second
	hour   = 60 * minute
)

// Model is the state. Read its fields freely; only Apply changes them.
type Model struct {
	State    *pb.ClusterState // the counters of links and of records are kept like any other
	Spaces   []*Space         // by id
	Links    map[string]*pb.Link
	Visits   map[string]*pb.Visits
	Nodes    map[string]*pb.Node
	Tokens   map[string]*pb.Token
	Sessions map[uint64]*Session
	Records  map[string]*Record
	Staged   *Staged // nil: nothing is

	expiring []expiry // of Records, the first first
	swept    int64    // the minute in which sessions were swept last

	index, term uint64 // of the present entry
	version     uint32 // likewise
	node        string // that proposed it
	alone       bool   // it has one command
	indexed     uint64 // the entry in which the index of URLs grew last
	restored    func() // carries out a restore at its end
}

// New is the state before the first entry.
func New() *Model {
	return &Model{
		State: &pb.ClusterState{NextLease: 1, NextKeyspace: 1},
		Links: map[string]*pb.Link{}, Visits: map[string]*pb.Visits{}, Nodes: map[string]*pb.Node{}, Tokens: map[string]*pb.Token{},
		Sessions: map[uint64]*Session{}, Records: map[string]*Record{},
	}
}

// Apply applies an entry and returns an answer without text for each command,
// nil for one that no version knows. It keeps parts of e: do not change them.
func (m *Model) Apply(index, term uint64, e *pb.Entry) []*pb.Result {
	m.index, m.term, m.version, m.node, m.alone = index, term, e.Version, e.Node, len(e.Commands) == 1
	m.State.Clock = max(m.State.Clock, e.Time)
	results := make([]*pb.Result, len(e.Commands))
	for i, c := range e.Commands {
		results[i] = m.request(c)
	}
	m.sweepSessions()
	m.sweepRecords(2*len(e.Commands) + 8)
	m.sweepStaged()
	if m.restored == nil {
		m.sweepLinks(2*len(e.Commands) + 8)
	}
	m.State.IdempotencyRecords = uint64(len(m.Records))
	if m.restored != nil {
		m.restored()
		m.restored = nil
	}
	return results
}

func (m *Model) minute() int64 { return m.State.Clock / minute * minute }

func code(c pb.Code) *pb.Result { return &pb.Result{Code: c} }

// execute applies a command that has not been answered before.
func (m *Model) execute(c *pb.Command) *pb.Result {
	var r *pb.Result
	switch op := c.Op.(type) {
	case *pb.Command_InitCluster:
		r = m.initCluster(op.InitCluster)
	case *pb.Command_PutNode:
		r = m.putNode(op.PutNode.Node)
	case *pb.Command_RemoveNode:
		r = m.removeNode(op.RemoveNode.Id)
	case *pb.Command_CreateToken:
		r = m.createToken(op.CreateToken)
	case *pb.Command_RevokeToken:
		r = m.revokeToken(op.RevokeToken.Id)
	case *pb.Command_CreateKeyspace:
		r = m.createKeyspace(op.CreateKeyspace.GetKeyspace())
	case *pb.Command_GrowKeyspace:
		r = m.growKeyspace(op.GrowKeyspace)
	case *pb.Command_UpdateKeyspace:
		r = m.updateKeyspace(op.UpdateKeyspace)
	case *pb.Command_RecoverCluster:
		r = m.recoverCluster(op.RecoverCluster)
	case *pb.Command_RaiseVersion:
		r = m.raiseVersion(op.RaiseVersion.Version)
	case *pb.Command_Generate:
		r = m.generate(op.Generate)
	case *pb.Command_Lease:
		r = m.lease(op.Lease)
	case *pb.Command_Release:
		r = m.release(op.Release)
	case *pb.Command_ReturnKeys:
		r = m.returnKeys(op.ReturnKeys)
	case *pb.Command_CreateLink:
		r = m.createLink(op.CreateLink)
	case *pb.Command_UpdateLink:
		r = m.updateLink(op.UpdateLink)
	case *pb.Command_VisitLink:
		r = m.visitLink(op.VisitLink.Key)
	case *pb.Command_AddVisits:
		r = m.addVisits(op.AddVisits)
	case *pb.Command_DeleteLink:
		r = m.deleteLinkAs(op.DeleteLink)
	case *pb.Command_StageBackup:
		r = m.stageBackup(op.StageBackup)
	case *pb.Command_RestoreBackup:
		r = m.restoreBackup(op.RestoreBackup)
	default:
		return nil
	}
	r.Index, r.Term = m.index, m.term
	return r
}

func (m *Model) initCluster(op *pb.InitCluster) *pb.Result {
	if m.State.ClusterId != "" {
		return code(pb.Code_OK)
	}
	if op.ClusterId == "" || len(op.ReceiptSecret) == 0 {
		return code(pb.Code_INVALID)
	}
	var spaces []*Space
	names := map[string]bool{}
	for i, row := range op.Keyspaces {
		perm, err := keyspace.NewPermutation(described(row), row.PermutationKey)
		if err != nil || names[row.Name] {
			return code(pb.Code_INVALID)
		}
		names[row.Name] = true
		row = &pb.Keyspace{Name: row.Name, Alphabet: row.Alphabet, Length: row.Length, Prefix: row.Prefix, Check: row.Check, PermutationKey: row.PermutationKey,
			Id: uint32(i + 1), CreatedAt: m.State.Clock}
		spaces = append(spaces, newSpace(row, perm))
	}
	m.Spaces = spaces
	m.State.ClusterId, m.State.ReceiptSecret = op.ClusterId, op.ReceiptSecret
	m.State.NextKeyspace += uint32(len(spaces))
	return code(pb.Code_OK)
}

func (m *Model) raiseVersion(to uint32) *pb.Result {
	if !m.alone || to > m.version {
		return code(pb.Code_INVALID)
	}
	m.use(to)
	return code(pb.Code_OK)
}

func (m *Model) use(version uint32) {
	if max(m.State.Version, 1) < 2 && version >= 2 {
		m.State.UrlsIndexed = m.State.Links > 0
	}
	m.State.Version = max(m.State.Version, version)
}

func (m *Model) putNode(n *pb.Node) *pb.Result {
	if n.GetId() == "" {
		return code(pb.Code_INVALID)
	}
	if old := m.Nodes[n.Id]; old != nil && old.Removed == (old.DiskId == n.DiskId) {
		return code(pb.Code_NODE_CONFLICT)
	}
	m.Nodes[n.Id] = n
	return code(pb.Code_OK)
}

func (m *Model) removeNode(id string) *pb.Result {
	old := m.Nodes[id]
	if old == nil || old.Removed {
		return code(pb.Code_NODE_NOT_FOUND)
	}
	m.Nodes[id] = proto.CloneOf(old)
	m.Nodes[id].Removed = true
	return code(pb.Code_OK)
}
