package formula

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"

	"hearth/config"
)

// A function is one that takes values. Those that take code, with # in it, are
// the loops below; state, age and secret are read by call itself.
type function struct {
	usage string // as a message shows it
	args  []Type // of each argument
	min   int    // how many there must be; 0 for all
	rest  bool   // the last may come any number of times
	gives Type
	do    any // func(*frame, val...) val, with one to three or any number of values; one not given is the zero val
}

// What expr-lang has that reads a clock or a time zone, and what to take
// instead.
var removed = map[string]string{
	"now":      noClock,
	"date":     noClock,
	"duration": `want seconds as a number, as age("source") gives them`,
	"timezone": noClock,
}

const noClock = `an expression reads no clock: age("source") is how many seconds ago something reported, and times of day are the keys time, days and sun`

// The functions that are called with a literal, and so are checked at load.
var special = map[string]string{
	"state":  `state("a/b:x") or state("a/b:x", default)`,
	"age":    `age("a/b:x")`,
	"secret": `secret("name")`,
}

func isFunction(name string) bool {
	return functions[name] != nil || loops[name] != nil || special[name] != ""
}

func (c *compiler) call(n ast.Node, name string, args []ast.Node) piece {
	if special[name] != "" {
		return c.special(n, name, args)
	}
	if l := loops[name]; l != nil && (len(args) > 1 || functions[name] == nil) {
		return c.loop(n, name, l, args)
	}
	fn := functions[name]
	if fn == nil {
		return c.noFunction(n, name)
	}
	atLeast := fn.min
	if atLeast == 0 {
		atLeast = len(fn.args)
	}
	if len(args) < atLeast || len(args) > len(fn.args) && !fn.rest {
		return c.refuse(n, "want %s", fn.usage)
	}
	runs := make([]code, max(3, len(args)))
	for i := range runs {
		runs[i] = func(*frame) val { return val{} }
	}
	for i, a := range args {
		p := c.piece(a)
		t := fn.args[min(i, len(fn.args)-1)]
		if t == Any {
			runs[i] = p.run
			continue
		}
		runs[i] = c.needs(a, p, t, name)
	}
	if c.err != nil {
		return piece{}
	}
	// An argument that is missing or failed is the result, so the functions
	// themselves see only those that can be used, and the zero val.
	out := piece{t: fn.gives, name: name + "(...)"}
	offset, given := c.at(n), len(args)
	x, y, z := runs[0], runs[1], runs[2]
	switch do := fn.do.(type) {
	case func(*frame, val) val:
		out.run = func(f *frame) val {
			a := x(f)
			if !a.k.usable() {
				return a
			}
			if a = do(f, a); !a.k.usable() {
				return a.at(offset)
			}
			return a
		}
	case func(*frame, val, val) val:
		out.run = func(f *frame) val {
			a := x(f)
			if !a.k.usable() {
				return a
			}
			b := y(f)
			if !b.k.usable() && given > 1 {
				return b
			}
			if a = do(f, a, b); !a.k.usable() {
				return a.at(offset)
			}
			return a
		}
	case func(*frame, val, val, val) val:
		out.run = func(f *frame) val {
			a := x(f)
			if !a.k.usable() {
				return a
			}
			b := y(f)
			if !b.k.usable() && given > 1 {
				return b
			}
			d := z(f)
			if !d.k.usable() && given > 2 {
				return d
			}
			if a = do(f, a, b, d); !a.k.usable() {
				return a.at(offset)
			}
			return a
		}
	case func(*frame, []val) val:
		runs = runs[:given]
		out.run = func(f *frame) val {
			args := make([]val, len(runs))
			for i, run := range runs {
				if args[i] = run(f); !args[i].k.usable() {
					return args[i]
				}
			}
			v := do(f, args)
			if !v.k.usable() {
				return v.at(offset)
			}
			return v
		}
	}
	return out
}

