package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// follower keeps a table of links by the changes alone.
type follower struct {
	t      tester
	watch  *LinkWatch
	table  map[string]*pb.Link
	seen   []Change
	stops  bool
	places []place // where one may stop, if stops
}

// place is a position in the log, how much was seen up to it, and the table there.
type place struct {
	id    ChangeID
	seen  int
	table map[string]*pb.Link
}

// follow reads all there is. Its error is ErrWatchGone.
func (f *follower) follow() (more <-chan struct{}, err error) {
	f.t.Helper()
	for {
		changes, more, err := f.watch.Next()
		if errors.Is(err, ErrWatchGone) {
			return nil, err
		}
		check(f.t, err)
		if more != nil {
			return more, nil
		}
		for _, c := range changes {
			f.take(c)
		}
	}
}

// take refuses what cannot happen to the link as it was.
func (f *follower) take(c Change) {
	f.t.Helper()
	if n := len(f.seen); n > 0 && f.seen[n-1].ID.Compare(c.ID) >= 0 {
		f.t.Fatalf("%v comes after %v", c.ID, f.seen[n-1].ID)
	}
	if was := f.table[c.Key]; (was == nil) != (c.Kind == LinkCreated) || (c.Link == nil) != (c.Kind == LinkDeleted) {
		f.t.Fatalf("%v of the link %v", c, was)
	}
	if f.seen = append(f.seen, c); c.Link == nil {
		delete(f.table, c.Key)
	} else {
		f.table[c.Key] = c.Link
	}
	if f.stops {
		f.stop(c.ID)
	}
}

func (f *follower) stop(at ChangeID) {
	f.places = append(f.places, place{at, len(f.seen), maps.Clone(f.table)})
}

// again starts anew with a list of the links, as one does who is told to.
func (f *follower) again(m *Machine) {
	f.t.Helper()
	var err error
	f.watch, err = m.Watch(Through(m.Applied()))
	check(f.t, err)
	page, _, err := m.Links(LinkQuery{Limit: math.MaxInt})
	check(f.t, err)
	f.table = map[string]*pb.Link{}
	for _, l := range page {
		f.table[l.Key] = l.Link
	}
}

func (f *follower) wantLinks(links map[string]*pb.Link) {
	f.t.Helper()
	live := 0
	for key, want := range links {
		if want.DeletedAt != 0 {
			continue
		}
		if live++; !proto.Equal(f.table[key], want) {
			f.t.Fatalf("link %s is %v by the changes, %v by the table", key, f.table[key], want)
		}
	}
	equal(f.t, len(f.table), live)
}

func equalChanges(t tester, got, want []Change) {
	t.Helper()
	equal(t, len(got), len(want))
	for i, c := range got {
		if w := want[i]; c.ID != w.ID || c.Kind != w.Kind || c.Key != w.Key || !proto.Equal(c.Link, w.Link) {
			t.Fatalf("got %v, want %v", c, w)
		}
	}
}

