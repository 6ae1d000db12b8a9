package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// Raft's replication to a peer outlives the leadership if it is just waiting to try
// again, and then sends what the log holds by now, in the old term. Here that is what
// a later leader has put in place of entries which the peer got ahead of raft.
func TestRaftDeposedLeaderMixesNoTerms(t *testing.T) {
	shown := 0
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			if mixedTerms(t, rand.New(rand.NewPCG(seed, 0))) {
				shown++
			}
		})
	}
	if shown == 0 {
		t.Error("in no round did the old leader reach the peer in time: this test has shown nothing")
	}
}

func mixedTerms(t *testing.T, rng *rand.Rand) (shown bool) {
	r := newRig(t, rigConfig{nodes: "abcde", inFlight: 1, timeout: 2 * time.Second, tune: func(c *raft.Config) {
		if c.LocalID == "a" { // it goes on for a while
			c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 20*time.Second, 20*time.Second, 20*time.Second
		}
	}})
	defer func() {
		if stuck := r.stop(); stuck != nil {
			t.Error("not stopped:", stuck)
		}
	}()
	old, peer := r.lead("a"), r.nodes[1]
	old.raft.Apply([]byte("all have it"), time.Second).Error()
	if _, err := r.converged(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	for _, other := range "cde" {
		r.net.CutBoth("b", string(other))
	}
	r.net.Down("b")
	<-time.After(40*time.Second + time.Duration(rng.IntN(10_000))*time.Millisecond) // raft tries every 10 s
	for _, other := range "cde" {
		r.net.CutBoth("a", string(other))
	}
	r.net.Up("b")
	before, _ := peer.guard.LastIndex()
	for i := range 3 {
		old.raft.Apply(fmt.Appendf(nil, "alone/%d", i), time.Second)
		<-time.After(5 * time.Millisecond)
	}
	r.net.Down("b")
	has, _ := peer.guard.LastIndex()
	if last, _ := old.guard.LastIndex(); has == before || has == last {
		return false // it has not got some of them, ahead
	}
	term := old.raft.CurrentTerm()
	next := r.leader(10*time.Second, "a", "b")
	for i := range 5 {
		next.raft.Apply(fmt.Appendf(nil, "instead/%d", i), time.Second).Error()
	}
	<-time.After(8 * time.Second)
	for _, other := range "cde" {
		r.net.HealBoth("a", string(other))
	}
	for old.fsm.digest() != next.fsm.digest() {
		<-time.After(10 * time.Millisecond)
	}
	r.net.Up("b")
	for range 150 {
		<-time.After(100 * time.Millisecond)
		if last, _ := peer.guard.LastIndex(); last != has && peer.raft.CurrentTerm() == term {
			shown = true
		}
	}
	if err := r.logMatching(); err != nil {
		t.Error(err)
	}
	for _, other := range "cde" {
		r.net.HealBoth("b", string(other))
	}
	if _, err := r.converged(time.Minute); err != nil {
		t.Error(err)
	}
	return shown
}
