package store

import (
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// failure remembers the first thing that went wrong in the background of one Pebble instance. It never
// heals: what a failed fsync or a half-written manifest left on disk is known only after a fresh Open.
// It is set by Pebble with locks held, so nothing is called back but notify, on a new goroutine.
type failure struct {
	dir       string
	awaitRoom func(error) bool
	done      chan struct{} // closed by the first set

	mu     sync.Mutex
	err    error
	notify func(error)
}

func newFailure(dir string, awaitRoom func(error) bool) *failure {
	return &failure{dir: dir, awaitRoom: awaitRoom, done: make(chan struct{})}
}

// set reports whether this is the first failure.
func (f *failure) set(cause error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return false
	}
	if damage(cause) {
		cause = corrupt(f.dir, cause)
	}
	f.err = fmt.Errorf("%w: %w", ErrFailed, cause)
	close(f.done)
	if f.notify != nil {
		go f.notify(f.err)
	}
	return true
}

// retryPause slows down what Pebble does after a failure: it repeats the failed flush or compaction at
// once and for ever. Each try begins with a file to write, where Pebble's main lock is not held.
const retryPause = 20 * time.Millisecond

// refuse is the answer to each try after the failure.
func (f *failure) refuse(err error) error {
	time.Sleep(retryPause)
	return err
}

// arm makes the failure (also one that already happened) known to the DB's owner. A state under
// construction is not armed: its failure concerns the Restore alone.
func (f *failure) arm(notify func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notify = notify
	if f.err != nil {
		go notify(f.err)
	}
}

func (f *failure) armed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.notify != nil
}

func (f *failure) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// untilRoom does a write and repeats it while the disk is full and the DB's owner waits for room. A
// state under construction does not wait: its own debris may be what fills the disk.
func (f *failure) untilRoom(write func() error) error {
	for {
		err := write()
		if !diskFull(err) || !f.armed() || !f.awaitRoom(err) {
			return err
		}
		if err := f.Err(); err != nil {
			return err
		}
	}
}

// watch wires Pebble's ways of reporting trouble to f. Pebble (v2.1.7) would
//   - retry a failed flush forever and at once, while Flush and, with the memtables full, Commit hang;
//   - call Fatalf, by default os.Exit, when the manifest cannot be written and when it meets damage.
//
// Here any of these blows the fuse (see fuse.go) and sets f, which ends the waits.
func (f *failure) watch(p *pebble.Options, log Logger) {
	p.Logger = fatalLogger{f: f, log: log}
	p.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) {
			if f.set(err) {
				log.Errorf("store: background write failed: %v", err)
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			if f.set(fmt.Errorf("%s: %w", info.Path, info.Details)) {
				log.Errorf("store: damaged file %s: %v", info.Path, info.Details)
			}
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			log.Infof("store: commits wait: %s", info.Reason)
		},
		WriteStallEnd: func() { log.Infof("store: commits go on") },
	}
}

// fatalLogger is what Pebble logs to: its chatter is dropped. Fatalf returns, and every place in Pebble
// that follows it with more than an invariant check returns the error after it.
type fatalLogger struct {
	f   *failure
	log Logger
}

func (l fatalLogger) Infof(string, ...any) {}

func (l fatalLogger) Errorf(format string, args ...any) {
	if l.f.Err() == nil {
		l.log.Errorf(format, args...)
	}
}

func (l fatalLogger) Fatalf(format string, args ...any) {
	err := &fatalError{text: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err.cause = cause
		}
	}
	if l.f.set(err) {
		l.log.Errorf("store: %v", err)
	}
}

// fatalError keeps the cause of a Fatalf for errors.Is, though its format says %s.
type fatalError struct {
	text  string
	cause error
}

func (e *fatalError) Error() string { return e.text }
func (e *fatalError) Unwrap() error { return e.cause }
