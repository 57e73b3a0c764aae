package gpio

import (
	"fmt"
	"sync"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// simChip is an expander of the simulated pins: an I2C chip that does to its
// pins what its registers say. Its pins are there for [Sim] under the name of the
// expander, such as "relays:3".
type simChip struct {
	sim   *Sim
	kind  kind
	addr  uint16
	wired string // the simulated pin that its interrupt leads to, "" if none
	pins  []*simPin

	mu      sync.Mutex
	powered bool
	hung    chan struct{}
	fail    error
	regs    [mcpRegisters]uint16 // of an MCP
	latch   uint16               // of a PCF
	seen    uint16               // the levels when it was last read
	log     []string             // each transaction, for tests
}

const simTransfers = 4096 // transactions of which a chip can still tell

// chip is the simulated chip of an expander, made when it is first asked for.
func (s *Sim) chip(name string, e Expander) *simChip {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chips == nil {
		s.chips, s.expanders = map[string]*simChip{}, map[string]*simChip{}
	}
	k, addr := kinds[e.Type], e.address()
	c := s.chips[e.id()]
	if c == nil || c.kind != k {
		c = &simChip{sim: s, kind: k, addr: addr}
		for n := range k.pins {
			c.pins = append(c.pins, &simPin{number: n, chip: c, wake: make(chan struct{}, 1)})
		}
		s.chips[e.id()] = c
	}
	c.mu.Lock()
	c.wired = e.Interrupt
	if !c.powered && c.log == nil {
		c.power(true)
	}
	c.mu.Unlock()
	for n, p := range c.pins {
		p.mu.Lock()
		p.name = fmt.Sprintf("%s:%d", name, n)
		p.mu.Unlock()
	}
	s.expanders[name] = c
	return c
}

// Power cuts the power of a simulated expander, or gives it back: then it is as
// it left the factory. It is for tests, as Hang and Fail are, and panics if no
// configuration has used that expander yet.
func (s *Sim) Power(expander string, on bool) {
	s.mu.Lock()
	c := s.expanders[expander]
	s.mu.Unlock()
	if c == nil {
		panic("no simulated expander " + expander)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.power(on)
}

// power resets the chip; c.mu is held.
func (c *simChip) power(on bool) {
	c.powered = on
	c.regs = [mcpRegisters]uint16{mcpIODIR: 0xFFFF}
	c.latch = 0xFFFF
	c.act()
	c.seen = c.levels()
}

func (c *simChip) String() string                  { return "simulated" }
func (c *simChip) Close() error                    { return nil }
func (c *simChip) SetSpeed(physic.Frequency) error { return nil }

var _ i2c.BusCloser = (*simChip)(nil)

// Tx is one transaction, as the chip would answer it.
func (c *simChip) Tx(addr uint16, w, r []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.hung != nil {
		hung := c.hung
		c.mu.Unlock()
		<-hung
		c.mu.Lock()
	}
	switch {
	case c.fail != nil:
		return c.fail
	case !c.powered || addr != c.addr:
		return fmt.Errorf("no answer from %#x: remote I/O error", addr)
	}
	if c.kind.mcp {
		c.mcpTx(w, r)
	} else {
		c.pcfTx(w, r)
	}
	if len(c.log) < simTransfers {
		c.log = append(c.log, fmt.Sprintf("% x: % x", w, r))
	}
	c.interrupt()
	return nil
}

func (c *simChip) mcpTx(w, r []byte) {
	ports := c.kind.pins / 8
	at, size := int(w[0]), mcpRegisters*ports
	for _, b := range w[1:] {
		register, shift := at%size/ports, at%ports*8
		if register == mcpGPIO {
			register = mcpOLAT
		}
		if register != mcpINTF && register != mcpINTCAP {
			c.regs[register] = c.regs[register]&^(0xFF<<shift) | uint16(b)<<shift
		}
		c.act()
		at++
	}
	for i := range r {
		register, shift := at%size/ports, at%ports*8
		v := c.regs[register]
		if register == mcpGPIO {
			v = c.levels() ^ c.regs[mcpIPOL]
		}
		r[i] = byte(v >> shift)
		if register == mcpINTCAP || register == mcpGPIO {
			c.regs[mcpINTF] &^= 0xFF << shift
			c.seen = c.seen&^(0xFF<<shift) | c.levels()&(0xFF<<shift)
		}
		at++
	}
}

func (c *simChip) pcfTx(w, r []byte) {
	ports := c.kind.pins / 8
	for i, b := range w {
		shift := i % ports * 8
		c.latch = c.latch&^(0xFF<<shift) | uint16(b)<<shift
	}
	c.act()
	for i := range r {
		r[i] = byte(c.levels() >> (i % ports * 8))
	}
	c.seen = c.levels()
}

// act makes the pins as the registers say; c.mu is held.
func (c *simChip) act() {
	for n, p := range c.pins {
		bit := uint16(1) << n
		out, l, pull := false, gpio.Low, gpio.Float
		switch {
		case !c.powered:
		case c.kind.mcp:
			out, l = c.regs[mcpIODIR]&bit == 0, c.regs[mcpOLAT]&bit != 0
			if c.regs[mcpGPPU]&bit != 0 {
				pull = gpio.PullUp
			}
		default:
			out, pull = c.latch&bit == 0, gpio.PullUp
		}
		p.mu.Lock()
		switch {
		case out && (!p.out || p.level != l):
			p.held, p.out = true, true
			p.settle(l, true)
		case !out && (p.out || p.pull != pull):
			p.held, p.out, p.pull = false, false, pull
			l := gpio.Level(pull == gpio.PullUp)
			if p.hasOutside {
				l = p.outside
			}
			p.settle(l, false)
		}
		p.mu.Unlock()
	}
}

// levels are those of all pins; c.mu is held.
func (c *simChip) levels() (all uint16) {
	for n, p := range c.pins {
		p.mu.Lock()
		if p.level {
			all |= 1 << n
		}
		p.mu.Unlock()
	}
	return all
}

// drive puts a level on a pin from outside.
func (c *simChip) drive(p *simPin, l gpio.Level) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.mu.Lock()
	if p.out {
		p.mu.Unlock()
		return fmt.Errorf("%s is an output, it can't be driven from outside", p.name)
	}
	p.outside, p.hasOutside = l, true
	p.settle(l, false)
	p.mu.Unlock()
	levels := c.levels()
	if changed := (levels ^ c.seen) & c.regs[mcpGPINTEN] &^ c.regs[mcpINTF]; c.kind.mcp && changed != 0 {
		c.regs[mcpINTF] |= changed
		c.regs[mcpINTCAP] = c.regs[mcpINTCAP]&^changed | levels&changed
	}
	c.interrupt()
	return nil
}

// interrupt drives the wire to the board, low while there is something to read;
// c.mu is held.
func (c *simChip) interrupt() {
	if c.wired == "" {
		return
	}
	quiet := c.regs[mcpINTF] == 0
	if !c.kind.mcp {
		quiet = (c.levels()^c.seen)&c.latch == 0
	}
	_ = c.sim.Drive(c.wired, gpio.Level(quiet || !c.powered)) // a pin that is no input hears nothing
}

func (c *simChip) setHung(hang bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if hang && c.hung == nil {
		c.hung = make(chan struct{})
	}
	if !hang && c.hung != nil {
		close(c.hung)
		c.hung = nil
	}
}

func (c *simChip) setFail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

// transfers are the transactions since the last call, written "14 01 00: " with
// what was written and read.
func (c *simChip) transfers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	log := c.log
	c.log = []string{}
	return log
}
