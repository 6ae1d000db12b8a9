package fsm

import (
	"slices"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// createLink stores the link under its key, once the key is this link's alone.
func (m *Machine) createLink(op *pb.CreateLink) (*pb.Result, error) {
	if op.Link == nil {
		return refuse(pb.Code_INVALID, "no link to create"), nil
	}
	link := createdLink(op, m.state.Clock)
	if refused := m.checkTimes(link); refused != nil {
		return refused, nil
	}
	if op.FindIfExists {
		if found, err := m.findLink(op, link); found != nil || err != nil {
			return found, err
		}
	}
	if op.MaxLinks != 0 && m.owners[link.Owner] >= op.MaxLinks {
		return refuse(pb.Code_TOO_MANY_LINKS, "%s has %d", link.Owner, m.owners[link.Owner]), nil
	}
	var key string
	var refused *pb.Result
	switch {
	case op.Alias != "":
		key = m.folding.canonical(op.Alias)
		refused = m.claimAlias(key)
	case op.TakenKey != "":
		key = m.folding.canonical(op.TakenKey)
		refused = m.checkTaken(op.Keyspace, key, op.BufferedTo)
	case op.FindIfExists && op.Generated == nil: // the leader thought that there was one
		refused = refuse(pb.Code_GENERATED_KEY_BOUND, "none was given")
	default:
		key = op.Generated.GetKey()
		refused = m.checkGenerated(op.Keyspace, op.Generated)
	}
	if refused != nil {
		return refused, nil
	}
	m.putLink(LinkCreated, key, link)
	m.addIndexes(key, link)
	m.own(link.Owner, 1)
	m.state.Links++
	return &pb.Result{Key: key, Link: link}, nil
}

// createdLink is the link of op as it is when it is created.
func createdLink(op *pb.CreateLink, clock int64) *pb.Link {
	link := op.Link
	link.CreatedAt, link.UpdatedAt, link.DeletedAt = clock, 0, 0
	link.Alias, link.Visits = op.Alias != "", 0
	if op.Ttl != 0 {
		link.ExpiresAt = clock + op.Ttl
	}
	return link
}

// claimAlias moves the alias to used_keys in every key space that it is a key
// of. It changes nothing when it refuses.
func (m *Machine) claimAlias(alias string) *pb.Result {
	if m.batch.Has(store.Links, []byte(alias)) {
		return refuse(pb.Code_ALIAS_TAKEN, "%s", alias)
	}
	type claim struct {
		space *space
		pos   uint64
	}
	var claims []claim
	for _, s := range m.spaces {
		pos, ok := s.perm.Position(alias)
		if !ok {
			continue
		}
		if _, _, taken := m.used(s).Find(pos); taken {
			return refuse(pb.Code_ALIAS_TAKEN, "%s", alias)
		}
		claims = append(claims, claim{s, pos})
	}
	for _, c := range claims {
		m.claim(c.space, c.pos)
	}
	return nil
}

// claim moves one position, unused or not generated yet, to used_keys.
func (m *Machine) claim(s *space, pos uint64) {
	run := runsOf([]uint64{pos})[0]
	if m.unused(s).Remove(run) {
		s.row.Unused--
	}
	m.expect(m.used(s).Insert(run, &pb.Used{
		Purpose: pb.Purpose_ALIAS,
		Node:    m.entry.node, Term: m.entry.term, Index: m.entry.index, Time: m.state.Clock,
	}), s, run, "free for an alias, and used too")
	s.row.Used++
	s.dirty = true
}

// checkTaken refuses a key that the caller cannot have been given.
func (m *Machine) checkTaken(space, key string, bufferedTo uint64) *pb.Result {
	s, refused := m.spaceWith(space, key)
	if refused != nil {
		return refused
	}
	pos, ok := s.perm.Position(key)
	if !ok {
		return refuse(pb.Code_NOT_IN_KEYSPACE, "%s is not a key of %q: %s", key, s.row.Name, s.perm.Fault(key))
	}
	_, row, ok := m.used(s).Find(pos)
	onItsWay := ok && !row.Direct && row.Term == m.entry.term && row.Index > bufferedTo
	if !ok || row.Purpose != pb.Purpose_LEASE || onItsWay {
		return refuse(pb.Code_KEY_NOT_TAKEN, "%s", key)
	}
	if m.isBound(s, row.Lease, pos, key) {
		return refuse(pb.Code_KEY_BOUND, "%s", key)
	}
	m.bind(s, pos, key)
	return nil
}

// checkGenerated refuses a key that is not, or no longer, of the lease that the
// leader says it is from.
func (m *Machine) checkGenerated(space string, key *pb.GeneratedKey) *pb.Result {
	s, refused := m.spaceWith(space, key.GetKey())
	if refused != nil {
		return refused
	}
	if !m.lastKeys.has(s, key.GetPosition(), key.GetKey()) || m.folding.canonical(key.GetKey()) != key.GetKey() {
		return refuse(pb.Code_INVALID, "%q is not the key at position %d of %q", key.GetKey(), key.GetPosition(), s.row.Name)
	}
	row := m.leased(s, key.GetPosition())
	if row == nil || row.Lease != key.GetLease() || row.Purpose != pb.Purpose_LEASE ||
		m.isBound(s, row.Lease, key.GetPosition(), key.GetKey()) {
		return refuse(pb.Code_GENERATED_KEY_BOUND, "%s", key.GetKey())
	}
	m.bind(s, key.GetPosition(), key.GetKey())
	return nil
}

// getLink decodes a link that is not deleted.
func (m *Machine) getLink(key string) (*pb.Link, *pb.Result, error) {
	link := &pb.Link{}
	found, err := m.getRow(store.Links, []byte(key), link)
	if err != nil {
		return nil, nil, err
	}
	if !found || link.DeletedAt != 0 {
		return nil, refuse(pb.Code_LINK_NOT_FOUND, "%s", key), nil
	}
	return link, nil, nil
}

func (m *Machine) updateLink(op *pb.UpdateLink) (*pb.Result, error) {
	key := m.linkKey(op.Key)
	link, refused, err := m.getLink(key)
	if link == nil {
		return refused, err
	}
	if refused := mayChange(link.Owner, op.As); refused != nil {
		return refused, nil
	}
	old := link
	if link = updated(old, op, m.state.Clock); op.ExpiresAt != nil || op.Ttl != nil || op.NotBefore != nil {
		if refused := m.checkTimes(link); refused != nil {
			return refused, nil
		}
	}
	m.changeIndexes(key, old, link)
	m.putLink(LinkChanged, key, link)
	return &pb.Result{Key: key, Link: link}, nil
}

// deleteLink leaves a tombstone: the key is never issued again.
func (m *Machine) deleteLink(op *pb.DeleteLink) (*pb.Result, error) {
	key := m.linkKey(op.Key)
	link, refused, err := m.getLink(key)
	if link == nil {
		return refused, err
	}
	if refused := mayChange(link.Owner, op.As); refused != nil {
		return refused, nil
	}
	m.bury(key, link, m.tombstone(link))
	return &pb.Result{Key: key}, nil
}

func (m *Machine) tombstone(link *pb.Link) *pb.Link {
	return &pb.Link{CreatedAt: link.CreatedAt, DeletedAt: max(m.state.Clock, 1), Alias: link.Alias}
}

func (m *Machine) putTags(key string, tags []string) {
	for _, tag := range tags {
		m.batch.Put(store.LinkTags, tagKey(tag, key), nil)
	}
}

func (m *Machine) deleteTags(key string, tags []string) {
	for _, tag := range slices.Compact(slices.Sorted(slices.Values(tags))) {
		m.batch.Delete(store.LinkTags, tagKey(tag, key))
	}
}

// putLink writes the row of a link, or the tombstone in its place.
func (m *Machine) putLink(kind ChangeKind, key string, row *pb.Link) {
	if kind == LinkCreated { // there has never been a row
		m.add(store.Links, []byte(key), row)
	} else {
		m.links.forget(key)
		m.put(store.Links, []byte(key), row)
	}
	m.changes.Add(m.entry.index, kind, key, m.scratch)
}

// leased finds the used_keys row of a position. Generated keys come from few
// leases, so the last row answers nearly always, until it changes.
func (m *Machine) leased(s *space, pos uint64) *pb.Used {
	if m.lastLease.space != s || !m.lastLease.run.Contains(pos) {
		run, row, ok := m.used(s).Find(pos)
		if !ok {
			return nil
		}
		m.lastLease = leaseRow{s, run, row}
	}
	return m.lastLease.row
}

// keyRun is the keys of some positions in a row. A leader gives keys out in that
// order, and to encrypt many positions at once takes a third of the time of each.
type keyRun struct {
	space    *space
	from, to uint64
	keys     []byte // one after the other
}

const keysInARow = 16

// has says whether key is that of the position.
func (r *keyRun) has(s *space, pos uint64, key string) bool {
	if pos >= s.perm.Size() {
		return false
	}
	if r.space != s || pos < r.from || pos >= r.to {
		count := uint64(1)
		if r.space == s && pos == r.to {
			count = min(keysInARow, s.perm.Size()-pos)
		}
		r.space, r.from, r.to = s, pos, pos+count
		r.keys = s.perm.AppendKeys(r.keys[:0], pos, count)
	}
	length := len(r.keys) / int(r.to-r.from)
	at := int(pos-r.from) * length
	return string(r.keys[at:at+length]) == key
}
