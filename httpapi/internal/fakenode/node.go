// Package fakenode is a node for tests of the HTTP layers: it answers what the
// test puts into its fields and remembers what it was asked.
package fakenode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Node implements httpapi.Service. Fields are set before use.
type Node struct {
	Name     string
	Err      error // what every method that can fail answers, if set
	Stored   map[string]*pb.Link
	Visited  map[string]*pb.Visits
	Misses   uint64
	AnyCase  bool // keys are in lower case, and may be asked for in any
	Endless  bool // there are always more links
	State    fsm.KeyState
	Rows     []cluster.KeyRow
	Spaces   []cluster.KeyspaceStats
	Stat     cluster.Status
	Checks   []cluster.Check
	Leading  bool
	Roles    map[string]pb.Role // of the tokens that are valid, by their text, which owns
	MaxLinks uint64             // of all tokens
	AuthErr  error              // what Authenticate answers, if set
	File     []byte             // the backup; what was restored is asked about in Asked
	// Idempotent makes the node remember answers by idempotency key.
	Idempotent bool
	// Hook, if set, runs at the start of every method with its context.
	Hook func(ctx context.Context, method string)

	mu     sync.Mutex
	log    *fsm.ChangeLog
	asked  []any
	next   int
	record map[string]recorded
}

type recorded struct {
	fingerprint string
	outcome     cluster.Outcome
}

// Now is the time of everything that the node creates.
var Now = time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)

// Receipt is that of all keys taken.
const Receipt = "\x01receipt\xff\xfe"

// Asked returns and forgets the arguments of the calls so far.
func (n *Node) Asked() []any {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := n.asked
	n.asked = nil
	return asked
}

// Call is the name and arguments of a call that has no request type of its own.
type Call struct {
	Method string
	Args   []any
}

func (n *Node) enter(ctx context.Context, method string, args ...any) error {
	if n.Hook != nil {
		n.Hook(ctx, method)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, Call{method, args})
	return n.Err
}

// once answers a mutation, or repeats the answer to an earlier one.
func (n *Node) once(idem *cluster.Idempotency, do func() cluster.Outcome) cluster.Outcome {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.Idempotent || idem == nil {
		return do()
	}
	if r, ok := n.record[idem.Key]; ok {
		if r.fingerprint != string(idem.Fingerprint) {
			return cluster.Outcome{Err: fsm.ErrIdempotencyMismatch}
		}
		r.outcome.Replayed = true
		return r.outcome
	}
	if n.record == nil {
		n.record = map[string]recorded{}
	}
	r := recorded{string(idem.Fingerprint), do()}
	n.record[idem.Key] = r
	return r.outcome
}

func (n *Node) ID() string { return n.Name }

func (n *Node) TakeKeys(ctx context.Context, r cluster.TakeRequest) (cluster.Keys, error) {
	if err := n.enter(ctx, "TakeKeys", r); err != nil {
		return cluster.Keys{}, err
	}
	keys := cluster.Keys{Keyspace: "default", Length: 6, Receipt: []byte(Receipt)}
	if r.Keyspace != "" {
		keys.Keyspace = r.Keyspace
	}
	outcome := n.once(r.Idempotency, func() cluster.Outcome {
		n.next += r.Count
		o := cluster.Outcome{Count: n.next}
		if r.Idempotency != nil {
			o.Index = 7
		}
		return o
	})
	if outcome.Err != nil {
		return cluster.Keys{Replayed: outcome.Replayed}, outcome.Err
	}
	for i := outcome.Count - r.Count; i < outcome.Count; i++ {
		keys.Bytes = fmt.Appendf(keys.Bytes, "k%05x", i)
	}
	keys.Index, keys.Replayed = outcome.Index, outcome.Replayed
	return keys, nil
}

func (n *Node) ReturnKeys(ctx context.Context, as string, receipt []byte, keys []string, idem *cluster.Idempotency) cluster.Outcome {
	if err := n.enter(ctx, "ReturnKeys", as, string(receipt), keys, idem); err != nil {
		return cluster.Outcome{Err: err, Index: 9}
	}
	return n.once(idem, func() cluster.Outcome { return cluster.Outcome{Count: len(keys), Index: 9} })
}

func (n *Node) Key(ctx context.Context, l cluster.Level, space, key string) (fsm.KeyState, error) {
	state := n.State
	state.Key = n.keyOf(key)
	return state, n.enter(ctx, "Key", l, space, key)
}

