package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"hearth/devices"
)

// Shelly devices of the later generations: Plus and Pro, Gen3, Gen4, and what runs the same
// firmware under other names.
//
// Sources: https://shelly-api-docs.shelly.cloud/gen2/ (General/Notifications, General/RPC
// Protocol, ComponentsAndServices/Mqtt and each component, version 1.0 with what 1.7 and 2.0
// added), and the captures of bieniu/ha-shellies-discovery-gen2.
//
// A device consists of components, such as switch:0, and has settings and a status for
// each. By default it tells on <prefix>/events/rpc what has changed (NotifyStatus), what has
// happened (NotifyEvent) and, when it connects, all (NotifyFullStatus); the owner may have it
// tell the whole status of a component on <prefix>/status/<component> too, and may choose
// the prefix. Nothing of that says what a component is called or can do, so the device is
// asked once it appears, on <prefix>/rpc: for Shelly.GetDeviceInfo, GetConfig, GetStatus and
// GetComponents. It answers on <src>/rpc, where src is what the question names:
// <prefix>/hearth/info, /config, /status and /components here, which is below its own prefix,
// so that a device that may publish nowhere else can answer. What comes of answers that
// never come, as when RPC is off, is learned from the notifications alone.
//
// Commands go to <prefix>/rpc as well, which is on by default in all versions of the
// firmware and takes all there is to set. Their answers, on <prefix>/hearth/rpc, are nobody's.

// shelly2 is one device.
type shelly2 struct {
	prefix  string
	id      string // "shellyplus1-a8032abe54dc"; the prefix until it is known
	shown   string // the ID under which it was given last
	name    string
	model   string
	version string
	mac     string
	sleepy  bool
	asked   bool
	config  bool // known whole
	status  bool
	parts   map[string]*part2
}

// part2 is one component.
type part2 struct {
	sort   string
	n      int
	label  string
	config map[string]any
	fields uint64 // of its sort's fields, those it has
	events bool
}

// Limits of one device.
const (
	maxParts2  = 150
	maxText2   = 100
	maxConfig2 = 16 << 10 // bytes of the settings of a component that are kept
)

// shelly2Questions are what a device is asked; the methods are those after "Shelly.".
var shelly2Questions = map[string]string{
	"info":       `"method":"Shelly.GetDeviceInfo"`,
	"config":     `"method":"Shelly.GetConfig"`,
	"status":     `"method":"Shelly.GetStatus"`,
	"components": `"method":"Shelly.GetComponents","params":{"dynamic_only":true,"include":["config","status"],"offset":%d}`,
}

// quoted is text as a string of JSON.
func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		return `""`
	}
	return string(b)
}

func ask2(prefix, what string, offset int) Message {
	question := shelly2Questions[what]
	if what == "components" {
		question = fmt.Sprintf(question, offset)
	}
	return Message{Topic: prefix + "/rpc", Payload: `{"id":1,"src":` + quoted(prefix+"/hearth/"+what) + `,` + question + `}`}
}

func (d *shelly2) askAll() []Message {
	d.asked = true
	return []Message{ask2(d.prefix, "info", 0), ask2(d.prefix, "config", 0), ask2(d.prefix, "status", 0), ask2(d.prefix, "components", 0)}
}

// cutShelly2 finds the prefix in a topic of a later generation. What is online is told by
// both, and cut where it is known which.
func cutShelly2(topic string) (prefix, rest string, ok bool) {
	if prefix, ok := strings.CutSuffix(topic, "/events/rpc"); ok {
		return prefix, "events/rpc", prefix != ""
	}
	if strings.HasSuffix(topic, "/rpc") {
		if i := strings.LastIndex(topic, "/hearth/"); i > 0 {
			return topic[:i], topic[i+1:], true
		}
		return "", "", false
	}
	if prefix, ok := strings.CutSuffix(topic, "/online"); ok && !strings.HasPrefix(topic, "shellies/") {
		return prefix, "online", prefix != ""
	}
	if i := strings.LastIndex(topic, "/status/"); i > 0 && strings.IndexByte(topic[i+len("/status/"):], '/') < 0 {
		return topic[:i], topic[i+1:], true
	}
	return "", "", false
}

// cutPart2 takes a component's key apart: switch:0, or wifi.
func cutPart2(key string) (sort string, n int, ok bool) {
	sort, number, has := strings.Cut(key, ":")
	if has {
		var err error
		if n, err = strconv.Atoi(number); err != nil || n < 0 || n > 9999 {
			return "", 0, false
		}
	}
	_, ok = shelly2Sorts[sort]
	return sort, n, ok
}

