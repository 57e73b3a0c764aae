package hub

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/control"
	"hearth/devices"
	"hearth/web"
	"hearth/why"
)

// A plug as Zigbee2MQTT lists it.
const plugExposes = `[{"ieee_address":"0x00158d00018255df","type":"Router","supported":true,"friendly_name":"Desk plug","disabled":false,
"definition":{"model":"ZNCZ02LM","vendor":"Xiaomi","description":"Mi power plug","options":[],"exposes":[
{"type":"switch","features":[{"type":"binary","name":"state","property":"state","access":7,"value_on":"ON","value_off":"OFF","value_toggle":"TOGGLE"}]},
{"type":"numeric","name":"power","property":"power","unit":"W","access":5}]},
"power_source":"Mains (single phase)","interview_completed":true}]`

func deviceNamed(t *testing.T, h *Hub, name string) control.Device {
	t.Helper()
	all, err := desk{h}.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all.Devices {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("no %s among %v", name, all.Devices)
	return control.Device{}
}

func propertyNamed(t *testing.T, d control.Device, name string) control.Property {
	t.Helper()
	for _, p := range d.Properties {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("%s has no %s", d.Name, name)
	return control.Property{}
}

// Plugged in, a device appears with its values; told something, it answers; and after
// a restart it is there at once, as old as it is.
func TestADeviceAppearsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := load(t, t.TempDir(), "")
		h, stop := start(t, cfg, Options{})
		bridge, hangUp := connect(t, h, "bridge", nil)
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"OFF","power":0}`) // nobody knows it yet
		if _, err := bridge.Publish(t.Context(), &paho.Publish{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte(plugExposes), QoS: 1, Retain: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		plug := deviceNamed(t, h, "desk_plug")
		if plug.ID != "zigbee2mqtt/0x00158d00018255df" || plug.Maker != "Xiaomi" {
			t.Errorf("%+v", plug)
		}
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"ON","power":12.5}`)
		time.Sleep(time.Second)
		plug = deviceNamed(t, h, "desk_plug")
		if p := propertyNamed(t, plug, "power"); p.Value != 12.5 || p.Unit != "W" {
			t.Errorf("%+v", p)
		}
		if p := propertyNamed(t, plug, "state"); p.Value != true || !p.Settable {
			t.Errorf("%+v", p)
		}
		view, err := page{h}.View(t.Context())
		if err != nil || !slices.ContainsFunc(view.Readings, func(r web.Reading) bool { return r.Source == "desk_plug.power" && r.Text == "12.5 W" }) {
			t.Errorf("the page has %+v, %v", view.Readings, err)
		}

		// Somebody tells it something. It takes a while to obey.
		answered := make(chan control.Answer)
		go func() {
			done, err := desk{h}.Set(t.Context(), "desk_plug", "off")
			if err != nil {
				t.Error(err)
			}
			answered <- done
		}()
		synctest.Wait()
		if p := propertyNamed(t, deviceNamed(t, h, "desk_plug"), "state"); p.Value != true || p.Asked != false {
			t.Errorf("asked and is: %+v", p)
		}
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"OFF"}`)
		done := <-answered
		if done.Reported != false || done.Topic != "zigbee2mqtt/Desk plug/set" || !strings.Contains(done.Payload, "OFF") {
			t.Errorf("%+v", done)
		}
		if p := propertyNamed(t, deviceNamed(t, h, "desk_plug"), "state"); p.Value != false || p.Asked != nil {
			t.Errorf("after the answer: %+v", p)
		}
		if a, err := h.Why(t.Context(), "desk_plug", ""); err != nil || a.Because == nil || !a.Because.Likely || a.Because.End().What != why.Person ||
			strings.Count(strings.Join(a.Text, "\n"), "somebody called hearth set") != 1 {
			t.Errorf("why it is off: %v %q", err, a.Text)
		}
		if _, err := (desk{h}).Set(t.Context(), "desk_plug.power", "3"); err == nil {
			t.Error("a reading was told something")
		}
		if _, err := (desk{h}).Set(t.Context(), "desk_plg", "on"); err == nil || !strings.Contains(err.Error(), `did you mean "desk_plug"`) {
			t.Error("a typo:", err)
		}
		hangUp()
		stop()

		time.Sleep(time.Hour)
		h, stop = start(t, cfg, Options{})
		defer stop()
		plug = deviceNamed(t, h, "desk_plug")
		if p := propertyNamed(t, plug, "state"); p.Value != false || time.Since(p.At) < time.Hour {
			t.Errorf("after a restart: %+v", p)
		}
	})
}

// OpenMQTTGateway announces a thermometer with +/+/BTtoMQTT/ADDRESS: any gateway may report
// it, and what one retained before the thermometer was announced is found.
func TestAnyGatewayReportsASensor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{})
		defer stop()
		gateway, hangUp := connect(t, h, "gateway", nil)
		defer hangUp()
		retain := func(topic, payload string) {
			if _, err := gateway.Publish(t.Context(), &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true}); err != nil {
				t.Fatal(err)
			}
		}
		retain("home/attic/BTtoMQTT/A4C138112233", `{"tempc":21.5}`)
		retain("homeassistant/sensor/A4C138112233-tempc/config", `{"stat_t":"+/+/BTtoMQTT/A4C138112233","uniq_id":"A4C138112233-tempc","val_tpl":"{{ value_json.tempc | is_defined }}","dev_cla":"temperature","unit_of_meas":"°C","dev":{"ids":["A4C138112233"],"name":"Cellar"}}`)
		time.Sleep(time.Second)
		if p := propertyNamed(t, deviceNamed(t, h, "cellar"), "temperature"); p.Value != 21.5 {
			t.Errorf("what was retained before: %+v", p)
		}
		publish(t, gateway, 0, "home/hall/BTtoMQTT/A4C138112233", `{"tempc":22}`)
		time.Sleep(time.Second)
		if p := propertyNamed(t, deviceNamed(t, h, "cellar"), "temperature"); p.Value != 22.0 {
			t.Errorf("from another gateway: %+v", p)
		}
	})
}

// Rules know a device by the name that the configuration gives it, and tell it things in
// its own words.
func TestRulesKnowDevicesThatAnnounceThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cfg := load(t, dir, `
[device]
hall = { id = "shelly/shelly1-AABBCC" }
plug = { id = "homie/plug" }

