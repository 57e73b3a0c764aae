package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/gpio"
	"hearth/web"
)

// A house as the page shows it: favourites, the rooms in their order, and what is in none.
func TestTheThingsOfAHouse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[web]
favourites = ["heater", "nothing.such"]
[output.porch]
pin = "GPIO17"
[output.heater]
pin = "GPIO22"
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df", room = "Study", name = "Desk <plug>" }
`), Options{Bank: gpio.NewSim()})
		defer stop()
		bridge, hangUp := connect(t, h, "bridge", nil)
		defer hangUp()
		publish(t, bridge, 0, "zigbee2mqtt/bridge/devices", plugExposes)
		time.Sleep(time.Second)
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"OFF","power":7.5}`)
		time.Sleep(time.Second)
		plug := func() (names string, plug web.Thing) {
			v, err := page{h}.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, thing := range v.Things {
				names += thing.Name + " "
				if thing.Name == "plug" {
					plug = thing
				}
			}
			return names, plug
		}
		names, is := plug()
		if names != "heater plug porch " || is.Label != "Desk <plug>" || is.Room != "Study" || len(is.Properties) != 2 {
			t.Fatalf("%s: %+v", names, is)
		}
		state, power := is.Properties[0], is.Properties[1]
		if state.Kind != "switch" || state.On || !state.Known || !state.Tells || fmt.Sprint(state.See, state.Use) != "[zigbee2mqtt/Desk plug] [zigbee2mqtt/Desk plug/set]" {
			t.Errorf("%+v", state)
		}
		if power.Kind != "value" || power.Level == nil || *power.Level != 7.5 || power.Unit != "W" || power.Tells {
			t.Errorf("%+v", power)
		}

		events, end := page{h}.Watch()
		defer end()
		told := func(want string) {
			t.Helper()
			time.Sleep(100 * time.Millisecond)
			var got []string
			for len(events) > 0 {
				if e := <-events; e.Thing != nil {
					got = append(got, fmt.Sprintf("%s %v %q", e.Thing.Name, e.Thing.Properties[0].On, e.Thing.Properties[0].Asked))
				}
			}
			if len(got) == 0 || got[len(got)-1] != want {
				t.Errorf("the pages were told %v, want %s", got, want)
			}
		}
		for name, value := range map[string]any{"plug": true, "porch": true} {
			if err := (page{h}).Tell(t.Context(), name, value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			told(map[string]string{"plug": `plug false "on"`, "porch": `porch true ""`}[name])
		}
		v, err := page{h}.View(t.Context()) // each state leads to why it is so
		if err != nil {
			t.Fatal(err)
		}
		for _, thing := range v.Things {
			for _, p := range thing.Properties {
				if y, err := (page{h}).Why(t.Context(), strings.TrimSuffix(thing.Name+"."+p.Name, "."), ""); err != nil || p.Known && y.Is == "" {
					t.Errorf("why %s.%s: %+v %v", thing.Name, p.Name, y, err)
				}
			}
		}
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"ON","power":7.5}`)
		told(`plug true ""`)
		for name, value := range map[string]any{"plug.power": 1.0, "plg": true, "plug.state": "purple", "porch": "purple"} {
			if err := (page{h}).Tell(context.Background(), name, value); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %v: %v", name, value, err)
			}
		}
	})
}

// What is wired stands in its room beside the devices there, in the order in which the rooms
// are written, under the name that people give it. Another name or room is on the page at once,
// and touches no pin: what runs goes on, and nothing is found anew.
func TestWiredThingsHaveRooms(t *testing.T) {
	const house = `
