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

// A lamp that listens and can be asked, a thermostat on a battery, and a lock.
const sleepers = `[{"ieee_address":"0x01","type":"Router","supported":true,"friendly_name":"lamp","definition":{"model":"L","vendor":"V","exposes":[
{"type":"light","features":[{"type":"binary","name":"state","property":"state","access":7,"value_on":"ON","value_off":"OFF","value_toggle":"TOGGLE"},
{"type":"numeric","name":"brightness","property":"brightness","access":7,"value_min":0,"value_max":254}]}]},"power_source":"Mains"},
{"ieee_address":"0x02","type":"EndDevice","supported":true,"friendly_name":"valve","definition":{"model":"T","vendor":"V","exposes":[
{"type":"numeric","name":"occupied_heating_setpoint","property":"occupied_heating_setpoint","access":3,"value_min":5,"value_max":30,"value_step":0.5,"unit":"°C"},
{"type":"numeric","name":"battery","property":"battery","access":1,"unit":"%"}]},"power_source":"Battery"},
{"ieee_address":"0x03","type":"Router","supported":true,"friendly_name":"door","definition":{"model":"D","vendor":"V","exposes":[
{"type":"lock","features":[{"type":"binary","name":"state","property":"state","access":3,"value_on":"LOCK","value_off":"UNLOCK"}]}]},"power_source":"Mains"}]`

// watch lets time pass, a beat after the other, and gives what was published meanwhile, and
// what was given up, with the second.
func (h *home) watch(d time.Duration) (said []string) {
	began := h.now.Mono
	for end := h.now.Mono + d; h.now.Mono < end; {
		h.pass(time.Second)
		at := (h.now.Mono - began) / time.Second
		again, gaveUp := h.Remind(h.now)
		for _, m := range again {
			said = append(said, fmt.Sprintf("%d %s %s", at, m.Message.Topic, m.Message.Payload))
		}
		for _, m := range gaveUp {
			said = append(said, fmt.Sprintf("%d gave up %s after %d", at, m, m.Times))
		}
	}
	return said
}

func (h *home) tell(name, property string, v any) {
	h.t.Helper()
	if _, err := h.Tell(h.find(name), property, v, devices.Origin{By: "test"}, h.now); err != nil {
		h.t.Error(err)
	}
}

func (h *home) want(got []string, want ...string) {
	h.t.Helper()
	if !slices.Equal(got, want) {
		h.t.Errorf("%q\nwant %q", got, want)
	}
}

func sleepingHome(t *testing.T) *home {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", sleepers, true)
	h.hears("zigbee2mqtt/lamp", `{"state":"OFF","brightness":254}`, false)
	h.hears("zigbee2mqtt/valve", `{"occupied_heating_setpoint":18,"battery":90}`, false)
	h.hears("zigbee2mqtt/door", `{"state":"LOCK"}`, false)
	return h
}

// A lamp that listens is asked how it is, told twice more, and then left alone.
func TestALampThatDoesNotConfirm(t *testing.T) {
	h := sleepingHome(t)
	h.tell("lamp", "state", "on")
	h.want(h.watch(time.Minute), `5 zigbee2mqtt/lamp/get {"state":""}`, `10 zigbee2mqtt/lamp/set {"state":"ON"}`, `15 zigbee2mqtt/lamp/set {"state":"ON"}`, "20 gave up lamp.state ON after 3")
	if a := h.find("lamp").Asked["state"]; !a.GaveUp || a.Value != true {
		t.Errorf("%+v", a)
	}
	// It confirms late, or answers the question: nothing more is told.
	h.hears("zigbee2mqtt/lamp", `{"state":"ON"}`, false)
	if len(h.find("lamp").Asked) != 0 {
		t.Error("it is asked still")
	}
	h.tell("lamp", "state", "off")
	h.want(h.watch(6*time.Second), `5 zigbee2mqtt/lamp/get {"state":""}`)
	h.hears("zigbee2mqtt/lamp", `{"state":"OFF"}`, false)
	h.want(h.watch(time.Minute))
	// What it is already as nearly as it can be is not waited for: 40 % is 102 of 254.
	h.tell("lamp", "brightness", 40.0)
	h.hears("zigbee2mqtt/lamp", `{"brightness":102}`, false)
	h.want(h.watch(time.Minute))
}

