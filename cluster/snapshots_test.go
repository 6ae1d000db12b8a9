package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// replica is a machine over a store, with its snapshots.
type replica struct {
	t       *testing.T
	dir     string
	db      *store.DB
	machine *fsm.Machine
	snaps   *snapshots
}

func openReplica(t *testing.T, dir string) *replica {
	t.Helper()
	r := &replica{t: t, dir: dir}
	var err error
	if r.db, err = store.Open(store.Options{Dir: filepath.Join(dir, "state"), CacheBytes: 1 << 20, MemTableBytes: 256 << 10}); err != nil {
		t.Fatal(err)
	}
	if r.machine, err = fsm.New(r.db); err != nil {
		t.Fatal(err)
	}
	if r.snaps, err = openSnapshots(vfs.Default, filepath.Join(dir, "snapshots"), r.db); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.db.Close() })
	return r
}

// reopen is a restart.
func (r *replica) reopen() *replica {
	r.t.Helper()
	if err := r.db.Close(); err != nil {
		r.t.Fatal(err)
	}
	return openReplica(r.t, r.dir)
}

// apply runs entries up to the index, a link each.
func (r *replica) apply(to uint64) {
	r.t.Helper()
	for index := r.machine.Applied() + 1; index <= to; index++ {
		entry := &pb.Entry{Version: fsm.Version, Time: 1, Node: "n1", Commands: []*pb.Command{{Op: &pb.Command_CreateLink{
			CreateLink: &pb.CreateLink{Alias: fmt.Sprintf("link-%d", index), Link: &pb.Link{Url: "http://example.com/"}}}}}}
		data, err := proto.Marshal(entry)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := r.machine.Apply([]fsm.LogEntry{{Index: index, Term: 1, Data: data}}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *replica) create(index uint64) raft.SnapshotSink {
	r.t.Helper()
	k, err := r.snaps.Create(1, index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

// snapshot takes a snapshot of one's own, as raft and the machine do it.
func (r *replica) snapshot(index uint64) (id string) {
	r.t.Helper()
	k := r.create(index)
	if err := errors.Join(r.db.Flush(), k.Close()); err != nil {
		r.t.Fatal(err)
	}
	return k.ID()
}

// stream is the newest snapshot as another node gets it.
func (r *replica) stream() []byte {
	r.t.Helper()
	metas := r.list()
	meta, reader, err := r.snaps.Open(metas[0].ID)
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := io.ReadAll(reader)
	if err := errors.Join(err, reader.Close()); err != nil {
		r.t.Fatal(err)
	}
	if int64(len(data)) != meta.Size {
		r.t.Errorf("announced %d bytes, sent %d", meta.Size, len(data))
	}
	return data
}

// receive stores a stream, as raft does with what another node sends.
func (r *replica) receive(index uint64, data []byte) (id string) {
	r.t.Helper()
	k := r.create(index)
	_, err := io.Copy(k, bytes.NewReader(data))
	if err := errors.Join(err, k.Close()); err != nil {
		r.t.Fatal(err)
	}
	return k.ID()
}

// restore brings the machine to a received snapshot.
func (r *replica) restore(id string) {
	r.t.Helper()
	_, reader, err := r.snaps.Open(id)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(r.machine.Restore(reader), reader.Close()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) list() []*raft.SnapshotMeta {
	r.t.Helper()
	metas, err := r.snaps.List()
	if err != nil {
		r.t.Fatal(err)
	}
	return metas
}

// files are the snapshots' files with their sizes.
func (r *replica) files() map[string]int64 {
	r.t.Helper()
	entries, err := os.ReadDir(r.snaps.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	files := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			r.t.Fatal(err)
		}
		files[e.Name()] = info.Size()
	}
	return files
}

func (r *replica) digest() (uint64, [32]byte) {
	r.t.Helper()
	index, digest, err := r.machine.Digest()
	if err != nil {
		r.t.Fatal(err)
	}
	return index, digest
}

func sameState(t *testing.T, a, b *replica) {
	t.Helper()
	ai, ad := a.digest()
	bi, bd := b.digest()
	if ai != bi || ad != bd {
		t.Errorf("states at %d and %d differ", ai, bi)
	}
}

func TestSnapshotOfOnesOwnCopiesNothing(t *testing.T) {
	r := openReplica(t, t.TempDir())
	r.apply(500)
	id := r.snapshot(500)
	files := r.files()
	if size := files[id+".json"]; len(files) != 1 || size == 0 || size > 1000 {
		t.Errorf("files %v", files)
	}
	if metas := r.list(); len(metas) != 1 || metas[0].Index != 500 || metas[0].ConfigurationIndex != 1 {
		t.Errorf("list: %+v", metas)
	}
}

func TestSnapshotNotesDoNotPileUp(t *testing.T) {
	r := openReplica(t, t.TempDir())
	for index := uint64(10); index <= 100; index += 10 {
		r.apply(index)
		r.snapshot(index)
	}
	metas := r.list()
	if len(metas) != keptNotes || metas[0].Index != 100 || metas[1].Index != 90 {
		t.Errorf("%d notes, newest first: %+v", len(metas), metas)
	}
	if files := r.files(); len(files) != keptNotes {
		t.Errorf("files %v", files)
	}
}

// The log begins at the newest snapshot: from an older one it does not go on.
func TestSnapshotOlderThanTheNewestIsRefused(t *testing.T) {
	r := openReplica(t, t.TempDir())
	var took []snapshotEnd
	r.snaps.took = func(end snapshotEnd) { took = append(took, end) }
	r.apply(20)
	r.snapshot(20)
	if k, err := r.snaps.Create(1, 19, 1, raft.Configuration{}, 1, nil); err == nil {
		t.Error("one up to 19 is taken", k)
	}
	r.receive(20, r.stream())
	r.apply(30)
	r.snapshot(30)
	if want := []snapshotEnd{{20, 1}, {30, 1}}; !slices.Equal(took, want) { // not the received one: the machine does not have it yet
		t.Errorf("told of %v, want %v", took, want)
	}
}

// The stream is the state of the moment at which it is opened, which is ahead
// of the note; the receiver skips the entries that it then has.
func TestSnapshotStreamIsAheadOfItsNote(t *testing.T) {
	leader, follower := openReplica(t, t.TempDir()), openReplica(t, t.TempDir())
	leader.apply(20)
	leader.snapshot(20)
	leader.apply(30)
	follower.restore(follower.receive(20, leader.stream()))
	sameState(t, leader, follower)
	again := follower.reopen()
	if err := again.snaps.recover(again.machine); err != nil {
		t.Fatal(err)
	}
	sameState(t, leader, again)
	again.apply(31)
	leader.apply(31)
	sameState(t, leader, again)
}

// Barriers and configurations have indexes in raft's log that never reach the
// machine: a note may be ahead of it, and is sound all the same.
func TestSnapshotWhoseLastEntriesAreRaftsOwn(t *testing.T) {
	leader := openReplica(t, t.TempDir())
	leader.apply(20)
	leader.snapshot(35)
	stream := leader.stream() // it can be sent
	leader = leader.reopen()
	if err := leader.snaps.recover(leader.machine); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	follower := openReplica(t, t.TempDir())
	follower.restore(follower.receive(35, stream))
	follower = follower.reopen()
	if err := follower.snaps.recover(follower.machine); err != nil {
		t.Errorf("after a restart of who received it: %v", err)
	}
	sameState(t, leader, follower)
}

// A received stream is needed until it is restored; the note of the next
// snapshot makes it superfluous.
func TestSnapshotReceivedStreamGoesWithTheNextNote(t *testing.T) {
	leader, follower := openReplica(t, t.TempDir()), openReplica(t, t.TempDir())
	leader.apply(20)
	leader.snapshot(20)
	id := follower.receive(20, leader.stream())
	if follower.files()[id+".data"] == 0 {
		t.Fatalf("files %v", follower.files())
	}
	follower.restore(id)
	follower.apply(25)
	follower.snapshot(25)
	files := slices.Collect(maps.Keys(follower.files()))
	if slices.ContainsFunc(files, func(name string) bool { return strings.HasSuffix(name, ".data") }) {
		t.Errorf("files %v", files)
	}
	if _, reader, err := follower.snaps.Open(id); err != nil { // its note still serves, from the store
		t.Error(err)
	} else {
		reader.Close()
	}
}

// While a stream comes in, the node's own snapshot may end: it must leave the
// other one's files alone.
func TestSnapshotOfOnesOwnLeavesAReceiptUnderWay(t *testing.T) {
	leader, follower := openReplica(t, t.TempDir()), openReplica(t, t.TempDir())
	leader.apply(50)
	leader.snapshot(50)
	data := leader.stream()
	follower.apply(10)
	own, coming := follower.create(10), follower.create(50)
	half := len(data) / 2
	if _, err := coming.Write(data[:half]); err != nil {
		t.Fatal(err)
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := coming.Write(data[half:]); err != nil {
		t.Fatal(err)
	}
	if err := coming.Close(); err != nil {
		t.Fatal(err)
	}
	follower.restore(coming.ID())
	sameState(t, leader, follower)
}

func TestSnapshotCancelledLeavesNothing(t *testing.T) {
	leader, follower := openReplica(t, t.TempDir()), openReplica(t, t.TempDir())
	leader.apply(20)
	leader.snapshot(20)
	k := follower.create(20)
	if _, err := k.Write(leader.stream()[:100]); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.Cancel(), k.Close(), k.Cancel()); err != nil {
		t.Error(err)
	}
	if files := follower.files(); len(files) != 0 {
		t.Errorf("files %v", files)
	}
	if err := follower.create(21).Cancel(); err != nil { // nothing was written to it
		t.Error(err)
	}
}

func TestSnapshotStreamThatIsNoneIsNotTaken(t *testing.T) {
	r := openReplica(t, t.TempDir())
	k := r.create(20)
	if _, err := k.Write([]byte("not a stream of this version")); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err == nil {
		t.Error("no error")
	}
	if files := r.files(); len(files) != 0 {
		t.Errorf("files %v", files)
	}
}

// A crash at each step of receiving and restoring: what is left must open, and
// recover brings the machine to the newest snapshot that is whole.
func TestSnapshotCrashAtEachStep(t *testing.T) {
	leader := openReplica(t, t.TempDir())
	leader.apply(50)
	leader.snapshot(50)
	data := leader.stream()
	for _, c := range []struct {
		name  string
		crash func(*replica) // leaves the files as the crash does
		want  uint64
	}{
		{"before anything", func(*replica) {}, 10},
		{"half of the stream is there", func(r *replica) {
			if _, err := r.create(50).Write(data[:len(data)/2]); err != nil {
				t.Fatal(err)
			}
		}, 10},
		{"the stream is there, its note half written", func(r *replica) {
			id := r.receive(50, data)
			note := r.snaps.path(id, ".json")
			if err := errors.Join(os.WriteFile(note+".tmp", []byte("{"), 0o600), os.Remove(note)); err != nil {
				t.Fatal(err)
			}
		}, 10},
		{"received, not restored", func(r *replica) { r.receive(50, data) }, 50},
		{"restored", func(r *replica) { r.restore(r.receive(50, data)) }, 50},
		{"restored, and entries came", func(r *replica) {
			r.restore(r.receive(50, data))
			r.apply(60)
		}, 60},
	} {
		for _, before := range []string{"first snapshot", "second snapshot"} {
			t.Run(before+", "+c.name, func(t *testing.T) {
				r := openReplica(t, t.TempDir())
				r.apply(10)
				if before == "second snapshot" {
					r.snapshot(10)
				}
				c.crash(r)
				r = r.reopen()
				if err := r.snaps.recover(r.machine); err != nil {
					t.Fatal(err)
				}
				if got := r.machine.Applied(); got != c.want {
					t.Errorf("the state is at index %d, want %d", got, c.want)
				}
				known := len(r.list())
				for name := range r.files() {
					if !strings.HasSuffix(name, ".json") && !strings.HasSuffix(name, ".data") {
						t.Errorf("left over: %s", name)
					}
				}
				if len(r.files()) > 2*known {
					t.Errorf("%d snapshots, files %v", known, r.files())
				}
			})
		}
	}
}

// A stream damaged on the disk is dropped if there is an older snapshot to go
// on from, else the node must not start.
func TestSnapshotRecoverFromADamagedStream(t *testing.T) {
	leader := openReplica(t, t.TempDir())
	leader.apply(50)
	leader.snapshot(50)
	data := leader.stream()
	for _, older := range []bool{true, false} {
		r := openReplica(t, t.TempDir())
		r.apply(10)
		if older {
			r.snapshot(10)
		}
		id := r.receive(50, data)
		damaged := bytes.Clone(data)
		damaged[len(damaged)/2] ^= 0xff
		if err := os.WriteFile(r.snaps.path(id, ".data"), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		r = r.reopen()
		err := r.snaps.recover(r.machine)
		if (err == nil) != older {
			t.Errorf("with an older snapshot: %v; %v", older, err)
		}
		if got := r.machine.Applied(); got != 10 {
			t.Errorf("the state is at index %d", got)
		}
		if older && (len(r.list()) != 1 || r.list()[0].Index != 10) {
			t.Errorf("raft would begin with %+v", r.list())
		}
	}
}

// A state that is older than its own flushed snapshot has lost entries which
// raft may have deleted from the log.
func TestSnapshotRecoverFromAStateThatWentBack(t *testing.T) {
	r := openReplica(t, t.TempDir())
	r.apply(20)
	r.snapshot(20)
	r.db.Close()
	if err := os.RemoveAll(filepath.Join(r.dir, "state")); err != nil {
		t.Fatal(err)
	}
	r = openReplica(t, r.dir)
	if err := r.snaps.recover(r.machine); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v", err)
	}
	if _, reader, err := r.snaps.Open(r.list()[0].ID); err == nil {
		reader.Close()
		t.Error("and would be sent to others")
	}
}

func TestSnapshotReaderGivenUpHalfWay(t *testing.T) {
	r := openReplica(t, t.TempDir())
	r.apply(500)
	_, reader, err := r.snaps.Open(r.snapshot(500))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(reader, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	r.reopen() // hangs if the view is still open
}
