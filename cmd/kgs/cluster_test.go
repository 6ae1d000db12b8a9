package main

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi/client"
)

const statusAnswer = `{"cluster_id":"c1","leader":"n1","term":3,"nodes":[` +
	`{"id":"n2","role":"follower","http":"http://h2:1","cluster":"h2:2","healthy":true,"applied_index":100,"last_contact_ms":12},` +
	`{"id":"n1","role":"leader","http":"http://h1:1","cluster":"h1:2","healthy":true,"applied_index":110,"last_contact_ms":0},` +
	`{"id":"n3","role":"follower","http":"","cluster":"h3:2","healthy":false,"problem":"gone","applied_index":0,"last_contact_ms":0}]}`

func TestStatusCommand(t *testing.T) {
	url := api(t, map[string]http.HandlerFunc{"GET /v1/cluster": answers(200, statusAnswer)})
	checkOutput(t, url, []string{"cluster", "status"}, `cluster c1   leader n1   term 3

NODE  ROLE      HTTP         CLUSTER  HEALTHY  APPLIED  LAG  LAST CONTACT
n1    leader    http://h1:1  h1:2     yes      110      -    -
n2    follower  http://h2:1  h2:2     yes      100      10   12ms ago
n3    follower  -            h3:2     no       -        -    -

n1 and n2 cannot be lost: n3 is unhealthy
n3: gone
`, statusAnswer+"\n")
}

// What is wrong with nodes that answer stands below the table: two versions, a
// lag, a leader that is not heard of.
func TestStatusRemarks(t *testing.T) {
	const answer = `{"cluster_id":"c1","leader":"n1","term":3,"nodes":[` +
		`{"id":"n1","role":"leader","http":"h1","cluster":"c1","healthy":true,"applied_index":9000,"last_contact_ms":0,"version":"v2"},` +
		`{"id":"n2","role":"follower","http":"h2","cluster":"c2","healthy":true,"applied_index":8000,"last_contact_ms":4600,"version":"v1"},` +
		`{"id":"n3","role":"follower","http":"h3","cluster":"c3","healthy":true,"applied_index":7999,"last_contact_ms":3000,"version":"v2"},` +
		`{"id":"n4","role":"nonvoter","http":"h4","cluster":"c4","healthy":false,"problem":"gone","applied_index":0,"last_contact_ms":0}]}`
	url := api(t, map[string]http.HandlerFunc{"GET /v1/cluster": answers(200, answer)})
	checkOutput(t, url, []string{"cluster", "status"}, `cluster c1   leader n1   term 3

NODE  ROLE      HTTP  CLUSTER  HEALTHY  APPLIED  LAG   LAST CONTACT  VERSION
n1    leader    h1    c1       yes      9000     -     -             v2
n2    follower  h2    c2       yes      8000     1000  4.6s ago      v1
n3    follower  h3    c3       yes      7999     1001  3s ago        v2
n4    nonvoter  h4    c4       no       -        -     -             -

can lose 1 more node
n2 has not heard from a leader for 5s
n3 lags: 1001 log entries behind
n4: gone
`, answer+"\n")
}

func TestTolerance(t *testing.T) {
	for _, tt := range []struct {
		nodes string // each: V or v healthy or sick voter, N or n non-voter
		want  string
	}{
		{"VVV", "can lose 1 more node"},
		{"VVVVV", "can lose 2 more nodes"},
		{"VVVVv", "can lose 1 more node; n5 is unhealthy"},
		{"VvV", "n1 and n3 cannot be lost: n2 is unhealthy"},
		{"VvVvV", "n1 and n3 and n5 cannot be lost: n2 and n4 are unhealthy"},
		{"Vvv", "no majority: 1 of 3 voters are healthy, writes wait (n2 and n3 are unhealthy)"},
		{"V", "no node can be lost: it is the only voter; join more, to 3 or 5"},
		{"VV", "no node can be lost: 2 voters need one another; join more, to 3 or 5"},
		{"VVVn", "can lose 1 more node"},
		{"VVN", "no node can be lost: 2 voters need one another; join more, to 3 or 5"},
		{"VVVV", "can lose 1 more node"},
	} {
		var nodes []client.Node
		for i, c := range tt.nodes {
			n := client.Node{ID: "n" + string(rune('1'+i)), Role: "follower", Healthy: c == 'V' || c == 'N'}
			if c == 'N' || c == 'n' {
				n.Role = "nonvoter"
			}
			nodes = append(nodes, n)
		}
		if got := tolerance(nodes); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.nodes, got, tt.want)
		}
	}
}

func TestMembershipCommands(t *testing.T) {
	var got string
	record := func(status int, answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = r.Method + " " + r.URL.RequestURI() + " " + strings.TrimSpace(string(body))
			answers(status, answer)(w, r)
		}
	}
	url := api(t, map[string]http.HandlerFunc{
		"POST /v1/cluster/nodes":        record(200, `{"id":"n4"}`),
		"DELETE /v1/cluster/nodes/{id}": record(204, ""),
		"POST /v1/cluster/transfer":     record(200, `{"leader":"n2"}`),
	})
	for args, want := range map[string][2]string{
		"join n4 h4:2 --http http://h4:1 --non-voter": {`POST /v1/cluster/nodes {"id":"n4","http":"http://h4:1","cluster":"h4:2","non_voter":true}`, ""},
		"remove n3":                        {"DELETE /v1/cluster/nodes/n3 ", ""},
		"remove n3 --force":                {"DELETE /v1/cluster/nodes/n3?force=true ", ""},
		"transfer-leader":                  {"POST /v1/cluster/transfer {}", "leader  n2\n"},
		"transfer-leader n2 --format json": {`POST /v1/cluster/transfer {"to":"n2"}`, `{"leader":"n2"}` + "\n"},
	} {
		run := kgs(t, "", append([]string{"cluster", "--addr", url}, strings.Fields(args)...)...)
		if run.code != exitDone || got != want[0] || run.stdout != want[1] {
			t.Errorf("%s: %+v, sent %s", args, run, got)
		}
	}
}

// Raft has the members in any order.
func TestSurvivorsMembersAreInOrder(t *testing.T) {
	view := newSurvivorView(t.Context(), nil, cluster.Survivor{Node: "n3", Members: []cluster.SurvivorMember{{ID: "n3"}, {ID: "n1"}, {ID: "n2"}}})
	var ids []string
	for _, m := range view.Members {
		ids = append(ids, m.ID)
	}
	if !slices.Equal(ids, []string{"n1", "n2", "n3"}) || view.Members[2].State != "this node" {
		t.Errorf("%+v", view.Members)
	}
}
