// Package config is what the owner wrote: TOML files decoded into the structs
// of whoever obeys them, with every mistake named at its place.
//
// A caller describes its part of the file as a struct and hands the whole to
// [Load]. What comes back is a [Doc]: either the struct is filled and Err is
// nil, or Err says all that is wrong, one mistake a line:
//
//	config.toml:12:7: output.porch_light.pin = 17: want text such as "GPIO17"
//	config.toml:14:1: output.porch_light.actve_low = true: unknown key, did you mean "active_low"?
//
// What the program itself writes for its owner, users and certificates, goes through [Replace].
//
// # Structs
//
// A field is read when it has a toml tag; a field without one is never touched
// and may hold what a Check derives.
//
//	Pin string `toml:"pin,required" eg:"\"GPIO17\""`
//
// required wants the key to be there, and a list not empty; some only wants a list
// that is there not to be empty. eg is an example, as the owner would
// write it, for the messages. enum:"off,on,hold" lists the only texts allowed,
// min:"0" and max:"10" bound a number, a duration or a size, both ends included; the
// elements of a list obey the tags of their field. Embedded structs without a
// tag are flattened. A key that no field takes is a mistake.
//
// Fields may be text, booleans, whole numbers, floats (a whole number will do;
// nan and inf are refused), [Duration], [Size], any, pointers (nil when absent),
// slices, maps with text keys, structs, [Table], [List], types that implement
// encoding.TextUnmarshaler, and types that read themselves as a [Decoder].
// What the zero value means is up to the struct. A struct that has more to say
// than its types can, such as "either pin or topic", is a [Checker].
//
// # Places
//
// A [Place] is a key path and knows where that path was written. Mistakes
// that a Check or a Decoder finds go through it and come out in the same form
// as the package's own. Paths count elements from 1, as people do: the first
// [[test]] is test[1]. Columns count characters from 1, a tab as one, as the
// status line of most editors does.
//
// A mistake of a key hides what a Check says about that same key: a pin that
// is no text is not also reported as a pin that does not exist.
//
// # Files
//
// include = ["rules/*.toml"] at the top of a file reads more files, relative
// to that file. A table at the top, such as [output], may be spread over
// files; one name in it, such as [output.lamp], belongs to one file. Lists of
// tables, such as [[test]], are appended in the order in which files are read:
// each file, then what it includes.
//
// How: BurntSushi/toml reads the values and judges the syntax. It does not
// tell where values stand, so the parser of pelletier/go-toml walks the text a
// second time for places alone. Where the two disagree a mistake is placed at
// the nearest table around it whose place is known.
package config

import "slices"

// A Decoder is implemented by pointer types that take several shapes, such as
// a text or a table. DecodeTOML gets the value as written: string, bool, int64,
// float64, time.Time, []any or map[string]any. It reports mistakes at at, and
// uses [Decode] for the parts that follow the common rules.
//
// Don't embed a Decoder in a struct: Go would promote its method, and the
// struct would be read as if it were the part.
type Decoder interface {
	DecodeTOML(v any, at Place)
}

// A Checker has more to say than its types can. Check is called on every
// decoded value that has it, after its fields, whether or not those were right.
// Go promotes the Check of an embedded struct, which may so be called twice:
// the same mistake is reported once, and a Check should set only its own fields.
//
// The Check of the outermost struct is left out when a file could not be read,
// since what it misses may be in that file.
type Checker interface {
	Check(at Place)
}

// A Table holds the sub-tables of a table whose keys are the owner's names,
// such as [output.porch_light], in the order in which they are written. Names
// are [a-z][a-z0-9_]*.
type Table[T any] []Named[T]

// Named is a value with the name the owner gave it.
type Named[T any] struct {
	Name  string
	Value T
}

// Get is the value of that name, to read or to change in place.
func (t Table[T]) Get(name string) (*T, bool) {
	for i := range t {
		if t[i].Name == name {
			return &t[i].Value, true
		}
	}
	return nil, false
}

// Names are all names, in the order of the file.
func (t Table[T]) Names() []string {
	names := make([]string, len(t))
	for i := range t {
		names[i] = t[i].Name
	}
	return names
}

// DecodeTOML reads a table of tables.
func (t *Table[T]) DecodeTOML(v any, at Place) {
	m, ok := v.(map[string]any)
	if !ok {
		at.wrong("want a table of named tables, such as [%s.name]", at.path)
		return
	}
	*t = make(Table[T], 0, len(m))
	for _, name := range at.order(m) {
		sub := at.Key(name)
		if !isName(name) {
			sub.badName(name)
		}
		*t = append(*t, Named[T]{Name: name})
		Decode(m[name], &(*t)[len(*t)-1].Value, sub)
	}
}

// A List takes one value or an array of them: trigger = {…} and trigger = [{…}]
// are the same. [Place.Index](0) of a value written without an array is the
// value itself, so that a Check need not tell them apart.
type List[T any] []T

// DecodeTOML reads one value or an array of them.
func (l *List[T]) DecodeTOML(v any, at Place) {
	elems, ok := v.([]any)
	if !ok {
		*l = make(List[T], 1)
		Decode(v, &(*l)[0], at.orList())
		return
	}
	*l = make(List[T], len(elems))
	for i := range elems {
		Decode(elems[i], &(*l)[i], at.Index(i))
	}
}

// order is the keys of m as they are written at p; those whose place is not
// known come last, sorted.
func (p Place) order(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	if p.node != nil {
		for _, k := range p.node.order {
			if _, ok := m[k]; ok {
				keys = append(keys, k)
			}
		}
	}
	if len(keys) == len(m) {
		return keys
	}
	known := make(map[string]bool, len(keys))
	for _, k := range keys {
		known[k] = true
	}
	n := len(keys)
	for k := range m {
		if !known[k] {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys[n:])
	return keys
}