[link.hall]
from = "hall"
to = "plug"

[rule.input]
trigger = { state = "hall.input", is = true }
action = { set = "hall", to = "toggle" }
`)
		h, stop := start(t, cfg, Options{})
		defer stop()
		var told []string
		var mu sync.Mutex
		world, hangUp := connect(t, h, "world", func(p *paho.Publish) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, p.Topic+" "+string(p.Payload))
		})
		defer hangUp()
		if _, err := world.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{
			{Topic: "homie/5/plug/light/power/set"}, {Topic: "b/there"}, {Topic: "shellies/shelly1-AABBCC/relay/0/command"}}}); err != nil {
			t.Fatal(err)
		}
		say := func(topic, payload string) {
			publish(t, world, 0, topic, payload)
			time.Sleep(time.Second)
		}
		heard := func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			all := told
			told = nil
			return all
		}
		say("shellies/announce", `{"id":"shelly1-AABBCC","model":"SHSW-1","mac":"E09806AABBCC","fw_ver":"20230913-112003/v1.14.0"}`)
		say("shellies/shelly1-AABBCC/relay/0", "off")
		heard()
		say("shellies/shelly1-AABBCC/relay/0", "on")
		if got := heard(); len(got) != 0 { // the plug has not announced itself
			t.Errorf("%q", got)
		}
		say("homie/5/plug/$description", `{"homie":"5.0","name":"Plug","version":1,"nodes":{"light":{"properties":{"power":{"name":"Power","datatype":"boolean","settable":true}}}}}`)
		say("homie/5/plug/$state", "ready")
		say("shellies/shelly1-AABBCC/relay/0", "off")
		if got := heard(); !slices.Equal(got, []string{"homie/5/plug/light/power/set false"}) {
			t.Errorf("%q", got)
		}
		say("shellies/shelly1-AABBCC/input/0", "0")
		say("shellies/shelly1-AABBCC/input/0", "1")
		if got := heard(); !slices.Equal(got, []string{"shellies/shelly1-AABBCC/relay/0/command on"}) {
			t.Errorf("%q", got)
		}
		if d := deviceNamed(t, h, "hall"); d.ID != "shelly/shelly1-AABBCC" {
			t.Errorf("%+v", d)
		}

		// A reload that names it otherwise has the rules find what it said.
		cfg = load(t, dir, `
