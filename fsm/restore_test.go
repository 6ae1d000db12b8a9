package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// stage stages a backup in small parts under a name that is new each time.
func (d *driver) stage(file []byte) *pb.RestoreBackup {
	d.t.Helper()
	op := &pb.RestoreBackup{Restore: fmt.Sprint("r", d.index), Term: d.term}
	for part := range slices.Chunk(file, 700) {
		d.ok(cmd(&pb.StageBackup{Restore: op.Restore, Part: op.Parts, Data: part}))
		op.Parts++
	}
	return op
}

func (d *driver) restore(file []byte, floor uint64, named ...*pb.Floor) *pb.Result {
	d.t.Helper()
	op := d.stage(file)
	op.Floor, op.Floors = floor, named
	return d.do(cmd(op))
}

// restored restores and returns what was told; nothing may be inconsistent after it.
func (d *driver) restored(file []byte, floor uint64) *pb.Restored {
	d.t.Helper()
	r := d.restore(file, floor)
	if r.Code != pb.Code_OK || r.Index != d.index {
		d.t.Fatalf("%v", r)
	}
	equal(d.t, d.m.Applied(), d.index)
	equal(d.t, d.count(store.Staging)+d.count(store.UnusedKeys)+d.count(store.Quarantine), 0)
	for i, row := range must(d.m.Keyspaces()) {
		d.checkCounters(row.Name)
		told := r.Restored.Keyspaces[i]
		if told.Name != row.Name || told.HighWaterMark != row.HighWaterMark || told.Left != spaceOf(row).Size()-row.HighWaterMark {
			d.t.Fatalf("told %v of %v", told, row)
		}
	}
	equal(d.t, must(d.m.State()).Links, r.Restored.Links)
	return r.Restored
}

func (d *driver) urlOf(key string) string {
	link, err := d.m.Link(key)
	if err != nil {
		return "none"
	}
	return link.Url
}

func TestRestoreBringsTheLinksBack(t *testing.T) {
	d := inhabited(t)
	file := d.backup()
	changed := "http://changed/"
	d.ok(cmd(&pb.UpdateLink{Key: "golang", Url: &changed, SetTags: true, Tags: []string{"new"}}))
	d.ok(deleteLink("tagged"))
	d.ok(alias("later"))
	d.ok(alias("deleted-later"))
	d.ok(deleteLink("deleted-later"))
	d.ok(cmd(&pb.PutNode{Node: &pb.Node{Id: "n2", DiskId: "e"}}))
	told := d.restored(file, 0)
	if told.Links != 5 || told.LinksLost != 1 || told.Adopted {
		t.Errorf("%v", told)
	}
	for key, want := range map[string]string{
		"golang": "https://example.com/golang", "tagged": "http://t/", "gone": "none",
		"later": "none", "deleted-later": "none", "once": "https://example.com/once",
	} {
		if got := d.urlOf(key); got != want {
			t.Errorf("%s -> %s, want %s", key, got, want)
		}
	}
	for tag, want := range map[string]int{"a": 1, "b": 1, "new": 0} {
		page, _, err := d.m.Links(LinkQuery{Tag: tag, Limit: 10})
		if err != nil || len(page) != want {
			t.Errorf("tag %s: %v, %v", tag, page, err)
		}
	}
	if nodes := must(d.m.Nodes()); len(nodes) != 2 {
		t.Errorf("members %v", nodes)
	}
	for _, key := range []string{"later", "deleted-later", "gone", "golang"} {
		d.refused(pb.Code_ALIAS_TAKEN, alias(key))
	}
	d.ok(alias("never-seen"))
}

