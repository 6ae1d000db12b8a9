package oracle

import (
	"fmt"
	"math"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/store"
)

// Conserved sees that no key of a machine has vanished and none is in two places:
// the runs of the two key tables lie side by side from position 0 to the high-water
// mark, above it there are only used ones, and their sums are the counters. At most
// lostBound keys of each key space may be lost: what the buffers of the leaders
// that died could hold (P7). Nothing must be applied meanwhile.
func Conserved(m *fsm.Machine, lostBound uint64) []Violation {
	rows, err := m.Keyspaces()
	if err != nil {
		return []Violation{{"conservation", err.Error()}}
	}
	var found []Violation
	for _, row := range rows {
		report := func(format string, args ...any) {
			found = append(found, Violation{"conservation", row.Name + ": " + fmt.Sprintf(format, args...)})
		}
		unused, err1 := m.KeyRows(store.UnusedKeys, row.Id, 0, math.MaxInt)
		used, err2 := m.KeyRows(store.UsedKeys, row.Id, 0, math.MaxInt)
		if err1 != nil || err2 != nil {
			report("%v, %v", err1, err2)
			continue
		}
		unusedKeys, usedKeys := sum(unused), sum(used)
		if row.Unused != unusedKeys || row.Used != usedKeys {
			report("unused_keys holds %d and used_keys %d, the counters say %d and %d", unusedKeys, usedKeys, row.Unused, row.Used)
		}
		next := uint64(0)
		for len(unused)+len(used) > 0 {
			table := &used
			if len(used) == 0 || len(unused) > 0 && unused[0].From < used[0].From {
				table = &unused
			}
			run := (*table)[0]
			*table = (*table)[1:]
			if run.From < next || run.From > next && next < row.HighWaterMark || table == &unused && run.To > row.HighWaterMark {
				report("the rows up to %d are followed by %d to %d; generated are %d", next, run.From, run.To, row.HighWaterMark)
				break
			}
			next = run.To
		}
		if next < row.HighWaterMark {
			report("the rows end at %d, generated are %d", next, row.HighWaterMark)
		}
		if row.Lost > lostBound || row.Lost+row.Buffered > usedKeys {
			report("%d lost and %d in the buffer, of %d used; the buffers of the dead held at most %d", row.Lost, row.Buffered, usedKeys, lostBound)
		}
	}
	return found
}

func sum(rows []fsm.KeyRow) (n uint64) {
	for _, r := range rows {
		n += r.Len()
	}
	return n
}
