package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Floors say below which positions no key is issued after a restore or a
// recovery: what was issued where nobody here could see it.
type Floors struct {
	Others uint64 // of each key space that is not named; 0: none
	Named  []*pb.Floor
}

// Set adds a floor as it is written: POSITION, or NAME=POSITION for one key space.
func (f *Floors) Set(text string) error {
	name, number, named := strings.Cut(text, "=")
	if !named {
		number = text
	}
	pos, err := strconv.ParseUint(number, 10, 64)
	switch at, twice := slices.BinarySearchFunc(f.Named, name, func(n *pb.Floor, name string) int { return cmp.Compare(n.Keyspace, name) }); {
	case err != nil || pos == 0 || named && name == "":
		return fmt.Errorf("floor %.100q: want a position above 0, or NAME=POSITION for one key space", text)
	case !named && f.Others != 0, named && twice:
		return fmt.Errorf("floor %.100q: there is another one", text)
	case named:
		f.Named = slices.Insert(f.Named, at, &pb.Floor{Keyspace: name, Position: pos})
	default:
		f.Others = pos
	}
	return nil
}

// String writes all of them, as Set takes them.
func (f *Floors) String() string {
	var texts []string
	if f.Others != 0 {
		texts = append(texts, strconv.FormatUint(f.Others, 10))
	}
	for _, n := range f.Named {
		texts = append(texts, fmt.Sprintf("%s=%d", n.Keyspace, n.Position))
	}
	return strings.Join(texts, " ")
}

// Of is the floor of a key space, and whether it is one of its own.
func (f Floors) Of(space string) (floor uint64, named bool) {
	for _, n := range f.Named {
		if n.Keyspace == space {
			return n.Position, true
		}
	}
	return f.Others, false
}

// missing finds a key space without a floor, nil if each has one.
func (f Floors) missing(rows []*pb.Keyspace) *pb.Keyspace {
	for _, row := range rows {
		if floor, named := f.Of(row.Name); floor == 0 && !named {
			return row
		}
	}
	return nil
}

// unknown finds a name that is of none of the key spaces: mistyped, it would leave
// the one that was meant without its floor.
func (f Floors) unknown(rows []*pb.Keyspace) string {
	known := map[string]bool{}
	for _, row := range rows {
		known[row.Name] = true
	}
	for _, n := range f.Named {
		if !known[n.Keyspace] {
			return n.Keyspace
		}
	}
	return ""
}

// beyond refuses a floor that leaves nothing of a key space, unless it is meant for
// that very one.
func (f Floors) beyond(space string, size uint64) *pb.Result {
	floor, named := f.Of(space)
	if floor < size || named && floor == size {
		return nil
	}
	return refuse(pb.Code_RESTORE_REFUSED, "the floor %d leaves nothing of key space %q, which has %d positions", floor, space, size)
}

// Fit says why the floors are none of the key spaces': one is of no key space, or
// leaves nothing of one.
func (f Floors) Fit(rows []*pb.Keyspace) error {
	if name := f.unknown(rows); name != "" {
		return ResultError(noSuchFloor(name))
	}
	return f.fit(rows)
}

func (f Floors) fit(rows []*pb.Keyspace) error {
	for _, row := range rows {
		before, last := placeOf(row, rows)
		if _, named := f.Of(row.Name); !last || named && Growth(row, rows) == nil {
			continue
		}
		size := before + spaceOf(row).Size()
		if refused := f.beyond(row.Name, size); refused != nil {
			refused.Detail += fmt.Sprintf("; give it one of its own, --floor %s=POSITION, up to %d, which burns all of it", row.Name, size)
			return ResultError(refused)
		}
	}
	return nil
}

// refusal refuses a backup of other key spaces of which one has no floor, or a
// floor of none of them; nil: neither.
func (f Floors) refusal(h *pb.BackupHeader, own string) *pb.Result {
	if name := f.unknown(h.Keyspaces); name != "" {
		return noSuchFloor(name)
	}
	missing := f.missing(h.Keyspaces)
	if missing == nil {
		return nil
	}
	text := fmt.Sprintf("it is of cluster %s at log index %d, this is cluster %s, and how many keys that one issued afterwards is unknown here; "+
		"name a floor, the position that no key it may have issued lies above:", h.ClusterId, h.Index, own)
	for _, s := range h.Keyspaces {
		if before, last := placeOf(s, h.Keyspaces); last {
			text += fmt.Sprintf(" %q had generated %d positions then,", s.Name, before+s.HighWaterMark)
		}
	}
	text = fmt.Sprintf("%s and at least %d more are burned", text, adoptMargin)
	if len(f.Named) > 0 {
		text += fmt.Sprintf("; %q has none", missing.Name)
	}
	return refuse(pb.Code_RESTORE_REFUSED, "%s", text)
}

func noSuchFloor(name string) *pb.Result {
	return refuse(pb.Code_RESTORE_REFUSED, "a floor is named for key space %q, which there is not", name)
}
