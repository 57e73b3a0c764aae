package template

import (
	"math"
	"slices"
	"strings"
)

// A frame is one execution. It keeps its first error; after it all goes on
// with nothing, and soon ends.
type frame struct {
	in     Input
	text   string // of the template
	json   val    // unset until it was asked for
	vars   []val
	stack  []val // arguments of the calls under way
	out    []byte
	fuel   int
	at     int // where it is, about
	err    error
	within call // the call under way; here so that it needs no memory of its own
}

// reset forgets all that was seen.
func (f *frame) reset() {
	clear(f.vars)
	clear(f.stack[:cap(f.stack)])
	if cap(f.out) > 4096 {
		f.out = nil
	}
	*f = frame{vars: f.vars[:0], stack: f.stack[:0], out: f.out[:0]}
}

func (f *frame) fail(offset int, format string, args ...any) val {
	if f.err == nil {
		f.err = at(f.text, offset, format, args...)
	}
	return val{k: undefined}
}

// burn pays for n steps and says whether there is an error now.
func (f *frame) burn(n int) bool {
	if f.fuel -= n; f.fuel < 0 {
		f.fail(f.at, "this has too much to do")
	}
	return f.err != nil
}

// tooLong is what becomes of a text that is.
func (f *frame) tooLong(offset int) val {
	return f.fail(offset, "the text gets longer than %d bytes", maxText)
}

// made is a text that was made or is shown, if it is not too long.
func (f *frame) made(offset int, s string) val {
	if len(s) > maxText {
		return f.tooLong(offset)
	}
	f.burn(len(s) / 16)
	return str(s)
}

// lacks says that there is nothing where something is needed.
func (f *frame) lacks(offset int, v val) val {
	n, _ := v.x.(*node)
	switch {
	case n == nil:
		return f.fail(offset, "there is nothing here")
	case n.op == opJSON:
		return f.fail(offset, "the payload is no JSON")
	case n.op == opKey:
		return f.missing(offset, "there is no %q", n.name)
	case n.op == opItem && n.kids[1].op == opConst && n.kids[1].v.k == text:
		return f.missing(offset, "there is no %q", n.kids[1].v.s)
	case n.op == opItem:
		return f.missing(offset, "there is nothing at this key or index")
	case n.op == opVar:
		return f.fail(offset, "this was not set")
	case n.op == opGiven:
		return f.fail(offset, "there is no %q", n.name)
	}
	return f.fail(offset, "there is nothing here")
}

func (f *frame) run(body []stmt) {
	for i := range body {
		if f.burn(1) {
			return
		}
		switch s := &body[i]; {
		case s.set:
			v := f.eval(s.out)
			f.vars[s.slot] = v
		case s.out != nil:
			f.print(f.eval(s.out))
		case s.branches != nil:
			for _, b := range s.branches {
				if b.cond == nil || f.eval(b.cond).yes() {
					f.run(b.body)
					break
				}
			}
		default:
			f.print(str(s.plain))
		}
	}
}

