package rules

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth/config"
	"hearth/devices"
)

// A house under test: an engine, its registry, and a clock that is a value.
type house struct {
	t        *testing.T
	engine   *Engine
	registry *devices.Registry
	index    *devices.Index
	now      devices.Now
	boot     string
	where    House
	trace    []string
	sent     []string // what was published since noon, below x/: "3s end 9"
	all      []dispatch
	decided  []Decision
}

// A dispatch is a command and its moment.
type dispatch struct {
	at      time.Time
	command devices.Command
}

var names = House{Parts: parts("output lamp", "output heater", "output fan", "input pir", "input button")}

// parts are what is wired: "output lamp" on and off, "input pir", "dimmer hall" an
// output with levels, "valve water" one that has a fault, "cover blind".
func parts(list ...string) (ps []Part) {
	for _, text := range list {
		kind, name, _ := strings.Cut(text, " ")
		p := Part{Name: name, Table: kind, Value: "boolean"}
		switch kind {
		case "output":
			p.Takes = "switch"
		case "dimmer":
			p.Table, p.Takes, p.Properties = "output", "level", map[string]string{"level": "number"}
		case "valve":
			p.Table, p.Takes, p.Properties = "output", "switch", map[string]string{"fault": "text"}
		case "cover":
			p.Value, p.Takes, p.Properties = "number", "cover", map[string]string{"moving": "text"}
		}
		ps = append(ps, p)
	}
	return ps
}

// noon is a Tuesday.
var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func build(t *testing.T, text string) *house {
	t.Helper()
	return buildIn(t, text, names, noon)
}

// buildIn is build somewhere else, at another time.
func buildIn(t *testing.T, text string, where House, start time.Time) *house {
	t.Helper()
	h := &house{t: t, where: where, registry: new(devices.Registry), boot: "first", now: devices.Now{Mono: time.Hour, Wall: start, Known: true}}
	h.engine = h.compile(text)
	h.index = devices.NewIndex(h.engine.Sources())
	return h
}

func (h *house) compile(text string) *Engine {
	h.t.Helper()
	var cfg Config
	doc := config.Parse("config.toml", []byte(text), &cfg)
	engine := New(cfg, h.where, h.registry, doc.Root())
	if err := doc.Err(); err != nil {
		h.t.Fatalf("the configuration has mistakes:\n%v", err)
	}
	return engine
}

// pass lets time go by, waking the engine at each of its deadlines.
func (h *house) pass(d time.Duration) {
	end := h.now.Add(d)
	for {
		due, ok := h.engine.Next()
		if !ok || due > end.Mono {
			break
		}
		h.now = h.now.Add(max(0, due-h.now.Mono))
		h.note(h.engine.Advance(h.now))
	}
	h.now = end
}

// say is a message, or a level of an input, at the present moment.
func (h *house) say(topic, payload string, initial bool) {
	readings := h.index.Normalize(devices.Message{Topic: topic, Payload: []byte(payload), Initial: initial}, h.now)
	name, property, _ := strings.Cut(topic, ".")
	if p, wired := h.engine.parts[name]; wired {
		var v any = payload
		switch said := p.Properties[property]; {
		case property == "" && p.Value == "boolean":
			v, _ = devices.OnOff(payload)
		case property == "" && p.Value == "number", said == "number":
			v, _ = strconv.ParseFloat(payload, 64)
		}
		readings = []devices.Reading{{Source: topic, Value: v, Text: devices.Text(v), At: h.now, Initial: initial}}
	}
	for _, r := range readings {
		h.registry.Apply(r)
		h.note(h.engine.Step(r))
	}
}

// restart is a new engine on the states of the old one, which JSON carried.
func (h *house) restart(text, boot string, downtime time.Duration) {
	kept := h.keep()
	h.now = h.now.Add(downtime)
	if boot != h.boot {
		h.now.Mono = 10 * time.Second
	}
	h.boot = boot
	h.take(text, kept)
}

