package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// MaxClients bounds Config.Clients: each is a connection.
const MaxClients = 16_384

// Config of a run. Duration or Count must be given.
type Config struct {
	Clients int
	// Rate is how many operations are due in a second, over all clients. 0: closed loop.
	Rate float64
	// Duration is how long operations are begun, Warmup not included. 0: until Count.
	Duration time.Duration
	// Count is how many operations there are. 0: until Duration.
	Count int64
	// Warmup is a time at the start that is not recorded and does not count.
	Warmup time.Duration
	// Kinds names the kinds of operations when there are several.
	Kinds []string
	// Connect makes the worker of one client, 0 to Clients-1. ctx is that of the run.
	Connect func(ctx context.Context, client int) (Worker, error)
}

// Worker does the operations of one client, one at a time.
type Worker interface {
	// Do does one operation. After an error it must be able to go on with the
	// next one. ctx ends only when the whole run is broken off.
	Do(ctx context.Context) (Done, error)
	Close() error
}

// Done is an operation that succeeded.
type Done struct {
	Kind  int // index in Config.Kinds
	Items int // keys or links in it
}

// Validate reports every fault of c.
func (c Config) Validate() error {
	var faults []error
	if c.Clients < 1 || c.Clients > MaxClients {
		faults = append(faults, fmt.Errorf("%d clients: want 1 to %d", c.Clients, MaxClients))
	}
	if c.Rate < 0 || c.Rate > 1e9 {
		faults = append(faults, fmt.Errorf("rate %g: want 0 to 1e9 a second", c.Rate))
	}
	if c.Duration < 0 || c.Count < 0 || c.Warmup < 0 {
		faults = append(faults, fmt.Errorf("duration %s, count %d, warm-up %s: none may be negative", c.Duration, c.Count, c.Warmup))
	}
	if c.Duration == 0 && c.Count == 0 {
		faults = append(faults, errors.New("neither a duration nor a count"))
	}
	if c.Connect == nil {
		faults = append(faults, errors.New("no way to connect"))
	}
	return errors.Join(faults...)
}

// Run is a run under way.
type Run struct {
	config  Config
	workers []Worker
	record  *record
	began   time.Time // recorded from then on
	tickets atomic.Int64
	stopped atomic.Bool
	done    chan struct{}
}

// connecting bounds how many clients connect at once: a server's backlog is
// bounded too.
const connecting = 64

// Start connects all clients and begins. The run is over after Wait, or soon
// after ctx ends.
func Start(ctx context.Context, config Config) (*Run, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	r := &Run{config: config, workers: make([]Worker, config.Clients), done: make(chan struct{})}
	if err := r.connect(ctx); err != nil {
		r.close()
		return nil, err
	}
	r.began = time.Now().Add(config.Warmup)
	r.record = newRecord(config, r.began)
	if config.Rate > 0 {
		r.tickets.Store(-int64(config.Rate * config.Warmup.Seconds()))
	}
	var running sync.WaitGroup
	for i := range r.workers {
		running.Go(func() { r.drive(ctx, i) })
	}
	go func() {
		running.Wait()
		if ctx.Err() != nil {
			r.Stop() // what was not sent says nothing
		}
		r.close()
		close(r.done)
	}()
	return r, nil
}

func (r *Run) connect(ctx context.Context) error {
	var dialing sync.WaitGroup
	var failed atomic.Pointer[error]
	slots := make(chan struct{}, connecting)
	for i := range r.workers {
		slots <- struct{}{}
		if ctx.Err() != nil || failed.Load() != nil {
			break
		}
		dialing.Go(func() {
			defer func() { <-slots }()
			w, err := r.config.Connect(ctx, i)
			if err != nil {
				failed.CompareAndSwap(nil, &err)
				return
			}
			r.workers[i] = w
		})
	}
	dialing.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

func (r *Run) close() {
	for _, w := range r.workers {
		if w != nil {
			_ = w.Close() // nothing more is asked of it
		}
	}
}

// The pause of a client after an operation that failed, doubled each time it
// fails again: a server in trouble is not flooded, and errors stay countable.
const (
	firstPause = time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// drive is one client.
func (r *Run) drive(ctx context.Context, client int) {
	pause := firstPause
	for {
		due, more := r.next(ctx)
		if !more {
			return
		}
		done, err := r.workers[client].Do(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return // broken off: not the server's fault
		}
		if !due.Before(r.began) {
			r.record.add(client, done, now.Sub(due), now, err)
		}
		if err == nil {
			pause = firstPause
			continue
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

// next waits until an operation is due, and returns the time from which its
// latency counts; more is false when the run is over.
func (r *Run) next(ctx context.Context) (due time.Time, more bool) {
	now := time.Now()
	if r.config.Rate == 0 {
		if r.over(now) || (r.config.Count > 0 && !now.Before(r.began) && r.tickets.Add(1) > r.config.Count) {
			return now, false
		}
		return now, ctx.Err() == nil
	}
	if r.over(now) { // before a ticket is taken: the rest is counted as unsent
		return now, false
	}
	n := r.tickets.Add(1) - 1
	due = r.began.Add(time.Duration(float64(n) / r.config.Rate * 1e9))
	if (r.config.Count > 0 && n >= r.config.Count) || r.over(due) {
		r.tickets.Add(-1)
		return due, false
	}
	sleep(ctx, due.Sub(now))
	return due, ctx.Err() == nil
}

func (r *Run) over(t time.Time) bool {
	return r.stopped.Load() || r.config.Duration > 0 && t.Sub(r.began) >= r.config.Duration
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Stop lets no more operations begin.
func (r *Run) Stop() { r.stopped.Store(true) }

// Snapshot is the run up to now.
func (r *Run) Snapshot() Summary { return r.record.summary(time.Now()) }

// Watch shows the run every so often, until its end.
func (r *Run) Watch(every time.Duration, show func(Summary)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			show(r.Snapshot())
		case <-r.done:
			return
		}
	}
}

// Wait returns the whole run, once what was under way has ended too.
func (r *Run) Wait() Summary {
	<-r.done
	s := r.record.summary(time.Time{})
	if r.config.Rate > 0 && !r.stopped.Load() {
		s.Unsent = max(0, r.scheduled()-max(0, r.tickets.Load()))
	}
	return s
}

// scheduled is how many operations were to be begun.
func (r *Run) scheduled() int64 {
	count := r.config.Count
	if r.config.Duration > 0 {
		n := int64(r.config.Rate * r.config.Duration.Seconds())
		if count == 0 || n < count {
			return n
		}
	}
	return count
}
