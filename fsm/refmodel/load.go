package refmodel

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// Rows are the tables of a state: a store.DB or a store.View.
type Rows interface {
	Scan(t store.Table, from, to []byte, fn func(key, value []byte) bool) error
}

// Load reads the state that the rows stand for, as fsm/tables.go describes them.
// It fails if they contradict each other: a position in both key tables or in
// none, a counter that is not what it counts, an index without its row.
func Load(rows Rows) (*Model, error) {
	l := loader{Model: New(), rows: rows}
	for _, part := range []func() error{l.state, l.spaces, l.used, l.unused, l.quarantine, l.links, l.tags, l.urls, l.expiries, l.visits, l.owners, l.nodes, l.tokens, l.sessions, l.records, l.staged} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return l.Model, nil
}

type loader struct {
	*Model
	rows Rows
}

// each decodes the rows of a table; T is nothing for tables without a message.
func each(rows Rows, t store.Table, row proto.Message, fn func(key, value []byte) error) error {
	var failed error
	err := rows.Scan(t, nil, nil, func(key, value []byte) bool {
		if row != nil {
			failed = proto.Unmarshal(value, row)
		}
		if failed == nil {
			failed = fn(key, value)
		}
		if failed != nil {
			failed = fmt.Errorf("%s, row %q: %w", t, key, failed)
		}
		return failed == nil
	})
	if err != nil {
		return err
	}
	return failed
}

func (l *loader) state() error {
	return each(l.rows, store.Meta, nil, func(key, value []byte) error {
		switch string(key) {
		case "state":
			return proto.Unmarshal(value, l.State)
		case "staged":
			l.Staged = &Staged{Row: &pb.Staged{}}
			return proto.Unmarshal(value, l.Staged.Row)
		}
		return fmt.Errorf("unknown row")
	})
}

func (l *loader) staged() error {
	var parts uint64
	err := each(l.rows, store.Staging, nil, func(key, value []byte) error {
		if l.Staged == nil || binary.BigEndian.Uint64(key) != parts {
			return fmt.Errorf("it does not belong to what is staged")
		}
		l.Staged.Data = append(l.Staged.Data, value...)
		parts++
		return nil
	})
	if err == nil && l.Staged != nil && l.Staged.Row.Parts != parts {
		err = fmt.Errorf("%d parts are staged, their row says %d", parts, l.Staged.Row.Parts)
	}
	return err
}

func (l *loader) spaces() error {
	row := &pb.Keyspace{}
	return each(l.rows, store.Keyspaces, row, func(_, _ []byte) error {
		perm, err := keyspace.NewPermutation(described(row), row.PermutationKey)
		if err != nil {
			return err
		}
		l.Spaces = append(l.Spaces, newSpace(proto.CloneOf(row), perm))
		return nil
	})
}

// run finds the key space and the first position in the key of a row.
func (l *loader) run(key []byte) (s *Space, from uint64, err error) {
	id := binary.BigEndian.Uint32(key)
	if s = l.spaceOf(uint64(id)); s == nil {
		return nil, 0, fmt.Errorf("there is no key space %d", id)
	}
	return s, binary.BigEndian.Uint64(key[len(key)-8:]), nil
}

func (l *loader) used() error {
	row := &pb.Used{}
	return each(l.rows, store.UsedKeys, row, func(key, _ []byte) error {
		s, from, err := l.run(key)
		if err != nil {
			return err
		}
		to := row.To
		if from >= to || to > s.Perm.Size() {
			return fmt.Errorf("a run to %d", to)
		}
		used := proto.CloneOf(row)
		used.To = 0
		s.rows = append(s.rows, used)
		if to <= s.Row.HighWaterMark { // above it lie single positions, far apart
			s.grow(to)
		}
		for pos := from; pos < to; pos++ {
			if s.Used(pos) != nil {
				return fmt.Errorf("position %d is in two rows", pos)
			}
			s.place(pos, uint32(len(s.rows)-1))
		}
		return nil
	})
}

