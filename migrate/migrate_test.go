package migrate

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What is too much is refused with a reason, and nothing takes long: an import runs
// on whatever somebody found in a forum.
func TestTooMuchIsRefused(t *testing.T) {
	o := Options{Topic: "hall_plug"}
	repeat := strings.Repeat
	automation := "- alias: %d\n  trigger: {platform: mqtt, topic: a/%d}\n  action: {service: light.turn_on, entity_id: light.l%d}\n"
	var many strings.Builder
	for i := range 2001 {
		fmt.Fprintf(&many, automation, i, i, i)
	}
	var chain strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&chain, "- alias: a%d\n  trigger: {platform: mqtt, topic: a/b}\n  action: {service: automation.turn_on, entity_id: automation.a%d}\n", i, i+1)
	}
	for _, c := range []struct {
		name    string
		dialect func([]byte, Options) (Result, error)
		text    string
		want    string // of the error; "" for none
	}{
		{"bytes of YAML", HomeAssistant, repeat("# x\n", MaxText/4+1), "import it in parts"},
		{"depth", HomeAssistant, repeat("[", 100) + repeat("]", 100), "nested deeper than 60"},
		{"values", HomeAssistant, "[" + repeat("x, ", 60_000) + "]", "more than 50000 values"},
		{"automations", HomeAssistant, many.String(), "at most 2000"},
		{"a chain of them", HomeAssistant, chain.String(), ""},
		{"wrong automations", HomeAssistant, "[" + repeat("x, ", 40_000) + "]", "no automation"},
		{"the same name", HomeAssistant, repeat("- alias: a\n  trigger: {platform: mqtt, topic: a}\n  action: {delay: 1}\n", 2000), ""},
		{"a deep template", HomeAssistant, "trigger: {platform: template, value_template: '{{ " + repeat("(", 2000) + " }}'}\naction: {delay: 1}", ""},
		{"bytes of rules", Tasmota, repeat("Rule1\n", 20_000), "at most 65536"},
		{"rules", Tasmota, repeat("ON a#b DO c ENDON\n", 600), "at most 500"},
		{"settings", Tasmota, repeat("a\n", 20_000) + " ON a#b DO c ENDON", ""},
		{"IF in IF", Tasmota, "ON a#b DO " + repeat("IF (var1==1) ", 3000) + " ENDON", ""},
		{"parentheses", Tasmota, "ON a#b DO IF (" + repeat("(", 20_000) + repeat(")", 20_001) + " Power1 1 ENDIF ENDON", ""},
		{"commands", Tasmota, "ON a#b DO Backlog " + repeat("Power1 1;", 6000) + " ENDON", ""},
	} {
		began := time.Now()
		_, err := c.dialect([]byte(c.text), o)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: it took %v", c.name, took)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// What does not fit on a line is broken where a person would.
func TestLongTablesAreBroken(t *testing.T) {
	long := strings.Repeat("abcdefghij", 8)
	got := write([]*section{
		{kind: "rule", name: "r", comments: []string{"why"}, table: table{
			{"trigger", table{{"state", "a/b"}, {"is", true}}},
			{"action", []any{table{{"publish", "a"}, {"payload", long}}, table{{"if", table{{"state", table{{"a/b:c", "it's \"so\""}}}}}, {"do", []any{table{{"publish", "a"}, {"payload", long}}, table{{"delay", "5m"}}}}}}},
		}},
		{kind: "device", name: "d", table: table{{"id", `back\slash`}}},
	})
	want := `[device.d]
id = 'back\slash'

# why
[rule.r]
trigger = { state = "a/b", is = true }
action = [
  { publish = "a", payload = "` + long + `" },
  { if = { state = { "a/b:c" = "it's \"so\"" } }, do = [
    { publish = "a", payload = "` + long + `" },
    { delay = "5m" },
  ] },
]
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
