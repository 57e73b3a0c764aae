package gpio

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"hearth/config"
)

// A Guard decides what becomes of commands: it keeps what is declared of
// outputs, their interlocks and groups, whatever anybody wants. It starts
// nothing, reads no clock and touches no pin. Times are measured from any moment
// that stays the same; they go forward only.
//
// What it says is to be done at once and in order. Whoever has one calls
// [Guard.Advance] when [Guard.Next] says so; what is done late is late, and the
// times that follow count from then.
type Guard struct {
	outputs []*guarded // in the order of the configuration
	byName  map[string]*guarded
	asked   int // counts the commands that had to wait

	// slow says that a drive takes time, and that done tells when it was made.
	// Until then an output that goes off counts as on.
	slow bool
}

// A guarded output.
type guarded struct {
	name string
	Output
	partners []partner
	groups   []*group
	state
}

// state is what changes of an output. A reload takes it over.
type state struct {
	on       bool
	began    time.Duration // when it was told to be so: max_on counts from here
	since    time.Duration // when it was so: min_on and min_off count from here
	gone     time.Duration // of one that is off: the gaps of others count from here
	waiting  *wait
	moving   int     // changes that are not yet known to be made
	unsure   bool    // told to be off, which did not work, or nobody knows how it is
	lost     bool    // its line is gone: it takes no command
	held     float64 // percent: what it had when that happened
	fault    string  // what its feedback said against it; it stays off until somebody acknowledges that
	feedback echo

	percent float64         //: 0 for off, 100 for one without levels that is on
	until   time.Duration   // when a timed set ends, else never
	renewed time.Duration   // when it was last told to be on: lifetime counts from here
	starts  []time.Duration // when it went on, the last maxRate times, for starts
	cycles  uint64          // how often it went on
	ramp    *ramp           // the way from one level to another that it is on
	cycle   cycle           // the turns of one with a period
}

// A partner is an output that must never be on together with another.
type partner struct {
	*guarded
	gap   time.Duration // the longest of all interlocks with both
	lock  string        // what says so: "interlock.shutter"
	fresh bool          // nothing did before the reload
}

// A group is outputs that share a supply.
type group struct {
	Group
	name    string
	members []*guarded
	last    time.Duration // when one of them went on last
}

// A wait is a command that came too early.
type wait struct {
	Order
	nth        int           // of all that had to wait: the oldest goes first
	at         time.Duration // when it came
	cause, why string
}

// An Order is a command for one output.
type Order struct {
	Output string
	On     bool

	// Level is in percent, above 0 to 100, for an output with levels; 0 for full.
	Level float64

	// For is how long it is on, then it goes off; 0: until it is told.
	For time.Duration

	// Ramp is how long the way to the new level takes; 0: as configured.
	Ramp time.Duration

	// Acknowledge takes a fault back and leaves the rest as it is.
	Acknowledge bool
}

// A Drive is one switch that has been decided.
type Drive struct {
	Output string
	On     bool
	Level  float64 // percent: what is to be put out; 0 or 100 for one without levels

	// Same is set where there is nothing to switch: a command that waited came to
	// nothing, and whoever gave it is to hear how the output is.
	Same bool

	// Cause is the output whose command this follows from; "" where only time
	// passed, as with max_on.
	Cause string

	// Why says what the owner declared that made this; "" for a command that is
	// carried out at once.
	Why string

	// Step is set for what belongs to a level: the turns of a period, the steps of a
	// ramp but the last. It is no news of what was decided.
	Step bool

	change bool // done is to be told of it
}

const (
	longAgo = time.Duration(math.MinInt64 / 2) // before everything, with room to add to it
	never   = time.Duration(math.MaxInt64)
)

// NewGuard is a guard of outputs that have all been off for ever. The
// configuration must be one that Check found sound.
func NewGuard(cfg Config) *Guard {
	g := &Guard{byName: map[string]*guarded{}}
	for _, o := range cfg.Output {
		s := &guarded{name: o.Name, Output: o.Value}
		s.state = state{began: longAgo, since: longAgo, gone: longAgo, until: never}
		g.outputs = append(g.outputs, s)
		g.byName[o.Name] = s
	}
	for _, l := range cfg.Interlock {
		g.lock("interlock."+l.Name, time.Duration(l.Value.Gap), l.Value.Outputs...)
	}
	for _, c := range cfg.Cover {
		g.lock("cover."+c.Name, c.Value.gap(), c.Value.Up, c.Value.Down)
	}
	for _, named := range cfg.Group {
		of := &group{Group: named.Value, name: "group." + named.Name, last: longAgo}
		for _, name := range named.Value.Outputs {
			if o := g.byName[name]; o != nil {
				of.members = append(of.members, o)
				o.groups = append(o.groups, of)
			}
		}
	}
	return g
}