func (c *shelly) take2(prefix, rest string, m *Payload) (Found, error) {
	d := c.second[prefix]
	if len(m.Payload) == 0 {
		if d == nil || rest != "online" {
			return Found{}, nil
		}
		// What is retained of a device that is no more is taken away.
		delete(c.second, prefix)
		c.forget(prefix + "/")
		if d.shown == "" {
			return Found{}, nil
		}
		return Found{Gone: []string{d.shown}}, nil
	}
	kept := m.Initial && !m.Retain // from the hub's last life, before anything can be asked
	switch {
	case rest == "online":
		on, ok := devices.OnOff(m.Text())
		if !ok || !on || kept {
			return Found{}, nil
		}
		if d == nil {
			if macOf(prefix) == "" {
				return Found{Ask: c.askWhoIsThere(prefix)}, nil
			}
			var err error
			if d, err = c.second2(prefix); err != nil {
				return Found{}, err
			}
		}
		if !d.asked || !m.Initial {
			return Found{Ask: d.askAll()}, nil
		}
		return Found{}, nil

	case rest == "events/rpc":
		event := bytes.Contains(m.Payload, []byte(`NotifyEvent`))
		if d != nil && d.config && d.status && !event {
			return Found{}, nil
		}
		return c.notified(prefix, d, m)

	case strings.HasPrefix(rest, "status/"):
		key := rest[len("status/"):]
		sort, _, ok := cutPart2(key)
		if !ok || d == nil && !strings.Contains(key, ":") {
			return Found{}, nil // only what has a number is sure to be a Shelly's
		}
		status, err := object2(m)
		if err != nil {
			if d == nil {
				err = nil // it may be something else altogether
			}
			return Found{}, err
		}
		if d == nil {
			if _, ok := status["id"]; !ok && !shelly2Sorts[sort].dynamic {
				return Found{}, nil
			}
			if d, err = c.second2(prefix); err != nil {
				return Found{}, err
			}
		}
		changed := d.learn(key, nil, status)
		if len(c.known) < maxShellyTopics {
			c.known[m.Topic] = true
		}
		return d.found(changed, kept), nil
	}

	what, ok := strings.CutSuffix(strings.TrimPrefix(rest, "hearth/"), "/rpc")
	if _, is := shelly2Questions[what]; !ok || !is {
		return Found{}, nil
	}
	answer, err := object2(m)
	if err != nil {
		return Found{}, err
	}
	if problem, ok := answer["error"].(map[string]any); ok {
		if what == "components" {
			return Found{}, nil // older firmware knows none
		}
		return Found{}, fmt.Errorf("the device does not tell its %s: %.100s", what, cmp.Or(wordOf(problem["message"]), wordOf(problem["code"])))
	}
	result, ok := answer["result"].(map[string]any)
	if !ok {
		return Found{}, errors.New("the answer has no result")
	}
	if d == nil {
		if d, err = c.second2(prefix); err != nil {
			return Found{}, err
		}
	}
	changed := d.setID(wordOf(answer["src"]))
	var ask []Message
	switch what {
	case "info":
		changed = d.setInfo(result) || changed
	case "config":
		changed = d.setConfig(result) || changed
	case "status":
		for _, key := range slices.Sorted(maps.Keys(result)) {
			if status, ok := result[key].(map[string]any); ok && d.learn(key, nil, status) {
				changed = true
				ask = []Message{ask2(prefix, "status", 0)} // so that its values are heard now that there is who listens
			}
		}
		d.status = true
	case "components":
		all, _ := result["components"].([]any)
		for _, one := range all {
			o, _ := one.(map[string]any)
			key, _ := o["key"].(string)
			config, _ := o["config"].(map[string]any)
			status, _ := o["status"].(map[string]any)
			if d.learn(key, config, status) {
				changed = true
			}
		}
		offset, _ := strconv.Atoi(wordOf(result["offset"]))
		total, _ := strconv.Atoi(wordOf(result["total"]))
		if next := offset + len(all); len(all) > 0 && next < total && next < maxParts2 {
			ask = []Message{ask2(prefix, "components", next)}
		}
	}
	found := d.found(changed, true)
	if !kept {
		found.Ask = ask
		if !d.asked {
			found.Ask = append(found.Ask, d.askAll()...)
		}
	}
	return found, nil
}

func object2(m *Payload) (map[string]any, error) {
	doc, err := m.JSON()
	if err != nil {
		return nil, err
	}
	o, ok := doc.(map[string]any)
	if !ok {
		return nil, errNoObject
	}
	return o, nil
}

// askWhoIsThere asks once whether what is online below a prefix is a Shelly; nobody else
// minds.
func (c *shelly) askWhoIsThere(prefix string) []Message {
	if c.asked[prefix] || len(c.asked) >= maxShellyAsked || devices.CheckTopic(prefix+"/rpc") != nil {
		return nil
	}
	c.asked[prefix] = true
	return []Message{ask2(prefix, "info", 0)}
}

// second2 is the device below a prefix, a new one if there is none.
func (c *shelly) second2(prefix string) (*shelly2, error) {
	if d := c.second[prefix]; d != nil {
		return d, nil
	}
	if len(c.second) >= MaxDevices {
		return nil, errors.New("there are too many devices already")
	}
	if err := devices.CheckTopic(prefix + "/rpc"); err != nil {
		return nil, err
	}
	d := &shelly2{prefix: prefix, id: prefix, parts: make(map[string]*part2)}
	if i := strings.LastIndexByte(prefix, '/'); macOf(prefix) != "" {
		d.id = prefix[i+1:]
	}
	c.second[prefix] = d
	return d, nil
}

// announced2 takes what scripts on devices announce in the manner of generation 1: the
// device's information.
func (c *shelly) announced2(prefix string, info map[string]any, m *Payload) (Found, error) {
	if prefix == "" {
		return Found{}, errors.New("the announcement has no id")
	}
	d, err := c.second2(prefix)
	if err != nil {
		return Found{}, err
	}
	return d.found(d.setInfo(info), m.Initial && !m.Retain), nil
}

// notified takes a notification.
func (c *shelly) notified(prefix string, d *shelly2, m *Payload) (Found, error) {
	n, err := object2(m)
	if err != nil {
		return Found{}, err
	}
	method, _ := n["method"].(string)
	params, ok := n["params"].(map[string]any)
	if !ok || !strings.HasPrefix(method, "Notify") {
		return Found{}, errors.New("it is no notification: want a method such as NotifyStatus, and params")
	}
	if d == nil {
		if d, err = c.second2(prefix); err != nil {
			return Found{}, err
		}
	}
	changed := d.setID(wordOf(n["src"]))
	again := false
	if method == "NotifyEvent" {
		events, _ := params["events"].([]any)
		for _, e := range events {
			o, _ := e.(map[string]any)
			key, _ := o["component"].(string)
			event, _ := o["event"].(string)
			switch {
			case settings2[event]:
				again = true
			case d.happens(key, event):
				changed = true
			}
		}
	} else {
		for _, key := range slices.Sorted(maps.Keys(params)) {
			if status, ok := params[key].(map[string]any); ok && d.learn(key, nil, status) {
				changed = true
			}
		}
	}
	kept := m.Initial && !m.Retain
	if again && d.asked && !kept {
		d.asked = false // its settings are others now
	}
	found := d.found(changed, kept)
	return found, nil
}

