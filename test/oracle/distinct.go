package oracle

import (
	"fmt"
	"time"
)

// DistinctKeys sees that no name was given twice (P1, P4), neither as a key of a
// Take nor as the generated key or the alias of a link, over the whole run. The
// tries under one Idempotency-Key are one giving. A key may come again only when
// it was returned since, or perhaps was, and has rested.
func DistinctKeys(h *History, r Rules) []Violation {
	var found []Violation
	report := func(format string, args ...any) {
		found = append(found, Violation{"distinct keys", fmt.Sprintf(format, args...)})
	}
	given := map[string]*effect{}
	again := map[string][]*effect{} // in the order of their calls
	for _, e := range effects(h.Ops(), r) {
		if e.Outcome != OK || e.Kind != Take && (e.Kind != Create || e.TakenKey != "") {
			continue
		}
		if e.Kind == Take && len(e.GotKeys) != e.Count {
			report("%d keys for %v", len(e.GotKeys), e)
		}
		if e.generated() && e.GotKey == "" {
			report("no key for %v", e)
		}
		for _, key := range e.names() {
			if first := given[key]; first == nil {
				given[key] = e
			} else if len(again[key]) == 0 {
				again[key] = []*effect{first, e}
			} else {
				again[key] = append(again[key], e)
			}
		}
	}
	if len(again) == 0 {
		return found
	}
	returned := returns(h.Ops())
	for key, givings := range again {
		for i, second := range givings[1:] {
			first := givings[i]
			if !rested(returned[key], first, second, r.Quarantine) {
				report("%s was given twice: %v, and %v", key, first, second)
			}
		}
	}
	return found
}

// returns are the returns of each key that happened, or may have.
func returns(ops []Op) map[string][]*Op {
	all := map[string][]*Op{}
	for i := range ops {
		if op := &ops[i]; op.Kind == Return && op.Outcome != Refused {
			for _, key := range op.Keys {
				all[key] = append(all[key], op)
			}
		}
	}
	return all
}

// rested: the first giving was returned, and its quarantine over before the second.
func rested(returned []*Op, first, second *effect, quarantine time.Duration) bool {
	for _, op := range returned {
		if op.Receipt == first.GotReceipt && op.Call+quarantine <= second.Return {
			return true
		}
	}
	return false
}
