package client_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi"
	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// newPair is a client of the real server over a node that the test controls.
func newPair(t *testing.T, node *fakenode.Node) *client.Client {
	t.Helper()
	node.Name = "n1"
	server, err := httpapi.New(httpapi.Config{Service: node, BaseURL: "https://kgs.example"})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	return newClient(t, listening.URL+"/")
}

func newClient(t *testing.T, addrs ...string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Addrs: addrs, Token: "secret", Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// must is for calls that succeed: must(c.Take(...))(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestKeys(t *testing.T) {
	row := &pb.Used{Purpose: pb.Purpose_LEASE, Lease: 5, Node: "n2", Term: 3, Index: 4, Time: fakenode.Now.UnixMilli()}
	node := &fakenode.Node{State: fsm.KeyState{Row: row, Link: true}}
	c, ctx := newPair(t, node), t.Context()
	keys := must(c.Take(ctx, "", 1))(t)
	if !slices.Equal(keys.Keys, []string{"k00000"}) || keys.Keyspace != "default" || keys.Meta.Node != "n1" {
		t.Errorf("%+v", keys)
	}
	keys = must(c.Take(ctx, "big", 2, client.WithIdempotencyKey("K")))(t)
	if len(keys.Keys) != 2 || keys.Keyspace != "big" || keys.Meta.Index != 7 {
		t.Errorf("%+v", keys)
	}
	asked := node.Asked()
	if idem := asked[0].(fakenode.Call).Args[0].(cluster.TakeRequest).Idempotency; idem != nil {
		t.Errorf("a plain take has the idempotency key %v", idem)
	}
	if idem := asked[1].(fakenode.Call).Args[0].(cluster.TakeRequest).Idempotency; idem == nil || idem.Key != "K" {
		t.Errorf("the given key is not sent: %v", idem)
	}
	if n := must(c.Return(ctx, keys.Receipt, keys.Keys))(t); n != 2 {
		t.Errorf("%d returned", n)
	}
	if args := node.Asked()[0].(fakenode.Call).Args; args[1] != fakenode.Receipt || args[3].(*cluster.Idempotency) == nil {
		t.Errorf("return asked for %v", args)
	}
	want := client.KeyState{
		Key: "aB3xZ9", Keyspace: "default", State: "used", Purpose: "lease", Link: true,
		Lease: &client.Lease{ID: "5", Node: "n2", Term: 3, Index: 4, Time: fakenode.Now},
	}
	if got := must(c.Inspect(ctx, "", "aB3xZ9", client.WithLocalRead()))(t); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if args := node.Asked()[0].(fakenode.Call).Args; args[0] != cluster.Local {
		t.Errorf("level %v", args[0])
	}
	_, err := c.Inspect(ctx, "", "a/b")
	if !client.HasCode(err, "not_in_keyspace") {
		t.Errorf("error %v", err)
	}
}

func TestLinks(t *testing.T) {
	node := &fakenode.Node{}
	c, ctx := newPair(t, node), t.Context()
	target := "https://müller.example/?a=<1>&b=%zz#ü"
	link := must(c.CreateLink(ctx, client.NewLink{URL: target, Alias: "mine", Redirect: 301, Tags: []string{"a"}, Title: "T"}))(t)
	want := client.Link{
		Key: "mine", ShortURL: "https://kgs.example/mine", URL: target, CreatedAt: fakenode.Now, Redirect: 301,
		Alias: true, Title: "T", Tags: []string{"a"}, Meta: client.Meta{Node: "n1", Index: 11},
	}
	if !reflect.DeepEqual(link, want) {
		t.Errorf("%+v", link)
	}
	_, err := c.CreateLink(ctx, client.NewLink{URL: target, Alias: "mine"})
	var e *client.Error
	if !errors.As(err, &e) || e.Status != 409 || e.Code != "alias_taken" || e.Retryable() || e.Node != "n1" || e.Detail == "" {
		t.Errorf("error %#v", err)
	}
	if got := must(c.GetLink(ctx, "mine"))(t); got.URL != target {
		t.Errorf("%+v", got)
	}
	if got := must(c.Resolve(ctx, "mine"))(t); got != target {
		t.Errorf("resolves to %q", got)
	}
	next := "https://b.example/"
	changed := must(c.UpdateLink(ctx, "mine", client.LinkChange{URL: &next, Tags: new([]string)}))(t)
	if changed.URL != next || len(changed.Tags) != 0 || changed.UpdatedAt.IsZero() {
		t.Errorf("%+v", changed)
	}
	if err := c.DeleteLink(ctx, "mine"); err != nil {
		t.Error(err)
	}
	for _, call := range node.Asked() { // every mutation had a key of its own
		call := call.(fakenode.Call)
		if requests, ok := call.Args[0].([]cluster.CreateRequest); ok && requests[0].Idempotency == nil {
			t.Errorf("%s without an idempotency key", call.Method)
		}
		if strings.HasSuffix(call.Method, "eLink") && call.Args[len(call.Args)-1].(*cluster.Idempotency) == nil {
			t.Errorf("%s without an idempotency key", call.Method)
		}
	}
	if _, err := c.Resolve(ctx, "mine"); !client.HasCode(err, "link_not_found") {
		t.Errorf("error %v", err)
	}
	page := must(c.ListLinks(ctx, client.LinkQuery{Limit: 1, Tag: "t", Text: "x y"}))(t)
	if len(page.Links) != 1 || page.NextCursor == "" {
		t.Fatalf("%+v", page)
	}
	asked := node.Asked()
	if q := asked[len(asked)-1].(fakenode.Call).Args[1]; q != (fsm.LinkQuery{Limit: 1, Tag: "t", Text: "x y"}) {
		t.Errorf("asked for %+v", q)
	}
	if page = must(c.ListLinks(ctx, client.LinkQuery{Cursor: page.NextCursor}))(t); page.NextCursor != "" || len(page.Links) != 0 {
		t.Errorf("last page %+v", page)
	}
}

