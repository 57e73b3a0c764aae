package hub

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"hearth/devices"
	"hearth/devices/announce"
	"hearth/devices/catalog"
	"hearth/gpio"
	"hearth/gpio/sensor"
	"hearth/store"
)

// saidKey is the record of what Home Assistant was told.
const saidKey = "homeassistant"

// openSaid takes up what Home Assistant was told in the last life.
func (h *Hub) openSaid() {
	for key, value := range h.store.Each(store.Said) {
		if key != saidKey {
			continue
		}
		if err := json.Unmarshal(value, &h.said); err != nil {
			h.log.Error("what Home Assistant was told can't be read; what was removed meanwhile may stay there", "err", err)
			h.said = announce.Said{}
		}
	}
}

// announce tells Home Assistant what the house has, if that is news.
func (h *Hub) announce() { h.announceAfter(h.said) }

// announceAfter is announce to a Home Assistant that needs to be told of what was said
// before no more than is in said.
func (h *Hub) announceAfter(said announce.Said) {
	before := encode(h.said) // as it is kept
	said, messages := said.Say(h.cfg.HomeAssistant, h.announced())
	h.said = said
	if is := encode(said); string(is) != string(before) {
		if said.Topic == "" {
			is = nil
		}
		h.store.Put(store.Record{Kind: store.Said, Key: saidKey, Value: is}, 0, nil)
	}
	for _, m := range messages {
		h.say(m.Topic, string(m.Payload))
	}
}

// greet takes note that Home Assistant is there. What is retained it finds by itself.
func (h *Hub) greet(m devices.Message) {
	if !m.Initial && h.cfg.HomeAssistant.IsBirth(m.Topic) && string(m.Payload) == "online" {
		h.greeted = true
	}
}

// answerGreeting announces the house to Home Assistant once more, and without what it has
// heard of by now to be gone. It waits for the next beat, for anybody could greet a thousand
// times a second.
func (h *Hub) answerGreeting() {
	if !h.greeted {
		return
	}
	h.greeted = false
	for _, t := range h.said.Topics() {
		delete(h.published, t)
	}
	h.announceAfter(h.said.Heard())
}

// announcedID is the house's id at Home Assistant.
func (h *Hub) announcedID() string { return "hearth_" + h.houseID() }

// isOwn says whether a topic is one on which this house announces itself, whatever stands
// before it: no client may publish there, and the house is no device of its own.
func (h *Hub) isOwn(topic string) bool { return announce.IsOwn(topic, h.ownID) }

// announced is the house as Home Assistant is told of it.
func (h *Hub) announced() announce.House {
	house := announce.House{ID: h.announcedID(), Name: h.cfg.name(), Version: h.opt.Version, Available: status}
	h.cfg.seat(&house, slices.Concat(h.cfg.announcedPins(), h.cfg.announcedSensors()))
	house.Parts = append(house.Parts, h.announcedLogic()...)
	house.Parts = append(house.Parts, h.announcedHealth()...)
	return house
}

// seat puts the parts of what is wired into the house, or where they have a room into a device
// of their own. The outputs of a cover are with it, unless they have rooms themselves.
func (c *Config) seat(house *announce.House, parts []announce.Part) {
	covers := c.moves()
	for _, p := range parts {
		thing, property, _ := strings.Cut(p.Name, ".")
		shown, of := c.shown[thing], thing
		if o, ok := c.Output.Get(thing); ok && o.Room == "" && covers[thing] != "" {
			of = covers[thing]
		}
		switch {
		case shown.Room != "" && of == thing && property == "":
			p.Main = true
		case shown.Room != "" && of == thing:
			p.Label = announce.Label(property)
		case shown.Name != "":
			p.Label = strings.TrimSpace(string(shown.Name) + " " + strings.ReplaceAll(property, "_", " "))
		}
		if shown.Room == "" {
			house.Parts = append(house.Parts, p)
			continue
		}
		i := slices.IndexFunc(house.Apart, func(a announce.Apart) bool { return a.Name == of })
		if i < 0 {
			i = len(house.Apart)
			house.Apart = append(house.Apart, announce.Apart{Name: of, Label: cmp.Or(string(c.shown[of].Name), announce.Label(of)), Room: string(shown.Room)})
		}
		house.Apart[i].Parts = append(house.Apart[i].Parts, p)
	}
}

var percent = &catalog.Range{Min: 0, Max: 100, Step: 1}

