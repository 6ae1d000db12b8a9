package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// What deploy/ holds speaks of flags, settings and metrics of this program: the
// tests hold it to them.

// deployed reads a file of deploy/.
func deployed(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// decodeYAML decodes each document of a file; with strict, fields that v lacks
// are faults.
func decodeYAML[T any](t *testing.T, name string, strict bool) (documents []T) {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader(deployed(t, name)))
	decoder.KnownFields(strict)
	for {
		var v T
		err := decoder.Decode(&v)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		documents = append(documents, v)
	}
}

// clientSettings are read by the client commands, of which a node's health check is one.
var clientSettings = []string{"KGS_ADDR", "KGS_CA", "KGS_TOKEN"}

// asServe checks a node's command line and environment as serve would, and
// returns what it would run with.
func asServe(t *testing.T, args []string, env map[string]string) map[string]string {
	t.Helper()
	if len(args) == 0 || args[0] != "serve" {
		t.Fatalf("%q: want kgs serve", args)
	}
	f := &serveFlags{}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.register(flags)
	known := map[string]bool{}
	flags.VisitAll(func(flag *pflag.Flag) { known[envName(flag.Name)] = true })
	for name, value := range env {
		if strings.HasPrefix(name, "KGS_") && !known[name] && !slices.Contains(clientSettings, name) {
			t.Errorf("%s is no setting of serve", name)
		}
		t.Setenv(name, value)
	}
	if err := flags.Parse(args[1:]); err != nil {
		t.Fatal(err)
	}
	from, err := applySettings(flags)
	if err != nil {
		t.Fatal(err)
	}
	rows, refused := effective(f, flags, from)
	if refused != nil {
		t.Errorf("%q: %v", args, refused)
	}
	values := map[string]string{}
	for _, row := range rows {
		values[row.Name] = row.Value
	}
	return values
}

// checkSafe: a node has TLS, tokens, and no way around them.
func checkSafe(t *testing.T, node map[string]string) {
	t.Helper()
	if node["auth"] != "on" || node["tls-cert"] == "" || node["insecure"] != "false" || !strings.HasPrefix(node["http-advertise"], "https://") {
		t.Errorf("%s runs without TLS or without tokens: %v", node["node-id"], node)
	}
}

// checkCluster: the nodes found are those of the list that each has, each at its
// place.
func checkCluster(t *testing.T, nodes []map[string]string) {
	t.Helper()
	var members []string
	for _, node := range nodes {
		members = append(members, node["node-id"]+"="+node["cluster-advertise"])
	}
	for _, node := range nodes {
		if want := strings.Join(members, ","); len(nodes) != 3 || node["initial-cluster"] != want {
			t.Errorf("%s has the cluster %s, but the nodes are %s", node["node-id"], node["initial-cluster"], want)
		}
	}
}

type composeService struct {
	Command     []string
	Environment map[string]string
	Restart     string
	Volumes     []string
	Secrets     []any // names, or what is mounted as what
}

func TestCompose(t *testing.T) {
	compose := decodeYAML[struct {
		Services map[string]composeService
		Volumes  map[string]any
		Secrets  map[string]struct{ File string }
	}](t, "compose.yaml", false)[0]
	var nodes []map[string]string
	for _, name := range []string{"n1", "n2", "n3"} {
		service := compose.Services[name]
		node := asServe(t, service.Command, service.Environment)
		nodes = append(nodes, node)
		if node["node-id"] != name || service.Restart == "" {
			t.Errorf("service %s: %+v", name, service)
		}
		if want := name + ":" + node["data-dir"]; !slices.Equal(service.Volumes, []string{want}) {
			t.Errorf("service %s: volumes %q, want %q", name, service.Volumes, want)
		}
		if _, declared := compose.Volumes[name]; !declared {
			t.Errorf("volume %s is not declared", name)
		}
		checkSafe(t, node)
		mounted := map[string]string{}
		for _, secret := range service.Secrets {
			source, target := fmt.Sprint(secret), fmt.Sprint(secret)
			if pair, ok := secret.(map[string]any); ok {
				source, target = pair["source"].(string), pair["target"].(string)
			}
			mounted["/run/secrets/"+target] = compose.Secrets[source].File
		}
		for flag, file := range map[string]string{"tls-cert": name + ".crt", "tls-key": name + ".key", "tls-ca": "ca.crt"} {
			if got := mounted[node[flag]]; got != "tls/"+file {
				t.Errorf("service %s: --%s is %s, want %s", name, flag, got, file)
			}
		}
	}
	checkCluster(t, nodes)
}

