package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/rules/formula"
)

// An instr is one step of a program. Actions are compiled to a flat list of
// them, so that where a run stands is a number, and can be kept.
type instr struct {
	op   opcode
	to   int // where opIf goes if its conditions do not hold; of opJump, opRound
	wait time.Duration

	target  target
	on      value
	off     int  // of opSend: its place among the offs; -1 if it has none
	always  bool // its off is sent whether or not the run came here
	changed bool
	retain  bool
	qos     byte

	*moreOfInstr
}

// moreOfInstr is what few instructions have. The others share one that is empty:
// a house may have very many.
type moreOfInstr struct {
	offValue   value
	conditions []condition       // of opIf
	ways       []int             // of opFork
	times      int               // of opRound: 0 for as often as while allows
	waitText   *formula.Template // gives wait
	random     time.Duration     // of opDelay
	triggers   []*trigger        // of opWait

	limits [2]*float64   // of a step: the least and the most
	extend bool          // of a variable's time
	gap    time.Duration // of opRamp: between two values

	name   string // of opEnable
	enable bool
	http   *httpCall
	params map[string]any // of each
}

// The ends of all lists are one.
var theEnd = &instr{op: opEnd, moreOfInstr: new(moreOfInstr)}

type opcode byte

const (
	opEnd    opcode = iota
	opSend          // on now; off at the end of the episode
	opPulse         // on, wait, off
	opRamp          // from a level to another
	opDelay         //
	opWait          // for a trigger
	opIf            // go on, or to
	opJump          //
	opLoop          // begin one
	opRound         // count its rounds
	opLeave         // end it
	opFork          // start threads
	opJoin          // wait until they are over
	opStop          // end the run
	opNotify        //
	opHTTP          //
	opEnable        // a rule, or disable it
)

// An httpCall is a request to be made, or with notify a notification.
type httpCall struct {
	method string
	url    value
	body   value
	header map[string]value
	retry  []time.Duration
}

// A target is what can be told something.
type target struct {
	output   string
	variable string
	device   *device
	property string
	topic    *formula.Template
	plain    string            // the topic, where it has no holes
	name     *formula.Template // of an output, variable or property whose name has holes
	text     string            // as written
}

// A value is what is sent: one of these, by kind.
type value struct {
	kind     valueKind
	secret   bool
	invert   bool // of carry
	constant any  // bool, float64, string, Toggle; of table and list their parts, as values
	text     *formula.Template
	formula  *formula.Formula
}

type valueKind byte

const (
	none valueKind = iota
	constant
	text     // with holes
	computed // by a formula
	table    // JSON, the strings of which may have holes
	before   // what was there when the episode began
	carry    // of a link: the reading itself
	step     // constant more than what is known
)

// A builder appends instructions.
type builder struct {
	*compiler
	r       *rule
	done    bool // no ends here
	cond    int  // how deep in what may not be run
	scope   formula.Scope
	params  map[string]any
	machine bool
}

func (b *builder) put(in instr) int {
	if in.moreOfInstr == nil {
		in.moreOfInstr = new(moreOfInstr)
	}
	in.params = b.params
	b.r.program = append(b.r.program, &in)
	return len(b.r.program) - 1
}

func (b *builder) end() {
	b.r.program = append(b.r.program, theEnd)
}

func (b *builder) here() int { return len(b.r.program) }

// actions compiles a list.
func (b *builder) actions(list Actions, at config.Place) {
	index := -1
	for _, entry := range list {
		if entry.Number == 0 {
			index++
		}
		outer, scope := b.params, b.scope
		if entry.Params != nil {
			b.params = merged(b.params, entry.Params)
			b.scope = b.withParams(b.scope, entry.Params)
			if entry.Number > 0 && entry.Body.Gap > 0 && len(entry.Body.While) == 0 && entry.Body.Times == 0 {
				b.put(instr{op: opDelay, wait: time.Duration(entry.Body.Gap)})
			}
		}
		b.action(entry.Body, entry.Params != nil, at.Index(index))
		b.params, b.scope = outer, scope
	}
}

