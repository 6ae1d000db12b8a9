// Package store is the replicated state of one node on disk: a handful of tables in one Pebble database.
//
// It is written by one goroutine, the state machine's, in batches that carry log entries, and read by
// everyone. It knows nothing of raft, HTTP, or what its rows mean.
//
// # Reading order
//
// db.go (DB, Open), batch.go (writes), read.go and view.go (reads), stream.go and restore.go (snapshots),
// replace.go (a log entry that makes all rows anew), failure.go and fuse.go (a disk that fails), state.go
// (one generation and its references).
//
// # On disk
//
//	Dir/LOCK             held while open
//	Dir/CURRENT-STATE    the name of the directory that counts
//	Dir/state-000007/    that directory, a Pebble database
//
// In the database, the first byte of every key is its table:
//
//	0x00                 the applied row: layout version, index, term, chain (25 bytes)
//	0x01 key             a row of keyspaces
//	0x02 key             a row of unused_keys
//	...                  one number per table, see Table; never reused, never renumbered
//
// # What holds
//
//   - A batch is atomic: its rows and the applied row that counts them become visible, and survive, all
//     or none. So the rows in a state are exactly those of the entries up to its Applied().Index.
//   - Commit does not wait for the disk, the WAL is off: the raft log is the WAL. Flush and Close make
//     everything committed before them durable; Restore is durable when it returns nil.
//   - Applied().Chain is equal on two replicas that applied the same entries with the same operations,
//     however they grouped them into batches. View.Digest is equal exactly if the rows are.
//   - Reads never wait for writes. A View or a running Scan sees one moment, also across a Restore.
//   - Nothing is loaded at Open.
//
// # Crash matrix
//
// "Killed" is a kill of the process or a power loss that drops unsynced data and directory entries at
// random. Each line is a test: crash_test.go, failure_test.go, restore_test.go, open_test.go.
//
//	killed                                what the next Open finds
//	------                                ------------------------
//	between Commits                       the state after some earlier Commit, not before the last Flush;
//	                                      raft replays the entries after it
//	inside a Commit, before Flush         the same: a batch is there whole or not at all
//	inside Batch.Replace                  as in a Restore: the old state, without the batch, or the new one
//	inside Flush, or a flush or           the same; half-written tables are removed by Pebble
//	compaction in the background
//	after Flush returned nil              at least everything committed before Flush was called
//	inside the very first Open            an empty state: creation is repeated
//	inside a later Open                   what was there before
//	Restore, reading the stream or        the old state; the unfinished directory is removed
//	building the new directory
//	Restore, before the rename of         the old state; the new directory is removed
//	CURRENT-STATE
//	Restore, after the rename, before     the old state or the new one, each whole; the other directory
//	its directory is synced               is removed
//	after Restore returned nil            the new state
//	while the old state is removed        the new state; the rest of the old is removed
//
//	fails, without a crash                what happens
//	----------------------                ------------
//	the stream of a Restore               an error; the old state serves on, the debris is removed
//	a write in a Restore (full disk)      the same
//	the directory sync after the rename   ErrFailed: which state a power loss would leave is unknown
//	a write of a flush or a compaction    it waits for room if there is an AwaitRoom that does, and Commit
//	on a full disk                        waits once the memtables are full; else as below
//	a write or sync of a flush or a       ErrFailed: OnFatal, and every Commit and Flush from then on.
//	compaction                            Reads go on. Nothing more is written, even if the disk has
//	                                      room again: the next Open finds a prefix
//	a checksum, when reading              ErrCorrupt for the reader, and ErrFailed as above
//	a checksum or a missing file at Open  ErrCorrupt, with the advice to join the node again
//
// # Decisions, and the figures behind them
//
// Measured on 2 shared cores with rows of 8-byte random keys and 100-byte values; bench_test.go.
//
// Lookups go through iterators with L6 filters, not through Pebble's Get, which never asks the bloom
// filters of the last level: an absent key costs 1.4 us instead of 8. A batch keeps one such iterator and
// refreshes it: 2.6 us for absent-check and put, where IndexedBatch.Get and Set take 7.8. An indexed
// batch costs 0.11 us per Put, a plain one with a map beside it as much, so it stays the indexed one.
//
// Restore writes sorted tables and ingests them: a million rows in 0.35 s, no memtables, no compaction.
//
// Memory of a whole process with a million rows loaded and read at random, static binary: 220 MB with
// the defaults, 390 MB with memtables of 32 MiB and a cache to match.
//
// Pebble 2.1.7, as read in its source: a failed flush is repeated at once and for ever while Flush and,
// with the memtables full, Commit wait; a failed manifest write calls Logger.Fatalf, by default os.Exit,
// and goes on if that returns; a failed directory sync panics on a background goroutine; a new manifest's
// directory entry is synced together with the marker that points to it, so that a file system that
// orders nothing can lose the one and keep the other. failure.go and fuse.go turn each of these into
// ErrFailed, or close the gap.
package store
