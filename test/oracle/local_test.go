package oracle

import (
	"errors"
	"testing"
)

func TestLocalReads(t *testing.T) {
	x := alias(0, 10, "x", "u")
	judge(t, LocalReads, []judgement{
		{"found", "", []Op{x, redirect(11, 12, "x", "u"), local(get(11, 12, "x", "u"))}},
		{"not yet created", "", []Op{missing(redirect(0, 5, "x", "")), x, missing(redirect(5, 10, "x", ""))}},
		{"acknowledged, not found", "not found", []Op{x, missing(at("n2", 1, redirect(11, 12, "x", "")))}},
		{"not found by name", "not found", []Op{take(0, 1, "r", "a"), taken(2, 3, "a", "u"), missing(redirect(11, 12, "a", ""))}},
		{"deleted", "", []Op{x, remove(11, 20, "x"), missing(redirect(11, 12, "x", ""))}},
		{"perhaps deleted", "", []Op{x, unknown(remove(11, 12, "x")), missing(redirect(900, 901, "x", ""))}},
		{"not found before it is deleted", "not found", []Op{x, missing(redirect(11, 12, "x", "")), remove(13, 14, "x")}},
		{"the deletion was refused", "not found", []Op{x, refused("busy", remove(11, 12, "x")), missing(redirect(13, 14, "x", ""))}},
		{"another node lags", "", []Op{x, update(11, 12, "x", "v"), at("n2", 0, redirect(13, 14, "x", "u")), remove(15, 16, "x"), at("n2", 0, redirect(17, 18, "x", "u"))}},
		{"a URL of nobody", "never had", []Op{x, redirect(11, 12, "x", "w")}},
		{"a URL of another link", "never had", []Op{x, alias(0, 1, "y", "v"), redirect(11, 12, "x", "v")}},
		{"a URL of the future", "never had", []Op{x, redirect(11, 12, "x", "v"), update(13, 14, "x", "v")}},
		{"a URL of a refused update", "never had", []Op{x, refused("no_leader", update(11, 12, "x", "v")), redirect(13, 14, "x", "v")}},
		{"a URL of an unknown update", "", []Op{x, unknown(update(11, 12, "x", "v")), redirect(13, 14, "x", "v")}},

		{"one's own update", "", []Op{x, update(11, 12, "x", "v"), redirect(13, 14, "x", "v")}},
		{"one's own update is not seen", "own change", []Op{x, update(11, 12, "x", "v"), redirect(13, 14, "x", "u")}},
		{"one's own update is not seen by a local get", "own change", []Op{x, update(11, 12, "x", "v"), local(get(13, 14, "x", "u"))}},
		{"one's own update is not seen, and taken back later", "own change", []Op{x, update(11, 12, "x", "v"), redirect(13, 14, "x", "u"), update(15, 16, "x", "u")}},
		{"one's own deletion is not seen, after an update at the same time", "own change", []Op{x, remove(11, 20, "x"), at("n2", 1, update(11, 30, "x", "v")), redirect(21, 22, "x", "v")}},
		{"another client's update on this node", "", []Op{x, update(11, 12, "x", "v"), at("n1", 1, redirect(13, 14, "x", "u"))}},
		{"one's own deletion is not seen", "own change", []Op{x, remove(11, 12, "x"), redirect(13, 14, "x", "u")}},
		{"overwritten by another", "", []Op{x, update(11, 12, "x", "v"), at("n2", 1, update(11, 14, "x", "w")), redirect(15, 16, "x", "w")}},
		{"overwritten by another before, says the log", "own change", []Op{x, index(9, update(11, 20, "x", "v")), index(8, at("n2", 1, update(11, 20, "x", "w"))), redirect(21, 22, "x", "w")}},
		{"overwritten by another later, says the log", "", []Op{x, index(9, update(11, 20, "x", "v")), index(10, at("n2", 1, update(11, 20, "x", "w"))), redirect(21, 22, "x", "w")}},
		{"acknowledged by a replay", "own change", []Op{x, under("k", unknown(update(11, 12, "x", "v"))), replayed(under("k", update(13, 14, "x", "v"))), redirect(15, 16, "x", "u")}},
		{"still under way", "", []Op{x, update(11, 20, "x", "v"), redirect(13, 14, "x", "u")}},
		{"restored before it was created", "", []Op{backup(0, 0, "f"), x, restore(11, 12, "f"), missing(redirect(13, 14, "x", ""))}},
		{"restored, and created then", "not found", []Op{backup(0, 0, "f"), restore(0, 0, "f"), alias(1, 10, "x", "u"), missing(redirect(13, 14, "x", ""))}},
		{"not yet restored", "not found", []Op{backup(0, 0, "f"), x, missing(redirect(11, 12, "x", "")), restore(13, 14, "f")}},
		{"one's own update is undone", "", []Op{x, update(11, 12, "x", "v"), unknown(restore(13, 14, "f")), redirect(15, 16, "x", "u")}},
		{"one's own update is not seen after a restore", "own change", []Op{x, restore(10, 11, "f"), update(12, 13, "x", "v"), redirect(15, 16, "x", "u")}},
		{"a restore brings no new URL", "never had", []Op{x, restore(11, 12, "f"), redirect(13, 14, "x", "w")}},
		{"linearizable reads are judged elsewhere", "", []Op{x, update(11, 12, "x", "v"), get(13, 14, "x", "u")}},
	})
}

