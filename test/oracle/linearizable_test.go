package oracle

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

const noOrder = "no order"

func TestLinearizable(t *testing.T) {
	x := alias(0, 10, "x", "u")
	judge(t, Linearizable, []judgement{
		{"a link's life", "", []Op{missing(get(0, 1, "x", "")), alias(2, 3, "x", "u"), get(4, 5, "x", "u"), update(6, 7, "x", "v"), get(8, 9, "x", "v"), remove(10, 11, "x"), missing(get(12, 13, "x", ""))}},
		{"a key's life", "", []Op{take(0, 1, "r", "a", "b"), taken(2, 3, "a", "u"), get(4, 5, "a", "u"), refused("key_bound", taken(6, 7, "a", "v")), giveBack(8, 9, "r", "b"), refused("key_not_taken", taken(10, 11, "b", "u")), refused("not_returnable", giveBack(12, 13, "r", "b"))}},
		{"a generated key", "", []Op{generated(0, 1, "a", "u"), get(2, 3, "a", "u"), remove(4, 5, "a"), missing(remove(6, 7, "a")), missing(update(6, 7, "a", "v"))}},
		{"seen while it is created", "", []Op{x, get(1, 2, "x", "u"), get(3, 4, "x", "u")}},
		{"seen before it is created", noOrder, []Op{get(0, 1, "x", "u"), alias(2, 3, "x", "u")}},
		{"seen, then not", noOrder, []Op{x, get(1, 2, "x", "u"), missing(get(3, 4, "x", ""))}},
		{"acknowledged, not found", noOrder, []Op{x, missing(get(11, 12, "x", ""))}},
		{"acknowledged, not found by a redirect", noOrder, []Op{x, missing(redirect(11, 12, "x", ""))}},
		{"acknowledged, not found locally", noOrder, []Op{x, missing(local(get(11, 12, "x", "")))}},
		{"local reads may be old", "", []Op{x, update(11, 12, "x", "v"), local(get(13, 14, "x", "u")), redirect(15, 16, "x", "u")}},
		{"a stale read", noOrder, []Op{x, update(11, 12, "x", "v"), get(13, 14, "x", "u")}},
		{"a new value, then the old one", noOrder, []Op{x, update(11, 30, "x", "v"), get(13, 14, "x", "v"), get(15, 16, "x", "u")}},
		{"two updates at once, seen in two orders", noOrder, []Op{x, update(11, 30, "x", "v"), update(11, 30, "x", "w"), get(12, 13, "x", "v"), get(14, 15, "x", "w"), get(16, 17, "x", "v")}},
		{"two updates at once", "", []Op{x, update(11, 30, "x", "v"), update(11, 30, "x", "w"), get(12, 13, "x", "w"), get(14, 15, "x", "v")}},
		{"two updates at once, not in the order of the log", noOrder, []Op{x, index(9, update(11, 30, "x", "v")), index(8, update(11, 30, "x", "w")), get(12, 13, "x", "v"), get(14, 15, "x", "w")}},
		{"a refusal that comes too early in the log", noOrder, []Op{index(9, alias(0, 5, "x", "u")), index(8, refused("alias_taken", alias(0, 5, "x", "v")))}},
		{"two changes in one entry of the log", "", []Op{index(8, alias(0, 5, "x", "u")), index(8, refused("alias_taken", alias(0, 5, "x", "v"))), index(8, update(0, 5, "x", "w"))}},
		{"another's bytes", noOrder, []Op{x, get(11, 12, "x", "u/")}},
		{"updated after it was deleted", noOrder, []Op{x, remove(11, 12, "x"), update(13, 14, "x", "v")}},
		{"deleted twice", noOrder, []Op{x, remove(11, 12, "x"), remove(13, 14, "x")}},
		{"found after it was deleted", noOrder, []Op{x, remove(11, 12, "x"), get(13, 14, "x", "u")}},
		{"created twice", noOrder, []Op{x, alias(11, 12, "x", "v")}},
		{"created after it was deleted", noOrder, []Op{x, remove(11, 12, "x"), alias(13, 14, "x", "v")}},

		{"alias_taken of nobody's", noOrder, []Op{refused("alias_taken", alias(0, 1, "x", "u")), alias(2, 3, "x", "v")}},
		{"alias_taken by the other of two", "", []Op{refused("alias_taken", alias(0, 5, "x", "u")), alias(2, 3, "x", "v")}},
		{"alias_taken of a key in a buffer", "", []Op{refused("alias_taken", alias(0, 1, "aB3xZ9", "u")), take(2, 3, "r", "aB3xZ9")}},
		{"an alias that somebody holds", noOrder, []Op{take(0, 1, "r", "aB3xZ9"), alias(2, 3, "aB3xZ9", "u")}},
		{"an alias handed out", noOrder, []Op{alias(0, 1, "aB3xZ9", "u"), take(2, 3, "r", "aB3xZ9")}},
		{"an alias after the return", "", []Op{take(0, 1, "r", "aB3xZ9"), giveBack(2, 3, "r", "aB3xZ9"), refused("alias_taken", alias(4, 5, "aB3xZ9", "u")), alias(6, 7, "aB3xZ9", "u")}},

		{"bound without being taken", noOrder, []Op{taken(0, 1, "a", "u")}},
		{"bound after the return", noOrder, []Op{take(0, 1, "r", "a"), giveBack(2, 3, "r", "a"), taken(4, 5, "a", "u")}},
		{"bound twice", noOrder, []Op{take(0, 1, "r", "a"), taken(2, 3, "a", "u"), taken(4, 5, "a", "v")}},
		{"key_not_taken of a taken one", noOrder, []Op{take(0, 1, "r", "a"), refused("key_not_taken", taken(2, 3, "a", "u"))}},
		{"key_not_taken of a bound one", noOrder, []Op{generated(0, 1, "a", "u"), refused("key_not_taken", taken(2, 3, "a", "u"))}},
		{"key_not_taken of an alias", "", []Op{alias(0, 1, "a", "u"), refused("key_not_taken", taken(2, 3, "a", "u"))}},
		{"key_bound without a link", noOrder, []Op{take(0, 1, "r", "a"), refused("key_bound", taken(2, 3, "a", "u"))}},
		{"key_bound after deletion", "", []Op{generated(0, 1, "a", "u"), remove(2, 3, "a"), refused("key_bound", taken(4, 5, "a", "u"))}},
		{"returned while bound", noOrder, []Op{take(0, 1, "r", "a"), taken(2, 3, "a", "u"), giveBack(4, 5, "r", "a")}},
		{"returned twice", noOrder, []Op{take(0, 1, "r", "a", "b"), giveBack(4, 5, "r", "a", "b"), giveBack(6, 7, "r", "b")}},
		{"returned by another receipt", noOrder, []Op{take(0, 1, "r", "a"), giveBack(4, 5, "s", "a")}},
		{"returned by the receipt of an earlier lease", noOrder, []Op{take(0, 1, "r", "a"), giveBack(4, 5, "r", "a"), take(6, 7, "s", "a"), giveBack(8, 9, "r", "a")}},
		{"not_returnable by the receipt of an earlier lease", "", []Op{take(0, 1, "r", "a"), giveBack(4, 5, "r", "a"), take(6, 7, "s", "a"), refused("not_returnable", giveBack(8, 9, "r", "a"))}},
		{"not_returnable without a reason", noOrder, []Op{take(0, 1, "r", "a"), refused("not_returnable", giveBack(2, 3, "r", "a"))}},
		{"not_returnable for another key", "", []Op{take(0, 1, "r", "a", "b"), giveBack(2, 3, "r", "b"), refused("not_returnable", giveBack(4, 5, "r", "a", "b")), taken(6, 7, "a", "u")}},
		{"link_not_found of an acknowledged link", noOrder, []Op{x, missing(update(11, 12, "x", "v"))}},
	})
}