func merged(a, b map[string]any) map[string]any {
	m := make(map[string]any, len(a)+len(b))
	for k, v := range a {
		m[k] = v
	}
	for k, v := range b {
		m[k] = v
	}
	return m
}

// An actionKind is a key that says what an action does, with those that may
// stand beside it.
var actionKinds = []struct {
	key  string
	with []string
}{
	{"set", []string{"to", "value", "on", "off", "changed", "step", "min", "max", "for", "extend"}},
	{"publish", []string{"payload", "value", "on", "off", "changed", "retain", "qos"}},
	{"pulse", []string{"for", "to", "on", "off", "retain", "qos"}},
	{"ramp", []string{"from", "to", "value", "over", "every"}},
	{"notify", []string{"via"}},
	{"http", []string{"method", "body", "headers", "retry"}},
	{"delay", []string{"random"}},
	{"wait", []string{"timeout"}},
	{"do", []string{"while", "times", "gap"}},
	{"choose", nil},
	{"parallel", nil},
	{"stop", nil},
	{"enable", nil},
	{"disable", nil},
}

func (b *builder) action(a Action, each bool, at config.Place) {
	kind := b.kind(a, each, at)
	if kind == "" {
		return
	}
	skip := -1
	if len(a.If) > 0 {
		skip = b.put(instr{op: opIf, moreOfInstr: &moreOfInstr{conditions: b.conditionsIn(a.If, at.Key("if"), b.scope)}})
		b.cond++
	}
	switch kind {
	case "set":
		b.set(a, at)
	case "publish":
		b.publish(a, at)
	case "pulse":
		b.pulse(a, at)
	case "ramp":
		b.ramp(a, at)
	case "notify":
		b.notify(a, at)
	case "http":
		b.http(a, at)
	case "delay":
		in := instr{op: opDelay, moreOfInstr: &moreOfInstr{random: time.Duration(a.Random)}}
		b.pause(&in, a.Delay, at.Key("delay"))
		b.put(in)
	case "wait":
		b.wait(a, at)
	case "do":
		b.group(a, at)
	case "choose":
		b.choose(a.Choose, at.Key("choose"))
	case "parallel":
		b.parallel(a, at)
	case "stop":
		if !a.Stop {
			at.Key("stop").Mistake("want stop = true, or leave it out")
		}
		b.put(instr{op: opStop})
	case "enable":
		b.put(instr{op: opEnable, moreOfInstr: &moreOfInstr{name: b.ruleName(a.Enable, at.Key("enable")), enable: true}})
	case "disable":
		b.put(instr{op: opEnable, moreOfInstr: &moreOfInstr{name: b.ruleName(a.Disable, at.Key("disable"))}})
	}
	if skip >= 0 {
		b.cond--
		b.r.program[skip].to = b.here()
	}
}

// kind finds what the action at a place does, and complains about keys that do
// not belong to that.
func (b *builder) kind(a Action, each bool, at config.Place) string {
	given := map[string]bool{"set": len(a.Set) > 0, "publish": a.Publish != "", "pulse": a.Pulse != "", "ramp": a.Ramp != "", "notify": a.Notify != "",
		"http": a.HTTP != "", "delay": a.Delay.given(), "wait": len(a.Wait) > 0, "do": len(a.Do) > 0, "choose": len(a.Choose) > 0,
		"parallel": len(a.Parallel) > 0, "stop": a.Stop, "enable": a.Enable != "", "disable": a.Disable != ""}
	var kinds, all []string
	for _, k := range actionKinds {
		all = append(all, k.key)
		if given[k.key] || at.Key(k.key).Given() { // the second where the value was refused
			kinds = append(kinds, k.key)
		}
	}
	if len(kinds) != 1 {
		what := "none"
		if len(kinds) > 1 {
			what = strings.Join(kinds, " and ")
		}
		at.Mistake("an action does exactly one thing, and this has %s: want one of %s", what, strings.Join(all, ", "))
		return ""
	}
	kind := kinds[0]
	owners := make(map[string][]string)
	for _, k := range actionKinds {
		for _, key := range k.with {
			owners[key] = append(owners[key], k.key)
		}
	}
	for key, of := range owners {
		if !at.Key(key).Given() || slices.Contains(of, kind) || key == "gap" && each {
			continue
		}
		at.Key(key).Mistake("%s belongs to %s, not to %s", key, strings.Join(of, ", "), kind)
	}
	if at.Key("each").Given() && at.Key("gap").Given() && (at.Key("while").Given() || at.Key("times").Given()) {
		at.Key("gap").Mistake("gap is between one round of while or times and the next; with each too it is not clear which is meant: put one of them into a do of its own")
	}
	return kind
}

