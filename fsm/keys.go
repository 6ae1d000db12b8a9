package fsm

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

const (
	// DefaultKeyspace is the key space of requests that name none.
	DefaultKeyspace = "default"
	// MaxLease is the most that one Lease or Generate moves, in keys.
	MaxLease = 100_000_000
	// maxGenerateRuns is how many claimed aliases one Generate expects to meet at
	// most: it adds a run to unused_keys between every two of them.
	maxGenerateRuns = 1024
	// maxLeaseRuns bounds the rows that one Lease may write: after many claimed
	// aliases unused_keys is in pieces.
	maxLeaseRuns = 1024
	// Quarantine is how long returned keys wait before they are unused again:
	// longer than an idempotency key is remembered, so that a repeated request
	// can never show keys that are somebody else's by now.
	Quarantine = IdempotencyKept + time.Hour
	// maxQuarantineRows is how many returned runs one command moves on.
	maxQuarantineRows = 64
)

// lengthsOf finds the lengths of a key space; "" is the default one.
func (m *Machine) lengthsOf(name string) ([]*space, *pb.Result) {
	if name == "" {
		name = DefaultKeyspace
	}
	if lengths := m.lengths[name]; lengths != nil {
		return lengths, nil
	}
	return nil, refuse(pb.Code_KEYSPACE_NOT_FOUND, "%q", name)
}

// spaceNamed finds the last length of a key space.
func (m *Machine) spaceNamed(name string) (*space, *pb.Result) {
	lengths, refused := m.lengthsOf(name)
	if refused != nil {
		return nil, refused
	}
	return lengths[len(lengths)-1], nil
}

// spaceWith finds the length of a key space of which the key may be.
func (m *Machine) spaceWith(name, key string) (*space, *pb.Result) {
	lengths, refused := m.lengthsOf(name)
	if refused != nil {
		return nil, refused
	}
	return lengthOf(lengths, key), nil
}

func (m *Machine) generate(op *pb.Generate) *pb.Result {
	s, refused := m.spaceNamed(op.Keyspace)
	if refused != nil {
		return refused
	}
	m.endQuarantine(s)
	if s.row.ClaimFrom != "" {
		if m.claimAliases(s); s.row.ClaimFrom != "" {
			return &pb.Result{}
		}
	}
	from := s.row.HighWaterMark
	ungenerated := s.perm.Size() - from
	if ungenerated == 0 {
		return refuse(pb.Code_KEYSPACE_EXHAUSTED, "all %d keys of %q are generated", s.perm.Size(), s.row.Name)
	}
	// The permutation spreads the aliases claimed ahead evenly.
	claimed := s.row.Unused + s.row.Used - from
	spacing := min(ungenerated/(claimed+1)+1, MaxLease)
	run := keyspace.Run{From: from, To: from + min(op.Count, ungenerated, MaxLease, maxGenerateRuns*spacing)}
	var added uint64
	for _, gap := range m.used(s).Gaps(run) { // around aliases that were claimed before
		m.expect(m.unused(s).Add(gap), s, gap, "generated before")
		added += gap.Len()
	}
	s.row.HighWaterMark = run.To
	s.row.Unused += added
	s.dirty = true
	return &pb.Result{Count: added}
}

func (m *Machine) lease(op *pb.Lease) *pb.Result {
	lengths, refused := m.lengthsOf(op.Keyspace)
	if refused != nil {
		return refused
	}
	for _, s := range lengths {
		m.endQuarantine(s)
	}
	s := lengths[len(lengths)-1]
	count := min(op.Count, MaxLease)
	if !op.Direct && !op.LastLength {
		for _, older := range slices.Backward(lengths) {
			if count <= older.row.Unused {
				s = older
			}
		}
	}
	if count == 0 || count > s.row.Unused {
		return refuse(pb.Code_NOT_ENOUGH_UNUSED, "asked for %d of %d", op.Count, s.row.Unused)
	}
	var id uint32 // in grants
	if s != lengths[0] {
		id = s.row.Id
	}
	row := &pb.Used{
		Purpose: pb.Purpose_LEASE, Lease: m.state.NextLease, Direct: op.Direct,
		Node: m.entry.node, Term: m.entry.term, Index: m.entry.index, Time: m.state.Clock,
	}
	if op.Direct {
		row.Owner = op.Owner
	}
	m.state.NextLease++
	result := &pb.Result{}
	for _, run := range m.unused(s).Take(count, maxLeaseRuns) {
		m.expect(m.used(s).Insert(run, row), s, run, "unused, and used too")
		result.Grants = append(result.Grants, &pb.Grant{Lease: row.Lease, From: run.From, Count: run.Len(), Space: id})
		result.Count += run.Len()
		if run.From >= s.row.LeasedTo {
			m.watch(s, row.Lease, run)
		}
		s.row.LeasedTo = max(s.row.LeasedTo, run.To)
	}
	m.accountBuffer(lengths[0], op.HandedOut)
	if !op.Direct {
		lengths[0].row.Buffered += result.Count
	}
	s.row.Unused -= result.Count
	s.row.Used += result.Count
	s.dirty = true
	return result
}

// accountBuffer follows what the leader's buffer holds, of all lengths, in the row
// of the first: what another term's leader left in its own is lost.
func (m *Machine) accountBuffer(s *space, handedOut uint64) {
	s.dirty = true
	if s.row.BufferTerm != m.entry.term {
		s.row.Lost += s.row.Buffered
		s.row.Buffered, s.row.BufferTerm = 0, m.entry.term
	}
	s.row.Buffered -= min(handedOut, s.row.Buffered)
}

