package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// A backup file, version 1. Integers are big-endian.
//
//	head     magic "kgsbackp", u32 version, u32 bytes of the header, the header
//	         (pb.BackupHeader), SHA-256 of these
//	rows     the store's stream (store/stream.go) of backupTables, with checksums of its own
//	trailer  SHA-256 of everything before it; nothing follows
//
// It holds what a restore needs, not the whole state: no members, no requests,
// no secret of receipts. It does hold the key spaces' secrets.
const (
	backupMagic     = "kgsbackp"
	backupVersion   = 1
	backupHeadSize  = 8 + 4 + 4
	maxBackupHeader = 1 << 20
)

var backupTables = []store.Table{store.Keyspaces, store.UsedKeys, store.Links, store.LinkTags, store.LinkURLs, store.LinkExpiry, store.LinkVisits}

// WriteBackup writes a backup of the last applied entry's state. now, Unix
// milliseconds, is only noted. After an error of w what was written is no backup,
// and no reader takes it for one.
func (m *Machine) WriteBackup(w io.Writer, now int64) (*pb.BackupHeader, error) {
	view, err := m.db.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	header, err := backupHeader(view, now)
	if err != nil {
		return nil, err
	}
	encoded, err := marshal.Marshal(header)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	both := io.MultiWriter(w, sum)
	head := append(make([]byte, 0, backupHeadSize), backupMagic...)
	head = binary.BigEndian.AppendUint32(head, backupVersion)
	head = binary.BigEndian.AppendUint32(head, uint32(len(encoded)))
	head = append(head, encoded...)
	headSum := sha256.Sum256(head)
	if _, err := both.Write(append(head, headSum[:]...)); err != nil {
		return nil, err
	}
	if _, err := view.WriteTables(both, backupTables...); err != nil {
		return nil, err
	}
	_, err = w.Write(sum.Sum(nil))
	return header, err
}

func backupHeader(view *store.View, now int64) (*pb.BackupHeader, error) {
	state := &pb.ClusterState{}
	value, _, err := view.Get(store.Meta, stateRow)
	if err = errors.Join(err, proto.Unmarshal(value, state)); err != nil {
		return nil, err
	}
	h := &pb.BackupHeader{
		ClusterId: state.ClusterId, Index: view.Applied().Index, Term: view.Applied().Term, Time: now,
		Clock: state.Clock, NextLease: state.NextLease, NextKeyspace: state.NextKeyspace, Links: state.Links, Version: state.Version,
		UrlsIndexed: state.UrlsIndexed, IndexUrlsFrom: state.IndexUrlsFrom,
	}
	var failed error
	err = view.Scan(store.Keyspaces, nil, nil, func(_, value []byte) bool {
		row := &pb.Keyspace{}
		failed = proto.Unmarshal(value, row)
		row.PermutationKey = nil
		h.Keyspaces = append(h.Keyspaces, row)
		return failed == nil
	})
	return h, errors.Join(err, failed)
}

// backupReader reads a backup row by row.
type backupReader struct {
	header *pb.BackupHeader
	r      io.Reader // what is read of it enters sum
	whole  io.Reader
	sum    hash.Hash
	rows   *store.StreamReader
}

// openBackup reads a backup's head. Errors: ErrBackup, or r's.
func openBackup(r io.Reader) (*backupReader, error) {
	b := &backupReader{whole: r, sum: sha256.New()}
	b.r = io.TeeReader(r, b.sum)
	head := make([]byte, backupHeadSize)
	if err := readBackup(b.r, head, "head"); err != nil {
		return nil, err
	}
	version, size := binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
	switch {
	case string(head[:8]) != backupMagic:
		return nil, fmt.Errorf("%w: it does not start with %q", ErrBackup, backupMagic)
	case version != backupVersion:
		return nil, fmt.Errorf("%w: it has version %d, this program knows %d: use the version that wrote it, or a later one", ErrBackup, version, backupVersion)
	case size > maxBackupHeader:
		return nil, fmt.Errorf("%w: a header of %d bytes", ErrBackup, size)
	}
	head = append(head, make([]byte, int(size)+sha256.Size)...)
	if err := readBackup(b.r, head[backupHeadSize:], "head"); err != nil {
		return nil, err
	}
	body, want := head[:backupHeadSize+size], [sha256.Size]byte(head[backupHeadSize+size:])
	if sha256.Sum256(body) != want {
		return nil, fmt.Errorf("%w: SHA-256 of the head differs", ErrBackup)
	}
	b.header = &pb.BackupHeader{}
	if err := proto.Unmarshal(body[backupHeadSize:], b.header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrBackup, err)
	}
	if v := b.header.Version; v > Version {
		return nil, fmt.Errorf("%w: its cluster used commands of version %d, this program knows %d: use the version that wrote it, or a later one", ErrBackup, v, Version)
	}
	return b, nil
}

// next returns the next row, valid until the call after it, then io.EOF: all of
// the file was there and undamaged. Errors as of openBackup.
func (b *backupReader) next() (t store.Table, key, value []byte, err error) {
	if b.rows == nil {
		if b.rows, err = store.NewStreamReader(b.r); err != nil {
			return 0, nil, nil, backupError(err)
		}
		if at := b.rows.Applied(); at.Index != b.header.Index || at.Term != b.header.Term {
			return 0, nil, nil, fmt.Errorf("%w: its rows are of log index %d, its header of %d", ErrBackup, at.Index, b.header.Index)
		}
	}
	t, key, value, err = b.rows.Next()
	if err == io.EOF {
		return 0, nil, nil, b.end()
	}
	return t, key, value, backupError(err)
}

func (b *backupReader) end() error {
	want := b.sum.Sum(nil)
	trailer := make([]byte, sha256.Size)
	if err := readBackup(b.whole, trailer, "trailer"); err != nil {
		return err
	}
	if [sha256.Size]byte(trailer) != [sha256.Size]byte(want) {
		return fmt.Errorf("%w: SHA-256 differs", ErrBackup)
	}
	if n, err := io.ReadFull(b.whole, trailer[:1]); n > 0 {
		return fmt.Errorf("%w: something follows its end", ErrBackup)
	} else if err != io.EOF {
		return err
	}
	return io.EOF
}

// backupError makes damage of the rows damage of the backup.
func backupError(err error) error {
	if errors.Is(err, store.ErrStream) || errors.Is(err, store.ErrVersion) {
		return fmt.Errorf("%w: %w", ErrBackup, err)
	}
	return err
}

// readBackup fills b; an end of the file is ErrBackup, any other error is the reader's own.
func readBackup(r io.Reader, b []byte, what string) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it ends within the %s", ErrBackup, what)
	}
	return err
}

// Backup is what a verified backup file holds.
type Backup struct {
	Header *pb.BackupHeader
	SHA256 [sha256.Size]byte // its trailer
}

// InspectBackup reads no more than the header and checks no more than that.
func InspectBackup(r io.Reader) (*pb.BackupHeader, error) {
	b, err := openBackup(r)
	if err != nil {
		return nil, err
	}
	return b.header, nil
}

// VerifyBackup reads a backup to its end and checks everything there is to
// check: every checksum, every row, and that the rows add up to what the header
// says. Errors: ErrBackup, or r's.
func VerifyBackup(r io.Reader) (Backup, error) {
	b, err := openBackup(r)
	if err != nil {
		return Backup{}, err
	}
	check := newBackupCheck(b.header)
	for {
		t, key, value, err := b.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = check.row(t, key, value)
		}
		if err != nil {
			return Backup{}, err
		}
	}
	return Backup{b.header, [sha256.Size]byte(b.sum.Sum(nil))}, check.end()
}
