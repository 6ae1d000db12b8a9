package oracle

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// drawn is a history of n requests that a sound cluster could have given: each
// has its effect at a moment of its own, within the time it is under way.
func drawn(n int) *History {
	rng := rand.New(rand.NewPCG(1, 2))
	h := &History{}
	links := map[string]string{}
	var names []string
	serial := 0
	key := func() string { serial++; return fmt.Sprintf("k%05d", serial) }
	for i := range n {
		var op Op
		name := ""
		if len(names) > 0 {
			name = names[len(names)-1-int(rng.ExpFloat64()*300)%len(names)]
		}
		url := fmt.Sprint("https://example.com/", i)
		switch d := rng.IntN(100); {
		case name == "" || d < 15:
			op = generated(0, 0, key(), url)
			names, links[op.GotKey] = append(names, op.GotKey), url
		case d < 20:
			var keys []string
			for range 1 + rng.IntN(200) {
				keys = append(keys, key())
			}
			op = take(0, 0, fmt.Sprint("r", i), keys...)
		case d < 35 && links[name] != "":
			op = update(0, 0, name, url)
			links[name] = url
		case d < 38 && links[name] != "":
			op = remove(0, 0, name)
			delete(links, name)
		case d < 60:
			op = redirect(0, 0, name, links[name])
		default:
			op = get(0, 0, name, links[name])
		}
		if op.GotURL == "" && (op.Kind == Get || op.Kind == Redirect) {
			op = missing(op)
		} else if !op.generated() && rng.IntN(50) == 0 {
			op = unknown(op)
		}
		op.Client, op.Node = rng.IntN(30), fmt.Sprint("n", rng.IntN(3))
		op.Call = time.Duration(max(0, i-rng.IntN(30))) * ms
		op.Return = time.Duration(i+rng.IntN(30)) * ms
		h.Record(op)
	}
	return h
}

// 50,000 requests, half a million keys.
func BenchmarkJudges(b *testing.B) {
	h := drawn(50_000)
	for name, judge := range map[string]func(*History, Rules) []Violation{
		"DistinctKeys": DistinctKeys, "Idempotent": Idempotent, "Linearizable": Linearizable, "LocalReads": LocalReads} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if found := judge(h, rules); len(found) > 0 {
					b.Fatal(found[0])
				}
			}
		})
	}
}
