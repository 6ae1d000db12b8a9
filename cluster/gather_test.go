package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// gathered runs a gather of strings, whose size is one item of as many bytes,
// in virtual time; groups come out of the channel and are answered by calling done.
type gathered struct {
	group []string
	done  func()
}

func startGather(t *testing.T, c gatherConfig) (*gather[string], chan gathered, context.CancelFunc) {
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	groups := make(chan gathered, 100)
	g := newGather(ctx, c, func(s string) (int, int) { return 1, len(s) },
		func(group []string, done func()) { groups <- gathered{slices.Clone(group), done} })
	return g, groups, stop
}

var roomy = gatherConfig{queued: 100, inFlight: 1, maxCount: 100, maxBytes: 1000}

func addAll(t *testing.T, g *gather[string], items ...string) {
	t.Helper()
	for _, item := range items {
		if err := g.add(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
}

// next is the group that is under way now; virtual time stands still.
func next(t *testing.T, groups chan gathered, want ...string) func() {
	t.Helper()
	synctest.Wait()
	select {
	case g := <-groups:
		if !slices.Equal(g.group, want) {
			t.Fatalf("group %q, want %q", g.group, want)
		}
		return g.done
	default:
		t.Fatalf("no group, want %q", want)
		return nil
	}
}

func none(t *testing.T, groups chan gathered) {
	t.Helper()
	synctest.Wait()
	select {
	case g := <-groups:
		t.Fatalf("group %q, want none", g.group)
	default:
	}
}

func TestGatherSendsALoneItemAtOnceAndGroupsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, groups, _ := startGather(t, roomy)
		start := time.Now()
		addAll(t, g, "a")
		done := next(t, groups, "a")
		addAll(t, g, "b", "c", "d")
		none(t, groups) // a is under way
		done()
		done = next(t, groups, "b", "c", "d")
		done()
		none(t, groups)
		if time.Since(start) != 0 {
			t.Errorf("it waited %s for a timer", time.Since(start))
		}
	})
}

func TestGatherKeepsItsBoundsAndTheOrder(t *testing.T) {
	for _, c := range []struct {
		name   string
		config gatherConfig
		items  []string
		want   [][]string
	}{
		{"count", gatherConfig{queued: 100, inFlight: 1, maxCount: 2, maxBytes: 1000},
			[]string{"b", "c", "d", "e", "f"}, [][]string{{"b", "c"}, {"d", "e"}, {"f"}}},
		{"bytes", gatherConfig{queued: 100, inFlight: 1, maxCount: 100, maxBytes: 4},
			[]string{"bb", "cc", "d", "eeee", "f"}, [][]string{{"bb", "cc"}, {"d"}, {"eeee"}, {"f"}}},
		{"an item over the bound goes alone", gatherConfig{queued: 100, inFlight: 1, maxCount: 100, maxBytes: 3},
			[]string{"b", "cccccc", "d", "e"}, [][]string{{"b"}, {"cccccc"}, {"d", "e"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, groups, _ := startGather(t, c.config)
				addAll(t, g, "a")
				done := next(t, groups, "a")
				addAll(t, g, c.items...)
				for _, want := range c.want {
					done()
					done = next(t, groups, want...)
				}
				done()
				none(t, groups)
			})
		})
	}
}

// A group that finds others under way leaves when it counts as much as they do: as
// it grows, as they end, or as it is full.
func TestGatherKeepsGroupsEven(t *testing.T) {
	for name, c := range map[string]struct {
		underWay, more []string
		groups         [][]string // of more, while what is under way stays so
		left           []string   // goes when all has ended
	}{
		"one and one":    {[]string{"a"}, []string{"b"}, [][]string{{"b"}}, nil},
		"one and three":  {[]string{"a"}, []string{"b", "c", "d"}, [][]string{{"b"}, {"c", "d"}}, nil},
		"one and two":    {[]string{"a"}, []string{"b", "c"}, [][]string{{"b"}}, []string{"c"}},
		"full":           {[]string{"a"}, []string{"b", "c", "d", "e", "f", "g"}, [][]string{{"b"}, {"c", "d"}, {"e", "f", "g"}}, nil},
		"too many bytes": {[]string{"a"}, []string{"b", "c", "123456789"}, [][]string{{"b"}, {"c"}}, []string{"123456789"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := gatherConfig{queued: 100, inFlight: 10, maxCount: 3, maxBytes: 9, even: true}
				g, groups, _ := startGather(t, config)
				addAll(t, g, c.underWay...)
				ends := []func(){next(t, groups, c.underWay...)}
				wanted := c.groups
				for _, item := range c.more {
					addAll(t, g, item)
					if synctest.Wait(); len(groups) > 0 && len(wanted) > 0 {
						ends = append(ends, next(t, groups, wanted[0]...))
						wanted = wanted[1:]
					}
				}
				if len(wanted) > 0 {
					t.Fatalf("%q did not leave", wanted)
				}
				none(t, groups)
				for _, end := range ends {
					end()
				}
				if c.left != nil {
					next(t, groups, c.left...)()
				}
				none(t, groups)
			})
		})
	}
}

// What has gathered leaves as soon as what is under way counts no more than it.
func TestGatherLeavesAsOthersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := roomy
		c.inFlight, c.even = 10, true
		g, groups, stop := startGather(t, c)
		addAll(t, g, "a")
		first := next(t, groups, "a")
		addAll(t, g, "b")
		second := next(t, groups, "b")
		addAll(t, g, "c")
		none(t, groups)
		first()
		third := next(t, groups, "c")
		addAll(t, g, "d")
		none(t, groups)
		stop() // nobody is left behind
		fourth := next(t, groups, "d")
		for _, end := range []func(){second, third, fourth} {
			end()
		}
	})
}

func TestGatherHasSomeGroupsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := roomy
		c.inFlight = 2
		g, groups, _ := startGather(t, c)
		addAll(t, g, "a")
		first := next(t, groups, "a")
		addAll(t, g, "b")
		next(t, groups, "b")
		addAll(t, g, "c", "d")
		none(t, groups)
		first() // in any order
		next(t, groups, "c", "d")
	})
}

func TestGatherRefusesWhenItsQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := roomy
		c.queued = 2
		g, groups, stop := startGather(t, c)
		addAll(t, g, "a")
		done := next(t, groups, "a")
		addAll(t, g, "b", "c")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.add(ctx, "d"); !errors.Is(err, ErrBusy) {
			t.Errorf("a full queue: %v", err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- g.add(t.Context(), "e") }()
		synctest.Wait()
		done()
		next(t, groups, "b", "c", "e")
		if err := <-waiting; err != nil {
			t.Errorf("there is room again: %v", err)
		}
		addAll(t, g, "f", "h")
		go func() { waiting <- g.add(t.Context(), "g") }()
		synctest.Wait()
		stop()
		if err := <-waiting; !errors.Is(err, ErrStopped) {
			t.Errorf("at the end: %v", err)
		}
	})
}
