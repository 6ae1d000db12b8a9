package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Kinds of an Event.
const (
	LinkCreated = "created"
	LinkChanged = "changed"
	LinkDeleted = "deleted"
	LogIndex    = "index" // no change, but word of how far the node is
)

// Event is a change of a link, or a LogIndex.
type Event struct {
	ID    string // to go on after, at any node
	Kind  string
	Key   string        // of the link
	Link  *Link         // as it was right after the change; nil: it was deleted
	Index uint64        // of a LogIndex, and of a deletion
	Age   time.Duration // of a LogIndex: how long ago the node heard from the leader
}

const (
	watchSilence = 30 * time.Second // three times the beat of a node: its stream is dead
	watchStale   = 10 * time.Second // a node that heard nothing for so long is left for another one
	watchSteady  = maxPause         // a stream that was open for so long may be opened anew at once
	maxEvent     = 1 << 20          // bytes of its data
)

// Watch calls handle with the changes of links, one after the other: those after
// the event, or the log index, named by after; with "" those that come from now
// on. When a node ends the stream, cannot be reached, or is cut off from the
// others, Watch goes on at the next, and every change comes once, in order. It
// waits longer each time, up to 2 s, while streams end soon. It has no timeout.
//
// Watch ends with ctx, with the first error of handle, or with what a node
// refuses. If none of them has all the changes any more, as after a restore, the
// code is watch_gone: list the links, and watch again after LinkPage.Index of the
// first page. Nodes that cannot be reached are tried for some seconds, or, once
// one has been reached, until ctx ends.
func (c *Client) Watch(ctx context.Context, after string, handle func(Event) error) error {
	w := &watching{after: after, handle: handle}
	said := make([]error, len(c.addrs))
	at := int(c.current.Load())
	var gone error                                // what a node said since there was an event
	for fails, hasty, reached := 0, 0, false; ; { // streams in a row: without an event, and that ended soon
		began := time.Now()
		got, err := c.watchAt(ctx, c.addrs[at], w)
		switch {
		case w.failed != nil:
			return w.failed
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if got {
			c.current.Store(uint32(at))
			fails, reached, gone = 0, true, nil
			if time.Since(began) >= watchSteady {
				hasty = 0
			}
		}
		var e *Error
		if HasCode(err, "watch_gone") {
			gone = err
		} else if errors.As(err, &e) && !e.Retryable() && !e.unclear() && e.Status != http.StatusTooManyRequests {
			return err
		}
		said[at] = fmt.Errorf("%s: %w", c.addrs[at], err)
		at = (at + 1) % len(c.addrs)
		fails++
		round := fails / len(c.addrs)
		switch {
		case round > 0 && gone != nil:
			return gone
		case round >= maxRounds && !reached:
			return gaveUp(said, false)
		case !pause(ctx, min(1+hasty/len(c.addrs), maxRounds)):
			return ctx.Err()
		}
		hasty++
	}
}

// watching is where a Watch is.
type watching struct {
	after  string
	handle func(Event) error
	failed error // of handle
	stale  int   // nodes in a row that were cut off
}

// errStale: the node hears nothing of what the others do.
var errStale = errors.New("this node is cut off from the leader")

// watchAt follows the stream of one node to its end; got: there was an event.
func (c *Client) watchAt(ctx context.Context, addr string, w *watching) (got bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(watchSilence, cancel)
	defer silence.Stop()
	get := &call{method: http.MethodGet, path: "/v1/watch", try: tryTimeout}
	if w.after != "" {
		get.query = url.Values{"after": {w.after}}
	}
	response, err := c.open(ctx, addr, get, nil, 0)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxEvent)
	var event Event
	var data string
	for lines.Scan() {
		silence.Reset(watchSilence)
		switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
		case "id":
			event.ID = value
		case "event":
			event.Kind = value
		case "data":
			data = value
		}
		if lines.Text() != "" || data == "" {
			continue
		}
		if err := w.take(event, data, len(c.addrs)); err != nil {
			return got, err
		}
		event, data, got = Event{}, "", true
	}
	if err := lines.Err(); err != nil {
		return got, err
	}
	return got, io.EOF
}

// take hands an event on, unless it ends the stream.
func (w *watching) take(event Event, data string, nodes int) error {
	var err error
	switch event.Kind {
	case LinkCreated, LinkChanged:
		event.Link = &Link{}
		err = json.Unmarshal([]byte(data), event.Link)
		event.Key = event.Link.Key
	case LinkDeleted, LogIndex:
		var body struct {
			Key   string `json:"key"`
			Index uint64 `json:"index"`
			Age   int64  `json:"age_ms"`
		}
		err = json.Unmarshal([]byte(data), &body)
		event.Key, event.Index, event.Age = body.Key, body.Index, time.Duration(body.Age)*time.Millisecond
	case "gone":
		gone := &Error{}
		if err = json.Unmarshal([]byte(data), gone); err == nil {
			return gone
		}
	default:
		return nil // of a newer node
	}
	if err != nil {
		return fmt.Errorf("the event %s %q is not understood: %w", event.ID, event.Kind, err)
	}
	if w.failed = w.handle(event); w.failed != nil {
		return w.failed
	}
	w.after = event.ID
	switch {
	case event.Kind != LogIndex || event.Age < watchStale:
		w.stale = 0
	case w.stale < nodes-1: // else all of them are: stay
		w.stale++
		return errStale
	}
	return nil
}
