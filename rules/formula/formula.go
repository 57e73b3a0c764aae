// Package formula is the arithmetic of the rules: expressions such as
//
//	round(clamp((128 - value) / 59 * 100, 0, 100))
//	join(sort(filter(keys(members), members[#] < 20)), ",")
//	msg.action == "DISARM" and msg.code == secret("alarm")
//
// and texts with such expressions in them: "rising fast: +{rise:.1}".
//
// An expression is written in the language of expr-lang, and its parser reads
// it; nothing outside this folder knows. What an expression means is decided
// here, because a house asks for other things than a Go program does:
//
//   - There is one kind of number. value % 2, readings[-1] and 10 / 4 do what
//     they look like. A [Type] that cannot be right is refused at load, in words
//     for the owner, at the character where it stands.
//   - What is not there is no crash and no zero. A name that never reported, a
//     place that a message does not have, nil and null, the mean of an empty
//     list, a division by zero: each is missing, and so is all that is computed
//     from it, up to the first ?? that says what to take instead, or a
//     comparison with nil that asks. What is left missing at the end is an
//     [ErrMissing] that names it.
//   - The same inputs give the same result: no clock, no time zone, no chance,
//     no order of a map. Time comes as age("source") and by the keys of a rule.
//   - Every evaluation ends soon: an expression is short, loops and everything
//     that walks a text or a list pay from a budget, and what is made has a
//     largest size. Messages come from strangers.
//   - The text of an error holds names and places, never a value, so that no
//     secret reaches a log.
//
// [Compile] reads an expression once, [Formula.Eval] computes it as often as
// needed, with all that it sees given by an [Env]. A Formula and a [Template]
// never change, so many goroutines may use one.
package formula

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/expr-lang/expr/parser"
)

// A Type is what is known of a value before there is one.
type Type int

const (
	Any     Type = iota // known only when it is there
	Number              // float64
	Boolean             // bool
	Text                // string
	List                // []any
	Map                 // map[string]any
)

func (t Type) String() string {
	return [...]string{"anything", "a number", "true or false", "text", "a list", "a map"}[t]
}

// many is the type as the words of an operator: "* wants numbers".
func (t Type) many() string {
	switch t {
	case Number:
		return "numbers"
	case List:
		return "lists"
	case Map:
		return "maps"
	}
	return t.String()
}

// Limits. A long rule has 200 characters and 40 parts; the budget is about as
// much as can be done in a millisecond or two of a fast machine.
const (
	maxSource = 4 << 10  // bytes of an expression or a text with holes
	maxNodes  = 400      // names, numbers, operators and calls of an expression
	maxHoles  = 100      // of a text
	maxText   = 64 << 10 // bytes of any text that is made
	budget    = 100_000  // steps; see frame.burn
)

// An Error says what is wrong with an expression, or why it gave nothing.
type Error struct {
	Offset int    // where, in characters from 0
	Text   string // what is wrong, or missing; never has a value of the house in it

	missing bool
}

func (e *Error) Error() string { return e.Text }

// Is makes errors.Is(err, [ErrMissing]) true for a result that is missing.
func (e *Error) Is(target error) bool { return target == ErrMissing && e.missing }

// ErrMissing is what [Formula.Eval] and [Template.Text] give, wrapped, when a
// value is not known, is nil or is not a finite number. Other errors of theirs
// say that a value was of the wrong kind, or the budget too small.
var ErrMissing = errors.New("missing")

// A Scope is what the text of an expression may name.
type Scope struct {
	// Names are those seen at this place, such as value, msg or a calc.
	Names map[string]Type
	// Property says of which type device.property is, and false where there is
	// no such device or property. It goes before a key in the value of a name.
	Property func(device, property string) (Type, bool)
	// Secret says whether there is such a secret; without it any name will do.
	Secret func(name string) bool
	// Source checks the text given to state() and age() and says it in its one
	// canonical form, in which Sources and the Env have it. Nil takes any.
	Source func(text string) (canonical string, err error)
}

// An Env is what an expression sees when it is computed. The values are bool,
// float64, string, []any and map[string]any as encoding/json decodes them; false,
// nil and what is not finite mean that there is no value (yet).
type Env interface {
	Value(name string) (any, bool)
	Property(device, property string) (any, bool)
	State(source string) (any, bool)   // the newest value
	Age(source string) (float64, bool) // seconds since the newest value
	Secret(name string) (string, bool)
}

