package test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/test/harness"
)

// A leader that stood still finds, when it goes on, answers of its followers
// from before. They are no proof that it leads: another one may have written
// since. Here the answers stand still, and the leader's lease is long, as that
// of a frozen process, which sees no time pass.
func TestP6_AnswersFromBeforeAPauseProveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = 4 * time.Second // raft waits 5 s for an answer
		c := harness.New(t, 3, nil)
		for _, id := range []string{"n1", "n2", "n3"} { // n1 forms the cluster
			cfg := c.Config(id)
			if id == "n3" {
				cfg.Heartbeat, cfg.Election = 10*pause, 10*pause
			}
			c.RunWith(cfg)
		}
		old := mustTransferTo(t, c, "n3")
		r := newRegister(t, old)
		start := time.Now()
		for _, other := range c.Followers("n3") {
			c.Net.Delay(other, "n3", pause)
		}
		<-time.After(pause / 100) // answers get under way
		for _, other := range c.Followers("n3") {
			c.Net.Cut("n3", other)
		}
		if !r.write(patient(t), c.Node(c.WaitLeaderOther("n3"))) {
			t.Fatal("no write to the new leader")
		}
		<-time.After(pause - pause/20 - time.Since(start)) // the answers are about to come in
		if _, leading := old.Age(); !leading {
			t.Fatal("the old leader knows that it is none: this test has shown nothing")
		}
		r.read(within(t, pause), old)
		c.Heal()
		if !r.read(patient(t), old) {
			t.Error("no read after the pause")
		}
	})
}
