package catalog

// Tasmota, as its discovery tells (tasmota/tasmota_xdrv_driver/xdrv_12_discovery.ino,
// protocol version 1; the draft of it in the documentation has other keys for the same),
// as hatasmota reads it (the library of Home Assistant: discovery.py, light.py, relay.py,
// shutter.py, fan.py, sensor.py, switch.py, button.py), and as docs/MQTT.md,
// Commands.md, Buttons-and-Switches.md and Blinds-and-Shutters.md describe topics and
// commands.
//
// A device announces itself, retained, on tasmota/discovery/MAC/config, and what its
// sensors said last on .../sensors. It speaks on topics made of its FullTopic, in which
// the prefix is cmnd for what it is told, stat for what it answers, tele for what it
// tells by itself. A state comes on several: stat/T/RESULT and stat/T/POWER at once, and
// tele/T/STATE every five minutes. All of them are reported.
//
// Older devices, and those whose owner has turned discovery off, are learned from what
// they say under the FullTopic that devices come with, prefix/topic. Commands are never
// retained: that is how a relay switches at night when its device reconnects.

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"hearth/devices"
)

type tasmota struct {
	seed    maphash.Seed
	devices map[string]*tasmotaDevice // by their place under tasmota/discovery, or "/" and the topic of those that are learned
	speaks  map[string]*tasmotaDevice // by the topic in tele/TOPIC/...
	learned int
}

type tasmotaDevice struct {
	id      string
	learned bool
	config  *tasmotaConfig // nil: only its sensors are known yet
	sensors map[string]any
	taken   [2]uint64 // hashes of the announcements config and sensors
	speaks  string
	shown   string

	// Of what it says:
	shapes          map[uint64]bool // of the messages that were learned from
	state           map[string]any  // keys of STATE and RESULT; only of the learned
	module, version string          // of the learned
	extra           map[string]bool // what is known only once it was seen: "RfReceived", "PowerLow"
}

const (
	tasmotaMaxLearned = 500
	tasmotaMaxShapes  = 200
	tasmotaMaxKeys    = 200
	tasmotaMaxRelays  = 32
	tasmotaMaxPayload = 64 << 10 // far more than a device has memory for
)

func newTasmota() *tasmota {
	return &tasmota{seed: maphash.MakeSeed(), devices: make(map[string]*tasmotaDevice), speaks: make(map[string]*tasmotaDevice)}
}

func (*tasmota) filters() []string {
	return []string{
		"tasmota/discovery/+/config", "tasmota/discovery/+/sensors", "tasmota/discovery/+",
		"tele/+/LWT", "tele/+/STATE", "tele/+/SENSOR", "tele/+/RESULT", "tele/+/MARGINS", "tele/+/INFO1",
		"tele/+/POWER_LOW", "tele/+/POWER_HIGH", "tele/+/VOLTAGE_LOW", "tele/+/VOLTAGE_HIGH", "tele/+/CURRENT_LOW", "tele/+/CURRENT_HIGH",
		"stat/+/RESULT", "stat/+/POWER", "stat/+/POWER1", "stat/+/STATUS10", "stat/+/STATUS11",
		"stat/+/BUTTON1", "stat/+/BUTTON2", "stat/+/BUTTON3", "stat/+/BUTTON4",
	}
}

func (w *tasmota) take(m *Payload) (Found, error) {
	if len(m.Payload) > tasmotaMaxPayload {
		return Found{}, fmt.Errorf("it has more than %d bytes", tasmotaMaxPayload)
	}
	if rest, ok := strings.CutPrefix(m.Topic, "tasmota/discovery/"); ok {
		return w.announced(rest, m)
	}
	prefix, rest, _ := strings.Cut(m.Topic, "/")
	topic, what, _ := strings.Cut(rest, "/")
	return w.heard(prefix, topic, what, m)
}

func (w *tasmota) announced(rest string, m *Payload) (Found, error) {
	key, what, _ := strings.Cut(rest, "/")
	part := 0
	if what == "sensors" {
		part = 1
	}
	d := w.devices[key]
	hash := maphash.Bytes(w.seed, m.Payload)
	if d != nil && d.taken[part] == hash {
		return Found{}, nil
	}
	if len(m.Payload) == 0 {
		if d == nil {
			return Found{}, nil
		}
		if part == 1 {
			d.sensors, d.taken[1] = nil, hash
			return w.show(d, nil), nil
		}
		delete(w.devices, key)
		if d.speaks != "" && w.speaks[d.speaks] == d {
			delete(w.speaks, d.speaks)
		}
		return Found{Gone: []string{d.id}}, nil
	}
	doc, err := m.JSON()
	object, ok := doc.(map[string]any)
	if err != nil || !ok {
		return Found{}, errors.New("it is no JSON object")
	}
	if d == nil {
		if len(w.devices) >= MaxDevices {
			return Found{}, errors.New("there are too many devices already")
		}
		if !inTopic(key) {
			return Found{}, errors.New("its topic names no device")
		}
		d = &tasmotaDevice{id: "tasmota/" + key}
	}
	if part == 1 {
		sn, ok := object["sn"].(map[string]any)
		if !ok {
			return Found{}, errors.New(`it has no object "sn"`)
		}
		w.devices[key] = d
		d.sensors, d.taken[1] = sn, hash
		return w.show(d, nil), nil
	}
	config, err := tasmotaRead(key, object)
	if config == nil {
		return Found{}, err
	}
	w.devices[key] = d
	isNew := d.config == nil
	d.config = config
	if err == nil {
		d.taken[0] = hash
	}
	// One that was learned before is this one.
	found := Found{}
	speaks, _ := strings.CutPrefix(strings.TrimSuffix(config.base(2), "/"), "tele/")
	if strings.Contains(speaks, "/") {
		speaks = ""
	}
	if d.speaks != "" && d.speaks != speaks && w.speaks[d.speaks] == d {
		delete(w.speaks, d.speaks)
	}
	d.speaks = speaks
	if speaks != "" {
		if before := w.speaks[speaks]; before != nil && before.learned {
			found.Gone = append(found.Gone, before.id)
			delete(w.devices, "/"+speaks)
			w.learned--
			d.extra = before.extra
		}
		w.speaks[speaks] = d
	}
	shown := w.show(d, nil)
	found.Devices = shown.Devices
	if isNew { // so that its state is known before it tells by itself
		found.Ask = append(found.Ask, Message{Topic: config.base(0) + "STATE"}, Message{Topic: config.base(0) + "STATUS", Payload: "10"})
	}
	return found, err
}

