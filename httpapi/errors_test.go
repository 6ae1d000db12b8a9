package httpapi

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// Every error value of the node, by name, with the problem that clients see.
var nodeErrors = []struct {
	name   string
	err    error
	status int
	code   string
}{
	{"cluster.ErrNoLeader", cluster.ErrNoLeader, 503, "no_leader"},
	{"cluster.ErrNotLeader", cluster.ErrNotLeader, 503, "no_leader"},
	{"cluster.ErrBusy", cluster.ErrBusy, 503, "busy"},
	{"cluster.ErrDiskFull", cluster.ErrDiskFull, 503, "disk_full"},
	{"cluster.ErrRefused", cluster.ErrRefused, 409, "refused"},
	{"cluster.ErrUpgrade", cluster.ErrUpgrade, 409, "upgrade_pending"},
	{"cluster.ErrUnknownNode", cluster.ErrUnknownNode, 404, "node_not_found"},
	{"cluster.ErrStopped", cluster.ErrStopped, 503, "stopped"},
	{"cluster.ErrWrongCluster", cluster.ErrWrongCluster, 409, "wrong_cluster"},
	{"cluster.UnknownOutcomeError", &cluster.UnknownOutcomeError{Request: "r-1"}, 504, "outcome_unknown"},
	{"fsm.ErrKeyspaceNotFound", fsm.ErrKeyspaceNotFound, 404, "keyspace_not_found"},
	{"fsm.ErrKeyspaceExhausted", fsm.ErrKeyspaceExhausted, 507, "keyspace_exhausted"},
	{"fsm.ErrNotEnoughUnused", fsm.ErrNotEnoughUnused, 503, "busy"},
	{"fsm.ErrURLsNotIndexed", fsm.ErrURLsNotIndexed, 503, "busy"},
	{"fsm.ErrNotInKeyspace", fsm.ErrNotInKeyspace, 404, "not_in_keyspace"},
	{"fsm.ErrAliasTaken", fsm.ErrAliasTaken, 409, "alias_taken"},
	{"fsm.ErrKeyNotTaken", fsm.ErrKeyNotTaken, 409, "key_not_taken"},
	{"fsm.ErrKeyBound", fsm.ErrKeyBound, 409, "key_bound"},
	{"fsm.ErrLinkNotFound", fsm.ErrLinkNotFound, 404, "link_not_found"},
	{"fsm.ErrLinkDeleted", fsm.ErrLinkDeleted, 404, "link_not_found"},
	{"fsm.ErrNotReturnable", fsm.ErrNotReturnable, 409, "not_returnable"},
	{"fsm.ErrInvalidReceipt", fsm.ErrInvalidReceipt, 400, "invalid_receipt"},
	{"fsm.ErrIdempotencyMismatch", fsm.ErrIdempotencyMismatch, 422, "idempotency_mismatch"},
	{"fsm.ErrTooManyRecords", fsm.ErrTooManyRecords, 429, "too_many_records"},
	{"fsm.ErrBackup", fsm.ErrBackup, 400, "invalid_backup"},
	{"fsm.ErrRestoreRefused", fsm.ErrRestoreRefused, 409, "not_restored"},
	{"fsm.ErrNotStaged", fsm.ErrNotStaged, 409, "not_restored"},
	{"fsm.ErrNotStopped", fsm.ErrNotStopped, 503, "no_leader"},
	{"fsm.ErrTooManyTokens", fsm.ErrTooManyTokens, 409, "too_many_tokens"},
	{"fsm.ErrTokenNotFound", fsm.ErrTokenNotFound, 404, "token_not_found"},
	{"fsm.ErrKeyspaceExists", fsm.ErrKeyspaceExists, 409, "keyspace_exists"},
	{"fsm.ErrKeyspacesMeet", fsm.ErrKeyspacesMeet, 409, "keyspaces_meet"},
	{"fsm.ErrInvalidKeyspace", fsm.ErrInvalidKeyspace, 400, "invalid_keyspace"},
	{"fsm.ErrTooManyKeyspaces", fsm.ErrTooManyKeyspaces, 409, "too_many_keyspaces"},
	{"fsm.ErrLastAdmin", fsm.ErrLastAdmin, 409, "last_admin"},
	{"fsm.ErrNodeNotFound", fsm.ErrNodeNotFound, 404, "node_not_found"},
	{"fsm.ErrNodeConflict", fsm.ErrNodeConflict, 409, "node_conflict"},
	{"fsm.ErrWatchGone", fsm.ErrWatchGone, 410, "watch_gone"},
	{"fsm.ErrOutcomeUnknown", fsm.ErrOutcomeUnknown, 504, "outcome_unknown"},
	{"fsm.ErrDiverged", fsm.ErrDiverged, 503, "stopped"},
	{"fsm.ErrDamaged", fsm.ErrDamaged, 503, "stopped"},
	{"fsm.ErrInvalidCommand", fsm.ErrInvalidCommand, 500, "internal"},
	{"fsm.ErrLinkExpired", fsm.ErrLinkExpired, 410, "link_expired"},
	{"fsm.ErrLinkUsedUp", fsm.ErrLinkUsedUp, 410, "link_used_up"},
	{"fsm.ErrLinkNotYet", fsm.ErrLinkNotYet, 404, "link_not_yet"},
	{"fsm.ErrLinkTimes", fsm.ErrLinkTimes, 400, "invalid_times"},
	{"fsm.ErrNotOwner", fsm.ErrNotOwner, 403, "not_owner"},
	{"fsm.ErrTooManyLinks", fsm.ErrTooManyLinks, 409, "too_many_links"},
	{"fsm.ErrUnknownCommand", fsm.ErrUnknownCommand, 503, "stopped"},
	{"context.DeadlineExceeded", context.DeadlineExceeded, 504, "timeout"},
	{"context.Canceled", context.Canceled, 504, "canceled"},
}

