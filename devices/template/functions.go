package template

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A function is a filter, a test, a method or a function. The first parameter
// of the first three is what stands before it.
type function struct {
	params []string
	need   int  // how many of them must be given
	more   bool // and any number of others after them
	do     func(c *call) val
}

// A call is one use of a function. An argument that was not given is unset.
type call struct {
	*frame
	node *node
	args []val
}

func fn(params string, need int, do func(c *call) val) *function {
	names, more := strings.CutSuffix(params, " ...")
	return &function{params: strings.Fields(names), need: need, more: more, do: do}
}

// The filters, as Home Assistant has them: where it and Jinja differ, it wins.
var filters = map[string]*function{
	"float":       fn("value default", 1, (*call).toFloat),
	"int":         fn("value default base", 1, (*call).toInt),
	"round":       fn("value precision method default", 1, (*call).round),
	"multiply":    fn("value amount default", 2, func(c *call) val { return c.withFloat(opMul) }),
	"add":         fn("value amount default", 2, func(c *call) val { return c.withFloat(opAdd) }),
	"abs":         fn("value", 1, (*call).abs),
	"bitwise_and": fn("value other", 2, func(c *call) val { return c.bits(func(a, b int64) int64 { return a & b }) }),
	"bitwise_or":  fn("value other", 2, func(c *call) val { return c.bits(func(a, b int64) int64 { return a | b }) }),
	"bitwise_xor": fn("value other", 2, func(c *call) val { return c.bits(func(a, b int64) int64 { return a ^ b }) }),
	"is_number":   fn("value", 1, (*call).isANumber),
	"bool":        fn("value default", 1, (*call).toBool),
	"iif":         fn("value if_true if_false if_none", 1, (*call).iif),
	"is_defined":  fn("value", 1, (*call).isDefined),
	"default":     otherwise,
	"d":           otherwise,

	"string":     fn("value", 1, func(c *call) val { return c.made(c.text(0)) }),
	"lower":      fn("value", 1, func(c *call) val { return c.made(strings.ToLower(c.text(0))) }),
	"upper":      fn("value", 1, func(c *call) val { return c.made(strings.ToUpper(c.text(0))) }),
	"capitalize": fn("value", 1, func(c *call) val { return c.made(capitalize(c.text(0))) }),
	"title":      fn("value", 1, func(c *call) val { return c.made(title(c.text(0), strings.ContainsRune, "-({[<")) }),
	"trim":       fn("value chars", 1, func(c *call) val { return c.strip(strings.Trim, strings.TrimFunc) }),
	"replace":    fn("value old new count", 3, (*call).replace),
	"truncate":   fn("value length killwords end leeway", 1, (*call).truncate),
	"format":     fn("value ...", 1, func(c *call) val { return c.format(c.node.at, c.text(0), c.args[1:]) }),
	"tojson":     fn("value", 1, func(c *call) val { return c.json(jinjaJSON) }),
	"to_json":    fn("value", 1, func(c *call) val { return c.json(houseJSON) }),
	"from_json":  fn("value default", 1, (*call).fromJSON),

	"length": length,
	"count":  length,
	"first":  fn("value", 1, func(c *call) val { return c.end(0) }),
	"last":   fn("value", 1, func(c *call) val { return c.end(-1) }),
	"join":   fn("value d", 1, (*call).join),
	"min":    fn("value", 1, func(c *call) val { return c.best(c.args[0], -1) }),
	"max":    fn("value", 1, func(c *call) val { return c.best(c.args[0], 1) }),
	"sum":    fn("value", 1, (*call).sum),
	"list":   fn("value", 1, func(c *call) val { return listOf(c.elems(c.args[0])) }),
}

var (
	otherwise = fn("value default_value boolean", 1, (*call).otherwise)
	length    = fn("value", 1, (*call).length)
)

