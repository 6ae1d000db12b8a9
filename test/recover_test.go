package test

import (
	"errors"
	"fmt"
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
		if recovered.LastTerm < 1000 {
			t.Errorf("recovered in term %d, to which the lost nodes may come too", recovered.LastTerm)
		}

		c.Restart(survivor)
		c.WaitLeader()
		_, link, err := c.Node(survivor).Link(patient(t), cluster.Linearizable, known)
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

// A survivor that was sent the others' state, and not yet what follows in the
// log, is ahead of its log: the recovery comes after that.
func TestRecoveryOfAStateAheadOfItsLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = time.Hour, 1000, 1
			cfg.BufferMin, cfg.BufferMax = 100, 1000
		})
		leader := c.WaitLeader()
		survivor, other := c.Followers(leader)[0], c.Followers(leader)[1]
		c.WaitEqual(t)
		c.Isolate(survivor)
		write := func(count int) {
			for range count {
				mustCreate(t, c.Node(leader), linkTo("http://example.com/"))
			}
		}
		write(20)
		if err := c.Node(leader).Snapshot(); err != nil {
			t.Fatal(err)
		}
		write(40)
		newest := c.Node(leader).Machine().Applied()
		c.Heal()
		c.Net.Delay(leader, survivor, 500*time.Millisecond)
		harness.Await(t, "the state", func() error {
			if at := c.Node(survivor).Machine().Applied(); at < newest-1 {
				return fmt.Errorf("it is at %d", at)
			}
			return nil
		})
		c.Isolate(survivor)
		issued := newKeyring(t)
		for range 3 {
			issued.add(leader, list(mustTake(t, c.Node(leader), 2000))...)
		}
		for _, id := range []string{survivor, leader, other} {
			c.Kill(id)
		}
		c.Heal()
		c.Net.Delay(leader, survivor, 0)
		<-time.After(time.Second)
		if log, _ := disks[survivor].log.LastIndex(); log >= newest {
			t.Fatalf("the log goes to %d, the state to %d", log, newest)
		}
		if found := recoverNode(t, c.Config(survivor)); found.LastIndex <= newest {
			t.Errorf("its last entry is %d, it was at %d", found.LastIndex, newest)
		}
		c.Restart(survivor)
		c.WaitLeader()
		for range 10 {
			issued.add(survivor, list(mustTake(t, c.Node(survivor), 2000))...)
			<-time.After(time.Second)
		}
		if nodes, err := c.Node(survivor).Machine().Nodes(); err != nil || len(nodes) != 1 {
			t.Errorf("the nodes are %v, %v", nodes, err)
		}
	})
}

// A survivor whose own row in the table of nodes never reached it.
func TestRecoveryOfANodeThatIsNotRegistered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.New(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			cfg.BufferMin, cfg.BufferMax = 100, 1000
		})
		for _, other := range []string{"n1", "n2"} {
			c.Net.Delay("n3", other, 250*time.Millisecond)
		}
		for _, id := range []string{"n1", "n2", "n3"} {
			c.Run(id)
		}
		m := c.Node("n3").Machine()
		harness.Await(t, "the first keys", func() error {
			if ks, err := m.Keyspace("default"); err != nil || ks.HighWaterMark == 0 {
				return fmt.Errorf("%v, %v", ks, err)
			}
			return nil
		})
		c.Isolate("n3")
		if row, err := m.Node("n3"); row != nil || err != nil {
			t.Fatalf("it is registered: %v, %v", row, err)
		}
		<-time.After(5 * time.Second)
		leader := c.WaitLeaderOther("n3")
		issued := newKeyring(t)
		for range 3 {
			issued.add(leader, list(mustTake(t, c.Node(leader), 2000))...)
		}
		for _, id := range []string{"n1", "n2", "n3"} {
			c.Kill(id)
		}
		c.Heal()
		<-time.After(time.Second)
		recoverNode(t, c.Config("n3"))
		c.Restart("n3")
		c.WaitLeader()
		for range 10 {
			issued.add("n3", list(mustTake(t, c.Node("n3"), 2000))...)
		}
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
		if err := stopped.Recover(cluster.Floors{}); !errors.Is(err, cluster.ErrRefused) {
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
	for _, floor := range []string{"dafault=5", "56800235584"} {
		var floors cluster.Floors
		if err := errors.Join(floors.Set(floor), stopped.Recover(floors)); !errors.Is(err, cluster.ErrRefused) {
			t.Fatalf("the floor %s: %v", floor, err)
		}
	}
	if err := errors.Join(stopped.Recover(cluster.Floors{}), stopped.Close()); err != nil {
		t.Fatal(err)
	}
	return stopped.Survivor()
}
