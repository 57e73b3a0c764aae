package hub

import (
	"cmp"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/bridge"
	"hearth/broker"
	"hearth/devices"
	"hearth/rules"
	"hearth/store"
)

// keepSoon lets what changed be kept: at once, or half a second after the last
// time, so that what changes together costs one write.
func (h *Hub) keepSoon() {
	if !h.keeping {
		h.keeping = true
		h.keepRules.Reset(max(0, h.lastKept+keepRulesAfter-h.clock.Mono()))
	}
}

// keepEngine hands the store the state of every rule that moved. done, if given,
// is called once they are on disk.
func (h *Hub) keepEngine(done func(error)) {
	h.keeping = false
	h.lastKept = h.clock.Mono()
	h.keepRules.Stop()
	put := h.keepNews()
	states := h.engine.Changes(h.now(), h.clock.Boot)
	for _, name := range slices.Sorted(maps.Keys(states)) {
		r := store.Record{Kind: store.Engine, Key: name}
		if states[name].Hash != "" {
			r.Value = encode(states[name])
		}
		if states[name].Lazy && !h.mayKeep(r, burstKept, lazyKept) {
			h.later[recordName(r)] = r
			continue
		}
		put = append(put, r)
	}
	for _, r := range put {
		delete(h.later, recordName(r))
	}
	// All at once: a rule that had not ended yet over a calc that ended it would not
	// do so after a crash.
	if len(put) > 0 {
		h.store.PutAll(put, 0, done)
	} else if done != nil {
		done(nil)
	}
}

// A card lives for years if what changes often is written seldom. Of what is no
// decision a record may be written a few times at once, and then only so often;
// the newest is written with the others every keepReadingsAfter, and at the stop.
const (
	burstKept = 10
	lazyKept  = time.Minute      // of a calc, or what "changed" compares with
	wordsKept = 30 * time.Second // of a reading that is no number and another than before
)

// due says how often a record may still be written.
type due struct {
	tokens float64
	at     time.Duration // monotonic
}

// mayKeep takes one of burst writes, of which one comes back after each every.
func (h *Hub) mayKeep(r store.Record, burst float64, every time.Duration) bool {
	now, name := h.clock.Mono(), recordName(r)
	d := h.due[name]
	if d == nil {
		d = &due{burst, now}
		h.due[name] = d
	}
	d.tokens = min(burst, d.tokens+float64(now-d.at)/float64(every))
	d.at = now
	if d.tokens < 1 {
		return false
	}
	d.tokens--
	return true
}

// wasQuiet reports whether a record has not been asked for during
// keepReadingsAfter: the number of a sensor that speaks seldom is written at
// once, that of one that speaks often only with the others.
func (h *Hub) wasQuiet(r store.Record) bool {
	now, name := h.clock.Mono(), recordName(r)
	d := h.due[name]
	if d == nil {
		d = &due{at: now - keepReadingsAfter}
		h.due[name] = d
	}
	quiet := now-d.at >= keepReadingsAfter
	d.at = now
	return quiet
}

func recordName(r store.Record) string { return r.Kind.String() + " " + r.Key }

// A kept reading is the last value of a source, for conditions after a restart.
type kept struct {
	Topic string    `json:"topic"`
	Of    string    `json:"of,omitempty"`    // the source with captures that it came by
	Parts []string  `json:"parts,omitempty"` // what they stood for
	Value any       `json:"value"`
	Text  string    `json:"text"`
	Wall  time.Time `json:"wall"`
	Known bool      `json:"known"`        // the clock was known to be right
	By    string    `json:"by,omitempty"` // the id of the device, of one that announced itself
}

