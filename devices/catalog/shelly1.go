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
)

// Shelly devices of the first generation.
//
// Sources: https://shelly-api-docs.shelly.cloud/gen1/ (the MQTT part of each device,
// firmware 1.14), and what bieniu/ha-shellies-discovery knows of the models.
//
// A device announces its id, model, MAC and firmware on shellies/announce and on
// shellies/<id>/announce when it connects and when it is asked by "announce" on
// shellies/command or shellies/<id>/command; nothing of that is retained. What it has
// follows from its model; what the model leaves open, such as a mode or an add-on, and all
// there is of an unknown one, follows from the topics on which it reports. A custom id may
// have slashes, so a topic is taken apart from its end.
//
// All reports are sent again every 30 seconds, the last press of a button too. Its count
// tells a new one; see [counted].

// shelly1 is one device.
type shelly1 struct {
	id        string
	announced string // its last announcement
	model     string // "SHSW-25"
	mac       string
	version   string
	mode      string // "relay", "roller", "color", "white"; "" if it has none, or none is known
	before    bool   // it was there before the hub started
	asked     bool
	own       bool // its own announcement topic was seen
	has       map[shape1]uint32
	keys      map[string]bool // of the JSON on its status topic
	presses   map[int]int64   // the numbers of presses from before it was described
}

// A shape1 is a topic below that of the device: a is its first level, and c its last if it
// has more than one besides a number: relay/0/power is {"relay", "power", true}.
type shape1 struct {
	a, c     string
	numbered bool
}

// maxNumber1 is how many there can be of one shape.
const maxNumber1 = 32

// shelly1Topics are the shapes in the order in which their properties are shown; those that
// are nil tell nothing of the house.
var shelly1Topics = []struct {
	shape shape1
	add   func(b *build1, n int)
}{
	{shape1{"relay", "", true}, (*build1).relay},
	{shape1{"roller", "", true}, (*build1).roller},
	{shape1{"light", "", true}, (*build1).light},
	{shape1{"color", "", true}, (*build1).color},
	{shape1{"white", "", true}, (*build1).white},
	{shape1{"thermostat", "", true}, (*build1).thermostat},
	{shape1{"valve", "state", true}, (*build1).valve},
	{shape1{"sensor", "motion", false}, flag1("motion", "motion")},
	{shape1{"sensor", "state", false}, (*build1).opening},
	{shape1{"sensor", "flood", false}, flag1("flood", "moisture")},
	{shape1{"sensor", "smoke", false}, flag1("smoke", "smoke")},
	{shape1{"sensor", "gas", false}, (*build1).gas},
	{shape1{"sensor", "temperature", false}, (*build1).temperature},
	{shape1{"sensor", "humidity", false}, number1(Property{Name: "humidity", Class: "humidity", Unit: "%"}, 1, 0, 100)},
	{shape1{"status", "", false}, (*build1).status},
	{shape1{"input", "", true}, (*build1).input},
	{shape1{"input_event", "", true}, (*build1).inputEvent},
	{shape1{"longpush", "", true}, (*build1).longPush},

	{shape1{"relay", "power", true}, number1(power, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"roller", "power", true}, number1(power, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"light", "power", true}, number1(power, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"color", "power", true}, number1(power, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"white", "power", true}, number1(power, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"emeter", "power", true}, number1(power, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"relay", "power", false}, number1(power, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"emeter", "reactive_power", true}, number1(Property{Name: "reactive_power", Class: "reactive_power", Unit: "var"}, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"emeter", "voltage", true}, number1(voltage, 1, 0, math.MaxFloat64)},
	{shape1{"emeter", "current", true}, number1(current, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"emeter", "pf", true}, number1(Property{Name: "power_factor", Class: "power_factor"}, 1, -1, 1)},
	{shape1{"emeter", "total", true}, number1(energy, 1./1000, 0, math.MaxFloat64)},
	{shape1{"emeter", "total_returned", true}, number1(returned, 1./1000, 0, math.MaxFloat64)},
	{shape1{"emeter_n", "current", false}, number1(Property{Name: "neutral_current", Class: "current", Unit: "A"}, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"emeter_n", "ixsum", false}, number1(Property{Name: "sum_current", Class: "current", Unit: "A"}, 1, -math.MaxFloat64, math.MaxFloat64)},
	{shape1{"voltage", "", false}, number1(voltage, 1, 0, math.MaxFloat64)},

	// These count watt minutes; those of a meter since its last round minute or start.
	{shape1{"relay", "energy", true}, number1(energy, 1./60000, 0, math.MaxFloat64)},
	{shape1{"roller", "energy", true}, number1(energy, 1./60000, 0, math.MaxFloat64)},
	{shape1{"light", "energy", true}, number1(energy, 1./60000, 0, math.MaxFloat64)},
	{shape1{"color", "energy", true}, number1(energy, 1./60000, 0, math.MaxFloat64)},
	{shape1{"white", "energy", true}, number1(energy, 1./60000, 0, math.MaxFloat64)},
	{shape1{"relay", "energy", false}, number1(energy, 1./60000, 0, math.MaxFloat64)},
	{shape1{"emeter", "energy", true}, number1(Property{Name: "energy_counter", Class: "energy", Unit: "kWh", Diagnostic: true}, 1./60000, 0, math.MaxFloat64)},
	{shape1{"emeter", "returned_energy", true}, number1(Property{Name: "energy_returned_counter", Class: "energy", Unit: "kWh", Diagnostic: true}, 1./60000, 0, math.MaxFloat64)},

	{shape1{"sensor", "lux", false}, number1(Property{Name: "illuminance", Class: "illuminance", Unit: "lx"}, 1, 0, math.MaxFloat64)},
	{shape1{"sensor", "illumination", false}, text1(Property{Name: "illumination"})},
	{shape1{"sensor", "tilt", false}, number1(Property{Name: "tilt", Unit: "°"}, 1, 0, 360)},
	{shape1{"sensor", "vibration", false}, flag1("vibration", "vibration")},
	{shape1{"sensor", "concentration", false}, number1(Property{Name: "gas_concentration", Unit: "ppm"}, 1, 0, 65535)},
	{shape1{"ext_temperature", "", true}, number1(Property{Name: "ext_temperature", Class: "temperature", Unit: "°C"}, 1, -100, 900)},
	{shape1{"ext_humidity", "", true}, number1(Property{Name: "ext_humidity", Class: "humidity", Unit: "%"}, 1, 0, 100)},
	{shape1{"ext_switch", "", true}, (*build1).extSwitch},
	{shape1{"adc", "", true}, number1(Property{Name: "adc", Class: "voltage", Unit: "V"}, 1, 0, math.MaxFloat64)},

	{shape1{"sensor", "battery", false}, (*build1).battery},
	{shape1{"sensor", "charger", false}, flag1("charging", "battery_charging", true)},
	{shape1{"sensor", "ext_power", false}, flag1("external_power", "plug", true)},
	{shape1{"sensor", "operation", false}, text1(Property{Name: "operation", Diagnostic: true})},
	{shape1{"sensor", "self_test", false}, text1(Property{Name: "self_test", Diagnostic: true})},
	{shape1{"temperature", "", false}, number1(Property{Name: "device_temperature", Class: "temperature", Unit: "°C", Diagnostic: true}, 1, -100, 900)},
	{shape1{"temperature_status", "", false}, text1(Property{Name: "temperature_status", Diagnostic: true})},
	{shape1{"overtemperature", "", false}, flag1("overtemperature", "problem", true)},
	{shape1{"overload", "", false}, flag1("overload", "problem", true)},
	{shape1{"loaderror", "", false}, flag1("load_error", "problem", true)},
	{shape1{"relay", "overpower_value", true}, number1(Property{Name: "overpower_value", Class: "power", Unit: "W", Diagnostic: true}, 1, 0, math.MaxFloat64)},
	{shape1{"light", "overpower_value", true}, number1(Property{Name: "overpower_value", Class: "power", Unit: "W", Diagnostic: true}, 1, 0, math.MaxFloat64)},
	{shape1{"roller", "stop_reason", true}, text1(Property{Name: "stop_reason", Diagnostic: true})},
	{shape1{"totalworktime", "", false}, number1(Property{Name: "work_time", Class: "duration", Unit: "s", Diagnostic: true}, 1, 0, math.MaxFloat64)},
	{shape1{"info", "", false}, (*build1).info},

	{shape1{"online", "", false}, nil},
	{shape1{"announce", "", false}, nil},
	{shape1{"roller", "pos", true}, nil},
	{shape1{"light", "status", true}, nil},
	{shape1{"color", "status", true}, nil},
	{shape1{"white", "status", true}, nil},
	{shape1{"relay", "command", true}, nil},
	{shape1{"roller", "command", true}, nil},
	{shape1{"light", "command", true}, nil},
	{shape1{"color", "command", true}, nil},
	{shape1{"white", "command", true}, nil},
	{shape1{"valve", "command", true}, nil},
}