[device]
porch = { id = "shelly/shelly1-AABBCC" }

[rule.porch]
trigger = { state = "porch.input", is = true, for = "10s", retained = true }
action = { set = "porch", to = true }

[rule.there]
trigger = { state = "porch.availability", is = true, for = "10s", retained = true }
action = { publish = "b/there", payload = "x" }
`)
		say("shellies/shelly1-AABBCC/online", "true")
		if err := h.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		// The relay confirms nothing here, so it is told again.
		if got := slices.Compact(slices.Sorted(slices.Values(heard()))); !slices.Equal(got, []string{"b/there x", "homie/5/plug/light/power/set false", "shellies/shelly1-AABBCC/relay/0/command on"}) {
			t.Errorf("after the reload: %q", got)
		}
	})
}

// A siren that announces itself was on when the hub stopped. It is back after the hub,
// and hears that it is over. What it is told is retained nowhere, so nobody else knows.
func TestAnOwedEndWaitsForADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		text := `
[device]
siren = { id = "homie/siren" }
`
		rule := `
[rule.siren]
trigger = { event = "a/alarm" }
action = { pulse = "siren", for = "1m" }
`
		var got []string
		siren := func(h *Hub) (*paho.Client, func()) {
			client, end := connect(t, h, "siren", func(p *paho.Publish) { got = append(got, string(p.Payload)) })
			if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "homie/5/siren/+/+/set", QoS: 1}}}); err != nil {
				t.Fatal(err)
			}
			publish(t, client, 0, "homie/5/siren/$description", `{"homie":"5.0","name":"Siren","version":1,"nodes":{"horn":{"properties":{"on":{"name":"On","datatype":"boolean","settable":true}}}}}`)
			publish(t, client, 0, "homie/5/siren/$state", "ready")
			time.Sleep(time.Second)
			return client, end
		}
		clock := testClock()
		h, stop := start(t, load(t, dir, text+rule), Options{Clock: clock})
		client, end := siren(h)
		publish(t, client, 1, "a/alarm", "x")
		time.Sleep(10 * time.Second)
		end()
		stop()
		time.Sleep(2 * time.Minute)
		_, stop = start(t, load(t, dir, text), Options{Clock: clock}) // without the rule
		time.Sleep(time.Minute)
		stop()
		h, stop = start(t, load(t, dir, text), Options{Clock: clock})
		time.Sleep(time.Minute)
		_, end = siren(h)
		time.Sleep(time.Minute)
		synctest.Wait()
		// It confirms nothing, so it is told each again.
		if want := []string{"true", "false"}; !slices.Equal(slices.Compact(got), want) {
			t.Errorf("the siren heard %q, want %q", got, want)
		}
		end()
		stop()
		if len(h.awaited) != 0 {
			t.Errorf("waits still: %v", h.awaited)
		}
	})
}

// Who waits for a device's answer and gives up is forgotten; what a device says of the time
// before is no answer; and one that is told what it is already is not waited for.
func TestWhoWaitsForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{})
		defer stop()
		bridge, hangUp := connect(t, h, "bridge", nil)
		defer hangUp()
		publish(t, bridge, 0, "zigbee2mqtt/bridge/devices", plugExposes)
		time.Sleep(time.Second)
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"ON","power":1}`)
		time.Sleep(time.Second)
		go func() {
			time.Sleep(time.Second)
			publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"ON","power":2}`)
		}()
		done, err := desk{h}.Set(t.Context(), "desk_plug", "off")
		if err != nil || !done.Late {
			t.Errorf("%+v, %v", done, err)
		}
		waiting, err := ask(t.Context(), h, func() int { return len(h.devices.waiting) })
		if err != nil || waiting != 0 {
			t.Errorf("%d wait still, %v", waiting, err)
		}
		if done, err := (desk{h}).Set(t.Context(), "desk_plug", "on"); err != nil || !done.Was {
			t.Errorf("%+v, %v", done, err)
		}
		if p := propertyNamed(t, deviceNamed(t, h, "desk_plug"), "state"); p.Asked != nil {
			t.Errorf("%+v", p)
		}
	})
}

// The message by which a device is first heard of says what it is, too. It is the device's
// event, and nothing that the hub itself says.
func TestTheFirstMessageCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[device]
wall = { id = "shelly/shellyix3-AABBCC" }

[rule.wall]
trigger = { event = "wall.button", is = "single" }
action = { publish = "b/bell", payload = "x" }
`), Options{})
		defer stop()
		var heard []string
		var mu sync.Mutex
		world, hangUp := connect(t, h, "world", func(p *paho.Publish) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, p.Topic)
		})
		defer hangUp()
		if _, err := world.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "b/#"}, {Topic: "hearth/wall/#"}}}); err != nil {
			t.Fatal(err)
		}
		publish(t, world, 0, "shellies/shelly1-DDEEFF/relay/0", "on")
		time.Sleep(time.Second)
		if p := propertyNamed(t, deviceNamed(t, h, "shelly1_ddeeff"), "switch"); p.Value != true {
			t.Errorf("%+v", p)
		}
		publish(t, world, 0, "shellies/announce", `{"id":"shellyix3-AABBCC","model":"SHIX3-1","mac":"E09806AABBCC","fw_ver":"1"}`)
		time.Sleep(time.Second)
		publish(t, world, 0, "shellies/shellyix3-AABBCC/input_event/0", `{"event":"S","event_cnt":1}`)
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(heard, []string{"b/bell"}) {
			t.Errorf("%q", heard)
		}
	})
}

