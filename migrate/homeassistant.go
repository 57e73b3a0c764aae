package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// home reads automations of Home Assistant, in the words of today (triggers,
// actions) and those before 2024.10 (trigger, platform, action, service). What they
// mean is in its documentation: home-assistant.io/docs/automation.
type home struct {
	*importer
	entities    map[string]*entity
	automations map[string]string // "automation.hall_light" to the rule's name
	scripts     map[string]*node
	scenes      map[string]*node
	groups      map[string]*node // "group.lamps" to the entities in it
	settings    map[string]*node // "timer.hall" to how it is set up
	gated       map[string]bool  // automations that are off until another switches them on

	// Of the automation that is read:
	ids       map[string]bool    // of its triggers
	about     []*entity          // of its state triggers, whose value is {value}
	whose     []whose            // what each of its triggers is about, in their order
	message   bool               // it has a trigger by MQTT
	only      []*cond            // what some of its triggers ask beside
	vars      []map[string]*node // its variables, and those of blocks
	expanding map[string]bool    // variables and scripts that are being read
	current   string             // what its rule is called
	indirect  bool               // some trigger is of a variable or a calc in place of the entity
	within    *[]string          // of the calc that is being made, the sources; nil outside of one
	index     string             // the variable that counts the runs of a loop
}

// whose says of a trigger by which id an expression knows it, and what the entity is
// called that it is about; "" is none or several.
type whose struct{ id, name string }

// HomeAssistant imports automations: a list of them as in automations.yaml, one
// alone, or a configuration with automation, script and scene. An error is of text
// that can't be read at all.
func HomeAssistant(text []byte, o Options) (Result, error) {
	docs, err := readYAML(text)
	if err != nil {
		return Result{}, err
	}
	var beside []*node
	for i, text := range o.Beside {
		more, err := readYAML(text)
		if err != nil {
			return Result{}, fmt.Errorf("of the files beside it number %d: %w", i+1, err)
		}
		for _, doc := range more {
			doc.elsewhere()
			beside = append(beside, doc)
		}
	}
	// An automation can only be switched by another if it came out whole, which is
	// known once all have been read.
	gone := make(map[string]bool)
	for pass := 1; ; pass++ {
		x := &home{importer: newImporter(o), entities: make(map[string]*entity), automations: make(map[string]string),
			scripts: make(map[string]*node), scenes: make(map[string]*node), groups: make(map[string]*node), settings: make(map[string]*node),
			gated: make(map[string]bool), expanding: make(map[string]bool)}
		for _, doc := range beside {
			if len(x.gather(doc)) > 0 {
				return Result{}, errors.New("one file with automations at a time: the others are for scripts and scenes")
			}
		}
		if err := x.read(docs, gone); err != nil {
			return Result{}, err
		}
		before := len(gone)
		for _, name := range x.automations {
			if !x.whole[name] || pass == maxPasses {
				gone[name] = true
			}
		}
		if len(gone) == before {
			return x.result(), nil
		}
	}
}

func (x *home) read(docs []*node, gone map[string]bool) error {
	var all []*node
	for _, doc := range docs {
		all = append(all, x.gather(doc)...)
	}
	if len(all) == 0 && len(x.left) > 0 {
		return fmt.Errorf("no automation in it: %s", x.left[0])
	}
	if len(all) == 0 {
		return errors.New("no automation in it: want a list as in automations.yaml, or a table with triggers and actions")
	}
	if len(all) > 2000 {
		return fmt.Errorf("it has %d automations: at most 2000 are read, so import it in parts", len(all))
	}
	// One may switch another that stands further down.
	names := make([]string, len(all))
	for i, a := range all {
		alias := a.get("alias", "id").str()
		if alias == "" {
			alias = fmt.Sprintf("automation %d", i+1)
		}
		names[i] = unique(slug(alias), x.ruled)
		x.ruled[names[i]] = true
		if !gone[names[i]] {
			x.automations["automation."+slug(alias)] = names[i]
		}
	}
	for i, a := range all {
		id := "automation." + slug(a.get("alias", "id").str())
		if on, ok := a.get("initial_state").boolean(); ok && !on && slices.ContainsFunc(all, func(b *node) bool { return b != a && b.mentions(id) }) {
			x.gated[names[i]] = true
		}
	}
	for i, a := range all {
		x.automation(a, names[i])
	}
	return nil
}

// gate is a variable that says whether an automation runs that is off at first: a
// rule that is not enabled in the configuration stays off.
func (x *home) gate(rule string) string {
	if x.entities["gate "+rule] == nil {
		name := x.name(rule+"_on", rule+"_is_on")
		x.entities["gate "+rule] = &entity{id: rule, source: name, name: name}
		x.part("variable", name, "Whether the automation "+rule+" is on.", table{{"initial", false}})
	}
	return x.entities["gate "+rule].source
}

// gather finds automations in a document, and notes its scripts and scenes.
func (x *home) gather(doc *node) []*node {
	if !doc.mapping() {
		var all []*node
		for _, a := range doc.list() {
			if name := a.get("name").str(); name != "" && a.get("entities") != nil {
				x.scenes["scene."+slug(name)] = a
			} else if a.mapping() {
				all = append(all, a)
			} else {
				x.leave(a.line, a.show(), "this is no automation")
			}
		}
		x.notes = nil
		return all
	}
	if doc.get("blueprint") == nil && doc.get("trigger", "triggers", "use_blueprint") != nil {
		return []*node{doc}
	}
	var all []*node
	for i, key := range doc.keys {
		word, _, _ := strings.Cut(key, " ") // "automation hall:" is one of several
		if doc.items[i].get("sequence") != nil {
			x.scripts["script."+key] = doc.items[i]
			continue
		}
		switch word {
		case "blueprint":
			x.leave(doc.at[i], "blueprint", "a blueprint has no values: in Home Assistant make an automation of it, choose \"Take control\", and import that")
			return nil
		case "automation":
			for _, a := range doc.items[i].list() {
				if a.mapping() {
					all = append(all, a)
				}
			}
		case "script":
			for j, name := range doc.items[i].keys {
				x.scripts["script."+name] = doc.items[i].items[j]
			}
		case "scene":
			for _, s := range doc.items[i].list() {
				x.scenes["scene."+slug(s.get("name").str())] = s
			}
		case "input_boolean", "input_number", "input_select", "input_text", "input_datetime", "counter", "timer":
			for j, name := range doc.items[i].keys {
				x.settings[word+"."+name] = doc.items[i].items[j]
			}
		case "group":
			for j, name := range doc.items[i].keys {
				x.groups["group."+name] = doc.items[i].items[j]
			}
		default:
			if doc.items[i].get("entities") != nil { // as in groups.yaml
				x.groups["group."+key] = doc.items[i]
				continue
			}
			if list := doc.items[i].list(); len(list) > 0 && !slices.ContainsFunc(list, func(n *node) bool { return n.get("platform").str() != "group" }) {
				for _, g := range list {
					x.groups[word+"."+slug(g.get("name").str())] = g
				}
				continue
			}
			x.leave(doc.at[i], key, "only automation, script, scene, group and helpers are read")
		}
	}
	x.notes = nil
	return all
}

// unknown tells of keys that were not looked at.
func (x *home) unknown(n *node, known ...string) {
	if !n.mapping() {
		return
	}
	for i, k := range n.keys {
		if !slices.Contains(known, k) {
			x.leave(n.at[i], k+": "+n.items[i].show(), "the key is not known here")
		}
	}
}

