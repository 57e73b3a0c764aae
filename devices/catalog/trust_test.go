package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// Those who announce something in these stories: dev may publish everything, the guest and the
// garage only what is theirs.
func dev(string) bool { return true }

var (
	guest  = rights("homeassistant/+/guest/+/config", "guest/#")
	garage = rights("homeassistant/+/garage1/+/config", "garage/#")
)

func rights(filters ...string) func(string) bool {
	return func(topic string) bool {
		return slices.ContainsFunc(filters, func(f string) bool { return devices.MatchTopic(f, topic) })
	}
}

// announces takes what somebody with rights announces.
func (h *home) announces(topic, payload string, may func(string) bool) {
	h.Take(devices.Message{Topic: topic, Payload: []byte(payload), Retain: true, May: may})
	for h.Rest() {
	}
	h.Settle(h.now.Wall)
}

// told is the topic on which a property is told to go on, or why it can't be.
func (h *home) told(device, property string) string {
	m, err := h.Tell(h.find(device), property, "on", devices.Origin{}, h.now)
	if err != nil {
		return err.Error()
	}
	return m.Topic + " " + m.Payload
}

// The owner of a topic for commands named it first. A stranger who announces the same topic with
// other words, for a device of which both may tell, is judged by his own rights.
func TestNoVerdictVouchesForAStranger(t *testing.T) {
	h := newHome(t, nil)
	friend := func(topic string) bool { return strings.HasPrefix(topic, "homeassistant/") }
	h.announces("homeassistant/switch/garage1/config", `{"name":"door","unique_id":"g1","command_topic":"garage/set","device":{"identifiers":["garage1"],"name":"garage"}}`, dev)
	h.announces("homeassistant/switch/b/config", `{"name":"b","unique_id":"evilB","command_topic":"garage/set","payload_on":"OPEN","device":{"identifiers":["garage1"]}}`, friend)
	if got := h.told("garage", "door"); got != "garage/set ON" {
		t.Error("the owner's:", got)
	}
	if s, ok := h.Find("garage"); ok {
		if _, err := s.Property("b"); err == nil && !strings.Contains(h.told("garage", "b"), "only reports") {
			t.Error("the stranger's:", h.told("garage", "b"))
		}
	}
}

// Thousands of refused topics cost nothing when somebody else talks.
func TestRefusedTopicsDoNotSlowOthers(t *testing.T) {
	h := newHome(t, nil)
	for i := range 1000 {
		h.Take(devices.Message{Topic: fmt.Sprintf("homeassistant/switch/guest/s%d/config", i), Retain: true, May: guest,
			Payload: fmt.Appendf(nil, `{"name":"x","unique_id":"u%d","command_topic":"garage/%[1]d","device":{"identifiers":["d%[1]d"]}}`, i)})
	}
	h.Settle(h.now.Wall)
	start := time.Now()
	for range 20_000 { // which were twenty million verdicts to look at
		h.Take(devices.Message{Topic: "tele/junk/STATE", Payload: []byte("{}"), May: dev})
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("20000 messages took %v", took)
	}
}

const (
	garageTopic = "homeassistant/switch/garage1/config"
	garageSays  = `{"name":"door","unique_id":"g1","command_topic":"garage/set","state_topic":"garage/state","device":{"identifiers":["garage1"],"name":"garage","suggested_area":"Yard"}}`
	lampTopic   = "homeassistant/switch/lamp1/config"
	lampSays    = `{"name":"lamp","unique_id":"l1","command_topic":"lamp/set","state_topic":"lamp/state","device":{"identifiers":["lampid"],"name":"lamp"}}`
)

// The guest's announcements of the garage: the same switch with his topics, a sensor of it that makes it
// offline and calls it otherwise, and one that makes it and the lamp one device.
var attacks = map[string]string{
	"homeassistant/switch/guest/door/config":   `{"name":"door","unique_id":"g1","command_topic":"guest/set","state_topic":"guest/state","device":{"identifiers":["garage1"],"name":"garage"}}`,
	"homeassistant/sensor/guest/x/config":      `{"name":"x","unique_id":"x","state_topic":"guest/x","availability_topic":"guest/available","device":{"identifiers":["garage1"],"name":"mine","suggested_area":"Mine"}}`,
	"homeassistant/sensor/guest/glue/config":   `{"name":"y","unique_id":"y","state_topic":"guest/y","device":{"identifiers":["aaa","garage1","lampid"]}}`,
	"homeassistant/switch/guest/garage/config": `{"name":"z","command_topic":"guest/set","device":{"connections":[["mac","aa:bb:cc:dd:ee:ff"]],"identifiers":["lampid"]}}`,
}

// whole says what the garage and the lamp are, as the house sees them.
func (h *home) whole() string {
	var all []string
	for _, s := range h.All() {
		if s.ID == "homeassistant/garage1" || s.ID == "homeassistant/lampid" || s.ID == "homeassistant/aaa" {
			all = append(all, fmt.Sprint(s.ID, " ", s.Called, " ", s.Name, " ", s.Room, " ", s.PropertyNames(), " ", len(s.Available.Reports), " ", s.Denied, " ", h.told(s.Called, "")))
		}
	}
	return strings.Join(all, "\n")
}

