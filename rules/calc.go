package rules

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/rules/formula"
)

// maxReadings is how many readings a window or a batch holds.
const maxReadings = 10_000

// maxSample is how long a reading may be that a calc remembers, of which there may
// be very many.
const maxSample = 4 << 10

// A calc is a value computed from readings of others.
type calc struct {
	news
	name    string
	hash    string
	of      []string
	list    bool // each of them must have reported
	formula *formula.Formula
	typ     string
	maxAge  time.Duration
	window  Span
	batch   Span
	initial any

	kept     bool
	members  map[string]sample // by capture, topic or source
	sorted   []string          // their keys; none is ever taken away
	maps     bool              // the formula looks at members
	readings []sample          // of a window or batch, oldest first
	full     *timer            // of a timed batch
	errors   int
	err      string
}

// A sample is one reading of a member.
type sample struct {
	value any
	mono  time.Duration
	wall  time.Time // as of a timer
}

func (c *compiler) calcs() {
	for _, x := range c.cfg.Calc {
		c.calc(x.Name, x.Value, c.root.Key("calc").Key(x.Name))
	}
	c.cycles()
}

func (c *compiler) calc(name string, cfg Calc, at config.Place) {
	x := &calc{name: name, typ: cfg.Type, maxAge: time.Duration(cfg.MaxAge), window: cfg.Window, batch: cfg.Batch, list: true, members: make(map[string]sample)}
	for i, of := range cfg.Of {
		place := at.Key("of").Index(i)
		source := c.source(of, place)
		if source == "" {
			continue
		}
		if slices.Contains(x.of, source) {
			place.Mistake("%s is there twice", source)
			continue
		}
		x.of = append(x.of, source)
		s := c.sources[source]
		if strings.ContainsAny(s.Filter, "+#{") {
			x.list = false
		}
	}
	windowed, batched := cfg.Window != Span{}, cfg.Batch != Span{}
	series := windowed || batched
	switch {
	case windowed && batched:
		at.Key("batch").Mistake("a calc has a window or a batch, not both")
	case series && len(cfg.Of) == 1 && strings.ContainsAny(c.sources[x.source()].Filter, "+#{"):
		at.Key("of").Warn("all these topics go into one window, in the order in which they come")
	case series && len(cfg.Of) > 1:
		at.Key("of").Mistake("a window or a batch is of one source; make a calc of each, and one of these")
	case series && cfg.MaxAge > 0:
		at.Key("max_age").Mistake("max_age is of the newest values of several; a window says itself how old they may be")
	}
	names := maps.Clone(c.names)
	names["readings"], names["members"] = formula.List, formula.Map
	f, err := formula.Compile(cfg.Value, formula.Scope{Names: names, Property: c.propertyType, Source: c.formulaSource}, formula.Any)
	if err != nil {
		c.wrong(err, cfg.Value, at.Key("value"))
	} else {
		c.refers(f)
		x.formula = f
		x.maps = slices.Contains(f.Names(), "members")
		c.names[name] = f.Type()
	}
	if cfg.Default != nil {
		x.initial = plainValue(cfg.Default, at.Key("default"))
		if _, ok := c.registry.Last(name); !ok {
			c.registry.Apply(devices.Reading{Source: name, Value: x.initial, Text: valueText(x.initial), Initial: true})
		}
	}
	x.hash = hash(version, cfg, x.of)
	c.Engine.calcs = append(c.Engine.calcs, x)
	c.holders[name] = x
	for _, source := range x.of {
		ws := c.watchersOf(source)
		ws.more().calcs = append(ws.calcs, x)
	}
}

// source is the first of its sources, and of a window or a batch the only one.
func (x *calc) source() string {
	if len(x.of) == 0 {
		return ""
	}
	return x.of[0]
}

// cycles refuses calcs that are computed from themselves.
func (c *compiler) cycles() {
	state := make(map[*calc]int)
	var visit func(x *calc, path []string)
	visit = func(x *calc, path []string) {
		switch state[x] {
		case 2:
			return
		case 1:
			c.root.Key("calc").Key(x.name).Key("of").Mistake("this calc is computed from itself, want other sources: %s", strings.Join(append(path, x.name), " -> "))
			return
		}
		state[x] = 1
		for _, of := range x.of {
			if y, ok := c.holders[of].(*calc); ok {
				visit(y, append(path, x.name))
			}
		}
		state[x] = 2
	}
	for _, x := range c.Engine.calcs {
		visit(x, nil)
	}
}

// accepts is a reading's value as the calc's type.
func (x *calc) accepts(in *devices.Reading) (any, bool) {
	if in.Bad != "" || len(in.Text) > maxSample {
		return nil, false
	}
	switch x.typ {
	case "number":
		f, ok := in.Value.(float64)
		return f, ok
	case "boolean":
		on, ok := devices.Bool(in.Value)
		return on, ok
	case "text":
		s, ok := in.Value.(string)
		return s, ok
	}
	return in.Value, true
}

