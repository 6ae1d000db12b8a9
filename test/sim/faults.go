package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/oracle"
)

// fault is one thing that a nemesis does. It is over when run returns.
type fault struct {
	name  string
	joins bool // changes the membership: never overlaps
	alone bool // nor does this
	run   func(n *nemesis, name string)
}

// The end of processes.
var (
	killLeader = &fault{name: "kill -9 of the leader", run: func(n *nemesis, name string) {
		if p := n.leader(); p != nil {
			n.kill(name, keepUnsynced, n.between(20*time.Millisecond, time.Second), p)
		}
	}}
	killFollower = &fault{name: "kill -9 of a follower", run: func(n *nemesis, name string) {
		if p := n.follower(); p != nil {
			n.kill(name, keepUnsynced, n.between(50*time.Millisecond, 3*time.Second), p)
		}
	}}
	killMajority = &fault{name: "kill -9 of a majority", run: func(n *nemesis, name string) {
		alive := n.w.alive()
		n.random.Shuffle(len(alive), func(i, j int) { alive[i], alive[j] = alive[j], alive[i] })
		n.kill(name, keepUnsynced, n.between(50*time.Millisecond, 2*time.Second), alive[:min(len(alive), (len(alive)+2)/2)]...)
	}}
	killAll = &fault{name: "kill -9 of all", run: func(n *nemesis, name string) {
		n.kill(name, keepUnsynced, n.between(50*time.Millisecond, time.Second), n.w.alive()...)
	}}
	powerLoss = &fault{name: "power loss of a node", run: func(n *nemesis, name string) {
		if p := n.either(); p != nil {
			n.kill(name, n.random.IntN(3)*40, n.between(100*time.Millisecond, 2*time.Second), p)
		}
	}}
	powerLossAll = &fault{name: "power loss of all", run: func(n *nemesis, name string) {
		n.kill(name, n.random.IntN(3)*40, n.between(100*time.Millisecond, time.Second), n.w.alive()...)
	}}
	stopLeader = &fault{name: "SIGTERM of the leader", run: func(n *nemesis, name string) {
		if p := n.leader(); p != nil {
			n.stop(name, p)
		}
	}}
	rollingRestart = &fault{name: "rolling restart", run: func(n *nemesis, name string) {
		for _, p := range n.w.alive() {
			if !n.stop(name, p) || !n.settle() {
				return
			}
		}
	}}
)

// stop is what kgs serve does at SIGTERM, and a start soon after.
func (n *nemesis) stop(name string, p *process) bool {
	n.w.note("%s: %s", name, p.member.id)
	p.draining.Store(true)
	await(patience+slack, func() bool { return p.running.Load() == 0 })
	if err := p.node.Close(); err != nil {
		n.w.note("%s: %s said: %v", name, p.member.id, err)
	}
	ended := n.w.end(p, keepUnsynced)
	time.Sleep(n.between(10*time.Millisecond, time.Second))
	n.w.start(p.member)
	return ended
}

// The network.
var (
	isolateLeader = &fault{name: "the leader cut off", run: func(n *nemesis, name string) {
		if p := n.leader(); p != nil {
			n.cut(name, n.between(300*time.Millisecond, 6*time.Second), p, true, true)
		}
	}}
	isolateFollower = &fault{name: "a follower cut off", run: func(n *nemesis, name string) {
		if p := n.follower(); p != nil {
			n.cut(name, n.between(300*time.Millisecond, 6*time.Second), p, true, true)
		}
	}}
	deafLeader = &fault{name: "the leader hears nobody", run: func(n *nemesis, name string) {
		if p := n.leader(); p != nil {
			n.cut(name, n.between(300*time.Millisecond, 5*time.Second), p, false, true)
		}
	}}
	muteLeader = &fault{name: "nobody hears the leader", run: func(n *nemesis, name string) {
		if p := n.leader(); p != nil {
			n.cut(name, n.between(300*time.Millisecond, 5*time.Second), p, true, false)
		}
	}}
	bridge = &fault{name: "two halves with one bridge", run: func(n *nemesis, name string) {
		alive := n.w.alive()
		if len(alive) < 3 {
			return
		}
		n.random.Shuffle(len(alive), func(i, j int) { alive[i], alive[j] = alive[j], alive[i] })
		left, right := alive[1:1+len(alive)/2], alive[1+len(alive)/2:]
		n.during(name, "the bridge is "+alive[0].member.id, n.between(500*time.Millisecond, 5*time.Second),
			func() { n.links(left, right, n.w.net.CutBoth) }, func() { n.links(left, right, n.w.net.HealBoth) })
	}}
	halves = &fault{name: "two halves", run: func(n *nemesis, name string) {
		alive := n.w.alive()
		n.random.Shuffle(len(alive), func(i, j int) { alive[i], alive[j] = alive[j], alive[i] })
		left, right := alive[:len(alive)/2], alive[len(alive)/2:]
		n.during(name, fmt.Sprint(len(left), " and ", len(right)), n.between(500*time.Millisecond, 6*time.Second),
			func() { n.links(left, right, n.w.net.CutBoth) }, func() { n.links(left, right, n.w.net.HealBoth) })
	}}
	flapping = &fault{name: "the leader's links flap", run: func(n *nemesis, name string) {
		p := n.leader()
		if p == nil {
			return
		}
		for range 3 + n.random.IntN(8) {
			n.cut(name, n.between(50*time.Millisecond, 500*time.Millisecond), p, n.random.IntN(2) == 0, true)
			time.Sleep(n.between(20*time.Millisecond, 300*time.Millisecond))
		}
	}}
	slowLinks = &fault{name: "slow links", run: func(n *nemesis, name string) {
		d := n.between(5*time.Millisecond, 120*time.Millisecond)
		set := func(d time.Duration) func() {
			return func() { n.links(n.w.alive(), n.w.alive(), func(a, b string) { n.w.net.Delay(a, b, d) }) }
		}
		n.during(name, d.String(), n.between(time.Second, 5*time.Second), set(d), set(0))
	}}
	resets = &fault{name: "connections reset", run: func(n *nemesis, name string) {
		if p := n.either(); p != nil {
			n.w.note("%s: all of %s", name, p.member.id)
			n.w.net.KillConns(p.member.id)
		}
	}}
)

