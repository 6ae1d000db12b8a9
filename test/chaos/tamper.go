package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// noTamper says why system calls of a process cannot be tampered with.
func noTamper(r *run) string {
	if _, err := exec.LookPath("strace"); err != nil {
		return "strace is not installed"
	}
	subject := exec.Command("sleep", "10")
	if err := subject.Start(); err != nil {
		return err.Error()
	}
	defer func() {
		subject.Process.Kill()
		subject.Wait()
	}()
	detach, err := tamper(subject.Process.Pid, "delay_enter=1", filepath.Join(r.cluster.Dir, "strace.try"))
	if err != nil {
		return err.Error()
	}
	detach()
	return ""
}

// attachWithin bounds how long strace may take to take hold of a process.
const attachWithin = 10 * time.Second

// tamper does something to each sync of a process's files, in the words of
// strace's -e inject, until detach.
func tamper(pid int, inject, log string) (detach func(), err error) {
	strace := exec.Command("strace", "-f", "-q", "-o", log, "-p", fmt.Sprint(pid),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:"+inject)
	said := &proc.Output{}
	strace.Stderr = said
	if err := strace.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		strace.Wait()
		close(ended)
	}()
	detach = func() {
		strace.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Second): // it waits for a delay to pass: the kernel detaches too
			strace.Process.Kill()
			<-ended
		}
	}
	for overdue := time.After(attachWithin); !allTraced(pid); {
		select {
		case <-ended:
			return nil, fmt.Errorf("strace: %s", strings.TrimSpace(said.String()))
		case <-overdue:
			detach()
			return nil, errors.New("strace does not take hold of the process")
		case <-time.After(5 * time.Millisecond):
		}
	}
	return detach, nil
}

// allTraced tells whether each thread of a process has a tracer.
func allTraced(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, file := range threads {
		if status, err := os.ReadFile(file); err == nil && strings.Contains(string(status), "\nTracerPid:\t0\n") {
			return false
		}
	}
	return len(threads) > 0
}
