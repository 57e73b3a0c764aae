package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
)

// A machine is in one state; its moves lead to others. Its triggers and runs are
// those of a rule, so each edge is tracked in every state.
type machine struct {
	name    string // "alarm"
	rule    *rule
	topic   string
	initial string
	states  []string
	moves   []move

	state string
	after []*timer // of the moves from this state that come by time
	by    uint64   // the decision that led to it
	moved arrival  // when it moved last: one move a message
	step  uint64   // the same of what is no message
}

// An arrival is a message, which may make several readings: what was reported at one time
// on one topic.
type arrival struct {
	report uint64
	topic  string
}

// A move leads from some states to one.
type move struct {
	text       string
	from       []string // nil is any but to
	to         string
	after      time.Duration
	conditions []condition
	do         int // where in the program; 0 if there is nothing to do
}

// machineName is the name of one of several: "stairs_kitchen".
func machineName(name string, params map[string]any) string {
	for _, key := range slices.Sorted(maps.Keys(params)) {
		name += "_" + strings.ToLower(devices.Text(params[key]))
	}
	return name
}

func (c *compiler) machines() {
	for _, cfg := range c.cfg.Machine {
		at := c.root.Key("machine").Key(cfg.Name)
		for _, entry := range cfg.Value.Entries {
			c.machine(machineName(cfg.Name, entry.Params), entry, at)
		}
	}
}

func (c *compiler) machine(name string, entry Entry[MachineBody], at config.Place) {
	cfg := entry.Body
	m := &machine{name: name, topic: cfg.Topic, initial: cfg.Initial, state: cfg.Initial}
	if entry.Params != nil && !isParameter(name) {
		at.Key("each").Mistake("the machine would be called %s: want items made of a-z, 0-9 and _", name)
	}
	r := &rule{name: "machine." + name, enabled: true, mode: "parallel", max: MaxInstances, moreOfRule: &moreOfRule{params: entry.Params, machine: m}}
	m.rule = r
	if cfg.Topic != "" {
		c.topic(cfg.Topic, at.Key("topic"))
	}
	add := func(states ...string) {
		for _, s := range states {
			if s != "*" && !slices.Contains(m.states, s) {
				m.states = append(m.states, s)
			}
		}
	}
	if plainState(cfg.Initial, at.Key("initial")); cfg.Initial == "*" {
		at.Key("initial").Mistake(`"*" is any state, and stands in from: want the first state`)
	}
	add(cfg.Initial)
	for i, mv := range cfg.Moves {
		place := at.Key("moves").Index(i)
		for j, t := range mv.On {
			where := place.Key("on").Index(j)
			compiled := c.trigger(t, where)
			compiled.index, compiled.move = len(r.triggers), i
			if compiled.id == "" {
				compiled.id = fmt.Sprint(i + 1)
			}
			for _, key := range []string{"min_on"} {
				if where.Key(key).Given() {
					where.Key(key).Mistake("%s is for a rule with an end", key)
				}
			}
			r.triggers = append(r.triggers, compiled)
		}
		for j, from := range mv.From {
			plainState(from, place.Key("from").Index(j))
		}
		plainState(mv.To, place.Key("to"))
		if mv.To == "*" {
			place.Key("to").Mistake(`"*" is any state, and stands in from: want the state to go to`)
		}
		add(mv.From...)
		add(mv.To)
		switch on := len(mv.On) > 0; {
		case on == (mv.After > 0):
			place.Mistake(`a move has one of on = a trigger and after = "30s"`)
		}
	}
	// A run needs a trigger to be of: that of the moves by time.
	timed := &trigger{index: len(r.triggers), id: "after", text: "after", implicit: true, moreOfTrigger: &moreOfTrigger{move: -1}}
	timed.event = true
	r.triggers = append(r.triggers, timed)
	r.captures = c.captures(r.triggers)
	b := &builder{compiler: c, r: r, scope: c.scope(r.captures, entry.Params), params: entry.Params, machine: true}
	b.end()
	for i, mv := range cfg.Moves {
		place := at.Key("moves").Index(i)
		to := move{to: mv.To, after: time.Duration(mv.After), text: fmt.Sprintf("%s -> %s", strings.Join(mv.From, ", "), mv.To)}
		if !slices.Contains(mv.From, "*") {
			to.from = mv.From
		} else if len(mv.From) > 1 {
			place.Key("from").Mistake(`"*" is any state already`)
		}
		secret := r.secret
		r.secret = false
		to.conditions = b.conditionsIn(mv.If, place.Key("if"), b.scope)
		if len(mv.Do) > 0 {
			to.do = b.here()
			b.actions(mv.Do, place.Key("do"))
			b.end()
		}
		if r.secret { // what other moves hear of may be told
			for _, t := range r.triggers {
				if t.move == i {
					c.hide(t)
				}
			}
		}
		r.secret = r.secret || secret
		m.moves = append(m.moves, to)
	}
	c.reachable(m, cfg, at)
	m.after = make([]*timer, len(m.moves))
	r.hash = hash(version, cfg, entry.Params)
	c.holders[name] = m
	if _, ok := c.registry.Last(name); !ok {
		c.registry.Apply(devices.Reading{Source: name, Value: m.initial, Text: m.initial, Initial: true})
	}
	c.add(r)
}

// plainState refuses what looks as if it were computed.
func plainState(name string, at config.Place) {
	switch {
	case name == "":
		at.Mistake(`the name of the state is empty: want one such as "armed"`)
	case strings.ContainsAny(name, "{}"):
		at.Mistake("want a plain name, written out in each move; { stands here only for what each gives")
	}
}