// What was told otherwise meanwhile is not told again, be it of the whole or of a part.
func TestANewerCommandCounts(t *testing.T) {
	h := sleepingHome(t)
	h.tell("lamp", "brightness", 40.0)
	h.pass(2 * time.Second)
	h.tell("lamp", "state", "on")
	h.pass(time.Second)
	h.tell("lamp", "state", "off") // which it is
	for _, m := range h.watch(time.Minute) {
		if m != `2 zigbee2mqtt/lamp/get {"brightness":""}` && m != "7 gave up lamp.brightness 40 after 1" {
			t.Error(m)
		}
	}
	// A toggle would switch back, and a lock that opens late has nobody before it.
	h = sleepingHome(t)
	h.find("lamp").Values["state"] = Reported{}
	h.tell("lamp", "state", "toggle")
	h.tell("door", "state", "unlock")
	for _, m := range h.watch(time.Minute) {
		if m != `5 zigbee2mqtt/lamp/get {"state":""}` && m != "10 gave up lamp.state TOGGLE after 1" && m != "5 gave up door.state unlock after 1" {
			t.Error(m)
		}
	}
}

// A thermostat that sleeps hears it again when it shows that it lives, also after a
// restart, and not a day later.
func TestAThermostatThatSleeps(t *testing.T) {
	const again = `zigbee2mqtt/valve/set {"occupied_heating_setpoint":21}`
	h := sleepingHome(t)
	h.tell("valve", "", 21.0)
	h.hears("zigbee2mqtt/valve", `{"battery":90}`, false) // awake still, and it may have heard it
	h.want(h.watch(4 * time.Second))
	h.want(h.watch(time.Hour), "1 "+again)
	if h.Woken() {
		t.Error("nothing came")
	}
	h.hears("zigbee2mqtt/valve", `{"battery":89}`, false)
	if !h.Woken() || !h.find("valve").Again("occupied_heating_setpoint") {
		t.Error("it lives")
	}
	h.want(h.watch(time.Hour), "1 "+again)
	records := h.Changes(true)
	h = h.again(records, nil)
	h.want(h.watch(time.Minute))
	h.hears("zigbee2mqtt/bridge/devices", sleepers, true)
	h.hears("zigbee2mqtt/valve", `{"battery":88}`, true) // found
	h.want(h.watch(time.Hour))
	h.hears("zigbee2mqtt/valve", `{"battery":88}`, false)
	h.want(h.watch(time.Hour), "1 "+again)
	h.hears("zigbee2mqtt/valve", `{"occupied_heating_setpoint":21}`, false)
	h.want(h.watch(time.Hour))

	h.tell("valve", "", 15.0)
	for range 6 { // it lives, and does not obey
		h.watch(time.Minute)
		h.hears("zigbee2mqtt/valve", `{"battery":87}`, false)
	}
	if a := h.find("valve").Asked["occupied_heating_setpoint"]; !a.GaveUp || a.times != toldAsleep {
		t.Errorf("%+v", a)
	}
	h.tell("valve", "", 16.0)
	h.want(h.watch(25*time.Hour), "86400 gave up valve.occupied_heating_setpoint 16 after 1")
	h.hears("zigbee2mqtt/valve", `{"battery":87}`, false)
	h.want(h.watch(time.Minute))
}