[output.porch_light]
pin = "GPIO17"
max_on = "1m"
name = "Porch light"
room = "Porch"
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df", room = "Study", name = "Desk <plug>" }
[output.up]
pin = "GPIO20"
[output.down]
pin = "GPIO21"
room = "Attic"
[cover.blind]
up = "up"
down = "down"
open_time = "20s"
close_time = "20s"
name = "Left blind"
room = "Hall"
[input.pir]
pin = "GPIO27"
name = "Motion at the stairs"
[counter.power]
pin = "GPIO24"
room = "Study"
[encoder.volume]
a = "GPIO12"
b = "GPIO13"
room = "Porch"
[sensor.cellar]
iio = "bmp280"
properties = ["temperature"]
room = "Hall"
name = "Outdoors"
`
	root, set := fakeRoot(t)
	set("23460")
	synctest.Test(t, func(t *testing.T) {
		dir, sim := t.TempDir(), gpio.NewSim()
		h, stop := start(t, load(t, dir, house), Options{Bank: sim, Simulated: true, Root: root})
		defer stop()
		bridge, hangUp := connect(t, h, "bridge", nil)
		defer hangUp()
		publish(t, bridge, 0, "zigbee2mqtt/bridge/devices", plugExposes)
		time.Sleep(time.Second)
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"OFF","power":7.5}`)
		time.Sleep(time.Second)
		rooms := func() (all []string) {
			t.Helper()
			v, err := page{h}.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			room := "-"
			for _, thing := range v.Things {
				if thing.Room != room {
					room = thing.Room
					all = append(all, room+":")
				}
				all[len(all)-1] += " " + thing.Title()
			}
			return all
		}
		is := func(when string, want ...string) {
			t.Helper()
			if got := rooms(); !slices.Equal(got, want) {
				t.Errorf("%s the page shows %q, want %q", when, got, want)
			}
		}
		is("at first", "Porch: Porch light volume", "Study: power Desk <plug>", "Attic: down", "Hall: Left blind Outdoors up", ": Motion at the stairs")

		// Where a source stands it is said beside what people call it.
		v, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range v.Readings {
			if r.Source == "cellar.temperature" && r.Of != "Outdoors, Hall" {
				t.Errorf("%+v", r)
			}
		}
		if v.Outputs[0].Title() != "Porch light" || h.labelsOf("power.rate").room != "Study" {
			t.Errorf("%+v, %+v", v.Outputs[0], h.labelsOf("power.rate"))
		}
		if b, err := (page{h}).Board(t.Context()); err != nil || b.Pins[10].Uses[0].Title() != "Porch light" || b.Pins[10].Uses[0].Name != "porch_light" {
			t.Errorf("%+v, %v", b.Pins[10], err)
		}

		// A lamp is on and a cover under way while they get other names and rooms.
		for name, value := range map[string]any{"porch_light": true, "blind": "open"} {
			if err := (page{h}).Tell(t.Context(), name, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.pins.Drive("power", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		said, end := listener(t, h, "hearth/+/state")
		defer end()
		synctest.Wait()
		heard := len(strings.Fields(said()))
		set("25000") // which a sensor that begins anew would say at once
		events, leave := page{h}.Watch()
		defer leave()
		moved := without(t, house, `"Porch"`, `"Garden"`, `"Porch light"`, `"Lantern"`, `"Outdoors"`, `"Garden"`,
			"[counter.power]\npin = \"GPIO24\"\nroom = \"Study\"", "[counter.power]\npin = \"GPIO24\"\nname = \"Meter\"", `"Left blind"`, `"Blind"`)
		if err := h.Reload(load(t, dir, moved)); err != nil {
			t.Fatal(err)
		}
		for range events { // until the page is told to fetch all anew
		}
		is("after a reload", "Garden: Lantern volume", "Study: Desk <plug>", "Attic: down", "Hall: Blind Garden up", ": Motion at the stairs Meter")
		synctest.Wait()
		if n := len(strings.Fields(said())); n != heard {
			t.Errorf("something was told anew: %s", said())
		}
		if r, _ := h.registry.Last("cellar.temperature"); r.Text != "23.46" {
			t.Errorf("the sensor began anew and says %s", r.Text)
		}
		if got := levels(sim, "GPIO17"); got != "01" {
			t.Errorf("the lamp was switched %s", got)
		}
		time.Sleep(time.Minute)
		if got := levels(sim, "GPIO17"); got != "010" {
			t.Errorf("max_on was forgotten: %s", got)
		}
		if got := levels(sim, "GPIO20"); got != "010" {
			t.Errorf("the blind's motor was switched %s", got)
		}
		for _, i := range h.pins.Inputs() {
			if i.Name == "power" && !strings.HasPrefix(i.Shows, "1") {
				t.Errorf("the meter shows %s", i.Shows)
			}
		}

		// At a terminal people may say what they call it, unless they call something else so.
		for said, want := range map[string]string{"lantern": "porch_light", "Blind": "blind", "blind": "blind", "Meter": "", "Twin": "", "Desk <plug>": "plug.state"} {
			if said == "Twin" {
				if err := h.Reload(load(t, dir, without(t, moved, `"Lantern"`, `"Twin"`, `"Blind"`, `"twin"`))); err != nil {
					t.Fatal(err)
				}
			} else if err := h.Reload(load(t, dir, moved)); err != nil {
				t.Fatal(err)
			}
			value := "off"
			if strings.EqualFold(said, "blind") {
				value = "stop"
			}
			if a, err := (desk{h}).Set(t.Context(), said, value); a.Name != want || (err == nil) != (want != "") {
				t.Errorf("%q is told %+v, %v; want it to be %q", said, a, err, want)
			}
		}
		if err := h.Reload(load(t, dir, moved)); err != nil {
			t.Fatal(err)
		}
		for said, want := range map[string]string{"Meter.rate": "power.rate", "garden.temperature": "cellar.temperature", "Lantern": "porch_light"} {
			if is, err := h.thing(said); err != nil || is.Name != want {
				t.Errorf("why %q is asked of %+v, %v", said, is, err)
			}
		}
	})
}

