package gpio

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/warthog618/go-gpiocdev/uapi"
)

// A Chip is one GPIO chip of this machine, as [Survey] finds it.
type Chip struct {
	Name  string     `json:"name"`  // "gpiochip0", as the kernel calls it
	Path  string     `json:"path"`  // "/dev/gpiochip0"
	Label string     `json:"label"` // what it is, such as "pinctrl-bcm2711"
	Lines []ChipLine `json:"lines"` // by their number
}

// A ChipLine is one line of a chip as the kernel tells of it. The level is not
// among that: to read one a line has to be taken, which changes it.
type ChipLine struct {
	ID        string `json:"id"`                 // "gpiochip0:17", as a pin of a Bank is called by its String
	Name      string `json:"name"`               // "GPIO17", "" if it has none
	Direction string `json:"direction"`          // "input" or "output"
	ActiveLow bool   `json:"active_low"`         // whoever holds it has it turned round; never so with Hearth
	Pull      string `json:"pull,omitempty"`     // "up" or "down" if whoever holds it asked for that
	Used      bool   `json:"used"`               // somebody holds it, a program or a driver
	Consumer  string `json:"consumer,omitempty"` // who, if they gave a name
}

// Consumer is how a line is marked that Hearth holds.
const Consumer = consumer

// Survey is what the kernel knows of all GPIO lines. It takes none and changes
// nothing, so it can be asked while a hub runs. The error says that there is no
// chip, or none that may be opened.
func Survey() ([]Chip, error) {
	found, err := findChips("/dev")
	if err != nil {
		return nil, err
	}
	var chips []Chip
	for _, c := range found {
		chip, err := c.survey()
		if err != nil {
			return nil, err
		}
		chips = append(chips, chip)
	}
	return chips, nil
}

func (c *kernelChip) survey() (Chip, error) {
	chip := Chip{Name: c.name, Path: c.path, Label: c.label}
	f, err := os.Open(c.path)
	if err != nil {
		return chip, err
	}
	defer f.Close()
	for i := range c.lines {
		info, err := uapi.GetLineInfoV2(f.Fd(), i)
		if err != nil {
			return chip, fmt.Errorf("%s: line %d: %w", c.path, i, err)
		}
		chip.Lines = append(chip.Lines, chipLine(c.name, info))
	}
	return chip, nil
}

func chipLine(chip string, info uapi.LineInfoV2) ChipLine {
	l := ChipLine{
		ID:        fmt.Sprintf("%s:%d", chip, info.Offset),
		Name:      uapi.BytesToString(info.Name[:]),
		Direction: "input",
		ActiveLow: info.Flags&uapi.LineFlagV2ActiveLow != 0,
		Used:      info.Flags&uapi.LineFlagV2Used != 0,
		Consumer:  uapi.BytesToString(info.Consumer[:]),
	}
	if info.Flags&uapi.LineFlagV2Output != 0 {
		l.Direction = "output"
	}
	switch {
	case info.Flags&uapi.LineFlagV2BiasPullUp != 0:
		l.Pull = "up"
	case info.Flags&uapi.LineFlagV2BiasPullDown != 0:
		l.Pull = "down"
	}
	return l
}

// A Use is what a configuration wants a pin for.
type Use struct {
	Name      string `json:"name"`  // the owner's
	Table     string `json:"table"` // "output", "input", "counter", "encoder" or, for its interrupt, "expander"
	Pin       string `json:"pin"`   // as the owner wrote it
	ActiveLow bool   `json:"active_low"`
	Pull      string `json:"pull,omitempty"` // "up" or "down"
}

// Placed is a use with what is known of its pin on a bank.
type Placed struct {
	Use
	ID        string   `json:"id,omitempty"`         // as ChipLine has it; "" if there is no such pin
	HeaderPin int      `json:"header_pin,omitempty"` // 0: none of the 40
	Wrong     string   `json:"wrong,omitempty"`      // there is no such pin
	Cautions  []string `json:"cautions,omitempty"`   // sentences
}

