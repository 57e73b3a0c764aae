package devices

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"sync"
)

// MaxText is how long, in bytes, the text of a value may be. Messages come from
// strangers, and values are kept.
const MaxText = 64 << 10

// An Index knows every source that the configuration names. It never changes
// once built, so any goroutine may use it.
type Index struct {
	exact map[string][]named
	wild  []named // filters with + or #, or captures
}

type named struct {
	Source
	text     string
	captures []string
}

// takes reports whether the source listens to topic, and what its captures then
// stand for.
func (n *named) takes(topic string) ([]string, bool) {
	if len(n.captures) == 0 {
		return nil, MatchTopic(n.Filter, topic)
	}
	return n.match(topic)
}

// NewIndex builds the index of sources; those that are names are left out,
// for their readings do not come from messages.
func NewIndex(sources []Source) *Index {
	x := &Index{exact: make(map[string][]named)}
	seen := make(map[string]bool)
	for _, s := range sources {
		n := named{s, s.String(), s.Captures()}
		if s.Filter == "" || seen[n.text] {
			continue
		}
		seen[n.text] = true
		if len(n.captures) > 0 || strings.ContainsAny(s.Filter, "+#") {
			x.wild = append(x.wild, n)
		} else {
			x.exact[s.Filter] = append(x.exact[s.Filter], n)
		}
	}
	return x
}

// Takes reports whether any source listens to topic.
func (x *Index) Takes(topic string) bool {
	if len(x.exact[topic]) > 0 {
		return true
	}
	for i := range x.wild {
		if _, ok := x.wild[i].takes(topic); ok {
			return true
		}
	}
	return false
}

// Normalize turns one message into the readings of the sources that listen to
// it. A source whose path leads nowhere gives no reading, because partial
// updates are normal; a payload that can't be a value gives one that is Bad.
func (x *Index) Normalize(m Message, now Now) []Reading {
	var few [8]listener
	listeners := x.listeners(m.Topic, few[:0])
	if len(listeners) == 0 {
		return nil
	}
	readings := make([]Reading, 0, len(listeners))
	doc := documents.Get().(*Document)
	defer documents.Put(doc)
	defer doc.Reset()
	var docErr error
	scanned := false
	whole := m // the parameter itself would be on the heap for every message
	read := func(s *named) (Reading, bool) {
		r := Reading{Source: s.text, Topic: m.Topic, At: now, Initial: m.Initial, Origin: m.Origin, Message: &whole}
		if len(s.Path) == 0 {
			r.Value, r.Text, r.Bad = wholePayload(m.Payload)
			return r, true
		}
		if !scanned {
			docErr = doc.Scan(m.Payload, AllValues)
			scanned = true
		}
		if s.OrWhole && (docErr != nil || !doc.Root().IsObject()) {
			r.Value, r.Text, r.Bad = wholePayload(m.Payload)
			return r, true
		}
		if docErr != nil {
			r.Bad = "broken JSON"
			if len(bytes.TrimSpace(m.Payload)) == 0 {
				r.Bad = "empty"
			}
			return r, true
		}
		at, ok := doc.Root().At(s.Path)
		switch {
		case !ok:
		case len(at.Text()) > MaxText && (at.IsObject() || at.IsList()): // which would be made for nothing
			r.Bad = "too long"
		default:
			r.Value, r.Text, r.Bad = jsonValue(at.Decode())
		}
		return r, ok
	}
	for _, l := range listeners {
		r, ok := read(l.named)
		if !ok {
			continue
		}
		if len(l.captures) > 0 {
			r.Source = l.With(l.captures, l.values).String()
			r.Captured = &Capture{Source: l.text, Values: l.values}
		}
		if len(r.Text) > MaxText {
			r.Value, r.Text, r.Bad = nil, "", "too long"
		}
		readings = append(readings, l.fit(r))
	}
	return readings
}

// documents are those that no message needs at present.
var documents = sync.Pool{New: func() any { return new(Document) }}