// announcedPins is what is wired to pins, and outputs on topics.
func (c *Config) announcedPins() (parts []announce.Part) {
	add := func(name, property string, p announce.Part) {
		p.Name, p.Available = name, topic(name, "availability")
		if p.State = topic(name, "state"); property != "" {
			p.Name, p.State = name+"."+property, topic(name, property)
		}
		parts = append(parts, p)
	}
	covers := c.moves()
	for _, o := range c.Output {
		set, moved := topic(o.Name, "set"), covers[o.Name] != ""
		if o.Value.Momentary > 0 {
			add(o.Name, "", announce.Part{Kind: catalog.Button, Set: set, Press: "ON", Setting: moved})
		} else {
			add(o.Name, "", announce.Part{Kind: catalog.Switch, Set: set, Setting: moved})
		}
		if o.Value.Levels() {
			add(o.Name, "level", announce.Part{Kind: catalog.Number, Set: set, Unit: "%", Range: percent})
		}
		if o.Value.Feedback != "" {
			add(o.Name, "fault", announce.Part{Kind: catalog.Sensor, Diagnostic: true})
			add(o.Name, "acknowledge", announce.Part{Kind: catalog.Button, Set: set, Press: strings.ToUpper(gpio.Acknowledge), Setting: true})
		}
	}
	for _, v := range c.Cover {
		add(v.Name, "", announce.Part{Kind: catalog.Cover, Set: topic(v.Name, "set"), Moves: topic(v.Name, "moving")})
	}
	for _, i := range c.Input {
		add(i.Name, "", announce.Part{Kind: catalog.BinarySensor})
		if gestures := i.Value.Gestures(); gestures != nil {
			add(i.Name, "press", announce.Part{Kind: catalog.Event, Class: "button", Options: gestures})
		}
	}
	for _, n := range c.Counter {
		class, unit := countedAs(n.Value.Unit)
		add(n.Name, "", announce.Part{Kind: catalog.Sensor, Class: class, Unit: unit, StateClass: "total_increasing"})
		class, unit = countedAs(n.Value.RateUnit())
		add(n.Name, "rate", announce.Part{Kind: catalog.Sensor, Class: class, Unit: unit, StateClass: "measurement"})
		add(n.Name, "pulses", announce.Part{Kind: catalog.Sensor, StateClass: "total_increasing", Diagnostic: true})
		add(n.Name, "gaps", announce.Part{Kind: catalog.Sensor, StateClass: "total_increasing", Diagnostic: true})
		add(n.Name, "missed", announce.Part{Kind: catalog.Sensor, Class: "duration", Unit: "s", StateClass: "total_increasing", Diagnostic: true})
	}
	for _, e := range c.Encoder {
		add(e.Name, "", announce.Part{Kind: catalog.Sensor, StateClass: "measurement"})
		add(e.Name, "turn", announce.Part{Kind: catalog.Event, Options: []string{"1", "-1"}})
	}
	return parts
}

// countedAs is the unit of a counter or its rate as Home Assistant writes it, and what it is
// then. Litres may be of water or of gas, which the owner can say there.
func countedAs(unit string) (class, same string) {
	amount, per, rate := strings.Cut(unit, "/")
	switch amount {
	case "l":
		amount = "L"
	case "m3":
		amount = "m³"
	}
	if same = amount; rate {
		same += "/" + per
	}
	switch {
	case strings.HasSuffix(same, "Wh"):
		return "energy", same
	case same == "W" || same == "kW" || same == "MW":
		return "power", same
	case same == "mm":
		return "precipitation", same
	case same == "mm/h" || same == "mm/d":
		return "precipitation_intensity", same
	case rate && (amount == "L" && (per == "h" || per == "min" || per == "s") || amount == "m³" && (per == "h" || per == "min" || per == "s")):
		return "volume_flow_rate", same
	case same == "/h": // of pulses without a unit
		return "", ""
	}
	return "", same
}

// measuredAs is what Home Assistant calls the quantities and units of sensors, where it does
// so otherwise. A fan's speed is none of its quantities.
var measuredAs = map[string]string{"co2": "carbon_dioxide", "speed": "", "C": "°C", "F": "°F"}

// announcedSensors is what measures.
func (c *Config) announcedSensors() (parts []announce.Part) {
	at := func(s sensor.Sensor, property string) (class, unit string) {
		class, unit = s.Quantity(property)
		if other, ok := measuredAs[class]; ok {
			class = other
		}
		if other, ok := measuredAs[unit]; ok {
			unit = other
		}
		return class, unit
	}
	for _, s := range c.Sensor {
		for _, property := range s.Value.Measures() {
			class, unit := at(s.Value, property)
			parts = append(parts, announce.Part{Name: s.Name + "." + property, Kind: catalog.Sensor, State: topic(s.Name, property),
				Available: topic(s.Name, "availability"), Class: class, Unit: unit, StateClass: "measurement"})
		}
	}
	return parts
}

// announcedLogic is the rules, which may be switched off and on, and the machines.
func (h *Hub) announcedLogic() (parts []announce.Part) {
	enabled := h.engine.Enabled()
	for _, name := range h.cfg.Rule.Names() {
		if _, ok := enabled[name]; ok {
			at := "hearth/rule/" + name + "/"
			parts = append(parts, announce.Part{Name: "rule." + name, Kind: catalog.Switch, State: at + ruleEnabled, Set: at + ruleSet, Setting: true})
		}
	}
	for _, m := range h.engine.Machines() {
		parts = append(parts, announce.Part{Name: "machine." + m.Machine, Label: announce.Label(m.Machine), Kind: catalog.Select,
			State: machineState(m.Machine), Set: machineSets(m.Machine), Options: m.States})
	}
	return parts
}

// announcedHealth is how the hub itself is doing.
func (h *Hub) announcedHealth() []announce.Part {
	parts := []announce.Part{
		{Name: "hub.problem", Label: "Problem", Kind: catalog.Sensor, State: problem},
		{Name: "hub.started", Label: "Started", Kind: catalog.Sensor, State: startedAt, Class: "timestamp"},
		{Name: "hub.clock", Label: "Clock known", Kind: catalog.BinarySensor, State: clockIsKnown},
	}
	if h.cfg.Backup != nil {
		parts = append(parts, announce.Part{Name: "hub.backup", Label: "Newest backup", Kind: catalog.Sensor, State: backedUp, Class: "timestamp"})
	}
	if h.opt.Version != "" {
		parts = append(parts, announce.Part{Name: "hub.version", Label: "Version", Kind: catalog.Sensor, State: version})
	}
	for _, name := range h.cfg.Bridge.Names() {
		parts = append(parts, announce.Part{Name: "bridge." + name, Kind: catalog.BinarySensor, State: bridgeTopic(name), Class: "connectivity", On: "online", Off: "offline"})
	}
	for i := range parts {
		parts[i].Diagnostic = true
	}
	return parts
}
