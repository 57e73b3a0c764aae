package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"hearth/devices"
	"hearth/devices/template"
)

// haComponents describe what each component has. nil is one that says nothing of use here.
var haComponents = map[string]func(c *haComponent){
	"alarm_control_panel": (*haComponent).alarm,
	"binary_sensor":       (*haComponent).binarySensor,
	"button":              (*haComponent).button,
	"climate":             (*haComponent).climate,
	"cover":               (*haComponent).cover,
	"date":                (*haComponent).textual,
	"datetime":            (*haComponent).textual,
	"device_automation":   (*haComponent).trigger,
	"device_tracker":      (*haComponent).tracker,
	"event":               (*haComponent).event,
	"fan":                 (*haComponent).fan,
	"humidifier":          (*haComponent).humidifier,
	"lawn_mower":          (*haComponent).lawnMower,
	"light":               (*haComponent).light,
	"lock":                (*haComponent).lock,
	"notify":              (*haComponent).textual,
	"number":              (*haComponent).number,
	"scene":               (*haComponent).scene,
	"select":              (*haComponent).selection,
	"sensor":              (*haComponent).sensor,
	"siren":               (*haComponent).siren,
	"switch":              (*haComponent).onOff,
	"text":                (*haComponent).textual,
	"time":                (*haComponent).textual,
	"update":              (*haComponent).update,
	"vacuum":              (*haComponent).vacuum,
	"valve":               (*haComponent).valve,
	"water_heater":        (*haComponent).waterHeater,
	"camera":              nil,
	"image":               nil,
	"infrared":            nil,
	"remote":              nil,
	"tag":                 (*haComponent).tag,
}

// haComponent is one component on its way to properties.
type haComponent struct {
	options    map[string]any // by their long names
	under      string         // stands before all its topics
	component  string
	device     haDevice
	label      string
	esphome    bool
	properties []*Property // the main one is named "", parts are Of "."
	wrong      []string    // what of the options is
}

func (c *haComponent) fault(what string) {
	if len(c.wrong) < 5 && !slices.Contains(c.wrong, what) { // an option is looked at more than once
		c.wrong = append(c.wrong, what)
	}
}

// haText is an option as text. Home Assistant writes booleans as Python does.
func haText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case json.Number:
		return v.String()
	case float64:
		return devices.Text(v)
	}
	return ""
}

// haAnys are texts as they are in JSON.
func haAnys(texts []string) (all []any) {
	for _, t := range texts {
		all = append(all, t)
	}
	return all
}

// haList is a list of texts, or one text in place of it.
func haList(v any) []string {
	list, ok := v.([]any)
	if !ok {
		if text := haText(v); text != "" {
			return []string{text}
		}
		return nil
	}
	var all []string
	for _, e := range list {
		if text := haText(e); text != "" && len(all) < 500 {
			all = append(all, text)
		}
	}
	return all
}

func (c *haComponent) text(key string) string { return haText(c.options[key]) }

// option is an option's text or, if it is not there, what it is then.
func (c *haComponent) option(key, otherwise string) (text string, given bool) {
	v, ok := c.options[key]
	if !ok || v == nil {
		return otherwise, false
	}
	return haText(v), true
}

// word is an option's text; null takes away what it is otherwise.
func (c *haComponent) word(key, otherwise string) string {
	if v, ok := c.options[key]; ok {
		return haText(v)
	}
	return otherwise
}

func (c *haComponent) amount(key string, otherwise float64) float64 {
	v, ok := c.options[key]
	if !ok || v == nil {
		return otherwise
	}
	f, err := toNumber(haText(v))
	if err != nil {
		c.fault(fmt.Sprintf("%s is no number", key))
		return otherwise
	}
	return f
}

func (c *haComponent) flag(key string) bool {
	on, _ := devices.Bool(c.options[key])
	return on
}

// topic is an option that is a topic; "" if it has none, or one that can't be.
func (c *haComponent) topic(key string) string {
	v, ok := c.options[key]
	if !ok || v == nil || v == false { // false is how some say that there is none
		return ""
	}
	topic := haText(v)
	if topic == "" {
		return ""
	}
	if strings.ContainsAny(topic, "+#") {
		c.fault(key + " has a + or #: want one topic")
		return ""
	}
	if err := devices.CheckTopic(topic); err != nil {
		c.fault(fmt.Sprintf("%s: %v", key, err))
		return ""
	}
	return c.under + topic
}

// template is an option that is a template; nil if there is none. raw says why it is none
// that could be read.
func (c *haComponent) template(keys ...string) (t *template.Template, raw string) {
	for _, key := range keys {
		text := c.text(key)
		if key == "" || text == "" {
			continue
		}
		t, err := template.Parse(text)
		if err != nil {
			return nil, fmt.Sprintf("%s %s: %v", key, cutTo(text, 100), err)
		}
		return t, ""
	}
	return nil, ""
}

// A haSource is where a value comes from.
type haSource struct {
	topic string
	read  Reader
	raw   string // why it is the payload as it is
	key   string // of JSON, where it is one
}

// filter is an option that is a topic on which something is reported. OpenMQTTGateway has
// +/+/BTtoMQTT/A4C138112233 there: whichever gateway hears a sensor speaks for it.
func (c *haComponent) filter(key string) string {
	topic := c.text(key)
	before, last := "", topic
	if i := strings.LastIndexByte(topic, '/'); i >= 0 {
		before, last = topic[:i], topic[i+1:]
	}
	if !strings.Contains(before, "+") || last == "" || strings.ContainsAny(last, "+#") || devices.CheckFilter(topic) != nil {
		return c.topic(key)
	}
	return c.under + topic
}

// hear is the source of a topic and the first of templates that there is.
func (c *haComponent) hear(topicKey string, templateKeys ...string) haSource {
	s := haSource{topic: c.filter(topicKey)}
	if s.topic == "" {
		return s
	}
	t, raw := c.template(templateKeys...)
	s.raw = raw
	switch {
	case t == nil:
		s.read = whole
	case t.IsValue():
		s.read = whole
	default:
		if path, plain := t.Path(); plain {
			if len(path) == 1 {
				s.key, _ = path[0].(string)
			}
			s.read = at(path...)
			break
		}
		s.read = func(p *Payload) (any, bool, error) {
			text, err := t.Execute(template.Input{Value: p.Text(), JSON: p.object})
			if errors.Is(err, template.ErrMissing) {
				return nil, false, nil // it speaks of something else
			}
			return text, err == nil, err
		}
	}
	if raw == "" {
		s.read = haHeard(s.read)
	}
	return s
}

// haHeard takes away what says that there is nothing: an empty text, and None.
func haHeard(r Reader) Reader {
	return func(p *Payload) (any, bool, error) {
		v, ok, err := r(p)
		switch text, isText := v.(string); {
		case !ok || err != nil || !isText:
		case text == "" || text == "None":
			return nil, false, nil
		case len(text) > devices.MaxText:
			return nil, false, fmt.Errorf("it has %d bytes", len(text))
		}
		return v, ok, err
	}
}

// inJSON is a place in the JSON of a topic.
func (c *haComponent) inJSON(topicKey string, path ...any) haSource {
	return haSource{topic: c.topic(topicKey), read: at(path...)}
}

// add makes a property that is reported by from, in the form that shape gives it.
func (c *haComponent) add(name string, kind Kind, from haSource, shape func(Reader) Reader) *Property {
	p := &Property{Name: name, Kind: kind}
	if name != "" {
		p.Of = "."
	}
	if from.topic != "" {
		if p.Raw = from.raw; from.raw != "" || shape == nil {
			p.Reports = []Report{{from.topic, from.read}}
		} else {
			p.Reports = []Report{{from.topic, shape(from.read)}}
		}
	}
	if from.key != "" && slices.ContainsFunc(c.device.keys, func(key string) bool { return strings.HasPrefix(key, "id:zigbee2mqtt_") }) {
		p.Name = "=" + snakeName(from.key) // as Zigbee2MQTT itself calls it
	}
	c.properties = append(c.properties, p)
	return p
}

// drop takes a property away that is neither reported nor told.
func (c *haComponent) drop(p *Property) bool {
	if len(p.Reports) > 0 || p.Set != nil {
		return false
	}
	c.properties = slices.DeleteFunc(c.properties, func(q *Property) bool { return p == q })
	return true
}

// A haEncode gives the value of a command in the words of the device, and what
// templates may use besides.
type haEncode func(v any) (value any, names map[string]any, err error)

