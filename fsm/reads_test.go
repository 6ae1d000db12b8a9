package fsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// pages reads all pages of a query.
func (d *driver) pages(q LinkQuery) (keys []string, pages int) {
	d.t.Helper()
	for {
		page, next, err := d.m.Links(q)
		check(d.t, err)
		pages++
		for _, l := range page {
			keys = append(keys, l.Key)
		}
		if next == "" {
			return keys, pages
		}
		q.After = next
	}
}

func TestLinksInPages(t *testing.T) {
	d := newDriver(t)
	for i := range 10 {
		d.ok(cmd(&pb.CreateLink{Alias: fmt.Sprint("k", i), Link: &pb.Link{
			Url: fmt.Sprint("https://example.com/", i), Title: fmt.Sprintf("Title %c", 'A'+i), Tags: []string{"all", fmt.Sprint("odd", i%2)}}}))
	}
	d.ok(deleteLink("k4"))
	d.ok(deleteLink("k9"))
	for name, c := range map[string]struct {
		q    LinkQuery
		want string
	}{
		"all":            {LinkQuery{}, "[k0 k1 k2 k3 k5 k6 k7 k8]"},
		"after":          {LinkQuery{After: "k3"}, "[k5 k6 k7 k8]"},
		"tag":            {LinkQuery{Tag: "odd1"}, "[k1 k3 k5 k7]"},
		"tag, after":     {LinkQuery{Tag: "odd1", After: "k3"}, "[k5 k7]"},
		"no such tag":    {LinkQuery{Tag: "odd"}, "[]"},
		"text in a key":  {LinkQuery{Text: "K7"}, "[k7]"},
		"text in a URL":  {LinkQuery{Text: "COM/3"}, "[k3]"},
		"text in titles": {LinkQuery{Text: "title b"}, "[k1]"},
		"text in tags":   {LinkQuery{Text: "ODD0", Tag: "all"}, "[k0 k2 k6 k8]"},
		"no such text":   {LinkQuery{Text: "nothing"}, "[]"},
	} {
		for _, limit := range []int{1, 3, 100} {
			c.q.Limit = limit
			if got, _ := d.pages(c.q); fmt.Sprint(got) != c.want {
				t.Errorf("%s, limit %d: %v, want %s", name, limit, got, c.want)
			}
		}
	}
}

func TestTagsInOrder(t *testing.T) {
	d := newDriver(t)
	for i, tags := range [][]string{{"b", "a"}, {"a b", "a"}, {"ü"}, {"gone"}, {}} {
		create := alias(fmt.Sprint("link", i))
		create.GetCreateLink().Link.Tags = tags
		d.ok(create)
	}
	d.ok(deleteLink("link3"))
	for after, want := range map[string]string{"": "[a a b b]", "a": "[a b b ü]", "a a": "[a b b ü]", "b": "[ü]", "ü": "[]"} {
		tags, err := d.m.Tags(after, 3)
		check(t, err)
		equal(t, fmt.Sprint(tags), want)
	}
}

// A page looks at a bounded number of rows.
func TestLinksVisitBoundedRows(t *testing.T) {
	d := newDriver(t)
	cmds := make([]*pb.Command, maxVisited+5)
	for i := range cmds {
		cmds[i] = alias(fmt.Sprintf("a%06d", i))
	}
	d.apply(cmds...)
	page, next, err := d.m.Links(LinkQuery{Limit: 10, Text: "a020003"})
	check(t, err)
	equal(t, len(page), 0)
	equal(t, next, "a019999")
	keys, pages := d.pages(LinkQuery{Limit: 10, Text: "a020003"})
	equal(t, fmt.Sprint(keys, pages), "[a020003] 2")
}

