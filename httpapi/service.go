package httpapi

import (
	"context"
	"io"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Service is the node as this package sees it; *cluster.Node is one. All
// methods may be called from any goroutine, any number at a time. They return
// soon after the context is done, with an error of package cluster or fsm.
type Service interface {
	KeyService
	LinkService
	ClusterService
	TokenService
	SnapshotService
	HealthService
}

// KeyService hands out keys and shows the key tables.
type KeyService interface {
	TakeKeys(ctx context.Context, r cluster.TakeRequest) (cluster.Keys, error)
	ReturnKeys(ctx context.Context, as string, receipt []byte, keys []string, idem *cluster.Idempotency) cluster.Outcome
	Key(ctx context.Context, l cluster.Level, space, key string) (fsm.KeyState, error)
	Keyspaces(ctx context.Context, l cluster.Level) ([]cluster.KeyspaceStats, error)
	Keyspace(ctx context.Context, l cluster.Level, name string) (cluster.KeyspaceStats, error)
	CreateKeyspace(ctx context.Context, r cluster.KeyspaceRequest, idem *cluster.Idempotency) (cluster.CreatedKeyspace, error)
	UpdateKeyspace(ctx context.Context, name string, grow *bool, idem *cluster.Idempotency) (cluster.CreatedKeyspace, error)
	KeyRows(ctx context.Context, l cluster.Level, used bool, space string, from cluster.KeyPlace, limit int) ([]cluster.KeyRow, error)
}

// LinkService stores links. CreateLinks answers in the order of its argument. Visits
// and Link say the key of the link, which may be written in another case than asked.
type LinkService interface {
	CreateLinks(ctx context.Context, rs []cluster.CreateRequest) []cluster.Outcome
	UpdateLink(ctx context.Context, u *pb.UpdateLink, idem *cluster.Idempotency) cluster.Outcome
	DeleteLink(ctx context.Context, as, key string, idem *cluster.Idempotency) cluster.Outcome
	VisitLink(ctx context.Context, key string) cluster.Outcome
	AddVisits(ctx context.Context, v *pb.AddVisits) error
	Visits(ctx context.Context, l cluster.Level, key string) (at string, v *pb.Visits, err error)
	Link(ctx context.Context, l cluster.Level, key string) (at string, link *pb.Link, err error)
	Links(ctx context.Context, l cluster.Level, q fsm.LinkQuery) (cluster.LinkPage, error)
	WatchLinks(ctx context.Context, after fsm.ChangeID) (*fsm.LinkWatch, error)
	Tags(ctx context.Context, l cluster.Level, after string, limit int) ([]string, error)
	Counts(ctx context.Context, l cluster.Level) (cluster.Counts, error)
}

// ClusterService shows and changes the membership.
type ClusterService interface {
	ID() string
	Status(ctx context.Context) (cluster.Status, error)
	Join(ctx context.Context, r cluster.JoinRequest) error
	Remove(ctx context.Context, id string, force bool) error
	Transfer(ctx context.Context, to string) error
}

// TokenService knows the tokens. Authenticate is called with every request, if
// tokens are looked at: it answers from memory nearly always.
type TokenService interface {
	Authenticate(ctx context.Context, token string) (fsm.Bearer, error)
	CreateToken(ctx context.Context, r cluster.TokenRequest) (cluster.CreatedToken, error)
	RevokeToken(ctx context.Context, id string, idem *cluster.Idempotency) cluster.Outcome
	Tokens(ctx context.Context, l cluster.Level) ([]fsm.IdentifiedToken, error)
}

// SnapshotService writes backups and restores them. The context of Backup bounds
// the wait for its first byte.
type SnapshotService interface {
	Backup(ctx context.Context, w io.Writer) error
	RestoreBackup(ctx context.Context, r io.Reader, request cluster.RestoreRequest) (cluster.RestoreResult, error)
}

// HealthService answers from memory and never waits.
type HealthService interface {
	Ready() []cluster.Check
	// Age is the time since this node heard from the leader.
	Age() (age time.Duration, leading bool)
}
