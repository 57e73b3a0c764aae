package rules

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"hearth/devices"
)

// of is the test of one instance, with its captures put into the texts.
func (t *Test) of(inst *instance) *Test {
	if !t.holes || inst.values == nil {
		return t
	}
	own := *t
	own.Is = inst.fill(t.Is)
	return &own
}

// ready is the test as it is kept by what looks at it.
func (t Test) ready() Test {
	t.holes = withHoles(t.Is)
	return t
}

// fill is values with the captures of an instance put into the texts.
func (inst *instance) fill(values Values) Values {
	params := make(map[string]any)
	for i, name := range inst.rule.captures {
		if inst.values[i] != "" {
			params[name] = inst.values[i]
		}
	}
	list, _ := fill([]any(values), params).([]any)
	return list
}

// withHoles reports whether some text may name a capture.
func withHoles(values Values) bool {
	return slices.ContainsFunc(values, func(v any) bool {
		s, _ := v.(string)
		return strings.Contains(s, "{")
	})
}

func (t Test) empty() bool { return t.valueless() && t.Silent == 0 }

// valueless reports whether the test asks nothing of a value.
func (t Test) valueless() bool {
	return len(t.Is) == 0 && t.Above == nil && t.Below == nil && t.AtLeast == nil && t.AtMost == nil
}

// check compares a reading. It is not valid where the reading can't be what the
// test needs: then the state stays as it was.
func (t Test) check(in devices.Reading) (pass, valid bool) {
	if in.Bad != "" {
		return false, false
	}
	pass = true
	if len(t.Is) > 0 {
		pass, valid = false, false
		for _, want := range t.Is {
			p, v := is(in, want)
			pass, valid = pass || p, valid || v
		}
		if !valid {
			return false, false
		}
	}
	compare := func(limit *float64, ok func(value, limit float64) bool) bool {
		if limit == nil {
			return true
		}
		f, isNumber := in.Value.(float64)
		if !isNumber {
			return false
		}
		pass = pass && ok(nano(f), nano(*limit))
		return true
	}
	valid = compare(t.Above, func(v, l float64) bool { return v > l }) &&
		compare(t.Below, func(v, l float64) bool { return v < l }) &&
		compare(t.AtLeast, func(v, l float64) bool { return v >= l }) &&
		compare(t.AtMost, func(v, l float64) bool { return v <= l })
	return pass && valid, valid
}

func (t Test) holds(in devices.Reading) bool {
	pass, valid := t.check(in)
	return pass && valid
}

// kind is what a value must be for the test to say anything of it: "number",
// "boolean", or "any"; "" if the test asks nothing of values.
func (t Test) kind() string {
	kind := ""
	if t.Above != nil || t.Below != nil || t.AtLeast != nil || t.AtMost != nil {
		kind = "number"
	}
	for _, v := range t.Is {
		one := "any"
		switch v.(type) {
		case float64:
			one = "number"
		case bool:
			one = "boolean"
		}
		if kind != "" && kind != one {
			return "any"
		}
		kind = one
	}
	return kind
}

// kind is what all who look at a source need, as in [devices.Source].
func (e *Engine) kind(source string) string {
	ws := e.watch[source]
	if ws == nil {
		ws = noWatchers // looked at by conditions and expressions only
	}
	kind := ""
	add := func(one string) {
		if kind != "" && one != "" && one != kind {
			one = "any"
		}
		kind = cmp.Or(one, kind)
	}
	look := func(t *trigger) {
		if t.source == source {
			add(t.kind())
		}
		for _, u := range t.untils {
			if u.source == source {
				add(u.kind())
			}
		}
	}
	for _, x := range ws.calcs {
		add(cmp.Or(x.typ, "any"))
	}
	for _, list := range [][]watcher{ws.machines, ws.rules} {
		for _, w := range list {
			switch {
			case w.trigger != nil:
				look(w.trigger)
			case w.wait != nil:
				look(w.wait)
			default:
				add(w.rule.levels[w.level].kind())
			}
		}
	}
	for _, t := range e.wanted[source] {
		add(t.kind())
	}
	if kind == "number" || kind == "boolean" {
		return kind
	}
	return ""
}

// Happens reports whether a source is taken for an event by all who look at it, and so
// most likely is one.
func (e *Engine) Happens(source string) bool {
	ws := e.watch[source]
	if ws == nil || len(ws.calcs) > 0 || len(e.wanted[source]) > 0 {
		return false
	}
	event := func(t *trigger) bool {
		return (t.source != source || t.event) &&
			!slices.ContainsFunc(t.untils, func(u *until) bool { return u.source == source && !u.event })
	}
	for _, list := range [][]watcher{ws.machines, ws.rules} {
		for _, w := range list {
			switch {
			case w.trigger != nil && event(w.trigger), w.wait != nil && event(w.wait):
			default:
				return false
			}
		}
	}
	return true
}

// kind of a trigger without a test is that of any value: each counts.
func (t *trigger) kind() string {
	switch {
	case t.carries == "number" || t.carries == "boolean":
		return t.carries
	case t.test.empty() || t.event || len(t.from) > 0:
		return "any"
	}
	return t.test.kind()
}

func (l *level) kind() string {
	if l.event {
		return "any"
	}
	return l.test.kind()
}

// is compares text exactly as sent, numbers by value, booleans by the on/off words.
func is(in devices.Reading, want any) (pass, valid bool) {
	switch want := want.(type) {
	case bool:
		on, ok := devices.Bool(in.Value)
		return ok && on == want, ok
	case float64:
		f, ok := in.Value.(float64)
		return ok && nano(f) == nano(want), ok
	case string:
		if v, boolean := in.Value.(bool); boolean && in.Text != want {
			return strings.EqualFold(want, "on") && v || strings.EqualFold(want, "off") && !v, true
		}
		return in.Text == want, true
	}
	return false, false
}

// nano rounds to 1e-9, so that 22.1 - 20.1 is 2.0.
func nano(f float64) float64 {
	if r := math.Round(f * 1e9); math.Abs(r) < 1<<53 {
		return r / 1e9
	}
	return f // so large that it has no such digits
}

// mirror is the test that ends what t began, at the limit n: below 20 ends
// above n, at_most 20 at or above n. False if t has not exactly one limit.
func (t Test) mirror(n float64) (Test, bool) {
	if len(t.Is) > 0 || t.Silent > 0 {
		return Test{}, false
	}
	var m Test
	limits := 0
	for _, side := range []struct {
		limit *float64
		to    **float64
	}{{t.Above, &m.Below}, {t.Below, &m.Above}, {t.AtLeast, &m.AtMost}, {t.AtMost, &m.AtLeast}} {
		if side.limit != nil {
			*side.to = &n
			limits++
		}
	}
	return m, limits == 1
}

// String is the test in words: "is ON", "below 19".
func (t Test) String() string {
	var parts []string
	if len(t.Is) > 0 {
		words := make([]string, len(t.Is))
		for i, v := range t.Is {
			if b, ok := v.(bool); ok {
				words[i] = fmt.Sprint(b)
			} else {
				words[i] = devices.Text(v)
			}
		}
		parts = append(parts, "is "+strings.Join(words, " or "))
	}
	for _, l := range []struct {
		word  string
		limit *float64
	}{{"above", t.Above}, {"below", t.Below}, {"at least", t.AtLeast}, {"at most", t.AtMost}} {
		if l.limit != nil {
			parts = append(parts, l.word+" "+devices.Text(*l.limit))
		}
	}
	if t.Silent > 0 {
		parts = append(parts, "silent for "+t.Silent.String())
	}
	return strings.Join(parts, " and ")
}