// heard takes what a device says under the FullTopic that devices come with.
func (w *tasmota) heard(prefix, topic, what string, m *Payload) (Found, error) {
	d := w.speaks[topic]
	extra := ""
	switch what {
	case "POWER_LOW", "POWER_HIGH", "VOLTAGE_LOW", "VOLTAGE_HIGH", "CURRENT_LOW", "CURRENT_HIGH":
		if _, ok := devices.OnOff(m.Text()); !ok || d == nil {
			return Found{}, nil
		}
		extra = tasmotaMargins[what]
	case "MARGINS":
		for _, key := range tasmotaMargins {
			if d != nil && !d.extra[key] && bytes.Contains(m.Payload, []byte(`"`+key+`"`)) {
				extra = key
			}
		}
	case "SENSOR", "RESULT":
		if prefix == "tele" {
			extra = tasmotaReceived(m.Payload)
		}
	}
	if extra != "" && d != nil && !d.extra[extra] {
		if d.extra == nil {
			d.extra = make(map[string]bool)
		}
		d.extra[extra] = true
		return w.show(d, nil), nil
	}
	if d != nil && !d.learned || !inTopic(topic) || len(m.Payload) == 0 {
		return Found{}, nil
	}
	return w.learn(d, topic, what, extra, m)
}

// tasmotaMargins are the topics on which a plug tells that a limit is passed, and what it
// is called where they have one topic.
var tasmotaMargins = map[string]string{
	"POWER_LOW": "PowerLow", "POWER_HIGH": "PowerHigh", "VOLTAGE_LOW": "VoltageLow", "VOLTAGE_HIGH": "VoltageHigh",
	"CURRENT_LOW": "CurrentLow", "CURRENT_HIGH": "CurrentHigh",
}

// tasmotaReceived says what a bridge has received: that is the first or the second key of
// its message.
func tasmotaReceived(payload []byte) string {
	head := payload[:min(len(payload), 64)]
	for _, key := range [...]string{"ZbReceived", "RfReceived", "IrReceived"} {
		if bytes.Contains(head, []byte(`"`+key+`"`)) {
			return key
		}
	}
	return ""
}

func (w *tasmota) learn(d *tasmotaDevice, topic, what, extra string, m *Payload) (Found, error) {
	isNew := d == nil
	if isNew {
		if w.learned >= tasmotaMaxLearned {
			return Found{}, nil
		}
		d = &tasmotaDevice{id: "tasmota/" + topic, learned: true, speaks: topic, shapes: make(map[uint64]bool), state: make(map[string]any), sensors: make(map[string]any)}
	}
	var ask []Message
	switch what {
	case "LWT":
		text := m.Text()
		if !isNew || text != "Online" && text != "Offline" {
			return Found{}, nil
		}
		if text == "Online" {
			ask = []Message{{Topic: "cmnd/" + topic + "/STATE"}, {Topic: "cmnd/" + topic + "/STATUS", Payload: "10"}}
		}
	case "POWER", "POWER1":
		if _, ok := devices.OnOff(m.Text()); !ok || d.state[what] != nil {
			return Found{}, nil
		}
		d.state[what] = m.Text()
	case "BUTTON1", "BUTTON2", "BUTTON3", "BUTTON4": // with SetOption73, of versions before 9
		key := "Button" + what[len(what)-1:]
		doc, err := m.JSON()
		if err != nil || isNew || lookup(doc, "ACTION") == nil && lookup(doc, "Action") == nil || d.state[key] != nil {
			return Found{}, nil
		}
		d.state[key] = doc
	case "INFO1":
		doc, err := m.JSON()
		if err != nil {
			return Found{}, err
		}
		if inner := lookup(doc, "Info1"); inner != nil { // since version 9
			doc = inner
		}
		module, _ := lookup(doc, "Module").(string)
		version, _ := lookup(doc, "Version").(string)
		if module == "" || version == "" || d.module == module && d.version == version {
			return Found{}, nil
		}
		d.module, d.version = module, version
	case "STATE", "SENSOR", "RESULT", "STATUS10", "STATUS11":
		shape := jsonShape(what, m.Payload)
		if d.shapes[shape] || len(d.shapes) >= tasmotaMaxShapes {
			return Found{}, nil
		}
		doc, err := m.JSON()
		object, ok := doc.(map[string]any)
		if err != nil || !ok {
			if isNew {
				return Found{}, nil // of something else
			}
			return Found{}, errors.New("it is no JSON object")
		}
		if !d.learnFrom(what, object) && extra == "" && isNew {
			return Found{}, nil
		}
		d.shapes[shape] = true
	default:
		return Found{}, nil
	}
	if extra != "" {
		d.extra = map[string]bool{extra: true}
	}
	if isNew {
		w.learned++
		w.devices["/"+topic] = d
		w.speaks[topic] = d
	}
	d.config = tasmotaGuess(topic, d.state)
	d.config.Model, d.config.Version = d.module, d.version
	return w.show(d, ask), nil
}

// learnFrom takes the keys of a message; false says that none are Tasmota's.
func (d *tasmotaDevice) learnFrom(what string, doc map[string]any) (known bool) {
	switch what {
	case "STATUS10":
		doc, _ = doc["StatusSNS"].(map[string]any)
		what = "SENSOR"
	case "STATUS11":
		doc, _ = doc["StatusSTS"].(map[string]any)
	}
	if what == "SENSOR" {
		if _, ok := doc["Time"]; !ok {
			return false
		}
		left := tasmotaMaxKeys - countLeaves(d.sensors, 4)
		joinJSON(d.sensors, doc, &left, 4)
		return true
	}
	for _, key := range slices.Sorted(maps.Keys(doc)) {
		switch {
		case tasmotaPower(key) > 0:
		case key == "Button1", key == "Button2", key == "Button3", key == "Button4":
		case key == "Wifi" && lookup(doc, "Wifi", "RSSI") == nil: // the answer to a command
			continue
		case tasmotaKeys[key]:
		case strings.HasPrefix(key, "Shutter") || strings.HasPrefix(key, "Switch"):
			if v, ok := doc[key].(map[string]any); ok && d.sensors[key] == nil && len(d.sensors) < tasmotaMaxKeys {
				if v["Position"] != nil {
					d.sensors[key] = v
				} else if action, ok := v["Action"].(string); ok {
					if _, onOff := devices.OnOff(action); onOff {
						d.sensors[key] = action
					}
				}
			}
			known = true
			continue
		default:
			continue
		}
		known = true
		if len(d.state) < tasmotaMaxKeys {
			d.state[key] = doc[key]
		}
	}
	return known
}

// tasmotaKeys are those of a state that tell what a device is.
var tasmotaKeys = map[string]bool{
	"Dimmer": true, "Dimmer1": true, "Dimmer2": true, "Color": true, "HSBColor": true, "CT": true, "White": true, "Scheme": true,
	"Channel1": true, "Channel2": true, "Channel3": true, "Channel4": true, "Channel5": true,
	"FanSpeed": true, "Wifi": true, "BatteryPercentage": true, "UptimeSec": true,
}

