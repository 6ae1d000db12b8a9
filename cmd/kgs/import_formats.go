package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// format is what the rows of one service look like, as CSV or JSON.
type format struct {
	name string
	// fields are those of a link, by column or member, in the normal form; "" for
	// what is known and of no use here. Besides those of client.NewLink: code, the
	// key there; custom and short, URLs that end with it.
	fields map[string]string
	strict bool // no other columns
	// forwards: a link forwards queries unless the row says that it does not.
	forwards bool
	// separators are what may stand between tags in one cell.
	separators string
	headless   []string // columns of files without a header; nil: there are none
	// inside are the members of a JSON document that hold rows.
	inside []string
}

const reasonColumn = "reason"

// ownFormat is what kgs writes, and what people write for it.
var ownFormat = &format{
	name: "csv", strict: true, separators: ";",
	fields: map[string]string{
		"url": "url", "alias": "alias", "key": "key", "title": "title", "tags": "tags", "redirect": "redirect",
		"expiresat": "expires_at", "notbefore": "not_before", "maxvisits": "max_visits", "forwardquery": "forward_query",
		"shorturl": "", "createdat": "", "updatedat": "", "visits": "", "owner": "",
	},
}

// otherFormats are those of other services, the one with the most telling
// columns first.
var otherFormats = []*format{
	{
		// The importer's: github.com/shlinkio/shlink-importer. The web client's export
		// had tags with commas once, and no short code but in the short URL.
		name: "shlink", separators: "|,", forwards: true,
		fields: map[string]string{
			"longurl": "url", "shortcode": "code", "shorturl": "short", "title": "title", "tags": "tags",
			"validsince": "not_before", "validuntil": "expires_at", "maxvisits": "max_visits",
			"forwardquery": "forward_query",
		},
		inside: []string{"shorturls", "data"},
	},
	{
		// The table yourls_url; source and target are the plugin's,
		// github.com/GautamGupta/YOURLS-Import-Export.
		name: "yourls",
		fields: map[string]string{
			"url": "url", "target": "url", "keyword": "code", "shorturl": "short", "source": "short", "title": "title",
		},
		headless: []string{"keyword", "url", "title", "timestamp", "ip", "clicks"},
		inside:   []string{"links", "result", "data"},
	},
	{
		name: "bitly", separators: ",",
		fields: map[string]string{
			"longurl": "url", "bitlink": "short", "link": "short", "shortlink": "short", "shorturl": "short",
			"custombitlinks": "custom", "title": "title", "tags": "tags",
		},
		inside: []string{"links"},
	},
}

func formatNamed(name string) *format {
	for _, f := range append(otherFormats, ownFormat) {
		if f.name == name {
			return f
		}
	}
	return nil
}

// formatOf is the format of a table with these columns; nil if it is none.
func formatOf(columns []string, want *format) *format {
	candidates := append(slices.Clone(otherFormats), ownFormat)
	if want != nil {
		candidates = []*format{want}
	}
	for _, f := range candidates {
		has := map[string]bool{}
		for _, column := range columns {
			has[f.fields[normal(column)]] = true
		}
		if has["url"] && (want != nil || f == ownFormat || has["code"] || has["short"] || has["custom"]) &&
			!(want == nil && f.name == "yourls" && hasColumn(columns, "key")) {
			return f
		}
	}
	return nil
}

func hasColumn(columns []string, name string) bool {
	return slices.ContainsFunc(columns, func(column string) bool { return normal(column) == name })
}

// normal makes Long URL, long_url and longUrl one.
func normal(column string) string {
	return strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToLower(strings.Trim(column, blanks)))
}

// match finds the field of each column, and which columns are passed over.
func (f *format) match(columns []string) (fields, passed []string, err error) {
	hasKey := hasColumn(columns, "key")
	for i, column := range columns {
		field, known := f.fields[normal(column)]
		switch {
		case !known && f.strict:
			return nil, nil, fmt.Errorf("unknown column %q: there are %s", column, strings.Join(exportColumns, ", "))
		case field != "" && slices.Contains(columns[:i], column):
			return nil, nil, fmt.Errorf("column %q is there twice", column)
		case field == "alias" && hasKey: // of an export: whether the key is one
			field = ""
		case !known:
			passed = append(passed, column)
		}
		fields = append(fields, field)
	}
	return fields, passed, nil
}

