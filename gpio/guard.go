package gpio

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"hearth/config"
)

// A Guard decides what becomes of commands: it keeps interlocks and the
// shortest and longest times of outputs, whatever anybody wants. It starts
// nothing, reads no clock and touches no pin. Times are measured from any moment
// that stays the same; they go forward only.
//
// What it says is to be done at once and in order. Whoever has one calls
// [Guard.Advance] when [Guard.Next] says so; what is done late is late, and the
// times that follow count from then.
type Guard struct {
	outputs []*guarded // in the order of the configuration
	byName  map[string]*guarded

	// slow says that a drive takes time, and that done tells when it was made.
	// Until then an output that goes off counts as on.
	slow bool
}

// A guarded output.
type guarded struct {
	name string
	Output
	partners []partner

	on      bool
	began   time.Duration // when it was told to be so: max_on counts from here
	since   time.Duration // when it was so: min_on and min_off count from here
	gone    time.Duration // of one that is off: the gaps of others count from here
	waiting *wait
	moving  int  // changes that are not yet known to be made
	unsure  bool // told to be off, which did not work
}

// A partner is an output that must never be on together with another.
type partner struct {
	*guarded
	gap  time.Duration // the longest of all interlocks with both
	lock string        // that interlock
}

// A wait is a command that came too early.
type wait struct {
	on         bool
	cause, why string
}

// A Drive is one switch that has been decided.
type Drive struct {
	Output string
	On     bool

	// Same is set where there is nothing to switch: a command that waited came to
	// nothing, and whoever gave it is to hear how the output is.
	Same bool

	// Cause is the output whose command this follows from; "" where only time
	// passed, as with max_on.
	Cause string

	// Why says what the owner declared that made this; "" for a command that is
	// carried out at once.
	Why string

	change bool // done is to be told of it
}

// longAgo is before everything, with room to add to it.
const longAgo = time.Duration(math.MinInt64 / 2)

// NewGuard is a guard of outputs that have all been off for ever. The
// configuration must be one that Check found sound.
func NewGuard(cfg Config) *Guard {
	g := &Guard{byName: map[string]*guarded{}}
	for _, o := range cfg.Output {
		s := &guarded{name: o.Name, Output: o.Value, began: longAgo, since: longAgo, gone: longAgo}
		g.outputs = append(g.outputs, s)
		g.byName[o.Name] = s
	}
	for _, l := range cfg.Locks() {
		for _, a := range l.Value.Outputs {
			for _, b := range l.Value.Outputs {
				if a != b && g.byName[a] != nil && g.byName[b] != nil {
					g.byName[a].pair(g.byName[b], time.Duration(l.Value.Gap), l.Name)
				}
			}
		}
	}
	return g
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
	o.partners = append(o.partners, partner{other, gap, lock})
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
}

// State is how an output was told to be, and since when.
func (g *Guard) State(output string) (on bool, since time.Duration) {
	if o := g.byName[output]; o != nil {
		return o.on, o.since
	}
	return false, longAgo
}

// Command is what has to be switched now for output to become on or off. It may
// be nothing yet, or others first. The error says that there is no such output.
func (g *Guard) Command(output string, on bool, at time.Duration) ([]Drive, error) {
	o, err := g.find(output)
	if err != nil {
		return nil, err
	}
	// The newest command wins, also over one that is due this very moment: what
	// waits goes first, so that it makes no pulse.
	var drives []Drive
	drives = g.drop(o, output, "a newer command took its place", drives)
	if on {
		for _, p := range o.partners {
			if p.waiting != nil && p.waiting.on {
				drives = g.drop(p.guarded, output, fmt.Sprintf("interlock.%s: %s is to be on", p.lock, output), drives)
			}
		}
	}
	drives = g.advance(at, false, drives)
	if !on {
		return g.off(o, at, output, "", drives), nil
	}
	for _, p := range o.partners {
		// One that is on its way off needs no second word.
		if p.on && (p.waiting == nil || p.waiting.on) || p.unsure && p.moving == 0 {
			drives = g.off(p.guarded, at, output, fmt.Sprintf("interlock.%s: %s is to be on", p.lock, output), drives)
		}
	}
	if due, _, ok := g.earliest(o, true); ok && due <= at {
		return g.drive(o, true, at, output, "", drives), nil
	}
	_, why, _ := g.earliest(o, true)
	o.waiting = &wait{true, output, why}
	return drives, nil
}

func (g *Guard) find(output string) (*guarded, error) {
	if o := g.byName[output]; o != nil {
		return o, nil
	}
	if near, ok := config.Nearest(output, slices.Sorted(maps.Keys(g.byName))); ok {
		return nil, fmt.Errorf("no output %q, did you mean %q?", output, near)
	}
	return nil, fmt.Errorf("no output %q", output)
}

// off switches an output off, or has it wait for its min_on.
func (g *Guard) off(o *guarded, at time.Duration, cause, why string, drives []Drive) []Drive {
	if due, waits, ok := g.earliest(o, false); !ok || due > at {
		if why != "" {
			waits = why + ", after " + waits
		}
		o.waiting = &wait{false, cause, waits}
		return drives
	}
	return g.drive(o, false, at, cause, why, drives)
}

// drive switches an output now.
func (g *Guard) drive(o *guarded, on bool, at time.Duration, cause, why string, drives []Drive) []Drive {
	change := o.on != on || o.unsure
	if change {
		o.on, o.began, o.since = on, at, at
		if on {
			o.unsure = false // it is on, as far as anybody has to fear
		} else {
			o.gone = at
		}
	}
	change = g.slow && (change || o.moving > 0)
	if change {
		o.moving++
	}
	return append(drives, Drive{Output: o.name, On: on, Cause: cause, Why: why, change: change})
}

