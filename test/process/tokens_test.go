package process

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// A cluster that looks at tokens: the one that it prints works on each node and
// survives the leader; what is revoked works nowhere.
func TestTokens(t *testing.T) {
	c := proc.Start(t, 3, "--auth", "on")
	printed := regexp.MustCompile(`admin token, shown once; it is in (\S+) too: (kgs_\S+)`)
	var token, file string
	proc.Until(t, 20*time.Second, func() (bool, string) {
		for _, n := range c.Nodes {
			if found := printed.FindStringSubmatch(n.Output.String()); found != nil {
				file, token = found[1], found[2]
			}
		}
		return token != "", "no token is printed"
	})
	if data, err := os.ReadFile(file); err != nil || string(data) != token+"\n" {
		t.Fatalf("the file has %q, %v", data, err)
	}
	c.Token = token
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	as := func(n *proc.Node, token string) *client.Client {
		api, err := client.New(client.Config{Addrs: []string{n.URL}, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(api.Close)
		return api
	}
	may := func(n *proc.Node, token string) error {
		_, err := as(n, token).ClusterStatus(ctx)
		return err
	}
	for _, n := range c.Nodes {
		if err := may(n, token); err != nil {
			t.Errorf("%s: %v", n.ID, err)
		}
		if err := may(n, ""); !client.HasCode(err, "unauthorized") {
			t.Errorf("%s, without a token: %v", n.ID, err)
		}
	}

	// A token is valid everywhere as soon as somebody has it.
	made, err := as(c.Nodes[0], token).CreateToken(ctx, client.NewToken{Role: "write"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		if err := may(n, made.Text); err != nil {
			t.Errorf("%s does not know the new token: %v", n.ID, err)
		}
		if _, err := as(n, made.Text).CreateToken(ctx, client.NewToken{Role: "admin"}); !client.HasCode(err, "forbidden") {
			t.Errorf("%s: a writer makes an admin: %v", n.ID, err)
		}
	}
	link, err := as(c.Nodes[1], made.Text).CreateLink(ctx, client.NewLink{URL: "https://go.dev/"})
	if err != nil {
		t.Fatal(err)
	}

	leader := c.Leader()
	leader.Kill()
	var left []*proc.Node
	for _, n := range c.Nodes {
		if n != leader {
			left = append(left, n)
		}
	}
	for _, n := range left {
		if err := may(n, token); err != nil {
			t.Errorf("%s, after the leader's end: %v", n.ID, err)
		}
		if _, err := as(n, made.Text).Take(ctx, "", 1); err != nil {
			t.Errorf("%s, after the leader's end: %v", n.ID, err)
		}
		checkRedirect(t, n.URL, link.Key, "https://go.dev/") // public
	}

	if err := as(left[0], token).RevokeToken(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if err := may(left[0], made.Text); !client.HasCode(err, "unauthorized") {
		t.Errorf("%s, which revoked it: %v", left[0].ID, err)
	}
	leader.Start() // it was away, and has the token in its state
	leader.WaitReady(30 * time.Second)
	for _, n := range c.Nodes {
		proc.Until(t, 20*time.Second, func() (bool, string) {
			err := may(n, made.Text)
			return client.HasCode(err, "unauthorized"), n.ID + " lets the revoked token in"
		})
		if err := may(n, token); err != nil {
			t.Errorf("%s, in the end: %v", n.ID, err)
		}
	}
	all := ""
	for _, n := range c.Nodes {
		all += n.Output.String()
	}
	if strings.Count(all, token) != 1 || strings.Contains(all, made.Text) {
		t.Error("a token is shown where it must not be")
	}
	if files, _ := filepath.Glob(filepath.Join(c.Dir, "*", "admin.token*")); len(files) != 1 {
		t.Errorf("tokens in %v", files)
	}
	response, err := http.Get(c.Nodes[0].URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("metrics: %s", response.Status)
	}
}
