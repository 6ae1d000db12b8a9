package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// jsonEntries are JSON lines.
type jsonEntries struct{ lines *lineReader }

func (j jsonEntries) next() (entry, error) {
	for {
		e, err := j.lines.nextEntry(parseJSONLink)
		if e.fault != errOnlyReason {
			return e, err
		}
	}
}

// importedLink is a line to import, or one that export wrote: that one keeps
// its key, and what only the service sets is passed over.
type importedLink struct {
	URL      string          `json:"url"`
	Alias    json.RawMessage `json:"alias"` // a key; in an export: whether Key is an alias
	Title    string          `json:"title"`
	Tags     []string        `json:"tags"`
	Redirect int             `json:"redirect"`

	ExpiresAt time.Time `json:"expires_at"`
	NotBefore time.Time `json:"not_before"`
	MaxVisits int       `json:"max_visits"`

	ForwardQuery bool `json:"forward_query"`

	Key       string          `json:"key"`
	ShortURL  json.RawMessage `json:"short_url"`
	CreatedAt json.RawMessage `json:"created_at"`
	UpdatedAt json.RawMessage `json:"updated_at"`
	Visits    json.RawMessage `json:"visits"`
	Owner     json.RawMessage `json:"owner"`
	Reason    json.RawMessage `json:"reason"` // of an earlier refusal
}

func parseJSONLink(text []byte) (client.NewLink, error) {
	if text = withoutReason(text); text == nil {
		return client.NewLink{}, errOnlyReason
	}
	var in importedLink
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return client.NewLink{}, fmt.Errorf("not a link in JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return client.NewLink{}, errors.New("not a link in JSON: more follows it on the line")
	}
	link := client.NewLink{URL: in.URL, Alias: in.Key, Title: in.Title, Tags: in.Tags, Redirect: in.Redirect,
		ExpiresAt: in.ExpiresAt, NotBefore: in.NotBefore, MaxVisits: in.MaxVisits, ForwardQuery: in.ForwardQuery}
	switch string(in.Alias) {
	case "", "null", "true", "false":
		return link, nil
	}
	if in.Key != "" {
		return client.NewLink{}, errors.New("both key and alias: give one")
	}
	if err := json.Unmarshal(in.Alias, &link.Alias); err != nil {
		return client.NewLink{}, errors.New("alias: want a string")
	}
	return link, nil
}

func (jsonEntries) header() []byte { return nil }

// reject has the reason as the first member of the line. A line that is no
// object, or has no member, stands as it is, after one that has only the reason.
func (jsonEntries) reject(e entry, reason string) []byte {
	line := jsonLine(map[string]string{reasonColumn: reason})
	text := withoutReason(e.source)
	if members := bytes.TrimPrefix(text, []byte("{")); len(members) < len(text) && json.Valid(text) && !bytes.HasPrefix(bytes.Trim(members, blanks), []byte("}")) {
		line = append(line[:len(line)-len("}\n")], ',')
		text = members
	}
	return append(append(line, text...), '\n')
}

var (
	reasonMember  = regexp.MustCompile(`^\{"` + reasonColumn + `":"(?:[^"\\]|\\.)*",?`)
	errOnlyReason = errors.New("it is only a reason")
)

// withoutReason undoes what reject did; nil if nothing is left.
func withoutReason(text []byte) []byte {
	member := reasonMember.Find(text)
	switch {
	case member == nil:
		return text
	case member[len(member)-1] != ',' && string(text[len(member):]) == "}":
		return nil
	case member[len(member)-1] != ',': // cut off, say
		return text
	}
	return append([]byte{'{'}, text[len(member):]...)
}

// jsonLine is v as a line; v can be encoded.
func jsonLine(v any) []byte {
	var line bytes.Buffer
	if err := encodeLine(&line, v); err != nil {
		panic(err)
	}
	return line.Bytes()
}
