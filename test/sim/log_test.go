package sim

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// What is compacted was committed. What a snapshot of other entries overtakes was
// not, though more of it follows.
func TestOvertakenEntriesAreNotCommitted(t *testing.T) {
	for _, c := range []struct {
		snapshot  string
		committed bool
	}{
		{"00000000000000000003-00000000000000000002-aa.json", true},
		{"00000000000000000003-00000000000000000004-aa.json", false},
		{"00000000000000000009-00000000000000000004-aa.json", true}, // compacted before
		{"00000000000000000003-00000000000000000004-aa.data", true}, // not there yet
	} {
		a := newArchive()
		d := newDisk(rand.New(rand.NewPCG(1, 1)), a)
		if err := d.files.MkdirAll(snapshotsDir, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := d.files.Create(snapshotsDir+"/"+c.snapshot, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		log, _ := d.OpenLog("")
		for index := uint64(1); index <= 5; index++ {
			if err := log.StoreLog(&raft.Log{Index: index, Term: 2}); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.DeleteRange(1, 3); err != nil {
			t.Fatal(err)
		}
		if _, committed := a.entries[3]; committed != c.committed {
			t.Errorf("%s: committed %v", c.snapshot, committed)
		}
		if left, _ := log.FirstIndex(); left != 4 {
			t.Errorf("the log begins at %d", left)
		}
	}
}
