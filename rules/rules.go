// Package rules decides. It is a state machine: readings and the passing of
// time go in, decisions come out. It starts no goroutine, reads no clock, opens
// no file and logs nothing, so a day of house life replays in microseconds, in
// tests and in the running hub alike.
//
//	Step(reading) []Decision   a source has reported
//	Advance(now) []Decision    time has passed
//	Next() (Mono, bool)        when Advance has work again
//	Snapshot / Restore         plain values, to outlive a restart or a reload
//
// A [Decision] is both the commands and the reason for them, so what is done
// and what is told can't disagree.
//
// # How a rule lives
//
// Each trigger keeps a truth: a latch that a reading passing its test sets and
// its until resets. The moment the truth rises at a live reading the trigger
// fires, after its for if it has one; then the conditions are looked at, once;
// then a run of the actions starts. A rule that names an end (until, or off
// values) is an episode: when the truth falls, the rest of the run is cancelled
// and the off values are sent. Without an end the run goes its own way.
//
// What is found at the start (an initial reading) never begins anything unless
// the trigger says retained; but it may end something.
//
// Order within one step: every rule and link in the order of the files; what
// they publish comes back as a step of its own.
package rules

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"hearth/config"
	"hearth/devices"
)

// MaxHops is how many rules may follow from one another before the chain is
// taken for a loop and stopped.
const MaxHops = 20

// An Outcome is what became of a trigger.
type Outcome string

const (
	Fired     Outcome = "fired"     // a run started
	Pending   Outcome = "pending"   // the test holds; waiting for its for
	Cancelled Outcome = "cancelled" // the test no longer holds before its for was over
	Blocked   Outcome = "blocked"   // a condition said no
	Ignored   Outcome = "ignored"   // a run was still going, mode single
	Ended     Outcome = "ended"     // the episode is over
	Went      Outcome = "went on"   // a run went on after a wait, or an episode after a restart
	Stopped   Outcome = "stopped"   // the hop limit: rules set each other off
	Dropped   Outcome = "dropped"   // the definition changed while something was owed
)

// A Decision is what one rule concluded, why, and what is to be done.
type Decision struct {
	At       devices.Now
	Rule     string           // "rule.heater", "link.hall_light"
	Trigger  string           // "pir is true"
	Cause    *devices.Reading // nil if time was the cause
	Checks   []Check          // the conditions in the order they were looked at
	Outcome  Outcome
	Why      string
	Commands []devices.Command
}

// A Check is one condition and the value it saw.
type Check struct {
	Text string
	Saw  string
	OK   bool
}

// String tells the decision in one line.
func (d Decision) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", d.Rule, d.Outcome)
	if d.Trigger != "" {
		fmt.Fprintf(&b, ": %s", d.Trigger)
	}
	if d.Cause != nil {
		fmt.Fprintf(&b, " (now %s)", short(d.Cause.Text))
	}
	for _, c := range d.Checks {
		if c.OK {
			fmt.Fprintf(&b, ", %s", c.Text)
		} else {
			fmt.Fprintf(&b, ", not %s (%s)", c.Text, c.Saw)
		}
	}
	if d.Why != "" {
		fmt.Fprintf(&b, "; %s", d.Why)
	}
	for i, c := range d.Commands {
		sep := ", "
		if i == 0 {
			sep = " -> "
		}
		b.WriteString(sep + cut(c.String(), 200))
	}
	return b.String()
}

func short(s string) string { return cut(s, 60) }

// cut keeps about n bytes of s, whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// An Engine holds the compiled links and rules and where each of them stands.
// One goroutine owns it.
type Engine struct {
	rules    []*rule
	watch    map[string][]watcher // by source text, in the order of the files
	sources  map[string]devices.Source
	registry *devices.Registry
	timers   timers
	known    bool // the wall clock was known at the last look
	changed  map[*rule]bool
}

// A watcher is one place of one rule that looks at a source.
type watcher struct {
	rule    *rule
	trigger *trigger
	until   *until // nil: the trigger's own source
}

