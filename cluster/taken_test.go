package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// takeAndBind takes a key, does something, and makes a link under the key.
func takeAndBind(t *testing.T, n *Node, between func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	keys, err := n.TakeKeys(ctx, TakeRequest{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	between(ctx)
	link := &pb.CreateLink{TakenKey: string(keys.Bytes), Link: &pb.Link{Url: "https://a.example/"}}
	if o := n.CreateLinks(ctx, []CreateRequest{{Create: link}})[0]; o.Err != nil {
		t.Fatalf("bind %s: %v", keys.Bytes, o.Err)
	}
}

// Who was given a key has it also after a hand-over that came to nothing.
func TestTakenKeyAfterAFailedHandOver(t *testing.T) {
	n := alone(t)
	for range 5 {
		takeAndBind(t, n, func(ctx context.Context) {
			if n.moveLeadership(ctx, "") == nil {
				t.Fatal("to whom?")
			}
		})
	}
}

// The first keys of a lease are handed out while the last are still encoded.
func TestTakenKeyOfALeaseOnItsWay(t *testing.T) {
	const addr = "n1:1"
	n, err := Open(Config{
		NodeID: "n1", DataDir: t.TempDir(), ClusterAddr: addr, InitialCluster: map[string]string{"n1": addr},
		Heartbeat: 50 * time.Millisecond, Election: 50 * time.Millisecond, Network: newPipeNet().at(addr),
		Keyspace: keyspace.Space{Alphabet: keyspace.Base62, Length: 6}, BufferMin: 1_000_000, BufferMax: 1_000_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for range 50 {
		takeAndBind(t, n, func(context.Context) {})
	}
}
