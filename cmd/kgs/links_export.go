package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

func newLinksExport(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Write all links as JSON lines, in the order of their keys",
		Args:  wantArgs(),
		RunE: f.run(func(ctx context.Context, s *session, _ []string) error {
			out := bufio.NewWriter(s.out.w)
			bar := newProgress(s.cmd.ErrOrStderr(), -1)
			query := client.LinkQuery{Limit: maxPage}
			for count := 0; ; {
				page, err := s.ListLinks(ctx, query)
				if err != nil {
					return fmt.Errorf("after %d links: %w", count, err)
				}
				bar.clear()
				for _, link := range page.Links {
					if err := encodeLine(out, link); err != nil {
						return local(err)
					}
				}
				if err := out.Flush(); err != nil {
					return local(err)
				}
				count += len(page.Links)
				if page.NextCursor == "" {
					fmt.Fprintf(s.cmd.ErrOrStderr(), "exported %d links\n", count)
					return nil
				}
				bar.at(int64(count), fmt.Sprintf("%d links", count))
				query.Cursor = page.NextCursor
			}
		}),
	}
}