// lock makes outputs partners of each other.
func (g *Guard) lock(name string, gap time.Duration, outputs ...string) {
	for _, a := range outputs {
		for _, b := range outputs {
			if a != b && g.byName[a] != nil && g.byName[b] != nil {
				g.byName[a].pair(g.byName[b], gap, name)
			}
		}
	}
}

func (o *guarded) pair(other *guarded, gap time.Duration, lock string) {
	for i := range o.partners {
		if p := &o.partners[i]; p.guarded == other {
			if gap > p.gap {
				p.gap, p.lock = gap, lock
			}
			return
		}
	}
	o.partners = append(o.partners, partner{other, gap, lock, false})
}

// Started says how an output is, and since when. One of which that is not known
// counts as just switched: since is now.
func (g *Guard) Started(output string, on bool, since time.Duration) {
	if g.byName[output] != nil {
		g.begin(output, on, since, since, since)
	}
}

func (g *Guard) begin(output string, on bool, began, since, gone time.Duration) {
	o := g.byName[output]
	o.on, o.began, o.since, o.gone = on, began, since, gone
	o.percent, o.renewed, o.until, o.ramp = 0, began, never, nil
	if on {
		o.percent = 100
		for _, of := range o.groups {
			of.last = max(of.last, began)
		}
	}
}

// State is how an output was told to be, and since when.
func (g *Guard) State(output string) (on bool, since time.Duration) {
	if o := g.byName[output]; o != nil {
		return o.on, o.since
	}
	return false, longAgo
}

// Level is the level in percent that an output was told, or is on its way to.
func (g *Guard) Level(output string) float64 {
	if o := g.byName[output]; o != nil {
		return o.aim()
	}
	return 0
}

// Last is whether an output is on for good: what initial = "last" goes back to.
func (g *Guard) Last(output string) bool {
	o := g.byName[output]
	return o != nil && o.demands() && o.until == never && o.falls()
}

// Fault is what keeps an output off until it is acknowledged; "" is nothing.
func (g *Guard) Fault(output string) string {
	if o := g.byName[output]; o != nil {
		return o.fault
	}
	return ""
}

// Command is Do of an output that goes on or off.
func (g *Guard) Command(output string, on bool, at time.Duration) ([]Drive, error) {
	return g.Do(Order{Output: output, On: on}, at)
}

// Do is what has to be switched now for an order to be carried out. It may be
// nothing yet, or others first. The error says that there is no such output, or
// that it can't take this order; then nothing has changed.
func (g *Guard) Do(order Order, at time.Duration) ([]Drive, error) {
	o, err := g.find(order.Output)
	if err == nil {
		err = o.takes(&order)
	}
	if err != nil {
		return nil, err
	}
	if order.Acknowledge {
		o.fault, o.feedback.at = "", at // it has its time once more
		return g.put(o, o.on, at, o.name, "", nil), nil
	}
	// The newest command wins, also over one that is due this very moment: what
	// waits goes first, so that it makes no pulse.
	var drives []Drive
	drives = g.drop(o, o.name, "a newer command took its place", drives)
	if order.On {
		for _, p := range o.partners {
			if p.waiting != nil && p.waiting.On {
				drives = g.drop(p.guarded, o.name, fmt.Sprintf("%s: %s is to be on", p.lock, o.name), drives)
			}
		}
	}
	drives = g.advance(at, false, drives)
	if !order.On {
		drives = g.off(o, order.Ramp, at, o.name, "", drives)
		if len(o.groups) > 0 { // there is room for another
			drives = g.admit(func(due time.Duration) bool { return due <= at }, at, drives)
		}
		return drives, nil
	}
	if o.fault != "" { // told by its feedback this very moment
		return drives, nil
	}
	for _, p := range o.partners {
		// One that is on its way off needs no second word.
		if p.demands() && (p.waiting == nil || p.waiting.On) || p.unsure && p.moving == 0 && !p.lost {
			drives = g.off(p.guarded, -1, at, o.name, fmt.Sprintf("%s: %s is to be on", p.lock, o.name), drives)
		}
	}
	due, why, ok := g.earliest(o, true)
	if ok && due <= at {
		return g.start(o, order, at, o.name, "", drives), nil
	}
	g.asked++
	o.waiting = &wait{order, g.asked, at, o.name, why}
	return drives, nil
}

