package rules

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"hearth/devices"
)

// A Thing is what can be asked about: why it is as it is.
type Thing struct {
	Name    string   // "heater", "lamp.brightness", "cmnd/lamp/POWER", "rule.stairs"
	Kind    string   // "output", "cover", "input", "sensor"..., "device", "topic", "address", "variable", "machine", "calc", "rule", "link"
	Sources []string // under which it reports
	Topics  []string // on which it is told something
	Device  string   // the name by which commands go to it, where it is a device
	Of      string   // its property; "" is the main one, or any where nobody knows which that is
	Value   string   // the name by which actions set it, where it is a variable or a machine
	Rule    string   // "rule.stairs", where it is one, or a link, or the moves of a machine
}

// Thing finds what a name stands for: a wired thing or a property of it, a device, a
// variable, a machine, a calc, a topic, or a rule. What is wired comes before a rule of the
// same name, which "rule.heater" finds. It says false if nothing in the configuration is
// called so; it may be a device that announced itself, which [Announced] makes a Thing of.
func (e *Engine) Thing(name string) (Thing, bool) {
	t := Thing{Name: name}
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		t.Kind = "address"
		return t, true
	}
	if strings.Contains(name, "/") {
		if parts := strings.Split(name, "/"); len(parts) == 3 && parts[0] == "hearth" && (parts[2] == "state" || parts[2] == "set") {
			if known, ok := e.Thing(parts[1]); ok {
				return known, true
			}
		}
		s, err := devices.ParseSource(name)
		if err != nil {
			return t, false
		}
		t.Kind, t.Sources, t.Topics = "topic", []string{name}, []string{s.Filter}
		for _, source := range slices.Sorted(maps.Keys(e.sources)) {
			if strings.HasPrefix(source, name+":") { // a place in its JSON
				t.Sources = append(t.Sources, source)
			}
		}
		return t, true
	}
	base, property, _ := strings.Cut(name, ".")
	if p, ok := e.parts[base]; ok && (property == "" || p.Properties[property] != "") {
		t.Kind, t.Sources = p.Table, []string{name}
		if p.Takes != "" {
			t.Topics = []string{"hearth/" + base + "/set"}
		}
		if property == "" && p.Value == "" { // a sensor is what it measures
			for _, property := range slices.Sorted(maps.Keys(p.Properties)) {
				t.Sources = append(t.Sources, base+"."+property)
			}
		}
		return t, true
	}
	if d := e.devices[base]; d != nil {
		t.Kind, t.Device, t.Of, t.Sources = "device", base, property, []string{d.source(property).String()}
		if !d.announced() {
			told, _ := d.command(cmp.Or(property, d.main), true)
			t.Device, t.Topics = "", []string{told}
		} else if property == "" && d.main == "" {
			t.Sources = []string{name}
		}
		return t, true
	}
	kind, rest, dotted := strings.Cut(name, ".")
	for of, h := range map[string]any{name: e.holders[name], rest: e.holders[rest]} {
		is := ""
		switch h.(type) {
		case *variable:
			is = "variable"
		case *machine:
			is = "machine"
		case *calc:
			is = "calc"
		}
		if is == "" || of == rest && (!dotted || kind != is) {
			continue
		}
		t.Kind, t.Value, t.Sources = is, of, []string{of}
		if is == "machine" {
			t.Rule = "machine." + of
		}
		return t, true
	}
	for _, r := range e.rules {
		if base, _, _ := strings.Cut(r.name, "["); r.name == name || base == name || baseName(r.name) == name {
			t.Kind, _, _ = strings.Cut(r.name, ".")
			if t.Rule = base; r.name == name {
				t.Rule = name
			}
			return t, true
		}
	}
	return t, false
}

// Announced is the thing that a device is which announced itself: its name here, or that
// of one of its properties.
func Announced(name string) Thing {
	t := Thing{Name: name, Kind: "device", Sources: []string{name}}
	t.Device, t.Of, _ = strings.Cut(name, ".")
	return t
}

