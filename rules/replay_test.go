package rules_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/devices"
	"hearth/rules"
)

// What has happened can happen again: random houses live random days through the one door,
// as the hub lets them, and the same events give a fresh engine the same decisions.

// always is in each of these houses, for random ones have none of it.
const always = `
	[rule.asks]
	trigger = { event = "e/press" }
	action = { http = "http://phone.example/{value}", retry = ["2s", "3s"] }
	[rule.hook]
	trigger = { webhook = "/hook/a" }
	action = { publish = "out/hook", payload = "{msg.x}" }
	[rule.whole]
	trigger = { state = "t/b:x", above = 15, for = "2s" }
	action = { publish = "out/whole", payload = "{msg.y}", changed = true }
	[rule.jitter]
	trigger = { event = "e/press" }
	action = [{ delay = "2s", random = "10s" }, { publish = "out/jitter", payload = "{old}" }]
	mode = "parallel"
	[rule.queue]
	trigger = { event = "e/press" }
	action = [{ pulse = "lamp", for = "4s" }, { wait = { state = "t/a", above = 20 }, timeout = "5s" }, { publish = "out/queue", payload = "{value}" }]
	mode = "queued"
	[rule.room]
	trigger = { state = "room/{name}", above = 20, for = "3s", until = { below = 10 } }
	action = [{ set = "glow", on = 30, off = "before" }, { delay = "20s" }, { publish = "out/{name}", payload = "{value}" }]
	[rule.daily]
	trigger = { time = ["12:00:20", "12:03"], random = "15s" }
	catch_up = "missed"
	action = { publish = "out/daily", payload = "{n}" }
	[rule.two]
	trigger = [{ state = "t/b:x", above = 20 }, { state = "t/b:y", above = 20 }]
	action = { publish = "out/two", payload = "{trigger}" }
	[variable.turns]
	initial = 0
	[rule.turns]
	trigger = { state = "win/one", is = true }
	action = { set = "turns", value = "turns + 1", for = "7s" }
	[rule.turned]
	trigger = { state = "turns", above = 0 }
	action = { publish = "out/turned", value = "turns" }
	[machine.gate]
	initial = "shut"
	moves = [
		{ from = "shut", on = [{ state = "t/b:x", above = 10 }, { state = "t/b:y", above = 10 }], to = "open" },
		{ from = "open", on = [{ state = "t/b:x", above = 25 }, { state = "t/b:y", above = 25 }], to = "wide" },
		{ from = "open", after = "30s", to = "shut" },
		{ from = "wide", after = "5s", to = "open" },
	]
`

// An entry is one event, and what was decided because of it, as they are recorded.
type entry struct {
	event, decisions []byte
	after            []byte // the checkpoint of then
}

// A chronicle is a house whose events are recorded.
type chronicle struct {
	t        fatal
	text     string
	reports  bool
	engine   *rules.Engine
	registry *devices.Registry
	index    *devices.Index
	now      devices.Now
	life     uint64
	entries  []entry
	after    int      // checkpoints are made after each so many events
	ask      []string // requests that are not answered yet
}

func encoded(t fatal, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return b
}

// happen is what the hub does with everything.
func (c *chronicle) happen(ev rules.Event) {
	ev.At = c.now
	for i, r := range ev.Readings {
		if ev.Kind == rules.Report && !c.engine.ReadsMessage(r) {
			ev.Readings[i].Message = nil
		}
	}
	e := entry{event: encoded(c.t, ev)}
	ds := c.engine.Take(ev)
	e.decisions = encoded(c.t, ds)
	if ev.Kind != rules.Open && ev.Kind != rules.Reload && len(c.entries)%c.after == 0 {
		e.after = encoded(c.t, c.engine.Checkpoint(c.now, "boot"))
	}
	c.entries = append(c.entries, e)
	for _, d := range ds {
		for _, cmd := range d.Commands {
			switch {
			case cmd.HTTP != nil:
				c.ask = append(c.ask, cmd.HTTP.ID)
			case cmd.Output != "" && !c.reports:
				c.happen(rules.Event{Kind: rules.Refuse, Name: cmd.Output})
			case cmd.Output != "":
				for _, r := range reported(cmd.Output, cmd.Value) {
					r.At, r.Origin = c.now, cmd.Origin
					c.happen(rules.Event{Kind: rules.Report, Readings: []devices.Reading{r}})
				}
			}
		}
	}
}

func (c *chronicle) compile() {
	c.engine = compile(c.t, c.text, c.registry)
	c.index = devices.NewIndex(c.engine.Sources())
}

