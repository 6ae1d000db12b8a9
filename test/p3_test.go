package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

// awkward URLs must come back byte for byte.
var awkward = []string{
	"http://example.com/",
	"https://example.com/a%2Fb?q=%00&x=a+b#frag",
	"https://пример.испытание/путь?ключ=значение",
	"https://example.com/" + strings.Repeat("x", 2000),
	"https://example.com/\"quotes\"<tags>\\back|pipe{}",
	"https://example.com/e\u0301-nicht-normalisiert",
}

// resolves checks that every link is the same on every node, at both levels.
func resolves(t *testing.T, c *harness.Cluster, links map[string]string) {
	t.Helper()
	for _, id := range c.Up() {
		for key, url := range links {
			for _, level := range []cluster.Level{cluster.Local, cluster.Linearizable} {
				_, link, err := c.Node(id).Link(patient(t), level, key)
				if err != nil {
					t.Errorf("%s on %s: %v", key, id, err)
				} else if link.Url != url {
					t.Errorf("%s on %s: %q, want %q", key, id, link.Url, url)
				}
			}
		}
	}
}

// Any one node may be lost with its data directory, the leader or another, at
// the moment of the acknowledgement.
func TestP3_AcknowledgedLinksSurviveTheLossOfANode(t *testing.T) {
	t.Parallel()
	for _, loss := range []string{"leader", "follower"} {
		t.Run(loss, func(t *testing.T) {
			c := harness.Start(t, 3, nil)
			lost := c.WaitLeader()
			if loss == "follower" {
				lost = c.Followers(lost)[0]
			}
			links := map[string]string{}
			for _, url := range awkward {
				for _, id := range c.Up() {
					links[mustCreate(t, c.Node(id), linkTo(url))] = url
				}
				links[mustCreate(t, c.Node(lost), aliasTo(fmt.Sprintf("my-alias-%d", len(links)), url))] = url
			}
			c.Wipe(lost)
			c.WaitLeader()
			resolves(t, c, links)

			// The emptied node comes back as a new one, and has it all.
			if err := c.Node(c.Up()[0]).Remove(patient(t), lost, false); err != nil {
				t.Fatal(err)
			}
			c.RunJoining(lost, nil)
			awaitRole(t, c, lost, voter)
			resolves(t, c, links)
			c.WaitEqual(t)
		})
	}
}

func TestP3_ADeletedLinkStaysDeletedAndItsKeyUsed(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	key := mustCreate(t, c.Node("n1"), linkTo("http://example.com/"))
	if o := c.Node("n2").DeleteLink(patient(t), "", key, nil); o.Err != nil {
		t.Fatal(o.Err)
	}
	for _, id := range c.Up() {
		if _, _, err := c.Node(id).Link(patient(t), cluster.Linearizable, key); !errors.Is(err, fsm.ErrLinkDeleted) {
			t.Errorf("on %s: %v", id, err)
		}
	}
	o := create(patient(t), c.Node("n3"), aliasTo(key, "http://example.org/"), nil)
	if !errors.Is(o.Err, fsm.ErrAliasTaken) {
		t.Errorf("its key as an alias: %v", o.Err)
	}
	o = create(patient(t), c.Node("n3"), &pb.CreateLink{TakenKey: key, Link: &pb.Link{Url: "http://example.org/"}}, nil)
	if !errors.Is(o.Err, fsm.ErrKeyBound) {
		t.Errorf("its key bound anew: %v", o.Err)
	}
}
