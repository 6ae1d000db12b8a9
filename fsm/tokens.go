package fsm

import (
	"crypto/sha256"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

const (
	// MaxTokens bounds the tokens that are valid at once: each node has them in memory.
	MaxTokens = 10_000
	// MaxTokenName bounds a token's name, in bytes.
	MaxTokenName = 256
	// MaxTokenTTL is the longest that a token may be valid, unless it is for ever.
	MaxTokenTTL = 100 * 365 * 24 * time.Hour
)

func (m *Machine) loadTokens() error {
	m.tokens = map[string]*pb.Token{}
	return scanRows(m.db, store.Tokens, func(id []byte, row *pb.Token) error {
		m.tokens[string(id)] = row
		return nil
	})
}

// createToken adds a token under the id and hash that its maker drew.
func (m *Machine) createToken(op *pb.CreateToken) *pb.Result {
	_, known := pb.Role_name[int32(op.Role)]
	switch {
	case !isTokenID(op.Id) || len(op.Hash) != sha256.Size:
		return refuse(pb.Code_INVALID, "a token needs an id and the hash of its secret")
	case !known || op.Role == pb.Role_NO_ROLE:
		return refuse(pb.Code_INVALID, "a token without a role")
	case len(op.Name) > MaxTokenName || op.Ttl < 0 || op.Ttl > MaxTokenTTL.Milliseconds():
		return refuse(pb.Code_INVALID, "a token's name has at most %d bytes, its time is 0 to %s", MaxTokenName, MaxTokenTTL)
	case m.tokens[op.Id] != nil:
		return refuse(pb.Code_INVALID, "there is a token %s", op.Id)
	}
	expired := m.expiredTokens()
	if len(m.tokens)-len(expired) >= MaxTokens {
		return refuse(pb.Code_TOO_MANY_TOKENS, "there are %d", MaxTokens)
	}
	for _, id := range expired {
		m.deleteToken(id)
	}
	row := &pb.Token{Hash: op.Hash, Role: op.Role, Name: op.Name, CreatedAt: m.state.Clock, MaxLinks: op.MaxLinks}
	if op.Ttl > 0 {
		row.ExpiresAt = m.state.Clock + op.Ttl
	}
	m.put(store.Tokens, []byte(op.Id), row)
	m.tokens[op.Id] = row
	m.unpublished = true
	told := proto.CloneOf(row)
	told.Hash = nil
	return &pb.Result{Token: told}
}

// expiredTokens are their ids, in order.
func (m *Machine) expiredTokens() (ids []string) {
	for id, row := range m.tokens {
		if tokenExpired(row, m.state.Clock) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func tokenExpired(row *pb.Token, clock int64) bool {
	return row.ExpiresAt != 0 && row.ExpiresAt <= clock
}

func (m *Machine) deleteToken(id string) {
	m.batch.Delete(store.Tokens, []byte(id))
	delete(m.tokens, id)
	m.unpublished = true
}

// revokeToken forgets a token, unless nobody could make another one then.
func (m *Machine) revokeToken(op *pb.RevokeToken) *pb.Result {
	row := m.tokens[op.Id]
	if row == nil {
		return refuse(pb.Code_TOKEN_NOT_FOUND, "%s", op.Id)
	}
	if isAdmin(row, m.state.Clock) && !hasAdmin(m.tokens, op.Id, m.state.Clock) {
		return refuse(pb.Code_LAST_ADMIN, "%s", op.Id)
	}
	m.deleteToken(op.Id)
	return &pb.Result{}
}

func isAdmin(row *pb.Token, clock int64) bool {
	return row.Role == pb.Role_ADMIN && !tokenExpired(row, clock)
}

// hasAdmin: there is a valid admin token with another id.
func hasAdmin(tokens map[string]*pb.Token, but string, clock int64) bool {
	for id, row := range tokens {
		if id != but && isAdmin(row, clock) {
			return true
		}
	}
	return false
}
