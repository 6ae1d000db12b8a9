package cluster

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A deposed leader must not write under its successor's term (raft#695). In a
// round the leader is away for 3 to 10 seconds, and comes back to clients whose
// writes have queued up:
//
//	nobody hears the leader any more, and the others elect a new one;
//	it can be reached again, and the first thing to reach it is a heartbeat, as
//	    replication to it has backed off for longer;
//	the queued writes come.
//
// With raft's fast path the heartbeat raises the term on a goroutine of the
// transport, while the main loop waits for work inside the leader's loop; the
// next write then gets the new term. A process that is frozen does not notice
// that its lease ends. Virtual time cannot freeze one process, so the leader's
// lease is longer than the pause.
const divergeRounds = 20

func TestRaftPausedLeaderDoesNotDiverge(t *testing.T) {
	for seed := range uint64(divergeRounds) {
		if err := pausedLeader(t, seed, false); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// The control: the same rounds on raft's own transport show the divergence. If
// they no longer do, the test above proves nothing.
func TestRaftPausedLeaderDivergesWithTheFastPath(t *testing.T) {
	for seed := range uint64(divergeRounds) {
		if err := pausedLeader(t, seed, true); errors.Is(err, errDiverged) {
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Errorf("%d rounds on raft's own transport, and no divergence", divergeRounds)
}

// pausedLeader runs one round and compares all logs and machines.
func pausedLeader(t *testing.T, seed uint64, bare bool) (err error) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 695))
		r := newRig(t, rigConfig{inFlight: 1, timeout: 2 * time.Second, bare: bare, tune: func(c *raft.Config) {
			if c.LocalID == "a" {
				c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 20*time.Second, 20*time.Second, 20*time.Second
			}
		}})
		defer func() {
			if stuck := r.stop(); stuck != nil {
				err = errors.Join(err, fmt.Errorf("not stopped: %v", stuck))
			}
		}()
		old := r.lead("a")
		for i := range 20 {
			old.raft.Apply(fmt.Appendf(nil, "before/%d", i), time.Second).Error()
		}
		if _, err = r.converged(10 * time.Second); err != nil {
			return
		}
		term := old.raft.CurrentTerm()
		r.net.Down(old.id)
		<-time.After(3*time.Second + time.Duration(rng.IntN(7000))*time.Millisecond)
		next := r.leader(10*time.Second, old.id)
		r.net.Up(old.id)
		for deadline := time.Now().Add(time.Minute); old.raft.CurrentTerm() == term && time.Now().Before(deadline); {
			<-time.After(time.Millisecond)
		}
		for i := range 1 + rng.IntN(3) {
			old.raft.Apply(fmt.Appendf(nil, "queued/%d", i), time.Second)
		}
		for i := range 1 + rng.IntN(5) {
			next.raft.Apply(fmt.Appendf(nil, "after/%d", i), time.Second)
		}
		<-time.After(20 * time.Second) // replication has backed off
		r.leader(20 * time.Second)
		if err = r.logMatching(); err == nil {
			_, err = r.converged(30 * time.Second)
		}
	})
	return err
}

// lead makes the node the leader.
func (r *rig) lead(id string) *rigNode {
	r.t.Helper()
	for range 10 {
		n := r.leader(10 * time.Second)
		if n.id == id {
			return n
		}
		n.raft.LeadershipTransferToServer(raft.ServerID(id), raft.ServerAddress(id)).Error()
	}
	r.t.Fatalf("%s does not lead", id)
	return nil
}

var errDiverged = errors.New("two logs differ in an entry of one index and term")

// logMatching compares (index, term, hash) of all entries in all logs: if two
// entries have index and term in common, they are the same (Raft, section 5.3).
func (r *rig) logMatching() error {
	type position struct{ index, term uint64 }
	seen := map[position][sha256.Size]byte{}
	for _, n := range r.nodes {
		for _, e := range entries(r.t, n.guard) {
			at, sum := position{e.Index, e.Term}, sha256.Sum256(append([]byte{byte(e.Type)}, e.Data...))
			if other, ok := seen[at]; ok && other != sum {
				return fmt.Errorf("%w: index %d, term %d, on %s", errDiverged, e.Index, e.Term, n.id)
			}
			seen[at] = sum
		}
	}
	return nil
}
