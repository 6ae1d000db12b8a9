package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// transfer moves leadership, to any node or to one that it names: no client
// sees an error, no key is lost.
func transfer(r *run) []*proc.Node {
	to := ""
	if r.random.IntN(2) == 0 {
		to = r.follower().ID
	}
	r.burst()
	r.transferTo(to)
	return r.cluster.Nodes
}

// transferTo moves leadership to a node, "" for any.
func (r *run) transferTo(to string) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 2*callTimeout)
	defer cancel()
	api := r.api()
	defer api.Close()
	_, err := api.Transfer(ctx, to)
	var answer *client.Error
	switch {
	case errors.As(err, &answer) && answer.Code == "refused": // by raft, which gave up on it: the leader goes on
		r.logf("transfer refused: %v", err)
	case err != nil:
		r.violatef(oracleReply, "transfer: %v", err)
	default:
		r.graceful++
		r.write(r.cluster.Nodes, oracleDeath)
		r.transfers = append(r.transfers, milliseconds(time.Since(began)))
	}
}

// terminate stops a node as an admin would, and starts it again.
func terminate(r *run) []*proc.Node {
	victim := pick(r.random, r.cluster.Nodes)
	r.stop(victim)
	r.pause(r.between(0, longestDown))
	victim.Start()
	return r.others(victim)
}

// rollingRestart is what an upgrade does: one node after the other.
func rollingRestart(r *run) []*proc.Node {
	for _, n := range r.cluster.Nodes {
		since := time.Now()
		r.stop(n)
		n.Start()
		r.heal()
		r.checkUndisturbed(since, r.others(n), "restart of "+n.ID)
	}
	return nil
}

// stop ends a node by SIGTERM. It hands over what it leads.
func (r *run) stop(n *proc.Node) {
	if n == r.leader() {
		r.deaths++
		r.graceful++
	}
	r.burst()
	r.end(n)
}

// stopWithin is how soon a process ends that is told to; most do in little more than a second.
const stopWithin = 5 * time.Second

// end sends SIGTERM, and waits for the end.
func (r *run) end(n *proc.Node) {
	began := time.Now()
	if code := n.Stop(); code != 0 {
		r.violatef(oracleEnds, "%s ended with %d after SIGTERM:\n%s", n.ID, code, n.Output)
	}
	r.healed("process ended after SIGTERM", began)
	if took := time.Since(began); took > stopWithin {
		r.violatef(oracleEnds, "%s ended %s after SIGTERM, wanted within %s", n.ID, took, stopWithin)
	}
}

// oracleEnds: processes end when they are told to, and only then.
const oracleEnds = "processes end as told"
