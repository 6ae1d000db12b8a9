package refmodel

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

func (m *Model) createLink(op *pb.CreateLink) *pb.Result {
	if op.Link == nil {
		return code(pb.Code_INVALID)
	}
	link := madeFrom(op, m.State.Clock)
	if m.neverRedirects(link) {
		return code(pb.Code_LINK_TIMES)
	}
	if op.FindIfExists {
		if op.Alias+op.TakenKey == "" && !m.urlsIndexed() {
			return code(pb.Code_URLS_NOT_INDEXED)
		}
		if key := m.find(op, link); key != "" {
			return &pb.Result{Key: key, Link: m.Links[key], Found: true}
		}
	}
	if owned := m.owned()[link.Owner]; op.MaxLinks != 0 && owned >= op.MaxLinks {
		return code(pb.Code_TOO_MANY_LINKS)
	}
	var key string
	var refusal pb.Code
	switch {
	case op.Alias != "":
		key = m.folded(op.Alias)
		refusal = m.checkAlias(key)
	case op.TakenKey != "":
		key, refusal = m.folded(op.TakenKey), m.checkTaken(op)
	case op.FindIfExists && op.Generated == nil:
		refusal = pb.Code_GENERATED_KEY_BOUND
	default:
		key, refusal = op.Generated.GetKey(), m.checkGenerated(op.Keyspace, op.Generated)
	}
	if refusal != pb.Code_OK {
		return code(refusal)
	}
	for _, s := range m.Spaces {
		if pos, ok := s.Perm.Position(key); ok && op.Alias != "" {
			m.newRow(s, pb.Purpose_ALIAS)
			s.set(pos)
		}
	}
	m.Links[key] = link
	m.State.Links++
	return &pb.Result{Key: key, Link: link}
}

// owned counts the links of each owner.
func (m *Model) owned() map[string]uint64 {
	counts := map[string]uint64{}
	for _, link := range m.Links {
		if link.Owner != "" {
			counts[link.Owner]++
		}
	}
	return counts
}

func strange(owner, as string) bool { return owner != "" && as != "" && owner != as }

func madeFrom(op *pb.CreateLink, at int64) *pb.Link {
	link := proto.CloneOf(op.Link)
	link.CreatedAt, link.UpdatedAt, link.DeletedAt, link.Alias = at, 0, 0, op.Alias != ""
	link.Visits = 0
	if op.Ttl != 0 {
		link.ExpiresAt = at + op.Ttl
	}
	return link
}

func (m *Model) neverRedirects(link *pb.Link) bool {
	return link.ExpiresAt != 0 && (link.ExpiresAt <= m.State.Clock || link.ExpiresAt <= link.NotBefore)
}

// urlsIndexed is whether links are found by their URL. The model needs no index: it
// keeps what the machine says of its own, which grows once an entry.
func (m *Model) urlsIndexed() bool {
	s := m.State
	if max(s.Version, 1) < 2 || s.UrlsIndexed && s.IndexUrlsFrom == "" {
		return true
	}
	if m.indexed != m.index {
		left := slices.Sorted(maps.Keys(m.Links))
		left = slices.DeleteFunc(left, func(key string) bool { return key < s.IndexUrlsFrom })
		s.UrlsIndexed, s.IndexUrlsFrom = true, ""
		if m.indexed = m.index; len(left) > indexStep {
			s.IndexUrlsFrom = left[indexStep]
		}
		return s.IndexUrlsFrom == ""
	}
	return false
}

