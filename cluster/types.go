package cluster

import (
	"time"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Level says how fresh a read must be.
type Level int

const (
	// Linearizable: the read sees everything that was acknowledged before it began.
	Linearizable Level = iota
	// Local: this node's own state, perhaps behind by the replication lag.
	// Whatever was acknowledged through this node is in it. A link that is not
	// found locally is looked for once more at level Linearizable.
	Local
)

// Idempotency is a client's Idempotency-Key with the hash of the request that
// came with it (route and body).
type Idempotency struct {
	Key         string
	Fingerprint []byte
}

// Outcome is the answer to one mutation.
type Outcome struct {
	Err      error    // nil: it had its effect
	Index    uint64   // log index; 0 when it did not go through the log
	Replayed bool     // the answer of an earlier request with the same idempotency key
	Key      string   // of the link
	Link     *pb.Link // as it is after the mutation; nil after a delete
	Count    int      // keys returned
	Found    bool     // the link was there already
}

// LinkPage is a page of links in the order of their keys.
type LinkPage struct {
	Links []fsm.KeyedLink
	Next  string // key to go on after; "" at the end
	Index uint64 // of the log: what came up to it shows, what came later may show
}

// Counts are what the whole state counts.
type Counts struct {
	Links  uint64 // that are not deleted
	Misses uint64 // visits to keys without a link
}

// TakeRequest asks for Count keys of a key space ("" is the default one).
type TakeRequest struct {
	Keyspace    string
	Count       int
	Owner       string // who alone may return them; "": whoever has the receipt
	Idempotency *Idempotency
}

// Keys are keys handed out to one caller.
type Keys struct {
	Keyspace string
	Length   int    // of one key
	Bytes    []byte // the keys, one after the other, Length bytes each
	Receipt  []byte // sealed; see fsm.Receipt
	Index    uint64 // as in Outcome
	Replayed bool
}

// Count is the number of keys.
func (k Keys) Count() int { return len(k.Bytes) / k.Length }

// CreateRequest is one link to create. Exactly one of Create.Alias,
// Create.TakenKey or neither (a generated key) is set.
type CreateRequest struct {
	Create      *pb.CreateLink
	Idempotency *Idempotency
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Role pb.Role
	Name string        // whose it is
	TTL  time.Duration // to the millisecond; 0: valid for ever
	// Links that the owner may have when this token creates another one; 0: any.
	MaxLinks uint64
}

// CreatedToken is a token that was made just now.
type CreatedToken struct {
	Text  string // the secret; it is known nowhere else
	ID    string
	Row   *pb.Token
	Index uint64 // as in Outcome
}

// KeyspaceRequest describes a key space to create.
type KeyspaceRequest struct {
	Name      string
	Space     keyspace.Space
	Blocklist []string // words that no key contains
	// Grow says whether it goes on with longer keys when it is used up; nil: as the
	// state machine decides.
	Grow *bool
}

// CreatedKeyspace is a key space that was created, was there as described, or was
// changed.
type CreatedKeyspace struct {
	Stats    KeyspaceStats
	New      bool
	Index    uint64 // as in Outcome
	Replayed bool
}

// KeyspaceStats is where a key space stands. Counts are keys.
type KeyspaceStats struct {
	Name      string
	Alphabet  string
	Length    int // of the keys that are generated now, without prefix and check character
	Prefix    string
	Check     bool
	Blocked   int // words
	Size      uint64
	Generated uint64 // Unused + Used
	Unused    uint64
	Used      uint64
	Returned  uint64        // of Used, those in quarantine
	Buffered  uint64        // of Used, those in the leader's memory
	Lost      uint64        // of Used, at most so many died with a crashed leader's memory
	Rate      float64       // handed out per second, recently
	Exhausted time.Duration // until no key is left at that rate, or it grows; 0: not in sight
	// CaseInsensitive: keys may be written in either case.
	CaseInsensitive bool
	// Lengths are those that it has: all but the last one are generated.
	Lengths []LengthStats
	Grows   bool // it will go on with longer keys
	// GrowthBlocked says why it will not, though it should; else "".
	GrowthBlocked string
}

// LengthStats is where one length of a key space stands.
type LengthStats struct {
	Length             int
	Size, Unused, Used uint64
}

// KeyPlace is a place in the key tables of a key space.
type KeyPlace struct {
	Length   int // below that of the first: from it on
	Position uint64
}

// KeyRow is a row of a key table, of the positions of one length.
type KeyRow struct {
	Length int
	fsm.KeyRow
}

// Role of a node in the cluster.
type Role string

const (
	RoleLeader   Role = "leader"
	RoleFollower Role = "follower"
	RoleNonvoter Role = "nonvoter"
)

// NodeStatus is one node as the answering node sees it.
type NodeStatus struct {
	ID          string
	Role        Role
	HTTP        string // URL
	Cluster     string // host:port
	Healthy     bool   // answered just now
	Problem     string // why not
	Applied     uint64
	LastContact time.Duration // since it heard from the leader; 0 on the leader
	Version     string
	Commands    uint32 // newest version of the command set that it knows, see fsm.Version
}

// Status is the cluster as the answering node sees it.
type Status struct {
	ClusterID string
	Leader    string // "" when there is none
	Term      uint64
	Commands  uint32 // version of the command set in use: all members know it
	Nodes     []NodeStatus
	// The answering node's own state: the hash chain after the last entry that it
	// applied. At one index all nodes have the same.
	Applied, Chain uint64
}

// JoinRequest asks the cluster to take a node in. It joins as a non-voter and
// becomes a voter once it has caught up, unless NonVoter.
type JoinRequest struct {
	ID       string
	DiskID   string
	HTTP     string // URL
	Cluster  string // host:port
	NonVoter bool
}

// Check is one thing a node needs in order to serve.
type Check struct {
	Name   string
	OK     bool
	Detail string
}
