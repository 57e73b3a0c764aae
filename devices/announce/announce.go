// Package announce tells Home Assistant what a house has: one retained message that
// describes it as one device with all its parts, each with its topics, units and words.
//
// The form is that of Home Assistant's discovery of whole devices, as its page "MQTT"
// (home-assistant.io, integrations/mqtt) and its sources (homeassistant/components/mqtt,
// discovery.py and schemas.py) have it. What matters of that:
//
//   - The topic is <prefix>/device/<object id>/config. The message must have the blocks dev
//     and o, and in cmps each component must have its platform; an entity must have a
//     unique id.
//   - What it says of the whole device counts for each component that says nothing of it
//     itself: that is how one availability serves all. A list of availability and a single
//     topic exclude each other, so both levels use the list.
//   - A component that has only its platform left is taken away. One that is merely left out
//     stays, as a ghost. It is known by its key and its platform together, so the platform is
//     part of the key here: then what becomes something else under an old name leaves nothing.
//   - An empty message takes all away.
//   - The room belongs to the device, and a component that brings a device of its own has it
//     overwritten. So what has a room is announced as a device of its own, which is reached
//     via the house. Where it is suggested to be counts when it is new there; later people move it.
//   - A component whose unique id is there already is dropped. So what takes something away
//     goes out before what has it now.
//
// A [House] is a value and what it says of itself depends on nothing else. What had been
// said before, and so has to be taken back, is in a [Said].
package announce

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"hearth/config"
	"hearth/devices"
	"hearth/devices/catalog"
)

// Config is what the owner wrote: [homeassistant].
type Config struct {
	Announce *bool  `toml:"announce"`                      // default true
	Prefix   string `toml:"prefix" eg:"\"homeassistant\""` // of the topics of discovery, as it is set in Home Assistant; default "homeassistant"
}

// DefaultPrefix is that of Home Assistant.
const DefaultPrefix = "homeassistant"

// Check looks at the prefix.
func (c Config) Check(at config.Place) {
	at = at.Key("prefix")
	switch {
	case c.Prefix == "":
	case strings.ContainsAny(c.Prefix, "+#"):
		at.Mistake("want a topic without + and #, such as %q", DefaultPrefix)
	case strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/"):
		at.Mistake("want it without / at its ends: %q", strings.Trim(c.Prefix, "/"))
	case c.Prefix == "hearth" || strings.HasPrefix(c.Prefix, "hearth/") || c.Prefix[0] == '$':
		at.Mistake("these topics are not Home Assistant's: want one such as %q", DefaultPrefix)
	default:
		if err := devices.CheckTopic(c.Prefix); err != nil {
			at.Mistake("%v", err)
		}
	}
}

// On says whether the house is announced.
func (c Config) On() bool { return c.Announce == nil || *c.Announce }

// Topic is where a house with an id is announced.
func (c Config) Topic(id string) string { return c.prefix() + "/device/" + id + "/config" }

// IsOwn says whether a topic is one on which a house with an id announces itself, or what is
// a device of its own there, whatever stands before it.
func IsOwn(topic, id string) bool {
	above, ok := strings.CutSuffix(topic, "/config")
	if !ok {
		return false
	}
	at := strings.LastIndexByte(above, '/') + 1
	own, isOwn := strings.CutPrefix(above[at:], id)
	return isOwn && (own == "" || own[0] == '-') && strings.HasSuffix(above[:at], "/device/")
}

// IsBirth says whether Home Assistant says on a topic that it is there: "online". The
// topic has its own setting there, which few know, so it counts with and without the prefix.
func (c Config) IsBirth(topic string) bool {
	prefix, ok := strings.CutSuffix(topic, "/status")
	return ok && (prefix == DefaultPrefix || prefix == c.prefix())
}

func (c Config) prefix() string {
	if c.Prefix == "" {
		return DefaultPrefix
	}
	return c.Prefix
}

// A House is what is announced: as one device, and what has a room as devices beside it.
type House struct {
	ID        string // for ever, whatever the house is called: a-z, A-Z, 0-9, _ and -
	Name      string // as people read it
	Version   string // of the hub; may be ""
	Available string // the topic on which the hub says "online" or "offline"
	Parts     []Part
	Apart     []Apart
}

// Apart is a device of its own.
type Apart struct {
	Name  string // in the house: "porch_light"
	Label string // as people read it
	Room  string
	Parts []Part
}

// A Part is one thing that a house has.
type Part struct {
	// Name is what it is called in the house, "cellar.temperature", and with Kind tells
	// it from all others. It has no spaces.
	Name string
	Kind catalog.Kind

	// Label is how people read it; "" makes "Cellar temperature" of the name. Main is for the
	// one that is called as its device.
	Label string
	Main  bool

	// State is the topic that tells its value, Set the one that takes commands; "" if it
	// has none. A cover's State is its position in %, and Moves tells "opening", "closing"
	// or "stopped".
	State, Set, Moves string

	// Available is a topic of its own on which "online" and "offline" are told, beside
	// that of the house; "" if it has none.
	Available string

	Class      string   // as Home Assistant calls it: "temperature"
	StateClass string   // of a number that is measured: "measurement"; of a sum that grows: "total_increasing"
	Unit       string   // as Home Assistant writes it: "°C"
	Options    []string // of a Select its states, of an Event what may happen
	Range      *catalog.Range
	On, Off    string // the words of a BinarySensor, "" are ON and OFF
	Press      string // what a Button is told

	// Diagnostic says that it is about the hub; Setting that it is no thing in the house
	// but decides what the hub does. The lists of what can be switched leave both out.
	Diagnostic, Setting bool
}

