package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/rules/calendar"
)

// What compiles may still be a house that nobody wants: a trigger that never
// fires, a lamp that nothing switches off, two rules that set each other off for
// ever. This file looks for such things once the rest is found to be sound.
//
// What one table says against itself, or against what a source can ever be, is a
// mistake. What takes two places, or could be meant, is a warning. Whatever is
// not certain is passed over in silence: who is warned for nothing stops reading
// warnings.

// A doubter looks at the whole of a house.
type doubter struct {
	*compiler
	actors []*actor
	deeds  []deed
	idle   map[string]bool // rules that some action enables or disables: they may not run
	vague  bool            // some action names what it sets by an expression

	tests []wanted // of variables

	captured, given []string // names that the rule which is looked at captures, and those of its each

	index   *devices.Index // of all that actors listen to
	hearers map[string][]hearer
	budget  int             // of work that is left to follow chains
	price   int             // of one step
	told    map[string]bool // chains, by their rules
}

// An actor is a rule, a link or a machine with the places where it was written.
type actor struct {
	name     string
	at       config.Place
	rule     *rule
	machine  *MachineBody
	triggers []placed
	when     []atom   // the condition of a rule
	begins   []deed   // what is surely done at once, when it is set off
	moves    [][]deed // the same for each move of a machine
	ends     []deed   // and when it ends
	waits    bool     // its run takes time
	curbed   bool     // a cooldown or the like may stop it
}

// A wanted is a test of a variable, and where it is written.
type wanted struct {
	source string
	Test
	at config.Place
}

// at notes which names are seen in a rule.
func (d *doubter) at(r *rule) {
	d.captured, d.given = r.captures, slices.Collect(maps.Keys(r.params))
}

// A placed trigger is one as it was written and as it was compiled.
type placed struct {
	cfg Trigger
	*trigger
	at config.Place
}

// A deed is one thing that an action does to an output, a variable or a topic.
type deed struct {
	who      *actor
	at       config.Place
	output   string
	variable string
	topic    string
	to       any  // bool, float64, string or Toggle; nil is not known
	sure     bool // no if stands before it
	at0      bool // and no wait: it is done when the rule fires
	changed  bool // not if it changes nothing
}

// doubts is the last look at a house without mistakes.
func (c *compiler) doubts() {
	if !c.root.Given() || !c.root.Sound() {
		return // the running hub has been told, or there are mistakes to mend first
	}
	d := &doubter{compiler: c, idle: map[string]bool{}, told: map[string]bool{}}
	d.gather()
	for _, a := range d.actors {
		d.possible(a)
	}
	d.states()
	if !c.root.Sound() {
		return
	}
	d.neverSet()
	d.opposites()
	d.neverOff()
	d.chains()
}

// gather walks all that acts.
func (d *doubter) gather() {
	for _, cfg := range d.cfg.Machine {
		at := d.root.Key("machine").Key(cfg.Name)
		for _, entry := range cfg.Value.Entries {
			r := d.byName["machine."+machineName(cfg.Name, entry.Params)]
			body := entry.Body
			a := &actor{name: r.name, at: at, rule: r, machine: &body}
			d.at(r)
			n := 0
			for i, mv := range body.Moves {
				for j, t := range mv.On {
					a.triggers = append(a.triggers, placed{t, r.triggers[n], at.Key("moves").Index(i).Key("on").Index(j)})
					n++
				}
			}
			d.actors = append(d.actors, a)
			for i, mv := range body.Moves {
				place := at.Key("moves").Index(i)
				var on []placed
				for _, t := range a.triggers {
					if t.move == i {
						on = append(on, t)
					}
				}
				when := d.atoms(mv.If, place.Key("if"))
				d.together(when)
				for _, t := range on {
					d.never(a, t, when, "this move is then not taken")
				}
				before := len(a.begins)
				a.waits = false
				d.actions(a, mv.Do, place.Key("do"), true, false)
				a.moves = append(a.moves, a.begins[before:len(a.begins):len(a.begins)])
			}
		}
	}
	for _, cfg := range d.cfg.Calc {
		for i, of := range cfg.Value.Of {
			d.source(of, d.root.Key("calc").Key(cfg.Name).Key("of").Index(i))
		}
	}
	for _, cfg := range d.cfg.Link {
		at := d.root.Key("link").Key(cfg.Name)
		r := d.byName["link."+cfg.Name]
		a := &actor{name: r.name, at: at, rule: r}
		a.triggers = []placed{{Trigger{State: cfg.Value.From}, r.triggers[0], at}}
		d.actors = append(d.actors, a)
		d.tell(deed{who: a, at: at.Key("to"), sure: true, at0: true}, cfg.Value.To, strings.Contains(cfg.Value.To, "/"))
	}
	for _, cfg := range d.cfg.Rule {
		at := d.root.Key("rule").Key(cfg.Name)
		for _, entry := range cfg.Value.Entries {
			body := entry.Body
			r := d.byName["rule."+cfg.Name+suffix(entry.Params)]
			a := &actor{name: r.name, at: at, rule: r, curbed: body.Cooldown != Cooldown{}}
			d.at(r)
			for i, t := range body.Trigger {
				a.triggers = append(a.triggers, placed{t, r.triggers[i], at.Key("trigger").Index(i)})
			}
			a.when = d.atoms(body.Condition, at.Key("condition"))
			d.together(a.when)
			for _, t := range a.triggers {
				d.never(a, t, a.when, "the rule then does nothing")
			}
			d.actors = append(d.actors, a)
			d.actions(a, body.Action, at.Key("action"), true, true)
			d.choose(a, body.Choose, at.Key("choose"), true)
			d.actions(a, body.Done, at.Key("done"), false, false)
		}
	}
}

