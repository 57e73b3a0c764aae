package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"hearth/devices"
)

// A Payload is a message that several readers look at: its JSON is decoded once.
type Payload struct {
	devices.Message
	decoded bool
	doc     any
	err     error

	scanned bool
	members []devices.Member // nil: only decoding it tells
}

var errNoJSON = errors.New("it is no JSON")

// JSON is the payload's document; numbers in it are json.Number.
func (p *Payload) JSON() (any, error) {
	if !p.decoded {
		p.decoded = true
		if p.doc, p.err = devices.DecodeJSON(p.Payload); p.err != nil {
			p.err = errNoJSON
		}
	}
	return p.doc, p.err
}

// quick bounds a payload of which members are found without decoding the others: a nested
// one is decoded by each reader.
const quick = 2 << 10

// at is what stands at a place of the document. Of a short one that nobody has decoded yet
// only that is decoded.
func (p *Payload) at(path devices.Path) (v any, ok bool, err error) {
	if !p.scanned && !p.decoded && len(p.Payload) <= quick {
		p.members, _ = devices.Members(p.Payload)
	}
	p.scanned = true
	if name, isName := firstName(path); isName && p.members != nil {
		for i := len(p.members) - 1; i >= 0; i-- { // of two of one name the last counts
			if m := &p.members[i]; string(m.Name) == name {
				if v, ok := simple(m.Value); ok {
					return v, len(path) == 1, nil
				}
				doc, err := devices.DecodeJSON(m.Value)
				if err != nil {
					return nil, false, errNoJSON
				}
				v, ok := path[1:].Lookup(doc)
				return v, ok, nil
			}
		}
		return nil, false, nil
	}
	doc, err := p.JSON()
	if err != nil {
		return nil, false, err
	}
	v, ok = path.Lookup(doc)
	return v, ok, nil
}

func firstName(path devices.Path) (string, bool) {
	if len(path) == 0 {
		return "", false
	}
	name, ok := path[0].(string)
	return name, ok
}

// simple is a value in JSON that is none of others, and text without escapes.
func simple(value []byte) (v any, ok bool) {
	switch value[0] {
	case '{', '[':
		return nil, false
	case '"':
		return string(value[1 : len(value)-1]), true
	case 't':
		return true, true
	case 'f':
		return false, true
	case 'n':
		return nil, true
	}
	f, err := strconv.ParseFloat(string(value), 64)
	return f, err == nil
}

// Text is the payload as it is.
func (p *Payload) Text() string { return string(p.Payload) }

// A Reader takes a property's value out of a payload. It gives no value where the
// payload does not speak of the property, as partial updates do not, and an error
// where it does but makes no sense. It is used by many goroutines, and remembers nothing:
// a message may be read twice, or never.
type Reader func(p *Payload) (v any, ok bool, err error)

// whole reads the payload itself, as text.
func whole(p *Payload) (any, bool, error) {
	return p.Text(), true, nil
}

// at reads a place of the payload's JSON: a string, a float64, a bool, or what is there.
// null is nothing.
func at(path ...any) Reader {
	way := devices.Path(path)
	return func(p *Payload) (any, bool, error) {
		v, ok, err := p.at(way)
		if !ok || err != nil {
			return nil, false, err
		}
		return present(v)
	}
}

// present is what stands at a place of a document: a json.Number as float64, null as nothing.
func present(v any) (any, bool, error) {
	n, number := v.(json.Number)
	if !number {
		return v, v != nil, nil
	}
	f, err := n.Float64()
	return f, err == nil, err
}

// then gives what f makes of what r reads.
func then(r Reader, f func(v any) (any, error)) Reader {
	return func(p *Payload) (any, bool, error) {
		v, ok, err := r(p)
		if !ok || err != nil {
			return nil, false, err
		}
		if v, err = f(v); err != nil {
			return nil, false, err
		}
		return v, v != nil, nil
	}
}

// number reads a finite number, times factor. What devices say when they know none is
// an error: "nan", "unavailable".
func number(r Reader, factor float64) Reader {
	return then(r, func(v any) (any, error) {
		f, err := toNumber(v)
		if err != nil {
			return nil, err
		}
		if factor == 1 { // tidying costs as much as all the rest
			return f, nil
		}
		return tidy(f * factor), nil
	})
}

func toNumber(v any) (float64, error) {
	f, ok := v.(float64)
	if !ok {
		text, isText := v.(string)
		if !isText {
			return 0, fmt.Errorf("%.40s is no number", devices.Text(v))
		}
		var err error
		if f, err = strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil {
			return 0, fmt.Errorf("%.40q is no number", text)
		}
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%v is no number", v)
	}
	return f, nil
}

// tidy takes away what binary fractions add: 0.1 * 3 is 0.3.
func tidy(f float64) float64 {
	t, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 12, 64), 64)
	if err != nil {
		return f
	}
	return t
}

// words reads what stands beside the word that the payload holds, as it is or, if none
// is, in any case. Another word is an error that names those there are.
func words(r Reader, meaning map[string]any) Reader {
	folded := make(map[string]any, len(meaning))
	for word, v := range meaning {
		folded[strings.ToLower(word)] = v
	}
	return then(r, func(v any) (any, error) {
		text := devices.Text(v)
		if b, ok := v.(bool); ok {
			text = strconv.FormatBool(b)
		}
		if v, ok := meaning[text]; ok {
			return v, nil
		}
		if v, ok := folded[strings.ToLower(strings.TrimSpace(text))]; ok {
			return v, nil
		}
		return nil, fmt.Errorf("%.40q is none of its words", text)
	})
}

// onOff reads a boolean in the words of any device.
func onOff(r Reader) Reader {
	return then(r, func(v any) (any, error) {
		if on, ok := devices.Bool(v); ok {
			return on, nil
		}
		return nil, fmt.Errorf("%.40q is neither on nor off", devices.Text(v))
	})
}

// online reads whether a device is there: online or offline, {"state":"online"}, true.
func online(r Reader) Reader {
	return words(r, map[string]any{
		"online": true, "offline": false, "true": true, "false": false, "on": true, "off": false,
		"1": true, "0": false, "connected": true, "disconnected": false,
	})
}

// happening reads an event; "", "none" and null are that none is there any more.
func happening(r Reader) Reader {
	return then(r, func(v any) (any, error) {
		text := devices.Text(v)
		if text == "" || strings.EqualFold(text, "none") {
			return nil, nil
		}
		return text, nil
	})
}

// A counted event is told again and again, and its number says whether it is another.
type counted struct {
	event string
	n     int64
	after int64 // the last number before the device was described, or one of those below
}

// What stands for a number where none was seen: the first event of a device that has come
// since the hub started is news, and that of one that was there before is most likely one
// from before that is told again.
const (
	noEvent  = -1
	oldEvent = -2
)

// news notes the number among the last ones, and reports whether the event is to be told.
func (e counted) news(last map[string]int64, property string, initial bool) bool {
	before, known := last[property]
	if !known {
		before = e.after
	}
	last[property] = e.n
	return !initial && e.n != before && before != oldEvent && e.event != ""
}