// implies1 are the shapes that say that there is another, on whose topic something is told.
var implies1 = map[shape1]shape1{
	{"roller", "pos", true}:   {"roller", "", true},
	{"light", "status", true}: {"light", "", true},
	{"color", "status", true}: {"color", "", true},
	{"white", "status", true}: {"white", "", true},
}

var shelly1Shapes = func() map[shape1]bool { // true: it tells something
	all := make(map[shape1]bool)
	for _, t := range shelly1Topics {
		all[t.shape] = t.add != nil || implies1[t.shape] != shape1{}
	}
	return all
}()

// parse1 takes a topic apart, without the shellies/ before it: the longest end that is one
// of a device's topics is that.
func parse1(topic string) (id string, shape shape1, n int, ok bool) {
	cut := len(topic)
	var levels [3]string
	var ends [3]int
	count := 0
	for count < 3 && cut > 0 {
		i := strings.LastIndexByte(topic[:cut], '/')
		if i <= 0 {
			break
		}
		levels[2-count], ends[2-count] = topic[i+1:cut], i
		count++
		cut = i
	}
	for k := count; k > 0; k-- {
		end := levels[3-k:]
		switch k {
		case 3:
			shape = shape1{end[0], end[2], true}
			n, ok = number32(end[1])
		case 2:
			if n, ok = number32(end[1]); ok {
				shape = shape1{end[0], "", true}
			} else {
				shape, n, ok = shape1{end[0], end[1], false}, 0, true
			}
		case 1:
			shape, n, ok = shape1{end[0], "", false}, 0, true
		}
		if _, is := shelly1Shapes[shape]; ok && is {
			return topic[:ends[3-k]], shape, n, true
		}
	}
	return "", shape1{}, 0, false
}

func number32(text string) (int, bool) {
	if len(text) == 0 || len(text) > 2 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n < maxNumber1
}

// take1 is given what comes under shellies/.
func (c *shelly) take1(topic string, m *Payload) (Found, error) {
	if topic == "announce" {
		return c.announced1("", m)
	}
	id, shape, n, ok := parse1(topic)
	if !ok {
		return Found{}, nil
	}
	if prefix := "shellies/" + id; c.second[prefix] != nil {
		if shape.a != "online" {
			return Found{}, nil
		}
		return c.take2(prefix, "online", m)
	}
	if shape.a == "announce" {
		return c.announced1(id, m)
	}
	if !shelly1Shapes[shape] && shape.a != "online" {
		return Found{}, nil
	}
	d := c.first[id]
	if len(m.Payload) == 0 {
		if d == nil || shape.a != "online" {
			return Found{}, nil
		}
		// What is retained of a device that is no more is taken away.
		delete(c.first, id)
		c.forget("shellies/" + id + "/")
		return Found{Gone: []string{"shelly/" + id}}, nil
	}
	fresh := d == nil
	if fresh {
		if shape.a == "online" && macOf(id) != "" && model1(id, "") == nil {
			// An id with a whole address, of no model of generation 1.
			return c.take2("shellies/"+id, "online", m)
		}
		if len(c.first) >= MaxDevices {
			return Found{}, errors.New("there are too many devices already")
		}
		if err := devices.CheckTopic(m.Topic); err != nil {
			return Found{}, err
		}
		d = newShelly1(id, m.Initial)
		c.first[id] = d
	}
	var found Found
	if d.announced == "" && !d.asked && !(m.Initial && !m.Retain) && m.Text() != "false" {
		// What was kept from the hub's last life is read before anything can be asked.
		d.asked = true
		found.Ask = append(found.Ask, Message{Topic: "shellies/" + id + "/command", Payload: "announce"})
	}
	if shape.a == "input_event" && (m.Initial || fresh) {
		if event, err := m.JSON(); err == nil {
			if count, ok := eventCount(event); ok {
				d.presses[n] = count
			}
		}
	}
	changed, err := d.learn(shape, n, m)
	if err == nil && len(c.known) < maxShellyTopics && shape.a != "online" {
		c.known[m.Topic] = true
	}
	if fresh || changed {
		if one := d.device(); len(one.Properties) > 0 {
			found.Devices = append(found.Devices, one)
		}
	}
	return found, err
}

