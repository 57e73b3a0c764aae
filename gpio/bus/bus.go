// Package bus shares the I²C buses of the machine among those who talk on them:
// sensors and port expanders.
//
// A [Bus] is a periph i2c.Bus, so every driver of periph works on it. What it
// promises beyond that: a transaction takes at most [Limit]. A bus that hangs,
// because a chip holds its clock down, costs one goroutine and one error a
// transaction, whoever asks and however often; when it answers again it works
// again.
//
// A bus is called as periph calls it, "I2C1" for /dev/i2c-1. The eight ports of a
// multiplexer that has a table [i2c.NAME] are the buses "NAME:0" to "NAME:7".
package bus

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"hearth/config"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Limit is how long a transaction may take, and how long it waits for its turn.
const Limit = time.Second

// Config is what the owner wrote about buses.
type Config struct {
	I2C config.Table[Mux] `toml:"i2c"` // [i2c.attic]
}

// Mux is a multiplexer: a chip on a bus with eight buses behind it, for chips that
// all have the same address.
type Mux struct {
	Type    string  `toml:"type,required" enum:"pca9548,tca9548"` // two names for one chip
	Bus     string  `toml:"bus,required" eg:"\"I2C1\""`           // the one that it is on; not a port of another
	Address Address `toml:"address" eg:"\"0x70\""`                // default "0x70"
}

// Address is that of a chip on its bus, written as data sheets do: "0x76".
type Address uint16

// UnmarshalText reads seven bits in hexadecimal.
func (a *Address) UnmarshalText(text []byte) error {
	digits, ok := strings.CutPrefix(strings.ToLower(string(text)), "0x")
	n, err := strconv.ParseUint(digits, 16, 16)
	if !ok || err != nil || n < 0x08 || n > 0x77 {
		return errors.New(`want an address from "0x08" to "0x77", in hexadecimal`)
	}
	*a = Address(n)
	return nil
}

func (a Address) String() string { return fmt.Sprintf("%#02x", uint16(a)) }

var plain = regexp.MustCompile(`^I2C(0|[1-9][0-9]{0,3})$`)

// Check reports multiplexers that can't be.
func (c Config) Check(at config.Place) {
	taken := map[string]string{}
	for _, m := range c.I2C {
		at := at.Key("i2c").Key(m.Name)
		address := m.Value.address()
		key := m.Value.Bus + " " + address.String()
		switch {
		case (m.Value.Bus != "" || at.Key("bus").Given()) && !plain.MatchString(m.Value.Bus):
			at.Key("bus").Mistake(`want the bus that the chip is on, such as "I2C1"`)
		case address < 0x70:
			at.Key("address").Mistake(`want "0x70" to "0x77", which is all that this chip can have`)
		case taken[key] != "":
			at.Key("address").Mistake("i2c.%s has this address on the same bus: want another", taken[key])
		}
		taken[key] = m.Name
	}
}

func (m Mux) address() Address {
	if m.Address == 0 {
		return 0x70
	}
	return m.Address
}

// Mistake says what would be right where name is not the name of a bus; "" if it is.
func (c Config) Mistake(name string) string {
	_, _, err := c.resolve(name)
	if err != nil {
		return err.Error()
	}
	return ""
}

// Path is the way to a bus, which is the same for two names of one: "I2C1", or
// "I2C1 0x70:3" for a port of a multiplexer.
func (c Config) Path(name string) string {
	root, way, err := c.resolve(name)
	if err != nil || way == nil {
		return root
	}
	return fmt.Sprintf("%s %v:%d", root, way.address, way.port)
}

// A port is the way from a bus to one behind a multiplexer.
type port struct {
	mux     string
	address Address
	port    int
}