// A lamp misses what it is told: it is asked how it is, and told again. What it never confirms
// stands in the list and in the log, once.
func TestADeviceIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h, stop := start(t, load(t, t.TempDir(), `
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df" }

[rule.off]
trigger = { event = "a/off" }
action = { set = "plug", to = false }
`), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		w := newWorld(t, h, "zigbee2mqtt/+/set", "zigbee2mqtt/+/get")
		w.say("zigbee2mqtt/bridge/devices", plugExposes)
		w.say("zigbee2mqtt/Desk plug", `{"state":"ON"}`)
		time.Sleep(time.Minute)
		if got := w.heard(); !slices.Equal(got, []string{`zigbee2mqtt/Desk plug/get {"power":""}`}) {
			t.Errorf("of what it had not said: %q", got)
		}
		w.say("a/off", "x")
		time.Sleep(11 * time.Second)
		w.say("zigbee2mqtt/Desk plug", `{"state":"OFF"}`)
		time.Sleep(time.Minute)
		off := `zigbee2mqtt/Desk plug/set {"state":"OFF"}`
		if got := w.heard(); !slices.Equal(got, []string{off, `zigbee2mqtt/Desk plug/get {"state":""}`, off}) {
			t.Errorf("it heard %q", got)
		}
		if done, err := (desk{h}).Set(t.Context(), "plug", "on"); err != nil || !done.Late || done.Again {
			t.Errorf("%+v, %v", done, err)
		}
		time.Sleep(time.Minute)
		if got := w.heard(); len(got) != 4 {
			t.Errorf("it heard %q", got)
		}
		if p := propertyNamed(t, deviceNamed(t, h, "plug"), "state"); p.Asked != true || !p.GaveUp {
			t.Errorf("%+v", p)
		}
		w.leave()
		stop()
		if text := log.String(); strings.Count(text, "has not confirmed") != 1 || !strings.Contains(text, "device=plug property=state told=ON times=3") {
			t.Errorf("the log says\n%s", text)
		}
	})
}

