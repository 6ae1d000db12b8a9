package oracle

import (
	"cmp"
	"slices"
	"sync"
)

// History is what all clients of a run asked and saw. It keeps everything.
type History struct {
	mu     sync.Mutex
	ops    []Op
	sorted bool
}

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
			return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Return, b.Return), cmp.Compare(a.Client, b.Client))
		})
		h.sorted = true
	}
	return slices.Clip(h.ops)
}
