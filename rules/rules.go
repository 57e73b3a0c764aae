// Package rules decides. It is a state machine: readings and the passing of
// time go in, decisions come out. It starts no goroutine, reads no clock, opens
// no file and logs nothing, so a day of house life replays in microseconds, in
// tests and in the running hub alike.
//
//	Take(event) []Decision     something has happened: the one door of the hub
//	Next() (Mono, bool)        when the passing of time has work again
//	Snapshot                   plain values, to outlive a restart or a reload
//	Checkpoint                 all there is, to go on from as if nothing had been
//
// Whatever happens is an [Event]. What they are made of is open to tests as well: Step of
// a reading that the registry has, Advance, Restore, Start.
//
// A [Decision] is both the commands and the reason for them, so what is done
// and what is told can't disagree.
//
// # How a rule lives
//
// Each trigger keeps a truth: a latch that a reading passing its test sets and
// its until resets. The moment the truth rises at a live reading the trigger
// fires, after its for if it has one; then the conditions are looked at, once;
// then a run of the actions starts. A rule that names an end (until, done,
// repeat or off values) is an episode: when the truth falls, the rest of the run
// is cancelled, the off values are sent and done runs. Without an end the run
// goes its own way.
//
// A rule with {name} in a trigger's topic has an [instance] for each value that
// it has met, with truths, timers and runs of its own.
//
// What is found at the start (an initial reading) never begins anything unless
// the trigger says retained; but it may end something.
//
// # One step
//
// A reading goes to the calcs that look at it, then it and what they computed
// to the machines, then to the rules, each in the order of the files. What these
// set, a variable or a machine's state, is a reading of its own that takes the
// next step; what they publish comes back through the broker.
//
// # Where things are
//
//	config.go      what the owner writes; each.go puts parameters in
//	compile.go     from there to triggers (trigger.go), conditions and programs (action.go)
//	episode.go     readings and deadlines become begins and ends
//	plan.go        times of day become deadlines
//	run.go         a program runs, waits, is cancelled
//	calc.go machine.go variable.go   what has a value of its own
//	scene.go       what an expression sees
//	event.go       what can happen; checkpoint.go, where everything stands
//	snapshot.go    what outlives a restart
//	explain.go     where a rule stands, and why it did not fire
//	doubts.go      what can run and is hardly meant, for hearth check
package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"hearth/config"
	"hearth/devices"
)

const (
	// MaxHops is how many rules may follow from one another before the chain is
	// taken for a loop and stopped.
	MaxHops = 20
	// maxDerived is how many readings of variables and machines one message may
	// cause.
	maxDerived = 1000
	// MaxInstances is how many values of its {name}s a rule tells apart.
	MaxInstances = devices.MaxCaptured
	// A rule that is set off from outside more often than a house can mean is
	// stopped for a while: a loop through another program has no hops. A busy meter
	// or a test of speed must not be taken for one.
	burst     = 100_000 // firings at once
	perSecond = 1000    // and for ever
)

// An Outcome is what became of a trigger.
type Outcome string

const (
	Fired     Outcome = "fired"     // a run started
	Pending   Outcome = "pending"   // the test holds; waiting for its for
	Cancelled Outcome = "cancelled" // the test no longer holds before its for was over
	Blocked   Outcome = "blocked"   // a condition said no
	Ignored   Outcome = "ignored"   // a run was still going, or a cooldown
	Queued    Outcome = "queued"    // behind a run that is still going
	Ended     Outcome = "ended"     // the episode is over
	Went      Outcome = "went on"   // a run went on after a wait, or an episode after a restart
	Stopped   Outcome = "stopped"   // the hop limit or the rate limit: rules set each other off
	Switched  Outcome = "switched"  // somebody enabled or disabled it
	Dropped   Outcome = "dropped"   // the definition changed while something was owed
)

