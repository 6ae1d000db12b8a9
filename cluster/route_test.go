package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// routed is a node that only routes, to a leader that the test names.
func routed(t *testing.T) (*Node, func(id string, term uint64)) {
	n := &Node{}
	n.ctx, n.stop = context.WithCancel(t.Context())
	lead := func(id string, term uint64) {
		w := &n.leader
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.target.cancel != nil {
			w.target.cancel()
		}
		w.target = target{id: id, addr: id + ":1", term: term}
		if id == "" {
			w.target.addr = ""
		}
		w.target.ctx, w.target.cancel = context.WithCancel(n.ctx)
		if w.changed != nil {
			close(w.changed)
		}
		w.changed = make(chan struct{})
	}
	lead("", 0)
	t.Cleanup(n.stop)
	return n, lead
}

// What the last word is when no try has succeeded before the deadline.
func TestToLeaderSaysWhatIsKnown(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		name   string
		leader string
		errs   []error // of the tries; the last one repeats
		want   error
		not    error
	}{
		{"no leader", "", nil, ErrNoLeader, fsm.ErrOutcomeUnknown},
		{"certainly not proposed", "n1", []error{ErrNotLeader, fmt.Errorf("%w: x", errNotSent)}, ErrNoLeader, fsm.ErrOutcomeUnknown},
		{"no answer once", "n1", []error{errNoAnswer, ErrNotLeader}, fsm.ErrOutcomeUnknown, ErrNoLeader},
		{"unknown once", "n1", []error{ErrNotLeader, fsm.ErrOutcomeUnknown, ErrNotLeader}, fsm.ErrOutcomeUnknown, ErrNoLeader},
		{"success after all", "n1", []error{errNoAnswer, ErrNotLeader, nil}, nil, ErrNoLeader},
		{"a refusal is final", "n1", []error{ErrNotLeader, refused, nil}, refused, ErrNoLeader},
		{"busy is final", "n1", []error{ErrBusy, nil}, ErrBusy, ErrNoLeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, lead := routed(t)
				lead(c.leader, 1)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				tries := 0
				err := n.toLeader(ctx, func(context.Context, target) error {
					err := c.errs[min(tries, len(c.errs)-1)]
					tries++
					return err
				})
				if !errors.Is(err, c.want) || errors.Is(err, c.not) {
					t.Errorf("%v after %d tries, want %v", err, tries, c.want)
				}
			})
		})
	}
}

// A try at a leader that is one no more is given up at once, not at its deadline.
func TestToLeaderGivesUpAnOldLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lead := routed(t)
		lead("old", 1)
		start := time.Now()
		go func() {
			pause(t.Context(), 100*time.Millisecond)
			lead("", 2)
			pause(t.Context(), 100*time.Millisecond)
			lead("new", 3)
		}()
		var asked []string
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := n.toLeader(ctx, func(ctx context.Context, to target) error {
			asked = append(asked, to.id)
			if to.id == "old" {
				<-ctx.Done()
				return errNoAnswer
			}
			return nil
		})
		if err != nil || fmt.Sprint(asked) != "[old new]" || time.Since(start) != 200*time.Millisecond {
			t.Errorf("%v after %s, asked %v", err, time.Since(start), asked)
		}
	})
}

// A try that was cut short by another leader's election was busy for nothing.
func TestToLeaderRepeatsWhatAnElectionCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, lead := routed(t)
		lead("old", 1)
		err := n.toLeader(t.Context(), func(ctx context.Context, to target) error {
			if to.id == "old" {
				lead("new", 2)
				<-ctx.Done()
				return ErrBusy
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestToLeaderEndsWithTheNode(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want error
	}{{"nothing happened", ErrNotLeader, ErrStopped}, {"perhaps", errNoAnswer, fsm.ErrOutcomeUnknown}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, lead := routed(t)
				lead("n1", 1)
				go func() {
					pause(t.Context(), time.Second)
					n.stop()
				}()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := n.toLeader(ctx, func(context.Context, target) error { return c.err }); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
			})
		})
	}
}

// Errors keep across an RPC what the caller decides by.
func TestErrorsKeepTheirIdentityOnTheWire(t *testing.T) {
	for code, sentinel := range wireErrors {
		if code == 0 {
			continue
		}
		there := fmt.Errorf("%w: with a detail", sentinel)
		back := codeToError(errorToCode(there), there.Error())
		if !errors.Is(back, sentinel) || back.Error() != there.Error() {
			t.Errorf("%v became %v", there, back)
		}
		if retryable(back) != retryable(sentinel) || maybeDone(back) != maybeDone(sentinel) {
			t.Errorf("%v is treated otherwise after an RPC", sentinel)
		}
	}
	if back := codeToError(errorToCode(errors.New("odd")), "odd"); back.Error() != "odd" || retryable(back) {
		t.Errorf("%v", back)
	}
	if err := codeToError(60_000, "of a newer version"); err == nil || retryable(err) {
		t.Errorf("%v", err)
	}
	unknown := &UnknownOutcomeError{Request: "r"}
	if back := codeToError(errorToCode(unknown), unknown.Error()); !maybeDone(back) {
		t.Errorf("%v became %v", unknown, back)
	}
}

// A command whose first try may be in the log is not called failed because a
// later try certainly was not proposed (P10); and a leader that was overtaken
// while the command waited there is no reason to fail it (P9).
func TestProposeCallSaysWhatIsKnown(t *testing.T) {
	done := answer{result: &pb.Result{Key: "k"}}
	for _, c := range []struct {
		name      string
		tries     []answer
		overtaken int // the try during which another leader appears; 0: none
		want      error
	}{
		{"busy", []answer{{err: ErrBusy}}, 0, ErrBusy},
		{"busy after an unknown try", []answer{{err: errNoAnswer}, {err: ErrBusy}}, 0, fsm.ErrOutcomeUnknown},
		{"refused after an unknown try", []answer{{err: fsm.ErrOutcomeUnknown}, {err: fsm.ErrKeyspaceExhausted}}, 0, fsm.ErrOutcomeUnknown},
		{"a result after an unknown try", []answer{{err: errNoAnswer}, done}, 0, nil},
		{"busy at a leader that was overtaken", []answer{{err: ErrBusy}, done}, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, lead := routed(t)
				lead("n1", 1)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				tries := 0
				commands := []*pb.Command{{Request: &pb.RequestID{Session: 1, Seq: 1}}}
				answers := make([]answer, 1)
				n.proposeCall(ctx, commands, answers, func(context.Context, target, []*pb.Command) []answer {
					a := c.tries[min(tries, len(c.tries)-1)]
					if tries++; tries == c.overtaken {
						lead("n2", 2)
					}
					return []answer{a}
				})
				if err := answers[0].err; !errors.Is(err, c.want) {
					t.Errorf("after %d tries: %v, want %v", tries, err, c.want)
				}
				n.stop()
			})
		})
	}
}
