package template

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A kind says what a val is.
type kind uint8

const (
	unset     kind = iota // an argument that was not given
	undefined             // x is the *node that found nothing
	none
	boolean // n is 0 or 1
	integer // in n
	float   // its bits are in n
	text    // in s
	list    // x is a []any of JSON, or a []val
	tuple   // x is a []val
	dict    // x is an Object of JSON, or a []pair
)

func (k kind) String() string {
	return [...]string{"nothing", "nothing", "none", "true or false", "a whole number", "a number", "text", "a list", "a tuple", "a dict"}[k]
}

// A val is a value on its way through a template. What is common stays out of
// x, where it would cost memory each.
type val struct {
	k kind
	n int64
	s string
	x any
}

// decoded is an Object that is decoded whole.
type decoded map[string]any

func (o decoded) Key(name string) (any, bool) {
	v, ok := o[name]
	return v, ok
}

func (o decoded) All() map[string]any { return o }
func (o decoded) Len() int            { return len(o) }

// A pair is a key and a value of a dict that the template wrote.
type pair struct{ key, val val }

func whole(n int64) val      { return val{k: integer, n: n} }
func number(f float64) val   { return val{k: float, n: int64(math.Float64bits(f))} }
func str(s string) val       { return val{k: text, s: s} }
func listOf(l []val) val     { return val{k: list, x: l} }
func nothing(from *node) val { return val{k: undefined, x: from} }

func truth(b bool) val {
	if b {
		return val{k: boolean, n: 1}
	}
	return val{k: boolean}
}

// isNumber counts true and false in, as Python does.
func (v val) isNumber() bool { return v.k >= boolean && v.k <= float }
func (v val) isWhole() bool  { return v.k == boolean || v.k == integer }
func (v val) isList() bool   { return v.k == list || v.k == tuple }

// float is a number as one with a fraction.
func (v val) float() float64 {
	if v.k == float {
		return math.Float64frombits(uint64(v.n))
	}
	return float64(v.n)
}

// yes is what an if makes of v.
func (v val) yes() bool {
	switch v.k {
	case boolean, integer:
		return v.n != 0
	case float:
		return v.float() != 0
	case text:
		return v.s != ""
	case list, tuple, dict:
		return v.len() > 0
	}
	return false
}

// len is the number of elements or, of a text, of characters.
func (v val) len() int {
	switch x := v.x.(type) {
	case []any:
		return len(x)
	case []val:
		return len(x)
	case Object:
		return x.Len()
	case []pair:
		return len(x)
	}
	return utf8.RuneCountInString(v.s)
}

// elem is an element of a list or tuple.
func (v val) elem(i int) val {
	if l, ok := v.x.([]val); ok {
		return l[i]
	}
	return wrap(v.x.([]any)[i])
}

// wrap is v, of an Input or of JSON, as a val.
func wrap(v any) val {
	switch v := v.(type) {
	case nil:
		return val{k: none}
	case bool:
		return truth(v)
	case string:
		return str(v)
	case json.Number:
		return jsonNumber(string(v))
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return whole(int64(v))
		}
		return number(v)
	case int:
		return whole(int64(v))
	case int64:
		return whole(v)
	case []any:
		return val{k: list, x: v}
	case map[string]any:
		return val{k: dict, x: decoded(v)}
	case Object:
		return val{k: dict, x: v}
	}
	return val{k: undefined}
}

// jsonNumber is whole if it is written so and fits.
func jsonNumber(s string) val {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return whole(n)
	}
	f, _ := strconv.ParseFloat(s, 64) // 1e999 is infinite
	return number(f)
}

func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func trimSpace(b []byte) []byte { return bytes.TrimFunc(b, isSpace) }

