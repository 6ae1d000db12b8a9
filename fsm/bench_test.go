package fsm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// perCommand reports the cost of one command of an entry of n.
func perCommand(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/command")
}

// benchDriver has a large lease of the key space wide.
func benchDriver(b *testing.B) (d *driver, leaseID uint64) {
	d = emptyDriver(b)
	b.Cleanup(func() { d.close() })
	d.options = store.Options{Dir: "data"} // the store's usual sizes
	d.reopen()
	d.ok(cmd(testInit()))
	d.ok(cmd(&pb.RaiseVersion{Version: Version}))
	d.ok(generate(wide, MaxLease))
	return d, d.ok(lease(wide, 4_000_000)).Grants[0].Lease
}

// applyAll applies entries one by one; making them is not measured.
func applyAll(b *testing.B, d *driver, perEntry int, make func(i int) *pb.Command) {
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		cmds := []*pb.Command(nil)
		for range perEntry {
			cmds = append(cmds, make(i))
			i++
		}
		e := d.entry(cmds...)
		b.StartTimer()
		_, err := d.m.Apply([]LogEntry{e})
		check(b, err)
	}
	perCommand(b, perEntry)
}

// An entry has few links when few clients wait. Once somebody has asked for a link by
// its URL, all are indexed.
func BenchmarkApplyGeneratedLinks(b *testing.B) {
	for _, n := range []int{1, 10, 1000, -1000} {
		name, indexed := fmt.Sprint("links=", n), n < 0
		if indexed {
			n = -n
			name = fmt.Sprintf("links=%d/indexed", n)
		}
		b.Run(name, func(b *testing.B) {
			d, id := benchDriver(b)
			if indexed {
				d.findURL("none")
			}
			applyAll(b, d, n, func(i int) *pb.Command {
				return request(d.generated(wide, id, uint64(i)), 77, uint64(i+1), uint64(max(1, i-2000)))
			})
		})
	}
}

func BenchmarkApplyGeneratedLinksIdempotent(b *testing.B) {
	d, id := benchDriver(b)
	applyAll(b, d, 1000, func(i int) *pb.Command {
		c := request(d.generated(wide, id, uint64(i)), 77, uint64(i+1), uint64(max(1, i-2000)))
		c.Idempotency = &pb.IdempotencyKey{Key: fmt.Sprintf("%036d", i), Fingerprint: make([]byte, 32)}
		return c
	})
}

// An alias costs O(log n) with n of them there already.
func BenchmarkApplyAlias(b *testing.B) {
	for _, existing := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint("existing=", existing), func(b *testing.B) {
			d, _ := benchDriver(b)
			name := func(i int) string { return d.key(wide, uint64(60_000_000+i)) }
			for i := 0; i < existing; i += 1000 {
				cmds := []*pb.Command(nil)
				for j := range 1000 {
					cmds = append(cmds, alias(name(i+j)))
				}
				d.apply(cmds...)
			}
			applyAll(b, d, 100, func(i int) *pb.Command { return alias(name(existing + i)) })
		})
	}
}

func BenchmarkApplyLease(b *testing.B) {
	for _, n := range []uint64{1, 1_000_000} {
		b.Run(fmt.Sprint("keys=", n), func(b *testing.B) {
			d, _ := benchDriver(b)
			applyAll(b, d, 2, func(i int) *pb.Command { // leased and given back, to last
				if i%2 == 0 {
					return lease(wide, n)
				}
				return cmd(&pb.Release{Keyspace: wide, Grants: []*pb.Grant{{Lease: uint64(i/2 + 2), From: 50_000_000, Count: n}}})
			})
		})
	}
}

// The worst Generate and Lease: as many runs as they may touch.
func BenchmarkApplyLeaseOfPieces(b *testing.B) {
	d, _ := benchDriver(b)
	for i := 0; i < 400_000; i += 1000 {
		cmds := []*pb.Command(nil)
		for j := range 1000 {
			cmds = append(cmds, alias(d.key(wide, uint64(50_000_001+2*(i+j)))))
		}
		d.apply(cmds...)
	}
	applyAll(b, d, 1, func(int) *pb.Command { return lease(wide, 1_000_000) })
}

// How long a restore holds up the log: a backup with as many links as there are.
func BenchmarkRestore(b *testing.B) {
	const links = 200_000
	d, id := benchDriver(b)
	for from := 0; from < links; from += 1000 {
		var cmds []*pb.Command
		for i := range 1000 {
			cmds = append(cmds, d.generated(wide, id, uint64(from+i)))
		}
		d.apply(cmds...)
	}
	file := d.backup()
	b.ReportMetric(float64(len(file))/links, "bytes/link")
	for b.Loop() {
		b.StopTimer()
		op := &pb.RestoreBackup{Restore: fmt.Sprint("r", d.index), Term: d.term}
		for part := range slices.Chunk(file, 256<<10) {
			d.ok(cmd(&pb.StageBackup{Restore: op.Restore, Part: op.Parts, Data: part}))
			op.Parts++
		}
		b.StartTimer()
		d.ok(cmd(op))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*links), "ns/link")
}
