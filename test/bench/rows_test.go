package bench

// row compares a cell of kgs with another one, or with a figure.
type row struct {
	id, what   string
	kgs, rival string // cells; no rival: the target is a figure
	by         metric
	unit       string // of the metric
	target     float64
	atMost     bool // else at least
	limit      bool // there is no target: what could be reached at best
	noisy      bool // more than bench-check tolerates, on one and the same machine
	last       bool // the figure of the last round counts, which is of all, not the median
}

// cells are all that is measured, in the order of a round: what is compared
// stands together.
var cells = []cell{
	{"echo/keys/64", "bare echo, constant answer, 64 clients", onEcho(64, takeKeysOp)},
	{"kgs/keys/64", "POST /v1/keys to the leader, 64 clients", onKgs(64, (*bench).leader, takeKeys(1, false))},
	{"kgs/keys/follower/64", "POST /v1/keys to a follower, 64 clients", onKgs(64, (*bench).follower, takeKeys(1, false))},
	{"postgres/keys/64", "Postgres, DELETE ... SKIP LOCKED and INSERT, 64 clients", movePostgres},
	{"redis/keys/64", "Redis, SPOP, appendfsync always, 64 clients", popRedis(64, 1)},
	{"kgs/keys/10000", "POST /v1/keys, 10,000 as text, 4 clients", onKgs(4, (*bench).leader, takeKeys(10_000, true))},
	{"kgs/keys/1000", "POST /v1/keys, 1,000 as text, 16 clients", onKgs(16, (*bench).leader, takeKeys(1000, true))},
	{"redis/keys/1000", "Redis, SPOP unused 1000, appendfsync always, 16 clients", popRedis(16, 1000)},
	{"buffer", "the leader's buffer, one core", popBuffer},
	{"kgs/create/256", "POST /v1/links, 256 clients", onKgs(256, (*bench).leader, createLinks)},
	{"etcd/create/256", "etcd, create if absent, 256 clients", createEtcd(256)},
	{"kgs/create/64", "POST /v1/links, 64 clients", onKgs(64, (*bench).leader, createLinks)},
	{"etcd/create/64", "etcd, create if absent, 64 clients", createEtcd(64)},
	{"postgres/create/64", "Postgres, INSERT ... ON CONFLICT DO NOTHING, 64 clients", createPostgres},
	{"raft/apply/64", "bare raft.Apply, 64 at once", applyRaft(64)},
	{"kgs/batch", "POST /v1/links/batch, 1,000 links, 8 clients", onKgs(8, (*bench).leader, createBatches)},
	{"kgs/create/1", "POST /v1/links, one client", onKgs(1, (*bench).leader, createLinks)},
	{"etcd/create/1", "etcd, create if absent, one client", createEtcd(1)},
	{"raft/apply/1", "bare raft.Apply, one at a time", applyRaft(1)},
	{"disk", "fdatasync of a 4 KiB page, one writer", syncDisk},
	{"kgs/redirect/64", "GET /KEY, Zipf, 64 clients", readKgs},
	{"echo/redirect/64", "bare echo, constant redirect, 64 clients", readEcho},
	{"kgs/import", "kgs links import of 20,000 URLs", importCLI},
	{"kgs/elections", "terms begun during all of the above", countElections},
	{"kgs/kill", "kill -9 of the leader, to the first success through another node", killLeader},
}

var takeKeysOp = takeKeys(1, false)(nil)

// rows are the table.
var rows = []row{
	{id: "keys-leader", what: "one key a request, at the leader", kgs: "kgs/keys/64", rival: "echo/keys/64", by: rate, unit: "requests/s", target: 0.9},
	{id: "keys-follower", what: "one key a request, through a follower", kgs: "kgs/keys/follower/64", rival: "echo/keys/64", by: rate, unit: "requests/s", target: 0.6},
	{id: "keys-postgres", what: "one key a request", kgs: "kgs/keys/64", rival: "postgres/keys/64", by: rate, unit: "keys/s", target: 8},
	{id: "keys-redis", what: "one key a request", kgs: "kgs/keys/64", rival: "redis/keys/64", by: rate, unit: "keys/s", limit: true},
	{id: "keys-10000", what: "keys in batches of 10,000, as text", kgs: "kgs/keys/10000", by: items, unit: "keys/s", target: 1e6},
	{id: "keys-1000", what: "keys in batches of 1,000", kgs: "kgs/keys/1000", rival: "redis/keys/1000", by: items, unit: "keys/s", target: 2},
	{id: "buffer", what: "a key from the buffer, in the process", kgs: "buffer", by: value, unit: "million/s", target: 10},
	{id: "create-256", what: "link creation, 256 clients", kgs: "kgs/create/256", rival: "etcd/create/256", by: rate, unit: "links/s", target: 5},
	{id: "create-256-p99", what: "its 99th percentile", kgs: "kgs/create/256", rival: "etcd/create/256", by: p99, unit: "ms", target: 0.2, atMost: true, noisy: true},
	{id: "create-64", what: "link creation, 64 clients", kgs: "kgs/create/64", rival: "etcd/create/64", by: rate, unit: "links/s", target: 3},
	{id: "create-postgres", what: "link creation, 64 clients", kgs: "kgs/create/64", rival: "postgres/create/64", by: rate, unit: "links/s", limit: true},
	{id: "create-raft", what: "link creation, 64 clients", kgs: "kgs/create/64", rival: "raft/apply/64", by: rate, unit: "links/s", limit: true},
	{id: "batch", what: "links in batches of 1,000", kgs: "kgs/batch", by: items, unit: "links/s", target: 150_000},
	{id: "batch-etcd", what: "links in batches of 1,000", kgs: "kgs/batch", rival: "etcd/create/256", by: items, unit: "links/s", target: 25},
	{id: "create-1", what: "one client, one durable creation", kgs: "kgs/create/1", rival: "etcd/create/1", by: p50, unit: "ms", target: 1, atMost: true},
	{id: "create-1-raft", what: "one client, one durable creation", kgs: "kgs/create/1", rival: "raft/apply/1", by: p50, unit: "ms", limit: true, atMost: true},
	{id: "create-1-disk", what: "one client, one durable creation", kgs: "kgs/create/1", rival: "disk", by: p50, unit: "ms", limit: true, atMost: true, noisy: true},
	{id: "redirect", what: "redirects, Zipf", kgs: "kgs/redirect/64", rival: "echo/redirect/64", by: rate, unit: "requests/s", target: 0.9},
	{id: "import", what: "import of 20,000 real URLs with the CLI", kgs: "kgs/import", by: value, unit: "s", target: 1, atMost: true},
	{id: "kill", what: "kill -9 of the leader to first success", kgs: "kgs/kill", by: value, unit: "ms", target: 700, atMost: true},
	{id: "elections", what: "elections caused by full load", kgs: "kgs/elections", by: value, unit: "elections", target: 0, atMost: true, last: true},
}
