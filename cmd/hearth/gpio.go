package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/config"
	"hearth/gpio"
	"hearth/hub"
)

type gpioCommand struct {
	Show gpioShowCommand `cmd:"" default:"withargs" help:"Show the GPIO chips, who holds which line, and the header with your names (the default)."`
	Test gpioTestCommand `cmd:"" help:"Try one output or input by hand, with a question before each switch."`
}

// pinFlags are shared by show and test.
type pinFlags struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration; default ./config.toml if there is one, else /etc/hearth/config.toml."`
	Sim    bool   `help:"Simulated pins. The default on a machine that has none."`
}

// gpioShowCommand looks and touches nothing: the kernel tells who holds a line,
// and the hub, if one runs, how it is. The level of a line that nobody holds is
// not known, for to read it would be to take it.
type gpioShowCommand struct {
	pinFlags
	All    bool   `help:"List every line, not only those that are held or configured."`
	JSON   bool   `name:"json" help:"For scripts."`
	Broker string `placeholder:"ADDRESS" help:"Where the hub is asked for states; default: where the configuration has it listen."`
	loginFlags
}

// A board is all that is shown.
type board struct {
	Simulated bool        `json:"simulated"`
	Config    string      `json:"config,omitempty"`
	Mistakes  int         `json:"mistakes"` // in the configuration, of which only the rest is in Uses
	Chips     []gpio.Chip `json:"chips"`
	Uses      []use       `json:"uses"`
	Kept      []string    `json:"kept_by_kernel,omitempty"` // outputs that stay as they are after a crash
	Asked     string      `json:"hub,omitempty"`            // the broker that told the states
}

// A use is what the configuration wants a pin for, and how that pin is.
type use struct {
	gpio.Placed
	State string `json:"state"` // "ON", "OFF", "offline", "?" if nobody can tell
}

func (c *gpioShowCommand) Run(ctx context.Context, std streams) error {
	b := board{Chips: []gpio.Chip{}, Uses: []use{}}
	cfg := new(hub.Config)
	switch path, err := findConfig(c.Config); {
	case err == nil:
		var doc *config.Doc
		cfg, doc = hub.Load(path)
		b.Config, b.Mistakes = path, len(doc.Mistakes())
	case !errors.Is(err, errNoConfig): // without one there is still the header
		return err
	}
	bank, simulated, err := openBank(c.Sim)
	if err != nil {
		return err
	}
	b.Simulated = simulated
	if !simulated {
		if b.Chips, err = gpio.Survey(); err != nil {
			return err
		}
		b.Kept = gpio.KeptByKernel(cfg.Pins, bank, sysfs)
	}
	bank, closeBuses := cfg.WithExpanders(bank)
	defer closeBuses()
	for _, u := range cfg.Uses() {
		b.Uses = append(b.Uses, use{u.On(bank), "?"})
	}
	if at := c.broker(cfg); at != "" {
		err := b.ask(ctx, &brokerFlags{at, c.loginFlags})
		if errors.As(err, new(usageError)) {
			return err
		}
		if err != nil {
			fmt.Fprintf(std.err, "hearth: how the pins are is not known: %v\n", err)
		}
	}
	if c.JSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		return enc.Encode(b)
	}
	b.show(std.out, bank, c.All)
	return nil
}

// sysfs is where the kernel shows the parameters of its drivers.
const sysfs = "/sys"

// broker is where the hub of a configuration can be asked: without TLS if that is
// possible, for a certificate is rarely for this machine's address. "" says that nobody
// knows, as of a port that is chosen at each start: whoever has the usual one is another.
func (c *gpioShowCommand) broker(cfg *hub.Config) string {
	if c.Broker != "" {
		return c.Broker
	}
	if other := cfg.Broker.Connect; other != nil {
		return other.Address
	}
	if len(cfg.Broker.Listen) == 0 {
		return defaultBroker
	}
	secure := ""
	for _, a := range cfg.Broker.Listen {
		switch {
		case strings.HasSuffix(a, ":0"), strings.HasPrefix(a, "ws://"), strings.HasPrefix(a, "wss://"):
		case strings.HasPrefix(a, "tls://"):
			secure = cmp.Or(secure, a)
		default:
			return a
		}
	}
	return secure
}

