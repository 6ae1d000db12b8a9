package fsm

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

func TestForwardQuery(t *testing.T) {
	d := newDriver(t)
	create := func(forward bool) *pb.Result {
		return d.ok(cmd(&pb.CreateLink{Alias: fmt.Sprint("forwards-", forward, d.index), FindIfExists: true,
			Link: &pb.Link{Url: "https://a.example", ForwardQuery: forward}}))
	}
	plain, forwards := create(false), create(true)
	if plain.Found || forwards.Found || plain.Link.ForwardQuery || !forwards.Link.ForwardQuery {
		t.Fatalf("%v, %v", plain, forwards)
	}
	again := d.ok(cmd(&pb.CreateLink{FindIfExists: true, Link: &pb.Link{Url: "https://a.example", ForwardQuery: true}}))
	equal(t, again.Key, forwards.Key)
	d.ok(cmd(&pb.UpdateLink{Key: plain.Key, ForwardQuery: proto.Bool(true)}))
	d.ok(cmd(&pb.UpdateLink{Key: plain.Key, Title: proto.String("t")}))
	equal(t, d.link(plain.Key).ForwardQuery, true)
	d.ok(cmd(&pb.UpdateLink{Key: plain.Key, ForwardQuery: proto.Bool(false)}))
	d.reopen()
	equal(t, d.link(plain.Key).ForwardQuery, false)
	equal(t, d.link(forwards.Key).ForwardQuery, true)
}

func (d *driver) link(key string) *pb.Link {
	d.t.Helper()
	link, err := d.m.Link(key)
	check(d.t, err)
	return link
}

// tagged lists the keys with a tag.
func (d *driver) tagged(tag string) string {
	d.t.Helper()
	page, next, err := d.m.Links(LinkQuery{Limit: 100, Tag: tag})
	check(d.t, err)
	equal(d.t, next, "")
	var keys []string
	for _, l := range page {
		keys = append(keys, l.Key)
	}
	return strings.Join(keys, " ")
}

func TestCreateLinkStoresWhatItWasGiven(t *testing.T) {
	d := newDriver(t)
	given := &pb.Link{Url: "https://example.com/ü?a=b#c", Title: "T", Tags: []string{"x", "y"}, Redirect: 301,
		CreatedAt: 5, UpdatedAt: 6, DeletedAt: 7, Alias: false}
	r := d.ok(cmd(&pb.CreateLink{Alias: "my-alias", Link: given}))
	want := &pb.Link{Url: given.Url, Title: "T", Tags: given.Tags, Redirect: 301, CreatedAt: d.now, Alias: true}
	equal(t, r.Key, "my-alias")
	if got := d.link("my-alias"); !proto.Equal(got, want) || !proto.Equal(r.Link, want) {
		t.Fatalf("got %v, answered %v, want %v", got, r.Link, want)
	}
}

func TestCreateLinkWithGeneratedKey(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 100))
	r := d.ok(lease(digits, 10))
	id := r.Grants[0].Lease
	first := d.generated(digits, id, 3)
	first.GetCreateLink().Link.Alias = true // the machine knows better
	equal(t, d.ok(first).Key, d.key(digits, 3))
	equal(t, d.link(d.key(digits, 3)).Alias, false)

	d.ok(taken(digits, d.key(digits, 4)))
	d.ok(d.generated(digits, id, 5))
	d.ok(deleteLink(d.key(digits, 5)))
	d.ok(returnKeys(d.receiptOf(digits, r), d.key(digits, 6)))
	d.ok(cmd(&pb.Release{Keyspace: digits, Grants: []*pb.Grant{{Lease: id, From: 7, Count: 1}}}))
	d.ok(alias(d.key(digits, 50)))
	for name, c := range map[string]*pb.Command{
		"bound":       d.generated(digits, id, 3),
		"taken":       d.generated(digits, id, 4),
		"deleted":     d.generated(digits, id, 5),
		"returned":    d.generated(digits, id, 6),
		"released":    d.generated(digits, id, 7),
		"other lease": d.generated(digits, id+1, 8),
		"no lease":    d.generated(digits, 0, 50),
		"unused":      d.generated(digits, id, 20),
		"ungenerated": d.generated(digits, id, 200),
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			d.refused(pb.Code_GENERATED_KEY_BOUND, c)
		})
	}
	d.t = t
	// P4 hangs on it: the string must be the one that the position stands for.
	for _, key := range []string{"", "a", "ABCDEF", d.key(digits, 9)} {
		d.refused(pb.Code_INVALID, cmd(&pb.CreateLink{Link: &pb.Link{}, Generated: &pb.GeneratedKey{Key: key, Position: 8, Lease: id}}))
	}
	d.refused(pb.Code_INVALID, cmd(&pb.CreateLink{Link: &pb.Link{}}))
}

