package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// A home is a registry with a clock, as the hub has one.
type home struct {
	*Registry
	t   *testing.T
	now devices.Now
}

func newHome(t *testing.T, given map[string]string) *home {
	return &home{
		Registry: NewRegistry(func(name string) bool { return name == "boiler" }, func(d Device) string { return given[d.ID] }),
		t:        t,
		now:      devices.Now{Mono: time.Hour, Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Known: true},
	}
}

// hears takes a message as the hub does: what it reports, and then what it announces.
func (h *home) hears(topic, payload string, found bool) []Change {
	m := devices.Message{Topic: topic, Payload: []byte(payload), Retain: found, Initial: found}
	changes := h.Apply(h.Index().Read(m), m, h.now)
	h.Take(m)
	for h.Rest() {
	}
	h.Settle(h.now.Wall)
	return changes
}

func (h *home) pass(d time.Duration) { h.now = h.now.Add(d) }

func (h *home) find(name string) *State {
	h.t.Helper()
	s, ok := h.Find(name)
	if !ok {
		h.t.Fatalf("no %s among %v", name, h.Names())
	}
	return s
}

// again is the same home after a restart.
func (h *home) again(records map[string][]byte, given map[string]string) *home {
	h.t.Helper()
	next := newHome(h.t, given)
	next.now = h.now
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if records[key] == nil {
			continue
		}
		if err := next.Restore(key, records[key]); err != nil {
			h.t.Errorf("%s: %v", key, err)
		}
	}
	next.Settle(next.now.Wall)
	return next
}

const twoPlugs = `[{"ieee_address":"0x01","type":"Router","supported":true,"friendly_name":"Büro","definition":{"model":"P","vendor":"V","exposes":[
{"type":"switch","features":[{"type":"binary","name":"state","property":"state","access":7,"value_on":"ON","value_off":"OFF","value_toggle":"TOGGLE"}]}]},"power_source":"Mains"},
{"ieee_address":"0x02","type":"Router","supported":true,"friendly_name":"buero","definition":{"model":"P","vendor":"V","exposes":[
{"type":"binary","name":"state","property":"state","access":3,"value_on":"ON","value_off":"OFF"}]},"power_source":"Mains"}]`