// takes says why the output can't take an order, and fills in what follows from
// its configuration.
func (o *guarded) takes(order *Order) error {
	switch {
	case o.lost:
		return fmt.Errorf("%s: its line does not answer, so nothing can be switched until it is back", o.name)
	case order.Acknowledge && o.fault == "":
		return fmt.Errorf("%s has no fault to acknowledge", o.name)
	case order.Acknowledge:
		return nil
	case order.On && o.lostPartner() != nil:
		p := o.lostPartner()
		return fmt.Errorf("%s: it stays off, for the line of %s, with which it is in %s, does not answer", o.name, p.name, p.lock)
	case order.On && o.fault != "":
		return fmt.Errorf("%s has a fault and stays as it is until somebody acknowledges that: %s", o.name, o.fault)
	case math.IsNaN(order.Level) || order.Level < 0 || order.Level > 100:
		return fmt.Errorf("%s: want a level from 0 to 100, not %v", o.name, order.Level)
	case order.On && order.Level > 0 && order.Level < 100 && !o.Levels():
		return fmt.Errorf("%s is on or off and has no level %v", o.name, order.Level)
	case order.For < 0 || order.Ramp < 0 || order.For > maxFor || order.Ramp > maxFor:
		return fmt.Errorf("%s: want a time from 0 to 366 days", o.name)
	case order.For > 0 && !order.On:
		return fmt.Errorf("%s: only a command to be on can be for a time", o.name)
	case order.For > 0 && o.Momentary > 0:
		return fmt.Errorf("%s is on for %v each time, as momentary says", o.name, o.Momentary)
	}
	if order.On && o.Momentary > 0 {
		order.For = time.Duration(o.Momentary)
	}
	if order.Level == 0 || !order.On {
		order.Level = 100
	}
	return nil
}

// alone reports whether all partners are off for sure, and have been for the gap.
func (o *guarded) alone(at time.Duration) bool {
	return !slices.ContainsFunc(o.partners, func(p partner) bool {
		return p.demands() || p.unsure || p.moving > 0 || p.gone+p.gap > at
	})
}

// lostPartner is a partner of which nobody knows how it is.
func (o *guarded) lostPartner() *partner {
	for i, p := range o.partners {
		if p.lost {
			return &o.partners[i]
		}
	}
	return nil
}

// maxFor is the longest time that a command can be for.
const maxFor = 366 * 24 * time.Hour

func (g *Guard) find(output string) (*guarded, error) {
	if o := g.byName[output]; o != nil {
		return o, nil
	}
	if near, ok := config.Nearest(output, slices.Sorted(maps.Keys(g.byName))); ok {
		return nil, fmt.Errorf("no output %q, did you mean %q?", output, near)
	}
	return nil, fmt.Errorf("no output %q", output)
}

// demands reports whether the output is on or, with a period, on again soon.
func (o *guarded) demands() bool { return o.on || o.percent > 0 }

// start has an output be on as ordered.
func (g *Guard) start(o *guarded, order Order, at time.Duration, cause, why string, drives []Drive) []Drive {
	from := o.shown(at)
	if !o.demands() {
		o.began, from = at, 0
		o.cycle.window = max(o.cycle.window, at)
	}
	o.percent, o.ramp, o.renewed, o.until = order.Level, nil, at, never
	if most := time.Duration(o.Momentary); most > 0 && (order.For == 0 || order.For > most) { // a reload made it so while this waited
		order.For = time.Duration(o.Momentary)
	}
	if order.For > 0 {
		o.until = at + order.For
	}
	if o.Period > 0 {
		o.cycle.plan(o, at)
		if !o.on && (!o.cycle.phase(at) || o.endsWithin(at)) { // its turn comes later, or never
			return g.put(o, false, at, cause, why, drives)
		}
	}
	o.ramp = newRamp(o, from, order.Level, order.Ramp, at)
	return g.put(o, true, at, cause, why, drives)
}

