package chaos

import "context"

const oracleAccounts = "P7 keys are accounted for"

// audit adds up the keys: all that were generated are unused or used, and no
// more are lost than the leaders held that did not hand over.
//
// Each term has one leader at most, and a term ends by a death or by a graceful
// hand-over. So the terms that passed, without the graceful ones, bound the
// deaths also where an election was nobody's doing.
func (r *run) audit() {
	space, err := r.api().Keyspace(context.Background(), "default")
	if err != nil {
		r.violatef(oracleAccounts, "key space: %v", err)
		return
	}
	r.checked(oracleAccounts, 1)
	r.lost = space.Lost
	r.lostBound = (r.term() - r.firstTerm - min(uint64(r.graceful), r.term()-r.firstTerm)) * bufferMax
	if space.Generated != space.Unused+space.Used {
		r.violatef(oracleAccounts, "%d keys generated, %d unused and %d used", space.Generated, space.Unused, space.Used)
	}
	if given, _ := r.ledger.counts(); uint64(given) > space.Used+space.Returned {
		r.violatef(oracleAccounts, "clients were given %d keys, only %d are used", given, space.Used)
	}
	if space.Lost > r.lostBound {
		r.violatef(oracleAccounts, "%d keys lost in %d terms after term %d, %d of them ended gracefully: %d at most are allowed",
			space.Lost, r.term()-r.firstTerm, r.firstTerm, r.graceful, r.lostBound)
	}
}
