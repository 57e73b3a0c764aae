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
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Expander is a chip on an I2C bus whose pins are outputs and inputs like any
// other: "relays:3" is pin 3 of [expander.relays].
type Expander struct {
	// Type is the chip: "mcp23017" (16 pins, also named A0 to B7), "mcp23008" (8),
	// "pcf8574" (8) or "pcf8575" (16). The pins of the last two only pull to
	// ground; high they are weak.
	Type string `toml:"type,required" enum:"mcp23017,mcp23008,pcf8574,pcf8575"`

	// Bus is by default "I2C1", that of the header of a Raspberry Pi.
	Bus string `toml:"bus" eg:"\"I2C1\""`

	// Address is that of the chip on its bus, as i2cdetect shows it: "0x20".
	Address string `toml:"address,required" eg:"\"0x20\""`

	// Interrupt is the pin of the board that the chip pulls low when one of its
	// inputs has changed. It gets the pull-up that the wire needs.
	Interrupt string `toml:"interrupt" eg:"\"GPIO25\""`

	// Poll is how often inputs are read, by default every 20ms. With an interrupt
	// that is only in case one was missed, by default every second.
	Poll config.Duration `toml:"poll" min:"1ms" max:"10s" eg:"\"20ms\""`
}

// OpenBus opens an I2C bus by its name, such as "I2C1". What it gives must end a
// transaction that hangs with an error, and is closed when no pin of its expander
// is held.
type OpenBus func(name string) (i2c.BusCloser, error)

// kind is what there is to know of a type of chip.
type kind struct {
	name      string
	mcp       bool
	pins      int
	addresses [2][2]uint16 // from, to
}

var kinds = map[string]kind{
	"mcp23017": {"mcp23017", true, 16, [2][2]uint16{{0x20, 0x27}, {0x20, 0x27}}},
	"mcp23008": {"mcp23008", true, 8, [2][2]uint16{{0x20, 0x27}, {0x20, 0x27}}},
	"pcf8574":  {"pcf8574", false, 8, [2][2]uint16{{0x20, 0x27}, {0x38, 0x3F}}}, // the PCF8574A has the latter
	"pcf8575":  {"pcf8575", false, 16, [2][2]uint16{{0x20, 0x27}, {0x20, 0x27}}},
}

// number is that of a pin, 3 of "3" or 11 of "B3".
func (k kind) number(pin string) (int, bool) {
	from := 0
	if k.mcp && k.pins == 16 && len(pin) == 2 && (pin[0] == 'A' || pin[0] == 'B') {
		if pin[1] > '7' {
			return 0, false
		}
		from, pin = int(pin[0]-'A')*8, pin[1:]
	}
	n, err := strconv.Atoi(pin)
	ok := err == nil && n >= 0 && from+n < k.pins && strconv.Itoa(n) == pin
	return from + n, ok
}

// want says how its pins are called.
func (k kind) want() string {
	if k.mcp && k.pins == 16 {
		return "0 to 15, or A0 to A7 and B0 to B7"
	}
	return fmt.Sprintf("0 to %d", k.pins-1)
}

// a is one of that kind, as a sentence calls it.
func (k kind) a() string {
	if k.mcp {
		return "an " + k.name
	}
	return "a " + k.name
}

// chip is one of that kind of which nothing is known yet.
func (k kind) chip() chip {
	if k.mcp {
		return &mcp{ports: k.pins / 8}
	}
	return &pcf{ports: k.pins / 8}
}

// pullMistake says what would be right of the pull of an input, "" if it is.
func (k kind) pullMistake(pull gpio.Pull) string {
	switch {
	case k.mcp && pull == gpio.PullDown:
		return k.a() + ` has no pull-down: want "up" or "none"`
	case !k.mcp && (pull == gpio.PullDown || pull == gpio.PullUp):
		return "an input of " + k.a() + ` is always pulled up, weakly: want "none", and a resistor for more`
	}
	return ""
}

