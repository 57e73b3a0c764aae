package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"github.com/pelletier/go-toml/v2/unstable"
)

// read turns one file into generic values and their places. Where it cannot,
// it reports one mistake: after a syntax error the rest of a file is guesswork.
func (d *Doc) read(name string, src []byte) (value map[string]any, root *node, ok bool) {
	d.sum.Write(src)
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	refuse := func(offset int, key, found, format string, args ...any) {
		for offset > 0 && offset < len(src) && !utf8.RuneStart(src[offset]) {
			offset-- // the parser's place at the end of a file is its last byte
		}
		t := text{src: src, file: name}
		d.broken = true
		d.add(Mistake{Position: t.position(offset), Key: printable(key), Found: printable(found), Text: printable(fmt.Sprintf(format, args...))})
	}
	if len(src) > maxFile {
		refuse(0, "", "", "the file has %d bytes, want at most %d: split it with include", len(src), maxFile)
		return nil, nil, false
	}
	if i := notUTF8(src); i >= 0 {
		refuse(i, "", "", "the byte 0x%02x is not UTF-8: save the file as UTF-8", src[i])
		return nil, nil, false
	}
	if i := tooDeep(src); i >= 0 {
		refuse(i, "", "", "nested more than %d deep", maxDepth)
		return nil, nil, false
	}
	value, err := parse(src)
	if err != nil {
		m := explain(err, name, src)
		if m.at.Line > 0 {
			d.broken = true
			d.add(Mistake{Position: m.at, Key: printable(m.key), Text: printable(m.text)})
			return nil, nil, false
		}
		refuse(m.offset, m.key, m.found, "%s", m.text)
		return nil, nil, false
	}
	w := walk(name, src)
	for _, m := range w.twice {
		d.add(m)
	}
	return value, w.root, true
}

// parse is BurntSushi's reading; a bug in it is a mistake, not the hub's end.
func parse(src []byte) (value map[string]any, err error) {
	defer func() {
		if bug := recover(); bug != nil {
			value, err = nil, fmt.Errorf("not TOML that can be read: %v", bug)
		}
	}()
	if _, err := toml.Decode(string(src), &value); err != nil {
		return nil, err
	}
	return plain(value).(map[string]any), nil
}

// plain is v with every array a []any, where the parser gives [[x]] a type of
// its own, and with texts of their own, where the parser's are parts of the
// file's and would keep all of it in memory.
func plain(v any) any {
	switch v := v.(type) {
	case string:
		return strings.Clone(v)
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[strings.Clone(k)] = plain(e)
		}
		return m
	case []any:
		for i, e := range v {
			v[i] = plain(e)
		}
	case []map[string]any:
		elems := make([]any, len(v))
		for i, e := range v {
			elems[i] = plain(e)
		}
		return elems
	}
	return v
}

