package formula

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/expr-lang/expr/file"
)

// A Template is a text with holes: "rising fast: +{rise:.1}". A hole opens with
// { and a letter or (, so JSON needs no escape: {"brightness": {b}} has one. It
// ends with its own }, those in quotes and in maps of its expression aside.
// {expr:.1} prints a number with one decimal, half away from zero. {{ is a plain {, which
// JSON never has two of; } alone or twice is what it is.
//
// Holes print as [Print] does: what stands in quotes of a JSON text should not
// come from strangers, for nothing in it is escaped.
type Template struct {
	parts []part
	vars  int
	refs
}

// A part is plain text, or a hole.
type part struct {
	plain  string
	hole   *Formula
	digits int // after the point; -1 for as many as it takes
	offset int
}

// CompileText reads a text with holes. An error is an *[Error].
func CompileText(text string, s Scope) (*Template, error) {
	t := &Template{}
	if err := t.compile(text, s); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Template) compile(text string, s Scope) *Error {
	if err := checkSource(text, "a text with {holes}"); err != nil {
		if !strings.Contains(text, "{") && utf8.ValidString(text) && len(text) <= maxText {
			t.parts = []part{{plain: text}}
			return nil
		}
		return err
	}
	r := []rune(text)
	var plain strings.Builder
	for i := 0; i < len(r); i++ {
		if r[i] != '{' || i+1 == len(r) || !(unicode.IsLetter(r[i+1]) || r[i+1] == '(' || r[i+1] == '{') {
			plain.WriteRune(r[i])
			continue
		}
		if i++; r[i] == '{' {
			plain.WriteRune('{')
			continue
		}
		end := holeEnd(r, i)
		if end < 0 {
			return &Error{Offset: i - 1, Text: "this { opens a hole that no } closes; {{ is a plain {"}
		}
		if plain.Len() > 0 {
			t.parts = append(t.parts, part{plain: plain.String()})
			plain.Reset()
		}
		inner, digits := string(r[i:end]), -1
		if m := decimals.FindStringSubmatch(inner); m != nil {
			inner, digits = m[1], int(m[2][0]-'0')
		}
		f := &Formula{}
		if err := f.compile(inner, i, s, Any, &t.refs); err != nil {
			if strings.HasPrefix(err.Text, ": ") {
				err.Text = "after : want a point and a digit, as in {x:.1}; and {{ is a plain {"
			}
			return err
		}
		if digits >= 0 && f.t != Any && f.t != Number {
			return &Error{Offset: i, Text: fmt.Sprintf("{...:.%d} wants a number, this is %s", digits, f.t)}
		}
		t.parts = append(t.parts, part{hole: f, digits: digits, offset: i})
		t.vars = max(t.vars, f.vars)
		if len(t.parts) > 2*maxHoles {
			return &Error{Offset: i, Text: fmt.Sprintf("a text has at most %d holes", maxHoles)}
		}
		i = end
	}
	if plain.Len() > 0 {
		t.parts = append(t.parts, part{plain: plain.String()})
	}
	return nil
}

var decimals = regexp.MustCompile(`(?s)^(.*[^:?\s]\s*):\.([0-9])$`)

// holeEnd is where the } of the hole is whose expression begins at i, or -1.
func holeEnd(r []rune, i int) int {
	for depth := 0; i < len(r); i++ {
		switch c := r[i]; c {
		case '{', '(', '[':
			depth++
		case ')', ']':
			depth--
		case '}':
			if depth <= 0 {
				return i
			}
			depth--
		case '"', '\'', '`':
			for i++; i < len(r) && r[i] != c; i++ {
				if r[i] == '\\' && c != '`' {
					i++
				}
			}
		}
	}
	return -1
}

// Plain is the text itself if it has no holes.
func (t *Template) Plain() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].hole == nil:
		return t.parts[0].plain, true
	}
	return "", false
}