var goodAddress = regexp.MustCompile(`^0x[0-9a-fA-F]{2}$`)

func (e Expander) address() uint16 {
	n, _ := strconv.ParseUint(e.Address, 0, 16) // Check has looked at it
	return uint16(n)
}

func (e Expander) BusName() string {
	if e.Bus == "" {
		return "I2C1"
	}
	return e.Bus
}

// id is the same for the same chip, whatever it is called.
func (e Expander) id() string { return fmt.Sprintf("%s 0x%02x", e.BusName(), e.address()) }

func (e Expander) poll() time.Duration {
	switch {
	case e.Poll > 0:
		return time.Duration(e.Poll)
	case e.Interrupt != "":
		return time.Second
	}
	return 20 * time.Millisecond
}

// expanderPin matches what can only be a pin of an expander. "gpiochip1:5" and
// "pwmchip0:1" are the kernel's.
var expanderPin = regexp.MustCompile(`^([a-z][a-z0-9_]*):(.*)$`)

// onExpander is the name of the expander that a pin is on, and the pin there.
func onExpander(pin string) (expander, number string, ok bool) {
	m := expanderPin.FindStringSubmatch(pin)
	if m == nil || strings.HasPrefix(m[1], "gpiochip") || strings.HasPrefix(m[1], "pwmchip") {
		return "", "", false
	}
	return m[1], m[2], true
}

// plain is the one name of a pin that may have several, and what would be right
// if it is on an expander that is not there, or has no such pin.
func (c *Config) plain(pin string) (name, mistake string) {
	expander, number, ok := onExpander(pin)
	if !ok {
		return pin, ""
	}
	e, ok := c.Expander.Get(expander)
	if !ok {
		if near, ok := config.Nearest(expander, c.Expander.Names()); ok {
			return pin, fmt.Sprintf("no such expander, did you mean %q?", near+":"+number)
		}
		return pin, fmt.Sprintf("no such expander: want one that has a table [expander.%s]", expander)
	}
	k, ok := kinds[e.Type]
	if !ok { // it is reported there
		return pin, ""
	}
	n, ok := k.number(number)
	if !ok {
		return pin, fmt.Sprintf("%s has no pin %q: want %s", k.a(), number, k.want())
	}
	return fmt.Sprintf("%s:%d", expander, n), ""
}

// checkExpanders reports chips that can't be there. usePin checks a pin as those
// of outputs are checked.
func (c *Config) checkExpanders(at config.Place, usePin func(pin string, at config.Place)) {
	first := map[string]config.Place{}
	for _, e := range c.Expander {
		at := at.Key("expander").Key(e.Name)
		if strings.HasPrefix(e.Name, "gpiochip") || strings.HasPrefix(e.Name, "pwmchip") {
			at.Mistake("want another name: the kernel's own chips are called so")
		}
		if bus := at.Key("bus"); bus.Given() && (e.Value.Bus == "" || strings.ContainsAny(e.Value.Bus, " \t\n/")) {
			bus.Mistake(`want the name of a bus, such as "I2C1" for /dev/i2c-1`)
		}
		if address := at.Key("address"); address.Given() {
			k, ok := kinds[e.Value.Type]
			n := e.Value.address()
			from, to := k.addresses[0], k.addresses[1]
			switch {
			case !goodAddress.MatchString(e.Value.Address):
				address.Mistake(`want an address as i2cdetect shows it, in hexadecimal, such as "0x20"`)
			case ok && (n < from[0] || n > from[1]) && (n < to[0] || n > to[1]):
				want := fmt.Sprintf("0x%02x to 0x%02x", from[0], from[1])
				if from != to {
					want += fmt.Sprintf(", or 0x%02x to 0x%02x", to[0], to[1])
				}
				address.Mistake("%s can't have this address, want %s", k.a(), want)
			default:
				if other, ok := first[e.Value.id()]; ok {
					address.Mistake("%s is on the same bus with the same address, at %v: want another", other, other.Position())
				} else {
					first[e.Value.id()] = at
				}
			}
		}
		if at.Key("interrupt").Given() {
			if _, _, ok := onExpander(e.Value.Interrupt); ok {
				at.Key("interrupt").Mistake("want a pin of the board, which tells its edges at once")
			} else if pwmName.MatchString(e.Value.Interrupt) {
				at.Key("interrupt").Mistake("a PWM channel can't be read: want a pin that can")
			} else {
				usePin(e.Value.Interrupt, at.Key("interrupt"))
			}
		}
	}
}

