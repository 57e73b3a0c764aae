package catalog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// A plug as Zigbee2MQTT lists it, with five properties, and what it reports: 500 bytes.
const (
	benchPlug = `[{"ieee_address":"0x01","type":"Router","supported":true,"friendly_name":"Desk plug","definition":{"model":"P","vendor":"V","exposes":[
{"type":"switch","features":[{"type":"binary","name":"state","property":"state","access":7,"value_on":"ON","value_off":"OFF","value_toggle":"TOGGLE"}]},
{"type":"numeric","name":"power","property":"power","unit":"W","access":5},
{"type":"numeric","name":"voltage","property":"voltage","unit":"V","access":5},
{"type":"numeric","name":"energy","property":"energy","unit":"kWh","access":5},
{"type":"numeric","name":"linkquality","property":"linkquality","unit":"lqi","access":1}]},"power_source":"Mains (single phase)"}]`
	benchReport = `{"child_lock":"UNLOCK","countdown":0,"current":0.21,"energy":123.45,"indicator_mode":"off/on","last_seen":"2026-03-01T12:00:00.000Z","linkquality":116,"power":48.3,"power_outage_memory":"restore","state":"ON","update":{"installed_version":192,"latest_version":192,"state":"idle"},"update_available":null,"voltage":231.2,"device":{"applicationVersion":192,"dateCode":"","friendlyName":"Desk plug","hardwareVersion":1,"ieeeAddr":"0x00158d00018255df","manufacturerID":4417,"model":"TS011F_plug_1","networkAddress":4711}}`
)

// Others on the same machine vary; encoding/json into a map beside it is the measure.
func BenchmarkRead(b *testing.B) {
	c := New()
	c.Take(devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte(benchPlug)})
	x := NewIndex(c.Devices())
	m := devices.Message{Topic: "zigbee2mqtt/Desk plug", Payload: []byte(benchReport)}
	if values := x.Read(m); len(values) != 5 {
		b.Fatalf("%+v", values)
	}
	var read, decoded time.Duration
	b.Run(fmt.Sprintf("bytes=%d", len(benchReport)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x.Read(m)
		}
		read = b.Elapsed() / time.Duration(b.N)
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v map[string]any
			json.Unmarshal(m.Payload, &v)
		}
		decoded = b.Elapsed() / time.Duration(b.N)
	})
	// 3 us where encoding/json takes 12; other machines are compared by that.
	if read > decoded/4 {
		b.Errorf("a reading costs %v, want at most a quarter of encoding/json's %v", read, decoded)
	}
}

// What says nothing to anybody, in a house of a thousand devices.
func BenchmarkUnknownTopic(b *testing.B) {
	c := New()
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`{"ieee_address":"0x%04x","type":"Router","friendly_name":"d%d","definition":{"exposes":[{"type":"numeric","name":"power","property":"power","access":1}]}}`, i, i))
	}
	c.Take(devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte("[" + strings.Join(list, ",") + "]")})
	x := NewIndex(c.Devices())
	for b.Loop() {
		if x.Takes("office/desk/lamp/power") {
			b.Fatal("known")
		}
	}
}