func newShelly1(id string, before bool) *shelly1 {
	d := &shelly1{id: id, before: before, has: make(map[shape1]uint32), keys: make(map[string]bool), presses: make(map[int]int64)}
	d.setModel()
	return d
}

// setModel adds what the model says there is.
func (d *shelly1) setModel() {
	for _, k := range shelly1Models {
		if k.is(d.id, d.model) {
			for _, topic := range k.topics {
				if _, shape, n, ok := parse1("x/" + topic); ok {
					d.has[shape] |= 1 << n
				}
			}
			for _, key := range k.keys {
				d.keys[key] = true
			}
			return
		}
	}
}

// learn takes what a topic says by being there, and reports whether that is news.
func (d *shelly1) learn(shape shape1, n int, m *Payload) (changed bool, err error) {
	if to, ok := implies1[shape]; ok {
		shape = to
	}
	if !shelly1Shapes[shape] {
		return false, nil
	}
	switch shape.a {
	case "relay", "roller", "color", "white":
		if shape.numbered && d.mode != shape.a && slices.Contains(d.modes(), shape.a) {
			d.mode, changed = shape.a, true
		}
	case "status", "info":
		doc, err := m.JSON()
		if err != nil {
			return false, err
		}
		object, ok := doc.(map[string]any)
		if !ok {
			return false, errNoObject
		}
		if shape.a == "info" {
			changed = d.learnInfo(object)
		} else {
			for _, key := range statusKeys1 {
				if _, ok := object[key]; ok && !d.keys[key] {
					d.keys[key], changed = true, true
				}
			}
		}
	}
	if d.has[shape]&(1<<n) == 0 {
		d.has[shape] |= 1 << n
		changed = true
	}
	return changed, nil
}

var errNoObject = errors.New("it is no JSON object")

// statusKeys1 are those of a device's own status topic, and of its info, that tell of the
// house.
var statusKeys1 = []string{"motion", "vibration", "lux", "bat", "active", "tmp", "target_t", "charger"}

// learnInfo takes the lists of the info, which is what HTTP calls the status.
func (d *shelly1) learnInfo(info map[string]any) (changed bool) {
	list := func(key string, shape shape1) {
		all, _ := info[key].([]any)
		for n := range min(len(all), maxNumber1) {
			if d.has[shape]&(1<<n) == 0 {
				d.has[shape] |= 1 << n
				changed = true
			}
		}
	}
	if _, rollers := info["rollers"]; rollers {
		list("rollers", shape1{"roller", "", true})
		if d.mode != "roller" && slices.Contains(d.modes(), "roller") {
			d.mode, changed = "roller", true
		}
	} else {
		list("relays", shape1{"relay", "", true})
	}
	list("inputs", shape1{"input", "", true})
	list("emeters", shape1{"emeter", "power", true})
	list("thermostats", shape1{"thermostat", "", true})
	if mac, _ := info["mac"].(string); d.mac == "" && len(mac) == 12 {
		d.mac, changed = MAC(mac), true
	}
	return changed
}

func (c *shelly) announced1(id string, m *Payload) (Found, error) {
	if len(m.Payload) == 0 {
		return Found{}, nil
	}
	if d := c.first[id]; d != nil && d.own && d.announced == m.Text() {
		return Found{}, nil
	}
	doc, err := m.JSON()
	if err != nil {
		return Found{}, err
	}
	a, ok := doc.(map[string]any)
	if !ok {
		return Found{}, errNoObject
	}
	says, _ := a["id"].(string)
	if shellyGen(a) > 1 {
		return c.announced2(cmp.Or(prefixed1(id), says), a, m)
	}
	own := id != ""
	if id == "" {
		id = says
	}
	switch {
	case says == "":
		err = errors.New("the announcement has no id")
	case id != says:
		err = fmt.Errorf("the announcement has the id %.60q, not that of its topic", says)
	}
	if id == "" {
		return Found{}, err
	}
	if bad := devices.CheckTopic("shellies/" + id); bad != nil {
		return Found{}, fmt.Errorf("the announcement's id %.60q makes no topic: %w", id, bad)
	}
	d := c.first[id]
	if d == nil {
		if len(c.first) >= MaxDevices {
			return Found{}, errors.New("there are too many devices already")
		}
		d = newShelly1(id, m.Initial)
		c.first[id] = d
	}
	// The topic that all share can be kept for one of them only: its own has to be once.
	news := d.announced == "" || own && !d.own
	before := [...]string{d.model, d.version, d.mac, d.mode}
	d.announced, d.own = m.Text(), d.own || own
	d.model, _ = a["model"].(string)
	d.version = version1(wordOf(a["fw_ver"]))
	if mac, _ := a["mac"].(string); len(mac) == 12 || len(mac) == 17 {
		d.mac = MAC(mac)
	} else if err == nil {
		err = errors.New("the announcement has no mac of twelve digits")
	}
	if mode, _ := a["mode"].(string); slices.Contains(d.modes(), mode) {
		d.mode = mode
	}
	if before != [...]string{d.model, d.version, d.mac, d.mode} {
		news = true
		d.setModel()
	}
	if !news {
		return Found{}, err
	}
	return Found{Devices: []Device{d.device()}}, err
}

func prefixed1(id string) string {
	if id == "" {
		return ""
	}
	return "shellies/" + id
}

// version1 is the readable part of "20200818-121046/v1.8.2@36539b0b".
func version1(text string) string {
	if _, v, ok := strings.Cut(text, "/"); ok {
		text = v
	}
	for _, sep := range []string{"@", "-g"} {
		if v, _, ok := strings.Cut(text, sep); ok {
			text = v
		}
	}
	return text
}

// A build1 is a device being put together.
type build1 struct {
	*shelly1
	shellyParts
	base  string // of the topics, with a slash at the end
	shape shape1 // whose turn it is
}