// find is the first key, in order, of a link that will do; "" if there is none.
// It looks at all links where the machine gives up after a hundred of one URL.
func (m *Model) find(op *pb.CreateLink, want *pb.Link) string {
	for _, key := range slices.Sorted(maps.Keys(m.Links)) {
		has := m.Links[key]
		if name := m.LinkOf(op.Alias + op.TakenKey); name != "" && name != key {
			continue
		}
		does := has.DeletedAt == 0 && has.Url == want.Url && has.Owner == want.Owner && cmp.Or(has.Redirect, 302) == cmp.Or(want.Redirect, 302) &&
			has.ExpiresAt == want.ExpiresAt && has.NotBefore == want.NotBefore && has.MaxVisits == want.MaxVisits && has.ForwardQuery == want.ForwardQuery
		for _, tag := range want.Tags {
			does = does && slices.Contains(has.Tags, tag)
		}
		if does && (has.MaxVisits == 0 || has.Visits < has.MaxVisits) {
			return key
		}
	}
	return ""
}

func (m *Model) visitLink(key string) *pb.Result {
	key = m.LinkOf(key)
	old, now := m.Links[key], m.State.Clock
	switch {
	case old == nil || old.DeletedAt != 0:
		return code(pb.Code_LINK_NOT_FOUND)
	case old.NotBefore > now:
		return code(pb.Code_LINK_NOT_YET)
	case old.ExpiresAt != 0 && old.ExpiresAt <= now:
		return code(pb.Code_LINK_EXPIRED)
	case old.MaxVisits == 0:
		return &pb.Result{Key: key, Link: old}
	case old.MaxVisits <= old.Visits:
		return code(pb.Code_LINK_USED_UP)
	}
	link := proto.CloneOf(old)
	link.Visits++
	m.Links[key] = link
	return &pb.Result{Key: key, Link: link}
}

// sweepLinks buries links that expired thirty days ago, the first ones first.
func (m *Model) sweepLinks(limit int) {
	type due struct {
		at  int64
		key string
	}
	var dues []due
	for key, link := range m.Links {
		if link.DeletedAt == 0 && link.ExpiresAt != 0 && link.ExpiresAt <= m.State.Clock-30*24*hour {
			dues = append(dues, due{link.ExpiresAt, key})
		}
	}
	slices.SortFunc(dues, func(a, b due) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key)) })
	for _, d := range dues[:min(limit, len(dues))] {
		m.deleteLink(d.key)
		m.Links[d.key].ExpiresAt = d.at
	}
}

func (m *Model) checkAlias(key string) pb.Code {
	for _, s := range m.Spaces {
		if pos, ok := s.Perm.Position(key); ok && s.Used(pos) != nil {
			return pb.Code_ALIAS_TAKEN
		}
	}
	if m.Links[key] != nil {
		return pb.Code_ALIAS_TAKEN
	}
	return pb.Code_OK
}

func (m *Model) checkTaken(op *pb.CreateLink) pb.Code {
	key, s := m.folded(op.TakenKey), m.spaceOfKey(op.Keyspace, op.TakenKey)
	if s == nil {
		return pb.Code_KEYSPACE_NOT_FOUND
	}
	pos, ok := s.Perm.Position(key)
	switch {
	case !ok:
		return pb.Code_NOT_IN_KEYSPACE
	case s.Used(pos) == nil || s.Used(pos).Purpose != pb.Purpose_LEASE:
		return pb.Code_KEY_NOT_TAKEN
	}
	switch u := s.Used(pos); {
	case u.Term == m.term && u.Index > op.BufferedTo && !u.Direct:
		return pb.Code_KEY_NOT_TAKEN
	case m.Links[key] != nil:
		return pb.Code_KEY_BOUND
	}
	return pb.Code_OK
}

func (m *Model) checkGenerated(space string, g *pb.GeneratedKey) pb.Code {
	s := m.spaceOfKey(space, g.GetKey())
	if s == nil {
		return pb.Code_KEYSPACE_NOT_FOUND
	}
	if pos, ok := s.Perm.Position(g.GetKey()); !ok || pos != g.GetPosition() || m.folded(g.GetKey()) != g.GetKey() {
		return pb.Code_INVALID
	}
	u := s.Used(g.GetPosition())
	if u == nil || u.Purpose != pb.Purpose_LEASE || u.Lease != g.GetLease() || m.Links[g.GetKey()] != nil {
		return pb.Code_GENERATED_KEY_BOUND
	}
	return pb.Code_OK
}