func (b *builder) set(a Action, at config.Place) {
	given := 0
	for _, set := range []bool{a.To != nil, a.Value != "", a.On != nil || a.Off != nil, a.Step != nil} {
		if set {
			given++
		}
	}
	if given != 1 {
		at.Mistake(`set needs one of: to = true (or "toggle"), value = "an expression", step = 10, or on and off for the begin and the end`)
		return
	}
	if a.Step == nil {
		for _, key := range []string{"min", "max"} {
			if at.Key(key).Given() {
				at.Key(key).Mistake("%s is the limit of a step, and there is none", key)
			}
		}
	}
	if a.Min != nil && a.Max != nil && *a.Min > *a.Max {
		at.Key("max").Mistake("want at least min, which is %v", *a.Min)
	}
	for i, name := range a.Set {
		place := at.Key("set").Index(i)
		in := instr{op: opSend, off: -1, changed: a.Changed, target: b.target(name, place), moreOfInstr: new(moreOfInstr)}
		part := b.parts[in.target.output]
		b.lasting(&in, a, at)
		switch {
		case a.Step != nil:
			if in.target.output != "" && !part.levels() {
				at.Key("step").Mistake("%s is on or off, and has no level: want a variable or a device's property", name)
			}
			in.on = value{kind: step, constant: *a.Step}
			in.limits = [2]*float64{a.Min, a.Max}
			if part.levels() {
				in.limits = b.limits(a, at)
			}
		case a.To != nil:
			in.on = b.level(a.To, part, true, at.Key("to"))
		case a.Value != "":
			in.on = b.computed(a.Value, part.wants(), at.Key("value"))
			if f := in.on.formula; f != nil && part.levels() && !part.takesType(f.Type()) {
				at.Key("value").Mistake("%s wants %s, and this is %s", name, or(part.orders()...), f.Type())
			}
		default:
			if a.On != nil {
				in.on = b.level(a.On, part, false, at.Key("on"))
			}
			if a.Off != nil {
				b.off(&in, a.Off, at.Key("off"), func(raw any, at config.Place) value { return b.level(raw, part, false, at) })
			}
		}
		b.put(in)
	}
}

// pause gives an instruction how long it waits.
func (b *builder) pause(in *instr, p Pause, at config.Place) {
	if in.wait = time.Duration(p.Fixed); p.Text == "" {
		return
	}
	t, err := formula.CompileText(p.Text, b.scope)
	if err != nil {
		b.wrong(err, p.Text, at)
		return
	}
	b.refers(t)
	if plain, ok := t.Plain(); ok {
		at.Mistake("want a duration such as \"5m\", not %q", plain)
	}
	in.waitText = t
}

// lasting is a variable that is set for a time.
func (b *builder) lasting(in *instr, a Action, at config.Place) {
	switch {
	case a.Extend && !a.For.given():
		at.Key("extend").Mistake(`extend makes the time of a variable longer: by how much? Add for = "5m"`)
	case !a.For.given() && !at.Key("for").Given():
	case in.target.variable == "":
		at.Key("for").Mistake(`only a variable is set for a time; an output is on for a time by pulse = %q and for`, in.target.text)
	case !a.For.given():
		at.Key("for").Mistake(`want a time such as "5m"`)
	case a.On != nil || a.Off != nil:
		at.Key("for").Mistake("with on and off the variable is set back at the end of the episode; for belongs to to and value")
	case b.holders[in.target.variable].(*variable).initial == nil:
		at.Key("for").Mistake("after this time %s becomes its initial again, and has none: add initial to [variable.%[1]s]", in.target.variable)
	default:
		b.pause(in, a.For, at.Key("for"))
		in.extend = a.Extend
	}
}

