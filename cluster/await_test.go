package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever waits hears the answer at once, and the end of his context soon: also
// when the pulse has not begun, or stops.
func TestAwait(t *testing.T) {
	const beats, none = true, false
	for name, c := range map[string]struct {
		beats                            bool
		answer, deadline, cancelled, end time.Duration // 0: never
		want                             bool
		most                             time.Duration
	}{
		"answered at once":              {beats: beats, answer: 1, want: true, most: 1},
		"answered late":                 {beats: beats, answer: time.Second, want: true, most: time.Second},
		"answered late, no pulse":       {beats: none, answer: time.Second, want: true, most: time.Second},
		"answered late, pulse stopped":  {beats: beats, end: 1, answer: time.Second, want: true, most: time.Second},
		"a short deadline":              {beats: beats, deadline: watchTick / 2, most: watchTick / 2},
		"a long deadline":               {beats: beats, deadline: 10 * watchTick, most: 10 * watchTick},
		"a deadline, no pulse":          {beats: none, deadline: 10 * watchTick, most: 10 * watchTick},
		"a deadline, pulse stopped":     {beats: beats, end: 1, deadline: 10 * watchTick, most: 10 * watchTick},
		"cancelled":                     {beats: beats, cancelled: time.Second + 1, most: time.Second + 1},
		"cancelled before the beat":     {beats: beats, cancelled: 1, most: watchTick},
		"cancelled while pulse stopped": {beats: beats, end: 1, cancelled: 2, most: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pulse{}
				running, stop := context.WithCancel(t.Context())
				defer stop()
				if c.beats {
					p.beat()
					go func() {
						defer p.stop()
						tick := time.NewTicker(watchTick)
						defer tick.Stop()
						for {
							select {
							case <-tick.C:
								p.beat()
							case <-running.Done():
								return
							}
						}
					}()
				}
				after := func(d time.Duration, do func()) {
					if d > 0 {
						time.AfterFunc(d, do)
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, c.deadline)
					defer cancel()
				}
				answered := make(chan struct{})
				after(c.answer, func() { close(answered) })
				after(c.cancelled, cancel)
				after(c.end, stop)
				start := time.Now()
				if got := p.await(ctx, answered); got != c.want {
					t.Errorf("answered: %v", got)
				}
				if waited := time.Since(start); waited > c.most {
					t.Errorf("waited %v, more than %v", waited, c.most)
				}
			})
		})
	}
}

// A try ends with its request, with its leader, and when it is over, whether or not
// somebody waited on it before that.
func TestTryContext(t *testing.T) {
	type key struct{}
	for _, waitedOn := range []bool{false, true} {
		for name, c := range map[string]struct {
			end  func(request, leader, release func())
			want error
		}{
			"request ends": {func(request, _, _ func()) { request() }, context.Canceled},
			"leader ends":  {func(_, leader, _ func()) { leader() }, context.Canceled},
			"over":         {func(_, _, release func()) { release() }, context.Canceled},
			"deadline":     {func(_, _, _ func()) { time.Sleep(time.Minute) }, context.DeadlineExceeded},
		} {
			synctest.Test(t, func(t *testing.T) {
				parent, request := context.WithTimeout(context.WithValue(t.Context(), key{}, "v"), time.Second)
				leader, end := context.WithCancel(t.Context())
				defer end()
				defer request()
				try, release := target{ctx: leader}.bound(parent)
				defer release()
				if waitedOn {
					try.Done()
				}
				synctest.Wait()
				if at, ok := try.Deadline(); try.Err() != nil || try.Value(key{}) != "v" || !ok || time.Until(at) != time.Second {
					t.Errorf("%s: %v, %v", name, try.Err(), at)
				}
				c.end(request, end, release)
				synctest.Wait()
				if err := try.Err(); !errors.Is(err, c.want) {
					t.Errorf("%s: %v, not %v", name, err, c.want)
				}
				child, cancel := context.WithCancel(try)
				defer cancel()
				select {
				case <-child.Done():
				case <-time.After(time.Second):
					t.Errorf("%s, waited on before: %v: whoever waits does not hear of it", name, waitedOn)
				}
			})
		}
	}
}
