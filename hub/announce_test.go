package hub

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/devices"
	"hearth/devices/announce"
	"hearth/devices/catalog"
	"hearth/gpio"
)

// oneOfEach is a house with one of each that Home Assistant is told of.
const oneOfEach = `
[hub]
name = "House"
[output.lamp]
pin = "GPIO5"
[output.gate]
pin = "GPIO6"
momentary = "500ms"
[output.strip]
pin = "pwmchip0:0"
frequency = "1kHz"
[output.valve]
pin = "GPIO7"
feedback = "valve_open"
[output.boiler]
topic = "cmnd/boiler/POWER"
[output.up]
pin = "GPIO8"
[output.down]
pin = "GPIO9"
[cover.shutter]
up = "up"
down = "down"
open_time = "20s"
close_time = "20s"
[input.valve_open]
pin = "GPIO10"
[input.button]
pin = "GPIO11"
double = "400ms"
hold = "2s"
[counter.power]
pin = "GPIO12"
pulses = 1000
unit = "kWh"
[counter.water]
pin = "GPIO13"
unit = "l"
rate = "1m"
[encoder.volume]
a = "GPIO14"
b = "GPIO15"
[sensor.cellar]
iio = "bmp280"
[sensor.tank]
type = "ads1115"
bus = "I2C1"
properties = ["voltage0", "voltage1"]
scale = { voltage0 = 25 }
[rule.bell]
trigger = { event = "a/bell" }
action = { pulse = "lamp", for = "1s" }
[rule.rooms]
each = ["a", "b"]
trigger = { event = "room/{item}" }
action = { set = "lamp", to = true }
[rule.resting]
enabled = false
trigger = { event = "a/rest" }
action = { set = "lamp", to = true }
[machine.alarm]
initial = "off"
moves = [
  { from = "off", on = { event = "alarm/set", is = "ARM" }, to = "armed" },
  { from = "armed", on = { state = "button", is = true }, to = "loud" },
  { from = "*", on = { event = "alarm/code" }, if = "value == secret('alarm')", to = "off" },
]
[secret]
alarm = "1234"
[bridge.garage]
address = "garage.local:1883"
topics = [{ filter = "weather/#", direction = "in" }]
`

// A homeAssistant does with discovery what Home Assistant does (homeassistant/components/mqtt,
// discovery.py), and refuses what its schemas refuse.
type homeAssistant struct {
	t        *testing.T
	mu       sync.Mutex
	device   map[string]any            // the newest block of a house
	beside   map[string]map[string]any // those of what is a device of its own, by its id, as long as it has entities
	entities map[string]map[string]any // by topic, platform and key; only those that it was told of since it started
	heard    int                       // messages of discovery
	finding  bool                      // what comes was retained, in no order
	values   map[string]string         // newest payload by topic
}

func newHomeAssistant(t *testing.T) *homeAssistant {
	return &homeAssistant{t: t, beside: make(map[string]map[string]any), entities: make(map[string]map[string]any), values: make(map[string]string)}
}

// at connects it to a hub, as after a start of either: what is retained comes first, and
// then it says that it is there.
func (a *homeAssistant) at(h *Hub) (client *paho.Client, leave func()) {
	a.t.Helper()
	synctest.Wait() // all of the start has been said
	find := func(on bool) { a.mu.Lock(); defer a.mu.Unlock(); a.finding = on }
	find(true)
	defer find(false)
	client, leave = connect(a.t, h, "homeassistant", a.hear)
	if _, err := client.Subscribe(a.t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "#", QoS: 1}}}); err != nil {
		a.t.Fatal(err)
	}
	synctest.Wait()
	return client, leave
}

func (a *homeAssistant) hear(p *paho.Publish) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.values[p.Topic] = string(p.Payload)
	if !strings.HasPrefix(p.Topic, "homeassistant/device/") || !strings.HasSuffix(p.Topic, "/config") {
		return
	}
	a.heard++
	if len(p.Payload) == 0 {
		maps.DeleteFunc(a.entities, func(key string, _ map[string]any) bool { return strings.HasPrefix(key, p.Topic+" ") })
		return
	}
	device, components := sound(a.t, p.Topic, p.Payload)
	id := device["identifiers"].([]any)[0].(string)
	if via, ok := device["via_device"]; !ok && device["name"] != nil {
		a.device = device
	} else if ok {
		if a.device == nil || !slices.Contains(a.device["identifiers"].([]any), via) {
			a.t.Errorf("%s is reached via %v, of which nothing was said", id, via)
		}
		a.beside[id] = device
	} else {
		delete(a.beside, id)
	}
	for key, c := range components {
		at := fmt.Sprintf("%s %s %s", p.Topic, c["platform"], key)
		if len(c) == 1 {
			delete(a.entities, at)
			continue
		}
		if other := a.with(c["unique_id"]); other != "" && other != at {
			if !a.finding {
				a.t.Errorf("%s and %s have the same unique id %s", at, other, c["unique_id"])
			}
			continue // it is dropped, until it is told of again
		}
		a.entities[at] = c
	}
}

// with is the entity that has a unique id, "" if none has it.
func (a *homeAssistant) with(unique any) string {
	for at, c := range a.entities {
		if c["unique_id"] == unique {
			return at
		}
	}
	return ""
}

