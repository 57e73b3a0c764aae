package hub

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/gpio"
	"hearth/why"
)

const shutterHouse = `
[hub]
timezone = "Europe/Berlin"
[output.up]
pin = "GPIO5"
[output.down]
pin = "GPIO6"
[interlock.shutter]
outputs = ["up", "down"]
gap = "500ms"
[variable.closing]
initial = false
[rule.ask]
trigger = { state = "room/button", is = "down", for = "1m" }
condition = { state = { "room/window" = "closed" } }
action = [{ delay = "5m" }, { set = "closing", to = true }]
[rule.close]
trigger = { state = "closing", is = true }
action = { set = "down", to = true }
[rule.storm]
trigger = { state = "garden/wind", above = 20 }
condition = { state = { "room/window" = "open" } }
action = { set = "down", to = false }
[link.up]
from = "room/up"
to = "up"
`

// asked is a client that asks why.
type asked struct {
	t      *testing.T
	client *paho.Client
	got    []*paho.Publish
}

func asks(t *testing.T, h *Hub, topics ...string) (*asked, func()) {
	a := &asked{t: t}
	client, end := connect(t, h, "phone", func(p *paho.Publish) { a.got = append(a.got, p) })
	for _, topic := range topics {
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic}}}); err != nil {
			t.Fatal(err)
		}
	}
	a.client = client
	return a, end
}

// ask publishes a question, and gives what came on a topic.
func (a *asked) ask(payload string, how *paho.PublishProperties, on string) (answer why.Answer, p *paho.Publish) {
	a.t.Helper()
	a.got = nil
	if _, err := a.client.Publish(a.t.Context(), &paho.Publish{Topic: "hearth/why", QoS: 1, Payload: []byte(payload), Properties: how}); err != nil {
		a.t.Fatal(err)
	}
	synctest.Wait()
	i := slices.IndexFunc(a.got, func(p *paho.Publish) bool { return p.Topic == on })
	if i < 0 {
		return answer, nil
	}
	if err := json.Unmarshal(a.got[i].Payload, &answer); err != nil {
		a.t.Fatal(err)
	}
	return answer, a.got[i]
}

