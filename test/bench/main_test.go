package bench

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/kgs-cluster/kgs/test/proc"
)

// root is where the product's own module is, seen from here.
const root = "../.."

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		runChild(child)
		return
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	proc.Clean()
	os.Exit(code)
}

// prepare makes proc build the same binary that make build does: with the
// versions of the product's own go.mod, static. And it keeps data off tmpfs,
// where a sync costs nothing.
func prepare() error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := os.Setenv("CGO_ENABLED", "0"); err != nil {
		return err
	}
	if os.Getenv("TMPDIR") != "" || !onTmpfs(os.TempDir()) {
		return nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	dir += "/bin/tmp"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Setenv("TMPDIR", dir)
}

const tmpfsMagic = 0x01021994

func onTmpfs(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && fs.Type == tmpfsMagic
}

// interruptible is a context that Ctrl-C ends, so that all that was started is
// ended and removed as after a whole run.
func interruptible(t *testing.T) context.Context {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	t.Cleanup(stop)
	return ctx
}
