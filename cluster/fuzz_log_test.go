package cluster

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// logBytes is a small log as it lies on disk, with a tree of more than one level.
func logBytes(f *testing.F) []byte {
	dir := f.TempDir()
	log, stable, closeLog := mustOpenLog(f, dir)
	for i := range uint64(12) {
		var batch []*raft.Log
		for j := range uint64(10) {
			batch = append(batch, entry(10*i+j+1, 1, strings.Repeat("x", 100)))
		}
		if err := errors.Join(log.StoreLogs(batch), stable.SetUint64([]byte("CurrentTerm"), i)); err != nil {
			f.Fatal(err)
		}
	}
	if err := errors.Join(log.DeleteRange(1, 20), closeLog()); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, logFile))
	if err != nil {
		f.Fatal(err)
	}
	return data
}

// edit changes a file as the fuzzer's bytes say: single bytes, whole pages, its length.
func edit(file, edits []byte) []byte {
	data := append([]byte(nil), file...)
	page := os.Getpagesize()
	for ; len(edits) >= 5 && len(data) >= 2*page; edits = edits[5:] {
		at := int(binary.BigEndian.Uint32(edits)>>4) % len(data)
		from := int(edits[4]) * page % (len(data) - page)
		switch to := at / page * page; edits[3] & 15 {
		case 0:
			copy(data[to:to+page], data[from:])
		case 1:
			clear(data[to:min(to+page, len(data))])
		case 2:
			data = data[:at]
		default:
			data[at] = edits[4]
		}
	}
	return data
}

// Whatever has become of the log's file, it is refused as damaged, or it can be
// read and written: no panic, no fault, no endless loop.
func FuzzLogFile(f *testing.F) {
	good := logBytes(f)
	f.Add([]byte{})
	f.Add([]byte("\x00\x00\x00\x01\x00"))
	f.Add([]byte("\x00\x04\x01\x03\x07\x00\x08\x02\x0f\x7f"))
	f.Add([]byte("\x00\x05\x00\x02\x00"))
	f.Add([]byte("\x00\x03\x00\x00\x04\x00\x01\x00\x01\x00"))
	for at := range uint32(6) { // the head of each page: id, flags, count
		f.Add(append(binary.BigEndian.AppendUint32(nil, (at*4096+8)<<4|9), 0x0d))
		f.Add(append(binary.BigEndian.AppendUint32(nil, (at*4096+10)<<4|9), 0xff))
		f.Add(append(binary.BigEndian.AppendUint32(nil, (at*4096+20)<<4|9), 0xee))
	}
	f.Fuzz(func(t *testing.T, edits []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, logFile)
		if err := os.WriteFile(path, edit(good, edits[:min(len(edits), 100)]), 0o600); err != nil {
			t.Fatal(err)
		}
		log, stable, closeLog, err := openLog(osDisk{}, dir, logConfig{})
		if err != nil {
			if !errors.Is(err, ErrLogCorrupt) {
				t.Fatalf("refused, but as %v", err)
			}
			return
		}
		for i := range uint64(125) {
			log.GetLog(i, new(raft.Log))
		}
		stable.GetUint64([]byte("CurrentTerm"))
		last, _ := log.LastIndex()
		log.StoreLog(entry(last+1, 2, "new")) // it may not have a bucket to go to
		stable.SetUint64([]byte("CurrentTerm"), 99)
		if err := closeLog(); err != nil {
			t.Fatal(err)
		}
	})
}