func TestKeyTellsWhereAKeyStands(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 10))
	d.ok(lease(digits, 5))
	d.ok(taken(digits, d.key(digits, 1)))
	d.ok(taken(digits, d.key(digits, 2)))
	d.ok(deleteLink(d.key(digits, 2)))
	for pos, want := range map[uint64]string{0: "LEASE false", 1: "LEASE true", 2: "LEASE false", 7: "unused false", 999_999: "ungenerated false"} {
		key := d.key(digits, pos)
		s, err := d.m.Key("", key)
		check(t, err)
		equal(t, fmt.Sprint(d.state(digits, key), " ", s.Link), want)
		equal(t, s.Position, pos)
		equal(t, s.Keyspace, digits)
	}
	if _, err := d.m.Key(digits, "hello"); !errors.Is(err, ErrNotInKeyspace) {
		t.Fatal(err)
	}
	if _, err := d.m.Key("nope", "000000"); !errors.Is(err, ErrKeyspaceNotFound) {
		t.Fatal(err)
	}
}

func TestKeyRowsInPages(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 100))
	d.ok(generate(hex, 100))
	for range 5 {
		d.ok(lease(digits, 10))
	}
	d.ok(lease(hex, 10))
	var froms []uint64
	for from := uint64(0); ; {
		rows, err := d.m.KeyRows(store.UsedKeys, 1, from, 2)
		check(t, err)
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			froms = append(froms, r.From)
			from = r.To
		}
	}
	equal(t, fmt.Sprint(froms), "[0 10 20 30 40]")
	rows, err := d.m.KeyRows(store.UnusedKeys, 2, 0, 2)
	check(t, err)
	equal(t, fmt.Sprint(rows[0].Run, len(rows)), "{10 100} 1")
}

// Every error code of the protocol has its error.
func TestResultErrors(t *testing.T) {
	check(t, ResultError(&pb.Result{}))
	for code, name := range pb.Code_name {
		err := ResultError(&pb.Result{Code: pb.Code(code), Detail: "why"})
		if code != 0 && !errors.Is(err, codeErrors[pb.Code(code)]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ResultError(&pb.Result{Code: 999}) == nil {
		t.Error("an unknown code is no error")
	}
}

// Readers on other goroutines see each key in one table and never an entry by half.
func TestReadersWhileApplying(t *testing.T) {
	d := emptyDriver(t)
	defer d.close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var readers sync.WaitGroup
	for name, read := range map[string]func() error{
		"links": func() error {
			page, _, err := d.m.Links(LinkQuery{Limit: 1000})
			if err == nil && len(page)%2 != 0 {
				err = fmt.Errorf("%d links of entries of two", len(page))
			}
			return err
		},
		"formed": func() error {
			if d.m.ClusterID() == "" {
				return nil
			}
			if _, _, err := d.m.Space(digits); err != nil {
				return err
			}
			_, err := d.m.Keyspace(digits)
			return err
		},
		"key": func() error {
			perm, _, err := d.m.Space(digits)
			if err != nil {
				return nil
			}
			applied := d.m.Applied() // before the look: more may be there after it
			s, err := d.m.Key(digits, string(perm.AppendKey(nil, 3)))
			if err == nil && s.Row == nil && !s.Unused && applied > 40 {
				err = errors.New("the key is in no table")
			}
			return err
		},
		"counters": func() error {
			state, err := d.m.State()
			if err == nil && state.Links%2 != 0 {
				err = fmt.Errorf("%d links", state.Links)
			}
			return err
		},
		"position": func() error {
			applied := d.m.Applied()
			if index, _ := d.m.Position(); index < applied {
				return fmt.Errorf("readers were told %d, the store is at %d", applied, index)
			}
			_, _, err := d.m.Digest()
			return err
		},
		"wait": func() error { return d.m.WaitApplied(context.Background(), d.m.Applied()) },
	} {
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := read(); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	d.ok(cmd(testInit()))
	d.ok(generate(digits, 1000))
	for i := range 100 {
		n := fmt.Sprint(i)
		d.apply(request(alias("a"+n), 1, uint64(2*i+1), uint64(2*i)), idempotent(alias("b"+n), n))
		r := d.ok(request(lease(digits, 3), 1, uint64(2*i+2), uint64(2*i)))
		d.ok(cmd(&pb.Release{Keyspace: digits, Grants: r.Grants}))
		if i == 50 {
			check(t, d.m.Restore(bytes.NewReader(d.stream())))
		}
	}
	cancel()
	readers.Wait()
}
