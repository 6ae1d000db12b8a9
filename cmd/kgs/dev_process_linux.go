package main

import (
	"os/exec"
	"runtime"
	"syscall"
)

// lockToParent makes a child end with this process, even one killed by SIGKILL,
// and keeps the terminal's Ctrl-C from it: its parent passes that on. Call it on
// the goroutine that starts the child, and the result when the child has ended.
// The kernel sends Pdeathsig when the thread ends that started the child, so the
// goroutine keeps its thread.
func lockToParent(cmd *exec.Cmd) (release func()) {
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return runtime.UnlockOSThread
}