func (d *shelly1) device() Device {
	b := &build1{shelly1: d, base: "shellies/" + d.id + "/"}
	for _, t := range shelly1Topics {
		bits := d.has[t.shape]
		if t.add == nil || bits == 0 || !d.inMode(t.shape.a) {
			continue
		}
		b.shape = t.shape
		for n := 0; bits>>n != 0; n++ {
			if bits>>n&1 != 0 {
				t.add(b, n)
			}
		}
	}
	for i := range b.all {
		if p := &b.all[i]; len(p.Reports) > 0 && p.Kind != Event {
			p.Get = &Message{Topic: b.base + "command", Payload: "update"} // it tells all again
		}
	}
	one := Device{
		ID: "shelly/" + d.id, Via: "shelly", Name: d.id, Maker: "Shelly", Model: d.model, Version: d.version,
		Properties: b.all,
		Available:  Availability{Reports: []Report{{b.base + "online", online(whole)}}},
	}
	if m := model1(d.id, d.model); m != nil {
		one.Model, one.Sleepy = m.name, m.sleepy
	}
	if mac := cmp.Or(d.mac, macOf(d.id)); mac != "" {
		one.Identity = []string{mac}
	}
	return one
}

// modes1 are the topics of which a device has those of one mode at a time.
var modes1 = map[string][]string{
	"relay": {"relay", "roller"}, "roller": {"relay", "roller"},
	"color": {"color", "white"}, "white": {"color", "white"},
}

// modes are those that the device can be in.
func (d *shelly1) modes() []string {
	if m := model1(d.id, d.model); m != nil {
		return m.modes
	}
	return nil
}

func (d *shelly1) inMode(a string) bool {
	modes := d.modes()
	return !slices.Contains(modes, a) || a == d.mode || d.mode == "" && a == modes[0]
}

func (b *build1) topic(n int) string {
	t := b.base + b.shape.a
	if b.shape.numbered {
		t += "/" + strconv.Itoa(n)
	}
	if b.shape.c != "" {
		t += "/" + b.shape.c
	}
	return t
}

// fromInfo reads a place of the info.
func (b *build1) fromInfo(read func(Reader) Reader, path ...any) Report {
	return Report{b.base + "info", read(at(path...))}
}

var (
	power    = Property{Name: "power", Class: "power", Unit: "W"}
	voltage  = Property{Name: "voltage", Class: "voltage", Unit: "V"}
	current  = Property{Name: "current", Class: "current", Unit: "A"}
	energy   = Property{Name: "energy", Class: "energy", Unit: "kWh"}
	returned = Property{Name: "energy_returned", Class: "energy", Unit: "kWh"}
)

func number1(p Property, factor, least, most float64) func(b *build1, n int) {
	p.Kind = Sensor
	return func(b *build1, n int) {
		p := p
		p.Reports = []Report{{b.topic(n), within(number(whole, factor), least, most)}}
		b.add(b.shape.a, n, p)
	}
}

func text1(p Property) func(b *build1, n int) {
	p.Kind = Sensor
	return func(b *build1, n int) {
		p := p
		p.Reports = []Report{{b.topic(n), then(whole, func(v any) (any, error) {
			return strings.ToLower(strings.TrimSpace(v.(string))), nil
		})}}
		b.add(b.shape.a, n, p)
	}
}

func flag1(name, class string, diagnostic ...bool) func(b *build1, n int) {
	return func(b *build1, n int) {
		b.add(b.shape.a, n, Property{
			Name: name, Kind: BinarySensor, Class: class, Diagnostic: len(diagnostic) > 0,
			Reports: []Report{{b.topic(n), onOff(whole)}},
		})
	}
}

func (b *build1) relay(n int) {
	t := b.topic(n)
	// overpower says that the relay has switched itself off.
	main := b.add("relay", n, Property{
		Name: "switch", Kind: Switch,
		Reports: []Report{
			{t, words(whole, map[string]any{"on": true, "off": false, "overpower": false})},
			b.fromInfo(onOff, "relays", n, "ison"),
		},
		Set: &Set{Topic: t + "/command", Encode: saying("on", "off", "toggle")},
	})
	if b.has[shape1{"relay", "power", true}] != 0 || b.has[shape1{"emeter", "power", true}] != 0 {
		b.add("relay", n, Property{
			Name: "overpower", Kind: BinarySensor, Of: main, Class: "problem", Diagnostic: true,
			Reports: []Report{{t, words(whole, map[string]any{"on": false, "off": false, "overpower": true})}},
		})
	}
}

func (b *build1) roller(n int) {
	t := b.topic(n)
	main := b.add("roller", n, Property{
		Name: "cover", Kind: Cover,
		Reports: []Report{{t, words(whole, map[string]any{"open": "opening", "close": "closing", "stop": "stopped"})}},
		Set:     &Set{Topic: t + "/command", Encode: plain},
	})
	b.add("roller", n, Property{
		Name: "position", Kind: Number, Of: main, Unit: "%", Range: &Range{0, 100, 1},
		Reports: []Report{{t + "/pos", position(whole)}, b.fromInfo(position, "rollers", n, "current_pos")},
		Set:     &Set{Topic: t + "/command/pos", Encode: plain},
	})
}

// position reads that of a cover, which is -1 or 101 before it is calibrated.
func position(r Reader) Reader {
	return then(number(r, 1), func(v any) (any, error) {
		if f := v.(float64); f < 0 || f > 100 {
			return nil, errors.New("it is not calibrated, so it has no position")
		}
		return v, nil
	})
}

// object1 encodes a value into the JSON that a light is told; %s is the value.
func object1(format string) func(v any) (string, error) {
	return func(v any) (string, error) {
		f, ok := v.(float64)
		if !ok {
			return "", fmt.Errorf("%v is no number", v)
		}
		return fmt.Sprintf(format, strconv.Itoa(int(math.Round(f)))), nil
	}
}

// brightness1 encodes a brightness: one above 0 switches the light on, and 0 off.
func brightness1(format string) func(v any) (string, error) {
	set := object1(format)
	return func(v any) (string, error) {
		if v == 0.0 {
			return `{"turn":"off"}`, nil
		}
		return set(v)
	}
}

