package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
)

// snapshotInfo is what a backup file holds.
type snapshotInfo struct {
	File      string             `json:"file"`
	Bytes     int64              `json:"bytes"`
	SHA256    string             `json:"sha256,omitempty"` // "" unless the file was verified
	ClusterID string             `json:"cluster_id"`
	Index     uint64             `json:"index"`
	Term      uint64             `json:"term"`
	Time      time.Time          `json:"time"`
	Links     uint64             `json:"links"`
	Keyspaces []snapshotKeyspace `json:"keyspaces"`
}

type snapshotKeyspace struct {
	Name          string `json:"name"`
	Length        uint32 `json:"length"`
	HighWaterMark uint64 `json:"high_water_mark"`
	Used          uint64 `json:"used"`
}

func newSnapshotInfo(path string, size int64, h *cluster.BackupHeader) snapshotInfo {
	info := snapshotInfo{
		File: path, Bytes: size, ClusterID: h.ClusterId, Index: h.Index, Term: h.Term,
		Time: time.UnixMilli(h.Time).UTC(), Links: h.Links, Keyspaces: []snapshotKeyspace{},
	}
	for _, k := range h.Keyspaces {
		info.Keyspaces = append(info.Keyspaces, snapshotKeyspace{k.Name, k.Length, k.HighWaterMark, k.Used})
	}
	return info
}

func (s *session) printSnapshot(info snapshotInfo) error {
	return s.out.print(info, func(t *table) {
		t.row("file", fmt.Sprintf("%s, %d bytes", info.File, info.Bytes))
		if info.SHA256 != "" {
			t.row("sha256", info.SHA256)
		}
		t.row("cluster", info.ClusterID)
		t.row("log index", fmt.Sprintf("%d, term %d", info.Index, info.Term))
		t.row("time", when(info.Time))
		t.row("links", info.Links)
		for _, k := range info.Keyspaces {
			t.row("key space", fmt.Sprintf("%s: length %d, %d keys used, generated up to position %d", k.Name, k.Length, k.Used, k.HighWaterMark))
		}
	})
}

func openSnapshot(path string) (*os.File, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	stat, err := file.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, stat.Size(), nil
}

// verifySnapshot reads the whole file; path is only its name.
func verifySnapshot(path string, file io.Reader, size int64) (snapshotInfo, error) {
	backup, err := cluster.VerifyBackup(bufio.NewReaderSize(file, 1<<20))
	if err != nil {
		return snapshotInfo{}, fmt.Errorf("%s: %w", path, err)
	}
	info := newSnapshotInfo(path, size, backup.Header)
	info.SHA256 = hex.EncodeToString(backup.SHA256[:])
	return info, nil
}

// saveSnapshot has the cluster write a backup to path.
func (s *session) saveSnapshot(ctx context.Context, path string) error {
	bar := newProgress(s.cmd.ErrOrStderr(), -1)
	info, err := writeSnapshot(path, func(w io.Writer) error {
		defer bar.clear()
		return s.Backup(ctx, &shownWriter{Writer: w, bar: bar})
	})
	if err != nil {
		return err
	}
	return s.printSnapshot(info)
}

// shownWriter shows how much is written.
type shownWriter struct {
	io.Writer
	bar  progress
	size int64
}

func (w *shownWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.size += int64(n)
	w.bar.at(w.size, fmt.Sprintf("%d MB", w.size/1e6))
	return n, err
}

const partSuffix = ".part"

// writeSnapshot has a file beside path written, verifies it, and renames it, so
// that path is never a part of a backup. Only the owner may read it. Errors other
// than write's own are localErrors.
func writeSnapshot(path string, write func(io.Writer) error) (snapshotInfo, error) {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+partSuffix)
	if err != nil {
		return snapshotInfo{}, local(err)
	}
	defer os.Remove(temp.Name()) // gone already once all is well
	defer temp.Close()
	saved := &savedFile{file: temp}
	err = write(saved)
	if saved.err != nil {
		return snapshotInfo{}, local(saved.err)
	}
	if err != nil {
		return snapshotInfo{}, err
	}
	if _, err := temp.Seek(0, io.SeekStart); err != nil {
		return snapshotInfo{}, local(err)
	}
	info, err := verifySnapshot(path, temp, saved.size)
	if err != nil {
		return snapshotInfo{}, fmt.Errorf("what the node sent is damaged: %w", err)
	}
	if err := temp.Sync(); err != nil {
		return snapshotInfo{}, local(err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return snapshotInfo{}, local(err)
	}
	return info, local(syncDir(filepath.Dir(path)))
}

// savedFile counts, and remembers its own errors: they are not the server's.
type savedFile struct {
	file *os.File
	size int64
	err  error
}

func (f *savedFile) Write(p []byte) (n int, err error) {
	n, f.err = f.file.Write(p)
	f.size += int64(n)
	return n, f.err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
