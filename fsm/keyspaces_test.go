package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

func TestCreateKeyspace(t *testing.T) {
	d := newDriver(t)
	made := d.ok(createKeyspace(vouchers))
	equal(t, made.Count, uint64(1))
	if row := made.Keyspace; row.Id != 4 || row.CreatedAt != d.now || row.PermutationKey != nil || strings.Join(row.Blocklist, " ") != "bar foo" {
		t.Fatalf("the answer is %v", row)
	}
	same := proto.CloneOf(vouchers) // the same again, by somebody who drew another secret
	same.PermutationKey, same.Blocklist = bytes.Repeat([]byte{9}, 32), []string{"Bar", "foo", "FOO"}
	again := d.ok(createKeyspace(same))
	equal(t, again.Count, uint64(0))
	if !proto.Equal(again.Keyspace, made.Keyspace) {
		t.Fatalf("the same again is %v, want %v", again.Keyspace, made.Keyspace)
	}
	equal(t, d.m.state.NextKeyspace, uint32(5))
	equal(t, d.m.Blocklist(d.perm("vouchers")).Blocks([]byte("V-FOO00")), true)
	equal(t, d.m.Blocklist(d.perm(digits)).Blocks([]byte("V-FOO00")), false)

	d.reopen()
	d.ok(generate("vouchers", 100))
	keys := d.keysOf("vouchers", d.ok(lease("vouchers", 10)))
	for _, key := range keys {
		if !strings.HasPrefix(key, "V-") || len(key) != 7 {
			t.Fatalf("the key %s", key)
		}
	}
	d.ok(taken("vouchers", keys[0]))
	d.refused(pb.Code_KEY_BOUND, taken("vouchers", keys[0]))
	wrong := keys[1][:6] + "0"
	if wrong == keys[1] {
		wrong = keys[1][:6] + "1"
	}
	r := d.do(taken("vouchers", wrong))
	equal(t, r.Code, pb.Code_NOT_IN_KEYSPACE)
	if !strings.Contains(r.Detail, "check character") {
		t.Errorf("a wrong check character: %q", r.Detail)
	}
	d.checkCounters("vouchers")
}

func TestCreateKeyspaceRefuses(t *testing.T) {
	d := newDriver(t)
	d.ok(createKeyspace(vouchers))
	for name, c := range map[string]struct {
		want pb.Code
		edit func(row *pb.Keyspace)
	}{
		"another of the name":    {pb.Code_KEYSPACE_EXISTS, func(row *pb.Keyspace) { row.Name = "vouchers" }},
		"the name default":       {pb.Code_KEYSPACE_EXISTS, func(row *pb.Keyspace) { row.Name = DefaultKeyspace }},
		"no name":                {pb.Code_INVALID_KEYSPACE, func(row *pb.Keyspace) { row.Name = "" }},
		"a name for a path":      {pb.Code_INVALID_KEYSPACE, func(row *pb.Keyspace) { row.Name = "a/b" }},
		"a long name":            {pb.Code_INVALID_KEYSPACE, func(row *pb.Keyspace) { row.Name = strings.Repeat("a", 65) }},
		"too small":              {pb.Code_INVALID_KEYSPACE, func(row *pb.Keyspace) { row.Length = 5 }},
		"too large":              {pb.Code_INVALID_KEYSPACE, func(row *pb.Keyspace) { row.Length = 19 }},
		"a length beyond an int": {pb.Code_INVALID_KEYSPACE, func(row *pb.Keyspace) { row.Length = 1<<32 - 1 }},
		"no secret":              {pb.Code_INVALID_KEYSPACE, func(row *pb.Keyspace) { row.PermutationKey = nil }},
		"a short word":           {pb.Code_INVALID_KEYSPACE, func(row *pb.Keyspace) { row.Blocklist = []string{"ab"} }},
		"keys of default":        {pb.Code_KEYSPACES_MEET, func(row *pb.Keyspace) { row.Length = 6 }},
		"keys of wide":           {pb.Code_KEYSPACES_MEET, func(row *pb.Keyspace) { row.Alphabet, row.Length = "GHIJKLMNOPQRSTUV", 6 }},
		"keys of vouchers": {pb.Code_KEYSPACES_MEET, func(row *pb.Keyspace) {
			row.Alphabet, row.Length = keyspace.Base62+"-", 7
		}},
	} {
		row := proto.CloneOf(sevenDigits)
		c.edit(row)
		t.Run(name, func(t *testing.T) { d.refused(c.want, createKeyspace(row)) })
	}
	d.refused(pb.Code_INVALID_KEYSPACE, createKeyspace(nil))
	unformed := emptyDriver(t)
	defer unformed.close()
	unformed.refused(pb.Code_INVALID, createKeyspace(sevenDigits))
}

