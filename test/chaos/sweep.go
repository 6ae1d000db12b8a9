package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

const oracleEqual = "P8 replicas are equal"

// awaitEqual waits until nothing is under way: all nodes have applied the same
// entries. Then their digests must be the same.
func (r *run) awaitEqual() {
	r.tb.Helper()
	var digests []client.Digest
	r.within(caughtUpWithin, "equal replicas", func() (bool, string) {
		digests = nil
		for _, n := range r.cluster.Nodes {
			digest, err := readDigest(n)
			if err != nil {
				return false, err.Error()
			}
			digests = append(digests, digest)
		}
		return !slices.ContainsFunc(digests, func(d client.Digest) bool { return d.Index != digests[0].Index }), "the nodes have not applied the same entries"
	})
	for i, n := range r.cluster.Nodes {
		r.checked(oracleEqual, 1)
		if digests[i] != digests[0] {
			r.violatef(oracleEqual, "at index %d the state of %s has chain %s, that of %s %s",
				digests[0].Index, r.cluster.Nodes[0].ID, digests[0].Chain, n.ID, digests[i].Chain)
		}
	}
}

// readDigest asks a node for its own.
func readDigest(n *proc.Node) (client.Digest, error) {
	api := connect(n.URL)
	defer api.Close()
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	status, err := api.ClusterStatus(ctx)
	return status.Digest, err
}

// sweepers ask the nodes at the same time.
const sweepers = 8

// sweep reads every link from every node, in both ways, and compares: with what
// clients were told, and the nodes with each other. Then it asks for the list
// of links: there must be none that nobody asked for.
func (r *run) sweep() {
	links, unclear := r.ledger.all()
	var next atomic.Int64
	var sweeping sync.WaitGroup
	for range sweepers {
		sweeping.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(links)); i = next.Add(1) - 1 {
				r.sweepLink(links[i])
			}
		})
	}
	sweeping.Wait()
	for _, n := range r.cluster.Nodes {
		r.sweepList(n, unclear)
	}
}

func (r *run) sweepLink(l *link) {
	possible := l.possible()
	var first string
	for i, n := range r.cluster.Nodes {
		value, err := readBoth(n, l.key)
		r.checked(oracleLinks, 1)
		switch {
		case err != nil:
			r.violatef(oracleLinks, "%s through %s: %v", l.key, n.ID, err)
		case !slices.Contains(possible, value):
			r.violatef(oracleLinks, "%s through %s: %q; clients were told %q", l.key, n.ID, value, possible)
		case i == 0:
			first = value
		case value != first:
			r.violatef(oracleEqual, "%s is %q through %s, %q through %s", l.key, first, r.cluster.Nodes[0].ID, value, n.ID)
		}
	}
}

// readBoth reads a link by its redirect and through the API.
func readBoth(n *proc.Node, key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	redirect, err := plainRequest(ctx, http.MethodGet, n.URL+"/"+key, "")
	if err != nil && !client.HasCode(err, "link_not_found") {
		return "", err
	}
	shown, err := plainRequest(ctx, http.MethodGet, n.URL+"/v1/links/"+key, "")
	if err != nil && !client.HasCode(err, "link_not_found") {
		return "", err
	}
	var stored client.Link
	if err == nil {
		if err := json.Unmarshal([]byte(shown.body), &stored); err != nil {
			return "", err
		}
	}
	if value := redirect.header.Get("Location"); value != stored.URL {
		return "", fmt.Errorf("it redirects to %q, the API shows %q", value, stored.URL)
	}
	return stored.URL, nil
}

// sweepList checks the list of links of a node: none is there that nobody asked
// for, and of a creation with an unknown outcome there is one at most.
func (r *run) sweepList(n *proc.Node, unclear map[string]bool) {
	api := connect(n.URL)
	defer api.Close()
	seen := map[string]string{} // URL -> key, of those under keys that nobody was told
	query := client.LinkQuery{Limit: 1000}
	for {
		page, err := api.ListLinks(context.Background(), query, client.WithLocalRead())
		if err != nil {
			r.violatef(oracleLinks, "list of links of %s: %v", n.ID, err)
			return
		}
		for _, listed := range page.Links {
			r.checked(oracleLinks, 1)
			l := r.ledger.link(listed.Key)
			before, twice := seen[listed.URL]
			switch {
			case l != nil && !slices.Contains(l.possible(), listed.URL):
				r.violatef(oracleLinks, "%s lists %s as %q; clients were told %q", n.ID, listed.Key, listed.URL, l.possible())
			case l == nil && !unclear[listed.URL]:
				r.violatef(oracleLinks, "%s lists %s, to %s, which was never created or was refused", n.ID, listed.Key, listed.URL)
			case l == nil && twice:
				r.violatef(oracleReplay, "%s lists %s and %s for one request, to %s", n.ID, before, listed.Key, listed.URL)
			case l == nil:
				seen[listed.URL] = listed.Key
			}
		}
		if query.Cursor = page.NextCursor; query.Cursor == "" {
			return
		}
	}
}