// actions walks actions. surely is false where an if stands before them, fresh
// false where the value that set the rule off may be another by now.
func (d *doubter) actions(a *actor, list Actions, at config.Place, surely, fresh bool) {
	index := -1
	for _, entry := range list {
		if entry.Number == 0 {
			index++
		}
		place := at.Index(index)
		do := entry.Body
		sure := surely && len(do.If) == 0
		when := d.atoms(do.If, place.Key("if"))
		d.together(when)
		if fresh {
			d.neverChosen(a, when)
		}
		d.together(d.atoms(do.While, place.Key("while")))
		one := deed{who: a, sure: sure, at0: sure && !a.waits, changed: do.Changed}
		switch {
		case len(do.Set) > 0:
			for i, name := range do.Set {
				one.at = place.Key("set").Index(i)
				d.sends(one, name, false, do)
			}
		case do.Publish != "":
			one.at = place.Key("publish")
			d.sends(one, do.Publish, true, do)
		case do.Pulse != "":
			one.at, one.to = place.Key("pulse"), true
			if topic := strings.Contains(do.Pulse, "/"); topic {
				one.to = nil
				d.tell(one, do.Pulse, topic)
			} else {
				d.tell(one, do.Pulse, topic)
				one.to, one.at0 = false, false
				d.tell(one, do.Pulse, topic)
			}
			a.waits = true
		case do.Ramp != "":
			one.at = place.Key("ramp")
			d.tell(one, do.Ramp, strings.Contains(do.Ramp, "/"))
			a.waits = true
		case do.Delay.given(), len(do.Wait) > 0:
			a.waits = true
			for i, t := range do.Wait {
				if t.State+t.Event != "" {
					where := place.Key("wait").Index(i)
					d.fits(d.source(t.State+t.Event, where.Key(sourceKey(t.State))), t.Test, where)
				}
			}
		case do.Stop:
			surely = false // what follows is done where this was not
		case do.Enable != "":
			d.idle[do.Enable] = true
			if r, ok := d.cfg.Rule.Get(do.Enable); ok && len(r.Entries) > 0 && r.Entries[0].Body.Enabled != nil && !*r.Entries[0].Body.Enabled {
				place.Key("enable").Warn("rule.%s has enabled = false, and only there it can be let run: this does nothing", do.Enable)
			}
		case do.Disable != "":
			d.idle[do.Disable] = true
		}
		once := len(do.While) == 0 && do.Times == 0
		if d.actions(a, do.Do, place.Key("do"), sure && once, fresh && once); !once && do.Gap > 0 {
			a.waits = true
		}
		d.choose(a, do.Choose, place.Key("choose"), fresh)
		for i, way := range do.Parallel {
			d.actions(a, way, place.Key("parallel").Index(i), false, fresh)
		}
		fresh = fresh && len(do.Wait) == 0
	}
}

// sends is what a set or a publish tells at the begin and at the end.
func (d *doubter) sends(one deed, name string, topic bool, do Action) {
	switch {
	case topic && do.Payload != nil:
		one.to = fixed(do.Payload)
	case !topic && do.To != nil:
		one.to = fixed(do.To)
	case do.On != nil || do.Off != nil:
		if do.On != nil {
			one.to = fixed(do.On)
			d.tell(one, name, topic)
		}
		if do.Off != nil {
			if one.to, one.at0 = fixed(do.Off), false; do.Off == "before" {
				one.to = nil
			}
			n := len(d.deeds)
			d.tell(one, name, topic)
			if one.sure {
				one.who.ends = append(one.who.ends, d.deeds[n:]...)
			}
		}
		return
	}
	d.tell(one, name, topic)
}

// hole is what begins one in a text.
var hole = regexp.MustCompile(`\{[^0-9"]`)

// fixed is a configured value that is the same each time, or nil.
func fixed(raw any) any {
	switch v := raw.(type) {
	case string:
		switch {
		case strings.EqualFold(strings.TrimSpace(v), "toggle"):
			return devices.Toggle{}
		case hole.MatchString(v):
			return nil
		}
		return v
	case map[string]any, []any:
		b, err := json.Marshal(v)
		if err != nil || hole.Match(b[1:]) {
			return nil
		}
		return string(b)
	}
	v, ok := scalar(raw)
	if !ok {
		return nil
	}
	return v
}

// tell files a deed under what it is done to.
func (d *doubter) tell(one deed, name string, topic bool) {
	output, isSet := strings.CutPrefix(name, "hearth/")
	output, _ = strings.CutSuffix(output, "/set")
	switch {
	case topic && isSet && hole.MatchString(output):
		d.vague = true
		one.topic = name
	case topic && isSet && d.parts[output].Takes != "":
		one.topic, one.output = name, output
	case topic:
		one.topic = name
	case hole.MatchString(name):
		d.vague = true
		return
	case d.parts[name].Takes != "":
		one.output = name
	case d.kinds[name] == "a variable":
		one.variable = name
		if s, ok := one.to.(string); ok && strings.IndexAny(s, "{[") == 0 {
			one.to = nil // a list or a table
		}
	default:
		d.source(name, one.at)
		return // a device: what it does with it is its own
	}
	if one.output != "" {
		if one.to == "acknowledge" {
			return // it switches nothing
		}
		if _, toggle := one.to.(devices.Toggle); !toggle {
			if _, number := one.to.(float64); number && topic && d.parts[one.output].levels() {
				one.to = nil // the number is what the topic gets
			}
			one.to = d.parts[one.output].end(one.to)
		}
	}
	d.deeds = append(d.deeds, one)
	if one.at0 {
		one.who.begins = append(one.who.begins, one)
	}
}

// end is whether a part that is told v is on then, of a cover whether it is open or
// closed; nil where that is not known.
func (p Part) end(v any) any {
	told, ok := p.order(v)
	level, number := told.(float64)
	switch {
	case !ok || told == "stop" || number && p.Takes == "cover" && level != 0 && level != 100:
		return nil
	case number:
		return level > 0
	}
	return told
}

// ---- Conditions ------------------------------------------------------------

// An atom is one of the tests that a condition is made of: one of these.
type atom struct {
	at       config.Place
	text     string
	source   string
	value    bool // test is of the value that set the rule off
	test     Test
	hold     config.Duration
	within   config.Duration
	time     calendar.Window
	days     calendar.Days
	dates    calendar.Dates
	sun      string // with its elevation
	triggers []string
	formula  string
	any      [][]atom
	not      []atom
	same     string // equal where the whole is
}

// atoms takes conditions apart, all of which must hold.
func (d *doubter) atoms(list config.List[Condition], at config.Place) []atom {
	var all []atom
	for i, c := range list {
		all = append(all, d.atomsOf(c, at.Index(i))...)
	}
	return all
}