// A Formula is an expression that was read and checked.
type Formula struct {
	run  code
	t    Type
	want Type
	vars int
	refs
}

// refs are what an expression or a text reaches for.
type refs struct{ names, properties, sources, secrets []string }

// Names are the names of the Scope that are used, in order, each once.
func (r *refs) Names() []string { return slices.Clone(r.names) }

// Properties are the device properties that are used: "lamp.brightness".
func (r *refs) Properties() []string { return slices.Clone(r.properties) }

// Sources are what state() and age() look at, in canonical form.
func (r *refs) Sources() []string { return slices.Clone(r.sources) }

// Secrets are the names given to secret(). A result of a formula with secrets
// is not for a trace or a page.
func (r *refs) Secrets() []string { return slices.Clone(r.secrets) }

func note(list *[]string, name string) {
	if !slices.Contains(*list, name) {
		*list = append(*list, name)
	}
}

// Compile reads an expression that is to give a value of type want. An error
// is an *[Error].
func Compile(text string, s Scope, want Type) (*Formula, error) {
	if err := checkSource(text, "an expression"); err != nil {
		return nil, err
	}
	f := &Formula{}
	if err := f.compile(text, 0, s, want, &f.refs); err != nil {
		return nil, err
	}
	return f, nil
}

func checkSource(text, what string) *Error {
	switch {
	case len(text) > maxSource:
		return &Error{Text: fmt.Sprintf("%s has at most %d characters, this has %d", what, maxSource, len(text))}
	case !utf8.ValidString(text):
		return &Error{Text: what + " is UTF-8 text"}
	}
	return nil
}

// compile fills f from text, which stands at offset in what the owner wrote.
func (f *Formula) compile(text string, offset int, s Scope, want Type, refs *refs) (err *Error) {
	defer func() {
		if bug := recover(); bug != nil { // the parser's; ours are found by the fuzzer too
			err = &Error{Offset: offset, Text: "this expression is too odd to be read"}
		}
	}()
	tree, bad := parser.Parse(text)
	if bad != nil {
		err = plainWords(bad, text)
		err.Offset += offset
		return err
	}
	c := &compiler{scope: s, refs: refs, offset: offset}
	p := c.piece(tree.Node)
	if c.err == nil && want != Any && p.t != Any && p.t != want {
		c.refuse(tree.Node, "this gives %s, want %s", p.t, want)
	}
	if c.err != nil {
		return c.err
	}
	f.run, f.t, f.want, f.vars = p.run, p.t, want, c.slots
	return nil
}

// Type is what the formula gives, as far as that is known.
func (f *Formula) Type() Type {
	if f.t == Any {
		return f.want
	}
	return f.t
}

// Eval computes the formula. The value is a bool, float64 (finite), string,
// []any or map[string]any; the last two may share memory with what env gave, so
// they are only to be read. An error is an *[Error], and is [ErrMissing] where
// something is missing.
func (f *Formula) Eval(env Env) (any, error) {
	fr := frame{env: env, fuel: budget}
	v, err := f.eval(&fr)
	if err != nil {
		return nil, err
	}
	return v.x, nil
}

// eval leaves the value in x.
func (f *Formula) eval(fr *frame) (v val, err *Error) {
	defer func() {
		if bug := recover(); bug != nil { // without its text: it may quote a value
			err = &Error{Text: "this expression could not be computed"}
		}
	}()
	if len(fr.vars) < f.vars {
		fr.vars = make([]val, f.vars)
	}
	v = f.run(fr)
	if f.want != Any && v.k.usable() && v.k.Type() != f.want {
		return v, &Error{Text: fmt.Sprintf("this gives %s, want %s", v.k.Type(), f.want)}
	}
	switch v.k {
	case failed, absent:
		return v, v.x.(*Error)
	case number, boolean:
		v.x = v.plain()
	case list, object:
		if v = fr.whole(v); !v.k.usable() {
			return v, v.x.(*Error)
		}
	}
	return v, nil
}

// Reserved says whether name means something in expressions, so that nothing
// in a house can be called by it: a function, one of those that expr-lang has
// and this does not, or a word of the language.
func Reserved(name string) bool {
	return isFunction(name) || removed[name] != "" || slices.Contains(words, name)
}

// words are those of the language that a name could be taken for.
var words = []string{"let", "if", "else", "in", "not", "and", "or", "true", "false", "nil", "matches", "contains"}
