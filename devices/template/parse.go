package template

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A stmt is one of: plain text, {{ out }}, {% if %} with its branches, and
// {% set slot = out %}.
type stmt struct {
	plain    string
	out      *node
	branches []branch
	set      bool
	slot     int
}

// A branch is an if, an elif or, without a condition, an else.
type branch struct {
	cond *node
	body []stmt
}

// An op says what a node does with its kids.
type op uint8

const (
	opConst op = iota // v
	opValue           // value
	opJSON            // value_json
	opGiven           // one of the given names
	opVar             // n, of {% set %}
	opKey             // kids[0].name
	opItem            // kids[0][kids[1]]
	opSlice           // kids[0][kids[1]:kids[2]:kids[3]]; nil for what is left out
	opList
	opTuple
	opDict // key, value, key, value
	opNeg
	opPos
	opNot
	opAnd
	opOr
	opCond    // kids[1] if kids[0] else kids[2]; nil for no else
	opCompare // kids, with words between them
	opAdd
	opSub
	opMul
	opDiv
	opFloorDiv
	opMod
	opPow
	opConcat
	opCall // fn with the kids; nil for what is left out
)

// A node is a part of an expression.
type node struct {
	op    op
	depth uint8
	n     int
	at    int // offset in the text of the template
	name  string
	v     *val
	kids  []*node
	words []string
	fn    *function
}

// path is the place that the node shows, if it is one in value_json. Whether
// that place must be there, as is_defined asks, changes nothing: where it is not
// there is no value.
func (n *node) path() (keys []any, ok bool) {
	switch n.op {
	case opJSON:
		return []any{}, true
	case opKey:
		keys, ok = n.kids[0].path()
		return append(keys, n.name), ok
	case opItem:
		i := n.kids[1]
		if i.op != opConst {
			return nil, false
		}
		keys, ok = n.kids[0].path()
		switch {
		case i.v.k == text:
			return append(keys, i.v.s), ok
		case i.v.k == integer && i.v.n >= 0 && i.v.n < 1<<31:
			return append(keys, int(i.v.n)), ok
		}
	case opCall:
		if n.fn == filters["is_defined"] {
			return n.kids[0].path()
		}
	}
	return nil, false
}

// A parser keeps its first error; after it there are no more tokens, so that
// whatever is being read comes to its end.
type parser struct {
	text  string
	pos   int // behind tok
	tok   token
	over  bool   // the tag has ended
	open  []byte // brackets around pos, within a tag
	close byte   // what ends the tag, with }: '}' or '%'
	trim  bool   // the tag ended with -, so white space behind it goes
	nodes int
	depth int
	slots map[string]int // of {% set %}
	err   error
}

// A token of an expression. Of a string s is what it stands for.
type token struct {
	kind tokenKind
	at   int
	s    string
}

type tokenKind uint8

const (
	end    tokenKind = iota // of the tag, or of all after an error
	word                    // a name
	sign                    // an operator or bracket
	quoted                  // a string
	digit                   // a whole number, as it is written
	point                   // a number with a fraction or an exponent
)

func (p *parser) fail(offset int, format string, args ...any) {
	if p.err == nil {
		p.err = at(p.text, offset, format, args...)
	}
	p.tok, p.pos = token{at: len(p.text)}, len(p.text)
}

// count pays for a node.
func (p *parser) count(offset int) {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(offset, "this is too long: a template has at most %d parts", maxNodes)
	}
}

// enter is called before something that may lie in itself; leave after it.
func (p *parser) enter() bool {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.tok.at, "too much within each other")
		return false
	}
	return true
}

func (p *parser) leave() { p.depth-- }

func (p *parser) template() []stmt {
	body, tag := p.body()
	if p.err == nil && tag != "" {
		p.fail(p.tok.at, "%s without an if before it", tag)
	}
	return body
}

