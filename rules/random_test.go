package rules_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/config"
	"hearth/devices"
	"hearth/rules"
)

// What holds of every house: random houses live random days. go test does a few
// of each; -rapid.checks=20000 does more.

// --- a house, driven as the hub drives it ---

var (
	randomHouse = rules.House{Seed: 1, Parts: []rules.Part{
		{Name: "lamp", Table: "output", Value: "boolean", Takes: "switch"},
		{Name: "fan", Table: "output", Value: "boolean", Takes: "switch"},
		{Name: "glow", Table: "output", Value: "boolean", Takes: "level", Properties: map[string]string{"level": "number"}},
		{Name: "pir", Table: "input", Value: "boolean"},
		{Name: "button", Table: "input", Value: "boolean"},
	}}
	randomNoon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC) // a Tuesday
)

const randomBoot = time.Hour // the monotonic clock at noon

// An event is a line of a timeline: time passes, then something is said, or the
// hub goes down and comes back and finds things.
type event struct {
	wait    time.Duration
	topic   string // or an input
	payload string
	restart bool
	down    time.Duration
	found   []event // at the start
}

func (e event) String() string {
	text := fmt.Sprintf("+%v", e.wait)
	switch {
	case e.restart:
		text += fmt.Sprintf(" restart, %v down", e.down)
		for _, f := range e.found {
			text += fmt.Sprintf(", finds %s %s", f.topic, f.payload)
		}
	case e.topic != "":
		text += fmt.Sprintf(" %s %s", e.topic, e.payload)
	}
	return text
}

func tell(house string, timeline []event) string {
	var b strings.Builder
	b.WriteString(house)
	b.WriteString("\n# found at the first start, then live:\n")
	at := time.Duration(0)
	for _, e := range timeline {
		at += e.wait
		fmt.Fprintf(&b, "# %v: %v\n", at, e)
		if e.restart {
			at += e.down
		}
	}
	return b.String()
}

// A hub is an engine with what the hub has around it: a registry, outputs that
// report, a store.
type hub struct {
	t        fatal
	text     string
	engine   *rules.Engine
	registry *devices.Registry
	index    *devices.Index
	now      devices.Now
	reports  bool // outputs report what they were told
	told     []devices.Command
	kept     map[string]json.RawMessage
	busy     bool

	commands []string // with their moments
	trace    []string // every decision, whole
}

type fatal interface {
	Fatalf(format string, args ...any)
}

func parse(t fatal, text string) (rules.Config, *config.Doc) {
	var cfg rules.Config
	doc := config.Parse("config.toml", []byte(text), &cfg)
	return cfg, doc
}

func compile(t fatal, text string, registry *devices.Registry) *rules.Engine {
	cfg, doc := parse(t, text)
	engine := rules.New(cfg, randomHouse, registry, doc.Root())
	if err := doc.Err(); err != nil {
		t.Fatalf("the generator made a house with mistakes:\n%v\n%s", err, text)
	}
	return engine
}

func newHub(t fatal, text string, reports bool) *hub {
	h := &hub{t: t, text: text, reports: reports, registry: new(devices.Registry),
		now: devices.Now{Mono: randomBoot, Wall: randomNoon, Known: true}}
	h.engine = compile(t, text, h.registry)
	h.index = devices.NewIndex(h.engine.Sources())
	h.obey(h.engine.Restore(nil, h.now, "boot"))
	return h
}

// normalize is what one message or level is to the house.
func normalize(index *devices.Index, e event, now devices.Now, initial bool) []devices.Reading {
	if slices.ContainsFunc(randomHouse.Parts, func(p rules.Part) bool { return p.Name == e.topic }) {
		on, _ := devices.OnOff(e.payload)
		return []devices.Reading{{Source: e.topic, Value: on, Text: devices.Text(on), At: now, Initial: initial}}
	}
	return index.Normalize(devices.Message{Topic: e.topic, Payload: []byte(e.payload), Initial: initial}, now)
}

func (h *hub) step(r devices.Reading) {
	h.registry.Apply(r)
	h.obey(h.engine.Step(r))
}

// obey takes decisions down. What an output was told it reports, one after the
// other.
func (h *hub) obey(ds []rules.Decision) {
	for _, d := range ds {
		h.trace = append(h.trace, wholeDecision(d))
		for _, c := range d.Commands {
			h.commands = append(h.commands, sayCommand(d.At.Mono, c))
			if c.Output != "" && h.reports {
				h.told = append(h.told, c)
			}
		}
	}
	if h.busy {
		return
	}
	h.note()
	h.busy = true
	for len(h.told) > 0 {
		c := h.told[0]
		h.told = h.told[1:]
		for _, r := range reported(c.Output, c.Value) {
			r.At, r.Origin = h.now, c.Origin
			h.step(r)
		}
	}
	h.busy = false
}

// reported is what an output says that has been told v.
func reported(output string, v any) []devices.Reading {
	on := levelOf(v) > 0
	all := []devices.Reading{{Source: output, Value: on, Text: devices.Text(on)}}
	if output == "glow" {
		all = append(all, devices.Reading{Source: "glow.level", Value: levelOf(v), Text: devices.Text(levelOf(v))})
	}
	return all
}

