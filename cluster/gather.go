package cluster

import "context"

// gather groups items that wait while earlier ones are on their way. There is
// no timer: an item that finds nothing under way leaves at once and alone, and
// under load the groups grow by themselves.
type gather[T any] struct {
	queue    chan T
	slots    chan struct{} // one per group under way
	maxCount int
	maxBytes int
	size     func(T) (count, bytes int)
	flush    func(group []T, done func()) // must call done once the group is answered
	stopped  chan struct{}
}

// gatherConfig bounds a gather; each number is a bound with a name.
type gatherConfig struct {
	queued   int // items that wait
	inFlight int // groups under way
	maxCount int // commands, or keys' requests, in one group
	maxBytes int
}

// newGather starts a gather; it ends with ctx. Items still queued then are left
// to their own deadlines.
func newGather[T any](ctx context.Context, c gatherConfig, size func(T) (int, int), flush func([]T, func())) *gather[T] {
	g := &gather[T]{
		queue: make(chan T, c.queued), slots: make(chan struct{}, c.inFlight),
		maxCount: c.maxCount, maxBytes: c.maxBytes, size: size, flush: flush,
		stopped: make(chan struct{}),
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
			default:
				more = false
			}
		}
		g.flush(group, func() { <-g.slots })
	}
}
