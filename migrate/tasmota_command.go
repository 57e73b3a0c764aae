package migrate

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A statement is a command, or IF with its branches.
type statement struct {
	at      int // in the body
	command string
	ways    []way
}

type way struct {
	cond string // "" is ELSE
	list []statement
}

// statements reads the commands of a rule.
type statements struct {
	text string
	at   int
	err  error
}

var word = lazily(`^[A-Za-z]+[0-9]*`)

// next is the word that comes, in capitals.
func (p *statements) next() string {
	for p.at < len(p.text) && (p.text[p.at] <= ' ' || p.text[p.at] == ';') {
		p.at++
	}
	return strings.ToUpper(word().FindString(p.text[p.at:]))
}

// list reads statements up to the end, or to what ends a branch.
func (p *statements) list(depth int) []statement {
	var all []statement
	if depth > 20 {
		p.err = errors.New("IF in IF, deeper than 20")
		return nil
	}
	for p.err == nil {
		w := p.next()
		if p.at >= len(p.text) {
			if depth > 0 {
				p.err = errors.New("it has an IF without ENDIF")
			}
			return all
		}
		at := p.at
		switch {
		case strings.HasPrefix(w, "BACKLOG"):
			p.at += len(w)
			continue
		case w == "ENDIF" || w == "ELSE" || w == "ELSEIF":
			if depth == 0 {
				p.err = fmt.Errorf("it has %s without IF", w)
			}
			return all
		case w == "IF":
			p.at += len(w)
			s := statement{at: at}
			for kind := "IF"; kind != "ENDIF" && p.err == nil; {
				var one way
				if kind != "ELSE" {
					one.cond = p.parenthesis()
				}
				one.list = p.list(depth + 1)
				s.ways = append(s.ways, one)
				kind = p.next()
				p.at += len(kind)
			}
			all = append(all, s)
			continue
		}
		end := len(p.text)
		if alone := at == 0 || strings.TrimSpace(p.text[:at]) == ""; alone && sends().MatchString(w) {
			p.at = end // it is not in a Backlog, so a semicolon is a part of what it sends
			return append(all, statement{at: at, command: strings.TrimSpace(p.text[at:])})
		}
		if i := strings.IndexByte(p.text[p.at:], ';'); i >= 0 {
			end = p.at + i
		}
		if depth > 0 {
			if m := branchEnd().FindStringIndex(p.text[p.at:end]); m != nil {
				end = p.at + m[0]
			}
		}
		if end == p.at {
			end++
		}
		all = append(all, statement{at: at, command: strings.TrimSpace(p.text[p.at:end])})
		p.at = end
	}
	return nil
}

var sends = lazily(`^(PUBLISH2?|WEBSEND|WEBQUERY)$`)

var branchEnd = lazily(`(?i)\s(ENDIF|ELSEIF|ELSE)(\s|;|\(|$)`)

// parenthesis reads a condition.
func (p *statements) parenthesis() string {
	p.next()
	open := p.at
	for depth := 0; p.at < len(p.text); p.at++ {
		switch p.text[p.at] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				p.at++
				return p.text[open:p.at]
			}
		}
		if depth == 0 {
			break
		}
	}
	p.err = errors.New("it has an IF without a condition in parentheses")
	return ""
}

// commands makes actions of statements.
func (t *tasmota) commands(list []statement, b *block) []any {
	var all []any
	for _, s := range list {
		line := t.line(b.at + s.at)
		if s.ways != nil {
			all = append(all, t.branches(s, b, line)...)
			continue
		}
		actions, err := t.command(s.command)
		if err != nil {
			t.leave(line, s.command, "%s", err)
			t.lack(s.command)
			if decides(s.command) {
				t.broken = true
			}
		}
		all = append(all, actions...)
	}
	return all
}

// decides says whether others depend on what a command does.
func decides(c string) bool {
	w, _, _ := strings.Cut(c, " ")
	name, _ := command(strings.TrimRight(w, "="))
	return slices.Contains([]string{"var", "mem", "add", "sub", "mult", "scale", "event", "ruletimer", "rule", "delay"}, name)
}