// names are the entities, as people read them, sorted; those that are not the house's behind
// what they are of and where that is.
func (a *homeAssistant) names() (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, c := range a.entities {
		name := fmt.Sprint(c["platform"])
		id, _, _ := strings.Cut(strings.TrimPrefix(at, "homeassistant/device/"), "/")
		if d := a.beside[id]; d != nil {
			name += fmt.Sprintf(" %s in %s:", d["name"], d["suggested_area"])
		}
		if c["name"] != nil {
			name += fmt.Sprint(" ", c["name"])
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// times is how often it heard of a house.
func (a *homeAssistant) times() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heard
}

func (a *homeAssistant) value(topic string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.values[topic]
}

// short are the abbreviations of which Home Assistant knows, those that may come.
var short = map[string]string{
	"dev": "device", "o": "origin", "cmps": "components", "avty": "availability", "avty_mode": "availability_mode", "p": "platform",
	"uniq_id": "unique_id", "stat_t": "state_topic", "val_tpl": "value_template", "cmd_t": "command_topic", "pos_t": "position_topic",
	"set_pos_t": "set_position_topic", "pl_prs": "payload_press", "pl_on": "payload_on", "pl_off": "payload_off", "dev_cla": "device_class",
	"stat_cla": "state_class", "unit_of_meas": "unit_of_measurement", "ops": "options", "ent_cat": "entity_category", "t": "topic",
	"ids": "identifiers", "mf": "manufacturer", "mdl": "model", "sw": "sw_version", "sa": "suggested_area",
}

func long(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if l, ok := short[k]; ok {
			k = l
		}
		out[k] = v
	}
	return out
}

// platforms are what each must have, and what it may have besides, by Home Assistant's
// schemas; "name unique_id availability entity_category qos" may be in all.
var platforms = map[string][2]string{
	"switch":        {"command_topic", "state_topic device_class"},
	"button":        {"command_topic", "payload_press device_class"},
	"number":        {"command_topic", "state_topic min max step unit_of_measurement device_class"},
	"cover":         {"", "command_topic state_topic position_topic set_position_topic device_class"},
	"select":        {"command_topic options", "state_topic"},
	"binary_sensor": {"state_topic", "device_class payload_on payload_off"},
	"sensor":        {"state_topic", "device_class state_class unit_of_measurement"},
	"event":         {"state_topic event_types", "device_class value_template"},
}

// units are those that a class of sensors may have (homeassistant/components/sensor/const.py).
var units = map[string][]string{
	"temperature": {"°C", "°F", "K"}, "humidity": {"%"}, "pressure": {"hPa", "mbar", "kPa", "Pa", "bar", "mmHg", "inHg"},
	"illuminance": {"lx"}, "voltage": {"V", "mV"}, "current": {"A", "mA"}, "power": {"W", "mW", "kW", "MW"}, "energy": {"Wh", "kWh", "MWh"},
	"carbon_dioxide": {"ppm"}, "pm25": {"µg/m³"}, "pm10": {"µg/m³"}, "duration": {"s", "min", "h"}, "timestamp": {""},
	"volume_flow_rate": {"L/h", "L/min", "L/s", "m³/h", "m³/min", "m³/s"}, "precipitation": {"mm"}, "precipitation_intensity": {"mm/h", "mm/d"},
}

var binaryClasses = []string{"connectivity"}

// sound checks a message as Home Assistant's schemas and the fixtures' rules do, and gives
// its device and components, by their long names.
func sound(t *testing.T, topic string, payload []byte) (device map[string]any, components map[string]map[string]any) {
	t.Helper()
	if !regexp.MustCompile(`^[a-z]+/device/[a-zA-Z0-9_-]+/config$`).MatchString(topic) {
		t.Errorf("the topic is %s", topic)
	}
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatalf("%v: %s", err, payload)
	}
	m = long(m)
	for key := range m {
		if !slices.Contains([]string{"device", "origin", "components", "availability", "availability_mode"}, key) {
			t.Errorf("the message has %s, which no schema has", key)
		}
	}
	block, _ := m["device"].(map[string]any)
	device = long(block)
	if ids, _ := device["identifiers"].([]any); len(ids) == 0 {
		t.Errorf("device %v", device)
	}
	for key, v := range device {
		if _, text := v.(string); !slices.Contains([]string{"identifiers", "name", "manufacturer", "model", "sw_version", "suggested_area", "via_device"}, key) || key != "identifiers" && (!text || v == "") {
			t.Errorf("its device has %s = %v", key, v)
		}
	}
	if origin, _ := m["origin"].(map[string]any); origin["name"] == nil {
		t.Error("it has no origin")
	}
	there := func(list any) {
		entries, ok := list.([]any)
		if !ok || len(entries) == 0 {
			t.Errorf("availability %v", list)
		}
		for _, e := range entries {
			if a := long(e.(map[string]any)); len(a) != 1 || a["topic"] == "" {
				t.Errorf("availability %v", a)
			}
		}
	}
	there(m["availability"])
	if m["availability_mode"] != "all" {
		t.Errorf("availability_mode %v", m["availability_mode"])
	}
	components = make(map[string]map[string]any)
	unique := make(map[string]bool)
	all, _ := m["components"].(map[string]any)
	for key, v := range all {
		c := long(v.(map[string]any))
		components[key] = c
		platform, _ := c["platform"].(string)
		keys, ok := platforms[platform]
		if !ok || strings.Contains(key, " ") {
			t.Errorf("component %q has the platform %q", key, platform)
			continue
		}
		if len(c) == 1 {
			continue // taken away
		}
		must := append(strings.Fields(keys[0]), "unique_id")
		if name, ok := c["name"]; !ok || name == "" { // null is for the one that is called as its device
			t.Errorf("component %s has no name", key)
		}
		may := append(strings.Fields(keys[1]), "platform", "name", "availability", "entity_category", "qos")
		for _, k := range must {
			if c[k] == nil || c[k] == "" {
				t.Errorf("component %s has no %s", key, k)
			}
		}
		for k, v := range c {
			if !slices.Contains(must, k) && !slices.Contains(may, k) {
				t.Errorf("component %s has %s, which a %s does not", key, k, platform)
			}
			if strings.HasSuffix(k, "_topic") {
				if text, ok := v.(string); !ok || devices.CheckTopic(text) != nil || strings.ContainsAny(text, "+#") {
					t.Errorf("component %s: %s is %v", key, k, v)
				}
			}
		}
		id := fmt.Sprint(c["unique_id"])
		if unique[id] {
			t.Errorf("the unique id %s is there twice", id)
		}
		unique[id] = true
		if c["availability"] != nil {
			there(c["availability"])
		}
		class, _ := c["device_class"].(string)
		unit, _ := c["unit_of_measurement"].(string)
		category, _ := c["entity_category"].(string)
		switch platform {
		case "sensor":
			if class != "" && !slices.Contains(units[class], unit) {
				t.Errorf("component %s: a %s is not in %q", key, class, unit)
			}
			if unit != "" && c["state_class"] == nil {
				t.Errorf("component %s has a unit and no state_class, so it is in no statistics", key)
			}
			fallthrough // which can't be set
		case "binary_sensor", "event":
			if category == "config" {
				t.Errorf("component %s is of category %s", key, category)
			}
		case "button", "switch", "select", "number", "cover":
			if category == "diagnostic" || c["qos"] != 1.0 {
				t.Errorf("component %s: %v", key, c)
			}
		}
		if platform == "binary_sensor" && class != "" && !slices.Contains(binaryClasses, class) {
			t.Errorf("component %s: class %s", key, class)
		}
		if low, ok := c["min"].(float64); platform == "number" && (!ok || c["max"].(float64) <= low) {
			t.Errorf("component %s: range %v %v", key, c["min"], c["max"])
		}
	}
	return device, components
}

