package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An expr is an expression of Home Assistant's templates: one operator, name,
// literal or call. What they mean is for the importer.
type expr struct {
	op   string // "text", "number", "bool", "name", ".", "[", "call", "filter", "not", "neg", "if", "list", or a binary operator
	text string // of text, number, name; of . and filter the name
	args []*expr
}

var errTemplate = errors.New("the template can't be said in Hearth's expressions")

// A span is a part of a text with templates: plain text, or an expression.
type span struct {
	text string
	expr *expr
}

// parseTemplate splits a text. Of statements, {% %}, it reads set, whose name is
// replaced by what it stands for, and a choice between texts.
func parseTemplate(text string) ([]span, error) {
	var spans []span
	names := make(map[string]*expr) // by {% set %}
	inserted := 0
	insert := func(e *expr) (*expr, error) {
		if len(names) > 0 {
			e = e.insert(names, &inserted)
		}
		if inserted > 1000 {
			return nil, errors.New("the template says too much in few words")
		}
		return e, nil
	}
	for text != "" {
		i := strings.Index(text, "{")
		for i >= 0 && i+1 < len(text) && !strings.ContainsRune("{%#", rune(text[i+1])) {
			j := strings.Index(text[i+1:], "{")
			if j < 0 {
				i = -1
			} else {
				i += j + 1
			}
		}
		if i < 0 || i+1 >= len(text) {
			return append(spans, span{text: text}), nil
		}
		if i > 0 {
			spans = append(spans, span{text: text[:i]})
		}
		closing := map[byte]string{'{': "}}", '%': "%}", '#': "#}"}[text[i+1]]
		end := strings.Index(text[i+2:], closing)
		if end < 0 {
			return nil, errTemplate
		}
		body := text[i+2 : i+2+end]
		rest := text[i+4+end:]
		trim := func(s string) string {
			s = strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
			return strings.TrimSuffix(s, "-")
		}
		switch text[i+1] {
		case '{':
			e, err := parseExpr(trim(body))
			if err == nil {
				e, err = insert(e)
			}
			if err != nil {
				return nil, err
			}
			spans = append(spans, span{expr: e})
		case '%':
			if m := setting().FindStringSubmatch(strings.TrimSpace(trim(body))); m != nil {
				e, err := parseExpr(m[2])
				if err == nil {
					e, err = insert(e)
				}
				if err != nil {
					return nil, err
				}
				names[m[1]] = e
				rest = strings.TrimLeft(rest, " \t\r\n")
				if n := len(spans); n > 0 && spans[n-1].expr == nil && strings.TrimSpace(spans[n-1].text) == "" {
					spans = spans[:n-1]
				}
				break
			}
			e, after, err := parseIf(trim(body), rest)
			if err == nil {
				e, err = insert(e)
			}
			if err != nil {
				return nil, err
			}
			spans = append(spans, span{expr: e})
			rest = after
		}
		text = rest
	}
	return spans, nil
}

var setting = lazily(`^set\s+([A-Za-z_][A-Za-z0-9_]*)\s*=([^=](?s:.*))$`)

// insert puts in what names stand for.
func (e *expr) insert(names map[string]*expr, n *int) *expr {
	if *n++; *n > 1000 {
		return e
	}
	if in := names[e.text]; e.op == "name" && in != nil {
		return in.insert(nil, n)
	}
	other := *e
	other.args = slices.Clone(e.args)
	for i, a := range other.args {
		other.args[i] = a.insert(names, n)
	}
	return &other
}

// about is the expression with an entity in place of state, as a value_template has
// it.
func (e *expr) about(id string) *expr {
	path := e.path()
	if a, ok := strings.CutPrefix(path, "state.attributes."); ok {
		return &expr{op: "call", args: []*expr{{op: "name", text: "state_attr"}, {op: "text", text: id}, {op: "text", text: a}}}
	}
	if path == "state.state" {
		return &expr{op: "call", args: []*expr{{op: "name", text: "states"}, {op: "text", text: id}}}
	}
	other := *e
	other.args = slices.Clone(e.args)
	for i, a := range other.args {
		other.args[i] = a.about(id)
	}
	return &other
}

