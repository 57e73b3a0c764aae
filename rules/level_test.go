package rules

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/config"
	"hearth/devices"
)

var dimmed = House{Parts: parts("dimmer lamp", "dimmer hall", "cover blind", "valve water", "output fan", "input pir", "input button")}

// Stories of a house with lamps that have levels, a blind, and a valve with a fault.
func TestLevelsAndCovers(t *testing.T) {
	for _, story := range []struct{ name, config, timeline, trace string }{
		{"a level, on, off and toggle", `
			[rule.film]
			trigger = { event = "a/film" }
			action = [{ set = "lamp", to = 40 }, { set = "hall", to = 0 }]
			[rule.bright]
			trigger = { event = "a/bright" }
			action = { set = ["lamp", "hall"], to = true }
			[rule.button]
			trigger = { event = "a/button" }
			action = { set = "lamp", to = "toggle" }`, `
			0s a/film x
			1s a/button x
			2s a/button x
			3s a/bright x`, `
			12:00:00 rule.film fired: a/film (now x) -> lamp 40, hall 0
			12:00:01 rule.button fired: a/button (now x) -> lamp OFF
			12:00:02 rule.button fired: a/button (now x) -> lamp ON
			12:00:03 rule.bright fired: a/bright (now x) -> lamp ON, hall ON`},
		{"a level is computed, and one that is none is brought into its bounds", `
			[rule.light]
			trigger = { state = "z/sun:lux" }
			action = { set = "lamp", value = "100 - value / 10" }`, `
			0s z/sun {"lux":255}
			1s z/sun {"lux":2000}
			2s z/sun {"lux":-5}
			3s z/sun {"lux":"bright"}`, `
			12:00:00 rule.light fired: z/sun:lux (now 255) -> lamp 74.5
			12:00:01 rule.light fired: z/sun:lux (now 2000); lamp gets 0 in place of -100 -> lamp 0
			12:00:02 rule.light fired: z/sun:lux (now -5); lamp gets 100 in place of 100.5 -> lamp 100
			12:00:03 rule.light fired: z/sun:lux (now bright); lamp gets nothing: / wants numbers, value is text here`},
		{"what is no level is refused when it comes", `
			[rule.any]
			trigger = { event = "a/any" }
			action = { set = "lamp", value = "msg" }
			[rule.named]
			trigger = { event = "b/{which}" }
			action = { set = "{which}", to = 30 }`, `
			0s a/any half
			1s a/any 50
			2s a/any off
			3s a/any "1"
			4s b/blind x
			5s b/fan x
			6s b/hall x`, `
			12:00:00 rule.any fired: a/any (now half); lamp wants a level from 0 to 100, true or false, not half
			12:00:01 rule.any fired: a/any (now 50) -> lamp 50
			12:00:02 rule.any fired: a/any (now off) -> lamp OFF
			12:00:03 rule.any fired: a/any (now "1"); lamp wants a level from 0 to 100, true or false, not 1
			12:00:04 rule.named[which=blind] fired: b/{which} (now x) -> blind 30
			12:00:05 rule.named[which=fan] fired: b/{which} (now x); fan wants true or false, not 30
			12:00:06 rule.named[which=hall] fired: b/{which} (now x) -> hall 30`},
		{"an episode dims, and what was before comes back", `
			[rule.film]
			trigger = { state = "a/film", is = "ON" }
			action = { set = ["lamp", "hall", "blind"], on = 20, off = "before" }
			[rule.dusk]
			trigger = { state = "a/dusk", is = "ON" }
			action = { set = "lamp", on = 80, off = false }`, `
			0s initial lamp ON
			0s initial lamp.level 65
			0s initial hall OFF
			0s initial hall.level 30
			0s initial blind 100
			1s a/film ON
			2s a/film OFF
			3s a/dusk ON
			4s a/dusk OFF`, `
			12:00:01 rule.film fired: a/film is ON (now ON) -> lamp 20, hall 20, blind 20
			12:00:02 rule.film ended: a/film is ON (now OFF) -> lamp 65, hall 0, blind 100
			12:00:03 rule.dusk fired: a/dusk is ON (now ON) -> lamp 80
			12:00:04 rule.dusk ended: a/dusk is ON (now OFF) -> lamp OFF`},
		{"nobody knows where the blind was, so it stays; a lamp was off", `
			[rule.film]
			trigger = { state = "a/film", is = "ON" }
			action = { set = ["lamp", "blind"], on = 20, off = "before" }`, `
			1s a/film ON
			2s a/film OFF`, `
			12:00:01 rule.film fired: a/film is ON (now ON) -> lamp 20, blind 20
			12:00:02 rule.film ended: a/film is ON (now OFF) -> lamp OFF`},
		{"steps are of the newest level, and end at 0 and 100", `
			[rule.more]
			trigger = { event = "a/more" }
			action = { set = "lamp", step = 30 }
			[rule.less]
			trigger = { event = "a/less" }
			action = { set = "lamp", step = -60, min = 5 }`, `
			0s a/more x
			1s lamp ON
			1s lamp.level 40
			2s a/more x
			2s a/more x
			3s a/more x
			4s a/less x
			5s a/less x
			6s lamp OFF
			6s lamp OFF
			6s lamp OFF
			6s lamp OFF
			6s lamp OFF
			7s a/more x`, `
			12:00:00 rule.more fired: a/more (now x); where lamp stands is not known, so it can't be stepped
			12:00:02 rule.more fired: a/more (now x) -> lamp 70
			12:00:02 rule.more fired: a/more (now x) -> lamp 100
			12:00:03 rule.more fired: a/more (now x) -> lamp 100
			12:00:04 rule.less fired: a/less (now x) -> lamp 40
			12:00:05 rule.less fired: a/less (now x) -> lamp 5
			12:00:07 rule.more fired: a/more (now x) -> lamp 30`},
		{"changed compares levels", `
			[rule.a]
			trigger = { event = "a/{n}" }
			action = { set = "lamp", value = "number(n)", changed = true }
			[rule.b]
			trigger = { event = "b/x" }
			action = { set = "lamp", to = true, changed = true }
			[rule.c]
			trigger = { event = "c/x" }
			action = { set = "blind", to = true, changed = true }`, `
			0s a/40 x
			1s a/40 x
			2s a/41 x
			2s a/39 x
			3s b/x x
			4s initial blind 60
			5s c/x x
			6s blind 100
			7s c/x x
			8s c/x x`, `
			12:00:00 rule.a[n=40] fired: a/{n} (now x) -> lamp 40
			12:00:01 rule.a[n=40] fired: a/{n} (now x)
			12:00:02 rule.a[n=41] fired: a/{n} (now x) -> lamp 41
			12:00:02 rule.a[n=39] fired: a/{n} (now x) -> lamp 39
			12:00:03 rule.b fired: b/x (now x)
			12:00:05 rule.c fired: c/x (now x) -> blind ON
			12:00:07 rule.c fired: c/x (now x)
			12:00:08 rule.c fired: c/x (now x)`},
		{"a lamp fades in, from where it is", `
			[rule.wake]
			trigger = { event = "a/wake" }
			action = [{ ramp = "lamp", to = 100, over = "4s" }, { publish = "a/done", payload = "x" }]
			[rule.down]
			trigger = { event = "a/down" }
			action = { ramp = "lamp", value = "0 - 50", over = "2s" }`, `
			0s initial lamp OFF
			1s a/wake x
			10s a/down x
			20s`, `
			12:00:01 rule.wake fired: a/wake (now x)
			12:00:02 rule.wake went on: a/wake; the wait is over -> lamp 25
			12:00:03 rule.wake went on: a/wake; the wait is over -> lamp 50
			12:00:04 rule.wake went on: a/wake; the wait is over -> lamp 75
			12:00:05 rule.wake went on: a/wake; the wait is over -> lamp 100, a/done x
			12:00:10 rule.down fired: a/down (now x); lamp gets 0 in place of -50
			12:00:11 rule.down went on: a/down; the wait is over -> lamp 50
			12:00:12 rule.down went on: a/down; the wait is over -> lamp 0`},
		{"a pulse may have a level", `
			[rule.ring]
			trigger = { event = "a/ring" }
			action = [{ pulse = "lamp", to = 30, for = "5s" }, { pulse = "hall", for = "5s" }]`, `
			0s a/ring x
			20s`, `
			12:00:00 rule.ring fired: a/ring (now x) -> lamp 30
			12:00:05 rule.ring went on: a/ring; the wait is over -> lamp OFF, hall ON
			12:00:10 rule.ring went on: a/ring; the wait is over -> hall OFF`},
		{"a cover goes to a position, opens, closes, and stops", `
			[rule.half]
			trigger = { event = "a/half" }
			action = { set = "blind", to = 50 }
			[rule.up]
			trigger = { event = "a/up" }
			action = [{ set = "blind", to = true }, { set = "blind", to = "open" }]
			[rule.down]
			trigger = { event = "a/down" }
			action = [{ set = "blind", to = false }, { set = "blind", to = "close" }]
			[rule.stop]
			trigger = { event = "a/stop" }
			action = [{ set = "blind", to = "stop" }, { set = "blind", value = "msg" }]
			[rule.more]
			trigger = { event = "a/more" }
			action = { set = "blind", step = 15 }
			[rule.button]
			trigger = { event = "a/button" }
			action = { set = "blind", to = "toggle" }`, `
			0s initial blind 0
			1s a/half x
			2s a/up x
			3s a/down x
			5s blind 70
			5s blind 70
			5s blind 70
			5s blind 70
			5s blind 70
			6s a/down x
			6s a/stop STOP
			7s a/more x
			8s a/button x
			9s a/button x`, `
			12:00:01 rule.half fired: a/half (now x) -> blind 50
			12:00:02 rule.up fired: a/up (now x) -> blind ON, blind ON
			12:00:03 rule.down fired: a/down (now x) -> blind OFF, blind OFF
			12:00:06 rule.down fired: a/down (now x) -> blind OFF, blind OFF
			12:00:06 rule.stop fired: a/stop (now STOP) -> blind stop, blind stop
			12:00:07 rule.more fired: a/more (now x) -> blind 85
			12:00:08 rule.button fired: a/button (now x) -> blind OFF
			12:00:09 rule.button fired: a/button (now x) -> blind ON`},
		{"links carry numbers as levels and the rest as on and off", `
			[link.dial]
			from = "dimmer/level"
			to = "lamp"
			[link.motion]
			from = "pir"
			to = "hall"
			[link.wind]
			from = "z/wind:shut"
			to = "blind"
			invert = true
			[link.room]
			from = "lamp.level"
			to = "z/room/level"
			type = "number"`, `
			0s dimmer/level 40
			1s dimmer/level ON
			2s dimmer/level 140
			3s dimmer/level off
			4s dimmer/level bright
			5s pir ON
			6s pir OFF
			7s z/wind {"shut":true}
			8s z/wind {"shut":30}
			9s lamp.level 12`, `
			12:00:00 link.dial fired: dimmer/level (now 40) -> lamp 40
			12:00:01 link.dial fired: dimmer/level (now ON) -> lamp ON
			12:00:02 link.dial fired: dimmer/level (now 140); lamp gets 100 in place of 140 -> lamp 100
			12:00:03 link.dial fired: dimmer/level (now off) -> lamp OFF
			12:00:05 link.motion fired: pir (now ON) -> hall ON
			12:00:06 link.motion fired: pir (now OFF) -> hall OFF
			12:00:07 link.wind fired: z/wind:shut (now true) -> blind OFF
			12:00:08 link.wind fired: z/wind:shut (now 30) -> blind 70
			12:00:09 link.room fired: lamp.level (now 12) -> z/room/level 12`},
		{"a link of one type", `
			[link.number]
			from = "a/number"
			to = "lamp"
			type = "number"
			[link.boolean]
			from = "a/boolean"
			to = "hall"
			type = "boolean"`, `
			0s a/number ON
			1s a/number 1
			2s a/boolean 50
			3s a/boolean 1`, `
			12:00:01 link.number fired: a/number (now 1) -> lamp 1
			12:00:03 link.boolean fired: a/boolean (now 1) -> hall ON`},
		{"what they report sets rules off and is seen in expressions", `
			[rule.glare]
			trigger = { state = "lamp.level", above = 80 }
			condition = "lamp and lamp.level > 80 and blind < 50"
			action = { set = "blind", to = 0 }
			[rule.closed]
			trigger = { state = "blind", is = 0 }
			condition = { state = { "blind.moving" = "stopped" } }
			action = { publish = "a/said", payload = "blind {blind}, lamp {lamp.level}, hall {hall.level}" }`, `
			0s initial blind 30
			0s initial blind.moving stopped
			0s initial hall OFF
			0s initial hall.level 50
			1s lamp ON
			1s lamp.level 90
			2s blind 0`, `
			12:00:01 rule.glare fired: lamp.level above 80 (now 90), lamp and lamp.level > 80 and blind < 50 -> blind 0
			12:00:02 rule.closed fired: blind is 0 (now 0), blind.moving is stopped -> a/said blind 0, lamp 90, hall 0`},
		{"a fault is acknowledged", `
			[rule.fault]
			trigger = { state = "water.fault", is = "stuck" }
			action = [{ delay = "5s" }, { set = "water", to = "acknowledge" }]`, `
			0s water.fault stuck
			10s`, `
			12:00:00 rule.fault fired: water.fault is stuck (now stuck)
			12:00:05 rule.fault went on: water.fault is stuck; the wait is over -> water acknowledge`},
	} {
		t.Run(story.name, func(t *testing.T) {
			h := buildIn(t, story.config, dimmed, noon)
			h.live(story.timeline)
			h.want(story.trace)
		})
	}
}