// off switches an output off, or has it wait for its min_on. It goes at once if
// over is negative, else as its ramp says.
func (g *Guard) off(o *guarded, over, at time.Duration, cause, why string, drives []Drive) []Drive {
	if due, waits, ok := g.earliest(o, false); !ok || due > at {
		if why != "" {
			waits = why + ", after " + waits
		}
		g.asked++
		o.waiting = &wait{Order{Output: o.name, Ramp: over}, g.asked, at, cause, waits}
		return drives
	}
	if r := newRamp(o, o.shown(at), 0, over, at); o.on && over >= 0 && r != nil {
		o.ramp, o.until = r, never
		return g.put(o, true, at, cause, why, drives)
	}
	return g.drive(o, false, at, cause, why, drives)
}

// drive makes an output be on or off, at once and for good.
func (g *Guard) drive(o *guarded, on bool, at time.Duration, cause, why string, drives []Drive) []Drive {
	o.percent, o.until, o.ramp = 0, never, nil
	if on {
		o.percent, o.began = 100, at
	}
	return g.put(o, on, at, cause, why, drives)
}

// put switches the line of an output now.
func (g *Guard) put(o *guarded, on bool, at time.Duration, cause, why string, drives []Drive) []Drive {
	change := o.on != on || o.unsure
	if change {
		if o.Period == 0 {
			o.began = at
		}
		o.on, o.since = on, at
		if on {
			o.unsure = false // it is on, as far as anybody has to fear
			o.cycles++
			o.count(at)
		} else {
			o.gone = at
		}
	}
	change = g.slow && (change || o.moving > 0)
	if change {
		o.moving++
	}
	return append(drives, Drive{Output: o.name, On: on, Level: o.shown(at), Cause: cause, Why: why, change: change})
}

// count notes that an output went on.
func (o *guarded) count(at time.Duration) {
	for _, of := range o.groups {
		of.last = at
	}
	o.starts = append(o.starts, at) // a reload may bring a limit
	o.starts = o.starts[max(0, len(o.starts)-maxRate):]
}

// drop forgets what waits for an output.
func (g *Guard) drop(o *guarded, cause, why string, drives []Drive) []Drive {
	w := o.waiting
	if o.waiting = nil; w == nil || w.cause != o.name { // else nobody waits to hear of it
		return drives
	}
	return append(drives, Drive{Output: o.name, On: o.on, Level: o.percent, Same: true, Cause: cause, Why: why})
}

// earliest is when an output may become on or off and what it has to wait for
// until then; not ok while that hangs on a switch that has not been made.
func (g *Guard) earliest(o *guarded, on bool) (due time.Duration, why string, ok bool) {
	due, ok = longAgo, true
	if least := time.Duration(o.MinOn); o.on && !on && least > 0 {
		due, why, ok = o.since+least, fmt.Sprintf("min_on = %q", o.MinOn), o.moving == 0
	}
	if least := time.Duration(o.MinOff); !o.on && on && least > 0 {
		due, why, ok = o.since+least, fmt.Sprintf("min_off = %q", o.MinOff), o.moving == 0
	}
	if !on || o.on {
		return due, why, ok
	}
	later := func(when time.Duration, what string) {
		if when > due {
			due, why = when, what
		}
	}
	if n := o.Starts.Most; n > 0 && len(o.starts) >= n {
		later(o.starts[len(o.starts)-n]+o.Starts.Per, fmt.Sprintf("starts = %q", o.Starts))
	}
	for _, of := range o.groups {
		if of.Stagger > 0 {
			what := fmt.Sprintf("%s with stagger = %q", of.name, of.Stagger)
			later(of.last+time.Duration(of.Stagger), what)
			for _, m := range of.members {
				if m != o && m.on && m.moving > 0 { // it may go on at any moment
					why, ok = what, false
				}
			}
		}
		if of.Most > 0 && of.used(o) >= of.Most {
			due, ok = max(due, longAgo+1), false
			why = fmt.Sprintf("%s, of which %d may be on", of.name, of.Most)
		}
	}
	for _, p := range o.partners {
		free := p.gone + p.gap
		switch {
		case p.on:
			end, _, _ := g.earliest(p.guarded, false)
			free = max(end, p.since) + p.gap
			ok = false
		case p.unsure || p.moving > 0 || p.percent > 0:
			ok = false
		}
		if free > due || why == "" && !ok {
			due, why = max(due, free), fmt.Sprintf("%s with %s", p.lock, p.name)
		}
	}
	return due, why, ok
}

