package httpapi

import "unicode/utf8"

// decodePlain decodes what nearly every request is: one object whose members are
// plain strings and small numbers. It says false to anything else, right or
// wrong, which is then for decodeStrictly. What it takes, it takes as that does
// (FuzzDecodePlain); it costs a tenth.
func decodePlain(data []byte, fields []field) bool {
	var seen uint32 // by index in fields
	p := plain{data: data}
	if len(fields) > 32 || !utf8.Valid(data) || !p.skip('{') {
		return false
	}
	for first := true; !p.skip('}'); first = false {
		if !first && !p.skip(',') {
			return false
		}
		name, ok := p.text()
		if !ok || !p.skip(':') {
			return false
		}
		at := 0
		for at < len(fields) && fields[at].name != string(name) {
			at++
		}
		if at == len(fields) || seen&(1<<at) != 0 || !p.value(fields[at].into) {
			return false
		}
		seen |= 1 << at
	}
	p.space()
	return p.at == len(data)
}

// plain reads tokens from at on.
type plain struct {
	data []byte
	at   int
}

func (p *plain) space() {
	for p.at < len(p.data) && (p.data[p.at] == ' ' || p.data[p.at] == '\t' || p.data[p.at] == '\n' || p.data[p.at] == '\r') {
		p.at++
	}
}

// skip reads one character, after any space.
func (p *plain) skip(c byte) bool {
	p.space()
	if p.at == len(p.data) || p.data[p.at] != c {
		return false
	}
	p.at++
	return true
}

// text reads a string without escapes.
func (p *plain) text() (text []byte, ok bool) {
	if !p.skip('"') {
		return nil, false
	}
	for i := p.at; i < len(p.data); i++ {
		switch c := p.data[i]; {
		case c == '"':
			text, p.at = p.data[p.at:i], i+1
			return text, true
		case c == '\\' || c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// value reads one member's value; into is left alone if it is not plain.
func (p *plain) value(into any) bool {
	switch into := into.(type) {
	case *string:
		text, ok := p.text()
		if ok {
			*into = string(text)
		}
		return ok
	case **string:
		text, ok := p.text()
		if ok {
			s := string(text)
			*into = &s
		}
		return ok
	case *int:
		n, ok := p.number()
		if ok {
			*into = n
		}
		return ok
	case **int:
		n, ok := p.number()
		if ok {
			*into = &n
		}
		return ok
	}
	return false
}

// number reads a whole number of up to nine digits.
func (p *plain) number() (n int, ok bool) {
	p.space()
	start := p.at
	for p.at < len(p.data) && p.data[p.at] >= '0' && p.data[p.at] <= '9' {
		n = 10*n + int(p.data[p.at]-'0')
		p.at++
		if p.at-start > 9 {
			return 0, false
		}
	}
	if p.at == start || p.data[start] == '0' && p.at-start > 1 {
		return 0, false
	}
	return n, p.at < len(p.data) && (p.data[p.at] == ',' || p.data[p.at] == '}' || p.data[p.at] == ' ')
}
