package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/web"
)

// report takes what a message says of devices.
func (h *Hub) report(values []catalog.Value, m devices.Message) {
	h.tellRules(h.devices.registry.Apply(values, m, h.now()), m)
	if h.devices.registry.Woken() { // it may be for a second only
		h.remind()
	}
}

// tellRules has the rules hear what is new of the devices that the configuration names.
func (h *Hub) tellRules(changes []catalog.Change, m devices.Message) {
	now := h.now()
	var all []devices.Reading
	for _, c := range changes {
		h.answerWaiting(c)
		if c.Away && !c.Found {
			continue // its part is away, whatever it says
		}
		if s, ok := h.devices.registry.Find(c.ID); ok {
			if len(h.watchers) > 0 {
				if v, ok := h.propertyView(s, c.Property); ok {
					e := web.Event{Reading: v}
					if t, ok := h.thingOfDevice(s); ok {
						e.Thing = &t
					}
					h.tell(e)
				}
			}
			if !m.Initial {
				h.pushChange(s, c, now)
			}
		}
		h.noteAvailability(c)
		if named := h.ofDevice(c.Called); !named && h.past == nil {
			continue
		}
		text := ""
		if c.Bad == "" {
			text = devices.Text(c.Value)
		}
		r := devices.Reading{Source: c.Called + "." + c.Property, Topic: cmp.Or(m.Topic, c.ID), Value: c.Value, Text: text,
			Bad: c.Bad, At: now, Initial: m.Initial || c.Found, Event: c.Event, Origin: m.Origin, Gone: c.Stale}
		if c.Away {
			r.Bad, r.Gone, r.Initial = partAway, true, m.Initial
		}
		if m.Topic != "" {
			r.Message = &m
		}
		if h.recordDevice(c, r); !h.ofDevice(c.Called) {
			continue
		}
		all = append(all, r)
		if c.Main {
			r.Source = c.Called
			all = append(all, r)
		}
	}
	h.read(all...)
}

// ofDevice says whether rules know a source by the name of a device that announces itself.
func (h *Hub) ofDevice(source string) bool {
	name, _, _ := strings.Cut(source, ".")
	d, named := h.cfg.Device.Get(name)
	return named && d.Announced() != ""
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
	view := &web.Reading{Source: s.Called + "." + p.Name, Of: inALine(append([]string{label, room}, aliases...)...), At: v.At, Topics: topicsOfProperty(p)}
	if v.Value != nil {
		view.Text = printable(strings.TrimSpace(inWords(v.Value) + " " + p.Unit))
	}
	if h.secretly(s, p) {
		view.Text = "***"
	}
	switch {
	case s.Away(p.Name):
		view.Bad = "unavailable"
	case v.Bad != "":
		view.Bad = printable("not valid: " + v.Bad)
	}
	return view, true
}

// secretly says whether a rule compares a property with a secret, so that nobody is shown it.
func (h *Hub) secretly(s *catalog.State, p *catalog.Property) bool {
	return h.engine.Hidden(devices.Reading{Source: s.Called + "." + p.Name}) || p == &s.Properties[0] && h.engine.Hidden(devices.Reading{Source: s.Called})
}

// inWords is a value as people are shown it, at a terminal as on the page.
func inWords(v any) string {
	if _, ok := v.(bool); ok {
		return strings.ToLower(devices.Text(v))
	}
	return devices.Text(v)
}

// warnOfUnmet warns, once each, of what rules want of devices and these do not have or take.
// No check of a configuration can know that, and some devices tell of themselves bit by bit.
func (h *Hub) warnOfUnmet() {
	for _, what := range h.unmet() {
		if !h.devices.warned[what] {
			h.devices.warned[what] = true
			h.log.Warn("a device can't do what a rule wants of it", "what", what)
		}
	}
}

// Doubts is all of that, to be asked after a reload.
func (h *Hub) Doubts() (all []string) {
	h.do(context.Background(), func() {
		h.warnOfUnmet()
		all = h.unmet()
	})
	return all
}

// unmet says of each device that is there what rules tell it and it does not take, then what
// they look at and it does not have.
func (h *Hub) unmet() (all []string) {
	there := func(name string) (*catalog.State, bool) {
		d, named := h.cfg.Device.Get(name)
		s, ok := h.devices.registry.Find(name)
		return s, ok && !s.Silent && named && d.Announced() != ""
	}
	for _, told := range h.engine.Orders() {
		if s, ok := there(told.Device); ok {
			if err := s.CanTell(told.Property, told.Value); err != nil {
				all = append(all, fmt.Sprintf("%s tells %s: %v", told.Rule, told.Device, err))
			}
		}
	}
	for _, source := range h.engine.Sources() {
		if s, ok := there(source.Name); ok && source.Property != "" && source.Property != "availability" {
			_, err := s.Property(source.Property)
			if err != nil && !slices.ContainsFunc(all, func(said string) bool { return strings.HasSuffix(said, err.Error()) }) {
				all = append(all, "a rule looks at "+source.String()+": "+err.Error())
			}
		}
	}
	return slices.Compact(all)
}
