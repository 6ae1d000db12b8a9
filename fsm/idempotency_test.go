package fsm

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

func TestIdempotencyKeyReplays(t *testing.T) {
	d := newDriver(t)
	c := idempotent(generate(digits, 10), "k")
	first := d.ok(c)
	replayed := proto.CloneOf(first)
	replayed.Replayed = true
	expectResult(t, d.do(c), replayed)
	d.reopen()
	expectResult(t, d.do(request(c, 77, 1, 1)), replayed)
	equal(t, d.keyspace(digits).HighWaterMark, uint64(10))
	d.refused(pb.Code_IDEMPOTENCY_MISMATCH, idempotent(generate(digits, 11), "k"))
	d.ok(idempotent(generate(digits, 11), "other"))
	equal(t, d.keyspace(digits).HighWaterMark, uint64(21))
}

// The front end repeats across a leader change: that is no replay to its client,
// but the client's own repeat, a new request of any front end, is.
func TestFrontEndsRepeatIsNoReplay(t *testing.T) {
	d := newDriver(t)
	c := idempotent(generate(digits, 10), "k")
	first := d.ok(request(c, 77, 1, 1))
	expectResult(t, d.do(request(c, 77, 1, 1)), first)
	again := d.do(request(c, 77, 2, 1))
	equal(t, again.Replayed, true)
	equal(t, again.Index, first.Index)
	equal(t, d.do(request(c, 78, 1, 1)).Replayed, true)
	equal(t, d.do(c).Replayed, true)

	// Also when the session's memory of the request is gone.
	d.now += 30 * minute
	d.apply()
	d.now += 30 * minute
	d.apply()
	equal(t, d.count(store.Sessions), 0)
	expectResult(t, d.do(request(c, 77, 1, 1)), first)
	equal(t, d.keyspace(digits).HighWaterMark, uint64(10))
}

func TestIdempotencyKeyExpiresByLogTime(t *testing.T) {
	d := newDriver(t)
	c := idempotent(generate(digits, 10), "k")
	d.ok(c)
	d.now += IdempotencyKept.Milliseconds() - 1
	equal(t, d.do(c).Replayed, true)
	d.now++
	d.apply()
	equal(t, d.count(store.Idempotency)+d.count(store.IdempotencyExpiry), 0)
	equal(t, d.ok(c).Replayed, false)
	equal(t, d.keyspace(digits).HighWaterMark, uint64(20))
}

// However many keys expire at once, an entry removes a bounded number, and the
// entries after it the rest.
func TestIdempotencyExpiryIsBounded(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprint("restarts=", restarts), func(t *testing.T) {
			d := newDriver(t)
			const n = 100
			cmds := make([]*pb.Command, n)
			for i := range cmds {
				cmds[i] = idempotent(generate(digits, 1), fmt.Sprint("k", i))
			}
			d.apply(cmds...)
			d.now += 2 * IdempotencyKept.Milliseconds()
			for left := n; left > 0; {
				if restarts {
					d.reopen()
				}
				d.apply()
				left = max(0, left-8)
				equal(t, d.count(store.Idempotency), left)
				equal(t, d.count(store.IdempotencyExpiry), left)
				state, err := d.m.State()
				check(t, err)
				equal(t, state.IdempotencyRecords, uint64(left))
			}
		})
	}
}

func TestIdempotencyRecordsAreBounded(t *testing.T) {
	d := newDriver(t)
	d.ok(idempotent(generate(digits, 1), "old"))
	d.m.state.IdempotencyRecords = MaxIdempotencyRecords
	d.refused(pb.Code_TOO_MANY_RECORDS, idempotent(generate(digits, 1), "new"))
	equal(t, d.do(idempotent(generate(digits, 1), "old")).Replayed, true)
	d.ok(generate(digits, 1))
}