// What people call a device goes before what it calls itself, and each of its names finds it.
func TestADeviceIsCalledAsTheHouseCallsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df", room = "Study", name = "The kettle", aliases = ["Wasserkocher", "tea"] }
gone = { id = "homie/gone", room = "Attic" }
`), Options{})
		defer stop()
		w := newWorld(t, h, "zigbee2mqtt/+/set")
		defer w.leave()
		w.say("zigbee2mqtt/bridge/devices", plugExposes)
		w.say("zigbee2mqtt/Desk plug", `{"state":"ON","power":1}`)
		if d := deviceNamed(t, h, "plug"); d.Label != "The kettle" || d.Room != "Study" || len(d.Aliases) != 2 {
			t.Errorf("%+v", d)
		}
		if d := deviceNamed(t, h, "gone"); d.Room != "Attic" || !d.Silent {
			t.Errorf("%+v", d)
		}
		if _, err := (desk{h}).Set(t.Context(), "wasserkocher.state", "off"); err != nil {
			t.Error(err)
		}
		if _, err := (desk{h}).Set(t.Context(), "TEA", "off"); err != nil {
			t.Error(err)
		}
		if _, err := (desk{h}).Set(t.Context(), "the Kettle", "off"); err != nil {
			t.Error(err)
		}
		if _, err := (desk{h}).Set(t.Context(), "The kettle.state", "off"); err != nil {
			t.Error(err)
		}
		if got := w.heard(); len(got) != 4 {
			t.Errorf("%q", got)
		}
		if _, err := (desk{h}).Set(t.Context(), "gone", "on"); err == nil || !strings.Contains(err.Error(), "gone is homie/gone, which has not announced itself") {
			t.Error("told one that is not there:", err)
		}
		view, err := page{h}.View(t.Context())
		if err != nil || !slices.ContainsFunc(view.Readings, func(r web.Reading) bool {
			return r.Source == "plug.power" && r.Of == "The kettle, Study, Wasserkocher, tea"
		}) {
			t.Errorf("the page has %+v, %v", view.Readings, err)
		}
	})
}

// What rules tell devices that are there, and these do not take, is said when the configuration
// is read, not when the rule fires: no check of a file can know it.
func TestAReloadKnowsWhatDevicesTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h, stop := start(t, load(t, dir, ""), Options{})
		defer stop()
		w := newWorld(t, h, "zigbee2mqtt/+/set")
		defer w.leave()
		w.say("zigbee2mqtt/bridge/devices", plugExposes)
		if got := h.Doubts(); len(got) != 0 {
			t.Errorf("%q", got)
		}
		if err := h.Reload(load(t, dir, `
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df" }
away = { id = "homie/away" }
[rule.a]
trigger = { state = "plug.powr", above = 5 }
action = [{ set = "plug.power", to = 3 }, { set = "plug.swich", to = true }, { set = "plug", to = "open" }, { set = "away", to = "open" }]
[rule.b]
trigger = { event = "a/b" }
action = [{ set = "plug", to = "toggle" }, { set = "plug.state", to = true }, { publish = "a/c", payload = "x" }]
`)); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"rule.a tells plug: power can't be told anything: it only reports",
			`rule.a tells plug: plug has no property "swich": it has state, power`,
			`rule.a tells plug: state takes on, off or toggle, not "open"`,
			`a rule looks at plug.powr: plug has no property "powr", did you mean "power"?`,
		}
		got := h.Doubts()
		for i, line := range got {
			got[i] = strings.ReplaceAll(line, "Desk plug", "plug")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
	})
}

// What a device does not take may be a secret: the trace does not show it.
func TestADeviceThatRefusesASecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{})
		defer stop()
		bridge, hangUp := connect(t, h, "bridge", nil)
		defer hangUp()
		publish(t, bridge, 0, "zigbee2mqtt/bridge/devices", plugExposes)
		time.Sleep(time.Second)
		err, _ := ask(t.Context(), h, func() error {
			return h.command(devices.Command{Device: "desk_plug", Value: "1234", Secret: true}, nil)
		})
		if err == nil || strings.Contains(err.Error(), "1234") {
			t.Error(err)
		}
	})
}

// A property that is misspelled is nothing that a check could find. The running hub says so.
func TestARuleLooksAtWhatADeviceDoesNotHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cfg := load(t, t.TempDir(), `
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df" }