func TestBatch(t *testing.T) {
	c, ctx := newPair(t, &fakenode.Node{}), t.Context()
	results := must(c.CreateLinks(ctx, []client.NewLink{
		{URL: "https://a.example/?<&>", Alias: "one", Title: "T"}, {URL: "ftp://x"}, {URL: "https://b.example/"},
	}))(t)
	if len(results) != 3 || results[0].Err != nil || results[2].Err != nil || results[1].Link != nil {
		t.Fatalf("%+v", results)
	}
	if l := results[0].Link; l.Key != "one" || l.Title != "T" || l.URL != "https://a.example/?<&>" {
		t.Errorf("%+v", l)
	}
	if e := results[1].Err; e.Code != "invalid_url" || e.Line != 2 || e.Status != 400 {
		t.Errorf("%+v", e)
	}
	if results := must(c.CreateLinks(ctx, nil))(t); results != nil {
		t.Errorf("%+v", results)
	}
	if _, err := c.CreateLinks(ctx, make([]client.NewLink, client.MaxBatch+1)); err == nil {
		t.Error("too many links were sent")
	}
}

func TestKeyspaces(t *testing.T) {
	node := &fakenode.Node{
		Spaces: []cluster.KeyspaceStats{{Name: "default", Length: 6, Size: 64, Exhausted: time.Minute}},
		Rows:   []cluster.KeyRow{{Length: 6, KeyRow: fsm.KeyRow{Run: keyspace.Run{From: 1, To: 3}}}, {Length: 6, KeyRow: fsm.KeyRow{Run: keyspace.Run{From: 5, To: 6}}}},
	}
	c, ctx := newPair(t, node), t.Context()
	if spaces := must(c.Keyspaces(ctx))(t); len(spaces) != 1 || *spaces[0].ExhaustedInSeconds != 60 {
		t.Errorf("%+v", spaces)
	}
	if space := must(c.Keyspace(ctx, "default"))(t); space.Size != 64 {
		t.Errorf("%+v", space)
	}
	page := must(c.KeyRows(ctx, "default", client.UnusedKeys, 1, ""))(t)
	if len(page.Rows) != 1 || page.Rows[0] != (client.KeyRow{Length: 6, From: 1, To: 3, Count: 2}) {
		t.Errorf("%+v", page)
	}
	page = must(c.KeyRows(ctx, "default", client.UsedKeys, 1, page.NextCursor))(t)
	if len(page.Rows) != 1 || page.Rows[0].From != 5 || page.NextCursor != "" {
		t.Errorf("%+v", page)
	}
	grow := true
	if space := must(c.UpdateKeyspace(ctx, "default", client.KeyspaceChanges{Grow: &grow}))(t); !space.Grows {
		t.Errorf("%+v", space)
	}
}

func TestTokens(t *testing.T) {
	node := &fakenode.Node{}
	c, ctx := newPair(t, node), t.Context()
	made := must(c.CreateToken(ctx, client.NewToken{Role: "write", Name: "ci", TTL: 90 * time.Minute}))(t)
	want := client.Token{ID: fakenode.TokenID, Text: made.Text, Role: "write", Name: "ci",
		CreatedAt: fakenode.Now, ExpiresAt: fakenode.Now.Add(90 * time.Minute)}
	if made != want || made.Text == "" {
		t.Errorf("%+v, want %+v", made, want)
	}
	if tokens := must(c.Tokens(ctx))(t); len(tokens) != 1 || tokens[0].Text != "" || tokens[0].Role != "keys" || !tokens[0].ExpiresAt.IsZero() {
		t.Errorf("%+v", tokens)
	}
	if err := c.RevokeToken(ctx, made.ID); err != nil {
		t.Error(err)
	}
	node.Err = fsm.ErrLastAdmin
	if err := c.RevokeToken(ctx, made.ID); !client.HasCode(err, "last_admin") {
		t.Error(err)
	}
	node.Err = fsm.ErrOutcomeUnknown // once, and not again: the text would be another one
	node.Asked()
	if _, err := c.CreateToken(ctx, client.NewToken{Role: "read"}); !errors.Is(err, client.ErrOutcomeUnknown) || len(node.Asked()) != 1 {
		t.Error(err)
	}
}

func TestCluster(t *testing.T) {
	node := &fakenode.Node{
		Stat:   cluster.Status{ClusterID: "c", Leader: "n2", Term: 4, Nodes: []cluster.NodeStatus{{ID: "n1", Role: cluster.RoleFollower}}},
		Checks: []cluster.Check{{Name: "leader", Detail: "none"}},
	}
	c, ctx := newPair(t, node), t.Context()
	if status := must(c.ClusterStatus(ctx))(t); status.Leader != "n2" || status.Nodes[0].Role != "follower" {
		t.Errorf("%+v", status)
	}
	if err := c.Join(ctx, client.NewNode{ID: "n4", Cluster: "h:1", NonVoter: true}); err != nil {
		t.Error(err)
	}
	if err := c.Remove(ctx, "n4", true); err != nil {
		t.Error(err)
	}
	if leader := must(c.Transfer(ctx, ""))(t); leader != "n2" {
		t.Errorf("leader %q", leader)
	}
	ready, report, err := c.Ready(ctx)
	if ready || err != nil || !strings.Contains(report, "[-]leader none") {
		t.Errorf("%v, %q, %v", ready, report, err)
	}
	node.Hook = func(ctx context.Context, _ string) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 5*time.Second {
			t.Error("the deadline of a try is not sent")
		}
	}
	must(c.ClusterStatus(ctx))(t)
}
