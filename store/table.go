package store

import "fmt"

// Table is the first byte of every row's key: it names the table the row belongs to.
// The numbers are on disk and in every stream; never reuse or renumber one.
type Table byte

const (
	Keyspaces Table = iota + 1
	UnusedKeys
	UsedKeys
	Links
	LinkTags
	Nodes
	Sessions
	Requests
	Idempotency
	IdempotencyExpiry
	Quarantine
	Meta // the state machine's own singletons
	Staging
	Tokens
	LinkURLs
	LinkExpiry
	LinkVisits
	Owners

	internal  Table = 0 // the store's own row: how far the log is applied
	lastTable       = Owners
)

var tableNames = [...]string{
	internal:          "internal",
	Keyspaces:         "keyspaces",
	UnusedKeys:        "unused_keys",
	UsedKeys:          "used_keys",
	Links:             "links",
	LinkTags:          "link_tags",
	Nodes:             "nodes",
	Sessions:          "sessions",
	Requests:          "requests",
	Idempotency:       "idempotency",
	IdempotencyExpiry: "idempotency_expiry",
	Quarantine:        "quarantine",
	Meta:              "meta",
	Staging:           "staging",
	Tokens:            "tokens",
	LinkURLs:          "link_urls",
	LinkExpiry:        "link_expiry",
	LinkVisits:        "link_visits",
	Owners:            "owners",
}

func (t Table) String() string {
	if int(t) < len(tableNames) {
		return tableNames[t]
	}
	return fmt.Sprintf("table(%d)", byte(t))
}

// known reports whether t may hold rows: the internal table belongs to the store alone.
func (t Table) known() bool { return t > internal && t <= lastTable }

// rowKey appends the on-disk key of a row to dst.
func rowKey(dst []byte, t Table, key []byte) []byte {
	return append(append(dst, byte(t)), key...)
}

// after returns the smallest key greater than every key that starts with prefix. Row keys start with
// a table byte, which is never 0xff, so there always is one.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