// wanted is what a header must have, for people.
func (f *format) wanted() string {
	var names []string
	for column, field := range f.fields {
		if field == "url" || field == "code" || field == "short" {
			names = append(names, column)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ") + " or the like; or is the file something else than --from " + f.name + "?"
}

// notes say what of a file is not imported.
func (f *format) notes(passed []string, keepCodes bool) (notes []string) {
	if len(passed) > 0 {
		notes = append(notes, fmt.Sprintf("as %s; passed over: %s", f.name, strings.Map(printable, strings.Join(passed, ", "))))
	}
	if f != ownFormat && !keepCodes {
		notes = append(notes, "the links get new keys: --keep-codes keeps their short codes")
	}
	return notes
}

// link makes a link of a row.
func (f *format) link(fields, cells []string, keepCodes bool) (link client.NewLink, err error) {
	var custom, code, short string
	link.ForwardQuery = f.forwards
	for i, cell := range cells {
		if !utf8.ValidString(cell) {
			return link, errNotUTF8
		}
		field := fields[i]
		if field != "title" {
			cell = strings.Trim(cell, blanks)
		}
		if f == ownFormat {
			cell = fromInert(cell)
		}
		if cell == "" {
			continue
		}
		switch field {
		case "":
		case "key", "alias":
			link.Alias = cell
		case "code":
			code = cell
		case "short":
			short = codeOf(cell)
		case "custom":
			if urls := splitTags(cell, ","); len(urls) > 0 {
				custom = codeOf(urls[0])
			}
		default:
			if err = setField(&link, field, cell, f.separators); err != nil {
				return link, err
			}
		}
	}
	if f.name == "yourls" && link.Title == "NULL" { // as dumps have it
		link.Title = ""
	}
	if keepCodes && f != ownFormat {
		if link.Alias = cmp.Or(custom, code, short); link.Alias == "" {
			err = errors.New("it has no short code to keep")
		}
	}
	return link, err
}

// codeOf is the short code of a short URL, perhaps one without scheme or host.
func codeOf(short string) string {
	_, rest, found := strings.Cut(short, "://")
	if !found {
		rest = short
	}
	_, path, _ := strings.Cut(rest, "/")
	path = strings.Trim(path, "/")
	if code, err := url.PathUnescape(path); err == nil {
		return code
	}
	return path
}

func setField(link *client.NewLink, field, cell, separators string) (err error) {
	switch field {
	case "url":
		link.URL = cell
	case "title":
		link.Title = cell
	case "tags":
		link.Tags = splitTags(cell, separators)
	case "redirect":
		if link.Redirect, err = strconv.Atoi(cell); err != nil {
			return fmt.Errorf("redirect %q: want 301, 302, 307 or 308", cell)
		}
	case "expires_at":
		link.ExpiresAt, err = parseTime(cell)
	case "not_before":
		link.NotBefore, err = parseTime(cell)
	case "forward_query":
		if link.ForwardQuery, err = strconv.ParseBool(cell); err != nil {
			return fmt.Errorf("forward_query %q: want true or false", cell)
		}
	case "max_visits":
		if link.MaxVisits, err = strconv.Atoi(cell); err != nil {
			return fmt.Errorf("max_visits %q: want a number", cell)
		}
	}
	return err
}

func parseTime(cell string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, cell)
	if err != nil {
		err = fmt.Errorf("%q: want a time like 2027-01-31T12:00:00Z", cell)
	}
	return at, err
}

// jsonTags reads tags that are a list in JSON.
func jsonTags(cell string) (tags []string, ok bool) {
	ok = strings.HasPrefix(cell, "[") && json.Unmarshal([]byte(cell), &tags) == nil
	return tags, ok
}
