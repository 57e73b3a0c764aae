package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What templates of Home Assistant mean: as a condition of tables where that goes,
// for tables say what they saw, else as an expression.

// test is a template as a condition.
func (x *home) test(e *expr) (*cond, error) {
	switch e.op {
	case "and", "or":
		a, err := x.test(e.args[0])
		if err != nil {
			return nil, err
		}
		b, err := x.test(e.args[1])
		if err != nil {
			return nil, err
		}
		c := &cond{op: e.op}
		for i, k := range []*cond{a, b} {
			if e.op == "and" && k.always() { // that a value is known says nothing here
				return []*cond{b, a}[i], nil
			}
			if k.op == e.op {
				c.kids = append(c.kids, k.kids...)
			} else {
				c.kids = append(c.kids, k)
			}
		}
		return c, nil
	case "not":
		c, err := x.test(e.args[0])
		if err != nil {
			return nil, err
		}
		return not(c), nil
	case "is", "is not":
		if e.args[0].path() == "wait.trigger" && strings.EqualFold(e.args[1].path(), "none") {
			return &cond{op: "expr", text: map[string]string{"is": "timed_out", "is not": "not timed_out"}[e.op]}, nil
		}
	case "==", "!=", "<", ">", "<=", ">=", "in", "not in":
		return x.compare(e)
	case "filter":
		if e.text == "bool" {
			return x.test(e.args[0])
		}
	case "name":
		if v := x.variable(e.text); v != nil {
			return x.inVariable(e.text, v, func(e *expr) (*cond, error) { return x.test(e) })
		}
	case "call":
		switch name, args := e.call(); name {
		case "has_value":
			if len(args) == 1 && args[0].op == "text" {
				return alwaysHolds(), nil
			}
		case "is_state":
			if len(args) == 2 && args[0].op == "text" {
				states, ok := texts(args[1])
				if !ok {
					return nil, errTemplate
				}
				return x.stateIs(args[0].text, "", states)
			}
		case "is_state_attr":
			if len(args) == 3 && args[0].op == "text" && args[1].op == "text" {
				states, ok := texts(args[2])
				if !ok {
					return nil, errTemplate
				}
				return x.stateIs(args[0].text, args[1].text, states)
			}
		}
	}
	text, err := x.value(e)
	if err != nil {
		return nil, err
	}
	return &cond{op: "expr", text: text}, nil
}

func (x *home) stateIs(id, attribute string, states []string) (*cond, error) {
	if id == "sun.sun" && attribute == "" && len(states) == 1 {
		x.needPlace()
		switch states[0] {
		case "above_horizon":
			return &cond{op: "table", table: table{{"sun", "up"}}}, nil
		case "below_horizon":
			return &cond{op: "table", table: table{{"sun", "down"}}}, nil
		}
	}
	e, err := x.entity(id)
	if err != nil {
		return nil, err
	}
	if c, err := x.eventIs(e, attribute, states); c != nil || err != nil {
		return c, err
	}
	return e.state(attribute, states)
}

// texts are the literals of one or of a list.
func texts(e *expr) ([]string, bool) {
	switch e.op {
	case "text", "number", "bool":
		return []string{e.text}, true
	case "neg":
		if e.args[0].op == "number" {
			return []string{"-" + e.args[0].text}, true
		}
	case "list":
		var all []string
		for _, a := range e.args {
			one, ok := texts(a)
			if !ok || a.op == "list" {
				return nil, false
			}
			all = append(all, one...)
		}
		return all, len(all) > 0
	}
	return nil, false
}

// bare is an expression without the filters that make a number of a text, which
// Hearth's values need not.
func bare(e *expr) *expr {
	for e.op == "filter" && slices.Contains([]string{"float", "int", "default", "lower", "trim", "string"}, e.text) {
		e = e.args[0]
	}
	if name, args := e.call(); len(args) > 0 && (name == "float" || name == "int") {
		return bare(args[0])
	}
	return e
}