// tasmotaPower is the number of the relay in POWER or POWER2; 0: it is none.
func tasmotaPower(key string) int {
	rest, ok := strings.CutPrefix(key, "POWER")
	if !ok {
		return 0
	}
	if rest == "" {
		return 1
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 1 || n > tasmotaMaxRelays {
		return 0
	}
	return n
}

// jsonShape is a number that is the same for texts of the same keys, whatever the values.
func jsonShape(of string, text []byte) uint64 {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for i := range len(of) {
		h = (h ^ uint64(of[i])) * prime
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			from := i + 1
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if i+1 < len(text) && text[i+1] == ':' {
				for _, c := range text[from:i] {
					h = (h ^ uint64(c)) * prime
				}
			}
		case '{', '}', '[', ']', ',':
			h = (h ^ uint64(c)) * prime
		}
	}
	return h
}

func countLeaves(v any, depth int) (n int) {
	m, ok := v.(map[string]any)
	if !ok || depth == 0 {
		return 1
	}
	for _, e := range m {
		n += countLeaves(e, depth-1)
	}
	return n
}

// joinJSON adds to a document what another has besides.
func joinJSON(to, from map[string]any, left *int, depth int) {
	for k, v := range from {
		old, ok := to[k]
		if a, isMap := old.(map[string]any); isMap && depth > 1 {
			if b, isMap := v.(map[string]any); isMap {
				joinJSON(a, b, left, depth-1)
			}
			continue
		}
		if ok && old != nil || *left <= 0 {
			continue
		}
		if m, isMap := v.(map[string]any); isMap && depth > 1 {
			own := make(map[string]any)
			to[k] = own
			joinJSON(own, m, left, depth-1)
			continue
		}
		*left--
		to[k] = v
	}
}

// show gives a device if it is another than it was.
func (w *tasmota) show(d *tasmotaDevice, ask []Message) Found {
	if d.config == nil {
		return Found{Ask: ask}
	}
	made := d.make()
	var b strings.Builder
	fmt.Fprintf(&b, "%+v", *d.config)
	for _, p := range made.Properties {
		fmt.Fprintf(&b, " %s %s %s %s %s %v %d", p.Name, p.Label, p.Kind, p.Unit, p.Class, p.Options, len(p.Reports))
	}
	if b.String() == d.shown {
		return Found{Ask: ask}
	}
	d.shown = b.String()
	return Found{Devices: []Device{made}, Ask: ask}
}

// tasmotaConfig is what the discovery tells of a device.
type tasmotaConfig struct {
	Topic, Full, Host, MAC string
	Prefixes               [3]string
	Name, Model, Version   string
	Names                  []string // of relays; "": none
	Online, Offline        string
	Words                  [4]string // for off, on, toggle, hold
	Relays                 []int
	Switches               []int // their modes; -1: there is none
	SwitchNames            []string
	Buttons                []int
	Options                map[string]int // "30" is SetOption30
	Unlinked               bool           // colour and white are lights of their own
	Subtype                int            // of the light: how many channels it has
	Tuya, Fan              bool
	Battery, DeepSleep     bool
	Shutters               []int // their options
	Tilts                  [][3]float64
	Status                 map[string]bool // nil: tells all of its state
}

// tasmotaRead reads an announcement. There is none where nothing could be done with it.
func tasmotaRead(key string, doc map[string]any) (*tasmotaConfig, error) {
	var wrong mistakes
	text := func(keys ...string) string {
		for _, k := range keys {
			switch v := doc[k].(type) {
			case string:
				return v
			case nil, map[string]any, []any:
			default:
				return textOf(plain1(v))
			}
		}
		return ""
	}
	list := func(keys ...string) (all []any) {
		for _, k := range keys {
			switch v := doc[k].(type) {
			case []any:
				if len(v) > tasmotaMaxRelays {
					wrong.add("%q has more than %d entries", k, tasmotaMaxRelays)
					v = v[:tasmotaMaxRelays]
				}
				return v
			case string:
				if k == "fn" || k == "tp" || k == "st" || k == "state" {
					return []any{v}
				}
			}
		}
		return nil
	}
	ints := func(keys ...string) (all []int) {
		for _, v := range list(keys...) {
			f, err := toNumber(plain1(v))
			if err != nil {
				wrong.add("%q has an entry that is no number", keys[0])
				f = 0
			}
			all = append(all, int(min(max(f, -1000), 1000)))
		}
		return all
	}
	texts := func(keys ...string) (all []string) {
		for _, v := range list(keys...) {
			s, _ := v.(string)
			all = append(all, s)
		}
		return all
	}
	flag := func(k string) bool {
		f, err := toNumber(plain1(doc[k]))
		return err == nil && f != 0 || doc[k] == true
	}
	c := &tasmotaConfig{
		Topic: text("t"), Full: text("ft"), Host: text("hn"), MAC: text("mac"),
		Name: text("dn"), Model: text("md"),
		Names:  texts("fn"),
		Online: text("onln", "on"), Offline: text("ofln", "of"),
		Relays: ints("rl"), SwitchNames: texts("swn"), Buttons: ints("btn", "bt"),
		Unlinked: doc["lk"] != nil && !flag("lk"), Tuya: flag("ty"), Fan: flag("if"),
		Battery: flag("bat"), DeepSleep: flag("dslp"), Shutters: ints("sho"),
		Options: make(map[string]int),
	}
	c.Version = text("bd")
	if _, isList := doc["sw"].([]any); isList { // the draft, in which 0 is that there is none
		for _, mode := range ints("sw") {
			if mode == 0 {
				mode = -1
			}
			c.Switches = append(c.Switches, mode)
		}
	} else {
		c.Version = text("sw", "bd")
		c.Switches = ints("swc")
	}
	for i, on := range ints("li") { // the draft
		if on != 0 && i < len(c.Relays) {
			c.Relays[i] = tasmotaLight
		}
	}
	if f, err := toNumber(plain1(doc["lt_st"])); err == nil {
		c.Subtype = int(min(max(f, 0), 5))
	}
	options, _ := doc["so"].(map[string]any)
	for k, v := range options {
		if f, err := toNumber(plain1(v)); err == nil && len(c.Options) < 200 {
			c.Options[k] = int(min(max(f, -1000), 1000))
		}
	}
	for _, v := range list("sht") {
		var tilt [3]float64
		row, _ := v.([]any)
		for i := range min(len(row), 3) {
			tilt[i], _ = toNumber(plain1(row[i]))
		}
		c.Tilts = append(c.Tilts, tilt)
	}
	c.defaults()
	for i, word := range texts("state", "st") {
		if i < 4 && word != "" {
			c.Words[i] = word
		}
	}
	for i, prefix := range texts("tp") {
		if i < 3 && prefix != "" {
			c.Prefixes[i] = prefix
		}
	}
	if c.MAC == "" {
		c.MAC = key
	} else if !strings.EqualFold(c.MAC, key) && !strings.HasSuffix(strings.ToUpper(c.MAC), strings.ToUpper(key)) {
		return nil, fmt.Errorf("its mac is %.40q, which is not that in its topic", c.MAC)
	}
	if version, err := toNumber(plain1(doc["ver"])); err == nil && version != 1 {
		wrong.add("it has version %s of the protocol, and 1 is known", short(version))
	}
	if c.Topic == "" {
		return nil, errors.New(`it has no topic "t"`)
	}
	for i := range c.Prefixes {
		if base := c.base(i); !inTopic(base) || strings.Contains(base, "%") {
			return nil, fmt.Errorf("its topics begin with %.80q, which no topic does", base)
		}
	}
	return c, wrong.err()
}

