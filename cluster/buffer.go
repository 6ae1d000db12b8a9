package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	// bufferSeconds of recent use is what the buffer tries to hold.
	bufferSeconds = 10
	// chunkKeys is how many keys are encoded before takers see them.
	chunkKeys = 8192
)

// grant is a run of positions of one lease, with their keys encoded.
type grant struct {
	space              uint32 // as in pb.Grant
	lease, from, count uint64
	keys               []byte // one after the other
}

// split cuts off the first n keys.
func (g *grant) split(n uint64) grant {
	size := len(g.keys) / int(g.count) * int(n)
	first := grant{g.space, g.lease, g.from, n, g.keys[:size:size]}
	g.from, g.count, g.keys = g.from+n, g.count-n, g.keys[size:]
	return first
}

// buffer holds the leader's leased keys of one key space, encoded, ready to be
// popped. Its rules, each from a real system's bug:
//
//  1. Only a lease that was applied successfully, in this term, proposed by
//     this node, is added. Unknown outcome: abandoned.
//  2. It opens only after a barrier in the leader's own term.
//  3. Losing leadership empties it, for good, before anything else.
//  4. On a graceful hand-over what is left is returned through the log.
//  5. Every wait for keys has a deadline.
type buffer struct {
	keys spaceKeys // of the last length; while the key space grows there may be others, too
	min  int
	max  int
	// first is what an empty buffer aims at when somebody comes; with min 0 it
	// may have aimed at nothing.
	first int

	filling turn // held from a lease's proposal until its keys are in

	mu        sync.Mutex
	term      uint64 // 0: closed
	settled   settledLease
	coming    []keyspace.Run // positions of a lease that are about to be pushed
	comingOf  uint32         // the length that they are of
	chunks    []grant
	available int
	short     int           // keys that somebody found missing since the last came
	handedOut uint64        // since the last report
	more      chan struct{} // closed when keys are added or the buffer closes
	low       chan struct{} // poked when a refill is due
	target    int
	rate      float64 // keys per second, smoothed
	taken     uint64  // since the last look at the rate
	looked    time.Time
	leases    uint64 // that came in, in this process
	total     uint64 // handed out by this process
	lost      uint64 // dropped with leadership by this process
	dry       error  // why no more keys come, nil while they do
}

// turn is a lock that is held while the log is waited for, so that who wants it
// needs a deadline.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) leave() { <-t }

// maxShare of a key space, one in so many keys, may be in the buffer: a crash
// must not cost a small space much.
const maxShare = 100

func newBuffer(keys spaceKeys, minKeys, maxKeys int) *buffer {
	maxKeys = int(min(uint64(maxKeys), keys.perm.Size()/maxShare)) // at least 10^4: a space has 10^6 keys
	minKeys = min(minKeys, maxKeys)
	return &buffer{
		keys: keys, min: minKeys, max: maxKeys, target: minKeys,
		more: make(chan struct{}), low: make(chan struct{}, 1), filling: make(turn, 1),
	}
}

// following goes on with the counts and the pace of another buffer, nil for none,
// in whose place this one comes.
func (b *buffer) following(old *buffer) *buffer {
	if old != nil {
		s := old.stats()
		b.leases, b.total, b.lost, b.rate = s.leases, s.total, s.lost, s.rate
	}
	return b
}

// open starts a term; rules 1 and 2.
func (b *buffer) open(term uint64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reset()
	b.term, b.looked, b.taken, b.handedOut = term, now, 0, 0
}

// close empties the buffer for good and wakes who waits; rule 3. What was in it
// stays in used_keys and is counted as lost.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost += uint64(b.available)
	b.reset()
}

func (b *buffer) reset() {
	b.term, b.coming, b.chunks, b.available, b.short, b.dry = 0, nil, nil, 0, 0, nil
	b.wake()
}

func (b *buffer) wake() {
	close(b.more)
	b.more = make(chan struct{})
}

// drain closes the buffer and returns what was in it, to be released, with the
// keys handed out since the last report; rule 4.
func (b *buffer) drain() (left []*pb.Grant, handedOut uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.chunks {
		left = append(left, &pb.Grant{Space: c.space, Lease: c.lease, From: c.from, Count: c.count})
	}
	b.reset()
	return left, b.handedOut
}

// take pops n keys, waiting for them until ctx ends; rule 5. dst is appended to.
func (b *buffer) take(ctx context.Context, dst []grant, n int) ([]grant, error) {
	for {
		grants, more, err := b.pop(dst, n)
		if err != nil || more == nil {
			return grants, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return dst, ErrBusy
		}
	}
}

// pop takes n keys at once or none; then more tells when to look again.
func (b *buffer) pop(dst []grant, n int) (grants []grant, more <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.term == 0 {
		return dst, nil, ErrNotLeader
	}
	if b.available-n < b.target/2 {
		b.poke()
	}
	space, ok := b.lengthWith(n)
	if !ok {
		if b.dry != nil {
			return dst, nil, b.dry
		}
		b.target = max(b.target, min(max(2*n, b.first), b.max))
		b.short = max(b.short, n)
		return dst, b.more, nil
	}
	for at, left := 0, n; left > 0; {
		c := &b.chunks[at]
		if c.space != space {
			at++
			continue
		}
		k := min(left, int(c.count))
		dst = append(dst, c.split(uint64(k)))
		if c.count == 0 && at == 0 {
			b.chunks = b.chunks[1:]
		} else if c.count == 0 {
			b.chunks = slices.Delete(b.chunks, at, at+1)
		}
		left -= k
	}
	b.available -= n
	b.handedOut += uint64(n)
	b.taken += uint64(n)
	b.total += uint64(n)
	return dst, nil, nil
}

