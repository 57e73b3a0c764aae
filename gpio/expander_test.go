package gpio

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
)

// inherit makes copies of another's expanders, as they are now.
func (s *Sim) inherit(old *Sim) {
	old.mu.Lock()
	defer old.mu.Unlock()
	s.chips, s.expanders = map[string]*simChip{}, map[string]*simChip{}
	for id, c := range old.chips {
		c.mu.Lock()
		n := &simChip{sim: s, kind: c.kind, addr: c.addr, powered: c.powered, regs: c.regs, latch: c.latch, seen: c.seen, log: []string{}}
		for i, p := range c.pins {
			p.mu.Lock()
			n.pins = append(n.pins, &simPin{
				number: i, name: p.name, chip: n, wake: make(chan struct{}, 1),
				held: p.held, out: p.out, pull: p.pull, outside: p.outside, hasOutside: p.hasOutside, level: p.level,
			})
			p.mu.Unlock()
		}
		c.mu.Unlock()
		s.chips[id] = n
	}
	for name, c := range old.expanders {
		for id, other := range old.chips {
			if other == c {
				s.expanders[name] = s.chips[id]
			}
		}
	}
}

// wired is simulated pins with the expanders of a configuration, and those alone.
func wired(t *testing.T, toml string) (*Sim, Bank) {
	t.Helper()
	sim := NewSim()
	b, err := Join(sim, configured(t, toml), nil)
	if err != nil {
		t.Fatal(err)
	}
	return sim, b
}

func pinOf(t *testing.T, b Bank, name string) *chipPin {
	t.Helper()
	p, err := b.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p.(*chipPin)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A relay board pulls its inputs up, so its relays are off until somebody drives
// them low, whatever chip it has.
func TestRelaysOnAnExpanderNeverPulse(t *testing.T) {
	for _, chip := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(chip, func(t *testing.T) {
			inHouse(t, func(h *house) {
				board := fmt.Sprintf("[expander.relays]\ntype = %q\naddress = \"0x20\"\n", chip)
				h.sim.chip("relays", configured(t, board).Expander[0].Value)
				for n := range 8 {
					h.drive(fmt.Sprintf("relays:%d", n), gpio.High)
				}
				h.open(board + `
					[output.boiler]
					pin = "relays:3"
					active_low = true
					[output.pump]
					pin = "relays:4"
					active_low = true
				`)
				h.hears("0 boiler OFF initial", "0 pump OFF initial")
				h.set("boiler", true)
				h.hears("0 boiler ON")
				for range 1000 {
					if l, err := h.pins.outputs[0].pin.(leveler).Level(); err != nil || l != gpio.Low {
						t.Fatal(l, err)
					}
				}
				h.set("boiler", false)
				h.hears("0 boiler OFF")
				h.set("boiler", true)
				synctest.Wait()
				if err := h.pins.Close(); err != nil {
					t.Error(err)
				}
				for pin, want := range map[string]string{"relays:3": "hLhLh", "relays:4": "h", "relays:5": "h"} {
					// An MCP drives high, a PCF lets go: to the relay it is the same.
					got := strings.ToLower(history(h.sim, pin))
					for strings.Contains(got, "hh") {
						got = strings.ReplaceAll(got, "hh", "h")
					}
					if got != strings.ToLower(want) {
						t.Errorf("%s saw %s, want %s", pin, got, want)
					}
				}
				h.remembers("boiler relays:3 OFF", "pump relays:4 OFF")
			})
		})
	}
}

