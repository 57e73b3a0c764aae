package hub

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hearth/broker"
	"hearth/config"
	"hearth/control"
	"hearth/devices"
	"hearth/history"
	"hearth/replay"
	"hearth/rules"
	"hearth/why"
)

// whyTopic is where clients ask why something is as it is. The payload is a name, or
// {"name": "heater", "at": "07:30", "reply": "a/topic"}.
const whyTopic = "hearth/why"

// whysAtOnce is how many questions may wait for their answer, each of which may take some
// milliseconds of a processor.
const whysAtOnce = 16

// longestWhy is how many bytes a question may have. A topic may have 64 KiB, and a name no more
// than history takes.
const longestWhy = 8 << 10

// A whyQuestion is one that a client has asked.
type whyQuestion struct {
	Name  string `json:"name"`
	At    string `json:"at"`
	Reply string `json:"reply"` // of clients that can't say it as MQTT 5 does

	wrong       error // with the question
	correlation []byte
	hears       func(topic string) bool // what its client may receive; nil: anything
}

// beside is what stands in a question beside its parts.
func beside(payload []byte) map[string]json.RawMessage {
	all := make(map[string]json.RawMessage)
	if json.Unmarshal(payload, &all) != nil {
		return nil
	}
	maps.DeleteFunc(all, func(key string, _ json.RawMessage) bool {
		return slices.ContainsFunc([]string{"name", "at", "reply"}, func(part string) bool { return strings.EqualFold(part, key) })
	})
	return all
}

// Why says why something is as it is, or was at a moment as a person types it; "" is now. A
// [control.Mistake] says what is wrong with the question.
func (h *Hub) Why(ctx context.Context, name, at string) (why.Answer, error) {
	a, _, err := h.why(ctx, name, at)
	return a, err
}

// A mention is a text that stands in an answer where it tells of some topics.
type mention struct {
	text   string
	topics []string
}

// in says whether it stands there, and not only as a part of a longer name.
func (m mention) in(text []byte) bool {
	quoted, err := json.Marshal(m.text)
	if err != nil {
		return false
	}
	word := bytes.TrimSuffix(bytes.TrimPrefix(quoted, []byte(`"`)), []byte(`"`))
	for rest := text; ; {
		i := bytes.Index(rest, word)
		if i < 0 {
			return false
		}
		if rest = rest[i+len(word):]; !goesOn(rest) {
			return true
		}
	}
}

