package chaos

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// outcome is what a client knows about its request.
type outcome int

const (
	done    outcome = iota
	refused         // it had no effect, and never will
	unknown         // it may have had its effect, or may yet
)

func (o outcome) String() string { return [...]string{"ok", "refused", "unknown"}[o] }

// hastyKind is the kind of requests that do not wait for an election: no
// trouble that they meet disturbs them.
const hastyKind = "hasty change"

// judgeAnswer says what became of a request. An error that is neither expected
// nor a word of a cluster in trouble breaks a promise.
func (w *worker) judgeAnswer(kind string, began time.Time, err error, expected ...string) outcome {
	t := trouble{node: w.node, kind: kind, began: began, ended: time.Now(), err: err}
	o := classify(err)
	var answer *client.Error
	switch {
	case err == nil:
	case errors.As(err, &answer) && slices.Contains(expected, answer.Code):
		t.err = nil
	case !inTrouble(err):
		w.ledger.violatef(oracleReply, "%s", t)
	case kind == hastyKind:
		t.err = nil
	}
	w.note(o, t)
	w.ledger.checked(oracleReply, 1)
	return o
}

func classify(err error) outcome {
	switch {
	case err == nil:
		return done
	case errors.Is(err, client.ErrOutcomeUnknown):
		return unknown
	}
	return refused
}

// inTrouble tells whether an error is one that a client must live with while
// nodes are down, frozen or cut off.
func inTrouble(err error) bool {
	var answer *client.Error
	if errors.As(err, &answer) {
		return answer.Status == http.StatusServiceUnavailable || answer.Status == http.StatusGatewayTimeout
	}
	return errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, context.DeadlineExceeded)
}