func (t *tasmota) branches(s statement, b *block, line int) []any {
	var ways []any
	var only *cond
	for i, w := range s.ways {
		var c *cond
		if w.cond != "" {
			var err error
			if c, err = t.condition(w.cond); err != nil {
				t.lose(line, "IF "+w.cond, "%s", err)
				return nil
			}
		}
		do := t.commands(w.list, b)
		if len(do) == 0 {
			if i == len(s.ways)-1 {
				break
			}
			do = []any{table{{"delay", "1ms"}}} // nothing is done, and no later way gone
		}
		if c == nil {
			ways = append(ways, table{{"do", oneOrMore(do)}})
			break
		}
		only = c
		ways = append(ways, table{{"if", c.list()}, {"do", oneOrMore(do)}})
	}
	switch {
	case len(ways) == 0:
		return nil
	case len(ways) == 1 && only != nil:
		do, ok := ways[0].(table).get("do").([]any)
		if !ok {
			do = []any{ways[0].(table).get("do")}
		}
		return []any{with(only, do)}
	}
	return []any{table{{"choose", ways}}}
}

var powers = map[string]string{"0": "OFF", "1": "ON", "2": "TOGGLE", "3": "BLINK", "4": "BLINK_OFF", "off": "OFF", "on": "ON", "toggle": "TOGGLE", "blink": "BLINK", "false": "OFF", "true": "ON"}

// command is one command as actions.
func (t *tasmota) command(text string) ([]any, error) {
	i := strings.IndexFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '=' })
	head, args := text, ""
	formula := false
	if i >= 0 {
		head, args = text[:i], strings.TrimSpace(text[i:])
		if strings.HasPrefix(args, "=") && !strings.HasPrefix(args, "==") {
			formula, args = true, strings.TrimSpace(args[1:])
		}
	}
	if m := regexp.MustCompile(`^([A-Za-z]+)%(\w+)%$`).FindStringSubmatch(head); m != nil {
		return nil, errors.New("a command whose number stands in a variable: write one for each number, with IF")
	}
	if !wordOnly().MatchString(head) {
		return nil, errors.New("this is no command")
	}
	args = strings.Join(strings.Fields(args), " ")
	name, n := command(head)
	cmnd := t.under("cmnd")
	switch name {
	case "delay":
		if args == "" || args == "0" {
			return nil, nil
		}
		f, err := strconv.ParseFloat(args, 64)
		if err != nil || f < 0 || f > 36000 {
			return nil, errors.New("want tenths of a second, 1 to 36000")
		}
		return []any{table{{"delay", duration(time.Duration(f * float64(100*time.Millisecond)))}}}, nil
	case "var", "mem":
		if args == "" && !formula {
			return nil, nil // it only shows
		}
		if formula {
			return t.assign(name, n, func() (string, error) { return t.formula(args) })
		}
		if v, ok := scalarText(args).(float64); ok {
			return t.store(name, n, "to", v), nil
		}
		_, parts, err := t.outcome(strings.Trim(args, `"`))
		if err != nil {
			return nil, err
		}
		if len(parts) == 1 && !strings.Contains(args, "%") {
			return t.store(name, n, "to", strings.Trim(args, `"`)), nil
		}
		return t.assign(name, n, func() (string, error) { return joined(parts), nil })
	case "add", "sub", "mult":
		return t.assign("var", n, func() (string, error) {
			v, err := t.operand(args)
			op := map[string]string{"add": " + ", "sub": " - ", "mult": " * "}[name]
			return t.register("var", n, 0) + op + v, err
		})
	case "scale":
		return t.assign("var", n, func() (string, error) {
			var v [5]string
			for i, a := range strings.Split(args, ",") {
				var err error
				if i >= len(v) {
					return "", errors.New("want a value and four limits")
				}
				if v[i], err = t.operand(strings.TrimSpace(a)); err != nil {
					return "", err
				}
			}
			for i := range v {
				if v[i] == "" {
					v[i] = "0"
				}
			}
			return fmt.Sprintf("(%s - %s) * (%s - %s) / (%s - %s) + %s", v[0], v[1], v[4], v[3], v[2], v[1], v[3]), nil
		})
	case "ruletimer":
		return t.timer(n, args, formula)
	case "event":
		return t.event(args, formula)
	case "rule":
		return t.switchRules(n, args)
	case "publish", "publish2":
		topic, payload, _ := strings.Cut(args, " ")
		if topic == "" {
			return nil, errors.New("it has no topic")
		}
		topic = strings.NewReplacer("[topic]", t.Topic, "<topic>", t.Topic).Replace(topic)
		to, _, err := t.outcome(topic)
		if err != nil {
			return nil, err
		}
		if strings.ContainsAny(topic, "+#{}") {
			return nil, errors.New("want a topic to publish on, without + and # and braces")
		}
		text, _, err := t.outcome(payload)
		if err != nil {
			return nil, err
		}
		t.acts = true
		one := table{{"publish", to}, {"payload", text}}
		if head == "publish2" || name == "publish" && n == 2 && strings.HasSuffix(head, "2") {
			one.put("retain", true)
		}
		return []any{one}, nil
	case "websend", "webquery":
		return t.request(name, args)
	case "subscribe", "unsubscribe":
		return nil, nil // the triggers have it
	case "power":
		t.acts = true
		topic := "POWER"
		if head[len(head)-1] >= '0' && head[len(head)-1] <= '9' {
			topic = fmt.Sprintf("POWER%d", n)
		}
		if args == "" {
			return nil, nil // it only asks
		}
		if w, ok := powers[strings.ToLower(args)]; ok {
			return []any{table{{"publish", cmnd + topic}, {"payload", w}}}, nil
		}
		if strings.EqualFold(args, "%value%") && (t.on.kind == "power" || t.on.kind == "switch") {
			return []any{table{{"publish", cmnd + topic}, {"payload", "{value}"}}}, nil
		}
		text, _, err := t.outcome(args)
		return []any{table{{"publish", cmnd + topic}, {"payload", text}}}, err
	}
	t.acts = true
	payload, _, err := t.outcome(args)
	if err != nil {
		return nil, err
	}
	return []any{table{{"publish", cmnd + head}, {"payload", payload}}}, nil
}

