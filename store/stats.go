package store

// Stats is how Pebble stands, for graphs. Sizes are bytes.
type Stats struct {
	DiskBytes              uint64 // of all files
	MemtableBytes          uint64 // committed and not flushed
	CompactionDebt         uint64 // still to be moved by compactions
	ReadAmplification      int    // levels and sublevels in which a lookup may have to look
	BlockHits, BlockMisses uint64 // of the block cache, since Open
}

// Stats takes microseconds and does not read the disk.
func (db *DB) Stats() (Stats, error) {
	s, err := db.acquire()
	if err != nil {
		return Stats{}, err
	}
	defer s.unref()
	m := s.pdb.Metrics()
	return Stats{
		DiskBytes: m.DiskSpaceUsage(), MemtableBytes: m.MemTable.Size,
		CompactionDebt: m.Compact.EstimatedDebt, ReadAmplification: m.ReadAmp(),
		BlockHits: uint64(m.BlockCache.Hits), BlockMisses: uint64(m.BlockCache.Misses),
	}, nil
}