func (c *compiler) noFunction(n ast.Node, name string) piece {
	if why := removed[name]; why != "" {
		return c.refuse(n, "there is no %s(): %s", name, why)
	}
	if _, ok := c.scope.Names[name]; ok {
		return c.refuse(n, "%s is no function: want an operator such as * before the bracket", name)
	}
	of := slices.Concat(slices.Collect(maps.Keys(functions)), slices.Collect(maps.Keys(loops)), slices.Collect(maps.Keys(special)))
	slices.Sort(of)
	if near, ok := config.Nearest(name, of); ok {
		return c.refuse(n, "there is no function %s: did you mean %s?", name, near)
	}
	return c.refuse(n, "there is no function %s: want one such as mean, sum, min, max, round, clamp, len or join", name)
}

func (c *compiler) special(n ast.Node, name string, args []ast.Node) piece {
	usage, atMost := special[name], 1
	if name == "state" {
		atMost = 2
	}
	if len(args) < 1 || len(args) > atMost {
		return c.refuse(n, "want %s", usage)
	}
	arg, ok := args[0].(*ast.StringNode)
	if !ok {
		return c.refuse(args[0], "want text in quotes here, as in %s", usage)
	}
	if name == "secret" {
		if c.scope.Secret != nil && !c.scope.Secret(arg.Value) {
			return c.refuse(arg, "there is no secret %q", arg.Value)
		}
		note(&c.refs.secrets, arg.Value)
		gone := c.gone(n, "secret(%q) is missing", arg.Value)
		return piece{t: Text, name: "secret(...)", word: true, run: func(f *frame) val {
			if s, ok := f.env.Secret(arg.Value); ok {
				return str(s)
			}
			return val{k: absent, x: gone}
		}}
	}
	source := arg.Value
	if c.scope.Source != nil {
		canonical, err := c.scope.Source(source)
		if err != nil {
			return c.refuse(arg, "%v", err)
		}
		source = canonical
	}
	note(&c.refs.sources, source)
	gone := c.gone(n, "%s(%q) is missing", name, arg.Value)
	if name == "age" {
		return piece{t: Number, name: "age(...)", run: func(f *frame) val {
			if s, ok := f.env.Age(source); ok {
				return wrap(s, gone)
			}
			return val{k: absent, x: gone}
		}}
	}
	p := piece{name: "state(...)", run: func(f *frame) val {
		if v, ok := f.env.State(source); ok {
			return wrap(v, gone)
		}
		return val{k: absent, x: gone}
	}}
	if len(args) == 2 {
		return c.instead(p, c.piece(args[1]))
	}
	return p
}

// A loop computes code for each element of a list: filter(readings, # > 20).
type loop struct {
	body  Type
	gives Type
	step  func(w *walk, e any, v val) (done bool)
	end   func(w *walk) val
	keeps bool // something of every element
}

// A walk is a loop on its way.
type walk struct {
	f     *frame
	list  []any
	n     int // elements looked at
	out   []any
	sum   float64
	found val
	keys  []val
	back  bool // from the end
}