// tell says how a property is told something.
func (c *haComponent) tell(p *Property, topicKey, templateKey string, encode haEncode) {
	topic := c.topic(topicKey)
	if topic == "" {
		return
	}
	t, raw := c.template(templateKey)
	p.Set = &Set{Topic: topic, Retain: c.flag("retain"), Encode: func(v any) (string, error) {
		value, names, err := encode(v)
		switch {
		case err != nil:
			return "", err
		case raw != "":
			return "", errors.New(raw)
		case t == nil:
			return haPayload(value), nil
		}
		text, err := t.Execute(template.Input{Value: value, Names: names})
		if err == nil && text == "" {
			err = errors.New("it gives nothing")
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", templateKey, err)
		}
		return text, nil
	}}
	if qos := c.amount("qos", 0); qos == 1 || qos == 2 {
		p.Set.QoS = byte(qos)
	}
	p.Raw = cmp.Or(p.Raw, raw)
}

func haPayload(v any) string {
	if b, ok := v.(bool); ok {
		return haText(b)
	}
	return devices.Text(v)
}

// haAny encodes a value as it is.
func haAny(v any) (any, map[string]any, error) { return v, nil, nil }

// haSay encodes booleans.
func haSay(on, off, toggle string) haEncode {
	say := saying(on, off, toggle)
	return func(v any) (any, map[string]any, error) {
		text, err := say(v)
		return text, nil, err
	}
}

// haOneOf encodes words. One without a word in the device's can't be told.
func haOneOf(word map[string]string) haEncode {
	return func(v any) (any, map[string]any, error) {
		text := devices.Text(v)
		if w := word[text]; w != "" {
			return w, nil, nil
		}
		return nil, nil, fmt.Errorf("it has no word for %.40q", text)
	}
}

// haEither reads a boolean in two words. loose are those that nobody has chosen, so others
// that mean the same count too.
func haEither(r Reader, yes, no string, loose bool) Reader {
	return then(r, func(v any) (any, error) {
		text := haText(v)
		if text == "" {
			text = devices.Text(v)
		}
		switch trimmed := strings.TrimSpace(text); {
		case text == yes:
			return true, nil
		case text == no:
			return false, nil
		case strings.EqualFold(trimmed, yes):
			return true, nil
		case strings.EqualFold(trimmed, no):
			return false, nil
		}
		if on, ok := devices.Bool(v); ok && loose {
			return on, nil
		}
		return nil, fmt.Errorf("%.40q is neither %q nor %q", text, yes, no)
	})
}

// either is haEither with words that are options.
func (c *haComponent) either(onKey, on, offKey, off string) func(Reader) Reader {
	yes, hasYes := c.option(onKey, on)
	no, hasNo := c.option(offKey, off)
	return func(r Reader) Reader { return haEither(r, yes, no, !hasYes && !hasNo) }
}

func haNumber(r Reader) Reader { return number(r, 1) }

// haTextual reads anything as text.
func haTextual(r Reader) Reader {
	return then(r, func(v any) (any, error) {
		if text := haText(v); text != "" {
			return text, nil
		}
		return devices.Text(v), nil
	})
}

// haWord reads one of some words; another is none of Home Assistant's states.
func haWord(some ...string) func(Reader) Reader {
	return func(r Reader) Reader {
		return then(haTextual(r), func(v any) (any, error) {
			if !slices.Contains(some, v.(string)) {
				return nil, fmt.Errorf("%.40q is none of its states", v)
			}
			return v, nil
		})
	}
}

// addOption adds a property that is one of some options, if there are any: another word is none
// to Home Assistant, which leaves the state as it was.
func (c *haComponent) addOption(name string, kind Kind, from haSource, options []string) *Property {
	p := c.add(name, kind, from, func(r Reader) Reader {
		return then(haTextual(r), func(v any) (any, error) {
			if len(options) > 0 && !slices.Contains(options, v.(string)) {
				return nil, fmt.Errorf("%.40q is none of its options", v)
			}
			return v, nil
		})
	})
	p.Options = options
	return p
}

// haLevel reads a number of a range as %, in whole ones, so that it comes back as it was
// told. A message may be JSON with the number in it.
func haLevel(from, to float64, key string) func(Reader) Reader {
	return func(r Reader) Reader {
		return then(r, func(v any) (any, error) {
			if text, ok := v.(string); ok && key != "" && strings.HasPrefix(strings.TrimSpace(text), "{") {
				if doc, err := devices.DecodeJSON([]byte(text)); err == nil {
					v = doc
				}
			}
			if m, ok := v.(map[string]any); ok && key != "" {
				if v = m[key]; v == nil {
					return nil, nil
				}
			}
			f, err := toNumber(plain1(v))
			if err != nil {
				return nil, err
			}
			return haPercent(f, from, to), nil
		})
	}
}

func haPercent(f, from, to float64) float64 {
	if from == to {
		return 0
	}
	part := (f - from) * 100 / (to - from)
	percent := min(max(math.Round(part), 0), 100)
	if part > 0 { // what is a little open is not closed
		percent = max(percent, 1)
	}
	return percent
}

// haRanged is a number of the range that % stand for.
func haRanged(v any, from, to float64) (float64, error) {
	f, err := toNumber(v)
	if err != nil {
		return 0, err
	}
	n := math.Round(from + (to-from)*f/100)
	if f > 0 && n == from && from != to {
		n += math.Copysign(1, to-from)
	}
	return n, nil
}

var haPercents = &Range{Min: 0, Max: 100, Step: 1}

// percent makes a part a number in %.
func percent(p *Property) *Property {
	p.Unit, p.Range = "%", haPercents
	return p
}

// ---- what can be switched, and sensors

func (c *haComponent) toggle(word string) string {
	if c.esphome {
		return word
	}
	return ""
}

func (c *haComponent) onOff() {
	on, off := c.word("payload_on", "ON"), c.word("payload_off", "OFF")
	p := c.add("", Switch, c.hear("state_topic", "value_template"), c.stateWords(on, off))
	c.tell(p, "command_topic", "command_template", haSay(on, off, c.toggle("TOGGLE")))
	c.drop(p)
}

// stateWords are those of a state, which are those of commands if it has no others.
func (c *haComponent) stateWords(on, off string) func(Reader) Reader {
	yes, no := cmp.Or(c.text("state_on"), on), cmp.Or(c.text("state_off"), off)
	return func(r Reader) Reader { return haEither(r, yes, no, yes == "ON" && no == "OFF") }
}

func (c *haComponent) binarySensor() {
	p := c.add("", BinarySensor, c.hear("state_topic", "value_template"), c.either("payload_on", "ON", "payload_off", "OFF"))
	p.Class = c.text("device_class")
	p.OffAfter = seconds(c.amount("off_delay", 0))
	c.drop(p)
}

func (c *haComponent) sensor() {
	class := c.text("device_class")
	unit := plainUnit(c.text("unit_of_measurement"))
	from := c.hear("state_topic", "value_template")
	var p *Property
	switch {
	case class == "enum" || class == "timestamp" || class == "date" || class == "uptime" || c.options["options"] != nil:
		p = c.addOption("", Sensor, from, haList(c.options["options"]))
	case unit != "" || class != "" || c.options["state_class"] != nil || c.options["suggested_display_precision"] != nil:
		p = c.add("", Sensor, from, haNumber)
	default:
		p = c.add("", Sensor, from, haGuess)
	}
	p.Class, p.Unit = class, unit
	c.drop(p)
}

// haGuess reads what nobody has said to be a number: one, an object, or text.
func haGuess(r Reader) Reader {
	return then(r, func(v any) (any, error) {
		text, ok := v.(string)
		if !ok {
			return plainJSON(v), nil
		}
		trimmed := strings.TrimSpace(text)
		switch {
		case trimmed == "":
			return text, nil
		case trimmed[0] == '{' || trimmed[0] == '[':
			if doc, err := devices.DecodeJSON([]byte(trimmed)); err == nil {
				return plainJSON(doc), nil
			}
		case plainDecimal(trimmed):
			if f, err := strconv.ParseFloat(trimmed, 64); err == nil {
				return f, nil
			}
		case strings.EqualFold(trimmed, "nan") || strings.EqualFold(trimmed, "unavailable") || strings.EqualFold(trimmed, "unknown"):
			return nil, fmt.Errorf("it is %s", trimmed)
		}
		return text, nil
	})
}

