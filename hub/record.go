package hub

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/history"
	"hearth/rules"
)

// checkpointAfter is how often history is told where everything stands. A replay begins at
// the last one before what it is to show.
const checkpointAfter = time.Hour

// openHistory takes up what is remembered of earlier lives. A house without history is a
// house all the same, so what goes wrong is only told.
func (h *Hub) openHistory() {
	if h.opt.FS != nil { // history has no disk of tests
		return
	}
	past, err := history.Open(h.cfg.DataDir(), h.cfg.History, history.Options{Log: h.log, Now: h.now, Zone: h.cfg.zone(), Boot: h.clock.Boot})
	if err != nil {
		h.pastTrouble = "what happens is not recorded: " + err.Error()
		h.log.Error("what happens is not recorded", "err", err)
		return
	}
	h.past = past
	for _, found := range past.Health().Found {
		h.log.Warn("history was found damaged", "what", found)
	}
	text := ""
	if h.crashed {
		text = "the hub had not ended in order"
	}
	h.noteHub("start", h.opt.Version, text)
}

// historyTrouble is why history is not whole; "" if it is.
func (h *Hub) historyTrouble() string {
	if h.past == nil {
		return h.pastTrouble
	}
	if err := h.past.Health().Err; err != "" {
		return "the disk refuses what happened: " + err
	}
	return ""
}

// historyUses has history obey the configuration that is in force now.
func (h *Hub) historyUses(cfg *Config) {
	if h.past == nil {
		return
	}
	h.past.Use(cfg.History)
	h.noteHub("reload", "", "")
	h.tellUnits()
}

// happen lets one thing happen to the rules, and to the registry of values: nothing else may
// change either of them. It is recorded first.
func (h *Hub) happen(ev rules.Event) []rules.Decision {
	if ev.At == (devices.Now{}) {
		ev.At = h.now()
	}
	if h.past != nil {
		h.past.Event(h.engine.Masked(ev))
	}
	return h.engine.Take(ev)
}

// houseOf fills in of a checkpoint what the engine does not know.
func (h *Hub) houseOf(cp *rules.Checkpoint) *rules.Checkpoint {
	cp.Boot, cp.Life, cp.Seed, cp.Config = h.clock.Boot, h.life, h.seed, h.cfg.sum
	return cp
}

// checkpoint tells history where everything stands.
func (h *Hub) checkpoint() {
	if h.past == nil || !h.resumed {
		return
	}
	now := h.now()
	h.past.Event(h.engine.Masked(rules.Event{At: now, Kind: rules.Current, State: h.houseOf(h.engine.Checkpoint(now, h.clock.Boot))}))
}

// recordDecision gives history a decision as it was made, and what was refused of it.
func (h *Hub) recordDecision(d rules.Decision, refused []string) {
	if h.past != nil {
		h.past.Decided(d.Masked(), refused)
	}
}

// ownDecision marks the IDs of decisions that no rule made.
const ownDecision = 1 << 63

// nextOwn is the ID of a decision that no rule makes.
func (h *Hub) nextOwn() uint64 {
	h.own++
	return ownDecision | h.life<<32 | h.own
}

// ofOwn gives a decision that no rule made its ID, and what it does.
func (h *Hub) ofOwn(d rules.Decision) rules.Decision {
	d.ID = h.nextOwn()
	for i := range d.Commands {
		d.Commands[i].Origin.Decision = d.ID
	}
	return d
}

// obeyOwn carries out a decision that no rule made.
func (h *Hub) obeyOwn(d rules.Decision) { h.obey([]rules.Decision{h.ofOwn(d)}) }

// noteHub has history remember what happened to the hub, or to who talks to it.
func (h *Hub) noteHub(kind, name, text string) {
	if h.past != nil {
		h.past.Note(history.Note{At: h.now(), Kind: kind, Name: name, Text: text})
	}
}