// body reads up to a tag that is none of its own, which it gives: "elif", "else",
// "endif", or "" at the end of the text. The name of the tag is the token then.
func (p *parser) body() (body []stmt, tag string) {
	for {
		from := p.pos
		open := p.nextTag()
		plain := p.text[from:open]
		if p.trim {
			plain = strings.TrimLeftFunc(plain, isSpace)
		}
		p.trim = false
		p.pos = open
		if open < len(p.text) {
			p.pos += 2
			if strings.HasPrefix(p.text[p.pos:], "-") {
				plain = strings.TrimRightFunc(plain, isSpace)
				p.pos++
			} else if strings.HasPrefix(p.text[p.pos:], "+") {
				p.pos++
			}
		}
		if plain != "" {
			p.count(from)
			body = append(body, stmt{plain: plain})
		}
		if p.err != nil || open == len(p.text) {
			return body, ""
		}
		switch p.text[open+1] {
		case '#':
			n := strings.Index(p.text[p.pos:], "#}")
			if n < 0 {
				p.fail(open, "this comment never ends")
				break
			}
			p.trim = n > 0 && p.text[p.pos+n-1] == '-'
			p.pos += n + 2
		case '{':
			p.close, p.over = '}', false
			p.next()
			body = append(body, stmt{out: p.exprs()})
			p.endTag()
		case '%':
			p.close, p.over = '%', false
			p.next()
			name := p.tok
			if name.kind != word {
				p.fail(name.at, "want if, elif, else, endif or set here")
				break
			}
			switch name.s {
			case "if":
				body = append(body, p.branches())
			case "set":
				body = append(body, p.set())
			case "elif", "else", "endif":
				return body, name.s
			default:
				p.fail(name.at, "no {%% %s %%} here", name.s)
			}
		}
	}
}

// nextTag is where the next tag opens, or the end of the text.
func (p *parser) nextTag() int {
	for i := p.pos; ; i++ {
		n := strings.IndexByte(p.text[i:], '{')
		if n < 0 || i+n+1 == len(p.text) {
			return len(p.text)
		}
		if i += n; strings.IndexByte("{%#", p.text[i+1]) >= 0 {
			return i
		}
	}
}

// endTag is called where a tag must end.
func (p *parser) endTag() {
	if p.err == nil && p.tok.kind != end {
		p.fail(p.tok.at, "%s is not expected here", p.tok.show())
	}
}

func (p *parser) branches() stmt {
	var s stmt
	start := p.tok.at
	p.count(start)
	if !p.enter() {
		return s
	}
	defer p.leave()
	for tag := "if"; tag != "endif"; {
		b := branch{}
		p.next()
		if tag != "else" {
			b.cond = p.exprs()
		}
		p.endTag()
		was := tag
		b.body, tag = p.body()
		s.branches = append(s.branches, b)
		if p.err != nil {
			return s
		}
		switch {
		case tag == "":
			p.fail(start, "this if has no endif")
			return s
		case was == "else" && tag != "endif":
			p.fail(p.tok.at, "%s after else", tag)
			return s
		}
	}
	p.next()
	p.endTag()
	return s
}

func (p *parser) set() stmt {
	p.next()
	name := p.tok
	switch {
	case name.kind != word || keywords[name.s]:
		p.fail(name.at, "want the name that is set here")
	case name.s == "value" || name.s == "value_json":
		p.fail(name.at, "%s can't be set here", name.s)
	}
	p.next()
	if p.err == nil && !p.isSign("=") {
		p.fail(p.tok.at, "want {%% set name = ... %%} here")
	}
	p.next()
	s := stmt{set: true, out: p.exprs()}
	p.endTag()
	slot, ok := p.slots[name.s]
	if !ok {
		slot = len(p.slots)
		p.slots[name.s] = slot
	}
	s.slot = slot
	return s
}

var keywords = map[string]bool{"if": true, "else": true, "and": true, "or": true, "not": true, "in": true, "is": true,
	"true": true, "false": true, "none": true, "True": true, "False": true, "None": true}

func (t token) show() string {
	switch t.kind {
	case end:
		return "the end"
	case quoted:
		return "a string"
	}
	return strconv.Quote(t.s)
}

// signs are those of two characters; of one are those in oneSign.
var signs = []string{"==", "!=", ">=", "<=", "//", "**"}

const oneSign = "+-/*%~[](){}><=.:|,"

