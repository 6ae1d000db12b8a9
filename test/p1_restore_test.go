package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

func mustBackup(t testing.TB, n *cluster.Node) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := n.Backup(patient(t), &file); err != nil {
		t.Fatalf("backup through %s: %v", n.ID(), err)
	}
	return file.Bytes()
}

func restore(ctx context.Context, n *cluster.Node, file []byte, r cluster.RestoreRequest) (cluster.RestoreResult, error) {
	return n.RestoreBackup(ctx, bytes.NewReader(file), r)
}

func mustRestore(t testing.TB, n *cluster.Node, file []byte) *pb.Restored {
	t.Helper()
	done, err := restore(within(t, harness.Patience), n, file, cluster.RestoreRequest{})
	if err != nil {
		t.Fatalf("restore through %s: %v", n.ID(), err)
	}
	return done.Restored
}

// linked creates so many links with long URLs, and returns their keys: a backup
// of some hundreds comes in several parts.
func linked(t testing.TB, n *cluster.Node, count int) []string {
	t.Helper()
	requests := make([]cluster.CreateRequest, count)
	for i := range requests {
		requests[i].Create = linkTo("http://example.com/" + strings.Repeat("x", 1500))
	}
	var keys []string
	for _, o := range n.CreateLinks(patient(t), requests) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// gone: none of the keys has a link, on any node, and none can get one.
func gone(t *testing.T, c *harness.Cluster, keys ...string) {
	t.Helper()
	for _, id := range c.Up() {
		n := c.Node(id)
		for _, key := range keys {
			if _, _, err := n.Link(patient(t), cluster.Linearizable, key); !errors.Is(err, fsm.ErrLinkNotFound) {
				t.Errorf("%s through %s: %v", key, id, err)
			}
			if o := create(patient(t), n, aliasTo(key, "http://example.com/"), nil); !errors.Is(o.Err, fsm.ErrAliasTaken) {
				t.Errorf("%s as an alias: %v", key, o.Err)
			}
			taken := &pb.CreateLink{TakenKey: key, Link: &pb.Link{Url: "http://example.com/"}}
			if o := create(patient(t), n, taken, nil); !errors.Is(o.Err, fsm.ErrKeyNotTaken) && !errors.Is(o.Err, fsm.ErrNotInKeyspace) {
				t.Errorf("%s as a taken key: %v", key, o.Err)
			}
		}
	}
}

// allWays takes keys through the node in each way there is, after a restore that
// burned all below mark: they come from above, and can be used.
func allWays(t *testing.T, n *cluster.Node, mark uint64, once string) (keys []string) {
	t.Helper()
	first, err := n.TakeKeys(patient(t), cluster.TakeRequest{Count: 10, Idempotency: idem(once)})
	if err != nil {
		t.Fatal(err)
	}
	for _, taken := range []cluster.Keys{first, mustTake(t, n, 100), mustTake(t, n, 3500)} { // more than half a buffer: from the log
		keys = append(keys, list(taken)...)
		mustCreate(t, n, &pb.CreateLink{TakenKey: list(taken)[1], Link: &pb.Link{Url: "http://example.com/"}})
		if o := n.ReturnKeys(patient(t), "", taken.Receipt, list(taken)[:1], nil); o.Err != nil {
			t.Errorf("return through %s: %v", n.ID(), o.Err)
		}
	}
	keys = append(keys, linked(t, n, 20)...)
	for i := 0; i < len(keys); i += 7 {
		state, err := n.Key(patient(t), cluster.Linearizable, "", keys[i])
		if err != nil || state.Position < mark || state.Row.GetPurpose() != pb.Purpose_LEASE && state.Row.GetPurpose() != pb.Purpose_RETURNED {
			t.Errorf("%s, after a restore up to %d: %+v, %v", keys[i], mark, state, err)
		}
	}
	return keys
}

// Whoever leads and whoever is asked: after a restore, links are the backup's, no
// key of before comes again, and nothing can be done with one.
func TestP1_RestoreNeverReissues(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	keys := newKeyring(t)
	leader := c.WaitLeader()
	follower := c.Followers(leader)[0]
	early := mustTake(t, c.Node(leader), 100)
	keys.add("before the backup", list(early)...)
	mustCreate(t, c.Node(follower), aliasTo("early", "http://example.com/early"))
	kept := linked(t, c.Node(leader), 5)
	keys.add("before the backup", kept...)
	file := mustBackup(t, c.Node(follower))

	late := mustTake(t, c.Node(leader), 10_000)
	keys.add("after the backup", list(late)...)
	mustCreate(t, c.Node(leader), aliasTo("late", "http://example.com/late"))
	aliasKey := "zzzzzz" // a key of the key space, far from being generated
	mustCreate(t, c.Node(leader), aliasTo(aliasKey, "http://example.com/key"))
	lost := linked(t, c.Node(leader), 5)
	keys.add("after the backup", lost...)
	keys.add("after the backup", aliasKey)

	for round, through := range []string{follower, leader} {
		told := mustRestore(t, c.Node(through), file)
		if told.Links != 6 || told.LinksLost != []uint64{7, 3 * 23}[round] || told.Keyspaces[0].Burned == 0 {
			t.Errorf("told %v", told)
		}
		for _, id := range c.Up() {
			keys.add(id, allWays(t, c.Node(id), told.Keyspaces[0].HighWaterMark, fmt.Sprint(id, round))...)
		}
		gone(t, c, append([]string{"late", aliasKey}, lost...)...)
		for _, receipt := range []cluster.Keys{early, late} {
			if o := c.Node(follower).ReturnKeys(patient(t), "", receipt.Receipt, list(receipt)[:2], nil); !errors.Is(o.Err, fsm.ErrNotReturnable) {
				t.Errorf("a receipt of before the restore: %v", o.Err)
			}
			gone(t, c, list(receipt)[:2]...)
		}
		for _, key := range append(kept, "early") {
			if _, _, err := c.Node(follower).Link(patient(t), cluster.Linearizable, key); err != nil {
				t.Errorf("%s of the backup: %v", key, err)
			}
		}
		c.WaitEqual(t)
	}
}

// The leader dies at some moment of a restore that goes through another node,
// with clients at work on all: the restore is done all the same, once, and no key
// is given twice.
func TestP1_RestoreAcrossALeaderKill(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	linked(t, c.Node(leader), 500)
	file := mustBackup(t, c.Node(leader))
	l, keys := newLoad(t, c), newKeyring(t)
	for _, id := range c.Up() {
		keys.takeThrough(l, id)
	}
	for _, moment := range []time.Duration{0, 10, 20, 40, 60, 90} {
		l.progress(20)
		leader = c.WaitLeader()
		n := c.Node(c.Followers(leader)[0])
		done := make(chan error, 1)
		go func() {
			_, err := restore(within(t, harness.Patience), n, file, cluster.RestoreRequest{})
			done <- err
		}()
		<-time.After(moment * time.Millisecond)
		c.Kill(leader)
		if err := <-done; err != nil {
			t.Errorf("killed after %d ms: %v", moment, err)
		}
		c.Restart(leader)
	}
	l.progress(50)
	l.end()
	for _, id := range c.Up() {
		keys.add("the end", list(mustTake(t, c.Node(id), 10))...)
	}
	c.WaitEqual(t)
}

// A node that was away gets the restore from the log, or the state after it.
func TestP1_RestoreWhileAFollowerIsAway(t *testing.T) {
	t.Parallel()
	for name, tune := range map[string]func(*cluster.Config){"by the log": nil, "by a snapshot": shortLog} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := harness.Start(t, 3, tune)
			keys := newKeyring(t)
			leader := c.WaitLeader()
			away := c.Followers(leader)[0]
			linked(t, c.Node(leader), 300)
			file := mustBackup(t, c.Node(leader))
			lost := linked(t, c.Node(leader), 3)
			keys.add("before", append(list(mustTake(t, c.Node(away), 1000)), lost...)...)
			c.Kill(away)
			mustRestore(t, c.Node(leader), file)
			keys.add("after", list(mustTake(t, c.Node(leader), 1000))...)
			if tune != nil {
				awaitSnapshot(t, c, map[string]string{}, c.Up()...)
			}
			c.Restart(away)
			c.WaitEqual(t)
			keys.add("as the leader", list(mustTake(t, mustTransferTo(t, c, away), 1000))...)
			gone(t, c, lost...)
			for _, id := range c.Up() {
				c.Kill(id)
			}
			for _, id := range []string{"n1", "n2", "n3"} {
				c.Restart(id)
			}
			keys.add("after a restart of all", list(mustTake(t, c.Node(away), 1000))...)
			c.WaitEqual(t)
		})
	}
}

