package rules

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// Whatever a message does to the numbers of a rule, what is kept of it can be
// written: JSON has no infinity.
func TestNothingThatIsKeptIsInfinite(t *testing.T) {
	h := build(t, `
		[variable.v]
		initial = 1.7e308
		[variable.s]
		initial = 1.7e308
		[rule.hook]
		trigger = { webhook = "/hook/x" }
		action = [{ delay = "30s" }, { publish = "x/hook", payload = "{value}" }]
		[rule.ramp]
		trigger = { event = "a/ramp" }
		action = { ramp = "v", value = "value", over = "3s" }
		[rule.step]
		trigger = { event = "a/step" }
		action = { set = "s", step = 1e308 }
		[rule.lamp]
		trigger = { event = "a/lamp" }
		action = [{ publish = "lamp/level", payload = "{msg}" }, { ramp = "lamp/level", to = 100, over = "1m" }]`)
	h.note(h.engine.Start(h.now))
	h.note(h.engine.Webhook("/hook/x", []byte(`{"a":1e999}`), h.now))
	h.note(h.engine.Webhook("/hook/x", []byte(`1e999`), h.now))
	h.say("a/ramp", "-1.7e308", false)
	h.say("a/step", "x", false)
	h.say("a/lamp", "nan", false)
	for range 4 {
		h.keep() // fails the test if it can't be written
		h.pass(time.Second)
	}
	h.restart(`[variable.v]`, "first", time.Second)
}

// A machine that has lost its state by a new configuration is in its first one, for
// all who look.
func TestAMachineWhoseStateIsGoneBeginsAnew(t *testing.T) {
	const before = `
		[machine.al]
		initial = "off"
		moves = [{ from = "off", on = { event = "a/go" }, to = "leaving" }]`
	h := build(t, before)
	h.note(h.engine.Start(h.now))
	h.say("a/go", "x", false)
	kept := h.keep()
	h.take(strings.ReplaceAll(before, "leaving", "armed")+`
		[rule.say]
		trigger = { event = "a/ask" }
		condition = { state = { al = "off" } }
		action = { publish = "x/al", payload = "{al}" }`, kept)
	h.note(h.engine.Reload(h.now))
	h.sent = nil
	h.say("a/ask", "x", false)
	if got := strings.Join(h.sent, "|"); got != "0s al off" {
		t.Errorf("sent %q, want that it is off", got)
	}
}

// A name that has become something else has the value of that.
func TestANameThatHasBecomeSomethingElse(t *testing.T) {
	h := build(t, "[variable.q]\ninitial = \"old\"")
	h.note(h.engine.Start(h.now))
	kept := h.keep()
	h.take(`
		[calc.q]
		of = "a/b"
		value = "sum(readings)"
		default = 7
		[rule.say]
		trigger = { event = "a/ask" }
		action = { publish = "x/q", payload = "{q}" }`, kept)
	h.note(h.engine.Reload(h.now))
	h.sent = nil
	h.say("a/ask", "x", false)
	if got := strings.Join(h.sent, "|"); got != "0s q 7" {
		t.Errorf("sent %q, want 7", got)
	}
}

// A record that is sound but not of this shape is not taken up.
func TestAKeptRepeatWithoutItsBeginIsNotTaken(t *testing.T) {
	const text = `
		[rule.r]
		trigger = { state = "a/b", is = true }
		action = { publish = "x/y", payload = "{n}" }
		repeat = "1m"`
	h := build(t, text)
	h.note(h.engine.Start(h.now))
	h.say("a/b", "on", false)
	var states map[string]State
	if err := json.Unmarshal(h.keep(), &states); err != nil {
		t.Fatal(err)
	}
	s := states["rule.r"]
	s.Triggers[0].Of, s.Triggers[0].Began = nil, false
	states["rule.r"] = s
	b, err := json.Marshal(states)
	if err != nil {
		t.Fatal(err)
	}
	h.take(text, b)
	h.note(h.engine.Start(h.now))
	h.pass(10 * time.Minute)
}

// A run that never pauses is stopped, in whatever shape its loop is.
func TestARunWithoutAPauseIsStopped(t *testing.T) {
	for name, action := range map[string]string{
		"while":    `{ while = "true", do = { publish = "x/y", payload = "x" } }`,
		"parallel": `{ times = 300, do = { parallel = [[{ times = 3000, do = { publish = "x/y", payload = "x" } }], [{ times = 3000, do = { publish = "x/z", payload = "x" } }]] } }`,
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, "[rule.r]\ntrigger = { event = \"a/b\" }\naction = "+action)
			h.say("a/b", "x", false)
			if len(h.sent) > maxSteps || !strings.Contains(strings.Join(h.trace, ""), "actions without a pause") {
				t.Errorf("%d messages, and it says %.200s", len(h.sent), strings.Join(h.trace, ""))
			}
		})
	}
}

// A topic that comes out of a message is not one on which only the hub speaks.
func TestAMessageCantMakeARuleSpeakForTheHub(t *testing.T) {
	h := build(t, `
		[rule.r]
		trigger = { event = "a/b" }
		action = { publish = "{msg.to}", payload = "ON", retain = true }`)
	for _, to := range []string{"hearth/lamp/state", "hearth/status", "hearth/rule/r/enabled"} {
		h.say("a/b", `{"to":"`+to+`"}`, false)
	}
	if len(h.sent) > 0 {
		t.Errorf("it sent %q", h.sent)
	}
	h.say("a/b", `{"to":"hearth/lamp/set"}`, false)
	if len(h.sent) != 1 {
		t.Error("it may switch an output")
	}
}

// Secrets are told neither in the parts of a table nor in a topic, a variable or a
// value that a condition saw.
func TestSecretsInTablesTopicsAndVariables(t *testing.T) {
	where := names
	where.Secret = func(string) (string, bool) { return "S3CR3T", true }
	h := buildIn(t, `
		[variable.v]
		initial = ""
		[rule.r]
		trigger = { event = "a/b" }
		action = [
			{ publish = "cmd/x", payload = { code = "{secret('alarm')}", list = ["{secret('alarm')}"] } },
			{ publish = "cmd/{secret('alarm')}/x", payload = "x" },
			{ set = "v", value = "secret('alarm')" },
		]
		[rule.compare]
		trigger = { event = "a/code" }
		condition = ["string(value) == secret('alarm')", { state = { "a/code" = "x" } }]
		action = { publish = "x/y", payload = "x" }`, where, noon)
	h.say("a/b", "x", false)
	h.say("a/code", "S3CR3T", false)
	told := strings.Join(append(h.trace, h.engine.WhyNot("compare", h.now)...), "\n")
	if strings.Contains(told, "S3CR3T") {
		t.Errorf("the secret is told:\n%s", told)
	}
}