// Random logs: the changes, put together, are the table of links after every
// entry. A restore or a recovery ends whoever follows, and nothing else does.
// Another replica, with its own batches, its own restarts and room for little,
// gives from every place where one may have stopped exactly the rest, or says
// that it does not have it.
func TestChangesAreTheTable(t *testing.T) {
	gone, resumed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(evenly(t))
		w.backups = &backups{}
		if w.chance(8, "recovers") {
			w.recovery = 1 + w.draw(60, "recovery")
		}
		d, other := emptyDriver(t), emptyDriver(t)
		defer func() { d.close(); other.close() }()
		w.backups.take = d.backup
		f := &follower{t: t, stops: true}
		f.again(d.m)
		var batch []LogEntry
		small := func() { other.m.changes.chunk, other.m.changes.keep = 300, 6 }
		small()
		for more := times(10 + w.draw(50, "entries")); more(); {
			e, want := w.next()
			entry := encodeEntry(w.index, w.term, e)
			_, err := d.m.Apply([]LogEntry{entry})
			check(t, err)
			replaced := false
			for _, r := range want {
				replaced = replaced || r.Code == pb.Code_OK && r.Restored != nil && r.Index == w.index
			}
			seen := len(f.seen)
			if _, err := f.follow(); (err != nil) != replaced {
				t.Fatalf("replaced: %v, the watch ended with %v", replaced, err)
			} else if err != nil {
				f.again(d.m)
			}
			f.wantLinks(w.model.Links)
			for _, c := range f.seen[seen:] {
				equal(t, c.ID.Index, w.index)
			}
			equal(t, f.watch.After(), Through(w.index))
			f.stop(f.watch.After())
			if batch = append(batch, entry); w.chance(3, "apply") {
				_, err := other.m.Apply(batch)
				check(t, err)
				batch = nil
			}
			if w.chance(40, "restart") {
				other.reopen()
				small()
			}
		}
		_, err := other.m.Apply(batch)
		check(t, err)
		for i, p := range f.places {
			watch, err := other.m.Watch(p.id)
			if errors.Is(err, ErrWatchGone) && i < len(f.places)-1 {
				gone++
				continue
			}
			check(t, err)
			resumed++
			rest := &follower{t: t, watch: watch, table: p.table}
			_, err = rest.follow()
			check(t, err)
			equalChanges(t, rest.seen, f.seen[p.seen:])
			rest.wantLinks(w.model.Links)
		}
	})
	if gone == 0 || resumed == 0 {
		t.Errorf("%d places were gone, %d were not: nothing was tried", gone, resumed)
	}
}

// What changes no link is no change.
func TestNoChangeOfLinks(t *testing.T) {
	d := newDriver(t)
	once := idempotent(request(alias("once"), 1, 1, 1), "k")
	limited := cmd(&pb.CreateLink{Alias: "limited", Link: &pb.Link{Url: "http://l/", MaxVisits: 1}})
	d.apply(once, alias("twice"), limited)
	watch, err := d.m.Watch(ChangeID{})
	check(t, err)
	again := proto.CloneOf(once)
	again.Request.Seq = 2
	d.apply(once, again, alias("twice"), deleteLink("none"), d.generated(wide, 9, 9),
		cmd(&pb.UpdateLink{Key: "none"}), cmd(&pb.VisitLink{Key: "twice"}), cmd(&pb.VisitLink{Key: "none"}),
		cmd(&pb.CreateLink{FindIfExists: true, Link: &pb.Link{Url: "https://example.com/twice"}}),
		cmd(&pb.AddVisits{Links: []*pb.LinkVisits{{Key: "twice", Visits: &pb.Visits{Visits: 3}}}}), generate(digits, 10))
	changes, more, err := watch.Next()
	if check(t, err); more == nil {
		t.Errorf("changes: %v", changes)
	}
	d.apply(cmd(&pb.VisitLink{Key: "limited"}), cmd(&pb.VisitLink{Key: "limited"})) // the second is refused
	changes, _, err = watch.Next()
	check(t, err)
	equalChanges(t, changes, []Change{{Through(d.index), LinkChanged, "limited", d.link("limited")}})
}

// An expired link is deleted by whatever entry comes when its time is over.
func TestTheBurialOfALinkIsAChange(t *testing.T) {
	d := newDriver(t)
	d.ok(cmd(&pb.CreateLink{Alias: "short", Ttl: minute, Link: &pb.Link{Url: "http://s/"}}))
	watch, err := d.m.Watch(ChangeID{})
	check(t, err)
	d.now += 2 * minute
	d.apply()
	_, more, err := watch.Next()
	if check(t, err); more == nil {
		t.Error("its expiry is a change")
	}
	d.now += ExpiredKept.Milliseconds()
	d.apply(alias("another"))
	changes, _, err := watch.Next()
	check(t, err)
	equalChanges(t, changes, []Change{
		{ChangeID{d.index, 0}, LinkCreated, "another", d.link("another")},
		{Through(d.index), LinkDeleted, "short", nil}})
}