// digits is s without white space around it and with the _ of 1_000 taken
// away; ok is false if it can be no number of Python's.
func digits(s string) (_ string, ok bool) {
	if len(s) > maxDigits {
		return "", false
	}
	s = strings.TrimFunc(s, isSpace)
	if !strings.Contains(s, "_") {
		return s, true
	}
	for i, c := range []byte(s) {
		if c == '_' && (i == 0 || i == len(s)-1 || !isAlnum(s[i-1]) || !isAlnum(s[i+1])) {
			return "", false
		}
	}
	return strings.ReplaceAll(s, "_", ""), true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlnum(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' }

// toFloat is what float() of Python makes of v.
func toFloat(v val) (float64, bool) {
	if v.isNumber() {
		return v.float(), true
	}
	if v.k != text {
		return 0, false
	}
	s, ok := digits(v.s)
	if !ok || strings.ContainsAny(s, "xXpP") { // hexadecimal, which Go reads
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// toInt is what int() of Jinja makes of v; large says that it has no 64 bits.
func toInt(v val, base int64) (n int64, ok, large bool) {
	if v.isWhole() {
		return v.n, true, false
	}
	if v.k == text && (base == 0 || base >= 2 && base <= 36) {
		if s, ok := digits(v.s); ok {
			sign := ""
			if s != "" && (s[0] == '-' || s[0] == '+') {
				sign, s = s[:1], s[1:]
			}
			if len(s) > 2 && s[0] == '0' {
				if prefix := s[1] | 0x20; base == 16 && prefix == 'x' || base == 8 && prefix == 'o' || base == 2 && prefix == 'b' {
					s = s[2:]
				}
			}
			if s != "" && isAlnum(s[0]) {
				if n, err := strconv.ParseInt(sign+s, int(base), 64); err == nil {
					return n, true, false
				}
			}
		}
	}
	f, ok := toFloat(v) // so that "42.23" is 42
	if !ok || f-f != 0 {
		return 0, false, false
	}
	if f >= 1<<63 || f < -1<<63 {
		return 0, false, true
	}
	return int64(f), true, false
}

// appendFloat prints as Python does: 23.2, 5.0, 1e+16.
func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.IsInf(f, 0):
		if f < 0 {
			b = append(b, '-')
		}
		return append(b, "inf"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	from := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if bytes.IndexByte(b[from:], '.') < 0 {
		b = append(b, ".0"...)
	}
	return b
}

// str is v as {{ v }} shows it.
func (f *frame) str(v val) string {
	switch v.k {
	case text:
		return v.s
	case undefined:
		return ""
	}
	return string(f.append(nil, v))
}

// print adds v to the result.
func (f *frame) print(v val) {
	switch v.k {
	case text:
		f.burn(len(v.s) / 16)
		if len(f.out)+len(v.s) <= maxText {
			f.out = append(f.out, v.s...)
			return
		}
		f.tooLong(f.at)
	case undefined:
	default:
		f.out = f.append(f.out, v)
		if len(f.out) > maxText {
			f.tooLong(f.at)
		}
	}
}

// append adds v as Python's repr writes it; what it writes to b stays short once
// the budget is spent.
func (f *frame) append(b []byte, v val) []byte {
	if f.burn(1) || len(b) > maxText {
		return b
	}
	switch v.k {
	case undefined:
		return append(b, "Undefined"...)
	case none:
		return append(b, "None"...)
	case boolean:
		if v.n != 0 {
			return append(b, "True"...)
		}
		return append(b, "False"...)
	case integer:
		return strconv.AppendInt(b, v.n, 10)
	case float:
		return appendFloat(b, v.float())
	case text:
		if f.burn(len(v.s)/8) || len(v.s) > maxText {
			return b
		}
		return appendRepr(b, v.s)
	case dict:
		b = append(b, '{')
		f.each(v, func(i int, key, val val) {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(f.append(b, key), ": "...)
			b = f.append(b, val)
		})
		return append(b, '}')
	}
	ends := "[]"
	if v.k == tuple {
		ends = "()"
	}
	b = append(b, ends[0])
	n := v.len()
	for i := range n {
		if i > 0 {
			b = append(b, ", "...)
		}
		if b = f.append(b, v.elem(i)); f.err != nil {
			return b
		}
	}
	if v.k == tuple && n == 1 {
		b = append(b, ',')
	}
	return append(b, ends[1])
}

// each calls do with the pairs of a dict, those of JSON in alphabetical order.
func (f *frame) each(v val, do func(i int, key, val val)) {
	switch x := v.x.(type) {
	case []pair:
		for i, p := range x {
			if f.burn(1) {
				return
			}
			do(i, p.key, p.val)
		}
	case Object:
		if f.burn(4 * x.Len()) {
			return
		}
		all := x.All()
		for i, k := range slices.Sorted(maps.Keys(all)) {
			if f.err != nil {
				return
			}
			do(i, str(k), wrap(all[k]))
		}
	}
}

func appendRepr(b []byte, s string) []byte {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b = append(b, quote)
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case strconv.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r < 0x100:
			b = appendHex(append(b, `\x`...), r, 2)
		case r < 0x10000:
			b = appendHex(append(b, `\u`...), r, 4)
		default:
			b = appendHex(append(b, `\U`...), r, 8)
		}
	}
	return append(b, quote)
}

func appendHex(b []byte, r rune, n int) []byte {
	for n--; n >= 0; n-- {
		b = append(b, "0123456789abcdef"[r>>(4*n)&15])
	}
	return b
}

// A jsonStyle is one of the two ways to write JSON that Home Assistant has.
type jsonStyle struct {
	comma, colon string
	safe         bool // in ASCII, with nothing in it that HTML knows, and keys in order
}

var (
	jinjaJSON = &jsonStyle{", ", ": ", true} // tojson
	houseJSON = &jsonStyle{",", ":", false}  // to_json
)

// appendJSON adds v; it fails at the offset if v can't be written.
func (f *frame) appendJSON(b []byte, v val, style *jsonStyle, offset int) []byte {
	if f.burn(1) || len(b) > maxText {
		return b
	}
	switch v.k {
	case none:
		return append(b, "null"...)
	case boolean:
		return strconv.AppendBool(b, v.n != 0)
	case integer:
		return strconv.AppendInt(b, v.n, 10)
	case float:
		n := v.float()
		switch {
		case n-n == 0:
			from := len(b)
			b = appendFloat(b, n)
			if !style.safe { // which writes 1e16
				if i := bytes.Index(b[from:], []byte("e+")); i >= 0 {
					b = slices.Delete(b, from+i+1, from+i+2)
				}
			}
			return b
		case !style.safe:
			return append(b, "null"...)
		case n != n:
			return append(b, "NaN"...)
		case n < 0:
			return append(b, "-Infinity"...)
		}
		return append(b, "Infinity"...)
	case text:
		if f.burn(len(v.s)/8) || len(v.s) > maxText {
			return b
		}
		return appendQuoted(b, v.s, style.safe)
	case list, tuple:
		b = append(b, '[')
		for i := range v.len() {
			if i > 0 {
				b = append(b, style.comma...)
			}
			if b = f.appendJSON(b, v.elem(i), style, offset); f.err != nil {
				return b
			}
		}
		return append(b, ']')
	case dict:
		if pairs, ok := v.x.([]pair); ok && style.safe {
			pairs = slices.Clone(pairs)
			slices.SortStableFunc(pairs, func(p, q pair) int { return strings.Compare(p.key.s, q.key.s) })
			v.x = pairs
		}
		b = append(b, '{')
		f.each(v, func(i int, key, val val) {
			if i > 0 {
				b = append(b, style.comma...)
			}
			switch key.k {
			case text:
				b = f.appendJSON(b, key, style, offset)
			case tuple:
				f.fail(offset, "a tuple can be no key of JSON")
			default:
				b = append(f.appendJSON(append(b, '"'), key, style, offset), '"')
			}
			b = f.appendJSON(append(b, style.colon...), val, style, offset)
		})
		return append(b, '}')
	}
	f.lacks(offset, v)
	return b
}

func appendQuoted(b []byte, s string, safe bool) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r < ' ' || safe && (r == 0x7f || strings.ContainsRune("<>&'", r)):
			b = appendHex(append(b, `\u`...), r, 4)
		case safe && r >= 0x10000:
			r1, r2 := utf16.EncodeRune(r)
			b = appendHex(append(b, `\u`...), r1, 4)
			b = appendHex(append(b, `\u`...), r2, 4)
		case safe && r >= 0x80:
			b = appendHex(append(b, `\u`...), r, 4)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// equal is == of Python.
func (f *frame) equal(a, b val) bool {
	if f.burn(2) {
		return false
	}
	switch {
	case a.isNumber() && b.isNumber():
		if a.k != float && b.k != float {
			return a.n == b.n
		}
		return a.float() == b.float()
	case a.k != b.k:
		return false
	case a.k == text:
		f.burn(min(len(a.s), len(b.s)) / 16)
		return a.s == b.s
	case a.isList():
		if a.len() != b.len() {
			return false
		}
		for i := range a.len() {
			if !f.equal(a.elem(i), b.elem(i)) {
				return false
			}
		}
		return true
	case a.k == dict:
		same := a.len() == b.len()
		if same {
			f.each(a, func(_ int, key, val val) {
				other, ok := f.lookup(b, key)
				same = same && ok && f.equal(val, other)
			})
		}
		return same && f.err == nil
	}
	return true // none, undefined
}

// lookup finds a key in a dict.
func (f *frame) lookup(d, key val) (val, bool) {
	switch x := d.x.(type) {
	case Object:
		if key.k != text {
			return val{}, false
		}
		v, ok := x.Key(key.s)
		if !ok {
			return val{}, false
		}
		return wrap(v), true
	case []pair:
		for _, p := range x {
			if f.equal(p.key, key) {
				return p.val, true
			}
		}
	}
	return val{}, false
}

// compare orders two numbers, texts or lists as Python does: -1, 0, 1, or 2 if
// one is not a number. ok is false if they have no order.
func (f *frame) compare(a, b val) (c int, ok bool) {
	f.burn(2)
	switch {
	case a.isWhole() && b.isWhole():
		return order(a.n, b.n), true
	case a.isNumber() && b.isNumber():
		if x, y := a.float(), b.float(); x == x && y == y {
			return order(x, y), true
		}
		return 2, true
	case a.k == text && b.k == text:
		f.burn(min(len(a.s), len(b.s)) / 16)
		return strings.Compare(a.s, b.s), true
	case a.isList() && a.k == b.k:
		for i := range min(a.len(), b.len()) {
			if x, y := a.elem(i), b.elem(i); !f.equal(x, y) {
				return f.compare(x, y)
			}
		}
		return order(a.len(), b.len()), true
	}
	return 0, false
}

func order[T int | int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
