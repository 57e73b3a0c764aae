package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// echo plays the broker: what is published comes back as a message, with its
// origin, at most limit times. It returns how many there were.
func (h *house) echo(topic, payload string, limit int) int {
	queue := []devices.Message{{Topic: topic, Payload: []byte(payload)}}
	n := 0
	for ; len(queue) > 0 && n < limit; n++ {
		m := queue[0]
		queue = queue[1:]
		for _, r := range h.index.Normalize(m, h.now) {
			h.registry.Apply(r)
			ds := h.engine.Step(r)
			h.note(ds)
			for _, d := range ds {
				for _, c := range d.Commands {
					if c.Topic != "" {
						queue = append(queue, devices.Message{Topic: c.Topic, Payload: []byte(c.Payload), Origin: c.Origin})
					}
				}
			}
		}
	}
	return n
}

// Rules that set each other off stop within twenty messages and are named; the
// others come to the second.
func TestALoopStopsAndDisturbsNoOther(t *testing.T) {
	const other = `
		[rule.other]
		trigger = { state = "garage/door", is = "open", for = "10s" }
		action = { set = "lamp", to = true }
		`
	tests := []struct {
		name, house string
		loop        string
	}{
		{"two", `
			[rule.ping]
			trigger = { event = "a/b" }
			action = { publish = "a/c", payload = "x" }
			[rule.pong]
			trigger = { event = "a/c" }
			action = { publish = "a/b", payload = "x" }`,
			"rule.ping -> rule.pong -> rule.ping"},
		{"three", `
			[rule.one]
			trigger = { event = "a/b" }
			action = { publish = "a/c", payload = "x" }
			[rule.two]
			trigger = { event = "a/c" }
			action = { publish = "a/d", payload = "x" }
			[rule.three]
			trigger = { state = "a/d" }
			action = { publish = "a/b", payload = "x" }`,
			"rule.three -> rule.one -> rule.two -> rule.three"},
		{"one with itself", `
			[rule.self]
			trigger = { event = "a/b" }
			action = { publish = "a/b", value = "value" }`,
			"rule.self -> rule.self"},
		{"through a variable", `
			[variable.visits]
			initial = 0
			[rule.count]
			trigger = { event = "a/b" }
			action = { set = "visits", value = "visits + 1" }
			[rule.say]
			trigger = { state = "visits" }
			action = { publish = "a/b", payload = "x" }`,
			"rule.count -> rule.say -> rule.count"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := build(t, other+test.house)
			h.say("garage/door", "open", false)
			h.pass(9999 * time.Millisecond)
			if n := h.echo("a/b", "x", 1000); n > MaxHops+1 {
				t.Errorf("%d messages, want at most %d", n, MaxHops)
			}
			stopped := ""
			for _, line := range h.trace {
				if strings.Contains(line, " stopped: ") {
					stopped += line + "\n"
				}
			}
			if !strings.Contains(stopped, "these rules set each other off: "+test.loop) || strings.Count(stopped, "\n") != 1 {
				t.Errorf("told of the loop: %q, want %q once", stopped, test.loop)
			}
			h.trace = nil
			h.pass(time.Millisecond)
			h.want(`12:00:10 rule.other fired: garage/door is open -> lamp ON`)
		})
	}
}

// Two switches kept the same both ways do not chase each other: not by links, not
// by rules, and not when the devices report each command.
func TestTwoSwitchesInSyncDoNotPingPong(t *testing.T) {
	for name, text := range map[string]string{
		"links": `
			[link.ab]
			from = "x/a"
			to = "x/b"
			[link.ba]
			from = "x/b"
			to = "x/a"`,
		"rules": `
			[rule.ab]
			trigger = { state = "x/a", changed = true }
			action = { publish = "x/b", value = "value", changed = true }
			[rule.ba]
			trigger = { state = "x/b", changed = true }
			action = { publish = "x/a", value = "value", changed = true }`,
	} {
		t.Run(name, func(t *testing.T) {
			h := build(t, text)
			for i := range 6 {
				from, payload := "x/a", []string{"ON", "OFF"}[i%2]
				if i >= 3 {
					from = "x/b"
				}
				h.trace = nil
				if n := h.echo(from, payload, 100); n > 3 {
					t.Errorf("%s %s was followed by %d messages:\n%s", from, payload, n-1, strings.Join(h.trace, "\n"))
				}
				for _, s := range []string{"x/a", "x/b"} {
					if last, _ := h.registry.Last(s); last.Text != payload {
						t.Errorf("after %s %s %s is %s", from, payload, s, last.Text)
					}
				}
				h.pass(time.Second)
			}
		})
	}
}

// A loop that goes through a device has no hops: it is stopped by its rate, and a
// rule that is merely busy is not.
func TestALoopThroughADeviceIsStoppedByItsRate(t *testing.T) {
	h := build(t, `
		[rule.chase]
		trigger = { event = "plug/report" }
		action = { publish = "plug/set", payload = "TOGGLE" }`)
	fired, told := 0, 0
	const seconds = 30
	for i := range seconds * 5000 { // a program answers within a fifth of a millisecond, without our origin
		if i%5 == 0 {
			h.pass(time.Millisecond)
		}
		h.sent, h.all, h.trace = nil, nil, nil
		h.say("plug/report", "x", false)
		fired += len(h.sent)
		if strings.Contains(strings.Join(h.trace, ""), fmt.Sprintf("rule.chase stopped: plug/report (now x); it fired %d times", burst)) {
			told++
		}
	}
	if most := burst + seconds*perSecond; fired < burst || fired > most {
		t.Errorf("it fired %d times in %d seconds, want at least %d and at most %d", fired, seconds, burst, most)
	}
	if told == 0 || told > 20 {
		t.Errorf("it was told %d times that it was stopped", told)
	}

	h = build(t, `
		[rule.meter]
		trigger = { event = "meter/pulse" }
		action = { publish = "meter/seen", payload = "x" }`)
	for i := range 5000 { // fifty pulses a second for a hundred seconds
		h.pass(20 * time.Millisecond)
		h.sent = nil
		if h.say("meter/pulse", "x", false); len(h.sent) != 1 {
			t.Fatalf("pulse %d was not counted", i)
		}
	}
}
