package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// The reads answer from the last applied entry; how fresh that must be is the
// caller's business (cluster's read levels).

// ClusterID is "" until the cluster is formed.
func (m *Machine) ClusterID() string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.published.clusterID
}

// ReceiptSecret is the secret that receipts are sealed with.
func (m *Machine) ReceiptSecret() []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.published.secret
}

// Space finds the permutation and id of a key space's last length; "" is the
// default one.
func (m *Machine) Space(name string) (perm *keyspace.Permutation, id uint32, err error) {
	lengths, err := m.publishedLengths(name)
	if err != nil {
		return nil, 0, err
	}
	last := lengths[len(lengths)-1]
	return last.perm, last.id, nil
}

func (m *Machine) publishedLengths(name string) ([]publishedSpace, error) {
	if name == "" {
		name = DefaultKeyspace
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if lengths := m.published.spaces[name]; lengths != nil {
		return lengths, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrKeyspaceNotFound, name)
}

// GrantSpace finds the permutation and id of the length that a grant's space says.
func (m *Machine) GrantSpace(name string, space uint32) (perm *keyspace.Permutation, id uint32, err error) {
	lengths, err := m.publishedLengths(name)
	if err != nil {
		return nil, 0, err
	}
	for _, s := range lengths {
		if s.id == space || space == 0 {
			return s.perm, s.id, nil
		}
	}
	return nil, 0, fmt.Errorf("%w: %q, of another length", ErrKeyspaceNotFound, name)
}

// Locate finds the position of a key, and in which length of the key space, said as
// in a grant; false if it is none.
func (m *Machine) Locate(name, key string) (perm *keyspace.Permutation, space uint32, pos uint64, ok bool, err error) {
	lengths, err := m.publishedLengths(name)
	if err != nil {
		return nil, 0, 0, false, err
	}
	for i, s := range lengths {
		if pos, ok = s.perm.Position(key); ok {
			if i > 0 {
				space = s.id
			}
			return s.perm, space, pos, true, nil
		}
	}
	return nil, 0, 0, false, nil
}

// CountKeyspaces is how many key spaces there are.
func (m *Machine) CountKeyspaces() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.published.spaces)
}

// Blocklist finds what a key space, of which this is a permutation, never hands out.
func (m *Machine) Blocklist(perm *keyspace.Permutation) *keyspace.Blocklist {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, lengths := range m.published.spaces {
		for _, s := range lengths {
			if s.perm == perm {
				return s.list
			}
		}
	}
	return nil
}

// Link returns a link that is there, expired or not, else ErrLinkNotFound,
// ErrLinkDeleted, or, of one that expired long ago, ErrLinkExpired.
func (m *Machine) Link(key string) (*pb.Link, error) {
	link := &pb.Link{}
	found, version, err := m.links.get(key, link)
	if err == nil && !found {
		err = m.loadLink(key, link, version)
	}
	if err != nil {
		return nil, err
	}
	return link, nil
}