func TestLinearizableOutcomes(t *testing.T) {
	x := alias(0, 10, "x", "u")
	lost := unknown(update(11, 12, "x", "v"))
	judge(t, Linearizable, []judgement{
		{"unknown, it happened", "", []Op{x, lost, get(13, 14, "x", "v")}},
		{"unknown, it did not happen", "", []Op{x, lost, get(13, 14, "x", "u")}},
		{"unknown, it happens later", "", []Op{x, lost, get(13, 14, "x", "u"), get(900, 910, "x", "v")}},
		{"unknown, it happens twice", noOrder, []Op{x, lost, get(13, 14, "x", "v"), update(15, 16, "x", "w"), get(17, 18, "x", "v")}},
		{"unknown, it happened before it was asked for", noOrder, []Op{x, get(10, 10, "x", "v"), lost}},
		{"unknown, it happens and is undone", noOrder, []Op{x, lost, get(13, 14, "x", "v"), get(15, 16, "x", "u")}},
		{"an unknown deletion", "", []Op{x, unknown(remove(11, 12, "x")), get(13, 14, "x", "u"), missing(get(15, 16, "x", ""))}},
		{"an unknown deletion, back again", noOrder, []Op{x, unknown(remove(11, 12, "x")), missing(get(13, 14, "x", "")), get(15, 16, "x", "u")}},
		{"an unknown creation", "", []Op{unknown(x), refused("alias_taken", alias(11, 12, "x", "v")), get(13, 14, "x", "u")}},
		{"an unknown creation that lost", "", []Op{unknown(x), alias(11, 12, "x", "v"), get(13, 14, "x", "v")}},
		{"both", noOrder, []Op{unknown(x), alias(11, 12, "x", "v"), get(13, 14, "x", "v"), get(15, 16, "x", "u")}},
		{"an unknown return", "", []Op{take(0, 1, "r", "a", "b"), unknown(giveBack(2, 3, "r", "a", "b")), taken(4, 5, "a", "u"), refused("key_not_taken", taken(6, 7, "b", "u"))}},

		{"refused, and seen", noOrder, []Op{x, refused("no_leader", update(11, 12, "x", "v")), get(13, 14, "x", "v")}},
		{"a refused creation, and seen", noOrder, []Op{refused("busy", x), get(13, 14, "x", "u")}},
		{"a refused deletion, and seen", noOrder, []Op{x, refused("stopped", remove(11, 12, "x")), missing(get(13, 14, "x", ""))}},
		{"a read without an answer", "", []Op{x, unknown(get(11, 12, "x", "")), refused("no_leader", get(11, 12, "x", ""))}},

		{"a repeat whose first try did it", "", []Op{under("k", unknown(x)), get(11, 12, "x", "u"), replayed(under("k", alias(13, 14, "x", "u")))}},
		{"a repeat that did it", noOrder, []Op{under("k", unknown(x)), get(11, 12, "x", "u"), under("k", alias(13, 14, "x", "u"))}},
		{"a repeat has no second effect", noOrder, []Op{x, under("k", update(11, 12, "x", "v")), update(13, 14, "x", "w"), replayed(under("k", update(15, 16, "x", "v"))), get(17, 18, "x", "v")}},
		{"nor undoes what came between", "", []Op{x, under("k", update(11, 12, "x", "v")), update(13, 14, "x", "w"), replayed(under("k", update(15, 16, "x", "v"))), get(17, 18, "x", "w")}},
	})
}