// lamp adds what every sort of light has, and gives its name and the topic of its status.
func (b *build1) lamp(n int) (main, topic string) {
	topic = b.topic(n)
	main = b.add(b.shape.a, n, Property{
		Name: "light", Kind: Light,
		Reports: []Report{
			{topic, words(whole, map[string]any{"on": true, "off": false, "overpower": false})},
			{topic + "/status", onOff(at("ison"))},
			b.fromInfo(onOff, "lights", n, "ison"),
		},
		Set: &Set{Topic: topic + "/command", Encode: saying("on", "off", "toggle")},
	})
	return main, topic
}

func (b *build1) light(n int) {
	main, t := b.lamp(n)
	b.add("light", n, Property{
		Name: "brightness", Kind: Number, Of: main, Unit: "%", Range: &Range{0, 100, 1},
		Reports: []Report{{t + "/status", number(at("brightness"), 1)}, b.fromInfo(toNumbers, "lights", n, "brightness")},
		Set:     &Set{Topic: t + "/set", Encode: brightness1(`{"turn":"on","brightness":%s}`)},
	})
	if m := model1(b.id, b.model); m != nil && m.warmest > 0 {
		b.colourTemperature(n, main, t, m)
	}
}

func toNumbers(r Reader) Reader { return number(r, 1) }

func (b *build1) colourTemperature(n int, main, topic string, m *shelly1Model) {
	set := `{"turn":"on","temp":%s}`
	if b.shape.a == "color" {
		set = `{"turn":"on","mode":"white","temp":%s}`
	}
	b.add(b.shape.a, n, Property{
		Name: "color_temperature", Kind: Number, Of: main, Class: "color_temperature", Unit: "K", Range: &Range{m.warmest, 6500, 1},
		Reports: []Report{{topic + "/status", within(number(at("temp"), 1), 1000, 20000)}},
		Set:     &Set{Topic: topic + "/set", Encode: object1(set)},
	})
}

func (b *build1) white(n int) {
	main, t := b.lamp(n)
	b.add("white", n, Property{
		Name: "brightness", Kind: Number, Of: main, Unit: "%", Range: &Range{0, 100, 1},
		Reports: []Report{{t + "/status", number(at("brightness"), 1)}, b.fromInfo(toNumbers, "lights", n, "brightness")},
		Set:     &Set{Topic: t + "/set", Encode: brightness1(`{"turn":"on","brightness":%s}`)},
	})
}

// effects1 are those of the strip; bulbs have more.
var (
	effects1     = []string{"off", "meteor_shower", "gradual_change", "flash"}
	bulbEffects1 = []string{"off", "meteor_shower", "gradual_change", "breath", "flash", "on_off_gradual", "red_green_change"}
)

func (b *build1) color(n int) {
	main, t := b.lamp(n)
	m := model1(b.id, b.model)
	bulb := m != nil && m.warmest > 0 // it is a bulb, and white too: the same topics serve both modes
	status, set := t+"/status", t+"/set"
	bright, rgb, options := `{"turn":"on","gain":%s}`, `{"turn":"on","red":%d,"green":%d,"blue":%d}`, effects1
	if bulb {
		bright, rgb, options = `{"turn":"on","gain":%[1]s,"brightness":%[1]s}`, `{"turn":"on","mode":"color","red":%d,"green":%d,"blue":%d}`, bulbEffects1
	}
	gain, white := number(at("gain"), 1), number(at("brightness"), 1)
	b.add("color", n, Property{
		Name: "brightness", Kind: Number, Of: main, Unit: "%", Range: &Range{0, 100, 1},
		Reports: []Report{{status, func(p *Payload) (any, bool, error) {
			if mode, _, _ := at("mode")(p); mode == "white" {
				return white(p)
			}
			return gain(p)
		}}},
		Set: &Set{Topic: set, Encode: brightness1(bright)},
	})
	b.add("color", n, Property{
		Name: "color", Kind: Text, Of: main, Class: "color",
		Reports: []Report{{status, color1}},
		Set: &Set{Topic: set, Encode: func(v any) (string, error) {
			r, g, bl, err := rgbOf(v)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf(rgb, r, g, bl), nil
		}},
	})
	if bulb {
		b.add("color", n, Property{
			Name: "color_mode", Kind: Select, Of: main, Options: []string{"color", "white"},
			Reports: []Report{{status, at("mode")}},
			Set:     &Set{Topic: set, Encode: func(v any) (string, error) { return `{"mode":"` + devices.Text(v) + `"}`, nil }},
		})
		b.colourTemperature(n, main, t, m)
	} else {
		b.add("color", n, Property{
			Name: "white", Kind: Number, Of: main, Unit: "%", Range: &Range{0, 100, 0},
			Reports: []Report{{status, number(at("white"), 100./255)}},
			Set: &Set{Topic: set, Encode: func(v any) (string, error) {
				f, err := toNumber(v)
				return fmt.Sprintf(`{"white":%d}`, int(math.Round(f*255/100))), err
			}},
		})
	}
	b.add("color", n, Property{
		Name: "effect", Kind: Select, Of: main, Options: options,
		Reports: []Report{{status, then(number(at("effect"), 1), func(v any) (any, error) {
			if i := int(v.(float64)); i >= 0 && i < len(options) {
				return options[i], nil
			}
			return nil, fmt.Errorf("there is no effect %v", v)
		})}},
		Set: &Set{Topic: set, Encode: func(v any) (string, error) {
			return fmt.Sprintf(`{"effect":%d}`, slices.Index(options, devices.Text(v))), nil
		}},
	})
}

// color1 reads the colour of a status; while a bulb is white it has none.
func color1(p *Payload) (any, bool, error) {
	if mode, _, _ := at("mode")(p); mode == "white" {
		return nil, false, nil
	}
	var rgb [3]float64
	for i, name := range [3]string{"red", "green", "blue"} {
		v, ok, err := at(name)(p)
		if !ok || err != nil {
			return nil, false, err
		}
		if rgb[i], err = toNumber(v); err != nil {
			return nil, false, err
		}
	}
	return rgbText(rgb[0], rgb[1], rgb[2]), true, nil
}

