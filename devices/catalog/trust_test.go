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
	guest  = rights("homeassistant/+/guest/+/config", "guest/#", "+/bridge/devices")
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
