package test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/harness"
)

// The leader's disk hangs, but its process and network are well. Writes go on
// elsewhere within 15 seconds; the node says what it lacks, follows again when
// the disk is back, and ends if it stays away.
func TestP9_WritesGoOnWhenTheLeadersDiskHangs(t *testing.T) {
	for _, c := range []struct {
		name string
		hang time.Duration
		ends bool
	}{{"for 20 s", 20 * time.Second, false}, {"for good", 90 * time.Second, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { diskHangs(t, c.hang, c.ends) })
		})
	}
}

func diskHangs(t *testing.T, hang time.Duration, ends bool) {
	disks := memDisks{}
	c := harness.Start(t, 3, disks.tune)
	sick := c.WaitLeader()
	l := newLoad(t, c)
	for _, id := range c.Up() {
		l.client(id, func(ctx context.Context, n *cluster.Node) bool {
			<-time.After(10 * time.Millisecond)
			return create(ctx, n, linkTo("http://example.com/"), nil).Err == nil
		})
	}
	l.progress(20)
	start := time.Now()
	release := disks[sick].hang()
	c.WaitLeaderOther(sick)
	l.progress(20)
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("writes go on after %s", took)
	}
	l.end()
	said := false
	for _, check := range c.Node(sick).Ready() {
		said = said || !check.OK && strings.Contains(check.Detail, "disk hangs")
	}
	if !said {
		t.Errorf("the node does not say that its disk hangs: %+v", c.Node(sick).Ready())
	}
	<-time.After(hang - time.Since(start))
	release()
	if err := c.Fatal(sick); (err != nil) != ends {
		t.Errorf("after %s the node says %v", hang, err)
	}
	if ends {
		c.Kill(sick)
		c.Restart(sick)
	}
	c.WaitEqual(t)
}

// An entry is with the others while its leader still writes it, and is no more than
// under way until he has: nothing is acknowledged or applied. The leader dies over it,
// the client's node asks the next one: one link.
func TestEntriesTravelWhileTheLeaderWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.Start(t, 3, disks.tune)
		leader := c.WaitLeader()
		others := c.Followers(leader)
		front := c.Node(others[0])
		mustCreate(t, front, linkTo("http://example.com/1"))
		<-time.After(time.Second) // idle
		written := func(id string) uint64 {
			last, err := disks[id].log.LastIndex()
			if err != nil {
				t.Fatal(err)
			}
			return last
		}
		before := written(leader)
		release := sync.OnceFunc(disks[leader].hang())
		t.Cleanup(release)
		outcome := make(chan cluster.Outcome, 1)
		go func() { outcome <- create(patient(t), front, linkTo("http://example.com/2"), nil) }()
		for _, id := range others {
			harness.AwaitTrue(t, id+" has written the entry", func() bool { return written(id) > before })
		}
		<-time.After(100 * time.Millisecond) // some rounds of heartbeats
		if written(leader) != before {
			t.Fatal("the leader has written it, too: this test has shown nothing")
		}
		for _, id := range c.Up() {
			if page, err := c.Node(id).Links(patient(t), cluster.Local, fsm.LinkQuery{Limit: 10}); err != nil || len(page.Links) != 1 {
				t.Errorf("%s has applied it: %v, %v", id, page, err)
			}
		}
		select {
		case o := <-outcome:
			t.Errorf("answered: %+v", o)
		default:
		}
		c.Kill(leader)
		release()
		if o := <-outcome; o.Err != nil {
			t.Error(o.Err)
		}
		if got := links(t, front); got != 2 {
			t.Errorf("%d links", got)
		}
		c.Restart(leader)
		c.WaitEqual(t)
	})
}