func (c *tasmotaConfig) defaults() {
	if c.Full == "" {
		c.Full = "%prefix%/%topic%/"
	}
	if c.Online == "" {
		c.Online = "Online"
	}
	if c.Offline == "" {
		c.Offline = "Offline"
	}
	c.Words = [4]string{"OFF", "ON", "TOGGLE", "HOLD"}
	c.Prefixes = [3]string{"cmnd", "stat", "tele"}
}

// base is what the topics with a prefix begin with: "stat/tasmota_49A3BC/".
func (c *tasmotaConfig) base(prefix int) string {
	mac := strings.ToUpper(c.MAC)
	topic := strings.NewReplacer("%prefix%", c.Prefixes[prefix], "%topic%", c.Topic, "%hostname%", c.Host, "%id%", mac[max(0, len(mac)-6):]).Replace(c.Full)
	if !strings.HasSuffix(topic, "/") {
		topic += "/"
	}
	return topic
}

// tasmotaGuess is the config of a device as its state shows it.
func tasmotaGuess(topic string, state map[string]any) *tasmotaConfig {
	c := &tasmotaConfig{Topic: topic, Name: topic, Status: make(map[string]bool), Options: make(map[string]int)}
	c.defaults()
	for key := range state {
		if n := tasmotaPower(key); n > 0 {
			for len(c.Relays) < n {
				c.Relays = append(c.Relays, 0)
			}
			c.Relays[n-1] = tasmotaRelay
			if key == "POWER1" { // it has more of them, or SetOption26
				c.Options["26"] = 1
			}
		}
		switch key {
		case "Wifi", "UptimeSec":
			c.Status[key] = true
		case "BatteryPercentage":
			c.Battery = true
		case "FanSpeed":
			c.Fan = true
		case "Button1", "Button2", "Button3", "Button4":
			for len(c.Buttons) < 4 {
				c.Buttons = append(c.Buttons, 0)
			}
			c.Buttons[key[6]-'1'] = 1
		}
	}
	light := len(c.Relays) - 1 // lights come after relays
	if light < 0 {
		return c
	}
	color, _ := state["Color"].(string)
	_, hsb := state["HSBColor"]
	_, ct := state["CT"]
	_, white := state["White"]
	switch {
	case state["Channel1"] != nil && state["Dimmer"] == nil:
		c.Options["68"] = 1
		c.Subtype = 1
		for i := range c.Relays {
			if state["Channel"+strconv.Itoa(i+1)] != nil {
				c.Relays[i] = tasmotaLight
			}
		}
		return c
	case hsb && ct:
		c.Subtype = 5
	case hsb && white:
		c.Subtype = 4
	case hsb || len(color) >= 6 && !ct:
		c.Subtype = 3
	case ct:
		c.Subtype = 2
	case state["Dimmer"] != nil:
		c.Subtype = 1
	}
	if c.Subtype > 0 {
		c.Relays[light] = tasmotaLight
	} else if c.Fan {
		c.Relays[0] = tasmotaLight
	}
	return c
}

const (
	tasmotaRelay   = 1
	tasmotaLight   = 2
	tasmotaShutter = 3
)

type tasmotaBuilder struct {
	*tasmotaConfig
	cmnd, stat, tele string
	names            map[string]bool
	acts, is, about  []Property
}

func (d *tasmotaDevice) make() Device {
	c := d.config
	x := &tasmotaBuilder{tasmotaConfig: c, cmnd: c.base(0), stat: c.base(1), tele: c.base(2), names: make(map[string]bool)}
	out := Device{
		ID: d.id, Via: "tasmota", Name: c.Name, Address: c.Topic, Maker: "Tasmota", Model: c.Model, Version: c.Version,
		Sleepy: c.DeepSleep || c.Battery,
	}
	if out.Name == "" {
		out.Name = c.Topic
	}
	if isMAC(c.MAC) {
		out.Identity = []string{MAC(c.MAC)}
	}
	if !c.DeepSleep { // one that sleeps is offline most of the time
		out.Available = Availability{Mode: Latest, Reports: []Report{{x.tele + "LWT", x.lwt()}}}
	}
	x.relays()
	x.shutters(d.sensors)
	x.buttons()
	x.switches(d.sensors)
	for _, key := range slices.Sorted(maps.Keys(d.sensors)) {
		x.sensor(d.sensors, d.sensors[key], []any{key})
	}
	x.extras(d.extra)
	x.status()
	out.Properties = slices.Concat(x.acts, x.is, x.about)
	return out
}

func isMAC(text string) bool {
	text = strings.NewReplacer(":", "", "-", "").Replace(text)
	_, err := strconv.ParseUint(text, 16, 64)
	return err == nil && len(text) == 12
}

func (x *tasmotaBuilder) lwt() Reader {
	return words(whole, map[string]any{x.Online: true, x.Offline: false, "Online": true, "Offline": false})
}

func (x *tasmotaBuilder) put(p Property) {
	if x.names[p.Name] || len(x.names) > MaxProperties {
		return
	}
	x.names[p.Name] = true
	switch {
	case p.Diagnostic:
		x.about = append(x.about, p)
	case p.Set != nil || p.Of != "":
		x.acts = append(x.acts, p)
	default:
		x.is = append(x.is, p)
	}
}

// state gives the reports of what is at a path of the state, of the answer to command.
func (x *tasmotaBuilder) state(command string, read func(Reader) Reader, path ...any) []Report {
	here := read(at(path...))
	all := []Report{
		{x.stat + "RESULT", here},
		{x.tele + "STATE", here},
		{x.stat + "STATUS11", read(at(append([]any{"StatusSTS"}, path...)...))},
	}
	if x.Options["4"] == 1 && command != "" { // SetOption4: an answer comes on a topic of its own
		all = append(all, Report{x.stat + strings.ToUpper(command), here})
	}
	return all
}

// sensed gives the reports of what is at a path of what sensors tell.
func (x *tasmotaBuilder) sensed(read func(Reader) Reader, path ...any) []Report {
	return []Report{
		{x.tele + "SENSOR", read(tasmotaAt(path))},
		{x.stat + "STATUS10", read(tasmotaAt(append([]any{"StatusSNS"}, path...)))},
	}
}

// tasmotaAt is at, but a device that has announced three phases may tell of one.
func tasmotaAt(path []any) Reader {
	last, ok := path[len(path)-1].(int)
	if !ok {
		return at(path...)
	}
	listed, alone := at(path...), at(path[:len(path)-1]...)
	return func(p *Payload) (any, bool, error) {
		v, ok, err := listed(p)
		if ok || err != nil || last != 0 {
			return v, ok, err
		}
		v, ok, err = alone(p)
		switch v.(type) {
		case []any, map[string]any:
			return nil, false, err
		}
		return v, ok, err
	}
}

