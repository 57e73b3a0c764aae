package hub

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hearth/devices"
	"hearth/gpio"
	"hearth/rules"
	"hearth/web"
)

// Board is the header with what its pins are for. The kernel is asked who holds lines, and
// files are read, on the goroutine of whoever asks.
func (p page) Board(ctx context.Context) (web.Board, error) {
	cfg, err := ask(ctx, p.Hub, func() *Config { return p.cfg }) // which never changes
	if err != nil {
		return web.Board{}, err
	}
	return cfg.board(p.opt), nil
}

// board is the header with what a configuration wants of it.
func (c *Config) board(opt Options) web.Board {
	b := web.Board{Simulated: opt.Simulated}
	at := make(map[string]int) // by the name of the line, where it is on the header
	for i, pin := range gpio.Header() {
		at[pin.Name] = i
		b.Pins = append(b.Pins, web.BoardPin{Number: pin.Number, Line: pin.Name, Role: pin.Role, PowerUp: pin.PowerUp, Caution: pin.Caution})
	}
	text := c.text()
	for _, u := range c.Uses() {
		placed := u.On(opt.Bank)
		use := web.PinUse{Name: u.Name, Label: string(c.shown[u.Name].Name), Table: u.Table, ActiveLow: u.ActiveLow, Pull: u.Pull, Cautions: placed.Cautions, Wrong: placed.Wrong, Config: tableIn(text, u.Table, u.Name)}
		if expander, _, on := strings.Cut(u.Pin, ":"); on {
			if _, is := c.Expander.Get(expander); is { // whose pins are no bank's before they are taken
				use.Wrong = ""
			}
		}
		if placed.HeaderPin > 0 {
			pin := &b.Pins[placed.HeaderPin-1]
			pin.Uses = append(pin.Uses, use)
			continue
		}
		i := slices.IndexFunc(b.Others, func(o web.BoardPin) bool { return o.Line == u.Pin })
		if i < 0 {
			i = len(b.Others)
			b.Others = append(b.Others, web.BoardPin{Line: u.Pin})
		}
		b.Others[i].Uses = append(b.Others[i].Uses, use)
	}
	hold := func(line, by string, names ...string) {
		i, ok := at[line]
		if !ok {
			return
		}
		if pin := &b.Pins[i]; pin.Held == "" {
			pin.Held = by
		}
		for _, name := range names {
			if pin := &b.Pins[i]; !slices.Contains(pin.For, name) {
				pin.For = append(pin.For, name)
			}
		}
	}
	for _, line := range c.busLines() {
		hold(line.line, line.by, line.name)
	}
	if opt.Simulated {
		return b
	}
	chips, _ := gpio.Survey() // else who holds the pins is not known
	for _, c := range chips {
		for _, l := range c.Lines {
			if l.Used && l.Consumer != gpio.Consumer {
				hold(l.Name, cmp.Or(l.Consumer, "the kernel"))
			}
		}
	}
	root := cmp.Or(opt.Root, "/")
	for _, on := range []struct {
		path, by string
		lines    []string
	}{
		{"dev/i2c-1", "I2C1", []string{"GPIO2", "GPIO3"}},
		{"dev/spidev0.0", "SPI0", []string{"GPIO7", "GPIO8", "GPIO9", "GPIO10", "GPIO11"}},
	} {
		if _, err := os.Stat(filepath.Join(root, on.path)); err == nil {
			for _, line := range on.lines {
				hold(line, on.by)
			}
		}
	}
	return b
}

// A busLine is a line of the header that a bus has because of something that is declared.
type busLine struct{ line, by, name string }

func (c *Config) busLines() (all []busLine) {
	i2c := func(bus, name string) {
		if of, _, port := strings.Cut(bus, ":"); port { // of a multiplexer, which is on no other's port
			if m, ok := c.I2C.Get(of); ok {
				bus = m.Bus
			}
		}
		if cmp.Or(bus, "I2C1") == "I2C1" {
			all = append(all, busLine{"GPIO2", "I2C1", name}, busLine{"GPIO3", "I2C1", name})
		}
	}
	for _, x := range c.Expander {
		i2c(x.Value.Bus, x.Name)
	}
	for _, s := range c.Sensor {
		switch {
		case s.Value.Type != "":
			i2c(s.Value.Bus, s.Name)
		case s.Value.W1 != "": // unless dtoverlay=w1-gpio names another line
			all = append(all, busLine{"GPIO4", "1-Wire", s.Name})
		}
	}
	return all
}

// text is that of all files of the configuration, as they are now; what can't be read is
// left out.
func (c *Config) text() string {
	var b strings.Builder
	for _, file := range c.files {
		if text, err := os.ReadFile(file); err == nil {
			b.Write(text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// tableIn finds the lines of a table that has a name, "" if it is not written as one.
func tableIn(text, table, name string) string {
	var found []string
	in := false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "[") {
			head, _, _ := strings.Cut(strings.TrimPrefix(trimmed, "["), "]")
			head = strings.NewReplacer(" ", "", `"`, "", "'", "").Replace(head)
			in = head == table+"."+name || strings.HasPrefix(head, table+"."+name+".")
		}
		if in {
			found = append(found, strings.TrimRight(line, "\r\n"))
		}
	}
	return strings.TrimSpace(strings.Join(found, "\n"))
}

// Acknowledge takes back the fault of an output that waits for that. Any other is quiet from
// then on, until it is over or another one.
func (p page) Acknowledge(ctx context.Context, name string) error {
	return p.try(ctx, func() error {
		for _, i := range slices.Concat(p.pins.Outputs(), p.pins.Covers(), p.pins.Inputs()) {
			if i.Name != name {
				continue
			}
			switch {
			case i.Fault == "" && !i.Latched:
				return errors.New(name + " has no fault to acknowledge")
			case i.Latched:
				p.obeyOwn(rules.Decision{At: p.now(), Rule: "page", Outcome: rules.Fired, Why: who(ctx) + " acknowledged the fault of " + name + " on the page",
					Commands: []devices.Command{{Output: name, Value: gpio.Acknowledge, Origin: devices.Origin{By: "page"}}}})
			default:
				p.quiet[name] = faultKind(i.Fault)
				p.log.Info("a fault was acknowledged on the page", "name", name, "fault", i.Fault, "by", web.By(ctx))
			}
			p.tellPin(name)
			return nil
		}
		return unknownName("output or input", name, p.cfg.wired())
	})
}

// faultKind is a fault without its numbers, and each of its lines once: one that says for how
// long it has been, or that it was met again on another try, is the same all the time.
func faultKind(fault string) string {
	lines := strings.Split(strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c == '.' {
			return -1
		}
		return c
	}, fault), "\n")
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

// forgetQuiet makes the next fault of a pin loud again, once that which somebody
// acknowledged is over or another.
func (h *Hub) forgetQuiet() {
	if len(h.quiet) == 0 {
		return
	}
	is := make(map[string]string)
	for _, i := range slices.Concat(h.pins.Outputs(), h.pins.Covers(), h.pins.Inputs()) {
		is[i.Name] = faultKind(i.Fault)
	}
	for name, fault := range h.quiet {
		if is[name] != fault {
			delete(h.quiet, name)
			h.tellPin(name)
		}
	}
}
