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
		for _, s := range r.m.spaces {
			r.burn(s.perm.Size(), continued(s.row, find(backup, s.row.Id)), restoreMargin)
		}
		if name := r.floors.unknown(r.rows()); name != "" {
			r.refused = noSuchFloor(name)
		}
	case r.floors.missing(backup) != nil || r.floors.unknown(backup) != "":
		r.refused = r.floors.refusal(r.backup.header, own)
	case !r.m.pristine():
		r.refused = refuse(pb.Code_RESTORE_REFUSED, "it has the key spaces of cluster %s, but this cluster has issued keys of its own; form a new cluster for it", r.backup.header.ClusterId)
	default:
		for _, row := range backup {
			s, err := newSpace(row)
			if err != nil { // checked before
				r.refused = refuse(pb.Code_INVALID, "%v", err)
				return
			}
			r.burn(s.perm.Size(), adopted(row), adoptMargin)
		}
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

// burn adds a key space whose row has the mark that is known of.
func (r *restoration) burn(size uint64, row *pb.Keyspace, margin uint64) {
	known := row.HighWaterMark
	floor, _ := r.floors.Of(row.Name)
	if refused := r.floors.beyond(row.Name, size); refused != nil {
		r.refused = refused
		return
	}
	row.HighWaterMark = max(known+min(margin, size/marginShare, size-known), floor)
	row.Unused, row.Used, row.Returned, row.LeasedTo = 0, 0, 0, row.HighWaterMark
	told := &pb.RestoredKeyspace{
		Name: row.Name, HighWaterMark: row.HighWaterMark,
		Margin: row.HighWaterMark - known, Left: size - row.HighWaterMark,
	}
	r.spaces = append(r.spaces, &restoredSpace{row: row, told: told})
	r.result.Keyspaces = append(r.result.Keyspaces, told)
}

// rows are those of the key spaces as they will be.
func (r *restoration) rows() (rows []*pb.Keyspace) {
	for _, s := range r.spaces {
		rows = append(rows, s.row)
	}
	return rows
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