var loops = map[string]*loop{
	"all":    {Boolean, Boolean, func(w *walk, _ any, v val) bool { return w.is(!v.yes()) }, func(w *walk) val { return truth(!w.found.yes()) }, false},
	"any":    {Boolean, Boolean, func(w *walk, _ any, v val) bool { return w.is(v.yes()) }, func(w *walk) val { return w.found }, false},
	"none":   {Boolean, Boolean, func(w *walk, _ any, v val) bool { return w.is(v.yes()) }, func(w *walk) val { return truth(!w.found.yes()) }, false},
	"one":    {Boolean, Boolean, addTrue, func(w *walk) val { return truth(w.sum == 1) }, false},
	"count":  {Boolean, Number, addTrue, func(w *walk) val { return num(w.sum) }, false},
	"filter": {Boolean, List, keepTrue, func(w *walk) val { return listOf(w.out) }, false},
	"map":    {Any, List, func(w *walk, _ any, v val) bool { w.out = append(w.out, v.plain()); return false }, func(w *walk) val { return listOf(w.out) }, true},
	"sum":    {Number, Number, func(w *walk, _ any, v val) bool { w.sum += v.f; return false }, func(w *walk) val { return finite(w.sum, "sum") }, false},
	"find":   {Boolean, Any, findTrue, found, false}, "findLast": {Boolean, Any, findTrue, found, false},
	"findIndex": {Boolean, Number, findTrue, foundAt, false}, "findLastIndex": {Boolean, Number, findTrue, foundAt, false},
	"groupBy": {Any, Map, group, func(w *walk) val { return groups(w) }, true},
	"sortBy":  {Any, List, group, nil, true}, // its end knows the order
	"reduce":  {Any, Any, func(w *walk, _ any, v val) bool { w.f.acc = v; return false }, func(w *walk) val { return w.f.acc }, false},
}

func (w *walk) is(b bool) bool { w.found = truth(b); return b }

func addTrue(w *walk, _ any, v val) bool { w.sum += v.f; return false }

func keepTrue(w *walk, e any, v val) bool {
	if v.yes() {
		w.out = append(w.out, e)
	}
	return false
}

func findTrue(w *walk, e any, v val) bool {
	if v.yes() {
		w.out = append(w.out, e)
	}
	return v.yes()
}

func found(w *walk) val {
	if len(w.out) == 0 {
		return nothing("no element fits")
	}
	return wrap(w.out[0], nil0)
}

func foundAt(w *walk) val {
	switch {
	case len(w.out) == 0:
		return nothing("no element fits")
	case w.back:
		return num(float64(len(w.list) - w.n))
	}
	return num(float64(w.n - 1))
}

func group(w *walk, e any, v val) bool {
	w.out, w.keys = append(w.out, e), append(w.keys, v)
	return false
}

func groups(w *walk) val {
	m := make(map[string]any)
	for i, key := range w.keys {
		k, bad := w.f.print(key.plain(), -1)
		if bad.x != nil {
			return bad
		}
		l, _ := m[k].([]any)
		m[k] = append(l, w.out[i])
	}
	return val{k: object, x: m}
}

func (c *compiler) loop(n ast.Node, name string, l *loop, args []ast.Node) piece {
	if len(args) < 2 {
		return c.refuse(n, "want %s(list, ...) with # for the element", name)
	}
	over := c.needs(args[0], c.piece(args[0]), List, name)
	body, ok := args[1].(*ast.PredicateNode)
	if !ok {
		return c.refuse(n, "want %s(list, ...) with # for the element", name)
	}
	c.loops++
	c.accs = append(c.accs, name == "reduce")
	in := c.piece(body.Node)
	c.loops--
	c.accs = c.accs[:len(c.accs)-1]
	each := in.run
	if l.body != Any {
		each = c.needs(body.Node, in, l.body, name)
	}
	var third code
	if len(args) > 2 {
		p := c.piece(args[2])
		if third = p.run; name == "sortBy" {
			third = c.needs(args[2], p, Text, name)
		}
	}
	if c.err != nil {
		return piece{}
	}
	// A step at least for each name, number and operator in it.
	steps := in.steps + 1
	if l.keeps {
		steps += 4
	}
	offset, last := c.at(n), strings.HasPrefix(name, "findLast")
	gone := c.gone(n, "an element of the list of %s is null", name)
	gives := l.gives
	return piece{t: gives, name: name + "(...)", run: func(f *frame) val {
		v := over(f)
		if v.k != list {
			return v
		}
		w := walk{f: f, list: v.list(), back: last, found: val{k: boolean}}
		item, index, acc := f.item, f.index, f.acc
		defer func() { f.item, f.index, f.acc = item, index, acc }()
		first, order := 0, val{}
		if third != nil {
			if order = third(f); !order.k.usable() {
				return order
			}
		}
		if name == "reduce" {
			switch {
			case third != nil:
				f.acc = order
			case len(w.list) == 0:
				return nothing("reduce of an empty list").at(offset)
			default:
				first, f.acc = 1, wrap(w.list[0], gone)
			}
		}
		for i := first; i < len(w.list); i++ {
			if f.burn(steps) {
				return tired().at(offset)
			}
			if f.index = i; last {
				f.index = len(w.list) - 1 - i
			}
			e := w.list[f.index]
			f.item = wrap(e, gone)
			w.n++
			v := each(f)
			if !v.k.usable() {
				return v
			}
			if l.step(&w, e, v) {
				break
			}
		}
		if name == "sortBy" {
			return sorted(f, w.out, w.keys, order, "sortBy").at(offset)
		}
		return l.end(&w).at(offset)
	}}
}

