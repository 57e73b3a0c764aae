package devices

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
)

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
func (n named) takes(topic string) ([]string, bool) {
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
	for _, n := range x.wild {
		if _, ok := n.takes(topic); ok {
			return true
		}
	}
	return false
}

// Normalize turns one message into the readings of the sources that listen to
// it. A source whose path leads nowhere gives no reading, because partial
// updates are normal; a payload that can't be a value gives one that is Bad.
func (x *Index) Normalize(m Message, now Now) []Reading {
	sources := x.exact[m.Topic]
	if len(sources) == 0 && len(x.wild) == 0 {
		return nil
	}
	var readings []Reading
	var doc any
	var docErr error
	parsed := false
	whole := m // the parameter itself would be on the heap for every message
	read := func(s named) (Reading, bool) {
		r := Reading{Source: s.text, Topic: m.Topic, At: now, Initial: m.Initial, Origin: m.Origin, Message: &whole}
		if len(s.Path) == 0 {
			r.Value, r.Text, r.Bad = wholePayload(m.Payload)
			return r, true
		}
		if !parsed {
			doc, docErr = decodeJSON(m.Payload)
			parsed = true
		}
		if docErr != nil {
			r.Bad = "broken JSON"
			if len(bytes.TrimSpace(m.Payload)) == 0 {
				r.Bad = "empty"
			}
			return r, true
		}
		v, ok := s.Path.Lookup(doc)
		if ok {
			r.Value, r.Text, r.Bad = jsonValue(v)
		}
		return r, ok
	}
	for _, s := range sources {
		if r, ok := read(s); ok {
			readings = append(readings, r)
		}
	}
	for _, s := range x.wild {
		values, ok := s.takes(m.Topic)
		if !ok {
			continue
		}
		r, ok := read(s)
		if !ok {
			continue
		}
		if len(s.captures) > 0 {
			r.Source = s.With(s.captures, values).String()
			r.Captured = &Capture{Source: s.text, Values: values}
		}
		readings = append(readings, r)
	}
	return readings
}

// JSON is the message's payload as a value: its document, or the text if it is
// none.
func (m *Message) JSON() any {
	if doc, err := decodeJSON(m.Payload); err == nil {
		return plainNumbers(doc)
	}
	return string(m.Payload)
}

// wholePayload is the value of a payload without a path: its JSON value if it
// is a number, a boolean, an object or an array, else the text itself.
func wholePayload(payload []byte) (v any, text, bad string) {
	text = string(payload)
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return nil, text, "empty"
	}
	switch c := trimmed[0]; {
	case c == '{' || c == '[' || c == '-' || c >= '0' && c <= '9' || c == 't' || c == 'f' || c == 'n':
		if doc, err := decodeJSON(payload); err == nil {
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

func decodeJSON(payload []byte) (v any, err error) {
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