// notUTF8 is the offset of the first byte that is not UTF-8, or -1.
func notUTF8(src []byte) int {
	if utf8.Valid(src) {
		return -1
	}
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// tooDeep is the offset where values nest beyond maxDepth, or -1. Both parsers
// recurse, and BurntSushi's also takes time and memory that grow with the
// square of the depth (100,000 braces do not end well), so it must be known
// before they start. It reads only as much TOML as it takes to tell brackets
// and dots from text; where the file is not TOML a parser will say so before
// it gets as deep.
func tooDeep(src []byte) int {
	var (
		open   []int // for each open bracket, the parts of the key before it and itself
		sum    int   // of open
		header int   // parts of the current [header]
		parts  = 1   // of the key that is being read
		begin  = true
	)
	for i := 0; i < len(src); i++ {
		switch c := src[i]; c {
		case ' ', '\t', '\r':
			continue
		case '#':
			n := bytes.IndexByte(src[i:], '\n')
			if n < 0 {
				return -1
			}
			i += n - 1
			continue
		case '"', '\'':
			i = textEnd(src, i)
		case '\n':
			parts = 1
			if len(open) == 0 {
				begin = true
				continue
			}
		case ',':
			parts = 1
		case '.':
			parts++
		case '[', '{':
			if begin && c == '[' { // a [header] counts until the next one
				header = 0
				for i+1 < len(src) && src[i+1] == '[' {
					i++
				}
				n := i + 1
				for header, parts = 1, 1; n < len(src) && src[n] != '\n' && src[n] != ']'; n++ {
					switch src[n] {
					case '"', '\'':
						n = textEnd(src, n)
					case '.':
						header++
					}
					if header > maxDepth {
						return n
					}
				}
				i = n - 1
				break
			}
			open = append(open, parts)
			sum += parts
			parts = 1
		case ']', '}':
			if n := len(open); n > 0 {
				sum -= open[n-1]
				open = open[:n-1]
			}
		}
		begin = false
		if header+sum+parts > maxDepth+1 {
			return i
		}
	}
	return -1
}

// textEnd is the offset of the last byte of the text that begins at i.
func textEnd(src []byte, i int) int {
	quote, long := src[i], false
	if rest := src[i:]; len(rest) >= 3 && rest[1] == quote && rest[2] == quote {
		long = true
		i += 2
	}
	for i++; i < len(src); i++ {
		switch c := src[i]; {
		case c == '\\' && quote == '"':
			i++
		case c == '\n' && !long:
			return i - 1
		case c == quote && !long:
			return i
		case c == quote && bytes.HasPrefix(src[i:], []byte{quote, quote, quote}):
			i += 2
			for n := 0; n < 2 && i+1 < len(src) && src[i+1] == quote; n++ { // up to two belong to the text
				i++
			}
			return i
		}
	}
	return len(src) - 1
}

// printable is s with what a terminal might obey made visible: the parser
// quotes some of a broken file as it is.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// A text finds lines and columns. It remembers the last place it gave, since
// places are asked for in order: a file of one long line stays cheap.
type text struct {
	src          []byte
	file         string
	offset       int
	line, column int // of offset, from 0
}

func (t *text) position(offset int) Position {
	offset = max(0, min(offset, len(t.src)))
	if offset < t.offset {
		t.offset, t.line, t.column = 0, 0, 0
	}
	for part := t.src[t.offset:offset]; len(part) > 0; {
		n := bytes.IndexByte(part, '\n')
		if n < 0 {
			t.column += utf8.RuneCount(part)
			break
		}
		t.line++
		t.column = 0
		part = part[n+1:]
	}
	t.offset = offset
	return Position{File: t.file, Line: t.line + 1, Column: t.column + 1}
}

// A walker is the second walk: it finds out where keys and values stand.
type walker struct {
	text
	p    unstable.Parser
	root *node
	end  int // what was walked ends here or before

	// BurntSushi takes some keys that are given twice, and drops one value:
	// a.b.c = 1 and then a.b = 2. A setting that has no effect is a mistake, so
	// the walk looks for them.
	path  []string // keys to where the walk is
	twice []Mistake
}

func (w *walker) givenTwice(at, first Position) {
	w.twice = append(w.twice, Mistake{Position: at, Key: strings.Join(w.path, "."), Text: "given twice, first at " + first.String() + ": want it only once"})
}

// walk finds the places of all keys and values in src, as far as it gets.
func walk(name string, src []byte) (w *walker) {
	first := Position{File: name, Line: 1, Column: 1}
	w = &walker{text: text{src: src, file: name}, root: &node{key: first, val: first}}
	defer func() {
		_ = recover() // a bug of the parser: what is known until then will do
	}()
	w.p.Reset(src)
	table := w.root
	for w.p.NextExpression() {
		switch e := w.p.Expression(); e.Kind {
		case unstable.Table:
			table = w.table(e, false)
		case unstable.ArrayTable:
			table = w.table(e, true)
		case unstable.KeyValue:
			w.keyValue(table, e)
		}
	}
	return w
}

// table finds the node that a [header] or [[header]] opens.
func (w *walker) table(e *unstable.Node, array bool) *node {
	n := w.root
	it := e.Key()
	w.path = w.path[:0]
	var bracket Position
	for first := true; it.Next(); first = false {
		part := it.Node()
		if first {
			start := int(part.Raw.Offset)
			for start > 0 && (w.src[start-1] == ' ' || w.src[start-1] == '\t') {
				start--
			}
			if start--; array {
				start--
			}
			bracket = w.position(start)
		}
		last := part.Next() == nil || part.Next().Kind != unstable.Key
		n = w.child(n, part, bracket)
		switch {
		case n.set:
			w.givenTwice(w.position(int(part.Raw.Offset)), n.key)
		case last && array:
			elem := &node{key: n.key, val: bracket, header: true}
			if len(n.elems) > 0 {
				elem.key = bracket
			}
			n.elems = append(n.elems, elem)
			n = elem
		case last && !n.header:
			n.key, n.val, n.header = w.position(int(part.Raw.Offset)), bracket, true
		case len(n.elems) > 0:
			n = n.elems[len(n.elems)-1]
		}
	}
	return n
}

// child is the node of one part of a key below n. Where only the parts of a
// longer key make it a table, its value is taken to stand at val.
func (w *walker) child(n *node, part *unstable.Node, val Position) *node {
	key := string(part.Data)
	w.path = append(w.path, showKey(key))
	if sub := n.keys[key]; sub != nil {
		return sub
	}
	sub := &node{key: w.position(int(part.Raw.Offset)), val: val}
	n.add(key, sub)
	return sub
}

func (w *walker) keyValue(n *node, e *unstable.Node) {
	var val Position
	it := e.Key()
	outer := len(w.path)
	defer func() { w.path = w.path[:outer] }()
	for first := true; it.Next(); first = false {
		part := it.Node()
		if first {
			val = w.position(int(part.Raw.Offset))
		}
		w.end = int(part.Raw.Offset + part.Raw.Length)
		last := part.Next() == nil || part.Next().Kind != unstable.Key
		table, before := n, len(n.order)
		n = w.child(table, part, val)
		if n.set || last && len(table.order) == before {
			w.givenTwice(w.position(int(part.Raw.Offset)), n.key)
		}
	}
	n.set = true
	w.value(n, e.Value())
}

// value notes where v stands and walks what it holds.
func (w *walker) value(n *node, v *unstable.Node) {
	// Arrays and inline tables carry no range of their own, so look for what
	// comes next after the last thing that did.
	start := w.next(w.end)
	if v.Raw.Length > 0 {
		start = int(v.Raw.Offset)
		w.end = start + int(v.Raw.Length)
	} else {
		w.end = start + 1
	}
	n.val = w.position(start)
	switch v.Kind {
	case unstable.String:
		if raw := string(w.src[start:w.end]); strings.ContainsAny(raw, "\\\n") || strings.HasPrefix(raw, `"""`) || strings.HasPrefix(raw, "'''") {
			n.raw = raw
		}
	case unstable.InlineTable:
		w.end = max(w.end, start+1)
		for it := v.Children(); it.Next(); {
			if kv := it.Node(); kv.Kind == unstable.KeyValue {
				w.keyValue(n, kv)
			}
		}
	case unstable.Array:
		w.end = start + 1
		for it := v.Children(); it.Next(); {
			elem := &node{}
			w.value(elem, it.Node())
			elem.key = elem.val
			n.elems = append(n.elems, elem)
		}
	}
}

// next is the offset of the first byte from i on that begins a value.
func (w *walker) next(i int) int {
	for ; i < len(w.src); i++ {
		switch w.src[i] {
		case ' ', '\t', '\r', '\n', ',', '=', ']', '}':
		case '#':
			n := bytes.IndexByte(w.src[i:], '\n')
			if n < 0 {
				return len(w.src)
			}
			i += n
		default:
			return i
		}
	}
	return i
}

// An explained is a syntax error in the owner's words.
type explained struct {
	offset           int
	at               Position // in place of it, where that is known
	key, found, text string
}

// explain says what BurntSushi's error means for somebody who writes a config
// and has not read its source. Of the error's place it trusts the offset only:
// the line is one off at the end of some lines, and the column counts bytes.
func explain(err error, file string, src []byte) explained {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return explained{text: err.Error()}
	}
	x := explained{offset: min(max(pe.Position.Start, 0), len(src)), key: cut(pe.LastKey)}
	msg := pe.Message
	has := func(part string) bool { return strings.Contains(msg, part) }
	switch {
	case has("has already been defined"), has("was already created"):
		_, key, _ := strings.Cut(msg, "Key '")
		key, _, _ = strings.Cut(key, "' ")
		what := "given twice, first"
		if strings.HasPrefix(pe.LastKey, key+".") {
			what = "not a table, given as a value" // lamp = 1, then lamp.pin = 2
		}
		x.key, x.text = cut(key), what
		if first, ok := firstPlace(file, src[:x.offset], key); ok {
			x.text += " at " + first.String()
		} else {
			x.text = strings.TrimSuffix(what, ", first")
		}
		if strings.HasPrefix(x.text, "given twice") {
			x.text += ": want it only once"
		}
		// Of trigger = {...} given twice the parser sees what is in it first.
		for _, m := range walk(file, src).twice {
			if strings.HasPrefix(key, m.Key+".") {
				x.at, x.key, x.text = m.Position, m.Key, m.Text
				break
			}
		}
	case has("expected value but found"), has("expected a top-level item to end"), has("expected a digit but got"),
		has("expected a comma"), has("cannot use sign with"), has("floats must start with a digit"):
		x.explainValue(src, msg)
	case has("strings cannot contain newlines"):
		x.text = `the text has no closing quote on its line: want " or ' at its end`
	case has("unexpected EOF; expected "):
		x.text = "the file ends here, want " + strings.Replace(msg[len("unexpected EOF; expected "):], "key separator '='", "= and a value", 1)
	case has("to end table name"), has("end of table array name"):
		x.offset = len(bytes.TrimRight(src[:x.offset], " \t"))
		line := src[bytes.LastIndexByte(src[:x.offset], '\n')+1 : x.offset]
		x.key, x.text = cut(strings.Trim(string(line), "[ \t\r")), "want ] at the end of the table's name"
		if has("array") {
			x.text = "want ]] at the end of the table's name"
		}
	case has("expected '.' or '='"):
		x.key, x.text = tableAt(src[:x.offset]), "want = and a value after a key"
		if m := decimalComma.FindSubmatchIndex(src[:x.offset]); m != nil {
			x.offset, x.text = m[2], fmt.Sprintf("a number is written with a point: want %s.%s", src[m[2]:m[3]], src[m[4]:m[5]])
		} else if m := bareHole.FindIndex(src[:x.offset]); m != nil && x.offset < len(src) && src[x.offset] == '}' {
			x.offset, x.text = m[1]-len(bytes.TrimLeft(src[m[0]:m[1]], "= ")), "text stands in quotes, also with a {name} in it: want \""+string(bytes.TrimLeft(src[m[0]:m[1]], "= "))+"}\""
		}
	case has("key name appears blank"), has("keys cannot start with"):
		x.key, x.text = "", "want a key here"
	case has("unexpected comma"):
		x.text = "a comma too many"
	case has("table names cannot be empty"):
		x.key, x.text = "", "want a name for the table"
	case has("invalid escape"), has("hexadecimal digits after"):
		x.text = `a \ begins an escape: write \\ for a backslash, or the text in 'single quotes'`
	case has("is out of range for int64"):
		x.found, x.text = word(src, x.offset), "too large for a whole number"
	case has("is out of range for float64"):
		x.found, x.text = word(src, x.offset), "too large for a number"
	case has("invalid datetime"):
		x.found, x.text = word(src, x.offset), "no such date or time"
	case has("Invalid integer"), has("Invalid float"):
		x.found = word(src, x.offset)
		x.text = "not a number: " + msg[strings.LastIndex(msg, ": ")+2:]
		if x.found != "" && strings.HasPrefix(x.text, "not a number: cannot have leading zeroes") {
			x.text = "a number has no zeros before it"
		}
	case has("control characters"):
		x.text = "a control character cannot stand here" + msg[strings.LastIndex(msg, ":"):]
	case has("NULL bytes"):
		x.key, x.text = "", "a zero byte cannot stand here: save the file as UTF-8"
	default:
		x.text = strings.ToLower(msg[:1]) + msg[1:]
	}
	return x
}

