package hub

import (
	"context"
	"errors"
	"slices"
	"strings"

	"hearth/broker"
	"hearth/devices"
	"hearth/devices/catalog"
	"hearth/gpio"
	"hearth/rules"
	"hearth/web"
)

// mostProperties is how many of one device the page of the house shows. The rest is on its
// page of readings.
const mostProperties = 8

// things are what the page of the house shows, room by room: favourites in their order, then
// rooms in the order in which the configuration names them, then others by name, then what
// is in none. In each the motors of covers come last.
func (h *Hub) things() (all []web.Thing) {
	var motors []web.Thing // which their cover moves: people move that
	moves := h.cfg.moves()
	for _, i := range append(h.pins.Outputs(), h.pins.Covers()...) {
		t := h.thingOfPin(i, true)
		if moves[i.Name] != "" {
			motors = append(motors, t)
		} else {
			all = append(all, t)
		}
	}
	for _, i := range h.pins.Inputs() {
		all = append(all, h.thingOfPin(i, false))
	}
	for _, s := range h.cfg.Sensor {
		all = append(all, h.thingOfSensor(s.Name))
	}
	for _, s := range h.devices.registry.All() {
		if t, ok := h.thingOfDevice(s); ok {
			all = append(all, t)
		}
	}
	for _, m := range h.engine.Machines() {
		all = append(all, h.thingOfMachine(m))
	}
	all = append(all, motors...)
	rooms := h.cfg.rooms
	rank := func(t web.Thing) int {
		switch i := slices.Index(rooms, t.Room); {
		case t.Favourite:
			return slices.IndexFunc(h.cfg.Web.Favourites, func(f string) bool { return ofWired(f) == t.Name }) - len(h.cfg.Web.Favourites)
		case t.Room == "":
			return len(rooms) + 1
		case i >= 0:
			return i
		}
		return len(rooms)
	}
	slices.SortStableFunc(all, func(a, b web.Thing) int {
		if d := rank(a) - rank(b); d != 0 || a.Favourite {
			return d
		}
		return strings.Compare(a.Room, b.Room)
	})
	return all
}

func (h *Hub) isFavourite(name string) bool {
	return slices.ContainsFunc(h.cfg.Web.Favourites, func(f string) bool { return ofWired(f) == name })
}

// thingOfWired is something wired, without what it is.
func (h *Hub) thingOfWired(name string) web.Thing {
	shown := h.cfg.shown[name]
	return web.Thing{Name: name, Label: string(shown.Name), Room: string(shown.Room), Favourite: h.isFavourite(name)}
}

// inPercent is what a level and a position can be.
var inPercent = &web.Range{Max: 100, Step: 1}

// coverPosition is what a cover's slider is called, for which the cover's own name stands
// where it is told something and recorded.
const coverPosition = "position"

// thingOfPin is an output, a cover or an input.
func (h *Hub) thingOfPin(i gpio.Info, output bool) web.Thing {
	pin := h.webPin(i)
	t := h.thingOfWired(i.Name)
	t.Line, t.Hint, t.Note, t.Fault = pin.Pin, pin.Hint, pin.Note, pin.Fault
	p := web.Property{Series: i.Name, Kind: "switch", On: i.On, Known: i.Known, Tells: output || h.opt.Simulated && i.Shows == "",
		See: []string{topic(i.Name, "state")}, Use: []string{topic(i.Name, "set")}}
	_, cover := h.cfg.Cover.Get(i.Name)
	o, wired := h.cfg.Output.Get(i.Name)
	switch {
	case cover:
		p.Kind, p.Options, p.Text, t.Note = "cover", []string{"open", "close", "stop"}, i.Waits, ""
	case i.Shows != "":
		p.Kind, p.Text = "value", i.Shows
	case wired && o.Momentary > 0:
		p.Kind = "button"
	}
	t.Properties = []web.Property{p}
	if i.Levels {
		level := i.Level
		p.Name, p.Series, p.Kind, p.On, p.Level, p.Unit, p.Range = "level", i.Name+".level", "level", false, &level, "%", inPercent
		t.Properties = append(t.Properties, p)
	}
	if cover {
		p.Name, p.Kind, p.On, p.Options, p.Text, p.Unit, p.Range = coverPosition, "level", false, nil, "", "%", inPercent
		if r, ok := h.registry.Last(i.Name); ok && !r.Gone {
			p.Level, _ = shownValue(r.Value)
		}
		p.Known = p.Level != nil
		t.Properties = append(t.Properties, p)
	}
	return t
}

