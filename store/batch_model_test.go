package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// batchMachine runs a store and a sorted map side by side.
type batchMachine struct {
	fs        vfs.FS
	db        *DB
	b         *Batch // nil between batches
	committed model
	open      model // what the batch must show
	ops       int   // since the last EndEntry
	adds      int
	applied   Applied
	at        Applied // of the open batch
}

var (
	drawTable = rapid.SampledFrom([]Table{Keyspaces, UnusedKeys, Meta})
	drawKey   = rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xff}), 0, 4)
	drawValue = rapid.SliceOfN(rapid.Byte(), 0, 20)
)

func (m *batchMachine) batch() *Batch {
	if m.b == nil {
		m.b, m.open, m.at = m.db.NewBatch(), m.committed.clone(), m.applied
	}
	return m.b
}

func (m *batchMachine) put(t *rapid.T) {
	table, k, v := drawTable.Draw(t, "table"), drawKey.Draw(t, "key"), drawValue.Draw(t, "value")
	m.batch().Put(table, k, v)
	m.open[string(rowKey(nil, table, k))] = string(v)
	m.ops++
}

// add writes a row that was never there, between the others.
func (m *batchMachine) add(t *rapid.T) {
	table, prefix, v := drawTable.Draw(t, "table"), drawKey.Draw(t, "key"), drawValue.Draw(t, "value")
	m.adds++
	k := fmt.Appendf(prefix, "b%d", m.adds)
	m.batch().Add(table, k, v)
	m.open[string(rowKey(nil, table, k))] = string(v)
	m.ops++
	if rapid.Bool().Draw(t, "then") { // a later write of the same row wins
		m.batch().Delete(table, k)
		delete(m.open, string(rowKey(nil, table, k)))
	}
}

func (m *batchMachine) del(t *rapid.T) {
	table, k := drawTable.Draw(t, "table"), drawKey.Draw(t, "key")
	m.batch().Delete(table, k)
	delete(m.open, string(rowKey(nil, table, k)))
	m.ops++
}

func (m *batchMachine) get(t *rapid.T) {
	table, k := drawTable.Draw(t, "table"), drawKey.Draw(t, "key")
	b := m.batch()
	want, wantOK := m.open[string(rowKey(nil, table, k))]
	if has := b.Has(table, k); has != wantOK {
		t.Fatalf("Has %s %q: %v, want %v", table, k, has, wantOK)
	}
	if got, ok := b.Get(table, k); ok != wantOK || string(got) != want {
		t.Fatalf("Get %s %q: %q %v, want %q %v", table, k, got, ok, want, wantOK)
	}
}

func (m *batchMachine) floorAndCeil(t *rapid.T) {
	table, k := drawTable.Draw(t, "table"), drawKey.Draw(t, "key")
	prefix := drawKey.Draw(t, "prefix")
	b := m.batch()
	var floor, ceil string
	for _, row := range m.open.rows(table, nil, nil) {
		if !strings.HasPrefix(row[1:], string(prefix)) {
			continue
		}
		if row[1:] <= string(k) {
			floor = row
		}
		if row[1:] >= string(k) && ceil == "" {
			ceil = row
		}
	}
	gotK, gotV, ok := b.Floor(table, prefix, k)
	m.same(t, "floor", floor, gotK, gotV, ok)
	gotK, gotV, ok = b.Ceil(table, prefix, k)
	m.same(t, "ceil", ceil, gotK, gotV, ok)
}

func (m *batchMachine) same(t *rapid.T, what, want string, k, v []byte, ok bool) {
	if ok != (want != "") || ok && (string(k) != want[1:] || string(v) != m.open[want]) {
		t.Fatalf("%s: got %q %q %v, want %q %q", what, k, v, ok, want, m.open[want])
	}
}

