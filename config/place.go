package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Position is where something is written. Line and Column count from 1; the
// column counts characters.
type Position struct {
	File         string
	Line, Column int
}

func (p Position) String() string {
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Mistake is one thing the owner has to change, or with Warning set, should
// look at.
type Mistake struct {
	Position
	Key     string // path as the owner would write it: output.lamp.pin, test[1].name
	Found   string // the value found, shortened; "" where there is none
	Text    string // what would be right
	Warning bool
}

// String is the mistake in one line: config.toml:12:7: output.lamp.pin = 17: want text.
func (m Mistake) String() string {
	var b strings.Builder
	b.WriteString(m.Position.String())
	b.WriteString(": ")
	if m.Warning {
		b.WriteString("warning: ")
	}
	if m.Key != "" {
		b.WriteString(m.Key)
		if m.Found != "" {
			b.WriteString(" = ")
			b.WriteString(m.Found)
		}
		b.WriteString(": ")
	}
	b.WriteString(m.Text)
	return b.String()
}

// A Place is a key path in a document, whether or not something is written
// there. The zero Place belongs to no document and drops what is reported.
type Place struct {
	doc  *Doc
	path string
	node *node // nil where nothing is written, or where it is not known
	near *node // the nearest around it that is known; never nil in a document
	val  any   // the value written here
	has  bool
	hint *hint // the tags of the field that is decoded here

	hidden bool // the value is not to be shown
}

// Key is the place of that key in the table at p.
func (p Place) Key(name string) Place {
	sub := Place{doc: p.doc, path: showKey(name), near: p.near}
	if p.path != "" {
		sub.path = p.path + "." + sub.path
	}
	if m, ok := p.val.(map[string]any); ok {
		sub.val, sub.has = m[name]
	}
	if p.node != nil && sub.has {
		sub.node = p.node.keys[name]
	}
	if sub.node != nil {
		sub.near = sub.node
	}
	return sub
}

// Index is the place of element i, from 0, of the array at p; it shows as i+1.
// Where p holds a single value instead of an array, Index(0) is p.
func (p Place) Index(i int) Place {
	elems, ok := p.val.([]any)
	if !ok && p.has && i == 0 {
		return p
	}
	sub := Place{doc: p.doc, path: p.path + "[" + strconv.Itoa(i+1) + "]", near: p.near, hint: p.hint}
	if i >= 0 && i < len(elems) {
		sub.val, sub.has = elems[i], true
		if p.node != nil && i < len(p.node.elems) {
			sub.node = p.node.elems[i]
			sub.near = sub.node
		}
	}
	return sub
}

// OfKey is p at its key rather than at its value: for what is wrong with a name
// that the owner chose.
func (p Place) OfKey() Place {
	if p.node != nil && p.node.key.Line > 0 {
		p.near = &node{key: p.node.key, val: p.node.key}
	}
	return p
}

// Hidden is p with a value that only its owner may see: what is reported there
// does not show it.
func (p Place) Hidden() Place {
	p.hidden = true
	return p
}

// String is the path as the owner would write it.
func (p Place) String() string { return p.path }

// Given says whether something is written at p.
func (p Place) Given() bool { return p.has }

// Position is where the value at p is written: its first character, or the
// header of a table. Where nothing is written it is that of the nearest value
// around it.
func (p Place) Position() Position {
	switch {
	case p.near == nil:
		return Position{Line: 1, Column: 1}
	case p.near.val.Line == 0: // the second walk broke off in the middle of this value
		return p.doc.root.val
	}
	return p.near.val
}

// At is the place of one character, from 0, of the text at p: what is reported
// there points into the text, over its escapes and line breaks, at what the
// owner wrote. Past its end it is the closing quote; where p holds no text, or
// it is not known where, At is p.
func (p Place) At(char int) Place {
	text, ok := p.val.(string)
	if !ok || p.node == nil || p.node.val.Line == 0 {
		return p
	}
	at := p.node.val
	char = max(0, min(char, utf8.RuneCountInString(text)))
	if p.node.raw == "" {
		at.Column += 1 + char
	} else {
		at = at.inside(p.node.raw, char)
	}
	p.node = &node{key: p.node.key, val: at}
	p.near = p.node
	return p
}

// inside is where that character of a text is whose raw form begins at p. What
// it skips follows TOML 1.1, "String".
func (p Position) inside(raw string, char int) Position {
	basic, multi := raw[0] == '"', strings.HasPrefix(raw, `"""`) || strings.HasPrefix(raw, "'''")
	skip := func(n int) {
		for _, r := range raw[:n] {
			if p.Column++; r == '\n' {
				p.Line, p.Column = p.Line+1, 1
			}
		}
		raw = raw[n:]
	}
	skip(1)
	if multi {
		skip(2)
		if raw = strings.TrimPrefix(raw, "\r"); strings.HasPrefix(raw, "\n") {
			skip(1) // a line break after the opening quotes is not in the text
		}
	}
	for raw != "" {
		_, n := utf8.DecodeRuneInString(raw)
		switch {
		case basic && multi && len(raw) > 1 && raw[0] == '\\' && strings.IndexByte(" \t\r\n", raw[1]) >= 0:
			rest := strings.TrimLeft(raw[1:], " \t\r\n") // the line goes on there
			skip(len(raw) - len(rest))
			continue
		case basic && raw[0] == '\\' && len(raw) > 1:
			switch n = 2; raw[1] {
			case 'x':
				n = 4
			case 'u':
				n = 6
			case 'U':
				n = 10
			}
		}
		if char == 0 {
			return p
		}
		char--
		skip(min(n, len(raw)))
	}
	return p
}

// Mistake reports that the value at p is wrong, or that it is missing. The
// text says what would be right: "want a pin of this board". It is dropped
// where the value was already refused for its type.
func (p Place) Mistake(format string, args ...any) {
	if p.doc == nil || p.doc.refused[p.path] {
		return
	}
	p.report(p.Position(), false, format, args...)
}

// Warn reports what is allowed but seldom meant, and says why.
func (p Place) Warn(format string, args ...any) {
	if p.doc == nil || p.doc.refused[p.path] {
		return
	}
	p.report(p.Position(), true, format, args...)
}

// Sound says that nothing of the document is a mistake so far, so that what is
// missing from it is missing.
func (p Place) Sound() bool {
	return p.doc != nil && !p.doc.broken && !slices.ContainsFunc(p.doc.mistakes, func(m Mistake) bool { return !m.Warning })
}

// Whole says that nothing that may belong to the table at p was left out, because its
// file could not be read or its key not be understood: what is missing there is missing.
// The zero Place is whole.
func (p Place) Whole() bool {
	if p.doc == nil {
		return true
	}
	for path := range p.doc.refused {
		if key, ok := strings.CutPrefix(path, p.path+"."); ok && !strings.Contains(key, ".") {
			return false
		}
	}
	return !p.doc.broken
}

// wrong is Mistake for the decoder itself; it silences what follows from it.
func (p Place) wrong(format string, args ...any) {
	p.report(p.Position(), false, format, args...)
	if p.doc != nil {
		p.doc.refused[p.path] = true
	}
}

// wrongKey is wrong for the key rather than the value.
func (p Place) wrongKey(format string, args ...any) {
	at := p.Position()
	if p.node != nil {
		at = p.node.key
	}
	p.report(at, false, format, args...)
	if p.doc != nil {
		p.doc.refused[p.path] = true
	}
}

func (p Place) report(at Position, warning bool, format string, args ...any) {
	if p.doc == nil {
		return
	}
	if at.Line == 0 {
		at = p.doc.root.val
	}
	m := Mistake{Position: at, Key: p.path, Text: fmt.Sprintf(format, args...), Warning: warning}
	if p.has && p.path != "" && !p.hidden {
		m.Found = show(p.val)
	}
	p.doc.add(m)
}

// isName says whether name can be the name of something in the house.
func isName(name string) bool {
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z':
		case i > 0 && (c >= '0' && c <= '9' || c == '_'):
		default:
			return false
		}
	}
	return name != ""
}

