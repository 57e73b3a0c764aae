package catalog

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// announcements are the payloads on topics that match a filter in the stories of a convention.
func announcements(t testing.TB, story string, filters ...string) (all []devices.Message) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), story) || !strings.HasSuffix(f.Name(), ".txt") {
			continue
		}
		text, err := os.ReadFile("testdata/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			op, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
			topic, payload, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if op != "<" && op != "<r" {
				continue
			}
			for _, filter := range filters {
				if devices.MatchTopic(filter, topic) {
					all = append(all, devices.Message{Topic: topic, Payload: []byte(payload), Initial: op == "<r"})
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("the stories have none")
	}
	return all
}

// commandAll tells every property something; nothing may panic.
func commandAll(all []Device) {
	for i := range all {
		for _, p := range all[i].Properties {
			for _, v := range []any{true, false, devices.Toggle{}, 40.0, "open", "#ff8800", "x", map[string]any{"a": 1.0}, nil} {
				all[i].Command(p.Name, v)
			}
			for _, o := range p.Options {
				all[i].Command(p.Name, o)
			}
		}
	}
}

// What a property asks for is asked on the device's own topic, which may have spaces.
func TestZigbee2MQTTGet(t *testing.T) {
	c := New()
	c.Take(devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte(`[{"ieee_address":"0x01","friendly_name":"kitchen/floor light","definition":{"exposes":[
		{"type":"light","features":[{"type":"binary","name":"state","property":"state","value_on":"ON","value_off":"OFF","access":7},
			{"type":"composite","name":"color_xy","property":"color","features":[{"type":"numeric","name":"x","property":"x","access":7},{"type":"numeric","name":"y","property":"y","access":7}]},
			{"type":"composite","name":"level_config","property":"level_config","access":7,"features":[{"type":"numeric","name":"on_level","property":"on_level","access":7}]}]},
		{"type":"numeric","name":"power","property":"power","access":5},{"type":"numeric","name":"energy","property":"energy","access":1}]}}]`)})
	all := c.Devices()
	if len(all) != 1 {
		t.Fatal(all)
	}
	for name, want := range map[string]string{
		"state":                 `{"state":""}`,
		"color":                 `{"color":{"x":"","y":""}}`,
		"level_config_on_level": `{"level_config":{"on_level":""}}`,
		"power":                 `{"power":""}`,
		"energy":                "",
	} {
		p, err := all[0].Property(name)
		switch {
		case err != nil:
			t.Error(err)
		case want == "" && p.Get != nil:
			t.Errorf("%s can be asked", name)
		case want != "" && (p.Get == nil || p.Get.Payload != want || p.Get.Topic != "zigbee2mqtt/kitchen/floor light/get" || p.Get.Retain):
			t.Errorf("%s is asked by %+v", name, p.Get)
		}
	}
	m, err := all[0].Command("state", "on")
	if err != nil || m != (Message{Topic: "zigbee2mqtt/kitchen/floor light/set", Payload: `{"state":"ON"}`}) {
		t.Error(m, err)
	}
}

// Only what is another is given again, and a broken list makes nothing go away.
func TestZigbee2MQTTGivesOnlyWhatChanged(t *testing.T) {
	w := newZigbee2MQTT()
	take := func(payload string) (Found, error) {
		return w.take(&Payload{Message: devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte(payload)}})
	}
	a := `{"ieee_address":"0x0a","friendly_name":"a","network_address":%d,"definition":{"exposes":[{"type":"numeric","name":"temperature","property":"temperature","unit":"%s","access":1}]}}`
	list := func(address int, unit string) string {
		return fmt.Sprintf("["+a+`,{"ieee_address":"0x0b","friendly_name":"b"}]`, address, unit)
	}
	for _, step := range []struct {
		list        string
		given, gone int
		wrong       bool
	}{
		{list(1, "°C"), 2, 0, false},
		{list(1, "°C"), 0, 0, false},
		{list(2, "°C"), 0, 0, false}, // an address in the network means nothing to us
		{list(2, "°F"), 1, 0, false},
		{`[{"ieee_address":"0x0b","friendly_name":"b"},{`, 0, 0, true},
		{list(2, "°F")[:60], 0, 0, true},
		{`[{"ieee_address":"0x0b","friendly_name":"b"}]`, 0, 1, false},
		{`[]`, 0, 1, false},
	} {
		found, err := take(step.list)
		if len(found.Devices) != step.given || len(found.Gone) != step.gone || (err != nil) != step.wrong {
			t.Errorf("%s gives %d, %d gone, %v", step.list, len(found.Devices), len(found.Gone), err)
		}
	}
	if len(w.things) != 0 {
		t.Error("things are left:", w.things)
	}
}