// compute takes one reading; the calc's own follows, unless it has nothing new
// to say.
func (e *Engine) compute(x *calc, in *devices.Reading) (devices.Reading, bool) {
	v, ok := x.accepts(in)
	if !ok {
		return devices.Reading{}, false
	}
	key := in.Source
	switch {
	case in.Captured != nil:
		key = strings.Join(in.Captured.Values, "/")
	case !x.list && in.Topic != "":
		key = in.Topic
	}
	if _, known := x.members[key]; !known && len(x.members) >= MaxInstances {
		return devices.Reading{}, false
	}
	now := sample{value: v, mono: in.At.Mono}
	if m, known := x.members[key]; known && in.Restored && valueText(m.value) == valueText(v) {
		now = m // found again, and as old as it was
	}
	x.members[key] = now
	e.noted(x)
	switch {
	case x.batch != Span{}:
		if in.Initial {
			return devices.Reading{}, false // it is not reported now
		}
		if len(x.readings) < maxReadings {
			x.readings = append(x.readings, now)
		}
		if x.batch.Count == 0 || len(x.readings) < x.batch.Count {
			return devices.Reading{}, false
		}
	case x.window != Span{}:
		if in.Initial && x.kept {
			return devices.Reading{}, false // it is there already
		}
		x.readings = append(x.readings, now)
		x.trim(in.At.Mono)
	case x.list && len(x.members) < len(x.of):
		return devices.Reading{}, false
	}
	from := *in
	from.Message, from.Old = nil, nil // which may be large
	return e.result(x, devices.Reading{Source: x.name, At: in.At, Initial: in.Initial, Origin: in.Origin, From: &from})
}

// trim drops what is older than the window, or more.
func (x *calc) trim(now time.Duration) {
	n := 0
	if d := time.Duration(x.window.For); d > 0 {
		for n < len(x.readings) && now-x.readings[n].mono > d {
			n++
		}
	}
	most := maxReadings
	if x.window.Count > 0 {
		most = x.window.Count
	}
	n = max(n, len(x.readings)-most)
	x.readings = slices.Delete(x.readings, 0, n)
}

// result computes the value from what there is; out is the reading it goes into.
func (e *Engine) result(x *calc, out devices.Reading) (devices.Reading, bool) {
	env := &calcScene{scene{e: e, inst: noInstance, ctx: noContext, now: out.At}, make([]any, 0, len(x.members)), nil}
	if x.maps {
		env.members = make(map[string]any, len(x.members))
	}
	keys := x.of
	if !x.list {
		if len(x.sorted) != len(x.members) {
			x.sorted = slices.Sorted(maps.Keys(x.members))
		}
		keys = x.sorted
	}
	for _, key := range keys {
		m := x.members[key]
		if x.maxAge > 0 && out.At.Mono-m.mono > x.maxAge {
			continue
		}
		if x.maps {
			env.members[key] = m.value
		}
		env.readings = append(env.readings, m.value)
	}
	if (x.batch != Span{} || x.window != Span{}) {
		env.readings = env.readings[:0]
		for _, r := range x.readings {
			env.readings = append(env.readings, r.value)
		}
	}
	if (x.batch != Span{}) {
		x.readings = nil
	}
	if len(env.readings) == 0 || x.formula == nil {
		return out, false
	}
	v, err := x.formula.Eval(env)
	if err != nil {
		if !errors.Is(err, formula.ErrMissing) {
			x.errors++
			x.err = err.Error()
		}
		return out, false
	}
	out.Value, out.Text = v, valueText(v)
	at := out.At
	e.registry.Apply(out)
	out, _ = e.registry.Last(x.name)
	out.At = at // found again it is as old as it was there, but this happens now
	if e.Turns(out) {
		e.moved(x) // not only noted
	}
	return out, true
}

// noInstance and noContext are what a calc has in place of a rule's.
var (
	noInstance = &instance{rule: noRule, moreOfInstance: new(moreOfInstance)}
	noContext  = &context{trigger: noTrigger}
)

// A calcScene is what the expression of a calc sees.
type calcScene struct {
	scene
	readings []any
	members  map[string]any
}

// Value is what a name stands for.
func (s *calcScene) Value(name string) (any, bool) {
	switch name {
	case "readings":
		return s.readings, true
	case "members":
		return s.members, true
	}
	return s.e.value(name)
}

// arm starts a timed batch.
func (x *calc) arm(e *Engine, from time.Duration) {
	if d := time.Duration(x.batch.For); d > 0 {
		e.timers.set(&x.full, timer{calc: x, kind: batchDue}, from+d)
	}
}

// expire is the end of a timed batch. An empty one says nothing.
func (x *calc) expire(e *Engine, now devices.Now) {
	due := now.Mono
	x.full = nil
	x.arm(e, due)
	e.noted(x)
	if len(x.readings) == 0 {
		return
	}
	if out, ok := e.result(x, devices.Reading{Source: x.name, At: now, Origin: devices.Origin{By: "time"}}); ok {
		e.queue = append(e.queue, out)
	}
}