// What goes over the wire, byte by byte.
func TestWhatAnMCP23017IsTold(t *testing.T) {
	state := make([]byte, 22)
	set := func(register int, low, high byte) { state[2*register], state[2*register+1] = low, high }
	read := func() i2ctest.IO { return i2ctest.IO{Addr: 0x21, W: []byte{0}, R: slices.Clone(state)} }
	write := func(register int, low, high byte) i2ctest.IO {
		set(register, low, high)
		return i2ctest.IO{Addr: 0x21, W: []byte{byte(2 * register), low, high}}
	}
	set(mcpIODIR, 0xFF, 0xFF)
	ops := []i2ctest.IO{
		write(mcpIOCON, 0x44, 0x44), // both interrupts for all, open drain
		read(),
		write(mcpINTCON, 0, 0),
		write(mcpDEFVAL, 0x5A, 0xA5), // the marker
		write(mcpOLAT, 0x08, 0),      // high before it is an output
		write(mcpGPPU, 0, 0),
		write(mcpIPOL, 0, 0),
		write(mcpIODIR, 0xF7, 0xFF),
		write(mcpGPINTEN, 0, 0),
	}
	ops = append(ops, read()) // is it the chip it should be?
	set(mcpGPIO, 0x08, 0)
	ops = append(ops, read(), write(mcpOLAT, 0, 0)) // low: as it should be? Then one write
	bus := &i2ctest.Playback{Ops: ops, DontPanic: true}
	cfg := configured(t, "[expander.x]\ntype = \"mcp23017\"\nbus = \"I2C3\"\naddress = \"0x21\"")
	b, err := Join(hidden{NewSim()}, cfg, func(name string) (i2c.BusCloser, error) {
		if name != "I2C3" {
			t.Errorf("bus %s", name)
		}
		return bus, nil
	})
	must(t, err)
	pin := pinOf(t, b, "x:A3")
	must(t, pin.Out(gpio.High))
	must(t, pin.Out(gpio.Low))
	must(t, pin.Halt())
	must(t, bus.Close()) // all was told
}

// hidden are simulated pins that nobody takes for such.
type hidden struct{ Bank }

func TestInputsOfAnExpander(t *testing.T) {
	const board = `
		[expander.keys]
		type = "mcp23017"
		address = "0x20"
		[input.button]
		pin = "keys:B2"
		pull = "up"
		active_low = true
		debounce = "50ms"
		[input.door]
		pin = "keys:0"
	`
	inHouse(t, func(h *house) {
		h.open(board)
		h.hears("0 button OFF initial", "0 door OFF initial")
		time.Sleep(105 * time.Millisecond)
		h.drive("keys:10", gpio.Low)
		h.drive("keys:0", gpio.High)
		time.Sleep(time.Second)
		// Seen at the next poll, and the button has been stable for 50 ms then.
		h.hears("0.12 door ON", "0.17 button ON")
		// Over before anybody looks: the chip itself has caught it. The button is
		// debounced, for it that was nothing.
		h.drive("keys:0", gpio.Low)
		h.drive("keys:0", gpio.High)
		h.drive("keys:10", gpio.High)
		h.drive("keys:10", gpio.Low)
		time.Sleep(time.Second)
		h.hears("1.12 door OFF", "1.12 door ON")
	})
}

// With the interrupt wired nothing is polled, and a change is seen at once.
func TestInterruptOfAnExpander(t *testing.T) {
	for _, chip := range []string{"mcp23008", "pcf8575"} {
		t.Run(chip, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.open(`
					[expander.keys]
					type = "` + chip + `"
					address = "0x20"
					interrupt = "GPIO25"
					[input.door]
					pin = "keys:0"
					active_low = true
				`)
				h.drive("keys:0", gpio.High)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				h.mu.Lock()
				h.heard = nil
				h.mu.Unlock()
				c := h.sim.expanders["keys"]
				c.transfers()
				time.Sleep(10 * time.Second)
				if n := len(c.transfers()); n > 16 {
					t.Errorf("%d transactions in 10 s in which nothing happened", n)
				}
				time.Sleep(123 * time.Millisecond)
				h.drive("keys:0", gpio.Low)
				h.hears("20.123 door ON")
				h.drive("keys:0", gpio.High)
				h.hears("20.123 door OFF")
				h.holds("GPIO25")
				must(t, h.pins.Close())
				h.holds() // the interrupt, too
			})
		})
	}
}