// thingOfSensor is what a wired sensor measures.
func (h *Hub) thingOfSensor(name string) web.Thing {
	t := h.thingOfWired(name)
	t.Fault = h.sensors.Fault(name)
	s, _ := h.cfg.Sensor.Get(name)
	for _, property := range s.Measures() {
		_, unit := s.Quantity(property)
		p := web.Property{Series: name + "." + property, Name: property, Kind: "value", Unit: unit, See: h.topicsOfWired(name)}
		if r, ok := h.registry.Last(name + "." + property); ok && r.Bad == "" {
			p.Known, p.At = true, r.At.Wall
			p.Level, p.Text = shownValue(r.Value)
			p.Away = r.Gone
		}
		t.Properties = append(t.Properties, p)
	}
	return t
}

// thingOfMachine is a machine, with a choice of its states.
func (h *Hub) thingOfMachine(m rules.Standing) web.Thing {
	return web.Thing{Name: m.Machine, Favourite: h.isFavourite(m.Machine), Properties: []web.Property{{Kind: "choice", Text: m.State, Known: true,
		Options: m.States, Tells: true, See: []string{machineState(m.Machine)}, Use: []string{machineSets(m.Machine)}}}}
}

// shownValue is a value as a number, or else in words.
func shownValue(v any) (number *float64, text string) {
	if n, ok := v.(float64); ok {
		return &n, ""
	}
	return nil, printable(inWords(v))
}

// thingOfDevice is a device that announced itself, with what it says of the house; false if
// that is nothing.
func (h *Hub) thingOfDevice(s *catalog.State) (web.Thing, bool) {
	label, room, _ := h.shownAs(s)
	t := web.Thing{Name: s.Called, Label: printable(label), Room: printable(room), Favourite: h.isFavourite(s.Called), Away: s.Online != nil && !*s.Online}
	for i := range s.Properties {
		p := &s.Properties[i]
		v := s.Values[p.Name]
		if p.Diagnostic || p.Kind == catalog.Event || p.Set == nil && v.Value == nil && v.Bad == "" || isDocument(p, v.Value) {
			continue
		}
		shown := web.Property{Series: s.Called + "." + p.Name, Name: p.Name, Label: printable(p.Label), Kind: "value", Unit: p.Unit, Bad: printable(v.Bad), At: v.At, Away: s.Away(p.Name), See: topicsOfProperty(p)}
		if p.Set != nil {
			shown.Use = []string{p.Set.Topic}
			if len(shown.See) == 0 {
				shown.See = shown.Use
			}
		}
		shown.Known = v.Value != nil && v.Bad == ""
		switch on, isBool := v.Value.(bool); {
		case h.secretly(s, p):
			shown.Text, shown.Known, shown.Series = "***", true, ""
		case p.Set != nil && p.Kind == catalog.Cover:
			shown.Kind, shown.Tells, shown.Options = "cover", true, p.Words()
			_, shown.Text = shownValue(v.Value)
		case p.Set != nil && p.Kind == catalog.Lock:
			shown.Kind, shown.Tells, shown.Options = "lock", true, p.Words()
			_, shown.Text = shownValue(v.Value)
		case p.Set != nil && len(p.Options) > 0 && (p.Kind == catalog.Climate || p.Kind == catalog.Select):
			shown.Kind, shown.Tells, shown.Options = "choice", true, p.Options
			_, shown.Text = shownValue(v.Value)
		case p.Set != nil && p.Range != nil && p.Kind == catalog.Number:
			shown.Kind, shown.Tells = "level", true
			shown.Range = &web.Range{Min: p.Range.Min, Max: p.Range.Max, Step: p.Range.Step}
			if shown.Range.Step == 0 {
				shown.Range.Step = 1
			}
			shown.Level, shown.Text = shownValue(v.Value)
		case p.Set != nil && p.Kind == catalog.Number:
			shown.Kind, shown.Tells = "number", true
			shown.Level, shown.Text = shownValue(v.Value)
		case p.Set != nil && p.Kind == catalog.Text && p.Class == "color":
			shown.Kind, shown.Tells = "color", true
			_, shown.Text = shownValue(v.Value)
		case p.Set != nil && p.Kind == catalog.Text:
			shown.Kind, shown.Tells = "text", true
			if p.Range != nil {
				shown.Range = &web.Range{Min: p.Range.Min, Max: p.Range.Max, Step: 1}
			}
			_, shown.Text = shownValue(v.Value)
		case p.Set != nil && p.Kind == catalog.Button:
			shown.Kind, shown.Tells, shown.Series = "button", true, ""
		case p.Set != nil && slices.Contains([]catalog.Kind{catalog.Switch, catalog.Light, catalog.Fan, catalog.Valve}, p.Kind):
			shown.Kind, shown.Tells, shown.On = "switch", true, isBool && on
		case v.Value != nil:
			shown.Level, shown.Text = shownValue(v.Value)
		}
		if shown.Kind == "value" && !shown.Known && shown.Bad == "" && len(p.Reports) == 0 {
			continue // it is told something, for which there is no control, and never says what it is
		}
		if a, ok := s.Asked[p.Name]; ok && !a.GaveUp && !h.secretly(s, p) {
			shown.Asked = printable(inWords(a.Value))
		}
		if t.Properties = append(t.Properties, shown); len(t.Properties) == 4*mostProperties {
			break
		}
	}
	for len(t.Properties) > mostProperties { // what can be told goes before what is only said, for it has its control here alone
		last := len(t.Properties) - 1
		for i := last; i > 0; i-- {
			if !t.Properties[i].Tells {
				last = i
				break
			}
		}
		t.Properties = slices.Delete(t.Properties, last, last+1)
	}
	return t, len(t.Properties) > 0
}

