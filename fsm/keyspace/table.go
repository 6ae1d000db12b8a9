package keyspace

// Table is a table of disjoint runs with values: `used_keys`, where the value
// is the lease. Runs are never merged, because each keeps its own lease.
type Table[V any] struct{ rows Rows[V] }

// NewTable returns the table in rows, which must be empty or have been written
// by a Table.
func NewTable[V any](rows Rows[V]) Table[V] { return Table[V]{rows} }

// Find returns the row that holds pos.
func (t Table[V]) Find(pos uint64) (Run, V, bool) {
	row, v, ok := t.rows.Floor(pos)
	if !ok || !row.Contains(pos) {
		var none V
		return Run{}, none, false
	}
	return row, v, true
}

// Insert adds the row r with value v. It returns false, and changes nothing,
// if r is empty or overlaps a row.
func (t Table[V]) Insert(r Run, v V) bool {
	if r.empty() {
		return false
	}
	if _, _, free := neighbours(t.rows, r); !free {
		return false
	}
	t.rows.Put(r, v)
	return true
}

// Cut removes r, which may span several rows. Rows that stick out on either
// side are shortened, or split in two that share the value. It returns false,
// and changes nothing, if r is empty or any position of r is in no row or in
// one whose value ok refuses. ok is called at most once per row, in ascending
// order, before anything is changed.
func (t Table[V]) Cut(r Run, ok func(V) bool) bool {
	rows, covered := t.covering(r, ok)
	if !covered {
		return false
	}
	for _, row := range rows {
		part := Run{max(row.From, r.From), min(row.To, r.To)}
		remainder(t.rows, row.Run, part, row.value)
	}
	return true
}

type tableRow[V any] struct {
	Run
	value V
}

// covering returns the rows that together cover r, if they do and ok accepts
// every one of them.
func (t Table[V]) covering(r Run, ok func(V) bool) ([]tableRow[V], bool) {
	var rows []tableRow[V]
	for next := r.From; next < r.To; {
		row, v, found := t.Find(next)
		if !found || !ok(v) {
			return nil, false
		}
		rows = append(rows, tableRow[V]{row, v})
		next = row.To
	}
	return rows, len(rows) > 0
}

// Gaps returns the parts of r that no row covers, in ascending order. A new
// run is generated into these, around the positions claimed earlier.
func (t Table[V]) Gaps(r Run) []Run {
	var gaps []Run
	next := r.From // everything in r below it is covered or in gaps
	if row, _, ok := t.Find(next); ok {
		next = row.To
	}
	for next < r.To {
		row, _, ok := t.rows.Ceil(next)
		if !ok || row.From >= r.To {
			return append(gaps, Run{next, r.To})
		}
		if next < row.From {
			gaps = append(gaps, Run{next, row.From})
		}
		next = row.To
	}
	return gaps
}
