package catalog

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// said gives what a convention makes of messages, each "topic payload".
func said(t testing.TB, c convention, lines ...string) (found []Found) {
	t.Helper()
	for _, line := range lines {
		topic, payload, _ := strings.Cut(line, " ")
		f, err := c.take(&Payload{Message: devices.Message{Topic: topic, Payload: []byte(payload)}})
		if err != nil {
			t.Errorf("%s: %v", topic, err)
		}
		found = append(found, f)
	}
	return found
}

// storyLines are the messages of a story, for fuzzing and for what is said twice.
func storyLines(t testing.TB, file string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "< "); ok {
			lines = append(lines, strings.TrimSuffix(rest, "\n"))
		}
	}
	return lines
}

func TestShellySaysNothingTwice(t *testing.T) {
	c := newShelly()
	lines := storyLines(t, "shelly1.txt")
	take := func(line string) Found {
		topic, payload, _ := strings.Cut(line, " ")
		f, _ := c.take(&Payload{Message: devices.Message{Topic: topic, Payload: []byte(payload)}})
		return f
	}
	for range 2 {
		for _, line := range lines {
			take(line)
		}
	}
	for _, line := range lines {
		if strings.Contains(line, "/announce ") || strings.Contains(line, "roller/") || strings.Contains(line, "relay/") || strings.Contains(line, "/online ") {
			continue // which change the mode of a device back and forth, or ask
		}
		if f := take(line); len(f.Devices)+len(f.Gone)+len(f.Ask) > 0 {
			t.Errorf("%s: is news the third time: %+v", line, f)
		}
	}
}

func TestShelly2BelowTheOldPrefix(t *testing.T) {
	c := newShelly()
	f := said(t, c,
		`shellies/shellyplus1-a8032abe54dc/online true`,
		`shellies/shellyplus1-a8032abe54dc/events/rpc {"src":"shellyplus1-a8032abe54dc","dst":"x","method":"NotifyStatus","params":{"ts":1,"switch:0":{"id":0,"output":true}}}`,
		`shellies/shellyplus1-a8032abe54dc/online true`,
		`shellies/hall/online true`,
		`shellies/hall/events/rpc {"src":"shellyplus1-aaaaaaaaaaaa","dst":"x","method":"NotifyStatus","params":{"ts":1,"switch:0":{"id":0,"output":true}}}`,
	)
	if len(f[0].Ask) != 4 || f[0].Ask[0].Topic != "shellies/shellyplus1-a8032abe54dc/rpc" {
		t.Errorf("it was not asked what it is: %+v", f[0])
	}
	if len(f[1].Devices) != 1 || f[1].Devices[0].ID != "shelly/shellyplus1-a8032abe54dc" {
		t.Errorf("it is not there: %+v", f[1])
	}
	if len(f[2].Ask) != 4 {
		t.Errorf("it was not asked again when it came back: %+v", f[2])
	}
	if len(f[3].Ask) != 1 || f[3].Ask[0].Topic != "shellies/hall/command" {
		t.Errorf("one that may be of either generation was not asked: %+v", f[3])
	}
	if len(f[4].Devices) != 1 || f[4].Devices[0].ID != "shelly/shellyplus1-aaaaaaaaaaaa" {
		t.Errorf("it is not there: %+v", f[4])
	}
}

// What was kept from the hub's last life comes before anything can be published, and does
// not use up the question.
func TestShellyAsksAfterARestart(t *testing.T) {
	c := newShelly()
	config := `{"id":1,"src":"shellyplus1-a8032abe54dc","result":{"switch:0":{"id":0,"name":"Lamp"}}}`
	f, err := c.take(&Payload{Message: devices.Message{Topic: "shellyplus1-a8032abe54dc/hearth/config/rpc", Payload: []byte(config), Initial: true}})
	if err != nil || len(f.Devices) != 1 || len(f.Ask) != 0 {
		t.Errorf("kept: %+v, %v", f, err)
	}
	f, err = c.take(&Payload{Message: devices.Message{Topic: "shellyplus1-a8032abe54dc/online", Payload: []byte("true"), Retain: true, Initial: true}})
	if err != nil || len(f.Ask) != 4 {
		t.Errorf("found online: %+v, %v", f, err)
	}
}

// A prefix that was known by its topics only is a device of its own name once that is told.
func TestShelly2LearnsItsName(t *testing.T) {
	f := said(t, newShelly(),
		`hall/status/switch:0 {"id":0,"output":true}`,
		`hall/events/rpc {"src":"shellyplus1-a8032abe54dc","dst":"hall/events","method":"NotifyStatus","params":{"ts":1,"switch:0":{"id":0,"output":false}}}`,
	)
	if len(f[0].Devices) != 1 || f[0].Devices[0].ID != "shelly/hall" {
		t.Errorf("before: %+v", f[0])
	}
	if len(f[1].Devices) != 1 || f[1].Devices[0].ID != "shelly/shellyplus1-a8032abe54dc" || len(f[1].Gone) != 1 || f[1].Gone[0] != "shelly/hall" {
		t.Errorf("after: %+v", f[1])
	}
}