// A lamp whose current was off hears last night's command no more.
func TestALampThatWasAway(t *testing.T) {
	h := newHome(t, nil)
	h.hears("homeassistant/light/l/config", `{"unique_id":"l","name":"Lamp","command_topic":"l/set","state_topic":"l/state","availability_topic":"l/there"}`, true)
	h.hears("l/state", "ON", false)
	h.hears("l/there", "offline", false)
	name := h.Names()[0]
	h.tell(name, "", "off")
	h.watch(5 * time.Minute)
	h.hears("l/there", "online", false)
	h.want(h.watch(2*time.Second), "1 l/set OFF")
	h.hears("l/state", "OFF", false)
	h.hears("l/there", "offline", false)
	h.tell(name, "", "on")
	if got := h.watch(8 * time.Hour); len(got) != 1 {
		t.Errorf("%q", got)
	}
	h.hears("l/there", "online", false)
	h.hears("l/state", "OFF", false)
	h.want(h.watch(time.Minute))
}

// What devices have not said by themselves they are asked once each, one after the other,
// but not those that sleep.
func TestWhatWasNeverSaidIsAsked(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", sleepers, true)
	h.hears("zigbee2mqtt/lamp", `{"state":"OFF"}`, false)
	ask := func() (all []string) {
		for range 100 {
			if m, ok := h.Unseen(h.now); ok {
				all = append(all, m.Topic+" "+m.Payload)
			}
			h.pass(time.Second)
		}
		return all
	}
	h.want(ask(), `zigbee2mqtt/lamp/get {"brightness":""}`)
	h.hears("zigbee2mqtt/bridge/devices", sleepers, false)
	h.want(ask())
	// With its value it is not asked after a restart.
	records := maps.Clone(h.Changes(true))
	h = h.again(records, nil)
	h.hears("zigbee2mqtt/bridge/devices", sleepers, true)
	h.want(ask(), `zigbee2mqtt/lamp/get {"brightness":""}`)
	h.hears("zigbee2mqtt/lamp", `{"brightness":100}`, false)
	maps.Copy(records, h.Changes(true))
	h = h.again(records, nil)
	h.hears("zigbee2mqtt/bridge/devices", sleepers, true)
	h.want(ask())
}

// A shutter, a garage and a lock as their discovery has them.
func coverHome(t *testing.T) *home {
	h := newHome(t, nil)
	for id, class := range map[string]string{"shutter": "shutter", "garage": "garage"} {
		h.hears("homeassistant/cover/"+id+"/config", fmt.Sprintf(`{"unique_id":%q,"name":%q,"device_class":%q,"command_topic":"%s/set","state_topic":"%s/state","availability_topic":"%s/there"}`, id, id, class, id, id, id), true)
		h.hears(id+"/there", "online", false)
		h.hears(id+"/state", "closed", false)
	}
	h.hears("homeassistant/lock/lock/config", `{"unique_id":"lock","name":"lock","command_topic":"lock/set","state_topic":"lock/state"}`, true)
	h.hears("lock/state", "LOCKED", false)
	return h
}

// What a cover or a lock is told has another word than how it stands then: one that is closed
// has obeyed "close", and is neither told so again nor said not to have confirmed it.
func TestACoverThatIsClosedAlready(t *testing.T) {
	h := coverHome(t)
	h.tell("shutter", "", "close")
	h.tell("lock", "", "lock")
	h.want(h.watch(time.Minute))
	// On its way it says where it was, which is no answer; and then that it is there.
	h.tell("shutter", "", "open")
	h.hears("shutter/state", "closed", false)
	h.want(h.watch(6*time.Second), "5 shutter/set OPEN")
	h.hears("shutter/state", "opening", false)
	h.tell("shutter", "", "stop")
	h.hears("shutter/state", "open", false)
	h.want(h.watch(time.Minute))
	// A stop that nobody answers is told once: by then somebody may have moved it by hand.
	h.hears("shutter/state", "opening", false)
	h.tell("shutter", "", "stop")
	h.want(h.watch(time.Minute), "5 gave up shutter.state stop after 1")
}