// used is how many of the group are on, as far as anybody has to fear, but for o.
func (of *group) used(o *guarded) (n int) {
	for _, m := range of.members {
		if m != o && (m.on || m.unsure || m.moving > 0) {
			n++
		}
	}
	return n
}

// ends is when an output has been on long enough, and what says so.
func (o *guarded) ends() (due time.Duration, why string, ok bool) {
	if !o.demands() {
		return 0, "", false
	}
	due = never
	if o.until < due {
		due, why = o.until, "its time is over"
		if o.Momentary > 0 {
			why = o.letGo()
		}
	}
	if d := o.renewed + time.Duration(o.Lifetime); o.Lifetime > 0 && d < due && o.falls() {
		due, why = d, fmt.Sprintf("lifetime = %q: nobody has said again that it is to be on", o.Lifetime)
	}
	if d := o.began + time.Duration(o.MaxOn); o.MaxOn > 0 && d <= due {
		due, why = d, fmt.Sprintf("max_on = %q", o.MaxOn)
	}
	return due, why, due != never
}

// letGo is what switches off what was pressed, and keeps nothing off.
func (o Output) letGo() string { return fmt.Sprintf("momentary = %q", o.Momentary) }

// falls reports whether nothing has decided yet that the output goes off.
func (o *guarded) falls() bool {
	return (o.waiting == nil || o.waiting.On) && (o.ramp == nil || o.ramp.to > 0)
}

// Advance is what has to be switched because it is now at.
func (g *Guard) Advance(at time.Duration) []Drive { return g.advance(at, true, nil) }

// advance does what was due before at, and with now also what is due at at.
func (g *Guard) advance(at time.Duration, now bool, drives []Drive) []Drive {
	passed := func(due time.Duration) bool { return due < at || now && due == at }
	// First what goes off: it may be what another waits for.
	for _, o := range g.outputs {
		if due, why, ok := o.ends(); ok && passed(due) {
			o.waiting, o.until, o.renewed = nil, never, never-time.Duration(o.Lifetime) // an off
			if limit := o.began + time.Duration(o.MaxOn); o.MaxOn > 0 && passed(limit) {
				drives = g.drive(o, false, at, "", why, drives)
			} else {
				drives = g.off(o, 0, at, "", why, drives)
			}
		}
		if due, why, ok := o.contradicted(); ok && passed(due) {
			drives = g.fail(o, why, at, drives)
		}
		if w := o.waiting; w != nil && w.On && o.Lifetime > 0 && passed(w.at+time.Duration(o.Lifetime)) {
			drives = g.drop(o, "", fmt.Sprintf("lifetime = %q: it waited too long", o.Lifetime), drives)
		}
		if r := o.ramp; r != nil && passed(r.next()) {
			drives = g.step(o, at, drives)
		}
	}
	for _, o := range g.waits(false) {
		if due, _, ok := g.earliest(o, false); ok && passed(due) {
			w := o.waiting
			o.waiting = nil
			drives = g.off(o, w.Ramp, at, w.cause, "it waited: "+w.why, drives)
		}
	}
	drives = g.turn(false, passed, at, drives)
	return g.turn(true, passed, at, g.admit(passed, at, drives))
}

// admit has those go on that waited for it and may do so now.
func (g *Guard) admit(passed func(time.Duration) bool, at time.Duration, drives []Drive) []Drive {
	for _, o := range g.waits(true) {
		if due, _, ok := g.earliest(o, true); ok && passed(due) {
			w := o.waiting
			o.waiting = nil
			drives = g.start(o, w.Order, at, w.cause, "it waited: "+w.why, drives)
		}
	}
	return drives
}

// waits is the outputs for which a command to be on, or off, waits: the oldest
// first.
func (g *Guard) waits(on bool) (waits []*guarded) {
	for _, o := range g.outputs {
		if o.waiting != nil && o.waiting.On == on {
			waits = append(waits, o)
		}
	}
	slices.SortStableFunc(waits, func(a, b *guarded) int { return a.waiting.nth - b.waiting.nth })
	return waits
}

