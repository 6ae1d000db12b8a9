package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// changeLine is a change as 'kgs links watch' prints it.
type changeLine struct {
	ID    string       `json:"id"`
	Event string       `json:"event"`
	Key   string       `json:"key"`
	Link  *client.Link `json:"link,omitempty"`
}

func newLinksWatch(f *clientFlags) *cobra.Command {
	var after string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print each change of a link as a JSON line, as it comes",
		Long: `Print each change of a link as a JSON line, until it is interrupted: those after
--after, or from now on. When a node cannot be reached it goes on at the next
one, and misses nothing. At its end it says from where to go on.`,
		Example: `  kgs links watch
  kgs links watch --after 1234 >> changes.jsonl`,
		Args: wantArgs(),
		RunE: f.run(func(ctx context.Context, s *session, _ []string) error {
			began := false
			err := s.Watch(ctx, after, func(e client.Event) error {
				if !began {
					began = true
					fmt.Fprintf(s.cmd.ErrOrStderr(), "watching, after %s\n", e.ID)
				}
				if after = e.ID; e.Kind == client.LogIndex {
					return nil
				}
				return local(encodeLine(s.out.w, changeLine{e.ID, e.Kind, e.Key, e.Link}))
			})
			if began && !client.HasCode(err, "watch_gone") {
				fmt.Fprintf(s.cmd.ErrOrStderr(), "go on with --after %s\n", after)
			}
			if errors.Is(err, context.Canceled) { // it was interrupted
				return nil
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&after, "after", "", "`ID` of a change, or a log index: what came after it")
	return cmd
}
