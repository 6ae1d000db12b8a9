package refmodel

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	defaultKeyspace   = "default"
	quarantine        = 25 * hour
	maxMoved          = 100_000_000 // positions, by one Lease or Generate
	maxGenerateRuns   = 1024
	maxLeaseRuns      = 1024
	maxQuarantineRows = 64
)

// Space is a key space. A position below the high-water mark that is not used
// is unused; above it, only aliases claimed ahead are used.
type Space struct {
	Row  *pb.Keyspace
	Perm *keyspace.Permutation

	near     []uint32          // by position: its place in rows, 0 if not used
	far      map[uint64]uint32 // the same for positions from len(near) on
	rows     []*pb.Used
	first    uint64        // no position below it is unused
	returned []returnedRun // in the order in which they become unused
}

type returnedRun struct {
	until    int64
	from, to uint64
}

func (a returnedRun) compare(b returnedRun) int {
	return cmp.Or(cmp.Compare(a.until, b.until), cmp.Compare(a.from, b.from))
}

func newSpace(row *pb.Keyspace, perm *keyspace.Permutation) *Space {
	return &Space{Row: row, Perm: perm, far: map[uint64]uint32{}, rows: []*pb.Used{nil}}
}

// Used is what the position is used for, without the end of a run; nil if it is not used.
func (s *Space) Used(pos uint64) *pb.Used {
	if pos < uint64(len(s.near)) {
		return s.rows[s.near[pos]]
	}
	return s.rows[s.far[pos]]
}

// Unused tells whether the position is generated and not used.
func (s *Space) Unused(pos uint64) bool { return pos < s.Row.HighWaterMark && s.Used(pos) == nil }