// explainValue is about what stands where a value or its end should: most
// often text without its quotes.
func (x *explained) explainValue(src []byte, msg string) {
	for x.offset < len(src) && (src[x.offset] == ' ' || src[x.offset] == '\t') {
		x.offset++
	}
	start := x.offset
	for start > 0 && isWord(src[start-1]) {
		start--
	}
	found := word(src, start)
	if strings.Contains(msg, "expected a top-level item to end") {
		x.key = keyOfLine(x.key, src[:x.offset]) // BurntSushi has left the key by now
	}
	if _, err := strconv.ParseFloat(found, 64); err == nil && strings.Contains(msg, "expected a comma") {
		found = "" // the number is right, what follows it is not
	}
	switch afterEnd := strings.Contains(msg, "expected a top-level item to end"); {
	case (found == "-" || found == "+") && start+1 < len(src) && src[start+1] == ' ':
		x.offset, x.text = start, "no space between a sign and its number: want for example -5"
	case found != "" && (start < x.offset || !afterEnd && !strings.Contains(msg, "expected a comma")):
		x.offset, x.found = start, found
		if b := strings.ToLower(found); b == "true" || b == "false" {
			x.text = "write " + b
			break
		}
		x.text = "text stands in quotes: write " + strconv.Quote(found)
	case afterEnd:
		x.text = "want the end of the line here"
	case strings.Contains(msg, "array terminator"):
		x.offset, x.text = lineBefore(src[:x.offset]), "want a comma or ] here"
	case strings.Contains(msg, "table terminator"):
		x.offset, x.text = lineBefore(src[:x.offset]), "want a comma or } here"
	case x.offset >= len(src) || src[x.offset] == '\n' || src[x.offset] == '\r' || src[x.offset] == '#':
		x.text = "want a value after ="
	case found == "" && bytes.IndexByte([]byte("\"'[]{}=,"), src[x.offset]) < 0:
		x.text = "want a value here; text stands in quotes: write " + strconv.Quote(string(bytes.FieldsFunc(src[x.offset:], func(r rune) bool { return strings.ContainsRune(" \t\r\n,]}", r) })[0]))
	default:
		x.text = "want a value here"
	}
	if x.key == "" {
		x.found = ""
	}
}