// keepNews is the readings that are new and may be written now; the others wait. Pins
// are left out: they are read at every start.
func (h *Hub) keepNews() (put []store.Record) {
	changes := h.registry.Changes()
	if len(changes) == 0 {
		return nil
	}
	seated := h.seated()
	for _, r := range changes {
		if r.Topic == "" {
			continue
		}
		k := kept{Topic: r.Topic, Value: r.Value, Text: r.Text, Wall: r.At.Wall, Known: r.At.Known}
		if c := r.Captured; c != nil {
			k.Of, k.Parts = c.Source, c.Values
		}
		name, _, _ := strings.Cut(r.Source, ".")
		k.By = seated[name]
		rec := store.Record{Kind: store.Reading, Key: r.Source, Value: encode(k)}
		soon := h.turned[r.Source]
		if _, number := r.Value.(float64); number {
			soon = h.wasQuiet(rec) || soon
		} else if !reflect.DeepEqual(r.Old, r.Value) {
			soon = h.mayKeep(rec, burstKept, wordsKept) || soon
		}
		if !soon {
			h.later[recordName(rec)] = rec
			continue
		}
		put = append(put, rec)
	}
	clear(h.turned)
	return put
}

// keepNoMore forgets what is kept of a source of which nothing is known any more.
func (h *Hub) keepNoMore(source string) {
	r := store.Record{Kind: store.Reading, Key: source}
	delete(h.later, recordName(r))
	delete(h.turned, source)
	h.store.Put(r, keepReadingsAfter, nil)
}

// keepLater hands the store what was not to be written at once.
func (h *Hub) keepLater() {
	put := h.keepNews()
	for _, r := range put {
		delete(h.later, recordName(r))
	}
	for _, name := range slices.Sorted(maps.Keys(h.later)) {
		put = append(put, h.later[name])
	}
	clear(h.later)
	if len(put) > 0 {
		h.store.PutAll(put, 0, nil)
	}
}

// seedKey is the record of the seed, among those of the rules, none of which is
// called so.
const seedKey = "seed"

// lifeSeed is the seed of what is random in rules: drawn once, so that a moment
// that was drawn is the same after a restart.
func (h *Hub) lifeSeed() uint64 {
	if h.opt.Seed != 0 {
		return h.opt.Seed
	}
	for name, value := range h.store.Each(store.Engine) {
		if seed, err := strconv.ParseUint(string(value), 10, 64); name == seedKey && err == nil {
			return seed
		}
	}
	seed := rand.Uint64()
	h.store.Put(store.Record{Kind: store.Engine, Key: seedKey, Value: strconv.AppendUint(nil, seed, 10)}, 0, nil)
	return seed
}

// lifeKey is the record of how often the hub has started, and whether it has ended: "7
// ended".
const lifeKey = "life"

// nextLife is the number of this life of the hub.
func (h *Hub) nextLife() uint64 {
	life := uint64(0)
	for name, value := range h.store.Each(store.Engine) {
		if name == lifeKey {
			number, end, _ := strings.Cut(string(value), " ")
			life, _ = strconv.ParseUint(number, 10, 64)
			h.crashed = end != "ended"
		}
	}
	life++
	h.keepLife(life, "")
	return life
}

func (h *Hub) keepLife(life uint64, end string) {
	value := strings.TrimSpace(strconv.FormatUint(life, 10) + " " + end)
	h.store.Put(store.Record{Kind: store.Engine, Key: lifeKey, Value: []byte(value)}, 0, nil)
}

// encode never fails on what Hearth keeps: plain values without NaN. If one slips in
// all the same its record says nothing, which is read as nothing kept: a value must
// not take the house down.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return b
}

