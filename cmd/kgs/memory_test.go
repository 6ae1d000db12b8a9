package main

import "testing"

// The limit leaves the collector room above what is alive, whatever that is.
func TestMemoryLimitLeavesRoom(t *testing.T) {
	last := int64(0)
	for live := int64(0); live < 4<<30; live += 1 << 20 {
		limit := memoryLimit(live)
		if limit < last || limit < memoryTarget || limit < live*5/4 || limit > max(memoryTarget, live*5/4+memoryTarget/4) {
			t.Fatalf("%d of %d", limit, live)
		}
		last = limit
	}
	if memoryLimit(100<<20) != memoryTarget {
		t.Errorf("%d with 100 MB alive", memoryLimit(100<<20))
	}
}