// The wire of the interrupt is lost: the inputs say so, and are taken anew with it.
// A line that changes its use from or to an interrupt is refused, for it would be
// held twice for a moment.
func TestTheInterruptIsALineToo(t *testing.T) {
	const board = "[expander.keys]\ntype = \"mcp23017\"\naddress = \"0x20\"\n"
	const door = "[input.door]\npin = \"keys:0\"\n"
	synctest.Test(t, func(t *testing.T) {
		sim, b := wired(t, board+"interrupt = \"GPIO25\"")
		pin := pinOf(t, b, "keys:0")
		must(t, pin.In(gpio.PullUp, gpio.BothEdges))
		sim.Fail("GPIO25", errors.New("no such device"))
		_, err := pin.NextEdge(time.Minute)
		wantError(t, err, "interrupt of expander keys (mcp23017, I2C1 0x20): no such device")
		must(t, pin.Halt())
		wantError(t, pin.In(gpio.PullUp, gpio.BothEdges), "no such device")
		sim.Fail("GPIO25", nil)
		must(t, pin.In(gpio.PullUp, gpio.BothEdges))
		must(t, sim.Drive("keys:0", gpio.Low))
		if e, err := pin.NextEdge(time.Millisecond); err != nil || e.Level != gpio.Low {
			t.Error(e, err)
		}
		must(t, pin.Halt())
		if sim.Held("GPIO25") {
			t.Error("the interrupt is still held")
		}
	})
	inHouse(t, func(h *house) {
		h.open(board + "interrupt = \"GPIO25\"\n" + door + "[output.lamp]\npin = \"GPIO24\"")
		_, err := h.pins.Prepare(configured(t, board+"interrupt = \"GPIO24\"\n"+door))
		wantError(t, err, "output lamp on GPIO24: that line is to be the interrupt of expander keys; one that changes its use has to be left out once")
		_, err = h.pins.Prepare(configured(t, board+door+"[output.lamp]\npin = \"GPIO25\""))
		wantError(t, err, "lamp on GPIO25: that line is the interrupt of expander keys; one that changes its use has to be left out once")
		h.reload(board + "interrupt = \"GPIO23\"\n" + door)
		time.Sleep(2 * time.Second) // by then the reader has changed over
		synctest.Wait()
		h.holds("GPIO23")
		h.reload(board + "interrupt = \"GPIO23\"\n" + door + "[output.lamp]\npin = \"GPIO25\"")
		h.holds("GPIO23", "GPIO25")
	})
}

// The chip loses its power, and is as from the factory when it is back. Nothing is
// on again that nobody has asked for since.
func TestAnExpanderWithoutPower(t *testing.T) {
	for _, chip := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(chip, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim, b := wired(t, "[expander.x]\ntype = \""+chip+"\"\naddress = \"0x20\"")
				lamp, pump, door := pinOf(t, b, "x:1"), pinOf(t, b, "x:2"), pinOf(t, b, "x:3")
				on := gpio.Low // where a PCF can show that it has lost something
				must(t, lamp.Out(on))
				must(t, pump.Out(on))
				must(t, door.In(gpio.Float, gpio.BothEdges))

				sim.Power("x", false)
				wantError(t, lamp.Out(!on), "expander x ("+chip+", I2C1 0x20)", "no answer")
				_, err := pump.Level()
				wantError(t, err, "no answer")
				_, err = door.NextEdge(time.Second)
				wantError(t, err, "no answer")

				sim.Power("x", true)
				if chip[0] == 'm' && sim.Held("x:2") {
					t.Error("after a reset all pins are inputs; the story needs that")
				}
				must(t, lamp.Halt())
				must(t, lamp.Out(on))
				if l, err := lamp.Level(); err != nil || l != on {
					t.Error(l, err)
				}
				if sim.Held("x:2") {
					t.Error("the pump is an output again, and nobody has asked for it")
				}
				must(t, pump.Out(on)) // without Halt, too
				must(t, door.Halt())
				must(t, door.In(gpio.Float, gpio.BothEdges))
				sim.Drive("x:3", !door.level)
				if e, err := door.NextEdge(time.Second); err != nil || e.Seq != 1 {
					t.Error(e, err)
				}
				for _, p := range []*chipPin{lamp, pump, door} {
					must(t, p.Halt())
				}
			})
		})
	}
}