// What a rule had begun is taken up again with its level. Nobody moves a blind for
// that, for a restart did not either.
func TestLevelsSurviveARestart(t *testing.T) {
	const film = `
		[rule.film]
		trigger = { state = "a/film", is = "ON" }
		action = { set = ["lamp", "blind"], on = 20, off = "before" }
		[rule.ring]
		trigger = { event = "a/ring" }
		action = { pulse = "hall", to = 30, for = "1m" }
		[rule.air]
		trigger = { event = "a/air" }
		action = { pulse = "blind", to = 60, for = "2m" }
		[rule.dawn]
		trigger = { event = "a/dawn" }
		action = { ramp = "hall", from = 0, to = 100, over = "4m", every = "1m" }`
	h := buildIn(t, film, dimmed, noon)
	h.live(`
		0s initial lamp ON
		0s initial lamp.level 65.5
		0s initial blind 80
		1s a/film ON
		2s a/ring x
		3s a/air x`)
	h.trace = nil
	h.restart(film, "first", 10*time.Second)
	if held := h.engine.Held(); !slices.Equal(held, []string{"lamp", "hall"}) {
		t.Errorf("held are %v, want lamp and hall", held)
	}
	h.note(h.engine.Start(h.now))
	h.note(h.engine.Resume(h.now))
	h.live(`
		1m30s a/film OFF
		3m a/dawn x
		6m`)
	h.want(`
		12:00:13 rule.film went on: a/film is ON; its episode was on when the hub stopped -> lamp 20
		12:00:13 rule.ring went on: a/ring; its pulse was on when the hub stopped, 49s to go -> hall 30
		12:01:02 rule.ring went on: a/ring; the wait is over -> hall OFF
		12:01:30 rule.film ended: a/film is ON (now OFF) -> lamp 65.5, blind 80
		12:02:03 rule.air went on: a/air; the wait is over; its pulse is over, and a newer command has taken its place
		12:03:00 rule.dawn fired: a/dawn (now x) -> hall 0
		12:04:00 rule.dawn went on: a/dawn; the wait is over -> hall 25
		12:05:00 rule.dawn went on: a/dawn; the wait is over -> hall 50
		12:06:00 rule.dawn went on: a/dawn; the wait is over -> hall 75`)
}

