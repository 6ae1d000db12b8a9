package fsm

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

func TestInitClusterGivesIdentityOnce(t *testing.T) {
	d := emptyDriver(t)
	defer d.close()
	equal(t, d.m.ClusterID(), "")
	if _, _, err := d.m.Space(""); !errors.Is(err, ErrKeyspaceNotFound) {
		t.Fatal(err)
	}
	d.ok(cmd(testInit()))
	equal(t, d.m.ClusterID(), "test")
	equal(t, string(d.m.ReceiptSecret()), string(testSecret))
	spaces, err := d.m.Keyspaces()
	check(t, err)
	for i, s := range spaces {
		equal(t, s.Name, []string{digits, hex, wide}[i])
		equal(t, s.Id, uint32(i+1))
		equal(t, s.CreatedAt, d.now)
	}
	equal(t, len(spaces), 3)

	before := d.digest()
	second := testInit()
	second.ClusterId, second.ReceiptSecret = "other", bytes.Repeat([]byte{8}, 32)
	second.Keyspaces[0].Name = "another"
	d.ok(cmd(second))
	if d.digest() != before {
		t.Fatal("a second InitCluster changed the state")
	}
	d.reopen()
	equal(t, d.m.ClusterID(), "test")
	equal(t, d.perm(hex).Size(), uint64(16*16*16*16*16*16))
}

func TestInitClusterTakesNoCountersFromTheProposer(t *testing.T) {
	d := emptyDriver(t)
	defer d.close()
	op := testInit()
	op.Keyspaces[0].HighWaterMark, op.Keyspaces[0].Unused, op.Keyspaces[0].Used = 9, 5, 2
	d.ok(cmd(op))
	d.checkCounters(digits)
	equal(t, d.keyspace(digits).HighWaterMark, uint64(0))
}

// A malformed command in the log must not stop every node, for ever.
func TestMalformedCommandsAreRefused(t *testing.T) {
	change := func(edit func(*pb.InitCluster)) *pb.Command {
		op := testInit()
		edit(op)
		return cmd(op)
	}
	for name, c := range map[string]*pb.Command{
		"no cluster id":     change(func(op *pb.InitCluster) { op.ClusterId = "" }),
		"no secret":         change(func(op *pb.InitCluster) { op.ReceiptSecret = nil }),
		"bad alphabet":      change(func(op *pb.InitCluster) { op.Keyspaces[2].Alphabet = "a" }),
		"bad cipher key":    change(func(op *pb.InitCluster) { op.Keyspaces[2].PermutationKey = nil }),
		"same name twice":   change(func(op *pb.InitCluster) { op.Keyspaces[2].Name = digits }),
		"link without link": cmd(&pb.CreateLink{Alias: "a"}),
		"node without node": cmd(&pb.PutNode{}),
		"node without id":   cmd(&pb.PutNode{Node: &pb.Node{DiskId: "d"}}),
	} {
		t.Run(name, func(t *testing.T) {
			d := emptyDriver(t)
			defer d.close()
			d.refused(pb.Code_INVALID, c)
			equal(t, d.m.ClusterID(), "")
			d.ok(cmd(testInit()))
		})
	}
}

func TestNodeIdentity(t *testing.T) {
	d := newDriver(t)
	put := func(id, disk, http string) *pb.Command {
		return cmd(&pb.PutNode{Node: &pb.Node{Id: id, DiskId: disk, Http: http}})
	}
	remove := func(id string) *pb.Command { return cmd(&pb.RemoveNode{Id: id}) }

	d.refused(pb.Code_NODE_NOT_FOUND, remove("n2"))
	d.ok(put("n1", "disk1", "a"))
	d.ok(put("n2", "disk2", "b"))
	d.ok(put("n2", "disk2", "moved"))
	d.refused(pb.Code_NODE_CONFLICT, put("n2", "disk3", "b"))
	d.ok(remove("n2"))
	d.refused(pb.Code_NODE_NOT_FOUND, remove("n2"))
	d.refused(pb.Code_NODE_CONFLICT, put("n2", "disk2", "b"))

	nodes, err := d.m.Nodes()
	check(t, err)
	equal(t, len(nodes), 1)
	equal(t, nodes[0].Id, "n1")
	gone, err := d.m.Node("n2")
	check(t, err)
	if want := (&pb.Node{Id: "n2", DiskId: "disk2", Http: "moved", Removed: true}); !proto.Equal(gone, want) {
		t.Fatalf("got %v, want %v", gone, want)
	}
	if none, err := d.m.Node("n9"); none != nil || err != nil {
		t.Fatal(none, err)
	}
	d.ok(put("n2", "disk3", "b")) // emptied, it may come back
	nodes, err = d.m.Nodes()
	check(t, err)
	equal(t, len(nodes), 2)
}
