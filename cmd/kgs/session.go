package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/cluster/certs"
	"github.com/kgs-cluster/kgs/httpapi/client"
)

const defaultHost = "127.0.0.1:8080"

// clientFlags are those of every client command.
type clientFlags struct {
	addrs   []string
	token   string
	ca      string
	tls     *tls.Config // of https addresses; nil: this machine's authorities
	format  outputFormat
	timeout time.Duration
}

// register makes them flags of a group and all its members.
func (f *clientFlags) register(group *cobra.Command) *cobra.Command {
	flags := group.PersistentFlags()
	flags.StringSliceVar(&f.addrs, "addr", nil, "`URL` of a node, or several with commas: the next is tried when one does not answer (env KGS_ADDR, default http://"+defaultHost+")")
	flags.StringVar(&f.token, "token", "", "access `TOKEN` (env KGS_TOKEN)")
	flags.StringVar(&f.ca, "ca", "", "`FILE` of the CA that signed the nodes' certificates, in PEM; addresses without http:// are then https (env KGS_CA)")
	f.format.register(flags)
	flags.DurationVar(&f.timeout, "timeout", client.DefaultTimeout, "for the whole request, all tries included")
	return group
}

// session is one run of a client command.
type session struct {
	*client.Client
	cmd *cobra.Command
	out output
}

// action is what a client command does. Its errors count as the server's,
// unless they are localErrors.
type action func(ctx context.Context, s *session, args []string) error

// localError is an error of a client command that is not the server's.
type localError struct{ err error }

func (e localError) Error() string { return e.err.Error() }
func (e localError) Unwrap() error { return e.err }

func local(err error) error {
	if err == nil {
		return nil
	}
	return localError{err}
}

// run makes an action the RunE of a command.
func (f *clientFlags) run(do action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, err := f.open(cmd)
		if err != nil {
			return err
		}
		defer s.Close()
		err = do(cmd.Context(), s, args)
		if err == nil || errors.As(err, new(localError)) {
			return err
		}
		return serverError{explain(err)}
	}
}

// open checks the flags and makes the client; it connects to nothing.
func (f *clientFlags) open(cmd *cobra.Command) (*session, error) {
	if f.timeout <= 0 {
		return nil, usageError(cmd, "--timeout %s: want more than 0", f.timeout)
	}
	if !cmd.Flags().Changed("token") {
		f.token = os.Getenv("KGS_TOKEN")
	}
	if !cmd.Flags().Changed("ca") {
		f.ca = os.Getenv("KGS_CA")
	}
	scheme := "http://"
	if f.ca != "" {
		config, err := trusting(f.ca)
		if err != nil {
			return nil, usageError(cmd, "--ca: %v", err)
		}
		f.tls, scheme = config, "https://"
	}
	if !cmd.Flags().Changed("addr") {
		f.addrs = []string{scheme + defaultHost}
		if env := os.Getenv("KGS_ADDR"); env != "" {
			f.addrs = strings.Split(env, ",")
		}
	}
	for i, addr := range f.addrs {
		if f.addrs[i] = strings.TrimSpace(addr); !strings.Contains(addr, "://") {
			f.addrs[i] = scheme + f.addrs[i]
		}
	}
	c, err := f.client(f.timeout, f.addrs...)
	if err != nil {
		return nil, usageError(cmd, "%v", err)
	}
	return &session{Client: c, cmd: cmd, out: f.format.output(cmd)}, nil
}

// client makes one, once open has filled in what the flags leave out.
func (f *clientFlags) client(timeout time.Duration, addrs ...string) (*client.Client, error) {
	return client.New(client.Config{Addrs: addrs, Token: f.token, TLS: f.tls, Timeout: timeout})
}

// trusting is a configuration that believes the authorities in a file.
func trusting(file string) (*tls.Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots, err := certs.Roots(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// requestOf is what net/http puts before each error of a connection; the
// address stands before it already.
var requestOf = regexp.MustCompile(`(Get|Post|Patch|Put|Delete) "[^"]*": `)

// advice is what to do about what a node answers, by its code.
var advice = map[string]string{
	"unauthorized":       "name a token that may with --token or KGS_TOKEN",
	"forbidden":          "name a token that may with --token or KGS_TOKEN",
	"not_owner":          "name a token of its owner, or of an admin, with --token or KGS_TOKEN",
	"keyspace_not_found": "'kgs keyspace list' shows those there are",
	"link_not_found":     "'kgs links list --query TEXT' finds links",
	"token_not_found":    "'kgs token list' shows their ids",
	"node_not_found":     "'kgs cluster status' shows the members",
	"alias_taken":        "choose another one, or leave --alias out",
	"not_returnable":     "'kgs keys inspect KEY' shows where a key stands",
	"no_leader":          "'kgs cluster status' shows which nodes are missing",
}

// explain adds what to do about an error.
func explain(err error) error {
	var said *client.Error
	if errors.As(err, &said) && advice[said.Code] != "" {
		return fmt.Errorf("%w; %s", err, advice[said.Code])
	}
	return unreached(err)
}

// unreached adds what to do when no node answers.
func unreached(err error) error {
	if !errors.Is(err, client.ErrUnreachable) {
		return err
	}
	said := requestOf.ReplaceAllString(oneLine(err), "")
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return fmt.Errorf("%s; name the CA of the cluster with --ca or KGS_CA, and a host that the certificate has with --addr", said)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s; this node has no TLS: use http:// in its address", said)
	}
	return fmt.Errorf("%s; is a node running there? name others with --addr or KGS_ADDR", said)
}