// Whatever is wrong with the file or the way to it, nothing changes.
func TestRestoreOfABadFileChangesNothing(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 1, nil)
	n := c.Node("n1")
	linked(t, n, 60)
	file := mustBackup(t, n)
	mustCreate(t, n, aliasTo("late", "http://example.com/"))
	awaitRegistered(t, c) // the last that changes by itself
	before, digest, err := n.Machine().Digest()
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the client went away")
	for at := 0; at < len(file); at += 4096 {
		damaged := bytes.Clone(file)
		damaged[at] ^= 0x10
		for what, attempt := range map[string]struct {
			r    io.Reader
			want error
		}{
			"broken off": {io.MultiReader(bytes.NewReader(file[:at]), iotest.ErrReader(broken)), broken},
			"cut short":  {bytes.NewReader(file[:at]), fsm.ErrBackup},
			"damaged":    {bytes.NewReader(damaged), fsm.ErrBackup},
		} {
			if _, err := n.RestoreBackup(patient(t), attempt.r, cluster.RestoreRequest{}); !errors.Is(err, attempt.want) {
				t.Errorf("%s at %d: %v", what, at, err)
			}
		}
	}
	if index, after, err := n.Machine().Digest(); err != nil || index != before || after != digest {
		t.Errorf("the state has changed from log index %d to %d (%v)", before, index, err)
	}
	mustRestore(t, n, file)
	gone(t, c, "late")

	left := filepath.Join(c.Dir("n1"), "restore-cut-short")
	spools := func() string { return fmt.Sprint(filepath.Glob(filepath.Join(c.Dir("n1"), "restore-*"))) }
	if got := spools(); got != "[] <nil>" {
		t.Errorf("left in the data directory: %s", got)
	}
	if err := os.WriteFile(left, file[:5000], 0o600); err != nil {
		t.Fatal(err)
	}
	c.Kill("n1") // in the middle of a restore
	c.Restart("n1")
	if got := spools(); got != "[] <nil>" {
		t.Errorf("left in the data directory after a start: %s", got)
	}
}

