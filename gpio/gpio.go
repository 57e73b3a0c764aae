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
//   - What the owner declares of an output holds whatever rules, people and
//     messages want, and while the hub's loop is stalled or gone.
//
// # Limits and interlocks
//
//	[output.heater]
//	pin = "GPIO22"
//	min_on = "10m"
//	min_off = "5m"
//	max_on = "2h"
//
// A command that comes before min_on or min_off has passed waits; a newer one
// takes its place. After max_on the output goes off and is off until the next
// command to be on. A command to be on while it is on prolongs nothing.
//
//	[interlock.shutter]
//	outputs = ["shutter_up", "shutter_down"]
//	gap = "500ms"
//
// Of the outputs of an interlock at most one is on. A command for one to be on
// switches off those others that are, and it goes on gap after the last of them
// went off; at once if that is past. It waits no longer when it is told to be
// off, or another to be on. min_on of the one that has to go is kept: the other
// then waits for it too. On pins an output counts as off once that was read back:
// where its line hangs the other waits, and where switching it off fails the
// other's command is dropped, and its reading says that it is off. Outputs may
// share interlocks; the longest gap of two counts.
//
// The end of the hub does not wait: every output gets its safe level, before
// min_on too. So an interlocked output can't have safe = "on".
//
// Over a restart min_off, min_on and max_on go on from the time that is kept with
// each output. Where it is not known how long an output has been as it is (the
// first start, a crash while it was on, a clock that was not set) it counts as
// just switched. An output that is interlocked or has a min_off starts off, even
// with initial = "on", and is told to be on as soon as that is allowed; but one
// that was on before, alone of its interlock, starts on. Of several that were on
// together, before there was an interlock, all start off.
//
// # Times, levels, groups and feedback
//
// A command to be on may be for a time, its own ([Order]) or that of momentary;
// with lifetime it has to be repeated; starts limits how often it goes on. A newer
// command takes the place of an older one with its time, and none prolongs max_on.
// With period or frequency an output has levels from 0 to 100: it takes turns, or
// its pin puts out a part. A [Group] lets only some be on together, or go on one
// after the other. An output that its feedback contradicts has a fault, which is
// kept, and stays in its safe state until it is acknowledged.
//
// # A line that does not answer
//
// One that another program holds, or whose chip is gone, is tried again every
// second; so it is at the start as well, but not in a reload, which asks for all
// that it needs. Idle lines are looked at, for not every kernel and no expander
// tells that a chip is gone. Until it is back an output takes no command, what waited for it is
// forgotten, and what is interlocked with it stays off. It comes back in its safe
// state, for what it was told long ago may not be wanted any more; with safe =
// "hold" as it was. An input comes back as it is then.
//
// # Covers
//
//	[cover.bedroom]
//	up = "bedroom_up"
//	down = "bedroom_down"
//	open_time = "24s"
//	close_time = "22s"
//
// The two outputs of a cover are an interlock. Where the cover is follows from when
// each of them was seen to be on, whoever switched it, so a stop by a limit, a fault
// or the end of the hub counts like any other. See [Covers].
//
// # Outputs on a topic
//
//	[output.boiler]
//	topic = "cmnd/boiler/POWER"
//	on = "ON"
//	off = "OFF"
//
// Such an output is like one on a pin, with all its limits, but what it reports
// is only what it was told. Its first state is sent at start and its safe one at
// stop, not retained; with safe = "hold" neither. The same word twice within a
// second is sent once: else a device whose report is linked back to its output
// would be told for ever.
//
// # Presses
//
//	[input.button]
//	pin = "GPIO4"
//	debounce = "30ms"
//	double = "500ms"
//	hold = "2s"
//	presses = 3        # up to triple; default 2
//
// With double or hold an input tells gestures beside its level: readings of
// "button.press" that are "single", "double" (up to "quintuple") or "hold". See
// [Presses] for when each is told. With neither it tells none: the press of such a
// button is its level that becomes on.
//
// # Counters and encoders
//
//	[counter.power]
//	pin = "GPIO5"
//	pulses = 1000
//	unit = "kWh"
//
//	[encoder.volume]
//	a = "GPIO6"
//	b = "GPIO7"
//
// A counter counts the pulses of a meter, and an encoder is a knob. Their readings
// are numbers: "power" (the total, which is kept over restarts), "power.rate",
// "power.pulses", "power.gaps" and "power.missed"; "volume" (the position) and the
// event "volume.turn". See [Count] and [Turns] for what they make of edges.
//
// # How it works
//
// A [Bank] is a set of pins: the kernel's ([OpenKernel]) or a simulated one
// ([Sim]); [Join] adds those of expanders. All give periph's PinIO, so what drives
// them is the same code, and a test on simulated pins tests what runs on a Raspberry
// Pi. All levels of a PinIO are physical. What active_low turns round is turned round in one place,
// [Output.level], above the bank: the kernel is asked for a physical level, in
// the same call that makes the pin an output.
//
// [Open] takes the lines that a [Config] names. A command goes from
// [Pins.Command] through the [Guard], which decides what becomes of it (no
// goroutine, no clock), into the queue of its line; the line's worker switches,
// reads back, tells the guard and hands a reading to Options.Feed. One goroutine
// serves the guard's deadlines. Inputs have a worker each that waits for edges.
// A changed configuration is taken over in two steps, [Pins.Prepare] and
// [Change.Commit], and a line that stays is not touched.
//
// [Guard], [Covers], [Presses], [Debounce], [Count] and [Turns] know only the times that
// they are given, so that a house can be tested on a virtual clock with exactly what
// runs it.
//
// Where to read first: this file, then guard.go, then pins.go. The files are of four
// kinds:
//
//	what decides, without a clock     guard.go level.go cover.go press.go debounce.go count.go turn.go
//	what works on lines               pins.go reload.go kept.go topic.go pincovers.go follow.go
//	banks of pins                     kernel.go pwm.go sim.go simchip.go bank.go expander.go chips.go
//	what the owner writes and sees    gpio.go values.go set.go survey.go header.go alone.go
package gpio

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"hearth/config"
	"hearth/devices"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// Config is what the owner wrote about pins.
