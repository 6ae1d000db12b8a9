package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const benchRows = 1_000_000

// mix spreads consecutive numbers over the key range, as random keys are.
func mix(i uint64) []byte { return key64(i * 0x9E3779B97F4A7C15) }

func benchValue() []byte {
	v := make([]byte, 100)
	for i := range v {
		v[i] = byte(rand.Uint32())
	}
	return v
}

// benchDB holds rows links of 100 bytes with random keys, in batches of 1,000, on the real disk.
func benchDB(b *testing.B, rows uint64) (db *DB, dir string) {
	b.Helper()
	dir = b.TempDir()
	db = must(Open(Options{Dir: dir}))
	b.Cleanup(func() { check(b, db.Close()) })
	putRows(b, db, 0, rows, nil)
	return db, dir
}

// putRows puts rows [from, to) in batches of 1,000 and tells took how long each Commit took.
func putRows(b *testing.B, db *DB, from, to uint64, took func(time.Duration)) {
	value := benchValue()
	for i := from; i < to; {
		batch := db.NewBatch()
		for range min(1000, to-i) {
			batch.Put(Links, mix(i), value)
			i++
		}
		batch.EndEntry(db.Applied().Index+1, 1)
		start := time.Now()
		check(b, batch.Commit())
		if took != nil {
			took(time.Since(start))
		}
		batch.Close()
	}
}

// BenchmarkBatch is per row: absent-check, put, and commit in batches of 1,000, over a million rows.
func BenchmarkBatch(b *testing.B) {
	db, _ := benchDB(b, benchRows)
	next := uint64(1 << 40)
	for _, what := range []string{"put", "get-absent+put", "put+commit", "get-absent+put+commit"} {
		b.Run(what, func(b *testing.B) {
			value := benchValue()
			get, commit := what[0] == 'g', what[len(what)-1] == 't' && len(what) > 14 || what == "put+commit"
			b.ReportAllocs()
			for done := 0; done < b.N; {
				batch := db.NewBatch()
				for range min(1000, b.N-done) {
					key := mix(next)
					if get && batch.Has(Links, key) {
						b.Fatal("found")
					}
					batch.Put(Links, key, value)
					next++
					done++
				}
				if commit {
					batch.EndEntry(db.Applied().Index+1, 1)
					check(b, batch.Commit())
				}
				batch.Close()
			}
		})
	}
	b.Run("one-row-commit", func(b *testing.B) {
		value := benchValue()
		for range b.N {
			putRow(b, db, mix(next), value)
			next++
		}
	})
	b.Run("floor", func(b *testing.B) {
		batch := db.NewBatch()
		defer batch.Close()
		for i := range b.N {
			batch.Floor(Links, nil, mix(uint64(i)))
		}
	})
}

func putRow(b *testing.B, db *DB, key, value []byte) {
	batch := db.NewBatch()
	defer batch.Close()
	batch.Put(Links, key, value)
	batch.EndEntry(db.Applied().Index+1, 1)
	check(b, batch.Commit())
}

func BenchmarkGet(b *testing.B) {
	db, _ := benchDB(b, benchRows)
	check(b, db.Flush())
	check(b, db.current.Load().pdb.Compact(b.Context(), []byte{0}, []byte{0xff}, true))
	for _, hit := range []bool{true, false} {
		b.Run(fmt.Sprintf("hit=%v", hit), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				i := rand.Uint64N(benchRows)
				if !hit {
					i += 1 << 40
				}
				if _, ok, err := db.Get(Links, mix(i)); ok != hit || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// BenchmarkFlush flushes full memtables while the writer goes on, and reports the longest Commit.
func BenchmarkFlush(b *testing.B) {
	db, _ := benchDB(b, benchRows)
	next := uint64(1 << 40)
	for range b.N {
		done := make(chan time.Duration)
		go func() {
			start := time.Now()
			check(b, db.Flush())
			done <- time.Since(start)
		}()
		var commits []time.Duration
		for flushing := true; flushing; {
			putRows(b, db, next, next+1000, func(d time.Duration) { commits = append(commits, d) })
			next += 1000
			select {
			case d := <-done:
				b.ReportMetric(float64(d.Milliseconds()), "ms/flush")
				flushing = false
			default:
			}
		}
		slices.Sort(commits)
		b.ReportMetric(float64(commits[len(commits)/2].Microseconds()), "us/commit-p50")
		b.ReportMetric(float64(commits[len(commits)-1].Microseconds()), "us/commit-max")
		putRows(b, db, next, next+100_000, nil) // the next flush has 13 MB to do
		next += 100_000
	}
}

func BenchmarkStream(b *testing.B) {
	db, _ := benchDB(b, benchRows)
	check(b, db.Flush())
	v := must(db.View())
	defer v.Close()
	var buf bytes.Buffer
	must(v.WriteTo(&buf))
	for name, fn := range map[string]func() error{
		"size":   func() error { _, err := v.StreamSize(); return err },
		"write":  func() error { _, err := v.WriteTo(io.Discard); return err },
		"digest": func() error { _, err := v.Digest(); return err },
		"verify": func() error { _, _, err := VerifyStream(bytes.NewReader(buf.Bytes())); return err },
		"restore": func() error {
			into, err := Open(Options{Dir: b.TempDir()})
			if err != nil {
				return err
			}
			defer into.Close()
			_, err = into.Restore(bytes.NewReader(buf.Bytes()))
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(buf.Len()))
			for range b.N {
				check(b, fn())
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	db := must(Open(Options{Dir: dir}))
	putRows(b, db, 0, benchRows, nil)
	check(b, db.Close())
	b.ResetTimer()
	for range b.N {
		db := must(Open(Options{Dir: dir}))
		if _, ok, err := db.Get(Links, mix(7)); !ok || err != nil {
			b.Fatal(ok, err)
		}
		b.StopTimer() // Close waits for a compaction that the open may have started
		check(b, db.Close())
		b.StartTimer()
	}
}

// BenchmarkChain is the share of the hash chain in an entry of 1,000 links: all
// of it, and the chain alone. What the state machine does besides is not in it.
func BenchmarkChain(b *testing.B) {
	db, _ := benchDB(b, 1000)
	value := benchValue()
	next, chain := uint64(1<<40), time.Duration(0)
	for b.Loop() {
		batch := db.NewBatch()
		for range 1000 {
			batch.Put(Links, mix(next), value)
			next++
		}
		start := time.Now()
		batch.EndEntry(db.Applied().Index+1, 1)
		chain += time.Since(start)
		check(b, batch.Commit())
		batch.Close()
	}
	b.ReportMetric(100*float64(chain)/float64(b.Elapsed()), "%-chain")
}
