package keyspace

import (
	"math"
	"slices"

	"pgregory.net/rapid"
)

// model is what Set and Table are compared with: a plain map from position to
// value. The universe is small, so that runs often touch, and lies at either
// end of the uint64 range.
type model[V comparable] struct {
	base  uint64
	cells map[uint64]V
}

const universe = 48

func newModel[V comparable](t *rapid.T) model[V] {
	base := rapid.SampledFrom([]uint64{0, 1_000_000, math.MaxUint64 - universe}).Draw(t, "base")
	return model[V]{base, map[uint64]V{}}
}

func (m model[V]) position(t *rapid.T) uint64 {
	return m.base + rapid.Uint64Range(0, universe).Draw(t, "pos")
}

// run is short as a rule, so that many rows fit; sometimes it is anything,
// empty and backwards included.
func (m model[V]) run(t *rapid.T) Run {
	r := Run{From: m.position(t)}
	if rapid.IntRange(0, 4).Draw(t, "any run if 0") == 0 {
		r.To = m.position(t)
		return r
	}
	end := m.base + universe
	r.To = r.From + min(rapid.Uint64Range(1, 5).Draw(t, "len"), end-r.From)
	return r
}

// rows returns the stretches of neighbouring positions with equal values. A
// correct Set has exactly these rows; so has a Table in which no two inserts
// share a value.
func (m model[V]) rows() []tableRow[V] {
	var rows []tableRow[V]
	for _, pos := range m.sorted() {
		if last := len(rows) - 1; last >= 0 && rows[last].To == pos && rows[last].value == m.cells[pos] {
			rows[last].To++
		} else {
			rows = append(rows, tableRow[V]{Run{pos, pos + 1}, m.cells[pos]})
		}
	}
	return rows
}

func (m model[V]) sorted() []uint64 {
	var positions []uint64
	for pos := range m.cells {
		positions = append(positions, pos)
	}
	slices.Sort(positions)
	return positions
}

// count returns how many positions of r are taken.
func (m model[V]) count(r Run) (n uint64) {
	for pos := range m.cells {
		if r.Contains(pos) {
			n++
		}
	}
	return n
}

func (m model[V]) put(r Run, v V) {
	for pos := r.From; pos < r.To; pos++ {
		m.cells[pos] = v
	}
}

func (m model[V]) remove(r Run) {
	for pos := r.From; pos < r.To; pos++ {
		delete(m.cells, pos)
	}
}

// longRun takes some hundred steps: rapid's thirty leave most tables with two
// or three rows.
func longRun(t *rapid.T, steps map[string]func(*rapid.T)) {
	for range 5 {
		t.Repeat(steps)
	}
}

// checkRows compares all rows, and states the invariants on their own so that
// a mistake in the model does not hide a broken table.
func checkRows[V comparable](t interface{ Fatalf(string, ...any) }, got, want []tableRow[V], merged bool) {
	if !slices.Equal(got, want) {
		t.Fatalf("rows %v, want %v", got, want)
	}
	for i, row := range got {
		if row.From >= row.To {
			t.Fatalf("row %v is empty", row)
		}
		if i == 0 {
			continue
		}
		if before := got[i-1]; row.From < before.To || merged && row.From == before.To {
			t.Fatalf("rows %v and %v overlap or are not merged", before, row)
		}
	}
}

// callsOf returns how many calls f makes on rows.
func callsOf[V any](rows *treeRows[V], f func()) int {
	before := rows.calls
	f()
	return rows.calls - before
}

// expectCalls checks the cost that the package documentation promises.
func expectCalls(t *rapid.T, got, most int) {
	if got > most {
		t.Fatalf("%d calls of Rows, promised at most %d", got, most)
	}
}
