package fsm

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// The key spaces of the tests. A string of six digits is a key of the first two.
const (
	digits = "default" // 10^6 keys
	hex    = "hex"     // 16^6 keys
	wide   = "wide"    // 62^6 keys
)

// Key spaces that come later.
var (
	sevenDigits = &pb.Keyspace{Name: "d7", Alphabet: "0123456789", Length: 7, PermutationKey: bytes.Repeat([]byte{4}, 32)}
	vouchers    = &pb.Keyspace{Name: "vouchers", Alphabet: keyspace.Alphabets["crockford32"], Length: 4, Prefix: "V-", Check: true,
		PermutationKey: bytes.Repeat([]byte{6}, 32), Blocklist: []string{"foo", "bar"}}
	// of either case
	codes = &pb.Keyspace{Name: "codes", Alphabet: keyspace.Alphabets["lowercase"], Length: 5, Prefix: "c-", Check: true,
		CaseInsensitive: true, PermutationKey: bytes.Repeat([]byte{9}, 32)}
)

func permutationOf(row *pb.Keyspace) *keyspace.Permutation {
	perm, err := keyspace.NewPermutation(spaceOf(row), row.PermutationKey)
	if err != nil {
		panic(err)
	}
	return perm
}

const minute = int64(60_000)

var testSecret = bytes.Repeat([]byte{7}, 32)

func testInit() *pb.InitCluster {
	return &pb.InitCluster{ClusterId: "test", ReceiptSecret: testSecret, Keyspaces: []*pb.Keyspace{
		{Name: digits, Alphabet: "0123456789", Length: 6, PermutationKey: bytes.Repeat([]byte{1}, 32)},
		{Name: hex, Alphabet: "0123456789ABCDEF", Length: 6, PermutationKey: bytes.Repeat([]byte{2}, 32)},
		{Name: wide, Alphabet: keyspace.Base62, Length: 6, PermutationKey: bytes.Repeat([]byte{3}, 32)},
	}}
}

// tester is what testing.T, testing.B and rapid.T share.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

