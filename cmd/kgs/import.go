package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// importTimeout is how long a batch is tried.
const importTimeout = 60 * time.Second

// importOptions are the flags of an import.
type importOptions struct {
	from      string // a format; "": the file tells
	keepCodes bool
	rejects   string // path; "": none
	anew      bool
	timeout   time.Duration
}

func newLinksImport(f *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a link of every row of a file",
		Long: `Make a link of every row of FILE ("-" for stdin). Its start tells what it is; --from
says it where it does not:

  jsonl    {"url": "https://...", "alias"?, "title"?, "tags"?: [...], "redirect"?,
           "expires_at"?, "not_before"?, "max_visits"?, "forward_query"?}, or what 'kgs links export' wrote
  csv      the same as columns, tags as a;b, in any order; a header row says which
  shlink   CSV of its web client or for its importer; JSON of its API
  yourls   CSV or TSV of the table yourls_url, CSV of the plugin Import Export; JSON of
           its API, of phpMyAdmin
  bitly    CSV with columns like Bitlink and Long URL; JSON of its API
  (none)   a URL a line

What 'kgs links export' wrote keeps its keys; links of other services keep their short
codes with --keep-codes (of a Bitlink with several, a custom one). A code that is taken or
cannot be a key is refused, with the reason. Dates of creation, visits and owners start anew.
Links of Shlink forward queries, as they do there, unless its API's JSON says that one does not.

Prints KEY<TAB>URL for every link, in the order of the file, or with --format json the
link. Rows that are refused go to stderr with line and reason, and with --rejects to a
file like FILE with a column reason: correct it and import it. The exit code is 2 if
rows were refused, 0 if none was.

An import that was interrupted is run again: rows that were done are not done twice for
24 hours, wherever they stand in the file then, and rows with a key of their own never.
--anew makes links anew of rows that were imported before. Nodes remember 4 million rows:
more in 24 hours are refused.`,
		Example: `  kgs links import urls.txt > keys.tsv
  kgs links import --from shlink --keep-codes --rejects rejects.csv short_urls.csv
  kgs links import rejects.csv --from shlink --keep-codes       # once corrected
  mysql --batch -e 'select * from yourls_url' yourls | kgs links import --keep-codes -
  kgs links export --to csv > links.csv && kgs links import links.csv --addr http://other:8080`,
		Args:              wantArgs("FILE"),
		ValidArgsFunction: completeFile,
	}
	var o importOptions
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "", "what FILE is: "+strings.Join(importFormats, ", ")+" (default: its start tells)")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(importFormats, cobra.ShellCompDirectiveNoFileComp)) // there is one
	flags.BoolVar(&o.keepCodes, "keep-codes", false, "the short codes of another service become the keys")
	flags.StringVar(&o.rejects, "rejects", "", "`FILE` of the rows that are refused, with reasons")
	flags.BoolVar(&o.anew, "anew", false, "make links of rows that were imported in the last 24 hours, too")
	flags.DurationVar(&o.timeout, "timeout", importTimeout, "for a batch of 1,000 rows, all tries included")
	run := f.run(func(ctx context.Context, s *session, args []string) error {
		in, size, err := openInput(args[0], s.cmd.InOrStdin())
		if err != nil {
			return local(err)
		}
		defer in.Close()
		return importFile(ctx, s, in, size, o)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkImportFormat(o.from); err != nil {
			return usageError(cmd, "--from: %v", err)
		}
		if sameFile(args[0], cmd.InOrStdin(), o.rejects) {
			return usageError(cmd, "--rejects %s: it is what is imported", o.rejects)
		}
		f.timeout = o.timeout
		return run(cmd, args)
	}
	return cmd
}

// openInput opens a file, or stdin as "-"; size is -1 when it is not known.
func openInput(path string, stdin io.Reader) (in io.ReadCloser, size int64, err error) {
	if path == "-" {
		return io.NopCloser(stdin), -1, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	if !info.Mode().IsRegular() {
		return file, -1, nil
	}
	return file, info.Size(), nil
}

// sameFile: what openInput opens is the file that the other path leads to.
func sameFile(path string, stdin io.Reader, other string) bool {
	stat := func() (os.FileInfo, error) { return os.Stat(path) }
	if path == "-" {
		file, ok := stdin.(*os.File)
		if !ok {
			return false
		}
		stat = file.Stat
	}
	in, err := stat()
	if err != nil || !in.Mode().IsRegular() {
		return false
	}
	out, err := os.Stat(other)
	return err == nil && os.SameFile(in, out)
}

// importFile reads, sends and reports.
func importFile(ctx context.Context, s *session, in io.Reader, size int64, o importOptions) error {
	counted := &countingReader{r: in}
	entries, notes, err := newEntryReader(counted, o)
	if err != nil {
		return local(err)
	}
	for _, note := range notes {
		fmt.Fprintln(s.cmd.ErrOrStderr(), note)
	}
	report := newImportReport(s, size)
	if o.rejects != "" {
		if report.rejects, err = createRejects(o.rejects, entries); err != nil {
			return local(err)
		}
	}
	im := &importer{
		api: s.Client, timeout: o.timeout, keys: newRowKeys(o.anew),
		waiting: func(err error) { report.waiting(err, o.timeout) },
	}
	err = report.all(ctx, im.start(ctx, entries, counted.count.Load))
	return errors.Join(err, local(report.rejects.close()))
}

// countingReader counts what was read; the count is for any goroutine.
type countingReader struct {
	r     io.Reader
	count atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.count.Add(int64(n))
	return n, err
}
