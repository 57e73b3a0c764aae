package rules

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"hearth/devices"
	"hearth/rules/formula"
)

// A scene is what an expression of a rule sees.
type scene struct {
	e      *Engine
	inst   *instance
	ctx    *context
	params map[string]any // of an action's each
	now    devices.Now
}

// Value is what a name stands for; see [formula.Env].
func (s *scene) Value(name string) (any, bool) {
	if v, ok := s.params[name]; ok {
		return v, true
	}
	if v, ok := s.inst.rule.params[name]; ok {
		return v, true
	}
	if v, ok := s.inst.capture(name); ok {
		return v, true
	}
	r := s.ctx.reading
	switch name {
	case "value":
		if r == nil || r.Bad != "" {
			return nil, false
		}
		return r.Value, true
	case "old":
		if r == nil || r.Old == nil {
			return nil, false
		}
		return r.Old, true
	case "msg":
		if r == nil || r.Message == nil {
			return nil, false
		}
		return r.Message.JSON(), true
	case "topic":
		if r == nil {
			return nil, false
		}
		return r.Topic, r.Topic != ""
	case "trigger":
		return s.ctx.trigger.id, true
	case "n":
		return float64(s.ctx.n), true
	case "timed_out":
		return s.ctx.timedOut, true
	}
	return s.e.value(name)
}

// value is the newest value of something that has a name.
func (e *Engine) value(name string) (any, bool) {
	if d := e.devices[name]; d != nil {
		name = d.source("").String()
	}
	if e.parts[name].Takes == "cover" {
		return some(e.registry.Percent(name))
	}
	r, ok := e.registry.Last(name)
	if on, known := e.registry.Level(name); known {
		if _, boolean := r.Value.(bool); boolean || !ok {
			return on, true // of an output: what it was told is newer
		}
	}
	return r.Value, ok
}

// some is a value that may not be known.
func some(f float64, known bool) (any, bool) { return f, known }

// Property is the newest value of a property of a device, or of what is wired.
func (s *scene) Property(name, property string) (any, bool) {
	if p, wired := s.e.parts[name]; wired {
		if p.Takes == "level" && property == "level" {
			return some(s.e.registry.Percent(name)) // what it was told is newer
		}
		r, ok := s.e.registry.Last(devices.Source{Name: name, Property: property}.String())
		return r.Value, ok
	}
	d := s.e.devices[name]
	if d == nil {
		return nil, false
	}
	r, ok := s.e.registry.Last(d.source(property).String())
	return r.Value, ok
}

// State is the newest value of a source.
func (s *scene) State(source string) (any, bool) {
	r, ok := s.e.registry.Last(s.inst.source(s.e, source))
	return r.Value, ok
}

// Age is how many seconds ago a source reported.
func (s *scene) Age(source string) (float64, bool) {
	r, ok := s.e.registry.Last(s.inst.source(s.e, source))
	if !ok {
		return 0, false
	}
	age, ok := s.e.age(&r, s.now)
	return age.Seconds(), ok
}

// Secret is one of the house.
func (s *scene) Secret(name string) (string, bool) {
	if s.e.house.Secret == nil {
		return "", false
	}
	return s.e.house.Secret(name)
}

// erred counts an expression that failed. One that only misses a value is no
// mistake of its writer.
func (e *Engine) erred(r *rule, err error) {
	if !errors.Is(err, formula.ErrMissing) {
		r.errors++
		r.err = err.Error()
	}
}

func (e *Engine) failed(r *rule, d *Decision, why string) {
	r.errors++
	r.err = why
	d.because(why)
}

func (d *Decision) because(why string) {
	if d.Why != "" {
		why = d.Why + "; " + why
	}
	d.Why = why
}

