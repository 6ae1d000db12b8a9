package report

import (
	"html"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rendered saves the results as the parts would, and makes the page of them.
func rendered(t *testing.T, results map[string]any) string {
	t.Helper()
	t.Setenv("KGS_REPORT_DIR", filepath.Join(t.TempDir(), "results"))
	for name, result := range results {
		if err := Save(name, result); err != nil {
			t.Fatal(err)
		}
	}
	if err := SavePage("some-sample", func(w io.Writer) error { _, err := io.WriteString(w, sample); return err }); err != nil {
		t.Fatal(err)
	}
	loaded, err := Load(Dir())
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := Render(&page, loaded); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

const sample = `<!doctype html><html lang="en"><script>if (1 < 2 && "a") document.title = 'x &lt; y'</script></html>`

func aRun(change func(*Run)) Run {
	r := Run{Part: "sim", Version: "v1-test", Seconds: 90, Virtual: 7200, Seeds: []uint64{3, 1, 2, 9}, Nodes: 3,
		Operations: map[string]int{"take": 1234, "create": 5}, Outcomes: map[string]int{"ok": 1200}, Faults: map[string]int{"kill": 500, "cut": 100},
		Deaths: 500, Skipped: map[string]string{"disk full": "needs <root>"}, Recoveries: []float64{1, 2, 3, 4, 5, 6, 7, 800},
		Keys: 98765, Links: 4321, LostKeys: 77, LostBound: 88, Checks: map[string]int{"distinct keys": 55}}
	if change != nil {
		change(&r)
	}
	return r
}

func expectPage(t *testing.T, page string, want, not []string) {
	t.Helper()
	text := strings.Join(strings.Fields(strings.ReplaceAll(page, "&nbsp;", " ")), " ")
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("the page lacks %q", w)
		}
	}
	for _, n := range not {
		if strings.Contains(text, n) {
			t.Errorf("the page has %q", n)
		}
	}
	if found := regexp.MustCompile(`(src|href)="(https?:)?//[^"]*"|@import`).FindAllString(text, -1); len(found) > 1 || len(found) == 1 && !strings.Contains(found[0], "porcupine") {
		t.Errorf("the page needs %q from elsewhere", found)
	}
}

func TestPage(t *testing.T) {
	page := rendered(t, map[string]any{"sim": aRun(nil), "own": aRun(func(r *Run) { r.Part = "" }),
		"mutants": []Mutant{{Name: "m1", Bug: "left out", Caught: true, By: "sim", Seconds: 3}, {Name: "m2", Bug: "the other"}}})
	expectPage(t, page, []string{
		"No violation in 1,200 faults", "fewer than 0.25 percent", "(3 / 1,200)", "from this part alone: 0.5 percent",
		"Simulation in virtual time", ">own<", "v1-test", "1 min 30 s", "2 h 0 min", "1–3, 9", ">1,234<", ">98,765<", ">77<", ">88<", "distinct keys",
		"<td>disk full</td><td>needs &lt;root&gt;</td>", "median 4.0 ms, 99th percentile 800 ms, longest 800 ms", "<svg",
		"1 of 2 were caught", "not caught", "left out",
		"make chaos", "KGS_CHAOS_KILLS=500", "some sample",
	}, []string{"make sim", "make mutants", "A promise was broken", "Nothing has run"})
	framed := regexp.MustCompile(`data-page="([^"]*)"`).FindStringSubmatch(page)
	if framed == nil || html.UnescapeString(framed[1]) != sample {
		t.Errorf("the sample is shown as %q", framed)
	}
}

func TestPageWithViolations(t *testing.T) {
	page := rendered(t, map[string]any{"chaos": aRun(nil), "sim": aRun(func(r *Run) {
		for i := range 31 {
			r.Violations = append(r.Violations, Violation{"linearizable", uint64(i), "seen <twice>"})
		}
	})})
	expectPage(t, page, []string{"31 violations in 1,200 faults", "seed 29: seen &lt;twice&gt;", "The first 30 of 31", "no violation</span>", "from this part alone: 0.5 percent"},
		[]string{"No violation in", "rule of three, with", "each once", "seed 30:"})
}