// lengthWith finds the first length that n keys are here of: a caller gets keys of
// one.
func (b *buffer) lengthWith(n int) (space uint32, ok bool) {
	if b.available < n {
		return 0, false
	}
	if first := b.chunks[0]; int(first.count) >= n {
		return first.space, true
	}
	for i, c := range b.chunks {
		if i == 0 || c.space != b.chunks[i-1].space {
			if b.availableOf(c.space) >= n {
				return c.space, true
			}
		}
	}
	return 0, false
}

func (b *buffer) availableOf(space uint32) (n int) {
	for _, c := range b.chunks {
		if c.space == space {
			n += int(c.count)
		}
	}
	return n
}

// add puts an applied lease of this term, of the length that the keys are of, into
// the buffer, a chunk at a time so that takers need not wait for the whole. It
// reports false once the buffer has left the term: the rest is abandoned.
func (b *buffer) add(term uint64, of spaceKeys, lease uint64, run keyspace.Run) bool {
	for _, part := range of.unblocked(run) {
		for from := part.From; from < part.To; from += chunkKeys {
			n := min(chunkKeys, part.To-from)
			keys := of.perm.AppendKeys(make([]byte, 0, int(n)*of.perm.Space().KeyLength()), from, n)
			for part := range of.allowed(grant{of.space, lease, from, n, keys}) {
				if !b.push(term, part) {
					return false
				}
			}
		}
	}
	return true
}

// abandon counts keys that were drained but could not be given back.
func (b *buffer) abandon(left []*pb.Grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range left {
		b.lost += g.Count
	}
}

// poke asks for a look at whether a refill is due.
func (b *buffer) poke() {
	select {
	case b.low <- struct{}{}:
	default:
	}
}

// runDry says why no more keys come: who waits is told so.
func (b *buffer) runDry(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dry = why
	b.wake()
}

func (b *buffer) push(term uint64, g grant) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.term != term {
		b.lost += g.count
		return false
	}
	b.arrived(g.from, g.from+g.count)
	b.chunks = append(b.chunks, g)
	b.available += int(g.count)
	b.short, b.dry = 0, nil // who still lacks some says so again
	b.wake()
	return true
}

// want says how many keys the next lease should bring, 0 while there are
// enough, and how many were handed out since the last report. Many of those are
// to be reported also without a lease: until then a crash counts them as lost.
func (b *buffer) want(now time.Time) (count int, handedOut uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.term == 0 {
		return 0, 0
	}
	if elapsed := now.Sub(b.looked).Seconds(); elapsed > 0.1 {
		b.rate += (float64(b.taken)/elapsed - b.rate) * min(1, elapsed/bufferSeconds*2)
		b.target = min(max(int(b.rate*bufferSeconds), b.target*3/4, b.min), b.max)
		b.taken, b.looked = 0, now
	}
	count = b.target - b.available
	if most := b.mostOfALength(); most < b.short { // also when the target has sunk meanwhile
		count = max(count, 2*b.short-most)
	} else if b.available > b.target/2 {
		if count = 0; b.handedOut <= uint64(b.max)/2 {
			return 0, 0
		}
	}
	handedOut, b.handedOut = b.handedOut, 0
	return count, handedOut
}

// mostOfALength is the most that one caller can have, if anybody lacks some.
func (b *buffer) mostOfALength() (most int) {
	if b.short == 0 {
		return 0
	}
	for _, c := range b.chunks {
		most = max(most, b.availableOf(c.space))
	}
	return most
}

// gave notes keys that were leased in the term and handed out past the buffer.
func (b *buffer) gave(term, keys uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.term == term {
		b.handedOut += keys
		b.poke()
	}
}

// unreported puts back what want said was handed out: the report did not get
// into the log. Keys that are never reported would be counted as lost.
func (b *buffer) unreported(handedOut uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handedOut += handedOut
}

// settledLease is a term's newest lease of which the buffer knows every key:
// given to somebody, or held. It outlives a hand-over that fails: who was given
// keys before still has them in the same term.
type settledLease struct{ term, index uint64 }

// settle takes notice of the term's lease at the log index before any of its
// keys is given to anybody: those of coming are about to be pushed.
func (b *buffer) settle(term, index uint64, of uint32, coming []keyspace.Run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.term == term {
		b.settled, b.coming, b.comingOf = settledLease{term, index}, coming, of
		b.leases++
	}
}

// arrived takes a pushed run, and what was left out before it, off what is coming.
func (b *buffer) arrived(from, to uint64) {
	for len(b.coming) > 0 && !b.coming[0].Contains(from) {
		b.coming = b.coming[1:]
	}
	if len(b.coming) > 0 {
		if b.coming[0].From = to; b.coming[0].From >= b.coming[0].To {
			b.coming = b.coming[1:]
		}
	}
}

// holds tells whether a position of a length is in the buffer or on its way there, not
// handed out, and up to which lease of this term, by log index, the answer is good.
func (b *buffer) holds(space uint32, pos uint64) (held bool, settledTo uint64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.term == 0 {
		return false, 0, ErrNotLeader
	}
	if b.settled.term == b.term {
		settledTo = b.settled.index
	}
	for _, c := range b.chunks {
		held = held || c.space == space && pos >= c.from && pos-c.from < c.count
	}
	for _, run := range b.coming {
		held = held || b.comingOf == space && run.Contains(pos)
	}
	return held, settledTo, nil
}

// bufferStats is a look at the buffer.
type bufferStats struct {
	available, target   int
	rate                float64
	leases, total, lost uint64
}

func (b *buffer) stats() bufferStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bufferStats{b.available, b.target, b.rate, b.leases, b.total, b.lost}
}
