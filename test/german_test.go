package test

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"hearth/web/webtest"
)

// A house with something of everything, whose page is in German.
const german = `language = "de"

[output.porch_light]
pin = "GPIO17"
max_on = "2h"

[output.heater]
pin = "GPIO22"
min_off = "5m"

[output.up]
pin = "GPIO5"

[output.down]
pin = "GPIO6"

[cover.blind]
up = "up"
down = "down"
open_time = "5s"
close_time = "5s"

[output.a]
pin = "GPIO23"

[output.b]
pin = "GPIO24"
min_on = "1m"

[interlock.ab]
outputs = ["a", "b"]

[output.fan]
pin = "GPIO25"
feedback = "fan_on"
feedback_within = "100ms"

[input.fan_on]
pin = "GPIO16"

[input.pir]
pin = "GPIO27"

[output.on_a_bus]
pin = "GPIO2"

[sensor.cellar]
type = "bme280"
bus = "I2C1"

[link.hall_light]
from = "zigbee2mqtt/hall_motion:occupancy"
to = "porch_light"

[rule.heater]
trigger = { state = "zigbee2mqtt/study:temperature", below = 19, until = 20.2 }
action = { set = "heater", on = true, off = false }

[rule.stairs]
trigger = { state = "pir", is = true }
condition = { days = "mon-fri", time = "16:00-23:00", state = { "presence/house" = "home" } }
action = { pulse = "porch_light", for = "60s" }
mode = "restart"

[rule.garage]
trigger = { state = "garage/door", is = "open", for = "15m" }
action = { set = "fan", to = true }

[rule.offline]
trigger = { state = "tele/{name}/LWT", is = "Offline", for = "10m", retained = true }
action = { publish = "alarm/{name}", payload = "gone" }

[rule.morning]
trigger = { time = "05:45", id = "early" }
action = { set = "a", to = true }

[rule.slow]
trigger = { state = "slow/go", is = true }
action = [{ set = "b", to = true }, { delay = "1h" }, { set = "b", to = false }]
mode = "single"

[rule.tired]
trigger = { state = "tired/go", is = true }
action = { set = "a", to = true }
cooldown = "5m"

[rule.never]
enabled = false
trigger = { state = "pir" }
action = { set = "a", to = true }

[machine.alarm]
initial = "disarmed"
topic = "alarm/state"
moves = [
  { from = "disarmed", on = { event = "alarm/set:action", is = "ARM_AWAY" }, to = "arming" },
  { from = "arming", after = "1h", to = "armed_away" },
  { from = "*", on = { event = "alarm/set:action", is = "DISARM" }, to = "disarmed" },
]
`

// Much happens in the house, and no page that tells of it has an English sentence: neither as
// the server draws it, nor as the stream tells it, nor where something is refused.
func TestThePageInGerman(t *testing.T) {
	ctx := webtest.Browser(t)
	l := newHouse(t, t.TempDir(), german).start(t)
	webtest.Do(t, ctx, "the log", chromedp.Navigate(l.page+"/log"), webtest.Until(live))

	c := l.client(t, "house")
	for _, m := range [][2]string{
		{"zigbee2mqtt/hall_motion", `{"occupancy":true}`}, {"zigbee2mqtt/study", `{"temperature":18}`}, {"zigbee2mqtt/study", `{broken`}, {"presence/house", "away"},
		{"garage/door", "open"}, {"garage/door", "closed"}, {"garage/door", "open"}, {"tele/plug/LWT", "Offline"}, {"slow/go", "true"}, {"slow/go", "false"}, {"slow/go", "true"},
		{"tired/go", "true"}, {"tired/go", "false"}, {"tired/go", "true"}, {"alarm/set", `{"action":"ARM_AWAY"}`}, {"hearth/nothing/set", "ON"}, {"hearth/heater/set", "MAYBE"},
		{"hearth/blind/set", "OPEN"}, {"hearth/machine/alarm/set", "armed_away"}, {"hearth/rule/morning/set", "OFF"}, {"hearth/rule/never/set", "ON"}, {"hearth/fan/set", "ON"},
	} {
		c.send(t, m[0], m[1], false)
	}
	l.post(t, "/api/v1/input/pir", `{"on":true}`)
	webtest.Do(t, ctx, "the stream told it in German",
		webtest.Until(webtest.Shows(".log", "wurde aufgehalten: pir ist true (jetzt ON), nicht presence/house ist home (away)")),
		webtest.Until(webtest.Shows(".log", "rule.morning ausgeschaltet")), webtest.Until(webtest.Shows("#waiting", "rule.slow: wartet noch")),
		webtest.Until(webtest.Shows("#trouble", "fan: seine Rückmeldung fan_on sagt 100ms nach dem Einschalten noch aus")))
	webtest.Do(t, ctx, "a refusal", chromedp.Navigate(l.page+"/topics"), webtest.Until(live), chromedp.Evaluate(`document.querySelector('#publish').closest('details').open = true`, nil),
		chromedp.SetValue(`#publish [name=topic]`, "hearth/status"), chromedp.Click(`#publish button`), webtest.Until(webtest.Shows("#toast", "was der Hub selbst sagt, kann niemand anders sagen: hearth/status")))

	english := regexp.MustCompile(`(?i)\b(the|and|is|it|its|that|this|has|have|been|not|with|are|can|than|which|want|nobody|of|from|into|fired|blocked|ended|since|above|below|waits|when|because|somebody|there|now)\b`)
	drawn, shown := regexp.MustCompile(`(?s)<(script|style|template|pre|code|textarea)\b.*?</(script|style|template|pre|code|textarea)>`), regexp.MustCompile(`>([^<]+)<|(?:title|aria-label|placeholder)="([^"]+)"`)
	paths := []string{"/", "/log", "/devices", "/rules", "/pins", "/health", "/clients", "/users", "/account", "/edit", "/edit/versions", "/nowhere", "/why/nothing", "/thing/nothing", "/rules/nothing", "/devices/nothing", "/why/heater?at=99:99"}
	for _, name := range []string{"porch_light", "heater", "blind", "a", "b", "fan", "pir", "alarm", "cellar", "rule.heater", "rule.stairs", "rule.garage", "rule.offline", "rule.slow", "rule.tired", "rule.morning", "link.hall_light"} {
		paths = append(paths, "/why/"+name, "/why/"+name+"?at="+url.QueryEscape("2001-02-03 04:05"), "/thing/"+name)
		if strings.Contains(name, ".") {
			paths = append(paths, "/rules/"+name)
		}
	}
	paths = append(paths, "/rules/machine.alarm", "/rules/rule.never", "/why/rule.never")
	for _, path := range paths {
		page := drawn.ReplaceAllString(l.asked(t, path), "")
		for _, found := range shown.FindAllStringSubmatch(page, -1) {
			if text := strings.TrimSpace(html.UnescapeString(found[1] + found[2])); english.MatchString(text) {
				t.Errorf("%s says %q", path, text)
			}
		}
	}
}

// asked is a page as a person's browser asks for it.
func (l *life) asked(t *testing.T, path string) string {
	t.Helper()
	r, err := http.NewRequest("GET", l.page+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 500 || !strings.Contains(string(body), `<html lang="de"`) {
		t.Fatal(path, resp.Status, err)
	}
	return string(body)
}