// May says whether the holes could be filled so that it is this text.
func (t *Template) May(text string) bool {
	may := []int{0} // where in text the parts so far may end
	for _, p := range t.parts {
		var next []int
		for _, at := range may {
			switch rest := text[at:]; {
			case p.hole != nil: // anything, so from here on every place
				for i := at; i <= len(text); i++ {
					next = append(next, i)
				}
			case strings.HasPrefix(rest, p.plain):
				next = append(next, at+len(p.plain))
			}
			if p.hole != nil {
				break
			}
		}
		may = next
	}
	return slices.Contains(may, len(text))
}

// Text fills the holes. An error is that of the first hole that gives nothing,
// as [Formula.Eval] has it; then there is no text.
func (t *Template) Text(env Env) (string, error) {
	if s, ok := t.Plain(); ok {
		return s, nil
	}
	f := frame{env: env, fuel: budget, vars: make([]val, t.vars)}
	var b strings.Builder
	for _, p := range t.parts {
		s := p.plain
		if p.hole != nil {
			v, err := p.hole.eval(&f)
			if err != nil {
				return "", err
			}
			if p.digits >= 0 && v.k != number {
				return "", &Error{Offset: p.offset, Text: fmt.Sprintf("{...:.%d} wants a number, this is %s", p.digits, v.k.Type())}
			}
			var bad val
			if s, bad = f.print(v.x, p.digits); bad.x != nil {
				return "", bad.at(p.offset).x.(*Error)
			}
		}
		if b.Len()+len(s) > maxText {
			return "", &Error{Offset: p.offset, Text: fmt.Sprintf("the text gets longer than %d bytes", maxText)}
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// Print is a result of Eval as it stands in texts: a text as it is, a boolean
// as true or false, a list or map as JSON with its keys in order, and a number
// as short as it goes. The noise that arithmetic leaves behind the 15th digit
// is not shown: 0.1 + 0.2 is 0.3, as it was meant.
func Print(v any) string {
	f := frame{fuel: math.MaxInt}
	s, _ := f.print(v, -1)
	return s
}

func numberText(x float64) string {
	if x != math.Trunc(x) {
		if short, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 15, 64), 64); err == nil {
			x = short
		}
	}
	return strconv.FormatFloat(x+0, 'f', -1, 64) // -0 + 0 is 0
}

// print is Print with a budget, and with digits after the point unless -1.
func (f *frame) print(v any, digits int) (s string, bad val) {
	switch w := wrap(v, nil0); w.k {
	case absent:
		return "null", bad
	case failed:
		return "", w
	case number:
		if f.burn(8) {
			return "", tired()
		}
		if digits >= 0 {
			return strconv.FormatFloat(halfAway(w.f, digits), 'f', digits, 64), bad
		}
		return numberText(w.f), bad
	case boolean:
		return strconv.FormatBool(w.yes()), bad
	case text:
		return w.text(), bad
	}
	b, bad := f.appendJSON(nil, v)
	return string(b), bad
}

// json is v as JSON, with the keys of a map in order.
func (f *frame) json(v any) val {
	b, bad := f.appendJSON(nil, v)
	if bad.x != nil {
		return bad
	}
	return f.made(string(b))
}

func (f *frame) appendJSON(b []byte, v any) (_ []byte, bad val) {
	if f.burn(2) {
		return nil, tired()
	}
	switch w := wrap(v, nil0); w.k {
	case failed:
		return nil, w
	case absent:
		b = append(b, "null"...)
	case text:
		if f.burn(len(w.text()) / 4) {
			return nil, tired()
		}
		b = appendQuoted(b, w.text())
	case list:
		b = append(b, '[')
		for i, e := range w.list() {
			if i > 0 {
				b = append(b, ',')
			}
			if b, bad = f.appendJSON(b, e); bad.x != nil {
				return nil, bad
			}
		}
		b = append(b, ']')
	case object:
		if f.burn(4 * len(w.keys())) {
			return nil, tired()
		}
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(w.keys())) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendQuoted(b, k), ':')
			if b, bad = f.appendJSON(b, w.keys()[k]); bad.x != nil {
				return nil, bad
			}
		}
		b = append(b, '}')
	default:
		s, bad := f.print(v, -1)
		if bad.x != nil {
			return nil, bad
		}
		b = append(b, s...)
	}
	return b, bad
}

