package httpapi

import (
	"bytes"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// linkFields are the members of a link that clients write. Pointers: nil is absent.
type linkFields struct {
	url, title *string
	redirect   *int
	tags       *[]string
	forward    *bool
	// Limits.
	expiresAt, ttl, notBefore *string
	maxVisits                 *int
	// Of a new link only.
	alias, key, keyspace *string
	find                 *bool

	limits
}

// limits are those members as the node has them, each only if it was given.
type limits struct {
	expires, lives, starts *int64
	visits                 *uint64
}

// common are the members of POST and PATCH.
func (f *linkFields) common() []field { return f.appendCommon(nil) }

func (f *linkFields) appendCommon(to []field) []field {
	return append(to,
		field{"url", &f.url, wantString},
		field{"title", &f.title, wantString},
		field{"redirect", &f.redirect, "301, 302, 307 or 308"},
		field{"tags", &f.tags, wantStrings},
		field{"expires_at", &f.expiresAt, wantTime},
		field{"ttl", &f.ttl, wantDuration},
		field{"not_before", &f.notBefore, wantTime},
		field{"max_visits", &f.maxVisits, "a whole number"},
		field{"forward_query", &f.forward, wantBool})
}

func (f *linkFields) check(own ownOrigins, r *http.Request) error {
	if f.url != nil {
		if err := own.checkURL(*f.url, r); err != nil {
			return err
		}
	}
	if f.redirect != nil {
		if err := checkRedirect(*f.redirect); err != nil {
			return err
		}
	}
	if f.title != nil {
		if err := checkTitle(*f.title); err != nil {
			return err
		}
	}
	if f.tags != nil {
		tags, err := cleanTags(*f.tags)
		if err != nil {
			return err
		}
		f.tags = &tags
	}
	return f.checkLimits()
}

// checkPlace checks what names the new link.
func (f *linkFields) checkPlace() error {
	if f.alias != nil && f.key != nil {
		return invalidf("alias and key are both given: choose one")
	}
	if f.alias != nil {
		return checkAlias(*f.alias)
	}
	if f.key != nil && !isKey(*f.key) {
		return refusef(kindNotInKeyspace, "%.80q", *f.key)
	}
	return nil
}

// decodeCreate decodes and checks one new link, which may have more fields.
func (s *Server) decodeCreate(body []byte, r *http.Request, more ...field) (*pb.CreateLink, error) {
	var f linkFields
	var room [16]field
	fields := append(append(f.appendCommon(room[:0]),
		field{"alias", &f.alias, wantString},
		field{"key", &f.key, wantString},
		field{"keyspace", &f.keyspace, wantString},
		field{"find_if_exists", &f.find, wantBool}), more...)
	if err := decodeObject(body, nullIsAbsent, fields...); err != nil {
		return nil, err
	}
	if err := f.check(s.own, r); err != nil {
		return nil, err
	}
	return f.create()
}

// create is the new link; what it is made of has been checked, but for its place.
func (f *linkFields) create() (*pb.CreateLink, error) {
	if f.url == nil {
		return nil, refusef(kindInvalidURL, "it is missing")
	}
	if err := f.checkPlace(); err != nil {
		return nil, err
	}
	if value(f.find) && f.lives != nil {
		return nil, invalidf("find_if_exists and ttl are both given: no two moments have the same end, give expires_at")
	}
	return &pb.CreateLink{
		Alias: value(f.alias), TakenKey: value(f.key), Keyspace: value(f.keyspace),
		FindIfExists: value(f.find), Ttl: value(f.lives),
		Link: &pb.Link{
			Url: *f.url, Title: value(f.title), Tags: value(f.tags), Redirect: uint32(value(f.redirect)),
			ExpiresAt: value(f.expires), NotBefore: value(f.starts), MaxVisits: value(f.visits),
			ForwardQuery: value(f.forward),
		},
	}, nil
}

// decodeUpdate decodes and checks the changes to one link.
func (s *Server) decodeUpdate(body []byte, r *http.Request) (*pb.UpdateLink, error) {
	var f linkFields
	if err := decodeObject(body, nullIsWrong, f.common()...); err != nil {
		return nil, err
	}
	if err := f.check(s.own, r); err != nil {
		return nil, err
	}
	update := f.update()
	if update == nil {
		return nil, invalidf("nothing to change: give url, title, tags, redirect, expires_at, ttl, not_before, max_visits or forward_query")
	}
	return update, nil
}

// update is the changes, which have been checked; nil if there are none.
func (f *linkFields) update() *pb.UpdateLink {
	if f.url == nil && f.title == nil && f.redirect == nil && f.tags == nil && f.forward == nil && f.limits == (limits{}) {
		return nil
	}
	update := &pb.UpdateLink{Url: f.url, Title: f.title,
		ExpiresAt: f.expires, Ttl: f.lives, NotBefore: f.starts, MaxVisits: f.visits, ForwardQuery: f.forward}
	if f.redirect != nil {
		redirect := uint32(*f.redirect)
		update.Redirect = &redirect
	}
	if f.tags != nil {
		update.SetTags, update.Tags = true, *f.tags
	}
	return update
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// linkJSON is a link in an answer. It says nothing that depends on the time or
// the node, so that the answer to a repeat is the same.
type linkJSON struct {
	Key       string   `json:"key"`
	ShortURL  string   `json:"short_url"`
	URL       string   `json:"url"`
	CreatedAt string   `json:"created_at"`
	Redirect  int      `json:"redirect"`
	Alias     bool     `json:"alias"`
	Title     string   `json:"title,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	UpdatedAt string   `json:"updated_at,omitempty"`
	ExpiresAt string   `json:"expires_at,omitempty"`
	NotBefore string   `json:"not_before,omitempty"`
	MaxVisits uint64   `json:"max_visits,omitempty"`
	Forward   bool     `json:"forward_query,omitempty"`
	Owner     string   `json:"owner,omitempty"`
	Visits    *uint64  `json:"visits,omitempty"` // of a link with max_visits
}

func (s *Server) newLinkJSON(r *http.Request, key string, link *pb.Link) linkJSON {
	j := linkJSON{
		Key: key, ShortURL: s.shortURL(r, key), URL: link.GetUrl(),
		CreatedAt: timestamp(link.GetCreatedAt()),
		Redirect:  redirectStatus(link), Alias: link.GetAlias(),
		Title: link.GetTitle(), Tags: link.GetTags(),
	}
	if link.GetUpdatedAt() != 0 {
		j.UpdatedAt = timestamp(link.GetUpdatedAt())
	}
	if link.GetExpiresAt() != 0 {
		j.ExpiresAt = timestamp(link.GetExpiresAt())
	}
	if link.GetNotBefore() != 0 {
		j.NotBefore = timestamp(link.GetNotBefore())
	}
	j.Owner, j.Forward = link.GetOwner(), link.GetForwardQuery()
	if j.MaxVisits = link.GetMaxVisits(); j.MaxVisits != 0 {
		j.Visits = &link.Visits
	}
	return j
}

// appendLink is the same as JSON, a line. What links mostly have is written by
// hand: a batch answers thousands.
func (s *Server) appendLink(buf *bytes.Buffer, r *http.Request, key string, link *pb.Link) error {
	short := s.shortURL(r, key)
	if !isPlain(short) || link.GetTitle() != "" || len(link.GetTags()) > 0 || link.GetUpdatedAt() != 0 || isLimited(link) || link.GetOwner() != "" || link.GetForwardQuery() || !isPlain(link.GetUrl()) {
		return encodeTo(buf, s.newLinkJSON(r, key, link))
	}
	dst := buf.AvailableBuffer()
	dst = append(append(dst, `{"key":"`...), key...) // of keyChars
	dst = append(append(dst, `","short_url":"`...), short...)
	dst = append(append(dst, `","url":"`...), link.GetUrl()...)
	dst = append(append(dst, `","created_at":"`...), timestamp(link.GetCreatedAt())...)
	dst = strconv.AppendInt(append(dst, `","redirect":`...), int64(redirectStatus(link)), 10)
	dst = strconv.AppendBool(append(dst, `,"alias":`...), link.GetAlias())
	_, err := buf.Write(append(dst, "}\n"...))
	return err
}

// isPlain: the string stands in JSON as it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (s *Server) shortURL(r *http.Request, key string) string {
	if s.baseURL != "" {
		return s.baseURL + "/" + key
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host + "/" + key
}

func redirectStatus(link *pb.Link) int {
	if link.GetRedirect() == 0 {
		return http.StatusFound
	}
	return int(link.GetRedirect())
}

// linkPage is a page of the list.
type linkPage struct {
	Links []linkJSON `json:"links"`
	Next  *string    `json:"next_cursor"` // null on the last page
}

func (s *Server) newLinkPage(r *http.Request, page cluster.LinkPage) linkPage {
	links := make([]linkJSON, len(page.Links))
	for i, l := range page.Links {
		links[i] = s.newLinkJSON(r, l.Key, l.Link)
	}
	return linkPage{Links: links, Next: newCursor(page.Next)}
}