func TestLinearizableRestores(t *testing.T) {
	x, f := alias(0, 10, "x", "u"), backup(11, 12, "f")
	key := "aB3xZ9"
	judge(t, Linearizable, []judgement{
		{"updated since", "", []Op{x, f, update(13, 14, "x", "v"), restore(15, 16, "f"), get(17, 18, "x", "u")}},
		{"updated since, and not restored", noOrder, []Op{x, f, update(13, 14, "x", "v"), restore(15, 16, "f"), get(17, 18, "x", "v")}},
		{"deleted since", "", []Op{x, f, remove(13, 14, "x"), missing(get(14, 14, "x", "")), restore(15, 16, "f"), get(17, 18, "x", "u"), remove(19, 20, "x")}},
		{"deleted before", noOrder, []Op{x, remove(10, 10, "x"), f, restore(15, 16, "f"), get(17, 18, "x", "u")}},
		{"created since", "", []Op{f, alias(13, 14, "x", "u"), restore(15, 16, "f"), missing(get(17, 18, "x", "")), refused("alias_taken", alias(19, 20, "x", "v"))}},
		{"created since, and still there", noOrder, []Op{f, alias(13, 14, "x", "u"), restore(15, 16, "f"), get(17, 18, "x", "u")}},
		{"created since, and bound again", noOrder, []Op{f, alias(13, 14, "x", "u"), restore(15, 16, "f"), alias(17, 18, "x", "v")}},
		{"created after", "", []Op{f, restore(15, 16, "f"), alias(17, 18, "x", "v"), get(19, 20, "x", "v")}},
		{"taken before, bound after", noOrder, []Op{take(0, 1, "r", key), f, restore(15, 16, "f"), taken(17, 18, key, "u")}},
		{"taken since, bound after", noOrder, []Op{f, take(13, 14, "r", key), restore(15, 16, "f"), taken(17, 18, key, "u")}},
		{"taken since, returned after", noOrder, []Op{f, take(13, 14, "r", key), restore(15, 16, "f"), giveBack(17, 18, "r", key)}},
		{"taken since, claimed after", noOrder, []Op{f, take(13, 14, "r", key), restore(15, 16, "f"), alias(17, 18, key, "u")}},
		{"void", "", []Op{take(0, 1, "r", key), f, restore(15, 16, "f"), refused("key_not_taken", taken(17, 18, key, "u")), refused("not_returnable", giveBack(19, 20, "r", key)), refused("alias_taken", alias(21, 22, key, "u"))}},
		{"unknown, done", "", []Op{x, f, update(13, 14, "x", "v"), unknown(restore(15, 16, "f")), get(17, 18, "x", "v"), get(900, 901, "x", "u")}},
		{"unknown, done and undone", noOrder, []Op{x, f, update(13, 14, "x", "v"), unknown(restore(15, 16, "f")), get(17, 18, "x", "u"), get(900, 901, "x", "v")}},
		{"refused, and done", noOrder, []Op{x, f, update(13, 14, "x", "v"), refused("refused", restore(15, 16, "f")), get(17, 18, "x", "u")}},
		{"of two backups", "", []Op{x, f, update(13, 14, "x", "v"), backup(15, 16, "g"), update(17, 18, "x", "w"), restore(19, 20, "f"), get(21, 22, "x", "u"), restore(23, 24, "g"), get(25, 26, "x", "v")}},
		{"the other of two backups", noOrder, []Op{x, f, update(13, 14, "x", "v"), backup(15, 16, "g"), restore(19, 20, "f"), get(21, 22, "x", "v")}},
		{"the backup's index includes the change", "", []Op{x, index(7, backup(11, 30, "f")), index(7, update(11, 30, "x", "v")), index(8, update(11, 30, "x", "w")), index(9, restore(31, 32, "f")), get(33, 34, "x", "v")}},
		{"the backup's index excludes the change", noOrder, []Op{x, index(7, backup(11, 30, "f")), index(7, update(11, 30, "x", "v")), index(8, update(11, 30, "x", "w")), index(9, restore(31, 32, "f")), get(33, 34, "x", "w")}},
		{"the backup lacks a change of its index", noOrder, []Op{x, index(7, backup(11, 30, "f")), index(7, update(11, 30, "x", "v")), index(9, restore(31, 32, "f")), get(33, 34, "x", "u")}},
		{"a link that was restored is on no lease", "", []Op{generated(0, 1, key, "u"), f, restore(15, 16, "f"), refused("key_not_taken", taken(17, 18, key, "v"))}},
		{"a repeat after it", "", []Op{f, under("k", alias(13, 14, "x", "u")), restore(15, 16, "f"), replayed(under("k", alias(17, 18, "x", "u"))), missing(get(19, 20, "x", ""))}},
	})
}

