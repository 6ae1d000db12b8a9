package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/cluster"
)

func newClusterRecover(f *clientFlags) *cobra.Command {
	r := &recovery{clientFlags: f}
	cmd := &cobra.Command{
		Use:   "recover --data-dir DIR [--yes]",
		Short: "Go on with one node when the majority is lost for good; on its machine, while it is stopped",
		Long: `Go on with one node when a majority of the nodes is lost for good. It is run on a
survivor's machine while that is stopped. Without --yes it changes nothing and
shows what the survivor has: run it so on every survivor, and with --yes on the one
whose last entry is the newest, by term, then by index.

  - That node is the whole cluster then; start it as before.
  - What only lost nodes had is lost: links are gone, deleted ones and revoked
    tokens are back, aliases are free again. Keys that they may have given are
    burned, so that none comes twice: all that were unused, and 10 million more or
    a tenth of a smaller key space. Name a higher --floor if that node was
    away for so long that the others may have gone further. Keys taken before can
    still be bound to links, but not be returned.
  - The lost nodes are removed. They must not run again with their data: one alone
    is refused and ends, but two of three would still be a cluster, of their own,
    and give the same keys. Empty their data directories, then start them with --join.

As long as most nodes can be started again, do that instead: nothing is lost then.`,
		Example: `  kgs cluster recover --data-dir /var/lib/kgs    # with TLS: --ca ca.crt, too
  kgs cluster recover --data-dir /var/lib/kgs --yes`,
		Args: wantArgs(),
		RunE: f.run(func(ctx context.Context, s *session, _ []string) error { return local(r.run(ctx, s)) }),
	}
	cmd.Flags().StringVar(&r.dataDir, "data-dir", "", "`DIR` of the survivor")
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do it")
	cmd.Flags().BoolVar(&r.force, "force", false, "do it although another member is ready")
	r.floors.add(cmd)
	return cmd
}

type recovery struct {
	*clientFlags
	dataDir    string
	yes, force bool
	floors     floorsFlag
}

// survivorView is what the command shows.
type survivorView struct {
	Node      string       `json:"node"`
	Cluster   string       `json:"cluster"`
	LastTerm  uint64       `json:"last_term"`
	LastIndex uint64       `json:"last_index"`
	Members   []memberView `json:"members"`
	Recovered bool         `json:"recovered"`
}

type memberView struct {
	ID      string `json:"id"`
	HTTP    string `json:"http"`
	Cluster string `json:"cluster"`
	Voter   bool   `json:"voter"`
	State   string `json:"state"` // "this node", "ready", or why it is not known to be
	ready   bool
}

func (r *recovery) run(ctx context.Context, s *session) error {
	if r.dataDir == "" {
		return usageError(s.cmd, "name the survivor's data directory with --data-dir")
	}
	if _, err := os.Stat(r.dataDir); err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: s.cmd.ErrOrStderr()})
	stopped, err := cluster.OpenStopped(cluster.Config{DataDir: r.dataDir, Logger: log})
	if err != nil {
		return err
	}
	defer stopped.Close()
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: r.tls}}
	defer web.CloseIdleConnections()
	view := newSurvivorView(ctx, web, stopped.Survivor())
	if !r.yes {
		return s.out.print(view, view.table)
	}
	for _, m := range view.Members {
		if m.ready && !r.force {
			return fmt.Errorf("%s at %s is ready: the cluster has a majority without this node; start this node, or add --force if that is another cluster", m.ID, m.HTTP)
		}
	}
	if err := stopped.Recover(r.floors.Floors); err != nil {
		return err
	}
	if err := stopped.Close(); err != nil {
		return err
	}
	view.Recovered = true
	return s.out.print(view, view.table)
}

func newSurvivorView(ctx context.Context, web *http.Client, found cluster.Survivor) survivorView {
	view := survivorView{Node: found.Node, Cluster: found.Cluster, LastTerm: found.LastTerm, LastIndex: found.LastIndex}
	for _, m := range found.Members {
		member := memberView{ID: m.ID, HTTP: m.HTTP, Cluster: m.Cluster, Voter: m.Voter}
		switch {
		case m.ID == found.Node:
			member.State = "this node"
		case m.HTTP == "":
			member.State = "its HTTP address is not known here"
		default:
			member.ready, member.State = readyState(ctx, web, m.HTTP)
		}
		view.Members = append(view.Members, member)
	}
	slices.SortFunc(view.Members, func(a, b memberView) int { return strings.Compare(a.ID, b.ID) })
	return view
}

// readyState is what a member says. It is ready only with a majority.
func readyState(ctx context.Context, web *http.Client, addr string) (ready bool, state string) {
	switch err := askReady(ctx, web, addr); {
	case err == nil:
		return true, "ready"
	case errors.As(err, new(*url.Error)):
		return false, "no answer: " + requestOf.ReplaceAllString(oneLine(err), "")
	}
	return false, "answers, and is not ready: stop it, and compare its last entry"
}

func (v survivorView) table(t *table) {
	t.row("node", fmt.Sprintf("%s of cluster %s", v.Node, v.Cluster))
	t.row("last entry", fmt.Sprintf("term %d, index %d", v.LastTerm, v.LastIndex))
	t.text("")
	t.head("MEMBER", "VOTER", "HTTP", "CLUSTER", "STATE")
	for _, m := range v.Members {
		voter := "no"
		if m.Voter {
			voter = "yes"
		}
		t.row(m.ID, voter, m.HTTP, m.Cluster, m.State)
	}
	t.text("")
	if v.Recovered {
		t.text("%s alone is the cluster now. Start it as before.", v.Node)
		t.text("The other nodes join it again with empty data directories, started with --join.")
		return
	}
	t.text("Nothing was changed. If a majority is lost for good, do this on every survivor, then,")
	t.text("where the last entry is the newest (term, then index), once more with --yes.")
}
