package hub

import (
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/store"
)

// How the hub learns of the devices that announce themselves: called.go has their names,
// reports.go what they say, told.go what they are told and desk.go what people are shown.

const (
	// What announces itself at once, as after a start, is taken up at once.
	settleAfter = 20 * time.Millisecond
	// How old the newest values of devices may be after a power cut.
	keepDevicesAfter = 10 * time.Minute
	// How soon a device may be asked again what it is, and how many questions are remembered.
	askAgainAfter = 5 * time.Second
	maxAsked      = 5000
)

// found is what the hub knows of the devices that announce themselves.
type found struct {
	registry *catalog.Registry
	settle   *time.Timer
	settling bool                              // something was learned that does not count yet
	early    []devices.Message                 // what came meanwhile on topics of which nobody knew yet
	waiting  map[string][]chan catalog.Change  // by device and property: those who wait for an answer
	warned   map[string]bool                   // of what rules want in vain, as unmet says it
	lookUp   *outbox[[]string]                 // of the retained messages of topics
	asked    map[catalog.Message]time.Duration // monotonic: when a device was asked that last, to say what it is
}

// What is held until it is known whose it is.
const (
	earlyKept    = 500
	earlyPayload = 4 << 10
)

// openDevices takes up what is kept of devices.
func (h *Hub) openDevices() {
	h.devices = found{registry: catalog.NewRegistry(h.isTaken, h.givenName), settle: time.NewTimer(0), waiting: make(map[string][]chan catalog.Change), warned: make(map[string]bool), asked: make(map[catalog.Message]time.Duration)}
	h.devices.settle.Stop()
	for key, record := range h.store.Each(store.Device) {
		if err := h.devices.registry.Restore(key, record); err != nil {
			h.log.Error("what is kept of a device can't be read, leaving it out", "record", key, "err", err)
			h.store.Put(store.Record{Kind: store.Device, Key: key}, keepReadingsAfter, nil)
		}
	}
	for _, f := range h.devices.registry.Filters() {
		h.announcements.Set(f, struct{}{}, struct{}{})
	}
	h.devices.lookUp = newOutbox(h.lookUpRetained)
	h.devices.registry.Settle(h.now().Wall)
	h.index.Store(h.devices.registry.Index())
	if h.devices.registry.Unsettled() {
		h.willSettle() // with what is retained
	}
}

// learn takes a message in which a device may have said what it is.
func (h *Hub) learn(m devices.Message) {
	if !m.Initial {
		defer h.unlearned.Add(-1) // which receive counted
	}
	stale, ask := h.devices.registry.Take(m)
	for _, a := range ask {
		if !h.mayAsk(a) {
			continue
		}
		if err := h.tellDevice(a, devices.Origin{By: "discovery"}); err != nil {
			h.log.Error("a device was not asked what it is", "topic", a.Topic, "err", err)
		}
	}
	if stale && !h.devices.settling {
		h.willSettle()
	}
}

// mayAsk says whether a device may be asked something now: not what it was asked a moment ago. One
// that says a thousand times that it is here is not asked for all it has each time.
func (h *Hub) mayAsk(a catalog.Message) bool {
	now := h.now().Mono
	if last, ok := h.devices.asked[a]; ok && now-last < askAgainAfter {
		return false
	}
	if len(h.devices.asked) >= maxAsked {
		maps.DeleteFunc(h.devices.asked, func(_ catalog.Message, last time.Duration) bool { return now-last >= askAgainAfter })
	}
	if len(h.devices.asked) >= maxAsked {
		return false
	}
	h.devices.asked[a] = now
	return true
}

// willSettle lets what was learned count in a moment.
func (h *Hub) willSettle() {
	h.devices.settling = true
	h.unlearned.Add(1)
	h.devices.settle.Reset(settleAfter)
}

// holdEarly keeps a message that was no known device's report while there are devices that
// are not known yet: it may be theirs. A bridge that starts says what it has, and at once how
// all of that is.
func (h *Hub) holdEarly(m devices.Message) {
	if h.devices.settling && !m.Initial && !m.Retain && m.Origin.By == "" && len(m.Payload) <= earlyPayload && len(h.devices.early) < earlyKept {
		h.devices.early = append(h.devices.early, m)
	}
}