// Power that was away only between two looks shows as well.
func TestAnExpanderThatBlinked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, b := wired(t, "[expander.x]\ntype = \"mcp23008\"\naddress = \"0x20\"")
		// No output, no pull-up: no pin shows it, but the chip would catch nothing.
		door := pinOf(t, b, "x:3")
		must(t, door.In(gpio.Float, gpio.BothEdges))
		blink := func() { sim.Power("x", false); sim.Power("x", true) }
		blink()
		_, err := door.NextEdge(time.Second)
		wantError(t, err, "it has lost its settings: was it without power?")

		lamp, pump := pinOf(t, b, "x:1"), pinOf(t, b, "x:2")
		must(t, lamp.Out(gpio.High))
		must(t, pump.Out(gpio.High))
		blink()
		wantError(t, pump.Out(gpio.High), "it has lost its settings") // that it was off is news
		_, err = lamp.Level()
		wantError(t, err, "it has lost its settings")
		must(t, pump.Out(gpio.High))
		if history(sim, "x:1") != "Hl" || history(sim, "x:2") != "HlH" {
			t.Error(history(sim, "x:1"), history(sim, "x:2"))
		}
		for _, p := range []*chipPin{lamp, pump, door} {
			must(t, p.Halt())
		}
	})
}

func TestAnExpanderThatHangsDelaysNothingElse(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(`
			[expander.relays]
			type = "mcp23017"
			address = "0x20"
			[output.stuck]
			pin = "relays:0"
			[output.lamp]
			pin = "GPIO2"
			[input.button]
			pin = "relays:8"
		`)
		h.hears("0 stuck OFF initial", "0 lamp OFF initial", "0 button OFF initial")
		h.sim.Hang("relays:0", true)
		h.set("stuck", true)
		time.Sleep(2 * time.Second)
		h.set("lamp", true)
		h.hears("2 lamp ON")
		if fault := h.pins.Outputs()[0].Fault; fault != "no answer for 2s" {
			t.Errorf("fault is %q", fault)
		}
		began := time.Now()
		wantError(t, h.pins.Close(), "output stuck on relays:0: no answer within 400ms")
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("Close took %v", d)
		}
		h.saw("GPIO2", "LHL")
		h.sim.Hang("relays:0", false)
		h.saw("relays:0", "LHL") // made safe as soon as that was possible
	})
}

// A disturbance on the wire costs a repetition, not the pins.
func TestOneLostTransactionIsRepeated(t *testing.T) {
	bus := &countedBus{sim: NewSim()}
	b, err := Join(hidden{bus.sim}, configured(t, "[expander.x]\ntype = \"pcf8574\"\naddress = \"0x38\""), bus.open)
	must(t, err)
	lamp := pinOf(t, b, "x:1")
	must(t, lamp.Out(gpio.Low))
	bus.lose = 1
	must(t, lamp.Out(gpio.High))
	bus.lose = 2
	wantError(t, lamp.Out(gpio.High), "lost")
	must(t, lamp.Out(gpio.High))
	if bus.opened.Load() != 2 || bus.closed.Load() != 1 {
		t.Errorf("opened %d, closed %d times: after an error the bus is opened anew", bus.opened.Load(), bus.closed.Load())
	}
	must(t, lamp.Halt())
	if bus.closed.Load() != 2 {
		t.Error("the bus is open and no pin is held")
	}
}

