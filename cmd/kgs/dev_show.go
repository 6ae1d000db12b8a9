package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

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
func askReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz?verbose", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
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
	api, err := client.New(client.Config{Addrs: urls, Timeout: askWithin})
	if err != nil {
		return err
	}
	status, err := awaitLeader(ctx, api)
	if err != nil {
		return err
	}
	c.show(s, urls, status)
	go s.watchLeader(ctx, api, status.Leader)
	return nil
}

// awaitLeader asks until there is a leader.
func awaitLeader(ctx context.Context, api *client.Client) (client.ClusterStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		status, err := api.ClusterStatus(ctx)
		if err == nil && status.Leader != "" {
			return status, nil
		}
		select {
		case <-time.After(leaderPoll):
		case <-ctx.Done():
			return status, fmt.Errorf("no leader after %s: %w", readyWithin, errors.Join(err, ctx.Err()))
		}
	}
}

// show prints the table of nodes and what to do next.
func (c devConfig) show(s *supervisor, urls []string, status client.ClusterStatus) {
	t := &table{w: tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)}
	t.row("NODE", "PID", "URL", "ROLE")
	leaderPID := 0
	for i, n := range s.nodes {
		role := ""
		for _, known := range status.Nodes {
			if known.ID == n.id {
				role = known.Role
			}
		}
		if n.id == status.Leader {
			leaderPID = s.at(i).pid()
		}
		t.row(n.id, s.at(i).pid(), n.url(), role)
	}
	last := urls[len(urls)-1]
	t.text(`
Try it, on any node:
  curl -X POST %[1]s/v1/keys
  curl -H 'Content-Type: application/json' -d '{"url":"https://go.dev/","alias":"golang"}' %[1]s/v1/links
  curl -i %[2]s/golang
  %[7]s cluster status --addr %[3]s

Kill the leader, %[4]s, and see another one take over:
  kill -9 %[5]d

Data and logs are in %[6]s. Ctrl-C stops the cluster.`,
		urls[0], last, strings.Join(urls, ","), status.Leader, leaderPID, c.dataDir, os.Args[0])
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
