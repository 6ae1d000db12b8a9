package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// field is one member that an object may have.
type field struct {
	name string
	into any    // where json.Unmarshal puts it
	want string // for people: "a string"
}

const (
	wantString  = "a string"
	wantStrings = "a list of strings"
	wantBool    = "true or false"
)

// nulls says what a member that is null means.
type nulls int

const (
	nullIsWrong nulls = iota
	nullIsAbsent
	nullClears // as "" or 0 does; wrong of other types
)

// decodeObject decodes one JSON object strictly: names match exactly and once,
// every member is known, nothing follows. encoding/json alone would accept
// "URL" for "url", take the last of two, and put U+FFFD for bytes that are not
// UTF-8.
func decodeObject(data []byte, null nulls, fields ...field) error {
	if decodePlain(data, fields) {
		return nil
	}
	return decodeStrictly(data, null, fields)
}

func decodeStrictly(data []byte, null nulls, fields []field) error {
	if !utf8.Valid(data) {
		return invalidf("the JSON is not UTF-8")
	}
	if hasLoneSurrogate(data) {
		return invalidf("the JSON has half of a surrogate pair")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if token, err := d.Token(); err != nil {
		return syntaxProblem(err)
	} else if token != json.Delim('{') {
		return invalidf("want a JSON object")
	}
	seen := make([]bool, len(fields))
	for d.More() {
		if err := decodeMember(d, null, fields, seen); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return syntaxProblem(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return invalidf("data after the JSON object")
	}
	return nil
}

func decodeMember(d *json.Decoder, null nulls, fields []field, seen []bool) error {
	token, err := d.Token()
	if err != nil {
		return syntaxProblem(err)
	}
	name, _ := token.(string)
	at := -1
	for i := range fields {
		if fields[i].name == name {
			at = i
		}
	}
	if at < 0 {
		return invalidf("unknown field %q", name).of(name)
	}
	if seen[at] {
		return invalidf("field %q is given twice", name).of(name)
	}
	seen[at] = true
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return syntaxProblem(err)
	}
	return fields[at].set(raw, null)
}

func (f field) set(raw json.RawMessage, null nulls) error {
	isNull := string(raw) == "null"
	switch {
	case isNull && null == nullIsAbsent:
		return nil
	case isNull && null == nullClears && f.clear():
		return nil
	case isNull || hasNullElement(raw) || json.Unmarshal(raw, f.into) != nil:
		return invalidf("field %q: want %s", f.name, f.want).of(f.name)
	}
	return nil
}

// clear sets the member to what takes it away, if there is such a value.
func (f field) clear() bool {
	switch into := f.into.(type) {
	case **string:
		*into = new(string)
	case **int:
		*into = new(int)
	default:
		return false
	}
	return true
}

// hasNullElement finds null in a list, which would become an empty string.
func hasNullElement(raw json.RawMessage) bool {
	if raw[0] != '[' || !bytes.Contains(raw, []byte("null")) {
		return false
	}
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		return true
	}
	for _, e := range elements {
		if string(e) == "null" {
			return true
		}
	}
	return false
}

func syntaxProblem(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalidf("the JSON ends too early")
	}
	return invalidf("not JSON: %v", err)
}

// hasLoneSurrogate finds an escape \ud800 to \udfff that is not one of a pair:
// it stands for no character.
func hasLoneSurrogate(data []byte) bool {
	pending := false // the escape before was the first of a pair
	for i := 0; i < len(data); i++ {
		var unit uint64
		escape := data[i] == '\\'
		if escape {
			i++
			if i < len(data) && data[i] == 'u' && i+4 < len(data) {
				unit, _ = strconv.ParseUint(string(data[i+1:i+5]), 16, 16)
				i += 4
			}
		}
		second := unit >= 0xdc00 && unit <= 0xdfff
		if pending != second {
			return true
		}
		pending = unit >= 0xd800 && unit <= 0xdbff
	}
	return pending
}
