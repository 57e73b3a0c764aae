package hub

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"hearth/broker"
	"hearth/control"
	"hearth/gpio"
)

// A neighbour is a client of the broker that the house uses, beside the hub.
type neighbour struct {
	t      *testing.T
	client *paho.Client
	mu     sync.Mutex
	heard  []string
}

func neighbourOf(t *testing.T, b *broker.Broker, id string, filters ...string) *neighbour {
	t.Helper()
	here, there := net.Pipe()
	go b.Attach(there)
	n := &neighbour{t: t}
	n.client = paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(here), OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.heard = append(n.heard, p.Packet.Topic+" "+string(p.Packet.Payload))
			return true, nil
		},
	}})
	if _, err := n.client.Connect(t.Context(), &paho.Connect{ClientID: id, CleanStart: true}); err != nil {
		t.Fatal(err)
	}
	for _, f := range filters {
		if _, err := n.client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f, QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *neighbour) say(topic, payload string, retain bool) {
	n.t.Helper()
	if _, err := n.client.Publish(n.t.Context(), &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: retain}); err != nil {
		n.t.Errorf("publish %s: %v", topic, err)
	}
	time.Sleep(100 * time.Millisecond)
}

// hears compares what was heard since the last time.
func (n *neighbour) hears(want ...string) {
	n.t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	// That the house is there may come once as a message and once as what is retained.
	heard := slices.CompactFunc(n.heard, func(a, b string) bool { return a == b && strings.HasPrefix(a, "hearth/status ") })
	if !slices.Equal(heard, want) {
		n.t.Errorf("heard %q, want %q", heard, want)
	}
	n.heard = nil
}

func retainedAt(b *broker.Broker, topic string) (value string) {
	for _, v := range b.RetainedValues(topic) {
		value = string(v.Payload)
	}
	return value
}

func openBroker(t *testing.T) *broker.Broker {
	t.Helper()
	b, err := broker.Open(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const connected = `
[broker]
connect = "mqtt://mosquitto.lan:1883"
[output.lamp]
pin = "GPIO17"
[rule.press]
trigger = { event = "button/action", is = "single" }
action = { publish = "bell/ring", payload = "once", qos = 1 }
[rule.door]
trigger = { state = "door/state", is = "open" }
action = { publish = "siren/set", payload = "ON", qos = 1 }
[rule.answer]
trigger = { event = "siren/set" }
action = { publish = "siren/heard", payload = "{{ msg }}" }
`

// The house's broker is another one. What its clients publish the rules hear once, and
// what is found there, or found again, begins nothing; live messages may carry the
// retain flag all the same. The hub's own are not heard a second time.
func TestAHouseAtAnotherBroker(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		other := openBroker(t)
		defer other.Close()
		way := new(cable)
		way.plug(other)
		device := neighbourOf(t, other, "device", "bell/#", "siren/#")
		device.say("button/action", "single", true) // as some devices do
		device.say("door/state", "open", true)
		device.say("hearth/lamp/set", "ON", true)
		config := strings.Replace(connected, `"{{ msg }}"`, `"yes"`, 1)
		h, stop := start(t, load(t, dir, config), Options{Bank: gpio.NewSim(), dial: way.dial})
		time.Sleep(10 * time.Second)
		device.hears()
		if got := retainedAt(other, "hearth/lamp/state"); got != "OFF" {
			t.Errorf("the lamp is said to be %q there, want OFF", got)
		}
		for topic, want := range map[string]string{"hearth/status": "online", "hearth/bridge/broker/availability": ""} {
			if got := retainedAt(other, topic); got != want {
				t.Errorf("%s is %q there, want %q", topic, got, want)
			}
		}

		device.say("button/action", "single", true)
		device.hears("bell/ring once")
		device.say("button/action", "single", false)
		device.hears("bell/ring once")
		device.say("door/state", "closed", true)
		device.say("door/state", "open", true)
		device.hears("siren/set ON", "siren/heard yes")
		device.say("hearth/lamp/set", "ON", false)
		time.Sleep(time.Second)
		if got := retainedAt(other, "hearth/lamp/state"); got != "ON" {
			t.Errorf("the lamp is said to be %q there, want ON", got)
		}
		device.say("hearth/status", "", true) // somebody tidies up
		device.say("hearth/lamp/state", "", true)
		time.Sleep(20 * time.Second)
		for topic, want := range map[string]string{"hearth/status": "online", "hearth/lamp/state": "ON"} {
			if got := retainedAt(other, topic); got != want {
				t.Errorf("after it was cleared %s is %q there, want %q", topic, got, want)
			}
		}
		device.say("hearth/lamp/state", "OFF", true) // which is not its to say
		time.Sleep(time.Second)
		if got := retainedAt(h.broker, "hearth/lamp/state"); got != "ON" {
			t.Errorf("the lamp is said to be %q here, want ON", got)
		}

		// The link breaks for a moment: all is found again, and nothing happens.
		way.plug(other)
		time.Sleep(20 * time.Second)
		device.hears()
		s, ok := h.Elsewhere()
		if !ok || !s.Connected || s.Refused != 0 || s.Dropped != 0 {
			t.Errorf("status %+v, %v", s, ok)
		}
		stop()
		if got := retainedAt(other, "hearth/status"); got != "offline" {
			t.Errorf("after the stop hearth/status is %q there, want offline", got)
		}
	})
}

