package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a worker that does what the test says.
type fake struct {
	do     func() (Done, error)
	closed *atomic.Int64
}

func (f fake) Do(context.Context) (Done, error) { return f.do() }
func (f fake) Close() error                     { f.closed.Add(1); return nil }

func runFake(t *testing.T, config Config, do func() (Done, error)) Summary {
	t.Helper()
	var closed atomic.Int64
	config.Connect = func(context.Context, int) (Worker, error) { return fake{do, &closed}, nil }
	run, err := Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	s := run.Wait()
	if closed.Load() != int64(config.Clients) {
		t.Errorf("%d of %d workers closed", closed.Load(), config.Clients)
	}
	return s
}

func TestCount(t *testing.T) {
	for _, rate := range []float64{0, 1e6} {
		var calls atomic.Int64
		s := runFake(t, Config{Clients: 7, Count: 1000, Rate: rate}, func() (Done, error) {
			calls.Add(1)
			return Done{Items: 3}, nil
		})
		if calls.Load() != 1000 || s.Operations != 1000 || s.Items != 3000 || s.Failed != 0 || s.Unsent != 0 || s.Rate <= 0 {
			t.Errorf("rate %g: %d calls, %+v", rate, calls.Load(), s)
		}
	}
}

func TestDurationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runFake(t, Config{Clients: 3, Duration: 20 * time.Millisecond, Warmup: 10 * time.Millisecond}, func() (Done, error) {
			time.Sleep(time.Millisecond)
			return Done{}, nil
		})
		if s.Operations != 60 || s.Latency.Max < 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestStallIsCharged: a server stalls for 100 ms once. In the closed loop one
// operation was slow; at a rate all those were that were due meanwhile.
func TestStallIsCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stall := func() func() (Done, error) {
			var calls atomic.Int64
			return func() (Done, error) {
				if calls.Add(1) == 1 {
					time.Sleep(100 * time.Millisecond)
				}
				return Done{}, nil
			}
		}
		if s := runFake(t, Config{Clients: 1, Count: 100, Rate: 1000}, stall()); s.Latency.P50 < 45 || s.Latency.Max < 100 {
			t.Errorf("at a rate: %+v", s.Latency)
		}
		if s := runFake(t, Config{Clients: 1, Count: 100}, stall()); s.Latency.Max < 100 || s.Latency.P90 >= 100 {
			t.Errorf("closed loop: %+v", s.Latency)
		}
	})
}

func TestUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := runFake(t, Config{Clients: 1, Duration: 50 * time.Millisecond, Rate: 10_000}, func() (Done, error) {
			time.Sleep(20 * time.Millisecond)
			return Done{}, nil
		})
		if s.Operations+s.Unsent != 500 || s.Unsent < 490 {
			t.Errorf("%+v", s)
		}
	})
}

func TestErrorsAreCounted(t *testing.T) {
	var calls atomic.Int64
	s := runFake(t, Config{Clients: 2, Count: 10, Kinds: []string{"a", "b"}}, func() (Done, error) {
		switch n := calls.Add(1); {
		case n == 1:
			return Done{}, errors.New("strange")
		case n <= 3:
			return Done{}, &Error{Status: 503, code: "no_leader"}
		default:
			return Done{Kind: int(n % 2), Items: 1}, nil
		}
	})
	if s.Operations != 7 || s.Failed != 3 || s.Errors["error"] != 1 || s.Errors["no_leader"] != 2 || s.FirstError == "" {
		t.Errorf("%+v", s)
	}
	if len(s.Kinds) != 2 || s.Kinds[0].Operations+s.Kinds[1].Operations != 7 || s.Kinds[0].Name != "a" {
		t.Errorf("%+v", s.Kinds)
	}
}

func TestStop(t *testing.T) {
	var closed atomic.Int64
	run, err := Start(t.Context(), Config{Clients: 2, Duration: time.Hour, Connect: func(context.Context, int) (Worker, error) {
		return fake{func() (Done, error) { time.Sleep(time.Millisecond); return Done{}, nil }, &closed}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	run.Watch(time.Millisecond, func(s Summary) {
		if s.Operations > 0 {
			run.Stop()
		}
	})
	if s := run.Wait(); s.Operations == 0 {
		t.Errorf("%+v", s)
	}
}

func TestConfig(t *testing.T) {
	_, err := Start(t.Context(), Config{Rate: -1, Duration: -1})
	if err == nil {
		t.Fatal("no fault")
	}
	failed := errors.New("no server")
	if _, err := Start(t.Context(), Config{Clients: 100, Count: 1, Connect: func(context.Context, int) (Worker, error) {
		return nil, failed
	}}); err != failed {
		t.Errorf("error %v", err)
	}
}
