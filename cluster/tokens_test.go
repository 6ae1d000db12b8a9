package cluster

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// guarded is a node alone that looks at tokens.
type guarded struct {
	t     *testing.T
	dir   string
	ahead atomic.Int64 // of its clock
	shown chan string
	*Node
}

func (g *guarded) open() {
	g.t.Helper()
	const addr = "n1:1"
	var err error
	g.Node, err = Open(Config{
		NodeID: "n1", DataDir: g.dir, ClusterAddr: addr, InitialCluster: map[string]string{"n1": addr},
		Heartbeat: 50 * time.Millisecond, Election: 50 * time.Millisecond, Network: newPipeNet().at(addr),
		Now: func() time.Time { return time.Now().Add(time.Duration(g.ahead.Load())) },
		AdminToken: func(text, file string) {
			if file != g.path(adminTokenFile) {
				g.t.Errorf("the file is %s", file)
			}
			g.shown <- text
		},
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *guarded) reopen() {
	g.t.Helper()
	if err := g.Close(); err != nil {
		g.t.Fatal(err)
	}
	g.open()
}

func (g *guarded) path(file string) string { return filepath.Join(g.dir, file) }

func (g *guarded) wantRole(text string, want pb.Role) {
	g.t.Helper()
	if role, err := g.Authenticate(g.ctx(), text); role.Role != want || err != nil {
		g.t.Fatalf("role %v, %v; want %v", role, err, want)
	}
}

func (g *guarded) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	g.t.Cleanup(cancel)
	return ctx
}

// next is the next token that is shown; it is in the file, too, which nobody else can read.
func (g *guarded) next() string {
	g.t.Helper()
	select {
	case text := <-g.shown:
		data, err := os.ReadFile(g.path(adminTokenFile))
		if err != nil || string(data) != text+"\n" {
			g.t.Fatalf("%s is shown, the file has %q, %v", text, data, err)
		}
		if info, err := os.Stat(g.path(adminTokenFile)); err != nil || info.Mode() != 0o600 {
			g.t.Fatalf("%v, %v", info.Mode(), err)
		}
		if _, err := os.Stat(g.path(pendingTokenFile)); !errors.Is(err, fs.ErrNotExist) {
			g.t.Fatal(err)
		}
		g.wantRole(text, pb.Role_ADMIN)
		return text
	case <-time.After(20 * time.Second):
		g.t.Fatal("no token is shown")
		return ""
	}
}

// wantNone: the node leads, has ended what was begun, and makes no token.
func (g *guarded) wantNone() {
	g.t.Helper()
	for g.lead.ready.Load() == 0 {
		if g.ctx().Err() != nil {
			g.t.Fatal("it does not lead")
		}
		time.Sleep(time.Millisecond)
	}
	if err := g.ensureAdminToken(g.ctx()); err != nil {
		g.t.Fatal(err)
	}
	select {
	case text := <-g.shown:
		g.t.Fatalf("%s is shown", text)
	default:
	}
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{t: t, dir: t.TempDir(), shown: make(chan string, 16)}
	t.Cleanup(func() {
		if g.Node != nil {
			g.Close()
		}
	})
	return g
}

func (g *guarded) pend(text string) {
	g.t.Helper()
	if err := os.WriteFile(g.path(pendingTokenFile), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func TestTheFirstAdminTokenIsMadeOnce(t *testing.T) {
	g := newGuarded(t)
	g.open()
	text := g.next()
	g.reopen()
	g.wantNone()
	g.wantRole(text, pb.Role_ADMIN)
}

// A crash before the command was in the log: the token on the disk is used.
func TestAPendingAdminTokenIsUsed(t *testing.T) {
	g := newGuarded(t)
	text := fsm.NewToken()
	g.pend(text + "\n")
	g.open()
	if got := g.next(); got != text {
		t.Errorf("another one is shown: %s", got)
	}
}

// A crash while the file was written: nobody can have seen that token.
func TestAHalfWrittenAdminTokenIsNotUsed(t *testing.T) {
	g := newGuarded(t)
	text := fsm.NewToken()
	g.pend(text[:30])
	g.open()
	if g.next()[:30] == text[:30] {
		t.Error("it is used")
	}
}

// A crash after the command was in the log, before the file had its name.
func TestAnAdminTokenInTheLogIsShown(t *testing.T) {
	g := newGuarded(t)
	g.open()
	text := g.next()
	if err := os.Rename(g.path(adminTokenFile), g.path(pendingTokenFile)); err != nil {
		t.Fatal(err)
	}
	g.reopen()
	if got := g.next(); got != text {
		t.Errorf("another one is shown: %s", got)
	}
}

// The token of a leader that lost its office before the command was in the log
// is not needed any more.
func TestAPendingAdminTokenGoesIfThereIsAnother(t *testing.T) {
	g := newGuarded(t)
	g.open()
	g.next()
	g.pend(fsm.NewToken())
	g.wantNone()
	if _, err := os.Stat(g.path(pendingTokenFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// With the last admin token expired there is another first one. The old first
// one, which was revoked, stays revoked, although its text is still in the file.
func TestARevokedFirstAdminTokenStaysRevoked(t *testing.T) {
	g := newGuarded(t)
	g.open()
	first := g.next()
	second, err := g.CreateToken(g.ctx(), TokenRequest{Role: pb.Role_ADMIN, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := fsm.ParseToken(first)
	if o := g.RevokeToken(g.ctx(), id, nil); o.Err != nil {
		t.Fatal(o.Err)
	}
	g.wantRole(first, pb.Role_NO_ROLE)
	if o := g.RevokeToken(g.ctx(), second.ID, nil); !errors.Is(o.Err, fsm.ErrLastAdmin) {
		t.Fatal(o.Err)
	}
	g.reopen()
	g.wantNone()
	g.ahead.Store(int64(2 * time.Hour))
	if g.next() == first {
		t.Error("it is back")
	}
	g.wantRole(first, pb.Role_NO_ROLE)
	g.wantRole(second.Text, pb.Role_NO_ROLE)
}
