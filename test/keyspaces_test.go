package test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

var vouchers = cluster.KeyspaceRequest{Name: "vouchers", Space: keyspace.Space{
	Alphabet: keyspace.Alphabets["crockford32"], Length: 10, Prefix: "V-", Check: true}}

var sevenDigits = cluster.KeyspaceRequest{Name: "d7", Space: keyspace.Space{Alphabet: "0123456789", Length: 7}}

func mustCreateKeyspace(t testing.TB, n *cluster.Node, r cluster.KeyspaceRequest) cluster.CreatedKeyspace {
	t.Helper()
	made, err := n.CreateKeyspace(patient(t), r, nil)
	if err != nil {
		t.Fatalf("create %s through %s: %v", r.Name, n.ID(), err)
	}
	return made
}

func takeOf(t testing.TB, n *cluster.Node, space string, count int) (keys []string, receipt []byte) {
	t.Helper()
	got, err := n.TakeKeys(patient(t), cluster.TakeRequest{Keyspace: space, Count: count})
	if err != nil {
		t.Fatalf("take %d of %s through %s: %v", count, space, n.ID(), err)
	}
	return list(got), got.Receipt
}

// A link made through one node is followed through every other one, whichever way
// its key or alias is written, before these have heard of it, too.
func TestCaseInsensitiveKeyspace(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	current(t, c)
	others := c.Followers(leader)
	one, other := c.Node(others[0]), c.Node(others[1])
	r := cluster.KeyspaceRequest{Name: "codes", Space: keyspace.Space{Alphabet: keyspace.Alphabets["lowercase"], Length: 8, CaseInsensitive: true}}
	if made := mustCreateKeyspace(t, one, r); !made.New || !made.Stats.CaseInsensitive {
		t.Fatalf("made %+v", made)
	}
	found := func(n *cluster.Node, key, url string) {
		t.Helper()
		for _, written := range []string{key, strings.ToUpper(key), strings.ToUpper(key[:2]) + key[2:]} {
			if at, link, err := n.Link(patient(t), cluster.Local, written); err != nil || at != key || link.Url != url {
				t.Fatalf("%s through %s: %s, %v, %v", written, n.ID(), at, link, err)
			}
		}
	}
	for i := range 20 {
		url := fmt.Sprint("http://example.com/", i)
		key := mustCreate(t, one, &pb.CreateLink{Keyspace: "codes", Link: &pb.Link{Url: url}})
		found(other, key, url)
		if o := create(patient(t), other, aliasTo(strings.ToUpper(key), "http://example.com/other"), nil); !errors.Is(o.Err, fsm.ErrAliasTaken) {
			t.Fatalf("an alias is %s, of %s: %v", o.Key, key, o.Err)
		}
	}
	taken, _ := takeOf(t, other, "codes", 1)
	free := taken[0]
	if o := create(patient(t), one, &pb.CreateLink{TakenKey: strings.ToUpper(free), Keyspace: "codes", Link: &pb.Link{Url: "http://example.com/bound"}}, nil); o.Err != nil || o.Key != free {
		t.Fatalf("bound %s as %s: %v", free, o.Key, o.Err)
	}
	found(c.Node(leader), free, "http://example.com/bound")
	alias := mustCreate(t, one, aliasTo("AbCdEfGh", "http://example.com/alias"))
	if alias != "abcdefgh" {
		t.Fatalf("the alias is %s", alias)
	}
	found(other, alias, "http://example.com/alias")
	c.WaitEqual(t)
	c.Isolate(other.ID()) // what it has it finds alone
	found(other, alias, "http://example.com/alias")
	c.Heal()
	if o := other.DeleteLink(patient(t), "", "ABCDEFGH", nil); o.Err != nil || o.Key != alias {
		t.Fatalf("deleted %s: %v", o.Key, o.Err)
	}
	if _, _, err := other.Link(patient(t), cluster.Local, "aBCDEfGH"); !errors.Is(err, fsm.ErrLinkDeleted) {
		t.Fatal(err)
	}
	c.WaitEqual(t)
}