// thermostat is the valve of a radiator, which reports on its info and its status.
func (b *build1) thermostat(n int) {
	set := b.topic(n) + "/command/"
	target := b.add("thermostat", n, Property{
		Name: "target_temperature", Kind: Number, Class: "temperature", Unit: "°C", Range: &Range{4, 31, 0.5},
		Reports: []Report{b.fromInfo(toNumbers, "thermostats", n, "target_t", "value"), {b.base + "status", number(at("target_t", "value"), 1)}},
		Set:     &Set{Topic: set + "target_t", Encode: plain},
	})
	b.add("thermostat", n, Property{
		Name: "temperature", Kind: Sensor, Of: target, Class: "temperature", Unit: "°C",
		Reports: []Report{b.fromInfo(toNumbers, "thermostats", n, "tmp", "value"), {b.base + "status", number(at("tmp", "value"), 1)}},
	})
	b.add("thermostat", n, Property{
		Name: "valve_position", Kind: Number, Of: target, Unit: "%", Range: &Range{0, 100, 0},
		Reports: []Report{b.fromInfo(position, "thermostats", n, "pos")},
		Set:     &Set{Topic: set + "valve_pos", Encode: plain},
	})
	b.add("thermostat", n, Property{
		Name: "schedule", Kind: Switch, Of: target, Diagnostic: true,
		Reports: []Report{b.fromInfo(onOff, "thermostats", n, "schedule")},
		Set:     &Set{Topic: set + "schedule", Encode: saying("1", "0", "")},
	})
	b.add("thermostat", n, Property{
		Name: "boost", Kind: Number, Of: target, Unit: "min", Range: &Range{0, 1440, 1},
		Reports: []Report{b.fromInfo(toNumbers, "thermostats", n, "boost_minutes")},
		Set:     &Set{Topic: set + "boost_minutes", Encode: plain},
	})
	b.add("thermostat", n, Property{
		Name: "window", Kind: BinarySensor, Of: target, Class: "window",
		Reports: []Report{b.fromInfo(onOff, "thermostats", n, "window_open")},
	})
}

func (b *build1) valve(n int) {
	t := b.topic(n)
	b.add("valve", n, Property{
		Name: "valve", Kind: Valve, Class: "gas",
		Reports: []Report{{t, words(whole, map[string]any{"opened": true, "open": true, "closed": false, "closing": nil, "opening": nil, "checking": nil})}},
		Set:     &Set{Topic: strings.TrimSuffix(t, "state") + "command", Encode: saying("open", "close", "")},
	})
}

func (b *build1) opening(n int) {
	b.add("sensor", n, Property{
		Name: "opening", Kind: BinarySensor, Class: "opening",
		Reports: []Report{{b.topic(n), words(whole, map[string]any{"open": true, "close": false, "opened": true, "closed": false})}},
	})
}

func (b *build1) gas(n int) {
	t := b.topic(n)
	main := b.add("sensor", n, Property{
		Name: "gas", Kind: BinarySensor, Class: "gas",
		Reports: []Report{{t, words(whole, map[string]any{"none": false, "mild": true, "heavy": true, "test": nil, "unknown": nil})}},
	})
	b.add("sensor", n, Property{
		Name: "gas_level", Kind: Sensor, Of: main, Options: []string{"none", "mild", "heavy", "test", "unknown"},
		Reports: []Report{{t, whole}},
	})
	for _, button := range [][3]string{{"mute", "mute", "mute"}, {"unmute", "unmute", "unmute"}, {"self_test_start", "start_self_test", "self_test"}} {
		b.add("sensor", n, Property{
			Name: button[0], Kind: Button, Diagnostic: true,
			Set: &Set{Topic: b.base + "sensor/" + button[1], Encode: func(any) (string, error) { return button[2], nil }},
		})
	}
}

// temperature is that of the room, in the unit that the device is set to.
func (b *build1) temperature(n int) {
	b.add("sensor", n, Property{
		Name: "temperature", Kind: Sensor, Class: "temperature", Unit: "°C",
		Reports: []Report{{b.topic(n), within(number(whole, 1), -100, 900)}},
	})
}

// status is what a motion sensor tells, on this topic by its own name and on its info.
func (b *build1) status(int) {
	t := b.base + "status"
	if b.has[shape1{"thermostat", "", true}] != 0 {
		return
	}
	if b.keys["motion"] {
		b.add("status", 0, Property{
			Name: "motion", Kind: BinarySensor, Class: "motion",
			Reports: []Report{{t, onOff(at("motion"))}, b.fromInfo(onOff, "sensor", "motion")},
		})
	}
	if b.keys["vibration"] {
		b.add("status", 0, Property{
			Name: "vibration", Kind: BinarySensor, Class: "vibration",
			Reports: []Report{{t, onOff(at("vibration"))}, b.fromInfo(onOff, "sensor", "vibration")},
		})
	}
	if b.keys["lux"] {
		b.add("status", 0, Property{
			Name: "illuminance", Kind: Sensor, Class: "illuminance", Unit: "lx",
			Reports: []Report{{t, number(at("lux"), 1)}, b.fromInfo(toNumbers, "lux", "value")},
		})
	}
	if b.keys["tmp"] {
		b.add("status", 0, Property{
			Name: "temperature", Kind: Sensor, Class: "temperature", Unit: "°C",
			Reports: []Report{{t, number(either("tmp", "value"), 1)}, b.fromInfo(toNumbers, "tmp", "value")},
		})
	}
	if b.keys["bat"] {
		b.battery(0)
	}
	if b.keys["active"] {
		b.add("status", 0, Property{Name: "active", Kind: BinarySensor, Diagnostic: true, Reports: []Report{{t, onOff(at("active"))}}})
	}
}

// either reads what is at key, or within it.
func either(key, within string) Reader {
	inner, outer := at(key, within), at(key)
	return func(p *Payload) (any, bool, error) {
		if v, ok, err := inner(p); ok || err != nil {
			return v, ok, err
		}
		v, ok, err := outer(p)
		if _, object := v.(map[string]any); object {
			return nil, false, err
		}
		return v, ok, err
	}
}

func (b *build1) battery(int) {
	if b.used["battery"] {
		return
	}
	b.add("sensor", 0, Property{
		Name: "battery", Kind: Sensor, Class: "battery", Unit: "%", Diagnostic: true,
		Reports: []Report{
			{b.base + "sensor/battery", within(number(whole, 1), 0, 100)},
			{b.base + "status", number(at("bat"), 1)},
			b.fromInfo(toNumbers, "bat", "value"),
		},
	})
}

func (b *build1) input(n int) {
	b.add("input", n, Property{
		Name: "input", Kind: BinarySensor,
		Reports: []Report{{b.topic(n), onOff(whole)}, b.fromInfo(onOff, "inputs", n, "input")},
	})
}