func (n *Node) CreateLinks(ctx context.Context, rs []cluster.CreateRequest) []cluster.Outcome {
	err := n.enter(ctx, "CreateLinks", rs)
	outcomes := make([]cluster.Outcome, len(rs))
	for i, r := range rs {
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		outcomes[i] = n.once(r.Idempotency, func() cluster.Outcome { return n.create(r.Create) })
	}
	return outcomes
}

func (n *Node) create(c *pb.CreateLink) cluster.Outcome {
	key := c.Alias + c.TakenKey
	if _, taken := n.Stored[key]; taken {
		return cluster.Outcome{Err: fmt.Errorf("%w: %s", fsm.ErrAliasTaken, key), Index: 11}
	}
	if key == "" {
		key = fmt.Sprintf("g%05d", n.next)
		n.next++
	}
	c.Link.CreatedAt, c.Link.Alias = Now.UnixMilli(), c.Alias != ""
	if n.Stored == nil {
		n.Stored = map[string]*pb.Link{}
	}
	n.Stored[key] = c.Link
	return cluster.Outcome{Key: key, Link: c.Link, Index: 11}
}

func (n *Node) UpdateLink(ctx context.Context, u *pb.UpdateLink, idem *cluster.Idempotency) cluster.Outcome {
	if err := n.enter(ctx, "UpdateLink", u, idem); err != nil {
		return cluster.Outcome{Err: err}
	}
	return n.once(idem, func() cluster.Outcome {
		key := n.keyOf(u.Key)
		link, ok := n.Stored[key]
		if !ok {
			return cluster.Outcome{Err: fsm.ErrLinkNotFound}
		}
		if u.Url != nil {
			link.Url = *u.Url
		}
		if u.SetTags {
			link.Tags = u.Tags
		}
		link.UpdatedAt = Now.UnixMilli() + 1
		return cluster.Outcome{Key: key, Link: link, Index: 12}
	})
}

func (n *Node) VisitLink(ctx context.Context, key string) cluster.Outcome {
	if err := n.enter(ctx, "VisitLink", key, nil); err != nil {
		return cluster.Outcome{Err: err}
	}
	key = n.keyOf(key)
	link, ok := n.Stored[key]
	if !ok {
		return cluster.Outcome{Err: fsm.ErrLinkNotFound}
	}
	if err := fsm.Unusable(link, time.Now().UnixMilli()); err != nil {
		return cluster.Outcome{Err: err}
	}
	link.Visits++
	return cluster.Outcome{Key: key, Link: link, Index: 14}
}

func (n *Node) AddVisits(ctx context.Context, v *pb.AddVisits) error {
	if err := n.enter(ctx, "AddVisits", v); err != nil {
		return err
	}
	n.Misses += v.Misses
	for _, add := range v.Links {
		if n.Visited == nil {
			n.Visited = map[string]*pb.Visits{}
		}
		if n.Visited[add.Key] == nil {
			n.Visited[add.Key] = &pb.Visits{}
		}
		fsm.MergeVisits(n.Visited[add.Key], add.Visits)
	}
	return nil
}

func (n *Node) Visits(ctx context.Context, l cluster.Level, key string) (string, *pb.Visits, error) {
	at := n.keyOf(key)
	if err := n.enter(ctx, "Visits", l, key); err != nil {
		return key, nil, err
	}
	if n.Stored[at] == nil {
		return at, nil, fsm.ErrLinkNotFound
	}
	return at, n.Visited[at], nil
}

func (n *Node) DeleteLink(ctx context.Context, as, key string, idem *cluster.Idempotency) cluster.Outcome {
	if err := n.enter(ctx, "DeleteLink", as, key, idem); err != nil {
		return cluster.Outcome{Err: err}
	}
	return n.once(idem, func() cluster.Outcome {
		key := n.keyOf(key)
		if _, ok := n.Stored[key]; !ok {
			return cluster.Outcome{Err: fsm.ErrLinkNotFound}
		}
		delete(n.Stored, key)
		return cluster.Outcome{Key: key, Index: 13}
	})
}

// keyOf is the key of the link that is asked for so.
func (n *Node) keyOf(key string) string {
	if _, ok := n.Stored[key]; !ok && n.AnyCase {
		return strings.ToLower(key)
	}
	return key
}

