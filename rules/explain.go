package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/devices"
)

// An Info is where one rule stands, for a person.
type Info struct {
	Name    string // "rule.heater"
	Enabled bool
	Running int       // runs that are going
	Next    time.Time // of its times of day, the first; zero if it has none
	Ran     int       // runs since the hub started
	Errors  int       // expressions that failed, loops, requests that were given up
	Error   string    // the last of them
	Full    int       // readings that found no room for one more {name}
}

// Infos is all links, machines and rules, in the order of one step.
func (e *Engine) Infos(now devices.Now) []Info {
	list := make([]Info, 0, len(e.rules))
	for _, r := range e.rules {
		list = append(list, r.info())
	}
	for _, x := range e.calcs {
		list = append(list, Info{Name: "calc." + x.name, Enabled: true, Errors: x.errors, Error: x.err})
	}
	return list
}

func (r *rule) info() Info {
	i := Info{Name: r.name, Enabled: r.enabled && !r.off, Ran: r.ran, Errors: r.errors, Error: r.err, Full: r.full}
	for _, inst := range r.all() {
		i.Running += len(inst.runs)
	}
	for _, l := range r.only.latches {
		if l.plan != nil && (i.Next.IsZero() || l.plan.at.Before(i.Next)) {
			i.Next = l.plan.at
		}
	}
	return i
}

// Explain lists where each rule stands, one line a matter, for a person.
func (e *Engine) Explain(now devices.Now) []string {
	var lines []string
	for _, r := range e.rules {
		lines = append(lines, r.explain(now)...)
	}
	return lines
}

func (r *rule) explain(now devices.Now) []string {
	if r.off {
		return []string{r.name + ": disabled"}
	}
	var lines []string
	if m := r.machine; m != nil {
		line := fmt.Sprintf("%s: %s", r.name, m.state)
		for i, t := range m.after {
			if t != nil {
				line += fmt.Sprintf(", %s to %s", left(t, now), m.moves[i].to)
			}
		}
		lines = append(lines, line)
	}
	for _, inst := range r.all() {
		lines = append(lines, inst.explain(now)...)
	}
	return lines
}

func left(t *timer, now devices.Now) string {
	return span((t.due - now.Mono).Round(time.Second))
}

func (inst *instance) explain(now devices.Now) []string {
	var lines []string
	name := inst.rule.name + inst.suffix()
	for _, t := range inst.rule.triggers {
		l := &inst.latches[t.index]
		switch {
		case l.pending != nil:
			lines = append(lines, fmt.Sprintf("%s: %s, %s to go", name, t.text, left(l.pending, now)))
		case l.began:
			lines = append(lines, fmt.Sprintf("%s: on since %s", name, t.text))
		}
	}
	for _, run := range inst.runs {
		for _, t := range run.threads {
			switch {
			case t.waits != nil:
				lines = append(lines, fmt.Sprintf("%s: waits for %s", name, t.instr().awaited()))
			case t.due != nil:
				lines = append(lines, fmt.Sprintf("%s: waits %s", name, left(t.due, now)))
			}
		}
	}
	return lines
}

// WhyNot says of each trigger of a rule why it does not fire now: what it sees,
// and what it would need.
func (e *Engine) WhyNot(name string, now devices.Now) []string {
	var lines []string
	for _, r := range e.rules {
		if r.name != name && baseName(r.name) != name {
			continue
		}
		switch {
		case !r.enabled:
			lines = append(lines, r.name+" is not enabled in the configuration")
			continue
		case r.off:
			lines = append(lines, r.name+" has been disabled")
			continue
		}
		for _, inst := range r.all() {
			if inst == r.only && len(r.instances) > 0 {
				continue
			}
			for _, t := range r.triggers {
				if why := e.whyNot(inst, t, now); why != "" {
					lines = append(lines, fmt.Sprintf("%s%s, %s: %s", r.name, inst.suffix(), t.text, why))
				}
			}
		}
	}
	return lines
}

