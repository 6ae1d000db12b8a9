package keyspace

import (
	"fmt"
	"testing"
)

// A claim takes one position out of a row and puts it back; the rows are 8
// positions long with gaps of 8 between them. Time must grow with log(rows).
func BenchmarkSetClaim(b *testing.B) {
	forRowCounts(b, func(b *testing.B, set Set, count uint64) {
		var i uint64
		for b.Loop() {
			row := (i * 7919) % count
			one := Run{row*16 + 4, row*16 + 5}
			if !set.Remove(one) || !set.Add(one) {
				b.Fatal("claim refused")
			}
			i++
		}
	})
}

func BenchmarkSetTake(b *testing.B) {
	forRowCounts(b, func(b *testing.B, set Set, _ uint64) {
		for b.Loop() {
			taken := set.Take(20, 3)
			for _, r := range taken {
				if !set.Add(r) {
					b.Fatal("return refused")
				}
			}
		}
	})
}

func BenchmarkTableCut(b *testing.B) {
	for count := uint64(100); count <= 1_000_000; count *= 10 {
		b.Run(fmt.Sprintf("rows=%d", count), func(b *testing.B) {
			table := NewTable(&treeRows[uint64]{})
			for row := range count {
				table.Insert(Run{row * 16, row*16 + 8}, row)
			}
			b.ReportAllocs()
			var i uint64
			for b.Loop() {
				row := (i * 7919) % count
				r := Run{row * 16, row*16 + 8}
				if !table.Cut(r, func(v uint64) bool { return v == row }) || !table.Insert(r, row) {
					b.Fatal("cut refused")
				}
				i++
			}
		})
	}
}

func forRowCounts(b *testing.B, f func(*testing.B, Set, uint64)) {
	for count := uint64(100); count <= 1_000_000; count *= 10 {
		b.Run(fmt.Sprintf("rows=%d", count), func(b *testing.B) {
			set := NewSet(&treeRows[struct{}]{})
			for row := range count {
				set.Add(Run{row * 16, row*16 + 8})
			}
			b.ReportAllocs()
			f(b, set, count)
		})
	}
}