func TestPageOfNothing(t *testing.T) {
	page := rendered(t, nil)
	expectPage(t, page, []string{"Nothing has run yet", "make sim", "make chaos", "make mutants"}, []string{"No violation", "percent confidence", "were caught"})
}

func TestLoadDamaged(t *testing.T) {
	for _, name := range []string{"sim.json", "mutants.json", "more.json"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(`{"part":`), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The bars hold all times, and no bin is beyond the axis.
func TestHistogram(t *testing.T) {
	for _, times := range [][]float64{{0}, {5}, {0.001, 0.002}, {100, 100, 100}, {1, 2, 3, 10, 48, 96, 480}, {599.9999, 600, 0, 12345.678}} {
		drawn := string(newSpread("t", times).Histogram())
		sum := 0
		for _, bar := range regexp.MustCompile(`<title>.*?: ([0-9]+)</title>`).FindAllStringSubmatch(drawn, -1) {
			n, _ := strconv.Atoi(bar[1])
			sum += n
		}
		bars := strings.Count(drawn, "<rect")
		if sum != len(times) || bars > len(times) {
			t.Errorf("%v: %d bars hold %d", times, bars, sum)
		}
		last := 0.0 // left of the last bar: the longest time is in it
		for _, x := range regexp.MustCompile(`<rect class="bar" x="([0-9.]+)" y="([0-9.]+)" width="([0-9.]+)"`).FindAllStringSubmatch(drawn, -1) {
			left, _ := strconv.ParseFloat(x[1], 64)
			width, _ := strconv.ParseFloat(x[3], 64)
			last = left
			if left < chartLeft || left+width > chartLeft+plotWidth+1 {
				t.Errorf("%v: a bar from %v, %v wide", times, left, width)
			}
		}
		marks := regexp.MustCompile(`class="mark" x1="([0-9.]+)"`).FindAllStringSubmatch(drawn, -1)
		if longest, _ := strconv.ParseFloat(marks[2][1], 64); longest < last-0.2 || longest > last+float64(plotWidth)/float64(bars) {
			t.Errorf("%v: the longest is marked at %v, the last bar begins at %v", times, longest, last)
		}
		if strings.Contains(drawn, "NaN") || strings.Contains(drawn, "Inf") {
			t.Errorf("%v: %s", times, drawn)
		}
	}
	for longest := 0.01; longest < 1e7; longest *= 1.37 {
		if bins := math.Floor(longest/binWidth(longest)) + 1; bins > mostBins || bins < mostBins/3 {
			t.Errorf("%v: %v bins", longest, bins)
		}
	}
}

func TestFigures(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[99-i] = float64(i + 1)
	}
	s := newSpread("", hundred)
	if s.Median != 50 || s.P99 != 99 || s.Max != 100 {
		t.Errorf("%+v", s)
	}
	for _, c := range [][2]string{
		{bound(0), "100"}, {bound(2), "100"}, {bound(300), "1"}, {bound(10_000), "0.03"},
		{number(0), "0"}, {number(999), "999"}, {number(1000), "1,000"}, {number(-123456), "-123,456"}, {number(uint64(1234567)), "1,234,567"},
		{ms(0.25), "0.2 ms"}, {ms(99), "99.0 ms"}, {ms(512.3), "512 ms"}, {ms(1234), "1.23 s"},
		{length(1.25), "1.2 s"}, {length(61), "1 min 1 s"}, {length(3700), "1 h 1 min"}, {length(1e6), "11.6 days"},
		{ranges(nil), ""}, {ranges([]uint64{5}), "5"}, {ranges([]uint64{2, 1, 2, 7, 4, 3}), "1–4, 7"},
	} {
		if c[0] != c[1] {
			t.Errorf("%q, want %q", c[0], c[1])
		}
	}
}