// checkInput reports what an input asks of a pin that can't do it.
func (c *Config) checkInput(i Input, at config.Place) {
	if pwmName.MatchString(i.Pin) {
		at.Key("pin").Mistake("a PWM channel can't be read: want a pin that can")
	}
	name, mistake := c.plain(i.Pin)
	expander, number, ok := onExpander(name)
	if !ok || mistake != "" {
		return
	}
	e, _ := c.Expander.Get(expander)
	if k, ok := kinds[e.Type]; !ok {
		return
	} else if wrong := k.pullMistake(i.pull()); wrong != "" {
		at.Key("pull").Mistake("%s", wrong)
	}
	if e.Type == "mcp23017" && (number == "7" || number == "15") {
		at.Key("pin").Warn("pins A7 and B7 of an mcp23017 are outputs only, says its maker since 2022: as an input this one may disturb the bus")
	}
}

// expander is a chip at work. The bus is open while a pin is held; a goroutine
// reads inputs while there are any.
//
// Whatever goes wrong with the chip goes wrong with all its pins: each of them
// then fails until it is made an output or an input again, which sets up all its
// registers. So a chip that was without power comes back pin by pin, each in a
// state that somebody has asked for since.
type expander struct {
	id   string
	kind kind
	chip chip
	addr uint16
	open func() (i2c.BusCloser, error)

	life turn // held while the reader begins or ends

	tx   turn // held while the chip is spoken to
	conn i2c.BusCloser

	mu      sync.Mutex // held for a moment only
	name    string
	every   time.Duration
	signal  gpio.PinIO // the interrupt as it is configured, nil if none
	ours    uint16     // outputs of the configuration
	pins    []*chipPin
	reading bool
	heard   gpio.PinIO // the interrupt that the reader has taken
	quit    chan struct{}
	done    chan struct{}
}

// A turn is a lock that may be held as long as a chip hangs. To wait for it is
// like any other waiting, also for a clock that is virtual.
type turn chan struct{}

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

func newExpander(cfg Expander, open func() (i2c.BusCloser, error)) *expander {
	k := kinds[cfg.Type]
	e := &expander{id: cfg.id(), kind: k, chip: k.chip(), addr: cfg.address(), open: open, life: make(turn, 1), tx: make(turn, 1)}
	for n := range k.pins {
		e.pins = append(e.pins, &chipPin{e: e, n: n, wake: make(chan struct{}, 1)})
	}
	return e
}

// configure takes over what may change while the pins stay held.
func (e *expander) configure(name string, every time.Duration, signal gpio.PinIO, ours uint16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.name, e.every, e.signal, e.ours = name, every, signal, ours
}

func (e *expander) pin(number string) (gpio.PinIO, error) {
	n, ok := e.kind.number(number)
	if !ok {
		return nil, fmt.Errorf("%s has no pin %q, want %s", e.kind.a(), number, e.kind.want())
	}
	return e.pins[n], nil
}

func (e *expander) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprintf("expander %s (%s, %s)", e.name, e.kind.name, e.id)
}

// inUse says whether a pin is held.
func (e *expander) inUse() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.pins, func(p *chipPin) bool { return p.held })
}

// wiring is how the pins are that are held and have not failed; e.mu is held.
func (e *expander) wiring() wiring {
	w := wiring{ours: e.ours}
	for n, p := range e.pins {
		bit := uint16(1) << n
		if !p.held || p.fault != nil {
			continue
		}
		w.held |= bit
		if p.out {
			w.out |= bit
		}
		if p.out && bool(p.want) {
			w.high |= bit
		}
		if p.pull == gpio.PullUp {
			w.up |= bit
		}
	}
	return w
}

