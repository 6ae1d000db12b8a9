package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/cluster/certs"
	"github.com/kgs-cluster/kgs/httpapi/client"
)

const (
	readyPoll  = 50 * time.Millisecond
	leaderPoll = 500 * time.Millisecond
	askWithin  = 2 * time.Second
)

// devError is an error of several lines, the only one: it ends with a log.
type devError struct{ text string }

func (e devError) Error() string { return e.text }

// askReady asks a node, once, whether it is ready; the error says why not.
func askReady(ctx context.Context, web *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz?verbose", nil)
	if err != nil {
		return err
	}
	response, err := web.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	report, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(strings.ReplaceAll(strings.TrimSpace(string(report)), "\n", ", "))
	}
	return err
}

// welcome shows the cluster and how to try it, and from then on who leads.
func (c devConfig) welcome(ctx context.Context, s *supervisor) error {
	var urls []string
	for _, n := range s.nodes {
		urls = append(urls, n.url())
	}
	api, token, status, err := c.awaitLeader(ctx, s.nodes, urls)
	if err != nil {
		return err
	}
	go s.watchLeader(ctx, api, status.Leader)
	return c.show(s, status, token)
}

// awaitLeader asks, with each token that may do, until there is a leader. It
// returns the client and the token that did.
func (c devConfig) awaitLeader(ctx context.Context, nodes []devNode, urls []string) (api *client.Client, token string, status client.ClusterStatus, err error) {
	trust, err := nodes[0].trust()
	if err != nil {
		return nil, "", status, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		err = errors.New("no node has made an admin token")
		for _, token = range c.tokens(nodes) {
			if api, err = client.New(client.Config{Addrs: urls, Token: token, TLS: trust, Timeout: askWithin}); err != nil {
				return nil, "", status, err
			}
			if status, err = api.ClusterStatus(ctx); err == nil && status.Leader != "" {
				return api, token, status, nil
			}
			api.Close()
		}
		select {
		case <-time.After(leaderPoll):
		case <-ctx.Done():
			return nil, "", status, fmt.Errorf("no leader after %s: %w", readyWithin, explain(errors.Join(err, ctx.Err())))
		}
	}
}

// adminTokenFile is where a node keeps the admin token that it has made.
const adminTokenFile = "admin.token"

// tokens are those to try: the user's own, and what the nodes have made.
func (c devConfig) tokens(nodes []devNode) []string {
	if c.auth != "on" {
		return []string{""}
	}
	var tokens []string
	if token := os.Getenv("KGS_TOKEN"); token != "" {
		tokens = append(tokens, token)
	}
	for _, n := range nodes {
		if data, err := os.ReadFile(filepath.Join(n.dir, adminTokenFile)); err == nil {
			tokens = append(tokens, strings.TrimSpace(string(data)))
		}
	}
	return tokens
}

// devView is what is shown of the cluster once it has a leader.
type devView struct {
	Nodes   []devNodeView `json:"nodes"`
	Leader  string        `json:"leader"`
	DataDir string        `json:"data_dir"`
	Token   string        `json:"token,omitempty"` // an admin's
	CA      string        `json:"ca,omitempty"`
}

type devNodeView struct {
	ID   string `json:"id"`
	PID  int    `json:"pid"`
	HTTP string `json:"http"`
	Role string `json:"role"`
}

// show prints the table of nodes and what to do next.
func (c devConfig) show(s *supervisor, status client.ClusterStatus, token string) error {
	view := devView{Leader: status.Leader, DataDir: c.dataDir, Token: token}
	if dir := c.certDir(); dir != "" {
		view.CA = filepath.Join(dir, certs.CAFile)
	}
	for i, n := range s.nodes {
		node := devNodeView{ID: n.id, PID: s.at(i).pid(), HTTP: n.url()}
		for _, known := range status.Nodes {
			if known.ID == n.id {
				node.Role = known.Role
			}
		}
		view.Nodes = append(view.Nodes, node)
	}
	return c.out.print(view, view.table)
}

func (v devView) table(t *table) {
	t.head("NODE", "PID", "URL", "ROLE")
	var urls []string
	leaderPID := 0
	for _, n := range v.Nodes {
		t.row(n.ID, n.PID, n.HTTP, n.Role)
		urls = append(urls, n.HTTP)
		if n.ID == v.Leader {
			leaderPID = n.PID
		}
	}
	last, header, kgsCA := urls[len(urls)-1], "", ""
	if v.CA != "" {
		header, kgsCA = "--cacert "+v.CA+" ", " --ca "+v.CA
	}
	curl := header
	if v.Token != "" {
		t.text("\nClients need a token:\n  export KGS_TOKEN=%s", v.Token)
		header += `-H "X-Api-Key: $KGS_TOKEN" `
	}
	t.text(`
See it in a browser:
  %[1]s/ui/

Try it, on any node:
  curl %[8]s-X POST %[1]s/v1/keys
  curl %[8]s-H 'Content-Type: application/json' -d '{"url":"https://go.dev/","alias":"golang"}' %[1]s/v1/links
  curl %[9]s-i %[2]s/golang
  %[7]s cluster status --watch%[10]s --addr %[3]s

Kill the leader, %[4]s, and see another one take over:
  kill -9 %[5]d

Data and logs are in %[6]s. Ctrl-C stops the cluster.`,
		urls[0], last, strings.Join(urls, ","), v.Leader, leaderPID, v.DataDir, os.Args[0], header, curl, kgsCA)
}

// watchLeader says when another node leads, until ctx ends.
func (s *supervisor) watchLeader(ctx context.Context, api *client.Client, leader string) {
	for {
		select {
		case <-time.After(leaderPoll):
		case <-ctx.Done():
			return
		}
		if status, err := api.ClusterStatus(ctx); err == nil {
			leader = s.announce(status.Leader, leader)
		}
	}
}

// announce says that a node leads if it did not before, and returns who is
// known to lead. The others may still name a node that has died.
func (s *supervisor) announce(now, before string) string {
	for i, n := range s.nodes {
		if n.id == now && now != before && !isClosed(s.at(i).exited()) {
			s.say("%s leads now (pid %d)", now, s.at(i).pid())
			return now
		}
	}
	return before
}
