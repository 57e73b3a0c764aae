package rules

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
)

// An action is one thing to do, made ready.
type action struct {
	kind    actionKind
	output  string // or
	topic   string
	on, off any // nil: nothing is sent; for an output a bool or Toggle, for a topic the payload
	retain  bool
	changed bool
	wait    time.Duration // of a pulse
	invert  bool          // of carry
	carries string        // of carry
}

type actionKind byte

const (
	send  actionKind = iota // on now; off at the end of the episode
	pulse                   // on, wait, off
	carry                   // a link: the reading itself
)

// A run is one going-through of a rule's actions.
type run struct {
	trigger *trigger
	origin  devices.Origin
	cause   *devices.Reading
	step    int
	due     *timer           // it waits
	owed    *devices.Command // what must be sent whatever becomes of the run
}

// run is the one that a new firing of t meets: in a rule of episodes that of
// the same trigger, else any.
func (t *trigger) run(r *rule) *run {
	for _, run := range r.runs {
		if !r.ends() || run.trigger == t {
			return run
		}
	}
	return nil
}

// drop takes a run away; what it owes is the caller's to send.
func (e *Engine) drop(r *rule, gone *run) {
	e.timers.clear(&gone.due)
	r.runs = slices.DeleteFunc(r.runs, func(x *run) bool { return x == gone })
}

// proceed goes on with a run until it waits or is over, and returns the
// commands on the way.
func (e *Engine) proceed(r *rule, run *run, now devices.Now) []devices.Command {
	var out []devices.Command
	if run.owed != nil {
		out = e.emit(out, *run.owed)
		run.owed = nil
		run.step++
	}
	for ; run.step < len(r.actions); run.step++ {
		a := r.actions[run.step]
		switch a.kind {
		case carry:
			if c, ok := a.carry(run.cause); ok {
				c.Origin = run.origin
				out = e.emit(out, c)
			}
		case send:
			if a.on != nil {
				out = e.emitIf(out, a, a.command(a.on, run.origin))
			}
		case pulse:
			on := a.command(a.on, run.origin)
			on.Journal = true
			out = e.emit(out, on)
			off := a.command(a.off, run.origin)
			off.Owed = true
			run.owed = &off
			e.timers.set(&run.due, timer{rule: r, kind: waitOver, run: run}, now.Mono+a.wait)
			if !slices.Contains(r.runs, run) {
				r.runs = append(r.runs, run)
			}
			return out
		}
	}
	e.drop(r, run)
	if t := run.trigger; t.began && !r.hasOff && (t.event || len(t.untils) == 0) {
		// What has no truth has no other end: the episode is over with its run.
		t.began = false
		e.timers.clear(&t.earliest)
		for _, u := range t.untils {
			e.timers.clear(&u.since)
		}
	}
	return out
}

// offs is what the end of an episode sends.
func (r *rule) offs(origin devices.Origin) []devices.Command {
	var list []devices.Command
	for _, a := range r.actions {
		if a.kind == send && a.off != nil {
			c := a.command(a.off, origin)
			c.Owed = true
			list = append(list, c)
		}
	}
	return list
}

func (a action) command(value any, origin devices.Origin) devices.Command {
	if a.output != "" {
		return devices.Command{Output: a.output, Value: value, Origin: origin}
	}
	return devices.Command{Topic: a.topic, Payload: value.(string), Retain: a.retain, Origin: origin}
}

// emit appends a command, with a toggle turned into the level it means, so
// that a command repeated after a crash does no harm.
func (e *Engine) emit(out []devices.Command, c devices.Command) []devices.Command {
	if c.Output != "" {
		if _, toggle := c.Value.(devices.Toggle); toggle {
			on, _ := e.registry.Level(c.Output)
			c.Value = !on
		}
		e.registry.Command(c.Output, c.Value.(bool))
	}
	return append(out, c)
}

// emitIf leaves out what changes nothing, if the action asks for that.
func (e *Engine) emitIf(out []devices.Command, a action, c devices.Command) []devices.Command {
	if a.changed && c.Output != "" {
		if on, known := e.registry.Level(c.Output); known && c.Value == on {
			return out
		}
	}
	return e.emit(out, c)
}

// carry is the command of a link for one reading; false if the reading is of
// another type.
func (a action) carry(in *devices.Reading) (devices.Command, bool) {
	c := devices.Command{Output: a.output, Topic: a.topic, Retain: a.retain}
	v, ok := carried(in, a.carries)
	if !ok {
		return c, false
	}
	switch x := v.(type) {
	case bool:
		v = x != a.invert
	case float64:
		if a.invert {
			v = 0 - x // not -0
		}
	}
	if a.output != "" {
		c.Value = v
	} else {
		c.Payload = devices.Text(v)
	}
	return c, true
}

// carried is a reading as the type that a link carries.
func carried(in *devices.Reading, kind string) (any, bool) {
	if in == nil || in.Bad != "" {
		return nil, false
	}
	switch kind {
	case "boolean":
		on, ok := devices.Bool(in.Value)
		return on, ok
	case "number":
		f, ok := in.Value.(float64)
		return f, ok
	case "text":
		s, ok := in.Value.(string)
		return s, ok
	}
	return in.Text, true // json: whatever it is, as it was sent
}