func (x *home) automation(n *node, name string) {
	x.ids, x.about, x.only, x.vars, x.message, x.whose = make(map[string]bool), nil, nil, nil, false, nil
	x.current, x.indirect, x.index = name, false, ""
	head := fmt.Sprintf("line %d", n.line)
	if x.Name != "" {
		head = fmt.Sprintf("%s:%d", oneLine(x.Name), n.line)
	}
	if alias := n.get("alias").str(); alias != "" {
		head += ", " + oneLine(alias)
	}
	x.notes = []string{head}
	if about := oneLine(n.get("description").str()); about != "" {
		x.notes = append(x.notes, about)
	}
	if n.get("use_blueprint") != nil {
		x.leave(n.line, "use_blueprint", "a blueprint is not in this file: in Home Assistant choose \"Take control\" and import what that makes of it")
		x.nothing()
		return
	}
	x.unknown(n, "id", "alias", "description", "mode", "max", "max_exceeded", "initial_state", "hide_entity", "trace", "variables", "trigger_variables",
		"trigger", "triggers", "condition", "conditions", "condition_type", "action", "actions", "icon", "category", "labels")
	for _, v := range []*node{n.get("trigger_variables"), n.get("variables")} {
		x.scope(v)
	}
	var rule table
	triggers := x.triggers(n.get("triggers", "trigger"))
	if len(triggers) == 0 {
		x.leave(n.line, "automation "+n.get("alias").str(), "none of its triggers was carried over, so there is no rule")
		x.nothing()
		return
	}
	if len(triggers) > 64 {
		x.lose(n.line, fmt.Sprintf("%d triggers", len(triggers)), "a rule has at most 64")
		triggers = triggers[:64]
	}
	all := make([]any, len(triggers))
	for i, t := range triggers {
		all[i] = t
		x.whose = append(x.whose, x.triggered(i, t))
	}
	rule.put("trigger", oneOrMore(all))
	conds := slices.Clone(x.only)
	if x.gated[name] {
		conds = append(conds, &cond{op: "test", source: x.gate(name), want: true})
	}
	pause := ""
	for _, c := range n.get("conditions", "condition").list() {
		if d := lastRun(c, slug(n.get("alias", "id").str())); d != "" && pause == "" {
			pause = d
			continue
		}
		if got := x.condition(c); got != nil && !got.always() {
			conds = append(conds, got)
		}
	}
	if len(conds) > 0 {
		rule.put("condition", both("and", conds...).list())
	}
	actions := x.actions(n.get("actions", "action"))
	if len(actions) == 0 {
		x.leave(n.line, "automation "+n.get("alias").str(), "none of its actions was carried over, so there is no rule")
		x.nothing()
		return
	}
	rule.act(actions)
	if pause != "" {
		rule.put("cooldown", pause)
	}
	switch mode := n.get("mode").str(); mode {
	case "", "single":
	case "restart", "queued", "parallel":
		rule.put("mode", mode)
		if m := n.get("max"); m != nil && mode != "restart" {
			if v, err := strconv.Atoi(m.str()); err == nil && v >= 1 && v <= 1000 {
				rule.put("max", v)
			} else {
				x.leave(m.line, "max: "+m.show(), "want a number from 1 to 1000")
			}
		}
	default:
		x.lose(n.get("mode").line, "mode: "+mode, "want single, restart, queued or parallel")
	}
	if on, ok := n.get("initial_state").boolean(); ok && !on && !x.gated[name] {
		rule.put("enabled", false)
		if x.broken {
			x.broken = false
			x.notes = append(x.notes, "Do not switch it on before that is mended: it would do something else.")
		}
	}
	delete(x.ruled, name)
	x.rule(n.line, name, rule)
}

// triggered is what the trigger with this number, from 0, is about.
func (x *home) triggered(i int, t table) whose {
	w := whose{id: strconv.Itoa(i + 1)}
	if id, ok := t.get("id").(string); ok {
		w.id = id
	}
	source := t.get("state")
	if source == nil {
		source = t.get("event")
	}
	for _, e := range x.about {
		if text, ok := source.(string); ok && (text == e.source || e.name != "" && strings.HasPrefix(text, e.name+".")) {
			_, object, _ := strings.Cut(e.id, ".")
			w.name = strings.ReplaceAll(object, "_", " ")
		}
	}
	return w
}

var (
	ranLast    = lazily(`(?:state_attr\('automation\.([a-z0-9_]+)','last_triggered'\)|states\.automation\.([a-z0-9_]+)\.attributes\.last_triggered|(this)\.attributes\.last_triggered)`)
	sinceThen  = lazily(`^\{\{\(*(?:as_timestamp\(now\(\)\)|now\(\)(?:\.timestamp\(\))?)\)*-\(*(?:as_timestamp\()?LAST(?:\|default\(0\)|,(?:default=)?0|\|as_timestamp|or0)*\)*(?:\|int(?:\(0\))?|\|float(?:\(0\))?|\.total_seconds\(\)|\.seconds)?\)*>=?(?:(\d+)|timedelta\((hours|minutes|seconds)=(\d+)\))\)*\}\}$`)
	noneBefore = lazily(`(?:notLAST|LASTisnone|LAST==none)or`)
)

// lastRun is the pause that a condition wants since the automation ran last, which
// is a cooldown; "" if it is another condition.
func lastRun(n *node, alias string) string {
	text := n.str()
	if n.mapping() {
		text = n.get("value_template").str()
	}
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), ""), `"`, "'")
	for _, m := range ranLast().FindAllStringSubmatch(text, -1) {
		if m[3] == "" && m[1]+m[2] != alias {
			return ""
		}
	}
	text = noneBefore().ReplaceAllString(ranLast().ReplaceAllString(text, "LAST"), "")
	m := sinceThen().FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	unit := map[string]float64{"": 1, "seconds": 1, "minutes": 60, "hours": 3600}[m[2]]
	f, err := strconv.ParseFloat(m[1]+m[3], 64)
	d, ok := seconds(f * unit)
	if err != nil || !ok || d <= 0 {
		return ""
	}
	return duration(d)
}

// scope adds variables for what follows.
func (x *home) scope(n *node) {
	if !n.mapping() {
		return
	}
	m := make(map[string]*node)
	for i, k := range n.keys {
		m[k] = n.items[i]
	}
	x.vars = append(x.vars, m)
}

func (x *home) variable(name string) *node {
	for _, m := range slices.Backward(x.vars) {
		if n, ok := m[name]; ok {
			return n
		}
	}
	return nil
}

// tagged tells of a value that stands elsewhere.
func (x *home) tagged(n *node) error {
	if n == nil {
		return nil
	}
	switch n.tag {
	case "":
		return nil
	case "!secret":
		return fmt.Errorf("the secret %s is not in this file: write its value, or in texts {secret('%s')} with a [secret] table", n.str(), slug(n.str()))
	case "!input":
		return fmt.Errorf("%s is an input of a blueprint, whose value is not in this file", n.str())
	}
	return fmt.Errorf("%s is not followed", n.tag)
}

// Triggers.

func (x *home) triggers(n *node) []table {
	var all []table
	for i, one := range flat(n, "triggers") {
		if on, ok := one.get("enabled").boolean(); ok && !on {
			continue
		}
		before := len(x.left)
		list, extra, err := x.trigger(one)
		if err != nil {
			x.leave(one.line, one.show(), "%s", err)
			continue
		}
		if len(list) == 0 && len(x.left) == before {
			x.leave(one.line, one.show(), "nothing of it has a counterpart")
		}
		id := one.get("id").str()
		if id == "" {
			id = strconv.Itoa(i)
			if extra != nil {
				id = fmt.Sprintf("trigger_%d", i+1)
			}
		}
		if len(list) > 0 && (one.get("id") != nil || extra != nil) {
			for j := range list {
				list[j].put("id", id)
			}
			x.ids[id] = true
		}
		if extra != nil && len(list) > 0 {
			this := &cond{op: "table", table: table{{"trigger", id}}}
			x.only = append(x.only, both("or", not(this), extra))
		}
		all = append(all, list...)
	}
	if len(x.only) == 1 && !slices.ContainsFunc(all, func(t table) bool { id, _ := t.get("id").(string); return !strings.HasPrefix(id, "trigger_") }) {
		x.only[0] = x.only[0].kids[1] // they all ask it, so they need no name
		for i, t := range all {
			all[i] = slices.DeleteFunc(t, func(p pair) bool { return p.key == "id" })
		}
	}
	return all
}

