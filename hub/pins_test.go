package hub

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/broker"
	"hearth/devices"
	"hearth/gpio"
)

// listener is a device that subscribes to a topic and notes what it hears.
func listener(t *testing.T, h *Hub, topic string) (heard func() string, end func()) {
	t.Helper()
	var mu sync.Mutex
	var words []string
	client, end := connect(t, h, "device "+topic, func(p *paho.Publish) {
		mu.Lock()
		defer mu.Unlock()
		words = append(words, string(p.Payload))
	})
	if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	return func() string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(words, " ")
	}, end
}

func view(t *testing.T, h *Hub) []string {
	t.Helper()
	v, err := page{h}.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pins []string
	for _, p := range v.Outputs {
		word := "off"
		if p.On {
			word = "on"
		}
		pins = append(pins, strings.TrimSpace(p.Name+" "+word+" "+p.Note+p.Fault))
	}
	return pins
}

const oneButton = `
[input.button]
pin = "GPIO4"
double = "400ms"
hold = "2s"
[input.door]
pin = "GPIO5"
[output.lamp]
pin = "GPIO6"
[link.lamp]
from = "button"
to = "lamp"
`

// A press arrives at the loop like a level, in order behind it. But it is an
// event: nothing keeps it, and nobody finds it later.
func TestAPressArrivesAndIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cfg := load(t, dir, oneButton)
		for _, p := range cfg.parts() {
			if tells := p.Events["press"] != nil; tells != (p.Name == "button") {
				t.Errorf("%s tells presses: %v; only the input with gestures does", p.Name, tells)
			}
		}
		h, run := open(t, cfg, Options{Bank: gpio.NewSim()})
		synctest.Wait()
		for range h.inbox.len() {
			h.handle(h.inbox.take())
		}
		for _, on := range []bool{true, false, true, false} {
			if err := h.pins.Drive("button", on); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		var arrived []string
		for range h.inbox.len() {
			it := h.inbox.take()
			for _, r := range it.readings {
				arrived = append(arrived, r.Source+" "+devices.Text(r.Value))
			}
			h.handle(it)
		}
		if want := "button ON, button OFF, button ON, button.press double, button OFF"; strings.Join(arrived, ", ") != want {
			t.Errorf("there arrived %q, want %q", arrived, want)
		}
		if r, ok := h.registry.Last("button.press"); ok {
			t.Errorf("kept: %+v", r)
		}
		heard, end := listener(t, h, "hearth/button.press/#")
		stop := run()
		if err := h.Reload(load(t, dir, oneButton+"[output.fan]\npin = \"GPIO7\"\n")); err != nil {
			t.Error(err)
		}
		if got := heard(); got != "" {
			t.Errorf("on a topic of its own: %q", got)
		}
		end()
		stop()
	})
}

const twoPlugs = `
[output.boiler]
topic = "cmnd/boiler/POWER"
max_on = "1m"
[output.pump]
topic = "cmnd/pump/POWER"
[output.lamp]
pin = "GPIO5"
[interlock.either]
outputs = ["boiler", "pump"]
[link.echo]
from = "cmnd/boiler/POWER"
to = "lamp"
`

// Devices come back later than the hub, and the Wi-Fi has holes. What a device
// missed it hears when it is back: only the newest, and not if that is old.
func TestADeviceHearsTheNewestThatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), twoPlugs), Options{Bank: gpio.NewSim()})
		client, end := connect(t, h, "x", func(*paho.Publish) {})
		time.Sleep(4 * time.Minute)
		synctest.Wait() // what is said at the start reaches nobody
		heard, endBoiler := listener(t, h, "cmnd/boiler/+")
		time.Sleep(2 * time.Second)
		if got := heard(); got != "OFF" {
			t.Errorf("four minutes after the start the boiler hears %q, want its first state", got)
		}
		endBoiler()
		publish(t, client, 1, "hearth/boiler/set", "ON")
		time.Sleep(10 * time.Second)
		publish(t, client, 1, "hearth/boiler/set", "OFF")
		time.Sleep(10 * time.Second)
		synctest.Wait() // what is said at the start reaches nobody
		heard, endBoiler = listener(t, h, "cmnd/boiler/+")
		time.Sleep(time.Minute)
		if got := heard(); got != "OFF" {
			t.Errorf("after its Wi-Fi was away the boiler hears %q, want only the newest, once", got)
		}
		endBoiler()
		publish(t, client, 1, "hearth/pump/set", "ON")
		time.Sleep(6 * time.Minute)
		heard, endPump := listener(t, h, "cmnd/pump/+")
		time.Sleep(2 * time.Second)
		if got := heard(); got != "" {
			t.Errorf("after six minutes the pump hears %q, want nothing so old", got)
		}
		endPump()
		end()
		stop()
	})
}