// What the page tells things while the configuration becomes another goes by the one or the
// other; the race detector sees that nobody reads it beside the loop.
func TestToTellAThingDuringAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h, stop := start(t, load(t, dir, twoLamps), Options{Bank: gpio.NewSim(), Simulated: true})
		defer stop()
		reloaded := make(chan error, 1)
		cfg := load(t, dir, twoLamps)
		go func() {
			var err error
			for range 20 {
				err = cmp.Or(err, h.Reload(cfg))
			}
			reloaded <- err
		}()
		for told := 0; ; told++ {
			if err := (page{h}).Tell(t.Context(), "good", told%2 == 0); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-reloaded:
				if err != nil {
					t.Error(err)
				}
				return
			default:
			}
		}
	})
}

// A siren can be told an object, for which there is no control, and never says which it has: it
// is shown on the page of the house by what it says.
func TestWhatIsOnlyToldIsNoState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{Bank: gpio.NewSim()})
		defer stop()
		bridge, hangUp := connect(t, h, "bridge", nil)
		defer hangUp()
		publish(t, bridge, 0, "zigbee2mqtt/bridge/devices", strings.Replace(plugExposes, `{"type":"numeric"`, `{"type":"composite","name":"warning","property":"warning","access":2,"features":[]},{"type":"numeric"`, 1))
		time.Sleep(time.Second)
		v, err := page{h}.View(t.Context())
		if err != nil || len(v.Things) != 1 {
			t.Fatalf("%+v, %v", v.Things, err)
		}
		var names []string
		for _, p := range v.Things[0].Properties {
			names = append(names, p.Name)
		}
		if fmt.Sprint(names) != "[state]" { // power has said nothing yet
			t.Errorf("it shows %q", names)
		}
	})
}

// A thermostat has its mode as a choice and its temperature as a level; a lock is told to lock.
func TestAThermostatAndALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{Bank: gpio.NewSim()})
		defer stop()
		bridge, hangUp := connect(t, h, "bridge", nil)
		defer hangUp()
		publish(t, bridge, 0, "zigbee2mqtt/bridge/devices", `[
			{"ieee_address":"0x1","type":"EndDevice","supported":true,"friendly_name":"radiator","interview_completed":true,"definition":{"model":"TRV","vendor":"Eurotronic","description":"valve","exposes":[
				{"type":"climate","features":[
					{"type":"numeric","name":"occupied_heating_setpoint","property":"occupied_heating_setpoint","access":7,"unit":"°C","value_min":5,"value_max":30,"value_step":0.5},
					{"type":"numeric","name":"local_temperature","property":"local_temperature","access":5,"unit":"°C"},
					{"type":"enum","name":"system_mode","property":"system_mode","access":7,"values":["off","auto","heat"]}]}]}},
			{"ieee_address":"0x2","type":"EndDevice","supported":true,"friendly_name":"door","interview_completed":true,"definition":{"model":"L","vendor":"Danalock","description":"lock","exposes":[
				{"type":"lock","features":[{"type":"binary","name":"state","property":"state","access":7,"value_on":"LOCK","value_off":"UNLOCK"}]}]}}]`)
		time.Sleep(time.Second)
		publish(t, bridge, 0, "zigbee2mqtt/radiator", `{"occupied_heating_setpoint":21,"local_temperature":19.5,"system_mode":"heat"}`)
		publish(t, bridge, 0, "zigbee2mqtt/door", `{"state":"LOCK"}`)
		time.Sleep(time.Second)
		v, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var shown []string
		var mode, lock string
		for _, thing := range v.Things {
			for _, p := range thing.Properties {
				shown = append(shown, fmt.Sprint(p.Kind, " ", p.Text, p.Options, p.Tells))
				switch p.Kind {
				case "choice":
					mode = thing.Name + "." + p.Name
				case "lock":
					lock = thing.Name + "." + p.Name
				}
			}
		}
		if got := strings.Join(shown, ", "); got != "lock locked[lock unlock] true, choice heat[off auto heat] true, level [] true, value [] false" {
			t.Errorf("they are shown as %s", got)
		}
		for name, value := range map[string]string{mode: "auto", lock: "unlock"} {
			if err := (page{h}).Tell(t.Context(), name, value); err != nil {
				t.Errorf("%s %s: %v", name, value, err)
			}
		}
		if err := (page{h}).Tell(t.Context(), mode, "boil"); err == nil {
			t.Error("it takes a mode that there is none of")
		}
	})
}

