package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
)

func backupFile(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(goldenBackup)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// newTestBackups makes backups in a directory of its own, of a cluster whose
// backup is content, or fails with err.
func newTestBackups(t *testing.T, content []byte) (b *backups, fail func(error)) {
	t.Helper()
	b = (&serveFlags{backupDir: filepath.Join(t.TempDir(), "made"), backupInterval: time.Hour, backupKeep: 3}).
		newBackups(hclog.NewNullLogger(), prometheus.NewRegistry())
	var failure atomic.Pointer[error]
	b.cluster = func() string { return "c1" }
	b.write = func(_ context.Context, w io.Writer) error {
		if failed := failure.Load(); failed != nil && *failed != nil {
			w.Write(content[:len(content)/2])
			return *failed
		}
		_, err := w.Write(content)
		return err
	}
	return b, func(err error) { failure.Store(&err) }
}

// value reads a gauge or a counter.
func value(t *testing.T, m prometheus.Collector) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	metric := families[0].Metric[0]
	return metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// One each interval, the newest stay, other files too, and a restart makes none early.
func TestBackupsAreMadeWhenDue(t *testing.T) {
	content := backupFile(t)
	synctest.Test(t, func(t *testing.T) {
		b, _ := newTestBackups(t, content)
		if err := os.MkdirAll(b.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		foreign := []string{"kgs-c2-20000101T000000Z.backup", "notes"}
		for _, name := range foreign {
			if err := os.WriteFile(filepath.Join(b.dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.run(ctx)
		time.Sleep(2 * time.Second)
		first := files(t, b.dir)[0]
		if data, err := os.ReadFile(filepath.Join(b.dir, first)); err != nil || !bytes.Equal(data, content) {
			t.Errorf("%s: %d bytes, %v", first, len(data), err)
		}
		go b.run(ctx) // another node, or process
		time.Sleep(30 * time.Minute)
		if n := len(files(t, b.dir)); n != 1+len(foreign) {
			t.Errorf("%d files before the second backup is due", n)
		}
		time.Sleep(5 * time.Hour)
		now := files(t, b.dir)
		if len(now) != 3+len(foreign) || slices.Contains(now, first) {
			t.Errorf("after five hours there are %v", now)
		}
		for _, name := range foreign {
			if !slices.Contains(now, name) {
				t.Errorf("%s is gone", name)
			}
		}
		if last := value(t, b.last); time.Since(time.Unix(int64(last), 0)) > 62*time.Minute {
			t.Errorf("the metric says %v", last)
		}
	})
}

// A failed backup leaves nothing, and what was there; it is made up for soon.
func TestBackupThatFails(t *testing.T) {
	content := backupFile(t)
	synctest.Test(t, func(t *testing.T) {
		b, fail := newTestBackups(t, content)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.run(ctx)
		time.Sleep(2 * time.Second)
		before := files(t, b.dir)
		fail(errors.New("no leader"))
		time.Sleep(3 * time.Hour)
		if now := files(t, b.dir); !slices.Equal(now, before) {
			t.Errorf("there were %v, there are %v", before, now)
		}
		if n := value(t, b.failed); n < 2 {
			t.Errorf("%v failures counted", n)
		}
		fail(nil)
		time.Sleep(2 * backupAgain)
		if n := len(files(t, b.dir)); n != 2 {
			t.Errorf("%d files after it works again", n)
		}
	})
}

// What is written damaged is not kept.
func TestDamagedBackupIsNotKept(t *testing.T) {
	content := backupFile(t)
	content[len(content)/2] ^= 1
	b, _ := newTestBackups(t, content)
	if err := b.runDue(t.Context()); err == nil {
		t.Error("a damaged backup was kept")
	}
	if names := files(t, b.dir); len(names) != 0 {
		t.Errorf("there are %v", names)
	}
}

// A part that a crash left is removed in the end; one under way is not, and holds
// up another backup.
func TestPartsOfBackups(t *testing.T) {
	b, _ := newTestBackups(t, backupFile(t))
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(b.dir, ".kgs-c1-x.backup.1.part"), filepath.Join(b.dir, ".kgs-c1-x.backup.2.part")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * backupLeft)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	if err := b.runDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := files(t, b.dir); len(names) != 1 || names[0] != filepath.Base(young) {
		t.Errorf("there are %v", names)
	}
	past = time.Now().Add(-2 * backupAgain) // nobody goes on with it
	if err := os.Chtimes(young, past, past); err != nil {
		t.Fatal(err)
	}
	if err := b.runDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := files(t, b.dir); len(names) != 2 {
		t.Errorf("there are %v", names)
	}
}

// A file from the future, of a clock that was wrong, does not stop backups.
func TestBackupOfTheFuture(t *testing.T) {
	b, _ := newTestBackups(t, backupFile(t))
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "kgs-c1-29990101T000000Z.backup"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.runDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names := files(t, b.dir); len(names) != 2 {
		t.Errorf("there are %v", names)
	}
	if last := value(t, b.last); last > float64(time.Now().Unix()) {
		t.Errorf("the metric says %v", last)
	}
}
