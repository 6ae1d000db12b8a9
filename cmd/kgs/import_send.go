package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// The sizes of an import. A batch of the API has at most 10,000 lines and 16 MiB.
const (
	importBatchLines  = 1000
	importBatchBytes  = 2 << 20 // of text, to which JSON adds escapes
	importsInFlight   = 4
	importRetryPause  = 200 * time.Millisecond
	rowKeyBytes       = 12 // of a hash: of 4 million rows, two have the same once in 10^16 times
	importEntryExtras = 96 // bytes of an entry beside its text, roughly
)

// importAPI is the client, as far as an import needs it.
type importAPI interface {
	CreateLinks(ctx context.Context, links []client.NewLink, opts ...client.Option) ([]client.BatchResult, error)
	GetLink(ctx context.Context, key string, opts ...client.Option) (client.Link, error)
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
	api     importAPI
	keys    *rowKeys
	timeout time.Duration // for a batch, all tries included
	waiting func(error)   // called each time that a batch must be sent again; by any goroutine
}

// importRun is an import under way.
type importRun struct {
	// batches come in the order of the file, each when it is under way; closed
	// after the last. What follows is for the time after that.
	batches  chan *importBatch
	readErr  error // why the file could not be read to its end
	complete bool  // all that could be read was sent
}

// start reads all entries and sends them, until a batch fails: then what is
// under way is all. When ctx ends, that ends too.
func (im *importer) start(ctx context.Context, entries entryReader, position func() int64) *importRun {
	run := &importRun{batches: make(chan *importBatch, importsInFlight)}
	slots := make(chan struct{}, importsInFlight)
	var failed atomic.Bool
	go func() {
		defer close(run.batches)
		for {
			slots <- struct{}{}
			if failed.Load() || ctx.Err() != nil {
				return
			}
			b, err := im.readBatch(entries)
			if len(b.entries) > 0 {
				b.read = position()
				go func() {
					im.send(ctx, b)
					failed.CompareAndSwap(false, b.err != nil)
					close(b.done)
					<-slots
				}()
				run.batches <- b
			}
			if err != nil {
				if run.complete = true; err != io.EOF {
					run.readErr = err
				}
				return
			}
		}
	}()
	return run
}

// readBatch reads a batch, perhaps a short one with the error that ended it.
func (im *importer) readBatch(entries entryReader) (*importBatch, error) {
	b := &importBatch{done: make(chan struct{})}
	for size := 0; len(b.entries) < importBatchLines && size < importBatchBytes; {
		e, err := entries.next()
		if err != nil {
			return b, err
		}
		if e.fault == nil {
			e.link.IdempotencyKey = im.keys.of(e.link)
		}
		b.entries = append(b.entries, e)
		size += len(e.link.URL) + len(e.link.Title) + importEntryExtras
		for _, tag := range e.link.Tags {
			size += len(tag)
		}
	}
	return b, nil
}

// rowKeys makes the idempotency keys of rows: of what a row says, and how often
// the file has said it before. So a row has the same in each run, wherever it is.
// An alias is a key by itself.
type rowKeys struct {
	salt string
	seen map[uint64]int // by the start of the hash; a collision is harmless
}

// newRowKeys makes keys that no earlier run has had if anew is true.
func newRowKeys(anew bool) *rowKeys {
	k := &rowKeys{seen: map[uint64]int{}}
	if anew {
		k.salt = rand.Text()
	}
	return k
}

func (k *rowKeys) of(link client.NewLink) string {
	if link.Alias != "" {
		return ""
	}
	hash := sha256.Sum256(append(jsonLine(link), k.salt...))
	key := base64.RawURLEncoding.EncodeToString(hash[:rowKeyBytes])
	start := binary.BigEndian.Uint64(hash[:])
	n := k.seen[start]
	k.seen[start]++
	if n > 0 {
		key += "#" + strconv.Itoa(n)
	}
	return key
}

// send creates the links of a batch, those with aliases in the order of the file.
// The others go in the order of their keys: they are random, and nodes find and
// store them in order with less work.
func (im *importer) send(ctx context.Context, b *importBatch) {
	var sound []int // entries
	for i, e := range b.entries {
		if e.fault == nil {
			sound = append(sound, i)
		}
	}
	if len(sound) == 0 {
		return
	}
	order := slices.Clone(sound)
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Compare(b.entries[i].link.IdempotencyKey, b.entries[j].link.IdempotencyKey)
	})
	links := make([]client.NewLink, len(order))
	for at, i := range order {
		links[at] = b.entries[i].link
	}
	var results []client.BatchResult
	if results, b.err = im.create(ctx, links); results == nil {
		return
	}
	byEntry := make([]client.BatchResult, len(b.entries))
	for at, i := range order {
		byEntry[i] = results[at]
	}
	for _, i := range sound {
		b.results = append(b.results, byEntry[i])
	}
}

// create sends a batch. It is sent again, whole, until every link has an answer
// for good: those created by an earlier try, of this run or another, are answered
// as they were then.
func (im *importer) create(ctx context.Context, links []client.NewLink) (results []client.BatchResult, open error) {
	ctx, cancel := context.WithTimeout(ctx, im.timeout)
	defer cancel()
	for {
		answers, err := im.api.CreateLinks(ctx, links)
		if err == nil {
			results, open = answers, openResult(answers)
		} else if results == nil {
			open = err
		}
		if open == nil {
			im.findTaken(ctx, links, results)
		}
		if open == nil || !mayChange(open) {
			return results, open
		}
		im.waiting(open)
		select {
		case <-time.After(importRetryPause):
		case <-ctx.Done():
			if results == nil {
				open = fmt.Errorf("gave up: %w", open)
			} else {
				open = nil // each line has a word of its own
			}
			return results, open
		}
	}
}

// findTaken turns the refusals of aliases that lead to the very same link into
// that link: the row was imported before.
func (im *importer) findTaken(ctx context.Context, links []client.NewLink, results []client.BatchResult) {
	for i, r := range results {
		if r.Err == nil || r.Err.Code != "alias_taken" {
			continue
		}
		if link, err := im.api.GetLink(ctx, links[i].Alias); err == nil && isAs(link, links[i]) {
			results[i] = client.BatchResult{Link: &link}
		}
	}
}

// isAs: the link is what want asks for, as a node keeps that: times to the
// millisecond, each tag once.
func isAs(link client.Link, want client.NewLink) bool {
	var tags []string
	for _, tag := range want.Tags {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return link.URL == want.URL && link.Title == want.Title && slices.Equal(link.Tags, tags) &&
		link.Redirect == cmp.Or(want.Redirect, http.StatusFound) && link.MaxVisits == want.MaxVisits &&
		link.ExpiresAt.Equal(want.ExpiresAt.Truncate(time.Millisecond)) && link.NotBefore.Equal(want.NotBefore.Truncate(time.Millisecond)) &&
		link.ForwardQuery == want.ForwardQuery
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
