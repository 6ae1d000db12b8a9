package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// How long, in the machine's clock, and how much is remembered.
const (
	// SessionIdle is how long a front end's session is kept without a command.
	// It must be far above the longest deadline of a request.
	SessionIdle = 10 * time.Minute
	// IdempotencyKept is how long, at least, a client's idempotency key is remembered.
	IdempotencyKept = 24 * time.Hour
	// MaxIdempotencyRecords bounds the idempotency keys remembered at once.
	MaxIdempotencyRecords = 4_000_000
	// MaxSessionResults bounds the unanswered results of one session.
	MaxSessionResults = 200_000
)

// session is a front end's process in memory: its row and its answers that it
// has not said to have got.
type session struct {
	id      uint64
	row     *pb.Session
	answers map[uint64]kept
	fresh   []*answersRow // of the present entry
	dirty   bool          // the row changed in the present entry
}

// kept is an answer that may be asked for again.
type kept struct {
	row    *answersRow
	key    string     // of a created link; the rest of the answer is rebuilt, see repeat
	result *pb.Result // of anything else
}

// answersRow is a row of requests: the answers of an entry to a session, or a
// part of them.
type answersRow struct {
	index, term uint64
	part        byte
	time        int64
	left        int // answers not forgotten; with the last one the row goes

	// Until it is written.
	seqs  []uint64
	bytes int // of the answers, about
	fresh bool
}

// maxAnswersRow bounds a row of requests, unless one answer is larger.
const maxAnswersRow = 4 << 20

func (r *answersRow) key(session uint64) []byte {
	key := requestKey(session, r.index)
	if r.part > 0 {
		key = append(key, r.part)
	}
	return key
}

func newSession(id uint64, row *pb.Session) *session {
	return &session{id: id, row: row, answers: map[uint64]kept{}}
}

func (m *Machine) loadSessions() error {
	m.sessions = map[uint64]*session{}
	err := scanRows(m.db, store.Sessions, func(key []byte, row *pb.Session) error {
		id := binary.BigEndian.Uint64(key)
		m.sessions[id] = newSession(id, row)
		return nil
	})
	if err != nil {
		return err
	}
	return scanRows(m.db, store.Requests, func(key []byte, row *pb.Answers) error {
		s := m.sessions[binary.BigEndian.Uint64(key)]
		if s == nil {
			return nil
		}
		of := &answersRow{index: binary.BigEndian.Uint64(key[8:]), term: row.Term, time: row.Time}
		if len(key) > 16 {
			of.part = key[16]
		}
		for _, a := range row.Answers {
			k := kept{row: of, key: a.Key}
			if a.Key == "" {
				k.result = &pb.Result{}
				if err := proto.Unmarshal(a.Result, k.result); err != nil {
					return err
				}
			}
			if a.Seq >= s.row.Answered {
				s.answers[a.Seq] = k
				of.left++
			}
		}
		return nil
	})
}

// applyOnce applies cmd unless it has been applied before; then it returns the
// answer of that time.
func (m *Machine) applyOnce(cmd *pb.Command) (*pb.Result, error) {
	id := cmd.Request
	if id == nil {
		return m.applyIdempotent(cmd)
	}
	s := m.session(id)
	m.forgetAnswered(s, id.Answered)
	if id.Seq < s.row.Answered {
		// The front end has given this one up or has its answer: a late copy.
		return refuse(pb.Code_OUTCOME_UNKNOWN, "request %x-%d was closed by its sender", id.Session, id.Seq), nil
	}
	if k, ok := s.answers[id.Seq]; ok {
		return k.repeat(cmd), nil
	}
	if len(s.answers) >= MaxSessionResults {
		return m.stamped(refuse(pb.Code_TOO_MANY_RECORDS, "session %x has %d unanswered requests", id.Session, len(s.answers))), nil
	}
	result, err := m.applyIdempotent(cmd)
	if err != nil {
		return nil, err
	}
	if !transient(result) {
		m.keep(s, id.Seq, cmd, result)
	}
	return result, nil
}

// keep remembers an answer of the present entry.
func (m *Machine) keep(s *session, seq uint64, cmd *pb.Command, result *pb.Result) {
	k := kept{result: result}
	size := 16
	if result.Index == m.entry.index && !result.Replayed && created(cmd, result) {
		k.key, k.result = result.Key, nil
	} else {
		size += proto.Size(result)
	}
	last := len(s.fresh) - 1
	if last < 0 || s.fresh[last].bytes+size > maxAnswersRow {
		last++
		s.fresh = append(s.fresh, &answersRow{
			index: m.entry.index, term: m.entry.term, part: byte(last), time: m.state.Clock, fresh: true})
		m.changed(s)
	}
	k.row = s.fresh[last]
	k.row.seqs = append(k.row.seqs, seq)
	k.row.bytes += size
	k.row.left++
	s.answers[seq] = k
}

