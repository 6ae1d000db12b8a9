package bench

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/kgs-cluster/kgs/httpapi/client/load"
)

// What the disk's limit is measured with: pages as a database writes them, in a
// file that is there already, so that no file system metadata is synced.
const (
	pageSize  = 4 << 10
	filePages = 4 << 10
)

// diskSync is the limit of the disk: one writer of pages that waits for
// fdatasync after each.
func diskSync(t *testing.T) connect {
	return func(context.Context, int) (load.Worker, error) {
		f, err := os.Create(filepath.Join(t.TempDir(), "sync"))
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(make([]byte, pageSize*filePages)); err != nil {
			return nil, err
		}
		return &syncer{File: f, data: make([]byte, pageSize)}, f.Sync()
	}
}

type syncer struct {
	*os.File
	data []byte
	next int64
}

func (s *syncer) Do(context.Context) (load.Done, error) {
	if _, err := s.WriteAt(s.data, s.next%filePages*pageSize); err != nil {
		return load.Done{}, err
	}
	s.next++
	return load.Done{Items: 1}, syscall.Fdatasync(int(s.Fd()))
}
