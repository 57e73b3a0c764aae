package hub

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hearth/gpio"
	"hearth/history"
	"hearth/web"
)

// Each thing on the page of the house is found in the history by the name that it tells of
// itself, with the topics by which it is judged who may see it; what is compared with a secret
// is not.
func TestWhatThePageRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[output.heater]
pin = "GPIO22"
[output.strip]
pin = "GPIO18"
period = "20s"
[secret]
code = "1234"
[rule.cold]
trigger = { state = "kitchen/climate:temperature", below = 19 }
action = { publish = "kitchen/cold", payload = "yes" }
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df" }
[rule.code]
trigger = { state = "door/code" }
condition = "string(value) == secret('code')"
action = { set = "heater", to = true }
`), Options{Bank: gpio.NewSim()})
		defer stop()
		bridge, hangUp := connect(t, h, "bridge", nil)
		defer hangUp()
		publish(t, bridge, 0, "zigbee2mqtt/bridge/devices", plugExposes)
		time.Sleep(time.Second)
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"OFF","power":7.5}`)
		publish(t, bridge, 0, "kitchen/climate", `{"temperature":21.5}`)
		publish(t, bridge, 0, "door/code", `1234`)
		time.Sleep(time.Second)
		if err := (page{h}).Switch(t.Context(), "heater", false); err != nil {
			t.Fatal(err)
		}
		if err := (page{h}).Tell(t.Context(), "strip", 40.0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)

		past, err := page{h}.History(t.Context())
		if err != nil || past != h.past {
			t.Fatal(past, err)
		}
		all, err := page{h}.Recorded(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]web.Series)
		for _, s := range all {
			found[s.Name] = s
		}
		for name, want := range map[string]string{
			"heater": "switch  [hearth/heater/state]", "plug.power": "number W [zigbee2mqtt/Desk plug]", "plug.state": "switch  [zigbee2mqtt/Desk plug]",
			"kitchen/climate:temperature": "number  [kitchen/climate]", "plug": "switch  [zigbee2mqtt/Desk plug]",
			"strip": "switch  [hearth/strip/state]", "strip.level": "number % [hearth/strip/state]",
		} {
			if got := found[name]; fmt.Sprint(got.Kind, " ", got.Unit, " ", got.Topics) != want {
				t.Errorf("%s: %s %s %s, want %s; there are %v", name, got.Kind, got.Unit, got.Topics, want, slices.Sorted(maps.Keys(found)))
			}
		}
		if s, ok := found["door/code"]; ok {
			t.Errorf("what is compared with a secret is shown: %+v", s)
		}
		if some, err := (page{h}).Recorded(t.Context(), "door/code", "nothing", "heater"); err != nil || len(some) != 1 || some[0].Name != "heater" {
			t.Errorf("%+v %v", some, err)
		}
		v, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, thing := range v.Things {
			for _, p := range thing.Properties {
				if s, ok := found[p.Series]; !ok || fmt.Sprint(s.Topics) != fmt.Sprint(p.See) || p.Kind == "level" && s.Kind != history.Number {
					t.Errorf("%s.%s is recorded as %q: %v %v, seen by %v", thing.Name, p.Name, p.Series, ok, s.Topics, p.See)
				}
			}
		}
	})
}

func TestAHouseThatRemembersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), "[history]\nenabled = false\n"), Options{Bank: gpio.NewSim()})
		defer stop()
		if _, err := (page{h}).Recorded(t.Context()); err == nil || err.Error() != "no history is kept: [history] has enabled = false" {
			t.Error(err)
		}
	})
}
