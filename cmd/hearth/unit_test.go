package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"hearth/control"
	"hearth/hub"
)

const unit = "../../systemd/hearth.service"

// analyze is systemd-analyze, or a skipped test.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("HEARTH_CI") == "1" {
			t.Fatal("systemd-analyze is not installed, so nobody judged the unit")
		}
		t.Skip("NOT TESTED: systemd-analyze is not installed, so nobody judged the unit")
	}
	out, _ := exec.Command(path, args...).CombinedOutput()
	return string(out)
}

// The hub opens to a network what cheap devices say: it must not be able to do
// more than it needs. 10 is a service that may do everything.
func TestUnitIsHardened(t *testing.T) {
	out := analyze(t, "security", "--no-pager", "--offline=yes", unit)
	found := regexp.MustCompile(`exposure level for hearth\.service: ([0-9.]+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no verdict in:\n%s", out)
	}
	if level, err := strconv.ParseFloat(found[1], 64); err != nil || level > 2.0 {
		t.Errorf("exposure %s, want at most 2.0:\n%s", found[1], out)
	}
	// What the score would pay for and the hub can't do without.
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for _, kills := range []string{"PrivateDevices=yes", "ProcSubset=pid", "ProtectClock=yes", "PrivateNetwork=yes"} {
		if regexp.MustCompile(`(?m)^` + kills).Match(text) {
			t.Errorf("%s: see the unit's comments", kills)
		}
	}
}

func TestUnitIsSound(t *testing.T) {
	path, err := filepath.Abs(unit)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(analyze(t, "verify", path)) {
		if !strings.Contains(line, "/usr/bin/hearth is not executable") { // as it isn't installed here
			t.Error(line)
		}
	}
}

// What a number takes is its range and the values that have names.
func TestWhatAPropertyTakes(t *testing.T) {
	low, high := 153.0, 500.0
	for want, p := range map[string]control.Property{
		"153 to 500 mired or coolest warmest": {Settable: true, Kind: "number", Unit: "mired", Min: &low, Max: &high, Options: []string{"coolest", "warmest"}},
		"153 to 500":                          {Settable: true, Kind: "number", Min: &low, Max: &high},
		"a number °C":                         {Settable: true, Kind: "number", Unit: "°C"},
		"heat off":                            {Settable: true, Kind: "select", Options: []string{"heat", "off"}},
		"on off toggle":                       {Settable: true, Kind: "light"},
		"":                                    {Kind: "light"},
	} {
		if got := takes(p); got != want {
			t.Errorf("%+v takes %q, want %q", p, got, want)
		}
	}
}

// What is suggested to link two is a sound configuration, and a press becomes a rule.
func TestWhatLinksTwoIsSound(t *testing.T) {
	all := []control.Device{
		{Name: "wall", ID: "shelly/shellyix3-aabbcc", Properties: []control.Property{{Name: "battery", Kind: "sensor", Diagnostic: true}, {Name: "button", Kind: "event", Options: []string{"single", "double"}}}},
		{Name: "lamp", ID: "zigbee2mqtt/0x01", Properties: []control.Property{{Name: "link", Kind: "sensor"}, {Name: "state", Kind: "light", Settable: true}}},
		{Name: "door", ID: "zigbee2mqtt/0x02", Named: true, Properties: []control.Property{{Name: "contact", Kind: "binary_sensor"}}},
	}
	for _, c := range []struct{ from, to, want string }{
		{"wall", "lamp", `[rule.wall_lamp]`}, {"wall", "lamp", `trigger = { event = "wall.button", is = "single" }`},
		{"door", "lamp.state", `from = "door.contact"`},
	} {
		var b strings.Builder
		if err := suggestLink(&b, c.from, c.to, all); err != nil || !strings.Contains(b.String(), c.want) {
			t.Errorf("%s to %s: %v\n%s", c.from, c.to, err, b.String())
		}
		text := b.String()
		if c.from == "door" {
			text += "[device.door]\nid = \"zigbee2mqtt/0x02\"\n"
		}
		if _, doc := hub.Parse("suggested.toml", []byte(text)); doc.Err() != nil {
			t.Errorf("%v\n%s", doc.Err(), text)
		}
	}
	for _, c := range [][2]string{{"wall.battery", "lamp"}, {"wall", "door"}, {"lamp", "wall.button"}, {"lamp", "lamp"}, {"nothing", "lamp"}, {"door.contct", "lamp"}} {
		if err := suggestLink(new(strings.Builder), c[0], c[1], all); err == nil {
			t.Errorf("%s to %s is no mistake", c[0], c[1])
		}
	}
}

// hearth gpio asks the hub of its configuration, and no other that happens to run here.
func TestWhichHubIsAskedForPins(t *testing.T) {
	for _, c := range []struct{ broker, want string }{
		{"", defaultBroker},
		{`listen = ["127.0.0.1:0"]`, ""},
		{`listen = ["ws://127.0.0.1:8083", "127.0.0.1:1999"]`, "127.0.0.1:1999"},
		{`listen = ["tls://127.0.0.1:8883"]`, "tls://127.0.0.1:8883"},
		{`connect = "mqtt://mosquitto.lan"`, "mqtt://mosquitto.lan"},
	} {
		cfg, _ := hub.Parse("house.toml", []byte("[broker]\n"+c.broker+"\n"))
		if got := new(gpioShowCommand).broker(cfg); got != c.want {
			t.Errorf("%s: %q is asked, want %q", c.broker, got, c.want)
		}
	}
}