func finite(x float64, name string) val {
	if x-x != 0 {
		return nothing("the result of %s is not finite", name)
	}
	return num(x)
}

var functions = map[string]*function{
	"abs":    {usage: "abs(x)", args: []Type{Number}, gives: Number, do: func(_ *frame, x val) val { return num(math.Abs(x.f)) }},
	"ceil":   {usage: "ceil(x)", args: []Type{Number}, gives: Number, do: func(_ *frame, x val) val { return num(math.Ceil(x.f)) }},
	"floor":  {usage: "floor(x)", args: []Type{Number}, gives: Number, do: func(_ *frame, x val) val { return num(math.Floor(x.f)) }},
	"round":  {usage: "round(x) or round(x, digits)", args: []Type{Number, Number}, min: 1, gives: Number, do: round},
	"clamp":  {usage: "clamp(x, lowest, highest)", args: []Type{Number, Number, Number}, gives: Number, do: clamp},
	"int":    {usage: "int(x)", args: []Type{Any}, gives: Number, do: func(f *frame, x val) val { return toNumber(x, math.Trunc) }},
	"float":  {usage: "float(x)", args: []Type{Any}, gives: Number, do: func(f *frame, x val) val { return toNumber(x, nil) }},
	"number": {usage: "number(x)", args: []Type{Any}, gives: Number, do: func(f *frame, x val) val { return toNumber(x, nil) }},

	"max": {usage: "max(a, b) or max(list)", args: []Type{Any}, rest: true, gives: Number, do: func(f *frame, args []val) val {
		return fold(f, "max", args, math.Max)
	}},
	"min": {usage: "min(a, b) or min(list)", args: []Type{Any}, rest: true, gives: Number, do: func(f *frame, args []val) val {
		return fold(f, "min", args, math.Min)
	}},
	"sum":    {usage: "sum(list) or sum(list, # * 2)", args: []Type{List}, gives: Number, do: func(f *frame, l val) val { return sum(f, "sum", l) }},
	"mean":   {usage: "mean(list)", args: []Type{Any}, rest: true, gives: Number, do: mean},
	"median": {usage: "median(list)", args: []Type{Any}, rest: true, gives: Number, do: median},
	"count": {usage: "count(list) or count(list, # > 2)", args: []Type{List}, gives: Number, do: func(f *frame, l val) val {
		n := 0
		for _, e := range l.list() {
			if e == true {
				n++
			}
		}
		if f.burn(len(l.list())) {
			return tired()
		}
		return num(float64(n))
	}},

	"len": {usage: "len(x)", args: []Type{Any}, gives: Number, do: size},
	"type": {usage: "type(x)", args: []Type{Any}, gives: Text, do: func(_ *frame, x val) val {
		return str([]string{"number", "boolean", "text", "list", "map"}[x.k.Type()-1])
	}},
	"string": {usage: "string(x)", args: []Type{Any}, gives: Text, do: toText},
	"toJSON": {usage: "toJSON(x)", args: []Type{Any}, gives: Text, do: func(f *frame, x val) val { return f.json(x.plain()) }},
	"fromJSON": {usage: "fromJSON(text)", args: []Type{Text}, do: func(f *frame, s val) val {
		var v any
		if f.burn(len(s.text())) {
			return tired()
		}
		if json.Unmarshal([]byte(s.text()), &v) != nil {
			return nothing("the text given to fromJSON is no JSON")
		}
		return wrap(v, &Error{Offset: -1, Text: "the JSON given to fromJSON is null", missing: true})
	}},

	"trim":       {usage: `trim(text) or trim(text, "xyz")`, args: []Type{Text, Text}, min: 1, gives: Text, do: trim},
	"trimPrefix": {usage: "trimPrefix(text, prefix)", args: []Type{Text, Text}, gives: Text, do: func(f *frame, s, p val) val { return f.made(strings.TrimPrefix(s.text(), p.text())) }},
	"trimSuffix": {usage: "trimSuffix(text, suffix)", args: []Type{Text, Text}, gives: Text, do: func(f *frame, s, p val) val { return f.made(strings.TrimSuffix(s.text(), p.text())) }},
	"upper":      {usage: "upper(text)", args: []Type{Text}, gives: Text, do: func(f *frame, s val) val { return f.letters(s, strings.ToUpper) }},
	"lower":      {usage: "lower(text)", args: []Type{Text}, gives: Text, do: func(f *frame, s val) val { return f.letters(s, strings.ToLower) }},
	"hasPrefix":  {usage: "hasPrefix(text, prefix)", args: []Type{Text, Text}, gives: Boolean, do: func(_ *frame, s, p val) val { return truth(strings.HasPrefix(s.text(), p.text())) }},
	"hasSuffix":  {usage: "hasSuffix(text, suffix)", args: []Type{Text, Text}, gives: Boolean, do: func(_ *frame, s, p val) val { return truth(strings.HasSuffix(s.text(), p.text())) }},
	"indexOf":    {usage: "indexOf(text, part)", args: []Type{Text, Text}, gives: Number, do: func(f *frame, s, p val) val { return f.place(s, p, strings.Index) }},
	"lastIndexOf": {usage: "lastIndexOf(text, part)", args: []Type{Text, Text}, gives: Number, do: func(f *frame, s, p val) val {
		return f.place(s, p, strings.LastIndex)
	}},
	"split":   {usage: `split(text, ",")`, args: []Type{Text, Text}, gives: List, do: split},
	"replace": {usage: "replace(text, old, new)", args: []Type{Text, Text, Text}, gives: Text, do: replace},
	"repeat":  {usage: "repeat(text, times)", args: []Type{Text, Number}, gives: Text, do: repeat},
	"join":    {usage: `join(list) or join(list, ", ")`, args: []Type{List, Text}, min: 1, gives: Text, do: join},

	"first": {usage: "first(list)", args: []Type{List}, do: func(f *frame, l val) val {
		return f.look(l, num(0), &Error{Offset: -1, Text: "the list has no first element", missing: true})
	}},
	"last": {usage: "last(list)", args: []Type{List}, do: func(f *frame, l val) val {
		return f.look(l, num(-1), &Error{Offset: -1, Text: "the list has no last element", missing: true})
	}},
	"get": {usage: "get(map, key) or get(list, number)", args: []Type{Any, Any}, do: func(f *frame, x, key val) val {
		return f.look(x, key, &Error{Offset: -1, Text: "get(...) finds nothing", missing: true})
	}},
	"take": {usage: "take(list, number)", args: []Type{List, Number}, gives: List, do: func(_ *frame, l, n val) val {
		k := int(max(0, min(n.f, float64(len(l.list())))))
		return listOf(l.list()[:k:k])
	}},
	"keys":      {usage: "keys(map)", args: []Type{Map}, gives: List, do: func(f *frame, m val) val { return f.inOrder(m, func(k string, _ any) any { return k }) }},
	"values":    {usage: "values(map)", args: []Type{Map}, gives: List, do: func(f *frame, m val) val { return f.inOrder(m, func(_ string, v any) any { return v }) }},
	"toPairs":   {usage: "toPairs(map)", args: []Type{Map}, gives: List, do: func(f *frame, m val) val { return f.inOrder(m, func(k string, v any) any { return []any{k, v} }) }},
	"fromPairs": {usage: "fromPairs([[key, value], ...])", args: []Type{List}, gives: Map, do: fromPairs},
	"reverse": {usage: "reverse(list)", args: []Type{List}, gives: List, do: func(f *frame, l val) val {
		if f.burn(len(l.list())) {
			return tired()
		}
		out := slices.Clone(l.list())
		slices.Reverse(out)
		return listOf(out)
	}},
	"uniq":    {usage: "uniq(list)", args: []Type{List}, gives: List, do: uniq},
	"concat":  {usage: "concat(list, list)", args: []Type{List}, rest: true, gives: List, do: concat},
	"flatten": {usage: "flatten(list)", args: []Type{List}, gives: List, do: func(f *frame, l val) val { return flatten(f, l) }},
	"sort": {usage: `sort(list) or sort(list, "desc")`, args: []Type{List, Text}, min: 1, gives: List, do: func(f *frame, l, order val) val {
		if f.burn(4 * len(l.list())) {
			return tired()
		}
		keys := make([]val, 0, len(l.list()))
		for _, e := range l.list() {
			keys = append(keys, wrap(e, nil0))
		}
		return sorted(f, slices.Clone(l.list()), keys, order, "sort")
	}},
}

