//go:build !linux

package main

import (
	"os/exec"
	"syscall"
)

// lockToParent keeps the terminal's Ctrl-C from a child: its parent passes that
// on. Only Linux can also end a child with a parent that is killed: elsewhere
// the nodes then stay, and DIR/nI/kgs.pid says which they are.
func lockToParent(cmd *exec.Cmd) (release func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return func() {}
}
