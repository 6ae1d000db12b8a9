package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// importTimeout is how long a batch is tried.
const importTimeout = 60 * time.Second

func newLinksImport(f *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a link of every line of a file",
		Long: `Make a link of every line of FILE ("-" for stdin). The first line tells what it is:

  JSON lines   {"url": "https://...", "alias"?, "title"?, "tags"?: [...], "redirect"?}
               or what 'kgs links export' wrote: such links keep their keys
  CSV          a header row with url, and perhaps alias, title, tags (a;b), redirect
  plain text   a URL a line

Prints KEY<TAB>URL for every link made, in the order of the file, or with --format
json the link. Lines that are refused go to stderr with number and reason, the rest
is imported all the same, and the exit code is 2.

A batch whose answer is lost is sent again, to the next address, for as long as
--timeout: no line is ever imported twice by one run.`,
		Args: wantArgs("FILE"),
	}
	var timeout time.Duration
	cmd.Flags().DurationVar(&timeout, "timeout", importTimeout, "for a batch of 1,000 lines, all tries included")
	run := f.run(func(ctx context.Context, s *session, args []string) error {
		in, size, err := openInput(args[0], s.cmd.InOrStdin())
		if err != nil {
			return local(err)
		}
		defer in.Close()
		return importFile(ctx, s, in, size, timeout)
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.timeout = timeout
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

// importFile reads, sends and reports.
func importFile(ctx context.Context, s *session, in io.Reader, size int64, timeout time.Duration) error {
	counted := &countingReader{r: in}
	entries, err := newEntryReader(counted)
	if err != nil {
		return local(err)
	}
	report := newImportReport(s, size)
	im := &importer{create: s.Client, timeout: timeout, waiting: func(err error) { report.waiting(err, timeout) }}
	return report.all(ctx, im.start(ctx, entries, counted.count.Load))
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