// standing is where a hub with one of each stands.
func standing(root string) Options {
	return Options{Bank: gpio.NewSim(), Root: root, Simulated: true, Version: "v1.2.3", dial: new(cable).dial}
}

// isOn asks the loop what an output is.
func isOn(t *testing.T, h *Hub, output string) bool {
	t.Helper()
	on, err := ask(t.Context(), h, func() bool { on, _ := h.registry.Level(output); return on })
	if err != nil {
		t.Error(err)
	}
	return on
}

// partsOf asks the loop what the house is announced with.
func partsOf(t *testing.T, h *Hub) []announce.Part {
	t.Helper()
	parts, err := ask(t.Context(), h, func() []announce.Part {
		house := h.announced()
		for _, a := range house.Apart {
			house.Parts = append(house.Parts, a.Parts...)
		}
		return house.Parts
	})
	if err != nil {
		t.Error(err)
	}
	return parts
}

// Plugged into the same broker, Home Assistant has all of the house without a line of its
// configuration, in units and classes of its own, and can switch it.
func TestHomeAssistantSeesTheHouse(t *testing.T) {
	dir := t.TempDir()
	root, measure := fakeRoot(t)
	measure("23456")
	synctest.Test(t, func(t *testing.T) {
		opt := standing(root)
		h, stop := start(t, load(t, dir, oneOfEach), opt)
		ha := newHomeAssistant(t)
		_, leave := ha.at(h)
		want := []string{
			"binary_sensor Bridge garage", "binary_sensor Button", "binary_sensor Clock known", "binary_sensor Valve open",
			"button Gate", "button Valve acknowledge", "cover Shutter", "event Button press", "event Volume turn", "number Strip level",
			"select Alarm", "sensor Cellar pressure", "sensor Cellar temperature", "sensor Power", "sensor Power gaps", "sensor Power missed",
			"sensor Power pulses", "sensor Power rate", "sensor Problem", "sensor Started", "sensor Tank voltage0", "sensor Tank voltage1",
			"sensor Valve fault", "sensor Version", "sensor Volume", "sensor Water", "sensor Water gaps", "sensor Water missed",
			"sensor Water pulses", "sensor Water rate", "switch Boiler", "switch Down", "switch Lamp", "switch Rule bell",
			"switch Rule rooms", "switch Strip", "switch Up", "switch Valve",
		}
		if got := ha.names(); !slices.Equal(got, want) {
			t.Errorf("it has %q,\nwant %q", got, want)
		}
		if got := fmt.Sprint(ha.device["name"], ha.device["sw_version"]); got != "Housev1.2.3" {
			t.Errorf("the device is %v", ha.device)
		}
		for name, want := range map[string]string{
			"sensor Cellar temperature": "temperature °C measurement", "sensor Cellar pressure": "pressure hPa measurement",
			"sensor Power": "energy kWh total_increasing", "sensor Power rate": "power kW measurement",
			"sensor Water": " L total_increasing", "sensor Water rate": "volume_flow_rate L/min measurement",
			"sensor Tank voltage0": "  measurement", "sensor Tank voltage1": "voltage V measurement", "sensor Started": "timestamp  ",
		} {
			for _, c := range ha.entities {
				text := func(key string) string { s, _ := c[key].(string); return s }
				if got := text("device_class") + " " + text("unit_of_measurement") + " " + text("state_class"); text("platform")+" "+text("name") == name && got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		}
		for topic, want := range map[string]string{
			"hearth/status": "online", "hearth/version": "v1.2.3", "hearth/clock": "ON", "hearth/rule/bell/enabled": "ON", "hearth/machine/alarm/state": "off",
		} {
			if got := ha.value(topic); got != want {
				t.Errorf("%s is %q, want %q", topic, got, want)
			}
		}
		if at, err := time.Parse(time.RFC3339, ha.value("hearth/started")); err != nil || time.Since(at) > time.Minute {
			t.Errorf("started %q: %v", ha.value("hearth/started"), err)
		}
		all, err := desk{h}.Devices(t.Context())
		if err != nil || len(all.Devices) > 0 || len(all.Faults) > 0 {
			t.Errorf("the house takes itself for a device: %+v, %v", all, err)
		}
		leave()
		stop()
	})
}

// What ships and what the guides show is announced in good form, too.
func TestEveryHouseIsAnnouncedSoundly(t *testing.T) {
	var houses []string
	for _, pattern := range []string{"../config.toml", "../cookbook/P??.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			houses = append(houses, string(read(t, file)))
		}
	}
	for _, file := range []string{"../docs/rules.md", "../docs/pins.md", "../docs/sensors.md", "../docs/devices.md", "../docs/bridge.md", "../README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			houses = append(houses, dedent(block[1])+pinsOf(block[1]))
		}
	}
	parts := 0
	for _, house := range houses {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(dir, "config.toml")
			if err := os.WriteFile(path, []byte(house), 0o644); err != nil {
				t.Fatal(err)
			}
			cfg, doc := LoadWith(path, func(c *Config) {
				north, east := 52.5, 13.4
				c.Hub.Latitude, c.Hub.Longitude, c.Hub.Data, c.Hub.Watchdog = &north, &east, "", ""
			})
			if doc.Err() != nil {
				t.Fatal(doc.Err())
			}
			h, stop := start(t, cfg, Options{Bank: gpio.NewSim(), Simulated: true, Root: dir, dial: new(cable).dial})
			defer stop()
			ha := newHomeAssistant(t)
			_, leave := ha.at(h)
			defer leave()
			if got, want := len(ha.names()), len(partsOf(t, h)); got != want {
				t.Errorf("%d of %d parts of\n%s", got, want, house)
			}
			parts += len(ha.names())
		})
	}
	t.Logf("%d houses, %d parts", len(houses), parts)
}