const askLimit = 3 * time.Second // for what is retained to come, or a refused login, which is slow

// ask takes the states from the hub that runs, if one does. It is no mistake if
// none answers; the error is that of one that does not let this client in.
func (b *board) ask(ctx context.Context, from *brokerFlags) error {
	if len(b.Uses) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var mu sync.Mutex
	states, here := map[string]string{}, map[string]string{}
	complete := make(chan struct{})
	var once sync.Once
	mqtt, err := from.connect(ctx, func(m *paho.Publish) error {
		name, kind, _ := strings.Cut(strings.TrimPrefix(m.Topic, "hearth/"), "/")
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !m.Retain:
		case kind == "state":
			states[name] = harmless(m.Payload)
		case kind == "availability":
			here[name] = string(m.Payload)
		}
		if !slices.ContainsFunc(b.Uses, func(u use) bool { return here[u.Name] == "" || here[u.Name] == "online" && states[u.Name] == "" }) {
			once.Do(func() { close(complete) })
		}
		return nil
	})
	if errors.As(err, new(usageError)) || errors.As(err, new(refusedError)) {
		return err
	}
	if err != nil {
		return nil
	}
	defer mqtt.close()
	open, done := mqtt.whileOpen(ctx)
	defer done()
	if _, err := mqtt.Subscribe(open, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{
		{Topic: "hearth/+/state", QoS: 1}, {Topic: "hearth/+/availability", QoS: 1},
	}}); err != nil {
		return nil
	}
	select {
	case <-complete:
	case <-open.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	for i, u := range b.Uses {
		// What is retained of a hub that ended is no state of a pin.
		switch {
		case here[u.Name] == "offline":
			b.Uses[i].State = "offline"
		case here[u.Name] == "online" && states[u.Name] != "":
			b.Uses[i].State = states[u.Name]
		default:
			continue
		}
		b.Asked = from.Broker
	}
	return nil
}

// use is what the configuration has for a line.
func (b *board) use(id string) (use, bool) {
	i := slices.IndexFunc(b.Uses, func(u use) bool { return u.ID == id })
	if i < 0 {
		return use{}, false
	}
	return b.Uses[i], true
}

func (b *board) show(w io.Writer, bank gpio.Bank, all bool) {
	b.intro(w)
	b.list(w, all)
	fmt.Fprintln(w, "\nHeader (pin 1 is the corner with the square pad)")
	drawHeader(w, b.tags(bank), paintFor(w))
	fmt.Fprintln(w, headerLegend)
	var hints []string
	for _, u := range b.Uses {
		if u.Wrong != "" {
			hints = append(hints, u.Use.String()+": "+u.Wrong)
		}
		for _, c := range u.Cautions {
			hints = append(hints, u.Name+": "+c)
		}
	}
	if len(b.Kept) > 0 {
		hints = append(hints, keptWarning(b.Kept))
	}
	if len(hints) > 0 {
		fmt.Fprintln(w, "\nTo know")
		for _, h := range hints {
			fmt.Fprintln(w, wrap("- ", h, 79))
		}
	}
}

// intro says what this is the picture of.
func (b *board) intro(w io.Writer) {
	if b.Simulated {
		fmt.Fprintln(w, "The pins are SIMULATED: what is drawn is only what the configuration wires.")
	}
	switch {
	case b.Config == "":
		fmt.Fprintln(w, "There is no configuration here, so no names (-c FILE names one).")
	case b.Mistakes > 0:
		fmt.Fprintf(w, "%s has %s (hearth check tells): names are of what could be read.\n", b.Config, count(b.Mistakes, "mistake"))
	default:
		fmt.Fprintf(w, "Names are those of %s.\n", b.Config)
	}
	switch {
	case b.Asked != "":
		fmt.Fprintf(w, "States are those of the hub on %s.\n", b.Asked)
	case len(b.Uses) > 0:
		fmt.Fprintln(w, "No hub told its states, so the levels of pins are not known.")
	}
}

