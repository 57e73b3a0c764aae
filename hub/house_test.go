package hub

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/control"
	"hearth/devices"
	"hearth/devices/catalog"
)

// startUp is what the devices of the catalog's stories say when their house gets its power
// back, as one house of them all: what was retained, and what is said anew. Nobody takes
// anything back, and there is one list of what Zigbee2MQTT has.
func startUp(t testing.TB) (all []devices.Message) {
	t.Helper()
	var list [][]byte
	seen := make(map[string]bool)
	for _, file := range []string{"zigbee2mqtt_*", "esphome", "homie4", "homie5", "shelly1", "shelly2", "tasmota_lights", "tasmota_relays", "tasmota_sensors"} {
		names, err := filepath.Glob("../devices/catalog/testdata/" + file + ".txt")
		if err != nil || len(names) == 0 {
			t.Fatal(file, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				op, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
				topic, payload, _ := strings.Cut(strings.TrimSpace(rest), " ")
				if op != "<" && op != "<r" || payload == "" || strings.HasPrefix(topic, "home/hall/shelly/") { // which is rebuilt in its story
					continue
				}
				if topic == "zigbee2mqtt/bridge/devices" {
					var d devices.Document
					if d.Scan([]byte(payload), devices.AllValues) != nil || !d.Root().IsList() {
						continue
					}
					for _, e := range d.Root().All() {
						ieee, _ := e.Key("ieee_address")
						if _, ok := e.Key("definition"); ok && !seen[string(ieee.Text())] {
							seen[string(ieee.Text())] = true
							list = append(list, bytes.Clone(e.Text()))
						}
					}
					continue
				}
				if file == "tasmota_relays" { // no two makers have the same MAC
					topic, payload = strings.ReplaceAll(topic, "AABBCCDDEEFF", "AABBCCDDEE01"), strings.ReplaceAll(payload, "AABBCCDDEEFF", "AABBCCDDEE01")
				}
				all = append(all, devices.Message{Topic: topic, Payload: []byte(payload), Retain: op == "<r" || strings.Contains(topic, "/bridge/")})
			}
		}
	}
	whole := slices.Concat([]byte("["), bytes.Join(list, []byte(",")), []byte("]"))
	return slices.Insert(all, 0, devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: whole, Retain: true})
}

// A house of more than sixty devices over five conventions starts. Within a second of the
// last message all are there with what they said; after a restart they are so at once, before
// anybody has said anything, as old as they are.
func TestAHouseStarts(t *testing.T) {
	messages := startUp(t)
	// What comes of it if each message has all the time it wants.
	r := catalog.NewRegistry(func(string) bool { return false }, func(catalog.Device) string { return "" })
	for _, m := range messages {
		first := r.Index().Read(m)
		r.Apply(first, m, devices.Now{})
		r.Take(m)
		for r.Rest() {
		}
		if r.Settle(time.Now()); len(first) == 0 {
			r.Apply(r.Index().Read(m), m, devices.Now{})
		}
	}
	conventions := make(map[string]int)
	for _, s := range r.All() {
		conventions[s.Via]++
	}
	if len(r.All()) < 60 || len(conventions) < 5 {
		t.Fatalf("%d devices: %v", len(r.All()), conventions)
	}
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h, stop := start(t, load(t, dir, ""), Options{})
		client, hangUp := connect(t, h, "house", nil)
		before := heap()
		for _, m := range messages {
			if _, err := client.Publish(t.Context(), &paho.Publish{Topic: m.Topic, Payload: m.Payload, Retain: m.Retain, QoS: 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		all := listed(t, h)
		t.Logf("%d devices of %v after %d messages: %d bytes of memory each", len(all), conventions, len(messages), (heap()-before)/int64(len(all)))
		for _, s := range r.All() {
			d, ok := all[s.ID]
			if !ok || d.Silent {
				t.Errorf("%s is not there: %+v", s.ID, d)
				continue
			}
			for i, p := range d.Properties {
				// What was said on a topic that was not known yet is not lost here.
				if want := s.Values[p.Name].Value; want != nil && devices.Text(p.Value) != devices.Text(want) && s.Properties[i].Kind != catalog.Event {
					t.Errorf("%s.%s is %v, want %v", s.ID, p.Name, p.Value, want)
				}
			}
		}
		if len(all) != len(r.All()) {
			t.Errorf("%d devices, want %d", len(all), len(r.All()))
		}
		hangUp()
		stop()

		time.Sleep(10 * time.Minute)
		h, stop = start(t, load(t, dir, ""), Options{})
		for id, now := range listed(t, h) {
			was, ok := all[id]
			if !ok || now.Name != was.Name || !now.Since.Equal(was.Since) || len(now.Properties) != len(was.Properties) {
				t.Errorf("%s came back as %s of %v with %d properties, was %s of %v with %d", id, now.Name, now.Since, len(now.Properties), was.Name, was.Since, len(was.Properties))
				continue
			}
			values := make(map[string]control.Property)
			for _, p := range now.Properties {
				values[p.Name] = p
			}
			for _, p := range was.Properties {
				if q := values[p.Name]; devices.Text(p.Value) != devices.Text(q.Value) || p.At.UnixMilli() != q.At.UnixMilli() {
					t.Errorf("%s.%s is %v of %v, was %v of %v", id, p.Name, q.Value, q.At, p.Value, p.At)
				}
			}
			delete(all, id)
		}
		for id := range all {
			t.Errorf("%s did not come back", id)
		}
		stop()
	})
}

// listed are the hub's devices by their ids.
func listed(t *testing.T, h *Hub) map[string]control.Device {
	t.Helper()
	list, err := desk{h}.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]control.Device)
	for _, d := range list.Devices {
		all[d.ID] = d
	}
	return all
}

