package sim

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/oracle"
)

// How soon a healed cluster must be well again.
const (
	leaderWithin = 2 * time.Second
	writeWithin  = 3 * time.Second
	levelWithin  = 30 * time.Second
)

// recover heals everything and sees the cluster get well, with its clients at work.
func (w *world) recover() {
	w.heal()
	w.note("all is healed")
	began := w.now()
	took := func() time.Duration { return (w.now() - began).Round(time.Millisecond) }
	if !await(leaderWithin, func() bool { return len(w.leaders()) > 0 }) {
		await(time.Minute, func() bool { return len(w.leaders()) > 0 })
		w.violate("liveness", "healed, and no leader within %s, but after %s", leaderWithin, took())
	}
	refusal := ""
	wrote := func() bool {
		for _, p := range w.alive() {
			op := oracle.Op{Client: w.plan.clients, Kind: oracle.Create, Node: p.member.id,
				URL: fmt.Sprintf("https://probe.example/%s/%d", p.member.id, w.now()), Call: w.now(), Began: w.history.Tick()}
			a := w.send(p, encode(op, patience))
			op.Return, op.Ended = w.now(), w.history.Tick()
			if decode(&op, a); !a.refused {
				w.record(op, p, 0)
			}
			if op.Outcome == oracle.OK {
				return true
			}
			refusal = op.Code
		}
		return false
	}
	if !wrote() || took() > writeWithin {
		why := refusal
		await(time.Minute, wrote)
		w.violate("liveness", "healed, and no write within %s, but after %s: %s", writeWithin, took(), why)
	}
	if !await(levelWithin, w.level) {
		w.violate("liveness", "healed, and not all have caught up within %s: %s", levelWithin, w.indexes())
	}
	w.counts.checked("liveness", 3)
}

// indexes is where each node is.
func (w *world) indexes() (text string) {
	for _, m := range w.members {
		switch p := m.process; {
		case m.gone:
		case p == nil || !p.isUp():
			text += m.id + " down; "
		default:
			text += fmt.Sprintf("%s at %d; ", m.id, p.node.Machine().Applied())
		}
	}
	return text
}

// judge looks at the whole run, once the clients have stopped.
func (w *world) judge() {
	w.judgeStates()
	w.judgeLogs()
	w.judgeLinks()
	w.judgeCounts()
}

// rules are what the judges need to know. The nodes' clocks were turned by up to
// an hour, forth and back.
func (w *world) rules() oracle.Rules {
	const turned = 2 * time.Hour
	return oracle.Rules{
		Quarantine: fsm.Quarantine - turned, Kept: fsm.IdempotencyKept - turned,
		IsKey: func(s string) bool {
			return len(s) == w.plan.space.Length && strings.Trim(s, w.plan.space.Alphabet) == ""
		},
	}
}

// judgeHistory looks at what the clients saw and at what was committed. It needs
// no cluster, and no virtual time. It returns the history with what the log knows.
func (w *world) judgeHistory() *oracle.History {
	rules := w.rules()
	witnessed := w.judgeReplay(rules)
	for _, judge := range []struct {
		name    string
		history *oracle.History
		see     func(*oracle.History, oracle.Rules) []oracle.Violation
	}{
		{"distinct keys", w.history, oracle.DistinctKeys},
		{"idempotent", w.history, oracle.Idempotent},
		{"linearizable", witnessed, oracle.Linearizable},
		{"local reads", w.history, oracle.LocalReads},
	} {
		w.accept(judge.see(judge.history, rules))
		w.counts.checked(judge.name, len(w.history.Ops()))
	}
	w.counts.sum(w.history.Ops())
	return witnessed
}

// judgeReplay has the committed log replayed by the reference, and compares it
// with what the clients and the nodes said. It returns the history with what the
// log knows of requests of unknown outcome.
func (w *world) judgeReplay(rules oracle.Rules) *oracle.History {
	log, err := w.archive.commands(w.ended.index)
	if err != nil {
		w.violate("replay", "%v", err)
		return w.history
	}
	replayed, found := oracle.Replay(log, nil)
	w.accept(found)
	w.counts.checked("replay", len(log))
	if len(found) > 0 {
		return w.history
	}
	if replayed.Digest != w.ended.digest {
		w.violate("replay", "the replayed log ends at %d with the digest %x, the nodes are at %d with %x",
			replayed.Index, replayed.Digest, w.ended.index, w.ended.digest)
	}
	w.accept(replayed.Check(w.history, rules))
	return replayed.Resolve(w.history, rules)
}

