package gpio

import (
	"math"
	"time"
)

// Presses tells the gestures of buttons from their levels: single, double and
// more presses, and hold. It starts nothing and reads no clock; it follows those
// inputs of a configuration that have double or hold.
//
// A gesture begins when an input becomes on. It is
//
//   - hold, at the moment when it has been on for hold. Only a first press can
//     become one;
//   - double with presses = 2, triple with 3 and so on, at the press that makes the
//     number full, if each press came at most double after the release before it;
//   - what the presses were until then, once double has passed since the last
//     release. Without double that is single, at the release itself: an
//     input with hold can't know earlier.
//
// Then it is over. What is left of it, such as the release after a hold, is no
// part of another.
type Presses struct {
	buttons []*button // in the order of the configuration
}

// A Press is a gesture that was made.
type Press struct {
	Input string
	Kind  string        // "single", "double", "triple", "quadruple", "quintuple" or "hold"
	At    time.Duration // when it was sure, which may be before Advance was called
}

var pressKinds = []string{"single", "double", "triple", "quadruple", "quintuple"}

// Gestures are the kinds of press that an input can tell; nil if it tells none.
func (i Input) Gestures() []string {
	var kinds []string
	if i.Double > 0 || i.Hold > 0 {
		kinds = append(kinds, pressKinds[:i.presses()]...)
	}
	if i.Hold > 0 {
		kinds = append(kinds, "hold")
	}
	return kinds
}

// presses is the most presses that make one gesture.
func (i Input) presses() int {
	switch {
	case i.Double == 0:
		return 1
	case i.Presses == 0:
		return 2
	}
	return i.Presses
}

type button struct {
	name string
	Input
	on    bool
	count int           // presses of the gesture so far; 0: none, or it is over
	last  time.Duration // when it was pressed or released last
}

// NewPresses follows inputs that are all off. The configuration must be one
// that Check found sound.
func NewPresses(cfg Config) *Presses {
	p := &Presses{}
	for _, i := range cfg.Input {
		if i.Value.Gestures() != nil {
			p.buttons = append(p.buttons, &button{name: i.Name, Input: i.Value})
		}
	}
	return p
}

func (p *Presses) find(input string) *button {
	for _, b := range p.buttons {
		if b.name == input {
			return b
		}
	}
	return nil
}

// Found says how an input is without saying how that came about: at the start,
// or after some of its edges were lost. It is no press, and neither is what is
// left of a press that is found.
func (p *Presses) Found(input string, on bool) {
	if b := p.find(input); b != nil {
		b.on, b.count = on, 0
	}
}

// Level says that an input, debounced, became on or off. It gives the
// gestures that are sure by then.
func (p *Presses) Level(input string, on bool, at time.Duration) []Press {
	b := p.find(input)
	if b == nil || b.on == on {
		return nil
	}
	var made []Press
	if due, kind, ok := b.due(); ok && due < at {
		made = b.make(made, kind, due)
	}
	b.on = on
	switch {
	case on:
		b.count++
		b.last = at
		if n := b.presses(); n > 1 && b.count == n {
			made = b.make(made, pressKinds[n-1], at)
		}
	case b.count == 0: // the gesture was over before
	case b.Double == 0:
		made = b.make(made, "single", at)
	default:
		b.last = at
	}
	return made
}

// Advance gives the gestures that are sure because it is now at.
func (p *Presses) Advance(at time.Duration) []Press {
	var made []Press
	for _, b := range p.buttons {
		if due, kind, ok := b.due(); ok && due <= at {
			made = b.make(made, kind, due)
		}
	}
	return made
}

// Next is when Advance has something to tell.
func (p *Presses) Next() (at time.Duration, ok bool) {
	at = math.MaxInt64
	for _, b := range p.buttons {
		if due, _, waits := b.due(); waits && due < at {
			at, ok = due, true
		}
	}
	return at, ok
}

// due is what the gesture becomes if nothing happens, and when.
func (b *button) due() (at time.Duration, kind string, ok bool) {
	switch {
	case b.count == 0:
		return 0, "", false
	case b.on:
		return b.last + time.Duration(b.Hold), "hold", b.Hold > 0 && b.count == 1
	}
	return b.last + time.Duration(b.Double), pressKinds[b.count-1], true
}

func (b *button) make(made []Press, kind string, at time.Duration) []Press {
	b.count = 0
	return append(made, Press{b.name, kind, at})
}
