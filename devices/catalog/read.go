package catalog

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"hearth/devices"
)

// A Payload is a message that several readers look at: where the values of its JSON stand
// is found once, and only those that somebody asks for are decoded.
type Payload struct {
	devices.Message
	json    devices.Document
	scanned bool
	wrong   error

	decoded bool
	doc     any
	opened  map[devices.Node]any // what templates looked into
}

var errNoJSON = errors.New("it is no JSON")

// maxValues bounds the JSON of a report: each reader looks through it.
const maxValues = 20_000

// scan finds the values of the payload's JSON.
func (p *Payload) scan() error {
	if !p.scanned {
		p.scanned = true
		switch err := p.json.Scan(p.Payload, maxValues); {
		case errors.Is(err, devices.ErrManyValues):
			p.wrong = err
		case err != nil:
			p.wrong = errNoJSON
		}
	}
	return p.wrong
}

// JSON is the payload's document; numbers in it are json.Number.
func (p *Payload) JSON() (any, error) {
	if !p.decoded {
		p.decoded = true
		if p.scan() == nil {
			p.doc = p.json.Root().Decode()
		}
	}
	return p.doc, p.wrong
}

// at is what stands at a place of the document: a string, a float64, a bool, nil, or an
// object or a list as JSON has them.
func (p *Payload) at(path devices.Path) (v any, ok bool, err error) {
	if err := p.scan(); err != nil {
		return nil, false, err
	}
	n, ok := p.json.Root().At(path)
	if !ok {
		return nil, false, nil
	}
	if v, ok, err = n.Scalar(); ok {
		return v, err == nil, err
	}
	if n.Size() < 50 {
		return n.Decode(), true, nil
	}
	doc, err := p.JSON() // which others may want too
	v, ok = path.Lookup(doc)
	return v, ok, err
}

// object is the document as a template looks at it.
func (p *Payload) object() (any, error) {
	if err := p.scan(); err != nil {
		return nil, err
	}
	return p.lazy(p.json.Root()), nil
}

// lazy is a value of which a template decodes what it looks at.
func (p *Payload) lazy(n devices.Node) any {
	switch {
	case n.IsObject():
		return jsonObject{p, n}
	case !n.IsList():
		return n.Decode()
	}
	if list, ok := p.opened[n].([]any); ok {
		return list
	}
	list := []any{}
	for _, v := range n.All() {
		list = append(list, p.lazy(v))
	}
	p.open(n, list)
	return list
}

// open remembers what was decoded, for a template may look there a thousand times.
func (p *Payload) open(n devices.Node, v any) {
	if p.opened == nil {
		p.opened = make(map[devices.Node]any)
	}
	p.opened[n] = v
}

// A jsonObject is one of a payload.
type jsonObject struct {
	p *Payload
	n devices.Node
}

func (o jsonObject) Key(name string) (any, bool) {
	if o.n.Size() > 200 { // to look through it each time would be too much
		v, ok := o.All()[name]
		return v, ok
	}
	n, ok := o.n.Key(name)
	if !ok {
		return nil, false
	}
	return o.p.lazy(n), true
}

func (o jsonObject) All() map[string]any {
	if all, ok := o.p.opened[o.n].(map[string]any); ok {
		return all
	}
	all := make(map[string]any)
	for name, n := range o.n.All() {
		all[name] = o.p.lazy(n)
	}
	o.p.open(o.n, all)
	return all
}

func (o jsonObject) Len() int { return len(o.All()) }

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
		return v, ok && v != nil, err
	}
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
		if factor != 1 {
			f = tidy(f * factor)
		}
		return sameNumber(v, f), nil
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

// sameNumber is f, and as v if v is that: to wrap it again costs memory.
func sameNumber(v any, f float64) any {
	if v == any(f) {
		return v
	}
	return f
}

// tidy takes away what binary fractions add: 0.1 * 3 is 0.3.
func tidy(f float64) float64 {
	if math.Abs(f) < 1e6 && math.Round(f*1e6)/1e6 == f { // to print it costs as much as to read a message
		return f
	}
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