// unused checks that the runs of unused_keys are the generated positions that
// are not used: none of them is used, and they are as many.
func (l *loader) unused() error {
	counts := map[*Space]uint64{}
	err := each(l.rows, store.UnusedKeys, nil, func(key, value []byte) error {
		s, from, err := l.run(key)
		if err != nil {
			return err
		}
		to := binary.BigEndian.Uint64(value)
		if from >= to || to > s.Row.HighWaterMark {
			return fmt.Errorf("a run to %d of %d generated", to, s.Row.HighWaterMark)
		}
		for pos := from; pos < min(to, uint64(len(s.near))); pos++ {
			if s.near[pos] != 0 {
				return fmt.Errorf("position %d is used, as %v", pos, s.Used(pos))
			}
		}
		for pos := range s.far {
			if from <= pos && pos < to {
				return fmt.Errorf("position %d is used, as %v", pos, s.Used(pos))
			}
		}
		counts[s] += to - from
		return nil
	})
	for _, s := range l.Spaces {
		free := s.Row.HighWaterMark - s.usedBelow(s.Row.HighWaterMark)
		if err == nil && (counts[s] != free || s.Row.Unused != free) {
			err = fmt.Errorf("%s: %d positions are generated and not used, unused_keys holds %d, its counter says %d",
				s.Row.Name, free, counts[s], s.Row.Unused)
		}
		if used := s.usedBelow(s.Perm.Size()); err == nil && s.Row.Used != used {
			err = fmt.Errorf("%s: %d positions are used, the counter says %d", s.Row.Name, used, s.Row.Used)
		}
	}
	return err
}

func (s *Space) usedBelow(mark uint64) (n uint64) {
	for pos := range min(mark, uint64(len(s.near))) {
		if s.near[pos] != 0 {
			n++
		}
	}
	for pos := range s.far {
		if pos < mark {
			n++
		}
	}
	return n
}

func (l *loader) quarantine() error {
	err := each(l.rows, store.Quarantine, nil, func(key, value []byte) error {
		s, from, err := l.run(key)
		if err != nil {
			return err
		}
		run := returnedRun{int64(binary.BigEndian.Uint64(key[4:])), from, binary.BigEndian.Uint64(value)}
		for pos := run.from; pos < run.to; pos++ {
			if u := s.Used(pos); u == nil || u.Purpose != pb.Purpose_RETURNED {
				return fmt.Errorf("position %d is %v", pos, u)
			}
		}
		s.returned = append(s.returned, run)
		return nil
	})
	for _, s := range l.Spaces {
		n := s.Row.Returned
		for _, run := range s.returned {
			n -= run.to - run.from
		}
		if err == nil && n != 0 {
			err = fmt.Errorf("%s: %d positions in quarantine more than its rows say", s.Row.Name, int64(n))
		}
	}
	return err
}

func (l *loader) links() error {
	row := &pb.Link{}
	var count uint64
	err := each(l.rows, store.Links, row, func(key, _ []byte) error {
		l.Links[string(key)] = proto.CloneOf(row)
		if row.DeletedAt == 0 {
			count++
		}
		return nil
	})
	if err == nil && count != l.State.Links {
		err = fmt.Errorf("%d links, the counter says %d", count, l.State.Links)
	}
	return err
}

func (l *loader) tags() error {
	return l.index(store.LinkTags, func(key string, link *pb.Link) (rows []string) {
		for _, tag := range link.Tags {
			rows = append(rows, tag+"\x00"+key)
		}
		return rows
	})
}

func (l *loader) visits() error {
	row := &pb.Visits{}
	return each(l.rows, store.LinkVisits, row, func(key, _ []byte) error {
		if link := l.Links[string(key)]; link == nil || link.DeletedAt != 0 {
			return fmt.Errorf("there is no such link")
		}
		l.Visits[string(key)] = proto.CloneOf(row)
		return nil
	})
}

func (l *loader) owners() error {
	want := l.owned()
	row := &pb.Owner{}
	err := each(l.rows, store.Owners, row, func(key, _ []byte) error {
		if want[string(key)] != row.Links {
			return fmt.Errorf("it says %d links, there are %d", row.Links, want[string(key)])
		}
		delete(want, string(key))
		return nil
	})
	for owner := range want {
		if err == nil {
			err = fmt.Errorf("owners lacks %q", owner)
		}
	}
	return err
}

func (l *loader) urls() error {
	return l.index(store.LinkURLs, func(key string, link *pb.Link) []string {
		if link.DeletedAt != 0 {
			return nil
		}
		hash := sha256.Sum256([]byte(link.Url))
		row := string(hash[:8]) + key
		if s := l.State; max(s.Version, 1) < 2 || s.UrlsIndexed && (s.IndexUrlsFrom == "" || key < s.IndexUrlsFrom) {
			return []string{row} // else it is there if the link was made or changed since the index was asked for
		} else if s.UrlsIndexed && l.has(store.LinkURLs, row) {
			return []string{row}
		}
		return nil
	})
}

