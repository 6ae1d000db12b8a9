package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

const size = uint64(1_000_000) // of digits

// usedUp is a machine whose default key space is all generated, but for a few keys
// leased; seven digits are free.
func usedUp(t *testing.T, unused uint64) *driver {
	d := newDriver(t)
	d.ok(generate(digits, size))
	d.ok(lease(digits, size-unused))
	return d
}

func TestGrow(t *testing.T) {
	d := newDriver(t)
	early := d.ok(alias("7654321"))
	d.refused(pb.Code_INVALID, grow(digits, 6)) // it has keys that nobody generated
	d.ok(generate(digits, size))
	first := d.ok(lease(digits, size-30))
	d.refused(pb.Code_KEYSPACE_EXHAUSTED, generate(digits, 1))
	d.refused(pb.Code_KEYSPACE_NOT_FOUND, grow("nope", 6))

	made := d.ok(grow(digits, 6))
	equal(t, made.Count, uint64(1))
	if row := made.Keyspace; row.Length != 7 || row.Id != 4 || row.Name != digits || row.PermutationKey != nil || row.CreatedAt != d.now {
		t.Fatalf("the answer is %v", row)
	}
	again := d.ok(grow(digits, 6)) // by somebody who did not know
	equal(t, again.Count, uint64(0))
	equal(t, again.Keyspace.Length, uint32(7))
	equal(t, d.state(digits, early.Key), "ALIAS")
	equal(t, d.m.CountKeyspaces(), 3)

	for range 2 {
		d.ok(generate(digits, 1000))
		equal(t, d.keyspace(digits).Length, uint32(7))
		d.reopen()
	}
	// What is left of the first length goes first, unless it is too little, or one
	// caller wants them all.
	equal(t, len(d.keysOf(digits, d.ok(lease(digits, 10)))[0]), 6)
	equal(t, len(d.keysOf(digits, d.ok(lease(digits, 21)))[0]), 7)
	equal(t, len(d.keysOf(digits, d.ok(cmd(&pb.Lease{Keyspace: digits, Count: 5, Direct: true})))[0]), 7)
	equal(t, len(d.keysOf(digits, d.ok(cmd(&pb.Lease{Keyspace: digits, Count: 5, LastLength: true})))[0]), 7)
	second := d.ok(lease(digits, 20))
	equal(t, len(d.keysOf(digits, second)[0]), 6)
	third := d.ok(lease(digits, 20))
	equal(t, third.Grants[0].Space, uint32(4))

	// Keys of each length are bound, generated, released and returned as such.
	for _, r := range []*pb.Result{first, second, third} {
		keys := d.keysOf(digits, r)
		d.ok(taken(digits, keys[0]))
		d.refused(pb.Code_KEY_BOUND, taken(digits, keys[0]))
		g := r.Grants[0]
		perm, _, err := d.m.GrantSpace(digits, g.Space)
		check(t, err)
		d.ok(cmd(&pb.CreateLink{Keyspace: digits, Link: &pb.Link{Url: "https://a.example"},
			Generated: &pb.GeneratedKey{Key: string(perm.AppendKey(nil, g.From+1)), Position: g.From + 1, Lease: g.Lease}}))
		released := d.ok(cmd(&pb.Release{Keyspace: digits, Grants: []*pb.Grant{{Lease: g.Lease, From: g.From + 2, Count: 2, Space: g.Space}}}))
		equal(t, released.Count, uint64(2))
		equal(t, d.state(digits, keys[2]), "unused")
		d.ok(returnKeys(d.receiptOf(digits, r), keys[5], keys[6]))
		d.refused(pb.Code_NOT_RETURNABLE, returnKeys(d.receiptOf(digits, r), keys[0]))
		d.refused(pb.Code_ALIAS_TAKEN, alias(keys[7]))
	}
	d.checkCounters(digits)
	d.now += Quarantine.Milliseconds()
	equal(t, len(d.ok(lease(digits, 6)).Grants), 3) // of the first length: released, and returned
	equal(t, len(d.keysOf(digits, d.ok(lease(digits, 2)))[0]), 6)
	equal(t, len(d.keysOf(digits, d.ok(lease(digits, 1)))[0]), 7)
	d.refused(pb.Code_KEYSPACE_EXISTS, createKeyspace(&pb.Keyspace{Name: digits, Alphabet: "0123456789", Length: 7, PermutationKey: testSecret}))
	same := d.ok(createKeyspace(&pb.Keyspace{Name: digits, Alphabet: "0123456789", Length: 6, PermutationKey: testSecret}))
	equal(t, same.Keyspace.Length, uint32(7))
	d.checkCounters(digits)
}

