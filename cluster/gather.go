package cluster

import (
	"context"
	"sync/atomic"
)

// gather groups items that wait while earlier ones are on their way. There is
// no timer: an item that finds nothing under way leaves at once and alone, and
// under load the groups grow by themselves.
type gather[T any] struct {
	queue    chan T
	slots    chan struct{} // one per group under way
	maxCount int
	maxBytes int
	even     bool
	size     func(T) (count, bytes int)
	flush    func(group []T, done func()) // must call done once the group is answered
	stopped  chan struct{}

	underWay atomic.Int64  // the counts of the groups, in all
	ended    chan struct{} // cap 1: a group has come to its end
}

// gatherConfig bounds a gather; each number is a bound with a name.
type gatherConfig struct {
	queued   int // items that wait
	inFlight int // groups under way
	maxCount int // commands, or keys' requests, in one group
	maxBytes int
	// even: while others are under way, a group leaves once it counts as much as
	// all of these together. Else many small ones crowd out few large ones, when
	// what a group costs counts for more than what is in it.
	even bool
}

// newGather starts a gather; it ends with ctx. Items still queued then are left
// to their own deadlines.
func newGather[T any](ctx context.Context, c gatherConfig, size func(T) (int, int), flush func([]T, func())) *gather[T] {
	g := &gather[T]{
		queue: make(chan T, c.queued), slots: make(chan struct{}, c.inFlight),
		maxCount: c.maxCount, maxBytes: c.maxBytes, size: size, flush: flush,
		even: c.even, stopped: make(chan struct{}), ended: make(chan struct{}, 1),
	}
	go g.run(ctx)
	return g
}

// add queues the item, or says why not; the item has then had no effect.
func (g *gather[T]) add(ctx context.Context, item T) error {
	select {
	case g.queue <- item:
		return nil
	default:
	}
	select {
	case g.queue <- item:
		return nil
	case <-g.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ErrBusy
	}
}

func (g *gather[T]) run(ctx context.Context) {
	defer close(g.stopped)
	var left *T // taken from the queue, but over the last group's bound
	for {
		select {
		case g.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		group, count, bytes := []T(nil), 0, 0
		take := func(item T) bool {
			c, b := g.size(item)
			if len(group) > 0 && (count+c > g.maxCount || bytes+b > g.maxBytes) {
				left = &item
				return false
			}
			group, count, bytes = append(group, item), count+c, bytes+b
			return true
		}
		if left != nil {
			item := *left
			left = nil
			take(item)
		} else {
			select {
			case item := <-g.queue:
				take(item)
			case <-ctx.Done():
				return
			}
		}
		for more := true; more; {
			select {
			case item := <-g.queue:
				more = take(item)
				continue
			default:
			}
			if !g.even || count >= min(int(g.underWay.Load()), g.maxCount) {
				break
			}
			select {
			case item := <-g.queue:
				more = take(item)
			case <-g.ended:
			case <-ctx.Done():
				more = false
			}
		}
		g.underWay.Add(int64(count))
		g.flush(group, func() { g.end(count) })
	}
}

// end makes room for another group.
func (g *gather[T]) end(count int) {
	g.underWay.Add(int64(-count))
	<-g.slots
	select {
	case g.ended <- struct{}{}:
	default:
	}
}
