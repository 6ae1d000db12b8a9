package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
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
	report := &importReport{
		links: bufio.NewWriter(s.out.w), json: s.out.json, notes: s.cmd.ErrOrStderr(),
		bar: newProgress(s.cmd.ErrOrStderr(), size), began: time.Now(),
	}
	noMore, stop := context.WithCancel(ctx)
	defer stop()
	im := &importer{create: s.Client, timeout: timeout}
	batches, readErr := im.start(ctx, noMore, entries, counted.count.Load)
	err = report.all(ctx, batches, stop)
	report.summary()
	if err == nil && ctx.Err() == nil {
		err = local(*readErr)
	}
	return err
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

// importReport writes what became of the entries.
type importReport struct {
	links             *bufio.Writer
	json              bool
	notes             io.Writer
	bar               progress
	began             time.Time
	imported, refused int
}

// all reports every batch, in order. After a batch without an answer it calls
// stop, so that no further ones are begun, and reports those under way.
func (r *importReport) all(ctx context.Context, batches <-chan *importBatch, stop func()) error {
	var failed error
	for {
		var b *importBatch
		var more bool
		select {
		case b, more = <-batches:
		case <-ctx.Done(): // the reader may hang in a read of stdin
			return errors.Join(failed, errors.New("interrupted: what was imported is above, of what was under way it is not known"))
		}
		if !more {
			break
		}
		<-b.done
		if err := r.batch(b); err != nil {
			stop()
			failed = errors.Join(failed, err)
		}
	}
	if failed == nil && r.refused > 0 {
		failed = fmt.Errorf("%d lines were refused", r.refused)
	}
	return failed
}

// batch reports one batch.
func (r *importReport) batch(b *importBatch) error {
	r.bar.clear()
	defer func() { r.bar.at(b.read, r.imported) }()
	first, last := b.entries[0].line, b.entries[len(b.entries)-1].line
	if b.err != nil && b.results == nil {
		return fmt.Errorf("lines %d to %d: %w", first, last, b.err)
	}
	results := b.results
	for _, e := range b.entries {
		fault := e.fault
		if fault == nil {
			result := results[0]
			results = results[1:]
			if result.Err == nil {
				if err := r.created(result.Link); err != nil {
					return local(err)
				}
				continue
			}
			fault = result.Err
		}
		r.refused++
		fmt.Fprintf(r.notes, "line %d: %s\n", e.line, oneLine(fault))
	}
	return local(r.links.Flush())
}

func (r *importReport) created(link *client.Link) error {
	r.imported++
	if r.json {
		return encodeLine(r.links, link)
	}
	_, err := fmt.Fprintf(r.links, "%s\t%s\n", link.Key, link.URL)
	return err
}

func (r *importReport) summary() {
	r.bar.clear()
	took := time.Since(r.began)
	fmt.Fprintf(r.notes, "imported %d, refused %d, %.1f s, %.0f links/s\n",
		r.imported, r.refused, took.Seconds(), float64(r.imported)/took.Seconds())
}