// What was handed out, lost, returned or only generated can never be had again.
func TestRestoreBurnsKeys(t *testing.T) {
	d := inhabited(t)
	unusedThen := d.key(digits, 900)
	old := d.ok(lease(digits, 10))
	file := d.backup()
	d.ok(generate(digits, 5000))
	recent := d.ok(lease(digits, 1000))
	high := d.key(digits, 700_000)
	d.ok(alias(high))
	before := d.keyspace(digits)
	told := d.restored(file, 0).Keyspaces[0]

	margin := uint64(1_000_000 / marginShare) // a small key space
	if told.HighWaterMark != before.HighWaterMark+margin || told.Margin != margin {
		t.Errorf("told %v, the mark was %d", told, before.HighWaterMark)
	}
	if want := told.HighWaterMark + 2 - 111; told.Burned != want { // in the backup: two leases and an alias
		t.Errorf("%d burned, want %d", told.Burned, want)
	}
	receipts := map[*pb.Result][]byte{old: d.receiptOf(digits, old), recent: d.receiptOf(digits, recent)}
	for lease, receipt := range receipts {
		for _, key := range d.keysOf(digits, lease)[:3] {
			equal(t, d.state(digits, key), "BLOCKED")
			d.refused(pb.Code_NOT_RETURNABLE, returnKeys(receipt, key))
			d.refused(pb.Code_KEY_NOT_TAKEN, taken(digits, key))
			d.refused(pb.Code_ALIAS_TAKEN, alias(key))
		}
		d.refused(pb.Code_GENERATED_KEY_BOUND, d.generated(digits, lease.Grants[0].Lease, lease.Grants[0].From))
		release := d.ok(cmd(&pb.Release{Keyspace: digits, Grants: lease.Grants}))
		equal(t, release.Count, uint64(0))
	}
	equal(t, d.state(digits, unusedThen), "BLOCKED")
	equal(t, d.state(digits, high), "BLOCKED")
	d.refused(pb.Code_ALIAS_TAKEN, alias(high))
	equal(t, d.state(digits, d.key(digits, 500_000)), "ALIAS") // its link is in the backup
	d.now += Quarantine.Milliseconds() + minute                // what was returned before stays away
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 1))
	d.ok(generate(digits, 100))
	fresh := d.ok(lease(digits, 100))
	equal(t, fresh.Grants[0].From, told.HighWaterMark)
	if fresh.Grants[0].Lease <= recent.Grants[0].Lease {
		t.Error("a lease id is used again")
	}
}

// The state may be older than the backup: the data directories were set back.
func TestRestoreOfANewerBackup(t *testing.T) {
	d, ahead := inhabited(t), inhabited(t)
	ahead.ok(generate(digits, 50_000))
	ahead.ok(alias("ahead"))
	ahead.now += 1000 * minute
	ahead.ok(lease(digits, 20_000))
	told := d.restored(ahead.backup(), 0)
	equal(t, d.urlOf("ahead"), "https://example.com/ahead")
	equal(t, told.Keyspaces[0].HighWaterMark, uint64(51_000+1_000_000/marginShare))
	state := must(d.m.State())
	equal(t, state.NextLease, must(ahead.m.State()).NextLease)
	equal(t, state.Clock, must(ahead.m.State()).Clock)
}

// Lost keys stay counted; what a buffer could not return is lost with it.
func TestRestoreCountsWhatIsLost(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 1000))
	file := d.backup()
	d.ok(lease(digits, 50))
	d.term++
	d.ok(lease(digits, 30))
	d.restored(file, 0)
	row := d.keyspace(digits)
	equal(t, row.Lost, uint64(80))
	equal(t, row.Buffered, uint64(0))
	d.ok(generate(digits, 10))
	d.term++
	d.ok(lease(digits, 5))
	equal(t, d.keyspace(digits).Lost, uint64(80))
}

func TestRestoreUpToTheEnd(t *testing.T) {
	d := inhabited(t)
	d.ok(generate(digits, 995_000))
	told := d.restored(d.backup(), 0).Keyspaces[0]
	if told.Left != 0 || told.Margin != 4_000 {
		t.Errorf("%v", told)
	}
	d.refused(pb.Code_KEYSPACE_EXHAUSTED, generate(digits, 1))
	if r := d.restore(d.backup(), 1_000_000); r.Code != pb.Code_RESTORE_REFUSED {
		t.Errorf("a floor at the end: %v", r)
	}
}

