package chaos

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// otherOps are what clients do with links, and with answers that they had, by
// weight.
var otherOps = []func(*worker, context.Context){
	(*worker).create, (*worker).createOnce, (*worker).createHasty, (*worker).createTwice, (*worker).createAlias, (*worker).createTaken, (*worker).createBatch,
	(*worker).update, (*worker).update, (*worker).updateOnce, (*worker).updateHasty, (*worker).remove,
	(*worker).read, (*worker).read, (*worker).readOther, (*worker).readOther,
	(*worker).follow, (*worker).follow, (*worker).followOther, (*worker).followOther,
	(*worker).takeIdempotent, (*worker).giveBack,
}

// made records what became of a creation; key is the link's if that is known
// beforehand.
func (w *worker) made(o outcome, key, url string) {
	switch o {
	case done:
		made := w.ledger.add(key, url, w.process())
		if len(w.mine) == maxMine {
			w.mine = slices.Delete(w.mine, 0, 1)
		}
		w.mine = append(w.mine, made)
	case unknown:
		w.ledger.addUnclear(key, url)
	}
}

func (w *worker) create(ctx context.Context) {
	url, began := w.newURL(), time.Now()
	got, err := w.api.CreateLink(ctx, client.NewLink{URL: url})
	o := w.judgeAnswer("create", began, err)
	if o == done {
		w.ledger.issue(w.name, got.Key)
	}
	w.made(o, got.Key, url)
}

// createTwice creates with an Idempotency-Key, and repeats it.
func (w *worker) createTwice(ctx context.Context) {
	url, key := w.newURL(), w.unique()
	ask := func() (string, outcome) {
		began := time.Now()
		got, err := w.api.CreateLink(ctx, client.NewLink{URL: url}, client.WithIdempotencyKey(key))
		return got.Key, w.judgeAnswer("create", began, err)
	}
	first, o1 := ask()
	again, o2 := ask()
	if o1 == done && o2 == done {
		w.ledger.checked(oracleReplay, 1)
		if first != again {
			w.ledger.violatef(oracleReplay, "creation with Idempotency-Key %s gave %s, then %s", key, first, again)
		}
	}
	switch {
	case o1 == done:
		w.ledger.issue(w.name, first)
		w.made(done, first, url)
	case o2 == done:
		w.ledger.issue(w.name, again)
		w.made(done, again, url)
	case o1 == unknown || o2 == unknown:
		w.made(unknown, "", url)
	}
}

// createAlias claims a name: one as people choose, or one that is also a key of
// the key space. The latter may have been handed out.
func (w *worker) createAlias(ctx context.Context) {
	alias, url := strings.ReplaceAll(w.unique(), ".", "_"), w.newURL()
	var expected []string
	if w.random.IntN(2) == 0 {
		alias, expected = w.randomKey(), []string{"alias_taken"}
	}
	began := time.Now()
	_, err := w.api.CreateLink(ctx, client.NewLink{URL: url, Alias: alias})
	o := w.judgeAnswer("create", began, err, expected...)
	if o == done {
		w.ledger.issue(w.name+", as its alias", alias)
	}
	w.made(o, alias, url)
}

func (w *worker) randomKey() string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	key := make([]byte, 6)
	for i := range key {
		key[i] = base62[w.random.IntN(len(base62))]
	}
	return string(key)
}

// createTaken uses a key that was taken before.
func (w *worker) createTaken(ctx context.Context) {
	r, ok := w.draw()
	if !ok {
		return
	}
	url, key, began := w.newURL(), r.keys[0], time.Now()
	_, err := w.api.CreateLink(ctx, client.NewLink{URL: url, Key: key})
	w.made(w.judgeAnswer("create", began, err), key, url)
	if rest := r.keys[1:]; len(rest) > 0 {
		w.taken = append(w.taken, receipt{r.text, rest, r.epoch})
	}
}

func (w *worker) createBatch(ctx context.Context) {
	links := make([]client.NewLink, 2+w.random.IntN(5))
	for i := range links {
		links[i].URL = w.newURL()
	}
	began := time.Now()
	results, err := w.api.CreateLinks(ctx, links)
	o := w.judgeAnswer("batch", began, err)
	for i, link := range links {
		if o != done {
			w.made(o, "", link.URL)
			continue
		}
		var err error
		key := ""
		if results[i].Err != nil {
			err = results[i].Err
		} else {
			key = results[i].Link.Key
			w.ledger.issue(w.name, key)
		}
		w.made(w.judgeAnswer("line of a batch", began, err), key, link.URL)
	}
}

// own picks a link that this worker may change; nil if it has none.
func (w *worker) own() *link {
	if len(w.mine) == 0 {
		return nil
	}
	if l := pick(w.random, w.mine); l.usable() {
		return l
	}
	return nil
}

func (w *worker) update(ctx context.Context) {
	w.change(ctx, "update", func(l *link, url string) error {
		_, err := w.api.UpdateLink(ctx, l.key, client.LinkChange{URL: &url})
		return err
	})
}

func (w *worker) remove(ctx context.Context) {
	w.change(ctx, "delete", func(l *link, _ string) error { return w.api.DeleteLink(ctx, l.key) })
}

// change changes an own link, and at once looks at it through the same node.
func (w *worker) change(ctx context.Context, kind string, send func(l *link, url string) error) {
	l := w.own()
	if l == nil {
		return
	}
	url := w.newURL()
	if kind == "delete" {
		l.try(gone)
	} else {
		l.try(url)
	}
	began := time.Now()
	l.settle(w.judgeAnswer(kind, began, send(l, url)), w.process())
	w.followLink(ctx, l)
}
