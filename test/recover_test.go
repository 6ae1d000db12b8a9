package test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// A majority is lost for good. The survivor goes on alone with what it had, and no
// key comes again, though it knows nothing of the last that were given; the lost
// nodes, should they come back, are refused, and emptied they join again.
func TestRecoveryFromALostMajority(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			cfg.BufferMin, cfg.BufferMax = 100, 1000
		})
		leader := c.WaitLeader()
		survivor, other := c.Followers(leader)[0], c.Followers(leader)[1]
		issued := newKeyring(t)
		take := func(id string, count int) {
			t.Helper()
			issued.add(id, list(mustTake(t, c.Node(id), count))...)
		}
		known := mustCreate(t, c.Node(leader), linkTo("http://example.com/known"))
		take(leader, 50)
		c.WaitEqual(t)

		c.Isolate(survivor)
		for range 20 {
			take(leader, 2000) // leased from the log, which the survivor does not see
		}
		for _, id := range []string{survivor, leader, other} {
			c.Kill(id)
		}
		c.Heal()
		<-time.After(time.Second) // they are closed
		recovered := recoverNode(t, c.Config(survivor))
		if len(recovered.Members) != 1 || recovered.Members[0].ID != survivor {
			t.Fatalf("recovered: %+v", recovered)
		}

		c.Restart(survivor)
		c.WaitLeader()
		link, err := c.Node(survivor).Link(patient(t), cluster.Linearizable, known)
		if err != nil || link.Url != "http://example.com/known" {
			t.Errorf("%v, %v", link, err)
		}
		for range 20 {
			take(survivor, 2000)
		}

		c.Restart(leader)
		<-time.After(10 * time.Second)
		if err := c.Fatal(leader); !errors.As(err, new(*cluster.RefusedError)) {
			t.Errorf("the lost %s came back with its data: %v", leader, err)
		}
		c.Kill(leader)
		c.Wipe(leader)
		delete(disks, leader)
		c.RunJoining(leader, nil)
		works(t, c)
		take(leader, 2000)
	})
}

func TestRecoveryIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.Start(t, 1, disks.tune)
		c.WaitLeader()
		if _, err := cluster.OpenStopped(c.Config("n1")); err == nil {
			t.Error("a running node was opened")
		}
		c.Kill("n1")
		<-time.After(time.Second)
		stopped, err := cluster.OpenStopped(c.Config("n1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := stopped.Recover(0); !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("the only member was recovered: %v", err)
		}
		if err := stopped.Close(); err != nil {
			t.Fatal(err)
		}
		empty := c.Config("n1")
		empty.DataDir += "-empty"
		if _, err := cluster.OpenStopped(empty); err == nil {
			t.Error("an empty directory was opened")
		}
		c.Restart("n1")
		c.WaitLeader()
	})
}

// recoverNode makes a stopped node the whole cluster.
func recoverNode(t *testing.T, cfg cluster.Config) cluster.Survivor {
	t.Helper()
	stopped, err := cluster.OpenStopped(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stopped.Recover(0), stopped.Close()); err != nil {
		t.Fatal(err)
	}
	return stopped.Survivor()
}
