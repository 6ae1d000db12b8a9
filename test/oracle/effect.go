package oracle

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// never is after everything.
const never = int64(math.MaxInt64)

// effect is one request with all its tries under one Idempotency-Key.
type effect struct {
	*Op            // the try that says most
	from, to int64 // it was applied, or refused, at some moment in between
	tries    []*Op
}

// span is when the request was under way: ticks if there are any, else times.
func (o *Op) span() (from, to int64) {
	if o.Began != 0 {
		return int64(o.Began), int64(o.Ended)
	}
	return int64(o.Call), int64(o.Return)
}

// generated: the link's key is the cluster's choice.
func (o *Op) generated() bool { return o.Kind == Create && o.Alias == "" && o.TakenKey == "" }

// names are the keys that the request is about, as far as they are known.
func (o *Op) names() []string {
	name := o.Key
	switch {
	case o.Kind == Take:
		return o.GotKeys
	case o.Kind == Return:
		return o.Keys
	case o.generated():
		name = o.GotKey
	case o.Kind == Create:
		name = o.Alias + o.TakenKey
	}
	if name == "" {
		return nil
	}
	return []string{name}
}

// verdict: the refusal was decided by the state of the key, and is remembered
// under an Idempotency-Key. The other refusals are about the request or the cluster.
func (o *Op) verdict() bool {
	if o.Outcome != Refused {
		return false
	}
	switch o.Code {
	case "alias_taken", "key_not_taken", "key_bound", "link_not_found", "not_returnable":
		return true
	}
	return false
}

// says orders tries by how much they tell of the effect.
func (o *Op) says() int {
	switch {
	case o.Outcome == OK && !o.Replayed:
		return 4
	case o.Outcome == OK:
		return 3
	case o.verdict():
		return 2
	case o.Outcome == Unknown:
		return 1
	}
	return 0
}

// body tells requests under one Idempotency-Key apart.
func (o *Op) body() string {
	return fmt.Sprintf("%d %d %q %q %q %q %q %q %q", o.Kind, o.Count, o.Alias, o.TakenKey, o.URL, o.Key, o.Receipt, o.Keys, o.File)
}

// effects are the requests that had an effect, may have had one, or saw something.
func effects(ops []Op, r Rules) []*effect {
	var all []*effect
	for _, tries := range requests(ops, r) {
		if e := newEffect(tries); e != nil {
			all = append(all, e)
		}
	}
	return all
}

// requests groups the tries of the same request.
func requests(ops []Op, r Rules) [][]*Op {
	var all [][]*Op
	open := map[string]int{}
	for i := range ops {
		op := &ops[i]
		if op.Idempotency == "" {
			all = append(all, []*Op{op})
			continue
		}
		key := op.Idempotency + "\x00" + op.body()
		if at, ok := open[key]; ok && (op.Replayed || r.remembered(all[at][0], op)) {
			all[at] = append(all[at], op)
			continue
		}
		open[key] = len(all)
		all = append(all, []*Op{op})
	}
	return all
}

// remembered: the answer to the first request is still known at the second.
func (r Rules) remembered(first, second *Op) bool { return second.Call-first.Call < r.Kept }

// bestOf is the try that says most.
func bestOf(tries []*Op) *Op {
	return slices.MaxFunc(tries, func(a, b *Op) int { return a.says() - b.says() })
}

func newEffect(tries []*Op) *effect {
	best := bestOf(tries)
	if best.says() == 0 {
		return nil
	}
	e := &effect{Op: best, tries: tries, to: never}
	e.from, _ = best.span()
	// The first to come may have done it: unless this one did, and in one step (a
	// Take may have several).
	fresh := best.says() == 4 && best.Kind != Take
	for _, try := range tries {
		from, to := try.span()
		if !fresh {
			e.from = min(e.from, from)
		}
		if try.Outcome == best.Outcome && try.Outcome != Unknown && (try.Outcome == OK || try.verdict()) {
			e.to = min(e.to, to)
		}
	}
	return e
}

// later: this one took effect after the other, for sure.
func (e *effect) later(other *effect) bool {
	if e.Index != 0 && other.Index != 0 {
		return e.Index > other.Index
	}
	return e.from > other.to
}

func (o *Op) String() string {
	asked := ""
	switch o.Kind {
	case Take:
		asked = fmt.Sprint(o.Count)
	case Create:
		asked = fmt.Sprintf("%s%s -> %s", o.Alias, o.TakenKey, o.URL)
	case Update:
		asked = fmt.Sprintf("%s -> %s", o.Key, o.URL)
	case Return:
		asked = fmt.Sprint(few(o.Keys))
	default:
		asked = o.Key + o.File
	}
	if o.Idempotency != "" {
		asked += " under " + o.Idempotency
	}
	answer := o.Outcome.String()
	switch {
	case o.Outcome == Refused:
		answer = o.Code
	case o.Outcome == OK && len(o.GotKeys) > 0:
		answer = fmt.Sprint(few(o.GotKeys))
	case o.Outcome == OK && o.GotKey+o.GotURL != "":
		answer = o.GotKey + " " + o.GotURL
	}
	if o.Replayed {
		answer += ", replayed"
	}
	return fmt.Sprintf("%s %s: %s (client %d at %s, %s to %s, log index %d)", o.Kind, asked, answer, o.Client, o.Node, moment(o.Call), moment(o.Return), o.Index)
}

// brief is for a page on which the name is known.
func (o *Op) brief() string {
	switch {
	case o.Outcome == Refused:
		return fmt.Sprintf("%s: %s", o.Kind, o.Code)
	case o.Outcome == Unknown:
		return fmt.Sprintf("%s %s: unknown", o.Kind, tail(o.URL))
	case o.Kind == Get:
		return "get: " + tail(o.GotURL)
	}
	return fmt.Sprintf("%s %s", o.Kind, tail(o.URL))
}

// tail is what mostly differs in URLs.
func tail(url string) string {
	const most = 24
	if len(url) > most {
		return "…" + url[len(url)-most:]
	}
	return url
}

func moment(t time.Duration) string {
	if t == Never {
		return "never"
	}
	return t.Round(time.Microsecond).String()
}

func few(keys []string) []string {
	if len(keys) > 4 {
		return append(keys[:4:4], fmt.Sprintf("and %d more", len(keys)-4))
	}
	return keys
}
