package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// To wait on a request's context costs a timer, and places in the lists of the
// contexts above it and of the leader's: a tenth of what a creation costs the
// leader. Nearly all answers come soon. So who waits for one waits for the next
// beat first, and looks at his context only then.

// pulse tells many who wait that some time has passed. The zero pulse does not.
type pulse struct {
	next atomic.Pointer[chan struct{}] // closed with the next beat; nil: there is none
}

func (p *pulse) beat() {
	next := make(chan struct{})
	if last := p.next.Swap(&next); last != nil {
		close(*last)
	}
}

func (p *pulse) stop() {
	if last := p.next.Swap(nil); last != nil {
		close(*last)
	}
}

// await waits for an answer; false: ctx ended first. That it did is seen with the
// next beat, unless its deadline is before that.
func (p *pulse) await(ctx context.Context, answered <-chan struct{}) bool {
	if next := p.next.Load(); next != nil {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > watchTick {
			select {
			case <-answered:
				return true
			case <-*next:
			}
		}
	}
	select {
	case <-answered:
		return true
	case <-ctx.Done():
		return false
	}
}

// tryContext joins the contexts of a request and of a leader once somebody waits
// on both.
type tryContext struct {
	context.Context
	leader context.Context

	mu       sync.Mutex
	both     context.Context // nil until then
	end      func()
	released bool
}

func (t *tryContext) Done() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.both == nil {
		both, cancel := context.WithCancel(t.Context)
		stop := context.AfterFunc(t.leader, cancel)
		t.both, t.end = both, func() {
			stop()
			cancel()
		}
		if t.released {
			t.end()
		}
	}
	return t.both.Done()
}

func (t *tryContext) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.both != nil:
		return t.both.Err()
	case t.released:
		return context.Canceled
	case t.Context.Err() != nil:
		return t.Context.Err()
	}
	return t.leader.Err()
}

func (t *tryContext) Value(key any) any {
	t.mu.Lock()
	both := t.both
	t.mu.Unlock()
	if both != nil {
		return both.Value(key) // children attach to it as to any other
	}
	return t.Context.Value(key)
}

func (t *tryContext) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.released = true
	if t.end != nil {
		t.end()
	}
}