// Who takes a device's retained will away removes it; should it speak again, it is back.
func TestShellyIsRemoved(t *testing.T) {
	c := newShelly()
	f := said(t, c,
		`shellies/shelly1-AABBCC/relay/0 on`, `shellies/shelly1-AABBCC/online `, `shellies/shelly1-AABBCC/relay/0 on`,
		`hall/status/switch:0 {"id":0,"output":true}`, `hall/online `, `hall/status/switch:0 {"id":0,"output":true}`,
	)
	for i, want := range []string{"shelly/shelly1-AABBCC", "shelly/hall"} {
		if gone := f[i*3+1].Gone; len(gone) != 1 || gone[0] != want {
			t.Errorf("%s is not gone: %v", want, gone)
		}
		if back := f[i*3+2].Devices; len(back) != 1 || back[0].ID != want {
			t.Errorf("%s is not back: %v", want, back)
		}
	}
}

// Every command is JSON where it goes to rpc or set.
func TestShellyCommandsAreJSON(t *testing.T) {
	for _, file := range []string{"shelly1.txt", "shelly2.txt"} {
		c := New()
		for _, line := range storyLines(t, file) {
			topic, payload, _ := strings.Cut(line, " ")
			c.Take(devices.Message{Topic: topic, Payload: []byte(payload)})
		}
		n := 0
		for _, d := range c.Devices() {
			for _, p := range d.Properties {
				for _, v := range []any{"on", "toggle", "open", 20.0, "#102030", "text \"quoted\"", "single"} {
					m, err := d.Command(p.Name, v)
					if err != nil {
						continue
					}
					n++
					if strings.HasSuffix(m.Topic, "/rpc") || strings.HasSuffix(m.Topic, "/set") {
						if !json.Valid([]byte(m.Payload)) {
							t.Errorf("%s %s %v: %s", d.ID, p.Name, v, m.Payload)
						}
					}
					if err := devices.CheckTopic(m.Topic); err != nil || m.Retain {
						t.Errorf("%s %s: %s retained %t: %v", d.ID, p.Name, m.Topic, m.Retain, err)
					}
				}
			}
		}
		if n < 20 {
			t.Errorf("%s: %d commands only", file, n)
		}
	}
}

func TestShellyAndHomieTakeLargePayloadsQuickly(t *testing.T) {
	var nodes, parts, components, keys strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&nodes, `,"n%d":{"properties":{"p":{"datatype":"float","format":"0:1"}}}`, i)
		fmt.Fprintf(&parts, `,"switch:%d":{"id":1,"output":true,"name":"x","apower":1,"temperature":{"tC":1}}`, i)
		fmt.Fprintf(&components, `,{"key":"number:%d","config":{"name":"x","min":0,"max":1},"status":{"value":1}}`, i)
		fmt.Fprintf(&keys, `,"k%d":"0123456789012345678901234567890123456789012345678901234567"`, i)
	}
	id := "shellyplus1-a8032abe54dc"
	for _, m := range []struct{ topic, payload string }{
		{"homie/5/big/$state", "ready"},
		{"homie/5/big/$description", `{"homie":"5.0","nodes":{"a":{}` + nodes.String() + `}}`},
		{"homie/5/big/$description", `{"homie":"5.0","nodes":{"a":{}` + strings.Repeat(" ", 1<<20) + `}}`},
		{id + "/hearth/config/rpc", `{"id":1,"result":{"sys":{}` + strings.Repeat(" ", 1<<20) + `}}`},
		{id + "/hearth/config/rpc", `{"id":1,"result":{"sys":{}` + parts.String() + `}}`},
		{id + "/hearth/status/rpc", `{"id":1,"result":{"sys":{}` + parts.String() + `}}`},
		{id + "/hearth/components/rpc", `{"id":1,"result":{"offset":0,"total":99999,"components":[{}` + components.String() + `]}}`},
		{id + "/events/rpc", `{"src":"` + id + `","method":"NotifyFullStatus","params":{"ts":1` + parts.String() + `}}`},
		{"shellies/announce", `{"id":"shelly1-AABBCC","mac":"AABBCCDDEEFF","model":"SHSW-1"` + keys.String() + `}`},
		{"shellies/shelly1-AABBCC/info", `{"mac":"AABBCCDDEEFF"` + keys.String() + `}`},
		{"shellies/announce", strings.Repeat("[", 1<<20)},
		{"homie/x/$nodes", strings.Repeat("a,", 8<<10)},
		{"homie/x/y/$properties", strings.Repeat("a,", 8<<10)},
		{"homie/x/$homie", "4.0"}, {"homie/x/$state", "ready"},
		{"homie/x/a/$properties", strings.Repeat("a,", 8<<10)},
		{"homie/x/a/a/$datatype", "float"},
		{"homie/x/a/a/$unit", "V"},
	} {
		c := New()
		if strings.HasPrefix(m.topic, "homie/5") {
			c.Take(devices.Message{Topic: "homie/5/big/$state", Payload: []byte("ready")})
		}
		start := time.Now()
		c.Take(devices.Message{Topic: m.topic, Payload: []byte(m.payload)[:min(len(m.payload), MaxPayload)]})
		took := time.Since(start)
		t.Logf("%s, %d kB: %v", m.topic, len(m.payload)>>10, took)
		if took > 3*time.Second { // it takes 30 ms; a busy machine under -race more, a bug for ever
			t.Errorf("%s took %v", m.topic, took)
		}
		for _, d := range c.Devices() {
			if len(d.Properties) > MaxProperties {
				t.Errorf("%s has %d properties", d.ID, len(d.Properties))
			}
		}
	}
}