// ramp compiles a level that goes evenly from one value to another.
func (b *builder) ramp(a Action, at config.Place) {
	in := instr{op: opRamp, off: -1, wait: time.Duration(a.Over), moreOfInstr: &moreOfInstr{gap: time.Duration(a.Every)}}
	if strings.Contains(a.Ramp, "/") {
		in.target = b.topicTarget(a.Ramp, at.Key("ramp"))
		switch {
		case a.From != nil:
		case in.target.plain == "":
			at.Mistake("from which level? What was sent last is known of a topic without holes: add from = 0")
		default:
			b.mindful[in.target.plain] = true
			b.use(devices.Source{Filter: in.target.plain})
		}
	} else {
		in.target = b.target(a.Ramp, at.Key("ramp"))
		switch part := b.parts[in.target.output]; part.Takes {
		case "switch":
			at.Key("ramp").Mistake("%s is on or off, and has no level: want a variable, a device's property or a topic", a.Ramp)
		case "cover":
			at.Key("ramp").Mistake("%s moves at its own pace, and would start and stop all the time: want set, with to = 30", a.Ramp)
		case "level":
			if a.From != nil && *a.From != percent(*a.From) {
				at.Key("from").Mistake("want %s", part.orders()[0])
			}
			raw, _ := scalar(a.To)
			if to, number := raw.(float64); number && to != percent(to) {
				at.Key("to").Mistake("want %s", part.orders()[0])
			}
		}
	}
	if a.Over <= 0 {
		at.Mistake(`ramp needs its length: over = "10m"`)
	}
	if in.gap == 0 {
		in.gap = max(time.Second, in.wait/100)
	}
	if a.From != nil {
		in.offValue = value{kind: constant, constant: *a.From}
	}
	switch {
	case (a.To == nil) == (a.Value == ""):
		at.Mistake(`ramp needs one of to = 100 and value = "an expression"`)
	case a.Value != "":
		in.on = b.computed(a.Value, formula.Number, at.Key("value"))
	default:
		to, _ := scalar(a.To)
		if _, number := to.(float64); !number {
			at.Key("to").Mistake("want a number such as 100")
		}
		in.on = value{kind: constant, constant: to}
	}
	b.put(in)
}

// off gives a send its end.
func (b *builder) off(in *instr, raw any, at config.Place, read func(any, config.Place) value) {
	if b.done || b.machine {
		at.Mistake("off is what the end of an episode sends: it stands in the action of a rule")
		return
	}
	if raw == "before" {
		if in.target.plain != "" || in.target.topic != nil {
			at.Mistake(`"before" is known of outputs, variables and devices, not of a topic`)
		}
		in.offValue = value{kind: before}
	} else {
		in.offValue = read(raw, at)
	}
	if len(b.r.offs) == 64 {
		at.Mistake("a rule has at most 64 actions with off")
		return
	}
	in.off, in.always = len(b.r.offs), b.cond == 0
	b.r.offs = append(b.r.offs, b.here())
	b.r.hasOff = true
}

// limits are those of a step of an output, which has levels from 0 to 100.
func (b *builder) limits(a Action, at config.Place) [2]*float64 {
	least, most := 0.0, 100.0
	for key, limit := range map[string]*float64{"min": a.Min, "max": a.Max} {
		switch {
		case limit == nil:
		case *limit != percent(*limit):
			at.Key(key).Mistake("want a level from 0 to 100")
		case key == "min":
			least = *limit
		default:
			most = *limit
		}
	}
	return [2]*float64{&least, &most}
}

// level is a configured level: of an output what it takes, or toggle; of others,
// which are no part, also any value.
func (b *builder) level(raw any, part Part, toggle bool, at config.Place) value {
	if s, ok := raw.(string); ok && strings.EqualFold(strings.TrimSpace(s), "toggle") {
		if !toggle {
			at.Mistake("want true or false")
		}
		return value{kind: constant, constant: devices.Toggle{}}
	}
	if part.Takes == "" {
		if s, ok := raw.(string); ok {
			return b.template(s, at)
		}
		return b.payload(raw, at)
	}
	if v, ok := scalar(raw); ok {
		told, ok := part.order(v)
		if level, number := told.(float64); ok && (!number || level == percent(level)) {
			return value{kind: constant, constant: told}
		}
	}
	want := part.orders()
	if toggle {
		want = append(want, `"toggle"`)
	}
	at.Mistake("want %s", or(want...))
	return value{kind: constant, constant: false}
}

