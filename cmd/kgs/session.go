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
	format  string
	timeout time.Duration
}

// register makes them flags of a group and all its members.
func (f *clientFlags) register(group *cobra.Command) *cobra.Command {
	flags := group.PersistentFlags()
	flags.StringSliceVar(&f.addrs, "addr", nil, "`URL` of a node, or several with commas: the next is tried when one does not answer (env KGS_ADDR, default http://"+defaultHost+")")
	flags.StringVar(&f.token, "token", "", "access `TOKEN` (env KGS_TOKEN)")
	flags.StringVar(&f.ca, "ca", "", "`FILE` of the CA that signed the nodes' certificates, in PEM; addresses without http:// are then https (env KGS_CA)")
	flags.StringVar(&f.format, "format", "table", "of the output: table or json")
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
	if f.format != "table" && f.format != "json" {
		return nil, usageError(cmd, "--format %s: want table or json", f.format)
	}
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
	c, err := client.New(client.Config{Addrs: f.addrs, Token: f.token, TLS: f.tls, Timeout: f.timeout})
	if err != nil {
		return nil, usageError(cmd, "%v", err)
	}
	return &session{Client: c, cmd: cmd, out: output{cmd.OutOrStdout(), f.format == "json"}}, nil
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

// explain adds what to do when no node answers, or the token does not do.
func explain(err error) error {
	if client.HasCode(err, "unauthorized") || client.HasCode(err, "forbidden") {
		return fmt.Errorf("%w; name a token that may with --token or KGS_TOKEN", err)
	}
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
