package announce

import (
	"maps"
	"strings"
	"testing"

	"hearth/devices/catalog"
)

var shed = House{ID: "hearth_0a1b2c3d", Name: "Shed", Version: "v1", Available: "hearth/status", Parts: []Part{
	{Name: "lamp", Kind: catalog.Switch, State: "hearth/lamp/state", Set: "hearth/lamp/set", Available: "hearth/lamp/availability"},
	{Name: "cellar.temperature", Kind: catalog.Sensor, State: "hearth/cellar/temperature", Class: "temperature", StateClass: "measurement", Unit: "°C"},
	{Name: "bell.press", Kind: catalog.Event, State: "hearth/bell/press", Class: "button", Options: []string{"single", "hold"}},
	{Name: "hub.version", Label: "Version", Kind: catalog.Sensor, State: "hearth/version", Diagnostic: true},
}}

// What is said of a house, whole and as it goes out.
func TestWhatIsSaidOfAHouse(t *testing.T) {
	_, messages := Said{}.Say(Config{}, shed)
	if len(messages) != 1 || messages[0].Topic != "homeassistant/device/hearth_0a1b2c3d/config" {
		t.Fatalf("%v", messages)
	}
	const want = `{"dev":{"ids":["hearth_0a1b2c3d"],"name":"Shed","mf":"Hearth","mdl":"Hearth","sw":"v1"},` +
		`"o":{"name":"Hearth","sw":"v1"},"avty":[{"t":"hearth/status"}],"avty_mode":"all","cmps":{` +
		`"bell.press-event":{"p":"event","uniq_id":"hearth_0a1b2c3d-bell.press-event","name":"Bell press","stat_t":"hearth/bell/press",` +
		`"val_tpl":"{\"event_type\": \"{{ value }}\"}","dev_cla":"button","event_types":["single","hold"]},` +
		`"cellar.temperature-sensor":{"p":"sensor","uniq_id":"hearth_0a1b2c3d-cellar.temperature-sensor","name":"Cellar temperature",` +
		`"stat_t":"hearth/cellar/temperature","dev_cla":"temperature","stat_cla":"measurement","unit_of_meas":"°C"},` +
		`"hub.version-sensor":{"p":"sensor","uniq_id":"hearth_0a1b2c3d-hub.version-sensor","name":"Version","stat_t":"hearth/version","ent_cat":"diagnostic"},` +
		`"lamp-switch":{"p":"switch","uniq_id":"hearth_0a1b2c3d-lamp-switch","name":"Lamp","stat_t":"hearth/lamp/state","cmd_t":"hearth/lamp/set","qos":1,` +
		`"avty":[{"t":"hearth/status"},{"t":"hearth/lamp/availability"}]}}}`
	if got := string(messages[0].Payload); got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
}

// What was there stays as gone until it was heard, over as many changes as there are; what
// is back is not gone; and what is taken back as a whole leaves nothing to say.
func TestWhatIsGoneIsSaidUntilItWasHeard(t *testing.T) {
	on, off := Config{}, Config{Announce: new(bool)}
	with := func(names ...string) House {
		h := House{ID: "h", Name: "h", Available: "a/b"}
		for _, name := range names {
			h.Parts = append(h.Parts, Part{Name: name, Kind: catalog.Switch, Set: "x/" + name})
		}
		return h
	}
	gone := func(s Said, want ...string) {
		t.Helper()
		left := make(map[string]string)
		for _, name := range want {
			left[name+"-switch"] = "switch"
		}
		if !maps.Equal(s.Gone, left) {
			t.Errorf("%v are gone, want %v", s.Gone, left)
		}
	}
	s, _ := Said{}.Say(on, with("a", "b", "c"))
	gone(s)
	s, _ = s.Say(on, with("a", "b"))
	gone(s, "c")
	s, messages := s.Say(on, with("a"))
	gone(s, "b", "c")
	if got := string(messages[0].Payload); !strings.Contains(got, `"b-switch":{"p":"switch"}`) || !strings.Contains(got, `"c-switch":{"p":"switch"}`) {
		t.Errorf("it says %s", got)
	}
	s, _ = s.Say(on, with("a", "c"))
	gone(s, "b")
	s, _ = s.Heard().Say(on, with("a", "c"))
	gone(s)

	s, _ = s.Say(on, with("a"))
	s, messages = s.Say(Config{Prefix: "ha"}, with("a"))
	if gone(s); len(messages) != 2 || messages[0].Topic != "homeassistant/device/h/config" || len(messages[0].Payload) > 0 || messages[1].Topic != "ha/device/h/config" {
		t.Errorf("with another prefix %v", messages)
	}
	s, messages = s.Say(off, with("a"))
	if s.Topic != "" || len(messages) != 1 || messages[0].Topic != "ha/device/h/config" || len(messages[0].Payload) > 0 {
		t.Errorf("switched off %v, %v", s, messages)
	}
	if _, messages = s.Say(off, with("a")); len(messages) > 0 {
		t.Errorf("switched off twice %v", messages)
	}
}
