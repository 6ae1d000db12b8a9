package fsm

import (
	"context"
	"errors"
	"testing"
)

func TestWaitApplied(t *testing.T) {
	d := newDriver(t)
	ctx := context.Background()
	check(t, d.m.WaitApplied(ctx, 0))
	check(t, d.m.WaitApplied(ctx, d.index))

	const readers = 50
	failed := make(chan error, readers)
	for i := range uint64(readers) {
		index := d.index + 1 + i%5
		go func() {
			err := d.m.WaitApplied(ctx, index)
			if err == nil && d.m.Applied() < index {
				err = errors.New("woken too early")
			}
			failed <- err
		}()
	}
	for range 5 {
		d.ok(generate(digits, 1))
	}
	for range readers {
		check(t, <-failed)
	}
	equal(t, len(d.m.waiters.indexes), 0)
}

func TestWaitAppliedReturnsWithItsContext(t *testing.T) {
	d := newDriver(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.m.WaitApplied(ctx, d.index+1) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// Who gives up is not kept: a node without a leader would collect them.
	for range 100 {
		if err := d.m.WaitApplied(ctx, d.index+1); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	equal(t, len(d.m.waiters.indexes), 0)
}
