package cluster_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

// Raft calls a node the leader before it has applied what the old leader had
// committed. Until its barrier it must answer nothing: no key, no read.
func TestANewLeaderServesOnlyAfterItsBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fast atomic.Value // the only node that applies at once; none: all do
		fast.Store("")
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			id := cfg.NodeID
			cfg.SlowApplies(func() {
				if only := fast.Load(); only != "" && only != id {
					<-time.After(time.Second)
				}
			})
		})
		old := c.WaitLeader()
		at := func(url string) *pb.CreateLink { return &pb.CreateLink{Alias: "known", Link: &pb.Link{Url: url}} }
		if o := c.Node(old).CreateLinks(t.Context(), []cluster.CreateRequest{{Create: at("http://example.com/old")}})[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
		c.WaitEqual(t)
		fast.Store(old)
		url := "http://example.com/new"
		if o := c.Node(old).UpdateLink(t.Context(), &pb.UpdateLink{Key: "known", Url: &url}, nil); o.Err != nil {
			t.Fatal(o.Err)
		}
		c.Kill(old)

		var elected *cluster.Node // by raft's word; whether it is ready is up to the node
		harness.AwaitTrue(t, "an election", func() bool {
			for _, id := range c.Up() {
				elected = c.Node(id)
				if s, err := elected.Status(t.Context()); err == nil && s.Leader == id {
					return true
				}
			}
			return false
		})
		behind := func() bool {
			link, err := elected.Machine().Link("known")
			return err == nil && link.Url != url
		}
		tries := 0
		for ; behind(); tries++ {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if keys, err := elected.TakeKeys(ctx, cluster.TakeRequest{Count: 1}); behind() && !errors.Is(err, cluster.ErrNoLeader) {
				t.Fatalf("a key before the barrier: %v, %v", keys, err)
			}
			if _, link, err := elected.Link(ctx, cluster.Linearizable, "known"); behind() && !errors.Is(err, cluster.ErrNoLeader) {
				t.Fatalf("a read before the barrier: %v, %v", link, err)
			}
			cancel()
		}
		if tries < 10 {
			t.Errorf("its state was complete after %d tries: this test has shown nothing", tries)
		}
		fast.Store("")
		if _, link, err := elected.Link(t.Context(), cluster.Linearizable, "known"); err != nil || link.Url != url {
			t.Errorf("ready, and reads %v, %v", link, err)
		}
	})
}
