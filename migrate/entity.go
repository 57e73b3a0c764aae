package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An entity is one of Home Assistant's and what stands for it in Hearth.
type entity struct {
	id     string // "light.hall_lamp"
	domain string // "light"
	source string // of its state, as conditions and triggers name it
	name   string // of the device, output or variable; "" where source is a topic
	called string // what it is called in Zigbee2MQTT, of raw
	raw    bool   // a device by the topics of Zigbee2MQTT, with the values that it sends
	whole  bool   // an output, whose level is told without a property
	cover  bool   // one of Hearth's own, whose value is its position
	zigbee bool   // a device of Zigbee2MQTT, by its topics or as it announces itself
	event  bool   // what it says are events, such as a button's
	invert bool   // its true is Home Assistant's off

	guess func(property string) // tells of a property that it may not have; nil if there is nothing to tell
}

// properties are what Zigbee2MQTT calls what Home Assistant has at the end of an
// entity's id, beside those that are called the same.
var properties = map[string]string{
	"motion": "occupancy", "occupancy": "occupancy", "presence": "presence", "pir": "occupancy", "moving": "occupancy",
	"door": "contact", "window": "contact", "contact": "contact", "opening": "contact", "gate": "contact", "garage": "contact",
	"leak": "water_leak", "water_leak": "water_leak", "flood": "water_leak", "moisture": "water_leak", "water": "water_leak",
	"smoke": "smoke", "vibration": "vibration", "tamper": "tamper", "gas": "gas", "carbon_monoxide": "carbon_monoxide",
	"temperature": "temperature", "temp": "temperature", "humidity": "humidity", "pressure": "pressure", "illuminance": "illuminance",
	"illuminance_lux": "illuminance_lux", "lux": "illuminance", "light_level": "illuminance", "battery": "battery", "battery_level": "battery",
	"power": "power", "energy": "energy", "voltage": "voltage", "current": "current", "co2": "co2", "pm25": "pm25", "voc": "voc",
	"soil_moisture": "soil_moisture", "linkquality": "linkquality", "action": "action", "distance": "distance", "brightness": "illuminance",
	"consumption": "power",
}

// helpers are the entities that have no device behind them, and what the variable
// in their place begins with; nil is not known.
var helpers = map[string]any{
	"input_boolean": false, "input_number": 0, "input_select": nil, "input_text": nil, "input_datetime": nil, "counter": 0, "timer": "idle",
}

// carried are the helpers that people set by hand, and what a message that sets one
// has.
var carried = map[string]string{"input_boolean": "", "input_number": "number", "input_select": "text", "input_text": "text", "input_datetime": "text"}

// booleans are the domains whose states are on and off.
var booleans = []string{"light", "switch", "binary_sensor", "input_boolean", "fan", "siren", "humidifier", "group", "remote", "schedule"}

// absent are the domains that Hearth has nothing like.
var absent = map[string]string{
	"media_player": "Hearth plays no media", "tts": "there is no speech in Hearth", "vacuum": "Hearth knows no vacuum cleaners", "camera": "Hearth knows no cameras",
	"weather": "Hearth fetches no weather", "calendar": "Hearth reads no calendars", "alarm_control_panel": "a [machine] is Hearth's alarm panel (docs/rules.md, Machines)",
	"zone": "Hearth does not know where people are", "conversation": "Hearth hears no speech", "water_heater": "Hearth knows no water heaters",
	"sun": `the sun is a trigger such as { sun = "sunset" } and a condition such as { sun = "down" } here, with an elevation if need be, and no value`, "lawn_mower": "Hearth knows no mowers", "image": "Hearth has no pictures", "update": "Hearth updates no devices", "todo": "Hearth keeps no lists",
}

// entity finds what stands for an entity. What has no name in the house yet gets a
// [device], which its owner has to look at.
func (x *home) entity(id string) (*entity, error) {
	id = strings.ToLower(strings.TrimSpace(id))
	if e := x.entities[id]; e != nil {
		return e, nil
	}
	domain, object, ok := strings.Cut(id, ".")
	if !ok || object == "" || noWord().MatchString(strings.ReplaceAll(object, "_", "")) || noWord().MatchString(strings.ReplaceAll(domain, "_", "")) {
		return nil, fmt.Errorf("%s is no entity such as light.hall: name one", strconv.Quote(oneLine(id)))
	}
	e := &entity{id: id, domain: domain}
	_, helper := helpers[domain]
	switch source, mapped := x.Map[id]; {
	case mapped:
		e.source = source
		if !strings.ContainsAny(source, "/:") && !strings.Contains(source, `"`) {
			e.name, _, _ = strings.Cut(source, ".")
			x.is(e, x.thing(e.name))
		}
		e.event = e.event || domain == "event"
	case !helper && x.thing(object).Kind != "", x.thing(object).Kind == "variable":
		e.source, e.name = object, object
		x.is(e, x.thing(object))
	default:
		if err := x.newEntity(e, object); err != nil {
			return nil, err
		}
	}
	x.entities[id] = e
	return e, nil
}