// goesOn says that a topic does not end where this follows.
func goesOn(text []byte) bool {
	r, _ := utf8.DecodeRune(text)
	return r == '/' || r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// why also gives what an answer may tell of.
func (h *Hub) why(ctx context.Context, name, at string) (why.Answer, []mention, error) {
	type asked struct {
		why.Question
		past     *history.History
		house    replay.House
		mentions []mention
		err      error
	}
	got, err := ask(ctx, h, func() (a asked) {
		now := h.now()
		now.Wall = now.Wall.In(h.cfg.zone())
		when := now.Wall
		if at != "" {
			if when, a.err = before(at, now.Wall); a.err != nil {
				return a
			}
		}
		thing, err := h.thing(name)
		if a.err = err; err != nil {
			return a
		}
		switch a.past = h.past; {
		case !h.cfg.History.On():
			a.err = errNoHistory
			return a
		case h.past == nil:
			a.err = errors.New("nobody knows, for " + h.pastTrouble)
			return a
		}
		a.Question, a.house = why.Ask(h.engine, thing), h.cfg.Replay()
		a.At, a.Zone, a.Live = when, h.cfg.zone(), at == "" || when.Equal(now.Wall)
		if a.Live {
			a.Stands = why.Stand(h.engine, a.Acts, now)
			for _, i := range slices.Concat(h.pins.Outputs(), h.pins.Covers()) {
				switch {
				case i.Name != thing.Name:
				case i.Waits != "":
					a.Limits = append(a.Limits, i.Waits)
				case i.Fault != "":
					a.Limits = append(a.Limits, i.Fault)
				}
			}
		}
		h.cfg.bound(&a.Question)
		a.mentions = h.mentions(thing)
		for _, r := range a.Rivals {
			a.mentions = append(a.mentions, mention{r.Name, []string{topic(r.Name, "state")}})
		}
		return a
	})
	switch {
	case err != nil:
		return why.Answer{}, nil, err
	case got.err != nil:
		return why.Answer{}, nil, control.Mistaken(got.err)
	}
	if !got.Live {
		if got.Stands, err = stood(bounded(ctx, got.past.Entries(got.At)), got.house, got.Question); err != nil {
			return why.Answer{}, nil, err
		}
	}
	a, err := why.Why(within{got.past, ctx}, got.Question)
	return a, append(got.mentions, recorded(got.past)...), err
}

// stood is where the rules stood at the moment of a question: where what was recorded since
// the checkpoint before it brings an engine. It is nil where that can't be known, because
// another configuration was in force or nothing is recorded from then.
func stood(entries replay.Entries, house replay.House, q why.Question) (map[string][]string, error) {
	engine, last, err := replay.At(entries, house, q.At)
	switch {
	case errors.Is(err, replay.ErrNoCheckpoint) || errors.Is(err, replay.ErrOtherConfig):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return why.Stand(engine, q.Acts, last.Add(max(q.At.Sub(last.Wall), 0))), nil
}

// recorded is every topic of which something was recorded, as an answer names it: what was
// decided before a reload may tell of others than the rules of now.
func recorded(past *history.History) (all []mention) {
	for _, name := range past.Names() {
		if topic := topicOf(name); strings.Contains(topic, "/") {
			all = append(all, mention{name, []string{topic}})
		}
	}
	return all
}

// topicOf is the topic of a source; all of it, if a capture brought what no configuration could.
func topicOf(source string) string {
	if s, err := devices.ParseSource(source); err == nil {
		return s.Filter
	}
	topic, _, _ := strings.Cut(source, ":")
	return topic
}

// mentions is every source of the house as an answer names it, and the thing asked about.
// What is the house's own is told on its topics below hearth/.
func (h *Hub) mentions(of rules.Thing) (all []mention) {
	for _, s := range append(h.engine.Sources(), devices.Source{Name: of.Device}) {
		d, announced := h.devices.registry.Find(s.Name)
		switch {
		case s.Filter != "":
			all = append(all, mention{s.String(), []string{s.Filter}})
		case s.Name != "" && announced:
			m := mention{text: s.Name}
			for _, p := range d.Properties {
				for _, r := range p.Reports {
					m.topics = append(m.topics, r.Topic)
				}
			}
			all = append(all, m)
		case s.Name != "":
			all = append(all, mention{s.Name, []string{topic(s.Name, "state")}})
		}
	}
	base, _, _ := strings.Cut(of.Name, ".")
	if of.Device == "" && !strings.Contains(base, "/") {
		all = append(all, mention{base, []string{topic(base, "state")}})
	}
	for _, t := range of.Topics {
		if !isControl(t) {
			all = append(all, mention{t, []string{t}})
		}
	}
	return all
}

// thing finds what a name means here: what the configuration names, or a device that
// announced itself.
func (h *Hub) thing(name string) (rules.Thing, error) {
	if name == "" {
		return rules.Thing{}, errors.New("want the name of what to explain: an output, a device or a property of one, a topic, a variable, a machine or a rule")
	}
	t, ok := h.cfg.thing(h.engine, name)
	if wired := h.wiredCalled(name); !ok && wired != name {
		name = wired
		t, ok = h.cfg.thing(h.engine, name)
	}
	s, property, announced := h.propertyCalled(name)
	switch {
	case announced && (!ok || t.Kind == "device" && t.Device != ""):
		t = rules.Announced(s.Called)
		if p, err := s.Property(property); err == nil && (property != "" || len(s.Properties) > 0) {
			t = rules.Announced(s.Called + "." + p.Name)
			if t.Name = name; p.Name == s.Properties[0].Name { // which the device's name stands for
				t.Sources, t.Of = append(t.Sources, s.Called), ""
			}
		} else if property != "" {
			return t, fmt.Errorf("%s has no property %s", s.Called, property)
		}
	case !ok:
		return t, notCalled(name, slices.Concat(h.engine.Called(), h.devices.registry.Names()))
	}
	return t, nil
}

// before is a moment that has been, as a person types it. A whole second counts to its end:
// what an answer says happened at 10:03:26 had happened then.
func before(text string, now time.Time) (time.Time, error) {
	at, err := config.When(text, now)
	switch {
	case err != nil:
		return at, err
	case at.After(now):
		return at, fmt.Errorf("%q is still to come: want a time before %s", text, now.Format(time.DateTime))
	case at.Nanosecond() == 0 && !at.Equal(now):
		if at = at.Add(time.Second - time.Microsecond); at.After(now) {
			at = now
		}
	}
	return at, nil
}

func notCalled(name string, known []string) error {
	if near, ok := config.Nearest(name, known); ok {
		return fmt.Errorf("nothing here is called %q, did you mean %q?", name, near)
	}
	return fmt.Errorf("nothing here is called %q: hearth devices lists devices, and the configuration names the rest", name)
}

// thing finds what a name means in the configuration.
func (c *Config) thing(e *rules.Engine, name string) (rules.Thing, bool) {
	for _, o := range c.Output { // what is told there follows from what switches it
		if o.Value.Topic == name {
			name = o.Name
		}
	}
	if cover, ok := strings.CutSuffix(name, "."+coverPosition); ok && slices.Contains(c.Cover.Names(), cover) {
		name = cover // of which that is the value
	}
	return e.Thing(name)
}

// Why is what history alone says, of a house whose hub does not run: the chain, and which
// rules could have acted. Where they stood is known of a moment in the past only.
func (c *Config) Why(name, at string) (why.Answer, error) {
	zone := c.zone()
	now := time.Now().In(zone)
	if at != "" {
		var err error
		if now, err = before(at, now); err != nil {
			return why.Answer{}, err
		}
	}
	past, done, err := c.readHistory()
	if err != nil {
		return why.Answer{}, err
	}
	defer done()
	e := rules.New(c.Logic, c.house(), new(devices.Registry), config.Place{})
	t, ok := c.thing(e, name)
	if !ok {
		known := e.Called()
		for _, s := range past.Series() {
			known = append(known, s.Name)
			if base, _, _ := strings.Cut(s.Name, "."); s.Name == name || base == name {
				t, ok = rules.Announced(s.Name), true
				t.Name = name
			}
		}
		if !ok {
			return why.Answer{}, notCalled(name, known)
		}
	}
	q := why.Ask(e, t)
	q.At, q.Zone = now, zone
	c.bound(&q)
	if at != "" {
		if q.Stands, err = stood(past.Entries(now), c.Replay(), q); err != nil {
			return why.Answer{}, err
		}
	}
	return why.Why(past, q)
}

// bound adds to a question about an output what it is declared to be together with.
func (c *Config) bound(q *why.Question) {
	if q.Thing.Kind != "output" {
		return
	}
	for _, v := range c.Cover {
		if v.Value.Up == q.Thing.Name || v.Value.Down == q.Thing.Name {
			q.Cover = v.Name
		}
	}
	for _, lock := range c.Interlock {
		if !slices.Contains(lock.Value.Outputs, q.Thing.Name) {
			continue
		}
		for _, o := range lock.Value.Outputs {
			if o != q.Thing.Name {
				q.Rivals = append(q.Rivals, why.Rival{Name: o, Lock: "interlock." + lock.Name})
			}
		}
	}
}

// Why answers an administrator.
func (d desk) Why(ctx context.Context, name, at string) (json.RawMessage, error) {
	a, err := d.Hub.Why(ctx, name, at)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// askWhy takes a question of a client. The answer is found off the loop.
func (h *Hub) askWhy(it *item) {
	m := it.message
	if m.Topic != whyTopic || m.Initial {
		return
	}
	q := whyQuestion{correlation: it.correlation, hears: it.hears}
	warn := func(msg string, args ...any) { // who asks all the time must not fill the log
		if h.whysTold.more(h.clock.Mono()) {
			h.log.Warn(msg, args...)
		}
	}
	if len(m.Payload) > longestWhy {
		warn("a question on hearth/why was not understood", "err", fmt.Sprintf("it has %d bytes", len(m.Payload)))
		return
	}
	text := strings.TrimSpace(string(m.Payload))
	if strings.HasPrefix(text, "{") {
		if err := json.Unmarshal(m.Payload, &q); err != nil {
			warn("a question on hearth/why was not understood", "err", err)
			q.wrong = errors.New(`this is not understood: want a name, or {"name": "heater", "at": "07:30"}`)
		}
		if keys := slices.Sorted(maps.Keys(beside(m.Payload))); len(keys) > 0 {
			q.wrong = fmt.Errorf("%q is nothing that a question has: want name, at or reply", keys[0])
		}
	} else {
		q.Name = text
	}
	if q.Reply = cmp.Or(it.replyTo, q.Reply); q.Reply == "" {
		q.Reply = whyTopic + "/" + plainLevel(q.Name)
	} else if !h.mayAnswer(q.Reply, m) {
		warn("who asked why may not publish where the answer is to go, so there is none", "topic", printable(q.Reply), "name", printable(q.Name))
		return
	}
	if h.whysWait.Add(1) > whysAtOnce || h.whys.put(q) != nil {
		h.whysWait.Add(-1)
		warn("too many ask why at once, so one had no answer", "name", printable(q.Name))
	}
}

// mayAnswer says whether an answer may go to a topic: one that the asker could publish to
// itself, and that commands nothing.
func (h *Hub) mayAnswer(topic string, m *devices.Message) bool {
	if devices.CheckTopic(topic) != nil || isControl(topic) {
		return false
	}
	if level, below := strings.CutPrefix(topic, whyTopic+"/"); below {
		return !strings.Contains(level, "/")
	}
	return h.mayPublish(topic) && (m.May == nil || m.May(topic))
}

// plainLevel is a name as one level of a topic.
func plainLevel(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("/+#", r) || r < ' ' {
			return '_'
		}
		return r
	}, cmp.Or(name, "_"))
}

// answerWhy finds the answer to a client's question, and publishes it. It is called by the
// goroutine of the outbox.
func (h *Hub) answerWhy(q whyQuestion) {
	defer h.whysWait.Add(-1)
	began := h.clock.Mono()
	defer func() { h.rest(restAfter(h.clock.Mono() - began)) }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var said any
	a, mentions, err := why.Answer{}, []mention(nil), q.wrong
	if err == nil {
		a, mentions, err = h.why(ctx, q.Name, q.At)
	}
	if err == nil {
		said, err = a, mayHear(a, mentions, q.hears)
	}
	if err != nil {
		said = struct {
			Name  string `json:"name"`
			Error string `json:"error"`
		}{q.Name, err.Error()}
	}
	b, err := json.Marshal(said)
	if err == nil {
		err = h.mqtt.put(broker.Message{Topic: q.Reply, Payload: b, Correlation: q.correlation, Origin: devices.Origin{By: "why"}})
	}
	if err != nil {
		h.log.Error("why was not answered", "name", printable(q.Name), "err", err)
	}
}

// restAfter is how long no question is answered after one that took so long: who asks all the
// time must leave the loop, and a small processor, to the house.
func restAfter(took time.Duration) time.Duration { return min(3*took, 2*time.Second) }

// rest waits, but not when the hub ends.
func (h *Hub) rest(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-h.ended:
	}
}

// mayHear is an error unless who asks may receive every topic of which an answer tells: what
// conditions saw is in it, too.
func mayHear(a why.Answer, mentions []mention, hears func(topic string) bool) error {
	if hears == nil {
		return nil
	}
	for _, l := range a.Because.Links() {
		if topic := topicOf(l.Name); strings.Contains(topic, "/") && l.What != why.Webhook {
			mentions = append(mentions, mention{l.Name, []string{topic}})
		}
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	for _, m := range mentions {
		if !m.in(text) {
			continue
		}
		for _, t := range m.topics {
			if !hears(t) {
				return fmt.Errorf("the answer tells of %s, which this user may not receive", t)
			}
		}
	}
	return nil
}

// noteWait has history remember that an output does not obey yet, and why.
func (h *Hub) noteWait(output string) {
	if h.past == nil {
		return
	}
	for _, i := range h.pins.Outputs() {
		if i.Name == output && i.Waits != "" {
			h.noteHub(why.NoteWaits, output, i.Waits)
		}
	}
}