func (x *tasmotaBuilder) onOff(r Reader) Reader {
	return then(r, func(v any) (any, error) {
		text := textOf(v)
		switch {
		case strings.EqualFold(text, x.Words[1]):
			return true, nil
		case strings.EqualFold(text, x.Words[0]):
			return false, nil
		}
		if on, ok := devices.Bool(v); ok {
			return on, nil
		}
		return nil, fmt.Errorf("%.40q is neither %s nor %s", text, x.Words[1], x.Words[0])
	})
}

// power is a relay or a lamp that is on or off.
func (x *tasmotaBuilder) power(i int, kind Kind, multi bool) Property {
	key, name := "POWER", "power"
	if multi {
		key += strconv.Itoa(i + 1)
		name += "_" + strconv.Itoa(i+1)
	}
	p := Property{Name: name, Kind: kind, Label: x.label(i)}
	keys := []string{"POWER" + strconv.Itoa(i+1)}
	if i == 0 {
		keys = append(keys, "POWER") // SetOption26 makes it POWER1 for one relay, too
	}
	read := func(prefix ...any) Reader {
		var readers []Reader
		for _, k := range keys {
			readers = append(readers, x.onOff(at(append(slices.Clip(prefix), k)...)))
		}
		return func(m *Payload) (any, bool, error) {
			for _, r := range readers {
				if v, ok, err := r(m); ok || err != nil {
					return v, ok, err
				}
			}
			return nil, false, nil
		}
	}
	here, plain := read(), x.onOff(whole)
	either := func(m *Payload) (any, bool, error) {
		if len(m.Payload) > 0 && m.Payload[0] == '{' {
			return here(m)
		}
		return plain(m)
	}
	p.Reports = []Report{{x.stat + "RESULT", here}, {x.tele + "STATE", here}, {x.stat + "STATUS11", read("StatusSTS")}, {x.stat + key, either}}
	if !multi {
		p.Reports = append(p.Reports, Report{x.stat + "POWER1", either})
	}
	p.Set = &Set{Topic: x.cmnd + key, Encode: saying(x.Words[1], x.Words[0], x.Words[2])}
	p.Get = &Message{Topic: x.cmnd + key}
	return p
}

func (x *tasmotaBuilder) label(i int) string {
	if i < len(x.Names) && x.Names[i] != x.Name {
		return x.Names[i]
	}
	return ""
}

func (x *tasmotaBuilder) relays() {
	multi := x.Fan || x.Options["26"] == 1
	lights, first := 0, -1
	for i, kind := range x.Relays {
		multi = multi || kind != 0 && i > 0
		if kind == tasmotaLight {
			lights++
			if first < 0 {
				first = i
			}
		}
	}
	if x.Fan {
		x.fan()
	}
	for i, kind := range x.Relays {
		switch {
		case kind == tasmotaRelay && (x.Options["30"] == 1 || x.Fan && i == 0) || kind == tasmotaLight && (x.Fan || x.Subtype == 0 && x.Options["68"] == 0):
			x.put(x.power(i, Light, multi))
		case kind == tasmotaRelay && !x.Fan:
			x.put(x.power(i, Switch, multi))
		case kind == tasmotaLight:
			x.light(i, i-first, lights, multi)
		}
	}
}

func (x *tasmotaBuilder) light(i, nth, lights int, multi bool) {
	p := x.power(i, Light, multi)
	x.put(p)
	suffix := ""
	if lights > 1 {
		suffix = "_" + strconv.Itoa(i+1)
	}
	kind, dimmer, dimmed, color := x.Subtype, "Dimmer", "Dimmer", ""
	switch {
	case x.Options["68"] == 1: // each channel is a lamp
		kind, dimmer = 1, "Channel"+strconv.Itoa(i+1)
		dimmed = dimmer
	case x.Unlinked && x.Subtype >= 4: // colour and white are two lamps
		if nth == 0 {
			kind, dimmer, color = 3, "Dimmer1", "="
		} else {
			kind, dimmer = x.Subtype-3, "Dimmer2" // 4: white, 5: cold and warm
		}
		dimmed = dimmer
	case x.Tuya:
		dimmer = "Dimmer3"
	}
	poll := &Message{Topic: x.cmnd + "STATE"}
	percent := func(name, label, command, key string) {
		x.put(Property{Name: name + suffix, Label: label, Kind: Number, Of: p.Name, Unit: "%", Range: &Range{0, 100, 1},
			Reports: x.state(command, func(r Reader) Reader { return number(r, 1) }, key),
			Set:     &Set{Topic: x.cmnd + command, Encode: wholeNumber}, Get: poll})
	}
	percent("brightness", "Brightness", dimmer, dimmed)
	if kind == 2 || kind == 5 {
		r := &Range{153, 500, 1}
		if x.Options["82"] == 1 {
			r = &Range{200, 380, 1}
		}
		x.put(Property{Name: "color_temp" + suffix, Label: "Color temperature", Kind: Number, Of: p.Name, Unit: "mired", Range: r,
			Reports: x.state("CT", func(r Reader) Reader { return number(r, 1) }, "CT"),
			Set:     &Set{Topic: x.cmnd + "CT", Encode: wholeNumber}, Get: poll})
	}
	if kind < 3 {
		return
	}
	x.put(Property{Name: "color" + suffix, Label: "Color", Kind: Text, Of: p.Name, Class: "color",
		Reports: x.colors(),
		Set: &Set{Topic: x.cmnd + "Color2", Encode: func(v any) (string, error) {
			r, g, b, err := hexColor(v)
			return fmt.Sprintf("%d,%d,%d%s", r, g, b, color), err
		}}, Get: poll})
	if kind >= 4 {
		percent("white", "White", "White", "White")
	}
	x.put(Property{Name: "effect" + suffix, Label: "Effect", Kind: Select, Of: p.Name, Options: tasmotaSchemes,
		Reports: x.state("Scheme", func(r Reader) Reader {
			return then(number(r, 1), func(v any) (any, error) {
				if i := int(v.(float64)); i >= 0 && i < len(tasmotaSchemes) {
					return tasmotaSchemes[i], nil
				}
				return "scheme " + textOf(v), nil
			})
		}, "Scheme"),
		Set: &Set{Topic: x.cmnd + "Scheme", Encode: func(v any) (string, error) {
			return strconv.Itoa(slices.Index(tasmotaSchemes, textOf(v))), nil
		}}})
}

var tasmotaSchemes = []string{"solid", "wake_up", "cycle_up", "cycle_down", "random"}

func wholeNumber(v any) (string, error) {
	f, err := toNumber(v)
	return devices.Text(math.Round(f)), err
}

