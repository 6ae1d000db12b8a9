package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// The methods of this file are what a front end needs. Each waits at most until
// its context ends, and until then holds the request through an election.

// TakeKeys hands out keys, each once and for ever to this caller.
func (n *Node) TakeKeys(ctx context.Context, r TakeRequest) (Keys, error) {
	if r.Count < 1 {
		return Keys{}, fmt.Errorf("cluster: %d keys asked for", r.Count)
	}
	if err := n.awaitFormed(ctx); err != nil {
		return Keys{}, err
	}
	_, id, err := n.machine.GrantSpace(r.Keyspace, 0)
	if err != nil { // it may have been created through another node
		if err := n.catchUp(ctx, Linearizable); err != nil {
			return Keys{}, err
		}
		if _, id, err = n.machine.GrantSpace(r.Keyspace, 0); err != nil {
			return Keys{}, err
		}
	}
	keys := Keys{Keyspace: r.Keyspace}
	if keys.Keyspace == "" {
		keys.Keyspace = fsm.DefaultKeyspace
	}
	var grants []grant
	if r.Idempotency != nil {
		grants, err = n.takeOnce(ctx, r, &keys)
	} else {
		err = n.hold(ctx, func(to target) (err error) {
			grants, err = n.takeAt(ctx, to, r.Keyspace, r.Count)
			return err
		})
	}
	if errors.Is(err, fsm.ErrOutcomeUnknown) && r.Idempotency == nil {
		err = ErrNoLeader // keys may be lost on the way, but nobody was given any
	}
	if errors.Is(err, fsm.ErrNotEnoughUnused) {
		err = fmt.Errorf("%w: %w", fsm.ErrKeyspaceExhausted, err)
	}
	if err != nil {
		return Keys{}, err
	}
	receipt := fsm.Receipt{Space: cmp.Or(grants[0].space, id), Grants: make([]fsm.Grant, 0, 1)}
	for _, g := range grants {
		if last := len(receipt.Grants) - 1; last >= 0 && receipt.Grants[last].Lease == g.lease &&
			receipt.Grants[last].From+receipt.Grants[last].Count == g.from {
			receipt.Grants[last].Count += g.count
		} else {
			receipt.Grants = append(receipt.Grants, fsm.Grant{Lease: g.lease, From: g.from, Count: g.count})
		}
	}
	keys.Length = len(grants[0].keys) / int(grants[0].count)
	keys.Bytes = grants[0].keys
	for _, g := range grants[1:] {
		keys.Bytes = append(keys.Bytes, g.keys...)
	}
	keys.Receipt = receipt.SealFor(r.Owner, make([]byte, 0, fsm.ReceiptSize), n.machine.ReceiptSecret())
	return keys, nil
}

// takeOnce takes keys under an idempotency key: leases straight from the log,
// whose record gives a repeat the same positions, hence the same keys.
func (n *Node) takeOnce(ctx context.Context, r TakeRequest, keys *Keys) ([]grant, error) {
	var grants []grant
	left := uint64(r.Count)
	for part := 0; left > 0; part++ { // a second part replaces blocked keys of the first, see also sameLength
		id := r.Idempotency.Key
		if part > 0 {
			id = fmt.Sprintf("%s\x00%d", id, part)
		}
		a := n.propose(ctx, []*pb.Command{{
			Idempotency: &pb.IdempotencyKey{Key: id, Fingerprint: r.Idempotency.Fingerprint},
			Op:          &pb.Command_Lease{Lease: &pb.Lease{Keyspace: r.Keyspace, Count: left, Direct: true, Owner: r.Owner}},
		}})[0]
		if a.err == nil {
			a.err = fsm.ResultError(a.result)
		}
		if a.err != nil {
			return nil, a.err
		}
		keys.Index, keys.Replayed = a.result.Index, a.result.Replayed
		encoded, err := n.encode(r.Keyspace, a.result.Grants)
		if err != nil {
			return nil, err
		}
		grants = sameLength(grants, encoded)
		left = uint64(r.Count) - countOf(grants)
	}
	return grants, nil
}

// ReturnKeys gives keys back, all or none; the receipt proves that the caller had
// them. Without a name in as, that may be any who took them without a token.
func (n *Node) ReturnKeys(ctx context.Context, as string, receipt []byte, keys []string, idem *Idempotency) Outcome {
	return n.mutate(ctx, idem, &pb.Command{Op: &pb.Command_ReturnKeys{
		ReturnKeys: &pb.ReturnKeys{As: as, Receipt: receipt, Keys: keys}}})
}

