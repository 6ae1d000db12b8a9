package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddress is where a request comes from: the connection's other end or, if
// that is a trusted proxy, the last address of X-Forwarded-For that is none.
// Each proxy adds at the end whom it was asked by, so what stands before that
// address may be anybody's invention. If all are trusted it is the first one.
// What cannot be read ends the search at the proxy that said it. The zero Addr:
// the connection has no IP address.
func (s *Server) clientAddress(r *http.Request) netip.Addr {
	address := peerAddress(r)
	if !s.trusts(address) {
		return address
	}
	lines := r.Header["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var item string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, item = rest[:comma], rest[comma+1:]
			} else {
				item, more = rest, false
			}
			before := forwardedAddress(strings.Trim(item, " \t"))
			if !before.IsValid() {
				return address
			}
			if address = before; !s.trusts(address) {
				return address
			}
		}
	}
	return address
}

// clientName is clientAddress for the log: with the port, if the connection is
// the client's own.
func (s *Server) clientName(r *http.Request) string {
	if len(s.trusted) == 0 || !s.trusts(peerAddress(r)) {
		return r.RemoteAddr
	}
	return s.clientAddress(r).String()
}

func (s *Server) trusts(address netip.Addr) bool {
	for _, proxies := range s.trusted {
		if proxies.Contains(address) {
			return true
		}
	}
	return false
}

// peerAddress is the connection's other end.
func peerAddress(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return unmapped(peer.Addr())
}

// forwardedAddress reads an item of X-Forwarded-For: an address, and perhaps a
// port. IPv6 may stand in brackets. The zero Addr: it is none.
func forwardedAddress(item string) netip.Addr {
	if address, err := netip.ParseAddr(item); err == nil {
		return unmapped(address)
	}
	if withPort, err := netip.ParseAddrPort(item); err == nil {
		return unmapped(withPort.Addr())
	}
	if len(item) > 2 && item[0] == '[' && item[len(item)-1] == ']' {
		if address, err := netip.ParseAddr(item[1 : len(item)-1]); err == nil && address.Is6() {
			return unmapped(address)
		}
	}
	return netip.Addr{}
}

// unmapped is an address as it is compared: IPv4 within IPv6 is IPv4, and a zone
// is left out, as it is this machine's own affair.
func unmapped(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }
