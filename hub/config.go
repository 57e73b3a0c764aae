package hub

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a Pi's image may lack the zones

	"hearth/bridge"
	"hearth/config"
	"hearth/devices"
	"hearth/devices/announce"
	"hearth/gpio"
	"hearth/gpio/bus"
	"hearth/gpio/sensor"
	"hearth/history"
	"hearth/push"
	"hearth/rules"
	"hearth/rules/calendar"
	"hearth/trial"
	"hearth/web"
)

// Config is the whole of config.toml: each part belongs to the package that
// obeys it.
type Config struct {
	Hub     Settings   `toml:"hub"`
	Broker  Broker     `toml:"broker"`
	Web     web.Config `toml:"web"`
	Pins               // [output.x], [input.x] and what else is wired
	Sensors            // [sensor.x]
	Buses              // [i2c.x]
	Bridges            // [bridge.x]
	Pushes             // [push.x]
	Logic              // [link.x], [rule.x] and what else decides
	Tests              // [[test]]

	HomeAssistant announce.Config `toml:"homeassistant"`

	History history.Config    `toml:"history"`
	Backup  *Backups          `toml:"backup"`
	HTTP    HTTP              `toml:"http"`
	Secret  map[string]string `toml:"secret"` // for secret("name") in expressions; never shown

	path  string
	shown map[string]devices.Shown // how people are shown what is wired, by its name
	rooms []string                 // in their order
	sum   string                   // of the text
	files []string                 // of all that were read
	texts []configText             // of its files, the main one first, until the version is kept
}

// Pins, Sensors, Buses, Bridges, Pushes, Logic and Tests are other packages' parts under names of their own,
// because all lie at the top of the file.
type (
	Pins    = gpio.Config
	Sensors = sensor.Config
	Buses   = bus.Config
	Bridges = bridge.Config
	Pushes  = push.Config
	Logic   = rules.Config
	Tests   = trial.Config
)

// Settings are the hub's own.
type Settings struct {
	Name      string   `toml:"name" eg:"\"home\""`              // what the page is headed with; default "home"
	Data      string   `toml:"data" eg:"\"hearth-data\""`       // folder of all that is kept, relative to the file; default see DataDir
	Timezone  string   `toml:"timezone" eg:"\"Europe/Berlin\""` // default: the machine's
	Latitude  *float64 `toml:"latitude" min:"-90" max:"90"`     // degrees north, for sunrise and sunset
	Longitude *float64 `toml:"longitude" min:"-180" max:"180"`  // degrees east
	Watchdog  string   `toml:"watchdog" eg:"\"/dev/watchdog\""` // device to be fed so that it does not reset the machine; default none
	Clock     string   `toml:"clock" enum:"auto,trust"`         // auto (default): times of day wait until a time service has set the clock; trust: it is right from the start
}

// Check looks up the time zone, and where the watchdog is said to be.
func (s Settings) Check(at config.Place) {
	if _, err := time.LoadLocation(s.Timezone); err != nil {
		at.Key("timezone").Mistake("no such time zone: want one such as \"Europe/Berlin\"")
	}
	if s.Watchdog != "" && !filepath.IsAbs(s.Watchdog) {
		at.Key("watchdog").Mistake("want the whole path of a device, such as \"/dev/watchdog\"")
	}
}

// Load reads a house from path and its includes and checks it as a whole. The
// configuration is to be used only if doc.Err() is nil; the names in it are
// then sound, the topics and rules compile.
func Load(path string) (*Config, *config.Doc) { return LoadWith(path, func(*Config) {}) }

// LoadWith is Load with a change made before the whole is checked, such as of the
// place where the house is said to stand.
func LoadWith(path string, change func(*Config)) (*Config, *config.Doc) {
	return loadDraft(path, config.Draft{}, change)
}

func loadDraft(path string, draft config.Draft, change func(*Config)) (*Config, *config.Doc) {
	cfg := &Config{path: path}
	doc := config.LoadDraft(path, cfg, draft)
	change(cfg)
	cfg.sum, cfg.files, cfg.texts = doc.Sum(), doc.Files(), textsOf(doc)
	cfg.furnish(doc)
	cfg.check(doc)
	// Also where clients come to another broker: people come to the page.
	doc.Join(cfg.Broker.LoadUsers(cfg.UsersFile(), doc.Root().Key("broker")))
	return cfg, doc
}

// Parse is Load for text that is in no file; of a users file it knows nothing.
func Parse(name string, text []byte) (*Config, *config.Doc) {
	cfg := &Config{path: name}
	doc := config.Parse(name, text, cfg)
	cfg.sum = doc.Sum()
	cfg.furnish(doc)
	cfg.check(doc)
	cfg.Broker.LoadUsers("", doc.Root().Key("broker"))
	return cfg, doc
}

// check looks at what spans the parts. Where a file could not be read that is
// left for later, for the names that are missing may stand there.
func (c *Config) check(doc *config.Doc) {
	if !doc.Whole() {
		return
	}
	c.CheckBuses(c.Buses, doc.Root())
	if _, ok := c.Bridge.Get(bridge.ConnectName); ok && c.Broker.Connect != nil {
		doc.Root().Key("bridge").Key(bridge.ConnectName).OfKey().Mistake("the bridge of broker.connect has this name: want another")
	}
	for _, x := range c.Expander {
		if wrong := c.Buses.Mistake(x.Value.BusName()); wrong != "" {
			doc.Root().Key("expander").Key(x.Name).Key("bus").Mistake("%s", wrong)
		}
	}
	for _, p := range c.parts() { // the pins look at their own names
		if _, ok := c.Sensor.Get(p.Name); ok && p.Table != "sensor" {
			doc.Root().Key("sensor").Key(p.Name).Mistake("%s.%s has this name, at %v: want another", p.Table, p.Name, doc.Root().Key(p.Table).Key(p.Name).Position())
		}
	}
	for i, text := range c.History.Include {
		if _, err := devices.ParseSource(text); err != nil {
			doc.Root().Key("history").Key("include").Index(i).Mistake("%v", err)
		}
	}
	c.checkPush(doc.Root())
	rules.New(c.Logic, c.house(), new(devices.Registry), doc.Root())
	trial.Check(c.Test, c.Trial(), doc.Root())
}

// Sum names the text of the configuration, as checkpoints of history do.
func (c *Config) Sum() string { return c.sum }

// Trial is the house for tests on a virtual clock.
func (c *Config) Trial() trial.House {
	return trial.House{Pins: c.Pins, Logic: c.Logic, Rules: c.house(), Zone: c.zone()}
}

func (c *Config) house() rules.House {
	house := rules.House{
		Parts:  c.parts(),
		Zone:   c.zone(),
		Secret: func(name string) (string, bool) { s, ok := c.Secret[name]; return s, ok },
	}
	if lat, long := c.Hub.Latitude, c.Hub.Longitude; lat != nil && long != nil {
		house.Place = calendar.Place{Latitude: *lat, Longitude: *long, Known: true}
	}
	return house
}

// house is what rules need to know of the house that runs.
func (h *Hub) house(cfg *Config) rules.House {
	house := cfg.house()
	house.Seed = h.seed
	return house
}