// flat is a list in which groups, {triggers: [...]}, are taken apart.
func flat(n *node, group string) []*node {
	var all []*node
	for _, e := range n.list() {
		if inner := e.get(group); inner != nil && len(e.keys) == 1 {
			all = append(all, flat(inner, group)...)
		} else {
			all = append(all, e)
		}
	}
	return all
}

// trigger is one, as one or several of Hearth's, and a condition that it asks
// beside.
func (x *home) trigger(n *node) ([]table, *cond, error) {
	if !n.mapping() {
		return nil, nil, errors.New("want a table with the key trigger")
	}
	kind := n.get("trigger", "platform").str()
	common := []string{"trigger", "platform", "id", "alias", "enabled", "variables"}
	known := func(keys ...string) { x.unknown(n, append(common, keys...)...) }
	for i := range n.keys {
		for _, e := range n.items[i].list() {
			if err := x.tagged(e); err != nil {
				return nil, nil, err
			}
		}
	}
	switch kind {
	case "state":
		known("entity_id", "to", "from", "for", "not_to", "not_from", "attribute")
		return x.stateTrigger(n)
	case "numeric_state":
		known("entity_id", "above", "below", "for", "attribute", "value_template")
		return x.numericTrigger(n)
	case "time":
		known("at", "weekday")
		return x.timeTrigger(n)
	case "time_pattern":
		known("hours", "minutes", "seconds")
		t, err := pattern(n)
		return []table{t}, nil, err
	case "sun":
		known("event", "offset")
		text, err := sunEvent(n.get("event").str(), n.get("offset"))
		if err != nil {
			return nil, nil, err
		}
		x.needPlace()
		return []table{{{"sun", text}}}, nil, nil
	case "mqtt":
		known("topic", "payload", "value_template", "qos", "encoding")
		return x.mqttTrigger(n)
	case "homeassistant":
		known("event")
		if n.get("event").str() == "start" {
			return []table{{{"start", true}}}, nil, nil
		}
		return nil, nil, errors.New("nothing is done at the stop of the hub: outputs go to the state that they declare safe")
	case "template":
		known("value_template", "for")
		return x.templateTrigger(n)
	case "webhook":
		known("webhook_id", "allowed_methods", "local_only")
		id := n.get("webhook_id").str()
		if id == "" || strings.ContainsAny(id, "{} /") {
			return nil, nil, errors.New("want the webhook_id as plain text")
		}
		return []table{{{"webhook", "/hook/" + id}}}, nil, nil
	case "event":
		known("event_type", "event_data", "context")
		return x.eventTrigger(n)
	case "zone":
		known("entity_id", "zone", "event")
		return x.zoneTrigger(n)
	case "device":
		if e, state := x.ofDevice(n); e != nil {
			c, err := e.state("", []string{state})
			if err != nil {
				return nil, nil, err
			}
			known("device_id", "domain", "type", "entity_id", "for", "metadata")
			x.about = append(x.about, e)
			t := table{{"state", c.source}, {"is", c.want}}
			err = x.hold(&t, n)
			return []table{t}, nil, err
		}
		return nil, nil, errors.New("it names a device by a number that only Home Assistant knows: write what the device sends, such as { event = \"zigbee2mqtt/button:action\", is = \"single\" }, in its place")
	case "tag", "calendar", "geo_location", "conversation", "persistent_notification", "sentence":
		return nil, nil, fmt.Errorf("there are no %s triggers in Hearth", kind)
	case "":
		return nil, nil, errors.New("it does not say of which kind it is: want the key trigger (or platform)")
	}
	return nil, nil, fmt.Errorf("a trigger of the kind %s is not known", oneLine(kind))
}

// ofDevice is the entity and the state that a trigger or a condition of a device
// means, where it names an entity and not only the device's number.
func (x *home) ofDevice(n *node) (*entity, string) {
	id := n.get("entity_id").str()
	state := map[string]string{
		"turned_on": "on", "turned_off": "off", "is_on": "on", "is_off": "off", "motion": "on", "no_motion": "off", "is_motion": "on", "is_no_motion": "off",
		"occupied": "on", "not_occupied": "off", "is_occupied": "on", "is_not_occupied": "off", "opened": "on", "not_opened": "off", "is_open": "on", "is_not_open": "off",
		"moist": "on", "not_moist": "off", "smoke": "on", "no_smoke": "off",
	}[n.get("type").str()]
	if state == "" || !strings.Contains(id, ".") {
		return nil, ""
	}
	e, err := x.entity(id)
	if err != nil || !e.boolean() {
		return nil, ""
	}
	return e, state
}

func (x *home) needPlace() {
	x.need("the sun needs latitude and longitude in [hub]")
}

