package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// statusTable shows the cluster on one screen.
func statusTable(t *table, status client.ClusterStatus) {
	nodes := slices.SortedFunc(slices.Values(status.Nodes), func(a, b client.Node) int { return strings.Compare(a.ID, b.ID) })
	leader := status.Leader
	if leader == "" {
		leader = "none"
	}
	t.text("cluster %s   leader %s   term %d", status.ClusterID, leader, status.Term)
	t.text("")
	t.row("NODE", "ROLE", "HTTP", "CLUSTER", "HEALTHY", "APPLIED", "LAG", "LAST CONTACT")
	newest := newestApplied(status)
	for _, n := range nodes {
		healthy, applied, lag, contact := "no", "", "", ""
		if n.Healthy {
			healthy, applied = "yes", fmt.Sprint(n.AppliedIndex)
			if n.ID != status.Leader {
				lag = fmt.Sprint(newest - min(newest, n.AppliedIndex))
				contact = (time.Duration(n.LastContactMS) * time.Millisecond).String() + " ago"
			}
		}
		t.row(n.ID, n.Role, n.HTTP, n.Cluster, healthy, applied, lag, contact)
	}
	t.text("")
	t.text("%s", tolerance(nodes))
	for _, n := range nodes {
		if n.Problem != "" {
			t.row(fmt.Sprintf("%s: %s", n.ID, n.Problem))
		}
	}
}

// newestApplied is the leader's applied index, or the highest if none leads.
func newestApplied(status client.ClusterStatus) uint64 {
	var newest uint64
	for _, n := range status.Nodes {
		if n.ID == status.Leader && n.Healthy {
			return n.AppliedIndex
		}
		newest = max(newest, n.AppliedIndex)
	}
	return newest
}

// tolerance says how many nodes can be lost now without losing the majority
// that writes need. Only voters count.
func tolerance(nodes []client.Node) string {
	voters, healthy := 0, 0
	var sick []string
	for _, n := range nodes {
		if n.Role == "nonvoter" {
			continue
		}
		voters++
		if n.Healthy {
			healthy++
		} else {
			sick = append(sick, n.ID)
		}
	}
	spare := healthy - (voters/2 + 1)
	unhealthy := strings.Join(sick, " and ") + " is unhealthy"
	if len(sick) > 1 {
		unhealthy = strings.Join(sick, " and ") + " are unhealthy"
	}
	switch {
	case spare < 0:
		return fmt.Sprintf("no majority: %d of %d voters are healthy, writes wait (%s)", healthy, voters, unhealthy)
	case spare == 0 && len(sick) > 0:
		return "no node can be lost: " + unhealthy
	case voters == 1:
		return "no node can be lost: it is the only voter; join more, to 3 or 5"
	case spare == 0:
		return fmt.Sprintf("no node can be lost: %d voters need one another; join more, to 3 or 5", voters)
	case len(sick) > 0:
		return fmt.Sprintf("can lose %s; %s", moreNodes(spare), unhealthy)
	}
	return "can lose " + moreNodes(spare)
}

func moreNodes(n int) string {
	if n == 1 {
		return "1 more node"
	}
	return fmt.Sprintf("%d more nodes", n)
}
