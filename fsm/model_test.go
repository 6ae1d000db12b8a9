package fsm

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// model is the machine as simply as it can be said: a map from each position to
// its state, no runs, no store. It shares no code with the machine but the
// permutation and the receipts.
type model struct {
	formed    bool
	clock     int64
	swept     int64
	nextLease uint64
	spaces    []*modelSpace
	links     map[string]*pb.Link // with tombstones
	nodes     map[string]*pb.Node
	sessions  map[uint64]*modelSession
	records   map[string]*modelRecord

	index, term uint64
	node        string
}

type modelSpace struct {
	row        *pb.Keyspace
	perm       *keyspace.Permutation
	unused     map[uint64]bool
	used       map[uint64]*pb.Used
	quarantine []modelReturn // ordered by until, from
}

type modelReturn struct {
	until     int64
	positions []uint64 // one run
}

type modelSession struct {
	answered   uint64
	seen, idle int64
	found      bool // idle, at `idle`
	results    map[uint64]*pb.Result
}

type modelRecord struct {
	print        string
	result       *pb.Result
	session, seq uint64
	expires      int64
}

func newModel() *model {
	return &model{nextLease: 1, links: map[string]*pb.Link{}, nodes: map[string]*pb.Node{},
		sessions: map[uint64]*modelSession{}, records: map[string]*modelRecord{}}
}

func (m *model) apply(index, term uint64, e *pb.Entry) (results []*pb.Result) {
	m.index, m.term, m.node = index, term, e.Node
	m.clock = max(m.clock, e.Time)
	for _, c := range e.Commands {
		results = append(results, m.request(c))
	}
	m.sweep(2*len(e.Commands) + 8)
	return results
}

func (m *model) minute() int64 { return m.clock / minute * minute }

func (m *model) request(c *pb.Command) *pb.Result {
	id := c.Request
	if id == nil {
		return m.idempotent(c)
	}
	s := m.sessions[id.Session]
	if s == nil {
		s = &modelSession{results: map[uint64]*pb.Result{}}
		m.sessions[id.Session] = s
	}
	s.seen, s.found = m.minute(), false
	s.answered = max(s.answered, id.Answered)
	maps.DeleteFunc(s.results, func(seq uint64, _ *pb.Result) bool { return seq < s.answered })
	if id.Seq < s.answered {
		return &pb.Result{Code: pb.Code_OUTCOME_UNKNOWN}
	}
	if r := s.results[id.Seq]; r != nil {
		return r
	}
	r := m.idempotent(c)
	if !again(r) {
		s.results[id.Seq] = r
	}
	return r
}

func again(r *pb.Result) bool {
	return r.Code == pb.Code_NOT_ENOUGH_UNUSED || r.Code == pb.Code_GENERATED_KEY_BOUND
}

func (m *model) idempotent(c *pb.Command) *pb.Result {
	if c.Idempotency == nil {
		return m.execute(c)
	}
	session, seq := c.Request.GetSession(), c.Request.GetSeq()
	if old := m.records[c.Idempotency.Key]; old != nil {
		if old.print != string(c.Idempotency.Fingerprint) {
			return m.stamp(&pb.Result{Code: pb.Code_IDEMPOTENCY_MISMATCH})
		}
		r := proto.CloneOf(old.result)
		r.Replayed = session == 0 || old.session != session || old.seq != seq
		return r
	}
	r := m.execute(c)
	if !again(r) {
		m.records[c.Idempotency.Key] = &modelRecord{
			print: string(c.Idempotency.Fingerprint), result: r, session: session, seq: seq,
			expires: m.clock + IdempotencyKept.Milliseconds()}
	}
	return r
}

func (m *model) sweep(limit int) {
	if now := m.minute(); now != m.swept {
		m.swept = now
		for id, s := range m.sessions {
			switch {
			case s.found && now-s.idle > SessionIdle.Milliseconds():
				delete(m.sessions, id)
			case !s.found && now-s.seen > SessionIdle.Milliseconds():
				s.found, s.idle = true, now
			}
		}
	}
	for range limit {
		first := ""
		for key, r := range m.records {
			if r.expires <= m.clock && (first == "" || r.expires < m.records[first].expires ||
				r.expires == m.records[first].expires && key < first) {
				first = key
			}
		}
		if first == "" {
			return
		}
		delete(m.records, first)
	}
}

