package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/devices"
)

// Each decision says which one it goes on from, and what it does carries its ID. The lines
// of a trace are numbered from 1; "<3" is that a decision follows the third.
func TestDecisionsSayWhatTheyFollow(t *testing.T) {
	for _, story := range []struct{ name, config, timeline, want string }{
		{"a for follows its pending, a delay what began it", `
			[rule.door]
			trigger = { state = "z/door", is = "open", for = "1m" }
			action = [{ publish = "x/a", payload = 1 }, { delay = "10s" }, { publish = "x/b", payload = 1 }, { wait = { event = "z/ok" }, timeout = "5s" }, { publish = "x/c", payload = 1 }]`, `
			0s z/door open
			2m`, `
			1 pending
			2 fired <1 x/a
			3 went on <2 x/b
			4 went on <3 x/c`},
		{"so does a cancelled one", `
			[rule.door]
			trigger = { state = "z/door", is = "open", for = "1m" }
			action = { publish = "x/a", payload = 1 }`, `
			0s z/door open
			5s z/door shut`, `
			1 pending
			2 cancelled <1`},
		{"an end and what is repeated follow the begin", `
			[rule.door]
			trigger = { state = "z/door", is = "open" }
			action = { publish = "x/a", payload = 1 }
			repeat = ["10s"]
			done = [{ publish = "x/done", payload = 1 }, { delay = "1s" }, { publish = "x/late", payload = 1 }]`, `
			0s z/door open
			10s
			15s z/door shut
			20s`, `
			1 fired x/a
			2 fired <1 x/a
			3 ended <1 x/done
			4 went on <3 x/late`},
		{"off values follow the begin, also where min_on held them back", `
			[rule.heater]
			trigger = { state = "z/t", below = 19, until = 20, min_on = "1m" }
			action = { set = "heater", on = true, off = false }`, `
			0s z/t 18
			5s z/t 21
			2m`, `
			1 fired heater
			2 ended <1 heater`},
		{"a pulse's end follows its begin", `
			[rule.bell]
			trigger = { event = "z/ring" }
			action = { pulse = "lamp", for = "3s" }`, `
			0s z/ring 1
			4s`, `
			1 fired lamp
			2 went on <1 lamp`},
		{"what was queued follows that it was", `
			[rule.bell]
			trigger = { event = "z/ring" }
			action = { pulse = "lamp", for = "3s" }
			mode = "queued"`, `
			0s z/ring 1
			1s z/ring 2
			9s`, `
			1 fired lamp
			2 queued
			3 went on <1 lamp
			4 fired <2 lamp
			5 went on <4 lamp`},
		{"each of the lists of a parallel goes its own way", `
			[rule.both]
			trigger = { event = "z/ring" }
			action = [{ parallel = [[{ delay = "1s" }, { publish = "x/a", payload = 1 }, { delay = "1s" }], [{ delay = "5s" }, { publish = "x/b", payload = 1 }]] }, { publish = "x/c", payload = 1 }]`, `
			0s z/ring 1
			9s`, `
			1 fired
			2 went on <1 x/a
			3 went on <2
			4 went on <1 x/b x/c`},
		{"of a ramp each value follows the one before it", `
			[variable.v]
			initial = 0
			[rule.up]
			trigger = { event = "z/ring" }
			action = [{ ramp = "v", from = 0, to = 2, over = "4s", every = "1s" }]`, `
			0s z/ring 1
			9s`, `
			1 fired
			2 went on <1
			4 went on <2
			5 went on <4`},
		{"a machine's move by time follows the one that led there", `
			[machine.alarm]
			initial = "off"
			moves = [
				{ from = "off", on = { event = "z/arm" }, to = "arming" },
				{ from = "arming", after = "30s", to = "armed", do = { publish = "x/armed", payload = 1 } },
			]`, `
			0s z/arm 1
			1m`, `
			1 fired
			2 fired <1 x/armed`},
		{"a variable that is its initial again follows what set it", `
			[variable.v]
			initial = 0
			topic = "x/v"
			[rule.set]
			trigger = { event = "z/set" }
			action = { set = "v", to = 1, for = "5s" }`, `
			0s z/set 1
			9s`, `
			1 fired x/v
			2 fired <1 x/v`},
	} {
		t.Run(story.name, func(t *testing.T) {
			h := build(t, story.config)
			h.live(story.timeline)
			h.follow(story.want)
		})
	}
}

// follow compares which decision follows which. Every command of a decision must carry its ID.
func (h *house) follow(want string) {
	h.t.Helper()
	var got []string
	for _, d := range h.decided {
		line := fmt.Sprintf("%d %s", d.ID, d.Outcome)
		if d.Follows != 0 {
			line += fmt.Sprintf(" <%d", d.Follows)
		}
		for _, c := range d.Commands {
			line += " " + c.Topic + c.Output
			if c.Origin.Decision != d.ID {
				h.t.Errorf("%v: its command has the ID %d", d, c.Origin.Decision)
			}
		}
		got = append(got, strings.TrimSpace(line))
	}
	var lines []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if g, w := strings.Join(got, "\n"), strings.Join(lines, "\n"); g != w {
		h.t.Errorf("got\n%s\n\nwant\n%s", g, w)
	}
	h.decided = nil
}