// parseIf reads {% if a %}x{% elif b %}y{% else %}z{% endif %} as one expression;
// x, y and z are plain text.
func parseIf(head, rest string) (*expr, string, error) {
	head = strings.TrimSpace(head)
	word, cond, _ := strings.Cut(head, " ")
	if word != "if" && word != "elif" {
		return nil, "", fmt.Errorf("{%% %s %%} has no counterpart in Hearth", word)
	}
	test, err := parseExpr(cond)
	if err != nil {
		return nil, "", err
	}
	branch := func(text string) (e *expr, tag, after string, err error) {
		body, more, ok := strings.Cut(text, "{%")
		tag, after, closed := strings.Cut(more, "%}")
		if !ok || !closed {
			return nil, "", "", errTemplate
		}
		tag = strings.Trim(tag, "-+ \t\n")
		body = strings.TrimSpace(body)
		if inner, ok := strings.CutPrefix(body, "{{"); ok && strings.HasSuffix(inner, "}}") && !strings.Contains(inner, "{") {
			e, err = parseExpr(strings.TrimSuffix(inner, "}}"))
			return e, tag, after, err
		}
		if strings.Contains(body, "{{") {
			return nil, "", "", errTemplate
		}
		if _, err := strconv.ParseFloat(body, 64); err == nil {
			return &expr{op: "number", text: body}, tag, after, nil
		}
		return &expr{op: "text", text: body}, tag, after, nil
	}
	yes, tag, after, err := branch(rest)
	if err != nil {
		return nil, "", err
	}
	no := &expr{op: "text"}
	switch {
	case strings.HasPrefix(tag, "elif "):
		if no, after, err = parseIf(tag, after); err != nil {
			return nil, "", err
		}
	case tag == "else":
		if no, tag, after, err = branch(after); err != nil {
			return nil, "", err
		}
		if tag != "endif" {
			return nil, "", errTemplate
		}
	case tag != "endif":
		return nil, "", errTemplate
	}
	return &expr{op: "if", args: []*expr{test, yes, no}}, after, nil
}

// onlyExpr is the expression of a text that is one template and nothing else.
func onlyExpr(text string) (*expr, error) {
	spans, err := parseTemplate(strings.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	var only *expr
	for _, s := range spans {
		switch {
		case s.expr == nil && strings.TrimSpace(s.text) == "":
		case s.expr == nil || only != nil:
			return nil, errTemplate
		default:
			only = s.expr
		}
	}
	if only == nil {
		return nil, errTemplate
	}
	return only, nil
}

type jinja struct {
	tokens []token
	depth  int
}

type token struct {
	kind byte // 'n'umber, 't'ext, 'w'ord, 'o'perator
	text string
}

func parseExpr(text string) (*expr, error) {
	if len(text) > 4096 {
		return nil, errors.New("the template is longer than 4096 characters")
	}
	p := &jinja{}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c <= ' ':
			i++
		case c == '\'' || c == '"':
			var b strings.Builder
			j := i + 1
			for ; j < len(text) && text[j] != c; j++ {
				if text[j] == '\\' && j+1 < len(text) {
					j++
				}
				b.WriteByte(text[j])
			}
			if j >= len(text) {
				return nil, errTemplate
			}
			p.tokens = append(p.tokens, token{'t', b.String()})
			i = j + 1
		case c >= '0' && c <= '9':
			j := i
			for j < len(text) && (text[j] >= '0' && text[j] <= '9' || text[j] == '.' || text[j] == '_') {
				j++
			}
			p.tokens = append(p.tokens, token{'n', strings.ReplaceAll(text[i:j], "_", "")})
			i = j
		case letter(c):
			j := i
			for j < len(text) && (letter(text[j]) || text[j] >= '0' && text[j] <= '9') {
				j++
			}
			p.tokens = append(p.tokens, token{'w', text[i:j]})
			i = j
		default:
			n := 1
			for _, op := range []string{"==", "!=", "<=", ">=", "//", "**"} {
				if strings.HasPrefix(text[i:], op) {
					n = 2
				}
			}
			p.tokens = append(p.tokens, token{'o', text[i : i+n]})
			i += n
		}
	}
	e, err := p.ternary()
	if err == nil && len(p.tokens) > 0 {
		return nil, errTemplate
	}
	return e, err
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func (p *jinja) is(kind byte, texts ...string) bool {
	if len(p.tokens) == 0 || p.tokens[0].kind != kind {
		return false
	}
	for _, t := range texts {
		if p.tokens[0].text == t {
			return true
		}
	}
	return len(texts) == 0
}

