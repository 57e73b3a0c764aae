package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// haAnnouncements are those of the stories, as they come.
func haAnnouncements(t testing.TB, files ...string) (all []devices.Message) {
	for _, file := range files {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			rest, ok := strings.CutPrefix(line, "<r ")
			if !ok {
				rest, ok = strings.CutPrefix(line, "< ")
			}
			if topic, payload, _ := strings.Cut(strings.TrimSpace(rest), " "); ok && strings.HasSuffix(topic, "/config") {
				all = append(all, devices.Message{Topic: topic, Payload: []byte(strings.TrimSpace(payload)), Retain: true, Initial: true})
			}
		}
	}
	return all
}

var haStories = []string{"homeassistant.txt", "homeassistant_devices.txt", "homeassistant_zigbee2mqtt.txt", "esphome.txt"}

func described(c *Catalog) string {
	var b strings.Builder
	for _, d := range c.Devices() {
		b.WriteString(describe(d))
	}
	return b.String()
}

// A broker gives retained messages in any order. What comes of them is the same.
func TestHomeassistantOrderDoesNotMatter(t *testing.T) {
	last := make(map[string]devices.Message)
	for _, m := range haAnnouncements(t, haStories...) {
		if last[m.Topic] = m; len(m.Payload) == 0 || bytes.Contains(m.Payload, []byte("migrate_discovery")) {
			delete(last, m.Topic)
		}
	}
	delete(last, "homeassistant/switch/3D5E26_RL_1/config") // the same as desk_relay, which is newer
	var retained []devices.Message
	for _, topic := range slices.Sorted(func(yield func(string) bool) {
		for topic := range last {
			if !yield(topic) {
				return
			}
		}
	}) {
		retained = append(retained, last[topic])
	}
	first := ""
	for round := range uint64(20) {
		c := New()
		r := rand.New(rand.NewPCG(round, 1))
		r.Shuffle(len(retained), func(i, j int) { retained[i], retained[j] = retained[j], retained[i] })
		for _, m := range retained {
			c.Take(m)
		}
		switch got := described(c); {
		case round == 0:
			first = got
		case got != first:
			t.Fatalf("another order gives something else: %s", firstDifference(first, got))
		}
	}
}