func (b *build1) extSwitch(n int) {
	b.add("ext_switch", n, Property{
		Name: "ext_switch", Kind: BinarySensor,
		Reports: []Report{{b.topic(n), onOff(whole)}},
	})
}

// longPush is whether the last push was long. It is sent again every 30 seconds and has no
// count, so it is no event.
func (b *build1) longPush(n int) {
	b.add("longpush", n, Property{
		Name: "long_push", Kind: BinarySensor,
		Reports: []Report{{b.topic(n), onOff(whole)}},
	})
}

func (b *build1) inputEvent(n int) {
	options := []string{"single", "long"}
	if m := model1(b.id, b.model); m == nil || m.presses {
		options = []string{"single", "double", "triple", "long", "single_long", "long_single"}
	}
	b.add("input_event", n, Property{
		Name: "button", Kind: Event, Class: "button", Options: options,
		Reports: []Report{{b.topic(n), press1(b.lastPress(n))}},
	})
}

// info is the JSON of what HTTP calls the status.
func (b *build1) info(int) {
	if b.keys["bat"] {
		b.battery(0)
	}
	b.add("info", 0, Property{
		Name: "rssi", Kind: Sensor, Class: "signal_strength", Unit: "dBm", Diagnostic: true,
		Reports: []Report{b.fromInfo(func(r Reader) Reader {
			return then(number(r, 1), func(v any) (any, error) {
				if v == 0.0 {
					return nil, nil // it does not know
				}
				return v, nil
			})
		}, "wifi_sta", "rssi")},
	})
}

// lastPress is the number of the last press of a button before it was described.
func (d *shelly1) lastPress(n int) int64 {
	if count, ok := d.presses[n]; ok {
		return count
	}
	if d.before {
		return oldEvent
	}
	return noEvent
}

// eventCount is the count of a press.
func eventCount(event any) (int64, bool) {
	o, _ := event.(map[string]any)
	n, _ := o["event_cnt"].(json.Number)
	count, err := n.Int64()
	return count, err == nil && count >= 0
}

// press1 reads a press, {"event":"S","event_cnt":79}.
func press1(after int64) Reader {
	return func(p *Payload) (any, bool, error) {
		doc, err := p.JSON()
		if err != nil {
			return nil, false, err
		}
		o, ok := doc.(map[string]any)
		if !ok {
			return nil, false, errNoObject
		}
		event, ok := o["event"].(string)
		if !ok {
			return nil, false, errors.New("there is no event in it")
		}
		if count, ok := eventCount(doc); ok {
			return counted{pressed(event), count, after}, true, nil
		}
		if event == "" {
			return nil, false, nil
		}
		return pressed(event), true, nil
	}
}

// A shelly1Model is what is known of a model.
type shelly1Model struct {
	prefix  string   // of the id
	codes   []string // in the announcement
	name    string
	sleepy  bool
	presses bool     // it tells more than short and long ones
	warmest float64  // in K, of what is white from warm to cold
	modes   []string // of which it has one at a time, the one that is likely first
	topics  []string
	keys    []string // of its status
}

func (m *shelly1Model) is(id, code string) bool {
	if code != "" {
		if slices.Contains(m.codes, code) {
			return true
		}
		for i := range shelly1Models {
			if slices.Contains(shelly1Models[i].codes, code) {
				return false
			}
		}
	}
	if i := strings.LastIndexByte(id, '/'); i >= 0 {
		id = id[i+1:]
	}
	rest, ok := cutFold(id, m.prefix)
	return ok && strings.HasPrefix(rest, "-") && !strings.Contains(rest[1:], "-") && len(rest) > 1
}

func cutFold(text, prefix string) (string, bool) {
	if len(text) < len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
		return text, false
	}
	return text[len(prefix):], true
}

// model1 is that of a code, or else of an id; nil if neither is known.
func model1(id, code string) *shelly1Model {
	for i := range shelly1Models {
		if shelly1Models[i].is(id, code) {
			return &shelly1Models[i]
		}
	}
	return nil
}

