package fsm

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/fsm/refmodel"
	"github.com/kgs-cluster/kgs/store"
)

// manyLinks are links of page 0, 1, ... in a cluster of version 2.
func manyLinks(t *testing.T, count int) *driver {
	d := newDriver(t)
	d.ok(cmd(&pb.RaiseVersion{Version: 2}))
	all := make([]*pb.Command, count)
	for i := range all {
		all[i] = cmd(&pb.CreateLink{Alias: fmt.Sprintf("l-%06d", i), Link: &pb.Link{Url: fmt.Sprint("page ", i)}})
	}
	for _, r := range d.apply(all...) {
		equal(t, r.Code, pb.Code_OK)
	}
	return d
}

func (d *driver) findURL(url string) *pb.Result {
	return d.do(cmd(&pb.CreateLink{FindIfExists: true, Keyspace: digits, Link: &pb.Link{Url: url}}))
}

// consistent: the index has a row of each link that it must have one of, and no other.
func (d *driver) consistent() {
	d.t.Helper()
	_, err := refmodel.Load(d.m.db)
	check(d.t, err)
}

// Nobody pays for the index of URLs before it is asked. Then the links enter it, so
// many an entry, while others are made, changed and deleted, also where a backup of
// meanwhile is restored: from the moment that it is whole it finds them all.
func TestURLsAreIndexedOnceAsked(t *testing.T) {
	d := manyLinks(t, 2*indexStep+10)
	d.ok(deleteLink("l-000002"))
	equal(t, d.count(store.LinkURLs), 0)
	equal(t, must(d.m.HasURL("page 1")), true) // who knows
	equal(t, d.findURL("page 7").Code, pb.Code_URLS_NOT_INDEXED)
	equal(t, d.count(store.LinkURLs), indexStep-1)
	for _, key := range []string{"l-000003", "l-009999"} { // indexed, not yet
		d.ok(deleteLink(key))
	}
	for i, key := range []string{"l-000004", "l-009998"} {
		d.ok(cmd(&pb.UpdateLink{Key: key, Url: proto.String(fmt.Sprint("changed ", i))}))
	}
	for i, key := range []string{"a-new", "z-new"} {
		d.ok(cmd(&pb.CreateLink{Alias: key, Link: &pb.Link{Url: fmt.Sprint("new ", i)}}))
	}
	d.consistent()
	half := d.backup()
	d.reopen()

	two := d.apply(cmd(&pb.CreateLink{FindIfExists: true, Keyspace: digits, Link: &pb.Link{Url: "page 1"}}),
		cmd(&pb.CreateLink{FindIfExists: true, Keyspace: digits, Link: &pb.Link{Url: "page 1"}}))
	equal(t, two[0].Code, pb.Code_URLS_NOT_INDEXED)
	equal(t, two[1].Code, pb.Code_URLS_NOT_INDEXED) // one step an entry
	whole := func() {
		t.Helper()
		for tries := 0; d.findURL("page 6").Code == pb.Code_URLS_NOT_INDEXED; tries++ {
			if tries == 3 {
				t.Fatal("it never ends")
			}
		}
		d.consistent()
		links := int(must(d.m.State()).Links)
		equal(t, d.count(store.LinkURLs), links)
		for url, key := range map[string]string{
			"page 0": "l-000000", "page 6": "l-000006", "page 10009": "l-010009",
			"changed 0": "l-000004", "changed 1": "l-009998", "new 0": "a-new", "new 1": "z-new",
		} {
			if r := d.findURL(url); !r.Found || r.Key != key {
				t.Errorf("%s: %v", url, r)
			}
		}
		for _, url := range []string{"page 2", "page 3", "page 9999", "page 4", "page 9998", "no page"} {
			equal(t, d.findURL(url).Code, pb.Code_GENERATED_KEY_BOUND)
			equal(t, must(d.m.HasURL(url)), false)
		}
	}
	whole()
	d.ok(deleteLink("l-000000"))
	equal(t, d.findURL("page 0").Code, pb.Code_GENERATED_KEY_BOUND)
	d.restored(half, 0)
	d.consistent()
	equal(t, d.findURL("page 7").Code, pb.Code_URLS_NOT_INDEXED)
	whole()
}

// Where version 1 has indexed links, they stay so.
func TestURLsOfVersion1StayIndexed(t *testing.T) {
	for name, raise := range map[string]*pb.Command{
		"upgrade":  cmd(&pb.RaiseVersion{Version: 2}),
		"recovery": cmd(&pb.RecoverCluster{Node: &pb.Node{Id: "n1"}, Grow: true}),
		"none":     nil,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t)
			d.ok(cmd(&pb.CreateLink{Alias: "a", Link: &pb.Link{Url: "u"}}))
			file := d.backup()
			if raise != nil {
				d.ok(raise)
			}
			expect := func(next string) {
				t.Helper()
				d.ok(cmd(&pb.CreateLink{Alias: next, Link: &pb.Link{Url: "u2"}}))
				equal(t, d.count(store.LinkURLs), 2)
				if r := d.findURL("u"); r.Key != "a" {
					t.Error(r)
				}
				equal(t, d.findURL("none").Code, pb.Code_GENERATED_KEY_BOUND)
				d.consistent()
			}
			expect("b")
			d.restored(file, 0)
			expect("c")
		})
	}
	d := newDriver(t) // version 1 of no links leaves nothing
	d.ok(cmd(&pb.RaiseVersion{Version: 2}))
	d.ok(cmd(&pb.CreateLink{Alias: "a", Link: &pb.Link{Url: "u"}}))
	equal(t, d.count(store.LinkURLs), 0)
	if header := must(InspectBackup(bytes.NewReader(d.backup()))); header.UrlsIndexed {
		t.Error(header)
	}
}