type Config struct {
	Output    config.Table[Output]    `toml:"output"`    // [output.porch_light]
	Input     config.Table[Input]     `toml:"input"`     // [input.pir]
	Interlock config.Table[Interlock] `toml:"interlock"` // [interlock.shutter]
	Counter   config.Table[Counter]   `toml:"counter"`   // [counter.power]
	Encoder   config.Table[Encoder]   `toml:"encoder"`   // [encoder.volume]
	Cover     config.Table[Cover]     `toml:"cover"`     // [cover.bedroom]
	Group     config.Table[Group]     `toml:"group"`     // [group.heaters]
	Expander  config.Table[Expander]  `toml:"expander"`  // [expander.relays]
}

// Output is something that is switched, by a pin or over MQTT: a relay, a lamp,
// a valve. Exactly one of Pin and Topic is given.
type Output struct {
	// Pin is the name of the line: "GPIO17" as the Raspberry Pi numbers them
	// (not the position on the header), any other name that the kernel gives a
	// line, "gpiochip1:5" for line 5 of a chip, "relays:3" for pin 3 of
	// [expander.relays], or "pwmchip0:1" for a PWM channel.
	Pin string `toml:"pin" eg:"\"GPIO17\""`

	// Topic is where a device takes the words OnWord and OffWord, by default ON
	// and OFF. What such an output reports is what it was told.
	Topic   string `toml:"topic" eg:"\"cmnd/boiler/POWER\""`
	OnWord  string `toml:"on" eg:"\"ON\""`
	OffWord string `toml:"off" eg:"\"OFF\""`

	// ActiveLow is for boards that switch on when the pin is low, as most relay
	// boards with an optocoupler do.
	ActiveLow bool `toml:"active_low"`

	// Initial is the state when the hub starts or the output is new: "off", "on", or
	// "last", the state that it had, or off if that is not known. By default it is
	// the safe state.
	Initial string `toml:"initial" enum:"off,on,last"`

	// Safe is the state when the hub stops, when it has crashed, and when it is
	// not sure: "off" (the default), "on", or "hold" to leave the pin as it is
	// and to go on with the last commanded state at the next start. What a pin
	// does once nobody holds it is up to the kernel: those of Raspberry Pi OS
	// keep its level, others make it an input again.
	Safe string `toml:"safe" enum:"off,on,hold"`

	// RetainedSet obeys a set message that carries MQTT's retain flag. By default
	// it is refused: it would be sent again at every start, hours or weeks old.
	RetainedSet bool `toml:"retained_set"`

	// MinOn and MinOff are how long the output stays on and off at least: a
	// command that comes earlier waits, and the newest that waits is the one that
	// counts. After a start of which it is not known how long the output has been
	// as it is, it counts as just switched.
	MinOn  config.Duration `toml:"min_on" max:"366d" eg:"\"10m\""`
	MinOff config.Duration `toml:"min_off" max:"366d" eg:"\"5m\""`

	// MaxOn is how long it is on at most; then it is off until the next command
	// to be on. A command to be on while it is on does not prolong it.
	MaxOn config.Duration `toml:"max_on" min:"1ms" max:"366d" eg:"\"2h\""`

	// Momentary makes a push-button of it: each command to be on lasts so long. It
	// is never on at a start.
	Momentary config.Duration `toml:"momentary" min:"1ms" max:"1h" eg:"\"500ms\""`

	// Lifetime is how long a command to be on counts. Whoever wants the output on
	// for longer says so again within that time; else it goes off, for the sender
	// may be gone.
	Lifetime config.Duration `toml:"lifetime" min:"1ms" max:"366d" eg:"\"10m\""`

	// Starts limits how often it goes on: "6/1h" is six times within any hour. A
	// command too many waits.
	Starts Rate `toml:"starts" eg:"\"6/1h\""`

	// Feedback is an input that must be as the output is, FeedbackWithin (default
	// 10s) after a switch and ever after. If it is not, the output has a fault: it
	// gets its safe state, or off, and stays so until somebody acknowledges that.
	Feedback       string          `toml:"feedback" eg:"\"valve_open\""`
	FeedbackWithin config.Duration `toml:"feedback_within" min:"10ms" max:"1h" eg:"\"10s\""`

	// Period makes an output with levels of a slow one, such as a heater on a relay:
	// at 30 it is on for 30 % of each period.
	Period config.Duration `toml:"period" min:"100ms" max:"24h" eg:"\"10m\""`

	// Frequency makes one of a pin that can do PWM: at 30 it has 30 % of the power.
	Frequency Frequency `toml:"frequency" eg:"\"1kHz\""`

	// Ramp is how long the way from 0 to 100 takes; by default no time. It needs a
	// Frequency.
	Ramp config.Duration `toml:"ramp" max:"1h" eg:"\"2s\""`

	// Range is the lengths of the pulses at the lowest level and at 100, for a servo.
	Range Range `toml:"range" eg:"\"1ms to 2ms\""`

	devices.Shown
}