var shelly1Models = []shelly1Model{
	{prefix: "shelly1", codes: []string{"SHSW-1"}, name: "Shelly 1", topics: []string{"relay/0", "input/0", "input_event/0"}},
	{prefix: "shelly1pm", codes: []string{"SHSW-PM"}, name: "Shelly 1PM",
		topics: []string{"relay/0", "relay/0/power", "relay/0/energy", "input/0", "input_event/0", "temperature", "overtemperature"}},
	{prefix: "shelly1l", codes: []string{"SHSW-L"}, name: "Shelly 1L",
		topics: []string{"relay/0", "relay/0/power", "relay/0/energy", "input/0", "input/1", "input_event/0", "input_event/1", "temperature", "overtemperature"}},
	{prefix: "shellyswitch", codes: []string{"SHSW-21"}, name: "Shelly 2", modes: modes1["relay"],
		topics: []string{"relay/0", "relay/1", "relay/power", "relay/energy", "roller/0", "roller/0/power", "roller/0/energy", "input/0", "input/1", "input_event/0", "input_event/1"}},
	{prefix: "shellyswitch25", codes: []string{"SHSW-25"}, name: "Shelly 2.5", modes: modes1["relay"],
		topics: []string{"relay/0", "relay/1", "relay/0/power", "relay/1/power", "relay/0/energy", "relay/1/energy", "roller/0", "roller/0/power", "roller/0/energy",
			"input/0", "input/1", "input_event/0", "input_event/1", "voltage", "temperature", "overtemperature"}},
	{prefix: "shelly4pro", codes: []string{"SHSW-44"}, name: "Shelly 4Pro",
		topics: []string{"relay/0", "relay/1", "relay/2", "relay/3", "relay/0/power", "relay/1/power", "relay/2/power", "relay/3/power",
			"relay/0/energy", "relay/1/energy", "relay/2/energy", "relay/3/energy", "input/0", "input/1", "input/2", "input/3"}},
	{prefix: "shellyair", codes: []string{"SHAIR-1"}, name: "Shelly Air", topics: []string{"relay/0", "relay/0/power", "relay/0/energy", "input/0", "temperature", "overtemperature", "totalworktime"}},
	{prefix: "shellyplug", codes: []string{"SHPLG-1", "SHPLG2-1"}, name: "Shelly Plug", topics: []string{"relay/0", "relay/0/power", "relay/0/energy"}},
	{prefix: "shellyplug-s", codes: []string{"SHPLG-S"}, name: "Shelly Plug S", topics: []string{"relay/0", "relay/0/power", "relay/0/energy", "temperature", "overtemperature"}},
	{prefix: "shellyplug-u1", codes: []string{"SHPLG-U1"}, name: "Shelly Plug US", topics: []string{"relay/0", "relay/0/power", "relay/0/energy"}},
	{prefix: "shellyuni", codes: []string{"SHUNI-1"}, name: "Shelly UNI", topics: []string{"relay/0", "relay/1", "input/0", "input/1", "input_event/0", "input_event/1", "adc/0"}},
	{prefix: "shellyem", codes: []string{"SHEM"}, name: "Shelly EM",
		topics: []string{"relay/0", "emeter/0/power", "emeter/1/power", "emeter/0/reactive_power", "emeter/1/reactive_power", "emeter/0/voltage", "emeter/1/voltage",
			"emeter/0/total", "emeter/1/total", "emeter/0/total_returned", "emeter/1/total_returned"}},
	{prefix: "shellyem3", codes: []string{"SHEM-3"}, name: "Shelly 3EM",
		topics: []string{"relay/0", "emeter/0/power", "emeter/1/power", "emeter/2/power", "emeter/0/pf", "emeter/1/pf", "emeter/2/pf", "emeter/0/current", "emeter/1/current", "emeter/2/current",
			"emeter/0/voltage", "emeter/1/voltage", "emeter/2/voltage", "emeter/0/total", "emeter/1/total", "emeter/2/total", "emeter/0/total_returned", "emeter/1/total_returned", "emeter/2/total_returned"}},
	{prefix: "shellyix3", codes: []string{"SHIX3-1"}, name: "Shelly i3", presses: true,
		topics: []string{"input/0", "input/1", "input/2", "input_event/0", "input_event/1", "input_event/2"}},
	{prefix: "shellybutton1", codes: []string{"SHBTN-1", "SHBTN-2"}, name: "Shelly Button1", presses: true, sleepy: true,
		topics: []string{"input_event/0", "sensor/battery", "sensor/charger"}},
	{prefix: "shellyht", codes: []string{"SHHT-1"}, name: "Shelly H&T", sleepy: true, topics: []string{"sensor/temperature", "sensor/humidity", "sensor/battery"}},
	{prefix: "shellyflood", codes: []string{"SHWT-1"}, name: "Shelly Flood", sleepy: true, topics: []string{"sensor/flood", "sensor/temperature", "sensor/battery"}},
	{prefix: "shellysmoke", codes: []string{"SHSM-01"}, name: "Shelly Smoke", sleepy: true, topics: []string{"sensor/smoke", "sensor/temperature", "sensor/battery"}},
	{prefix: "shellydw", codes: []string{"SHDW-1"}, name: "Shelly Door/Window", sleepy: true,
		topics: []string{"sensor/state", "sensor/lux", "sensor/tilt", "sensor/vibration", "sensor/battery"}},
	{prefix: "shellydw2", codes: []string{"SHDW-2"}, name: "Shelly Door/Window 2", sleepy: true,
		topics: []string{"sensor/state", "sensor/lux", "sensor/tilt", "sensor/vibration", "sensor/temperature", "sensor/battery"}},
	{prefix: "shellysense", codes: []string{"SHSEN-1"}, name: "Shelly Sense",
		topics: []string{"sensor/motion", "sensor/temperature", "sensor/humidity", "sensor/lux", "sensor/battery", "sensor/charger"}},
	{prefix: "shellygas", codes: []string{"SHGS-1"}, name: "Shelly Gas", topics: []string{"sensor/gas", "sensor/concentration", "sensor/operation", "sensor/self_test", "valve/0/state"}},
	{prefix: "shellymotionsensor", codes: []string{"SHMOS-01"}, name: "Shelly Motion", topics: []string{"status"}, keys: []string{"motion", "vibration", "lux", "bat"}},
	{prefix: "shellymotion2", codes: []string{"SHMOS-02"}, name: "Shelly Motion 2", topics: []string{"status"}, keys: []string{"motion", "vibration", "lux", "bat", "tmp"}},
	{prefix: "shellymotionsensor2", codes: []string{"SHMOS-02"}, name: "Shelly Motion 2", topics: []string{"status"}, keys: []string{"motion", "vibration", "lux", "bat", "tmp"}},
	{prefix: "shellytrv", codes: []string{"SHTRV-01"}, name: "Shelly TRV", topics: []string{"thermostat/0", "info"}, keys: []string{"bat"}},
	{prefix: "shellydimmer", codes: []string{"SHDM-1"}, name: "Shelly Dimmer",
		topics: []string{"light/0", "light/0/power", "light/0/energy", "input/0", "input/1", "input_event/0", "input_event/1", "temperature", "overtemperature", "overload", "loaderror"}},
	{prefix: "shellydimmer2", codes: []string{"SHDM-2"}, name: "Shelly Dimmer 2",
		topics: []string{"light/0", "light/0/power", "light/0/energy", "input/0", "input/1", "input_event/0", "input_event/1", "temperature", "overtemperature", "overload", "loaderror"}},
	{prefix: "shellyvintage", codes: []string{"SHVIN-1"}, name: "Shelly Vintage", topics: []string{"light/0", "light/0/power", "light/0/energy"}},
	{prefix: "shellybulbduo", codes: []string{"SHBDUO-1"}, name: "Shelly Duo", warmest: 2700, topics: []string{"light/0", "light/0/power", "light/0/energy"}},
	{prefix: "shellycolorbulb", codes: []string{"SHCB-1"}, name: "Shelly Duo RGBW", warmest: 3000, topics: []string{"color/0", "light/0/power", "light/0/energy"}},
	{prefix: "shellybulb", codes: []string{"SHBLB-1"}, name: "Shelly Bulb", warmest: 3000, topics: []string{"color/0"}},
	{prefix: "shellyrgbw2", codes: []string{"SHRGBW2"}, name: "Shelly RGBW2", modes: modes1["color"],
		topics: []string{"color/0", "color/0/power", "color/0/energy", "white/0", "white/1", "white/2", "white/3", "white/0/power", "white/1/power", "white/2/power", "white/3/power", "input/0", "input_event/0"}},
}
