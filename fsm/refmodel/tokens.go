package refmodel

import (
	"regexp"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	maxTokens    = 10_000
	maxTokenName = 256
	maxTokenTTL  = 100 * 365 * 24 * hour
)

var tokenID = regexp.MustCompile("^[0-9A-Za-z]{8}$")

func (m *Model) createToken(op *pb.CreateToken) *pb.Result {
	if !tokenID.MatchString(op.Id) || len(op.Hash) != 32 || op.Role < pb.Role_READ || op.Role > pb.Role_ADMIN ||
		len(op.Name) > maxTokenName || op.Ttl < 0 || op.Ttl > maxTokenTTL || m.Tokens[op.Id] != nil {
		return code(pb.Code_INVALID)
	}
	left := map[string]*pb.Token{}
	for id, t := range m.Tokens {
		if m.valid(t) {
			left[id] = t
		}
	}
	if len(left) >= maxTokens {
		return code(pb.Code_TOO_MANY_TOKENS)
	}
	t := &pb.Token{Hash: op.Hash, Role: op.Role, Name: op.Name, CreatedAt: m.State.Clock, MaxLinks: op.MaxLinks}
	if op.Ttl != 0 {
		t.ExpiresAt = m.State.Clock + op.Ttl
	}
	left[op.Id] = t
	m.Tokens = left
	told := proto.CloneOf(t)
	told.Hash = nil
	return &pb.Result{Token: told}
}

func (m *Model) valid(t *pb.Token) bool {
	return t.ExpiresAt == 0 || t.ExpiresAt > m.State.Clock
}

func (m *Model) revokeToken(id string) *pb.Result {
	t := m.Tokens[id]
	if t == nil {
		return code(pb.Code_TOKEN_NOT_FOUND)
	}
	admins := 0
	for _, other := range m.Tokens {
		if other.Role == pb.Role_ADMIN && m.valid(other) {
			admins++
		}
	}
	if t.Role == pb.Role_ADMIN && m.valid(t) && admins == 1 {
		return code(pb.Code_LAST_ADMIN)
	}
	delete(m.Tokens, id)
	return &pb.Result{}
}
