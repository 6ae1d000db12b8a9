package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"number": number[int], "big": number[uint64], "ms": ms, "length": length, "ranges": ranges, "counts": counts,
	"total": total, "spreads": spreads, "bound": bound, "title": title, "what": what, "command": command,
	"day": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
}).Parse(pageText))

// Render writes the results as one page that needs nothing from elsewhere.
func Render(w io.Writer, r Results) error { return page.Execute(w, r) }

// The parts as the page presents them.
var presented = map[string]struct{ title, what, command string }{
	"sim": {"Simulation in virtual time",
		"Whole nodes, from the HTTP handler to files that lose what was not synced, run in one process on a clock that waits for nobody. Network, disks, clocks and processes fail as the seed has it.",
		"make sim"},
	"chaos": {"Chaos on real processes",
		"The built binary, real sockets and files, on one machine. Processes are killed, frozen and replaced, networks cut, disks slowed, hung and filled, while clients use all of the API.",
		"make chaos"},
	"kills": {"Leader kills",
		"The leader of three real processes is killed with -9 again and again under light load, to measure how long writes stop.",
		"KGS_CHAOS_KILLS=500 go test ./test/chaos -run LeaderKills -timeout 0"},
	"mutants": {"Planted bugs", "", "make mutants"},
}

func title(part string) string {
	if p, ok := presented[part]; ok {
		return p.title
	}
	return part
}

func what(part string) string    { return presented[part].what }
func command(part string) string { return presented[part].command }

// Frame holds a page that is to be shown within the page, with its own scripts,
// apart from ours.
func (p Page) Frame() template.HTML {
	return template.HTML(fmt.Sprintf(`<iframe sandbox="allow-scripts" title="%s" data-page="%s"></iframe>`,
		template.HTMLEscapeString(p.Name), template.HTMLEscapeString(p.HTML)))
}

// Violations are those of all parts.
func (r Results) Violations() (n int) {
	for _, run := range r.Runs {
		n += len(run.Violations)
	}
	return n
}

// sum adds up a figure of all runs.
func sum[T int | uint64](runs []Run, figure func(Run) T) (n T) {
	for _, run := range runs {
		n += figure(run)
	}
	return n
}

// Faults are those of all parts.
func (r Results) Faults() int { return sum(r.Runs, func(run Run) int { return total(run.Faults) }) }

// tile is one of the large figures.
type tile struct{ Figure, Name string }

// Tiles are the large figures of the page's top.
func (r Results) Tiles() []tile {
	requests := sum(r.Runs, func(run Run) int { return total(run.Operations) })
	deaths := sum(r.Runs, func(run Run) int { return run.Deaths })
	keys := sum(r.Runs, func(run Run) uint64 { return run.Keys })
	links := sum(r.Runs, func(run Run) uint64 { return run.Links })
	checks := sum(r.Runs, func(run Run) int { return total(run.Checks) })
	tiles := []tile{
		{number(r.Faults()), "faults"}, {number(deaths), "deaths of a leader"}, {number(requests), "requests"},
		{number(keys), "keys given, each once"}, {number(links), "links acknowledged"}, {number(checks), "checks by the oracles"},
	}
	if r.Violations() > 0 {
		tiles[3].Name = "keys given"
	}
	if r.Mutants != nil {
		tiles = append(tiles, tile{fmt.Sprintf("%d of %d", r.Caught(), len(r.Mutants)), "planted bugs caught"})
	}
	return tiles
}

// Caught counts the planted bugs that were seen.
func (r Results) Caught() int {
	return len(r.Mutants) - len(slices.DeleteFunc(slices.Clone(r.Mutants), func(m Mutant) bool { return m.Caught }))
}

// Versions are the versions of the code that the parts ran.
func (r Results) Versions() []string {
	var all []string
	for _, run := range r.Runs {
		if run.Version != "" && !slices.Contains(all, run.Version) {
			all = append(all, run.Version)
		}
	}
	return all
}

// Skip is a fault class that a part had to leave out.
type Skip struct{ Part, Class, Why string }

// Skips are all of them.
func (r Results) Skips() []Skip {
	var all []Skip
	for _, run := range r.Runs {
		for _, c := range counts(toCounts(run.Skipped)) {
			all = append(all, Skip{title(run.Part), c.Name, run.Skipped[c.Name]})
		}
	}
	return all
}

func toCounts(m map[string]string) map[string]int {
	n := map[string]int{}
	for name := range m {
		n[name] = 0
	}
	return n
}