func (e *Engine) whyNot(inst *instance, t *trigger, now devices.Now) string {
	r := inst.rule
	why := e.waitsFor(inst, t, now)
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	ctx := e.asIfBy(inst, t)
	for i := range r.conditions {
		if check := e.see(&r.conditions[i], inst, ctx, now); !check.OK {
			say("its condition does not hold: %s (%s)", check.Text, check.Saw)
		}
	}
	if cooling := e.cooling(inst, now); cooling != "" {
		say("%s", cooling)
	}
	if m := r.machine; m != nil && t.move >= 0 && !m.moves[t.move].leaves(m.state) {
		from := strings.Join(m.moves[t.move].from, ", ")
		if from == "" {
			from = "any other state"
		}
		say("the machine is %s, and the move is from %s", m.state, from)
	}
	return strings.Join(why, "; ")
}

// asIfBy is what a run would know if the newest reading of a trigger had begun it.
func (e *Engine) asIfBy(inst *instance, t *trigger) *context {
	ctx := newContext(t, nil, devices.Origin{})
	if last, ok := e.registry.Last(inst.source(e, t.source)); ok {
		ctx.reading = &last
	}
	return ctx
}

// waitsFor is what a trigger itself sees, and what it would need.
func (e *Engine) waitsFor(inst *instance, t *trigger, now devices.Now) (why []string) {
	r, l := inst.rule, &inst.latches[t.index]
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	switch {
	case t.schedule != nil && l.plan != nil:
		say("it comes at %s", l.plan.at.Format("2006-01-02 15:04:05"))
	case t.schedule != nil && !now.Known:
		say(noClock)
	case t.schedule != nil:
		if s, ok := t.schedule.(*said); ok {
			last, _ := e.registry.Last(s.source)
			say("%s says no time of day, but %q", s.source, short(last.Text))
		} else {
			say("it never comes")
		}
	case l.pending != nil:
		say("it holds, and waits %s more", left(l.pending, now))
	case l.began && r.ends():
		say("its episode is on; it fires again once that has ended")
	case t.source != "":
		why = append(why, e.whySource(inst, t, l)...)
	}
	return why
}

// whySource tells what a trigger sees of its source.
func (e *Engine) whySource(inst *instance, t *trigger, l *latch) []string {
	var why []string
	source := inst.source(e, t.source)
	last, ok := e.registry.Last(source)
	if e.Hidden(last) {
		last.Text = "***"
	}
	switch {
	case !ok && strings.HasPrefix(t.text, "webhook "): // of which nothing is kept
		why = append(why, "it fires when somebody posts to it")
	case !ok:
		why = append(why, "nothing valid has come from it")
	case l.truth && (t.test.Silent != 0 || !t.test.of(inst).holds(last)):
		why = append(why, fmt.Sprintf("it is %s, and what was true before has not ended; it fires when that becomes true again", short(last.Text)))
	case l.truth:
		why = append(why, fmt.Sprintf("it is %s, so that is true already; it fires when that becomes true again", short(last.Text)))
	case t.truthless():
		why = append(why, fmt.Sprintf("the last one was %s", short(last.Text)))
	case t.test.of(inst).holds(last) && t.test.Silent == 0:
		why = append(why, fmt.Sprintf("it is %s, but was so when the hub found it, or what ends it was true, too; it fires when that becomes true again", short(last.Text)))
	default:
		why = append(why, fmt.Sprintf("it is %s", short(last.Text)))
	}
	if n, bad := e.registry.Bad(source); n > 0 {
		why = append(why, fmt.Sprintf("%d messages were no value, the last: %s", n, bad))
	}
	return why
}

func sortTimers(list []*timer) {
	slices.SortFunc(list, func(a, b *timer) int {
		if a.due != b.due {
			return int(a.due - b.due)
		}
		return int(a.order) - int(b.order)
	})
}