// The link is down for a day. Rules and pins go on, what they publish with QoS 1
// waits, and in the end both sides know what is so.
func TestADayWithoutTheBroker(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		other := openBroker(t)
		defer other.Close()
		way := new(cable)
		way.plug(other)
		device := neighbourOf(t, other, "device", "bell/#", "hearth/status")
		device.say("door/state", "closed", true)
		device.say("ghost/state", "here", true)
		var log bytes.Buffer
		sim := gpio.NewSim()
		config := strings.Replace(connected, `"{{ msg }}"`, `"yes"`, 1) + "[input.button]\npin = \"GPIO27\"\n[rule.bell]\ntrigger = { state = \"button\", is = true }\naction = [{ publish = \"bell/ring\", payload = \"indoors\", qos = 1 }, { set = \"lamp\", to = \"toggle\" }]\n"
		h, stop := start(t, load(t, dir, config), Options{Bank: sim, dial: way.dial, Log: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(10 * time.Second)
		device.hears("hearth/status online")
		if got := retainedAt(h.broker, "ghost/state"); got != "here" {
			t.Errorf("ghost/state is %q here, want here", got)
		}

		way.plug(nil)
		time.Sleep(time.Minute)
		device.hears("hearth/status offline") // its will
		if trouble := h.linkTrouble(); !strings.HasPrefix(trouble, "no link to the broker mqtt://mosquitto.lan:1883 since ") {
			t.Errorf("the page says %q", trouble)
		}
		for range 3 {
			sim.Drive("GPIO27", true)
			time.Sleep(time.Second)
			sim.Drive("GPIO27", false)
			time.Sleep(time.Second)
		}
		device.say("door/state", "open", true)
		device.say("ghost/state", "", true)
		time.Sleep(24 * time.Hour)
		way.plug(other)
		time.Sleep(2 * time.Minute)
		device.hears("bell/ring indoors", "bell/ring indoors", "bell/ring indoors", "hearth/status online")
		if got := retainedAt(other, "hearth/lamp/state"); got != "ON" {
			t.Errorf("the lamp is said to be %q there, want ON", got)
		}
		if got := retainedAt(h.broker, "door/state"); got != "open" {
			t.Errorf("door/state is %q here, want open", got)
		}
		if got := retainedAt(h.broker, "ghost/state"); got != "" {
			t.Errorf("ghost/state is %q here, and was deleted there", got)
		}
		stop()
		if n := strings.Count(log.String(), "bridge=broker"); n != 4 {
			t.Errorf("%d lines of log about the link, want 4: linked, lost, not there, linked:\n%s", n, &log)
		}
	})
}

// The broker comes back with nothing of what it had: no session, no retained values.
// What the hub says of itself is there again, and what devices had said is not
// brought back by the hub.
func TestTheBrokerForgetsAll(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		other := openBroker(t)
		way := new(cable)
		way.plug(other)
		neighbourOf(t, other, "device").say("door/state", "closed", true)
		h, stop := start(t, load(t, dir, strings.Replace(connected, `"{{ msg }}"`, `"yes"`, 1)), Options{Bank: gpio.NewSim(), dial: way.dial})
		time.Sleep(10 * time.Second)
		way.plug(nil)
		other.Close()
		time.Sleep(time.Minute)
		other = openBroker(t)
		way.plug(other)
		time.Sleep(3 * time.Minute)
		for topic, want := range map[string]string{"hearth/lamp/state": "OFF", "hearth/status": "online", "door/state": ""} {
			if got := retainedAt(other, topic); got != want {
				t.Errorf("%s is %q there, want %q", topic, got, want)
			}
		}
		if got := retainedAt(h.broker, "door/state"); got != "" {
			t.Errorf("door/state is %q here, which nobody says any more", got)
		}
		device := neighbourOf(t, other, "device", "bell/#")
		device.say("button/action", "single", false)
		device.hears("bell/ring once")
		stop()
		other.Close()
	})
}