func (p Place) badName(name string) {
	text := "a name is small letters, digits and _, and begins with a letter"
	if near := nameLike(name); near != "" {
		text += ": want " + near
	}
	at := p.Position()
	if p.node != nil {
		at = p.node.key
	}
	p.report(at, false, "%s", text) // what is in it is looked at all the same
}

// nameLike is the proper name nearest to what was written, or "".
func nameLike(name string) string {
	var b strings.Builder
	lower := false // the last rune was a small letter or digit: a capital begins a word
	for _, r := range name {
		if unicode.IsUpper(r) && lower {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r) || unicode.IsDigit(r)
		switch r = unicode.ToLower(r); {
		case r == 'ä' || r == 'ö' || r == 'ü':
			b.WriteString(map[rune]string{'ä': "ae", 'ö': "oe", 'ü': "ue"}[r])
		case r == 'ß':
			b.WriteString("ss")
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' && b.Len() > 0:
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
		if b.Len() > 40 {
			return ""
		}
	}
	if s := strings.TrimRight(b.String(), "_"); isName(s) {
		return s
	}
	return ""
}

// showKey is one key of a path, quoted where TOML wants it quoted.
func showKey(key string) string {
	for _, c := range []byte(key) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return strconv.Quote(cut(key))
		}
	}
	if key == "" {
		return `""`
	}
	return cut(key)
}