func (h *house) keep() []byte {
	b, err := json.Marshal(h.engine.Snapshot(h.now, h.boot))
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

func (h *house) take(text string, kept []byte) {
	var states map[string]State
	if err := json.Unmarshal(kept, &states); err != nil {
		h.t.Fatal(err)
	}
	h.engine = h.compile(text)
	h.index = devices.NewIndex(h.engine.Sources())
	h.note(h.engine.Restore(states, h.now, h.boot))
}

func (h *house) note(ds []Decision) {
	h.decided = append(h.decided, ds...)
	for _, d := range ds {
		h.trace = append(h.trace, fmt.Sprintf("%s %s", h.now.Wall.Format("15:04:05"), d))
		for _, c := range d.Commands {
			h.all = append(h.all, dispatch{h.now.Wall, c})
			h.sent = append(h.sent, strings.TrimSpace(fmt.Sprintf("%s %s %s", h.now.Wall.Sub(noon), strings.TrimPrefix(c.Topic, "x/"), c.Payload)))
		}
	}
}

// live plays a timeline. A line is an offset from noon and what happens then:
// a topic or input with its payload, "initial" before it for what is found at
// start, or nothing but the passing of time.
func (h *house) live(timeline string) {
	h.t.Helper()
	for s := bufio.NewScanner(strings.NewReader(timeline)); s.Scan(); {
		at, rest, _ := strings.Cut(strings.TrimSpace(s.Text()), " ")
		if at == "" {
			continue
		}
		offset, err := time.ParseDuration(at)
		if err != nil {
			h.t.Fatal(err)
		}
		h.pass(noon.Add(offset).Sub(h.now.Wall))
		rest, initial := strings.CutPrefix(strings.TrimSpace(rest), "initial ")
		if topic, payload, _ := strings.Cut(rest, " "); topic != "" {
			h.say(topic, strings.TrimSpace(payload), initial)
		}
	}
}

func (h *house) want(trace string) {
	h.t.Helper()
	var want []string
	for line := range strings.Lines(trace) {
		if line = strings.TrimSpace(line); line != "" {
			want = append(want, line)
		}
	}
	got, wanted := strings.Join(h.trace, "\n"), strings.Join(want, "\n")
	if got != wanted {
		h.t.Errorf("the trace is\n%s\n\nwant\n%s", got, wanted)
	}
	h.trace = nil
}

func TestStories(t *testing.T) {
	for _, story := range []struct{ name, config, timeline, trace string }{
		{"a link carries booleans of one path and nothing else", `
			[link.hall]
			from = "z/hall:occupancy"
			to = "lamp"`, `
			0s  z/hall {"occupancy":true,"battery":97}
			5s  z/hall {"battery":96}
			6s  z/hall not json
			7s  z/hall {"occupancy":null}
			8s  z/hall {"occupancy":"maybe"}
			9s  z/hall {"occupancy":"off"}`, `
			12:00:00 link.hall fired: z/hall:occupancy (now true) -> lamp ON
			12:00:09 link.hall fired: z/hall:occupancy (now off) -> lamp OFF`},
		{"a link to a topic, turned round, only changes", `
			[link.door]
			from = "door/open"
			to = "door/closed"
			invert = true
			changed = true
			retain = true`, `
			0s door/open ON
			1s door/open ON
			2s door/open OFF`, `
			12:00:00 link.door fired: door/open (now ON) -> door/closed OFF
			12:00:02 link.door fired: door/open (now OFF) -> door/closed ON`},
		{"a machine that went from running to idle", `
			[rule.done]
			trigger = { state = "washer/state", from = "running", is = "idle" }
			action = { publish = "say/it", payload = "was {old}, is {value}" }`, `
			0s washer/state idle
			1s washer/state running
			2s washer/state idle
			3s washer/state off
			4s washer/state idle`, `
			12:00:02 rule.done fired: washer/state is idle from running (now idle) -> say/it was running, is idle`},
		{"what is found at start goes over no link", `
			[link.hall]
			from = "z/hall:occupancy"
			to = "lamp"`, `
			0s initial z/hall {"occupancy":true}`, ``},
		{"an edge fires once, until it was false again", `
			[rule.bell]
			trigger = { state = "button", is = true }
			action = { publish = "bell/ring", payload = "1" }`, `
			0s button on
			1s button on
			2s button off
			3s button on`, `
			12:00:00 rule.bell fired: button is true (now ON) -> bell/ring 1
			12:00:03 rule.bell fired: button is true (now ON) -> bell/ring 1`},
		{"an event fires each time", `
			[rule.up]
			trigger = { event = "shutter/set", is = "UP" }
			action = { publish = "shutter/motor", payload = "UP" }`, `
			0s shutter/set UP
			1s shutter/set UP
			2s shutter/set DOWN
			3s initial shutter/set UP`, `
			12:00:00 rule.up fired: shutter/set is UP (now UP) -> shutter/motor UP
			12:00:01 rule.up fired: shutter/set is UP (now UP) -> shutter/motor UP`},
		{"hysteresis: begin below, end above, nothing between", `
			[rule.heater]
			trigger = { state = "study:t", below = 19, until = 20.2 }
			action = { set = "heater", on = true, off = false }`, `
			0s initial study {"t":18}
			1m study {"t":18.9}
			2m study {"t":19.5}
			3m study {"t":18.5}
			4m study {"t":20.2}
			5m study {"t":"unavailable"}
			6m study {"t":20.3}
			7m study {"t":19.5}`, `
			12:01:00 rule.heater fired: study:t below 19 (now 18.9) -> heater ON
			12:06:00 rule.heater ended: study:t above 20.2 (now 20.3) -> heater OFF`},
		{"at_most ends at or above", `
			[rule.heater]
			trigger = { state = "t/v", at_most = 20, until = 20.5 }
			action = { set = "heater", on = true, off = false }`, `
			0s t/v 20
			1s t/v 20.5`, `
			12:00:00 rule.heater fired: t/v at most 20 (now 20) -> heater ON
			12:00:01 rule.heater ended: t/v at least 20.5 (now 20.5) -> heater OFF`},
		{"for waits, and a blip cancels it", `
			[rule.hall_off]
			trigger = { state = "pir", is = false, for = "30m" }
			action = { set = "lamp", to = false }`, `
			0s  pir off
			10m pir on
			11m pir off
			12m pir off
			50m`, `
			12:00:00 rule.hall_off pending: pir is false (now OFF); for 30m
			12:10:00 rule.hall_off cancelled: pir is false (now ON); before 30m were over
			12:11:00 rule.hall_off pending: pir is false (now OFF); for 30m
			12:41:00 rule.hall_off fired: pir is false -> lamp OFF`},
		{"an end with a for of its own", `
			[rule.fan]
			trigger = { state = "bath:h", above = 70, until = { below = 60, for = "2m" } }
			action = { set = "fan", on = true, off = false }`, `
			0s bath {"h":75}
			1m bath {"h":59}
			2m bath {"h":61}
			3m bath {"h":59}
			4m bath {"x":1}
			10m`, `
			12:00:00 rule.fan fired: bath:h above 70 (now 75) -> fan ON
			12:05:00 rule.fan ended: bath:h below 60 for 2m -> fan OFF`},
		{"an end by another source, whichever is first", `
			[rule.fan]
			trigger = { state = "bath:h", above = 70, until = [60, { state = "button", is = true }] }
			action = { set = "fan", on = true, off = false }`, `
			0s bath {"h":75}
			1m button on
			2m bath {"h":76}
			3m button off
			4m bath {"h":77}
			5m bath {"h":50}`, `
			12:00:00 rule.fan fired: bath:h above 70 (now 75) -> fan ON
			12:01:00 rule.fan ended: button is true (now ON) -> fan OFF
			12:04:00 rule.fan fired: bath:h above 70 (now 77) -> fan ON
			12:05:00 rule.fan ended: bath:h below 60 (now 50) -> fan OFF`},
		{"min_on keeps it on, then the latest value decides", `
			[rule.heater]
			trigger = { state = "t/v", below = 19, until = 20, min_on = "8m" }
			action = { set = "heater", on = true, off = false }`, `
			0s  t/v 18
			1m  t/v 21
			10m t/v 18
			11m t/v 21
			12m t/v 19.5
			20m t/v 21`, `
			12:00:00 rule.heater fired: t/v below 19 (now 18) -> heater ON
			12:08:00 rule.heater ended: t/v above 20 -> heater OFF
			12:10:00 rule.heater fired: t/v below 19 (now 18) -> heater ON
			12:20:00 rule.heater ended: t/v above 20 (now 21) -> heater OFF`},
		{"a condition says no, and says what it saw", `
			[rule.drive]
			trigger = { state = "pir", is = true }
			condition = { time = "16:00-07:00", state = { "presence/house" = "home" } }
			action = { set = "lamp", to = true }`, `
			0s    pir on
			1s    pir off
			2s    presence/house away
			3s    pir on
			4s    pir off
			5s    presence/house home
			6s    pir on
			7s    pir off
			4h    pir on
			18h   pir off
			18h1s pir on`, `
			12:00:00 rule.drive blocked: pir is true (now ON), not presence/house is home (never seen)
			12:00:03 rule.drive blocked: pir is true (now ON), not presence/house is home (away)
			12:00:06 rule.drive blocked: pir is true (now ON), presence/house is home, not time 16:00-07:00 (12:00:06)
			16:00:00 rule.drive fired: pir is true (now ON), presence/house is home, time 16:00-07:00 -> lamp ON
			06:00:01 rule.drive fired: pir is true (now ON), presence/house is home, time 16:00-07:00 -> lamp ON`},
		{"any and not", `
			[rule.drive]
			trigger = { state = "pir", is = true }
			condition = { any = [{ days = "sat,sun" }, { state = { "a/b" = { above = 3 } } }], not = { state = { "a/c" = true } } }
			action = { set = "lamp", to = true }`, `
			0s pir on
			1s pir off
			2s a/b 4
			3s pir on
			4s pir off
			5s a/c on
			6s pir on`, `
			12:00:00 rule.drive blocked: pir is true (now ON), not days sat,sun or a/b above 3 (tue, never seen)
			12:00:03 rule.drive fired: pir is true (now ON), days sat,sun or a/b above 3, not (a/c is true) -> lamp ON
			12:00:06 rule.drive blocked: pir is true (now ON), days sat,sun or a/b above 3, not not (a/c is true) (on)`},
		{"a pulse goes off by itself; single ignores, restart begins anew", `
			[rule.one]
			trigger = { state = "button", is = true }
			action = [{ pulse = "fan", for = "10s" }, { publish = "fan/done", payload = "yes" }]
			[rule.two]
			trigger = { state = "pir", is = true }
			mode = "restart"
			action = { pulse = "lamp", for = "60s" }`, `
			0s  button on
			1s  button off
			2s  button on
			20s pir on
			30s pir off
			60s pir on
			3m`, `
			12:00:00 rule.one fired: button is true (now ON) -> fan ON
			12:00:02 rule.one ignored: button is true (now ON); its last run is still going (mode single)
			12:00:10 rule.one went on: button is true; the wait is over -> fan OFF, fan/done yes
			12:00:20 rule.two fired: pir is true (now ON) -> lamp ON
			12:01:00 rule.two fired: pir is true (now ON) -> lamp ON
			12:02:00 rule.two went on: pir is true; the wait is over -> lamp OFF`},
		{"the end of an episode puts a pulse out", `
			[rule.bell]
			trigger = { state = "button", is = true, until = { is = false } }
			action = { pulse = "fan", for = "60s" }`, `
			0s button on
			5s button off
			2m`, `
			12:00:00 rule.bell fired: button is true (now ON) -> fan ON
			12:00:05 rule.bell ended: button is false (now OFF) -> fan OFF`},
		{"toggle goes by the newest of told and reported", `
			[rule.t]
			trigger = { event = "wall/button" }
			action = { set = "lamp", to = "toggle" }`, `
			0s wall/button x
			1s wall/button x
			2s lamp on
			2s lamp off
			2s lamp on
			3s wall/button x`, `
			12:00:00 rule.t fired: wall/button (now x) -> lamp ON
			12:00:01 rule.t fired: wall/button (now x) -> lamp OFF
			12:00:03 rule.t fired: wall/button (now x) -> lamp OFF`},
		{"changed leaves out what is so already", `
			[rule.t]
			trigger = { event = "wall/button" }
			action = { set = ["lamp", "fan"], to = true, changed = true }`, `
			0s lamp on
			1s wall/button x`, `
			12:00:01 rule.t fired: wall/button (now x) -> fan ON`},
		{"payloads: a table is JSON, a number is short, braces double", `
			[rule.t]
			trigger = { event = "wall/button" }
			action = [
			  { publish = "z/lamp/set", payload = { state = "ON", brightness = 254, mode = "{{x}" } },
			  { publish = "a/b", payload = 1.50 },
			  { publish = "a/c", payload = true },
			]`, `
			0s wall/button x`, `
			12:00:00 rule.t fired: wall/button (now x) -> z/lamp/set {"brightness":254,"mode":"{x}","state":"ON"}, a/b 1.5, a/c ON`},
		{"every reading, or only those that differ", `
			[rule.all]
			trigger = { state = "m/v" }
			action = { publish = "all/v", payload = "x" }
			[rule.diff]
			trigger = { state = "m/v", changed = true }
			action = { publish = "diff/v", payload = "x" }`, `
			0s m/v 1
			1s m/v 1
			2s m/v 2`, `
			12:00:00 rule.all fired: m/v (now 1) -> all/v x
			12:00:00 rule.diff fired: m/v (now 1) -> diff/v x
			12:00:01 rule.all fired: m/v (now 1) -> all/v x
			12:00:02 rule.all fired: m/v (now 2) -> all/v x
			12:00:02 rule.diff fired: m/v (now 2) -> diff/v x`},
		{"the floor of floats: 22.1 - 20.1 is not above 2", `
			[rule.t]
			trigger = { state = "m/v", above = 2 }
			action = { set = "fan", to = true }`, `
			0s m/v 2.0000000000000018
			1s m/v 2.1`, `
			12:00:01 rule.t fired: m/v above 2 (now 2.1) -> fan ON`},
		{"an initial value may begin where the trigger says retained", `
			[rule.offline]
			trigger = { state = "tele/x/LWT", is = "Offline", for = "60s", retained = true }
			action = { publish = "say/it", payload = "x is offline" }`, `
			0s initial tele/x/LWT Offline
			2m`, `
			12:00:00 rule.offline pending: tele/x/LWT is Offline (now Offline); for 1m
			12:01:00 rule.offline fired: tele/x/LWT is Offline -> say/it x is offline`},
		{"for wants no interruption, whatever its until", `
			[rule.a]
			trigger = { state = "d/door", is = "open", for = "15m", until = { state = "button", is = true } }
			action = { set = "fan", on = true, off = false }
			[rule.b]
			trigger = { state = "t/v", below = 19, for = "10m", until = 22 }
			action = { set = "heater", on = true, off = false }`, `
			0s d/door open
			0s t/v 18
			1m d/door closed
			1m t/v 20
			30m`, `
			12:00:00 rule.a pending: d/door is open (now open); for 15m
			12:00:00 rule.b pending: t/v below 19 (now 18); for 10m
			12:01:00 rule.a cancelled: d/door is open (now closed); before 15m were over
			12:01:00 rule.b cancelled: t/v below 19 (now 20); before 10m were over`},
		{"an until that holds already counts from the begin", `
			[rule.a]
			trigger = { event = "wall/button", until = { state = "pir", is = false, for = "5m" }, min_on = "1m" }
			action = { set = "lamp", on = true, off = false }
			[rule.b]
			trigger = { state = "pir", is = true, until = { is = true, for = "10m" } }
			action = { set = "fan", on = true, off = false }`, `
			0s pir off
			1m wall/button x
			10m
			20m pir on
			40m`, `
			12:01:00 rule.a fired: wall/button (now x) -> lamp ON
			12:06:00 rule.a ended: pir is false for 5m -> lamp OFF
			12:20:00 rule.b fired: pir is true (now ON) -> fan ON
			12:30:00 rule.b ended: pir is true for 10m -> fan OFF`},
		{"what ends does not begin", `
			[rule.a]
			trigger = { state = "a/v", until = { is = "OFF" } }
			action = { set = "lamp", on = true, off = false }
			[rule.b]
			trigger = { event = "a/v", until = { is = "OFF" } }
			action = { set = "fan", on = true, off = false }`, `
			0s a/v ON
			1s a/v OFF
			2s a/v OFF`, `
			12:00:00 rule.a fired: a/v (now ON) -> lamp ON
			12:00:00 rule.b fired: a/v (now ON) -> fan ON
			12:00:01 rule.a ended: a/v is OFF (now OFF) -> lamp OFF
			12:00:01 rule.b ended: a/v is OFF (now OFF) -> fan OFF`},
		{"every reading, beside a trigger with an end", `
			[rule.a]
			trigger = [{ state = "a/v", changed = true }, { state = "pir", is = true, until = { is = false } }]
			action = { publish = "say/it", payload = "x" }`, `
			0s a/v 1
			1s a/v 2`, `
			12:00:00 rule.a fired: a/v (now 1) -> say/it x
			12:00:01 rule.a fired: a/v (now 2) -> say/it x`},
		{"no timer of an episode outlives it", `
			[rule.a]
			trigger = { event = "wall/button", until = { state = "pir", is = false, for = "5m" } }
			action = { pulse = "lamp", for = "60s" }`, `
			0s pir on
			1s wall/button x
			10s pir off
			2m pir on
			5m wall/button x
			30m`, `
			12:00:01 rule.a fired: wall/button (now x) -> lamp ON
			12:01:01 rule.a went on: wall/button; the wait is over -> lamp OFF
			12:05:00 rule.a fired: wall/button (now x) -> lamp ON
			12:06:00 rule.a went on: wall/button; the wait is over -> lamp OFF`},
		{"any message is an event of a topic, but not of a place in it", `
			[rule.a]
			trigger = { state = "leak/v", is = true, until = { event = "alarm/reset" } }
			action = { set = "fan", on = true, off = false }
			[rule.b]
			trigger = { event = "z/r:action", is = "on", until = { event = "z/s:action" } }
			action = { set = "lamp", on = true, off = false }`, `
			0s leak/v on
			1m alarm/reset
			2m z/r {"action":"on"}
			3m z/s {"action":""}
			4m z/s {"action":"off"}`, `
			12:00:00 rule.a fired: leak/v is true (now on) -> fan ON
			12:01:00 rule.a ended: alarm/reset (now ) -> fan OFF
			12:02:00 rule.b fired: z/r:action is on (now on) -> lamp ON
			12:04:00 rule.b ended: z/s:action (now off) -> lamp OFF`},
		{"changed compares what is carried, and zero has no sign", `
			[link.a]
			from = "a/v"
			to = "lamp"
			changed = true
			[link.b]
			from = "b/v"
			to = "b/minus"
			type = "number"
			invert = true`, `
			0s a/v ON
			1s a/v true
			2s a/v 0
			3s b/v 0`, `
			12:00:00 link.a fired: a/v (now ON) -> lamp ON
			12:00:02 link.a fired: a/v (now 0) -> lamp OFF
			12:00:03 link.b fired: b/v (now 0) -> b/minus 0`},
		{"a trigger with a name is told by it", `
			[rule.t]
			trigger = [{ id = "night", state = "m/v", above = 5 }, { state = "m/w", is = true }]
			action = { set = "fan", to = true }`, `
			0s m/v 6
			1s m/w on`, `
			12:00:00 rule.t fired: night (m/v above 5) (now 6) -> fan ON
			12:00:01 rule.t fired: m/w is true (now on) -> fan ON`},
		{"a rule that is not enabled does nothing", `
			[rule.t]
			enabled = false
			trigger = { event = "wall/button" }
			action = { set = "lamp", to = true }`, `
			0s wall/button x`, ``},
		{"a rule that is not enabled can't be enabled by another", `
			[rule.t]
			enabled = false
			trigger = { event = "wall/button" }
			action = { set = "lamp", to = true }
			[rule.u]
			trigger = { event = "wall/on" }
			action = { enable = "t" }`, `
			0s wall/on x
			1s wall/button x`, `
			12:00:00 rule.u fired: wall/on (now x) -> rule.t stays off: its configuration says enabled = false`},
	} {
		t.Run(story.name, func(t *testing.T) {
			h := build(t, story.config)
			h.live(story.timeline)
			h.want(story.trace)
		})
	}
}

func TestRulesThatSetEachOtherOffAreStopped(t *testing.T) {
	h := build(t, `
		[rule.ping]
		trigger = { event = "a/b" }
		action = { publish = "a/c", payload = "x" }
		[rule.pong]
		trigger = { event = "a/c" }
		action = { publish = "a/b", payload = "x" }`)
	queue := []devices.Message{{Topic: "a/b", Payload: []byte("x")}}
	steps := 0
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		if steps++; steps > 100 {
			t.Fatal("the loop goes on")
		}
		for _, r := range h.index.Normalize(m, h.now) {
			h.registry.Apply(r)
			ds := h.engine.Step(r)
			h.note(ds)
			for _, d := range ds {
				for _, c := range d.Commands {
					queue = append(queue, devices.Message{Topic: c.Topic, Payload: []byte(c.Payload), Origin: c.Origin})
				}
			}
		}
	}
	last := h.trace[len(h.trace)-1]
	if want := "rule.ping stopped: a/b (now x); these rules set each other off: rule.ping -> rule.pong -> rule.ping"; !strings.HasSuffix(last, want) {
		t.Errorf("it ends with %q, want %q", last, want)
	}
	if len(h.trace) != MaxHops+1 {
		t.Errorf("%d decisions, want %d and the one that stops", len(h.trace), MaxHops)
	}
}