// P5: requests and idempotency keys of before the restore have their answers.
func TestRestoreKeepsAnswers(t *testing.T) {
	d := inhabited(t)
	file := d.backup()
	later := idempotent(request(alias("later"), 5, 1, 1), "later")
	want := d.ok(later)
	op := d.stage(file)
	restore := idempotent(request(cmd(op), 6, 1, 1), "restore")
	told := d.ok(restore)
	for name, again := range map[string]*pb.Command{"the front end's repeat": later, "the client's": idempotent(request(alias("later"), 9, 1, 1), "later")} {
		if r := d.ok(again); r.Key != want.Key || r.Index != want.Index {
			t.Errorf("%s: %v, first %v", name, r, want)
		}
	}
	equal(t, d.urlOf("later"), "none")
	before := d.keyspace(digits).HighWaterMark
	if r := d.ok(restore); !proto.Equal(r, told) {
		t.Errorf("the restore, sent again: %v, first %v", r, told)
	}
	again := proto.CloneOf(restore)
	again.Request = nil
	d.stage(file)
	if r := d.ok(again); !r.Replayed || !proto.Equal(r.Restored, told.Restored) {
		t.Errorf("under its idempotency key: %v", r)
	}
	equal(t, d.keyspace(digits).HighWaterMark, before)
}

func TestRestoreRefusesAnotherCluster(t *testing.T) {
	other := inhabited(t)
	file := other.backup()
	foreign := func(change func(*pb.InitCluster)) *driver {
		d := emptyDriver(t)
		t.Cleanup(d.close)
		init := testInit()
		change(init)
		d.ok(cmd(init))
		return d
	}
	otherID := func(i *pb.InitCluster) { i.ClusterId = "present" }
	otherKeys := func(i *pb.InitCluster) {
		i.ClusterId = "present"
		i.Keyspaces[0].PermutationKey = bytes.Repeat([]byte{9}, 32)
	}
	for what, test := range map[string]struct {
		change func(*pb.InitCluster)
		lived  func(*driver)
		floor  uint64
		want   string
	}{
		"no floor":           {otherID, func(*driver) {}, 0, "name a floor"},
		"a link":             {otherID, func(d *driver) { d.ok(alias("mine")) }, 5000, "issued keys of its own"},
		"a tombstone":        {otherID, func(d *driver) { d.ok(alias("mine")); d.ok(deleteLink("mine")) }, 5000, "issued keys of its own"},
		"a lease":            {otherKeys, func(d *driver) { d.ok(generate(digits, 9)); d.ok(lease(digits, 1)) }, 5000, "issued keys of its own"},
		"other secrets only": {func(i *pb.InitCluster) { otherKeys(i); i.ClusterId = "test" }, func(*driver) {}, 0, "name a floor"},
		"a floor at the end": {otherID, func(*driver) {}, 1_000_000, "leaves nothing"},
	} {
		d := foreign(test.change)
		test.lived(d)
		links, mark := d.count(store.Links), d.keyspace(digits).HighWaterMark
		if r := d.restore(file, test.floor); r.Code != pb.Code_RESTORE_REFUSED || !strings.Contains(r.Detail, test.want) {
			t.Errorf("%s: %v", what, r)
		}
		equal(t, d.count(store.Staging), 0)
		equal(t, d.count(store.Links), links)
		equal(t, d.keyspace(digits).HighWaterMark, mark)
	}
}

