package fsm

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// A key of a case-insensitive key space has one link, whichever way it is written
// when the link is made, asked for, changed, visited and deleted.
func TestLinksInEitherCase(t *testing.T) {
	d := newDriver(t)
	d.ok(createKeyspace(codes))
	d.ok(generate("codes", 100))
	r := d.ok(lease("codes", 10))
	keys := d.keysOf("codes", r)
	loud := func(key string) string { return strings.ToUpper(key) }
	ahead := d.key("codes", 5000)

	equal(t, d.ok(taken("codes", loud(keys[0]))).Key, keys[0])
	d.refused(pb.Code_KEY_BOUND, taken("codes", keys[0]))
	d.refused(pb.Code_KEY_BOUND, taken("codes", "C-"+keys[0][2:]))
	equal(t, d.ok(alias(loud(ahead))).Key, ahead)
	equal(t, d.state("codes", loud(ahead)), "ALIAS")
	for _, key := range []string{keys[0], ahead, keys[1]} { // with a link, as an alias, leased
		d.refused(pb.Code_ALIAS_TAKEN, alias(key))
		d.refused(pb.Code_ALIAS_TAKEN, alias(loud(key)))
	}
	again := alias(loud(ahead))
	again.GetCreateLink().FindIfExists = true
	if r := d.ok(again); !r.Found || r.Key != ahead {
		t.Errorf("found %v", r)
	}
	wrong := d.generated("codes", r.Grants[0].Lease, 2)
	wrong.GetCreateLink().Generated.Key = loud(keys[2])
	d.refused(pb.Code_INVALID, wrong)

	// What is no key of it stays as it is written.
	noKey := ahead[:len(ahead)-1] + string('a'+(ahead[len(ahead)-1]-'a'+1)%26) // the check character
	for _, name := range []string{"Docs", "docs", noKey, loud(noKey)} {
		equal(t, d.ok(alias(name)).Key, name)
	}

	state := must(d.m.Key("codes", loud(keys[0])))
	if state.Key != keys[0] || !state.Link {
		t.Errorf("inspected: %+v", state)
	}
	equal(t, d.ok(cmd(&pb.UpdateLink{Key: loud(keys[0]), MaxVisits: proto.Uint64(2)})).Key, keys[0])
	d.ok(cmd(&pb.VisitLink{Key: loud(keys[0])}))
	equal(t, d.ok(cmd(&pb.VisitLink{Key: keys[0]})).Key, keys[0])
	d.refused(pb.Code_LINK_USED_UP, cmd(&pb.VisitLink{Key: loud(keys[0])}))
	d.ok(addVisits(loud(keys[0]), &pb.Visits{Visits: 3}))
	d.ok(addVisits(keys[0], &pb.Visits{Visits: 4}))
	at, visits, err := d.m.Visits(loud(keys[0]))
	check(t, err)
	equal(t, at, keys[0])
	equal(t, visits.Visits, uint64(7))
	equal(t, d.count(store.LinkVisits), 1)

	receipt := d.receiptOf("codes", r)
	d.refused(pb.Code_NOT_RETURNABLE, returnKeys(receipt, loud(keys[0])))
	d.refused(pb.Code_NOT_RETURNABLE, returnKeys(receipt, keys[3], loud(keys[3])))
	d.ok(returnKeys(receipt, loud(keys[3])))

	equal(t, d.ok(deleteLink(loud(keys[0]))).Key, keys[0])
	for _, key := range []string{keys[0], loud(keys[0])} {
		if _, _, err := d.m.Find(key); !errors.Is(err, ErrLinkDeleted) {
			t.Errorf("%s: %v", key, err)
		}
		d.refused(pb.Code_LINK_NOT_FOUND, deleteLink(key))
		d.refused(pb.Code_KEY_BOUND, taken("codes", key))
	}
	d.checkCounters("codes")
	d.reopen()
	for _, key := range []string{ahead, loud(ahead)} {
		at, link, err := d.m.Find(key)
		check(t, err)
		equal(t, at, ahead)
		equal(t, link.Alias, true)
	}
}