const garage = `
[rule.garage]
trigger = { state = "garage/door", is = "open", for = "15m" }
action = { publish = "say/it", payload = "open" }
[rule.bell]
trigger = { event = "bell/press" }
action = { pulse = "fan", for = "5m" }`

func TestTimersSurviveARestartInTheSameBoot(t *testing.T) {
	h := build(t, garage)
	h.live(`
		0s garage/door open
		0s bell/press x`)
	h.trace = nil
	h.restart(garage, "first", 2*time.Minute)
	h.live(`
		2m initial garage/door open
		30m`)
	h.want(`
		12:05:00 rule.bell went on: bell/press; the wait is over -> fan OFF
		12:15:00 rule.garage fired: garage/door is open -> say/it open`)
}

func TestADoorClosedInTheDowntimeCancelsTheWait(t *testing.T) {
	h := build(t, garage)
	h.live(`0s garage/door open`)
	h.trace = nil
	h.restart(garage, "second", 2*time.Minute)
	h.live(`
		2m initial garage/door closed
		30m`)
	h.want(`12:02:00 rule.garage cancelled: garage/door is open (now closed); before 15m were over`)
}

func TestADeadlineThatPassedInTheDowntimeFiresOnceAndLate(t *testing.T) {
	h := build(t, garage)
	h.live(`0s garage/door open`)
	h.trace = nil
	h.restart(garage, "second", 20*time.Minute)
	h.live(`
		20m initial garage/door open
		60m`)
	h.want(`12:20:00 rule.garage fired: garage/door is open -> say/it open`)
}

