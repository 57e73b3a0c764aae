package gpio

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hearth/config"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// Sim is a bank of 28 simulated pins, GPIO0 to GPIO27, and four PWM pins,
// pwmchip0:0 to pwmchip0:3, for a machine without pins and for tests. A pin that
// is let go stays as it was, as on Raspberry Pi OS. The expanders of a
// configuration are simulated too: their pins are there by the name that the
// configuration gives them, once it has been opened. Its methods may be called
// from any goroutine.
//
// Hang and Fail break a pin, or all of its expander, History shows all that
// happened to it. They are for tests: with a name that does not exist they panic.
type Sim struct {
	pins []*simPin

	mu        sync.Mutex
	chips     map[string]*simChip // by bus and address
	expanders map[string]*simChip // by what the configuration calls them
}

// A Switch is one moment in the history of a simulated pin.
type Switch struct {
	Level  gpio.Level
	At     time.Time
	Driven bool      // by us, as an output; otherwise it came from outside
	Duty   gpio.Duty // of a PWM pin
}

const (
	simHistory = 4096 // switches of a pin that History can still tell
	simEdges   = 64   // edges of a pin that wait to be taken; then the oldest is lost
)

// NewSim is a bank of pins that are open: nothing drives them, so they read Low
// until a pull-up or Drive says otherwise.
func NewSim() *Sim {
	s := &Sim{}
	for n := range 28 {
		s.pins = append(s.pins, &simPin{number: n, name: fmt.Sprintf("GPIO%d", n), wake: make(chan struct{}, 1)})
	}
	for n := range 4 {
		s.pins = append(s.pins, &simPin{number: n, name: fmt.Sprintf("pwmchip0:%d", n), pwm: true, wake: make(chan struct{}, 1)})
	}
	return s
}

// ByName is the pin of that name.
func (s *Sim) ByName(pin string) (gpio.PinIO, error) {
	p, err := s.find(pin)
	if err != nil {
		return nil, err // not p: a nil pin in an interface is no nil interface
	}
	if p.pwm {
		return simPWM{p}, nil
	}
	return p, nil
}

func (s *Sim) find(pin string) (*simPin, error) {
	for _, p := range s.pins {
		if p.Name() == pin {
			return p, nil
		}
	}
	if name, number, ok := strings.Cut(pin, ":"); ok {
		s.mu.Lock()
		c := s.expanders[name]
		s.mu.Unlock()
		if c != nil {
			if n, ok := c.kind.number(number); ok {
				return c.pins[n], nil
			}
		}
	}
	return nil, noPin(s, pin)
}

// headerPin is how somebody writes a pin who counts those of the header.
var headerPin = regexp.MustCompile(`^(?i:pin)[ _-]?0*([0-9]{1,2})$`)

// noPin is the error for a pin that a bank does not have.
func noPin(b Bank, pin string) error {
	if number := headerPin.FindStringSubmatch(pin); number != nil {
		for _, h := range Header() {
			if _, line := headerLine(h.Name); line && strconv.Itoa(h.Number) == number[1] {
				return fmt.Errorf("%v: no pin %q; pin %d of the header is %q", b, pin, h.Number, h.Name)
			}
		}
	}
	if near, ok := config.Nearest(pin, b.Names()); ok {
		return fmt.Errorf("%v: no pin %q, did you mean %q?", b, pin, near)
	}
	return fmt.Errorf("%v: no pin %q", b, pin)
}

// Names are those of the pins that are there without any expander.
func (s *Sim) Names() []string {
	var names []string
	for _, p := range s.pins {
		names = append(names, p.Name())
	}
	return names
}

func (s *Sim) String() string { return "simulated pins" }