func TestRestoreOfAnotherClustersBackup(t *testing.T) {
	t.Parallel()
	old := harness.Start(t, 1, nil)
	keys := newKeyring(t)
	n := old.Node("n1")
	links := linked(t, n, 10)
	keys.add("the old cluster", list(mustTake(t, n, 1000))...)
	keys.add("the old cluster", links...)
	file := mustBackup(t, n)
	keys.add("the old cluster, after the backup", list(mustTake(t, n, 1000))...)

	c := harness.Start(t, 3, nil)
	leader, follower := c.WaitLeader(), c.Followers(c.WaitLeader())[0]
	current(t, c)
	if _, err := restore(patient(t), c.Node(follower), file, cluster.RestoreRequest{}); !errors.Is(err, fsm.ErrRestoreRefused) || !strings.Contains(err.Error(), "floor") {
		t.Errorf("without a floor: %v", err)
	}
	request := cluster.RestoreRequest{Floors: cluster.Floors{Others: 30_000_000}, IdempotencyKey: "once"}
	done, err := restore(patient(t), c.Node(follower), file, request)
	if err != nil || !done.Restored.Adopted || done.Restored.Keyspaces[0].HighWaterMark != 30_000_000 {
		t.Fatalf("with a floor: %v, %v", done.Restored, err)
	}
	for _, id := range c.Up() { // under the old cluster's permutation now, in each way there is
		fresh := allWays(t, c.Node(id), request.Floors.Others, id)
		keys.add(id, fresh...)
		for _, key := range fresh[:5] {
			then, errThen := n.Key(patient(t), cluster.Linearizable, "", key)
			now, errNow := c.Node(id).Key(patient(t), cluster.Linearizable, "", key)
			if errThen != nil || errNow != nil || now.Position != then.Position {
				t.Errorf("%s is at position %d, in the old cluster at %d (%v, %v)", key, now.Position, then.Position, errNow, errThen)
			}
		}
		if _, _, err := c.Node(id).Link(patient(t), cluster.Linearizable, links[0]); err != nil {
			t.Errorf("a link of the backup through %s: %v", id, err)
		}
	}
	if again, err := restore(patient(t), c.Node(leader), file, request); err != nil || !again.Replayed || again.Index != done.Index {
		t.Errorf("the same restore, sent again: %+v, %v", again, err)
	}
	request.IdempotencyKey = ""
	if _, err := restore(patient(t), c.Node(leader), file, request); !errors.Is(err, fsm.ErrRestoreRefused) {
		t.Errorf("over keys that this cluster has issued: %v", err)
	}
	c.WaitEqual(t)
}

// P10: an error of a restore says the truth: done, not done, or unknown.
func TestP10_ARestoreThatFailsSaysWhatItKnows(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	linked(t, c.Node(leader), 300)
	file := mustBackup(t, c.Node(leader))
	said := map[string]int{}
	for i := range 12 {
		leader = c.WaitLeader()
		alias := fmt.Sprint("late-", i)
		mustCreate(t, c.Node(leader), aliasTo(alias, "http://example.com/"))
		failed := make(chan error, 1)
		go func() {
			_, err := restore(within(t, 400*time.Millisecond), c.Node(leader), file, cluster.RestoreRequest{})
			failed <- err
		}()
		<-time.After(time.Duration(i*4) * time.Millisecond)
		for _, other := range c.Followers(leader) { // its words are heard, the answers are not
			c.Net.Cut(other, leader)
		}
		err := <-failed
		c.Heal()
		_, _, found := c.Node(c.WaitLeader()).Link(patient(t), cluster.Linearizable, alias)
		if found != nil && !errors.Is(found, fsm.ErrLinkNotFound) {
			t.Fatal(found)
		}
		switch restored := found != nil; {
		case err == nil && !restored:
			t.Errorf("%d: said to be done, and is not", i)
		case err != nil && restored && !errors.Is(err, fsm.ErrOutcomeUnknown):
			t.Errorf("%d: %v, but it is done", i, err)
		case err == nil:
			said["done"]++
		case errors.Is(err, fsm.ErrOutcomeUnknown):
			said["unknown"]++
		default:
			said["not done"]++
		}
	}
	t.Log(said)
	c.WaitEqual(t)
}