// A Pi that lost power boots with a wrong clock. Until NTP has set it the wait
// goes on as if no time had passed; then the downtime is taken off.
func TestTheDowntimeIsTakenOffOnceTheClockIsKnown(t *testing.T) {
	h := build(t, garage)
	h.live(`0s garage/door open`)
	h.trace = nil
	kept := h.keep() // with 15 minutes to go
	h.boot = "second"
	h.now = devices.Now{Mono: 10 * time.Second, Wall: time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC)}
	h.take(garage, kept)
	h.say("garage/door", "open", true)
	h.pass(2 * time.Minute)
	h.want(``)
	h.now.Wall, h.now.Known = noon.Add(12*time.Minute), true // 10 minutes without power, 2 of running
	h.note(h.engine.Advance(h.now))
	h.pass(2 * time.Minute)
	h.want(``)
	h.pass(time.Minute)
	h.want(`12:15:00 rule.garage fired: garage/door is open -> say/it open`)
}

// The clock was wrong while the wait began and is far behind afterwards: no
// wait may become longer than it was.
func TestAClockSetBackDoesNotMakeAWaitLonger(t *testing.T) {
	h := build(t, garage)
	h.live(`0s garage/door open`)
	kept := h.keep()
	h.trace, h.boot = nil, "second"
	h.now = devices.Now{Mono: 10 * time.Second, Wall: noon.AddDate(-1, 0, 0), Known: true}
	h.take(garage, kept)
	h.pass(15*time.Minute - time.Second)
	h.want(``)
	h.pass(time.Second)
	h.want(`12:15:00 rule.garage fired: garage/door is open -> say/it open`)
}

