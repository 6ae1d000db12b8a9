package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// defaultTimeout is how long a request may wait, for a leader or for anything else.
	defaultTimeout = 5 * time.Second
	// maxTimeout is the most that X-Kgs-Timeout may ask for.
	maxTimeout = 30 * time.Second
)

// requestTimeout reads X-Kgs-Timeout: a Go duration, or seconds.
func requestTimeout(header http.Header) (time.Duration, error) {
	values := header["X-Kgs-Timeout"]
	if len(values) == 0 {
		return defaultTimeout, nil
	}
	timeout, err := time.ParseDuration(values[0])
	if err != nil {
		var seconds float64
		if seconds, err = strconv.ParseFloat(values[0], 64); err == nil && seconds > 0 && seconds <= maxTimeout.Seconds() {
			timeout = time.Duration(seconds * float64(time.Second))
		}
	}
	if err != nil || timeout <= 0 || timeout > maxTimeout {
		return 0, invalidf("X-Kgs-Timeout %q: want a duration above 0 and up to %v, as 5s, 750ms or seconds", values[0], maxTimeout)
	}
	return timeout, nil
}

// lazyDeadline is context.WithDeadline whose timer is only made when somebody
// waits for it: most requests are answered from memory and never do.
type lazyDeadline struct {
	context.Context // the request's
	deadline        time.Time

	mu       sync.Mutex
	timed    context.Context // nil until someone waits
	cancel   context.CancelFunc
	released bool
}

func withLazyDeadline(parent context.Context, deadline time.Time) *lazyDeadline {
	if earlier, ok := parent.Deadline(); ok && earlier.Before(deadline) {
		deadline = earlier
	}
	return &lazyDeadline{Context: parent, deadline: deadline}
}

// release ends the context, as a CancelFunc does.
func (d *lazyDeadline) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released = true
	if d.cancel != nil {
		d.cancel()
	}
}

// timer starts the timer, once. From then on the timed context answers for
// everything, so that children of d attach to it as to any other.
func (d *lazyDeadline) timer() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil {
		d.timed, d.cancel = context.WithDeadline(d.Context, d.deadline)
		if d.released {
			d.cancel()
		}
	}
	return d.timed
}

func (d *lazyDeadline) Deadline() (time.Time, bool) { return d.deadline, true }

func (d *lazyDeadline) Done() <-chan struct{} { return d.timer().Done() }

func (d *lazyDeadline) Err() error {
	d.mu.Lock()
	running := d.timed == nil && !d.released
	d.mu.Unlock()
	if running && d.Context.Err() == nil && time.Now().Before(d.deadline) {
		return nil
	}
	return d.timer().Err()
}

func (d *lazyDeadline) Value(key any) any {
	d.mu.Lock()
	timed := d.timed
	d.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return d.Context.Value(key)
}
