package refmodel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

const (
	restoreMargin = 100_000
	adoptMargin   = 10_000_000
	marginShare   = 100
	stagedKept    = 10 * minute
)

// Staged is a backup that arrives in parts.
type Staged struct {
	Row  *pb.Staged
	Data []byte
}

func (m *Model) stageBackup(op *pb.StageBackup) *pb.Result {
	if op.Restore == "" || len(op.Data) == 0 {
		return code(pb.Code_INVALID)
	}
	if op.Part == 0 {
		m.Staged = &Staged{Row: &pb.Staged{Restore: op.Restore}}
	}
	if m.Staged == nil || m.Staged.Row.Restore != op.Restore || m.Staged.Row.Parts != op.Part {
		return code(pb.Code_NOT_STAGED)
	}
	m.Staged.Data = append(m.Staged.Data, op.Data...)
	m.Staged.Row.Parts, m.Staged.Row.Time = op.Part+1, m.State.Clock
	return &pb.Result{Count: op.Part + 1}
}

func (m *Model) sweepStaged() {
	if m.Staged != nil && m.State.Clock-m.Staged.Row.Time > stagedKept {
		m.Staged = nil
	}
}

// backup is what a backup file stands for.
type backup struct {
	header *pb.BackupHeader
	*Model // its Spaces and Links
}

// readBackup reads a file as fsm/backup.go describes it; nil if it is damaged.
// That the rows of an undamaged one make sense is taken on trust.
func readBackup(file []byte) *backup {
	if len(file) < 16+2*sha256.Size {
		return nil
	}
	body, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	if sha256.Sum256(body) != [sha256.Size]byte(sum) {
		return nil
	}
	rows := body[16+binary.BigEndian.Uint32(body[12:]):]
	b := &backup{header: &pb.BackupHeader{}, Model: New()}
	if proto.Unmarshal(body[16:len(body)-len(rows)], b.header) != nil {
		return nil
	}
	stream, err := store.NewStreamReader(bytes.NewReader(rows[sha256.Size:]))
	if err != nil {
		return nil
	}
	tables := tables{}
	for {
		t, key, value, err := stream.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil
		}
		tables[t] = append(tables[t], [2][]byte{bytes.Clone(key), bytes.Clone(value)})
	}
	b.State.Links = b.header.Links
	l := loader{b.Model, tables}
	if l.spaces() != nil || l.used() != nil || l.links() != nil || l.visits() != nil {
		return nil
	}
	return b
}

// tables are Rows in memory, key and value.
type tables map[store.Table][][2][]byte

func (t tables) Scan(table store.Table, _, _ []byte, fn func(key, value []byte) bool) error {
	for _, row := range t[table] {
		if !fn(row[0], row[1]) {
			break
		}
	}
	return nil
}

// restoreBackup says what the restore comes to and leaves in m.restored what
// carries it out.
func (m *Model) restoreBackup(op *pb.RestoreBackup) *pb.Result {
	switch {
	case !m.alone:
		return code(pb.Code_INVALID)
	case op.Term != m.term:
		return code(pb.Code_NOT_STOPPED)
	case m.Staged == nil || m.Staged.Row.Restore != op.Restore || m.Staged.Row.Parts != op.Parts:
		return code(pb.Code_NOT_STAGED)
	}
	b := readBackup(m.Staged.Data)
	m.Staged = nil
	if b == nil {
		return code(pb.Code_INVALID)
	}
	if b.header.Version > max(m.State.Version, 1) {
		return code(pb.Code_RESTORE_REFUSED)
	}
	spaces, margin, share, adopts := slices.Clone(m.Spaces), uint64(restoreMargin), uint64(marginShare), !m.hasSpaces(b)
	if adopts {
		if !eachHasFloor(b.Spaces, op) || !m.pristine() {
			return code(pb.Code_RESTORE_REFUSED)
		}
		spaces, margin, share = slices.Clone(b.Spaces), adoptMargin, widened(op.Grow)
	}
	for _, f := range op.Floors {
		if !slices.ContainsFunc(spaces, func(s *Space) bool { return s.Row.Name == f.Keyspace }) {
			return code(pb.Code_RESTORE_REFUSED)
		}
	}
	told := &pb.Restored{Adopted: adopts}
	nextID := max(m.State.NextKeyspace, b.header.NextKeyspace)
	var next []*Space
	for i := 0; i < len(spaces); i++ {
		s := spaces[i]
		theirs := b.spaceOf(uint64(s.Row.Id))
		if theirs == nil {
			theirs = newSpace(&pb.Keyspace{ClaimFrom: "all"}, s.Perm)
		}
		size, known := s.Perm.Size(), max(s.Row.HighWaterMark, theirs.Row.HighWaterMark)
		mark := known
		lengths := (&Model{Spaces: spaces}).Lengths(s.Row.Name)
		if lengths[len(lengths)-1] == s {
			mark = s.mark(lengths, known, margin, share, floorOf(s, op.Floor, op.Floors))
			grown, _ := nextOf(s, spaces)
			grows := mark >= size && op.Grow && grown != nil
			if grows {
				grown.Row.Id, grown.Row.CreatedAt = nextID, m.State.Clock
				nextID++
				spaces = append(spaces, grown)
			}
			if over := s.mark(lengths, 0, 0, 1, floorOf(s, op.Floor, op.Floors)); (over > size && !(grows && named(s, op.Floors))) || over == size && !named(s, op.Floors) {
				return code(pb.Code_RESTORE_REFUSED)
			}
			mark = min(mark, size)
		}
		burnt := m.burn(s, theirs, mark)
		next = append(next, burnt)
		told.Keyspaces = append(told.Keyspaces, &pb.RestoredKeyspace{
			Name: s.Row.Name, Burned: burnt.Row.Used - theirs.Row.Used, HighWaterMark: mark, Margin: mark - known, Left: size - mark, Length: lengthTold(s, op.Grow),
		})
	}
	links, lost := m.mergeLinks(b)
	told.Links, told.LinksLost = b.header.Links, lost
	m.restored = func() {
		m.Spaces, m.Links, m.Visits, m.State.Links = next, links, b.Visits, b.header.Links
		m.State.Clock = max(m.State.Clock, b.header.Clock)
		m.State.NextLease = max(m.State.NextLease, b.header.NextLease)
		m.State.NextKeyspace = nextID
		if m.State.Version >= 2 {
			m.State.UrlsIndexed, m.State.IndexUrlsFrom = b.header.UrlsIndexed || b.header.Version < 2, b.header.IndexUrlsFrom
		}
	}
	return &pb.Result{Restored: told}
}

