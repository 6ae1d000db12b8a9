package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// How the rows of each table are keyed:
//
//	meta                "state"                                pb.ClusterState
//	meta                "staged"                               pb.Staged
//	staging             part, 8 bytes                          a part of a backup
//	keyspaces           id, 4 bytes                            pb.Keyspace
//	unused_keys         id, first position, 8 bytes            position after the run, 8 bytes
//	used_keys           id, first position                     pb.Used
//	quarantine          id, time, 8 bytes, first position      position after the run
//	links               key                                    pb.Link
//	link_tags           tag, 0, key                            -
//	link_urls           start of the URL's SHA-256, 8 bytes, key  -
//	link_expiry         time, 8 bytes, key                     -
//	link_visits         key                                    pb.Visits
//	owners              name                                   pb.Owner
//	nodes               node id                                pb.Node
//	tokens              token id                               pb.Token
//	sessions            session, 8 bytes                       pb.Session
//	requests            session, log index, 8 bytes, part       pb.Answers
//	idempotency         key                                    pb.IdempotencyRecord
//	idempotency_expiry  time, 8 bytes, key                     -
//
// Numbers are big-endian, so that the order of rows is the order of numbers.
var stateRow = []byte("state")

type reader = io.Reader

func spaceKey(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }

func positionKey(id uint32, pos uint64) []byte {
	return binary.BigEndian.AppendUint64(spaceKey(id), pos)
}

func quarantineKey(id uint32, until int64, pos uint64) []byte {
	return binary.BigEndian.AppendUint64(positionKey(id, uint64(until)), pos)
}

func timeKey(t int64, rest []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(t)), rest...)
}

func requestKey(session, index uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, session), index)
}

func tagKey(tag, key string) []byte {
	return append(append([]byte(tag), 0), key...)
}

// urlKey finds links by their URL: few bytes, since each link has such a row, and
// of a cryptographic hash, since a flood of collisions would slow findLink down.
func urlKey(url, key string) []byte {
	sum := sha256.Sum256([]byte(url))
	return append(append(make([]byte, 0, urlHash+len(key)), sum[:urlHash]...), key...)
}

const urlHash = 8 // bytes

// scanRows decodes every row of a table, in order.
func scanRows[T any, M interface {
	*T
	proto.Message
}](db *store.DB, t store.Table, fn func(key []byte, row M) error) error {
	var failed error
	err := db.Scan(t, nil, nil, func(key, value []byte) bool {
		row := M(new(T))
		if err := proto.Unmarshal(value, row); err != nil {
			failed = fmt.Errorf("table %s: %w", t, err)
		} else {
			failed = fn(key, row)
		}
		return failed == nil
	})
	if err != nil {
		return err
	}
	return failed
}

// getRow decodes the row into row; false if there is none. A row that does not
// decode is the store's damage and stops the machine.
func (m *Machine) getRow(t store.Table, key []byte, row proto.Message) (bool, error) {
	value, ok := m.batch.Get(t, key)
	if !ok {
		return false, m.batch.Err()
	}
	if err := proto.Unmarshal(value, row); err != nil {
		return false, fmt.Errorf("table %s: %w", t, err)
	}
	return true, nil
}

// unused is the table unused_keys of one key space.
func (m *Machine) unused(s *space) keyspace.Set {
	return keyspace.NewSet(unusedRows{m.batch, s.row.Id})
}

// used is the table used_keys of one key space.
func (m *Machine) used(s *space) keyspace.Table[*pb.Used] {
	return keyspace.NewTable[*pb.Used](usedRows{m, s.row.Id})
}

// expect stops the machine when ok is false: the two key tables contradict each
// other, and going on could hand a key out twice.
func (m *Machine) expect(ok bool, s *space, run keyspace.Run, found string) {
	if !ok && m.damage == nil {
		m.damage = fmt.Errorf("%w: positions %d to %d of %q are %s", ErrDamaged, run.From, run.To-1, s.row.Name, found)
	}
}

// unusedRows backs keyspace.Set by the store.
type unusedRows struct {
	batch *store.Batch
	space uint32
}

func (r unusedRows) Floor(pos uint64) (keyspace.Run, struct{}, bool) {
	return unusedRow(r.batch.Floor(store.UnusedKeys, spaceKey(r.space), positionKey(r.space, pos)))
}

func (r unusedRows) Ceil(pos uint64) (keyspace.Run, struct{}, bool) {
	return unusedRow(r.batch.Ceil(store.UnusedKeys, spaceKey(r.space), positionKey(r.space, pos)))
}

func (r unusedRows) Put(run keyspace.Run, _ struct{}) {
	r.batch.Put(store.UnusedKeys, positionKey(r.space, run.From), binary.BigEndian.AppendUint64(nil, run.To))
}

func (r unusedRows) Delete(from uint64) {
	r.batch.Delete(store.UnusedKeys, positionKey(r.space, from))
}

func unusedRow(key, value []byte, ok bool) (keyspace.Run, struct{}, bool) {
	if !ok {
		return keyspace.Run{}, struct{}{}, false
	}
	return keyspace.Run{From: binary.BigEndian.Uint64(key[4:]), To: binary.BigEndian.Uint64(value)}, struct{}{}, true
}

// usedRows backs keyspace.Table by the store.
type usedRows struct {
	m     *Machine
	space uint32
}

func (r usedRows) Floor(pos uint64) (keyspace.Run, *pb.Used, bool) {
	return usedRow(r.m.batch.Floor(store.UsedKeys, spaceKey(r.space), positionKey(r.space, pos)))
}

func (r usedRows) Ceil(pos uint64) (keyspace.Run, *pb.Used, bool) {
	return usedRow(r.m.batch.Ceil(store.UsedKeys, spaceKey(r.space), positionKey(r.space, pos)))
}

func (r usedRows) Put(run keyspace.Run, used *pb.Used) {
	r.changed(run.From)
	row := proto.CloneOf(used) // the halves of a cut row share their value
	row.To = run.To
	r.m.put(store.UsedKeys, positionKey(r.space, run.From), row)
}

func (r usedRows) Delete(from uint64) {
	r.changed(from)
	r.m.batch.Delete(store.UsedKeys, positionKey(r.space, from))
}

// changed: whatever cuts a row writes or deletes it at its first position.
func (r usedRows) changed(from uint64) {
	if last := &r.m.lastLease; last.space != nil && last.space.row.Id == r.space && last.run.From == from {
		*last = leaseRow{}
	}
}

func usedRow(key, value []byte, ok bool) (keyspace.Run, *pb.Used, bool) {
	if !ok {
		return keyspace.Run{}, nil, false
	}
	row := &pb.Used{}
	if err := proto.Unmarshal(value, row); err != nil {
		// The store checks its blocks; a row that does not decode was written so.
		panic(fmt.Sprintf("used_keys row at %x: %v", key, err))
	}
	return keyspace.Run{From: binary.BigEndian.Uint64(key[4:]), To: row.To}, row, true
}