func (d *doubter) atomsOf(c Condition, at config.Place) []atom {
	if c.Formula != "" {
		return []atom{{at: at, text: c.Formula, formula: c.Formula}}
	}
	var all []atom
	for _, text := range slices.Sorted(maps.Keys(c.State)) {
		want, place := c.State[text], at.Key("state").Key(text)
		source := d.source(text, place)
		d.fits(source, want.Test, place)
		all = append(all, atom{at: place, source: source, test: want.Test, hold: want.For, within: want.Within,
			text: strings.TrimSpace(text + " " + want.Test.String())})
	}
	if c.Time.Set() {
		all = append(all, atom{at: at.Key("time"), time: c.Time, text: "time " + c.Time.String()})
	}
	if c.Days != 0 {
		all = append(all, atom{at: at.Key("days"), days: c.Days, text: "days " + c.Days.String()})
	}
	if c.Dates.Set() {
		all = append(all, atom{at: at.Key("dates"), dates: c.Dates, text: "dates " + c.Dates.String()})
	}
	if c.Sun != "" {
		all = append(all, atom{at: at.Key("sun"), sun: c.Sun + hash(c.Elevation), text: "sun " + c.Sun})
	}
	if len(c.Trigger) > 0 {
		all = append(all, atom{at: at.Key("trigger"), triggers: c.Trigger, text: "trigger " + strings.Join(c.Trigger, " or ")})
	}
	if len(c.Any) > 0 {
		some := atom{at: at.Key("any"), text: "any", same: hash(c.Any)}
		for i, one := range c.Any {
			some.any = append(some.any, d.atomsOf(one, at.Key("any").Index(i)))
		}
		all = append(all, some)
	}
	if c.Not != nil {
		all = append(all, atom{at: at.Key("not"), text: "not", not: d.atomsOf(*c.Not, at.Key("not")), same: hash(c.Not)})
	}
	if !c.Test.empty() {
		all = append(all, atom{at: at, value: true, test: c.Test, text: "value " + c.Test.String()})
	}
	return all
}

// clashes reports whether two atoms never hold at one moment.
func clashes(a, b atom) bool {
	switch {
	case a.not != nil:
		return all(a.not, func(x atom) bool { return implies(b, x) })
	case b.not != nil:
		return all(b.not, func(x atom) bool { return implies(a, x) })
	case a.any != nil:
		return all(a.any, func(way []atom) bool { return slices.ContainsFunc(way, func(x atom) bool { return clashes(x, b) }) })
	case b.any != nil:
		return clashes(b, a)
	case a.source != "" && a.source == b.source, a.value && b.value:
		return clash(a.test, b.test)
	case a.time.Set() && b.time.Set():
		return !overlap(a.time, b.time)
	case a.days != 0 && b.days != 0:
		return a.days&b.days == 0
	case a.sun != "" && b.sun != "":
		return strings.TrimLeft(a.sun, "updown") == strings.TrimLeft(b.sun, "updown") && a.sun != b.sun
	case a.triggers != nil && b.triggers != nil:
		return !slices.ContainsFunc(a.triggers, func(id string) bool { return slices.Contains(b.triggers, id) })
	}
	return false
}

// implies reports whether b holds whenever a does.
func implies(a, b atom) bool {
	switch {
	case b.not != nil:
		return a.not != nil && a.same == b.same || slices.ContainsFunc(b.not, func(x atom) bool { return clashes(a, x) })
	case b.any != nil:
		return a.any != nil && a.same == b.same ||
			slices.ContainsFunc(b.any, func(way []atom) bool { return all(way, func(x atom) bool { return implies(a, x) }) })
	case a.source != "" && a.source == b.source:
		if a.hold == b.hold && a.within == b.within && hash(a.test) == hash(b.test) {
			return true
		}
		return b.hold == 0 && (b.within == 0 || a.within > 0 && a.within <= b.within) && implied(a.test, b.test)
	case a.value && b.value:
		return implied(a.test, b.test)
	case a.time.Set() && b.time.Set():
		return inside(a.time, b.time)
	case a.days != 0 && b.days != 0:
		return a.days&^b.days == 0
	case a.dates.Set() && b.dates.Set():
		return a.dates.String() == b.dates.String()
	case a.sun != "" && b.sun != "":
		return a.sun == b.sun
	case a.triggers != nil && b.triggers != nil:
		return all(a.triggers, func(id string) bool { return slices.Contains(b.triggers, id) })
	case a.formula != "":
		return a.formula == b.formula
	}
	return false
}

func all[T any](list []T, ok func(T) bool) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(x T) bool { return !ok(x) })
}

// overlap reports whether two spans of the day have a moment in common.
func overlap(a, b calendar.Window) bool {
	in := func(w calendar.Window, t time.Duration) bool { return w.Holds(time.Time{}.Add(t)) }
	return in(a, b.From) || in(b, a.From)
}

// inside reports whether all of a lies in b.
func inside(a, b calendar.Window) bool {
	const day = 24 * time.Hour
	from := func(t time.Duration) time.Duration { return (t - b.From + 2*day) % day } // since b began
	last := func(t time.Duration) time.Duration {
		if n := from(t); n != 0 {
			return n
		}
		return day
	}
	return from(a.From) < last(a.To) && last(a.To) <= last(b.To)
}

// ---- Tests -----------------------------------------------------------------

// clash reports whether no value passes both tests.
func clash(a, b Test) bool {
	if len(a.Is) == 0 && len(b.Is) > 0 {
		a, b = b, a
	}
	if len(a.Is) > 0 {
		limits := a
		limits.Is = nil
		return !slices.ContainsFunc(a.Is, func(v any) bool { return meets(v, limits) && meets(v, b) })
	}
	for _, low := range []*float64{a.Above, a.AtLeast, b.Above, b.AtLeast} {
		for _, high := range []*float64{a.Below, a.AtMost, b.Below, b.AtMost} {
			if low == nil || high == nil {
				continue
			}
			open := low == a.Above || low == b.Above || high == a.Below || high == b.Below
			if *low > *high || *low == *high && open {
				return true
			}
		}
	}
	return false
}

// meets reports whether what is v may pass a test.
func meets(v any, t Test) bool {
	if open(v) {
		return true
	}
	if !(Test{Above: t.Above, Below: t.Below, AtLeast: t.AtLeast, AtMost: t.AtMost}).empty() {
		n, ok := numeric(v)
		if !ok || !within(n, t) {
			return false
		}
	}
	return len(t.Is) == 0 || slices.ContainsFunc(t.Is, func(w any) bool { return alike(v, w) })
}

// numeric is the number that a reading which is v may be.
func numeric(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return n, err == nil
	}
	return 0, false
}

// open reports whether a capture may be filled into v.
func open(v any) bool {
	s, _ := v.(string)
	return strings.Contains(s, "{")
}

// within compares a number with the limits of a test.
func within(n float64, t Test) bool {
	t.Is, t.Silent = nil, 0
	pass, _ := t.check(devices.Reading{Value: n})
	return pass
}

// alike reports whether one reading may be v and w.
func alike(v, w any) bool {
	if open(v) || open(w) {
		return true
	}
	switch v := v.(type) {
	case string:
		if w, ok := w.(string); ok {
			return v == w
		}
		if on, ok := devices.OnOff(v); ok && on == w {
			return true
		}
	case bool:
		if w, ok := w.(bool); ok {
			return v == w
		}
		return alike(w, v)
	}
	n, ok := numeric(v)
	m, ok2 := numeric(w)
	return ok && ok2 && nano(n) == nano(m)
}