func (p *jinja) take() token {
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *jinja) want(op string) error {
	if !p.is('o', op) {
		return errTemplate
	}
	p.take()
	return nil
}

func (p *jinja) ternary() (*expr, error) {
	if p.depth++; p.depth > 40 {
		return nil, errTemplate
	}
	defer func() { p.depth-- }()
	e, err := p.binary(0)
	if err != nil || !p.is('w', "if") {
		return e, err
	}
	p.take()
	test, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	no := &expr{op: "text"}
	if p.is('w', "else") {
		p.take()
		if no, err = p.ternary(); err != nil {
			return nil, err
		}
	}
	return &expr{op: "if", args: []*expr{test, e, no}}, nil
}

// levels are the operators from those that bind the least.
var levels = [][]string{
	{"or"}, {"and"}, {"not"},
	{"==", "!=", "<", ">", "<=", ">=", "in", "not in", "is", "is not"},
	{"~"}, {"+", "-"}, {"*", "/", "//", "%"},
}

func (p *jinja) binary(level int) (*expr, error) {
	if level == len(levels) {
		return p.unary()
	}
	if levels[level][0] == "not" {
		if p.is('w', "not") {
			if p.depth++; p.depth > 40 {
				return nil, errTemplate
			}
			defer func() { p.depth-- }()
			p.take()
			e, err := p.binary(level)
			return &expr{op: "not", args: []*expr{e}}, err
		}
		return p.binary(level + 1)
	}
	e, err := p.binary(level + 1)
	for err == nil {
		op := ""
		for _, o := range levels[level] {
			first, second, two := strings.Cut(o, " ")
			kind := byte('o')
			if letter(o[0]) {
				kind = 'w'
			}
			if p.is(kind, first) && (!two || len(p.tokens) > 1 && p.tokens[1].text == second) && len(o) > len(op) {
				op = o
			}
		}
		if op == "" {
			return e, nil
		}
		p.take()
		if strings.Contains(op, " ") {
			p.take()
		}
		var right *expr
		right, err = p.binary(level + 1)
		e = &expr{op: op, args: []*expr{e, right}}
	}
	return nil, err
}

func (p *jinja) unary() (*expr, error) {
	if p.is('o', "-", "+") {
		if p.depth++; p.depth > 40 {
			return nil, errTemplate
		}
		defer func() { p.depth-- }()
		minus := p.take().text == "-"
		e, err := p.unary()
		if minus {
			e = &expr{op: "neg", args: []*expr{e}}
		}
		return e, err
	}
	e, err := p.primary()
	for err == nil {
		switch {
		case p.is('o', "."):
			p.take()
			if !p.is('w') && !p.is('n') {
				return nil, errTemplate
			}
			e = &expr{op: ".", text: p.take().text, args: []*expr{e}}
		case p.is('o', "["):
			p.take()
			var in *expr
			if in, err = p.ternary(); err == nil {
				err = p.want("]")
			}
			e = &expr{op: "[", args: []*expr{e, in}}
		case p.is('o', "("):
			var args []*expr
			args, err = p.list("(", ")")
			e = &expr{op: "call", args: append([]*expr{e}, args...)}
		case p.is('o', "|"):
			p.take()
			if !p.is('w') {
				return nil, errTemplate
			}
			f := &expr{op: "filter", text: p.take().text, args: []*expr{e}}
			if p.is('o', "(") {
				var args []*expr
				args, err = p.list("(", ")")
				f.args = append(f.args, args...)
			}
			e = f
		default:
			return e, nil
		}
	}
	return nil, err
}

