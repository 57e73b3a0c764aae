package hub

import (
	"slices"
	"strings"
	"time"

	"hearth/broker"
	"hearth/devices"
	"hearth/devices/announce"
	"hearth/gpio"
	"hearth/rules"
)

// names is the part of the configuration that the edges look at. It is made
// anew at each reload and never changes.
type names struct {
	index  *devices.Index
	merges map[string]bool // what rules look at: whether of several numbers only the newest matters
	zone   *time.Location
	wired  map[string]bool // by name

	homeassistant announce.Config
}

func newNames(cfg *Config, engine *rules.Engine) *names {
	n := &names{
		index:  devices.NewIndex(slices.Concat(engine.Sources(), cfg.included(engine))),
		merges: make(map[string]bool),
		zone:   cfg.zone(),
		wired:  make(map[string]bool),

		homeassistant: cfg.HomeAssistant,
	}
	for _, s := range engine.Sources() {
		n.merges[s.String()] = engine.Coalesces(s.String())
	}
	for _, name := range cfg.wired() {
		n.wired[name] = true
	}
	return n
}

// topic is one of the hub's own: hearth/porch_light/state.
func topic(name, what string) string { return "hearth/" + name + "/" + what }

// receive is called by the broker for every message, on the goroutine of whoever
// published it; what it returns, in the order of all messages. Where that returns a
// channel, the acknowledgement of QoS 1 and 2 is withheld until it is closed.
func (h *Hub) receive(m broker.Message) (take func() (hold <-chan struct{})) {
	h.ears.overhear(m)
	known := h.known.Load()
	early := h.unlearned.Load() > 0 // looked at first: when it is over there is another index
	if !h.takes(known, m.Topic) && !early {
		return nil
	}
	it := h.item(known, m, false)
	return func() <-chan struct{} {
		if it.announces && !it.message.Initial {
			h.unlearned.Add(1)
		}
		if _, ok := m.Origin.(word); ok {
			// An output on a topic waits for nobody: its limits hold while the loop
			// is stalled. They are few, for each follows from a command or a limit.
			h.inbox.always(it)
			return nil
		}
		if m.QoS == 0 && m.Origin == nil && !m.Found { // of which many come at once, and are not said again
			if !h.inbox.try(it) && it.announces && !it.message.Initial {
				h.unlearned.Add(-1)
			}
			return nil
		}
		// The hub's own messages are commands: they wait like those that want an
		// acknowledgement. It is the outbox that waits, not the loop.
		return h.inbox.put(it, m.Origin != nil)
	}
}

// takes says whether the hub has anything to do with a topic.
func (h *Hub) takes(known *names, topic string) bool {
	return isControl(topic) || known.homeassistant.IsBirth(topic) || known.index.Takes(topic) || h.index.Load().Takes(topic) || h.announces(topic)
}

// announces says whether something says on a topic what it is, other than this house.
func (h *Hub) announces(topic string) bool { return h.announcements.Any(topic) && !h.isOwn(topic) }

// item is a message made ready for the loop.
func (h *Hub) item(known *names, m broker.Message, initial bool) *item {
	msg := devices.Message{Topic: m.Topic, Payload: m.Payload, Retain: m.Retain, Initial: initial || m.Found}
	if m.Rights != nil {
		msg.May = m.Rights.Publish
	}
	switch from := m.Origin.(type) {
	case devices.Origin:
		msg.Origin = from
	case word:
		msg.Origin = from.Origin
	case said:
		msg.Origin, msg.Initial = from.Origin, initial || from.initial
	}
	it := &item{message: &msg, readings: known.index.Normalize(msg, h.now()), index: h.index.Load(), announces: h.announces(m.Topic)}
	it.values = it.index.Read(msg)
	if m.Topic == whyTopic {
		it.replyTo, it.correlation = m.ReplyTo, m.Correlation
		if m.Rights != nil {
			it.hears = m.Rights.Receive
		}
	}
	if isControl(m.Topic) || m.QoS > 0 || len(it.readings) == 0 || len(it.values) > 0 || it.announces {
		return it
	}
	merge := m.Topic
	for _, r := range it.readings {
		if _, number := r.Value.(float64); !number || !known.merges[r.Source] {
			return it
		}
		merge += "\x00" + r.Source // a partial update takes the place of its like only
	}
	it.merge = merge
	return it
}