// colors are the reports of a colour. HSBColor is best, for Color has the brightness in it.
func (x *tasmotaBuilder) colors() []Report {
	read := func(prefix ...any) Reader {
		hsb, color := at(append(slices.Clip(prefix), "HSBColor")...), at(append(slices.Clip(prefix), "Color")...)
		return func(p *Payload) (any, bool, error) {
			if v, ok, err := hsb(p); ok || err != nil {
				var part [3]float64
				if err == nil {
					part, err = numbers3(textOf(v))
				}
				if err != nil {
					return nil, false, err
				}
				return hsColor(part[0], part[1]), true, nil
			}
			v, ok, err := color(p)
			if !ok || err != nil {
				return nil, false, err
			}
			text := textOf(v)
			var part [3]float64
			if strings.Contains(text, ",") {
				if part, err = numbers3(text); err != nil {
					return nil, false, err
				}
			} else {
				r, g, b, err := hexColor(text[:min(len(text), 6)])
				if err != nil {
					return nil, false, err
				}
				part = [3]float64{float64(r), float64(g), float64(b)}
			}
			most := max(part[0], part[1], part[2])
			if most <= 0 {
				return nil, false, nil // it is off, or white
			}
			return rgbColor(part[0]/most, part[1]/most, part[2]/most), true, nil
		}
	}
	here := read()
	all := []Report{{x.stat + "RESULT", here}, {x.tele + "STATE", here}, {x.stat + "STATUS11", read("StatusSTS")}}
	if x.Options["4"] == 1 {
		all = append(all, Report{x.stat + "COLOR", here})
	}
	return all
}

// numbers3 reads "30,100,50"; there may be more.
func numbers3(text string) (three [3]float64, err error) {
	parts := strings.SplitN(text, ",", 4)
	if len(parts) < 3 {
		return three, fmt.Errorf("%.40q is no color", text)
	}
	for i := range three {
		if three[i], err = toNumber(parts[i]); err != nil {
			return three, err
		}
	}
	return three, nil
}

// fan is that of a Sonoff iFan, which has three speeds.
func (x *tasmotaBuilder) fan() {
	poll := &Message{Topic: x.cmnd + "FanSpeed"}
	x.put(Property{Name: "fan", Label: "Fan", Kind: Fan,
		Reports: x.state("FanSpeed", func(r Reader) Reader {
			return then(number(r, 1), func(v any) (any, error) { return v.(float64) > 0, nil })
		}, "FanSpeed"),
		Set: &Set{Topic: x.cmnd + "FanSpeed", Encode: saying("2", "0", "")}, Get: poll})
	x.put(Property{Name: "speed", Label: "Speed", Kind: Number, Of: "fan", Unit: "%", Range: &Range{0, 100, 1},
		Reports: x.state("FanSpeed", func(r Reader) Reader { return percentOf(r, 3) }, "FanSpeed"),
		Set:     &Set{Topic: x.cmnd + "FanSpeed", Encode: func(v any) (string, error) { return ofPercent(v, 3) }}, Get: poll})
}

func (x *tasmotaBuilder) shutters(sensors map[string]any) {
	n := 0
	for i := 0; i < len(x.Relays); i++ {
		if x.Relays[i] == tasmotaShutter {
			if i+1 < len(x.Relays) && x.Relays[i+1] == tasmotaShutter {
				i++ // it has two relays
			}
			n++
		}
	}
	if x.Status != nil { // one that is learned shows them
		for n = 0; n < 16 && lookup(sensors, "Shutter"+strconv.Itoa(n+1), "Position") != nil; n++ {
		}
	}
	for i := range min(n, 16) {
		number1, suffix := strconv.Itoa(i+1), ""
		if n > 1 {
			suffix = "_" + number1
		}
		inverted := i < len(x.Shutters) && x.Shutters[i]&1 != 0
		poll := &Message{Topic: x.cmnd + "STATUS", Payload: "10"}
		position := func(v any) (float64, bool) {
			f, err := toNumber(plain1(v))
			if inverted {
				f = 100 - f
			}
			return f, err == nil
		}
		reports := func(read func(shutter map[string]any) any, plain func(position float64) any) []Report {
			at := func(path ...any) Reader {
				return then(at(path...), func(v any) (any, error) {
					if m, ok := v.(map[string]any); ok {
						return read(m), nil
					}
					f, ok := position(v) // as devices before 8.1 tell it
					if !ok || plain == nil {
						return nil, nil
					}
					return plain(f), nil
				})
			}
			key := "Shutter" + number1
			all := []Report{{x.stat + "RESULT", at(key)}, {x.tele + "SENSOR", at(key)}, {x.stat + "STATUS10", at("StatusSNS", key)}}
			if plain != nil {
				all = append(all, Report{x.stat + "SHUTTER" + number1, then(number(whole, 1), func(v any) (any, error) {
					f, _ := position(v)
					return plain(f), nil
				})})
			}
			return all
		}
		still := func(f float64) any {
			if f <= 0 {
				return "closed"
			}
			return "open"
		}
		x.put(Property{Name: "cover" + suffix, Kind: Cover,
			Reports: reports(func(m map[string]any) any {
				if direction, err := toNumber(plain1(m["Direction"])); err == nil && direction != 0 {
					if (direction > 0) != inverted {
						return "opening"
					}
					return "closing"
				}
				if f, ok := position(m["Position"]); ok {
					return still(f)
				}
				return nil
			}, still),
			Set: &Set{Topic: x.cmnd + "ShutterPosition" + number1, Encode: func(v any) (string, error) { return strings.ToUpper(textOf(v)), nil }},
			Get: poll})
		x.put(Property{Name: "position" + suffix, Label: "Position", Kind: Number, Of: "cover" + suffix, Unit: "%", Range: &Range{0, 100, 1},
			Reports: reports(func(m map[string]any) any {
				if f, ok := position(m["Position"]); ok {
					return f
				}
				return nil
			}, func(f float64) any { return f }),
			Set: &Set{Topic: x.cmnd + "ShutterPosition" + number1, Encode: func(v any) (string, error) {
				f, err := toNumber(v)
				if inverted {
					f = 100 - f
				}
				return devices.Text(math.Round(f)), err
			}}, Get: poll})
		if i >= len(x.Tilts) || x.Tilts[i][2] == 0 || x.Tilts[i][0] == x.Tilts[i][1] {
			continue
		}
		from, span := x.Tilts[i][0], x.Tilts[i][1]-x.Tilts[i][0]
		x.put(Property{Name: "tilt" + suffix, Label: "Tilt", Kind: Number, Of: "cover" + suffix, Unit: "%", Range: &Range{0, 100, 1},
			Reports: reports(func(m map[string]any) any {
				f, err := toNumber(plain1(m["Tilt"]))
				if err != nil {
					return nil
				}
				return min(max(math.Round((f-from)*100/span), 0), 100)
			}, nil),
			Set: &Set{Topic: x.cmnd + "ShutterTilt" + number1, Encode: func(v any) (string, error) {
				f, err := toNumber(v)
				return devices.Text(math.Round(from + f*span/100)), err
			}}, Get: poll})
	}
}

