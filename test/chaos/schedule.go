package chaos

import (
	"fmt"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

const (
	// A run that is not a short one strikes each class once, and so many faults
	// at least, however long that takes.
	shortRun     = 30 * time.Second
	enoughFaults = 20
	// share of its duration that a run gives to one fault at most.
	share = 2
)

// disturb strikes one fault after the other. Each class that the machine can do
// and the run has time for comes once before any comes again.
func (r *run) disturb() {
	r.tb.Helper()
	deck := r.possible()
	r.logf("skipped: %v", r.skipped)
	until, enough := time.Now().Add(r.duration), 1
	if r.duration >= shortRun {
		enough = max(enoughFaults, len(deck))
	}
	var left []fault
	for n := 0; time.Now().Before(until) || n < enough; n++ {
		if len(left) == 0 {
			left = append(left, deck...)
			r.random.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		r.strike(left[0])
		left = left[1:]
	}
}

// possible are the classes of this run; the others are skipped and named.
func (r *run) possible() []fault {
	var deck []fault
	for _, f := range faults {
		if !r.class.MatchString(f.class) {
			continue
		}
		why := ""
		if f.missing != nil {
			why = f.missing(r)
		}
		if why == "" && f.takes > r.duration/share {
			why = fmt.Sprintf("a run of %s is too short for it", r.duration)
		}
		if why != "" {
			r.skipped[f.class] = why
			continue
		}
		deck = append(deck, f)
	}
	if len(deck) == 0 {
		r.tb.Fatalf("no class of faults is possible; skipped: %v", r.skipped)
	}
	return deck
}

// strike does one fault and waits until all is well again.
func (r *run) strike(f fault) {
	r.tb.Helper()
	since := time.Now()
	r.logf("%s", f.class)
	r.struck[f.class]++
	undisturbed := f.strike(r)
	r.heal()
	r.settle(f.class)
	r.checkUndisturbed(since, undisturbed, f.class)
	r.logf("  well again after %s: %s", time.Since(since).Round(time.Millisecond), r.state())
}

// longest shortens the longest length of a fault in a short run.
func (r *run) longest(d time.Duration) time.Duration {
	return min(d, max(r.duration/10, 1500*time.Millisecond))
}

func (r *run) between(least, most time.Duration) time.Duration {
	return least + time.Duration(r.random.Int64N(int64(most-least)+1))
}

// pause is the length of a fault: here time that passes is what is wanted.
func (r *run) pause(d time.Duration) { time.Sleep(d) }

// follower picks a node that does not lead.
func (r *run) follower() *proc.Node { return pick(r.random, r.others(r.leader())) }

// others are the nodes but one.
func (r *run) others(not *proc.Node) []*proc.Node {
	var others []*proc.Node
	for _, n := range r.cluster.Nodes {
		if n != not {
			others = append(others, n)
		}
	}
	return others
}

// split picks n nodes as victims, and the rest.
func (r *run) split(n int) (victims, left []*proc.Node) {
	mixed := append([]*proc.Node{}, r.cluster.Nodes...)
	r.random.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	return mixed[:n], mixed[n:]
}