// plainDecimal tells 23.5 from 1e5, 0x10, inf and 007, which may be names.
func plainDecimal(text string) bool {
	text = strings.TrimPrefix(text, "-")
	whole, fraction, has := strings.Cut(text, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return digits(whole) && (len(whole) == 1 || whole[0] != '0') && len(text) < 16 && (!has || digits(fraction))
}

func (c *haComponent) number() {
	p := c.add("", Number, c.hear("state_topic", "value_template"), haNumber)
	reset := cmp.Or(c.text("payload_reset"), "None")
	for i, r := range p.Reports {
		if read := r.Read; p.Raw == "" {
			p.Reports[i].Read = haNot(c.hear("state_topic", "value_template").read, reset, read)
		}
	}
	p.Class, p.Unit = c.text("device_class"), plainUnit(c.text("unit_of_measurement"))
	p.Range = &Range{Min: c.amount("min", 0), Max: c.amount("max", 100), Step: c.amount("step", 1)}
	if p.Range.Min > p.Range.Max {
		c.fault("min is more than max")
		p.Range = nil
	}
	c.tell(p, "command_topic", "command_template", haAny)
	c.drop(p)
}

// haNot reads r unless text gives the word that says that there is no value.
func haNot(text Reader, word string, r Reader) Reader {
	return func(p *Payload) (any, bool, error) {
		if v, ok, err := text(p); err == nil && ok && haText(v) == word {
			return nil, false, nil
		}
		return r(p)
	}
}

func (c *haComponent) selection() {
	p := c.addOption("", Select, c.hear("state_topic", "value_template"), haList(c.options["options"]))
	if len(p.Options) == 0 {
		c.fault("it has no options")
	}
	c.tell(p, "command_topic", "command_template", haAny)
	c.drop(p)
}

func (c *haComponent) textual() {
	p := c.add("", Text, c.hear("state_topic", "value_template"), haTextual)
	if c.component == "text" {
		p.Range = &Range{Min: c.amount("min", 0), Max: c.amount("max", 255)}
	}
	c.tell(p, "command_topic", "command_template", func(v any) (any, map[string]any, error) { return devices.Text(v), nil, nil })
	c.drop(p)
}

func (c *haComponent) button() {
	press := c.word("payload_press", "PRESS")
	p := c.add("", Button, haSource{}, nil)
	p.Class = c.text("device_class")
	c.tell(p, "command_topic", "command_template", func(any) (any, map[string]any, error) { return press, nil, nil })
	c.drop(p)
}

func (c *haComponent) scene() {
	on := c.word("payload_on", "ON")
	p := c.add("", Button, haSource{}, nil)
	p.Class = "scene"
	c.tell(p, "command_topic", "", func(any) (any, map[string]any, error) { return on, nil, nil })
	c.drop(p)
}

// ---- events

// event reads {"event_type":"press"}.
func (c *haComponent) event() {
	types := haList(c.options["event_types"])
	from := c.hear("state_topic", "value_template")
	p := c.add("", Event, haSource{}, nil)
	p.Class, p.Options, p.Raw = c.text("device_class"), types, from.raw
	if from.topic == "" {
		c.drop(p)
		return
	}
	raw := from.raw != ""
	p.Reports = []Report{{from.topic, then(from.read, func(v any) (any, error) {
		doc := v
		if text, ok := v.(string); ok {
			if slices.Contains(types, text) {
				return text, nil
			}
			var err error
			if doc, err = devices.DecodeJSON([]byte(text)); err != nil {
				if raw || text == "" {
					return nil, nil
				}
				return nil, fmt.Errorf("%.40q is no event", text)
			}
		}
		m, ok := doc.(map[string]any)
		if !ok {
			return nil, errors.New("it is no JSON object")
		}
		if len(m) == 0 {
			return nil, nil
		}
		what := haText(m["event_type"])
		if raw && what == "" { // a guess that is never wrong: it is one of what may happen
			if what = haText(m["action"]); !slices.Contains(types, what) {
				return nil, nil
			}
		}
		switch {
		case what == "":
			return nil, errors.New("it has no event_type")
		case len(types) > 0 && !slices.Contains(types, what):
			return nil, fmt.Errorf("%.40q is none of its events", what)
		}
		return what, nil
	})}}
}

// trigger is one thing of a device that may happen. Those that belong together become one
// event: presses of one button, or the actions of one remote.
func (c *haComponent) trigger() {
	kind, subtype := c.text("type"), c.text("subtype")
	if t := c.text("automation_type"); t != "trigger" && t != "" {
		c.fault(fmt.Sprintf("automation_type is %.40q: want trigger", t))
		return
	}
	from := c.hear("topic", "value_template")
	if from.topic == "" {
		return
	}
	payload, only := c.option("payload", "")
	name, word := subtype, strings.TrimPrefix(strings.TrimPrefix(kind, "remote_"), "button_")
	if kind == "action" || kind == "click" || kind == "scene" || subtype == "" {
		name, word = kind, subtype
	}
	word = cmp.Or(word, payload, kind, "triggered")
	p := c.add("", Event, haSource{}, nil)
	p.Options, p.Raw = []string{word}, from.raw
	c.options["object_id"] = cmp.Or(snake(name), "action")
	p.Reports = []Report{{from.topic, func(p *Payload) (any, bool, error) {
		v, ok, err := from.read(p)
		if err != nil || !ok {
			return nil, false, nil // it speaks of another, most probably
		}
		if only && haText(v) != payload {
			return nil, false, nil
		}
		return word, true, nil
	}}}
}

// tag is a reader of tags, which tells each that is held to it.
func (c *haComponent) tag() {
	from := c.hear("topic", "value_template")
	if from.topic == "" {
		return
	}
	p := c.add("", Event, haSource{}, nil)
	p.Raw = from.raw
	p.Reports = []Report{{from.topic, happening(from.read)}}
}

// ---- covers, valves and locks

func (c *haComponent) cover() {
	stateKeys, positionKeys := []string{"value_template"}, []string{"position_template"}
	switch { // some have one topic and one template for both
	case c.topic("position_topic") == "":
		stateKeys = append(stateKeys, "position_template")
	case c.topic("state_topic") == "" || c.topic("state_topic") == c.topic("position_topic"):
		positionKeys = append(positionKeys, "value_template")
	}
	state, position := c.hear("state_topic", stateKeys...), c.hear("position_topic", positionKeys...)
	open, closed := c.amount("position_open", 100), c.amount("position_closed", 0)
	byLevel := func(r Reader) Reader {
		return then(haLevel(closed, open, "position")(r), func(v any) (any, error) {
			if v == 0.0 {
				return "closed", nil
			}
			return "open", nil
		})
	}

	words := map[string]any{
		cmp.Or(c.text("state_open"), "open"): "open", cmp.Or(c.text("state_closed"), "closed"): "closed",
		cmp.Or(c.text("state_opening"), "opening"): "opening", cmp.Or(c.text("state_closing"), "closing"): "closing",
		cmp.Or(c.text("state_stopped"), "stopped"): "stopped",
	}
	main := c.add("", Cover, state, func(r Reader) Reader {
		word, level := haWords(r, words), byLevel(r)
		return func(p *Payload) (any, bool, error) {
			v, ok, err := word(p)
			if err != nil && position.topic == state.topic {
				if v, ok, err := level(p); err == nil && ok { // a number in place of a word
					return v, ok, nil
				}
			}
			return v, ok, err
		}
	})
	main.Class = c.text("device_class")
	if state.topic == "" && position.topic != "" && position.raw == "" {
		main.Reports = []Report{{position.topic, byLevel(position.read)}}
	}
	told := map[string]string{
		"open": c.word("payload_open", "OPEN"), "close": c.word("payload_close", "CLOSE"), "stop": c.word("payload_stop", "STOP"),
	}
	toPosition := func(v any) (any, map[string]any, error) {
		f, err := haRanged(v, closed, open)
		return f, map[string]any{
			"position": v, "position_open": open, "position_closed": closed,
			"tilt_min": c.amount("tilt_min", 0), "tilt_max": c.amount("tilt_max", 100),
		}, err
	}
	if c.topic("command_topic") != "" {
		c.tell(main, "command_topic", "", haOneOf(told))
	} else {
		c.tell(main, "set_position_topic", "set_position_template", func(v any) (any, map[string]any, error) {
			switch v {
			case "open":
				return toPosition(100.0)
			case "close":
				return toPosition(0.0)
			}
			return nil, nil, fmt.Errorf("it has no word for %v", v)
		})
	}
	if position.topic != "" || c.topic("set_position_topic") != "" {
		p := percent(c.add("position", Number, position, haLevel(closed, open, "position")))
		c.tell(p, "set_position_topic", "set_position_template", toPosition)
	}
	if tilt := c.hear("tilt_status_topic", "tilt_status_template"); tilt.topic != "" || c.topic("tilt_command_topic") != "" {
		low, high := c.amount("tilt_min", 0), c.amount("tilt_max", 100)
		if c.flag("tilt_invert_state") {
			low, high = high, low
		}
		p := percent(c.add("tilt", Number, tilt, haLevel(low, high, "tilt_position")))
		c.tell(p, "tilt_command_topic", "tilt_command_template", func(v any) (any, map[string]any, error) {
			f, err := haRanged(v, low, high)
			return f, map[string]any{
				"tilt_position": v, "tilt_min": low, "tilt_max": high, "position_open": open, "position_closed": closed,
			}, err
		})
		if position.topic != "" && position.raw == "" && c.text("position_template") != "" { // which may give both
			level := haLevel(low, high, "tilt_position")(position.read)
			p.Reports = append(p.Reports, Report{position.topic, func(m *Payload) (any, bool, error) {
				v, _, _ := position.read(m)
				if _, object := v.(map[string]any); object || strings.HasPrefix(strings.TrimSpace(haText(v)), "{") {
					return level(m)
				}
				return nil, false, nil // it is the position alone
			}})
		}
	}
	c.parts(main)
}

// haWords reads words of a device, whose JSON may be {"state":"open"}.
func haWords(r Reader, meaning map[string]any) Reader {
	return words(then(r, func(v any) (any, error) {
		if text, ok := v.(string); ok && strings.HasPrefix(strings.TrimSpace(text), "{") {
			if doc, err := devices.DecodeJSON([]byte(text)); err == nil {
				v = doc
			}
		}
		if m, ok := v.(map[string]any); ok {
			v = m["state"]
		}
		return v, nil
	}), meaning)
}

// parts makes the parts independent where there is nothing that they are parts of.
func (c *haComponent) parts(main *Property) {
	if !c.drop(main) {
		return
	}
	for _, p := range c.properties {
		p.Of = ""
	}
}

func (c *haComponent) valve() {
	state := c.hear("state_topic", "value_template")
	open, closed := c.amount("position_open", 100), c.amount("position_closed", 0)
	byPosition := c.flag("reports_position")
	meaning := map[string]any{
		cmp.Or(c.text("state_open"), "open"): true, cmp.Or(c.text("state_closed"), "closed"): false,
		cmp.Or(c.text("state_opening"), "opening"): true, cmp.Or(c.text("state_closing"), "closing"): true,
	}
	toPosition := func(v any) (any, map[string]any, error) {
		f, err := haRanged(v, closed, open)
		return f, map[string]any{"position": v, "position_open": open, "position_closed": closed}, err
	}
	shape := func(r Reader) Reader { return haWords(r, meaning) }
	level := haLevel(closed, open, "position")
	moves := func(r Reader) Reader { // opening and closing are told in its place
		return then(r, func(v any) (any, error) {
			if _, word := meaning[haText(v)]; word {
				return nil, nil
			}
			return v, nil
		})
	}
	if byPosition {
		shape = func(r Reader) Reader {
			return then(level(moves(r)), func(v any) (any, error) { return v != 0.0, nil })
		}
	}
	main := c.add("", Valve, state, shape)
	main.Class = c.text("device_class")
	if byPosition {
		c.tell(main, "command_topic", "command_template", func(v any) (any, map[string]any, error) {
			switch v {
			case true:
				return toPosition(100.0)
			case false:
				return toPosition(0.0)
			}
			return nil, nil, errToggle
		})
		p := percent(c.add("position", Number, state, func(r Reader) Reader { return level(moves(r)) }))
		c.tell(p, "command_topic", "command_template", toPosition)
	} else {
		c.tell(main, "command_topic", "command_template", haSay(c.word("payload_open", "OPEN"), c.word("payload_close", "CLOSE"), c.toggle("TOGGLE")))
		if position := c.hear("position_topic", "position_template"); position.topic != "" { // of ESPHome
			p := percent(c.add("position", Number, position, level))
			c.tell(p, "set_position_topic", "set_position_template", toPosition)
		}
	}
	if stop := c.text("payload_stop"); stop != "" {
		c.tell(c.add("stop", Button, haSource{}, nil), "command_topic", "command_template", func(any) (any, map[string]any, error) { return stop, nil, nil })
	}
	c.parts(main)
}

func (c *haComponent) lock() {
	meaning := map[string]any{
		cmp.Or(c.text("state_locked"), "LOCKED"): "locked", cmp.Or(c.text("state_unlocked"), "UNLOCKED"): "unlocked",
		cmp.Or(c.text("state_locking"), "LOCKING"): "locking", cmp.Or(c.text("state_unlocking"), "UNLOCKING"): "unlocking",
		cmp.Or(c.text("state_jammed"), "JAMMED"): "jammed", cmp.Or(c.text("state_open"), "OPEN"): "unlocked",
		cmp.Or(c.text("state_opening"), "OPENING"): "unlocking",
	}
	p := c.add("", Lock, c.hear("state_topic", "value_template"), func(r Reader) Reader { return haWords(r, meaning) })
	c.tell(p, "command_topic", "command_template", haWithCode(haOneOf(map[string]string{
		"lock": c.word("payload_lock", "LOCK"), "unlock": c.word("payload_unlock", "UNLOCK"), "open": c.text("payload_open"),
	})))
	c.drop(p)
}

// haWithCode gives templates a code, which nobody has typed.
func haWithCode(encode haEncode) haEncode {
	return func(v any) (any, map[string]any, error) {
		value, _, err := encode(v)
		return value, map[string]any{"code": "", "action": value}, err
	}
}

func (c *haComponent) alarm() {
	words := []struct{ state, feature, key, payload string }{
		{"disarmed", "", "payload_disarm", "DISARM"},
		{"armed_home", "arm_home", "payload_arm_home", "ARM_HOME"},
		{"armed_away", "arm_away", "payload_arm_away", "ARM_AWAY"},
		{"armed_night", "arm_night", "payload_arm_night", "ARM_NIGHT"},
		{"armed_vacation", "arm_vacation", "payload_arm_vacation", "ARM_VACATION"},
		{"armed_custom_bypass", "arm_custom_bypass", "payload_arm_custom_bypass", "ARM_CUSTOM_BYPASS"},
		{"triggered", "trigger", "payload_trigger", "TRIGGER"},
	}
	features, named := c.options["supported_features"].([]any)
	states := []string{"arming", "pending", "disarming"}
	for _, w := range words {
		states = append(states, w.state)
	}
	p := c.add("", Select, c.hear("state_topic", "value_template"), haWord(states...))
	p.Class = "alarm"
	told := make(map[string]string)
	for _, w := range words {
		if named && w.feature != "" && !slices.Contains(features, any(w.feature)) {
			continue
		}
		told[w.state] = c.word(w.key, w.payload)
		p.Options = append(p.Options, w.state)
	}
	c.tell(p, "command_topic", "command_template", haWithCode(haOneOf(told)))
	c.drop(p)
}

// ---- lights

func (c *haComponent) light() {
	schema := strings.ToLower(c.text("schema"))
	if schema == "" {
		schema = strings.TrimPrefix(c.text("platform"), "mqtt_") // before 2019
	}
	switch schema {
	case "json":
		c.jsonLight()
	case "template":
		c.templateLight()
	default:
		c.plainLight()
	}
}

// jsonLight is a light that is told and tells all in one object.
func (c *haComponent) jsonLight() {
	modes := haList(c.options["supported_color_modes"])
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(modes, n) || c.flag(n) })
	}
	main := c.add("", Light, c.inJSON("state_topic", "state"), func(r Reader) Reader { return haEither(haHeard(r), "ON", "OFF", true) })
	c.tell(main, "command_topic", "", haSay(`{"state":"ON"}`, `{"state":"OFF"}`, c.toggle(`{"state":"TOGGLE"}`)))

	if has("brightness", "color_temp", "hs", "rgb", "rgbw", "rgbww", "white", "xy") {
		scale := max(c.amount("brightness_scale", 255), 1)
		p := percent(c.add("brightness", Number, c.inJSON("state_topic", "brightness"), haLevel(0, scale, "")))
		c.tell(p, "command_topic", "", func(v any) (any, map[string]any, error) {
			n, err := haRanged(v, 0, scale)
			if n == 0 {
				return `{"state":"OFF"}`, nil, err
			}
			return `{"state":"ON","brightness":` + devices.Text(n) + `}`, nil, err
		})
	}
	if has("color_temp") {
		p := c.add("color_temp", Number, c.inJSON("state_topic", "color_temp"), haNumber)
		c.colorTemp(p)
		c.tell(p, "command_topic", "", func(v any) (any, map[string]any, error) {
			return `{"state":"ON","color_temp":` + jsonText(v) + `}`, nil, nil
		})
	}
	for _, mode := range []string{"hs", "xy", "rgb", "rgbw", "rgbww"} {
		if !has(mode) {
			continue
		}
		p := c.add("color", Text, c.inJSON("state_topic"), haJSONColor)
		p.Class = "color"
		c.tell(p, "command_topic", "", func(v any) (any, map[string]any, error) {
			r, g, b, err := hexColor(v)
			if err != nil {
				return nil, nil, err
			}
			var color string
			switch mode {
			case "hs":
				h, s := haHS(r, g, b)
				color = fmt.Sprintf(`{"h":%s,"s":%s}`, short(h), short(s))
			case "xy":
				x, y := haXY(r, g, b)
				color = fmt.Sprintf(`{"x":%s,"y":%s}`, short(x), short(y))
			case "rgbw":
				color = fmt.Sprintf(`{"r":%d,"g":%d,"b":%d,"w":0}`, r, g, b)
			case "rgbww":
				color = fmt.Sprintf(`{"r":%d,"g":%d,"b":%d,"c":0,"w":0}`, r, g, b)
			default:
				color = fmt.Sprintf(`{"r":%d,"g":%d,"b":%d}`, r, g, b)
			}
			return `{"state":"ON","color":` + color + `}`, nil, nil
		})
		break
	}
	if list := haList(c.options["effect_list"]); c.flag("effect") && len(list) > 0 {
		p := c.add("effect", Select, c.inJSON("state_topic", "effect"), haTextual)
		p.Options = list
		c.tell(p, "command_topic", "", func(v any) (any, map[string]any, error) {
			return `{"state":"ON","effect":` + jsonText(v) + `}`, nil, nil
		})
	}
	c.parts(main)
}

