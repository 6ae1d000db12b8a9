package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// rebound tells of a change whether a page of a stranger asks for it, under a name of
// his that he had lead to this machine after it was loaded: to the browser it is then
// of the node's own origin ("DNS rebinding").
//
// That name has a dot, is not known here, and has the node's own port, at its loopback
// address: elsewhere it takes TLS, for which a stranger has no certificate, or
// --insecure. A proxy on this machine is seen under another port, or by https. Who is no
// browser sends no Origin. A read cannot be told apart: at such a name a browser sends
// nothing with it that others do not.
func (s *Server) rebound(r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || !strings.HasPrefix(r.Header.Get("Origin"), "http://") {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return false
	}
	here, err := parseAuthority(r.Host)
	port, _ := canonicalPort(strconv.Itoa(local.Port))
	return err == nil && here.port == port && !s.isOurs(here.host)
}

// isOurs: no stranger has this host's name.
func (s *Server) isOurs(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return true
	}
	switch host[strings.LastIndexByte(host, '.'):] {
	case ".local", ".internal", ".test": // nobody's, in the DNS
		return true
	}
	for own := range s.own {
		if own.host == host {
			return true
		}
	}
	name, _ := os.Hostname()
	return strings.EqualFold(name, host)
}