// next reads the next token of a tag, at whose end it stays.
func (p *parser) next() {
	if p.err != nil || p.over {
		return
	}
	for {
		r, n := utf8.DecodeRuneInString(p.text[p.pos:])
		if n == 0 || !isSpace(r) {
			break
		}
		p.pos += n
	}
	p.tok = token{at: p.pos}
	rest := p.text[p.pos:]
	if len(p.open) == 0 && len(rest) > 0 {
		n := 0
		if rest[0] == '-' || rest[0] == '+' && p.close == '%' {
			n = 1
		}
		if len(rest) > n+1 && rest[n] == p.close && rest[n+1] == '}' {
			p.trim = rest[0] == '-'
			p.pos += n + 2
			p.over = true
			return
		}
	}
	if rest == "" {
		if n := len(p.open); n > 0 {
			p.fail(p.pos, "a %c is never closed", p.open[n-1])
		} else {
			p.fail(p.pos, "the tag is never closed: want %c} at its end", p.close)
		}
		return
	}
	n := 1
	switch c := rest[0]; {
	case c == '"' || c == '\'':
		p.quoted()
		return
	case isDigit(c):
		n = p.number(rest)
	case isWord(rest):
		n = 0
		for n < len(rest) && (isWord(rest[n:]) || isDigit(rest[n])) {
			_, size := utf8.DecodeRuneInString(rest[n:])
			n += size
		}
		p.tok.kind = word
	case len(rest) > 1 && slices.Contains(signs, rest[:2]):
		n = 2
		p.tok.kind = sign
	case strings.IndexByte(oneSign, c) >= 0:
		p.tok.kind = sign
		p.bracket(c)
	default:
		r, _ := utf8.DecodeRuneInString(rest)
		p.fail(p.pos, "%q is not expected here", r)
	}
	if p.err == nil {
		p.tok.s = rest[:n]
		p.pos += n
	}
}

func isWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return r == '_' || unicode.IsLetter(r)
}

// bracket keeps track of those that are open, for within them }} ends no tag.
func (p *parser) bracket(c byte) {
	switch c {
	case '(', '[', '{':
		p.open = append(p.open, c)
	case ')', ']', '}':
		n := len(p.open)
		if n == 0 || p.open[n-1] != map[byte]byte{')': '(', ']': '[', '}': '{'}[c] {
			p.fail(p.pos, "this %c closes nothing", c)
			return
		}
		p.open = p.open[:n-1]
	}
}

// number says how many bytes of s are one, and sets the kind.
func (p *parser) number(s string) int {
	run := func(from int, ok func(c byte) bool) int {
		i := from
		for i < len(s) && (ok(s[i]) || s[i] == '_' && i > from && i+1 < len(s) && ok(s[i+1])) {
			i++
		}
		return i
	}
	p.tok.kind = digit
	if len(s) > 2 && s[0] == '0' && isAlnum(s[2]) && strings.IndexByte("xXoObB", s[1]) >= 0 {
		return run(2, isAlnum)
	}
	n := run(0, isDigit)
	if p.pos > 0 && p.text[p.pos-1] == '.' { // the 0 of a.0.1
		return n
	}
	if n+1 < len(s) && s[n] == '.' && isDigit(s[n+1]) {
		p.tok.kind = point
		n = run(n+1, isDigit)
	}
	if n < len(s) && s[n]|0x20 == 'e' {
		e := n + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		if e < len(s) && isDigit(s[e]) {
			p.tok.kind = point
			n = run(e, isDigit)
		}
	}
	return n
}

// quoted reads a string with its escapes.
func (p *parser) quoted() {
	var b strings.Builder
	from := p.pos
	quote := p.text[from]
	for i := from + 1; i < len(p.text); i++ {
		switch c := p.text[i]; c {
		case quote:
			p.tok.kind, p.tok.s = quoted, b.String()
			p.pos = i + 1
			return
		case '\\':
			if i++; i == len(p.text) {
				break
			}
			c := p.text[i]
			if n := strings.IndexByte(`abfnrtv\'"`, c); n >= 0 {
				b.WriteByte("\a\b\f\n\r\t\v\\'\""[n])
				break
			}
			size := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			switch {
			case c == '\n':
			case size > 0:
				end := min(i+1+size, len(p.text))
				n, err := strconv.ParseUint(p.text[i+1:end], 16, 32)
				if err != nil || end-i-1 < size || !utf8.ValidRune(rune(n)) {
					p.fail(i-1, `want %d hexadecimal digits of a character after \%c`, size, c)
					return
				}
				b.WriteRune(rune(n))
				i += size
			case c >= '0' && c <= '7' || c == 'N':
				p.fail(i-1, `no \%c in strings here`, c)
				return
			default:
				b.WriteByte('\\')
				i--
				_, n := utf8.DecodeRuneInString(p.text[i+1:])
				b.WriteString(p.text[i+1 : i+1+n])
				i += n
			}
		default:
			b.WriteByte(c)
		}
	}
	p.fail(from, "this string never ends")
}

