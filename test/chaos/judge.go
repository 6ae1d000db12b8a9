package chaos

import (
	"fmt"
	"sync"

	"github.com/kgs-cluster/kgs/test/report"
)

// judge collects what the oracles looked at and found, from any goroutine.
type judge struct {
	runSeed uint64

	mu         sync.Mutex
	checks     map[string]int
	violations []report.Violation
}

// maxViolations that are kept: the first ones tell most.
const maxViolations = 50

func newJudge(seed uint64) *judge {
	return &judge{runSeed: seed, checks: map[string]int{}}
}

// checked counts n things that an oracle looked at.
func (j *judge) checked(oracle string, n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.checks[oracle] += n
}

// violatef says that a promise was broken.
func (j *judge) violatef(oracle, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.violations) < maxViolations {
		j.violations = append(j.violations, report.Violation{Oracle: oracle, Seed: j.runSeed, Text: fmt.Sprintf(format, args...)})
	}
}

func (j *judge) found() []report.Violation {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]report.Violation{}, j.violations...)
}