// settings2 are the events that say that a device's settings are others.
var settings2 = map[string]bool{"config_changed": true, "component_added": true, "component_removed": true}

// found is what comes of what was learned. It asks a device that was not asked yet.
func (d *shelly2) found(changed, kept bool) Found {
	var f Found
	if !d.asked && !kept {
		f.Ask = d.askAll()
	}
	if !changed {
		return f
	}
	one := d.device()
	if len(one.Properties) == 0 {
		return f
	}
	if d.shown != "" && d.shown != one.ID {
		f.Gone = []string{d.shown}
	}
	d.shown = one.ID
	f.Devices = []Device{one}
	return f
}

// setID takes the device's own name for itself, which its prefix need not be.
func (d *shelly2) setID(id string) (changed bool) {
	if id == "" || id == d.id || len(id) > maxText2 || strings.ContainsAny(id, "/+#") {
		return false
	}
	d.id = id
	return true
}

func (d *shelly2) setInfo(info map[string]any) (changed bool) {
	changed = d.setID(wordOf(info["id"]))
	set := func(to *string, text string) {
		if text != "" && text != *to && len(text) <= maxText2 {
			*to, changed = text, true
		}
	}
	set(&d.name, wordOf(info["name"]))
	set(&d.model, wordOf(info["model"]))
	set(&d.version, wordOf(info["ver"]))
	if mac := wordOf(info["mac"]); len(mac) == 12 {
		set(&d.mac, MAC(mac))
	}
	return changed
}

