package fsm

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"
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

// session is a front end's process in memory: its row and its results that it
// has not said to have got.
type session struct {
	id      uint64
	row     *pb.Session
	results map[uint64]*pb.Result
	dirty   bool // the row changed in the present entry
}

func (m *Machine) loadSessions() error {
	m.sessions = map[uint64]*session{}
	err := scanRows(m.db, store.Sessions, func(key []byte, row *pb.Session) error {
		m.sessions[binary.BigEndian.Uint64(key)] = &session{id: binary.BigEndian.Uint64(key), row: row, results: map[uint64]*pb.Result{}}
		return nil
	})
	if err != nil {
		return err
	}
	return scanRows(m.db, store.Requests, func(key []byte, row *pb.Result) error {
		if s := m.sessions[binary.BigEndian.Uint64(key)]; s != nil {
			s.results[binary.BigEndian.Uint64(key[8:])] = row
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
	if result, ok := s.results[id.Seq]; ok {
		return result, nil
	}
	if len(s.results) >= MaxSessionResults {
		return m.stamped(refuse(pb.Code_TOO_MANY_RECORDS, "session %x has %d unanswered requests", id.Session, len(s.results))), nil
	}
	result, err := m.applyIdempotent(cmd)
	if err != nil {
		return nil, err
	}
	if !transient(result) {
		s.results[id.Seq] = result
		m.put(store.Requests, requestKey(id.Session, id.Seq), result)
	}
	return result, nil
}

// transient results invite the leader to try the same request again after it
// mended the cause, so they are not remembered.
func transient(r *pb.Result) bool {
	switch r.Code {
	case pb.Code_NOT_ENOUGH_UNUSED, pb.Code_GENERATED_KEY_BOUND, pb.Code_NOT_STAGED, pb.Code_NOT_STOPPED:
		return true
	}
	return false
}

// session returns the session of id, a new one if need be, and marks it seen.
func (m *Machine) session(id *pb.RequestID) *session {
	s := m.sessions[id.Session]
	if s == nil {
		s = &session{id: id.Session, row: &pb.Session{LastSeen: math.MinInt64}, results: map[uint64]*pb.Result{}}
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

// forgetAnswered drops the results below answered.
func (m *Machine) forgetAnswered(s *session, answered uint64) {
	if answered <= s.row.Answered {
		return
	}
	if answered-s.row.Answered <= uint64(2*len(s.results)+16) {
		for seq := s.row.Answered; seq < answered; seq++ {
			m.forget(s, seq)
		}
	} else { // a gap in the numbers: look at what there is
		for _, seq := range slices.Sorted(maps.Keys(s.results)) {
			if seq < answered {
				m.forget(s, seq)
			}
		}
	}
	s.row.Answered = answered
	m.changed(s)
}

func (m *Machine) forget(s *session, seq uint64) {
	if _, ok := s.results[seq]; ok {
		delete(s.results, seq)
		m.batch.Delete(store.Requests, requestKey(s.id, seq))
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
			for _, seq := range slices.Sorted(maps.Keys(s.results)) {
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
	record.Result, err = marshal.Marshal(result)
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
		return m.stamped(refuse(pb.Code_IDEMPOTENCY_MISMATCH, "%q", cmd.Idempotency.Key)), nil
	}
	result := &pb.Result{}
	if err := proto.Unmarshal(record.Result, result); err != nil {
		return nil, err
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
			if result, ok := s.results[cmd.Request.GetSeq()]; ok {
				results[i] = result
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
