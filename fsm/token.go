package fsm

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// The text of a token: "kgs_", an id by which its row is found, "_", and a secret
// of which the row has the SHA-256. As the secret is 32 random bytes, a plain
// hash does: nobody can try them all.
const (
	tokenPrefix   = "kgs_"
	tokenIDLength = 8
	tokenSecret   = 32 // bytes
	tokenLength   = len(tokenPrefix) + tokenIDLength + 1 + (tokenSecret*8+5)/6
)

// NewToken draws a token. It is not for the machine, which draws nothing.
func NewToken() (text string) {
	var secret [tokenSecret]byte
	rand.Read(secret[:])
	id := make([]byte, 0, tokenIDLength)
	var b [1]byte
	for len(id) < tokenIDLength {
		rand.Read(b[:])
		if n := int(b[0] & 63); n < len(keyspace.Base62) { // else some characters would come more often
			id = append(id, keyspace.Base62[n])
		}
	}
	return tokenPrefix + string(id) + "_" + base64.RawURLEncoding.EncodeToString(secret[:])
}

// ParseToken takes a token's text apart; false: it is none.
func ParseToken(text string) (id string, hash [sha256.Size]byte, ok bool) {
	const end = len(tokenPrefix) + tokenIDLength
	if len(text) != tokenLength || text[:len(tokenPrefix)] != tokenPrefix || text[end] != '_' || !isTokenID(text[len(tokenPrefix):end]) {
		return "", hash, false
	}
	var secret [tokenLength - end - 1]byte // no copy on the heap
	copy(secret[:], text[end+1:])
	return text[len(tokenPrefix):end], sha256.Sum256(secret[:]), true
}

func isTokenID(id string) bool {
	return len(id) == tokenIDLength && strings.Trim(id, keyspace.Base62) == ""
}

// Bearer is what a token says of who has it.
type Bearer struct {
	Role     pb.Role // NO_ROLE: the token is not valid
	Owner    string  // of what he creates, see owners.go
	MaxLinks uint64  // 0: any number
}

// Authenticate finds a token's bearer at a time, Unix milliseconds: the zero one
// if the token is not, or no longer, valid. known: there is a token of this id
// here, or it is no token at all, so that a fresher state would not say otherwise.
func (m *Machine) Authenticate(text string, now int64) (b Bearer, known bool) {
	id, hash, ok := ParseToken(text)
	if !ok {
		return Bearer{}, true
	}
	m.mu.RLock()
	row := m.published.tokens[id]
	m.mu.RUnlock()
	if row == nil {
		return Bearer{}, false
	}
	if subtle.ConstantTimeCompare(row.Hash, hash[:]) == 0 || tokenExpired(row, now) {
		return Bearer{}, true
	}
	return Bearer{row.Role, cmp.Or(row.Name, id), row.MaxLinks}, true
}

// IdentifiedToken is a token's row with its id. Do not change it.
type IdentifiedToken struct {
	ID string
	*pb.Token
}

// Tokens returns all tokens, those that have expired among them, the oldest first.
func (m *Machine) Tokens() []IdentifiedToken {
	m.mu.RLock()
	defer m.mu.RUnlock()
	tokens := make([]IdentifiedToken, 0, len(m.published.tokens))
	for id, row := range m.published.tokens {
		tokens = append(tokens, IdentifiedToken{id, row})
	}
	slices.SortFunc(tokens, func(a, b IdentifiedToken) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return tokens
}

// HasAdmin tells whether some admin token is valid at a time, Unix milliseconds.
func (m *Machine) HasAdmin(now int64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return hasAdmin(m.published.tokens, "", now)
}
