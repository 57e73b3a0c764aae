package formula

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"

	"hearth/config"
)

// A code computes one part of an expression.
type code func(*frame) val

// A piece is a part of an expression that was read: how to compute it, and
// what is known about it before that.
type piece struct {
	run   code
	t     Type
	name  string // in messages: "value", "msg.code", "round(...)"
	isNil bool   // it is nil itself
	word  bool   // it is a secret: a number is compared with it as text
	steps int    // to compute it once
}

// A compiler turns what the parser read into code. It goes on after the first
// mistake, so that no part has to ask, but reports only that.
type compiler struct {
	scope  Scope
	refs   *refs
	offset int // of the expression in the owner's text
	err    *Error

	nodes int
	lets  []local // that can be seen
	slots int     // the most of them at once
	loops int     // around this part
	accs  []bool  // of each loop: it has #acc
}

type local struct {
	name string
	t    Type
}

func (c *compiler) at(n ast.Node) int {
	if n == nil {
		return c.offset
	}
	switch n := n.(type) { // to where the owner began to write it
	case *ast.BinaryNode, *ast.UnaryNode, *ast.CallNode, *ast.BuiltinNode:
	case *ast.MemberNode:
		return c.at(n.Node)
	case *ast.ChainNode:
		return c.at(n.Node)
	case *ast.SliceNode:
		return c.at(n.Node)
	case *ast.ConditionalNode:
		return c.at(n.Cond)
	}
	return c.offset + n.Location().From
}

func (c *compiler) refuse(n ast.Node, format string, args ...any) piece {
	return c.refuseAt(c.at(n), format, args...)
}

func (c *compiler) refuseAt(offset int, format string, args ...any) piece {
	if c.err == nil {
		c.err = &Error{Offset: offset, Text: tidy(fmt.Sprintf(format, args...))}
	}
	return piece{run: func(*frame) val { return wrong("") }}
}

// gone is what a part gives that is missing, made once.
func (c *compiler) gone(n ast.Node, format string, args ...any) *Error {
	return &Error{Offset: c.at(n), Text: tidy(fmt.Sprintf(format, args...)), missing: true}
}

func (c *compiler) piece(n ast.Node) piece {
	if c.err != nil {
		return piece{}
	}
	if c.nodes++; c.nodes > maxNodes {
		return c.refuse(n, "an expression has at most %d parts: put some of this into a calc", maxNodes)
	}
	before := c.nodes
	p := c.part(n)
	p.steps = c.nodes - before + 1
	if p.name == "" {
		p.name = "this"
	}
	return p
}