// list reads what stands between brackets. Names of arguments are dropped: those
// that matter, default=0 and precision=1, are known by their place too.
func (p *jinja) list(open, end string) ([]*expr, error) {
	if err := p.want(open); err != nil {
		return nil, err
	}
	var list []*expr
	for !p.is('o', end) {
		if len(p.tokens) > 1 && p.is('w') && p.tokens[1] == (token{'o', "="}) {
			p.take()
			p.take()
		}
		e, err := p.ternary()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if p.is('o', ",") {
			p.take()
		} else if !p.is('o', end) {
			return nil, errTemplate
		}
	}
	p.take()
	return list, nil
}

func (p *jinja) primary() (*expr, error) {
	if len(p.tokens) == 0 {
		return nil, errTemplate
	}
	switch {
	case p.is('o', "["):
		list, err := p.list("[", "]")
		return &expr{op: "list", args: list}, err
	case p.is('o', "("):
		p.take()
		e, err := p.ternary()
		if err != nil {
			return nil, err
		}
		if !p.is('o', ",") {
			return e, p.want(")")
		}
		p.take() // a tuple, which is as good as a list
		list := &expr{op: "list", args: []*expr{e}}
		for !p.is('o', ")") {
			if e, err = p.ternary(); err != nil {
				return nil, err
			}
			list.args = append(list.args, e)
			if p.is('o', ",") {
				p.take()
			} else if !p.is('o', ")") {
				return nil, errTemplate
			}
		}
		p.take()
		return list, nil
	case p.is('t'):
		return &expr{op: "text", text: p.take().text}, nil
	case p.is('n'):
		t := p.take().text
		if _, err := strconv.ParseFloat(t, 64); err != nil {
			return nil, errTemplate
		}
		return &expr{op: "number", text: t}, nil
	case p.is('w'):
		switch t := p.take().text; t {
		case "true", "True":
			return &expr{op: "bool", text: "true"}, nil
		case "false", "False":
			return &expr{op: "bool", text: "false"}, nil
		default:
			return &expr{op: "name", text: t}, nil
		}
	}
	return nil, errTemplate
}

// path is "trigger.to_state.state" of names joined by points; "" if it is not that.
func (e *expr) path() string {
	switch e.op {
	case "name":
		return e.text
	case ".":
		if p := e.args[0].path(); p != "" {
			return p + "." + e.text
		}
	case "[":
		if p := e.args[0].path(); p != "" && e.args[1].op == "text" {
			return p + "." + e.args[1].text
		}
	}
	return ""
}

// call is the name of a function that is called, such as "states", and its
// arguments.
func (e *expr) call() (name string, args []*expr) {
	if e.op == "call" {
		return e.args[0].path(), e.args[1:]
	}
	return "", nil
}

// String is the expression as a template has it, with all its parentheses.
func (e *expr) String() string {
	var args []string
	for _, a := range e.args {
		args = append(args, a.String())
	}
	switch e.op {
	case "text":
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(e.text) + "'"
	case "number", "bool", "name":
		return e.text
	case ".":
		return args[0] + "." + e.text
	case "[":
		return args[0] + "[" + args[1] + "]"
	case "call":
		return args[0] + "(" + strings.Join(args[1:], ", ") + ")"
	case "filter":
		return "(" + args[0] + ")|" + e.text + "(" + strings.Join(args[1:], ", ") + ")"
	case "list":
		return "[" + strings.Join(args, ", ") + "]"
	case "not":
		return "(not " + args[0] + ")"
	case "neg":
		return "(-" + args[0] + ")"
	case "if":
		return "(" + args[1] + " if " + args[0] + " else " + args[2] + ")"
	}
	return "(" + args[0] + " " + e.op + " " + args[1] + ")"
}
