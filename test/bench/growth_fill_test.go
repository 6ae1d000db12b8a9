package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/client/load"
	"github.com/kgs-cluster/kgs/test/proc"
)

// small is a key space that fills up: a million keys.
var small = keyspace.Space{Alphabet: "0123456789", Length: 6}

// fillClients create at once.
const fillClients = 16

// overFill compares the naive way of making short links (draw a random string,
// insert it if it is free, draw again if not) with that of kgs, on the same
// cluster and store, as a key space fills up. The nodes are in this process: a
// cluster of processes has only the large key space.
func (g *growth) overFill() {
	times := &Curve{ID: "fill", What: "Used keys: time of a link's creation", X: "used", LogY: true,
		Note: "The naive way draws a random key, inserts it if it is free, else draws again; both on the same cluster and store, 16 clients, a key space of a million keys."}
	tries := &Curve{ID: "fill-tries", What: "Used keys: tries a link", X: "used", LogY: true}
	for _, percent := range []int{0, 50, 90, 99} {
		nodes := g.startSmall()
		if percent > 0 { // used keys are a random share of all strings: the permutation sees to that
			g.take(nodes[0], int(small.Size())*percent/100)
		}
		step := fmt.Sprintf("%d %%", percent)
		times.Steps, tries.Steps = append(times.Steps, step), append(tries.Steps, step)
		for _, way := range []struct {
			name   string
			create func(context.Context, *cluster.Node) (tries int, err error)
		}{{"naive", drawInsertRetry}, {"kgs", createGenerated}} {
			s, err := g.load(fillClients, func(context.Context, int) (load.Worker, error) { return creator{nodes[0], way.create}, nil })
			g.must(err)
			times.add(way.name+", p50, ms", s[p50])
			times.add(way.name+", p99, ms", s[p99])
			tries.add(way.name, s[items]/s[rate])
		}
		for _, n := range nodes {
			n.Close()
		}
	}
	g.keep(times, tries)
}

// startSmall starts three nodes in this process, the leader first. Their buffer
// leaves the last percent of the keys to both ways.
func (g *growth) startSmall() []*cluster.Node {
	initial := map[string]string{}
	for i, port := range proc.FreePorts(g.t, 3) {
		initial[fmt.Sprintf("n%d", i+1)] = loopback(port)
	}
	var nodes []*cluster.Node
	for id, addr := range initial {
		nodes = append(nodes, g.open(cluster.Config{NodeID: id, DataDir: g.t.TempDir(), ClusterAddr: addr, InitialCluster: initial,
			Keyspace: small, BufferMin: 1000, BufferMax: 2000}))
	}
	g.leaderFirst(nodes)
	return nodes
}

func (g *growth) open(config cluster.Config) *cluster.Node {
	n, err := cluster.Open(config)
	g.must(err)
	g.t.Cleanup(func() { n.Close() })
	return n
}

// leaderFirst waits for a leader.
func (g *growth) leaderFirst(nodes []*cluster.Node) {
	_, err := nodes[0].TakeKeys(g.ctx, cluster.TakeRequest{Count: 1})
	g.must(err)
	slices.SortFunc(nodes, func(a, b *cluster.Node) int {
		_, leads := a.Age()
		if leads {
			return -1
		}
		return 1
	})
}

// take takes count keys, for good.
func (g *growth) take(n *cluster.Node, count int) {
	for count > 0 {
		part := min(count, 100_000)
		_, err := n.TakeKeys(g.ctx, cluster.TakeRequest{Count: part})
		g.must(err)
		count -= part
	}
}

// creator makes links in one of the two ways. The items of an operation are its
// tries.
type creator struct {
	node   *cluster.Node
	create func(context.Context, *cluster.Node) (tries int, err error)
}

func (c creator) Do(ctx context.Context) (load.Done, error) {
	tries, err := c.create(ctx, c.node)
	return load.Done{Items: tries}, err
}

func (c creator) Close() error { return nil }

func drawInsertRetry(ctx context.Context, n *cluster.Node) (tries int, err error) {
	for {
		tries++
		key := fmt.Sprintf("%06d", rand.IntN(int(small.Size())))
		o := n.CreateLinks(ctx, []cluster.CreateRequest{{Create: &pb.CreateLink{Alias: key, Link: link()}}})[0]
		if !errors.Is(o.Err, fsm.ErrAliasTaken) {
			return tries, o.Err
		}
	}
}

func createGenerated(ctx context.Context, n *cluster.Node) (tries int, err error) {
	return 1, n.CreateLinks(ctx, []cluster.CreateRequest{{Create: &pb.CreateLink{Link: link()}}})[0].Err
}

func link() *pb.Link { return &pb.Link{Url: constantURL} }