// buttons are those that tell of each press, which SetOption73 makes them do.
func (x *tasmotaBuilder) buttons() {
	if on, ok := x.Options["73"]; ok && on == 0 {
		return
	}
	options := []string{"single", "double", "triple", "quad", "penta", "hold"}
	if x.Options["13"] == 1 {
		options = options[:1]
	}
	swapped := x.Options["11"] == 1 && x.Options["13"] == 0
	for i, used := range x.Buttons {
		if used == 0 {
			continue
		}
		n := strconv.Itoa(i + 1)
		x.put(Property{Name: "button_" + n, Label: "Button " + n, Kind: Event, Options: options,
			Reports: x.actions("Button"+n, "BUTTON"+n, func(r Reader) Reader {
				return then(happening(r), func(v any) (any, error) {
					word := strings.ToLower(textOf(v))
					switch { // SetOption11: one press is told as two
					case swapped && word == "single":
						word = "double"
					case swapped && word == "double":
						word = "single"
					}
					return word, nil
				})
			})})
	}
}

// actions are the reports of what a button or switch did: {"Button1":{"Action":"SINGLE"}},
// on a topic of its own {"ACTION":"SINGLE"}.
func (x *tasmotaBuilder) actions(key, topic string, read func(Reader) Reader) []Report {
	var readers []Reader
	for _, path := range [][]any{{key, "Action"}, {"ACTION"}, {"Action"}, {key, "ACTION"}} {
		readers = append(readers, read(at(path...)))
	}
	return []Report{{x.stat + "RESULT", readers[0]}, {x.stat + topic, func(p *Payload) (any, bool, error) {
		for _, r := range readers {
			if v, ok, err := r(p); ok || err != nil {
				return v, ok, err
			}
		}
		return nil, false, nil
	}}}
}

// switches follow a contact, or tell what was done to them, or both; their mode says which.
func (x *tasmotaBuilder) switches(sensors map[string]any) {
	for i, mode := range x.Switches {
		if mode < 0 {
			continue
		}
		n := strconv.Itoa(i + 1)
		key, label := "Switch"+n, "Switch "+n
		if i < len(x.SwitchNames) && x.SwitchNames[i] != "" {
			key, label = x.SwitchNames[i], x.SwitchNames[i]
		}
		follows := mode >= 1 && mode <= 6 || mode == 9 || mode == 10 || mode >= 13
		if follows {
			x.put(x.contact("switch_"+n, label, key, "SWITCH"+n))
		}
		var options []string
		switch mode {
		case 0, 3, 4, 7:
			options = []string{"toggle"}
		case 5, 6, 8:
			options = []string{"toggle", "hold"}
		case 9, 10:
			options = []string{"hold"}
		case 11, 12:
			options = []string{"toggle", "double", "power_delayed", "inc_dec", "inv", "clear", "clear_delayed"}
		}
		if options == nil {
			continue
		}
		x.put(Property{Name: "switch_" + n + "_action", Label: label, Kind: Event, Options: options,
			Reports: x.actions(key, "SWITCH"+n, func(r Reader) Reader {
				return then(happening(r), func(v any) (any, error) {
					text := textOf(v)
					for i, word := range x.Words {
						if strings.EqualFold(text, word) {
							return []any{nil, nil, "toggle", "hold"}[i], nil
						}
					}
					return strings.ToLower(text), nil
				})
			})})
	}
	// A contact shows among the sensors, even where nobody has announced it.
	for _, key := range slices.Sorted(maps.Keys(sensors)) {
		text, ok := sensors[key].(string)
		if !ok || !strings.EqualFold(text, x.Words[0]) && !strings.EqualFold(text, x.Words[1]) || x.switchNamed(key) {
			continue
		}
		name := snakeName(key)
		if n, ok := strings.CutPrefix(key, "Switch"); ok && isNumber(n) {
			name = "switch_" + n
		}
		x.put(x.contact(name, sentence(key), key, strings.ToUpper(key)))
	}
}

