package test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

func TestP4_AliasesRacingOnAllNodesHaveOneWinner(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	for round := range 10 {
		alias := fmt.Sprintf("racing-%d", round)
		var mu sync.Mutex
		var winners []string
		var all sync.WaitGroup
		for _, id := range c.Up() {
			for client := range 3 {
				all.Go(func() {
					url := fmt.Sprintf("http://example.com/%s/%d", id, client)
					o := create(patient(t), c.Node(id), aliasTo(alias, url), nil)
					if o.Err == nil {
						mu.Lock()
						winners = append(winners, url)
						mu.Unlock()
					} else if !errors.Is(o.Err, fsm.ErrAliasTaken) {
						t.Error(o.Err)
					}
				})
			}
		}
		all.Wait()
		if len(winners) != 1 {
			t.Fatalf("%s was given to %v", alias, winners)
		}
		resolves(t, c, map[string]string{alias: winners[0]})
	}
}

// A key that somebody has, or that lies in the leader's buffer, is no alias.
func TestP4_AKeyInUseIsNoAlias(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	taken := list(mustTake(t, c.Node("n1"), 1))[0]
	generated := mustCreate(t, c.Node("n2"), linkTo("http://example.com/"))
	for _, key := range []string{taken, generated} {
		for _, id := range c.Up() {
			o := create(patient(t), c.Node(id), aliasTo(key, "http://example.org/"), nil)
			if !errors.Is(o.Err, fsm.ErrAliasTaken) {
				t.Errorf("%s as an alias through %s: %v", key, id, o.Err)
			}
		}
	}
	if o := create(patient(t), c.Node("n3"), &pb.CreateLink{TakenKey: taken, Link: &pb.Link{Url: "http://example.org/"}}, nil); o.Err != nil {
		t.Errorf("its owner may still bind it: %v", o.Err)
	}
}

// The smallest key space there is, a million numbers, is taken to its end while
// some of the numbers are claimed as aliases: no number goes two ways, and none
// is forgotten.
func TestP4_AWholeKeySpaceWithAliasesAmongIt(t *testing.T) {
	t.Parallel()
	const size, claims = 1_000_000, 300
	c := harness.Start(t, 3, func(cfg *cluster.Config) {
		cfg.Keyspace = keyspace.Space{Alphabet: "0123456789", Length: 6}
		cfg.Heartbeat, cfg.Election = time.Second, time.Second // a lease that an election cuts off is lost
	})
	c.WaitLeader()
	current(t, c)
	ends := false
	if _, err := c.Node(c.WaitLeader()).UpdateKeyspace(patient(t), "", &ends, nil); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := make(map[string]string, size)
	add := func(how string, keys ...string) {
		mu.Lock()
		defer mu.Unlock()
		for _, key := range keys {
			if first, again := seen[key]; again {
				t.Errorf("%s: %s and %s", key, first, how)
			}
			seen[key] = how
		}
	}
	claim := func(n *cluster.Node, from int) {
		requests := make([]cluster.CreateRequest, claims)
		for i := range requests {
			requests[i].Create = aliasTo(fmt.Sprintf("%06d", from+i), "http://example.com/")
		}
		for i, o := range n.CreateLinks(patient(t), requests) {
			if o.Err == nil {
				add("alias", requests[i].Create.Alias)
			} else if !errors.Is(o.Err, fsm.ErrAliasTaken) {
				t.Error(o.Err)
			}
		}
	}
	claim(c.Node("n1"), 0) // before any other key
	var claimers sync.WaitGroup
	for i, id := range c.Up() {
		claimers.Go(func() { claim(c.Node(id), 1000*(i+1)) })
	}
	for left := 100_000; left > 0; {
		keys, err := c.Node("n2").TakeKeys(patient(t), cluster.TakeRequest{Count: left})
		switch {
		case err == nil:
			add("taken", list(keys)...)
		case errors.Is(err, fsm.ErrKeyspaceExhausted):
			left /= 2
		default:
			t.Fatal(err)
		}
	}
	claimers.Wait()
	s := stats(t, c.Node("n3"))
	if s.Used != size || s.Unused != 0 || s.Lost != 0 || uint64(len(seen))+s.Buffered != size {
		t.Errorf("seen %d keys; %+v", len(seen), s)
	}
	c.WaitEqual(t)
}
