package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

const backupTime = 77 * minute

func (d *driver) backup() []byte {
	d.t.Helper()
	var buf bytes.Buffer
	_, err := d.m.WriteBackup(&buf, backupTime)
	check(d.t, err)
	return buf.Bytes()
}

// inhabited is a machine with something in each of its tables.
func inhabited(t testing.TB) *driver {
	d := newDriver(t)
	d.ok(generate(digits, 1000))
	d.ok(generate(wide, 1000))
	first := d.ok(lease(digits, 100))
	d.ok(taken(digits, d.keysOf(digits, first)[0]))
	d.ok(alias("golang"))
	d.ok(alias("gone"))
	d.ok(deleteLink("gone"))
	d.ok(alias(d.key(digits, 500_000))) // far ahead of its generation
	d.ok(returnKeys(d.receiptOf(digits, first), d.keysOf(digits, first)[1]))
	d.ok(cmd(&pb.CreateLink{Alias: "tagged", Link: &pb.Link{Url: "http://t/", Tags: []string{"a", "b"}}}))
	d.ok(cmd(&pb.PutNode{Node: &pb.Node{Id: "n1", DiskId: "d"}}))
	d.ok(idempotent(request(alias("once"), 1, 1, 1), "once"))
	return d
}

func TestBackup(t *testing.T) {
	d := inhabited(t)
	file := d.backup()
	b, err := VerifyBackup(iotest.OneByteReader(bytes.NewReader(file)))
	check(t, err)
	at, state := d.m.db.Applied(), must(d.m.State())
	want := &pb.BackupHeader{
		ClusterId: "test", Index: at.Index, Term: at.Term, Time: backupTime, Clock: state.Clock,
		NextLease: state.NextLease, NextKeyspace: state.NextKeyspace, Links: 5,
	}
	for _, row := range must(d.m.Keyspaces()) {
		row.PermutationKey = nil
		want.Keyspaces = append(want.Keyspaces, row)
	}
	if !proto.Equal(b.Header, want) {
		t.Errorf("header %v\nwant   %v", b.Header, want)
	}
	if !bytes.HasSuffix(file, b.SHA256[:]) {
		t.Error("SHA-256 is not the file's last bytes")
	}
	header, err := InspectBackup(bytes.NewReader(file[:len(file)/2]))
	if check(t, err); !proto.Equal(header, want) {
		t.Errorf("inspected: %v", header)
	}
	for _, secret := range [][]byte{testSecret} {
		if bytes.Contains(file, secret) {
			t.Error("the secret of receipts is in the file")
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// No damage passes, wherever it is, and none is taken for anything else.
func TestDamagedBackup(t *testing.T) {
	file := inhabited(t).backup()
	bad := func(what string, at int, damaged []byte) {
		if _, err := VerifyBackup(bytes.NewReader(damaged)); !errors.Is(err, ErrBackup) {
			t.Errorf("%s at %d of %d: %v", what, at, len(file), err)
		}
	}
	for i := range file {
		flipped := bytes.Clone(file)
		flipped[i] ^= 1 << (i % 8)
		bad("flipped bit", i, flipped)
		bad("cut", i, file[:i])
	}
	bad("byte added", len(file), append(bytes.Clone(file), 0))
	if _, err := VerifyBackup(io.MultiReader(bytes.NewReader(file[:100]), iotest.ErrReader(io.ErrClosedPipe))); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, ErrBackup) {
		t.Errorf("an error of the reader becomes %v", err)
	}
}

// A backup whose checksums are right and whose rows are not is none.
func TestContradictoryBackup(t *testing.T) {
	used := func(to uint64) []byte { return must(proto.Marshal(&pb.Used{To: to})) }
	space := func(change func(*pb.Keyspace)) []byte {
		row := proto.CloneOf(testInit().Keyspaces[0])
		row.Id = 1
		change(row)
		return must(proto.Marshal(row))
	}
	for what, row := range map[string]struct {
		table      store.Table
		key, value []byte
	}{
		"a link of no kind":                 {store.Links, []byte("x"), []byte{0xff}},
		"a link without a key":              {store.Links, nil, nil},
		"a link that the header lacks":      {store.Links, []byte("x"), nil},
		"a used row of no kind":             {store.UsedKeys, positionKey(1, 600), []byte{0xff}},
		"a used row with a short key":       {store.UsedKeys, []byte{0, 0, 0, 1}, used(7)},
		"a used row of no key space":        {store.UsedKeys, positionKey(9, 600), used(601)},
		"an empty used row":                 {store.UsedKeys, positionKey(1, 600), used(600)},
		"overlapping used rows":             {store.UsedKeys, positionKey(1, 50), used(120)},
		"used beyond the key space":         {store.UsedKeys, positionKey(1, 999_999), used(1_000_001)},
		"used in bulk above the mark":       {store.UsedKeys, positionKey(1, 999), used(1002)},
		"used, and unused too":              {store.UsedKeys, positionKey(1, 600), used(601)},
		"an expiry with a short key":        {store.LinkExpiry, []byte{1}, nil},
		"an expiry without its link":        {store.LinkExpiry, timeKey(1, []byte("x")), nil},
		"visits of no kind":                 {store.LinkVisits, []byte("x"), []byte{0xff}},
		"visits of days without counts":     {store.LinkVisits, []byte("x"), must(proto.Marshal(&pb.Visits{Days: []uint32{1}}))},
		"visits of days in disorder":        {store.LinkVisits, []byte("x"), must(proto.Marshal(&pb.Visits{Days: []uint32{2, 1}, Counts: []uint64{1, 1}}))},
		"a key space of no kind":            {store.Keyspaces, spaceKey(1), []byte{0xff}},
		"a key space out of place":          {store.Keyspaces, spaceKey(3), space(func(row *pb.Keyspace) {})},
		"a key space from the future":       {store.Keyspaces, spaceKey(8), space(func(row *pb.Keyspace) { row.Id = 8 })},
		"a key space that is none":          {store.Keyspaces, spaceKey(1), space(func(row *pb.Keyspace) { row.Length = 1 })},
		"a key space beyond its end":        {store.Keyspaces, spaceKey(1), space(func(row *pb.Keyspace) { row.HighWaterMark = 1_000_001 })},
		"a key space without its used keys": {store.Keyspaces, spaceKey(1), space(func(row *pb.Keyspace) {})},
	} {
		d := inhabited(t)
		d.poke(row.table, row.key, row.value)
		var file bytes.Buffer
		if _, err := d.m.WriteBackup(&file, 0); err == nil {
			_, err = VerifyBackup(bytes.NewReader(file.Bytes()))
			if !errors.Is(err, ErrBackup) {
				t.Errorf("%s: %v", what, err)
			}
		}
		// A restore finds the same, and the machine goes on.
		if file.Len() == 0 {
			continue
		}
		d = inhabited(t)
		if r := d.restore(file.Bytes(), 0); r.Code != pb.Code_INVALID {
			t.Errorf("%s: restored: %v", what, r)
		}
		equal(t, d.count(store.Staging), 0)
		d.ok(lease(digits, 1))
	}
}

// poke writes a row behind the machine's back.
func (d *driver) poke(t store.Table, key, value []byte) {
	d.t.Helper()
	at := d.m.db.Applied()
	b := d.m.db.NewBatch()
	defer b.Close()
	b.Put(t, key, value)
	b.EndEntry(at.Index+1, at.Term)
	check(d.t, b.Commit())
}

func TestBackupThatCannotBeWritten(t *testing.T) {
	d := inhabited(t)
	size := len(d.backup())
	for at := 0; at < size; at += 97 {
		w := &shortWriter{left: at}
		if _, err := d.m.WriteBackup(w, 0); !errors.Is(err, errFull) {
			t.Fatalf("full after %d of %d bytes: %v", at, size, err)
		}
	}
}

var errFull = fmt.Errorf("full")

type shortWriter struct{ left int }

func (w *shortWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return w.left, errFull
	}
	w.left -= len(p)
	return len(p), nil
}

// A file that version 1 wrote stays readable.
func TestBackupOfVersion1(t *testing.T) {
	file, err := os.ReadFile("testdata/v1.backup")
	check(t, err)
	b, err := VerifyBackup(bytes.NewReader(file))
	check(t, err)
	d := emptyDriver(t)
	t.Cleanup(d.close)
	d.ok(cmd(&pb.InitCluster{ClusterId: "present", ReceiptSecret: testSecret}))
	d.restored(file, 20_000_001)
	equal(t, d.urlOf("golang"), "https://go.dev/")
	equal(t, d.keyspace(digits).HighWaterMark, uint64(20_000_001))
	equal(t, b.Header.ClusterId, "cae9609a01ac59aa")
}