func (c *compiler) part(n ast.Node) piece {
	switch n := n.(type) {
	case *ast.NilNode:
		gone := val{k: absent, x: c.gone(n, "the result is nil")}
		return piece{run: func(*frame) val { return gone }, name: "nil", isNil: true}
	case *ast.IntegerNode:
		return constant(num(float64(n.Value)), strconv.Itoa(n.Value))
	case *ast.FloatNode:
		if n.Value-n.Value != 0 {
			return c.refuse(n, "this number is too large")
		}
		return constant(num(n.Value), numberText(n.Value))
	case *ast.BoolNode:
		return constant(truth(n.Value), strconv.FormatBool(n.Value))
	case *ast.StringNode:
		return constant(str(n.Value), "the text in quotes")
	case *ast.IdentifierNode:
		return c.name(n)
	case *ast.MemberNode:
		return c.member(n)
	case *ast.ChainNode: // a?.b: missing goes through every . here
		return c.piece(n.Node)
	case *ast.SliceNode:
		return c.slice(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.choice(n)
	case *ast.VariableDeclaratorNode:
		return c.let(n)
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		if id, ok := n.Callee.(*ast.IdentifierNode); ok {
			return c.call(n, id.Value, n.Arguments)
		}
		return c.refuse(n.Callee, "%s is no function: they stand alone, as in round(value)", called(n.Callee))
	case *ast.ArrayNode:
		return c.array(n)
	case *ast.MapNode:
		return c.object(n)
	case *ast.PointerNode:
		return c.pointer(n)
	case *ast.PredicateNode:
		return c.refuse(n, "only a function such as filter takes this")
	case *ast.SequenceNode:
		return c.refuse(n.Nodes[1], "want one expression: ; stands only after let")
	case *ast.BytesNode:
		return c.refuse(n, `want text without the b before its quotes`)
	}
	return c.refuse(n, "this is not taken in an expression")
}

func constant(v val, name string) piece {
	return piece{run: func(*frame) val { return v }, t: v.k.Type(), name: name}
}

// wants refuses p, written as n, where its type is known and not t; who is what
// it is given to.
func (c *compiler) wants(n ast.Node, p piece, t Type, who string) {
	if c.err == nil && p.t != Any && p.t != t {
		c.refuse(n, "%s wants %s, %s is %s here", who, t.many(), p.name, p.t)
	}
}

// needs is run with what comes out of p made sure to be t. What is missing or
// failed is returned in its place.
func (c *compiler) needs(n ast.Node, p piece, t Type, who string) code {
	c.wants(n, p, t, who)
	k := kind(t) + failed
	run, offset, name := p.run, c.at(n), p.name
	return func(f *frame) val {
		v := run(f)
		if v.k == k || !v.k.usable() {
			return v
		}
		return misfit(who, t, name, v.k, offset)
	}
}

func misfit(who string, t Type, name string, got kind, offset int) val {
	return val{k: failed, x: &Error{Offset: offset, Text: fmt.Sprintf("%s wants %s, %s is %s here", who, t.many(), name, got.Type())}}
}

// called is n as a message names it. A computed key has no name: it may be a
// secret.
func called(n ast.Node) string { return calledTo(n, 8) }

func calledTo(n ast.Node, parts int) string {
	if parts == 0 {
		return "..."
	}
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value
	case *ast.PointerNode:
		return "#" + n.Name
	case *ast.ChainNode:
		return calledTo(n.Node, parts)
	case *ast.MemberNode:
		base := calledTo(n.Node, parts-1)
		switch key := n.Property.(type) {
		case *ast.StringNode:
			if plainKey(key.Value) {
				return base + "." + key.Value
			}
			return base + "[" + strconv.Quote(key.Value) + "]"
		case *ast.IntegerNode:
			return base + "[" + strconv.Itoa(key.Value) + "]"
		case *ast.UnaryNode:
			if i, ok := key.Node.(*ast.IntegerNode); ok && key.Operator == "-" {
				return base + "[-" + strconv.Itoa(i.Value) + "]"
			}
		}
		return base + "[...]"
	case *ast.CallNode:
		return calledTo(n.Callee, parts) + "(...)"
	case *ast.BuiltinNode:
		return n.Name + "(...)"
	}
	return "this"
}

func plainKey(s string) bool {
	for i, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= '0' && c <= '9' && i > 0) {
			return false
		}
	}
	return s != ""
}

func (c *compiler) name(n *ast.IdentifierNode) piece {
	name := n.Value
	for i, l := range c.lets {
		if l.name == name {
			return piece{run: func(f *frame) val { return f.vars[i] }, t: l.t, name: name}
		}
	}
	t, ok := c.scope.Names[name]
	if !ok {
		return c.unknown(n, name)
	}
	note(&c.refs.names, name)
	gone := c.gone(n, "%s is missing", name)
	return piece{t: t, name: name, run: func(f *frame) val {
		v, ok := f.env.Value(name)
		if !ok {
			return val{k: absent, x: gone}
		}
		return wrap(v, gone)
	}}
}