// A key space is there for every node as soon as it was acknowledged, and its keys
// go all the ways that keys go: taken through each node, across leaders, in small
// and large amounts, inspected, bound, made for links, returned.
func TestKeyspaceThroughAllNodes(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	others := c.Followers(leader)
	for i, id := range append(others, leader) { // on a follower that may not know of it yet
		r := vouchers
		r.Name, r.Space.Prefix = fmt.Sprint("vouchers", i), fmt.Sprintf("V%d", i)
		if made := mustCreateKeyspace(t, c.Node(others[0]), r); !made.New || made.Stats.Size != 1<<50 {
			t.Fatalf("made %+v", made)
		}
		takeOf(t, c.Node(id), r.Name, 1)
		again, err := c.Node(id).CreateKeyspace(patient(t), r, idem(r.Name))
		if err != nil || again.New {
			t.Fatalf("the same again: %+v, %v", again, err)
		}
	}
	seen := map[string]bool{}
	take := func(id string, count int) (keys []string, receipt []byte) {
		keys, receipt = takeOf(t, c.Node(id), "vouchers0", count)
		for _, key := range keys {
			if seen[key] || len(key) != 13 || !strings.HasPrefix(key, "V0") {
				t.Fatalf("%s was given, seen before: %v", key, seen[key])
			}
			seen[key] = true
		}
		return keys, receipt
	}
	for _, count := range []int{1, 1, 7, 90, 4000, 30_000} {
		for _, id := range c.Up() {
			take(id, count)
		}
	}
	mustTransferTo(t, c, others[0])
	keys, receipt := take(leader, 3)
	n := c.Node(others[1])
	if state, err := n.Key(patient(t), cluster.Linearizable, "vouchers0", keys[0]); err != nil || state.Row == nil {
		t.Fatalf("%+v, %v", state, err)
	}
	mistyped := keys[0][:4] + string(vouchers.Space.Alphabet[(strings.IndexByte(vouchers.Space.Alphabet, keys[0][4])+1)%32]) + keys[0][5:]
	if _, err := n.Key(patient(t), cluster.Linearizable, "vouchers0", mistyped); !errors.Is(err, fsm.ErrNotInKeyspace) || !strings.Contains(err.Error(), "check character") {
		t.Errorf("mistyped: %v", err)
	}
	bound := &pb.CreateLink{TakenKey: keys[0], Keyspace: "vouchers0", Link: &pb.Link{Url: "http://example.com/"}}
	if key := mustCreate(t, n, bound); key != keys[0] {
		t.Fatalf("bound %s to %s", keys[0], key)
	}
	made := mustCreate(t, n, &pb.CreateLink{Keyspace: "vouchers0", Link: &pb.Link{Url: "http://example.com/"}})
	if seen[made] || !strings.HasPrefix(made, "V0") {
		t.Errorf("the link's key is %s", made)
	}
	if o := n.ReturnKeys(patient(t), "", receipt, keys, nil); !errors.Is(o.Err, fsm.ErrNotReturnable) {
		t.Errorf("a bound key was returned: %+v", o)
	}
	if o := n.ReturnKeys(patient(t), "", receipt, keys[1:], nil); o.Err != nil || o.Count != 2 {
		t.Errorf("returned %+v", o)
	}
	if _, err := n.TakeKeys(patient(t), cluster.TakeRequest{Keyspace: "nope", Count: 1}); !errors.Is(err, fsm.ErrKeyspaceNotFound) {
		t.Errorf("keys of no key space: %v", err)
	}
	if o := create(patient(t), n, &pb.CreateLink{Keyspace: "nope", Link: &pb.Link{Url: "http://example.com/"}}, nil); !errors.Is(o.Err, fsm.ErrKeyspaceNotFound) {
		t.Errorf("a link of no key space: %v", o.Err)
	}
}

// A node that has not heard of a key space asks before it says that there is none.
func TestKeyspaceOnANodeThatWasCutOff(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	away := c.Followers(leader)[0]
	c.Isolate(away)
	mustCreateKeyspace(t, c.Node(leader), sevenDigits)
	if _, err := c.Node(away).TakeKeys(within(t, 200*time.Millisecond), cluster.TakeRequest{Keyspace: "d7", Count: 1}); !errors.Is(err, cluster.ErrNoLeader) {
		t.Errorf("while it is cut off: %v", err)
	}
	c.Heal()
	takeOf(t, c.Node(away), "d7", 1)
}