var functions = map[string]*function{
	"float": filters["float"], "int": filters["int"], "round": filters["round"], "abs": filters["abs"],
	"bool": filters["bool"], "iif": filters["iif"], "is_number": filters["is_number"],
	"bitwise_and": filters["bitwise_and"], "bitwise_or": filters["bitwise_or"], "bitwise_xor": filters["bitwise_xor"],
	"min": fn("value ...", 1, func(c *call) val { return c.best(c.several(), -1) }),
	"max": fn("value ...", 1, func(c *call) val { return c.best(c.several(), 1) }),
}

var tests = map[string]*function{
	"defined":   is(func(v val) bool { return v.k != undefined }),
	"undefined": is(func(v val) bool { return v.k == undefined }),
	"none":      is(func(v val) bool { return v.k == none }),
	"boolean":   is(func(v val) bool { return v.k == boolean }),
	"true":      is(func(v val) bool { return v.k == boolean && v.n == 1 }),
	"false":     is(func(v val) bool { return v.k == boolean && v.n == 0 }),
	"number":    is(val.isNumber), // true and false too, as in Python
	"integer":   is(func(v val) bool { return v.k == integer }),
	"float":     is(func(v val) bool { return v.k == float }),
	"string":    is(func(v val) bool { return v.k == text }),
	"mapping":   is(func(v val) bool { return v.k == dict }),
	"list":      is(func(v val) bool { return v.k == list }),
	"sequence":  is(func(v val) bool { return v.k == undefined || v.k >= text }),
	"iterable":  is(func(v val) bool { return v.k == undefined || v.k >= text }),

	"is_number":   filters["is_number"],
	"odd":         fn("value", 1, func(c *call) val { return c.rest(2, 1) }),
	"even":        fn("value", 1, func(c *call) val { return c.rest(2, 0) }),
	"divisibleby": fn("value num", 2, func(c *call) val { return c.rest(c.whole(1, 1), 0) }),
	"in":          compares("in"),
	"eq":          compares("=="), "equalto": compares("=="),
	"ne": compares("!="),
	"lt": compares("<"), "lessthan": compares("<"),
	"le": compares("<="),
	"gt": compares(">"), "greaterthan": compares(">"),
	"ge": compares(">="),
}

func is(ok func(v val) bool) *function {
	return fn("value", 1, func(c *call) val { return truth(ok(c.args[0])) })
}

func compares(word string) *function {
	return fn("value other", 2, func(c *call) val { return truth(c.holds(c.node, c.args[0], word, c.args[1])) })
}

var methods = map[string]*function{
	"split":      method(text, "value sep maxsplit", (*call).split),
	"lower":      method(text, "value", func(c *call) val { return c.made(strings.ToLower(c.text(0))) }),
	"upper":      method(text, "value", func(c *call) val { return c.made(strings.ToUpper(c.text(0))) }),
	"capitalize": method(text, "value", func(c *call) val { return c.made(capitalize(c.text(0))) }),
	"title":      method(text, "value", func(c *call) val { return c.made(title(c.text(0), notLetter, "")) }),
	"strip":      method(text, "value chars", func(c *call) val { return c.strip(strings.Trim, strings.TrimFunc) }),
	"lstrip":     method(text, "value chars", func(c *call) val { return c.strip(strings.TrimLeft, strings.TrimLeftFunc) }),
	"rstrip":     method(text, "value chars", func(c *call) val { return c.strip(strings.TrimRight, strings.TrimRightFunc) }),
	"replace":    method(text, "value old new count", (*call).replace, 3),
	"startswith": method(text, "value prefix", func(c *call) val { return c.affix(strings.HasPrefix) }, 2),
	"endswith":   method(text, "value suffix", func(c *call) val { return c.affix(strings.HasSuffix) }, 2),
	"isdigit":    method(text, "value", func(c *call) val { return c.all(unicode.IsDigit) }),
	"isnumeric":  method(text, "value", func(c *call) val { return c.all(unicode.IsNumber) }),
	"get":        method(dict, "value key default", (*call).get, 2),
	"keys":       method(dict, "value", func(c *call) val { return listOf(c.elems(c.args[0])) }),
	"values":     method(dict, "value", (*call).values),
}

