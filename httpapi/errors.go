package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
)

// errorTable says what the errors of the node are to a client. The first entry
// that errors.Is agrees with counts. An error that is not here is a fault of
// ours: it is logged, and shown without its text.
var errorTable = []struct {
	err  error
	kind *kind
}{
	{fsm.ErrLinkNotFound, kindLinkNotFound},
	{fsm.ErrLinkExpired, kindLinkExpired},
	{fsm.ErrLinkUsedUp, kindLinkUsedUp},
	{fsm.ErrLinkNotYet, kindLinkNotYet},
	{fsm.ErrLinkTimes, kindInvalidTimes},
	{fsm.ErrNotOwner, kindNotOwner},
	{fsm.ErrTooManyLinks, kindTooManyLinks},
	{fsm.ErrAliasTaken, kindAliasTaken},
	{fsm.ErrKeyNotTaken, kindKeyNotTaken},
	{fsm.ErrKeyBound, kindKeyBound},
	{fsm.ErrNotInKeyspace, kindNotInKeyspace},
	{fsm.ErrKeyspaceNotFound, kindKeyspaceNotFound},
	{fsm.ErrKeyspaceExists, kindKeyspaceExists},
	{fsm.ErrKeyspacesMeet, kindKeyspacesMeet},
	{fsm.ErrInvalidKeyspace, kindInvalidKeyspace},
	{fsm.ErrTooManyKeyspaces, kindTooManySpaces},
	{fsm.ErrKeyspaceExhausted, kindKeyspaceExhausted},
	{fsm.ErrNotEnoughUnused, kindBusy}, // more are being generated
	{fsm.ErrURLsNotIndexed, kindBusy},
	{fsm.ErrNotReturnable, kindNotReturnable},
	{fsm.ErrInvalidReceipt, kindInvalidReceipt},
	{fsm.ErrIdempotencyMismatch, kindIdempotencyMismatch},
	{fsm.ErrTooManyRecords, kindTooManyRecords},
	{fsm.ErrBackup, kindInvalidBackup},
	{fsm.ErrRestoreRefused, kindNotRestored},
	{fsm.ErrNotStaged, kindNotRestored},
	{fsm.ErrNotStopped, kindNoLeader},
	{fsm.ErrTooManyTokens, kindTooManyTokens},
	{fsm.ErrTokenNotFound, kindTokenNotFound},
	{fsm.ErrLastAdmin, kindLastAdmin},
	{fsm.ErrNodeNotFound, kindNodeNotFound},
	{fsm.ErrNodeConflict, kindNodeConflict},
	{fsm.ErrWatchGone, kindWatchGone},
	{fsm.ErrOutcomeUnknown, kindOutcomeUnknown},
	{fsm.ErrDiverged, kindStopped}, // this node only: another one can answer
	{fsm.ErrDamaged, kindStopped},
	{fsm.ErrUnknownCommand, kindStopped},
	// Not here: fsm.ErrInvalidCommand. What we let through was ours to check.

	{cluster.ErrNoLeader, kindNoLeader},
	{cluster.ErrNotLeader, kindNoLeader},
	{cluster.ErrBusy, kindBusy},
	{cluster.ErrDiskFull, kindDiskFull},
	{cluster.ErrRefused, kindRefused},
	{cluster.ErrUpgrade, kindUpgradePending},
	{cluster.ErrUnknownNode, kindNodeNotFound},
	{cluster.ErrStopped, kindStopped},
	{cluster.ErrWrongCluster, kindWrongCluster},

	{context.DeadlineExceeded, kindTimeout},
	{context.Canceled, kindCanceled},

	{echo.ErrNotFound, kindNotFound},
	{echo.ErrMethodNotAllowed, kindMethodNotAllowed},
}

// classify finds the problem that err stands for; kindInternal if none.
func classify(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var unknown *cluster.UnknownOutcomeError
	if errors.As(err, &unknown) {
		return &problem{kind: kindOutcomeUnknown, detail: err.Error(), request: unknown.Request}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return refusef(kindBodyTooLarge, "at most %d bytes", tooLarge.Limit)
	}
	for _, row := range errorTable {
		if errors.Is(err, row.err) {
			return &problem{kind: row.kind, detail: err.Error()}
		}
	}
	return &problem{kind: kindInternal, detail: "see the log of the node"}
}

// problemOf is classify for the answer to r. A mutation whose deadline passed
// without a word on its outcome has an unknown one.
func problemOf(r *http.Request, err error) *problem {
	p := classify(err)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !reads && (p.kind == kindTimeout || p.kind == kindCanceled) {
		return &problem{kind: kindOutcomeUnknown, detail: p.detail}
	}
	return p
}