func (b *builder) publish(a Action, at config.Place) {
	in := instr{op: opSend, off: -1, changed: a.Changed, retain: a.Retain, qos: byte(a.QoS), target: b.topicTarget(a.Publish, at.Key("publish")), moreOfInstr: new(moreOfInstr)}
	given := 0
	for _, set := range []bool{a.Payload != nil, a.Value != "", a.On != nil || a.Off != nil} {
		if set {
			given++
		}
	}
	if given != 1 {
		at.Mistake(`publish needs one of: payload, value = "an expression", or on and off for the begin and the end`)
		return
	}
	if a.Changed {
		if in.target.topic != nil {
			at.Key("changed").Mistake("what was sent last is known of a topic without holes")
		} else if in.target.plain != "" {
			b.mindful[in.target.plain] = true
			b.use(devices.Source{Filter: in.target.plain})
		}
	}
	switch {
	case a.Payload != nil:
		in.on = b.payload(a.Payload, at.Key("payload"))
	case a.Value != "":
		in.on = b.computed(a.Value, formula.Any, at.Key("value"))
	default:
		if a.On != nil {
			in.on = b.payload(a.On, at.Key("on"))
		}
		if a.Off != nil {
			b.off(&in, a.Off, at.Key("off"), b.payload)
		}
	}
	b.put(in)
}

func (b *builder) pulse(a Action, at config.Place) {
	in := instr{op: opPulse, off: -1, retain: a.Retain, qos: byte(a.QoS), moreOfInstr: new(moreOfInstr)}
	b.pause(&in, a.For, at.Key("for"))
	if strings.Contains(a.Pulse, "/") {
		in.target = b.topicTarget(a.Pulse, at.Key("pulse"))
	} else {
		in.target = b.target(a.Pulse, at.Key("pulse"))
		if in.target.variable != "" {
			at.Key("pulse").Mistake("%s is a variable; want an output, a device or a topic", a.Pulse)
		}
		if a.Retain {
			at.Key("retain").Mistake("an output has no retained commands: retain is for a topic")
		}
	}
	if !a.For.given() && !at.Key("for").Given() {
		at.Mistake(`pulse needs its length: for = "60s"`)
	}
	in.on, in.offValue = value{kind: constant, constant: true}, value{kind: constant, constant: false}
	topic := in.target.plain != "" || in.target.topic != nil
	switch part := b.parts[in.target.output]; {
	case a.To == nil:
	case !part.levels():
		at.Key("to").Mistake("%s is on, then off: to is the level of an output that has levels", a.Pulse)
	default:
		to, _ := scalar(a.To)
		if told, ok := part.order(to); ok && !switchesOn(told) {
			at.Key("to").Mistake("a pulse is on for a time, then off: want a number above 0, such as 40")
			break
		}
		in.on = b.level(a.To, part, false, at.Key("to"))
	}
	for key, raw := range map[string]any{"on": a.On, "off": a.Off} {
		switch {
		case raw == nil:
		case !topic:
			at.Key(key).Mistake("a pulse of an output is on, then off; on and off are the payloads of a pulse to a topic")
		case key == "on":
			in.on = b.payload(raw, at.Key(key))
		default:
			in.offValue = b.payload(raw, at.Key(key))
		}
	}
	b.put(in)
}

func (b *builder) notify(a Action, at config.Place) {
	n, retain := b.notifier(a.Via, at)
	if n == nil {
		return
	}
	in := instr{op: opNotify, off: -1, on: b.template(a.Notify, at.Key("notify")), retain: retain, moreOfInstr: new(moreOfInstr)}
	if n.Topic != "" {
		in.target = target{plain: n.Topic, text: n.Topic}
	} else {
		in.http = &httpCall{method: "POST", url: value{kind: constant, constant: n.URL}, body: in.on,
			retry: []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute}}
	}
	b.put(in)
}

