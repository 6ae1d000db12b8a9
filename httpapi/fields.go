package httpapi

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of a link's fields, apart from the URL (url.go).
const (
	minKey, maxKey = 3, 64 // characters of an alias; keys of a key space lie within
	maxTitle       = 256   // characters
	maxTags        = 16
	maxTag         = 64 // characters
)

// keyChars are the characters of keys and aliases.
var keyChars = func() (chars [256]bool) {
	for _, c := range []byte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-") {
		chars[c] = true
	}
	return chars
}()

// isKey says whether a string can be a link's key at all.
func isKey(key string) bool {
	if len(key) < minKey || len(key) > maxKey {
		return false
	}
	for i := range len(key) {
		if !keyChars[key[i]] {
			return false
		}
	}
	return true
}

// reserved are the first path segments that are ours, or that people and
// programs expect to be. In lower case; no case of them is an alias.
var reserved = map[string]bool{
	"account": true, "admin": true, "api": true, "assets": true, "auth": true,
	"cluster": true, "debug": true, "docs": true, "favicon": true, "health": true,
	"healthz": true, "help": true, "keys": true, "keyspaces": true, "kgs": true,
	"links": true, "livez": true, "login": true, "logout": true, "metrics": true,
	"openapi": true, "pprof": true, "preview": true, "public": true, "readyz": true,
	"rest": true, "robots": true, "signup": true, "static": true, "status": true, "token": true,
	"tokens": true, "ui": true, "version": true,
}

func checkAlias(alias string) error {
	if !isKey(alias) {
		return refusef(kindInvalidAlias, "want %d to %d characters of A-Z a-z 0-9 _ -", minKey, maxKey)
	}
	if reserved[strings.ToLower(alias)] {
		return refusef(kindInvalidAlias, "%q is reserved", alias)
	}
	return nil
}

func checkRedirect(status int) error {
	switch status {
	case 301, 302, 307, 308:
		return nil
	}
	return invalidf("redirect %d: want 301, 302, 307 or 308", status)
}

func checkTitle(title string) error {
	if utf8.RuneCountInString(title) > maxTitle {
		return invalidf("title: at most %d characters", maxTitle).of("title")
	}
	if strings.ContainsFunc(title, unicode.IsControl) {
		return invalidf("title: no control characters").of("title")
	}
	return nil
}

func checkTag(tag string) error {
	if n := utf8.RuneCountInString(tag); n < 1 || n > maxTag {
		return invalidf("tag %.80q: want 1 to %d characters", tag, maxTag).of("tags")
	}
	if !utf8.ValidString(tag) || strings.ContainsFunc(tag, func(r rune) bool { return !unicode.IsPrint(r) && r != zeroWidthJoiner }) {
		return invalidf("tag %q: only printable characters", tag).of("tags")
	}
	return nil
}

const zeroWidthJoiner = '\u200d' // holds emoji together

// cleanTags drops repeats and keeps the order. The limit counts what was sent.
func cleanTags(tags []string) ([]string, error) {
	if len(tags) > maxTags {
		return nil, invalidf("tags: at most %d", maxTags).of("tags")
	}
	var clean []string
	for _, tag := range tags {
		if err := checkTag(tag); err != nil {
			return nil, err
		}
		if !slices.Contains(clean, tag) {
			clean = append(clean, tag)
		}
	}
	return clean, nil
}
