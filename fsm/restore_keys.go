package fsm

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// mergeUsed keeps the backup's rows, as blocked ones, blocks every other position
// below the marks, and keeps what is used above them.
func (r *restoration) mergeUsed() error {
	b := &blocker{r: r}
	for _, s := range r.spaces {
		s.row.Used = 0
	}
	err := r.merge(store.UsedKeys, func(row merged) error {
		used, value := &pb.Used{}, row.backup
		if value == nil {
			value = row.present
		}
		if err := proto.Unmarshal(value, used); err != nil {
			return err
		}
		run := keyspace.Run{From: binary.BigEndian.Uint64(row.key[4:]), To: used.To}
		if err := b.moveTo(binary.BigEndian.Uint32(row.key)); err != nil {
			return err
		}
		if row.backup == nil && run.From < b.space.row.HighWaterMark {
			return nil // blocked with all around it
		}
		if row.backup == nil || used.Purpose != pb.Purpose_ALIAS {
			used.Purpose = pb.Purpose_BLOCKED
		}
		return b.add(run, used)
	})
	if err != nil {
		return err
	}
	if err := b.finish(); err != nil {
		return err
	}
	for _, s := range r.spaces {
		s.told.Burned = s.row.Used - s.backed
	}
	return nil
}

// blocker puts the rows of used_keys and, between them, rows for the positions
// below the high-water mark that are in none.
type blocker struct {
	r     *restoration
	next  int            // key space after space
	space *restoredSpace // nil before the first
	from  uint64         // all below is put
}

// moveTo goes on to a key space, finishing those before it.
func (b *blocker) moveTo(id uint32) error {
	for b.space == nil || b.space.row.Id != id {
		if b.next == len(b.r.spaces) {
			return fmt.Errorf("%w: used keys of key space %d, which there is not", ErrDamaged, id)
		}
		if err := b.blockUpTo(math.MaxUint64); err != nil {
			return err
		}
		b.space, b.from = b.r.spaces[b.next], 0
		b.next++
	}
	return nil
}

func (b *blocker) finish() error {
	for b.next < len(b.r.spaces) {
		if err := b.moveTo(b.r.spaces[b.next].row.Id); err != nil {
			return err
		}
	}
	return b.blockUpTo(math.MaxUint64)
}

// add puts a row after blocking the gap before it.
func (b *blocker) add(run keyspace.Run, used *pb.Used) error {
	if err := b.blockUpTo(run.From); err != nil {
		return err
	}
	b.from = run.To
	b.space.row.Used += run.Len()
	return b.r.putRow(store.UsedKeys, positionKey(b.space.row.Id, run.From), used)
}

func (b *blocker) blockUpTo(pos uint64) error {
	if b.space == nil {
		return nil
	}
	run := keyspace.Run{From: b.from, To: min(pos, b.space.row.HighWaterMark)}
	if run.Len() == 0 {
		return nil
	}
	e := b.r.m.entry
	b.from = run.To
	b.space.row.Used += run.Len()
	return b.r.putRow(store.UsedKeys, positionKey(b.space.row.Id, run.From), &pb.Used{
		To: run.To, Purpose: pb.Purpose_BLOCKED, Node: e.node, Term: e.term, Index: e.index, Time: b.r.m.state.Clock,
	})
}
