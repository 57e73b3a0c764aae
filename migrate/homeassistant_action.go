package migrate

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// actions are those of a sequence, in order.
func (x *home) actions(n *node) []any {
	vars := len(x.vars)
	defer func() { x.vars = x.vars[:vars] }()
	var all []any
	for _, one := range n.list() {
		if err := x.tagged(one); err != nil {
			x.lose(one.line, one.show(), "%s", err)
			continue
		}
		if !one.mapping() {
			if one.scalar() && strings.Contains(one.text, "{{") { // a condition in short
				if c := x.condition(one); c != nil {
					all = append(all, table{{"if", not(c).list()}, {"stop", true}})
				}
				continue
			}
			x.lose(one.line, one.show(), "want a table")
			continue
		}
		if on, ok := one.get("enabled").boolean(); ok && !on {
			continue
		}
		all = append(all, x.action(one)...)
	}
	return all
}

// action is one step of a sequence. What decides about the rest of it, and can't
// be carried over, is lost; a service that Hearth does not have is left.
func (x *home) action(n *node) []any {
	lost := func(err error) []any {
		x.lose(n.line, n.show(), "%s", err)
		return nil
	}
	common := []string{"alias", "enabled", "continue_on_error"}
	known := func(keys ...string) { x.unknown(n, append(common, keys...)...) }
	if s := n.get("action", "service", "service_template"); s != nil && n.get("device_id") == nil {
		known("action", "service", "service_template", "target", "data", "entity_id", "data_template", "response_variable", "metadata")
		if ways := x.split(n); ways != nil {
			return ways
		}
		list, err := x.service(n, s)
		if err != nil {
			x.leave(n.line, s.show(), "%s", err)
		}
		return list
	}
	switch {
	case n.get("delay") != nil:
		known("delay")
		if t := chance(n.get("delay")); t != nil {
			return []any{t}
		}
		d, text, err := x.pause(n.get("delay"))
		switch {
		case err != nil:
			return lost(err)
		case text != "":
			return []any{table{{"delay", text}}}
		case d == 0:
			return nil
		}
		return []any{table{{"delay", duration(d)}}}
	case n.get("wait_for_trigger") != nil:
		known("wait_for_trigger", "timeout", "continue_on_timeout")
		// Its triggers have no names, and conditions of their own can't stand here.
		only, ids, about := x.only, x.ids, x.about
		x.only, x.ids = nil, make(map[string]bool)
		triggers := x.triggers(n.get("wait_for_trigger"))
		extra := x.only
		x.only, x.ids, x.about = only, ids, about
		if len(triggers) == 0 || len(extra) > 0 {
			return lost(errors.New("what it waits for can't be said in one trigger"))
		}
		var all []any
		for _, t := range triggers {
			all = append(all, slices.DeleteFunc(t, func(p pair) bool { return p.key == "id" || p.key == "changed" }))
		}
		return x.wait(n, oneOrMore(all))
	case n.get("wait_template") != nil:
		known("wait_template", "timeout", "continue_on_timeout")
		e, err := onlyExpr(n.get("wait_template").str())
		if err != nil {
			return lost(err)
		}
		c, err := x.test(e)
		if err != nil {
			return lost(err)
		}
		triggers, ok := c.edges(false)
		if !ok || len(triggers) != 1 && c.op != "or" {
			return lost(errors.New("it waits for several things at once: wait for one after the other, or for a [calc] of them"))
		}
		var all []any
		sun := false
		for _, t := range triggers {
			all = append(all, t)
			sun = sun || t.get("sun") != nil
		}
		wait := x.wait(n, oneOrMore(all))
		if sun { // a wait for the sun waits for the next time
			return []any{with(not(c), wait)}
		}
		return wait
	case n.get("choose") != nil:
		known("choose", "default")
		return x.choose(n)
	case n.get("if") != nil:
		known("if", "then", "else")
		var ways []any
		c := x.conditions(n.get("if"))
		if yes := x.actions(n.get("then")); c != nil {
			if len(yes) == 0 {
				c = not(c)
				if no := x.actions(n.get("else")); len(no) > 0 {
					return []any{with(c, no)}
				}
				return nil
			}
			no := x.actions(n.get("else"))
			if len(no) == 0 {
				return []any{with(c, yes)}
			}
			ways = []any{table{{"if", c.list()}, {"do", oneOrMore(yes)}}, table{{"do", oneOrMore(no)}}}
			return []any{table{{"choose", ways}}}
		}
		return nil
	case n.get("repeat") != nil:
		known("repeat")
		return x.repeat(n.get("repeat"))
	case n.get("parallel") != nil:
		known("parallel")
		var lists []any
		for _, one := range n.get("parallel").list() {
			branch := one
			if s := one.get("sequence"); s != nil {
				branch = s
			}
			if list := x.actions(branch); len(list) > 0 {
				lists = append(lists, list)
			}
		}
		if len(lists) == 0 {
			return nil
		}
		return []any{table{{"parallel", lists}}}
	case n.get("sequence") != nil:
		known("sequence")
		return x.actions(n.get("sequence"))
	case present(n, "stop"):
		known("stop", "error", "response_variable")
		return []any{table{{"stop", true}}}
	case n.get("variables") != nil:
		known("variables")
		x.scope(n.get("variables"))
		return nil
	case n.get("scene") != nil:
		known("scene", "metadata")
		list, err := x.scene(n.get("scene").str(), nil)
		if err != nil {
			x.leave(n.line, "scene: "+n.get("scene").show(), "%s", err)
		}
		return list
	case n.get("condition", "and", "or", "not") != nil:
		if c := x.condition(n); c != nil {
			return []any{table{{"if", not(c).list()}, {"stop", true}}}
		}
		return nil
	case n.get("event") != nil:
		known("event", "event_data", "event_data_template")
		x.leave(n.line, "event: "+n.get("event").show(), "Hearth has no event bus: publish a message in its place")
		return nil
	case n.get("device_id") != nil:
		return x.deviceAction(n)
	}
	return lost(errors.New("an action of this kind is not known"))
}