// A listener is a source that takes a topic, and what its captures then stand for.
type listener struct {
	*named
	values []string
}

// listeners appends those of a topic to list.
func (x *Index) listeners(topic string, list []listener) []listener {
	exact := x.exact[topic]
	for i := range exact {
		list = append(list, listener{named: &exact[i]})
	}
	for i := range x.wild {
		if values, ok := x.wild[i].takes(topic); ok {
			list = append(list, listener{&x.wild[i], values})
		}
	}
	return list
}

// fit makes a reading bad that is not of the kind that its source needs.
func (s Source) fit(r Reading) Reading {
	ok := r.Bad != ""
	switch s.Kind {
	case "number":
		_, number := r.Value.(float64)
		ok = ok || number
	case "boolean":
		_, boolean := Bool(r.Value)
		ok = ok || boolean
	default:
		ok = true
	}
	if !ok {
		r.Value, r.Bad = nil, "no "+s.Kind
	}
	return r
}

// maxMessage bounds the values of a document that an expression may look at as a whole, by the
// time that it takes.
const maxMessage = 50_000

// JSON is the message's payload as a value: its document, or the text if it is
// none or has too many values.
func (m *Message) JSON() any {
	if m.doc == nil { // an expression may ask for it at each step of a loop
		m.doc = string(m.Payload)
		var d Document
		if err := d.Scan(m.Payload, maxMessage); err == nil {
			m.doc = plainNumbers(d.Root().Decode())
		}
	}
	return m.doc
}

// Value is the whole payload as a reading has it: its value, the text of that, and
// why it is none.
func (m *Message) Value() (v any, text, bad string) { return wholePayload(m.Payload) }

// wholePayload is the value of a payload without a path: its JSON value if it
// is a number, a boolean, an object or an array, else the text itself.
func wholePayload(payload []byte) (v any, text, bad string) {
	if len(payload) > MaxText {
		return nil, "", "too long"
	}
	text = string(payload)
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return nil, text, "empty"
	}
	switch c := trimmed[0]; {
	case c == '{' || c == '[' || c == '-' || c >= '0' && c <= '9' || c == 't' || c == 'f' || c == 'n':
		if doc, err := DecodeJSON(payload); err == nil {
			v, _, bad = jsonValue(doc)
			return v, text, bad
		}
	}
	return textValue(text)
}

// jsonValue is a decoded JSON value in the vocabulary's types.
func jsonValue(v any) (value any, text, bad string) {
	switch v := v.(type) {
	case nil:
		return nil, "null", "null"
	case bool:
		return v, strconv.FormatBool(v), ""
	case json.Number:
		f, err := v.Float64()
		if err != nil { // 1e999
			return nil, v.String(), "not a finite number"
		}
		return f, v.String(), ""
	case string:
		return textValue(v)
	default:
		v = plainNumbers(v)
		b, err := json.Marshal(v)
		if err != nil {
			return nil, "", "not a finite number"
		}
		return v, string(b), ""
	}
}

// textValue refuses the texts by which devices say that they know nothing.
func textValue(s string) (v any, text, bad string) {
	switch word := strings.ToLower(strings.TrimSpace(s)); word {
	case "":
		return nil, s, "empty"
	case "null", "nan", "unavailable", "unknown", "inf", "+inf", "-inf", "infinity", "-infinity":
		return nil, s, word
	}
	return s, s, ""
}

// plainNumbers copies v, for other sources read the same document.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return math.Inf(1) // which jsonValue finds and formulas refuse
		}
		return f
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = plainNumbers(e)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i, e := range v {
			a[i] = plainNumbers(e)
		}
		return a
	}
	return v
}

// Text prints a value as Hearth publishes it: booleans as ON and OFF, numbers
// as short as they go, objects and lists as JSON.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case bool:
		if v {
			return "ON"
		}
		return "OFF"
	case Toggle:
		return "TOGGLE"
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}
