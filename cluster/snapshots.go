package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/store"
)

// snapshots is raft's snapshot store. The state lives in the store's own files,
// so a snapshot of one's own is only a note of its index ("the store, flushed,
// is at least here"), and taking one copies nothing. When a follower needs the
// data, Open streams the store as it is then: it may be ahead of the noted
// index, and the follower's machine skips the log entries that it already holds.
//
// A snapshot that another node sent is a whole stream. It is kept in a file
// until the machine has restored it; from then on its note is enough.
//
//	DIR/ID.json   the note, made visible by rename
//	DIR/ID.data   the stream of a received snapshot, complete when the note exists
type snapshots struct {
	fs   vfs.FS
	dir  string
	db   *store.DB
	room func(bytes int64) error // nil: the disk has room for so much of another node's snapshot
	took func(snapshotEnd)       // called when one of the node's own is there, before raft deletes log entries
}

// keptNotes is how many notes stay; raft wants the newest only.
const keptNotes = 2

// note is raft's meta data, with what the machine knows itself. Applied is the
// least index that the machine must be at, and may be below raft's: barriers and
// the like have an index too, but never reach the machine.
type note struct {
	raft.SnapshotMeta
	Applied  uint64
	Received bool // the stream is, or was, in a file
}

func openSnapshots(fs vfs.FS, dir string, db *store.DB) (*snapshots, error) {
	if err := makeDir(fs, dir); err != nil {
		return nil, err
	}
	s := &snapshots{fs: fs, dir: dir, db: db, room: func(int64) error { return nil }, took: func(snapshotEnd) {}}
	return s, s.clean()
}

func (s *snapshots) path(id, ext string) string { return filepath.Join(s.dir, id+ext) }

// Create implements raft.SnapshotStore: for a snapshot of one's own, which
// writes nothing to the sink, and for a received one, which writes the stream.
//
// One that ends before the newest is refused. Only a leader that knows less of
// this node's log than it could sends one (overtake.go), and raft would go back
// to it: to a state from which the log, which begins at the newest snapshot, does
// not go on.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != 1 {
		return nil, fmt.Errorf("unknown snapshot version %d", version)
	}
	if err := s.isNewest(index); err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%020d-%020d-%s", index, term, randomID())
	return &sink{store: s, note: note{Applied: s.db.Applied().Index, SnapshotMeta: raft.SnapshotMeta{ // not flushed yet
		Version: version, ID: id, Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}}, nil
}

func (s *snapshots) isNewest(index uint64) error {
	notes, err := s.notes()
	if err == nil && len(notes) > 0 && index < notes[len(notes)-1].Index {
		err = fmt.Errorf("a snapshot up to log index %d is older than the newest here, up to %d", index, notes[len(notes)-1].Index)
	}
	return err
}

// List implements raft.SnapshotStore: newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	notes, err := s.notes()
	if err != nil {
		return nil, err
	}
	var metas []*raft.SnapshotMeta
	for i := len(notes) - 1; i >= 0; i-- {
		metas = append(metas, &notes[i].SnapshotMeta)
	}
	return metas, nil
}

// notes returns all notes, oldest first: ids sort by index and term.
func (s *snapshots) notes() ([]note, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var notes []note
	for _, name := range names {
		id, ok := strings.CutSuffix(name, ".json")
		if !ok {
			continue
		}
		n, err := s.note(id)
		if err != nil {
			return nil, err
		}
		notes = append(notes, n)
	}
	return notes, nil
}

func (s *snapshots) note(id string) (n note, err error) {
	data, err := readFile(s.fs, s.path(id, ".json"))
	if err != nil {
		return n, err
	}
	if err := json.Unmarshal(data, &n); err != nil {
		return n, fmt.Errorf("snapshot note %s is damaged: %w", id, err)
	}
	return n, nil
}

// Open implements raft.SnapshotStore. The size in the meta data is exact: raft's
// transport announces it before it sends.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	n, err := s.note(id)
	if err != nil {
		return nil, nil, err
	}
	if n.Received {
		if f, err := s.fs.Open(s.path(id, ".data")); err == nil {
			return &n.SnapshotMeta, &closeOnce{File: f}, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}
	view, err := s.db.View()
	if err != nil {
		return nil, nil, err
	}
	if at := view.Applied().Index; at < n.Applied {
		return nil, nil, errors.Join(view.Close(), fmt.Errorf("the store is at index %d, its snapshot at %d", at, n.Applied))
	}
	if n.Size, err = view.StreamSize(); err != nil {
		return nil, nil, errors.Join(err, view.Close())
	}
	return &n.SnapshotMeta, newViewReader(view), nil
}

// closeOnce lets raft close a stream that its machine has closed already.
type closeOnce struct {
	vfs.File
	once sync.Once
	err  error
}

