package devices

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// DecodeJSON is a payload as encoding/json decodes it, with numbers as they are
// written. What devices send is nearly always plain, and read in one go, for it
// is most of what a message costs. All else encoding/json reads or refuses.
func DecodeJSON(payload []byte) (v any, err error) {
	p := plainJSON{text: payload}
	if v, ok := p.value(0); ok && p.next() == 0 {
		return v, nil
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

// plainJSON reads JSON without escapes that is not deep. It is sure of what it takes,
// and takes nothing else.
type plainJSON struct {
	text []byte
	at   int
}

// next is the next byte that is no space; 0 at the end.
func (p *plainJSON) next() byte {
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\n', '\r':
		case 0:
			return '?' // which nothing takes
		default:
			return c
		}
	}
	return 0
}

func (p *plainJSON) value(depth int) (v any, ok bool) {
	if depth > 20 {
		return nil, false
	}
	switch c := p.next(); c {
	case '{':
		m := make(map[string]any)
		for p.at++; ; p.at++ {
			if p.next() == '}' && len(m) == 0 {
				break
			}
			key, ok := p.string()
			if !ok || p.next() != ':' {
				return nil, false
			}
			p.at++
			if m[key], ok = p.value(depth + 1); !ok {
				return nil, false
			}
			if c := p.next(); c == '}' {
				break
			} else if c != ',' {
				return nil, false
			}
		}
		p.at++
		return m, true
	case '[':
		list := []any{}
		for p.at++; ; p.at++ {
			if p.next() == ']' && len(list) == 0 {
				break
			}
			v, ok := p.value(depth + 1)
			if !ok {
				return nil, false
			}
			list = append(list, v)
			if c := p.next(); c == ']' {
				break
			} else if c != ',' {
				return nil, false
			}
		}
		p.at++
		return list, true
	case '"':
		return p.string()
	case 't':
		return true, p.word("true")
	case 'f':
		return false, p.word("false")
	case 'n':
		return nil, p.word("null")
	}
	return p.number()
}

func (p *plainJSON) string() (string, bool) {
	text, ok := p.skipString()
	return string(text), ok
}

func (p *plainJSON) skipString() ([]byte, bool) {
	if p.next() != '"' {
		return nil, false
	}
	p.at++
	text := p.text[p.at:]
	ascii := true
	for i, c := range text {
		switch {
		case c == '"':
			p.at += i + 1
			return text[:i], ascii || utf8.Valid(text[:i]) // what is not valid, encoding/json mends
		case c == '\\' || c < ' ':
			return nil, false
		case c >= 0x80:
			ascii = false
		}
	}
	return nil, false
}

func (p *plainJSON) word(w string) bool {
	ok := bytes.HasPrefix(p.text[p.at:], []byte(w))
	p.at += len(w)
	return ok
}

func (p *plainJSON) number() (json.Number, bool) {
	text, ok := p.skipNumber()
	return json.Number(text), ok
}

// skipNumber takes one without an exponent.
func (p *plainJSON) skipNumber() ([]byte, bool) {
	from := p.at
	if p.next() == '-' {
		p.at++
	}
	whole := p.at
	n := p.digits()
	if n == 0 || n > 1 && p.text[whole] == '0' {
		return nil, false
	}
	if p.at < len(p.text) && p.text[p.at] == '.' {
		p.at++
		if p.digits() == 0 {
			return nil, false
		}
	}
	if p.at < len(p.text) && (p.text[p.at] == 'e' || p.text[p.at] == 'E') {
		return nil, false
	}
	return p.text[from:p.at], true
}

func (p *plainJSON) digits() int {
	from := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	return p.at - from
}

// A Member is one of a JSON object's: its name, and its value as it is written.
type Member struct{ Name, Value []byte }

// Members lists those of a payload that is a JSON object without escapes. ok says that it
// is one, and whole; of what is not, and of what is deep or has exponents, it knows
// nothing. It decodes no value, which is most of the work where few of them matter.
func Members(payload []byte) (all []Member, ok bool) {
	p := plainJSON{text: payload}
	if p.next() != '{' {
		return nil, false
	}
	all = make([]Member, 0, 24)
	for p.at++; ; p.at++ {
		if p.next() == '}' && len(all) == 0 {
			break
		}
		name, ok := p.skipString()
		if !ok || p.next() != ':' {
			return nil, false
		}
		p.at++
		p.next()
		from := p.at
		if !p.skip(1) {
			return nil, false
		}
		all = append(all, Member{name, p.text[from:p.at]})
		if c := p.next(); c == '}' {
			break
		} else if c != ',' {
			return nil, false
		}
	}
	p.at++
	return all, p.next() == 0
}

// skip is value without the value.
func (p *plainJSON) skip(depth int) bool {
	if depth > 20 {
		return false
	}
	switch p.next() {
	case '{', '[':
		object := p.text[p.at] == '{'
		end := p.text[p.at] + 2 // } and ]
		for first := true; ; first = false {
			p.at++
			if first && p.next() == end {
				break
			}
			if object {
				if _, ok := p.skipString(); !ok || p.next() != ':' {
					return false
				}
				p.at++
			}
			if !p.skip(depth + 1) {
				return false
			}
			if c := p.next(); c == end {
				break
			} else if c != ',' {
				return false
			}
		}
		p.at++
		return true
	case '"':
		_, ok := p.skipString()
		return ok
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	}
	_, ok := p.skipNumber()
	return ok
}
