package hub

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/control"
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
