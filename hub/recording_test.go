package hub

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/devices"
	"hearth/gpio"
	"hearth/history"
	"hearth/replay"
	"hearth/rules"
)

// A recording for others has nothing in it that nobody else is to know, and replays with the
// rules that are in it.
func TestARecordingKeepsSecrets(t *testing.T) {
	text := `
[hub]
name = "Villa Rosa"
timezone = "Europe/Berlin"
[secret]
alarm = "4711"
token = "hunter2"
[device.plug]
id = "shelly/shellyplus1-a8032abe54dc"
room = "Villa Rosa's bathroom"
[notify.phone]
url = "https://user:hunter3@push.example/hunter4?key=hunter5"
[rule.bell]
trigger = { state = "study/temperature", above = 19, until = { below = 18 } }
action = [
  { http = "https://push.example/hunter4/{value}", method = "POST", body = "warm", headers = { X-Key = "hunter7" }, retry = ["5s"] },
  { notify = "it is {value}" },
]
[rule.key]
trigger = { every = "5s" }
action = { publish = "log/key", value = 'secret("token") + "x"' }
[rule.code]
trigger = { event = "door/code" }
condition = 'value == secret("alarm")'
action = { publish = "door/open", payload = "1" }
`
	cfg, doc := Parse("config.toml", []byte(text))
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	about, hashes, err := cfg.About(doc)
	if err != nil {
		t.Fatal(err)
	}
	house := cfg.Replay()
	now := devices.Now{Mono: time.Minute, Wall: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), Known: true}
	registry := new(devices.Registry)
	engine := rules.New(house.Logic, house.Rules, registry, doc.Root())
	var entries []replay.Entry
	happen := func(ev rules.Event) {
		now = now.Add(time.Second)
		if ev.At = now; ev.Kind == rules.Current {
			ev.State = engine.Checkpoint(now, "boot")
			ev.State.Config = cfg.Sum()
		}
		for i := range ev.Readings {
			ev.Readings[i].At = now
		}
		masked := engine.Masked(ev)
		entries = append(entries, history.Entry{Event: &masked})
		for _, d := range engine.Take(ev) {
			d = d.Masked()
			entries = append(entries, history.Entry{Decision: &d})
		}
	}
	read := func(topic, text string) {
		index := devices.NewIndex(engine.Sources())
		happen(rules.Event{Kind: rules.Report, Readings: index.Normalize(devices.Message{Topic: topic, Payload: []byte(text)}, now)})
	}
	happen(rules.Event{Kind: rules.Open, State: &rules.Checkpoint{Boot: "boot", Config: cfg.Sum()}})
	happen(rules.Event{Kind: rules.Begin})
	read("study/temperature", "19.5")
	for _, e := range slices.Clone(entries) {
		if d := e.Decision; d != nil {
			for _, c := range d.Commands {
				if c.HTTP != nil {
					happen(rules.Event{Kind: rules.Answer, Name: c.HTTP.ID, Status: 503})
				}
			}
		}
	}
	read("door/code", "4711")
	read("door/code", "1234")
	happen(rules.Event{Kind: rules.Current})
	now = now.Add(10 * time.Second)
	happen(rules.Event{Kind: rules.Pass})
	entries = append(entries, history.Entry{Note: &history.Note{At: now, Kind: "client", Name: "annas-phone", Text: "connected from 192.168.7.9:1883 as anna"}})
	all := func(entries []replay.Entry) replay.Entries {
		return func(yield func(replay.Entry, error) bool) {
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
	for _, from := range []int{0, slices.IndexFunc(entries, func(e replay.Entry) bool { return e.Event != nil && e.Event.Kind == rules.Current })} {
		var file bytes.Buffer
		if _, err := replay.Write(&file, about, replay.Masked(all(entries[from:]), hashes)); err != nil {
			t.Fatal(err)
		}
		r, err := replay.Open(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		house, err := Other(r.About)
		if err != nil {
			t.Fatalf("%v\n%s", err, r.Text)
		}
		again, err := replay.Again(r.Entries(), house, time.Time{})
		if err != nil || again.Differ > 0 {
			t.Errorf("from %d: %v %+v\n%v\n%v", from, err, again, again.First[0].Was, again.First[0].Is)
		}
		if from == 0 && again.Veiled != 2 {
			t.Errorf("want two messages that are not whole, got %d", again.Veiled)
		}
		for _, word := range []string{"hunter", "4711", "1234", "Rosa", "anna", "192.168"} {
			if strings.Contains(unpacked(t, file.Bytes()), word) {
				t.Errorf("%q is in it:\n%s", word, unpacked(t, file.Bytes()))
			}
		}
	}
}

// What somebody switches on the page is no decision of a rule, and the rules hear of it: let
// happen again it is the same, also where it took the place of a pulse.
func TestWhatThePageSwitchedHappensAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := `
[output.lamp]
pin = "GPIO17"
[output.up]
pin = "GPIO5"
[output.down]
pin = "GPIO6"
[cover.blind]
up = "up"
down = "down"
open_time = "20s"
close_time = "20s"
[rule.stairs]
trigger = { event = "stairs/button" }
action = { pulse = "lamp", for = "1m" }
`
		cfg := load(t, t.TempDir(), text)
		began := time.Now()
		h, stop := start(t, cfg, Options{Bank: gpio.NewSim(), Clock: testClock()})
		client, end := connect(t, h, "wall", func(*paho.Publish) {})
		time.Sleep(time.Second)
		publish(t, client, 1, "stairs/button", "press")
		time.Sleep(10 * time.Second)
		for _, output := range []string{"lamp", "blind"} {
			if err := (page{h}).Switch(t.Context(), output, true); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		if on, _ := h.registryLevel(t, "lamp"); !on {
			t.Fatal("the pulse has ended what somebody switched on")
		}
		publish(t, client, 1, "stairs/button", "press")
		time.Sleep(2 * time.Minute)
		end()
		stop()
		entries, done, err := cfg.Recorded(began.Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		again, err := replay.Again(entries, cfg.Replay(), time.Time{})
		if err != nil || again.Differ > 0 || again.Decisions < 3 {
			t.Errorf("%v: %+v", err, again)
		}
		for _, u := range again.First {
			t.Errorf("was %v, is %v", u.Was, u.Is)
		}

		// With other rules it happens, too; and of a wait that is longer is said how long.
		other := load(t, t.TempDir(), strings.Replace(text, `"1m"`, `"90s"`, 1))
		entries, done, err = cfg.Recorded(began.Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		tried, err := replay.Try(entries, other.Replay(), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if len(tried.Differences) != 2 || tried.Differences[0].Instead != "waits 30s" {
			t.Errorf("%+v", tried.Differences)
		}
	})
}

func unpacked(t *testing.T, file []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What was sent and told last stands in a checkpoint, so that it is not sent again: but no secret.
func TestACheckpointKeepsSecrets(t *testing.T) {
	cfg, doc := Parse("config.toml", []byte(`
[secret]
token = "hunter2"
[device.plug]
id = "shelly/shellyplus1-a8032abe54dc"
[rule.key]
trigger = { every = "5s" }
action = [
  { publish = "log/key", value = 'secret("token") + "x"', changed = true },
  { publish = "log/plain", value = '"plain"', changed = true },
  { set = "plug.key", value = 'secret("token")' },
]
[rule.door]
trigger = { state = "a/door", is = "open", until = { is = "shut" } }
action = { publish = "door/code", on = "ON", off = "{secret('token')}" }
`))
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	house := cfg.Replay()
	now := devices.Now{Mono: time.Minute, Wall: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), Known: true}
	engine := rules.New(house.Logic, house.Rules, new(devices.Registry), doc.Root())
	engine.Take(rules.Event{At: now, Kind: rules.Open})
	engine.Take(rules.Event{At: now, Kind: rules.Begin})
	engine.Take(rules.Event{At: now, Kind: rules.Report, Readings: []devices.Reading{{Source: "a/door", Topic: "a/door", Value: "open", Text: "open", At: now}}})
	now = now.Add(6 * time.Second)
	if ds := engine.Take(rules.Event{At: now, Kind: rules.Pass}); len(ds) != 1 || len(ds[0].Commands) != 3 {
		t.Fatal(ds)
	}
	whole := rules.Event{At: now, Kind: rules.Current, State: engine.Checkpoint(now, "boot")}
	masked := engine.Masked(whole)
	if text, err := json.Marshal(masked); err != nil || strings.Contains(string(text), "hunter") || !strings.Contains(string(text), "door/code") {
		t.Errorf("%v: %s", err, text)
	}
	exact := masked.State.Exact
	if sent, told := exact.Sent["log/key"].Value, exact.Told["plug.key"].Value; sent != "***" || told != "***" {
		t.Errorf("the checkpoint tells that %v was sent, and %v told", sent, told)
	}
	if plain := exact.Sent["log/plain"].Value; plain != "plain" {
		t.Errorf("of what is no secret it has %v", plain)
	}
	if whole.State.Exact.Sent["log/key"].Value != "hunter2x" {
		t.Error("the engine's own checkpoint has changed")
	}
}
