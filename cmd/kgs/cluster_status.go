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
	nodes := byID(status.Nodes)
	leader := status.Leader
	if leader == "" {
		leader = "none"
	}
	t.text("cluster %s   leader %s   term %d", status.ClusterID, leader, status.Term)
	t.text("")
	head := []string{"NODE", "ROLE", "HTTP", "[CLUSTER]", "HEALTHY", "APPLIED", "LAG", "LAST CONTACT"}
	mixed := mixedVersions(nodes)
	if mixed {
		head = append(head, "VERSION")
	}
	t.head(head...)
	newest, newestKnown := newestApplied(status), uint32(0)
	for _, n := range nodes {
		newestKnown = max(newestKnown, n.Commands)
	}
	var remarks []string
	for _, n := range nodes {
		healthy, applied, lag, contact := cell{text: "no", style: bad}, "", "", ""
		if n.Healthy {
			healthy, applied = cell{text: "yes", style: good}, fmt.Sprint(n.AppliedIndex)
			if n.ID != status.Leader {
				behind, heard := newest-min(newest, n.AppliedIndex), time.Duration(n.LastContactMS)*time.Millisecond
				lag, contact = fmt.Sprint(behind), heard.String()+" ago"
				if behind > lagging {
					remarks = append(remarks, fmt.Sprintf("%s lags: %d log entries behind", n.ID, behind))
				}
				if heard > silent {
					remarks = append(remarks, fmt.Sprintf("%s has not heard from a leader for %s", n.ID, heard.Round(time.Second)))
				}
			}
		}
		if n.Problem != "" {
			remarks = append(remarks, fmt.Sprintf("%s: %s", n.ID, n.Problem))
		}
		if n.Healthy && n.Commands < newestKnown {
			remarks = append(remarks, fmt.Sprintf("%s is to be upgraded: it knows commands up to version %d, another node %d; version %d is used", n.ID, n.Commands, newestKnown, status.Commands))
		}
		role := cell{text: n.Role}
		if n.ID == status.Leader {
			role.style = bold
		}
		row := []any{n.ID, role, n.HTTP, n.Cluster, healthy, applied, lag, contact}
		if mixed {
			row = append(row, n.Version)
		}
		t.row(row...)
	}
	t.text("")
	verdict := cell{text: tolerance(nodes), style: good}
	switch spare := spareVoters(nodes); {
	case spare < 0:
		verdict.style = bad
	case spare == 0:
		verdict.style = tight
	}
	t.row(verdict)
	for _, remark := range remarks {
		t.row(cell{text: remark, style: tight})
	}
}

func byID(nodes []client.Node) []client.Node {
	return slices.SortedFunc(slices.Values(nodes), func(a, b client.Node) int { return strings.Compare(a.ID, b.ID) })
}

// A node is remarked on that is so many log entries behind, or has heard nothing
// for so long: elections are over by then.
const (
	lagging = 1000
	silent  = 3 * time.Second
)

// mixedVersions: not all nodes that say their version run the same.
func mixedVersions(nodes []client.Node) bool {
	versions := map[string]bool{}
	for _, n := range nodes {
		if n.Version != "" {
			versions[n.Version] = true
		}
	}
	return len(versions) > 1
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

// spareVoters is how many voters can be lost before a majority is.
func spareVoters(nodes []client.Node) int {
	voters, healthy := 0, 0
	for _, n := range nodes {
		if n.Role == "nonvoter" {
			continue
		}
		voters++
		if n.Healthy {
			healthy++
		}
	}
	return healthy - (voters/2 + 1)
}

// tolerance says how many nodes can be lost now without losing the majority
// that writes need. Only voters count.
func tolerance(nodes []client.Node) string {
	voters := 0
	var well, sick []string
	for _, n := range nodes {
		if n.Role == "nonvoter" {
			continue
		}
		voters++
		if n.Healthy {
			well = append(well, n.ID)
		} else {
			sick = append(sick, n.ID)
		}
	}
	healthy, spare := len(well), spareVoters(nodes)
	unhealthy := strings.Join(sick, " and ") + " is unhealthy"
	if len(sick) > 1 {
		unhealthy = strings.Join(sick, " and ") + " are unhealthy"
	}
	switch {
	case spare < 0:
		return fmt.Sprintf("no majority: %d of %d voters are healthy, writes wait (%s)", healthy, voters, unhealthy)
	case spare == 0 && len(sick) > 0:
		return fmt.Sprintf("%s cannot be lost: %s", strings.Join(well, " and "), unhealthy)
	case voters == 1:
		return "no node can be lost: it is the only voter; join more, to 3 or 5"
	case spare == 0:
		return fmt.Sprintf("no node can be lost: %d voters need one another; join more, to 3 or 5", voters)
	case len(sick) > 0:
		return fmt.Sprintf("can lose %s; %s", plural(spare, "more node"), unhealthy)
	}
	return "can lose " + plural(spare, "more node")
}