// P4: an alias that was there before its key space is neither given nor bound, by
// whichever way the keys are taken.
func TestAliasBeforeItsKeyspace(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	n := c.Node("n2")
	early := map[string]bool{}
	for i := range 40 {
		early[mustCreate(t, n, aliasTo(fmt.Sprintf("%07d", 1234567+i*99), "http://example.com/early"))] = true
	}
	mustCreateKeyspace(t, n, sevenDigits)
	taken := 0
	for taken < 2_000_000 { // of 10 million: 8 of the aliases would be among them
		keys, err := n.TakeKeys(patient(t), cluster.TakeRequest{Keyspace: "d7", Count: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range list(keys) {
			if early[key] {
				t.Fatalf("the alias %s was given away", key)
			}
			taken++
		}
	}
	for key := range early {
		if _, link, err := n.Link(patient(t), cluster.Linearizable, key); err != nil || link.Url != "http://example.com/early" {
			t.Fatalf("%s: %v, %v", key, link, err)
		}
		o := create(patient(t), n, &pb.CreateLink{TakenKey: key, Keyspace: "d7", Link: &pb.Link{Url: "http://example.com/late"}}, nil)
		if !errors.Is(o.Err, fsm.ErrKeyNotTaken) {
			t.Fatalf("%s was bound: %+v", key, o)
		}
	}
}

// Blocked words are in no key, however it is taken, and a key with one cannot be
// bound by who guesses it.
func TestBlocklist(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 1, nil)
	n := c.Node("n1")
	r := sevenDigits
	r.Blocklist = []string{"123", "777", "99" + "9"}
	mustCreateKeyspace(t, n, r)
	blocked := keyspace.NewBlocklist(r.Blocklist)
	given := map[string]bool{}
	for _, count := range []int{1, 100, 3000, 60_000} {
		for _, i := range []*cluster.Idempotency{nil, idem(fmt.Sprint(count))} {
			keys, err := n.TakeKeys(patient(t), cluster.TakeRequest{Keyspace: "d7", Count: count, Idempotency: i})
			if err != nil || keys.Count() != count {
				t.Fatalf("%d keys, want %d: %v", keys.Count(), count, err)
			}
			for _, key := range list(keys) {
				if blocked.Blocks([]byte(key)) || given[key] {
					t.Fatalf("%s was given", key)
				}
				given[key] = true
			}
		}
	}
	for i := range 2000 {
		key := fmt.Sprintf("123%04d", i)
		if state, err := n.Key(patient(t), cluster.Linearizable, "d7", key); err != nil || state.Row == nil {
			continue
		}
		o := create(patient(t), n, &pb.CreateLink{TakenKey: key, Keyspace: "d7", Link: &pb.Link{Url: "http://example.com/"}}, nil)
		if !errors.Is(o.Err, fsm.ErrKeyNotTaken) {
			t.Fatalf("%s was bound: %+v", key, o)
		}
		return
	}
	t.Error("no blocked key was leased")
}

// anotherLeader moves leadership, or at every second time kills the leader.
func anotherLeader(t *testing.T, c *harness.Cluster, time int) {
	if time%2 == 0 {
		transfer(t, c)
		return
	}
	leader := c.WaitLeader()
	c.Kill(leader)
	c.Restart(leader)
}

// P1: no key of any of many key spaces comes twice while leaders die and move, and
// a key space that nobody uses holds nothing.
func TestManyKeyspacesAcrossLeaders(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	const spaces = 40
	name := func(i int) string { return fmt.Sprint("s", i) }
	for i := range spaces {
		r := cluster.KeyspaceRequest{Name: name(i), Space: keyspace.Space{Alphabet: "0123456789", Length: 6, Prefix: fmt.Sprintf("p%02d-", i)}}
		mustCreateKeyspace(t, c.Node("n1"), r)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				space := name((k*7 + i) % (spaces / 2)) // the other half stays idle
				up := c.Up()
				n := c.Node(up[i%len(up)])
				if n == nil {
					continue
				}
				keys, err := n.TakeKeys(within(t, clientDeadline), cluster.TakeRequest{Keyspace: space, Count: 1 + k%50})
				if err != nil {
					continue
				}
				mu.Lock()
				for _, key := range list(keys) {
					if seen[key] {
						t.Errorf("%s of %s was given twice", key, space)
					}
					seen[key] = true
				}
				mu.Unlock()
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	for i := range 4 {
		goal := count() + 2000
		harness.Await(t, "more keys", func() error {
			if count() < goal {
				return errors.New("none come any more")
			}
			return nil
		})
		anotherLeader(t, c, i)
	}
	stop()
	clients.Wait()
	stats, err := c.Node("n1").Keyspaces(patient(t), cluster.Linearizable)
	if err != nil || len(stats) != spaces+1 {
		t.Fatalf("%d key spaces, %v", len(stats), err)
	}
	for _, s := range stats[1+spaces/2:] {
		if s.Buffered != 0 || s.Generated != 0 {
			t.Errorf("nobody uses %s, and it holds %d keys, %d are generated", s.Name, s.Buffered, s.Generated)
		}
	}
}