func (n *Node) Link(ctx context.Context, l cluster.Level, key string) (string, *pb.Link, error) {
	if err := n.enter(ctx, "Link", l, key); err != nil {
		return key, nil, err
	}
	at := n.keyOf(key)
	if link, ok := n.Stored[at]; ok {
		return at, link, nil
	}
	return at, nil, fmt.Errorf("%w: %s", fsm.ErrLinkNotFound, key)
}

// Tags answers one that every link has.
func (n *Node) Tags(ctx context.Context, l cluster.Level, after string, limit int) ([]string, error) {
	return []string{"t"}, n.enter(ctx, "Tags", l, after, limit)
}

func (n *Node) Counts(ctx context.Context, l cluster.Level) (cluster.Counts, error) {
	return cluster.Counts{Links: 77, Misses: n.Misses}, n.enter(ctx, "Counts", l)
}

// Links answers one link and its key as what comes next, then the end, which Endless
// has not.
func (n *Node) Links(ctx context.Context, l cluster.Level, q fsm.LinkQuery) (cluster.LinkPage, error) {
	page := cluster.LinkPage{Index: 14}
	if err := n.enter(ctx, "Links", l, q); err != nil || q.After != "" && !n.Endless {
		return page, err
	}
	link := &pb.Link{Url: "https://example.org/", CreatedAt: Now.UnixMilli(), Tags: []string{"t"}}
	page.Links, page.Next = []fsm.KeyedLink{{Key: "abcdef", Link: link}}, "abcdef"
	return page, nil
}

func (n *Node) WatchLinks(ctx context.Context, after fsm.ChangeID) (*fsm.LinkWatch, error) {
	if err := n.enter(ctx, "WatchLinks", after); err != nil {
		return nil, err
	}
	return n.changes().Watch(after)
}

func (n *Node) changes() *fsm.ChangeLog {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.log == nil {
		n.log = fsm.NewChangeLog()
	}
	return n.log
}

// Change has WatchLinks show the changes of the entry at index.
func (n *Node) Change(index uint64, changes ...fsm.Change) {
	log := n.changes()
	for _, c := range changes {
		row, err := proto.Marshal(c.Link)
		if err != nil {
			panic(err)
		}
		log.Add(index, c.Kind, c.Key, row)
	}
	log.EndEntry(index)
	log.Publish(index)
}

// Replace has WatchLinks begin anew, as a restore at index does.
func (n *Node) Replace(index uint64) {
	n.changes().Cut(index)
	n.changes().Publish(index)
}

func (n *Node) Keyspaces(ctx context.Context, l cluster.Level) ([]cluster.KeyspaceStats, error) {
	return n.Spaces, n.enter(ctx, "Keyspaces", l)
}

func (n *Node) Keyspace(ctx context.Context, l cluster.Level, name string) (cluster.KeyspaceStats, error) {
	if err := n.enter(ctx, "Keyspace", l, name); err != nil {
		return cluster.KeyspaceStats{}, err
	}
	for _, s := range n.Spaces {
		if s.Name == name {
			return s, nil
		}
	}
	return cluster.KeyspaceStats{}, fsm.ErrKeyspaceNotFound
}

func (n *Node) CreateKeyspace(ctx context.Context, r cluster.KeyspaceRequest, idem *cluster.Idempotency) (cluster.CreatedKeyspace, error) {
	if err := n.enter(ctx, "CreateKeyspace", r, idem); err != nil {
		return cluster.CreatedKeyspace{}, err
	}
	made := cluster.CreatedKeyspace{New: true, Index: 9, Stats: cluster.KeyspaceStats{
		Name: r.Name, Alphabet: r.Space.Alphabet, Length: r.Space.Length, Prefix: r.Space.Prefix, Check: r.Space.Check, CaseInsensitive: r.Space.CaseInsensitive,
		Blocked: len(r.Blocklist), Size: r.Space.Size(),
	}}
	for _, s := range n.Spaces {
		if s.Name == r.Name {
			made.New, made.Stats = false, s
		}
	}
	return made, nil
}