// isDocument says whether a property is for programs: an object or a list, whose parts are
// properties of their own where people are meant to see them.
func isDocument(p *catalog.Property, value any) bool {
	switch value.(type) {
	case map[string]any, []any:
		return true
	}
	return p.Class == "json"
}

// Tell is what somebody wants of a thing on the page, by its path there.
func (p page) Tell(ctx context.Context, name string, value any) error {
	thing, property, _ := strings.Cut(name, ".")
	on, isSwitch := value.(bool)
	return p.try(ctx, func() error {
		_, output := p.cfg.Output.Get(thing)
		switch {
		case !isSwitch || property != "":
		case output:
			return p.turn(ctx, thing, on)
		case slices.Contains(p.cfg.driven(), thing):
			return p.pins.Drive(thing, on)
		}
		text := devices.Text(value)
		if part, ok := p.cfg.part(thing); ok {
			if _, err := gpio.ParseSet([]byte(text), part.Takes); err != nil {
				return err
			}
			return p.mqtt.put(broker.Message{Topic: topic(thing, "set"), Payload: []byte(text), Origin: devices.Origin{By: "page"}})
		}
		for _, m := range p.engine.Machines() {
			if m.Machine == name {
				return p.send(m, text)
			}
		}
		s, property, ok := p.propertyNamed(name)
		if !ok {
			return p.unknownThing(thing)
		}
		if err := s.CanTell(property, value); err != nil {
			return err
		}
		if trouble := p.linkTrouble(); trouble != "" {
			return errors.New(trouble)
		}
		told, err := s.Property(property)
		if err != nil {
			return err
		}
		p.obeyOwn(rules.Decision{At: p.now(), Rule: "page", Outcome: rules.Fired, Why: who(ctx) + " set it on the page",
			Commands: []devices.Command{{Device: s.Called, Property: told.Name, Value: value, Origin: devices.Origin{By: "page"}}}})
		if t, ok := p.thingOfDevice(s); ok {
			p.tell(web.Event{Thing: &t})
		}
		return nil
	})
}
