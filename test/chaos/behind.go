package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// readersBehind ask a leader that was deposed without knowing it.
const readersBehind = 8

// newLink makes a link that no client changes, under an alias or, with "",
// under a generated key.
func (r *run) newLink(alias string) *link {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), busy*writeWithin)
	defer cancel()
	r.probe++
	url := fmt.Sprintf("https://example.org/probe/%d", r.probe)
	got, err := r.api().CreateLink(ctx, client.NewLink{URL: url, Alias: alias})
	if err != nil {
		r.breakOff(oracleHeal, "no write succeeded within %s: %v", busy*writeWithin, err)
	}
	r.ledger.issue("a probe", got.Key)
	return r.ledger.add(got.Key, url, "")
}

// changeBehind changes a link while its leader is frozen or cut off, through
// the other nodes, and then asks the old leader for it: it may refuse to
// answer, now or when it is back, but must not show the old value. The returned
// function waits for its answers.
func (r *run) changeBehind(leader *proc.Node, l *link) (answered func()) {
	r.tb.Helper()
	var urls []string
	for _, n := range r.others(leader) {
		urls = append(urls, n.URL)
	}
	api := connect(urls...)
	defer api.Close()
	ctx, cancel := context.WithTimeout(context.Background(), busy*writeWithin)
	defer cancel()
	next := "https://example.org/behind/" + l.key
	l.try(next)
	for {
		_, err := api.UpdateLink(ctx, l.key, client.LinkChange{URL: &next}, client.WithIdempotencyKey("behind "+l.key))
		if err == nil {
			l.settle(done, "")
			break
		}
		if ctx.Err() != nil {
			r.breakOff(oracleDeath, "no write succeeded within %s: %v", busy*writeWithin, err)
		}
	}
	r.checked(oracleDeath, 1)
	var reading sync.WaitGroup
	for range readersBehind {
		reading.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			defer cancel()
			newWorker(r.load, leader, workersPerNode).readLink(ctx, l)
		})
	}
	return reading.Wait
}

// inFlight requests of each node are under way when a leader's fault strikes:
// what had reached the log then must have one effect, however it is repeated.
const inFlight = 4

// burst sends them, and does not wait.
func (r *run) burst() {
	for _, n := range r.cluster.Nodes {
		for range inFlight {
			r.probe++
			w := newWorker(r.load, n, workersPerNode+r.probe)
			r.probes.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
				defer cancel()
				w.createOnce(ctx)
			})
		}
	}
	r.pause(r.between(0, 5*time.Millisecond))
}
