package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/kgs-cluster/kgs/httpapi/client/load"
	"github.com/kgs-cluster/kgs/test/proc"
)

// postgresBin finds a directory of PostgreSQL's programs, the newest version's.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is right
	if len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed: apt-get install postgresql-15")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

// pgKeys is how many rows unused_keys has at the start.
const pgKeys = 500_000

// startPostgres starts one server, durable as it is by default, with the two
// tables of keys and one of links, and returns how to connect.
func startPostgres(t *testing.T) (string, error) {
	bin, err := postgresBin()
	if err != nil {
		return "", err
	}
	dir, port := filepath.Join(t.TempDir(), "pg"), proc.FreePorts(t, 1)[0]
	if err := giveTo(dir, "postgres"); err != nil {
		return "", err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", dir, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale")
	initdb.Dir = dir
	if err := runAs(initdb, "postgres"); err != nil {
		return "", err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w: %s", err, out)
	}
	err = startServer(t, port, "postgres", filepath.Join(bin, "postgres"), "-D", dir, "-p", strconv.Itoa(port), "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "shared_buffers=256MB",
		"-c", "fsync=on", "-c", "synchronous_commit=on")
	if err != nil {
		return "", err
	}
	at := fmt.Sprintf("host=127.0.0.1 port=%d user=bench dbname=postgres sslmode=disable", port)
	db, err := dialPostgres(t.Context(), at)
	if err != nil {
		return "", err
	}
	defer db.Close(t.Context())
	for _, statement := range []string{
		`CREATE TABLE unused_keys (key text PRIMARY KEY)`,
		`CREATE TABLE used_keys (key text PRIMARY KEY, taken_at timestamptz NOT NULL DEFAULT now())`,
		`CREATE TABLE links (key text PRIMARY KEY, url text NOT NULL)`,
		fmt.Sprintf(`INSERT INTO unused_keys SELECT DISTINCT substr(md5(i::text || 'k'), 1, 10) FROM generate_series(1, %d) i`, pgKeys),
		`VACUUM ANALYZE unused_keys`,
		`CHECKPOINT`,
	} {
		if _, err := db.Exec(t.Context(), statement); err != nil {
			return "", fmt.Errorf("%s: %w", statement, err)
		}
	}
	return at, nil
}

// giveTo makes a directory that a user can reach and own, if this is root.
func giveTo(dir, name string) error {
	if err := os.Mkdir(dir, 0o700); err != nil || os.Getuid() != 0 {
		return err
	}
	uid, gid, err := ids(name)
	if err != nil {
		return err
	}
	for up := filepath.Dir(dir); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o711); err != nil {
			return err
		}
	}
	return os.Chown(dir, int(uid), int(gid))
}

// dialPostgres waits until the server has started.
func dialPostgres(ctx context.Context, at string) (*pgx.Conn, error) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		db, err := pgx.Connect(ctx, at)
		if err == nil || time.Now().After(deadline) {
			return db, err
		}
	}
}

// pgSettle does now what the server would do in the background, while others are
// measured.
func pgSettle(ctx context.Context, at string) error {
	db, err := dialPostgres(ctx, at)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	for _, statement := range []string{`VACUUM`, `CHECKPOINT`} {
		if _, err := db.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// The statements are prepared once per connection, by pgx.
const (
	moveKey = `WITH k AS (
		DELETE FROM unused_keys WHERE key IN (SELECT key FROM unused_keys LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING key)
	INSERT INTO used_keys (key) SELECT key FROM k RETURNING key`
	insertLink = `INSERT INTO links (key, url) VALUES ($1, $2) ON CONFLICT DO NOTHING`
)

// pgMove moves a key from unused_keys to used_keys.
func pgMove(at string) connect {
	return func(ctx context.Context, _ int) (load.Worker, error) {
		return pgDial(ctx, at, func(ctx context.Context, db *pgx.Conn) error {
			var key string
			return db.QueryRow(ctx, moveKey).Scan(&key) // no row: an error
		})
	}
}

// pgCreate inserts a link under a random key, and again under another one if
// there is such a key.
func pgCreate(at string, urls *load.URLs) connect {
	return func(ctx context.Context, _ int) (load.Worker, error) {
		return pgDial(ctx, at, func(ctx context.Context, db *pgx.Conn) error {
			target := urls.Next()
			for {
				done, err := db.Exec(ctx, insertLink, randomKey(), target)
				if err != nil || done.RowsAffected() == 1 {
					return err
				}
			}
		})
	}
}

func pgDial(ctx context.Context, at string, do func(context.Context, *pgx.Conn) error) (load.Worker, error) {
	db, err := dialPostgres(ctx, at)
	return pgWorker{db, do}, err
}

type pgWorker struct {
	db *pgx.Conn
	do func(context.Context, *pgx.Conn) error
}

func (w pgWorker) Do(ctx context.Context) (load.Done, error) {
	return load.Done{Items: 1}, w.do(ctx, w.db)
}

func (w pgWorker) Close() error { return w.db.Close(context.Background()) }
