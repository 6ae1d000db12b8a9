package test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// A member that is started at another address, with its data, is taken in there
// once an admin says where it is; it stays a voter with what it had.
func TestAMemberMovesToAnotherAddress(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	awaitRegistered(t, c)
	leader := c.WaitLeader()
	moved := c.Followers(leader)[0]
	c.Stop(moved)
	cfg := c.Config(moved)
	cfg.InitialCluster, cfg.Join = nil, []string{harness.Addr(leader)}
	cfg.ClusterAddr = moved + ":9081"
	c.RunWith(cfg)
	join := cluster.JoinRequest{ID: moved, HTTP: cfg.HTTPAdvertise, Cluster: cfg.ClusterAddr}
	if err := c.Node(leader).Join(patient(t), join); err != nil {
		t.Fatal(err)
	}
	works(t, c)
	for _, n := range mustStatus(t, c).Nodes {
		if n.ID == moved && (n.Cluster != cfg.ClusterAddr || !n.Healthy || n.Role == cluster.RoleNonvoter) {
			t.Errorf("%+v", n)
		}
	}
	mustTransferTo(t, c, moved)
	works(t, c)
	c.Kill(leader) // the others have the new address too
	c.Kill(moved)
	c.Restart(moved)
	works(t, c)
}

// names resolves addresses when they are dialed, as the operating system does.
type names struct {
	mu sync.Mutex
	at map[string]string
}

func (n *names) put(name, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[name] = addr
}

type named struct {
	cluster.Network
	names *names
}

func (n named) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	n.names.mu.Lock()
	if at, ok := n.names.at[addr]; ok {
		addr = at
	}
	n.names.mu.Unlock()
	return n.Network.Dial(addr, timeout)
}

// A name that leads to another address after a restart, as in Kubernetes, needs
// nobody: it is what the members store, and it is resolved at each dial.
func TestANameThatLeadsElsewhere(t *testing.T) {
	t.Parallel()
	dns := &names{at: map[string]string{}}
	c := harness.Start(t, 3, func(cfg *cluster.Config) {
		cfg.Network = named{cfg.Network, dns}
		cfg.ClusterAdvertise = harness.Addr(cfg.NodeID) // the name
	})
	awaitRegistered(t, c)
	for _, id := range []string{c.WaitLeader(), c.Followers(c.WaitLeader())[0]} {
		c.Kill(id)
		cfg := c.Config(id)
		cfg.ClusterAddr = id + ":9999"
		dns.put(harness.Addr(id), cfg.ClusterAddr)
		c.RunWith(cfg)
		works(t, c)
	}
}
