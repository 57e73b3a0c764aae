package formula

import (
	"fmt"
	"maps"
	"slices"
)

// A kind is what a value is while it is computed with.
type kind uint8

const (
	absent  kind = iota // x is the *Error that says what is missing
	failed              // x is the *Error that says what went wrong
	number              // in f
	boolean             // f is 0 or 1
	text                // x is a string
	list                // x is a []any
	object              // x is a map[string]any
)

func (k kind) usable() bool { return k > failed }

// Type is the type of a usable kind.
func (k kind) Type() Type { return Type(k - failed) }

// A val is a value on its way through an expression. Numbers and booleans stay
// out of x, where they would cost memory each.
type val struct {
	k kind
	f float64
	x any
}

func num(f float64) val { return val{k: number, f: f} }

func truth(b bool) val {
	if b {
		return val{k: boolean, f: 1}
	}
	return val{k: boolean}
}

func str(s string) val             { return val{k: text, x: s} }
func listOf(l []any) val           { return val{k: list, x: l} }
func (v val) yes() bool            { return v.f != 0 }
func (v val) text() string         { return v.x.(string) }
func (v val) list() []any          { return v.x.([]any) }
func (v val) keys() map[string]any { return v.x.(map[string]any) }

// wrong and nothing are the results of a function that can't give one; call
// adds the place.
func wrong(format string, args ...any) val {
	return val{k: failed, x: &Error{Offset: -1, Text: fmt.Sprintf(format, args...)}}
}

func nothing(format string, args ...any) val {
	return val{k: absent, x: &Error{Offset: -1, Text: fmt.Sprintf(format, args...), missing: true}}
}

// at gives the error that v is, if it is one, a place where it has none yet.
func (v val) at(offset int) val {
	if e, ok := v.x.(*Error); ok && e.Offset < 0 {
		placed := *e
		placed.Offset = offset
		v.x = &placed
	}
	return v
}

// plain is a usable v as the rest of the house has values.
func (v val) plain() any {
	switch v.k {
	case number:
		return v.f
	case boolean:
		return v.f != 0
	}
	return v.x
}

// wrap is v as a value to compute with, or gone where there is none.
func wrap(v any, gone *Error) val {
	switch v := v.(type) {
	case nil:
		return val{k: absent, x: gone}
	case float64:
		if v-v != 0 { // NaN or infinite
			return val{k: absent, x: gone}
		}
		return num(v)
	case bool:
		return truth(v)
	case string:
		return val{k: text, x: v}
	case []any:
		return val{k: list, x: v}
	case map[string]any:
		return val{k: object, x: v}
	case int:
		return num(float64(v))
	case int64:
		return num(float64(v))
	case []float64:
		return listOf(anys(v))
	case []string:
		return listOf(anys(v))
	}
	return val{k: failed, x: &Error{Offset: gone.Offset, Text: fmt.Sprintf("a value of type %T is not known to expressions", v)}}
}

func anys[T any](s []T) []any {
	l := make([]any, len(s))
	for i, e := range s {
		l[i] = e
	}
	return l
}

// A frame is one evaluation.
type frame struct {
	env  Env
	fuel int
	vars []val // of let

	item  val // what # is in the innermost loop
	index int // #index
	acc   val // #acc
}

// burn pays for n steps and says whether there is no budget left. A step is
// one part of an expression within a loop, an element looked at, or 16 bytes;
// what is outside of loops is short enough to be free.
func (f *frame) burn(n int) bool {
	if n < 0 || n > f.fuel {
		f.fuel = -1
		return true
	}
	f.fuel -= n
	return false
}

func tired() val { return wrong("this has too much to do: want shorter lists or fewer loops") }

// made is a text that was made, if it is not too long.
func (f *frame) made(s string) val {
	if len(s) > maxText {
		return wrong("the text gets longer than %d bytes", maxText)
	}
	if f.burn(len(s) / 16) {
		return tired()
	}
	return str(s)
}

// whole checks what is in a list or map that is a result.
func (f *frame) whole(v val) val {
	x, _, bad := f.clean(v.x)
	if bad.x != nil {
		return bad.at(0)
	}
	v.x = x
	return v
}

// clean is v with nothing in it but what JSON has; nil is its null. It copies
// a list or map only if something in it has to change.
func (f *frame) clean(v any) (clean any, changed bool, bad val) {
	if f.burn(1) {
		return nil, false, tired()
	}
	switch v := v.(type) {
	case nil, bool, string:
		return v, false, bad
	case float64:
		if v-v != 0 {
			return nil, true, bad
		}
		return v, false, bad
	case []any:
		out := v
		for i, e := range v {
			c, diff, bad := f.clean(e)
			switch {
			case bad.x != nil:
				return nil, false, bad
			case diff && !changed:
				out, changed = slices.Clone(v), true
			}
			if diff {
				out[i] = c
			}
		}
		return out, changed, bad
	case map[string]any:
		out := v
		for k, e := range v {
			c, diff, bad := f.clean(e)
			switch {
			case bad.x != nil:
				return nil, false, bad
			case diff && !changed:
				out, changed = maps.Clone(v), true
			}
			if diff {
				out[k] = c
			}
		}
		return out, changed, bad
	}
	w := wrap(v, &Error{Offset: -1})
	if !w.k.usable() {
		return nil, false, w
	}
	return w.plain(), true, bad
}