func TestNamesAreThoseOfThePeople(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	if got := h.Names(); !slices.Equal(got, []string{"buero", "buero_2"}) {
		t.Fatal(got)
	}
	// The names stay over a restart, whoever announces first.
	first := h.find("buero").ID
	h = h.again(h.Changes(true), nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	if got := h.find("buero").ID; got != first {
		t.Errorf("buero was %s and is %s", first, got)
	}
	// The owner's name goes before.
	h = h.again(h.Changes(true), map[string]string{"zigbee2mqtt/0x02": "buero", "zigbee2mqtt/0x01": "desk"})
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	if h.find("buero").ID != "zigbee2mqtt/0x02" || h.find("desk").ID != "zigbee2mqtt/0x01" || len(h.Names()) != 2 {
		t.Error(h.Names())
	}
}

// A Shelly tells what it is called only when it is asked, and how its relay is before that. Which
// of the two comes first makes no difference to its name, nor does a restart between.
func TestADeviceThatTellsItsNameLater(t *testing.T) {
	const (
		status = `{"src":"shellyplus1-a8032abe54dc","dst":"x","method":"NotifyStatus","params":{"ts":1,"switch:0":{"id":0,"output":true}}}`
		config = `{"id":1,"src":"shellyplus1-a8032abe54dc","result":{"sys":{"device":{"name":"Hall relay","mac":"A8032ABE54DC"}},"switch:0":{"id":0,"name":null}}}`
		id     = "shelly/shellyplus1-a8032abe54dc"
	)
	for _, c := range []struct {
		later   time.Duration
		restart bool
		given   map[string]string
		want    string
	}{
		{time.Second, false, nil, "hall_relay"},
		{time.Minute, true, nil, "hall_relay"},
		{time.Hour, false, nil, "shellyplus1_a8032abe54dc"},
		{time.Second, false, map[string]string{id: "shellyplus1_a8032abe54dc"}, "shellyplus1_a8032abe54dc"},
	} {
		h := newHome(t, c.given)
		h.hears("shellyplus1-a8032abe54dc/events/rpc", status, false)
		h.find("shellyplus1_a8032abe54dc")
		h.pass(c.later)
		if c.restart {
			h = h.again(h.Changes(true), c.given)
			h.hears("shellyplus1-a8032abe54dc/events/rpc", status, false)
		}
		h.hears("shellyplus1-a8032abe54dc/hearth/config/rpc", config, false)
		if got := h.Names(); !slices.Equal(got, []string{c.want}) || h.find(c.want).ID != id || h.find(c.want).Name != "Hall relay" {
			t.Errorf("after %v: %v, want %s", c.later, got, c.want)
		}
	}
	h := newHome(t, nil)
	h.hears("shellyplus1-a8032abe54dc/hearth/config/rpc", config, false)
	h.hears("shellyplus1-a8032abe54dc/events/rpc", status, false)
	h.find("hall_relay")
}

func TestSlug(t *testing.T) {
	for text, want := range map[string]string{
		"Living Room": "living_room", "Küche/Licht #2": "kueche_licht_2", "0x00158d": "device_0x00158d", "": "device", "灯": "device", "__a__": "a",
		strings.Repeat("x", 500): strings.Repeat("x", 60),
	} {
		if got := slug(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestWhatWasAskedStandsBesideWhatIs(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	h.hears("zigbee2mqtt/buero", `{"state":"OFF"}`, false)
	plug, _ := h.Find("zigbee2mqtt/0x02")
	// It has no word for toggle, so it is told the other level.
	m, err := h.Tell(plug, "", "toggle", devices.Origin{}, h.now)
	if err != nil || m.Topic != "zigbee2mqtt/buero/set" || m.Payload != `{"state":"ON"}` || m.Retain {
		t.Errorf("%+v, %v", m, err)
	}
	if plug.Asked["state"].Value != true || plug.Values["state"].Value != false {
		t.Errorf("%+v %+v", plug.Asked, plug.Values)
	}
	changes := h.hears("zigbee2mqtt/buero", `{"state":"ON"}`, false)
	if len(changes) != 1 || changes[0].Value != true || !changes[0].Main || len(plug.Asked) != 0 {
		t.Errorf("%+v %+v", changes, plug.Asked)
	}
	if _, err := h.Tell(plug, "state", "perhaps", devices.Origin{}, h.now); err == nil || !strings.Contains(err.Error(), "on, off or toggle") {
		t.Error(err)
	}
	if _, err := h.Tell(plug, "stat", "on", devices.Origin{}, h.now); err == nil || !strings.Contains(err.Error(), `did you mean "state"`) {
		t.Error(err)
	}
}

// A value that is looked up when its topic gets known may have been overtaken.
func TestWhatIsFoundDoesNotOvertakeWhatCame(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	h.hears("zigbee2mqtt/buero", `{"state":"ON"}`, false)
	h.hears("zigbee2mqtt/buero", `{"state":"OFF"}`, true)
	if v := h.find("zigbee2mqtt/0x02").Values["state"]; v.Value != true {
		t.Errorf("%+v", v)
	}
}

// A motion sensor that never says that it is over, and a thermometer that went silent.
// The clock is set in between, which moves neither.
func TestValuesThatEndByThemselves(t *testing.T) {
	h := newHome(t, nil)
	h.hears("homeassistant/binary_sensor/pir/config", `{"name":"PIR","state_topic":"pir/state","off_delay":30,"unique_id":"pir"}`, true)
	h.hears("homeassistant/sensor/shed/config", `{"name":"Shed","state_topic":"shed/state","expire_after":600,"unit_of_measurement":"°C","unique_id":"shed"}`, true)
	h.hears("pir/state", "ON", false)
	h.hears("shed/state", "4.5", false)
	pir, shed := h.find("pir"), h.find("shed")
	h.pass(29 * time.Second)
	h.now.Wall = h.now.Wall.Add(24 * time.Hour)
	if changes := h.Expire(h.now); len(changes) != 0 {
		t.Errorf("%+v", changes)
	}
	h.pass(time.Second)
	if changes := h.Expire(h.now); len(changes) != 1 || changes[0].Value != false || changes[0].Called != "pir" {
		t.Errorf("%+v", changes)
	}
	if changes := h.Expire(h.now); len(changes) != 0 {
		t.Errorf("once more: %+v", changes)
	}
	h.pass(10 * time.Minute)
	h.Expire(h.now)
	if v := shed.Values[shed.Properties[0].Name]; v.Bad == "" || v.Value != 4.5 {
		t.Errorf("%+v", v)
	}
	if v := pir.Values[pir.Properties[0].Name]; v.Value != false {
		t.Errorf("%+v", v)
	}
}

// What announced itself without being retained is known after a restart all the same, and
// what took itself back is not.
func TestAnAnnouncementThatIsNotRetainedIsKept(t *testing.T) {
	h := newHome(t, nil)
	h.hears("shellies/announce", `{"id":"shelly1-AABBCC","model":"SHSW-1","mac":"E09806AABBCC","ip":"192.168.1.7","new_fw":false,"fw_ver":"20230913-112003/v1.14.0"}`, false)
	h.hears("shellies/shelly1-AABBCC/relay/0", "on", false)
	if v := h.find("shelly1_aabbcc").Values["switch"]; v.Value != true {
		t.Fatalf("%+v", v)
	}
	h = h.again(h.Changes(true), nil)
	s := h.find("shelly1_aabbcc")
	if s.Values["switch"].Value != true || s.Silent {
		t.Errorf("%+v", s)
	}
	h.hears("shellies/shelly1-AABBCC/relay/0", "off", false)
	if v := s.Values["switch"]; v.Value != false {
		t.Errorf("its topics are not known any more: %+v", v)
	}

	h = newHome(t, nil)
	h.hears("homeassistant/sensor/shed/config", `{"name":"Shed","state_topic":"shed/state","unique_id":"shed"}`, false)
	records := h.Changes(true)
	h.hears("homeassistant/sensor/shed/config", "", false)
	maps.Copy(records, h.Changes(true))
	if h = h.again(records, nil); len(h.All()) != 0 {
		t.Errorf("%v", h.Names())
	}
}

// A house starts: sixty devices of all conventions, in any order, and each has its name
// and its values.
func TestAHouseOfSixtyDevices(t *testing.T) {
	h := newHome(t, nil)
	var list []string
	var said [][2]string
	for i := range 20 {
		list = append(list, fmt.Sprintf(`{"ieee_address":"0x%02x","type":"EndDevice","supported":true,"friendly_name":"zigbee %d","power_source":"Battery","definition":{"model":"M","vendor":"V","exposes":[
			{"type":"numeric","name":"temperature","property":"temperature","unit":"°C","access":1},{"type":"numeric","name":"battery","property":"battery","unit":"%%","access":1}]}}`, i, i))
		said = append(said, [2]string{fmt.Sprintf("zigbee2mqtt/zigbee %d", i), `{"temperature":20.5,"battery":90}`})
	}
	h.hears("zigbee2mqtt/bridge/devices", "["+strings.Join(list, ",")+"]", true)
	for i := range 15 {
		mac := fmt.Sprintf("AABBCC0000%02X", i)
		h.hears("tasmota/discovery/"+mac+"/config", fmt.Sprintf(`{"ip":"10.0.0.1","dn":"plug %d","fn":["plug %[1]d"],"hn":"h","mac":"%s","md":"Sonoff","ofln":"Offline","onln":"Online","state":["OFF","ON","TOGGLE","HOLD"],"sw":"13.1","t":"plug%[1]d","ft":"%%prefix%%/%%topic%%/","tp":["cmnd","stat","tele"],"rl":[1,0,0,0,0,0,0,0],"swc":[-1],"so":{"4":0},"ver":1}`, i, mac), true)
		said = append(said, [2]string{fmt.Sprintf("stat/plug%d/POWER", i), "ON"})
	}
	for i := range 10 {
		h.hears("shellies/announce", fmt.Sprintf(`{"id":"shelly1-%06X","model":"SHSW-1","mac":"E098060000%02X","fw_ver":"1"}`, i, i), false)
		said = append(said, [2]string{fmt.Sprintf("shellies/shelly1-%06X/relay/0", i), "on"})
	}
	for i := range 10 {
		h.hears(fmt.Sprintf("homeassistant/sensor/esp%d/config", i), fmt.Sprintf(`{"name":"Esp %d","uniq_id":"esp%[1]d","stat_t":"esp%[1]d/state","unit_of_meas":"lx","dev":{"ids":"esp%[1]d","name":"Esp %[1]d"}}`, i), true)
		said = append(said, [2]string{fmt.Sprintf("esp%d/state", i), "300"})
	}
	for i := range 5 {
		h.hears(fmt.Sprintf("homie/5/homie%d/$state", i), "ready", true)
		h.hears(fmt.Sprintf("homie/5/homie%d/$description", i), fmt.Sprintf(`{"homie":"5.0","name":"Homie %d","version":1,"nodes":{"light":{"properties":{"power":{"name":"Power","datatype":"boolean","settable":true}}}}}`, i), true)
		said = append(said, [2]string{fmt.Sprintf("homie/5/homie%d/light/power", i), "true"})
	}
	for _, m := range said {
		if changes := h.hears(m[0], m[1], false); len(changes) == 0 {
			t.Errorf("nothing came of %s %s", m[0], m[1])
		}
	}
	check := func(h *home) {
		t.Helper()
		if n := len(h.All()); n != 60 {
			t.Errorf("%d devices: %v", n, h.Names())
		}
		for _, s := range h.All() {
			if len(s.Values) == 0 {
				t.Errorf("%s has no value", s.Called)
			}
		}
	}
	check(h)
	h.pass(time.Hour)
	h = h.again(h.Changes(true), nil) // before anybody has announced anything
	check(h)
	for _, s := range h.All() {
		for name, v := range s.Values {
			if age := h.now.Wall.Sub(v.At); age != time.Hour {
				t.Errorf("%s.%s is %v old", s.Called, name, age)
			}
		}
	}
}

// The last press of a Shelly's button is told again every 30 seconds. How often a message
// is read, and whether the index is another meanwhile, makes no difference.
func TestAPressThatIsToldAgainIsOne(t *testing.T) {
	h := newHome(t, nil)
	button := "shellies/shellyix3-AABBCC/input_event/0"
	h.hears("shellies/announce", `{"id":"shellyix3-AABBCC","model":"SHIX3-1","mac":"E09806AABBCC","fw_ver":"1"}`, false)
	if c := h.hears(button, `{"event":"S","event_cnt":3}`, false); len(c) != 1 || c[0].Value != "single" {
		t.Errorf("the first press: %+v", c)
	}
	if c := h.hears(button, `{"event":"S","event_cnt":3}`, false); len(c) != 0 {
		t.Errorf("told again: %+v", c)
	}
	m := devices.Message{Topic: button, Payload: []byte(`{"event":"L","event_cnt":4}`)}
	h.Index().Read(m)                                               // by somebody who then had no room for it
	h.hears("shellies/shellyix3-AABBCC/temperature", "40.5", false) // another index
	if c := h.Apply(h.Index().Read(m), m, h.now); len(c) != 1 || c[0].Value != "long" {
		t.Errorf("read twice: %+v", c)
	}
	// After a restart the first is from before, most likely.
	h = h.again(h.Changes(true), nil)
	if c := h.hears(button, `{"event":"L","event_cnt":4}`, false); len(c) != 0 {
		t.Errorf("after a restart: %+v", c)
	}
	if c := h.hears(button, `{"event":"S","event_cnt":5}`, false); len(c) != 1 {
		t.Errorf("after a restart, a new one: %+v", c)
	}

	// After a short one that is known by the number, and the first press counts.
	h.pass(time.Minute)
	h = h.again(h.Changes(true), nil)
	if c := h.hears(button, `{"event":"L","event_cnt":6}`, true); len(c) != 0 {
		t.Errorf("found after a short stop: %+v", c)
	}
	h = h.again(h.Changes(true), nil)
	if c := h.hears(button, `{"event":"L","event_cnt":6}`, false); len(c) != 0 {
		t.Errorf("after a short stop, told again: %+v", c)
	}
	h = h.again(h.Changes(true), nil)
	if c := h.hears(button, `{"event":"S","event_cnt":7}`, false); len(c) != 1 {
		t.Errorf("after a short stop, a new one: %+v", c)
	}
	// After a long one it may have been pressed while nobody listened.
	records := h.Changes(true)
	h.pass(time.Hour)
	h = h.again(records, nil)
	if c := h.hears(button, `{"event":"S","event_cnt":8}`, false); len(c) != 0 {
		t.Errorf("after a long stop: %+v", c)
	}
	if c := h.hears(button, `{"event":"S","event_cnt":9}`, false); len(c) != 1 {
		t.Errorf("after a long stop, the next: %+v", c)
	}

	// What a device that nobody knew says first may be old, and is so a minute later.
	h.hears("shellies/shellyix3-DDEEFF/input_event/0", `{"event":"S","event_cnt":8}`, false)
	if c := h.hears("shellies/shellyix3-DDEEFF/input_event/0", `{"event":"S","event_cnt":8}`, false); len(c) != 0 {
		t.Errorf("%+v", c)
	}
}

// Only what changed is written, and values only when they are asked for.
func TestLittleIsWritten(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	if n := len(h.Changes(true)); n != 2 {
		t.Errorf("%d records", n)
	}
	h.hears("zigbee2mqtt/buero", `{"state":"ON"}`, false)
	h.hears("homeassistant/sensor/shed/config", `{"name":"Shed","state_topic":"shed/state","unique_id":"shed"}`, true)
	if got := slices.Sorted(maps.Keys(h.Changes(false))); !slices.Equal(got, []string{"device homeassistant/sensor.shed"}) {
		t.Errorf("%q", got)
	}
	got := h.Changes(true)
	if b := got["values zigbee2mqtt/0x02"]; len(got) != 1 || len(b) > 100 {
		t.Errorf("%q", got)
	}
	if got := h.Changes(true); len(got) != 0 {
		t.Errorf("once more: %q", got)
	}
	// What is there again after a restart is written already.
	h.hears("zigbee2mqtt/buero", `{"state":"ON"}`, false)
	first := newHome(t, nil)
	first.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	h = h.again(first.Changes(true), nil)
	if got := h.Changes(true); len(got) != 0 {
		t.Errorf("after a restart: %q", got)
	}
}

const plugByHomeassistant = `{"name":null,"state_topic":"zigbee2mqtt/Desk plug","command_topic":"zigbee2mqtt/Desk plug/set","value_template":"{{ value_json.state }}",
"unique_id":"0x00158d00018255df_switch","device":{"identifiers":["zigbee2mqtt_0x00158d00018255df"],"name":"Desk plug"}}`

const plugByItself = `[{"ieee_address":"0x00158d00018255df","type":"Router","friendly_name":"Desk plug","definition":{"exposes":[
{"type":"switch","features":[{"type":"binary","name":"state","property":"state","access":7,"value_on":"ON","value_off":"OFF"}]}]}}]`

// One plug, told of by its bridge and by the bridge's messages to Home Assistant, keeps its
// name whichever comes first, and whichever is taken away.
func TestAMergedDeviceKeepsItsName(t *testing.T) {
	ha := func(h *home, payload string) {
		h.hears("homeassistant/switch/0x00158d00018255df/switch/config", payload, true)
	}
	own := func(h *home, payload string) { h.hears("zigbee2mqtt/bridge/devices", payload, true) }
	is := func(h *home, via string) {
		t.Helper()
		if s, ok := h.Find("desk_plug"); !ok || s.Via != via || len(h.All()) != 1 || s.Called != "desk_plug" {
			t.Errorf("want one desk_plug by %s, there are %v", via, h.Names())
		}
	}
	h := newHome(t, nil)
	ha(h, plugByHomeassistant)
	is(h, "homeassistant")
	m := devices.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte(plugByItself), Retain: true, Initial: true}
	h.Take(m)
	// Its values are looked up again: they are those of another device now.
	if topics := h.Settle(h.now.Wall); !slices.Contains(topics, "zigbee2mqtt/Desk plug") {
		t.Errorf("%q", topics)
	}
	is(h, "zigbee2mqtt")
	records := h.Changes(true)
	own(h, "[]")
	is(h, "homeassistant")
	own(h, plugByItself)
	is(h, "zigbee2mqtt")
	ha(h, "")
	is(h, "zigbee2mqtt")

	// After a restart the bridge comes last.
	h = h.again(records, nil)
	is(h, "zigbee2mqtt")
	ha(h, plugByHomeassistant)
	is(h, "homeassistant")
	own(h, plugByItself)
	is(h, "zigbee2mqtt")
}

// What the owner calls one is nobody else's name: not that of the device that had it by
// chance, of one that is silent, or of a second one that fits.
func TestTheOwnersNameIsForOne(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	given := map[string]string{"zigbee2mqtt/0x02": "buero"}
	silent := h.again(h.Changes(true), given)
	h.written = func(d Device) string { return given[d.ID] }
	h.Rename()
	h.Settle(h.now.Wall)
	twice := newHome(t, map[string]string{"zigbee2mqtt/0x01": "lamp", "zigbee2mqtt/0x02": "lamp"})
	twice.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	for _, h := range []*home{h, silent, twice} {
		called := make(map[string]bool)
		for _, s := range h.All() {
			called[s.Called] = true
			if found, _ := h.Find(s.Called); found != s {
				t.Errorf("%s is called %s, by which another is found", s.ID, s.Called)
			}
		}
		if len(called) != 2 {
			t.Errorf("%v", h.Names())
		}
	}
	if h.find("buero").ID != "zigbee2mqtt/0x02" || silent.find("buero").ID != "zigbee2mqtt/0x02" {
		t.Error(h.Names(), silent.Names())
	}
}

// A device says what it was before it obeys: that is no answer.
func TestTheOldValueIsNoAnswer(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	h.hears("zigbee2mqtt/buero", `{"state":"ON"}`, false)
	plug := h.find("zigbee2mqtt/0x02")
	h.Tell(plug, "", "off", devices.Origin{}, h.now)
	if c := h.hears("zigbee2mqtt/buero", `{"state":"ON"}`, false); c[0].Answer || len(plug.Asked) != 1 {
		t.Errorf("%+v %+v", c, plug.Asked)
	}
	if c := h.hears("zigbee2mqtt/buero", `{"state":"OFF"}`, false); !c[0].Answer || len(plug.Asked) != 0 {
		t.Errorf("%+v %+v", c, plug.Asked)
	}
	if h.Tell(plug, "", "off", devices.Origin{}, h.now); len(plug.Asked) != 0 {
		t.Errorf("told what it is: %+v", plug.Asked)
	}
}

// A device that is described anew has the values of what it has now: nothing is remembered of
// properties that were, however often they change.
func TestPropertiesThatWere(t *testing.T) {
	h := newHome(t, nil)
	for i := range 50 {
		h.hears("homie/5/d/$description", fmt.Sprintf(`{"homie":"5.0","name":"D","version":%d,"nodes":{"n":{"properties":{"p%d":{"datatype":"integer","settable":true}}}}}`, i, i), true)
		h.hears("homie/5/d/$state", "ready", true)
		h.hears(fmt.Sprintf("homie/5/d/n/p%d", i), "7", false)
		h.tell("d", fmt.Sprintf("n_p%d", i), 8.0)
	}
	if s := h.find("d"); len(s.Values) != 1 || len(s.Asked) != 1 || s.Values["n_p49"].Value != 7.0 {
		t.Errorf("%v %v", s.Values, s.Asked)
	}
}

// A list that is not retained, as a bridge to an old broker brings it, and that is taken in
// parts tells after each restart of the same devices, and is not written again.
func TestALongListThatIsNotRetained(t *testing.T) {
	h := newHome(t, nil)
	list := string(bigList(t, 40<<10))
	h.hears("zigbee2mqtt/bridge/devices", list, false)
	records := h.Changes(true)
	const key = "said zigbee2mqtt/bridge/devices"
	was := records[key]
	if len(was) == 0 || len(h.All()) < 5 {
		t.Fatalf("%d devices, %d bytes are kept", len(h.All()), len(was))
	}
	for range 3 {
		h = h.again(records, nil)
		if again, written := h.Changes(true)[key]; written {
			t.Errorf("written again, %d bytes of %d", len(again), len(was))
		}
	}
}

// A device that is gone for good is forgotten; not one that the owner named, and not by a
// clock that may be wrong.
func TestASilentDeviceIsForgotten(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	h = h.again(h.Changes(true), map[string]string{"zigbee2mqtt/0x02": "desk"})
	h.now.Known = false
	h.pass(365 * 24 * time.Hour)
	h.Prune(h.now)
	h.now.Known = true
	h.Prune(h.now)
	h.pass(29 * 24 * time.Hour)
	if h.Prune(h.now); len(h.All()) != 2 {
		t.Errorf("after 29 days: %v", h.Names())
	}
	h.pass(25 * time.Hour)
	if h.Prune(h.now); !slices.Equal(h.Names(), []string{"desk"}) {
		t.Errorf("after 30 days: %v", h.Names())
	}
	if b, there := h.Changes(true)["device zigbee2mqtt/0x01"]; b != nil || !there {
		t.Error("its record stays")
	}
}

// Forgotten by hand, a device is here again when it announces itself; until then, also
// over a restart, it is not.
func TestForgetting(t *testing.T) {
	h := newHome(t, nil)
	announce := `{"id":"shelly1-AABBCC","model":"SHSW-1","mac":"E09806AABBCC","fw_ver":"1"}`
	h.hears("shellies/announce", announce, false)
	h.hears("shellies/shelly1-AABBCC/relay/0", "on", false)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	records := h.Changes(true)
	if err := h.Remove(h.find("buero")); err == nil || !strings.Contains(err.Error(), "retained") {
		t.Error("a device that is retained:", err)
	}
	if err := h.Remove(h.find("shelly1_aabbcc")); err != nil {
		t.Error(err)
	}
	h.Settle(h.now.Wall)
	if _, ok := h.Find("shelly1_aabbcc"); ok {
		t.Error("it is there still")
	}
	maps.Copy(records, h.Changes(true))
	next := h.again(records, nil)
	if _, ok := next.Find("shelly1_aabbcc"); ok {
		t.Error("it is there after a restart")
	}
	h.hears("shellies/announce", announce, false)
	h.find("shelly1_aabbcc")
}

// What strangers say is remembered only so far.
func TestWhatStrangersMakeUsRemember(t *testing.T) {
	h := newHome(t, nil)
	long := strings.Repeat("x", 300_000)
	h.hears("homeassistant/sensor/shed/config", `{"name":"`+long+`","state_topic":"shed/state","unique_id":"shed","unit_of_measurement":"`+long+`"}`, false)
	h.hears("homeassistant/sensor/text/config", `{"name":"text","state_topic":"text/state","unique_id":"text"}`, false)
	h.hears("text/state", long, false)
	for range 3 {
		h.hears("homie/5/"+long[:60000]+"/$description", "{", true)
	}
	total := 0
	for key, record := range h.Changes(true) {
		total += len(key) + len(record)
	}
	faults, _ := h.Faults()
	for _, f := range faults {
		total += len(f.Topic) + len(f.Why)
	}
	for _, s := range h.All() {
		for _, v := range s.Values {
			total += len(devices.Text(v.Value)) + len(v.Bad)
		}
	}
	if total > 20_000 {
		t.Errorf("%d bytes are remembered", total)
	}
	for i := range 300 {
		h.Take(devices.Message{Topic: fmt.Sprintf("homeassistant/sensor/s%d/config", i),
			Payload: fmt.Appendf(nil, `{"name":"s","state_topic":"s%d","unique_id":"s%[1]d","x":"%s"}`, i, long[:50000])})
	}
	if h.said > maxSaid {
		t.Errorf("%d bytes of announcements are kept", h.said)
	}
}

// A record that is damaged costs only itself.
func TestDamagedRecords(t *testing.T) {
	h := newHome(t, nil)
	for key, record := range map[string]string{
		"device zigbee2mqtt/0x01": `{"device":{"id":"zigbee2mqtt/0x02"}}`, "device ": `{}`, "device x": `null`, "device y": `{`, "said a/b": `{"topic":"c/d"}`,
		"said e": `[]`, "values z": `{}`, "": `{}`, "other": `{}`,
	} {
		if err := h.Restore(key, []byte(record)); err == nil {
			t.Errorf("%q %s was taken", key, record)
		}
	}
	if len(h.All()) != 0 || len(h.Names()) != 0 || len(h.messages) != 0 {
		t.Errorf("%v", h.Names())
	}
}

// A guest announces a lamp whose commands would open the garage.
func TestACommandTopicNeedsAnAnnouncerWhoMayPublishThere(t *testing.T) {
	all := func(string) bool { return true }
	guest := func(topic string) bool {
		return strings.HasPrefix(topic, "homeassistant/") || strings.HasPrefix(topic, "guest/")
	}
	lamp := func(unique, device, command string) string {
		return fmt.Sprintf(`{"name":"%s","unique_id":"%[1]s","command_topic":"%s","state_topic":"guest/state","device":{"identifiers":"%s","name":"%[3]s"}}`, unique, command, device)
	}
	h := newHome(t, nil)
	says := func(topic, payload string, may func(string) bool, found bool) {
		h.Take(devices.Message{Topic: topic, Payload: []byte(payload), Retain: true, Initial: found, May: may})
		h.Settle(h.now.Wall)
	}
	tell := func(device, property string) string {
		s := h.find(device)
		m, err := h.Tell(s, property, "on", devices.Origin{}, h.now)
		if err != nil {
			return err.Error()
		}
		return m.Topic
	}
	says("homeassistant/switch/own/config", lamp("own", "mine", "guest/lamp/set"), guest, false)
	says("homeassistant/switch/evil/config", lamp("evil", "lamp", "garage/door/set"), guest, false)
	says("homeassistant/switch/good/config", lamp("good", "relay", "relay/set"), all, false)
	if got := tell("mine", ""); got != "guest/lamp/set" {
		t.Error("what the guest may:", got)
	}
	if got := tell("lamp", ""); !strings.Contains(got, "only reports") || !slices.Equal(h.find("lamp").Denied, []string{"garage/door/set"}) {
		t.Error("the garage:", got, h.find("lamp").Denied)
	}
	says("homeassistant/light/dimmer/config", `{"unique_id":"dimmer","command_topic":"guest/lamp/set","on_command_type":"brightness","brightness_command_topic":"garage/door/set","device":{"identifiers":"dimmer","name":"dimmer"}}`, guest, false)
	if got := tell("dimmer", ""); !strings.Contains(got, "only reports") {
		t.Error("the garage, as what switches a lamp on:", got)
	}

	// He joins the relay with a switch of his own. The relay's next announcement, which is
	// trusted, does not vouch for that; and his does not take its commands away.
	says("homeassistant/switch/joins/config", lamp("joins", "relay", "garage/door/set"), guest, false)
	says("homeassistant/sensor/more/config", `{"name":"more","unique_id":"more","state_topic":"relay/power","device":{"identifiers":"relay","name":"relay"}}`, all, false)
	if got := tell("relay", "good"); got != "relay/set" {
		t.Error("the relay:", got)
	}
	if got := tell("relay", "joins"); !strings.Contains(got, "only reports") {
		t.Error("the garage through the relay:", got)
	}

	// After a restart nobody knows who retained that, and what was refused stays refused.
	h = h.again(h.Changes(true), nil)
	says("homeassistant/switch/evil/config", lamp("evil", "lamp", "garage/door/set"), nil, true)
	says("homeassistant/switch/good/config", lamp("good", "relay", "relay/set"), nil, true)
	if got := tell("lamp", ""); !strings.Contains(got, "only reports") {
		t.Error("after a restart:", got)
	}
	if got := tell("relay", "good"); got != "relay/set" {
		t.Error("the relay after a restart:", got)
	}

	// The owner gives him the right, and he announces it anew.
	says("homeassistant/switch/evil/config", lamp("evil", "lamp", "garage/door/set"), all, false)
	if got := tell("lamp", ""); got != "garage/door/set" {
		t.Error("with the right:", got)
	}
}

// A gateway is there while one of its sensors is not: what that one measured is unknown, the
// device is online, and what comes back is found, not news.
func TestAPartOfADeviceIsAway(t *testing.T) {
	h := newHome(t, nil)
	h.hears("homeassistant/device/gw/config", `{"device":{"identifiers":["gw"],"name":"Gateway"},"origin":{"name":"x"},"availability_topic":"gw/there","components":{
"a":{"platform":"sensor","unique_id":"a","name":"Attic","state_topic":"gw/a","unit_of_measurement":"°C"},
"b":{"platform":"sensor","unique_id":"b","name":"Boiler","state_topic":"gw/b","unit_of_measurement":"°C"},
"c":{"platform":"sensor","unique_id":"c","name":"Cellar","state_topic":"gw/c","unit_of_measurement":"°C","availability":[{"topic":"gw/there"},{"topic":"gw/c/there"}],"availability_mode":"all"}}}`, true)
	h.hears("gw/there", "online", false)
	h.hears("gw/a", "20", false)
	h.hears("gw/c", "12", false)
	s := h.find("gateway")
	if s.Away("cellar") || s.Online == nil || !*s.Online {
		t.Fatalf("%+v", s)
	}
	changes := h.hears("gw/c/there", "offline", false)
	if len(changes) != 1 || !changes[0].Away || !changes[0].Found || changes[0].Property != "cellar" || !s.Away("cellar") || !*s.Online {
		t.Errorf("away: %+v %+v", changes, s)
	}
	if changes = h.hears("gw/c", "13", false); len(changes) != 1 || !changes[0].Away || changes[0].Found {
		t.Errorf("it speaks all the same: %+v", changes)
	}
	if changes = h.hears("gw/a", "21", false); len(changes) != 1 || changes[0].Away {
		t.Errorf("another part: %+v", changes)
	}
	changes = h.hears("gw/c/there", "online", false)
	if len(changes) != 1 || changes[0].Away || !changes[0].Found || changes[0].Value != 13.0 {
		t.Errorf("back: %+v", changes)
	}
	changes = h.hears("gw/there", "offline", false)
	if len(changes) != 2 || *s.Online || !s.Away("cellar") || s.Away("attic") {
		t.Errorf("all of it is gone: %+v", changes)
	}
}

// Who tells a device what its main property does not take hears which other does; a lock has
// the words that it knows, and a colour is one however it is said.
func TestWhatAPropertyTakes(t *testing.T) {
	const house = `[{"ieee_address":"0x01","type":"Router","supported":true,"friendly_name":"blind","definition":{"model":"B","vendor":"V","exposes":[
{"type":"cover","features":[{"type":"enum","name":"state","property":"state","access":7,"values":["OPEN","CLOSE","STOP"]},
{"type":"numeric","name":"position","property":"position","access":7,"value_min":0,"value_max":100,"unit":"%"}]}]},"power_source":"Mains"},
{"ieee_address":"0x02","type":"Router","supported":true,"friendly_name":"door","definition":{"model":"D","vendor":"V","exposes":[
{"type":"lock","features":[{"type":"binary","name":"state","property":"state","access":3,"value_on":"LOCK","value_off":"UNLOCK"}]}]},"power_source":"Mains"},
{"ieee_address":"0x03","type":"Router","supported":true,"friendly_name":"lamp","definition":{"model":"L","vendor":"V","exposes":[
{"type":"light","features":[{"type":"binary","name":"state","property":"state","access":7,"value_on":"ON","value_off":"OFF"},
{"type":"composite","name":"color_xy","property":"color","access":7,"features":[{"type":"numeric","name":"x","property":"x","access":7},{"type":"numeric","name":"y","property":"y","access":7}]}]}]},"power_source":"Mains"}]`
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", house, true)
	for _, c := range []struct{ name, property, value, want string }{
		{"blind", "", "40", `state takes open, close, stop, not "40"; blind.position takes that`},
		{"blind", "", "up", `state takes open, close, stop, not "up"`},
		{"door", "", "toggle", `state takes lock, unlock, not "toggle"`},
		{"lamp", "color", "red", `"red" is no color such as "#ff8800"`},
	} {
		if _, err := h.Tell(h.find(c.name), c.property, c.value, devices.Origin{}, h.now); err == nil || err.Error() != c.want {
			t.Errorf("%s %s %s: %v, want %s", c.name, c.property, c.value, err, c.want)
		}
	}
	// It obeyed, whichever way it was told: it reports another point of the same colour.
	for _, red := range []string{"#ff0000", "FF0000", `{"r":255,"g":0,"b":0}`, `{"hue":0,"saturation":100}`, `{"x":0.701,"y":0.299}`} {
		h.hears("zigbee2mqtt/lamp", `{"color":{"hue":0,"saturation":100}}`, false)
		h.tell("lamp", "color", red)
		if asked := h.find("lamp").Asked; len(asked) != 0 {
			t.Errorf("it is red, and was told %s: %+v", red, asked)
		}
	}
}
