package fsm

import (
	"math/rand/v2"
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// As TestAgainstModel, with a recovery among the entries.
func TestRecoverAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(func(n int, _ string) int { return random.IntN(n) })
		w.recovery = 30
		play(t, w, times(60))
	}
}

// What the survivor had is there; whatever may have been issued elsewhere is not
// issued again.
func TestRecover(t *testing.T) {
	d := newDriver(t)
	node := func(id string, nonVoter bool) *pb.Command {
		return cmd(&pb.PutNode{Node: &pb.Node{Id: id, DiskId: "disk of " + id, NonVoter: nonVoter}})
	}
	d.ok(node("n1", true))
	d.ok(node("n2", false))
	d.ok(generate(digits, 1000))
	d.ok(lease(digits, 10))
	d.ok(cmd(&pb.CreateLink{Alias: "docs", Link: &pb.Link{Url: "https://a.example"}}))
	ahead := d.key(digits, 5000) // an alias that is a key not generated yet
	d.ok(cmd(&pb.CreateLink{Alias: ahead, Link: &pb.Link{Url: "https://b.example"}}))

	leased := d.ok(lease(digits, 10)).Grants[0]
	receipt := Receipt{Space: 1, Grants: []Grant{{leased.Lease, leased.From, leased.Count}}}.Seal(nil, testSecret)
	give := cmd(&pb.ReturnKeys{Receipt: receipt, Keys: []string{d.key(digits, leased.From)}})
	d.refused(pb.Code_INVALID, cmd(&pb.RecoverCluster{}))
	survivor := &pb.Node{Id: "n3", DiskId: "disk of n3"} // whose row is missing
	told := d.ok(cmd(&pb.RecoverCluster{Node: survivor})).Restored
	d.refused(pb.Code_INVALID_RECEIPT, give)
	margin := uint64(1_000_000 / marginShare)
	for _, s := range told.Keyspaces {
		if s.Name == digits && (s.Margin != margin || s.HighWaterMark != 1000+margin || s.Burned != 980+margin-1) {
			t.Errorf("told %v", s)
		}
	}
	nodes, err := d.m.Nodes()
	check(t, err)
	if len(nodes) != 1 || nodes[0].Id != "n3" {
		t.Errorf("the nodes are %v", nodes)
	}
	d.refused(pb.Code_NODE_CONFLICT, node("n2", false)) // it must forget first
	for _, key := range []string{"docs", ahead} {
		_, err := d.m.Link(key)
		check(t, err)
	}
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 1))
	d.ok(generate(digits, 100))
	if from := d.ok(lease(digits, 10)).Grants[0].From; from != 1000+margin {
		t.Errorf("the next key is that at %d", from)
	}

	d.ok(cmd(&pb.RecoverCluster{Node: survivor, Floor: 1 << 40})) // more than there is
	d.refused(pb.Code_KEYSPACE_EXHAUSTED, generate(digits, 1))
}