// feed is called by the pins for every level they see, from any goroutine.
func (h *Hub) feed(r devices.Reading) {
	h.inbox.always(&item{readings: []devices.Reading{r}})
}

// mayPublish keeps clients from saying what only the hub can know.
func (h *Hub) mayPublish(topic string) bool {
	return isControl(topic) || !strings.HasPrefix(topic, "hearth/") && !h.isOwn(topic)
}

// isControl reports whether topic commands the hub, an output, a rule or a machine, or asks
// it something.
func isControl(topic string) bool {
	_, _, rule := ruleTopic(topic)
	_, machine := machineSet(topic)
	return rule || machine || isSet(topic) || topic == whyTopic
}

// isSet reports whether topic commands an output, whether or not there is one.
func isSet(topic string) bool {
	return strings.HasPrefix(topic, "hearth/") && strings.HasSuffix(topic, "/set") && strings.Count(topic, "/") == 2
}

// set obeys hearth/<output>/set. It answers the message as any rule would: with
// a decision that says why.
func (h *Hub) set(m devices.Message) {
	if !isSet(m.Topic) || m.Initial && len(m.Payload) == 0 {
		return
	}
	name := strings.Split(m.Topic, "/")[1]
	if _, ok := h.cfg.Counter.Get(name); ok {
		h.setTotal(name, m)
		return
	}
	d := rules.Decision{At: h.now(), Rule: m.Topic, Outcome: rules.Fired, Cause: &devices.Reading{Topic: m.Topic, Text: string(m.Payload), At: h.now(), Origin: m.Origin}}
	part, ok := h.cfg.part(name)
	c, err := gpio.ParseSet(m.Payload, part.Takes)
	switch {
	case !ok:
		d.Rule = "hearth/+/set" // anybody may invent names, and each would be remembered
		d.Outcome, d.Why = rules.Blocked, unknownName("output", name, h.cfg.settable()).Error()
	case (m.Retain || m.Initial) && !h.cfg.obeysRetained(name):
		d.Outcome, d.Why = rules.Blocked, "the command is retained, so nobody knows how old it is; retained_set = true would allow it"
	case err != nil:
		d.Outcome, d.Why = rules.Blocked, err.Error()
	case c.Value == devices.Toggle{} && part.Takes != "cover": // which knows itself
		now, _ := h.registry.Level(name)
		c.Value = !now
	}
	if d.Outcome == rules.Fired {
		origin := m.Origin
		if origin.By == "" {
			origin.By = m.Topic
		}
		c.Output, c.Origin = name, origin
		h.happen(rules.Event{Kind: rules.Tell, Name: name, Value: c.Value})
		d.Commands = []devices.Command{c}
	}
	h.obeyOwn(d)
}

// setTotal obeys hearth/<counter>/set, whose message is what the meter shows.
func (h *Hub) setTotal(name string, m devices.Message) {
	word := strings.TrimSpace(string(m.Payload))
	d := rules.Decision{At: h.now(), Rule: m.Topic, Outcome: rules.Fired, Cause: &devices.Reading{Topic: m.Topic, Text: word, At: h.now(), Origin: m.Origin}, Why: "the total was set"}
	total, err := gpio.ParseTotal(word)
	switch {
	case m.Retain || m.Initial: // it would be set again at every start
		d.Outcome, d.Why = rules.Blocked, "the total is retained, so nobody knows how old it is"
	case err != nil:
		d.Outcome, d.Why = rules.Blocked, err.Error()
	default:
		if err := h.pins.SetTotal(name, total); err != nil {
			d.Outcome, d.Why = rules.Blocked, err.Error()
		}
	}
	h.obeyOwn(d)
}