// Everything can be taken back, in any order, and then nothing is left.
func TestHomeassistantLeavesNothing(t *testing.T) {
	all := haAnnouncements(t, append(haStories, "homeassistant_wrong.txt")...)
	h := newHomeassistant()
	for _, m := range all {
		h.take(&Payload{Message: m})
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, m := range all {
		m.Payload = nil
		h.take(&Payload{Message: m})
	}
	if len(h.topics)+len(h.groups)+len(h.unique)+h.entities+h.bytes != 0 {
		t.Errorf("%d topics, %d keys, %d unique, %d entities, %d bytes are left", len(h.topics), len(h.groups), len(h.unique), h.entities, h.bytes)
	}
}

// A device whose message takes away each of its components is gone; a message that is wrong
// changes nothing.
func TestHomeassistantLastComponentGoes(t *testing.T) {
	c := New()
	say := func(components string) int {
		c.Take(devices.Message{Topic: "homeassistant/device/lamp/config", Payload: []byte(`{"dev":{"ids":["lamp"]},"o":{"name":"x"},"cmps":` + components + `}`)})
		return len(c.Devices())
	}
	const lamp = `"a":{"p":"switch","cmd_t":"lamp/set","uniq_id":"a"}`
	if a, b, c, d, e := say(`{`+lamp+`}`), say(`{"a":7}`), say(`{`+lamp+`,"b":{"p":"sensor"}}`), say(`{"a":{"p":"switch"},"b":{"p":"sensor"}}`), say(`{`+lamp+`}`); a != 1 || b != 1 || c != 1 || d != 0 || e != 1 {
		t.Errorf("there are %d, %d, %d, %d and %d devices", a, b, c, d, e)
	}
}

// Identifiers hold a device together, whoever names them first, and let it fall apart again.
func TestHomeassistantJoinsAndParts(t *testing.T) {
	c := New()
	say := func(object, ids string) {
		payload := ""
		if ids != "" {
			payload = fmt.Sprintf(`{"state_topic":"x/%s","unique_id":"%s","name":"%s","device":{"identifiers":%s}}`, object, object, object, ids)
		}
		c.Take(devices.Message{Topic: "homeassistant/sensor/" + object + "/config", Payload: []byte(payload)})
	}
	ids := func() string {
		var all []string
		for _, d := range c.Devices() {
			all = append(all, fmt.Sprint(strings.TrimPrefix(d.ID, "homeassistant/"), len(d.Properties)))
		}
		return strings.Join(all, " ")
	}
	for _, step := range []struct{ object, ids, want string }{
		{"one", `["b"]`, "b1"},
		{"two", `["c"]`, "b1 c1"},
		{"three", `["c","b"]`, "b3"},
		{"four", `["a","c"]`, "a4"},
		{"three", ``, "a2 b1"},
		{"four", `["z"]`, "b1 c1 z1"},
		{"one", ``, "c1 z1"},
		{"two", ``, "z1"},
	} {
		if say(step.object, step.ids); ids() != step.want {
			t.Fatalf("after %s %s there are %s, want %s", step.object, step.ids, ids(), step.want)
		}
	}
}

func TestHomeassistantIdentity(t *testing.T) {
	for id, want := range map[string]string{
		"zigbee2mqtt_0x00158d00018255df":        "ieee:0x00158d00018255df",
		"zigbee2mqtt_bridge_0x00124b00120144ae": "ieee:0x00124b00120144ae",
		"0x00158D00018255DF":                    "ieee:0x00158d00018255df",
		"0x00158d00018255df0":                   "",
		"5C:CF:7F:3D:5E:26":                     "mac:5ccf7f3d5e26",
		"5c-cf-7f-3d-5e-26":                     "mac:5ccf7f3d5e26",
		"a4cf12575965":                          "mac:a4cf12575965",
		"shellyplus1pm-a8032abe54dc":            "mac:a8032abe54dc",
		"shelly1-123456789012":                  "mac:123456789012",
		"123456789012":                          "", // some number
		"3D5E26":                                "",
		"ea334450945afc":                        "",
		"0AFFD2":                                "",
		"kitchen":                               "",
	} {
		if got := haIdentity(id); got != want {
			t.Errorf("%s is %q, want %q", id, got, want)
		}
	}
}

// Strangers may announce as much as they like.
func TestHomeassistantLimits(t *testing.T) {
	h := newHomeassistant()
	take := func(topic, payload string) error {
		_, err := h.take(&Payload{Message: devices.Message{Topic: topic, Payload: []byte(payload)}})
		return err
	}
	var full error
	for i := range haMaxEntities + 10 {
		full = take(fmt.Sprintf("homeassistant/sensor/%d/config", i), fmt.Sprintf(`{"state_topic":"x/%d"}`, i))
	}
	if full == nil || h.entities != haMaxEntities {
		t.Errorf("%d entities are remembered, %v", h.entities, full)
	}
	h = newHomeassistant()
	for i := range haMaxMembers + 10 {
		full = take(fmt.Sprintf("homeassistant/sensor/%d/config", i), fmt.Sprintf(`{"state_topic":"x/%d","dev":{"ids":"one"}}`, i))
	}
	if full == nil || h.entities != haMaxMembers {
		t.Errorf("%d entities of one device are remembered, %v", h.entities, full)
	}
}

// A payload of 1 MB, or as large as is looked at, of whatever kind, is soon done with.
func TestHomeassistantLargePayloads(t *testing.T) {
	for _, size := range []int{1 << 20, haMaxSize} {
		large(t, size)
	}
}

func large(t *testing.T, size int) {
	many := func(head, each, tail string) string {
		return head + strings.Repeat(each, (size-len(head)-len(tail))/len(each)) + tail
	}
	components := func(each string) string {
		var b strings.Builder
		b.WriteString(`{"dev":{"ids":"x"},"o":{"name":"x"},"cmps":{`)
		for i := 0; b.Len() < size-len(each)-40; i++ {
			fmt.Fprintf(&b, `"c%d":%s,`, i, each)
		}
		return b.String() + `"last":{"p":"sensor"}}}`
	}
	for name, payload := range map[string]string{
		"text":       many(`{"state_topic":"a/b","name":"`, "x", `"}`),
		"escapes":    many(`{"state_topic":"a/b","name":"`, `\u00e4`, `"}`),
		"topic":      many(`{"state_topic":"`, "a/", `"}`),
		"template":   many(`{"state_topic":"a/b","value_template":"`, "{{ value }}", `"}`),
		"options":    many(`{"state_topic":"a/b","options":["a"`, `,"b"`, `]}`),
		"ids":        many(`{"state_topic":"a/b","device":{"identifiers":["a"`, `,"b"`, `]}}`),
		"cns":        many(`{"state_topic":"a/b","device":{"connections":[["a","b"]`, `,["c","d"]`, `]}}`),
		"there":      many(`{"state_topic":"a/b","availability":[{"topic":"a"}`, `,{"topic":"b"}`, `]}`),
		"base":       many(`{"~":"`, "~", `","state_topic":"~~","command_topic":"~/a~"}`),
		"deep":       many(``, `{"a":`, ``),
		"lists":      many(``, `[`, ``),
		"components": components(`{"p":"sensor","state_topic":"a/b"}`),
		"templates":  components(`{"p":"sensor","state_topic":"a/b","value_template":"{{ value_json.a | float + 1 }}"}`),
		"gone":       components(`{"p":"light"}`),
		"wrong":      components(`7`),
	} {
		best := time.Hour
		for range 3 {
			h := newHomeassistant()
			m := &Payload{Message: devices.Message{Topic: "homeassistant/sensor/x/config", Payload: []byte(payload)}}
			if strings.Contains(payload[:min(80, len(payload))], "cmps") {
				m.Topic = "homeassistant/device/x/config"
			}
			start := time.Now()
			h.take(m)
			best = min(best, time.Since(start))
		}
		t.Logf("%7d %-10s %v", size, name, best)
		if best > 2*time.Second { // where nothing else runs, a few
			t.Errorf("%s of %d bytes took %v", name, len(payload), best)
		}
	}
}

func TestHomeassistantColors(t *testing.T) {
	for _, hex := range []string{"#ff0000", "#00ff00", "#0000ff", "#ff8800", "#ffffff", "#12ff56", "#ffaaff"} {
		r, g, b, err := hexColor(hex)
		if err != nil {
			t.Fatal(err)
		}
		// At full brightness, for that is a property of its own.
		most := float64(max(r, g, b))
		want := rgbColor(float64(r)/most, float64(g)/most, float64(b)/most)
		h, s := haHS(r, g, b)
		if got := hsColor(h, s); !nearColor(got, want, 2) {
			t.Errorf("%s is %v %v, which is %s, want %s", hex, h, s, got, want)
		}
		x, y := haXY(r, g, b)
		if got := xyColor(x, y); !nearColor(got, want, 8) {
			t.Errorf("%s is %v %v, which is %s, want %s", hex, x, y, got, want)
		}
	}
}

func nearColor(a, b string, most int) bool {
	r1, g1, b1, _ := hexColor(a)
	r2, g2, b2, _ := hexColor(b)
	far := func(x, y uint8) bool { return max(int(x)-int(y), int(y)-int(x)) > most }
	return !far(r1, r2) && !far(g1, g2) && !far(b1, b2)
}

// What is told comes back as it was told, whatever the device counts in.
func TestHomeassistantPercentComesBack(t *testing.T) {
	for _, r := range []struct{ from, to float64 }{{0, 255}, {0, 254}, {0, 100}, {0, 99}, {0, 65535}, {100, 0}, {255, 0}, {1, 255}} {
		for told := range 101 {
			n, err := haRanged(float64(told), r.from, r.to)
			if err != nil {
				t.Fatal(err)
			}
			back := haPercent(n, r.from, r.to)
			if r.to == 99 && max(back-float64(told), float64(told)-back) <= 1 {
				continue // there are fewer steps than %
			}
			if back != float64(told) {
				t.Errorf("%v to %v: %d %% is %v, which is %v %%", r.from, r.to, told, n, back)
			}
		}
	}
}

func FuzzHomeassistant(f *testing.F) {
	for _, m := range haAnnouncements(f, append(haStories, "homeassistant_wrong.txt")...) {
		f.Add(m.Topic, m.Payload, `{"state":"ON","brightness":7,"value":3,"event_type":"x"}`, "50")
	}
	f.Add("homeassistant/device/x/config", []byte(`{"cmps":{"a":{"p":"cover"}}}`), "41", "open")
	f.Fuzz(func(t *testing.T, topic string, payload []byte, state, value string) {
		if devices.CheckTopic(topic) != nil {
			return // the broker lets no message with such a one in
		}
		c := New()
		m := devices.Message{Topic: topic, Payload: payload}
		c.Take(m)
		c.Take(m)
		all := c.Devices()
		x := NewIndex(all)
		for _, d := range all {
			if len(d.Properties) > MaxProperties {
				t.Errorf("%d properties", len(d.Properties))
			}
			names := make(map[string]bool)
			for _, p := range d.Properties {
				if names[p.Name] {
					t.Errorf("%s is there twice", p.Name)
				}
				names[p.Name] = true
				if p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
					t.Errorf("%q is no name", p.Name)
				}
				if p.Of != "" && !slices.ContainsFunc(d.Properties, func(q Property) bool { return q.Name == p.Of }) {
					t.Errorf("%s is of %s, which is not there", p.Name, p.Of)
				}
				for _, r := range p.Reports {
					if devices.CheckFilter(r.Topic) != nil {
						t.Errorf("%q is no topic", r.Topic)
					}
					for _, v := range x.Read(devices.Message{Topic: r.Topic, Payload: []byte(state)}) {
						formOf(t, d, v)
					}
				}
				if p.Set != nil {
					if devices.CheckTopic(p.Set.Topic) != nil {
						t.Errorf("%q is no topic", p.Set.Topic)
					}
					d.Command(p.Name, value)
					d.Command(p.Name, true)
					d.Command(p.Name, 40.0)
				}
			}
		}
		m.Payload = nil
		c.Take(m)
		if strings.HasPrefix(topic, "homeassistant/") && len(c.Devices()) > 0 {
			t.Error("it was taken back and is still there")
		}
	})
}