// Whoever listens to the house with the ears of another Hearth finds the same things there:
// names, kinds, units, ranges, options, values; and what it tells them, they obey.
func TestAnotherHearthRebuildsTheHouse(t *testing.T) {
	dir := t.TempDir()
	root, measure := fakeRoot(t)
	measure("23456")
	synctest.Test(t, func(t *testing.T) {
		opt := standing(root)
		h, stop := start(t, load(t, dir, oneOfEach), opt)
		defer stop()
		other := catalog.NewRegistry(func(string) bool { return false }, func(catalog.Device) string { return "" })
		var mu sync.Mutex
		now := func() devices.Now { return devices.Now{Wall: time.Now(), Known: true} }
		client, leave := connect(t, h, "other", func(p *paho.Publish) {
			mu.Lock()
			defer mu.Unlock()
			m := devices.Message{Topic: p.Topic, Payload: p.Payload, Retain: p.Retain}
			other.Take(m)
			other.Settle(time.Now())
			other.Apply(other.Index().Read(m), m, now())
		})
		defer leave()
		hear := func() {
			t.Helper()
			if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "#", QoS: 1}}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		hear() // the announcement may come behind the values
		hear()
		all := other.All()
		if faults, _ := other.Faults(); len(all) != 1 || len(faults) > 0 {
			t.Fatalf("%d devices, faults %v", len(all), faults)
		}
		house := all[0]
		if house.Name != "House" || house.Called != "house" || house.Version != "v1.2.3" || house.Online == nil || !*house.Online {
			t.Errorf("%+v", house.Device)
		}
		for _, part := range partsOf(t, h) {
			name := strings.ReplaceAll(part.Name, ".", "_")
			p, err := house.Property(name)
			if err != nil {
				t.Error(err)
				continue
			}
			if p.Kind != part.Kind || p.Class != part.Class || p.Unit != part.Unit || p.Diagnostic != (part.Diagnostic || part.Setting) || p.Raw != "" ||
				(p.Set != nil) != (part.Set != "") || !slices.Equal(p.Options, part.Options) && len(part.Options) > 0 ||
				part.Range != nil && !reflect.DeepEqual(p.Range, part.Range) || (p.Available != nil) != (part.Available != "") || other.All()[0].Away(name) != strings.HasPrefix(name, "tank_") {
				t.Errorf("%s came as %+v, want %+v", part.Name, *p, part)
			}
		}
		moves, err := house.Property("shutter_position")
		if err != nil || moves.Of != "shutter" || moves.Set == nil {
			t.Errorf("%+v, %v", moves, err)
		}
		is := func(name string) any { mu.Lock(); defer mu.Unlock(); return house.Values[name].Value }
		for name, want := range map[string]any{
			"lamp": false, "cellar_temperature": 23.46, "strip_level": 0.0, "valve_fault": "none", "machine_alarm": "off", "rule_bell": true,
			"power": 0.0, "volume": 0.0, "hub_problem": is("hub_problem"), "hub_clock": true, "hub_version": "v1.2.3", "shutter": "stopped", "button": false,
		} {
			if got := is(name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}

		// What it tells them.
		tell := func(property string, value any, topic, payload string) {
			t.Helper()
			mu.Lock()
			m, err := other.Tell(house, property, value, devices.Origin{}, now())
			mu.Unlock()
			if err != nil || m.Topic != topic || m.Payload != payload || m.QoS != 1 || m.Retain {
				t.Errorf("%s %v is told by %+v, %v; want %s %s", property, value, m, err, topic, payload)
			}
			publish(t, client, m.QoS, m.Topic, m.Payload)
			time.Sleep(time.Second)
		}
		pin := func(name string) bool { return isOn(t, h, name) }
		tell("lamp", true, "hearth/lamp/set", "ON")
		if !pin("lamp") || is("lamp") != true {
			t.Error("the lamp is off")
		}
		tell("lamp", false, "hearth/lamp/set", "OFF")
		tell("strip_level", 40.0, "hearth/strip/set", "40")
		if is("strip_level") != 40.0 || is("strip") != true {
			t.Errorf("the strip is %v at %v", is("strip"), is("strip_level"))
		}
		tell("gate", nil, "hearth/gate/set", "ON")
		if got := levels(opt.Bank.(*gpio.Sim), "GPIO6"); got != "010" {
			t.Errorf("the gate was pressed %s", got)
		}
		tell("shutter", "open", "hearth/shutter/set", "OPEN")
		if is("shutter") != "opening" {
			t.Errorf("the shutter is %v", is("shutter"))
		}
		time.Sleep(time.Minute)
		tell("shutter_position", 50.0, "hearth/shutter/set", "50")
		time.Sleep(time.Minute)
		if is("shutter") != "open" || is("shutter_position") != 50.0 { // not closed, and at rest
			t.Errorf("the shutter is %v at %v", is("shutter"), is("shutter_position"))
		}
		tell("rule_bell", false, "hearth/rule/bell/set", "OFF")
		if is("rule_bell") != false {
			t.Error("the rule is on")
		}
		publish(t, client, 1, "a/bell", "x")
		synctest.Wait()
		if pin("lamp") {
			t.Error("a rule that is off rang the bell")
		}
		tell("machine_alarm", "armed", "hearth/machine/alarm/set", "armed")
		if is("machine_alarm") != "armed" {
			t.Errorf("the alarm is %v", is("machine_alarm"))
		}

		// And an event is one.
		reported := func() catalog.Reported { mu.Lock(); defer mu.Unlock(); return house.Values["button_press"] }
		before := reported().At
		for _, down := range []bool{true, false} {
			if err := h.pins.Drive("button", down); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second / 10)
		}
		time.Sleep(time.Second)
		if v := reported(); v.Value != "single" || !v.At.After(before) {
			t.Errorf("the button was pressed %+v", v)
		}
	})
}