// drop forgets what waits for an output.
func (g *Guard) drop(o *guarded, cause, why string, drives []Drive) []Drive {
	if o.waiting == nil {
		return drives
	}
	o.waiting = nil
	return append(drives, Drive{Output: o.name, On: o.on, Same: true, Cause: cause, Why: why})
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
	for _, p := range o.partners {
		free := p.gone + p.gap
		switch {
		case p.on:
			end, _, _ := g.earliest(p.guarded, false)
			free = max(end, p.since) + p.gap
			ok = false
		case p.unsure || p.moving > 0:
			ok = false
		}
		if free > due || why == "" && !ok {
			due, why = max(due, free), fmt.Sprintf("interlock.%s with %s", p.lock, p.name)
		}
	}
	return due, why, ok
}

// longest is when an output has been on long enough.
func (o *guarded) longest() (time.Duration, bool) {
	return o.began + time.Duration(o.MaxOn), o.on && o.MaxOn > 0
}

// Advance is what has to be switched because it is now at.
func (g *Guard) Advance(at time.Duration) []Drive { return g.advance(at, true, nil) }

// advance does what was due before at, and with now also what is due at at.
func (g *Guard) advance(at time.Duration, now bool, drives []Drive) []Drive {
	passed := func(due time.Duration) bool { return due < at || now && due == at }
	// First what goes off: it may be what another waits for.
	for _, o := range g.outputs {
		if due, ok := o.longest(); ok && passed(due) {
			o.waiting = nil // an off
			drives = g.drive(o, false, at, "", fmt.Sprintf("max_on = %q", o.MaxOn), drives)
		}
	}
	for _, on := range []bool{false, true} {
		for _, o := range g.outputs {
			w := o.waiting
			if w == nil || w.on != on {
				continue
			}
			if due, _, ok := g.earliest(o, on); ok && passed(due) {
				o.waiting = nil
				drives = g.drive(o, on, at, w.cause, "it waited: "+w.why, drives)
			}
		}
	}
	return drives
}

// Next is when Advance has something to do.
func (g *Guard) Next() (at time.Duration, ok bool) {
	at = math.MaxInt64
	for _, o := range g.outputs {
		if due, on := o.longest(); on && due < at {
			at, ok = due, true
		}
		if o.waiting == nil {
			continue
		}
		if due, _, known := g.earliest(o, o.waiting.on); known && due < at {
			at, ok = due, true
		}
	}
	return at, ok
}

// A Waiting is a command that came too early.
type Waiting struct {
	On    bool
	Until time.Duration // when it will be carried out, as far as can be said now
	Why   string        // what it waits for
}

// Waiting is the command that waits for an output, if there is one.
func (g *Guard) Waiting(output string) (Waiting, bool) {
	o := g.byName[output]
	if o == nil || o.waiting == nil {
		return Waiting{}, false
	}
	until, _, _ := g.earliest(o, o.waiting.on)
	return Waiting{o.waiting.on, until, o.waiting.why}, true
}

// done says that a change of a slow guard was made at at, or that it failed. It
// gives what could only wait for that.
func (g *Guard) done(output string, on bool, at time.Duration, failed bool) []Drive {
	o := g.byName[output]
	if o == nil || o.moving == 0 {
		return nil
	}
	o.moving--
	var drives []Drive
	switch {
	case failed && !on && !o.on:
		// It may still be on, so nobody may go on because of this off. A command
		// that came minutes ago is not carried out when the line is back one day.
		o.unsure, o.since, o.gone = true, at, at
		for _, p := range o.partners {
			if p.waiting != nil && p.waiting.on {
				drives = g.drop(p.guarded, p.name, fmt.Sprintf("interlock.%s: %s could not be switched off", p.lock, o.name), drives)
			}
		}
	case failed || o.moving > 0 || o.on != on: // one that failed to go on counts as on
	case on:
		o.since = at
	default:
		o.since, o.gone, o.unsure = at, at, false
	}
	return g.advance(at, true, drives)
}

// adopt takes over from an earlier guard how an output is and what waits for it.
func (g *Guard) adopt(from *Guard, output string) {
	o, was := g.byName[output], from.byName[output]
	o.on, o.began, o.since, o.gone = was.on, was.began, was.since, was.gone
	o.waiting, o.moving, o.unsure = was.waiting, was.moving, was.unsure
}

// settle is what has to be switched so that interlocks hold of which the state
// that was adopted knew nothing. Of several that are on none stays on, for nobody
// knows which was meant; min_on has to stand back.
func (g *Guard) settle(at time.Duration) (drives []Drive) {
	for _, o := range g.outputs {
		for _, p := range o.partners {
			if o.waiting == nil || !o.waiting.on {
				break
			}
			if p.on || p.waiting != nil && p.waiting.on {
				drives = g.drop(o, "", fmt.Sprintf("interlock.%s is new", p.lock), drives)
			}
		}
	}
	locks := map[*guarded]string{}
	for _, o := range g.outputs {
		for _, p := range o.partners {
			if o.on && p.on {
				locks[o] = p.lock
			}
		}
	}
	for _, o := range g.outputs {
		if lock, ok := locks[o]; ok {
			o.waiting = nil
			drives = g.drive(o, false, at, "", fmt.Sprintf("interlock.%s is new, and several of its outputs were on", lock), drives)
		}
	}
	return drives
}