// parts is what is wired, as rules see it.
func (c *Config) parts() (parts []rules.Part) {
	for _, o := range c.Output {
		p := rules.Part{Name: o.Name, Table: "output", Value: "boolean", Takes: "switch", Bounded: c.bounded(o.Name, o.Value), Properties: make(map[string]string)}
		if o.Value.Levels() {
			p.Takes, p.Properties["level"] = "level", "number"
		}
		if o.Value.Feedback != "" {
			p.Properties["fault"] = "text"
		}
		parts = append(parts, p)
	}
	for _, i := range c.Input {
		p := rules.Part{Name: i.Name, Table: "input", Value: "boolean"}
		if gestures := i.Value.Gestures(); gestures != nil {
			p.Properties = map[string]string{"press": "event"}
			p.Events = map[string][]string{"press": gestures}
		}
		parts = append(parts, p)
	}
	for _, n := range c.Counter {
		parts = append(parts, rules.Part{Name: n.Name, Table: "counter", Value: "number",
			Properties: map[string]string{"rate": "number", "pulses": "number", "gaps": "number", "missed": "number"}})
	}
	for _, e := range c.Encoder {
		parts = append(parts, rules.Part{Name: e.Name, Table: "encoder", Value: "number", Properties: map[string]string{"turn": "event"}})
	}
	for _, v := range c.Cover {
		parts = append(parts, rules.Part{Name: v.Name, Table: "cover", Value: "number", Properties: map[string]string{"moving": "text"}, Takes: "cover", Bounded: true})
	}
	for _, s := range c.Sensor {
		p := rules.Part{Name: s.Name, Table: "sensor", Properties: map[string]string{}}
		for _, property := range s.Value.Measures() {
			p.Properties[property] = "number"
		}
		parts = append(parts, p)
	}
	return parts
}

// part is the wired thing of that name that can be told something.
func (c *Config) part(name string) (rules.Part, bool) {
	for _, p := range c.parts() {
		if p.Name == name && p.Takes != "" {
			return p, true
		}
	}
	return rules.Part{}, false
}

// settable is the names of all that can be told something.
func (c *Config) settable() (names []string) {
	for _, p := range c.parts() {
		if p.Takes != "" {
			names = append(names, p.Name)
		}
	}
	return names
}

// obeysRetained reports whether something obeys a set message with the retain flag.
func (c *Config) obeysRetained(name string) bool {
	o, ok := c.Output.Get(name)
	return ok && o.RetainedSet
}

// wired is the names of all parts.
func (c *Config) wired() (names []string) {
	for _, p := range c.parts() {
		names = append(names, p.Name)
	}
	return names
}

// bounded reports whether an output goes off without being told to, or is meant
// to be on.
func (c *Config) bounded(name string, o gpio.Output) bool {
	return o.MaxOn > 0 || o.Momentary > 0 || o.Lifetime > 0 || o.StartsOn() || slices.ContainsFunc(c.Locks(), func(i config.Named[gpio.Interlock]) bool {
		return slices.Contains(i.Value.Outputs, name)
	})
}

// DataDir is the folder of all that is kept: as configured, relative to the
// configuration's own folder; else what systemd names in $STATE_DIRECTORY; else
// hearth-data beside the configuration.
func (c *Config) DataDir() string {
	base := filepath.Dir(c.path)
	switch state, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); {
	case filepath.IsAbs(c.Hub.Data):
		return c.Hub.Data
	case c.Hub.Data != "":
		return filepath.Join(base, c.Hub.Data)
	case state != "":
		return state
	}
	return filepath.Join(base, "hearth-data")
}

// UsersFile is where those are who may log in, beside those in the configuration.
func (c *Config) UsersFile() string {
	return c.Broker.UsersFile(filepath.Dir(c.path), c.DataDir())
}

// CADir is where the CA is that `hearth tls` makes: with all else that is kept, which belongs
// to the user that the hub runs as.
func (c *Config) CADir() string { return filepath.Join(c.DataDir(), "tls") }

func (c *Config) name() string {
	if c.Hub.Name == "" {
		return "home"
	}
	return c.Hub.Name
}

func (c *Config) zone() *time.Location {
	if c.Hub.Timezone == "" {
		return time.Local
	}
	zone, err := time.LoadLocation(c.Hub.Timezone)
	if err != nil {
		return time.Local // Check has told the owner
	}
	return zone
}