// transfer is one transaction; e.tx is held. On a long wire a disturbance may
// cost one, so it is tried twice, unless the bus has hung.
func (e *expander) transfer(w, r []byte) (err error) {
	if e.conn == nil {
		if e.conn, err = e.open(); err != nil {
			e.conn = nil
			return fmt.Errorf("%v: %w", e, err)
		}
	}
	began := time.Now()
	if err = e.conn.Tx(e.addr, w, r); err != nil && time.Since(began) < 50*time.Millisecond {
		err = e.conn.Tx(e.addr, w, r)
	}
	if err != nil {
		err = fmt.Errorf("%v: %w", e, err)
		e.hangUp() // the adapter may have been unplugged
	}
	return err
}

// hangUp closes the bus; e.tx is held. There is nothing to do about an error.
func (e *expander) hangUp() {
	if e.conn != nil {
		_ = e.conn.Close()
		e.conn = nil
	}
}

// look reads the chip and tells its pins; e.tx is held. If that fails they all do.
func (e *expander) look() error {
	e.mu.Lock()
	w := e.wiring()
	e.mu.Unlock()
	if w.held == 0 {
		return nil
	}
	s, err := e.chip.look(e.transfer, w)
	if errors.Is(err, errForgot) {
		err = fmt.Errorf("%v: %w", e, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.fail(err)
		return err
	}
	now := time.Now()
	for n, p := range e.pins {
		if bit := uint16(1) << n; w.held&bit != 0 {
			if s.caught&bit != 0 && p.seen { // maybe it is over by now
				p.sees(s.then&bit != 0, now)
			}
			p.sees(s.level&bit != 0, now)
		}
	}
	return nil
}

// fail ends the work of all pins that are held; e.mu is held.
func (e *expander) fail(err error) {
	for _, p := range e.pins {
		if p.held && p.fault == nil {
			p.fault = err
			p.poke()
		}
	}
}

// take makes a pin what as says, and leaves it as it was if it was not held and
// can't be had.
func (e *expander) take(p *chipPin, as func()) error {
	e.tx.Lock()
	defer e.tx.Unlock()
	e.mu.Lock()
	before := e.wiring()
	e.mu.Unlock()
	if err := e.look(); err != nil && before.held>>p.n&1 != 0 {
		return err
	}
	e.mu.Lock()
	known, held := e.wiring().held != 0, p.held
	p.held, p.fault, p.seen = true, nil, false
	as()
	w := e.wiring()
	e.mu.Unlock()
	err := e.chip.apply(e.transfer, w, known)
	if err == nil && (!known || !p.out) {
		if err = e.look(); errors.Is(err, errForgot) && !known {
			err = fmt.Errorf("%v: it does not keep what is written to it: is it %s?", e, e.kind.a())
		}
	}
	if err == nil {
		return nil
	}
	e.mu.Lock()
	e.fail(err)
	p.held, p.fault = held, err
	e.mu.Unlock()
	if !e.inUse() {
		e.hangUp()
	}
	return err
}

// rest closes the bus if no pin is held.
func (e *expander) rest() {
	if e.inUse() {
		return // without waiting for whoever speaks to the chip
	}
	e.tx.Lock()
	defer e.tx.Unlock()
	if !e.inUse() {
		e.hangUp()
	}
}

// begin makes sure that inputs are read; e.life is held.
func (e *expander) begin() error {
	e.mu.Lock()
	reading, done, signal := e.reading, e.done, e.signal
	e.mu.Unlock()
	if reading {
		return nil
	}
	if done != nil {
		<-done
	}
	if err := e.listen(signal); err != nil {
		return err
	}
	e.mu.Lock()
	e.reading, e.quit, e.done = true, make(chan struct{}), make(chan struct{})
	e.mu.Unlock()
	go e.read(e.quit, e.done)
	return nil
}

// end waits until inputs are no longer read; e.life is held.
func (e *expander) end() {
	e.mu.Lock()
	quit, done, heard := e.quit, e.done, e.heard
	e.quit, e.done, e.reading = nil, nil, false
	e.mu.Unlock()
	if done == nil {
		return
	}
	close(quit)
	if heard != nil {
		_ = heard.Halt() // wakes the reader, which looks after the error
	}
	<-done
}

// listen takes the interrupt in place of the one it had.
func (e *expander) listen(signal gpio.PinIO) error {
	e.mu.Lock()
	heard := e.heard
	e.heard = nil
	e.mu.Unlock()
	if heard != nil {
		if err := heard.Halt(); err != nil {
			return fmt.Errorf("interrupt of %v: %w", e, err)
		}
	}
	if signal == nil {
		return nil
	}
	if _, ok := signal.(edger); !ok {
		return fmt.Errorf("interrupt of %v: %v can't tell when it changes", e, signal)
	}
	if err := signal.In(gpio.PullUp, gpio.FallingEdge); err != nil {
		return fmt.Errorf("interrupt of %v: %w", e, err)
	}
	e.mu.Lock()
	e.heard = signal
	e.mu.Unlock()
	return nil
}

// read follows the inputs until it is told to quit or something is wrong.
func (e *expander) read(quit, done chan struct{}) {
	defer close(done)
	err := e.follow(quit)
	if halted := e.listen(nil); err == nil {
		err = halted
	}
	if err == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.quit == quit { // else they were all let go
		e.reading = false
		e.fail(err)
	}
}

func (e *expander) follow(quit chan struct{}) error {
	for {
		e.mu.Lock()
		every, signal, heard := e.every, e.signal, e.heard
		e.mu.Unlock()
		if signal != heard {
			if err := e.listen(signal); err != nil {
				return err
			}
		}
		select {
		case <-quit:
			return nil
		default:
		}
		if err := e.pause(signal, every, quit); err != nil {
			return err
		}
		select {
		case <-quit:
			return nil
		default:
		}
		e.tx.Lock()
		err := e.look()
		e.tx.Unlock()
		if err != nil {
			return err
		}
	}
}

// pause waits until it is time to look again.
func (e *expander) pause(signal gpio.PinIO, every time.Duration, quit chan struct{}) error {
	if signal == nil {
		timer := time.NewTimer(every)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-quit:
		}
		return nil
	}
	// A wire that is still low has more to tell, and no edge to come.
	if l, err := readLevel(signal); err == nil && l == gpio.Low {
		every = min(every, 20*time.Millisecond)
	}
	_, err := signal.(edger).NextEdge(every)
	if err == nil || errors.Is(err, errTimeout) {
		return nil
	}
	select {
	case <-quit: // which let the interrupt go
		return nil
	default:
	}
	return fmt.Errorf("interrupt of %v: %w", e, err)
}