// colorTemp says what a light's white may be. It is in mired, or in kelvin.
func (c *haComponent) colorTemp(p *Property) {
	p.Unit = "mired"
	p.Range = &Range{Min: c.amount("min_mireds", 153), Max: c.amount("max_mireds", 500), Step: 1}
	if c.flag("color_temp_kelvin") {
		p.Unit = "K"
		p.Range = &Range{Min: c.amount("min_kelvin", 2000), Max: c.amount("max_kelvin", 6535), Step: 1}
	}
	if p.Range.Min > p.Range.Max {
		p.Range = nil
	}
}

// haJSONColor reads the color of a light's object, if it shows one now.
func haJSONColor(r Reader) Reader {
	return then(r, func(v any) (any, error) {
		doc, _ := v.(map[string]any)
		switch doc["color_mode"] {
		case "color_temp", "white", "brightness", "onoff", "cwww":
			return nil, nil
		}
		color, ok := doc["color"].(map[string]any)
		if !ok {
			return nil, nil
		}
		num := func(key string) (float64, bool) {
			f, err := toNumber(plain1(color[key]))
			return f, err == nil
		}
		if red, ok := num("r"); ok {
			green, hasGreen := num("g")
			blue, hasBlue := num("b")
			if hasGreen && hasBlue {
				return rgbColor(red/255, green/255, blue/255), nil
			}
		}
		if h, ok := num("h"); ok {
			if s, ok := num("s"); ok {
				return hsColor(h, s), nil
			}
		}
		if x, ok := num("x"); ok {
			if y, ok := num("y"); ok {
				return xyColor(x, y), nil
			}
		}
		return nil, nil
	})
}