func (m *model) stamp(r *pb.Result) *pb.Result {
	r.Index, r.Term = m.index, m.term
	return r
}

func (m *model) execute(c *pb.Command) *pb.Result {
	switch op := c.Op.(type) {
	case *pb.Command_InitCluster:
		return m.stamp(m.initCluster(op.InitCluster))
	case *pb.Command_PutNode:
		return m.stamp(m.putNode(op.PutNode.Node))
	case *pb.Command_RemoveNode:
		return m.stamp(m.removeNode(op.RemoveNode.Id))
	case *pb.Command_Generate:
		return m.stamp(m.generate(op.Generate))
	case *pb.Command_Lease:
		return m.stamp(m.lease(op.Lease))
	case *pb.Command_Release:
		return m.stamp(m.release(op.Release))
	case *pb.Command_ReturnKeys:
		return m.stamp(m.returnKeys(op.ReturnKeys))
	case *pb.Command_CreateLink:
		return m.stamp(m.createLink(op.CreateLink))
	case *pb.Command_UpdateLink:
		return m.stamp(m.updateLink(op.UpdateLink))
	default:
		return m.stamp(m.deleteLink(c.GetDeleteLink().Key))
	}
}

func code(c pb.Code) *pb.Result { return &pb.Result{Code: c} }

func (m *model) initCluster(op *pb.InitCluster) *pb.Result {
	if m.formed {
		return code(pb.Code_OK)
	}
	m.formed = true
	for i, row := range op.Keyspaces {
		perm, err := keyspace.NewPermutation(keyspace.Space{Alphabet: row.Alphabet, Length: int(row.Length)}, row.PermutationKey)
		if err != nil {
			panic(err)
		}
		row = proto.CloneOf(row)
		row.Id, row.CreatedAt = uint32(i+1), m.clock
		m.spaces = append(m.spaces, &modelSpace{row: row, perm: perm, unused: map[uint64]bool{}, used: map[uint64]*pb.Used{}})
	}
	return code(pb.Code_OK)
}

func (m *model) putNode(n *pb.Node) *pb.Result {
	if old := m.nodes[n.Id]; old != nil && old.Removed == (old.DiskId == n.DiskId) {
		return code(pb.Code_NODE_CONFLICT)
	}
	m.nodes[n.Id] = n
	return code(pb.Code_OK)
}

func (m *model) removeNode(id string) *pb.Result {
	old := m.nodes[id]
	if old == nil || old.Removed {
		return code(pb.Code_NODE_NOT_FOUND)
	}
	m.nodes[id] = proto.CloneOf(old)
	m.nodes[id].Removed = true
	return code(pb.Code_OK)
}

func (m *model) space(name string) *modelSpace {
	for _, s := range m.spaces {
		if s.row.Name == name || name == "" && s.row.Name == DefaultKeyspace {
			return s
		}
	}
	return nil
}

// usedBy is a row of used_keys as the present entry makes it.
func (m *model) usedBy(p pb.Purpose) *pb.Used {
	return &pb.Used{Purpose: p, Node: m.node, Term: m.term, Index: m.index, Time: m.clock}
}

func (m *model) endQuarantine(s *modelSpace) {
	for moved := 0; moved < maxQuarantineRows && len(s.quarantine) > 0 && s.quarantine[0].until <= m.clock; moved++ {
		for _, pos := range s.quarantine[0].positions {
			delete(s.used, pos)
			s.unused[pos] = true
		}
		s.quarantine = s.quarantine[1:]
	}
}