func (p *parser) isSign(s string) bool { return p.tok.kind == sign && p.tok.s == s }
func (p *parser) isWord(s string) bool { return p.tok.kind == word && p.tok.s == s }

// take steps over a sign or a word if it is there.
func (p *parser) take(s string) bool {
	if p.tok.s == s && (p.tok.kind == sign || p.tok.kind == word) {
		p.next()
		return true
	}
	return false
}

func (p *parser) want(s string) {
	if !p.take(s) && p.err == nil {
		p.fail(p.tok.at, "want %s here, not %s", s, p.tok.show())
	}
}

// node makes one, and keeps count of how many there are and how deep.
func (p *parser) node(op op, at int, kids ...*node) *node {
	p.count(at)
	n := &node{op: op, at: at, kids: kids}
	for _, k := range kids {
		if k != nil {
			n.depth = max(n.depth, k.depth+1)
		}
	}
	if n.depth > maxDepth {
		p.fail(at, "too much within each other")
		n.kids, n.depth = nil, 0
	}
	return n
}

func (p *parser) constant(at int, v val) *node {
	n := p.node(opConst, at)
	n.v = &v
	return n
}

// exprs is an expression, or a tuple of some without brackets.
func (p *parser) exprs() *node {
	first := p.expr()
	if !p.isSign(",") {
		return first
	}
	kids := []*node{first}
	for p.take(",") && p.tok.kind != end {
		kids = append(kids, p.expr())
	}
	return p.node(opTuple, first.at, kids...)
}

// The levels below are those of Jinja's own parser, loosest first.

func (p *parser) expr() *node {
	if !p.enter() {
		return p.constant(p.tok.at, val{})
	}
	defer p.leave()
	n := p.or()
	for p.isWord("if") {
		at := p.tok.at
		p.next()
		cond := p.or()
		var other *node
		if p.take("else") {
			other = p.expr()
		}
		n = p.node(opCond, at, cond, n, other)
	}
	return n
}

func (p *parser) or() *node {
	n := p.and()
	for p.isWord("or") {
		at := p.tok.at
		p.next()
		n = p.node(opOr, at, n, p.and())
	}
	return n
}

func (p *parser) and() *node {
	n := p.not()
	for p.isWord("and") {
		at := p.tok.at
		p.next()
		n = p.node(opAnd, at, n, p.not())
	}
	return n
}

func (p *parser) not() *node {
	if !p.isWord("not") {
		return p.compare()
	}
	at := p.tok.at
	p.next()
	if !p.enter() {
		return p.constant(at, val{})
	}
	defer p.leave()
	return p.node(opNot, at, p.not())
}

func (p *parser) compare() *node {
	first := p.sum()
	var words []string
	kids := []*node{first}
	at := p.tok.at
	for {
		t := p.tok
		switch {
		case t.kind == sign && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.s), p.isWord("in"):
			p.next()
		case p.isWord("not"):
			p.next()
			p.want("in")
			t.s = "not in"
		default:
			if len(words) == 0 {
				return first
			}
			n := p.node(opCompare, at, kids...)
			n.words = words
			return n
		}
		words = append(words, t.s)
		kids = append(kids, p.sum())
	}
}

func (p *parser) sum() *node {
	n := p.concat()
	for p.isSign("+") || p.isSign("-") {
		at, op := p.tok.at, opAdd
		if p.tok.s == "-" {
			op = opSub
		}
		p.next()
		n = p.node(op, at, n, p.concat())
	}
	return n
}

func (p *parser) concat() *node {
	n := p.product()
	if !p.isSign("~") {
		return n
	}
	at, kids := p.tok.at, []*node{n}
	for p.take("~") {
		kids = append(kids, p.product())
	}
	return p.node(opConcat, at, kids...)
}

func (p *parser) product() *node {
	n := p.power()
	for p.tok.kind == sign {
		op, ok := map[string]op{"*": opMul, "/": opDiv, "//": opFloorDiv, "%": opMod}[p.tok.s]
		if !ok {
			break
		}
		at := p.tok.at
		p.next()
		n = p.node(op, at, n, p.power())
	}
	return n
}

// power goes from left to right in Jinja, unlike in Python.
func (p *parser) power() *node {
	n := p.unary(true)
	for p.isSign("**") {
		at := p.tok.at
		p.next()
		n = p.node(opPow, at, n, p.unary(true))
	}
	return n
}