func eachHasFloor(spaces []*Space, op *pb.RestoreBackup) bool {
	for _, s := range spaces {
		if op.Floor == 0 && !named(s, op.Floors) {
			return false
		}
	}
	return true
}

func named(s *Space, floors []*pb.Floor) bool {
	return slices.ContainsFunc(floors, func(f *pb.Floor) bool { return f.Keyspace == s.Row.Name })
}

// floorOf is the first floor that is named for the key space, else that of all.
func floorOf(s *Space, floor uint64, floors []*pb.Floor) uint64 {
	for _, f := range slices.Backward(floors) {
		if f.Keyspace == s.Row.Name {
			floor = f.Position
		}
	}
	return floor
}

func (m *Model) hasSpaces(b *backup) bool {
	if b.header.ClusterId != m.State.ClusterId {
		return false
	}
	for _, theirs := range b.Spaces {
		ours := m.spaceOf(uint64(theirs.Row.Id))
		if ours == nil || ours.Row.Name != theirs.Row.Name || described(ours.Row) != described(theirs.Row) ||
			string(ours.Row.PermutationKey) != string(theirs.Row.PermutationKey) {
			return false
		}
	}
	return true
}

func (m *Model) pristine() bool {
	for _, s := range m.Spaces {
		if s.Row.Used > 0 {
			return false
		}
	}
	return len(m.Links) == 0
}

// burn is the key space with nothing left below the mark.
func (m *Model) burn(s, theirs *Space, mark uint64) *Space {
	row := proto.CloneOf(s.Row)
	row.HighWaterMark, row.LeasedTo = mark, mark
	if row.Lost += row.Buffered; s == theirs { // another cluster's terms mean nothing here
		row.BufferTerm = 0
	}
	row.Unused, row.Used, row.Returned, row.Buffered = 0, 0, 0, 0
	if s != theirs && (row.ClaimFrom != "" || theirs.Row.ClaimFrom != "") {
		row.ClaimFrom = claimStart(row)
	}
	burnt := newSpace(row, s.Perm)
	for _, u := range theirs.rows[1:] { // at the same places
		u = proto.CloneOf(u)
		if u.Purpose != pb.Purpose_ALIAS {
			u.Purpose = pb.Purpose_BLOCKED
		}
		burnt.rows = append(burnt.rows, u)
	}
	m.newRow(burnt, pb.Purpose_BLOCKED)
	blocked := uint32(len(burnt.rows) - 1)
	for pos := range mark {
		row := blocked
		if theirs.Used(pos) != nil {
			row = theirs.rowAt(pos)
		}
		burnt.place(pos, row)
	}
	theirs.eachFrom(mark, func(pos uint64) { burnt.place(pos, theirs.rowAt(pos)) })
	s.eachFrom(mark, func(pos uint64) {
		if burnt.Used(pos) == nil { // its link is gone
			u := proto.CloneOf(s.Used(pos))
			u.Purpose = pb.Purpose_BLOCKED
			burnt.rows = append(burnt.rows, u)
			burnt.place(pos, uint32(len(burnt.rows)-1))
		}
	})
	burnt.first = mark
	row.Used = burnt.usedBelow(s.Perm.Size())
	return burnt
}

func (s *Space) rowAt(pos uint64) uint32 {
	if pos < uint64(len(s.near)) {
		return s.near[pos]
	}
	return s.far[pos]
}

// eachFrom visits the used positions from one on.
func (s *Space) eachFrom(from uint64, visit func(pos uint64)) {
	for pos := from; pos < uint64(len(s.near)); pos++ {
		if s.near[pos] != 0 {
			visit(pos)
		}
	}
	for pos := range s.far {
		if pos >= from {
			visit(pos)
		}
	}
}

// mergeLinks are the backup's links and tombstones of the others.
func (m *Model) mergeLinks(b *backup) (links map[string]*pb.Link, lost uint64) {
	links = map[string]*pb.Link{}
	for key, link := range m.Links {
		links[key] = link
		if live := b.Links[key] != nil && b.Links[key].DeletedAt == 0; link.DeletedAt == 0 && !live {
			links[key] = &pb.Link{CreatedAt: link.CreatedAt, DeletedAt: max(m.State.Clock, 1), Alias: link.Alias}
			lost++
		}
	}
	for key, link := range b.Links {
		links[key] = link
	}
	return links, lost
}
