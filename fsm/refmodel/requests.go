package refmodel

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	sessionIdle       = 10 * minute
	idempotencyKept   = 24 * hour
	maxRecords        = 4_000_000
	maxSessionResults = 200_000
)

// Session is a front end with the results that it has not said to have got.
type Session struct {
	Row     *pb.Session
	Results map[uint64]*pb.Result
	Created map[uint64]*pb.Result // of links, of which only the time is here
}

func newSession(row *pb.Session) *Session {
	return &Session{row, map[uint64]*pb.Result{}, map[uint64]*pb.Result{}}
}

// Record is the answer to a client's idempotency key.
type Record struct {
	Print        string
	Result       *pb.Result
	Session, Seq uint64
	Expires      int64
}

type expiry struct {
	at  int64
	key string
}

func (a expiry) compare(b expiry) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key))
}

func (m *Model) request(c *pb.Command) *pb.Result {
	id := c.Request
	if id == nil {
		return m.idempotent(c)
	}
	s := m.Sessions[id.Session]
	if s == nil {
		s = newSession(&pb.Session{})
		m.Sessions[id.Session] = s
	}
	s.Row.LastSeen, s.Row.IdleSince = m.minute(), 0
	s.forget(id.Answered)
	if id.Seq < s.Row.Answered {
		return code(pb.Code_OUTCOME_UNKNOWN)
	}
	if r := s.Results[id.Seq]; r != nil {
		return r
	}
	if r := s.Created[id.Seq]; r != nil {
		return wholeAgain(c, r)
	}
	if len(s.Results)+len(s.Created) >= maxSessionResults {
		return m.tooMany()
	}
	r := m.idempotent(c)
	switch {
	case r == nil || again(r):
	case createsLink(c, r) && r.Index == m.index && !r.Replayed:
		s.Created[id.Seq] = timeOnly(r)
	default:
		s.Results[id.Seq] = r
	}
	return r
}

func createsLink(c *pb.Command, r *pb.Result) bool {
	return c.GetCreateLink() != nil && r.Code == pb.Code_OK && r.Link != nil && !r.Found
}

// timeOnly is what is kept of the answer that created a link.
func timeOnly(r *pb.Result) *pb.Result {
	return &pb.Result{Index: r.Index, Term: r.Term, Key: r.Key, Link: &pb.Link{CreatedAt: r.Link.CreatedAt}}
}

// wholeAgain is the answer to a repeat, with the link that the repeat asks for.
func wholeAgain(c *pb.Command, kept *pb.Result) *pb.Result {
	r := proto.CloneOf(kept)
	if r.Link = nil; c.GetCreateLink().GetLink() != nil {
		r.Link = madeFrom(c.GetCreateLink(), kept.Link.CreatedAt)
	}
	return r
}

// forget drops the results below answered.
func (s *Session) forget(answered uint64) {
	if answered > s.Row.Answered && answered-s.Row.Answered > uint64(len(s.Results)+len(s.Created)) { // fewer results than numbers
		below := func(seq uint64, _ *pb.Result) bool { return seq < answered }
		maps.DeleteFunc(s.Results, below)
		maps.DeleteFunc(s.Created, below)
		s.Row.Answered = answered
	}
	for ; s.Row.Answered < answered; s.Row.Answered++ {
		delete(s.Results, s.Row.Answered)
		delete(s.Created, s.Row.Answered)
	}
}

// again: the leader may mend the cause and try the same request once more.
func again(r *pb.Result) bool {
	return r.Code == pb.Code_NOT_ENOUGH_UNUSED || r.Code == pb.Code_GENERATED_KEY_BOUND ||
		r.Code == pb.Code_NOT_STAGED || r.Code == pb.Code_NOT_STOPPED || r.Code == pb.Code_URLS_NOT_INDEXED
}

func (m *Model) tooMany() *pb.Result {
	return &pb.Result{Code: pb.Code_TOO_MANY_RECORDS, Index: m.index, Term: m.term}
}

func (m *Model) idempotent(c *pb.Command) *pb.Result {
	if c.Idempotency == nil {
		return m.execute(c)
	}
	key, session, seq := c.Idempotency.Key, c.Request.GetSession(), c.Request.GetSeq()
	if old := m.Records[key]; old != nil {
		if old.Print != string(c.Idempotency.Fingerprint) {
			return &pb.Result{Code: pb.Code_IDEMPOTENCY_MISMATCH, Index: m.index, Term: m.term}
		}
		r := proto.CloneOf(old.Result)
		if createsLink(c, r) && c.GetCreateLink().Link != nil {
			r = wholeAgain(c, r)
		}
		r.Replayed = c.Request == nil || old.Session != session || old.Seq != seq
		return r
	}
	if len(m.Records) >= maxRecords {
		return m.tooMany()
	}
	r := m.execute(c)
	if r != nil && !again(r) {
		kept := r
		if createsLink(c, r) {
			kept = timeOnly(r)
		}
		m.addRecord(key, &Record{string(c.Idempotency.Fingerprint), kept, session, seq, m.State.Clock + idempotencyKept})
	}
	return r
}

func (m *Model) addRecord(key string, r *Record) {
	m.Records[key] = r
	m.expiring = insert(m.expiring, expiry{r.Expires, key}, expiry.compare)
}

// insert keeps the list in order.
func insert[T any](list []T, e T, compare func(a, b T) int) []T {
	at, _ := slices.BinarySearchFunc(list, e, compare)
	return slices.Insert(list, at, e)
}

func (m *Model) sweepRecords(limit int) {
	for ; limit > 0 && len(m.expiring) > 0 && m.expiring[0].at <= m.State.Clock; limit-- {
		delete(m.Records, m.expiring[0].key)
		m.expiring = m.expiring[1:]
	}
}

// sweepSessions removes, at most once a minute, sessions found idle twice.
func (m *Model) sweepSessions() {
	now := m.minute()
	if now == m.swept {
		return
	}
	m.swept = now
	for id, s := range m.Sessions {
		switch {
		case s.Row.IdleSince != 0 && now-s.Row.IdleSince > sessionIdle:
			delete(m.Sessions, id)
		case s.Row.IdleSince == 0 && now-s.Row.LastSeen > sessionIdle:
			s.Row.IdleSince = now
		}
	}
}
