package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// What the hub's loop does with the first list of a large bridge, besides taking it: names,
// states and the index of all its devices, and what is kept of them.
func BenchmarkSettle(b *testing.B) {
	list := bigList(b, 1<<20-4096)
	var settled, kept time.Duration
	for b.Loop() {
		r := NewRegistry(func(string) bool { return false }, func(Device) string { return "" })
		r.Take(devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: list})
		for r.Rest() {
		}
		start := time.Now()
		r.Settle(start)
		settled += time.Since(start)
		start = time.Now()
		r.Changes(false)
		kept += time.Since(start)
	}
	b.ReportMetric(float64(settled.Microseconds())/float64(b.N), "settle-µs/op")
	b.ReportMetric(float64(kept.Microseconds())/float64(b.N), "keep-µs/op")
}

// A payload of 1 MB, of each convention: what announces a device, and what one reports.
// The longest part of it is what the hub's loop waits for.
func BenchmarkLarge(b *testing.B) {
	fill := func(head, each, tail string) []byte {
		return []byte(head + strings.Repeat(each, (1<<20-len(head)-len(tail))/len(each)) + tail)
	}
	shelly := "shellyplus1-a8032abe54dc"
	values := `,"x":[1,2.5,{"a":"b"},null,true,"on"]`
	for _, m := range []struct {
		topic   string
		payload []byte
	}{
		{"zigbee2mqtt/bridge/devices", bigList(b, 1<<20-4096)},
		{"zigbee2mqtt/bridge/groups", fill(`[{"id":1,"friendly_name":"g","members":[{"ieee_address":"0x01","endpoint":1}]}`, `,{"id":2}`, `]`)},
		{"zigbee2mqtt/bridge/info", fill(`{"config":{"availability":true,"devices":{"0x01":{"availability":false}}`, `,"x":{"description":"a setting of Zigbee2MQTT, as its schema describes it","type":"string"}`, `}}`)},
		{"tasmota/discovery/A0B1C2D3E4F5/config", fill(`{"t":"x"`, values, `}`)},
		{"tele/x/SENSOR", fill(`{"Time":"2026-03-01T12:00:00"`, values, `}`)},
		{"shellies/announce", fill(`{"id":"shelly1-AABBCC"`, values, `}`)},
		{shelly + "/events/rpc", fill(`{"src":"`+shelly+`","method":"NotifyStatus","params":{"ts":1`, values, `}}`)},
		{"homie/5/x/$description", fill(`{"homie":"5.0","nodes":{"a":{}`, values, `}}`)},
		{"homie/x/$nodes", fill("", "a,", "")},
		{"homeassistant/sensor/x/config", fill(`{"state_topic":"a/b"`, values, `}`)},
		{"homeassistant/device/x/config", fill(`{"dev":{"ids":"x"},"o":{"name":"x"},"cmps":{"a":{"p":"sensor"}`, `,"b":{"p":"sensor","state_topic":"a/b"}`, `}}`)},
		{"esphome/discover/x", fill(`{"name":"x"`, values, `}`)},
	} {
		b.Run("take "+m.topic, func(b *testing.B) {
			best := time.Hour // of the longest parts: others need the machine too
			for b.Loop() {
				c := New()
				start := time.Now()
				c.Take(devices.Message{Topic: m.topic, Payload: m.payload})
				longest := time.Since(start)
				for c.Waits("") {
					start = time.Now()
					c.Rest()
					longest = max(longest, time.Since(start))
				}
				best = min(best, longest)
			}
			b.ReportMetric(float64(best.Microseconds()), "longest-part-µs")
			if best > 10*time.Millisecond {
				b.Errorf("it keeps the house waiting for %v, want at most 10 ms", best)
			}
		})
	}

	c := New()
	for _, m := range announcements(b, "", "#") {
		c.Take(m)
		for c.Waits("") {
			c.Rest()
		}
	}
	if len(c.Devices()) < 100 {
		b.Fatalf("%d devices of the stories", len(c.Devices()))
	}
	x := NewIndex(c.Devices())
	most := make(map[string]string) // by convention, the topic that most properties are on
	for _, d := range c.Devices() {
		for _, p := range d.Properties {
			for _, r := range p.Reports {
				if len(x.topics[r.Topic]) > len(x.topics[most[d.Via]]) {
					most[d.Via] = r.Topic
				}
			}
		}
	}
	for _, via := range slices.Sorted(maps.Keys(most)) {
		for _, p := range []struct {
			name    string
			payload []byte
		}{
			{"few values", fill(`{"state":"ON","x":"`, "x", `"}`)},
			{"many values", fill(`{"state":"ON"`, values, `}`)},
			{"many members", fill(`{"state":"ON"`, `,"a long name of a member, as they are":1`, `}`)},
			{"text", fill("", "x", "")},
		} {
			b.Run(fmt.Sprintf("read %s, %d properties, %s", via, len(x.topics[most[via]]), p.name), func(b *testing.B) {
				for b.Loop() {
					x.Read(devices.Message{Topic: most[via], Payload: p.payload})
				}
			})
		}
	}
}