// setConfig takes the settings of all components, and forgets those that are no more: a
// device with two switches may be made one with a cover.
func (d *shelly2) setConfig(config map[string]any) (changed bool) {
	for key, p := range d.parts {
		if _, ok := config[key]; !ok && !shelly2Sorts[p.sort].dynamic {
			delete(d.parts, key)
			changed = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if one, ok := config[key].(map[string]any); ok && d.learn(key, one, nil) {
			changed = true
		}
	}
	sys, _ := config["sys"].(map[string]any)
	device, _ := sys["device"].(map[string]any)
	changed = d.setInfo(map[string]any{"name": device["name"], "mac": device["mac"]}) || changed
	d.config = true
	return changed
}

// learn takes settings or the status of a component, in part or whole, and reports whether
// it says something new of what there is.
func (d *shelly2) learn(key string, config, status map[string]any) (changed bool) {
	sort, n, ok := cutPart2(key)
	if !ok {
		return false
	}
	p := d.parts[key]
	if p == nil {
		if len(d.parts) >= maxParts2 {
			return false
		}
		p = &part2{sort: sort, n: n}
		d.parts[key] = p
		changed = true
	}
	if config != nil {
		kept := make(map[string]any)
		for _, name := range keptConfig2 {
			if v, ok := config[name]; ok && v != nil {
				kept[name] = v
			}
		}
		text := devices.Text(kept)
		if len(text) > maxConfig2 {
			kept, text = map[string]any{}, "{}"
		}
		if p.config == nil || text != devices.Text(p.config) {
			p.config, changed = kept, true
		}
		if p.label, _ = kept["name"].(string); len(p.label) > maxText2 {
			p.label = ""
		}
	}
	if status == nil {
		return changed
	}
	for i, f := range shelly2Sorts[sort].fields {
		if p.fields&(1<<i) != 0 {
			continue
		}
		if v, ok := f.path.Lookup(status); ok && (v != nil || f.null) {
			p.fields |= 1 << i
			changed = true
		}
	}
	if sort == "sys" && !d.sleepy {
		if every, err := toNumber(wordOf(status["wakeup_period"])); err == nil && every > 0 {
			d.sleepy, changed = true, true
		}
	}
	return changed
}

// keptConfig2 are the settings that say what a component is.
var keptConfig2 = []string{"name", "type", "min", "max", "options", "access", "meta", "obj_id", "ct_range", "addr", "pos_control"}

// happens notes that a component has events.
func (d *shelly2) happens(key, event string) (changed bool) {
	sort, _, ok := cutPart2(key)
	if !ok || event == "" || !shelly2Sorts[sort].events {
		return false
	}
	changed = d.learn(key, nil, nil)
	if p := d.parts[key]; p != nil && !p.events {
		p.events = true
		changed = changed || p.config["type"] != "button" // which is known to have some
	}
	return changed
}

// A sort2 is a sort of component.
type sort2 struct {
	fields  []field2
	dynamic bool // owners add them, so the settings of the device leave them out
	events  bool
}

// A field2 is one property of a component: what is at a path of its status.
type field2 struct {
	path   devices.Path
	p      Property
	always bool // whether or not a status was seen
	null   bool // null says something
	read   func(Reader) Reader
	make   func(b *build2, p *Property) bool // the rest; false: it is none
}

func path2(text string) devices.Path {
	var p devices.Path
	for key := range strings.SplitSeq(text, ".") {
		p = append(p, key)
	}
	return p
}

// number2 is a sensor of a number.
func number2(path string, p Property, factor float64) field2 {
	p.Kind = cmp.Or(p.Kind, Sensor)
	return field2{path: path2(path), p: p, read: func(r Reader) Reader { return number(r, factor) }}
}

// whole2 reads a number in whole ones, so that it comes back as it was told.
func whole2(f field2) field2 {
	read := f.read
	f.read = func(r Reader) Reader {
		return then(read(r), func(v any) (any, error) { return math.Round(v.(float64)), nil })
	}
	return f
}

func flag2(path string, p Property) field2 {
	p.Kind = cmp.Or(p.Kind, BinarySensor)
	return field2{path: path2(path), p: p, read: onOff}
}

func text2(path string, p Property) field2 {
	p.Kind = cmp.Or(p.Kind, Sensor)
	return field2{path: path2(path), p: p, read: func(r Reader) Reader { return r }}
}

func (f field2) certain() field2 { f.always = true; return f }

func (f field2) with(make func(b *build2, p *Property) bool) field2 { f.make = make; return f }

// params2 tells the component by a method with what the value makes of its parameters
// besides the id.
func params2(method string, params func(v any) (string, error)) func(b *build2, p *Property) bool {
	return func(b *build2, p *Property) bool {
		rpc := b.rpc(method)
		p.Set = &Set{Topic: b.prefix + "/rpc", Encode: func(v any) (string, error) {
			more, err := params(v)
			if err != nil {
				return "", err
			}
			return rpc("", more), nil
		}}
		return true
	}
}

// rpc gives what makes the request of a method, or of another if one is named.
func (b *build2) rpc(method string) func(other, params string) string {
	src, id := quoted(b.prefix+"/hearth"), strconv.Itoa(b.part.n)
	return func(other, params string) string {
		if params != "" {
			params = "," + params
		}
		return `{"id":1,"src":` + src + `,"method":"` + cmp.Or(other, method) + `","params":{"id":` + id + params + `}}`
	}
}

// onOff2 tells a component to be on, off, or the other way.
func onOff2(space string) func(b *build2, p *Property) bool {
	return func(b *build2, p *Property) bool {
		rpc := b.rpc(space + ".Set")
		p.Set = &Set{Topic: b.prefix + "/rpc", Encode: func(v any) (string, error) {
			if v == any(devices.Toggle{}) {
				return rpc(space+".Toggle", ""), nil
			}
			on, ok := v.(bool)
			if !ok {
				return "", fmt.Errorf("%v is neither on nor off", v)
			}
			return rpc("", `"on":`+strconv.FormatBool(on)), nil
		}}
		return true
	}
}

// numberParam gives a number as a parameter.
func numberParam(name string, factor float64) func(v any) (string, error) {
	return func(v any) (string, error) {
		f, err := toNumber(v)
		return quoted(name) + ":" + strconv.FormatFloat(tidy(f*factor), 'f', -1, 64), err
	}
}

// brightnessParam switches the lamp on too, or off by 0.
func brightnessParam(v any) (string, error) {
	if v == 0.0 {
		return `"on":false`, nil
	}
	f, err := toNumber(v)
	return `"on":true,"brightness":` + strconv.FormatFloat(f, 'f', -1, 64), err
}

func metered(more ...field2) []field2 {
	return append(more,
		number2("apower", power, 1),
		number2("voltage", voltage, 1),
		number2("current", current, 1),
		number2("pf", Property{Name: "power_factor", Class: "power_factor"}, 1),
		number2("freq", Property{Name: "frequency", Class: "frequency", Unit: "Hz"}, 1),
		number2("aenergy.total", energy, 1./1000),
		number2("ret_aenergy.total", returned, 1./1000),
		number2("temperature.tC", Property{Name: "device_temperature", Class: "temperature", Unit: "°C", Diagnostic: true}, 1),
		field2{path: path2("errors"), p: Property{Name: "problem", Kind: BinarySensor, Class: "problem", Diagnostic: true}, null: true, always: true},
	)
}

// lamp2 is a light of one of the sorts there are.
func lamp2(space string, more ...field2) []field2 {
	fields := []field2{
		flag2("output", Property{Name: "light", Kind: Light}).certain().with(onOff2(space)),
		number2("brightness", Property{Name: "brightness", Kind: Number, Unit: "%", Range: &Range{0, 100, 1}}, 1).certain().with(params2(space+".Set", brightnessParam)),
	}
	return metered(append(fields, more...)...)
}

func rgb2(space, mode string) field2 {
	return field2{
		path: path2("rgb"), p: Property{Name: "color", Kind: Text, Class: "color"}, always: true,
		read: func(r Reader) Reader {
			return then(r, func(v any) (any, error) {
				list, _ := v.([]any)
				if len(list) < 3 {
					return nil, errors.New("the colour has no three parts")
				}
				var rgb [3]float64
				for i := range rgb {
					f, err := toNumber(wordOf(list[i]))
					if err != nil {
						return nil, err
					}
					rgb[i] = f
				}
				return rgbText(rgb[0], rgb[1], rgb[2]), nil
			})
		},
		make: params2(space+".Set", func(v any) (string, error) {
			r, g, b, err := rgbOf(v)
			return fmt.Sprintf(`"on":true,%s"rgb":[%d,%d,%d]`, mode, r, g, b), err
		}),
	}
}

func ct2(space, mode string) field2 {
	set := params2(space+".Set", func(v any) (string, error) {
		f, err := toNumber(v)
		return fmt.Sprintf(`"on":true,%s"ct":%d`, mode, int(math.Round(f))), err
	})
	f := number2("ct", Property{Name: "color_temperature", Kind: Number, Class: "color_temperature", Unit: "K"}, 1).certain()
	return f.with(func(b *build2, p *Property) bool {
		p.Range = &Range{2700, 6500, 1}
		if list, _ := b.part.config["ct_range"].([]any); len(list) == 2 {
			low, err := toNumber(wordOf(list[0]))
			high, err2 := toNumber(wordOf(list[1]))
			if err == nil && err2 == nil && low < high {
				p.Range = &Range{low, high, 1}
			}
		}
		return set(b, p)
	})
}

func phases(pattern string, p Property, factor float64) (all []field2) {
	for _, phase := range []string{"a", "b", "c"} {
		q := p
		q.Name += "_" + phase
		all = append(all, number2(strings.Replace(pattern, "*", phase, 1), q, factor))
	}
	return all
}

// typed is for inputs of one of the types; one whose type is not known is what it reports.
func typed(types ...string) func(b *build2, p *Property) bool {
	return func(b *build2, p *Property) bool {
		kind, known := b.part.config["type"].(string)
		return !known || slices.Contains(types, kind)
	}
}

var (
	apparent    = Property{Name: "apparent_power", Class: "apparent_power", Unit: "VA"}
	powerFactor = Property{Name: "power_factor", Class: "power_factor"}
	frequency   = Property{Name: "frequency", Class: "frequency", Unit: "Hz"}
)

// shelly2Order is that in which components are shown.
var shelly2Order = []string{
	"switch", "cover", "light", "rgb", "rgbw", "cct", "rgbcct", "thermostat", "blutrv",
	"smoke", "flood", "presence", "presencezone", "occupancy", "temperature", "humidity", "illuminance",
	"input", "pm1", "em", "em1", "emdata", "em1data", "voltmeter",
	"boolean", "number", "enum", "text", "button", "object", "bthomesensor", "bthomedevice", "script",
	"devicepower", "wifi", "cloud", "sys",
}

var shelly2Sorts = map[string]sort2{
	"switch": {fields: metered(flag2("output", Property{Name: "switch", Kind: Switch}).certain().with(onOff2("Switch")))},
	"cover": {fields: metered(
		field2{path: path2("state"), p: Property{Name: "cover", Kind: Cover}, always: true,
			read: func(r Reader) Reader {
				return words(r, map[string]any{"open": "open", "closed": "closed", "opening": "opening", "closing": "closing", "stopped": "stopped", "calibrating": nil})
			},
			make: func(b *build2, p *Property) bool {
				rpc := b.rpc("")
				p.Set = &Set{Topic: b.prefix + "/rpc", Encode: func(v any) (string, error) {
					switch v {
					case "open":
						return rpc("Cover.Open", ""), nil
					case "close":
						return rpc("Cover.Close", ""), nil
					}
					return rpc("Cover.Stop", ""), nil
				}}
				return true
			}},
		number2("current_pos", Property{Name: "position", Kind: Number, Unit: "%", Range: &Range{0, 100, 1}}, 1).with(params2("Cover.GoToPosition", numberParam("pos", 1))),
		number2("slat_pos", Property{Name: "tilt", Kind: Number, Unit: "%", Range: &Range{0, 100, 1}}, 1).with(params2("Cover.GoToPosition", numberParam("slat_pos", 1))),
	)},
	"light":  {fields: lamp2("Light")},
	"rgb":    {fields: lamp2("RGB", rgb2("RGB", ""))},
	"rgbw":   {fields: lamp2("RGBW", rgb2("RGBW", ""), whole2(number2("white", Property{Name: "white", Kind: Number, Unit: "%", Range: &Range{0, 100, 0}}, 100./255)).certain().with(params2("RGBW.Set", whiteParam)))},
	"cct":    {fields: lamp2("CCT", ct2("CCT", ""))},
	"rgbcct": {fields: lamp2("RGBCCT", rgb2("RGBCCT", `"mode":"rgb",`), ct2("RGBCCT", `"mode":"cct",`), text2("mode", Property{Name: "color_mode", Kind: Select, Options: []string{"rgb", "cct"}}).with(params2("RGBCCT.Set", textParam("mode"))))},
	"thermostat": {fields: []field2{
		number2("target_C", Property{Name: "target_temperature", Kind: Number, Class: "temperature", Unit: "°C", Range: &Range{5, 35, 0.5}}, 1).certain().with(thermostat2("target_C")),
		number2("current_C", Property{Name: "current_temperature", Class: "temperature", Unit: "°C"}, 1),
		number2("current_humidity", Property{Name: "current_humidity", Class: "humidity", Unit: "%"}, 1),
		flag2("enable", Property{Name: "thermostat", Kind: Switch}).with(thermostat2("enable")),
		flag2("output", Property{Name: "heating", Class: "heat"}),
	}},
	"blutrv": {dynamic: true, fields: []field2{
		number2("target_C", Property{Name: "target_temperature", Kind: Number, Class: "temperature", Unit: "°C", Range: &Range{4, 30, 0.5}}, 1).with(
			params2("BluTRV.Call", func(v any) (string, error) {
				f, err := toNumber(v)
				return `"method":"TRV.SetTarget","params":{"id":0,"target_C":` + strconv.FormatFloat(f, 'f', -1, 64) + `}`, err
			})),
		number2("current_C", Property{Name: "current_temperature", Class: "temperature", Unit: "°C"}, 1),
		number2("pos", Property{Name: "valve_position", Unit: "%"}, 1),
		number2("battery", Property{Name: "battery", Class: "battery", Unit: "%", Diagnostic: true}, 1),
		number2("rssi", Property{Name: "rssi", Class: "signal_strength", Unit: "dBm", Diagnostic: true}, 1),
	}},
	"smoke": {fields: []field2{
		flag2("alarm", Property{Name: "smoke", Class: "smoke"}).certain(),
		flag2("mute", Property{Name: "muted", Diagnostic: true}),
		field2{path: path2("alarm"), p: Property{Name: "mute", Kind: Button, Diagnostic: true}, always: true,
			make: params2("Smoke.Mute", func(any) (string, error) { return "", nil })},
	}},
	"flood": {fields: []field2{
		flag2("alarm", Property{Name: "flood", Class: "moisture"}).certain(),
		flag2("mute", Property{Name: "muted", Diagnostic: true}),
	}},
	"presence": {events: true, fields: []field2{
		flag2("presence", Property{Name: "presence", Class: "occupancy"}),
		number2("num_objects", Property{Name: "objects"}, 1),
	}},
	"presencezone": {dynamic: true, fields: []field2{
		flag2("value", Property{Name: "zone", Class: "occupancy"}),
		number2("num_objects", Property{Name: "zone_objects"}, 1),
	}},
	"occupancy": {fields: []field2{
		flag2("value", Property{Name: "occupancy", Class: "occupancy"}),
		flag2("occupied", Property{Name: "occupancy", Class: "occupancy"}),
	}},
	"temperature": {fields: []field2{number2("tC", Property{Name: "temperature", Class: "temperature", Unit: "°C"}, 1).certain()}},
	"humidity":    {fields: []field2{number2("rh", Property{Name: "humidity", Class: "humidity", Unit: "%"}, 1).certain()}},
	"illuminance": {fields: []field2{
		number2("lux", Property{Name: "illuminance", Class: "illuminance", Unit: "lx"}, 1).certain(),
		text2("illumination", Property{Name: "illumination", Options: []string{"dark", "twilight", "bright"}}),
	}},
	"input": {events: true, fields: []field2{
		flag2("state", Property{Name: "input"}).with(typed("switch")),
		number2("percent", Property{Name: "analog", Unit: "%"}, 1).with(typed("analog")),
		number2("xpercent", Property{Name: "analog_value"}, 1).with(typed("analog")),
		number2("counts.total", Property{Name: "count"}, 1).with(typed("count")),
		number2("counts.xtotal", Property{Name: "count_value"}, 1).with(typed("count")),
		number2("freq", Property{Name: "input_frequency", Class: "frequency", Unit: "Hz"}, 1).with(typed("count")),
	}},
	"pm1": {fields: metered()},
	"em": {fields: slices.Concat(
		[]field2{
			number2("total_act_power", power, 1),
			number2("total_current", current, 1),
			number2("total_aprt_power", apparent, 1),
			number2("n_current", Property{Name: "neutral_current", Class: "current", Unit: "A"}, 1),
		},
		phases("*_act_power", power, 1), phases("*_voltage", voltage, 1), phases("*_current", current, 1),
		phases("*_aprt_power", apparent, 1), phases("*_pf", powerFactor, 1), phases("*_freq", frequency, 1),
	)},
	"em1": {fields: []field2{
		number2("act_power", power, 1), number2("voltage", voltage, 1), number2("current", current, 1),
		number2("aprt_power", apparent, 1), number2("pf", powerFactor, 1), number2("freq", frequency, 1),
	}},
	"emdata": {fields: slices.Concat(
		[]field2{number2("total_act", energy, 1./1000), number2("total_act_ret", returned, 1./1000)},
		phases("*_total_act_energy", energy, 1./1000), phases("*_total_act_ret_energy", returned, 1./1000),
	)},
	"em1data": {fields: []field2{number2("total_act_energy", energy, 1./1000), number2("total_act_ret_energy", returned, 1./1000)}},
	"voltmeter": {fields: []field2{
		number2("voltage", voltage, 1).certain(),
		number2("xvoltage", Property{Name: "voltage_value"}, 1),
	}},
	"boolean": {dynamic: true, fields: []field2{flag2("value", Property{Name: "boolean"}).certain().with(func(b *build2, p *Property) bool {
		if b.part.writable() {
			p.Kind = Switch
			return params2("Boolean.Set", func(v any) (string, error) {
				on, ok := v.(bool)
				if !ok {
					return "", errToggle
				}
				return `"value":` + strconv.FormatBool(on), nil
			})(b, p)
		}
		return true
	})}},
	"number": {dynamic: true, fields: []field2{number2("value", Property{Name: "number"}, 1).certain().with(func(b *build2, p *Property) bool {
		p.Unit, _ = b.part.ui()["unit"].(string)
		if !b.part.writable() {
			return true
		}
		p.Kind = Number
		low, err := toNumber(wordOf(b.part.config["min"]))
		high, err2 := toNumber(wordOf(b.part.config["max"]))
		if err == nil && err2 == nil && low < high {
			step, _ := toNumber(wordOf(b.part.ui()["step"]))
			p.Range = &Range{low, high, max(step, 0)}
		}
		return params2("Number.Set", numberParam("value", 1))(b, p)
	})}},
	"enum": {dynamic: true, fields: []field2{text2("value", Property{Name: "enum"}).certain().with(func(b *build2, p *Property) bool {
		list, _ := b.part.config["options"].([]any)
		for _, o := range list {
			if text, ok := o.(string); ok && len(p.Options) < MaxProperties {
				p.Options = append(p.Options, text)
			}
		}
		if b.part.writable() {
			p.Kind = Select
			return params2("Enum.Set", textParam("value"))(b, p)
		}
		return true
	})}},
	"text": {dynamic: true, fields: []field2{text2("value", Property{Name: "text"}).certain().with(func(b *build2, p *Property) bool {
		if b.part.writable() {
			p.Kind = Text
			return params2("Text.Set", textParam("value"))(b, p)
		}
		return true
	})}},
	"button": {dynamic: true, events: true, fields: []field2{{path: path2("value"), p: Property{Name: "virtual_button", Kind: Button}, always: true,
		make: params2("Button.Trigger", func(any) (string, error) { return `"event":"single_push"`, nil })}}},
	"object":       {dynamic: true, fields: []field2{text2("value", Property{Name: "object"})}},
	"bthomesensor": {dynamic: true, fields: []field2{text2("value", Property{Name: "bthome"}).with(bthome)}},
	"bthomedevice": {dynamic: true, events: true, fields: []field2{
		number2("battery", Property{Name: "bthome_battery", Class: "battery", Unit: "%", Diagnostic: true}, 1),
		number2("rssi", Property{Name: "bthome_rssi", Class: "signal_strength", Unit: "dBm", Diagnostic: true}, 1),
	}},
	"script": {dynamic: true, events: true},
	"devicepower": {fields: []field2{
		number2("battery.percent", Property{Name: "battery", Class: "battery", Unit: "%", Diagnostic: true}, 1).certain(),
		number2("battery.V", Property{Name: "battery_voltage", Class: "voltage", Unit: "V", Diagnostic: true}, 1),
		flag2("external.present", Property{Name: "external_power", Class: "plug", Diagnostic: true}),
	}},
	"wifi":  {fields: []field2{number2("rssi", Property{Name: "rssi", Class: "signal_strength", Unit: "dBm", Diagnostic: true}, 1)}},
	"cloud": {fields: []field2{flag2("connected", Property{Name: "cloud", Class: "connectivity", Diagnostic: true})}},
	"sys": {fields: []field2{{path: path2("available_updates"), p: Property{Name: "update", Kind: BinarySensor, Class: "update", Diagnostic: true},
		read: func(r Reader) Reader {
			return then(r, func(v any) (any, error) {
				o, _ := v.(map[string]any)
				_, stable := o["stable"]
				return stable, nil
			})
		}}}},
}

func whiteParam(v any) (string, error) {
	f, err := toNumber(v)
	return fmt.Sprintf(`"white":%d`, int(math.Round(f*255/100))), err
}

func textParam(name string) func(v any) (string, error) {
	return func(v any) (string, error) { return quoted(name) + ":" + quoted(devices.Text(v)), nil }
}

// thermostat2 sets a setting of the thermostat of a wall display, which wants the id in it.
func thermostat2(name string) func(b *build2, p *Property) bool {
	return func(b *build2, p *Property) bool {
		id := strconv.Itoa(b.part.n)
		return params2("Thermostat.SetConfig", func(v any) (string, error) {
			text := devices.Text(v)
			if on, ok := v.(bool); ok {
				text = strconv.FormatBool(on)
			} else if _, ok := v.(float64); !ok {
				return "", errToggle
			}
			return `"config":{"id":` + id + `,` + quoted(name) + `:` + text + `}`, nil
		})(b, p)
	}
}

func (p *part2) ui() map[string]any {
	meta, _ := p.config["meta"].(map[string]any)
	ui, _ := meta["ui"].(map[string]any)
	return ui
}

// writable is whether a virtual component may be told: the owner can make it a mere label.
func (p *part2) writable() bool {
	if p.ui()["view"] == "label" {
		return false
	}
	access, ok := p.config["access"].(string)
	return !ok || access == "*" || strings.Contains(access, "w")
}

// bthomeSensors are the objects of https://bthome.io/format/ by their number.
var bthomeSensors = map[int]Property{
	1: {Name: "battery", Class: "battery", Unit: "%", Diagnostic: true},
	2: {Name: "temperature", Class: "temperature", Unit: "°C"}, 69: {Name: "temperature", Class: "temperature", Unit: "°C"},
	87: {Name: "temperature", Class: "temperature", Unit: "°C"}, 88: {Name: "temperature", Class: "temperature", Unit: "°C"},
	3: {Name: "humidity", Class: "humidity", Unit: "%"}, 46: {Name: "humidity", Class: "humidity", Unit: "%"},
	4: {Name: "pressure", Class: "pressure", Unit: "hPa"}, 5: {Name: "illuminance", Class: "illuminance", Unit: "lx"},
	8: {Name: "dew_point", Class: "temperature", Unit: "°C"}, 10: {Name: "energy", Class: "energy", Unit: "kWh"}, 11: {Name: "power", Class: "power", Unit: "W"},
	12: {Name: "voltage", Class: "voltage", Unit: "V"}, 13: {Name: "pm2_5", Class: "pm25", Unit: "µg/m³"}, 14: {Name: "pm10", Class: "pm10", Unit: "µg/m³"},
	18: {Name: "co2", Class: "carbon_dioxide", Unit: "ppm"}, 20: {Name: "moisture", Class: "moisture", Unit: "%"}, 47: {Name: "moisture", Class: "moisture", Unit: "%"},
	63: {Name: "rotation", Unit: "°"}, 64: {Name: "distance", Class: "distance", Unit: "mm"}, 65: {Name: "distance", Class: "distance", Unit: "m"},
	67: {Name: "current", Class: "current", Unit: "A"}, 68: {Name: "wind_speed", Class: "wind_speed", Unit: "m/s"}, 70: {Name: "uv_index"},
	94: {Name: "direction", Unit: "°"}, 95: {Name: "precipitation", Class: "precipitation", Unit: "mm"},
	15: {Name: "boolean", Kind: BinarySensor}, 17: {Name: "opening", Kind: BinarySensor, Class: "opening"}, 21: {Name: "battery_low", Kind: BinarySensor, Class: "battery", Diagnostic: true},
	26: {Name: "door", Kind: BinarySensor, Class: "door"}, 27: {Name: "garage_door", Kind: BinarySensor, Class: "garage_door"}, 28: {Name: "gas", Kind: BinarySensor, Class: "gas"},
	30: {Name: "light", Kind: BinarySensor, Class: "light"}, 32: {Name: "moisture", Kind: BinarySensor, Class: "moisture"}, 33: {Name: "motion", Kind: BinarySensor, Class: "motion"},
	34: {Name: "moving", Kind: BinarySensor, Class: "moving"}, 35: {Name: "occupancy", Kind: BinarySensor, Class: "occupancy"}, 41: {Name: "smoke", Kind: BinarySensor, Class: "smoke"},
	43: {Name: "tamper", Kind: BinarySensor, Class: "tamper"}, 44: {Name: "vibration", Kind: BinarySensor, Class: "vibration"}, 45: {Name: "window", Kind: BinarySensor, Class: "window"},
}

// bthome makes of a sensor what the number of its object says.
func bthome(b *build2, p *Property) bool {
	id, err := strconv.Atoi(wordOf(b.part.config["obj_id"]))
	if err != nil {
		return true
	}
	is, ok := bthomeSensors[id]
	if !ok {
		return id != 58 // a button, whose presses are events of its device
	}
	is.Kind = cmp.Or(is.Kind, Sensor)
	is.Name = "bthome_" + is.Name
	reports := p.Reports
	*p = is
	p.Reports = reports
	for i := range p.Reports {
		if p.Kind == BinarySensor {
			p.Reports[i].Read = onOff(p.Reports[i].Read)
		} else {
			p.Reports[i].Read = number(p.Reports[i].Read, 1)
		}
	}
	return true
}

// A build2 is a device being put together.
type build2 struct {
	*shelly2
	shellyParts
	part *part2
	get  *Message // makes it tell all
}

func (d *shelly2) device() Device {
	get := ask2(d.prefix, "status", 0)
	b := &build2{shelly2: d, get: &get}
	for _, key := range slices.SortedFunc(maps.Keys(d.parts), func(x, y string) int {
		p, q := d.parts[x], d.parts[y]
		return cmp.Or(slices.Index(shelly2Order, p.sort)-slices.Index(shelly2Order, q.sort), p.n-q.n)
	}) {
		b.part = d.parts[key]
		b.component(key)
	}
	one := Device{
		ID: "shelly/" + d.id, Via: "shelly", Name: cmp.Or(d.name, d.id), Maker: "Shelly", Model: d.model, Version: d.version, Sleepy: d.sleepy,
		Properties: b.all,
		Available:  Availability{Reports: []Report{{d.prefix + "/online", online(whole)}}},
	}
	if mac := cmp.Or(d.mac, macOf(d.id)); mac != "" {
		one.Identity = []string{mac}
	}
	return one
}

func (b *build2) component(key string) {
	p := b.part
	sort := shelly2Sorts[p.sort]
	main := ""
	for i, f := range sort.fields {
		if p.fields&(1<<i) == 0 && !(f.always && (p.config != nil || p.fields != 0)) {
			continue
		}
		q := f.p
		q.Label = p.label
		if main != "" {
			q.Of, q.Label = main, ""
		}
		if q.Kind != Button {
			q.Reports, q.Get = b.reports(key, f), b.get
		}
		if f.make != nil && !f.make(b, &q) {
			continue
		}
		name := b.add(p.sort, p.n, q)
		if main == "" && q.Kind != Sensor && q.Kind != BinarySensor {
			main = name
		}
	}
	if kind, _ := p.config["type"].(string); p.events || sort.events && kind == "button" {
		e := Property{Name: "button", Label: p.label, Kind: Event, Class: "button", Reports: []Report{{b.prefix + "/events/rpc", eventOf(key)}}}
		if p.sort == "input" || p.sort == "button" || p.sort == "bthomedevice" {
			e.Options = []string{"single", "double", "triple", "long", "down", "up"}
		} else {
			e.Name, e.Class = p.sort+"_event", ""
		}
		if p.sort == "bthomedevice" || p.sort == "button" {
			e.Name = p.sort + "_button"
		}
		b.add(p.sort, p.n, e)
	}
}

// reports are where a field is told: as a change, as a part of the component's own status,
// and in an answer.
func (b *build2) reports(key string, f field2) []Report {
	read := func(whole bool, way ...any) Reader {
		if f.null {
			return listed(whole, way, f.path)
		}
		r := at(append(slices.Clip(way), f.path...)...)
		if f.read != nil {
			return f.read(r)
		}
		return r
	}
	all := []Report{
		{b.prefix + "/events/rpc", read(false, "params", key)},
		{b.prefix + "/status/" + key, read(true)},
		{b.prefix + "/hearth/status/rpc", read(true, "result", key)},
	}
	if shelly2Sorts[b.part.sort].dynamic {
		path := f.path
		among := func(p *Payload) (any, bool, error) {
			doc, err := p.JSON()
			if err != nil {
				return nil, false, err
			}
			list, _ := devices.Path{"result", "components"}.Lookup(doc)
			all, _ := list.([]any)
			for _, one := range all {
				o, _ := one.(map[string]any)
				if o["key"] != key {
					continue
				}
				v, ok := append(devices.Path{"status"}, path...).Lookup(one)
				if !ok {
					return nil, false, nil
				}
				v = plain1(v)
				return v, v != nil, nil
			}
			return nil, false, nil
		}
		r := Reader(among)
		if f.read != nil {
			r = f.read(r)
		}
		all = append(all, Report{b.prefix + "/hearth/components/rpc", r})
	}
	return all
}

// listed is whether a list has something in it. It is there only while it has: a status
// that is whole does not have it then, and a change says once that it is null.
func listed(whole bool, way, path devices.Path) Reader {
	return func(p *Payload) (any, bool, error) {
		doc, err := p.JSON()
		if err != nil {
			return nil, false, err
		}
		status, ok := way.Lookup(doc)
		if _, object := status.(map[string]any); !ok || !object {
			return nil, false, nil
		}
		v, ok := path.Lookup(status)
		list, _ := v.([]any)
		return len(list) > 0, ok || whole, nil
	}
}

// eventOf reads what has happened to a component: the last, if it is several things.
func eventOf(key string) Reader {
	return func(p *Payload) (any, bool, error) {
		doc, err := p.JSON()
		if err != nil {
			return nil, false, err
		}
		list, _ := devices.Path{"params", "events"}.Lookup(doc)
		events, _ := list.([]any)
		for _, e := range slices.Backward(events) {
			o, _ := e.(map[string]any)
			if o["component"] != key {
				continue
			}
			if event, _ := o["event"].(string); event != "" && !settings2[event] {
				return pressed(event), true, nil
			}
		}
		return nil, false, nil
	}
}