// eval computes a value; false if there is none, of which d then says why.
func (e *Engine) eval(v value, in *instr, inst *instance, ctx *context, now devices.Now, d *Decision) (any, bool) {
	var out any
	var err error
	switch v.kind {
	case constant:
		return v.constant, true
	case text:
		out, err = v.text.Text(&scene{e: e, inst: inst, ctx: ctx, params: in.params, now: now})
	case computed:
		out, err = v.formula.Eval(&scene{e: e, inst: inst, ctx: ctx, params: in.params, now: now})
	case table:
		return e.table(v.constant, in, inst, ctx, now, d)
	case before:
		out, ok := inst.latches[ctx.trigger.index].befores[in.off]
		return out, ok
	case carry:
		out, ok := carried(ctx.reading, ctx.trigger.carries, ctx.trigger.pathed)
		switch x := out.(type) {
		case bool:
			out = x != v.invert
		case float64:
			switch {
			case v.invert && e.parts[in.target.output].levels():
				out = 100 - x
			case v.invert:
				out = 0 - x // not -0
			}
		}
		return out, ok
	case step:
		return e.step(v, in, inst, ctx, now, d)
	default:
		return nil, false
	}
	if err != nil {
		e.erred(inst.rule, err)
		d.because(fmt.Sprintf("%s gets nothing: %v", in.where(), err))
		return nil, false
	}
	return out, true
}

// step is the level that is so much more than the newest known, within the limits.
func (e *Engine) step(v value, in *instr, inst *instance, ctx *context, now devices.Now, d *Decision) (any, bool) {
	stands, ok := e.standing(in, inst, ctx, now, d)
	if !ok {
		d.because("where " + in.target.text + " stands is not known, so it can't be stepped")
		return nil, false
	}
	to := nano(stands + v.constant.(float64))
	if math.IsInf(to, 0) {
		to = stands
	}
	if least := in.limits[0]; least != nil {
		to = max(to, *least)
	}
	if most := in.limits[1]; most != nil {
		to = min(to, *most)
	}
	return to, true
}

func (in *instr) where() string {
	if in.http != nil {
		return "the request"
	}
	return in.target.text
}

// table is a configured table with the holes of its texts filled.
func (e *Engine) table(raw any, in *instr, inst *instance, ctx *context, now devices.Now, d *Decision) (any, bool) {
	switch raw := raw.(type) {
	case map[string]any:
		m := make(map[string]any, len(raw))
		for k, v := range raw {
			out, ok := e.table(v, in, inst, ctx, now, d)
			if !ok {
				return nil, false
			}
			m[k] = out
		}
		return m, true
	case []any:
		list := make([]any, len(raw))
		for i, v := range raw {
			out, ok := e.table(v, in, inst, ctx, now, d)
			if !ok {
				return nil, false
			}
			list[i] = out
		}
		return list, true
	case value:
		return e.eval(raw, in, inst, ctx, now, d)
	}
	return raw, true
}

// carried is a reading as the type that a link carries.
func carried(in *devices.Reading, kind string, pathed bool) (any, bool) {
	if in == nil || in.Bad != "" {
		return nil, false
	}
	switch kind {
	case "boolean":
		if _, number := in.Value.(float64); number && pathed {
			return nil, false // JSON has booleans; a number there is a number
		}
		on, ok := devices.Bool(in.Value)
		return on, ok
	case "number":
		f, ok := in.Value.(float64)
		return f, ok
	case "text":
		s, ok := in.Value.(string)
		return s, ok
	case "level", "cover": // whatever such a part takes
		return Part{Takes: kind}.order(in.Value)
	}
	return in.Text, true // json: whatever it is, as it was sent
}

// valueText is a value as a topic gets it: booleans as ON and OFF, numbers short,
// lists and maps as JSON.
func valueText(v any) string {
	switch v.(type) {
	case float64, []any, map[string]any:
		return formula.Print(v)
	}
	return devices.Text(v)
}

// A sending is a value on its way to a target.
type sending struct {
	in   *instr
	v    value
	owed bool
}

