package cluster

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A follower may commit only what it has compared with the leader's log. Raft
// has it commit up to the leader's commit index or the end of its own log, and
// the two can be ahead of the entries that were sent: those are chosen before
// replication backs off, the commit index after it. So a deposed leader that
// comes back at that moment applies an entry of its own that nobody committed
// (the paper's rule: at most the index of the last new entry, figure 2).
func TestRaftFollowerCommitsOnlyWhatItWasSent(t *testing.T) {
	for range 5 {
		if err := staleCommit(t, false); err != nil {
			t.Fatal(err)
		}
	}
}

// The control, as for TestRaftPausedLeaderDoesNotDiverge.
func TestRaftFollowerCommitsItsOwnOnRaftsTransport(t *testing.T) {
	for range 20 {
		if err := staleCommit(t, true); errors.Is(err, errAppliedAnother) {
			t.Log(err)
			return
		}
	}
	t.Error("20 rounds on raft's own transport, and no entry applied that was never committed")
}

var errAppliedAnother = errors.New("the machines have applied different entries")

// staleCommit lets the deposed leader come back while its successor's
// replication sleeps: that has looked for entries before the successor's first
// one was stored, which takes two seconds here.
func staleCommit(t *testing.T, bare bool) (err error) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{inFlight: 1, timeout: 2 * time.Second, bare: bare})
		defer func() {
			if stuck := r.stop(); stuck != nil {
				err = errors.Join(err, fmt.Errorf("not stopped: %v", stuck))
			}
		}()
		old := r.leader(10 * time.Second)
		for i := range 5 {
			old.raft.Apply(fmt.Appendf(nil, "before/%d", i), time.Second).Error()
		}
		if _, err = r.converged(10 * time.Second); err != nil {
			return
		}
		gates := map[*rigNode]chan struct{}{}
		for _, n := range r.others(old) {
			gates[n] = make(chan struct{})
			n.disk.plan(fault{gate: gates[n]})
		}
		r.net.Down(old.id)
		old.raft.Apply([]byte("nobody else has this"), time.Second)
		next := r.successor(old)
		for n, gate := range gates {
			if n != next {
				close(gate)
			}
		}
		<-time.After(2 * time.Second)
		close(gates[next])
		for i := range 5 {
			if err = next.raft.Apply(fmt.Appendf(nil, "after/%d", i), time.Second).Error(); err != nil {
				return
			}
		}
		r.net.Up(old.id)
		<-time.After(20 * time.Second)
		if _, err = r.converged(30 * time.Second); err != nil {
			err = fmt.Errorf("%w: %v", errAppliedAnother, err)
		}
	})
	return err
}

func (r *rig) others(than *rigNode) (others []*rigNode) {
	for _, n := range r.nodes {
		if n != than {
			others = append(others, n)
		}
	}
	return others
}

// successor waits until another node believes that it leads.
func (r *rig) successor(old *rigNode) (next *rigNode) {
	eventually(r.t, "a successor", 20*time.Second, func() bool {
		for _, n := range r.others(old) {
			if n.raft.State() == raft.Leader {
				next = n
			}
		}
		return next != nil
	})
	return next
}