// round is half away from zero: 2.5 is 3 and -2.5 is -3. A number that is half but for the
// last bits counts as half, for 1.005 was meant as that and can't be written.
func round(_ *frame, x, digits val) val {
	d := digits.f
	if d < 0 || d > 12 || d != math.Trunc(d) {
		return wrong("round wants a whole number of digits from 0 to 12")
	}
	return num(halfAway(x.f, int(d)))
}

func halfAway(x float64, digits int) float64 {
	unit := 1.0
	for range digits {
		unit *= 10
	}
	s := x * unit
	if math.Abs(s) >= 1<<51 { // no digits left to drop
		return x
	}
	return math.Copysign(math.Floor(math.Abs(s)+0.5+math.Abs(s)*0x1p-51), s)/unit + 0 // not -0
}

func clamp(_ *frame, x, lo, hi val) val {
	if lo.f > hi.f {
		return wrong("clamp wants the lowest before the highest")
	}
	return num(max(lo.f, min(hi.f, x.f)))
}

func toNumber(x val, then func(float64) float64) val {
	switch x.k {
	case number, boolean:
	case text:
		s := strings.TrimSpace(x.text())
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || n-n != 0 || strings.ContainsAny(s, "xX_") {
			return nothing("the text is no number")
		}
		x.f = n
	default:
		return wrong("%s can't be made a number", x.k.Type())
	}
	if then != nil {
		x.f = then(x.f)
	}
	return num(x.f)
}