// wholeDecision has everything of a decision, byte for byte.
func wholeDecision(d rules.Decision) string {
	cause := ""
	if d.Cause != nil {
		cause = fmt.Sprintf(" cause %s %v at %v", d.Cause.Source, d.Cause.Value, d.Cause.At.Mono)
	}
	return fmt.Sprintf("%v %s%s %+v", d.At.Mono, d, cause, d.Commands)
}

// --- generators ---

type draw struct{ t *rapid.T }

func (d draw) of(list ...string) string { return rapid.SampledFrom(list).Draw(d.t, "of") }
func (d draw) in(percent int) bool      { return rapid.IntRange(0, 99).Draw(d.t, "chance") >= 100-percent }
func (d draw) upTo(n int) int           { return rapid.IntRange(0, n).Draw(d.t, "n") }
func (d draw) span() string             { return d.of("1s", "2s", "3s", "5s", "10s", "20s") }
func (d draw) number() string           { return d.of("10", "20", "30", "20.5") }
func (d draw) list(n int, f func() string) string {
	var parts []string
	for range 1 + d.upTo(n-1) {
		parts = append(parts, f())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// A plan is a house being drawn up.
type plan struct {
	draw
	calcs, machines bool
	captures        bool // of the rule
	moves           bool // of the machine
	rank            int  // of the rule: what a rule sets has a higher one, so that none goes round in circles
	free            features
}

// features says what the houses of a property may have.
type features struct{ starts, times, silent, restarts, reports, sent bool }

var numeric = []string{"t/a", "t/b:x", "t/b:y"}

func (p *plan) numberSource() string {
	if p.captures {
		return "room/{name}"
	}
	list := slices.Clone(numeric)
	list = append(list, "room/one", "room/+", "tally")
	if p.calcs {
		list = append(list, "warmth")
	}
	return p.of(list...)
}

func (p *plan) boolSource() string {
	if p.captures {
		return "win/{name}"
	}
	return p.of("pir", "d/door", "lamp", "win/one")
}

// test is a test that fits the source, as keys of a table.
func (p *plan) test() (source, test string) {
	switch p.upTo(4) {
	case 0:
		return p.boolSource(), p.of("is = true", "is = false", `is = "ON"`)
	case 1:
		if p.machines && !p.captures && p.in(50) {
			return "alarm", p.of(`is = "armed"`, `is = ["off", "ringing"]`)
		}
		return "m/mode", p.of(`is = "home"`, `is = ["away", "night"]`)
	}
	source = p.numberSource()
	switch p.upTo(4) {
	case 0:
		return source, "above = " + p.number()
	case 1:
		return source, "at_most = " + p.number()
	case 2:
		return source, "at_least = 10, below = 30"
	case 3:
		return source, "is = " + p.of("20", "[10, 20]")
	}
	return source, "below = " + p.number()
}

// trigger is one of a rule: with an end, if it is to have one.
func (p *plan) trigger(end, mustEnd bool) string {
	var keys []string
	until := func(chance int) {
		if end && (mustEnd || p.in(chance)) {
			keys = append(keys, "until = "+p.list(2, p.until))
			if p.in(20) {
				keys = append(keys, `min_on = "`+p.span()+`"`)
			}
		}
	}
	switch kind := p.upTo(9); {
	case kind == 0 && !p.captures:
		keys = append(keys, `event = "e/press"`)
		if p.in(50) {
			keys = append(keys, `is = `+p.of(`"single"`, `"double"`, `["single", "double"]`))
		}
		until(50)
	case kind == 1:
		source := p.of(p.numberSource(), p.boolSource())
		keys = append(keys, fmt.Sprintf("state = %q", source))
		if p.in(50) {
			keys = append(keys, "changed = true")
		}
		until(50)
	case kind == 2 && p.free.times && !p.captures:
		keys = append(keys, p.of(`time = "12:01"`, `every = "30s"`, `time = ["12:00:30", "12:02"]`))
		until(30)
	case kind == 3 && p.free.starts && !p.captures:
		keys = append(keys, "start = true")
		until(30)
	case kind == 4 && p.free.silent && !p.captures:
		source, test := p.test()
		keys = append(keys, fmt.Sprintf("state = %q", source), `silent = "`+p.span()+`"`)
		if p.in(30) {
			keys = append(keys, test)
		}
		if p.in(30) {
			keys = append(keys, `for = "`+p.span()+`"`)
		}
	default:
		source, test := p.test()
		if p.captures {
			source, test = p.of("room/{name}"), "above = "+p.number()
		}
		keys = append(keys, fmt.Sprintf("state = %q", source), test)
		if p.in(40) {
			keys = append(keys, `for = "`+p.span()+`"`)
		}
		if p.in(15) {
			keys = append(keys, "retained = true")
		}
		if end && p.in(50) {
			if strings.HasPrefix(test, "above") || strings.HasPrefix(test, "below") || strings.HasPrefix(test, "at_most") {
				if p.in(50) {
					mirror := "30"
					if strings.HasPrefix(test, "above") {
						mirror = "10"
					}
					keys = append(keys, "until = "+mirror)
				} else {
					until(100)
				}
			} else {
				until(100)
			}
		}
		if has := strings.Join(keys, " "); end && (mustEnd || strings.Contains(has, "until")) && !strings.Contains(has, "min_on") && p.in(20) {
			keys = append(keys, `min_on = "`+p.span()+`"`)
		}
	}
	return "{ " + strings.Join(keys, ", ") + " }"
}

func (p *plan) until() string {
	if !p.captures && p.in(15) {
		return `{ event = "e/press", is = "double" }`
	}
	source, test := p.test()
	if !p.free.starts && !strings.Contains(source, "/") {
		// A start finds pins and variables anew, which ends what their level at
		// the begin did not.
		source, test = "d/door", "is = true"
	}
	if p.captures {
		source, test = "room/{name}", "below = "+p.number()
		if p.in(50) {
			source, test = "win/{name}", "is = "+p.of("true", "false")
		}
	}
	wait := ""
	if p.in(40) {
		wait = `, for = "` + p.span() + `"`
	}
	if p.in(10) && p.free.silent && !p.captures {
		test = `silent = "` + p.span() + `"`
	}
	return fmt.Sprintf("{ state = %q, %s%s }", source, test, wait)
}

func (p *plan) condition() string {
	switch p.upTo(7) {
	case 0:
		return "{ not = " + p.condition() + " }"
	case 1:
		return "{ any = [" + p.condition() + ", " + p.condition() + "] }"
	case 2:
		return p.of(`{ time = "12:00-12:01" }`, `{ days = "mon-fri" }`, `{ time = "12:00:20-13:00" }`)
	case 3:
		return p.of(`"tally < 3"`, `"tally % 2 == 0"`)
	case 4:
		if p.moves {
			return "{ above = 20 }"
		}
		return p.of(`{ above = 20 }`, `{ is = true }`, `{ trigger = "1" }`)
	}
	source, test := p.test()
	if p.captures {
		source, test = "win/{name}", "is = "+p.of("true", "false")
	}
	switch p.upTo(4) {
	case 0:
		test += `, for = "` + p.span() + `"`
	case 1:
		// A pin is read anew at each start, so its value is fresh then.
		if within := p.span(); !slices.ContainsFunc(randomHouse.Parts, func(part rules.Part) bool { return part.Name == source }) {
			test += `, within = "` + within + `"`
		}
	}
	return fmt.Sprintf("{ state = { %q = { %s } } }", source, test)
}

// action is one action; it waits only if it may.
func (p *plan) action(name string, waits bool, deep int) string {
	guard := ""
	if p.in(15) {
		guard = ", if = " + p.condition()
	}
	kinds := 3
	if waits {
		kinds = 7
	}
	if deep > 0 {
		kinds += 4
	}
	kind := p.upTo(kinds)
	if p.rank > 2 && (kind == 1 || kind == 4 || kind == 5) || p.rank > 1 && kind == 2 {
		kind = 0
	}
	switch kind {
	case 0:
		return fmt.Sprintf("{ publish = %q, payload = %q%s }", "out/"+name, p.of("x", "{n}", "{value}", "{trigger}"), guard)
	case 1:
		if p.in(40) {
			return fmt.Sprintf(`{ set = "glow", %s%s }`, p.of("to = 40", "to = 0", "to = true", "to = false", `to = "toggle"`, "to = 40, changed = true", "to = true, changed = true",
				"step = 30", "step = -70", `value = "tally * 3 - 10"`), guard)
		}
		return fmt.Sprintf("{ set = %s, to = %s%s }", p.of(`"lamp"`, `"fan"`, `["lamp", "fan"]`), p.of("true", "false", `"toggle"`, "true, changed = true", "false, changed = true"), guard)
	case 2:
		return fmt.Sprintf(`{ set = "tally", %s%s }`, p.of(`value = "tally + 1"`, `to = 20`, `to = 0`, `to = 20, changed = true`), guard)
	case 3:
		return fmt.Sprintf("{ publish = %q, value = %q%s%s }", "out/"+name, p.of("tally", "value", "n * 2"), p.sent(), guard)
	case 4, 5:
		if waits {
			return fmt.Sprintf("{ pulse = %s, for = %q%s }", p.of(`"lamp"`, `"fan"`, `"out/pulse"`, `"glow"`, `"glow", to = 30`), p.span(), guard)
		}
	case 6:
		if waits {
			return fmt.Sprintf("{ delay = %q%s }", p.span(), guard)
		}
	case 7:
		if waits {
			source, test := p.test()
			wait := p.of(`{ event = "e/press" }`, `{ event = "e/press", is = "single" }`, fmt.Sprintf("{ state = %q, %s }", source, test))
			return fmt.Sprintf("{ wait = %s, timeout = %q%s }", wait, p.span(), guard)
		}
	}
	more := func() string { return p.list(2, func() string { return p.action(name, waits, deep-1) }) }
	gap := ""
	if waits && p.in(50) {
		gap = fmt.Sprintf(", gap = %q", p.span())
	}
	switch p.upTo(4) {
	case 0:
		return fmt.Sprintf("{ choose = [{ if = %s, do = %s }, { do = %s }]%s }", p.condition(), more(), more(), guard)
	case 1:
		return fmt.Sprintf("{ do = %s, times = 2%s%s }", more(), gap, guard)
	case 2:
		return fmt.Sprintf(`{ each = ["a", "b"], publish = "out/{item}", payload = "%s"%s }`, name, gap)
	case 3:
		return fmt.Sprintf("{ parallel = [[%s], [%s]]%s }", p.action(name, waits, deep-1), p.action(name, waits, deep-1), guard)
	}
	return fmt.Sprintf("{ stop = true%s }", guard)
}

// sent is how a publish is sent.
func (p *plan) sent() string {
	if p.free.sent {
		return p.of("", ", retain = true", ", changed = true")
	}
	return p.of("", ", retain = true")
}

func (p *plan) rule(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[rule.%s]\n", name)
	p.captures = p.in(20)
	n := 1
	if !p.captures && p.in(30) {
		n = 2
	}
	episode, off, done, repeat := p.in(50), false, false, false
	if episode {
		off, done, repeat = p.in(40), p.in(30), p.in(30)
	}
	var triggers []string
	for range n {
		triggers = append(triggers, p.trigger(episode, off || done || repeat))
	}
	fmt.Fprintf(&b, "trigger = [%s]\n", strings.Join(triggers, ", "))
	p.rank = 0
	for i, source := range []string{"alarm", "tally", "lamp"} {
		if strings.Contains(b.String(), fmt.Sprintf("state = %q", source)) {
			p.rank = i + 1
		}
	}
	if p.in(30) {
		fmt.Fprintf(&b, "condition = %s\n", p.condition())
	}
	var actions []string
	if off {
		actions = append(actions, p.of(`{ set = "fan", on = true, off = false }`, fmt.Sprintf(`{ publish = "out/%s", on = "begin", off = "end" }`, name)))
	}
	for range p.upTo(2) {
		actions = append(actions, p.action(name, !repeat, 1))
	}
	if len(actions) == 0 {
		actions = append(actions, p.action(name, !repeat, 0))
	}
	fmt.Fprintf(&b, "action = [%s]\n", strings.Join(actions, ", "))
	if done {
		fmt.Fprintf(&b, "done = { publish = \"out/%s\", payload = \"done\" }\n", name)
	}
	if repeat {
		fmt.Fprintf(&b, "repeat = %s\n", p.list(2, func() string { return `"` + p.span() + `"` }))
		if p.in(40) {
			b.WriteString("times = 3\n")
		}
	}
	if !episode {
		b.WriteString(p.of("", "mode = \"restart\"\n", "mode = \"queued\"\n", "mode = \"queued\"\nmax = 2\n", "mode = \"parallel\"\n", "mode = \"parallel\"\nmax = 2\n"))
	}
	if p.in(15) && !repeat {
		fmt.Fprintf(&b, "cooldown = %q\n", p.of("1s", "5s", "10s", "day"))
	}
	p.captures = false
	return b.String()
}

func (p *plan) calc() string {
	var b strings.Builder
	b.WriteString("[calc.warmth]\n")
	value := p.of("mean(readings)", "min(readings)", "max(readings)", "len(readings)", "sum(readings)")
	fmt.Fprintf(&b, "value = %q\ntype = \"number\"\n", value)
	switch p.upTo(4) {
	case 0:
		fmt.Fprintf(&b, "of = \"t/a\"\nwindow = %s\n", p.of(`"10s"`, "3"))
	case 1:
		batch := p.of("3", `"10s"`)
		if !p.free.starts {
			batch = "3" // one of a time counts from the start, until something is in it
		}
		fmt.Fprintf(&b, "of = \"t/a\"\nbatch = %s\n", batch)
	case 2:
		fmt.Fprintf(&b, "of = %q\n", p.of("room/+", "room/{name}"))
	default:
		b.WriteString("of = [\"t/a\", \"t/b:x\"]\n")
	}
	if p.in(30) && !strings.Contains(b.String(), "window") && !strings.Contains(b.String(), "batch") {
		fmt.Fprintf(&b, "max_age = %q\n", p.span())
	}
	if p.in(30) {
		b.WriteString("default = 20\n")
	}
	return b.String()
}

func (p *plan) machine() string {
	var moves []string
	for i := range 2 + p.upTo(2) {
		from := p.of(`"off"`, `"armed"`, `"ringing"`, `"*"`, `["off", "armed"]`)
		to := p.of("off", "armed", "ringing")
		if i < 2 { // every state can be reached
			to = []string{"armed", "ringing"}[i]
		}
		how := ""
		if p.in(40) {
			how = fmt.Sprintf("after = %q", p.span())
		} else {
			source, test := p.test()
			for source == "alarm" || source == "tally" || source == "lamp" {
				source, test = "t/a", "above = 20"
			}
			how = p.of(`on = { event = "e/press" }`, `on = { event = "e/press", is = "single" }`, fmt.Sprintf("on = { state = %q, %s }", source, test))
		}
		if p.in(25) {
			how += ", if = " + p.condition()
		}
		do := ""
		if p.in(50) {
			do = fmt.Sprintf(", do = { publish = \"out/moved\", payload = %q }", to)
		}
		moves = append(moves, fmt.Sprintf("  { from = %s, %s, to = %q%s },\n", from, how, to, do))
	}
	topic := ""
	if p.in(50) {
		topic = "topic = \"out/alarm\"\n"
	}
	return "[machine.alarm]\ninitial = \"off\"\n" + topic + "moves = [\n" + strings.Join(moves, "") + "]\n"
}

func (p *plan) link(name string) string {
	retained := ""
	if p.free.starts { // one with retained carries again what a start finds
		retained = p.of("", "", "retained = true\n")
	}
	return fmt.Sprintf("[link.%s]\nfrom = %q\n", name, p.of("pir", "d/door", "t/a")) +
		p.of("to = \"fan\"\n", "to = \"out/"+name+"\"\n", "to = \"out/"+name+"\"\ntype = \"number\"\n") +
		p.of("", "invert = true\n") + p.of("", "changed = true\n") + retained
}

func (p *plan) house() string {
	parts := []string{"[variable.tally]\ninitial = 0\n" + p.of("", "topic = \"out/tally\"\n")}
	if p.calcs = p.in(40); p.calcs {
		parts = append(parts, p.calc())
	}
	if p.machines = p.in(30); p.machines {
		p.moves = true
		parts = append(parts, p.machine())
		p.moves = false
	}
	if p.in(25) {
		parts = append(parts, p.link("l0"))
	}
	for i := range 1 + p.upTo(4) {
		parts = append(parts, p.rule(fmt.Sprintf("r%d", i)))
	}
	return strings.Join(parts, "\n")
}

// message is something that a device says.
func (p *plan) message() event {
	switch p.upTo(9) {
	case 0:
		return event{topic: "e/press", payload: p.of("single", "double", "")}
	case 1:
		return event{topic: p.of("pir", "button"), payload: p.of("ON", "OFF")}
	case 2:
		return event{topic: "d/door", payload: p.of("ON", "OFF", "unavailable")}
	case 3:
		return event{topic: "m/mode", payload: p.of("home", "away", "night")}
	case 4:
		return event{topic: "t/b", payload: fmt.Sprintf(`{"x":%s,"y":%s}`, p.value(), p.value())}
	case 5:
		return event{topic: "t/b", payload: p.of(`{"x":null}`, `{"z":1}`, "broken", `{"y":20}`, `{"x":30}`)}
	case 6:
		return event{topic: p.of("room/one", "room/two"), payload: p.value()}
	case 7:
		return event{topic: p.of("win/one", "win/two"), payload: p.of("ON", "OFF")}
	}
	return event{topic: "t/a", payload: p.of("5", "15", "20", "25", "35", "NaN")}
}

func (p *plan) value() string { return p.of("5", "10", "20", "20.5", "25", "30", "35") }

func (p *plan) wait() time.Duration {
	return rapid.SampledFrom([]time.Duration{0, time.Second, 0, 2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second,
		time.Millisecond, 999 * time.Millisecond, 4 * time.Second, 7300 * time.Millisecond, 20 * time.Second, time.Minute}).Draw(p.t, "wait")
}

// timeline is what happens, the first of it being what is found at the first
// start.
func (p *plan) timeline(restarts bool) (found, live []event) {
	for range p.upTo(3) {
		e := p.message()
		if e.topic != "e/press" {
			found = append(found, e)
		}
	}
	n := 3 + p.upTo(15)
	for range n {
		e := p.message()
		if restarts && p.in(10) {
			e = event{restart: true, down: p.wait()}
			for range p.upTo(2) {
				if f := p.message(); f.topic != "e/press" {
					e.found = append(e.found, f)
				}
			}
		}
		e.wait = p.wait()
		live = append(live, e)
	}
	live = append(live, event{wait: 2 * time.Minute})
	return found, live
}

// --- the properties ---

// A world is a house and what happens in it.
type world struct {
	house       string
	found, live []event
	reports     bool // outputs report what they were told
}

// GoString is what rapid shows of a case that fails.
func (w world) GoString() string { return "\n" + tellAll(w.house, w.found, w.live, w.reports) }

func worlds(free features) *rapid.Generator[world] {
	return rapid.Custom(func(t *rapid.T) world {
		p := &plan{draw: draw{t}, free: free}
		w := world{house: p.house()}
		w.found, w.live = p.timeline(free.restarts)
		w.reports = free.reports && p.in(70)
		return w
	})
}

// The two engines agree: what is sent, when, and in which order.
func TestASecondEngineAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := worlds(features{starts: true, times: true, silent: true, sent: true, restarts: true, reports: true}).Draw(t, "house")
		got, want, trace := both(t, w.house, w.found, w.live, w.reports)
		compareTraces(t, "the engine sends", "the second one", strings.Split(got, "\n"), strings.Split(want, "\n"), "the engine decides\n"+trace)
	})
}

