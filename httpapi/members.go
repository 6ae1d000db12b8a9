package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
)

type statusJSON struct {
	ClusterID string     `json:"cluster_id"`
	Leader    string     `json:"leader"` // "" when there is none
	Term      uint64     `json:"term"`
	Commands  uint32     `json:"commands,omitempty"` // version of the command set in use
	Nodes     []nodeJSON `json:"nodes"`
	Digest    digestJSON `json:"digest"`
}

// digestJSON tells the answering node's own state from others: at the same
// index all nodes have the same chain.
type digestJSON struct {
	Index uint64 `json:"index"`
	Chain string `json:"chain"` // 16 hexadecimal digits
}

type nodeJSON struct {
	ID            string       `json:"id"`
	Role          cluster.Role `json:"role"`
	HTTP          string       `json:"http"`
	Cluster       string       `json:"cluster"`
	Healthy       bool         `json:"healthy"`
	Problem       string       `json:"problem,omitempty"` // why not healthy
	AppliedIndex  uint64       `json:"applied_index"`
	LastContactMS int64        `json:"last_contact_ms"`
	Version       string       `json:"version,omitempty"`
	Commands      uint32       `json:"commands,omitempty"` // newest version of the command set that it knows
}

// clusterStatus is GET /v1/cluster. It is what the answering node sees, and
// answers without a leader too.
func (s *Server) clusterStatus(ctx context.Context, c echo.Context) error {
	status, err := s.service.Status(ctx)
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, newStatusJSON(status))
}

func newStatusJSON(status cluster.Status) statusJSON {
	answer := statusJSON{ClusterID: status.ClusterID, Leader: status.Leader, Term: status.Term, Commands: status.Commands, Nodes: []nodeJSON{},
		Digest: digestJSON{status.Applied, fmt.Sprintf("%016x", status.Chain)}}
	for _, n := range status.Nodes {
		answer.Nodes = append(answer.Nodes, nodeJSON{
			n.ID, n.Role, n.HTTP, n.Cluster, n.Healthy, n.Problem, n.Applied, n.LastContact.Milliseconds(), n.Version, n.Commands,
		})
	}
	return answer
}

// joinNode is POST /v1/cluster/nodes.
func (s *Server) joinNode(ctx context.Context, c echo.Context) error {
	body, err := mutationBody(c, requireJSON)
	if err != nil {
		return err
	}
	var join cluster.JoinRequest
	err = decodeObject(body, nullIsAbsent,
		field{"id", &join.ID, wantString},
		field{"disk_id", &join.DiskID, wantString},
		field{"http", &join.HTTP, wantString},
		field{"cluster", &join.Cluster, wantString},
		field{"non_voter", &join.NonVoter, wantBool})
	if err != nil {
		return err
	}
	if err := checkJoin(join); err != nil {
		return err
	}
	if err := s.service.Join(ctx, join); err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, struct {
		ID string `json:"id"`
	}{join.ID})
}

func checkJoin(join cluster.JoinRequest) error {
	if !isNodeID(join.ID) {
		return invalidf("id %.80q: want 1 to 64 characters of A-Z a-z 0-9 . _ -", join.ID)
	}
	if host, port, err := net.SplitHostPort(join.Cluster); err != nil || host == "" || port == "" {
		return invalidf("cluster %.80q: want host:port", join.Cluster)
	}
	if join.HTTP != "" {
		if u, err := url.Parse(join.HTTP); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return invalidf("http %.80q: want a URL", join.HTTP)
		}
	}
	return nil
}

func isNodeID(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-") == ""
}

// removeNode is DELETE /v1/cluster/nodes/{id}[?force=true].
func (s *Server) removeNode(ctx context.Context, c echo.Context) error {
	if _, err := idempotencyKey(c.Request().Header); err != nil {
		return err
	}
	id := pathParam(c, "id")
	if !isNodeID(id) {
		return refusef(kindNodeNotFound, "%.80q", id)
	}
	force := false
	switch given := c.QueryParam("force"); given {
	case "", "false":
	case "true":
		force = true
	default:
		return invalidf("force %.40q: want true or false", given)
	}
	if err := s.service.Remove(ctx, id, force); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// transferLeader is POST /v1/cluster/transfer.
func (s *Server) transferLeader(ctx context.Context, c echo.Context) error {
	body, err := mutationBody(c, readJSON)
	if err != nil {
		return err
	}
	var to string
	if len(body) > 0 {
		if err := decodeObject(body, nullIsAbsent, field{"to", &to, wantString}); err != nil {
			return err
		}
	}
	if to != "" && !isNodeID(to) {
		return refusef(kindNodeNotFound, "%.80q", to)
	}
	if err := s.service.Transfer(ctx, to); err != nil {
		return err
	}
	if to == "" {
		if status, err := s.service.Status(ctx); err == nil { // done all the same
			to = status.Leader
		}
	}
	return respondJSON(c, http.StatusOK, struct {
		Leader string `json:"leader,omitempty"`
	}{to})
}

// mutationBody reads the body of a change that is harmless to repeat; an
// Idempotency-Key is checked and not needed.
func mutationBody(c echo.Context, read func(echo.Context) ([]byte, error)) ([]byte, error) {
	if _, err := idempotencyKey(c.Request().Header); err != nil {
		return nil, err
	}
	return read(c)
}
