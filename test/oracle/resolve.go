package oracle

import (
	"cmp"
	"slices"
	"time"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/fsm/refmodel"
)

// Check compares the history with the log: what was acknowledged is there, with
// the same key and URL, at its index; what is there was asked for, by one request,
// and was not answered as refused; every key that a client saw was leased, and is
// still used unless it was returned (P2, P10); the order of the log agrees with
// the times of the requests.
func (r *Replayed) Check(h *History, rules Rules) []Violation {
	m := r.match(h, rules)
	m.takes(h)
	m.order(h, rules)
	return m.found
}

// takes judges the keys that clients were given.
func (m *matching) takes(h *History) {
	returned := returns(h.Ops())
	lengths := m.Model.Lengths("")
	slices.SortFunc(m.leases, func(a, b *pb.Grant) int { return cmp.Or(cmp.Compare(a.Space, b.Space), cmp.Compare(a.From, b.From)) })
	for i := range h.Ops() {
		op := &h.Ops()[i]
		if op.Kind != Take || op.Outcome != OK {
			continue
		}
		for _, key := range op.GotKeys {
			space, of, pos := locate(lengths, key)
			switch {
			case space == nil:
				m.report("%s is no key: %v", key, op)
			case m.first == 0 && !m.leased(of, pos):
				m.report("%s was never leased: %v", key, op)
			case space.Used(pos) == nil && len(returned[key]) == 0:
				m.report("%s is not in used_keys, and nobody returned it: %v", key, op)
			}
		}
	}
}

// locate finds the length that a key is of, and as what grants say it.
func locate(lengths []*refmodel.Space, key string) (s *refmodel.Space, of uint32, pos uint64) {
	for i, s := range lengths {
		if pos, ok := s.Perm.Position(key); ok && i == 0 {
			return s, 0, pos
		} else if ok {
			return s, s.Row.Id, pos
		}
	}
	return nil, 0, 0
}

// leased: a grant of some lease holds the position. Grants of different leases
// overlap only in keys that came back, which are few.
func (m *matching) leased(of uint32, pos uint64) bool {
	at, _ := slices.BinarySearchFunc(m.leases, pos, func(g *pb.Grant, pos uint64) int {
		return cmp.Or(cmp.Compare(g.Space, of), cmp.Compare(g.From, pos+1))
	})
	for at--; at >= 0 && m.leases[at].Space == of; at-- {
		if g := m.leases[at]; pos < g.From+g.Count {
			return true
		}
	}
	return false
}

// order: of two acknowledged changes, or of a change and a backup, the one of the lower index was asked for
// before the other was answered.
func (m *matching) order(h *History, rules Rules) {
	t := newTimeline(h, rules)
	for _, e := range t {
		if latest := t.before(e.Index); latest > e.to {
			m.report("it is later in the log than what was asked for when it was answered already: %v", e)
		}
	}
}

// timeline is the acknowledged changes, and the backups, in the order of the log, with the times
// that follow for what is between them.
type timeline []*timed

type timed struct {
	*effect
	latestFrom  int64 // of those up to here
	earliestEnd int64 // of those from here on
}

func newTimeline(h *History, rules Rules) timeline {
	var t timeline
	for _, e := range effects(h.Ops(), rules) {
		if e.Outcome == OK && e.Index != 0 {
			t = append(t, &timed{effect: e})
		}
	}
	slices.SortFunc(t, func(a, b *timed) int { return cmp.Compare(a.Index, b.Index) })
	for i, e := range t {
		if e.latestFrom = e.from; i > 0 {
			e.latestFrom = max(e.from, t[i-1].latestFrom)
		}
	}
	for i, e := range slices.Backward(t) {
		if e.earliestEnd = e.to; i+1 < len(t) {
			e.earliestEnd = min(e.to, t[i+1].earliestEnd)
		}
	}
	return t
}

// before is when index was reached at the earliest.
func (t timeline) before(index uint64) int64 {
	at, _ := slices.BinarySearchFunc(t, index, func(e *timed, index uint64) int { return cmp.Compare(e.Index, index) })
	if at == 0 {
		return 0
	}
	return t[at-1].latestFrom
}

// after is when index was passed at the latest.
func (t timeline) after(index uint64) int64 {
	at, _ := slices.BinarySearchFunc(t, index+1, func(e *timed, index uint64) int { return cmp.Compare(e.Index, index) })
	if at == len(t) {
		return never
	}
	return t[at].earliestEnd
}

// Resolve is the history for Linearizable, with what the log knows of requests of
// unknown outcome: done, somewhere between its neighbours in the log, or not done.
// For the other judges it says too much: these clients were not told.
func (r *Replayed) Resolve(h *History, rules Rules) *History {
	m, t := r.match(h, rules), newTimeline(h, rules)
	resolved := &History{}
	ops := h.Ops()
	for i := range ops {
		op := ops[i]
		if m.undone[&ops[i]] {
			op.Outcome, op.Code = Refused, "not in the log"
		}
		if place, ok := m.done[&ops[i]]; ok {
			op.Outcome, op.Code, op.Index = OK, "", place.index
			op.GotKey, op.GotURL = place.result.Key, place.result.Link.GetUrl()
			op.during(max(place.from, t.before(place.index)), t.after(place.index))
		}
		resolved.Record(op)
	}
	return resolved
}

// during sets what span returns.
func (o *Op) during(from, to int64) {
	if o.Began != 0 {
		o.Began, o.Ended = uint64(from), uint64(to)
	} else {
		o.Call, o.Return = time.Duration(from), time.Duration(to)
	}
}
