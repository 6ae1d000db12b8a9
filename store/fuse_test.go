package store

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A manifest that cannot be written is a failure, of which Pebble is not told: it
// would repeat the flush without end. Nothing else reaches the disk after it.
func TestManifestFailureIsKeptFromPebble(t *testing.T) {
	broken := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite {
			return errorfs.ErrInjected
		}
		return nil
	}))
	f := &fuse{FS: broken, failure: newFailure("", func(error) bool { return false })}
	manifest, err := f.Create("MANIFEST-000001", vfs.WriteCategoryUnspecified)
	check(t, err)
	if n, err := manifest.Write([]byte("edit")); n != 4 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	check(t, manifest.Sync())
	if !errors.Is(f.failure.Err(), ErrFailed) {
		t.Error("the failure is lost:", f.failure.Err())
	}
	if _, err := f.Create("000002.sst", vfs.WriteCategoryUnspecified); !errors.Is(err, ErrFailed) {
		t.Error("a table is written after it:", err)
	}
}
