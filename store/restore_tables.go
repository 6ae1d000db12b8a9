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

// writeTables writes every row of the source into sorted tables in dir, and the applied row into the
// last one, alone: it is known only then. Each table is synced. It returns their paths, and nil only if
// the whole source was sound.
func (db *DB) writeTables(dir string, from source) (files []string, applied Applied, err error) {
	w := &tableWriter{fs: db.opts.FS, dir: dir, opts: db.tableOptions()}
	defer func() {
		if err != nil {
			w.abort()
		}
	}()
	if applied, err = from(w.add); err != nil {
		return nil, applied, err
	}
	if err := w.finish(); err != nil {
		return nil, applied, err
	}
	if err := w.add(appliedKey, applied.encode()); err != nil {
		return nil, applied, err
	}
	return w.files, applied, w.finish()
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