// Aliases of before the key space keep their names, and what they stand for in it
// is never given to another, whichever case is its own.
func TestAliasesOfBeforeACaseInsensitiveKeyspace(t *testing.T) {
	loudCodes := proto.CloneOf(codes)
	loudCodes.Alphabet, loudCodes.Prefix = strings.ToUpper(codes.Alphabet), strings.ToUpper(codes.Prefix)
	for _, row := range []*pb.Keyspace{codes, loudCodes} {
		d := newDriver(t)
		key, two := string(permutationOf(row).AppendKey(nil, 7)), string(permutationOf(row).AppendKey(nil, 8))
		mixed, other := strings.ToUpper(key[:4])+strings.ToLower(key[4:]), swapped(key)
		three := string(permutationOf(row).AppendKey(nil, 9))
		for _, name := range []string{other, mixed, two, swapped(two), swapped(three)} {
			d.ok(alias(name))
		}
		d.ok(createKeyspace(row))
		equal(t, d.state("codes", key), "ALIAS")
		half := key[:1] + other[1:]
		for _, name := range []string{key, other, mixed, half, two, three} {
			d.refused(pb.Code_ALIAS_TAKEN, alias(name))
		}
		for _, name := range []string{other, mixed, two, swapped(two)} {
			at, link, err := d.m.Find(name)
			check(t, err)
			equal(t, at, name)
			equal(t, link.Url, "https://example.com/"+name)
		}
		if _, _, err := d.m.Find(half); !errors.Is(err, ErrLinkNotFound) {
			t.Errorf("a link at %s: %v", half, err)
		}
		d.ok(generate("codes", 50))
		for _, got := range d.keysOf("codes", d.ok(lease("codes", 47))) {
			if got == key || got == two || got == three {
				t.Errorf("%s was given away", got)
			}
		}
		// A link that was deleted hides the other one.
		equal(t, d.ok(deleteLink(swapped(two))).Key, swapped(two))
		d.refused(pb.Code_LINK_NOT_FOUND, deleteLink(swapped(two)))
		if at, _, err := d.m.Find(swapped(two)); !errors.Is(err, ErrLinkDeleted) {
			t.Errorf("found %s: %v", at, err)
		}
		equal(t, d.link(two).Alias, true)
		d.checkCounters("codes")
	}
}

// swapped is the key with all its letters in the other case.
func swapped(key string) string {
	if upper := strings.ToUpper(key); upper != key {
		return upper
	}
	return strings.ToLower(key)
}

// Longer keys, a backup and a recovery: all know that case does not matter.
func TestCaseInsensitivityStays(t *testing.T) {
	small := proto.CloneOf(codes)
	small.Grow = proto.Bool(true)
	d := newDriver(t)
	d.ok(createKeyspace(small))
	other := proto.CloneOf(small)
	other.CaseInsensitive = false
	d.refused(pb.Code_KEYSPACE_EXISTS, createKeyspace(other))
	file := d.backup()
	size := permutationOf(small).Size()
	d.ok(generate("codes", size))
	d.ok(lease("codes", size))
	d.ok(grow("codes", 5))
	longer := d.key("codes", 3)
	equal(t, d.ok(alias(strings.ToUpper(longer))).Key, longer)

	last := newDriver(t)
	last.ok(cmd(&pb.RaiseVersion{Version: 2}))
	equal(t, last.restore(file, 500).Code, pb.Code_OK)
	equal(t, last.keyspace("codes").CaseInsensitive, true)
	last.ok(createKeyspace(small)) // is there, as described
	last.ok(cmd(&pb.RecoverCluster{Node: &pb.Node{Id: "n1"}, Grow: true, Floors: []*pb.Floor{{Keyspace: "codes", Position: size + 5}}}))
	equal(t, last.keyspace("codes").Length, uint32(6))
	equal(t, last.key("codes", 3), longer)
	key := last.key("codes", size)
	equal(t, last.ok(alias(strings.ToUpper(key))).Key, key)

	// Another cluster's of which case matters is another key space.
	fresh := newDriver(t)
	fresh.ok(createKeyspace(other))
	r := fresh.restore(file, 0)
	equal(t, r.Code, pb.Code_RESTORE_REFUSED)
}

// Spellings decide whether key spaces meet.
func TestCaseInsensitiveKeyspacesMeetMore(t *testing.T) {
	d := newDriver(t)
	d.ok(createKeyspace(codes))
	loud := proto.CloneOf(codes)
	loud.Name, loud.Alphabet, loud.Prefix, loud.CaseInsensitive = "loud", strings.ToUpper(codes.Alphabet), "C-", false
	d.refused(pb.Code_KEYSPACES_MEET, createKeyspace(loud))
	both := proto.CloneOf(codes)
	both.Name, both.Prefix = "both", "C-"
	d.refused(pb.Code_INVALID_KEYSPACE, createKeyspace(both))
	loud.Prefix = "K-"
	d.ok(createKeyspace(loud))
	for _, key := range []string{d.key("loud", 3), strings.ToLower(d.key("loud", 3))} { // case matters there
		equal(t, d.ok(alias(key)).Key, key)
	}
}
