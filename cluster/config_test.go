package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
)

func validConfig() Config {
	return Config{
		NodeID: "n1", DataDir: "data", ClusterAddr: "127.0.0.1:1",
		InitialCluster: map[string]string{"n1": "127.0.0.1:1"},
	}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   []string // words of the faults; none: it is valid
	}{
		{"defaults", func(*Config) {}, nil},
		{"join", func(c *Config) { c.InitialCluster, c.Join = nil, []string{"n9:1"} }, nil},
		{"join as a non-voter", func(c *Config) { c.InitialCluster, c.Join, c.NonVoter = nil, []string{"n9:1"}, true }, nil},
		{"no id", func(c *Config) { c.NodeID = "" }, []string{"node id", "initial cluster"}},
		{"odd id", func(c *Config) {
			c.NodeID = "a/b"
			c.InitialCluster = map[string]string{"a/b": "127.0.0.1:1"}
		}, []string{`node id "a/b"`}},
		{"no directory", func(c *Config) { c.DataDir = "" }, []string{"data directory"}},
		{"no port", func(c *Config) { c.ClusterAddr, c.ClusterAdvertise = "127.0.0.1:", "127.0.0.1:1" }, []string{"cluster address", "no port"}},
		{"address without port", func(c *Config) { c.ClusterAddr, c.ClusterAdvertise = "n1", "127.0.0.1:1" }, []string{"HOST:PORT"}},
		{"advertises what nobody can dial", func(c *Config) {
			c.ClusterAddr = "0.0.0.0:1"
			c.InitialCluster = map[string]string{"n1": "0.0.0.0:1"}
		}, []string{"cannot dial"}},
		{"advertises no host", func(c *Config) {
			c.ClusterAddr = ":1"
			c.InitialCluster = map[string]string{"n1": ":1"}
		}, []string{"cannot dial"}},
		{"initial cluster and join", func(c *Config) { c.Join = []string{"n9:1"} }, []string{"both"}},
		{"neither", func(c *Config) { c.InitialCluster = nil }, []string{"neither"}},
		{"not in the initial cluster", func(c *Config) { c.NodeID = "n2" }, []string{`"n2" is not in the initial cluster (n1=127.0.0.1:1)`}},
		{"another address there", func(c *Config) { c.ClusterAdvertise = "127.0.0.1:2" }, []string{"advertises 127.0.0.1:2"}},
		{"a first node as a non-voter", func(c *Config) { c.NonVoter = true }, []string{"non-voter"}},
		{"negative buffer", func(c *Config) { c.BufferMin = -1 }, []string{"buffer of -1"}},
		{"buffer bounds crossed", func(c *Config) { c.BufferMin, c.BufferMax = 10, 9 }, []string{"buffer of 10 to 9"}},
		{"heartbeat too short", func(c *Config) { c.Heartbeat = time.Millisecond }, []string{"heartbeat 1ms"}},
		{"election too long", func(c *Config) { c.Election = time.Hour }, []string{"election 1h"}},
		{"election below heartbeat", func(c *Config) { c.Heartbeat, c.Election = time.Second, 500*time.Millisecond }, []string{"shorter"}},
		{"no time to restart", func(c *Config) { c.RemoveDeadAfter = 59 * time.Second }, []string{"59s", "1m"}},
		{"dead before it stops", func(c *Config) { c.RemoveDeadAfter = -time.Minute }, []string{"-1m"}},
		{"dead after a minute", func(c *Config) { c.RemoveDeadAfter = time.Minute }, nil},
		{"a small key space", func(c *Config) { c.Keyspace = keyspace.Space{Alphabet: "0123456789", Length: 5} }, []string{"key space"}},
		{"all faults at once", func(c *Config) { *c = Config{NodeID: "/", Heartbeat: 1, ClusterAddr: "x"} },
			[]string{"node id", "data directory", "cluster address", "neither", "heartbeat"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := validConfig()
			c.change(&cfg)
			err := cfg.withDefaults().Validate()
			if len(c.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, word := range c.want {
				if err == nil || !strings.Contains(err.Error(), word) {
					t.Errorf("no word of %q in: %v", word, err)
				}
			}
		})
	}
}

func TestConfigDefaults(t *testing.T) {
	c := Config{BufferMin: 5_000_000}.withDefaults()
	if c.BufferMax != 5_000_000 {
		t.Errorf("a large least buffer raises the most: %d", c.BufferMax)
	}
	if c.ClusterAdvertise != c.ClusterAddr {
		t.Errorf("advertises %s, listens on %s", c.ClusterAdvertise, c.ClusterAddr)
	}
	c = validConfig()
	c.BufferMax, c.Heartbeat = 77, time.Second
	if c = c.withDefaults(); c.BufferMax != 77 || c.Heartbeat != time.Second {
		t.Errorf("what was given was changed: %+v", c)
	}
}

func TestConfigInitialClusterIsTheSameOnEveryNode(t *testing.T) {
	c := Config{InitialCluster: map[string]string{"b": "2", "a": "1", "c": "3"}}
	if got := c.initialCluster(); got != "a=1,b=2,c=3" {
		t.Error(got)
	}
}
