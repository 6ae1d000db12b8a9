package fsm

import (
	"encoding/binary"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// ExpiredKept is how long, in the machine's clock, an expired link stays as it
// is, so that its life can still be made longer. Then a tombstone remains.
const ExpiredKept = 30 * 24 * time.Hour

// Unusable says why a link does not redirect at the time, in Unix milliseconds:
// ErrLinkNotYet, ErrLinkExpired, ErrLinkUsedUp, or nil. Its visits are exact only
// in the log, see VisitLink.
func Unusable(link *pb.Link, now int64) error { return codeErrors[unusable(link, now)] }

func unusable(link *pb.Link, now int64) pb.Code {
	switch {
	case now < link.NotBefore:
		return pb.Code_LINK_NOT_YET
	case link.ExpiresAt != 0 && now >= link.ExpiresAt:
		return pb.Code_LINK_EXPIRED
	case link.MaxVisits != 0 && link.Visits >= link.MaxVisits:
		return pb.Code_LINK_USED_UP
	}
	return pb.Code_OK
}

// checkTimes refuses a link that would never redirect.
func (m *Machine) checkTimes(link *pb.Link) *pb.Result {
	if link.ExpiresAt != 0 && (link.ExpiresAt <= m.state.Clock || link.ExpiresAt <= link.NotBefore) {
		return refuse(pb.Code_LINK_TIMES, "it is %s, expires_at %s",
			time.UnixMilli(m.state.Clock).UTC().Format(time.RFC3339), time.UnixMilli(link.ExpiresAt).UTC().Format(time.RFC3339))
	}
	return nil
}

// visitLink counts a visit, if the link may have another one.
func (m *Machine) visitLink(op *pb.VisitLink) (*pb.Result, error) {
	key := m.linkKey(op.Key)
	link, refused, err := m.getLink(key)
	if link == nil {
		return refused, err
	}
	if code := unusable(link, m.state.Clock); code != pb.Code_OK {
		return refuse(code, "%s", key), nil
	}
	if link.MaxVisits != 0 {
		link.Visits++
		m.putLink(LinkChanged, key, link)
	}
	return &pb.Result{Key: key, Link: link}, nil
}

// sweepLinks makes tombstones of up to limit links that expired long ago.
func (m *Machine) sweepLinks(limit int) error {
	now := m.state.Clock - ExpiredKept.Milliseconds()
	if now < m.linkExpiry {
		return nil
	}
	m.linkExpiry = math.MaxInt64
	var due []string
	m.batch.Scan(store.LinkExpiry, nil, nil, func(key, _ []byte) bool {
		if at := int64(binary.BigEndian.Uint64(key)); at > now || len(due) == limit {
			m.linkExpiry = at
			return false
		}
		due = append(due, string(key[8:]))
		return true
	})
	for _, key := range due {
		link := &pb.Link{}
		if _, err := m.getRow(store.Links, []byte(key), link); err != nil {
			return err
		}
		tombstone := m.tombstone(link)
		tombstone.ExpiresAt = link.ExpiresAt
		m.bury(key, link, tombstone)
	}
	return nil
}

// bury puts the tombstone in the place of a link.
func (m *Machine) bury(key string, link, tombstone *pb.Link) {
	m.deleteIndexes(key, link)
	m.batch.Delete(store.LinkVisits, []byte(key))
	m.putLink(LinkDeleted, key, tombstone)
	m.own(link.Owner, -1)
	m.state.Links--
}

// addIndexes writes the index rows of a new link.
func (m *Machine) addIndexes(key string, link *pb.Link) {
	if m.indexesURLs() {
		m.batch.Add(store.LinkURLs, urlKey(link.Url, key), nil)
	}
	m.putTags(key, link.Tags)
	m.putExpiry(key, link)
}

func (m *Machine) putExpiry(key string, link *pb.Link) {
	if link.ExpiresAt != 0 {
		m.batch.Put(store.LinkExpiry, timeKey(link.ExpiresAt, []byte(key)), nil)
		m.linkExpiry = min(m.linkExpiry, link.ExpiresAt)
	}
}

// changeIndexes replaces the index rows of a link that was changed.
func (m *Machine) changeIndexes(key string, old, link *pb.Link) {
	m.deleteIndexes(key, old)
	if m.indexesURLs() {
		m.batch.Put(store.LinkURLs, urlKey(link.Url, key), nil)
	}
	m.putTags(key, link.Tags)
	m.putExpiry(key, link)
}

func (m *Machine) deleteIndexes(key string, link *pb.Link) {
	if m.indexesURLs() {
		m.batch.Delete(store.LinkURLs, urlKey(link.Url, key))
	}
	m.deleteTags(key, link.Tags)
	if link.ExpiresAt != 0 {
		m.batch.Delete(store.LinkExpiry, timeKey(link.ExpiresAt, []byte(key)))
	}
}

// updated is the link as the command changes it.
func updated(link *pb.Link, op *pb.UpdateLink, clock int64) *pb.Link {
	link = proto.CloneOf(link)
	set(&link.Url, op.Url)
	set(&link.Title, op.Title)
	set(&link.Redirect, op.Redirect)
	set(&link.ExpiresAt, op.ExpiresAt)
	set(&link.NotBefore, op.NotBefore)
	set(&link.MaxVisits, op.MaxVisits)
	set(&link.ForwardQuery, op.ForwardQuery)
	if op.Ttl != nil {
		link.ExpiresAt = clock + *op.Ttl
	}
	if op.SetTags {
		link.Tags = op.Tags
	}
	link.UpdatedAt = clock
	return link
}

func set[T any](field *T, to *T) {
	if to != nil {
		*field = *to
	}
}