// joined is a text of several parts as an expression.
func joined(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	for i := range parts {
		if !strings.HasPrefix(parts[i], "'") {
			parts[i] = "string(" + parts[i] + ")"
		}
	}
	return strings.Join(parts, " + ")
}

// operand is a number, a variable or %value%.
func (t *tasmota) operand(text string) (string, error) {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return number(f), nil
	}
	if strings.HasPrefix(text, "%") {
		return t.variable(text)
	}
	return "", fmt.Errorf("want a number or a variable, not %q", oneLine(text))
}

func (t *tasmota) store(kind string, n int, key string, v any) []any {
	name := t.register(kind, n, 0)
	t.stored[fmt.Sprintf("%s%d", kind, n)] = true
	t.wrote[name] = true
	return []any{set(name, key, v)}
}

func (t *tasmota) assign(kind string, n int, value func() (string, error)) ([]any, error) {
	v, err := value()
	if err != nil {
		return nil, err
	}
	return t.store(kind, n, "value", v), nil
}

// timer: a variable that is running for a time and then over, which is what
// Rules#Timer looks at. One that is stopped is not over.
func (t *tasmota) timer(n int, args string, formula bool) ([]any, error) {
	if n < 1 || n > 8 {
		return nil, errors.New("want a timer from 1 to 8")
	}
	name := t.register("timer", n, nil)
	if f, err := strconv.ParseFloat(args, 64); err == nil {
		d, ok := seconds(f)
		if !ok || d < 0 {
			return nil, errors.New("want seconds")
		}
		if d == 0 {
			return []any{set(name, "to", "stopped")}, nil
		}
		return []any{table{{"set", name}, {"to", "running"}, {"for", duration(d)}}}, nil
	}
	if args == "" {
		return nil, nil // it only shows
	}
	var v string
	var err error
	if formula {
		v, err = t.formula(args)
	} else {
		v, err = t.operand(args)
	}
	if err != nil {
		return nil, err
	}
	return []any{table{{"set", name}, {"to", "running"}, {"for", "{" + hole(v) + "}s"}}}, nil
}

// hole is an expression as it can stand in a text.
func hole(v string) string {
	if v[0] != '(' && !letter(v[0]) {
		return "(" + v + ")"
	}
	return v
}

// event is a message on a topic of the rules' own.
func (t *tasmota) event(args string, formula bool) ([]any, error) {
	name, value, has := strings.Cut(args, "=")
	name = strings.ToLower(strings.TrimSpace(name))
	if formula || !plainTopic(name) || strings.ContainsAny(name, " ") {
		return nil, errors.New("want an event such as name or name=value")
	}
	t.acts = true
	one := table{{"publish", "rules/" + t.Topic + "/" + name}}
	value = strings.TrimSpace(value)
	switch {
	case !has || value == "":
		one.put("payload", "1")
	case strings.EqualFold(value, "%time%"):
		one.put("payload", "now")
	default:
		text, _, err := t.outcome(value)
		if err != nil {
			return nil, err
		}
		one.put("payload", text)
	}
	return []any{one}, nil
}

