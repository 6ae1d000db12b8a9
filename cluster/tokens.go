package cluster

import (
	"context"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Authenticate finds the bearer of a token, the zero one if the token is
// not valid. It asks nobody unless the token's id is unknown here; then all that
// ask share one read index, so strangers cannot make the leader busy. An error
// says that this node could not catch up.
func (n *Node) Authenticate(ctx context.Context, token string) (fsm.Bearer, error) {
	bearer, known := n.machine.Authenticate(token, n.cfg.Now().UnixMilli())
	if known {
		return bearer, nil
	}
	if err := n.catchUp(ctx, Linearizable); err != nil {
		return fsm.Bearer{}, err
	}
	bearer, _ = n.machine.Authenticate(token, n.cfg.Now().UnixMilli())
	return bearer, nil
}

// CreateToken makes a token. If its outcome is unknown nobody knows its text: the
// caller asks for another one, and revokes this one if Tokens shows it.
func (n *Node) CreateToken(ctx context.Context, r TokenRequest) (CreatedToken, error) {
	text := fsm.NewToken()
	cmd, id := createToken(text, r)
	a := n.propose(ctx, []*pb.Command{cmd})[0]
	if a.err == nil {
		a.err = fsm.ResultError(a.result)
	}
	if a.err != nil {
		return CreatedToken{}, a.err
	}
	return CreatedToken{Text: text, ID: id, Row: a.result.Token, Index: a.result.Index}, nil
}

func createToken(text string, r TokenRequest) (cmd *pb.Command, id string) {
	id, hash, _ := fsm.ParseToken(text) // it is one of ours
	return &pb.Command{Op: &pb.Command_CreateToken{CreateToken: &pb.CreateToken{
		Id: id, Hash: hash[:], Role: r.Role, Name: r.Name, Ttl: r.TTL.Milliseconds(), MaxLinks: r.MaxLinks}}}, id
}

// RevokeToken makes a token invalid for good, unless it is the last valid one of
// an admin.
func (n *Node) RevokeToken(ctx context.Context, id string, idem *Idempotency) Outcome {
	return n.mutate(ctx, idem, &pb.Command{Op: &pb.Command_RevokeToken{RevokeToken: &pb.RevokeToken{Id: id}}})
}

// Tokens returns all tokens, the oldest first.
func (n *Node) Tokens(ctx context.Context, l Level) ([]fsm.IdentifiedToken, error) {
	if err := n.catchUp(ctx, l); err != nil {
		return nil, err
	}
	return n.machine.Tokens(), nil
}