// included is what the owner wants recorded beside what rules look at, as sources of
// messages.
func (c *Config) included(engine *rules.Engine) (list []devices.Source) {
	looked := make(map[string]bool)
	for _, s := range engine.Sources() {
		looked[s.String()] = true
	}
	for _, text := range c.History.Include {
		if s, err := devices.ParseSource(text); err == nil && s.Filter != "" && !looked[s.String()] {
			list = append(list, s)
		}
	}
	return list
}

// looksAt says whether rules look at the source of a reading, or it is wired.
func (n *names) looksAt(r devices.Reading) bool {
	source := r.Source
	if r.Captured != nil {
		source = r.Captured.Source
	}
	_, named := n.merges[source]
	return named || r.Topic == ""
}

// looked is those of readings at which rules look. The others are for history only.
func (h *Hub) looked(all []devices.Reading) []devices.Reading {
	known := h.known.Load()
	other := func(r devices.Reading) bool { return !known.looksAt(r) }
	if !slices.ContainsFunc(all, other) {
		return all
	}
	var list []devices.Reading
	for _, r := range all {
		if known.looksAt(r) {
			list = append(list, r)
			continue
		}
		h.push(r)
		h.recordSeen(r)
	}
	return list
}

// recordSeen gives history a reading that the rules do not have.
func (h *Hub) recordSeen(r devices.Reading) {
	if h.past != nil {
		r.Message = nil
		h.past.Seen(r, "")
	}
}

// recordDevice gives history what is new of a device, where no rule of a named one looks at
// it.
func (h *Hub) recordDevice(c catalog.Change, r devices.Reading) {
	if h.past == nil || h.known.Load().looksAt(r) {
		return
	}
	s, ok := h.devices.registry.Find(c.ID)
	if !ok {
		return
	}
	unit := ""
	if c.Property != "availability" {
		p, err := s.Property(c.Property)
		if err != nil || p.Diagnostic && !slices.Contains(h.cfg.History.Include, r.Source) {
			return
		}
		unit = p.Unit
	}
	r.Message = nil
	h.past.Seen(r, unit)
}

// tellUnits tells history in which units that is what rules look at, and what is wired.
func (h *Hub) tellUnits() {
	if h.past == nil {
		return
	}
	for _, p := range h.cfg.parts() {
		for _, source := range append(slices.Sorted(maps.Keys(p.Properties)), "") {
			source = strings.TrimSuffix(p.Name+"."+source, ".")
			if l := h.labelsOf(source); l.unit != "" {
				h.past.Unit(source, l.unit)
			}
		}
	}
	for _, source := range h.engine.Sources() {
		if source.Name == "" {
			continue
		}
		if s, ok := h.devices.registry.Find(source.Name); ok {
			name := source.Property
			if name == "" && len(s.Properties) > 0 {
				name = s.Properties[0].Name
			}
			if p, err := s.Property(name); err == nil && p.Unit != "" {
				h.past.Unit(source.String(), p.Unit)
			}
		}
	}
}

// noteAvailability has history remember that a device has come or gone.
func (h *Hub) noteAvailability(c catalog.Change) {
	if c.Property != "availability" || c.Found {
		return
	}
	switch v := strings.ToLower(devices.Text(c.Value)); v {
	case "on", "true":
		h.noteHub("device", c.Called, "available")
	case "off", "false":
		h.noteHub("device", c.Called, "unavailable")
	}
}

// clientsNoted is how many comings and goings of clients a minute are remembered: one that
// comes and goes all the time must not wear the card out.
const clientsNoted = 30

// comings counts those of this minute.
type comings struct {
	mu     sync.Mutex
	minute time.Duration
	n      int
}

// more reports whether there is room for another one.
func (c *comings) more(now time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if minute := now / time.Minute; minute != c.minute {
		c.minute, c.n = minute, 0
	}
	c.n++
	return c.n <= clientsNoted
}

// noteClient has history remember that a client has connected, or has gone. Any goroutine
// may call it.
func (h *Hub) noteClient(id, user, address string, here bool) {
	if !h.comings.more(h.clock.Mono()) {
		return
	}
	text := "gone"
	if here {
		text = "connected from " + address
		if user != "" {
			text += " as " + user
		}
	}
	h.noteHub("client", id, text)
}
