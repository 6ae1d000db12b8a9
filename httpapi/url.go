package httpapi

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const maxURL = 2048 // bytes

// origin is a host and port as a browser would read them.
type origin struct {
	host string
	port string // "" for 80 and 443: one usually redirects to the other
}

// ownOrigins are the places where this service is itself: a link to one of
// them would be a redirect to a redirect, without end.
type ownOrigins map[origin]bool

func newOwnOrigins(baseURL string, hosts []string) (ownOrigins, error) {
	own := ownOrigins{}
	if u, err := url.Parse(baseURL); err == nil && u.Host != "" {
		hosts = append(hosts[:len(hosts):len(hosts)], u.Host)
	}
	for _, host := range hosts {
		o, err := parseAuthority(host)
		if err != nil {
			return nil, err
		}
		own[o] = true
	}
	return own, nil
}

// checkURL accepts what a link may point to. It never changes the URL: what it
// accepts is stored byte for byte.
func (own ownOrigins) checkURL(raw string, r *http.Request) error {
	target, err := parseTarget(raw)
	if err != nil {
		return refusef(kindInvalidURL, "%v", err)
	}
	here, err := parseAuthority(r.Host)
	if own[target] || (err == nil && target == here) {
		return refusef(kindInvalidURL, "it points to this service itself")
	}
	return nil
}

func parseTarget(raw string) (origin, error) {
	if raw == "" || len(raw) > maxURL {
		return origin{}, errors.New("want 1 to " + strconv.Itoa(maxURL) + " bytes")
	}
	if !isVisibleASCII(raw) {
		if !utf8.ValidString(raw) {
			return origin{}, errors.New("it is not UTF-8")
		}
		if strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
			return origin{}, errors.New("it has a space or a control character: percent-encode it")
		}
	}
	scheme, rest, found := strings.Cut(raw, "://")
	if !found || !(strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) {
		return origin{}, errors.New("want http:// or https://")
	}
	authority := rest
	if end := strings.IndexAny(rest, `/?#\`); end >= 0 {
		if rest[end] == '\\' { // browsers take it for a slash, other readers do not
			return origin{}, errors.New(`the host has a backslash`)
		}
		authority = rest[:end]
	}
	if strings.Contains(authority, "@") {
		return origin{}, errors.New("user names and passwords are not accepted")
	}
	return parseAuthority(authority)
}

// isVisibleASCII: nearly every URL is, and the quickest to look at.
func isVisibleASCII(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// parseAuthority reads host[:port].
func parseAuthority(authority string) (origin, error) {
	host, port := authority, ""
	if end := strings.LastIndexByte(authority, ']'); strings.HasPrefix(authority, "[") && end > 0 {
		host, port = authority[:end+1], authority[end+1:]
		if port != "" && port[0] != ':' {
			return origin{}, errors.New("the host is not valid")
		}
		port = strings.TrimPrefix(port, ":")
	} else if colon := strings.LastIndexByte(authority, ':'); colon >= 0 {
		host, port = authority[:colon], authority[colon+1:]
	}
	port, err := canonicalPort(port)
	if err != nil {
		return origin{}, err
	}
	host, err = canonicalHost(host)
	return origin{host, port}, err
}

func canonicalPort(port string) (string, error) {
	if port == "" {
		return "", nil
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return "", errors.New("the port is not a number")
		}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return "", errors.New("the port is not a number from 1 to 65535")
	}
	if number == 80 || number == 443 {
		return "", nil
	}
	return strconv.FormatUint(number, 10), nil
}

// hostProfile maps a host name as browsers do (UTS 46), underscores included.
var hostProfile = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.CheckHyphens(false), idna.Transitional(false))

var errHost = errors.New("the host is not valid")

// canonicalHost makes the spellings of a host one: see the WHATWG URL standard,
// "host parsing".
func canonicalHost(host string) (string, error) {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if err != nil || !closed || !addr.Is6() || addr.Zone() != "" {
			return "", errHost
		}
		return canonicalAddr(addr), nil
	}
	if !isPlainHost(host) {
		unescaped, err := url.PathUnescape(host)
		if err != nil || !utf8.ValidString(unescaped) {
			return "", errHost
		}
		if host, err = hostProfile.ToASCII(unescaped); err != nil {
			return "", errHost
		}
		if !isVisibleASCII(host) || strings.ContainsAny(host, `"#%/:<>?@[\]^{|}`+"`") {
			return "", errHost
		}
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" {
		return "", errors.New("it has no host")
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return "localhost", nil
	}
	if !endsInNumber(host) {
		return host, nil
	}
	addr, err := netip.ParseAddr(host) // four decimal numbers, and no other spelling
	if err != nil {
		return "", errHost
	}
	return canonicalAddr(addr), nil
}

// isPlainHost: to map it as browsers do would not change it.
func isPlainHost(host string) bool {
	for i := range len(host) {
		if c := host[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return !strings.Contains(host, "xn--") // Punycode, which may be wrong
}

func canonicalAddr(addr netip.Addr) string {
	if addr = addr.Unmap(); addr.IsLoopback() || addr.IsUnspecified() {
		return "localhost"
	}
	return addr.String()
}

// endsInNumber: a browser reads such a host as an IPv4 address, in spellings
// such as 127.1 or 0x7f000001.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}