// created: the answer is a link made from the command.
func created(cmd *pb.Command, result *pb.Result) bool {
	return result.Code == pb.Code_OK && result.Link != nil && !result.Found && cmd.GetCreateLink() != nil
}

// repeat is the answer to a repeat of the command.
func (k kept) repeat(cmd *pb.Command) *pb.Result {
	if k.result != nil {
		return k.result
	}
	return recreated(cmd, &pb.Result{Index: k.row.index, Term: k.row.term, Key: k.key}, k.row.time)
}

// recreated completes the answer to a command that created a link at the time.
func recreated(cmd *pb.Command, result *pb.Result, time int64) *pb.Result {
	if op := cmd.GetCreateLink(); op.GetLink() != nil {
		result.Link = createdLink(op, time)
	}
	return result
}

// writeAnswers writes what the present entry answered to the session.
func (m *Machine) writeAnswers(s *session) {
	for _, of := range s.fresh {
		if of.left > 0 {
			m.writeRow(s, of)
		}
		of.seqs, of.fresh = nil, false
	}
	s.fresh = s.fresh[:0]
}

// writeRow writes one of its rows.
func (m *Machine) writeRow(s *session, of *answersRow) {
	answers := make([]pb.Answer, of.left)
	row := &pb.Answers{Term: of.term, Time: of.time, Answers: make([]*pb.Answer, 0, of.left)}
	for _, seq := range of.seqs {
		k, ok := s.answers[seq]
		if !ok {
			continue // forgotten in the same entry
		}
		a := &answers[len(row.Answers)]
		if a.Seq, a.Key = seq, k.key; k.result != nil {
			var err error
			if a.Result, err = marshal.Marshal(k.result); err != nil { // no decoded command leads here
				m.damage = fmt.Errorf("table %s: %w", store.Requests, err)
			}
		}
		row.Answers = append(row.Answers, a)
	}
	m.add(store.Requests, of.key(s.id), row)
}

// transient results invite the leader to try the same request again after it
// mended the cause, so they are not remembered.
func transient(r *pb.Result) bool {
	switch r.Code {
	case pb.Code_NOT_ENOUGH_UNUSED, pb.Code_GENERATED_KEY_BOUND, pb.Code_NOT_STAGED, pb.Code_NOT_STOPPED, pb.Code_URLS_NOT_INDEXED:
		return true
	}
	return false
}

// session returns the session of id, a new one if need be, and marks it seen.
func (m *Machine) session(id *pb.RequestID) *session {
	s := m.sessions[id.Session]
	if s == nil {
		s = newSession(id.Session, &pb.Session{LastSeen: math.MinInt64})
		m.sessions[id.Session] = s
	}
	if minute := m.minute(); s.row.LastSeen != minute || s.row.IdleSince != 0 {
		s.row.LastSeen, s.row.IdleSince = minute, 0
		m.changed(s)
	}
	return s
}

// changed has the session's row written at the end of the entry.
func (m *Machine) changed(s *session) {
	if !s.dirty {
		s.dirty = true
		m.dirtySessions = append(m.dirtySessions, s)
	}
}

func (m *Machine) minute() int64 {
	return m.state.Clock - m.state.Clock%time.Minute.Milliseconds()
}

// forgetAnswered drops the answers below answered.
func (m *Machine) forgetAnswered(s *session, answered uint64) {
	if answered <= s.row.Answered {
		return
	}
	if answered-s.row.Answered <= uint64(2*len(s.answers)+16) {
		for seq := s.row.Answered; seq < answered; seq++ {
			m.forget(s, seq)
		}
	} else { // a gap in the numbers: look at what there is
		for _, seq := range slices.Sorted(maps.Keys(s.answers)) {
			if seq < answered {
				m.forget(s, seq)
			}
		}
	}
	s.row.Answered = answered
	m.changed(s)
}

func (m *Machine) forget(s *session, seq uint64) {
	k, ok := s.answers[seq]
	if !ok {
		return
	}
	delete(s.answers, seq)
	if k.row.left--; k.row.left == 0 && !k.row.fresh {
		m.batch.Delete(store.Requests, k.row.key(s.id))
	}
}

