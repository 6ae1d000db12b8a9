package refmodel

import (
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

func (m *Model) createLink(op *pb.CreateLink) *pb.Result {
	if op.Link == nil {
		return code(pb.Code_INVALID)
	}
	var key string
	var refusal pb.Code
	switch {
	case op.Alias != "":
		key, refusal = op.Alias, m.checkAlias(op.Alias)
	case op.TakenKey != "":
		key, refusal = op.TakenKey, m.checkTaken(op)
	default:
		key, refusal = op.Generated.GetKey(), m.checkGenerated(op.Keyspace, op.Generated)
	}
	if refusal != pb.Code_OK {
		return code(refusal)
	}
	for _, s := range m.Spaces {
		if pos, ok := s.Perm.Position(key); ok && op.Alias != "" {
			m.newRow(s, pb.Purpose_ALIAS)
			s.set(pos)
		}
	}
	link := madeFrom(op, m.State.Clock)
	m.Links[key] = link
	m.State.Links++
	return &pb.Result{Key: key, Link: link}
}

func madeFrom(op *pb.CreateLink, at int64) *pb.Link {
	link := proto.CloneOf(op.Link)
	link.CreatedAt, link.UpdatedAt, link.DeletedAt, link.Alias = at, 0, 0, op.Alias != ""
	return link
}

func (m *Model) checkAlias(key string) pb.Code {
	for _, s := range m.Spaces {
		if pos, ok := s.Perm.Position(key); ok && s.Used(pos) != nil {
			return pb.Code_ALIAS_TAKEN
		}
	}
	if m.Links[key] != nil {
		return pb.Code_ALIAS_TAKEN
	}
	return pb.Code_OK
}

func (m *Model) checkTaken(op *pb.CreateLink) pb.Code {
	key, s := op.TakenKey, m.Space(op.Keyspace)
	if s == nil {
		return pb.Code_KEYSPACE_NOT_FOUND
	}
	pos, ok := s.Perm.Position(key)
	switch {
	case !ok:
		return pb.Code_NOT_IN_KEYSPACE
	case s.Used(pos) == nil || s.Used(pos).Purpose != pb.Purpose_LEASE:
		return pb.Code_KEY_NOT_TAKEN
	}
	switch u := s.Used(pos); {
	case u.Term == m.term && u.Index > op.BufferedTo && !u.Direct:
		return pb.Code_KEY_NOT_TAKEN
	case m.Links[key] != nil:
		return pb.Code_KEY_BOUND
	}
	return pb.Code_OK
}

func (m *Model) checkGenerated(space string, g *pb.GeneratedKey) pb.Code {
	s := m.Space(space)
	if s == nil {
		return pb.Code_KEYSPACE_NOT_FOUND
	}
	if pos, ok := s.Perm.Position(g.GetKey()); !ok || pos != g.GetPosition() {
		return pb.Code_INVALID
	}
	u := s.Used(g.GetPosition())
	if u == nil || u.Purpose != pb.Purpose_LEASE || u.Lease != g.GetLease() || m.Links[g.GetKey()] != nil {
		return pb.Code_GENERATED_KEY_BOUND
	}
	return pb.Code_OK
}

func (m *Model) updateLink(op *pb.UpdateLink) *pb.Result {
	old := m.Links[op.Key]
	if old == nil || old.DeletedAt != 0 {
		return code(pb.Code_LINK_NOT_FOUND)
	}
	link := proto.CloneOf(old)
	if op.Url != nil {
		link.Url = *op.Url
	}
	if op.Title != nil {
		link.Title = *op.Title
	}
	if op.Redirect != nil {
		link.Redirect = *op.Redirect
	}
	if op.SetTags {
		link.Tags = op.Tags
	}
	link.UpdatedAt = m.State.Clock
	m.Links[op.Key] = link
	return &pb.Result{Key: op.Key, Link: link}
}

func (m *Model) deleteLink(key string) *pb.Result {
	old := m.Links[key]
	if old == nil || old.DeletedAt != 0 {
		return code(pb.Code_LINK_NOT_FOUND)
	}
	m.Links[key] = &pb.Link{CreatedAt: old.CreatedAt, DeletedAt: max(m.State.Clock, 1), Alias: old.Alias}
	m.State.Links--
	return &pb.Result{Key: key}
}