func (c *closeOnce) Close() error {
	c.once.Do(func() { c.err = c.File.Close() })
	return c.err
}

// recover brings the machine to the newest snapshot if a crash came between its
// receipt and its restore. raft has deleted nothing that the one before needs,
// so a received stream that is damaged is dropped.
func (s *snapshots) recover(m *fsm.Machine) error {
	notes, err := s.notes()
	if err != nil || len(notes) == 0 {
		return err
	}
	newest := notes[len(notes)-1]
	if m.Applied() >= newest.Applied {
		return nil
	}
	if !newest.Received {
		return fmt.Errorf("the state is at index %d but was flushed at %d; it is damaged: remove this node from the cluster, empty its data directory and join it again", m.Applied(), newest.Applied)
	}
	_, stream, err := s.Open(newest.ID)
	if err != nil {
		return err
	}
	if err := errors.Join(m.Restore(stream), stream.Close()); err != nil {
		if len(notes) == 1 {
			return fmt.Errorf("received snapshot %s: %w", newest.ID, err)
		}
		return errors.Join(s.fs.Remove(s.path(newest.ID, ".json")), s.fs.Remove(s.path(newest.ID, ".data")))
	}
	return nil
}

// dropOld removes old notes, and all streams but the newest note's: those were
// restored long ago. It touches nothing else: another snapshot may be on its way in.
func (s *snapshots) dropOld() error {
	notes, err := s.notes()
	if err != nil {
		return err
	}
	for i, n := range notes {
		if i < len(notes)-keptNotes {
			err = errors.Join(err, s.removeIfThere(s.path(n.ID, ".json")))
		}
		if i < len(notes)-1 {
			err = errors.Join(err, s.removeIfThere(s.path(n.ID, ".data")))
		}
	}
	return err
}

// clean removes what a crash left half done; nothing may be on its way in.
func (s *snapshots) clean() error {
	if err := s.dropOld(); err != nil {
		return err
	}
	notes, err := s.notes()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, n := range notes {
		known[n.ID+".json"], known[n.ID+".data"] = true, true
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !known[name] {
			err = errors.Join(err, s.fs.Remove(filepath.Join(s.dir, name)))
		}
	}
	return err
}

func (s *snapshots) removeIfThere(path string) error {
	if err := s.fs.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sink writes one snapshot.
type sink struct {
	store *snapshots
	note  note
	file  vfs.File // of a received stream
	done  bool
}

func (k *sink) ID() string { return k.note.ID }

func (k *sink) data() string { return k.store.path(k.note.ID, ".data") }

func (k *sink) Write(p []byte) (int, error) {
	if err := k.store.room(int64(len(p))); err != nil {
		return 0, err
	}
	if k.file == nil {
		f, err := k.store.fs.Create(k.data(), vfs.WriteCategoryUnspecified)
		if err != nil {
			return 0, err
		}
		k.file, k.note.Received = f, true
	}
	n, err := k.file.Write(p)
	k.note.Size += int64(n)
	return n, err
}

// Close makes the snapshot visible: the stream first, then the note.
func (k *sink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	if k.file != nil {
		// The state that is made of it needs about as much again.
		if err := errors.Join(k.store.room(k.note.Size), k.file.Sync(), k.file.Close(), k.readApplied()); err != nil {
			return errors.Join(err, k.store.fs.Remove(k.data()))
		}
	}
	if k.file == nil {
		// Another node's may have come in meanwhile; that one was compared when it began.
		if err := k.store.isNewest(k.note.Index); err != nil {
			return err
		}
	}
	data, err := json.Marshal(k.note)
	if err != nil {
		return err
	}
	if err := replaceFile(k.store.fs, k.store.path(k.note.ID, ".json"), data); err != nil {
		return err
	}
	if k.file == nil {
		k.store.took(snapshotEnd{k.note.Index, k.note.Term})
	}
	return k.store.dropOld()
}

// readApplied notes what a received stream holds.
func (k *sink) readApplied() error {
	f, err := k.store.fs.Open(k.data())
	if err != nil {
		return err
	}
	applied, err := store.ReadStreamHeader(f)
	k.note.Applied = applied.Index
	return errors.Join(err, f.Close())
}

// Cancel implements raft.SnapshotSink.
func (k *sink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Close(), k.store.fs.Remove(k.data()))
}

// newViewReader reads the view's stream; closing it closes the view.
func newViewReader(view *store.View) io.ReadCloser {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := view.WriteTo(w)
		w.CloseWithError(err)
	}()
	return &viewReader{PipeReader: r, view: view, done: done}
}

type viewReader struct {
	*io.PipeReader
	view *store.View
	done chan struct{}
}

func (r *viewReader) Close() error {
	err := r.PipeReader.Close()
	<-r.done
	return errors.Join(err, r.view.Close())
}