func (x *tasmotaBuilder) switchNamed(key string) bool {
	for i, mode := range x.Switches {
		if mode >= 0 && i < len(x.SwitchNames) && x.SwitchNames[i] == key {
			return true
		}
	}
	return false
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

func (x *tasmotaBuilder) contact(name, label, key, topic string) Property {
	read := func(r Reader) Reader {
		return then(r, func(v any) (any, error) {
			switch text := textOf(v); {
			case strings.EqualFold(text, x.Words[1]):
				return true, nil
			case strings.EqualFold(text, x.Words[0]):
				return false, nil
			}
			return nil, nil // an action
		})
	}
	return Property{Name: name, Label: label, Kind: BinarySensor,
		Reports: append(x.actions(key, topic, read), x.sensed(read, key)...),
		Get:     &Message{Topic: x.cmnd + "STATUS", Payload: "10"}}
}

// sensor makes properties of what a sensor said when it was announced.
func (x *tasmotaBuilder) sensor(all map[string]any, v any, path []any) {
	key, _ := path[0].(string)
	switch {
	case len(x.names) > MaxProperties:
		return
	case len(path) == 1 && (key == "Time" || strings.HasPrefix(key, "Shutter") || tasmotaReceived([]byte(`"`+key+`"`)) != ""):
		return
	}
	switch v := v.(type) {
	case map[string]any:
		if len(path) >= 4 {
			return
		}
		for _, k := range slices.SortedFunc(maps.Keys(v), tasmotaFirst) {
			x.sensor(all, v[k], append(slices.Clip(path), k))
		}
		return
	case []any:
		if len(path) >= 4 {
			return
		}
		for i, e := range v[:min(len(v), 16)] {
			x.sensor(all, e, append(slices.Clip(path), i))
		}
		return
	}
	if _, text := v.(string); len(path) == 1 && text {
		return // a unit, or a contact
	}
	quantity := tasmotaQuantityOf(path)
	q, known := tasmotaQuantities[quantity]
	if q.from != "" {
		unit, _ := all[q.from].(string)
		q.unit = plainUnit(unit)
	}
	shown := slices.Clone(path)
	for i, step := range shown {
		if n, ok := step.(int); ok {
			shown[i] = n + 1 // people count from one
		}
	}
	p := Property{Name: snakeName(shown...), Label: sentence(shown...), Kind: Sensor, Unit: q.unit, Class: q.class,
		Get: &Message{Topic: x.cmnd + "STATUS", Payload: "10"}}
	said, isText := v.(string)
	_, notNumber := toNumber(said)
	switch {
	case key == "PN532" || key == "RDM6300": // a card was held to the reader
		p.Kind, p.Get = Event, nil
		p.Reports = x.sensed(func(r Reader) Reader { return happening(r) }, path...)
	case isText && notNumber != nil || isText && !known:
		p.Unit, p.Class = "", ""
		p.Diagnostic = quantity == "Id" || quantity == "TotalStartTime" || quantity == "Address"
		p.Reports = x.sensed(text, path...)
	case v == true || v == false:
		p.Kind = BinarySensor
		p.Reports = x.sensed(onOff, path...)
	default:
		p.Reports = x.sensed(func(r Reader) Reader { return number(r, 1) }, path...)
	}
	if key == "ESP32" || quantity == "Battery" || quantity == "RSSI" {
		p.Diagnostic = true
	}
	x.put(p)
}

// tasmotaFirst orders the quantities of a sensor: what people have it for comes first.
func tasmotaFirst(a, b string) int {
	rank := func(k string) int {
		if i := slices.Index([]string{"Temperature", "Humidity", "Power", "Today", "Total", "Voltage", "Current"}, k); i >= 0 {
			return i
		}
		return 100
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

// tasmotaQuantityOf is what a value measures, which its key tells.
func tasmotaQuantityOf(path []any) string {
	var keys []string
	for _, step := range path {
		if k, ok := step.(string); ok {
			keys = append(keys, k)
		}
	}
	last := keys[len(keys)-1]
	if len(keys) > 1 && (keys[0] == "AS3935" || keys[0] == "LD2410") && last == "Energy" {
		return "" // which is no kWh
	}
	if len(keys) > 2 {
		if _, ok := tasmotaQuantities[last]; !ok {
			last = keys[1] // {"TX23":{"Speed":{"Act":14.8}}}
		}
	}
	if keys[0] == "ANALOG" { // the number of the pin
		last = strings.TrimRight(last, "0123456789")
	}
	return last
}

// tasmotaQuantities are those of hatasmota's sensor.py; the last line is of drivers that
// it does not know: xsns_46_MLX90614.ino, xdrv_39_thermostat.ino and xsns_62_esp32_mi.ino.
var tasmotaQuantities = map[string]struct{ unit, class, from string }{
	"Ambient": {unit: "lx", class: "illuminance"}, "Illuminance": {unit: "lx", class: "illuminance"},
	"Battery": {unit: "%", class: "battery"}, "Humidity": {unit: "%", class: "humidity"}, "Moisture": {unit: "%", class: "moisture"},
	"CCT":           {unit: "K"},
	"CarbonDioxide": {unit: "ppm", class: "carbon_dioxide"}, "eCO2": {unit: "ppm", class: "carbon_dioxide"},
	"TVOC": {unit: "ppb", class: "volatile_organic_compounds_parts"},
	"CF1":  {unit: "µg/m³"}, "CF2.5": {unit: "µg/m³"}, "CF10": {unit: "µg/m³"},
	"PM1": {unit: "µg/m³", class: "pm1"}, "PM2.5": {unit: "µg/m³", class: "pm25"}, "PM10": {unit: "µg/m³", class: "pm10"},
	"PB0.3": {unit: "ppd"}, "PB0.5": {unit: "ppd"}, "PB1": {unit: "ppd"}, "PB2.5": {unit: "ppd"}, "PB5": {unit: "ppd"}, "PB10": {unit: "ppd"},
	"Current": {unit: "A", class: "current"}, "CurrentNeutral": {unit: "A", class: "current"},
	"Voltage": {unit: "V", class: "voltage"}, "Frequency": {unit: "Hz", class: "frequency"}, "PhaseAngle": {unit: "°"},
	"Power": {unit: "W", class: "power"}, "ActivePower": {unit: "W", class: "power"}, "ApparentPower": {unit: "VA", class: "apparent_power"},
	"ReactivePower": {unit: "var", class: "reactive_power"}, "Factor": {class: "power_factor"},
	"Energy": {unit: "kWh", class: "energy"}, "Total": {unit: "kWh", class: "energy"}, "Today": {unit: "kWh", class: "energy"},
	"Yesterday": {unit: "kWh", class: "energy"}, "TotalTariff": {unit: "kWh", class: "energy"}, "ExportTariff": {unit: "kWh", class: "energy"},
	"ImportActive": {unit: "kWh", class: "energy"}, "ExportActive": {unit: "kWh", class: "energy"},
	"ImportReactive": {unit: "kvarh"}, "ExportReactive": {unit: "kvarh"},
	"Distance": {unit: "cm", class: "distance"}, "Weight": {unit: "kg", class: "weight"},
	"Temperature": {class: "temperature", from: "TempUnit"}, "DewPoint": {class: "temperature", from: "TempUnit"},
	"Pressure": {class: "pressure", from: "PressureUnit"}, "SeaPressure": {class: "pressure", from: "PressureUnit"},
	"Speed": {class: "wind_speed", from: "SpeedUnit"},
	"Id":    {}, "TotalStartTime": {},
	"OBJTMP": {unit: "°C", class: "temperature"}, "AMBTMP": {unit: "°C", class: "temperature"}, "TempTargetSet": {unit: "°C", class: "temperature"}, "RSSI": {unit: "dBm", class: "signal_strength"},
}

// extras are what is known only once it was seen.
func (x *tasmotaBuilder) extras(seen map[string]bool) {
	for _, topic := range slices.Sorted(maps.Keys(tasmotaMargins)) {
		if key := tasmotaMargins[topic]; seen[key] {
			x.put(Property{Name: snakeName(key), Label: sentence(strings.ToLower(topic)), Kind: BinarySensor, Class: "problem",
				Reports: []Report{{x.tele + topic, x.onOff(whole)}, {x.tele + "MARGINS", x.onOff(at("MARGINS", key))}}})
		}
	}
	if seen["ZbReceived"] { // what a Zigbee bridge passes on, as it is
		x.put(Property{Name: "zb_received", Label: "Received by Zigbee", Kind: Sensor,
			Reports: []Report{{x.tele + "SENSOR", object(at("ZbReceived"))}, {x.tele + "RESULT", object(at("ZbReceived"))}}})
	}
	for _, key := range []string{"RfReceived", "IrReceived"} {
		if seen[key] {
			x.put(Property{Name: snakeName(key), Label: sentence(strings.TrimSuffix(key, "Received"), "received"), Kind: Event,
				Reports: []Report{{x.tele + "RESULT", happening(at(key, "Data"))}}})
		}
	}
}

// status is about the device.
func (x *tasmotaBuilder) status() {
	has := func(key string) bool { return x.Status == nil || x.Status[key] }
	num := func(r Reader) Reader { return number(r, 1) }
	if x.Battery {
		x.put(Property{Name: "battery", Label: "Battery", Kind: Sensor, Unit: "%", Class: "battery", Diagnostic: true, Reports: x.state("", num, "BatteryPercentage")})
	}
	if has("Wifi") {
		x.put(Property{Name: "wifi_rssi", Label: "Wi-Fi quality", Kind: Sensor, Unit: "%", Diagnostic: true, Reports: x.state("", num, "Wifi", "RSSI")})
		x.put(Property{Name: "wifi_signal", Label: "Wi-Fi signal", Kind: Sensor, Unit: "dBm", Class: "signal_strength", Diagnostic: true, Reports: x.state("", num, "Wifi", "Signal")})
	}
	if has("UptimeSec") {
		x.put(Property{Name: "uptime", Label: "Uptime", Kind: Sensor, Unit: "s", Class: "duration", Diagnostic: true, Reports: x.state("", num, "UptimeSec")})
	}
}