// is takes note of what stands for it in the house.
func (x *home) is(e *entity, t Thing) {
	e.whole = t.Kind == "output"
	e.cover = t.Kind == "cover"
	if t.Kind != "device" {
		return
	}
	main := t.Main
	if _, p, ok := strings.Cut(e.source, "."); ok {
		main = p
	}
	if t.Via == "zigbee2mqtt" {
		e.raw, e.called = true, t.ID
		e.guess = x.setpoint(e)
		e.invert = main == "contact" && e.domain == "binary_sensor"
	} else {
		e.guess = func(property string) {
			x.need("%s.%s is a guess, for what the device has is not in the configuration: look it up with hearth devices %s", e.name, property, e.name)
		}
	}
	if e.raw && e.domain == "climate" && main == "" {
		e.source += ".system_mode"
	}
	e.zigbee = e.raw || strings.HasPrefix(t.ID, "zigbee2mqtt/")
	e.event = main == "action"
	if e.domain == "event" && e.source == e.name && main != "action" {
		e.source += ".action"
		e.event = true
		e.guessed("action")
	}
}

// setpoint tells of the one property that thermostats of Zigbee2MQTT call differently.
func (x *home) setpoint(e *entity) func(string) {
	return func(property string) {
		if property == "occupied_heating_setpoint" {
			x.need("%s.%s is a guess: some thermostats of Zigbee2MQTT have current_heating_setpoint", e.name, property)
		}
	}
}

// guessed tells that a property is a guess, where its owner has to look at it.
func (e *entity) guessed(property string) {
	if e.guess != nil {
		e.guess(property)
	}
}

// newEntity is one that the house has no name for.
func (x *home) newEntity(e *entity, object string) error {
	if g := x.groups[e.id]; g != nil {
		return x.group(e, object, g)
	}
	if e.id == "zone.home" { // its state is how many people are there
		e.name = x.name("persons_home", "zone_home")
		e.source = e.name
		x.part("calc", e.name, "zone.home: how many are at home", table{{"of", "presence/{name}"}, {"value", "count(readings, # == 'home')"}})
		x.need("%s counts the topics presence/NAME that say home: have each phone publish there", e.id)
		return nil
	}
	if initial, ok := helpers[e.domain]; ok {
		if set := x.settings[e.id]; set != nil {
			initial = begins(e.domain, set, initial)
		}
		e.name = x.name(object, e.domain+"_"+object)
		e.source = e.name
		var t table
		if initial != nil {
			t.put("initial", initial)
		}
		x.part("variable", e.name, e.id, t)
		if kind, ok := carried[e.domain]; ok {
			from := e.domain + "/" + object + "/set"
			link := table{{"from", from}, {"to", e.name}}
			if kind != "" {
				link.put("type", kind)
			}
			x.part("link", e.name, "", link)
			x.need("what was set by hand in Home Assistant, such as %s, is set by a message here: %s", e.id, from)
		}
		return nil
	}
	if e.domain == "group" {
		return fmt.Errorf("what is in %s is not known: import groups.yaml beside it, or --map %s=SOURCE says what stands for it", e.id, e.id)
	}
	if why, ok := absent[e.domain]; ok {
		return fmt.Errorf("%s; if some topic tells of it, --map %s=TOPIC", why, e.id)
	}
	main := ""
	switch e.domain {
	case "person", "device_tracker":
		e.source = "presence/" + object
		x.need("%s is read from the topic presence/%s, home or not_home: have the phone publish there, or --map %s=TOPIC", e.id, object, e.id)
		return nil
	case "input_button":
		e.source = "input_button/" + object
		x.need("%s is the topic input_button/%s: a message there presses it", e.id, object)
		return nil
	case "light", "switch", "fan", "cover", "lock", "valve", "siren", "humidifier", "remote":
		main = "state"
	case "climate":
		main = "system_mode"
	case "binary_sensor", "sensor", "number", "select", "event", "text":
	default:
		return fmt.Errorf("there is nothing like %s in Hearth; --map %s=SOURCE says what stands for it", e.domain, e.id)
	}
	id := object
	if main == "" {
		id, main = guess(object)
	}
	if main == "" {
		main = "state"
		x.need("%s: which of its properties it is has to be said with main in its [device]", e.id)
	}
	e.raw, e.zigbee, e.called = true, true, id
	e.name = x.name(object, e.domain+"_"+object)
	e.source = e.name
	e.guess = x.setpoint(e)
	e.event = main == "action"
	e.invert = main == "contact" && e.domain == "binary_sensor"
	comment := e.id
	if e.invert {
		comment += "; its contact is false when it is open"
	}
	x.part("device", e.name, comment, table{{"via", "zigbee2mqtt"}, {"id", id}, {"main", main}})
	x.need("the id and main in each [device] are guesses after the entity; or say --map ENTITY=NAME, with a name of your configuration")
	return nil
}