// What is owed to a lamp that has lost its levels is on or off.
func TestAnOwedLevelOfWhatHasNoneAnyMore(t *testing.T) {
	h := buildIn(t, `
		[rule.film]
		trigger = { state = "a/film", is = "ON" }
		action = [{ set = "lamp", on = 20, off = 70 }, { set = "hall", on = 20, off = 0 }]`, dimmed, noon)
	h.live(`0s a/film ON`)
	h.trace = nil
	h.where = House{Parts: parts("output lamp", "output hall")}
	h.restart("", "first", time.Second)
	h.want(`12:00:01 rule.film dropped; its definition changed or is gone; what it owed is sent -> lamp ON, hall OFF`)
}

func TestAKeptLevelThatIsNoneIsNotSent(t *testing.T) {
	for _, v := range []any{nil, -1.0, 101.0, "half", []any{}, map[string]any{}} {
		if sound(devices.Command{Output: "lamp", Value: v}) {
			t.Errorf("%v is taken for a command", v)
		}
	}
	for _, v := range []any{true, false, 0.0, 64.5, 100.0, "stop", "acknowledge"} {
		if !sound(devices.Command{Output: "lamp", Value: v}) {
			t.Errorf("%v is no command", v)
		}
	}
}

// saidOf is what is said of a house: its mistakes, or if it has none its warnings.
func saidOf(t *testing.T, text string) string {
	t.Helper()
	var cfg Config
	doc := config.Parse("x", []byte(text), &cfg)
	New(cfg, dimmed, new(devices.Registry), doc.Root())
	if err := doc.Err(); err != nil {
		return err.Error()
	}
	var warnings []string
	for _, w := range doc.Warnings() {
		warnings = append(warnings, w.String())
	}
	return strings.Join(warnings, "\n")
}