const twoOutputs = `
[hub]
name = "home"
[output.lamp]
pin = "GPIO5"
[output.heater]
pin = "GPIO6"
[machine.mode]
initial = "day"
moves = [{ from = "day", on = { event = "mode/set" }, to = "night" }]
[rule.r]
trigger = { event = "a/b" }
action = { set = "lamp", to = true }
`

// without changes words of a house; none may stay as it is.
func without(t *testing.T, house string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(house, pairs[i]) {
			t.Fatalf("no %q in the house", pairs[i])
		}
		house = strings.ReplaceAll(house, pairs[i], pairs[i+1])
	}
	return house
}

// health is what every house has.
var health = []string{"binary_sensor Clock known", "sensor Problem", "sensor Started"}

// The house gets another name, an output gets another one, becomes something else, and is gone:
// nobody finds a thing at Home Assistant that is no more, or one twice.
func TestARenameLeavesNoGhost(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, dir, twoOutputs), Options{Bank: gpio.NewSim()})
		defer stop()
		ha := newHomeAssistant(t)
		_, leave := ha.at(h)
		defer leave()
		is := func(when, name string, want ...string) {
			t.Helper()
			synctest.Wait()
			want = append(want, health...)
			slices.Sort(want)
			if got := ha.names(); !slices.Equal(got, want) || ha.device["name"] != name {
				t.Errorf("%s it has %v of %v, want %v of %s", when, got, ha.device["name"], want, name)
			}
		}
		reload := func(house string) {
			t.Helper()
			if err := h.Reload(load(t, dir, house)); err != nil {
				t.Fatal(err)
			}
		}
		ids := func() (ids []string) {
			for at := range ha.entities {
				ids = append(ids, at)
			}
			slices.Sort(ids)
			return ids
		}
		is("at first", "home", "switch Lamp", "switch Heater", "select Mode", "switch Rule r")
		before := ids()

		house := without(t, twoOutputs, `name = "home"`, `name = "Castle"`)
		reload(house)
		is("renamed", "Castle", "switch Lamp", "switch Heater", "select Mode", "switch Rule r")
		if after := ids(); !slices.Equal(before, after) {
			t.Errorf("the entities are others: %v, %v", before, after)
		}

		house = without(t, house, "output.lamp", "output.hall_lamp", `set = "lamp"`, `set = "hall_lamp"`)
		reload(house)
		is("with another lamp", "Castle", "switch Hall lamp", "switch Heater", "select Mode", "switch Rule r")

		house = without(t, house, `pin = "GPIO6"`, "pin = \"GPIO6\"\nmomentary = \"1s\"")
		reload(house)
		is("with a button", "Castle", "switch Hall lamp", "button Heater", "select Mode", "switch Rule r")

		house = without(t, house, "[machine.mode]", "[machine.moods]", "[rule.r]", "[rule.s]")
		reload(house)
		is("with other rules", "Castle", "switch Hall lamp", "button Heater", "select Moods", "switch Rule s")
		for _, topic := range []string{"hearth/rule/r/enabled", "hearth/machine/mode/state", "hearth/lamp/state"} {
			if v := ha.value(topic); v != "" {
				t.Errorf("%s still says %s", topic, v)
			}
		}

		reload(twoOutputs)
		is("as at first", "home", "switch Lamp", "switch Heater", "select Mode", "switch Rule r")
	})
}

