package fsm

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// A backup of another cluster whose key spaces have different sizes: each needs a
// floor, one that is too high for a key space is refused and not lowered, and
// nothing below a key space's own one is issued.
func TestFloorsOfKeyspaces(t *testing.T) {
	other := inhabited(t)
	other.ok(mayGrow(digits, false))
	file := other.backup()
	header := must(InspectBackup(bytes.NewReader(file)))
	floors := func(of ...any) (f []*pb.Floor) {
		for i := 0; i < len(of); i += 2 {
			f = append(f, &pb.Floor{Keyspace: of[i].(string), Position: uint64(of[i+1].(int))})
		}
		return f
	}
	fresh := func() *driver {
		d := emptyDriver(t)
		t.Cleanup(d.close)
		init := testInit()
		init.ClusterId = "present"
		d.ok(cmd(init))
		return d
	}
	for name, c := range map[string]struct {
		floor uint64
		named []*pb.Floor
		want  string // of the word beforehand; "" if it is restored
		marks [3]uint64
	}{
		"a floor for all":           {20_000_000 - 4_000_000, nil, `"default"`, [3]uint64{}},
		"one has none":              {0, floors(digits, 30_000, hex, 500_000), `"wide" has none`, [3]uint64{}},
		"one is not there":          {30_000, floors("widr", 5), `"widr", which there is not`, [3]uint64{}},
		"one is beyond":             {30_000, floors(digits, 1_000_001), `default=POSITION`, [3]uint64{}},
		"each its own":              {0, floors(digits, 30_000, hex, 500_000, wide, 20_000_000), "", [3]uint64{30_000, 500_000, 20_000_000}},
		"one its own":               {20_000_000, floors(digits, 30_000, hex, 500_000), "", [3]uint64{30_000, 500_000, 20_000_000}},
		"one has nothing left":      {30_000, floors(digits, 1_000_000), "", [3]uint64{1_000_000, 167_772, 10_001_000}},
		"the same name, a 2nd time": {30_000, floors(digits, 40_000, digits, 50_000), "", [3]uint64{40_000, 167_772, 10_001_000}},
	} {
		t.Run(name, func(t *testing.T) {
			d := fresh()
			err := d.m.MayRestore(header, Floors{c.floor, c.named})
			r := d.restore(file, c.floor, c.named...)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || r.Code != pb.Code_RESTORE_REFUSED {
					t.Fatalf("beforehand: %v, the restore: %v", err, r)
				}
				return
			}
			check(t, err)
			equal(t, r.Code, pb.Code_OK)
			for i, row := range must(d.m.Keyspaces()) {
				equal(t, row.HighWaterMark, c.marks[i])
				d.checkCounters(row.Name)
				if row.HighWaterMark < d.perm(row.Name).Size() {
					d.ok(generate(row.Name, 10))
					equal(t, d.ok(lease(row.Name, 5)).Grants[0].From, c.marks[i])
				}
			}
		})
	}
}

// A recovery takes the floors as far as they go, as nobody would hear of a refusal.
func TestFloorsOfRecovery(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 100))
	op := &pb.RecoverCluster{Node: &pb.Node{Id: "n1"}, Floor: 3_000_000,
		Floors: []*pb.Floor{{Keyspace: digits, Position: 200_000}, {Keyspace: "nope", Position: 7}}}
	told := d.ok(cmd(op)).Restored
	for i, mark := range []uint64{200_000, 3_000_000, adoptMargin} {
		equal(t, told.Keyspaces[i].HighWaterMark, mark)
		equal(t, must(d.m.Keyspaces())[i].HighWaterMark, mark)
	}
	op = proto.CloneOf(op)
	op.Floors[0].Position = 1 << 50
	equal(t, d.ok(cmd(op)).Restored.Keyspaces[0].Left, uint64(0))
}
