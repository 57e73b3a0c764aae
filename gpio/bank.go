package gpio

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/i2c"
)

// joined is a bank with the pins of expanders beside its own.
type joined struct {
	Bank
	expanders map[string]*expander // by what the configuration calls them
}

// Join is bank together with the expanders of a configuration, whose buses open
// gives (nil: there are none). Nothing is opened before one of their pins is
// taken. On simulated pins the expanders are simulated too. The error says which
// interrupt there is not.
func Join(bank Bank, cfg Config, open OpenBus) (Bank, error) {
	return join(bank, cfg, open, map[string]*expander{})
}

// join takes the expanders that there are already from old, by their id.
func join(bank Bank, cfg Config, open OpenBus, old map[string]*expander) (*joined, error) {
	b := &joined{bank, map[string]*expander{}}
	var wrong []error
	for _, x := range cfg.Expander {
		e := old[x.Value.id()]
		if e == nil || e.kind.name != x.Value.Type {
			e = newExpander(x.Value, opener(bank, open, x.Name, x.Value))
			if err := e.adopt(bank, x.Name, cfg); err != nil {
				wrong = append(wrong, err)
			}
		} else if _, err := x.Value.signal(bank); err != nil {
			wrong = append(wrong, fmt.Errorf("interrupt of %v: %w", e, err))
		}
		b.expanders[x.Name] = e
	}
	return b, errors.Join(wrong...)
}

// opener is how the bus of an expander is opened.
func opener(bank Bank, open OpenBus, name string, cfg Expander) func() (i2c.BusCloser, error) {
	if buses, ok := bank.(withBuses); ok {
		bank, open = buses.Bank, buses.open
	}
	if sim, ok := bank.(*Sim); ok {
		return func() (i2c.BusCloser, error) { return sim.chip(name, cfg), nil }
	}
	return func() (i2c.BusCloser, error) {
		if open == nil {
			return nil, fmt.Errorf("there is nothing to open the bus %s with", cfg.BusName())
		}
		return open(cfg.BusName())
	}
}

// adopt takes over what a configuration says of an expander, whatever it is
// called there.
func (e *expander) adopt(bank Bank, name string, cfg Config) error {
	x, _ := cfg.Expander.Get(name)
	signal, err := x.signal(bank)
	var ours uint16
	for _, o := range cfg.Output {
		if on, number, ok := onExpander(o.Value.Pin); ok && on == name {
			if n, ok := e.kind.number(number); ok {
				ours |= 1 << n
			}
		}
	}
	e.configure(name, x.poll(), signal, ours)
	if sim, ok := bank.(*Sim); ok {
		sim.chip(name, *x)
	}
	if err != nil {
		return fmt.Errorf("interrupt of %v: %w", e, err)
	}
	return nil
}

// signal is the pin of the interrupt, nil if there is none.
func (e Expander) signal(bank Bank) (gpio.PinIO, error) {
	if e.Interrupt == "" {
		return nil, nil
	}
	return bank.ByName(e.Interrupt)
}

// ByName is the pin of that name, on an expander or not.
func (b *joined) ByName(pin string) (gpio.PinIO, error) {
	if name, number, ok := onExpander(pin); ok && b.expanders[name] != nil {
		return b.expanders[name].pin(number)
	}
	return b.Bank.ByName(pin)
}

// Drive is that of simulated pins, those of their expanders too.
func (b *joined) Drive(pin string, l gpio.Level) error {
	sim, ok := b.Bank.(*Sim)
	if !ok {
		return fmt.Errorf("%s: only simulated pins can be driven, these are %v", pin, b.Bank)
	}
	return sim.Drive(pin, l)
}

// Names are those of the bank, and then those of the expanders.
func (b *joined) Names() []string {
	names := slices.Clip(b.Bank.Names())
	for _, name := range slices.Sorted(maps.Keys(b.expanders)) {
		for n := range b.expanders[name].pins {
			names = append(names, fmt.Sprintf("%s:%d", name, n))
		}
	}
	return names
}

// interrupts are the pins that expanders listen to, each with whose it is: those
// of now and those of the configuration to come.
func (p *Pins) interrupts(next *joined, cfg Config) map[string]string {
	all := map[string]string{}
	for _, e := range p.expanders {
		e.mu.Lock()
		if e.signal != nil {
			all[e.signal.String()] = "the interrupt of expander " + e.name
		}
		e.mu.Unlock()
	}
	for _, x := range cfg.Expander {
		if signal, _ := x.Value.signal(next.Bank); signal != nil {
			all[signal.String()] = "the interrupt of expander " + x.Name
		}
	}
	return all
}

// adoptExpanders makes the expanders of a configuration those at work. Others are
// remembered as long as a pin of theirs is held: one chip is spoken to by one of
// us. p.mu is held.
func (p *Pins) adoptExpanders(c *Change) {
	p.bank = c.bank
	maps.DeleteFunc(p.expanders, func(_ string, e *expander) bool { return !e.inUse() })
	for _, x := range c.cfg.Expander {
		e := c.bank.expanders[x.Name]
		p.expanders[e.id] = e
		_ = e.adopt(c.bank.Bank, x.Name, c.cfg) // plan has looked at the interrupt
	}
}

// withBuses is a bank that [Safe] can reach expanders with.
type withBuses struct {
	Bank
	open OpenBus
}

// WithBuses is bank for [Safe], for outputs on expanders.
func WithBuses(bank Bank, open OpenBus) Bank { return withBuses{bank, open} }

// chipText is what the store keeps of the expander of a pin, so that it can be made
// safe without any configuration; "" for other pins.
func chipText(pin gpio.PinIO) string {
	if p, ok := pin.(*chipPin); ok {
		return p.e.kind.name + " " + p.e.id
	}
	return ""
}

// expander is the other way round.
func (k kept) expander() (cfg Expander, ok bool) {
	f := strings.Fields(k.Chip)
	if len(f) != 3 || kinds[f[0]].name == "" || !goodAddress.MatchString(f[2]) {
		return cfg, false
	}
	return Expander{Type: f[0], Bus: f[1], Address: f[2]}, true
}

// keptPin is the pin of a kept output, on the expander that it was on. expanders
// are those that there are, by their id; one that is missing is added.
func keptPin(bank Bank, open OpenBus, k kept, expanders map[string]*expander) (gpio.PinIO, error) {
	name, number, ok := onExpander(k.Pin)
	cfg, known := k.expander()
	if !ok || !known {
		return bank.ByName(k.Pin)
	}
	e := expanders[cfg.id()]
	if e == nil || e.kind.name != cfg.Type {
		e = newExpander(cfg, opener(bank, open, name, cfg))
		e.configure(name, cfg.poll(), nil, 0)
		expanders[cfg.id()] = e
	}
	pin, err := e.pin(number)
	if p, ok := pin.(*chipPin); ok {
		e.mu.Lock()
		e.ours |= 1 << p.n
		e.mu.Unlock()
	}
	return pin, err
}
