package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableTarget is the raw size at which a restore begins the next sorted table.
const tableTarget = 64 << 20

// bottomLevel is where the tables of a restore end up: the only files of a fresh Pebble.
const bottomLevel = 6

// writeTables writes the applied row and every row of the stream into sorted tables in dir, each synced,
// and returns their paths. It returns nil only if the whole stream was sound.
func (db *DB) writeTables(dir string, sr *streamReader) (files []string, err error) {
	w := &tableWriter{fs: db.opts.FS, dir: dir, opts: db.tableOptions()}
	defer func() {
		if err != nil {
			w.abort()
		}
	}()
	if err := w.add(appliedKey, sr.applied.encode()); err != nil {
		return nil, err
	}
	if err := sr.each(w.add); err != nil {
		return nil, err
	}
	if err := w.finish(); err != nil {
		return nil, err
	}
	return w.files, nil
}

func (db *DB) tableOptions() sstable.WriterOptions {
	p := db.opts.pebbleOptions(db.cache)
	p.FS = db.opts.FS
	p.EnsureDefaults()
	return p.MakeWriterOptions(bottomLevel, p.FormatMajorVersion.MaxTableFormat())
}

type tableWriter struct {
	fs    vfs.FS
	dir   string
	opts  sstable.WriterOptions
	files []string
	w     *sstable.Writer // nil between tables
	size  int
}

func (t *tableWriter) add(key, value []byte) error {
	if t.w == nil {
		path := t.fs.PathJoin(t.dir, fmt.Sprintf("%06d.sst", len(t.files)+1))
		f, err := t.fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		t.files = append(t.files, path)
		t.w, t.size = sstable.NewWriter(objstorageprovider.NewFileWritable(f), t.opts), 0
	}
	if err := t.w.Set(key, value); err != nil {
		return err
	}
	if t.size += len(key) + len(value); t.size >= tableTarget {
		return t.finish()
	}
	return nil
}

// finish completes and syncs the open table.
func (t *tableWriter) finish() error {
	if t.w == nil {
		return nil
	}
	err := t.w.Close()
	t.w = nil
	return err
}

// abort gives up the open table; its file goes with the directory.
func (t *tableWriter) abort() { _ = t.finish() }