// split makes two ways of an action in which a template chooses the service, the
// entity, or a value by a test that only a condition can say: {{ 'light.turn_on' if
// ... else 'light.turn_off' }}. Templates with another choice are left to expressions.
func (x *home) split(n *node) []any {
	for i, key := range n.keys {
		v := n.items[i]
		switch key {
		case "action", "service", "service_template", "entity_id":
			if ways := x.choice(v, func(v *node) *node { return n.with(i, v) }); ways != nil {
				return ways
			}
		case "target", "data", "data_template":
			for j, k := range v.keys {
				if key != "target" && !slices.Contains([]string{"entity_id", "brightness", "brightness_pct", "brightness_step", "brightness_step_pct", "color_temp", "color_temp_kelvin", "duration", "temperature", "position", "hvac_mode", "option", "value", "percentage"}, k) {
					continue
				}
				if ways := x.choice(v.items[j], func(one *node) *node { return n.with(i, v.with(j, one)) }); ways != nil {
					return ways
				}
			}
		}
	}
	return nil
}

// choice is the two ways of one value, which whole puts back into its action; nil if
// no template chooses it.
func (x *home) choice(v *node, whole func(*node) *node) []any {
	if !v.scalar() || v.tag != "" || !strings.Contains(v.text, "{{") && !strings.Contains(v.text, "{%") {
		return nil
	}
	spans, err := parseTemplate(strings.TrimSpace(v.text))
	at := slices.IndexFunc(spans, func(s span) bool { return s.expr != nil })
	if err != nil || at < 0 || slices.ContainsFunc(spans[at+1:], func(s span) bool { return s.expr != nil }) {
		return nil
	}
	e := spans[at].expr
	if e.path() == "trigger.to_state.state" && len(x.about) > 0 && !slices.ContainsFunc(x.about, func(e *entity) bool { return !e.boolean() }) {
		// light.turn_{{ trigger.to_state.state }}
		e = &expr{op: "if", args: []*expr{{op: "==", args: []*expr{e, {op: "text", text: "on"}}}, {op: "text", text: "on"}, {op: "text", text: "off"}}}
	}
	if e.op != "if" {
		return nil
	}
	c, err := x.test(e.args[0])
	if err != nil {
		return nil
	}
	var do [2][]any
	for i, e := range e.args[1:] {
		text := "{{ " + e.String() + " }}"
		if one, ok := texts(e); ok && len(one) == 1 && e.op != "list" {
			text = one[0]
		}
		for _, s := range slices.Backward(spans[:at]) {
			text = s.text + text
		}
		for _, s := range spans[at+1:] {
			text += s.text
		}
		do[i] = x.action(whole(&node{line: v.line, kind: v.kind, text: text}))
	}
	switch {
	case len(do[0]) == 0 && len(do[1]) == 0:
		return []any{}
	case len(do[1]) == 0:
		return []any{with(c, do[0])}
	case len(do[0]) == 0:
		return []any{with(not(c), do[1])}
	}
	return []any{table{{"choose", []any{table{{"if", c.list()}, {"do", oneOrMore(do[0])}}, table{{"do", oneOrMore(do[1])}}}}}}
}

// with is a mapping with another value in one place.
func (n *node) with(i int, v *node) *node {
	other := *n
	other.items = slices.Clone(n.items)
	other.items[i] = v
	return &other
}

var (
	someOf = lazily(`range\((\d{1,5}), *(\d{1,5})\)\)? *\| *random`)
	ofUnit = lazily(`^\{\{ *'(?:%0?2?[id]|00?):(%0?2?[id]|00):?(%0?2?[id]|00)?' *%`)
)

// chance is a delay of a time that is drawn: {{ range(1, 30) | random }} of some unit,
// or as a part of '00:%02i:00'. Nil if it is another.
func chance(n *node) table {
	unit, text := "s", n.text
	if n.mapping() && len(n.keys) == 1 {
		unit, text = map[string]string{"hours": "h", "minutes": "m", "seconds": "s"}[n.keys[0]], n.items[0].text
		if strings.Contains(text, "%0") {
			return nil
		}
	} else if m := ofUnit().FindStringSubmatch(strings.TrimSpace(text)); m != nil {
		unit = "s"
		if strings.HasPrefix(m[1], "%") {
			unit = "m"
		}
		if strings.Count(text, "%0") > 1 {
			return nil
		}
	}
	m := someOf().FindStringSubmatch(text)
	if m == nil || unit == "" || strings.Count(text, "random") != 1 || strings.ContainsAny(strings.Replace(text, m[0], "", 1), "*+/") {
		return nil
	}
	from, _ := strconv.Atoi(m[1])
	to, _ := strconv.Atoi(m[2])
	if to-1 <= from || from > 20_000 || to-from > 1400 && unit == "m" || to-from > 23 && unit == "h" || to-from > 86_000 {
		return nil
	}
	least := strconv.Itoa(from) + unit
	if from == 0 {
		least = "1ms"
	}
	return table{{"delay", least}, {"random", strconv.Itoa(to-1-from) + unit}}
}

// with runs actions under a condition.
func with(c *cond, actions []any) table {
	t := table{{"if", c.list()}}
	if one, ok := oneOrMore(actions).(table); ok && one.get("if") == nil {
		return append(t, one...)
	}
	return append(t, pair{"do", oneOrMore(actions)})
}

// wait is what waits for triggers, and what becomes of the rest if they never come.
func (x *home) wait(n *node, triggers any) []any {
	t := table{{"wait", triggers}}
	f := n.get("timeout")
	if f == nil {
		return []any{t}
	}
	d, text, err := x.pause(f)
	if err != nil || text != "" || d == 0 {
		x.lose(f.line, "timeout: "+f.show(), "want a fixed time")
		return []any{t}
	}
	t.put("timeout", duration(d))
	all := []any{t}
	if on, ok := n.get("continue_on_timeout").boolean(); ok && !on {
		all = append(all, table{{"if", "timed_out"}, {"stop", true}})
	}
	return all
}

func (x *home) choose(n *node) []any {
	var ways []any
	for _, one := range n.get("choose").list() {
		x.unknown(one, "conditions", "condition", "sequence", "alias", "enabled")
		if on, ok := one.get("enabled").boolean(); ok && !on {
			continue
		}
		c := x.conditions(one.get("conditions", "condition"))
		do := x.actions(one.get("sequence"))
		if c == nil {
			continue // it was lost, and the rule with it
		}
		if len(do) == 0 {
			do = []any{table{{"delay", "1ms"}}} // nothing is done, and no later way gone
		}
		ways = append(ways, table{{"if", c.list()}, {"do", oneOrMore(do)}})
	}
	if do := x.actions(n.get("default")); len(do) > 0 {
		if len(ways) == 0 {
			return do
		}
		ways = append(ways, table{{"do", oneOrMore(do)}})
	}
	if len(ways) == 0 {
		return nil
	}
	return []any{table{{"choose", ways}}}
}

