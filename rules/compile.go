package rules

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
)

// A rule is a link or rule made ready to run, and where it stands.
type rule struct {
	name       string // "rule.heater"
	hash       string // of its definition: the same text keeps its timers
	enabled    bool
	mode       string
	triggers   []*trigger
	conditions []condition
	actions    []action
	hasOff     bool

	kept bool // its state was taken over by Restore
	runs []*run
}

// ends reports whether the rule's firing is an episode.
func (r *rule) ends() bool {
	return r.hasOff || slices.ContainsFunc(r.triggers, func(t *trigger) bool { return !t.implicit })
}

// A trigger and its state.
type trigger struct {
	text       string // "zigbee2mqtt/hall:occupancy is true"
	source     string
	event      bool
	anyMessage bool // an event without test or path: invalid payloads count too
	test       Test
	carries    string // of a link: only readings of this type
	changed    bool
	hold       time.Duration
	minOn      time.Duration
	retained   bool
	untils     []*until
	implicit   bool // untils holds only the test turned round

	seen     bool    // some reading has set the truth, whichever way
	truth    bool    // the latch
	began    bool    // an episode is on
	again    bool    // it was on before the restart, and has not been resumed
	last     *string // the last reading, where changed asks for it
	pending  *timer  // the truth rose and waits for hold
	earliest *timer  // min_on is not over
}

// An until and its state.
type until struct {
	source     string
	event      bool
	anyMessage bool // as of a trigger
	test       Test
	negate     bool
	hold       time.Duration
	since      *timer // it holds and waits for hold
}

// check looks whether in ends the episode; not valid if it says nothing.
func (u *until) check(in devices.Reading) (over, valid bool) {
	switch {
	case u.event && in.Initial:
		return false, false
	case u.event && u.test.empty():
		return in.Bad == "" || u.anyMessage, true
	}
	pass, valid := u.test.check(in)
	return valid && pass != u.negate, valid
}

func (u *until) holds(in devices.Reading) bool {
	over, valid := u.check(in)
	return over && valid
}

// ends reports whether a reading of the trigger's own source already ends it.
func (t *trigger) ends(in devices.Reading) bool {
	return slices.ContainsFunc(t.untils, func(u *until) bool {
		return u.source == t.source && !u.event && u.hold == 0 && u.holds(in)
	})
}

// over reports whether a reading that would fire a trigger without a truth is
// one of its ends.
func (t *trigger) over(in devices.Reading) bool {
	return slices.ContainsFunc(t.untils, func(u *until) bool {
		return u.source == in.Source && u.hold == 0 && !u.test.empty() && u.holds(in)
	})
}

// A condition is one test of the world, made ready.
type condition struct {
	source string // of a state condition
	test   Test
	time   Window
	days   Days
	any    []condition
	all    []condition
	not    *condition
}

func (c *compiler) link(name string, l Link, at config.Place) *rule {
	r := &rule{name: "link." + name, hash: hash(l), enabled: l.Enabled == nil || *l.Enabled, mode: "single"}
	kind := l.Type
	if kind == "" {
		kind = "boolean"
	}
	source := c.source(l.From, at.Key("from"))
	output, topic := c.target(l.To, at.Key("to"))
	if output != "" && kind != "boolean" {
		at.Key("type").Mistake("an output takes only booleans: want \"boolean\", or a topic in to")
	}
	if output != "" && l.Retain {
		at.Key("retain").Mistake("an output has no retained commands: retain is for a topic in to")
	}
	if l.Invert && kind != "boolean" && kind != "number" {
		at.Key("invert").Mistake("only booleans and numbers can be inverted, not %s", kind)
	}
	if output != "" && output == source {
		at.Key("to").Mistake("the link goes from %s to itself", output)
	}
	r.triggers = []*trigger{{text: source, source: source, carries: kind, changed: l.Changed, implicit: true}}
	r.actions = []action{{kind: carry, output: output, topic: topic, retain: l.Retain, invert: l.Invert, carries: kind}}
	return r
}

