package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kgs-cluster/kgs/cluster"
)

// backups writes a backup file into a directory now and then, and removes the
// oldest. The newest file there says when the next one is due: so a restart
// makes none early, and nodes that share the directory take turns.
type backups struct {
	dir   string
	every time.Duration
	keep  int
	log   hclog.Logger

	cluster func() string // id; "" until the cluster is formed
	write   func(context.Context, io.Writer) error

	last   prometheus.Gauge
	failed prometheus.Counter
}

const (
	backupLook  = time.Minute      // how often the directory is looked at, at most
	backupAgain = 10 * time.Minute // after a failure
	backupFresh = time.Minute      // for the node to be up to date
	backupStop  = 5 * time.Second  // for the one under way to be given up; its disk may hang
	backupLeft  = 24 * time.Hour   // after which a part of a backup is nobody's
	backupTime  = "20060102T150405Z"
)

// startBackups makes backups, if there is a directory for them, until ctx ends;
// end waits for that.
func (f *serveFlags) startBackups(ctx context.Context, node *cluster.Node, log hclog.Logger, registry prometheus.Registerer) (end func()) {
	if f.backupDir == "" {
		return func() {}
	}
	b, ended := f.newBackups(log, registry), make(chan struct{})
	b.cluster, b.write = node.Machine().ClusterID, node.Backup
	go func() {
		defer close(ended)
		b.run(ctx)
	}()
	return func() {
		select {
		case <-ended:
		case <-time.After(backupStop):
		}
	}
}

func (f *serveFlags) newBackups(log hclog.Logger, registry prometheus.Registerer) *backups {
	b := &backups{
		dir: f.backupDir, every: f.backupInterval, keep: f.backupKeep, log: log.Named("backup"),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kgs_backup_last_success_seconds", Help: "Unix time of the newest backup file in the directory of --backup-dir; 0: none."}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kgs_backup_failures_total", Help: "Scheduled backups that failed since the start."}),
	}
	registry.MustRegister(b.last, b.failed)
	return b
}

// run makes backups until ctx ends.
func (b *backups) run(ctx context.Context) {
	wait := min(b.every, time.Second) // for the node to come up
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(b.every, backupLook)
		if b.cluster() == "" {
			continue
		}
		if err := b.runDue(ctx); err != nil && ctx.Err() == nil {
			b.failed.Inc()
			b.log.Error("no backup", "error", err, "again in", min(b.every, backupAgain))
			wait = min(b.every, backupAgain)
		}
	}
}

// runDue makes a backup if one is due, and removes those that are too many.
func (b *backups) runDue(ctx context.Context) error {
	names, newest, busy, err := b.list()
	if err != nil || busy {
		return err
	}
	if now := time.Now().UTC(); now.Sub(newest) >= b.every {
		name := b.prefix() + now.Format(backupTime) + backupSuffix
		info, err := writeSnapshot(filepath.Join(b.dir, name), func(w io.Writer) error {
			fresh, cancel := context.WithTimeout(ctx, backupFresh)
			defer cancel()
			return b.write(fresh, writerUntil{ctx, w})
		})
		if err != nil {
			return err
		}
		b.log.Info("written", "file", info.File, "bytes", info.Bytes, "index", info.Index, "links", info.Links)
		names, newest = append(names, name), now
	}
	if !newest.IsZero() {
		b.last.Set(float64(newest.Unix()))
	}
	for ; len(names) > b.keep; names = names[1:] {
		err = errors.Join(err, os.Remove(filepath.Join(b.dir, names[0])))
	}
	return err
}

// writerUntil fails when ctx has ended: a backup does not hold up the node's stop.
type writerUntil struct {
	ctx context.Context
	io.Writer
}

func (w writerUntil) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

const backupSuffix = ".backup"

// prefix is that of this cluster's files; others in the directory are not touched.
func (b *backups) prefix() string { return "kgs-" + b.cluster() + "-" }

// list finds this cluster's backups, the oldest first, when the newest was made,
// and whether another node is making one. A time that is still to come, of a clock
// that was wrong, does not count.
func (b *backups) list() (names []string, newest time.Time, busy bool, err error) {
	if err := os.MkdirAll(b.dir, 0o750); err != nil {
		return nil, newest, false, err
	}
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, newest, false, err
	}
	for _, entry := range entries {
		busy = b.isPart(entry) || busy
		stamp, ok := strings.CutPrefix(entry.Name(), b.prefix())
		if !ok {
			continue
		}
		if stamp, ok = strings.CutSuffix(stamp, backupSuffix); !ok {
			continue
		}
		if made, err := time.Parse(backupTime, stamp); err == nil {
			names = append(names, entry.Name())
			if made.After(newest) && !made.After(time.Now().Add(backupLook)) {
				newest = made
			}
		}
	}
	slices.Sort(names)
	return names, newest, busy, nil
}

// isPart tells whether a backup is being written there. What a crash left of one
// is removed in the end.
func (b *backups) isPart(entry os.DirEntry) bool {
	if !strings.HasPrefix(entry.Name(), "."+b.prefix()) || !strings.HasSuffix(entry.Name(), partSuffix) {
		return false
	}
	info, err := entry.Info()
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	if age > backupLeft {
		os.Remove(filepath.Join(b.dir, entry.Name()))
	}
	return age < backupAgain
}

func (f *serveFlags) checkBackups() error {
	switch {
	case f.backupDir == "":
	case f.backupInterval < time.Second:
		return fmt.Errorf("--backup-interval %s: want a second or more", f.backupInterval)
	case f.backupKeep < 1:
		return fmt.Errorf("--backup-keep %d: want 1 or more", f.backupKeep)
	}
	return nil
}
