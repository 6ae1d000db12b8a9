package sim

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/kgs-cluster/kgs/test/oracle"
	"github.com/kgs-cluster/kgs/test/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	defaultSeeds = 72
	// seedLength is how long the nemesis of one seed works, in virtual time.
	seedLength = 90 * time.Second
)

// TestSim runs KGS_SIM_SEEDS seeds (24 if unset) from KGS_SIM_FROM (0) on, or
// just the one that KGS_SIM_SEED names, with its whole schedule. KGS_SIM_PROFILE
// leaves out all other profiles; KGS_SIM_STOP leaves out the rest after the first
// violation.
func TestSim(t *testing.T) {
	from, seeds := number(t, "KGS_SIM_FROM", 0), number(t, "KGS_SIM_SEEDS", defaultSeeds)
	if testing.Short() {
		seeds = min(seeds, uint64(len(profiles)))
	}
	verbose := os.Getenv("KGS_SIM_SEED") != ""
	if verbose {
		from, seeds = number(t, "KGS_SIM_SEED", 0), 1
	}
	stop := os.Getenv("KGS_SIM_STOP") != ""
	profile := os.Getenv("KGS_SIM_PROFILE")
	total := newTotal()
	t.Run("seeds", func(t *testing.T) {
		// A seed keeps one core busy, but for many short waits.
		slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
		for seed := from; seeds > 0; seed++ {
			if profile != "" && newPlan(seed, 0).profile.name != profile {
				continue
			}
			seeds--
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				if stop && total.failed() {
					t.Skip("a seed before has failed")
				}
				w := simulate(t, newPlan(seed, seedLength))
				witnessed := w.judgeHistory()
				if total.add(w) {
					show(t, witnessed, w.rules())
				}
				w.tell(t, verbose)
			})
		}
	})
	t.Log(total)
	if err := report.Save("sim", total.result()); err != nil {
		t.Error(err)
	}
}

// simulate runs a plan in a bubble of its own.
func simulate(t *testing.T, p plan) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(p, logger)
		w.live()
	})
	return w
}

// tell fails the test if there is something to tell.
func (w *world) tell(t *testing.T, verbose bool) {
	if len(w.violations) == 0 && !verbose {
		return
	}
	t.Logf("%s\n%s", w.plan, strings.Join(w.trace, "\n"))
	for i, v := range w.violations {
		if i == 20 {
			t.Errorf("and %d more", len(w.violations)-i)
			break
		}
		t.Errorf("%s: %s", v.oracle, v.text)
	}
	if len(w.violations) > 0 {
		t.Logf("again: KGS_SIM_SEED=%d go test ./test/sim", w.plan.seed)
	}
}

// logger is silent unless KGS_TEST_LOG names a level.
func logger(id string) hclog.Logger {
	level := hclog.LevelFromString(os.Getenv("KGS_TEST_LOG"))
	if level == hclog.NoLevel {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: id, Level: level, TimeFn: time.Now})
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	var n uint64
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatalf("%s=%s: %v", name, text, err)
	}
	return n
}

// show saves Porcupine's page about one key, for the report.
func show(t *testing.T, h *oracle.History, rules oracle.Rules) {
	err := report.SavePage("simulation", func(w io.Writer) error { return oracle.Visualize(h, rules, "", w) })
	if err != nil {
		t.Error(err)
	}
}

// total is the sum of all seeds.
type total struct {
	mu  sync.Mutex
	run report.Run
}

func newTotal() *total {
	run := newCounts().run
	run.Part, run.Started = "sim", time.Now()
	return &total{run: run}
}

// add reports whether it is the first.
func (t *total) add(w *world) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum, one := &t.run, &w.counts.run
	sum.Seeds = append(sum.Seeds, w.plan.seed)
	sum.Nodes += len(w.members)
	sum.Virtual += w.plan.length.Seconds()
	sum.Deaths += one.Deaths
	sum.Keys += one.Keys
	sum.Links += one.Links
	sum.LostKeys += one.LostKeys
	sum.LostBound += one.LostBound
	sum.Recoveries = append(sum.Recoveries, one.Recoveries...)
	sum.Transfers = append(sum.Transfers, one.Transfers...)
	for _, pair := range [][2]map[string]int{{sum.Operations, one.Operations}, {sum.Outcomes, one.Outcomes}, {sum.Faults, one.Faults}, {sum.Checks, one.Checks}} {
		for name, n := range pair[1] {
			pair[0][name] += n
		}
	}
	for _, v := range w.violations {
		sum.Violations = append(sum.Violations, report.Violation{Oracle: v.oracle, Seed: w.plan.seed, Text: v.text})
	}
	return len(sum.Seeds) == 1
}

func (t *total) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.run.Violations) > 0
}

func (t *total) result() report.Run {
	t.run.Seconds = time.Since(t.run.Started).Seconds()
	return t.run
}

func (t *total) String() string {
	operations := 0
	for _, n := range t.run.Operations {
		operations += n
	}
	faults := 0
	for _, n := range t.run.Faults {
		faults += n
	}
	return fmt.Sprintf("%d seeds, %.0f virtual seconds in %.0f: %d faults, %d of them the death of a leader; %d requests (%d ok, %d refused, %d unknown); %d keys; %d violations",
		len(t.run.Seeds), t.run.Virtual, time.Since(t.run.Started).Seconds(), faults, t.run.Deaths, operations,
		t.run.Outcomes["ok"], t.run.Outcomes["refused"], t.run.Outcomes["unknown"], t.run.Keys, len(t.run.Violations))
}