func (n *Node) UpdateKeyspace(ctx context.Context, name string, grow *bool, idem *cluster.Idempotency) (cluster.CreatedKeyspace, error) {
	if err := n.enter(ctx, "UpdateKeyspace", name, grow, idem); err != nil {
		return cluster.CreatedKeyspace{}, err
	}
	for _, s := range n.Spaces {
		if s.Name == name {
			s.Grows = grow != nil && *grow
			return cluster.CreatedKeyspace{Index: 10, Stats: s}, nil
		}
	}
	return cluster.CreatedKeyspace{Index: 10}, fsm.ErrKeyspaceNotFound
}

func (n *Node) KeyRows(ctx context.Context, l cluster.Level, used bool, space string, from cluster.KeyPlace, limit int) ([]cluster.KeyRow, error) {
	err := n.enter(ctx, "KeyRows", l, used, space, from, limit)
	var rows []cluster.KeyRow
	for _, row := range n.Rows {
		if (row.Length > from.Length || row.Length == from.Length && row.From >= from.Position) && len(rows) < limit {
			rows = append(rows, row)
		}
	}
	return rows, err
}

func (n *Node) Status(ctx context.Context) (cluster.Status, error) {
	return n.Stat, n.enter(ctx, "Status")
}

func (n *Node) Join(ctx context.Context, r cluster.JoinRequest) error {
	return n.enter(ctx, "Join", r)
}

func (n *Node) Remove(ctx context.Context, id string, force bool) error {
	return n.enter(ctx, "Remove", id, force)
}

func (n *Node) Transfer(ctx context.Context, to string) error { return n.enter(ctx, "Transfer", to) }

func (n *Node) Authenticate(_ context.Context, token string) (fsm.Bearer, error) {
	return fsm.Bearer{Role: n.Roles[token], Owner: token, MaxLinks: n.MaxLinks}, n.AuthErr
}

// TokenID is that of all tokens.
const TokenID = "Id345678"

func (n *Node) CreateToken(ctx context.Context, r cluster.TokenRequest) (cluster.CreatedToken, error) {
	if err := n.enter(ctx, "CreateToken", r); err != nil {
		return cluster.CreatedToken{}, err
	}
	row := &pb.Token{Role: r.Role, Name: r.Name, CreatedAt: Now.UnixMilli()}
	if r.TTL > 0 {
		row.ExpiresAt = Now.Add(r.TTL).UnixMilli()
	}
	return cluster.CreatedToken{Text: "kgs_" + TokenID + "_secret", ID: TokenID, Row: row, Index: 17}, nil
}

func (n *Node) RevokeToken(ctx context.Context, id string, idem *cluster.Idempotency) cluster.Outcome {
	if err := n.enter(ctx, "RevokeToken", id, idem); err != nil {
		return cluster.Outcome{Err: err, Index: 18}
	}
	return n.once(idem, func() cluster.Outcome { return cluster.Outcome{Index: 18} })
}

func (n *Node) Tokens(ctx context.Context, l cluster.Level) ([]fsm.IdentifiedToken, error) {
	row := &pb.Token{Role: pb.Role_KEYS, Hash: []byte("hash"), CreatedAt: Now.UnixMilli()}
	return []fsm.IdentifiedToken{{ID: TokenID, Token: row}}, n.enter(ctx, "Tokens", l)
}

func (n *Node) Backup(ctx context.Context, w io.Writer) error {
	if err := n.enter(ctx, "Backup"); err != nil {
		return err
	}
	_, err := w.Write(n.File)
	return err
}

// RestoreBackup takes anything for a backup of another cluster.
func (n *Node) RestoreBackup(ctx context.Context, r io.Reader, request cluster.RestoreRequest) (cluster.RestoreResult, error) {
	file, err := io.ReadAll(r)
	if err := errors.Join(err, n.enter(ctx, "RestoreBackup", string(file), request)); err != nil {
		return cluster.RestoreResult{}, err
	}
	return cluster.RestoreResult{
		Backup: &pb.BackupHeader{ClusterId: "c-old", Index: 5, Term: 2, Time: Now.UnixMilli()},
		Restored: &pb.Restored{Adopted: true, Links: 3, LinksLost: 1, Keyspaces: []*pb.RestoredKeyspace{
			{Name: "default", Burned: 100, HighWaterMark: 120, Left: 7}, {Name: "full", Burned: 9, HighWaterMark: 9}}},
		Index: 15,
	}, nil
}

func (n *Node) Ready() []cluster.Check { return n.Checks }

func (n *Node) Age() (time.Duration, bool) { return 42 * time.Millisecond, n.Leading }
