package fsm

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// Bounds of a row of visits: some ten kilobytes.
const (
	maxVisitDays  = 400
	maxVisitNames = 64 // of referrers, of browsers, of systems
	maxVisitName  = 100
)

// addVisits adds to the rows of the links that are there.
func (m *Machine) addVisits(op *pb.AddVisits) (*pb.Result, error) {
	m.state.Misses += op.Misses
	for _, add := range op.Links {
		key := m.linkKey(add.Key)
		link, _, err := m.getLink(key)
		if err != nil {
			return nil, err
		}
		if link == nil || add.Visits == nil {
			continue
		}
		row := &pb.Visits{}
		if _, err := m.getRow(store.LinkVisits, []byte(key), row); err != nil {
			return nil, err
		}
		MergeVisits(row, add.Visits)
		m.put(store.LinkVisits, []byte(key), row)
	}
	return &pb.Result{}, nil
}

// MergeVisits adds the visits of add to those of to, within the bounds of a row.
func MergeVisits(to, add *pb.Visits) {
	to.Visits += add.Visits
	to.Bots += add.Bots
	to.Last = max(to.Last, add.Last)
	for i, day := range add.Days {
		if i < len(add.Counts) { // else it is from no front end of ours
			addDay(to, day, add.Counts[i])
		}
	}
	addNames(&to.Referrers, add.Referrers)
	addNames(&to.Browsers, add.Browsers)
	addNames(&to.Systems, add.Systems)
}

func addDay(to *pb.Visits, day uint32, count uint64) {
	at, found := slices.BinarySearch(to.Days, day)
	if !found {
		to.Days, to.Counts = slices.Insert(to.Days, at, day), slices.Insert(to.Counts, at, 0)
	}
	to.Counts[at] += count
	if over := len(to.Days) - maxVisitDays; over > 0 { // the first ones go
		to.Days, to.Counts = slices.Delete(to.Days, 0, over), slices.Delete(to.Counts, 0, over)
	}
}

// addNames goes by the alphabet: what there is no room for is the same on every
// replica.
func addNames(to *map[string]uint64, add map[string]uint64) {
	names := make([]string, 0, len(add))
	for name := range add {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		AddName(to, name, add[name])
	}
}

// AddName counts a name, under "" if it is too long or there is no room for it.
func AddName(to *map[string]uint64, name string, count uint64) {
	if *to == nil {
		*to = map[string]uint64{}
	}
	if _, known := (*to)[name]; !known && (len(*to) >= maxVisitNames || len(name) > maxVisitName) {
		name = ""
	}
	(*to)[name] += count
}

// Visits returns the visits of a link and its key; errors as of Find.
func (m *Machine) Visits(key string) (at string, row *pb.Visits, err error) {
	if at, _, err = m.Find(key); err != nil {
		return at, nil, err
	}
	row = &pb.Visits{}
	value, ok, err := m.db.Get(store.LinkVisits, []byte(at))
	if err != nil || !ok {
		return at, row, err
	}
	return at, row, proto.Unmarshal(value, row)
}

// NamedCount is a row of a list of names, and how often each was there.
type NamedCount struct {
	Name  string
	Count uint64
}

// MostFirst lists the names, the most frequent first.
func MostFirst(counts map[string]uint64) []NamedCount {
	list := make([]NamedCount, 0, len(counts))
	for name, count := range counts {
		list = append(list, NamedCount{name, count})
	}
	slices.SortFunc(list, func(a, b NamedCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return list
}
