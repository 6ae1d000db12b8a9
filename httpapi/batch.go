package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
)

// batch is a batch of links on its way: what each line came to.
type batch struct {
	faults   []error // per line: why it did not reach the node; nil: it did
	requests []cluster.CreateRequest
}

// createBatch is POST /v1/links/batch.
func (s *Server) createBatch(ctx context.Context, c echo.Context) error {
	switch mediaType(c.Request().Header) {
	case "", "application/x-ndjson", "application/ndjson", "application/jsonl":
	default:
		return refusef(kindUnsupportedMediaType, "want application/x-ndjson")
	}
	select { // bounds the memory that batches take
	case s.batches <- struct{}{}:
		defer func() { <-s.batches }()
	case <-ctx.Done():
		return refusef(kindBusy, "%d other batches are under way", cap(s.batches))
	}
	b, err := s.readBatch(c)
	if err != nil {
		return err
	}
	var outcomes []cluster.Outcome
	if len(b.requests) > 0 {
		outcomes = s.service.CreateLinks(ctx, b.requests)
	}
	if len(outcomes) != len(b.requests) {
		return errOutcomes
	}
	if err := commonRefusal(outcomes); err != nil {
		return err
	}
	markBatch(c.Response().Header(), outcomes)
	buf := getBuffer()
	defer putBuffer(buf)
	if err := s.writeBatch(buf, c.Request(), b, outcomes); err != nil {
		return err
	}
	return respond(c, http.StatusOK, typeNDJSON, buf.Bytes())
}

// readBatch reads the whole body before anything is created.
func (s *Server) readBatch(c echo.Context) (*batch, error) {
	r := c.Request()
	key, err := idempotencyKey(r.Header)
	if err != nil {
		return nil, err
	}
	body, err := boundedBody(c, maxBatchBody)
	if err != nil {
		return nil, err
	}
	b, by := &batch{}, bearerOf(c)
	err = readLines(newPacedBody(c, body, s.bodyGrace), func(l line) {
		request, own := cluster.CreateRequest{}, ""
		if l.err == nil {
			request.Create, l.err = s.decodeCreate(l.data, r, field{"idempotency_key", &own, wantString})
		}
		if l.err == nil && own != "" {
			l.err = checkIdempotencyKey(own)
		}
		b.faults = append(b.faults, l.err)
		if l.err == nil {
			ownedBy(request.Create, by)
			if own == "" && key != "" {
				own = key + "#" + strconv.Itoa(len(b.faults))
			}
			request.Idempotency = lineIdempotency(r, by.Owner, own, l.data)
			b.requests = append(b.requests, request)
		}
	})
	if err != nil {
		return nil, bodyError(err)
	}
	return b, nil
}

// commonRefusal is the error of a batch that the node could not take at all, as
// without a leader; nil if any line got an answer of its own.
func commonRefusal(outcomes []cluster.Outcome) error {
	var common *problem
	for _, o := range outcomes {
		if o.Err == nil {
			return nil
		}
		p := classify(o.Err)
		if p.kind.status != http.StatusServiceUnavailable || (common != nil && p.kind != common.kind) {
			return nil
		}
		common = p
	}
	if common == nil {
		return nil
	}
	return common
}

// markBatch: the batch is at the log index of its last line, and is a replay
// when all of it is.
func markBatch(header http.Header, outcomes []cluster.Outcome) {
	var index uint64
	replayed := len(outcomes) > 0
	for _, o := range outcomes {
		index = max(index, o.Index)
		replayed = replayed && o.Replayed
	}
	markMutation(header, index, replayed)
}

func (s *Server) writeBatch(buf *bytes.Buffer, r *http.Request, b *batch, outcomes []cluster.Outcome) error {
	for i, fault := range b.faults {
		if fault == nil {
			outcome := outcomes[0]
			outcomes = outcomes[1:]
			if fault = outcome.Err; fault == nil {
				if err := s.appendLink(buf, r, outcome.Key, outcome.Link); err != nil {
					return err
				}
				continue
			}
		}
		p := problemOf(r, fault)
		if p.kind == kindInternal {
			s.log.Error("a line of a batch failed", "line", i+1, "error", fault)
		}
		if err := p.appendTo(buf, i+1); err != nil {
			return err
		}
	}
	return nil
}