func (c *compiler) unknown(n ast.Node, name string) piece {
	of := slices.Sorted(maps.Keys(c.scope.Names))
	for _, l := range c.lets {
		of = append(of, l.name)
	}
	if near, ok := config.Nearest(name, of); ok {
		return c.refuse(n, "nothing is called %s here: did you mean %s?", name, near)
	}
	if isFunction(name) {
		return c.refuse(n, "%s is a function: want %s(...)", name, name)
	}
	switch lower := strings.ToLower(name); lower {
	case "on", "off", "yes", "no":
		return c.refuse(n, `nothing is called %s here: want true or false, or the text "%s" in quotes`, name, name)
	case "null", "none", "undefined":
		return c.refuse(n, "nothing is called %s here: no value is nil", name)
	case "true", "false":
		return c.refuse(n, "nothing is called %s here: want %s", name, lower)
	}
	return c.refuse(n, "nothing is called %s here; a text wants quotes round it", name)
}

func (c *compiler) member(n *ast.MemberNode) piece {
	name := called(n)
	gone := c.gone(n, "%s is missing", name)
	id, isName := n.Node.(*ast.IdentifierNode)
	key, isText := n.Property.(*ast.StringNode)
	if isName && isText && !slices.ContainsFunc(c.lets, func(l local) bool { return l.name == id.Value }) {
		if c.scope.Property != nil {
			if t, ok := c.scope.Property(id.Value, key.Value); ok {
				note(&c.refs.properties, id.Value+"."+key.Value)
				device, property := id.Value, key.Value
				return piece{t: t, name: name, run: func(f *frame) val {
					v, ok := f.env.Property(device, property)
					if !ok {
						return val{k: absent, x: gone}
					}
					return wrap(v, gone)
				}}
			}
		}
		if _, ok := c.scope.Names[id.Value]; !ok {
			if p := c.unknown(n, id.Value); !strings.Contains(c.err.Text, "did you mean") {
				c.err.Text = fmt.Sprintf("nothing is called %s here, nor a device with such a property", name)
				return p
			}
			return piece{}
		}
	}
	base, prop := c.piece(n.Node), c.piece(n.Property)
	if c.err != nil {
		return base
	}
	switch base.t {
	case Number, Boolean, Text:
		return c.refuse(n.Node, "%s is %s and has nothing in it", base.name, base.t)
	case List:
		c.wants(n.Property, prop, Number, "a list")
	case Map:
		c.wants(n.Property, prop, Text, "a map")
	}
	if prop.t != Any && prop.t != Number && prop.t != Text {
		return c.refuse(n.Property, "want a number or a key in quotes between [ and ], %s is %s here", prop.name, prop.t)
	}
	in, of, offset := prop.run, base.run, c.at(n)
	return piece{name: name, run: func(f *frame) val {
		from := of(f)
		if !from.k.usable() {
			return from
		}
		key := in(f)
		if !key.k.usable() {
			return key
		}
		return f.look(from, key, gone).at(offset)
	}}
}

// look is what from has at key: the place of a list, from 0 or from -1 at the
// end, or a key of a map. All else has nothing there: a message may be text
// today that was JSON yesterday.
func (f *frame) look(from, key val, gone *Error) val {
	switch {
	case from.k == object && key.k == text:
		if f.burn(len(key.text()) / 16) {
			return tired()
		}
		return wrap(from.keys()[key.text()], gone)
	case from.k == list && key.k == number:
		l, i := from.list(), key.f
		if i < 0 {
			i += float64(len(l))
		}
		if i >= 0 && i < float64(len(l)) && i == math.Trunc(i) {
			return wrap(l[int(i)], gone)
		}
	}
	return val{k: absent, x: gone}
}

func (c *compiler) slice(n *ast.SliceNode) piece {
	base := c.piece(n.Node)
	end := func(n ast.Node) code {
		if n == nil {
			return nil
		}
		return c.needs(n, c.piece(n), Number, "[ : ]")
	}
	first, last := end(n.From), end(n.To)
	if c.err == nil && base.t != Any && base.t != List && base.t != Text {
		return c.refuse(n.Node, "[ : ] wants a list or text, %s is %s here", base.name, base.t)
	}
	offset := c.at(n)
	return piece{t: base.t, name: base.name, run: func(f *frame) val {
		v := base.run(f)
		if !v.k.usable() {
			return v
		}
		var runes []rune
		size := 0
		switch v.k {
		case list:
			size = len(v.list())
		case text:
			if f.burn(len(v.text()) / 4) {
				return tired().at(offset)
			}
			runes = []rune(v.text())
			size = len(runes)
		default:
			return misfit("[ : ]", List, base.name, v.k, offset)
		}
		from, to := 0, size
		for _, e := range []struct {
			run code
			i   *int
		}{{first, &from}, {last, &to}} {
			if e.run == nil {
				continue
			}
			i := e.run(f)
			if !i.k.usable() {
				return i
			}
			if i.f < 0 {
				i.f += float64(size)
			}
			*e.i = int(max(0, min(float64(size), i.f)))
		}
		from = min(from, to)
		if v.k == list {
			return listOf(v.list()[from:to:to])
		}
		return str(string(runes[from:to]))
	}}
}

