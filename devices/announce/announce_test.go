package announce

import (
	"encoding/json"
	"maps"
	"slices"
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

// What has a room is a device of its own, in that room and via the house; its entities are the
// same ones by their ids.
func TestWhatHasARoomIsADeviceOfItsOwn(t *testing.T) {
	lamp := shed.Parts[0]
	lamp.Main = true
	h := House{ID: shed.ID, Name: "Shed", Version: "v1", Available: "hearth/status", Parts: shed.Parts[3:],
		Apart: []Apart{{Name: "lamp", Label: "Desk lamp", Room: "Büro", Parts: []Part{lamp, {Name: "lamp.level", Label: "Level", Kind: catalog.Number, Set: "hearth/lamp/set"}}}}}
	_, messages := Said{}.Say(Config{}, h)
	if len(messages) != 2 || messages[1].Topic != "homeassistant/device/hearth_0a1b2c3d-lamp/config" {
		t.Fatalf("%s", messages)
	}
	const want = `{"dev":{"ids":["hearth_0a1b2c3d-lamp"],"name":"Desk lamp","mf":"Hearth","sa":"Büro","via_device":"hearth_0a1b2c3d"},` +
		`"o":{"name":"Hearth","sw":"v1"},"avty":[{"t":"hearth/status"}],"avty_mode":"all","cmps":{` +
		`"lamp-switch":{"p":"switch","uniq_id":"hearth_0a1b2c3d-lamp-switch","name":null,"stat_t":"hearth/lamp/state","cmd_t":"hearth/lamp/set","qos":1,` +
		`"avty":[{"t":"hearth/status"},{"t":"hearth/lamp/availability"}]},` +
		`"lamp.level-number":{"p":"number","uniq_id":"hearth_0a1b2c3d-lamp.level-number","name":"Level","cmd_t":"hearth/lamp/set","qos":1}}}`
	if got := string(messages[1].Payload); got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
	for topic, own := range map[string]bool{
		messages[0].Topic: true, messages[1].Topic: true, "garage/" + messages[1].Topic: true,
		"homeassistant/device/hearth_0a1b2c3e/config": false, "homeassistant/device/hearth_0a1b2c3d_2/config": false,
		"homeassistant/switch/hearth_0a1b2c3d/config": false, "homeassistant/device/hearth_0a1b2c3d-lamp": false, "hearth_0a1b2c3d/config": false,
	} {
		if IsOwn(topic, shed.ID) != own {
			t.Errorf("%s is the house's own: %v", topic, !own)
		}
	}
}

// A part goes from the house into a room and back: what takes it away goes out before what has
// it, and its device is there until that was heard.
func TestAPartMovesIntoARoomAndBack(t *testing.T) {
	on := Config{}
	lamp := Part{Name: "lamp", Kind: catalog.Switch, Set: "x/lamp"}
	hub := Part{Name: "hub.version", Kind: catalog.Sensor, State: "x/version"}
	inside := House{ID: "h", Name: "h", Available: "a/b", Parts: []Part{hub, lamp}}
	apart := House{ID: "h", Name: "h", Available: "a/b", Parts: []Part{hub}, Apart: []Apart{{Name: "lamp", Label: "Lamp", Room: "Hall", Parts: []Part{lamp}}}}
	what := func(messages []Message) (all string) {
		for _, m := range messages {
			is := "nothing"
			switch {
			case strings.Contains(string(m.Payload), `"lamp-switch":{"p":"switch"}`):
				is = "no lamp"
			case strings.Contains(string(m.Payload), `"lamp-switch":{`):
				is = "a lamp"
			case len(m.Payload) > 0:
				is = "others"
			}
			all += strings.TrimSuffix(strings.TrimPrefix(m.Topic, "homeassistant/device/"), "/config") + " has " + is + ", "
		}
		return strings.TrimSuffix(all, ", ")
	}
	s := Said{}
	say := func(c Config, h House, want string) {
		t.Helper()
		var messages []Message
		if s, messages = s.Say(c, h); what(messages) != want {
			t.Errorf("it says that %s; want %s", what(messages), want)
		}
	}
	say(on, inside, "h has a lamp")
	say(on, apart, "h has no lamp, h-lamp has a lamp")
	s = s.Heard()
	say(on, apart, "h has others, h-lamp has a lamp")
	say(on, inside, "h-lamp has no lamp, h has a lamp")
	say(on, inside, "h-lamp has no lamp, h has a lamp") // not heard yet
	s = s.Heard()
	say(on, inside, "h-lamp has nothing, h has a lamp")
	say(on, inside, "h has a lamp")
	say(on, apart, "h has no lamp, h-lamp has a lamp")
	say(Config{Prefix: "ha"}, apart, "h has nothing, h-lamp has nothing, ha/device/h has others, ha/device/h-lamp has a lamp")
	off := Config{Announce: new(bool)}
	say(off, apart, "ha/device/h has nothing, ha/device/h-lamp has nothing")
	if s.Topic != "" || s.Apart != nil {
		t.Errorf("%+v is left", s)
	}
	say(off, apart, "")
}

// Parts move between devices that both stay: what loses one says so before another has it, and
// twice only where it has got one too.
func TestPartsMoveBetweenDevicesThatStay(t *testing.T) {
	s := Said{}
	say := func(when, x, y, want string) {
		t.Helper()
		house := House{ID: "h", Name: "h", Available: "a/b", Parts: []Part{{Name: "hub", Kind: catalog.Sensor, State: "x/hub"}}}
		for name, has := range map[string]string{"x": x, "y": y} {
			a := Apart{Name: name, Label: name, Room: "Hall"}
			for _, part := range strings.Fields(has) {
				a.Parts = append(a.Parts, Part{Name: part, Kind: catalog.Switch, Set: "x/" + part})
			}
			if len(a.Parts) > 0 {
				house.Apart = append(house.Apart, a)
			}
		}
		slices.SortFunc(house.Apart, func(a, b Apart) int { return strings.Compare(a.Name, b.Name) })
		var messages []Message
		s, messages = s.Say(Config{}, house)
		var all []string
		for _, m := range messages {
			is := strings.TrimSuffix(strings.TrimPrefix(m.Topic, "homeassistant/device/"), "/config") + ":"
			var said struct{ Cmps map[string]component }
			if err := json.Unmarshal(m.Payload, &said); err != nil {
				t.Fatal(err)
			}
			for _, key := range slices.Sorted(maps.Keys(said.Cmps)) {
				if name, isPart := strings.CutSuffix(key, "-switch"); isPart && said.Cmps[key].UniqueID != "" {
					is += " " + name
				} else if isPart {
					is += " no " + name
				}
			}
			all = append(all, is)
		}
		if got := strings.Join(all, ", "); got != want {
			t.Errorf("%s it says %q, want %q", when, got, want)
		}
		s = s.Heard()
	}
	say("at first", "a b", "c", "h:, h-x: a b, h-y: c")
	say("as before", "a b", "c", "h:, h-x: a b, h-y: c")
	say("with one moved on", "a", "b c", "h-x: a no b, h:, h-y: b c")
	say("with one moved back", "a b", "c", "h-y: no b c, h:, h-x: a b")
	say("with two swapped", "b c", "a", "h-x: no a b, h-y: no c, h:, h-x: no a b c, h-y: a no c")
	say("with one swapped for a new one", "b d", "a c", "h-x: b no c, h:, h-x: b no c d, h-y: a c")
	say("with one that is gone, and a new one", "b e", "a c", "h:, h-x: b no d e, h-y: a c")
	say("with all in one", "", "a b c e", "h-x: no b no e, h:, h-y: a b c e")
}