func tellAll(house string, found, live []event, reports bool) string {
	text := house + "\n"
	for _, f := range found {
		text += fmt.Sprintf("# initial %s %s\n", f.topic, f.payload)
	}
	if !reports {
		text += "# outputs report nothing\n"
	}
	return tell(text, live)
}

// both lets the two engines live the same day.
func both(t fatal, house string, found, live []event, reports bool) (got, want, trace string) {
	h := newHub(t, house, reports)
	cfg, _ := parse(t, house)
	s := newSecond(cfg, []string{"lamp", "fan", "glow"}, randomNoon.Add(-randomBoot), randomBoot)
	told := 0
	// What an output is told it reports, to both.
	report := func() {
		for told < len(s.said) {
			words := strings.Fields(s.said[told])
			told++
			if reports && slices.Contains(s.outputs, words[1]) {
				var v any = words[2] == "ON"
				if level, err := strconv.ParseFloat(words[2], 64); err == nil {
					v = level
				}
				for _, r := range reported(words[1], v) {
					r.At = h.now
					s.step(r)
				}
			}
		}
	}
	hear := func(e event, initial bool) {
		for _, r := range normalize(h.index, e, h.now, initial) {
			h.step(r)
			s.step(r)
			report()
		}
	}
	for _, f := range found {
		hear(f, true)
	}
	h.obey(h.engine.Start(h.now))
	s.start()
	report()
	for _, e := range live {
		end := h.now.Add(e.wait)
		for {
			next, ok := h.engine.Next()
			if !ok || next > end.Mono {
				break
			}
			// The second one has deadlines of its own.
			s.advanceTo(next, func() { h.now = h.at(s.now); report() })
			h.now = h.at(max(h.now.Mono, next))
			h.obey(h.engine.Advance(h.now))
			report()
		}
		s.advanceTo(end.Mono, func() { h.now = h.at(s.now); report() })
		h.now = end
		if e.restart {
			kept := h.keep()
			h.now = h.now.Add(e.down)
			s.down(e.down)
			for _, r := range h.restart(kept) {
				s.step(r)
			}
			for _, f := range e.found {
				hear(f, true)
			}
			h.obey(h.engine.Start(h.now))
			s.start()
			report()
			continue
		}
		if e.topic != "" {
			hear(e, false)
		}
	}
	return strings.Join(h.commands, "\n"), strings.Join(s.said, "\n"), strings.Join(h.trace, "\n")
}

