package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/httpapi"
)

// serveFlags are the settings of a node, as they were given.
type serveFlags struct {
	nodeID, dataDir               string
	httpAddr, httpAdvertise       string
	clusterAddr, clusterAdvertise string
	initialCluster                string
	join                          []string
	nonVoter, wipeAndRejoin       bool
	bufferMin, bufferMax          int
	heartbeat, election           time.Duration
	removeDeadAfter               time.Duration
	baseURL                       string
	auth                          string
	corsOrigins                   []string
	logLevel, logFormat           string
	config                        string
	insecure                      bool
	otlpEndpoint, debugAddr       string
	backupDir                     string
	backupInterval                time.Duration
	backupKeep                    int
	tls                           tlsFlags
	limits                        limitFlags
}

func (f *serveFlags) register(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&f.nodeID, "node-id", "", "unique in the cluster, as n1")
	flags.StringVar(&f.dataDir, "data-dir", "", "`DIR` of this node alone; made if it is not there")
	flags.StringVar(&f.httpAddr, "http-addr", "127.0.0.1:8080", "`HOST:PORT` to listen on for clients")
	flags.StringVar(&f.httpAdvertise, "http-advertise", "", "`URL` under which clients reach this node (default from --http-addr)")
	flags.StringVar(&f.clusterAddr, "cluster-addr", "127.0.0.1:9080", "`HOST:PORT` to listen on for the other nodes")
	flags.StringVar(&f.clusterAdvertise, "cluster-advertise", "", "`HOST:PORT` under which the other nodes reach this one (default --cluster-addr)")
	flags.StringVar(&f.initialCluster, "initial-cluster", "", "the nodes of a new cluster, as n1=`HOST:PORT,...`; the same on each of them, ignored once there is state")
	flags.StringSliceVar(&f.join, "join", nil, "`HOST:PORT,...` of nodes of a running cluster, to become a member of it")
	flags.BoolVar(&f.nonVoter, "non-voter", false, "with --join: stay a read replica")
	flags.BoolVar(&f.wipeAndRejoin, "wipe-and-rejoin", false, "once, if the data directory is damaged: rename it to DIR.damaged-TIME and have the cluster replace this node; refused if it is not")
	flags.IntVar(&f.bufferMin, "buffer-min", 10_000, "keys that a leader holds ready at least")
	flags.IntVar(&f.bufferMax, "buffer-max", 0, "keys that a leader holds ready at most (default 1000000)")
	flags.DurationVar(&f.heartbeat, "heartbeat", 300*time.Millisecond, "a follower that hears nothing for one to two of these seeks election")
	flags.DurationVar(&f.election, "election", 300*time.Millisecond, "how long a candidate waits for votes")
	flags.DurationVar(&f.removeDeadAfter, "remove-dead-after", 0, "how long a node may not answer before the leader removes it, if 3 voters and a healthy majority are left; 0: for ever; the same on all nodes")
	flags.StringVar(&f.baseURL, "base-url", "", "`URL` that short links start with (default: the host of each request)")
	authFlag(flags, &f.auth)
	flags.StringSliceVar(&f.corsOrigins, "cors-origins", nil, "`ORIGIN,...` of other sites whose web pages may use the API, as https://app.example.org, or *; needs --auth on (default none)")
	f.tls.register(flags)
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.config, configFlag, "", "`FILE` with settings, YAML or JSON: a line \"node-id: n1\" for --node-id n1")
	flags.StringVar(&f.backupDir, "backup-dir", "", "`DIR` into which this node writes backups of the cluster")
	flags.DurationVar(&f.backupInterval, "backup-interval", 24*time.Hour, "how often")
	flags.IntVar(&f.backupKeep, "backup-keep", 7, "how many stay")
	f.limits.register(flags)
	flags.StringVar(&f.otlpEndpoint, "otlp-endpoint", "", "`URL` of an OpenTelemetry collector that gets traces over HTTP, as http://127.0.0.1:4318 (default OTEL_EXPORTER_OTLP_ENDPOINT; none: no traces)")
	flags.StringVar(&f.debugAddr, "debug-addr", "", "`HOST:PORT` to serve Go's profiles on, as 127.0.0.1:6060 (default nowhere)")
	flags.BoolVar(&f.insecure, "insecure", false, "allow addresses that other machines can reach, without TLS")
}

