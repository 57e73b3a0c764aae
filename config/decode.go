package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Decode reads v, a value as a [Decoder] gets it, into what into points at, by
// the rules for struct fields. at is the place of v.
func Decode(v any, into any, at Place) {
	rv := reflect.ValueOf(into)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		panic(fmt.Sprintf("config: cannot decode into %T, want a pointer", into))
	}
	at.decode(v, rv.Elem())
}

// A hint is what the tags of a field say about its value.
type hint struct {
	eg       string
	enum     []string
	min, max string
	orList   bool // a list of such values would do as well
}

var noHint = &hint{}

// orList is p with a note that a list would do.
func (p Place) orList() Place {
	h := *noHint
	if p.hint != nil {
		h = *p.hint
	}
	h.orList = true
	p.hint = &h
	return p
}

// want is the text of a wrong type: "want text such as "GPIO17"".
func (p Place) want(what string) string {
	text := "want " + what
	if h := p.hint; h != nil {
		if h.orList {
			text += " or a list of these"
		}
		if h.eg != "" {
			text += ", such as " + h.eg
			if !h.orList {
				text = "want " + what + " such as " + h.eg
			}
		}
	}
	return text
}

// wantTable is the text where a table should be, in the form that fits here.
func (p Place) wantTable() string {
	if p.hint != nil && (p.hint.eg != "" || p.hint.orList) || strings.ContainsAny(p.path, `["`) || strings.Count(p.path, ".") > 1 {
		return p.want("a table")
	}
	return fmt.Sprintf("want a table, written [%s]", p.path)
}

// wantList is the text where a list of t should be.
func (p Place) wantList(t reflect.Type) string {
	switch _, isTable := p.val.(map[string]any); {
	case p.hint != nil && strings.HasPrefix(p.hint.eg, "["):
		return "want a list such as " + p.hint.eg
	case p.hint != nil && p.hint.eg != "":
		return "want a list such as [" + p.hint.eg + "]"
	case isTable && t.Kind() == reflect.Struct && !strings.ContainsAny(p.path, `["`):
		return fmt.Sprintf("want a list of tables, each written [[%s]]", p.path)
	}
	if s, ok := p.val.(string); ok && len(s) <= 40 {
		return fmt.Sprintf("want a list: write [%s]", show(s))
	}
	return "want a list"
}

func (p Place) decode(v any, rv reflect.Value) {
	if rv.Kind() == reflect.Pointer {
		if rv.IsNil() {
			rv.Set(reflect.New(rv.Type().Elem()))
		}
		p.decode(v, rv.Elem())
		return
	}
	p.decodeValue(v, rv)
	if p.doc != nil && p.doc.refused[p.path] {
		return // there is nothing to check
	}
	if c, ok := rv.Addr().Interface().(Checker); ok && !p.missesFiles() {
		c.Check(p)
	}
}

// missesFiles says whether p is the top of a document of which a file could
// not be read: a Check of the whole would find names missing that are in it.
func (p Place) missesFiles() bool {
	return p.path == "" && p.doc != nil && p.doc.broken
}

func (p Place) decodeValue(v any, rv reflect.Value) {
	if p.hint == nil {
		p.hint = noHint
	}
	switch into := rv.Addr().Interface().(type) {
	case Decoder:
		into.DecodeTOML(v, p)
		return
	case *Duration:
		p.decodeDuration(v, into)
		return
	case *Size:
		p.decodeSize(v, into)
		return
	case encoding.TextUnmarshaler:
		s, ok := v.(string)
		if !ok {
			p.wrong("%s", p.want("text"))
		} else if err := into.UnmarshalText([]byte(s)); err != nil {
			p.wrong("%v", err)
		}
		return
	}
	switch rv.Kind() {
	case reflect.Interface:
		if rv.SetZero(); v != nil {
			rv.Set(reflect.ValueOf(v))
		}
	case reflect.String:
		p.decodeString(v, rv)
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			p.wrong("%s", p.want("true or false"))
			return
		}
		rv.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.decodeInt(v, rv)
	case reflect.Float32, reflect.Float64:
		p.decodeFloat(v, rv)
	case reflect.Slice:
		elems, ok := v.([]any)
		if !ok {
			p.wrong("%s", p.wantList(rv.Type().Elem()))
			return
		}
		rv.Set(reflect.MakeSlice(rv.Type(), len(elems), len(elems)))
		for i := range elems {
			p.Index(i).decode(elems[i], rv.Index(i))
		}
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			p.wrong("%s", p.wantTable())
			return
		}
		rv.Set(reflect.MakeMapWithSize(rv.Type(), len(m)))
		for _, k := range p.order(m) {
			e := reflect.New(rv.Type().Elem()).Elem()
			p.Key(k).decode(m[k], e)
			rv.SetMapIndex(reflect.ValueOf(k).Convert(rv.Type().Key()), e)
		}
	case reflect.Struct:
		p.decodeStruct(v, rv)
	default:
		panic(fmt.Sprintf("config: cannot decode into a %s", rv.Type()))
	}
}

