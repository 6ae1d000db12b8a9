package fsm

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

const (
	// maxFound bounds the links of one URL that a find_if_exists looks at.
	maxFound = 100

	// indexStep is how many links one entry has enter the index of URLs.
	indexStep = 5000
)

// indexesURLs tells whether links enter the index of URLs. Its rows cost as much as
// the links' own, so there are none before the first find_if_exists.
func (m *Machine) indexesURLs() bool { return inUse(m.state) < 2 || m.state.UrlsIndexed }

// isURLIndexFull tells whether all links are in the index of URLs.
func isURLIndexFull(state *pb.ClusterState) bool {
	return inUse(state) < 2 || state.UrlsIndexed && state.IndexUrlsFrom == ""
}

// indexURLs has links of before the first find_if_exists enter the index of URLs, a
// step an entry; false: some are left.
func (m *Machine) indexURLs() (done bool, err error) {
	if isURLIndexFull(m.state) {
		return true, nil
	}
	if m.entry.indexed {
		return false, nil
	}
	seen, next := 0, ""
	var rows [][]byte
	m.batch.Scan(store.Links, []byte(m.state.IndexUrlsFrom), nil, func(key, value []byte) bool {
		if seen == indexStep {
			next = string(key)
			return false
		}
		seen++
		link := &pb.Link{}
		if err = proto.Unmarshal(value, link); err != nil {
			return false
		}
		if link.DeletedAt == 0 {
			rows = append(rows, urlKey(link.Url, string(key)))
		}
		return true
	})
	if err != nil {
		return false, err
	}
	for _, row := range rows {
		m.batch.Put(store.LinkURLs, row, nil)
	}
	m.state.UrlsIndexed, m.state.IndexUrlsFrom = true, next
	m.entry.indexed, m.unpublished = true, true
	return next == "", nil
}

// findLink finds a link that does what the wanted one would: of the same URL,
// owner, status of redirect, forwarding and limits, with at least its tags, and
// with visits left; under the alias or taken key, if one is asked for. Of several
// it is the first in the order of keys. nil: there is none.
func (m *Machine) findLink(op *pb.CreateLink, want *pb.Link) (*pb.Result, error) {
	keys := []string{m.linkKey(op.Alias + op.TakenKey)} // one of them is empty
	if keys[0] == "" {
		if done, err := m.indexURLs(); !done || err != nil {
			return &pb.Result{Code: pb.Code_URLS_NOT_INDEXED}, err
		}
		keys = m.keysOf(want.Url)
	}
	for _, key := range keys {
		link, _, err := m.getLink(key)
		if err != nil {
			return nil, err
		}
		if link != nil && doesAs(link, want) {
			return &pb.Result{Key: key, Link: link, Found: true}, nil
		}
	}
	return nil, nil
}

// keysOf are keys of links with the URL, and perhaps of a few others.
func (m *Machine) keysOf(url string) (keys []string) {
	prefix := urlKey(url, "")
	m.batch.Scan(store.LinkURLs, prefix, nil, func(key, _ []byte) bool {
		if !bytes.HasPrefix(key, prefix) || len(keys) == maxFound {
			return false
		}
		keys = append(keys, string(key[urlHash:]))
		return true
	})
	return keys
}

func doesAs(link, want *pb.Link) bool {
	return link.Url == want.Url && link.Owner == want.Owner && status(link) == status(want) &&
		link.ExpiresAt == want.ExpiresAt && link.NotBefore == want.NotBefore &&
		link.ForwardQuery == want.ForwardQuery && link.MaxVisits == want.MaxVisits && (link.MaxVisits == 0 || link.Visits < link.MaxVisits) &&
		!slices.ContainsFunc(want.Tags, func(tag string) bool { return !slices.Contains(link.Tags, tag) })
}

func status(link *pb.Link) uint32 {
	if link.Redirect == 0 {
		return 302
	}
	return link.Redirect
}

// HasURL says whether some link may have the URL.
func (m *Machine) HasURL(url string) (found bool, err error) {
	if !m.urlsIndexed.Load() {
		return true, nil
	}
	prefix := urlKey(url, "")
	err = m.db.Scan(store.LinkURLs, prefix, nil, func(key, _ []byte) bool {
		found = bytes.HasPrefix(key, prefix)
		return false
	})
	return found, err
}
