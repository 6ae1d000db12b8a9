package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"github.com/kgs-cluster/kgs/httpapi"
)

// limitFlags say how much a client may ask of a node, and how a client is told
// from another.
type limitFlags struct {
	rate, misses   float64
	trustedProxies []string
	connections    int
}

func (f *limitFlags) register(flags *pflag.FlagSet) {
	flags.Float64Var(&f.rate, "rate-limit", 0, "requests a second under /v1 that a client (a token, else an address) may make to this node; 0: any number")
	flags.Float64Var(&f.misses, "miss-limit", 0, "keys without a link a second that an address may try at this node before its redirects are refused; 0: any number")
	flags.IntVar(&f.connections, "max-connections", 16_384, "clients' connections that may be open at once; further ones wait")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxies", nil, "`CIDR,...` of proxies whose X-Forwarded-For is believed (default none)")
}

// into sets the front end's limits and reports all faults at once.
func (f *limitFlags) into(c *httpapi.Config) error {
	faults := []error{checkRate("--rate-limit", f.rate), checkRate("--miss-limit", f.misses)}
	c.RateLimit, c.MissLimit, c.MaxConns = f.rate, f.misses, f.connections
	if f.connections < 0 {
		faults = append(faults, fmt.Errorf("--max-connections %d: want a number above 0", f.connections))
	}
	for _, text := range f.trustedProxies {
		proxies, err := parseProxies(strings.TrimSpace(text))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		c.TrustedProxies = append(c.TrustedProxies, proxies)
	}
	return errors.Join(faults...)
}

func (f *limitFlags) check() error { return f.into(&httpapi.Config{}) }

func checkRate(flag string, rate float64) error {
	if rate == 0 || rate >= httpapi.MinRate && rate <= httpapi.MaxRate {
		return nil
	}
	return fmt.Errorf("%s %v: want %v to %d a second, or 0 for no limit", flag, rate, httpapi.MinRate, httpapi.MaxRate)
}

// parseProxies reads a network, or the address of one proxy.
func parseProxies(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	proxies, err := netip.ParsePrefix(text)
	if err != nil || proxies.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("--trusted-proxies %q: want a network or an address, as 10.0.0.0/8 or 2001:db8::7, several with commas", text)
	}
	return proxies, nil
}

// ownFiles is how many files a node may have open besides clients' connections,
// about; most are the store's.
const ownFiles = 1536

// fitConnections lowers the bound to what the process may open: a node that can
// open no more files of its own stops.
func fitConnections(most int, log hclog.Logger) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || uint64(most)+ownFiles <= files.Cur {
		return most
	}
	fit := max(int(files.Cur)-ownFiles, int(files.Cur)/2)
	if fit < most {
		log.Warn("fewer clients may be connected at once than --max-connections says: this process may open too few files (ulimit -n)", "connections", fit, "files", files.Cur)
		most = fit
	}
	return most
}
