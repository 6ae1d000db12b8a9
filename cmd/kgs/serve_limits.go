package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kgs-cluster/kgs/httpapi"
)

// limitFlags say how much a client may ask of a node, and how a client is told
// from another.
type limitFlags struct {
	rate, misses   float64
	trustedProxies []string
}

func (f *limitFlags) register(flags *pflag.FlagSet) {
	flags.Float64Var(&f.rate, "rate-limit", 0, "requests a second under /v1 that a client (a token, else an address) may make to this node; 0: any number")
	flags.Float64Var(&f.misses, "miss-limit", 0, "keys without a link a second that an address may try at this node before its redirects are refused; 0: any number")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxies", nil, "`CIDR,...` of proxies whose X-Forwarded-For is believed (default none)")
}

// into sets the front end's limits and reports all faults at once.
func (f *limitFlags) into(c *httpapi.Config) error {
	faults := []error{checkRate("--rate-limit", f.rate), checkRate("--miss-limit", f.misses)}
	c.RateLimit, c.MissLimit = f.rate, f.misses
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
