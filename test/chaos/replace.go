package chaos

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// replaceAll takes a new node in and an old one out until all are new.
func replaceAll(r *run) []*proc.Node {
	for _, old := range slices.Clone(r.cluster.Nodes) {
		since := time.Now()
		r.takeIn()
		r.takeOut(old)
		r.heal()
		r.checkUndisturbed(since, r.cluster.Nodes, "replacement of "+old.ID)
	}
	return nil
}

func (r *run) newID() string {
	r.newest++
	return fmt.Sprintf("n%d", r.newest)
}

// awaitVoter waits until the leader has made a voter of a node that joined.
func (r *run) awaitVoter(n *proc.Node) {
	proc.Until(r.tb, busy*caughtUpWithin, func() (bool, string) {
		status, err := r.api().ClusterStatus(context.Background())
		for _, member := range status.Nodes {
			if member.ID == n.ID {
				return err == nil && member.Role != "nonvoter", n.ID + " is a " + member.Role
			}
		}
		return false, fmt.Sprintf("%s is no member: %v", n.ID, err)
	})
}

// takeIn has one more node join, and gives it clients.
func (r *run) takeIn() {
	added := r.cluster.Join(r.newID())
	added.WaitReady(busy * caughtUpWithin)
	r.awaitVoter(added)
	r.load.attach(added)
	r.load.route(added.URL)
}

// takeOut removes a node, without its clients. Its process then ends by itself; an admin need not
// wait for that.
func (r *run) takeOut(n *proc.Node) {
	if n == r.leader() {
		r.deaths++
		r.graceful++
	}
	r.load.detach(n)
	r.cluster.Forget(n)
	if err := r.api().Remove(context.Background(), n.ID, false); err != nil {
		r.violatef(oracleReply, "removal of %s: %v", n.ID, err)
	}
	n.Stop()
}
