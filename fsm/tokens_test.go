package fsm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// addToken creates a token of the role and returns its text and its id.
func (d *driver) addToken(role pb.Role, ttl time.Duration) (text, id string) {
	d.t.Helper()
	text = NewToken()
	id, hash, ok := ParseToken(text)
	equal(d.t, ok, true)
	d.ok(cmd(&pb.CreateToken{Id: id, Hash: hash[:], Role: role, Ttl: ttl.Milliseconds()}))
	return text, id
}

func (d *driver) wantRole(text string, want pb.Role, known bool) {
	d.t.Helper()
	b, k := d.m.Authenticate(text, d.now)
	role := b.Role
	equal(d.t, role, want)
	equal(d.t, k, known)
}

func TestTokenText(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		text := NewToken()
		id, hash, ok := ParseToken(text)
		if !ok || seen[id] || text[:4] != "kgs_" || text[4:12] != id || text[12] != '_' || hash != sha256.Sum256([]byte(text[13:])) {
			t.Fatalf("%s: id %q, %v", text, id, ok)
		}
		seen[id] = true
	}
	text := NewToken()
	for _, bad := range []string{
		"", "kgs_", text[1:], text[:len(text)-1], text + "A", "KGS_" + text[4:], text[:12] + "-" + text[13:], text[:5] + "_" + text[6:],
	} {
		if id, _, ok := ParseToken(bad); ok {
			t.Errorf("%q is the token %s", bad, id)
		}
	}
}

func TestTokens(t *testing.T) {
	d := newDriver(t)
	admin, adminID := d.addToken(pb.Role_ADMIN, 0)
	d.wantRole(admin, pb.Role_ADMIN, true)
	read, readID := d.addToken(pb.Role_READ, time.Hour)
	d.wantRole(read, pb.Role_READ, true)
	d.wantRole(read[:13]+admin[13:], pb.Role_NO_ROLE, true) // another's secret
	d.wantRole("kgs_x", pb.Role_NO_ROLE, true)
	d.wantRole(NewToken(), pb.Role_NO_ROLE, false)
	equal(t, len(d.m.Tokens()), 2)

	d.reopen()
	d.wantRole(admin, pb.Role_ADMIN, true)
	d.wantRole(read, pb.Role_READ, true)

	d.ok(revokeToken(readID))
	d.wantRole(read, pb.Role_NO_ROLE, false)
	d.refused(pb.Code_TOKEN_NOT_FOUND, revokeToken(readID))
	d.reopen()
	d.wantRole(read, pb.Role_NO_ROLE, false)
	equal(t, d.m.Tokens()[0].ID, adminID)
}

func TestTokenResultHasNoHash(t *testing.T) {
	d := newDriver(t)
	c := createToken("AAAAAAAA", pb.Role_WRITE, 1000)
	c.GetCreateToken().Name = "ci"
	want := &pb.Token{Role: pb.Role_WRITE, Name: "ci", CreatedAt: d.now, ExpiresAt: d.now + 1000}
	if got := d.ok(c).Token; !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMalformedTokensAreRefused(t *testing.T) {
	d := newDriver(t)
	d.ok(createToken("AAAAAAAA", pb.Role_READ, 0))
	for name, edit := range map[string]func(*pb.CreateToken){
		"no id":           func(op *pb.CreateToken) { op.Id = "" },
		"a wrong id":      func(op *pb.CreateToken) { op.Id = "AAAA_AAA" },
		"a taken id":      func(op *pb.CreateToken) { op.Id = "AAAAAAAA" },
		"no hash":         func(op *pb.CreateToken) { op.Hash = nil },
		"no role":         func(op *pb.CreateToken) { op.Role = 0 },
		"an unknown role": func(op *pb.CreateToken) { op.Role = 5 },
		"a long name":     func(op *pb.CreateToken) { op.Name = strings.Repeat("n", MaxTokenName+1) },
		"a negative time": func(op *pb.CreateToken) { op.Ttl = -1 },
		"a long time":     func(op *pb.CreateToken) { op.Ttl = MaxTokenTTL.Milliseconds() + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := createToken("BBBBBBBB", pb.Role_READ, 0)
			edit(c.GetCreateToken())
			d.t = t
			d.refused(pb.Code_INVALID, c)
		})
	}
}

