package fsm

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/fsm/refmodel"
)

// world draws log entries that a cluster could write, and some that it should
// not. It runs the model along, to know what there is to act upon.
type world struct {
	// draw is where all choices come from: one of 0 to n-1, evenly.
	draw  func(n int, label string) int
	model *refmodel.Model

	index, term uint64
	now         int64
	started     bool
	grants      []worldGrant // of all leases so far
	fronts      map[uint64]*frontEnd
	both        []string // keys at low positions of hex that are keys of digits too
	backups     *backups // nil: there are none in this world
	grown       bool     // key spaces are used up and grow
	recovery    int      // entries until the cluster is recovered; 0: it is not
}

type worldGrant struct {
	space string
	*pb.Grant
}

// frontEnd numbers its requests and keeps those that it may send again.
type frontEnd struct {
	next, answered uint64
	sent           map[uint64]*pb.Command
}

func newWorld(draw func(n int, label string) int) *world {
	w := &world{draw: draw, model: refmodel.New(), term: 1, now: 1_000_000 * minute, fronts: map[uint64]*frontEnd{}}
	for id := range uint64(3) {
		w.fronts[id+1] = &frontEnd{next: 1, answered: 1, sent: map[uint64]*pb.Command{}}
	}
	return w
}

// evenly draws from rapid, whose own ranges prefer small numbers so much that
// most operations would fail.
func evenly(t *rapid.T) func(n int, label string) int {
	return func(n int, label string) int {
		return rapid.Custom(func(t *rapid.T) int {
			const width = 12
			x := 0
			for range width {
				x *= 2
				if rapid.Bool().Draw(t, "bit") {
					x++
				}
			}
			return x * n >> width
		}).Draw(t, label)
	}
}

func (w *world) chance(oneIn int, label string) bool { return w.draw(oneIn, label) == oneIn-1 }

func pick[T any](w *world, from []T, label string) T { return from[w.draw(len(from), label)] }

// next draws an entry and what the model answers to it.
func (w *world) next() (e *pb.Entry, want []*pb.Result) {
	w.index += uint64(1 + w.draw(3, "index")/2) // raft's own entries leave gaps
	if w.chance(6, "election") {
		w.term++
	}
	w.now += pick(w, []int64{0, 1, 500, 500, 20_000, 20_000, minute, minute, 11 * minute, 61 * minute, -30 * minute, 25 * 60 * minute, 31 * 24 * 60 * minute}, "elapsed")
	e = &pb.Entry{Version: max(w.model.State.Version, 1), Time: w.now, Node: pick(w, []string{"n1", "n2", "n3"}, "node")}
	if !w.started {
		w.started = true
		e.Commands = append(e.Commands, cmd(testInit()))
		if w.chance(2, "either case") {
			e.Commands = append(e.Commands, createKeyspace(codes))
		}
	} else if w.backups != nil && w.chance(3, "backups") {
		e.Commands = append(e.Commands, w.backupCommand())
	} else if w.recovery--; w.recovery == 0 {
		e.Commands = append(e.Commands, cmd(&pb.RecoverCluster{Node: w.drawNode(), Floor: pick(w, []uint64{0, 20_000, 2_000_000}, "floor"), Floors: w.floors(), Grow: w.chance(2, "grow")}))
	} else if w.chance(40, "upgrade") {
		e.Version = uint32(w.between(uint64(e.Version), Version, "entry version"))
		e.Commands = append(e.Commands, cmd(&pb.RaiseVersion{Version: uint32(w.draw(Version+2, "version"))}))
	} else {
		for range w.draw(7, "commands") {
			e.Commands = append(e.Commands, w.command())
		}
	}
	want = w.model.Apply(w.index, w.term, proto.CloneOf(e))
	for i, r := range want {
		if op := e.Commands[i].GetLease(); op != nil {
			for _, g := range r.Grants {
				w.grants = append(w.grants, worldGrant{op.Keyspace, g})
			}
		}
	}
	if w.both == nil {
		for pos := range uint64(600) {
			key := string(w.model.Space(hex).Perm.AppendKey(nil, pos))
			if _, ok := w.model.Space(digits).Perm.Position(key); ok {
				w.both = append(w.both, key)
			}
		}
	}
	return e, want
}