// cut separates a node from all others: out loses what it says, in what the
// others say to it.
func (n *nemesis) cut(name string, d time.Duration, p *process, out, in bool) {
	id, others := p.member.id, n.others(p)
	each := func(do func(from, to string)) func() {
		return func() {
			for _, other := range others {
				if out {
					do(id, other)
				}
				if in {
					do(other, id)
				}
			}
		}
	}
	n.during(name, id, d, each(n.w.net.Cut), each(n.w.net.Heal))
}

func (n *nemesis) links(left, right []*process, do func(a, b string)) {
	for _, a := range left {
		for _, b := range right {
			if a != b {
				do(a.member.id, b.member.id)
			}
		}
	}
}

// Disks.
var (
	hungDisk = &fault{name: "a disk hangs", run: func(n *nemesis, name string) {
		if p := n.either(); p != nil {
			n.during(name, p.member.id, n.between(200*time.Millisecond, 9*time.Second), p.disk.faults.stall, p.disk.faults.heal)
		}
	}}
	slowDisk = &fault{name: "a slow disk", run: func(n *nemesis, name string) {
		if p := n.either(); p != nil {
			slow := n.between(5*time.Millisecond, 150*time.Millisecond)
			n.during(name, fmt.Sprint(p.member.id, " by ", slow), n.between(time.Second, 5*time.Second),
				func() { p.disk.faults.set(func(f *diskFaults) { f.sync = slow }) }, p.disk.faults.heal)
		}
	}}
	failingDisk = &fault{name: "writes of the log fail", run: func(n *nemesis, name string) {
		if p := n.either(); p != nil {
			chance := []float64{0.02, 0.2, 1}[n.random.IntN(3)]
			n.during(name, fmt.Sprint(p.member.id, ", ", chance), n.between(200*time.Millisecond, 4*time.Second),
				func() { p.disk.faults.set(func(f *diskFaults) { f.fails = chance }) }, p.disk.faults.heal)
		}
	}}
	brokenDisk = &fault{name: "writes of the state fail", run: func(n *nemesis, name string) {
		if p := n.either(); p != nil {
			n.during(name, p.member.id, n.between(time.Second, 3*time.Second),
				func() {
					p.disk.faults.set(func(f *diskFaults) { f.broken = true })
					p.node.Snapshot() // which flushes the state; else nothing is written for long
				}, p.disk.faults.heal)
		}
	}}
	// frozen is as near as one clock for all comes to a process that does not
	// run: nothing goes in or out, and what it would write waits.
	frozen = &fault{name: "the leader freezes with writes queued", run: func(n *nemesis, name string) {
		if p := n.leader(); p != nil {
			p.disk.faults.stall()
			time.Sleep(n.between(0, 100*time.Millisecond))
			n.cut(name, n.between(300*time.Millisecond, 4*time.Second), p, true, true)
			time.Sleep(n.between(0, 300*time.Millisecond))
			p.disk.faults.heal()
		}
	}}
	snapshotNow = &fault{name: "a snapshot", run: func(n *nemesis, name string) {
		if p := n.either(); p != nil {
			n.w.note("%s: %s: %v", name, p.member.id, p.node.Snapshot())
		}
	}}
	clockJump = &fault{name: "a clock jumps", run: func(n *nemesis, name string) {
		if p := n.either(); p != nil {
			to := n.between(-time.Hour, time.Hour)
			n.w.note("%s: %s is off by %s", name, p.member.id, to)
			p.member.clock.Store(int64(to))
		}
	}}
)

