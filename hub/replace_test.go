package hub

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/store"
)

// A world is a client that says what devices say and notes what they are told.
type world struct {
	t      *testing.T
	client *paho.Client
	mu     sync.Mutex
	told   []string
	leave  func()
}

func newWorld(t *testing.T, h *Hub, filters ...string) *world {
	t.Helper()
	w := &world{t: t}
	w.client, w.leave = connect(t, h, "world", func(p *paho.Publish) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, p.Topic+" "+string(p.Payload))
	})
	var subscribe paho.Subscribe
	for _, f := range filters {
		subscribe.Subscriptions = append(subscribe.Subscriptions, paho.SubscribeOptions{Topic: f})
	}
	if len(filters) > 0 {
		if _, err := w.client.Subscribe(t.Context(), &subscribe); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// say publishes, and gives the house a second.
func (w *world) say(topic, payload string) {
	w.t.Helper()
	publish(w.t, w.client, 0, topic, payload)
	time.Sleep(time.Second)
}

// announce is say of what stays at the broker.
func (w *world) announce(topic, payload string) {
	w.t.Helper()
	if _, err := w.client.Publish(w.t.Context(), &paho.Publish{Topic: topic, Payload: []byte(payload), Retain: true}); err != nil {
		w.t.Errorf("publish %s: %v", topic, err)
	}
	time.Sleep(time.Second)
}

// heard is what devices were told since the last time.
func (w *world) heard() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.told
	w.told = nil
	return all
}

func (w *world) plug(id, more string) {
	w.t.Helper()
	w.announce("homie/5/"+id+"/$description", fmt.Sprintf(`{"homie":"5.0","name":"Plug %s","version":1,"nodes":{"relay":{"properties":{"on":{"name":"On","datatype":"boolean","settable":true}%s}}}}`, id, more))
	w.announce("homie/5/"+id+"/$state", "ready")
}

const powerToo = `,"power":{"name":"Power","datatype":"float","unit":"W"}`

// The plug of the washing machine breaks, and another is put in its place: the rules go on
// with it as they are, also after a restart and a reload.
func TestRulesGoOnWithTheNewDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		house := `
[device]
washer = { id = "homie/a" }

[rule.done]
trigger = { state = "washer.relay_power", below = 5, for = "5s" }
action = { publish = "b/done", payload = "x" }

[rule.off]
trigger = { event = "a/off" }
action = { set = "washer", to = false }
`
		cfg := load(t, dir, house)
		h, stop := start(t, cfg, Options{})
		w := newWorld(t, h, "b/#", "homie/5/+/+/+/set")
		w.plug("a", powerToo)
		w.say("homie/5/a/relay/power", "800")
		w.plug("plain", "")
		w.plug("b", powerToo)
		w.say("homie/5/b/relay/power", "3") // it lay on the table

		if _, err := (desk{h}).ReplaceDevice(t.Context(), "washer", "plug_plain", false); err == nil || !strings.Contains(err.Error(), "relay_power (it has relay_on)") {
			t.Error("without a meter:", err)
		}
		if _, err := (desk{h}).ReplaceDevice(t.Context(), "washer", "plug_bb", false); err == nil || !strings.Contains(err.Error(), `did you mean "plug_b"`) {
			t.Error("a typo:", err)
		}
		done, err := desk{h}.ReplaceDevice(t.Context(), "washer", "plug_b", false)
		if err != nil || done.Old != "homie/a" || done.Now != "homie/b" || !done.Written {
			t.Fatalf("%+v, %v", done, err)
		}
		time.Sleep(10 * time.Second)
		if got := w.heard(); len(got) != 0 { // what was known of the new one is found, and begins nothing
			t.Errorf("at the replacement: %q", got)
		}
		follows := func(when string) {
			t.Helper()
			w.say("homie/5/b/relay/power", "900")
			w.say("homie/5/a/relay/power", "1") // the broken one is nobody's any more
			time.Sleep(10 * time.Second)
			w.say("homie/5/b/relay/power", "2")
			time.Sleep(10 * time.Second)
			w.say("a/off", "x")
			if got := w.heard(); !slices.Equal(got, []string{"b/done x", "homie/5/b/relay/on/set false"}) {
				t.Errorf("%s: %q", when, got)
			}
			w.say("homie/5/b/relay/on", "false")
			if d := deviceNamed(t, h, "washer"); d.ID != "homie/b" || d.StandsFor != "homie/a" {
				t.Errorf("%s: %+v", when, d)
			}
		}
		follows("replaced")
		if err := h.Reload(load(t, dir, house+"\n[rule.other]\ntrigger = { event = \"a/b\" }\naction = { publish = \"b/c\", payload = \"d\" }\n")); err != nil {
			t.Fatal(err)
		}
		follows("after a reload")
		w.leave()
		stop()
		h, stop = start(t, cfg, Options{})
		w = newWorld(t, h, "b/#", "homie/5/+/+/+/set")
		time.Sleep(time.Second)
		follows("after a restart")

		if done, err := (desk{h}).ReinstateDevice(t.Context(), "washer"); err != nil || done.Now != "homie/a" || done.Old != "homie/b" {
			t.Errorf("%+v, %v", done, err)
		}
		if w.say("a/off", "x"); !slices.Equal(w.heard(), []string{"homie/5/a/relay/on/set false"}) {
			t.Error("taken back, another was told")
		}
		if done, err := (desk{h}).ReplaceDevice(t.Context(), "washer", "plug_plain", true); err != nil || len(done.Missing) != 1 {
			t.Errorf("by force: %+v, %v", done, err)
		}
		// What the old one measured is not what this one does.
		if view, err := ask(t.Context(), h, func() bool { _, ok := h.registry.Last("washer.relay_power"); return ok }); view || err != nil {
			t.Error("the old power counts still", err)
		}
		w.leave()
		stop()
	})
}

