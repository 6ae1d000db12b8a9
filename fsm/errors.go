package fsm

import (
	"errors"
	"fmt"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Refusals: the command was committed and had no effect. Compare with errors.Is.
var (
	ErrKeyspaceNotFound    = errors.New("no such key space")
	ErrKeyspaceExhausted   = errors.New("the key space has no ungenerated key left")
	ErrNotEnoughUnused     = errors.New("fewer unused keys than asked for")
	ErrNotInKeyspace       = errors.New("not a key of this key space")
	ErrAliasTaken          = errors.New("alias is taken")
	ErrKeyNotTaken         = errors.New("the key was never handed out")
	ErrKeyBound            = errors.New("the key has, or had, a link")
	ErrLinkNotFound        = errors.New("no such link")
	ErrNotReturnable       = errors.New("not returnable")
	ErrInvalidReceipt      = errors.New("the receipt is not one of this cluster")
	ErrIdempotencyMismatch = errors.New("the idempotency key was used with another request")
	ErrTooManyRecords      = errors.New("too many idempotency keys are remembered")
	ErrNodeNotFound        = errors.New("no such node")
	ErrNodeConflict        = errors.New("node identity conflict")
	ErrInvalidCommand      = errors.New("malformed command")
	ErrNotStaged           = errors.New("the backup is not staged: another restore began, or this one waited too long")
	ErrNotStopped          = errors.New("the leader has not stopped handing out keys")
	ErrRestoreRefused      = errors.New("the backup cannot be restored here")
	ErrTooManyTokens       = errors.New("too many tokens; revoke some that nobody needs")
	ErrTokenNotFound       = errors.New("no such token")
	ErrKeyspaceExists      = errors.New("there is a key space of this name")
	ErrKeyspacesMeet       = errors.New("two key spaces would have keys in common")
	ErrInvalidKeyspace     = errors.New("such a key space there cannot be")
	ErrTooManyKeyspaces    = errors.New("too many key spaces")
	ErrLastAdmin           = errors.New("it is the last admin token; create another one first")
	ErrLinkExpired         = errors.New("the link has expired")
	ErrLinkNotYet          = errors.New("the link's time has not come yet")
	ErrLinkUsedUp          = errors.New("the link has had all its visits")
	ErrNotOwner            = errors.New("it is somebody else's")
	ErrTooManyLinks        = errors.New("the owner has as many links as this token allows")
	ErrURLsNotIndexed      = errors.New("links cannot be found by their URL yet, an index is being made: try again in a few seconds")
	ErrLinkTimes           = errors.New("expires_at must lie in the future and after not_before")
)

// ErrLinkDeleted is an ErrLinkNotFound that is final.
var ErrLinkDeleted = fmt.Errorf("%w: it was deleted", ErrLinkNotFound)

// ErrWatchGone: not all of the changes that were asked for are kept here.
var ErrWatchGone = errors.New("these changes cannot be had here: list the links, then watch from the X-Kgs-Index of the first page on, or ask another node")

// ErrBackup: what was read is not a whole, undamaged backup of a known version.
var ErrBackup = errors.New("not a sound backup")

// ErrOutcomeUnknown: the command may or may not have had its effect.
var ErrOutcomeUnknown = errors.New("outcome unknown")

// ErrDiverged: this replica's state differs from the leader's at the same index.
var ErrDiverged = errors.New("this node's state differs from the leader's")

// ErrDamaged: this replica's tables contradict each other.
var ErrDamaged = errors.New("this node's key tables are damaged; remove this node, empty its data directory and join it again")

// ErrUnknownCommand: the log holds something that this version cannot apply.
var ErrUnknownCommand = errors.New("the log holds a command of a newer version; upgrade this node: run the version that wrote it")

var codeErrors = map[pb.Code]error{
	pb.Code_UNKNOWN_COMMAND:      ErrUnknownCommand,
	pb.Code_KEYSPACE_NOT_FOUND:   ErrKeyspaceNotFound,
	pb.Code_KEYSPACE_EXHAUSTED:   ErrKeyspaceExhausted,
	pb.Code_NOT_ENOUGH_UNUSED:    ErrNotEnoughUnused,
	pb.Code_NOT_IN_KEYSPACE:      ErrNotInKeyspace,
	pb.Code_ALIAS_TAKEN:          ErrAliasTaken,
	pb.Code_KEY_NOT_TAKEN:        ErrKeyNotTaken,
	pb.Code_KEY_BOUND:            ErrKeyBound,
	pb.Code_LINK_NOT_FOUND:       ErrLinkNotFound,
	pb.Code_NOT_RETURNABLE:       ErrNotReturnable,
	pb.Code_INVALID_RECEIPT:      ErrInvalidReceipt,
	pb.Code_IDEMPOTENCY_MISMATCH: ErrIdempotencyMismatch,
	pb.Code_TOO_MANY_RECORDS:     ErrTooManyRecords,
	pb.Code_NODE_NOT_FOUND:       ErrNodeNotFound,
	pb.Code_NODE_CONFLICT:        ErrNodeConflict,
	pb.Code_OUTCOME_UNKNOWN:      ErrOutcomeUnknown,
	pb.Code_GENERATED_KEY_BOUND:  ErrKeyBound,
	pb.Code_INVALID:              ErrInvalidCommand,
	pb.Code_NOT_STAGED:           ErrNotStaged,
	pb.Code_NOT_STOPPED:          ErrNotStopped,
	pb.Code_RESTORE_REFUSED:      ErrRestoreRefused,
	pb.Code_TOO_MANY_TOKENS:      ErrTooManyTokens,
	pb.Code_TOKEN_NOT_FOUND:      ErrTokenNotFound,
	pb.Code_LAST_ADMIN:           ErrLastAdmin,
	pb.Code_KEYSPACE_EXISTS:      ErrKeyspaceExists,
	pb.Code_KEYSPACES_MEET:       ErrKeyspacesMeet,
	pb.Code_INVALID_KEYSPACE:     ErrInvalidKeyspace,
	pb.Code_TOO_MANY_KEYSPACES:   ErrTooManyKeyspaces,
	pb.Code_LINK_EXPIRED:         ErrLinkExpired,
	pb.Code_LINK_NOT_YET:         ErrLinkNotYet,
	pb.Code_LINK_USED_UP:         ErrLinkUsedUp,
	pb.Code_LINK_TIMES:           ErrLinkTimes,
	pb.Code_NOT_OWNER:            ErrNotOwner,
	pb.Code_TOO_MANY_LINKS:       ErrTooManyLinks,
	pb.Code_URLS_NOT_INDEXED:     ErrURLsNotIndexed,
}

// ResultError is the error that a result stands for: nil for OK, else one of
// the values above, wrapped with the result's detail.
func ResultError(r *pb.Result) error {
	if r.Code == pb.Code_OK {
		return nil
	}
	err, ok := codeErrors[r.Code]
	if !ok {
		err = fmt.Errorf("refused with unknown code %d", r.Code)
	}
	if r.Detail == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, r.Detail)
}

func refuse(code pb.Code, format string, args ...any) *pb.Result {
	return &pb.Result{Code: code, Detail: fmt.Sprintf(format, args...)}
}
