package fsm

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// expectStop applies entries of which the last must stop the machine: nothing
// of the call is applied, and nothing after it.
func (d *driver) expectStop(want error, entries ...LogEntry) {
	d.t.Helper()
	before, at := d.digest(), d.m.db.Applied()
	results, err := d.m.Apply(entries)
	if results != nil || want != nil && !errors.Is(err, want) || err == nil {
		d.t.Fatalf("got %v, %v, want %v", results, err, want)
	}
	_, again := d.m.Apply([]LogEntry{d.entry(generate(digits, 1))})
	equal(d.t, again, err)
	if d.digest() != before || d.m.db.Applied() != at || d.m.Applied() != at.Index {
		d.t.Fatalf("the stopped machine moved from %v to %v", at, d.m.db.Applied())
	}
}

func TestMachineStops(t *testing.T) {
	for name, c := range map[string]struct {
		bad  func(*driver) LogEntry
		want error
	}{
		"unknown version": {func(d *driver) LogEntry {
			d.index++
			return encodeEntry(d.index, 1, &pb.Entry{Version: Version + 1})
		}, ErrUnknownCommand},
		"no version": {func(d *driver) LogEntry { return LogEntry{Index: d.index + 1, Term: 1} }, ErrUnknownCommand},
		"unknown command": {func(d *driver) LogEntry {
			newer := &pb.Command{}
			op := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("new"))
			check(d.t, proto.Unmarshal(op, newer))
			return d.entry(generate(digits, 5), newer, generate(digits, 5))
		}, ErrUnknownCommand},
		"no protobuf": {func(d *driver) LogEntry { return LogEntry{Index: d.index + 1, Term: 1, Data: []byte("junk")} }, nil},
		"diverged": {func(d *driver) LogEntry {
			index, chain := d.m.Position()
			d.index++
			return encodeEntry(d.index, 1, &pb.Entry{Version: Version, CheckIndex: index, CheckChain: chain + 1})
		}, ErrDiverged},
		"contradicting tables": {func(d *driver) LogEntry {
			d.damage(store.UnusedKeys, positionKey(1, 3))
			return d.entry(lease(digits, 4))
		}, ErrDamaged},
		"undecodable row": {func(d *driver) LogEntry {
			d.damage(store.Links, []byte("a"))
			return d.entry(deleteLink("a"))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t)
			d.ok(generate(digits, 10))
			d.ok(lease(digits, 6))
			bad := c.bad(d)
			bad.Index = d.m.Applied() + 2
			good := d.entry(generate(digits, 100), request(generate(digits, 1), 5, 1, 1), cmd(&pb.PutNode{Node: &pb.Node{Id: "x"}}))
			good.Index = d.m.Applied() + 1
			d.expectStop(c.want, good, bad)
		})
	}
}

// damage writes a wrong row behind the machine's back: for unused_keys the run
// of one position, else rubbish.
func (d *driver) damage(table store.Table, key []byte) {
	d.t.Helper()
	b := d.m.db.NewBatch()
	defer b.Close()
	if table == store.UnusedKeys {
		unusedRows{b, 1}.Put(keyspace.Run{From: 3, To: 4}, struct{}{})
	} else {
		b.Put(table, key, []byte{0xff})
	}
	d.index++
	b.EndEntry(d.index, d.term)
	check(d.t, b.Commit())
	d.m.applied.Store(d.index)
}

// Each replica compares at every index that it still remembers, and at no other.
func TestChainIsComparedWhereItIsKnown(t *testing.T) {
	d := newDriver(t)
	early, earlyChain := d.m.Position()
	for range 10 {
		d.ok(generate(digits, 1))
	}
	checked := func(index, chain uint64) LogEntry {
		d.index++
		return encodeEntry(d.index, d.term, &pb.Entry{Version: Version, CheckIndex: index, CheckChain: chain})
	}
	apply := func(e LogEntry) {
		t.Helper()
		_, err := d.m.Apply([]LogEntry{e})
		check(t, err)
	}
	compared := d.m.Compared()
	apply(checked(early, earlyChain))
	equal(t, d.m.Compared(), compared+1)
	apply(checked(0, 1))         // the proposer had applied nothing
	apply(checked(d.index+9, 1)) // ahead of this replica
	equal(t, d.m.Compared(), compared+1)
	stopped := emptyDriver(t)
	defer stopped.close()
	check(t, stopped.m.Restore(bytes.NewReader(d.stream())))
	stopped.index = d.index
	apply2 := checked(early, earlyChain+1) // before the restored snapshot: unknown here
	_, err := stopped.m.Apply([]LogEntry{apply2})
	check(t, err)
	d.expectStop(ErrDiverged, apply2)

	index, chain := stopped.m.Position()
	d.index++
	stopped.index = d.index
	stopped.expectStop(ErrDiverged, encodeEntry(d.index, 1, &pb.Entry{Version: Version, CheckIndex: index, CheckChain: chain + 1}))
}

