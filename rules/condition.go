package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/rules/calendar"
	"hearth/rules/formula"
)

// A condition is one test of the world, made ready: one of these.
type condition struct {
	text string

	source string // the newest value of it
	test   Test
	within time.Duration
	level  int // of a for: which of the rule's levels, from 1

	value   bool // test is of the trigger's value
	time    calendar.Window
	days    calendar.Days
	dates   calendar.Dates
	sun     *bool // up
	height  *float64
	trigger []string
	formula *formula.Formula
	params  map[string]any // of an action's each, which it sees
	any     []condition
	all     []condition
	not     *condition
}

// conditionsIn compiles conditions, all of which must hold.
func (b *builder) conditionsIn(list config.List[Condition], at config.Place, scope formula.Scope) []condition {
	var all []condition
	for i, one := range list {
		all = append(all, b.condition(one, at.Index(i), scope)...)
	}
	return all
}

func (b *builder) condition(cfg Condition, at config.Place, scope formula.Scope) []condition {
	if cfg.Formula != "" {
		f, err := formula.Compile(cfg.Formula, scope, formula.Boolean)
		if err != nil {
			b.wrong(err, cfg.Formula, at)
			return nil
		}
		b.sees(f)
		return []condition{{text: short(cfg.Formula), formula: f, params: b.params}}
	}
	var list []condition
	for _, s := range slices.Sorted(maps.Keys(cfg.State)) {
		place := at.Key("state").Key(s)
		source := b.source(s, place.OfKey())
		if source == "" {
			continue
		}
		for _, n := range b.sources[source].Captures() {
			if !slices.Contains(b.r.captures, n) {
				place.Mistake("{%s} is not captured by a trigger's topic; + stands for any", n)
			}
		}
		want := cfg.State[s]
		c := condition{source: source, test: want.Test.ready(), within: time.Duration(want.Within), text: strings.TrimSpace(source + " " + want.Test.String())}
		if want.Within > 0 {
			c.text += " within " + want.Within.String()
		}
		if want.For > 0 {
			b.r.levels = append(b.r.levels, &level{source: source, test: want.Test.ready(), hold: time.Duration(want.For)})
			c.level = len(b.r.levels)
			c.text += " for " + want.For.String()
		} else if want.Silent > 0 {
			b.r.levels = append(b.r.levels, &level{source: source, test: want.Test.ready()})
			c.level = len(b.r.levels)
		}
		b.checkTest(want.Test, place)
		b.wanted[source] = append(b.wanted[source], want.Test)
		list = append(list, c)
	}
	if cfg.Time.Set() {
		list = append(list, condition{time: cfg.Time, text: "time " + cfg.Time.String()})
	}
	if cfg.Days != 0 {
		list = append(list, condition{days: cfg.Days, text: "days " + cfg.Days.String()})
	}
	if cfg.Dates.Set() {
		list = append(list, condition{dates: cfg.Dates, text: "dates " + cfg.Dates.String()})
	}
	if cfg.Sun != "" {
		up := cfg.Sun == "up"
		c := condition{sun: &up, height: cfg.Elevation, text: "sun " + cfg.Sun}
		if cfg.Elevation != nil {
			c.text += fmt.Sprintf(" at %g degrees", *cfg.Elevation)
		}
		if !b.house.Place.Known {
			at.Key("sun").Mistake("the hub does not know where it is: add latitude and longitude to [hub]")
		}
		list = append(list, c)
	} else if cfg.Elevation != nil {
		at.Key("elevation").Mistake(`elevation belongs to sun = "up" or "down"`)
	}
	if len(cfg.Trigger) > 0 {
		for i, id := range cfg.Trigger {
			if !slices.ContainsFunc(b.r.triggers, func(t *trigger) bool { return t.id == id }) {
				var ids []string
				for _, t := range b.r.triggers {
					ids = append(ids, t.id)
				}
				at.Key("trigger").Index(i).Mistake("%s", b.unknown("trigger", id, ids, ""))
			}
		}
		list = append(list, condition{trigger: cfg.Trigger, text: "trigger " + strings.Join(cfg.Trigger, " or ")})
	}
	if len(cfg.Any) > 0 {
		either := condition{any: []condition{}}
		for i, one := range cfg.Any {
			either.any = append(either.any, condition{all: b.condition(one, at.Key("any").Index(i), scope)})
		}
		list = append(list, either)
	}
	if cfg.Not != nil {
		list = append(list, condition{not: &condition{all: b.condition(*cfg.Not, at.Key("not"), scope)}})
	}
	if !cfg.Test.empty() {
		if cfg.Test.Silent > 0 {
			at.Key("silent").Mistake(`silent needs a source: { state = { "a/b" = { silent = "10m" } } }`)
		}
		b.checkTest(cfg.Test, at)
		list = append(list, condition{value: true, test: cfg.Test.ready(), text: "value " + cfg.Test.String()})
	}
	if len(list) == 0 && !at.Key("time").Given() && !at.Key("days").Given() && !at.Key("state").Given() && !at.Key("dates").Given() && !at.Key("sun").Given() {
		at.Mistake(`the condition is empty: want a test such as { state = { "pir" = true } } or { time = "16:00-23:00" }`)
	}
	return list
}

