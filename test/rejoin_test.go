package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// damageFiles overwrites a part of every file of the pattern.
func damageFiles(t *testing.T, pattern string, part func(size int) (from, to int)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, to := part(len(data)); i < to; i++ {
			data[i] ^= 0x5a
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// damaged starts three nodes with some state, and stops and damages one.
func damaged(t *testing.T, file string) (c *harness.Cluster, victim string, made map[string]string) {
	t.Helper()
	c = harness.Start(t, 3, nil)
	awaitRegistered(t, c)
	made = map[string]string{mustCreate(t, c.Node("n1"), linkTo("http://example.com/old")): "http://example.com/old"}
	resolves(t, c, made)
	c.WaitEqual(t)
	victim = c.Followers(c.WaitLeader())[0]
	c.Stop(victim)
	damageFiles(t, filepath.Join(c.Dir(victim), file), func(size int) (int, int) { return size / 4, size * 3 / 4 })
	c.Net.Up(victim) // Rejoin dials before the node runs
	return c, victim, made
}

// rejoins has the node replaced and checks that it is a member like the others.
func rejoins(t *testing.T, c *harness.Cluster, victim string, made map[string]string) {
	t.Helper()
	cfg, err := cluster.Rejoin(patient(t), c.Config(victim))
	if err != nil {
		t.Fatal(err)
	}
	c.RunWith(cfg)
	awaitRole(t, c, victim, voter)
	resolves(t, c, made)
	works(t, c)
}

func TestADamagedNodeRejoins(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"raft/*", "state/*/*.sst", "state/*/MANIFEST-*"} {
		t.Run(strings.ReplaceAll(file, "/", " "), func(t *testing.T) {
			t.Parallel()
			c, victim, made := damaged(t, file)
			before, err := os.ReadFile(filepath.Join(c.Dir(victim), "node.json"))
			if err != nil {
				t.Fatal(err)
			}
			rejoins(t, c, victim, made)
			kept, err := filepath.Glob(c.Dir(victim) + ".damaged-*/node.json")
			if err != nil || len(kept) != 1 {
				t.Fatalf("kept: %v, %v", kept, err)
			}
			if now, err := os.ReadFile(kept[0]); string(now) != string(before) {
				t.Errorf("%s: %s, %v; was %s", kept[0], now, err, before)
			}
			// Else a directory that loses its state later would pass for one that never had any.
			if now, err := os.ReadFile(filepath.Join(c.Dir(victim), "node.json")); err != nil || strings.Contains(string(now), "replaces") {
				t.Errorf("its identity: %s, %v", now, err)
			}
			if _, err := os.Stat(c.Dir(victim) + ".rejoin"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left over: %v", err)
			}
			c.Kill(victim)
			c.RunWith(c.Config(victim)) // as before the damage, from its new directory
			works(t, c)
		})
	}
}

// One byte of a link, which no start looks at.
func TestDamageThatOnlyAReadFinds(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	awaitRegistered(t, c)
	links := make([]cluster.CreateRequest, 1000)
	for i := range links {
		links[i].Create = linkTo(fmt.Sprintf("http://example.com/%d", i*i*i*7919))
	}
	made := map[string]string{}
	for i, o := range c.Node("n1").CreateLinks(patient(t), links) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		made[o.Key] = links[i].Create.Link.Url
	}
	c.WaitEqual(t)
	victim := c.Followers(c.WaitLeader())[0]
	c.Stop(victim)
	damageFiles(t, filepath.Join(c.Dir(victim), "state/*/*.sst"), func(size int) (int, int) { return size / 5, size/5 + 1 })
	c.Run(victim)
	c.Stop(victim)
	c.Net.Up(victim)
	rejoins(t, c, victim, made)
}

// Without damage there is nothing to replace: an admin took the wrong node.
func TestASoundNodeIsNotWiped(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	awaitRegistered(t, c)
	victim := c.Followers(c.WaitLeader())[0]
	if _, err := cluster.Rejoin(patient(t), c.Config(victim)); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("while it runs: %v", err)
	}
	c.Stop(victim)
	c.Net.Up(victim)
	if _, err := cluster.Rejoin(patient(t), c.Config(victim)); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "not damaged") {
		t.Errorf("when it has stopped: %v", err)
	}
	cfg := c.Config(victim)
	cfg.DataDir += "-elsewhere"
	if _, err := cluster.Rejoin(patient(t), cfg); err == nil || !strings.Contains(err.Error(), "nothing is damaged") {
		t.Errorf("a directory that is not there: %v", err)
	}
	c.Restart(victim)
	works(t, c)
}

// givenUp has a Rejoin find nobody until it is given up.
func givenUp(t *testing.T, c *harness.Cluster, victim string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := c.Config(victim)
	cfg.InitialCluster, cfg.Join = nil, []string{"nowhere:1"}
	done := make(chan error, 1)
	go func() {
		_, err := cluster.Rejoin(ctx, cfg)
		done <- err
	}()
	harness.AwaitTrue(t, "the directory is renamed", func() bool {
		kept, _ := filepath.Glob(c.Dir(victim) + ".damaged-*")
		return len(kept) == 1
	})
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "takes this node back") {
		t.Fatalf("with nobody there: %v", err)
	}
	if kept, _ := filepath.Glob(c.Dir(victim) + ".damaged-*"); len(kept) != 0 {
		t.Fatalf("still renamed: %v", kept)
	}
}

// A Rejoin that found no cluster changed nothing; one that was cut short, at any
// step, is finished by the next.
func TestARejoinIsFinished(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(t *testing.T, c *harness.Cluster, dir, victim string){
		"given up": func(*testing.T, *harness.Cluster, string, string) {},
		"between the renames": func(t *testing.T, _ *harness.Cluster, dir, _ string) {
			if err := os.Rename(dir, dir+".damaged-cut"); err != nil {
				t.Fatal(err)
			}
		},
		"before the cluster was asked": func(t *testing.T, _ *harness.Cluster, dir, _ string) {
			if err := errors.Join(os.Rename(dir, dir+".damaged-cut"), os.Rename(dir+".rejoin", dir)); err != nil {
				t.Fatal(err)
			}
		},
		"before the cluster's answer": func(t *testing.T, c *harness.Cluster, dir, victim string) {
			var fresh struct{ Disk string }
			data, err := os.ReadFile(filepath.Join(dir+".rejoin", "node.json"))
			if err = errors.Join(err, json.Unmarshal(data, &fresh)); err != nil {
				t.Fatal(err)
			}
			leader := c.Node(c.WaitLeader())
			err = errors.Join(leader.Remove(patient(t), victim, false),
				leader.Join(patient(t), cluster.JoinRequest{ID: victim, DiskID: fresh.Disk, Cluster: harness.Addr(victim)}))
			if err != nil {
				t.Fatal(err)
			}
		},
		"before the new member has state": func(t *testing.T, c *harness.Cluster, _, victim string) {
			if _, err := cluster.Rejoin(patient(t), c.Config(victim)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, victim, made := damaged(t, "raft/*")
			givenUp(t, c, victim)
			cut(t, c, c.Dir(victim), victim)
			rejoins(t, c, victim, made)
		})
	}
}