// CreateLinks creates links; each has its own outcome, in the same order.
func (n *Node) CreateLinks(ctx context.Context, rs []CreateRequest) []Outcome {
	commands := make([]*pb.Command, len(rs))
	for i, r := range rs {
		commands[i] = &pb.Command{
			Idempotency: r.Idempotency.command(),
			Op:          &pb.Command_CreateLink{CreateLink: r.Create},
		}
	}
	outcomes := make([]Outcome, len(rs))
	for i, a := range n.propose(ctx, commands) {
		outcomes[i] = a.outcome()
	}
	return outcomes
}

// UpdateLink changes the fields of a link that are present.
func (n *Node) UpdateLink(ctx context.Context, u *pb.UpdateLink, idem *Idempotency) Outcome {
	return n.mutate(ctx, idem, &pb.Command{Op: &pb.Command_UpdateLink{UpdateLink: u}})
}

// VisitLink counts a visit of a link with a limit of visits, unless it has had all
// of them. The limit is exact: the log decides.
func (n *Node) VisitLink(ctx context.Context, key string) Outcome {
	return n.mutate(ctx, nil, &pb.Command{Op: &pb.Command_VisitLink{VisitLink: &pb.VisitLink{Key: key}}})
}

// AddVisits has visits counted. They are not asked for again: of an unknown
// outcome they may be counted or not.
func (n *Node) AddVisits(ctx context.Context, v *pb.AddVisits) error {
	return n.mutate(ctx, nil, &pb.Command{Op: &pb.Command_AddVisits{AddVisits: v}}).Err
}

// Visits returns what was counted of a link, and its key, as Link finds it.
func (n *Node) Visits(ctx context.Context, l Level, key string) (at string, v *pb.Visits, err error) {
	if err := n.catchUp(ctx, l); err != nil {
		return key, nil, err
	}
	return n.machine.Visits(key)
}

// DeleteLink deletes a link; its key is never issued again. With a name in as, it
// must be his, or nobody's.
func (n *Node) DeleteLink(ctx context.Context, as, key string, idem *Idempotency) Outcome {
	return n.mutate(ctx, idem, &pb.Command{Op: &pb.Command_DeleteLink{DeleteLink: &pb.DeleteLink{Key: key, As: as}}})
}

func (n *Node) mutate(ctx context.Context, idem *Idempotency, cmd *pb.Command) Outcome {
	cmd.Idempotency = idem.command()
	return n.propose(ctx, []*pb.Command{cmd})[0].outcome()
}

func (i *Idempotency) command() *pb.IdempotencyKey {
	if i == nil {
		return nil
	}
	return &pb.IdempotencyKey{Key: i.Key, Fingerprint: i.Fingerprint}
}

func (a answer) outcome() Outcome {
	if a.err != nil {
		return Outcome{Err: a.err}
	}
	r := a.result
	return Outcome{
		Err: fsm.ResultError(r), Index: r.Index, Replayed: r.Replayed,
		Key: r.Key, Link: r.Link, Count: int(r.Count), Found: r.Found,
	}
}

// Link finds a link. at is its key: key itself, or what that is written for in a
// case-insensitive key space. At level Local a link that is not here is looked for
// once more at level Linearizable: it may have been created through another node.
func (n *Node) Link(ctx context.Context, l Level, key string) (at string, link *pb.Link, err error) {
	if l == Local {
		at, link, err = n.machine.Find(key)
		if !errors.Is(err, fsm.ErrLinkNotFound) || errors.Is(err, fsm.ErrLinkDeleted) {
			return at, link, err // a deletion is final: no key is issued twice
		}
	}
	if err := n.catchUp(ctx, Linearizable); err != nil {
		return key, nil, err
	}
	return n.machine.Find(key)
}

// Links returns a page of links.
func (n *Node) Links(ctx context.Context, l Level, q fsm.LinkQuery) (LinkPage, error) {
	if err := n.catchUp(ctx, l); err != nil {
		return LinkPage{}, err
	}
	page := LinkPage{Index: n.machine.Applied()}
	var err error
	page.Links, page.Next, err = n.machine.Links(q)
	return page, err
}

// WatchLinks follows the changes of links as this node applies them, see
// fsm.Machine.Watch. A node that has not come as far as the change to go on after
// catches up first; the cluster may never have come so far, after a recovery.
func (n *Node) WatchLinks(ctx context.Context, after fsm.ChangeID) (*fsm.LinkWatch, error) {
	if after.Index > n.machine.Applied() {
		if err := n.catchUp(ctx, Linearizable); err != nil {
			return nil, err
		}
		if last := n.machine.Applied(); after.Index > last {
			return nil, fmt.Errorf("%w; %s is asked for, and the log has only come to %d", fsm.ErrWatchGone, after, last)
		}
	}
	return n.machine.Watch(after)
}

