package fsm

import (
	"testing"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// P2: a key leaves used_keys only by its own receipt, once.
func TestReturnNeedsTheKeysOwnReceipt(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 100))
	d.ok(generate(hex, 100))
	mine, other := d.ok(lease(digits, 10)), d.ok(lease(digits, 10))
	keys, receipt := d.keysOf(digits, mine), d.receiptOf(digits, mine)
	d.ok(taken(digits, keys[0]))
	d.ok(taken(digits, keys[1]))
	d.ok(deleteLink(keys[1]))
	d.ok(d.generated(digits, mine.Grants[0].Lease, mine.Grants[0].From+2))
	d.ok(returnKeys(receipt, keys[3]))

	forged := Receipt{Space: 1, Grants: []Grant{{mine.Grants[0].Lease, mine.Grants[0].From, 10}}}.Seal(nil, []byte("guess"))
	otherSpace := Receipt{Space: 2, Grants: []Grant{{mine.Grants[0].Lease, mine.Grants[0].From, 10}}}.Seal(nil, testSecret)
	noSpace := Receipt{Space: 9, Grants: []Grant{{mine.Grants[0].Lease, mine.Grants[0].From, 10}}}.Seal(nil, testSecret)
	for name, c := range map[string]struct {
		code    pb.Code
		receipt []byte
		key     string
	}{
		"bound to a link":           {pb.Code_NOT_RETURNABLE, receipt, keys[0]},
		"of a deleted link":         {pb.Code_NOT_RETURNABLE, receipt, keys[1]},
		"bound when generated":      {pb.Code_NOT_RETURNABLE, receipt, keys[2]},
		"returned before":           {pb.Code_NOT_RETURNABLE, receipt, keys[3]},
		"of another lease":          {pb.Code_NOT_RETURNABLE, receipt, d.keysOf(digits, other)[0]},
		"unused":                    {pb.Code_NOT_RETURNABLE, receipt, d.key(digits, 50)},
		"ungenerated":               {pb.Code_NOT_RETURNABLE, receipt, d.key(digits, 500)},
		"no key of the space":       {pb.Code_NOT_RETURNABLE, receipt, "hello"},
		"with a forged receipt":     {pb.Code_INVALID_RECEIPT, forged, keys[5]},
		"without a receipt":         {pb.Code_INVALID_RECEIPT, nil, keys[5]},
		"by another space's":        {pb.Code_NOT_RETURNABLE, otherSpace, keys[5]},
		"by a lost space's receipt": {pb.Code_INVALID_RECEIPT, noSpace, keys[5]},
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			d.refused(c.code, returnKeys(c.receipt, c.key))
			d.refused(c.code, returnKeys(c.receipt, keys[4], c.key, keys[6])) // one bad, none returned
		})
	}
	d.t = t
	d.refused(pb.Code_NOT_RETURNABLE, returnKeys(receipt, keys[4], keys[5], keys[4]))
	equal(t, d.ok(returnKeys(receipt)).Count, uint64(0))
	equal(t, d.ok(returnKeys(receipt, keys[9], keys[4], keys[5])).Count, uint64(3))
	d.checkCounters(digits)
}

// A receipt older than the key's present lease is void.
func TestReturnOfKeysLeasedAnew(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 10))
	first := d.ok(lease(digits, 10))
	keys, receipt := d.keysOf(digits, first), d.receiptOf(digits, first)
	d.ok(returnKeys(receipt, keys...))
	d.refused(pb.Code_NOT_RETURNABLE, returnKeys(receipt, keys[0]))
	d.now += Quarantine.Milliseconds()
	second := d.ok(lease(digits, 10))
	d.refused(pb.Code_NOT_RETURNABLE, returnKeys(receipt, keys[0]))
	d.refused(pb.Code_GENERATED_KEY_BOUND, d.generated(digits, first.Grants[0].Lease, 3))
	equal(t, d.ok(returnKeys(d.receiptOf(digits, second), keys[0])).Count, uint64(1))
	d.checkCounters(digits)
}

// The runs of one return may lie in several leases, and joined ones are one row.
func TestReturnAcrossLeases(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 30))
	a, b := d.ok(lease(digits, 10)), d.ok(lease(digits, 10))
	both := &pb.Result{Grants: append(a.Grants, b.Grants...)}
	d.ok(returnKeys(d.receiptOf(digits, both), d.keysOf(digits, both)[8:12]...))
	d.expectRuns(store.UsedKeys, digits,
		keyspace.Run{From: 0, To: 8}, keyspace.Run{From: 8, To: 12}, keyspace.Run{From: 12, To: 20})
	equal(t, d.rows(store.UsedKeys, digits)[1].Used.Purpose, pb.Purpose_RETURNED)
	equal(t, d.count(store.Quarantine), 1)
	d.checkCounters(digits)
}

func TestQuarantineEndsByTheMachinesClock(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 10))
	r := d.ok(lease(digits, 10))
	keys := d.keysOf(digits, r)
	d.ok(returnKeys(d.receiptOf(digits, r), keys[0], keys[1], keys[5]))
	equal(t, d.state(digits, keys[0]), "RETURNED")

	d.now += Quarantine.Milliseconds() - 1
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 1))
	d.refused(pb.Code_KEY_NOT_TAKEN, taken(digits, keys[0]))
	d.refused(pb.Code_ALIAS_TAKEN, alias(keys[0]))
	d.refused(pb.Code_GENERATED_KEY_BOUND, d.generated(digits, r.Grants[0].Lease, 0))
	d.now++
	d.apply() // an entry alone moves nothing
	equal(t, d.state(digits, keys[0]), "RETURNED")
	d.ok(generate(digits, 1))
	equal(t, d.state(digits, keys[0]), "unused")
	equal(t, d.count(store.Quarantine), 0)
	d.checkCounters(digits)
	equal(t, d.ok(lease(digits, 4)).Count, uint64(4))
	d.checkCounters(digits)
}

// A Lease moves a bounded number of runs out of quarantine, those of its own
// key space, however many others there are.
func TestQuarantineEndIsBounded(t *testing.T) {
	d := newDriver(t)
	const n = 3 * maxQuarantineRows
	scatter := func(space string) {
		d.ok(generate(space, 2*n))
		r := d.ok(lease(space, 2*n))
		var keys []string
		for i, key := range d.keysOf(space, r) {
			if i%2 == 0 {
				keys = append(keys, key)
			}
		}
		d.ok(returnKeys(d.receiptOf(space, r), keys...))
	}
	scatter(hex)
	d.now += minute
	scatter(digits)
	d.now += 2 * Quarantine.Milliseconds()
	for i := range 3 {
		d.ok(lease(digits, maxQuarantineRows))
		equal(t, d.keyspace(digits).Returned, uint64(n-(i+1)*maxQuarantineRows))
		d.checkCounters(digits)
	}
	equal(t, d.keyspace(hex).Returned, uint64(n))
}