// A display is told a text, no longer than it takes, and a lamp its colour; a scene and a vacuum
// are told by a press. What only programs can tell and read has no place beside them, and what can
// be told goes before what is only said.
func TestTextsColoursAndButtons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{Bank: gpio.NewSim()})
		defer stop()
		told := make(map[string]string)
		bridge, hangUp := connect(t, h, "bridge", func(m *paho.Publish) { told[m.Topic] = string(m.Payload) })
		defer hangUp()
		if _, err := bridge.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "+/set"}, {Topic: "lamp/+/set"}}}); err != nil {
			t.Fatal(err)
		}
		var numbers string
		for i := range 9 {
			numbers += fmt.Sprintf(`"n%d":{"p":"sensor","unique_id":"n%d","name":"N%d","state_topic":"lamp/n","unit_of_measurement":"W"},`, i, i, i)
		}
		publish(t, bridge, 0, "homeassistant/device/lamp/config", `{"dev":{"ids":["lamp"],"name":"Lamp"},"o":{"name":"x"},"cmps":{`+numbers+`
			"sign":{"p":"text","unique_id":"sign","name":"Sign","command_topic":"sign/set","state_topic":"sign/state","max":5},
			"warm":{"p":"light","schema":"json","unique_id":"warm","name":"Warm","command_topic":"lamp/warm/set","state_topic":"lamp/warm","supported_color_modes":["rgb"]},
			"dock":{"p":"button","unique_id":"dock","name":"Dock","command_topic":"dock/set"}}}`)
		publish(t, bridge, 0, "zigbee2mqtt/bridge/devices", strings.Replace(plugExposes, `{"type":"numeric"`, `{"type":"composite","name":"plan","property":"plan","access":3,"features":[]},{"type":"numeric"`, 1))
		time.Sleep(time.Second)
		publish(t, bridge, 0, "sign/state", "hello")
		publish(t, bridge, 0, "lamp/n", "5")
		publish(t, bridge, 0, "lamp/warm", `{"state":"ON","color_mode":"rgb","color":{"r":255,"g":136,"b":0}}`)
		publish(t, bridge, 0, "zigbee2mqtt/Desk plug", `{"state":"OFF","plan":{"at":6},"power":7.5}`)
		time.Sleep(time.Second)
		v, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var shown []string
		for _, thing := range v.Things {
			for _, p := range thing.Properties {
				shown = append(shown, strings.TrimSpace(fmt.Sprint(thing.Name, ".", p.Name, " ", p.Kind, " ", p.Text)))
			}
		}
		want := "desk_plug.state switch, desk_plug.power value, lamp.warm switch, lamp.warm_brightness level, lamp.warm_color color #ff8800, lamp.n0 value, lamp.n1 value, lamp.n2 value, lamp.sign text hello, lamp.dock button"
		if got := strings.Join(shown, ", "); got != want {
			t.Errorf("they are shown as\n%s, want\n%s", got, want)
		}
		for name, value := range map[string]any{"lamp.sign": "four", "lamp.warm_color": "#0000ff", "lamp.dock": true} {
			if err := (page{h}).Tell(t.Context(), name, value); err != nil {
				t.Errorf("%s %s: %v", name, value, err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := fmt.Sprint(told); got != `map[dock/set:PRESS lamp/warm/set:{"state":"ON","color":{"r":0,"g":0,"b":255}} sign/set:four]` {
			t.Errorf("they were told %s", got)
		}
		if err := (page{h}).Tell(t.Context(), "lamp.sign", "too long"); err == nil || !strings.Contains(err.Error(), "at most 5 characters") {
			t.Errorf("too long a text: %v", err)
		}
		if err := (page{h}).Tell(t.Context(), "lamp.dock", false); err == nil {
			t.Error("a button is told that it is not pressed, and presses")
		}
		if y, err := (page{h}).Why(t.Context(), "lamp.dock", ""); err != nil {
			t.Errorf("why the button: %+v, %v", y, err)
		}
	})
}