// switchRules enables or disables a set.
func (t *tasmota) switchRules(n int, args string) ([]any, error) {
	key := map[string]string{"0": "disable", "off": "disable", "1": "enable", "on": "enable"}[strings.ToLower(args)]
	if n < 1 || n > 3 || key == "" {
		return nil, errors.New("a rule is switched on and off, and not changed, by another")
	}
	if t.sets[n].gated {
		return []any{set(t.gate(n), "to", key == "enable")}, nil
	}
	var all []any
	for _, b := range t.sets[n].blocks {
		if !t.gone[b.name] {
			all = append(all, table{{key, b.name}})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no rules of Rule%d came out", n)
	}
	return all, nil
}

// request is a command for another device over HTTP, or any request.
func (t *tasmota) request(name, args string) ([]any, error) {
	t.acts = true
	if name == "webquery" {
		address, rest, _ := strings.Cut(args, " ")
		method := "GET"
		if f := strings.Fields(rest); len(f) > 0 {
			method = strings.ToUpper(f[0])
		}
		_, body, _ := strings.Cut(rest, " ")
		body = strings.TrimSpace(body)
		if strings.HasPrefix(body, "[") || body != "" && method == "GET" || method != "GET" && method != "POST" && method != "PUT" && method != "PATCH" {
			return nil, errors.New("of a WebQuery the address, the method and the data are carried over, without headers")
		}
		list, err := t.http(address, method)
		if err != nil || body == "" {
			return list, err
		}
		text, _, err := t.outcome(body)
		return []any{append(list[0].(table), pair{"body", text})}, err
	}
	host, rest, ok := strings.Cut(strings.TrimPrefix(args, "["), "]")
	rest = strings.TrimSpace(rest)
	if !ok || !strings.HasPrefix(args, "[") || strings.ContainsAny(host, ", /{") || host == "" || rest == "" {
		return nil, errors.New("want WebSend [host] command")
	}
	if strings.HasPrefix(rest, "/") {
		return t.http("http://"+host+rest, "GET")
	}
	list, err := t.http("http://"+host+"/cm?cmnd=", "GET")
	if err != nil {
		return nil, err
	}
	address := "http://" + host + "/cm?cmnd="
	for at := 0; at < len(rest); {
		next := variable().FindStringIndex(rest[at:])
		if next == nil {
			next = []int{len(rest) - at, len(rest) - at}
		}
		address += plainText(url.PathEscape(rest[at : at+next[0]]))
		if next[0] < next[1] {
			v, err := t.variable(rest[at+next[0] : at+next[1]])
			if err != nil {
				return nil, err
			}
			address += "{" + hole(v) + "}"
		}
		at += next[1]
	}
	return []any{append(table{{"http", address}}, list[0].(table)[1:]...)}, nil
}

var variable = lazily(`%[A-Za-z]+[0-9]*%`)

func (t *tasmota) http(address, method string) ([]any, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsAny(address, "{}%") && strings.Contains(address, "%v") {
		return nil, errors.New("want an address such as http://192.168.1.5/ring")
	}
	t.need("a request to %s has to be allowed if it is in the house: [http] allow = [%q]", u.Hostname(), u.Hostname())
	return []any{table{{"http", plainText(address)}, {"method", method}}}, nil
}

// Conditions and formulas: VAR1, MEM1, %value%, numbers, + - * / % ^, comparisons,
// AND and OR.

func (t *tasmota) parse(text string) (*expr, error) {
	p := &formulas{}
	rest := text
	for rest != "" {
		c := rest[0]
		n := 1
		switch {
		case c <= ' ':
			rest = rest[1:]
			continue
		case c >= '0' && c <= '9' || c == '.':
			for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
				n++
			}
			p.tokens = append(p.tokens, token{'n', rest[:n]})
		case letter(c):
			for n < len(rest) && (letter(rest[n]) || rest[n] >= '0' && rest[n] <= '9') {
				n++
			}
			p.tokens = append(p.tokens, token{'w', rest[:n]})
		default:
			if m := regexp.MustCompile(`^%[A-Za-z]+[0-9]*%`).FindString(rest); m != "" {
				p.tokens = append(p.tokens, token{'w', m})
				n = len(m)
				break
			}
			for _, op := range []string{"==", "!=", ">=", "<="} {
				if strings.HasPrefix(rest, op) {
					n = 2
				}
			}
			p.tokens = append(p.tokens, token{'o', rest[:n]})
		}
		rest = rest[n:]
	}
	e, err := p.binary(0)
	if err == nil && len(p.tokens) > 0 {
		err = errFormula
	}
	return e, err
}

