package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/cluster/certs"
)

// tlsInit is what `kgs tls init` is to make.
type tlsInit struct {
	dir   string
	nodes []string
	hosts []string
	days  int
}

// maxCertDays is more than any authority lasts.
const maxCertDays = 36500

func newTLS() *cobra.Command {
	return newGroup("tls", "Certificates for the nodes of a cluster", newTLSInit())
}

func newTLSInit() *cobra.Command {
	c := tlsInit{}
	var as outputFormat
	cmd := &cobra.Command{
		Use:   "init --dir DIR --nodes ID,...",
		Short: "Make a CA and a certificate for each node",
		Long: `Make a CA in DIR (ca.crt, ca.key) and a certificate with its key for each node
(n1.crt, n1.key). Nothing is overwritten: with a CA in DIR it signs the certificates,
so that the same command makes those of new nodes later.

A node's certificate is good for localhost and the hosts given, under which clients
reach it; between nodes its id counts, and hosts do not. To renew one, move its two
files away, run this again and copy the new ones over the old: a running node takes
them up by itself.

Keep ca.key away from the nodes: who has it can make itself a member.`,
		Example: `  kgs tls init --dir tls --nodes n1,n2,n3 --hosts kgs.example.org,10.0.0.1,10.0.0.2,10.0.0.3`,
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.validate(); err != nil {
				return usageError(cmd, "%v", err)
			}
			return c.run(as.output(cmd))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&c.dir, "dir", "", "`DIR` for the files; made if it is not there")
	flags.StringSliceVar(&c.nodes, "nodes", nil, "`ID,...` of the nodes, as in kgs serve --node-id")
	flags.StringSliceVar(&c.hosts, "hosts", nil, "`HOST,...`: names and addresses under which clients reach the nodes, besides localhost")
	flags.IntVar(&c.days, "days", 825, "how long the certificates are good; never longer than their CA, which is for 10 years")
	as.register(flags)
	return cmd
}

func (c tlsInit) validate() error {
	if c.dir == "" {
		return errors.New("name a directory for the files with --dir")
	}
	if len(c.nodes) == 0 {
		return errors.New("name the nodes with --nodes n1,n2,n3")
	}
	for i, node := range c.nodes {
		if !cluster.ValidNodeID(node) || node == "ca" || slices.Contains(c.nodes[:i], node) {
			return fmt.Errorf("--nodes: %q cannot be used, or stands there twice: want letters, digits, dots, dashes or underscores", node)
		}
	}
	for _, host := range c.hosts {
		if net.ParseIP(host) == nil && !hostName.MatchString(host) {
			return fmt.Errorf("--hosts: %q is neither a name nor an address; ports do not belong there", host)
		}
	}
	if c.days < 1 || c.days > maxCertDays {
		return fmt.Errorf("--days %d: want 1 to %d", c.days, maxCertDays)
	}
	return nil
}

// hostName allows *.example.org, too.
var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// run makes the files and says what to do with them. Nothing is made if one of
// the nodes has files already.
func (c tlsInit) run(out output) error {
	for _, node := range c.nodes {
		for _, path := range []string{certs.CertFile(c.dir, node), certs.KeyFile(c.dir, node)} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already, and nothing was made: leave %s out of --nodes, or move its .crt and .key away to renew them", path, node)
			}
		}
	}
	authority, made, err := certs.OpenAuthority(c.dir)
	if err != nil {
		return err
	}
	view := tlsView{CA: filepath.Join(c.dir, certs.CAFile), Expires: authority.Expires()}
	if made {
		view.CAKey = filepath.Join(c.dir, "ca.key")
	}
	for _, node := range c.nodes {
		expires, err := authority.Issue(node, c.hosts, time.Duration(c.days)*24*time.Hour)
		if err != nil {
			return err
		}
		view.Nodes = append(view.Nodes, tlsNode{node, certs.CertFile(c.dir, node), certs.KeyFile(c.dir, node), expires})
	}
	return out.print(view, view.table)
}

// tlsView is what the command shows.
type tlsView struct {
	CA      string    `json:"ca"`
	CAKey   string    `json:"ca_key,omitempty"` // if it was made
	Expires time.Time `json:"expires_at"`
	Nodes   []tlsNode `json:"nodes"`
}

type tlsNode struct {
	ID      string    `json:"id"`
	Cert    string    `json:"cert"`
	Key     string    `json:"key"`
	Expires time.Time `json:"expires_at"`
}

func (v tlsView) table(t *table) {
	t.head("FILE", "FOR", "EXPIRES")
	if v.CAKey != "" {
		t.row(v.CA, "all nodes and clients", when(v.Expires))
		t.row(v.CAKey, "this command only: keep it away from the nodes")
	}
	for _, n := range v.Nodes {
		t.row(n.Cert, n.ID, when(n.Expires))
		t.row(n.Key, n.ID+", and nobody else")
	}
	t.text(`
Copy to each node its own two files and %[1]s, and start it with
  kgs serve --node-id %[2]s ... --tls-cert %[2]s.crt --tls-key %[2]s.key --tls-ca ca.crt

Clients need %[1]s:
  kgs cluster status --ca %[1]s --addr https://HOST:8080
  curl --cacert %[1]s https://HOST:8080/v1/cluster`, v.CA, v.Nodes[0].ID)
}
