package fsm

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// restoredSpace is a key space as it will be.
type restoredSpace struct {
	row    *pb.Keyspace
	told   *pb.RestoredKeyspace
	backed uint64 // positions used in the backup
}

// plan decides whether the backup with these key spaces may be restored and up to
// where each key space is burned; else it sets refused.
func (r *restoration) plan(backup []*pb.Keyspace) {
	own := r.m.state.ClusterId
	r.result.Adopted = r.backup.header.ClusterId != own || !r.m.hasSpaces(backup)
	switch {
	case r.backup.header.Version > inUse(r.m.state):
		r.refused = tooNew(r.backup.header, inUse(r.m.state))
	case !r.result.Adopted:
		rows := rowsOf(r.m.spaces)
		for i, own := range rows {
			rows[i] = continued(own, find(backup, own.Id))
		}
		r.burn(rows, margin{restoreMargin, marginShare})
		if name := r.floors.unknown(rows); name != "" {
			r.refused = noSuchFloor(name)
		}
	case r.floors.missing(backup) != nil || r.floors.unknown(backup) != "":
		r.refused = r.floors.refusal(r.backup.header, own)
	case !r.m.pristine():
		r.refused = refuse(pb.Code_RESTORE_REFUSED, "it has the key spaces of cluster %s, but this cluster has issued keys of its own; form a new cluster for it", r.backup.header.ClusterId)
	default:
		rows := make([]*pb.Keyspace, len(backup))
		for i, row := range backup {
			rows[i] = adopted(row)
		}
		r.burn(rows, adoptedMargin(r.grow))
	}
}

// continued is the row of a key space of this cluster: nothing is forgotten. What
// a leader's buffer still held, if it could not return it, is lost.
func continued(own, backup *pb.Keyspace) *pb.Keyspace {
	row := proto.CloneOf(own)
	row.HighWaterMark = max(own.HighWaterMark, backup.GetHighWaterMark())
	row.Lost += row.Buffered
	row.Buffered = 0
	if own.ClaimFrom != "" || backup == nil || backup.ClaimFrom != "" {
		row.ClaimFrom = claimAll(row) // the backup's links may have aliases that neither has claimed
	}
	return row
}

func adopted(backup *pb.Keyspace) *pb.Keyspace {
	row := proto.CloneOf(backup)
	row.Lost += row.Buffered
	row.Buffered, row.BufferTerm = 0, 0
	return row
}

// margin is how many positions above the high-water mark are burned: so many, of a
// small key space at most one in so many.
type margin struct{ positions, share uint64 }

func (m margin) of(size uint64) uint64 { return min(m.positions, size/m.share) }

// adoptedMargin is that of key spaces of which somebody elsewhere may have had more.
// Since key spaces grow, leaders generate a hundredth of a small one at a time: a
// tenth holds some such steps, and the largest request.
func adoptedMargin(grow bool) margin {
	if grow {
		return margin{adoptMargin, marginShare / 10}
	}
	return margin{adoptMargin, marginShare}
}

// burn adds the key spaces whose rows have the marks that are known of, and the
// lengths that they reach when that is burned which may have been issued.
func (r *restoration) burn(rows []*pb.Keyspace, m margin) {
	r.nextKeyspace = max(r.m.state.NextKeyspace, r.backup.header.NextKeyspace)
	for i := 0; i < len(rows) && r.refused == nil; i++ {
		row := rows[i]
		size, known, mark := spaceOf(row).Size(), row.HighWaterMark, row.HighWaterMark
		if before, last := placeOf(row, rows); last {
			mark += m.of(size)
			floor, named := r.floors.Of(row.Name)
			if floor > before {
				mark = max(mark, floor-before)
			}
			if grown := mark >= size && r.growTo(row, &rows); !grown || !named { // a floor for others may leave nothing by mistake
				r.refused = r.floors.beyond(row.Name, before+size)
			}
		}
		r.add(row, min(mark, size), known, size)
	}
}

// placeOf tells how many positions the lengths of a name before this row's have,
// and whether it is the last one.
func placeOf(row *pb.Keyspace, rows []*pb.Keyspace) (before uint64, last bool) {
	for _, other := range rows {
		if other.Name == row.Name && other.Id < row.Id {
			before += spaceOf(other).Size()
		} else if other.Name == row.Name && other.Id > row.Id {
			return before, false
		}
	}
	return before, true
}

// growTo adds the row of the next length, if there may be one.
func (r *restoration) growTo(row *pb.Keyspace, rows *[]*pb.Keyspace) bool {
	if !r.grow {
		return false
	}
	next, refused := nextLength(row, *rows)
	if refused != nil {
		return false
	}
	next.Id, next.CreatedAt = r.nextKeyspace, r.m.state.Clock
	r.nextKeyspace++
	*rows = append(*rows, next)
	return true
}

// add adds a key space that is burned up to the mark.
func (r *restoration) add(row *pb.Keyspace, mark, known, size uint64) {
	row.HighWaterMark = mark
	row.Unused, row.Used, row.Returned, row.LeasedTo = 0, 0, 0, mark
	told := &pb.RestoredKeyspace{Name: row.Name, HighWaterMark: mark, Margin: mark - known, Left: size - mark}
	if r.grow {
		told.Length = row.Length
	}
	r.spaces = append(r.spaces, &restoredSpace{row: row, told: told})
	r.result.Keyspaces = append(r.result.Keyspaces, told)
}

// hasSpaces: each of the key spaces is one of this machine's, the same in all
// that makes its keys.
func (m *Machine) hasSpaces(rows []*pb.Keyspace) bool {
	for _, row := range rows {
		s := m.spaceByID(row.Id)
		if s == nil || s.row.Name != row.Name || spaceOf(s.row) != spaceOf(row) ||
			!bytes.Equal(s.row.PermutationKey, row.PermutationKey) {
			return false
		}
	}
	return true
}

// pristine: this cluster has given nothing away. What a leader had in its buffer
// it has released before it proposes a restore.
func (m *Machine) pristine() bool {
	for _, s := range m.spaces {
		if s.row.Used > 0 {
			return false
		}
	}
	links := false
	m.batch.Scan(store.Links, nil, nil, func(_, _ []byte) bool { links = true; return false })
	return !links
}

func find(rows []*pb.Keyspace, id uint32) *pb.Keyspace {
	for _, row := range rows {
		if row.Id == id {
			return row
		}
	}
	return nil
}
