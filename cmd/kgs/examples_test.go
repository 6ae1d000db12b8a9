package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// asKgs makes the binary of the tests kgs itself: "run", or "parse", which only
// looks whether there is such a command, with such flags and arguments.
const asKgs = "KGS_TEST_AS"

func TestMain(m *testing.M) {
	mode := os.Getenv(asKgs)
	os.Unsetenv(asKgs) // not a setting of a node
	switch mode {
	case "run":
		main()
	case "parse":
		cmd, args, err := newRoot(terminal{}).Find(os.Args[1:])
		if err == nil {
			err = cmd.ParseFlags(args)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil || !cmd.Runnable() {
			fmt.Fprintf(os.Stderr, "%q: %v\n", os.Args[1:], err)
			os.Exit(exitLocal)
		}
		os.Exit(exitDone)
	}
	os.Exit(m.Run())
}

// oneNode runs a cluster of one until the test ends, and returns its address.
func oneNode(t *testing.T) string {
	t.Helper()
	args := serveArgs(t, filepath.Join(t.TempDir(), "n1"))
	ctx, stop := context.WithCancel(t.Context())
	var log syncBuffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, nil, &log, &log) }()
	t.Cleanup(func() { stop(); <-ended })
	ready, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := awaitReady(ready, devNode{httpAddr: args[6]}); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	return "http://" + args[6]
}

// leaves are all commands that do something.
func leaves(cmd *cobra.Command) (all []*cobra.Command) {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	for _, member := range cmd.Commands() {
		all = append(all, leaves(member)...)
	}
	return all
}

// notRun are commands whose examples do not end, need other machines, or name
// what is known only at run time.
var notRun = []string{
	"kgs serve", "kgs dev", "kgs cluster join", "kgs cluster remove", "kgs cluster transfer-leader", "kgs cluster recover",
	"kgs token revoke", "kgs links import", "kgs links watch", "kgs snapshot restore", "kgs bench keys", "kgs bench create", "kgs bench batch", "kgs bench redirect", "kgs bench mixed",
}

// TestExamples: each command has some, and they work as they are printed, one
// after the other.
func TestExamples(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	url, dir := oneNode(t), t.TempDir()
	for name, content := range map[string]string{
		"kgs":      fmt.Sprintf("#!/bin/sh\nexec %q \"$@\"\n", self),
		"mysql":    "#!/bin/sh\n",
		"urls.txt": "https://go.dev/\nhttps://go.dev/doc/\n",
		"kgs.yaml": "node-id: n1\ndata-dir: data\ninitial-cluster: n1=127.0.0.1:9080\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, ".config/fish/completions"), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := func(mode, line string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bash, "-e", "-o", "pipefail", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", asKgs+"="+mode, "KGS_ADDR="+url, "HOME="+dir, "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	root := newRoot(terminal{})
	all := leaves(root)
	spaces := func(cmd *cobra.Command) bool { return cmd.Parent().Name() == "keyspace" }
	all = append(slices.DeleteFunc(slices.Clone(all), func(cmd *cobra.Command) bool { return !spaces(cmd) }), // others' examples have their keys
		slices.DeleteFunc(all, spaces)...)
	examples := root.Long[strings.Index(root.Long, "First steps:\n")+len("First steps:\n"):]
	for line := range strings.Lines(examples) {
		command, _, _ := strings.Cut(strings.TrimSpace(line), "    ")
		shell("parse", command)
	}
	for _, cmd := range all {
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "   ") {
				t.Errorf("%s: not two spaces before %q", cmd.CommandPath(), line)
			}
			if len(strings.TrimRight(line, "\n")) > 100 {
				t.Errorf("%s: too long: %q", cmd.CommandPath(), line)
			}
			shell("parse", line)
			if !slices.Contains(notRun, cmd.CommandPath()) && !strings.Contains(line, "--watch") {
				shell("run", line)
			}
		}
	}
}