// reachable warns of states that no move leads to.
func (c *compiler) reachable(m *machine, cfg MachineBody, at config.Place) {
	for i, mv := range cfg.Moves {
		for j, from := range mv.From {
			led := from == "*" || from == m.initial || slices.ContainsFunc(cfg.Moves, func(o Move) bool { return o.To == from })
			if !led {
				place := at.Key("moves").Index(i).Key("from").Index(j)
				if near, ok := config.Nearest(from, append([]string{m.initial}, m.targets()...)); ok {
					place.Warn("no move leads to %s, did you mean %q?", from, near)
				} else {
					place.Warn("no move leads to %s, so this one is never taken", from)
				}
			}
		}
	}
}

func (m *machine) targets() []string {
	var list []string
	for _, mv := range m.moves {
		list = append(list, mv.to)
	}
	return list
}

// from reports whether a move leads away from a state.
func (mv *move) leaves(state string) bool {
	if mv.from == nil {
		return state != mv.to
	}
	return slices.Contains(mv.from, state)
}

// move is a trigger of a move that fired.
func (e *Engine) move(m *machine, inst *instance, t *trigger, now devices.Now, ctx *context, in *devices.Reading) {
	mv := &m.moves[t.move]
	if in != nil && (in.Topic != "" && e.report != 0 && m.moved == (arrival{e.report, in.Topic}) || m.step == e.steps && m.step != 0) {
		return // one move a message
	}
	if !mv.leaves(m.state) {
		return
	}
	d := e.decision(inst, now, t.text, in, Fired)
	d.Follows = ctx.by
	if !e.allow(mv.conditions, inst, ctx, now, &d) {
		d.Outcome = Blocked
		e.decide(d)
		return
	}
	if in != nil {
		m.moved, m.step = arrival{e.report, in.Topic}, e.steps
	}
	e.enter(m, mv, inst, t, ctx, now, &d)
}

// enter goes to the state that a move leads to.
func (e *Engine) enter(m *machine, mv *move, inst *instance, t *trigger, ctx *context, now devices.Now, d *Decision) {
	ctx.origin = ctx.origin.Then(m.rule.name)
	ctx.origin.Decision = d.ID
	ctx.n = 1
	was := m.state
	m.state, m.by = mv.to, d.ID
	e.moved(m.rule.only)
	e.armAfter(m, now)
	d.Why = was + " -> " + mv.to
	if was != mv.to {
		d.Sets = append(d.Sets, m.name+" = "+mv.to)
		d.Entered = append(d.Entered, m.standing())
		if m.topic != "" {
			d.Commands = e.emit(d.Commands, devices.Command{Topic: m.topic, Payload: mv.to, Retain: true, Origin: ctx.origin})
		}
		e.derive(devices.Reading{Source: m.name, Value: mv.to, At: now, Origin: ctx.origin})
	}
	if mv.do > 0 {
		e.start(&run{inst: inst, trigger: t, ctx: ctx}, mv.do, now, d)
	}
	e.decide(*d)
}

// armAfter sets the deadlines of the state that was entered now.
func (e *Engine) armAfter(m *machine, now devices.Now) {
	for i := range m.moves {
		e.timers.clear(&m.after[i])
		if mv := &m.moves[i]; mv.after > 0 && mv.leaves(m.state) {
			e.timers.set(&m.after[i], timer{inst: m.rule.only, kind: afterDue, until: i}, now.Mono+mv.after)
		}
	}
}

// after is a machine that has been in its state for so long.
func (e *Engine) after(m *machine, i int, now devices.Now) {
	m.after[i] = nil
	mv := &m.moves[i]
	t := m.rule.triggers[len(m.rule.triggers)-1]
	ctx := newContext(t, nil, devices.Origin{By: "time"})
	d := e.decision(m.rule.only, now, "after "+span(mv.after), nil, Fired)
	d.Follows = m.by
	if !e.allow(mv.conditions, m.rule.only, ctx, now, &d) {
		d.Outcome = Blocked
		e.decide(d)
		return
	}
	e.enter(m, mv, m.rule.only, t, ctx, now, &d)
}

// Machines is where all machines stand, in the order of the file.
func (e *Engine) Machines() []Standing {
	var list []Standing
	for _, r := range e.rules {
		if r.machine != nil {
			list = append(list, r.machine.standing())
		}
	}
	return list
}

func (m *machine) standing() Standing { return Standing{m.name, m.state, m.states} }

// Move takes a machine to a state because somebody asked for it in the message in. It
// goes there by a move that its table has from where it is, whatever sets that off
// otherwise, and only if the conditions of the move allow it: who may ask for a state
// is not thereby one who knows the code. The first such move is taken, and what it does
// is done. Where no move leads there the decision says so. It reports false if there is no
// such machine or state.
func (e *Engine) Move(name, to string, in devices.Reading, now devices.Now) ([]Decision, bool) {
	e.now, e.derived = now, 0
	e.pass(now)
	m, known := e.holders[name].(*machine)
	switch {
	case !known || !slices.Contains(m.states, to):
		return e.settle(), false
	case m.state == to:
		return e.settle(), true
	}
	inst, t := m.rule.only, m.rule.triggers[len(m.rule.triggers)-1]
	ctx := newContext(t, &in, in.Origin)
	blocked := e.decision(inst, now, "asked for "+to, &in, Blocked)
	blocked.Why = "no move leads from " + m.state + " to " + to
	for i := range m.moves {
		mv := &m.moves[i]
		if mv.to != to || !mv.leaves(m.state) {
			continue
		}
		d := e.decision(inst, now, "asked for "+to, &in, Fired)
		if !e.allow(mv.conditions, inst, ctx, now, &d) {
			d.Outcome = Blocked
			blocked = d
			continue
		}
		e.enter(m, mv, inst, t, ctx, now, &d)
		return e.settle(), true
	}
	e.decide(blocked)
	return e.settle(), true
}
