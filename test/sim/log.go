package sim

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// memLog is raft's log and stable store on a simulated disk. What a call has
// returned for survives a power loss; a call under way may or may not.
type memLog struct {
	faults  *diskFaults
	archive *archive
	newest  func() (index, term uint64) // snapshot

	mu      sync.Mutex
	entries []raft.Log // by index; after a received snapshot there is a hole, as with bbolt
	stable  map[string][]byte
	deletes int // how often something was removed
}

func newMemLog(faults *diskFaults, a *archive) *memLog {
	return &memLog{faults: faults, archive: a, stable: map[string][]byte{}}
}

// clone is what the next process finds.
func (l *memLog) clone(faults *diskFaults) *memLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &memLog{faults: faults, archive: l.archive,
		entries: append([]raft.Log(nil), l.entries...), stable: maps.Clone(l.stable)}
}

// deletions changes with every removal.
func (l *memLog) deletions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deletes
}

// errNotFound has the text that raft looks for.
var errNotFound = errors.New("not found")

// at is where the entry with the index is, or belongs.
func (l *memLog) at(index uint64) (at int, found bool) {
	return slices.BinarySearchFunc(l.entries, index, func(e raft.Log, index uint64) int { return cmp.Compare(e.Index, index) })
}

func (l *memLog) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) == 0 {
		return 0, nil
	}
	return l.entries[0].Index, nil
}

func (l *memLog) LastIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) == 0 {
		return 0, nil
	}
	return l.entries[len(l.entries)-1].Index, nil
}

func (l *memLog) GetLog(index uint64, entry *raft.Log) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, found := l.at(index)
	if !found {
		return raft.ErrLogNotFound
	}
	*entry = l.entries[at]
	return nil
}

func (l *memLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs takes as long as the disk's sync. If it fails, it may have stored
// the entries nevertheless.
func (l *memLog) StoreLogs(entries []*raft.Log) error {
	err := l.faults.write()
	if err == nil || errors.Is(err, errAfterWrite) {
		l.store(entries)
	}
	return err
}

func (l *memLog) store(entries []*raft.Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		stored := *e
		stored.Data = slices.Clone(e.Data)
		if at, found := l.at(e.Index); found {
			l.entries[at] = stored
		} else {
			l.entries = slices.Insert(l.entries, at, stored)
		}
	}
}

// DeleteRange removes a prefix or a suffix. raft compacts only what is
// committed: a removed prefix goes to the archive, unless a snapshot of another
// form of the log has overtaken it. Of that, or a removed suffix, it cannot be told.
func (l *memLog) DeleteRange(from, to uint64) error {
	if err := l.faults.write(); err != nil && !errors.Is(err, errAfterWrite) {
		return err
	}
	index, term := l.newest()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deletes++
	begin, _ := l.at(from)
	end, _ := l.at(to + 1)
	overtaken := index == to && end > 0 && l.entries[end-1].Index == to && l.entries[end-1].Term != term
	if begin == 0 && end < len(l.entries) && !overtaken {
		l.archive.add(l.entries[:end])
	} else {
		l.archive.drop(l.entries[begin:end])
	}
	l.entries = slices.Concat(l.entries[:begin], l.entries[end:])
	return nil
}

// upTo is a copy of the entries up to an index.
func (l *memLog) upTo(index uint64) []raft.Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	end, _ := l.at(index + 1)
	return slices.Clone(l.entries[:end])
}

func (l *memLog) Set(key, value []byte) error {
	l.faults.wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stable[string(key)] = append([]byte(nil), value...)
	return nil
}

func (l *memLog) Get(key []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	value, ok := l.stable[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return value, nil
}

func (l *memLog) SetUint64(key []byte, value uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

func (l *memLog) GetUint64(key []byte) (uint64, error) {
	value, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(value), nil
}

func (l *memLog) Close() error { return nil }
