package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"runtime/debug"
	"syscall"
)

// The shape of a bbolt file (go.etcd.io/bbolt/internal/common, version 2):
//
//	page    id u64 | flags u16 | count u16 | overflow u32 | elements of 16 bytes | their keys and values
//	meta    magic u32 | version u32 | page size u32 | flags u32 | root u64 | sequence u64 | free list u64 | pages u64 | txid u64 | FNV-1a u64
//	branch  position u32 | key size u32 | page u64
//	leaf    flags u32 | position u32 | key size u32 | value size u32
//
// Numbers are little endian on every machine that kgs is built for, positions
// count from the element. The value of a bucket is root u64 | sequence u64,
// and for root 0 a page of its own behind it.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHead   = 16
	boltElement    = 16
	boltMeta       = 64
	boltBranchPage = 1
	boltLeafPage   = 2
	boltBucketLeaf = 1
	boltMaxDepth   = 64 // a tree of 2^64 pages would be as deep
)

var errBadPage = errors.New("bad page")

// boltTree is a bbolt file under examination.
type boltTree struct {
	data     []byte
	pageSize uint64
	pages    uint64 // in use, or free for use, from the start of the file
	root     uint64
	seen     []bool // pages that something refers to
	in       string // the bucket being walked; "": that of the buckets
	last     uint64 // entry of the log, so far
}

// checkBoltTree makes sure that bbolt can walk the file, and raft-boltdb use its
// rows: neither checks what it finds, and damage makes them panic or fault on a
// goroutine where nobody can recover. The caller holds bbolt's lock on the file.
func checkBoltTree(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	data, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, syscall.Munmap(data)) }()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine: a block that the disk cannot read is a SIGBUS
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errBadPage, r)
		}
	}()
	t := &boltTree{data: data}
	if err := t.readMeta(); err != nil {
		return err
	}
	t.seen = make([]bool, t.pages)
	return t.page(t.root, nil, nil, 0)
}

// readMeta takes the newer of the two meta pages that are intact, as bbolt does.
func (t *boltTree) readMeta() error {
	var newest uint64
	le := binary.LittleEndian
	for at := uint64(0); at <= uint64(os.Getpagesize()); at += uint64(os.Getpagesize()) {
		if at+boltPageHead+boltMeta > uint64(len(t.data)) {
			break
		}
		m := t.data[at+boltPageHead:][:boltMeta]
		sum := fnv.New64a()
		sum.Write(m[:boltMeta-8])
		txid := le.Uint64(m[48:])
		if le.Uint32(m) != boltMagic || le.Uint32(m[4:]) != boltVersion || le.Uint64(m[56:]) != sum.Sum64() || t.pageSize != 0 && txid < newest {
			continue
		}
		newest = txid
		t.pageSize, t.root, t.pages = uint64(le.Uint32(m[8:])), le.Uint64(m[16:]), le.Uint64(m[40:])
	}
	if t.pageSize != uint64(os.Getpagesize()) || t.pages > uint64(len(t.data))/t.pageSize {
		return fmt.Errorf("%w: the head is damaged, or the file is cut off after %d bytes", errBadPage, len(t.data))
	}
	return nil
}

// page checks a page and what it refers to. Its keys are at least low and
// below high; nil: no bound.
func (t *boltTree) page(id uint64, low, high []byte, depth int) error {
	if id < 2 || id >= t.pages || depth > boltMaxDepth {
		return fmt.Errorf("%w: %d of %d", errBadPage, id, t.pages)
	}
	head := t.data[id*t.pageSize:][:boltPageHead]
	end := id + 1 + uint64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint64(head) != id || end > t.pages {
		return fmt.Errorf("%w: %d", errBadPage, id)
	}
	for i := id; i < end; i++ {
		if t.seen[i] {
			return fmt.Errorf("%w: %d is referred to twice", errBadPage, i)
		}
		t.seen[i] = true
	}
	return t.elements(t.data[id*t.pageSize:end*t.pageSize], id, low, high, depth)
}

// elements checks the content of a page; data ends with it.
func (t *boltTree) elements(data []byte, id uint64, low, high []byte, depth int) error {
	le := binary.LittleEndian
	if len(data) < boltPageHead {
		return fmt.Errorf("%w: %d", errBadPage, id)
	}
	flags, count := le.Uint16(data[8:]), int(le.Uint16(data[10:]))
	if flags != boltBranchPage && flags != boltLeafPage || boltPageHead+count*boltElement > len(data) ||
		flags == boltBranchPage && count == 0 {
		return fmt.Errorf("%w: %d has flags %#x and %d elements", errBadPage, id, flags, count)
	}
	var keys, values [][]byte
	for i := range count {
		at := boltPageHead + i*boltElement
		e := data[at:][:boltElement]
		position, keySize, valueSize := le.Uint32(e), le.Uint32(e[4:]), uint32(0)
		if flags == boltLeafPage {
			position, keySize, valueSize = le.Uint32(e[4:]), le.Uint32(e[8:]), le.Uint32(e[12:])
		}
		from := uint64(at) + uint64(position)
		if keySize == 0 || from+uint64(keySize)+uint64(valueSize) > uint64(len(data)) {
			return fmt.Errorf("%w: %d, element %d has no key, or is out of bounds", errBadPage, id, i)
		}
		key := data[from:][:keySize]
		if i == 0 && bytes.Compare(key, low) < 0 || i > 0 && bytes.Compare(key, keys[i-1]) <= 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return fmt.Errorf("%w: %d, element %d is out of order", errBadPage, id, i)
		}
		keys, values = append(keys, key), append(values, data[from+uint64(keySize):][:valueSize])
	}
	for i := range count {
		e := data[boltPageHead+i*boltElement:][:boltElement]
		var err error
		switch {
		case flags == boltBranchPage:
			next := high
			if i+1 < count {
				next = keys[i+1]
			}
			err = t.page(le.Uint64(e[8:]), keys[i], next, depth+1)
		case le.Uint32(e) == boltBucketLeaf && t.in == "":
			err = t.bucket(string(keys[i]), values[i], id, depth)
		case le.Uint32(e) != 0:
			err = fmt.Errorf("%w: %d, element %d has flags %#x", errBadPage, id, i, le.Uint32(e))
		default:
			err = t.row(keys[i], values[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *boltTree) bucket(name string, value []byte, id uint64, depth int) error {
	if len(value) < 16 {
		return fmt.Errorf("%w: %d has a bucket without root", errBadPage, id)
	}
	t.in = name
	defer func() { t.in = "" }()
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return t.page(root, nil, nil, depth+1)
	}
	return t.elements(value[16:], id, nil, nil, depth+1)
}

// row: raft's entries count up, each under a key of eight bytes, and so long are
// the numbers of its stable store.
func (t *boltTree) row(key, value []byte) error {
	switch {
	case t.in == "logs":
		if len(key) != 8 || t.last > 0 && binary.BigEndian.Uint64(key) != t.last+1 {
			return fmt.Errorf("%w: key %x after entry %d", errBadPage, key, t.last)
		}
		t.last = binary.BigEndian.Uint64(key)
	case t.in == "conf" && (string(key) == "CurrentTerm" || string(key) == "LastVoteTerm"):
		if len(value) != 8 {
			return fmt.Errorf("%w: %s is %x", errBadPage, key, value)
		}
	}
	return nil
}