// at is a moment by both clocks.
func (h *hub) at(mono time.Duration) devices.Now { return h.now.Add(mono - h.now.Mono) }

func (h *hub) keep() []byte {
	b, err := json.Marshal(h.engine.Snapshot(h.now, "boot"))
	if err != nil {
		h.t.Fatalf("%v", err)
	}
	return b
}

// restart is a new engine on what was kept, and a new registry with the last
// values of topics; outputs and inputs are read anew, and are returned.
func (h *hub) restart(kept []byte) (pins []devices.Reading) {
	var states map[string]rules.State
	if err := json.Unmarshal(kept, &states); err != nil {
		h.t.Fatalf("%v", err)
	}
	old := h.registry
	h.registry = new(devices.Registry)
	h.engine = compile(h.t, h.text, h.registry)
	for _, r := range old.All() {
		if r.Topic == "" {
			continue
		}
		h.registry.Apply(devices.Reading{Source: r.Source, Topic: r.Topic, Value: r.Value, Text: r.Text, Captured: r.Captured,
			At: devices.Now{Wall: r.At.Wall, Known: r.At.Known}, Initial: true, Restored: true})
	}
	h.obey(h.engine.Restore(states, h.now, "boot"))
	for _, r := range old.All() {
		if r.Topic == "" && slices.Contains(append([]string{"pir", "button"}, []string{"lamp", "fan", "glow", "glow.level"}...), r.Source) {
			r.Initial, r.At = true, h.now
			h.step(r)
			pins = append(pins, r)
		}
	}
	return pins
}