func (c Config) resolve(name string) (root string, way *port, err error) {
	if plain.MatchString(name) {
		return name, nil, nil
	}
	mux, number, isPort := strings.Cut(name, ":")
	if !isPort {
		return "", nil, errors.New(`want the name of a bus, such as "I2C1" for /dev/i2c-1, or "NAME:0" for a port of a multiplexer`)
	}
	m, ok := c.I2C.Get(mux)
	if !ok {
		if near, ok := config.Nearest(mux, c.I2C.Names()); ok {
			return "", nil, fmt.Errorf("no such multiplexer, did you mean %q?", near+":"+number)
		}
		return "", nil, fmt.Errorf("no such multiplexer: want one that has a table [i2c.%s]", mux)
	}
	n, err := strconv.ParseUint(number, 10, 8)
	if err != nil || n > 7 {
		return "", nil, fmt.Errorf("want a port from %[1]s:0 to %[1]s:7", mux)
	}
	return m.Bus, &port{mux, m.address(), int(n)}, nil
}

// A Bus is a handle of a bus. It may be used by several goroutines; transactions
// take turns. Close gives the handle back.
type Bus = i2c.BusCloser

// An Opener opens a bus by its plain name, such as "I2C1". It is called when
// somebody needs the bus and nobody has it.
type Opener func(name string) (i2c.BusCloser, error)

// Buses are all buses of the machine. The methods may be called from any goroutine.
type Buses struct {
	open Opener

	mu     sync.Mutex
	cfg    Config
	wires  map[string]*wire // those that somebody has, or that hang
	closed bool
}

// New opens nothing yet. open is the kernel's buses if it is nil.
func New(cfg Config, open Opener) *Buses {
	if open == nil {
		open = Kernel
	}
	return &Buses{cfg: cfg, open: open, wires: map[string]*wire{}}
}

// Use takes a new configuration for what is opened from now on.
func (b *Buses) Use(cfg Config) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cfg = cfg
}

// Path is that of the configuration in use.
func (b *Buses) Path(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cfg.Path(name)
}

// Open gives a handle of the bus of that name. The bus is opened if nobody has it
// yet; the error says why it can't be.
func (b *Buses) Open(name string) (Bus, error) {
	b.mu.Lock()
	root, way, err := b.cfg.resolve(name)
	switch {
	case err != nil:
		b.mu.Unlock()
		return nil, fmt.Errorf("bus %q: %w", name, err)
	case b.closed:
		b.mu.Unlock()
		return nil, fmt.Errorf("%s: the buses are closed", name)
	}
	w := b.wires[root]
	if w == nil {
		w = &wire{of: b, name: root, turn: make(chan struct{}, 1), stuck: make(chan struct{})}
		b.wires[root] = w
	}
	w.users++
	b.mu.Unlock()
	h := &handle{name: name, way: way, wire: w}
	if err := w.do(func(i2c.Bus) error { return nil }); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Close closes all buses; those that hang when they are back. Handles that are
// still there give errors.
func (b *Buses) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, w := range b.wires {
		w.leave()
	}
}

// A wire is one bus of the machine, open while it has users. Its mu is that of Buses.
type wire struct {
	of   *Buses
	name string
	turn chan struct{} // holds a token while a transaction runs

	// Guarded by of.mu:
	users int
	busy  bool          // a transaction runs
	since time.Time     // when the one began that hangs; zero if none does
	stuck chan struct{} // closed while one hangs

	bus i2c.BusCloser // belongs to whoever has the turn, and to leave when nobody is busy; nil if not open
}

// leave closes a wire that nobody needs and nobody is busy on; of.mu is held.
func (w *wire) leave() {
	if w.busy || w.users > 0 && !w.of.closed {
		return
	}
	if w.of.wires[w.name] == w {
		delete(w.of.wires, w.name)
	}
	if w.bus != nil {
		w.bus.Close()
		w.bus = nil
	}
}