// A length is that of the key space, the permutation another one: the same on all
// that grow from the same state.
func TestGrownPermutation(t *testing.T) {
	a, b := usedUp(t, 0), usedUp(t, 0)
	a.ok(grow(digits, 6))
	b.apply()
	b.ok(grow(digits, 6))
	equal(t, a.key(digits, 5), b.key(digits, 5))
	same := 0
	for pos := range uint64(1000) {
		if a.key(digits, pos)[1:] == string(a.m.lengths[digits][0].perm.AppendKey(nil, pos)) {
			same++
		}
	}
	if same > 5 {
		t.Errorf("%d of 1000 keys are those of the length before with a character more", same)
	}
}

func TestGrowthIsRefused(t *testing.T) {
	d := usedUp(t, 0)
	d.ok(mayGrow(digits, false))
	d.refused(pb.Code_KEYSPACE_EXHAUSTED, grow(digits, 6))
	d.ok(mayGrow(digits, true))
	d.ok(createKeyspace(sevenDigits))
	d.refused(pb.Code_KEYSPACES_MEET, grow(digits, 6))
	rows := must(d.m.Keyspaces())
	if Growth(rows[0], rows) == nil || Growth(rows[1], rows) == nil {
		t.Error("growth is foreseen where it would be refused")
	}
	d.refused(pb.Code_KEYSPACE_NOT_FOUND, mayGrow("nope", true))

	// At the end of what FF1 is used for, and of a key's characters.
	long := &pb.Keyspace{Name: "long", Alphabet: keyspace.Base62, Length: 10, Grow: proto.Bool(true)}
	wordy := &pb.Keyspace{Name: "wordy", Alphabet: "0123456789", Length: 6, Prefix: string(bytes.Repeat([]byte("x"), 58)), Grow: proto.Bool(true)}
	fits := &pb.Keyspace{Name: "fits", Alphabet: "0123456789", Length: 17, Prefix: "fits", Grow: proto.Bool(true)}
	for _, row := range []*pb.Keyspace{long, wordy} {
		if _, refused := nextLength(row, nil); refused.GetCode() != pb.Code_INVALID_KEYSPACE {
			t.Errorf("%s: %v", row.Name, refused)
		}
	}
	next, refused := nextLength(fits, nil)
	equal(t, refused, (*pb.Result)(nil))
	if _, refused := nextLength(next, nil); refused.GetCode() != pb.Code_INVALID_KEYSPACE {
		t.Errorf("19 digits: %v", refused)
	}
	if _, refused := nextLength(sevenDigits, nil); refused.GetCode() != pb.Code_KEYSPACE_EXHAUSTED {
		t.Errorf("a named key space grows unasked: %v", refused)
	}
	// A key space that would share keys with a grown one is refused.
	d = usedUp(t, 0)
	d.ok(grow(digits, 6))
	d.refused(pb.Code_KEYSPACES_MEET, createKeyspace(sevenDigits))
}

