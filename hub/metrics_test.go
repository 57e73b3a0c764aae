package hub

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/gpio"
)

// measured is what of the house Prometheus is told whose names match, without the
// metadata.
func measured(t *testing.T, h *Hub, names string) (lines []string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "http://localhost/metrics", nil)
	r.RemoteAddr = "127.0.0.1:4711"
	h.web.Handler().ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	match := regexp.MustCompile("^(" + names + ")[{ ]")
	for line := range strings.Lines(w.Body.String()) {
		if match.MatchString(line) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func sameLines(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, "\n"); text != strings.TrimSpace(want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, text, strings.TrimSpace(want))
	}
}

// The reference tells of every metric, and of no other.
func TestEveryMetricIsInTheReference(t *testing.T) {
	text := string(read(t, "../docs/metrics.md"))
	code := string(read(t, "metrics.go"))
	names := regexp.MustCompile(`hearth_[a-z_]+`)
	for _, pair := range [][3]string{{code, text, "docs/metrics.md does not tell of"}, {text, code, "docs/metrics.md tells in vain of"}} {
		for _, name := range names.FindAllString(pair[0], -1) {
			if !regexp.MustCompile(`\b` + name + `\b`).MatchString(pair[1]) {
				t.Errorf("%s %s", pair[2], name)
			}
		}
	}
}

// A house is measured: what it reports under its labels, its outputs, what its rules
// decided and how the hub is doing. What is compared with a secret is nobody's to see, and
// what is away has no value.
func TestTheHouseIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), `
[device]
plug = { id = "zigbee2mqtt/0x01", room = "Study" }

[output.porch_light]
pin = "GPIO17"
[output.heater]
pin = "GPIO22"
period = "10s"
[input.pir]
pin = "GPIO27"

[link.hall_light]
from = "zigbee2mqtt/hall_motion:occupancy"
to = "porch_light"
[rule.warm]
trigger = { state = "plug.power", above = 2000 }
action = { set = "heater", to = 40 }
[rule.pin]
trigger = { event = "alarm/pin" }
condition = "string(value) == secret('alarm')"
action = { set = "porch_light", to = true }
[calc.double]
of = "house/meter:kW"
value = "sum(readings) * 2"
[machine.alarm]
initial = "off"
moves = [{ from = "off", on = { event = "alarm/set", is = "ON" }, to = "armed" }]
[secret]
alarm = "4711"
`), Options{Bank: gpio.NewSim(), Version: "v1.2.3"})
		defer stop()
		w := newWorld(t, h, "x")
		defer w.leave()
		w.announce("zigbee2mqtt/bridge/state", `online`)
		w.announce("zigbee2mqtt/plug/availability", `online`)
		w.announce("zigbee2mqtt/bridge/devices", `[{"ieee_address":"0x01","type":"Router","friendly_name":"plug","definition":{"vendor":"x","model":"y","exposes":[
{"type":"numeric","property":"power","unit":"W","access":1},{"type":"binary","property":"state","access":1,"value_on":"ON","value_off":"OFF"},
{"type":"enum","property":"mode","access":1,"values":["eco","boost"]},{"type":"numeric","property":"linkquality","access":1},{"type":"text","property":"note","access":1}]}}]`)
		w.say("zigbee2mqtt/plug", `{"power":2100.5,"state":"ON","mode":"eco","linkquality":93,"note":"4"}`)
		w.say("zigbee2mqtt/hall_motion", `{"occupancy":true}`)
		w.say("house/meter", `{"kW":null}`)
		w.say("house/meter", `{"kW":1.25}`)
		w.say("alarm/pin", `4711`)
		time.Sleep(time.Second)

		sameLines(t, "readings", measured(t, h, "hearth_reading|hearth_state|hearth_readings_invalid_total"), `
hearth_reading{device="double"} 2.5
hearth_reading{device="house/meter",property="kW"} 1.25
hearth_reading{device="zigbee2mqtt/hall_motion",property="occupancy"} 1
hearth_reading{device="plug",property="power",room="Study",unit="W"} 2100.5
hearth_reading{device="plug",property="state",room="Study"} 1
hearth_reading{device="plug",property="linkquality",room="Study"} 93
hearth_readings_invalid_total{device="house/meter",property="kW"} 1
hearth_state{device="plug",property="mode",room="Study",state="boost"} 0
hearth_state{device="plug",property="mode",room="Study",state="eco"} 1
`)
		sameLines(t, "outputs", measured(t, h, "hearth_output_.*|hearth_input_on|hearth_fault|hearth_device_available|hearth_machine_state"), `
hearth_machine_state{machine="alarm",state="off"} 1
hearth_machine_state{machine="alarm",state="armed"} 0
hearth_output_on{output="porch_light"} 1
hearth_output_on{output="heater"} 0
hearth_output_switches_total{output="porch_light"} 1
hearth_output_switches_total{output="heater"} 1
hearth_fault{name="porch_light"} 0
hearth_fault{name="heater"} 0
hearth_fault{name="pir"} 0
hearth_output_level_ratio{output="heater"} 0.4
hearth_input_on{input="pir"} 0
hearth_device_available{device="plug",room="Study"} 1
`)
		sameLines(t, "rules", measured(t, h, "hearth_decisions_total|hearth_rule.*"), `
hearth_rules 3
hearth_rule_enabled{rule="warm"} 1
hearth_rule_enabled{rule="pin"} 1
hearth_rule_errors_total{rule="machine.alarm"} 0
hearth_rule_errors_total{rule="link.hall_light"} 0
hearth_rule_errors_total{rule="rule.warm"} 0
hearth_rule_errors_total{rule="rule.pin"} 0
hearth_rule_errors_total{rule="calc.double"} 0
hearth_decisions_total{rule="link.hall_light",outcome="fired"} 1
hearth_decisions_total{rule="rule.pin",outcome="fired"} 1
hearth_decisions_total{rule="rule.warm",outcome="fired"} 1
`)
		sameLines(t, "the hub", measured(t, h, "hearth_(build_info|clock_known|problem|store_trouble|inbox.*|mqtt_clients|mqtt_messages_dropped_total|start_time_seconds)")[1:], `
hearth_clock_known 1
hearth_start_time_seconds 946684800
hearth_problem 0
hearth_store_trouble 0
hearth_inbox_waiting 0
hearth_inbox_merged_total 0
hearth_inbox_dropped_total 0
hearth_mqtt_clients 1
hearth_mqtt_messages_dropped_total 0
`)

		w.announce("zigbee2mqtt/plug/availability", `offline`)
		sameLines(t, "the plug is away", measured(t, h, "hearth_(reading|state|device_available)"), `
hearth_device_available{device="plug",room="Study"} 0
hearth_reading{device="double"} 2.5
hearth_reading{device="house/meter",property="kW"} 1.25
hearth_reading{device="zigbee2mqtt/hall_motion",property="occupancy"} 1
`)
	})
}
