package fsm

import (
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// P4: claiming an alias takes that key out of every key space, in the same entry.
func TestAliasClaimsItsKey(t *testing.T) {
	for name, c := range map[string]struct {
		key   func(*driver) string
		want  pb.Code
		inHex string // state of the key in the key space hex afterwards, "" if it is none
	}{
		"unused":                {func(d *driver) string { return d.key(digits, 40) }, pb.Code_OK, "ALIAS"},
		"ungenerated":           {func(d *driver) string { return d.key(digits, 5000) }, pb.Code_OK, "ALIAS"},
		"leased":                {func(d *driver) string { return d.key(digits, 3) }, pb.Code_ALIAS_TAKEN, "ungenerated"},
		"leased in another":     {func(d *driver) string { return d.digitsIn(hex, 0, 3000) }, pb.Code_ALIAS_TAKEN, "LEASE"},
		"unused in another":     {func(d *driver) string { return d.digitsIn(hex, 3000, 6000) }, pb.Code_OK, "ALIAS"},
		"of one space only":     {func(d *driver) string { return "ABCDEF" }, pb.Code_OK, "ALIAS"},
		"longer than the keys":  {func(d *driver) string { return "0000000" }, pb.Code_OK, ""},
		"shorter than the keys": {func(d *driver) string { return "00000" }, pb.Code_OK, ""},
		"other characters":      {func(d *driver) string { return "00000!" }, pb.Code_OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t)
			d.ok(generate(digits, 100))
			d.ok(lease(digits, 10))
			d.ok(generate(hex, 6000))
			d.ok(lease(hex, 3000))
			key := c.key(d)
			if c.want == pb.Code_OK {
				d.ok(alias(key))
				equal(t, d.link(key).Alias, true)
				d.refused(pb.Code_ALIAS_TAKEN, alias(key))
			} else {
				d.refused(c.want, alias(key))
			}
			if _, ok := d.perm(digits).Position(key); ok && c.want == pb.Code_OK {
				equal(t, d.state(digits, key), "ALIAS")
			}
			if c.inHex != "" {
				equal(t, d.state(hex, key), c.inHex)
			}
			for _, space := range []string{digits, hex, wide} {
				d.checkCounters(space)
			}
		})
	}
}

// digitsIn is a key of space at a position in [from, to) that has digits only,
// whose position in digits is not leased.
func (d *driver) digitsIn(space string, from, to uint64) string {
	d.t.Helper()
	for pos := from; pos < to; pos++ {
		key := d.key(space, pos)
		if at, ok := d.perm(digits).Position(key); ok && at >= 10 {
			return key
		}
	}
	d.t.Fatalf("no key of digits from %d to %d", from, to)
	return ""
}

// A claimed alias is never handed out, whether it was claimed before or after
// its key was generated.
func TestClaimedKeysAreNeverLeased(t *testing.T) {
	d := newDriver(t)
	claimed := map[string]bool{}
	claim := func(pos uint64) {
		d.ok(alias(d.key(digits, pos)))
		claimed[d.key(digits, pos)] = true
	}
	claim(5)
	claim(150)
	d.ok(generate(digits, 100))
	claim(7)
	claim(99)
	d.ok(generate(digits, 100))
	r := d.ok(lease(digits, 196))
	for _, key := range d.keysOf(digits, r) {
		if claimed[key] {
			t.Fatalf("the alias %s was handed out", key)
		}
	}
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 1))
	d.checkCounters(digits)
}

// A key that was taken is an alias no more, with or without a link.
func TestTakenKeyIsNoAlias(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 10))
	r := d.ok(lease(digits, 10))
	keys := d.keysOf(digits, r)
	d.ok(taken(digits, keys[0]))
	d.refused(pb.Code_ALIAS_TAKEN, alias(keys[0]))
	d.refused(pb.Code_ALIAS_TAKEN, alias(keys[1]))
}