// Tags returns tags that links have, in order, the first one above after.
func (n *Node) Tags(ctx context.Context, l Level, after string, limit int) ([]string, error) {
	if err := n.catchUp(ctx, l); err != nil {
		return nil, err
	}
	return n.machine.Tags(after, limit)
}

// Counts returns how many links there are, and how many visits found none.
func (n *Node) Counts(ctx context.Context, l Level) (Counts, error) {
	if err := n.catchUp(ctx, l); err != nil {
		return Counts{}, err
	}
	state, err := n.machine.State()
	return Counts{Links: state.GetLinks(), Misses: state.GetMisses()}, err
}

// Key finds where a key stands.
func (n *Node) Key(ctx context.Context, l Level, space, key string) (fsm.KeyState, error) {
	if err := n.catchUp(ctx, l); err != nil {
		return fsm.KeyState{}, err
	}
	return n.machine.Key(space, key)
}

// KeyRows returns rows of used_keys or unused_keys, length by length, from the first
// that starts at or after from.
func (n *Node) KeyRows(ctx context.Context, l Level, used bool, space string, from KeyPlace, limit int) ([]KeyRow, error) {
	if err := n.catchUp(ctx, l); err != nil {
		return nil, err
	}
	table := store.UnusedKeys
	if used {
		table = store.UsedKeys
	}
	lengths, err := n.machine.Lengths(space)
	if err != nil {
		return nil, err
	}
	var all []KeyRow
	for _, of := range lengths {
		switch at := int(of.Length); {
		case at < from.Length || len(all) == limit:
			continue
		case at > from.Length:
			from.Position = 0
		}
		rows, err := n.machine.KeyRows(table, of.Id, from.Position, limit-len(all))
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			all = append(all, KeyRow{int(of.Length), row})
		}
	}
	return all, nil
}

// CreateKeyspace adds a key space. One that is there with the same description is
// the answer, too.
func (n *Node) CreateKeyspace(ctx context.Context, r KeyspaceRequest, idem *Idempotency) (CreatedKeyspace, error) {
	secret := make([]byte, keyspace.CipherKeySize)
	rand.Read(secret)
	a := n.propose(ctx, []*pb.Command{{Idempotency: idem.command(), Op: &pb.Command_CreateKeyspace{
		CreateKeyspace: &pb.CreateKeyspace{Keyspace: &pb.Keyspace{
			Name: r.Name, Alphabet: r.Space.Alphabet, Length: uint32(r.Space.Length), Prefix: r.Space.Prefix,
			Check: r.Space.Check, CaseInsensitive: r.Space.CaseInsensitive, Blocklist: r.Blocklist, Grow: r.Grow, PermutationKey: secret,
		}}}}})[0]
	if a.err == nil {
		a.err = fsm.ResultError(a.result)
	}
	if a.err != nil {
		return CreatedKeyspace{}, a.err
	}
	return n.changedKeyspace(a.result)
}

// UpdateKeyspace changes what may change of a key space; "" is the default one.
func (n *Node) UpdateKeyspace(ctx context.Context, name string, grow *bool, idem *Idempotency) (CreatedKeyspace, error) {
	a := n.propose(ctx, []*pb.Command{{Idempotency: idem.command(), Op: &pb.Command_UpdateKeyspace{
		UpdateKeyspace: &pb.UpdateKeyspace{Keyspace: name, Grow: grow}}}})[0]
	if a.err == nil {
		a.err = fsm.ResultError(a.result)
	}
	if a.err != nil {
		return CreatedKeyspace{}, a.err
	}
	return n.changedKeyspace(a.result)
}

// changedKeyspace tells of the last length as it was at the change, and of the others
// as they are.
func (n *Node) changedKeyspace(r *pb.Result) (CreatedKeyspace, error) {
	rows, err := n.machine.Keyspaces()
	var lengths []*pb.Keyspace
	for _, row := range rows {
		if row.Name == r.Keyspace.Name && row.Length < r.Keyspace.Length {
			lengths = append(lengths, row)
		}
	}
	return CreatedKeyspace{
		Stats: n.keyspaceStats(append(lengths, r.Keyspace), rows, bufferStats{}), New: r.Count > 0,
		Index: r.Index, Replayed: r.Replayed,
	}, err
}