// When a replacement is answered it is on disk: a power cut then would leave it so.
func TestAReplacementIsOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := load(t, t.TempDir(), "[device]\nwasher = { id = \"homie/a\" }\n")
		h, stop := start(t, cfg, Options{})
		defer stop()
		w := newWorld(t, h)
		defer w.leave()
		w.plug("a", "")
		w.plug("b", "")
		time.Sleep(time.Minute)
		if _, err := (desk{h}).ReplaceDevice(t.Context(), "washer", "plug_b", false); err != nil {
			t.Fatal(err)
		}
		cut := t.TempDir()
		if err := os.CopyFS(cut, os.DirFS(cfg.DataDir())); err != nil {
			t.Fatal(err)
		}
		after, err := store.Open(cut, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer after.Close()
		if records := maps.Collect(after.Each(store.Device)); records["as homie/a"] == nil {
			t.Errorf("on disk are %v", slices.Sorted(maps.Keys(records)))
		}
	})
}

// A lamp is renamed where it is paired: it is the same one. Rules that name it by its id
// go on; those that name it by its topics can't, and the log says so.
func TestADeviceThatWasRenamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h, stop := start(t, load(t, t.TempDir(), `
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df" }
other = { via = "zigbee2mqtt", id = "Desk plug" }

[rule.by_id]
trigger = { state = "plug.power", above = 5 }
action = { set = "plug", to = false }

[rule.by_topic]
trigger = { state = "other.power", above = 5 }
action = { publish = "b/other", payload = "x" }
`), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		w := newWorld(t, h, "b/#", "zigbee2mqtt/+/set")
		w.say("zigbee2mqtt/bridge/devices", plugExposes)
		w.say("zigbee2mqtt/Desk plug", `{"state":"ON","power":1}`)
		w.say("zigbee2mqtt/bridge/devices", strings.ReplaceAll(plugExposes, "Desk plug", "Kettle"))
		w.say("zigbee2mqtt/Kettle", `{"state":"ON","power":9}`)
		if got := w.heard(); !slices.Equal(got, []string{`zigbee2mqtt/Kettle/set {"state":"OFF"}`}) {
			t.Errorf("%q", got)
		}
		if _, err := (desk{h}).ReplaceDevice(t.Context(), "other", "plug", true); err == nil || !strings.Contains(err.Error(), "knows other by its topics") {
			t.Error("one that is known by its topics was replaced:", err)
		}
		w.leave()
		stop()
		if text := log.String(); strings.Count(text, "knows by its topics") != 1 || !strings.Contains(text, "Kettle") || !strings.Contains(text, "device=other") {
			t.Errorf("the log says\n%s", text)
		}
	})
}