// Who does not read falls behind and is told so; who reads goes on; memory is bounded.
func TestASlowWatcherFallsBehind(t *testing.T) {
	d := newDriver(t)
	d.m.changes.chunk, d.m.changes.keep = 4<<10, 10
	slow, err := d.m.Watch(ChangeID{})
	check(t, err)
	quick := &follower{t: t}
	quick.again(d.m)
	start := d.index
	const links = 3000
	for i := 0; i < links; i += 100 {
		var cmds []*pb.Command
		for j := range 100 {
			cmds = append(cmds, alias(fmt.Sprint("link-", i+j)))
		}
		d.apply(cmds...)
		_, err := quick.follow()
		check(t, err)
	}
	equal(t, len(quick.table), links)
	if _, _, err := slow.Next(); !errors.Is(err, ErrWatchGone) {
		t.Error(err)
	}
	if _, err := d.m.Watch(Through(start)); !errors.Is(err, ErrWatchGone) {
		t.Error(err)
	}
	size := 0
	for _, c := range d.m.changes.chunks {
		size += cap(c.data)
	}
	if limit := 40 << 10; size > limit || size < limit/2 {
		t.Errorf("%d bytes are kept, of %d", size, limit)
	}
}

// Readers follow while the log goes on, and find in the store what they are told of.
func TestWatchersFollowConcurrently(t *testing.T) {
	d := newDriver(t)
	d.m.changes.chunk = 500
	var all sync.WaitGroup
	const links = 400
	for range 4 {
		f := &follower{t: t}
		f.again(d.m)
		all.Go(func() {
			for told := 0; ; {
				more, err := f.follow()
				for ; err == nil && told < len(f.seen); told++ {
					_, err = d.m.Link(f.seen[told].Key)
				}
				if err != nil {
					t.Error(err)
				}
				if err != nil || len(f.seen) == links {
					return
				}
				<-more
			}
		})
	}
	for i := range links {
		d.apply(alias(fmt.Sprint("link-", i)))
	}
	all.Wait()
}

func TestChangeIDs(t *testing.T) {
	for _, id := range []ChangeID{Through(0), Through(7), Through(math.MaxUint64), {7, 0}, {7, 12}} {
		got, ok := ParseChangeID(id.String())
		equal(t, ok, true)
		equal(t, got, id)
	}
	for _, text := range []string{"", "-", "x", "7-", "-7", "+7", "07", "7-x", "7-01", "7-4294967295", "0-0", " 7", "7 ", "18446744073709551616", "7-1-1"} {
		if id, ok := ParseChangeID(text); ok {
			t.Errorf("%q is %v", text, id)
		}
	}
}

// A snapshot that is installed ends whoever has not come as far as it goes, also
// where nothing has changed yet; who has, goes on.
func TestASnapshotEndsWatches(t *testing.T) {
	ahead, d := newDriver(t), newDriver(t)
	waiting, err := d.m.Watch(ChangeID{})
	check(t, err)
	_, more, err := waiting.Next()
	check(t, err)
	ahead.ok(alias("one"))
	ahead.ok(alias("two"))
	check(t, d.m.Restore(bytes.NewReader(ahead.stream())))
	<-more
	if _, _, err := waiting.Next(); !errors.Is(err, ErrWatchGone) {
		t.Error(err)
	}
	if _, err := d.m.Watch(Through(ahead.index - 1)); !errors.Is(err, ErrWatchGone) {
		t.Error(err)
	}
	watch, err := d.m.Watch(Through(ahead.index))
	check(t, err)
	check(t, d.m.Restore(bytes.NewReader(ahead.stream())))
	d.index = ahead.index
	d.ok(alias("three"))
	changes, _, err := watch.Next()
	check(t, err)
	equalChanges(t, changes, []Change{{Through(d.index), LinkCreated, "three", d.link("three")}})
}