// A snapshot heals a machine that stopped, and nothing of its past shows.
func TestRestoreAfterStop(t *testing.T) {
	healthy := newDriver(t)
	healthy.ok(request(generate(digits, 10), 5, 1, 1))
	early, earlyChain := healthy.m.Position()
	healthy.ok(generate(digits, 10))
	stream := healthy.stream()
	d := newDriver(t)
	d.ok(request(generate(digits, 10), 6, 1, 1))
	d.expectStop(ErrUnknownCommand, d.entry(request(generate(digits, 7), 7, 1, 1), request(alias("a"), 6, 2, 1), &pb.Command{}))

	check(t, d.m.Restore(bytes.NewReader(stream)))
	d.index = healthy.index
	for _, x := range []*driver{healthy, d} {
		x.ok(alias("b"))
		x.ok(request(alias("c"), 6, 1, 1)) // the session that only the past knew
		x.index++
		_, err := x.m.Apply([]LogEntry{encodeEntry(x.index, 1, &pb.Entry{Version: Version, CheckIndex: early, CheckChain: earlyChain})})
		check(t, err)
	}
	if d.digest() != healthy.digest() || d.m.db.Applied() != healthy.m.db.Applied() {
		t.Fatal("the healed machine differs")
	}
	equal(t, d.count(store.Sessions), 2)
}

// Readers learn of the cluster when its first entry is committed, not before.
func TestFormedClusterIsNotPublishedEarly(t *testing.T) {
	d := emptyDriver(t)
	defer d.close()
	d.expectStop(ErrUnknownCommand, d.entry(cmd(testInit())), d.entry(&pb.Command{}))
	equal(t, d.m.ClusterID(), "")
	if _, _, err := d.m.Space(digits); !errors.Is(err, ErrKeyspaceNotFound) {
		t.Fatal(err)
	}
}

func TestRestoreAfterDamage(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 10))
	stream, at := d.stream(), d.index
	d.ok(lease(digits, 6))
	d.damage(store.UnusedKeys, positionKey(1, 3))
	d.expectStop(ErrDamaged, d.entry(lease(digits, 4)))
	check(t, d.m.Restore(bytes.NewReader(stream)))
	d.index = at
	equal(t, d.ok(lease(digits, 10)).Count, uint64(10))
	d.checkCounters(digits)
}

func TestFailedRestoreKeepsTheOldState(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 10))
	stream := d.stream()
	d.ok(generate(digits, 10))
	before := d.digest()
	for _, n := range []int{0, 10, len(stream) / 2, len(stream) - 1} {
		if err := d.m.Restore(bytes.NewReader(stream[:n])); !errors.Is(err, store.ErrStream) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if d.digest() != before {
		t.Fatal("a failed restore changed the state")
	}
	equal(t, d.ok(generate(digits, 10)).Count, uint64(10))
	equal(t, d.keyspace(digits).HighWaterMark, uint64(30))
}

// A state that the store takes but the machine cannot read stops it.
func TestRestoreOfUnreadableState(t *testing.T) {
	source := newDriver(t)
	source.damage(store.Meta, stateRow)
	stream := source.stream()
	d := newDriver(t)
	if err := d.m.Restore(bytes.NewReader(stream)); err == nil {
		t.Fatal("restored")
	}
	if _, err := d.m.Apply([]LogEntry{d.entry()}); err == nil {
		t.Fatal("applied")
	}
}