// begins is what a helper is at first, as it is set up.
func begins(domain string, n *node, initial any) any {
	first := n.get("initial")
	switch domain {
	case "input_boolean":
		if on, ok := first.boolean(); ok {
			return on
		}
	case "input_number", "counter":
		if f, err := strconv.ParseFloat(first.str(), 64); err == nil {
			return f
		}
	case "input_select":
		if first == nil && len(n.get("options").list()) > 0 {
			first = n.get("options").list()[0]
		}
		fallthrough
	case "input_text":
		if text := first.word(); first.scalar() && text != "" {
			return text
		}
	case "input_datetime":
		if t, ok := clockTime(first.str()); ok {
			return t
		}
	}
	return initial
}

// group is a group as a calc: on while any in it is, or all of them with all: true;
// of people home while anybody is.
func (x *home) group(e *entity, object string, g *node) error {
	x.groups[e.id] = nil // one that holds itself
	defer func() { x.groups[e.id] = g }()
	people := false
	var parts, texts []string
	for _, one := range g.get("entities").list() {
		en, err := x.entity(one.str())
		if err != nil {
			return err
		}
		on := "on"
		if en.domain == "person" || en.domain == "device_tracker" || en.domain == "group" && !en.boolean() {
			on, people = "home", true
		} else if !en.boolean() {
			return fmt.Errorf("a group of %s: on and off, and home, are carried over", oneLine(en.id))
		}
		var sources []string
		if x.within != nil {
			return errors.New("a group in a template of several states")
		}
		x.within = &sources
		text, err := x.onOff(&expr{op: "==", args: []*expr{{op: "text"}, {op: "text", text: on}}}, en)
		x.within = nil
		if err != nil {
			return err
		}
		texts = append(texts, strings.ReplaceAll(text, "readings[0]", fmt.Sprintf("readings[%d]", len(parts))))
		parts = append(parts, en.source)
	}
	if len(parts) == 0 {
		return fmt.Errorf("the group %s has no entities", e.id)
	}
	of := make([]any, len(parts))
	for i, p := range parts {
		of[i] = p
		if strings.Contains(texts[i], " ") {
			texts[i] = "(" + texts[i] + ")"
		}
	}
	joint := " or "
	if all, ok := g.get("all").boolean(); ok && all {
		joint = " and "
	}
	value := strings.Join(texts, joint)
	e.domain, e.whole = "group", true
	if people {
		e.domain, value = "person", "("+value+") ? 'home' : 'not_home'"
	}
	e.name = x.name(object, "group_"+object)
	e.source = e.name
	x.part("calc", e.name, e.id, table{{"of", of}, {"value", value}})
	return nil
}

// guess takes an entity's id apart: Zigbee2MQTT's end in the property.
func guess(object string) (id, property string) {
	words := strings.Split(object, "_")
	for n := min(2, len(words)); n > 0; n-- {
		last := strings.Join(words[len(words)-n:], "_")
		p, ok := properties[last]
		if !ok {
			continue
		}
		// What ends in the property's own name has it appended; motion is more likely
		// to be a part of the name.
		if p == last && n < len(words) {
			return strings.Join(words[:len(words)-n], "_"), p
		}
		return object, p
	}
	for _, w := range words {
		if p, ok := properties[w]; ok && p != "illuminance" {
			return object, p
		}
	}
	return object, ""
}