// cluster makes the node's configuration and reports all faults at once.
func (f *serveFlags) cluster() (cluster.Config, error) {
	c := cluster.Config{
		NodeID: f.nodeID, DataDir: f.dataDir,
		ClusterAddr: f.clusterAddr, ClusterAdvertise: f.clusterAdvertise, HTTPAdvertise: f.httpAdvertise,
		Join: f.join, NonVoter: f.nonVoter,
		Keyspace:  keyspace.Space{Alphabet: keyspace.Base62, Length: 6},
		BufferMin: f.bufferMin, BufferMax: f.bufferMax,
		Heartbeat: f.heartbeat, Election: f.election, RemoveDeadAfter: f.removeDeadAfter,
		Version: buildVersion(),
	}
	if f.bufferMax == 0 {
		c.BufferMax = max(1_000_000, f.bufferMin)
	}
	members, err := parseMembers(f.initialCluster)
	c.InitialCluster = members
	if c.ClusterAdvertise == "" {
		c.ClusterAdvertise = c.ClusterAddr
		if listed := members[f.nodeID]; listed != "" && unspecified(c.ClusterAddr) {
			c.ClusterAdvertise = listed
		}
	}
	return c, errors.Join(err, c.Validate(), f.checkHTTP(), f.tls.check(), f.checkExposure(), checkAuth(f.auth), f.checkCORS(), f.checkLog(), f.checkBackups(), f.limits.check(), f.checkOTLP(), f.checkDebug())
}

// scheme is that of the HTTP front end.
func (f *serveFlags) scheme() string {
	if f.tls.forHTTP() {
		return "https://"
	}
	return "http://"
}

// parseMembers reads n1=HOST:PORT,n2=HOST:PORT.
func parseMembers(list string) (map[string]string, error) {
	members := map[string]string{}
	if list == "" {
		return members, nil
	}
	for item := range strings.SplitSeq(list, ",") {
		id, addr, ok := strings.Cut(strings.TrimSpace(item), "=")
		if _, twice := members[id]; twice {
			return nil, fmt.Errorf("--initial-cluster has %s twice", id)
		}
		if _, _, err := net.SplitHostPort(addr); !ok || id == "" || err != nil {
			return nil, fmt.Errorf("--initial-cluster %q: want ID=HOST:PORT, several with commas", list)
		}
		members[id] = addr
	}
	return members, nil
}

func (f *serveFlags) checkHTTP() error {
	if _, _, err := net.SplitHostPort(f.httpAddr); err != nil {
		return fmt.Errorf("--http-addr %q: want HOST:PORT", f.httpAddr)
	}
	if f.httpAdvertise == "" && unspecified(f.httpAddr) {
		return fmt.Errorf("--http-addr %s is no address that a client can go to: say with --http-advertise URL under which one they reach this node", f.httpAddr)
	}
	return nil
}

// authFlag is one of serve and of dev.
func authFlag(flags *pflag.FlagSet, into *string) {
	flags.StringVar(into, "auth", "off", "on: clients need tokens, see 'kgs help token'; the same on every node")
}

func checkAuth(auth string) error {
	if auth != "on" && auth != "off" {
		return fmt.Errorf("--auth %q: want on or off", auth)
	}
	return nil
}

func (f *serveFlags) checkCORS() error {
	for _, origin := range f.corsOrigins {
		if !httpapi.ValidOrigin(origin) {
			return fmt.Errorf("--cors-origins %q: want origins as https://app.example.org, several with commas, or *", origin)
		}
	}
	if len(f.corsOrigins) > 0 && f.auth != "on" {
		return errors.New("--cors-origins needs --auth on: without tokens any page of theirs could change everything")
	}
	return nil
}

// checkExposure: an address that other machines can reach without TLS must be
// asked for.
func (f *serveFlags) checkExposure() error {
	if f.insecure {
		return nil
	}
	for _, listen := range []struct {
		flag, addr string
		protected  bool
	}{{"--http-addr", f.httpAddr, f.tls.forHTTP()}, {"--cluster-addr", f.clusterAddr, f.tls.forCluster()}} {
		host, _, err := net.SplitHostPort(listen.addr)
		if err == nil && !listen.protected && !loopback(host) {
			return fmt.Errorf("%s %s can be reached from other machines and TLS does not protect it: keep to 127.0.0.1, give --tls-cert, --tls-key and --tls-ca (see 'kgs help tls init'), or add --insecure if all of that network is trusted", listen.flag, listen.addr)
		}
	}
	return nil
}

// loopback: only this machine reaches the host. A name other than localhost may
// lead anywhere.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// unspecified: the address listens everywhere and cannot be dialed.
func unspecified(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

func (f *serveFlags) checkLog() error {
	var faults []error
	if level := hclog.LevelFromString(f.logLevel); level == hclog.NoLevel || level == hclog.Off {
		faults = append(faults, fmt.Errorf("--log-level %q: want debug, info, warn or error", f.logLevel))
	}
	if f.logFormat != "text" && f.logFormat != "json" {
		faults = append(faults, fmt.Errorf("--log-format %q: want text or json", f.logFormat))
	}
	return errors.Join(faults...)
}