// countedBus is a bus with a simulated chip at each address.
type countedBus struct {
	sim            *Sim
	opened, closed atomic.Int32
	lose           int // transactions
}

func (b *countedBus) open(string) (i2c.BusCloser, error) {
	b.opened.Add(1)
	return b, nil
}
func (b *countedBus) Close() error                    { b.closed.Add(1); return nil }
func (b *countedBus) String() string                  { return "counted" }
func (b *countedBus) SetSpeed(physic.Frequency) error { return nil }
func (b *countedBus) Tx(addr uint16, w, r []byte) error {
	if b.lose > 0 {
		b.lose--
		return errors.New("lost")
	}
	return b.sim.chip("x", Expander{Type: "pcf8574", Address: fmt.Sprintf("%#x", addr)}).Tx(addr, w, r)
}

// A reload leaves an expander alone whose pins are still used, also under a new
// name, and takes a new interval over; one that is used no more is closed.
func TestReloadWithExpanders(t *testing.T) {
	inHouse(t, func(h *house) {
		bus := &countedBus{sim: h.sim}
		opt := h.options()
		opt.Bank, opt.OpenBus = hidden{h.sim}, bus.open
		pins, err := Open(configured(t, `
			[expander.relays]
			type = "pcf8574"
			address = "0x20"
			[output.lamp]
			pin = "relays:0"
			safe = "on"
			[input.door]
			pin = "relays:7"
		`), opt)
		must(t, err)
		h.pins = pins
		h.set("lamp", false)
		h.reload(`
			[expander.board]
			type = "pcf8574"
			address = "0x20"
			poll = "1s"
			[output.lamp]
			pin = "board:0"
			safe = "on"
			[input.door]
			pin = "board:7"
			active_low = true
		`)
		if bus.opened.Load() != 1 || bus.closed.Load() != 0 {
			t.Errorf("opened %d, closed %d times", bus.opened.Load(), bus.closed.Load())
		}
		if got := strings.ToLower(history(h.sim, "x:0")); got != "hl" {
			t.Errorf("the lamp saw %s", got)
		}
		h.remembers("lamp board:0 OFF")
		time.Sleep(5500 * time.Millisecond)
		c := h.sim.chip("x", Expander{Type: "pcf8574", Address: "0x20"})
		c.transfers()
		time.Sleep(10 * time.Second)
		if n := len(c.transfers()); n != 20 {
			t.Errorf("%d looks in 10 s, want one a second for the inputs, and one every two for each pin", n)
		}
		h.reload("[output.lamp]\npin = \"GPIO1\"\nsafe = \"on\"")
		time.Sleep(time.Second)
		if got := strings.ToLower(history(h.sim, "x:0")); got != "hlh" {
			t.Errorf("the lamp saw %s, at last its safe state", got)
		}
		if bus.opened.Load() != bus.closed.Load() {
			t.Errorf("opened %d, closed %d times", bus.opened.Load(), bus.closed.Load())
		}
		if len(h.pins.expanders) != 1 { // remembered until the next reload
			t.Error(h.pins.expanders)
		}
		h.reload("")
		if len(h.pins.expanders) != 0 {
			t.Error(h.pins.expanders)
		}
	})
}

// After a crash the chip is as it was. What is not made safe stays so, to the
// volt: an output that is still to come is not touched by one that comes before.
func TestExpandersAfterACrash(t *testing.T) {
	const board = `
		[expander.relays]
		type = "pcf8574"
		address = "0x20"
		[output.boiler]
		pin = "relays:0"
		active_low = true
		[output.night_light]
		pin = "relays:1"
		active_low = true
		safe = "hold"
	`
	for _, way := range []string{"safe", "start"} {
		t.Run(way, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.open(board)
				h.set("boiler", true)
				h.set("night_light", true)
				h.crash()
				if h.sim.Level("relays:0") || h.sim.Level("relays:1") {
					t.Fatal("both are on, the story needs that")
				}
				switch way {
				case "safe":
					must(t, Safe(WithBuses(h.sim, nil), h.st))
				case "start":
					h.open(board)
				}
				h.saw("relays:0", "h")
				h.saw("relays:1", "")
			})
		})
	}
	t.Run("gone from the configuration", func(t *testing.T) {
		inHouse(t, func(h *house) {
			h.open(board)
			h.set("boiler", true)
			h.set("night_light", true)
			h.crash()
			h.open("")
			h.saw("relays:0", "h")
			h.saw("relays:1", "")
			h.remembers()
		})
	})
}