func (b *builder) http(a Action, at config.Place) {
	call := &httpCall{method: a.Method}
	if call.method == "" {
		call.method = "POST"
	}
	call.url = b.template(a.HTTP, at.Key("http"))
	if !strings.HasPrefix(a.HTTP, "http://") && !strings.HasPrefix(a.HTTP, "https://") {
		at.Key("http").Mistake(`want an address such as "http://192.168.1.5/ring"`)
	}
	if a.Body != nil {
		call.body = b.payload(a.Body, at.Key("body"))
	}
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		place := at.Key("headers").Key(name)
		if !isToken(name) {
			place.Mistake("want the name of a header, such as Authorization")
		}
		if call.header == nil {
			call.header = make(map[string]value)
		}
		call.header[name] = b.template(a.Headers[name], place)
	}
	for _, gap := range a.Retry {
		call.retry = append(call.retry, time.Duration(gap.Duration))
	}
	b.put(instr{op: opHTTP, off: -1, moreOfInstr: &moreOfInstr{http: call}})
}

// isToken reports whether name can be that of a header (RFC 9110, 5.1).
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

func (b *builder) wait(a Action, at config.Place) {
	if len(a.Wait) == 0 {
		at.Key("wait").Mistake(`want a trigger to wait for, such as { state = "pir", is = false }`)
	}
	in := instr{op: opWait, wait: time.Duration(a.Timeout), moreOfInstr: new(moreOfInstr)}
	for i, one := range a.Wait {
		place := at.Key("wait").Index(i)
		t := b.trigger(one, place)
		for _, key := range []string{"until", "min_on", "distinct", "random", "id", "from", "changed"} {
			if place.Key(key).Given() {
				place.Key(key).Mistake("%s has no meaning in a wait", key)
			}
		}
		if t.start {
			place.Mistake("the start of the hub can't be waited for")
		}
		t.index = i
		in.triggers = append(in.triggers, t)
	}
	b.r.waits = append(b.r.waits, in.triggers...)
	b.put(in)
}

func (b *builder) group(a Action, at config.Place) {
	loop := len(a.While) > 0 || a.Times > 0
	if a.Gap > 0 && !loop && b.params == nil && !at.Key("each").Given() {
		at.Key("gap").Mistake("gap is between one round and the next: it needs each, times or while")
	}
	if !loop {
		b.actions(a.Do, at.Key("do"))
		return
	}
	b.put(instr{op: opLoop})
	top := b.here()
	leave := -1
	if len(a.While) > 0 {
		leave = b.put(instr{op: opIf, moreOfInstr: &moreOfInstr{conditions: b.conditionsIn(a.While, at.Key("while"), b.scope)}})
	}
	b.cond++
	b.actions(a.Do, at.Key("do"))
	b.cond--
	round := b.put(instr{op: opRound, moreOfInstr: &moreOfInstr{times: a.Times}})
	if a.Gap > 0 {
		b.put(instr{op: opDelay, wait: time.Duration(a.Gap)})
	}
	b.put(instr{op: opJump, to: top})
	out := b.put(instr{op: opLeave})
	b.r.program[round].to = out
	if leave >= 0 {
		b.r.program[leave].to = out
	}
}

func (b *builder) choose(list config.List[Choice], at config.Place) {
	var ends []int
	for i, c := range list {
		place := at.Index(i)
		next := -1
		if len(c.If) > 0 {
			next = b.put(instr{op: opIf, moreOfInstr: &moreOfInstr{conditions: b.conditionsIn(c.If, place.Key("if"), b.scope)}})
		} else if i < len(list)-1 {
			place.Mistake("this way is always gone, so what follows never is: give it an if, or put it last")
		}
		b.cond++
		b.actions(c.Do, place.Key("do"))
		b.cond--
		ends = append(ends, b.put(instr{op: opJump}))
		if next >= 0 {
			b.r.program[next].to = b.here()
		}
	}
	for _, i := range ends {
		b.r.program[i].to = b.here()
	}
}

