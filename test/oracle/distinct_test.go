package oracle

import "testing"

const hour = 3_600_000 // in milliseconds

func TestDistinctKeys(t *testing.T) {
	judge(t, DistinctKeys, []judgement{
		{"takes", "", []Op{take(0, 1, "r", "a", "b"), take(1, 2, "s", "c"), generated(2, 3, "d", "u"), alias(2, 3, "e", "u")}},
		{"unknown and refused takes", "", []Op{unknown(take(0, 1, "r", "a")), refused("busy", take(0, 1, "r", "a")), take(1, 2, "s", "a")}},
		{"a key of the same caller twice", "a was given twice", []Op{take(0, 1, "r", "a", "b", "a")}},
		{"a key of two takes", "b was given twice", []Op{take(0, 5, "r", "a", "b"), take(3, 9, "s", "b")}},
		{"much later, and of a link", "a was given twice", []Op{take(0, 1, "r", "a"), generated(90*hour, 90*hour+1, "a", "u")}},
		{"a link and a take", "a was given twice", []Op{generated(0, 1, "a", "u"), take(1, 2, "r", "a")}},
		{"an alias that was taken", "a was given twice", []Op{take(0, 1, "r", "a"), alias(1, 2, "a", "u")}},
		{"a taken key that becomes a link", "", []Op{take(0, 1, "r", "a"), taken(1, 2, "a", "u")}},
		{"an alias of two", "x was given twice", []Op{alias(0, 5, "x", "u"), alias(1, 5, "x", "v")}},
		{"a deleted alias again", "x was given twice", []Op{alias(0, 1, "x", "u"), remove(2, 3, "x"), alias(4, 5, "x", "v")}},

		{"replays", "", []Op{under("k", take(0, 1, "r", "a")), under("k", replayed(take(2, 3, "r", "a")))}},
		{"an unknown try and its replay", "", []Op{under("k", unknown(take(0, 1, "r", "a"))), under("k", replayed(take(2, 3, "r", "a")))}},
		{"the same key under two Idempotency-Keys", "a was given twice", []Op{under("k", take(0, 1, "r", "a")), under("l", take(2, 3, "r", "a"))}},
		{"an Idempotency-Key that was forgotten", "a was given twice", []Op{under("k", take(0, 1, "r", "a")), under("k", take(25*hour, 25*hour+1, "s", "a"))}},

		{"returned and rested", "", []Op{take(0, 1, "r", "a"), giveBack(2, 3, "r", "a"), take(25*hour+2, 25*hour+3, "s", "a")}},
		{"perhaps returned", "", []Op{take(0, 1, "r", "a"), unknown(giveBack(2, 3, "r", "a")), take(25*hour+2, 25*hour+3, "s", "a")}},
		{"returned, not rested", "a was given twice", []Op{take(0, 1, "r", "a"), giveBack(2, 3, "r", "a"), take(24*hour, 25*hour, "s", "a")}},
		{"the return was refused", "a was given twice", []Op{take(0, 1, "r", "a"), refused("busy", giveBack(2, 3, "r", "a")), take(26*hour, 26*hour+1, "s", "a")}},
		{"another key was returned", "b was given twice", []Op{take(0, 1, "r", "a", "b"), giveBack(2, 3, "r", "a"), take(26*hour, 26*hour+1, "s", "b")}},
		{"returned once, given three times", "a was given twice", []Op{take(0, 1, "r", "a"), giveBack(2, 3, "r", "a"), take(26*hour, 26*hour+1, "s", "a"), take(52*hour, 52*hour+1, "t", "a")}},
		{"returned by another receipt", "a was given twice", []Op{take(0, 1, "r", "a"), giveBack(2, 3, "q", "a"), take(26*hour, 26*hour+1, "s", "a")}},
		{"returned twice", "", []Op{take(0, 1, "r", "a"), giveBack(2, 3, "r", "a"), take(26*hour, 26*hour+1, "s", "a"), giveBack(26*hour+2, 26*hour+3, "s", "a"), take(52*hour, 52*hour+1, "t", "a")}},
		{"an alias after the rest", "", []Op{take(0, 1, "r", "a"), giveBack(2, 3, "r", "a"), alias(26*hour, 26*hour+1, "a", "u")}},

		{"fewer keys than asked for", "1 keys for", []Op{func() Op { op := take(0, 1, "r", "a"); op.Count = 2; return op }()}},
		{"a link without a key", "no key for", []Op{generated(0, 1, "", "u")}},
	})
}

func TestIdempotent(t *testing.T) {
	first := index(7, under("k", alias(0, 5, "x", "u")))
	again := index(7, under("k", replayed(alias(10, 15, "x", "u"))))
	judge(t, Idempotent, []judgement{
		{"one", "", []Op{first}},
		{"a replay", "", []Op{first, again}},
		{"tries at once", "", []Op{first, index(7, under("k", replayed(alias(1, 4, "x", "u"))))}},
		{"an unknown one before", "", []Op{unknown(under("k", alias(0, 5, "x", "u"))), again}},
		{"refused by the cluster's state before", "", []Op{refused("no_leader", under("k", alias(0, 5, "x", "u"))), index(7, under("k", alias(10, 15, "x", "u")))}},
		{"the same refusal", "", []Op{refused("alias_taken", first), replayed(refused("alias_taken", again))}},
		{"another request is refused", "", []Op{first, refused("idempotency_mismatch", under("k", alias(6, 7, "y", "u")))}},
		{"after it is forgotten", "", []Op{first, index(9, under("k", alias(25*hour, 25*hour+1, "y", "v")))}},

		{"done twice", "no replay", []Op{first, index(7, under("k", alias(10, 15, "x", "u")))}},
		{"done twice, at two indexes", "two log indexes", []Op{first, index(8, under("k", replayed(alias(10, 15, "x", "u"))))}},
		{"another key", "two answers", []Op{index(7, under("k", generated(0, 5, "a", "u"))), index(7, under("k", replayed(generated(6, 7, "b", "u"))))}},
		{"other keys", "two answers", []Op{index(7, under("k", take(0, 5, "r", "a"))), index(7, under("k", replayed(take(6, 7, "r", "b"))))}},
		{"another receipt", "two answers", []Op{index(7, under("k", take(0, 5, "r", "a"))), index(7, under("k", replayed(take(6, 7, "s", "a"))))}},
		{"a repeat is refused by its own effect", "two outcomes", []Op{first, refused("alias_taken", again)}},
		{"a refusal, then done", "two outcomes", []Op{refused("alias_taken", first), again}},
		{"two refusals", "two outcomes", []Op{refused("key_not_taken", under("k", taken(0, 1, "a", "u"))), refused("key_bound", replayed(under("k", taken(2, 3, "a", "u"))))}},
		{"another request is done", "two different requests", []Op{first, index(8, under("k", alias(6, 7, "y", "u")))}},
		{"a mismatch with nothing", "no other request", []Op{refused("idempotency_mismatch", first)}},
		{"a mismatch with a later one", "no other request", []Op{refused("idempotency_mismatch", under("k", alias(0, 5, "y", "u"))), again}},
		{"a replay of nothing", "a replay of nothing", []Op{replayed(first)}},
		{"a replay of what came later", "a replay of nothing", []Op{replayed(first), replayed(again)}},
		{"a replay without a key", "without an Idempotency-Key", []Op{replayed(alias(0, 1, "x", "u"))}},
	})
}
