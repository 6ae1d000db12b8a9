package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/kgs-cluster/kgs/fsm"
)

var (
	// ErrNoLeader: no leader was found before the deadline; nothing happened.
	ErrNoLeader = errors.New("the cluster has no leader")
	// ErrNotLeader: the node that was asked does not lead, or not yet; nothing happened.
	ErrNotLeader = errors.New("not the leader")
	// ErrBusy: keys or queue space did not come before the deadline; nothing happened.
	ErrBusy = errors.New("busy")
	// ErrDiskFull: nodes that are needed have too little free space on their disks; nothing happened.
	ErrDiskFull = errors.New("disk full")
	// ErrRefused: a change of the membership that would harm the cluster.
	ErrRefused = errors.New("refused")
	// ErrUpgrade: a member does not know this command yet; nothing happened.
	ErrUpgrade = errors.New("not before all nodes have been upgraded")
	// ErrUnknownNode: no member has this id.
	ErrUnknownNode = errors.New("no such node")
	// ErrStopped: this node is shutting down, or has stopped after a fault.
	ErrStopped = errors.New("the node is stopping")
	// ErrWrongCluster: the other side belongs to another cluster.
	ErrWrongCluster = errors.New("another cluster")
)

// UnknownOutcomeError: the deadline passed while the request may have reached
// the log. A repeat with the same idempotency key has no second effect.
type UnknownOutcomeError struct {
	Request string // id of the request, as in the logs
}

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("request %s: its outcome is unknown", e.Request)
}

// Unwrap makes the error an fsm.ErrOutcomeUnknown.
func (e *UnknownOutcomeError) Unwrap() error { return fsm.ErrOutcomeUnknown }

// wireErrors are the errors that keep their identity across an RPC; the place
// in the list is the code.
var wireErrors = []error{
	1:  ErrNotLeader,
	2:  fsm.ErrOutcomeUnknown,
	3:  ErrBusy,
	4:  ErrNoLeader,
	5:  ErrRefused,
	6:  ErrUnknownNode,
	7:  ErrStopped,
	8:  ErrWrongCluster,
	9:  fsm.ErrKeyspaceNotFound,
	10: fsm.ErrKeyspaceExhausted,
	11: fsm.ErrNodeConflict,
	12: fsm.ErrNodeNotFound,
	13: fsm.ErrIdempotencyMismatch,
	14: fsm.ErrTooManyRecords,
	15: context.DeadlineExceeded,
	16: fsm.ErrNotEnoughUnused,
	17: ErrDiskFull,
	18: ErrUpgrade,
}

// errorToCode returns 0 for an error without identity.
func errorToCode(err error) uint16 {
	for code, sentinel := range wireErrors {
		if code > 0 && errors.Is(err, sentinel) {
			return uint16(code)
		}
	}
	return 0
}

// codeToError is the other direction; detail is the remote error's text.
func codeToError(code uint16, detail string) error {
	if code == 0 || int(code) >= len(wireErrors) {
		return errors.New(detail)
	}
	return &wireError{wireErrors[code], detail}
}

// wireError is a sentinel with the text it had on the other side.
type wireError struct {
	sentinel error
	detail   string
}

func (e *wireError) Error() string { return e.detail }
func (e *wireError) Unwrap() error { return e.sentinel }