// numbers hands out the numbers of args, which are numbers or lists of them.
func numbers(f *frame, name string, args []val, each func(float64)) val {
	for _, a := range args {
		switch a.k {
		case number:
			each(a.f)
		case list:
			if f.burn(len(a.list()) / 4) {
				return tired()
			}
			for i, e := range a.list() {
				x, ok := e.(float64)
				if !ok {
					v := wrap(e, nil0)
					switch {
					case v.k == absent:
						return nothing("element %d of the list of %s is null", i, name)
					case v.k != number:
						return wrong("%s wants numbers, element %d of the list is something else", name, i)
					}
					x = v.f
				}
				each(x)
			}
		default:
			return wrong("%s wants numbers, or a list of them, not %s", name, a.k.Type())
		}
	}
	return val{k: boolean}
}

func fold(f *frame, name string, args []val, pick func(a, b float64) float64) val {
	best, n := 0.0, 0
	if v := numbers(f, name, args, func(x float64) {
		if n++; n == 1 {
			best = x
		}
		best = pick(best, x)
	}); !v.k.usable() {
		return v
	}
	if n == 0 {
		return nothing("%s of an empty list", name)
	}
	return finite(best, name)
}

func sum(f *frame, name string, l ...val) val {
	total := 0.0
	if v := numbers(f, name, l, func(x float64) { total += x }); !v.k.usable() {
		return v
	}
	return finite(total, name)
}

