package cluster_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

// A client that stays on one node sees its own writes there, however long that
// node takes to apply them.
func TestOwnWritesAreSeenOnASlowNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Value
		slow.Store("")
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			id := cfg.NodeID
			cfg.SlowApplies(func() {
				if slow.Load() == id {
					<-time.After(30 * time.Millisecond)
				}
			})
		})
		n := c.Node(c.Followers(c.WaitLeader())[0])
		slow.Store(n.ID())
		create := &pb.CreateLink{Alias: "known", Link: &pb.Link{Url: "http://example.com/"}}
		if o := n.CreateLinks(t.Context(), []cluster.CreateRequest{{Create: create}})[0]; o.Err != nil {
			t.Fatal(o.Err)
		}
		for i := range 5 {
			url := fmt.Sprintf("http://example.com/%d", i)
			if o := n.UpdateLink(t.Context(), &pb.UpdateLink{Key: "known", Url: &url}, nil); o.Err != nil {
				t.Fatal(o.Err)
			}
			if _, link, err := n.Link(t.Context(), cluster.Local, "known"); err != nil || link.Url != url {
				t.Errorf("changed to %s, reads %v, %v", url, link, err)
			}
		}
	})
}