// those are the entities that a key lists.
func (x *home) those(n *node) ([]*entity, error) {
	var all []*entity
	for _, e := range n.list() {
		if err := x.tagged(e); err != nil {
			return nil, err
		}
		for id := range strings.SplitSeq(e.str(), ",") {
			if strings.Contains(id, "{") {
				return nil, errors.New("which entity it is says a template: list them")
			}
			one, err := x.entity(id)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it names no entity")
	}
	return all, nil
}

// words are the states that a key lists.
func words(n *node) []string {
	var all []string
	for _, e := range n.list() {
		all = append(all, e.word())
	}
	return all
}

// hold puts the for of a trigger.
func (x *home) hold(t *table, n *node) error {
	f := n.get("for")
	if f == nil {
		return nil
	}
	d, text, err := x.pause(f)
	switch {
	case err != nil:
		return err
	case text != "":
		*t, err = x.held(*t, text)
		return err
	case d > 0 && t.get("changed") != nil:
		*t, err = x.held(*t, duration(d))
		return err
	case d > 0:
		t.put("for", duration(d))
	}
	return nil
}

// held is a trigger that fires when another has been true for a time that a template
// gives, or when a value has been the same so long: a variable is a timer for it.
func (x *home) held(t table, length string) (table, error) {
	source, ok := t.get("state").(string)
	if !ok || strings.Contains(source, "+") || strings.Contains(source, "#") {
		return nil, errors.New("for of what is no state")
	}
	tests := slices.DeleteFunc(slices.Clone(t), func(p pair) bool { return p.key == "state" || p.key == "changed" || p.key == "from" || p.key == "id" })
	if len(tests) == 0 && t.get("from") != nil {
		return nil, errors.New("for without to: name the state that holds")
	}
	name := x.name(x.current+"_waits", x.current+"_timer")
	x.part("variable", name, "", table{{"initial", "over"}})
	waiting := table{{"set", name}, {"to", "waiting"}, {"for", length}}
	rule := table{{"trigger", t}, {"action", waiting}}
	if len(tests) > 0 {
		rule = table{
			{"trigger", []any{append(slices.Clone(t), pair{"id", "begins"}), table{{"state", source}, {"changed", true}, {"id", "changes"}}}},
			{"choose", []any{
				table{{"if", table{{"trigger", "begins"}}}, {"do", waiting}},
				table{{"if", table{{"not", table{{"state", table{{source, tests}}}}}}}, {"do", set(name, "to", "stopped")}},
			}},
		}
	}
	x.indirect = true
	x.aside("How long it holds, for "+x.current+".", name, rule)
	return table{{"state", name}, {"is", "over"}}, nil
}

// aside makes a rule that another one needs, with a comment of its own.
func (x *home) aside(comment, name string, rule table) {
	notes, broken := x.notes, x.broken
	x.notes, x.broken = []string{comment}, false
	x.rule(0, name, rule)
	x.notes, x.broken = notes, broken
}

// without takes the sun from the entities of a trigger.
func (n *node) without(id string) (rest *node, had bool) {
	list := n.list()
	kept := slices.DeleteFunc(slices.Clone(list), func(e *node) bool { return e.str() == id })
	if len(kept) == len(list) {
		return n, false
	}
	if len(kept) == 0 {
		return nil, true
	}
	return &node{line: n.line, kind: yaml.SequenceNode, items: kept}, true
}

// mentions says whether a text stands in it.
func (n *node) mentions(text string) bool {
	return strings.Contains(n.text, text) || slices.ContainsFunc(n.items, func(e *node) bool { return e.mentions(text) })
}

// nothingTo says that a key is there and names no state, which means any: to: null.
func present(n *node, key string) bool { return n.mapping() && slices.Contains(n.keys, key) }

func (x *home) stateTrigger(n *node) ([]table, *cond, error) {
	rest, sun := n.get("entity_id").without("sun.sun")
	var entities []*entity
	var err error
	if rest != nil || !sun {
		if entities, err = x.those(rest); err != nil {
			return nil, nil, err
		}
	}
	attribute := n.get("attribute").str()
	to, from, notTo, notFrom := words(n.get("to")), words(n.get("from")), words(n.get("not_to")), words(n.get("not_from"))
	var all []table
	var extras []*cond
	for _, e := range entities {
		x.about = append(x.about, e)
		if e.domain == "input_button" {
			all = append(all, table{{"event", e.source}})
			continue
		}
		if e.event && (attribute == "" || attribute == "event_type") && n.get("for") == nil {
			t := table{{"event", e.source}}
			if len(to) > 0 {
				v, err := e.values(to)
				if err != nil {
					return nil, nil, err
				}
				t.put("is", oneOrMore(v))
			}
			all = append(all, t)
			continue
		}
		source, err := e.of(attribute)
		if err != nil {
			return nil, nil, err
		}
		if attribute == "" && e.raw && len(to) == 1 && (to[0] == "unavailable" || to[0] == "unknown") {
			t := table{{"state", e.name + ".availability"}, {"is", "offline"}}
			if err := x.hold(&t, n); err != nil {
				return nil, nil, err
			}
			all = append(all, t)
			continue
		}
		t := table{{"state", source}}
		only := func(states []string) []string { // without those that are no values in Hearth
			return slices.DeleteFunc(slices.Clone(states), func(s string) bool { return s == "unavailable" || s == "unknown" })
		}
		values := func(states []string) ([]any, error) {
			if attribute == "" {
				return e.values(states)
			}
			var list []any
			for _, s := range states {
				list = append(list, scalarOf(s))
			}
			return list, nil
		}
		switch {
		case len(to) > 0:
			c, err := e.state(attribute, to)
			if err != nil {
				return nil, nil, err
			}
			if tests, ok := c.want.(table); ok {
				t = append(t, tests...)
			} else {
				t.put("is", c.want)
			}
		case len(only(notTo)) > 0:
			v, err := values(only(notTo))
			if err != nil {
				return nil, nil, err
			}
			if on, ok := oneOrMore(v).(bool); ok {
				t.put("is", !on)
				break
			}
			t.put("changed", true)
			extras = append(extras, not(&cond{op: "test", source: source, want: oneOrMore(v)}))
		default:
			t.put("changed", true)
		}
		if from := only(from); len(from) > 0 {
			v, err := values(from)
			if err != nil {
				return nil, nil, err
			}
			// What it was before can only be the opposite where there are two states.
			if on, ok := oneOrMore(v).(bool); !ok || t.get("is") != !on {
				if ok && t.get("changed") != nil {
					t = table{{"state", source}, {"is", !on}} // left that state
				} else {
					t.put("from", oneOrMore(v))
				}
			}
		}
		if v := only(notFrom); len(v) > 0 {
			list, err := values(v)
			if err != nil {
				return nil, nil, err
			}
			if on, ok := oneOrMore(list).(bool); ok && t.get("is") == on {
				return nil, nil, fmt.Errorf("not_from and to are the same state")
			} else if !ok {
				was := make([]string, len(list))
				for i, e := range list {
					was[i] = inline(e)
					if s, ok := e.(string); ok {
						was[i] = exprText(s)
					}
				}
				extras = append(extras, &cond{op: "expr", text: "old not in [" + strings.Join(was, ", ") + "]"})
			}
		}
		if err := x.hold(&t, n); err != nil {
			return nil, nil, err
		}
		all = append(all, t)
	}
	if sun {
		event := map[string]string{"above_horizon": "sunrise", "below_horizon": "sunset"}[strings.Join(to, " ")]
		if len(to) == 0 && attribute == "" {
			event = map[string]string{"below_horizon": "sunrise", "above_horizon": "sunset"}[strings.Join(from, " ")]
		}
		if event == "" {
			return nil, nil, errors.New("of the sun want to: above_horizon or below_horizon, or its elevation with above or below")
		}
		if event, err = x.heldSun(event, n); err != nil {
			return nil, nil, err
		}
		x.needPlace()
		all = append(all, table{{"sun", event}})
	}
	if len(extras) == 0 {
		return all, nil, nil
	}
	if len(entities) > 1 {
		return nil, nil, errors.New("not_to and not_from of several entities at once: write a trigger for each")
	}
	return all, both("and", extras...), nil
}

// limit is a number, or what has one.
func (x *home) limit(n *node) (f float64, source string, err error) {
	if n == nil {
		return 0, "", nil
	}
	if f, err := strconv.ParseFloat(n.str(), 64); err == nil {
		return f, "", nil
	}
	e, err := x.entity(n.str())
	if err != nil {
		return 0, "", fmt.Errorf("want a number or an entity, not %s", n.show())
	}
	return 0, e.source, nil
}

// meets says that a number can be above and below the limits of tests.
func meets(tests table) bool {
	above, low := tests.get("above").(float64)
	below, high := tests.get("below").(float64)
	return !low || !high || above < below
}

func (x *home) numericTrigger(n *node) ([]table, *cond, error) {
	var entities []*entity
	rest, sun := n.get("entity_id").without("sun.sun")
	attribute, computed, err := x.attribute(n)
	if err != nil {
		return nil, nil, err
	}
	if rest != nil || !sun {
		if entities, err = x.those(rest); err != nil {
			return nil, nil, err
		}
	}
	var all []table
	if sun {
		heights, err := x.elevation(n, attribute)
		if err != nil {
			return nil, nil, err
		}
		for _, h := range heights {
			if len(heights) > 1 && n.get("for") != nil {
				return nil, nil, errors.New("for between two elevations: want either above or below")
			}
			event, err := x.heldSun(h.event, n)
			if err != nil {
				return nil, nil, err
			}
			all = append(all, table{{"sun", event}, {"elevation", h.degrees}})
		}
	}
	for _, e := range entities {
		x.about = append(x.about, e)
		source, err := e.of(attribute)
		if err == nil && computed != nil {
			source, err = x.computed(computed.about(e.id))
		}
		if err != nil {
			return nil, nil, err
		}
		t := table{{"state", source}}
		for _, key := range []string{"above", "below"} {
			l := n.get(key)
			f, other, err := x.limit(l)
			switch {
			case err != nil:
				return nil, nil, err
			case other != "" && n.get("above") != nil && n.get("below") != nil:
				return nil, nil, errors.New("two limits, of which one is an entity: make two triggers of it")
			case other != "": // the difference has a fixed limit
				name := x.name(slug(source)+"_over_"+slug(other), "difference")
				x.part("calc", name, "", table{{"of", []any{source, other}}, {"value", "readings[0] - readings[1]"}})
				t = table{{"state", name}, {key, 0}}
			case l != nil:
				t.put(key, f)
			}
		}
		if len(t) == 1 {
			return nil, nil, errors.New("it has neither above nor below")
		}
		if !meets(t) {
			return nil, nil, errors.New("no number is above the one and below the other")
		}
		if err := x.hold(&t, n); err != nil {
			return nil, nil, err
		}
		all = append(all, t)
	}
	return all, nil, nil
}

// attribute is the one that a test is of, also where a template names it.
func (x *home) attribute(n *node) (name string, computed *expr, err error) {
	v := n.get("value_template")
	if v == nil {
		return n.get("attribute").str(), nil, nil
	}
	whole, err := onlyExpr(v.text)
	if err != nil {
		return "", nil, err
	}
	e := whole
	for e.op == "filter" && (e.text == "float" || e.text == "int") {
		e = e.args[0]
	}
	if path := e.path(); path == "state.state" {
		return "", nil, nil
	} else if a, ok := strings.CutPrefix(path, "state.attributes."); ok {
		return a, nil, nil
	}
	return "", whole, nil
}

// computed is a calc of what a template says of several states.
func (x *home) computed(e *expr) (string, error) {
	var sources []string
	x.within = &sources
	text, err := x.value(e)
	x.within = nil
	if err == nil && len(sources) == 0 {
		err = errors.New("nothing tells when this template changes")
	}
	if err != nil {
		return "", err
	}
	of := make([]any, len(sources))
	for i, s := range sources {
		of[i] = s
	}
	name := x.name(x.current+"_value", x.current+"_computed")
	x.part("calc", name, "", table{{"of", of}, {"value", text}})
	x.indirect = true
	return name, nil
}

// source is a source in an expression: by its name, or in a calc as one of its
// readings.
func (x *home) ref(source string) string {
	if x.within == nil {
		return ref(source)
	}
	i := slices.Index(*x.within, source)
	if i < 0 {
		i = len(*x.within)
		*x.within = append(*x.within, source)
	}
	return fmt.Sprintf("readings[%d]", i)
}

// height is one side of the sun's height: the event that passes it, the side on which
// it is then, and the degrees.
type height struct {
	event, side string
	degrees     float64
}

// elevation is what a test of the sun's height says, below first; it has one or both
// limits.
func (x *home) elevation(n *node, attribute string) ([]height, error) {
	if attribute != "elevation" {
		return nil, fmt.Errorf("of the sun the elevation is known, not %s", oneLine(attribute))
	}
	var all []height
	for _, h := range []struct{ key, event, side string }{{"below", "sunset", "down"}, {"above", "sunrise", "up"}} {
		l := n.get(h.key)
		if l == nil {
			continue
		}
		f, err := strconv.ParseFloat(l.str(), 64)
		if err != nil || !(f >= -90 && f <= 90) {
			return nil, errors.New("want degrees from -90 to 90")
		}
		all = append(all, height{h.event, h.side, f})
	}
	if len(all) == 0 {
		return nil, errors.New("it has neither above nor below")
	}
	if len(all) == 2 && all[1].degrees >= all[0].degrees {
		return nil, errors.New("no number is above the one and below the other")
	}
	x.needPlace()
	return all, nil
}

// heldSun is a trigger by the sun that fires when it has been so for a time: that is
// so much later, for the sun does not turn back.
func (x *home) heldSun(event string, n *node) (string, error) {
	f := n.get("for")
	if f == nil {
		return event, nil
	}
	d, text, err := x.pause(f)
	if err != nil {
		return "", err
	}
	if text != "" || d > 12*time.Hour {
		return "", errors.New("for of the sun: want a fixed time, at most 12 hours")
	}
	if d > 0 {
		event += "+" + duration(d)
	}
	return event, nil
}

func (x *home) timeTrigger(n *node) ([]table, *cond, error) {
	var times []any
	var all []table
	put := func(t table) error {
		if w := n.get("weekday"); w != nil {
			days, err := weekdays(w)
			if err != nil {
				return err
			}
			t.put("days", days)
		}
		all = append(all, t)
		return nil
	}
	for _, at := range n.get("at").list() {
		text := at.str()
		if at.mapping() {
			if at.get("offset") != nil {
				return nil, nil, errors.New("a source that says a time has no offset in Hearth")
			}
			text = at.get("entity_id").str()
		}
		if t, ok := clockTime(text); ok {
			times = append(times, t)
			continue
		}
		if strings.Contains(text, "{") {
			return nil, nil, errors.New("the time is a template: name the time, or a variable that says one")
		}
		e, err := x.entity(text)
		if err != nil {
			return nil, nil, fmt.Errorf("want a time such as \"07:00:00\", or an input_datetime: %w", err)
		}
		if err := put(table{{"time", e.source}}); err != nil {
			return nil, nil, err
		}
		x.need("%s is the variable %s here: a text such as 07:30 that a link or a rule sets", e.id, e.source)
	}
	if len(times) > 0 {
		if err := put(table{{"time", oneOrMore(times)}}); err != nil {
			return nil, nil, err
		}
	}
	return all, nil, nil
}

var dayNames = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// weekdays writes a list of them as Hearth does.
func weekdays(n *node) (string, error) {
	var has [7]bool
	for _, d := range n.list() {
		name := strings.ToLower(d.str())
		i := slices.Index(dayNames, name[:min(3, len(name))])
		if i < 0 {
			return "", fmt.Errorf("want weekdays such as mon, not %s", d.show())
		}
		has[i] = true
	}
	return dayList(has), nil
}

func dayList(has [7]bool) string {
	var parts []string
	for i := 0; i < 7; i++ {
		if !has[i] {
			continue
		}
		j := i
		for j+1 < 7 && has[j+1] {
			j++
		}
		switch {
		case j == i:
			parts = append(parts, dayNames[i])
		case j == i+1:
			parts = append(parts, dayNames[i], dayNames[j])
		default:
			parts = append(parts, dayNames[i]+"-"+dayNames[j])
		}
		i = j
	}
	return strings.Join(parts, ",")
}

// pattern is a time_pattern, as an interval where it is one, else as a crontab
// entry. What stands below the finest field that is given is 0, above it "*".
func pattern(n *node) (table, error) {
	h, m, s := n.get("hours").str(), n.get("minutes").str(), n.get("seconds").str()
	if h == "" && m == "" && s == "" {
		return nil, errors.New("it has neither hours nor minutes nor seconds")
	}
	switch {
	case h != "" && m == "":
		m = "0"
	case h == "" && m == "" || m == "" && s != "":
		m = "*"
	}
	if s == "" {
		s = "0"
	}
	if h == "" {
		h = "*"
	}
	fields := []string{s, m, h}
	limits := []int{60, 60, 24}
	for i, f := range fields {
		step, every := strings.CutPrefix(strings.TrimPrefix(f, "*"), "/")
		v, err := strconv.Atoi(step)
		if f != "*" && (err != nil || v < 0 || v >= limits[i] && !(every && v == limits[i]) || every && v == 0) {
			return nil, fmt.Errorf("want a number, * or one such as /5, not %s", oneLine(f))
		}
		switch {
		case f == "*":
		case every:
			fields[i] = "*/" + strconv.Itoa(v)
			if v == limits[i] {
				fields[i] = "0"
			}
		default:
			fields[i] = strconv.Itoa(v)
		}
	}
	units := []time.Duration{time.Second, time.Minute, time.Hour}
	for i, f := range fields {
		zeros := !slices.ContainsFunc(fields[:i], func(f string) bool { return f != "0" })
		stars := !slices.ContainsFunc(fields[i+1:], func(f string) bool { return f != "*" })
		if !zeros || !stars {
			continue
		}
		if step, ok := strings.CutPrefix(f, "*/"); ok {
			// Only an interval that divides the hour or the day is one of both.
			if v, _ := strconv.Atoi(step); limits[i]%v == 0 {
				return table{{"every", duration(time.Duration(v) * units[i])}}, nil
			}
		}
		if f == "*" && i > 0 {
			return table{{"every", duration(units[i])}}, nil
		}
	}
	cron := fields[1] + " " + fields[2] + " * * *"
	if fields[0] != "0" {
		cron = fields[0] + " " + cron
	}
	return table{{"cron", cron}}, nil
}

// sunEvent is sunrise or sunset with an offset, as Hearth writes it.
func sunEvent(event string, offset *node) (string, error) {
	if event != "sunrise" && event != "sunset" {
		return "", errors.New("want event: sunrise or sunset")
	}
	if offset == nil {
		return event, nil
	}
	d, ok := spanOf(offset.str())
	if !ok || d.Abs() > 12*time.Hour {
		return "", fmt.Errorf("want an offset such as \"-00:30:00\", at most 12 hours, not %s", offset.show())
	}
	switch {
	case d > 0:
		return event + "+" + duration(d), nil
	case d < 0:
		return event + duration(d), nil
	}
	return event, nil
}

func (x *home) mqttTrigger(n *node) ([]table, *cond, error) {
	topic := x.fixed(n.get("topic"))
	if strings.Contains(topic, "{") || !listenable(topic) {
		return nil, nil, errors.New("want the topic as plain text")
	}
	path := ""
	if v := n.get("value_template"); v != nil {
		e, err := onlyExpr(v.text)
		if err != nil {
			return nil, nil, err
		}
		p, ok := strings.CutPrefix(bare(e).path(), "value_json.")
		if !ok && n.get("payload") != nil {
			return nil, nil, errors.New("want a value_template that names a value, such as {{ value_json.action }}")
		}
		if n.get("payload") != nil { // without one it is set off by any message
			path = jsonPath(strings.Split(p, "."))
		}
	}
	x.message = true
	t := table{{"event", topicSource(topic, path)}}
	if p := n.get("payload"); p != nil {
		text := p.text
		if strings.Contains(text, "{{") {
			if text = x.fixed(p); strings.Contains(text, "{{") {
				return nil, nil, errors.New("the payload is a template: write it out")
			}
		}
		if on, ok := p.boolean(); ok && path != "" {
			t.put("is", on)
		} else {
			t.put("is", text)
		}
	}
	return []table{t}, nil, nil
}

// fixed is a text in which templates of nothing but constants are written out.
func (x *home) fixed(n *node) string {
	text := n.str()
	if !strings.Contains(text, "{{") {
		return text
	}
	spans, err := parseTemplate(text)
	if err != nil {
		return text
	}
	var b strings.Builder
	for _, s := range spans {
		if s.expr == nil {
			b.WriteString(s.text)
		} else if one, ok := x.constant(s.expr, 0); ok {
			b.WriteString(one)
		} else {
			return text
		}
	}
	return b.String()
}

func (x *home) constant(e *expr, depth int) (string, bool) {
	if depth > 10 {
		return "", false
	}
	switch e.op {
	case "text", "number":
		return e.text, true
	case "~", "+":
		a, ok := x.constant(e.args[0], depth+1)
		b, too := x.constant(e.args[1], depth+1)
		return a + b, ok && too && (e.op == "~" || e.args[0].op == "text" || e.args[1].op == "text")
	case "name":
		if v := x.variable(e.text); v.scalar() {
			if in, err := x.meaning(e.text, v); err == nil {
				return x.constant(in, depth+1)
			}
		}
	}
	return "", false
}

// jsonPath writes a path into JSON, with quotes round odd keys.
func jsonPath(keys []string) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = k
		if !plainKey(k) {
			parts[i] = `"` + strings.ReplaceAll(k, `"`, "") + `"`
		}
	}
	return strings.Join(parts, ".")
}

