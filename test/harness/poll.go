package harness

import (
	"fmt"
	"testing"
	"time"
)

const (
	// Patience is how long a condition may take to come true. It is far above
	// what a sound cluster needs, as the machine may be busy with other work; a
	// leader refuses a second transfer for 16 s after one that failed.
	Patience = 45 * time.Second
	pollEach = 5 * time.Millisecond
)

// Await polls until check returns nil and fails the test with its last error if
// that does not happen in time.
func Await(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(pollEach)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %s: %v", what, Patience, err)
		}
	}
}

// AwaitTrue is Await for a condition without more to say.
func AwaitTrue(t testing.TB, what string, check func() bool) {
	t.Helper()
	Await(t, what, func() error {
		if !check() {
			return fmt.Errorf("still not so")
		}
		return nil
	})
}
