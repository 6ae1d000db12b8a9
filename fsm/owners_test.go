package fsm

import (
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

func ownedLink(alias, owner string, max uint64) *pb.Command {
	return cmd(&pb.CreateLink{Alias: alias, Link: &pb.Link{Url: "u", Owner: owner}, MaxLinks: max})
}

func TestALinkIsItsOwners(t *testing.T) {
	d := newDriver(t)
	d.ok(ownedLink("anns", "ann", 0))
	d.ok(ownedLink("nobodys", "", 0))
	d.refused(pb.Code_NOT_OWNER, cmd(&pb.UpdateLink{Key: "anns", As: "bob"}))
	d.refused(pb.Code_NOT_OWNER, cmd(&pb.DeleteLink{Key: "anns", As: "bob"}))
	for _, as := range []string{"ann", ""} {
		equal(t, d.ok(cmd(&pb.UpdateLink{Key: "anns", As: as})).Link.Owner, "ann")
	}
	d.ok(cmd(&pb.UpdateLink{Key: "nobodys", As: "bob"}))
	d.ok(cmd(&pb.DeleteLink{Key: "nobodys", As: "bob"}))
	d.ok(cmd(&pb.DeleteLink{Key: "anns", As: "ann"}))
	d.refused(pb.Code_LINK_NOT_FOUND, cmd(&pb.DeleteLink{Key: "anns", As: "bob"}))
	found := cmd(&pb.CreateLink{Alias: "shared", Link: &pb.Link{Url: "u", Owner: "ann"}, FindIfExists: true})
	d.ok(found)
	equal(t, d.ok(found).Found, true)
	found.GetCreateLink().Link.Owner = "bob"
	d.refused(pb.Code_ALIAS_TAKEN, found)
}

func TestAnOwnerHasNoMoreLinksThanHisTokenAllows(t *testing.T) {
	d := newDriver(t)
	d.ok(ownedLink("a", "ann", 2))
	d.ok(ownedLink("b", "ann", 2))
	d.refused(pb.Code_TOO_MANY_LINKS, ownedLink("c", "ann", 2))
	d.ok(ownedLink("c", "bob", 2))
	d.ok(ownedLink("d", "ann", 0)) // another token of hers
	d.refused(pb.Code_TOO_MANY_LINKS, ownedLink("e", "ann", 3))
	d.ok(deleteLink("a"))
	d.reopen()
	d.ok(ownedLink("e", "ann", 3))
	d.refused(pb.Code_TOO_MANY_LINKS, ownedLink("f", "ann", 3))
	results := d.apply(deleteLink("b"), ownedLink("g", "bob", 0), deleteLink("d"), deleteLink("e"))
	for _, r := range results {
		equal(t, r.Code, pb.Code_OK)
	}
	equal(t, d.count(store.Owners), 1) // ann has none
}

func TestAReceiptIsItsOwners(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 20))
	g := d.ok(cmd(&pb.Lease{Keyspace: digits, Count: 3, Direct: true, Owner: "ann"})).Grants[0]
	row := d.rows(store.UsedKeys, digits)[0].Used
	equal(t, row.Owner, "ann")
	receipt := Receipt{Space: 1, Grants: []Grant{{g.Lease, g.From, g.Count}}}
	back := func(pos uint64, as, of string) *pb.Command {
		return cmd(&pb.ReturnKeys{Receipt: receipt.SealFor(of, nil, testSecret), Keys: []string{d.key(digits, g.From+pos)}, As: as})
	}
	d.refused(pb.Code_INVALID_RECEIPT, back(0, "bob", "ann"))
	d.refused(pb.Code_INVALID_RECEIPT, back(0, "", "ann"))
	d.ok(back(0, "ann", "ann"))
	d.ok(back(1, "ann", "")) // from the time before tokens were looked at
	d.ok(back(2, "", ""))
}