// repeat is a loop. One that asks how often it has run has a variable that counts.
func (x *home) repeat(n *node) []any {
	x.unknown(n, "sequence", "count", "while", "until", "for_each")
	outer := x.index
	defer func() { x.index = outer }()
	number := n.get("count")
	_, err := strconv.Atoi(number.str())
	var begin, next []any
	if n.mentions("repeat.index") || n.mentions("repeat.first") || number != nil && err != nil && strings.Contains(number.str(), "{{") {
		x.index = x.name(x.current+"_run", x.current+"_index")
		x.part("variable", x.index, "", table{{"initial", 0}})
		begin, next = []any{set(x.index, "to", 1)}, []any{set(x.index, "value", x.index+" + 1")}
	}
	loop := func(do []any, key string, v any) []any {
		return append(begin, table{{"do", oneOrMore(append(slices.Clone(do), next...))}, {key, v}})
	}
	switch {
	case n.get("for_each") != nil:
		var items []any
		for _, one := range n.get("for_each").list() {
			if !one.scalar() || strings.Contains(one.text, "{{") || one.tag != "" {
				x.lose(n.line, "for_each: "+n.get("for_each").show(), "want a list of plain values")
				return nil
			}
			items = append(items, scalarOf(one.str()))
		}
		do := x.actions(n.get("sequence"))
		if len(do) == 0 || len(items) == 0 {
			return nil
		}
		return append(begin, table{{"each", items}, {"do", oneOrMore(append(do, next...))}})
	case number != nil:
		do := x.actions(n.get("sequence"))
		count, err := strconv.Atoi(number.str())
		if err != nil && strings.Contains(number.str(), "{{") {
			v, err := x.number(number)
			if err != nil {
				x.lose(n.line, "count: "+number.show(), "%s", err)
				return nil
			}
			if len(do) == 0 {
				return nil
			}
			times := x.name(x.current+"_times", x.current+"_count")
			x.part("variable", times, "", table{{"initial", 0}})
			begin = append(begin, set(times, "value", v))
			return loop(do, "while", x.index+" <= "+times)
		}
		if err != nil || count < 0 || count > 1_000_000 {
			x.lose(n.line, "count: "+number.show(), "want a number")
			return nil
		}
		if len(do) == 0 || count == 0 {
			return nil
		}
		return loop(do, "times", count)
	}
	key, until := "while", false
	if n.get("while") == nil {
		key, until = "until", true
	}
	c := x.conditions(n.get(key))
	do := x.actions(n.get("sequence"))
	if c == nil || len(do) == 0 {
		return nil
	}
	if !until {
		return loop(do, "while", c.list())
	}
	all := append(begin, do...)
	return append(all, table{{"do", oneOrMore(append(next, do...))}, {"while", not(c).list()}})
}

func (x *home) deviceAction(n *node) []any {
	id := n.get("entity_id").str()
	kind := n.get("type").str()
	if strings.Contains(id, ".") && (kind == "turn_on" || kind == "turn_off" || kind == "toggle") {
		x.unknown(n, "type", "device_id", "entity_id", "domain", "subtype", "alias", "enabled", "metadata", "brightness_pct")
		if e, err := x.entity(id); err == nil {
			var c *call
			if p := n.get("brightness_pct"); p != nil {
				c = &call{home: x, n: n, domain: "light", name: kind, data: &node{line: n.line, kind: yaml.MappingNode, keys: []string{"brightness_pct"}, at: []int{p.line}, items: []*node{p}}}
			}
			if list, err := x.turn(n, kind, []*entity{e}, c); err == nil {
				return list
			}
		}
	}
	x.leave(n.line, n.show(), "it names a device by a number that only Home Assistant knows: call the action with the entity, such as light.turn_on")
	return nil
}

// A call is a service that is called: its entities and what it is told.
type call struct {
	*home
	n      *node
	domain string
	name   string
	data   *node // data, or data_template
}

// get is an argument, in data or, in the old form, beside the service.
func (c *call) get(key string) *node {
	if v := c.data.get(key); v != nil {
		return v
	}
	return nil
}

// know tells of the arguments that were not looked at.
func (c *call) know(keys ...string) {
	c.unknown(c.data, append(keys, "entity_id")...)
}

func (c *call) entities() ([]*entity, error) {
	t := c.n.get("target")
	for _, key := range []string{"area_id", "device_id", "label_id", "floor_id"} {
		if t.get(key) != nil || c.data.get(key) != nil {
			return nil, fmt.Errorf("what belongs to this %s is not known: list the entities", strings.TrimSuffix(key, "_id"))
		}
	}
	for _, n := range []*node{t.get("entity_id"), c.data.get("entity_id"), c.n.get("entity_id")} {
		if n == nil {
			continue
		}
		if n.str() == "all" {
			return nil, errors.New("all of them: list the entities")
		}
		var all []*entity
		for _, one := range n.list() {
			list, err := c.members(one, 0)
			if err != nil {
				return nil, err
			}
			all = append(all, list...)
		}
		return all, nil
	}
	return nil, errors.New("it names no entity")
}