// do runs one transaction on the open bus, in its turn. It is back within twice
// the Limit, whatever becomes of the transaction.
func (w *wire) do(transact func(i2c.Bus) error) error {
	timer := time.NewTimer(Limit)
	defer timer.Stop()
	w.of.mu.Lock()
	stuck := w.stuck
	w.of.mu.Unlock()
	select {
	case <-stuck:
		return w.hangs()
	default:
	}
	select {
	case w.turn <- struct{}{}:
	case <-stuck:
		return w.hangs()
	case <-timer.C:
		return fmt.Errorf("%s: others kept it busy for %v", w.name, Limit)
	}
	w.of.mu.Lock()
	if w.of.closed {
		w.of.mu.Unlock()
		<-w.turn
		return fmt.Errorf("%s: the buses are closed", w.name)
	}
	w.busy = true
	w.of.mu.Unlock()

	began := time.Now()
	done := make(chan error, 1)
	go func() {
		err := w.transact(transact)
		w.of.mu.Lock()
		w.busy = false
		if !w.since.IsZero() {
			w.since, w.stuck = time.Time{}, make(chan struct{})
		}
		done <- err
		w.leave()
		<-w.turn
		w.of.mu.Unlock()
	}()
	timer.Reset(Limit)
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	w.of.mu.Lock()
	select {
	case err := <-done: // at the last moment
		w.of.mu.Unlock()
		return err
	default:
	}
	w.since = began
	close(w.stuck)
	w.of.mu.Unlock()
	return fmt.Errorf("%s: no answer within %v, the bus hangs", w.name, Limit)
}

func (w *wire) hangs() error {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	if w.since.IsZero() {
		return fmt.Errorf("%s: the bus hung until just now", w.name)
	}
	return fmt.Errorf("%s: the bus hangs since %s, for %v", w.name,
		w.since.Format(time.DateTime), time.Since(w.since).Round(time.Second/10))
}

// transact opens the bus if need be. One whose adapter is gone is closed, so that
// the next transaction looks whether it is back.
func (w *wire) transact(f func(i2c.Bus) error) error {
	if w.bus == nil {
		bus, err := w.of.open(w.name)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		w.bus = bus
	}
	err := f(w.bus)
	if errors.Is(err, unix.ENODEV) {
		w.bus.Close()
		w.bus = nil
	}
	return err
}

// A handle is one user's.
type handle struct {
	name string
	way  *port // nil: the wire itself
	wire *wire
	once sync.Once
}

func (h *handle) String() string { return h.name }

// Close gives the handle back; the bus is closed when nobody has it any more.
func (h *handle) Close() error {
	h.once.Do(func() {
		h.wire.of.mu.Lock()
		defer h.wire.of.mu.Unlock()
		h.wire.users--
		h.wire.leave()
	})
	return nil
}

// Tx writes w to the chip at addr and then reads r. If it comes too late r is not
// touched any more.
func (h *handle) Tx(addr uint16, w, r []byte) error {
	out, in := bytes.Clone(w), make([]byte, len(r)) // the caller may be gone before the bus is
	err := h.wire.do(func(b i2c.Bus) error {
		if h.way == nil {
			if err := b.Tx(addr, out, in); err != nil {
				return fmt.Errorf("%s, address %#02x: %w", h.name, addr, err)
			}
			return nil
		}
		// The port is closed again, so that the chips behind it are not in the way of
		// those with the same address elsewhere.
		mux := uint16(h.way.address)
		if err := b.Tx(mux, []byte{1 << h.way.port}, nil); err != nil {
			return fmt.Errorf("%s, multiplexer %s at %v: %w", h.wire.name, h.way.mux, h.way.address, err)
		}
		err := b.Tx(addr, out, in)
		if err != nil {
			err = fmt.Errorf("%s, address %#02x: %w", h.name, addr, err)
		}
		if shut := b.Tx(mux, []byte{0}, nil); shut != nil {
			err = errors.Join(err, fmt.Errorf("%s, multiplexer %s at %v: %w", h.wire.name, h.way.mux, h.way.address, shut))
		}
		return err
	})
	if err == nil {
		copy(r, in)
	}
	return err
}

// SetSpeed sets the clock of the whole bus, where the kernel can.
func (h *handle) SetSpeed(f physic.Frequency) error {
	return h.wire.do(func(b i2c.Bus) error { return b.SetSpeed(f) })
}