// keyOfLine is the key in the last line of src, in that table; "" where there
// is none or it is not a plain one.
func keyOfLine(table string, src []byte) string {
	line := src[bytes.LastIndexByte(src, '\n')+1:]
	key, _, ok := bytes.Cut(line, []byte("="))
	if key = bytes.TrimSpace(key); !ok || len(key) == 0 || len(key) > 80 {
		return ""
	}
	for _, c := range key {
		if c >= 0x80 || !isWord(c) || strings.IndexByte("+:/%", c) >= 0 {
			return ""
		}
	}
	if table != "" {
		table += "."
	}
	return table + string(key)
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 || strings.IndexByte("_-+.:/%", c) >= 0
}

var (
	decimalComma = regexp.MustCompile(`= *(-?[0-9]+),([0-9]+)$`)
	bareHole     = regexp.MustCompile(`= *\{[A-Za-z0-9_]+$`)
	headers      = regexp.MustCompile(`(?m)^[ \t]*\[+([^\]\n]*)\]`)
)

// lineBefore is the end of src, or where only line breaks and comments are between
// them the end of the line before that: there a bracket or a comma was forgotten.
func lineBefore(src []byte) int {
	if len(bytes.TrimRight(src, " \t")) == len(bytes.TrimRight(src, " \t\r\n")) {
		return len(src)
	}
	for {
		src = bytes.TrimRight(src, " \t\r\n")
		line := bytes.LastIndexByte(src, '\n') + 1
		if !bytes.HasPrefix(bytes.TrimLeft(src[line:], " \t"), []byte("#")) {
			return len(src)
		}
		src = src[:line]
	}
}

// tableAt is the name of the table in which src ends, as it is written.
func tableAt(src []byte) string {
	all := headers.FindAllSubmatch(src, -1)
	if len(all) == 0 {
		return ""
	}
	return cut(string(all[len(all)-1][1]))
}

// word is what stands at i up to a blank or a bracket, shortened.
func word(src []byte, i int) string {
	n := i
	for n < len(src) && isWord(src[n]) {
		n++
	}
	return cut(string(src[i:n]))
}

// firstPlace is where key was first given in src, the part of a file before
// it is given again.
func firstPlace(file string, src []byte, key string) (Position, bool) {
	n := walk(file, src).root
	for _, part := range strings.Split(key, ".") {
		if len(n.elems) > 0 {
			n = n.elems[len(n.elems)-1]
		}
		if n = n.keys[strings.Trim(part, `"`)]; n == nil {
			return Position{}, false
		}
	}
	return n.key, true
}
