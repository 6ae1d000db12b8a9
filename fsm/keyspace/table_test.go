package keyspace

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTableEqualsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := &treeRows[int]{}
		table, m := NewTable(rows), newModel[int](t)
		var inserts int
		longRun(t, map[string]func(*rapid.T){
			"": func(t *rapid.T) { checkRows(t, rows.all(), m.rows(), false) },
			"Insert": func(t *rapid.T) {
				r := m.run(t)
				inserts++ // the value: no two rows share one, except the parts of a split
				want := r.From < r.To && m.count(r) == 0
				var got bool
				expectCalls(t, callsOf(rows, func() { got = table.Insert(r, inserts) }), 4)
				if got != want {
					t.Fatalf("Insert(%v) = %v, want %v", r, got, want)
				}
				if want {
					m.put(r, inserts)
				}
			},
			"Cut":  func(t *rapid.T) { checkCut(t, table, rows, m) },
			"Gaps": func(t *rapid.T) { checkGaps(t, table, rows, m) },
			"Find": func(t *rapid.T) {
				pos := m.position(t)
				var want tableRow[int]
				for _, row := range m.rows() {
					if row.Contains(pos) {
						want = row
					}
				}
				var got tableRow[int]
				var ok bool
				expectCalls(t, callsOf(rows, func() { got.Run, got.value, ok = table.Find(pos) }), 1)
				if got != want || ok != (want.value != 0) {
					t.Fatalf("Find(%d) = %v, %v, want %v", pos, got, ok, want)
				}
			},
		})
	})
}

func checkCut(t *rapid.T, table Table[int], rows *treeRows[int], m model[int]) {
	r := m.run(t)
	divisor := rapid.IntRange(2, 6).Draw(t, "refuse multiples of")
	accept := func(v int) bool { return v%divisor != 0 }

	want := r.From < r.To && m.count(r) == r.To-r.From
	touched := 0
	for _, row := range m.rows() {
		if row.From < r.To && r.From < row.To {
			touched++
			want = want && accept(row.value)
		}
	}
	var asked []int
	var got bool
	expectCalls(t, callsOf(rows, func() {
		got = table.Cut(r, func(v int) bool { asked = append(asked, v); return accept(v) })
	}), 2*touched+1)
	if got != want {
		t.Fatalf("Cut(%v) = %v, want %v", r, got, want)
	}
	if len(asked) > touched {
		t.Fatalf("Cut(%v) asked about %v: more than the %d rows in it", r, asked, touched)
	}
	if want {
		m.remove(r)
	}
}

func checkGaps(t *rapid.T, table Table[int], rows *treeRows[int], m model[int]) {
	r := m.run(t)
	var want []Run
	for pos := r.From; pos < r.To; pos++ {
		if _, taken := m.cells[pos]; taken {
			continue
		}
		if last := len(want) - 1; last >= 0 && want[last].To == pos {
			want[last].To++
		} else {
			want = append(want, Run{pos, pos + 1})
		}
	}
	touched := 0
	for _, row := range m.rows() {
		if row.From < r.To && r.From < row.To {
			touched++
		}
	}
	var got []Run
	expectCalls(t, callsOf(rows, func() { got = table.Gaps(r) }), touched+2)
	if !slices.Equal(got, want) {
		t.Fatalf("Gaps(%v) = %v, want %v", r, got, want)
	}
}

func TestTableAtTheEnd(t *testing.T) {
	table := NewTable(&treeRows[string]{})
	whole := Run{0, math.MaxUint64}
	if got := table.Gaps(whole); !slices.Equal(got, []Run{whole}) {
		t.Errorf("gaps of an empty table: %v, want %v", got, whole)
	}
	if !table.Insert(whole, "lease") {
		t.Fatal("the longest run was refused")
	}
	if _, _, ok := table.Find(math.MaxUint64); ok {
		t.Error("found the position that no run holds")
	}
	if !table.Cut(Run{5, 6}, func(string) bool { return true }) {
		t.Fatal("Cut was refused")
	}
	if run, v, ok := table.Find(math.MaxUint64 - 1); run != (Run{6, math.MaxUint64}) || v != "lease" || !ok {
		t.Errorf("found %v %q %v, want the right part with the same lease", run, v, ok)
	}
	if got := table.Gaps(whole); !slices.Equal(got, []Run{{5, 6}}) {
		t.Errorf("gaps %v, want [{5 6}]", got)
	}
}

// Rows that touch and even carry equal values stay apart.
func TestTableNeverMerges(t *testing.T) {
	rows := &treeRows[string]{}
	table := NewTable(rows)
	table.Insert(Run{0, 10}, "a")
	table.Insert(Run{20, 30}, "a")
	table.Insert(Run{10, 20}, "a")
	if got := len(rows.all()); got != 3 {
		t.Fatalf("%d rows, want 3: %v", got, rows.all())
	}
	if !table.Cut(Run{5, 25}, func(string) bool { return true }) {
		t.Fatal("Cut across three rows was refused")
	}
	want := []tableRow[string]{{Run{0, 5}, "a"}, {Run{25, 30}, "a"}}
	if got := rows.all(); !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
}