func (f *frame) eval(n *node) val {
	f.at = n.at
	if f.burn(1) {
		return val{k: undefined}
	}
	switch n.op {
	case opConst:
		return *n.v
	case opValue:
		return wrap(f.in.Value)
	case opJSON:
		if f.json.k == unset {
			f.json = nothing(n)
			if f.in.JSON != nil {
				if doc, err := f.in.JSON(); err == nil {
					f.json = wrap(doc)
				}
			}
		}
		return f.json
	case opGiven:
		if v, ok := f.in.Names[n.name]; ok {
			return wrap(v)
		}
		return nothing(n)
	case opVar:
		if v := f.vars[n.n]; v.k != unset {
			return v
		}
		return nothing(n)
	case opKey:
		of := f.eval(n.kids[0])
		if o, ok := of.x.(Object); ok { // nearly always
			v, ok := o.Key(n.name)
			if !ok {
				return nothing(n)
			}
			return wrap(v)
		}
		return f.item(n, of, str(n.name))
	case opItem:
		return f.item(n, f.eval(n.kids[0]), f.eval(n.kids[1]))
	case opSlice:
		return f.slice(n)
	case opList, opTuple:
		l := make([]val, len(n.kids))
		for i, k := range n.kids {
			l[i] = f.eval(k)
		}
		if n.op == opTuple {
			return val{k: tuple, x: l}
		}
		return listOf(l)
	case opDict:
		return f.dict(n)
	case opNeg, opPos:
		return f.signed(n, f.eval(n.kids[0]))
	case opNot:
		return truth(!f.eval(n.kids[0]).yes())
	case opAnd:
		if v := f.eval(n.kids[0]); !v.yes() {
			return v
		}
		return f.eval(n.kids[1])
	case opOr:
		if v := f.eval(n.kids[0]); v.yes() {
			return v
		}
		return f.eval(n.kids[1])
	case opCond:
		switch {
		case f.eval(n.kids[0]).yes():
			return f.eval(n.kids[1])
		case n.kids[2] != nil:
			return f.eval(n.kids[2])
		}
		return nothing(n)
	case opCompare:
		left := f.eval(n.kids[0])
		for i, word := range n.words {
			right := f.eval(n.kids[i+1])
			if !f.holds(n, left, word, right) {
				return truth(false)
			}
			left = right
		}
		return truth(f.err == nil)
	case opConcat:
		var b []byte
		for _, k := range n.kids {
			v := f.eval(k)
			if b = append(b, f.str(v)...); f.err != nil || len(b) > maxText {
				break
			}
		}
		return f.made(n.at, string(b))
	case opCall:
		return f.call(n)
	}
	return f.arithmetic(n, f.eval(n.kids[0]), f.eval(n.kids[1]))
}

// item is of[key], or nothing if there is none.
func (f *frame) item(n *node, of, key val) val {
	switch of.k {
	case undefined:
		return f.lacks(n.at, of)
	case dict:
		if v, ok := f.lookup(of, key); ok {
			return v
		}
	case list, tuple, text:
		if !key.isWhole() {
			break
		}
		i, size := key.n, int64(of.len())
		if of.k == text {
			f.burn(len(of.s) / 16)
		}
		if i < 0 {
			i += size
		}
		if i < 0 || i >= size {
			break
		}
		if of.k != text {
			return of.elem(int(i))
		}
		for _, r := range of.s {
			if i--; i < 0 {
				return str(string(r))
			}
		}
	}
	return nothing(n)
}

// slice is of[from:to:step], with the rules of Python.
func (f *frame) slice(n *node) val {
	of := f.eval(n.kids[0])
	if of.k == undefined {
		return f.lacks(n.at, of)
	}
	if of.k != text && !of.isList() {
		return f.fail(n.at, "a slice is of text or a list, this is %s", of.k)
	}
	var parts [3]val
	for i, k := range n.kids[1:] {
		if k != nil {
			parts[i] = f.eval(k)
		}
		if k := parts[i].k; k != unset && k != none && !parts[i].isWhole() {
			return f.fail(n.at, "a slice wants whole numbers, this is %s", k)
		}
	}
	var runes []rune
	size := of.len()
	if of.k == text {
		if f.burn(len(of.s) / 4) {
			return nothing(n)
		}
		runes = []rune(of.s)
	}
	step := 1
	if parts[2].isWhole() {
		if step = clamp(parts[2].n, -maxText, maxText); step == 0 {
			return f.fail(n.at, "a slice has a step that is not 0")
		}
	}
	from, to := 0, size
	low, high := 0, size // of an edge
	if step < 0 {
		from, to, low, high = size-1, -1, -1, size-1
	}
	edge := func(v val, otherwise int) int {
		switch {
		case !v.isWhole():
			return otherwise
		case v.n < 0:
			return clamp(v.n+int64(size), low, high)
		}
		return clamp(v.n, low, high)
	}
	from, to = edge(parts[0], from), edge(parts[1], to)
	var picked []rune
	var elems []val
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		if f.burn(1) {
			break
		}
		if of.k == text {
			picked = append(picked, runes[i])
		} else {
			elems = append(elems, of.elem(i))
		}
	}
	if of.k == text {
		return str(string(picked))
	}
	return val{k: of.k, x: elems}
}

func clamp(n int64, low, high int) int { return int(min(max(n, int64(low)), int64(high))) }

