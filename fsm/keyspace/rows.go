package keyspace

// Rows is the ordered storage of one table: disjoint, non-empty runs, each
// with a value, ordered by From. The consumer of this package supplies it.
//
// Each call must cost O(log rows). A call sees the writes before it, so a
// store's batch must be readable. Calls are never concurrent. There is no
// error result, as a replica that cannot read its own state cannot go on: an
// implementation whose storage fails keeps the first error, answers false from
// then on, and its owner discards the batch.
type Rows[V any] interface {
	// Floor returns the row with the greatest From <= pos.
	Floor(pos uint64) (Run, V, bool)
	// Ceil returns the row with the smallest From >= pos.
	Ceil(pos uint64) (Run, V, bool)
	// Put inserts the row, or replaces the row that starts at Run.From.
	Put(Run, V)
	// Delete removes the row that starts at from. There always is one.
	Delete(from uint64)
}

// neighbours returns the rows to the left and to the right of r, which is not
// empty; a missing one is the empty Run. It returns false if any row shares a
// position with r.
func neighbours[V any](rows Rows[V], r Run) (left, right Run, free bool) {
	if row, _, ok := rows.Ceil(r.From); ok {
		right = row
	}
	if row, _, ok := rows.Floor(r.From); ok {
		left = row
	}
	free = (left.empty() || left.To <= r.From) && (right.empty() || right.From >= r.To)
	return left, right, free
}

// remainder writes back what is left of row after r, a part of it, was taken
// out: nothing, one row or two.
func remainder[V any](rows Rows[V], row, r Run, v V) {
	if row.From < r.From {
		rows.Put(Run{row.From, r.From}, v) // replaces row
	} else {
		rows.Delete(row.From)
	}
	if r.To < row.To {
		rows.Put(Run{r.To, row.To}, v)
	}
}
