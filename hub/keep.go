package hub

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/broker"
	"hearth/devices"
	"hearth/rules"
	"hearth/store"
)

// keepSoon lets what changed in the rules be kept before long.
func (h *Hub) keepSoon() {
	if !h.keeping {
		h.keeping = true
		h.keepRules.Reset(keepRulesAfter)
	}
}

// keepEngine hands the store the state of every rule that moved. done, if given,
// is called once they are on disk.
func (h *Hub) keepEngine(done func(error)) {
	h.keeping = false
	h.keepRules.Stop()
	states := h.engine.Changes(h.now(), h.clock.Boot)
	for i, name := range slices.Sorted(maps.Keys(states)) {
		r := store.Record{Kind: store.Engine, Key: name}
		if states[name].Hash != "" {
			r.Value = encode(states[name])
		}
		// The store commits in order, so the last one speaks for all.
		if i == len(states)-1 {
			h.store.Put(r, 0, done)
		} else {
			h.store.Put(r, 0, nil)
		}
	}
	if len(states) == 0 && done != nil {
		done(nil)
	}
}

// A kept reading is the last value of a source, for conditions after a restart.
type kept struct {
	Topic string    `json:"topic"`
	Value any       `json:"value"`
	Text  string    `json:"text"`
	Wall  time.Time `json:"wall"`
	Known bool      `json:"known"` // the clock was known to be right
}

// keepReadings hands the store the last values that are new. Pins are left out:
// they are read at every start.
func (h *Hub) keepReadings() {
	for _, r := range h.registry.Changes() {
		if r.Topic == "" {
			continue
		}
		k := kept{Topic: r.Topic, Value: r.Value, Text: r.Text, Wall: r.At.Wall, Known: r.At.Known}
		h.store.Put(store.Record{Kind: store.Reading, Key: r.Source, Value: encode(k)}, 0, nil)
	}
}

// encode never fails on what Hearth keeps: plain values without NaN.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("hub: " + err.Error())
	}
	return b
}

// restore takes up what the last life left: last values, where the rules stood,
// and then, as what is found at start, the retained messages.
func (h *Hub) restore() {
	now := h.now()
	named := h.named()
	for source, value := range h.store.Each(store.Reading) {
		var k kept
		if !named[source] || json.Unmarshal(value, &k) != nil || k.Value == nil {
			h.store.Put(store.Record{Kind: store.Reading, Key: source}, keepReadingsAfter, nil)
			continue
		}
		h.registry.Apply(devices.Reading{Source: source, Topic: k.Topic, Value: k.Value, Text: k.Text, Initial: true, Restored: true,
			At: devices.Now{Wall: k.Wall, Known: k.Known}})
	}
	h.registry.Changes() // these are kept already
	states := make(map[string]rules.State)
	for name, value := range h.store.Each(store.Engine) {
		var s rules.State
		if err := json.Unmarshal(value, &s); err != nil {
			h.log.Error("where a rule stood can't be read; it starts anew", "rule", name, "err", err)
			continue
		}
		states[name] = s
	}
	for topic, value := range h.store.Each(store.Owed) {
		var c devices.Command
		if json.Unmarshal(value, &c) == nil && c.Topic == topic {
			h.awaited[topic] = c
		} else {
			h.store.Put(store.Record{Kind: store.Owed, Key: topic}, 0, nil)
		}
	}
	h.adopt(states, now)
	known := h.known.Load()
	for m := range h.broker.Retained() {
		if isSet(m.Topic) || known.index.Takes(m.Topic) {
			h.inbox.always(h.item(known, m, true))
		}
	}
	// Behind all that is found, pins included.
	h.inbox.always(&item{control: func() { h.obey(h.engine.Start(h.now())) }})
}

// named is every source that the rules name.
func (h *Hub) named() map[string]bool {
	named := make(map[string]bool)
	for _, s := range h.engine.Sources() {
		named[s.String()] = true
	}
	return named
}

// adopt gives the engine the states of its rules and forgets those of rules
// that are gone.
func (h *Hub) adopt(states map[string]rules.State, now devices.Now) {
	h.obey(h.engine.Restore(states, now, h.clock.Boot))
	for name := range states {
		if !h.engine.Has(name) {
			h.store.Put(store.Record{Kind: store.Engine, Key: name}, 0, nil)
		}
	}
	h.keepSoon()
}

// announce says that the hub and its pins are there, and takes back what an
// earlier configuration said of names that are gone.
func (h *Hub) announce() {
	names := append(h.cfg.Output.Names(), h.cfg.Input.Names()...)
	for m := range h.broker.Retained() {
		parts := strings.Split(m.Topic, "/")
		if parts[0] == "hearth" && len(parts) == 3 && parts[2] != "set" && !slices.Contains(names, parts[1]) {
			h.say(m.Topic, "")
		}
	}
	h.say("hearth/status", "online")
}

// said is the origin of what the hub says by itself: that of the reading it tells
// of, for whoever listens to hearth/<name>/state must see the same loop and the
// same start as who listens to the pin.
type said struct {
	devices.Origin
	initial bool
}

// sayPin publishes what a pin reported.
func (h *Hub) sayPin(r devices.Reading) {
	from := said{r.Origin, r.Initial}
	if r.Bad != "" {
		h.sayFrom(from, topic(r.Source, "availability"), "offline")
		return
	}
	h.sayFrom(from, topic(r.Source, "availability"), "online")
	h.sayFrom(from, topic(r.Source, "state"), devices.Text(r.Value))
}

// say publishes a retained message of the hub's own, if it says something new.
// An empty payload takes an earlier one back.
func (h *Hub) say(topic, payload string) { h.sayFrom(said{}, topic, payload) }

func (h *Hub) sayFrom(from said, topic, payload string) {
	if last, ok := h.published[topic]; ok && last == payload {
		return
	}
	h.published[topic] = payload
	if err := h.mqtt.put(broker.Message{Topic: topic, Payload: []byte(payload), Retain: true, Origin: from}); err != nil {
		delete(h.published, topic)
		h.log.Error("a state was not published", "topic", topic, "err", err)
	}
}

// stop ends the house in order: what has arrived is dealt with, the outputs get
// their safe state, everybody is told, and what must be kept is kept.
func (h *Hub) stop() error {
	h.inbox.close()
	h.drain()
	h.keepEngine(nil)
	h.openAll()
	close(h.ended)
	err := h.pins.Close()
	for it := h.inbox.take(); it != nil; it = h.inbox.take() {
		for _, r := range it.readings { // of the pins: they are safe now
			h.sayPin(r)
		}
	}
	for _, name := range append(h.cfg.Output.Names(), h.cfg.Input.Names()...) {
		h.say(topic(name, "availability"), "offline")
	}
	h.say("hearth/status", "offline")
	h.keepEngine(nil)
	h.keepReadings()
	h.close()
	return err
}

// close ends all that New started and has not ended yet.
func (h *Hub) close() {
	h.inbox.close()
	if h.mqtt != nil {
		h.mqtt.finish()
	}
	if h.web != nil {
		h.web.Close()
	}
	if h.broker != nil {
		h.broker.Close()
	}
	if h.pins != nil {
		h.pins.Close()
	}
	if h.store != nil {
		if err := h.store.Close(); err != nil {
			h.log.Error("not all could be kept", "err", err)
		}
	}
	for watcher := range h.watchers {
		close(watcher)
	}
	h.watchers = nil
	h.lines.finish()
}
