package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// baselineFile has the ratios that are defended.
const baselineFile = "test/bench/baseline.json"

// tolerance is the loss that is not noise: more than a fifth.
const tolerance = 0.20

// baseline is a short run, committed.
type baseline struct {
	Time    string             `json:"time"`
	Version string             `json:"version"`
	CPU     string             `json:"cpu"`
	Cores   int                `json:"cores"`
	Ratios  map[string]float64 `json:"ratios"` // by row
}

// TestCheck is make bench-check: the ratios of a short run, never its times,
// against the baseline. What has become worse is measured again before it
// counts: a neighbour on the machine may have been at work. With
// KGS_BENCH_UPDATE the run becomes the baseline.
func TestCheck(t *testing.T) {
	setting(t, "KGS_BENCH_CHECK")
	o := options{rounds: 5, seconds: 1, links: 100_000}
	o.read(t)
	update := os.Getenv("KGS_BENCH_UPDATE") != ""
	base := readBaseline(t, update)
	o.only = guarded(t, o, base, update)
	ctx := interruptible(t)
	measure := func(name string, o options) (result *Result) { // with servers of its own
		t.Run(name, func(t *testing.T) { result = o.run(newBench(t, ctx, seconds(o.seconds), o.links)) })
		if result == nil {
			t.FailNow()
		}
		return result
	}
	result := measure("once", o)
	if update {
		writeBaseline(t, result)
		return
	}
	losses := compare(base, result.Rows)
	if worse := losers(losses); len(worse) > 0 {
		fmt.Printf("\nonce more, with twice the rounds: %s\n", strings.Join(worse, ", "))
		again := o
		again.rounds, again.only = 2*o.rounds, rowsPattern(worse)
		for _, second := range compare(base, measure("again", again).Rows) {
			i := slices.IndexFunc(losses, func(l loss) bool { return l.id == second.id })
			losses[i] = second
		}
	}
	printLosses(os.Stdout, losses)
	if worse := losers(losses); len(worse) > 0 {
		t.Errorf("worse than the baseline by more than %.0f percent: %s", 100*tolerance, strings.Join(worse, ", "))
	}
}

func readBaseline(t *testing.T, update bool) baseline {
	var base baseline
	data, err := os.ReadFile(baselineFile)
	if err == nil {
		err = json.Unmarshal(data, &base)
	}
	if err != nil && !update {
		t.Fatal(err)
	}
	return base
}

// guarded chooses the rows that have a rival and repeat well, and a baseline
// unless it is to be made.
func guarded(t *testing.T, o options, base baseline, update bool) *regexp.Regexp {
	var ids []string
	for _, r := range rows {
		if _, known := base.Ratios[r.id]; r.rival != "" && !r.noisy && o.only.MatchString(r.id) && (known || update) {
			ids = append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		t.Fatalf("ONLY=%s: no row with a ratio", o.only)
	}
	return rowsPattern(ids)
}

func rowsPattern(ids []string) *regexp.Regexp {
	return regexp.MustCompile("^(" + strings.Join(ids, "|") + ")$")
}

func writeBaseline(t *testing.T, result *Result) {
	base := baseline{result.Time.Format("2006-01-02"), result.Version, result.Machine.CPU, result.Machine.Cores, map[string]float64{}}
	for _, row := range result.Rows {
		if row.Skipped == "" {
			base.Ratios[row.ID] = float64(int(row.Ratio*1000+0.5)) / 1000
		}
	}
	data, err := json.MarshalIndent(base, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(baselineFile, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	result.print(os.Stdout)
	fmt.Printf("\n%s is written anew\n", baselineFile)
}

// loss is how a row stands against the baseline.
type loss struct {
	id, what    string
	base, ratio float64
	change      float64 // of how good it is: -0.25 is a quarter worse
	skipped     string
}

func compare(base baseline, rows []Row) []loss {
	var losses []loss
	for _, row := range rows {
		l := loss{id: row.ID, what: row.What, base: base.Ratios[row.ID], ratio: row.Ratio, skipped: row.Skipped}
		if l.skipped == "" {
			if l.change = l.ratio/l.base - 1; row.AtMost {
				l.change = l.base/l.ratio - 1
			}
		}
		losses = append(losses, l)
	}
	return losses
}

func losers(losses []loss) []string {
	var ids []string
	for _, l := range losses {
		if l.change < -tolerance {
			ids = append(ids, l.id)
		}
	}
	return ids
}

func printLosses(w io.Writer, losses []loss) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nROW\tWHAT\tBASELINE\tNOW\tCHANGE\t")
	for _, l := range losses {
		verdict := ""
		switch {
		case l.skipped != "":
			fmt.Fprintf(t, "%s\t%s\t%s\t-\t-\tskipped: %s\n", l.id, l.what, figure(l.base), l.skipped)
			continue
		case l.change < -tolerance:
			verdict = "WORSE"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%+.0f %%\t%s\n", l.id, l.what, figure(l.base), figure(l.ratio), 100*l.change, verdict)
	}
	t.Flush()
}

// TestCompare: ratios are compared in the direction in which they are better.
func TestCompare(t *testing.T) {
	base := baseline{Ratios: map[string]float64{"rate": 2, "time": 0.5, "gone": 1}}
	losses := compare(base, []Row{
		{ID: "rate", Ratio: 1.5}, {ID: "time", Ratio: 0.7, AtMost: true}, {ID: "gone", Skipped: "not here"},
	})
	if got := losers(losses); !slices.Equal(got, []string{"rate", "time"}) {
		t.Errorf("worse: %v", got)
	}
	better := compare(base, []Row{{ID: "rate", Ratio: 1.7}, {ID: "time", Ratio: 0.6, AtMost: true}, {ID: "rate", Ratio: 9}})
	if got := losers(better); len(got) > 0 {
		t.Errorf("worse: %v", got)
	}
}
