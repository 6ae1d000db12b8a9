package fsm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// sameShard are keys that crowd each other out.
func sameShard(c *linkCache, n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		key := fmt.Sprint("k", i)
		if s, _ := c.shard(key); s == &c.shards[0] {
			keys = append(keys, key)
		}
	}
	return keys
}

// Readers and the applying goroutine, each step of theirs in any order: a hit is
// what the store holds at that moment.
func TestLinkCacheHoldsWhatTheStoreHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type reader struct { // of a row that was not in the cache
			key     string
			version uint64
			row     []byte
		}
		c := &linkCache{}
		keys := sameShard(c, 8)
		stored := map[string][]byte{}
		var changes map[string][]byte // forgotten, not yet in the store
		var committed bool
		var missed, loaded []reader
		row := func() []byte {
			row, err := proto.Marshal(&pb.Link{CreatedAt: rapid.Int64().Draw(t, "what")})
			check(t, err)
			return row
		}
		drawKey := rapid.SampledFrom(keys)
		look := func(key string) (ok bool, version uint64) {
			got := &pb.Link{}
			ok, version, err := c.get(key, got)
			check(t, err)
			want := &pb.Link{}
			check(t, proto.Unmarshal(stored[key], want))
			if ok && (stored[key] == nil || !proto.Equal(got, want)) {
				t.Fatalf("%s is of %d in the cache, and in the store of %d (there: %v)", key, got.CreatedAt, want.CreatedAt, stored[key] != nil)
			}
			return ok, version
		}
		take := func(from *[]reader) reader {
			i := rapid.IntRange(0, len(*from)-1).Draw(t, "reader")
			r := (*from)[i]
			*from = append((*from)[:i], (*from)[i+1:]...)
			return r
		}
		t.Repeat(map[string]func(*rapid.T){
			"reader asks": func(t *rapid.T) {
				key := drawKey.Draw(t, "key")
				if ok, version := look(key); !ok {
					missed = append(missed, reader{key: key, version: version})
				}
			},
			"reader loads": func(t *rapid.T) {
				if len(missed) == 0 {
					t.Skip("nobody misses a row")
				}
				r := take(&missed)
				if r.row = stored[r.key]; r.row != nil {
					loaded = append(loaded, r)
				}
			},
			"reader fills": func(t *rapid.T) {
				if len(loaded) == 0 {
					t.Skip("nobody has a row")
				}
				r := take(&loaded)
				c.put(r.key, r.row, r.version)
			},
			"create": func(t *rapid.T) {
				if key := drawKey.Draw(t, "key"); stored[key] == nil {
					stored[key] = row()
				}
			},
			"change": func(t *rapid.T) {
				key := drawKey.Draw(t, "key")
				if committed || stored[key] == nil {
					t.Skip("not now")
				}
				c.forget(key)
				if changes == nil {
					changes = map[string][]byte{}
				}
				changes[key] = row()
			},
			"change all": func(t *rapid.T) {
				if committed || len(stored) == 0 {
					t.Skip("not now")
				}
				c.forgetAll()
				changes = map[string][]byte{}
				for key := range stored {
					changes[key] = row()
				}
			},
			"commit": func(t *rapid.T) {
				if changes == nil || committed {
					t.Skip("nothing to commit")
				}
				for key, row := range changes {
					stored[key] = row
				}
				committed = true
			},
			"settle": func(t *rapid.T) {
				c.settled()
				changes, committed = nil, false // not committed: the entry failed
			},
			"": func(*rapid.T) {
				for _, key := range keys {
					look(key)
				}
			},
		})
	})
}

// Many rows that crowd each other out: what is found is what was put in last.
func TestLinkCacheUnderPressure(t *testing.T) {
	c := &linkCache{}
	keys := sameShard(c, 100)
	rows := map[string]*pb.Link{}
	random := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for i := range 50_000 {
		key := keys[random.IntN(len(keys))]
		switch random.IntN(10) {
		case 0:
			c.forget(key)
			c.settled()
			delete(rows, key)
		case 1:
			link := &pb.Link{Url: strings.Repeat("u", random.IntN(maxCachedRow)), CreatedAt: int64(i)}
			row, err := proto.Marshal(link)
			check(t, err)
			c.put(key, row, c.version.Load())
			rows[key] = link
			if len(row) > maxCachedRow { // not taken, and what was there is out of date
				c.forget(key)
				c.settled()
			}
		default:
			got := &pb.Link{}
			ok, _, err := c.get(key, got)
			if err != nil || ok && !proto.Equal(got, rows[key]) {
				t.Fatalf("step %d: %s has the row of %d, want that of %d, %v", i, key, got.CreatedAt, rows[key].GetCreatedAt(), err)
			}
			if ok {
				hits++
			}
		}
	}
	if hits == 0 {
		t.Error("nothing was ever found")
	}
}

