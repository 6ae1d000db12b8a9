package main

// bug is a mistake that somebody could make. It is planted by changing the text
// of some files; each old text must be there exactly once.
type bug struct {
	name  string
	words string // what is wrong, in words
	edits []edit
	// pkg and run name the tests that must fail; "": the simulation, with the
	// given profile if only one is likely to see it.
	pkg, run, profile string
	hangs             bool // seen by a run that does not end
}

type edit struct{ file, old, new string }

var bugs = []bug{
	{name: "heartbeat-fast-path", words: "heartbeats are processed beside raft's main loop (hashicorp/raft#695)",
		edits: []edit{{"cluster/transport.go", "func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}",
			"func (t *transport) SetHeartbeatHandler(h func(raft.RPC)) { t.NetworkTransport.SetHeartbeatHandler(h) }"}},
		pkg: "./cluster", run: "TestRaftPausedLeaderDoesNotDiverge|TestTransportHeartbeats"},
	{name: "ack-before-commit", words: "a link is acknowledged although its entry was not committed",
		edits: []edit{{"cluster/proposer.go", "			if err != nil {\n				c.fail(err)\n				continue\n", `			if err != nil {
				c.answers = make([]answer, len(c.commands))
				for i, cmd := range c.commands {
					op := cmd.GetCreateLink()
					c.answers[i].result = &pb.Result{Key: op.GetAlias() + op.GetTakenKey() + op.GetGenerated().GetKey(), Link: op.GetLink()}
				}
				close(c.done)
				continue
`}}},
	{name: "hand-over-keeps-buffer", words: "keys that a hand-over returned stay in the buffer",
		edits:   []edit{{"cluster/buffer.go", "	b.reset()\n	return left, b.handedOut", "	return left, b.handedOut"}},
		profile: "graceful"},
	{name: "barrier-skipped", words: "a new leader serves before it has applied what was committed before",
		edits: []edit{{"cluster/leader.go", "		err := n.barrier(barrierTimeout)\n", "		err := error(nil)\n"}}},
	{name: "no-verify-leader", words: "a leader answers linearizable reads without asking whether it still leads",
		edits: []edit{
			{"cluster/readindex.go", "	if err := n.futures.await(n.raft.VerifyLeader); err != nil {\n		return 0, ErrNotLeader\n	}\n", ""},
			{"cluster/readindex.go", "	if !n.confirmed(ack{term, question}) {", "	if question == 0 {"}}},
	{name: "index-after-verify", words: "the read index is taken after the proof of leadership, and of another term",
		edits: []edit{
			{"cluster/readindex.go", "	question := n.transport.acks.ask()\n	index := n.machine.Applied()\n", "	question := n.transport.acks.ask()\n"},
			{"cluster/readindex.go", "	if n.lead.ready.Load() != term || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {\n		return 0, ErrNotLeader\n	}\n	return index, nil", "	return 0, nil"}}},
	{name: "follower-reads-alone", words: "a follower answers linearizable reads from its own state",
		edits: []edit{{"cluster/service.go", "	if l == Local {\n		return nil\n	}\n	var index uint64\n", "	if l == Local || n.lead.ready.Load() == 0 {\n		return nil\n	}\n	var index uint64\n"}}},
	{name: "local-miss-is-final", words: "a redirect answers 404 without the linearizable look",
		edits: []edit{{"cluster/service.go", "		if !errors.Is(err, fsm.ErrLinkNotFound) || errors.Is(err, fsm.ErrLinkDeleted) {\n			return at, link, err // a deletion is final: no key is issued twice\n		}\n", "		return at, link, err\n"}}},
	{name: "own-writes-not-awaited", words: "a front end acknowledges before its own replica has applied",
		edits: []edit{{"cluster/route.go", "	n.awaitOwn(ctx, commands, answers)\n	return answers", "	return answers"}},
		pkg:   "./cluster", run: "TestOwnWrites"},
	{name: "unknown-called-failed", words: "a request that may have been committed is called failed",
		edits: []edit{{"cluster/route.go", "		case unknown[at]:\n", "		case unknown[at] && false:\n"}}},
	{name: "repeats-not-recognised", words: "a front end's repeat after an election is executed again",
		edits: []edit{{"fsm/requests.go", "	if k, ok := s.answers[id.Seq]; ok {\n		return k.repeat(cmd), nil\n	}\n	if len", "	if len"}}},
	{name: "idempotency-forgotten", words: "an Idempotency-Key is not looked up",
		edits: []edit{{"fsm/requests.go", "	if found {\n		return m.replay(cmd, record)\n	}\n", "	_ = found\n"}}},
	{name: "map-order", words: "the state machine writes rows in the order of a Go map",
		edits: []edit{{"fsm/machine.go", "	for _, s := range m.dirtySessions {\n		m.put(", "	dirty := map[uint64]*session{}\n	for _, s := range m.dirtySessions {\n		dirty[s.id] = s\n	}\n	for _, s := range dirty {\n		m.put("}}},
	{name: "wall-clock", words: "the state machine reads the clock of its own node",
		edits: []edit{
			{"fsm/machine.go", "	m.state.Clock = max(m.state.Clock, entry.Time)\n", "	m.state.Clock = max(m.state.Clock, time.Now().UnixMicro()/1000)\n"},
			{"fsm/machine.go", "	\"sync/atomic\"\n", "	\"sync/atomic\"\n	\"time\"\n"}}},
	{name: "clock-goes-back", words: "the state machine's clock follows a leader's clock backwards",
		edits: []edit{{"fsm/machine.go", "	m.state.Clock = max(m.state.Clock, entry.Time)\n", "	m.state.Clock = entry.Time\n"}}},
	{name: "snapshot-without-used-keys", words: "the snapshot that a follower receives lacks the table used_keys",
		edits: []edit{{"store/view.go", "		for valid := it.First(); valid && fnErr == nil; valid = it.Next() {\n", "		for valid := it.First(); valid && fnErr == nil; valid = it.Next() {\n			if it.Key()[0] == byte(UsedKeys) {\n				continue\n			}\n"}}},
	{name: "snapshot-without-requests", words: "the snapshot that a follower receives lacks the remembered requests",
		edits: []edit{{"store/view.go", "		for valid := it.First(); valid && fnErr == nil; valid = it.Next() {\n", "		for valid := it.First(); valid && fnErr == nil; valid = it.Next() {\n			if it.Key()[0] == byte(Requests) || it.Key()[0] == byte(Idempotency) {\n				continue\n			}\n"}}},
	{name: "no-flush-before-snapshot", words: "raft drops log entries that the state has not flushed",
		edits:   []edit{{"fsm/raft.go", "	if err := f.flush(); err != nil {", "	if err := error(nil); err != nil {"}},
		profile: "disks"},
	{name: "alias-not-claimed", words: "an alias of the form of a key stays in unused_keys",
		edits: []edit{{"fsm/links.go", "	for _, c := range claims {\n", "	for _, c := range claims[:0] {\n"}}},
	{name: "return-of-any-lease", words: "a receipt returns keys that have been leased to others since",
		edits: []edit{{"fsm/keys.go", "	if !ok || row.Lease != lease || row.Purpose", "	_ = lease\n	if !ok || row.Purpose"}},
		pkg:   "./fsm", run: "TestReturn|TestAgainstModel"},
	{name: "returned-keys-do-not-rest", words: "a returned key may be handed out again at once",
		edits: []edit{{"fsm/keys.go", "	Quarantine = IdempotencyKept + time.Hour\n", "	Quarantine = time.Second\n"}}},
	{name: "url-tidied-up", words: "a URL is normalised on its way into the store",
		edits: []edit{
			{"httpapi/linkjson.go", "			Url: *f.url, Title", "			Url: strings.Replace(*f.url, \":443/\", \"/\", 1), Title"},
			{"httpapi/linkjson.go", "	\"net/http\"\n", "	\"net/http\"\n	\"strings\"\n"}}},
	{name: "delete-lost", words: "a deletion is acknowledged and not stored",
		edits: []edit{{"fsm/links.go", "	m.bury(key, link, m.tombstone(link))\n", ""}}},
	{name: "deleted-key-comes-back", words: "a deletion leaves no tombstone",
		edits: []edit{{"fsm/lifetime.go", "	m.putLink(LinkDeleted, key, tombstone)\n", "	m.batch.Delete(store.Links, []byte(key))\n"}}},
	{name: "visits-not-counted", words: "a link redirects more often than it may",
		edits: []edit{{"fsm/lifetime.go", "		link.Visits++\n", ""}},
		pkg:   "./fsm", run: "TestALinkHasExactlyItsVisits|TestAgainstModel"},
	{name: "anybodys-link", words: "everybody with a token may change every link",
		edits: []edit{{"fsm/owners.go", "owner != as {", "false {"}},
		pkg:   "./fsm", run: "TestALinkIsItsOwners|TestAgainstModel"},
	{name: "stale-link-cached", words: "a link that changes stays in the cache as it was",
		edits: []edit{{"fsm/links.go", "		m.links.forget(key)\n", ""}},
		pkg:   "./fsm", run: "TestLinkNeverGoesBack|TestAgainstModel"},
	{name: "taken-key-bound-twice", words: "a second link overwrites the one under a taken key",
		edits: []edit{{"fsm/links.go", "	if m.isBound(s, row.Lease, pos, key) {\n		return refuse(pb.Code_KEY_BOUND", "	if false {\n		return refuse(pb.Code_KEY_BOUND"}}},
	{name: "stale-tail-kept", words: "a node that a snapshot has overtaken keeps the old end of its log",
		edits: []edit{
			{"cluster/overtake.go", "err != nil || last == 0 || first > end.index {", "err != nil || last|1 != 0 || first > end.index {"},
			{"cluster/logstore_guard.go", "			} else if last > 0 && last+1 < from {\n", "			} else if false {\n"}}},
	{name: "failed-write-stays", words: "a log write that failed, and yet is on disk, is not undone",
		edits: []edit{{"cluster/logstore_guard.go", "			if before == nil {\n				return nil\n			}\n			return g.restore(before)\n", "			return nil\n"}},
		pkg:   "./cluster", run: "TestGuardAgainstModel"},
	{name: "directory-not-synced", words: "the data directory's own entry is not synced",
		edits: []edit{{"cluster/disk.go", "	if err := syncDir(fs, above); err != nil && !known {", "	if err := error(nil); err != nil && !known {"}}},
	{name: "lost-keys-not-counted", words: "keys that died with a leader are not counted",
		edits: []edit{{"fsm/keys.go", "		s.row.Lost += s.row.Buffered\n", ""}}},
	{name: "lock-over-the-log", words: "a lock that every request needs is held while the log is waited for",
		edits: []edit{{"cluster/handover.go", "	n.lead.mu.Unlock()\n	var failed error\n", "	defer n.lead.mu.Unlock()\n	var failed error\n"}},
		hangs: true},
	{name: "revoked-token-valid", words: "a revoked token is valid until the node starts again",
		edits: []edit{{"fsm/tokens.go", "	delete(m.tokens, id)\n", ""}},
		pkg:   "./fsm", run: "TestTokens"},
	{name: "any-token-does", words: "every token is an admin's",
		edits: []edit{{"httpapi/auth.go", "	case bearer.Role < least:\n", "	case bearer.Role < read:\n"}},
		pkg:   "./httpapi", run: "TestEveryRouteNeedsItsRole"},
	// These are of the table of hazards in test/README.md.
	{name: "commit-beyond-sent", words: "a follower commits entries of its own that it has not compared",
		edits: []edit{{"cluster/transport.go", "	args.LeaderCommitIndex = min(args.LeaderCommitIndex, args.PrevLogEntry+uint64(len(args.Entries)))\n", ""}},
		pkg:   "./cluster", run: "TestRaftFollowerCommitsOnlyWhatItWasSent"},
	{name: "snapshot-for-ever", words: "a log that differs from a received snapshot is never mended (hashicorp/raft#697)",
		edits: []edit{{"cluster/transport.go", "				r.PrevLogEntry, r.PrevLogTerm = 0, 0\n", ""}},
		pkg:   "./test", run: "TestADeposedLeaderNeedsOneSnapshot"},
	{name: "own-snapshot-forgotten", words: "a follower does not know its own snapshot's last entry any more",
		edits: []edit{{"cluster/node.go", "n.transport.snapshot.Store(&end) }", "_ = end }"}},
		pkg:   "./test", run: "TestADeposedLeaderGoesOnFromItsOwnSnapshot"},
	{name: "log-not-kept", words: "the log is compacted beyond a snapshot that is on its way to a follower",
		edits: []edit{{"cluster/sending.go", "			last = min(last, k.from-1)\n", ""}},
		pkg:   "./test", run: "TestANodeThatLagsNeedsOneSnapshot"},
	{name: "sent-is-acknowledged", words: "entries on their way to a follower count as written there",
		edits: []edit{{"cluster/ahead.go", "	if p.term != request.Term || p.last < first {\n", "	if p.before > 0 && first == p.before+1 {\n		return nil, nil\n	}\n	if p.term != request.Term || p.last < first {\n"}},
		pkg:   "./cluster", run: "TestAhead"},
	{name: "raft-index-for-reads", words: "reads wait for raft's commit index, which the machine may never reach",
		edits: []edit{{"cluster/readindex.go", "	index := n.machine.Applied()\n", "	index := n.raft.CommitIndex()\n"}},
		pkg:   "./test", run: "TestP6_AReadOnAnIdleClusterAfterAnElection"},
	{name: "log-without-deadline", words: "a leader waits for its disk, however long, and stays the leader",
		edits: []edit{{"cluster/logstore.go", "setDefault(&c.WriteDeadline, 5*time.Second)", "setDefault(&c.WriteDeadline, time.Hour)"}},
		pkg:   "./test", run: "TestP9_WritesGoOnWhenTheLeadersDiskHangs"},
	{name: "transfers-at-once", words: "a transfer that failed may be asked for again at once (hashicorp/raft#696)",
		edits: []edit{{"cluster/handover.go", "const transferAgain = raftTimeout + 11*time.Second", "const transferAgain = 0"}},
		pkg:   "./test", run: "TestTransfersToANodeThatIsAway"},
	{name: "no-pre-vote", words: "a node that was cut off comes back with a higher term",
		edits: []edit{{"cluster/node.go", "	c.NotifyCh = n.notify\n", "	c.NotifyCh = n.notify\n	c.PreVoteDisabled = true\n"}},
		pkg:   "./test", run: "TestAReturningNodeDoesNotDisturb"},
	{name: "short-lives-keep-the-log", words: "a node whose processes end early never takes a snapshot",
		edits: []edit{{"cluster/node.go", "		n.spawn(n.snapshotDue)\n", ""}},
		pkg:   "./test", run: "TestTheLogIsBoundedAcrossShortLives"},
	{name: "stream-never-let-go", words: "a stop waits for a follower that reads no more of a snapshot",
		edits: []edit{{"cluster/snapshots.go", "	err := r.PipeReader.Close()\n	<-r.done\n", "	<-r.done\n	err := r.PipeReader.Close()\n"}},
		pkg:   "./test", run: "TestTwoHundredShutdownsUnderLoad"},
	{name: "lost-buffer-kept", words: "a leader that is elected again goes on with its old buffer",
		edits: []edit{{"cluster/buffer.go", "	b.term, b.coming, b.chunks, b.available, b.short, b.dry = 0, nil, nil, 0, 0, nil\n", "	b.term, b.coming, b.short, b.dry = 0, nil, 0, nil\n"}},
		pkg:   "./test", run: "TestP1_ReelectedLeaderNeverUsesItsOldBuffer"},
}