// method is a function of values of one kind.
func method(of kind, params string, do func(c *call) val, need ...int) *function {
	return fn(params, append(need, 1)[0], func(c *call) val {
		switch v := c.args[0]; {
		case v.k == undefined:
			return c.lacks(c.node.at, v)
		case v.k != of:
			return c.fail("%s has no method %q", v.k, c.node.name)
		}
		return do(c)
	})
}

// fail, made and holds are those of the frame at the place of the call.

func (c *call) fail(format string, args ...any) val {
	return c.frame.fail(c.node.at, format, args...)
}

func (c *call) made(s string) val { return c.frame.made(c.node.at, s) }

// wants says that an argument is not what it must be.
func (c *call) wants(want string, v val) val {
	if v.k == undefined {
		return c.lacks(c.node.at, v)
	}
	return c.fail("%s wants %s, this is %s", c.node.name, want, v.k)
}

// text is an argument as text, whatever it is.
func (c *call) text(i int) string {
	s := c.str(c.args[i])
	if c.burn(len(s)/16) || len(s) > maxText {
		c.tooLong(c.node.at)
		return ""
	}
	return s
}

// whole is an argument that must be a whole number.
func (c *call) whole(i int, otherwise int64) int64 {
	switch v := c.args[i]; {
	case v.k == unset || v.k == none:
		return otherwise
	case v.isWhole():
		return v.n
	default:
		c.wants("a whole number", v)
		return otherwise
	}
}

// orDefault is the argument that says what to take if the value is none that
// the function can take; without it that is an error.
func (c *call) orDefault(i int, want string) val {
	v := c.args[0]
	switch {
	case v.k == undefined: // for which no default of a number helps, in Home Assistant too
		return c.lacks(c.node.at, v)
	case c.args[i].k != unset:
		return c.args[i]
	}
	return c.fail("%s wants %s, this %s is none, and there is no default", c.node.name, want, strings.TrimPrefix(v.k.String(), "a "))
}

func (c *call) toFloat() val {
	if f, ok := toFloat(c.args[0]); ok {
		return number(f)
	}
	return c.orDefault(1, "a number")
}

func (c *call) toInt() val {
	n, ok, large := toInt(c.args[0], c.whole(2, 10))
	switch {
	case large:
		return c.tooLarge(c.node)
	case ok:
		return whole(n)
	}
	return c.orDefault(1, "a number")
}

func (c *call) isANumber() val {
	if c.args[0].k == undefined {
		return c.lacks(c.node.at, c.args[0])
	}
	f, ok := toFloat(c.args[0])
	return truth(ok && f-f == 0)
}

func (c *call) withFloat(op op) val {
	f, ok := toFloat(c.args[0])
	if !ok || !c.args[1].isNumber() {
		return c.orDefault(2, "a number")
	}
	n := *c.node
	n.op = op
	return c.floats(&n, f, c.args[1].float())
}

func (c *call) abs() val {
	switch v := c.args[0]; {
	case v.k == float:
		return number(math.Abs(v.float()))
	case v.isWhole() && v.n >= 0:
		return whole(v.n)
	case v.isWhole() && v.n > math.MinInt64:
		return whole(-v.n)
	default:
		return c.wants("a number", v)
	}
}

func (c *call) bits(do func(a, b int64) int64) val {
	for _, v := range c.args {
		if !v.isWhole() {
			return c.wants("whole numbers", v)
		}
	}
	return whole(do(c.args[0].n, c.args[1].n))
}

// round is that of Home Assistant: without a precision it gives a whole number.
func (c *call) round() val {
	f, ok := toFloat(c.args[0])
	precision := c.whole(1, 0)
	if !ok || c.err != nil {
		return c.orDefault(3, "a number")
	}
	if precision > 300 || precision < -300 {
		return c.tooLarge(c.node)
	}
	method := "common"
	if c.args[2].k == text {
		method = c.args[2].s
	}
	power := math.Pow10(int(precision))
	switch method {
	case "ceil":
		f = math.Ceil(f*power) / power
	case "floor":
		f = math.Floor(f*power) / power
	case "half":
		f = math.RoundToEven(f*2) / 2
	default:
		switch {
		case precision >= 0 && f-f == 0:
			f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(precision), 64), 64)
		case precision < 0 && f-f == 0:
			power = math.Pow10(-int(precision))
			f = math.RoundToEven(f/power) * power
		}
	}
	if precision != 0 {
		return number(f)
	}
	if n, ok, _ := toInt(number(f), 10); ok {
		return whole(n)
	}
	return c.tooLarge(c.node)
}