// An output that is pressed and let go is a button: a press is told, and when it is over nothing
// keeps it off, nor has anybody been overruled.
func TestAMomentaryOutputIsAButton(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := gpio.NewSim()
		h, stop := start(t, load(t, t.TempDir(), `
[output.garage]
pin = "GPIO17"
momentary = "500ms"
`), Options{Bank: sim, Clock: testClock()})
		defer stop()
		for range 2 {
			time.Sleep(5 * time.Second)
			if err := (page{h}).Tell(t.Context(), "garage", true); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		v, err := page{h}.View(t.Context())
		if err != nil || len(v.Things) != 1 {
			t.Fatalf("%+v, %v", v.Things, err)
		}
		if is := v.Things[0]; is.Properties[0].Kind != "button" || !is.Properties[0].Tells || is.Note != "" || v.Outputs[0].Note != "" {
			t.Errorf("%+v, %+v", is, v.Outputs[0])
		}
		if got := levels(sim, "GPIO17"); got != "01010" {
			t.Errorf("it was switched %s", got)
		}
		if y, err := (page{h}).Why(t.Context(), "garage", ""); err != nil || y.Is != "OFF" || len(y.Others) != 0 {
			t.Errorf("%+v, %v", y, err)
		}
	})
}

// A cover has a slider for its position beside its buttons, also while nobody knows where it is,
// and its motors, which are there all the same, come behind it.
func TestACoverIsToldItsPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[output.up]
pin = "GPIO20"
[output.down]
pin = "GPIO21"
[cover.blind]
up = "up"
down = "down"
open_time = "20s"
close_time = "20s"
[output.lamp]
pin = "GPIO17"
`), Options{Bank: gpio.NewSim(), Clock: testClock()})
		defer stop()
		is := func(want string) {
			t.Helper()
			v, err := page{h}.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, thing := range v.Things {
				for _, p := range thing.Properties {
					name := strings.TrimSuffix(thing.Name+"."+p.Name, ".")
					if p.Kind == "level" && p.Known {
						name += fmt.Sprint(" ", *p.Level, p.Unit)
					}
					all = append(all, name)
					if y, err := (page{h}).Why(t.Context(), name, ""); p.Name == "" && (err != nil || p.Known && y.Is == "") {
						t.Errorf("why %s: %+v, %v", name, y, err)
					}
				}
			}
			if got := strings.Join(all, ", "); got != want {
				t.Errorf("the page shows %s, want %s", got, want)
			}
		}
		time.Sleep(time.Second)
		is("lamp, blind, blind.position, up, down")
		events, leave := page{h}.Watch()
		defer leave()
		if err := (page{h}).Tell(t.Context(), "blind.position", 40.0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		is("lamp, blind, blind.position 40%, up, down")
		var last float64
		for len(events) > 0 {
			if e := <-events; e.Thing != nil && e.Thing.Name == "blind" && e.Thing.Properties[1].Known {
				last = *e.Thing.Properties[1].Level
			}
		}
		if last != 40 {
			t.Errorf("pages that are open see it at %v %%", last)
		}
		if y, err := (page{h}).Why(t.Context(), "blind.position", ""); err != nil || y.Is != "40" || y.Name != "blind" {
			t.Errorf("%+v, %v", y, err)
		}
		if err := (page{h}).Tell(t.Context(), "blind.position", 140.0); err == nil {
			t.Error("it takes more than all")
		}
	})
}

// A machine is a choice of its states. It goes where its moves lead, for the same reasons as when
// something else sets them off, and says why it does not.
func TestAMachineIsAChoice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[machine.alarm]
initial = "off"
moves = [
  { from = "off", on = { event = "alarm/arm" }, to = "armed" },
  { from = "armed", on = { event = "alarm/loud" }, to = "loud" },
  { from = "*", on = { event = "alarm/code" }, if = "value == '1234'", to = "off" },
]
`), Options{Bank: gpio.NewSim(), Clock: testClock()})
		defer stop()
		time.Sleep(time.Second)
		events, leave := page{h}.Watch()
		defer leave()
		is := func(want string) {
			t.Helper()
			v, err := page{h}.View(t.Context())
			if err != nil || len(v.Things) != 1 || len(v.Things[0].Properties) != 1 {
				t.Fatalf("%+v, %v", v.Things, err)
			}
			p := v.Things[0].Properties[0]
			if p.Kind != "choice" || !p.Tells || !p.Known || fmt.Sprint(v.Things[0].Name, p.Options, p.Text, p.See, p.Use) != "alarm[off armed loud]"+want+"[hearth/machine/alarm/state] [hearth/machine/alarm/set]" {
				t.Errorf("want it %s: %+v", want, v.Things[0])
			}
		}
		is("off")
		for _, one := range []struct{ to, err, is string }{
			{"loud", "alarm does not go to loud: no move leads from off to loud", "off"},
			{"amred", `no state of alarm is named "amred", did you mean "armed"?`, "off"},
			{"armed", "", "armed"},
			{"off", "alarm does not go to off: a condition of the move does not hold", "armed"}, // who may ask does not know the code
		} {
			if err := (page{h}).Tell(t.Context(), "alarm", one.to); (err != nil || one.err != "") && (err == nil || err.Error() != one.err) {
				t.Errorf("%s: %v", one.to, err)
			}
			is(one.is)
		}
		shown := ""
		for synctest.Wait(); len(events) > 0; {
			if e := <-events; e.Thing != nil {
				shown += e.Thing.Name + " " + e.Thing.Properties[0].Text
			}
		}
		if shown != "alarm armed" {
			t.Errorf("pages that are open see %q", shown)
		}
		bridge, hangUp := connect(t, h, "bridge", nil)
		defer hangUp()
		publish(t, bridge, 0, "homeassistant/device/evil/config", `{"dev":{"ids":["evil"],"name":"alarm"},"o":{"name":"x"},"cmps":{"n":{"p":"switch","unique_id":"n","name":"Loud","command_topic":"good/set","state_topic":"good"}}}`)
		time.Sleep(time.Second)
		if v, err := (page{h}).View(t.Context()); err != nil || len(v.Things) != 2 || v.Things[0].Name == "alarm" {
			t.Errorf("a device calls itself as a machine is called: %+v, %v", v.Things, err)
		}
		if y, err := (page{h}).Why(t.Context(), "alarm", ""); err != nil || y.Is != "armed" || len(y.Path) == 0 || y.Path[0].What != "person" {
			t.Errorf("%+v, %v", y, err)
		}
	})
}

