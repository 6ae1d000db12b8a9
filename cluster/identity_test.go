package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

func mustIdentity(t *testing.T, dir, node string) *identity {
	t.Helper()
	id, err := openIdentity(vfs.Default, dir, node)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIdentityStaysWithTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	first := mustIdentity(t, dir, "n1")
	if err := first.adopt("c1"); err != nil {
		t.Fatal(err)
	}
	want := first.self()
	if want.NodeID != "n1" || want.ClusterID != "c1" || want.DiskID == "" {
		t.Errorf("%+v", want)
	}
	first.close()
	again := mustIdentity(t, dir, "n1")
	defer again.close()
	if got := again.self(); got != want {
		t.Errorf("%+v became %+v", want, got)
	}
	other := mustIdentity(t, t.TempDir(), "n1")
	defer other.close()
	if other.self().DiskID == want.DiskID {
		t.Error("two directories have one identity")
	}
}

func TestIdentityIsForOneProcess(t *testing.T) {
	dir := t.TempDir()
	first := mustIdentity(t, dir, "n1")
	if _, err := openIdentity(vfs.Default, dir, "n1"); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("opened twice: %v", err)
	}
	first.close()
	mustIdentity(t, dir, "n1").close()
}

func TestIdentityDoesNotChangeHands(t *testing.T) {
	dir := t.TempDir()
	mustIdentity(t, dir, "n1").close()
	_, err := openIdentity(vfs.Default, dir, "n2")
	if err == nil || !strings.Contains(err.Error(), `"n1"`) || !strings.Contains(err.Error(), `"n2"`) {
		t.Errorf("%v", err)
	}
	mustIdentity(t, dir, "n1").close() // and the refused one has let go of it
}

// Who knows other programs' way out of a lost majority is shown ours.
func TestPeersFileIsRefused(t *testing.T) {
	for _, file := range []string{"peers.json", "raft/peers.json"} {
		path := filepath.Join(t.TempDir(), file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("[]"), 0o644); err != nil {
			t.Fatal(err)
		}
		n, err := Open(Config{NodeID: "n1", DataDir: strings.TrimSuffix(path, "/"+file), Network: newPipeNet().at("127.0.0.1:9080"),
			InitialCluster: map[string]string{"n1": "127.0.0.1:9080"}})
		if err == nil {
			n.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "kgs cluster recover") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestIdentityBelongsToOneCluster(t *testing.T) {
	id := mustIdentity(t, t.TempDir(), "n1")
	defer id.close()
	for _, step := range []struct {
		cluster string
		want    error
	}{{"c1", nil}, {"c1", nil}, {"c2", ErrWrongCluster}} {
		if err := id.adopt(step.cluster); !errors.Is(err, step.want) {
			t.Errorf("adopt %s: %v", step.cluster, err)
		}
	}
	if id.self().ClusterID != "c1" {
		t.Errorf("%+v", id.self())
	}
}

func TestIdentityDamagedOrHalfWritten(t *testing.T) {
	for _, content := range []string{"", "{", "null", "{}", `{"node":"n1"}`, "\x00\x00"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, identityFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := openIdentity(vfs.Default, dir, "n1"); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%q: %v, %v", content, id, err)
		}
	}
	dir := t.TempDir() // a crash before the rename
	if err := os.WriteFile(filepath.Join(dir, identityFile+".tmp"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustIdentity(t, dir, "n1").close()
}

func TestReplaceFileLeavesTheOldOneOnFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"one", "two"} {
		if err := replaceFile(vfs.Default, path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if err := os.MkdirAll(path+".tmp/full", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(vfs.Default, path, []byte("three")); err == nil {
		t.Fatal("no error")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCheckPeer(t *testing.T) {
	n := alone(t)
	cluster := n.machine.ClusterID()
	put := func(cmd *pb.Command) {
		t.Helper()
		if _, err := n.proposeOne(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"member", "gone"} {
		put(&pb.Command{Op: &pb.Command_PutNode{PutNode: &pb.PutNode{Node: &pb.Node{Id: id, DiskId: "d1"}}}})
	}
	put(&pb.Command{Op: &pb.Command_RemoveNode{RemoveNode: &pb.RemoveNode{Id: "gone"}}})
	for _, c := range []struct {
		name string
		peer Identity
		want error
	}{
		{"a member", Identity{cluster, "member", "d1"}, nil},
		{"a member that does not know its cluster yet", Identity{"", "member", "d1"}, nil},
		{"a newcomer", Identity{"", "new", "d9"}, nil},
		{"the node itself", n.id.self(), nil},
		{"of another cluster", Identity{"other", "member", "d1"}, ErrWrongCluster},
		{"a member's id with another directory", Identity{"", "member", "d2"}, fsm.ErrNodeConflict},
		{"this node's id with another directory", Identity{cluster, "n1", "d2"}, fsm.ErrNodeConflict},
		{"removed", Identity{cluster, "gone", "d1"}, fsm.ErrNodeConflict},
		{"removed, emptied and back", Identity{"", "gone", "d2"}, nil},
	} {
		for _, kind := range []connKind{kindRaft, kindRPC} {
			if err := n.checkPeer(kind, c.peer); !errors.Is(err, c.want) {
				t.Errorf("%s, %v: %v, want %v", c.name, kind, err, c.want)
			}
		}
	}
}

// A power loss right after the first start leaves the node who it was.
func TestIdentitySurvivesAPowerLoss(t *testing.T) {
	disk := vfs.NewCrashableMem()
	id, err := openIdentity(disk, "/var/lib/kgs/n1", "n1")
	if err != nil {
		t.Fatal(err)
	}
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	again, err := openIdentity(after, "/var/lib/kgs/n1", "n1")
	if err != nil || again.self() != id.self() {
		t.Errorf("%+v became %+v, %v", id.self(), again.self(), err)
	}
}