// The loop stands still and its inbox is full. A boiler on a topic still goes off
// after its longest time, although a link listens to that word.
func TestALimitOfATopicHoldsWhileTheLoopIsStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), twoPlugs), Options{Bank: gpio.NewSim()})
		h.inbox.mu.Lock()
		h.inbox.size = 2
		h.inbox.mu.Unlock()
		synctest.Wait() // what is said at the start reaches nobody
		heard, endBoiler := listener(t, h, "cmnd/boiler/+")
		client, end := connect(t, h, "x", func(*paho.Publish) {})
		publish(t, client, 1, "hearth/boiler/set", "ON")
		synctest.Wait()
		stalled := make(chan struct{})
		h.inbox.always(&item{control: func() { <-stalled }})
		for range 10 {
			publish(t, client, 0, "hearth/lamp/set", "ON")
		}
		time.Sleep(2 * time.Minute)
		if got := heard(); got != "ON OFF" {
			t.Errorf("the boiler heard %q, want its off although nobody is at home", got)
		}
		close(stalled)
		synctest.Wait()
		if got := view(t, h); !slices.Equal(got, []string{`boiler off max_on = "1m"`, "pump off", "lamp off"}) {
			t.Errorf("the page shows %q", got)
		}
		endBoiler()
		end()
		stop()
	})
}

// The broker takes nothing. Pins switch; an output whose interlocked partner is
// on a topic waits until that one has really been told to be off; and stopping
// takes no longer than the outputs are waited for.
func TestABrokerThatTakesNothingHoldsBackWhatIsInterlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var said []string
		var blocked chan struct{}
		block := func() chan struct{} {
			mu.Lock()
			defer mu.Unlock()
			blocked = make(chan struct{})
			return blocked
		}
		sim := gpio.NewSim()
		close(block())
		h, stop := start(t, load(t, t.TempDir(), `
			[output.up]
			topic = "shutter/up"
			[output.down]
			pin = "GPIO5"
			[output.lamp]
			pin = "GPIO6"
			[interlock.shutter]
			outputs = ["up", "down"]`), Options{Bank: sim, publish: func(m broker.Message) error {
			mu.Lock()
			wait := blocked
			mu.Unlock()
			<-wait
			mu.Lock()
			defer mu.Unlock()
			if !strings.HasPrefix(m.Topic, "hearth/") && !strings.HasPrefix(m.Topic, "homeassistant/") {
				said = append(said, m.Topic+" "+string(m.Payload))
			}
			return nil
		}})
		flip := func(output string) {
			if err := (page{h}).Switch(t.Context(), output, true); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		flip("up")
		stuck := block()
		flip("down")
		flip("lamp")
		if got := levels(sim, "GPIO5") + " " + levels(sim, "GPIO6"); got != "0 01" {
			t.Errorf("down and lamp went %s, want only the lamp on while nobody could tell the other to go off", got)
		}
		time.Sleep(time.Minute)
		if got := view(t, h); !strings.Contains(got[0], "no answer for") || !strings.Contains(got[1], "ON in 0s, for interlock.shutter with up") {
			t.Errorf("the page shows %q", got)
		}
		close(stuck)
		synctest.Wait()
		if got := levels(sim, "GPIO5"); got != "01" {
			t.Errorf("down went %s once the other was told", got)
		}
		stuck = block()
		flip("up")
		began := time.Now()
		stop()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if got := levels(sim, "GPIO5"); got != "0100" {
			t.Errorf("down went %s, want off for the other, and again at the stop", got)
		}
		close(stuck)
		synctest.Wait()
		if want := []string{"shutter/up OFF", "shutter/up ON", "shutter/up OFF"}; !slices.Equal(said[:3], want) {
			t.Errorf("said %q, want %q first", said, want)
		}
	})
}