// A blind of Zigbee2MQTT has no word for "stopped": how it stands then is the answer to a stop.
func TestABlindThatIsStopped(t *testing.T) {
	const blind = `[{"ieee_address":"0x01","type":"Router","supported":true,"friendly_name":"blind","definition":{"model":"B","vendor":"V","exposes":[
{"type":"cover","features":[{"type":"enum","name":"state","property":"state","access":7,"values":["OPEN","CLOSE","STOP"]},
{"type":"numeric","name":"position","property":"position","access":7,"value_min":0,"value_max":100,"unit":"%"}]}]},"power_source":"Mains"}]`
	for _, before := range []string{`{"position":100,"state":"OPEN"}`, `{"position":0,"state":"CLOSE"}`, ""} {
		h := newHome(t, nil)
		h.hears("zigbee2mqtt/bridge/devices", blind, true)
		if before != "" {
			h.hears("zigbee2mqtt/blind", before, false)
		}
		h.tell("blind", "", "stop")
		h.hears("zigbee2mqtt/blind", `{"position":55,"state":"OPEN"}`, false)
		if asked := h.find("blind").Asked; len(asked) != 0 {
			t.Errorf("after %s it is asked still: %+v", before, asked)
		}
		h.want(h.watch(time.Minute))
	}
}

// A garage that was away when it was told to open does not open when it is back and nobody
// stands before it any more; a shutter does.
func TestAGarageIsToldOnce(t *testing.T) {
	h := coverHome(t)
	for _, name := range []string{"shutter", "garage"} {
		h.hears(name+"/there", "offline", false)
		h.tell(name, "", "open")
	}
	h.watch(5 * time.Minute)
	if h.find("garage").Again("cover") {
		t.Error("it is said to be told again")
	}
	for _, name := range []string{"shutter", "garage"} {
		h.hears(name+"/there", "online", false)
	}
	said := h.watch(time.Minute)
	if len(said) == 0 || slices.ContainsFunc(said, func(s string) bool { return len(s) > 5 && s[2:8] == "garage" }) {
		t.Errorf("%q", said)
	}
	h.hears("garage/state", "closed", false)
	h.want(h.watch(time.Minute))
}