func (b *builder) parallel(a Action, at config.Place) {
	fork := b.put(instr{op: opFork})
	b.put(instr{op: opJoin})
	jump := b.put(instr{op: opJump})
	for i, list := range a.Parallel {
		b.r.program[fork].ways = append(b.r.program[fork].ways, b.here())
		b.actions(list, at.Key("parallel").Index(i))
		b.end()
	}
	b.r.program[jump].to = b.here()
}

// payload is a configured payload: text with holes, a number, a boolean, or a
// table.
func (b *builder) payload(raw any, at config.Place) value {
	if s, ok := raw.(string); ok {
		return b.template(s, at)
	}
	if v, ok := scalar(raw); ok {
		return value{kind: constant, constant: v}
	}
	switch raw := raw.(type) {
	case map[string]any:
		m := make(map[string]any, len(raw))
		secret := false
		for k, e := range raw {
			part := b.payload(e, at.Key(k))
			m[k], secret = part, secret || part.secret
		}
		return value{kind: table, constant: m, secret: secret}
	case []any:
		list := make([]any, len(raw))
		secret := false
		for i, e := range raw {
			part := b.payload(e, at.Index(i))
			list[i], secret = part, secret || part.secret
		}
		return value{kind: table, constant: list, secret: secret}
	}
	if _, err := json.Marshal(raw); err != nil {
		at.Mistake("can't be sent as JSON: %v", err)
	} else {
		at.Mistake("want text, a number, true/false or a table, not a date")
	}
	return value{}
}

// sees notes what a formula reaches for. What it may compare with a secret is not
// told.
// refers notes what an expression looks at.
func (b *builder) refers(f interface{ Names() []string }) {
	b.compiler.refers(f)
	b.r.message = b.r.message || slices.Contains(f.Names(), "msg")
}

func (b *builder) sees(f *formula.Formula) {
	b.refers(f)
	if len(f.Secrets()) == 0 {
		return
	}
	b.r.secret = true
	for _, s := range f.Sources() {
		b.hidden[topicOf(b.sources[s], s)] = true
	}
}

func (b *builder) template(s string, at config.Place) value {
	t, err := formula.CompileText(s, b.scope)
	if err != nil {
		b.wrong(err, s, at)
		return value{}
	}
	b.refers(t)
	if plain, ok := t.Plain(); ok {
		return value{kind: constant, constant: b.same(Values{plain})[0]}
	}
	return value{kind: text, text: t, secret: len(t.Secrets()) > 0}
}

func (b *builder) computed(s string, want formula.Type, at config.Place) value {
	f, err := formula.Compile(s, b.scope, want)
	if err != nil {
		b.wrong(err, s, at)
		return value{}
	}
	b.sees(f)
	return value{kind: computed, formula: f, secret: len(f.Secrets()) > 0}
}

// topicTarget is a topic to publish to.
func (b *builder) topicTarget(s string, at config.Place) target {
	t, err := formula.CompileText(s, b.scope)
	if err != nil {
		b.wrong(err, s, at)
		return target{}
	}
	b.refers(t)
	plain, ok := t.Plain()
	if !ok {
		return target{topic: t, text: s}
	}
	b.topic(plain, at)
	return target{plain: plain, text: s}
}

// target is what set and pulse name.
func (b *builder) target(name string, at config.Place) target {
	if strings.Contains(name, "{") {
		t, err := formula.CompileText(name, b.scope)
		if err != nil {
			b.wrong(err, name, at)
		} else {
			b.refers(t)
		}
		for _, d := range b.devices { // any of them may be meant
			b.use(b.property(d, ""))
		}
		return target{name: t, text: name}
	}
	t, err := b.named(name)
	if err != "" {
		at.Mistake("%s", err)
	}
	if t.device != nil { // what it reports is known, for toggle, step and changed
		b.use(b.property(t.device, t.property))
	}
	return t
}

// carryLink compiles the one action of a link.
func (b *builder) carryLink(to string, at config.Place) target {
	if strings.Contains(to, "/") {
		return b.topicTarget(to, at)
	}
	return b.target(to, at)
}

func (v value) String() string {
	switch v.kind {
	case constant:
		return fmt.Sprint(v.constant)
	case computed, text:
		return "computed"
	case table:
		return "a table"
	case before:
		return "what was before"
	}
	return "nothing"
}