// Splitting Advance changes nothing: not in steps of any size, and not to each
// deadline.
func TestSplittingTimeChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := worlds(features{starts: true, times: true, silent: true, sent: true}).Draw(t, "house")
		at := rapid.SampledFrom([]time.Duration{time.Millisecond * 333, time.Second, 1700 * time.Millisecond, 13 * time.Second}).Draw(t, "step")
		whole := live(t, w, func(h *hub, end devices.Now) {})
		compareTraces(t, "in one go", "from deadline to deadline", whole.trace, live(t, w, (*hub).pass).trace)
		compareTraces(t, "in one go", fmt.Sprintf("in steps of %v", at), whole.trace, live(t, w, func(h *hub, end devices.Now) {
			for h.now.Mono+at < end.Mono {
				h.now = h.now.Add(at)
				h.obey(h.engine.Advance(h.now))
			}
		}).trace)
	})
}

// The same day twice is the same, byte for byte.
func TestTheSameDayTwiceIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := worlds(features{starts: true, times: true, silent: true, sent: true, restarts: true, reports: true}).Draw(t, "house")
		compareTraces(t, "once", "again", live(t, w, (*hub).pass).trace, live(t, w, (*hub).pass).trace)
	})
}

// A restart without downtime at any moment, or a reload, changes nothing that
// comes later. But silence counts from the start of the hub, and a publish with
// changed may be sent once more, for what was sent last is not kept; and times of
// day are planned anew, so that they come behind what else is due just then.
func TestARestartAtAnyMomentChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := worlds(features{}).Draw(t, "house")
		w.reports = true
		cut := rapid.IntRange(0, len(w.live)-1).Draw(t, "restarted before line")
		how := rapid.SampledFrom([]string{"restarted", "reloaded", "restarted from what was kept on the way"}).Draw(t, "how")
		n := 0
		again := live(t, w, func(h *hub, end devices.Now) {
			if n++; n == cut+1 {
				if how == "reloaded" {
					h.reload()
				} else {
					kept := h.keep()
					if strings.HasSuffix(how, "way") {
						kept = h.keptOnTheWay()
					}
					h.restart(kept)
					h.obey(h.engine.Start(h.now))
				}
			}
			h.pass(end)
		})
		compareTraces(t, "left alone", how, live(t, w, (*hub).pass).commands, again.commands)
	})
}

