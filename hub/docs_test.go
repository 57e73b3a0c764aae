package hub

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hearth/bridge"
	"hearth/broker"
	"hearth/broker/access"
	"hearth/devices"
	"hearth/devices/announce"
	"hearth/gpio"
	"hearth/gpio/bus"
	"hearth/gpio/sensor"
	"hearth/history"
	"hearth/push"
	"hearth/rules"
	"hearth/trial"
	"hearth/web"
)

// keysIn is a section of a reference and the struct whose keys it has to name, but for those
// of another.
type keysIn struct {
	heading string
	of      any
	but     any
}

// sections says which keys each section of docs/rules.md has to name: all of a
// struct, but for those that another section of it is about.
var sections = []keysIn{
	{"Tests", rules.Test{}, nil},
	{"Links", rules.Link{}, nil},
	{"Triggers", rules.Trigger{}, rules.Test{}},
	{"Episodes", rules.Until{}, rules.Test{}},
	{"Conditions", rules.Condition{}, rules.Test{}},
	{"Rules", rules.RuleBody{}, nil},
	{"Actions", rules.Action{}, nil},
	{"Calcs", rules.Calc{}, nil},
	{"Variables", rules.Variable{}, nil},
	{"Machines", rules.MachineBody{}, nil},
	{"Machines", rules.Move{}, nil},
	{"Devices", rules.Device{}, nil},
	{"Notifications", rules.Notify{}, nil},
	{"Testing a house", trial.Test{}, nil},
	{"Testing a house", trial.Send{}, nil},
	{"Testing a house", trial.Expect{}, nil},
}

// sensorSections is the same for docs/sensors.md.
var sensorSections = []keysIn{
	{"Keys", sensor.Sensor{}, nil},
	{"Multiplexers", bus.Mux{}, nil},
}

// pinSections is the same for docs/pins.md.
var pinSections = []keysIn{
	{"Outputs", gpio.Output{}, devices.Shown{}},
	{"Names and rooms", devices.Shown{}, nil},
	{"Interlocks", gpio.Interlock{}, nil},
	{"Groups", gpio.Group{}, nil},
	{"Covers", gpio.Cover{}, devices.Shown{}},
	{"Inputs", gpio.Input{}, devices.Shown{}},
	{"Counters", gpio.Counter{}, devices.Shown{}},
	{"Encoders", gpio.Encoder{}, devices.Shown{}},
	{"Expanders", gpio.Expander{}, nil},
}

// brokerSections is the same for docs/broker.md; its defaults are held true in broker.
var brokerSections = []keysIn{
	{"Listeners", broker.Config{}, access.Config{}},
	{"TLS", broker.TLS{}, nil},
	{"Limits", broker.Limits{}, nil},
	{"Another broker", Broker{}, broker.Config{}},
	{"Another broker", bridge.Connect{}, nil},
}

// accessSections is the same for docs/access.md.
var accessSections = []keysIn{
	{"Settings", access.Config{}, nil},
	{"Users", access.User{}, nil},
	{"Tokens", access.Token{}, nil},
	{"Roles", access.Role{}, nil},
}

// bridgeSections is the same for docs/bridge.md.
var bridgeSections = []keysIn{
	{"Keys", bridge.Remote{}, nil},
	{"Topics", bridge.Topic{}, nil},
	{"TLS", bridge.TLS{}, nil},
	{"Backoff", bridge.Backoff{}, nil},
}

// metricSections is the same for docs/metrics.md.
var metricSections = []keysIn{{"InfluxDB", push.Target{}, nil}}

// deviceSections is the same for docs/devices.md.
var deviceSections = []keysIn{{"In Home Assistant", announce.Config{}, nil}}

// historySections is the same for docs/history.md.
var historySections = []keysIn{{"What is recorded", history.Config{}, nil}}

// backupSections is the same for docs/backup.md.
var backupSections = []keysIn{{"By the clock", Backups{}, nil}}