func TestSweep(t *testing.T) {
	nodes := []string{"n1", "n2", "n3"}
	x, v := alias(0, 10, "x", "u"), update(11, 12, "x", "v")
	for _, c := range []struct {
		name string
		want string
		ops  []Op
		read [3]string // what each node has: "" for nothing, "error"
	}{
		{"as stored", "", []Op{x}, [3]string{"u", "u", "u"}},
		{"lost", `n2 is ""`, []Op{x}, [3]string{"u", "", "u"}},
		{"lost everywhere", `n3 is ""`, []Op{x}, [3]string{"", "", ""}},
		{"other bytes", `n1 is "U"`, []Op{x}, [3]string{"U", "u", "u"}},
		{"unreadable", "n2 cannot be read", []Op{x}, [3]string{"u", "error", "u"}},
		{"updated", "", []Op{x, v}, [3]string{"v", "v", "v"}},
		{"the update is lost", `n1 is "u"`, []Op{x, v}, [3]string{"u", "u", "u"}},
		{"deleted", "", []Op{x, remove(11, 12, "x")}, [3]string{}},
		{"deleted, and there", `n2 is "u"`, []Op{x, remove(11, 12, "x")}, [3]string{"", "u", ""}},
		{"an update and a deletion at once", "", []Op{x, v, remove(11, 12, "x")}, [3]string{}},
		{"an unknown update, done", "", []Op{x, unknown(v)}, [3]string{"v", "v", "v"}},
		{"an unknown update, not done", "", []Op{x, unknown(v)}, [3]string{"u", "u", "u"}},
		{"an unknown update, differing", "on n1", []Op{x, unknown(v)}, [3]string{"u", "v", "u"}},
		{"an unknown creation, done", "", []Op{unknown(x)}, [3]string{"u", "u", "u"}},
		{"an unknown creation, not done", "", []Op{unknown(x)}, [3]string{}},
		{"an unknown creation, differing", "on n1", []Op{unknown(x)}, [3]string{"u", "u", ""}},
		{"an unknown creation, other bytes", `n1 is "w"`, []Op{unknown(x)}, [3]string{"w", "w", "w"}},
		{"an unknown creation that was updated", `n1 is ""`, []Op{unknown(x), v}, [3]string{}},
		{"an unknown deletion, done", "", []Op{x, unknown(remove(11, 12, "x"))}, [3]string{}},
		{"an unknown deletion, not done", "", []Op{x, unknown(remove(11, 12, "x"))}, [3]string{"u", "u", "u"}},
		{"an old unknown update may come late", "", []Op{x, unknown(update(11, 12, "x", "w")), update(13, 14, "x", "v")}, [3]string{"w", "w", "w"}},
		{"a refused creation is there", `n1 is "u"`, []Op{refused("no_leader", x)}, [3]string{"u", "u", "u"}},
		{"a refused alias is the key of a link whose maker was not told", "", []Op{refused("alias_taken", x), unknown(generated(0, 1, "", "w"))}, [3]string{"w", "w", "w"}},
		{"the same, differing", "on n1", []Op{refused("alias_taken", x), unknown(generated(0, 1, "", "w"))}, [3]string{"w", "w", ""}},
		{"somebody's link has another one's URL", `n1 is "w"`, []Op{x, unknown(generated(0, 1, "", "w"))}, [3]string{"w", "w", "w"}},
		{"a refused update is there", `n1 is "v"`, []Op{x, refused("no_leader", v)}, [3]string{"v", "v", "v"}},
		{"two updates at once, either", "", []Op{x, v, update(11, 12, "x", "w")}, [3]string{"w", "w", "w"}},
		{"two updates at once, the log says which", `n1 is "w"`, []Op{x, index(9, v), index(8, update(11, 12, "x", "w"))}, [3]string{"w", "w", "w"}},
		{"a generated key", `n1 is ""`, []Op{generated(0, 1, "x", "u")}, [3]string{}},
		{"restored", "", []Op{x, v, restore(13, 14, "f")}, [3]string{"u", "u", "u"}},
		{"restored before it was there", "", []Op{x, v, unknown(restore(13, 14, "f"))}, [3]string{}},
		{"restored, differing", "on n1", []Op{x, v, restore(13, 14, "f")}, [3]string{"u", "v", "u"}},
		{"restored, other bytes", `n1 is "w"`, []Op{x, v, restore(13, 14, "f")}, [3]string{"w", "w", "w"}},
		{"updated after a restore", `n1 is "u"`, []Op{x, restore(10, 10, "f"), v}, [3]string{"u", "u", "u"}},
		{"deleted, and restored", "", []Op{x, remove(11, 12, "x"), restore(13, 14, "f"), update(15, 16, "x", "w")}, [3]string{"w", "w", "w"}},
		{"an unknown update before a restore comes late", "", []Op{x, unknown(v), restore(13, 14, "f"), update(15, 16, "x", "w")}, [3]string{"v", "v", "v"}},
		{"a taken key", `n1 is ""`, []Op{take(0, 1, "r", "x"), taken(2, 3, "x", "u")}, [3]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := Sweep(history(c.ops...), rules, func(node, key string) (string, bool, error) {
				url := c.read[node[1]-'1']
				if url == "error" {
					return "", false, errors.New("no answer")
				}
				return url, url != "", nil
			}, nodes)
			expect(t, found, c.want)
		})
	}
}