[rule.r]
trigger = { state = "plug.powr", above = 5 }
action = { publish = "a/b", payload = "c" }
`)
		h, stop := start(t, cfg, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		bridge, hangUp := connect(t, h, "bridge", nil)
		publish(t, bridge, 1, "zigbee2mqtt/bridge/devices", plugExposes)
		time.Sleep(time.Hour)
		hangUp()
		stop()
		if text := log.String(); strings.Count(text, "looks at plug.powr") != 1 || !strings.Contains(text, "did you mean") {
			t.Errorf("the log says\n%s", text)
		}
	})
}

// One sensor of a gateway is away, and so nobody knows how warm it is there: a condition on
// it does not hold, and its last value does not count. It comes back, and begins nothing.
func TestRulesKnowThatAPartIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[device]
gw = { id = "homeassistant/gw" }

[rule.warm]
trigger = { event = "a/ask" }
condition = { state = { "gw.cellar" = { above = 10 } } }
action = { publish = "b/warm", payload = "x" }

[rule.hot]
trigger = { state = "gw.cellar", above = 10 }
action = { publish = "b/hot", payload = "x" }
`), Options{})
		defer stop()
		w := newWorld(t, h, "b/#")
		defer w.leave()
		w.say("homeassistant/device/gw/config", `{"device":{"identifiers":["gw"],"name":"Gateway"},"origin":{"name":"x"},"availability_topic":"gw/there","components":{
"a":{"platform":"sensor","unique_id":"a","name":"Attic","state_topic":"gw/a","unit_of_measurement":"°C"},
"b":{"platform":"sensor","unique_id":"b","name":"Boiler","state_topic":"gw/b","unit_of_measurement":"°C"},
"c":{"platform":"sensor","unique_id":"c","name":"Cellar","state_topic":"gw/c","unit_of_measurement":"°C","availability_topic":"gw/c/there"}}}`)
		asked := func(want ...string) {
			t.Helper()
			w.say("a/ask", "x")
			if got := w.heard(); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		}
		w.say("gw/c/there", "online")
		w.say("gw/c", "12")
		asked("b/hot x", "b/warm x")
		w.say("gw/c/there", "offline")
		w.say("gw/c", "13")
		asked()
		if p := propertyNamed(t, deviceNamed(t, h, "gw"), "cellar"); !p.Away || p.Value != 13.0 {
			t.Errorf("%+v", p)
		}
		w.say("gw/c/there", "online")
		asked("b/warm x")
	})
}

// Whatever comes, the devices that are there stay, and each message that makes no sense is
// counted and named with its topic, or as one of many.
func TestWhatMakesNoSenseIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{})
		bridge, hangUp := connect(t, h, "bridge", nil)
		publish(t, bridge, 1, "zigbee2mqtt/bridge/devices", plugExposes)
		time.Sleep(time.Second)
		publish(t, bridge, 1, "zigbee2mqtt/Desk plug", `{"state":"ON","power":12.5}`)
		for range 300 {
			publish(t, bridge, 1, "zigbee2mqtt/Desk plug", `{"state":"ON","power":`)
			publish(t, bridge, 1, "zigbee2mqtt/bridge/devices", plugExposes[:200])
		}
		for i := range 400 {
			publish(t, bridge, 1, fmt.Sprintf("homeassistant/sensor/s%d/config", i), "{{")
		}
		time.Sleep(time.Second)
		all, err := desk{h}.Devices(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		total := all.OtherFaults
		times := make(map[string]int)
		for _, f := range all.Faults {
			times[f.Topic] = f.Times
			total += f.Times
		}
		if total != 1000 || times["zigbee2mqtt/Desk plug"] != 300 || times["zigbee2mqtt/bridge/devices"] != 300 || len(times) > 250 {
			t.Errorf("%d messages are counted, %d of them on other topics than %d; %d and %d on two", total, all.OtherFaults, len(times), times["zigbee2mqtt/Desk plug"], times["zigbee2mqtt/bridge/devices"])
		}
		if p := propertyNamed(t, deviceNamed(t, h, "desk_plug"), "power"); p.Value != 12.5 || p.Bad == "" {
			t.Errorf("%+v", p)
		}
		publish(t, bridge, 1, "zigbee2mqtt/Desk plug", `{"state":"ON","power":3}`)
		time.Sleep(time.Second)
		all, _ = desk{h}.Devices(t.Context())
		if slices.ContainsFunc(all.Faults, func(f control.Fault) bool { return f.Topic == "zigbee2mqtt/Desk plug" }) {
			t.Error("what is right again is still named")
		}
		hangUp()
		stop()
	})
}

