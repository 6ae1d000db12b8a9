package fsm

import "testing"

// BenchmarkSeal is what each handed-out key costs for its receipt.
func BenchmarkSeal(b *testing.B) {
	b.ReportAllocs()
	receipt := Receipt{Space: 1, Grants: []Grant{{12345, 987654321, 1}}}
	var sealed []byte
	for b.Loop() {
		sealed = receipt.Seal(sealed[:0], testSecret)
	}
}
