package fsm

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// linkCache holds encoded rows of links that were read lately: to find a row in
// the store costs ten times as much. It is bounded in bytes and the garbage
// collector has nothing to look at in it.
//
// What it holds is what the store holds, at every moment. That is for the
// applying goroutine to keep up: before a row changes in the store it has the
// key forgotten (forget, forgetAll), and from then until the change is visible
// (settled) nothing comes in. A reader that missed took the version before it
// read the store; the row it found comes in only if the version is still the
// same, for else a change may have come in between. So a hit is never older than
// what another reader has found in the store, and who was told of a change never
// sees what was before it.
//
// Only rows that are there and not deleted are held. A new link therefore needs
// no forgetting: there has never been a row of its key.
type linkCache struct {
	version atomic.Uint64 // odd while links change
	shards  [cacheShards]cacheShard
}

const (
	cacheShards     = 64
	cacheGeneration = 256 << 10 // bytes of rows; a shard has two generations
	maxCachedRow    = 16 << 10
	rowHeader       = 1 + 2 // bytes: the lengths of key and row
)

// cacheShard has two generations: rows go into the young one, and rows that are
// asked for in the old one go into the young one again. When that is full it is
// the old one, and what was not asked for in the meantime is gone.
type cacheShard struct {
	mu           sync.Mutex
	young, old   generation
	hits, misses uint64
}

// generation is rows in one piece of memory, each a key and a value with their
// lengths, found by the hash of the key. Of two keys with one hash it has the
// later one.
type generation struct {
	at   map[uint64]uint32
	rows []byte
}

var cacheSeed = maphash.MakeSeed()

func (c *linkCache) shard(key string) (*cacheShard, uint64) {
	hash := maphash.String(cacheSeed, key)
	return &c.shards[hash%cacheShards], hash
}

// get decodes the row of a key into link and says whether it has it. If not,
// version is what put wants with the row, once it has been read.
func (c *linkCache) get(key string, link *pb.Link) (ok bool, version uint64, err error) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	row, ok := s.young.find(hash, key)
	if !ok {
		if row, ok = s.old.find(hash, key); !ok {
			s.misses++
			return false, c.version.Load(), nil
		}
		if s.young.hasRoom(key, row) { // else old, where row lies, would be overwritten
			s.young.put(hash, key, row)
		}
	}
	s.hits++
	return true, 0, proto.Unmarshal(row, link)
}

// lookups counts how often get has had the row, and has not.
func (c *linkCache) lookups() (hits, misses uint64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		hits, misses = hits+s.hits, misses+s.misses
		s.mu.Unlock()
	}
	return hits, misses
}

// put takes a row that was read after version was current.
func (c *linkCache) put(key string, row []byte, version uint64) {
	if len(key) > math.MaxUint8 || len(row) > maxCachedRow {
		return
	}
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Under mu: forget comes after the version has changed, and takes mu.
	if version%2 == 0 && c.version.Load() == version {
		s.put(hash, key, row)
	}
}

// forget drops a key whose row is about to change. For the applying goroutine.
func (c *linkCache) forget(key string) {
	c.change()
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young.at, hash)
	delete(s.old.at, hash)
}

// forgetAll drops everything. For the applying goroutine.
func (c *linkCache) forgetAll() {
	c.change()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.young, s.old = generation{}, generation{}
		s.mu.Unlock()
	}
}

func (c *linkCache) change() {
	if c.version.Load()%2 == 0 {
		c.version.Add(1)
	}
}

// settled says that what was forgotten is now in the store as it shall be. For
// the applying goroutine.
func (c *linkCache) settled() {
	if c.version.Load()%2 == 1 {
		c.version.Add(1)
	}
}

func (s *cacheShard) put(hash uint64, key string, row []byte) {
	if !s.young.hasRoom(key, row) {
		s.young, s.old = s.old, s.young
		s.young.rows = s.young.rows[:0]
		clear(s.young.at)
	}
	if s.young.at == nil {
		s.young.at = map[uint64]uint32{}
	}
	s.young.put(hash, key, row)
}

func (g *generation) hasRoom(key string, row []byte) bool {
	return len(g.rows)+rowHeader+len(key)+len(row) <= cacheGeneration
}

func (g *generation) put(hash uint64, key string, row []byte) {
	g.at[hash] = uint32(len(g.rows))
	g.rows = append(g.rows, byte(len(key)))
	g.rows = binary.LittleEndian.AppendUint16(g.rows, uint16(len(row)))
	g.rows = append(append(g.rows, key...), row...)
}

func (g *generation) find(hash uint64, key string) (row []byte, ok bool) {
	at, ok := g.at[hash]
	if !ok {
		return nil, false
	}
	p := g.rows[at:]
	keyLen, rowLen := int(p[0]), int(binary.LittleEndian.Uint16(p[1:]))
	if p = p[rowHeader:]; string(p[:keyLen]) != key {
		return nil, false
	}
	return p[keyLen : keyLen+rowLen], true
}
