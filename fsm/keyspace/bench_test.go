package keyspace

import "testing"

func BenchmarkAppendKeys(b *testing.B) {
	for _, s := range []Space{{Alphabet: Base62, Length: 6}, {Alphabet: Base62, Length: 7}, {Alphabet: Base62, Length: 10}, {Alphabet: "01", Length: 62}} {
		b.Run(spaceName(s), func(b *testing.B) {
			const bulk = 10_000
			p := newTestPermutation(b, s)
			dst := make([]byte, 0, bulk*s.Length)
			b.ReportAllocs()
			var from uint64
			for b.Loop() {
				dst = p.AppendKeys(dst[:0], from, bulk)
				if from += bulk; from+bulk > p.Size() {
					from = 0
				}
			}
			b.ReportMetric(float64(b.N)*bulk/b.Elapsed().Seconds(), "keys/s")
		})
	}
}

func BenchmarkAppendKey(b *testing.B) {
	p := newTestPermutation(b, Space{Alphabet: Base62, Length: 6})
	dst := make([]byte, 0, 6)
	b.ReportAllocs()
	var pos uint64
	for b.Loop() {
		dst = p.AppendKey(dst[:0], pos)
		pos++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}

func BenchmarkPosition(b *testing.B) {
	p := newTestPermutation(b, Space{Alphabet: Base62, Length: 6})
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = string(p.AppendKey(nil, uint64(i)))
	}
	b.ReportAllocs()
	var i int
	for b.Loop() {
		if _, ok := p.Position(keys[i%len(keys)]); !ok {
			b.Fatal("not in the space")
		}
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keys/s")
}