// takeUp is what the last life left: last values, and where the rules stood. What
// is to be done at once for those that are gone is returned, for there are no
// pins yet: how they start depends on this.
func (h *Hub) takeUp() []rules.Decision {
	var left []devices.Reading
	named := h.named()
	for source, value := range h.store.Each(store.Reading) {
		var k kept
		sound := json.Unmarshal(value, &k) == nil && k.Value != nil
		name, _, _ := strings.Cut(source, ".")
		another := k.By != "" && !h.hasSeat(name, k.By) // the configuration was changed meanwhile
		if !sound || another || !named[source] && !named[k.Of] {
			h.store.Put(store.Record{Kind: store.Reading, Key: source}, keepReadingsAfter, nil)
			continue
		}
		r := devices.Reading{Source: source, Topic: k.Topic, Value: k.Value, Text: k.Text, Initial: true, Restored: true,
			At: devices.Now{Wall: k.Wall, Known: k.Known}}
		if k.Of != "" {
			r.Captured = &devices.Capture{Source: k.Of, Values: k.Parts}
		}
		left = append(left, r)
	}
	states := make(map[string]rules.State)
	for name, value := range h.store.Each(store.Engine) {
		if name == seedKey || name == lifeKey {
			continue
		}
		var s rules.State
		if err := json.Unmarshal(value, &s); err != nil {
			h.log.Error("where a rule stood can't be read; it starts anew", "rule", name, "err", err)
			continue
		}
		states[name] = s
	}
	for at, value := range h.store.Each(store.Owed) {
		var c devices.Command
		if json.Unmarshal(value, &c) == nil && place(c) == at {
			h.awaited[at] = c
		} else {
			h.store.Put(store.Record{Kind: store.Owed, Key: at}, 0, nil)
		}
	}
	ds := h.adopt(rules.Open, h.life<<32, states, left)
	h.registry.Changes() // these are kept already
	return ds
}

// find puts what is found at start into the inbox: the retained messages, behind
// the levels of the pins; and behind all of that the start of the rules.
func (h *Hub) find() {
	known := h.known.Load()
	for m := range h.broker.Retained() {
		if h.takes(known, m.Topic) {
			h.inbox.always(h.item(known, m, true))
		}
	}
	h.inbox.always(&item{control: func() { h.obey(h.happen(rules.Event{Kind: rules.Begin})) }})
}

// named is every source that the rules name.
func (h *Hub) named() map[string]bool {
	named := make(map[string]bool)
	for _, s := range h.engine.Sources() {
		named[s.String()] = true
	}
	return named
}

// adopt gives a new engine the states of its rules, and what is left of the readings of
// another life, and forgets the states of rules that are gone. What these owe is returned.
// decided is the ID of the last decision.
func (h *Hub) adopt(how rules.EventKind, decided uint64, states map[string]rules.State, left []devices.Reading) []rules.Decision {
	ds := h.happen(rules.Event{Kind: how, State: h.houseOf(&rules.Checkpoint{Decided: decided, States: states, Readings: left})})
	for name := range states {
		if !h.engine.Has(name) {
			h.store.Put(store.Record{Kind: store.Engine, Key: name}, 0, nil)
		}
	}
	h.keepSoon()
	return ds
}

// appear says that the hub and its pins are there, and takes back what an
// earlier configuration said of names that are gone.
func (h *Hub) appear() {
	names := h.cfg.wired()
	for m := range h.broker.Retained() {
		parts := strings.Split(m.Topic, "/")
		if h.cfg.bridgeGone(m.Topic) || h.logicGone(m.Topic) || parts[0] == "hearth" && len(parts) == 3 && parts[2] != "set" && !slices.Contains(names, parts[1]) {
			h.say(m.Topic, "")
		}
	}
	h.say(status, "online")
	h.sayLogic()
	h.sayHealth()
	h.announce()
	h.say(bridge.HouseTopic, h.houseName())
}

// said is the origin of what the hub says by itself: that of the reading it tells
// of, for whoever listens to hearth/<name>/state must see the same loop and the
// same start as who listens to the pin.
type said struct {
	devices.Origin
	initial bool
}

// sayPin publishes what something wired reported: its own value as state, that of
// a property by its name.
func (h *Hub) sayPin(r devices.Reading) {
	from := said{r.Origin, r.Initial}
	name, what, _ := strings.Cut(r.Source, ".")
	what = cmp.Or(what, "state")
	if r.Gone {
		h.sayFrom(from, topic(name, what), "")
	}
	if r.Bad != "" {
		h.sayFrom(from, topic(name, "availability"), "offline")
		return
	}
	h.sayFrom(from, topic(name, "availability"), "online")
	if !r.Gone {
		h.sayFrom(from, topic(name, what), devices.Text(r.Value))
	}
}