func (c *compiler) rule(name string, cfg Rule, at config.Place) *rule {
	r := &rule{name: "rule." + name, hash: hash(cfg), enabled: cfg.Enabled == nil || *cfg.Enabled, mode: cfg.Mode}
	for i, a := range cfg.Action {
		r.actions = append(r.actions, c.action(a, at.Key("action").Index(i))...)
		r.hasOff = r.hasOff || a.Off != nil && a.Pulse == ""
	}
	for i, t := range cfg.Trigger {
		place := at.Key("trigger").Index(i)
		compiled := c.trigger(t, place)
		r.triggers = append(r.triggers, compiled)
		if r.hasOff && len(compiled.untils) == 0 {
			place.Mistake("this trigger has no end, so off would never be sent: give it an until")
		}
	}
	for i, t := range r.triggers {
		if t.minOn > 0 && !r.ends() {
			at.Key("trigger").Index(i).Key("min_on").Mistake("min_on delays an end, and this rule has none: give it an until, or off values")
		}
	}
	if cfg.Condition != nil {
		for i, cond := range cfg.Condition {
			r.conditions = append(r.conditions, c.condition(cond, at.Key("condition").Index(i))...)
		}
	}
	return r
}

func (c *compiler) trigger(cfg Trigger, at config.Place) *trigger {
	t := &trigger{
		test:     cfg.Test,
		changed:  cfg.Changed,
		hold:     time.Duration(cfg.For),
		minOn:    time.Duration(cfg.MinOn),
		retained: cfg.Retained,
	}
	switch {
	case cfg.State != "" && cfg.Event != "":
		at.Key("event").Mistake("a trigger has one source: state or event, not both")
	case cfg.State != "":
		t.source = c.source(cfg.State, at.Key("state"))
		if strings.HasSuffix(t.source, "/set") {
			at.Key("state").Warn("a /set topic carries commands; as a state the same command twice fires once: event is probably meant")
		}
	case cfg.Event != "":
		t.event = true
		t.source = c.source(cfg.Event, at.Key("event"))
		t.anyMessage = t.test.empty() && c.wholeTopic(t.source)
	default:
		at.Mistake(`a trigger needs a source: state = "topic:path", or event = "topic"`)
	}
	if t.event {
		for _, wrong := range []struct {
			key string
			set bool
		}{{"above", cfg.Above != nil}, {"below", cfg.Below != nil}, {"at_least", cfg.AtLeast != nil}, {"at_most", cfg.AtMost != nil},
			{"for", cfg.For != 0}, {"changed", cfg.Changed}, {"retained", cfg.Retained}} {
			if wrong.set {
				at.Key(wrong.key).Mistake("an event has no last value, so %s means nothing here; state has", wrong.key)
			}
		}
	}
	if t.test.empty() && cfg.For != 0 && !t.event {
		at.Key("for").Mistake("for needs a test to hold so long, such as is = true")
	}
	if t.changed && !t.test.empty() {
		at.Key("changed").Mistake("a trigger with a test fires when the test becomes true; changed is for one without")
	}
	t.text = strings.TrimSpace(t.source + " " + t.test.String())
	if cfg.ID != "" {
		t.text = cfg.ID + " (" + t.text + ")"
	}
	for j, u := range cfg.Until {
		t.untils = append(t.untils, c.until(u, t, at.Key("until").Index(j)))
	}
	if len(cfg.Until) == 0 {
		t.implicit = true
		if !t.event && !t.test.empty() {
			t.untils = []*until{{source: t.source, test: t.test, negate: true}}
		}
	}
	return t
}

// wholeTopic reports whether each message of a topic, whatever is in it, is an
// event of this source.
func (c *compiler) wholeTopic(source string) bool {
	s := c.sources[source]
	return s.Filter != "" && len(s.Path) == 0
}