// A shutter closes, minutes after a button was held: two rules, a wait, a delay, a restart of
// the hub and an interlock lie between. Somebody asks why, and hears of each.
func TestWhyTheShutterCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, sim, clock := t.TempDir(), gpio.NewSim(), testClock()
		cfg := load(t, dir, shutterHouse)
		h, stop := start(t, cfg, Options{Bank: sim, Clock: clock})
		client, end := connect(t, h, "wall", func(*paho.Publish) {})
		time.Sleep(2 * time.Second)
		publish(t, client, 1, "garden/wind", "25") // nothing is known of the window yet
		publish(t, client, 1, "room/window", "closed")
		publish(t, client, 1, "room/button", "down")
		time.Sleep(2 * time.Minute)
		end()
		stop()
		time.Sleep(time.Minute)
		h, stop = start(t, cfg, Options{Bank: sim, Clock: clock})
		client, end = connect(t, h, "wall", func(*paho.Publish) {})
		time.Sleep(2 * time.Minute)
		publish(t, client, 1, "room/up", "ON") // so that it has to wait
		time.Sleep(time.Minute + 30*time.Second)
		if on, _ := h.registryLevel(t, "down"); !on {
			t.Fatal("it does not close")
		}

		phone, hangUp := asks(t, h, "hearth/why/#", "phone/#")
		a, answer := phone.ask("down", &paho.PublishProperties{ResponseTopic: "phone/answer", CorrelationData: []byte("17")}, "phone/answer")
		if answer == nil || string(answer.Properties.CorrelationData) != "17" {
			t.Fatalf("no answer where it was wanted: %+v", answer)
		}
		if got := a.Because.Rules(); strings.Join(got, " ") != "rule.close rule.ask rule.ask rule.ask" {
			t.Errorf("the rules of the chain are %v", got)
		}
		if end := a.Because.End(); end.What != why.Message || end.Name != "room/button" || end.Value != "down" {
			t.Errorf("it begins at %+v", end)
		}
		if held := a.Because.Held; len(held) != 1 || !strings.Contains(held[0], "shutter") {
			t.Errorf("held back by %q, want the interlock", held)
		}
		restarts := 0
		for _, l := range a.Because.Links() {
			restarts += len(l.Restarts)
		}
		if restarts != 1 {
			t.Errorf("%d restarts, want 1", restarts)
		}
		golden(t, "testdata/why-shutter.txt", strings.Join(a.Text, "\n")+"\n")

		// As it was before, and of what never changed.
		if a, _ := phone.ask(`{"name": "down", "at": "3m"}`, nil, "hearth/why/down"); a.Is != "OFF" || !a.Present || len(a.Could) == 0 || !strings.Contains(strings.Join(a.Could[0].Now, "\n"), "closing is true: it is OFF") {
			t.Errorf("3 minutes ago it was %q, and what could have acted on it: %+v", a.Is, a.Could)
		}
		if a, _ := phone.ask(`{"name": "rule.storm", "reply": "phone/other"}`, nil, "phone/other"); len(a.Could) == 0 || a.Could[0].Stopped == nil || !strings.Contains(strings.Join(a.Text, "\n"), "room/window") {
			t.Errorf("why the storm did nothing: %q", a.Text)
		}
		// What is no question has an answer, too.
		for question, want := range map[string]string{
			"donw":                            `nothing here is called \"donw\", did you mean \"down\"?`,
			`{"name": "down", "at": "later"}`: `is no time: want `,
			`{"name": "down", "at": 5}`:       `want a name, or {\"name\": \"heater\", \"at\": \"07:30\"}`,
			`{"name": "down", "when": "3m"}`:  `\"when\" is nothing that a question has: want name, at or reply`,
			"":                                `want the name of what to explain`,
		} {
			if _, p := phone.ask(question, nil, "hearth/why/"+plainLevel(strings.Split(strings.TrimPrefix(question, `{"name": "`), `"`)[0])); p == nil || !strings.Contains(string(p.Payload), want) {
				t.Errorf("%q is answered %s, want %q", question, p, want)
			}
		}
		// No answer commands anything, or says what the hub says.
		for _, reply := range []string{"hearth/up/set", "hearth/up/state", "hearth/status", "a/+", "hearth/why/a/b"} {
			if _, p := phone.ask(`{"name": "down", "reply": "`+reply+`"}`, nil, reply); p != nil {
				t.Errorf("an answer went to %s", reply)
			}
		}
		hangUp()
		end()
		stop()
	})
}

const heatHouse = `
[hub]
timezone = "Europe/Berlin"
[output.heater]
pin = "GPIO22"
min_off = "20s"
[output.boiler]
pin = "GPIO23"
[interlock.heat]
outputs = ["heater", "boiler"]
gap = "1s"
[output.up]
pin = "GPIO5"
[output.down]
pin = "GPIO6"
[cover.blind]
up = "up"
down = "down"
open_time = "20s"
close_time = "20s"
[rule.study]
trigger = { state = "study/temperature", below = 19, until = 20 }
action = { set = "heater", on = true, off = false }
[rule.bath]
trigger = { event = "bath/button", is = "press" }
action = { set = "boiler", to = true }
[rule.frost]
trigger = { state = "garden/sensor:temperature", below = 0 }
action = { notify = "It freezes" }
[notify.phone]
topic = "notify/phone"
[rule.night]
trigger = { event = "room/night" }
action = { set = "blind", to = "close" }
`