func plainKey(k string) bool {
	for i := range len(k) {
		if !letter(k[i]) && (k[i] < '0' || k[i] > '9') {
			return false
		}
	}
	return k != "" && letter(k[0])
}

func (x *home) templateTrigger(n *node) ([]table, *cond, error) {
	e, err := onlyExpr(n.get("value_template").str())
	if err != nil {
		return nil, nil, err
	}
	c, err := x.test(e)
	if err != nil {
		return nil, nil, err
	}
	list, ok := c.edges(false)
	if ok && len(list) == 1 {
		if event, sun := list[0].get("sun").(string); sun {
			if event, err = x.heldSun(event, n); err == nil {
				list[0] = append(table{{"sun", event}}, list[0][1:]...)
			}
			return list, nil, err
		}
		return list, nil, x.hold(&list[0], n)
	}
	if ok && n.get("for") == nil {
		return list, c, nil
	}
	name, err := x.computed(e)
	if err != nil {
		return nil, nil, fmt.Errorf("nothing tells when this template becomes true: %w", err)
	}
	t := table{{"state", name}, {"is", true}}
	err = x.hold(&t, n)
	return []table{t}, nil, err
}

func (x *home) eventTrigger(n *node) ([]table, *cond, error) {
	kind := n.get("event_type").str()
	switch kind {
	case "timer.finished":
		e, err := x.entity(n.get("event_data").get("entity_id").str())
		if err != nil || e.name == "" {
			return nil, nil, errors.New("want the timer's entity_id in event_data")
		}
		return []table{{{"state", e.source}, {"is", "idle"}}}, nil, nil
	case "homeassistant_started", "homeassistant_start":
		return []table{{{"start", true}}}, nil, nil
	}
	return nil, nil, fmt.Errorf("there is no event bus in Hearth, and so no %s: a device's events come on its topic, such as { event = \"zigbee2mqtt/remote:action\", is = \"toggle\" }", oneLine(kind))
}

