package httpapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	wantTime     = `a time like "2027-01-31T12:00:00Z", or "" for none`
	wantDuration = `a duration like "24h" or "90s"`

	maxTTL    = 100 * 365 * 24 * time.Hour
	maxVisits = 1_000_000_000
)

// checkLimits reads the limits. Whether they lie in the future is for the state
// machine to say: it gives a repeat the answer of the first time.
func (f *linkFields) checkLimits() (err error) {
	if f.expiresAt != nil && f.ttl != nil {
		return invalidf("expires_at and ttl are both given: choose one")
	}
	if f.expires, err = readTime("expires_at", f.expiresAt); err != nil {
		return err
	}
	if f.starts, err = readTime("not_before", f.notBefore); err != nil {
		return err
	}
	if f.ttl != nil {
		ttl, err := time.ParseDuration(*f.ttl)
		if err != nil {
			return invalidf("field \"ttl\": want %s", wantDuration)
		}
		if ttl < time.Millisecond || ttl > maxTTL {
			return invalidf("ttl: want between a millisecond and 100 years")
		}
		ms := ttl.Milliseconds()
		f.lives = &ms
	}
	f.visits, err = readVisits("max_visits", f.maxVisits)
	return err
}

// readVisits reads a member that is a number of visits: nil if it is absent.
func readVisits(name string, n *int) (*uint64, error) {
	if n == nil {
		return nil, nil
	}
	if *n < 0 || *n > maxVisits {
		return nil, invalidf("%s: want 1 to %d, or 0 for no limit", name, maxVisits).of(name)
	}
	visits := uint64(*n)
	return &visits, nil
}

// readTime reads a member that is a time: nil if it is absent, 0 if it is "".
func readTime(name string, text *string) (*int64, error) {
	var ms int64
	switch {
	case text == nil:
		return nil, nil
	case *text == "":
		return &ms, nil
	}
	at, err := time.Parse(time.RFC3339, *text)
	if err != nil || at.Year() < 1970 || at.Year() > 9999 {
		return nil, invalidf("field %q: want %s", name, wantTime).of(name)
	}
	if ms = at.UnixMilli(); ms == 0 {
		ms = 1 // 0 would be no limit
	}
	return &ms, nil
}

// isLimited: whether the link redirects depends on more than that it is there.
func isLimited(link *pb.Link) bool {
	return link.GetExpiresAt() != 0 || link.GetNotBefore() != 0 || link.GetMaxVisits() != 0
}

// usable is the link if it redirects now. Where visits are limited the log counts
// this one, unless it is only a look (HEAD, a preview).
func (s *Server) usable(ctx context.Context, key string, link *pb.Link, visits bool) (*pb.Link, error) {
	if fsm.Unusable(link, time.Now().UnixMilli()) != nil {
		// The limit may have been changed through another node. Without a leader
		// what this one knows must do.
		if _, fresh, err := s.service.Link(ctx, cluster.Linearizable, key); err == nil {
			link = fresh
		} else if errors.Is(err, fsm.ErrLinkNotFound) {
			return nil, err
		}
	}
	if err := fsm.Unusable(link, time.Now().UnixMilli()); err != nil {
		return nil, fmt.Errorf("%w: %s", err, key)
	}
	if link.MaxVisits == 0 || !visits {
		return link, nil
	}
	outcome := s.service.VisitLink(ctx, key)
	return outcome.Link, outcome.Err
}