// appendQuoted is s as JSON, with <, > and & as they are: no browser reads it.
func appendQuoted(b []byte, s string) []byte {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil { // can't be: any string has a JSON form
		return append(b, '"', '"')
	}
	return append(b, strings.TrimSuffix(out.String(), "\n")...)
}

// plainWords says in the owner's words what the parser found, and where.
func plainWords(err error, source string) *Error {
	if strings.TrimSpace(source) == "" {
		return &Error{Text: "want an expression, such as value * 2"}
	}
	r := []rune(source)
	var fe *file.Error
	if !errors.As(err, &fe) {
		return &Error{Text: "this is no expression"}
	}
	e := &Error{Offset: max(0, min(fe.From, len(r)))}
	found := func() string { return string(r[e.Offset:max(e.Offset, min(fe.To, len(r)))]) }
	msg := fe.Message
	switch {
	case strings.HasPrefix(msg, "unexpected token EOF"), strings.Contains(msg, "unexpected end"):
		e.Offset, e.Text = len(r), "the expression ends too early: something is missing here"
		if strings.Count(source, "(") > strings.Count(source, ")") {
			e.Text = "the expression ends too early: want ) here"
		}
	case strings.HasPrefix(msg, `unexpected token Operator("=")`):
		e.Text = "want == to compare; nothing is set here"
	case strings.HasPrefix(msg, `unexpected token Operator("&")`):
		e.Text = "want and, or &&"
	case strings.HasPrefix(msg, "unexpected token Operator(\"#\")"):
		e.Text = "# is the element of a list within filter, map, any and the like"
	case strings.HasPrefix(msg, "unexpected token Operator"), strings.HasPrefix(msg, "unexpected token Bracket"):
		e.Text = fmt.Sprintf("%s makes no sense here", found())
	case strings.HasPrefix(msg, "unexpected token"):
		e.Text = fmt.Sprintf("want an operator such as + or == before %s", found())
	case strings.Contains(msg, "literal not terminated"):
		e.Text = "a quote is opened and never closed"
	case strings.Contains(msg, "unescape"), strings.Contains(msg, "char escape"):
		e.Text = `want one of \\ \" \' \n \t \u00e9 after a backslash in text`
	case strings.HasPrefix(msg, "unrecognized character"):
		e.Text = fmt.Sprintf("%s means nothing here", found())
	case strings.HasPrefix(msg, "bad number"):
		e.Text = "this is no number"
	case strings.Contains(msg, "literal"):
		e.Text = "this number is too large"
	case strings.Contains(msg, "(??)"):
		e.Text = "want brackets round ?? where another operator follows, as in (a ?? b) + c"
	case strings.HasPrefix(msg, "expected at least"):
		e.Text = "something is missing before this bracket: want a list and what to do with its elements"
	case strings.HasPrefix(msg, "wrap predicate"):
		e.Text = "want one expression: ; stands only after let"
	case strings.HasPrefix(msg, "a map key"):
		e.Text = "want a key of the map, in quotes"
	case strings.HasPrefix(msg, "unclosed comment"):
		e.Text = "a comment is opened with /* and never closed"
	case strings.HasPrefix(msg, "expected name"):
		e.Text = `want a name after the point; an odd key is written x["odd key"]`
	case strings.Contains(msg, "maximum allowed nodes"):
		e.Text = "this expression is too long"
	default:
		e.Text = "this is no expression"
	}
	e.Text = tidy(e.Text)
	return e
}

// tidy is a message fit for one line of a terminal, whatever it quotes.
func tidy(s string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		switch n++; {
		case n > 300:
			return -1
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}