// Called is every name of the configuration that one may ask about.
func (e *Engine) Called() []string {
	names := slices.Concat(slices.Collect(maps.Keys(e.parts)), slices.Collect(maps.Keys(e.devices)), slices.Collect(maps.Keys(e.holders)))
	for _, r := range e.rules {
		base, _, _ := strings.Cut(r.name, "[")
		names = append(names, base, baseName(r.name))
	}
	for source := range e.sources {
		names = append(names, source)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Told is what a command tells the thing, as text; false if the command is not for it.
func (t Thing) Told(c devices.Command) (text string, ok bool) {
	base, _, _ := strings.Cut(t.Name, ".")
	switch {
	case c.Output != "":
		text, ok = devices.Text(c.Value), t.Device == "" && t.Value == "" && t.Rule == "" && c.Output == base
	case c.Device != "":
		text, ok = devices.Text(c.Value), c.Device == t.Device && (c.Property == t.Of || t.Of == "" || c.Property == "")
	case c.HTTP != nil:
		text, ok = strings.TrimSpace(c.HTTP.Method+" "+c.HTTP.Body), t.Kind == "address" && c.HTTP.URL == t.Name
	case c.Source != "" && slices.Contains(t.Sources, c.Source): // a device that is known by its topics
		text, ok = devices.Text(c.Value), true
	default:
		text, ok = c.Payload, slices.Contains(t.Topics, c.Topic)
	}
	if c.Secret {
		text = "***"
	}
	return text, ok
}

// Became is what a decision set the thing to or told it, in the order of the decision.
func (t Thing) Became(d Decision) (list []string) {
	for _, s := range d.Sets {
		if v, ok := strings.CutPrefix(s, t.Value+" = "); ok && t.Value != "" {
			list = append(list, v)
		}
	}
	for _, s := range d.Switched {
		if t.Rule == "rule."+s.Rule {
			list = append(list, devices.Text(s.On))
		}
	}
	for _, c := range d.Commands {
		if text, ok := t.Told(c); ok {
			list = append(list, text)
		}
	}
	return list
}

// Is says whether a decision is one of the rule that the thing is.
func (t Thing) Is(d Decision) bool {
	base, _, _ := strings.Cut(d.Rule, "[")
	return t.Rule != "" && (d.Rule == t.Rule || base == t.Rule)
}

// An Act is what a rule can do about a thing.
type Act struct {
	Rule  string   // "rule.stairs", "link.hall", "machine.alarm"
	Tells []string // each value once: "ON", or "what is computed"
	Maybe bool     // whom it tells is computed, and may be another
}

// Acts lists the rules that can tell a thing something, set it or switch it, in the order
// in which they decide.
func (e *Engine) Acts(on Thing) (all []Act) {
	for _, r := range e.rules {
		a := Act{Rule: r.name, Maybe: true}
		tell := func(sure bool, values ...string) {
			a.Maybe = a.Maybe && !sure
			for _, v := range values {
				if v != "" && !slices.Contains(a.Tells, v) {
					a.Tells = append(a.Tells, v)
				}
			}
		}
		if m := r.machine; m != nil && (on.Value == m.name || m.topic != "" && slices.Contains(on.Topics, m.topic)) {
			tell(true, m.targets()...)
		}
		for _, in := range r.program {
			switch aimed, sure := e.aims(r, in, on); {
			case !aimed:
			case in.op == opEnable:
				tell(sure, devices.Text(in.enable))
			case in.op == opHTTP:
				tell(sure, in.http.method)
			case in.op == opNotify && in.http != nil:
				tell(sure, in.http.method)
			default:
				tell(sure, in.on.told(), in.moreOfInstr.offValue.told())
			}
		}
		if len(a.Tells) > 0 {
			all = append(all, a)
		}
	}
	return all
}

// Reads lists the rules that look at a source, in the order in which they decide: as
// triggers, in conditions, or waiting for it.
func (e *Engine) Reads(source string) (names []string) {
	var at []watcher
	if w := e.watch[source]; w != nil {
		at = append(slices.Clone(w.rules), w.machines...)
	}
	for _, r := range e.rules {
		if slices.ContainsFunc(at, func(w watcher) bool { return w.rule == r }) || slices.ContainsFunc(r.conditions, func(c condition) bool { return c.reads(source) }) {
			names = append(names, r.name)
		}
	}
	return names
}

// reads says whether a condition looks at a source, beside those in its formula.
func (c condition) reads(source string) bool {
	is := func(one condition) bool { return one.reads(source) }
	return c.source == source || c.not != nil && c.not.reads(source) || slices.ContainsFunc(c.any, is) || slices.ContainsFunc(c.all, is)
}

// aims says whether an instruction is for a thing, and whether that is sure.
func (e *Engine) aims(r *rule, in *instr, on Thing) (aimed, sure bool) {
	switch in.op {
	case opEnable:
		return on.Rule == "rule."+in.name, true
	case opHTTP, opNotify:
		if in.http == nil {
			return slices.Contains(on.Topics, in.target.plain), true
		}
		if on.Kind != "address" {
			return false, false
		}
		if t := in.http.url.text; t != nil {
			plain, ok := t.Plain()
			return t.May(on.Name), ok && plain == on.Name
		}
		return in.http.url.constant == on.Name, true
	case opSend, opPulse, opRamp:
	default:
		return false, false
	}
	base, property, _ := strings.Cut(on.Name, ".")
	switch t := in.target; {
	case t.output != "":
		return t.output == base && (property == "" || property == "level") && e.parts[base].Takes != "" || slices.Contains(on.Topics, "hearth/"+t.output+"/set"), true
	case t.variable != "":
		x, _ := e.holders[t.variable].(*variable)
		return on.Value == t.variable || x != nil && x.topic != "" && slices.Contains(on.Topics, x.topic), true
	case t.device != nil && t.device.announced():
		return on.Device == t.device.name && (on.Of == t.property || on.Of == "" || t.property == ""), true
	case t.device != nil:
		told, _ := t.device.command(cmp.Or(t.property, t.device.main), true)
		return slices.Contains(on.Topics, told), true
	case t.plain != "":
		return slices.Contains(on.Topics, t.plain), true
	case t.topic != nil:
		return slices.ContainsFunc(on.Topics, t.topic.May), false
	case t.name != nil:
		params := maps.Clone(r.params)
		if params == nil {
			params = make(map[string]any)
		}
		maps.Copy(params, in.params)
		for _, name := range t.name.Names() {
			if params[name] == nil { // what only a run knows
				return t.name.May(on.Name) || t.name.May(base), false
			}
		}
		name, err := t.name.Text(&scene{e: e, inst: r.only, params: params, ctx: new(context)})
		device, _, _ := strings.Cut(name, ".")
		return err == nil && (name == on.Name || name == base || property == "" && device == base), true
	}
	return false, false
}

// told is what a value tells, for a person; "" if nothing.
func (v value) told() string {
	switch {
	case v.kind == none:
		return ""
	case v.secret:
		return "***"
	case v.kind == constant:
		return devices.Text(v.constant)
	case v.kind == text:
		if plain, ok := v.text.Plain(); ok {
			return plain
		}
	case v.kind == before:
		return "what was before"
	case v.kind == carry:
		return "what comes"
	case v.kind == step:
		return "more or less"
	}
	return "what is computed"
}

// Underway says what of a rule is going on, one line a matter: what it waits for, and its
// episodes that are on.
func (e *Engine) Underway(name string, now devices.Now) (lines []string) {
	for _, r := range e.rules {
		if base, _, _ := strings.Cut(r.name, "["); r.name == name || base == name || baseName(r.name) == name {
			lines = append(lines, r.explain(now)...)
		}
	}
	return lines
}