// Keys in a row, at the end of the space, and of another space meanwhile.
func TestGeneratedKeysAreThoseOfTheirPositions(t *testing.T) {
	var run keyRun
	ten, sixteen := &space{perm: permutationOf(testInit().Keyspaces[0])}, &space{perm: permutationOf(testInit().Keyspaces[1])}
	for _, s := range []*space{ten, sixteen} {
		for _, positions := range [][]uint64{{0, 1, 2, 3, 1, 0}, {s.perm.Size() - 3, s.perm.Size() - 2, s.perm.Size() - 1, 0, 7}} {
			for _, pos := range positions {
				right := string(s.perm.AppendKey(nil, pos))
				wrong := string(s.perm.AppendKey(nil, (pos+1)%s.perm.Size()))
				if !run.has(s, pos, right) || run.has(s, pos, wrong) || run.has(s, pos, "") {
					t.Errorf("position %d of %d: is it %s: %t, is it %s: %t", pos, s.perm.Size(), right, run.has(s, pos, right), wrong, run.has(s, pos, wrong))
				}
			}
		}
		for _, beyond := range []uint64{s.perm.Size(), s.perm.Size() + 1, math.MaxUint64} {
			if run.has(s, beyond, "123456") {
				t.Errorf("position %d of %d has a key", beyond, s.perm.Size())
			}
		}
	}
}

// What one entry does to a lease counts for the commands after it in the same entry.
func TestGeneratedKeysSeeTheirOwnEntry(t *testing.T) {
	for name, between := range map[string]func(*driver, *pb.Result) *pb.Command{
		"release": func(_ *driver, r *pb.Result) *pb.Command {
			return cmd(&pb.Release{Keyspace: digits, Grants: r.Grants})
		},
		"return": func(d *driver, r *pb.Result) *pb.Command {
			return returnKeys(d.receiptOf(digits, r), d.keysOf(digits, r)[1:]...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t)
			d.ok(generate(digits, 10))
			r := d.ok(lease(digits, 10))
			id := r.Grants[0].Lease
			results := d.apply(d.generated(digits, id, 0), between(d, r), d.generated(digits, id, 5))
			equal(t, results[0].Code, pb.Code_OK)
			equal(t, results[1].Code, pb.Code_OK)
			equal(t, results[2].Code, pb.Code_GENERATED_KEY_BOUND)
		})
	}
}

func TestCreateLinkWithTakenKey(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 100))
	r := d.ok(cmd(&pb.Lease{Keyspace: digits, Count: 10, Direct: true}))
	keys := d.keysOf(digits, r)
	d.ok(alias(d.key(digits, 50)))
	d.ok(alias("other"))
	d.ok(returnKeys(d.receiptOf(digits, r), keys[9]))
	d.refused(pb.Code_NOT_IN_KEYSPACE, taken(digits, "other"))
	d.refused(pb.Code_NOT_IN_KEYSPACE, taken(digits, ""+"ABCDEF"))
	d.refused(pb.Code_KEY_NOT_TAKEN, taken(digits, d.key(digits, 20)))
	d.refused(pb.Code_KEY_NOT_TAKEN, taken(digits, d.key(digits, 200)))
	d.refused(pb.Code_KEY_NOT_TAKEN, taken(digits, d.key(digits, 50)))
	d.refused(pb.Code_KEY_NOT_TAKEN, taken(digits, keys[9]))
	d.ok(taken("", keys[0]))
	equal(t, d.link(keys[0]).Alias, false)
	d.refused(pb.Code_KEY_BOUND, taken(digits, keys[0]))
	d.ok(deleteLink(keys[0]))
	d.refused(pb.Code_KEY_BOUND, taken(digits, keys[0]))
}

// A key of a lease that is on its way into the leader's buffer can only have been
// guessed: it may not be bound before somebody is given it.
func TestKeyOnItsWayIntoTheBufferIsNotTaken(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 100))
	leased := d.ok(lease(digits, 10))
	key := d.keysOf(digits, leased)[0]
	bind := func(bufferedTo uint64) *pb.Command {
		return cmd(&pb.CreateLink{TakenKey: key, Keyspace: digits, Link: &pb.Link{Url: "u"}, BufferedTo: bufferedTo})
	}
	d.refused(pb.Code_KEY_NOT_TAKEN, bind(0))
	d.refused(pb.Code_KEY_NOT_TAKEN, bind(leased.Index-1))
	d.ok(bind(leased.Index))

	d.term++ // what another term leased is in nobody's buffer
	key = d.keysOf(digits, leased)[1]
	d.ok(bind(0))
}

// A link is under its key in every key space that has it, whichever was named,
// and whether or not the replica has seen the key's lease.
func TestKeyOfTwoSpacesIsBoundInBoth(t *testing.T) {
	for _, restart := range []bool{false, true} {
		d := newDriver(t)
		d.ok(generate(digits, 1000))
		d.ok(generate(hex, 10_000_000))
		var key string
		var pos uint64
		for _, k := range d.keysOf(digits, d.ok(lease(digits, 1000))) {
			if p, ok := d.perm(hex).Position(k); ok && p < 4_000_000 {
				key, pos = k, p
				break
			}
		}
		leased := d.ok(lease(hex, 4_000_000))
		if restart {
			d.reopen()
		}
		d.ok(taken(digits, key))
		d.refused(pb.Code_GENERATED_KEY_BOUND, d.generated(hex, leased.Grants[0].Lease, pos))
	}
}

