package chaos

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// Requests that are sent once, without an Idempotency-Key, and never repeated:
// no retry of a client hides what the front end does with them. What is refused
// must not have happened.

// hasty is the deadline of a client that does not wait for an election: often
// it learns that the outcome is unknown.
const hasty = "300ms"

func (w *worker) createOnce(ctx context.Context) { w.createPlain(ctx, "create") }
func (w *worker) createHasty(ctx context.Context) {
	w.createPlain(ctx, hastyKind, "X-Kgs-Timeout", hasty)
}

func (w *worker) createPlain(ctx context.Context, kind string, header ...string) {
	url, began := w.newURL(), time.Now()
	a, err := w.sendJSON(ctx, http.MethodPost, "/v1/links", client.NewLink{URL: url}, header...)
	o := w.judgeAnswer(kind, began, err)
	var got client.Link
	if o == done {
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			w.ledger.violatef(oracleReply, "creation answered with %q", a.body)
		}
		w.ledger.issue(w.name, got.Key)
	}
	w.made(o, got.Key, url)
}

func (w *worker) updateOnce(ctx context.Context) {
	w.change(ctx, "update", func(l *link, url string) error {
		_, err := w.sendJSON(ctx, http.MethodPatch, "/v1/links/"+l.key, client.LinkChange{URL: &url})
		return err
	})
}

func (w *worker) updateHasty(ctx context.Context) {
	w.change(ctx, hastyKind, func(l *link, url string) error {
		_, err := w.sendJSON(ctx, http.MethodPatch, "/v1/links/"+l.key, client.LinkChange{URL: &url}, "X-Kgs-Timeout", hasty)
		return err
	})
}

func (w *worker) sendJSON(ctx context.Context, method, path string, body any, header ...string) (plainAnswer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return plainAnswer{}, err
	}
	return w.plain(ctx, method, path, string(text), append(header, "Content-Type", "application/json")...)
}