// A board without a clock of its own starts in 1970, and a time service sets it later: what a
// device said before is as old as it is, there and after a restart.
func TestTheClockIsSetLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := load(t, t.TempDir(), "")
		var set atomic.Bool
		clock := testClock()
		clock.Known = set.Load
		clock.Wall = func() time.Time {
			if set.Load() {
				return time.Now()
			}
			return time.Unix(0, 0).Add(clock.Mono())
		}
		h, stop := start(t, cfg, Options{Clock: clock})
		w := newWorld(t, h)
		w.announce("zigbee2mqtt/bridge/devices", plugExposes)
		w.say("zigbee2mqtt/Desk plug", `{"state":"ON","power":12.5}`)
		if _, err := (desk{h}).Set(t.Context(), "desk_plug", "off"); err != nil {
			t.Fatal(err)
		}
		said := time.Now()
		time.Sleep(time.Hour)
		set.Store(true)
		time.Sleep(2 * time.Second)
		near := func(what string, at time.Time) {
			t.Helper()
			if d := at.Sub(said).Abs(); d > 10*time.Second {
				t.Errorf("%s: %v", what, at)
			}
		}
		plug := deviceNamed(t, h, "desk_plug")
		near("the device", plug.Seen)
		near("its power", propertyNamed(t, plug, "power").At)
		near("what it was told", propertyNamed(t, plug, "state").AskedAt)
		view, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		near("the start of the hub", view.Started)
		w.leave()
		stop()
		h, stop = start(t, cfg, Options{})
		defer stop()
		near("after a restart", propertyNamed(t, deviceNamed(t, h, "desk_plug"), "power").At)
	})
}

// A sensor whose announcement says for how long a value counts is unavailable when it has been
// silent for longer: rules do not go on with the last value, neither before a reload nor after.
func TestASensorThatFellSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		house := `
[device]
shed = { id = "homeassistant/shed" }

[rule.ask]
trigger = { event = "a/ask" }
condition = { state = { "shed" = true } }
action = { publish = "b/on", payload = "x" }
`
		h, stop := start(t, load(t, dir, house), Options{})
		defer stop()
		w := newWorld(t, h, "b/#")
		defer w.leave()
		w.announce("homeassistant/binary_sensor/shed/config", `{"name":"Shed","state_topic":"shed/state","unique_id":"shed","expire_after":30,"device":{"identifiers":["shed"]}}`)
		asked := func(when string, want ...string) {
			t.Helper()
			if w.say("a/ask", "x"); !slices.Equal(w.heard(), want) {
				t.Errorf("%s: want %q", when, want)
			}
		}
		w.say("shed/state", "ON")
		time.Sleep(20 * time.Second)
		asked("it is on", "b/on x")
		time.Sleep(20 * time.Second)
		asked("it has been silent")
		if err := h.Reload(load(t, dir, house+"\n# a comment\n")); err != nil {
			t.Fatal(err)
		}
		asked("after a reload")
		w.say("shed/state", "ON")
		asked("it is back", "b/on x")
	})
}