func TestNobodyTakesOverAnothersDevice(t *testing.T) {
	for topic, payload := range attacks {
		h := newHome(t, nil)
		h.announces(garageTopic, garageSays, dev)
		h.announces(lampTopic, lampSays, dev)
		want := h.whole()
		h.announces(topic, payload, guest)
		if got := h.whole(); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", topic, got, want)
		}
		faults, _ := h.Faults()
		if len(faults) != 1 || faults[0].Topic != topic || !strings.Contains(faults[0].Why, "about what homeassistant/switch/") {
			t.Errorf("%s: the faults are %v", topic, faults)
		}
		h.announces(topic, "", guest)
		if got := h.whole(); got != want {
			t.Errorf("%s, taken back:\n%s\nwant\n%s", topic, got, want)
		}
		if faults, _ := h.Faults(); len(faults) != 0 {
			t.Errorf("%s, taken back: the faults are %v", topic, faults)
		}

		// The guest was there first: he is put out.
		h = newHome(t, nil)
		h.announces(topic, payload, guest)
		h.announces(garageTopic, garageSays, dev)
		h.announces(lampTopic, lampSays, dev)
		if got := h.whole(); strings.Contains(got, "guest") || strings.Contains(got, "Mine") || strings.Contains(got, "aaa") || strings.Count(got, " 0 [] ") != 2 {
			t.Errorf("%s, first:\n%s\nwant\n%s", topic, got, want)
		}
		if faults, _ := h.Faults(); len(faults) != 1 || faults[0].Topic != topic {
			t.Errorf("%s, first: the faults are %v", topic, faults)
		}
	}
}

// Neither may publish what the other announces. Who was there first has the device, also if the
// stranger's topic is the first that is read at a start, until it is taken back.
func TestWhoWasFirstHasTheDevice(t *testing.T) {
	const topic = "homeassistant/switch/guest/door/config"
	const own = "homeassistant/switch/garage1/door/config"
	h := newHome(t, nil)
	says := rights("homeassistant/switch/garage1/#", "garage/#")
	h.announces(own, garageSays, says)
	want := h.whole()
	h.announces(topic, attacks[topic], guest)
	if got := h.whole(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for range 2 {
		h = h.again(h.Changes(true), nil)
		h.announces(topic, attacks[topic], guest)
		if got := h.find("garage"); !got.Silent {
			t.Error("the guest's message was taken for the garage's:", h.whole())
		}
		h.announces(own, garageSays, says)
		if got := h.whole(); got != want {
			t.Errorf("after a restart:\n%s\nwant\n%s", got, want)
		}
	}
	h.announces(own, "", says)
	h.announces(topic, attacks[topic], guest)
	if got := h.told("garage", ""); got != "guest/set ON" {
		t.Error("when the garage is nobody's:", got)
	}
}

// A stranger who names the address of a device, in whatever way, is no part of it.
func TestNobodyJoinsADeviceByItsAddress(t *testing.T) {
	h := newHome(t, nil)
	list := `[{"ieee_address":"0x00158d00018255df","type":"Router","supported":true,"friendly_name":"plug","definition":{"model":"P","vendor":"V","exposes":[
{"type":"switch","features":[{"type":"binary","name":"state","property":"state","access":7,"value_on":"ON","value_off":"OFF"}]}]},"power_source":"Mains"}]`
	mine := `{"name":"extra","unique_id":"e","state_topic":"guest/e","unit_of_measurement":"W","device":{"identifiers":["zigbee2mqtt_0x00158d00018255df"],"name":"plug"}}`
	h.announces("zigbee2mqtt/bridge/devices", list, dev)
	h.announces("homeassistant/sensor/guest/e/config", mine, guest)
	if s := h.find("plug"); len(s.Also) > 0 || s.ID != "zigbee2mqtt/0x00158d00018255df" {
		t.Error("the plug:", s.ID, s.Also, s.PropertyNames())
	}
	h.announces("homeassistant/sensor/other/e/config", mine, dev) // which puts the guest out
	if s := h.find("plug"); len(s.Also) != 1 {
		t.Error("the plug with what its owner says of it:", s.ID, s.Also, s.PropertyNames())
	}

	// And nobody takes the place of one by a convention that is closer to it.
	h = newHome(t, nil)
	h.announces("homeassistant/switch/plug/config", `{"name":"plug","unique_id":"e","command_topic":"plug/set","device":{"identifiers":["0x00158d00018255df"],"name":"plug"}}`, dev)
	h.announces("guest/bridge/devices", list, guest)
	if got := h.told("plug", ""); got != "plug/set ON" {
		t.Error("the plug by another bridge:", got)
	}
}

// Roles are loaded anew: what was allowed is not any more, and the other way round.
func TestRightsThatChange(t *testing.T) {
	h := newHome(t, nil)
	h.announces(garageTopic, garageSays, dev)
	h.announces("homeassistant/sensor/guest/x/config", strings.ReplaceAll(attacks["homeassistant/sensor/guest/x/config"], "mine", "garage"), dev)
	if got := h.find("garage").PropertyNames(); len(got) != 2 {
		t.Error("both:", got)
	}
	h.Rejudge("homeassistant/sensor/guest/x/config", guest)
	h.Settle(h.now.Wall)
	if got := h.find("garage").PropertyNames(); len(got) != 1 || got[0] != "door" {
		t.Error("without the guest's:", got)
	}
	h.Rejudge(garageTopic, rights("homeassistant/#"))
	h.Settle(h.now.Wall)
	if got := h.told("garage", ""); !strings.Contains(got, "only reports") {
		t.Error("without the right:", got)
	}
	h.Rejudge(garageTopic, garage)
	h.Settle(h.now.Wall)
	if got := h.told("garage", ""); got != "garage/set ON" {
		t.Error("with it:", got)
	}
}
