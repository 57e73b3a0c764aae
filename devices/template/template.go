// Package template is the part of Jinja that devices use when they announce
// themselves by Home Assistant's MQTT discovery:
//
//	{{ value_json.temperature }}
//	{{ value | float / 60 }}
//	{% if is_number(value) and -100 < value | int < 900 %}{{ value }}{% endif %}
//
// [Parse] reads a template once, [Template.Execute] fills it in as often as
// needed. A Template never changes, so many goroutines may use one.
//
// What is read means what it means to Home Assistant, down to how a number is
// printed: a discovery message was tried there. What Home Assistant would say
// with an exception, Execute says with an error. What is not read, such as loops,
// regular expressions, the clock and the states of other entities, is an error of
// Parse that names it. Nothing is skipped in silence.
//
// The known differences: an object of JSON lists its keys in alphabetical order;
// {{ value_json.items }} is the key "items", in Jinja it is a method of the object;
// a whole number has 64 bits, and one that outgrows them is an error; round
// and abs can be called as functions too; the last of 17 digits of a power
// with a fraction may differ; and {{ x is defined if y else z }}, at which Jinja
// stumbles, means what it says.
//
// Templates and payloads come from strangers, so both have limits: what is
// parsed costs a millisecond or two at most, and so does what is executed.
//
// The text of an error holds names and places, never a value of the house.
package template

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// Limits. The largest template that was seen in the wild and is read has 300 bytes
// and 30 parts, 6 within each other; the largest of all about 1 kB and loops.
const (
	maxSource = 64 << 10 // bytes of a template; a retained message can bring thousands, and all are kept
	maxNodes  = 2000     // names, numbers, operators and calls; each takes about 100 bytes as long as the device is known
	maxDepth  = 100      // of brackets, operators and ifs within each other: parsing and executing recurse
	maxText   = 64 << 10 // bytes of a text that is made, and of the result: a value of the house is no longer
	maxDigits = 1000     // bytes of a text that is to be a number; reading one costs more than a step
	maxWidth  = 200      // of one number that "%200d" prints: more is no number for people
	budget    = 30_000   // steps of one execution, of 100 to 200 ns: a node, an element looked at, 16 bytes of text
)

// A Template is a template that was read.
type Template struct {
	text  string
	body  []stmt
	vars  int   // of {% set %}
	path  []any // see Path
	plain bool  // path is one
	value bool  // see IsValue
}

// An Input is what a template sees. Values are nil, bool, int, int64, float64,
// json.Number, string, []any, map[string]any and Object. A float64 without a fraction
// counts as a whole number, for JSON and the rules know one kind of number only;
// a json.Number is what its text says.
type Input struct {
	Value any // value: the text of a payload, or what a command is to send

	// JSON gives value_json. It is asked for at most once, when the template
	// wants to know; after an error, or if it is nil, value_json is undefined.
	JSON func() (any, error)

	// Names are what a command of more than one value brings beside it: position
	// of a cover, red, green and blue of a lamp. See given for all that may be.
	Names map[string]any
}

// An Object is one of JSON of which only what the template looks at is decoded. Its
// values are those of an Input.
type Object interface {
	Key(name string) (v any, ok bool)
	All() map[string]any
	Len() int
}

// given are the names that Home Assistant gives to templates of commands.
var given = map[string]bool{
	"position": true, "tilt_position": true, "position_open": true, "position_closed": true, "tilt_min": true, "tilt_max": true, // cover, valve
	"red": true, "green": true, "blue": true, "white": true, "cold_white": true, "warm_white": true, "hue": true, "sat": true, "x": true, "y": true, // light
	"state": true, "brightness": true, "color_temp": true, "color_temp_kelvin": true, "effect": true, "flash": true, "transition": true,
	"tone": true, "volume_level": true, "duration": true, // siren
	"action": true, "code": true, // alarm, lock
}

// Parse reads a template. The error names the first thing that it can't take,
// and the column: at 12: no filter "regex_replace" here.
func Parse(text string) (*Template, error) {
	if len(text) > maxSource {
		return nil, fmt.Errorf("a template has at most %d bytes, this one has %d", maxSource, len(text))
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("a template is UTF-8, this one is not")
	}
	p := parser{text: text, slots: make(map[string]int)}
	body := trimmed(p.template())
	if p.err != nil {
		return nil, p.err
	}
	t := &Template{text: text, body: body, vars: len(p.slots)}
	if len(body) == 1 && body[0].out != nil {
		t.value = body[0].out.op == opValue
		t.path, t.plain = body[0].out.path()
	}
	return t, nil
}

// trimmed is a whole template without the white space that will not be shown.
func trimmed(body []stmt) []stmt {
	blank := func(s stmt) bool { return s.plain != "" && strings.TrimFunc(s.plain, isSpace) == "" }
	for len(body) > 0 && blank(body[0]) {
		body = body[1:]
	}
	for len(body) > 0 && blank(body[len(body)-1]) {
		body = body[:len(body)-1]
	}
	return body
}

// Path is the place in the JSON of the payload, if the template shows it and
// does nothing else: the caller may then look there without executing anything.
// A key is a string or an int of 0 or more; none at all is the whole document.
func (t *Template) Path() (keys []any, ok bool) { return t.path, t.plain }

// IsValue says that the template is {{ value }}: the payload as it is.
func (t *Template) IsValue() bool { return t.value }

// String is the template as it was written.
func (t *Template) String() string { return t.text }

var frames = sync.Pool{New: func() any { return new(frame) }}

// Execute fills the template in. The text comes without white space around it.
func (t *Template) Execute(in Input) (string, error) {
	f := frames.Get().(*frame)
	f.in, f.text, f.fuel = in, t.text, budget
	if cap(f.vars) < t.vars {
		f.vars = make([]val, t.vars)
	}
	f.vars = f.vars[:t.vars]
	result := f.result(t.body)
	err := f.err
	f.reset()
	frames.Put(f)
	if err != nil {
		return "", err
	}
	return result, nil
}

func (f *frame) result(body []stmt) string {
	if len(body) == 1 && body[0].out != nil { // nothing to put together
		v := f.eval(body[0].out)
		if v.k == text {
			v = f.made(body[0].out.at, v.s)
			return strings.TrimFunc(v.s, isSpace)
		}
		f.print(v)
	} else {
		f.run(body)
	}
	return string(trimSpace(f.out))
}

// at is an error with its column.
func at(text string, offset int, format string, args ...any) error {
	return fmt.Errorf("at %d: %s", utf8.RuneCountInString(text[:offset])+1, fmt.Sprintf(format, args...))
}