// In an empty house a device of Zigbee2MQTT is there because its bridge is; that it says so itself
// makes no difference, and what it said does not count any more once the owner has that off.
func TestADeviceBeginsToSayThatItIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		house := `
[device]
desk = { id = "zigbee2mqtt/0x00158d00018255df" }

[rule.there]
trigger = { event = "a/ask" }
condition = { state = { "desk.availability" = true } }
action = { publish = "b/there", payload = "true" }

[rule.away]
trigger = { event = "a/ask" }
condition = { state = { "desk.availability" = false } }
action = { publish = "b/there", payload = "false" }
`
		h, stop := start(t, load(t, dir, house), Options{})
		defer stop()
		w := newWorld(t, h, "b/#")
		defer w.leave()
		is := func(when string, want bool) {
			t.Helper()
			time.Sleep(65 * time.Second)
			if on := deviceNamed(t, h, "desk").Online; on == nil || *on != want {
				t.Errorf("%s: online is not %v", when, want)
			}
			if w.say("a/ask", "x"); !slices.Equal(w.heard(), []string{fmt.Sprintf("b/there %v", want)}) {
				t.Errorf("%s: the rules do not know it", when)
			}
		}
		w.announce("zigbee2mqtt/bridge/devices", plugExposes)
		w.announce("zigbee2mqtt/bridge/state", `{"state":"online"}`)
		is("its bridge is there", true)
		w.announce("zigbee2mqtt/Desk plug/availability", `{"state":"online"}`)
		is("it says so itself", true)
		w.announce("zigbee2mqtt/Desk plug/availability", `{"state":"offline"}`)
		is("it is away", false)
		if err := h.Reload(load(t, dir, house+"\n# a comment\n")); err != nil {
			t.Fatal(err)
		}
		is("after a reload", false)
		w.announce("zigbee2mqtt/Desk plug/availability", `{"state":"online"}`)
		is("it is back", true)
		w.announce("zigbee2mqtt/Desk plug/availability", `{"state":"offline"}`)
		w.announce("zigbee2mqtt/bridge/info", `{"config":{"availability":false}}`)
		is("nobody asks it any more", true)
	})
}

// A page that watches is told of a device as it has found it: with its unit and what it is
// called, its main property once, and nothing of what is compared with a secret.
func TestThePageIsToldOfDevicesAsItFoundThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[secret]
code = "1234"

[device]
washer = { id = "homie/a", room = "Cellar" }

[rule.power]
trigger = { state = "washer.relay_power", above = 5 }
action = { publish = "b/power", payload = "x" }

[rule.code]
trigger = { event = "washer.relay_code" }
condition = 'value == secret("code")'
action = { set = "washer", to = true }
`), Options{})
		defer stop()
		w := newWorld(t, h)
		defer w.leave()
		w.plug("a", powerToo+`,"code":{"name":"Code","datatype":"string"}`)
		say := func(power string) {
			w.say("homie/5/a/relay/on", "true")
			w.say("homie/5/a/relay/code", "1234")
			w.say("homie/5/a/relay/power", power)
		}
		say("800")
		shown := func(all []web.Reading) (text string) {
			for _, r := range all {
				text += r.Source + " = " + r.Text + " (" + r.Of + ")\n"
			}
			return text
		}
		view, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const want = "washer.relay_on = on (Plug a, Cellar)\nwasher.relay_code = *** (Plug a, Cellar)\nwasher.relay_power = 800 W (Plug a, Cellar)\n"
		slices.SortFunc(view.Readings, func(a, b web.Reading) int {
			return strings.Index(want, a.Source+" ") - strings.Index(want, b.Source+" ")
		})
		if got := shown(view.Readings); got != want {
			t.Errorf("it found\n%swant\n%s", got, want)
		}
		events, end := page{h}.Watch()
		say("800")
		var told []web.Reading
		for len(events) > 0 {
			if e := <-events; e.Reading != nil {
				told = append(told, *e.Reading)
			}
		}
		if got := shown(told); got != want {
			t.Errorf("it was told\n%swant\n%s", got, want)
		}
		end()
	})
}

// A Shelly, or what says so, that comes a thousand times in a moment is asked once for all it has,
// and again when it comes later.
func TestADeviceIsNotAskedAtEachWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{})
		defer stop()
		var asked atomic.Int32
		shelly, hangUp := connect(t, h, "shelly", func(*paho.Publish) { asked.Add(1) })
		defer hangUp()
		if _, err := shelly.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "shellyplus1-a8032abe54dc/rpc", QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			publish(t, shelly, 1, "shellyplus1-a8032abe54dc/online", "true")
		}
		time.Sleep(time.Second)
		once := asked.Load()
		if once == 0 || once > 10 {
			t.Errorf("asked %d times", once)
		}
		time.Sleep(time.Minute)
		publish(t, shelly, 1, "shellyplus1-a8032abe54dc/online", "true")
		time.Sleep(time.Second)
		if asked.Load() != 2*once {
			t.Errorf("asked %d times, and %d in all a minute later", once, asked.Load())
		}
	})
}
