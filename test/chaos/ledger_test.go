package chaos

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// The oracles must catch what they are for: each of these histories breaks one
// promise, or none.
func TestLedger(t *testing.T) {
	for _, tt := range []struct {
		name    string
		history func(*ledger)
		want    string // oracle; "": all is well
	}{
		{"different keys", func(l *ledger) { l.issue("a", "k1", "k2"); l.issue("b", "k3") }, ""},
		{"a key given to two", func(l *ledger) { l.issue("a", "k1"); l.issue("b", "k2", "k1") }, oracleKeys},
		{"a key twice in one answer", func(l *ledger) { l.issue("a", "k1", "k1") }, oracleKeys},
		{"two links under one key", func(l *ledger) { l.add("k", "u1", "p"); l.add("k", "u2", "p") }, oracleLinks},
		{"a link where one is perhaps", func(l *ledger) { l.addUnclear("k", "u1"); l.add("k", "u2", "p") }, oracleLinks},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(newJudge(1))
			tt.history(l)
			found := l.found()
			if len(found) == 0 && tt.want != "" {
				t.Error("not caught")
			}
			for _, v := range found {
				if v.Oracle != tt.want {
					t.Errorf("%s: %s", v.Oracle, v.Text)
				}
			}
		})
	}
}

// A restore takes the links back, not the keys.
func TestRollBack(t *testing.T) {
	l := newLedger(newJudge(1))
	before := l.add("k1", "u1", "p")
	l.issue("a", "k2")
	then := l.snapshot()
	before.try("u2")
	before.settle(done, "p")
	after := l.add("k2", "u3", "p")
	l.rollBack(then)
	if got := before.possible(); len(got) != 1 || got[0] != "u1" || !before.usable() {
		t.Errorf("the link of before leads to %q", got)
	}
	if got := after.possible(); len(got) != 1 || got[0] != gone || after.usable() {
		t.Errorf("the link of after leads to %q", got)
	}
	if l.issue("b", "k2"); len(l.found()) != 1 {
		t.Error("a key that is given again after a restore is not caught")
	}
}

// What a reader may see of a link, change by change.
func TestLinkValues(t *testing.T) {
	l := &link{key: "k", values: []string{"u1"}, through: "p"}
	check := func(when string, since look, may, mayNot string) {
		t.Helper()
		for value := range strings.FieldsSeq(may) {
			if !l.fresh(since, strings.Trim(value, "-")) {
				t.Errorf("%s: %s should be possible", when, value)
			}
		}
		for value := range strings.FieldsSeq(mayNot) {
			if l.fresh(since, strings.Trim(value, "-")) {
				t.Errorf("%s: %s should not be possible", when, value)
			}
		}
	}
	before := l.look()
	check("created", before, "u1", "u2 -")
	l.try("u2")
	check("under way", before, "u1 u2", "-")
	l.settle(refused, "p")
	check("refused", before, "u1", "u2")
	l.try("u3")
	l.settle(done, "p")
	check("acknowledged, to a reader from before", before, "u1 u3", "u2")
	check("acknowledged, to a reader from after", l.look(), "u3", "u1 -")
	if !l.ever("u1") || !l.usable() {
		t.Error("an acknowledged link is not usable, or its past is forgotten")
	}
	l.try(gone)
	l.settle(unknown, "p")
	check("perhaps deleted", l.look(), "u3 -", "u1")
	if l.usable() {
		t.Error("a link with an unknown outcome is changed again")
	}
}

// Which errors a client must live with, and what they say of the outcome.
func TestOutcomes(t *testing.T) {
	unclear := fmt.Errorf("%w: %w", client.ErrOutcomeUnknown, errors.New("reset"))
	for _, tt := range []struct {
		err  error
		want outcome
		ok   bool
	}{
		{nil, done, true},
		{unclear, unknown, true},
		{&client.Error{Status: 504, Code: "outcome_unknown"}, unknown, true},
		{&client.Error{Status: 503, Code: "no_leader"}, refused, true},
		{fmt.Errorf("%w: refused", client.ErrUnreachable), refused, true},
		{&client.Error{Status: 409, Code: "alias_taken"}, refused, false},
		{&client.Error{Status: 500, Code: "internal"}, refused, false},
		{errors.New("the answer is not understood"), refused, false},
	} {
		if got := classify(tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
		if tt.err != nil && inTrouble(tt.err) != tt.ok {
			t.Errorf("%v: in trouble is not %v", tt.err, tt.ok)
		}
	}
}
