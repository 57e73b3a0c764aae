// Package gpio switches the wired outputs of the house and reads its wired
// inputs.
//
// People wire boilers, garage doors and water valves to these pins, so the
// package promises more than that a level gets there:
//
//   - An output goes from what it was straight to its declared first level. An
//     active-low relay does not click when the hub starts.
//   - Reading never changes a pin.
//   - Each output has its own queue and its own goroutine. A line that hangs, as
//     one behind a stuck I2C expander does, delays no other.
//   - Whatever way the hub stops, each output gets its safe level: [Pins.Close]
//     does it in order, and [Safe] from what is kept in the store, after a crash
//     or when the configuration is broken.
//   - What is reported is the level read back from the pin, not the one asked for.
//
// # How it works
//
// A [Bank] is a set of pins: the kernel's ([OpenKernel]) or a simulated one
// ([Sim]). Both give periph's PinIO, so what drives them is the same code, and a
// test on simulated pins tests what runs on a Raspberry Pi. All levels of a
// PinIO are physical. What active_low turns round is turned round in one place,
// [Output.level], above the bank: the kernel is asked for a physical level, in
// the same call that makes the pin an output.
//
// [Open] takes the lines that a [Config] names. A command goes from [Pins.Set]
// through the core, which decides what becomes of it (core.go: no goroutine, no
// clock), into the queue of its line; the line's worker switches, reads back and
// hands a reading to Options.Feed. Inputs have a worker each that waits for
// edges. A changed configuration is taken over in two steps, [Pins.Prepare] and
// [Change.Commit], and a line that stays is not touched.
//
// Where to read first: this file, then core.go, then pins.go.
package gpio

import (
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode"

	"hearth/config"

	"periph.io/x/conn/v3/gpio"
)

// Config is what the owner wrote about pins.
type Config struct {
	Output config.Table[Output] `toml:"output"` // [output.porch_light]
	Input  config.Table[Input]  `toml:"input"`  // [input.pir]
}

// Output is a pin that switches something: a relay, a lamp, a valve.
type Output struct {
	// Pin is the name of the line: "GPIO17" as the Raspberry Pi numbers them
	// (not the position on the header), any other name that the kernel gives a
	// line, or "gpiochip1:5" for line 5 of a chip.
	Pin string `toml:"pin,required" eg:"\"GPIO17\""`

	// ActiveLow is for boards that switch on when the pin is low, as most relay
	// boards with an optocoupler do.
	ActiveLow bool `toml:"active_low"`

	// Initial is the state when the hub starts or the output is new: "off" or
	// "on". By default it is the safe state.
	Initial string `toml:"initial" enum:"off,on"`

	// Safe is the state when the hub stops, when it has crashed, and when it is
	// not sure: "off" (the default), "on", or "hold" to leave the pin as it is
	// and to go on with the last commanded state at the next start. What a pin
	// does once nobody holds it is up to the kernel: those of Raspberry Pi OS
	// keep its level, others make it an input again.
	Safe string `toml:"safe" enum:"off,on,hold"`

	// RetainedSet obeys a set message that carries MQTT's retain flag. By default
	// it is refused: it would be sent again at every start, hours or weeks old.
	RetainedSet bool `toml:"retained_set"`
}

// Input is a pin that is read: a button, a motion sensor, a reed contact.
type Input struct {
	// Pin is written as that of an Output.
	Pin string `toml:"pin,required" eg:"\"GPIO27\""`

	// Pull is the resistor inside the chip: "up", "down" or "none" (the default).
	// A contact that only connects to ground needs "up".
	Pull string `toml:"pull" enum:"none,up,down"`

	// ActiveLow is for contacts that are on when the pin is low.
	ActiveLow bool `toml:"active_low"`

	// Debounce is how long a level must have been stable before it counts, both
	// ways; "50ms" suits most contacts. By default each edge counts.
	Debounce config.Duration `toml:"debounce" max:"10s" eg:"\"50ms\""`
}

// level is the physical level for a state, and state the state of a level: the
// only places that know of active_low.
func (o Output) level(on bool) gpio.Level { return gpio.Level(on != o.ActiveLow) }
func (o Output) state(l gpio.Level) bool  { return bool(l) != o.ActiveLow }
func (i Input) level(on bool) gpio.Level  { return gpio.Level(on != i.ActiveLow) }
func (i Input) state(l gpio.Level) bool   { return bool(l) != i.ActiveLow }