var errFormula = errors.New("want a formula such as VAR1+3, or a condition such as (VAR1>3 AND MEM1==0)")

type formulas struct {
	tokens []token
	depth  int
}

// strengths are the operators from those that bind the least.
var strengths = [][]string{{"OR"}, {"AND"}, {"==", "!=", ">=", "<=", "=", ">", "<", "|"}, {"+", "-"}, {"*", "/"}, {"%"}, {"^"}}

func (p *formulas) binary(level int) (*expr, error) {
	if level == len(strengths) {
		return p.primary()
	}
	e, err := p.binary(level + 1)
	for err == nil && len(p.tokens) > 0 {
		t := p.tokens[0]
		op := strings.ToUpper(t.text)
		if t.kind == 'n' || !slices.Contains(strengths[level], op) {
			return e, nil
		}
		p.tokens = p.tokens[1:]
		var right *expr
		right, err = p.binary(level + 1)
		e = &expr{op: op, args: []*expr{e, right}}
	}
	return e, err
}

func (p *formulas) primary() (*expr, error) {
	if p.depth++; p.depth > 60 {
		return nil, errFormula
	}
	defer func() { p.depth-- }()
	if len(p.tokens) == 0 {
		return nil, errFormula
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	switch {
	case t.kind == 'n':
		if _, err := strconv.ParseFloat(t.text, 64); err != nil {
			return nil, errFormula
		}
		return &expr{op: "number", text: t.text}, nil
	case t.kind == 'w':
		return &expr{op: "name", text: strings.ToLower(strings.Trim(t.text, "%")), args: []*expr{{op: t.text}}}, nil
	case t.text == "-":
		e, err := p.primary()
		return &expr{op: "neg", args: []*expr{e}}, err
	case t.text == "(":
		e, err := p.binary(0)
		if err == nil && (len(p.tokens) == 0 || p.tokens[0].text != ")") {
			err = errFormula
		}
		if err != nil {
			return nil, err
		}
		p.tokens = p.tokens[1:]
		return e, nil
	}
	return nil, errFormula
}

// formula is arithmetic as an expression.
func (t *tasmota) formula(text string) (string, error) {
	e, err := t.parse(text)
	if err != nil {
		return "", err
	}
	return t.arithmetic(e)
}

func (t *tasmota) arithmetic(e *expr) (string, error) {
	switch e.op {
	case "number":
		f, _ := strconv.ParseFloat(e.text, 64)
		return number(f), nil
	case "name":
		// VAR1 is what it is now, %VAR1% what it was when the rule began.
		if kind, n := command(e.text); (kind == "var" || kind == "mem") && e.args[0].op[0] != '%' && !t.gone[fmt.Sprintf("%s%d", kind, n)] {
			return t.register(kind, n, 0), nil
		}
		return t.variable(e.text)
	case "neg":
		v, err := t.arithmetic(e.args[0])
		return "-(" + v + ")", err
	case "+", "-", "*", "/", "^", "%":
		var v [2]string
		for i, a := range e.args {
			var err error
			if v[i], err = t.arithmetic(a); err != nil {
				return "", err
			}
			if len(a.args) > 1 {
				v[i] = "(" + v[i] + ")"
			}
		}
		switch e.op {
		case "%":
			return fmt.Sprintf("int(%s) %% int(%s)", v[0], v[1]), nil
		}
		return v[0] + " " + e.op + " " + v[1], nil
	}
	return "", errFormula
}

// condition is that of an IF.
func (t *tasmota) condition(text string) (*cond, error) {
	e, err := t.parse(text)
	if err != nil {
		return nil, err
	}
	return t.logical(e)
}

var mirrored = map[string]string{"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!=", "=": "="}

func (t *tasmota) logical(e *expr) (*cond, error) {
	switch e.op {
	case "AND", "OR":
		c := &cond{op: strings.ToLower(e.op)}
		for _, a := range e.args {
			k, err := t.logical(a)
			if err != nil {
				return nil, err
			}
			if k.op == c.op {
				c.kids = append(c.kids, k.kids...)
			} else {
				c.kids = append(c.kids, k)
			}
		}
		return c, nil
	case "==", "!=", ">=", "<=", "=", ">", "<":
	default:
		return nil, errFormula
	}
	left, right, op := e.args[0], e.args[1], e.op
	if left.op == "number" && right.op == "name" || right.op == "name" && right.text == "time" {
		left, right, op = right, left, mirrored[op]
	}
	if left.op == "name" && left.text == "time" {
		return t.clockCond(op, right)
	}
	value, known := scalar(right)
	if left.op == "name" && known {
		key := map[string]string{"==": "is", "=": "is", "!=": "is", ">": "above", "<": "below", ">=": "at_least", "<=": "at_most"}[op]
		f, isNumber := value.(float64)
		if key != "is" && !isNumber {
			return nil, errFormula
		}
		var c *cond
		switch kind, n := command(left.text); {
		case (kind == "var" || kind == "mem") && t.gone[fmt.Sprintf("%s%d", kind, n)]:
			return nil, fmt.Errorf("%s: what sets it was not carried over", left.text)
		case kind == "var" || kind == "mem":
			name := t.register(kind, n, 0)
			if left.args[0].op[0] == '%' {
				name = t.old(name)
			}
			c = &cond{op: "test", source: name, want: value}
			if key != "is" {
				c.want = table{{key, value}}
			}
		case left.text == "value" && t.on.worded() && isNumber && key == "is":
			word, ok := t.on.states(f)
			if !ok {
				return nil, fmt.Errorf("%s is no state", number(f))
			}
			c = &cond{op: "table", table: table{{"is", word}}}
		case left.text == "value" && !t.on.worded():
			c = &cond{op: "table", table: table{{key, value}}}
		}
		if c != nil && op == "!=" {
			return not(c), nil
		}
		if c != nil {
			return c, nil
		}
	}
	a, err := t.arithmetic(left)
	if err != nil {
		return nil, err
	}
	b, err := t.arithmetic(right)
	if err != nil {
		return nil, err
	}
	if op == "=" {
		op = "=="
	}
	return &cond{op: "expr", text: a + " " + op + " " + b}, nil
}

// scalar is a number, or a word that is no variable.
func scalar(e *expr) (any, bool) {
	switch e.op {
	case "number":
		f, err := strconv.ParseFloat(e.text, 64)
		return f, err == nil
	case "neg":
		if f, ok := scalar(e.args[0]); ok {
			if f, ok := f.(float64); ok {
				return -f, true
			}
		}
	case "name":
		kind, _ := command(e.text)
		if !slices.Contains([]string{"var", "mem", "time", "uptime", "utctime", "localtime", "sunrise", "sunset", "value"}, kind) && e.args[0].op[0] != '%' {
			return e.args[0].op, true
		}
	}
	return nil, false
}

// clockCond is a comparison of the minutes since midnight.
func (t *tasmota) clockCond(op string, e *expr) (*cond, error) {
	if e.op == "name" && (e.text == "sunrise" || e.text == "sunset") {
		t.need("the sun needs latitude and longitude in [hub]")
		half := map[string]string{"sunrise": "00:00-12:00", "sunset": "12:00-00:00"}[e.text]
		dark := &cond{op: "table", table: table{{"sun", "down"}, {"time", half}}}
		if (e.text == "sunset") == (op == ">" || op == ">=") {
			return dark, nil
		}
		return not(dark), nil
	}
	v, _ := scalar(e)
	f, ok := v.(float64)
	n := int(f)
	if !ok || f != float64(n) {
		return nil, errors.New("want TIME compared with a minute of the day")
	}
	from, to := 0, 1440
	switch op {
	case ">":
		from = n + 1
	case ">=":
		from = n
	case "<":
		to = n
	case "<=":
		to = n + 1
	case "=", "==":
		from, to = n, n+1
	default:
		return nil, errors.New("want TIME compared with a minute of the day")
	}
	if from < 0 || to > 1440 || from >= to || from == 0 && to == 1440 {
		return nil, errors.New("it always says the same")
	}
	return &cond{op: "table", table: table{{"time", minutesOfDay(from) + "-" + minutesOfDay(to%1440)}}}, nil
}