// New compiles cfg. Mistakes go to at, the root of the configuration; if there
// are any the engine must not be used. The engine reads last values from
// registry, to which the caller applies each reading before Step.
func New(cfg Config, house House, registry *devices.Registry, at config.Place) *Engine {
	e := &Engine{
		watch:    make(map[string][]watcher),
		sources:  make(map[string]devices.Source),
		registry: registry,
		changed:  make(map[*rule]bool),
	}
	c := &compiler{house: house, sources: e.sources}
	for _, l := range cfg.Link {
		e.add(c.link(l.Name, l.Value, at.Key("link").Key(l.Name)))
	}
	for _, r := range cfg.Rule {
		e.add(c.rule(r.Name, r.Value, at.Key("rule").Key(r.Name)))
	}
	return e
}

func (e *Engine) add(r *rule) {
	e.rules = append(e.rules, r)
	if !r.enabled {
		return
	}
	for _, t := range r.triggers {
		seen := map[string]bool{t.source: true}
		e.watch[t.source] = append(e.watch[t.source], watcher{rule: r, trigger: t})
		for _, u := range t.untils {
			if u.source != t.source && !seen[u.source] {
				seen[u.source] = true
				e.watch[u.source] = append(e.watch[u.source], watcher{rule: r, trigger: t, until: u})
			}
		}
	}
}

// Sources is every source that a trigger, an until or a condition looks at.
func (e *Engine) Sources() []devices.Source {
	list := make([]devices.Source, 0, len(e.sources))
	for _, s := range e.sources {
		list = append(list, s)
	}
	return list
}

// Coalesces reports whether of several numeric readings of a source that wait
// to be stepped only the newest matters: nothing counts them or looks at each.
func (e *Engine) Coalesces(source string) bool {
	for _, w := range e.watch[source] {
		if w.trigger.event || w.trigger.test.empty() || w.until != nil && w.until.event {
			return false
		}
	}
	return true
}

// Step takes one reading, already applied to the registry, and returns what
// follows from it. Deadlines that have passed by then come first; not so for an
// initial reading, which may still cancel them.
func (e *Engine) Step(r devices.Reading) []Decision {
	if r.Initial {
		return e.step(r, false)
	}
	return append(e.Advance(r.At), e.step(r, false)...)
}

// Found is Step for what is known already when a new configuration comes into
// force: it is found at their start by the rules that are new, and nothing at all
// for those that Restore has taken over.
func (e *Engine) Found(r devices.Reading) []Decision {
	r.Initial = true
	return e.step(r, true)
}

func (e *Engine) step(r devices.Reading, newOnly bool) []Decision {
	var ds []Decision
	seen := make(map[*trigger]bool)
	for _, w := range e.watch[r.Source] {
		if seen[w.trigger] || newOnly && w.rule.kept {
			continue
		}
		seen[w.trigger] = true
		ds = append(ds, e.read(w.rule, w.trigger, r)...)
	}
	return ds
}

// Advance lets time pass: what has become due by now happens, in the order of
// its deadlines.
func (e *Engine) Advance(now devices.Now) []Decision {
	if now.Known && !e.known {
		e.known = true
		e.clockKnown(now)
	}
	var ds []Decision
	for {
		t := e.timers.due(now.Mono)
		if t == nil {
			return ds
		}
		ds = append(ds, e.fire(t, now)...)
	}
}

// Resume sends once more what the episodes hold on that were on when the hub
// stopped, for the stop has put the outputs into their safe state. Call it after a
// restart, when the initial values and the deadlines that passed are dealt with.
func (e *Engine) Resume(now devices.Now) []Decision {
	var ds []Decision
	for _, r := range e.rules {
		for _, t := range r.triggers {
			if !t.again {
				continue
			}
			t.again = false
			d := Decision{At: now, Rule: r.name, Trigger: t.text, Outcome: Went, Why: "its episode was on when the hub stopped"}
			steps := len(r.actions)
			if run := t.run(r); run != nil {
				steps = run.step
			}
			for _, a := range r.actions[:steps] {
				if a.kind == send && a.on != nil && a.off != nil {
					d.Commands = e.emit(d.Commands, a.command(a.on, devices.Origin{By: "time"}.Then(r.name)))
				}
			}
			if len(d.Commands) > 0 {
				ds = append(ds, d)
			}
		}
	}
	return ds
}

// Moved reports whether some rule's state has changed since Changes was last
// asked, with or without a decision.
func (e *Engine) Moved() bool { return len(e.changed) > 0 }

// Next is the monotonic moment at which Advance has work; false if it has none.
func (e *Engine) Next() (time.Duration, bool) { return e.timers.next() }