func (f *frame) dict(n *node) val {
	pairs := make([]pair, 0, len(n.kids)/2)
	for i := 0; i < len(n.kids); i += 2 {
		key, v := f.eval(n.kids[i]), f.eval(n.kids[i+1])
		if key.k == list || key.k == dict {
			return f.fail(n.kids[i].at, "%s can be no key", key.k)
		}
		if at := slices.IndexFunc(pairs, func(p pair) bool { return f.equal(p.key, key) }); at >= 0 {
			pairs[at].val = v
			continue
		}
		pairs = append(pairs, pair{key, v})
	}
	return val{k: dict, x: pairs}
}

func (f *frame) signed(n *node, v val) val {
	minus := n.op == opNeg
	switch {
	case v.k == undefined:
		return f.lacks(n.at, v)
	case v.isWhole() && minus && v.n == math.MinInt64:
		return f.tooLarge(n)
	case v.isWhole() && minus:
		return whole(-v.n)
	case v.isWhole():
		return whole(v.n)
	case v.k == float && minus:
		return number(-v.float())
	case v.k == float:
		return v
	}
	return f.fail(n.at, "a sign goes before a number, this is %s", v.k)
}

// holds is one comparison.
func (f *frame) holds(n *node, a val, word string, b val) bool {
	switch word {
	case "==":
		return f.equal(a, b)
	case "!=":
		return !f.equal(a, b)
	case "in":
		return f.in_(n.at, a, b)
	case "not in":
		return !f.in_(n.at, a, b)
	}
	for _, v := range []val{a, b} {
		if v.k == undefined {
			f.lacks(n.at, v)
			return false
		}
	}
	c, ok := f.compare(a, b)
	if !ok {
		f.fail(n.at, "%s compares numbers, or texts: these are %s and %s", word, a.k, b.k)
		return false
	}
	switch word {
	case "<":
		return c == -1
	case "<=":
		return c <= 0
	case ">":
		return c == 1
	}
	return c == 0 || c == 1
}

// in_ says whether a is in b.
func (f *frame) in_(offset int, a, b val) bool {
	switch b.k {
	case undefined:
		return false
	case text:
		if a.k != text {
			f.fail(offset, "only text can be in text, this is %s", a.k)
			return false
		}
		return !f.burn((len(a.s)+len(b.s))/16) && strings.Contains(b.s, a.s)
	case dict:
		if a.k == list || a.k == dict {
			f.fail(offset, "%s can be no key", a.k)
		}
		_, ok := f.lookup(b, a)
		return ok
	case list, tuple:
		for i := range b.len() {
			if f.err != nil {
				return false
			}
			if f.equal(a, b.elem(i)) {
				return true
			}
		}
		return false
	}
	f.fail(offset, "nothing can be in %s", b.k)
	return false
}

func (f *frame) tooLarge(n *node) val {
	return f.fail(n.at, "the number gets too large")
}

var opSigns = map[op]string{opAdd: "+", opSub: "-", opMul: "*", opDiv: "/", opFloorDiv: "//", opMod: "%", opPow: "**"}

func (f *frame) arithmetic(n *node, a, b val) val {
	for _, v := range []*val{&a, &b} {
		if v.k == undefined && !(n.op == opMod && a.k == text) {
			return f.lacks(n.at, *v)
		}
	}
	switch {
	case a.isNumber() && b.isNumber():
		if a.k != float && b.k != float {
			return f.wholes(n, a.n, b.n)
		}
		return f.floats(n, a.float(), b.float())
	case n.op == opMod && a.k == text:
		args := []val{b}
		if b.k == tuple {
			args = b.x.([]val)
		}
		return f.format(n.at, a.s, args)
	case n.op == opAdd && a.k == text && b.k == text:
		if len(a.s)+len(b.s) > maxText {
			return f.tooLong(n.at)
		}
		return f.made(n.at, a.s+b.s)
	case n.op == opAdd && a.isList() && a.k == b.k:
		if f.burn(a.len() + b.len()) {
			return a
		}
		l := make([]val, 0, a.len()+b.len())
		for _, v := range []val{a, b} {
			for i := range v.len() {
				l = append(l, v.elem(i))
			}
		}
		return val{k: a.k, x: l}
	case n.op == opMul && a.isWhole():
		a, b = b, a
		fallthrough
	case n.op == opMul && b.isWhole():
		times := max(b.n, 0)
		switch {
		case a.k == text && a.s != "":
			if times > int64(maxText/len(a.s)) {
				return f.tooLong(n.at)
			}
			return f.made(n.at, strings.Repeat(a.s, int(times)))
		case a.k == text:
			return a
		case a.isList():
			size := a.len()
			if size == 0 {
				return a
			}
			if times > int64(maxText/size) || f.burn(int(times)*size) {
				return f.fail(n.at, "this has too much to do")
			}
			l := make([]val, 0, int(times)*size)
			for range times {
				for i := range size {
					l = append(l, a.elem(i))
				}
			}
			return val{k: a.k, x: l}
		}
	}
	return f.fail(n.at, "%s can't be done with %s and %s", opSigns[n.op], a.k, b.k)
}

