package fsm

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// LogEntry is one committed raft log entry.
type LogEntry struct {
	Index, Term uint64
	Data        []byte // an encoded pb.Entry
}

// Machine applies committed entries to a store. Apply and Restore are for one
// goroutine, raft's; the reads (reads.go, receipt.go) are for any.
type Machine struct {
	db *store.DB

	// Owned by the applying goroutine.
	state         *pb.ClusterState
	spaces        []*space            // by id, 1 first
	lengths       map[string][]*space // the same by name; set all with setSpaces
	folding       folding             // of the case-insensitive ones
	sessions      map[uint64]*session
	dirtySessions []*session
	swept         int64 // minute of the last sweep of sessions
	expiry        int64 // no idempotency record expires before this
	linkExpiry    int64 // no link is to be collected before this
	chains        chainRing
	damage        error                // a table that does not hold what it must, see expect
	failed        error                // sticky: a machine that failed applies nothing more
	unpublished   bool                 // published is behind the state
	staged        *pb.Staged           // nil: no backup is staged
	tokens        map[string]*pb.Token // by id; a row is never changed, see publish
	restoring     *restoration         // of the present entry
	owners        map[string]uint64    // links of each that has some
	dirtyOwners   []string             // that the present entry changed, some perhaps twice

	entry     entryContext
	lastLease leaseRow
	lastKeys  keyRun
	watched   []watchedRun
	batch     *store.Batch
	scratch   []byte

	// For readers.
	mu          sync.RWMutex
	published   published
	applied     atomic.Uint64
	version     atomic.Uint32
	readFolding atomic.Pointer[folding] // apart, as every redirect wants it
	urlsIndexed atomic.Bool             // all of them
	compared    atomic.Uint64           // entries
	links       linkCache
	waiters     waiters
	changes     *ChangeLog
}

// space is a key space with its permutation and whether its row changed in the
// present entry.
type space struct {
	row   *pb.Keyspace
	perm  *keyspace.Permutation
	list  *keyspace.Blocklist
	dirty bool
}

// leaseRow is a row of used_keys in memory.
type leaseRow struct {
	space *space
	run   keyspace.Run
	row   *pb.Used
}

// entryContext is what the commands of an entry share.
type entryContext struct {
	index, term uint64
	version     uint32
	node        string
	alone       bool // it is the entry's only command
	indexed     bool // it has done its part for the index of URLs
}

// published is what readers need often and the store has as rows.
type published struct {
	clusterID string
	secret    []byte
	spaces    map[string][]publishedSpace // by name, by length
	tokens    map[string]*pb.Token
}

type publishedSpace struct {
	id   uint32
	perm *keyspace.Permutation
	list *keyspace.Blocklist
}

// New returns the machine over the state in db.
func New(db *store.DB) (*Machine, error) {
	m := &Machine{db: db, changes: NewChangeLog()}
	if err := m.load(); err != nil {
		return nil, err
	}
	return m, nil
}

// load reads what the machine keeps in memory.
func (m *Machine) load() error {
	m.state = &pb.ClusterState{NextLease: 1, NextKeyspace: 1}
	if value, ok, err := m.db.Get(store.Meta, stateRow); err != nil {
		return err
	} else if ok {
		if err := proto.Unmarshal(value, m.state); err != nil {
			return fmt.Errorf("cluster state row: %w", err)
		}
	}
	if err := checkVersion(m.state); err != nil {
		return err
	}
	if err := m.loadStaged(); err != nil {
		return err
	}
	if err := m.loadOwners(); err != nil {
		return err
	}
	if err := m.loadTokens(); err != nil {
		return err
	}
	var spaces []*space
	err := scanRows(m.db, store.Keyspaces, func(_ []byte, row *pb.Keyspace) error {
		s, err := newSpace(row)
		spaces = append(spaces, s)
		return err
	})
	if err != nil {
		return err
	}
	m.setSpaces(spaces)
	m.swept, m.expiry, m.linkExpiry, m.damage, m.dirtySessions, m.watched = 0, 0, 0, nil, nil, nil
	m.lastLease, m.lastKeys = leaseRow{}, keyRun{}
	m.chains = chainRing{}
	applied := m.db.Applied()
	m.chains.add(applied.Index, applied.Chain)
	if err := m.loadSessions(); err != nil {
		return err
	}
	m.publish()
	m.changes.Cut(applied.Index)
	m.changes.Publish(applied.Index)
	m.applied.Store(applied.Index)
	m.waiters.wake(applied.Index)
	return nil
}

