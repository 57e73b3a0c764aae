package hub

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/broker"
	"hearth/gpio"
)

// everything subscribes to all that a hub says, but for its own topics and what is
// retained already.
func everything(t *testing.T, h *Hub, got func(topic, payload string)) (*paho.Client, func()) {
	t.Helper()
	client, end := connect(t, h, "everything", func(p *paho.Publish) {
		if !strings.HasPrefix(p.Topic, "hearth/") && !strings.HasPrefix(p.Topic, "homeassistant/device/hearth_") {
			got(p.Topic, string(p.Payload))
		}
	})
	if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{
		{Topic: "#", QoS: 1, NoLocal: true, RetainHandling: 2}}}); err != nil {
		t.Fatal(err)
	}
	return client, end
}

// A house of a hundred rules, in fifty of which a timer of some kind runs, each with
// another time left. One of them is changed, and one that is idle: the other
// timers end in the very moment in which they would have.
func TestAReloadMovesNoOtherTimer(t *testing.T) {
	const changed = 17
	kinds := []string{
		"trigger = { state = \"in/%[1]d\", is = true, for = \"%[2]ds\" }\naction = { publish = \"out/%[1]d\", payload = \"%[3]s\" }",
		"trigger = { event = \"in/%[1]d\" }\naction = [{ delay = \"%[2]ds\" }, { publish = \"out/%[1]d\", payload = \"%[3]s\" }]",
		"trigger = { event = \"in/%[1]d\" }\naction = { pulse = \"out/%[1]d\", for = \"%[2]ds\", off = \"%[3]s\" }",
		"trigger = { state = \"in/%[1]d\", is = true, until = { state = \"is/on\", is = true, for = \"%[2]ds\" } }\naction = { publish = \"out/%[1]d\", on = \"on\", off = \"%[3]s\" }",
		"trigger = { state = \"in/%[1]d\", is = true }\nrepeat = \"%[2]ds\"\naction = { publish = \"out/%[1]d\", payload = \"%[3]s\" }",
	}
	house := func(word string) string {
		var b strings.Builder
		for i := range 100 {
			w := "x"
			if i == changed || i == 99 {
				w = word
			}
			fmt.Fprintf(&b, "[rule.r%d]\n"+kinds[i%len(kinds)]+"\n", i, 60+7*i, w)
		}
		return b.String()
	}
	play := func(reload bool) (did []deed) {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			began := time.Now()
			h, stop := start(t, load(t, dir, house("x")), Options{Bank: gpio.NewSim()})
			var mu sync.Mutex
			client, end := everything(t, h, func(topic, payload string) {
				mu.Lock()
				defer mu.Unlock()
				did = append(did, deed{time.Since(began), topic, payload})
			})
			publish(t, client, 1, "is/on", "ON")
			for i := range 50 {
				time.Sleep(137 * time.Millisecond)
				publish(t, client, 1, fmt.Sprint("in/", i), "ON")
			}
			time.Sleep(30*time.Second + 11*time.Millisecond)
			if reload {
				before := 0
				h.do(t.Context(), func() { before = len(h.engine.Explain(h.now())) })
				if err := h.Reload(load(t, dir, house("y"))); err != nil {
					t.Fatal(err)
				}
				if before < 50 {
					t.Errorf("only %d wait", before)
				}
			}
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			n := len(did)
			end()
			stop()
			did = did[:n]
		})
		return slices.DeleteFunc(did, func(d deed) bool { return d.target == fmt.Sprint("out/", changed) })
	}
	want, got := play(false), play(true)
	if len(want) < 49 {
		t.Errorf("only %d things happened", len(want))
	}
	byTarget := func(a, b deed) int {
		return strings.Compare(fmt.Sprintf("%020d %s", a.at, a.target), fmt.Sprintf("%020d %s", b.at, b.target))
	}
	slices.SortFunc(want, byTarget)
	slices.SortFunc(got, byTarget)
	if !slices.Equal(got, want) {
		t.Errorf("with a reload the others did\n%s\nwithout\n%s", tell(got), tell(want))
	}
	t.Logf("49 timers, %d things done, all in the same nanosecond", len(got))
}