func (p Place) decodeString(v any, rv reflect.Value) {
	s, ok := v.(string)
	if enum := p.hint.enum; len(enum) > 0 {
		for _, e := range enum {
			if ok && s == e {
				rv.SetString(s)
				return
			}
		}
		if near, found := Nearest(s, enum); ok && found {
			p.wrong("did you mean %q? Want %s", near, listed(enum, "or"))
			return
		}
		p.wrong("want %s", listed(enum, "or"))
		return
	}
	if ok {
		rv.SetString(s)
		return
	}
	text := p.want("text")
	switch v.(type) {
	case map[string]any, []any:
	default:
		if p.hint.eg == "" {
			text += ": write " + strconv.Quote(show(v))
		}
	}
	p.wrong("%s", text)
}

// bounds is "from 0 to 2", by the tags or else by what the type holds.
func bounds(min, max string) string {
	switch {
	case min != "" && max != "":
		return " from " + min + " to " + max
	case min != "":
		return " of at least " + min
	case max != "":
		return " of at most " + max
	}
	return ""
}

func (p Place) decodeInt(v any, rv reflect.Value) {
	lo, hi := p.hint.min, p.hint.max
	signed := rv.CanInt()
	if bits := rv.Type().Bits(); bits < 64 {
		if signed {
			lo, hi = or(lo, strconv.FormatInt(math.MinInt64>>(64-bits), 10)), or(hi, strconv.FormatInt(math.MaxInt64>>(64-bits), 10))
		} else {
			lo, hi = or(lo, "0"), or(hi, strconv.FormatUint(math.MaxUint64>>(64-bits), 10))
		}
	} else if !signed {
		lo = or(lo, "0")
	}
	n, ok := v.(int64)
	if !ok {
		text := p.want("a whole number" + bounds(p.hint.min, p.hint.max))
		if s, isText := v.(string); isText {
			if _, err := strconv.ParseInt(s, 10, 64); err == nil {
				text += ": write " + s + " without quotes"
			}
		}
		p.wrong("%s", text)
		return
	}
	if lo != "" && n < mustInt(lo) || hi != "" && n > mustInt(hi) {
		p.wrong("%s", p.want("a whole number"+bounds(lo, hi)))
		return
	}
	if signed {
		rv.SetInt(n)
	} else {
		rv.SetUint(uint64(n))
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// mustInt reads a bound; a wrong tag is a bug of this program.
func mustInt(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("config: min or max tag: " + err.Error())
	}
	return n
}

func (p Place) decodeFloat(v any, rv reflect.Value) {
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case int64:
		f = float64(v)
	default:
		text := p.want("a number" + bounds(p.hint.min, p.hint.max))
		if s, ok := v.(string); ok {
			if _, err := strconv.ParseFloat(s, 64); err == nil {
				text += ": write " + s + " without quotes"
			}
		}
		p.wrong("%s", text)
		return
	}
	if math.IsNaN(f) || math.IsInf(f, 0) || rv.OverflowFloat(f) {
		p.wrong("%s", p.want("a finite number"+bounds(p.hint.min, p.hint.max)))
		return
	}
	if p.hint.min != "" && f < mustFloat(p.hint.min) || p.hint.max != "" && f > mustFloat(p.hint.max) {
		p.wrong("%s", p.want("a number"+bounds(p.hint.min, p.hint.max)))
		return
	}
	rv.SetFloat(f)
}

func mustFloat(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic("config: min or max tag: " + err.Error())
	}
	return f
}

