package fsm

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/fsm/refmodel"
	"github.com/kgs-cluster/kgs/store"
)

// Random logs: every answer is the model's, after every entry the counters are
// those of the tables, and the tables, listed through the reads, are the model's.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(evenly(t))
		play(t, w, times(10+w.draw(70, "entries")))
	})
}

// times is true n times.
func times(n int) func() bool {
	return func() bool { n--; return n >= 0 }
}

// play has a machine apply the world's entries while more says so, one by one,
// and compares it with the model.
func play(t tester, w *world, more func() bool) *history {
	t.Helper()
	d := emptyDriver(t)
	defer d.close()
	h := &history{}
	if w.backups != nil {
		w.backups.take = d.backup
	}
	for more() {
		e, want := w.next()
		e.CheckIndex, e.CheckChain = d.m.Position()
		entry := encodeEntry(w.index, w.term, e)
		got, err := d.m.Apply([]LogEntry{entry})
		check(t, err)
		for i := range e.Commands {
			expectAnswer(t, e.Commands[i], got[0][i], want[i])
		}
		for _, s := range w.model.Spaces {
			d.checkCounters(s.Row.Name)
		}
		d.readLinks(w.model) // so that the cache knows them when the next entry changes them
		h.entries = append(h.entries, entry)
		h.results = append(h.results, got[0])
		h.applied = append(h.applied, d.m.db.Applied())
		h.digests = append(h.digests, d.digest())
	}
	d.compare(w.model)
	return h
}

// expectAnswer compares results but for the text.
func expectAnswer(t tester, c *pb.Command, got, want *pb.Result) {
	t.Helper()
	bare := proto.CloneOf(got)
	if bare.Detail = ""; !proto.Equal(bare, want) {
		t.Fatalf("%v\n got %v\nwant %v", c, got, want)
	}
}

// compare compares all tables with the model, as they lie in the store and
// through the reads.
func (d *driver) compare(m *refmodel.Model) {
	d.t.Helper()
	stored, err := refmodel.Load(d.m.db)
	check(d.t, err)
	check(d.t, refmodel.Diff(stored, m))
	for _, s := range m.Spaces {
		if s.Row.HighWaterMark < 10_000 { // one that was burned is too large to list key by key
			d.compareKeys(s)
		}
	}
	d.compareLinks(m)
	nodes := 0
	for id, want := range m.Nodes {
		got, err := d.m.Node(id)
		check(d.t, err)
		if !proto.Equal(got, want) {
			d.t.Fatalf("node %v, want %v", got, want)
		}
		if !want.Removed {
			nodes++
		}
	}
	listed, err := d.m.Nodes()
	check(d.t, err)
	equal(d.t, len(listed), nodes)
	tokens := d.m.Tokens()
	equal(d.t, len(tokens), len(m.Tokens))
	for _, got := range tokens {
		if want := m.Tokens[got.ID]; !proto.Equal(got.Token, want) {
			d.t.Fatalf("token %s is %v, want %v", got.ID, got.Token, want)
		}
	}
}

func (d *driver) compareKeys(s *refmodel.Space) {
	d.t.Helper()
	name := s.Row.Name
	for pos, used := range d.positions(store.UsedKeys, s.Row.Id) {
		if !proto.Equal(used, s.Used(pos)) {
			d.t.Fatalf("%s: used_keys has %d as %v, want %v", name, pos, used, s.Used(pos))
		}
	}
	equal(d.t, len(d.positions(store.UsedKeys, s.Row.Id)), int(s.Row.Used))
	unused := d.positions(store.UnusedKeys, s.Row.Id)
	for pos := range unused {
		if !s.Unused(pos) {
			d.t.Fatalf("%s: unused_keys has %d", name, pos)
		}
	}
	equal(d.t, len(unused), int(s.Row.Unused))
	if !slices.ContainsFunc(must(d.m.Lengths(name)), func(got *pb.Keyspace) bool { return proto.Equal(got, s.Row) }) {
		d.t.Fatalf("%v is not among %v", s.Row, must(d.m.Lengths(name)))
	}
	for pos := range min(s.Row.HighWaterMark+3, 60) {
		state := "ungenerated"
		if s.Unused(pos) {
			state = "unused"
		} else if u := s.Used(pos); u != nil {
			state = u.Purpose.String()
		}
		equal(d.t, d.state(name, string(s.Perm.AppendKey(nil, pos))), state)
	}
}

// positions are the positions of a key table with their row, without its end.
func (d *driver) positions(table store.Table, space uint32) map[uint64]*pb.Used {
	d.t.Helper()
	all := map[uint64]*pb.Used{}
	for _, row := range must(d.m.KeyRows(table, space, 0, 1<<30)) {
		if row.Used != nil {
			row.Used.To = 0
		}
		for pos := row.From; pos < row.To; pos++ {
			all[pos] = row.Used
		}
	}
	return all
}

// readLinks reads every link by its key.
func (d *driver) readLinks(m *refmodel.Model) {
	d.t.Helper()
	for key := range m.Links {
		if loud := strings.ToUpper(key); loud != key { // one way to write it, if it may be
			at, _, _ := d.m.Find(loud)
			equal(d.t, at, m.LinkOf(loud))
		}
		want := m.Links[key]
		at, got, err := d.m.Find(key)
		equal(d.t, at, key)
		if want.DeletedAt != 0 && want.ExpiresAt != 0 {
			if !errors.Is(err, ErrLinkExpired) {
				d.t.Fatalf("buried link %s: %v, %v", key, got, err)
			}
		} else if want.DeletedAt != 0 {
			if !errors.Is(err, ErrLinkDeleted) {
				d.t.Fatalf("deleted link %s: %v, %v", key, got, err)
			}
		} else if check(d.t, err); !proto.Equal(got, want) {
			d.t.Fatalf("link %s is %v, want %v", key, got, want)
		}
	}
}

func (d *driver) compareLinks(m *refmodel.Model) {
	d.t.Helper()
	tagged := map[string][]string{}
	var live []string
	for _, key := range slices.Sorted(maps.Keys(m.Links)) {
		if m.Links[key].DeletedAt != 0 {
			continue
		}
		live = append(live, key)
		for _, tag := range slices.Compact(slices.Sorted(slices.Values(m.Links[key].Tags))) {
			tagged[tag] = append(tagged[tag], key)
		}
	}
	page, next, err := d.m.Links(LinkQuery{Limit: 1 << 20})
	check(d.t, err)
	equal(d.t, next, "")
	var got []string
	for _, l := range page {
		got = append(got, l.Key)
		if !proto.Equal(l.Link, m.Links[l.Key]) {
			d.t.Fatalf("link %s is %v, want %v", l.Key, l.Link, m.Links[l.Key])
		}
	}
	if !slices.Equal(got, live) {
		d.t.Fatalf("links %v, want %v", got, live)
	}
	for _, tag := range []string{"x", "y", "z"} {
		if got, _ := d.pages(LinkQuery{Limit: 3, Tag: tag}); !slices.Equal(got, tagged[tag]) {
			d.t.Fatalf("tag %s: %v, want %v", tag, got, tagged[tag])
		}
	}
}