// formOf checks that a value has the form of its property.
func formOf(t *testing.T, d Device, v Value) {
	if v.Available >= 0 || v.Bad != "" {
		if v.Bad == "" {
			if _, ok := v.Value.(bool); !ok {
				t.Errorf("availability is %v", v.Value)
			}
		}
		return
	}
	p, err := d.Property(v.Property)
	if err != nil || p.Raw != "" {
		return
	}
	ok := true
	switch p.Kind {
	case Switch, Light, Fan, Valve, BinarySensor:
		_, ok = v.Value.(bool)
	case Number:
		_, ok = v.Value.(float64)
	case Cover, Lock, Climate, Select, Text, Event:
		_, ok = v.Value.(string)
	case Button:
		ok = false
	default:
		if _, number := v.Value.(json.Number); number {
			ok = false
		}
	}
	if !ok {
		t.Errorf("%s, a %s, is %T %v", p.Name, p.Kind, v.Value, v.Value)
	}
}

func FuzzESPHome(f *testing.F) {
	f.Add("x/light/y/state", []byte(`{"state":"ON","brightness":7}`), []byte(`{"name":"x","mac":"84fce6123456","platform":"ESP32"}`))
	f.Add("x/cover/y/position/state", []byte(`40`), []byte(`{"project_name":"a.b"}`))
	f.Add("x/sensor/y/state", []byte(`nan`), []byte(``))
	f.Fuzz(func(t *testing.T, topic string, payload, who []byte) {
		c := New()
		m := devices.Message{Topic: topic, Payload: payload}
		c.Take(m)
		name, _, _ := strings.Cut(topic, "/")
		c.Take(devices.Message{Topic: "esphome/discover/" + name, Payload: who})
		c.Take(m)
		x := NewIndex(c.Devices())
		for _, d := range c.Devices() {
			for _, v := range x.Read(m) {
				formOf(t, d, v)
			}
			for _, p := range d.Properties {
				d.Command(p.Name, "on")
				d.Command(p.Name, 40.0)
			}
		}
	})
}