// The power flickers, or the owner reloads, while the clock is still not known:
// what was known before is carried on.
func TestTheDowntimeIsNotForgottenWhileTheClockIsUnknown(t *testing.T) {
	for _, again := range []string{"a reload", "another power cut", "a restart"} {
		h := build(t, garage)
		h.live(`0s garage/door open`)
		h.trace = nil
		kept := h.keep()
		h.boot = "second"
		h.now = devices.Now{Mono: 10 * time.Second, Wall: time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC)}
		h.take(garage, kept)
		h.pass(30 * time.Second)
		kept = h.keep()
		if again == "another power cut" {
			h.boot, h.now.Mono = "third", 10*time.Second
		}
		h.take(garage, kept)
		h.pass(30 * time.Second)
		h.now.Wall, h.now.Known = noon.Add(8*time.Hour), true
		h.note(h.engine.Advance(h.now))
		if len(h.trace) != 1 || !strings.Contains(h.trace[0], "rule.garage fired") {
			t.Errorf("after %s: %q, want the message that was due hours ago", again, h.trace)
		}
	}
}

// What a broken pin reports is no event.
func TestAFaultIsNoEvent(t *testing.T) {
	h := build(t, `
		[rule.bell]
		trigger = { event = "button" }
		action = { publish = "bell/ring", payload = "1" }`)
	h.note(h.engine.Step(devices.Reading{Source: "button", Bad: "no answer", At: h.now}))
	h.want(``)
}