// floors draws floors of single key spaces: mostly none.
func (w *world) floors() (floors []*pb.Floor) {
	for range max(0, w.draw(5, "floors")-2) {
		name := w.model.Spaces[w.draw(len(w.model.Spaces), "floored")].Row.Name
		if w.chance(20, "no such") {
			name = "nope"
		}
		pos := pick(w, []uint64{0, 500, 3000, 5000}, "named floor")
		if w.chance(30, "a high one") { // the model takes its time
			pos = pick(w, []uint64{999_600, 1_000_000, 1_000_100}, "high floor")
		}
		floors = append(floors, &pb.Floor{Keyspace: name, Position: pos})
	}
	return floors
}

// between draws from a range that includes both ends.
func (w *world) between(from, to uint64, label string) uint64 {
	return from + uint64(w.draw(int(to-from)+1, label))
}

// command draws a command, or a repeat of an earlier one.
func (w *world) command() *pb.Command {
	front := w.fronts[uint64(1+w.draw(3, "session"))]
	if open := slices.Sorted(maps.Keys(front.sent)); len(open) > 0 && w.chance(5, "repeat") {
		c := front.sent[pick(w, open, "repeated")]
		if !w.chance(3, "by the client") {
			return c
		}
		return w.send(front, c)
	}
	c := w.operation()
	if w.chance(5, "idempotent") {
		c = idempotent(c, fmt.Sprint("k", w.draw(12, "key")))
	}
	return w.send(front, c)
}

// send gives the command its request id, mostly.
func (w *world) send(front *frontEnd, c *pb.Command) *pb.Command {
	c = proto.CloneOf(c)
	c.Request = nil
	if w.chance(4, "bare") {
		return c
	}
	for id, f := range w.fronts {
		if f == front {
			c = request(c, id, front.next, front.answered)
		}
	}
	front.sent[front.next] = c
	front.next++
	if w.chance(3, "answers") { // keeps some of the closed ones, to send late copies
		front.answered = w.between(front.answered, front.next, "answered")
		maps.DeleteFunc(front.sent, func(seq uint64, _ *pb.Command) bool { return seq+5 < front.answered })
	}
	return c
}

func (w *world) space() string {
	return pick(w, []string{digits, digits, digits, hex, hex, "", wide, "nope", "d7", "d7", "vouchers", "codes", "codes"}, "space")
}

// pos draws a position at which something may be.
func (w *world) pos(s *refmodel.Space) uint64 {
	return w.between(0, min(s.Row.HighWaterMark+30, s.Perm.Size()-1), "pos")
}

// key draws a key: of a low position, of both spaces, of a link, leased, or made up.
func (w *world) key() string {
	switch w.draw(6, "kind of key") {
	case 0:
		return pick(w, w.both, "key of both")
	case 1:
		return pick(w, []string{"a", "docs", "00000", "0000000"}, "name")
	case 3: // of a key space that is there or is not
		row := pick(w, laterSpaces[:3], "later key space")
		return w.written(row, uint64(w.draw(60, "later pos")))
	case 2:
		if keys := slices.Sorted(maps.Keys(w.model.Links)); len(keys) > 0 {
			return pick(w, keys, "key of a link")
		}
	case 4:
		key, _ := w.leased()
		return key
	}
	s := pick(w, w.model.Spaces[:2], "space of the key")
	return string(s.Perm.AppendKey(nil, w.pos(s)))
}

// leased draws a key of a lease, or of something near it, and its key space.
func (w *world) leased() (key, space string) {
	g := w.grant()
	s := w.model.Space(g.space)
	if s == nil {
		s = w.model.Spaces[0]
	}
	return w.written(s.Row, g.From), g.space
}

// written is the key at a position, in any case if it may be.
func (w *world) written(row *pb.Keyspace, pos uint64) string {
	key := string(permutationOf(row).AppendKey(nil, pos))
	if row.CaseInsensitive {
		return pick(w, []string{key, strings.ToUpper(key), key[:4] + strings.ToUpper(key[4:])}, "case")
	}
	return key
}

// grant draws a part of a lease, or something near it.
func (w *world) grant() worldGrant {
	if len(w.grants) == 0 || w.chance(10, "made up") {
		return worldGrant{w.space(), &pb.Grant{Lease: uint64(w.draw(5, "lease")), From: uint64(w.draw(100, "from")), Count: uint64(w.draw(5, "count"))}}
	}
	g := w.grants[max(0, len(w.grants)-1-w.draw(8, "age"))]
	from := w.between(g.From, g.From+g.Count-1, "from")
	count := w.between(1, g.From+g.Count-from, "count")
	if w.chance(2, "whole") {
		from, count = g.From, g.Count
	}
	return worldGrant{g.space, &pb.Grant{Lease: g.Lease, From: from, Count: count}}
}

