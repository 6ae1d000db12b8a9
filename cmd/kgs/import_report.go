package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// importReport writes what became of the entries.
type importReport struct {
	links *bufio.Writer
	json  bool
	began time.Time

	mu    sync.Mutex // of what is shown
	notes io.Writer
	bar   progress
	waits bool // waiting has said so

	rejects *rejects // nil: there is no file of them

	imported, refused, failed int
	last                      int // line
}

func newImportReport(s *session, size int64) *importReport {
	notes := s.cmd.ErrOrStderr()
	return &importReport{
		links: bufio.NewWriter(s.out.w), json: s.out.json,
		notes: notes, bar: newProgress(notes, size), began: time.Now(),
	}
}

// all reports every batch, in order, and the sum.
func (r *importReport) all(ctx context.Context, run *importRun) error {
	for {
		var b *importBatch
		var more bool
		select {
		case b, more = <-run.batches:
		case <-ctx.Done(): // the reader may hang in a read of stdin
			r.summary()
			return fmt.Errorf("interrupted: the lines up to %d are done, later ones may be; %s", r.last, runAgain)
		}
		if !more {
			break
		}
		<-b.done
		if err := r.batch(b); err != nil {
			return local(err)
		}
	}
	r.summary()
	return r.outcome(run)
}

const runAgain = "run it again, nothing is made twice"

// outcome is the error of an import as a whole.
func (r *importReport) outcome(run *importRun) error {
	switch {
	case run.readErr != nil:
		return local(fmt.Errorf("after line %d: %w", r.last, run.readErr))
	case !run.complete:
		return fmt.Errorf("%d rows failed, those after line %d were not tried, %d were refused; %s", r.failed, r.last, r.refused, runAgain)
	case r.failed > 0:
		return fmt.Errorf("%d rows failed, %d were refused; %s", r.failed, r.refused, runAgain)
	case r.refused > 0 && r.rejects != nil:
		return fmt.Errorf("%d rows were refused: correct them in %s and import that", r.refused, r.rejects.path)
	case r.refused > 0:
		return fmt.Errorf("%d rows were refused; --rejects FILE has them in a file to correct and import", r.refused)
	}
	return nil
}

// waiting tells, once, why nothing happens.
func (r *importReport) waiting(err error, timeout time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waits {
		return
	}
	r.waits = true
	r.bar.clear()
	fmt.Fprintf(r.notes, "no answer yet, trying on for %s: %s\n", timeout, oneLine(explain(err)))
}

// batch reports one batch; its error is that of the output.
func (r *importReport) batch(b *importBatch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bar.clear()
	defer func() { r.bar.at(b.read, linkRate(r.imported, r.began)) }()
	r.last = b.entries[len(b.entries)-1].line
	if b.err != nil {
		r.failed += len(b.entries)
		fmt.Fprintf(r.notes, "lines %d to %d failed: %s\n", b.entries[0].line, r.last, oneLine(explain(b.err)))
		return nil
	}
	results := b.results
	for _, e := range b.entries {
		fault := e.fault
		if fault == nil {
			result := results[0]
			results = results[1:]
			if result.Err == nil {
				if err := r.created(result.Link); err != nil {
					return err
				}
				continue
			}
			fault = result.Err
		}
		if err := r.reject(e, fault); err != nil {
			return err
		}
	}
	return r.links.Flush()
}

// maxShown is how many refusals are shown if a file has them all.
const maxShown = 20

func (r *importReport) reject(e entry, fault error) error {
	r.refused++
	switch {
	case r.rejects == nil || r.refused <= maxShown:
		fmt.Fprintf(r.notes, "line %d: %s\n", e.line, oneLine(fault))
	case r.refused == maxShown+1:
		fmt.Fprintf(r.notes, "further ones are in %s only\n", r.rejects.path)
	}
	if r.rejects == nil {
		return nil
	}
	return r.rejects.add(e, fmt.Sprintf("line %d: %s", e.line, oneLine(fault)))
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
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bar.clear()
	took := time.Since(r.began)
	fmt.Fprintf(r.notes, "imported %d, refused %d, %.1f s, %.0f links/s\n",
		r.imported, r.refused, took.Seconds(), float64(r.imported)/took.Seconds())
}