func newSpace(row *pb.Keyspace) (*space, error) {
	perm, err := keyspace.NewPermutation(spaceOf(row), row.PermutationKey)
	if err != nil {
		return nil, fmt.Errorf("key space %q: %w", row.Name, err)
	}
	return &space{row: row, perm: perm, list: keyspace.NewBlocklist(row.Blocklist)}, nil
}

func (m *Machine) publish() {
	p := published{clusterID: m.state.ClusterId, secret: m.state.ReceiptSecret, tokens: maps.Clone(m.tokens),
		spaces: make(map[string][]publishedSpace, len(m.lengths))}
	for _, s := range m.spaces {
		p.spaces[s.row.Name] = append(p.spaces[s.row.Name], publishedSpace{s.row.Id, s.perm, s.list})
	}
	m.mu.Lock()
	m.published = p
	m.mu.Unlock()
	folding := m.folding
	m.readFolding.Store(&folding)
	m.version.Store(inUse(m.state))
	m.urlsIndexed.Store(isURLIndexFull(m.state))
	m.unpublished = false
}

// Apply applies entries in order, as one atomic store batch, and returns the
// results of each entry's commands. Entries at or below the store's applied
// index have been applied before (raft replays them after a restart); they are
// answered from the remembered results, without effect.
//
// An error is final: nothing of the call was applied, unless it holds a restore
// that was, the machine applies nothing from now on, and the node must stop.
func (m *Machine) Apply(entries []LogEntry) ([][]*pb.Result, error) {
	if m.failed != nil {
		return nil, m.failed
	}
	m.batch = m.db.NewBatch()
	defer func() { m.batch.Close() }() // a restore opens another one
	defer m.links.settled()
	results := make([][]*pb.Result, len(entries))
	for i, e := range entries {
		var err error
		if results[i], err = m.applyEntry(e); err != nil {
			m.failed = fmt.Errorf("log entry %d: %w", e.Index, err)
			return nil, m.failed
		}
	}
	if m.batch.Applied() == m.db.Applied() {
		return results, nil // nothing new
	}
	if err := m.batch.Commit(); err != nil {
		m.failed = fmt.Errorf("store: %w", err)
		return nil, m.failed
	}
	if m.unpublished {
		m.publish()
	}
	index := m.db.Applied().Index
	m.changes.Publish(index)
	m.applied.Store(index)
	m.waiters.wake(index)
	return results, nil
}

func (m *Machine) applyEntry(e LogEntry) ([]*pb.Result, error) {
	var entry pb.Entry
	if err := proto.Unmarshal(e.Data, &entry); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if entry.Version < 1 || entry.Version > Version {
		return nil, fmt.Errorf("version %d, this program knows %d: %w", entry.Version, Version, ErrUnknownCommand)
	}
	if e.Index <= m.batch.Applied().Index {
		return m.recall(&entry), nil
	}
	if err := m.compareChains(&entry); err != nil {
		return nil, err
	}
	m.entry = entryContext{index: e.Index, term: e.Term, version: entry.Version, node: entry.Node, alone: len(entry.Commands) == 1}
	m.state.Clock = max(m.state.Clock, entry.Time)
	results := make([]*pb.Result, len(entry.Commands))
	for i, cmd := range entry.Commands {
		result, err := m.applyOnce(cmd)
		if err != nil {
			return nil, err
		}
		results[i] = result
	}
	m.sweepSessions()
	m.sweepIdempotency(2*len(entry.Commands) + 8)
	if m.restoring == nil { // it has counted what there is
		m.sweepStaged()
		if err := m.sweepLinks(2*len(entry.Commands) + 8); err != nil {
			return nil, err
		}
	}
	m.writeChanged()
	if m.restoring != nil && m.damage == nil {
		return results, m.replaceState(e.Index, e.Term)
	}
	m.batch.EndEntry(e.Index, e.Term)
	if err := m.batch.Err(); err != nil {
		return nil, err
	}
	if m.damage != nil {
		return nil, m.damage
	}
	m.changes.EndEntry(e.Index)
	m.chains.add(e.Index, m.batch.Applied().Chain)
	return results, nil
}

// writeChanged writes the rows that nearly every command changes once per entry.
func (m *Machine) writeChanged() {
	for _, s := range m.spaces {
		if s.dirty {
			m.put(store.Keyspaces, spaceKey(s.row.Id), s.row)
			s.dirty = false
		}
	}
	for _, s := range m.dirtySessions {
		m.put(store.Sessions, requestKey(s.id, 0)[:8], s.row)
		m.writeAnswers(s)
		s.dirty = false
	}
	m.dirtySessions = m.dirtySessions[:0]
	m.writeOwners()
	m.put(store.Meta, stateRow, m.state)
}