func (m *Machine) release(op *pb.Release) *pb.Result {
	lengths, refused := m.lengthsOf(op.Keyspace)
	if refused != nil {
		return refused
	}
	result := &pb.Result{}
	for _, g := range op.Grants {
		s := grantSpace(lengths, g)
		if s == nil {
			continue
		}
		run := keyspace.Run{From: g.From, To: g.From + g.Count}
		ok := m.used(s).Cut(run, func(u *pb.Used) bool {
			return u.Lease == g.Lease && u.Purpose == pb.Purpose_LEASE && u.Term == m.entry.term && !u.Direct
		})
		if ok {
			m.expect(m.unused(s).Add(run), s, run, "leased, and unused too")
			s.row.Used -= g.Count
			s.row.Unused += g.Count
			s.dirty = true
			result.Count += g.Count
			result.Grants = append(result.Grants, g)
		}
	}
	m.accountBuffer(lengths[0], op.HandedOut)
	buffered := &lengths[0].row.Buffered
	*buffered -= min(result.Count, *buffered)
	return result
}

// returnKeys moves keys into quarantine: all of them, or none with the reason.
func (m *Machine) returnKeys(op *pb.ReturnKeys) *pb.Result {
	receipt, err := openReceiptOf(op.As, m.state.ReceiptSecret, op.Receipt)
	if err != nil {
		return refuse(pb.Code_INVALID_RECEIPT, "%v", err)
	}
	s := m.spaceByID(receipt.Space)
	if s == nil {
		return refuse(pb.Code_INVALID_RECEIPT, "its key space is gone")
	}
	positions := make([]uint64, len(op.Keys))
	for i, key := range op.Keys {
		pos, refused := m.returnable(s, receipt, key)
		if refused != nil {
			return refused
		}
		positions[i] = pos
	}
	slices.Sort(positions)
	for i := 1; i < len(positions); i++ {
		if positions[i] == positions[i-1] {
			return refuse(pb.Code_NOT_RETURNABLE, "%s is named twice", s.perm.AppendKey(nil, positions[i]))
		}
	}
	for _, run := range runsOf(positions) {
		m.quarantine(s, run)
	}
	return &pb.Result{Count: uint64(len(positions))}
}

// returnable checks one key against the receipt and the key's present state.
func (m *Machine) returnable(s *space, receipt Receipt, key string) (uint64, *pb.Result) {
	pos, ok := s.perm.Position(key)
	if !ok {
		return 0, refuse(pb.Code_NOT_RETURNABLE, "%s is not a key of %q: %s", key, s.row.Name, s.perm.Fault(key))
	}
	lease, ok := receipt.lease(pos)
	if !ok {
		return 0, refuse(pb.Code_NOT_RETURNABLE, "%s is not of this receipt", key)
	}
	_, row, ok := m.used(s).Find(pos)
	if ok && row.Purpose == pb.Purpose_BLOCKED {
		return 0, refuse(pb.Code_NOT_RETURNABLE, "%s was burned by a restore", key)
	}
	if !ok || row.Lease != lease || row.Purpose != pb.Purpose_LEASE {
		return 0, refuse(pb.Code_NOT_RETURNABLE, "%s was returned before", key)
	}
	if m.batch.Has(store.Links, []byte(m.folding.canonical(key))) {
		return 0, refuse(pb.Code_NOT_RETURNABLE, "%s is, or was, bound to a link", key)
	}
	return pos, nil
}

// runsOf joins sorted, distinct positions.
func runsOf(positions []uint64) []keyspace.Run {
	var runs []keyspace.Run
	for _, pos := range positions {
		if n := len(runs); n > 0 && runs[n-1].To == pos {
			runs[n-1].To++
		} else {
			runs = append(runs, keyspace.Run{From: pos, To: pos + 1})
		}
	}
	return runs
}

// quarantine turns leased positions, perhaps of several rows, into returned ones.
func (m *Machine) quarantine(s *space, run keyspace.Run) {
	m.used(s).Cut(run, func(*pb.Used) bool { return true })
	m.used(s).Insert(run, &pb.Used{
		Purpose: pb.Purpose_RETURNED,
		Node:    m.entry.node, Term: m.entry.term, Index: m.entry.index, Time: m.state.Clock,
	})
	m.batch.Put(store.Quarantine, quarantineKey(s.row.Id, m.state.Clock+Quarantine.Milliseconds(), run.From),
		binary.BigEndian.AppendUint64(nil, run.To))
	s.row.Returned += run.Len()
	s.dirty = true
}

// endQuarantine moves returned runs whose time is over to unused_keys.
func (m *Machine) endQuarantine(s *space) {
	if s.row.Returned == 0 {
		return
	}
	type row struct {
		key []byte
		run keyspace.Run
	}
	var over []row
	m.batch.Scan(store.Quarantine, spaceKey(s.row.Id), quarantineKey(s.row.Id, m.state.Clock+1, 0), func(key, value []byte) bool {
		over = append(over, row{slices.Clone(key), keyspace.Run{
			From: binary.BigEndian.Uint64(key[12:]), To: binary.BigEndian.Uint64(value)}})
		return len(over) < maxQuarantineRows
	})
	for _, r := range over {
		m.batch.Delete(store.Quarantine, r.key)
		returned := m.used(s).Cut(r.run, func(u *pb.Used) bool { return u.Purpose == pb.Purpose_RETURNED })
		m.expect(returned && m.unused(s).Add(r.run), s, r.run, "in quarantine, but not returned")
		s.row.Returned -= r.run.Len()
		s.row.Used -= r.run.Len()
		s.row.Unused += r.run.Len()
		s.dirty = true
	}
}

func (m *Machine) spaceByID(id uint32) *space {
	for _, s := range m.spaces {
		if s.row.Id == id {
			return s
		}
	}
	return nil
}
