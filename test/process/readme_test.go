package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// TestReadme: the README's way from a clone to a cluster with TLS and tokens, as
// it stands there but for the ports, takes at most ten commands and works.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)With TLS and tokens.*?```sh\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatal("README.md has no such block")
	}
	block := strings.TrimSpace(string(found[1]))
	if n := strings.Count(block, "\n") + 1; n > 10 {
		t.Errorf("%d commands", n)
	}
	ports := map[string]int{}
	free := proc.FreePorts(t, 6)
	block = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllStringFunc(block, func(address string) string {
		if ports[address] == 0 {
			ports[address], free = free[0], free[1:]
		}
		return fmt.Sprintf("127.0.0.1:%d", ports[address])
	})

	dir := t.TempDir()
	makefile := fmt.Sprintf("build:\n\tmkdir bin && ln -s %s bin/kgs\n", proc.Binary(t)) // as the Makefile's, built already
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(makefile), 0o644); err != nil {
		t.Fatal(err)
	}
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", "set -e\n"+block+"\nfor node in $(echo $KGS_ADDR | tr , ' '); do kgs links list --addr $node; done")
	shell.Dir, shell.Stdout, shell.Stderr = dir, said, said
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	if err = shell.Start(); err == nil {
		defer syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) // the nodes outlive their shell
		err = shell.Wait()
	}
	if output, _ := os.ReadFile(said.Name()); err != nil || strings.Count(string(output), "https://go.dev/") != 4 { // made, and listed by each node
		t.Fatalf("%v\n%s\nsaid:\n%s", err, block, output)
	}
}
