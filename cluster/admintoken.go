package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// The first admin token has nobody to make it but the cluster itself: the leader
// makes one when there is no valid one, at first or because all have expired. Its
// text is in the leader's data directory alone. It goes there before the command
// goes into the log, under a name that says that it is not yet known to be a
// token, and gets its own name once the state has it:
//
//	killed here                        -> when the node starts again
//	before admin.token.new is synced   -> it holds no token; the next leader makes one
//	after it                           -> leading, it goes on with this token if there
//	                                      is still none; else the file goes
//	after the command is in the log    -> the file is renamed, the token is shown
//	after the rename                   -> the token is in the file; it may not have been shown
//
// What is in admin.token itself is never proposed again: its token may have been
// revoked, and must stay so.
const (
	adminTokenFile   = "admin.token"
	pendingTokenFile = adminTokenFile + ".new"
	adminTokenName   = "first admin"
	adminTokenTick   = 250 * time.Millisecond
)

// keepAdminToken looks now and then whether an admin token is missing.
func (n *Node) keepAdminToken(ctx context.Context) {
	tick := time.NewTicker(adminTokenTick)
	defer tick.Stop()
	begun, said := true, "" // begun: perhaps by an earlier process
	for {
		var err error
		if begun || n.lacksAdmin() {
			err = n.ensureAdminToken(ctx)
		}
		switch {
		case err == nil:
			begun, said = false, ""
		case retryable(err) || ctx.Err() != nil:
			begun = true
		case err.Error() != said:
			begun, said = true, err.Error()
			n.log.Warn("no admin token could be made", "reason", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) lacksAdmin() bool {
	_, err := n.leading()
	return err == nil && !n.machine.HasAdmin(n.cfg.Now().UnixMilli())
}

// ensureAdminToken makes an admin token if this node leads and there is none, and
// ends what an earlier try has begun.
func (n *Node) ensureAdminToken(ctx context.Context) error {
	path := filepath.Join(n.cfg.DataDir, pendingTokenFile)
	text, err := readToken(path)
	if err != nil {
		return err
	}
	// In this order: an admin found before the token was still unknown is another one.
	now := n.cfg.Now().UnixMilli()
	_, following := n.leading()
	others := n.machine.HasAdmin(now)
	role, _ := n.machine.Authenticate(text, now)
	switch {
	case role.Role == pb.Role_ADMIN:
		return n.showAdminToken(path, text)
	case following != nil && text == "":
		return nil
	case following != nil:
		return following // to be ended once this node leads, or knows more
	case others:
		return removeToken(path)
	case text == "":
		text = fsm.NewToken()
		if err := writeToken(path, text); err != nil {
			return err
		}
	}
	cmd, _ := createToken(text, TokenRequest{Role: pb.Role_ADMIN, Name: adminTokenName})
	if _, err := n.proposeOne(ctx, cmd); err != nil {
		return err
	}
	return n.showAdminToken(path, text)
}

func (n *Node) showAdminToken(pending, text string) error {
	path := filepath.Join(n.cfg.DataDir, adminTokenFile)
	if err := errors.Join(os.Rename(pending, path), syncDir(vfs.Default, n.cfg.DataDir)); err != nil {
		return err
	}
	n.cfg.AdminToken(text, path)
	return nil
}

// readToken returns "" if there is no such file, or none that was written to its end.
func readToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	if _, _, ok := fsm.ParseToken(text); !ok {
		return "", nil
	}
	return text, nil
}

// writeToken writes a file that only its owner can read. (The files of Disk have
// no such thing.)
func writeToken(path, text string) error {
	if err := removeToken(path); err != nil { // the rights of one that is there would stay
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, text)
	return errors.Join(err, f.Sync(), f.Close(), syncDir(vfs.Default, filepath.Dir(path)))
}

func removeToken(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
