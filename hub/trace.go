package hub

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"hearth/broker"
	"hearth/devices"
	"hearth/rules"
)

// tracesKept is how many decisions of each rule can be asked for.
const tracesKept = 20

// A trace is a decision as it is published on hearth/rule/<name>/trace. The
// names of its fields are stable; fields may be added.
type trace struct {
	ID       uint64       `json:"id,string"` // of all decisions of the house; as text, for it is larger than many can count
	Follows  uint64       `json:"follows,omitempty,string"`
	At       time.Time    `json:"at"`
	Rule     string       `json:"rule"`
	Instance string       `json:"instance,omitempty"`
	Trigger  string       `json:"trigger,omitempty"`
	Message  *traceCause  `json:"message,omitempty"` // what set it off; none if time did
	Checks   []traceCheck `json:"conditions,omitempty"`
	Outcome  string       `json:"outcome"`
	Why      string       `json:"why,omitempty"`
	Sets     []string     `json:"sets,omitempty"`
	Commands []string     `json:"commands,omitempty"`
	Latency  float64      `json:"latency_ms"` // from the message, or the moment it was due, to the decision
}

type traceCause struct {
	Source string   `json:"source"`
	Topic  string   `json:"topic,omitempty"`
	Text   string   `json:"text"`
	From   []string `json:"from,omitempty"` // the rules it follows from
	By     string   `json:"by,omitempty"`   // who asked
}

type traceCheck struct {
	Text string `json:"text"`
	Saw  string `json:"saw"`
	OK   bool   `json:"ok"`
}

func (h *Hub) traceOf(d rules.Decision) trace {
	t := trace{ID: d.ID, Follows: d.Follows, At: d.At.Wall, Rule: d.Rule, Instance: d.Instance, Trigger: d.Trigger, Outcome: string(d.Outcome), Why: printable(d.Why),
		Sets: d.Sets, Latency: float64((h.clock.Mono() - d.At.Mono).Microseconds()) / 1000}
	if c := d.Cause; c != nil {
		t.Message = &traceCause{c.Source, c.Topic, printable(c.Text), c.Origin.Rules, c.Origin.By}
	}
	for _, c := range d.Checks {
		t.Checks = append(t.Checks, traceCheck(c))
	}
	for _, c := range d.Commands {
		t.Commands = append(t.Commands, printable(c.String()))
	}
	return t
}

// keepTrace remembers a decision for who may ask.
func (h *Hub) keepTrace(d rules.Decision) {
	list := h.traces[d.Rule]
	if len(list) == tracesKept {
		list = append(list[:0], list[1:]...)
	}
	h.traces[d.Rule] = append(list, h.traceOf(d))
}

// Topics of a rule, below hearth/rule/<name>/. "lamps[kitchen]" is a name too.
const (
	ruleSet      = "set"       // ON or OFF: let the rule run, or not
	ruleEnabled  = "enabled"   // says which; retained
	ruleTrace    = "trace"     // its last decisions, and why it does not fire now
	ruleTraceGet = "trace/get" // any message asks for them
)

// ruleTopic takes a topic of a rule apart.
func ruleTopic(topic string) (name, what string, ok bool) {
	rest, ok := strings.CutPrefix(topic, "hearth/rule/")
	if !ok {
		return "", "", false
	}
	name, what, ok = strings.Cut(rest, "/")
	return name, what, ok && name != "" && (what == ruleSet || what == ruleTraceGet)
}

// askRule obeys what is published for a rule.
func (h *Hub) askRule(m devices.Message) {
	name, what, ok := ruleTopic(m.Topic)
	if !ok || m.Initial {
		return
	}
	if what == ruleTraceGet {
		h.tellTrace(name)
		return
	}
	d := rules.Decision{At: h.now(), Rule: m.Topic, Outcome: rules.Blocked, Cause: &devices.Reading{Topic: m.Topic, Text: string(m.Payload)}}
	on, isLevel := devices.OnOff(string(m.Payload))
	switch {
	case m.Retain:
		d.Why = "the command is retained, so nobody knows how old it is"
	case !isLevel:
		d.Why = "want ON or OFF"
	default:
		if _, found := h.engine.Enabled()[name]; found {
			h.obey(h.happen(rules.Event{Kind: rules.Enable, Name: name, On: on}))
			return
		}
		if _, there := h.cfg.Rule.Get(name); there {
			d.Why = "rule." + name + " has enabled = false in the configuration, and only there it can be let run"
			break
		}
		d.Why = unknownName("rule", name, h.cfg.Rule.Names()).Error()
		d.Rule = "hearth/rule/+/set" // anybody may invent names, and each would be remembered
	}
	h.obeyOwn(d)
}

// sayEnabled publishes whether a rule may run.
func (h *Hub) sayEnabled(name string, on bool) {
	h.say("hearth/rule/"+name+"/"+ruleEnabled, devices.Text(on))
}

// tellTrace publishes what a rule did last, and why it does not fire now.
func (h *Hub) tellTrace(name string) {
	answer := struct {
		Rule   string   `json:"rule"`
		WhyNot []string `json:"why_not"`
		Last   []trace  `json:"last"`
	}{Rule: name, WhyNot: h.engine.WhyNot(name, h.now()), Last: []trace{}}
	if answer.WhyNot == nil {
		answer.WhyNot = []string{}
	}
	for _, kind := range []string{"rule.", "link.", "machine.", ""} {
		for rule, list := range h.traces {
			if base, _, _ := strings.Cut(rule, "["); base == kind+name || rule == kind+name {
				answer.Last = append(answer.Last, list...)
			}
		}
		if len(answer.Last) > 0 {
			break
		}
	}
	slices.SortStableFunc(answer.Last, func(a, b trace) int { return a.At.Compare(b.At) })
	if len(answer.Last) == 0 && len(answer.WhyNot) == 0 {
		answer.WhyNot = []string{unknownName("rule", name, h.cfg.Rule.Names()).Error()}
	}
	b, err := json.Marshal(answer)
	if err != nil {
		h.log.Error("a trace can't be told", "rule", name, "err", err)
		return
	}
	if err := h.mqtt.put(broker.Message{Topic: "hearth/rule/" + name + "/" + ruleTrace, Payload: b, Origin: devices.Origin{By: "trace"}}); err != nil {
		h.log.Error("a trace was not published", "rule", name, "err", err)
	}
}
