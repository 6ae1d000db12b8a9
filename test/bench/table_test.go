package bench

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTable is make bench.
func TestTable(t *testing.T) {
	setting(t, "KGS_BENCH")
	o := options{rounds: 5, seconds: 4, links: 1_000_000}
	o.read(t)
	b := newBench(t, interruptible(t), seconds(o.seconds), o.links)
	result := o.run(b)
	result.print(os.Stdout)
	result.save(t, "bench")
}

// setting skips a test unless it is asked for.
func setting(t *testing.T, name string) {
	if os.Getenv(name) == "" {
		t.Skipf("it takes minutes and loads the machine: set %s, or use make", name)
	}
}

// options of a run, from the environment.
type options struct {
	rounds  int
	seconds float64
	links   int
	only    *regexp.Regexp
}

func (o *options) read(t *testing.T) {
	number := func(name string, least float64, into func(float64)) {
		text := os.Getenv("KGS_BENCH_" + name)
		if text == "" {
			return
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= least && n <= 1e8) {
			t.Fatalf("%s=%s: want a number of at least %g", name, text, least)
		}
		into(n)
	}
	number("ROUNDS", 1, func(n float64) { o.rounds = int(n) })
	number("SECONDS", 0.1, func(n float64) { o.seconds = n })
	number("LINKS", 100, func(n float64) { o.links = int(n) })
	only, err := regexp.Compile(os.Getenv("KGS_BENCH_ONLY"))
	if err != nil {
		t.Fatalf("ONLY: %v", err)
	}
	o.only = only
}

// run measures the cells of the chosen rows in rounds.
func (o options) run(b *bench) *Result {
	result := newResult(o)
	var chosen []row
	needed := map[string]bool{}
	for _, r := range rows {
		if o.only.MatchString(r.id) {
			chosen = append(chosen, r)
			needed[r.kgs], needed[r.rival] = true, true
		}
	}
	if len(chosen) == 0 {
		b.t.Fatalf("ONLY=%s: no such row", o.only)
	}
	taken := newTaken(b)
	for _, c := range cells {
		if needed[c.name] {
			taken.start(c)
		}
	}
	for round := range o.rounds {
		fmt.Printf("round %d of %d\n", round+1, o.rounds)
		taken.round(round)
	}
	for _, r := range chosen {
		result.Rows = append(result.Rows, taken.row(r))
	}
	return result
}

// taken is what was measured.
type taken struct {
	b       *bench
	cells   []cell
	measure map[string]measure
	samples map[string][]sample // by cell, one a round
	skipped map[string]string   // why a cell was not measured
}

func newTaken(b *bench) *taken {
	return &taken{b, nil, map[string]measure{}, map[string][]sample{}, map[string]string{}}
}

func (m *taken) start(c cell) {
	began := time.Now()
	measure, err := c.start(m.b)
	if err != nil {
		m.skip(c, err)
		return
	}
	m.cells = append(m.cells, c)
	m.measure[c.name] = measure
	if took := time.Since(began); took > time.Second {
		fmt.Printf("%-22s prepared in %.1f s\n", c.name, took.Seconds())
	}
}

func (m *taken) skip(c cell, err error) {
	if m.b.ctx.Err() != nil {
		m.b.t.Fatal("broken off")
	}
	m.skipped[c.name] = strings.Join(strings.Fields(err.Error()), " ")
	fmt.Printf("%-22s skipped: %s\n", c.name, m.skipped[c.name])
}

// round measures each cell once, every second time in the opposite order, so
// that who comes after whom does not count. What ends leaders stays last.
func (m *taken) round(n int) {
	order := slices.Clone(m.cells)
	if n%2 == 1 {
		slices.Reverse(order)
		slices.SortStableFunc(order, func(a, b cell) int { return last(a) - last(b) })
	}
	for _, c := range order {
		if m.skipped[c.name] != "" {
			continue
		}
		syscall.Sync() // what others left to be written is not this one's load
		s, err := m.measure[c.name]()
		if err != nil {
			m.skip(c, err)
			continue
		}
		m.samples[c.name] = append(m.samples[c.name], s)
		fmt.Printf("%-22s %s\n", c.name, s)
	}
}

// lastCells are those that others would be disturbed by, in this order.
var lastCells = []string{"kgs/elections", "kgs/kill"}

func last(c cell) int { return slices.Index(lastCells, c.name) }

func (s sample) String() string {
	if v, ok := s[value]; ok {
		return figure(v)
	}
	return fmt.Sprintf("%9s/s  p50 %s ms  p99 %s ms", figure(s[items]), figure(s[p50]), figure(s[p99]))
}

// median of numbers; NaN if there are none.
func median(numbers []float64) float64 {
	if len(numbers) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(numbers))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// row is a row of the table. A ratio is the median of the rounds' ratios: what
// was measured within seconds of each other is compared.
func (m *taken) row(r row) Row {
	result := Row{ID: r.id, What: r.what, Unit: r.unit, Target: r.target, AtMost: r.atMost, Limit: r.limit, Rounds: len(m.samples[r.kgs])}
	for _, c := range cells {
		switch c.name {
		case r.kgs:
			result.Kgs = c.what
		case r.rival:
			result.Rival = c.what
		}
	}
	for _, name := range []string{r.kgs, r.rival} {
		if why := m.skipped[name]; why != "" {
			result.Skipped = why
			return result
		}
	}
	var own, other []float64
	for i, s := range m.samples[r.kgs] {
		own = append(own, s[r.by])
		if r.rival != "" {
			rival := m.samples[r.rival][i][r.by]
			other = append(other, rival)
			result.Ratios = append(result.Ratios, s[r.by]/rival)
		}
	}
	if result.KgsFigure = median(own); r.last {
		result.KgsFigure = own[len(own)-1]
	}
	result.Judged = result.KgsFigure
	if r.rival != "" {
		result.RivalFigure, result.Ratio = median(other), median(result.Ratios)
		result.Judged = result.Ratio
	}
	result.Reached = !r.limit && (r.atMost && result.Judged <= r.target || !r.atMost && result.Judged >= r.target)
	return result
}