// plainLight is a light with topics for all that it has.
func (c *haComponent) plainLight() {
	on, off := c.word("payload_on", "ON"), c.word("payload_off", "OFF")
	main := c.add("", Light, c.hear("state_topic", "state_value_template", "value_template"), c.either("payload_on", "ON", "payload_off", "OFF"))
	c.tell(main, "command_topic", "", haSay(on, off, c.toggle("TOGGLE")))

	if c.topic("brightness_state_topic") != "" || c.topic("brightness_command_topic") != "" {
		scale := max(c.amount("brightness_scale", 255), 1)
		p := percent(c.add("brightness", Number, c.hear("brightness_state_topic", "brightness_value_template"), haLevel(0, scale, "")))
		c.tell(p, "brightness_command_topic", "brightness_command_template", func(v any) (any, map[string]any, error) {
			n, err := haRanged(v, 0, scale)
			return n, nil, err
		})
		if p.Set != nil && main.Set != nil && c.text("on_command_type") == "brightness" { // it has no word for on
			full := p.Set.Encode
			main.Set.On = &Set{Topic: p.Set.Topic, Retain: p.Set.Retain, QoS: p.Set.QoS, Encode: func(any) (string, error) { return full(100.0) }}
		}
		c.drop(p)
	}
	if c.topic("color_temp_state_topic") != "" || c.topic("color_temp_command_topic") != "" {
		p := c.add("color_temp", Number, c.hear("color_temp_state_topic", "color_temp_value_template"), haNumber)
		c.colorTemp(p)
		c.tell(p, "color_temp_command_topic", "color_temp_command_template", haAny)
		c.drop(p)
	}
	for _, mode := range []string{"rgb", "rgbw", "rgbww", "hs", "xy"} {
		if c.topic(mode+"_state_topic") == "" && c.topic(mode+"_command_topic") == "" {
			continue
		}
		p := c.add("color", Text, c.hear(mode+"_state_topic", mode+"_value_template"), haColor(mode))
		p.Class = "color"
		c.tell(p, mode+"_command_topic", mode+"_command_template", func(v any) (any, map[string]any, error) {
			r, g, b, err := hexColor(v)
			if err != nil {
				return nil, nil, err
			}
			hue, sat := haHS(r, g, b)
			x, y := haXY(r, g, b)
			var value string
			switch mode {
			case "hs":
				value = short(hue) + "," + short(sat)
			case "xy":
				value = short(x) + "," + short(y)
			case "rgbw":
				value = fmt.Sprintf("%d,%d,%d,0", r, g, b)
			case "rgbww":
				value = fmt.Sprintf("%d,%d,%d,0,0", r, g, b)
			default:
				value = fmt.Sprintf("%d,%d,%d", r, g, b)
			}
			return value, map[string]any{
				"red": int(r), "green": int(g), "blue": int(b), "white": 0, "cold_white": 0, "warm_white": 0,
				"hue": hue, "sat": sat, "x": x, "y": y,
			}, nil
		})
		if !c.drop(p) {
			break
		}
	}
	if c.topic("effect_state_topic") != "" || c.topic("effect_command_topic") != "" {
		p := c.add("effect", Select, c.hear("effect_state_topic", "effect_value_template"), haTextual)
		p.Options = haList(c.options["effect_list"])
		c.tell(p, "effect_command_topic", "effect_command_template", haAny)
		c.drop(p)
	}
	if c.topic("white_command_topic") != "" {
		scale := max(c.amount("white_scale", 255), 1)
		p := percent(c.add("white", Number, haSource{}, nil))
		c.tell(p, "white_command_topic", "", func(v any) (any, map[string]any, error) {
			n, err := haRanged(v, 0, scale)
			return n, nil, err
		})
	}
	c.parts(main)
}

// haColor reads "255,128,0" or what it is in other terms.
func haColor(mode string) func(Reader) Reader {
	return func(r Reader) Reader {
		return then(r, func(v any) (any, error) {
			text := haText(v)
			var f []float64
			for part := range strings.SplitSeq(text, ",") {
				n, err := toNumber(strings.TrimSpace(part))
				if err != nil || len(f) == 5 {
					return nil, fmt.Errorf("%.40q is no color", text)
				}
				f = append(f, n)
			}
			switch {
			case mode == "hs" && len(f) == 2:
				return hsColor(f[0], f[1]), nil
			case mode == "xy" && len(f) == 2:
				return xyColor(f[0], f[1]), nil
			case strings.HasPrefix(mode, "rgb") && len(f) >= 3:
				return rgbColor(f[0]/255, f[1]/255, f[2]/255), nil
			}
			return nil, fmt.Errorf("%.40q is no color", text)
		})
	}
}

// haHS is the hue from 0 to 360 and the saturation from 0 to 100 of a color.
func haHS(red, green, blue uint8) (hue, sat float64) {
	r, g, b := float64(red), float64(green), float64(blue)
	most, least := max(r, g, b), min(r, g, b)
	if most == least {
		return 0, 0
	}
	switch d := most - least; most {
	case r:
		hue = math.Mod((g-b)/d+6, 6)
	case g:
		hue = (b-r)/d + 2
	default:
		hue = (r-g)/d + 4
	}
	round := func(f float64) float64 { return math.Round(f*1000) / 1000 }
	return round(hue * 60), round((most - least) * 100 / most)
}

