package cluster

import (
	"context"
	"testing"
	"time"
)

// BenchmarkBufferPop is taking a key inside the process: at least 10 million a
// second on a core, and no allocation.
func BenchmarkBufferPop(b *testing.B) {
	const lease = 1 << 20
	buffer := testBuffer(2*lease, 2*lease)
	buffer.open(1, time.Now())
	b.ReportAllocs()
	var room [1]grant
	for left := 0; b.Loop(); left-- {
		if left == 0 {
			b.StopTimer()
			buffer.add(1, 1, run(0, lease))
			left = lease
			b.StartTimer()
		}
		if _, more, err := buffer.pop(room[:0], 1); err != nil || more != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTakeKeys is POST /v1/keys at the leader without HTTP.
func BenchmarkTakeKeys(b *testing.B) {
	n := alone(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.TakeKeys(context.Background(), TakeRequest{Count: 1}); err != nil {
			b.Fatal(err)
		}
	}
}
