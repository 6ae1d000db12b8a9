package chaos

import "context"

const oracleAccounts = "P7 keys are accounted for"

// account is where the cluster stood at one moment.
type account struct {
	term, lost uint64
	graceful   int
	restores   int
}

// account reads it from a leader that has filled its buffer, and has thereby
// counted what leaders before it had lost; no election may come in between.
func (r *run) account() account {
	r.tb.Helper()
	a := account{graceful: r.graceful, restores: r.restores}
	r.within(writeWithin, "a leader that has keys", func() (bool, string) {
		leader := r.findLeader()
		if leader == nil {
			return false, "no node leads"
		}
		m, err := readMetrics(leader)
		if err != nil {
			return false, err.Error()
		}
		a.term, a.lost = uint64(m["kgs_term"]), uint64(m[`kgs_keys_lost_total{keyspace="default"}`])
		return m["kgs_leading"] == 1 && m[`kgs_keys_buffered{keyspace="default"}`] > 0 && r.term() == a.term, "its buffer is empty, or an election came in between"
	})
	return a
}

// settle checks that since the last time no more keys were lost than the leaders held that did not
// hand over. Each term has one leader at most, and a term ends by a death or by
// a graceful hand-over: so the terms that passed, without the graceful ones,
// bound the deaths also where an election was nobody's doing.
func (r *run) settle(fault string) {
	r.tb.Helper()
	before, now := r.stood, r.account()
	r.stood, r.lost = now, now.lost
	r.checked(oracleAccounts, 1)
	terms, graceful := now.term-before.term, uint64(now.graceful-before.graceful)
	restores := uint64(now.restores - before.restores) // each empties the leader's buffer
	bound := (terms - min(terms, graceful) + restores) * bufferMax
	r.lostBound += bound
	if lost := now.lost - before.lost; lost > bound {
		r.violatef(oracleAccounts, "%s: %d keys lost in %d terms, %d of which were handed over: %d at most are allowed", fault, lost, terms, graceful, bound)
	}
}

// audit adds up the keys: all that were generated are unused or used.
func (r *run) audit() {
	space, err := r.api().Keyspace(context.Background(), "default")
	if err != nil {
		r.violatef(oracleAccounts, "key space: %v", err)
		return
	}
	r.checked(oracleAccounts, 1)
	if space.Generated != space.Unused+space.Used {
		r.violatef(oracleAccounts, "%d keys generated, %d unused and %d used", space.Generated, space.Unused, space.Used)
	}
	if given, _ := r.ledger.counts(); uint64(given) > space.Used {
		r.violatef(oracleAccounts, "clients were given %d keys, only %d are used", given, space.Used)
	}
}
