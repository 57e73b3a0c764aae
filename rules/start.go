package rules

import (
	"slices"
	"time"

	"hearth/devices"
)

// Start is the start of the hub: call it once, after Restore and after what was
// found (retained messages, pin levels) has been stepped. Deadlines that passed
// while the hub was down happen now, once each; then what catch_up asks for;
// then the start triggers.
func (e *Engine) Start(now devices.Now) []Decision {
	e.now, e.derived, e.floor, e.known, e.restoring = now, 0, now.Mono, now.Known, false
	for _, r := range e.rules {
		for _, inst := range r.all() {
			e.listenAll(inst) // silence counts from now
		}
	}
	e.begun(now, false)
	if now.Known {
		e.clockKnown(now)
	}
	e.pass(now)
	e.booted = true
	if now.Known {
		e.planStart(now)
	}
	for _, r := range e.rules {
		for _, t := range r.triggers {
			if t.start && r.enabled && !r.off {
				e.begin(r.only, t, now, nil)
			}
		}
	}
	return e.settle()
}

// Reload takes the place of Start where the hub has been running: call it after
// Restore. What is known already is found at their start by the rules that are
// new; nothing of it concerns those that Restore has taken over.
func (e *Engine) Reload(now devices.Now) []Decision {
	e.now, e.derived, e.floor, e.known, e.restoring = now, 0, now.Mono, now.Known, false
	e.findAll(now)
	e.pass(now)
	e.booted, e.reloaded, e.reloading = true, true, false
	if now.Known {
		e.planStart(now)
	}
	return e.settle()
}

// findAll lets what was not taken over find what is known already.
func (e *Engine) findAll(now devices.Now) {
	for _, r := range e.rules {
		if r.only.kept {
			continue
		}
		e.listenAll(r.only)
	}
	for _, found := range e.registry.All() {
		found.At, found.Origin, found.Initial = now, devices.Origin{}, true
		if !e.isHolder(found.Source) {
			e.take(found, true)
		}
	}
	e.begun(now, true)
}

func (e *Engine) isHolder(name string) bool { return e.holders[name] != nil }

// begun lets what has a value of its own be found, and its deadlines begin.
func (e *Engine) begun(now devices.Now, newOnly bool) {
	for _, x := range e.calcs {
		if !x.kept {
			x.arm(e, now.Mono)
		}
	}
	for _, r := range e.rules {
		if m := r.machine; m != nil && !r.only.kept {
			e.armAfter(m, now)
		}
	}
	names := make([]string, 0, len(e.holders))
	for name := range e.holders {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if _, ok := e.holders[name].(*calc); ok && !newOnly {
			continue // computed from what was found, if it is new
		}
		if r, ok := e.registry.Last(name); ok {
			r.At, r.Origin, r.Initial = now, devices.Origin{}, true
			e.take(r, newOnly)
		}
	}
}

// Resume sends once more what episodes and long pulses hold on that were on when the
// hub stopped, for the stop has put the outputs into their safe state. Call it after
// Start.
func (e *Engine) Resume(now devices.Now) []Decision {
	e.now = now
	for _, r := range e.rules {
		for _, inst := range r.all() {
			e.resumePulses(inst, now)
			for _, t := range r.triggers {
				l := &inst.latches[t.index]
				if !l.again {
					continue
				}
				l.again = false
				d := e.decision(inst, now, t.text, nil, Went)
				d.Why, d.Follows = "its episode was on when the hub stopped", l.by
				ctx := l.of
				if ctx == nil {
					ctx = newContext(t, nil, devices.Origin{})
				}
				ctx.origin = devices.Origin{By: "time"}.Then(r.name)
				for _, s := range e.endings(inst, t, ctx) {
					if e.drops(s.in.target.output) && s.in.on.kind != none && l.sent&(1<<s.in.off) != 0 {
						e.carryOut(sending{s.in, s.in.on, false}, inst, ctx, now, &d)
					}
				}
				if len(d.Commands) > 0 {
					e.decide(d)
				}
			}
		}
	}
	return e.settle()
}

