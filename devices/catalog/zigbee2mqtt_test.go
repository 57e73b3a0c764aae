package catalog

import (
	"bytes"
	"fmt"
	"os"
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
		if elements, err := jsonElements(m.Payload); err == nil {
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

func TestZigbee2MQTTBigList(t *testing.T) {
	list := bigList(t, MaxPayload-4096)
	best := time.Hour
	for range 5 {
		w := newZigbee2MQTT()
		start := time.Now()
		found, err := w.take(&Payload{Message: devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: list}})
		best = min(best, time.Since(start))
		if err != nil || len(found.Devices) < 300 {
			t.Fatal(len(found.Devices), err)
		}
	}
	t.Logf("%d bytes in %v", len(list), best)
}

func BenchmarkZigbee2MQTTList(b *testing.B) {
	list := bigList(b, 1<<20)
	b.SetBytes(int64(len(list)))
	for b.Loop() {
		w := newZigbee2MQTT()
		w.take(&Payload{Message: devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: list}})
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