// A component is a part in Home Assistant's words.
type component struct {
	Platform     string      `json:"p"`
	UniqueID     string      `json:"uniq_id"`
	Name         *string     `json:"name"` // null: as the device
	State        string      `json:"stat_t,omitempty"`
	Template     string      `json:"val_tpl,omitempty"`
	Command      string      `json:"cmd_t,omitempty"`
	Position     string      `json:"pos_t,omitempty"`
	SetPosition  string      `json:"set_pos_t,omitempty"`
	QoS          int         `json:"qos,omitempty"`
	Press        string      `json:"pl_prs,omitempty"`
	On           string      `json:"pl_on,omitempty"`
	Off          string      `json:"pl_off,omitempty"`
	Class        string      `json:"dev_cla,omitempty"`
	StateClass   string      `json:"stat_cla,omitempty"`
	Unit         string      `json:"unit_of_meas,omitempty"`
	Options      []string    `json:"ops,omitempty"`
	Events       []string    `json:"event_types,omitempty"`
	Min          *float64    `json:"min,omitempty"`
	Max          *float64    `json:"max,omitempty"`
	Step         float64     `json:"step,omitempty"`
	Category     string      `json:"ent_cat,omitempty"`
	Availability []available `json:"avty,omitempty"`
}

type available struct {
	Topic string `json:"t"`
}

// gone is a component that is taken away.
type gone struct {
	Platform string `json:"p"`
}

type message struct {
	Device struct {
		IDs          []string `json:"ids"`
		Name         string   `json:"name,omitempty"`
		Manufacturer string   `json:"mf"`
		Model        string   `json:"mdl,omitempty"`
		Version      string   `json:"sw,omitempty"`
		Room         string   `json:"sa,omitempty"`
		Via          string   `json:"via_device,omitempty"`
	} `json:"dev"`
	Origin struct {
		Name    string `json:"name"`
		Version string `json:"sw,omitempty"`
	} `json:"o"`
	Availability []available    `json:"avty"`
	Mode         string         `json:"avty_mode"`
	Components   map[string]any `json:"cmps"`
}

// platform is the kind in Home Assistant's word for it, which is the same.
func (p Part) platform() string { return string(p.Kind) }

// key names a part within the house. Points and dashes are in no name of a house, so no
// two parts have the same.
func (p Part) key() string { return p.Name + "-" + p.platform() }

// A device is one message: the house, or what is apart.
type device struct {
	id, name, model, version string
	room, via                string
	parts                    []Part
}

// itself is the house without what is apart.
func (h House) itself() device {
	return device{id: h.ID, name: h.Name, model: "Hearth", version: h.Version, parts: h.Parts}
}

// beside is what is apart.
func (h House) beside(a Apart) device {
	return device{id: h.ID + "-" + a.Name, name: a.Label, room: a.Room, via: h.ID, parts: a.Parts}
}

// components are the platforms of all parts, by their keys.
func (d device) components() map[string]string {
	all := make(map[string]string, len(d.parts))
	for _, p := range d.parts {
		all[p.key()] = p.platform()
	}
	return all
}

// payload describes a device of the house. left are parts that it had: platforms by keys.
func (h House) payload(d device, left map[string]string) []byte {
	var m message
	m.Device.IDs, m.Device.Name, m.Device.Manufacturer = []string{d.id}, d.name, "Hearth"
	m.Device.Model, m.Device.Version, m.Device.Room, m.Device.Via = d.model, d.version, d.room, d.via
	m.Origin.Name, m.Origin.Version = "Hearth", h.Version
	m.Availability, m.Mode = []available{{h.Available}}, "all"
	m.Components = make(map[string]any, len(d.parts)+len(left))
	for key, platform := range left {
		m.Components[key] = gone{platform}
	}
	for _, p := range d.parts {
		m.Components[p.key()] = h.component(p)
	}
	var b bytes.Buffer
	to := json.NewEncoder(&b)
	to.SetEscapeHTML(false)
	if err := to.Encode(m); err != nil {
		panic(err) // texts, and numbers that come from a configuration, which has no NaN
	}
	return bytes.TrimSpace(b.Bytes())
}

func (h House) component(p Part) component {
	c := component{
		Platform: p.platform(), UniqueID: h.ID + "-" + p.key(), State: p.State, Command: p.Set,
		Class: p.Class, StateClass: p.StateClass, Unit: p.Unit,
	}
	if !p.Main {
		name := cmp.Or(p.Label, Label(p.Name))
		c.Name = &name
	}
	if p.Set != "" {
		c.QoS = 1 // which the hub obeys also when it has much to do
	}
	switch {
	case p.Diagnostic:
		c.Category = "diagnostic"
	case p.Setting:
		c.Category = "config"
	}
	if p.Available != "" {
		c.Availability = []available{{h.Available}, {p.Available}}
	}
	switch p.Kind {
	case catalog.BinarySensor:
		c.On, c.Off = p.On, p.Off
	case catalog.Button:
		c.State, c.Press = "", p.Press
	case catalog.Cover:
		c.State, c.Position, c.SetPosition = p.Moves, p.State, p.Set
	case catalog.Number:
		if p.Range != nil {
			c.Min, c.Max, c.Step = &p.Range.Min, &p.Range.Max, p.Range.Step
		}
	case catalog.Select:
		c.Options = p.Options
	case catalog.Event:
		c.Events, c.Template = p.Options, `{"event_type": "{{ value }}"}` // there an event is JSON
	}
	return c
}

// Label makes "Cellar temperature" of "cellar.temperature".
func Label(name string) string {
	name = strings.NewReplacer("_", " ", ".", " ").Replace(name)
	first, n := utf8.DecodeRuneInString(name)
	return string(unicode.ToUpper(first)) + name[n:]
}
