package client_test

import (
	"bytes"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func TestBackupAndRestore(t *testing.T) {
	file := strings.Repeat("backup", 100_000)
	node := &fakenode.Node{File: []byte(file)}
	c, ctx := newPair(t, node), t.Context()
	var got bytes.Buffer
	if err := c.Backup(ctx, &got); err != nil || got.String() != file {
		t.Fatalf("%d bytes, %v", got.Len(), err)
	}
	node.Asked()
	done := must(c.Restore(ctx, strings.NewReader(file), int64(len(file)), 77, client.WithFloor("vouchers", 5)))(t)
	if !done.Adopted || done.Index != 15 || done.LinksLost != 1 || done.Backup.ClusterID != "c-old" ||
		!done.Backup.Time.Equal(fakenode.Now) || len(done.Warnings) != 2 || done.Meta.Index != 15 ||
		!reflect.DeepEqual(done.Keyspaces[1], client.RestoredKeyspace{Name: "full", Burned: 9, HighWaterMark: 9}) {
		t.Errorf("%+v", done)
	}
	args := node.Asked()[0].(fakenode.Call).Args
	request := args[1].(cluster.RestoreRequest)
	if args[0] != file || request.Floors.String() != "77 vouchers=5" || request.IdempotencyKey == "" {
		t.Errorf("%d bytes sent, %+v", len(args[0].(string)), request)
	}
}

// A restore goes on to the next node under the same idempotency key, whatever
// became of it at the first one; a refusal is final.
func TestRestoreIsSentAgain(t *testing.T) {
	file := strings.NewReader("a backup")
	restored := body(200, `{"index":3}`)
	for name, first := range map[string]http.HandlerFunc{
		"cannot serve": noLeader, "unknown": problem(504, "outcome_unknown"), "hangs up": hangUp,
	} {
		a, b := newScript(t, first), newScript(t, restored)
		done, err := newClient(t, a.URL, b.URL).Restore(t.Context(), file, 8, 0)
		if err != nil || done.Index != 3 || b.requests() != 1 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
		if keys := append(a.keys(), b.keys()...); len(slices.Compact(keys)) != 1 || keys[0] == "" {
			t.Errorf("%s: idempotency keys %q", name, keys)
		}
	}
	a, b := newScript(t, problem(409, "not_restored")), newScript(t, restored)
	if _, err := newClient(t, a.URL, b.URL).Restore(t.Context(), file, 8, 0); !client.HasCode(err, "not_restored") || b.requests() > 0 {
		t.Errorf("refused: %v", err)
	}
	a, b = newScript(t, hangUp, problem(409, "not_restored")), newScript(t, noLeader)
	if _, err := newClient(t, a.URL, b.URL).Restore(t.Context(), file, 8, 0); !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("unknown, then refused: %v", err)
	}
}

func TestBackupFromTheNextNode(t *testing.T) {
	var got bytes.Buffer
	a, b := newScript(t, noLeader), newScript(t, body(200, "backup"))
	if err := newClient(t, a.URL, b.URL).Backup(t.Context(), &got); err != nil || got.String() != "backup" {
		t.Errorf("%q, %v", got.String(), err)
	}
	half := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 100_000))
		hangUp(w, r)
	})
	if err := newClient(t, half.URL, b.URL).Backup(t.Context(), &got); err == nil || b.requests() != 1 {
		t.Errorf("a backup that breaks off: %v, then %d requests to the other node", err, b.requests()-1)
	}
}