// Leadership and membership, through the API.
var (
	transfer = &fault{name: "transfer of leadership", run: func(n *nemesis, name string) {
		if p := n.anyone(); p != nil {
			began := n.w.now()
			a := n.w.send(p, request{method: http.MethodPost, path: "/v1/cluster/transfer", timeout: patience})
			n.w.note("%s: %d %s", name, a.status, a.body)
			if a.status/100 == 2 && n.w.plan.profile.calm {
				n.w.counts.timed(&n.w.counts.moves, began)
			}
		}
	}}
	transferAndCut = &fault{name: "transfer raced with a cut", run: func(n *nemesis, name string) {
		p := n.leader()
		if p == nil {
			return
		}
		n.running.Go(func() {
			n.w.send(p, request{method: http.MethodPost, path: "/v1/cluster/transfer", timeout: patience})
		})
		time.Sleep(n.between(0, 200*time.Millisecond))
		n.cut(name, n.between(100*time.Millisecond, 3*time.Second), p, true, n.random.IntN(2) == 0)
		n.running.Wait()
	}}
	addNode = &fault{name: "a node joins", joins: true, run: func(n *nemesis, name string) {
		if n.voters() > 5 {
			return
		}
		m := n.w.add(n.newID(), nil)
		n.w.note("%s: %s", name, m.id)
		n.w.start(m)
		time.Sleep(n.between(0, 4*time.Second))
	}}
	removeNode = &fault{name: "a node is removed", joins: true, run: func(n *nemesis, name string) {
		if n.voters() <= 3 {
			return
		}
		if victim, through := n.either(), n.anyone(); victim != nil && through != nil {
			n.remove(name, victim, through)
		}
	}}
	replaceNode = &fault{name: "a node is replaced", joins: true, run: func(n *nemesis, name string) {
		m := n.w.add(n.newID(), nil)
		n.w.note("%s by %s", name, m.id)
		n.w.start(m)
		await(10*time.Second, func() bool { return n.voters() > n.w.plan.nodes })
		if victim, through := n.either(), n.anyone(); victim != nil && through != nil && victim.member != m {
			n.remove(name, victim, through)
		}
	}}
)

// voters is how many voters the cluster has, as far as one node knows.
func (n *nemesis) voters() int {
	p := n.anyone()
	if p == nil {
		return 0
	}
	a := n.w.send(p, request{method: http.MethodGet, path: "/v1/cluster?consistency=local", timeout: time.Second})
	var status struct{ Nodes []struct{ Role string } }
	if !a.heard || a.status != http.StatusOK || a.decode(&status) != nil {
		return 0
	}
	count := 0
	for _, node := range status.Nodes {
		if node.Role != "nonvoter" {
			count++
		}
	}
	return count
}

// remove takes a node out of the cluster. Whether it went is seen at the node
// itself, which ends then.
func (n *nemesis) remove(name string, victim, through *process) {
	a := n.w.send(through, request{method: http.MethodDelete, path: "/v1/cluster/nodes/" + victim.member.id, timeout: patience})
	n.w.note("%s: %s, through %s: %d %s", name, victim.member.id, through.member.id, a.status, a.body)
	if a.status/100 == 2 {
		await(5*time.Second, victim.isDead)
	}
}

// maxRestores of a run: each burns the ten million keys that were generated
// ahead, and the reference model knows each by itself.
const maxRestores = 2