// resumePulses switches on again what long pulses hold on, for the rest of their
// time: a garden wants its water after a restart too.
func (e *Engine) resumePulses(inst *instance, now devices.Now) {
	for _, run := range inst.runs {
		for _, t := range run.threads {
			resumes := e.resumes(t, now)
			if t.again = false; !resumes {
				continue
			}
			d := e.decision(inst, now, run.trigger.text, nil, Went)
			d.Why, d.Follows = "its pulse was on when the hub stopped, "+left(t.due, now)+" to go", t.by
			t.by = d.ID
			on := devices.Command{Output: t.owed.Output, Value: any(true), Origin: devices.Origin{By: "time"}.Then(inst.rule.name)}
			if level := t.instr().on; level.kind == constant && level.constant != nil {
				on.Value = level.constant
			}
			delete(e.pulses, on.Output) // it is the same pulse
			d.Commands = e.emit(d.Commands, on)
			e.pulses[on.Output] = t
			e.decide(d)
		}
	}
}

// drops reports whether that is an output that may have lost over a restart what it
// was told. A cover stands where it stood, and must not come back to where a rule
// once had it from where a hand has put it since.
func (e *Engine) drops(output string) bool {
	return output != "" && e.parts[output].Takes != "cover"
}

// resumes reports whether a thread is in a pulse of an output that goes on after a
// restart.
func (e *Engine) resumes(t *thread, now devices.Now) bool {
	return t.again && t.owed != nil && e.drops(t.owed.Output) && t.owed.Value == false && t.instr().wait >= heldFor && t.due != nil && t.due.due > now.Mono
}

// clockKnown takes the downtime off the deadlines that were restored while the
// clock was not known, and lets all states be kept again with the wall clock's
// moments in them.
func (e *Engine) clockKnown(now devices.Now) {
	e.known, e.floor = true, now.Mono
	for _, t := range slices.Clone(e.timers.heap) {
		e.movedBy(t)
		if !t.wall.IsZero() {
			e.timers.move(t, byWall(t.wall, now, t.due))
			t.wall = time.Time{}
		}
	}
	for _, r := range e.rules {
		for _, inst := range r.all() {
			inst.knowClock(e, now)
		}
	}
	for _, x := range e.calcs {
		x.knowClock(now)
	}
	if e.booted && !e.started {
		e.planStart(now)
	}
}

func (x *calc) knowClock(now devices.Now) {
	correct := func(s sample) sample {
		if !s.wall.IsZero() {
			s.mono, s.wall = byWall(s.wall, now, s.mono), time.Time{}
		}
		return s
	}
	for key, m := range x.members {
		x.members[key] = correct(m)
	}
	for i, r := range x.readings {
		x.readings[i] = correct(r)
	}
}

// knowClock is clockKnown for what is no timer.
func (inst *instance) knowClock(e *Engine, now devices.Now) {
	if !inst.coolWall.IsZero() {
		inst.cool, inst.coolWall = byWall(inst.coolWall, now, inst.cool), time.Time{}
	}
	for i := range inst.levels {
		if l := &inst.levels[i]; !l.wall.IsZero() {
			l.mono, l.wall = byWall(l.wall, now, l.mono), time.Time{}
		}
	}
	for i := range inst.latches {
		for j := range inst.latches[i].untils {
			if h := inst.latches[i].untils[j].held; h != nil && !h.wall.IsZero() {
				h.mono, h.wall = byWall(h.wall, now, h.mono), time.Time{}
			}
		}
	}
	for _, run := range inst.runs {
		for _, t := range run.threads {
			if t.waits != nil {
				e.awaitTimes(t, now)
			}
		}
	}
}

// Enable lets a rule run, or no longer: then its runs are cancelled and what
// they owe is sent. It reports false if there is no such rule, or if the configuration
// switches it off for good. why says who did it, "" where nobody knows.
func (e *Engine) Enable(name string, on bool, why string, now devices.Now) ([]Decision, bool) {
	e.now, e.derived = now, 0
	e.pass(now)
	found := slices.ContainsFunc(e.rules, func(r *rule) bool { return r.enabled && r.named(name) })
	if found {
		d := Decision{ID: e.number(), At: now, Rule: "rule." + name, Outcome: Switched, Why: why}
		e.enable(name, on, now, &d)
		e.decide(d)
	}
	return e.settle(), found
}

