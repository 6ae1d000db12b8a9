package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"time"
)

// Backups and restores are streams without a bound: they end with their context,
// not with Config.Timeout.

// Backup writes a backup of the cluster to w. Until the first byte the next node
// is tried when one cannot serve; after an error what was written is no backup.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	get := &call{method: http.MethodGet, path: snapshotPath}
	return c.stream(ctx, func(addr string) (again bool, err error) {
		response, err := c.open(ctx, addr, get, nil, 0)
		if err != nil {
			return get.sendAgain(err), err
		}
		defer response.Body.Close()
		if _, err := io.Copy(w, response.Body); err != nil {
			return false, fmt.Errorf("in the middle of the backup: %w", err)
		}
		return false, nil
	})
}

const snapshotPath = "/v1/cluster/snapshot"

// Restored is what a restore did.
type Restored struct {
	Index     uint64             `json:"index"`
	Backup    BackupOrigin       `json:"backup"`
	Adopted   bool               `json:"adopted"` // the backup is of another cluster
	Links     uint64             `json:"links"`
	LinksLost uint64             `json:"links_lost"` // that were there and are not in the backup
	Keyspaces []RestoredKeyspace `json:"keyspaces"`
	Warnings  []string           `json:"warnings,omitempty"`
	Meta      Meta               `json:"-"`
}

// BackupOrigin is where and when a backup was made.
type BackupOrigin struct {
	ClusterID string    `json:"cluster_id"`
	Index     uint64    `json:"index"`
	Term      uint64    `json:"term"`
	Time      time.Time `json:"time"`
}

// RestoredKeyspace is a key space after a restore.
type RestoredKeyspace struct {
	Name          string `json:"name"`
	Length        int    `json:"length,omitempty"` // of a key space that has grown each is told of
	Burned        uint64 `json:"burned"`           // keys that can be had no more
	HighWaterMark uint64 `json:"high_water_mark"`
	Left          uint64 `json:"left"` // keys that can still be generated
}

// WithFloor is a floor of a restore for one key space.
func WithFloor(keyspace string, position uint64) Option {
	return func(o *options) { o.floors = append(o.floors, fmt.Sprintf("%s=%d", keyspace, position)) }
}

// Restore restores the backup in file into the running cluster. floor is a position below
// which no key is issued afterwards, in any key space without one of its own
// ([WithFloor]), 0 for none; a backup of another cluster needs one for each. It is sent again, to the next node, with the same idempotency key, so that
// it is done once.
func (c *Client) Restore(ctx context.Context, file io.ReaderAt, size int64, floor uint64, opts ...Option) (Restored, error) {
	o := apply(opts)
	if floor > 0 {
		o.floors = append(o.floors, strconv.FormatUint(floor, 10))
	}
	put := &call{method: http.MethodPut, path: snapshotPath, idempotencyKey: keyOr(o.idempotencyKey), query: url.Values{"floor": o.floors}}
	var done Restored
	mayHave := false
	err := c.stream(ctx, func(addr string) (again bool, err error) {
		response, err := c.open(ctx, addr, put, io.NewSectionReader(file, 0, size), size)
		if err != nil {
			mayHave = mayHave || put.mayHaveHappened(err)
			return put.sendAgain(err), err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		if err != nil {
			mayHave = true
			return true, err
		}
		got := answer{response.StatusCode, response.Header, body}
		done.Meta, mayHave = got.meta(), false
		return false, got.decode(&done)
	})
	if mayHave && !errors.Is(err, ErrOutcomeUnknown) {
		err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return done, err
}

// stream tries one address after the other, in rounds like do, as long as again
// says so.
func (c *Client) stream(ctx context.Context, try func(addr string) (again bool, err error)) error {
	said := make([]error, len(c.addrs))
	for round := range maxRounds {
		if round > 0 && !pause(ctx, round) {
			break
		}
		first := int(c.current.Load())
		for i := range c.addrs {
			at := (first + i) % len(c.addrs)
			again, err := try(c.addrs[at])
			if err == nil {
				c.current.Store(uint32(at))
				return nil
			}
			if said[at] = fmt.Errorf("%s: %w", c.addrs[at], err); !again {
				return err
			}
		}
	}
	return gaveUp(said, false)
}

// open sends a call whose body or answer is a stream, and returns the answer if
// it is a success.
func (c *Client) open(ctx context.Context, addr string, call *call, body io.Reader, size int64) (*http.Response, error) {
	connected := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	request, err := c.newRequest(ctx, addr, call, cmp.Or(call.try, batchTimeout))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Body, request.ContentLength, request.GetBody = io.NopCloser(body), size, nil
	}
	response, err := c.http.Do(request)
	if err != nil && !connected {
		return nil, notSentError{err}
	}
	if err != nil || response.StatusCode/100 == 2 {
		return response, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	return nil, readError(response, text)
}