// live plays the day of a world; pass is how time is let go by until an event.
func live(t fatal, w world, pass func(h *hub, end devices.Now)) *hub {
	h := newHub(t, w.house, w.reports)
	for _, f := range w.found {
		h.hear(f, true)
	}
	h.obey(h.engine.Start(h.now))
	for _, e := range w.live {
		end := h.now.Add(e.wait)
		pass(h, end)
		h.now = end
		h.obey(h.engine.Advance(h.now))
		switch {
		case e.restart:
			kept := h.keep()
			h.now = h.now.Add(e.down)
			h.restart(kept)
			for _, f := range e.found {
				h.hear(f, true)
			}
			h.obey(h.engine.Start(h.now))
		case e.topic != "":
			h.hear(e, false)
		}
	}
	return h
}

// pass wakes the engine at each of its deadlines.
func (h *hub) pass(end devices.Now) {
	for {
		next, ok := h.engine.Next()
		if !ok || next > end.Mono {
			return
		}
		h.now = h.at(max(h.now.Mono, next))
		h.obey(h.engine.Advance(h.now))
	}
}

func (h *hub) hear(e event, initial bool) {
	for _, r := range normalize(h.index, e, h.now, initial) {
		h.step(r)
	}
}

// reload is a new engine with the registry that there is.
func (h *hub) reload() {
	var states map[string]rules.State
	if err := json.Unmarshal(h.keep(), &states); err != nil {
		h.t.Fatalf("%v", err)
	}
	h.engine = compile(h.t, h.text, h.registry)
	h.obey(h.engine.Restore(states, h.now, "boot"))
	h.obey(h.engine.Reload(h.now))
}