// A megabyte that is nothing costs little more than to look at it once.
func TestMegabytesOfNonsense(t *testing.T) {
	for _, payload := range []string{
		strings.Repeat("[", MaxPayload), "[" + strings.Repeat("{},", MaxPayload/3), "[" + strings.Repeat(`{"ieee_address":"0x1"},`, MaxPayload/24) + "1]",
		strings.Repeat("x", MaxPayload), `["` + strings.Repeat("\\", MaxPayload/2-2) + `"]`, strings.Repeat(`{"a":`, MaxPayload/6), "{" + strings.Repeat(`"a":1,`, MaxPayload/6-1) + `"b":2}`,
		`[{"ieee_address":"0x1","definition":{"exposes":[` + strings.Repeat(`{"type":"numeric","name":"n","access":7},`, MaxPayload/42) + `1]}}]`,
		`[{"ieee_address":"0x1","definition":{"exposes":[` + strings.Repeat(`{"type":"enum","name":"n","values":["a","b"],"access":7},`, MaxPayload/58) + `1]}}]`,
		`{"sn":{"A":[` + strings.Repeat("1,", MaxPayload/2-20) + `1]}}`,
		`{"t":"x","rl":[` + strings.Repeat("1,", MaxPayload/2-20) + `1]}`,
	} {
		for _, topic := range []string{"zigbee2mqtt/bridge/devices", "zigbee2mqtt/bridge/groups", "zigbee2mqtt/bridge/info", "tasmota/discovery/00000049A3BC/config", "tasmota/discovery/00000049A3BC/sensors", "tele/x/SENSOR", "tele/x/STATE", "stat/x/RESULT"} {
			c := New()
			start := time.Now()
			c.Take(devices.Message{Topic: topic, Payload: []byte(payload)})
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%s: %.60s took %v", topic, payload, took)
			} else if took > 20*time.Millisecond {
				t.Logf("%s: %.60s took %v", topic, payload, took)
			}
		}
	}
}

func FuzzZigbee2MQTT(f *testing.F) {
	lists := announcements(f, "zigbee2mqtt", "+/bridge/devices")
	for i, m := range announcements(f, "zigbee2mqtt", "zigbee2mqtt/+") {
		f.Add(lists[i%len(lists)].Payload, []byte(`[{"id":1,"members":[{"ieee_address":"0x90fd9ffffe6494fc","endpoint":1}]}]`), m.Topic, m.Payload)
	}
	f.Fuzz(func(t *testing.T, list, groups []byte, topic string, payload []byte) {
		if len(list)+len(groups)+len(payload) > 1<<16 {
			return
		}
		c := New()
		c.Take(devices.Message{Topic: "zigbee2mqtt/bridge/groups", Payload: groups})
		c.Take(devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: list})
		c.Take(devices.Message{Topic: "zigbee2mqtt/bridge/info", Payload: payload})
		c.Take(devices.Message{Topic: topic + "/availability", Payload: payload})
		all := c.Devices()
		x := NewIndex(all)
		x.Read(devices.Message{Topic: topic, Payload: payload})
		for _, d := range all {
			x.Read(devices.Message{Topic: "zigbee2mqtt/" + d.Name, Payload: payload})
			if len(d.Properties) > MaxProperties {
				t.Errorf("%s has %d properties", d.ID, len(d.Properties))
			}
		}
		commandAll(all)
		if changed, _ := c.Take(devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: list}); changed {
			t.Error("the same list makes another house")
		}
	})
}

// bigList is a bridge/devices of about n bytes, of the lamps and sensors of the stories
// again and again.
func bigList(t testing.TB, n int) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	var samples [][]byte
	for _, m := range announcements(t, "zigbee2mqtt", "zigbee2mqtt/bridge/devices") {
		if elements, err := jsonElements(m.Payload, MaxDevices); err == nil {
			samples = append(samples, elements...)
		}
	}
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		e := string(samples[i%len(samples)])
		at := strings.Index(e, `"ieee_address":"0x`) + len(`"ieee_address":"0x`)
		b.WriteString(e[:at] + fmt.Sprintf("%06x", i) + e[at+6:])
	}
	b.WriteByte(']')
	return b.Bytes()
}