func (w *world) link() *pb.Link {
	return &pb.Link{
		Url:   pick(w, []string{"https://a.example", "https://b.example"}, "url"),
		Title: pick(w, []string{"", "t"}, "title"),
		Tags:  w.tags(),

		Owner:     w.owner(),
		Redirect:  pick(w, []uint32{0, 0, 302, 301}, "redirect"),
		ExpiresAt: w.time(),
		NotBefore: w.time(),
		MaxVisits: uint64(max(0, w.draw(6, "max visits")-3)),

		ForwardQuery: w.chance(8, "forward query"),
	}
}

func (w *world) owner() string { return pick(w, []string{"", "", "ann", "bob"}, "owner") }

// time draws a limit of a link: mostly none.
func (w *world) time() int64 {
	return pick(w, []int64{0, 0, 0, 0, 0, w.now - minute, w.now + minute, w.now + 60*minute}, "time")
}

func (w *world) ttl() int64 {
	return pick(w, []int64{0, 0, 0, 0, 1, minute, 25 * 60 * minute, -1}, "ttl")
}

func (w *world) tags() []string {
	return pick(w, [][]string{nil, {"x"}, {"y"}, {"x", "y"}, {"z", "x", "z"}}, "tags")
}

func (w *world) operation() *pb.Command {
	if w.grown && w.chance(6, "growing") {
		return w.generateOrGrow()
	}
	switch w.draw(50, "operation") {
	case 0:
		return cmd(testInit())
	case 1:
		return cmd(&pb.PutNode{Node: w.drawNode()})
	case 2:
		return cmd(&pb.RemoveNode{Id: w.drawNode().Id})
	case 3, 4, 5:
		return w.generateOrGrow()
	case 6, 7, 8, 9, 10:
		return cmd(&pb.Lease{Keyspace: w.space(), Count: uint64(w.draw(40, "lease")), LastLength: w.chance(6, "last length"),
			Direct: w.chance(3, "direct"), Owner: w.owner(), HandedOut: uint64(w.draw(30, "handed out"))})
	case 11, 12, 13:
		first := w.grant()
		grants := []*pb.Grant{first.Grant}
		if w.chance(3, "another grant") {
			grants = append(grants, w.grant().Grant)
		}
		return cmd(&pb.Release{Keyspace: first.space, Grants: grants, HandedOut: uint64(w.draw(5, "handed out"))})
	case 14, 15, 16, 17, 18:
		return w.drawReturn()
	case 19, 20, 21, 22:
		return cmd(&pb.CreateLink{Alias: w.key(), Link: w.link(), FindIfExists: w.chance(3, "find"), Ttl: w.ttl(), MaxLinks: uint64(max(0, w.draw(6, "max links")-3))})
	case 23, 24, 25, 26:
		key, space := w.key(), w.space()
		if w.chance(2, "of a lease") {
			key, space = w.leased()
		}
		return cmd(&pb.CreateLink{TakenKey: key, Keyspace: space, Link: w.link()})
	case 27, 28, 29, 30:
		g := w.grant()
		generated := &pb.GeneratedKey{Position: g.From, Lease: g.Lease}
		if s := w.model.Space(g.space); s != nil {
			generated.Key = w.written(s.Row, g.From)
			if w.chance(20, "another's key") {
				generated.Key = w.key()
			}
		}
		return cmd(&pb.CreateLink{Generated: generated, Keyspace: g.space, Link: w.link(), FindIfExists: w.chance(3, "find"), Ttl: w.ttl()})
	case 31, 32, 33:
		op := &pb.UpdateLink{Key: w.key(), As: w.owner()}
		if w.chance(2, "sets url") {
			op.Url = proto.String("https://c.example")
		}
		if op.SetTags = w.chance(2, "sets tags"); op.SetTags {
			op.Tags = w.tags()
		}
		if w.chance(6, "sets forwarding") {
			op.ForwardQuery = proto.Bool(w.chance(2, "forward query"))
		}
		switch w.draw(8, "sets limits") {
		case 0:
			op.ExpiresAt = proto.Int64(w.time())
		case 1:
			op.NotBefore = proto.Int64(w.time())
		case 2:
			op.Ttl = proto.Int64(w.ttl())
		case 3:
			op.MaxVisits = proto.Uint64(uint64(w.draw(3, "max visits")))
		}
		return cmd(op)
	case 34, 35, 36:
		return createToken(w.tokenID(), pb.Role(w.draw(6, "role")), pick(w, []int64{0, 0, 1, minute, 60 * minute, -1, math.MaxInt64}, "ttl"))
	case 38, 39, 40, 41:
		return cmd(&pb.VisitLink{Key: w.key()})
	case 46, 47:
		add := &pb.AddVisits{Misses: uint64(w.draw(3, "misses"))}
		for range w.draw(4, "visited") {
			count := uint64(w.draw(5, "visits"))
			add.Links = append(add.Links, &pb.LinkVisits{Key: w.key(), Visits: &pb.Visits{
				Visits: count, Bots: uint64(w.draw(2, "bots")), Last: w.now, Days: []uint32{uint32(w.draw(5, "day"))}, Counts: []uint64{count},
				Referrers: pick(w, []map[string]uint64{nil, {"a.example": 1}, {"a.example": 2, "b.example": 1}}, "referrers"),
			}})
		}
		return cmd(add)
	case 42:
		return cmd(&pb.CreateLink{FindIfExists: true, Keyspace: w.space(), Link: w.link()})
	case 37:
		return cmd(&pb.RevokeToken{Id: w.tokenID()})
	case 43, 44, 45:
		if w.grown && !w.chance(8, "in the way") { // of seven digits
			return createKeyspace(vouchers)
		}
		return cmd(&pb.CreateKeyspace{Keyspace: pick(w, laterSpaces, "key space")})
	default:
		return cmd(&pb.DeleteLink{Key: w.key(), As: w.owner()})
	}
}