// A heater was told to be on and is not: it had to rest, and then the boiler was wanted, with
// which it is never on. Who asks why hears of both, at that moment too as it was told to him.
func TestWhyTheHeaterStaysCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), heatHouse), Options{Bank: gpio.NewSim(), Clock: testClock()})
		client, end := connect(t, h, "wall", func(*paho.Publish) {})
		phone, hangUp := asks(t, h, "hearth/why/#")
		said := func(question, name string) (why.Answer, string) {
			a, _ := phone.ask(question, nil, "hearth/why/"+name)
			return a, strings.Join(a.Text, "\n")
		}
		says := func(question, name string, want ...string) {
			t.Helper()
			_, text := said(question, name)
			for _, w := range want {
				if !strings.Contains(text, w) {
					t.Errorf("%s does not say %q:\n%s", question, w, text)
				}
			}
		}
		time.Sleep(2300 * time.Millisecond)
		publish(t, client, 1, "study/temperature", "18")
		time.Sleep(1500 * time.Millisecond)
		says("heater", "heater", "rule.study told it ON, which has not come to be: it was held back, ON in ")
		publish(t, client, 1, "bath/button", "press")
		time.Sleep(20 * time.Second)
		says("heater", "heater", `for min_off = "20s"; then it gave way to boiler (interlock.heat), which rule.bath told ON (`)
		boiler, _ := said("boiler", "boiler")
		if boiler.Is != "ON" || boiler.Since.Nanosecond() == 0 {
			t.Fatalf("the boiler became %s at %v: this wants a moment between two seconds", boiler.Is, boiler.Since)
		}
		if then, text := said(`{"name": "boiler", "at": "`+boiler.Since.Format(time.TimeOnly)+`"}`, "boiler"); then.Is != "ON" {
			t.Errorf("the boiler became ON at %v, and then it was %q:\n%s", boiler.Since, then.Is, text)
		}
		publish(t, client, 1, "study/temperature", "21")
		publish(t, client, 1, "study/temperature", "18")
		time.Sleep(2 * time.Second)
		says("boiler", "boiler", "boiler became OFF", "output.boiler: interlock.heat with heater\n", "rule.study fired: study/temperature below 19 -> heater ON")

		// What it was told last is told long after its last change, too.
		time.Sleep(10 * time.Minute)
		publish(t, client, 1, "hearth/blind/set", "50")
		time.Sleep(time.Second)
		says("blind", "blind", "blind became not known at ", "hearth/blind/set told it 50, which has not come to be")

		// Of a topic rules may look at a place in its JSON alone.
		publish(t, client, 1, "garden/sensor", `{"temperature": 4.5}`)
		time.Sleep(time.Second)
		says("garden/sensor", "garden_sensor", "garden/sensor became 4.5 at ", "garden/sensor:temperature said 4.5, which no rule of this house sent")

		// What moves a motor is told to its cover.
		says("down", "down", "It is driven by cover.blind: hearth why blind says what could move that.")
		if _, text := said("down", "down"); strings.Contains(text, "No rule") {
			t.Errorf("rule.night moves it:\n%s", text)
		}
		hangUp()
		end()
		stop()
	})
}

// registryLevel asks the loop for the level of an output.
func (h *Hub) registryLevel(t *testing.T, output string) (on, known bool) {
	t.Helper()
	if err := h.do(t.Context(), func() { on, known = h.registry.Level(output) }); err != nil {
		t.Fatal(err)
	}
	return on, known
}

// Who may not receive a topic is not told of it on the way round by why.
func TestWhyTellsNobodyMoreThanHeMayHear(t *testing.T) {
	a := why.Answer{Name: "lamp", Because: &why.Link{What: why.Changed, Name: "lamp", Because: []*why.Link{{What: why.Message, Name: "door/code:digits", Value: "4711"}}}}
	mentions := []mention{{"presence/house", []string{"presence/house"}}, {"lamp", []string{"hearth/lamp/state"}}}
	for topics, want := range map[string]string{
		"":                       "",
		"hearth/lamp/state":      "door/code",
		"door/code":              "hearth/lamp/state",
		"presence/house":         "",
		"nothing that it is of.": "",
	} {
		err := mayHear(a, mentions, func(topic string) bool { return topic != want })
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: who may not hear %q gets %v", topics, want, err)
		}
	}
	a.Text = []string{"condition presence/house is home held"}
	if err := mayHear(a, mentions, func(topic string) bool { return topic != "presence/house" }); err == nil {
		t.Error("a condition tells of presence/house")
	}
}

