package hub

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio"
	"hearth/history"
	"hearth/replay"
	"hearth/rules"
)

const recordedHouse = `
[hub]
timezone = "UTC"
[history]
include = ["x/other:t"]
[output.lamp]
pin = "GPIO5"
[output.pump]
pin = "GPIO6"
max_on = "10s"
[input.pir]
pin = "GPIO17"
[link.motion]
from = "pir"
to = "b/motion"
[rule.stairs]
trigger = { state = "a/motion:on", is = true, for = "2s", until = { state = "a/motion:on", is = false, for = "3s" } }
action = [{ set = "lamp", on = true, off = false }, { delay = "20s" }, { publish = "b/late", payload = "{msg.why}" }]
[rule.bell]
trigger = { event = "a/bell" }
action = { pulse = "pump", for = "30s" }
mode = "queued"
[rule.follows]
trigger = { state = "pump", is = false }
action = { publish = "b/pump", payload = "{n}" }
[machine.gate]
initial = "shut"
moves = [{ from = "shut", on = { event = "a/gate" }, to = "open" }, { from = "open", after = "40s", to = "shut" }]
[rule.code]
trigger = { event = "a/code" }
condition = "string(value) == secret('pin')"
action = { publish = "b/code", payload = "{secret('pin')}" }
[secret]
pin = "geheim42"
`

// entriesOf is all that a house has recorded.
func entriesOf(t *testing.T, cfg *Config) (all []history.Entry) {
	t.Helper()
	past, err := history.Open(cfg.DataDir(), cfg.History, history.Options{Zone: cfg.zone()})
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close()
	for e, err := range past.Entries(time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// A house lives: with commands by hand, limits, a restart and a reload. From what was
// recorded a fresh engine decides the same; each echo leads to the decision that it is of;
// and no secret is there.
func TestAHouseIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, sim := t.TempDir(), gpio.NewSim()
		cfg := load(t, dir, recordedHouse)
		h, stop := start(t, cfg, Options{Bank: sim})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		say := func(topic, payload string) {
			publish(t, client, 1, topic, payload)
			time.Sleep(1337*time.Microsecond + 431)
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		say("a/motion", `{"on":true,"why":"cat"}`)
		say("x/other", `{"t":21.5}`)
		say("a/bell", "1")
		say("a/bell", "2")
		say("a/gate", "go")
		say("hearth/machine/gate/set", "shut")
		say("hearth/lamp/set", "ON")
		say("hearth/lamp/set", "TOGGLE")
		say("a/code", "geheim42")
		time.Sleep(15 * time.Second)
		if err := h.Reload(load(t, dir, strings.Replace(recordedHouse, "20s", "21s", 1))); err != nil {
			t.Fatal(err)
		}
		say("hearth/rule/bell/set", "OFF")
		say("hearth/rule/bell/set", "ON")
		say("a/motion", `{"on":false}`)
		time.Sleep(time.Hour + 10*time.Second)
		say("a/motion", `{"on":true}`)
		time.Sleep(3 * time.Second)
		end()
		stop()

		h, stop = start(t, load(t, dir, recordedHouse), Options{Bank: sim})
		client, end = connect(t, h, "sensor", func(*paho.Publish) {})
		time.Sleep(5 * time.Second)
		say("a/motion", `{"on":false}`)
		time.Sleep(10 * time.Second)
		end()
		stop()

		all := entriesOf(t, cfg)
		compareReplay(t, all, 0)
		checkpoints := 0
		for i, e := range all {
			if e.Event != nil && e.Event.Kind == rules.Current {
				checkpoints++
				compareReplay(t, all, i)
			}
		}
		if checkpoints != 2 {
			t.Errorf("there are %d checkpoints, want one after the reload and one after an hour", checkpoints)
		}

		var notes []string
		decisions := make(map[uint64]*rules.Decision)
		var seen []string
		for _, e := range all {
			switch {
			case e.Note != nil:
				notes = append(notes, e.Note.Kind+" "+e.Note.Name)
			case e.Decision != nil:
				if decisions[e.Decision.ID] != nil {
					t.Errorf("two decisions are %d: %v and %v", e.Decision.ID, decisions[e.Decision.ID], e.Decision)
				}
				decisions[e.Decision.ID] = e.Decision
			case e.Seen != nil && e.Seen.Topic != "": // and not what pins are after a stop
				seen = append(seen, e.Seen.Source+" "+e.Seen.Text)
			}
		}
		if want := []string{"start ", "client sensor", "reload ", "client sensor", "stop ", "start ", "client sensor", "client sensor", "stop "}; !slices.Equal(notes, want) {
			t.Errorf("the notes are %q, want %q", notes, want)
		}
		if !slices.Equal(seen, []string{"x/other:t 21.5"}) {
			t.Errorf("what is included is recorded as %q", seen)
		}
		// The relay went off by its limit; the rule that looks at it follows from that.
		limited := false
		for _, e := range all {
			if e.Event != nil {
				for _, r := range e.Event.Readings {
					if r.Source == "lamp" && !r.Initial && decisions[r.Origin.Decision] == nil {
						t.Errorf("the lamp is %s, and no decision led there: %+v", r.Text, r.Origin)
					}
				}
			}
			if d := e.Decision; d != nil && d.Rule == "rule.follows" && d.Cause != nil {
				if by := decisions[d.Cause.Origin.Decision]; by != nil && by.Rule == "output.pump" {
					limited = true
				}
			}
			if d := e.Decision; d != nil && d.Follows != 0 && decisions[d.Follows] == nil {
				t.Errorf("%v follows %d, which is nowhere", d, d.Follows)
			}
			b, err := json.Marshal(e)
			if err != nil || strings.Contains(string(b), "geheim42") {
				t.Errorf("a secret is recorded, or %v: %s", err, b)
			}
		}
		if !limited {
			t.Error("no decision of rule.follows leads to the limit of the pump")
		}
	})
}

