package oracle

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// History is what all clients of a run asked and saw. It keeps everything.
type History struct {
	ticks  atomic.Uint64
	mu     sync.Mutex
	ops    []Op
	sorted bool
}

// Tick counts: of two ticks the earlier one is smaller.
func (h *History) Tick() uint64 { return h.ticks.Add(1) }

// Record adds a finished request, or one that was given up.
func (h *History) Record(op Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops, h.sorted = append(h.ops, op), false
}

// Ops are all requests recorded so far in the order of their calls. The slice
// is the history's own: do not change it.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.sorted {
		slices.SortStableFunc(h.ops, func(a, b Op) int {
			return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Began, b.Began), cmp.Compare(a.Return, b.Return), cmp.Compare(a.Client, b.Client))
		})
		h.sorted = true
	}
	return slices.Clip(h.ops)
}

// Violation is a promise that was broken.
type Violation struct {
	Oracle string // that saw it
	Text   string
}

// Rules are what the judges need to know of the cluster.
type Rules struct {
	// Quarantine is how long returned keys rest at least, on the clock of the run:
	// fsm.Quarantine, less what the run turned the nodes' clocks forward.
	Quarantine time.Duration
	// Kept is the same for how long an Idempotency-Key is remembered.
	Kept time.Duration
	// IsKey tells whether a string is a key of some key space, so that it may be
	// used without any client having seen it. nil: six letters and digits.
	IsKey func(string) bool
	// Budget is for the search of an order of one key's requests; 0: a minute.
	Budget time.Duration
}

func (r Rules) isKey(s string) bool {
	if r.IsKey != nil {
		return r.IsKey(s)
	}
	for _, c := range []byte(s) {
		if !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return len(s) == 6
}