// A thing gets a name, a room, another one and none again: it is a device of its own where it
// has a room, each of its entities is the same all the time, and nothing is left behind, also
// of what went while Home Assistant was disconnected.
func TestAThingWithARoomIsADeviceOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const house = `
[output.lamp]
pin = "pwmchip0:0"
frequency = "1kHz"
[output.up]
pin = "GPIO8"
[output.down]
pin = "GPIO9"
name = "Downwards"
[cover.blind]
up = "up"
down = "down"
open_time = "20s"
close_time = "20s"
[sensor.cellar]
iio = "bmp280"
properties = ["temperature"]
`
		h, stop := start(t, load(t, dir, house), Options{Bank: gpio.NewSim()})
		ha := newHomeAssistant(t)
		client, leave := ha.at(h)
		reload := func(house string) {
			t.Helper()
			if err := h.Reload(load(t, dir, house)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		is := func(when string, want ...string) {
			t.Helper()
			if got := ha.names(); !same(got, append(want, health...)) {
				t.Errorf("%s it has %q, want %q", when, got, want)
			}
		}
		ids := func() (ids []string) {
			for _, c := range ha.entities {
				ids = append(ids, fmt.Sprint(c["unique_id"]))
			}
			slices.Sort(ids)
			return ids
		}
		is("at first", "switch Lamp", "number Lamp level", "switch Up", "switch Downwards", "cover Blind", "sensor Cellar temperature")
		first := ids()

		named := without(t, house, "[output.lamp]", "[output.lamp]\nname = \"Ceiling\"", "[sensor.cellar]", "[sensor.cellar]\nname = \"Wine\"")
		reload(named)
		is("with names", "switch Ceiling", "number Ceiling level", "switch Up", "switch Downwards", "cover Blind", "sensor Wine temperature")

		placed := without(t, named, "[output.lamp]", "[output.lamp]\nroom = \"Hall\"", "[cover.blind]", "[cover.blind]\nroom = \"Study\"", "[sensor.cellar]", "[sensor.cellar]\nroom = \"Cellar\"")
		want := []string{"switch Ceiling in Hall:", "number Ceiling in Hall: Level", "cover Blind in Study:", "switch Blind in Study: Up", "switch Blind in Study: Downwards", "sensor Wine in Cellar: Temperature"}
		reload(placed)
		is("in rooms", want...)
		if after := ids(); !slices.Equal(first, after) {
			t.Errorf("the entities are others: %v, %v", first, after)
		}
		publish(t, client, 0, "homeassistant/status", "online")
		time.Sleep(2 * time.Second)
		is("greeted", want...)

		// An output gets a room of its own, and then it has the cover's again: both stay devices.
		reload(without(t, placed, "[output.up]", "[output.up]\nroom = \"Attic\""))
		is("with an output elsewhere", "switch Ceiling in Hall:", "number Ceiling in Hall: Level", "cover Blind in Study:", "switch Up in Attic:", "switch Blind in Study: Downwards", "sensor Wine in Cellar: Temperature")
		reload(placed)
		is("with the output back", want...)
		if after := ids(); !slices.Equal(first, after) {
			t.Errorf("the entities are others: %v, %v", first, after)
		}

		// While it is disconnected the lamp goes into another room, the cover into none, and
		// the sensor away.
		leave()
		reload(without(t, placed, "Hall", "Attic", "[cover.blind]\nroom = \"Study\"", "[cover.blind]", placed[strings.Index(placed, "[sensor.cellar]"):], ""))
		stop()
		h, stop = start(t, load(t, dir, without(t, placed, "Hall", "Attic", "[cover.blind]\nroom = \"Study\"", "[cover.blind]", placed[strings.Index(placed, "[sensor.cellar]"):], "")), Options{Bank: gpio.NewSim()})
		client, leave = ha.at(h)
		publish(t, client, 0, "homeassistant/status", "online")
		time.Sleep(2 * time.Second)
		is("connected again", "switch Ceiling in Attic:", "number Ceiling in Attic: Level", "switch Up", "switch Downwards", "cover Blind")
		var announced []string
		for m := range h.broker.Retained() {
			if strings.HasSuffix(m.Topic, "/config") {
				announced = append(announced, strings.TrimPrefix(m.Topic, "homeassistant/device/"+h.announcedID()))
			}
		}
		if want := []string{"/config", "-lamp/config"}; !same(announced, want) {
			t.Errorf("on %v something is said, want %v", announced, want)
		}
		if _, err := client.Publish(t.Context(), &paho.Publish{Topic: "homeassistant/device/" + h.announcedID() + "-lamp/config", QoS: 1, Retain: true}); err == nil {
			t.Error("a client took the lamp back")
		}
		leave()
		stop()
	})
}

// Two covers in rooms were wired the wrong way round: their outputs change places, and each is
// at Home Assistant all the same, also after a restart of it.
func TestTwoCoversSwapTheirOutputs(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		house := func(left, right string) string {
			var all strings.Builder
			for i, output := range []string{"up", "down", "up2", "down2"} {
				fmt.Fprintf(&all, "[output.%s]\npin = \"GPIO%d\"\n", output, 5+i)
			}
			for name, up := range map[string]string{"left": left, "right": right} {
				down := map[string]string{"up": "down", "up2": "down2"}[up]
				fmt.Fprintf(&all, "[cover.%s]\nroom = \"Hall\"\nup = %q\ndown = %q\nopen_time = \"20s\"\nclose_time = \"20s\"\n", name, up, down)
			}
			return all.String()
		}
		h, stop := start(t, load(t, dir, house("up", "up2")), Options{Bank: gpio.NewSim()})
		ha := newHomeAssistant(t)
		_, leave := ha.at(h)
		is := func(when, left, right string) {
			t.Helper()
			want := append([]string{"cover Left in Hall:", "cover Right in Hall:"}, health...)
			for name, outputs := range map[string]string{"Left": left, "Right": right} {
				for _, output := range strings.Fields(outputs) {
					want = append(want, fmt.Sprintf("switch %s in Hall: %s", name, output))
				}
			}
			if got := ha.names(); !same(got, want) {
				t.Errorf("%s it has %q, want %q", when, got, want)
			}
		}
		is("at first", "Up Down", "Up2 Down2")
		for range 2 {
			if err := h.Reload(load(t, dir, house("up2", "up"))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			is("swapped", "Up2 Down2", "Up Down")
			leave()
			ha = newHomeAssistant(t)
			_, leave = ha.at(h)
			is("swapped and connected again", "Up2 Down2", "Up Down")
			if err := h.Reload(load(t, dir, house("up", "up2"))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			is("swapped back", "Up Down", "Up2 Down2")
		}
		leave()
		stop()
	})
}