func (c *call) toBool() val {
	v := c.args[0]
	switch {
	case v.isNumber():
		return truth(v.yes())
	case v.k == text:
		switch strings.ToLower(strings.TrimSpace(c.text(0))) {
		case "1", "true", "yes", "on", "enable":
			return truth(true)
		case "0", "false", "no", "off", "disable":
			return truth(false)
		}
	}
	if c.args[1].k != unset { // for this one undefined is as good as any other
		return c.args[1]
	}
	return c.orDefault(1, "true or false")
}

func (c *call) iif() val {
	pick := func(i int, otherwise val) val {
		if c.args[i].k == unset {
			return otherwise
		}
		return c.args[i]
	}
	switch v := c.args[0]; {
	case v.k == none && c.args[3].k != unset:
		return c.args[3]
	case v.yes():
		return pick(1, truth(true))
	}
	return pick(2, truth(false))
}

func (c *call) isDefined() val {
	if v := c.args[0]; v.k == undefined {
		return c.lacks(c.node.at, v)
	}
	return c.args[0]
}

func (c *call) otherwise() val {
	if v := c.args[0]; v.k != undefined && !(c.args[2].yes() && !v.yes()) {
		return v
	}
	if c.args[1].k == unset {
		return str("")
	}
	return c.args[1]
}

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:n]) + strings.ToLower(s[n:])
}

