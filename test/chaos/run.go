package chaos

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
	"github.com/kgs-cluster/kgs/test/report"
)

// bufferMax keys are held by a leader at most: so many may be lost with it. The
// buffers are small, so that they are filled again and again in a short run.
const (
	bufferMin = 500
	bufferMax = 2000
)

// run is one cluster, its clients and its faults.
type run struct {
	*judge
	settings
	tb        testing.TB
	name      string // of its result; "": none is saved
	random    *rand.Rand
	began     time.Time
	cluster   *proc.Cluster
	ledger    *ledger
	load      *load
	network   *network // nil: all nodes are on loopback
	noNetwork string   // why
	newest    int      // number of the newest node

	// What is promised when depends on what was done.
	deaths   int // leaders that died, froze, were cut off or handed over
	graceful int // of them, those that must lose no key
	restores int // of backups

	probes  sync.WaitGroup
	probe   int
	writeMu sync.Mutex
	written uint64 // log index of the newest write by a probe

	struck     map[string]int // by class
	skipped    map[string]string
	schedule   []string
	recoveries []float64
	transfers  []float64
	healing    map[string][]float64
	usage      map[string]float64 // highest of any node, at the end
	stood      account            // after the newest fault
	lost       uint64
	lostBound  uint64
}

// start starts a cluster and its clients. The result is saved when the test
// ends, however it ends.
func start(tb testing.TB, name string, s settings, nodes int) *run {
	tb.Helper()
	return startOf(tb, name, s, nodes, "")
}

// startOf is start with nodes of another binary.
func startOf(tb testing.TB, name string, s settings, nodes int, binary string) *run {
	tb.Helper()
	r := &run{
		judge: newJudge(s.seed), settings: s, tb: tb, name: name,
		random: rand.New(rand.NewPCG(s.seed, 0)), began: time.Now(), newest: nodes,
		recoveries: []float64{}, transfers: []float64{}, struck: map[string]int{}, skipped: map[string]string{}, healing: map[string][]float64{}, usage: map[string]float64{},
	}
	r.ledger = newLedger(r.judge)
	r.load = newLoad(r.ledger, s.seed)
	tb.Logf("KGS_CHAOS_SEED=%d, %d nodes", s.seed, nodes)
	tb.Cleanup(r.conclude)
	layout := proc.Layout{Nodes: nodes, Dir: newDir(tb), Binary: binary, Args: []string{
		"--buffer-min", strconv.Itoa(bufferMin), "--buffer-max", strconv.Itoa(bufferMax)}}
	var err error
	if r.network, err = newNetwork(tb); err != nil {
		r.noNetwork = err.Error()
	} else {
		layout.Host, layout.Args = r.network.host, append(layout.Args, "--insecure")
	}
	r.cluster = layout.Start(tb)
	tb.Cleanup(r.load.stop) // before the nodes end
	for _, n := range r.cluster.Nodes {
		r.load.attach(n)
	}
	r.heal()
	r.stood = r.account()
	r.logf("%d nodes are up, with clients", nodes)
	return r
}

// finish stops the clients and looks at everything.
func (r *run) finish() {
	r.tb.Helper()
	r.heal()
	r.load.stop()
	r.probes.Wait()
	r.settle("the end")
	r.logf("the clients have stopped")
	r.awaitEqual()
	r.sweep()
	r.audit()
	r.checkBounds()
	r.logf("all is looked at")
}

// conclude saves what the run found; the test fails if that is a violation.
func (r *run) conclude() {
	r.load.stop()
	r.probes.Wait()
	found := r.found()
	if r.tb.Failed() && len(found) == 0 {
		r.violatef("the run", "it was broken off: see the log of the test")
		found = r.found()
	}
	keys, links := r.ledger.counts()
	result := report.Run{
		Part: r.name, Version: version(), Started: r.began, Seconds: time.Since(r.began).Seconds(),
		Seeds: []uint64{r.seed}, Nodes: r.newest,
		Operations: r.load.counts, Outcomes: r.load.outcomes, Faults: r.struck, Deaths: r.deaths, Skipped: r.skipped,
		Recoveries: r.recoveries, Transfers: r.transfers, Healing: r.healing,
		Keys: uint64(keys), Links: uint64(links), LostKeys: r.lost, LostBound: r.lostBound,
		Checks: r.checks, Violations: found,
	}
	if r.name != "" {
		if err := report.Save(r.name, result); err != nil {
			r.tb.Errorf("save the result: %v", err)
		}
	}
	r.tell(result)
}

// tell writes the result to the test's log.
func (r *run) tell(result report.Run) {
	for _, v := range result.Violations {
		r.tb.Errorf("%s: %s", v.Oracle, v.Text)
	}
	r.tb.Logf("KGS_CHAOS_SEED=%d; what was done:\n%s", r.seed, strings.Join(r.schedule, "\n"))
	r.tb.Logf("faults: %v; skipped: %v", result.Faults, result.Skipped)
	r.tb.Logf("requests: %v; outcomes: %v", result.Operations, result.Outcomes)
	r.tb.Logf("%d keys and %d links; %d keys lost, at most %d allowed; checks: %v", result.Keys, result.Links, result.LostKeys, result.LostBound, result.Checks)
	r.tb.Logf("leader killed: writes again after ms: %s; transfers: %s", spread(result.Recoveries), spread(result.Transfers))
	r.tb.Logf("largest use of a node at the end: %v", r.usage)
	for what, times := range r.healing {
		r.tb.Logf("well again, %s, after ms: %s", what, spread(times))
	}
}

// version names the code that was tested.
func version() string {
	out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// logf adds a line to the schedule.
func (r *run) logf(format string, args ...any) {
	r.schedule = append(r.schedule, fmt.Sprintf("%7.2f s  ", time.Since(r.began).Seconds())+fmt.Sprintf(format, args...))
}

// breakOff ends the run with a violation: nothing that follows would tell more.
func (r *run) breakOff(oracle, format string, args ...any) {
	r.tb.Helper()
	r.violatef(oracle, format, args...)
	r.tb.FailNow()
}

// api is a client of all nodes.
func (r *run) api() *client.Client { return connect(r.cluster.URLs()...) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