// pageSections is the same for docs/page.md.
var pageSections = []keysIn{
	{"Settings", web.Config{}, nil},
	{"TLS", web.TLS{}, nil},
}

// A reference names every key that the code takes, and no other.
func TestTheReferencesAreComplete(t *testing.T) {
	complete(t, "../docs/rules.md", sections)
	complete(t, "../docs/sensors.md", sensorSections)
	complete(t, "../docs/pins.md", pinSections)
	complete(t, "../docs/bridge.md", bridgeSections)
	complete(t, "../docs/broker.md", brokerSections)
	complete(t, "../docs/access.md", accessSections)
	complete(t, "../docs/devices.md", deviceSections)
	complete(t, "../docs/history.md", historySections)
	complete(t, "../docs/metrics.md", metricSections)
	complete(t, "../docs/backup.md", backupSections)
	complete(t, "../docs/page.md", pageSections)
}

func complete(t *testing.T, file string, sections []keysIn) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]map[string]bool)
	for _, s := range sections {
		if want[s.heading] == nil {
			want[s.heading] = make(map[string]bool)
		}
		other := keysOf(reflect.TypeOf(s.but))
		for key := range keysOf(reflect.TypeOf(s.of)) {
			if !other[key] {
				want[s.heading][key] = true
			}
		}
	}
	documented := documentedKeys(string(text))
	for heading, keys := range want {
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if !documented[heading][key] {
				t.Errorf("%s: the tables of %q do not tell of the key %s", file, heading, key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(documented[heading])) {
			if !keys[key] {
				t.Errorf("%s: %q tells of a key %s, which is none", file, heading, key)
			}
		}
	}
}

// keysOf is the keys of a table's struct, embedded ones included.
func keysOf(t reflect.Type) map[string]bool {
	keys := make(map[string]bool)
	if t == nil {
		return keys
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			maps.Copy(keys, keysOf(f.Type))
		}
		if key, _, _ := strings.Cut(f.Tag.Get("toml"), ","); key != "" {
			keys[key] = true
		}
	}
	return keys
}

// documentedKeys is by heading what stands in the first column of the tables
// that begin with "key".
func documentedKeys(text string) map[string]map[string]bool {
	all := make(map[string]map[string]bool)
	heading, inKeys := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "## "):
			heading = line[3:]
			all[heading] = make(map[string]bool)
		case strings.HasPrefix(line, "| key "):
			inKeys = true
		case !strings.HasPrefix(line, "|"):
			inKeys = false
		case inKeys && heading != "":
			first, _, _ := strings.Cut(line[1:], " | ")
			for _, key := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(first, -1) {
				all[heading][key[1]] = true
			}
		}
	}
	return all
}

// What the guides show is a house that is in order.
func TestTheExamplesAreSound(t *testing.T) {
	for _, file := range []string{"../docs/rules.md", "../docs/pins.md", "../docs/sensors.md", "../docs/broker.md", "../docs/access.md", "../docs/bridge.md", "../docs/devices.md", "../docs/metrics.md", "../docs/history.md", "../docs/backup.md", "../docs/page.md", "../README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			if _, doc := Parse(file, []byte(dedent(block[1])+pinsOf(block[1]))); doc.Err() != nil {
				t.Errorf("%s:\n%s\n%v", file, block[1], doc.Err())
			}
		}
	}
}

func dedent(block string) string { return strings.ReplaceAll(block, "\n  [", "\n[") }

// pinsOf gives a block the outputs that an earlier one has declared.
func pinsOf(block string) string {
	var more string
	for _, name := range []string{"shutter_up", "shutter_down", "boiler", "fan", "heater_1", "heater_2", "heater_3"} {
		if strings.Contains(block, `"`+name+`"`) && !strings.Contains(block, "[output."+name+"]") {
			more += "\n[output." + name + "]\ntopic = \"cmnd/" + name + "/POWER\"\n"
		}
	}
	return more
}