// implied reports whether whatever passes a passes b.
func implied(a, b Test) bool {
	switch {
	case b.empty():
		return true
	case b.Silent > 0:
		return false
	case len(a.Is) > 0:
		return all(a.Is, func(v any) bool { return passes(v, b) })
	case len(b.Is) > 0:
		return false
	}
	least := func(limit float64, strict bool) bool { // a has such a lower limit, or a higher one
		return a.Above != nil && *a.Above >= limit || a.AtLeast != nil && (*a.AtLeast > limit || *a.AtLeast == limit && !strict)
	}
	most := func(limit float64, strict bool) bool {
		return a.Below != nil && *a.Below <= limit || a.AtMost != nil && (*a.AtMost < limit || *a.AtMost == limit && !strict)
	}
	return (b.Above == nil || least(*b.Above, true)) && (b.AtLeast == nil || least(*b.AtLeast, false)) &&
		(b.Below == nil || most(*b.Below, true)) && (b.AtMost == nil || most(*b.AtMost, false))
}

// passes reports whether every reading that is v passes a test.
func passes(v any, t Test) bool {
	n, number := v.(float64)
	if t.Above != nil || t.Below != nil || t.AtLeast != nil || t.AtMost != nil {
		if !number || !within(n, t) {
			return false
		}
	}
	return len(t.Is) == 0 || slices.ContainsFunc(t.Is, func(w any) bool {
		switch w := w.(type) {
		case bool:
			on, ok := devices.Bool(v)
			return ok && on == w
		case float64:
			return number && nano(n) == nano(w)
		}
		return v == w
	})
}

// ---- What nothing can satisfy ----------------------------------------------

// source is a source in its one form. It warns of a property that looks like a
// slip of the pen.
func (d *doubter) source(text string, at config.Place) string {
	s, err := d.parseSource(text)
	if err != nil {
		return text
	}
	if d.devices[strings.Split(text, ".")[0]] == nil && !strings.HasPrefix(s.Filter, "zigbee2mqtt/") || len(s.Path) == 0 {
		return s.String()
	}
	name, _ := s.Path[0].(string)
	if near, ok := config.Nearest(name, properties); ok && !slices.Contains(properties, name) && similar(name, near) {
		at.Warn("devices have no property %s that is known here, did you mean %q?", name, near)
	}
	return s.String()
}

// properties are those that many Zigbee devices have, by the names that
// zigbee2mqtt gives them.
var properties = []string{"state", "brightness", "color_temp", "color", "color_mode", "occupancy", "presence", "illuminance", "temperature", "humidity",
	"pressure", "battery", "battery_low", "voltage", "linkquality", "contact", "water_leak", "smoke", "gas", "tamper", "vibration", "action", "power",
	"current", "energy", "position", "tilt", "co2", "voc", "pm25", "soil_moisture", "local_temperature", "occupied_heating_setpoint",
	"current_heating_setpoint", "system_mode", "running_state", "child_lock", "power_on_behavior", "availability"}

// similar reports whether one is the other with a letter more or less, two
// swapped, or in a long word one changed; state_l1 beside state, and motion beside
// action, are other properties.
func similar(a, b string) bool {
	if len(a) < 5 || strings.ContainsAny(a, "0123456789") || strings.Count(a, "_") != strings.Count(b, "_") {
		return false
	}
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	x, y := a[i:], b[i:]
	switch {
	case len(x) == len(y)+1:
		return x[1:] == y
	case len(y) == len(x)+1:
		return y[1:] == x
	case len(x) != len(y) || len(x) < 2:
		return false
	case x[0] == y[1] && x[1] == y[0]:
		return x[2:] == y[2:]
	}
	return len(a) >= 8 && x[1:] == y[1:]
}

// A realm is what the values of a source can be.
type realm struct {
	what    string // "an output"
	boolean bool   // true or false, which read as ON and OFF
	level   string // where beside that a level is reported: "lamp.level"
	number  bool
	percent bool     // from 0 to 100, and neither true nor false
	words   []string // one of these texts
}

// values is what a source can be; nil where that is not known.
func (d *doubter) values(source string) *realm {
	s, ok := d.sources[source]
	if !ok {
		return nil
	}
	if s.Name == "rule" {
		return &realm{what: "whether a rule runs", boolean: true}
	}
	part, wired := d.parts[s.Name]
	if words := part.Events[s.Property]; words != nil {
		return &realm{what: "a " + s.Property, words: words}
	}
	if topic, ok := strings.CutPrefix(s.Filter, "hearth/"); ok && len(s.Path) == 0 {
		name, property, _ := strings.Cut(topic, "/")
		if p, ok := d.parts[name]; ok && property == "state" {
			return p.realm("the state of "+p.kind(), "")
		} else if ok && property != "" {
			return p.realm("the "+property+" of "+p.kind(), property)
		}
	}
	if wired && s.Property == "" && part.Value != "" {
		if r := part.realm(part.kind(), ""); r != nil {
			return r
		}
	} else if wired && s.Property != "" {
		return part.realm("the "+s.Property+" of "+part.kind(), s.Property)
	}
	if s.Name == "" || s.Property != "" {
		return nil
	}
	switch h := d.holders[s.Name].(type) {
	case *machine:
		return &realm{what: "a machine", words: h.states}
	case *calc:
		if h.initial != nil || h.formula == nil {
			return nil
		}
		switch h.formula.Type().String() {
		case "a number":
			return &realm{what: "a calc that gives a number", number: true}
		case "true or false":
			return &realm{what: "a calc that gives true or false", boolean: true}
		}
		return nil
	}
	return nil
}

// realm is that of a property of the part, or with "" of its own value; nil where
// it is not known.
func (p Part) realm(what, property string) *realm {
	said, percent := p.Value, p.Takes == "cover"
	if property != "" {
		said, percent = p.Properties[property], p.Takes == "level" && property == "level"
	}
	if said != "boolean" && said != "number" {
		return nil
	}
	r := &realm{what: what, boolean: said == "boolean", number: said == "number", percent: percent}
	if p.Takes == "level" && property == "" {
		r.level = p.Name + ".level"
	}
	return r
}

// can reports whether a value may be v.
func (s *realm) can(v any) bool {
	switch {
	case s.boolean:
		_, isBool := v.(bool)
		return isBool || v == "ON" || v == "OFF"
	case s.percent:
		n, ok := numeric(v)
		_, isBool := v.(bool)
		return ok && !isBool && n == percent(n)
	case s.number:
		_, ok := numeric(v)
		return ok
	}
	return slices.ContainsFunc(s.words, func(w string) bool { return alike(w, v) })
}

