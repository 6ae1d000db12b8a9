package sim

import (
	"sync"
	"time"

	"github.com/kgs-cluster/kgs/test/oracle"
	"github.com/kgs-cluster/kgs/test/report"
)

// counts is what a run adds to the report.
type counts struct {
	mu     sync.Mutex
	run    report.Run
	deaths []time.Duration // of a leader, while nothing else was wrong: its successor's first write counts
	moves  []time.Duration // graceful transfers, likewise
}

func newCounts() *counts {
	return &counts{run: report.Run{
		Operations: map[string]int{}, Outcomes: map[string]int{}, Faults: map[string]int{}, Checks: map[string]int{},
	}}
}

func (c *counts) fault(class string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run.Faults[class]++
}

// death counts the death of a leader.
func (c *counts) death() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run.Deaths++
}

// timed notes when something began that clients notice.
func (c *counts) timed(list *[]time.Duration, at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*list = append(*list, at)
}

func (c *counts) op(op oracle.Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run.Operations[op.Kind.String()]++
	c.run.Outcomes[op.Outcome.String()]++
}

func (c *counts) checked(oracle string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run.Checks[oracle] += n
}

// lost notes how many keys died with leaders, and how many could have.
func (c *counts) lost(keys, bound uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run.LostKeys, c.run.LostBound = keys, bound
}

// sum is what the history adds.
func (c *counts) sum(ops []oracle.Op) {
	keys := map[string]bool{}
	for i := range ops {
		op := &ops[i]
		if op.Outcome != oracle.OK {
			continue
		}
		switch op.Kind {
		case oracle.Take:
			for _, key := range op.GotKeys {
				keys[key] = true
			}
		case oracle.Create:
			c.run.Links++
			keys[op.GotKey] = true
		}
	}
	c.run.Keys = uint64(len(keys))
	c.timings(ops)
}

// timings are the times from each event to the first write that began after it
// and succeeded.
func (c *counts) timings(ops []oracle.Op) {
	writes := func(after time.Duration) (float64, bool) {
		first := oracle.Never
		for i := range ops {
			op := &ops[i]
			if op.Return > after && op.Return < first && op.Outcome == oracle.OK && op.Kind != oracle.Get && op.Kind != oracle.Redirect && op.Call >= after-10*time.Second {
				first = op.Return
			}
			if op.Call > first {
				break
			}
		}
		return (first - after).Seconds() * 1000, first != oracle.Never
	}
	for _, at := range c.deaths {
		if ms, ok := writes(at); ok {
			c.run.Recoveries = append(c.run.Recoveries, ms)
		}
	}
	for _, at := range c.moves {
		if ms, ok := writes(at); ok {
			c.run.Transfers = append(c.run.Transfers, ms)
		}
	}
}