func (f *frame) wholes(n *node, a, b int64) val {
	switch n.op {
	case opAdd:
		if c := a + b; (c > a) == (b > 0) {
			return whole(c)
		}
	case opSub:
		if c := a - b; (c < a) == (b > 0) {
			return whole(c)
		}
	case opMul:
		if c, ok := times(a, b); ok {
			return whole(c)
		}
	case opDiv:
		if b == 0 {
			return f.fail(n.at, "division by zero")
		}
		return number(float64(a) / float64(b))
	case opFloorDiv, opMod:
		if b == 0 {
			return f.fail(n.at, "division by zero")
		}
		if a == math.MinInt64 && b == -1 {
			break
		}
		q, r := a/b, a%b
		if r != 0 && (r < 0) != (b < 0) {
			q, r = q-1, r+b
		}
		if n.op == opMod {
			return whole(r)
		}
		return whole(q)
	case opPow:
		if b < 0 {
			return f.floats(n, float64(a), float64(b))
		}
		c, ok := int64(1), true
		for ; b > 0 && ok; b >>= 1 { // 63 rounds at most
			if b&1 != 0 {
				if c, ok = times(c, a); !ok {
					break
				}
			}
			if b > 1 {
				a, ok = times(a, a)
			}
		}
		if ok {
			return whole(c)
		}
	}
	return f.tooLarge(n)
}

func times(a, b int64) (int64, bool) {
	c := a * b
	if a == 0 || b == 0 {
		return 0, true
	}
	return c, c/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64)
}

func (f *frame) floats(n *node, a, b float64) val {
	switch n.op {
	case opAdd:
		return number(a + b)
	case opSub:
		return number(a - b)
	case opMul:
		return number(a * b)
	case opDiv:
		if b == 0 {
			return f.fail(n.at, "division by zero")
		}
		return number(a / b)
	case opFloorDiv, opMod:
		if b == 0 {
			return f.fail(n.at, "division by zero")
		}
		mod := math.Mod(a, b)
		q := (a - mod) / b
		switch {
		case mod == 0:
			mod = math.Copysign(0, b)
		case (mod < 0) != (b < 0):
			mod += b
			q--
		}
		if n.op == opMod {
			return number(mod)
		}
		if q == 0 {
			return number(math.Copysign(0, a/b))
		}
		floor := math.Floor(q)
		if q-floor > 0.5 {
			floor++
		}
		return number(floor)
	}
	switch c := math.Pow(a, b); {
	case a == 0 && b < 0:
		return f.fail(n.at, "division by zero")
	case a < 0 && b != math.Trunc(b):
		return f.fail(n.at, "a root of a negative number")
	case math.IsInf(c, 0) && a-a == 0 && b-b == 0:
		return f.tooLarge(n)
	default:
		return number(c)
	}
}

// call puts the arguments onto the stack and calls the function of the node.
func (f *frame) call(n *node) val {
	base := len(f.stack)
	for _, k := range n.kids {
		v := val{}
		if k != nil {
			v = f.eval(k)
		}
		f.stack = append(f.stack, v)
	}
	if f.err != nil {
		f.stack = f.stack[:base]
		return val{k: undefined}
	}
	for len(f.stack) < base+len(n.fn.params) {
		f.stack = append(f.stack, val{})
	}
	f.at = n.at
	f.within = call{frame: f, node: n, args: f.stack[base:len(f.stack):len(f.stack)]}
	v := n.fn.do(&f.within)
	f.stack = f.stack[:base]
	return v
}
