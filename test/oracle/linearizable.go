package oracle

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Linearizable sees that for each name there is one order of all requests about
// it, true to the times of their calls and returns and to their places in the log
// as far as they are known, that explains every answer (P6, P10); Porcupine searches it. Local reads are judged by LocalReads, but a
// local "not found" counts here: it is only given after a linearizable look, or
// for a link that is deleted for good. What was refused must not be seen.
func Linearizable(h *History, r Rules) []Violation {
	var found []Violation
	parts := partitions(h, r)
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		model, ops := r.model(key), parts[key]
		result := porcupine.CheckOperationsTimeout(model, ops, cmp.Or(r.Budget, time.Minute))
		if result != porcupine.Ok {
			found = append(found, Violation{"linearizable", explain(key, result, ops)})
		}
	}
	return found
}

// Visualize writes Porcupine's page about one name; "" chooses the one of which
// most is to be seen, but no more than a page can show.
func Visualize(h *History, r Rules, key string, w io.Writer) error {
	parts := partitions(h, r)
	if key == "" {
		key = telling(parts)
	}
	ops := parts[key]
	if len(ops) == 0 {
		return fmt.Errorf("oracle: no requests about %q", key)
	}
	var clients []int // the page has a line for each number up to the largest
	for _, op := range ops {
		clients = append(clients, op.ClientId)
	}
	slices.Sort(clients)
	clients = slices.Compact(clients)
	for i := range ops {
		ops[i].Metadata = ops[i].Input.(step).String()
		ops[i].ClientId, _ = slices.BinarySearch(clients, ops[i].ClientId)
	}
	model := r.model(key)
	_, info := porcupine.CheckOperationsVerbose(model, ops, cmp.Or(r.Budget, time.Minute))
	return porcupine.Visualize(model, info, w)
}

// telling is the name with the most requests that were not refused.
func telling(parts map[string][]porcupine.Operation) (key string) {
	const mostRequests = 80
	most := 0
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		n := 0
		for _, op := range parts[name] {
			if op.Input.(step).Outcome != Refused {
				n++
			}
		}
		if n > most && len(parts[name]) <= mostRequests {
			key, most = name, n
		}
	}
	return key
}

// model is keyState for Porcupine.
func (r Rules) model(key string) porcupine.Model {
	isKey := r.isKey(key)
	return porcupine.Model{
		Init: func() any { return keyState{} },
		Step: func(state, input, _ any) (bool, any) {
			ok, next := state.(keyState).apply(input.(step), isKey)
			return ok, next
		},
		DescribeOperation: func(input, _ any) string { return input.(step).brief() },
		DescribeState:     func(state any) string { return state.(keyState).String() },
	}
}

// partitions are the requests about each name; names that were only taken, once,
// are left out.
func partitions(h *History, r Rules) map[string][]porcupine.Operation {
	all := effects(h.Ops(), r)
	parts := map[string][]*effect{}
	for _, e := range all {
		if e.Kind != Take {
			for _, key := range e.names() {
				parts[key] = nil
			}
		}
	}
	var backups []*effect // and restores: they are about all names
	for _, e := range all {
		if e.Kind == Restore || e.Kind == Backup && e.Outcome == OK {
			backups = append(backups, e)
		} else if e.counts() {
			for _, key := range e.names() {
				if part, ok := parts[key]; ok {
					parts[key] = append(part, e)
				}
			}
		}
	}
	steps := map[string][]porcupine.Operation{}
	for key, part := range parts {
		steps[key] = operations(append(part, backups...))
	}
	return steps
}

func operations(part []*effect) []porcupine.Operation {
	place := func(e *effect) uint64 {
		if e.Kind == Backup {
			return 2*e.Index + 1
		}
		return 2 * e.Index
	}
	var places []uint64
	for _, e := range part {
		if e.Index != 0 {
			places = append(places, place(e))
		}
	}
	slices.Sort(places)
	ops := make([]porcupine.Operation, len(part))
	for i, e := range part {
		s := step{effect: e}
		s.lower, _ = slices.BinarySearch(places, place(e)) // commands of one entry share their index
		ops[i] = porcupine.Operation{ClientId: e.Client, Input: s, Call: e.from, Return: e.to}
	}
	return ops
}

// counts: Linearizable judges the request.
func (e *effect) counts() bool {
	switch e.Kind {
	case Get, Redirect:
		local := e.Kind == Redirect || e.Level == LevelLocal
		return e.Outcome == Refused || e.Outcome == OK && !local
	}
	return true
}

func explain(key string, result porcupine.CheckResult, ops []porcupine.Operation) string {
	const most = 40
	var text strings.Builder
	if result == porcupine.Unknown {
		fmt.Fprintf(&text, "%s: undecided, too many orders of %d requests", key, len(ops))
	} else {
		fmt.Fprintf(&text, "%s: no order of these %d requests explains their answers", key, len(ops))
	}
	for i, op := range ops {
		if i == most {
			text.WriteString("\n  ...")
			break
		}
		fmt.Fprintf(&text, "\n  %v", op.Input.(step).Op)
	}
	return text.String()
}
