package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

func newKeys() *cobra.Command {
	f := &clientFlags{}
	return f.register(newGroup("keys", "Take keys, look at one, give keys back",
		newKeysTake(f), newKeysInspect(f), newKeysReturn(f)))
}

// maxTake is how many keys one request may take.
const maxTake = 100_000

func newKeysTake(f *clientFlags) *cobra.Command {
	var count int
	var keyspace string
	cmd := &cobra.Command{
		Use:   "take",
		Short: "Take keys, one a line",
		Long: `Take keys that nobody else ever gets, one a line. --format json also shows the
receipt, with which keys can be given back.`,
		Example: `  kgs keys take
  kgs keys take -n 1000 >keys.txt
  kgs keys take -n 10 --format json >taken.json`,
		Args: wantArgs(),
	}
	cmd.Flags().IntVarP(&count, "count", "n", 1, "how many")
	f.keyspaceFlag(cmd, &keyspace)
	take := f.run(func(ctx context.Context, s *session, _ []string) error {
		keys, err := s.Take(ctx, keyspace, count)
		if err != nil {
			return err
		}
		if s.out.json {
			return local(encodeLine(s.out.w, keys))
		}
		var lines bytes.Buffer
		for _, key := range keys.Keys {
			lines.WriteString(key + "\n")
		}
		_, err = s.out.w.Write(lines.Bytes())
		return local(err)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if count < 1 || count > maxTake {
			return usageError(cmd, "-n %d: want 1 to %d", count, maxTake)
		}
		return take(cmd, args)
	}
	return cmd
}

func newKeysInspect(f *clientFlags) *cobra.Command {
	var keyspace string
	cmd := &cobra.Command{
		Use:   "inspect KEY",
		Short: "Where a key stands",
		Long: `Where a key stands: unused, used (and under which lease, for what), or not
generated yet. Any key that the key space can have may be asked for.`,
		Example: `  kgs keys inspect golang
  kgs keys inspect V-J86XAG3X2GH --keyspace vouchers`,
		Args: wantArgs("KEY"),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			state, err := s.Inspect(ctx, keyspace, args[0])
			if err != nil {
				return err
			}
			return s.out.print(state, func(t *table) {
				t.row("key", state.Key)
				t.row("keyspace", state.Keyspace)
				t.row("state", state.State)
				t.row("purpose", state.Purpose)
				t.row("link", state.Link)
				if l := state.Lease; l != nil {
					t.row("lease", fmt.Sprintf("%s of %s, term %d, index %d, %s", l.ID, l.Node, l.Term, l.Index, when(l.Time)))
				}
			})
		}),
	}
	f.keyspaceFlag(cmd, &keyspace)
	return cmd
}

func newKeysReturn(f *clientFlags) *cobra.Command {
	var receipt, from string
	cmd := &cobra.Command{
		Use:   "return (--receipt RECEIPT KEY... | --from FILE [KEY...])",
		Short: "Give keys back that were taken and not used",
		Long: `Give keys back that were taken and not used: all of them, or none.

FILE ("-" for stdin) is what 'kgs keys take --format json' printed; without KEYs
all of its keys are given back.`,
		Example: `  kgs keys take -n 10 --format json >taken.json
  kgs keys return --from taken.json`,
	}
	cmd.Flags().StringVar(&receipt, "receipt", "", "the `RECEIPT` that came with the keys")
	cmd.Flags().StringVar(&from, "from", "", "`FILE` with receipt and keys")
	give := f.run(func(ctx context.Context, s *session, keys []string) error {
		if from != "" {
			taken, err := readTaken(from, s.cmd.InOrStdin())
			if err != nil {
				return local(err)
			}
			if receipt = taken.Receipt; len(keys) == 0 {
				keys = taken.Keys
			}
		}
		returned, err := s.Return(ctx, receipt, keys)
		if err != nil {
			return err
		}
		answer := struct {
			Returned int `json:"returned"`
		}{returned}
		return s.out.print(answer, func(t *table) { t.row("returned", returned) })
	})
	cmd.RunE = func(cmd *cobra.Command, keys []string) error {
		switch {
		case (receipt == "") == (from == ""):
			return usageError(cmd, "want either --receipt or --from")
		case receipt != "" && len(keys) == 0:
			return usageError(cmd, "name the keys to give back")
		}
		return give(cmd, keys)
	}
	return cmd
}

// readTaken reads what take printed.
func readTaken(path string, stdin io.Reader) (client.Keys, error) {
	var taken client.Keys
	data, err := readAll(path, stdin)
	if err != nil {
		return taken, err
	}
	err = json.Unmarshal(data, &taken)
	if err == nil && (taken.Receipt == "" || len(taken.Keys) == 0) {
		err = errors.New("no receipt and keys in it")
	}
	if err != nil {
		return taken, fmt.Errorf("%s is not what 'kgs keys take --format json' prints: %w", path, err)
	}
	return taken, nil
}

func readAll(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(path)
}
