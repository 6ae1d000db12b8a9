package oracle

import (
	"math"
	"time"
)

// Kind is what a client asked for.
type Kind uint8

// The kinds of requests. A batch of links is recorded as one Create a line.
const (
	Take     Kind = iota // POST /v1/keys
	Create               // POST /v1/links
	Get                  // GET /v1/links/{key}
	Update               // PATCH /v1/links/{key}, of the URL
	Delete               // DELETE /v1/links/{key}
	Return               // POST /v1/keys/return
	Redirect             // GET /{key}, local by its nature
	Backup               // GET /v1/cluster/snapshot
	Restore              // PUT /v1/cluster/snapshot
)

var kinds = [...]string{"take", "create", "get", "update", "delete", "return", "redirect", "backup", "restore"}

func (k Kind) String() string { return kinds[k] }

// Outcome is what a client knows of its request's effect.
type Outcome uint8

const (
	// OK: it happened, once, between Call and Return.
	OK Outcome = iota
	// Refused: it had no effect, and never will; Code says why.
	Refused
	// Unknown: it happens at most once, at any time from Call on, also after
	// Return. So are all requests whose answer did not come.
	Unknown
)

var outcomes = [...]string{"ok", "refused", "unknown"}

func (o Outcome) String() string { return outcomes[o] }

// Never is the Return of a request that was not answered by the run's end.
const Never = time.Duration(math.MaxInt64)

// The read levels of a Get.
const (
	LevelLinearizable = "linearizable"
	LevelLocal        = "local"
)

// Op is one request of a client and what the client saw. Refused and Unknown
// requests have no outputs. A read that finds nothing is Refused with code
// "link_not_found"; one that was not answered is Unknown, or Refused with another code.
type Op struct {
	Client       int
	Kind         Kind
	Node         string        // that answered, or was asked
	Call, Return time.Duration // since the run's begin
	// History.Tick just before the call and just after the return, or zero. In a
	// simulation much happens at the same time; the ticks still tell the order.
	// All of a history have them, or none.
	Began, Ended uint64
	Outcome      Outcome
	Code         string // of the problem: "alias_taken", "link_not_found", "no_leader", ...
	Status       int    // HTTP

	// What was asked.
	Idempotency string   // Idempotency-Key, "" without; of a line of a batch: with "#" and its number from 1
	Count       int      // Take
	Alias       string   // Create; "" with TakenKey or for a generated key
	TakenKey    string   // Create under a key taken before
	URL         string   // Create, Update
	Key         string   // Get, Update, Delete, Redirect
	Receipt     string   // Return
	Keys        []string // Return
	Level       string   // Get; "" is linearizable
	File        string   // Backup, Restore: a name for the backup

	// What was answered.
	GotKeys    []string // Take
	GotReceipt string   // Take
	GotKey     string   // Create
	GotURL     string   // Create, Get, Update, Redirect
	Replayed   bool     // Idempotent-Replay
	Index      uint64   // X-Kgs-Index of a change; of a Backup the index that it holds the state of
}
