package keyspace

// Set is a set of positions without values: the table `unused_keys`.
// Neighbouring runs are merged, so no row ends where the next begins, and
// equal sets have equal rows.
type Set struct{ rows Rows[struct{}] }

// NewSet returns the set in rows, which must be empty or have been written by
// a Set.
func NewSet(rows Rows[struct{}]) Set { return Set{rows} }

// Contains reports whether pos is in the set.
func (s Set) Contains(pos uint64) bool {
	row, _, ok := s.rows.Floor(pos)
	return ok && row.Contains(pos)
}

// Add adds r, merging it with the rows on both sides. It returns false, and
// changes nothing, if r is empty or any position of r is already in the set.
func (s Set) Add(r Run) bool {
	if r.empty() {
		return false
	}
	left, right, free := neighbours(s.rows, r)
	if !free {
		return false
	}
	merged := r
	if !left.empty() && left.To == r.From {
		merged.From = left.From
	}
	if !right.empty() && right.From == r.To {
		merged.To = right.To
		s.rows.Delete(right.From)
	}
	s.rows.Put(merged, struct{}{})
	return true
}

// Take removes the lowest positions: up to n of them, in at most maxRuns runs,
// which it returns in ascending order. It returns fewer than n positions if
// the set, or its first maxRuns rows, hold no more; none if n or maxRuns is 0.
func (s Set) Take(n uint64, maxRuns int) []Run {
	var taken []Run
	var next uint64 // rows below it are gone; do not make the store seek over them again
	for n > 0 && len(taken) < maxRuns {
		row, _, ok := s.rows.Ceil(next)
		if !ok {
			break
		}
		part := row
		if row.Len() > n {
			part.To = row.From + n
		}
		remainder(s.rows, row, part, struct{}{})
		taken = append(taken, part)
		n -= part.Len()
		next = part.To
	}
	return taken
}

// Remove removes r. It returns false, and changes nothing, if r is empty or
// any position of r is not in the set.
func (s Set) Remove(r Run) bool {
	if r.empty() {
		return false
	}
	row, _, ok := s.rows.Floor(r.From)
	if !ok || !row.covers(r) { // merged rows: a covered r lies in one row
		return false
	}
	remainder(s.rows, row, r, struct{}{})
	return true
}