// Next is when Advance has something to do.
func (g *Guard) Next() (at time.Duration, ok bool) {
	at = never
	for _, o := range g.outputs {
		if due, _, on := o.ends(); on {
			at = min(at, due)
		}
		if due, _, in := o.contradicted(); in {
			at = min(at, due)
		}
		if o.ramp != nil {
			at = min(at, o.ramp.next())
		}
		if due, turns := g.nextTurn(o); turns {
			at = min(at, due)
		}
		if o.waiting == nil {
			continue
		}
		if due, _, known := g.earliest(o, o.waiting.On); known {
			at = min(at, due)
		}
		if o.waiting.On && o.Lifetime > 0 {
			at = min(at, o.waiting.at+time.Duration(o.Lifetime))
		}
	}
	return at, at != never
}

// A Waiting is a command that came too early.
type Waiting struct {
	On    bool
	Until time.Duration // when it will be carried out, as far as can be said now
	Why   string        // what it waits for
	Open  bool          // nobody knows when, for another has to go off first
}

// Waiting is the command that waits for an output, if there is one.
func (g *Guard) Waiting(output string) (Waiting, bool) {
	o := g.byName[output]
	if o == nil || o.waiting == nil {
		return Waiting{}, false
	}
	until, _, known := g.earliest(o, o.waiting.On)
	return Waiting{o.waiting.On, until, o.waiting.why, !known && until <= longAgo+1}, true
}

// done says that a change of a slow guard was made at at, or that it failed. It
// gives what could only wait for that.
func (g *Guard) done(output string, on bool, at time.Duration, failed bool) []Drive {
	o := g.byName[output]
	if o == nil || o.moving == 0 {
		return nil
	}
	o.moving--
	if on && !failed { // it went on now, whatever comes after that
		if n := len(o.starts); n > 0 {
			o.starts[n-1] = at
		}
		for _, of := range o.groups {
			of.last = max(of.last, at)
		}
	}
	var drives []Drive
	switch {
	case failed && !on && !o.on:
		// It may still be on, so nobody may go on because of this off. A command
		// that came minutes ago is not carried out when the line is back one day.
		o.unsure, o.since, o.gone = true, at, at
		drives = g.forsake(o, drives)
	case failed || o.moving > 0 || o.on != on: // one that failed to go on counts as on
	case on:
		o.since = at
	default:
		o.since, o.gone, o.unsure = at, at, false
	}
	return g.advance(at, true, drives)
}

// forsake drops the commands of those that wait for an output of which nobody
// knows how it is.
func (g *Guard) forsake(o *guarded, drives []Drive) []Drive {
	for _, p := range o.partners {
		if p.waiting != nil && p.waiting.On {
			drives = g.drop(p.guarded, p.name, fmt.Sprintf("%s: %s could not be switched off", p.lock, o.name), drives)
		}
	}
	return drives
}

// vanish says that the line of an output does not answer: nobody knows how the
// output is, and it takes no command until appear. What was to become of it is
// forgotten.
func (g *Guard) vanish(output string, at time.Duration) []Drive {
	o := g.byName[output]
	if o == nil || o.lost {
		return nil
	}
	drives := g.drop(o, o.name, "its line does not answer", nil)
	o.held = o.aim()
	o.on, o.percent, o.until, o.ramp = false, 0, never, nil
	o.lost, o.unsure, o.moving = true, true, 0
	o.since, o.gone = at, at
	drives = g.forsake(o, drives)
	return g.advance(at, true, drives)
}

// appear says that the line of an output answers again, and is on or off. One that
// is on as it was has been so all the time, as far as max_on and lifetime go.
func (g *Guard) appear(output string, on bool, at time.Duration) []Drive {
	o := g.byName[output]
	if o == nil || !o.lost {
		return nil
	}
	o.lost, o.unsure = false, false
	began, renewed := o.began, o.renewed
	g.begin(output, on, at, at, at)
	if on && o.held > 0 {
		o.began, o.renewed, o.percent = began, renewed, o.held
	}
	o.feedback.at = at
	return g.advance(at, true, nil)
}