// A name of a value is answered by whatever the device reports: which number it is only that knows.
func TestANameOfAValueIsAnswered(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", `[{"ieee_address":"0x01","type":"Router","supported":true,"friendly_name":"lamp","definition":{"model":"L","vendor":"V","exposes":[
{"type":"numeric","name":"warmth","property":"warmth","access":3,"value_min":150,"value_max":500,"presets":[{"name":"warmest","value":500}]}]},"power_source":"Mains"}]`, true)
	h.hears("zigbee2mqtt/lamp", `{"warmth":500}`, false)
	h.tell("lamp", "", "warmest")
	h.hears("zigbee2mqtt/lamp", `{"warmth":500}`, false)
	h.want(h.watch(time.Minute))
}

// After a power cut the clock may be wrong for hours: what a thermostat was told in the last
// life waits until it is known how long ago that was.
func TestWhatWasToldLastWeekIsNotToldByAWrongClock(t *testing.T) {
	for _, c := range []struct {
		away time.Duration
		want []string
	}{
		{time.Hour, []string{`1 zigbee2mqtt/valve/set {"occupied_heating_setpoint":21}`}},
		{7 * 24 * time.Hour, []string{"1 gave up valve.occupied_heating_setpoint 21 after 1"}},
		{-24 * time.Hour, []string{"1 gave up valve.occupied_heating_setpoint 21 after 1"}}, // the clock was wrong then
	} {
		h := sleepingHome(t)
		h.tell("valve", "", 21.0)
		records := h.Changes(true)
		right := h.now.Wall.Add(c.away)
		h.now = devices.Now{Wall: time.Unix(0, 0)}
		h = h.again(records, nil)
		h.hears("zigbee2mqtt/bridge/devices", sleepers, true)
		h.hears("zigbee2mqtt/valve", `{"battery":88}`, false)
		h.want(h.watch(time.Minute))
		h.now.Wall, h.now.Known = right, true
		h.hears("zigbee2mqtt/valve", `{"battery":88}`, false)
		h.want(h.watch(10*time.Second), c.want...)
	}
}

// A device of Homie whose topics are taken away is gone, and none of them is something that
// was not understood.
func TestAHomieDeviceIsTakenAway(t *testing.T) {
	h := newHome(t, nil)
	for _, m := range [][2]string{{"$homie", "4.0.0"}, {"$name", "Super car"}, {"$nodes", "engine"}, {"engine/$properties", "speed"}, {"engine/speed/$datatype", "integer"}, {"engine/speed/$settable", "true"}, {"$state", "ready"}} {
		h.hears("homie/super-car/"+m[0], m[1], true)
	}
	err := h.Remove(h.find("super_car"))
	if err == nil || !strings.Contains(err.Error(), "hearth retained clear 'homie/super-car/#' takes that away") {
		t.Error(err)
	}
	h.hears("homie/super-car/$state", "", false)
	if faults, _ := h.Faults(); len(faults) > 0 || len(h.All()) > 0 {
		t.Errorf("there are still %v, %v", h.Names(), faults)
	}
}

// Nobody ever learns what time it is. What was told in the last life is over when the hub has been up for
// as long as it may be old.
func TestWhatWasToldIsOverWithoutAClock(t *testing.T) {
	h := sleepingHome(t)
	h.tell("valve", "", 21.0)
	h.now.Known = false
	h = h.again(h.Changes(true), nil)
	h.hears("zigbee2mqtt/bridge/devices", sleepers, true)
	h.want(h.watch(time.Minute))
	h.pass(20 * 24 * time.Hour)
	h.hears("zigbee2mqtt/valve", `{"battery":88}`, false)
	h.want(h.watch(10*time.Second), "1 gave up valve.occupied_heating_setpoint 21 after 1")
	h.now.Known = true
	h.hears("zigbee2mqtt/valve", `{"battery":88}`, false)
	h.want(h.watch(time.Minute))
}

// A switch of which nothing is known is told on and says that it is off: it did not do it. A
// toggle is answered by either.
func TestTheOppositeIsNoAnswer(t *testing.T) {
	h := newHome(t, nil)
	h.hears("zigbee2mqtt/bridge/devices", twoPlugs, true)
	plug := h.find("zigbee2mqtt/0x02")
	h.tell("zigbee2mqtt/0x02", "", "on")
	if c := h.hears("zigbee2mqtt/buero", `{"state":"OFF"}`, false); c[0].Answer || len(plug.Asked) != 1 {
		t.Errorf("%+v %+v", c, plug.Asked)
	}
	if c := h.hears("zigbee2mqtt/buero", `{"state":"ON"}`, false); !c[0].Answer || len(plug.Asked) != 0 {
		t.Errorf("%+v %+v", c, plug.Asked)
	}
	first := h.find("zigbee2mqtt/0x01")
	h.tell("zigbee2mqtt/0x01", "", "toggle")
	if c := h.hears("zigbee2mqtt/Büro", `{"state":"OFF"}`, false); !c[0].Answer || len(first.Asked) != 0 {
		t.Errorf("%+v %+v", c, first.Asked)
	}
	lock := Property{Kind: Lock}
	for _, c := range []struct {
		told, is string
		want     bool
	}{{"lock", "locked", true}, {"lock", "locking", true}, {"lock", "jammed", true}, {"lock", "unlocked", false}, {"unlock", "locked", false}, {"open", "unlocked", true}} {
		if got := lock.answers(c.told, c.is, false); got != c.want {
			t.Errorf("a lock that is told to %s and is %s: %v", c.told, c.is, got)
		}
	}
}