// chipPin is one pin of an expander. What it is is guarded by e.mu.
type chipPin struct {
	e    *expander
	n    int
	wake chan struct{} // something for NextEdge to look at

	held, out bool
	want      gpio.Level // of an output
	pull      gpio.Pull
	edge      gpio.Edge
	level     gpio.Level // when it was last seen,
	seen      bool       // if it was
	fault     error      // until it is taken again
	edges     []Edge
	seq       uint32
}

const chipEdges = 64 // that wait to be taken; then the oldest is lost

// Name is that of the configuration, String the same whatever it is called there.
func (p *chipPin) Name() string {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	return fmt.Sprintf("%s:%d", p.e.name, p.n)
}
func (p *chipPin) String() string { return fmt.Sprintf("%s:%d", p.e.id, p.n) }
func (p *chipPin) Number() int    { return p.n }

// Function says what the pin is, as far as that is known.
func (p *chipPin) Function() string {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	return function(p.held && p.fault == nil, p.out, p.level)
}

// Out makes the pin an output; its level is there before it is one.
func (p *chipPin) Out(l gpio.Level) error {
	return p.e.take(p, func() {
		p.out, p.want, p.level, p.pull, p.edge = true, l, l, gpio.PullNoChange, gpio.NoEdge
		p.poke()
	})
}