// unary reads -a.b|c as (-(a.b))|c, which is what Jinja does.
func (p *parser) unary(filters bool) *node {
	var n *node
	at := p.tok.at
	if minus := p.isSign("-"); minus || p.isSign("+") {
		p.next()
		if !p.enter() {
			return p.constant(at, val{})
		}
		kid := p.unary(false)
		p.leave()
		if n = p.node(opPos, at, kid); minus {
			n.op = opNeg
		}
	} else {
		n = p.primary()
	}
	n = p.postfix(n)
	for filters {
		at := p.tok.at
		switch {
		case p.take("|"):
			n = p.filter(n)
		case p.take("is"):
			n = p.test(at, n)
		default:
			return n
		}
	}
	return n
}

func (p *parser) primary() *node {
	t := p.tok
	switch {
	case t.kind == word:
		return p.name()
	case t.kind == quoted:
		parts := []string{t.s}
		for p.next(); p.tok.kind == quoted; p.next() { // 'a' 'b' is 'ab'
			p.count(t.at)
			parts = append(parts, p.tok.s)
		}
		return p.constant(t.at, str(strings.Join(parts, "")))
	case t.kind == digit:
		p.next()
		n, err := strconv.ParseInt(t.s, 0, 64)
		if err != nil || len(t.s) > 1 && t.s[0] == '0' && isDigit(t.s[1]) {
			p.fail(t.at, "%s is no whole number of 64 bits", t.s)
		}
		return p.constant(t.at, whole(n))
	case t.kind == point:
		p.next()
		f, _ := strconv.ParseFloat(strings.ReplaceAll(t.s, "_", ""), 64) // 1e999 is infinite in Python too
		return p.constant(t.at, number(f))
	case p.take("("):
		kids, comma := p.list(")")
		if len(kids) == 1 && !comma {
			return kids[0]
		}
		return p.node(opTuple, t.at, kids...)
	case p.take("["):
		kids, _ := p.list("]")
		return p.node(opList, t.at, kids...)
	case p.take("{"):
		var kids []*node
		for p.err == nil && !p.take("}") {
			if len(kids) > 0 {
				if p.want(","); p.take("}") {
					break
				}
			}
			kids = append(kids, p.expr())
			p.want(":")
			kids = append(kids, p.expr())
		}
		return p.node(opDict, t.at, kids...)
	}
	p.fail(t.at, "want a value here, not %s", t.show())
	return p.constant(t.at, val{})
}

// list reads what stands between commas; the bracket is open already.
func (p *parser) list(end string) (kids []*node, comma bool) {
	for p.err == nil && !p.take(end) {
		if len(kids) > 0 {
			p.want(",")
			if comma = true; p.take(end) {
				break
			}
		}
		kids = append(kids, p.expr())
	}
	return kids, comma
}

func (p *parser) name() *node {
	t := p.tok
	p.next()
	switch t.s {
	case "true", "True":
		return p.constant(t.at, truth(true))
	case "false", "False":
		return p.constant(t.at, truth(false))
	case "none", "None":
		return p.constant(t.at, val{k: none})
	case "value":
		return p.node(opValue, t.at)
	case "value_json":
		return p.node(opJSON, t.at)
	}
	n := p.node(opGiven, t.at)
	n.name = t.s
	slot, isSet := p.slots[t.s]
	fn, isFunction := functions[t.s]
	switch {
	case isSet:
		n.op, n.n = opVar, slot
	case given[t.s]:
	case p.isSign("(") && isFunction:
		p.next()
		return p.call(t, "function", fn, nil)
	case p.isSign("("):
		p.fail(t.at, "no function %q here", t.s)
	default:
		p.fail(t.at, "no name %q here", t.s)
	}
	return n
}

// postfix reads .key, [item] and .method(...).
func (p *parser) postfix(n *node) *node {
	for {
		at := p.tok.at
		switch {
		case p.take("."):
			t := p.tok
			p.next()
			switch {
			case t.kind == word && p.isSign("("):
				fn, ok := methods[t.s]
				if !ok {
					p.fail(t.at, "no method %q here", t.s)
				}
				p.next()
				n = p.call(t, "method", fn, n)
			case t.kind == word:
				n = p.node(opKey, t.at, n)
				n.name = t.s
			case t.kind == digit:
				i, err := strconv.Atoi(t.s)
				if err != nil {
					p.fail(t.at, "%s is no index", t.s)
				}
				n = p.node(opItem, t.at, n, p.constant(t.at, whole(int64(i))))
			default:
				p.fail(t.at, "want a key after the point, not %s", t.show())
				return n
			}
		case p.take("["):
			n = p.item(at, n)
		case p.isSign("("):
			p.fail(at, "this can't be called")
			return n
		default:
			return n
		}
	}
}

