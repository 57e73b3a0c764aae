package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/rules/calendar"
	"hearth/rules/formula"
)

// House is what rules need to know of the house besides their own text.
type House struct {
	Parts  []Part
	Zone   *time.Location // nil is UTC
	Place  calendar.Place
	Seed   uint64                           // of what is random
	Secret func(name string) (string, bool) // nil: there are none
}

// A Part is one wired thing of the house: what it reports and what it can be told.
type Part struct {
	Name  string
	Table string // the table that declares it: "output", "sensor"

	// Value is what it reports itself: "boolean", "number" or "text"; "" if only
	// its properties report. Properties says the same of each of those; "event"
	// is one that has no last value.
	Value      string
	Properties map[string]string

	// Events is what a property that is an event can say: "single", "hold". One of
	// which that is not known says anything.
	Events map[string][]string

	// Takes is what it can be told: "" nothing, "switch" on and off, "level" also a
	// number from 0 to 100, "cover" such a number, on and off for open and closed,
	// and stop. One that takes levels reports whether it is on, and in its property
	// level how much; a cover its position, a number. One with a property fault can
	// also be told "acknowledge".
	Takes string

	// Bounded says that nobody need switch it off: max_on or an interlock does, or
	// it starts on.
	Bounded bool
}

// kind is what the part is called in errors: "an output".
func (p Part) kind() string {
	if strings.ContainsRune("aeiou", rune(p.Table[0])) {
		return "an " + p.Table
	}
	return "a " + p.Table
}

// formulaTypes are the types that expressions know, by the words of a Part.
var formulaTypes = map[string]formula.Type{"boolean": formula.Boolean, "number": formula.Number, "text": formula.Text, "": formula.Any}

func (h House) zone() *time.Location {
	if h.Zone == nil {
		return time.UTC
	}
	return h.Zone
}

// messageNames are those that an expression of a rule sees of what set it off.
var messageNames = map[string]formula.Type{
	"value": formula.Any, "old": formula.Any, "msg": formula.Any, "topic": formula.Text,
	"trigger": formula.Text, "n": formula.Number, "timed_out": formula.Boolean,
}

// A compiler turns the configuration into an engine and reports every mistake at
// its place.
type compiler struct {
	*Engine
	cfg   Config
	root  config.Place
	names map[string]formula.Type // what has a value: "pir", "today"
	kinds map[string]string       // of what has a name: "an input"
	ruled []string                // the names of rules
	wants map[string]bool         // rules that something looks at
	words map[any]Values          // single values that have been used
	meant map[string]bool         // devices that the rule which is compiled names
}

func newCompiler(e *Engine, cfg Config, root config.Place) *compiler {
	return &compiler{Engine: e, cfg: cfg, root: root,
		names: make(map[string]formula.Type), kinds: make(map[string]string), wants: make(map[string]bool), words: make(map[any]Values), meant: make(map[string]bool)}
}

// declare gathers all names, so that everything can refer to what stands further
// down.
func (c *compiler) declare() {
	wired := make(map[string]bool) // while those are declared
	name := func(kind, name string, t formula.Type, at config.Place) {
		_, message := messageNames[name]
		switch other, taken := c.kinds[name]; {
		case taken && wired[name]: // the pins say so themselves
		case taken:
			at.Mistake("%s has this name already; inputs, outputs, devices, calcs, variables and machines share their names", other)
		case message || name == "readings" || name == "members" || name == "item" || name == "rule":
			at.Mistake("%s means something in expressions: want another name", name)
		case formula.Reserved(name):
			at.Mistake("%s is a word or a function of expressions: want another name", name)
		}
		c.kinds[name] = kind
		c.names[name] = t
	}
	for _, p := range c.house.Parts {
		name(p.kind(), p.Name, formulaTypes[p.Value], c.root.Key(p.Table).Key(p.Name))
		wired[p.Name] = true
	}
	clear(wired)
	for _, d := range c.cfg.Device {
		at := c.root.Key("device").Key(d.Name)
		name("a device", d.Name, formula.Any, at)
		c.devices[d.Name] = newDevice(d.Name, d.Value)
		if d.Value.ID == "" {
			c.devices[d.Name].id = d.Name
		}
	}
	for _, x := range c.cfg.Calc {
		name("a calc", x.Name, formula.Any, c.root.Key("calc").Key(x.Name))
	}
	for _, v := range c.cfg.Variable {
		at := c.root.Key("variable").Key(v.Name)
		name("a variable", v.Name, formula.Any, at)
		c.variable(v.Name, v.Value, at)
	}
	for _, m := range c.cfg.Machine {
		for _, entry := range m.Value.Entries {
			name("a machine", machineName(m.Name, entry.Params), formula.Text, c.root.Key("machine").Key(m.Name))
		}
	}
	for _, r := range c.cfg.Rule {
		c.ruled = append(c.ruled, r.Name)
	}
	c.aliases()
}

