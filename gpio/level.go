package gpio

import (
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// set makes the pin of an output be on, at a level, or off.
func (l *line) set(o Output, on bool, level float64) error {
	if o.Frequency == 0 {
		return l.pin.Out(o.level(on))
	}
	pin, ok := l.pin.(dutyPin)
	switch {
	case !ok:
		return fmt.Errorf("%w: it has no PWM; want one such as pwmchip0:0, or period in place of frequency for a slow load", errUnable)
	case on:
		return pin.PWM(o.duty(level), physic.Frequency(o.Frequency))
	case o.ActiveLow:
		return pin.PWM(gpio.DutyMax, physic.Frequency(o.Frequency))
	}
	return pin.PWM(0, physic.Frequency(o.Frequency))
}

// read is the physical level of the pin of an output: of one that puts out a part,
// the level that stands for on.
func (l *line) read(o Output) (gpio.Level, error) {
	pin, ok := l.pin.(dutyPin)
	if !ok || o.Frequency == 0 {
		return readLevel(l.pin)
	}
	d, err := pin.Duty()
	return o.level(o.ActiveLow && d < gpio.DutyMax || !o.ActiveLow && d > 0), err
}

// faint reports whether a level is so low that no pulse is left of it, as at the
// beginning of a ramp: then the pin does not tell it from off.
func (o Output) faint(level float64) bool {
	return o.Frequency > 0 && o.Range == (Range{}) && level/100*float64(physic.Frequency(o.Frequency).Period()) < 1
}

// errUnable is of a pin that can't do what is wanted, now or ever.
var errUnable = errors.New("this pin is not able to do that")

// Levels: an output with a frequency puts out a part of full power, and one with a
// period is on for a part of each.

// Levels reports whether an output can be on in part.
func (o Output) Levels() bool { return o.Frequency > 0 || o.Period > 0 }

// rampStep is the time between two steps of a ramp: what the eye takes for even.
const rampStep = 20 * time.Millisecond

// A ramp is the way from one level to another.
type ramp struct {
	from, to float64 // percent
	began    time.Duration
	over     time.Duration
	steps    time.Duration // of rampStep that have been made
}

// newRamp is the way of an output to a level, in the time that was ordered or, if
// that is 0, as configured; nil if it goes there at once.
func newRamp(o *guarded, from, to float64, over, at time.Duration) *ramp {
	if o.Frequency == 0 || from == to || over < 0 {
		return nil
	}
	if over == 0 {
		over = time.Duration(float64(o.Ramp) * abs(to-from) / 100)
	}
	if over < rampStep {
		return nil
	}
	return &ramp{from: from, to: to, began: at, over: over}
}

func abs(x float64) float64 { return max(x, -x) }

// at is the level on the way.
func (r *ramp) at(at time.Duration) float64 {
	part := float64(at-r.began) / float64(r.over)
	return r.from + (r.to-r.from)*min(1, max(0, part))
}

// next is when the next step is due.
func (r *ramp) next() time.Duration { return r.began + min(r.over, (r.steps+1)*rampStep) }

// aim is the level that an output has, or will have at the end of its ramp.
func (o *guarded) aim() float64 {
	if o.ramp != nil {
		return o.ramp.to
	}
	return o.percent
}

// shown is the level of an output now, in percent: of one with a period that of
// its line, all or nothing.
func (o *guarded) shown(at time.Duration) float64 {
	switch {
	case !o.on:
		return 0
	case o.ramp != nil:
		return o.ramp.at(at)
	case o.Frequency > 0:
		return o.percent
	}
	return 100
}

// step takes the next step of a ramp, which is due.
func (g *Guard) step(o *guarded, at time.Duration, drives []Drive) []Drive {
	r := o.ramp
	r.steps = (at - r.began) / rampStep
	if at-r.began < r.over {
		return append(drives, Drive{Output: o.name, On: true, Level: o.shown(at), Step: true})
	}
	if r.to == 0 {
		return g.drive(o, false, at, o.name, "", drives)
	}
	o.ramp = nil
	return append(drives, Drive{Output: o.name, On: true, Level: o.percent, Cause: o.name})
}

// A cycle is how an output with a period takes turns: on for the part of each
// period that its level says. What min_on and min_off do not let it give in one
// period it gives in a later one, so that the level holds in the long run.
type cycle struct {
	window time.Duration // when the next period begins
	off    time.Duration // when the turn to be on ends
	owed   time.Duration // to be on that earlier periods did not give
}

// plan begins a period if it is time for one.
func (c *cycle) plan(o *guarded, at time.Duration) {
	if at < c.window {
		return
	}
	period := time.Duration(o.Period)
	if at-c.window >= period {
		c.window = at
	}
	want := c.owed + time.Duration(o.percent/100*float64(period))
	run := min(period, max(0, want))
	switch {
	case run < time.Duration(o.MinOn):
		run = 0
	case period-run < time.Duration(o.MinOff):
		run = period
	}
	c.owed = min(period, max(-period, want-run))
	c.off = c.window + run
	c.window += period
}

// phase says whether the turn is to be on.
func (c *cycle) phase(at time.Duration) bool { return at < c.off }

// turn makes the turns of outputs with a period that go on, or off.
func (g *Guard) turn(on bool, passed func(time.Duration) bool, at time.Duration, drives []Drive) []Drive {
	for _, o := range g.outputs {
		if o.Period == 0 || o.percent == 0 || o.lost {
			continue
		}
		if passed(o.cycle.window) {
			o.cycle.plan(o, at)
		}
		if !o.on && passed(o.cycle.off) {
			o.cycle.off = longAgo // it had its turn
		}
		phase := o.cycle.phase(at)
		if phase != on || o.on == on || !on && !passed(o.cycle.off) {
			continue
		}
		if on && o.endsWithin(at) {
			o.cycle.off = longAgo // it is not worth it
			continue
		}
		if due, _, ok := g.earliest(o, on); !ok || due > at {
			continue
		}
		drives = g.put(o, on, at, "", "", drives)
		drives[len(drives)-1].Step = true
	}
	return drives
}

// endsWithin reports whether max_on would end a turn that begins at at before its
// min_on.
func (o *guarded) endsWithin(at time.Duration) bool {
	return o.MaxOn > 0 && at+time.Duration(o.MinOn) > o.began+time.Duration(o.MaxOn)
}

// nextTurn is when an output with a period has a turn to make.
func (g *Guard) nextTurn(o *guarded) (due time.Duration, ok bool) {
	if o.Period == 0 || o.percent == 0 || o.lost {
		return 0, false
	}
	due = o.cycle.window
	if o.on {
		if end, _, ok := g.earliest(o, false); ok && o.cycle.off < due {
			due = min(due, max(o.cycle.off, end))
		}
		return due, true
	}
	if free, _, ok := g.earliest(o, true); ok && free < o.cycle.off && free > o.since {
		due = min(due, free)
	}
	return due, true
}
