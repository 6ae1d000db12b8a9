package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Everything that a run makes outside of its process bears the process's id:
// its directory, with data, mounts and what else is named in command lines; its
// network namespaces; its bridge and wires. So the next run can take away what a run left
// that was killed.
var (
	dirName   = regexp.MustCompile(`^kgs-chaos-(\d+)-`)
	spaceName = regexp.MustCompile(`^kgc(\d+)[a-z]-`)
	linkName  = regexp.MustCompile(`^kgc(\d+)[a-z](v\d+)?$`)
)

// newDir makes the directory of a run.
func newDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", fmt.Sprintf("kgs-chaos-%d-", os.Getpid()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { sweepDir(dir) })
	return dir
}

// sweepOnInterrupt takes away what this run made if it is interrupted.
func sweepOnInterrupt() {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-interrupted
		sweepLeftovers(func(pid int) bool { return pid == os.Getpid() })
		os.Exit(1)
	}()
}

// dead tells whether a process is gone: what it made is left over.
func dead(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// sweepLeftovers takes away what runs made whose process is stale.
func sweepLeftovers(stale func(pid int) bool) {
	ours := func(pattern *regexp.Regexp, name string) bool {
		found := pattern.FindStringSubmatch(name)
		if found == nil {
			return false
		}
		pid, err := strconv.Atoi(found[1])
		return err == nil && stale(pid)
	}
	entries, _ := os.ReadDir(os.TempDir())
	for _, entry := range entries {
		if ours(dirName, entry.Name()) {
			sweepDir(filepath.Join(os.TempDir(), entry.Name()))
		}
	}
	spaces, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return // without the command there are none
	}
	for line := range strings.Lines(string(spaces)) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); ours(spaceName, name) {
			exec.Command("ip", "netns", "del", name).Run()
		}
	}
	links, _ := exec.Command("ip", "-o", "link", "show").Output()
	for line := range strings.Lines(string(links)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			if name, _, _ := strings.Cut(strings.TrimSuffix(fields[1], ":"), "@"); ours(linkName, name) {
				exec.Command("ip", "link", "del", name).Run()
			}
		}
	}
}

// sweepDir ends the processes that were started with a directory in their
// command line, and removes it with all that is mounted below.
func sweepDir(dir string) {
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range processes {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), dir+"/") {
			if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil && pid != os.Getpid() {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	mounts, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			exec.Command("umount", "-l", fields[1]).Run()
		}
	}
	os.RemoveAll(dir)
}