// Enabled says of each rule that Enable takes whether it may run; those that the
// configuration switches off for good are not among them.
func (e *Engine) Enabled() map[string]bool {
	on := make(map[string]bool)
	for _, r := range e.rules {
		if name := baseName(r.name); r.enabled && r.named(name) {
			on[name] = !r.off
		}
	}
	return on
}

func (r *rule) named(name string) bool {
	return r.machine == nil && len(r.name) > 5 && r.name[:5] == "rule." && baseName(r.name) == name
}

// enable is Enable within a step; what follows goes into d.
func (e *Engine) enable(name string, on bool, now devices.Now, d *Decision) {
	if _, ok := e.Enabled()[name]; !ok {
		d.Sets = append(d.Sets, "rule."+name+" stays off: its configuration says enabled = false")
		return
	}
	d.Switched = append(d.Switched, Switch{name, on})
	for _, r := range e.rules {
		if !r.named(name) || !r.enabled || r.off == !on {
			continue
		}
		r.off = !on
		word := "enabled"
		if !on {
			word = "disabled"
		}
		d.Sets = append(d.Sets, r.name+" "+word)
		e.moved(r.only)
		if on {
			for _, inst := range r.all() {
				e.find(inst, now)
			}
			for _, t := range r.triggers {
				if t.schedule != nil && e.started {
					r.only.latches[t.index].handled = now.Wall
				}
			}
			if e.started {
				for _, t := range r.triggers {
					if t.schedule != nil {
						e.planNext(r, t, now)
					}
				}
			}
			continue
		}
		for _, inst := range r.all() {
			d.Commands = append(d.Commands, e.abandon(inst, now)...)
		}
	}
}

// find lets a rule that was off, and saw nothing, find what is there: as at the
// hub's start that begins nothing.
func (e *Engine) find(inst *instance, now devices.Now) {
	r := inst.rule
	e.listenAll(inst)
	found := func(source string) (devices.Reading, bool) {
		last, ok := e.registry.Last(inst.source(e, source))
		last.At, last.Origin, last.Initial, last.Message = now, devices.Origin{}, true, nil
		return last, ok
	}
	for i, l := range r.levels {
		inst.levels[i] = since{silent: inst.levels[i].silent}
		if in, ok := found(l.source); ok {
			if last, _ := e.registry.Last(in.Source); !last.Restored {
				in.At = last.At // it has held at least since it came
			}
			e.readLevel(inst, i, &in)
		}
	}
	for _, t := range r.triggers {
		l := &inst.latches[t.index]
		if l.seen, l.truth = false, false; t.source == "" || t.truthless() {
			continue
		}
		if in, ok := found(t.source); ok {
			e.read(inst, t, &in)
		}
	}
}

// abandon ends all that an instance does, and returns what it owes.
func (e *Engine) abandon(inst *instance, now devices.Now) []devices.Command {
	var sum Decision
	for _, t := range inst.rule.triggers {
		l := &inst.latches[t.index]
		if l.began && inst.rule.ends() {
			e.close(inst, t, now, devices.Origin{By: "disabled"}.Then(inst.rule.name), false, &sum)
		}
		for _, slot := range []**timer{&l.pending, &l.silent, &l.earliest, &l.repeat, &l.plan} {
			e.timers.clear(slot)
		}
		for i := range l.untils {
			e.timers.clear(&l.untils[i].since)
			e.timers.clear(&l.untils[i].silent)
		}
		*l = latch{untils: l.untils, seen: l.seen, truth: l.truth, moreOfLatch: l.moreOfLatch}
	}
	for len(inst.runs) > 0 {
		sum.Commands = e.emitAll(sum.Commands, e.drop(inst.runs[0]))
	}
	if len(inst.queue) > 0 {
		inst.queue = nil
	}
	e.moved(inst)
	return sum.Commands
}
