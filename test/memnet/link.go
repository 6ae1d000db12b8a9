package memnet

import (
	"sync"
	"time"
)

// link is the way from one node to another.
type link struct {
	mu      sync.Mutex
	cut     bool
	delay   time.Duration
	changed chan struct{} // closed when cut or delay change
}

func newLink() *link { return &link{changed: make(chan struct{})} }

// state is whether the link is cut, its delay, and when to look again.
func (l *link) state() (cut bool, delay time.Duration, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut, l.delay, l.changed
}

func (l *link) set(change func(*link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
	close(l.changed)
	l.changed = make(chan struct{})
}

// pass waits as long as one packet takes; false: it did not arrive in time.
func (l *link) pass(timeout <-chan time.Time) bool {
	for {
		cut, delay, changed := l.state()
		if !cut && delay == 0 {
			return true
		}
		var arrival <-chan time.Time
		if !cut {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			arrival = timer.C
		}
		select {
		case <-arrival:
			return true
		case <-changed:
		case <-timeout:
			return false
		}
	}
}
