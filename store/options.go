package store

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Logger takes the few messages the store has: leftovers removed, restores, write stalls, disk trouble.
// It may be called on any goroutine, with Pebble's locks held: it must not call the store.
type Logger interface {
	Infof(format string, args ...any)
	Errorf(format string, args ...any)
}

// Options of Open. Only Dir is required.
type Options struct {
	Dir    string
	FS     vfs.FS // nil: the operating system's
	Logger Logger // nil: quiet

	// CacheBytes bounds the block cache; 0: 64 MiB. In a static binary (CGO_ENABLED=0) it is part of the
	// Go heap, so the collector's head room comes on top (see doc.go for measured sizes).
	CacheBytes int64
	// MemTableBytes is the size at which a memtable is flushed; 0: 16 MiB. At most
	// memTablesMax of them exist at once; they start at 256 KiB and double as needed.
	MemTableBytes uint64

	// OnFatal is called once, on a goroutine of its own, when the store stops taking writes (ErrFailed):
	// a full or broken disk, or damage found in a file. nil: Commit and Flush still return the error.
	OnFatal func(error)

	// AwaitRoom is called, on any goroutine, with the error of a write in the background that found the
	// disk full. It may block; true: the write is tried again, false: it has failed. nil: false at once.
	AwaitRoom func(error) bool
}

const (
	defaultCacheBytes    = 64 << 20
	defaultMemTableBytes = 16 << 20
	memTablesMax         = 3 // one filling, two being flushed; beyond that Commit waits
	bloomBitsPerKey      = 10

	// Random keys meet all of the next level, so that each compaction rewrites it. Fewer and larger ones
	// take a tenth of the processor off an import; a read asks a filter more.
	l0Compaction = 10
	lBaseBytes   = 256 << 20

	// Pebble's default of 12 sublevels stalls writers in a long import; a stalled writer is the state
	// machine's goroutine, so reads pay a little instead.
	l0StopWrites = 64
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = quiet{}
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.AwaitRoom == nil {
		o.AwaitRoom = func(error) bool { return false }
	}
	return o
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// newCache returns the block cache that all generations of the state share. Memtables reserve their
// size out of it (Pebble's Cache.Reserve), so the one that always exists is added; those waiting to be
// flushed take from the blocks for as long as they wait.
func (o Options) newCache() *pebble.Cache {
	return pebble.NewCache(o.CacheBytes + int64(o.MemTableBytes))
}

// pebbleOptions is the tuning, see doc.go for the figures behind it.
func (o Options) pebbleOptions(cache *pebble.Cache) *pebble.Options {
	p := &pebble.Options{
		Cache:                       cache,
		DisableWAL:                  true,                         // the raft log is the WAL
		FormatMajorVersion:          pebble.FormatValueSeparation, // by name: a library upgrade must not change files unasked
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: memTablesMax,
		L0CompactionThreshold:       l0Compaction,
		LBaseMaxBytes:               lBaseBytes,
		L0StopWritesThreshold:       l0StopWrites,
		MaxOpenFiles:                512,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
	}
	return p
}