// A Decision is what one rule concluded, why, and what is to be done.
type Decision struct {
	ID       uint64 // tells it from all others of the house, also of earlier lives of the hub
	Follows  uint64 // the decision that it goes on from: which began its wait, delay or episode; 0 if none
	At       devices.Now
	Rule     string           // "rule.heater", "link.hall_light", "machine.alarm"
	Instance string           // "[name=plug]"; "" without captures
	Trigger  string           // "pir is true"
	Cause    *devices.Reading // nil if time was the cause
	Since    *devices.Reading // then of an end: the report since which what ends it has held, as far as one is known
	Checks   []Check          // the conditions in the order they were looked at
	Outcome  Outcome
	Why      string
	Sets     []string   // what variables and machines became: "today = 5"
	Switched []Switch   // rules that were enabled or disabled
	Entered  []Standing // machines that went to another state
	Commands []devices.Command

	secret bool // the rule compares with a secret
}

// A Switch is a rule that was enabled or disabled.
type Switch struct {
	Rule string // without the "rule." before it
	On   bool
}

// A Standing is the state in which a machine is.
type Standing struct {
	Machine string // without the "machine." before it
	State   string
	States  []string // all that it has, the initial one first
}

// A Check is one condition and the value it saw.
type Check struct {
	Text string
	Saw  string
	OK   bool
}

// mask hides what may be a secret: the message, for it may be what is compared
// with one.
func (d *Decision) mask() {
	if d.Cause != nil {
		c := veiled(*d.Cause)
		d.Cause = &c
	}
	d.Since = nil
	for i := range d.Checks {
		if strings.HasPrefix(d.Checks[i].Text, "value ") {
			d.Checks[i].Saw = "***"
		}
	}
}