// everything reads what a message says to all devices, and tells each property something.
func everything(t testing.TB, c *Catalog, payload []byte) {
	all := c.Devices()
	x := NewIndex(all)
	for topic := range x.topics {
		for _, v := range x.Read(devices.Message{Topic: topic, Payload: payload}) {
			if (v.Value == nil) == (v.Bad == "") {
				t.Errorf("%s: %+v", topic, v)
			}
		}
	}
	for _, d := range all {
		seen := make(map[string]bool)
		for _, p := range d.Properties {
			if seen[p.Name] || p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
				t.Errorf("%s: the property %q is there twice, or has no name", d.ID, p.Name)
			}
			seen[p.Name] = true
			for _, v := range []any{true, 50.0, "open", string(payload)} {
				if m, err := d.Command(p.Name, v); err == nil && (devices.CheckTopic(m.Topic) != nil || m.Retain) {
					t.Errorf("%s %s: %+v", d.ID, p.Name, m)
				}
			}
		}
		if len(d.Properties) > MaxProperties {
			t.Errorf("%s has %d properties", d.ID, len(d.Properties))
		}
	}
}

func fuzz(f *testing.F, files []string, topics ...string) {
	for _, file := range files {
		for _, line := range storyLines(f, file) {
			topic, payload, _ := strings.Cut(line, " ")
			f.Add(topic, []byte(payload), []byte(payload))
		}
	}
	f.Fuzz(func(t *testing.T, topic string, announcement, payload []byte) {
		c := New()
		for _, other := range topics {
			c.Take(devices.Message{Topic: other, Payload: payload})
		}
		c.Take(devices.Message{Topic: topic, Payload: announcement})
		c.Take(devices.Message{Topic: topic, Payload: announcement, Initial: true, Retain: true})
		for _, state := range []string{"ready", "true"} {
			c.Take(devices.Message{Topic: topic, Payload: []byte(state)})
			c.Take(devices.Message{Topic: "homie/5/x/$state", Payload: []byte(state)})
		}
		for _, other := range topics {
			c.Take(devices.Message{Topic: other, Payload: announcement})
		}
		everything(t, c, payload)
	})
}

func FuzzShelly(f *testing.F) {
	fuzz(f, []string{"shelly1.txt", "shelly2.txt"},
		"shellies/announce", "shellies/x/info", "shellies/x/status", "shellies/x/input_event/0",
		"x/events/rpc", "x/status/cover:0", "x/hearth/config/rpc", "x/hearth/status/rpc", "x/hearth/components/rpc", "x/hearth/info/rpc")
}

func FuzzHomie(f *testing.F) {
	fuzz(f, []string{"homie4.txt", "homie5.txt"},
		"homie/5/x/$description", "homie/5/x/$state", "homie/x/$homie", "homie/x/$nodes", "homie/x/$state", "homie/x/a/$properties", "homie/x/a/a/$datatype", "homie/x/a/a/$format")
}