// A thousand retained messages of all that devices leave behind, and twenty starts
// with them, every other one after a crash: none of the rules does anything but
// those that say retained.
func TestWhatIsFoundAtAStartSetsNothingOff(t *testing.T) {
	says := []struct{ topic, payload string }{
		{"zigbee2mqtt/motion_%d", `{"occupancy":true,"battery":7,"illuminance":31.5}`},
		{"zigbee2mqtt/button_%d", `{"action":"single","battery":90}`},
		{"house/door_%d/state", "open"},
		{"house/lamp_%d/state", "ON"},
		{"house/room_%d/temperature", "31.5"},
		{"tele/plug_%d/LWT", "Offline"},
		{"house/alarm_%d", "true"},
		{"bell_%d/press", "now"},
	}
	triggers := []string{
		`{ state = "zigbee2mqtt/{name}:occupancy", is = true }`,
		`{ state = "zigbee2mqtt/motion_7:occupancy", is = true, for = "3s" }`,
		`{ state = "zigbee2mqtt/motion_7:illuminance", above = 10, until = 5 }`,
		`{ state = "zigbee2mqtt/motion_8:battery", below = 20 }`,
		`{ state = "house/door_7/state", is = "open", for = "5s" }`,
		`{ state = "house/{door}/state", is = ["open", "ajar"] }`,
		`{ state = "house/lamp_7/state", is = "ON", until = { is = "OFF", for = "2s" } }`,
		`{ state = "house/lamp_{n}/state", is = true }`,
		`{ state = "house/+/temperature", at_least = 20 }`,
		`{ state = "house/room_{room}/temperature", above = 30, for = "1s" }`,
		`{ state = "house/room_7/temperature" }`,
		`{ state = "house/room_8/temperature", changed = true }`,
		`{ state = "house/#" }`,
		`{ state = "tele/{name}/LWT", is = "Offline", for = "2s" }`,
		`{ state = "house/alarm_7", is = true }`,
		`{ state = "hot", is = true }`,      // a calc of what was found
		`{ state = "average", above = 20 }`, // and another
	}
	events := []string{
		`{ event = "zigbee2mqtt/{name}:action", is = "single" }`,
		`{ event = "zigbee2mqtt/button_7:action" }`,
		`{ event = "bell_{n}/press" }`,
		`{ event = "bell_7/press", is = "now" }`,
		`{ event = "house/#" }`,
		`{ event = "tele/+/LWT", is = "Offline" }`,
	}
	var b strings.Builder
	b.WriteString(`
		[output.lamp]
		pin = "GPIO5"
		[output.siren]
		topic = "cmnd/siren/POWER"
		safe = "hold"
		[notify.phone]
		topic = "acted/phone"
		[calc.hot]
		of = "house/room_{room}/temperature"
		value = "max(readings) > 30"
		[calc.average]
		of = ["house/room_1/temperature", "house/room_2/temperature"]
		value = "mean(readings)"
		[variable.counted]
		initial = 0
		topic = "acted/variable"
		[machine.m]
		initial = "calm"
		topic = "acted/machine"
		moves = [
		  { from = "calm", on = { event = "bell_{n}/press" }, to = "rung" },
		  { from = "calm", on = { state = "house/lamp_9/state", is = "ON" }, to = "lit", do = { notify = "lit" } },
		  { from = "calm", on = { state = "house/lamp_9/state", is = "ON", for = "1s" }, to = "lit" },
		]
		[link.motion]
		from = "zigbee2mqtt/motion_9:occupancy"
		to = "lamp"
		[link.warm]
		from = "house/room_9/temperature"
		to = "acted/link"
		type = "number"
		[link.word]
		from = "house/door_9/state"
		to = "siren"
		[rule.episode]
		trigger = { state = "house/lamp_5/state", is = "ON" }
		action = { set = ["lamp", "siren"], on = true, off = false }
		repeat = "2s"
		done = { notify = "over" }
		[rule.count]
		trigger = { state = "house/room_{r}/temperature" }
		action = { set = "counted", value = "counted + 1" }
		[rule.pulse]
		trigger = { state = "house/alarm_{n}", is = true }
		action = { pulse = "lamp", for = "1s" }
		[rule.waits]
		trigger = { start = true }
		action = [{ wait = { event = "bell_6/press" } }, { publish = "acted/wait", payload = "x" }]
		[link.loud]
		from = "zigbee2mqtt/motion_10:occupancy"
		to = "loud/link"
		retained = true
	`)
	for i, tr := range slices.Concat(triggers, events) {
		fmt.Fprintf(&b, "[rule.quiet_%d]\ntrigger = %s\naction = [{ publish = \"acted/%[1]d\", payload = \"x\" }, { notify = \"x\" }, { set = \"lamp\", to = \"toggle\" }]\n", i, tr)
	}
	for i, tr := range triggers {
		fmt.Fprintf(&b, "[rule.loud_%d]\ntrigger = %s\naction = { publish = \"loud/%[1]d\", payload = \"x\" }\n", i, strings.TrimSuffix(tr, "}")+", retained = true }")
	}
	const restarts = 20
	kept, loudest := 0, 0
	var loud, loudLater int
	disk := newCard()
	synctest.Test(t, func(t *testing.T) {
		cfg, _ := Parse("config.toml", nil)
		cfg.Hub.Data = "/data"
		h, stop := start(t, cfg, Options{Bank: gpio.NewSim(), FS: disk})
		client, end := connect(t, h, "before", func(*paho.Publish) {})
		for i := range 1000 {
			s := says[i%len(says)]
			topic := fmt.Sprintf(s.topic, i/len(says))
			if i == 999 {
				topic, s.payload = "hearth/lamp/set", "ON"
			}
			if _, err := client.Publish(t.Context(), &paho.Publish{Topic: topic, Payload: []byte(s.payload), QoS: 1, Retain: true}); err != nil {
				t.Fatal(err)
			}
		}
		end()
		stop()
	})
	for n := range restarts {
		synctest.Test(t, func(t *testing.T) {
			cfg, doc := Parse("config.toml", []byte(b.String()))
			if doc.Err() != nil {
				t.Fatal(doc.Err())
			}
			cfg.Hub.Data = "/data"
			sim := gpio.NewSim()
			// A client would miss some of what comes at once, so the hub is overheard.
			var h *Hub
			ready := make(chan bool)
			var mu sync.Mutex
			heard := map[string]int{}
			h, run := open(t, cfg, Options{Bank: sim, FS: disk, Seed: 1, publish: func(m broker.Message) error {
				if !strings.HasPrefix(m.Topic, "hearth/") && !strings.HasPrefix(m.Topic, "homeassistant/device/hearth_") {
					mu.Lock()
					heard[m.Topic]++
					mu.Unlock()
				}
				<-ready
				return h.broker.Publish(m)
			}})
			close(ready)
			kept = 0
			for range h.broker.Retained() {
				kept++
			}
			stop := run()
			if n%4 == 1 {
				time.Sleep(time.Duration(n) * 30 * time.Millisecond) // it crashes while it has only begun
			} else {
				time.Sleep(20*time.Second + time.Duration(n)*77*time.Millisecond)
			}
			synctest.Wait()
			if levels(sim, "GPIO5") != "0" {
				t.Errorf("start %d: the lamp went %s", n, levels(sim, "GPIO5"))
			}
			mu.Lock()
			rules := 0
			for what := range heard {
				if strings.HasPrefix(what, "loud/") {
					rules++
				} else {
					t.Errorf("start %d: %d times %s", n, heard[what], what)
				}
			}
			mu.Unlock()
			if n == 0 {
				loud = rules
				for i := range triggers {
					if heard[fmt.Sprint("loud/", i)] == 0 {
						t.Logf("not by %s", triggers[i])
					}
				}
			} else {
				loudLater += rules
			}
			loudest = max(loudest, rules)
			after := disk.Cut(nil)
			stop()
			if n%2 == 1 {
				disk = after // it crashed, a moment ago
			}
		})
	}
	if kept < 1000 {
		t.Errorf("only %d were kept", kept)
	}
	if want := len(triggers) + 1; loud != want {
		t.Errorf("%d of those that say retained have acted at the first start, want %d", loud, want)
	}
	t.Logf("%d retained messages, %d starts, %d rules that do not say retained; of those that do %d acted at the first start, %d at all others", kept, restarts, len(triggers)+len(events)+9, loud, loudLater)
}
