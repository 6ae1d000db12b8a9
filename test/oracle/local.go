package oracle

import (
	"fmt"
	"slices"
)

// LocalReads sees what P6 promises for local reads and redirects: a link whose
// creation was acknowledged is found unless it may be deleted, a URL was the
// link's at some time, and who stays on one node sees its own changes at once.
func LocalReads(h *History, r Rules) []Violation {
	var found []Violation
	report := func(e *effect, format string, args ...any) {
		found = append(found, Violation{"local reads", fmt.Sprintf(format, args...) + ": " + e.String()})
	}
	all := effects(h.Ops(), r)
	writes, undo := writesByKey(all), restoresOf(all)
	for _, e := range all {
		local := e.Kind == Redirect || e.Kind == Get && e.Level == LevelLocal
		if !local || e.Outcome == Unknown {
			continue
		}
		w := writes[e.Key]
		if e.Outcome == Refused {
			if c := w.acknowledged(e); c != nil && !w.mayBeDeleted(e) && !undo.between(c, e) {
				report(e, "not found, although acknowledged before by %v", c)
			}
			continue
		}
		if !w.wasCurrent(e) {
			report(e, "a URL that the link never had")
		} else if own := w.ownBefore(e); own != nil && !w.currentSince(own, e) && !undo.between(own, e) {
			report(e, "the client's own change, through the same node, is not seen, %v", own)
		}
	}
	return found
}

// writes are the changes to one link that happened or may have.
type writes []*effect

func writesByKey(all []*effect) map[string]writes {
	byKey := map[string]writes{}
	for _, e := range all {
		if (e.Kind == Create || e.Kind == Update || e.Kind == Delete) && e.Outcome != Refused {
			for _, key := range e.names() {
				byKey[key] = append(byKey[key], e)
			}
		}
	}
	return byKey
}

// restores are those that happened or may have: what was written before may be undone.
type restores []*effect

func restoresOf(all []*effect) (r restores) {
	for _, e := range all {
		if e.Kind == Restore && e.Outcome != Refused {
			r = append(r, e)
		}
	}
	return r
}

// between: the read may have come after a restore that came after the write.
func (r restores) between(write, read *effect) bool {
	return slices.ContainsFunc(r, func(e *effect) bool { return !write.later(e) && e.from <= read.to })
}

// acknowledged is a creation that was acknowledged before the read began.
func (w writes) acknowledged(read *effect) *effect {
	for _, e := range w {
		if e.Kind == Create && e.Outcome == OK && e.to < read.from {
			return e
		}
	}
	return nil
}

func (w writes) mayBeDeleted(read *effect) bool {
	for _, e := range w {
		if e.Kind == Delete && e.from <= read.to {
			return true
		}
	}
	return false
}

func (w writes) wasCurrent(read *effect) bool {
	for _, e := range w {
		if e.Kind != Delete && e.URL == read.GotURL && e.from <= read.to {
			return true
		}
	}
	return false
}

// ownBefore is the client's last change through the node that was acknowledged
// before the read began.
func (w writes) ownBefore(read *effect) *effect {
	var last *effect
	for _, e := range w {
		for _, try := range e.tries {
			_, to := try.span()
			own := try.Outcome == OK && try.Client == read.Client && try.Node == read.Node && to < read.from
			if own && (last == nil || e.later(last)) {
				last = e
			}
		}
	}
	return last
}

// currentSince: the URL that was read may have been the link's after own.
func (w writes) currentSince(own, read *effect) bool {
	for _, e := range w {
		if e.Kind != Delete && e.URL == read.GotURL && e.from <= read.to && !own.later(e) && own.Kind != Delete {
			return true
		}
	}
	return false
}
