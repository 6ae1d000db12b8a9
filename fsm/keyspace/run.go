package keyspace

// Run is the half-open range of positions [From, To). It is empty, and
// refused by [Set] and [Table], unless From is less than To. The position
// math.MaxUint64 is in no run; a space ends far below it.
type Run struct{ From, To uint64 }

// Len returns the number of positions in r.
func (r Run) Len() uint64 {
	if r.empty() {
		return 0
	}
	return r.To - r.From
}

// Contains reports whether pos is in r.
func (r Run) Contains(pos uint64) bool { return r.From <= pos && pos < r.To }

func (r Run) empty() bool { return r.From >= r.To }

func (r Run) covers(other Run) bool { return r.From <= other.From && other.To <= r.To }