func mean(f *frame, args []val) val {
	total, n := 0.0, 0
	if v := numbers(f, "mean", args, func(x float64) { total += x; n++ }); !v.k.usable() {
		return v
	}
	if n == 0 {
		return nothing("mean of an empty list")
	}
	return finite(total/float64(n), "mean")
}

func median(f *frame, args []val) val {
	var all []float64
	for _, a := range args {
		if a.k == list && f.burn(4*len(a.list())) {
			return tired()
		}
	}
	if v := numbers(f, "median", args, func(x float64) { all = append(all, x) }); !v.k.usable() {
		return v
	}
	n := len(all)
	if n == 0 {
		return nothing("median of an empty list")
	}
	slices.Sort(all)
	return finite(all[(n-1)/2]/2+all[n/2]/2, "median")
}

func size(f *frame, x val) val {
	switch x.k {
	case text:
		if f.burn(len(x.text()) / 16) {
			return tired()
		}
		return num(float64(utf8.RuneCountInString(x.text())))
	case list:
		return num(float64(len(x.list())))
	case object:
		return num(float64(len(x.keys())))
	}
	return wrong("len wants text, a list or a map, not %s", x.k.Type())
}

func trim(f *frame, s, cut val) val {
	if cut.k != text {
		return f.made(strings.TrimSpace(s.text()))
	}
	if f.burn(len(s.text()) / 16 * (1 + len(cut.text())/16)) {
		return tired()
	}
	return str(strings.Trim(s.text(), cut.text()))
}

func (f *frame) letters(s val, change func(string) string) val {
	if f.burn(len(s.text())) {
		return tired()
	}
	return f.made(change(s.text()))
}

// place is where part is in s, in characters from 0, or -1.
func (f *frame) place(s, part val, index func(s, sub string) int) val {
	if f.burn(len(s.text()) / 4) {
		return tired()
	}
	i := index(s.text(), part.text())
	if i < 0 {
		return num(-1)
	}
	return num(float64(utf8.RuneCountInString(s.text()[:i])))
}

func split(f *frame, s, sep val) val {
	if f.burn(len(s.text())) {
		return tired()
	}
	return listOf(anys(strings.Split(s.text(), sep.text())))
}

func replace(f *frame, s, old, by val) val {
	if f.burn(len(s.text()) / 4) {
		return tired()
	}
	n := int64(strings.Count(s.text(), old.text())) // times 64 KiB is more than an int is on a small Pi
	if int64(len(s.text()))+n*int64(len(by.text())-len(old.text())) > maxText {
		return wrong("the text gets longer than %d bytes", maxText)
	}
	return f.made(strings.ReplaceAll(s.text(), old.text(), by.text()))
}

func repeat(f *frame, s, times val) val {
	switch {
	case times.f < 0 || times.f != math.Trunc(times.f):
		return wrong("repeat wants a whole number of times")
	case times.f > maxText || times.f*float64(len(s.text())) > maxText:
		return wrong("the text gets longer than %d bytes", maxText)
	}
	return f.made(strings.Repeat(s.text(), int(times.f)))
}