// At one moment of virtual time, only the ticks tell what came first.
func TestTicks(t *testing.T) {
	var h History
	for _, op := range []Op{alias(5, 5, "x", "u"), update(5, 5, "x", "v"), get(5, 5, "x", "u")} {
		op.Began = h.Tick()
		op.Ended = h.Tick()
		h.Record(op)
	}
	expect(t, Linearizable(&h, rules), noOrder)
	expect(t, Linearizable(history(alias(5, 5, "x", "u"), update(5, 5, "x", "v"), get(5, 5, "x", "u")), rules), "")
}

// A search without end is not a pass.
func TestUndecided(t *testing.T) {
	h := history(alias(0, 1, "x", "u"))
	for i := range 40 {
		h.Record(unknown(update(2, 3, "x", fmt.Sprint("v", i))))
		h.Record(get(4, 1000, "x", fmt.Sprint("v", i)))
	}
	h.Record(get(1001, 1002, "x", "nowhere"))
	short := rules
	short.Budget = ms
	expect(t, Linearizable(h, short), "undecided")
}

func TestVisualize(t *testing.T) {
	h := history(alias(0, 1, "few", "u"), missing(get(2, 3, "few-refused", "")), missing(get(2, 3, "few-refused", "")), missing(get(2, 3, "few-refused", "")), alias(0, 1, "most", "u"), get(2, 3, "most", "https://seen.example"), take(0, 1, "r", "only-taken"))
	var page bytes.Buffer
	if err := Visualize(h, rules, "", &page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<html", "https://seen.example", "bound to u"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if err := Visualize(h, rules, "only-taken", &page); err == nil {
		t.Error("a page about nothing")
	}
}