// compareReplay lets happen again what was recorded from an entry on.
func compareReplay(t *testing.T, all []history.Entry, from int) {
	t.Helper()
	var engine *rules.Engine
	var registry *devices.Registry
	texts := map[string]string{}
	for _, text := range []string{recordedHouse, strings.Replace(recordedHouse, "20s", "21s", 1)} {
		cfg, _ := Parse("config.toml", []byte(text))
		texts[cfg.Sum()] = text
	}
	var is, was []rules.Decision
	n := 0
	compare := func() {
		for i := range max(len(is), len(was)) {
			n++
			if i >= len(is) || i >= len(was) {
				t.Fatalf("it decides %v, and did decide %v", is, was)
			}
			if got, want := asJSON(t, is[i].Masked()), asJSON(t, was[i]); got != want {
				if is[i].Rule == "rule.code" { // what it compares with is not there
					continue
				}
				t.Fatalf("it decides\n%s\nand did decide\n%s", got, want)
			}
		}
		is, was = nil, nil
	}
	for i, e := range all[from:] {
		if e.Decision != nil && e.Decision.ID < ownDecision {
			was = append(was, *e.Decision)
		}
		if e.Event == nil {
			continue
		}
		compare()
		ev := *e.Event
		switch {
		case ev.Kind == rules.Open, ev.Kind == rules.Current && i == 0, ev.Kind == rules.Reload:
			if ev.Kind != rules.Reload {
				registry = new(devices.Registry)
			}
			cfg, doc := Parse("config.toml", []byte(texts[ev.State.Config]))
			if err := doc.Err(); err != nil || texts[ev.State.Config] == "" {
				t.Fatalf("the configuration %q: %v", ev.State.Config, err)
			}
			house := cfg.house()
			house.Seed = ev.State.Seed
			engine = rules.New(cfg.Logic, house, registry, config.Place{})
		}
		is = engine.Take(ev)
	}
	compare()
	t.Logf("%d entries, %d decisions", len(all), n)
	if n == 0 {
		t.Error("nothing was decided")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What devices say of themselves is recorded, with units, whether or not a rule looks at it;
// but not how good a link is, unless the owner wants that. And that they were gone.
func TestDevicesAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := load(t, t.TempDir(), `
[history]
include = ["gw.link"]
[device]
gw = { id = "homeassistant/gw" }
[rule.hot]
trigger = { state = "gw.attic", above = 10 }
action = { publish = "b/hot", payload = "x" }
`)
		h, stop := start(t, cfg, Options{})
		w := newWorld(t, h, "b/#")
		for _, id := range []string{"gw", "hall"} {
			w.say("homeassistant/device/"+id+"/config", strings.ReplaceAll(`{"device":{"identifiers":["gw"],"name":"gw"},"origin":{"name":"x"},"availability_topic":"gw/there","components":{
"a":{"platform":"sensor","unique_id":"gwa","name":"Attic","state_topic":"gw/a","unit_of_measurement":"°C"},
"b":{"platform":"sensor","unique_id":"gwb","name":"Boiler","state_topic":"gw/b","unit_of_measurement":"°C"},
"l":{"platform":"sensor","unique_id":"gwl","name":"Link","state_topic":"gw/l","unit_of_measurement":"%","entity_category":"diagnostic"}}}`, "gw", id))
		}
		for _, id := range []string{"gw", "hall"} {
			w.say(id+"/there", "online")
			w.say(id+"/there", "online")
			w.say(id+"/a", "12")
			w.say(id+"/b", "51.5")
			w.say(id+"/l", "99")
			w.say(id+"/there", "offline")
		}
		w.leave()
		stop()

		past, err := history.Open(cfg.DataDir(), cfg.History, history.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer past.Close()
		units := map[string]string{}
		for _, s := range past.Series() {
			units[s.Name] = s.Unit
		}
		for name, unit := range map[string]string{"gw.attic": "°C", "gw.boiler": "°C", "gw.link": "%", "hall.attic": "°C", "hall.boiler": "°C"} {
			if units[name] != unit {
				t.Errorf("%s is in %q, want %q", name, units[name], unit)
			}
		}
		if _, ok := units["hall.link"]; ok {
			t.Error("how good a link is was recorded")
		}
		var notes []string
		for n, err := range past.Notes(time.Time{}, time.Now().Add(time.Hour)) {
			if err != nil {
				t.Fatal(err)
			}
			if n.Kind == "device" {
				notes = append(notes, n.Name+" "+n.Text)
			}
		}
		if want := []string{"gw available", "gw unavailable", "hall available", "hall unavailable"}; !slices.Equal(notes, want) {
			t.Errorf("the notes are %q, want %q", notes, want)
		}
	})
}