func (i Input) pull() gpio.Pull {
	switch i.Pull {
	case "up":
		return gpio.PullUp
	case "down":
		return gpio.PullDown
	}
	return gpio.Float
}

// Check reports pins that can't be meant, and a pin that is used twice.
func (c *Config) Check(at config.Place) {
	first := map[string]config.Place{}
	check := func(pin string, at config.Place) {
		if pin == "" && !at.Given() {
			return // reported as missing
		}
		if want := pinMistake(pin); want != "" {
			at.Mistake("%s", want)
			return
		}
		if other, ok := first[pin]; ok {
			at.Mistake("this pin is used twice, want another: %s has it too, at %v", other, other.Position())
			return
		}
		first[pin] = at
	}
	for _, o := range c.Output {
		check(o.Value.Pin, at.Key("output").Key(o.Name).Key("pin"))
	}
	for _, i := range c.Input {
		check(i.Value.Pin, at.Key("input").Key(i.Name).Key("pin"))
		if _, ok := c.Output.Get(i.Name); ok {
			at.Key("input").Key(i.Name).Mistake("an output has this name, at %v: want another", at.Key("output").Key(i.Name).Position())
		}
	}
}

var (
	goodGPIO   = regexp.MustCompile(`^GPIO(0|[1-9][0-9]*)$`)
	nearlyGPIO = regexp.MustCompile(`^(?i:gpio|bcm|)[ _-]?0*([0-9]+)$`)
)

// pinMistake says what would be right where pin can't be the name of a line.
// Whether the board has such a line is only known once its bank is open.
func pinMistake(pin string) string {
	nearly := nearlyGPIO.FindStringSubmatch(pin)
	switch {
	case pin == "":
		return `want the name of a pin, such as "GPIO17"`
	case goodGPIO.MatchString(pin):
		return ""
	case nearly != nil && nearly[1] == pin:
		return `want "GPIO` + pin + `" for line ` + pin + ` of the Raspberry Pi (which is not pin ` + pin + ` of its header)`
	case nearly != nil:
		return `want "GPIO` + nearly[1] + `"`
	case strings.ContainsFunc(pin, unicode.IsControl) || strings.TrimSpace(pin) != pin:
		return `want the name of a pin without spaces round it, such as "GPIO17"`
	case strings.HasPrefix(pin, "/dev/"):
		return `want the chip without its folder and a line, such as "` + strings.TrimPrefix(pin, "/dev/") + `:5"`
	}
	return ""
}

// A Bank is a set of pins. What it gives out are pins that can at least be
// driven; one that is to be an input must also be able to say when it changes
// (see edger).
type Bank interface {
	// ByName is the pin of that name; the same pin by another name is the same value.
	ByName(pin string) (gpio.PinIO, error)
	// Names are all pins by the name that people know them by.
	Names() []string
	// String is the bank as a person would call it: "simulated pins".
	String() string
}

// An Edge is a change of a pin's level.
type Edge struct {
	Level gpio.Level // after the change
	At    time.Time
	Seq   uint32 // counts the edges of this pin since it became an input, from 1; a gap means lost edges
}

// errTimeout and errHalted are what NextEdge ends with where there is no edge
// and nothing wrong.
var (
	errTimeout = errors.New("no edge in time")
	errHalted  = errors.New("the line was released")
)

// What a pin may be able to do beyond PinIO.
type (
	// An edger knows when each edge was and whether some were lost. NextEdge
	// waits as long as timeout for one, for ever if it is negative; an edge that
	// is already there is given even if timeout is 0. Halt ends it.
	edger interface {
		NextEdge(timeout time.Duration) (Edge, error)
	}
	// A debouncer filters on its own, in the kernel or in hardware. Where a pin
	// can't, its worker does (debounce.go).
	debouncer interface {
		InDebounced(pull gpio.Pull, edge gpio.Edge, stable time.Duration) error
	}
	// A leveler can say that reading went wrong, where PinIO's Read only says Low.
	leveler interface {
		Level() (gpio.Level, error)
	}
)

func readLevel(p gpio.PinIO) (gpio.Level, error) {
	if l, ok := p.(leveler); ok {
		return l.Level()
	}
	return p.Read(), nil
}
