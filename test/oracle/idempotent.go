package oracle

import (
	"fmt"
	"slices"
)

// Idempotent sees that all requests under one Idempotency-Key had one effect and
// one answer, for as long as it is remembered, and that the key with another
// request is refused (P5).
func Idempotent(h *History, r Rules) []Violation {
	var found []Violation
	report := func(format string, args ...any) {
		found = append(found, Violation{"idempotency", fmt.Sprintf(format, args...)})
	}
	groups := map[string][]*Op{}
	ops := h.Ops()
	for i := range ops {
		op := &ops[i]
		if op.Idempotency != "" {
			groups[op.Idempotency] = append(groups[op.Idempotency], op)
		} else if op.Replayed {
			report("a replay without an Idempotency-Key: %v", op)
		}
	}
	for _, all := range groups {
		var answered []*Op // that the cluster remembers
		for _, op := range all {
			if op.Outcome != OK && !op.verdict() {
				if op.Code == "idempotency_mismatch" && !others(all, op) {
					report("no other request has this key: %v", op)
				}
				continue
			}
			if op.Replayed && !preceded(all, op) {
				report("a replay of nothing: %v", op)
			}
			for _, other := range answered {
				if difference := differ(other, op); difference != "" && r.remembered(other, op) {
					report("%s: %v, and %v", difference, other, op)
				}
			}
			answered = append(answered, op)
		}
	}
	return found
}

// differ says how two answers under one key are not one.
func differ(a, b *Op) string {
	switch {
	case a.body() != b.body():
		return "two different requests under one key were answered"
	case a.Outcome != b.Outcome || a.Code != b.Code || a.Status != b.Status:
		return "two outcomes"
	case a.GotKey != b.GotKey || a.GotURL != b.GotURL || a.GotReceipt != b.GotReceipt || !slices.Equal(a.GotKeys, b.GotKeys):
		return "two answers"
	case a.Index != b.Index:
		return "two log indexes"
	case !a.Replayed && !b.Replayed:
		return "two answers that are no replay"
	}
	return ""
}

// others: another request under the key may have come before op's answer.
func others(all []*Op, op *Op) bool {
	return slices.ContainsFunc(all, func(o *Op) bool {
		from, _ := o.span()
		_, to := op.span()
		return o.body() != op.body() && from <= to
	})
}

// preceded: another try of the same may have been answered before op.
func preceded(all []*Op, op *Op) bool {
	return slices.ContainsFunc(all, func(o *Op) bool {
		from, _ := o.span()
		_, to := op.span()
		return o != op && o.body() == op.body() && from <= to
	})
}