// want says what would be right instead of v.
func (s *realm) want(v any) string {
	switch {
	case s.boolean:
		if text, ok := v.(string); ok {
			v = strings.TrimSpace(strings.ToLower(text))
		}
		if on, ok := devices.Bool(v); ok {
			return fmt.Sprintf("want %v", on)
		}
		if _, number := v.(float64); number && s.level != "" {
			return "want true or false, or " + s.level
		}
		return "want true or false"
	case s.percent:
		return "want a number from 0 to 100, or a limit such as above = 0"
	case s.number:
		return "want a number"
	}
	if text, ok := v.(string); ok {
		if near, ok := config.Nearest(text, s.words); ok {
			return fmt.Sprintf("did you mean %q?", near)
		}
	}
	return "want one of " + strings.Join(s.words, ", ")
}

// fits looks whether anything can pass a test of a source. at is where the test
// is written: a table, or in a condition also a value alone.
func (d *doubter) fits(source string, t Test, at config.Place) {
	value := func(i int) config.Place {
		if at.Key("is").Given() {
			return at.Key("is").Index(i)
		}
		return at.Index(i)
	}
	limits := Test{Above: t.Above, Below: t.Below, AtLeast: t.AtLeast, AtMost: t.AtMost}
	if d.kinds[source] == "a variable" {
		d.tests = append(d.tests, wanted{source, t, at})
	}
	s := d.values(source)
	for i, v := range t.Is {
		text, _ := v.(string)
		switch m := unfilled.FindStringSubmatch(text); {
		case m != nil && slices.Contains(d.captured, m[1]):
			// what it captured is put in
		case m != nil:
			what := ": want the text itself"
			if near, ok := config.Nearest(m[1], d.given); ok {
				what = fmt.Sprintf(", did you mean {%s}?", near)
			}
			value(i).Mistake("{%s} stands for nothing here%s", m[1], what)
		case s != nil && !s.can(v):
			value(i).Mistake("%s is %s and never %v: %s", source, s.what, v, s.want(v))
		case !meets(v, limits):
			value(i).Mistake("no value is %v and %s: both must hold, want only one of them", v, limits)
		}
	}
	if s == nil || s.number || limits.empty() || !s.boolean && slices.ContainsFunc(s.words, func(w string) bool { _, ok := numeric(w); return ok }) {
		return
	}
	for _, key := range []string{"above", "below", "at_least", "at_most"} {
		if at.Key(key).Given() {
			want := "a test such as is = " + s.sample()
			if s.level != "" {
				want = s.level
			}
			at.Key(key).Mistake("%s is %s and no number: want %s", source, s.what, want)
			return
		}
	}
}

// unfilled is a hole of each that was left.
var unfilled = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)

func (s *realm) sample() string {
	if len(s.words) > 0 {
		return strconv.Quote(s.words[0])
	}
	return "true"
}

// possible looks whether what an actor waits for can come at all.
func (d *doubter) possible(a *actor) {
	d.at(a.rule)
	for _, t := range a.triggers {
		source := t.source
		if t.carries != "" {
			d.source(t.cfg.State, t.at.Key("from"))
			continue
		}
		if text := t.cfg.State + t.cfg.Event; text != "" {
			d.source(text, t.at.Key(sourceKey(t.cfg.State)))
			d.fits(source, t.cfg.Test, t.at)
		}
		d.fits(source, Test{Is: t.cfg.From}, t.at.Key("from"))
		tested := !t.event && !t.cfg.Test.valueless()
		if len(t.cfg.From) > 0 && tested && t.implicit && t.cfg.Silent == 0 && !a.rule.hasOff && !strings.ContainsAny(source, "+#") && implied(Test{Is: t.cfg.From}, t.cfg.Test) {
			t.at.Key("from").Warn("it fires when the test becomes true, and what was %s passed it already: so it never does", Test{Is: t.cfg.From}.words())
		}
		for i, u := range t.cfg.Until {
			where := t.at.Key("until").Index(i)
			if u.Mirror != nil {
				continue
			}
			of := source
			if u.State+u.Event != "" {
				of = d.source(u.State+u.Event, where.Key(sourceKey(u.State)))
			}
			d.fits(of, u.Test, where)
			if of == source && u.For == 0 && u.Event == "" && u.Silent == 0 && !u.Test.empty() && !t.cfg.Test.valueless() && implied(t.cfg.Test, u.Test) {
				where.Warn("what begins it ends it as well, for both are of %s: so it never begins", source)
			}
		}
		if _, later := t.schedule.(*said); t.schedule != nil && !later {
			if _, ok := t.schedule.Next(aMonday); !ok {
				t.at.Warn("this moment never comes: %s", t.schedule)
			}
		}
	}
}

func (t Test) words() string { return strings.TrimPrefix(Test{Is: t.Is}.String(), "is ") }

func sourceKey(state string) string {
	if state != "" {
		return "state"
	}
	return "event"
}

// aMonday is from when on moments are looked at. Which it is makes no difference,
// for what is planned comes again; no zone, so that no clock is changed.
var aMonday = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// facts is what surely holds when a trigger fires.
func (t placed) facts() []atom {
	facts := []atom{{triggers: []string{t.id}}}
	if t.cfg.Test.valueless() || t.hold > 0 && !t.implicit || t.source == "" {
		return facts
	}
	return append(facts, atom{source: t.source, test: t.cfg.Test}, atom{value: true, test: t.cfg.Test})
}

// never warns where a trigger can't get past a condition.
func (d *doubter) never(a *actor, t placed, when []atom, so string) {
	for _, x := range when {
		if t.source == "" && x.value || t.outside(a.rule, x) || slices.ContainsFunc(t.facts(), func(f atom) bool { return clashes(f, x) }) {
			x.at.Warn("this never holds when the trigger at %s fires (%s): %s", t.at.Position(), t.text, so)
			return
		}
	}
}

// neverChosen warns of an if that holds after none of the triggers.
func (d *doubter) neverChosen(a *actor, when []atom) {
	if len(a.rule.repeat) > 0 || len(a.rule.waits) > 0 || len(a.triggers) == 0 {
		return // by then the value may be another
	}
	for _, x := range when {
		if (x.value || x.triggers != nil) && all(a.triggers, func(t placed) bool {
			return t.source == "" && x.value || slices.ContainsFunc(t.facts(), func(f atom) bool { return clashes(f, x) })
		}) {
			x.at.Warn("this never holds: the trigger at %s fires when %s", a.triggers[0].at.Position(), a.triggers[0].text)
			return
		}
	}
}

// together warns of conditions that must all hold and can't.
func (d *doubter) together(when []atom) {
	for j, x := range when {
		for _, y := range when[:j] {
			if clashes(x, y) {
				x.at.Warn("this and %s, at %s, never hold together", y.text, y.at.Position())
				return
			}
		}
		for _, way := range x.any {
			d.together(way)
		}
	}
}

