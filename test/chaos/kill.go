package chaos

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// longestDown is how long a killed node stays away at most.
const longestDown = 1500 * time.Millisecond

// killLeader: clients of the other nodes see no error, and the time to their
// first answered write is what a death costs.
func killLeader(r *run) []*proc.Node {
	leader := r.leader()
	others := r.others(leader)
	r.burst()
	killed := time.Now()
	r.deaths++
	leader.Kill()
	r.write(others, oracleDeath)
	took := time.Since(killed)
	r.logf("recovered after %s", took.Round(time.Millisecond))
	r.recoveries = append(r.recoveries, milliseconds(took))
	r.pause(longestDown - time.Since(killed))
	leader.Start()
	return others
}

func killFollower(r *run) []*proc.Node {
	victim := r.follower()
	victim.Kill()
	r.pause(longestDown)
	victim.Start()
	return r.others(victim)
}

// killMajority leaves too few nodes to write; those that are left redirect.
func killMajority(r *run) []*proc.Node {
	known := r.ledger.settled()
	victims, left := r.split(len(r.cluster.Nodes)/2 + 1)
	r.countDeath(victims)
	r.burst()
	for _, n := range victims {
		n.Kill()
	}
	until := time.Now().Add(r.between(0, longestDown))
	for _, l := range known {
		for _, n := range left {
			r.followWithoutLeader(n, l)
		}
		if time.Now().After(until) {
			break
		}
	}
	r.pause(time.Until(until))
	for _, n := range victims {
		n.Start()
	}
	return nil
}

// countDeath counts the leader's death if it is among the victims.
func (r *run) countDeath(victims []*proc.Node) {
	if slices.Contains(victims, r.leader()) {
		r.deaths++
	}
}

const oracleRedirects = "P9 redirects without a majority"

// followWithoutLeader asks for a link that was settled before the fault.
func (r *run) followWithoutLeader(n *proc.Node, l *link) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	a, err := plainRequest(ctx, http.MethodGet, n.URL+"/"+l.key, "")
	r.checked(oracleRedirects, 1)
	if err != nil && !client.HasCode(err, "link_not_found") || !l.ever(a.header.Get("Location")) {
		r.violatef(oracleRedirects, "GET /%s through %s: status %d, %v", l.key, n.ID, a.status, err)
	}
}

func killAll(r *run) []*proc.Node {
	r.deaths++
	r.burst()
	for _, n := range r.cluster.Nodes {
		n.Kill()
	}
	for _, n := range r.cluster.Nodes {
		n.Start()
	}
	return nil
}
