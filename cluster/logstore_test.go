package cluster

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

func entry(index, term uint64, data string) *raft.Log {
	return &raft.Log{Index: index, Term: term, Data: []byte(data)}
}

func mustOpenLog(t testing.TB, dir string) (raft.LogStore, raft.StableStore, func() error) {
	t.Helper()
	log, stable, closeLog, err := openLog(osDisk{}, dir, logConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLog() })
	return log, stable, closeLog
}

func TestLogOnDisk(t *testing.T) {
	leakCheck(t)
	dir := t.TempDir()
	log, stable, closeLog := mustOpenLog(t, dir)
	if _, err := stable.Get([]byte("x")); err == nil || err.Error() != "not found" { // the text that raft compares with
		t.Fatal(err)
	}
	if err := errors.Join(stable.SetUint64([]byte("term"), 3), stable.Set([]byte("vote"), []byte("a"))); err != nil {
		t.Fatal(err)
	}
	var batch []*raft.Log
	for i := range uint64(2500) {
		batch = append(batch, entry(i+1, 1, "x"))
	}
	if err := errors.Join(log.StoreLogs(batch), log.DeleteRange(1, 2100), log.DeleteRange(2300, 2500), log.StoreLog(entry(2300, 2, "y"))); err != nil {
		t.Fatal(err)
	}
	if err := closeLog(); err != nil {
		t.Fatal(err)
	}
	if err := log.StoreLog(entry(2301, 2, "y")); !errors.Is(err, errLogClosed) {
		t.Fatal(err)
	}
	log, stable, _ = mustOpenLog(t, dir)
	first, _ := log.FirstIndex()
	last, _ := log.LastIndex()
	var got raft.Log
	if err := log.GetLog(2300, &got); first != 2101 || last != 2300 || err != nil || string(got.Data) != "y" {
		t.Fatal(first, last, got, err)
	}
	if term, err := stable.GetUint64([]byte("term")); term != 3 || err != nil {
		t.Fatal(term, err)
	}
}

func TestLogOptionsReachBbolt(t *testing.T) {
	dir := t.TempDir()
	_, _, closeLog := mustOpenLog(t, dir)
	closeLog()
	data, err := os.ReadFile(filepath.Join(dir, logFile))
	if err != nil {
		t.Fatal(err)
	}
	const freelist = 16 + 16 + 16 // page header, then magic to flags, then the root bucket
	for _, page := range []int{0, os.Getpagesize()} {
		if got := string(data[page+freelist:][:8]); got == strings.Repeat("\xff", 8) {
			return // no free list on disk
		}
	}
	t.Fatal("the free list is still written with each commit")
}

func TestLogInUse(t *testing.T) {
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	opened := make(chan error, 1)
	go func() { _, _, _, err := openLog(osDisk{}, dir, logConfig{}); opened <- err }()
	select {
	case err := <-opened:
		if err == nil || errors.Is(err, ErrLogCorrupt) || !strings.Contains(err.Error(), "another process") {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("hangs on the lock")
	}
}

// A damaged file is reported, or harmless; it never panics, faults or hangs.
func TestLogCorrupt(t *testing.T) {
	dir := t.TempDir()
	log, _, closeLog := mustOpenLog(t, dir)
	for i := range uint64(30) {
		var batch []*raft.Log
		for j := range uint64(100) {
			batch = append(batch, entry(100*i+j+1, 1, strings.Repeat("x", 200)))
		}
		if err := log.StoreLogs(batch); err != nil {
			t.Fatal(err)
		}
	}
	closeLog()
	good, err := os.ReadFile(filepath.Join(dir, logFile))
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	used := 0
	db, err := bbolt.Open(filepath.Join(dir, logFile), 0, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	db.View(func(tx *bbolt.Tx) error { used = int(tx.Size()); return nil })
	db.Close()
	try := func(what string, data []byte, mustFail bool) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, logFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		log, _, closeLog, err := openLog(osDisk{}, dir, logConfig{})
		if err == nil {
			for i := range uint64(3000) { // readable or not, it must not fault
				log.GetLog(i+1, new(raft.Log))
			}
			closeLog()
		}
		if err == nil && mustFail || err != nil && !errors.Is(err, ErrLogCorrupt) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	garbage := make([]byte, 10*page)
	for i := range garbage {
		garbage[i] = byte(rng.Uint32())
	}
	try("garbage", garbage, true)
	try("text", []byte("hello"), true)
	for _, size := range []int{1, page - 1, page, page + 100, 2 * page, 5 * page, used / 2, used - 1} {
		try("truncated", good[:size], true)
	}
	both := append([]byte(nil), good...)
	copy(both[:2*page], make([]byte, 2*page))
	try("no meta page", both, true)
	for range 100 { // one page of garbage, zeros, or another page
		data := append([]byte(nil), good...)
		at := rng.IntN(used/page) * page
		switch rng.IntN(3) {
		case 0:
			copy(data[at:at+page], garbage)
		case 1:
			copy(data[at:at+page], make([]byte, page))
		case 2:
			from := rng.IntN(used/page) * page
			copy(data[at:at+page], good[from:from+page])
		}
		try("damaged page", data, false)
	}
	for range 100 { // a few wrong bytes
		data := append([]byte(nil), good...)
		for range 1 + rng.IntN(20) {
			data[rng.IntN(used)] = byte(rng.Uint32())
		}
		try("wrong bytes", data, false)
	}
	try("intact", good, false)
}

// An entry that does not decode is found at the start, and not by a panic.
func TestNodeWithADamagedEntryDoesNotStart(t *testing.T) {
	n := alone(t)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(filepath.Join(n.cfg.DataDir, "raft", logFile), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("logs")).Put(binary.BigEndian.AppendUint64(nil, 2), []byte("damaged"))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	cfg := n.cfg
	cfg.Network = newPipeNet().at("n1:1")
	if _, err := Open(cfg); !errors.Is(err, ErrLogCorrupt) {
		t.Errorf("opened: %v", err)
	}
}

func BenchmarkLogOpen(b *testing.B) {
	dir := b.TempDir()
	log, _, closeLog := mustOpenLog(b, dir)
	data := strings.Repeat("x", 1024)
	for i := range uint64(200) {
		var batch []*raft.Log
		for j := range uint64(1000) {
			batch = append(batch, entry(1000*i+j+1, 1, data))
		}
		if err := log.StoreLogs(batch); err != nil {
			b.Fatal(err)
		}
	}
	closeLog()
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			if err := checkLogFile(filepath.Join(dir, logFile)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			_, _, closeLog := mustOpenLog(b, dir)
			closeLog()
		}
	})
}