// Keyspaces returns where all key spaces stand.
func (n *Node) Keyspaces(ctx context.Context, l Level) ([]KeyspaceStats, error) {
	if err := n.catchUp(ctx, l); err != nil {
		return nil, err
	}
	rows, err := n.machine.Keyspaces()
	if err != nil {
		return nil, err
	}
	return n.allStats(rows, n.leaderBuffers(ctx)), nil
}

// allStats tell of each key space, in the order of their first rows.
func (n *Node) allStats(rows []*pb.Keyspace, buffers map[string]bufferStats) []KeyspaceStats {
	lengths := map[string][]*pb.Keyspace{}
	for _, row := range rows {
		lengths[row.Name] = append(lengths[row.Name], row)
	}
	stats := make([]KeyspaceStats, 0, len(lengths))
	for _, row := range rows {
		if all := lengths[row.Name]; all[0] == row {
			stats = append(stats, n.keyspaceStats(all, rows, buffers[row.Name]))
		}
	}
	return stats
}

// Keyspace returns where one key space stands; "" is the default one.
func (n *Node) Keyspace(ctx context.Context, l Level, name string) (KeyspaceStats, error) {
	all, err := n.Keyspaces(ctx, l)
	if err != nil {
		return KeyspaceStats{}, err
	}
	if name == "" {
		name = fsm.DefaultKeyspace
	}
	for _, stats := range all {
		if stats.Name == name {
			return stats, nil
		}
	}
	return KeyspaceStats{}, fmt.Errorf("%w: %q", fsm.ErrKeyspaceNotFound, name)
}

// keyspaceStats tells of the key space that has these lengths; all are the rows of
// all key spaces.
func (n *Node) keyspaceStats(lengths, all []*pb.Keyspace, b bufferStats) KeyspaceStats {
	row := lengths[len(lengths)-1]
	s := KeyspaceStats{
		Name: row.Name, Alphabet: row.Alphabet, Length: int(row.Length), Prefix: row.Prefix, Check: row.Check, CaseInsensitive: row.CaseInsensitive, Blocked: len(row.Blocklist),
		Buffered: uint64(b.available), Rate: b.rate,
	}
	for _, row := range lengths {
		length := LengthStats{Length: int(row.Length), Size: 1, Unused: row.Unused, Used: row.Used}
		for range row.Length {
			length.Size *= uint64(len(row.Alphabet))
		}
		s.Lengths = append(s.Lengths, length)
		s.Size += length.Size
		s.Unused += row.Unused
		s.Used += row.Used
		s.Returned += row.Returned
		s.Lost += row.Lost
	}
	s.Generated = s.Unused + s.Used
	if err := cmp.Or(fsm.Growth(row, all), n.known(growCommand(row))); err == nil {
		s.Grows = true
	} else if !errors.Is(err, fsm.ErrKeyspaceExhausted) {
		s.GrowthBlocked = err.Error()
	}
	if seconds := float64(s.Size-s.Used) / b.rate; b.rate > 0 && seconds < maxForecast.Seconds() {
		s.Exhausted = time.Duration(seconds * float64(time.Second))
	}
	return s
}

// maxForecast is how far ahead an exhaustion is in sight.
const maxForecast = 100 * 365 * 24 * time.Hour

// Age is how long ago this node heard from the leader; leading means that it is
// the leader itself. It allocates nothing: each redirect asks.
func (n *Node) Age() (age time.Duration, leading bool) {
	if n.lead.ready.Load() != 0 {
		return 0, true
	}
	last := n.raft.LastContact()
	if last.IsZero() {
		last = n.started
	}
	return time.Since(last), false
}

// catchUp waits until this node's state is as fresh as the level asks.
func (n *Node) catchUp(ctx context.Context, l Level) error {
	if l == Local {
		return nil
	}
	var index uint64
	err := n.toLeader(ctx, func(ctx context.Context, _ target) (err error) {
		index, err = n.reads.do(ctx, n.askIndex)
		return err
	})
	if errors.Is(err, fsm.ErrOutcomeUnknown) {
		return ErrNoLeader // a read has no outcome
	}
	if err != nil {
		return err
	}
	if n.machine.WaitApplied(ctx, index) != nil {
		return fmt.Errorf("%w: this node is at log index %d, the read needs %d", ErrBusy, n.machine.Applied(), index)
	}
	return nil
}

// awaitFormed waits until this node knows the cluster's first state.
func (n *Node) awaitFormed(ctx context.Context) error {
	for n.machine.ClusterID() == "" {
		if n.machine.WaitApplied(ctx, n.machine.Applied()+1) != nil {
			return ErrNoLeader
		}
	}
	return nil
}