// item reads what is in [ ], and what closes it.
func (p *parser) item(at int, of *node) *node {
	parts := [3]*node{}
	colons := 0
	for p.err == nil && !p.isSign("]") {
		if colons < 2 && p.take(":") {
			colons++
			continue
		}
		if parts[colons] != nil {
			break
		}
		parts[colons] = p.expr()
	}
	p.want("]")
	switch {
	case p.err != nil:
		return of
	case colons > 0:
		return p.node(opSlice, at, of, parts[0], parts[1], parts[2])
	case parts[0] == nil:
		p.fail(at, "want a key or an index between [ and ]")
		return of
	}
	return p.node(opItem, at, of, parts[0])
}

func (p *parser) filter(of *node) *node {
	t := p.tok
	fn, ok := filters[t.s]
	if t.kind != word || !ok {
		p.fail(t.at, "no filter %s here", t.show())
		return of
	}
	p.next()
	if p.take("(") {
		return p.call(t, "filter", fn, of)
	}
	return p.bind(t, "filter", fn, []*node{of}, nil)
}

func (p *parser) test(at int, of *node) *node {
	not := p.take("not")
	t := p.tok
	fn, ok := tests[t.s]
	if t.kind != word || !ok {
		p.fail(t.at, "no test %s here", t.show())
		return of
	}
	p.next()
	var n *node
	switch {
	case p.take("("):
		n = p.call(t, "test", fn, of)
	case fn.need > 1 && p.tok.kind != end && !p.isWord("else") && !p.isWord("or") && !p.isWord("and") && !p.isWord("if"):
		n = p.bind(t, "test", fn, []*node{of, p.postfix(p.primary())}, nil)
	default:
		n = p.bind(t, "test", fn, []*node{of}, nil)
	}
	if not {
		n = p.node(opNot, at, n)
	}
	return n
}

// call reads the arguments of fn and the bracket behind them. A filter, a test
// and a method have of as the first.
func (p *parser) call(t token, what string, fn *function, of *node) *node {
	var kids []*node
	if of != nil {
		kids = append(kids, of)
	}
	type named struct {
		token
		v *node
	}
	var names []named
	for first := true; p.err == nil && !p.take(")"); first = false {
		if !first {
			if p.want(","); p.take(")") {
				break
			}
		}
		arg := p.tok
		if arg.kind == word && !keywords[arg.s] && p.assigns() {
			p.next()
			p.next()
			names = append(names, named{arg, p.expr()})
			continue
		}
		if len(names) > 0 {
			p.fail(arg.at, "want a name and = before this argument, as the one before it has")
		}
		kids = append(kids, p.expr())
	}
	if p.err != nil {
		return p.constant(t.at, val{})
	}
	rest := make(map[string]*node, len(names))
	for _, n := range names {
		if i := slices.Index(fn.params, n.s); i < 0 || rest[n.s] != nil {
			p.fail(n.at, "%s %q takes no argument %q here", what, t.s, n.s)
		}
		rest[n.s] = n.v
	}
	return p.bind(t, what, fn, kids, rest)
}

// assigns says that the sign behind the token is a lone =, as in base=16.
func (p *parser) assigns() bool {
	s := strings.TrimLeftFunc(p.text[p.pos:], isSpace)
	return strings.HasPrefix(s, "=") && !strings.HasPrefix(s, "==")
}

// bind puts the arguments in the order of the function's parameters.
func (p *parser) bind(t token, what string, fn *function, kids []*node, names map[string]*node) *node {
	if fn == nil || p.err != nil {
		return p.constant(t.at, val{})
	}
	if n := len(fn.params); len(kids) > n && !fn.more {
		p.fail(t.at, "%s %q has too many arguments", what, t.s)
	}
	for i, name := range fn.params {
		v, ok := names[name]
		switch {
		case ok && i < len(kids):
			p.fail(t.at, "%s %q has %q twice", what, t.s, name)
		case i < len(kids):
		case ok:
			for len(kids) < i {
				kids = append(kids, nil)
			}
			kids = append(kids, v)
		case i < fn.need:
			p.fail(t.at, "%s %q wants %q too", what, t.s, name)
		}
	}
	n := p.node(opCall, t.at, kids...)
	n.fn, n.name = fn, t.s
	return n
}