// Whatever moves where, and whether that was heard of or not: Home Assistant has each entity
// once, on the device that it is of, as has one that finds only what is retained. No device
// is told of more than twice at a time, and of what did not move once.
func TestNoEntityIsLostOnTheWay(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names, places := []string{"a", "b", "c", "d"}, []string{"", "x", "y", "z", "nowhere"}
	ha := newHomeAssistant(t)
	var said announce.Said
	retained := make(map[string][]byte)
	tell := func(a *homeAssistant, topic string, payload []byte) {
		a.hear(&paho.Publish{Topic: topic, Payload: payload})
	}
	for step := range 2000 {
		house := announce.House{ID: "h", Name: "h", Available: "a/b", Parts: []announce.Part{{Name: "hub", Kind: catalog.Sensor, State: "x/hub"}}}
		want := []string{"homeassistant/device/h/config sensor hub-sensor"}
		for _, name := range names {
			part := announce.Part{Name: name, Kind: catalog.Switch, Set: "x/" + name}
			place := places[random.IntN(len(places))]
			switch i := slices.IndexFunc(house.Apart, func(a announce.Apart) bool { return a.Name == place }); {
			case place == "nowhere":
				continue
			case place == "":
				house.Parts = append(house.Parts, part)
			case i >= 0:
				house.Apart[i].Parts = append(house.Apart[i].Parts, part)
			default:
				house.Apart = append(house.Apart, announce.Apart{Name: place, Label: place, Room: "Hall", Parts: []announce.Part{part}})
			}
			want = append(want, fmt.Sprintf("homeassistant/device/%s/config switch %s-switch", strings.TrimSuffix("h-"+place, "-"), name))
		}
		if random.IntN(3) == 0 {
			said = said.Heard()
		}
		var messages []announce.Message
		said, messages = said.Say(announce.Config{}, house)
		times := make(map[string]int)
		for _, m := range messages {
			tell(ha, m.Topic, m.Payload)
			times[m.Topic]++
			if retained[m.Topic] = m.Payload; len(m.Payload) == 0 {
				delete(retained, m.Topic)
			}
		}
		if got := slices.Collect(maps.Keys(ha.entities)); !same(got, want) {
			t.Errorf("step %d: it has %q, want %q", step, got, want)
		}
		other := newHomeAssistant(t)
		for _, topic := range said.Topics() { // the house first
			tell(other, topic, retained[topic])
		}
		if got := slices.Collect(maps.Keys(other.entities)); !same(got, want) {
			t.Errorf("step %d: one that finds what is retained has %q, want %q", step, got, want)
		}
		if got := slices.Collect(maps.Keys(retained)); !same(got, said.Topics()) {
			t.Errorf("step %d: %v are retained, and %v were said", step, got, said.Topics())
		}
		for topic, n := range times {
			if n > 2 {
				t.Errorf("step %d: %s is told %d times", step, topic, n)
			}
		}
		after, again := said.Say(announce.Config{}, house)
		once := make(map[string]bool)
		for _, m := range again {
			if once[m.Topic] || string(m.Payload) != string(retained[m.Topic]) {
				t.Errorf("step %d: told again, %s is %s", step, m.Topic, m.Payload)
			}
			once[m.Topic] = true
		}
		if !reflect.DeepEqual(after, said) {
			t.Errorf("step %d: told again, %v was said after %v", step, after, said)
		}
		if t.Failed() {
			return
		}
	}
}

// What is removed while the hub is off, or while Home Assistant is disconnected, is taken
// back all the same, and once it is there it hears of it no more.
func TestWhatWasRemovedMeanwhileGoes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		opt := func() Options { return Options{Bank: gpio.NewSim()} }
		h, stop := start(t, load(t, dir, twoOutputs), opt())
		ha := newHomeAssistant(t)
		_, leave := ha.at(h)
		leave()
		stop()

		one := without(t, twoOutputs, "[output.heater]\npin = \"GPIO6\"\n", "")
		h, stop = start(t, load(t, dir, one), opt())
		synctest.Wait()
		none := without(t, one, "[machine.mode]\ninitial = \"day\"\nmoves = [{ from = \"day\", on = { event = \"mode/set\" }, to = \"night\" }]\n", "")
		if err := h.Reload(load(t, dir, none)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		client, leave := ha.at(h)
		if got, want := ha.names(), append([]string{"switch Lamp", "switch Rule r"}, health...); !same(got, want) {
			t.Errorf("it has %v, want %v", got, want)
		}
		if said := ha.value(h.cfg.HomeAssistant.Topic(h.announcedID())); !strings.Contains(said, `{"p":"switch"}`) || !strings.Contains(said, `{"p":"select"}`) {
			t.Errorf("it says %s", said)
		}
		publish(t, client, 0, "homeassistant/status", "online")
		time.Sleep(2 * time.Second)
		if said := ha.value(h.cfg.HomeAssistant.Topic(h.announcedID())); strings.Contains(said, `{"p":"switch"}`) || strings.Contains(said, `{"p":"select"}`) {
			t.Errorf("it still says %s", said)
		}

		// What was heard to be gone is not told again after a restart.
		leave()
		stop()
		h, stop = start(t, load(t, dir, none), opt())
		_, leave = ha.at(h)
		if said := ha.value(h.cfg.HomeAssistant.Topic(h.announcedID())); strings.Contains(said, `{"p":"switch"}`) || strings.Contains(said, `{"p":"select"}`) {
			t.Errorf("after a restart it says again %s", said)
		}

		// Another prefix, and then not at all.
		if err := h.Reload(load(t, dir, none+"[homeassistant]\nprefix = \"ha\"\n")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := ha.names(); len(got) > 0 {
			t.Errorf("below the old prefix there is %v", got)
		}
		topic := h.cfg.HomeAssistant.Topic(h.announcedID())
		if !strings.HasPrefix(topic, "ha/device/hearth_") || ha.value(topic) == "" {
			t.Errorf("%s says %q", topic, ha.value(topic))
		}
		leave()
		stop()
		h, stop = start(t, load(t, dir, none+"[homeassistant]\nannounce = false\n"), opt())
		_, leave = ha.at(h)
		for m := range h.broker.Retained() {
			if strings.HasSuffix(m.Topic, "/config") {
				t.Errorf("%s is still announced", m.Topic)
			}
		}
		leave()
		stop()
		h, stop = start(t, load(t, dir, none), opt())
		_, leave = ha.at(h)
		if got, want := ha.names(), append([]string{"switch Lamp", "switch Rule r"}, health...); !same(got, want) {
			t.Errorf("announced again it has %v, want %v", got, want)
		}
		leave()
		stop()
	})
}