// P1: what may have been issued of the next length, too, comes never again after a
// recovery or a restore that does not know of it.
func TestBurnReachesTheNextLength(t *testing.T) {
	lost := usedUp(t, 0) // what the others had, and the survivor not
	file := lost.backup()
	lost.ok(grow(digits, 6))
	lost.ok(generate(digits, size/10)) // the largest step
	issued := lost.keysOf(digits, lost.ok(lease(digits, size/10)))
	slices.Sort(issued)

	takes := func(name string, d *driver) {
		t.Helper()
		if d.keyspace(digits).Length == 6 {
			d.ok(grow(digits, 6))
		}
		d.ok(generate(digits, 1000))
		for _, key := range d.keysOf(digits, d.ok(lease(digits, 1000))) {
			if _, again := slices.BinarySearch(issued, key); again {
				t.Fatalf("%s: %s comes again", name, key)
			}
		}
		d.refused(pb.Code_KEY_NOT_TAKEN, taken(digits, issued[7]))
		for _, row := range must(d.m.Keyspaces()) {
			d.checkCountersOf(row)
		}
	}
	survivor := usedUp(t, 0)
	told := survivor.ok(cmd(&pb.RecoverCluster{Node: &pb.Node{Id: "n1"}, Grow: true})).Restored
	if last := told.Keyspaces[3]; last.Name != digits || last.Length != 7 || last.HighWaterMark != size || last.Burned != size {
		t.Errorf("told %v", told)
	}
	takes("a recovery", survivor)

	adopts := func(floor uint64, want pb.Code) *driver {
		d := emptyDriver(t)
		t.Cleanup(d.close)
		init := testInit()
		init.ClusterId = "present"
		d.ok(cmd(init))
		op := d.stage(file)
		op.Floors = []*pb.Floor{{Keyspace: digits, Position: floor}}
		op.Floor, op.Grow = 1000, true
		check(t, d.m.MayRestore(must(InspectBackup(bytes.NewReader(file))), Floors{op.Floor, op.Floors}))
		equal(t, d.do(cmd(op)).Code, want)
		return d
	}
	takes("a restore elsewhere", adopts(size+size/10, pb.Code_OK))
	far := adopts(size+10*size+5, pb.Code_OK) // in the second length after it
	equal(t, fmt.Sprint(far.keyspace(digits).Length, far.keyspace(digits).HighWaterMark), fmt.Sprint(8, 10_000_000))
	equal(t, len(must(far.m.Lengths(digits))), 3)
	takes("far beyond", far)

	d := emptyDriver(t) // a floor that is not named for it may be meant for another one
	t.Cleanup(d.close)
	d.ok(cmd(&pb.InitCluster{ClusterId: "present", ReceiptSecret: testSecret}))
	op := d.stage(file)
	op.Floor, op.Grow = size+5, true
	equal(t, d.do(cmd(op)).Code, pb.Code_RESTORE_REFUSED)
	if d.m.MayRestore(must(InspectBackup(bytes.NewReader(file))), Floors{Others: size + 5}) == nil {
		t.Error("it is not foreseen that a floor for others will be refused")
	}

	if r := d.restore(lost.backup(), 0); !strings.Contains(r.Detail, fmt.Sprintf("%q had generated %d positions", digits, size+size/10)) {
		t.Errorf("without a floor: %v", r) // which counts through the lengths
	}

	own := usedUp(t, 0)
	own.ok(alias("1234567"))
	op = own.stage(own.backup())
	op.Grow = true
	own.ok(cmd(op))
	equal(t, own.keyspace(digits).Length, uint32(7))
	own.ok(generate(digits, 10))
	equal(t, own.state(digits, "1234567"), "ALIAS")
	own.checkCounters(digits)
	own.restored(own.backup(), 0)
	own.reopen()
	own.checkCounters(digits)
}

// A backup with lengths that do not follow each other is none.
func TestBackupChecksLengths(t *testing.T) {
	d := usedUp(t, 0)
	d.ok(grow(digits, 6))
	rows := must(d.m.Keyspaces())
	for name, edit := range map[string]func(row *pb.Keyspace){
		"":            func(*pb.Keyspace) {},
		"length":      func(row *pb.Keyspace) { row.Length++ },
		"alphabet":    func(row *pb.Keyspace) { row.Alphabet = "9876543210" },
		"permutation": func(row *pb.Keyspace) { row.PermutationKey = testSecret },
	} {
		row := proto.CloneOf(rows[3])
		edit(row)
		c := newBackupCheck(&pb.BackupHeader{NextKeyspace: 9})
		var err error
		for _, row := range append(slices.Clone(rows[:3]), row) {
			if err == nil {
				err = c.keyspace(spaceKey(row.Id), must(proto.Marshal(row)))
			}
		}
		if (err == nil) != (name == "") {
			t.Errorf("another %s: %v", name, err)
		}
	}
	rows[0].HighWaterMark--
	c := newBackupCheck(&pb.BackupHeader{NextKeyspace: 9})
	check(t, c.keyspace(spaceKey(1), must(proto.Marshal(rows[0]))))
	if c.keyspace(spaceKey(4), must(proto.Marshal(rows[3]))) == nil {
		t.Error("it grew before all was generated")
	}
}

// As TestAgainstModel and TestRestoreAgainstModel, with key spaces that are used up
// and grow meanwhile, restores, recoveries and other leaders: no key comes twice.
func TestGrowthAgainstModel(t *testing.T) {
	grown := 0
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 2))
		w := newWorld(func(n int, _ string) int { return random.IntN(n) })
		w.grown = true
		if seed%3 == 1 {
			w.backups = &backups{}
		}
		if seed%3 == 2 {
			w.recovery = 60
		}
		h := play(t, w, times(100))
		h.expectDistinct(t, w)
		for _, s := range w.model.Spaces {
			if s.Row.Id > 3 && slices.Contains([]string{digits, hex, "d7"}, s.Row.Name) && s != w.model.Lengths(s.Row.Name)[0] {
				grown++
			}
		}
	}
	if grown < 6 {
		t.Errorf("only %d key spaces grew", grown)
	}
}
