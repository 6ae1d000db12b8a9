package keyspace

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSetEqualsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := &treeRows[struct{}]{}
		set, m := NewSet(rows), newModel[struct{}](t)
		longRun(t, map[string]func(*rapid.T){
			"": func(t *rapid.T) { checkRows(t, rows.all(), m.rows(), true) },
			"Add": func(t *rapid.T) {
				r := m.run(t)
				want := r.From < r.To && m.count(r) == 0
				var got bool
				expectCalls(t, callsOf(rows, func() { got = set.Add(r) }), 4)
				if got != want {
					t.Fatalf("Add(%v) = %v, want %v", r, got, want)
				}
				if want {
					m.put(r, struct{}{})
				}
			},
			"Remove": func(t *rapid.T) {
				r := m.run(t)
				want := r.From < r.To && m.count(r) == r.To-r.From
				var got bool
				expectCalls(t, callsOf(rows, func() { got = set.Remove(r) }), 3)
				if got != want {
					t.Fatalf("Remove(%v) = %v, want %v", r, got, want)
				}
				if want {
					m.remove(r)
				}
			},
			"Take": func(t *rapid.T) {
				n := rapid.Uint64Range(0, 8).Draw(t, "n")
				maxRuns := rapid.IntRange(-1, 4).Draw(t, "maxRuns")
				want := takeFromModel(m, n, maxRuns)
				var got []Run
				expectCalls(t, callsOf(rows, func() { got = set.Take(n, maxRuns) }), 2*len(want)+1)
				if !slices.Equal(got, want) {
					t.Fatalf("Take(%d, %d) = %v, want %v", n, maxRuns, got, want)
				}
			},
			"Contains": func(t *rapid.T) {
				pos := m.position(t)
				_, want := m.cells[pos]
				var got bool
				expectCalls(t, callsOf(rows, func() { got = set.Contains(pos) }), 1)
				if got != want {
					t.Fatalf("Contains(%d) = %v, want %v", pos, got, want)
				}
			},
		})
	})
}

func takeFromModel(m model[struct{}], n uint64, maxRuns int) []Run {
	var taken []Run
	for _, row := range m.rows() {
		if n == 0 || len(taken) >= maxRuns {
			break
		}
		r := row.Run
		if n < r.To-r.From {
			r.To = r.From + n
		}
		n -= r.To - r.From
		taken = append(taken, r)
		m.remove(r)
	}
	return taken
}

func TestSetTakesEverything(t *testing.T) {
	set := NewSet(&treeRows[struct{}]{})
	whole := Run{0, math.MaxUint64}
	if !set.Add(whole) {
		t.Fatal("the longest run was refused")
	}
	if set.Contains(math.MaxUint64) || !set.Contains(math.MaxUint64-1) || !set.Contains(0) {
		t.Error("wrong positions at the ends")
	}
	if got := set.Take(math.MaxUint64, math.MaxInt); !slices.Equal(got, []Run{whole}) {
		t.Errorf("took %v, want %v", got, whole)
	}
	if got := set.Take(1, 1); got != nil {
		t.Errorf("took %v from an empty set", got)
	}
}

func TestRun(t *testing.T) {
	for _, test := range []struct {
		run Run
		len uint64
		in  []uint64
		out []uint64
	}{
		{Run{3, 6}, 3, []uint64{3, 4, 5}, []uint64{0, 2, 6, math.MaxUint64}},
		{Run{0, 0}, 0, nil, []uint64{0, 1}},
		{Run{7, 3}, 0, nil, []uint64{3, 5, 7}},
		{Run{0, math.MaxUint64}, math.MaxUint64, []uint64{0, math.MaxUint64 - 1}, []uint64{math.MaxUint64}},
	} {
		if got := test.run.Len(); got != test.len {
			t.Errorf("%v: length %d, want %d", test.run, got, test.len)
		}
		for _, pos := range test.in {
			if !test.run.Contains(pos) {
				t.Errorf("%v does not contain %d", test.run, pos)
			}
		}
		for _, pos := range test.out {
			if test.run.Contains(pos) {
				t.Errorf("%v contains %d", test.run, pos)
			}
		}
	}
}
