package test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
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
