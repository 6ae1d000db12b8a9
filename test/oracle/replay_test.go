package oracle

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// raftLog is a log that a cluster could have written: the cluster's first
// entries, at the indexes 1 to 3, then what is added.
type raftLog struct {
	entries []fsm.LogEntry
	perm    *keyspace.Permutation
}

var secret = bytes.Repeat([]byte{7}, 32)

func newLog() *raftLog {
	l := &raftLog{}
	space := &pb.Keyspace{Name: "default", Alphabet: keyspace.Base62, Length: 6, PermutationKey: bytes.Repeat([]byte{3}, 32)}
	l.perm, _ = keyspace.NewPermutation(keyspace.Space{Alphabet: space.Alphabet, Length: 6}, space.PermutationKey)
	l.add(&pb.Command{Op: &pb.Command_InitCluster{InitCluster: &pb.InitCluster{ClusterId: "test", ReceiptSecret: secret, Keyspaces: []*pb.Keyspace{space}}}})
	l.add(&pb.Command{Op: &pb.Command_Generate{Generate: &pb.Generate{Count: 10_000_000}}})
	l.add(leaseOf(1000)) // the leader's buffer: lease 1, positions 0 to 999
	return l
}

// add appends an entry and returns its index.
func (l *raftLog) add(commands ...*pb.Command) uint64 {
	return l.addEntry(&pb.Entry{Version: fsm.Version, Time: 1_000_000, Node: "n1", Commands: commands})
}

func (l *raftLog) addEntry(e *pb.Entry) uint64 {
	data, err := proto.Marshal(e)
	if err != nil {
		panic(err)
	}
	index := uint64(len(l.entries) + 1)
	l.entries = append(l.entries, fsm.LogEntry{Index: index, Term: 2, Data: data})
	return index
}

func (l *raftLog) key(pos uint64) string { return string(l.perm.AppendKey(nil, pos)) }

func leaseOf(n uint64) *pb.Command {
	return &pb.Command{Op: &pb.Command_Lease{Lease: &pb.Lease{Count: n}}}
}

func createOf(alias, url string) *pb.Command {
	return &pb.Command{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{Alias: alias, Link: &pb.Link{Url: url}}}}
}

func (l *raftLog) generatedOf(pos uint64, url string) *pb.Command {
	return &pb.Command{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{
		Generated: &pb.GeneratedKey{Key: l.key(pos), Position: pos, Lease: 1}, Link: &pb.Link{Url: url}}}}
}

func takenOf(key, url string) *pb.Command {
	return &pb.Command{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{TakenKey: key, Link: &pb.Link{Url: url}, BufferedTo: 1 << 62}}}
}

func updateOf(key, url string) *pb.Command {
	return &pb.Command{Op: &pb.Command_UpdateLink{UpdateLink: &pb.UpdateLink{Key: key, Url: &url}}}
}

func deleteOf(key string) *pb.Command {
	return &pb.Command{Op: &pb.Command_DeleteLink{DeleteLink: &pb.DeleteLink{Key: key}}}
}

func releaseOf(from, count uint64) *pb.Command {
	return &pb.Command{Op: &pb.Command_Release{Release: &pb.Release{Grants: []*pb.Grant{{Lease: 1, From: from, Count: count}}}}}
}

// receipt proves positions [from, from+count) of the leader's first lease.
func receipt(from, count uint64) (sealed []byte, text string) {
	sealed = fsm.Receipt{Space: 1, Grants: []fsm.Grant{{Lease: 1, From: from, Count: count}}}.Seal(nil, secret)
	return sealed, base64.RawURLEncoding.EncodeToString(sealed)
}

func returnOf(receipt []byte, keys ...string) *pb.Command {
	return &pb.Command{Op: &pb.Command_ReturnKeys{ReturnKeys: &pb.ReturnKeys{Receipt: receipt, Keys: keys}}}
}

func idempotentOf(key string, c *pb.Command) *pb.Command {
	c.Idempotency = &pb.IdempotencyKey{Key: key, Fingerprint: []byte(fmt.Sprint(c.Op))}
	return c
}

func mustReplay(t *testing.T, l *raftLog) *Replayed {
	t.Helper()
	r, found := Replay(l.entries, nil)
	expect(t, found, "")
	return r
}