// Drive puts a level on a pin from outside, as a switch or a sensor does. A pin
// that is an output can't be driven.
func (s *Sim) Drive(pin string, l gpio.Level) error {
	p, err := s.find(pin)
	if err != nil {
		return err
	}
	if p.chip != nil {
		return p.chip.drive(p, l)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out || p.pwm {
		return fmt.Errorf("%s is an output, it can't be driven from outside", pin)
	}
	p.outside, p.hasOutside = l, true
	p.settle(p.outside, false)
	return nil
}

// Level is the physical level of a pin.
func (s *Sim) Level(pin string) gpio.Level {
	p := s.must(pin)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.level
}

// Held says whether a pin is taken, as an input or an output; one of an expander,
// which knows no inputs that nobody has, whether it is an output.
func (s *Sim) Held(pin string) bool {
	p := s.must(pin)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// History is what happened to a pin, oldest first: each time it was driven, also
// with the level that it had, and each time its level changed from outside.
func (s *Sim) History(pin string) []Switch {
	p := s.must(pin)
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.history)
}

// Hang makes every Out of a pin block before it does anything, until Hang is
// called with false.
func (s *Sim) Hang(pin string, hang bool) {
	p := s.must(pin)
	if p.chip != nil {
		p.chip.setHung(hang)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if hang && p.hung == nil {
		p.hung = make(chan struct{})
	}
	if !hang && p.hung != nil {
		close(p.hung)
		p.hung = nil
	}
}

// Fail makes everything that is done with a pin go wrong with err, until Fail is
// called with nil. Whoever waits for an edge of it learns at once.
func (s *Sim) Fail(pin string, err error) {
	p := s.must(pin)
	if p.chip != nil {
		p.chip.setFail(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = err
	p.poke()
}

func (s *Sim) must(pin string) *simPin {
	p, err := s.find(pin)
	if err != nil {
		panic(err)
	}
	return p
}

// simPin is one simulated pin, a PinIO that also knows its edges.
type simPin struct {
	number int
	name   string
	pwm    bool
	chip   *simChip      // that it is a pin of; then only that chip touches it
	wake   chan struct{} // something for NextEdge to look at

	mu         sync.Mutex
	held, out  bool
	pull       gpio.Pull
	edge       gpio.Edge
	outside    gpio.Level // what Drive put on it
	hasOutside bool
	level      gpio.Level
	duty       gpio.Duty
	history    []Switch
	edges      []Edge
	seq        uint32
	hung       chan struct{}
	fail       error
	with       *simPin // of a pair: the second line, whose edges come here as well
	first      *simPin // and the other way round
}

func (p *simPin) Name() string { return p.name }
func (p *simPin) String() string {
	if p.pwm {
		return "sim:" + p.name
	}
	return fmt.Sprintf("sim:%d", p.number)
}
func (p *simPin) Number() int { return p.number }

// Function says what the pin is now, as periph's pins do.
func (p *simPin) Function() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return function(p.held, p.out, p.level)
}

func function(held, out bool, l gpio.Level) string {
	switch {
	case !held:
		return ""
	case out:
		return "Out/" + l.String()
	}
	return "In/" + l.String()
}

// Out makes the pin an output with that level, in one step.
func (p *simPin) Out(l gpio.Level) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unhang()
	if p.fail != nil {
		return p.fail
	}
	p.held, p.out, p.edge = true, true, gpio.NoEdge
	if p.duty = 0; p.pwm && bool(l) {
		p.duty = gpio.DutyMax
	}
	p.settle(l, true)
	return nil
}

// unhang waits until the pin hangs no more; p.mu is held.
func (p *simPin) unhang() {
	for p.hung != nil {
		hung := p.hung
		p.mu.Unlock()
		<-hung
		p.mu.Lock()
	}
}

// In makes the pin an input. Edges that nobody took are gone.
func (p *simPin) In(pull gpio.Pull, edge gpio.Edge) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return p.fail
	}
	p.held, p.out = true, false
	if pull != gpio.PullNoChange {
		p.pull = pull
	}
	p.edges, p.seq, p.edge = nil, 0, gpio.NoEdge
	l := gpio.Level(p.pull == gpio.PullUp)
	if p.hasOutside {
		l = p.outside
	}
	p.settle(l, false)
	p.edge = edge
	return nil
}

// settle gives the pin its level, notes it, and makes an edge of a change.
// p.mu is held.
func (p *simPin) settle(l gpio.Level, driven bool) {
	changed := l != p.level
	if !changed && !driven {
		return
	}
	p.level = l
	now := time.Now()
	if len(p.history) == simHistory {
		p.history = slices.Delete(p.history, 0, simHistory/4)
	}
	p.history = append(p.history, Switch{l, now, driven, p.duty})
	if wanted := p.edge == gpio.BothEdges || p.edge == gpio.RisingEdge && bool(l) || p.edge == gpio.FallingEdge && !bool(l); !changed || !wanted {
		return
	}
	if p.first != nil {
		p.first.mu.Lock() // a first line never looks at the second with its lock held
		defer p.first.mu.Unlock()
		p.first.note(Edge{Level: l, At: now, Second: true})
		return
	}
	p.note(Edge{Level: l, At: now})
}