func TestMistakesWithLevels(t *testing.T) {
	for _, mistake := range []struct{ action, want string }{
		{`{ set = "lamp", to = 140 }`, `x:3:31: rule.a.action.to = 140: want a level from 0 to 100, true, false or "toggle"`},
		{`{ set = "lamp", to = -1 }`, `x:3:31: rule.a.action.to = -1: want a level from 0 to 100, true, false or "toggle"`},
		{`{ set = "lamp", to = "40" }`, `x:3:31: rule.a.action.to = "40": want a level from 0 to 100, true, false or "toggle"`},
		{`{ set = "lamp", to = "stop" }`, `x:3:31: rule.a.action.to = "stop": want a level from 0 to 100, true, false or "toggle"`},
		{`{ set = "lamp", to = "acknowledge" }`, `x:3:31: rule.a.action.to = "acknowledge": want a level from 0 to 100, true, false or "toggle"`},
		{`{ set = "lamp", value = "'on'" }`, `x:3:34: rule.a.action.value = "'on'": lamp wants a level from 0 to 100, true or false, and this is text`},
		{`{ set = "lamp.level", to = 40 }`, `x:3:18: rule.a.action.set = "lamp.level": lamp.level is what lamp reports: want "lamp"`},
		{`{ set = "lamp", step = 10, max = 254 }`, `x:3:43: rule.a.action.max = 254: want a level from 0 to 100`},
		{`{ set = "fan", to = 40 }`, `x:3:30: rule.a.action.to = 40: want true, false or "toggle"`},
		{`{ set = "fan", step = 10 }`, `x:3:32: rule.a.action.step = 10: fan is on or off, and has no level: want a variable or a device's property`},
		{`{ set = "blind", to = 101 }`, `x:3:32: rule.a.action.to = 101: want a position from 0 to 100, true (open), false (closed), "stop" or "toggle"`},
		{`{ set = "blind", to = "halt" }`, `x:3:32: rule.a.action.to = "halt": want a position from 0 to 100, true (open), false (closed), "stop" or "toggle"`},
		{`{ set = "blind", value = "[1]" }`, `x:3:35: rule.a.action.value = "[1]": blind wants a position from 0 to 100, true (open), false (closed) or "stop", and this is a list`},
		{`{ set = "water", to = "acknowledged" }`, `x:3:32: rule.a.action.to = "acknowledged": want true, false or "toggle"`},
		{`{ ramp = "lamp", to = 254, over = "1m" }`, `x:3:32: rule.a.action.to = 254: want a level from 0 to 100`},
		{`{ ramp = "lamp", from = -5, to = 50, over = "1m" }`, `x:3:34: rule.a.action.from = -5: want a level from 0 to 100`},
		{`{ ramp = "lamp", to = true, over = "1m" }`, `x:3:32: rule.a.action.to = true: want a number such as 100`},
		{`{ ramp = "blind", to = 50, over = "1m" }`, `x:3:19: rule.a.action.ramp = "blind": blind moves at its own pace, and would start and stop all the time: want set, with to = 30`},
		{`{ ramp = "fan", to = 50, over = "1m" }`, `x:3:19: rule.a.action.ramp = "fan": fan is on or off, and has no level: want a variable, a device's property or a topic`},
		{`{ pulse = "lamp", to = 0, for = "1m" }`, `x:3:33: rule.a.action.to = 0: a pulse is on for a time, then off: want a number above 0, such as 40`},
		{`{ pulse = "lamp", to = 130, for = "1m" }`, `x:3:33: rule.a.action.to = 130: want a level from 0 to 100, true or false`},
		{`{ pulse = "blind", to = "stop", for = "1m" }`, `x:3:34: rule.a.action.to = "stop": a pulse is on for a time, then off: want a number above 0, such as 40`},
		{`{ pulse = "fan", to = 40, for = "1m" }`, `x:3:32: rule.a.action.to = 40: fan is on, then off: to is the level of an output that has levels`},
		{`{ publish = "a/b", value = "lamp.levle" }`, `x:3:38: rule.a.action.value = "lamp.levle": lamp is true or false and has nothing in it`},
	} {
		got := saidOf(t, "[rule.a]\ntrigger = { event = \"a/b\" }\naction = "+mistake.action)
		if got != mistake.want {
			t.Errorf("%s\n  %s\nwant\n  %s", mistake.action, got, mistake.want)
		}
	}
}