// What rules of an earlier configuration saw is told nobody either who may not receive it.
func TestWhyKeepsWhatRulesOfOnceSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lamp = "[output.lamp]\npin = \"GPIO5\"\n[rule.lamp]\ntrigger = { state = \"hall/motion\", is = \"on\" }\naction = { set = \"lamp\", to = true }\n"
		dir := t.TempDir()
		h, stop := start(t, load(t, dir, lamp+"condition = { state = { \"private/alarm\" = \"off\" } }\n"), Options{Bank: gpio.NewSim(), Clock: testClock()})
		defer stop()
		client, end := connect(t, h, "wall", func(*paho.Publish) {})
		defer end()
		time.Sleep(2 * time.Second)
		publish(t, client, 1, "private/alarm", "off")
		publish(t, client, 1, "hall/motion", "on")
		time.Sleep(time.Second)
		if err := h.Reload(load(t, dir, lamp)); err != nil {
			t.Fatal(err)
		}
		a, mentions, err := h.why(t.Context(), "lamp", "")
		if err != nil || !strings.Contains(strings.Join(a.Text, "\n"), "private/alarm") {
			t.Fatalf("%v %q", err, a.Text)
		}
		for topic, may := range map[string]bool{"private/alarm": false, "hall/motion": false, "private": true, "other": true} {
			err := mayHear(a, mentions, func(t string) bool { return t != topic })
			if (err == nil) != may {
				t.Errorf("who may not receive %s: %v", topic, err)
			}
		}
	})
}

// A topic is told of where its name stands, not where a longer one begins with it.
func TestAMentionIsAWholeName(t *testing.T) {
	for text, want := range map[string]bool{
		`"a/b"`: true, `"a/b:c"`: true, `"a/b is on"`: true, `"a/bc, a/b"`: true, `"a/bc"`: false, `"a/b/c"`: false, `"a/b-c a/b_c"`: false, `""`: false,
	} {
		if got := (mention{text: "a/b"}).in([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// Who asks again and again, or at great length, does not fill the log.
func TestWhoAsksAllTheTimeDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h, stop := start(t, load(t, t.TempDir(), shutterHouse), Options{Bank: gpio.NewSim(), Clock: testClock(), Log: slog.New(slog.NewTextHandler(&log, nil))})
		client, end := connect(t, h, "wall", func(*paho.Publish) {})
		time.Sleep(2 * time.Second)
		for range 500 {
			publish(t, client, 0, "hearth/why", `{"name": "down", "reply": "hearth/down/set"}`)
			publish(t, client, 0, "hearth/why", strings.Repeat("x", 60_000))
			publish(t, client, 0, "hearth/why", "{")
		}
		time.Sleep(time.Second)
		end()
		stop()
		if lines := strings.Count(log.String(), "\n"); lines > 100 || log.Len() > 100_000 {
			t.Errorf("the log has %d lines in %d bytes", lines, log.Len())
		}
	})
}

// Where an answer takes long the next question waits, for the house has the loop and the processor
// in between.
func TestWhoAsksAllTheTimeLeavesTheHouseItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, mono := testClock(), testClock().Mono
		var spent atomic.Int64 // on a slow machine each look at the clock takes long
		clock.Mono = func() time.Duration { return mono() + time.Duration(spent.Add(int64(10*time.Millisecond))) }
		h, stop := start(t, load(t, t.TempDir(), shutterHouse), Options{Bank: gpio.NewSim(), Clock: clock})
		defer stop()
		var got atomic.Int64
		client, end := connect(t, h, "wall", func(*paho.Publish) { got.Add(1) })
		defer end()
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "hearth/why/down"}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		answers := func() int64 {
			synctest.Wait()
			return got.Load()
		}
		for range 3 {
			publish(t, client, 1, "hearth/why", "down")
		}
		if n := answers(); n != 1 {
			t.Errorf("%d answers at once", n)
		}
		time.Sleep(10 * time.Second)
		if n := answers(); n != 3 {
			t.Errorf("%d answers after a while", n)
		}
	})
}

// golden compares with a file, or with -update writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(path); err != nil || string(want) != got {
		t.Errorf("not as in %s (-update rewrites it): %v\n%s", path, err, got)
	}
}
