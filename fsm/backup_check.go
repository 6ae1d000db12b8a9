package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// backupCheck looks at the rows of a backup, in their order: a machine that
// restores them must neither stop nor contradict itself because of one.
type backupCheck struct {
	header *pb.BackupHeader
	spaces []*checkedSpace
	links  uint64
	expire uint64 // of the keys of link_expiry that links should have, less those that are there
}

type checkedSpace struct {
	row         *pb.Keyspace
	size        uint64
	next        uint64 // no row may start below
	used, below uint64 // positions in rows, and of these those below the high-water mark
}

func newBackupCheck(h *pb.BackupHeader) *backupCheck { return &backupCheck{header: h} }

// row checks one row; the error is ErrBackup.
func (c *backupCheck) row(t store.Table, key, value []byte) error {
	var err error
	switch t {
	case store.Keyspaces:
		err = c.keyspace(key, value)
	case store.UsedKeys:
		err = c.usedKeys(key, value)
	case store.Links:
		err = c.link(key, value)
	case store.LinkExpiry:
		c.expire -= rowSum(key)
	case store.LinkVisits:
		err = checkVisits(value)
	case store.LinkTags, store.LinkURLs:
	default:
		err = fmt.Errorf("no table of a backup")
	}
	if err != nil {
		return fmt.Errorf("%w: %s, row %x: %w", ErrBackup, t, key, err)
	}
	return nil
}

func (c *backupCheck) keyspace(key, value []byte) error {
	row := &pb.Keyspace{}
	if err := proto.Unmarshal(value, row); err != nil {
		return err
	}
	s, err := newSpace(row)
	if err != nil {
		return err
	}
	switch size := s.perm.Size(); {
	case string(key) != string(spaceKey(row.Id)) || row.Id >= c.header.NextKeyspace:
		return fmt.Errorf("key space %d is out of place", row.Id)
	case row.HighWaterMark > size:
		return fmt.Errorf("high-water mark %d of %d", row.HighWaterMark, size)
	case !c.follows(row):
		return fmt.Errorf("%q is there, and this is not its next length", row.Name)
	default:
		c.spaces = append(c.spaces, &checkedSpace{row: row, size: size})
		return nil
	}
}

// follows: the row is the first one of its name, or what the last one has grown to.
func (c *backupCheck) follows(row *pb.Keyspace) bool {
	for _, last := range slices.Backward(c.spaces) {
		if last.row.Name == row.Name {
			next := spaceOf(last.row)
			next.Length++
			return last.row.HighWaterMark == last.size && spaceOf(row) == next &&
				bytes.Equal(row.PermutationKey, nextPermutationKey(last.row.PermutationKey))
		}
	}
	return true
}

func (c *backupCheck) usedKeys(key, value []byte) error {
	row := &pb.Used{}
	if err := proto.Unmarshal(value, row); err != nil {
		return err
	}
	if len(key) != len(positionKey(0, 0)) {
		return fmt.Errorf("a key of %d bytes", len(key))
	}
	s := c.space(binary.BigEndian.Uint32(key))
	if s == nil {
		return fmt.Errorf("no such key space")
	}
	run := keyspace.Run{From: binary.BigEndian.Uint64(key[4:]), To: row.To}
	mark := s.row.HighWaterMark
	switch {
	case run.Len() == 0 || run.To > s.size || run.From < s.next:
		return fmt.Errorf("positions %d to %d", run.From, run.To)
	case run.To > mark && run.Len() > 1: // only aliases are used ahead of their generation
		return fmt.Errorf("positions %d to %d are above the high-water mark %d", run.From, run.To, mark)
	}
	s.next = run.To
	s.used += run.Len()
	if run.To <= mark {
		s.below += run.Len()
	}
	return nil
}

func (c *backupCheck) space(id uint32) *checkedSpace {
	for _, s := range c.spaces {
		if s.row.Id == id {
			return s
		}
	}
	return nil
}

func (c *backupCheck) link(key, value []byte) error {
	link := &pb.Link{}
	if err := proto.Unmarshal(value, link); err != nil {
		return err
	}
	if len(key) == 0 {
		return fmt.Errorf("a link without a key")
	}
	if link.DeletedAt == 0 {
		c.links++
		if link.ExpiresAt != 0 {
			c.expire += rowSum(timeKey(link.ExpiresAt, key))
		}
	}
	return nil
}

// rowSum stands for a row where sums of sets of rows are compared.
func rowSum(key []byte) uint64 {
	sum := sha256.Sum256(key)
	return binary.BigEndian.Uint64(sum[:])
}

func checkVisits(value []byte) error {
	row := &pb.Visits{}
	if err := proto.Unmarshal(value, row); err != nil {
		return err
	}
	if len(row.Days) != len(row.Counts) || !slices.IsSorted(row.Days) {
		return fmt.Errorf("%d days with %d counts, or in disorder", len(row.Days), len(row.Counts))
	}
	return nil
}

// end compares the rows with the header.
func (c *backupCheck) end() error {
	if c.links != c.header.Links || len(c.spaces) != len(c.header.Keyspaces) {
		return fmt.Errorf("%w: %d links in %d key spaces, its header says %d in %d",
			ErrBackup, c.links, len(c.spaces), c.header.Links, len(c.header.Keyspaces))
	}
	if c.expire != 0 {
		return fmt.Errorf("%w: %s is not as its links say", ErrBackup, store.LinkExpiry)
	}
	for i, s := range c.spaces {
		told := proto.CloneOf(s.row)
		told.PermutationKey = nil
		if !proto.Equal(told, c.header.Keyspaces[i]) {
			return fmt.Errorf("%w: key space %q is not as its header says", ErrBackup, s.row.Name)
		}
		if s.used != s.row.Used || s.below+s.row.Unused != s.row.HighWaterMark {
			return fmt.Errorf("%w: key space %q has %d used keys, its row says %d", ErrBackup, s.row.Name, s.used, s.row.Used)
		}
	}
	return nil
}