func TestAReloadKeepsTheTimersOfRulesThatStay(t *testing.T) {
	h := build(t, garage)
	h.live(`
		0s garage/door open
		1m bell/press x`)
	h.trace = nil
	changed := strings.Replace(garage, `for = "5m"`, `for = "6m"`, 1) + "\n[rule.new]\ntrigger = { event = \"a/b\" }\naction = { set = \"lamp\", to = true }\n"
	h.restart(changed, "first", 0)
	h.want(`12:01:00 rule.bell dropped; its definition changed or is gone; what it owed is sent -> fan OFF`)
	h.live(`30m`)
	h.want(`12:15:00 rule.garage fired: garage/door is open -> say/it open`)
}

func TestTimesOfDayWaitForTheClock(t *testing.T) {
	h := build(t, `
		[rule.t]
		trigger = { event = "a/b" }
		condition = { time = "11:00-13:00" }
		action = { set = "lamp", to = true }`)
	h.now.Known = false
	h.say("a/b", "x", false)
	h.now.Known = true
	h.say("a/b", "x", false)
	h.want(`
		12:00:00 rule.t blocked: a/b (now x), not time 11:00-13:00 (the clock is not known to be right)
		12:00:00 rule.t fired: a/b (now x), time 11:00-13:00 -> lamp ON`)
}

