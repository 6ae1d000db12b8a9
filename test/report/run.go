// Package report holds what the parts of the proof found (package sim, package
// chaos, package mutants), as JSON files in one directory, and makes one HTML
// page of them.
package report

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Run is what one run of the simulation or of the chaos found.
type Run struct {
	Part    string    `json:"part"` // "sim", "chaos" or "kills"
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`           // that passed on the clock on the wall
	Virtual float64   `json:"virtual,omitempty"` // seconds that passed in the simulation
	Seeds   []uint64  `json:"seeds"`
	Nodes   int       `json:"nodes"` // processes, or simulated nodes, that were part of it

	Operations map[string]int `json:"operations"` // requests of clients, by kind
	Outcomes   map[string]int `json:"outcomes"`   // "ok", "refused", "unknown"
	Faults     map[string]int `json:"faults"`     // by class
	Deaths     int            `json:"deaths"`     // of a leader, of all kinds

	Skipped map[string]string `json:"skipped,omitempty"` // fault class -> why this machine cannot do it

	// Recoveries are milliseconds from a leader's death to the first answered
	// write; Transfers those from a graceful transfer's begin to the same.
	Recoveries []float64 `json:"recoveries"`
	Transfers  []float64 `json:"transfers"`

	// Healing is milliseconds from the end of a fault until something was well
	// again: a leader, a write, all nodes caught up.
	Healing map[string][]float64 `json:"healing,omitempty"`

	Keys      uint64 `json:"keys"`       // that clients were given, each once
	Links     uint64 `json:"links"`      // acknowledged
	LostKeys  uint64 `json:"lost_keys"`  // counted by the cluster
	LostBound uint64 `json:"lost_bound"` // what the crashed leaders' buffers could hold

	Checks     map[string]int `json:"checks"`     // how often each oracle looked, or at how many things
	Violations []Violation    `json:"violations"` // none, if all is well
}

// Violation is a promise that was broken.
type Violation struct {
	Oracle string `json:"oracle"`
	Seed   uint64 `json:"seed"`
	Text   string `json:"text"`
}

// Mutant is a bug that was planted, and what became of it.
type Mutant struct {
	Name    string  `json:"name"`
	Bug     string  `json:"bug"` // what was changed, in words
	Caught  bool    `json:"caught"`
	By      string  `json:"by"`      // oracle or test that caught it
	Seconds float64 `json:"seconds"` // until then, without the build
	Deaths  int     `json:"deaths"`  // leaders that died until then, if it was the simulation
}

// Dir is where results go: KGS_REPORT_DIR, "" for nowhere.
func Dir() string { return os.Getenv("KGS_REPORT_DIR") }

// Save writes a result as NAME.json into Dir, if there is one.
func Save(name string, result any) error {
	if Dir() == "" {
		return nil
	}
	data, err := json.MarshalIndent(result, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(Dir(), 0o755), os.WriteFile(filepath.Join(Dir(), name+".json"), data, 0o644))
}

// SavePage writes a page of HTML as NAME.page.html into Dir, if there is one, to
// be shown in the report. It must not need anything from elsewhere.
func SavePage(name string, write func(io.Writer) error) (err error) {
	if Dir() == "" {
		return nil
	}
	if err := os.MkdirAll(Dir(), 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(Dir(), name+".page.html"))
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}
