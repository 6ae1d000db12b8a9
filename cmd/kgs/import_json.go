package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// jsonEntries are JSON lines.
type jsonEntries struct{ lines *lineReader }

func (j jsonEntries) next() (entry, error) { return j.lines.nextEntry(parseJSONLink) }

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

	Key       string          `json:"key"`
	ShortURL  json.RawMessage `json:"short_url"`
	CreatedAt json.RawMessage `json:"created_at"`
	UpdatedAt json.RawMessage `json:"updated_at"`
	Visits    json.RawMessage `json:"visits"`
}

func parseJSONLink(text []byte) (client.NewLink, error) {
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
		ExpiresAt: in.ExpiresAt, NotBefore: in.NotBefore, MaxVisits: in.MaxVisits}
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