func BenchmarkShellyTake(b *testing.B) {
	id := "shellyplus1pm-441793acb13c"
	known := []string{
		`shellies/shelly1-AABBCC/relay/0 on`,
		id + `/hearth/config/rpc {"id":1,"src":"` + id + `","result":{"switch:0":{"id":0,"name":"x"},"input:0":{"id":0,"type":"button"}}}`,
		id + `/hearth/status/rpc {"id":1,"src":"` + id + `","result":{"switch:0":{"id":0,"output":true,"apower":1,"voltage":230}}}`,
		id + `/status/switch:0 {"id":0,"output":true}`,
		`shellypro4pm-f008d1d8b8b8/events/rpc {"src":"shellypro4pm-f008d1d8b8b8","method":"NotifyStatus","params":{"ts":1,"switch:0":{"id":0,"output":true,"voltage":1}}}`,
	}
	for _, bench := range []struct{ name, line string }{
		{"first", `shellies/shelly1-AABBCC/relay/0 on`},
		{"first/unknown", `shellies/shelly1-AABBCC/temperature_f 12.3`},
		{"notification", id + `/events/rpc {"src":"` + id + `","dst":"` + id + `/events","method":"NotifyStatus","params":{"ts":1631186545.04,"switch:0":{"id":0,"output":true,"source":"button"}}}`},
		{"notification/unanswered", `shellypro4pm-f008d1d8b8b8/events/rpc {"src":"shellypro4pm-f008d1d8b8b8","dst":"user_1","method":"NotifyStatus","params":{"ts":1631186545.04,"switch:0":{"id":0,"output":true,"voltage":232.6}}}`},
		{"event", id + `/events/rpc {"src":"` + id + `","dst":"` + id + `/events","method":"NotifyEvent","params":{"ts":1691055957.32,"events":[{"component":"input:0","id":0,"event":"btn_down","ts":1691055957.32}]}}`},
		{"status", id + `/status/switch:0 {"id":0,"source":"init","output":true,"apower":0.0,"voltage":232.6}`},
		{"other", `garden/pump/status/level 12`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c := newShelly()
			said(b, c, known...)
			topic, payload, _ := strings.Cut(bench.line, " ")
			m := devices.Message{Topic: topic, Payload: []byte(payload)}
			b.ReportAllocs()
			for b.Loop() {
				if f, err := c.take(&Payload{Message: m}); err != nil || len(f.Devices) > 0 {
					b.Fatal(f, err)
				}
			}
		})
	}
}

func BenchmarkShellyRead(b *testing.B) {
	id := "shellyplus1pm-441793acb13c"
	c := New()
	status := `"switch:0":{"id":0,"source":"init","output":false,"apower":0.0,"voltage":232.6,"freq":50.0,"current":0.000,"pf":0.0,"aenergy":{"total":1234.5,"by_minute":[0.000,0.000,0.000],"minute_ts":1661517429},"temperature":{"tC":46.0,"tF":114.7}}`
	c.Take(devices.Message{Topic: id + "/hearth/status/rpc", Payload: []byte(`{"id":1,"src":"` + id + `","result":{` + status + `}}`)})
	x := NewIndex(c.Devices())
	for name, payload := range map[string]string{
		"change": `{"src":"` + id + `","dst":"` + id + `/events","method":"NotifyStatus","params":{"ts":1631186545.04,"switch:0":{"id":0,"output":true,"source":"button"}}}`,
		"whole":  `{"src":"` + id + `","dst":"` + id + `/events","method":"NotifyFullStatus","params":{"ts":1631186545.04,` + status + `}}`,
	} {
		b.Run(name, func(b *testing.B) {
			m := devices.Message{Topic: id + "/events/rpc", Payload: []byte(payload)}
			b.ReportAllocs()
			for b.Loop() {
				if len(x.Read(m)) == 0 {
					b.Fatal("nothing")
				}
			}
		})
	}
}

func BenchmarkHomieTake(b *testing.B) {
	c := newHomie()
	said(b, c,
		`homie/5/x/$state ready`, `homie/5/x/$description {"homie":"5.0","version":1,"nodes":{"n":{"properties":{"t":{"datatype":"float"}}}}}`, `homie/5/x/n/t/$target 7`,
		`homie/y/$homie 4.0.0`, `homie/y/$nodes n`, `homie/y/n/$properties t`, `homie/y/n/t/$datatype float`, `homie/y/$state ready`)
	for _, line := range []string{
		`homie/5/x/$state ready`, `homie/5/x/$description {"homie":"5.0","version":1,"nodes":{"n":{"properties":{"t":{"datatype":"float"}}}}}`,
		`homie/5/x/n/t/$target 8`, `homie/y/n/t/$datatype float`, `homie/y/$state ready`,
	} {
		topic, payload, _ := strings.Cut(line, " ")
		b.Run(strings.ReplaceAll(topic, "/", "_"), func(b *testing.B) {
			m := devices.Message{Topic: topic, Payload: []byte(payload)}
			b.ReportAllocs()
			for b.Loop() {
				if f, err := c.take(&Payload{Message: m}); err != nil || len(f.Devices) > 0 {
					b.Fatal(f, err)
				}
			}
		})
	}
}
