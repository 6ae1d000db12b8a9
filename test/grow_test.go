package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
	"github.com/kgs-cluster/kgs/test/oracle"
)

// sixDigits are the smallest key space there is, a million keys; it grows.
func sixDigits(cfg *cluster.Config) { cfg.Keyspace = keyspace.Space{Alphabet: "0123456789", Length: 6} }

// current waits until the cluster uses the newest commands.
func current(t testing.TB, c *harness.Cluster) {
	t.Helper()
	for _, id := range c.Up() {
		harness.AwaitTrue(t, id+" uses the newest commands", func() bool { return c.Node(id).Machine().Version() == fsm.Version })
	}
}

// P1: a key space is used up while keys are taken in every way, aliases of both
// lengths claimed, keys returned, backups restored and leaders killed and moved. It
// goes on with longer keys: none comes twice, and nobody hears that there are none
// left.
func TestP1_AKeySpaceGrows(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, sixDigits)
	c.WaitLeader()
	current(t, c)
	issued := newKeyring(t)
	early := []string{"123456", "1234567", "7654321"}
	for _, alias := range early {
		mustCreate(t, c.Node("n1"), aliasTo(alias, "http://example.com/"))
	}
	issued.add("alias", early...)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	lengths := map[int]int{} // keys, by their length
	var clients sync.WaitGroup
	client := func(i int) {
		for k := 0; ctx.Err() == nil; k++ {
			up := c.Up()
			n := c.Node(up[(i+k)%len(up)])
			if n == nil {
				continue
			}
			request := cluster.TakeRequest{Count: []int{1, 3, 40, 5000, 20_000}[k%5]}
			if k%7 == 0 {
				request.Idempotency = idem(fmt.Sprint("take", i, k))
			}
			keys, err := n.TakeKeys(within(t, clientDeadline), request)
			if errors.Is(err, fsm.ErrKeyspaceExhausted) {
				t.Errorf("%d keys: %v", request.Count, err)
			}
			if err != nil {
				continue
			}
			all := list(keys)
			issued.add(n.ID(), all...)
			mu.Lock()
			lengths[keys.Length] += len(all)
			mu.Unlock()
			if k%3 == 0 {
				o := n.ReturnKeys(within(t, clientDeadline), "", keys.Receipt, all[:1], nil)
				if o.Err != nil && !errors.Is(o.Err, fsm.ErrOutcomeUnknown) && !errors.Is(o.Err, cluster.ErrNoLeader) && !errors.Is(o.Err, fsm.ErrNotReturnable) && !errors.Is(o.Err, cluster.ErrStopped) {
					t.Errorf("return of %s: %v", all[0], o.Err)
				}
			}
			if o := create(within(t, clientDeadline), n, linkTo("http://example.com/"), nil); o.Err == nil {
				issued.add("a link", o.Key)
			} else if errors.Is(o.Err, fsm.ErrKeyspaceExhausted) {
				t.Error(o.Err)
			}
			alias := fmt.Sprint([]int{100_000, 1_000_000}[k%2] + i*2000 + k)
			if o := create(within(t, clientDeadline), n, aliasTo(alias, "http://example.com/"), nil); o.Err == nil {
				issued.add("an alias", alias)
			}
		}
	}
	for i := range 4 {
		clients.Go(func() { client(i) })
	}
	count := func(length int) int {
		mu.Lock()
		defer mu.Unlock()
		return lengths[length]
	}
	for i := 0; count(7) < 60_000; i++ { // while it grows
		before := count(6) + count(7)
		harness.Await(t, "more keys", func() error {
			if count(6)+count(7) < before+150_000 && count(7) < 60_000 {
				return fmt.Errorf("%d of six and %d of seven digits", count(6), count(7))
			}
			return nil
		})
		anotherLeader(t, c, i)
	}
	stop()
	clients.Wait()
	for _, id := range c.Up() {
		s := stats(t, c.Node(id))
		if s.Length != 7 || len(s.Lengths) != 2 || s.Lengths[0].Size != 1_000_000 || !s.Grows || s.Size != 11_000_000 {
			t.Errorf("%s says %+v", id, s)
		}
		for _, v := range oracle.Conserved(c.Node(id).Machine(), 1_000_000) {
			t.Error(id, v)
		}
	}
	for _, alias := range early {
		state, err := c.Node("n2").Key(patient(t), cluster.Linearizable, "", alias)
		if err != nil || state.Row.GetPurpose() != pb.Purpose_ALIAS {
			t.Errorf("%s: %+v, %v", alias, state, err)
		}
	}
	rows, err := c.Node("n1").KeyRows(patient(t), cluster.Linearizable, true, "", cluster.KeyPlace{}, 100_000)
	if err != nil || rows[0].Length != 6 || rows[len(rows)-1].Length != 7 ||
		!slices.IsSortedFunc(rows, func(a, b cluster.KeyRow) int { return a.Length - b.Length }) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	c.WaitEqual(t)

	mustRestore(t, c.Node("n3"), mustBackup(t, c.Node("n2")))
	for _, id := range c.Up() {
		for _, n := range []int{1, 100, 30_000} {
			issued.add("after a restore", list(mustTake(t, c.Node(id), n))...)
		}
	}
	c.WaitEqual(t)
}

