package rules

import (
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
)

// A variable is a value that actions set. The value itself is in the registry.
type variable struct {
	news
	name    string
	topic   string
	initial any
	back    *timer // when it is its initial again
	by      uint64 // the decision that set it until then
}

func (c *compiler) variable(name string, cfg Variable, at config.Place) {
	v := &variable{name: name, topic: cfg.Topic}
	if cfg.Topic != "" {
		c.topic(cfg.Topic, at.Key("topic"))
	}
	if cfg.Initial != nil {
		v.initial = plainValue(cfg.Initial, at.Key("initial"))
	}
	c.variables = append(c.variables, v)
	c.holders[name] = v
	if _, ok := c.registry.Last(name); !ok && v.initial != nil {
		c.registry.Apply(devices.Reading{Source: name, Value: v.initial, Text: valueText(v.initial), Initial: true})
	}
}

// plainValue is a configured value in the types that readings have.
func plainValue(raw any, at config.Place) any {
	if v, ok := scalar(raw); ok {
		return v
	}
	switch raw := raw.(type) {
	case map[string]any:
		m := make(map[string]any, len(raw))
		for k, e := range raw {
			m[k] = plainValue(e, at.Key(k))
		}
		return m
	case []any:
		list := make([]any, len(raw))
		for i, e := range raw {
			list[i] = plainValue(e, at.Index(i))
		}
		return list
	}
	at.Mistake("want text, a number, true/false, a list or a table, not a date")
	return ""
}

func (e *Engine) isVariable(name string) bool {
	_, ok := e.holders[name].(*variable)
	return ok
}

// set gives a variable a value, for a time if the action says so; the next action
// sees it.
func (e *Engine) set(name string, v any, in *instr, wait time.Duration, secret bool, origin devices.Origin, now devices.Now, d *Decision) {
	x := e.holders[name].(*variable)
	until := now.Mono + wait
	if in.extend && x.back != nil {
		until = x.back.due + wait
	}
	until = min(until, now.Mono+maxLasting)
	if e.timers.clear(&x.back); wait > 0 {
		x.by = d.ID
		e.timers.set(&x.back, timer{variable: x, kind: backDue}, until)
	}
	old, known := e.registry.Last(name)
	if _, toggle := v.(devices.Toggle); toggle {
		on, _ := devices.Bool(old.Value)
		v = !on
	}
	text := valueText(v)
	same := known && old.Text == text
	e.moved(x)
	if same && in.changed {
		return
	}
	lasts := ""
	if wait > 0 {
		lasts = " for " + span(until-now.Mono)
	}
	told := text
	if secret {
		told = "***"
	}
	d.Sets = append(d.Sets, name+" = "+told+lasts)
	if x.topic != "" && !same {
		d.Commands = e.emit(d.Commands, devices.Command{Topic: x.topic, Payload: text, Retain: true, Origin: origin})
	}
	origin.Decision = d.ID
	e.derive(devices.Reading{Source: name, Value: v, At: now, Origin: origin})
}

// maxLasting is how far a time may be extended.
const maxLasting = 10 * 366 * 24 * time.Hour

// noWish is an instruction that asks for nothing special.
var noWish = &instr{moreOfInstr: theEnd.moreOfInstr}

// expire is a variable that has been set for long enough.
func (x *variable) expire(e *Engine, now devices.Now) {
	x.back = nil
	d := Decision{ID: e.number(), Follows: x.by, At: now, Rule: "variable." + x.name, Trigger: "its time is over", Outcome: Fired}
	e.set(x.name, x.initial, noWish, 0, false, devices.Origin{By: "time"}, now, &d)
	e.decide(d)
}

// baseNameOf strips the instance: "rule.x" of "rule.x{plug}".
func baseNameOf(key string) string {
	name, _, _ := strings.Cut(key, "{")
	return name
}