// start is a new life of the hub, with what the last one left.
func (c *chronicle) start(states map[string]rules.State, left []devices.Reading, found []event) {
	c.life++
	c.registry = new(devices.Registry)
	c.compile()
	c.happen(rules.Event{Kind: rules.Open, State: &rules.Checkpoint{Boot: "boot", Decided: c.life << 32, States: states, Readings: left}})
	for _, name := range []string{"lamp", "fan", "glow", "pir", "button"} {
		c.happen(rules.Event{Kind: rules.Report, Readings: []devices.Reading{{Source: name, Value: false, Text: "OFF", At: c.now, Initial: true}}})
	}
	for _, f := range found {
		c.hear(f, true)
	}
	c.happen(rules.Event{Kind: rules.Begin})
	c.happen(rules.Event{Kind: rules.Resume})
}

func (c *chronicle) hear(e event, initial bool) {
	if rs := normalize(c.index, e, c.now, initial); len(rs) > 0 {
		c.happen(rules.Event{Kind: rules.Report, Readings: rs})
	}
}

// pass lets time go by as the hub does: with an event only where one is due.
func (c *chronicle) pass(end devices.Now) {
	for {
		next, ok := c.engine.Next()
		if !ok || next > end.Mono {
			break
		}
		c.now = c.now.Add(max(0, next-c.now.Mono))
		c.happen(rules.Event{Kind: rules.Pass})
	}
	c.now = end
	if c.engine.Due(c.now) {
		c.happen(rules.Event{Kind: rules.Pass})
	}
}

func (c *chronicle) states() map[string]rules.State {
	var states map[string]rules.State
	if err := json.Unmarshal(encoded(c.t, c.engine.Snapshot(c.now, "boot")), &states); err != nil {
		c.t.Fatalf("%v", err)
	}
	return states
}

// chronicleOf lives a world's day. odd draws what else happens, beside its timeline.
func chronicleOf(t fatal, w world, odd []int, after int) *chronicle {
	c := &chronicle{t: t, after: after, text: w.house + always, reports: w.reports, now: devices.Now{Mono: randomBoot, Wall: randomNoon, Known: true}}
	if len(odd) > 0 && odd[0]%3 == 0 { // the clock is known later
		c.now.Wall, c.now.Known = time.Date(1970, 1, 1, 1, 0, 0, 0, time.UTC), false
	}
	c.start(nil, nil, w.found)
	for i, e := range w.live {
		c.pass(c.now.Add(e.wait))
		if i < len(odd) {
			c.odd(odd[i])
		}
		switch {
		case e.restart:
			states, left := c.states(), []devices.Reading(nil)
			for _, r := range c.registry.All() {
				if r.Topic != "" {
					left = append(left, devices.Reading{Source: r.Source, Topic: r.Topic, Value: r.Value, Text: r.Text, Captured: r.Captured,
						At: devices.Now{Wall: r.At.Wall, Known: r.At.Known}, Initial: true, Restored: true})
				}
			}
			c.now = c.now.Add(e.down)
			c.ask = nil
			c.start(states, left, e.found)
		case e.topic != "":
			c.hear(e, false)
		}
	}
	return c
}

// odd is something that happens seldom.
func (c *chronicle) odd(n int) {
	switch n % 12 {
	case 0:
		c.now.Known = true
		c.now.Wall = randomNoon.Add(c.now.Mono - randomBoot)
		c.pass(c.now)
	case 1:
		c.now.Wall = c.now.Wall.Add(time.Duration(n%400-200) * time.Second)
		c.pass(c.now)
	case 2:
		c.happen(rules.Event{Kind: rules.Enable, Name: []string{"r0", "queue", "room", "turns"}[n%4], On: n%5 > 2})
	case 3:
		c.happen(rules.Event{Kind: rules.Tell, Name: "lamp", Value: n%2 == 0})
	case 4:
		in := devices.Reading{Source: "ask", Topic: "ask", Value: "open", Text: "open", At: c.now, Origin: devices.Origin{By: "ask"}}
		c.happen(rules.Event{Kind: rules.Ask, Name: "gate", Text: []string{"open", "shut", "wide"}[n%3], Readings: []devices.Reading{in}})
	case 5:
		c.happen(rules.Event{Kind: rules.Post, Name: "/hook/a", Body: fmt.Appendf(nil, `{"x":%d}`, n)})
	case 6, 7, 8:
		if len(c.ask) > 0 {
			id := c.ask[0]
			c.ask = c.ask[1:]
			c.happen(rules.Event{Kind: rules.Answer, Name: id, Status: []int{200, 404, 503, 0}[n%4]})
		}
	case 9:
		c.happen(rules.Event{Kind: rules.Forget, Name: "t/a"})
	case 10:
		cp := &rules.Checkpoint{Boot: "boot", States: c.states(), Decided: c.engine.Checkpoint(c.now, "boot").Decided}
		c.compile()
		c.happen(rules.Event{Kind: rules.Reload, State: cp})
		c.happen(rules.Event{Kind: rules.Begin, Readings: []devices.Reading{{Source: "m/mode", Topic: "m/mode", Value: "away", Text: "away", At: c.now, Initial: true}}})
	}
}

