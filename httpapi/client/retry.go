package client

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	maxRounds  = 8
	firstPause = 100 * time.Millisecond // after the first round; doubled after each
	maxPause   = 2 * time.Second
)

// do sends a call to one address after the other, in rounds, until one answers
// for good.
func (c *Client) do(ctx context.Context, call *call) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	said := make([]error, len(c.addrs)) // by each address, in its last try
	mayHave := false                    // happened: some try has an unknown outcome
	for round := range maxRounds {
		if round > 0 && !pause(ctx, round) {
			break
		}
		first := int(c.current.Load())
		for i := range c.addrs {
			at := (first + i) % len(c.addrs)
			got, err := c.exchange(ctx, c.addrs[at], call)
			if err == nil {
				c.current.Store(uint32(at))
				return got, nil
			}
			if said[at] == nil || ctx.Err() == nil { // that the time was up tells less
				said[at] = fmt.Errorf("%s: %w", c.addrs[at], err)
			}
			mayHave = mayHave || call.mayHaveHappened(err)
			if !call.sendAgain(err) {
				return nil, call.final(err)
			}
			if ctx.Err() != nil {
				return nil, gaveUp(said, mayHave)
			}
		}
	}
	return nil, gaveUp(said, mayHave)
}

// mayHaveHappened: the error leaves open whether a mutation had its effect.
func (c *call) mayHaveHappened(err error) bool {
	if c.method == http.MethodGet {
		return false
	}
	var e *Error
	if errors.As(err, &e) {
		return e.unclear()
	}
	return !neverSent(err)
}

// sendAgain: the error leaves hope, and another try can have no second effect.
func (c *call) sendAgain(err error) bool {
	var e *Error
	if errors.As(err, &e) && !e.Retryable() && !e.unclear() {
		return false
	}
	return c.repeatable() || !c.mayHaveHappened(err)
}

// final is the error of a call that is not sent again.
func (c *call) final(err error) error {
	if c.mayHaveHappened(err) && !errors.Is(err, ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return err
}

// gaveUp is the error of a call that ran out of rounds or time.
func gaveUp(said []error, mayHave bool) error {
	err := errors.Join(said...)
	var e *Error
	if !errors.As(err, &e) {
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if mayHave && !errors.Is(err, ErrOutcomeUnknown) {
		err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return err
}

// pause waits before a round, longer each time and not in step with other
// clients; false: the time is up.
func pause(ctx context.Context, round int) bool {
	longest := min(firstPause<<(round-1), maxPause)
	timer := time.NewTimer(longest/2 + rand.N(longest/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// keyOr is the caller's idempotency key, or a new one.
func keyOr(given string) string {
	if given != "" {
		return given
	}
	return crand.Text()
}