// Space finds the last length of a key space; "" is the default one.
func (m *Model) Space(name string) *Space {
	all := m.Lengths(name)
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// Lengths are those of a key space, the first one first.
func (m *Model) Lengths(name string) (all []*Space) {
	if name == "" {
		name = defaultKeyspace
	}
	for _, s := range m.Spaces {
		if s.Row.Name == name {
			all = append(all, s)
		}
	}
	return all
}

// spaceOfKey is the length of which the key may be, the last one if it is of none.
func (m *Model) spaceOfKey(name, key string) *Space {
	for _, s := range m.Lengths(name) {
		if len(patterns(s.Row)) == len(key) {
			return s
		}
	}
	return m.Space(name)
}

// newRow is a row of used_keys as the present entry makes it. It is in force
// for the positions that set is given then.
func (m *Model) newRow(s *Space, p pb.Purpose) *pb.Used {
	row := &pb.Used{Purpose: p, Node: m.node, Term: m.term, Index: m.index, Time: m.State.Clock}
	s.rows = append(s.rows, row)
	return row
}

// set makes the position one of the last new row.
func (s *Space) set(pos uint64) { s.put(pos, uint32(len(s.rows)-1)) }

func (s *Space) put(pos uint64, row uint32) {
	if was := s.Used(pos); was == nil && row != 0 {
		s.Row.Used++
		if pos < s.Row.HighWaterMark {
			s.Row.Unused--
		}
	} else if was != nil && row == 0 {
		s.Row.Used--
		s.Row.Unused++ // only what was handed out is freed, so it is generated
		s.first = min(s.first, pos)
	}
	s.place(pos, row)
}

// place notes the row of a position and counts nothing.
func (s *Space) place(pos uint64, row uint32) {
	if pos == uint64(len(s.near)) {
		s.grow(pos + 1)
	}
	if pos < uint64(len(s.near)) {
		s.near[pos] = row
	} else {
		s.far[pos] = row
	}
}

// grow makes near hold n positions, and those in far that follow.
func (s *Space) grow(n uint64) {
	for {
		next := uint64(len(s.near))
		row, ok := s.far[next]
		if !ok && next >= n {
			return
		}
		delete(s.far, next)
		s.near = append(s.near, row)
	}
}

func (m *Model) endQuarantine(s *Space) {
	for moved := 0; moved < maxQuarantineRows && len(s.returned) > 0 && s.returned[0].until <= m.State.Clock; moved++ {
		run := s.returned[0]
		for pos := run.from; pos < run.to; pos++ {
			s.put(pos, 0)
		}
		s.Row.Returned -= run.to - run.from
		s.returned = s.returned[1:]
	}
}

func (m *Model) generate(op *pb.Generate) *pb.Result {
	s := m.Space(op.Keyspace)
	if s == nil {
		return code(pb.Code_KEYSPACE_NOT_FOUND)
	}
	m.endQuarantine(s)
	if m.claim(s); s.Row.ClaimFrom != "" {
		return code(pb.Code_OK)
	}
	ahead := s.Perm.Size() - s.Row.HighWaterMark
	if ahead == 0 {
		return code(pb.Code_KEYSPACE_EXHAUSTED)
	}
	claimed := s.Row.Unused + s.Row.Used - s.Row.HighWaterMark
	spacing := min(ahead/(claimed+1)+1, maxMoved)
	count := min(op.Count, ahead, maxMoved, maxGenerateRuns*spacing)
	r := &pb.Result{Count: count}
	to := s.Row.HighWaterMark + count
	for pos := range s.far { // claimed ahead
		if s.Row.HighWaterMark <= pos && pos < to {
			r.Count--
		}
	}
	for pos := s.Row.HighWaterMark; pos < min(to, uint64(len(s.near))); pos++ {
		if s.near[pos] != 0 {
			r.Count--
		}
	}
	s.Row.HighWaterMark = to
	s.Row.Unused += r.Count
	return r
}

func (m *Model) lease(op *pb.Lease) *pb.Result {
	all := m.Lengths(op.Keyspace)
	if len(all) == 0 {
		return code(pb.Code_KEYSPACE_NOT_FOUND)
	}
	count := min(op.Count, maxMoved)
	var s *Space
	for i, length := range all {
		m.endQuarantine(length)
		may := i == len(all)-1 || !op.Direct && !op.LastLength
		if s == nil && may && count <= length.Row.Unused {
			s = length
		}
	}
	if count == 0 || s == nil {
		return code(pb.Code_NOT_ENOUGH_UNUSED)
	}
	used := m.newRow(s, pb.Purpose_LEASE)
	used.Lease, used.Direct = m.State.NextLease, op.Direct
	if op.Direct {
		used.Owner = op.Owner
	}
	m.State.NextLease++
	r := &pb.Result{}
	for ; r.Count < count && s.first < s.Row.HighWaterMark; s.first++ {
		if !s.Unused(s.first) {
			continue
		}
		if n := len(r.Grants); n > 0 && r.Grants[n-1].From+r.Grants[n-1].Count == s.first {
			r.Grants[n-1].Count++
		} else if n == maxLeaseRuns {
			break
		} else {
			g := &pb.Grant{Lease: used.Lease, From: s.first, Count: 1}
			if s != all[0] {
				g.Space = s.Row.Id
			}
			r.Grants = append(r.Grants, g)
		}
		s.set(s.first)
		r.Count++
		s.Row.LeasedTo = max(s.Row.LeasedTo, s.first+1)
	}
	all[0].handedOut(m.term, op.HandedOut)
	if !op.Direct {
		all[0].Row.Buffered += r.Count
	}
	return r
}

// handedOut takes n keys from the term's buffer; another term's is lost.
func (s *Space) handedOut(term, n uint64) {
	if term != s.Row.BufferTerm {
		s.Row.Lost += s.Row.Buffered
		s.Row.BufferTerm, s.Row.Buffered = term, 0
	}
	s.Row.Buffered -= min(n, s.Row.Buffered)
}

func (m *Model) release(op *pb.Release) *pb.Result {
	all := m.Lengths(op.Keyspace)
	if len(all) == 0 {
		return code(pb.Code_KEYSPACE_NOT_FOUND)
	}
	r := &pb.Result{}
	for _, g := range op.Grants {
		s := all[0]
		if g.Space != 0 {
			if s = m.spaceOf(uint64(g.Space)); s == nil || s.Row.Name != all[0].Row.Name {
				continue
			}
		}
		to := g.From + g.Count
		mine := to > g.From
		for pos := g.From; mine && pos < to; pos++ {
			u := s.Used(pos)
			mine = u != nil && u.Purpose == pb.Purpose_LEASE && u.Lease == g.Lease && u.Term == m.term && !u.Direct
		}
		if mine {
			for pos := g.From; pos < to; pos++ {
				s.put(pos, 0)
			}
			r.Grants = append(r.Grants, g)
			r.Count += g.Count
		}
	}
	all[0].handedOut(m.term, op.HandedOut)
	all[0].Row.Buffered -= min(all[0].Row.Buffered, r.Count)
	return r
}

func (m *Model) returnKeys(op *pb.ReturnKeys) *pb.Result {
	id, grants, ok := m.openReceipt(op.Receipt, append(append(slices.Clone(m.State.ReceiptSecret), 0), op.As...))
	if !ok || op.As == "" {
		id, grants, ok = m.openReceipt(op.Receipt, m.State.ReceiptSecret)
	}
	s := m.spaceOf(id)
	if !ok || s == nil {
		return code(pb.Code_INVALID_RECEIPT)
	}
	positions := map[uint64]bool{}
	for _, key := range op.Keys {
		pos, ok := s.Perm.Position(key)
		if !ok || positions[pos] || m.Links[m.folded(key)] != nil || !grantedTo(grants, pos, s.Used(pos)) {
			return code(pb.Code_NOT_RETURNABLE)
		}
		positions[pos] = true
	}
	m.newRow(s, pb.Purpose_RETURNED)
	for pos := range positions {
		s.set(pos)
		if to := pos + 1; !positions[pos-1] { // a run starts here
			for positions[to] {
				to++
			}
			s.returned = insert(s.returned, returnedRun{m.State.Clock + quarantine, pos, to}, returnedRun.compare)
		}
	}
	s.Row.Returned += uint64(len(positions))
	return &pb.Result{Count: uint64(len(positions))}
}

func grantedTo(grants []*pb.Grant, pos uint64, u *pb.Used) bool {
	return u != nil && u.Purpose == pb.Purpose_LEASE && slices.ContainsFunc(grants, func(g *pb.Grant) bool {
		return g.Lease == u.Lease && g.From <= pos && pos < g.From+g.Count
	})
}

// openReceipt decodes a receipt: 1, sixteen bytes of HMAC-SHA-256 over the 1 and
// the rest, the rest: the key space's id, then lease, from and count of each grant.
func (m *Model) openReceipt(sealed, secret []byte) (space uint64, grants []*pb.Grant, ok bool) {
	if len(sealed) < 18 || sealed[0] != 1 || m.State.ClusterId == "" {
		return 0, nil, false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte{1})
	mac.Write(sealed[17:])
	if !hmac.Equal(mac.Sum(nil)[:16], sealed[1:17]) {
		return 0, nil, false
	}
	var numbers []uint64
	for rest := sealed[17:]; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return 0, nil, false
		}
		numbers, rest = append(numbers, n), rest[size:]
	}
	if len(numbers)%3 != 1 {
		return 0, nil, false
	}
	for i := 1; i < len(numbers); i += 3 {
		grants = append(grants, &pb.Grant{Lease: numbers[i], From: numbers[i+1], Count: numbers[i+2]})
	}
	return numbers[0], grants, true
}
