package chaos

import (
	"context"
	"net/http"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// read is a linearizable read of an own link, readOther of anybody's.
func (w *worker) read(ctx context.Context) {
	if len(w.mine) > 0 {
		w.readLink(ctx, pick(w.random, w.mine))
	}
}

func (w *worker) readOther(ctx context.Context) {
	if l := w.ledger.any(w.random.IntN); l != nil {
		w.readLink(ctx, l)
	}
}

func (w *worker) readLink(ctx context.Context, l *link) {
	since, began := l.look(), time.Now()
	got, err := w.api.GetLink(ctx, l.key)
	value, ok := w.valueOf("get", began, got.URL, err)
	if !ok {
		return
	}
	w.ledger.checked(oracleReads, 1)
	if !l.fresh(since, value) {
		w.ledger.violatef(oracleReads, "linearizable read of %s through %s: %q; possible: %q", l.key, home(w.node), value, l.possible())
	}
}

// follow is a redirect of an own link, followOther of anybody's.
func (w *worker) follow(ctx context.Context) {
	if len(w.mine) > 0 {
		w.followLink(ctx, pick(w.random, w.mine))
	}
}

func (w *worker) followOther(ctx context.Context) {
	if l := w.ledger.any(w.random.IntN); l != nil {
		w.followLink(ctx, l)
	}
}

// followLink checks a local read: never "not found" for what is there, always
// what was acknowledged through this very process, else perhaps an old value.
func (w *worker) followLink(ctx context.Context, l *link) {
	process, since, began := w.process(), l.look(), time.Now()
	a, err := w.plain(ctx, http.MethodGet, "/"+l.key, "")
	if err == nil && a.status != http.StatusFound {
		w.ledger.violatef(oracleReply, "GET /%s through %s: status %d", l.key, home(w.node), a.status)
		return
	}
	value, ok := w.valueOf("redirect", began, a.header.Get("Location"), err)
	if !ok {
		return
	}
	w.ledger.checked(oracleReads, 1)
	if process != "" && process == since.through && process == w.process() {
		if !l.fresh(since, value) {
			w.ledger.violatef(oracleReads, "redirect of %s through %s, which acknowledged it: %q; possible: %q", l.key, process, value, l.possible())
		}
	} else if !l.ever(value) {
		w.ledger.violatef(oracleReads, "redirect of %s through %s: %q, which it never led to", l.key, process, value)
	}
}

// valueOf is what a read found, if it was answered.
func (w *worker) valueOf(kind string, began time.Time, url string, err error) (value string, answered bool) {
	missing := client.HasCode(err, "link_not_found")
	if w.judgeAnswer(kind, began, err, "link_not_found") == done {
		return url, true
	}
	return gone, missing
}