func TestUpdateLink(t *testing.T) {
	d := newDriver(t)
	update := func(edit func(*pb.UpdateLink)) *pb.Command {
		op := &pb.UpdateLink{Key: "a"}
		edit(op)
		return cmd(op)
	}
	d.refused(pb.Code_LINK_NOT_FOUND, update(func(*pb.UpdateLink) {}))
	d.ok(cmd(&pb.CreateLink{Alias: "a", Link: &pb.Link{Url: "u", Title: "t", Redirect: 301, Tags: []string{"x", "y"}}}))
	want := d.link("a")
	for name, c := range map[string]struct {
		set  func(*pb.UpdateLink)
		want func(*pb.Link)
	}{
		"nothing":     {func(*pb.UpdateLink) {}, func(*pb.Link) {}},
		"url":         {func(op *pb.UpdateLink) { op.Url = proto.String("u2") }, func(l *pb.Link) { l.Url = "u2" }},
		"empty title": {func(op *pb.UpdateLink) { op.Title = proto.String("") }, func(l *pb.Link) { l.Title = "" }},
		"redirect":    {func(op *pb.UpdateLink) { op.Redirect = proto.Uint32(0) }, func(l *pb.Link) { l.Redirect = 0 }},
		"tags":        {func(op *pb.UpdateLink) { op.SetTags, op.Tags = true, []string{"y", "z"} }, func(l *pb.Link) { l.Tags = []string{"y", "z"} }},
		"tags unset":  {func(op *pb.UpdateLink) { op.Tags = []string{"w"} }, func(*pb.Link) {}},
	} {
		d.now += 1000
		c.want(want)
		want.UpdatedAt = d.now
		r := d.ok(update(c.set))
		if got := d.link("a"); !proto.Equal(got, want) || !proto.Equal(r.Link, want) || r.Key != "a" {
			t.Fatalf("%s: stored %v, answered %v, want %v", name, got, r, want)
		}
	}
	equal(t, d.tagged("x"), "")
	equal(t, d.tagged("y"), "a")
	equal(t, d.tagged("z"), "a")
	equal(t, d.count(store.LinkTags), 2)
	d.ok(deleteLink("a"))
	d.refused(pb.Code_LINK_NOT_FOUND, update(func(*pb.UpdateLink) {}))
}

func TestDeletedKeyIsNeverIssuedAgain(t *testing.T) {
	d := newDriver(t)
	d.refused(pb.Code_LINK_NOT_FOUND, deleteLink("a"))
	d.ok(cmd(&pb.CreateLink{Alias: "a", Link: &pb.Link{Url: "u", Title: "t", Tags: []string{"x"}}}))
	state, err := d.m.State()
	check(t, err)
	equal(t, state.Links, uint64(1))
	d.ok(deleteLink("a"))
	state, err = d.m.State()
	check(t, err)
	equal(t, state.Links, uint64(0))
	if _, err := d.m.Link("a"); !errors.Is(err, ErrLinkDeleted) || !errors.Is(err, ErrLinkNotFound) {
		t.Fatal(err)
	}
	d.refused(pb.Code_LINK_NOT_FOUND, deleteLink("a"))
	d.refused(pb.Code_ALIAS_TAKEN, alias("a"))
	equal(t, d.count(store.LinkTags), 0)

	// An alias that is a key stays used too.
	d.ok(generate(digits, 3))
	key := d.key(digits, 1)
	d.ok(alias(key))
	d.ok(deleteLink(key))
	d.refused(pb.Code_ALIAS_TAKEN, alias(key))
	d.refused(pb.Code_KEY_NOT_TAKEN, taken(digits, key))
	equal(t, d.state(digits, key), "ALIAS")
	equal(t, d.ok(lease(digits, 2)).Count, uint64(2))
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 1))
}

func TestTags(t *testing.T) {
	d := newDriver(t)
	create := func(key string, tags ...string) {
		d.ok(cmd(&pb.CreateLink{Alias: key, Link: &pb.Link{Url: "u", Tags: tags}}))
	}
	create("b", "x", "x")
	create("a", "x", "xx")
	create("c", "y")
	equal(t, d.tagged("x"), "a b")
	equal(t, d.tagged("xx"), "a")
	equal(t, d.tagged("z"), "")
	d.ok(cmd(&pb.UpdateLink{Key: "b", SetTags: true}))
	equal(t, d.tagged("x"), "a")
	d.ok(deleteLink("a"))
	equal(t, d.tagged("x"), "")
	equal(t, d.count(store.LinkTags), 1)
}
