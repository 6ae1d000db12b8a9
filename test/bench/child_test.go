package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// A child is this test binary, run again as one of the servers.
const (
	childEnv     = "KGS_BENCH_CHILD" // which
	childArgsEnv = "KGS_BENCH_ARGS"  // JSON of its arguments
)

// childReady is what a child prints when it serves.
const childReady = "ready"

// runChild is the main function of a child. It ends when its stdin does: with
// the process that started it, however that ends.
func runChild(name string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
		os.Exit(0)
	}()
	args := []byte(os.Getenv(childArgsEnv))
	err := fmt.Errorf("no child %q", name)
	switch name {
	case "echo":
		err = serveEcho(args)
	case "etcd":
		err = serveEtcd(args)
	case "raft":
		err = serveRaft(args)
	}
	fmt.Fprintln(os.Stderr, name+":", err)
	os.Exit(1)
}

// ready tells the parent, and serves for ever.
func ready() { fmt.Println(childReady); select {} }

// startChild starts a child and returns when it serves.
func startChild(t *testing.T, name string, args any) error {
	t.Helper()
	data, err := json.Marshal(args)
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+name, childArgsEnv+"="+string(data))
	said := &proc.Output{}
	cmd.Stderr = said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n') // "" if it ended
		lines <- strings.TrimSpace(line)
	}()
	select {
	case line := <-lines:
		if line == childReady {
			return nil
		}
		return fmt.Errorf("%s ended at its start: %s", name, said)
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%s did not start: %s", name, said)
	}
}

// startServer starts another program's server, as somebody who is not root if
// this process is, and returns when its port answers.
func startServer(t *testing.T, port int, asUser string, name string, args ...string) error {
	t.Helper()
	cmd := exec.Command(name, args...)
	said := &proc.Output{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := runAs(cmd, asUser); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGINT) // of postgres: a fast shutdown
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			<-exited
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-exited:
			return fmt.Errorf("%s ended at its start: %s", name, said)
		default:
		}
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %s", name, said)
		}
	}
}

// runAs makes a command run as a user, or as nobody if there is no such user;
// only if this process is root's.
func runAs(cmd *exec.Cmd, name string) error {
	if name == "" || os.Getuid() != 0 {
		return nil
	}
	uid, gid, err := ids(name)
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return nil
}

func ids(name string) (uid, gid uint32, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return 0, 0, err
		}
	}
	parse := func(text string) uint32 {
		n, _ := strconv.ParseUint(text, 10, 32) // on Unix a decimal number
		return uint32(n)
	}
	return parse(u.Uid), parse(u.Gid), nil
}

// getJSON asks a child.
func getJSON(url string, into any) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", url, response.Status, body)
	}
	return json.Unmarshal(body, into)
}