// stateOf is the entity and attribute of states('x'), state_attr('x', 'y') and
// states.light.x.state.
func (x *home) stateOf(e *expr) (id, attribute string, ok bool) {
	e = bare(e)
	switch name, args := e.call(); {
	case name == "states" && len(args) == 1 && args[0].op == "text":
		return args[0].text, "", true
	case name == "state_attr" && len(args) == 2 && args[0].op == "text" && args[1].op == "text":
		return args[0].text, args[1].text, true
	}
	p := strings.Split(e.path(), ".")
	switch {
	case len(p) == 4 && p[0] == "states" && p[3] == "state":
		return p[1] + "." + p[2], "", true
	case len(p) == 5 && p[0] == "states" && p[3] == "attributes":
		return p[1] + "." + p[2], p[4], true
	}
	return "", "", false
}

// alwaysHolds is a condition that Hearth need not ask.
func alwaysHolds() *cond { return &cond{op: "expr", text: "true"} }

func (c *cond) always() bool { return c.op == "expr" && c.text == "true" }

func (x *home) compare(e *expr) (*cond, error) {
	left, right := e.args[0], e.args[1]
	op := e.op
	turned := map[string]string{"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
	if strings.ContainsAny(left.op, "<>") && strings.ContainsAny(op, "<>") { // a < b < c
		return x.test(&expr{op: "and", args: []*expr{left, {op: op, args: []*expr{left.args[1], right}}}})
	}
	if name, _ := right.call(); name == "now" && turned[op] != "" {
		left, right, op = right, left, turned[op]
	}
	if name, args := right.call(); name == "today_at" && len(args) == 1 {
		if now, _ := left.call(); now == "now" {
			return timeOfDay(op, args[0].text)
		}
	}
	if _, literal := texts(left); literal && turned[op] != "" {
		left, right, op = right, left, turned[op]
	}
	if left.op == "name" {
		if v := x.variable(left.text); v != nil {
			return x.inVariable(left.text, v, func(in *expr) (*cond, error) {
				return x.compare(&expr{op: op, args: []*expr{in, right}})
			})
		}
	}
	if right.op == "name" {
		if v := x.variable(right.text); v != nil {
			if e, err := x.meaning(right.text, v); err == nil {
				if _, ok := texts(e); ok {
					right = e
				}
			}
		}
	}
	values, literal := texts(right)
	if literal {
		if op == "!=" || op == "not in" {
			_, _, state := x.stateOf(left)
			if path := bare(left).path(); unknown(values) && (state || path == "trigger.to_state.state" || path == "trigger.from_state.state") {
				return alwaysHolds(), nil // what is not known is no value in Hearth
			}
			c, err := x.compare(&expr{op: map[string]string{"!=": "==", "not in": "in"}[op], args: []*expr{left, right}})
			if err != nil {
				return nil, err
			}
			return not(c), nil
		}
		if unknown(values) {
			id, _, state := x.stateOf(left)
			if path := bare(left).path(); path == "trigger.to_state.state" || path == "trigger.from_state.state" || state && !strings.HasPrefix(id, "sun.") {
				return nil, fmt.Errorf("a value that is %s is none in Hearth, it keeps the last; silent = \"1h\" or a topic of availability tells that it is gone", values[0])
			}
		}
		if c, err := x.clock(left, op, values); c != nil || err != nil {
			return c, err
		}
		if c, err := x.since(left, op, values); c != nil || err != nil {
			return c, err
		}
		path := left.path()
		if path == "wait.remaining" && values[0] == "0" && (op == "==" || op == ">" || op == "<=") {
			return &cond{op: "expr", text: map[bool]string{true: "not timed_out", false: "timed_out"}[op == ">"]}, nil
		}
		if path == "trigger.id" && (op == "==" || op == "in") {
			var ids []any
			for _, v := range values {
				if !x.ids[v] {
					return nil, fmt.Errorf("no trigger that was carried over has the id %s", oneLine(v))
				}
				ids = append(ids, v)
			}
			return &cond{op: "table", table: table{{"trigger", oneOrMore(ids)}}}, nil
		}
		if id, attribute, ok := x.stateOf(left); ok {
			if op == "==" || op == "in" {
				return x.stateIs(id, attribute, values)
			}
			f, err := strconv.ParseFloat(values[0], 64)
			key := map[string]string{"<": "below", ">": "above", "<=": "at_most", ">=": "at_least"}[op]
			if err != nil || key == "" || len(values) != 1 {
				return nil, errTemplate
			}
			if id == "sun.sun" && attribute == "elevation" && f >= -90 && f <= 90 {
				x.needPlace()
				side := "up"
				if key == "below" || key == "at_most" {
					side = "down"
				}
				return &cond{op: "table", table: table{{"sun", side}, {"elevation", f}}}, nil
			}
			en, err := x.entity(id)
			if err != nil {
				return nil, err
			}
			source, err := en.of(attribute)
			if err != nil {
				return nil, err
			}
			return &cond{op: "test", source: source, want: table{{key, f}}}, nil
		}
		if p := bare(left).path(); x.newState(p) && len(x.about) > 0 && !x.indirect {
			if op == "==" || op == "in" {
				list, err := x.about[0].values(values)
				if err != nil {
					return nil, err
				}
				return &cond{op: "table", table: table{{"is", oneOrMore(list)}}}, nil
			}
			if f, err := strconv.ParseFloat(values[0], 64); err == nil {
				key := map[string]string{"<": "below", ">": "above", "<=": "at_most", ">=": "at_least"}[op]
				return &cond{op: "table", table: table{{key, f}}}, nil
			}
		}
	}
	text, err := x.value(e)
	if err != nil {
		return nil, err
	}
	return &cond{op: "expr", text: text}, nil
}

// unknown says that these are words for what Home Assistant does not know.
func unknown(states []string) bool {
	return !slices.ContainsFunc(states, func(s string) bool {
		return !slices.Contains([]string{"unknown", "unavailable", "none", "None", ""}, s)
	}) && slices.ContainsFunc(states, func(s string) bool { return s != "" })
}

// timeOfDay is a comparison of the time of day.
func timeOfDay(op, text string) (*cond, error) {
	at, ok := clockTime(text)
	if !ok {
		return nil, fmt.Errorf("want a time such as 22:00, not %s", oneLine(text))
	}
	span := ""
	switch op {
	case ">", ">=":
		span = at + "-00:00"
	case "<", "<=":
		span = "00:00-" + at
	}
	if span == "" || at == "00:00" {
		return nil, errors.New("want the time of day compared with < or >")
	}
	return &cond{op: "table", table: table{{"time", span}}}, nil
}

// since is a comparison of the time since a state of on or off changed, now() -
// states.light.hall.last_changed; nil if it is something else.
func (x *home) since(left *expr, op string, values []string) (*cond, error) {
	e := bare(left)
	if name, _ := e.call(); e.op == "call" && name == "" && e.args[0].op == "." && e.args[0].text == "total_seconds" {
		e = e.args[0].args[0]
	}
	if e.op != "-" || len(values) != 1 {
		return nil, nil
	}
	stamp := func(e *expr) *expr {
		e = bare(e)
		if name, args := e.call(); name == "as_timestamp" && len(args) > 0 {
			return args[0]
		}
		return e
	}
	p := strings.Split(stamp(e.args[1]).path(), ".")
	if now, _ := stamp(e.args[0]).call(); now != "now" || len(p) != 4 || p[0] != "states" || p[3] != "last_changed" {
		return nil, nil
	}
	en, err := x.entity(p[1] + "." + p[2])
	if err != nil {
		return nil, err
	}
	f, err := strconv.ParseFloat(values[0], 64)
	d, ok := seconds(f)
	if err != nil || !ok || d <= 0 || !en.boolean() || !strings.ContainsAny(op, "<>") {
		return nil, errors.New("how long a state has held is asked of on and off, and in seconds")
	}
	held := func(on bool) *cond {
		return &cond{op: "test", source: en.source, want: table{{"is", on}, {"for", duration(d)}}}
	}
	c := both("or", held(true), held(false))
	if strings.HasPrefix(op, "<") {
		return not(c), nil
	}
	return c, nil
}

// clock is a comparison with the hour, the weekday or the month of now(); nil if
// it is something else.
func (x *home) clock(left *expr, op string, values []string) (*cond, error) {
	var what string
	e := bare(left)
	if id, _, ok := x.stateOf(e); ok && id == "sensor.time" && len(values) == 1 {
		return timeOfDay(op, values[0])
	}
	if e.op == "call" && len(e.args) == 2 && e.args[0].op == "." && e.args[0].text == "strftime" {
		if name, _ := e.args[0].args[0].call(); name == "now" {
			switch format := e.args[1].text; {
			case (format == "%H:%M" || format == "%H:%M:%S" || format == "%X") && len(values) == 1:
				return timeOfDay(op, values[0])
			case (format == "%a" || format == "%A") && (op == "==" || op == "in"):
				n := &node{kind: yaml.SequenceNode}
				for _, v := range values {
					n.items = append(n.items, &node{kind: yaml.ScalarNode, text: v})
				}
				days, err := weekdays(n)
				return &cond{op: "table", table: table{{"days", days}}}, err
			}
			return nil, errors.New("of now().strftime %H:%M compared with < and >, and %a, are carried over")
		}
	}
	if e.op == "call" { // now().weekday()
		e = e.args[0]
	}
	if e.op == "." {
		if name, _ := e.args[0].call(); name == "now" {
			what = e.text
		}
	}
	var list []int
	size := map[string]int{"hour": 24, "weekday": 7, "isoweekday": 7, "month": 12, "day": 31}[what]
	if size == 0 {
		if what != "" {
			return nil, fmt.Errorf("a condition on the %s of now", what)
		}
		return nil, nil
	}
	first := 0
	if what == "isoweekday" || what == "month" || what == "day" {
		first = 1
	}
	for i := first; i < first+size; i++ {
		holds := false
		for _, v := range values {
			n, err := strconv.Atoi(v)
			if err != nil {
				return nil, errTemplate
			}
			switch op {
			case "==", "in":
				holds = holds || i == n
			case "<":
				holds = i < n
			case ">":
				holds = i > n
			case "<=":
				holds = i <= n
			case ">=":
				holds = i >= n
			}
		}
		if holds {
			list = append(list, i)
		}
	}
	if len(list) == 0 || len(list) == size {
		return nil, errors.New("it always says the same")
	}
	days := []int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	switch what {
	case "day": // of each month
		var dates []any
		for m := 1; m <= 12; m++ {
			for i := 0; i < len(list); i++ {
				from := list[i]
				for i+1 < len(list) && list[i+1] == list[i]+1 {
					i++
				}
				if to := min(list[i], days[m-1]); from <= to {
					dates = append(dates, fmt.Sprintf("%02d-%02d..%02d-%02d", m, from, m, to))
				}
			}
		}
		return &cond{op: "table", table: table{{"dates", dates}}}, nil
	case "month":
		var dates []any
		for _, m := range list {
			last := days[m-1]
			dates = append(dates, fmt.Sprintf("%02d-01..%02d-%02d", m, m, last))
		}
		return &cond{op: "table", table: table{{"dates", oneOrMore(dates)}}}, nil
	case "weekday", "isoweekday":
		var has [7]bool
		for _, d := range list {
			has[d-first] = true
		}
		return &cond{op: "table", table: table{{"days", dayList(has)}}}, nil
	}
	var spans []*cond
	for i := 0; i < len(list); i++ {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		spans = append(spans, &cond{op: "table", table: table{{"time", fmt.Sprintf("%02d:00-%02d:00", list[i], (list[j]+1)%24)}}})
		i = j
	}
	return both("or", spans...), nil
}

// inVariable reads what a variable stands for in its place.
func (x *home) inVariable(name string, v *node, read func(*expr) (*cond, error)) (*cond, error) {
	e, err := x.meaning(name, v)
	if err != nil {
		return nil, err
	}
	x.expanding[name] = true
	defer delete(x.expanding, name)
	return read(e)
}

// meaning is the expression that a variable stands for.
func (x *home) meaning(name string, v *node) (*expr, error) {
	if err := x.tagged(v); err != nil {
		return nil, err
	}
	if x.expanding[name] || len(x.expanding) > 10 {
		return nil, fmt.Errorf("the variable %s stands for itself", oneLine(name))
	}
	switch {
	case v.scalar() && (strings.Contains(v.text, "{{") || strings.Contains(v.text, "{%")):
		if e, err := onlyExpr(v.text); err == nil {
			return e, nil
		}
		spans, err := parseTemplate(v.text)
		if err != nil {
			return nil, err
		}
		var whole *expr
		for _, s := range spans {
			e := s.expr
			if e == nil {
				e = &expr{op: "text", text: s.text}
			}
			if whole == nil {
				whole = e
			} else {
				whole = &expr{op: "~", args: []*expr{whole, e}}
			}
		}
		return whole, nil
	case v.scalar():
		if _, err := strconv.ParseFloat(v.text, 64); err == nil && !v.quoted {
			return &expr{op: "number", text: v.text}, nil
		}
		if on, ok := v.boolean(); ok {
			return &expr{op: "bool", text: strconv.FormatBool(on)}, nil
		}
		return &expr{op: "text", text: v.text}, nil
	case v.mapping():
		return nil, fmt.Errorf("the variable %s is a table", oneLine(name))
	}
	list := &expr{op: "list"}
	for _, one := range v.list() {
		list.args = append(list.args, &expr{op: "text", text: one.str()})
	}
	return list, nil
}

// value is a template as an expression of Hearth's.
func (x *home) value(e *expr) (string, error) {
	sub := func(e *expr) (string, error) {
		s, err := x.value(e)
		if err == nil && (levelOf(e.op) >= 0 || e.op == "if" || e.op == "not" || e.op == "neg") {
			s = "(" + s + ")"
		}
		return s, err
	}
	switch e.op {
	case "text":
		return exprText(e.text), nil
	case "number":
		f, err := strconv.ParseFloat(e.text, 64)
		if err != nil {
			return "", errTemplate
		}
		return number(f), nil
	case "bool":
		return e.text, nil
	case "list":
		parts := make([]string, len(e.args))
		for i, a := range e.args {
			s, err := x.value(a)
			if err != nil {
				return "", err
			}
			parts[i] = s
		}
		return "[" + strings.Join(parts, ", ") + "]", nil
	case "not", "neg":
		s, err := sub(e.args[0])
		return map[string]string{"not": "not ", "neg": "-"}[e.op] + s, err
	case "if":
		c, err := x.truth(e.args[0])
		if err != nil {
			return "", err
		}
		a, err := sub(e.args[1])
		if err != nil {
			return "", err
		}
		b, err := sub(e.args[2])
		return c + " ? " + a + " : " + b, err
	case "and", "or":
		a, err := x.truth(e.args[0])
		if err != nil {
			return "", err
		}
		b, err := x.truth(e.args[1])
		return a + " " + e.op + " " + b, err
	case "~":
		a, err := sub(e.args[0])
		if err != nil {
			return "", err
		}
		b, err := sub(e.args[1])
		return "string(" + a + ") + string(" + b + ")", err
	case "+", "-", "*", "/", "%", "==", "!=", "<", ">", "<=", ">=", "in", "not in":
		if id, attribute, ok := x.stateOf(e.args[0]); ok && attribute == "" {
			// A state that is on or off is a word of its device's in an expression.
			if en, err := x.entity(id); err == nil && en.boolean() {
				return x.onOff(e, en)
			}
		}
		a, err := sub(e.args[0])
		if err != nil {
			return "", err
		}
		b, err := sub(e.args[1])
		if e.args[0].op == "text" && e.args[1].op != "list" && strings.HasSuffix(e.op, "in") { // in a text
			b = "string(" + b + ") contains " + a
			if e.op == "not in" {
				b = "not (" + b + ")"
			}
			return b, err
		}
		return a + " " + e.op + " " + b, err
	case "//":
		a, err := sub(e.args[0])
		if err != nil {
			return "", err
		}
		b, err := sub(e.args[1])
		return "floor(" + a + " / " + b + ")", err
	case "filter":
		return x.filter(e)
	}
	if id, attribute, ok := x.stateOf(e); ok {
		en, err := x.entity(id)
		if err != nil {
			return "", err
		}
		source, err := en.of(attribute)
		return x.ref(source), err
	}
	if e.op == "name" {
		if v := x.variable(e.text); v != nil {
			in, err := x.meaning(e.text, v)
			if err != nil {
				return "", err
			}
			x.expanding[e.text] = true
			defer delete(x.expanding, e.text)
			return sub(in)
		}
	}
	switch name, args := e.call(); name {
	case "iif":
		if len(args) == 3 {
			return x.value(&expr{op: "if", args: args})
		}
		return "", errTemplate
	case "state_attr":
		if len(args) == 2 && args[0].path() == "trigger.entity_id" && args[1].text == "friendly_name" {
			return x.called()
		}
		return "", errors.New("the template asks for an attribute of an entity that it does not name")
	case "float", "int", "round", "abs", "min", "max":
		if len(args) > 0 {
			return x.filter(&expr{op: "filter", text: name, args: args})
		}
	case "is_state":
		if len(args) == 2 && args[0].op == "text" {
			if states, ok := texts(args[1]); ok && len(states) == 1 {
				en, err := x.entity(args[0].text)
				if err != nil {
					return "", err
				}
				return x.onOff(&expr{op: "==", args: []*expr{args[0], args[1]}}, en)
			}
		}
	case "":
	default:
		return "", fmt.Errorf("the template uses %s(), which has no counterpart in Hearth's expressions", oneLine(name))
	}
	path := e.path()
	switch {
	case x.within != nil && path != "":
		return "", fmt.Errorf("the template uses %s, which a [calc] does not know", oneLine(path))
	case x.indirect && path == "trigger.to_state.state" && x.oneIs():
		return x.ref(x.about[0].source), nil
	case x.indirect && (strings.HasPrefix(path, "trigger.to_state.") || strings.HasPrefix(path, "trigger.from_state.")) && !x.oneIs():
		return "", fmt.Errorf("the template uses %s, and which entity it was is not known here", oneLine(path))
	case x.indirect && path == "trigger.from_state.state":
		return "", errors.New("what the state was before is not known here")
	case path == "repeat.index" && x.index != "":
		return x.index, nil
	case path == "repeat.index0" && x.index != "":
		return "(" + x.index + " - 1)", nil
	case path == "repeat.first" && x.index != "":
		return "(" + x.index + " == 1)", nil
	case path == "wait.trigger":
		return "not timed_out", nil
	case x.newState(path) || path == "trigger.event.data.value":
		return "value", nil
	case path == "trigger.from_state.state":
		return "old", nil
	case path == "trigger.id":
		return "trigger", nil
	case path == "trigger.topic":
		return "topic", nil
	case path == "trigger.payload":
		return "msg", nil
	case strings.HasPrefix(path, "trigger.payload_json."), strings.HasPrefix(path, "trigger.json."):
		keys := strings.Split(path, ".")[2:]
		for _, k := range keys {
			if !plainKey(k) {
				return "", errTemplate
			}
		}
		return "msg." + strings.Join(keys, "."), nil
	case path == "wait.completed":
		return "not timed_out", nil
	case path == "repeat.item":
		return "item", nil
	case path == "trigger.entity_id" && x.oneIs():
		return exprText(x.about[0].id), nil
	case path == "trigger.to_state.name" || path == "trigger.from_state.name" || path == "trigger.to_state.attributes.friendly_name" || path == "trigger.from_state.attributes.friendly_name":
		return x.called()
	case path != "":
		return "", fmt.Errorf("the template uses %s, which has no counterpart in Hearth's expressions", oneLine(path))
	}
	return "", errTemplate
}

// newState says that a path is the value that set the rule off: the state, or what an
// event is.
func (x *home) newState(path string) bool {
	return path == "trigger.to_state.state" || path == "trigger.to_state.attributes.event_type" && len(x.about) > 0 && !slices.ContainsFunc(x.about, func(e *entity) bool { return !e.event })
}

// called is the name of what set the rule off: that of the only entity, or the end of
// the topic where it came.
func (x *home) called() (string, error) {
	if x.oneIs() {
		_, object, _ := strings.Cut(x.about[0].id, ".")
		return exprText(strings.ReplaceAll(object, "_", " ")), nil
	}
	prefix := ""
	for _, e := range x.about {
		p := "presence/"
		if e.raw {
			p = "zigbee2mqtt/"
		}
		if !e.raw && !strings.HasPrefix(e.source, p) || prefix != "" && p != prefix {
			prefix = ""
			break
		}
		prefix = p
	}
	if prefix == "" {
		return x.byTrigger()
	}
	return "trimPrefix(topic, " + exprText(prefix) + ")", nil
}

// byTrigger is the name of the entity that set the rule off, by the number or the id of
// its trigger.
func (x *home) byTrigger() (string, error) {
	if len(x.about) == 0 || len(x.whose) == 0 || len(x.whose) > 16 {
		return "", errors.New("the template asks for the name of one of several entities: name it in the text")
	}
	text := ""
	seen := make(map[string]string)
	for i, w := range x.whose {
		if was, ok := seen[w.id]; ok && was != w.name || w.name == "" {
			return "", errors.New("the template asks for the name of one of several entities, which their triggers do not tell apart: name it in the text")
		} else if ok {
			continue
		}
		seen[w.id] = w.name
		if i == len(x.whose)-1 {
			text += exprText(w.name)
		} else {
			text += "trigger == " + exprText(w.id) + " ? " + exprText(w.name) + " : "
		}
	}
	return "(" + text + ")", nil
}

// oneIs says that all triggers are about one entity, so that its name is known.
func (x *home) oneIs() bool {
	return len(x.about) > 0 && !slices.ContainsFunc(x.about, func(e *entity) bool { return e != x.about[0] })
}

func levelOf(op string) int {
	return slices.IndexFunc(levels, func(l []string) bool { return slices.Contains(l, op) })
}

// truth is a condition inside of an expression.
func (x *home) truth(e *expr) (string, error) {
	s, err := x.value(e)
	if err == nil && (levelOf(e.op) >= 0 && levelOf(e.op) < 3 || e.op == "if") {
		s = "(" + s + ")"
	}
	return s, err
}

// onOff compares a state that is on or off: as an expression sees it, it is true or
// the device's word for it.
func (x *home) onOff(e *expr, en *entity) (string, error) {
	states, ok := texts(e.args[1])
	if !ok || len(states) != 1 || e.op != "==" && e.op != "!=" {
		return "", errTemplate
	}
	values, err := en.values(states)
	if err != nil {
		return "", err
	}
	r := x.ref(en.source)
	on, boolean := values[0].(bool)
	switch {
	case boolean && (en.domain == "input_boolean" || en.whole):
		if on == (e.op == "==") {
			return r, nil
		}
		return "not " + r, nil
	case boolean:
		word := "'OFF'"
		if on {
			word = "'ON'"
		}
		return fmt.Sprintf("%s %s [%t, %s]", r, map[string]string{"==": "in", "!=": "not in"}[e.op], on, word), nil
	}
	var list []string
	for _, v := range values {
		if s, ok := v.(string); ok {
			list = append(list, exprText(s))
		} else {
			list = append(list, inline(v))
		}
	}
	return r + map[string]string{"==": " in [", "!=": " not in ["}[e.op] + strings.Join(list, ", ") + "]", nil
}

func (x *home) filter(e *expr) (string, error) {
	if a := e.args[0]; (e.text == "default" || e.text == "d") && len(e.args) > 1 && a.op == "name" && x.variable(a.text) == nil {
		return x.value(e.args[1]) // nobody gave it a value
	}
	in, err := x.value(e.args[0])
	if err != nil {
		return "", err
	}
	arg := func(i int, other string) (string, error) {
		if len(e.args) <= i {
			return other, nil
		}
		return x.value(e.args[i])
	}
	// A number is one already, a text that is none gives nothing.
	_, _, state := x.stateOf(e.args[0])
	switch e.text {
	case "float":
		if len(e.args) > 1 {
			d, err := arg(1, "")
			return "(" + in + " ?? " + d + ")", err
		}
		if state || levelOf(e.args[0].op) >= 3 {
			return in, nil
		}
		return "number(" + in + ")", nil
	case "int":
		if len(e.args) > 1 {
			d, err := arg(1, "")
			in = in + " ?? " + d
			if err != nil {
				return "", err
			}
		}
		return "int(" + in + ")", nil
	case "round":
		digits, err := arg(1, "0")
		return "round(" + in + ", " + digits + ")", err
	case "abs", "lower", "upper", "trim", "min", "max", "sum", "first", "last":
		if e.text == "min" || e.text == "max" {
			for i := range e.args[1:] {
				a, err := arg(i+1, "")
				if err != nil {
					return "", err
				}
				in += ", " + a
			}
		}
		return e.text + "(" + in + ")", nil
	case "title", "capitalize":
		x.need("the filters title and capitalize have no counterpart, and leave a text as it is")
		return "string(" + in + ")", nil
	case "string":
		return "string(" + in + ")", nil
	case "replace":
		if len(e.args) == 3 {
			from, err := arg(1, "")
			if err != nil {
				return "", err
			}
			to, err := arg(2, "")
			return "replace(string(" + in + "), " + from + ", " + to + ")", err
		}
	case "join":
		sep, err := arg(1, "''")
		return "join(" + in + ", " + sep + ")", err
	case "length", "count":
		return "len(" + in + ")", nil
	case "default", "d":
		d, err := arg(1, "''")
		return "(" + in + " ?? " + d + ")", err
	case "bool":
		return in, nil
	}
	return "", fmt.Errorf("the filter %s has no counterpart in Hearth's expressions", oneLine(e.text))
}

var decimals = lazily(`^%0?\.([1-9])f$`)

// args0 is the text that a filter is applied to, if it is one.
func (e *expr) args0() string {
	if len(e.args) > 0 && e.args[0].op == "text" {
		return e.args[0].text
	}
	return ""
}

// text is a text with templates as one with holes.
func (x *home) text(n *node) (string, error) {
	if n.scalar() && n.tag == "!secret" {
		name := slug(n.str())
		x.need("the secret %s: [secret] %s = \"...\"", n.str(), name)
		return "{secret('" + name + "')}", nil
	}
	if err := x.tagged(n); err != nil {
		return "", err
	}
	if !n.scalar() {
		return "", errors.New("want text")
	}
	spans, err := parseTemplate(n.text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range spans {
		if s.expr == nil {
			b.WriteString(plainText(s.text))
			continue
		}
		text, err := x.hole(s.expr)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

// hole is an expression in a text.
func (x *home) hole(e *expr) (string, error) {
	format := ""
	if e.op == "filter" && e.text == "round" && len(e.args) == 2 && e.args[1].op == "number" && e.args[1].text != "0" && len(e.args[1].text) == 1 {
		format = ":." + e.args[1].text // one decimal is also written where it is 0
		e = e.args[0]
	}
	if m := decimals().FindStringSubmatch(e.args0()); e.op == "filter" && e.text == "format" && len(e.args) == 2 && m != nil {
		format, e = ":."+m[1], e.args[1]
	}
	v, err := x.value(e)
	if err != nil {
		return "", err
	}
	if v[0] != '(' && !letter(v[0]) {
		v = "(" + v + ")"
	}
	return "{" + v + format + "}", nil
}
