package fsm

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// goldenFile holds log entries as this version wrote them first, each after a
// u32 length, big-endian, and after a zero the chain of the state that they make.
const goldenFile = "testdata/v1.entries"

// A log of version 1 stays readable, and makes the state that it made: else
// nodes of two builds of version 1 would tell each other apart in an upgrade.
// KGS_UPDATE=1 writes a new file: when Version has changed, not before.
func TestEntriesOfVersion1(t *testing.T) {
	if os.Getenv("KGS_UPDATE") != "" {
		writeGolden(t)
	}
	file, err := os.ReadFile(goldenFile)
	check(t, err)
	d := emptyDriver(t)
	t.Cleanup(d.close)
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
	equal(t, d.urlOf("golang"), "https://go.dev/")
	equal(t, d.keyspace(digits).HighWaterMark, uint64(1000))
	if _, chain := d.m.Position(); chain != want {
		t.Errorf("chain %x, was %x", chain, want)
	}
}

// writeGolden makes a log with each kind of command that changes rows.
func writeGolden(t *testing.T) {
	d := emptyDriver(t)
	t.Cleanup(d.close)
	var file []byte
	apply := func(commands ...*pb.Command) []*pb.Result {
		e := d.entry(commands...)
		file = append(binary.BigEndian.AppendUint32(file, uint32(len(e.Data))), e.Data...)
		results, err := d.m.Apply([]LogEntry{e})
		check(t, err)
		for _, r := range results[0] {
			if r.Code != pb.Code_OK {
				t.Fatal(r)
			}
		}
		return results[0]
	}
	apply(cmd(testInit()))
	apply(createKeyspace(vouchers), generate(digits, 1000), cmd(&pb.PutNode{Node: &pb.Node{Id: "n1", DiskId: "disk1", Cluster: "n1:1"}}))
	leased := apply(lease(digits, 10))[0]
	apply(generate(vouchers.Name, 50), lease(vouchers.Name, 5),
		idempotent(cmd(&pb.CreateLink{Alias: "golang", Link: &pb.Link{Url: "https://go.dev/", Tags: []string{"t"}, Title: "Go"}}), "k"),
		createToken("AAAAAAAA", pb.Role_WRITE, minute))
	apply(request(alias("passing"), 1, 1, 0), returnKeys(d.receiptOf(digits, leased), d.keysOf(digits, leased)[:2]...))
	apply(deleteLink("passing"), revokeToken("AAAAAAAA"), cmd(&pb.RemoveNode{Id: "n1"}))
	_, chain := d.m.Position()
	file = binary.BigEndian.AppendUint32(file, 0)
	check(t, os.WriteFile(goldenFile, binary.BigEndian.AppendUint64(file, chain), 0o644))
}