// The configuration names another device under an old name: what the one before said is not
// what this one is, after a reload and after a restart. A wait goes on if both stand where
// it began.
func TestTheConfigurationNamesAnotherDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		house := func(id string) *Config {
			return load(t, dir, `
[device]
washer = { id = "`+id+`" }

[rule.ask]
trigger = { event = "a/ask" }
condition = { state = { "washer" = true } }
action = { publish = "b/on", payload = "x" }

[rule.done]
trigger = { state = "washer.relay_power", below = 5, for = "10s" }
action = { publish = "b/done", payload = "x" }
`)
		}
		h, stop := start(t, house("homie/a"), Options{})
		w := newWorld(t, h, "b/#")
		w.plug("a", powerToo)
		w.plug("b", powerToo)
		w.say("homie/5/a/relay/on", "true")
		asked := func(when string, want ...string) {
			t.Helper()
			if w.say("a/ask", "x"); !slices.Equal(w.heard(), want) {
				t.Errorf("%s: want %q", when, want)
			}
		}
		asked("the first is on", "b/on x")
		if err := h.Reload(house("homie/b")); err != nil {
			t.Fatal(err)
		}
		asked("of the second nothing is known")
		w.say("homie/5/b/relay/on", "true")
		asked("the second is on", "b/on x")
		w.say("homie/5/a/relay/on", "false")
		w.leave()
		stop()
		h, stop = start(t, house("homie/a"), Options{})
		w = newWorld(t, h, "b/#")
		asked("the first is off")

		// One takes the place of the other, and then the file says so too.
		w.say("homie/5/b/relay/power", "3")
		if _, err := (desk{h}).ReplaceDevice(t.Context(), "washer", "plug_b", false); err != nil {
			t.Fatal(err)
		}
		w.say("homie/5/b/relay/power", "9")
		w.say("homie/5/b/relay/power", "3")
		if err := h.Reload(house("homie/b")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8500 * time.Millisecond)
		if got := w.heard(); len(got) > 0 {
			t.Errorf("too early: %q", got)
		}
		time.Sleep(time.Second)
		if got := w.heard(); !slices.Equal(got, []string{"b/done x"}) {
			t.Errorf("the wait did not go on: %q", got)
		}
		w.leave()
		stop()
	})
}

// Of a device that is taken away nothing is known any more, also after a restart.
func TestADeviceThatIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := load(t, t.TempDir(), `
[device]
shed = { id = "homeassistant/shed" }

[rule.ask]
trigger = { event = "a/ask" }
condition = { state = { "shed" = true } }
action = { publish = "b/on", payload = "x" }
`)
		h, stop := start(t, cfg, Options{})
		w := newWorld(t, h, "b/#")
		const config = "homeassistant/binary_sensor/shed/config"
		w.say(config, `{"name":"Shed","state_topic":"shed/state","unique_id":"shed","device":{"identifiers":["shed"]}}`)
		w.say("shed/state", "ON")
		if w.say("a/ask", "x"); !slices.Equal(w.heard(), []string{"b/on x"}) {
			t.Error("it is not on")
		}
		w.say(config, "")
		if w.say("a/ask", "x"); len(w.heard()) > 0 {
			t.Error("it is gone, and on")
		}
		w.leave()
		stop()
		h, stop = start(t, cfg, Options{})
		w = newWorld(t, h, "b/#")
		if w.say("a/ask", "x"); len(w.heard()) > 0 {
			t.Error("after a restart it is gone, and on")
		}

		// It is back, and is taken away in the moment of the stop.
		w.say(config, `{"name":"Shed","state_topic":"shed/state","unique_id":"shed","device":{"identifiers":["shed"]}}`)
		publish(t, w.client, 1, config, "")
		w.leave()
		stop()
		h, stop = start(t, cfg, Options{})
		defer stop()
		if all, err := (desk{h}).Devices(t.Context()); err != nil || len(all.Devices) != 1 || !all.Devices[0].Since.IsZero() {
			t.Errorf("%+v, %v", all.Devices, err)
		}
	})
}