func TestNodeErrorsAsProblems(t *testing.T) {
	for _, row := range nodeErrors {
		t.Run(row.name, func(t *testing.T) {
			node := &fakenode.Node{Err: fmt.Errorf("wrapped: %w", row.err)}
			s := newServer(t, node)
			send(t, s, "GET", "/v1/links/abcdef", "").wantProblem(row.status, row.code)
			code := row.code
			if code == "timeout" || code == "canceled" {
				code = "outcome_unknown" // of a mutation
			}
			send(t, s, "POST", "/v1/links", `{"url":"https://a.example/"}`).wantProblem(row.status, code)
			send(t, s, "POST", "/v1/keys", "").wantProblem(row.status, code)
		})
	}
}

// Nobody adds an error to the node without deciding what clients see.
func TestEveryNodeErrorIsInTheTable(t *testing.T) {
	known := map[string]bool{}
	for _, row := range nodeErrors {
		known[row.name] = true
	}
	names := append(exportedErrors(t, "cluster"), exportedErrors(t, "fsm")...)
	if len(names) < 20 {
		t.Fatalf("only %d errors found: %v", len(names), names)
	}
	for _, name := range names {
		if !known[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
}

// exportedErrors parses ../pkg/errors.go: variables Err..., types ...Error.
func exportedErrors(t *testing.T, pkg string) (names []string) {
	file, err := parser.ParseFile(token.NewFileSet(), "../"+pkg+"/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return false
		case *ast.ValueSpec:
			for _, name := range n.Names {
				if strings.HasPrefix(name.Name, "Err") {
					names = append(names, pkg+"."+name.Name)
				}
			}
		case *ast.TypeSpec:
			if n.Name.IsExported() && strings.HasSuffix(n.Name.Name, "Error") {
				names = append(names, pkg+"."+n.Name.Name)
			}
		}
		return true
	})
	return names
}

func TestUnknownOutcomeNamesTheRequest(t *testing.T) {
	node := &fakenode.Node{Err: &cluster.UnknownOutcomeError{Request: "r-1"}}
	e := send(t, newServer(t, node), "POST", "/v1/links", `{"url":"https://a.example/"}`)
	e.wantProblem(504, "outcome_unknown")
	if !strings.Contains(e.Body.String(), `"request":"r-1"`) {
		t.Errorf("no request id: %s", e.Body)
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	node := &fakenode.Node{Err: errors.New("secret path /var/lib")}
	e := send(t, newServer(t, node), "POST", "/v1/keys", "").wantProblem(500, "internal")
	if strings.Contains(e.Body.String(), "secret") {
		t.Errorf("the text is shown: %s", e.Body)
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	node := &fakenode.Node{Hook: func(context.Context, string) { panic("secret") }}
	s := newServer(t, node)
	e := send(t, s, "POST", "/v1/keys", "").wantProblem(500, "internal")
	if strings.Contains(e.Body.String(), "secret") {
		t.Errorf("the text is shown: %s", e.Body)
	}
	node.Hook = nil
	send(t, s, "POST", "/v1/keys", "").wantStatus(201)
}