func (l *loader) has(t store.Table, row string) (found bool) {
	err := l.rows.Scan(t, []byte(row), []byte(row+"\x00"), func(_, _ []byte) bool { found = true; return false })
	return found && err == nil
}

func (l *loader) expiries() error {
	return l.index(store.LinkExpiry, func(key string, link *pb.Link) []string {
		if link.DeletedAt != 0 || link.ExpiresAt == 0 {
			return nil
		}
		return []string{string(binary.BigEndian.AppendUint64(nil, uint64(link.ExpiresAt))) + key}
	})
}

// index checks that a table has exactly the rows that the links make.
func (l *loader) index(t store.Table, rows func(key string, link *pb.Link) []string) error {
	want := map[string]bool{}
	for key, link := range l.Links {
		for _, row := range rows(key, link) {
			want[row] = true
		}
	}
	err := each(l.rows, t, nil, func(key, _ []byte) error {
		if !want[string(key)] {
			return fmt.Errorf("no link makes this row")
		}
		delete(want, string(key))
		return nil
	})
	for row := range want {
		if err == nil {
			err = fmt.Errorf("%s lacks %q", t, row)
		}
	}
	return err
}

func (l *loader) nodes() error {
	row := &pb.Node{}
	return each(l.rows, store.Nodes, row, func(key, _ []byte) error {
		l.Nodes[string(key)] = proto.CloneOf(row)
		return nil
	})
}

func (l *loader) tokens() error {
	row := &pb.Token{}
	return each(l.rows, store.Tokens, row, func(key, _ []byte) error {
		l.Tokens[string(key)] = proto.CloneOf(row)
		return nil
	})
}

func (l *loader) sessions() error {
	row, answers := &pb.Session{}, &pb.Answers{}
	err := each(l.rows, store.Sessions, row, func(key, _ []byte) error {
		l.Sessions[binary.BigEndian.Uint64(key)] = newSession(proto.CloneOf(row))
		return nil
	})
	if err != nil {
		return err
	}
	return each(l.rows, store.Requests, answers, func(key, _ []byte) error {
		s := l.Sessions[binary.BigEndian.Uint64(key)]
		if s == nil {
			return fmt.Errorf("answers without their session")
		}
		open := false
		for _, a := range answers.Answers {
			result := &pb.Result{Index: binary.BigEndian.Uint64(key[8:]), Term: answers.Term, Key: a.Key, Link: &pb.Link{CreatedAt: answers.Time}}
			switch {
			case a.Seq < s.Row.Answered: // the row waits for its last answer
				continue
			case a.Key != "":
				s.Created[a.Seq] = result
			default:
				if result = (&pb.Result{}); proto.Unmarshal(a.Result, result) != nil {
					return fmt.Errorf("answer %d is no result", a.Seq)
				}
				s.Results[a.Seq] = withoutText(result)
			}
			open = true
		}
		if !open {
			return fmt.Errorf("a row of requests, of %d, that nobody can ask for", binary.BigEndian.Uint64(key[8:]))
		}
		return nil
	})
}

func (l *loader) records() error {
	row := &pb.IdempotencyRecord{}
	var expiring []expiry
	err := each(l.rows, store.Idempotency, row, func(key, _ []byte) error {
		result := &pb.Result{}
		if err := proto.Unmarshal(row.Result, result); err != nil {
			return err
		}
		l.addRecord(string(key), &Record{string(row.Fingerprint), withoutText(result), row.Session, row.Seq, row.ExpiresAt})
		return nil
	})
	if err != nil {
		return err
	}
	err = each(l.rows, store.IdempotencyExpiry, nil, func(key, _ []byte) error {
		expiring = append(expiring, expiry{int64(binary.BigEndian.Uint64(key)), string(key[8:])})
		return nil
	})
	if err == nil && !slices.Equal(expiring, l.expiring) {
		err = fmt.Errorf("idempotency_expiry is not the index of idempotency")
	}
	if err == nil && l.State.IdempotencyRecords != uint64(len(l.Records)) {
		err = fmt.Errorf("%d idempotency records, the counter says %d", len(l.Records), l.State.IdempotencyRecords)
	}
	return err
}

// withoutText: the model's answers have no text for people.
func withoutText(r *pb.Result) *pb.Result {
	r.Detail = ""
	return r
}
