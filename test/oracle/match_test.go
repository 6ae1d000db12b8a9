package oracle

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// The log of these tests, from index 4 on; positions 0 to 999 are the leader's.
func loggedRun() *raftLog {
	l := newLog()
	sealed, _ := receipt(0, 10)
	first := createOf("x", "u")
	first.Request = &pb.RequestID{Session: 1, Seq: 1}
	repeat := proto.CloneOf(first)
	repeat.Request.Answered = 1
	l.add(first, repeat)                                                                      // 4
	l.add(l.generatedOf(100, "g"))                                                            // 5
	l.add(takenOf(l.key(0), "t"))                                                             // 6
	l.add(updateOf("x", "v"))                                                                 // 7
	l.add(returnOf(sealed, l.key(3), l.key(4)))                                               // 8
	l.add(idempotentOf("k", createOf("y", "u")), idempotentOf("k", createOf("y", "u")))       // 9: with its replay
	l.add(first, idempotentOf("k", createOf("y", "u")), createOf("x", "no"), deleteOf("nil")) // 10: repeats and refusals
	l.add(deleteOf("x"))                                                                      // 11
	return l
}

func TestCheck(t *testing.T) {
	l := loggedRun()
	state := mustReplay(t, l)
	_, text := receipt(0, 10)
	k0, k3, k4, k100 := l.key(0), l.key(3), l.key(4), l.key(100)
	run := func(change func(ops map[string]*Op)) []Op {
		ops := map[string]*Op{}
		for name, op := range map[string]Op{
			"take": take(0, 1, text, k0, k3, k4), "x": index(4, alias(2, 3, "x", "u")), "generated": index(5, generated(4, 5, k100, "g")),
			"taken": index(6, taken(6, 7, k0, "t")), "update": index(7, update(8, 9, "x", "v")), "return": index(8, giveBack(10, 11, text, k3, k4)),
			"y": index(9, under("k", alias(12, 13, "y", "u"))), "again": index(9, under("k", replayed(alias(14, 15, "y", "u")))),
			"taken x": refused("alias_taken", alias(14, 15, "x", "no")), "nil": missing(remove(14, 15, "nil")), "delete": index(11, remove(16, 17, "x")),
		} {
			ops[name] = &op
		}
		change(ops)
		var all []Op
		for _, op := range ops {
			all = append(all, *op)
		}
		return all
	}
	for name, c := range map[string]struct {
		want   string
		change func(ops map[string]*Op)
	}{
		"as it was":                            {"", func(map[string]*Op) {}},
		"nobody knows":                         {"", func(ops map[string]*Op) { lose(ops, "x", "generated", "taken", "update", "return", "delete") }},
		"nobody knows of those that were not":  {"", func(ops map[string]*Op) { lose(ops, "taken x", "nil"); put(ops, unknown(update(8, 9, "x", "w"))) }},
		"at the same time, in the other order": {"", func(ops map[string]*Op) { ops["update"].Call = 1 * ms }},
		"told with no index":                   {"", func(ops map[string]*Op) { ops["x"].Index, ops["generated"].Index, ops["update"].Index = 0, 0, 0 }},

		"a link that is not in the log":      {"acknowledged, but not", func(ops map[string]*Op) { put(ops, index(12, alias(18, 19, "z", "u"))) }},
		"another index":                      {"acknowledged, but not", func(ops map[string]*Op) { ops["x"].Index = 5 }},
		"another URL":                        {"acknowledged, but not", func(ops map[string]*Op) { ops["update"].URL = "w" }},
		"another key":                        {"acknowledged, but not", func(ops map[string]*Op) { ops["generated"].GotKey = l.key(101) }},
		"another URL in the answer":          {"acknowledged, but not", func(ops map[string]*Op) { ops["x"].GotURL = "U" }},
		"one effect for two":                 {"there for another request", func(ops map[string]*Op) { put(ops, index(4, alias(2, 3, "x", "u"))) }},
		"one effect for two, with no index":  {"there for another request", func(ops map[string]*Op) { ops["x"].Index = 0; put(ops, alias(2, 3, "x", "u")) }},
		"a replay is no effect of its own":   {"acknowledged, but not", func(ops map[string]*Op) { lose(ops, "again"); ops["y"].Index = 10 }},
		"refused, and done":                  {"told otherwise", func(ops map[string]*Op) { *ops["delete"] = refused("busy", *ops["delete"]) }},
		"not found, and done":                {"told otherwise", func(ops map[string]*Op) { *ops["update"] = missing(*ops["update"]) }},
		"nobody asked":                       {"nobody asked", func(ops map[string]*Op) { delete(ops, "return") }},
		"asked for under another key":        {"nobody asked", func(ops map[string]*Op) { ops["y"].Idempotency, ops["again"].Idempotency = "l", "l" }},
		"a key that was never leased":        {"was never leased", func(ops map[string]*Op) { ops["take"].GotKeys[0] = l.key(1000) }},
		"no key at all":                      {"is no key", func(ops map[string]*Op) { ops["take"].GotKeys[0] = "no" }},
		"the log was earlier than the times": {"later in the log", func(ops map[string]*Op) { ops["delete"].Call, ops["delete"].Return = 6*ms, 7*ms }},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, state.Check(history(run(c.change)...), rules), c.want)
		})
	}
}

