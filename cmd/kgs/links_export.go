package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

func newLinksExport(f *clientFlags) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write all links, in the order of their keys",
		Long: `Write all links with all that is known of them, in the order of their keys, as JSON
lines or CSV. 'kgs links import' makes the same links of either, with the same keys. In CSV, a text that
a spreadsheet would calculate has a ' before it, which an import takes away. --format does not
change that: JSON lines are JSON already.`,
		Example: `  kgs links export > links.jsonl
  kgs links export --to csv > links.csv`,
		Args: wantArgs(),
	}
	cmd.Flags().StringVar(&to, "to", "jsonl", "jsonl or csv")
	run := f.run(func(ctx context.Context, s *session, _ []string) error {
		return exportLinks(ctx, s, to)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if to != "jsonl" && to != "csv" {
			return usageError(cmd, "--to %s: want jsonl or csv", to)
		}
		return run(cmd, args)
	}
	return cmd
}

func exportLinks(ctx context.Context, s *session, to string) error {
	out := bufio.NewWriter(s.out.w)
	write, flush := func(link client.Link) error { return encodeLine(out, link) }, out.Flush
	if to == "csv" {
		write, flush = csvExport(out)
	}
	notes := s.cmd.ErrOrStderr()
	bar, began := newProgress(notes, -1), time.Now()
	query := client.LinkQuery{Limit: maxPage}
	for count := 0; ; {
		page, err := s.ListLinks(ctx, query)
		if err != nil {
			return fmt.Errorf("after %d links: %w", count, err)
		}
		bar.clear()
		for _, link := range page.Links {
			if err := write(link); err != nil {
				return local(err)
			}
		}
		if err := flush(); err != nil {
			return local(err)
		}
		count += len(page.Links)
		if page.NextCursor == "" {
			fmt.Fprintf(notes, "exported %d links\n", count)
			return nil
		}
		bar.at(int64(count), linkRate(count, began))
		query.Cursor = page.NextCursor
	}
}

// exportColumns are what a CSV file of links has; an import reads them, too.
var exportColumns = []string{"key", "url", "short_url", "alias", "title", "tags", "redirect",
	"created_at", "updated_at", "expires_at", "not_before", "max_visits", "visits", "owner", "forward_query"}

// csvExport writes the header, and then links.
func csvExport(out *bufio.Writer) (write func(client.Link) error, flush func() error) {
	w := csv.NewWriter(out)
	w.Write(exportColumns) // its error is flush's
	write = func(l client.Link) error {
		return w.Write([]string{l.Key, l.URL, l.ShortURL, strconv.FormatBool(l.Alias), inert(l.Title), inert(joinTags(l.Tags, ownFormat.separators)), strconv.Itoa(l.Redirect),
			cellTime(l.CreatedAt), cellTime(l.UpdatedAt), cellTime(l.ExpiresAt), cellTime(l.NotBefore), cellCount(l.MaxVisits), cellCount(l.Visits), inert(l.Owner), cellFlag(l.ForwardQuery)})
	}
	flush = func() error {
		w.Flush()
		return errors.Join(w.Error(), out.Flush())
	}
	return write, flush
}

// formula is how cells begin that spreadsheets calculate, or that inert was at.
var formula = regexp.MustCompile(`^'*[-=+@＝＋－＠]`)

// inert is a cell with somebody's text, which no spreadsheet takes for a formula:
// https://owasp.org/www-community/attacks/CSV_Injection. fromInert undoes it.
func inert(cell string) string {
	if formula.MatchString(cell) {
		return "'" + cell
	}
	return cell
}

func fromInert(cell string) string {
	if formula.MatchString(cell) {
		return strings.TrimPrefix(cell, "'")
	}
	return cell
}

func cellFlag(set bool) string {
	if !set {
		return ""
	}
	return "true"
}

func cellTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Format(time.RFC3339Nano)
}

func cellCount(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
