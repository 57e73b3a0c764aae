package catalog

import (
	"maps"
	"testing"
	"time"
)

// threePlugs announces Homie devices with a switch each.
func (h *home) threePlugs() {
	for _, id := range []string{"a", "b", "c"} {
		h.hears("homie/5/"+id+"/$description", `{"homie":"5.0","name":"Plug `+id+`","version":1,"nodes":{"relay":{"properties":{"on":{"name":"On","datatype":"boolean","settable":true}}}}}`, true)
		h.hears("homie/5/"+id+"/$state", "ready", true)
	}
}

func (h *home) replace(old, by string) error {
	h.t.Helper()
	err := h.Replace(old, h.find(by))
	h.Settle(h.now.Wall)
	return err
}

func (h *home) is(name, id string) {
	h.t.Helper()
	if got := h.find(name).ID; got != id {
		h.t.Errorf("%s is %s, want %s; there are %v", name, got, id, h.Names())
	}
}

// The plug in the hall breaks twice. Each new one has its name, also after a restart, and
// the old one, mended, can come back.
func TestADeviceHasThePlaceOfAnother(t *testing.T) {
	given := map[string]string{"homie/a": "hall"}
	h := newHome(t, given)
	h.threePlugs()
	records := h.Changes(true)
	again := func() {
		maps.Copy(records, h.Changes(true))
		h = h.again(records, given)
		h.threePlugs()
	}
	if err := h.replace("homie/a", "homie/b"); err != nil {
		t.Fatal(err)
	}
	h.is("hall", "homie/b")
	h.is("plug_a", "homie/a")
	if old := h.StandsFor(h.find("hall")); old != "homie/a" {
		t.Errorf("in place of %q", old)
	}
	again()
	h.is("hall", "homie/b")
	if err := h.replace("homie/b", "homie/c"); err != nil {
		t.Fatal(err)
	}
	again()
	h.is("hall", "homie/c")
	if got := h.Last("homie/a"); got != "homie/c" {
		t.Error("the last is", got)
	}
	// What would leave two in one place, or one in two.
	for _, pair := range [][2]string{{"homie/c", "homie/c"}, {"homie/a", "homie/b"}, {"homie/a", "homie/c"}} {
		if err := h.Replace(pair[0], h.find(pair[1])); err == nil {
			t.Errorf("%s took the place of %s", pair[1], pair[0])
		}
	}
	if old, now, err := h.Reinstate("homie/a"); err != nil || old != "homie/b" || now != "homie/c" {
		t.Error(old, now, err)
	}
	h.Settle(h.now.Wall)
	again()
	h.is("hall", "homie/b")
	if err := h.replace("homie/b", "homie/c"); err != nil {
		t.Fatal(err)
	}
	if err := h.replace("homie/c", "homie/a"); err != nil { // the first one is mended
		t.Fatal(err)
	}
	again()
	h.is("hall", "homie/a")
	if len(h.standIns) != 0 {
		t.Error(h.standIns)
	}
	if _, _, err := h.Reinstate("homie/a"); err == nil {
		t.Error("nothing was taken back")
	}
}

// One that the configuration does not name has a name all the same, which scripts use.
func TestAPlaceWithoutALineOfTheConfiguration(t *testing.T) {
	h := newHome(t, nil)
	h.threePlugs()
	if err := h.replace("homie/a", "homie/b"); err != nil {
		t.Fatal(err)
	}
	h.is("plug_a", "homie/b")
	h = h.again(h.Changes(true), nil)
	h.threePlugs()
	h.is("plug_a", "homie/b")
	if h.find("homie/a").Called == "plug_a" {
		t.Error("two are called plug_a")
	}
	h.Reinstate("homie/b")
	h.Settle(h.now.Wall)
	h = h.again(h.Changes(true), nil)
	h.threePlugs()
	if name := h.find("homie/a").Called; name != "plug_a" {
		t.Errorf("the old one is %s again", name)
	}
}

// Once the configuration says the id of the new one, nothing stands for anything.
func TestTheConfigurationNamesTheNewOne(t *testing.T) {
	given := map[string]string{"homie/a": "hall"}
	h := newHome(t, given)
	h.threePlugs()
	h.replace("homie/a", "homie/b")
	delete(given, "homie/a")
	given["homie/b"] = "hall"
	h.Rename()
	h.Settle(h.now.Wall)
	h.is("hall", "homie/b")
	if len(h.standIns) != 0 || h.Changes(false)["as homie/a"] != nil {
		t.Error(h.standIns)
	}
	if err := h.Replace("homie/a", h.find("hall")); err == nil {
		t.Error("one with a name of its own took another's place")
	}
}

// Records that make no sense, as of two that stand for each other.
func TestStandInsInARing(t *testing.T) {
	h := newHome(t, nil)
	if err := h.Restore("as homie/a", []byte(`{"is":"homie/b"}`)); err != nil {
		t.Fatal(err)
	}
	for old, record := range map[string]string{"homie/b": `{"is":"homie/a"}`, "homie/c": `{"is":"homie/c"}`, "homie/d": `{}`, "homie/e": `[`} {
		if err := h.Restore("as "+old, []byte(record)); err == nil {
			t.Errorf("%s was taken up", record)
		}
	}
	h.threePlugs()
	h.is("plug_b", "homie/b")
}

// Two that stand one for the other turn out to be one device, seen in two ways.
func TestAStandInForItself(t *testing.T) {
	h := newHome(t, map[string]string{"homeassistant/x": "hall"})
	h.hears("homeassistant/switch/x/config", `{"unique_id":"u","command_topic":"x/set","state_topic":"x/state","device":{"identifiers":["x"],"connections":[["mac","E0:98:06:AA:BB:CC"]],"name":"Plug"}}`, true)
	if len(h.All()) != 1 {
		t.Fatal(h.Names())
	}
	first := h.All()[0]
	h.written = func(d Device) string {
		if d.is(first.ID) {
			return "hall"
		}
		return ""
	}
	h.threePlugs()
	if err := h.replace(first.ID, "homie/a"); err != nil {
		t.Fatal(err)
	}
	h.is("hall", "homie/a")
	s := h.find("homie/a")
	s.Also = append(s.Also, first.ID)
	delete(h.states, first.ID)
	h.merged[first.ID] = "homie/a"
	h.settleStandIns()
	if h.call(s); s.Called != "hall" || len(h.standIns) != 0 {
		t.Error(s.Called, h.standIns)
	}
}

// What a device was told before it was replaced is not told to it when it wakes after all.
func TestOneThatIsReplacedIsToldNothing(t *testing.T) {
	h := sleepingHome(t)
	h.hears("homeassistant/light/l/config", `{"unique_id":"l","name":"Lamp","command_topic":"l/set","state_topic":"l/state"}`, true)
	h.tell("valve", "", 21.0)
	if err := h.Replace("zigbee2mqtt/0x02", h.find("lamp_2")); err != nil {
		t.Fatal(err)
	}
	h.Settle(h.now.Wall)
	h.hears("zigbee2mqtt/valve", `{"battery":88}`, false)
	h.want(h.watch(time.Minute))
}