func (w *world) generateOrGrow() *pb.Command {
	space := w.space()
	s := w.model.Space(space)
	count := uint64(w.draw(80, "generate"))
	switch {
	case w.grown && w.chance(12, "may grow"):
		return mayGrow(pick(w, []string{digits, "d7", hex}, "grows"), !w.chance(4, "not"))
	case w.grown && s != nil && s.Row.HighWaterMark == s.Perm.Size():
		if w.chance(3, "generate at the end") {
			break
		}
		return grow(space, s.Row.Length-uint32(w.draw(6, "of another length")/5))
	case w.grown && s != nil && s.Perm.Size() == 1_000_000 && w.chance(3, "generate much"):
		count = s.Perm.Size() - s.Row.HighWaterMark - uint64(w.draw(3, "but"))/2*10
	}
	return generate(space, count)
}

// laterSpaces are made while the world goes on, or refused.
var laterSpaces = []*pb.Keyspace{
	sevenDigits, vouchers, codes,
	{Name: "d7", Alphabet: "0123456789", Length: 7, PermutationKey: bytes.Repeat([]byte{4}, 32), Blocklist: []string{"1234567"}},
	{Name: "octal", Alphabet: "01234567", Length: 7, PermutationKey: bytes.Repeat([]byte{5}, 32)},
	{Name: "codes", Alphabet: keyspace.Alphabets["lowercase"], Length: 5, Prefix: "c-", Check: true, PermutationKey: bytes.Repeat([]byte{9}, 32)},
	{Name: "loud", Alphabet: keyspace.Alphabets["uppercase"], Length: 6, Prefix: "C-", PermutationKey: bytes.Repeat([]byte{9}, 32)},
	{Name: digits, Alphabet: "0123456789", Length: 8, PermutationKey: bytes.Repeat([]byte{5}, 32)},
	{Name: "tiny", Alphabet: "01", Length: 8, PermutationKey: bytes.Repeat([]byte{5}, 32)},
	nil,
}

func (w *world) tokenID() string {
	return pick(w, []string{"AAAAAAAA", "BBBBBBBB", "CCCCCCCC", "DDDDDDDD", "EEEEEEEE", "", "AAAAAAA_"}, "token id")
}

func (w *world) drawNode() *pb.Node {
	return &pb.Node{
		Id:     pick(w, []string{"n1", "n2"}, "node id"),
		DiskId: pick(w, []string{"d1", "d2"}, "disk id"),
	}
}

func (w *world) drawReturn() *pb.Command {
	g := w.grant()
	s := w.model.Space(g.space)
	if s == nil {
		s = w.model.Spaces[0]
	}
	op := &pb.ReturnKeys{Receipt: Receipt{Space: s.Row.Id, Grants: []Grant{{g.Lease, g.From, g.Count}}}.SealFor(w.owner(), nil, testSecret), As: w.owner()}
	for range w.draw(4, "returned") {
		pos := w.between(g.From, g.From+max(g.Count, 1)-1, "returned pos")
		op.Keys = append(op.Keys, w.written(s.Row, pos))
	}
	if w.chance(8, "a wrong key") {
		op.Keys = append(op.Keys, w.key())
	}
	if w.chance(12, "a forged receipt") {
		op.Receipt[5] ^= 1
	}
	return cmd(op)
}