// loadLink reads a link that was not in the cache at that version of it.
func (m *Machine) loadLink(key string, link *pb.Link, version uint64) error {
	found, err := m.db.Use(store.Links, []byte(key), func(row []byte) error {
		err := proto.Unmarshal(row, link)
		if err == nil && link.DeletedAt == 0 {
			m.links.put(key, row, version)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("%w: %s", ErrLinkNotFound, key)
	case link.DeletedAt != 0 && link.ExpiresAt != 0:
		return fmt.Errorf("%w: %s", ErrLinkExpired, key)
	case link.DeletedAt != 0:
		return fmt.Errorf("%w: %s", ErrLinkDeleted, key)
	}
	return nil
}

// KeyedLink is a link with its key.
type KeyedLink struct {
	Key  string
	Link *pb.Link
}

// LinkQuery asks for a page of links in the order of their keys.
type LinkQuery struct {
	After string // keys above this one; "" starts at the first
	Limit int
	Tag   string // only links with this tag
	Text  string // only links whose key, URL, title or a tag contains this, in any case
}

// maxVisited bounds the rows that one page looks at: a rare Text gives short,
// even empty, pages with a cursor.
const maxVisited = 20_000

// Links returns a page and the key to go on after, "" at the end.
func (m *Machine) Links(q LinkQuery) (page []KeyedLink, next string, err error) {
	text := strings.ToLower(q.Text)
	visited, last := 0, ""
	visit := func(key string, link *pb.Link) bool {
		if len(page) == q.Limit || visited == maxVisited {
			next = last
			return false
		}
		visited, last = visited+1, key
		if link.DeletedAt == 0 && matches(key, link, text) {
			page = append(page, KeyedLink{key, link})
		}
		return true
	}
	if q.Tag != "" {
		err = m.visitTagged(q.Tag, q.After, visit)
	} else {
		err = m.visitLinks(q.After, visit)
	}
	return page, next, err
}

func (m *Machine) visitLinks(after string, visit func(string, *pb.Link) bool) error {
	var failed error
	err := m.db.Scan(store.Links, successor([]byte(after)), nil, func(key, value []byte) bool {
		link := &pb.Link{}
		if failed = proto.Unmarshal(value, link); failed != nil {
			return false
		}
		return visit(string(key), link)
	})
	if err != nil {
		return err
	}
	return failed
}

func (m *Machine) visitTagged(tag, after string, visit func(string, *pb.Link) bool) error {
	prefix := tagKey(tag, "")
	var failed error
	err := m.db.Scan(store.LinkTags, successor(tagKey(tag, after)), append([]byte(tag), 1), func(key, _ []byte) bool {
		name := string(bytes.TrimPrefix(key, prefix))
		link, err := m.Link(name)
		if err != nil {
			if !isNotFound(err) {
				failed = err
			}
			return failed == nil // deleted since
		}
		return visit(name, link)
	})
	if err != nil {
		return err
	}
	return failed
}

// Tags returns up to limit tags that links have, in order, the first one above
// after. Each is one seek, however many links have it.
func (m *Machine) Tags(after string, limit int) (tags []string, err error) {
	var from []byte
	if after != "" {
		from = append([]byte(after), 1)
	}
	for found := true; found && len(tags) < limit; {
		found = false
		err = m.db.Scan(store.LinkTags, from, nil, func(row, _ []byte) bool {
			tag, _, _ := bytes.Cut(row, []byte{0})
			tags, from, found = append(tags, string(tag)), append(bytes.Clone(tag), 1), true
			return false
		})
		if err != nil {
			return nil, err
		}
	}
	return tags, nil
}

func isNotFound(err error) bool {
	return errors.Is(err, ErrLinkNotFound) || errors.Is(err, ErrLinkExpired)
}

// successor is the smallest key above key; of "" it is the start.
func successor(key []byte) []byte {
	if len(key) == 0 {
		return nil
	}
	return append(bytes.Clone(key), 0)
}

func matches(key string, link *pb.Link, text string) bool {
	if text == "" {
		return true
	}
	for _, field := range append([]string{key, link.Url, link.Title}, link.Tags...) {
		if strings.Contains(strings.ToLower(field), text) {
			return true
		}
	}
	return false
}

// KeyState is where a key stands. Row is nil unless it is used.
type KeyState struct {
	Keyspace string
	Key      string // as keys are written
	Position uint64
	Unused   bool
	Row      *pb.Used
	Link     bool // has a link now
}

// Key finds where a key stands; ErrNotInKeyspace if it can never be generated.
func (m *Machine) Key(space, key string) (KeyState, error) {
	if space == "" {
		space = DefaultKeyspace
	}
	lengths, err := m.publishedLengths(space)
	if err != nil {
		return KeyState{}, err
	}
	s := lengths[len(lengths)-1]
	for _, older := range lengths {
		if older.perm.Space().KeyLength() == len(key) {
			s = older
		}
	}
	id := s.id
	pos, ok := s.perm.Position(key)
	canonical, _ := s.perm.Canonical(key)
	if !ok {
		return KeyState{}, fmt.Errorf("%w: %s: %s", ErrNotInKeyspace, key, s.perm.Fault(key))
	}
	state := KeyState{Keyspace: space, Key: canonical, Position: pos}
	view, err := m.db.View() // all tables at one moment: the key may be on its way
	if err != nil {
		return KeyState{}, err
	}
	defer view.Close()
	if state.Row, err = viewUsed(view, id, pos); err != nil {
		return KeyState{}, err
	}
	if state.Row == nil {
		k, v, ok, err := view.Floor(store.UnusedKeys, spaceKey(id), positionKey(id, pos))
		if err != nil {
			return KeyState{}, err
		}
		run, _, ok := unusedRow(k, v, ok)
		state.Unused = ok && run.Contains(pos)
	}
	state.Link, err = viewHasLink(view, canonical)
	return state, err
}

func viewHasLink(view *store.View, key string) (bool, error) {
	value, ok, err := view.Get(store.Links, []byte(key))
	if err != nil || !ok {
		return false, err
	}
	link := &pb.Link{}
	err = proto.Unmarshal(value, link)
	return err == nil && link.DeletedAt == 0, err
}

func viewUsed(view *store.View, id uint32, pos uint64) (*pb.Used, error) {
	k, v, ok, err := view.Floor(store.UsedKeys, spaceKey(id), positionKey(id, pos))
	if err != nil {
		return nil, err
	}
	run, row, ok := usedRow(k, v, ok)
	if !ok || !run.Contains(pos) {
		return nil, nil
	}
	return row, nil
}

// Keyspaces returns the rows of keyspaces. Their permutation keys are secret.
func (m *Machine) Keyspaces() ([]*pb.Keyspace, error) {
	var rows []*pb.Keyspace
	err := scanRows(m.db, store.Keyspaces, func(_ []byte, row *pb.Keyspace) error {
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// Lengths returns the rows of one key space, one for each of its lengths; "" is the
// default one.
func (m *Machine) Lengths(name string) ([]*pb.Keyspace, error) {
	lengths, err := m.publishedLengths(name)
	if err != nil {
		return nil, err
	}
	rows := make([]*pb.Keyspace, len(lengths))
	for i, s := range lengths {
		rows[i] = &pb.Keyspace{}
		value, ok, err := m.db.Get(store.Keyspaces, spaceKey(s.id))
		if err == nil && !ok {
			err = fmt.Errorf("%w: %q", ErrKeyspaceNotFound, name)
		}
		if err == nil {
			err = proto.Unmarshal(value, rows[i])
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Keyspace returns the row of a key space's last length; "" is the default one.
func (m *Machine) Keyspace(name string) (*pb.Keyspace, error) {
	rows, err := m.Lengths(name)
	if err != nil {
		return nil, err
	}
	return rows[len(rows)-1], nil
}

// Growth says why a key space will not go on when all of it is generated, nil if it
// will. last is the row of its last length, all are those of Keyspaces.
func Growth(last *pb.Keyspace, all []*pb.Keyspace) error {
	if _, refused := nextLength(last, all); refused != nil {
		return ResultError(refused)
	}
	return nil
}

// KeyRow is a row of unused_keys (Used is nil) or of used_keys.
type KeyRow struct {
	keyspace.Run
	Used *pb.Used
}

// KeyRows returns up to limit rows of a key table, from the first that starts
// at or after position from. id is that of the key space's row.
func (m *Machine) KeyRows(t store.Table, id uint32, from uint64, limit int) ([]KeyRow, error) {
	var rows []KeyRow
	err := m.db.Scan(t, positionKey(id, from), spaceKey(id+1), func(key, value []byte) bool {
		row := KeyRow{}
		if t == store.UsedKeys {
			row.Run, row.Used, _ = usedRow(key, value, true)
		} else {
			row.Run, _, _ = unusedRow(key, value, true)
		}
		rows = append(rows, row)
		return len(rows) < limit
	})
	return rows, err
}

// Nodes returns the rows of nodes that were not removed.
func (m *Machine) Nodes() ([]*pb.Node, error) {
	var rows []*pb.Node
	err := scanRows(m.db, store.Nodes, func(_ []byte, row *pb.Node) error {
		if !row.Removed {
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

// Node returns the row of a node, removed or not; nil if there is none.
func (m *Machine) Node(id string) (*pb.Node, error) {
	value, ok, err := m.db.Get(store.Nodes, []byte(id))
	if err != nil || !ok {
		return nil, err
	}
	row := &pb.Node{}
	return row, proto.Unmarshal(value, row)
}

// State returns the cluster's counters and clock.
func (m *Machine) State() (*pb.ClusterState, error) {
	value, ok, err := m.db.Get(store.Meta, stateRow)
	row := &pb.ClusterState{}
	if err != nil || !ok {
		return row, err
	}
	return row, proto.Unmarshal(value, row)
}

// Position is the index, and the hash chain there, that the proposer puts into
// an entry for the other replicas to compare.
func (m *Machine) Position() (index, chain uint64) {
	applied := m.db.Applied()
	return applied.Index, applied.Chain
}

// Compared counts the entries at which this process compared its state with the
// proposer's.
func (m *Machine) Compared() uint64 { return m.compared.Load() }

// Digest is the SHA-256 of the whole state, by a full scan, with its index.
func (m *Machine) Digest() (index uint64, digest [32]byte, err error) {
	view, err := m.db.View()
	if err != nil {
		return 0, digest, err
	}
	defer view.Close()
	digest, err = view.Digest()
	return view.Applied().Index, digest, err
}

// LinkCacheLookups counts how often a link looked for was in the cache, and was not.
func (m *Machine) LinkCacheLookups() (hits, misses uint64) { return m.links.lookups() }