// lose makes requests of unknown outcome.
func lose(ops map[string]*Op, names ...string) {
	for _, name := range names {
		*ops[name] = unknown(*ops[name])
		ops[name].Index = 0
	}
}

func put(ops map[string]*Op, op Op) { ops["more"] = &op }

// A key that a client holds must stay in used_keys.
func TestCheckReleased(t *testing.T) {
	l := newLog()
	l.add(releaseOf(10, 990))
	r := mustReplay(t, l)
	expect(t, r.Check(history(take(0, 1, "r", l.key(9))), rules), "")
	expect(t, r.Check(history(take(0, 1, "r", l.key(10))), rules), "is not in used_keys")
}

// A Take under an Idempotency-Key is in the log by itself.
func TestCheckTakes(t *testing.T) {
	l := newLog()
	direct := func(key string, n uint64) *pb.Command {
		return idempotentOf(key, &pb.Command{Op: &pb.Command_Lease{Lease: &pb.Lease{Count: n, Direct: true}}})
	}
	l.add(direct("k", 2))         // 4, of which one key is blocked
	l.add(direct("k\x00"+"1", 1)) // 5, in its place
	l.add(direct("lost", 1))      // 6
	r := mustReplay(t, l)
	whole := under("k", index(5, take(0, 1, "r", l.key(1000), l.key(1002))))
	lost := under("lost", unknown(take(2, 3, "", "")))
	expect(t, r.Check(history(whole, lost), rules), "")
	expect(t, r.Check(history(whole), rules), "nobody asked")
	whole.Index = 7
	expect(t, r.Check(history(whole, lost), rules), "acknowledged, but not")
}

func TestResolve(t *testing.T) {
	l := loggedRun()
	state := mustReplay(t, l)
	_, text := receipt(0, 10)
	before := []Op{take(0, 1, text, l.key(0), l.key(3), l.key(4)), index(4, alias(2, 3, "x", "u")), index(6, taken(6, 7, l.key(0), "t")),
		index(8, giveBack(10, 11, text, l.key(3), l.key(4))), index(9, under("k", alias(12, 13, "y", "u"))), index(11, remove(16, 17, "x"))}
	for name, c := range map[string]struct {
		want string
		ops  []Op
	}{
		"done, before its neighbours": {"", []Op{unknown(update(8, 9, "x", "v")), get(12, 13, "x", "v")}},
		"done, and not seen":          {noOrder, []Op{unknown(update(8, 9, "x", "v")), get(12, 13, "x", "u")}},
		"done, and seen too early":    {noOrder, []Op{unknown(update(1, 9, "x", "v")), get(4, 5, "x", "v"), get(5, 5, "x", "v")}},
		"not done":                    {"", []Op{unknown(update(8, 9, "x", "v")), unknown(update(8, 9, "x", "w")), get(12, 13, "x", "v")}},
		"not done, and seen":          {noOrder, []Op{unknown(update(8, 9, "x", "v")), unknown(update(8, 9, "x", "w")), get(12, 13, "x", "w")}},
		"a generated key comes to light": {noOrder, []Op{unknown(update(8, 9, "x", "v")), unknown(generated(4, 5, "", "g")),
			missing(get(12, 13, l.key(100), ""))}},
		"the second try of two": {"", []Op{under("q", unknown(update(8, 9, "x", "q"))), under("q", unknown(update(9, 10, "x", "q"))), get(12, 13, "x", "v"), unknown(update(8, 9, "x", "v"))}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, Linearizable(state.Resolve(history(append(c.ops, before...)...), rules), rules), c.want)
		})
	}
}

