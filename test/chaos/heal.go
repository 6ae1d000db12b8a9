package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// What is promised once a fault is over. A machine that has other things to do
// gets busy times as long before the run calls the promise broken; the real
// figures are in the report.
const (
	leaderWithin   = 2 * time.Second
	writeWithin    = 3 * time.Second
	caughtUpWithin = 30 * time.Second
	busy           = 5
)

const (
	oracleHeal  = "P9 well again after a fault"
	oracleDeath = "P9 writes go on without the victim"
	oracleCalm  = "P9 clients of the other nodes see no error"
)

// heal waits until all is well, after everything that was done has been undone.
func (r *run) heal() {
	r.tb.Helper()
	since := time.Now()
	for _, n := range r.cluster.Nodes {
		if !n.Running() {
			r.breakOff(oracleEnds, "%s ended by itself:\n%s", n.ID, n.Output)
		}
	}
	r.within(leaderWithin, "a leader", func() (bool, string) { return r.findLeader() != nil, "no node leads" })
	r.healed("leader", since)
	r.write(r.cluster.Nodes, oracleHeal)
	r.healed("write", since)
	index := r.newestWrite()
	for _, n := range r.cluster.Nodes {
		r.within(caughtUpWithin, n.ID+" to catch up", func() (bool, string) {
			if !n.Running() {
				r.breakOff(oracleEnds, "%s ended by itself:\n%s", n.ID, n.Output)
			}
			m, err := readMetrics(n)
			return err == nil && uint64(m["kgs_applied_index"]) >= index, "it has not applied what was written"
		})
	}
	r.healed("all nodes caught up", since)
	for _, n := range r.cluster.Nodes {
		n.WaitReady(busy * caughtUpWithin)
	}
	r.checked(oracleHeal, 1)
}

// healed notes how long after a fault something was well again.
func (r *run) healed(what string, since time.Time) {
	r.healing[what] = append(r.healing[what], milliseconds(time.Since(since)))
}

// within waits for a condition, and breaks the run off if it takes too long.
func (r *run) within(limit time.Duration, what string, condition func() (bool, string)) {
	r.tb.Helper()
	overdue := time.Now().Add(busy * limit)
	for {
		ok, state := condition()
		if ok {
			return
		}
		if time.Now().After(overdue) {
			r.breakOff(oracleHeal, "waited %s for %s: %s", busy*limit, what, state)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// write creates a link through whichever of the nodes answers first, and
// returns how long that took.
func (r *run) write(nodes []*proc.Node, oracle string) time.Duration {
	r.tb.Helper()
	return r.writeWithin(busy*writeWithin, nodes, oracle)
}

func (r *run) writeWithin(limit time.Duration, nodes []*proc.Node, oracle string) time.Duration {
	r.tb.Helper()
	began := time.Now()
	first := make(chan time.Duration, len(nodes))
	for _, n := range nodes {
		r.probe++
		url := fmt.Sprintf("https://example.org/probe/%d", r.probe)
		r.probes.Go(func() { r.writeOnce(n, url, began, limit, first) })
	}
	select {
	case took := <-first:
		r.checked(oracle, 1)
		return took
	case <-time.After(limit):
		r.breakOff(oracle, "no write succeeded within %s", limit)
		return 0
	}
}

// writeOnce keeps trying one write, under one Idempotency-Key, until it
// succeeds or there is no hope.
func (r *run) writeOnce(n *proc.Node, url string, began time.Time, limit time.Duration, first chan<- time.Duration) {
	api := connect(n.URL)
	defer api.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var last outcome
	var got client.Link
	for ctx.Err() == nil {
		var err error
		got, err = api.CreateLink(ctx, client.NewLink{URL: url}, client.WithIdempotencyKey(url))
		if now := classify(err); now == done || last != unknown {
			last = now
		}
		if last == done {
			first <- time.Since(began)
			break
		}
	}
	switch last {
	case done:
		r.ledger.issue("a probe", got.Key)
		r.ledger.add(got.Key, url, "")
		r.wrote(got.Meta.Index)
	case unknown:
		r.ledger.addUnclear("", url)
	}
}

// checkUndisturbed: no client of these nodes met an error since then.
func (r *run) checkUndisturbed(since time.Time, nodes []*proc.Node, fault string) {
	r.checked(oracleCalm, len(nodes))
	for _, t := range r.load.troublesSince(since, nodes) {
		r.violatef(oracleCalm, "%s: %s", fault, t)
	}
}