// What is in the cache is of the state that a restore has replaced; and after
// each change the cache fills again.
func TestLinkCacheAfterARestore(t *testing.T) {
	d := newDriver(t)
	d.ok(alias("link"))
	read := func(want string) {
		t.Helper()
		for range 2 {
			link, err := d.m.Link("link")
			check(t, err)
			equal(t, link.Title, want)
		}
		if ok, _, err := d.m.links.get("link", &pb.Link{}); !ok || err != nil {
			t.Errorf("read, and not in the cache: %v", err)
		}
	}
	read("")
	before := d.stream()
	title := "new"
	d.ok(cmd(&pb.UpdateLink{Key: "link", Title: &title}))
	read("new")
	check(t, d.m.Restore(strings.NewReader(string(before))))
	read("")
}

// A row that is asked for stays, whatever else comes and goes; the memory is bounded.
func TestLinkCacheKeepsWhatIsAskedFor(t *testing.T) {
	c := &linkCache{}
	keys := sameShard(c, 2)
	row, err := proto.Marshal(&pb.Link{Url: strings.Repeat("u", 1000)})
	check(t, err)
	c.put(keys[0], row, 0)
	c.put(keys[1], row, 0)
	for i := range 200_000 {
		c.put(fmt.Sprint(i), row, 0)
		if ok, _, err := c.get(keys[0], &pb.Link{}); !ok || err != nil {
			t.Fatalf("gone after %d others, %v", i, err)
		}
	}
	if ok, _, _ := c.get(keys[1], &pb.Link{}); ok {
		t.Error("nobody asked for it, and it is still there")
	}
	for i := range c.shards {
		for _, g := range []*generation{&c.shards[i].young, &c.shards[i].old} {
			if cap(g.rows) > 2*cacheGeneration || len(g.at) > cacheGeneration/1000 {
				t.Fatalf("shard %d: %d bytes, %d rows", i, cap(g.rows), len(g.at))
			}
		}
	}
}

// Two keys with one hash: none is taken for the other.
func TestLinkCacheTellsKeysApart(t *testing.T) {
	g := generation{at: map[uint64]uint32{}}
	g.put(1, "abc", []byte("row of abc"))
	g.put(1, "abd", []byte("row of abd"))
	g.put(2, "ab", []byte("cd"))
	for _, c := range []struct {
		hash     uint64
		key, row string
	}{{1, "abc", ""}, {1, "abd", "row of abd"}, {1, "ab", ""}, {2, "ab", "cd"}, {2, "abcd", ""}, {3, "abc", ""}} {
		if row, ok := g.find(c.hash, c.key); string(row) != c.row || ok != (c.row != "") {
			t.Errorf("%d %s: %q, %v", c.hash, c.key, row, ok)
		}
	}
}

// Readers beside the applying goroutine: nobody sees a link older than what
// anybody has seen before, or than what was applied.
func TestLinkNeverGoesBack(t *testing.T) {
	d := newDriver(t)
	d.ok(alias("link"))
	var seen atomic.Int64 // the newest update that somebody knows of
	raise := func(to int64) {
		for was := seen.Load(); was < to && !seen.CompareAndSwap(was, to); was = seen.Load() {
		}
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !done.Load() {
				least := seen.Load()
				link, err := d.m.Link("link")
				var n int64
				switch {
				case errors.Is(err, ErrLinkDeleted):
					n = 1 << 40
				case err != nil:
					t.Error(err)
					return
				default:
					fmt.Sscanf(link.Title, "%d", &n)
				}
				if n < least {
					t.Errorf("update %d after update %d was seen", n, least)
					return
				}
				raise(n)
			}
		})
	}
	for n := range int64(3000) {
		title := fmt.Sprint(n)
		d.ok(cmd(&pb.UpdateLink{Key: "link", Title: &title}))
		raise(n)
		if n == 1000 || n == 2000 {
			check(t, d.m.Restore(strings.NewReader(string(d.stream()))))
		}
	}
	d.ok(deleteLink("link"))
	raise(1 << 40)
	done.Store(true)
	readers.Wait()
	if _, err := d.m.Link("link"); !errors.Is(err, ErrLinkDeleted) {
		t.Errorf("after the deletion: %v", err)
	}
}

// BenchmarkLink is what a redirect costs without HTTP: links that all fit into
// the cache, and such that do not.
func BenchmarkLink(b *testing.B) {
	for _, links := range []int{10_000, 2_000_000} {
		b.Run(fmt.Sprint("links=", links), func(b *testing.B) {
			d, id := benchDriver(b)
			keys := make([]string, links)
			for from := 0; from < links; from += 1000 {
				cmds := make([]*pb.Command, 1000)
				for i := range cmds {
					cmds[i] = d.generated(wide, id, uint64(from+i))
					keys[from+i] = cmds[i].GetCreateLink().Generated.Key
				}
				d.apply(cmds...)
			}
			check(b, d.m.db.Flush())
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, _, err := d.m.Find(keys[i*7919%links]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestLinkCacheCountsLookups(t *testing.T) {
	c := &linkCache{}
	for range 3 {
		ok, version, err := c.get("k", &pb.Link{})
		check(t, err)
		if !ok {
			c.put("k", nil, version)
		}
	}
	if hits, misses := c.lookups(); hits != 2 || misses != 1 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
}
