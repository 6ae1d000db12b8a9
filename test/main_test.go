// Package test holds what needs more than one package: here, the promises of
// the design, each under its number, on clusters in one process.
package test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clientDeadline is what the HTTP front end gives a request by default.
const clientDeadline = 5 * time.Second

// within is a context with a deadline; it ends with the test.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// patient is a context for what must work.
func patient(t testing.TB) context.Context { return within(t, 20*time.Second) }

func idem(key string) *cluster.Idempotency {
	return &cluster.Idempotency{Key: key, Fingerprint: []byte(key)}
}

func linkTo(url string) *pb.CreateLink { return &pb.CreateLink{Link: &pb.Link{Url: url}} }

func aliasTo(alias, url string) *pb.CreateLink {
	return &pb.CreateLink{Alias: alias, Link: &pb.Link{Url: url}}
}

// create creates one link.
func create(ctx context.Context, n *cluster.Node, l *pb.CreateLink, i *cluster.Idempotency) cluster.Outcome {
	return n.CreateLinks(ctx, []cluster.CreateRequest{{Create: l, Idempotency: i}})[0]
}

// mustCreate creates one link that nothing is in the way of.
func mustCreate(t testing.TB, n *cluster.Node, l *pb.CreateLink) string {
	t.Helper()
	o := create(patient(t), n, l, nil)
	if o.Err != nil {
		t.Fatalf("create through %s: %v", n.ID(), o.Err)
	}
	return o.Key
}

func mustTake(t testing.TB, n *cluster.Node, count int) cluster.Keys {
	t.Helper()
	keys, err := n.TakeKeys(patient(t), cluster.TakeRequest{Count: count})
	if err != nil {
		t.Fatalf("take %d keys through %s: %v", count, n.ID(), err)
	}
	return keys
}

// list is the keys as strings.
func list(k cluster.Keys) []string {
	keys := make([]string, k.Count())
	for i := range keys {
		keys[i] = string(k.Bytes[i*k.Length : (i+1)*k.Length])
	}
	return keys
}

func stats(t testing.TB, n *cluster.Node) cluster.KeyspaceStats {
	t.Helper()
	s, err := n.Keyspace(patient(t), cluster.Linearizable, "")
	if err != nil {
		t.Fatalf("stats through %s: %v", n.ID(), err)
	}
	return s
}