// haXY is the point of a color in the CIE 1931 space.
func haXY(red, green, blue uint8) (x, y float64) {
	linear := func(c uint8) float64 {
		f := float64(c) / 255
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	r, g, b := linear(red), linear(green), linear(blue)
	X := r*0.4124564 + g*0.3575761 + b*0.1804375
	Y := r*0.2126729 + g*0.7151522 + b*0.0721750
	Z := r*0.0193339 + g*0.1191920 + b*0.9503041
	if X+Y+Z == 0 {
		return 0.3127, 0.329
	}
	round := func(f float64) float64 { return math.Round(f*1000) / 1000 }
	return round(X / (X + Y + Z)), round(Y / (X + Y + Z))
}

// templateLight is a light that is told and tells in templates.
func (c *haComponent) templateLight() {
	state := c.hear("state_topic", "state_template")
	if c.text("state_template") == "" {
		state = haSource{}
	}
	main := c.add("", Light, state, func(r Reader) Reader { return haEither(r, "on", "off", true) })
	on, onRaw := c.template("command_on_template")
	off, offRaw := c.template("command_off_template")
	main.Raw = cmp.Or(main.Raw, onRaw, offRaw)
	fill := func(t *template.Template, raw string, names map[string]any) (any, map[string]any, error) {
		if t == nil {
			return nil, nil, errors.New(cmp.Or(raw, "it has no template for that"))
		}
		text, err := t.Execute(template.Input{Names: names})
		return text, nil, err
	}
	c.tell(main, "command_topic", "", func(v any) (any, map[string]any, error) {
		switch v {
		case true:
			return fill(on, onRaw, map[string]any{"state": true})
		case false:
			return fill(off, offRaw, map[string]any{"state": false})
		}
		return nil, nil, errToggle
	})
	if c.text("brightness_template") != "" {
		p := percent(c.add("brightness", Number, c.hear("state_topic", "brightness_template"), haLevel(0, 255, "")))
		p.Raw = cmp.Or(p.Raw, onRaw)
		c.tell(p, "command_topic", "", func(v any) (any, map[string]any, error) {
			n, err := haRanged(v, 0, 255)
			if err != nil {
				return nil, nil, err
			}
			return fill(on, onRaw, map[string]any{"state": true, "brightness": n})
		})
	}
	if c.text("color_temp_template") != "" {
		p := c.add("color_temp", Number, c.hear("state_topic", "color_temp_template"), haNumber)
		c.colorTemp(p)
		p.Raw = cmp.Or(p.Raw, onRaw)
		c.tell(p, "command_topic", "", func(v any) (any, map[string]any, error) {
			return fill(on, onRaw, map[string]any{"state": true, "color_temp": v})
		})
	}
	if c.text("red_template") != "" && c.text("green_template") != "" && c.text("blue_template") != "" {
		red, green, blue := c.hear("state_topic", "red_template"), c.hear("state_topic", "green_template"), c.hear("state_topic", "blue_template")
		from := haSource{topic: red.topic, raw: cmp.Or(red.raw, green.raw, blue.raw)}
		if from.read = red.read; from.raw == "" && from.topic != "" {
			from.read = haColorOf(red.read, green.read, blue.read)
		}
		p := c.add("color", Text, from, nil)
		p.Class = "color"
		p.Raw = cmp.Or(p.Raw, onRaw)
		c.tell(p, "command_topic", "", func(v any) (any, map[string]any, error) {
			r, g, b, err := hexColor(v)
			if err != nil {
				return nil, nil, err
			}
			h, s := haHS(r, g, b)
			return fill(on, onRaw, map[string]any{"state": true, "red": int(r), "green": int(g), "blue": int(b), "hue": h, "sat": s})
		})
	}
	if list := haList(c.options["effect_list"]); len(list) > 0 {
		from := haSource{}
		if c.text("effect_template") != "" {
			from = c.hear("state_topic", "effect_template")
		}
		p := c.add("effect", Select, from, haTextual)
		p.Options = list
		p.Raw = cmp.Or(p.Raw, onRaw)
		c.tell(p, "command_topic", "", func(v any) (any, map[string]any, error) {
			return fill(on, onRaw, map[string]any{"state": true, "effect": v})
		})
	}
	c.parts(main)
}

// haColorOf reads a color whose parts are told apart, from 0 to 255.
func haColorOf(parts ...Reader) Reader {
	return func(p *Payload) (any, bool, error) {
		color := "#"
		for _, part := range parts {
			v, ok, err := number(part, 1)(p)
			if !ok || err != nil {
				return nil, false, err
			}
			color += fmt.Sprintf("%02x", int(min(max(v.(float64), 0), 255)))
		}
		return color, true, nil
	}
}

// ---- heating, air and water

// choice adds a part that is one of several words.
func (c *haComponent) choice(name, listKey string, otherwise []string, stateKey, stateTemplate, commandKey, commandTemplate string) *Property {
	options := otherwise
	if c.options[listKey] != nil {
		options = haList(c.options[listKey])
	}
	from := c.hear(stateKey, stateTemplate, "value_template")
	if reset := c.text("payload_reset_" + strings.TrimSuffix(listKey, "s")); reset != "" && from.topic != "" {
		from.read = haNot(from.read, reset, from.read)
	}
	p := c.addOption(name, Select, from, options)
	c.tell(p, commandKey, commandTemplate, haAny)
	c.drop(p)
	return p
}

// target adds a part that is a temperature to be reached.
func (c *haComponent) target(name, key string, low, high float64) {
	p := c.add(name, Number, c.hear(key+"_state_topic", key+"_state_template", "value_template"), haNumber)
	p.Class, p.Unit = "temperature", c.degrees()
	p.Range = &Range{Min: c.amount("min_temp", low), Max: c.amount("max_temp", high), Step: c.amount("temp_step", 1)}
	if p.Range.Min > p.Range.Max {
		p.Range = nil
	}
	c.tell(p, key+"_command_topic", key+"_command_template", haAny)
	c.drop(p)
}

func (c *haComponent) degrees() string { return plainUnit(cmp.Or(c.text("temperature_unit"), "C")) }

// measured adds a part that is only reported.
func (c *haComponent) measured(name, key, class, unit string) {
	p := c.add(name, Sensor, c.hear(key+"_topic", key+"_template", "value_template"), haNumber)
	p.Class, p.Unit = class, unit
	c.drop(p)
}

// doing adds what a device does at the moment.
func (c *haComponent) doing() {
	c.drop(c.add("action", Sensor, c.hear("action_topic", "action_template", "value_template"), haTextual))
}

func (c *haComponent) power() {
	on, off := c.word("payload_on", "ON"), c.word("payload_off", "OFF")
	p := c.add("power", Switch, c.hear("power_state_topic", "power_state_template", "value_template"), c.either("payload_on", "ON", "payload_off", "OFF"))
	c.tell(p, "power_command_topic", "power_command_template", haSay(on, off, ""))
	c.drop(p)
}

func (c *haComponent) mode(modes []string) *Property {
	if c.options["modes"] != nil {
		modes = haList(c.options["modes"])
	}
	main := c.addOption("", Climate, c.hear("mode_state_topic", "mode_state_template", "value_template"), modes)
	c.tell(main, "mode_command_topic", "mode_command_template", haAny)
	return main
}

func (c *haComponent) climate() {
	low, high := 7.0, 35.0
	if c.degrees() == "°F" {
		low, high = 45, 95
	}
	main := c.mode([]string{"auto", "off", "cool", "heat", "dry", "fan_only"})
	c.target("temperature", "temperature", low, high)
	c.target("temperature_low", "temperature_low", low, high)
	c.target("temperature_high", "temperature_high", low, high)
	c.measured("current_temperature", "current_temperature", "temperature", c.degrees())
	c.measured("current_humidity", "current_humidity", "humidity", "%")
	c.humidity("humidity", 30, 99)
	c.choice("fan_mode", "fan_modes", []string{"auto", "low", "medium", "high"}, "fan_mode_state_topic", "fan_mode_state_template", "fan_mode_command_topic", "fan_mode_command_template")
	c.choice("swing_mode", "swing_modes", []string{"on", "off"}, "swing_mode_state_topic", "swing_mode_state_template", "swing_mode_command_topic", "swing_mode_command_template")
	c.choice("swing_horizontal_mode", "swing_horizontal_modes", []string{"on", "off"}, "swing_horizontal_mode_state_topic", "swing_horizontal_mode_state_template", "swing_horizontal_mode_command_topic", "swing_horizontal_mode_command_template")
	if presets := haList(c.options["preset_modes"]); !slices.Contains(presets, "none") {
		c.options["preset_modes"] = append([]any{"none"}, haAnys(presets)...)
	}
	preset := c.choice("preset", "preset_modes", nil, "preset_mode_state_topic", "preset_mode_value_template", "preset_mode_command_topic", "preset_mode_command_template")
	for i, r := range preset.Reports {
		preset.Reports[i].Read = func(p *Payload) (any, bool, error) {
			if p.Text() == "None" { // which is a preset here
				return "none", true, nil
			}
			return r.Read(p)
		}
	}
	c.power()
	c.doing()
	c.parts(main)
}

func (c *haComponent) waterHeater() {
	low, high := 43.0, 60.0
	if c.degrees() == "°F" {
		low, high = 110, 140
	}
	main := c.mode([]string{"off", "eco", "electric", "gas", "heat_pump", "high_demand", "performance"})
	c.target("temperature", "temperature", low, high)
	c.measured("current_temperature", "current_temperature", "temperature", c.degrees())
	c.power()
	c.parts(main)
}

func (c *haComponent) humidity(name string, low, high float64) {
	from := c.hear("target_humidity_state_topic", "target_humidity_state_template", "value_template")
	p := c.add(name, Number, from, func(r Reader) Reader { return haNot(r, cmp.Or(c.text("payload_reset_humidity"), "None"), haNumber(r)) })
	p.Class, p.Unit = "humidity", "%"
	p.Range = &Range{Min: c.amount("min_humidity", low), Max: c.amount("max_humidity", high), Step: 1}
	if p.Range.Min > p.Range.Max {
		p.Range = nil
	}
	c.tell(p, "target_humidity_command_topic", "target_humidity_command_template", haAny)
	c.drop(p)
}

func (c *haComponent) humidifier() {
	on, off := c.word("payload_on", "ON"), c.word("payload_off", "OFF")
	main := c.add("", Switch, c.hear("state_topic", "state_value_template", "value_template"), c.either("payload_on", "ON", "payload_off", "OFF"))
	main.Class = cmp.Or(c.text("device_class"), "humidifier")
	c.tell(main, "command_topic", "command_template", haSay(on, off, ""))
	c.humidity("humidity", 0, 100)
	c.measured("current_humidity", "current_humidity", "humidity", "%")
	c.choice("mode", "modes", nil, "mode_state_topic", "mode_state_template", "mode_command_topic", "mode_command_template")
	c.doing()
	c.parts(main)
}

func (c *haComponent) fan() {
	on, off := c.word("payload_on", "ON"), c.word("payload_off", "OFF")
	main := c.add("", Fan, c.hear("state_topic", "state_value_template", "value_template"), c.either("payload_on", "ON", "payload_off", "OFF"))
	c.tell(main, "command_topic", "command_template", haSay(on, off, c.toggle("TOGGLE")))

	if from := c.hear("percentage_state_topic", "percentage_value_template"); from.topic != "" || c.topic("percentage_command_topic") != "" {
		first, last := c.amount("speed_range_min", 1), c.amount("speed_range_max", 100)
		if first > last {
			c.fault("speed_range_min is more than speed_range_max")
			first, last = 1, 100
		}
		reset := cmp.Or(c.text("payload_reset_percentage"), "None")
		p := percent(c.add("speed", Number, from, func(r Reader) Reader {
			return haNot(r, reset, then(haNumber(r), func(v any) (any, error) {
				return min(max(math.Trunc((v.(float64)-first+1)*100/(last-first+1)), 0), 100), nil
			}))
		}))
		c.tell(p, "percentage_command_topic", "percentage_command_template", func(v any) (any, map[string]any, error) {
			f, err := toNumber(v)
			return math.Ceil((last-first+1)*f/100 + first - 1), nil, err
		})
		c.drop(p)
	} else if from := c.hear("speed_state_topic", "speed_value_template"); from.topic != "" || c.topic("speed_command_topic") != "" { // before 2021.4
		meaning, told := make(map[string]any), make(map[string]string)
		p := c.add("speed", Select, from, func(r Reader) Reader { return words(r, meaning) })
		if p.Options = []string{"off", "low", "medium", "high"}; c.options["speeds"] != nil {
			p.Options = haList(c.options["speeds"])
		}
		for _, s := range p.Options {
			w := cmp.Or(c.text("payload_"+s+"_speed"), s)
			meaning[w], told[s] = s, w
		}
		c.tell(p, "speed_command_topic", "", haOneOf(told))
		c.drop(p)
	}
	c.choice("preset", "preset_modes", nil, "preset_mode_state_topic", "preset_mode_value_template", "preset_mode_command_topic", "preset_mode_command_template")

	from := c.hear("oscillation_state_topic", "oscillation_value_template")
	p := c.add("oscillation", Switch, from, c.either("payload_oscillation_on", "oscillate_on", "payload_oscillation_off", "oscillate_off"))
	c.tell(p, "oscillation_command_topic", "oscillation_command_template",
		haSay(c.word("payload_oscillation_on", "oscillate_on"), c.word("payload_oscillation_off", "oscillate_off"), ""))
	c.drop(p)

	forward, reverse := c.word("payload_direction_forward", "forward"), c.word("payload_direction_reverse", "reverse")
	p = c.add("direction", Select, c.hear("direction_state_topic", "direction_value_template"), func(r Reader) Reader {
		return words(r, map[string]any{forward: "forward", reverse: "reverse"})
	})
	p.Options = []string{"forward", "reverse"}
	c.tell(p, "direction_command_topic", "direction_command_template", haOneOf(map[string]string{"forward": forward, "reverse": reverse}))
	c.drop(p)
	c.parts(main)
}

// ---- the rest

// siren is told in JSON, if no template says otherwise.
func (c *haComponent) siren() {
	on, off := c.word("payload_on", "ON"), c.word("payload_off", "OFF")
	words := c.stateWords(on, off)
	main := c.add("", Switch, c.hear("state_topic", "state_value_template", "value_template"), func(r Reader) Reader {
		return words(then(r, func(v any) (any, error) { // ON, or {"state":"ON"}
			if text, ok := v.(string); ok && strings.HasPrefix(strings.TrimSpace(text), "{") {
				if doc, err := devices.DecodeJSON([]byte(text)); err == nil {
					v = doc
				}
			}
			if m, ok := v.(map[string]any); ok {
				return m["state"], nil
			}
			return v, nil
		}))
	})
	main.Class = "siren"
	templates := map[any]string{true: "command_template", false: "command_off_template"}
	if c.text("command_off_template") == "" {
		templates[false] = "command_template"
	}
	sets := make(map[any]*Set)
	for v, key := range templates {
		p := &Property{}
		c.tell(p, "command_topic", key, func(v any) (any, map[string]any, error) {
			word := on
			if v == false {
				word = off
			}
			if c.text(key) == "" {
				return `{"state":` + jsonText(word) + `}`, nil, nil
			}
			return word, map[string]any{"state": word}, nil
		})
		if p.Set != nil {
			sets[v], main.Set = p.Set, &Set{Topic: p.Set.Topic, Retain: p.Set.Retain, QoS: p.Set.QoS}
			main.Raw = cmp.Or(main.Raw, p.Raw)
		}
	}
	if main.Set != nil {
		main.Set.Encode = func(v any) (string, error) {
			if s := sets[v]; s != nil {
				return s.Encode(v)
			}
			return "", errToggle
		}
	}
	c.drop(main)
}

func (c *haComponent) vacuum() {
	features, named := c.options["supported_features"].([]any)
	if !named {
		features = []any{"start", "stop", "return_home", "battery", "status", "clean_spot"}
	}
	states := []string{"cleaning", "docked", "paused", "idle", "returning", "error"}
	main := c.add("", Sensor, c.inJSON("state_topic", "state"), haWord(states...))
	main.Class, main.Options = "vacuum", states
	for _, b := range []struct{ feature, name, key, payload string }{
		{"start", "start", "payload_start", "start"},
		{"pause", "pause", "payload_pause", "pause"},
		{"stop", "stop", "payload_stop", "stop"},
		{"return_home", "return_to_base", "payload_return_to_base", "return_to_base"},
		{"clean_spot", "clean_spot", "payload_clean_spot", "clean_spot"},
		{"locate", "locate", "payload_locate", "locate"},
	} {
		if slices.Contains(features, any(b.feature)) {
			payload := c.word(b.key, b.payload)
			p := c.add(b.name, Button, haSource{}, nil)
			c.tell(p, "command_topic", "", func(any) (any, map[string]any, error) { return payload, nil, nil })
			c.drop(p)
		}
	}
	if slices.Contains(features, any("battery")) {
		p := c.add("battery", Sensor, c.inJSON("state_topic", "battery_level"), haNumber)
		p.Class, p.Unit, p.Diagnostic = "battery", "%", true
		c.drop(p)
	}
	if list := haList(c.options["fan_speed_list"]); len(list) > 0 {
		p := c.add("fan_speed", Select, c.inJSON("state_topic", "fan_speed"), haTextual)
		p.Options = list
		c.tell(p, "set_fan_speed_topic", "", haAny)
		c.drop(p)
	}
	p := c.add("send_command", Text, haSource{}, nil)
	c.tell(p, "send_command_topic", "", haAny)
	c.drop(p)
	c.parts(main)
}

func (c *haComponent) lawnMower() {
	states := []string{"mowing", "paused", "docked", "returning", "error"}
	main := c.add("", Sensor, c.hear("activity_state_topic", "activity_value_template"), haWord(states...))
	main.Class, main.Options = "lawn_mower", states
	for _, what := range []string{"start_mowing", "pause", "dock"} {
		p := c.add(what, Button, haSource{}, nil)
		c.tell(p, what+"_command_topic", what+"_command_template", func(any) (any, map[string]any, error) { return what, nil, nil })
		c.drop(p)
	}
	c.parts(main)
}

// update tells which version of its software a device has, and which it could have.
func (c *haComponent) update() {
	from := c.hear("state_topic", "value_template")
	in := func(key string) func(Reader) Reader {
		return func(r Reader) Reader {
			return then(r, func(v any) (any, error) {
				text, isText := v.(string)
				if isText && strings.HasPrefix(strings.TrimSpace(text), "{") {
					if doc, err := devices.DecodeJSON([]byte(text)); err == nil {
						v = doc
					}
				}
				m, ok := v.(map[string]any)
				switch {
				case ok && m[key] == nil:
					return nil, nil
				case ok:
					return haText(m[key]), nil
				case key == "installed_version":
					return haText(v), nil
				}
				return nil, nil
			})
		}
	}
	main := c.add("", Sensor, from, in("installed_version"))
	main.Class, main.Diagnostic = c.text("device_class"), true
	if from.raw == "" {
		p := c.add("latest_version", Sensor, from, in("latest_version"))
		p.Diagnostic = true
		if latest := c.hear("latest_version_topic", "latest_version_template"); latest.topic != "" {
			if p.Raw = latest.raw; latest.raw == "" {
				latest.read = haTextual(latest.read)
			}
			p.Reports = append(p.Reports, Report{latest.topic, latest.read})
		}
		c.drop(p)
	}
	if install := c.text("payload_install"); install != "" {
		p := c.add("install", Button, haSource{}, nil)
		p.Diagnostic = true
		c.tell(p, "command_topic", "", func(any) (any, map[string]any, error) { return install, nil, nil })
		c.drop(p)
	}
	c.parts(main)
}

func (c *haComponent) tracker() {
	home, away, reset := c.word("payload_home", "home"), c.word("payload_not_home", "not_home"), c.word("payload_reset", "None")
	main := c.add("", Sensor, c.hear("state_topic", "value_template"), func(r Reader) Reader {
		return then(r, func(v any) (any, error) {
			switch text := haText(v); text {
			case home:
				return "home", nil
			case away:
				return "not_home", nil
			case reset, "":
				return nil, nil
			default:
				return text, nil
			}
		})
	})
	main.Class = "presence"
	if place := c.hear("json_attributes_topic", "json_attributes_template"); place.topic != "" && place.raw == "" {
		c.add("position", Sensor, place, func(r Reader) Reader {
			return then(haGuess(r), func(v any) (any, error) {
				m, ok := v.(map[string]any)
				if !ok {
					return nil, errors.New("it is no JSON object")
				}
				place := make(map[string]any)
				for _, key := range []string{"latitude", "longitude", "gps_accuracy", "in_zones"} {
					if v, ok := m[key]; ok {
						place[key] = v
					}
				}
				if len(place) == 0 {
					return nil, nil
				}
				return place, nil
			})
		})
	}
	c.parts(main)
}

// ---- names

// haMain are the names of main properties that have none of their own.
var haMain = map[string]string{
	"climate": "mode", "tag": "tag", "water_heater": "mode", "button": "press", "scene": "recall", "update": "update",
	"device_tracker": "location", "event": "event", "device_automation": "action", "sensor": "value", "number": "value",
	"select": "value", "text": "text", "notify": "message", "date": "date", "time": "time", "datetime": "datetime",
}

var haRank = map[string]int{
	"climate": 0, "water_heater": 0, "cover": 0, "fan": 0, "humidifier": 0, "lawn_mower": 0, "light": 0, "lock": 0,
	"vacuum": 0, "valve": 0, "alarm_control_panel": 0, "switch": 1, "siren": 1, "tag": 2, "device_automation": 2, "event": 2,
	"binary_sensor": 3, "sensor": 3, "device_tracker": 3, "number": 4, "select": 4, "text": 4, "update": 6,
}

// finish gives an entity its properties.
func (c *haComponent) finish(e *haEntity, place haPlace, message map[string]any) {
	category := c.text("entity_category")
	enabled, isEnabled := c.options["enabled_by_default"].(bool)
	rank, ok := haRank[c.component]
	if !ok {
		rank = 5
	}
	e.naming = haNaming{
		component: c.component, class: c.text("device_class"), label: c.label, object: place.object, node: place.node, id: c.device.id,
		inDevice: e.key != "", alone: c.device.none && place.component != "device",
	}
	if e.key != "" {
		e.naming.object, e.naming.node = e.key, place.object
	}
	if c.component == "device_automation" {
		e.naming.object = c.text("object_id")
	}
	name, named := c.options["name"]
	e.naming.nameless = named && (name == nil || name == "")
	if origin, ok := message["origin"].(map[string]any); ok && e.key != "" {
		if e.naming.ours = strings.EqualFold(haText(origin["name"]), "hearth"); e.naming.ours {
			e.naming.object, _, _ = strings.Cut(e.key, "-") // what is behind it says the component once more
		}
	}
	for i, p := range c.properties {
		p.StaleAfter = seconds(c.amount("expire_after", 0))
		if category == "diagnostic" || category == "config" || isEnabled && !enabled || haAboutDevice(p) {
			p.Diagnostic = true
			if i == 0 {
				rank += 10
			}
		}
		if p.Of == "" && strings.HasPrefix(p.Name, "=") {
			e.naming.native, p.Name = p.Name[1:], ""
		}
		e.naming.parts = append(e.naming.parts, p.Name)
		e.properties = append(e.properties, *p)
	}
	e.rank = rank
}

// haAboutDevice says that a property tells of the device and not of the house.
func haAboutDevice(p *Property) bool {
	return p.Class == "battery" || p.Class == "signal_strength" || p.Unit == "lqi" || p.Unit == "dBm"
}

// haNaming is what the name of an entity is made of.
type haNaming struct {
	component, class, label string
	node, object, id        string // of its topic, and its device's
	native                  string // what its bridge itself calls it
	inDevice, alone         bool   // it came in a device's message; it is a device of its own
	nameless, ours          bool   // it is said to have no name; Hearth has announced it
	parts                   []string
}

// names gives what an entity's main property is called, and what else if that is taken.
// What a program calls it is better than what people read, for it stays; but most names
// that programs give are numbers.
func (n *haNaming) names(label, device string) (base, alt string) {
	main := cmp.Or(haMain[n.component], "state")
	switch n.component {
	case "cover", "switch", "valve", "humidifier", "update": // their class says little
	default:
		main = cmp.Or(snake(n.class), main)
	}
	alt = snake(n.object)
	switch {
	case n.native != "":
		return n.native, alt
	case n.alone:
		return main, alt
	case n.ours: // its keys are names of properties
		return cmp.Or(alt, main), ""
	}

	// What of the object is the device?
	clean := alt
	for _, before := range []string{snake(n.node), snake(n.id), snake(device)} {
		if rest, ok := strings.CutPrefix(clean, before+"_"); ok && before != "" {
			clean = rest
		} else if clean == before {
			clean = ""
		}
	}
	endpoint := ""
	if clean == n.component {
		clean = ""
	} else if rest, ok := strings.CutPrefix(clean, n.component+"_"); ok {
		clean = rest
		if haEndpoints[rest] {
			endpoint = rest
		}
	}
	named := snake(label)
	if named != "" && slices.Contains(n.parts, named) { // "Blind position", which is a cover
		named = main
	}
	if clean != "" && slices.Contains(n.parts, clean) {
		clean = main
	}
	switch {
	case n.nameless || n.label != "" && label == "":
		return main, alt
	case endpoint != "" && main == "state":
		return "state_" + endpoint, alt
	case !n.inDevice && n.node != "" && clean != "" && !haNumbered(clean) && (len(clean) > 2 || named == ""): // T and WS mean little
		return clean, cmp.Or(named, alt)
	case named != "":
		return named, alt
	case n.class != "":
		return main, alt
	case clean != "" && !haNumbered(clean):
		return clean, alt
	}
	return main, alt
}

// haEndpoints are the parts of one Zigbee device.
var haEndpoints = map[string]bool{
	"l1": true, "l2": true, "l3": true, "l4": true, "l5": true, "l6": true, "l7": true, "l8": true,
	"left": true, "right": true, "center": true, "top": true, "bottom": true, "rgb": true, "cct": true, "white": true,
}

// haNumbered says that a name has a number in it that means nothing to people: six
// hexadecimal digits and more.
func haNumbered(name string) bool {
	for word := range strings.SplitSeq(name, "_") {
		if len(word) >= 6 && allHex(word) && strings.ContainsAny(word, "0123456789") || strings.HasPrefix(word, "0x") {
			return true
		}
	}
	return len(name) > 50
}