// scan also writes from inside the scan, which must not show in it.
func (m *batchMachine) scan(t *rapid.T) {
	table, from := drawTable.Draw(t, "table"), drawKey.Draw(t, "from")
	var to []byte
	if rapid.Bool().Draw(t, "bounded") {
		to = drawKey.Draw(t, "to")
	}
	writes := rapid.Bool().Draw(t, "writes")
	limit := rapid.IntRange(0, 10).Draw(t, "limit")
	b := m.batch()
	want := m.open.rows(table, from, to)
	want = want[:min(limit+1, len(want))]
	var got []string
	b.Scan(table, from, to, func(k, v []byte) bool {
		row := string(rowKey(nil, table, k))
		got = append(got, row)
		if string(v) != m.open[row] {
			t.Fatalf("scan %q: value %q, want %q", row, v, m.open[row])
		}
		if writes {
			next := append(slices.Clone(k), 'a')
			b.Put(table, next, []byte("new"))
			defer func() { m.open[string(rowKey(nil, table, next))] = "new" }()
			m.ops++
			_ = b.Has(table, next)
		}
		return len(got) <= limit && !writes
	})
	if writes {
		want = want[:min(1, len(want))]
	}
	if !slices.Equal(got, want) {
		t.Fatalf("scan %s [%q,%q): %q, want %q", table, from, to, got, want)
	}
}

func (m *batchMachine) endEntry(t *rapid.T) {
	b := m.batch()
	index := m.at.Index + rapid.Uint64Range(1, 3).Draw(t, "gap")
	b.EndEntry(index, 1)
	m.at, m.ops = b.Applied(), 0
	if m.at.Index != index {
		t.Fatalf("batch at %+v, want %d", m.at, index)
	}
}

func (m *batchMachine) commit(t *rapid.T) {
	b := m.batch()
	if m.ops > 0 {
		m.endEntry(t)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	m.committed, m.applied = m.open, m.at
	b.Close()
	m.b = nil
}

func (m *batchMachine) drop(*rapid.T) {
	m.batch().Close()
	m.b, m.ops = nil, 0
}

func (m *batchMachine) reopen(t *rapid.T) {
	m.drop(t)
	check(t, m.db.Close())
	m.db = openFS(t, m.fs)
}

func (m *batchMachine) flush(t *rapid.T) { check(t, m.db.Flush()) }

func (m *batchMachine) restoreOwn(t *rapid.T) {
	m.drop(t)
	stream := streamOf(t, m.db)
	a, err := m.db.Restore(strings.NewReader(string(stream)))
	check(t, err)
	if a != m.applied {
		t.Fatalf("restored %+v, want %+v", a, m.applied)
	}
}

// check compares the committed state, by Scan and Get of DB and View.
func (m *batchMachine) check(t *rapid.T) {
	if m.db.Applied() != m.applied {
		t.Fatalf("applied %+v, want %+v", m.db.Applied(), m.applied)
	}
	if m.b != nil && m.b.Err() != nil {
		t.Fatal(m.b.Err())
	}
	v := must(m.db.View())
	defer v.Close()
	for _, table := range []Table{Keyspaces, UnusedKeys, UsedKeys, Meta} {
		for _, r := range []interface {
			Scan(Table, []byte, []byte, func(k, v []byte) bool) error
			Get(Table, []byte) ([]byte, bool, error)
		}{m.db, v} {
			var got []string
			check(t, r.Scan(table, nil, nil, func(k, v []byte) bool {
				got = append(got, string(rowKey(nil, table, k)))
				one, ok, err := r.Get(table, k)
				if want := m.committed[got[len(got)-1]]; string(v) != want || string(one) != want || !ok || err != nil {
					t.Fatalf("row %q: scan %q, get %q %v %v, want %q", k, v, one, ok, err, want)
				}
				return true
			}))
			if want := m.committed.rows(table, nil, nil); !slices.Equal(got, want) {
				t.Fatalf("%s: %q, want %q", table, got, want)
			}
		}
	}
}

func TestBatchAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &batchMachine{fs: vfs.NewMem(), committed: model{}}
		m.db = openFS(t, m.fs)
		defer func() {
			m.batch().Close()
			check(t, m.db.Close())
		}()
		t.Repeat(map[string]func(*rapid.T){
			"put": m.put, "add": m.add, "delete": m.del, "get": m.get, "get2": m.get,
			"floor and ceil": m.floorAndCeil, "scan": m.scan, "end entry": m.endEntry,
			"commit": m.commit, "drop": m.drop, "reopen": m.reopen, "flush": m.flush,
			"restore": m.restoreOwn, "": m.check,
		})
	})
}