// members are the entities that are meant: of a group all that are in it.
func (x *home) members(n *node, depth int) ([]*entity, error) {
	if depth > 5 {
		return nil, errors.New("a group that holds itself")
	}
	var all []*entity
	for id := range strings.SplitSeq(n.str(), ",") {
		list := []*entity(nil)
		var err error
		if g := x.groups[strings.TrimSpace(id)]; g != nil {
			for _, one := range g.get("entities").list() {
				var more []*entity
				if more, err = x.members(one, depth+1); err != nil {
					return nil, err
				}
				list = append(list, more...)
			}
		} else {
			list, err = x.those(&node{line: n.line, kind: n.kind, tag: n.tag, text: id})
		}
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func (x *home) service(n, s *node) ([]any, error) {
	if err := x.tagged(s); err != nil {
		return nil, err
	}
	if strings.Contains(s.text, "{") {
		return nil, errors.New("which service it is says a template: use choose")
	}
	c := &call{home: x, n: n, data: n.get("data", "data_template")}
	if err := x.tagged(c.data); err != nil {
		return nil, err
	}
	if c.data.scalar() && !c.data.null() {
		return nil, errors.New("its data is a template: write its keys out")
	}
	c.domain, c.name, _ = strings.Cut(s.str(), ".")
	switch c.domain {
	case "light", "switch", "fan", "siren", "humidifier", "input_boolean", "homeassistant", "remote", "group":
		switch c.name {
		case "turn_on", "turn_off", "toggle":
			all, err := c.entities()
			if err != nil {
				return nil, err
			}
			return x.turn(n, c.name, all, c)
		case "set_percentage":
			c.know("percentage")
			return c.toldNumber("percentage", "speed", 1)
		}
	case "cover", "valve":
		return c.cover()
	case "lock":
		all, err := c.entities()
		if err != nil {
			return nil, err
		}
		c.know()
		return told(all, func(e *entity) (table, error) {
			word := c.name
			if e.raw {
				word = strings.ToUpper(word)
			}
			return set(e.source, "to", word), nil
		})
	case "climate", "water_heater":
		return c.climate()
	case "input_number", "number":
		c.know("value")
		switch c.name {
		case "set_value":
			return c.toldNumber("value", "", 1)
		case "increment", "decrement":
			all, err := c.entities()
			if err != nil {
				return nil, err
			}
			return told(all, func(e *entity) (table, error) { return c.count(e, c.name == "increment"), nil })
		}
	case "counter":
		c.know("value")
		all, err := c.entities()
		if err != nil {
			return nil, err
		}
		switch c.name {
		case "increment", "decrement":
			return told(all, func(e *entity) (table, error) { return c.count(e, c.name == "increment"), nil })
		case "reset":
			return told(all, func(e *entity) (table, error) { return set(e.source, "to", 0), nil })
		case "set_value":
			return c.toldNumber("value", "", 1)
		}
	case "input_select", "select":
		c.know("option")
		if c.name == "select_option" {
			return c.toldText("option")
		}
	case "input_text", "text":
		c.know("value")
		if c.name == "set_value" {
			return c.toldText("value")
		}
	case "input_datetime":
		c.know("time")
		if c.name == "set_datetime" && c.get("time") != nil {
			all, err := c.entities()
			if err != nil {
				return nil, err
			}
			t, ok := clockTime(c.get("time").str())
			if !ok {
				return nil, errors.New("want a time such as \"07:30:00\"")
			}
			return told(all, func(e *entity) (table, error) { return set(e.source, "to", t), nil })
		}
	case "timer":
		return c.timer()
	case "mqtt":
		if c.name == "publish" {
			return c.publish()
		}
	case "notify", "persistent_notification":
		if c.domain == "notify" || c.name == "create" {
			return c.notify()
		}
	case "scene":
		if c.name == "turn_on" {
			return c.scenes()
		}
		if c.name == "apply" && c.get("entities") != nil {
			return x.apply(c.get("entities"), c.get("transition"))
		}
	case "script":
		return c.script()
	case "automation":
		return c.automation()
	case "input_button":
		if c.name == "press" {
			all, err := c.entities()
			if err != nil {
				return nil, err
			}
			return told(all, func(e *entity) (table, error) { return table{{"publish", e.source}, {"payload", "press"}}, nil })
		}
	case "logbook", "system_log", "logger", "recorder":
		return nil, errors.New("what rules do is logged by itself")
	case "rest_command", "shell_command":
		return nil, errors.New("its definition is not in this file: an action { http = \"http://...\" } makes a request, and Hearth runs no programs")
	case "tts":
		return nil, errors.New("there is no speech in Hearth")
	}
	if why, ok := absent[c.domain]; ok {
		return nil, errors.New(why)
	}
	return nil, errors.New("this action has no counterpart in Hearth")
}

// set tells one something.
func set(source, key string, v any) table { return table{{"set", source}, {key, v}} }

// told makes an action for each entity; those that are told the same share one.
func told(all []*entity, do func(*entity) (table, error)) ([]any, error) {
	var list []any
	var errs []error
	for _, e := range all {
		if strings.ContainsAny(e.source, "/") {
			errs = append(errs, fmt.Errorf("%s is a topic here, which can't be told anything: --map it to a device", e.id))
			continue
		}
		t, err := do(e)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		joined := false
		for i, other := range list {
			o := other.(table)
			if len(o) > 1 && len(o) == len(t) && o[0].key == "set" && t[0].key == "set" && inline(o[1:]) == inline(t[1:]) {
				names, many := o[0].value.([]any)
				if !many {
					names = []any{o[0].value}
				}
				list[i] = append(table{{"set", append(slices.Clone(names), t[0].value)}}, o[1:]...)
				joined = true
				break
			}
		}
		if !joined {
			list = append(list, t)
		}
	}
	return list, errors.Join(errs...)
}

// turn switches entities of any kind on, off or over.
func (x *home) turn(n *node, how string, all []*entity, c *call) ([]any, error) {
	var list []any
	var plain []*entity
	var errs []error
	for _, e := range all {
		one := func(more []any, err error) {
			list = append(list, more...)
			if err != nil {
				errs = append(errs, err)
			}
		}
		switch e.domain {
		case "scene":
			one(x.scene(e.id, nil))
		case "script":
			one(x.run(e.id, nil))
		case "automation":
			one(x.able(e.id, how))
		case "light":
			if c != nil && how != "toggle" && c.data != nil && len(c.data.keys) > 0 && !(len(c.data.keys) == 1 && c.data.get("entity_id") != nil) {
				one(c.light(e))
				continue
			}
			plain = append(plain, e)
		case "cover":
			word := map[string]any{"turn_on": "open", "turn_off": "close", "toggle": "toggle"}[how]
			one([]any{set(e.source, "to", word)}, nil)
		case "climate":
			if how != "turn_off" {
				errs = append(errs, fmt.Errorf("%s: say which mode, such as heat, with climate.set_hvac_mode", e.id))
				continue
			}
			one([]any{set(e.source, "to", "off")}, nil)
		case "lock", "sensor", "binary_sensor", "person", "device_tracker", "input_number", "input_text", "input_select", "timer", "counter", "input_button":
			errs = append(errs, fmt.Errorf("%s can't be switched", e.id))
		default:
			plain = append(plain, e)
		}
	}
	if c != nil && len(plain) > 0 {
		if plain[0].domain == "light" {
			c.know()
		} else {
			c.know("percentage", "preset_mode")
			if p := c.get("percentage"); p != nil {
				return c.toldNumber("percentage", "speed", 1)
			}
		}
	}
	more, err := told(plain, func(e *entity) (table, error) {
		switch how {
		case "toggle":
			return set(e.source, "to", "toggle"), nil
		}
		return set(e.source, "to", how == "turn_on"), nil
	})
	return append(list, more...), errors.Join(append(errs, err)...)
}

// colors are the names of colours that people give, as CSS has them.
var colors = map[string][3]float64{
	"red": {255, 0, 0}, "green": {0, 128, 0}, "blue": {0, 0, 255}, "white": {255, 255, 255}, "yellow": {255, 255, 0}, "orange": {255, 165, 0},
	"purple": {128, 0, 128}, "pink": {255, 192, 203}, "cyan": {0, 255, 255}, "magenta": {255, 0, 255}, "lime": {0, 255, 0}, "gold": {255, 215, 0},
	"turquoise": {64, 224, 208}, "violet": {238, 130, 238},
}

// light is light.turn_on with more than that, and turn_off with a transition.
// Zigbee2MQTT takes all of it in one message; by Hearth's names there is the
// brightness, in percent.
func (c *call) light(e *entity) ([]any, error) {
	c.know("brightness", "brightness_pct", "brightness_step", "brightness_step_pct", "transition", "color_temp", "color_temp_kelvin", "kelvin", "rgb_color", "xy_color", "hs_color", "effect", "color_name")
	on := c.name == "turn_on"
	full := 100.0
	if e.raw {
		full = 254
	}
	level, over := "", 0.0
	var errs []error
	fixed := math.NaN()
	for _, one := range []struct {
		key string
		of  float64
	}{{"brightness", 255}, {"brightness_pct", 100}} {
		n := c.get(one.key)
		if n == nil {
			continue
		}
		if f, err := strconv.ParseFloat(n.str(), 64); err == nil {
			fixed = math.Round(math.Max(0, math.Min(f, one.of)) / one.of * full)
			continue
		}
		v, err := c.number(n)
		if err != nil {
			return nil, err
		}
		level = v
		if one.of != full {
			level = fmt.Sprintf("round((%s) / %s * %s, 0)", v, number(one.of), number(full))
		}
	}
	if n := c.get("transition"); n != nil {
		f, err := strconv.ParseFloat(n.str(), 64)
		if err != nil || f < 0 || f > 86400 {
			errs = append(errs, fmt.Errorf("transition %s: want seconds", n.show()))
		} else {
			over = f
		}
	}
	property := e.source
	if !e.whole {
		property, _ = e.of("brightness")
	}
	for _, key := range []string{"brightness_step", "brightness_step_pct"} {
		if n := c.get(key); n != nil {
			of := 255.0
			if key == "brightness_step_pct" {
				of = 100
			}
			f, err := strconv.ParseFloat(n.str(), 64)
			if err != nil {
				return nil, fmt.Errorf("%s: want a number, not %s", key, n.show())
			}
			return []any{table{{"set", property}, {"step", math.Round(f / of * full)}, {"min", 0}, {"max", full}}}, errors.Join(errs...)
		}
	}
	var more table // what only Zigbee2MQTT takes
	put := func(key string, v any) {
		if more.get(key) != nil {
			errs = append(errs, fmt.Errorf("%s is given twice: say one", key))
			return
		}
		more.put(key, v)
	}
	for _, key := range []string{"color_temp", "color_temp_kelvin", "kelvin"} {
		n := c.get(key)
		if n == nil {
			continue
		}
		f, err := strconv.ParseFloat(n.str(), 64)
		switch {
		case err != nil || f <= 0:
			errs = append(errs, fmt.Errorf("%s %s: want a number", key, n.show()))
		case key == "color_temp":
			put("color_temp", math.Round(f))
		default:
			put("color_temp", math.Round(1e6/f))
		}
	}
	for _, named := range [][]string{{"rgb_color", "r", "g", "b"}, {"xy_color", "x", "y"}, {"hs_color", "hue", "saturation"}} {
		key, parts := named[0], named[1:]
		n := c.get(key)
		if n == nil {
			continue
		}
		var color table
		for i, v := range n.list() {
			if f, err := strconv.ParseFloat(v.str(), 64); err == nil && i < len(parts) {
				color.put(parts[i], f)
			}
		}
		if len(color) != len(parts) {
			errs = append(errs, fmt.Errorf("%s %s: want %d numbers", key, n.show(), len(parts)))
			continue
		}
		put("color", color)
	}
	if n := c.get("effect"); n != nil && !strings.Contains(n.text, "{") {
		put("effect", n.str())
	} else if n != nil {
		errs = append(errs, errors.New("effect: want plain text"))
	}
	if n := c.get("color_name"); n != nil {
		rgb, ok := colors[n.str()]
		if ok {
			put("color", table{{"r", rgb[0]}, {"g", rgb[1]}, {"b", rgb[2]}})
		} else {
			errs = append(errs, fmt.Errorf("color_name %s: say it as rgb_color", n.show()))
		}
	}
	switch {
	case e.raw && level == "" && (len(more) > 0 || over > 0):
		payload := table{{"state", "OFF"}}
		if on {
			payload = table{{"state", "ON"}}
			if !math.IsNaN(fixed) {
				payload.put("brightness", fixed)
			}
			payload = append(payload, more...)
		}
		if over > 0 {
			payload.put("transition", over)
		}
		return []any{table{{"publish", "zigbee2mqtt/" + e.called + "/set"}, {"payload", payload}}}, errors.Join(errs...)
	case len(more) > 0:
		errs = append(errs, fmt.Errorf("%s of %s: only on and off and the brightness are carried over", more[0].key, e.id))
	}
	if over > 0 && !e.whole { // a ramp would begin at the level that it had when it was on
		errs = append(errs, fmt.Errorf("transition of %s: it is told at once", e.id))
		over = 0
	}
	if over > 0 && (on && level != "" || !on || math.IsNaN(fixed)) {
		errs = append(errs, fmt.Errorf("transition of %s: a { ramp } takes a brightness there", e.id))
		over = 0
	}
	switch {
	case !on:
		return []any{set(e.source, "to", false)}, errors.Join(errs...)
	case level != "":
		return []any{set(property, "value", level)}, errors.Join(errs...)
	case math.IsNaN(fixed):
		return []any{set(e.source, "to", true)}, errors.Join(errs...)
	case over > 0:
		d, _ := seconds(over)
		return []any{table{{"parallel", []any{[]any{table{{"ramp", property}, {"to", fixed}, {"over", duration(d)}}}}}}}, errors.Join(errs...)
	}
	return []any{set(property, "to", fixed)}, errors.Join(errs...)
}

// number is an argument that is one, as an expression.
func (x *home) number(n *node) (string, error) {
	if err := x.tagged(n); err != nil {
		return "", err
	}
	if f, err := strconv.ParseFloat(n.str(), 64); err == nil {
		return number(f), nil
	}
	e, err := onlyExpr(n.str())
	if err != nil {
		return "", fmt.Errorf("%s: want a number or a template: %w", n.show(), err)
	}
	return x.value(e)
}

func (c *call) toldNumber(key, attribute string, scale float64) ([]any, error) {
	n := c.get(key)
	if n == nil {
		return nil, fmt.Errorf("it has no %s", key)
	}
	all, err := c.entities()
	if err != nil {
		return nil, err
	}
	return c.setting(all, key, attribute, scale)
}

// setting sets an attribute of entities to the number that an argument says.
func (c *call) setting(all []*entity, key, attribute string, scale float64) ([]any, error) {
	v, err := c.number(c.get(key))
	if err != nil {
		return nil, err
	}
	return told(all, func(e *entity) (table, error) {
		source, err := e.of(attribute)
		if err != nil {
			return nil, err
		}
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			return set(source, "to", f*scale), nil
		}
		return set(source, "value", v), nil
	})
}

// toldText sets a text, which may be a template.
func (c *call) toldText(key string) ([]any, error) {
	n := c.get(key)
	if n == nil {
		return nil, fmt.Errorf("it has no %s", key)
	}
	if err := c.tagged(n); err != nil {
		return nil, err
	}
	all, err := c.entities()
	if err != nil {
		return nil, err
	}
	if !strings.Contains(n.text, "{{") {
		return told(all, func(e *entity) (table, error) { return set(e.source, "to", n.word()), nil })
	}
	e, err := c.meaning("", n)
	if err != nil {
		return nil, err
	}
	v, err := c.value(e)
	if err != nil {
		return nil, err
	}
	return told(all, func(e *entity) (table, error) { return set(e.source, "value", v), nil })
}

func (c *call) count(e *entity, up bool) table {
	op := " - 1"
	if up {
		op = " + 1"
	}
	return set(e.source, "value", ref(e.source)+op)
}

func (c *call) cover() ([]any, error) {
	if c.name == "set_cover_position" || c.name == "set_valve_position" {
		c.know("position")
		return c.toldNumber("position", "current_position", 1)
	}
	c.know()
	all, err := c.entities()
	if err != nil {
		return nil, err
	}
	word, _, _ := strings.Cut(c.name, "_")
	if !slices.Contains([]string{"open", "close", "stop", "toggle"}, word) || strings.HasSuffix(c.name, "_tilt") {
		return nil, errors.New("want open, close, stop, toggle or a position")
	}
	return told(all, func(e *entity) (table, error) {
		switch {
		case word == "toggle":
			return set(e.source, "to", "toggle"), nil
		case e.domain == "valve" && word != "stop":
			if e.raw {
				return set(e.source, "to", word == "open"), nil
			}
			return set(e.source, "to", word), nil
		case e.raw:
			return set(e.source, "to", strings.ToUpper(word)), nil
		}
		return set(e.source, "to", word), nil
	})
}

func (c *call) climate() ([]any, error) {
	switch c.name {
	case "set_temperature":
		c.know("temperature", "hvac_mode")
		list, err := c.toldNumber("temperature", "temperature", 1)
		if err == nil && c.get("hvac_mode") != nil {
			var more []any
			more, err = c.toldText("hvac_mode")
			list = append(more, list...)
		}
		return list, err
	case "set_hvac_mode":
		c.know("hvac_mode")
		return c.toldText("hvac_mode")
	case "turn_off":
		all, err := c.entities()
		if err != nil {
			return nil, err
		}
		return told(all, func(e *entity) (table, error) { return set(e.source, "to", "off"), nil })
	case "turn_on":
		return nil, errors.New("say which mode, such as heat, with climate.set_hvac_mode")
	}
	return nil, errors.New("of thermostats the temperature and the mode are carried over")
}

// timer: a variable that is active for a time, and idle again when that is over.
// One that is cancelled is not idle, so what waits for its end does not hear of it.
func (c *call) timer() ([]any, error) {
	c.know("duration")
	all, err := c.entities()
	if err != nil {
		return nil, err
	}
	switch c.name {
	case "start":
		n := c.get("duration")
		if n == nil && len(all) == 1 {
			n = c.settings[all[0].id].get("duration")
		}
		if n == nil {
			return nil, errors.New("how long it is stands in Home Assistant: give it a duration here, or the file that sets it up")
		}
		d, text, err := c.pause(n)
		if err != nil {
			return nil, err
		}
		if text == "" {
			text = duration(d)
		}
		return told(all, func(e *entity) (table, error) {
			return table{{"set", e.source}, {"to", "active"}, {"for", text}}, nil
		})
	case "cancel", "pause":
		if c.name == "pause" {
			return nil, errors.New("a timer of Hearth has no pause")
		}
		return told(all, func(e *entity) (table, error) { return set(e.source, "to", "cancelled"), nil })
	case "finish":
		return told(all, func(e *entity) (table, error) { return set(e.source, "to", "idle"), nil })
	}
	return nil, errors.New("of timers start, cancel and finish are carried over")
}

func (c *call) publish() ([]any, error) {
	c.know("topic", "payload", "payload_template", "topic_template", "retain", "qos", "evaluate_payload")
	n := c.get("topic")
	if n == nil {
		n = c.get("topic_template")
	}
	if n == nil {
		return nil, errors.New("it has no topic")
	}
	topic, err := c.text(n)
	if err != nil {
		return nil, err
	}
	if spans, err := parseTemplate(n.text); topic == "" || err != nil || slices.ContainsFunc(spans, func(s span) bool { return strings.ContainsAny(s.text, "+#{}") }) {
		return nil, errors.New("want a topic to publish on, without + and # and braces")
	}
	t := table{{"publish", topic}}
	payload := c.get("payload")
	if payload == nil {
		payload = c.get("payload_template")
	}
	switch {
	case payload == nil:
		t.put("payload", "")
	case payload.scalar():
		text, err := c.text(payload)
		if err != nil {
			return nil, err
		}
		if on, ok := payload.boolean(); ok { // as Python writes it
			text = map[bool]string{true: "True", false: "False"}[on]
		}
		t.put("payload", text)
	default:
		v, err := c.plain(payload)
		if err != nil {
			return nil, err
		}
		t.put("payload", v)
	}
	if on, ok := c.get("retain").boolean(); ok && on {
		t.put("retain", true)
	}
	if q := c.get("qos").str(); q == "1" || q == "2" {
		v, _ := strconv.Atoi(q)
		t.put("qos", v)
	}
	return []any{t}, nil
}

// plain is a tree of YAML as the value of a payload, which becomes JSON.
func (x *home) plain(n *node) (any, error) {
	if err := x.tagged(n); err != nil {
		return nil, err
	}
	switch n.kind {
	case yaml.MappingNode:
		var t table
		for i, k := range n.keys {
			v, err := x.plain(n.items[i])
			if err != nil {
				return nil, err
			}
			if t.get(k) == nil {
				t.put(k, v)
			}
		}
		if t == nil {
			t = table{}
		}
		return t, nil
	case yaml.SequenceNode:
		all := []any{}
		for _, e := range n.items {
			v, err := x.plain(e)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, nil
	}
	if on, ok := n.boolean(); ok {
		return on, nil
	}
	if !n.quoted {
		if f, err := strconv.ParseFloat(n.text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f, nil
		}
	}
	return x.text(n)
}

func (c *call) notify() ([]any, error) {
	c.know("message", "title", "target", "data", "notification_id")
	// Whatever becomes of its words, somebody has to hear of it.
	text := c.message("message")
	if title := c.message("title"); title != "" && text != "" {
		text = title + ": " + text
	} else if title != "" {
		text = title
	}
	if text == "" {
		text = strings.ReplaceAll(c.current, "_", " ")
		c.leave(c.n.line, "message", "nothing of it could be said, so it says which automation it was")
	}
	if d := c.get("data"); d != nil {
		c.leave(d.line, "data: "+d.show(), "a notification of Hearth is text alone")
	}
	if t := c.get("target"); t != nil {
		c.leave(t.line, "target: "+t.show(), "to whom it goes says [notify]")
	}
	via := slug(c.name)
	if c.domain == "persistent_notification" {
		via = "home"
	}
	if c.name == "send_message" {
		to := c.n.get("target").get("entity_id")
		if to == nil {
			to = c.data.get("entity_id")
		}
		if len(to.list()) != 1 || !strings.HasPrefix(to.list()[0].str(), "notify.") {
			return nil, errors.New("want one entity such as notify.phone as its target")
		}
		via = slug(strings.TrimPrefix(to.list()[0].str(), "notify."))
	}
	c.part("notify", via, "", table{{"topic", "notify/" + via}})
	c.need("[notify.%s] publishes to notify/%s: say where it really goes, a topic or a url", via, via)
	return []any{table{{"notify", text}, {"via", via}}}, nil
}

// message is an argument as a text of a notification: what can't be said in it is left
// out.
func (c *call) message(key string) string {
	n := c.get(key)
	if n == nil {
		return ""
	}
	left := func(what string, err error) { c.leave(n.line, key+": "+what, "left out of its text: %s", err) }
	if text, err := c.text(n); err == nil {
		if err = unsound(text, "notify"); err == nil {
			return text
		}
		left(n.show(), err)
		return ""
	} else if !n.scalar() || n.tag != "" {
		left(n.show(), err)
		return ""
	}
	source := n.text
	spans, err := parseTemplate(source)
	for _, block := range []*regexp.Regexp{blocks(), holes()} { // those that can't even be read
		if err == nil {
			break
		}
		left(n.show(), err)
		source = block.ReplaceAllString(source, "")
		spans, err = parseTemplate(source)
	}
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, s := range spans {
		if s.expr == nil {
			b.WriteString(plainText(s.text))
			continue
		}
		text, err := c.hole(s.expr)
		if err != nil && bare(s.expr).path() == "trigger.entity_id" && !c.indirect && c.within == nil {
			// What it is called says as much to whom reads it.
			text, err = c.called()
			text = "{" + text + "}"
		}
		if err == nil {
			err = unsound(text, "notify")
		}
		if err != nil {
			left("{{ "+s.expr.String()+" }}", err)
			continue
		}
		b.WriteString(text)
	}
	return strings.TrimSpace(b.String())
}

var (
	blocks = lazily(`(?s)\{%.*?%\}`)
	holes  = lazily(`(?s)\{\{.*?\}\}|\{#.*?#\}`)
)

// each is what is done for every entity that the call names, one after the other.
func (c *call) each(do func(id string, given *node) ([]any, error), given *node) ([]any, error) {
	var all []any
	var errs []error
	for _, n := range []*node{c.n.get("target").get("entity_id"), c.data.get("entity_id"), c.n.get("entity_id")} {
		for _, one := range n.list() {
			list, err := do(one.str(), given)
			all = append(all, list...)
			if err != nil {
				errs = append(errs, err)
			}
		}
	}
	return all, errors.Join(errs...)
}

func (c *call) scenes() ([]any, error) {
	c.know("transition")
	return c.each(c.scene, c.get("transition"))
}

// scene is what a scene sets, where it stands in the same text.
func (x *home) scene(id string, transition *node) ([]any, error) {
	s := x.scenes[id]
	if s == nil {
		return nil, fmt.Errorf("%s is not in this file: add its scene, or list what it sets", oneLine(id))
	}
	return x.apply(s.get("entities"), transition)
}

// apply brings entities into the states of a scene, over a time that may be nil.
func (x *home) apply(n, transition *node) ([]any, error) {
	var all []any
	var errs []error
	if n.mapping() {
		for i, id := range n.keys {
			e, err := x.entity(id)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			list, err := x.restore(e, n.items[i], transition)
			all = append(all, list...)
			if err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(all) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("it sets nothing"))
	}
	return all, errors.Join(errs...)
}

// reproduced are the attributes that Home Assistant brings back with a scene, by the
// domain (homeassistant/components/*/reproduce_state.py). What else it keeps in one,
// such as a name, describes the entity.
var reproduced = map[string][]string{
	"light":      {"brightness", "color_temp", "color_temp_kelvin", "hs_color", "xy_color", "rgb_color", "rgbw_color", "rgbww_color", "white", "effect"},
	"cover":      {"current_position", "current_tilt_position"},
	"valve":      {"current_position"},
	"climate":    {"temperature", "target_temp_high", "target_temp_low", "humidity", "preset_mode", "fan_mode", "swing_mode"},
	"fan":        {"percentage", "preset_mode", "oscillating", "direction"},
	"humidifier": {"humidity", "mode"},
}

// colored are the attributes of a colour, which say the same several times over in a
// scene; color_mode says which of them counts, else it is the first.
var colored = []string{"hs_color", "color_temp", "color_temp_kelvin", "rgb_color", "rgbw_color", "rgbww_color", "xy_color", "white"}

// restore brings one entity into the state that a scene has of it.
func (x *home) restore(e *entity, v, transition *node) ([]any, error) {
	state := v.word()
	args := &node{kind: yaml.MappingNode, line: v.line}
	if v.mapping() {
		state = v.get("state").word()
		mode := v.get("color_mode").str()
		for j, k := range v.keys {
			if !slices.Contains(reproduced[e.domain], k) || v.items[j].null() || k == "effect" && strings.EqualFold(v.items[j].str(), "none") {
				continue
			}
			if slices.Contains(colored, k) {
				other := mode != "" && k != mode && k != mode+"_color" && (mode != "color_temp" || k != "color_temp_kelvin")
				if other || slices.ContainsFunc(args.keys, func(k string) bool { return slices.Contains(colored, k) }) {
					continue
				}
			}
			args.keys, args.at, args.items = append(args.keys, k), append(args.at, v.at[j]), append(args.items, v.items[j])
		}
	}
	c := &call{home: x, n: v, domain: e.domain, name: "turn_on", data: args}
	var all []any
	var errs []error
	done := func(list []any, err error) {
		all = append(all, list...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	put := func(v any) {
		done(told([]*entity{e}, func(e *entity) (table, error) { return set(e.source, "to", v), nil }))
	}
	// also sets what one of the attributes says.
	also := func(key string) bool {
		if args.get(key) == nil {
			return false
		}
		done(c.setting([]*entity{e}, key, key, 1))
		return true
	}
	carried := []string{}
	switch {
	case e.domain == "light" && (state == "on" || state == "off"):
		if state == "off" {
			c.name, args.keys, args.at, args.items = "turn_off", nil, nil, nil
		}
		if transition != nil {
			args.keys, args.at, args.items = append(args.keys, "transition"), append(args.at, transition.line), append(args.items, transition)
		}
		return x.turn(v, c.name, []*entity{e}, c)
	case (e.domain == "cover" || e.domain == "valve") && args.get("current_position") != nil:
		also("current_position")
		carried = append(carried, "current_position")
		if e.domain == "cover" && !e.cover && also("current_tilt_position") {
			carried = append(carried, "current_tilt_position")
		}
	case e.domain == "cover" && (state == "open" || state == "closed"):
		word := strings.TrimSuffix(state, "d")
		if e.raw {
			word = strings.ToUpper(word)
		}
		put(word)
	case e.domain == "valve" && (state == "open" || state == "closed") && e.raw:
		put(state == "open")
	case e.domain == "valve" && (state == "open" || state == "closed"):
		put(strings.TrimSuffix(state, "d"))
	case e.domain == "lock" && (state == "locked" || state == "unlocked"):
		word := strings.TrimSuffix(state, "ed")
		if e.raw {
			word = strings.ToUpper(word)
		}
		put(word)
	case e.domain == "climate" && state != "":
		put(state)
		also("temperature")
		carried = append(carried, "temperature")
	case e.boolean() && (state == "on" || state == "off"):
		put(state == "on")
		if e.domain == "fan" && state == "on" {
			also("percentage")
			carried = append(carried, "percentage")
		}
	case e.domain == "input_select" || e.domain == "select" || e.domain == "input_text" || e.domain == "text":
		if state == "" {
			return nil, fmt.Errorf("%s: it has no state", e.id)
		}
		put(state)
	case e.name != "" && state != "" && !e.boolean() && e.domain != "cover":
		put(scalarOf(state))
	default:
		return nil, fmt.Errorf("%s: %s", e.id, v.show())
	}
	for j, k := range args.keys {
		if !slices.Contains(carried, k) && state != "off" {
			errs = append(errs, fmt.Errorf("%s %s of %s: it has no counterpart here", k, args.items[j].show(), e.id))
		}
	}
	return all, errors.Join(errs...)
}

func (c *call) script() ([]any, error) {
	if c.name != "turn_on" {
		if c.name == "turn_off" || c.name == "toggle" {
			return nil, errors.New("a script is a part of the rule here, so nothing can stop it alone")
		}
		return c.run("script."+c.name, c.data)
	}
	c.know("variables")
	return c.each(c.run, c.get("variables"))
}

// run is a script in the place where it is called.
func (x *home) run(id string, given *node) ([]any, error) {
	s := x.scripts[id]
	if s == nil {
		return nil, fmt.Errorf("%s is not in this file: add its script", oneLine(id))
	}
	if x.expanding[id] || len(x.expanding) > 10 {
		return nil, fmt.Errorf("%s calls itself", oneLine(id))
	}
	x.expanding[id] = true
	defer delete(x.expanding, id)
	vars := len(x.vars)
	defer func() { x.vars = x.vars[:vars] }()
	defaults := make(map[string]*node)
	if fields := s.get("fields"); fields != nil {
		for i, name := range fields.keys {
			if d := fields.items[i].get("default"); d != nil {
				defaults[name] = d
			}
		}
	}
	x.vars = append(x.vars, defaults)
	x.scope(given)
	x.scope(s.get("variables"))
	return x.actions(s.get("sequence")), nil
}

func (c *call) automation() ([]any, error) {
	c.know("skip_condition", "stop_actions")
	var all []any
	var errs []error
	for _, n := range []*node{c.n.get("target").get("entity_id"), c.data.get("entity_id"), c.n.get("entity_id")} {
		for _, one := range n.list() {
			list, err := c.able(one.str(), c.name)
			all = append(all, list...)
			if err != nil {
				errs = append(errs, err)
			}
		}
	}
	return all, errors.Join(errs...)
}

// able switches the rule that an automation has become.
func (x *home) able(id, how string) ([]any, error) {
	name := x.automations[id]
	switch {
	case name == "":
		return nil, fmt.Errorf("%s is not in this file", oneLine(id))
	case x.gated[name] && (how == "turn_on" || how == "turn_off"):
		return []any{set(x.gate(name), "to", how == "turn_on")}, nil
	case x.gated[name] && how == "toggle":
		return []any{set(x.gate(name), "to", "toggle")}, nil
	case how == "turn_on":
		return []any{table{{"enable", name}}}, nil
	case how == "turn_off":
		return []any{table{{"disable", name}}}, nil
	}
	return nil, errors.New("a rule of Hearth is enabled and disabled, and nothing else runs it")
}