// of is the source of an attribute; "" is the state.
func (e *entity) of(attribute string) (string, error) {
	if attribute == "" {
		return e.source, nil
	}
	if e.name == "" && !(e.event && attribute == "event_type") {
		return "", fmt.Errorf("%s is a topic here, which has no attribute %s", e.id, attribute)
	}
	p := slug(attribute)
	switch {
	case e.event && attribute == "event_type":
		return e.source, nil
	case e.domain == "climate" && attribute == "current_temperature":
		p = "current_temperature"
		if e.zigbee {
			p = "local_temperature"
		}
	case e.domain == "climate" && attribute == "hvac_action" && e.zigbee:
		p = "running_state"
	case e.domain == "climate" && attribute == "temperature":
		p = "target_temperature"
		if e.zigbee {
			p = "occupied_heating_setpoint"
		}
	case attribute == "current_position":
		p = "position"
		if e.cover {
			return e.name, nil
		}
	case attribute == "current_tilt_position":
		p = "tilt"
	case attribute == "battery_level":
		p = "battery"
	case attribute == "percentage":
		p = "speed"
	case attribute == "brightness" && e.whole:
		p = "level"
	}
	e.guessed(p)
	return e.name + "." + p, nil
}

// boolean says whether its states are on and off.
func (e *entity) boolean() bool { return slices.Contains(booleans, e.domain) }

// values are what Hearth sees when Home Assistant sees one of these states.
func (e *entity) values(states []string) ([]any, error) {
	var list []any
	put := func(values ...any) {
		for _, v := range values {
			if !slices.Contains(list, v) {
				list = append(list, v)
			}
		}
	}
	for _, s := range states {
		if s == "unavailable" || s == "unknown" {
			return nil, fmt.Errorf("a value that is %s is none in Hearth, it keeps the last; silent = \"1h\" or a topic of availability tells that it is gone", s)
		}
		switch {
		case e.domain == "group" && (s == "home" || s == "not_home"): // of persons
			put(s)
		case e.boolean():
			if s != "on" && s != "off" {
				return nil, fmt.Errorf("%s is on or off, not %s", e.id, oneLine(s))
			}
			put((s == "on") != e.invert)
		case e.domain == "cover" && e.cover:
			return nil, fmt.Errorf("%s is a position here", e.id)
		case e.domain == "cover" && s == "closed":
			put("closed", "CLOSE")
		case e.domain == "cover" || e.domain == "valve" && !e.raw:
			put(s, strings.ToUpper(s))
		case e.domain == "valve":
			put(s == "open")
		case e.domain == "lock" && (s == "locked" || s == "unlocked"):
			put(s, strings.ToUpper(strings.TrimSuffix(s, "ed")))
		case e.domain == "zone":
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return nil, fmt.Errorf("%s is a number here, not %s", e.id, oneLine(s))
			}
			put(f)
		default:
			if f, err := strconv.ParseFloat(s, 64); err == nil && e.domain != "input_text" && e.domain != "input_select" {
				put(f)
			} else {
				put(s)
			}
		}
	}
	return list, nil
}

// state is the condition that it is in one of these states.
func (e *entity) state(attribute string, states []string) (*cond, error) {
	if e.event && (attribute == "" || attribute == "event_type") {
		return nil, fmt.Errorf("%s is an event here, which has no last value: it is known in a rule that it alone sets off", e.id)
	}
	source, err := e.of(attribute)
	if err != nil {
		return nil, err
	}
	if attribute != "" {
		var list []any
		for _, s := range states {
			if word := map[string]string{"heating": "heat", "cooling": "cool"}[s]; word != "" && e.zigbee && attribute == "hvac_action" {
				s = word // as Zigbee2MQTT has it
			}
			list = append(list, scalarOf(s))
		}
		return &cond{op: "test", source: source, want: oneOrMore(list)}, nil
	}
	if e.cover {
		if len(states) == 1 && states[0] == "closed" {
			return &cond{op: "test", source: source, want: 0}, nil
		}
		if len(states) == 1 && states[0] == "open" {
			return &cond{op: "test", source: source, want: table{{"above", 0}}}, nil
		}
	}
	values, err := e.values(states)
	if err != nil {
		return nil, err
	}
	return &cond{op: "test", source: source, want: oneOrMore(values)}, nil
}

// scalarOf is a text as the value that it is.
func scalarOf(s string) any {
	if f, err := strconv.ParseFloat(s, 64); err == nil && number(f) != "0" || s == "0" {
		return f
	}
	switch strings.ToLower(s) {
	case "true", "on":
		return true
	case "false", "off":
		return false
	}
	return s
}

// ref is a source in an expression.
func ref(source string) string {
	if strings.ContainsAny(source, `/:"`) || !strings.Contains(source, ".") && noWord().MatchString(strings.ReplaceAll(source, "_", "")) {
		return "state(" + exprText(source) + ")"
	}
	return source
}

// exprText is a text in an expression, with quotes that a text with holes may hold.
func exprText(s string) string {
	s = strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\t", `\t`, "\r", "", "\x00", "").Replace(strings.ToValidUTF8(s, "?"))
	return "'" + s + "'"
}
