package cluster

import (
	"context"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm/pb"
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
			buffer.add(1, buffer.keys, 1, run(0, lease))
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

// BenchmarkTakeThroughFollower is the same at a node that asks the leader over
// loopback, 64 requests at a time, each with a deadline.
func BenchmarkTakeThroughFollower(b *testing.B) {
	n := followerOfTwo(b, Config{BufferMin: 1_000_000})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if _, err := n.TakeKeys(ctx, TakeRequest{Count: 1}); err != nil {
				b.Error(err)
			}
			cancel()
		}
	})
}

// BenchmarkCreateLinks is POST /v1/links at the leader without HTTP, of a cluster of
// one, 256 requests at a time. What the disk does shows in ns/op, not in user-ns/op.
func BenchmarkCreateLinks(b *testing.B) {
	n := alone(b)
	b.ReportAllocs()
	b.SetParallelism(256 / runtime.GOMAXPROCS(0))
	used := userTime()
	b.RunParallel(func(more *testing.PB) {
		for more.Next() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			create := &pb.CreateLink{Link: &pb.Link{Url: "https://a.example/"}}
			if o := n.CreateLinks(ctx, []CreateRequest{{Create: create}})[0]; o.Err != nil {
				b.Error(o.Err)
			}
			cancel()
		}
	})
	b.ReportMetric(float64(userTime()-used)/float64(b.N), "user-ns/op")
}

// slowDisk takes a while for each write of the log, as disks of other machines do.
type slowDisk struct{ osDisk }

type slowLog struct{ Log }

func (d slowDisk) OpenLog(dir string) (Log, error) {
	log, err := d.osDisk.OpenLog(dir)
	return slowLog{log}, err
}

func (l slowLog) StoreLogs(entries []*raft.Log) error {
	time.Sleep(2 * time.Millisecond)
	return l.Log.StoreLogs(entries)
}

// BenchmarkCreateOnSlowDisks is one client's creation, of a cluster of two whose
// disks take 2 ms a write: both write at the same time.
func BenchmarkCreateOnSlowDisks(b *testing.B) {
	n := followerOfTwo(b, Config{Disk: slowDisk{}})
	for b.Loop() {
		create := &pb.CreateLink{Link: &pb.Link{Url: "https://a.example/"}}
		if o := n.CreateLinks(b.Context(), []CreateRequest{{Create: create}})[0]; o.Err != nil {
			b.Fatal(o.Err)
		}
	}
}

// userTime is the processor time of this process, without the kernel's.
func userTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano())
}

// followerOfTwo is the follower of a cluster of two over loopback.
func followerOfTwo(tb testing.TB, cfg Config) *Node {
	tb.Helper()
	initial := map[string]string{}
	for _, id := range []string{"n1", "n2"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		initial[id] = listener.Addr().String()
		listener.Close()
	}
	nodes := map[string]*Node{}
	for id, addr := range initial {
		cfg.NodeID, cfg.DataDir, cfg.ClusterAddr, cfg.InitialCluster = id, tb.TempDir(), addr, initial
		n, err := Open(cfg)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { n.Close() })
		nodes[id] = n
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := nodes["n1"].TakeKeys(ctx, TakeRequest{Count: 1}); err != nil {
		tb.Fatal(err)
	}
	if nodes["n1"].leader.current().id == "n1" {
		return nodes["n2"]
	}
	return nodes["n1"]
}
