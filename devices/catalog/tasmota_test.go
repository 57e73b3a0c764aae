package catalog

import (
	"fmt"
	"strings"
	"testing"

	"hearth/devices"
)

func FuzzTasmota(f *testing.F) {
	configs := announcements(f, "tasmota", "tasmota/discovery/+/config")
	sensors := announcements(f, "tasmota", "tasmota/discovery/+/sensors")
	for i, m := range announcements(f, "tasmota", "tele/+/+", "stat/+/+") {
		f.Add(configs[i%len(configs)].Payload, sensors[i%len(sensors)].Payload, m.Topic, m.Payload)
	}
	f.Fuzz(func(t *testing.T, config, sensors []byte, topic string, payload []byte) {
		if len(config)+len(sensors)+len(payload) > 1<<16 {
			return
		}
		c := New()
		c.Take(devices.Message{Topic: "tasmota/discovery/00000049A3BC/sensors", Payload: sensors})
		c.Take(devices.Message{Topic: "tasmota/discovery/00000049A3BC/config", Payload: config})
		c.Take(devices.Message{Topic: topic, Payload: payload})
		c.Take(devices.Message{Topic: "tele/learned/" + topic[strings.LastIndexByte(topic, '/')+1:], Payload: payload})
		all := c.Devices()
		x := NewIndex(all)
		x.Read(devices.Message{Topic: topic, Payload: payload})
		for _, d := range all {
			if len(d.Properties) > MaxProperties {
				t.Errorf("%s has %d properties", d.ID, len(d.Properties))
			}
			for _, p := range d.Properties {
				for _, r := range p.Reports {
					r.Read(&Payload{Message: devices.Message{Topic: r.Topic, Payload: payload}})
				}
				if p.Set != nil && (p.Set.Retain || !inTopic(p.Set.Topic)) {
					t.Errorf("%s of %s is told on %q", p.Name, d.ID, p.Set.Topic)
				}
			}
		}
		commandAll(all)
		for _, m := range []devices.Message{
			{Topic: "tasmota/discovery/00000049A3BC/sensors", Payload: sensors},
			{Topic: "tasmota/discovery/00000049A3BC/config", Payload: config},
			{Topic: topic, Payload: payload},
		} {
			if strings.HasPrefix(topic, "tasmota/discovery/") && m.Topic != topic {
				continue
			}
			if changed, _ := c.Take(m); changed {
				t.Errorf("the same message on %s makes another house", m.Topic)
			}
		}
	})
}

// Strangers may say what they like under tele: it costs a bounded number of devices.
func TestTasmotaLearnsNoMoreThanItMay(t *testing.T) {
	w := newTasmota()
	for i := range 2 * tasmotaMaxLearned {
		w.take(&Payload{Message: devices.Message{Topic: fmt.Sprintf("tele/t%d/LWT", i), Payload: []byte("Online")}})
	}
	if w.learned != tasmotaMaxLearned || len(w.devices) != tasmotaMaxLearned || len(w.speaks) != tasmotaMaxLearned {
		t.Error(w.learned, len(w.devices), len(w.speaks))
	}
	for i := range 1000 {
		w.take(&Payload{Message: devices.Message{Topic: "tele/t1/SENSOR", Payload: fmt.Appendf(nil, `{"Time":"x","S%d":{"Temperature":1}}`, i)}})
	}
	d := w.speaks["t1"]
	if n := countLeaves(d.sensors, 4); n > tasmotaMaxKeys+1 || len(d.shapes) > tasmotaMaxShapes {
		t.Error(n, len(d.shapes))
	}
}

const tasmotaSTATE = `{"Time":"2026-01-01T10:00:00","Uptime":"0T10:00:12","UptimeSec":36012,"Heap":25,"SleepMode":"Dynamic","Sleep":50,"LoadAvg":19,"MqttCount":1,"POWER":"ON","Wifi":{"AP":1,"SSId":"home","BSSId":"00:11:22:33:44:55","Channel":11,"Mode":"11n","RSSI":92,"Signal":-54,"LinkCount":1,"Downtime":"0T00:00:03"}}`

func BenchmarkTasmotaAnnounced(b *testing.B) {
	w := newTasmota()
	w.take(&Payload{Message: devices.Message{Topic: "tasmota/discovery/00000049A3BC/config", Payload: []byte(`{"t":"hall","rl":[1]}`)}})
	m := devices.Message{Topic: "tele/hall/STATE", Payload: []byte(tasmotaSTATE)}
	for b.Loop() {
		w.take(&Payload{Message: m})
	}
}

func BenchmarkTasmotaLearned(b *testing.B) {
	w := newTasmota()
	m := devices.Message{Topic: "tele/hall/STATE", Payload: []byte(tasmotaSTATE)}
	for b.Loop() {
		w.take(&Payload{Message: m})
	}
}

func BenchmarkTasmotaSameConfig(b *testing.B) {
	w := newTasmota()
	m := announcements(b, "tasmota_relays", "tasmota/discovery/+/config")[0]
	for b.Loop() {
		w.take(&Payload{Message: m})
	}
}

// A message that says nothing new, through all that a catalog does with it.
func BenchmarkCatalogTake(b *testing.B) {
	c := New()
	c.Take(devices.Message{Topic: "tasmota/discovery/00000049A3BC/config", Payload: []byte(`{"t":"hall","rl":[1]}`)})
	m := devices.Message{Topic: "tele/hall/STATE", Payload: []byte(tasmotaSTATE)}
	for b.Loop() {
		c.Take(m)
	}
}