// settleNext does a part of what a long announcement brings, so that others have their turn
// between: what is left of it, then what follows from all, then what is kept of that.
func (h *Hub) settleNext() {
	switch {
	case h.devices.registry.Rest():
		h.devices.settle.Reset(0)
	case h.devices.settling:
		h.countDevices()
	default:
		h.keepDevices(5*time.Second, false)
	}
	h.tellRules(h.devices.registry.Turned(), devices.Message{})
}

// countDevices lets what was learned count from now on. It is kept a little later.
func (h *Hub) countDevices() {
	others := h.settleDevices()
	for _, name := range others {
		h.isAnother(name)
	}
	h.reportEarly()
}

// settleDevices brings names and the index in line with what was learned, and gives the names
// that mean another device now, or none. Of a list that is read in parts the rest follows, and
// what is nobody's is held until then.
func (h *Hub) settleDevices() (others []string) {
	before := len(h.devices.registry.All())
	had := h.seated()
	topics := h.devices.registry.Settle(h.now().Wall)
	h.index.Store(h.devices.registry.Index())
	if h.devices.settling && !h.devices.registry.Waits() {
		h.devices.settling = false
		h.unlearned.Add(-1) // after the index is there, see receive
	}
	if n := len(h.devices.registry.All()); n != before {
		h.log.Info("devices that announced themselves", "known", n)
		if n < before {
			h.tellAll() // no page goes on showing what is gone
		}
	}
	h.missRenamed()
	h.tellUnits()
	h.noteSecrets()
	if len(topics) > 0 {
		h.devices.lookUp.put(topics)
	}
	h.devices.settle.Reset(0) // the rest, or what is kept of them, is next
	for _, entry := range h.cfg.Device {
		id := had[entry.Name]
		if _, there := h.devices.registry.Find(entry.Name); id != "" && (!there || !h.hasSeat(entry.Name, id)) {
			others = append(others, entry.Name)
		}
	}
	return others
}

// reportEarly takes what was held, now that it may be known whose it is.
func (h *Hub) reportEarly() {
	early := h.devices.early
	h.devices.early = nil
	for _, m := range early {
		values := h.devices.registry.Index().Read(m)
		h.report(values, m)
		if len(values) == 0 {
			h.holdEarly(m)
		}
	}
}

// rejudge judges what is announced by the rights that its announcers have by now.
func (h *Hub) rejudge() {
	for m := range h.broker.Retained() {
		if m.Rights != nil && h.announces(m.Topic) {
			h.devices.registry.Rejudge(m.Topic, m.Rights.Publish)
		}
	}
	if h.devices.registry.Unsettled() && !h.devices.settling {
		h.willSettle()
	}
}

// lookUpRetained finds what had been said on topics before it was known that they matter.
func (h *Hub) lookUpRetained(topics []string) {
	wanted := make(map[string]bool, len(topics))
	var filters []string
	for _, t := range topics {
		wanted[t] = true
		if strings.Contains(t, "+") {
			filters = append(filters, t)
		}
	}
	known := h.known.Load()
	for m := range h.broker.Retained() {
		matches := func(filter string) bool { return devices.MatchTopic(filter, m.Topic) }
		if (wanted[m.Topic] || slices.ContainsFunc(filters, matches)) && !isControl(m.Topic) { // which must not be obeyed again
			it := h.item(known, m, true)
			it.readings, it.announces = nil, false
			h.inbox.always(it)
		}
	}
}

// keepDevices gives the store what changed of devices: what they are, and maybe what they
// report, which would wear out a card if it were written each time.
func (h *Hub) keepDevices(within time.Duration, values bool) {
	var put []store.Record
	for key, record := range h.devices.registry.Changes(values) {
		put = append(put, store.Record{Kind: store.Device, Key: key, Value: record})
	}
	if len(put) > 0 {
		h.store.PutAll(put, within, nil)
	}
}
