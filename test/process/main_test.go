// Package process tests kgs as real processes: kill -9, restarts, real files.
package process

import (
	"os"
	"testing"

	"github.com/kgs-cluster/kgs/test/proc"
)

func TestMain(m *testing.M) {
	code := m.Run()
	proc.Clean()
	os.Exit(code)
}
