package gpio

import (
	"math"
	"time"

	"hearth/config"
	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
)

// Encoder is a knob that can be turned without end, with two contacts.
type Encoder struct {
	// A and B are its lines, both of one chip. Written as the pin of an Output.
	A string `toml:"a,required" eg:"\"GPIO5\""`
	B string `toml:"b,required" eg:"\"GPIO6\""`

	// Pull is the resistor inside the chip, of both: contacts to ground need "up".
	Pull string `toml:"pull" enum:"none,up,down"`

	// Steps is how many changes of the two lines lead from one detent to the next:
	// 4 (the default), 2 or 1.
	Steps int `toml:"steps" min:"1" max:"4"`

	// Reverse is for a knob that counts down when it is turned clockwise.
	Reverse bool `toml:"reverse"`

	// Min and Max are the ends of its position; by default it has none.
	Min *float64 `toml:"min"`
	Max *float64 `toml:"max"`

	devices.Shown
}

// Check reports steps that no knob has, and ends that leave nothing between.
func (e Encoder) Check(at config.Place) {
	if e.Steps == 3 {
		at.Key("steps").Mistake("want 1, 2 or 4")
	}
	if e.Min != nil && e.Max != nil && *e.Min >= *e.Max {
		at.Key("max").Mistake("want more than min, which is %v", *e.Min)
	}
}

func (e Encoder) steps() int { return or(e.Steps, 4) }

func (e Encoder) input() Input { return Input{Pull: e.Pull} }

// within is a position between the ends.
func (e Encoder) within(position float64) float64 {
	if e.Max != nil {
		position = min(position, *e.Max)
	}
	if e.Min != nil {
		position = max(position, *e.Min)
	}
	return position
}

// Turns tells how far an encoder is turned from the levels of its two lines. It
// starts nothing and reads no clock.
//
// Its lines change one at a time: low low, high low, high high, low high and so on
// one way, back the other. A contact that bounces goes a step there and back, as
// often as it likes. A detent counts once all its steps are made.
//
// A knob rests in a detent. Where it is not known which step of a detent it is at,
// at the start and after edges were lost, that is taken to be one at which it
// stands still for a second.
type Turns struct {
	Encoder
	Position float64 // in detents
	Lost     uint64  // edges that were lost or can't be

	a, b   gpio.Level
	steps  int           // since the last detent
	counts time.Duration // what moves before comes from pull-ups that charge their lines
	unsure bool
	moved  time.Duration
}

const (
	turnSettles = 50 * time.Millisecond
	turnRests   = time.Second
)

// NewTurns is an encoder at 0, or where it ends next to that.
func NewTurns(e Encoder) *Turns { return &Turns{Encoder: e, Position: e.within(0)} }

// Found says how the lines are without saying how that came about.
func (t *Turns) Found(a, b gpio.Level, at time.Duration) {
	t.a, t.b, t.steps = a, b, 0
	t.counts = at + turnSettles
	t.unsure, t.moved = true, at
}

// Missed says that so many edges were lost, and how the lines are now.
func (t *Turns) Missed(n uint64, a, b gpio.Level, at time.Duration) {
	t.Lost += n
	t.a, t.b = a, b
	t.unsure, t.moved = true, at
}

// Edge says that a line has changed: the second if so, else the first. It gives
// the detents that were turned by it: 1 clockwise, -1 against, mostly 0.
func (t *Turns) Edge(second bool, l gpio.Level, at time.Duration) int {
	t.Advance(at)
	before, line := phase(t.a, t.b), &t.a
	if second {
		line = &t.b
	}
	if *line == l {
		t.Lost++ // the one that came between; a bounce, for the other line stood
		return 0
	}
	*line = l
	t.moved = at
	if at < t.counts {
		return 0
	}
	step := 1
	if (phase(t.a, t.b)-before)&3 == 3 {
		step = -1
	}
	if t.Reverse {
		step = -step
	}
	t.steps += step
	if detent := t.Encoder.steps(); t.steps == detent || t.steps == -detent {
		t.steps = 0
		t.Position = t.within(t.Position + float64(step))
		return step
	}
	return 0
}

// Turn is a turn by so many detents, below 0 against the clock.
func (t *Turns) Turn(detents int) { t.Position = t.within(t.Position + float64(detents)) }

// phase counts round the four states in the order that turning one way takes.
func phase(a, b gpio.Level) int {
	switch {
	case !bool(a) && !bool(b):
		return 0
	case bool(a) && !bool(b):
		return 1
	case bool(a) && bool(b):
		return 2
	}
	return 3
}

// Advance says that it is at: a knob that stands still is in a detent.
func (t *Turns) Advance(at time.Duration) {
	if due, ok := t.Next(); ok && at >= due {
		t.unsure, t.steps = false, 0
	}
}

// Next is when Advance has something to do.
func (t *Turns) Next() (at time.Duration, ok bool) {
	if !t.unsure {
		return math.MaxInt64, false
	}
	return t.moved + turnRests, true
}