// feedbackWithin is the time that a feedback has if none is given.
const feedbackWithin = 10 * time.Second

// Group names outputs that share a supply.
type Group struct {
	Outputs []string `toml:"outputs,required" eg:"[\"heater_1\", \"heater_2\"]"`

	// Most is how many of them may be on together. One more waits until another
	// goes off.
	Most int `toml:"most" min:"1"`

	// Stagger is the shortest time between two of them that go on, so that their
	// inrush currents do not meet.
	Stagger config.Duration `toml:"stagger" max:"1h" eg:"\"500ms\""`
}

// Interlock names outputs of which at most one may be on: the two directions of
// a motor, heating and cooling. When one of them is to be on the others are
// switched off first.
type Interlock struct {
	Outputs []string `toml:"outputs,required" eg:"[\"shutter_up\", \"shutter_down\"]"`

	// Gap is how long all of them are off before another goes on; by default
	// that follows at once.
	Gap config.Duration `toml:"gap" max:"1h" eg:"\"500ms\""`
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

	// Double and Hold make a button of it, whose gestures are the event
	// "<name>.press" (see Presses). Double is the longest time from a release to
	// the next press of the same gesture, Hold how long a press is for "hold".
	Double config.Duration `toml:"double" min:"10ms" max:"10s" eg:"\"500ms\""`
	Hold   config.Duration `toml:"hold" min:"10ms" max:"60s" eg:"\"2s\""`

	// Presses is the most presses that make one gesture; default 2. With 3 a
	// double press is known only once no third has come.
	Presses int `toml:"presses" min:"2" max:"5"`

	devices.Shown
}

