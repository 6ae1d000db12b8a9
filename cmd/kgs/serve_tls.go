package main

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/kgs-cluster/kgs/cluster/certs"
)

// tlsFlags name the files of a node's certificates.
type tlsFlags struct {
	cert, key, ca     string // of the cluster port, and of HTTP unless it has its own
	httpCert, httpKey string
}

func (f *tlsFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.cert, "tls-cert", "", "`FILE` with this node's certificate, as kgs tls init makes it: TLS between nodes, and HTTPS")
	flags.StringVar(&f.key, "tls-key", "", "`FILE` with its key")
	flags.StringVar(&f.ca, "tls-ca", "", "`FILE` with the CA of all nodes of the cluster")
	flags.StringVar(&f.httpCert, "http-tls-cert", "", "`FILE` with another certificate for HTTPS (default --tls-cert)")
	flags.StringVar(&f.httpKey, "http-tls-key", "", "`FILE` with its key")
}

func (f *tlsFlags) check() error {
	var faults []error
	if given := f.cert != "" || f.key != "" || f.ca != ""; given && (f.cert == "" || f.key == "" || f.ca == "") {
		faults = append(faults, errors.New("--tls-cert, --tls-key and --tls-ca belong together: give all three or none"))
	}
	if (f.httpCert == "") != (f.httpKey == "") {
		faults = append(faults, errors.New("--http-tls-cert and --http-tls-key belong together: give both or none"))
	}
	return errors.Join(faults...)
}

// forCluster and forHTTP tell which ports TLS protects.
func (f *tlsFlags) forCluster() bool { return f.cert != "" }
func (f *tlsFlags) forHTTP() bool    { return f.cert != "" || f.httpCert != "" }

// nodeTLS are the certificates of a node's two ports; nil: no TLS there. They
// may be the same.
type nodeTLS struct{ cluster, http *certs.Source }

// open reads the files.
func (f *tlsFlags) open(node string) (t nodeTLS, err error) {
	if f.forCluster() {
		if t.cluster, err = certs.Open(certs.Files{Cert: f.cert, Key: f.key, CA: f.ca}, node); err != nil {
			return t, err
		}
		t.http = t.cluster
	}
	if f.httpCert != "" {
		t.http, err = certs.Open(certs.Files{Cert: f.httpCert, Key: f.httpKey}, node)
	}
	return t, err
}

// server is what the HTTP port speaks; nil: plain HTTP.
func (t nodeTLS) server() *tls.Config {
	if t.http == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			own, _ := t.http.Current()
			return own, nil
		},
	}
}

// metrics tell when a certificate ends.
func (t nodeTLS) metrics(registry prometheus.Registerer) {
	for port, source := range map[string]*certs.Source{"cluster": t.cluster, "http": t.http} {
		if source == nil {
			continue
		}
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "kgs_tls_certificate_expiry_seconds",
			Help:        "When the certificate of a port, or its CA, expires (Unix time).",
			ConstLabels: prometheus.Labels{"port": port},
		}, func() float64 { return float64(source.Expires().Unix()) }))
	}
}

const (
	tlsPoll     = 10 * time.Second    // how often the files are looked at
	expiryAlarm = 14 * 24 * time.Hour // before it the log warns of the end
	expiryEvery = 24 * time.Hour      // so often
)

// watch keeps the certificates up to date on a goroutine, until ctx ends: it
// reads the files when they change, and at each SIGHUP (see onHangup).
func (t nodeTLS) watch(ctx context.Context, log hclog.Logger) {
	if t.http == nil {
		return
	}
	watches := []*certWatch{{source: t.http, log: log}}
	if t.cluster != nil && t.cluster != t.http {
		watches = append(watches, &certWatch{source: t.cluster, log: log})
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangup)
		watchAll(ctx, watches, hangup)
	}()
}

func watchAll(ctx context.Context, watches []*certWatch, hangup <-chan os.Signal) {
	tick := time.NewTicker(tlsPoll)
	defer tick.Stop()
	for asked := false; ; {
		for _, w := range watches {
			w.look(asked)
			w.alarm()
		}
		select {
		case <-tick.C:
			asked = false
		case <-hangup:
			asked = true
		case <-ctx.Done():
			return
		}
	}
}

// certWatch keeps one certificate up to date.
type certWatch struct {
	source *certs.Source
	log    hclog.Logger
	fault  string    // told already
	warned time.Time // of the end
}

// look reads the files again; asked: somebody wants to hear what comes of it.
func (w *certWatch) look(asked bool) {
	changed, err := w.source.Reload()
	switch {
	case err != nil:
		if asked || err.Error() != w.fault {
			w.log.Error("the new TLS files are not used, the certificate stays the old one", "reason", err)
		}
		w.fault = err.Error()
		return
	case changed:
		w.log.Info("new TLS certificate", "file", w.source.CertFile(), "expires", w.source.Expires().Format(time.RFC3339))
		w.warned = time.Time{}
	case asked:
		w.log.Info("the TLS files have not changed", "file", w.source.CertFile())
	}
	w.fault = ""
}

// alarm warns, once a day, of a certificate that ends soon.
func (w *certWatch) alarm() {
	left := time.Until(w.source.Expires())
	if left > expiryAlarm || time.Since(w.warned) < expiryEvery {
		return
	}
	w.warned = time.Now()
	w.log.Warn("the TLS certificate expires soon: renew it, or nobody will connect to this node",
		"file", w.source.CertFile(), "expires", w.source.Expires().Format(time.RFC3339))
}