// outside reports whether a time of day never falls into a condition on it.
func (t placed) outside(r *rule, x atom) bool {
	if _, later := t.schedule.(*said); later || t.schedule == nil || r.catchUp != "" || t.cfg.Sun != nil {
		return false
	}
	switch {
	case x.time.Set():
		return t.offHours(x.time)
	case x.days != 0 && t.cfg.Days != 0 && t.random == 0 && t.cfg.Days&x.days == 0:
		return true
	case x.days != 0, x.dates.Set() && !slices.ContainsFunc(x.dates, func(s calendar.DateSpan) bool { return s.From.Year != 0 }): // years pass
		return t.offDays(x)
	}
	return false
}

// offHours reports whether no moment of a day is in a span. One day is like all
// others that have a moment.
func (t placed) offHours(span calendar.Window) bool {
	first, ok := t.schedule.Next(aMonday)
	if !ok || t.random >= 24*time.Hour {
		return false
	}
	at := first
	for range 3000 {
		late := at.Add(t.random)
		if span.Holds(at) || span.Holds(late) || t.random > 0 && overlap(span, calendar.Window{From: clockOf(at), To: clockOf(late)}) {
			return false
		}
		if at, ok = t.schedule.Next(at); !ok || at.Sub(first) >= 24*time.Hour {
			return true
		}
	}
	return false
}

// offDays reports whether no day of a plan is one of those that a condition wants.
func (t placed) offDays(x atom) bool {
	holds := func(at time.Time) bool { return x.days.Holds(at.Weekday()) && x.dates.Holds(at) }
	at := aMonday.Add(-time.Nanosecond)
	for range 3000 {
		next, ok := t.schedule.Next(at)
		switch {
		case !ok || next.Sub(aMonday) > 41*366*24*time.Hour:
			return true
		case holds(next) || holds(next.Add(t.random)):
			return false
		}
		at = next.Truncate(24 * time.Hour).Add(24*time.Hour - time.Nanosecond)
	}
	return false
}

func clockOf(t time.Time) time.Duration { return t.Sub(t.Truncate(24 * time.Hour)) }

// neverSet warns of tests of variables for values that nothing gives them.
func (d *doubter) neverSet() {
	if d.vague {
		return
	}
	values, open := map[string]Values{}, map[string]bool{}
	for _, v := range d.variables {
		switch initial := v.initial.(type) {
		case nil:
		case bool, float64, string:
			values[v.name] = Values{initial}
		default:
			open[v.name] = true // a list or a table
		}
	}
	for _, x := range d.deeds {
		switch to := x.to.(type) {
		case nil:
			open[x.variable] = true
		case devices.Toggle:
			values[x.variable] = append(values[x.variable], true, false)
		default:
			values[x.variable] = append(values[x.variable], to)
		}
	}
	for _, w := range d.tests {
		is := values[w.source]
		if open[w.source] || w.valueless() || slices.ContainsFunc(is, func(v any) bool { return meets(v, w.Test) }) {
			continue
		}
		switch {
		case len(is) == 0:
			w.at.Warn("nothing ever sets %s, and it has no initial: this never holds", w.source)
		default:
			w.at.Warn("all that %s is ever set to is %s: this never holds", w.source, Test{Is: unique(is)}.words())
		}
	}
}

