package chaos

import (
	"context"
	"slices"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// takeOps are what clients do that never stands still.
var takeOps = []func(*worker, context.Context){(*worker).take, (*worker).take, (*worker).takeText}

// take asks for some keys. Keys whose answer gets lost are nobody's.
func (w *worker) take(ctx context.Context) {
	epoch, began := w.epoch.Load(), time.Now()
	keys, err := w.api.Take(ctx, "", 1+w.random.IntN(20))
	if w.judgeAnswer("take", began, err) == done {
		w.keep(receipt{keys.Receipt, keys.Keys, epoch})
	}
}

// takeText asks as a shell script does.
func (w *worker) takeText(ctx context.Context) {
	epoch, began := w.epoch.Load(), time.Now()
	a, err := w.plain(ctx, "POST", "/v1/keys", `{"count":3}`, "Accept", "text/plain", "Content-Type", "application/json")
	if w.judgeAnswer("take", began, err) == done {
		w.keep(receipt{a.header.Get("X-Kgs-Receipt"), lines(a.body), epoch})
	}
}

// takeIdempotent asks, and then asks the same again: the answer must be the same.
func (w *worker) takeIdempotent(ctx context.Context) {
	count, key := 1+w.random.IntN(5), w.unique()
	ask := func() (client.Keys, outcome) {
		began := time.Now()
		keys, err := w.api.Take(ctx, "", count, client.WithIdempotencyKey(key))
		return keys, w.judgeAnswer("take", began, err)
	}
	first, o1 := ask()
	again, o2 := ask()
	if o1 == done && o2 == done {
		w.ledger.checked(oracleReplay, 1)
		if !slices.Equal(first.Keys, again.Keys) || !again.Meta.Replayed {
			w.ledger.violatef(oracleReplay, "take with Idempotency-Key %s gave %v, then %v (replayed: %v)", key, first.Keys, again.Keys, again.Meta.Replayed)
		}
	}
	switch {
	case o1 == done:
		w.keep(receipt{first.Receipt, first.Keys, w.epoch.Load()})
	case o2 == done:
		w.keep(receipt{again.Receipt, again.Keys, w.epoch.Load()})
	}
}

// keep records keys, and holds some of them ready for later requests.
func (w *worker) keep(r receipt) {
	w.ledger.issue(w.name, r.keys...)
	if len(w.taken) < maxTaken {
		w.taken = append(w.taken, r)
	}
}

// draw takes one receipt out of those that are ready and not void.
func (w *worker) draw() (receipt, bool) {
	w.taken = slices.DeleteFunc(w.taken, func(r receipt) bool { return r.epoch != w.epoch.Load() })
	if len(w.taken) == 0 {
		return receipt{}, false
	}
	i := w.random.IntN(len(w.taken))
	r := w.taken[i]
	w.taken = slices.Delete(w.taken, i, i+1)
	return r, true
}

// giveBack returns unused keys, and sees that they cannot be returned twice.
func (w *worker) giveBack(ctx context.Context) {
	r, ok := w.draw()
	if !ok {
		return
	}
	began := time.Now()
	n, err := w.api.Return(ctx, r.text, r.keys)
	if w.judgeAnswer("return", began, err) != done {
		return
	}
	w.ledger.checked(oracleReplay, 1)
	if n != len(r.keys) {
		w.ledger.violatef(oracleReplay, "%d keys returned, the answer says %d", len(r.keys), n)
	}
	began = time.Now()
	_, err = w.api.Return(ctx, r.text, r.keys)
	if w.judgeAnswer("return", began, err, "not_returnable") == done {
		w.ledger.violatef(oracleReplay, "keys %v were returned twice", r.keys)
	}
}