// StartsOn is the state in which an output starts of which nothing is known.
func (o Output) StartsOn() bool { return o.Initial == "on" || o.Initial == "" && o.Safe == "on" }

// where is the pin or topic.
func (o Output) where() string { return o.Pin + o.Topic }

// word is what an output on a topic is told.
func (o Output) word(on bool) string {
	switch {
	case on && o.OnWord != "":
		return o.OnWord
	case on:
		return "ON"
	case o.OffWord != "":
		return o.OffWord
	}
	return "OFF"
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

// Check reports pins that can't be meant, a pin that is used twice, and limits
// that can't all be kept.
func (c *Config) Check(at config.Place) {
	first := map[string]config.Place{}
	check := func(pin string, at config.Place) {
		pin, want := c.plain(pin)
		if want == "" {
			want = pinMistake(pin)
		}
		if want != "" {
			at.Mistake("%s", want)
			return
		}
		if other, ok := first[pin]; ok {
			at.Mistake("this pin is used twice, want another: %s has it too, at %v", other, other.Position())
			return
		}
		first[pin] = at
	}
	outputs := at.Key("output")
	for _, o := range c.Output {
		at := outputs.Key(o.Name)
		switch {
		case at.Key("topic").Given():
			o.Value.checkTopic(at)
		case o.Value.Pin != "" || at.Key("pin").Given():
			check(o.Value.Pin, at.Key("pin"))
			for _, key := range []string{"on", "off"} {
				if at.Key(key).Given() {
					at.Key(key).Mistake("only an output on a topic has words for on and off; want active_low where a pin is the other way round")
				}
			}
		default:
			at.Key("pin").Mistake(`missing, want for example pin = "GPIO17"`)
		}
		o.Value.checkTimes(at)
		o.Value.checkLevels(at)
		c.checkFeedback(o.Name, o.Value, at)
	}
	for _, i := range c.Input {
		at := at.Key("input").Key(i.Name)
		if i.Value.Pin != "" || at.Key("pin").Given() { // else it is reported as missing
			check(i.Value.Pin, at.Key("pin"))
			c.checkInput(i.Value, at)
		}
		if _, ok := c.Output.Get(i.Name); ok {
			at.Mistake("an output has this name, at %v: want another", outputs.Key(i.Name).Position())
		}
		if i.Value.Presses > 0 && i.Value.Double == 0 {
			at.Key("presses").Mistake(`want double as well, such as double = "500ms": how long to wait for the next press`)
		}
	}
	c.checkExpanders(at, check)
	c.checkFollowers(at, check)
	c.checkInterlocks(at)
	c.checkGroups(at)
	c.checkCovers(at)
}

// checkTimes looks for limits that can't all be kept.
func (o Output) checkTimes(at config.Place) {
	for key, longest := range map[string]config.Duration{"max_on": o.MaxOn, "momentary": o.Momentary, "lifetime": o.Lifetime} {
		if longest > 0 && longest < o.MinOn {
			at.Key(key).Mistake("want at least %v, as long as min_on", o.MinOn)
		}
	}
	if o.Momentary == 0 {
		return
	}
	if o.MaxOn > 0 && o.MaxOn < o.Momentary {
		at.Key("max_on").Mistake("want at least %v, as long as momentary", o.Momentary)
	}
	if o.Feedback != "" && (o.FeedbackWithin == 0 || o.FeedbackWithin >= o.Momentary) {
		at.Key("feedback").Mistake(`want feedback_within shorter than momentary as well: it is on for %v only`, o.Momentary)
	}
	for key, value := range map[string]string{"initial": o.Initial, "safe": o.Safe} {
		if value != "" && value != "off" {
			at.Key(key).Mistake(`want "off": with momentary it is on only when it is told, and for %v`, o.Momentary)
		}
	}
	if o.Levels() {
		at.Key("momentary").Mistake("an output with levels is not pressed and let go; want it without period or frequency")
	}
}

// checkLevels looks whether what is declared of levels fits together.
func (o Output) checkLevels(at config.Place) {
	switch {
	case o.Period > 0 && o.Frequency > 0:
		at.Key("period").Mistake("want period for a slow load such as a heater, or frequency for a pin with PWM, not both")
	case o.Period > 0 && o.Period < o.MinOn+o.MinOff:
		at.Key("period").Mistake("want at least %v, min_on and min_off together: else there is no time to be on in part", o.MinOn+o.MinOff)
	case o.Period > 0 && o.Starts.Most > 0:
		at.Key("starts").Mistake("period says how often it goes on; want one of the two")
	case o.Frequency > 0 && o.Pin != "" && !pwmName.MatchString(o.Pin):
		at.Key("pin").Mistake(`want a pin with PWM, such as "pwmchip0:0", for a frequency; or period, for a slow load`)
	case o.Frequency > 0 && o.Topic != "":
		at.Key("frequency").Mistake("only a pin has a frequency; to tell a device a level, publish it")
	}
	for key, given := range map[string]bool{"ramp": o.Ramp > 0, "range": o.Range != (Range{})} {
		if given && o.Frequency == 0 {
			at.Key(key).Mistake(`want frequency as well, such as frequency = "1kHz": only what has levels at any moment has a %s`, key)
		}
	}
	if f := physic.Frequency(o.Frequency); f > 0 && max(o.Range.From, o.Range.To) > f.Period() {
		at.Key("range").Mistake("want pulses of at most %v, the time between two at %v", f.Period(), f)
	}
}

func (c *Config) checkFeedback(name string, o Output, at config.Place) {
	if o.Feedback == "" {
		if o.FeedbackWithin > 0 {
			at.Key("feedback_within").Mistake(`want feedback as well: the input that shows whether %s obeys`, name)
		}
		return
	}
	if _, ok := c.Input.Get(o.Feedback); ok {
		return
	}
	if near, ok := config.Nearest(o.Feedback, c.Input.Names()); ok {
		at.Key("feedback").Mistake("no such input, did you mean %q?", near)
		return
	}
	at.Key("feedback").Mistake("no such input: want one that has a table [input.%s]", o.Feedback)
}

func (c *Config) checkGroups(at config.Place) {
	outputs := at.Key("output")
	for _, g := range c.Group {
		at := at.Key("group").Key(g.Name)
		if !at.Key("most").Given() && !at.Key("stagger").Given() {
			at.Mistake(`want most = 1, how many may be on together, or stagger = "500ms", the time between two that go on`)
		}
		if n := len(g.Value.Outputs); n > 0 && g.Value.Most >= n {
			at.Key("most").Warn("all of its %d outputs may be on, so this limits nothing", n)
		}
		c.checkMembers(g.Value.Outputs, at.Key("outputs"), func(name string, o *Output) {
			if o.Safe == "on" && g.Value.Most > 0 {
				outputs.Key(name).Key("safe").Mistake(`want "off" or "hold": group.%s lets only %d be on, so it can't be switched on whatever the others are`, g.Name, g.Value.Most)
			}
		})
	}
}

// noOutput is the mistake where there is no output of that name, nor one like it.
func noOutput(name string) string {
	if strings.ToLower(name) != name {
		return `want the name of an output, such as "porch_light", and not that of a pin`
	}
	return fmt.Sprintf("no such output: want one that has a table [output.%s]", name)
}

// checkMembers looks up the outputs of a list, and has each looked at that is there.
func (c *Config) checkMembers(outputs []string, at config.Place, look func(name string, o *Output)) {
	listed := map[string]bool{}
	for i, name := range outputs {
		o, ok := c.Output.Get(name)
		near, isNear := config.Nearest(name, c.Output.Names())
		switch {
		case listed[name]:
			at.Index(i).Mistake("this output is in the list twice")
		case !ok && isNear:
			at.Index(i).Mistake("no such output, did you mean %q?", near)
		case !ok:
			at.Index(i).Mistake("%s", noOutput(name))
		default:
			listed[name] = true
			look(name, o)
		}
	}
}

func (o Output) checkTopic(at config.Place) {
	topic := at.Key("topic")
	switch err := devices.CheckTopic(o.Topic); {
	case at.Key("pin").Given():
		topic.Mistake("want either pin or topic, not both")
	case err != nil:
		topic.Mistake("%v", err)
	case strings.HasPrefix(o.Topic, "hearth/"):
		topic.Mistake("want a topic of the device: hearth/ is the hub's own")
	default:
		if doubt := devices.TopicDoubt(o.Topic); doubt != "" {
			topic.Warn("%s", doubt)
		}
	}
	for key, word := range map[string]string{"on": o.OnWord, "off": o.OffWord} {
		if word == "" && at.Key(key).Given() {
			at.Key(key).Mistake("want the text that the device takes")
		}
	}
	if o.word(true) == o.word(false) {
		at.Key("off").Mistake("on and off are the same, %q: want two texts", o.word(true))
	}
	if o.ActiveLow {
		at.Key("active_low").Mistake("only a pin is active low; want other texts for on and off")
	}
}

func (c *Config) checkInterlocks(at config.Place) {
	outputs := at.Key("output")
	for _, l := range c.Interlock {
		at := at.Key("interlock").Key(l.Name).Key("outputs")
		if len(l.Value.Outputs) < 2 {
			at.Mistake("want at least two outputs that must not be on together")
		}
		starts := "" // one that starts on
		c.checkMembers(l.Value.Outputs, at, func(name string, o *Output) {
			if o.Safe == "on" { // there is no time to wait for a gap when the hub stops
				outputs.Key(name).Key("safe").Mistake(`want "off" or "hold": it is in interlock.%s, so it can't be switched on just when another may be on`, l.Name)
				return
			}
			if o.StartsOn() && starts != "" {
				outputs.Key(name).Key("initial").Mistake("interlock.%s lets only one of its outputs be on, and %s starts on too", l.Name, starts)
			}
			if o.StartsOn() {
				starts = name
			}
		})
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

	Second bool // of a pair: the second line has changed, and Seq counts those of both
}

// waitEdge is NextEdge of a pin that keeps its edges itself: take gives the oldest,
// or the zero Edge, and wake says that there may be one.
func waitEdge(wake <-chan struct{}, timeout time.Duration, take func() (Edge, error)) (Edge, error) {
	var late <-chan time.Time
	if timeout >= 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		late = timer.C
	}
	for {
		if e, err := take(); e.Seq != 0 || err != nil {
			return e, err
		}
		select {
		case <-wake:
		case <-late:
			if e, err := take(); e.Seq != 0 || err != nil {
				return e, err
			}
			return Edge{}, errTimeout
		}
	}
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
	// A pairer can be one input with another pin, so that it is known in which order
	// the edges of the two came: NextEdge then tells those of both. Halt lets both go.
	pairer interface {
		edger
		InPair(second gpio.PinIO, pull gpio.Pull) error
		Levels() (first, second gpio.Level, err error)
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
