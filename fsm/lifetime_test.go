package fsm

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

func limited(alias string, link *pb.Link) *pb.Command {
	link.Url = "https://a.example/"
	return cmd(&pb.CreateLink{Alias: alias, Link: link})
}

func visit(key string) *pb.Command { return cmd(&pb.VisitLink{Key: key}) }

func TestALinkHasExactlyItsVisits(t *testing.T) {
	d := newDriver(t)
	d.refused(pb.Code_LINK_NOT_FOUND, visit("a"))
	d.ok(limited("a", &pb.Link{MaxVisits: 3, Visits: 2})) // the machine knows better
	d.link("a")                                           // into the cache
	for n := range uint64(3) {
		equal(t, d.ok(visit("a")).Link.Visits, n+1)
		equal(t, d.link("a").Visits, n+1)
	}
	d.refused(pb.Code_LINK_USED_UP, visit("a"))
	d.ok(cmd(&pb.UpdateLink{Key: "a", MaxVisits: proto.Uint64(4)}))
	d.ok(visit("a"))
	d.refused(pb.Code_LINK_USED_UP, visit("a"))
	d.ok(cmd(&pb.UpdateLink{Key: "a", MaxVisits: proto.Uint64(0)}))
	equal(t, d.ok(visit("a")).Link.Visits, uint64(4)) // no limit, nothing to count
	d.ok(deleteLink("a"))
	d.refused(pb.Code_LINK_NOT_FOUND, visit("a"))
}

// A visit whose answer got lost counts once.
func TestARepeatedVisitCountsOnce(t *testing.T) {
	d := newDriver(t)
	d.ok(limited("a", &pb.Link{MaxVisits: 3}))
	first := d.ok(request(visit("a"), 1, 1, 1))
	if again := d.ok(request(visit("a"), 1, 1, 1)); !proto.Equal(first, again) {
		t.Errorf("%v, then %v", first, again)
	}
	equal(t, d.link("a").Visits, uint64(1))
}

func TestALinkRedirectsWithinItsTimes(t *testing.T) {
	d := newDriver(t)
	for _, never := range []*pb.Link{
		{ExpiresAt: d.now}, {ExpiresAt: 1}, {ExpiresAt: d.now + 10, NotBefore: d.now + 10},
	} {
		d.refused(pb.Code_LINK_TIMES, limited("a", never))
	}
	d.refused(pb.Code_LINK_TIMES, cmd(&pb.CreateLink{Alias: "a", Link: &pb.Link{}, Ttl: -1}))
	d.ok(limited("a", &pb.Link{NotBefore: d.now + 10, ExpiresAt: d.now + 20, MaxVisits: 9}))
	for ms, want := range map[int64]error{
		0: ErrLinkNotYet, 9: ErrLinkNotYet, 10: nil, 19: nil, 20: ErrLinkExpired, 21: ErrLinkExpired,
	} {
		if got := Unusable(d.link("a"), d.now+ms); !errors.Is(got, want) {
			t.Errorf("after %d ms: %v, want %v", ms, got, want)
		}
	}
	d.refused(pb.Code_LINK_NOT_YET, visit("a"))
	d.now += 10
	d.ok(visit("a"))
	d.now += 10
	d.refused(pb.Code_LINK_EXPIRED, visit("a"))
	d.refused(pb.Code_LINK_TIMES, cmd(&pb.UpdateLink{Key: "a", Ttl: proto.Int64(0)}))
	d.ok(cmd(&pb.UpdateLink{Key: "a", Title: proto.String("t")})) // expired as it is
	d.ok(cmd(&pb.UpdateLink{Key: "a", Ttl: proto.Int64(5)}))
	d.ok(visit("a"))
	equal(t, d.link("a").ExpiresAt, d.now+5)
}

