package cluster

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// What a commit costs after a burst of a million entries that were compacted
// away: the file keeps their pages, all free, and by default bbolt would write
// the list of them with each commit. The ratio should stay below 2.
func BenchmarkLogCommitAfterABurst(b *testing.B) {
	const burst, batchSize = 1_000_000, 10_000
	for b.Loop() {
		log, _, closeLog := mustOpenLog(b, b.TempDir())
		index := commits(b, log, 1, nil) // warm
		var before, after []time.Duration
		index = commits(b, log, index, &before)
		for from := index; index < from+burst; index += batchSize {
			if err := log.StoreLogs(batch(index, index+batchSize-1, 1)); err != nil {
				b.Fatal(err)
			}
		}
		if err := log.DeleteRange(1, index-1000); err != nil {
			b.Fatal(err)
		}
		commits(b, log, index, &after)
		closeLog()
		for name, times := range map[string][]time.Duration{"before": before, "after": after} {
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), name+"-p50-us")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), name+"-p99-us")
		}
		b.ReportMetric(float64(after[len(after)*99/100])/float64(before[len(before)*99/100]), "p99-ratio")
	}
}

// commits stores 2000 entries one by one and returns the next index.
func commits(b *testing.B, log raft.LogStore, index uint64, times *[]time.Duration) uint64 {
	for range 2000 {
		start := time.Now()
		if err := log.StoreLog(entry(index, 1, "data")); err != nil {
			b.Fatal(err)
		}
		if times != nil {
			*times = append(*times, time.Since(start))
		}
		index++
	}
	return index
}