func unique(list Values) Values {
	var all Values
	for _, v := range list {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// states warns of states of machines that no chain of moves leads to from the
// first one.
func (d *doubter) states() {
	for _, a := range d.actors {
		if a.machine == nil {
			continue
		}
		m := a.rule.machine
		reached := []string{m.initial}
		for i := 0; i < len(reached); i++ {
			for _, mv := range m.moves {
				if mv.leaves(reached[i]) && !slices.Contains(reached, mv.to) {
					reached = append(reached, mv.to)
				}
			}
		}
		for i, mv := range a.machine.Moves {
			for j, from := range mv.From {
				led := slices.ContainsFunc(a.machine.Moves, func(o Move) bool { return o.To == from })
				if from != "*" && led && !slices.Contains(reached, from) { // where none leads at all was told
					a.at.Key("moves").Index(i).Key("from").Index(j).Warn("%s begins as %s, and no way leads from there to %s", m.name, m.initial, from)
				}
			}
		}
		for _, b := range d.actors {
			for _, t := range b.triggers {
				if t.source != m.name {
					continue
				}
				for i, v := range t.cfg.Is {
					if s, ok := v.(string); ok && slices.Contains(m.states, s) && !slices.Contains(reached, s) {
						t.at.Key("is").Index(i).Warn("%s begins as %s, and no way leads from there to %s", m.name, m.initial, s)
					}
				}
			}
		}
	}
}

// ---- What is done ----------------------------------------------------------

// choose looks for a way that is never gone, because one before it is gone
// whenever it could be.
func (d *doubter) choose(a *actor, list config.List[Choice], at config.Place, fresh bool) {
	var before [][]atom
	for i, c := range list {
		place := at.Index(i)
		when := d.atoms(c.If, place.Key("if"))
		d.together(when)
		for k, other := range before {
			if len(when) > 0 && all(other, func(x atom) bool {
				return slices.ContainsFunc(when, func(y atom) bool { return implies(y, x) })
			}) {
				place.Key("if").Warn("this way is never gone: whenever it could be, the one at %s is gone before it", at.Index(k).Key("if").Position())
				break
			}
		}
		if fresh {
			d.neverChosen(a, when)
		}
		before = append(before, when)
		d.actions(a, c.Do, place.Key("do"), false, fresh)
	}
}

// neverOff warns of outputs that are switched on and never off.
func (d *doubter) neverOff() {
	if d.vague {
		return
	}
	on, off := map[string]deed{}, map[string]bool{}
	for _, x := range d.deeds {
		switch {
		case x.output == "":
		case x.to != true:
			off[x.output] = true
		case x.who.rule.enabled && on[x.output].who == nil:
			on[x.output] = x
		}
	}
	for _, p := range d.house.Parts {
		if x := on[p.Name]; x.who != nil && !off[p.Name] && p.Takes != "cover" && !p.Bounded {
			x.at.Warn("nothing here ever switches %s off again; if that is left to people and to messages on hearth/%[1]s/set, a max_on in [%[2]s.%[1]s] says how long it may be forgotten", p.Name, p.Table)
		}
	}
}

// A moment is when an actor does something to outputs.
type moment struct {
	who    *actor
	at     config.Place
	text   string
	source string
	test   Test
	edge   bool // when the test becomes true, not each time it is
	hold   time.Duration
	when   string // its conditions
	does   map[string]deed
}

// mostAlike is with how many of one source and the same conditions each is compared: far more
// than a house has, so that a file of thousands is checked soon.
const mostAlike = 60

// opposites warns of two that switch an output on and off at the same moment.
func (d *doubter) opposites() {
	var moments []moment
	for _, a := range d.actors {
		if a.machine != nil || !a.rule.enabled || d.idle[baseName(a.name)] && strings.HasPrefix(a.name, "rule.") {
			continue
		}
		var keys []string
		for _, x := range a.when {
			x.at = config.Place{}
			keys = append(keys, x.text+x.source+hash(x.test, x.hold, x.within)+x.same)
		}
		slices.Sort(keys)
		begins, ends := last(a.begins), last(a.ends)
		for _, t := range a.triggers {
			m := moment{who: a, at: t.at, text: t.text, source: t.source, test: t.cfg.Test, edge: !t.truthless(), hold: t.hold, when: strings.Join(keys, "\n"), does: begins}
			switch {
			case t.carries != "":
				for output, x := range begins {
					if t.carries == "number" && d.parts[output].levels() {
						continue
					}
					for _, on := range []bool{true, false} {
						y := x
						y.to = on != d.inverts(a)
						m.test, m.does = Test{Is: Values{on}}, map[string]deed{output: y}
						moments = append(moments, m)
					}
				}
				continue
			case t.random > 0 || t.cfg.MinOn > 0 || len(t.cfg.From) > 0 || t.changed || t.distinct != nil:
				continue // not at the same moment, or not each time
			case t.schedule != nil:
				m.source = "at " + t.schedule.String() // no source has a space in it
			case t.start:
				m.source = "at start"
			}
			moments = append(moments, m)
			if on, ok := single(t.cfg.Test); ok && m.edge && t.hold == 0 && t.implicit && len(a.when) == 0 {
				m.test, m.does = Test{Is: Values{!on}}, ends
				moments = append(moments, m)
			}
		}
	}
	type sameness struct { // without it two are not compared
		source string
		hold   time.Duration
		when   string
	}
	before := make(map[sameness][]moment)
	for _, b := range moments {
		key := sameness{b.source, b.hold, b.when}
		for _, a := range before[key] {
			if a.who == b.who || !a.meets(b) {
				continue
			}
			for _, output := range slices.Sorted(maps.Keys(b.does)) {
				x, y := a.does[output], b.does[output]
				pair := a.who.name + " " + b.who.name + " " + output
				if off, ok := x.to.(bool); ok && y.to == !off && !d.told[pair] {
					d.told[pair] = true
					y.at.Warn("%s %s at the same moment, at %s (%s), and no condition tells which is meant", a.who.name, d.switches(output, off), x.at.Position(), a.text)
				}
			}
		}
		if len(before[key]) < mostAlike {
			before[key] = append(before[key], b)
		}
	}
}

// single is the one boolean that a test asks for.
func single(t Test) (on, ok bool) {
	if len(t.Is) != 1 || hash(t) != hash(Test{Is: t.Is}) {
		return false, false
	}
	on, ok = t.Is[0].(bool)
	return on, ok
}

// meets reports whether one of the two surely happens whenever the other does.
func (m moment) meets(o moment) bool {
	switch {
	case m.edge && o.edge:
		return implied(m.test, o.test) && implied(o.test, m.test)
	case m.edge:
		return implied(m.test, o.test)
	case o.edge:
		return implied(o.test, m.test)
	}
	return implied(m.test, o.test) || implied(o.test, m.test)
}

// last is what outputs are told in the end.
func last(deeds []deed) map[string]deed {
	does := map[string]deed{}
	for _, x := range deeds {
		if x.output != "" {
			does[x.output] = x
		}
	}
	return does
}

func (d *doubter) inverts(a *actor) bool {
	l, _ := d.cfg.Link.Get(baseName(a.name))
	return l != nil && l.Invert
}

// switches is what happens to an output, in words.
func (d *doubter) switches(output string, on bool) string {
	cover := d.parts[output].Takes == "cover"
	switch {
	case cover && on:
		return "opens " + output
	case cover:
		return "closes " + output
	case on:
		return "switches " + output + " on"
	}
	return "switches " + output + " off"
}

// ---- Chains ----------------------------------------------------------------

// A hearer is one trigger that listens to a source; of a calc its name.
type hearer struct {
	who     *actor
	trigger placed
	calc    *calc
}

// A hop is one actor that was set off, and by which of its deeds it goes on.
type hop struct {
	who  *actor
	key  string // with its trigger and what it captured
	deed deed
}

// A world is what is known while a chain is followed: the newest values of
// sources that the chain itself has set.
type world map[string]any

// chains follows what sets what off, from each trigger that may fire, and warns
// where a chain comes round for the second time: then nothing stops it. An edge
// counts only where it is sure that the value was another before; a link takes
// nothing that follows from what it sent itself, so it never closes a circle.
func (d *doubter) chains() {
	d.budget = 20_000
	d.hearers = map[string][]hearer{}
	var sources []devices.Source
	listen := func(source string, h hearer) {
		if source != "" {
			sources = append(sources, d.sources[source])
			d.hearers[source] = append(d.hearers[source], h)
		}
	}
	for _, a := range d.actors {
		if !a.rule.enabled || strings.HasPrefix(a.name, "link.") || d.idle[baseName(a.name)] && a.machine == nil {
			continue
		}
		for _, t := range a.triggers {
			listen(t.source, hearer{who: a, trigger: t})
		}
	}
	for _, x := range d.Engine.calcs {
		if x.batch == (Span{}) && (len(x.of) == 1 || !x.list) && x.typ == "" {
			for _, of := range x.of {
				listen(of, hearer{calc: x})
			}
		}
	}
	d.index = devices.NewIndex(sources)
	d.price = 1 + len(sources)/100
	for _, a := range d.actors {
		for _, t := range a.triggers {
			captured := map[string]string{}
			for _, name := range a.rule.captures {
				captured[name] = "x" // any value will do
			}
			w := world{}
			if on, ok := single(t.cfg.Test); ok && len(a.rule.captures) == 0 {
				w[d.self(t.source)] = on
			}
			d.follow(a, t, captured, nil, w)
		}
	}
}

// follow is one actor that is set off.
func (d *doubter) follow(a *actor, t placed, captured map[string]string, path []hop, w world) {
	if d.budget -= d.price; d.budget < 0 || len(path) > 2*MaxHops {
		return
	}
	deeds := a.begins
	if a.machine != nil {
		deeds = a.moves[t.move]
		d.alter(w, a.rule.machine.name, a.machine.Moves[t.move].To)
	} else if len(a.when) > 0 || a.curbed || a.waits && a.rule.mode == "single" || t.truthless() && len(t.untils) > 0 || !t.implicit {
		return // it is not sure to be set off again
	}
	var values []string
	for _, name := range a.rule.captures {
		values = append(values, captured[name])
	}
	here := hop{who: a, key: fmt.Sprint(a.name, t.index, values)}
	rounds := 0
	for i, h := range path {
		if h.key == here.key {
			if rounds++; rounds == 2 {
				d.circle(path[slices.IndexFunc(path, func(h hop) bool { return h.key == here.key }):i])
				return
			}
		}
	}
	type sent struct {
		deed     deed
		readings []devices.Reading
		unknown  bool
	}
	before := maps.Clone(w)
	var all []sent
	if a.machine != nil {
		m := a.rule.machine
		all = append(all, sent{deed: deed{who: a, at: t.at}, readings: []devices.Reading{named(m.name, a.machine.Moves[t.move].To)}})
	}
	for _, x := range deeds {
		s := sent{deed: x, unknown: x.to == nil}
		if x.topic != "" && !x.changed {
			if topic, ok := put(x.topic, captured); ok {
				payload := ""
				if x.to != nil {
					payload = valueText(x.to)
				}
				s.readings = d.index.Normalize(devices.Message{Topic: topic, Payload: []byte(payload)}, devices.Now{})
			}
		}
		name := x.output + x.variable
		if name != "" && d.parts[name].Takes != "cover" { // which is under way for a while
			was, known := w[name]
			on, _ := devices.Bool(was)
			now := x.to
			_, toggle := now.(devices.Toggle)
			if toggle {
				if now = nil; known {
					now = !on
				}
			}
			// An output reports what is new, a variable also the same again.
			if x.variable != "" && !x.changed || toggle || known && now != nil && now != was {
				s.readings = append(s.readings, named(name, now))
				if x.output != "" {
					s.readings = append(s.readings, d.index.Normalize(devices.Message{Topic: "hearth/" + name + "/state", Payload: []byte(devices.Text(now))}, devices.Now{})...)
				}
				s.unknown = now == nil
			}
			d.alter(w, name, now)
		}
		all = append(all, s)
	}
	for _, s := range all {
		for i := range s.readings {
			on := here
			on.deed = s.deed
			d.spread(&s.readings[i], s.unknown, append(slices.Clip(path), on), before, w)
		}
	}
}

func named(name string, v any) devices.Reading {
	return devices.Reading{Source: name, Value: v, Text: valueText(v)}
}

func (d *doubter) alter(w world, source string, v any) {
	if v == nil {
		delete(w, source)
		return
	}
	w[source] = v
}

// put fills captures into a topic; false where it has other holes.
func put(topic string, captured map[string]string) (string, bool) {
	for name, v := range captured {
		topic = strings.ReplaceAll(topic, "{"+name+"}", v)
	}
	return topic, !strings.Contains(topic, "{")
}

// self is the output or input that a topic of the hub tells of, or the source.
func (d *doubter) self(source string) string {
	if s := d.sources[source]; s.Filter != "" && len(s.Path) == 0 {
		name := strings.TrimSuffix(strings.TrimPrefix(s.Filter, "hearth/"), "/state")
		if s.Filter == "hearth/"+name+"/state" {
			return name
		}
	}
	return source
}

// spread is a reading that all who listen get. before is the world as it was when
// the run began that led to it.
func (d *doubter) spread(in *devices.Reading, unknown bool, path []hop, before, w world) {
	source := watched(in)
	self := d.self(in.Source)
	was, known := before[self]
	w = maps.Clone(w)
	d.alter(w, self, in.Value)
	if unknown {
		delete(w, self)
	}
	moved := map[*actor]bool{}
	for _, h := range d.hearers[source] {
		if h.calc != nil {
			r := named(h.calc.name, nil)
			if d.budget--; d.budget > 0 && len(path) < 2*MaxHops {
				d.spread(&r, true, append(slices.Clip(path), hop{key: "calc." + h.calc.name, deed: path[len(path)-1].deed}), before, w)
			}
			continue
		}
		if h.who.machine != nil {
			mv := &h.who.rule.machine.moves[h.trigger.move]
			state, ok := w[h.who.rule.machine.name].(string)
			switch {
			case moved[h.who] || !ok || !mv.leaves(state):
				continue
			case len(mv.conditions) > 0:
				moved[h.who] = true // perhaps
				continue
			}
			moved[h.who] = true
		}
		if !h.trigger.surely(in, unknown, was, known) {
			continue
		}
		captured := map[string]string{}
		if in.Captured != nil {
			for i, name := range d.sources[source].Captures() {
				captured[name] = in.Captured.Values[i]
			}
		}
		d.follow(h.who, h.trigger, captured, path, maps.Clone(w))
	}
}

// surely reports whether a reading is sure to fire a trigger. was is the value
// before it, if that is known.
func (t placed) surely(in *devices.Reading, unknown bool, was any, known bool) bool {
	switch {
	case t.distinct != nil || len(t.from) > 0 || t.changed || t.hold > 0 || len(t.cfg.Until) > 0:
		return false
	case unknown:
		return t.cfg.Test.empty() && !t.pathed && !strings.Contains(t.source, ":")
	case t.event && t.cfg.Test.empty():
		return in.Bad == "" || t.anyMessage
	case t.cfg.Test.empty():
		return in.Bad == ""
	case !t.cfg.Test.holds(*in):
		return false
	}
	return t.event || known && !t.cfg.Test.holds(named(in.Source, was))
}

// circle warns of a chain that has come round.
func (d *doubter) circle(path []hop) {
	var who []*actor
	var deeds []deed
	for _, h := range path {
		if h.who != nil { // not a calc, which stands for the one before it
			who, deeds = append(who, h.who), append(deeds, h.deed)
		}
	}
	first := 0
	for i, a := range who {
		if slices.Index(d.actors, a) < slices.Index(d.actors, who[first]) {
			first = i
		}
	}
	who = append(who[first:len(who):len(who)], who[:first]...)
	deeds = append(deeds[first:len(deeds):len(deeds)], deeds[:first]...)
	var names []string
	for _, a := range who {
		names = append(names, a.name)
	}
	sorted := slices.Sorted(slices.Values(names))
	key := strings.Join(slices.Compact(sorted), " ")
	if d.told[key] {
		return
	}
	d.told[key] = true
	text := "this sets off "
	for i := 1; i < len(who); i++ {
		text += fmt.Sprintf("%s, at %s, which sets off ", names[i], deeds[i].at.Position())
	}
	deeds[0].at.Warn("%s%s again, for ever: the hub stops them after %d hops", text, names[0], MaxHops)
}