func TestTooManyKeyspaces(t *testing.T) {
	d := newDriver(t)
	next := func(i int) *pb.Command {
		return createKeyspace(&pb.Keyspace{Name: fmt.Sprint("s", i), Alphabet: "0123456789", Length: 6, Prefix: fmt.Sprintf("p%04d", i), PermutationKey: testSecret})
	}
	var all []*pb.Command
	for i := range MaxKeyspaces - 3 {
		all = append(all, next(i))
	}
	for _, r := range d.apply(all...) {
		equal(t, r.Code, pb.Code_OK)
	}
	d.refused(pb.Code_TOO_MANY_KEYSPACES, next(MaxKeyspaces))
	equal(t, d.do(next(0)).Count, uint64(0)) // one that is there is no new one
}

// P4, the other way round: an alias, or the tombstone of one, that is a key of a
// key space which comes later is never leased there, also if there are more links
// than one command looks at.
func TestAliasesBeforeTheirKeyspace(t *testing.T) {
	for name, others := range map[string]int{"few links": 10, "many links": 2*claimStep + 5} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t)
			var all []*pb.Command
			for i := range others {
				all = append(all, alias(fmt.Sprintf("-other-%d", i)))
			}
			d.apply(all...)
			perm := permutationOf(sevenDigits)
			early := []string{"1234567", "7654321"}
			for pos := range uint64(300) {
				early = append(early, string(perm.AppendKey(nil, 7*pos)))
			}
			for _, key := range early {
				d.ok(alias(key))
			}
			d.ok(deleteLink(early[5]))
			d.ok(createKeyspace(sevenDigits))
			if many := others > claimStep; many != (d.keyspace("d7").ClaimFrom != "") {
				t.Fatalf("%d links, to claim from %q", others, d.keyspace("d7").ClaimFrom)
			}
			d.refused(pb.Code_ALIAS_TAKEN, alias(early[9])) // claimed or not
			fresh := string(perm.AppendKey(nil, 1))
			d.ok(alias(fresh)) // while there may be others to claim
			early = append(early, fresh)
			d.reopen()
			for tries := 0; d.keyspace("d7").Unused < 2000; tries++ {
				if d.ok(generate("d7", 2400)); tries == 3 {
					t.Fatalf("nothing is generated: %v", d.keyspace("d7"))
				}
			}
			equal(t, d.keyspace("d7").ClaimFrom, "")
			r := d.ok(lease("d7", 2000))
			for _, key := range d.keysOf("d7", r) {
				if slices.Contains(early, key) {
					t.Fatalf("the alias %s was leased", key)
				}
			}
			for _, key := range early {
				equal(t, d.state("d7", key), "ALIAS")
			}
			for _, c := range []*pb.Command{taken("d7", early[0]), taken("d7", early[5])} {
				d.refused(pb.Code_KEY_NOT_TAKEN, c)
			}
			d.checkCounters("d7")
		})
	}
}

// No key is leased in two key spaces, and no alias is, whatever key spaces there
// are and in whichever order they and the aliases come: P1 and P4.
func TestKeyspacesNeverShareKeys(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		d := emptyDriver(t)
		defer d.close()
		init := testInit()
		init.Keyspaces = init.Keyspaces[:1] // of six digits
		d.ok(cmd(init))
		owner := map[string]string{}
		take := func(key, by string) {
			if other, taken := owner[key]; taken {
				t.Fatalf("%s is of %s and of %s", key, other, by)
			}
			owner[key] = by
		}
		names := []string{digits}
		secret := bytes.Repeat([]byte{8}, 32)
		drawn := func() *pb.Keyspace {
			return &pb.Keyspace{
				Name: fmt.Sprint("s", len(names)), PermutationKey: secret,
				Alphabet: rapid.SampledFrom([]string{"0123456789", "9876543210abcdef", "abcdefghijklmnop"}).Draw(t, "alphabet"),
				Length:   rapid.Uint32Range(5, 8).Draw(t, "length"),
				Prefix:   rapid.SampledFrom([]string{"", "", "1", "a", "12"}).Draw(t, "prefix"),
				Check:    rapid.Bool().Draw(t, "check"),

				CaseInsensitive: rapid.Bool().Draw(t, "either case"),
			}
		}
		for range 12 {
			row := drawn()
			if spaceOf(row).Validate() != nil {
				continue
			}
			perm := permutationOf(row) // its first keys are those that would be leased
			for range rapid.IntRange(0, 3).Draw(t, "aliases") {
				key := string(perm.AppendKey(nil, rapid.Uint64Range(0, 40).Draw(t, "pos")))
				if rapid.Bool().Draw(t, "loud") {
					key = strings.ToUpper(key)
				}
				if r := d.do(alias(key)); r.Code == pb.Code_OK {
					take(r.Key, "an alias")
				}
			}
			if d.do(createKeyspace(row)).Code == pb.Code_OK {
				names = append(names, row.Name)
				accepted++
			}
			name := rapid.SampledFrom(names).Draw(t, "leased")
			d.ok(generate(name, 50))
			for _, key := range d.keysOf(name, d.ok(lease(name, 20))) {
				take(key, name)
				if loud := strings.ToUpper(key); loud != key && d.keyspace(name).CaseInsensitive && owner[loud] != "" {
					t.Fatalf("%s is of %s, and may be written %s, of %s", key, name, loud, owner[loud])
				}
			}
		}
	})
	if accepted < 50 {
		t.Errorf("only %d key spaces were made", accepted)
	}
}