// String tells the decision in one line.
func (d Decision) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s %s", d.Rule, d.Instance, d.Outcome)
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
	sep := " -> "
	for _, s := range d.Sets {
		b.WriteString(sep + short(s))
		sep = ", "
	}
	for _, c := range d.Commands {
		b.WriteString(sep + cut(c.String(), 200))
		sep = ", "
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

// span prints a duration as the owner writes it.
func span(d time.Duration) string { return config.Duration(d).String() }

// An Engine holds the compiled links, rules, machines and calcs, and where each
// of them stands. One goroutine owns it.
type Engine struct {
	house     House
	registry  *devices.Registry
	rules     []*rule // links, machines and rules, in the order of one step
	byName    map[string]*rule
	calcs     []*calc
	variables []*variable
	holders   map[string]holder // of values: variables, machines, calcs
	watch     map[string]*watchers
	sources   map[string]devices.Source
	wanted    map[string][]Test // by source, what conditions ask of it
	devices   map[string]*device
	parts     map[string]Part // what is wired

	mindful  map[string]bool    // topics of actions with changed
	sent     map[string]sent    // what they got last
	hidden   map[string]bool    // topics of what is compared with a secret
	told     map[string]told    // what properties of devices were told, by where they report
	pulses   map[string]*thread // by output, who has switched it on for a time
	requests map[string]*request
	asked    int // requests made

	timers  timers
	known   bool          // the wall clock was known at the last look
	shift   time.Duration // by how much it was ahead of the monotonic one then
	started bool          // times of day are planned
	floor   time.Duration // what was due before this was missed, and is made up for at this moment
	changed []keeper      // those with news

	held      []string    // outputs that were on for what Restore found going on
	numbered  uint64      // the last ID of a decision
	now       devices.Now // of what is going on
	decided   []Decision  // so far
	queue     []devices.Reading
	waiting   []queued
	steps     uint64            // taken, to tell one from the next
	reports   uint64            // that came, to tell one from the next
	report    uint64            // which of them is looked at; 0 where it is none
	coming    string            // the source of the reading whose step is next; the registry has it already
	booted    bool              // Start or Reload has been called
	restoring bool              // Restore has been called, and neither of them: what is due waits for them
	reloading bool              // it will be Reload
	reloaded  bool              // it was Reload
	derived   int               // readings queued since Step was called
	batch     []devices.Reading // of one step: the reading and what calcs made of it
}

// watchers is who looks at a source.
type watchers struct {
	messages bool // some of them look at whole messages
	rules    []watcher
	one      [1]watcher // room for the first of them, who is often the only one
	*moreOfWatchers
}

// moreOfWatchers is of few sources; the others share one that is empty.
type moreOfWatchers struct {
	calcs    []*calc
	machines []watcher
}

var noWatchers = &watchers{moreOfWatchers: new(moreOfWatchers)}

// more is what is not shared.
func (w *watchers) more() *moreOfWatchers {
	if w.moreOfWatchers == noWatchers.moreOfWatchers {
		w.moreOfWatchers = new(moreOfWatchers)
	}
	return w.moreOfWatchers
}

// A watcher is one place of one rule that looks at a source.
type watcher struct {
	rule    *rule
	trigger *trigger // of which it is the own source or that of an until
	own     bool     // the first
	wait    *trigger // or it is the source of an action's wait
	level   int      // or, with neither, that of a condition with for
	at      []int    // for each capture of the source, its place among the rule's
}

// New compiles cfg. Mistakes go to at, the root of the configuration; if there
// are any the engine must not be used. The engine reads last values from
// registry, to which the caller applies each reading before Step.
func New(cfg Config, house House, registry *devices.Registry, at config.Place) *Engine {
	e := &Engine{
		house:    house,
		registry: registry,
		byName:   make(map[string]*rule),
		holders:  make(map[string]holder),
		watch:    make(map[string]*watchers),
		sources:  make(map[string]devices.Source),
		wanted:   make(map[string][]Test),
		devices:  make(map[string]*device),
		parts:    make(map[string]Part),
		mindful:  make(map[string]bool),
		sent:     make(map[string]sent),
		told:     make(map[string]told),
		hidden:   make(map[string]bool),
		pulses:   make(map[string]*thread),
		requests: make(map[string]*request),
	}
	for _, p := range house.Parts {
		e.parts[p.Name] = p
	}
	c := newCompiler(e, cfg, at)
	c.declare()
	c.calcs()
	c.machines()
	for _, l := range cfg.Link {
		e.add(c.link(l.Name, l.Value, at.Key("link").Key(l.Name)))
	}
	for _, r := range cfg.Rule {
		for _, entry := range r.Value.Entries {
			e.add(c.rule(r.Name, entry, at.Key("rule").Key(r.Name)))
		}
	}
	c.finish()
	return e
}

func (e *Engine) watchersOf(source string) *watchers {
	w := e.watch[source]
	if w == nil {
		w = &watchers{moreOfWatchers: noWatchers.moreOfWatchers}
		w.rules = w.one[:0]
		e.watch[source] = w
	}
	return w
}

// add takes a rule up. It is looked at where its sources report.
func (e *Engine) add(r *rule) {
	r.slim()
	r.order = len(e.rules)
	e.rules = append(e.rules, r)
	e.byName[r.name] = r
	r.only = r.instance(e, nil)
	if !r.enabled {
		return
	}
	put := func(source string, w watcher) {
		if source == "" {
			return
		}
		w.rule, w.at = r, r.places(e.sources[source])
		ws := e.watchersOf(source)
		ws.messages = ws.messages || r.message || w.own && w.trigger.distinct != nil
		if r.machine != nil {
			ws.more().machines = append(ws.machines, w)
		} else {
			ws.rules = append(ws.rules, w)
		}
	}
	for _, t := range r.triggers {
		seen := []string{t.source}
		put(t.source, watcher{trigger: t, own: true})
		for _, u := range t.untils {
			if !slices.Contains(seen, u.source) {
				seen = append(seen, u.source)
				put(u.source, watcher{trigger: t})
			}
		}
	}
	for _, t := range r.triggers {
		if s, ok := t.schedule.(*said); ok {
			put(s.source, watcher{trigger: t})
		}
	}
	for _, t := range r.waits {
		put(t.source, watcher{wait: t})
	}
	for i, l := range r.levels {
		put(l.source, watcher{level: i})
	}
}

// Sources is every source that something of the configuration looks at.
func (e *Engine) Sources() []devices.Source {
	list := make([]devices.Source, 0, len(e.sources))
	for _, text := range slices.Sorted(maps.Keys(e.sources)) {
		s := e.sources[text]
		s.Kind = e.kind(text)
		list = append(list, s)
	}
	return list
}

// Tells is every property of a device that some action tells something, "" for the device
// by its name alone. A target whose name has holes is not among them.
func (e *Engine) Tells(device string) (properties []string) {
	for _, r := range e.rules {
		for _, in := range r.program {
			if d := in.target.device; d != nil && d.name == device && !slices.Contains(properties, in.target.property) {
				properties = append(properties, in.target.property)
			}
		}
	}
	slices.Sort(properties)
	return properties
}

// An Order is what an action tells a device that announces itself.
type Order struct {
	Rule, Device string
	Property     string // "" for the device by its name alone
	Value        any    // nil: it is computed, or secret
}

// Orders lists what actions tell the devices that the configuration names, where that is not
// computed of whom.
func (e *Engine) Orders() (all []Order) {
	for _, r := range e.rules {
		for _, in := range r.program {
			d := in.target.device
			if d == nil {
				continue
			}
			for _, v := range []value{in.on, in.moreOfInstr.offValue} {
				one := Order{Rule: r.name, Device: d.name, Property: in.target.property}
				if v.kind == constant && !v.secret {
					one.Value = v.constant
				}
				if !slices.Contains(all, one) {
					all = append(all, one)
				}
			}
		}
	}
	return all
}

// Coalesces reports whether of several numeric readings of a source that wait
// to be stepped only the newest matters: nothing counts them or looks at each.
func (e *Engine) Coalesces(source string) bool {
	w := e.watch[source]
	if w == nil {
		return true
	}
	each := func(w watcher) bool {
		return w.trigger == nil || w.trigger.truthless() ||
			slices.ContainsFunc(w.trigger.untils, func(u *until) bool { return u.source == source && u.event })
	}
	return len(w.calcs) == 0 && !slices.ContainsFunc(w.machines, each) && !slices.ContainsFunc(w.rules, each)
}

// Step takes one reading, already applied to the registry, and returns what
// follows from it. Deadlines that have passed by then come first; not so for an
// initial reading, which may still cancel them.
func (e *Engine) Step(r devices.Reading) []Decision {
	e.reports++
	return e.receive(r)
}

func (e *Engine) receive(r devices.Reading) []Decision {
	e.now, e.derived = r.At, 0
	if !r.Initial && !e.restoring {
		e.coming = r.Source
		e.pass(r.At)
		e.coming = ""
	}
	e.report = e.reports
	e.take(r, false)
	e.report = 0
	return e.settle()
}

// Webhook is a POST to a path, which a trigger's webhook may name. The body is
// its message.
func (e *Engine) Webhook(path string, body []byte, now devices.Now) []Decision {
	m := devices.Message{Topic: path, Payload: body}
	r := devices.Reading{Source: hook(path), Topic: path, At: now, Message: &m,
		Origin: devices.Origin{By: "webhook " + path}}
	r.Value, r.Text, r.Bad = m.Value()
	return e.Step(r)
}

// Hooked says whether something is done when a path is posted to. It takes no longer in a
// large house: strangers may ask for it.
func (e *Engine) Hooked(path string) bool { return e.watch[hook(path)] != nil }

// hook is a webhook as a source; no topic and no name has a space at that place.
func hook(path string) string { return "POST " + path }

// Advance lets time pass: what has become due by now happens, in the order of
// its deadlines.
func (e *Engine) Advance(now devices.Now) []Decision {
	e.now, e.derived = now, 0
	e.pass(now)
	return e.settle()
}

// Next is the monotonic moment at which Advance has work; false if it has none.
func (e *Engine) Next() (time.Duration, bool) { return e.timers.next() }

// settle lets what was derived take its own step, until nothing is left, and
// hands out what was decided.
func (e *Engine) settle() []Decision {
	for len(e.queue) > 0 {
		r := e.queue[0]
		if e.queue = e.queue[1:]; len(e.queue) == 0 {
			e.queue = nil
		}
		e.now = r.At
		e.take(r, false)
	}
	ds := e.decided
	e.decided = nil
	return ds
}

// number is the ID of a new decision. A decision gets it when it is begun, so one that is
// made within another comes before that and has a higher one; and some come to nothing.
func (e *Engine) number() uint64 {
	e.numbered++
	return e.numbered
}

// Decided is the ID of the last decision. The engine that takes the place of this one at a
// reload goes on from there.
func (e *Engine) Decided() uint64 { return e.numbered }

// decide hands out a decision. What waited for its end comes after it.
func (e *Engine) decide(d Decision) {
	for i := range d.Commands {
		d.Commands[i].Origin.Decision = d.ID
	}
	if len(d.Sets) > 0 {
		// What is counted is on disk before it is told, or a crash would make
		// the same number twice.
		for i := range d.Commands {
			d.Commands[i].Journal = true
		}
	}
	if d.Cause == nil && d.secret || d.Cause != nil && e.Hidden(*d.Cause) || d.Since != nil && e.Hidden(*d.Since) {
		d.mask()
	}
	e.decided = append(e.decided, d)
	for len(e.waiting) > 0 {
		q := e.waiting[0]
		e.waiting = e.waiting[1:]
		e.dequeue(q)
	}
}

// derive queues the reading of a variable or a machine that has become v.
func (e *Engine) derive(r devices.Reading) {
	r.Text = valueText(r.Value)
	e.registry.Apply(r)
	if e.watch[r.Source] == nil {
		return
	}
	if e.derived++; e.derived > maxDerived {
		if e.derived == maxDerived+1 {
			e.decide(Decision{ID: e.number(), At: e.now, Rule: r.Origin.Last(), Outcome: Stopped,
				Why: fmt.Sprintf("one message has set variables and machines %d times", maxDerived)})
		}
		return
	}
	e.queue = append(e.queue, r)
}

// take is one step: calcs, machines, rules. With newOnly it is for those whose
// state was not taken over.
func (e *Engine) take(r devices.Reading, newOnly bool) {
	e.steps++
	w := e.watch[watched(&r)]
	if w == nil {
		return
	}
	if last, ok := e.registry.Last(r.Source); ok && r.Bad == "" {
		if r.Old == nil {
			r.Old = last.Old
		}
		r.Restored = r.Restored || r.Initial && last.Restored
	}
	if len(w.calcs) == 0 && len(w.machines) == 0 {
		e.batch = append(e.batch[:0], r)
		for i := range w.rules {
			e.look(&w.rules[i], &e.batch[0], newOnly)
		}
		return
	}
	batch := append([]devices.Reading(nil), r)
	for i := 0; i < len(batch); i++ {
		if w := e.watch[watched(&batch[i])]; w != nil {
			for _, c := range w.calcs {
				if newOnly && c.kept {
					continue
				}
				if out, ok := e.compute(c, &batch[i]); ok {
					batch = append(batch, out)
				}
			}
		}
	}
	type look struct {
		w *watcher
		r *devices.Reading
	}
	var machines, rules []look
	for i := range batch {
		if w := e.watch[watched(&batch[i])]; w != nil {
			for j := range w.machines {
				machines = append(machines, look{&w.machines[j], &batch[i]})
			}
			for j := range w.rules {
				rules = append(rules, look{&w.rules[j], &batch[i]})
			}
		}
	}
	for _, list := range [][]look{machines, rules} {
		if len(batch) > 1 {
			slices.SortStableFunc(list, func(a, b look) int { return a.w.rule.order - b.w.rule.order })
		}
		for _, l := range list {
			e.look(l.w, l.r, newOnly)
		}
	}
}

// watched is the source by which watchers know a reading.
func watched(r *devices.Reading) string {
	if r.Captured != nil {
		return r.Captured.Source
	}
	return r.Source
}

// look is one reading seen by one watcher, in each instance that it concerns.
func (e *Engine) look(w *watcher, in *devices.Reading, newOnly bool) {
	if w.rule.off {
		return
	}
	if len(w.rule.captures) == 0 {
		e.lookAs(w.rule.only, w, in, newOnly)
		return
	}
	if w.own || len(w.at) == len(w.rule.captures) {
		if inst := w.rule.find(e, w, in); inst != nil {
			e.lookAs(inst, w, in, newOnly)
		}
		return
	}
	for _, inst := range w.rule.all() {
		if inst.agrees(w, in) {
			e.lookAs(inst, w, in, newOnly)
		}
	}
}

func (e *Engine) lookAs(inst *instance, w *watcher, in *devices.Reading, newOnly bool) {
	switch {
	case newOnly && inst.kept:
	case w.trigger != nil:
		e.read(inst, w.trigger, in)
	case w.wait != nil:
		e.readWait(inst, w.wait, in)
	default:
		e.readLevel(inst, w.level, in)
	}
}