func (m *model) generate(op *pb.Generate) *pb.Result {
	s := m.space(op.Keyspace)
	if s == nil {
		return code(pb.Code_KEYSPACE_NOT_FOUND)
	}
	m.endQuarantine(s)
	if s.row.HighWaterMark == s.perm.Size() {
		return code(pb.Code_KEYSPACE_EXHAUSTED)
	}
	r := code(pb.Code_OK)
	for range min(op.Count, s.perm.Size()-s.row.HighWaterMark) {
		if s.used[s.row.HighWaterMark] == nil {
			s.unused[s.row.HighWaterMark] = true
			r.Count++
		}
		s.row.HighWaterMark++
	}
	return r
}

func (m *model) lease(op *pb.Lease) *pb.Result {
	s := m.space(op.Keyspace)
	if s == nil {
		return code(pb.Code_KEYSPACE_NOT_FOUND)
	}
	m.endQuarantine(s)
	if op.Count == 0 || op.Count > uint64(len(s.unused)) {
		return code(pb.Code_NOT_ENOUGH_UNUSED)
	}
	used := m.usedBy(pb.Purpose_LEASE)
	used.Lease, used.Direct = m.nextLease, op.Direct
	m.nextLease++
	r := &pb.Result{Count: op.Count}
	for _, pos := range slices.Sorted(maps.Keys(s.unused))[:op.Count] {
		delete(s.unused, pos)
		s.used[pos] = used
		if n := len(r.Grants); n > 0 && r.Grants[n-1].From+r.Grants[n-1].Count == pos {
			r.Grants[n-1].Count++
		} else {
			r.Grants = append(r.Grants, &pb.Grant{Lease: used.Lease, From: pos, Count: 1})
		}
	}
	m.handedOut(s, op.HandedOut)
	if !op.Direct {
		s.row.Buffered += r.Count
	}
	return r
}

func (m *model) handedOut(s *modelSpace, n uint64) {
	if m.term != s.row.BufferTerm {
		s.row.Lost += s.row.Buffered
		s.row.BufferTerm, s.row.Buffered = m.term, 0
	}
	if n > s.row.Buffered {
		n = s.row.Buffered
	}
	s.row.Buffered -= n
}

func (m *model) release(op *pb.Release) *pb.Result {
	s := m.space(op.Keyspace)
	if s == nil {
		return code(pb.Code_KEYSPACE_NOT_FOUND)
	}
	r := code(pb.Code_OK)
	for _, g := range op.Grants {
		mine := g.Count > 0
		for pos := g.From; mine && pos < g.From+g.Count; pos++ {
			u := s.used[pos]
			mine = u != nil && u.Purpose == pb.Purpose_LEASE && u.Lease == g.Lease && u.Term == m.term && !u.Direct
		}
		if mine {
			for pos := g.From; pos < g.From+g.Count; pos++ {
				delete(s.used, pos)
				s.unused[pos] = true
			}
			r.Grants = append(r.Grants, g)
			r.Count += g.Count
		}
	}
	m.handedOut(s, op.HandedOut)
	s.row.Buffered -= min(s.row.Buffered, r.Count)
	return r
}

func (m *model) returnKeys(op *pb.ReturnKeys) *pb.Result {
	receipt, err := OpenReceipt(testSecret, op.Receipt)
	if err != nil || !m.formed || receipt.Space == 0 || int(receipt.Space) > len(m.spaces) {
		return code(pb.Code_INVALID_RECEIPT)
	}
	s := m.spaces[receipt.Space-1]
	var positions []uint64
	for _, key := range op.Keys {
		pos, ok := s.perm.Position(key)
		u := s.used[pos]
		if !ok || u == nil || u.Purpose != pb.Purpose_LEASE || m.links[key] != nil || slices.Contains(positions, pos) ||
			!slices.ContainsFunc(receipt.Grants, func(g Grant) bool { return g.Lease == u.Lease && g.From <= pos && pos < g.From+g.Count }) {
			return code(pb.Code_NOT_RETURNABLE)
		}
		positions = append(positions, pos)
	}
	slices.Sort(positions)
	used, until := m.usedBy(pb.Purpose_RETURNED), m.clock+Quarantine.Milliseconds()
	for i, pos := range positions {
		s.used[pos] = used
		if n := len(s.quarantine); i > 0 && positions[i-1]+1 == pos {
			s.quarantine[n-1].positions = append(s.quarantine[n-1].positions, pos)
		} else {
			s.quarantine = append(s.quarantine, modelReturn{until, []uint64{pos}})
		}
	}
	slices.SortFunc(s.quarantine, func(a, b modelReturn) int {
		if a.until != b.until {
			return int(a.until - b.until)
		}
		return int(a.positions[0]) - int(b.positions[0])
	})
	return &pb.Result{Count: uint64(len(positions))}
}