// Only what moved is handed out to be kept, and a rule at rest asks for its
// record to be dropped.
func TestChangesAreWhatMoved(t *testing.T) {
	h := build(t, garage)
	if got := h.engine.Changes(h.now, h.boot); len(got) != 0 {
		t.Errorf("before anything happened: %v", got)
	}
	h.live(`0s bell/press x`)
	got := h.engine.Changes(h.now, h.boot)
	if len(got) != 1 || len(got["rule.bell"].Runs) != 1 {
		t.Errorf("after a press: %+v", got)
	}
	h.live(`6m`)
	if got = h.engine.Changes(h.now, h.boot); len(got) != 1 || got["rule.bell"].Hash != "" {
		t.Errorf("after the pulse: %+v, want a rule without hash", got)
	}
}

func TestAStateOfAnotherShapeIsNotTaken(t *testing.T) {
	h := build(t, garage)
	h.live(`0s garage/door open`)
	states := h.engine.Snapshot(h.now, h.boot)
	sound := states["rule.garage"]
	for _, broken := range []func(s *State){
		func(s *State) { s.Triggers = nil },
		func(s *State) { s.Triggers[0].Untils = nil },
		func(s *State) {
			s.Runs = []RunState{{Context: ContextState{Trigger: 7}, Threads: []ThreadState{{Parent: -1}}}}
		},
		func(s *State) { s.Runs = []RunState{{Threads: []ThreadState{{Step: 9, Parent: -1}}}} },
		func(s *State) { s.Runs = []RunState{{}} },
		func(s *State) {
			s.Runs = []RunState{{Threads: []ThreadState{{Parent: -1, Owed: &devices.Command{Output: "fan", Value: nil}}}}}
		},
	} {
		s := sound
		s.Triggers = slices.Clone(sound.Triggers)
		broken(&s)
		states["rule.garage"] = s
		e := h.compile(garage)
		e.Restore(states, h.now, h.boot)
		if _, ok := e.Next(); ok {
			t.Errorf("%+v set a timer", s)
		}
	}
}

// What all rules share that need none of their own stays empty, whatever the
// tests have done.
func TestMain(m *testing.M) {
	code := m.Run()
	for name, shared := range map[string]any{
		"rule": noRule.moreOfRule, "instruction": theEnd.moreOfInstr, "trigger": noTrigger.moreOfTrigger,
		"instance": noInstance.moreOfInstance, "latch": noLatch.moreOfLatch, "watchers": noWatchers.moreOfWatchers,
	} {
		if !reflect.ValueOf(shared).Elem().IsZero() {
			fmt.Printf("what every %s shares has been written to: %+v\n", name, shared)
			code = 1
		}
	}
	os.Exit(code)
}
