package client

import (
	"context"
	"net/http"
	"net/url"
)

// ClusterStatus is the cluster as the node that answered sees it.
type ClusterStatus struct {
	ClusterID string `json:"cluster_id"`
	Leader    string `json:"leader"` // "" when there is none
	Term      uint64 `json:"term"`
	Commands  uint32 `json:"commands,omitempty"` // version of the command set in use
	Nodes     []Node `json:"nodes"`
	Digest    Digest `json:"digest,omitzero"`
}

// Digest tells the answering node's own state from others: at the same index
// all nodes have the same chain.
type Digest struct {
	Index uint64 `json:"index"`
	Chain string `json:"chain"`
}

// Node is one member.
type Node struct {
	ID            string `json:"id"`
	Role          string `json:"role"` // leader, follower or nonvoter
	HTTP          string `json:"http"`
	Cluster       string `json:"cluster"`
	Healthy       bool   `json:"healthy"`
	Problem       string `json:"problem,omitempty"`
	AppliedIndex  uint64 `json:"applied_index"`
	LastContactMS int64  `json:"last_contact_ms"`
	Version       string `json:"version,omitempty"`
	Commands      uint32 `json:"commands,omitempty"` // newest version of the command set that it knows
}

// ClusterStatus shows the cluster.
func (c *Client) ClusterStatus(ctx context.Context) (ClusterStatus, error) {
	var status ClusterStatus
	err := c.read(ctx, "/v1/cluster", nil, nil, &status)
	return status, err
}

// NewNode is a node that is to join.
type NewNode struct {
	ID       string `json:"id"`
	DiskID   string `json:"disk_id,omitempty"`
	HTTP     string `json:"http,omitempty"` // URL
	Cluster  string `json:"cluster"`        // host:port
	NonVoter bool   `json:"non_voter,omitempty"`
}

// Changes of the membership are harmless to repeat, and so are sent again like
// reads: the key only says so to retry.go.

// Join takes a node in.
func (c *Client) Join(ctx context.Context, node NewNode) error {
	call, err := jsonCall(http.MethodPost, "/v1/cluster/nodes", node)
	if err != nil {
		return err
	}
	call.idempotencyKey = keyOr("")
	_, err = c.do(ctx, call)
	return err
}

// Remove takes a node out. It may find it gone, code node_not_found, when an
// earlier try of the same call succeeded and its answer was lost. With force it
// is done although no healthy majority is left; writes wait for one then.
func (c *Client) Remove(ctx context.Context, id string, force bool) error {
	remove := &call{method: http.MethodDelete, path: "/v1/cluster/nodes/" + url.PathEscape(id), idempotencyKey: keyOr("")}
	if force {
		remove.query = url.Values{"force": {"true"}}
	}
	_, err := c.do(ctx, remove)
	return err
}

// Transfer makes another node the leader, one with id to if it is not "". It
// returns the new leader if that is known. A transfer to no node in particular
// is not sent again once a node may have got it: it would move on once more.
func (c *Client) Transfer(ctx context.Context, to string) (leader string, err error) {
	call, err := jsonCall(http.MethodPost, "/v1/cluster/transfer", struct {
		To string `json:"to,omitempty"`
	}{to})
	if err != nil {
		return "", err
	}
	if to != "" {
		call.idempotencyKey = keyOr("")
	}
	got, err := c.do(ctx, call)
	if err != nil {
		return "", err
	}
	var body struct {
		Leader string `json:"leader"`
	}
	err = got.decode(&body)
	return body.Leader, err
}

// Ready asks the node that answers first whether it can serve; report says
// what it needs, a line each.
func (c *Client) Ready(ctx context.Context) (ready bool, report string, err error) {
	got, err := c.do(ctx, &call{
		method: http.MethodGet, path: "/readyz", query: url.Values{"verbose": {""}},
		success: func(status int) bool { return status == http.StatusOK || status == http.StatusServiceUnavailable },
	})
	if err != nil {
		return false, "", err
	}
	return got.status == http.StatusOK, string(got.body), nil
}