func TestLastAdminTokenStays(t *testing.T) {
	d := newDriver(t)
	_, first := d.addToken(pb.Role_ADMIN, 0)
	d.addToken(pb.Role_WRITE, 0)
	equal(t, d.m.HasAdmin(d.now), true)
	d.refused(pb.Code_LAST_ADMIN, revokeToken(first))
	_, second := d.addToken(pb.Role_ADMIN, time.Hour)
	d.ok(revokeToken(first))
	d.refused(pb.Code_LAST_ADMIN, revokeToken(second))
	equal(t, d.m.HasAdmin(d.now), true)
	d.now += time.Hour.Milliseconds() // it is none any more
	equal(t, d.m.HasAdmin(d.now), false)
	d.ok(revokeToken(second))
}

// Expiry is by the machine's clock for the state, and by the reader's for a request.
func TestTokenExpires(t *testing.T) {
	d := newDriver(t)
	text, _ := d.addToken(pb.Role_KEYS, time.Minute)
	d.now += minute - 1
	d.wantRole(text, pb.Role_KEYS, true)
	d.now++
	d.wantRole(text, pb.Role_NO_ROLE, true)
	equal(t, d.count(store.Tokens), 1)
	d.addToken(pb.Role_READ, 0)
	equal(t, d.count(store.Tokens), 1) // the expired one is gone
	d.wantRole(text, pb.Role_NO_ROLE, false)
}

func TestTooManyTokens(t *testing.T) {
	d := newDriver(t)
	for i := 0; i < MaxTokens; i += 1000 {
		var cmds []*pb.Command
		for j := range 1000 {
			ttl := int64(0)
			if i+j == 77 {
				ttl = minute
			}
			cmds = append(cmds, createToken(fmt.Sprintf("%08d", i+j), pb.Role_READ, ttl))
		}
		d.apply(cmds...)
	}
	equal(t, len(d.m.Tokens()), MaxTokens)
	d.refused(pb.Code_TOO_MANY_TOKENS, createToken("AAAAAAAA", pb.Role_READ, 0))
	d.now += minute
	d.ok(createToken("AAAAAAAA", pb.Role_READ, 0)) // in place of the expired one
	d.refused(pb.Code_TOO_MANY_TOKENS, createToken("BBBBBBBB", pb.Role_READ, 0))
	d.ok(revokeToken("AAAAAAAA"))
	d.ok(createToken("BBBBBBBB", pb.Role_READ, 0))
}

// A token that was revoked after the backup stays revoked, one that was made
// after it goes on.
func TestRestoreKeepsTheClustersTokens(t *testing.T) {
	d := inhabited(t)
	admin, _ := d.addToken(pb.Role_ADMIN, 0)
	revoked, id := d.addToken(pb.Role_ADMIN, 0)
	file := d.backup()
	d.ok(revokeToken(id))
	later, _ := d.addToken(pb.Role_READ, 0)
	d.restored(file, 0)
	for range 2 {
		d.wantRole(admin, pb.Role_ADMIN, true)
		d.wantRole(later, pb.Role_READ, true)
		d.wantRole(revoked, pb.Role_NO_ROLE, false)
		d.reopen()
	}
	if bytes.Contains(file, []byte(id)) {
		t.Error("the backup has tokens")
	}
}

func TestSnapshotBringsTokens(t *testing.T) {
	d, other := newDriver(t), newDriver(t)
	text, _ := d.addToken(pb.Role_WRITE, 0)
	old, _ := other.addToken(pb.Role_ADMIN, 0)
	check(t, other.m.Restore(bytes.NewReader(d.stream())))
	other.wantRole(text, pb.Role_WRITE, true)
	other.wantRole(old, pb.Role_NO_ROLE, false)
	equal(t, other.digest(), d.digest())
}

func TestTokenIsCreatedOnce(t *testing.T) {
	d := newDriver(t)
	c := request(createToken("AAAAAAAA", pb.Role_READ, 0), 9, 1, 1)
	want := d.ok(c)
	expectResult(t, d.ok(c), want)
	r := request(revokeToken("AAAAAAAA"), 9, 2, 1)
	d.ok(r)
	d.ok(r) // not TOKEN_NOT_FOUND
}

func BenchmarkAuthenticate(b *testing.B) {
	d := emptyDriver(b)
	defer d.close()
	text, _ := d.addToken(pb.Role_READ, 0)
	b.ReportAllocs()
	for b.Loop() {
		if role, _ := d.m.Authenticate(text, d.now); role.Role != pb.Role_READ {
			b.Fatal(role)
		}
	}
}
