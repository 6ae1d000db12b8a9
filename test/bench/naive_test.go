package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// small is a key space that fills up: a million keys.
var small = keyspace.Space{Alphabet: "0123456789", Length: 6}

// BenchmarkNaive compares the naive way of making short links (draw a random
// string, insert it if it is free, draw again if not) with kgs' own, on the
// same cluster of three with the same store, as the key space fills up.
// Both create links durably, 16 at a time.
func BenchmarkNaive(b *testing.B) {
	for _, fill := range []uint64{0, 50, 90, 99} {
		nodes := startNodes(b, cluster.Config{Keyspace: small, BufferMin: 1000, BufferMax: 2000}) // leaves the last percent to both
		if fill > 0 {                                                                             // used keys are a random share of all strings: the permutation sees to that
			take(b, nodes[0], int(small.Size()*fill/100))
		}
		b.Run(fmt.Sprintf("fill=%d%%/naive", fill), func(b *testing.B) { measure(b, nodes[0], drawInsertRetry) })
		b.Run(fmt.Sprintf("fill=%d%%/kgs", fill), func(b *testing.B) { measure(b, nodes[0], createGenerated) })
		for _, n := range nodes {
			n.Close()
		}
	}
}

func take(b *testing.B, n *cluster.Node, count int) {
	b.Helper()
	for count > 0 {
		part := min(count, 100_000)
		if _, err := n.TakeKeys(context.Background(), cluster.TakeRequest{Count: part}); err != nil {
			b.Fatal(err)
		}
		count -= part
	}
}

// workers is how many clients create at once.
const workers = 16

// measure runs create b.N times and reports tries a link and latencies.
func measure(b *testing.B, n *cluster.Node, create func(context.Context, *cluster.Node) (tries int, err error)) {
	latencies := make([]time.Duration, b.N)
	tries := make([]int, workers)
	var running sync.WaitGroup
	b.ResetTimer()
	for w := range workers {
		running.Go(func() {
			for i := w; i < b.N; i += workers {
				start := time.Now()
				t, err := create(context.Background(), n)
				if err != nil {
					b.Error(err)
					return
				}
				latencies[i] = time.Since(start)
				tries[w] += t
			}
		})
	}
	running.Wait()
	b.StopTimer()
	total := 0
	for _, t := range tries {
		total += t
	}
	b.ReportMetric(float64(total)/float64(b.N), "tries/link")
	b.ReportMetric(float64(percentile(latencies, 0.5).Microseconds()), "p50-µs")
	b.ReportMetric(float64(percentile(latencies, 0.99).Microseconds()), "p99-µs")
}

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

func link() *pb.Link {
	return &pb.Link{Url: "https://www.example.org/articles/2026/why-keys-collide.html"}
}