// A device may call itself as a property of another is called. Who tells that one something
// means the other.
func TestADeviceThatCallsItselfAPropertyOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), ""), Options{Bank: gpio.NewSim()})
		defer stop()
		var mu sync.Mutex
		told := make(map[string]string)
		bridge, hangUp := connect(t, h, "bridge", func(m *paho.Publish) {
			mu.Lock()
			defer mu.Unlock()
			told[m.Topic] = string(m.Payload)
		})
		defer hangUp()
		if _, err := bridge.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "+/set"}}}); err != nil {
			t.Fatal(err)
		}
		for id, payload := range map[string]string{
			"lamp": `{"dev":{"ids":["lamp"],"name":"Lamp"},"o":{"name":"x"},"cmps":{"n":{"p":"number","unique_id":"n","name":"Num","command_topic":"good/set","state_topic":"good","min":0,"max":10}}}`,
			"evil": `{"dev":{"ids":["evil"],"name":"lamp.num"},"o":{"name":"x"},"cmps":{"n":{"p":"number","unique_id":"e","name":"Door","command_topic":"door/set","state_topic":"door","min":0,"max":1000}}}`,
		} {
			publish(t, bridge, 0, "homeassistant/device/"+id+"/config", payload)
		}
		time.Sleep(time.Second)
		if err := (page{h}).Tell(t.Context(), "lamp.num", 7.0); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if a, err := (desk{h}).Set(t.Context(), "lamp.num", "8"); err != nil || a.Name != "lamp.num" {
			t.Error(a, err)
		}
		if err := (page{h}).Tell(t.Context(), "lamp.num", 700.0); err == nil {
			t.Error("it was told more than it takes")
		}
		if err := (page{h}).Tell(t.Context(), "Lamp", 7.0); err == nil {
			t.Error("the page goes by what devices call themselves")
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if told["good/set"] != "8" || told["door/set"] != "" {
			t.Errorf("what was said went to %v", told)
		}
	})
}