// stateAt is the state after the entry at index, one entry at a time: its stream
// goes to w, its digest is returned.
func stateAt(t *testing.T, l *raftLog, index int, w io.Writer) [32]byte {
	t.Helper()
	db, machine := newMachine(t)
	for _, e := range l.entries[:index] {
		_, err := machine.Apply([]fsm.LogEntry{e})
		check(t, err)
	}
	view, err := db.View()
	check(t, err)
	defer view.Close()
	_, err = view.WriteTo(w)
	check(t, err)
	_, digest, err := machine.Digest()
	check(t, err)
	return digest
}

func newMachine(t *testing.T) (*store.DB, *fsm.Machine) {
	t.Helper()
	db, err := store.Open(store.Options{Dir: "m", FS: vfs.NewMem()})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	machine, err := fsm.New(db)
	check(t, err)
	return db, machine
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReplay(t *testing.T) {
	l := newLog()
	sealed, _ := receipt(0, 10)
	for i := range 300 {
		l.add(createOf(fmt.Sprint("a", i), "https://a.example"), l.generatedOf(uint64(100+i), "https://b.example"), takenOf(l.key(uint64(500+i)), "https://c.example"))
	}
	l.add(returnOf(sealed, l.key(3)), deleteOf("a7"), updateOf("a8", "https://d.example"), leaseOf(5000), createOf("a7", "no"))
	var middle bytes.Buffer
	stateAt(t, l, 200, &middle)
	digest := stateAt(t, l, 304, io.Discard)
	whole := mustReplay(t, l)
	if whole.Digest != digest || whole.Index != 304 {
		t.Errorf("digest %x at %d, want %x at 304", whole.Digest, whole.Index, digest)
	}
	for _, later := range [][]fsm.LogEntry{l.entries, l.entries[200:]} {
		half, found := Replay(later, bytes.NewReader(middle.Bytes()))
		expect(t, found, "")
		if half.Digest != digest || half.Index != 304 {
			t.Errorf("from the middle: digest %x at %d, want %x at 304", half.Digest, half.Index, digest)
		}
	}
	if none, _ := Replay(nil, bytes.NewReader(middle.Bytes())); none.Index != 200 {
		t.Errorf("a replay of nothing ends at %d, want 200", none.Index)
	}
	_, found := Replay(l.entries, bytes.NewReader(middle.Bytes()[:1000]))
	expect(t, found, "snapshot stream")
}

func TestReplaySeesDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		want   string
		damage func(l *raftLog)
	}{
		"a missing entry": {"the machine stopped", func(l *raftLog) {
			l.addEntry(&pb.Entry{Version: fsm.Version, Node: "n1", CheckIndex: 3, CheckChain: 1})
		}},
		"an entry twice": {"comes after", func(l *raftLog) {
			l.add(createOf("a", "u"))
			l.entries = append(l.entries, l.entries[3])
		}},
		"a newer version": {"the machine stopped", func(l *raftLog) { l.addEntry(&pb.Entry{Version: 99}) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog()
			c.damage(l)
			_, found := Replay(l.entries, nil)
			expect(t, found, c.want)
		})
	}
	// A model in another state than the machine answers differently.
	l := newLog()
	_, machine := newMachine(t)
	r := newReplayed()
	r.Model.State.NextLease = 5
	if err := r.apply(machine, l.entries); err == nil {
		t.Error("a lease of another number is not seen")
	}
}

// 50,000 commands in 12,500 entries, one in ten a lease of 1,000 keys.
func BenchmarkReplay(b *testing.B) {
	l := newLog()
	for i := range 12_500 {
		var commands []*pb.Command
		for j := range 4 {
			n := 4*i + j
			c := createOf(fmt.Sprint("alias-", n), fmt.Sprint("https://example.com/", n))
			switch {
			case n%10 == 0:
				c = leaseOf(1000)
			case n%10 < 3:
				c = updateOf(fmt.Sprint("alias-", n-4), fmt.Sprint("https://example.com/updated/", n))
			case n%100 == 3:
				c = deleteOf(fmt.Sprint("alias-", n-6))
			}
			c.Request = &pb.RequestID{Session: 1, Seq: uint64(n + 1), Answered: uint64(max(1, n-64))}
			commands = append(commands, c)
		}
		l.add(commands...)
	}
	for b.Loop() {
		if _, found := Replay(l.entries, nil); len(found) > 0 {
			b.Fatal(found[0])
		}
	}
}
