package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi/client"
)

// snapshotTimeout is the default of --timeout here: a backup may be large.
const snapshotTimeout = time.Hour

func newSnapshot() *cobra.Command {
	f := &clientFlags{}
	group := f.register(newGroup("snapshot", "Back the cluster up into a file, and restore it",
		newSnapshotSave(f), newSnapshotRestore(f), newSnapshotInspect(f), newSnapshotVerify(f)))
	f.timeout = snapshotTimeout
	group.PersistentFlags().Lookup("timeout").DefValue = snapshotTimeout.String()
	return group
}

func newSnapshotSave(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "save FILE",
		Short: "Write a backup of the running cluster to a file, verified",
		Long: `Write a backup of the running cluster to a file. It is written under another
name, verified, and only then renamed to FILE.

The file holds all links and the secrets of the key spaces: keep it like a key.`,
		Example:           `  kgs snapshot save links.backup`,
		Args:              wantArgs("FILE"),
		ValidArgsFunction: completeFile,
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			ctx, cancel := context.WithTimeout(ctx, f.timeout)
			defer cancel()
			return s.saveSnapshot(ctx, args[0])
		}),
	}
}

func newSnapshotInspect(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:               "inspect FILE",
		Short:             "What a backup file is of; needs no cluster",
		Example:           `  kgs snapshot inspect links.backup`,
		Args:              wantArgs("FILE"),
		ValidArgsFunction: completeFile,
		RunE: f.run(func(_ context.Context, s *session, args []string) error {
			file, size, err := openSnapshot(args[0])
			if err != nil {
				return local(err)
			}
			defer file.Close()
			header, err := cluster.InspectBackup(file)
			if err != nil {
				return local(fmt.Errorf("%s: %w", args[0], err))
			}
			return s.printSnapshot(newSnapshotInfo(args[0], size, header))
		}),
	}
}

func newSnapshotVerify(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:               "verify FILE",
		Short:             "Check every byte of a backup file; needs no cluster",
		Example:           `  kgs snapshot verify links.backup`,
		Args:              wantArgs("FILE"),
		ValidArgsFunction: completeFile,
		RunE: f.run(func(_ context.Context, s *session, args []string) error {
			file, size, err := openSnapshot(args[0])
			if err != nil {
				return local(err)
			}
			defer file.Close()
			info, err := verifySnapshot(args[0], file, size)
			if err != nil {
				return local(err)
			}
			return s.printSnapshot(info)
		}),
	}
}

func newSnapshotRestore(f *clientFlags) *cobra.Command {
	var floors floorsFlag
	var once string
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a backup file into the running cluster",
		Long: `Restore a backup file into the running cluster. Afterwards

  - the links are those of the backup; links made since are gone;
  - no key that was ever issued comes again: all keys up to now are burned, also
    those that somebody took and did not use yet. New keys come from above;
  - members and settings of the cluster are as before.

A backup of another cluster can only be restored into a new one, and needs
--floor: how many keys the other one issued after the backup is not known here.`,
		Example: `  kgs snapshot restore kgs.backup
  kgs snapshot restore other.backup --floor 120000000 --floor vouchers=400000`,
		Args:              wantArgs("FILE"),
		ValidArgsFunction: completeFile,
	}
	floors.add(cmd)
	cmd.Flags().StringVar(&once, "idempotency-key", "", "`KEY` of an earlier try whose outcome is unknown: the restore is done once")
	cmd.RunE = f.run(func(ctx context.Context, s *session, args []string) error {
		file, size, err := openSnapshot(args[0])
		if err != nil {
			return local(err)
		}
		defer file.Close()
		if _, err := verifySnapshot(args[0], file, size); err != nil {
			return local(err)
		}
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		if once == "" {
			once = crand.Text()
		}
		bar := newProgress(s.cmd.ErrOrStderr(), size)
		opts := []client.Option{client.WithIdempotencyKey(once)}
		for _, f := range floors.Named {
			opts = append(opts, client.WithFloor(f.Keyspace, f.Position))
		}
		done, err := s.Restore(ctx, sentFile{file, bar}, size, floors.Others, opts...)
		bar.clear()
		if errors.Is(err, client.ErrOutcomeUnknown) {
			return fmt.Errorf("%w; to find out, and to have it done once, run it again with --idempotency-key %s", err, once)
		}
		if err != nil {
			return err
		}
		return s.printRestored(done)
	})
	return cmd
}

// floorsFlag is --floor of what burns keys.
type floorsFlag struct{ cluster.Floors }

func (*floorsFlag) Type() string { return "POSITION" }

func (f *floorsFlag) add(cmd *cobra.Command) {
	cmd.Flags().Var(f, "floor", "`POSITION` below which no key is issued afterwards, in any key space that has none of its own; of one of its own, once for each: NAME=POSITION")
}

// sentFile shows how much of a file is sent.
type sentFile struct {
	*os.File
	bar progress
}

func (f sentFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.bar.at(off+int64(n), "sending")
	return n, err
}

func (s *session) printRestored(done client.Restored) error {
	for _, warning := range done.Warnings {
		fmt.Fprintf(s.cmd.ErrOrStderr(), "warning: %s\n", warning)
	}
	return s.out.print(done, func(t *table) {
		t.row("restored", fmt.Sprintf("at log index %d", done.Index))
		t.row("backup", fmt.Sprintf("cluster %s, log index %d, %s", done.Backup.ClusterID, done.Backup.Index, when(done.Backup.Time)))
		t.row("links", done.Links)
		t.row("links lost", done.LinksLost)
		for _, k := range done.Keyspaces {
			of := k.Name
			if k.Length != 0 {
				of = fmt.Sprintf("%s, length %d", k.Name, k.Length)
			}
			t.row("key space", fmt.Sprintf("%s: %d keys burned, new ones from position %d on, %d left", of, k.Burned, k.HighWaterMark, k.Left))
		}
	})
}
