package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Results is all that a directory holds.
type Results struct {
	Runs    []Run    // the known parts first
	Mutants []Mutant // nil if none were planted yet
	Missing []string // parts without a result
	Pages   []Page
}

// Page is a page that was made elsewhere, such as Porcupine's of one history.
type Page struct{ Name, HTML string }

// parts are those that a whole proof has, in the order of the page.
var parts = []string{"sim", "chaos", "kills"}

// Load reads the results in dir. A part without one is named in Missing.
func Load(dir string) (Results, error) {
	var r Results
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return r, err
	}
	names := slices.Clone(parts)
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".json"); name != "mutants" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		run := Run{}
		found, err := read(dir, name, &run)
		switch {
		case err != nil:
			return r, err
		case !found:
			r.Missing = append(r.Missing, name)
		default:
			run.Part = cmp.Or(run.Part, name)
			r.Runs = append(r.Runs, run)
		}
	}
	found, err := read(dir, "mutants", &r.Mutants)
	if err != nil {
		return r, err
	}
	if !found {
		r.Missing = append(r.Missing, "mutants")
	}
	r.Pages, err = pages(dir)
	return r, err
}

// read decodes NAME.json; false if there is none.
func read(dir, name string, into any) (bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return false, fmt.Errorf("%s.json: %w", name, err)
	}
	return true, nil
}

func pages(dir string) ([]Page, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.page.html"))
	var all []Page
	for _, file := range files {
		data, rerr := os.ReadFile(file)
		err = errors.Join(err, rerr)
		name := strings.TrimSuffix(filepath.Base(file), ".page.html")
		all = append(all, Page{strings.ReplaceAll(name, "-", " "), string(data)})
	}
	return all, err
}
