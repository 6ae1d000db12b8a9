package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// restoration makes the rows of the new state out of those of the batch and those
// of the staged backup, both read in the order of their keys. It runs twice: the
// first run checks the backup, decides and counts, the second one writes.
type restoration struct {
	m      *Machine
	floors Floors
	grow   bool
	put    func(t store.Table, key, value []byte) error

	nextKeyspace uint32 // id

	spaces  []*restoredSpace // by id; nil until the plan is made
	owners  map[string]uint64
	result  *pb.Restored
	refused *pb.Result

	backup *backupReader
	check  *backupCheck // of the first run
	row    backupRow    // the reader's present row
}

type backupRow struct {
	table      store.Table // 0: there is no more
	key, value []byte
}

func (r *restoration) run(put func(t store.Table, key, value []byte) error) (err error) {
	r.put = put
	if r.backup, err = openBackup(&stagedReader{m: r.m}); err != nil {
		return err
	}
	first := r.spaces == nil
	if r.check = nil; first {
		r.check = newBackupCheck(r.backup.header)
	}
	steps := []func() error{
		r.advance, func() error { return r.mergeKeyspaces(first) }, r.mergeUsed, r.mergeLinks, func() error { return r.copy(store.LinkTags) },
		func() error {
			return r.keep(store.Nodes, store.Sessions, store.Requests, store.Idempotency, store.IdempotencyExpiry)
		},
		r.putState, func() error { return r.keep(store.Tokens) },
		func() error { return r.copy(store.LinkURLs) }, func() error { return r.copy(store.LinkExpiry) },
		func() error { return r.copy(store.LinkVisits) }, r.ended, r.putOwners,
	}
	for _, step := range steps {
		if err := step(); err != nil || r.refused != nil {
			return err
		}
	}
	return nil
}

// advance reads the backup's next row.
func (r *restoration) advance() (err error) {
	r.row.table, r.row.key, r.row.value, err = r.backup.next()
	switch {
	case err == io.EOF && r.check != nil:
		return r.check.end()
	case err == io.EOF:
		return nil
	case err == nil && r.check != nil:
		return r.check.row(r.row.table, r.row.key, r.row.value)
	}
	return err
}

func (r *restoration) ended() error {
	if r.row.table != 0 {
		return fmt.Errorf("%w: a row of %s out of place", ErrBackup, r.row.table)
	}
	return nil
}

// putRow puts a row that is encoded here.
func (r *restoration) putRow(t store.Table, key []byte, row proto.Message) error {
	value, err := marshal.Marshal(row)
	if err != nil {
		return err
	}
	return r.put(t, key, value)
}

// mergeKeyspaces makes the plan, the first time, and puts its key spaces. What
// they count is known after the first run.
func (r *restoration) mergeKeyspaces(first bool) error {
	var backup []*pb.Keyspace
	for r.row.table == store.Keyspaces {
		row := &pb.Keyspace{}
		if err := proto.Unmarshal(r.row.value, row); err != nil {
			return err
		}
		backup = append(backup, row)
		if err := r.advance(); err != nil {
			return err
		}
	}
	if first {
		if r.plan(backup); r.refused != nil {
			return nil
		}
	}
	for _, s := range r.spaces {
		if err := r.putRow(store.Keyspaces, spaceKey(s.row.Id), s.row); err != nil {
			return err
		}
		if first {
			s.backed = find(backup, s.row.Id).GetUsed()
		}
	}
	return nil
}

// merged is a row that is in the backup, in the batch, or in both; nil where it
// is not. Its slices are valid until the next one.
type merged struct{ key, backup, present []byte }

// merge visits the rows of a table from both sides in the order of their keys.
func (r *restoration) merge(t store.Table, visit func(row merged) error) error {
	var failed error
	backupUpTo := func(key []byte) { // those below key; nil: all that are left
		for failed == nil && r.row.table == t && (key == nil || bytes.Compare(r.row.key, key) < 0) {
			failed = visit(merged{key: r.row.key, backup: r.row.value})
			if failed == nil {
				failed = r.advance()
			}
		}
	}
	r.m.batch.Scan(t, nil, nil, func(key, value []byte) bool {
		if backupUpTo(key); failed != nil {
			return false
		}
		row := merged{key: key, present: value}
		both := r.row.table == t && bytes.Equal(r.row.key, key)
		if both {
			row.backup = r.row.value
		}
		if failed = visit(row); failed == nil && both {
			failed = r.advance()
		}
		return failed == nil
	})
	backupUpTo(nil)
	return errors.Join(failed, r.m.batch.Err())
}

// mergeLinks takes the backup's links and makes tombstones of the others.
func (r *restoration) mergeLinks() error {
	r.result.Links, r.result.LinksLost, r.owners = 0, 0, map[string]uint64{}
	return r.merge(store.Links, func(row merged) error {
		backup, present := &pb.Link{DeletedAt: 1}, &pb.Link{DeletedAt: 1}
		if err := errors.Join(proto.Unmarshal(row.backup, backup), proto.Unmarshal(row.present, present)); err != nil {
			return err
		}
		live := row.backup != nil && backup.DeletedAt == 0
		lost := row.present != nil && present.DeletedAt == 0 && !live
		if live {
			r.result.Links++
			r.owners[backup.Owner]++
		}
		if lost {
			r.result.LinksLost++
		}
		switch {
		case row.backup != nil:
			return r.put(store.Links, row.key, row.backup)
		case lost:
			return r.putRow(store.Links, row.key, r.m.tombstone(present))
		}
		return r.put(store.Links, row.key, row.present)
	})
}

// copy puts the backup's rows of a table.
func (r *restoration) copy(t store.Table) error {
	for r.row.table == t {
		if err := errors.Join(r.put(t, r.row.key, r.row.value), r.advance()); err != nil {
			return err
		}
	}
	return nil
}

// putOwners puts how many of the links that there are now each owner has.
func (r *restoration) putOwners() error {
	for _, owner := range slices.Sorted(maps.Keys(r.owners)) {
		if owner != "" {
			if err := r.putRow(store.Owners, []byte(owner), &pb.Owner{Links: r.owners[owner]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep puts the tables as they are.
func (r *restoration) keep(tables ...store.Table) error {
	var err error
	for _, t := range tables {
		r.m.batch.Scan(t, nil, nil, func(key, value []byte) bool {
			err = r.put(t, key, value)
			return err == nil
		})
	}
	return errors.Join(err, r.m.batch.Err())
}

func (r *restoration) putState() error {
	state, h := proto.CloneOf(r.m.state), r.backup.header
	state.Clock = max(state.Clock, h.Clock)
	state.NextLease = max(state.NextLease, h.NextLease)
	state.NextKeyspace = r.nextKeyspace
	state.Links = r.result.Links
	if inUse(state) >= 2 {
		state.UrlsIndexed, state.IndexUrlsFrom = h.UrlsIndexed || h.Version < 2, h.IndexUrlsFrom
	}
	return r.putRow(store.Meta, stateRow, state)
}