// list is chips and lines as tables.
func (b *board) list(w io.Writer, all bool) {
	if len(b.Chips) > 0 {
		fmt.Fprintln(w, "\nChips")
	}
	for _, c := range b.Chips {
		fmt.Fprintf(w, "  %-16s %-24s %3d lines\n", c.Path, c.Label, len(c.Lines))
	}
	fmt.Fprintln(w, "\nLines")
	free, onChip := 0, map[string]bool{}
	row := func(id, name, direction, state, text string) {
		fmt.Fprintf(w, "  %-13s %-12s %-6s %-7s %s\n", id, name, direction, state, text)
	}
	for _, c := range b.Chips {
		for _, l := range c.Lines {
			u, ours := b.use(l.ID)
			onChip[l.ID] = true
			if !all && !ours && !l.Used {
				free++
				continue
			}
			var text []string
			if ours {
				text = append(text, u.Use.String())
			}
			switch {
			case l.Used && l.Consumer != "":
				text = append(text, "held by "+harmless([]byte(l.Consumer)))
			case l.Used:
				text = append(text, "held by the kernel")
			case ours:
				text = append(text, "not held")
			}
			state := "?"
			if ours {
				state = u.State
			}
			row(l.ID, harmless([]byte(l.Name)), l.Direction, state, strings.Join(text, "; "))
		}
	}
	for _, u := range b.Uses { // what is simulated, on an expander or a PWM channel is no line of a chip
		if u.Wrong == "" && !onChip[u.ID] {
			row(u.ID, u.Pin, u.Table, u.State, u.Use.String())
		}
	}
	if free > 0 {
		fmt.Fprintf(w, "  and %s that nobody uses (--all lists them)\n", count(free, "line"))
	}
}

// tags is what to write beside the pins of the header.
func (b *board) tags(bank gpio.Bank) map[string]tag {
	tags := map[string]tag{}
	lines := map[string]gpio.ChipLine{}
	for _, c := range b.Chips {
		for _, l := range c.Lines {
			lines[l.ID] = l
		}
	}
	for _, h := range gpio.Header() {
		pin, err := bank.ByName(h.Name)
		if err != nil {
			continue
		}
		l := lines[pin.String()]
		u, ours := b.use(pin.String())
		switch {
		case ours && l.Used && l.Consumer != gpio.Consumer:
			tags[h.Name] = tag{text: u.Name + " HELD BY " + harmless([]byte(l.Consumer)), mark: 'x'}
		case ours && u.State == "?":
			tags[h.Name] = tag{text: u.Name, mark: '#'}
		case ours:
			tags[h.Name] = tag{text: u.Name + " " + u.State, mark: '#', on: u.State == "ON"}
		case l.Used:
			tags[h.Name] = tag{text: "held by " + harmless([]byte(l.Consumer)), mark: 'x'}
		}
	}
	return tags
}

// keptWarning says what it means that a kernel keeps outputs.
func keptWarning(outputs []string) string {
	return "after a crash of the hub this kernel leaves " + strings.Join(outputs, ", ") + " as it was, on or off: " +
		"systemd then runs \"hearth safe\" (ExecStopPost in hearth.service); without systemd nothing does. " +
		"dtparam=strict_gpiod in /boot/firmware/config.txt and a restart of the Pi have the kernel let go of such a pin itself"
}

// wrap breaks text at its spaces; the lines after the first are indented.
func wrap(first, text string, width int) string {
	var b strings.Builder
	b.WriteString(first)
	at := len(first)
	for i, word := range strings.Fields(text) {
		switch n := len([]rune(word)); {
		case i == 0:
			at += n
		case at+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", len(first)))
			at = len(first) + n
		default:
			b.WriteByte(' ')
			at += 1 + n
		}
		b.WriteString(word)
	}
	return b.String()
}