func check(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// driver plays the log to one machine.
type driver struct {
	t           tester
	fs          *vfs.MemFS
	m           *Machine
	index, term uint64
	now         int64 // stamp of the next entry
	node        string
	options     store.Options
}

// emptyDriver has a machine without a cluster.
func emptyDriver(t tester) *driver {
	small := store.Options{Dir: "data", CacheBytes: 1 << 20, MemTableBytes: 256 << 10}
	d := &driver{t: t, fs: vfs.NewCrashableMem(), term: 1, now: 1_000_000 * minute, node: "n1", options: small}
	d.open()
	return d
}

func newDriver(t testing.TB) *driver {
	d := emptyDriver(t)
	t.Cleanup(d.close)
	d.ok(cmd(testInit()))
	return d
}

func (d *driver) open() {
	d.t.Helper()
	d.options.FS = d.fs
	db, err := store.Open(d.options)
	check(d.t, err)
	d.m, err = New(db)
	check(d.t, err)
}

func (d *driver) close() { check(d.t, d.m.db.Close()) }

// reopen is a clean restart of the node.
func (d *driver) reopen() {
	d.t.Helper()
	d.close()
	d.open()
}

// entry encodes the next log entry.
func (d *driver) entry(cmds ...*pb.Command) LogEntry {
	d.index++
	return encodeEntry(d.index, d.term, &pb.Entry{Version: Version, Time: d.now, Node: d.node, Commands: cmds})
}

func encodeEntry(index, term uint64, e *pb.Entry) LogEntry {
	data, err := proto.Marshal(e)
	if err != nil {
		panic(err)
	}
	return LogEntry{Index: index, Term: term, Data: data}
}

// apply applies the commands as one entry.
func (d *driver) apply(cmds ...*pb.Command) []*pb.Result {
	d.t.Helper()
	results, err := d.m.Apply([]LogEntry{d.entry(cmds...)})
	check(d.t, err)
	return results[0]
}

func (d *driver) do(c *pb.Command) *pb.Result {
	d.t.Helper()
	return d.apply(c)[0]
}

// ok applies a command that must succeed.
func (d *driver) ok(c *pb.Command) *pb.Result {
	d.t.Helper()
	r := d.do(c)
	if r.Code != pb.Code_OK {
		d.t.Fatalf("%v: %v", c, ResultError(r))
	}
	return r
}

// refused applies a command that must be refused, without any change.
func (d *driver) refused(want pb.Code, c *pb.Command) {
	d.t.Helper()
	d.apply() // the entry's own effects: clock and sweeps
	before := d.digest()
	if r := d.do(c); r.Code != want {
		d.t.Fatalf("%v: %v, want %v", c, r, want)
	}
	if d.digest() != before {
		d.t.Fatalf("the refused %v changed the state", c)
	}
}

func (d *driver) digest() [32]byte {
	d.t.Helper()
	_, digest, err := d.m.Digest()
	check(d.t, err)
	return digest
}

// stream is the snapshot of the machine's state.
func (d *driver) stream() []byte {
	d.t.Helper()
	view, err := d.m.db.View()
	check(d.t, err)
	var buf bytes.Buffer
	_, err = view.WriteTo(&buf)
	check(d.t, err)
	check(d.t, view.Close())
	return buf.Bytes()
}

func (d *driver) perm(space string) *keyspace.Permutation {
	d.t.Helper()
	perm, _, err := d.m.Space(space)
	check(d.t, err)
	return perm
}

func (d *driver) key(space string, pos uint64) string {
	d.t.Helper()
	return string(d.perm(space).AppendKey(nil, pos))
}

// state is the key's state: "ungenerated", "unused", or its purpose.
func (d *driver) state(space, key string) string {
	d.t.Helper()
	s, err := d.m.Key(space, key)
	check(d.t, err)
	switch {
	case s.Row != nil:
		return s.Row.Purpose.String()
	case s.Unused:
		return "unused"
	}
	return "ungenerated"
}

func (d *driver) keyspace(name string) *pb.Keyspace {
	d.t.Helper()
	row, err := d.m.Keyspace(name)
	check(d.t, err)
	return row
}

// rows lists a whole key table.
func (d *driver) rows(t store.Table, space string) []KeyRow {
	d.t.Helper()
	_, id, err := d.m.Space(space)
	check(d.t, err)
	rows, err := d.m.KeyRows(t, id, 0, 1<<30)
	check(d.t, err)
	return rows
}

// count counts the rows of any table.
func (d *driver) count(t store.Table) (n int) {
	d.t.Helper()
	check(d.t, d.m.db.Scan(t, nil, nil, func(_, _ []byte) bool { n++; return true }))
	return n
}

// checkCounters compares a key space's counters with its tables: the runs are
// disjoint, their sums are the counters, and together they are exactly the
// positions below the high-water mark and the aliases claimed above it.
func (d *driver) checkCounters(space string) {
	d.t.Helper()
	for _, row := range must(d.m.Lengths(space)) {
		d.checkCountersOf(row)
	}
}

func (d *driver) checkCountersOf(row *pb.Keyspace) {
	d.t.Helper()
	space := fmt.Sprint(row.Name, " of length ", row.Length)
	var unused, used, returned, above uint64
	owner := map[uint64]keyspace.Run{} // by From
	for _, r := range must(d.m.KeyRows(store.UnusedKeys, row.Id, 0, math.MaxInt)) {
		unused += r.Len()
		owner[r.From] = r.Run
		if r.To > row.HighWaterMark {
			d.t.Fatalf("unused %v above the high-water mark %d", r.Run, row.HighWaterMark)
		}
	}
	for _, r := range must(d.m.KeyRows(store.UsedKeys, row.Id, 0, math.MaxInt)) {
		used += r.Len()
		if _, ok := owner[r.From]; ok {
			d.t.Fatalf("%v starts a row in both tables", r.Run)
		}
		owner[r.From] = r.Run
		if r.Used.Purpose == pb.Purpose_RETURNED {
			returned += r.Len()
		}
		if r.From >= row.HighWaterMark {
			above += r.Len()
		}
	}
	if row.Unused != unused || row.Used != used || row.Returned != returned {
		d.t.Fatalf("%s: counters %v, tables: unused %d, used %d, returned %d", space, row, unused, used, returned)
	}
	if unused+used-above != row.HighWaterMark {
		d.t.Fatalf("%s: generated %d, but unused %d + used %d - claimed above %d", space, row.HighWaterMark, unused, used, above)
	}
	for next := uint64(0); next < row.HighWaterMark; {
		run, ok := owner[next]
		if !ok {
			d.t.Fatalf("%s: no row starts at %d: rows overlap, or a generated position is in neither table", space, next)
		}
		next = run.To
	}
}

// cmd wraps an operation.
func cmd(op proto.Message) *pb.Command {
	c := &pb.Command{}
	m := c.ProtoReflect()
	for i := range m.Descriptor().Oneofs().Get(0).Fields().Len() {
		f := m.Descriptor().Oneofs().Get(0).Fields().Get(i)
		if f.Message().FullName() == op.ProtoReflect().Descriptor().FullName() {
			m.Set(f, m.NewField(f))
			proto.Merge(m.Get(f).Message().Interface(), op)
		}
	}
	return c
}

// The short forms of commands.

func generate(space string, n uint64) *pb.Command {
	return cmd(&pb.Generate{Keyspace: space, Count: n})
}

func lease(space string, n uint64) *pb.Command { return cmd(&pb.Lease{Keyspace: space, Count: n}) }

func alias(key string) *pb.Command {
	return cmd(&pb.CreateLink{Alias: key, Link: &pb.Link{Url: "https://example.com/" + key}})
}

func taken(space, key string) *pb.Command {
	return cmd(&pb.CreateLink{TakenKey: key, Keyspace: space, Link: &pb.Link{Url: "https://example.com/" + key},
		BufferedTo: math.MaxUint64})
}

// generated creates a link under a position of a lease.
func (d *driver) generated(space string, leaseID, pos uint64) *pb.Command {
	d.t.Helper()
	return cmd(&pb.CreateLink{
		Generated: &pb.GeneratedKey{Key: d.key(space, pos), Position: pos, Lease: leaseID},
		Keyspace:  space, Link: &pb.Link{Url: "https://example.com/generated"},
	})
}

func createKeyspace(row *pb.Keyspace) *pb.Command {
	return cmd(&pb.CreateKeyspace{Keyspace: row})
}

func grow(space string, from uint32) *pb.Command {
	return cmd(&pb.GrowKeyspace{Keyspace: space, FromLength: from})
}

func mayGrow(space string, may bool) *pb.Command {
	return cmd(&pb.UpdateKeyspace{Keyspace: space, Grow: &may})
}

func deleteLink(key string) *pb.Command { return cmd(&pb.DeleteLink{Key: key}) }

func createToken(id string, role pb.Role, ttl int64) *pb.Command {
	return cmd(&pb.CreateToken{Id: id, Hash: make([]byte, 32), Role: role, Ttl: ttl})
}

func revokeToken(id string) *pb.Command { return cmd(&pb.RevokeToken{Id: id}) }

func returnKeys(receipt []byte, keys ...string) *pb.Command {
	return cmd(&pb.ReturnKeys{Receipt: receipt, Keys: keys})
}

// request gives the command a request id.
func request(c *pb.Command, session, seq, answered uint64) *pb.Command {
	c = proto.CloneOf(c)
	c.Request = &pb.RequestID{Session: session, Seq: seq, Answered: answered}
	return c
}

// idempotent gives the command an idempotency key, with the operation as fingerprint.
func idempotent(c *pb.Command, key string) *pb.Command {
	c = proto.CloneOf(c)
	bare := proto.CloneOf(c)
	bare.Request, bare.Idempotency = nil, nil
	print, _ := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	c.Idempotency = &pb.IdempotencyKey{Key: key, Fingerprint: print}
	return c
}

// receiptOf seals all that a Lease granted.
func (d *driver) receiptOf(space string, r *pb.Result) []byte {
	d.t.Helper()
	_, id, err := d.m.GrantSpace(space, r.Grants[0].Space)
	check(d.t, err)
	receipt := Receipt{Space: id}
	for _, g := range r.Grants {
		receipt.Grants = append(receipt.Grants, Grant{g.Lease, g.From, g.Count})
	}
	return receipt.Seal(nil, d.m.ReceiptSecret())
}

// keysOf are the keys of a Lease.
func (d *driver) keysOf(space string, r *pb.Result) (keys []string) {
	d.t.Helper()
	for _, g := range r.Grants {
		perm, _, err := d.m.GrantSpace(space, g.Space)
		check(d.t, err)
		for pos := g.From; pos < g.From+g.Count; pos++ {
			keys = append(keys, string(perm.AppendKey(nil, pos)))
		}
	}
	return keys
}

func equal(t tester, got, want any) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}
