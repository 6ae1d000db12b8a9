// Command mutants proves the proof: it plants bugs in copies of the product, one
// at a time, runs the tests that should see them, and tells which oracle did and
// how fast. A bug that nobody sees is a failure.
//
//	go run ./test/mutants [NAME...]
//
// Nothing in the tree is changed: the go command is given the changed files as
// an overlay.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/test/report"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(names []string) error {
	var results []report.Mutant
	missed := 0
	fmt.Printf("%-28s %-8s %7s  %s\n", "BUG", "", "SECONDS", "SEEN BY")
	for _, b := range bugs {
		if len(names) > 0 && !slices.Contains(names, b.name) {
			continue
		}
		m, err := b.try()
		state := "caught"
		if err != nil {
			state, m.By = "BROKEN", err.Error()
		} else if !m.Caught {
			state = "MISSED"
		}
		if state != "caught" {
			missed++
		}
		fmt.Printf("%-28s %-8s %7.1f  %s\n", m.Name, state, m.Seconds, m.By)
		results = append(results, m)
	}
	if err := report.Save("mutants", results); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d bugs were not seen", missed, len(results))
	}
	fmt.Printf("all %d bugs were seen\n", len(results))
	return nil
}

// limits of one run: one that should end, and one that should not.
const (
	limit     = 15 * time.Minute
	hangLimit = time.Minute
)

// try plants the bug and runs its test.
func (b bug) try() (report.Mutant, error) {
	m := report.Mutant{Name: b.name, Bug: b.words}
	dir, err := os.MkdirTemp("", "kgs-mutant-")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	overlay, err := b.plant(dir)
	if err != nil {
		return m, err
	}
	binary := filepath.Join(dir, "test")
	pkg := cmp.Or(b.pkg, "./test/sim")
	if out, err := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary, pkg).CombinedOutput(); err != nil {
		return m, fmt.Errorf("it does not build: %w\n%s", err, out)
	}
	within := limit
	if b.hangs {
		within = hangLimit
	}
	cmd := exec.Command(binary, "-test.run", cmp.Or(b.run, "TestSim"), "-test.timeout", within.String())
	cmd.Dir = pkg
	cmd.Env = append(os.Environ(), "KGS_SIM_STOP=1", "KGS_SIM_PROFILE="+b.profile, "KGS_REPORT_DIR="+dir)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	m.Seconds = time.Since(began).Seconds()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return m, err
	}
	late := bytes.Contains(out, []byte("panic: test timed out"))
	if m.Caught = err != nil && late == b.hangs; m.Caught {
		m.By, m.Deaths = seenBy(dir, out)
	}
	return m, nil
}

// plant writes the changed files and the overlay that names them.
func (b bug) plant(dir string) (string, error) {
	changed := map[string]string{}
	for _, e := range b.edits {
		text, ok := changed[e.file]
		if !ok {
			data, err := os.ReadFile(e.file)
			if err != nil {
				return "", err
			}
			text = string(data)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%s has the text to change %d times, not once:\n%s", e.file, n, e.old)
		}
		changed[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	replace := map[string]string{}
	for file, text := range changed {
		path, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		replace[path] = filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, data, 0o600)
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^panic: (.*)`)

// seenBy is the oracle that saw the bug first, or the test that failed.
func seenBy(dir string, out []byte) (by string, deaths int) {
	var sim report.Run
	if data, err := os.ReadFile(filepath.Join(dir, "sim.json")); err == nil && json.Unmarshal(data, &sim) == nil && len(sim.Violations) > 0 {
		return sim.Violations[0].Oracle, sim.Deaths
	}
	if found := failed.FindSubmatch(out); found != nil {
		return cmp.Or(string(found[1]), "panic: "+string(found[2])), 0
	}
	return "the process ended", 0
}