// A contact that is closed at the start pulls its pin low. To a PCF that looks like
// an output that is on; driven low it would be closed for ever.
func TestAClosedContactOnAPCFIsNoOutput(t *testing.T) {
	inHouse(t, func(h *house) {
		board := "[expander.x]\ntype = \"pcf8574\"\naddress = \"0x20\"\n"
		h.sim.chip("x", configured(t, board).Expander[0].Value)
		h.drive("x:3", gpio.Low)
		h.drive("x:4", gpio.Low)
		h.open(board + "[output.lamp]\npin = \"x:1\"\n[input.door]\npin = \"x:3\"\nactive_low = true")
		h.hears("0 lamp OFF initial", "0 door ON initial")
		h.set("lamp", true)
		h.hears("0 lamp ON")
		h.drive("x:3", gpio.High)
		h.drive("x:4", gpio.High) // nobody's; it is left open, too
		time.Sleep(time.Second)
		h.hears("0.02 door OFF")
	})
}

func TestWhatAnExpanderCanNotDo(t *testing.T) {
	const mcp, pcf = "[expander.x]\ntype = \"mcp23017\"\naddress = \"0x20\"\n", "[expander.x]\ntype = \"pcf8574\"\naddress = \"0x20\"\n"
	_, b := wired(t, mcp)
	wantError(t, pinOf(t, b, "x:1").In(gpio.PullDown, gpio.BothEdges), `x:1: an mcp23017 has no pull-down: want "up" or "none"`)
	_, err := b.ByName("x:16")
	wantError(t, err, `an mcp23017 has no pin "16", want 0 to 15, or A0 to A7 and B0 to B7`)
	if pinOf(t, b, "x:B3") != pinOf(t, b, "x:11") {
		t.Error("B3 is not 11")
	}
	_, b = wired(t, pcf)
	wantError(t, pinOf(t, b, "x:1").In(gpio.PullUp, gpio.BothEdges), `x:1: an input of a pcf8574 is always pulled up, weakly`)

	b, err = Join(hidden{NewSim()}, configured(t, mcp), nil)
	must(t, err)
	wantError(t, pinOf(t, b, "x:1").Out(gpio.High), "expander x (mcp23017, I2C1 0x20): there is nothing to open the bus I2C1 with")

	// A chip of another type answers, but not as it should.
	bus := &countedBus{sim: NewSim()}
	b, err = Join(hidden{bus.sim}, configured(t, mcp), bus.open)
	must(t, err)
	pin := pinOf(t, b, "x:1")
	wantError(t, pin.Out(gpio.High), "expander x (mcp23017, I2C1 0x20): it does not keep what is written to it: is it an mcp23017?")
	if bus.opened.Load() != bus.closed.Load() {
		t.Error("a pin that can't be had leaves the bus open")
	}

	// An interrupt that somebody else holds is told when the input is taken.
	sim, b := wired(t, mcp+"interrupt = \"GPIO5\"")
	sim.Fail("GPIO5", errors.New("device or resource busy"))
	pin = pinOf(t, b, "x:1")
	wantError(t, pin.In(gpio.Float, gpio.BothEdges), "interrupt of expander x (mcp23017, I2C1 0x20): device or resource busy")
	if pin.e.inUse() || pin.e.conn != nil {
		t.Error("it is held all the same")
	}
}

