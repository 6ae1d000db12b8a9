package main

import (
	"os"
	"testing"
)

// The texts to change must be there, or the bugs can no longer be planted.
func TestEachBugCanBePlanted(t *testing.T) {
	t.Chdir("../..")
	if len(bugs) < 20 {
		t.Errorf("only %d bugs", len(bugs))
	}
	names := map[string]bool{}
	for _, b := range bugs {
		if names[b.name] || b.words == "" {
			t.Errorf("%s: a name of its own and words are wanted", b.name)
		}
		names[b.name] = true
		if _, err := b.plant(t.TempDir()); err != nil {
			t.Errorf("%s: %v", b.name, err)
		}
	}
	if _, err := os.Stat("go.mod"); err != nil {
		t.Error(err)
	}
}
