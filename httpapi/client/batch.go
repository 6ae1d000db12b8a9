package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// MaxBatch is the most links of one CreateLinks.
const MaxBatch = 10_000

// BatchResult is what one link of a batch came to: one of the two is set.
type BatchResult struct {
	Link *Link
	Err  *Error
}

// CreateLinks stores up to MaxBatch links in one request. The results are in
// the order of the links; one that is refused does not hinder the others. A
// repeat with the same idempotency key must have the same links in the same
// order.
func (c *Client) CreateLinks(ctx context.Context, links []NewLink, opts ...Option) ([]BatchResult, error) {
	if len(links) == 0 {
		return nil, nil
	}
	if len(links) > MaxBatch {
		return nil, fmt.Errorf("client: %d links: at most %d in a batch", len(links), MaxBatch)
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // as short as it can be: the body has a limit
	for _, link := range links {
		if err := encoder.Encode(link); err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
	}
	got, err := c.do(ctx, &call{
		method: http.MethodPost, path: "/v1/links/batch",
		body: body.Bytes(), contentType: "application/x-ndjson",
		idempotencyKey: keyOr(apply(opts).idempotencyKey),
		try:            batchTimeout,
	})
	if err != nil {
		return nil, err
	}
	return decodeBatch(got, len(links))
}

func decodeBatch(got *answer, want int) ([]BatchResult, error) {
	results, meta := make([]BatchResult, 0, want), got.meta()
	for data := range bytes.Lines(got.body) {
		var line struct {
			Link
			Code string `json:"code"` // links have none
		}
		line.Meta = meta
		result, err := BatchResult{Link: &line.Link}, json.Unmarshal(data, &line)
		if line.Code != "" {
			result = BatchResult{Err: &Error{Node: meta.Node}}
			err = json.Unmarshal(data, result.Err)
		}
		if err != nil {
			return nil, fmt.Errorf("client: line %d of the answer is not understood: %w", len(results)+1, err)
		}
		results = append(results, result)
	}
	if len(results) != want {
		return nil, fmt.Errorf("client: %w: %d answers to %d links", ErrOutcomeUnknown, len(results), want)
	}
	return results, nil
}