// Backups.
var (
	backup = &fault{name: "a backup", run: func(n *nemesis, name string) {
		p := n.anyone()
		if p == nil {
			return
		}
		n.w.mu.Lock()
		op := oracle.Op{Kind: oracle.Backup, File: fmt.Sprint("backup ", len(n.w.backups))}
		n.w.backups = append(n.w.backups, nil)
		at := len(n.w.backups) - 1
		n.w.mu.Unlock()
		var file bytes.Buffer
		err := n.request(p, &op, func(ctx context.Context) error { return p.node.Backup(ctx, &file) })
		n.w.note("%s: %s, through %s: %d bytes, %v", name, op.File, p.member.id, file.Len(), err)
		if op.Outcome != oracle.OK {
			return
		}
		if header, err := fsm.VerifyBackup(bytes.NewReader(file.Bytes())); err != nil {
			n.w.violate("backup", "%s: %v", op.File, err)
		} else {
			op.Index = header.Header.Index
		}
		n.w.history.Record(op)
		n.w.mu.Lock()
		n.w.backups[at] = file.Bytes()
		n.w.mu.Unlock()
	}}
	restoreBackup = &fault{name: "restore of an old backup", alone: true, run: func(n *nemesis, name string) {
		n.w.mu.Lock()
		backups := n.w.backups
		n.w.mu.Unlock()
		p, which := n.anyone(), n.random.IntN(max(len(backups), 1))
		if p == nil || len(backups) < 3 || backups[which] == nil || n.w.restored == maxRestores {
			return
		}
		n.w.restored++
		op := oracle.Op{Kind: oracle.Restore, File: fmt.Sprint("backup ", which)}
		err := n.request(p, &op, func(ctx context.Context) error {
			result, err := p.node.RestoreBackup(ctx, bytes.NewReader(backups[which]), cluster.RestoreRequest{})
			op.Index = result.Index
			return err
		})
		n.w.history.Record(op)
		n.w.note("%s: %s, through %s: at %d, %v", name, op.File, p.member.id, op.Index, err)
	}}
)

// request does something of a node that clients would ask for over HTTP, and
// notes times and outcome in op.
func (n *nemesis) request(p *process, op *oracle.Op, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	op.Client, op.Node, op.Call, op.Began = n.w.plan.clients+1, p.member.id, n.w.now(), n.w.history.Tick()
	err := do(ctx)
	op.Return, op.Ended = n.w.now(), n.w.history.Tick()
	switch {
	case p.isDead() || errors.Is(err, fsm.ErrOutcomeUnknown) || errors.As(err, new(*cluster.UnknownOutcomeError)):
		op.Outcome, op.Index = oracle.Unknown, 0
	case err != nil:
		op.Outcome, op.Code = oracle.Refused, err.Error()
	}
	return err
}

// profiles take turns over the seeds.
var profiles = []profile{
	{name: "kills", overlap: true, faults: []weighted{{killLeader, 16}, {killFollower, 2}, {killMajority, 2}, {killAll, 2}, {powerLoss, 4}, {powerLossAll, 2}, {transfer, 2}, {clockJump, 1}}},
	{name: "all", overlap: true, faults: []weighted{{killLeader, 24}, {killFollower, 2}, {killMajority, 2}, {killAll, 2}, {powerLoss, 3}, {powerLossAll, 2}, {stopLeader, 2},
		{isolateLeader, 3}, {isolateFollower, 2}, {deafLeader, 2}, {muteLeader, 2}, {bridge, 2}, {halves, 2}, {flapping, 2}, {slowLinks, 2}, {resets, 2},
		{hungDisk, 2}, {slowDisk, 2}, {failingDisk, 2}, {brokenDisk, 2}, {frozen, 3}, {snapshotNow, 3}, {clockJump, 2},
		{transfer, 3}, {transferAndCut, 2}, {addNode, 1}, {removeNode, 1}, {replaceNode, 1}}},
	{name: "one death at a time", calm: true, faults: []weighted{{killLeader, 16}, {killFollower, 2}, {powerLoss, 3}, {snapshotNow, 2}}},
	{name: "all", overlap: true, faults: nil}, // filled in by init
	{name: "graceful", calm: true, graceful: true, faults: []weighted{{transfer, 5}, {stopLeader, 4}, {rollingRestart, 1}, {snapshotNow, 2}, {clockJump, 1}}},
	{name: "partitions", overlap: true, faults: []weighted{{killLeader, 16}, {isolateLeader, 4}, {isolateFollower, 2}, {deafLeader, 3}, {muteLeader, 3}, {bridge, 3}, {halves, 3}, {flapping, 3}, {slowLinks, 2}, {resets, 3}, {transfer, 2}, {transferAndCut, 3}}},
	{name: "disks", overlap: true, faults: []weighted{{killLeader, 14}, {powerLoss, 5}, {powerLossAll, 3}, {hungDisk, 3}, {slowDisk, 2}, {failingDisk, 3}, {brokenDisk, 3}, {frozen, 4}, {snapshotNow, 3}}},
	{name: "restores", overlap: true, restores: true, faults: []weighted{{killLeader, 10}, {backup, 4}, {restoreBackup, 2}, {powerLoss, 2}, {isolateLeader, 2}, {transfer, 2}, {snapshotNow, 2}, {killAll, 1}}},
	{name: "members", overlap: true, faults: []weighted{{killLeader, 16}, {killFollower, 2}, {isolateLeader, 2}, {addNode, 3}, {removeNode, 3}, {replaceNode, 3}, {transfer, 2}, {snapshotNow, 2}}},
}

func init() { profiles[3].faults = profiles[1].faults }