// A word that could not be said is not taken for said: the page knows, and what
// is interlocked with it does not go on.
func TestAWordThatIsRefusedCountsAsNotSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := false
		h, stop := start(t, load(t, t.TempDir(), twoPlugs), Options{Bank: gpio.NewSim(), publish: func(m broker.Message) error {
			if refuse && strings.HasPrefix(m.Topic, "cmnd/") {
				return errors.New("the broker is full")
			}
			return nil
		}})
		flip := func(output string) {
			if err := (page{h}).Switch(t.Context(), output, true); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		flip("boiler")
		refuse = true
		flip("pump")
		if got := view(t, h); !slices.Equal(got[:2], []string{"boiler on the broker is full", "pump off interlock.either: boiler could not be switched off"}) {
			t.Errorf("the page shows %q", got)
		}
		refuse = false
		flip("pump")
		if got := view(t, h); !strings.HasPrefix(got[0], "boiler off") || got[1] != "pump on" {
			t.Errorf("when the broker takes it again the page shows %q", got)
		}
		stop()
	})
}

// A page that watches sees that a command waits, for how long still, and what
// became of it.
func TestThePageShowsThatACommandWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), "[output.fan]\npin = \"GPIO5\"\nmin_off = \"2700ms\"\nmax_on = \"1m\""), Options{Bank: gpio.NewSim()})
		time.Sleep(500 * time.Millisecond) // between two beats
		events, end := page{h}.Watch()
		synctest.Wait()
		if err := (page{h}).Switch(t.Context(), "fan", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		time.Sleep(time.Minute)
		var notes []string
		for len(events) > 0 {
			if e := <-events; e.Output != nil {
				notes = append(notes, e.Output.Note)
			}
		}
		want := []string{`ON in 2.2s, for min_off = "2.7s"`, `ON in 1.7s, for min_off = "2.7s"`, `ON in 700ms, for min_off = "2.7s"`, "", "", `max_on = "1m"`}
		if !slices.Equal(notes, want) {
			t.Errorf("the page was told %q, want %q", notes, want)
		}
		end()
		stop()
	})
}

// What can't start leaves nothing behind: whatever New had begun has ended, also
// the voice of outputs on topics.
func TestAStartThatFailsLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, sim := t.TempDir(), gpio.NewSim()
		if _, err := New(load(t, dir, twoPlugs+"[output.missing]\npin = \"nowhere\"\n"), Options{Bank: sim, Clock: testClock(), Offline: true}); err == nil {
			t.Error("started with a pin that there is not")
		}
		_, stop := start(t, load(t, dir, twoPlugs), Options{Bank: sim})
		stop()
	})
}

// A reload that comes while the hub stops, and one that changes what waits, have
// an end.
func TestAReloadWhileTheHubStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for range 20 {
			cfg := load(t, dir, twoPlugs)
			h, stop := start(t, cfg, Options{Bank: gpio.NewSim()})
			other := load(t, dir, strings.ReplaceAll(twoPlugs, "cmnd/pump", "cmnd/pump2"))
			done := make(chan error)
			go func() { done <- h.Reload(other) }()
			stop()
			<-done
		}
	})
}