func join(f *frame, l, sep val) val {
	between := ""
	if sep.k == text {
		between = sep.text()
	}
	var b strings.Builder
	for i, e := range l.list() {
		if i > 0 {
			b.WriteString(between)
		}
		s, bad := f.print(e, -1)
		switch {
		case bad.x != nil:
			return bad
		case b.Len()+len(s) > maxText:
			return wrong("the text gets longer than %d bytes", maxText)
		case f.burn(1 + len(between)/16):
			return tired()
		}
		b.WriteString(s)
	}
	return f.made(b.String())
}

// inOrder makes a list of a map, by its keys in order.
func (f *frame) inOrder(m val, of func(key string, v any) any) val {
	all := m.keys()
	if f.burn(4 * len(all)) {
		return tired()
	}
	out := make([]any, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, of(k, all[k]))
	}
	return listOf(out)
}

func fromPairs(f *frame, l val) val {
	if f.burn(2 * len(l.list())) {
		return tired()
	}
	m := make(map[string]any, len(l.list()))
	for i, e := range l.list() {
		pair, _ := e.([]any)
		if len(pair) != 2 {
			return wrong("fromPairs wants pairs, element %d of the list is none", i)
		}
		key, ok := pair[0].(string)
		if !ok {
			return wrong("fromPairs wants text for a key, that of element %d is something else", i)
		}
		m[key] = pair[1]
	}
	return val{k: object, x: m}
}

func uniq(f *frame, l val) val {
	var out []any
	for _, e := range l.list() {
		v := wrap(e, nil0)
		if !slices.ContainsFunc(out, func(o any) bool { return f.equal(v, wrap(o, nil0)) }) {
			out = append(out, e)
		}
		if f.burn(1) {
			return tired()
		}
	}
	return listOf(out)
}

func concat(f *frame, args []val) val {
	var out []any
	for _, a := range args {
		if f.burn(len(a.list())) {
			return tired()
		}
		out = append(out, a.list()...)
	}
	return listOf(out)
}

func flatten(f *frame, l val) val {
	var out []any
	for _, e := range l.list() {
		if f.burn(1) {
			return tired()
		}
		inner := wrap(e, nil0)
		if inner.k != list {
			out = append(out, e)
			continue
		}
		if inner = flatten(f, inner); inner.k != list {
			return inner
		}
		if f.burn(len(inner.list())) {
			return tired()
		}
		out = append(out, inner.list()...)
	}
	return listOf(out)
}

// sorted is out in the order of its keys, which are all numbers or all texts.
func sorted(f *frame, out []any, keys []val, order val, name string) val {
	down := false
	if order.k == text {
		down = order.text() == "desc"
		if !down && order.text() != "asc" {
			return wrong(`%s wants "asc" or "desc"`, name)
		}
	}
	bytes := 0
	for i, k := range keys {
		switch {
		case k.k == absent:
			return nothing("element %d of the list of %s is null", i, name)
		case k.k != keys[0].k || k.k != number && k.k != text:
			return wrong("%s wants numbers or texts, and not both", name)
		case k.k == text:
			bytes += len(k.text())
		}
	}
	pays := 1
	for n := len(keys); n > 0; n /= 2 {
		pays++
	}
	if f.burn((len(keys) + bytes/16) * pays) {
		return tired()
	}
	at := make([]int, len(keys))
	for i := range at {
		at[i] = i
	}
	slices.SortStableFunc(at, func(i, j int) int {
		a, b := keys[i], keys[j]
		if down {
			a, b = b, a
		}
		if a.k == number {
			return cmp.Compare(a.f, b.f)
		}
		return strings.Compare(a.text(), b.text())
	})
	l := make([]any, len(at))
	for i, k := range at {
		l[i] = out[k]
	}
	return listOf(l)
}

func toText(f *frame, x val) val {
	s, bad := f.print(x.plain(), -1)
	if bad.x != nil {
		return bad
	}
	return str(s)
}
