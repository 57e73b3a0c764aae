package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Text writes the document as one TOML file, in the order in which things were written
// and without comments, whatever files it was read from. Read again it means the same.
//
// instead is asked of each value with the keys that lead to it, from the outermost in;
// elements of lists have the keys of their list. It gives what is to be written in its
// place, which may be the value itself, or nil to leave it out.
func (d *Doc) Text(instead func(keys []string, v any) any) []byte {
	w := tomlWriter{instead: instead}
	w.top(d.Root())
	return []byte(w.b.String())
}

type tomlWriter struct {
	b       strings.Builder
	instead func(keys []string, v any) any
}

// top writes what is at the top: plain values first, for what follows a [table] is in it.
func (w *tomlWriter) top(root Place) {
	tables, _ := root.val.(map[string]any)
	var later []string
	for _, key := range root.order(tables) {
		if _, table := tables[key].(map[string]any); table {
			later = append(later, key)
		} else {
			w.line([]string{key}, root.Key(key))
		}
	}
	for _, key := range later {
		at := root.Key(key)
		if v := w.instead([]string{key}, at.val); v == nil {
			continue
		}
		table := at.val.(map[string]any)
		var plain, named []string
		for _, name := range at.order(table) {
			if _, ok := table[name].(map[string]any); ok {
				named = append(named, name)
			} else {
				plain = append(plain, name)
			}
		}
		if len(plain) > 0 {
			fmt.Fprintf(&w.b, "\n[%s]\n", tomlKey(key))
			for _, name := range plain {
				w.line([]string{key, name}, at.Key(name))
			}
		}
		for _, name := range named {
			sub, keys := at.Key(name), []string{key, name}
			if w.instead(keys, sub.val) == nil {
				continue
			}
			fmt.Fprintf(&w.b, "\n[%s.%s]\n", tomlKey(key), tomlKey(name))
			for _, k := range sub.order(table[name].(map[string]any)) {
				w.line(append(keys[:2:2], k), sub.Key(k))
			}
		}
	}
}

// line writes one key and its value.
func (w *tomlWriter) line(keys []string, at Place) {
	if v := w.instead(keys, at.val); v != nil {
		w.b.WriteString(tomlKey(keys[len(keys)-1]) + " = ")
		w.value(keys, at, v)
		w.b.WriteByte('\n')
	}
}

// value writes v, which stands at a place or in the place of what does.
func (w *tomlWriter) value(keys []string, at Place, v any) {
	switch v := v.(type) {
	case map[string]any:
		w.b.WriteString("{ ")
		n := 0
		for _, k := range at.order(v) {
			sub, inner := at.Key(k), append(keys[:len(keys):len(keys)], k)
			is := w.instead(inner, v[k])
			if is == nil {
				continue
			}
			if n++; n > 1 {
				w.b.WriteString(", ")
			}
			w.b.WriteString(tomlKey(k) + " = ")
			w.value(inner, sub, is)
		}
		w.b.WriteString(" }")
	case []any:
		w.b.WriteByte('[')
		n := 0
		for i := range v {
			is := w.instead(keys, v[i])
			if is == nil {
				continue
			}
			if n++; n > 1 {
				w.b.WriteString(", ")
			}
			w.value(keys, at.Index(i), is)
		}
		w.b.WriteByte(']')
	case string:
		w.b.WriteString(tomlText(v))
	case float64:
		switch text := strconv.FormatFloat(v, 'g', -1, 64); {
		case math.IsNaN(v):
			w.b.WriteString("nan")
		case math.IsInf(v, 0):
			w.b.WriteString(strings.ToLower(strings.TrimPrefix(text, "+")))
		case strings.ContainsAny(text, ".e"):
			w.b.WriteString(text)
		default:
			w.b.WriteString(text + ".0")
		}
	case time.Time:
		switch v.Location().String() {
		case "datetime-local":
			w.b.WriteString(v.Format("2006-01-02T15:04:05.999999999"))
		case "date-local":
			w.b.WriteString(v.Format("2006-01-02"))
		case "time-local":
			w.b.WriteString(v.Format("15:04:05.999999999"))
		default:
			w.b.WriteString(v.Format(time.RFC3339Nano))
		}
	default: // bool, int64
		fmt.Fprint(&w.b, v)
	}
}

func tomlKey(key string) string {
	if key == "" || strings.ContainsFunc(key, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-'
	}) {
		return tomlText(key)
	}
	return key
}

func tomlText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c < 0x20 || c == 0x7f || c == utf8.RuneError:
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