// note keeps what has changed, each record by itself, as the hub's store does.
func (h *hub) note() {
	if h.kept == nil {
		h.kept = make(map[string]json.RawMessage)
	}
	for name, s := range h.engine.Changes(h.now, "boot") {
		b, err := json.Marshal(s)
		if err != nil {
			h.t.Fatalf("%v", err)
		}
		if h.kept[name] = b; s.Hash == "" {
			delete(h.kept, name)
		}
	}
}

func (h *hub) keptOnTheWay() []byte {
	h.note()
	b, _ := json.Marshal(h.kept)
	return b
}

// compareTraces shows where two first differ, and what else is given.
func compareTraces(t fatal, one, other string, a, b []string, more ...string) {
	for i := range max(len(a), len(b)) {
		if i < len(a) && i < len(b) && a[i] == b[i] {
			continue
		}
		near := func(list []string) string {
			return strings.Join(list[max(0, min(i, len(list))-5):min(len(list), i+5)], "\n")
		}
		t.Fatalf("%s\n%s\n\n%s\n%s\n\n%s", one, near(a), other, near(b), strings.Join(more, "\n"))
	}
}

// What the second engine found, one case each, made small.
func TestWhatTheSecondEngineFound(t *testing.T) {
	s := time.Second
	for _, story := range []struct {
		name, house string
		found, live []event
		commands    string
	}{
		{"the message that starts a run is not the one it waits for", `
			[rule.twice]
			trigger = { event = "e/press" }
			action = [{ wait = { event = "e/press" }, timeout = "2s" }, { publish = "out/x", payload = "{timed_out}" }]`,
			nil, []event{{topic: "e/press", payload: "single"}, {wait: 10 * s, topic: "e/press", payload: "single"}, {wait: s, topic: "e/press", payload: "double"}}, `
			2s out/x true
			11s out/x false`},
		{"a run that waits before a pulse goes on after a restart", `
			[rule.bell]
			trigger = { event = "e/press" }
			action = [{ delay = "3s" }, { pulse = "fan", for = "3s" }]`,
			nil, []event{{topic: "e/press", payload: "single"}, {wait: s, restart: true, down: s}, {wait: 10 * s}}, `
			3s fan ON
			6s fan OFF`},
		{"the for of an end counts from the begin, not while the trigger waits for its own", `
			[rule.dry]
			trigger = { state = "t/a", below = 20, for = "10s", until = [{ state = "t/a", below = 30, for = "4s" }, { state = "win/one", is = true }] }
			action = { set = "fan", on = true, off = false }`,
			nil, []event{{topic: "t/a", payload: "15"}, {wait: 30 * s}}, `
			10s fan ON
			14s fan OFF`},
		{"nor while it waits for silence", `
			[rule.dry]
			trigger = { state = "t/a", below = 20, for = "5s", until = { state = "m/mode", silent = "1s", for = "2s" } }
			action = { set = "fan", on = true, off = false }`,
			nil, []event{{topic: "t/a", payload: "15"}, {wait: 30 * s}}, `
			5s fan ON
			8s fan OFF`},
		{"changed compares with the last reading, also with one that ended something", `
			[rule.lamp]
			trigger = { state = "t/a", changed = true, until = { is = 1 } }
			action = { publish = "out/x", on = "begin", off = "end" }`,
			nil, []event{{topic: "t/a", payload: "0"}, {wait: s, topic: "t/a", payload: "1"}, {wait: s, topic: "t/a", payload: "0"}}, `
			0s out/x begin
			1s out/x end
			2s out/x begin`},
		{"an end whose for was over within min_on comes with the end of min_on", `
			[rule.pump]
			trigger = { event = "e/press", until = { state = "t/a", below = 20, for = "10s" }, min_on = "20s" }
			action = { set = "fan", on = true, off = false }`,
			nil, []event{{topic: "t/a", payload: "5"}, {topic: "e/press", payload: "single"}, {wait: 15 * s, topic: "t/a", payload: "6"}, {wait: 20 * s}}, `
			0s fan ON
			20s fan OFF`},
		{"and not at all if it did not hold until then", `
			[rule.pump]
			trigger = { event = "e/press", until = { state = "t/a", below = 20, for = "10s" }, min_on = "20s" }
			action = { set = "fan", on = true, off = false }`,
			nil, []event{{topic: "t/a", payload: "5"}, {topic: "e/press", payload: "single"}, {wait: 15 * s, topic: "t/a", payload: "25"}, {wait: 20 * s}}, `
			0s fan ON`},
		{"a run that was queued starts the cooldown as any other", `
			[rule.bell]
			trigger = { event = "e/press" }
			action = { pulse = "fan", for = "5s" }
			mode = "queued"
			cooldown = "2s"`,
			nil, []event{{topic: "e/press", payload: "1"}, {wait: 3 * s, topic: "e/press", payload: "2"}, {wait: 3 * s, topic: "e/press", payload: "3"}, {wait: 30 * s}}, `
			0s fan ON
			5s fan OFF
			5s fan ON
			10s fan OFF`},
		{"a calc that a start finds as it was fires now, not in its last life", `
			[calc.warmth]
			of = "t/a"
			value = "max(readings)"
			type = "number"
			default = 20
			[rule.warm]
			trigger = { state = "warmth", at_least = 10, for = "5s", retained = true }
			action = { publish = "out/x", payload = "warm" }`,
			nil, []event{{restart: true, down: s, found: []event{{topic: "t/a", payload: "20"}}}, {wait: 30 * s}}, `
			6s out/x warm`},
		{"a deadline that is due at a start knows what the start found", `
			[rule.warm]
			trigger = { state = "t/a", above = 10, for = "1s" }
			action = { publish = "out/x", value = "value" }`,
			nil, []event{{topic: "t/a", payload: "20.5"}, {restart: true, down: s, found: []event{{topic: "t/a", payload: "20"}}}, {wait: s}}, `
			1s out/x 20`},
		{"a deadline knows what a variable became in the same moment, just before", `
			[variable.tally]
			initial = 9
			[rule.count]
			trigger = { state = "pir", is = true }
			action = [{ set = "tally", value = "tally + 1" }, { delay = "2s" }, { set = "tally", value = "tally + 1" }]
			[rule.many]
			trigger = { state = "tally", at_least = 10, for = "2s" }
			action = { publish = "out/x", value = "value" }`,
			nil, []event{{topic: "pir", payload: "ON"}, {wait: 9 * s}}, `
			2s out/x 11`},
		{"nothing is silent before the hub has started", `
			[rule.away]
			trigger = { state = "m/mode", is = "away", for = "2s", retained = true, until = { state = "t/a", silent = "10s" } }
			action = { publish = "out/x", on = "begin", off = "end" }`,
			[]event{{topic: "m/mode", payload: "away"}}, []event{{wait: 30 * s}}, `
			2s out/x begin
			10s out/x end`},
	} {
		t.Run(story.name, func(t *testing.T) {
			h := live(t, world{house: story.house, found: story.found, live: story.live}, (*hub).pass)
			var want, got []string
			for line := range strings.Lines(story.commands) {
				if line = strings.TrimSpace(line); line != "" {
					want = append(want, line)
				}
			}
			for _, line := range h.commands {
				at, command, _ := strings.Cut(line, " ")
				moment, _ := time.ParseDuration(at)
				got = append(got, fmt.Sprintf("%v %s", moment-randomBoot, command))
			}
			compareTraces(t, "what is sent", "what should be", got, want)
			engine, second, _ := both(t, story.house, story.found, story.live, false)
			if engine != second {
				t.Errorf("the second engine sends\n%s", second)
			}
		})
	}
}
