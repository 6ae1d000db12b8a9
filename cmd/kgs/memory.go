package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector costs requests time according to how often it runs: a
// quarter of the links that a leader could make in batches, by GOGC=200. A
// node's heap is small while it has few links; then it may grow to nine times
// of what is alive. The store's cache and memtables are on the heap too: once
// they are full, the collector keeps the process at memoryTarget instead.
const (
	gcPercent    = 800
	memoryTarget = 256 << 20 // bytes of the Go runtime: heap, stacks, free memory
	memoryTick   = time.Second
)

// tuneMemory sets the collector, unless the environment does (GOGC,
// GOMEMLIMIT), and keeps it set until ctx ends.
func tuneMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryTarget)
	go func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		set := int64(memoryTarget)
		tick := time.NewTicker(memoryTick)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			metrics.Read(live)
			if limit := memoryLimit(int64(live[0].Value.Uint64())); limit != set {
				set = limit
				debug.SetMemoryLimit(limit)
			}
		}
	}()
}

// memoryLimit is above the target when so much is alive that the collector could
// not keep to it and would do nothing but try: large batches, many connections.
// It goes in steps, since to set it stops the process for a moment.
func memoryLimit(live int64) int64 {
	const step = memoryTarget / 4
	return max(memoryTarget, (live*5/4/step+1)*step)
}