// A restore is in the log once its backup is staged there.
func TestCheckRestore(t *testing.T) {
	l := newLog()
	l.add(createOf("x", "u")) // 4
	_, machine := newMachine(t)
	_, err := machine.Apply(l.entries)
	check(t, err)
	var file bytes.Buffer
	_, err = machine.WriteBackup(&file, 0)
	check(t, err)
	l.add(updateOf("x", "v"))                                                                                            // 5
	l.add(&pb.Command{Op: &pb.Command_StageBackup{StageBackup: &pb.StageBackup{Restore: "r", Data: file.Bytes()}}})      // 6
	l.add(&pb.Command{Op: &pb.Command_RestoreBackup{RestoreBackup: &pb.RestoreBackup{Restore: "r", Parts: 1, Term: 2}}}) // 7
	state := mustReplay(t, l)
	ops := []Op{take(0, 1, "r", l.key(0)), index(4, alias(0, 1, "x", "u")), index(4, backup(2, 3, "f")), index(5, update(4, 5, "x", "v")), get(8, 9, "x", "u")}
	expect(t, state.Check(history(append(ops, index(7, restore(6, 7, "f")))...), rules), "")
	expect(t, state.Check(history(append(ops, refused("refused", restore(6, 7, "f")))...), rules), "told otherwise")
	expect(t, state.Check(history(ops...), rules), "nobody asked")
	old := history(append(ops, index(7, restore(6, 7, "f")), index(4, backup(6, 7, "old")))...)
	expect(t, state.Check(old, rules), "later in the log")
	lost := history(append(ops, unknown(restore(6, 7, "f")))...)
	expect(t, state.Check(lost, rules), "")
	expect(t, Linearizable(state.Resolve(lost, rules), rules), "")
	lost.Record(get(10, 11, "x", "v"))
	expect(t, Linearizable(state.Resolve(lost, rules), rules), noOrder)
}

// Forty updates of unknown outcome are a search without end, unless the log knows.
func TestResolveMakesItDecidable(t *testing.T) {
	l, h := newLog(), history(index(4, alias(0, 1, "x", "u")))
	l.add(createOf("x", "u"))
	for i := range 40 {
		url := string(rune('A' + i))
		h.Record(unknown(update(2, 3, "x", url)))
		if i%2 == 0 {
			l.add(updateOf("x", url))
			h.Record(get(10+2*i, 11+2*i, "x", url))
		}
	}
	h.Record(get(1001, 1002, "x", "A"))
	short := rules
	short.Budget = 50 * ms
	expect(t, Linearizable(h, short), "undecided")
	expect(t, Linearizable(mustReplay(t, l).Resolve(h, rules), rules), noOrder)
}

// A replay that began with a state cannot tell what happened before it.
func TestCheckFromTheMiddle(t *testing.T) {
	l := loggedRun()
	var stream bytes.Buffer
	stateAt(t, l, 6, &stream)
	r, found := Replay(l.entries, &stream)
	expect(t, found, "")
	tail := []Op{index(7, update(8, 9, "x", "v")), unknown(giveBack(10, 11, func() string { _, text := receipt(0, 10); return text }(), l.key(3), l.key(4))),
		index(9, under("k", alias(12, 13, "y", "u"))), index(11, remove(16, 17, "x"))}
	earlier := []Op{index(4, alias(2, 3, "x", "u")), unknown(generated(4, 5, "", "g")), unknown(taken(6, 7, l.key(0), "t")), take(0, 1, "r", l.key(0))}
	h := history(append(earlier, tail...)...)
	expect(t, r.Check(h, rules), "")
	left := 0
	for _, op := range r.Resolve(h, rules).Ops() {
		if op.Outcome == Unknown {
			left++
		}
	}
	if left != 2 {
		t.Errorf("%d of unknown outcome are left, want the two that may have happened before", left)
	}
	expect(t, r.Check(history(append(tail, index(12, alias(18, 19, "z", "u")))...), rules), "acknowledged, but not")
}