// On finds the pin of a use.
func (u Use) On(bank Bank) Placed {
	d := Placed{Use: u}
	pin, err := bank.ByName(u.Pin)
	if err != nil {
		d.Wrong = err.Error()
		return d
	}
	d.ID = pin.String()
	for _, h := range Header() {
		if p, err := bank.ByName(h.Name); err != nil || p != pin {
			continue
		}
		d.HeaderPin = h.Number
		if h.Caution != "" {
			d.Cautions = append(d.Cautions, h.Name+" is also "+h.Role+": "+h.Caution)
		}
		if on := map[bool]string{false: "up", true: "down"}[u.ActiveLow]; u.Table == "output" && h.PowerUp == on {
			d.Cautions = append(d.Cautions, fmt.Sprintf("%s is pulled %s from power-on until the hub runs, which is on for this output: some boards switch on then (docs/wiring.md)", h.Name, h.PowerUp))
		}
	}
	return d
}

// String is "output heater, active low".
func (u Use) String() string {
	text := u.Table + " " + u.Name
	if u.ActiveLow {
		text += ", active low"
	}
	if u.Pull != "" {
		text += ", pull " + u.Pull
	}
	return text
}

// Uses is what the pins are for, in the order of the configuration. What is on
// a topic has none.
func (c *Config) Uses() (uses []Use) {
	for _, o := range c.Output {
		if o.Value.Pin != "" {
			uses = append(uses, Use{Name: o.Name, Table: "output", Pin: o.Value.Pin, ActiveLow: o.Value.ActiveLow})
		}
	}
	for _, i := range c.Input {
		if i.Value.Pin != "" {
			uses = append(uses, Use{Name: i.Name, Table: "input", Pin: i.Value.Pin, ActiveLow: i.Value.ActiveLow, Pull: pulled(i.Value.Pull)})
		}
	}
	for _, n := range c.Counter {
		uses = append(uses, Use{Name: n.Name, Table: "counter", Pin: n.Value.Pin, ActiveLow: n.Value.ActiveLow, Pull: pulled(n.Value.Pull)})
	}
	for _, n := range c.Encoder {
		for _, pin := range []string{n.Value.A, n.Value.B} {
			uses = append(uses, Use{Name: n.Name, Table: "encoder", Pin: pin, Pull: pulled(n.Value.Pull)})
		}
	}
	for _, x := range c.Expander {
		if x.Value.Interrupt != "" {
			uses = append(uses, Use{Name: x.Name, Table: "expander", Pin: x.Value.Interrupt, ActiveLow: true, Pull: "up"})
		}
	}
	return uses
}

// pulled is a pull as it is told: "" where there is none.
func pulled(pull string) string {
	if pull == "none" {
		return ""
	}
	return pull
}

// KeptByKernel names the outputs of a configuration whose pins the kernel leaves
// as they are when the hub has crashed, by the folder where sysfs is (/sys).
// The kernel of Raspberry Pi OS does so unless it is told otherwise; all others
// make such a pin an input again.
func KeptByKernel(cfg Config, bank Bank, sysfs string) (outputs []string) {
	for _, u := range cfg.Uses() {
		pin, err := bank.ByName(u.Pin)
		if u.Table != "output" || err != nil {
			continue
		}
		if p, ok := pin.(*kernelPin); ok && keepsOutputs(p.chip.label, sysfs) {
			outputs = append(outputs, u.Name)
		}
	}
	return outputs
}

// keepsOutputs asks the driver of a chip by its parameter. Raspberry Pi kernels
// have it set to Y, mainline to N or, where it is older, none. It was
// called strict_gpiod, the other way round, for a few weeks of 2024.
func keepsOutputs(label, sysfs string) bool {
	driver := ""
	switch {
	case label == "pinctrl-rp1": // Raspberry Pi 5
		driver = "pinctrl_rp1"
	case strings.HasPrefix(label, "pinctrl-bcm2"):
		driver = "pinctrl_bcm2835"
	default:
		return false
	}
	is := func(parameter, value string) bool {
		b, err := os.ReadFile(filepath.Join(sysfs, "module", driver, "parameters", parameter))
		return err == nil && strings.TrimSpace(string(b)) == value
	}
	return is("persist_gpio_outputs", "Y") || is("strict_gpiod", "N")
}