func (m *model) createLink(op *pb.CreateLink) *pb.Result {
	key, refusal := op.Alias, m.checkAlias(op.Alias)
	if op.Alias == "" && op.TakenKey != "" {
		key, refusal = op.TakenKey, m.checkTaken(op.Keyspace, op.TakenKey)
	} else if op.Alias == "" {
		key, refusal = op.Generated.GetKey(), m.checkGenerated(op.Keyspace, op.Generated)
	}
	if refusal != pb.Code_OK {
		return code(refusal)
	}
	for _, s := range m.spaces {
		if pos, ok := s.perm.Position(key); ok && op.Alias != "" {
			delete(s.unused, pos)
			s.used[pos] = m.usedBy(pb.Purpose_ALIAS)
		}
	}
	link := proto.CloneOf(op.Link)
	link.CreatedAt, link.UpdatedAt, link.DeletedAt, link.Alias = m.clock, 0, 0, op.Alias != ""
	m.links[key] = link
	return &pb.Result{Key: key, Link: link}
}

func (m *model) checkAlias(key string) pb.Code {
	for _, s := range m.spaces {
		if pos, ok := s.perm.Position(key); ok && s.used[pos] != nil {
			return pb.Code_ALIAS_TAKEN
		}
	}
	if m.links[key] != nil {
		return pb.Code_ALIAS_TAKEN
	}
	return pb.Code_OK
}

func (m *model) checkTaken(space, key string) pb.Code {
	s := m.space(space)
	if s == nil {
		return pb.Code_KEYSPACE_NOT_FOUND
	}
	pos, ok := s.perm.Position(key)
	switch {
	case !ok:
		return pb.Code_NOT_IN_KEYSPACE
	case s.used[pos] == nil || s.used[pos].Purpose != pb.Purpose_LEASE:
		return pb.Code_KEY_NOT_TAKEN
	case m.links[key] != nil:
		return pb.Code_KEY_BOUND
	}
	return pb.Code_OK
}

func (m *model) checkGenerated(space string, g *pb.GeneratedKey) pb.Code {
	s := m.space(space)
	if s == nil {
		return pb.Code_KEYSPACE_NOT_FOUND
	}
	if pos, ok := s.perm.Position(g.GetKey()); !ok || pos != g.GetPosition() {
		return pb.Code_INVALID
	}
	u := s.used[g.GetPosition()]
	if u == nil || u.Purpose != pb.Purpose_LEASE || u.Lease != g.GetLease() || m.links[g.GetKey()] != nil {
		return pb.Code_GENERATED_KEY_BOUND
	}
	return pb.Code_OK
}

func (m *model) updateLink(op *pb.UpdateLink) *pb.Result {
	old := m.links[op.Key]
	if old == nil || old.DeletedAt != 0 {
		return code(pb.Code_LINK_NOT_FOUND)
	}
	link := proto.CloneOf(old)
	if op.Url != nil {
		link.Url = *op.Url
	}
	if op.Title != nil {
		link.Title = *op.Title
	}
	if op.Redirect != nil {
		link.Redirect = *op.Redirect
	}
	if op.SetTags {
		link.Tags = op.Tags
	}
	link.UpdatedAt = m.clock
	m.links[op.Key] = link
	return &pb.Result{Key: op.Key, Link: link}
}

func (m *model) deleteLink(key string) *pb.Result {
	old := m.links[key]
	if old == nil || old.DeletedAt != 0 {
		return code(pb.Code_LINK_NOT_FOUND)
	}
	m.links[key] = &pb.Link{CreatedAt: old.CreatedAt, DeletedAt: max(m.clock, 1), Alias: old.Alias}
	return &pb.Result{Key: key}
}
