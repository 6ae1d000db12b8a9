package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// count is one line of a breakdown.
type count struct {
	Name  string
	N     int
	Share float64 // of the largest, in percent
}

// counts are the largest first.
func counts(all map[string]int) []count {
	var list []count
	most := 0
	for name, n := range all {
		list = append(list, count{Name: name, N: n})
		most = max(most, n)
	}
	slices.SortFunc(list, func(a, b count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	for i := range list {
		list[i].Share = 100 * float64(list[i].N) / float64(max(most, 1))
	}
	return list
}

func total(all map[string]int) int {
	n := 0
	for _, k := range all {
		n += k
	}
	return n
}

// spread is how times are distributed, in milliseconds.
type spread struct {
	What             string
	N                int
	Median, P99, Max float64
	times            []float64
}

func newSpread(what string, times []float64) spread {
	sorted := slices.Sorted(slices.Values(times))
	s := spread{What: what, N: len(sorted), times: sorted}
	if s.N > 0 {
		s.Median, s.P99, s.Max = quantile(sorted, 0.5), quantile(sorted, 0.99), sorted[s.N-1]
	}
	return s
}

// quantile is the smallest value that at least this part of all do not exceed.
func quantile(sorted []float64, part float64) float64 {
	return sorted[max(0, int(math.Ceil(part*float64(len(sorted))))-1)]
}

// spreads are the times that a run measured.
func spreads(r Run) []spread {
	var all []spread
	add := func(what string, times []float64) {
		if len(times) > 0 {
			all = append(all, newSpread(what, times))
		}
	}
	add("from a leader's death to the first answered write", r.Recoveries)
	add("from the begin of a graceful transfer to the first answered write", r.Transfers)
	for _, what := range slices.Sorted(maps.Keys(r.Healing)) {
		add("from the end of a fault until well again: "+what, r.Healing[what])
	}
	return all
}

// bound is the rule of three: after n trials without a failure, the 95 percent
// upper bound of the chance of one, in percent.
func bound(n int) string {
	if n < 3 {
		return "100"
	}
	return strconv.FormatFloat(300/float64(n), 'g', 2, 64)
}

// number groups digits.
func number[T int | uint64](n T) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// ms is a time to read: three figures.
func ms(t float64) string {
	if t >= 1000 {
		return strconv.FormatFloat(t/1000, 'f', 2, 64) + " s"
	}
	return strconv.FormatFloat(t, 'f', map[bool]int{true: 0, false: 1}[t >= 100], 64) + " ms"
}

// length is a duration to read.
func length(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
}

// ranges writes seeds short: 0-47, 99.
func ranges(seeds []uint64) string {
	sorted := slices.Compact(slices.Sorted(slices.Values(seeds)))
	var parts []string
	for from := 0; from < len(sorted); {
		to := from
		for to+1 < len(sorted) && sorted[to+1] == sorted[to]+1 {
			to++
		}
		part := fmt.Sprint(sorted[from])
		if to > from {
			part += "–" + fmt.Sprint(sorted[to])
		}
		parts, from = append(parts, part), to+1
	}
	if len(parts) > 12 {
		parts = append(parts[:12], fmt.Sprintf("… (%d in all)", len(sorted)))
	}
	return strings.Join(parts, ", ")
}