// In makes the pin an input, whose edges are those that were seen when the chip
// was read, with the time when that was.
func (p *chipPin) In(pull gpio.Pull, edge gpio.Edge) error {
	if wrong := p.e.kind.pullMistake(pull); wrong != "" {
		return fmt.Errorf("%s: %s", p.Name(), wrong)
	}
	p.e.life.Lock()
	defer p.e.life.Unlock()
	err := p.e.take(p, func() {
		p.out, p.edge, p.edges, p.seq = false, edge, nil, 0
		if pull != gpio.PullNoChange {
			p.pull = pull
		}
	})
	if err != nil {
		return err
	}
	if err := p.e.begin(); err != nil {
		p.e.mu.Lock()
		p.held = false
		p.e.mu.Unlock()
		p.e.rest()
		return err
	}
	return nil
}

// sees notes a level; p.e.mu is held.
func (p *chipPin) sees(l gpio.Level, at time.Time) {
	changed := p.seen && l != p.level
	p.level, p.seen = l, true
	if !changed || p.out || p.edge == gpio.NoEdge || p.edge == gpio.RisingEdge && !bool(l) || p.edge == gpio.FallingEdge && bool(l) {
		return
	}
	p.seq++
	if len(p.edges) == chipEdges {
		p.edges = slices.Delete(p.edges, 0, 1)
	}
	p.edges = append(p.edges, Edge{Level: l, At: at, Seq: p.seq})
	p.poke()
}

func (p *chipPin) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Level reads the chip.
func (p *chipPin) Level() (gpio.Level, error) {
	p.e.tx.Lock()
	defer p.e.tx.Unlock()
	_ = p.e.look() // it is the pin's fault, too
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	if !p.held {
		return gpio.Low, fmt.Errorf("read %v: it is not held", p)
	}
	return p.level, p.fault
}

// Read is Level for those who can do nothing about an error.
func (p *chipPin) Read() gpio.Level {
	l, _ := p.Level()
	return l
}

// NextEdge waits for an edge; see edger.
func (p *chipPin) NextEdge(timeout time.Duration) (Edge, error) {
	return waitEdge(p.wake, timeout, p.takeEdge)
}

// takeEdge is the oldest edge that waits, or the zero Edge.
func (p *chipPin) takeEdge() (e Edge, err error) {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	switch {
	case !p.held || p.out:
		return e, errHalted
	case len(p.edges) > 0:
		e, p.edges = p.edges[0], p.edges[1:]
	case p.fault != nil:
		return e, p.fault
	}
	return e, nil
}

// WaitForEdge is NextEdge in periph's words.
func (p *chipPin) WaitForEdge(timeout time.Duration) bool {
	_, err := p.NextEdge(timeout)
	return err == nil
}

// Halt lets the pin go, as it is. With the last input ends the reading, with the
// last pin the bus is closed.
func (p *chipPin) Halt() error {
	e := p.e
	e.mu.Lock()
	p.held, p.fault = false, nil
	p.poke()
	e.mu.Unlock()

	e.life.Lock()
	defer e.life.Unlock()
	e.mu.Lock()
	input := func(p *chipPin) bool { return p.held && !p.out }
	inputs := slices.ContainsFunc(e.pins, input)
	e.mu.Unlock()
	if !inputs {
		e.end()
	}
	e.rest()
	return nil
}

func (p *chipPin) Pull() gpio.Pull {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	if !p.held || p.out {
		return gpio.PullNoChange
	}
	return p.pull
}

func (p *chipPin) DefaultPull() gpio.Pull {
	if p.e.kind.mcp {
		return gpio.Float
	}
	return gpio.PullUp
}

func (p *chipPin) PWM(gpio.Duty, physic.Frequency) error { return errNoPWM }
