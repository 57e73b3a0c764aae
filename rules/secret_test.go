package rules

import (
	"strings"
	"testing"
)

// What is compared with a secret is told nowhere, whatever part of its message
// somebody looks at; what else the same rules hear of is.
func TestWhatIsComparedWithASecretIsHidden(t *testing.T) {
	where := names
	where.Secret = func(string) (string, bool) { return "4711", true }
	h := buildIn(t, `
		[rule.pin]
		trigger = { event = "alarm/pin" }
		condition = "string(value) == secret('alarm')"
		action = { set = "lamp", to = true }
		[rule.window]
		trigger = { state = "win/kitchen:contact", is = false }
		action = { publish = "x/call", payload = "{secret('alarm')}" }
		[machine.alarm]
		initial = "armed"
		moves = [
			{ from = "armed", on = { state = "win/hall:contact", is = false }, to = "triggered" },
			{ from = "*", on = { event = "alarm/{who}/set:code" }, if = "string(value) == secret('alarm')", to = "off" },
		]
		[rule.log]
		trigger = { event = "alarm/{who}/set" }
		action = { publish = "x/{who}", payload = "somebody has typed" }`, where, noon)
	h.say("alarm/pin", "4711", false)
	h.say("win/kitchen", `{"contact":false}`, false)
	h.say("win/hall", `{"contact":false}`, false)
	h.say("alarm/anna/set", `{"code":4711}`, false)
	told := strings.Join(h.trace, "\n")
	if strings.Contains(told, "4711") {
		t.Errorf("the secret is told:\n%s", told)
	}
	for _, want := range []string{
		"rule.pin fired: alarm/pin (now ***)", "-> lamp ON",
		"rule.window fired: win/kitchen:contact is false (now false) -> x/call ***",
		"machine.alarm fired: win/hall:contact is false (now false); armed -> triggered",
		"triggered -> off",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("nothing says %q:\n%s", want, told)
		}
	}
	hidden := map[string]bool{}
	for _, r := range h.registry.All() {
		hidden[r.Source] = h.engine.Hidden(r)
	}
	for source, want := range map[string]bool{"alarm/pin": true, "alarm/anna/set": true, "alarm/anna/set:code": true, "win/kitchen:contact": false, "win/hall:contact": false} {
		if got, ok := hidden[source]; !ok || got != want {
			t.Errorf("%s is hidden: %v, want %v", source, got, want)
		}
	}
}