// action compiles one configured action into one or, for a list of outputs,
// several.
func (c *compiler) action(cfg Action, at config.Place) []action {
	kinds := 0
	for _, set := range []bool{len(cfg.Set) > 0, cfg.Publish != "", cfg.Pulse != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		at.Mistake("an action does exactly one thing: set, publish or pulse")
		return nil
	}
	only := func(key string, set bool, where string) {
		if set {
			at.Key(key).Mistake("%s belongs to %s", key, where)
		}
	}
	only("to", cfg.To != nil && len(cfg.Set) == 0, "set")
	only("changed", cfg.Changed && len(cfg.Set) == 0, "set")
	only("payload", cfg.Payload != nil && cfg.Publish == "", "publish")
	only("retain", cfg.Retain && cfg.Publish == "", "publish")
	only("for", cfg.For != 0 && cfg.Pulse == "", "pulse")
	switch {
	case cfg.Publish != "":
		return c.publish(cfg, at)
	case cfg.Pulse != "":
		return c.pulse(cfg, at)
	}
	return c.set(cfg, at)
}

func (c *compiler) set(cfg Action, at config.Place) []action {
	a := action{kind: send, changed: cfg.Changed}
	switch {
	case cfg.To == nil && cfg.On == nil && cfg.Off == nil:
		at.Mistake(`set needs a level: to = true, to = "toggle", or on and off for the begin and the end`)
	case cfg.To != nil && (cfg.On != nil || cfg.Off != nil):
		at.Key("to").Mistake("to is for a level without an end; with on and off leave it out")
	case cfg.To != nil:
		a.on = level(cfg.To, true, at.Key("to"))
	default:
		if cfg.On != nil {
			a.on = level(cfg.On, false, at.Key("on"))
		}
		if cfg.Off != nil {
			a.off = level(cfg.Off, false, at.Key("off"))
		}
	}
	var list []action
	for i, name := range cfg.Set {
		c.output(name, at.Key("set").Index(i))
		a.output = name
		list = append(list, a)
	}
	return list
}

// level is a configured level: a boolean or an on/off word, or toggle.
func level(raw any, toggle bool, at config.Place) any {
	if s, ok := raw.(string); ok && toggle && strings.EqualFold(strings.TrimSpace(s), "toggle") {
		return devices.Toggle{}
	}
	if v, ok := scalar(raw); ok {
		if on, ok := devices.Bool(v); ok {
			return on
		}
	}
	if toggle {
		at.Mistake(`want true, false or "toggle"`)
	} else {
		at.Mistake("want true or false")
	}
	return false
}

func (c *compiler) publish(cfg Action, at config.Place) []action {
	a := action{kind: send, topic: cfg.Publish, retain: cfg.Retain}
	c.topic(cfg.Publish, at.Key("publish"))
	switch {
	case cfg.Payload != nil && (cfg.On != nil || cfg.Off != nil):
		at.Key("payload").Mistake("payload is for a message without an end; with on and off leave it out")
	case cfg.Payload != nil:
		a.on = payload(cfg.Payload, at.Key("payload"))
	case cfg.On == nil && cfg.Off == nil:
		at.Mistake(`publish needs a payload, or on and off for the begin and the end`)
	default:
		if cfg.On != nil {
			a.on = payload(cfg.On, at.Key("on"))
		}
		if cfg.Off != nil {
			a.off = payload(cfg.Off, at.Key("off"))
		}
	}
	return []action{a}
}

func (c *compiler) pulse(cfg Action, at config.Place) []action {
	a := action{kind: pulse, wait: time.Duration(cfg.For), on: true, off: false}
	a.output, a.topic = c.target(cfg.Pulse, at.Key("pulse"))
	if a.wait <= 0 && !at.Key("for").Given() {
		at.Mistake(`pulse needs its length: for = "60s"`)
	}
	if a.output != "" {
		for key, v := range map[string]any{"on": cfg.On, "off": cfg.Off} {
			if v != nil {
				at.Key(key).Mistake("a pulse of an output is on, then off; on and off are the payloads of a pulse to a topic")
			}
		}
		return []action{a}
	}
	a.on, a.off = "ON", "OFF"
	if cfg.On != nil {
		a.on = payload(cfg.On, at.Key("on"))
	}
	if cfg.Off != nil {
		a.off = payload(cfg.Off, at.Key("off"))
	}
	return []action{a}
}

// payload is the text that a configured payload is sent as.
func payload(raw any, at config.Place) string {
	text := plainText(raw, at)
	if s, ok := text.(string); ok {
		return s
	}
	if v, ok := scalar(text); ok {
		return devices.Text(v)
	}
	b, err := json.Marshal(text)
	if err != nil {
		at.Mistake("can't be sent as JSON: %v", err)
	}
	return string(b)
}

// plainText takes the braces {{ of every string in raw for plain ones. A single
// brace before a letter or ( would be a hole for an expression.
func plainText(raw any, at config.Place) any {
	switch raw := raw.(type) {
	case string:
		var b strings.Builder
		for i := 0; i < len(raw); i++ {
			b.WriteByte(raw[i])
			if raw[i] != '{' || i+1 == len(raw) {
				continue
			}
			switch next := raw[i+1]; {
			case next == '{':
				i++
			case next == '(' || next >= 'a' && next <= 'z' || next >= 'A' && next <= 'Z':
				at.Mistake("{%c opens an expression, which are not built yet; for a plain brace write {{", next)
				return raw
			}
		}
		return b.String()
	case map[string]any:
		m := make(map[string]any, len(raw))
		for k, v := range raw {
			m[k] = plainText(v, at.Key(k))
		}
		return m
	case []any:
		list := make([]any, len(raw))
		for i, v := range raw {
			list[i] = plainText(v, at.Index(i))
		}
		return list
	}
	return raw
}

func sameTarget(a, b devices.Command) bool { return a.Output == b.Output && a.Topic == b.Topic }
