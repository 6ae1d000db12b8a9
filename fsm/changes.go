package fsm

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// ChangeID is the place of a change of a link in the log, the same on every
// node: the index of its entry, and its number among the entry's changes, from
// 0. The last change of an entry has no number, so that its id, the index alone,
// says as well: everything up to this index.
type ChangeID struct {
	Index uint64
	N     uint32 // lastChange: no number
}

const lastChange = math.MaxUint32

// Through is the id of everything up to the entry at index.
func Through(index uint64) ChangeID { return ChangeID{index, lastChange} }

// Compare orders ids as the log has the changes.
func (id ChangeID) Compare(other ChangeID) int {
	return cmp.Or(cmp.Compare(id.Index, other.Index), cmp.Compare(id.N, other.N))
}

func (id ChangeID) String() string {
	if id.N == lastChange {
		return strconv.FormatUint(id.Index, 10)
	}
	return fmt.Sprintf("%d-%d", id.Index, id.N)
}

// ParseChangeID reads what String wrote.
func ParseChangeID(text string) (id ChangeID, ok bool) {
	index, number, numbered := strings.Cut(text, "-")
	n := uint64(lastChange)
	var err error
	if numbered {
		if n, err = strconv.ParseUint(number, 10, 32); err != nil || n == lastChange {
			return id, false
		}
	}
	id.Index, err = strconv.ParseUint(index, 10, 64)
	id.N = uint32(n)
	return id, err == nil && id.String() == text && id != ChangeID{}
}

// ChangeKind is what happened to a link.
type ChangeKind byte

const (
	LinkCreated ChangeKind = iota + 1
	LinkChanged            // also by a visit that its limit counts
	LinkDeleted            // by a command, or long after it expired
)

// Change is one change of a link, and the link as it was right after it; nil of
// one that was deleted.
type Change struct {
	ID   ChangeID
	Kind ChangeKind
	Key  string
	Link *pb.Link
}

// ChangeLog keeps the latest changes of links for those who follow them. Whoever
// reads slowly never holds up the applying goroutine: what he was to read next is
// gone one day, and he is told so.
//
// The applying goroutine writes changes into chunks of bytes, outside the lock;
// Publish, once for each call of Apply and after its commit, lets readers see
// them. What has been published of a chunk never changes.
type ChangeLog struct {
	chunk, keep int // bytes of a chunk, chunks that are kept

	// Owned by the applying goroutine: what is not published.
	entry  ChangeID      // of the next change in the present entry
	latest int           // where in tail the latest change begins
	full   []changeChunk // before tail
	tail   changeChunk
	noted  bool   // there is something to publish
	isCut  bool   // the changes begin anew
	cutAt  uint64 // after this entry

	mu     sync.Mutex
	chunks []changeChunk // the last one is what tail, or full[0], was
	first  uint64        // number of chunks[0], in the order of all that ever were
	floor  ChangeID      // all that came after it is here
	upto   uint64        // index of the last entry that is here
	moved  chan struct{} // closed by the next change; nil: nobody waits for it
}

const (
	changeChunkSize  = 32 << 10
	changeChunksKept = 256 // with the size of one: 8 MiB, some 90,000 new links

	lastOfEntry     = 0x80 // in the byte of the kind
	maxChangeHeader = 1 + binary.MaxVarintLen64 + 3*binary.MaxVarintLen32
)

// NewChangeLog returns a log that begins with the first entry.
func NewChangeLog() *ChangeLog {
	return &ChangeLog{chunk: changeChunkSize, keep: changeChunksKept, floor: Through(0)}
}

// changeChunk holds changes, each as kind, index, number, key and row of the
// link; the last two with their lengths.
type changeChunk struct {
	data []byte
	last ChangeID
}

// Add notes a change of the entry at index.
func (c *ChangeLog) Add(index uint64, kind ChangeKind, key string, row []byte) {
	if c.entry.Index != index {
		c.entry = ChangeID{Index: index}
	}
	if need := maxChangeHeader + len(key) + len(row); cap(c.tail.data)-len(c.tail.data) < need {
		if len(c.tail.data) > 0 {
			c.full = append(c.full, c.tail)
		}
		c.tail.data = make([]byte, 0, max(c.chunk, need))
	}
	c.latest = len(c.tail.data)
	data := append(c.tail.data, byte(kind))
	data = binary.AppendUvarint(data, index)
	data = binary.AppendUvarint(data, uint64(c.entry.N))
	data = append(binary.AppendUvarint(data, uint64(len(key))), key...)
	c.tail.data = append(binary.AppendUvarint(data, uint64(len(row))), row...)
	c.tail.last, c.noted = c.entry, true
	c.entry.N++
}

// EndEntry marks the last change of the entry at index, if it has some.
func (c *ChangeLog) EndEntry(index uint64) {
	if c.entry.Index == index {
		c.tail.data[c.latest] |= lastOfEntry
	}
}