// aliases looks at the other names of devices, each of which has to mean one thing.
func (c *compiler) aliases() {
	of := make(map[string]string)
	for _, d := range c.cfg.Device {
		for i, alias := range d.Value.Aliases {
			at := c.root.Key("device").Key(d.Name).Key("aliases").Index(i)
			folded := strings.ToLower(strings.TrimSpace(alias))
			switch other, taken := of[folded]; {
			case folded == "" || strings.ContainsAny(alias, "./"):
				at.Mistake(`want a name without . and /, such as "ceiling lamp"`)
			case c.kinds[folded] != "":
				at.Mistake("%s has this name already", c.kinds[folded])
			case taken:
				at.Mistake("%s is called so already", other)
			}
			of[folded] = d.Name
		}
	}
}

// finish is what can be said only of the whole.
func (c *compiler) finish() {
	for _, r := range c.rules {
		r.watched = c.wants[baseName(r.name)]
	}
	c.doubts()
}

// hide notes that what comes from where a trigger listens is not to be told: it is
// compared with a secret, or sent along with one.
func (c *compiler) hide(t *trigger) {
	if t.source != "" {
		c.hidden[topicOf(c.sources[t.source], t.source)] = true
	}
}

// topicOf is the whole of which a source is a part.
func topicOf(s devices.Source, text string) string {
	if s.Filter != "" {
		return s.Filter
	}
	return text
}

// Hidden reports whether what a source says is not to be shown: it is compared
// with a secret.
func (e *Engine) Hidden(r devices.Reading) bool {
	if len(e.hidden) == 0 {
		return false
	}
	if r.Captured != nil {
		return e.hidden[e.sources[r.Captured.Source].Filter]
	}
	return e.hidden[topicOf(e.sources[r.Source], r.Source)]
}