// adopt takes over from an earlier guard how an output is and what waits for it.
func (g *Guard) adopt(from *Guard, output string) {
	o, was := g.byName[output], from.byName[output]
	o.state = was.state
	g.asked = max(g.asked, from.asked)
	if !o.Levels() {
		if o.ramp != nil && o.ramp.to == 0 { // on its way to off: it goes at once
			o.until = longAgo
		}
		o.ramp = nil
		if o.on {
			o.percent = 100
		}
	}
	if !o.on && o.Period == 0 {
		o.percent = 0
	}
	if o.Period != was.Period {
		o.cycle = cycle{}
	}
	if o.Momentary > 0 && o.on && o.falls() {
		o.until = min(o.until, o.renewed+time.Duration(o.Momentary))
	}
	for i, p := range o.partners {
		o.partners[i].fresh = !slices.ContainsFunc(was.partners, func(before partner) bool { return before.name == p.name })
	}
	for _, of := range o.groups {
		for _, before := range was.groups {
			if before.name == of.name {
				of.last = max(of.last, before.last)
			}
		}
		if o.on {
			of.last = max(of.last, o.since)
		}
	}
}

// settle is what has to be switched so that interlocks hold of which the state
// that was adopted knew nothing. Of several that are on none stays on, for nobody
// knows which was meant; min_on has to stand back. So it is with groups of which
// too many are on: the last of them go off.
func (g *Guard) settle(at time.Duration) (drives []Drive) {
	for _, o := range g.outputs {
		for _, p := range o.partners {
			if o.waiting == nil || !o.waiting.On {
				break
			}
			if p.demands() || p.waiting != nil && p.waiting.On {
				drives = g.drop(o, "", fmt.Sprintf("%s is new", p.lock), drives)
			}
		}
	}
	locks := map[*guarded]string{}
	for _, o := range g.outputs {
		for _, p := range o.partners {
			if o.demands() && (p.demands() || p.fresh && p.unsure) {
				locks[o] = p.lock
			}
		}
	}
	for _, o := range g.outputs {
		if lock, ok := locks[o]; ok {
			o.waiting = nil
			drives = g.drive(o, false, at, "", fmt.Sprintf("%s is new, and several of its outputs were on, as far as is known", lock), drives)
		}
	}
	for _, o := range slices.Backward(g.outputs) {
		for _, of := range o.groups {
			on := 0
			for _, m := range of.members {
				if m.on || m.unsure { // those that are on their way off are not to go twice
					on++
				}
			}
			if o.on && of.Most > 0 && on > of.Most {
				o.waiting = nil
				drives = g.drive(o, false, at, "", fmt.Sprintf("%s is new, and %d of its outputs were on", of.name, on), drives)
			}
		}
	}
	return drives
}

// --- feedback ---

// An echo is what the input says that shows whether an output obeys.
type echo struct {
	heard bool // there has been word of it
	known bool // how it is
	on    bool
	at    time.Duration // since when
}

// Input says that an input is on or off, or that nobody knows.
func (g *Guard) Input(input string, on, known bool, at time.Duration) {
	for _, o := range g.outputs {
		e := &o.feedback
		if o.Feedback != input || input == "" || e.heard && e.on == on && e.known == known {
			continue
		}
		*e = echo{true, known, on, at}
	}
}

// contradicted is when the feedback of an output has been against it for too
// long, and what it says.
func (o *guarded) contradicted() (due time.Duration, why string, ok bool) {
	e := o.feedback
	if o.Feedback == "" || o.fault != "" || !e.heard || o.lost || e.known && e.on == o.on {
		return 0, "", false
	}
	within := time.Duration(o.FeedbackWithin)
	if within == 0 {
		within = feedbackWithin
	}
	is, been := "is unknown", "has been unknown"
	if e.known {
		is, been = "says "+word(e.on), "has said "+word(e.on)
	}
	if e.at > o.since { // it was as it should be, or nobody knew
		return e.at + within, fmt.Sprintf("its feedback %s %s for %v while it was %s", o.Feedback, been, within, word(o.on)), true
	}
	return o.since + within, fmt.Sprintf("its feedback %s %s %v after it was switched %s", o.Feedback, is, within, word(o.on)), true
}

// fail gives an output the fault that its feedback tells, and its safe state.
func (g *Guard) fail(o *guarded, why string, at time.Duration, drives []Drive) []Drive {
	o.fault = why
	drives = g.drop(o, "", "its feedback is against it", drives)
	return g.drive(o, o.Safe == "on", at, "", why, drives)
}