// After a crash nobody can tell a device on a topic anything; that is said, and
// the pins are made safe all the same. The next hub tells the device first of all.
func TestSafeSaysWhichTopicsItCantReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, dir := gpio.NewSim(), t.TempDir()
		h, stop := start(t, load(t, dir, twoPlugs), Options{Bank: sim})
		for _, output := range []string{"boiler", "lamp"} {
			if err := (page{h}).Switch(t.Context(), output, true); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		crashed := filepath.Join(t.TempDir(), "hearth-data")
		if err := os.CopyFS(crashed, os.DirFS(filepath.Join(dir, "hearth-data"))); err != nil {
			t.Fatal(err)
		}
		stop()
		var log bytes.Buffer
		after := gpio.NewSim()
		again := load(t, filepath.Dir(crashed), twoPlugs)
		if err := Safe(again, after, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if got := levels(after, "GPIO5"); got != "0" {
			t.Errorf("the lamp went %q", got)
		}
		if n := strings.Count(log.String(), "WARN"); n != 1 || !strings.Contains(log.String(), "boiler on cmnd/boiler/POWER, told ON") {
			t.Errorf("it is said %q", log.String())
		}
		h, stop = start(t, again, Options{Bank: gpio.NewSim()})
		synctest.Wait() // what is said at the start reaches nobody
		heard, end := listener(t, h, "cmnd/boiler/+")
		time.Sleep(2 * time.Second)
		if got := heard(); got != "OFF" {
			t.Errorf("the boiler hears %q after the next start", got)
		}
		end()
		stop()
	})
}

// Many hands at once on outputs that exclude each other, with reloads between:
// never two on, no race, and an end.
func TestManyHandsOnAnInterlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var mu sync.Mutex
		on := map[string]bool{}
		h, stop := start(t, load(t, dir, twoPlugs), Options{Bank: gpio.NewSim(), publish: func(m broker.Message) error {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(m.Topic, "cmnd/") {
				on[m.Topic] = string(m.Payload) == "ON"
			}
			if on["cmnd/boiler/POWER"] && on["cmnd/pump/POWER"] {
				t.Error("both are on")
			}
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var hands sync.WaitGroup
		for i, output := range []string{"boiler", "pump", "boiler", "pump"} {
			hands.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					(page{h}).Switch(ctx, output, (n+i)%3 != 0)
					time.Sleep(time.Duration(1+i) * time.Millisecond)
				}
			})
		}
		for i := range 20 {
			text := twoPlugs
			if i%2 == 0 {
				text = strings.Replace(text, `"pump"]`, "\"pump\"]\ngap = \"3ms\"", 1)
			}
			if err := h.Reload(load(t, dir, text)); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		hands.Wait()
		stop()
	})
}

// Two stubborn rules, each of which switches its own direction on again when it
// goes off: through the interlock they set each other off, and that is seen.
func TestRulesThatFightThroughAnInterlockAreStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, t.TempDir(), `
			[output.up]
			pin = "GPIO5"
			[output.down]
			pin = "GPIO6"
			[interlock.shutter]
			outputs = ["up", "down"]
			[rule.up]
			trigger = { state = "up", is = false }
			action = { set = "up", to = true }
			[rule.down]
			trigger = { state = "down", is = false }
			action = { set = "down", to = true }`), Options{Bank: sim})
		for _, output := range []string{"up", "down"} {
			if err := (page{h}).Switch(t.Context(), output, true); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if n := len(levels(sim, "GPIO5")); n > 30 {
			t.Errorf("the relay was switched %d times", n)
		}
		v, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if newest := v.Decisions[0].Text; !strings.Contains(newest, "rule.up -> rule.down -> rule.up") {
			t.Errorf("the newest decision is %q", newest)
		}
		stop()
	})
}

// A bug in the loop ends the process, but first of all the outputs are made safe.
func TestABugLeavesNothingOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, _ := open(t, load(t, t.TempDir(), "[output.boiler]\npin = \"GPIO5\"\nactive_low = true\n"), Options{Bank: sim})
		defer h.close()
		bug := make(chan any)
		go func() {
			defer func() { bug <- recover() }()
			h.Run(t.Context())
		}()
		if err := h.pins.Set("boiler", true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if sim.Level("GPIO5") {
			t.Fatal("the boiler is not on")
		}
		began := time.Now()
		h.inbox.always(&item{control: func() { panic("nobody thought of this") }})
		if got := <-bug; got != "nobody thought of this" {
			t.Errorf("Run ended with %v", got)
		}
		if !bool(sim.Level("GPIO5")) || sim.Held("GPIO5") || time.Since(began) > 200*time.Millisecond {
			t.Errorf("after %v the boiler's pin is %v", time.Since(began), sim.Level("GPIO5"))
		}
	})
}