// A restart breaks no chain: what waited, was on, was queued or is owed goes on from the
// decision of the last life.
func TestAChainGoesOnOverARestart(t *testing.T) {
	config := `
		[rule.door]
		trigger = { state = "z/door", is = "open", for = "1m" }
		action = [{ publish = "x/door", payload = 1 }, { delay = "1m" }, { publish = "x/late", payload = 1 }]
		[rule.heater]
		trigger = { state = "z/t", below = 19, until = 20 }
		action = { set = "heater", on = true, off = false }
		[rule.water]
		trigger = { event = "z/water" }
		action = { pulse = "fan", for = "1m" }
		mode = "queued"
		[machine.alarm]
		initial = "off"
		moves = [
			{ from = "off", on = { event = "z/arm" }, to = "arming" },
			{ from = "arming", after = "30s", to = "armed" },
		]
		[variable.v]
		initial = 0
		topic = "x/v"
		[rule.set]
		trigger = { event = "z/set" }
		action = { set = "v", to = 1, for = "40s" }`
	h := build(t, config)
	h.live(`
		0s z/door open
		1s z/t 18
		2s z/water 1
		3s z/water 2
		4s z/arm 1
		5s z/set 1`)
	h.follow(`
		1 pending
		2 fired heater
		3 fired fan
		4 queued
		5 fired
		6 fired x/v`)
	kept := h.keep()
	h.take(config, kept)
	h.engine.numbered = 100 // as the hub's next life
	h.note(h.engine.Start(h.now))
	h.note(h.engine.Resume(h.now))
	h.live(`
		1m30s z/t 21
		5m`)
	h.follow(`
		101 went on <2 heater
		102 went on <3 fan
		103 fired <5
		104 fired <6 x/v
		105 fired <1 x/door
		106 went on <102 fan
		107 fired <4 fan
		108 ended <2 heater
		109 went on <105 x/late
		110 went on <107 fan`)
}

// A rule whose text was changed drops what it had begun, and says which decision that was.
func TestWhatIsDroppedFollowsWhatBeganIt(t *testing.T) {
	h := build(t, `
		[rule.water]
		trigger = { event = "z/water" }
		action = { pulse = "fan", for = "1m" }`)
	h.live(`0s z/water 1`)
	h.follow(`1 fired fan`)
	kept := h.keep()
	h.take(`
		[rule.water]
		trigger = { event = "z/water" }
		action = { pulse = "fan", for = "2m" }`, kept)
	if len(h.decided) != 1 || h.decided[0].Outcome != Dropped || h.decided[0].Follows != 1 || h.decided[0].Commands[0].Origin.Decision != h.decided[0].ID {
		t.Errorf("it decides %+v, want one that follows the first", h.decided)
	}
}

// What a rule sets is a reading that carries the decision, and so is what a calc makes of it;
// a request that is made again follows the decision that made it.
func TestReadingsCarryTheirDecision(t *testing.T) {
	h := build(t, `
		[variable.v]
		initial = 0
		[rule.set]
		trigger = { event = "z/set" }
		action = [{ set = "v", to = 5 }, { http = "http://x.example/", retry = ["1s"] }]
		[calc.double]
		of = "v"
		value = "readings[0] * 2"
		[rule.seen]
		trigger = { state = "double", above = 5 }
		action = { publish = "x/seen", payload = 1 }
		[machine.m]
		initial = "a"
		moves = [{ from = "a", on = { state = "v", above = 1 }, to = "b" }]
		[rule.moved]
		trigger = { state = "m", is = "b" }
		action = { publish = "x/moved", payload = 1 }`)
	h.live(`0s z/set 1`)
	var all []string
	for _, d := range h.decided {
		all = append(all, fmt.Sprintf("%d %s because of %s by %d", d.ID, d.Rule, d.Cause.Source, d.Cause.Origin.Decision))
	}
	if got, want := strings.Join(all, "\n"), `1 rule.set because of z/set by 0
2 machine.m because of v by 1
3 rule.seen because of double by 1
4 rule.moved because of m by 2`; got != want {
		t.Errorf("got\n%s\n\nwant\n%s", got, want)
	}
	id := h.all[0].command.HTTP.ID
	h.decided = nil
	h.note(h.engine.Answer(id, 503, "", h.now))
	h.pass(2 * time.Second)
	h.follow("5 went on <1\n6 went on <1")
}

// A motion that is one message moves a machine once, whether or not the message is there.
func TestOneMoveAMessage(t *testing.T) {
	for _, whole := range []bool{true, false} {
		h := build(t, `
			[machine.gate]
			initial = "shut"
			moves = [
				{ from = "shut", on = [{ state = "z/g:a", above = 1 }, { state = "z/g:b", above = 1 }], to = "open" },
				{ from = "open", on = { state = "z/g:b", above = 2 }, to = "wide" },
			]`)
		rs := h.index.Normalize(devices.Message{Topic: "z/g", Payload: []byte(`{"a":5,"b":5}`)}, h.now)
		for i := range rs {
			if !whole {
				rs[i].Message = nil
			}
		}
		h.engine.Take(Event{Kind: Report, At: h.now, Readings: rs})
		if got := h.engine.Machines()[0].State; got != "open" {
			t.Errorf("with the message %v: the gate is %s, want open", whole, got)
		}
	}
}
