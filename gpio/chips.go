package gpio

import (
	"errors"
	"fmt"
)

// A chip is how one type of expander is spoken to. It knows registers, no time
// and no goroutine; whoever calls it sees to it that one does so at a time.
//
// periph's drivers of these chips make a pin an output before its level is there,
// believe for ever in the registers that they read once, and turn an output of a
// PCF857x off in order to read it (docs/decisions.md). So these are our own.
type chip interface {
	// apply makes the pins in w.held as w says. Pins that are not held stay as the
	// chip has them. known says that look has just found the chip as it should
	// be; otherwise it may be as another program or a power cut left it.
	apply(tx transfer, w wiring, known bool) error
	// look reads the chip, which changes no pin. The error is errForgot if the
	// held pins are not as they were made.
	look(tx transfer, w wiring) (sight, error)
}

// transfer writes to a chip, then reads from it, in one transaction.
type transfer func(w, r []byte) error

// wiring is how pins are meant to be, a bit for each.
type wiring struct {
	held uint16 // the only ones that the others speak of
	out  uint16
	high uint16 // the level of outputs
	up   uint16 // pull-up of inputs
	ours uint16 // outputs of the configuration, held or not
}

// sight is what a chip was found to be.
type sight struct {
	level  uint16
	caught uint16 // the pins that changed since the last look, maybe back again,
	then   uint16 // and their level when they did
}

var errForgot = errors.New("it has lost its settings: was it without power?")

// mcp is an MCP23008 (one port) or MCP23017 (two). Its registers lie port beside
// port, so each is a word of as many bytes as there are ports.
type mcp struct {
	ports int
	regs  [mcpRegisters]uint16 // as they were last read or written
}

const (
	mcpIODIR = iota // 1: input
	mcpIPOL
	mcpGPINTEN // 1: a change is caught
	mcpDEFVAL
	mcpINTCON
	mcpIOCON
	mcpGPPU
	mcpINTF
	mcpINTCAP
	mcpGPIO
	mcpOLAT
	mcpRegisters

	// DEFVAL does nothing while INTCON is 0, and is 0 after a reset. So what we
	// write there tells whether the chip has forgotten all else.
	mcpMarker = 0xA55A
	// Both interrupt pins tell of both ports; they are open drain, as a chip on 5 V
	// must not drive a pin of the Raspberry Pi.
	mcpMirror, mcpOpenDrain = 0x40, 0x04
)

func (m *mcp) mask() uint16 { return 1<<(8*m.ports) - 1 }

func (m *mcp) read(tx transfer) error {
	buf := make([]byte, mcpRegisters*m.ports)
	if err := tx([]byte{0}, buf); err != nil {
		return err
	}
	for i := range m.regs {
		m.regs[i] = word16(buf[i*m.ports:], m.ports)
	}
	return nil
}

func (m *mcp) write(tx transfer, register int, v uint16) error {
	if err := tx(append([]byte{byte(register * m.ports)}, bytes16(v, m.ports)...), nil); err != nil {
		return err
	}
	m.regs[register] = v & m.mask()
	return nil
}

func (m *mcp) apply(tx transfer, w wiring, known bool) error {
	if !known {
		// First, as it also says how registers are numbered in what is read next.
		config := uint16(mcpMirror|mcpOpenDrain) * 0x0101
		if m.ports == 1 {
			config = mcpOpenDrain
		}
		if err := m.write(tx, mcpIOCON, config); err != nil {
			return err
		}
		if err := m.read(tx); err != nil {
			return err
		}
	}
	set := func(register int, v uint16) error {
		if known && m.regs[register] == v && register != mcpOLAT {
			return nil
		}
		return m.write(tx, register, v)
	}
	mix := func(register int, v uint16) uint16 { return m.regs[register]&^w.held | v&w.held }
	if !known {
		if err := errors.Join(set(mcpINTCON, 0), set(mcpDEFVAL, mcpMarker&m.mask())); err != nil {
			return err
		}
	}
	// The level is there before the pin becomes an output.
	for _, r := range []struct {
		register int
		v        uint16
	}{
		{mcpOLAT, mix(mcpOLAT, w.high)},
		{mcpGPPU, mix(mcpGPPU, w.up&^w.out)},
		{mcpIPOL, mix(mcpIPOL, 0)},
		{mcpIODIR, mix(mcpIODIR, ^w.out)},
		{mcpGPINTEN, w.held &^ w.out},
	} {
		if err := set(r.register, r.v); err != nil {
			return err
		}
	}
	return nil
}

func (m *mcp) look(tx transfer, w wiring) (sight, error) {
	if err := m.read(tx); err != nil {
		return sight{}, err
	}
	if m.regs[mcpDEFVAL] != mcpMarker&m.mask() || (m.regs[mcpIODIR]^^w.out)&w.held != 0 {
		return sight{}, errForgot
	}
	return sight{level: m.regs[mcpGPIO], caught: m.regs[mcpINTF], then: m.regs[mcpINTCAP]}, nil
}

// pcf is a PCF8574 (one port) or PCF8575 (two). All it has is a latch: a pin
// whose bit is 0 is low, any other is weakly pulled up and so may be read. The
// latch can't be read back.
type pcf struct {
	ports int
	latch uint16
}

func (p *pcf) apply(tx transfer, w wiring, known bool) error {
	if !known {
		// An output that is not held yet may be on from before, and has to stay so
		// until it is: what is low is kept low. Any other pin is left open, as it is
		// after power up.
		found, err := p.read(tx)
		if err != nil {
			return err
		}
		p.latch = found | ^w.ours
	}
	latch := p.latch&^w.held | (w.high|^w.out)&w.held
	if err := tx(bytes16(latch, p.ports), nil); err != nil {
		return err
	}
	p.latch = latch
	return nil
}

func (p *pcf) read(tx transfer) (uint16, error) {
	buf := make([]byte, p.ports)
	if err := tx(nil, buf); err != nil {
		return 0, err
	}
	return word16(buf, p.ports), nil
}

// look: after a reset all pins are high, which shows if one was driven low.
// Where none was, the reset has changed nothing.
func (p *pcf) look(tx transfer, w wiring) (sight, error) {
	level, err := p.read(tx)
	switch low := w.held & w.out &^ w.high; {
	case err != nil:
		return sight{}, err
	case level&low != 0:
		return sight{}, fmt.Errorf("a pin that is driven low is high; %w", errForgot)
	}
	return sight{level: level}, nil
}

func word16(b []byte, n int) uint16 {
	if n == 1 {
		return uint16(b[0])
	}
	return uint16(b[0]) | uint16(b[1])<<8
}

func bytes16(v uint16, n int) []byte { return []byte{byte(v), byte(v >> 8)}[:n] }