func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// Home Assistant says that it is there, and the house announces itself: once, however often
// somebody says so, and not because of what is retained or what a client has no right to say.
func TestHomeAssistantIsGreeted(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, dir, twoOutputs), Options{Bank: gpio.NewSim()})
		ha := newHomeAssistant(t)
		client, leave := ha.at(h)
		heard := func(want int, when string) {
			t.Helper()
			time.Sleep(3300 * time.Millisecond) // between two beats
			if got := ha.times(); got != want {
				t.Errorf("%s it heard of the house %d times, want %d", when, got, want)
			}
		}
		heard(1, "at first")
		for range 100 {
			publish(t, client, 1, "homeassistant/status", "online")
		}
		heard(2, "greeted a hundred times")
		publish(t, client, 1, "homeassistant/status", "offline")
		heard(2, "with its last will")
		if err := h.Reload(load(t, dir, twoOutputs+"\n# a comment\n")); err != nil {
			t.Fatal(err)
		}
		heard(2, "after a reload that changes nothing")
		if _, err := client.Publish(t.Context(), &paho.Publish{Topic: "homeassistant/status", Payload: []byte("online"), QoS: 1, Retain: true}); err != nil {
			t.Fatal(err)
		}
		heard(3, "with a birth that is retained")

		own := h.cfg.HomeAssistant.Topic(h.announcedID())
		if _, err := client.Publish(t.Context(), &paho.Publish{Topic: own, QoS: 1, Retain: true}); err == nil {
			t.Error("a client took the house back")
		}
		heard(3, "after a client tried to take the house back")
		leave()
		stop()

		// An orderly end makes all unavailable, before anybody has to time out.
		h, stop = start(t, load(t, dir, twoOutputs), Options{Bank: gpio.NewSim()})
		_, leave = ha.at(h)
		heard(4, "after a restart that found the old birth")
		if got := ha.value("hearth/status"); got != "online" {
			t.Errorf("the hub is %s", got)
		}
		stop()
		synctest.Wait()
		if got := ha.value("hearth/status"); got != "offline" {
			t.Errorf("after its end the hub is %s", got)
		}
		leave()
	})
}

// Two houses, a bridge between them with a prefix, as docs/devices.md shows it: in the hall
// the garage is there with its values, and what is told there happens in the garage, though
// both have a lamp.
func TestAHouseIsThereOverABridge(t *testing.T) {
	hallDir, garageDir := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		garage, stopGarage := start(t, load(t, garageDir, without(t, twoOutputs, `"home"`, `"Garage"`)), Options{Bank: gpio.NewSim()})
		way := new(cable)
		way.plug(garage)
		hall, stopHall := start(t, load(t, hallDir, `
[output.lamp]
pin = "GPIO5"
[bridge.garage]
address = "garage.local:1883"
topics = [
  { filter = "homeassistant/device/+/config", direction = "in", local_prefix = "garage/" },
  { filter = "hearth/#", direction = "in", local_prefix = "garage/" },
  { filter = "hearth/+/set", direction = "out", local_prefix = "garage/" },
]
[device]
garage = { id = "homeassistant/`+garage.announcedID()+`" }
[link.far]
from = "a/b"
to = "garage.lamp"
`), Options{Bank: gpio.NewSim(), dial: way.dial})
		time.Sleep(5 * time.Second)
		d := deviceNamed(t, hall, "garage")
		if d.Label != "Garage" || d.Online == nil || !*d.Online {
			t.Errorf("%+v", d)
		}
		if p := propertyNamed(t, d, "lamp"); p.Value != false || p.SetTopic != "garage/hearth/lamp/set" {
			t.Errorf("%+v", p)
		}
		client, leave := connect(t, hall, "c", func(*paho.Publish) {})
		publish(t, client, 1, "a/b", "on")
		time.Sleep(5 * time.Second)
		if !isOn(t, garage, "lamp") {
			t.Error("the lamp of the garage is off")
		}
		if isOn(t, hall, "lamp") {
			t.Error("the lamp of the hall is on")
		}
		if p := propertyNamed(t, deviceNamed(t, hall, "garage"), "lamp"); p.Value != true {
			t.Errorf("%+v", p)
		}
		// The hall has not become the garage's, nor has either become its own.
		for name, h := range map[string]*Hub{"hall": hall, "garage": garage} {
			all, err := desk{h}.Devices(t.Context())
			if want := map[string]int{"hall": 1, "garage": 0}[name]; err != nil || len(all.Devices) != want || len(all.Faults) > 0 {
				t.Errorf("the %s knows %+v, %v", name, all, err)
			}
		}

		// One that gets a room is a device of its own here, too, in that room.
		placed := without(t, twoOutputs, `"home"`, `"Garage"`, "[output.heater]", "[output.heater]\nname = \"Frost guard\"\nroom = \"Workshop\"")
		if err := garage.Reload(load(t, garageDir, placed)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		guard := deviceNamed(t, hall, "frost_guard")
		if p := guard.Properties[0]; guard.Label != "Frost guard" || guard.Room != "Workshop" || len(guard.Properties) != 1 || p.Name != "heater" || p.Value != false || p.SetTopic != "garage/hearth/heater/set" {
			t.Errorf("%+v", guard)
		}

		// An output of the garage that is no more is none in the hall either.
		if err := garage.Reload(load(t, garageDir, without(t, twoOutputs, `"home"`, `"Garage"`, "[output.heater]\npin = \"GPIO6\"\n", ""))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		all, err := desk{hall}.Devices(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all.Devices {
			for _, p := range d.Properties {
				if p.Name == "heater" {
					t.Errorf("a ghost in the hall: %+v", p)
				}
			}
		}
		leave()
		stopGarage()
		stopHall()
	})
}

// Home Assistant can tell somebody that a pin is stuck, and is not told anew each second for
// how long it has been.
func TestAProblemIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, dir, twoOutputs), Options{Bank: sim})
		defer stop()
		var mu sync.Mutex
		var told []string
		client, leave := connect(t, h, "c", func(p *paho.Publish) {
			mu.Lock()
			defer mu.Unlock()
			if p.Topic == "hearth/problem" {
				told = append(told, string(p.Payload))
			}
		})
		defer leave()
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "hearth/problem", QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
		sim.Hang("GPIO5", true)
		publish(t, client, 1, "hearth/lamp/set", "ON")
		time.Sleep(150 * time.Second)
		sim.Hang("GPIO5", false)
		time.Sleep(5 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if n := len(told); n != 5 || told[0] != "none" || !strings.HasPrefix(told[1], "lamp: no answer for") || told[4] != "none" {
			t.Errorf("it was told %q", told)
		}
	})
}
