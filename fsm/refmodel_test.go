package fsm

import (
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/fsm/refmodel"
	"github.com/kgs-cluster/kgs/store"
)

// lived is a machine with a row in every table.
func lived(t *testing.T) *driver {
	d := newDriver(t)
	d.ok(cmd(&pb.PutNode{Node: &pb.Node{Id: "n1", DiskId: "d1"}}))
	d.ok(generate(digits, 100))
	leased := d.ok(lease(digits, 20))
	keys := d.keysOf(digits, leased)
	d.ok(returnKeys(d.receiptOf(digits, leased), keys[3], keys[4], keys[9]))
	d.ok(cmd(&pb.CreateLink{Alias: d.key(digits, 200), Link: &pb.Link{Url: "https://a.example", Tags: []string{"x"}}}))
	d.ok(request(idempotent(taken(digits, keys[0]), "once"), 7, 1, 1))
	d.ok(taken(digits, keys[1]))
	d.ok(deleteLink(keys[1]))
	d.ok(createToken("AAAAAAAA", pb.Role_READ, 0))
	d.ok(cmd(&pb.StageBackup{Restore: "r", Data: []byte("a part")}))
	return d
}

// Whatever row is missing, added or changed, Load says so or its model differs.
func TestRefmodelSeesDamage(t *testing.T) {
	whole, err := refmodel.Load(lived(t).m.db)
	check(t, err)
	for table := store.Keyspaces; table <= store.Tokens; table++ {
		t.Run(table.String(), func(t *testing.T) {
			damages := map[string]func(d *driver, b *store.Batch, key, value []byte){
				"lost": func(_ *driver, b *store.Batch, key, _ []byte) { b.Delete(table, key) },
				"moved": func(_ *driver, b *store.Batch, key, value []byte) {
					b.Delete(table, key)
					b.Put(table, append(append([]byte(nil), key[:len(key)-1]...), key[len(key)-1]+1), value)
				},
				"changed": func(d *driver, b *store.Batch, key, value []byte) { b.Put(table, key, changed(d, table, value)) },
			}
			for name, damage := range damages {
				if name == "changed" && (table == store.LinkTags || table == store.IdempotencyExpiry) { // no values
					continue
				}
				d := lived(t)
				key, value := firstRow(d, table)
				b := d.m.db.NewBatch()
				damage(d, b, key, value)
				b.EndEntry(d.index+1, d.term)
				check(t, b.Commit())
				b.Close()
				if seen(d, whole) == nil {
					t.Errorf("%s %x: not seen", name, key)
				}
			}
		})
	}
	check(t, seen(lived(t), whole))
}

// seen is what is wrong with the machine's rows, nil if nothing.
func seen(d *driver, whole *refmodel.Model) error {
	m, err := refmodel.Load(d.m.db)
	if err != nil {
		return err
	}
	return refmodel.Diff(m, whole)
}

func firstRow(d *driver, table store.Table) (key, value []byte) {
	check(d.t, d.m.db.Scan(table, nil, nil, func(k, v []byte) bool {
		key, value = append([]byte(nil), k...), append([]byte(nil), v...)
		return false
	}))
	if key == nil {
		d.t.Fatalf("no row in %s", table)
	}
	return key, value
}

// changed is the value with one number in it changed.
func changed(d *driver, table store.Table, value []byte) []byte {
	rows := map[store.Table]proto.Message{
		store.Keyspaces: &pb.Keyspace{}, store.UsedKeys: &pb.Used{}, store.Links: &pb.Link{}, store.Nodes: &pb.Node{},
		store.Sessions: &pb.Session{}, store.Requests: &pb.Answers{}, store.Idempotency: &pb.IdempotencyRecord{}, store.Meta: &pb.Staged{},
		store.Tokens: &pb.Token{},
	}
	row := rows[table]
	if table == store.Staging {
		return []byte("a bart")
	}
	if row == nil {
		return binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(value)+1)
	}
	check(d.t, proto.Unmarshal(value, row))
	switch row := row.(type) {
	case *pb.Keyspace:
		row.Buffered++
	case *pb.Used:
		row.Term++
	case *pb.Link:
		row.UpdatedAt++
	case *pb.Node:
		row.Removed = true
	case *pb.Session:
		row.Answered++
	case *pb.Answers:
		row.Answers[0].Seq++
	case *pb.IdempotencyRecord:
		row.Seq++
	case *pb.Staged:
		row.Time++
	case *pb.Token:
		row.Role = pb.Role_ADMIN
	}
	encoded, err := proto.Marshal(row)
	check(d.t, err)
	return encoded
}
