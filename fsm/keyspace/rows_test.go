package keyspace

import "github.com/tidwall/btree"

// treeRows is Rows on a B-tree. It counts calls, and holds Set and Table to
// the contract of Delete.
type treeRows[V any] struct {
	tree  btree.Map[uint64, tableRow[V]]
	calls int
}

func (t *treeRows[V]) Floor(pos uint64) (run Run, v V, ok bool) {
	t.calls++
	t.tree.Descend(pos, func(_ uint64, row tableRow[V]) bool {
		run, v, ok = row.Run, row.value, true
		return false
	})
	return run, v, ok
}

func (t *treeRows[V]) Ceil(pos uint64) (run Run, v V, ok bool) {
	t.calls++
	t.tree.Ascend(pos, func(_ uint64, row tableRow[V]) bool {
		run, v, ok = row.Run, row.value, true
		return false
	})
	return run, v, ok
}

func (t *treeRows[V]) Put(r Run, v V) {
	t.calls++
	t.tree.Set(r.From, tableRow[V]{r, v})
}

func (t *treeRows[V]) Delete(from uint64) {
	t.calls++
	if _, ok := t.tree.Delete(from); !ok {
		panic("Delete of a row that does not exist")
	}
}

func (t *treeRows[V]) all() []tableRow[V] { return t.tree.Values() }