// Cut has the changes begin anew after the entry at index: nobody who has not
// come so far can go on from here.
func (c *ChangeLog) Cut(index uint64) {
	clear(c.full)
	c.full, c.tail, c.entry = c.full[:0], changeChunk{}, ChangeID{}
	c.noted, c.isCut, c.cutAt = true, true, index
}

// Publish shows readers what was noted, once all up to index is in the store.
func (c *ChangeLog) Publish(index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.upto = index
	if !c.noted {
		return
	}
	if c.isCut {
		c.first += uint64(len(c.chunks)) + 1 // whoever waits in an empty log is to see it, too
		c.chunks, c.floor = nil, Through(c.cutAt)
	}
	c.chunks = append(c.chunks[:max(len(c.chunks)-1, 0)], c.full...)
	if len(c.tail.data) > 0 {
		c.chunks = append(c.chunks, c.tail)
	}
	if over := len(c.chunks) - c.keep; over > 0 {
		c.floor = c.chunks[over-1].last
		c.chunks = slices.Delete(c.chunks, 0, over)
		c.first += uint64(over)
	}
	clear(c.full)
	c.full, c.noted, c.isCut = c.full[:0], false, false
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// LinkWatch follows the changes of links. It is for one goroutine.
type LinkWatch struct {
	log   *ChangeLog
	after ChangeID
	chunk uint64 // number of the one that comes next
	at    int    // where in it
}

// Watch follows the changes after one, each once and in the order of the log; of
// the zero ChangeID those that come from now on. ErrWatchGone if this node does
// not have all of them, as it has only the latest ones since it started, or since
// its state was replaced.
func (c *ChangeLog) Watch(after ChangeID) (*LinkWatch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if after == (ChangeID{}) {
		after = Through(c.upto)
	}
	if after.Compare(c.floor) < 0 {
		return nil, c.gone(after)
	}
	return &LinkWatch{log: c, after: after, chunk: c.first}, nil
}

// Watch follows the changes of links, see ChangeLog.Watch.
func (m *Machine) Watch(after ChangeID) (*LinkWatch, error) { return m.changes.Watch(after) }

func (c *ChangeLog) gone(after ChangeID) error {
	return fmt.Errorf("%w; %s is asked for, and this node has what came after %s", ErrWatchGone, after, c.floor)
}

// After is the place up to which Next has returned all changes.
func (w *LinkWatch) After() ChangeID { return w.after }

// Next returns the next changes. If there are none yet, more is closed when there
// are. ErrWatchGone: the next ones are here no longer.
func (w *LinkWatch) Next() (changes []Change, more <-chan struct{}, err error) {
	for {
		data, more, err := w.take()
		if err != nil || more != nil {
			return nil, more, err
		}
		for len(data) > 0 {
			var next Change
			if next, data, err = w.decode(data); err != nil {
				return nil, nil, err
			}
			if next.Kind != 0 {
				changes, w.after = append(changes, next), next.ID
			}
		}
		if len(changes) > 0 {
			return changes, nil, nil
		}
	}
}

// take returns what is left of the next chunk that has something new, or waits.
func (w *LinkWatch) take() (data []byte, more <-chan struct{}, err error) {
	c := w.log
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.chunk < c.first {
		if w.after.Compare(c.floor) < 0 {
			return nil, nil, c.gone(w.after)
		}
		w.chunk, w.at = c.first, 0
	}
	for ; w.chunk < c.first+uint64(len(c.chunks)); w.chunk, w.at = w.chunk+1, 0 {
		chunk := c.chunks[w.chunk-c.first]
		if data = chunk.data[w.at:]; len(data) > 0 && w.after.Compare(chunk.last) < 0 {
			w.at = len(chunk.data)
			return data, nil, nil
		}
		if w.chunk+1 == c.first+uint64(len(c.chunks)) {
			break // it may grow
		}
	}
	if now := Through(c.upto); w.after.Compare(now) < 0 {
		w.after = now
	}
	if c.moved == nil {
		c.moved = make(chan struct{})
	}
	return nil, c.moved, nil
}

// decode reads the first change of data; without a kind if it is not after w.after.
func (w *LinkWatch) decode(data []byte) (c Change, rest []byte, err error) {
	head := data[0]
	data = data[1:]
	number := func() uint64 {
		n, size := binary.Uvarint(data)
		data = data[size:]
		return n
	}
	text := func() []byte {
		n := number()
		t := data[:n]
		data = data[n:]
		return t
	}
	c.ID = ChangeID{number(), uint32(number())}
	if head&lastOfEntry != 0 {
		c.ID = Through(c.ID.Index)
	}
	key, row := text(), text()
	if c.ID.Compare(w.after) <= 0 {
		return c, data, nil
	}
	c.Kind, c.Key = ChangeKind(head&^lastOfEntry), string(key)
	if c.Kind != LinkDeleted {
		c.Link = &pb.Link{}
		err = proto.Unmarshal(row, c.Link)
	}
	return c, data, err
}
