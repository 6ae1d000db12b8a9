package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// The sizes of an import. A batch of the API has at most 10,000 lines and 16 MiB.
const (
	importBatchLines  = 1000
	importBatchBytes  = 2 << 20 // of text, to which JSON adds escapes
	importsInFlight   = 4
	importRetryPause  = 200 * time.Millisecond
	importEntryExtras = 64 // bytes of an entry beside its text, roughly
)

// linkCreator is the client, as far as an import needs it.
type linkCreator interface {
	CreateLinks(ctx context.Context, links []client.NewLink, opts ...client.Option) ([]client.BatchResult, error)
}

// importBatch is some entries on their way.
type importBatch struct {
	entries []entry
	read    int64 // bytes of the file read up to its end, roughly
	done    chan struct{}

	// Once done is closed: a result per entry without a fault, in order, or why
	// there are none.
	results []client.BatchResult
	err     error
}

// importer sends entries in batches, some of them at a time.
type importer struct {
	create  linkCreator
	timeout time.Duration // for a batch, all tries included
}

// start reads all entries and sends them. The batches come in the order of the
// file, each as soon as it is under way; the channel is closed after the last,
// and then *readErr says why the file ended early, if it did. When ctx or
// noMore ends, no more is read; with ctx what is under way ends too.
func (im *importer) start(ctx, noMore context.Context, entries entryReader, position func() int64) (batches <-chan *importBatch, readErr *error) {
	queue, slots := make(chan *importBatch, importsInFlight), make(chan struct{}, importsInFlight)
	readErr = new(error)
	go func() {
		defer close(queue)
		for noMore.Err() == nil && ctx.Err() == nil {
			b, err := readBatch(entries)
			if len(b.entries) > 0 {
				b.read = position()
				slots <- struct{}{}
				go func() {
					defer func() { <-slots }()
					defer close(b.done)
					im.send(ctx, b)
				}()
				queue <- b
			}
			if err != nil {
				if err != io.EOF {
					*readErr = err
				}
				return
			}
		}
	}()
	return queue, readErr
}

// readBatch reads a batch, perhaps a short one with the error that ended it.
func readBatch(entries entryReader) (*importBatch, error) {
	b := &importBatch{done: make(chan struct{})}
	for size := 0; len(b.entries) < importBatchLines && size < importBatchBytes; {
		e, err := entries.next()
		if err != nil {
			return b, err
		}
		b.entries = append(b.entries, e)
		size += len(e.link.URL) + len(e.link.Title) + importEntryExtras
		for _, tag := range e.link.Tags {
			size += len(tag)
		}
	}
	return b, nil
}

// send creates the links of a batch. It is sent again, whole and with the same
// idempotency key, until every link has an answer for good: those created by an
// earlier try are answered as they were then.
func (im *importer) send(ctx context.Context, b *importBatch) {
	var links []client.NewLink
	for _, e := range b.entries {
		if e.fault == nil {
			links = append(links, e.link)
		}
	}
	if len(links) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, im.timeout)
	defer cancel()
	key := client.WithIdempotencyKey(rand.Text())
	for {
		results, err := im.create.CreateLinks(ctx, links, key)
		if err == nil {
			b.results, b.err = results, openResult(results)
		} else if b.results == nil {
			b.err = err
		}
		if b.err == nil || !mayChange(b.err) {
			return
		}
		select {
		case <-time.After(importRetryPause):
		case <-ctx.Done():
			if b.results == nil {
				b.err = fmt.Errorf("gave up: %w", b.err)
			} else {
				b.err = nil // each line has a word of its own
			}
			return
		}
	}
}

// openResult is the first answer that another try may change; nil if none.
func openResult(results []client.BatchResult) error {
	for _, r := range results {
		if r.Err != nil && mayChange(r.Err) {
			return r.Err
		}
	}
	return nil
}

// mayChange: another try may end otherwise. It cannot when a node has refused.
func mayChange(err error) bool {
	var refusal *client.Error
	if !errors.As(err, &refusal) {
		return true // no node answered
	}
	return refusal.Retryable() || errors.Is(err, client.ErrOutcomeUnknown)
}