// The same announcement again, as most are: at each birth of Home Assistant, at each
// start of a bridge.
func BenchmarkHomeassistantAgain(b *testing.B) {
	h := newHomeassistant()
	all := haAnnouncements(b, "homeassistant_zigbee2mqtt.txt")
	p := &Payload{Message: all[0]}
	h.take(p)
	b.SetBytes(int64(len(p.Payload)))
	b.ReportAllocs()
	for b.Loop() {
		if found, err := h.take(p); len(found.Devices) > 0 || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkHomeassistantNew(b *testing.B) {
	all := haAnnouncements(b, "homeassistant_zigbee2mqtt.txt")
	size := 0
	for _, m := range all {
		size += len(m.Payload)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		h := newHomeassistant()
		for _, m := range all {
			h.take(&Payload{Message: m})
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/announcement")
}

func BenchmarkESPHomeState(b *testing.B) {
	e := newESPHome()
	e.take(&Payload{Message: devices.Message{Topic: "esphome/discover/x", Payload: []byte(`{"name":"x","mac":"84fce6123456"}`)}})
	p := &Payload{Message: devices.Message{Topic: "x/sensor/power/state", Payload: []byte("72.2")}}
	e.take(p)
	b.ReportAllocs()
	for b.Loop() {
		if found, _ := e.take(p); len(found.Devices) > 0 {
			b.Fatal(found)
		}
	}
}

// A state of five properties in 500 bytes.
func BenchmarkHomeassistantState(b *testing.B) {
	c := New()
	payload := `{"battery":97,"humidity":43.7,"linkquality":120,"pressure":1013.2,"temperature":23.2,"pad":"` + strings.Repeat("x", 400) + `"}`
	for _, key := range []string{"battery", "humidity", "linkquality", "pressure", "temperature"} {
		c.Take(devices.Message{Topic: "homeassistant/sensor/x/" + key + "/config", Payload: fmt.Appendf(nil,
			`{"state_topic":"x/y","value_template":"{{ value_json.%s }}","unit_of_measurement":"u","unique_id":"%s","dev":{"ids":"x"}}`, key, key)})
	}
	x := NewIndex(c.Devices())
	m := devices.Message{Topic: "x/y", Payload: []byte(payload)}
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if len(x.Read(m)) != 5 {
			b.Fatal("not five")
		}
	}
}