// A player lets it happen again.
type player struct {
	t        fatal
	text     string
	engine   *rules.Engine
	registry *devices.Registry
	idle     int // looks at the clock between the events; each must change nothing
	last     devices.Now
}

func (p *player) take(b []byte) []byte {
	var ev rules.Event
	if err := json.Unmarshal(b, &ev); err != nil {
		p.t.Fatalf("%v", err)
	}
	switch ev.Kind {
	case rules.Open, rules.Current:
		p.registry = new(devices.Registry)
		p.engine = compile(p.t, p.text, p.registry)
	case rules.Reload:
		p.engine = compile(p.t, p.text, p.registry)
	default:
		for i := range p.idle {
			at := p.last.Add((ev.At.Mono - p.last.Mono) * time.Duration(i) / time.Duration(p.idle))
			if p.engine.Due(at) {
				continue
			}
			if ds := p.engine.Take(rules.Event{Kind: rules.Pass, At: at}); len(ds) > 0 {
				p.t.Fatalf("nothing was due, and yet it decides %v", ds)
			}
		}
	}
	p.last = ev.At
	return encoded(p.t, p.engine.Take(ev))
}

// again plays entries, and compares what is decided.
func (p *player) again(what string, entries []entry) {
	for i, e := range entries {
		if got := p.take(e.event); !bytes.Equal(got, e.decisions) {
			var before []string
			for _, b := range entries[max(0, i-4) : i+1] {
				before = append(before, clipped(b.event))
			}
			p.t.Fatalf("%s\n\nevents\n%s\n\nit decides\n%s\n\nand did decide\n%s", what, strings.Join(before, "\n"), got, e.decisions)
		}
	}
}

func clipped(b []byte) string { return string(b[:min(len(b), 600)]) }

// What happened happens again, from the start or from any moment on, and looking at the
// clock in between changes nothing.
func TestTheSameEventsGiveTheSameDecisions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := worlds(features{starts: true, times: true, silent: true, sent: true, restarts: true, reports: true}).Draw(t, "house")
		odd := rapid.SliceOfN(rapid.IntRange(0, 10_000), len(w.live), len(w.live)).Draw(t, "oddities")
		idle := rapid.IntRange(0, 3).Draw(t, "idle looks at the clock")
		c := chronicleOf(t, w, odd, rapid.IntRange(1, 9).Draw(t, "checkpoint after each so many events"))
		(&player{t: t, text: c.text, idle: idle}).again("from the start", c.entries)

		i := rapid.IntRange(0, len(c.entries)-1).Draw(t, "begins behind event")
		for c.entries[i].after == nil || kindOf(c.entries[i].event) == rules.Begin || !rested(c.entries, i) {
			if i++; i == len(c.entries) {
				return
			}
		}
		var cp rules.Checkpoint
		if err := json.Unmarshal(c.entries[i].after, &cp); err != nil {
			t.Fatalf("%v", err)
		}
		at := momentOf(c.entries[i].event)
		p := &player{t: t, text: c.text, idle: idle}
		if got := p.take(encoded(t, rules.Event{Kind: rules.Current, At: at, State: &cp})); string(got) != "null" {
			t.Fatalf("a checkpoint decides %s", got)
		}
		p.again(fmt.Sprintf("from event %d on: %s", i, clipped(c.entries[i].event)), c.entries[i+1:])
	})
}

// rested reports whether the house was there, and no longer starting, after an event. A
// Begin alone does not tell: it ends a reload, and is in the middle of a start.
func rested(entries []entry, i int) bool {
	for ; i >= 0; i-- {
		switch kindOf(entries[i].event) {
		case rules.Resume, rules.Reload:
			return true
		case rules.Open:
			return false
		}
	}
	return false
}

func kindOf(b []byte) rules.EventKind {
	var ev struct{ Kind rules.EventKind }
	json.Unmarshal(b, &ev)
	return ev.Kind
}

func momentOf(b []byte) devices.Now {
	var ev struct{ At devices.Now }
	json.Unmarshal(b, &ev)
	return ev.At
}