// show is a value as the owner would write it, but short enough for a line.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(cut(v))
	case float64:
		switch {
		case math.IsNaN(v):
			return "nan"
		case math.IsInf(v, 1):
			return "inf"
		case math.IsInf(v, -1):
			return "-inf"
		}
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return s
	case time.Time:
		switch v.Location().String() { // BurntSushi's way to tell the local kinds apart
		case "datetime-local":
			return v.Format("2006-01-02T15:04:05.999999999")
		case "date-local":
			return v.Format("2006-01-02")
		case "time-local":
			if v.Second() == 0 && v.Nanosecond() == 0 {
				return v.Format("15:04")
			}
			return v.Format("15:04:05.999999999")
		}
		return v.Format(time.RFC3339Nano)
	case map[string]any:
		if len(v) == 0 {
			return "{}"
		}
		return "{…}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return "[…]"
	}
	return fmt.Sprint(v)
}

// cut keeps the first 40 characters.
func cut(s string) string {
	if utf8.RuneCountInString(s) <= 40 {
		return s
	}
	n := 0
	for i := range s {
		if n++; n > 40 {
			return s[:i] + "…"
		}
	}
	return s
}

// manyNames is among how many Nearest looks: where thousands are misspelled it must not take
// as long as their number times itself.
const manyNames = 1000

// Nearest is the one of a list that name was probably meant to be: equal but
// for case, - and _, or a few letters away. It says false when none is near.
func Nearest(name string, of []string) (string, bool) {
	best, found := 0, ""
	plain := plainName(name)
	for _, s := range of[:min(len(of), manyNames)] {
		if s == "" || s == name || utf8.RuneCountInString(s) > 100 {
			continue
		}
		n := utf8.RuneCountInString(s)
		limit := max(1, min(3, n/3))
		d := distance(plain, plainName(s), limit)
		if d > 0 && 2*d >= max(n, utf8.RuneCountInString(name)) {
			continue // of two letters one is too many
		}
		if d <= limit && (found == "" || d < best) {
			best, found = d, s
		}
	}
	return found, found != ""
}

func plainName(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// distance counts the letters to insert, drop, change or swap between a and b;
// it may stop beyond limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > 4*limit || d < -4*limit { // a character is at most four bytes
		return limit + 1
	}
	x, y := []rune(a), []rune(b)
	if d := len(x) - len(y); d > limit || d < -limit {
		return limit + 1
	}
	older, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, last, row = last, row, older
	}
	return last[len(y)]
}

// listed is `"a", "b" or "c"`.
func listed(words []string, or string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" " + or + " ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(w))
	}
	return b.String()
}