// Without the broker a house starts and works: the pins, the rules, what was found in
// the last life. And a reload goes from the hub's own broker to another and back.
func TestAHouseWithoutItsBroker(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		other := openBroker(t)
		defer other.Close()
		way := new(cable)
		const own = "[output.lamp]\npin = \"GPIO17\"\n[input.button]\npin = \"GPIO27\"\n[link.button]\nfrom = \"button\"\nto = \"lamp\"\n"
		const elsewhere = "[broker]\nconnect = { address = \"mosquitto.lan:1883\", topics = [\"door/#\", \"hearth/#\"] }\n" + own
		sim := gpio.NewSim()
		h, stop := start(t, load(t, dir, elsewhere), Options{Bank: sim, dial: way.dial})
		time.Sleep(time.Minute)
		sim.Drive("GPIO27", true)
		time.Sleep(time.Second)
		if got := retainedAt(h.broker, "hearth/lamp/state"); got != "ON" {
			t.Errorf("the lamp is %q without the broker, want ON", got)
		}
		if h.heard("anything") {
			t.Error("somebody hears what is said without a link")
		}
		way.plug(other)
		time.Sleep(2 * time.Minute)
		if got := retainedAt(other, "hearth/lamp/state"); got != "ON" {
			t.Errorf("the lamp is said to be %q there, want ON", got)
		}
		device := neighbourOf(t, other, "device")
		device.say("door/state", "open", true)
		device.say("window/state", "open", true)
		if door, window := retainedAt(h.broker, "door/state"), retainedAt(h.broker, "window/state"); door != "open" || window != "" {
			t.Errorf("door/state is %q and window/state %q here, want open and nothing", door, window)
		}

		if err := h.Reload(load(t, dir, own)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := retainedAt(other, "hearth/status"); got != "offline" {
			t.Errorf("hearth/status is %q there, want offline", got)
		}
		if _, ok := h.Elsewhere(); ok || h.heard("anything") || retainedAt(h.broker, "hearth/bridge/broker/availability") != "" {
			t.Error("something of the link is left")
		}
		sim.Drive("GPIO27", false)
		time.Sleep(time.Second)
		if got := retainedAt(other, "hearth/lamp/state"); got != "ON" {
			t.Errorf("the lamp is still said to be %q there", got)
		}
		if err := h.Reload(load(t, dir, elsewhere)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := retainedAt(other, "hearth/lamp/state"); got != "OFF" {
			t.Errorf("after the way back the lamp is said to be %q there, want OFF", got)
		}
		stop()

		// In the next life there is no link, and the door is as it was.
		way.plug(nil)
		h, stop = start(t, load(t, dir, elsewhere), Options{Bank: sim, dial: way.dial})
		time.Sleep(time.Second)
		if got := retainedAt(h.broker, "door/state"); got != "open" {
			t.Errorf("after the restart door/state is %q here, want open", got)
		}
		stop()
	})
}

// While the link is down nobody hears of a device, so it is not said to be online, and nobody can
// tell it anything. What is retained there can't be cleared here: it would be back.
func TestWithoutTheLinkNothingIsSaidToBeSo(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		other := openBroker(t)
		defer other.Close()
		way := new(cable)
		way.plug(other)
		bridge := neighbourOf(t, other, "zigbee2mqtt", "zigbee2mqtt/+/set")
		bridge.say("zigbee2mqtt/bridge/state", `{"state":"online"}`, true)
		bridge.say("zigbee2mqtt/bridge/devices", plugExposes, true)
		bridge.say("zigbee2mqtt/Desk plug/availability", `{"state":"online"}`, true)
		bridge.say("zigbee2mqtt/Desk plug", `{"state":"ON","power":5}`, true)
		bridge.say("tele/old", "1", true)
		h, stop := start(t, load(t, dir, "[broker]\nconnect = \"mqtt://mosquitto.lan:1883\"\n"), Options{dial: way.dial})
		defer stop()
		time.Sleep(10 * time.Second)
		desk := desk{h}
		online := func() *bool { return deviceNamed(t, h, "desk_plug").Online }
		if on := online(); on == nil || !*on {
			t.Fatal("the plug is not online")
		}

		way.plug(nil)
		time.Sleep(time.Minute)
		all, err := desk.Devices(t.Context())
		if err != nil || !strings.HasPrefix(all.Unlinked, "no link to the broker mqtt://mosquitto.lan:1883 since ") || online() != nil {
			t.Errorf("devices: %q, %v, online %v", all.Unlinked, err, online())
		}
		if n, err := desk.ClearRetained(t.Context(), "tele/#"); n != 0 || !errors.As(err, new(control.Mistake)) || !strings.HasPrefix(err.Error(), "there is no link to mqtt://mosquitto.lan:1883") {
			t.Errorf("clear: %d, %v", n, err)
		}
		if retainedAt(h.broker, "tele/old") != "1" {
			t.Error("it was deleted here")
		}
		if _, err := desk.Set(t.Context(), "desk_plug", "off"); !errors.As(err, new(control.Mistake)) || !strings.HasPrefix(err.Error(), "desk_plug was told nothing: no link to the broker mqtt://mosquitto.lan:1883 since ") {
			t.Errorf("set: %v", err)
		}

		way.plug(other)
		time.Sleep(time.Minute)
		bridge.hears()
		if n, err := desk.ClearRetained(t.Context(), "tele/#"); n != 1 || err != nil {
			t.Errorf("clear: %d, %v", n, err)
		}
		time.Sleep(time.Second)
		if got := retainedAt(other, "tele/old"); got != "" {
			t.Errorf("tele/old is %q there", got)
		}
		if on := online(); on == nil || !*on {
			t.Error("the plug is not online again")
		}
	})
}