// heap is how much memory is in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools keep goes with the second
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A new configuration comes while a long list of devices is being read: all of them are there
// in the end, and what they said meanwhile counts.
func TestAReloadInTheMiddleOfAList(t *testing.T) {
	list := startUp(t)[0]
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		house := "[device]\nplug = { id = \"zigbee2mqtt/0xfff58d000182ffff\" }\n\n[rule.r]\ntrigger = { event = \"plug.power\" }\naction = { publish = \"b/power\", payload = \"x\" }\n"
		h, stop := start(t, load(t, dir, house), Options{})
		defer stop()
		w := newWorld(t, h, "b/#")
		defer w.leave()
		// The plug is the last of them, by its address.
		long := slices.Concat(bytes.TrimSuffix(list.Payload, []byte("]")), []byte(","), []byte(strings.ReplaceAll(plugExposes[1:], "0x00158d00018255df", "0xfff58d000182ffff")))
		publish(t, w.client, 0, "zigbee2mqtt/bridge/devices", string(long))
		publish(t, w.client, 0, "zigbee2mqtt/Desk plug", `{"power":7}`)
		synctest.Wait()
		if err := h.Reload(load(t, dir, house+"\n# a comment\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if d := deviceNamed(t, h, "plug"); d.Silent || propertyNamed(t, d, "power").Value != 7.0 {
			t.Errorf("%+v", d)
		}
		if n := h.unlearned.Load(); n != 0 {
			t.Errorf("%d announcements are not done with", n)
		}
		if got := w.heard(); !slices.Equal(got, []string{"b/power x"}) {
			t.Errorf("%q", got)
		}
	})
}

// A sensor says in one message that somebody moves and how dark it is: the rule that looks at both sees
// both, however the rule names the sensor and whichever of the two comes first in it.
func TestWhatComesTogetherIsSeenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[device]
motion = { id = "zigbee2mqtt/0x01" }

[rule.device]
trigger = { state = "motion.occupancy", is = true }
condition = { state = { "motion.illuminance" = { below = 50 } } }
action = { publish = "lit/device", payload = "at {motion.illuminance}" }

[rule.first]
trigger = { state = "zigbee2mqtt/motion:occupancy", is = true }
condition = { state = { "zigbee2mqtt/motion:illuminance" = { below = 50 } } }
action = { publish = "lit/first", payload = "x" }

[rule.last]
trigger = { state = "zigbee2mqtt/motion:battery", below = 50 }
condition = { state = { "zigbee2mqtt/motion:illuminance" = { below = 50 } } }
action = { publish = "lit/last", payload = "x" }
`), Options{})
		defer stop()
		w := newWorld(t, h, "lit/#")
		defer w.leave()
		w.say("zigbee2mqtt/bridge/devices", `[{"ieee_address":"0x01","type":"EndDevice","friendly_name":"motion","definition":{"vendor":"x","model":"y","exposes":[
{"type":"binary","property":"occupancy","access":1,"value_on":true,"value_off":false},{"type":"numeric","property":"illuminance","access":1},{"type":"numeric","property":"battery","access":1}]}}]`)
		time.Sleep(time.Second)
		moves := func(occupied bool, lux, battery int, want ...string) {
			t.Helper()
			w.say("zigbee2mqtt/motion", fmt.Sprintf(`{"occupancy":%v,"illuminance":%d,"battery":%d}`, occupied, lux, battery))
			got := w.heard()
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%v at %d lx: %q, want %q", occupied, lux, got, want)
			}
		}
		moves(false, 500, 90)
		moves(true, 12, 10, "lit/device at 12", "lit/first x", "lit/last x")
		moves(false, 12, 90)
		moves(true, 500, 10)
	})
}