// allow looks at conditions, all of which must hold, and notes what they saw.
func (e *Engine) allow(list []condition, inst *instance, ctx *context, now devices.Now, d *Decision) bool {
	for i := range list {
		check := e.see(&list[i], inst, ctx, now)
		d.Checks = append(d.Checks, check)
		if !check.OK {
			return false
		}
	}
	return true
}

const noClock = "the clock is not known to be right"

// see evaluates a condition against the newest values and the time of day.
func (e *Engine) see(c *condition, inst *instance, ctx *context, now devices.Now) Check {
	check := Check{Text: c.text}
	clock := func(saw string, ok bool) Check {
		if check.Saw = noClock; now.Known {
			check.Saw, check.OK = saw, ok
		}
		return check
	}
	wall := now.Wall.In(e.house.zone())
	switch {
	case c.source != "":
		return e.seeState(c, check, inst, now)
	case c.value:
		check.Saw = "no value"
		if ctx.reading != nil && ctx.reading.Bad == "" {
			check.Saw, check.OK = e.shown(*ctx.reading), c.test.of(inst).holds(*ctx.reading)
		}
		return check
	case c.time.Set():
		return clock(wall.Format("15:04:05"), c.time.Holds(wall))
	case c.days != 0:
		return clock(strings.ToLower(wall.Weekday().String()[:3]), c.days.Holds(wall.Weekday()))
	case c.dates.Set():
		return clock(wall.Format(time.DateOnly), c.dates.Holds(wall))
	case c.sun != nil:
		down := calendar.Down(now.Wall, e.house.Place, c.height)
		return clock(map[bool]string{true: "down", false: "up"}[down], down != *c.sun)
	case c.trigger != nil:
		check.Saw, check.OK = ctx.trigger.id, slices.Contains(c.trigger, ctx.trigger.id)
		return check
	case c.formula != nil:
		v, err := c.formula.Eval(&scene{e: e, inst: inst, ctx: ctx, params: c.params, now: now})
		on, _ := v.(bool)
		check.Saw, check.OK = fmt.Sprint(on), err == nil && on
		if err != nil {
			check.Saw = err.Error()
			e.erred(inst.rule, err)
		}
		return check
	case c.not != nil:
		inner := e.see(c.not, inst, ctx, now)
		return Check{Text: "not (" + inner.Text + ")", Saw: inner.Saw, OK: !inner.OK}
	case c.any != nil:
		return e.several(c.any, " or ", true, inst, ctx, now)
	}
	return e.several(c.all, " and ", false, inst, ctx, now)
}

// shown is the value of a reading for who reads a trace.
func (e *Engine) shown(r devices.Reading) string {
	if e.Hidden(r) {
		return "***"
	}
	return short(r.Text)
}

func (e *Engine) seeState(c *condition, check Check, inst *instance, now devices.Now) Check {
	source := inst.source(e, c.source)
	in, ok := e.registry.Last(source)
	if check.Saw = "never seen"; ok {
		check.Saw = e.shown(in)
	}
	if c.level > 0 {
		l, s := inst.rule.levels[c.level-1], inst.levels[c.level-1]
		holds := l.holdsNow(e, inst, s.silent)
		switch {
		case !holds || !s.holds:
			return check
		case now.Mono-s.mono < l.hold:
			check.Saw += ", for " + span((now.Mono - s.mono).Round(time.Second))
			return check
		}
	} else if !ok || !c.test.of(inst).holds(in) {
		return check
	}
	check.OK = true
	if c.within > 0 {
		age, known := e.age(&in, now)
		if !known || age > c.within {
			check.OK = false
			check.Saw += ", of unknown age"
			if known {
				check.Saw = strings.TrimSuffix(check.Saw, "of unknown age") + span(age.Round(time.Second)) + " ago"
			}
		}
	}
	return check
}

// several joins conditions: the first that equals enough decides.
func (e *Engine) several(list []condition, word string, enough bool, inst *instance, ctx *context, now devices.Now) Check {
	var texts, saws []string
	ok := !enough
	for i := range list {
		check := e.see(&list[i], inst, ctx, now)
		texts, saws = append(texts, check.Text), append(saws, check.Saw)
		if check.OK == enough {
			ok = enough
		}
	}
	return Check{Text: strings.Join(texts, word), Saw: strings.Join(saws, ", "), OK: ok}
}

// readLevel is one reading seen by a condition with for.
func (e *Engine) readLevel(inst *instance, i int, in *devices.Reading) {
	l, s := inst.rule.levels[i], &inst.levels[i]
	if in.Bad != "" {
		return
	}
	if l.test.Silent > 0 {
		e.timers.set(&s.silent, timer{inst: inst, kind: levelSilent, until: i}, in.At.Mono+time.Duration(l.test.Silent))
	}
	if holds, valid := l.check(inst, in); valid && holds != s.holds {
		*s = since{holds: holds, silent: s.silent, mono: in.At.Mono}
		e.moved(inst)
	}
}

func (e *Engine) levelSilence(inst *instance, i int) {
	s := &inst.levels[i]
	s.silent = nil
	if inst.rule.levels[i].holdsNow(e, inst, nil) && !s.holds {
		*s = since{holds: true, mono: e.now.Mono}
	}
}

// age is how long ago a reading came; false if that is not known.
func (e *Engine) age(r *devices.Reading, now devices.Now) (time.Duration, bool) {
	if r.Restored {
		if !r.At.Known || !now.Known {
			return 0, false
		}
		return now.Wall.Sub(r.At.Wall), true
	}
	return now.Mono - r.At.Mono, true
}