// read is one reading seen by one trigger.
func (e *Engine) read(r *rule, t *trigger, in devices.Reading) []Decision {
	if t.event || t.test.empty() {
		// Without a truth: an end comes first, and what ends does not begin.
		began := t.began
		ds := e.end(r, t, in)
		if t.source != in.Source || began && !t.began || t.over(in) || !e.fires(r, t, in) {
			return ds
		}
		return append(ds, e.begin(r, t, in.At, &in)...)
	}
	if in.Bad != "" {
		return e.end(r, t, in) // the state stays as it was, but an event may end it
	}
	if t.source == in.Source {
		pass, valid := t.test.check(in)
		if !valid {
			return nil
		}
		switch {
		case pass && !t.truth && !t.ends(in):
			return e.rise(r, t, in)
		case !pass && t.pending != nil: // whatever its until: for wants no interruption
			return e.fall(r, t, in.At, &in)
		}
		if !pass && !t.truth && !t.seen {
			t.seen = true
			e.changed[r] = true
		}
	}
	return e.end(r, t, in)
}

// fires reports whether a reading of its own source fires a trigger that has no
// truth: an event, or a state without a test.
func (e *Engine) fires(r *rule, t *trigger, in devices.Reading) bool {
	if t.event {
		return !in.Initial && (t.test.empty() || t.test.holds(in)) && (in.Bad == "" || t.anyMessage)
	}
	value := any(in.Text)
	if t.carries != "" {
		var ok bool
		if value, ok = carried(&in, t.carries); !ok {
			return false // a link takes its own type only
		}
	}
	if in.Bad != "" {
		return false
	}
	if t.changed {
		text := devices.Text(value)
		if len(text) > 64 {
			text = hash(text) // it is kept at each change
		}
		if t.last != nil && *t.last == text {
			return false
		}
		t.last = &text
		e.changed[r] = true
	}
	return !in.Initial || t.retained
}

// rise is the edge of a state trigger: its truth goes from false to true.
func (e *Engine) rise(r *rule, t *trigger, in devices.Reading) []Decision {
	if in.Initial && !t.retained {
		// Found at start: not news. With nothing stored it sets the truth in
		// silence, except where off values wait for a begin: a heater rule
		// added on a cold day must heat at the next live reading.
		if !t.seen && !r.hasOff {
			t.truth, t.seen = true, true
			e.changed[r] = true
		}
		return nil
	}
	t.truth, t.seen = true, true
	e.changed[r] = true
	if t.hold == 0 {
		return e.begin(r, t, in.At, &in)
	}
	e.timers.set(&t.pending, timer{rule: r, trigger: t, kind: holdOver}, in.At.Mono+t.hold)
	return []Decision{{At: in.At, Rule: r.name, Trigger: t.text, Cause: &in, Outcome: Pending, Why: "for " + span(t.hold)}}
}

// begin is a trigger that fires: the conditions, then the run.
func (e *Engine) begin(r *rule, t *trigger, now devices.Now, in *devices.Reading) []Decision {
	d := Decision{At: now, Rule: r.name, Trigger: t.text, Cause: in}
	origin := devices.Origin{By: "time"}
	if in != nil {
		origin = in.Origin
	}
	if origin.Hops() >= MaxHops {
		d.Outcome = Stopped
		d.Why = "these rules set each other off: " + strings.Join(loop(origin.Rules, r.name), " -> ")
		return []Decision{d}
	}
	if t.began && r.ends() {
		return nil // nothing fires between begin and end
	}
	for _, c := range r.conditions {
		check := c.look(now, e.registry)
		d.Checks = append(d.Checks, check)
		if !check.OK {
			d.Outcome = Blocked
			return []Decision{d}
		}
	}
	var owed *devices.Command
	var old *run
	if old = t.run(r); old != nil {
		if r.mode != "restart" {
			d.Outcome, d.Why = Ignored, "its last run is still going (mode single)"
			return []Decision{d}
		}
		owed = old.owed
		e.drop(r, old)
	}
	if r.ends() {
		t.began, t.again = true, false
		if t.minOn > 0 {
			e.timers.set(&t.earliest, timer{rule: r, trigger: t, kind: minOnOver}, now.Mono+t.minOn)
		}
		for _, u := range t.untils { // one that holds already counts from the begin
			if last, ok := e.registry.Last(u.source); ok && u.hold > 0 && u.since == nil && u.holds(last) {
				e.timers.set(&u.since, timer{rule: r, trigger: t, until: u, kind: untilOver}, now.Mono+u.hold)
			}
		}
	}
	run := &run{trigger: t, origin: origin.Then(r.name), cause: in}
	d.Outcome = Fired
	d.Commands = e.proceed(r, run, now)
	if owed != nil && (run.owed == nil || !sameTarget(*run.owed, *owed)) {
		// The old run held a pulse that the new one did not take over.
		d.Commands = append(e.emit(nil, *owed), d.Commands...)
	}
	e.changed[r] = true
	return []Decision{d}
}