func (w *world) accept(found []oracle.Violation) {
	for _, v := range found {
		w.violations = append(w.violations, violation{v.Oracle, v.Text})
	}
}

// judgeLinks reads every link from every node.
func (w *world) judgeLinks() {
	processes := map[string]*process{}
	var nodes []string
	for _, p := range w.alive() {
		processes[p.member.id] = p
		nodes = append(nodes, p.member.id)
	}
	w.accept(oracle.Sweep(w.history, w.rules(), func(node, key string) (string, bool, error) {
		w.counts.checked("sweep", 1)
		op := oracle.Op{Kind: oracle.Redirect, Key: key}
		a := w.send(processes[node], encode(op, patience))
		decode(&op, a)
		switch {
		case op.Outcome == oracle.OK:
			return op.GotURL, true, nil
		case op.Code == "link_not_found":
			return "", false, nil
		}
		return "", false, fmt.Errorf("%d %s", op.Status, op.Code)
	}, nodes))
}

// judgeStates: all nodes hold the same state at the same index.
func (w *world) judgeStates() {
	same := func() bool {
		indexes := map[uint64]bool{}
		for _, p := range w.alive() {
			indexes[p.node.Machine().Applied()] = true
		}
		return len(indexes) == 1
	}
	if !await(levelWithin, same) {
		w.violate("liveness", "no client works, and the nodes do not come to one index: %s", w.indexes())
		return
	}
	var first string
	var want [32]byte
	for _, p := range w.alive() {
		_, digest, err := p.node.Machine().Digest()
		switch {
		case err != nil:
			w.violate("equal states", "%s: %v", p.member.id, err)
		case first == "":
			first, want = p.member.id, digest
			w.ended.index, w.ended.digest = p.node.Machine().Applied(), digest
		case digest != want:
			w.violate("equal states", "%s and %s differ: %x, %x", first, p.member.id, want, digest)
		}
		w.counts.checked("equal states", 1)
	}
}

// judgeLogs: what is committed is the same on all nodes. Some entries may be only
// on those that were removed.
func (w *world) judgeLogs() {
	for _, m := range w.members {
		w.archive.drop(m.disk.log.upTo(math.MaxInt64))
	}
	for _, p := range w.alive() {
		entries := p.disk.log.upTo(p.node.Machine().Applied())
		w.archive.add(entries)
		w.counts.checked("equal logs", len(entries))
	}
	for _, text := range w.archive.disagreements() {
		w.violate("equal logs", "%s", text)
	}
}

// record keeps a request for the judges, and judges at once what needs to be
// known of the moment.
func (w *world) record(op oracle.Op, p *process, timeout time.Duration) {
	w.history.Record(op)
	w.counts.op(op)
	if w.plan.profile.calm && timeout == patience && op.Status/100 == 5 && op.Code != "keyspace_exhausted" {
		w.violate("availability", "%s of client %d through %s, which nothing has happened to, from %s: %d %s",
			op.Kind, op.Client, op.Node, op.Call.Round(time.Millisecond), op.Status, op.Code)
	}
}

// judgeCounts: every key is in one of the two tables, and no more are lost than
// the leaders that died can have held (P7).
func (w *world) judgeCounts() {
	for _, p := range w.alive() {
		machine := p.node.Machine()
		w.accept(oracle.Conserved(machine, w.lossBound()))
		w.counts.checked("conservation", 1)
		if row, err := machine.Keyspace(""); err == nil {
			w.counts.lost(row.Lost, w.lossBound())
		}
	}
}

// lossBound is what the buffers could hold of all leaders that did not hand over.
func (w *world) lossBound() uint64 {
	if w.plan.profile.graceful {
		return 0
	}
	return uint64(w.archive.terms()) * bufferMax
}
