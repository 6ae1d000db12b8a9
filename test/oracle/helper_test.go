package oracle

import (
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

var rules = Rules{Quarantine: 25 * time.Hour, Kept: 24 * time.Hour, Budget: 10 * time.Second}

// Short forms of requests of client 0 at node n1, under way from .. to milliseconds.

func req(from, to int, op Op) Op {
	op.Node, op.Call, op.Return = "n1", time.Duration(from)*ms, time.Duration(to)*ms
	return op
}

func take(from, to int, receipt string, keys ...string) Op {
	return req(from, to, Op{Kind: Take, Count: len(keys), GotKeys: keys, GotReceipt: receipt})
}

func alias(from, to int, name, url string) Op {
	return req(from, to, Op{Kind: Create, Alias: name, URL: url, GotKey: name, GotURL: url})
}

func taken(from, to int, key, url string) Op {
	return req(from, to, Op{Kind: Create, TakenKey: key, URL: url, GotKey: key, GotURL: url})
}

func generated(from, to int, key, url string) Op {
	return req(from, to, Op{Kind: Create, URL: url, GotKey: key, GotURL: url})
}

func get(from, to int, key, url string) Op {
	return req(from, to, Op{Kind: Get, Key: key, GotURL: url})
}

func update(from, to int, key, url string) Op {
	return req(from, to, Op{Kind: Update, Key: key, URL: url, GotURL: url})
}

func remove(from, to int, key string) Op { return req(from, to, Op{Kind: Delete, Key: key}) }

func giveBack(from, to int, receipt string, keys ...string) Op {
	return req(from, to, Op{Kind: Return, Receipt: receipt, Keys: keys})
}

func redirect(from, to int, key, url string) Op {
	return req(from, to, Op{Kind: Redirect, Key: key, GotURL: url})
}

func backup(from, to int, file string) Op { return req(from, to, Op{Kind: Backup, File: file}) }

func restore(from, to int, file string) Op { return req(from, to, Op{Kind: Restore, File: file}) }

// And what becomes of them.

func unknown(op Op) Op {
	op.Outcome, op.Code, op.GotKey, op.GotURL, op.GotKeys, op.GotReceipt = Unknown, "outcome_unknown", "", "", nil, ""
	return op
}

func refused(code string, op Op) Op {
	op = unknown(op)
	op.Outcome, op.Code = Refused, code
	return op
}

func missing(op Op) Op { return refused("link_not_found", op) }

func local(op Op) Op { op.Level = LevelLocal; return op }

func under(key string, op Op) Op { op.Idempotency = key; return op }

func replayed(op Op) Op { op.Replayed = true; return op }

func at(node string, client int, op Op) Op { op.Node, op.Client = node, client; return op }

func index(i uint64, op Op) Op { op.Index = i; return op }

func history(ops ...Op) *History {
	h := &History{}
	for _, op := range ops {
		h.Record(op)
	}
	return h
}

// judgement is a history with what its judge must say: "" for nothing.
type judgement struct {
	name string
	want string
	ops  []Op
}

func judge(t *testing.T, oracle func(*History, Rules) []Violation, cases []judgement) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Helper()
			expect(t, oracle(history(c.ops...), rules), c.want)
		})
	}
}

func expect(t *testing.T, found []Violation, want string) {
	t.Helper()
	if want == "" {
		for _, v := range found {
			t.Errorf("%s: %s", v.Oracle, v.Text)
		}
		return
	}
	for _, v := range found {
		if strings.Contains(v.Text, want) {
			return
		}
	}
	t.Errorf("not seen: %q in %v", want, found)
}