// A growth that the survivor of a lost majority has not heard of: the keys that were
// given after it do not come again, though it grows by itself.
func TestRecoveryWithoutTheGrowth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			sixDigits(cfg)
			cfg.BufferMin, cfg.BufferMax = 100, 1000
		})
		leader := c.WaitLeader()
		current(t, c)
		survivor, other := c.Followers(leader)[0], c.Followers(leader)[1]
		issued := newKeyring(t)
		length := 0
		take := func(id string, count int) {
			t.Helper()
			keys := mustTake(t, c.Node(id), count)
			length = keys.Length
			issued.add(id, list(keys)...)
		}
		for range 9 {
			take(leader, 100_000)
		}
		take(leader, 90_000)
		c.WaitEqual(t)
		c.Isolate(survivor)
		for length != 7 {
			take(leader, 5000)
		}
		take(leader, 50_000)
		for _, id := range []string{survivor, leader, other} {
			c.Kill(id)
		}
		c.Heal()
		<-time.After(time.Second) // they are closed
		recoverNode(t, c.Config(survivor))
		c.Restart(survivor)
		c.WaitLeader()
		for range 10 {
			take(survivor, 20_000)
		}
		if s := stats(t, c.Node(survivor)); s.Length != 7 || s.Lengths[0].Unused != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// A key space that may not grow, and one whose longer keys are another one's, end,
// and say why; once it may, the next caller gets longer keys.
func TestAKeySpaceThatCannotGrow(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 1, sixDigits)
	n := c.Node(c.WaitLeader())
	current(t, c)
	update := func(grow bool) cluster.KeyspaceStats {
		t.Helper()
		changed, err := n.UpdateKeyspace(patient(t), "", &grow, nil)
		if err != nil {
			t.Fatal(err)
		}
		return changed.Stats
	}
	if s := update(false); s.Grows || s.GrowthBlocked != "" {
		t.Errorf("%+v", s)
	}
	for range 9 {
		mustTake(t, n, 100_000)
	}
	if _, err := n.TakeKeys(patient(t), cluster.TakeRequest{Count: 100_000}); !errors.Is(err, fsm.ErrKeyspaceExhausted) {
		t.Errorf("at the end: %v", err)
	}
	mustCreateKeyspace(t, n, cluster.KeyspaceRequest{Name: "in-the-way", Space: keyspace.Space{Alphabet: "0123456789", Length: 7}})
	if s := update(true); s.Grows || s.GrowthBlocked == "" {
		t.Errorf("%+v", s)
	}
	_, err := n.TakeKeys(patient(t), cluster.TakeRequest{Count: 100_000})
	if !errors.Is(err, fsm.ErrKeyspaceExhausted) || errors.Is(err, fsm.ErrKeyspacesMeet) {
		t.Errorf("with another one in the way: %v", err)
	}

	free := cluster.KeyspaceRequest{Name: "grows", Space: keyspace.Space{Alphabet: "0123456789", Length: 6, Prefix: "g"}, Grow: new(bool)}
	*free.Grow = true
	mustCreateKeyspace(t, n, free)
	seen := map[int]int{}
	for range 12 {
		keys, err := n.TakeKeys(patient(t), cluster.TakeRequest{Keyspace: "grows", Count: 95_000})
		if err != nil {
			t.Fatal(err)
		}
		seen[keys.Length]++
	}
	if seen[7] != 10 || seen[8] != 2 {
		t.Errorf("takes of keys of each length: %v", seen)
	}
	for range 600 { // what is left of the first length goes in small pieces, to the last key
		keys, _ := takeOf(t, n, "grows", 90)
		seen[len(keys[0])]++
	}
	if s, err := n.Keyspace(patient(t), cluster.Linearizable, "grows"); err != nil || seen[7] < 400 || s.Lengths[0].Unused != 0 {
		t.Errorf("takes of keys of each length: %v; %+v", seen, s.Lengths)
	}
	changed, err := n.UpdateKeyspace(patient(t), "grows", new(bool), nil)
	if s := changed.Stats; err != nil || s.Size != 11_000_000 || s.Grows || len(s.Lengths) != 2 || s.Lengths[0].Used != 1_000_000 ||
		s.Used != 1_000_000+s.Lengths[1].Used || s.Unused != s.Lengths[1].Unused {
		t.Errorf("the answer to a change is %+v, %v", s, err)
	}
}

// Who takes many keys at once while others do generates again what they took first:
// nobody hears that there are none before there are none.
func TestManyTakeManyAtOnce(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 1, sixDigits)
	n := c.Node(c.WaitLeader())
	var clients sync.WaitGroup
	for i := range 9 {
		clients.Go(func() {
			for k := range 10 {
				request := cluster.TakeRequest{Count: 10_000}
				if i%3 > 0 {
					request.Idempotency = idem(fmt.Sprint("take", i, k))
				}
				if _, err := n.TakeKeys(patient(t), request); err != nil {
					t.Errorf("client %d, take %d: %v", i, k, err)
				}
			}
		})
	}
	clients.Wait()
}