func (m *Model) updateLink(op *pb.UpdateLink) *pb.Result {
	key := m.LinkOf(op.Key)
	old := m.Links[key]
	if old == nil || old.DeletedAt != 0 {
		return code(pb.Code_LINK_NOT_FOUND)
	}
	if strange(old.Owner, op.As) {
		return code(pb.Code_NOT_OWNER)
	}
	link := proto.CloneOf(old)
	if op.Url != nil {
		link.Url = *op.Url
	}
	if op.Title != nil {
		link.Title = *op.Title
	}
	if op.Redirect != nil {
		link.Redirect = *op.Redirect
	}
	if op.SetTags {
		link.Tags = op.Tags
	}
	if op.ExpiresAt != nil {
		link.ExpiresAt = *op.ExpiresAt
	}
	if op.Ttl != nil {
		link.ExpiresAt = m.State.Clock + *op.Ttl
	}
	if op.NotBefore != nil {
		link.NotBefore = *op.NotBefore
	}
	if op.MaxVisits != nil {
		link.MaxVisits = *op.MaxVisits
	}
	if op.ForwardQuery != nil {
		link.ForwardQuery = *op.ForwardQuery
	}
	if (op.ExpiresAt != nil || op.Ttl != nil || op.NotBefore != nil) && m.neverRedirects(link) {
		return code(pb.Code_LINK_TIMES)
	}
	link.UpdatedAt = m.State.Clock
	m.Links[key] = link
	return &pb.Result{Key: key, Link: link}
}

func (m *Model) deleteLinkAs(op *pb.DeleteLink) *pb.Result {
	key := m.LinkOf(op.Key)
	if old := m.Links[key]; old != nil && strange(old.Owner, op.As) {
		return code(pb.Code_NOT_OWNER)
	}
	return m.deleteLink(key)
}

func (m *Model) deleteLink(key string) *pb.Result {
	old := m.Links[key]
	if old == nil || old.DeletedAt != 0 {
		return code(pb.Code_LINK_NOT_FOUND)
	}
	m.Links[key] = &pb.Link{CreatedAt: old.CreatedAt, DeletedAt: max(m.State.Clock, 1), Alias: old.Alias}
	m.State.Links--
	delete(m.Visits, key)
	return &pb.Result{Key: key}
}

func (m *Model) addVisits(op *pb.AddVisits) *pb.Result {
	m.State.Misses += op.Misses
	for _, add := range op.Links {
		key := m.LinkOf(add.Key)
		if link := m.Links[key]; link == nil || link.DeletedAt != 0 || add.Visits == nil {
			continue
		}
		row := m.Visits[key]
		if row == nil {
			row = &pb.Visits{}
		} else {
			row = proto.CloneOf(row)
		}
		m.Visits[key] = row
		row.Visits += add.Visits.Visits
		row.Bots += add.Visits.Bots
		row.Last = max(row.Last, add.Visits.Last)
		days := map[uint32]uint64{}
		for i, day := range row.Days {
			days[day] += row.Counts[i]
		}
		for i, day := range add.Visits.Days {
			if i < len(add.Visits.Counts) {
				days[day] += add.Visits.Counts[i]
			}
		}
		row.Days, row.Counts = nil, nil
		for _, day := range slices.Sorted(maps.Keys(days)) {
			row.Days, row.Counts = append(row.Days, day), append(row.Counts, days[day])
		}
		for _, names := range []struct {
			to  *map[string]uint64
			add map[string]uint64
		}{{&row.Referrers, add.Visits.Referrers}, {&row.Browsers, add.Visits.Browsers}, {&row.Systems, add.Visits.Systems}} {
			for name, n := range names.add { // worlds have too few of them for the order to matter
				if *names.to == nil {
					*names.to = map[string]uint64{}
				}
				(*names.to)[name] += n
			}
		}
	}
	return code(pb.Code_OK)
}