// sweepSessions, once a minute of the machine's clock, removes sessions found
// idle twice.
func (m *Machine) sweepSessions() {
	now := m.minute()
	if m.swept == now {
		return
	}
	m.swept = now
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		s := m.sessions[id]
		switch idle := SessionIdle.Milliseconds(); {
		case s.row.IdleSince != 0 && now-s.row.IdleSince > idle:
			for _, seq := range slices.Sorted(maps.Keys(s.answers)) {
				m.forget(s, seq)
			}
			delete(m.sessions, id)
			m.batch.Delete(store.Sessions, requestKey(id, 0)[:8])
		case s.row.IdleSince == 0 && now-s.row.LastSeen > idle:
			s.row.IdleSince = now
			m.changed(s)
		}
	}
}

// applyIdempotent applies cmd unless its idempotency key has been seen.
func (m *Machine) applyIdempotent(cmd *pb.Command) (*pb.Result, error) {
	key := cmd.Idempotency
	if key == nil {
		result, err := m.execute(cmd)
		return m.stamped(result), err
	}
	record := &pb.IdempotencyRecord{}
	found, err := m.getRow(store.Idempotency, []byte(key.Key), record)
	if err != nil {
		return nil, err
	}
	if found {
		return m.replay(cmd, record)
	}
	if m.state.IdempotencyRecords >= MaxIdempotencyRecords {
		return m.stamped(refuse(pb.Code_TOO_MANY_RECORDS, "%d keys; they are kept for %s", m.state.IdempotencyRecords, IdempotencyKept)), nil
	}
	result, err := m.execute(cmd)
	if err != nil {
		return nil, err
	}
	if m.stamped(result); transient(result) {
		return result, nil
	}
	record.Fingerprint = key.Fingerprint
	kept := result
	if created(cmd, result) {
		kept = &pb.Result{Index: result.Index, Term: result.Term, Key: result.Key, Link: &pb.Link{CreatedAt: result.Link.CreatedAt}}
	}
	record.Result, err = marshal.Marshal(kept)
	if err != nil {
		return nil, err
	}
	record.Session, record.Seq = cmd.Request.GetSession(), cmd.Request.GetSeq()
	record.ExpiresAt = m.state.Clock + IdempotencyKept.Milliseconds()
	m.put(store.Idempotency, []byte(key.Key), record)
	m.batch.Put(store.IdempotencyExpiry, timeKey(record.ExpiresAt, []byte(key.Key)), nil)
	m.state.IdempotencyRecords++
	m.expiry = min(m.expiry, record.ExpiresAt)
	return result, nil
}

func (m *Machine) replay(cmd *pb.Command, record *pb.IdempotencyRecord) (*pb.Result, error) {
	if !bytes.Equal(record.Fingerprint, cmd.Idempotency.Fingerprint) {
		key, _, _ := strings.Cut(cmd.Idempotency.Key, "\x01") // as its owner sent it
		return m.stamped(refuse(pb.Code_IDEMPOTENCY_MISMATCH, "%q", key)), nil
	}
	result := &pb.Result{}
	if err := proto.Unmarshal(record.Result, result); err != nil {
		return nil, err
	}
	if created(cmd, result) {
		recreated(cmd, result, result.Link.CreatedAt)
	}
	// The front end's own repeat, across a leader change, is no replay.
	result.Replayed = cmd.Request == nil || record.Session != cmd.Request.Session || record.Seq != cmd.Request.Seq
	return result, nil
}

// sweepIdempotency removes up to limit expired records.
func (m *Machine) sweepIdempotency(limit int) {
	if m.state.Clock < m.expiry {
		return
	}
	m.expiry = math.MaxInt64
	var expired [][]byte
	m.batch.Scan(store.IdempotencyExpiry, nil, nil, func(key, _ []byte) bool {
		at := int64(binary.BigEndian.Uint64(key))
		if at > m.state.Clock || len(expired) == limit {
			m.expiry = at
			return false
		}
		expired = append(expired, slices.Clone(key))
		return true
	})
	for _, key := range expired {
		m.batch.Delete(store.IdempotencyExpiry, key)
		m.batch.Delete(store.Idempotency, key[8:])
		m.state.IdempotencyRecords--
	}
}

// recall answers an entry that was applied before a restart or by a restore.
func (m *Machine) recall(entry *pb.Entry) []*pb.Result {
	results := make([]*pb.Result, len(entry.Commands))
	for i, cmd := range entry.Commands {
		results[i] = refuse(pb.Code_OUTCOME_UNKNOWN, "applied before, its answer is gone")
		if s := m.sessions[cmd.Request.GetSession()]; s != nil {
			if k, ok := s.answers[cmd.Request.GetSeq()]; ok {
				results[i] = k.repeat(cmd)
			}
		}
	}
	return results
}

// stamped notes where in the log the result came about.
func (m *Machine) stamped(r *pb.Result) *pb.Result {
	if r != nil {
		r.Index, r.Term = m.entry.index, m.entry.term
	}
	return r
}
