package chaos

import (
	"slices"
	"sync"
)

// gone is the value of a link that is not there.
const gone = ""

// link is one link as its clients know it. One worker changes it, one request
// after the other, and never again after an outcome that stayed unknown: so its
// possible values are those from the newest acknowledged one on.
type link struct {
	key string

	mu      sync.Mutex
	values  []string // URLs or gone, in the order of the requests
	acked   int      // index of the newest acknowledged value
	through string   // process that acknowledged it
	retired bool     // its worker must not change it any more
}

// try notes that a change is under way: from now on readers may see it.
func (l *link) try(value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values = append(l.values, value)
}

// settle notes what became of the change.
func (l *link) settle(o outcome, process string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.values) - 1
	switch o {
	case done:
		l.acked, l.through = last, process
	case refused:
		l.values = l.values[:last]
	case unknown:
		l.retired = true
	}
}

// reset forgets all but the values that the link may have.
func (l *link) reset(values []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values, l.acked, l.through, l.retired = values, 0, "", len(values) > 1
}

// usable tells whether the link is there, for certain, and may be changed.
func (l *link) usable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.retired && l.acked == len(l.values)-1 && l.values[l.acked] != gone
}

// look is what a reader remembers from before its request.
type look struct {
	acked   int
	through string
}

func (l *link) look() look {
	l.mu.Lock()
	defer l.mu.Unlock()
	return look{l.acked, l.through}
}

// fresh tells whether a read that began with that look may have seen value: one
// that was newest then, or came since.
func (l *link) fresh(since look, value string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.values[since.acked:], value)
}

// ever tells whether the link had that value, or may have had it, at any time.
func (l *link) ever(value string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.values, value)
}

// possible lists the values it may have now.
func (l *link) possible() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.values[l.acked:])
}