// endings is what the end of an episode sends.
func (e *Engine) endings(inst *instance, t *trigger, ctx *context) []sending {
	l := &inst.latches[t.index]
	var list []sending
	for i, pc := range inst.rule.offs {
		in := inst.rule.program[pc]
		if in.always || l.sent&(1<<i) != 0 {
			list = append(list, sending{in, in.offValue, true})
		}
	}
	return list
}

// carryOut sends, or sets a variable.
func (e *Engine) carryOut(s sending, inst *instance, ctx *context, now devices.Now, d *Decision) {
	if s.in.offValue.kind == before && !s.owed {
		e.remember(s.in, inst, ctx)
	}
	if t, ok := e.aim(s.in, inst, ctx, now, d); ok && t.variable != "" {
		if v, ok := e.eval(s.v, s.in, inst, ctx, now, d); ok {
			in := s.in
			if in.op != opSend { // a ramp's time is not the variable's
				in = noWish
			}
			wait, ok := e.pause(in, inst, ctx, now, d)
			if !ok {
				return
			}
			e.set(t.variable, v, in, wait, s.v.secret, ctx.origin, now, d)
		}
		return
	}
	c, ok := e.sends(s, inst, ctx, now, d)
	if !ok || s.in.changed && !s.owed && e.same(s.in, c) {
		return
	}
	d.Commands = e.emit(d.Commands, c)
}

// remember notes what was there when the episode began.
func (e *Engine) remember(in *instr, inst *instance, ctx *context) {
	l := &inst.latches[ctx.trigger.index]
	if _, ok := l.befores[in.off]; ok {
		return
	}
	var v any
	var ok bool
	switch t := in.target; {
	case t.output != "":
		v, ok = e.before(t.output)
	case t.variable != "":
		v, ok = e.value(t.variable)
	case t.device != nil:
		v, ok = e.newest(t.device.source(t.property).String())
	}
	if ok {
		if l.befores == nil {
			l.befores = make(map[int]any)
		}
		l.befores[in.off] = v
	}
}

// aim is the target, with the holes of its name filled.
func (e *Engine) aim(in *instr, inst *instance, ctx *context, now devices.Now, d *Decision) (target, bool) {
	t := in.target
	if t.name == nil {
		return t, true
	}
	name, err := t.name.Text(&scene{e: e, inst: inst, ctx: ctx, params: in.params, now: now})
	if err != nil {
		e.erred(inst.rule, err)
		d.because(fmt.Sprintf("%s gets nothing: %v", t.text, err))
		return t, false
	}
	base, property, _ := strings.Cut(name, ".")
	switch {
	case strings.Contains(name, "/"):
	case e.devices[base] != nil:
		dev := e.devices[base]
		if property == "" {
			property = dev.main
		}
		return target{device: dev, property: property, text: name}, true
	case e.isVariable(name):
		return target{variable: name, text: name}, true
	case e.parts[name].Takes != "":
		return target{output: name, text: name}, true
	}
	e.failed(inst.rule, d, "nothing that can be set is called "+short(name))
	return t, false
}

