package rules

import (
	"maps"
	"slices"
	"strings"

	"hearth/devices"
)

// An Outline is a rule, a link or a machine as it is written, with each of those that each
// made of it, and where it stands.
type Outline struct {
	Info
	Of       []string // the rules that each made of it: "rule.lamps[kitchen]"; none if it is one alone
	Off      bool     // it may run by the configuration, and somebody disabled it
	State    string   // of a machine
	Underway []string // what it waits for, and episodes that are on, one line a matter
}

// written is the name of a rule as it stands in the configuration: "rule.lamps" of
// "rule.lamps[kitchen]".
func written(name string) string {
	name, _, _ = strings.Cut(name, "[")
	return name
}

// Outlines is all rules, links and machines in the order of one step; with names only those
// that are written under one of them.
func (e *Engine) Outlines(now devices.Now, names ...string) (list []Outline) {
	at := make(map[string]int)
	for _, r := range e.rules {
		name := written(r.name)
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		info := r.info()
		info.Name = name
		i, ok := at[name]
		if !ok {
			i = len(list)
			at[name] = i
			list = append(list, Outline{Info: info})
		}
		o := &list[i]
		if r.name != name {
			o.Of = append(o.Of, r.name)
		}
		if ok {
			o.Running, o.Ran, o.Errors, o.Full = o.Running+info.Running, o.Ran+info.Ran, o.Errors+info.Errors, o.Full+info.Full
			o.Enabled = o.Enabled || info.Enabled
			if info.Error != "" {
				o.Error = info.Error
			}
			if !info.Next.IsZero() && (o.Next.IsZero() || info.Next.Before(o.Next)) {
				o.Next = info.Next
			}
		}
		o.Off = r.enabled && r.off
		if r.machine != nil {
			o.State = r.machine.state
		}
		if !r.off {
			o.Underway = append(o.Underway, r.explain(now)...)
		}
	}
	return list
}

// A Stance is one rule, for one value of its captures, taken apart: what would set it off, and
// what it would look at then.
type Stance struct {
	Name       string // "rule.lamps[kitchen]", "rule.plugs[name=tv]"
	Underway   []string
	Triggers   []Sight
	Conditions []Check // as they are now
	Cooling    string  // why it would not start whatever happens; "" if nothing is in the way
}

// A Sight is a trigger, and what it sees.
type Sight struct {
	Text   string
	Source string // of the value that it looks at; "" if it looks at none
	Holds  bool   // what it waits for is so, now
	Why    string // what it sees, and what it would need
}

// Stances takes a rule apart that is written under a name, or one of those that each made.
// What a formula makes of the values of now does not count as an error of the rule. There are
// at most so many, for a {name} may have met thousands.
func (e *Engine) Stances(name string, now devices.Now, most int) (list []Stance) {
	for _, r := range e.rules {
		if r.name != name && written(r.name) != name {
			continue
		}
		errors, last := r.errors, r.err
		for _, inst := range r.all() {
			if inst == r.only && len(r.instances) > 0 {
				continue
			}
			if len(list) == most {
				break
			}
			s := Stance{Name: r.name + inst.suffix(), Cooling: e.cooling(inst, now)}
			if !r.off {
				s.Underway = inst.explain(now)
			}
			for _, t := range r.triggers {
				if r.machine != nil && t.move < 0 { // that of the moves by time
					continue
				}
				l := &inst.latches[t.index]
				text := t.text
				if r.machine != nil {
					text = r.machine.moves[t.move].text + ": " + text
				}
				s.Triggers = append(s.Triggers, Sight{text, inst.source(e, t.source), l.truth || l.pending != nil, strings.Join(e.waitsFor(inst, t, now), "; ")})
			}
			if len(r.triggers) > 0 {
				ctx := e.asIfBy(inst, e.newestOf(inst))
				for i := range r.conditions {
					s.Conditions = append(s.Conditions, e.see(&r.conditions[i], inst, ctx, now))
				}
			}
			list = append(list, s)
		}
		r.errors, r.err = errors, last
	}
	return list
}

// newestOf is the trigger whose source has reported last.
func (e *Engine) newestOf(inst *instance) *trigger {
	newest := inst.rule.triggers[0]
	var at devices.Now
	for _, t := range inst.rule.triggers {
		if last, ok := e.registry.Last(inst.source(e, t.source)); ok && last.At.Mono > at.Mono {
			newest, at = t, last.At
		}
	}
	return newest
}

// Reach is what a rule looks at, as sources, and what it tells something, as written: each
// once, in order.
func (e *Engine) Reach(name string) (reads, tells []string) {
	sources, targets := make(map[string]bool), make(map[string]bool)
	var looks func([]condition)
	looks = func(list []condition) {
		for _, c := range list {
			sources[c.source] = true
			if c.formula != nil {
				for _, s := range slices.Concat(c.formula.Sources(), c.formula.Properties()) {
					sources[s] = true
				}
				for _, name := range c.formula.Names() { // some are of what began the run
					if _, wired := e.parts[name]; wired || e.holders[name] != nil {
						sources[name] = true
					}
				}
			}
			looks(c.any)
			looks(c.all)
			if c.not != nil {
				looks([]condition{*c.not})
			}
		}
	}
	for _, r := range e.rules {
		if r.name != name && written(r.name) != name {
			continue
		}
		for _, t := range slices.Concat(r.triggers, r.waits) {
			sources[t.source] = true
			for _, u := range t.untils {
				sources[u.source] = true
			}
			if s, ok := t.schedule.(*said); ok {
				sources[s.source] = true
			}
		}
		looks(r.conditions)
		if r.machine != nil {
			for _, mv := range r.machine.moves {
				looks(mv.conditions)
			}
		}
		for _, in := range r.program {
			looks(in.conditions)
			targets[in.target.text] = true
			if in.op == opEnable {
				targets["rule."+in.name] = true
			}
		}
	}
	delete(sources, "")
	delete(targets, "")
	maps.DeleteFunc(sources, func(s string, _ bool) bool { return strings.HasPrefix(s, hook("")) }) // who posts knows the path
	return slices.Sorted(maps.Keys(sources)), slices.Sorted(maps.Keys(targets))
}