func (p Place) decodeDuration(v any, into *Duration) {
	text := errDuration.Error()
	if p.hint.eg != "" {
		text = p.want("a duration")
	}
	switch v := v.(type) {
	case string:
		d, err := ParseDuration(v)
		if err != nil {
			if err != errDuration {
				text = err.Error()
			}
			p.wrong("%s", text)
			return
		}
		lo, hi := p.hint.min, p.hint.max
		if lo != "" && d < mustDuration(lo) || hi != "" && d > mustDuration(hi) {
			p.wrong("want a duration%s", bounds(quoted(lo), quoted(hi)))
			return
		}
		*into = d
	case int64, float64:
		if like := durationLike(fmt.Sprint(v)); like != "" {
			text = fmt.Sprintf("want a duration: write %q", like)
		}
		p.wrong("%s", text)
	default:
		p.wrong("%s", text)
	}
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

func mustDuration(s string) Duration {
	d, err := ParseDuration(s)
	if err != nil {
		panic("config: min or max tag: " + err.Error())
	}
	return d
}

// structs remembers what the tags of a struct say.
type structs map[reflect.Type]*fields

type fields struct {
	list  []field
	byKey map[string]int
	names []string
}

type field struct {
	name     string
	index    []int
	required bool
	some     bool // a list must not be empty
	hint     *hint
}

func (s structs) of(t reflect.Type) *fields {
	if fs := s[t]; fs != nil {
		return fs
	}
	fs := &fields{byKey: map[string]int{}}
	fs.collect(t, nil)
	for i, f := range fs.list {
		if _, twice := fs.byKey[f.name]; twice {
			panic(fmt.Sprintf("config: %s has two fields for %q", t, f.name))
		}
		fs.byKey[f.name] = i
		fs.names = append(fs.names, f.name)
	}
	if s != nil {
		s[t] = fs
	}
	return fs
}

func (fs *fields) collect(t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int(nil), index...), i)
		tag, has := f.Tag.Lookup("toml")
		if f.Anonymous && !has && f.Type.Kind() == reflect.Struct {
			fs.collect(f.Type, at)
			continue
		}
		if !has || tag == "-" {
			continue
		}
		if !f.IsExported() {
			panic(fmt.Sprintf("config: %s.%s has a toml tag but is not exported", t, f.Name))
		}
		name, option, _ := strings.Cut(tag, ",")
		h := &hint{eg: f.Tag.Get("eg"), min: f.Tag.Get("min"), max: f.Tag.Get("max")}
		if enum := f.Tag.Get("enum"); enum != "" {
			h.enum = strings.Split(enum, ",")
		}
		fs.list = append(fs.list, field{name, at, option == "required", option == "required" || option == "some", h})
	}
}

func (p Place) decodeStruct(v any, rv reflect.Value) {
	m, ok := v.(map[string]any)
	if !ok {
		p.wrong("%s", p.wantTable())
		return
	}
	var known structs
	if p.doc != nil {
		known = p.doc.structs
	}
	fs := known.of(rv.Type())
	for _, key := range p.order(m) {
		sub := p.Key(key)
		i, ok := fs.byKey[key]
		if !ok {
			if near, ok := Nearest(key, fs.names); ok {
				sub.wrongKey("unknown key, did you mean %q?", near)
				if _, table := m[key].(map[string]any); table && p.path == "" && p.doc != nil {
					p.doc.broken = true // what is in it is missing, and would be missed everywhere
				}
			} else {
				sub.wrongKey("unknown key, known here: %s", strings.Join(fs.names, ", "))
			}
			continue
		}
		f := fs.list[i]
		sub.hint = f.hint
		if list, ok := m[key].([]any); ok && len(list) == 0 && f.some && rv.FieldByIndex(f.index).Kind() != reflect.String {
			if f.required {
				sub.wrong("the list is empty: want at least one")
			} else {
				sub.wrong("the list is empty: want at least one, or leave it out")
			}
			continue
		}
		sub.decode(m[key], rv.FieldByIndex(f.index))
	}
	for _, f := range fs.list {
		if _, given := m[f.name]; f.required && !given && !p.mayBeElsewhere() {
			sub := p.Key(f.name)
			text := "missing"
			if f.hint.eg != "" {
				text += ", want for example " + f.name + " = " + f.hint.eg
			}
			sub.wrong("%s", text)
		}
	}
	p.checkEmbedded(rv)
}

// checkEmbedded calls the Check of structs that were flattened into rv.
func (p Place) checkEmbedded(rv reflect.Value) {
	if p.missesFiles() {
		return
	}
	for i := range rv.NumField() {
		f := rv.Type().Field(i)
		if _, has := f.Tag.Lookup("toml"); !f.Anonymous || has || f.Type.Kind() != reflect.Struct {
			continue
		}
		part := reflect.NewAt(f.Type, rv.Field(i).Addr().UnsafePointer()) // its type may be unexported
		p.checkEmbedded(part.Elem())
		if c, ok := part.Interface().(Checker); ok {
			c.Check(p)
		}
	}
}

// mayBeElsewhere says whether a key missing here may stand in a file that
// could not be read.
func (p Place) mayBeElsewhere() bool {
	return p.doc != nil && p.doc.broken && !strings.Contains(p.path, ".")
}
