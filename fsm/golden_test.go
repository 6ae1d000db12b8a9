package fsm

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// golden files hold log entries as this version wrote them first, each after a
// u32 length, big-endian, and after a zero the chain of the state that they make.
var golden = map[string]struct {
	write func(g *goldenLog)
	check func(t *testing.T, d *driver)
}{
	"testdata/v1.entries": {writeFirst, func(t *testing.T, d *driver) {
		equal(t, d.urlOf("golang"), "https://go.dev/")
		equal(t, d.keyspace(digits).HighWaterMark, uint64(1000))
	}},
	// Random commands, most of them refused, and restores: written by the last program
	// of version 1, from its world (world_test.go). The texts of refusals are in it.
	"testdata/v1.drawn.entries": {nil, func(t *testing.T, d *driver) {
		equal(t, d.m.Applied(), uint64(220))
	}},
	"testdata/v1.growth.entries": {writeGrowth, func(t *testing.T, d *driver) {
		equal(t, d.keyspace(digits).Length, uint32(8))
		equal(t, len(must(d.m.Lengths(digits))), 3)
	}},
	"testdata/v1.forward.entries": {writeForward, func(t *testing.T, d *driver) {
		equal(t, d.link("passes").ForwardQuery, false)
		equal(t, d.link("forwards").ForwardQuery, true)
	}},
	"testdata/v1.folding.entries": {writeFolding, func(t *testing.T, d *driver) {
		equal(t, d.keyspace("codes").CaseInsensitive, true)
		equal(t, d.link(d.key("codes", 60)).MaxVisits, uint64(2))
	}},
}

// A log of version 1 stays readable, and makes the state that it made: else
// nodes of two builds of version 1 would tell each other apart in an upgrade.
// KGS_UPDATE=1 writes the files that are missing. What one has is never changed: an
// entry that is new goes into a new file.
func TestEntriesOfVersion1(t *testing.T) {
	for name, g := range golden {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(name); err != nil && os.Getenv("KGS_UPDATE") != "" {
				l := &goldenLog{driver: emptyDriver(t), t: t}
				t.Cleanup(l.close)
				g.write(l)
				_, chain := l.m.Position()
				l.file = binary.BigEndian.AppendUint32(l.file, 0)
				check(t, os.WriteFile(name, binary.BigEndian.AppendUint64(l.file, chain), 0o644))
			}
			d := emptyDriver(t)
			t.Cleanup(d.close)
			d.replayGolden(t, name)
			g.check(t, d)
		})
	}
}

func (d *driver) replayGolden(t *testing.T, name string) {
	file, err := os.ReadFile(name)
	check(t, err)
	r := bytes.NewReader(file)
	for {
		var size uint32
		check(t, binary.Read(r, binary.BigEndian, &size))
		if size == 0 {
			break
		}
		data := make([]byte, size)
		check(t, binary.Read(r, binary.BigEndian, data))
		d.index++
		_, err := d.m.Apply([]LogEntry{{Index: d.index, Term: d.term, Data: data}})
		check(t, err)
	}
	var want uint64
	check(t, binary.Read(r, binary.BigEndian, &want))
	if _, chain := d.m.Position(); chain != want {
		t.Errorf("chain %x, was %x", chain, want)
	}
}

// goldenLog is a log in the making.
type goldenLog struct {
	*driver
	t    *testing.T
	file []byte
}

func (g *goldenLog) apply(commands ...*pb.Command) []*pb.Result {
	e := g.entry(commands...)
	g.file = append(binary.BigEndian.AppendUint32(g.file, uint32(len(e.Data))), e.Data...)
	results, err := g.m.Apply([]LogEntry{e})
	check(g.t, err)
	for _, r := range results[0] {
		if r.Code != pb.Code_OK {
			g.t.Fatal(r)
		}
	}
	return results[0]
}

// writeFirst has each kind of command that changed rows when there was the first
// release.
func writeFirst(g *goldenLog) {
	g.apply(cmd(testInit()))
	g.apply(createKeyspace(vouchers), generate(digits, 1000), cmd(&pb.PutNode{Node: &pb.Node{Id: "n1", DiskId: "disk1", Cluster: "n1:1"}}))
	leased := g.apply(lease(digits, 10))[0]
	g.apply(generate(vouchers.Name, 50), lease(vouchers.Name, 5),
		idempotent(cmd(&pb.CreateLink{Alias: "golang", Link: &pb.Link{Url: "https://go.dev/", Tags: []string{"t"}, Title: "Go"}}), "k"),
		createToken("AAAAAAAA", pb.Role_WRITE, minute))
	g.apply(request(alias("passing"), 1, 1, 0), returnKeys(g.receiptOf(digits, leased), g.keysOf(digits, leased)[:2]...))
	g.apply(deleteLink("passing"), revokeToken("AAAAAAAA"), cmd(&pb.RemoveNode{Id: "n1"}))
}

// writeGrowth has key spaces that grow, by themselves and in a recovery.
func writeGrowth(g *goldenLog) {
	g.apply(cmd(testInit()))
	g.apply(alias("1234567"), alias("12345678"), generate(digits, 1_000_000), lease(digits, 999_990), mayGrow(hex, true))
	g.apply(request(grow(digits, 6), 1, 1, 0), grow(digits, 6), generate(digits, 1000))
	leased := g.apply(lease(digits, 8), lease(digits, 20), cmd(&pb.Lease{Keyspace: digits, Count: 2, Direct: true}))[1]
	g.apply(cmd(&pb.Release{Keyspace: digits, Grants: leased.Grants, HandedOut: 3}), cmd(&pb.Lease{Keyspace: digits, Count: 1, LastLength: true}))
	g.apply(cmd(&pb.RecoverCluster{Node: &pb.Node{Id: "n1"}, Grow: true, Floors: []*pb.Floor{{Keyspace: digits, Position: 11_000_005}, {Keyspace: hex, Position: 20}}}))
	g.apply(generate(digits, 10), lease(digits, 5))
}

// writeForward has links that take the query along.
func writeForward(g *goldenLog) {
	forwards := cmd(&pb.CreateLink{Alias: "forwards", Link: &pb.Link{Url: "https://go.dev/", ForwardQuery: true}})
	passes := cmd(&pb.CreateLink{Alias: "passes", Link: &pb.Link{Url: "https://go.dev/"}, FindIfExists: true})
	g.apply(cmd(testInit()))
	g.apply(request(idempotent(forwards, "k"), 1, 1, 0), passes)
	g.apply(cmd(&pb.UpdateLink{Key: "passes", ForwardQuery: proto.Bool(true)}), cmd(&pb.UpdateLink{Key: "passes", ForwardQuery: proto.Bool(false)}))
}

// writeFolding has a key space whose keys are written in either case.
func writeFolding(g *goldenLog) {
	loud := func(pos uint64) string { return strings.ToUpper(string(permutationOf(codes).AppendKey(nil, pos))) }
	g.apply(cmd(testInit()))
	g.apply(alias(loud(50)))
	g.apply(createKeyspace(codes), generate("codes", 100))
	g.apply(alias(loud(60)))
	g.apply(cmd(&pb.UpdateLink{Key: loud(60), MaxVisits: proto.Uint64(2)}), cmd(&pb.VisitLink{Key: loud(60)}), deleteLink(loud(50)))
	g.apply(addVisits(loud(60), &pb.Visits{Visits: 3}))
}
