package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Backup writes a backup file of everything acknowledged so far. Any node can.
// ctx bounds the wait until this node is that fresh; the writing ends with w.
func (n *Node) Backup(ctx context.Context, w io.Writer) error {
	if err := n.awaitFormed(ctx); err != nil {
		return err
	}
	if err := n.catchUp(ctx, Linearizable); err != nil {
		return err
	}
	_, err := n.machine.WriteBackup(w, n.cfg.Now().UnixMilli())
	return err
}

// RestoreRequest says how to restore.
type RestoreRequest struct {
	// Floors are positions below which no key is issued after the restore. A backup
	// of another cluster needs one for each key space.
	Floors Floors
	// IdempotencyKey makes a repeat of the restore have no second effect; "": none.
	IdempotencyKey string
}

// Floors are those of package fsm.
type Floors = fsm.Floors

// RestoreResult is what a restore did.
type RestoreResult struct {
	Backup   *pb.BackupHeader
	Restored *pb.Restored
	Index    uint64 // of the log
	Replayed bool   // the answer of an earlier restore with the same idempotency key
}

const (
	// backupPart is how much of a backup goes into one log entry.
	backupPart = 256 << 10
	// stageTimeout bounds the wait for one part to be applied.
	stageTimeout = 30 * time.Second
	// restoreTimeout bounds the wait for the restore itself: every node rewrites
	// its state. It is far below what a repeat of a request is remembered for.
	restoreTimeout = 4 * time.Minute
	// restoreRoom: log, staged parts and the new state take so many times a
	// backup's size until the old state is gone.
	restoreRoom = 4
)

// RestoreBackup restores a backup into the running cluster; see package fsm for
// what that means. The whole of it is read and verified before anything is sent:
// on every error but an unknown outcome, the cluster is as it was. Any node can,
// whoever leads, also if that changes meanwhile.
func (n *Node) RestoreBackup(ctx context.Context, r io.Reader, request RestoreRequest) (RestoreResult, error) {
	if !n.restoring.TryLock() {
		return RestoreResult{}, fmt.Errorf("%w: a restore is under way through this node", ErrRefused)
	}
	defer n.restoring.Unlock()
	s := spool{fs: n.cfg.Disk.Files(), path: filepath.Join(n.cfg.DataDir, spoolPrefix+randomID())}
	defer s.remove()
	backup, err := s.fill(r, n.disk.roomFor)
	if err != nil {
		return RestoreResult{}, err
	}
	if err := n.mayRestore(ctx, backup.Header, request.Floors, s.size); err != nil {
		return RestoreResult{}, err
	}
	op := &pb.RestoreBackup{Restore: randomID(), Floor: request.Floors.Others, Floors: request.Floors.Named}
	if op.Parts, err = n.stageBackup(ctx, op.Restore, s); err != nil {
		return RestoreResult{}, err
	}
	cmd := &pb.Command{Op: &pb.Command_RestoreBackup{RestoreBackup: op}}
	if request.IdempotencyKey != "" {
		print := binary.BigEndian.AppendUint64(bytes.Clone(backup.SHA256[:]), op.Floor)
		for _, f := range op.Floors {
			print = binary.BigEndian.AppendUint64(append(print, f.Keyspace...), f.Position)
		}
		sum := sha256.Sum256(print)
		cmd.Idempotency = &pb.IdempotencyKey{Key: request.IdempotencyKey, Fingerprint: sum[:16]}
	}
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	a := n.propose(ctx, []*pb.Command{cmd})[0]
	if a.err == nil {
		a.err = fsm.ResultError(a.result)
	}
	if a.err != nil {
		return RestoreResult{}, a.err
	}
	done := RestoreResult{Backup: backup.Header, Restored: a.result.Restored, Index: a.result.Index, Replayed: a.result.Replayed}
	n.log.Info("a backup is restored", "backup", backup.Header.Index, "index", done.Index,
		"links", done.Restored.Links, "links_lost", done.Restored.LinksLost, "adopted", done.Restored.Adopted)
	return done, nil
}

// mayRestore refuses beforehand what is bound to fail.
func (n *Node) mayRestore(ctx context.Context, h *pb.BackupHeader, floors Floors, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	if err := n.awaitFormed(ctx); err != nil {
		return err
	}
	if err := n.machine.MayRestore(h, floors); err != nil {
		return err
	}
	return n.disk.roomFor(restoreRoom * size)
}

// stageBackup puts the parts into the log, one after the other. Whatever becomes
// of a part, nothing is restored yet.
func (n *Node) stageBackup(ctx context.Context, restore string, s spool) (parts uint64, err error) {
	f, err := s.fs.Open(s.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for {
		data := make([]byte, backupPart) // not used again: an earlier try may still be sending it
		size, err := io.ReadFull(f, data)
		if err == io.EOF {
			return parts, nil
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		cmd := &pb.Command{Op: &pb.Command_StageBackup{
			StageBackup: &pb.StageBackup{Restore: restore, Part: parts, Data: data[:size]}}}
		if err := n.stagePart(ctx, cmd); err != nil {
			return 0, fmt.Errorf("%w (nothing was restored)", err)
		}
		parts++
	}
}

func (n *Node) stagePart(ctx context.Context, cmd *pb.Command) error {
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	a := n.propose(ctx, []*pb.Command{cmd})[0]
	if errors.Is(a.err, fsm.ErrOutcomeUnknown) {
		return ErrNoLeader // of the part; that nothing is restored is known
	}
	if a.err != nil {
		return a.err
	}
	return fsm.ResultError(a.result)
}

// BackupHeader says what a backup is of.
type BackupHeader = pb.BackupHeader

// InspectBackup reads a backup file's header and checks no more than that.
func InspectBackup(r io.Reader) (*BackupHeader, error) { return fsm.InspectBackup(r) }

// VerifyBackup reads a whole backup file and checks everything there is to check.
// The error is fsm.ErrBackup, or the reader's.
func VerifyBackup(r io.Reader) (fsm.Backup, error) { return fsm.VerifyBackup(r) }

// spool is a backup on its way in, in a file.
type spool struct {
	fs   vfs.FS
	path string
	size int64
}

const spoolPrefix = "restore-"

// fill takes in the whole backup and verifies it. room is asked for each piece.
func (s *spool) fill(r io.Reader, room func(int64) error) (fsm.Backup, error) {
	f, err := s.fs.Create(s.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fsm.Backup{}, err
	}
	backup, err := fsm.VerifyBackup(io.TeeReader(r, spoolWriter{s, f, room}))
	return backup, errors.Join(err, f.Close())
}

type spoolWriter struct {
	*spool
	file vfs.File
	room func(int64) error
}

func (w spoolWriter) Write(p []byte) (int, error) {
	if err := w.room(int64(len(p))); err != nil {
		return 0, err
	}
	w.size += int64(len(p))
	return w.file.Write(p)
}

func (s *spool) remove() { _ = s.fs.Remove(s.path) } // at worst the next start does

// removeSpools removes what a crash left.
func removeSpools(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	for _, name := range names {
		if strings.HasPrefix(name, spoolPrefix) {
			err = errors.Join(err, fs.Remove(filepath.Join(dir, name)))
		}
	}
	return err
}
