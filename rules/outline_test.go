package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/config"
	"hearth/devices"
)

// A house of all kinds: what is written once is told once, with what became of it; and to
// look at it changes nothing.
func TestOutlines(t *testing.T) {
	var cfg Config
	doc := config.Parse("config.toml", []byte(`
[rule.lamps]
each = ["kitchen", "bath"]
trigger = { state = "{item}/motion", is = true, for = "5m" }
condition = ["number('x') > 1", { not = { state = { "house/away" = true } } }]
action = [{ publish = "{item}/lamp", payload = "ON" }, { delay = "1m" }, { if = { state = { "house/lux" = { below = 3 } } }, publish = "{item}/lamp", payload = "OFF" }]
[rule.plugs]
trigger = { state = "plug/{name}/power", above = 5 }
condition = { below = 9 }
action = { set = "tally", to = 1 }
[rule.off]
enabled = false
trigger = { time = "07:00" }
action = { disable = "lamps" }
[rule.hook]
trigger = { webhook = "/hook/x" }
action = { set = "tally", to = 2 }
[variable.tally]
initial = 0
[link.all]
from = "a/b"
to = "c/d"
[machine.alarm]
initial = "off"
moves = [{ from = "off", on = { event = "alarm/arm" }, to = "armed", if = { state = { "house/away" = true } } }, { from = "armed", after = "30s", to = "off" }]
`), &cfg)
	e := New(cfg, House{Zone: time.UTC}, new(devices.Registry), doc.Root())
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	now := func(after time.Duration) devices.Now {
		return devices.Now{Wall: at.Add(after), Mono: after + time.Hour, Known: true}
	}
	say := func(after time.Duration, topic string, v any) {
		r := devices.Reading{Source: topic, Topic: topic, Value: v, Text: fmt.Sprint(v), At: now(after)}
		if name, ok := strings.CutPrefix(topic, "plug/"); ok {
			name, _, _ = strings.Cut(name, "/")
			r.Captured = &devices.Capture{Source: "plug/{name}/power", Values: []string{name}}
		}
		e.registry.Apply(r)
		e.Step(r)
	}
	e.Take(Event{Kind: Open, At: now(0)})
	e.Take(Event{Kind: Begin, At: now(0)})
	e.Take(Event{Kind: Resume, At: now(time.Second)})
	say(2*time.Second, "kitchen/motion", true)
	say(3*time.Second, "plug/tv/power", 7.0)
	say(3*time.Second, "plug/fan/power", 20.0)

	var lines []string
	for _, o := range e.Outlines(now(time.Minute)) {
		lines = append(lines, fmt.Sprintf("%s %v %v %q %v", o.Name, o.Enabled, o.Of, o.State, o.Underway))
	}
	want := `machine.alarm true [] "off" [machine.alarm: off]
link.all true [] "" []
rule.lamps true [rule.lamps[kitchen] rule.lamps[bath]] "" [rule.lamps[kitchen]: kitchen/motion is true, 4m2s to go]
rule.plugs true [] "" []
rule.off false [] "" []
rule.hook true [] "" []`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if some := e.Outlines(now(time.Minute), "rule.plugs"); len(some) != 1 || some[0].Name != "rule.plugs" || some[0].Ran != 1 {
		t.Errorf("of one rule: %+v", some)
	}

	see := func(name string, most int) string {
		var lines []string
		for _, s := range e.Stances(name, now(time.Minute), most) {
			lines = append(lines, s.Name)
			for _, t := range s.Triggers {
				lines = append(lines, fmt.Sprintf("  %s (%s) %v: %s", t.Text, t.Source, t.Holds, t.Why))
			}
			for _, c := range s.Conditions {
				lines = append(lines, fmt.Sprintf("  if %s: %s %v", c.Text, c.Saw, c.OK))
			}
		}
		return strings.Join(lines, "\n")
	}
	for name, want := range map[string]string{
		"rule.plugs": `rule.plugs[name=fan]
  plug/{name}/power above 5 (plug/fan/power) true: it is 20, so that is true already; it fires when that becomes true again
  if value below 9: 20 false
rule.plugs[name=tv]
  plug/{name}/power above 5 (plug/tv/power) true: it is 7, so that is true already; it fires when that becomes true again
  if value below 9: 7 true`,
		"machine.alarm": `machine.alarm
  off -> armed: alarm/arm (alarm/arm) false: nothing valid has come from it`,
		"rule.hook": `rule.hook
  webhook /hook/x (POST /hook/x) false: it fires when somebody posts to it`,
		"rule.nothing": "",
	} {
		if got := see(name, 10); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
	if got := see("rule.plugs", 1); strings.Contains(got, "tv") {
		t.Errorf("more than one: %s", got)
	}
	for range 3 {
		see("rule.lamps[kitchen]", 10)
	}
	if o := e.Outlines(now(time.Minute), "rule.lamps")[0]; o.Errors != 0 || o.Error != "" {
		t.Errorf("to look at it counts as an error: %+v", o.Info)
	}

	for name, want := range map[string]string{
		"rule.lamps[bath]": "[bath/motion house/away house/lux] [bath/lamp]",
		"rule.plugs":       "[plug/{name}/power] [tally]",
		"rule.off":         "[] [rule.lamps]",
		"link.all":         "[a/b] [c/d]",
		"machine.alarm":    "[alarm/arm house/away] []",
	} {
		if reads, tells := e.Reach(name); fmt.Sprint(reads, tells) != want {
			t.Errorf("%s reads and tells %v %v, want %s", name, reads, tells, want)
		}
	}
}