func TestAnExpiredLinkIsBuriedAfterAMonth(t *testing.T) {
	d := newDriver(t)
	for i := range 30 {
		d.ok(cmd(&pb.CreateLink{Alias: fmt.Sprint("k", i), Link: &pb.Link{Url: "u", Tags: []string{"x"}}, Ttl: int64(i + 1)}))
	}
	d.ok(cmd(&pb.CreateLink{Alias: "stays", Link: &pb.Link{Url: "u", Tags: []string{"x"}}}))
	d.ok(cmd(&pb.CreateLink{Alias: "longer", Link: &pb.Link{Url: "u"}, Ttl: 1}))
	d.now += ExpiredKept.Milliseconds()
	d.ok(cmd(&pb.UpdateLink{Key: "longer", ExpiresAt: proto.Int64(0)})) // just in time
	d.now += 100
	for range 5 {
		d.apply()
	}
	state, err := d.m.State()
	check(t, err)
	equal(t, state.Links, uint64(2))
	equal(t, d.count(store.LinkExpiry), 0)
	equal(t, d.count(store.LinkURLs), 2)
	equal(t, d.count(store.LinkTags), 1)
	if _, err := d.m.Link("k7"); !errors.Is(err, ErrLinkExpired) || errors.Is(err, ErrLinkNotFound) {
		t.Error(err)
	}
	d.refused(pb.Code_ALIAS_TAKEN, alias("k7"))
	d.refused(pb.Code_LINK_NOT_FOUND, cmd(&pb.UpdateLink{Key: "k7"}))
}

// One entry buries few: a great many links that end together stall nobody.
func TestBuryingIsSpreadOverEntries(t *testing.T) {
	d := newDriver(t)
	for i := range 100 {
		d.ok(cmd(&pb.CreateLink{Alias: fmt.Sprint("k", i), Link: &pb.Link{Url: "u"}, Ttl: 1}))
	}
	d.now += ExpiredKept.Milliseconds() + 1000
	before := d.count(store.LinkExpiry)
	d.apply()
	equal(t, before-d.count(store.LinkExpiry), 8)
}

func TestFindIfExists(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 30))
	id := d.ok(lease(digits, 10)).Grants[0].Lease
	wanted := func(edit func(*pb.CreateLink)) *pb.Command {
		op := &pb.CreateLink{FindIfExists: true, Keyspace: digits, Link: &pb.Link{Url: "u", Tags: []string{"x"}}}
		if edit != nil {
			edit(op)
		}
		return cmd(op)
	}
	d.refused(pb.Code_GENERATED_KEY_BOUND, wanted(nil)) // none is there: the leader brings a key
	first := d.ok(d.generatedFor(wanted(nil), id, 0))
	equal(t, first.Found, false)
	for name, edit := range map[string]func(*pb.CreateLink){
		"same":             nil,
		"without tag":      func(op *pb.CreateLink) { op.Link.Tags = nil },
		"302 said":         func(op *pb.CreateLink) { op.Link.Redirect = 302 },
		"another title":    func(op *pb.CreateLink) { op.Link.Title = "t" },
		"under its name":   func(op *pb.CreateLink) { op.Alias = first.Key },
		"as one was taken": func(op *pb.CreateLink) { op.TakenKey = first.Key },
	} {
		if r := d.ok(wanted(edit)); r.Key != first.Key || !r.Found {
			t.Errorf("%s: %v", name, r)
		}
	}
	for name, edit := range map[string]func(*pb.CreateLink){
		"another URL":  func(op *pb.CreateLink) { op.Link.Url = "u2" },
		"another tag":  func(op *pb.CreateLink) { op.Link.Tags = []string{"x", "y"} },
		"permanently":  func(op *pb.CreateLink) { op.Link.Redirect = 301 },
		"with an end":  func(op *pb.CreateLink) { op.Link.ExpiresAt = d.now + 1000 },
		"with visits":  func(op *pb.CreateLink) { op.Link.MaxVisits = 1 },
		"with a start": func(op *pb.CreateLink) { op.Link.NotBefore = 1 },
	} {
		if r := d.do(wanted(edit)); r.Code != pb.Code_GENERATED_KEY_BOUND {
			t.Errorf("%s: %v", name, r)
		}
	}
	d.refused(pb.Code_ALIAS_TAKEN, wanted(func(op *pb.CreateLink) { op.Alias, op.Link.Url = first.Key, "u2" }))
	d.ok(cmd(&pb.UpdateLink{Key: first.Key, Url: proto.String("u2")}))
	d.refused(pb.Code_GENERATED_KEY_BOUND, wanted(nil))
	d.ok(wanted(func(op *pb.CreateLink) { op.Link.Url = "u2" }))
	d.ok(deleteLink(first.Key))
	d.refused(pb.Code_GENERATED_KEY_BOUND, wanted(func(op *pb.CreateLink) { op.Link.Url = "u2" }))
	equal(t, d.count(store.LinkURLs), 0)
}

// generatedFor gives a command to create a link the key at a position.
func (d *driver) generatedFor(c *pb.Command, lease, pos uint64) *pb.Command {
	c.GetCreateLink().Generated = d.generated(digits, lease, pos).GetCreateLink().Generated
	return c
}