func (c *compiler) unary(n *ast.UnaryNode) piece {
	p := c.piece(n.Node)
	switch n.Operator {
	case "-", "+":
		run := c.needs(n.Node, p, Number, n.Operator)
		if n.Operator == "+" {
			return piece{run: run, t: Number}
		}
		return piece{t: Number, run: func(f *frame) val {
			v := run(f)
			if v.k == number {
				v.f = -v.f
			}
			return v
		}}
	}
	if c.err == nil && p.t == Number { // not value == 5 is (not value) == 5
		return c.refuse(n, "not wants true or false, %s is a number here: want brackets, as in not (value > 5)", p.name)
	}
	run := c.needs(n.Node, p, Boolean, "not")
	return piece{t: Boolean, run: func(f *frame) val {
		v := run(f)
		if v.k == boolean {
			v.f = 1 - v.f
		}
		return v
	}}
}

func (c *compiler) binary(n *ast.BinaryNode) piece {
	op := n.Operator
	a, b := c.piece(n.Left), c.piece(n.Right)
	if c.err != nil {
		return a
	}
	switch op {
	case "and", "&&", "or", "||":
		return c.both(n, a, b)
	case "??":
		return c.instead(a, b)
	case "==", "!=":
		return c.equal(n, a, b)
	case "<", ">", "<=", ">=":
		return c.order(n, a, b)
	case "+":
		return c.plus(n, a, b)
	case "-", "*", "/", "%", "**", "^":
		x, y := c.needs(n.Left, a, Number, op), c.needs(n.Right, b, Number, op)
		return piece{t: Number, run: arithmetic(op, x, y, c.gone(n, "%s", map[string]string{
			"/": "a division by zero", "%": "a division by zero"}[op]), c.gone(n, "the result of %s is not finite", op))}
	case "in":
		return c.in(n, a, b)
	case "contains", "startsWith", "endsWith":
		test := map[string]func(s, sub string) bool{"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix}[op]
		if a.t == List && op == "contains" {
			return c.refuse(n, `contains looks into text: for a list want "x" in list`)
		}
		x, y := c.needs(n.Left, a, Text, op), c.needs(n.Right, b, Text, op)
		return piece{t: Boolean, run: func(f *frame) val {
			s, sub := x(f), val{}
			if !s.k.usable() {
				return s
			}
			if sub = y(f); !sub.k.usable() {
				return sub
			}
			if f.burn(len(s.text()) / 16) {
				return tired().at(c.at(n))
			}
			return truth(test(s.text(), sub.text()))
		}}
	case "matches":
		return c.matches(n, a)
	case "..":
		return c.refuse(n, "a..b makes lists that are not needed here: want clamp or two comparisons")
	}
	return c.refuse(n, "%s is not taken here", op)
}

func arithmetic(op string, x, y code, zero, infinite *Error) code {
	// Nothing is looked up while it runs: this is most of what is ever computed.
	calc := func(do func(a, b float64) float64, gone *Error) code {
		return func(f *frame) val {
			a := x(f)
			if a.k != number {
				return a
			}
			b := y(f)
			if b.k != number {
				return b
			}
			a.f = do(a.f, b.f)
			switch {
			case a.f-a.f == 0:
				return a
			case b.f == 0:
				return val{k: absent, x: gone}
			}
			return val{k: absent, x: infinite}
		}
	}
	switch op {
	case "-":
		return calc(func(a, b float64) float64 { return a - b }, infinite)
	case "*":
		return calc(func(a, b float64) float64 { return a * b }, infinite)
	case "/":
		return calc(func(a, b float64) float64 { return a / b }, zero)
	case "%":
		return calc(math.Mod, zero)
	}
	return calc(math.Pow, infinite)
}

func (c *compiler) plus(n *ast.BinaryNode, a, b piece) piece {
	t := a.t
	if t == Any {
		t = b.t
	}
	switch {
	case t == Any:
	case t != Number && t != Text:
		return c.refuse(n, "+ wants numbers or texts, %s is %s here", a.name, t)
	case b.t != Any && b.t != t:
		return c.refuse(n, "+ adds numbers or joins texts, but %s is %s and %s is %s here: want string(...) round the number", a.name, a.t, b.name, b.t)
	}
	x, y, offset, infinite := a.run, b.run, c.at(n), c.gone(n, "the result of + is not finite")
	return piece{t: t, run: func(f *frame) val {
		a := x(f)
		if !a.k.usable() {
			return a
		}
		b := y(f)
		switch {
		case a.k == number && b.k == number:
			if a.f += b.f; a.f-a.f != 0 {
				return val{k: absent, x: infinite}
			}
			return a
		case !b.k.usable():
			return b
		case a.k == text && b.k == text:
			if f.burn((len(a.text()) + len(b.text())) / 16) {
				return tired().at(offset)
			}
			return f.made(a.text() + b.text()).at(offset)
		}
		return val{k: failed, x: &Error{Offset: offset, Text: fmt.Sprintf("+ adds numbers or joins texts, not %s and %s", a.k.Type(), b.k.Type())}}
	}}
}

func (c *compiler) both(n *ast.BinaryNode, a, b piece) piece {
	word := map[string]string{"&&": "and", "||": "or"}[n.Operator]
	if word == "" {
		word = n.Operator
	}
	x, y := c.needs(n.Left, a, Boolean, word), c.needs(n.Right, b, Boolean, word)
	end := 0.0 // what decides without the second
	if word == "or" {
		end = 1
	}
	return piece{t: Boolean, run: func(f *frame) val {
		if v := x(f); v.k != boolean || v.f == end {
			return v
		}
		return y(f)
	}}
}

func (c *compiler) instead(a, b piece) piece {
	t := b.t
	if a.t != b.t && !a.isNil {
		t = Any
	}
	x, y := a.run, b.run
	return piece{t: t, name: a.name, run: func(f *frame) val {
		if v := x(f); v.k != absent {
			return v
		}
		return y(f)
	}}
}

func (c *compiler) equal(n *ast.BinaryNode, a, b piece) piece {
	not := n.Operator == "!="
	if a.isNil || b.isNil { // a question whether there is one
		x := a.run
		if a.isNil {
			x = b.run
		}
		return piece{t: Boolean, run: func(f *frame) val {
			v := x(f)
			if v.k == failed {
				return v
			}
			return truth((v.k == absent) != not)
		}}
	}
	word := a.word || b.word
	if a.t != Any && b.t != Any && a.t != b.t && !(word && (a.t == Number || b.t == Number)) {
		return c.refuse(n, "%s is %s and %s is %s here, so they are never equal", a.name, a.t, b.name, b.t)
	}
	x, y, offset := a.run, b.run, c.at(n)
	return piece{t: Boolean, run: func(f *frame) val {
		a := x(f)
		if !a.k.usable() {
			return a
		}
		b := y(f)
		if !b.k.usable() {
			return b
		}
		if word && (a.k == number) != (b.k == number) {
			// A code of digits in JSON may be a number. Nobody writes a secret as one.
			a, b = asText(a), asText(b)
		}
		same := f.equal(a, b)
		if f.fuel < 0 {
			return tired().at(offset)
		}
		return truth(same != not)
	}}
}

func asText(v val) val {
	if v.k == number {
		return str(numberText(v.f))
	}
	return v
}

// equal compares as JSON would be compared: 1 is 1.0, and "1" is not 1.
func (f *frame) equal(a, b val) bool {
	if a.k != b.k || f.burn(1) {
		return false
	}
	switch a.k {
	case number, boolean:
		return a.f == b.f
	case text:
		return !f.burn(min(len(a.text()), len(b.text()))/16) && a.text() == b.text()
	case list:
		x, y := a.list(), b.list()
		return slices.EqualFunc(x, y, f.equalAny)
	case object:
		return maps.EqualFunc(a.keys(), b.keys(), f.equalAny)
	}
	return true // null and null
}

func (f *frame) equalAny(a, b any) bool {
	return f.equal(wrap(a, nil0), wrap(b, nil0))
}

var nil0 = &Error{Text: "null", missing: true}

func (c *compiler) order(n *ast.BinaryNode, a, b piece) piece {
	op := n.Operator
	for _, p := range []piece{a, b} {
		if p.t != Any && p.t != Number && p.t != Text {
			return c.refuse(n, "%s wants numbers, %s is %s here", op, p.name, p.t)
		}
	}
	if a.t != Any && b.t != Any && a.t != b.t {
		return c.refuse(n, "%s compares numbers or texts, but %s is %s and %s is %s here", op, a.name, a.t, b.name, b.t)
	}
	test := map[string]func(int) bool{
		"<": func(o int) bool { return o < 0 }, "<=": func(o int) bool { return o <= 0 },
		">": func(o int) bool { return o > 0 }, ">=": func(o int) bool { return o >= 0 },
	}[op]
	x, y, offset := a.run, b.run, c.at(n)
	return piece{t: Boolean, run: func(f *frame) val {
		a := x(f)
		if !a.k.usable() {
			return a
		}
		b := y(f)
		switch {
		case a.k == number && b.k == number:
			o := 0
			if a.f < b.f {
				o = -1
			} else if a.f > b.f {
				o = 1
			}
			return truth(test(o))
		case !b.k.usable():
			return b
		case a.k == text && b.k == text:
			if f.burn(min(len(a.text()), len(b.text())) / 16) {
				return tired().at(offset)
			}
			return truth(test(strings.Compare(a.text(), b.text())))
		}
		return val{k: failed, x: &Error{Offset: offset, Text: fmt.Sprintf("%s compares numbers or texts, not %s and %s", op, a.k.Type(), b.k.Type())}}
	}}
}

func (c *compiler) in(n *ast.BinaryNode, a, b piece) piece {
	switch b.t {
	case Text:
		return c.refuse(n, `in looks into lists and maps: for text want text contains "x"`)
	case Number, Boolean:
		return c.refuse(n, "in looks into lists and maps, %s is %s here", b.name, b.t)
	}
	x, y, offset := a.run, b.run, c.at(n)
	return piece{t: Boolean, run: func(f *frame) val {
		what := x(f)
		if !what.k.usable() {
			return what
		}
		where := y(f)
		switch where.k {
		case absent, failed:
			return where
		case list:
			for _, e := range where.list() {
				if f.equal(what, wrap(e, nil0)) {
					return truth(true)
				}
				if f.burn(1) {
					return tired().at(offset)
				}
			}
			return truth(false)
		case object:
			if what.k != text {
				return truth(false)
			}
			if f.burn(len(what.text()) / 16) {
				return tired().at(offset)
			}
			_, ok := where.keys()[what.text()]
			return truth(ok)
		}
		return misfit("in", List, b.name, where.k, offset)
	}}
}

// maxPattern bounds the program that a pattern becomes; it is run over every
// byte of a text.
const maxPattern = 1000

func (c *compiler) matches(n *ast.BinaryNode, a piece) piece {
	pattern, ok := n.Right.(*ast.StringNode)
	if !ok {
		return c.refuse(n.Right, "matches wants its pattern as text in quotes")
	}
	tree, err := syntax.Parse(pattern.Value, syntax.Perl)
	if err != nil {
		return c.refuse(n.Right, "this is no pattern: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil || len(prog.Inst) > maxPattern {
		return c.refuse(n.Right, "this pattern is too large")
	}
	re, err := regexp.Compile(pattern.Value)
	if err != nil {
		return c.refuse(n.Right, "this pattern is too large")
	}
	run, offset, size := c.needs(n.Left, a, Text, "matches"), c.at(n), len(prog.Inst)
	return piece{t: Boolean, run: func(f *frame) val {
		v := run(f)
		if v.k != text {
			return v
		}
		if s := v.text(); !f.burn((len(s) + 1) * size / 2) {
			return truth(re.MatchString(s))
		}
		return tired().at(offset)
	}}
}

func (c *compiler) choice(n *ast.ConditionalNode) piece {
	cond := c.piece(n.Cond)
	a, b := c.piece(n.Exp1), c.piece(n.Exp2)
	if c.err != nil {
		return cond
	}
	run := c.needs(n.Cond, cond, Boolean, "?")
	t := a.t
	switch {
	case a.isNil:
		t = b.t
	case !b.isNil && a.t != b.t:
		t = Any
	}
	x, y := a.run, b.run
	return piece{t: t, run: func(f *frame) val {
		switch v := run(f); {
		case v.k != boolean:
			return v
		case v.yes():
			return x(f)
		}
		return y(f)
	}}
}

func (c *compiler) let(n *ast.VariableDeclaratorNode) piece {
	_, taken := c.scope.Names[n.Name]
	if taken || Reserved(n.Name) || slices.ContainsFunc(c.lets, func(l local) bool { return l.name == n.Name }) {
		return c.refuse(n, "%s is the name of something else already", n.Name)
	}
	v := c.piece(n.Value)
	i := len(c.lets)
	c.lets = append(c.lets, local{n.Name, v.t})
	c.slots = max(c.slots, len(c.lets))
	p := c.piece(n.Expr)
	c.lets = c.lets[:i]
	x, y := v.run, p.run
	return piece{t: p.t, run: func(f *frame) val {
		f.vars[i] = x(f)
		return y(f)
	}}
}

func (c *compiler) array(n *ast.ArrayNode) piece {
	runs := make([]code, len(n.Nodes))
	for i, e := range n.Nodes {
		runs[i] = c.piece(e).run
	}
	return piece{t: List, name: "the list", run: func(f *frame) val {
		l := make([]any, len(runs))
		for i, run := range runs {
			v := run(f)
			if !v.k.usable() {
				return v
			}
			l[i] = v.plain()
		}
		return listOf(l)
	}}
}

func (c *compiler) object(n *ast.MapNode) piece {
	type pair struct{ key, value code }
	var pairs []pair
	for _, e := range n.Pairs {
		e := e.(*ast.PairNode)
		key := c.needs(e.Key, c.piece(e.Key), Text, "a key")
		pairs = append(pairs, pair{key, c.piece(e.Value).run})
	}
	return piece{t: Map, name: "the map", run: func(f *frame) val {
		m := make(map[string]any, len(pairs))
		for _, p := range pairs {
			key := p.key(f)
			if !key.k.usable() {
				return key
			}
			v := p.value(f)
			if !v.k.usable() {
				return v
			}
			m[key.text()] = v.plain()
		}
		return val{k: object, x: m}
	}}
}

func (c *compiler) pointer(n *ast.PointerNode) piece {
	if c.loops == 0 {
		return c.refuse(n, "# is the element of a list within filter, map, any and the like")
	}
	switch n.Name {
	case "":
		return piece{name: "#", run: func(f *frame) val { return f.item }}
	case "index":
		return piece{name: "#index", t: Number, run: func(f *frame) val { return num(float64(f.index)) }}
	case "acc":
		if c.accs[len(c.accs)-1] {
			return piece{name: "#acc", run: func(f *frame) val { return f.acc }}
		}
		return c.refuse(n, "#acc is known only within reduce")
	}
	return c.refuse(n, "want # for the element or #index for its number, not #%s", n.Name)
}
