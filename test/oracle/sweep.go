package oracle

import (
	"fmt"
	"maps"
	"slices"
)

// Sweep reads every link that a client ever asked for from every node, once all
// is quiet: an acknowledged one has exactly its bytes, a deleted one is gone, one
// of unknown outcome is there or not, but all nodes answer the same (P3, P10).
func Sweep(h *History, r Rules, read func(node, key string) (url string, found bool, err error), nodes []string) []Violation {
	all := effects(h.Ops(), r)
	byKey, undo := writesByKey(all), restoresOf(all)
	somewhere := map[string]bool{} // URLs of links that may have been made, under keys that nobody was told
	for _, op := range h.Ops() {
		if op.Kind == Create && op.Alias != "" && byKey[op.Alias] == nil {
			byKey[op.Alias] = nil // refused: must be absent
		}
		if op.generated() && op.Outcome == Unknown {
			somewhere[op.URL] = true
		}
	}
	var violations []Violation
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		ends := byKey[key].ends(undo)
		first := ""
		for i, node := range nodes {
			url, found, err := read(node, key)
			if !found {
				url = ""
			}
			text := ""
			switch {
			case err != nil:
				text = fmt.Sprintf("cannot be read: %v", err)
			case !slices.Contains(ends, url) && (byKey[key].certain() || !somewhere[url]):
				text = fmt.Sprintf("is %q, want %q (\"\" is not found)", url, ends)
			case i > 0 && url != first:
				text = fmt.Sprintf("is %q, on %s %q", url, nodes[0], first)
			}
			if i == 0 {
				first = url
			}
			if text != "" {
				violations = append(violations, Violation{"sweep", fmt.Sprintf("%s on %s %s", key, node, text)})
			}
		}
	}
	return violations
}

// certain: somebody was told that the link is, or was, there.
func (w writes) certain() bool {
	return slices.ContainsFunc(w, func(e *effect) bool { return e.Outcome == OK })
}

// ends are the URLs that a link may have when all is done, "" if it may not be there.
func (w writes) ends(undo restores) []string {
	possible := map[string]bool{}
	if len(undo) > 0 {
		// What was acknowledged after all restores counts; without that, the link is
		// what it once was, or nothing.
		var since writes
		settled := false
		for _, e := range w {
			last := !slices.ContainsFunc(undo, func(r *effect) bool { return !e.later(r) })
			if last || e.Outcome == Unknown {
				since = append(since, e)
			}
			settled = settled || last && e.Outcome == OK
			possible[e.URL] = true
		}
		if !settled {
			possible[""] = true
			return slices.Sorted(maps.Keys(possible))
		}
		w = since
		clear(possible)
	}
	created, deleted := false, false
	for _, e := range w {
		created = created || e.Kind != Delete && e.Outcome == OK
		deleted = deleted || e.Kind == Delete && e.Outcome == OK
		over := slices.ContainsFunc(w, func(o *effect) bool { return o.Outcome == OK && o.later(e) })
		switch {
		case e.Kind == Delete:
			possible[""] = true // for good
		case !over:
			possible[e.URL] = true
		}
	}
	if deleted {
		return []string{""}
	}
	if !created {
		possible[""] = true
	}
	return slices.Sorted(maps.Keys(possible))
}