// Of each house what is said, or nothing.
func TestDoubtsWithLevels(t *testing.T) {
	for _, house := range []struct{ name, text, want string }{
		{"a lamp that nothing switches off", `
			[rule.a]
			trigger = { event = "a/b" }
			action = { set = "lamp", to = 40 }`, `x:3:18: warning: rule.a.action.set = "lamp": nothing here ever switches lamp off again; if that is left to people and to messages on hearth/lamp/set, a max_on in [output.lamp] says how long it may be forgotten`},
		{"0 is off", `
			[rule.a]
			trigger = { event = "a/b" }
			action = { set = "lamp", to = 40 }
			[rule.b]
			trigger = { event = "a/c" }
			action = { set = "lamp", to = 0 }`, ``},
		{"it may be stepped down, or told by a message", `
			[rule.a]
			trigger = { event = "a/b" }
			action = [{ set = "lamp", to = 40 }, { set = "hall", to = 40 }]
			[rule.b]
			trigger = { event = "a/c" }
			action = [{ set = "lamp", step = -10 }, { publish = "hearth/hall/set", payload = 0 }]`, ``},
		{"an acknowledgement switches nothing off", `
			[rule.a]
			trigger = { event = "a/b" }
			action = { set = "water", to = true }
			[rule.b]
			trigger = { event = "a/c" }
			action = { set = "water", to = "acknowledge" }`, `x:3:18: warning: rule.a.action.set = "water": nothing here ever switches water off again; if that is left to people and to messages on hearth/water/set, a max_on in [output.water] says how long it may be forgotten`},
		{"a cover may stay open", `
			[rule.a]
			trigger = { event = "a/b" }
			action = { set = "blind", to = 100 }`, ``},
		{"two that want the opposite", `
			[rule.a]
			trigger = { event = "a/b" }
			action = [{ set = "lamp", to = 40 }, { set = "blind", to = 100 }]
			[rule.b]
			trigger = { event = "a/b" }
			action = [{ set = "lamp", to = 0 }, { set = "blind", to = false }]`, `x:6:19: warning: rule.b.action[1].set = "lamp": rule.a switches lamp on at the same moment, at x:3:19 (a/b), and no condition tells which is meant
x:6:45: warning: rule.b.action[2].set = "blind": rule.a opens blind at the same moment, at x:3:46 (a/b), and no condition tells which is meant`},
		{"two that want a little more and a little less", `
			[rule.a]
			trigger = { event = "a/b" }
			action = [{ set = "lamp", to = 40 }, { set = "blind", to = 70 }]
			[rule.b]
			trigger = { event = "a/b" }
			action = [{ set = "lamp", to = 30 }, { set = "blind", to = false }, { set = "blind", to = "stop" }]
			[rule.c]
			trigger = { event = "a/c" }
			action = { set = "lamp", to = false }`, ``},
		{"a position is a number", `
			[rule.a]
			trigger = { state = "blind", is = true }
			action = { publish = "a/b", payload = "x" }`, `x:2:35: rule.a.trigger.is = true: blind is a cover and never true: want a number from 0 to 100, or a limit such as above = 0`},
		{"and not above 100", `
			[rule.a]
			trigger = [{ state = "lamp.level", is = 255 }, { state = "hearth/lamp/level", is = "ON" }]
			action = { publish = "a/b", payload = "x" }`, `x:2:41: rule.a.trigger[1].is = 255: lamp.level is the level of an output and never 255: want a number from 0 to 100, or a limit such as above = 0
x:2:84: rule.a.trigger[2].is = "ON": hearth/lamp/level is the level of an output and never ON: want a number from 0 to 100, or a limit such as above = 0`},
		{"a lamp is on or off", `
			[rule.a]
			trigger = { state = "lamp", above = 50 }
			action = { publish = "a/b", payload = "x" }`, `x:2:37: rule.a.trigger.above = 50: lamp is an output and no number: want lamp.level`},
		{"these can be", `
			[rule.a]
			trigger = [{ state = "lamp.level", above = 50 }, { state = "blind", is = 0 }, { state = "blind", at_least = 30 }, { state = "lamp", is = true }, { state = "hearth/blind/state", is = 50 }, { state = "blind.moving", is = "up" }]
			action = { publish = "a/b", payload = "x" }`, ``},
		{"a circle through a lamp", `
			[rule.a]
			trigger = { state = "lamp", is = true }
			action = { set = "lamp", to = 0 }
			[rule.b]
			trigger = { state = "lamp", is = false }
			action = { set = "lamp", to = 50 }`, `x:3:18: warning: rule.a.action.set = "lamp": this sets off rule.b, at x:6:18, which sets off rule.a again, for ever: the hub stops them after 20 hops`},
	} {
		if got := saidOf(t, dedented(house.text)); got != house.want {
			t.Errorf("%s:\n  %s\nwant\n  %s", house.name, got, house.want)
		}
	}
	for _, link := range []struct{ text, want string }{
		{`from = "a/b"
			to = "lamp"
			type = "text"`, `x:4:8: link.a.type = "text": lamp takes on and off, and numbers: want "boolean" or "number", leave it out for both, or a topic in to`},
		{`from = "a/b"
			to = "fan"
			type = "number"`, `x:4:8: link.a.type = "number": an output takes only booleans: want "boolean", or a topic in to`},
		{`from = "lamp"
			to = "lamp"`, `x:3:6: link.a.to = "lamp": the link goes from lamp to itself: want another target`},
		{`from = "a/b"
			to = "blind"
			invert = true`, ``},
	} {
		if got := saidOf(t, dedented("[link.a]\n"+link.text)); got != link.want {
			t.Errorf("%s\n  %s\nwant\n  %s", link.text, got, link.want)
		}
	}
}

func dedented(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n\t\t\t", "\n")
}