// note queues an edge; p.mu is held.
func (p *simPin) note(e Edge) {
	p.seq++
	e.Seq = p.seq
	if len(p.edges) == simEdges {
		p.edges = slices.Delete(p.edges, 0, 1)
	}
	p.edges = append(p.edges, e)
	p.poke()
}

// InPair makes the pin and another inputs whose edges come in one order; see
// pairer.
func (p *simPin) InPair(other gpio.PinIO, pull gpio.Pull) error {
	with, ok := other.(*simPin)
	if !ok {
		return fmt.Errorf("%w: %v and %v are not of one bank", errUnable, p, other)
	}
	if err := p.In(pull, gpio.BothEdges); err != nil {
		return err
	}
	if err := with.In(pull, gpio.BothEdges); err != nil {
		return errors.Join(err, p.Halt())
	}
	with.mu.Lock()
	defer with.mu.Unlock()
	with.first = p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.with = with
	return nil
}

// Levels reads both pins of a pair.
func (p *simPin) Levels() (first, second gpio.Level, err error) {
	p.mu.Lock()
	with := p.with
	p.mu.Unlock()
	if with == nil {
		return first, second, fmt.Errorf("read %v: it is not held as a pair", p)
	}
	first, err = p.Level()
	second, unread := with.Level()
	return first, second, errors.Join(err, unread)
}

func (p *simPin) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// simPWM is a simulated pin that has PWM, and nothing else: see pwmPin.
type simPWM struct{ *simPin }

// PWM gives the pin a duty, in one step. It waits and fails as Out does.
func (p simPWM) PWM(duty gpio.Duty, f physic.Frequency) error {
	if err := checkPWM(duty, f); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unhang()
	if p.fail != nil {
		return p.fail
	}
	p.held, p.out, p.duty = true, true, duty
	p.settle(duty > 0, true)
	return nil
}

// Duty is that which the pin has.
func (p simPWM) Duty() (gpio.Duty, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.duty, p.fail
}

func (p simPWM) In(gpio.Pull, gpio.Edge) error { return errOnlyPWM }

// Level is the level of the pin, or why it can't be read.
func (p *simPin) Level() (gpio.Level, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.level, p.fail
}

// Read is Level for those who can do nothing about an error.
func (p *simPin) Read() gpio.Level {
	l, _ := p.Level()
	return l
}

// NextEdge waits for an edge; see edger.
func (p *simPin) NextEdge(timeout time.Duration) (Edge, error) {
	return waitEdge(p.wake, timeout, p.takeEdge)
}

// takeEdge is the oldest edge that waits, or the zero Edge.
func (p *simPin) takeEdge() (e Edge, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.held || p.out:
		return e, errHalted
	case p.fail != nil:
		return e, p.fail
	case len(p.edges) > 0:
		e, p.edges = p.edges[0], p.edges[1:]
	}
	return e, nil
}

// WaitForEdge is NextEdge in periph's words.
func (p *simPin) WaitForEdge(timeout time.Duration) bool {
	_, err := p.NextEdge(timeout)
	return err == nil
}

// Halt lets the pin go. It stays as it was.
func (p *simPin) Halt() error {
	p.mu.Lock()
	with := p.with
	p.held, p.out, p.edge, p.with, p.first = false, false, gpio.NoEdge, nil, nil
	p.poke()
	p.mu.Unlock()
	if with != nil {
		return with.Halt()
	}
	return nil
}

func (p *simPin) Pull() gpio.Pull {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pull
}

func (p *simPin) DefaultPull() gpio.Pull { return gpio.Float }

func (p *simPin) PWM(gpio.Duty, physic.Frequency) error { return errNoPWM }

// errNoPWM: lines of the kernel's GPIO interface have no PWM, so neither has
// what simulates them.
var errNoPWM = fmt.Errorf("%w: it has no PWM", errUnable)
