package oracle

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// signature tells the commands of clients apart as far as both the log and the
// history know them; "" for other commands.
func signature(c *pb.Command) string {
	o := Op{Idempotency: c.GetIdempotency().GetKey()}
	switch op := c.Op.(type) {
	case *pb.Command_CreateLink:
		o.Kind, o.Alias, o.TakenKey, o.URL = Create, op.CreateLink.Alias, op.CreateLink.TakenKey, op.CreateLink.GetLink().GetUrl()
	case *pb.Command_UpdateLink:
		o.Kind, o.Key, o.URL = Update, op.UpdateLink.Key, op.UpdateLink.GetUrl()
	case *pb.Command_DeleteLink:
		o.Kind, o.Key = Delete, op.DeleteLink.Key
	case *pb.Command_ReturnKeys:
		o.Kind, o.Receipt, o.Keys = Return, base64.RawURLEncoding.EncodeToString(op.ReturnKeys.Receipt), op.ReturnKeys.Keys
	case *pb.Command_RestoreBackup:
		o.Kind = Restore
	case *pb.Command_Lease:
		if o.Idempotency == "" {
			return "" // into a buffer, or straight out of the log
		}
		o.Kind = Take
		o.Idempotency, _, _ = strings.Cut(o.Idempotency, "\x00") // a Take may have several parts
	default:
		return ""
	}
	return o.signature()
}

func (o *Op) signature() string {
	switch o.Kind {
	case Take:
		return "take under " + o.Idempotency
	case Restore:
		return "restore" // of which backup, the log does not say
	}
	return o.body() + o.Idempotency
}

// matching joins the requests of a history with what the log says of them.
type matching struct {
	*Replayed
	found  []Violation
	done   map[*Op]placed // of unknown outcome, by the first try: it is in the log
	undone map[*Op]bool   // tries of unknown outcome: it is not
}

// placed is a request's place in the log, and when it can have got there.
type placed struct {
	executed
	from int64
}

func (m *matching) report(format string, args ...any) {
	m.found = append(m.found, Violation{"log against history", fmt.Sprintf(format, args...)})
}

func (r *Replayed) match(h *History, rules Rules) *matching {
	m := &matching{Replayed: r, done: map[*Op]placed{}, undone: map[*Op]bool{}}
	asked := map[string][][]*Op{} // by signature; the tries of a request are together
	for _, tries := range requests(h.Ops(), rules) {
		if first := tries[0]; first.Kind != Get && first.Kind != Redirect && first.Kind != Backup && (first.Kind != Take || first.Idempotency != "") {
			asked[first.signature()] = append(asked[first.signature()], tries)
		}
	}
	happened := map[string][]executed{}
	for _, x := range r.executed {
		sig := signature(x.command)
		happened[sig] = append(happened[sig], x)
		if asked[sig] == nil {
			m.report("log index %d: nobody asked for %v", x.index, x.command)
		}
	}
	for sig, all := range asked {
		left := m.acknowledged(all, happened[sig])
		if all[0][0].Kind != Take { // that is several commands, and may be cut short
			m.unknown(all, left)
		}
	}
	return m
}

// acknowledged finds the commands of the requests that were acknowledged, and
// returns the others.
func (m *matching) acknowledged(all [][]*Op, left []executed) []executed {
	for _, tries := range all {
		op := bestOf(tries)
		at := slices.IndexFunc(left, func(x executed) bool { return x.answers(op) })
		switch {
		case op.Outcome != OK:
		case at >= 0:
			left = slices.Delete(slices.Clone(left), at, at+1)
		case m.first == 0 || op.Index > m.first:
			m.report("acknowledged, but not in the log, or there for another request: %v", op)
		}
	}
	return left
}

// unknown finds, for the commands that nobody was told of, who does not know.
func (m *matching) unknown(all [][]*Op, left []executed) {
	var open [][]*Op
	for _, tries := range all {
		if bestOf(tries).Outcome == Unknown {
			open = append(open, tries)
		}
	}
	if len(left) > len(open) {
		m.report("log index %d: it happened, but the client was told otherwise: %v", left[len(open)].index, all[0][0])
		left = left[:len(open)]
	}
	for i, x := range left {
		from, _ := open[0][0].span() // which of them it was makes no difference
		m.done[open[i][0]] = placed{x, from}
	}
	if m.first != 0 {
		return // the others may have happened before
	}
	for _, tries := range open[len(left):] {
		for _, op := range tries {
			m.undone[op] = true
		}
	}
}

// answers: the acknowledged request may have been answered by this execution.
func (x executed) answers(op *Op) bool {
	if op.Index != 0 && op.Index != x.index {
		return false
	}
	return op.Kind != Create || op.GotKey == x.result.Key && op.GotURL == x.result.Link.Url
}