// What was recorded since a reload, and also between two, happens again as it was: also what
// the house had heard before.
func TestARecordingThatBeginsAtAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const other = `
[rule.lamp]
trigger = { event = "a/button" }
condition = { state = { "a/dark" = "yes" } }
action = { publish = "b/lamp", payload = "ON" }
`
		const house = other + "[rule.late]\ntrigger = { event = \"a/button\" }\naction = [{ delay = \"9h\" }, { publish = \"b/late\", payload = \"ON\" }]\n"
		dir := t.TempDir()
		cfg := load(t, dir, house)
		h, stop := start(t, cfg, Options{})
		client, end := connect(t, h, "sensor", func(*paho.Publish) {})
		reload := func(text string) time.Time {
			time.Sleep(10 * time.Minute)
			if err := h.Reload(load(t, dir, text)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			publish(t, client, 1, "a/button", "1")
			synctest.Wait()
			return h.now().Wall
		}
		publish(t, client, 1, "a/dark", "yes")
		began := reload(other)
		reload(house)
		end()
		stop()
		for _, c := range []struct {
			of    string
			since time.Time
			n     int
		}{{other, began, 1}, {house, began, 2}, {house, time.Time{}, 2}} {
			past, done, err := cfg.Recorded(c.since)
			if err != nil {
				t.Fatal(err)
			}
			same, err := replay.Again(past, load(t, dir, c.of).Replay(), time.Time{})
			if err != nil || same.Differ > 0 || same.Decisions < c.n {
				t.Errorf("since %v: %v %+v", c.since, err, same)
			}
			done()
		}
	})
}
