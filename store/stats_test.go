package store

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestStats(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	if s, err := db.Stats(); err != nil || s.DiskBytes == 0 || s.MemtableBytes == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Stats(); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}