func (c *compiler) until(cfg Until, t *trigger, at config.Place) *until {
	u := &until{source: t.source, test: cfg.Test, hold: time.Duration(cfg.For)}
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
	case t.event && u.test.empty():
		at.Mistake(`until needs a test or a source, such as { is = "OFF" } or { state = "pir", is = false }`)
	}
	if u.test.empty() && !u.event {
		at.Mistake(`until needs a test such as { is = "OFF" }`)
	}
	u.anyMessage = u.event && c.wholeTopic(u.source)
	if u.event && u.hold != 0 {
		at.Key("for").Mistake("an event is over at once, so it can't hold for a time")
	}
	return u
}

func (c *compiler) condition(cfg Condition, at config.Place) []condition {
	var list []condition
	sources := make([]string, 0, len(cfg.State))
	for s := range cfg.State {
		sources = append(sources, s)
	}
	slices.Sort(sources)
	for _, s := range sources {
		if source := c.source(s, at.Key("state").Key(s)); source != "" {
			list = append(list, condition{source: source, test: cfg.State[s].Test})
		}
	}
	if cfg.Time.set {
		list = append(list, condition{time: cfg.Time})
	}
	if cfg.Days != 0 {
		list = append(list, condition{days: cfg.Days})
	}
	if len(cfg.Any) > 0 {
		var either condition
		for i, one := range cfg.Any {
			either.any = append(either.any, condition{all: c.condition(one, at.Key("any").Index(i))})
		}
		list = append(list, either)
	}
	if cfg.Not != nil {
		list = append(list, condition{not: &condition{all: c.condition(*cfg.Not, at.Key("not"))}})
	}
	if len(cfg.State)+len(cfg.Any) == 0 && cfg.Not == nil && !at.Key("time").Given() && !at.Key("days").Given() {
		at.Mistake(`the condition is empty: want a test such as { state = { "pir" = true } } or { time = "16:00-23:00" }`)
	}
	return list
}

// look evaluates a condition against the newest values and the time of day.
func (c condition) look(now devices.Now, registry *devices.Registry) Check {
	switch {
	case c.source != "":
		in, ok := registry.Last(c.source)
		if !ok {
			return Check{Text: c.source + " " + c.test.String(), Saw: "never seen"}
		}
		return Check{Text: c.source + " " + c.test.String(), Saw: short(in.Text), OK: c.test.holds(in)}
	case c.time.set:
		check := Check{Text: "time " + c.time.String(), Saw: "the clock is not known to be right"}
		if now.Known {
			check.Saw, check.OK = now.Wall.Format("15:04:05"), c.time.holds(now.Wall)
		}
		return check
	case c.days != 0:
		check := Check{Text: "days " + c.days.String(), Saw: "the clock is not known to be right"}
		if now.Known {
			check.Saw = dayNames[now.Wall.Weekday()]
			check.OK = c.days.holds(now.Wall.Weekday())
		}
		return check
	case c.not != nil:
		inner := c.not.look(now, registry)
		return Check{Text: "not (" + inner.Text + ")", Saw: inner.Saw, OK: !inner.OK}
	case c.any != nil:
		return several(c.any, " or ", true, now, registry)
	}
	return several(c.all, " and ", false, now, registry)
}

// several joins conditions: the first that equals enough decides.
func several(list []condition, word string, enough bool, now devices.Now, registry *devices.Registry) Check {
	var texts, saws []string
	ok := !enough
	for _, one := range list {
		check := one.look(now, registry)
		texts, saws = append(texts, check.Text), append(saws, check.Saw)
		if check.OK == enough {
			ok = enough
		}
	}
	return Check{Text: strings.Join(texts, word), Saw: strings.Join(saws, ", "), OK: ok}
}

// hash names a definition: the same text after parsing has the same hash.
func hash(definition any) string {
	b, err := json.Marshal(definition)
	if err != nil {
		return "" // NaN can't come out of a config; an empty hash starts the rule anew
	}
	h := fnv.New128a()
	h.Write(b)
	return fmt.Sprintf("%x", h.Sum(nil))
}
