package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// Result is what a run found, as it is saved.
type Result struct {
	Time    time.Time `json:"time"`
	Version string    `json:"version"` // of the repository
	Machine Machine   `json:"machine"`
	Rounds  int       `json:"rounds"`
	Seconds float64   `json:"seconds"` // of one measurement
	Links   int       `json:"links"`
	Rows    []Row     `json:"rows,omitempty"`
	Curves  []Curve   `json:"curves,omitempty"`
}

// Machine is where it ran.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	OS    string `json:"os"`
	Go    string `json:"go"`
}

// Row is one comparison.
type Row struct {
	ID          string    `json:"id"`
	What        string    `json:"what"`
	Kgs         string    `json:"kgs"`
	Rival       string    `json:"rival,omitempty"`
	Unit        string    `json:"unit"`
	KgsFigure   float64   `json:"kgs_figure"`             // median of the rounds
	RivalFigure float64   `json:"rival_figure,omitempty"` // the same
	Ratio       float64   `json:"ratio,omitempty"`        // median of the rounds' ratios
	Ratios      []float64 `json:"ratios,omitempty"`
	Rounds      int       `json:"rounds"`
	Target      float64   `json:"target,omitempty"` // of the ratio, or of the figure without a rival
	AtMost      bool      `json:"at_most,omitempty"`
	Limit       bool      `json:"limit,omitempty"` // no target
	Judged      float64   `json:"judged"`          // what the target is compared with
	Reached     bool      `json:"reached"`
	Skipped     string    `json:"skipped,omitempty"` // why there are no figures
}

func newResult(o options) *Result {
	version, _ := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output() // "" outside a clone
	return &Result{
		Time: time.Now().UTC().Truncate(time.Second), Version: strings.TrimSpace(string(version)),
		Machine: Machine{cpu(), runtime.NumCPU(), runtime.GOOS + "/" + runtime.GOARCH, runtime.Version()},
		Rounds:  o.rounds, Seconds: o.seconds, Links: o.links,
	}
}

func cpu() string {
	info, _ := os.ReadFile("/proc/cpuinfo") // "" elsewhere
	_, rest, _ := strings.Cut(string(info), "model name")
	name, _, _ := strings.Cut(rest, "\n")
	return strings.TrimLeft(name, " \t:")
}

// print is the table for people.
func (r *Result) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s, kgs %s, %d cores (%s), %s: medians of %d rounds of %g s, %s links\n\n",
		r.Time.Format("2006-01-02 15:04"), r.Version, r.Machine.Cores, r.Machine.CPU, r.Machine.Go, r.Rounds, r.Seconds, figure(float64(r.Links)))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ROW\tWHAT\tKGS\tAGAINST\tFIGURE\tUNIT\tRATIO\tTARGET\t")
	for _, row := range r.Rows {
		against, verdict := row.Rival, row.Verdict()
		if row.Skipped != "" {
			against = ""
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.ID, row.What, row.figure(row.KgsFigure), or(against, "-"),
			row.figure(row.RivalFigure), row.Unit, or(row.RatioText(), "-"), or(row.TargetText(), "-"), verdict)
	}
	t.Flush()
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// figure is a number of the row; nothing without one.
func (r Row) figure(n float64) string {
	if r.Skipped != "" || n == 0 && r.Unit != "elections" {
		return "-"
	}
	return figure(n)
}

// RatioText is the ratio to read.
func (r Row) RatioText() string {
	if r.Ratio == 0 {
		return ""
	}
	return figure(r.Ratio)
}

// TargetText is what should be reached.
func (r Row) TargetText() string {
	if r.Limit {
		return ""
	}
	sign, unit := "≥ ", " "+r.Unit
	if r.AtMost {
		sign = "≤ "
	}
	if r.Rival != "" {
		unit = " x"
	}
	return sign + figure(r.Target) + unit
}

// Verdict is whether it was.
func (r Row) Verdict() string {
	switch {
	case r.Skipped != "":
		return "skipped: " + r.Skipped
	case r.Limit:
		return ""
	case r.Reached:
		return "reached"
	}
	return "NOT REACHED"
}

// figure is a number with three or more significant digits.
func figure(n float64) string {
	switch size := math.Abs(n); {
	case n == math.Trunc(n) && size < 1000, size >= 1000:
	case size >= 100:
		return fmt.Sprintf("%.0f", n)
	case size >= 10:
		return fmt.Sprintf("%.1f", n)
	default:
		return fmt.Sprintf("%.3g", n)
	}
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// save writes JSON and a page about it to bin/bench.
func (r *Result) save(t *testing.T, name string) {
	dir := os.Getenv("KGS_BENCH_DIR")
	if dir == "" {
		dir = "bin/bench"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".json", append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	html, err := r.html()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".html", html, 0o644); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nsaved as %s.json and %s.html\n", path, path)
}