func (x *home) zoneTrigger(n *node) ([]table, *cond, error) {
	entities, err := x.those(n.get("entity_id"))
	if err != nil {
		return nil, nil, err
	}
	zone, ok := strings.CutPrefix(n.get("zone").str(), "zone.")
	if !ok {
		return nil, nil, errors.New("want zone: zone.home")
	}
	event := n.get("event").str()
	var all []table
	for _, e := range entities {
		x.about = append(x.about, e)
		switch {
		case event == "enter":
			all = append(all, table{{"state", e.source}, {"is", zone}})
		case zone == "home":
			all = append(all, table{{"state", e.source}, {"is", "not_home"}})
		default:
			return nil, nil, errors.New("of leaving a zone other than home nothing tells")
		}
	}
	return all, nil, nil
}

// pause is a duration, or a text with holes that gives one.
func (x *home) pause(n *node) (time.Duration, string, error) {
	if err := x.tagged(n); err != nil {
		return 0, "", err
	}
	if n.scalar() {
		if strings.Contains(n.text, "{{") {
			if _, err := onlyExpr(n.text); err != nil {
				if text, ok := x.fields(n.text); ok {
					return 0, text, nil
				}
			}
			return x.holed(n.text, "s")
		}
		d, ok := spanOf(n.str())
		if !ok || d < 0 {
			return 0, "", fmt.Errorf("want a time such as \"00:05:00\" or a number of seconds, not %s", n.show())
		}
		return d, "", nil
	}
	if !n.mapping() {
		return 0, "", errors.New("want a time such as \"00:05:00\"")
	}
	var total time.Duration
	holes := ""
	for i, k := range n.keys {
		unit, ok := map[string]float64{"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1, "milliseconds": 0.001}[k]
		if !ok {
			return 0, "", fmt.Errorf("want days, hours, minutes, seconds or milliseconds, not %s", oneLine(k))
		}
		if text := n.items[i].text; strings.Contains(text, "{{") {
			letter := map[string]string{"hours": "h", "minutes": "m", "seconds": "s"}[k]
			if letter == "" {
				return 0, "", errors.New("want hours, minutes or seconds where a template says how many")
			}
			_, hole, err := x.holed(text, letter)
			if err != nil {
				return 0, "", err
			}
			holes += hole
			continue
		}
		f, err := strconv.ParseFloat(n.items[i].str(), 64)
		d, ok := seconds(f * unit)
		if err != nil || !ok || d < 0 {
			return 0, "", fmt.Errorf("want a number of %s, not %s", k, n.items[i].show())
		}
		total += d
	}
	if total > longest {
		return 0, "", errors.New("it is longer than 1000 days")
	}
	if holes != "" && total > 0 {
		holes += duration(total)
	}
	if holes != "" {
		return 0, holes, nil
	}
	return total, "", nil
}

// fields reads a time such as "00:{{ minutes }}:00".
func (x *home) fields(text string) (string, bool) {
	spans, err := parseTemplate(strings.TrimSpace(text))
	if err != nil {
		return "", false
	}
	whole, holes := "", []string{}
	for _, s := range spans {
		if s.expr == nil {
			whole += s.text
			continue
		}
		v, err := x.value(s.expr)
		if err != nil {
			return "", false
		}
		whole += "\x00"
		holes = append(holes, "{"+hole(v)+"}")
	}
	parts := strings.Split(strings.TrimSpace(whole), ":")
	if len(parts) != 2 && len(parts) != 3 {
		return "", false
	}
	out := ""
	for i, unit := range []string{"h", "m", "s"}[:len(parts)] {
		p := strings.TrimSpace(parts[i])
		if p == "\x00" {
			out, holes = out+holes[0]+unit, holes[1:]
		} else if n, err := strconv.Atoi(p); err != nil || n < 0 {
			return "", false
		} else if n > 0 {
			out += strconv.Itoa(n) + unit
		}
	}
	return out, len(holes) == 0
}

// holed is a template of a number as a duration with a hole.
func (x *home) holed(text, unit string) (time.Duration, string, error) {
	e, err := onlyExpr(text)
	if err != nil {
		return 0, "", err
	}
	value, err := x.value(e)
	if err != nil {
		return 0, "", err
	}
	return 0, "{" + hole(value) + "}" + unit, nil
}

// Conditions.

// condition is one; nil if it was lost, or is switched off.
func (x *home) condition(n *node) *cond {
	c, err := x.cond(n)
	if err != nil {
		x.lose(n.line, n.show(), "%s", err)
		return nil
	}
	return c
}

// conditions are several, all of which must hold; nil if there are none.
func (x *home) conditions(n *node) *cond {
	var all []*cond
	for _, one := range n.list() {
		if c := x.condition(one); c != nil {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return both("and", all...)
}

func (x *home) cond(n *node) (*cond, error) {
	if err := x.tagged(n); err != nil {
		return nil, err
	}
	if n.scalar() {
		return x.templateCond(n.text)
	}
	if !n.mapping() {
		return nil, errors.New("want a table or a template")
	}
	if on, ok := n.get("enabled").boolean(); ok && !on {
		return nil, nil
	}
	for i := range n.keys {
		for _, e := range n.items[i].list() {
			if err := x.tagged(e); err != nil {
				return nil, err
			}
		}
	}
	kind := n.get("condition").str()
	inner := n.get("conditions")
	for _, op := range []string{"and", "or", "not"} { // the short form: or: [...]
		if l := n.get(op); l != nil && kind == "" {
			kind, inner = op, l
		}
	}
	common := []string{"condition", "alias", "enabled"}
	known := func(keys ...string) { x.unknown(n, append(common, keys...)...) }
	switch kind {
	case "and", "or", "not":
		var all []*cond
		for _, one := range inner.list() {
			c, err := x.cond(one)
			if err != nil {
				return nil, err
			}
			if c != nil {
				all = append(all, c)
			}
		}
		if len(all) == 0 {
			return nil, errors.New("it has no conditions")
		}
		if kind == "not" { // none of them holds
			for i := range all {
				all[i] = not(all[i])
			}
			kind = "and"
		}
		return both(kind, all...), nil
	case "state":
		known("entity_id", "state", "for", "attribute", "match")
		return x.stateCond(n)
	case "numeric_state":
		known("entity_id", "above", "below", "attribute", "value_template")
		return x.numericCond(n)
	case "time":
		known("after", "before", "weekday")
		return x.timeCond(n)
	case "sun":
		known("after", "before", "after_offset", "before_offset")
		return x.sunCond(n)
	case "template":
		known("value_template")
		return x.templateCond(n.get("value_template").str())
	case "trigger":
		known("id")
		var ids []any
		for _, id := range n.get("id").list() {
			if !x.ids[id.str()] {
				return nil, fmt.Errorf("no trigger that was carried over has the id %s", id.show())
			}
			ids = append(ids, id.str())
		}
		if len(ids) == 0 {
			return nil, errors.New("it names no trigger")
		}
		return &cond{op: "table", table: table{{"trigger", oneOrMore(ids)}}}, nil
	case "zone":
		known("entity_id", "zone")
		entities, err := x.those(n.get("entity_id"))
		if err != nil {
			return nil, err
		}
		var zones []any
		for _, z := range n.get("zone").list() {
			zones = append(zones, strings.TrimPrefix(z.str(), "zone."))
		}
		var all []*cond
		for _, e := range entities {
			all = append(all, &cond{op: "test", source: e.source, want: oneOrMore(zones)})
		}
		return both("and", all...), nil
	case "device":
		if e, state := x.ofDevice(n); e != nil {
			return e.state("", []string{state})
		}
		return nil, errors.New("it names a device by a number that only Home Assistant knows: ask for the state of the entity")
	case "":
		return nil, errors.New("it does not say of which kind it is: want the key condition")
	}
	return nil, fmt.Errorf("a condition of the kind %s is not known", oneLine(kind))
}

func (x *home) stateCond(n *node) (*cond, error) {
	var all []*cond
	states := words(n.get("state"))
	if len(states) == 0 {
		return nil, errors.New("it names no state")
	}
	if l := n.get("entity_id").list(); len(l) == 1 && l[0].str() == "sun.sun" {
		x.needPlace()
		switch states[0] {
		case "above_horizon":
			return &cond{op: "table", table: table{{"sun", "up"}}}, nil
		case "below_horizon":
			return &cond{op: "table", table: table{{"sun", "down"}}}, nil
		}
	}
	entities, err := x.those(n.get("entity_id"))
	if err != nil {
		return nil, err
	}
	for _, e := range entities {
		if e.domain == "automation" || e.domain == "script" {
			return nil, fmt.Errorf("that %s is on is asked in Hearth by its rule's name", e.id)
		}
		if c, err := x.eventIs(e, n.get("attribute").str(), states); c != nil || err != nil {
			if err != nil {
				return nil, err
			}
			all = append(all, c)
			continue
		}
		c, err := e.state(n.get("attribute").str(), states)
		if err != nil {
			return nil, err
		}
		if f := n.get("for"); f != nil {
			d, text, err := x.pause(f)
			if err != nil {
				return nil, err
			}
			if text != "" {
				return nil, errors.New("for is a template: in Hearth it is a fixed time")
			}
			t, ok := c.want.(table)
			if !ok {
				t = table{{"is", c.want}}
			}
			if d > 0 {
				t.put("for", duration(d))
			}
			c.want = t
		}
		all = append(all, c)
	}
	if n.get("match").str() == "any" {
		return both("or", all...), nil
	}
	return both("and", all...), nil
}

// eventIs asks for the event that set the rule off; nil if it was another.
func (x *home) eventIs(e *entity, attribute string, states []string) (*cond, error) {
	if !e.event || attribute != "" && attribute != "event_type" || !x.oneIs() || x.about[0] != e || x.indirect {
		return nil, nil
	}
	v, err := e.values(states)
	if err != nil {
		return nil, err
	}
	return &cond{op: "table", table: table{{"is", oneOrMore(v)}}}, nil
}

func (x *home) numericCond(n *node) (*cond, error) {
	attribute, computed, err := x.attribute(n)
	if err != nil {
		return nil, err
	}
	if l := n.get("entity_id").list(); len(l) == 1 && l[0].str() == "sun.sun" {
		heights, err := x.elevation(n, attribute)
		if err != nil {
			return nil, err
		}
		var all []*cond
		for _, h := range heights {
			all = append(all, &cond{op: "table", table: table{{"sun", h.side}, {"elevation", h.degrees}}})
		}
		return both("and", all...), nil
	}
	entities, err := x.those(n.get("entity_id"))
	if err != nil {
		return nil, err
	}
	var all []*cond
	for _, e := range entities {
		source, err := e.of(attribute)
		if err != nil {
			return nil, err
		}
		text := ref(source)
		if computed != nil {
			if text, err = x.value(computed.about(e.id)); err != nil {
				return nil, err
			}
			text = "(" + text + ")"
		}
		var want table
		for _, key := range []string{"above", "below"} {
			l := n.get(key)
			f, other, err := x.limit(l)
			op := map[string]string{"above": " > ", "below": " < "}[key]
			switch {
			case err != nil:
				return nil, err
			case computed != nil && l != nil && other == "":
				all = append(all, &cond{op: "expr", text: text + op + number(f)})
			case other != "":
				all = append(all, &cond{op: "expr", text: text + op + ref(other)})
			case l != nil:
				want.put(key, f)
			}
		}
		if !meets(want) {
			return nil, errors.New("no number is above the one and below the other")
		}
		if len(want) > 0 {
			all = append(all, &cond{op: "test", source: source, want: want})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it has neither above nor below")
	}
	return both("and", all...), nil
}

func (x *home) timeCond(n *node) (*cond, error) {
	var t table
	after, before := n.get("after"), n.get("before")
	for _, side := range []*node{after, before} {
		if strings.HasPrefix(side.str(), "input_datetime.") {
			c, err := x.timeVariable(after, before)
			if w := n.get("weekday"); err == nil && w != nil {
				var days string
				days, err = weekdays(w)
				c = both("and", c, &cond{op: "table", table: table{{"days", days}}})
			}
			return c, err
		}
	}
	if after != nil || before != nil {
		from, to := "00:00", "00:00"
		var ok bool
		if after != nil {
			if from, ok = clockTime(after.str()); !ok {
				return nil, fmt.Errorf("want after as a time such as \"22:00:00\", not %s: a condition has a fixed one in Hearth", after.show())
			}
		}
		if before != nil {
			if to, ok = clockTime(before.str()); !ok {
				return nil, fmt.Errorf("want before as a time such as \"06:00:00\", not %s: a condition has a fixed one in Hearth", before.show())
			}
		}
		if from != to { // from midnight to midnight is always
			t.put("time", from+"-"+to)
		}
	}
	if w := n.get("weekday"); w != nil {
		days, err := weekdays(w)
		if err != nil {
			return nil, err
		}
		t.put("days", days)
	}
	if len(t) == 0 {
		return nil, errors.New("it has neither after nor before nor weekday")
	}
	return &cond{op: "table", table: t}, nil
}

// timeVariable is a variable that is true between two times of which somebody sets
// one or both, and a rule that keeps it so.
func (x *home) timeVariable(after, before *node) (*cond, error) {
	var at, words [2]string
	for i, n := range []*node{after, before} {
		words[i] = n.str()
		if n == nil {
			at[i], words[i] = "00:00", "midnight"
		} else if t, ok := clockTime(n.str()); ok {
			at[i] = t
		} else {
			e, err := x.entity(n.str())
			if err != nil {
				return nil, err
			}
			at[i] = e.source
			_, words[i], _ = strings.Cut(e.id, ".")
			x.need("%s is the variable %s here: a text such as 07:30 that a link or a rule sets", e.id, e.source)
		}
	}
	want := "from " + words[0] + " to " + words[1]
	if x.entities[want] == nil {
		name := x.name(want, want)
		x.entities[want] = &entity{id: want, source: name, name: name}
		x.part("variable", name, "", table{{"initial", false}})
		x.need("%s is true from the first of its times that comes, not at once when somebody changes one", name)
		x.aside("Whether it is "+want+", for conditions.", name, table{
			{"trigger", []any{table{{"time", at[0]}, {"id", "begins"}}, table{{"time", at[1]}, {"id", "ends"}}}},
			{"choose", []any{table{{"if", table{{"trigger", "begins"}}}, {"do", set(name, "to", true)}}, table{{"do", set(name, "to", false)}}}},
			{"catch_up", "start"},
		})
	}
	return &cond{op: "test", source: x.entities[want].source, want: true}, nil
}

// sunCond: after sunset means until midnight, before sunrise from midnight on. Only
// the two together mean the night (homeassistant/helpers/condition.py, sun).
func (x *home) sunCond(n *node) (*cond, error) {
	x.needPlace()
	after, before := n.get("after").str(), n.get("before").str()
	ao, bo := n.get("after_offset"), n.get("before_offset")
	side := func(up string) *cond { return &cond{op: "table", table: table{{"sun", up}}} }
	half := func(up, time string) *cond { return &cond{op: "table", table: table{{"sun", up}, {"time", time}}} }
	one := func(key, event string, offset *node) (*cond, error) {
		if offset != nil {
			return x.sunVariable(key, event, offset)
		}
		switch key + " " + event {
		case "after sunset":
			return half("down", "12:00-00:00"), nil
		case "before sunrise":
			return half("down", "00:00-12:00"), nil
		case "after sunrise":
			return not(half("down", "00:00-12:00")), nil
		case "before sunset":
			return not(half("down", "12:00-00:00")), nil
		}
		return nil, errors.New("want sunrise or sunset")
	}
	switch {
	case after == "" && before == "":
		return nil, errors.New("it has neither after nor before")
	case ao == nil && bo == nil && after == "sunset" && before == "sunrise":
		return side("down"), nil
	case ao == nil && bo == nil && after == "sunrise" && before == "sunset":
		return side("up"), nil
	}
	var all []*cond
	if after != "" {
		c, err := one("after", after, ao)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if before != "" {
		c, err := one("before", before, bo)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if after == "sunset" && before == "sunrise" {
		return both("or", all...), nil
	}
	return both("and", all...), nil
}

// sunVariable is a variable that is true after, or before, a moment of the sun, and
// a rule that keeps it so.
func (x *home) sunVariable(key, event string, offset *node) (*cond, error) {
	text, err := sunEvent(event, offset)
	if err != nil {
		return nil, err
	}
	want := key + " " + strings.NewReplacer("-", " minus ", "+", " plus ").Replace(text)
	if x.entities[want] == nil {
		name := x.name(want, want)
		x.entities[want] = &entity{id: want, source: name, name: name}
		x.part("variable", name, "", table{{"initial", false}})
		rule := table{
			{"trigger", []any{table{{"sun", text}, {"id", "sun"}}, table{{"time", "00:00"}, {"id", "midnight"}}}},
			{"choose", []any{
				table{{"if", table{{"trigger", "sun"}}}, {"do", table{{"set", name}, {"to", key == "after"}}}},
				table{{"do", table{{"set", name}, {"to", key == "before"}}}},
			}},
			{"catch_up", "start"},
		}
		x.aside(fmt.Sprintf("Whether it is %s %s, for conditions.", key, text), name, rule)
	}
	return &cond{op: "test", source: x.entities[want].source, want: true}, nil
}

func (x *home) templateCond(text string) (*cond, error) {
	e, err := onlyExpr(text)
	if err != nil {
		return nil, err
	}
	return x.test(e)
}