func TestRestoreAdoptsKeySpaces(t *testing.T) {
	other := inhabited(t)
	file := other.backup()
	d := emptyDriver(t)
	t.Cleanup(d.close)
	d.ok(cmd(&pb.InitCluster{ClusterId: "present", ReceiptSecret: bytes.Repeat([]byte{8}, 32), Keyspaces: []*pb.Keyspace{
		{Name: digits, Alphabet: "ab", Length: 20, PermutationKey: bytes.Repeat([]byte{9}, 32)}}}))
	d.ok(generate(digits, 1000))
	leased := d.ok(lease(digits, 100))
	d.ok(cmd(&pb.Release{Keyspace: digits, Grants: leased.Grants}))
	told := d.restored(file, 30_000)
	if !told.Adopted || told.Links != 5 || told.LinksLost != 0 {
		t.Errorf("%v", told)
	}
	for i, mark := range []uint64{30_000, 1000*0 + 16*16*16*16*16*16/marginShare, 1000 + adoptMargin} {
		equal(t, told.Keyspaces[i].HighWaterMark, max(mark, 30_000))
	}
	equal(t, d.m.ClusterID(), "present")
	equal(t, string(d.m.ReceiptSecret()), strings.Repeat("\x08", 32))
	for _, pos := range []uint64{0, 5, 999_999} {
		equal(t, d.key(digits, pos), other.key(digits, pos))
	}
	equal(t, d.urlOf(other.key(digits, 0)), other.urlOf(other.key(digits, 0)))
	d.ok(generate(digits, 10))
	equal(t, d.ok(lease(digits, 1)).Grants[0].From, uint64(30_000))
	if r := d.restore(file, 40_000); r.Code != pb.Code_RESTORE_REFUSED {
		t.Errorf("once more: %v", r)
	}
	check(t, d.m.MayRestore(must(InspectBackup(bytes.NewReader(d.backup()))), Floors{}))
	if d.m.MayRestore(must(InspectBackup(bytes.NewReader(file))), Floors{}) == nil {
		t.Error("the other cluster's needs no floor")
	}
}

// Parts of two restores never mix, and a part that comes late is none.
func TestStaging(t *testing.T) {
	d := inhabited(t)
	before := d.urlOf("golang")
	part := func(restore string, n uint64) *pb.Command {
		return cmd(&pb.StageBackup{Restore: restore, Part: n, Data: []byte("x")})
	}
	d.ok(part("a", 0))
	d.ok(part("a", 1))
	for what, c := range map[string]*pb.Command{
		"a gap": part("a", 3), "again": part("a", 1), "another": part("b", 2),
		"too few": cmd(&pb.RestoreBackup{Restore: "a", Parts: 1, Term: d.term}),
		"unknown": cmd(&pb.RestoreBackup{Restore: "b", Parts: 2, Term: d.term}),
	} {
		t.Log(what)
		d.refused(pb.Code_NOT_STAGED, c)
	}
	d.refused(pb.Code_NOT_STOPPED, cmd(&pb.RestoreBackup{Restore: "a", Parts: 2, Term: d.term - 1}))
	d.refused(pb.Code_INVALID, cmd(&pb.StageBackup{Part: 0, Data: []byte("x")}))
	d.refused(pb.Code_INVALID, cmd(&pb.StageBackup{Restore: "c"}))
	whole := cmd(&pb.RestoreBackup{Restore: "a", Parts: 2, Term: d.term})
	if r := d.apply(whole, alias("beside"))[0]; r.Code != pb.Code_INVALID {
		t.Errorf("not alone in its entry: %v", r)
	}
	d.ok(part("b", 0))
	equal(t, d.count(store.Staging), 1)
	d.reopen()
	d.ok(part("b", 1))
	d.now += stagedKept.Milliseconds()
	d.ok(part("b", 2))
	d.now += stagedKept.Milliseconds()
	d.apply()
	equal(t, d.count(store.Staging), 3)
	d.now++
	d.apply()
	equal(t, d.count(store.Staging), 0)
	d.refused(pb.Code_NOT_STAGED, part("b", 3))
	equal(t, d.urlOf("golang"), before)
}
