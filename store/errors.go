package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// The errors callers tell apart, by errors.Is. Everything the store returns wraps its cause too.
var (
	// ErrLocked: another process (or another DB of this process) has the directory open.
	ErrLocked = errors.New("store: directory is in use by another process")
	// ErrUnwritable: the directory cannot be created or written. Nothing was changed.
	ErrUnwritable = errors.New("store: directory cannot be written")
	// ErrCorrupt: the files are not what the store wrote. Retrying does not help; see adviceCorrupt.
	ErrCorrupt = errors.New("store: state on disk is damaged")
	// ErrVersion: the state or stream was written by a version of kgs this one does not know.
	ErrVersion = errors.New("store: written by another version of kgs; upgrade this node: run the version that wrote it, or a later one")
	// ErrStream: a snapshot stream is cut short, damaged, or not a stream at all.
	ErrStream = errors.New("store: bad snapshot stream")
	// ErrFailed: the disk refused a write earlier on (full, broken), so no write is accepted any more.
	// Reads go on. Open the store again, in practice by restarting the node, once the disk is well.
	ErrFailed = errors.New("store: stopped after a disk failure")
	// ErrClosed: the DB or View is closed.
	ErrClosed = errors.New("store: closed")
	// ErrMisuse: a call that the contract forbids (rows outside a log entry, a second open batch,
	// an index that does not grow, ...). A bug in the caller; nothing was written.
	ErrMisuse = errors.New("store: misuse")
)

const adviceCorrupt = "remove this node from the cluster and join it again with an empty data directory; " +
	"the data of the other nodes is not affected"

func corrupt(dir string, cause error) error {
	if errors.Is(cause, ErrCorrupt) {
		return cause // said already
	}
	return fmt.Errorf("%w: %s: %w (%s)", ErrCorrupt, dir, cause, adviceCorrupt)
}

// damage reports whether err means that a file is not what was written: a checksum, or an end too soon.
func damage(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// diskFull reports whether err is that of a write which found no room; a quota is a smaller disk.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// openError says what an error of pebble.Open means to the operator. A file that the manifest names and
// the directory lacks shows up as "does not exist": on a state that was complete once, that is damage.
func openError(dir string, err error) error {
	switch {
	case damage(err), errors.Is(err, pebble.ErrDBDoesNotExist),
		errors.Is(err, pebble.ErrDBNotPristine), errors.Is(err, fs.ErrNotExist):
		return corrupt(dir, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s: %w", ErrUnwritable, dir, err)
	}
	return fmt.Errorf("store: open %s: %w", dir, err)
}

// readError marks damage found while reading; nil stays nil.
func readError(dir string, err error) error {
	if err == nil {
		return nil
	}
	if damage(err) {
		return corrupt(dir, err)
	}
	return fmt.Errorf("store: read %s: %w", dir, err)
}
