package catalog

import (
	"strings"
	"testing"
)

// What a device has said of whether it is there stays said when it is asked on more topics, on
// fewer, in another order, or by another name.
func TestWhatWasSaidOfAvailabilityStays(t *testing.T) {
	z2m := func(name string) string {
		return "r zigbee2mqtt/bridge/devices " + strings.ReplaceAll(`[{"ieee_address":"0x01","type":"Router","supported":true,"friendly_name":"Plug","definition":{"model":"P","vendor":"V","exposes":[{"type":"binary","name":"state","property":"state","access":3,"value_on":"ON","value_off":"OFF"}]},"power_source":"Mains"}]`, "Plug", name)
	}
	ha := func(mode string, topics ...string) string {
		return `r homeassistant/switch/p/config {"unique_id":"p","device":{"identifiers":["p"],"name":"Plug"},"name":"Plug","command_topic":"p/set","state_topic":"p","availability_mode":"` + mode + `","availability":[{"topic":"` + strings.Join(topics, `"},{"topic":"`) + `"}]}`
	}
	homie := func(root string) string {
		return `r homie/5/plug/$description {"homie":"5.0","version":1,"name":"Plug",` + root + `"nodes":{"a":{"properties":{"b":{"datatype":"boolean"}}}}}`
	}
	const on, off = "online", "offline"
	for name, c := range map[string]struct {
		says []string // "r" is before what is found at the start
		want string
	}{
		"zigbee2mqtt, its own is new":          {[]string{z2m("Plug"), "r zigbee2mqtt/bridge/state online", `zigbee2mqtt/Plug/availability {"state":"online"}`, `zigbee2mqtt/Plug/availability {"state":"online"}`}, on},
		"zigbee2mqtt, its own is off":          {[]string{z2m("Plug"), "r zigbee2mqtt/bridge/state online", `zigbee2mqtt/Plug/availability {"state":"online"}`, `zigbee2mqtt/Plug/availability {"state":"offline"}`}, off},
		"zigbee2mqtt, its bridge is off":       {[]string{z2m("Plug"), "r zigbee2mqtt/bridge/state offline", `zigbee2mqtt/Plug/availability online`, `zigbee2mqtt/Plug/availability online`}, off},
		"zigbee2mqtt, it is renamed":           {[]string{z2m("Plug"), "r zigbee2mqtt/bridge/state online", "zigbee2mqtt/Plug/availability online", z2m("Lamp"), "zigbee2mqtt/Lamp/availability online", "zigbee2mqtt/Lamp/availability online"}, on},
		"zigbee2mqtt, it is told later":        {[]string{z2m("Plug"), "r zigbee2mqtt/bridge/state online", `r zigbee2mqtt/bridge/info {"config":{"availability":true}}`, "zigbee2mqtt/Plug/availability online"}, on},
		"zigbee2mqtt, it is not told any more": {[]string{z2m("Plug"), "zigbee2mqtt/bridge/state online", `r zigbee2mqtt/bridge/info {"config":{"availability":true}}`, "zigbee2mqtt/Plug/availability offline", `r zigbee2mqtt/bridge/info {"config":{"availability":false}}`}, on},
		"Home Assistant, all of more":          {[]string{ha("all", "a"), "a online", ha("all", "a", "b"), "b online"}, on},
		"Home Assistant, all of fewer":         {[]string{ha("all", "a", "b"), "a online", "b offline", ha("all", "a")}, on},
		"Home Assistant, all otherwise":        {[]string{ha("all", "a", "b"), "a online", "b offline", ha("all", "b", "a"), "a online"}, off},
		"Home Assistant, others":               {[]string{ha("all", "a", "b"), "a online", "b offline", ha("all", "a", "c"), "c online"}, on},
		"Home Assistant, any of more":          {[]string{ha("any", "a", "b"), "a online", "b offline", ha("any", "a", "b", "c"), "b offline", "c offline"}, on},
		"Home Assistant, any of fewer":         {[]string{ha("any", "a", "b"), "a online", "b offline", ha("any", "b")}, off},
		"Home Assistant, the latest":           {[]string{ha("latest", "a"), "a online", ha("latest", "a", "b"), "b offline"}, off},
		"Homie, a root is new":                 {[]string{homie(""), "r homie/5/plug/$state ready", homie(`"root":"gw",`), "homie/5/gw/$state ready"}, on},
		"Homie, the root is lost":              {[]string{homie(""), "r homie/5/plug/$state ready", homie(`"root":"gw",`), "homie/5/gw/$state lost"}, off},
		"Homie, there is no root any more":     {[]string{homie(`"root":"gw",`), "r homie/5/plug/$state ready", "homie/5/gw/$state lost", homie("")}, on},
	} {
		h := newHome(t, nil)
		for _, said := range c.says {
			said, found := strings.CutPrefix(said, "r ")
			topic, payload, _ := strings.Cut(said, " ")
			h.hears(topic, payload, found)
			if strings.HasSuffix(topic, "/availability") || strings.HasSuffix(topic, "/$state") {
				h.hears(topic, payload, false) // as the hub does once it knows whose it is
			}
			h.Rename() // a reload of the configuration
			h.Settle(h.now.Wall)
		}
		all := h.All()
		if len(all) != 1 || all[0].Online == nil {
			t.Errorf("%s: %+v", name, all)
			continue
		}
		if got := *all[0].Online; got != (c.want == on) {
			t.Errorf("%s: online is %v", name, got)
		}
	}
}
