package catalog

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// A Device is one thing that talks, or a group of such that answers as one.
type Device struct {
	ID       string   `json:"id"`  // for ever, whatever it is called: "zigbee2mqtt/0x00158d00018255df"
	Via      string   `json:"via"` // the convention: "zigbee2mqtt"
	Name     string   `json:"name"`
	Address  string   `json:"address,omitempty"` // what its topics call it, where that is neither: "Desk plug"
	Room     string   `json:"room,omitempty"`
	Maker    string   `json:"maker,omitempty"`
	Model    string   `json:"model,omitempty"`
	Version  string   `json:"version,omitempty"`  // of its firmware
	Sleepy   bool     `json:"sleepy,omitempty"`   // it listens only now and then, to save its battery
	Identity []string `json:"identity,omitempty"` // what makes it the same thing to other conventions: Mac, IEEE

	Properties []Property   `json:"properties"` // the main one first
	Available  Availability `json:"-"`

	Denied []string `json:"denied,omitempty"` // topics for commands on which its announcer may not publish
	Also   []string `json:"also,omitempty"`   // ids of what is the same device to other conventions

	told []*announcer // who told of it; of one whose convention does not say, the first few
	keys []string     // by which its convention knows it, if that is not its id
}

// MAC is a part of an identity: that address in lower case without separators.
func MAC(address string) string {
	return "mac:" + strings.ToLower(strings.NewReplacer(":", "", "-", "").Replace(address))
}

// IEEE is that of Zigbee: 0x and sixteen digits.
func IEEE(address string) string { return "ieee:" + strings.ToLower(address) }

// Availability says where a device tells whether it can be reached. The reports give
// booleans.
type Availability struct {
	Reports []Report // none: nobody says
	Mode    Mode
}

// A Mode says which of several reports of availability count.
type Mode string

const (
	All    Mode = "all" // must say that it is there
	Any    Mode = "any"
	Latest Mode = "latest" // whichever spoke last; Home Assistant's default
)

// A Kind is what a property is to the people in the house, and fixes the form of its
// values.
type Kind string

const (
	Switch       Kind = "switch"        // bool
	Light        Kind = "light"         // bool; brightness and colour are properties of their own, Of it
	Fan          Kind = "fan"           // bool; its speed is a Number in %, Of it
	Valve        Kind = "valve"         // bool, true is open; or its position is Of it
	Cover        Kind = "cover"         // "open", "closed", "opening", "closing", "stopped"; told "open", "close", "stop". Its position is Of it: 100 % is open
	Lock         Kind = "lock"          // "locked", "unlocked", "locking", "unlocking", "jammed"; told "lock", "unlock", "open"
	Climate      Kind = "climate"       // its mode: "off", "heat", "cool", "auto"...; temperatures are Of it
	Number       Kind = "number"        // float64, can be told; also one of Options, which are names of values
	Select       Kind = "select"        // string, one of Options
	Text         Kind = "text"          // string, can be told
	Button       Kind = "button"        // has no value; told anything, it is pressed
	BinarySensor Kind = "binary_sensor" // bool
	Sensor       Kind = "sensor"        // float64, string, or object
	Event        Kind = "event"         // string: what happened, such as "single"
)

// A Property is one thing that a device reports or is told.
type Property struct {
	Name    string   `json:"name"`            // within the device: a-z, 0-9 and _; "state", "temperature", "power_2"
	Label   string   `json:"label,omitempty"` // as people read it: "Ceiling lamp"
	Kind    Kind     `json:"kind"`
	Of      string   `json:"of,omitempty"`    // the property of which it is a part: brightness of a light
	Class   string   `json:"class,omitempty"` // as Home Assistant calls it: "motion", "temperature"; "color", "json" of a text
	Unit    string   `json:"unit,omitempty"`  // "°C", "%", "W", "kWh"
	Range   *Range   `json:"range,omitempty"` // of a number; of a text, how many characters it has
	Options []string `json:"options,omitempty"`

	// Diagnostic says that it is about the device and not about the house: battery,
	// link quality, a setting.
	Diagnostic bool `json:"diagnostic,omitempty"`

	// Raw says why values come as the device sends them: it names what could not be
	// understood, such as a template.
	Raw string `json:"raw,omitempty"`

	// OffAfter and StaleAfter are how long a report counts, of devices that do not say
	// when it is over; 0: until the next. Then true is false, and any value is unknown.
	OffAfter   time.Duration `json:"off_after,omitempty"`
	StaleAfter time.Duration `json:"stale_after,omitempty"`

	// Available is of this property alone, where that is told otherwise than of the whole
	// device: its part may be away while the device is there. Nil: it is as the device.
	Available *Availability `json:"-"`

	Reports []Report `json:"-"` // none: nobody hears of it
	Set     *Set     `json:"-"` // nil: it can't be told
	Get     *Message `json:"-"` // makes the device report it; nil: nothing does

	by *announcer // who told of it, of a device of which several may tell; nil: nobody knows which did
}

// A Range is that of a number, or of the length of a text.
type Range struct {
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Step float64 `json:"step,omitempty"` // 0: any
}

// A Report is a topic on which a property is reported.
type Report struct {
	Topic string // or a filter, of which levels before the last may be +
	Read  Reader
}

// A Set is how a property is told something.
type Set struct {
	Topic  string
	Encode func(v any) (payload string, err error) // of a value in the form of the Kind
	Retain bool                                    // only where the device is deaf otherwise
	QoS    byte

	On *Set // how it is told true, where that goes to another topic: a dimmer that is switched on by its brightness
}

// A Message is one to be published.
type Message struct {
	Topic, Payload string
	Retain         bool
	QoS            byte
}

// Command gives what tells a property of d a value, or why that can't be. v is a
// value in the form of the property's kind, or text that means one: "on", "40", "40%".
func (d *Device) Command(property string, v any) (Message, error) {
	p, err := d.Property(property)
	if err != nil {
		return Message{}, err
	}
	return p.command(v)
}

// CanTell says why a property can't be told v, or nil; with v nil, why it can't be told anything.
func (d *Device) CanTell(property string, v any) error {
	p, err := d.Property(property)
	switch {
	case err != nil:
		return err
	case p.Set == nil || v != nil:
		_, err = p.command(v)
		if errors.Is(err, errToggle) { // which becomes a level
			return nil
		}
	}
	return err
}

// PropertyNames are those of all properties, the main one first.
func (d *Device) PropertyNames() (names []string) {
	for _, p := range d.Properties {
		names = append(names, p.Name)
	}
	return names
}

// Form is of what form the values of the property are, in words: two of one form may take
// each other's place.
func (p *Property) Form() string {
	switch p.Kind {
	case Switch, Light, Fan, Valve, BinarySensor:
		return "on or off"
	case Number:
		return "a number"
	case Sensor:
		if p.Unit != "" {
			return "a number"
		}
		return "a reading"
	case Event:
		return "an event"
	case Button:
		return "a button"
	}
	return "one of its words"
}

// Property finds one by name, "" is the main one.
func (d *Device) Property(name string) (*Property, error) {
	if i := slices.IndexFunc(d.Properties, func(p Property) bool { return p.Name == name || name == "" }); i >= 0 {
		return &d.Properties[i], nil
	}
	return nil, d.noProperty(name)
}