// Secrets lists what is not to be shown, for it is compared with a secret or is one that is
// sent: filters of topics, and names of devices, their properties, and what is wired.
func (e *Engine) Secrets() (all []string) {
	all = slices.Collect(maps.Keys(e.hidden))
	for _, r := range e.rules {
		for _, in := range r.program {
			if in.target.plain != "" && (in.on.secret || in.moreOfInstr.offValue.secret) {
				all = append(all, in.target.plain)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// baseName is the name of a rule as it is written: "lamps" of "rule.lamps[kitchen]".
func baseName(name string) string {
	name = name[strings.IndexByte(name, '.')+1:]
	name, _, _ = strings.Cut(name, "[")
	return name
}

// source reads the text of a source and says it in its one form; "" after a
// mistake.
func (c *compiler) source(text string, at config.Place) string {
	s, err := c.parseSource(text)
	if err != nil {
		at.Mistake("%v", err)
		return ""
	}
	if doubt := devices.TopicDoubt(s.Filter); doubt != "" {
		at.Warn("%s", doubt)
	}
	return c.use(s)
}

func (c *compiler) use(s devices.Source) string {
	text := s.String()
	c.sources[text] = s
	return text
}

// parseSource reads the text of a source, in which a device's property becomes
// the place where it is reported.
func (c *compiler) parseSource(text string) (devices.Source, error) {
	s, err := devices.ParseSource(text)
	if err != nil || s.Name == "" {
		return s, err
	}
	if s.Name == "rule" {
		if !slices.Contains(c.ruled, s.Property) {
			return s, errors.New(c.unknown("rule", s.Property, c.ruled, ""))
		}
		c.wants[s.Property] = true
		return s, nil
	}
	if d := c.devices[s.Name]; d != nil {
		return c.property(d, s.Property), nil
	}
	kind, ok := c.kinds[s.Name]
	switch {
	case !ok:
		return s, errors.New(c.unknown("input, output, device, calc, variable or machine", s.Name, c.all(),
			`; a topic of one level needs quotes inside, '"`+s.Name+`"'`))
	}
	if p, ok := c.parts[s.Name]; ok {
		return s, p.reports(s.Property)
	}
	if s.Property != "" {
		return s, fmt.Errorf("%s is %s and has no property %s", s.Name, kind, s.Property)
	}
	return s, nil
}

// property is where a property of a device is reported, for the rule that is compiled.
func (c *compiler) property(d *device, property string) devices.Source {
	c.meant[d.name] = true
	return d.source(property)
}

// reports says what is wrong with a property of the part; "" is its own value.
func (p Part) reports(property string) error {
	known := slices.Sorted(maps.Keys(p.Properties))
	near, isNear := config.Nearest(property, known)
	switch {
	case property == "" && (p.Value != "" || len(known) == 0), p.Properties[property] != "":
		return nil
	case property == "":
		return fmt.Errorf("%s is %s and has no value of its own, want one of its properties: %s.%s", p.Name, p.kind(), p.Name, strings.Join(known, ", "+p.Name+"."))
	case isNear:
		return fmt.Errorf("%s is %s and has no property %s, did you mean %q?", p.Name, p.kind(), property, p.Name+"."+near)
	case property == "fault" && p.Table == "output":
		return fmt.Errorf("%s has no feedback, so it has no fault: give the output the input that shows whether it obeys, such as feedback = \"valve_open\"", p.Name)
	case property == "level" && p.Table == "output":
		return fmt.Errorf("%s is on or off and has no level: give the output period for a slow load, or frequency on a pin with PWM", p.Name)
	case property == "press" && p.Table == "input":
		return fmt.Errorf("%s makes no presses: give the input double or hold, such as double = \"400ms\"", p.Name)
	}
	return fmt.Errorf("%s is %s and has no property %s", p.Name, p.kind(), property)
}

func (c *compiler) all() []string { return slices.Sorted(maps.Keys(c.kinds)) }

func (c *compiler) unknown(kind, name string, known []string, hint string) string {
	near, ok := config.Nearest(name, known)
	switch {
	case ok:
		return fmt.Sprintf("no %s has this name, did you mean %q?", kind, near)
	case len(known) == 0:
		return fmt.Sprintf("no %s has this name, for none is declared%s", kind, hint)
	}
	const most = 30
	more := ""
	if len(known) > most {
		known, more = known[:most], fmt.Sprintf(" and %d more", len(known)-most)
	}
	return fmt.Sprintf("no %s has this name; there are %s%s%s", kind, strings.Join(known, ", "), more, hint)
}

// named is an output, variable or property of a device that can be told
// something; else it says what is wrong.
func (c *compiler) named(name string) (t target, wrong string) {
	t.text = name
	if strings.Contains(name, "/") {
		return t, "want the name of an output, a device or a variable; to send to a topic use publish"
	}
	base, property, _ := strings.Cut(name, ".")
	kind := c.kinds[base]
	switch {
	case c.parts[base].Takes != "" && property == "":
		t.output = base
	case kind == "a variable" && property == "":
		t.variable = base
	case kind == "a device":
		t.device, t.property = c.devices[base], property
		c.meant[base] = true
		if property == "" {
			t.property = t.device.main
		}
	case kind == "":
		var can []string
		for n, k := range c.kinds {
			if k == "a variable" || k == "a device" || c.parts[n].Takes != "" {
				can = append(can, n)
			}
		}
		slices.Sort(can)
		return t, c.unknown("output, device or variable", name, can, "")
	case c.parts[base].Takes != "" && c.parts[base].Properties[property] != "":
		return t, fmt.Sprintf("%s is what %s reports: want %q", name, base, base)
	case property != "":
		return t, fmt.Sprintf("%s is %s and has no property %s", base, kind, property)
	default:
		return t, fmt.Sprintf("%s is %s; want the name of an output, a device or a variable", base, kind)
	}
	return t, ""
}

// topic checks a topic that something is published to.
func (c *compiler) topic(text string, at config.Place) {
	if err := devices.CheckTopic(text); err != nil {
		at.Mistake("%v", err)
		return
	}
	if !mayPublish(text) {
		at.Mistake("%s is what the hub itself reports; to switch an output publish hearth/<name>/set, or use set", text)
	}
	if doubt := devices.TopicDoubt(text); doubt != "" {
		at.Warn("%s", doubt)
	}
}

// mayPublish reports whether a topic is not one on which only the hub itself
// speaks.
func mayPublish(topic string) bool {
	return !strings.HasPrefix(topic, "hearth/") || strings.HasSuffix(topic, "/set")
}

func (c *compiler) ruleName(name string, at config.Place) string {
	if !slices.Contains(c.ruled, name) {
		at.Mistake("%s", c.unknown("rule", name, c.ruled, ""))
	}
	return name
}

// notifier is the [notify.x] of that name, or the only one.
func (c *compiler) notifier(via string, at config.Place) (*Notify, bool) {
	if via != "" {
		n, ok := c.cfg.Notify.Get(via)
		if !ok {
			at.Key("via").Mistake("%s", c.unknown("[notify.x]", via, c.cfg.Notify.Names(), ""))
			return nil, false
		}
		return n, n.Retain
	}
	switch len(c.cfg.Notify) {
	case 0:
		at.Key("notify").Mistake(`there is no way to tell anybody: declare one, such as [notify.phone] with topic = "notify/phone"`)
		return nil, false
	case 1:
		return &c.cfg.Notify[0].Value, c.cfg.Notify[0].Value.Retain
	}
	at.Mistake("there are several ways to tell somebody: add via = one of %s", strings.Join(c.cfg.Notify.Names(), ", "))
	return nil, false
}

// Check says what a notify lacks.
func (n Notify) Check(at config.Place) {
	switch {
	case (n.Topic == "") == (n.URL == ""):
		at.Mistake(`want one of topic = "notify/phone" and url = "https://..."`)
	case n.Topic != "":
		if err := devices.CheckTopic(n.Topic); err != nil {
			at.Key("topic").Mistake("%v", err)
		}
	case !strings.HasPrefix(n.URL, "http://") && !strings.HasPrefix(n.URL, "https://"):
		at.Key("url").Mistake(`want an address such as "https://ntfy.sh/my_house"`)
	}
}

// scope is what the expressions of a rule may name.
func (c *compiler) scope(captures []string, params map[string]any) formula.Scope {
	names := maps.Clone(c.names)
	maps.Copy(names, messageNames)
	for _, n := range captures {
		names[n] = formula.Text
	}
	s := formula.Scope{Names: names, Property: c.propertyType, Source: c.formulaSource}
	if c.house.Secret != nil {
		s.Secret = func(name string) bool { _, ok := c.house.Secret(name); return ok }
	}
	return c.withParams(s, params)
}

func (c *compiler) withParams(s formula.Scope, params map[string]any) formula.Scope {
	if len(params) > 0 {
		s.Names = maps.Clone(s.Names)
	}
	for k, v := range params {
		switch v.(type) {
		case float64:
			s.Names[k] = formula.Number
		case bool:
			s.Names[k] = formula.Boolean
		default:
			s.Names[k] = formula.Text
		}
	}
	return s
}

// propertyType is the type of device.property in an expression, or of that of a part.
func (c *compiler) propertyType(name, property string) (formula.Type, bool) {
	if said := c.parts[name].Properties[property]; said != "" && said != "event" {
		c.use(devices.Source{Name: name, Property: property})
		return formulaTypes[said], true
	}
	if d := c.devices[name]; d != nil {
		c.use(c.property(d, property))
		return formula.Any, true
	}
	return formula.Any, false
}

func (c *compiler) formulaSource(text string) (string, error) {
	s, err := c.parseSource(text)
	if err != nil {
		return "", err
	}
	return c.use(s), nil
}

// wrong reports an error of a formula at its character.
func (c *compiler) wrong(err error, text string, at config.Place) {
	var e *formula.Error
	if !errors.As(err, &e) {
		at.Mistake("%v", err)
		return
	}
	at.At(e.Offset).Mistake("%s", e.Text)
}

// refers makes sure that what a formula looks at is known of: the names of the
// house come as readings of their own.
func (c *compiler) refers(f interface{ Names() []string }) {
	for _, n := range f.Names() {
		if kind, ok := c.kinds[n]; ok {
			if d := c.devices[n]; kind == "a device" && d != nil {
				c.use(c.property(d, ""))
			} else {
				c.use(devices.Source{Name: n})
			}
		}
	}
}

func (c *compiler) link(name string, l Link, at config.Place) *rule {
	r := &rule{name: "link." + name, enabled: l.Enabled == nil || *l.Enabled, mode: "parallel", max: MaxInstances, moreOfRule: new(moreOfRule)}
	kind := l.Type
	if kind == "" {
		kind = "boolean"
	}
	source := c.source(l.From, at.Key("from"))
	r.captures = c.sources[source].Captures()
	b := &builder{compiler: c, r: r, scope: c.scope(r.captures, nil)}
	to := b.carryLink(l.To, at.Key("to"))
	topic := to.plain != "" || to.topic != nil
	part := c.parts[to.output]
	switch {
	case part.levels() && l.Type == "":
		kind = part.Takes
	case part.levels() && kind != "boolean" && kind != "number":
		at.Key("type").Mistake("%s takes on and off, and numbers: want \"boolean\" or \"number\", leave it out for both, or a topic in to", to.output)
	case to.output != "" && !part.levels() && kind != "boolean":
		at.Key("type").Mistake("an output takes only booleans: want \"boolean\", or a topic in to")
	}
	if !topic && l.Retain {
		at.Key("retain").Mistake("an output has no retained commands: retain is for a topic in to")
	}
	if l.Invert && kind != "boolean" && kind != "number" && kind != part.Takes {
		at.Key("invert").Mistake("only booleans and numbers can be inverted, not %s", kind)
	}
	if to.output != "" && (to.output == source || to.output+".level" == source) || to.variable != "" && to.variable == source || to.plain != "" && to.plain == source {
		at.Key("to").Mistake("the link goes from %s to itself: want another target", source)
	}
	t := &trigger{text: source, retained: l.Retained, implicit: true,
		moreOfTrigger: &moreOfTrigger{carries: kind, changed: l.Changed, pathed: len(c.sources[source].Path) > 0}}
	t.level.source = source
	r.triggers = []*trigger{t}
	b.put(instr{op: opSend, off: -1, target: to, retain: l.Retain, on: value{kind: carry, invert: l.Invert}})
	b.end()
	r.hash = hash(version, l, source, c.deviceHash(to))
	return r
}

// deviceHash is what of a target is not in the rule's own text.
func (c *compiler) deviceHash(t target) string {
	if t.device == nil {
		return ""
	}
	return fmt.Sprint(t.device.via, t.device.id, t.property)
}

// captures are the {names} in the sources of triggers.
func (c *compiler) captures(triggers []*trigger) []string {
	var names []string
	for _, t := range triggers {
		for _, n := range c.sources[t.source].Captures() {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// version is of the shape of programs: what was kept by another is not taken up.
const version = 1

func (c *compiler) rule(name string, entry Entry[RuleBody], at config.Place) *rule {
	cfg := entry.Body
	clear(c.meant)
	r := &rule{name: "rule." + name + suffix(entry.Params), enabled: cfg.Enabled == nil || *cfg.Enabled, mode: cfg.Mode, max: cfg.Max,
		moreOfRule: &moreOfRule{params: entry.Params, times: cfg.Times, cooldown: time.Duration(cfg.Cooldown.For), daily: cfg.Cooldown.Day, catchUp: cfg.CatchUp}}
	if c.byName[r.name] != nil {
		at.Key("each").Mistake("two items are the same, %s", suffix(entry.Params))
	}
	if r.max == 0 {
		r.max = 10
	} else if cfg.Mode != "queued" && cfg.Mode != "parallel" {
		at.Key("max").Mistake(`max is for mode = "queued" and mode = "parallel"`)
	}
	if r.mode == "" {
		r.mode = "single"
	}
	for i, t := range cfg.Trigger {
		place := at.Key("trigger").Index(i)
		compiled := c.trigger(t, place)
		compiled.index = i
		if compiled.id == "" {
			compiled.id = fmt.Sprint(i + 1)
		}
		r.triggers = append(r.triggers, compiled)
	}
	c.checkIDs(r, cfg.Trigger, at.Key("trigger"))
	if len(cfg.Trigger) > maxTriggers {
		at.Key("trigger").Mistake("want at most %d triggers", maxTriggers)
	}
	r.captures = c.captures(r.triggers)
	for n := range entry.Params {
		if slices.Contains(r.captures, n) {
			at.Key("each").Mistake("{%s} is also captured by a trigger's topic", n)
		}
	}
	b := &builder{compiler: c, r: r, scope: c.scope(r.captures, entry.Params), params: entry.Params}
	r.conditions = b.conditionsIn(cfg.Condition, at.Key("condition"), b.scope)
	action, choose := len(cfg.Action) > 0 || at.Key("action").Given(), len(cfg.Choose) > 0 || at.Key("choose").Given()
	switch {
	case action && choose:
		at.Key("choose").Mistake("a rule has an action or a choose, not both; an action can be { choose = [...] }")
	case len(cfg.Action) > 0:
		b.actions(cfg.Action, at.Key("action"))
	case choose:
		b.choose(cfg.Choose, at.Key("choose"))
	case len(cfg.Done) > 0: // it acts at its end only
	case action:
		at.Key("action").Mistake(`this rule does nothing: want { set = "porch_light", to = true }, or done`)
	default:
		at.Mistake(`this rule does nothing: want action = { set = "porch_light", to = true }, or choose`)
	}
	b.end()
	if len(cfg.Done) > 0 {
		b.done = true
		r.done = b.here()
		b.actions(cfg.Done, at.Key("done"))
		b.end()
	}
	for _, gap := range cfg.Repeat {
		r.repeat = append(r.repeat, time.Duration(gap.Duration))
	}
	if r.times > 0 && len(r.repeat) == 0 {
		at.Key("times").Warn(`without repeat the action runs once an episode anyway: repeat = "5m" is probably missing`)
	}
	if r.secret {
		for _, t := range r.triggers {
			c.hide(t)
		}
	}
	c.checkEnds(r, at)
	if cfg.Mode != "" && r.ends() && len(r.repeat) == 0 {
		at.Key("mode").Warn("this rule has an end, and between begin and end nothing fires: mode is for rules without until, off, done and repeat")
	}
	var extra []string
	for n := range c.meant {
		extra = append(extra, c.devices[n].String())
	}
	slices.Sort(extra)
	r.hash = hash(version, cfg, entry.Params, extra)
	return r
}

const maxTriggers = 64

// checkIDs looks whether an id is empty or the number of another trigger. Several
// that mean the same may share one.
func (c *compiler) checkIDs(r *rule, triggers config.List[Trigger], at config.Place) {
	for i, t := range r.triggers {
		place := at.Index(i).Key("id")
		if triggers[i].ID == "" && place.Given() {
			place.Mistake("the id is empty: want a name, or leave it out")
		}
		for j, other := range r.triggers[:i] {
			switch {
			case other.id != t.id:
			case triggers[i].ID == "":
				at.Index(j).Key("id").Mistake("this is the number of another trigger: want another name")
			case triggers[j].ID == "":
				place.Mistake("this is the number of another trigger: want another name")
			}
		}
	}
}

// checkEnds looks whether what needs an end has one.
func (c *compiler) checkEnds(r *rule, at config.Place) {
	for i, t := range r.triggers {
		place := at.Key("trigger").Index(i)
		if t.text == "" {
			continue // a mistake has been told
		}
		if t.minOn > 0 && !r.ends() {
			place.Key("min_on").Mistake("min_on delays an end, and this rule has none: give it an until, or off values")
		}
		if len(t.untils) > 0 {
			continue
		}
		switch {
		case r.hasOff:
			place.Mistake("this trigger has no end, so off would never be sent: give it an until")
		case r.done > 0:
			place.Mistake("this trigger has no end, so done would never run: give it an until")
		case len(r.repeat) > 0:
			place.Mistake("this trigger has no end, so repeat would go on for ever: give it an until")
		}
	}
	if r.catchUp != "" && !slices.ContainsFunc(r.triggers, func(t *trigger) bool { return t.schedule != nil }) {
		at.Key("catch_up").Mistake("catch_up is for triggers at times of day: time, every, cron and sun")
	}
}

func (c *compiler) trigger(cfg Trigger, at config.Place) *trigger {
	t := &trigger{
		hold:     time.Duration(cfg.For),
		retained: cfg.Retained,
		id:       cfg.ID,
		moreOfTrigger: &moreOfTrigger{
			changed: cfg.Changed,
			minOn:   time.Duration(cfg.MinOn),
			from:    cfg.From,
			random:  time.Duration(cfg.Random),
			start:   cfg.Start,
		},
	}
	t.test = cfg.Test.ready()
	t.test.Is = c.same(t.test.Is)
	var kinds []string
	for _, k := range []struct {
		key   string
		given bool
	}{
		{"state", cfg.State != ""}, {"event", cfg.Event != ""}, {"time", len(cfg.Time.Clock) > 0 || cfg.Time.Source != ""}, {"every", cfg.Every != 0}, {"cron", cfg.Cron != ""},
		{"sun", cfg.Sun != nil}, {"webhook", cfg.Webhook != ""}, {"start", cfg.Start},
	} {
		if k.given || at.Key(k.key).Given() { // the second where the value was refused
			kinds = append(kinds, k.key)
		}
	}
	if len(kinds) != 1 {
		at.Mistake(`a trigger has exactly one of state, event, time, every, cron, sun, webhook and start, and this has %s: want for example state = "topic:path"`,
			[]string{"none", strings.Join(kinds, " and ")}[min(len(kinds), 1)])
		return t
	}
	kind := kinds[0]
	timed := kind == "time" || kind == "every" || kind == "cron" || kind == "sun"
	for _, only := range []struct {
		key, of string
		ok      bool
	}{
		{"is", "state and event", kind == "state" || kind == "event" || kind == "webhook"},
		{"above", "state and event", kind == "state" || kind == "event"},
		{"below", "state and event", kind == "state" || kind == "event"},
		{"at_least", "state and event", kind == "state" || kind == "event"},
		{"at_most", "state and event", kind == "state" || kind == "event"},
		{"silent", "state", kind == "state"},
		{"from", "state", kind == "state"},
		{"changed", "state", kind == "state"},
		{"for", "state", kind == "state"},
		{"retained", "state", kind == "state"},
		{"distinct", "state and event", kind == "state" || kind == "event"},
		{"days", "time, every, cron and sun", timed},
		{"random", "time, every, cron and sun", timed},
		{"elevation", "sun", kind == "sun"},
	} {
		if at.Key(only.key).Given() && !only.ok {
			at.Key(only.key).Mistake("%s belongs to %s, not to %s", only.key, only.of, kind)
		}
	}
	switch kind {
	case "state":
		t.level.source = c.source(cfg.State, at.Key("state"))
		if strings.HasSuffix(t.level.source, "/set") {
			at.Key("state").Warn("a /set topic carries commands; as a state the same command twice fires once: event is probably meant")
		}
		if strings.HasSuffix(t.level.source, ".press") && c.sources[t.level.source].Name != "" {
			at.Key("state").Mistake("a press is over at once: want event")
		}
	case "event":
		t.event = true
		t.level.source = c.source(cfg.Event, at.Key("event"))
		t.anyMessage = t.test.empty() && c.wholeTopic(t.level.source)
	case "webhook":
		t.event = true
		if !strings.HasPrefix(cfg.Webhook, "/hook/") || len(cfg.Webhook) == len("/hook/") || strings.ContainsAny(cfg.Webhook, " ?#") {
			at.Key("webhook").Mistake(`want a path that begins with /hook/, such as "/hook/doorbell"`)
		}
		t.level.source = hook(cfg.Webhook)
		t.anyMessage = t.test.empty()
	case "start":
		t.event = true
		if !cfg.Start {
			at.Key("start").Mistake("want start = true")
		}
	default:
		t.event = true
		t.schedule = c.schedule(kind, cfg, at)
	}
	t.text = t.source
	switch {
	case t.schedule != nil:
		t.text = t.schedule.String()
		if kind == "sun" || kind == "time" || kind == "cron" {
			t.text = kind + " " + t.text
		}
	case kind == "start":
		t.text = "start"
	case kind == "webhook":
		t.text = "webhook " + cfg.Webhook
	}
	if !t.test.empty() {
		t.text += " " + t.test.String()
	}
	if len(t.from) > 0 {
		t.text += " from " + strings.TrimPrefix(Test{Is: t.from}.String(), "is ")
	}
	if t.test.empty() && kind == "state" {
		if t.hold != 0 {
			at.Key("for").Mistake("for says how long a test holds, and there is none: add is, above, below, at_least, at_most or silent")
		}
	} else if cfg.Changed && kind == "state" {
		at.Key("changed").Mistake("a test fires only when it becomes true anyway: changed is for a trigger without one")
	}
	if t.random > 0 {
		t.text += ", up to " + span(t.random) + " later"
	}
	if t.id != "" {
		t.text = t.id + " (" + t.text + ")"
	}
	if cfg.Distinct != "" {
		path, err := devices.ParsePath(cfg.Distinct)
		if err != nil {
			at.Key("distinct").Mistake("%v", err)
		}
		t.distinct = path
	}
	for j, u := range cfg.Until {
		t.untils = append(t.untils, c.until(u, t, at.Key("until").Index(j)))
	}
	if len(cfg.Until) == 0 {
		t.implicit = true
		if !t.truthless() {
			t.untils = []*until{{source: t.source, test: t.test, negate: true}}
		}
	}
	t.listens = t.test.Silent > 0 || slices.ContainsFunc(t.untils, func(u *until) bool { return u.test.Silent > 0 })
	c.checkTest(t.test, at)
	return t
}

// checkTest finds tests that nothing can pass.
func (c *compiler) checkTest(t Test, at config.Place) {
	low, high := t.Above, t.Below
	lowKey, highKey := "above", "below"
	if t.AtLeast != nil {
		low, lowKey = t.AtLeast, "at_least"
	}
	if t.AtMost != nil {
		high, highKey = t.AtMost, "at_most"
	}
	if low == nil || high == nil {
		return
	}
	if *low > *high || *low == *high && (lowKey == "above" || highKey == "below") {
		at.Key(highKey).Mistake("no number is %s %v and %s %v: both must hold", strings.ReplaceAll(lowKey, "_", " "), *low, strings.ReplaceAll(highKey, "_", " "), *high)
	}
}

func (c *compiler) schedule(kind string, cfg Trigger, at config.Place) calendar.Schedule {
	switch kind {
	case "time":
		if cfg.Time.Source == "" {
			return calendar.Daily(cfg.Time.Clock, cfg.Days)
		}
		source := c.source(cfg.Time.Source, at.Key("time"))
		if s := c.sources[source]; strings.ContainsAny(s.Filter, "+#{") {
			at.Key("time").Mistake("want one source that says a time of day, not many")
		}
		return &said{registry: c.registry, source: source, days: cfg.Days}
	case "every":
		s, err := calendar.Every(time.Duration(cfg.Every), cfg.Days)
		if err != nil {
			at.Key("every").Mistake("%v", err)
			return nil
		}
		return s
	case "cron":
		s, err := calendar.Cron(cfg.Cron, cfg.Days)
		if err != nil {
			at.Key("cron").Mistake("%v", err)
			return nil
		}
		return s
	}
	if !c.house.Place.Known {
		at.Key("sun").Mistake("the hub does not know where it is: add latitude and longitude to [hub]")
	}
	if cfg.Sun == nil {
		return nil
	}
	return calendar.Sun(*cfg.Sun, cfg.Elevation, c.house.Place, cfg.Days)
}

// wholeTopic reports whether each message of a topic, whatever is in it, is an
// event of this source.
func (c *compiler) wholeTopic(source string) bool {
	s := c.sources[source]
	return s.Filter != "" && len(s.Path) == 0
}

func (c *compiler) until(cfg Until, t *trigger, at config.Place) *until {
	u := &until{source: t.source, test: cfg.Test.ready(), hold: time.Duration(cfg.For)}
	if cfg.Mirror != nil {
		var ok bool
		if u.test, ok = t.test.mirror(*cfg.Mirror); !ok {
			at.Mistake("a number alone ends a trigger that has one limit (above, below, at_least or at_most); here write a test such as { is = \"OFF\" }")
		}
		for _, limit := range []*float64{t.test.Below, t.test.AtMost} {
			if ok && limit != nil && *cfg.Mirror < *limit {
				at.Mistake("it begins below %v and so can't end above less: want %[1]v or more", *limit)
			}
		}
		for _, limit := range []*float64{t.test.Above, t.test.AtLeast} {
			if ok && limit != nil && *cfg.Mirror > *limit {
				at.Mistake("it begins above %v and so can't end below more: want %[1]v or less", *limit)
			}
		}
		return u
	}
	switch {
	case cfg.State != "" && cfg.Event != "":
		at.Key("event").Mistake("until has one source: state or event, not both")
	case cfg.State != "":
		u.source = c.source(cfg.State, at.Key("state"))
	case cfg.Event != "":
		u.source, u.event = c.source(cfg.Event, at.Key("event")), true
	case t.source == "" && (t.schedule != nil || t.start):
		at.Mistake(`until needs a source here, such as { state = "pir", is = false }`)
	case t.event && u.test.empty():
		at.Mistake(`until needs a test or a source, such as { is = "OFF" } or { state = "pir", is = false }`)
	}
	if u.test.empty() && !u.event {
		at.Mistake(`until needs a test such as { is = "OFF" }`)
	}
	for _, n := range c.sources[u.source].Captures() {
		if !slices.Contains(c.sources[t.source].Captures(), n) {
			at.Mistake("{%s} is not captured by the trigger: only what its topic captures can be named here", n)
		}
	}
	u.anyMessage = u.event && c.wholeTopic(u.source)
	if u.event && u.hold != 0 {
		at.Key("for").Mistake("an event is over at once, so it can't hold for a time")
	}
	if u.event && u.test.Silent > 0 {
		at.Key("silent").Mistake("silent is a test of a state")
	}
	c.checkTest(u.test, at)
	return u
}

// same is v as an earlier rule has it. Many compare with or send the same few words,
// and what they share is near at hand.
func (c *compiler) same(v Values) Values {
	if len(v) != 1 {
		return v
	}
	if known, ok := c.words[v[0]]; ok {
		return known
	}
	c.words[v[0]] = v
	return v
}

// hash names a definition: the same text after parsing has the same hash.
func hash(definition ...any) string {
	b, err := json.Marshal(definition)
	if err != nil {
		return "" // NaN can't come out of a config; an empty hash starts the rule anew
	}
	h := fnv.New128a()
	h.Write(b)
	return fmt.Sprintf("%x", h.Sum(nil))
}