// A restore of a backup that has fewer key spaces than the cluster claims for them
// what the backup's links bring: aliases that are their keys.
func TestRestoreOfFewerKeyspaces(t *testing.T) {
	d := newDriver(t)
	perm := permutationOf(sevenDigits)
	early := string(perm.AppendKey(nil, 150_000)) // above what a restore burns
	// A life that the backup knows and this cluster does not, as after a recovery.
	other := newDriver(t)
	other.ok(alias(early))
	file := other.backup()

	d.ok(createKeyspace(sevenDigits))
	d.ok(generate("d7", 100))
	d.ok(lease("d7", 10))
	equal(t, d.restore(file, 0).Code, pb.Code_OK)
	equal(t, d.link(early).Alias, true)
	equal(t, d.keyspace("d7").ClaimFrom, "-")
	d.refused(pb.Code_ALIAS_TAKEN, alias(early))
	d.ok(generate("d7", 200_000))
	equal(t, d.state("d7", early), "ALIAS")
	d.checkCounters("d7")
	d.reopen()
	d.checkCounters("d7")
	equal(t, d.count(store.Keyspaces), 4)
}

// A backup in which a key space of this cluster's name is another one, or which
// has one more, is that of other key spaces: it needs a cluster that has given
// nothing away.
func TestRestoreOfOtherKeyspaces(t *testing.T) {
	for name, edit := range map[string]func(row *pb.Keyspace){
		"prefix":      func(row *pb.Keyspace) { row.Prefix = "W-" },
		"check":       func(row *pb.Keyspace) { row.Check = false },
		"name":        func(row *pb.Keyspace) { row.Name = "invites" },
		"permutation": func(row *pb.Keyspace) { row.PermutationKey = testSecret },
	} {
		t.Run(name, func(t *testing.T) {
			other := newDriver(t)
			theirs := proto.CloneOf(vouchers)
			edit(theirs)
			other.ok(createKeyspace(theirs))
			other.ok(alias("docs"))
			file := other.backup()

			d := newDriver(t)
			d.ok(createKeyspace(vouchers))
			d.ok(generate(digits, 10))
			d.ok(lease(digits, 1))
			equal(t, d.restore(file, 500).Code, pb.Code_RESTORE_REFUSED)

			fresh := newDriver(t)
			fresh.ok(createKeyspace(sevenDigits)) // goes with all that was there
			fresh.ok(createKeyspace(vouchers))
			equal(t, fresh.restore(file, 0).Code, pb.Code_RESTORE_REFUSED)
			r := fresh.restore(file, 500)
			equal(t, r.Code, pb.Code_OK)
			equal(t, r.Restored.Adopted, true)
			equal(t, fresh.keyspace(theirs.Name).Prefix, theirs.Prefix)
			if _, err := fresh.m.Keyspace("d7"); err == nil {
				t.Error("a key space from before is still there")
			}
			made := fresh.ok(createKeyspace(sevenDigits)) // under an id that nobody had
			equal(t, made.Keyspace.Id, uint32(6))
			fresh.ok(generate("d7", 50))
			fresh.ok(lease("d7", 50))
			for _, space := range []string{digits, theirs.Name, "d7"} {
				fresh.checkCounters(space)
			}
		})
	}
}