// A long list is taken in parts, none of which takes long: what is made of one is bounded,
// which holds on any machine. What comes in between counts, and a newer list takes the place
// of one that is not done with.
func TestZigbee2MQTTBigList(t *testing.T) {
	const topic = "zigbee2mqtt/bridge/devices"
	list := bigList(t, MaxPayload-4096)
	names := func(c *Catalog) (all []string) {
		for _, d := range c.Devices() {
			all = append(all, fmt.Sprint(d.ID, d.Name, d.Model, len(d.Properties), len(d.Available.Reports)))
		}
		return all
	}
	drain := func(c *Catalog) (parts int) {
		for c.Waits("") {
			before := len(c.Devices())
			c.Rest()
			if n := len(c.Devices()); n-before > z2mPartProperties/10 {
				t.Errorf("%d devices in one part", n-before)
			}
			parts++
		}
		return parts
	}
	c := New()
	start := time.Now()
	c.Take(devices.Message{Topic: topic, Payload: list})
	parts := drain(c)
	t.Logf("%d bytes in %v, in %d parts", len(list), time.Since(start), parts+1)
	all := names(c)
	if len(all) < 300 || parts < 20 {
		t.Fatalf("%d devices in %d parts", len(all), parts)
	}
	if c.Take(devices.Message{Topic: topic, Payload: list}); c.Waits("") {
		t.Error("the same list is read again")
	}

	// Each tells now whether it is there: all are made anew, in parts too.
	c.Take(devices.Message{Topic: "zigbee2mqtt/bridge/info", Payload: []byte(`{"config":{"availability":{"enabled":true}}}`)})
	if parts := drain(c); parts < 20 {
		t.Errorf("all devices were made anew in %d parts", parts)
	}

	// A short list while the long one is read.
	elements, _ := jsonElements(list, MaxDevices)
	short := append(append([]byte("["), bytes.Join(elements[:30], []byte(","))...), ']')
	c = New()
	c.Take(devices.Message{Topic: topic, Payload: list})
	c.Rest()
	c.Rest()
	c.Take(devices.Message{Topic: topic, Payload: short})
	drain(c)
	if got := names(c); !slices.Equal(got, all[:len(got)]) || len(got) < 20 || len(got) > 30 {
		t.Errorf("after a short list there are %d devices", len(got))
	}
	// And what is wrong with its last entry is told when that was read.
	c.Take(devices.Message{Topic: topic, Payload: append(bytes.Clone(list[:len(list)-1]), ",7]"...)})
	if faults, _ := c.Faults(); len(faults) > 0 {
		t.Error(faults)
	}
	drain(c)
	if faults, _ := c.Faults(); len(faults) != 1 || len(names(c)) != len(all) {
		t.Errorf("%d devices, %v", len(names(c)), faults)
	}
}

func BenchmarkZigbee2MQTTList(b *testing.B) {
	list := bigList(b, 1<<20)
	b.SetBytes(int64(len(list)))
	b.ReportAllocs()
	for b.Loop() {
		w := newZigbee2MQTT()
		found, _ := w.take(&Payload{Message: devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: list}})
		for found.Rest != nil {
			found, _ = found.Rest()
		}
	}
}

func BenchmarkZigbee2MQTTSameList(b *testing.B) {
	w := newZigbee2MQTT()
	m := devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: bigList(b, 50<<10)}
	w.take(&Payload{Message: m})
	b.SetBytes(int64(len(m.Payload)))
	for b.Loop() {
		w.take(&Payload{Message: m})
	}
}

func BenchmarkZigbee2MQTTAvailability(b *testing.B) {
	w := newZigbee2MQTT()
	w.take(&Payload{Message: announcements(b, "zigbee2mqtt_bridge", "zigbee2mqtt/bridge/devices")[0]})
	m := devices.Message{Topic: "zigbee2mqtt/my_plug/availability", Payload: []byte(`{"state":"online"}`)}
	for b.Loop() {
		w.take(&Payload{Message: m})
	}
}