// title makes the first letter of each word large. A word begins behind white
// space and behind each character for which breaks says so.
func title(s string, breaks func(set string, r rune) bool, set string) string {
	first := true
	return strings.Map(func(r rune) rune {
		was := first
		first = isSpace(r) || breaks(set, r)
		if was {
			return unicode.ToTitle(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func notLetter(_ string, r rune) bool { return !unicode.IsLetter(r) }

func (c *call) strip(chars func(s, set string) string, spaces func(string, func(rune) bool) string) val {
	s := c.text(0)
	if c.args[1].k == unset || c.args[1].k == none {
		return str(spaces(s, isSpace))
	}
	set := c.text(1)
	if c.burn(len(s) / 16 * (len(set)/16 + 1)) {
		return str("")
	}
	return str(chars(s, set))
}

func (c *call) replace() val {
	s, old, new := c.text(0), c.text(1), c.text(2)
	times := int(clamp(c.whole(3, -1), -1, maxText))
	if n := strings.Count(s, old); times < 0 || times > n {
		times = n
	}
	if int64(len(s))+int64(times)*int64(len(new)-len(old)) > maxText { // more than an int is on a small Pi
		return c.tooLong(c.node.at)
	}
	c.burn(times)
	return c.made(strings.Replace(s, old, new, times))
}

func (c *call) truncate() val {
	if v := c.args[0]; v.k == undefined {
		return v
	} else if v.k != text {
		return c.wants("text", v)
	}
	s, ending := []rune(c.text(0)), []rune("...")
	if c.args[3].k != unset {
		ending = []rune(c.text(3))
	}
	length, leeway := c.whole(1, 255), c.whole(4, 5)
	if length < int64(len(ending)) || leeway < 0 {
		return c.fail("truncate wants a length of at least that of the ending, and a leeway of 0 or more")
	}
	if leeway > maxText || int64(len(s))-leeway <= length {
		return str(string(s))
	}
	cut := string(s[:int(length)-len(ending)])
	if i := strings.LastIndexByte(cut, ' '); i >= 0 && !c.args[2].yes() {
		cut = cut[:i]
	}
	return c.made(cut + string(ending))
}

func (c *call) json(style *jsonStyle) val {
	return c.made(string(c.appendJSON(nil, c.args[0], style, c.node.at)))
}

func (c *call) fromJSON() val {
	if c.args[0].k != text {
		return c.orDefault(1, "JSON")
	}
	d := json.NewDecoder(strings.NewReader(c.text(0)))
	d.UseNumber()
	if c.burn(len(c.args[0].s) / 2) {
		return val{k: undefined}
	}
	var doc any
	err := d.Decode(&doc)
	if _, more := d.Token(); err == nil && more != io.EOF {
		err = errors.New("more than one value")
	}
	if err != nil {
		return c.orDefault(1, "JSON")
	}
	return wrap(doc)
}

func (c *call) length() val {
	switch v := c.args[0]; {
	case v.k == undefined:
		return whole(0)
	case v.k < text:
		return c.wants("text, a list or a dict", v)
	case c.burn(len(v.s) / 16):
		return val{k: undefined}
	default:
		return whole(int64(v.len()))
	}
}

// elems is what a loop over v would see: elements, keys or characters.
func (c *call) elems(v val) []val {
	var l []val
	switch {
	case v.k == undefined:
	case v.k < text:
		c.wants("a list", v)
	case v.isList():
		if own, ok := v.x.([]val); ok {
			return own
		}
		if n := v.len(); !c.burn(n) {
			l = make([]val, 0, n)
			for i := range n {
				l = append(l, v.elem(i))
			}
		}
	case v.k == dict:
		c.each(v, func(_ int, key, _ val) { l = append(l, key) })
	case !c.burn(len(v.s)):
		for _, r := range v.s {
			l = append(l, str(string(r)))
		}
	}
	return l
}

// end is the first element, or the last.
func (c *call) end(i int) val {
	if v := c.args[0]; v.isList() && v.len() > 0 {
		return v.elem((i + v.len()) % v.len())
	}
	l := c.elems(c.args[0])
	if len(l) == 0 {
		return nothing(c.node)
	}
	return l[(i+len(l))%len(l)]
}

func (c *call) join() val {
	d := ""
	if c.args[1].k != unset {
		d = c.text(1)
	}
	var b []byte
	for i, v := range c.elems(c.args[0]) {
		if i > 0 {
			b = append(b, d...)
		}
		if b = append(b, c.str(v)...); c.burn(1+len(v.s)/16+len(d)/16) || len(b) > maxText {
			break
		}
	}
	return c.made(string(b))
}

// several is what min and max choose from: a list, or the arguments.
func (c *call) several() val {
	if len(c.args) == 1 {
		return c.args[0]
	}
	return val{k: tuple, x: slices.Clone(c.args)}
}

// best is the smallest (-1) or largest (1) element, texts without their case.
func (c *call) best(of val, sign int) val {
	var best, bestKey val
	for i, v := range c.elems(of) {
		key := v
		if v.k == text {
			if c.burn(len(v.s) / 8) {
				break
			}
			key.s = strings.ToLower(v.s)
		}
		if i == 0 {
			best, bestKey = v, key
			continue
		}
		order, ok := c.compare(key, bestKey)
		if !ok {
			return c.fail("%s compares numbers, or texts: these are %s and %s", c.node.name, v.k, best.k)
		}
		if order == sign {
			best, bestKey = v, key
		}
	}
	if best.k == unset {
		return nothing(c.node)
	}
	return best
}

func (c *call) sum() val {
	total := whole(0)
	n := *c.node
	n.op = opAdd
	for _, v := range c.elems(c.args[0]) {
		if !v.isNumber() {
			return c.wants("numbers", v)
		}
		if total = c.arithmetic(&n, total, v); c.burn(1) {
			break
		}
	}
	return total
}

// rest says whether the value divided by n leaves that rest.
func (c *call) rest(n, rest int64) val {
	v := c.args[0]
	switch {
	case v.k == float:
		return truth(math.Mod(math.Mod(v.float(), float64(n))+float64(n), float64(n)) == float64(rest))
	case !v.isWhole():
		return c.wants("a whole number", v)
	case n == 0:
		return c.fail("division by zero")
	}
	return truth(v.n%n == rest || n > 0 && v.n%n+n == rest)
}

func (c *call) split() val {
	s := c.text(0)
	limit := int(clamp(c.whole(2, -1), -1, maxText)) + 1 // pieces; 0 is all
	if limit == 0 {
		limit = -1
	}
	var pieces []string
	if c.args[1].k == unset || c.args[1].k == none {
		for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
			i := strings.IndexFunc(s, isSpace)
			if i < 0 || len(pieces)+1 == limit {
				pieces = append(pieces, s)
				break
			}
			pieces = append(pieces, s[:i])
			s = s[i:]
		}
	} else {
		switch sep := c.args[1]; {
		case sep.k != text:
			return c.wants("text", sep)
		case sep.s == "":
			return c.fail("split wants a separator of at least one character")
		}
		pieces = strings.SplitN(s, c.text(1), limit)
	}
	if c.burn(4 * len(pieces)) {
		return val{k: undefined}
	}
	l := make([]val, len(pieces))
	for i, s := range pieces {
		l[i] = str(s)
	}
	return listOf(l)
}

// affix is startswith or endswith, of a text or any of a tuple of texts.
func (c *call) affix(has func(s, affix string) bool) val {
	s, any := c.text(0), []val{c.args[1]}
	if c.args[1].k == tuple {
		any = c.elems(c.args[1])
	}
	for _, v := range any {
		if v.k != text {
			return c.wants("text", v)
		}
		if c.burn(1 + len(v.s)/16) {
			break
		}
		if has(s, v.s) {
			return truth(true)
		}
	}
	return truth(false)
}

func (c *call) all(ok func(r rune) bool) val {
	s := c.text(0)
	return truth(s != "" && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0)
}

func (c *call) get() val {
	if k := c.args[1].k; k == list || k == dict {
		return c.fail("%s can be no key", k)
	}
	if v, ok := c.lookup(c.args[0], c.args[1]); ok {
		return v
	}
	if c.args[2].k == unset {
		return val{k: none}
	}
	return c.args[2]
}

func (c *call) values() val {
	var l []val
	c.each(c.args[0], func(_ int, _, v val) { l = append(l, v) })
	return listOf(l)
}

// format is the % of Python's strings, without names in it.
func (f *frame) format(offset int, s string, args []val) val {
	b := make([]byte, 0, len(s)+16)
	used := 0
	next := func() val {
		if used == len(args) {
			f.fail(offset, "the text has more %%s than there are values")
			return val{}
		}
		used++
		return args[used-1]
	}
	for f.err == nil {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			b = append(b, s...)
			break
		}
		b = append(b, s[:i]...)
		rest := s[i+1:]
		s = strings.TrimLeft(rest, "-+ 0#")
		flags := rest[:len(rest)-len(s)]
		width, precision := -1, -1
		width, s = f.size(offset, s, next)
		if strings.HasPrefix(s, ".") {
			if precision, s = f.size(offset, s[1:], next); precision < 0 {
				precision = 0
			}
		}
		s = strings.TrimLeft(s, "hlL")
		if s == "" {
			return f.fail(offset, "the text ends within a %%")
		}
		verb := s[0]
		s = s[1:]
		if verb == '%' {
			b = append(b, '%')
			continue
		}
		if b = f.appendVerb(b, offset, verb, flags, width, precision, next); f.burn(2) || len(b) > maxText {
			break
		}
	}
	if used < len(args) {
		return f.fail(offset, "the text has fewer %%s than there are values")
	}
	return f.made(offset, string(b))
}

// size is a width or a precision at the start of s, or -1.
func (f *frame) size(offset int, s string, next func() val) (int, string) {
	n, i := -1, 0
	if strings.HasPrefix(s, "*") {
		v := next()
		if v.k != integer || v.n < 0 {
			f.fail(offset, "the * of a %% wants a whole number")
		}
		n, i = clamp(v.n, 0, maxWidth+1), 1
	}
	for ; i < len(s) && isDigit(s[i]) && n <= maxWidth; i++ {
		n = max(n, 0)*10 + int(s[i]-'0')
	}
	if n > maxWidth {
		f.fail(offset, "a %% makes a number or a text of at most %d characters", maxWidth)
		n = 0
	}
	return n, s[i:]
}

// appendVerb adds one value as a %verb shows it.
func (f *frame) appendVerb(b []byte, offset int, verb byte, flags string, width, precision int, next func() val) []byte {
	v := next()
	if f.err != nil {
		return b
	}
	var s string // without its sign
	sign := ""
	numeric := true
	switch verb {
	case 's', 'r':
		numeric = false
		if s = f.str(v); verb == 'r' {
			s = string(f.append(nil, v))
		}
		if r := []rune(s); precision >= 0 && precision < len(r) {
			s = string(r[:precision])
		}
	case 'd', 'i', 'u', 'x', 'X', 'o':
		n, ok, large := toInt(v, 10)
		switch {
		case v.k == undefined:
			f.lacks(offset, v)
			return b
		case large:
			f.fail(offset, "the number gets too large")
			return b
		case !ok || v.k == text || v.k == float && strings.IndexByte("xXo", verb) >= 0:
			f.fail(offset, "%%%c wants a number, this is %s", verb, v.k)
			return b
		}
		base := 10
		switch verb {
		case 'x', 'X':
			base = 16
		case 'o':
			base = 8
		}
		s, sign = cutSign(strconv.FormatInt(n, base))
		s = strings.Repeat("0", max(0, precision-len(s))) + s
		if strings.Contains(flags, "#") {
			sign += map[byte]string{'x': "0x", 'X': "0x", 'o': "0o"}[verb]
		}
		if verb == 'X' {
			s, sign = strings.ToUpper(s), strings.ToUpper(sign)
		}
	case 'f', 'F', 'e', 'E', 'g', 'G':
		if !v.isNumber() {
			if v.k == undefined {
				f.lacks(offset, v)
			} else {
				f.fail(offset, "%%%c wants a number, this is %s", verb, v.k)
			}
			return b
		}
		if precision < 0 {
			precision = 6
		}
		s, sign = cutSign(formatFloat(v.float(), verb, precision))
	default:
		f.fail(offset, "no %%%c in texts here", verb)
		return b
	}
	if numeric && !strings.HasPrefix(sign, "-") {
		if strings.Contains(flags, "+") {
			sign = "+" + sign
		} else if strings.Contains(flags, " ") {
			sign = " " + sign
		}
	}
	pad := max(0, width-utf8.RuneCountInString(s)-len(sign))
	switch {
	case strings.Contains(flags, "-"):
		b = append(append(b, sign...), s...)
		return append(b, strings.Repeat(" ", pad)...)
	case numeric && strings.Contains(flags, "0"):
		b = append(append(b, sign...), strings.Repeat("0", pad)...)
	default:
		b = append(append(b, strings.Repeat(" ", pad)...), sign...)
	}
	return append(b, s...)
}

func cutSign(s string) (rest, sign string) {
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		return rest, "-"
	}
	return s, ""
}

// formatFloat is printf's.
func formatFloat(x float64, verb byte, precision int) string {
	lower := verb | 0x20
	if x-x != 0 {
		s := string(appendFloat(nil, x))
		if verb != lower {
			s = strings.ToUpper(s)
		}
		return s
	}
	if lower != 'g' {
		if verb == 'F' {
			verb = 'f'
		}
		return strconv.FormatFloat(x, verb, precision, 64)
	}
	precision = max(precision, 1)
	e := strconv.FormatFloat(x, 'e', precision-1, 64)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	s := e
	if exp >= -4 && exp < precision {
		s = strconv.FormatFloat(x, 'f', precision-1-exp, 64)
	}
	digits, power, hasPower := strings.Cut(s, "e")
	if strings.Contains(digits, ".") {
		digits = strings.TrimRight(strings.TrimRight(digits, "0"), ".")
	}
	if s = digits; hasPower {
		s += "e" + power
	}
	if verb == 'G' {
		s = strings.ToUpper(s)
	}
	return s
}