// kubeObject is as much of Kubernetes' objects as the test looks at.
type kubeObject struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		ServiceName         string `yaml:"serviceName"`
		PodManagementPolicy string `yaml:"podManagementPolicy"`
		Replicas            int
		Template            struct {
			Spec struct {
				Containers []struct {
					Args []string
					Env  []struct{ Name, Value string }

					VolumeMounts []struct {
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
			}
		}
	}
}

func TestKubernetes(t *testing.T) {
	objects := map[string]kubeObject{}
	for _, o := range decodeYAML[kubeObject](t, "kubernetes.yaml", false) {
		objects[o.Kind+"/"+o.Metadata.Name] = o
	}
	set := objects["StatefulSet/kgs"].Spec
	if _, there := objects["Service/"+set.ServiceName]; !there {
		t.Errorf("no Service %q, after which the nodes are named", set.ServiceName)
	}
	if set.PodManagementPolicy != "Parallel" {
		t.Error("pods that start one after the other never form a cluster")
	}
	var nodes []map[string]string
	container := set.Template.Spec.Containers[0]
	for i := range set.Replicas {
		pod := "kgs-" + string(rune('0'+i))
		var args []string
		for _, arg := range container.Args {
			args = append(args, strings.ReplaceAll(arg, "$(POD_NAME)", pod))
		}
		env := map[string]string{}
		for _, pair := range container.Env {
			if strings.HasPrefix(pair.Name, "KGS_") {
				env[pair.Name] = pair.Value
			}
		}
		node := asServe(t, args, env)
		if want := pod + "." + set.ServiceName + ":9080"; node["cluster-advertise"] != want {
			t.Errorf("%s advertises %s, want %s", pod, node["cluster-advertise"], want)
		}
		checkSafe(t, node)
		for _, flag := range []string{"tls-cert", "tls-key", "tls-ca"} { // the names that kgs tls init gives
			mounted := false
			for _, mount := range container.VolumeMounts {
				mounted = mounted || mount.MountPath == path.Dir(node[flag])
			}
			if name := path.Base(node[flag]); !mounted || name != pod+".crt" && name != pod+".key" && name != "ca.crt" {
				t.Errorf("%s: --%s %s is not there", pod, flag, node[flag])
			}
		}
		nodes = append(nodes, node)
	}
	checkCluster(t, nodes)
}

func TestSystemdUnit(t *testing.T) {
	unit := string(deployed(t, "kgs.service"))
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/kgs (.*)$`).FindStringSubmatch(unit)
	if start == nil {
		t.Fatal("no ExecStart")
	}
	config := writeFile(t, "node-id: n1\ninitial-cluster: [n1=127.0.0.1:9080]\n")
	node := asServe(t, strings.Fields(strings.ReplaceAll(start[1], "/etc/kgs/kgs.yaml", config)), nil)
	if node["data-dir"] != "/var/lib/kgs" || !strings.Contains(unit, "\nStateDirectory=kgs\n") {
		t.Errorf("the data directory %s is not the unit's state", node["data-dir"])
	}
}

// TestDockerfile: the image asks with a command that there is.
func TestDockerfile(t *testing.T) {
	check := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD (\[.*\])$`).FindSubmatch(deployed(t, "Dockerfile"))
	var command []string
	if check == nil || json.Unmarshal(check[1], &command) != nil || command[0] != "/kgs" {
		t.Fatalf("no health check: %q", check)
	}
	if cmd, left, err := newRoot(terminal{}).Find(command[1:]); err != nil || len(left) > 0 || cmd.RunE == nil {
		t.Errorf("%q: %v %q", command, err, left)
	}
}

// TestKGSNamesInDeploy: a setting that is spoken of exists.
func TestKGSNamesInDeploy(t *testing.T) {
	known := append([]string{"KGS_UPDATE"}, clientSettings...)
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	new(serveFlags).register(flags)
	flags.VisitAll(func(flag *pflag.Flag) { known = append(known, envName(flag.Name)) })
	files, err := filepath.Glob("../../deploy/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		for _, name := range regexp.MustCompile(`KGS_[A-Z_]*[A-Z]`).FindAllString(string(deployed(t, filepath.Base(file))), -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s: nobody reads %s", file, name)
			}
		}
	}
}