// put encodes row and writes it in the present batch.
func (m *Machine) put(t store.Table, key []byte, row proto.Message) {
	m.write(m.batch.Put, t, key, row)
}

// add is put for a row that is new, see store.Batch.Add.
func (m *Machine) add(t store.Table, key []byte, row proto.Message) {
	m.write(m.batch.Add, t, key, row)
}

func (m *Machine) write(to func(store.Table, []byte, []byte), t store.Table, key []byte, row proto.Message) {
	encoded, err := marshal.MarshalAppend(m.scratch[:0], row)
	if err != nil { // no decoded command leads here
		m.damage = fmt.Errorf("table %s: %w", t, err)
		return
	}
	m.scratch = encoded
	to(t, key, m.scratch)
}

// Deterministic field order: the encoded rows enter the hash chain.
var marshal = proto.MarshalOptions{Deterministic: true}

// execute applies a command that has not been answered before.
func (m *Machine) execute(cmd *pb.Command) (*pb.Result, error) {
	switch op := cmd.Op.(type) {
	case *pb.Command_CreateLink:
		return m.createLink(op.CreateLink)
	case *pb.Command_UpdateLink:
		return m.updateLink(op.UpdateLink)
	case *pb.Command_VisitLink:
		return m.visitLink(op.VisitLink)
	case *pb.Command_AddVisits:
		return m.addVisits(op.AddVisits)
	case *pb.Command_DeleteLink:
		return m.deleteLink(op.DeleteLink)
	case *pb.Command_Generate:
		return m.generate(op.Generate), nil
	case *pb.Command_Lease:
		return m.lease(op.Lease), nil
	case *pb.Command_Release:
		return m.release(op.Release), nil
	case *pb.Command_ReturnKeys:
		return m.returnKeys(op.ReturnKeys), nil
	case *pb.Command_StageBackup:
		return m.stageBackup(op.StageBackup), nil
	case *pb.Command_RestoreBackup:
		return m.restoreBackup(op.RestoreBackup)
	case *pb.Command_InitCluster:
		return m.initCluster(op.InitCluster), nil
	case *pb.Command_PutNode:
		return m.putNode(op.PutNode)
	case *pb.Command_RemoveNode:
		return m.removeNode(op.RemoveNode)
	case *pb.Command_CreateToken:
		return m.createToken(op.CreateToken), nil
	case *pb.Command_RevokeToken:
		return m.revokeToken(op.RevokeToken), nil
	case *pb.Command_RecoverCluster:
		return m.recoverCluster(op.RecoverCluster)
	case *pb.Command_CreateKeyspace:
		return m.createKeyspace(op.CreateKeyspace), nil
	case *pb.Command_RaiseVersion:
		return m.raiseVersion(op.RaiseVersion), nil
	case *pb.Command_GrowKeyspace:
		return m.growKeyspace(op.GrowKeyspace), nil
	case *pb.Command_UpdateKeyspace:
		return m.updateKeyspace(op.UpdateKeyspace), nil
	default:
		return nil, ErrUnknownCommand
	}
}

// Restore replaces the state by the one in the stream, and a machine that had
// failed goes on from there. On an error of the stream the old state stays, in
// the store and here; a state that was restored but cannot be read fails the machine.
func (m *Machine) Restore(stream reader) error {
	m.links.forgetAll()
	defer m.links.settled()
	if _, err := m.db.Restore(stream); err != nil {
		return err
	}
	m.failed = m.load()
	return m.failed
}

// Applied returns the index of the last entry that readers can see.
func (m *Machine) Applied() uint64 { return m.applied.Load() }

// WaitApplied returns when readers can see the entry at index, or with ctx's error.
func (m *Machine) WaitApplied(ctx context.Context, index uint64) error {
	if m.applied.Load() >= index {
		return nil
	}
	ready := m.waiters.add(index, &m.applied)
	defer m.waiters.remove(ready)
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for log index %d, at %d: %w", index, m.Applied(), ctx.Err())
	}
}

// waiters are the readers that wait, each for an index. Who gives up is removed,
// so that a node on which nothing is applied does not collect them.
type waiters struct {
	mu      sync.Mutex
	indexes map[chan struct{}]uint64
}

func (w *waiters) add(index uint64, applied *atomic.Uint64) chan struct{} {
	ready := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	if applied.Load() >= index {
		close(ready)
		return ready
	}
	if w.indexes == nil {
		w.indexes = map[chan struct{}]uint64{}
	}
	w.indexes[ready] = index
	return ready
}

func (w *waiters) remove(ready chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.indexes, ready)
}

func (w *waiters) wake(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ready, wanted := range w.indexes {
		if wanted <= index {
			close(ready)
			delete(w.indexes, ready)
		}
	}
}