// sends is the command of a sending; false if there is none.
func (e *Engine) sends(s sending, inst *instance, ctx *context, now devices.Now, d *Decision) (devices.Command, bool) {
	c := devices.Command{Origin: ctx.origin, Owed: s.owed, Secret: s.v.secret}
	t, ok := e.aim(s.in, inst, ctx, now, d)
	if !ok {
		return c, false
	}
	v, ok := e.eval(s.v, s.in, inst, ctx, now, d)
	if !ok {
		return c, false
	}
	switch {
	case t.output != "":
		c.Output = t.output
		if _, toggle := v.(devices.Toggle); toggle {
			c.Value, c.Journal = v, true
			return c, true
		}
		told, ok := e.parts[t.output].order(v)
		if !ok {
			e.failed(inst.rule, d, fmt.Sprintf("%s wants %s, not %s", t.output, or(e.parts[t.output].orders()...), short(valueText(v))))
			return c, false
		}
		if level, number := told.(float64); number {
			told = d.bounded(t.output, level)
		}
		c.Value = told
	case t.device != nil:
		c.Source = t.device.source(t.property).String()
		if _, toggle := v.(devices.Toggle); toggle {
			known, _ := e.newest(c.Source)
			on, _ := devices.Bool(known)
			v, c.Journal = !on, true
		}
		c.Value = v
		if t.device.announced() {
			c.Device, c.Property = t.device.name, t.property
		} else {
			c.Topic, c.Payload = t.device.command(t.property, v)
		}
	default:
		c.Topic = t.plain
		if t.topic != nil {
			topic, err := t.topic.Text(&scene{e: e, inst: inst, ctx: ctx, params: s.in.params, now: now})
			if err == nil {
				err = devices.CheckTopic(topic)
			}
			if err != nil {
				e.erred(inst.rule, err)
				d.because(fmt.Sprintf("%s gets nothing: %v", t.text, err))
				return c, false
			}
			if !mayPublish(topic) {
				e.failed(inst.rule, d, short(topic)+" is what the hub itself reports")
				return c, false
			}
			c.Topic = topic
			if len(t.topic.Secrets()) > 0 {
				c.Secret, c.Shown = true, t.text
			}
		}
		c.Payload, c.Retain, c.QoS = valueText(v), s.in.retain, s.in.qos
	}
	return c, true
}

// same reports whether a command would change nothing of what is known.
func (e *Engine) same(in *instr, c devices.Command) bool {
	if c.Output != "" {
		return e.stands(c.Output, c.Value)
	}
	if d := in.target.device; d != nil {
		known, ok := e.newest(c.Source)
		if !ok || d.announced() {
			return ok && valueText(known) == valueText(c.Value)
		}
		_, payload := d.command(in.target.property, known)
		return payload == c.Payload
	}
	sent, was := e.sent[c.Topic]
	if last, ok := e.registry.Last(c.Topic); ok && (!was || !last.Restored && last.At.Mono > sent.at) {
		return last.Text == c.Payload
	}
	return was && sent.payload == c.Payload
}

// sent is what was published last on a topic.
type sent struct {
	payload string
	at      time.Duration // monotonic
	secret  bool          // so that nobody else is to know it
}

// told is what a property of a device was told last.
type told struct {
	value  any
	at     time.Duration // monotonic
	secret bool          // so that nobody else is to know it
}

// newest is the newer of what a property of a device reported and what it was
// told.
func (e *Engine) newest(source string) (any, bool) {
	last, reported := e.registry.Last(source)
	if t, ok := e.told[source]; ok && (!reported || last.Restored || last.At.Mono <= t.at) {
		return t.value, true
	}
	return last.Value, reported
}

// emit appends a command, with a toggle turned into the level it means, so
// that a command repeated after a crash does no harm.
func (e *Engine) emit(out []devices.Command, c devices.Command) []devices.Command {
	switch {
	case c.Output != "":
		if _, toggle := c.Value.(devices.Toggle); toggle {
			on, _ := e.registry.Level(c.Output)
			c.Value = !on
		}
		if level, number := c.Value.(float64); number && !e.parts[c.Output].levels() {
			c.Value = level > 0 // it is owed since the output had levels
		}
		e.registry.Command(c.Output, c.Value)
		e.strike(c.Output)
	case c.Source != "":
		e.told[c.Source] = told{c.Value, e.now.Mono, c.Secret}
	case c.Topic != "" && e.mindful[c.Topic]:
		e.sent[c.Topic] = sent{c.Payload, e.now.Mono, c.Secret}
	}
	return append(out, c)
}

func (e *Engine) emitAll(out, list []devices.Command) []devices.Command {
	for _, c := range list {
		out = e.emit(out, c)
	}
	return out
}