// end looks whether in ends what t has begun or waits to begin.
func (e *Engine) end(r *rule, t *trigger, in devices.Reading) []Decision {
	if !t.truth && !t.began {
		return nil
	}
	over := false
	for _, u := range t.untils {
		if u.source != in.Source {
			continue
		}
		holds, valid := u.check(in)
		switch {
		case holds && u.hold == 0:
			over = true
		case holds && u.since == nil:
			e.timers.set(&u.since, timer{rule: r, trigger: t, until: u, kind: untilOver}, in.At.Mono+u.hold)
			e.changed[r] = true
		case valid && !holds && u.since != nil:
			e.timers.clear(&u.since)
			e.changed[r] = true
		}
	}
	if !over {
		return nil
	}
	return e.fall(r, t, in.At, &in)
}

// fall is the end of a truth: a for that still waits is cancelled, an episode
// ends unless its least time is not over.
func (e *Engine) fall(r *rule, t *trigger, now devices.Now, in *devices.Reading) []Decision {
	if t.earliest != nil {
		return nil // min_on: looked at again when it is over
	}
	waited := t.pending != nil
	began := t.began
	e.timers.clear(&t.pending)
	for _, u := range t.untils {
		e.timers.clear(&u.since)
	}
	t.truth, t.began, t.again, t.seen = false, false, false, true
	e.changed[r] = true
	d := Decision{At: now, Rule: r.name, Trigger: t.text, Cause: in}
	switch {
	case waited:
		d.Outcome, d.Why = Cancelled, "before "+span(t.hold)+" were over"
		return []Decision{d}
	case !began || !r.ends():
		return nil
	}
	d.Outcome = Ended
	origin := devices.Origin{By: "time"}
	if in != nil {
		origin = in.Origin
	}
	if run := t.run(r); run != nil {
		if run.owed != nil {
			d.Commands = e.emit(d.Commands, *run.owed)
		}
		e.drop(r, run)
	}
	for _, c := range r.offs(origin.Then(r.name)) {
		d.Commands = e.emit(d.Commands, c)
	}
	return []Decision{d}
}

// fire is a deadline that has passed.
func (e *Engine) fire(t *timer, now devices.Now) []Decision {
	e.changed[t.rule] = true
	switch t.kind {
	case holdOver:
		t.trigger.pending = nil
		return e.begin(t.rule, t.trigger, now, nil)
	case untilOver:
		t.until.since = nil
		return e.fall(t.rule, t.trigger, now, nil)
	case minOnOver:
		t.trigger.earliest = nil
		for _, u := range t.trigger.untils {
			// An until with a for of its own counts once that for was over.
			if last, ok := e.registry.Last(u.source); ok && !u.event && u.since == nil && u.holds(last) {
				return e.fall(t.rule, t.trigger, now, nil)
			}
		}
		return nil
	case waitOver:
		run := t.run
		run.due = nil
		d := Decision{At: now, Rule: t.rule.name, Trigger: run.trigger.text, Outcome: Went, Why: "the wait is over"}
		d.Commands = e.proceed(t.rule, run, now)
		return []Decision{d}
	}
	panic("rules: a timer of no kind")
}

// loop is the part of the chain that repeats, for the message.
func loop(chain []string, last string) []string {
	for i := len(chain) - 1; i >= 0; i-- {
		if chain[i] == last {
			return append(append([]string{}, chain[i:]...), last)
		}
	}
	return append(append([]string{}, chain...), last)
}

// span prints a duration as the owner writes it.
func span(d time.Duration) string { return config.Duration(d).String() }
