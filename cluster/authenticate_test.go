package cluster_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

// A token is valid on every node as soon as its maker has it, also on one that
// has not heard of it yet.
func TestATokenIsValidOnANodeThatLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fast atomic.Value // the only node that applies at once; "": all do
		fast.Store("")
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			id := cfg.NodeID
			cfg.SlowApplies(func() {
				if only := fast.Load(); only != "" && only != id {
					<-time.After(time.Second)
				}
			})
		})
		leader := c.WaitLeader()
		c.WaitEqual(t)
		fast.Store(leader)
		made, err := c.Node(leader).CreateToken(t.Context(), cluster.TokenRequest{Role: pb.Role_KEYS, Name: "ci"})
		if err != nil {
			t.Fatal(err)
		}
		lagged := 0
		for _, id := range c.Up() {
			if _, known := c.Node(id).Machine().Authenticate(made.Text, time.Now().UnixMilli()); !known {
				lagged++
			}
			if role, err := c.Node(id).Authenticate(t.Context(), made.Text); role.Role != pb.Role_KEYS || err != nil {
				t.Errorf("%s: role %v, %v", id, role, err)
			}
		}
		if lagged == 0 {
			t.Error("no node lagged: this test has shown nothing")
		}
		fast.Store("")
		for _, text := range []string{fsm.NewToken(), "kgs_", ""} {
			if role, err := c.Node(leader).Authenticate(t.Context(), text); role.Role != pb.Role_NO_ROLE || err != nil {
				t.Errorf("%q: role %v, %v", text, role, err)
			}
		}
	})
}