// sayEvent publishes what happened to something wired: hearth/button/press. Nobody
// is to find it later; but whoever was away for a moment, such as a bridge, and has
// a session, gets it: hence QoS 1, also for states.
func (h *Hub) sayEvent(r devices.Reading) {
	name, what, _ := strings.Cut(r.Source, ".")
	if err := h.mqtt.put(broker.Message{Topic: topic(name, what), Payload: []byte(r.Text), QoS: 1, Origin: said{r.Origin, false}}); err != nil {
		h.log.Error("an event was not published", "topic", topic(name, what), "err", err)
	}
}

// say publishes a retained message of the hub's own, if it says something new.
// An empty payload takes an earlier one back.
func (h *Hub) say(topic, payload string) { h.sayFrom(said{}, topic, payload) }

func (h *Hub) sayFrom(from said, topic, payload string) {
	if last, ok := h.published[topic]; ok && last == payload {
		return
	}
	h.published[topic] = payload
	if err := h.mqtt.put(broker.Message{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true, Origin: from}); err != nil {
		delete(h.published, topic)
		h.log.Error("a state was not published", "topic", topic, "err", err)
	}
}

// stop ends the house in order: what has arrived is dealt with, the outputs get
// their safe state, everybody is told, and what must be kept is kept.
func (h *Hub) stop() error {
	h.inbox.close()
	h.drain()
	for h.devices.registry.Rest() {
	}
	if h.devices.settling { // who is gone must not be back after a restart
		h.countDevices()
	}
	h.keepEngine(nil)
	h.openAll()
	close(h.ended)
	err := h.pins.Close()
	h.sensors.Close()
	for it := h.inbox.take(); it != nil; it = h.inbox.take() {
		for _, r := range it.readings {
			if r.Topic == "" && !r.Event { // of the pins: they are safe now
				h.sayPin(r)
				h.recordSeen(r)
			}
		}
	}
	for _, name := range h.cfg.wired() {
		h.say(topic(name, "availability"), "offline")
	}
	h.say(status, "offline")
	h.keepEngine(nil)
	h.keepLater()
	h.keepDevices(0, true)
	h.keepLife(h.life, "ended")
	h.noteHub("stop", "", "")
	h.close()
	return err
}

// close ends all that New started and has not ended yet.
func (h *Hub) close() {
	h.inbox.close()
	if h.control != nil {
		h.control.End()
	}
	if h.saver != nil {
		h.saver.close()
	}
	if h.http != nil {
		h.http.finish()
	}
	if h.pins != nil { // before what its outputs speak through
		if err := h.pins.Close(); err != nil {
			h.log.Error("not every output is safe", "err", err)
		}
	}
	if h.sensors != nil {
		h.sensors.Close()
	}
	if h.buses != nil { // what its users left open
		h.buses.Close()
	}
	if h.devices.lookUp != nil {
		h.devices.lookUp.finish()
	}
	if h.words != nil {
		h.words.finish()
	}
	if h.whys != nil { // before what its answers go through
		h.whys.finish()
	}
	if h.mqtt != nil {
		h.mqtt.finish()
	}
	if h.pushers != nil {
		h.pushers.Close()
	}
	if h.web != nil {
		h.web.Close()
	}
	if h.bridges != nil { // after what was said last, which they still pass
		h.bridges.Close()
	}
	if h.broker != nil {
		h.broker.Close()
	}
	if h.better != nil { // after the broker, at whose door they are made
		h.better.finish()
	}
	if h.control != nil { // after the broker, for whose answer it may wait
		h.control.Wait()
	}
	if h.past != nil {
		if err := h.past.Close(); err != nil {
			h.log.Error("not all of history is on disk", "err", err)
		}
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
	if h.dog != nil { // last, for what hangs at the end is a reset too
		h.dog.set("", nil)
	}
	h.lines.finish()
}
