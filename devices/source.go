package devices

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Source says where a value comes from: a topic, a place in the JSON of a
// topic, or the name of something the configuration declares.
//
//	"a/b"                      the whole payload
//	"a/b:x.y[1].\"switch:0\""  a place in its JSON
//	"a/+/c", "a/#"             any of these topics, as one stream
//	"a/\"switch:0\"/b"         quotes keep a colon in a topic
//	"a/{name}/c", "a/leak_{n}" captures: one level, or a part of one
//	"pir"                      what the configuration declares by that name
//	"button.press"             a property of it
type Source struct {
	Name     string // of an input, output, calculation...; "" for a topic
	Property string // of the thing Name; "" for the thing itself
	Filter   string // the MQTT topic filter, captures as written; "" for a name
	Path     Path

	// OrWhole takes a payload that is no JSON object as it is, in place of what is
	// at Path: devices say "offline" or {"state":"offline"}.
	OrWhole bool

	// Kind is "number" or "boolean" where all who look at the source need that: then
	// anything else is not valid, and the value stays as it was.
	Kind string
}

// A Path leads to a place in a JSON document. Each step is a string (a key of
// an object) or an int (an index of an array).
type Path []any

// ParseSource reads the notation above. The error says what is wrong and what
// would be right; it does not repeat the text.
func ParseSource(text string) (Source, error) {
	if text == "" {
		return Source{}, errors.New(`want a topic such as "zigbee2mqtt/hall:occupancy", or a name`)
	}
	topic, rest, hasPath, err := cutTopic(text)
	if err != nil {
		return Source{}, err
	}
	if !hasPath && !strings.Contains(topic, "/") && topic == text {
		name, property, has := strings.Cut(topic, ".")
		if !isName(name) || has && property == "" || !isProperty(property) {
			return Source{}, fmt.Errorf("want a topic with a / in it, or a name made of a-z, 0-9 and _")
		}
		return Source{Name: name, Property: property}, nil
	}
	if err := checkCaptures(topic); err != nil {
		return Source{}, err
	}
	if err := CheckFilter(plain(topic)); err != nil {
		return Source{}, err
	}
	s := Source{Filter: topic}
	if hasPath {
		if s.Path, err = ParsePath(rest); err != nil {
			return Source{}, err
		}
	}
	return s, nil
}

// cutTopic splits at the first colon outside quotes and takes the quotes away.
func cutTopic(text string) (topic, path string, found bool, err error) {
	if !strings.Contains(text, `"`) {
		topic, path, found = strings.Cut(text, ":")
		return topic, path, found, nil
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == ':' && !quoted:
			return b.String(), text[i+1:], true, nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", false, errors.New("a quote is opened and never closed")
	}
	return b.String(), "", false, nil
}

// ParsePath reads x.y[1]."odd key". The path may start with an index.
func ParsePath(text string) (Path, error) {
	var p Path
	for i := 0; i < len(text) || len(p) == 0; {
		switch {
		case i == len(text):
			return nil, errors.New("the path after the colon is empty: want a key such as temperature")
		case text[i] == '[':
			end := strings.IndexByte(text[i:], ']')
			if end < 0 {
				return nil, errors.New("a [ in the path is never closed: want one such as [0]")
			}
			n, err := strconv.Atoi(text[i+1 : i+end])
			if err != nil || n < 0 {
				return nil, fmt.Errorf("want an index such as [0] in the path, not %s", text[i:i+end+1])
			}
			p = append(p, n)
			i += end + 1
			if i < len(text) && text[i] != '.' && text[i] != '[' {
				return nil, errors.New("want a . or [ after an index in the path")
			}
		default:
			if len(p) > 0 {
				if text[i] != '.' {
					return nil, fmt.Errorf("want a . or [ in the path, such as key[0], not %q", text[i])
				}
				i++
			}
			key, n, err := pathKey(text[i:])
			if err != nil {
				return nil, err
			}
			p = append(p, key)
			i += n
		}
	}
	return p, nil
}

func pathKey(text string) (key string, n int, err error) {
	if strings.HasPrefix(text, `"`) {
		end := strings.IndexByte(text[1:], '"')
		if end < 0 {
			return "", 0, errors.New("a quote in the path is opened and never closed")
		}
		return text[1 : end+1], end + 2, nil
	}
	for n < len(text) && isKeyByte(text[n]) {
		n++
	}
	switch {
	case n == 0 && text == "":
		return "", 0, errors.New("the path ends with a dot")
	case n == 0 && text[0] == '.':
		return "", 0, errors.New("two dots in the path: want a key between them")
	case n == 0:
		r, _ := utf8.DecodeRuneInString(text)
		return "", 0, fmt.Errorf("%q in the path needs quotes round its key, such as \\\"switch:0\\\"", r)
	case text[0] >= '0' && text[0] <= '9':
		return "", 0, fmt.Errorf(`a key in the path can't begin with a digit: if %q belongs to the topic put that level in quotes, such as a/"switch:0"`, text[:n])
	}
	return text[:n], n, nil
}

func isKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '$' || c >= 0x80
}

func isProperty(text string) bool {
	for _, c := range []byte(text) {
		if c == '.' || !isKeyByte(c) {
			return false
		}
	}
	return true
}

func isName(text string) bool {
	for i, c := range []byte(text) {
		if !(c >= 'a' && c <= 'z' || c == '_' && i > 0 || c >= '0' && c <= '9' && i > 0) {
			return false
		}
	}
	return text != ""
}

// String is the source in its one canonical form; two sources are the same
// if their strings are.
func (s Source) String() string {
	switch {
	case s.Property != "":
		return s.Name + "." + s.Property
	case s.Name != "":
		return s.Name
	}
	topic := s.Filter
	if strings.Contains(topic, ":") || !strings.Contains(topic, "/") && len(s.Path) == 0 {
		levels := strings.Split(topic, "/")
		for i, l := range levels {
			if strings.Contains(l, ":") || len(levels) == 1 {
				levels[i] = `"` + l + `"`
			}
		}
		topic = strings.Join(levels, "/")
	}
	if len(s.Path) == 0 {
		return topic
	}
	return topic + ":" + s.Path.String()
}

// String is the path as ParsePath reads it.
func (p Path) String() string {
	var b strings.Builder
	for i, step := range p {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			if k, n, err := pathKey(step); err == nil && n == len(step) && k == step {
				b.WriteString(step)
			} else {
				b.WriteString(`"` + step + `"`)
			}
		}
	}
	return b.String()
}

// Lookup follows the path into v, a value as encoding/json decodes it.
func (p Path) Lookup(v any) (any, bool) {
	for _, step := range p {
		switch step := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				return nil, false
			}
			if v, ok = m[step]; !ok {
				return nil, false
			}
		case int:
			a, ok := v.([]any)
			if !ok || step >= len(a) {
				return nil, false
			}
			v = a[step]
		}
	}
	return v, true
}

// CheckFilter says what is wrong with an MQTT topic filter (MQTT 5.0 section 4.7).
func CheckFilter(filter string) error {
	if err := checkTopicText(filter); err != nil {
		return err
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		switch {
		case strings.Contains(l, "#") && (l != "#" || i < len(levels)-1):
			return errors.New("# stands for all deeper levels: it must be the whole last level, as in a/#")
		case strings.Contains(l, "+") && l != "+":
			return errors.New("+ stands for one whole level, as in a/+/c")
		}
	}
	return nil
}

// CheckTopic says what is wrong with a topic to publish on.
func CheckTopic(topic string) error {
	if err := checkTopicText(topic); err != nil {
		return err
	}
	if strings.ContainsAny(topic, "+#") {
		return errors.New("a topic to publish on can't have the wildcards + or #: name one topic")
	}
	return nil
}

func checkTopicText(topic string) error {
	switch {
	case topic == "":
		return errors.New("the topic is empty")
	case len(topic) > MaxTopic:
		return fmt.Errorf("the topic has %d bytes, want at most %d", len(topic), MaxTopic)
	case !utf8.ValidString(topic) || strings.ContainsRune(topic, 0):
		return errors.New("the topic is not valid UTF-8 text")
	case strings.ContainsAny(topic, "{}"):
		return errors.New("a capture such as {name} belongs into a source: here want a topic without braces")
	}
	return nil
}

// MaxTopic is the longest topic in bytes that a configuration may name.
const MaxTopic = 1024

// TopicDoubt says why a legal topic is probably not what was meant, or "".
func TopicDoubt(topic string) string {
	switch {
	case strings.HasPrefix(topic, "/"):
		return "the topic begins with /, so its first level is empty and it is another topic than the one without"
	case strings.HasSuffix(topic, "/"):
		return "the topic ends with /, so its last level is empty and it is another topic than the one without"
	case strings.Contains(topic, "//"):
		return "the topic has an empty level between two slashes, which few devices mean"
	}
	return ""
}

// MatchTopic reports whether an MQTT topic filter takes a topic. As in the
// protocol, a wildcard in the first level does not match a topic that begins
// with $.
func MatchTopic(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && !strings.HasPrefix(filter, "$") {
		return false
	}
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, trest, tmore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !fmore || !tmore {
			// "a/#" also takes "a", its parent.
			return fmore == tmore || fmore && frest == "#"
		}
		filter, topic = frest, trest
	}
}
