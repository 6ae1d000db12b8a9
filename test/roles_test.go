package test

import (
	"fmt"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

const (
	voter    = "voter"
	nonvoter = "non-voter"
	absent   = "absent"
)

// roleOf is what the cluster says of a node.
func roleOf(t *testing.T, c *harness.Cluster, id string) (string, error) {
	asked := c.Node(c.WaitLeader())
	s, err := asked.Status(within(t, clientDeadline))
	if err != nil {
		return "", err
	}
	for _, n := range s.Nodes {
		if n.ID == id {
			if n.Role == cluster.RoleNonvoter {
				return nonvoter, nil
			}
			return voter, nil
		}
	}
	return absent, nil
}

// awaitRole waits until the cluster has the node in the role.
func awaitRole(t *testing.T, c *harness.Cluster, id, want string) {
	t.Helper()
	harness.Await(t, id+" is "+want, func() error {
		role, err := roleOf(t, c, id)
		if err == nil && role != want {
			err = fmt.Errorf("it is %s", role)
		}
		return err
	})
}
