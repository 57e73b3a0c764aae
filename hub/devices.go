package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/broker"
	"hearth/config"
	"hearth/control"
	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/gpio"
	"hearth/store"
	"hearth/web"
)

const (
	// What announces itself at once, as after a start, is taken up at once.
	settleAfter = 20 * time.Millisecond
	// How old the newest values of devices may be after a power cut.
	keepDevicesAfter = 10 * time.Minute
	// How long a device may take to confirm what it was told, as far as who waits at a
	// terminal is told.
	confirmWithin = 5 * time.Second
	// The same of an output, which obeys at once or says what it waits for.
	obeyedWithin = 200 * time.Millisecond
)

// found is what the hub knows of the devices that announce themselves.
type found struct {
	registry *catalog.Registry
	settle   *time.Timer
	settling bool                             // it runs
	early    []devices.Message                // what came meanwhile on topics of which nobody knew yet
	waiting  map[string][]chan catalog.Change // by device and property: those who wait for an answer
	missed   map[string]bool                  // sources of which it was said that the device has none
	lookUp   *outbox[[]string]                // of the retained messages of topics
}

// What is held until it is known whose it is.
const (
	earlyKept    = 500
	earlyPayload = 4 << 10
)

// openDevices takes up what is kept of devices.
func (h *Hub) openDevices() {
	h.devices = found{registry: catalog.NewRegistry(h.isTaken, h.givenName), settle: time.NewTimer(0), waiting: make(map[string][]chan catalog.Change), missed: make(map[string]bool)}
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

// isTaken says whether a name belongs to something that the configuration declares.
func (h *Hub) isTaken(name string) bool {
	_, declared := h.cfg.Device.Get(name)
	return declared || slices.Contains(h.cfg.wired(), name)
}

// givenName is what the configuration calls a device, "" if it says nothing of it.
func (h *Hub) givenName(d catalog.Device) string {
	for _, entry := range h.cfg.Device {
		id := entry.Value.Announced()
		via := cmp.Or(entry.Value.Via, "zigbee2mqtt")
		switch {
		case id != "" && (id == d.ID || slices.Contains(d.Also, id)),
			id == "" && via == d.Via && cmp.Or(entry.Value.ID, entry.Name) == d.Address:
			return entry.Name
		}
	}
	return ""
}

// deviceCalled finds a device as people call it: by its name, its id or one of its aliases.
func (h *Hub) deviceCalled(name string) (*catalog.State, bool) {
	if s, ok := h.devices.registry.Find(name); ok {
		return s, true
	}
	for _, entry := range h.cfg.Device {
		if slices.ContainsFunc(entry.Value.Aliases, func(alias string) bool { return strings.EqualFold(alias, strings.TrimSpace(name)) }) {
			return h.devices.registry.Find(entry.Name)
		}
	}
	return nil, false
}

// shownAs is how people are shown a device: the configuration goes before what it says of
// itself.
func (h *Hub) shownAs(s *catalog.State) (label, room string, aliases []string) {
	label, room = s.Name, s.Room
	if d, named := h.cfg.Device.Get(s.Called); named {
		label, room, aliases = cmp.Or(d.Name, label), cmp.Or(d.Room, room), d.Aliases
	}
	return label, room, aliases
}

// missRenamed warns of devices that the configuration knows by their topics, which are others
// now: nothing follows from what they say.
func (h *Hub) missRenamed() {
	for _, r := range h.devices.registry.Renamed() {
		for _, entry := range h.cfg.Device {
			d := entry.Value
			if d.Announced() == "" && cmp.Or(d.Via, "zigbee2mqtt") == r.Via && cmp.Or(d.ID, entry.Name) == r.Was {
				h.log.Warn("a device that the configuration knows by its topics was renamed, and rules miss it: say its new name, or its id, which stays",
					"device", entry.Name, "was", r.Was, "is", r.Address, "id", r.Device.ID)
			}
		}
	}
}

// learn takes a message in which a device may have said what it is.
func (h *Hub) learn(m devices.Message) {
	if !m.Initial {
		defer h.unlearned.Add(-1) // which receive counted
	}
	stale, ask := h.devices.registry.Take(m)
	for _, a := range ask {
		if err := h.tellDevice(a, devices.Origin{By: "discovery"}); err != nil {
			h.log.Error("a device was not asked what it is", "topic", a.Topic, "err", err)
		}
	}
	if stale && !h.devices.settling {
		h.willSettle()
	}
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
	}
	h.missRenamed()
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

// lookUpRetained finds what had been said on topics before it was known that they matter.
func (h *Hub) lookUpRetained(topics []string) {
	wanted := make(map[string]bool, len(topics))
	for _, t := range topics {
		wanted[t] = true
	}
	known := h.known.Load()
	for m := range h.broker.Retained() {
		if wanted[m.Topic] && !isControl(m.Topic) { // which must not be obeyed again
			it := h.item(known, m, true)
			it.readings, it.announces = nil, false
			h.inbox.always(it)
		}
	}
}

// report takes what a message says of devices.
func (h *Hub) report(values []catalog.Value, m devices.Message) {
	h.tellRules(h.devices.registry.Apply(values, m, h.now()), m)
	if h.devices.registry.Woken() { // it may be for a second only
		h.remind()
	}
}

// remind tells devices again what they have not confirmed.
func (h *Hub) remind() {
	again, gaveUp := h.devices.registry.Remind(h.now())
	for _, m := range again {
		if err := h.tellDevice(m.Message, m.Origin); err != nil {
			h.log.Error("a device was not told again", "device", m.Called, "property", m.Property, "err", err)
		}
	}
	for _, m := range gaveUp {
		h.log.Warn("a device has not confirmed what it was told", "device", m.Called, "property", m.Property, "told", devices.Text(m.Value), "times", m.Times)
	}
}

// lookAfterDevices is what is to be done for devices every beat: to tell again, and to ask
// one of those that have not said yet how they are.
func (h *Hub) lookAfterDevices() {
	h.remind()
	if m, ok := h.devices.registry.Unseen(h.now()); ok {
		if err := h.tellDevice(m, devices.Origin{By: "discovery"}); err != nil {
			h.log.Error("a device was not asked how it is", "topic", m.Topic, "err", err)
		}
	}
}

// tellRules has the rules hear what is new of the devices that the configuration names.
func (h *Hub) tellRules(changes []catalog.Change, m devices.Message) {
	now := h.now()
	for _, c := range changes {
		h.answerWaiting(c)
		if c.Away && !c.Found {
			continue // its part is away, whatever it says
		}
		if d, named := h.cfg.Device.Get(c.Called); !named || d.Announced() == "" {
			if s, ok := h.devices.registry.Find(c.ID); ok && len(h.watchers) > 0 {
				if v, ok := h.propertyView(s, c.Property); ok {
					h.tell(web.Event{Reading: v})
				}
			}
			continue
		}
		text := ""
		if c.Bad == "" {
			text = devices.Text(c.Value)
		}
		r := devices.Reading{Source: c.Called + "." + c.Property, Topic: cmp.Or(m.Topic, c.ID), Value: c.Value, Text: text,
			Bad: c.Bad, At: now, Initial: m.Initial || c.Found, Event: c.Event, Origin: m.Origin}
		if c.Away {
			r.Bad, r.Gone, r.Initial = partAway, true, m.Initial
		}
		if m.Topic != "" {
			r.Message = &m
		}
		h.read(r)
		if c.Main {
			r.Source = c.Called
			h.read(r)
		}
	}
}

// partAway is why nothing is known of a property whose own availability says so.
const partAway = "this part of the device is unavailable"

// deviceReadings are the newest values of the devices that the configuration names, as
// they are found.
func (h *Hub) deviceReadings() (all []devices.Reading) {
	for _, s := range h.devices.registry.All() {
		if d, named := h.cfg.Device.Get(s.Called); !named || d.Announced() == "" {
			continue
		}
		if reports := s.Available.Reports; s.Online != nil && len(reports) > 0 {
			all = append(all, devices.Reading{Source: s.Called + ".availability", Topic: reports[0].Topic, Value: *s.Online, Text: devices.Text(*s.Online), At: h.now(), Initial: true})
		}
		for i, p := range s.Properties {
			v := s.Values[p.Name]
			if v.Value == nil || v.Bad != "" || s.Away(p.Name) || p.Kind == catalog.Event || len(p.Reports) == 0 {
				continue
			}
			at := v.When(h.now())
			r := devices.Reading{Source: s.Called + "." + p.Name, Topic: p.Reports[0].Topic, Value: v.Value, Text: devices.Text(v.Value), At: at, Initial: true, Restored: v.Restored()}
			all = append(all, r)
			if i == 0 {
				r.Source = s.Called
				all = append(all, r)
			}
		}
	}
	return all
}

// propertyView is a property as the page shows it, if it has said anything that is about
// the house.
func (h *Hub) propertyView(s *catalog.State, property string) (*web.Reading, bool) {
	p, err := s.Property(property)
	v := s.Values[property]
	if err != nil || p.Diagnostic || v.Value == nil && v.Bad == "" {
		return nil, false
	}
	label, room, aliases := h.shownAs(s)
	of := slices.DeleteFunc(append([]string{label, room}, aliases...), func(text string) bool { return text == "" })
	view := &web.Reading{Source: s.Called + "." + p.Name, Of: printable(strings.Join(of, ", ")), At: v.At}
	if v.Value != nil {
		view.Text = printable(strings.TrimSpace(devices.Text(v.Value) + " " + p.Unit))
	}
	switch {
	case s.Away(p.Name):
		view.Bad = "unavailable"
	case v.Bad != "":
		view.Bad = printable("not valid: " + v.Bad)
	}
	return view, true
}

// missProperties warns, once each, of what rules look at and a device does not have. No
// check of a configuration can know that, and some devices tell of themselves bit by bit.
func (h *Hub) missProperties() {
	for _, source := range h.engine.Sources() {
		d, named := h.cfg.Device.Get(source.Name)
		if !named || d.Announced() == "" || source.Property == "" || source.Property == "availability" || h.devices.missed[source.String()] {
			continue
		}
		if s, ok := h.devices.registry.Find(source.Name); ok && !s.Silent {
			if _, err := s.Property(source.Property); err != nil {
				h.devices.missed[source.String()] = true
				h.log.Warn("a rule looks at what a device does not have", "source", source.String(), "why", err)
			}
		}
	}
}

// commandDevice tells a device what a rule decided.
func (h *Hub) commandDevice(c devices.Command) error {
	s, ok := h.devices.registry.Find(c.Device)
	if !ok {
		return fmt.Errorf("%s has not announced itself, so nobody knows how to tell it anything", c.Device)
	}
	m, err := h.devices.registry.Tell(s, c.Property, c.Value, c.Origin, h.now())
	switch {
	case err != nil && c.Secret: // which the reason may show
		return fmt.Errorf("%s can't be told that, which holds a secret", c.Device)
	case err != nil:
		return err
	}
	if p, err := s.Property(c.Property); err == nil && c.Secret {
		delete(s.Asked, p.Name)
	}
	return h.tellDevice(m, c.Origin)
}

func (h *Hub) answerWaiting(c catalog.Change) {
	if !c.Answer {
		return
	}
	key := c.ID + "\x00" + c.Property
	for _, ch := range h.devices.waiting[key] {
		ch <- c // it has room for one, and is in no other list
	}
	delete(h.devices.waiting, key)
}

// waitNoMore forgets one who has given up.
func (h *Hub) waitNoMore(key string, ch chan catalog.Change) {
	h.devices.waiting[key] = slices.DeleteFunc(h.devices.waiting[key], func(other chan catalog.Change) bool { return other == ch })
	if len(h.devices.waiting[key]) == 0 {
		delete(h.devices.waiting, key)
	}
}

// tellDevice publishes what tells a device something.
func (h *Hub) tellDevice(m catalog.Message, origin devices.Origin) error {
	return h.mqtt.put(broker.Message{Topic: m.Topic, Payload: []byte(m.Payload), Retain: m.Retain, QoS: m.QoS, Origin: origin})
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

// Devices lists the devices that have announced themselves.
func (d desk) Devices(ctx context.Context) (control.Devices, error) {
	return ask(ctx, d.Hub, func() control.Devices {
		var all control.Devices
		for _, s := range d.devices.registry.All() {
			one := toldDevice(s)
			one.Label, one.Room, one.Aliases = d.shownAs(s)
			_, one.Named = d.cfg.Device.Get(s.Called)
			one.StandsFor, one.ReplacedBy = d.devices.registry.StandsFor(s), d.devices.registry.ReplacedBy(s)
			all.Devices = append(all.Devices, one)
		}
		for _, entry := range d.cfg.Device {
			if id := entry.Value.Announced(); id != "" {
				if _, ok := d.devices.registry.Find(entry.Name); !ok {
					one := control.Device{Name: entry.Name, ID: d.devices.registry.Last(id), Label: entry.Value.Name, Room: entry.Value.Room, Aliases: entry.Value.Aliases, Named: true, Silent: true}
					if one.ID != id {
						one.StandsFor = id
					}
					all.Devices = append(all.Devices, one)
				}
			}
		}
		slices.SortFunc(all.Devices, func(a, b control.Device) int { return cmp.Compare(a.Name, b.Name) })
		faults, others := d.devices.registry.Faults()
		for _, f := range faults {
			all.Faults = append(all.Faults, control.Fault{Topic: f.Topic, Times: f.Times, Why: f.Why})
		}
		all.OtherFaults = others
		return all
	})
}

func toldDevice(s *catalog.State) control.Device {
	one := control.Device{
		Name: s.Called, ID: s.ID, Via: s.Via, Label: s.Name, Room: s.Room, Maker: s.Maker, Model: s.Model, Version: s.Version,
		Sleepy: s.Sleepy, Also: s.Also, Denied: s.Denied, Since: s.Since, Seen: s.Seen, Online: s.Online, Silent: s.Silent,
	}
	for i := range s.Properties {
		p := &s.Properties[i]
		told := control.Property{
			Name: p.Name, Label: p.Label, Kind: string(p.Kind), Of: p.Of, Class: p.Class, Unit: p.Unit,
			Options: p.Options, Diagnostic: p.Diagnostic, Raw: p.Raw, Settable: p.Set != nil,
		}
		if p.Range != nil {
			told.Min, told.Max = &p.Range.Min, &p.Range.Max
		}
		told.Away = s.Away(p.Name)
		if v, ok := s.Values[p.Name]; ok {
			told.Value, told.At, told.Bad = v.Value, v.At, v.Bad
		}
		if a, ok := s.Asked[p.Name]; ok {
			told.Asked, told.AskedAt, told.GaveUp, told.Again = a.Value, a.At, a.GaveUp, s.Again(p.Name)
		}
		for _, r := range p.Reports {
			told.Topics = append(told.Topics, r.Topic)
		}
		if p.Set != nil {
			told.SetTopic = p.Set.Topic
		}
		one.Properties = append(one.Properties, told)
	}
	return one
}

// Set tells an output, a cover or a device's property a value, and waits a moment for
// the answer.
func (d desk) Set(ctx context.Context, name, value string) (control.Answer, error) {
	type asked struct {
		answer control.Answer
		wait   chan catalog.Change
		key    string // of those who wait
		output bool
		err    error
	}
	thing, property, _ := strings.Cut(name, ".")
	got, err := ask(ctx, d.Hub, func() (a asked) {
		if part, ok := d.cfg.part(thing); ok && property == "" {
			if _, a.err = gpio.ParseSet([]byte(value), part.Takes); a.err == nil {
				a.err = d.mqtt.put(broker.Message{Topic: topic(thing, "set"), Payload: []byte(value), Origin: devices.Origin{By: "hearth set"}})
				a.answer, a.output = control.Answer{Name: thing, Topic: topic(thing, "set"), Payload: value}, true
			}
			return a
		}
		s, ok := d.deviceCalled(thing)
		if !ok {
			a.err = d.unknownThing(thing)
			return a
		}
		by := devices.Origin{By: "hearth set"}
		m, err := d.devices.registry.Tell(s, property, value, by, d.now())
		if err != nil {
			a.err = err
			return a
		}
		p, _ := s.Property(property)
		a.answer = control.Answer{Name: s.Called + "." + p.Name, Topic: m.Topic, Payload: m.Payload}
		if a.err = d.tellDevice(m, by); a.err != nil {
			return a
		}
		if _, ok := s.Asked[p.Name]; ok {
			a.answer.Again = s.Again(p.Name)
			a.wait, a.key = make(chan catalog.Change, 1), s.ID+"\x00"+p.Name
			d.devices.waiting[a.key] = append(d.devices.waiting[a.key], a.wait)
		} else {
			a.answer.Was = len(p.Reports) > 0
		}
		return a
	})
	switch {
	case err != nil:
		return control.Answer{}, err
	case got.err != nil:
		return control.Answer{}, control.Mistaken(got.err)
	case got.output:
		return d.outputAnswer(ctx, got.answer)
	case got.wait == nil:
		return got.answer, nil
	}
	limit := time.NewTimer(confirmWithin)
	defer limit.Stop()
	select {
	case c := <-got.wait:
		got.answer.Reported = c.Value
		return got.answer, nil
	case <-limit.C:
		got.answer.Late = true
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-d.ended:
		return got.answer, errors.New("the hub ended meanwhile")
	}
	d.inbox.always(&item{control: func() { d.waitNoMore(got.key, got.wait) }})
	return got.answer, err
}

// outputAnswer looks after a moment what came of a command for an output: what it is, or
// what it waits for.
func (d desk) outputAnswer(ctx context.Context, a control.Answer) (control.Answer, error) {
	moment := time.NewTimer(obeyedWithin)
	defer moment.Stop()
	select {
	case <-moment.C:
	case <-d.ended:
		return a, errors.New("the hub ended meanwhile")
	}
	return ask(ctx, d.Hub, func() control.Answer {
		for _, i := range d.pins.Outputs() {
			if i.Name != a.Name {
				continue
			}
			if a.Waits = i.Waits; i.Known && i.Waits == "" {
				a.Reported = i.On
			}
		}
		return a
	})
}

// ForgetDevice forgets a device that is no more.
func (d desk) ForgetDevice(ctx context.Context, name string) error {
	wrong, err := ask(ctx, d.Hub, func() error {
		s, ok := d.deviceCalled(name)
		if !ok {
			return d.unknownThing(name)
		}
		if err := d.devices.registry.Remove(s); err != nil {
			return err
		}
		d.countDevices()
		return nil
	})
	if err == nil && wrong != nil {
		err = control.Mistaken(wrong)
	}
	return err
}

func (h *Hub) unknownThing(name string) error {
	names := slices.Concat(h.cfg.settable(), h.devices.registry.Names())
	if near, ok := config.Nearest(name, names); ok {
		return fmt.Errorf("nothing here is named %q, did you mean %q?", name, near)
	}
	return fmt.Errorf("nothing here is named %q: hearth devices lists what has announced itself", name)
}