// Many at once, on one chip.
func TestPinsOfOneExpanderAtTheSameTime(t *testing.T) {
	sim, b := wired(t, "[expander.x]\ntype = \"mcp23017\"\naddress = \"0x20\"\npoll = \"1ms\"")
	var all sync.WaitGroup
	for n := range 16 {
		pin := pinOf(t, b, fmt.Sprintf("x:%d", n))
		all.Go(func() {
			for i := range 200 {
				l := gpio.Level(i%2 == 0)
				if n%4 == 3 {
					if err := pin.In(gpio.PullUp, gpio.BothEdges); err != nil {
						t.Error(err)
					}
				} else if err := pin.Out(l); err != nil {
					t.Error(err)
				} else if got, err := pin.Level(); err != nil || got != l {
					t.Errorf("%v: %v, %v", pin, got, err)
				}
				if i%50 == n {
					if err := pin.Halt(); err != nil {
						t.Error(err)
					}
				}
			}
			if err := pin.Halt(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for n := range 16 {
		if sim.Held(fmt.Sprintf("x:%d", n)) != (n%4 != 3) {
			t.Errorf("pin %d is not as it was left", n)
		}
	}
	if e := b.(*joined).expanders["x"]; e.conn != nil || e.done != nil {
		t.Error("nobody has a pin, and it is at work")
	}
}

func TestMistakesInExpanders(t *testing.T) {
	const x = "[expander.relays]\ntype = \"mcp23017\"\naddress = \"0x20\"\n"
	for _, tt := range []struct{ toml, want string }{
		{"[expander.x]\ntype = \"mcp23018\"\naddress = \"0x20\"", `config.toml:2:8: expander.x.type = "mcp23018": did you mean "mcp23017"? Want "mcp23017", "mcp23008", "pcf8574" or "pcf8575"`},
		{"[expander.x]\ntype = \"pcf8574\"\naddress = \"32\"", `config.toml:3:11: expander.x.address = "32": want an address as i2cdetect shows it, in hexadecimal, such as "0x20"`},
		{"[expander.x]\ntype = \"pcf8574\"\naddress = \"0x48\"", `config.toml:3:11: expander.x.address = "0x48": a pcf8574 can't have this address, want 0x20 to 0x27, or 0x38 to 0x3f`},
		{"[expander.x]\ntype = \"mcp23008\"\naddress = \"0x38\"", `config.toml:3:11: expander.x.address = "0x38": an mcp23008 can't have this address, want 0x20 to 0x27`},
		{x + "[expander.b]\ntype = \"pcf8574\"\nbus = \"I2C1\"\naddress = \"0x20\"", `config.toml:7:11: expander.b.address = "0x20": expander.relays is on the same bus with the same address, at config.toml:1:1: want another`},
		{x + "interrupt = \"relays:3\"", `config.toml:4:13: expander.relays.interrupt = "relays:3": want a pin of the board, which tells its edges at once`},
		{x + "interrupt = \"GPIO5\"\n[output.lamp]\npin = \"GPIO5\"", `config.toml:4:13: expander.relays.interrupt = "GPIO5": this pin is used twice, want another: output.lamp.pin has it too, at config.toml:6:7`},
		{x + "bus = \"/dev/i2c-1\"", `config.toml:4:7: expander.relays.bus = "/dev/i2c-1": want the name of a bus, such as "I2C1" for /dev/i2c-1`},
		{x + "[output.lamp]\npin = \"relay:3\"", `config.toml:5:7: output.lamp.pin = "relay:3": no such expander, did you mean "relays:3"?`},
		{"[output.lamp]\npin = \"relays:3\"", `config.toml:2:7: output.lamp.pin = "relays:3": no such expander: want one that has a table [expander.relays]`},
		{x + "[output.lamp]\npin = \"relays:16\"", `config.toml:5:7: output.lamp.pin = "relays:16": an mcp23017 has no pin "16": want 0 to 15, or A0 to A7 and B0 to B7`},
		{x + "[output.lamp]\npin = \"relays:B8\"", `config.toml:5:7: output.lamp.pin = "relays:B8": an mcp23017 has no pin "B8": want 0 to 15, or A0 to A7 and B0 to B7`},
		{x + "[output.lamp]\npin = \"relays:B3\"\n[input.door]\npin = \"relays:11\"", `config.toml:7:7: input.door.pin = "relays:11": this pin is used twice, want another: output.lamp.pin has it too, at config.toml:5:7`},
		{x + "[input.door]\npin = \"relays:1\"\npull = \"down\"", `config.toml:6:8: input.door.pull = "down": an mcp23017 has no pull-down: want "up" or "none"`},
		{"[expander.x]\ntype = \"pcf8574\"\naddress = \"0x20\"\n[input.door]\npin = \"x:1\"\npull = \"up\"", `config.toml:6:8: input.door.pull = "up": an input of a pcf8574 is always pulled up, weakly: want "none", and a resistor for more`},
		{"[expander.pwmchip0]\ntype = \"pcf8574\"\naddress = \"0x20\"", `config.toml:1:1: expander.pwmchip0 = {…}: want another name: the kernel's own chips are called so`},
		{"[input.door]\npin = \"pwmchip0:1\"", `config.toml:2:7: input.door.pin = "pwmchip0:1": a PWM channel can't be read: want a pin that can`},
	} {
		var cfg Config
		err := config.Parse("config.toml", []byte(tt.toml), &cfg).Err()
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s\n\tgives %v\n\twant  %s", tt.toml, err, tt.want)
		}
	}
	var cfg Config
	doc := config.Parse("config.toml", []byte(x+"[input.door]\npin = \"relays:A7\"\npull = \"up\"\n[output.lamp]\npin = \"gpiochip1:5\"\n[output.fan]\npin = \"pwmchip0:1\""), &cfg)
	if w := doc.Warnings(); doc.Err() != nil || len(w) != 1 || !strings.Contains(w[0].String(), "outputs only, says its maker") {
		t.Error(doc.Err(), w)
	}
}

// Any name of a pin is on an expander or not, and names at most one pin of it.
func FuzzExpanderPin(f *testing.F) {
	for _, pin := range []string{"x:3", "x:B7", "x:b7", "x:03", "x:-1", "x:+1", "x:A", "gpiochip1:5", "pwmchip0:1", "GPIO17", "x:", "x:65536", "x:\x00"} {
		f.Add(pin)
	}
	for _, k := range kinds {
		for n := range 20 {
			if got, ok := k.number(fmt.Sprint(n)); ok != (n < k.pins) || ok && got != n {
				f.Errorf("%s: pin %d is %d, %v", k.name, n, got, ok)
			}
		}
	}
	f.Fuzz(func(t *testing.T, pin string) {
		_, number, ok := onExpander(pin)
		if !ok {
			return
		}
		for _, k := range kinds {
			n, ok := k.number(number)
			if ok && (n < 0 || n >= k.pins || len(number) > 2) {
				t.Errorf("%q is pin %d of an %s", pin, n, k.name)
			}
		}
	})
}

// What the store holds may be anything.
func FuzzKeptExpander(f *testing.F) {
	for _, text := range []string{"mcp23017 I2C1 0x20", "pcf8574 my_bus 0x3F", "pcf8574  0x20", "", "x I2C1 0x20", "mcp23008 I2C1 32"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, ok := kept{Chip: text}.expander()
		if !ok {
			return
		}
		e := newExpander(cfg, nil)
		if again, ok := (kept{Chip: chipText(e.pins[0])}).expander(); !ok || again.id() != cfg.id() || again.Type != cfg.Type {
			t.Errorf("%q gives %+v, then %+v", text, cfg, again)
		}
	})
}
