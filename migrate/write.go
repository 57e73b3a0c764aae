package migrate

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A table is keys and values in the order in which they are written. A value is a
// string, a bool, an int, a float64, a table, or a list of these.
type table []pair

type pair struct {
	key   string
	value any
}

func (t *table) put(key string, value any) { *t = append(*t, pair{key, value}) }

func (t table) get(key string) any {
	for _, p := range t {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// act puts what a rule does.
func (t *table) act(actions []any) {
	if one, ok := oneOrMore(actions).(table); ok && len(one) == 1 && one[0].key == "choose" {
		t.put("choose", one[0].value)
		return
	}
	t.put("action", oneOrMore(actions))
}

// oneOrMore is a list, or its only element.
func oneOrMore(list []any) any {
	if len(list) == 1 {
		return list[0]
	}
	return list
}

// A section is a table of the file: [kind.name]. Without a name it has comments
// only.
type section struct {
	comments   []string
	kind, name string
	table      table
}

// order is how a file of imported rules is read: what is there, then what is done.
var order = []string{"http", "notify", "device", "variable", "calc", "link", "rule"}

const width = 110

// write prints sections the way a person would.
func write(parts []*section) string {
	var b strings.Builder
	for _, kind := range order {
		for _, p := range parts {
			if p.kind != kind || p.name == "" && len(p.comments) == 0 {
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			for _, c := range p.comments {
				fmt.Fprintf(&b, "# %s\n", c)
			}
			if p.name == "" {
				continue
			}
			if p.name == "-" {
				fmt.Fprintf(&b, "[%s]\n", kind)
			} else {
				fmt.Fprintf(&b, "[%s.%s]\n", kind, p.name)
			}
			for _, kv := range p.table {
				head := key(kv.key) + " = "
				b.WriteString(head)
				value(&b, kv.value, len(head), 0)
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}

var bareKey = lazily(`^[A-Za-z0-9_-]+$`)

func key(name string) string {
	if bareKey().MatchString(name) {
		return name
	}
	return quote(name)
}

// value prints one; at is the column where it begins, and depth how far what is in
// it is moved in if it needs more than a line.
func value(b *strings.Builder, v any, at, depth int) {
	short := inline(v)
	if at+len(short) <= width {
		b.WriteString(short)
		return
	}
	in := strings.Repeat("  ", depth+1)
	switch v := v.(type) {
	case []any:
		if !hasTables(v) {
			break
		}
		b.WriteString("[\n")
		for _, e := range v {
			b.WriteString(in)
			value(b, e, len(in), depth+1)
			b.WriteString(",\n")
		}
		b.WriteString(in[2:] + "]")
		return
	case table:
		column := at + 2
		b.WriteString("{ ")
		for i, kv := range v {
			if i > 0 {
				b.WriteString(", ")
				column += 2
			}
			head := key(kv.key) + " = "
			b.WriteString(head)
			before := b.Len()
			value(b, kv.value, column+len(head), depth)
			text := b.String()[before:]
			if _, last, many := cutLast(text, "\n"); many {
				column = len(last)
			} else {
				column += len(head) + len(text)
			}
		}
		b.WriteString(" }")
		return
	}
	b.WriteString(short)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func hasTables(list []any) bool {
	for _, e := range list {
		switch e.(type) {
		case table, []any:
			return true
		}
	}
	return false
}

func inline(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case float64:
		return number(v)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = inline(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case table:
		if len(v) == 0 {
			return "{}"
		}
		parts := make([]string, len(v))
		for i, kv := range v {
			parts[i] = key(kv.key) + " = " + inline(kv.value)
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	panic(fmt.Sprintf("migrate: no TOML for a %T", v))
}

// number is one as TOML and expressions write it: no exponent, and whole ones
// without a point.
func number(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "0"
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatInt(int64(f), 10)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote writes a text, without escapes where it can.
func quote(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	literal := strings.ContainsAny(s, `"\`) && !strings.Contains(s, "'")
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
			literal = false
		case r == '\t':
			b.WriteString(`\t`)
			literal = false
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
			literal = false
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	if literal {
		return "'" + s + "'"
	}
	return b.String()
}
