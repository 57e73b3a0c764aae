package catalog

import (
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

// Homie devices, of version 5 and of 4 and 3.
//
// Sources: https://github.com/homieiot/convention, convention.md at 063301d (version 5) and
// at v4.0.0, its legacy firmware extension, and what version 3 had besides: arrays of nodes,
// and properties without a datatype.
//
// A device of version 5 describes itself in one JSON, <domain>/5/<id>/$description; one of
// version 4 has each attribute on a topic of its own, <base>/<id>/<node>/<property>/$unit,
// in any order when they are found retained. Either is shown once its $state says that it
// has told all, and as what is known then; what comes later changes it. $state is its
// availability too: a device that sleeps, or has an alert, is there.

// homie is the convention.
type homie struct {
	five map[string]*homie5 // by domain/5/id
	four map[string]*homie4 // by base/id
}

// Limits of one device.
const (
	maxHomieNodes  = MaxProperties
	maxHomieAlerts = 20
	maxHomieLabel  = 200       // bytes of the name of a property
	maxHomieText   = 16 << 10  // bytes of an attribute of version 4
	maxHomieDoc    = 256 << 10 // bytes of a description, which is remembered
	maxHomieValues = 4000      // in it: those of MaxProperties with all that can be said of them
)

func newHomie() *homie {
	return &homie{five: make(map[string]*homie5), four: make(map[string]*homie4)}
}

// homieFilters are those of attributes alone, for a property's own topic may be anybody's.
var homieFilters = []string{
	"+/5/+/$state", "+/5/+/$description", "+/5/+/$alert/+", "+/5/+/$log/+", "+/5/+/+/+/$target",
	"+/+/$homie", "+/+/$state", "+/+/$online", "+/+/$name", "+/+/$nodes", "+/+/$mac", "+/+/$fw/version",
	"+/+/+/$name", "+/+/+/$type", "+/+/+/$properties", "+/+/+/$array",
	"+/+/+/+/$name", "+/+/+/+/$datatype", "+/+/+/+/$format", "+/+/+/+/$settable", "+/+/+/+/$retained", "+/+/+/+/$unit",
}

func (c *homie) filters() []string { return homieFilters }

func (c *homie) take(m *Payload) (Found, error) {
	var levels [7]string
	n := 0
	for rest, more := m.Topic, true; more; n++ {
		if n == len(levels) {
			return Found{}, nil
		}
		levels[n], rest, more = strings.Cut(rest, "/")
	}
	if n < 3 || !homieID(levels[0]) {
		return Found{}, nil
	}
	if levels[1] == "5" && n >= 4 && strings.HasPrefix(levels[3], "$") || n == 6 && levels[1] == "5" {
		if !homieID(levels[2]) {
			return Found{}, nil
		}
		return c.take5(levels[:n], m)
	}
	if !homieID(levels[1]) || len(m.Payload) > maxHomieText {
		return Found{}, nil
	}
	return c.take4(levels[:n], m)
}

// homieID is whether a level of a topic can be an id. The convention allows a-z, 0-9 and -,
// and devices more.
func homieID(text string) bool {
	if text == "" || len(text) > 100 || text[0] == '$' {
		return false
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c == '+' || c == '#' || c == '{' || c == '}' || c == '"' {
			return false
		}
	}
	return true
}

func homieDeviceID(base, id string) string {
	if base == "homie" {
		return "homie/" + id
	}
	return "homie/" + base + "/" + id
}

// homieState reads whether a device is there. An empty one removes it, which says nothing of that.
func homieState(m *Payload) (any, bool, error) {
	if len(m.Payload) == 0 {
		return nil, false, nil
	}
	return homieWord(m)
}

var homieWord = words(whole, homieThere)

// homieThere are the states and whether the device can be reached in them.
var homieThere = map[string]any{
	"init": true, "ready": true, "sleeping": true, "alert": true, "disconnected": false, "lost": false,
	"true": true, "false": false, // of $online
}

// homie5 is one device of version 5.
type homie5 struct {
	base, id    string
	state       string
	description map[string]any
	digest      uint64 // of the description's text
	sleepy      bool
	shown       bool
	stale       bool // something has changed since it was shown
	alerts      []string
	logs        bool
	targets     map[string]bool // node/property
}

var homieSeed = maphash.MakeSeed()

func (c *homie) take5(levels []string, m *Payload) (Found, error) {
	base, id, what := levels[0], levels[2], levels[3]
	key := base + "/5/" + id
	d := c.five[key]
	if d == nil {
		if len(m.Payload) == 0 {
			return Found{}, nil
		}
		if len(c.five) >= MaxDevices {
			return Found{}, errors.New("there are too many devices already")
		}
		d = &homie5{base: base, id: id, targets: make(map[string]bool)}
		c.five[key] = d
	}
	var err error
	switch {
	case what == "$state" && len(levels) == 4:
		state := m.Text()
		if state == "" {
			delete(c.five, key)
			if !d.shown {
				return Found{}, nil
			}
			if old := c.four[base+"/"+id]; old != nil {
				old.stale = true
				if f, err := c.show4(old); len(f.Devices) > 0 {
					return f, err
				}
			}
			return Found{Gone: []string{homieDeviceID(base, id)}}, nil
		}
		if _, ok := homieThere[state]; !ok {
			return Found{}, fmt.Errorf("%.40q is no state: want init, ready, disconnected, sleeping or lost", state)
		}
		d.state = state
		if state == "sleeping" && !d.sleepy {
			d.sleepy, d.stale = true, true
		}

	case what == "$description" && len(m.Payload) > maxHomieDoc:
		return Found{}, fmt.Errorf("the description has %d bytes, want at most %d", len(m.Payload), maxHomieDoc)

	case what == "$description" && len(levels) == 4:
		digest := maphash.Bytes(homieSeed, m.Payload)
		if digest == d.digest && d.description != nil {
			return Found{}, nil
		}
		if len(m.Payload) == 0 {
			d.description, d.digest = nil, 0
			if !d.shown {
				return Found{}, nil
			}
			d.shown = false
			return Found{Gone: []string{homieDeviceID(base, id)}}, nil
		}
		if bad := m.scan(); bad != nil {
			return Found{}, bad
		}
		if n := m.json.Root().Size(); n > maxHomieValues {
			return Found{}, fmt.Errorf("the description has %d values, want at most %d", n, maxHomieValues)
		}
		doc, bad := m.JSON()
		o, ok := doc.(map[string]any)
		switch version, _ := o["homie"].(string); {
		case bad != nil:
			return Found{}, bad
		case !ok:
			return Found{}, errNoObject
		case version != "" && !strings.HasPrefix(version, "5."):
			return Found{}, fmt.Errorf("the description is of version %.20q, want 5.x", version)
		case version == "":
			err = errors.New("the description names no version of homie, want 5.x")
		}
		d.description, d.digest, d.stale = o, digest, true

	case what == "$alert" && len(levels) == 5 && homieID(levels[4]):
		if slices.Contains(d.alerts, levels[4]) || len(m.Payload) == 0 {
			return Found{}, nil
		}
		if len(d.alerts) >= maxHomieAlerts {
			return Found{}, errors.New("the device has too many alerts")
		}
		d.alerts, d.stale = append(d.alerts, levels[4]), true
		slices.Sort(d.alerts)

	case what == "$log" && len(levels) == 5:
		if d.logs {
			return Found{}, nil
		}
		d.logs, d.stale = true, true

	case len(levels) == 6 && levels[5] == "$target":
		way := levels[3] + "/" + levels[4]
		if d.targets[way] || len(m.Payload) == 0 || len(d.targets) >= MaxProperties {
			return Found{}, nil
		}
		d.targets[way], d.stale = true, true

	default:
		return Found{}, nil
	}
	if d.description == nil || d.state == "" || d.state == "init" || !d.stale {
		return Found{}, err
	}
	d.stale, d.shown = false, true
	one, bad := d.device()
	return Found{Devices: []Device{one}}, errors.Join(err, bad)
}

func (d *homie5) device() (Device, error) {
	var wrong homieFaults
	text := func(o map[string]any, key string) string {
		v, there := o[key]
		s, ok := v.(string)
		if there && v != nil && !ok {
			wrong.add("%s is no text", key)
		}
		return s
	}
	flag := func(o map[string]any, key string, else_ bool) bool {
		v, there := o[key]
		b, ok := v.(bool)
		if !there || v == nil {
			return else_
		}
		if !ok {
			wrong.add("%s is neither true nor false", key)
			return else_
		}
		return b
	}
	topic := d.base + "/5/" + d.id
	h := homieBuild{topic: topic, five: true, targets: d.targets}
	nodes, ok := d.description["nodes"].(map[string]any)
	if v, there := d.description["nodes"]; there && v != nil && !ok {
		wrong.add("nodes is no object")
	}
	for _, nodeID := range slices.Sorted(maps.Keys(nodes)) {
		o, ok := nodes[nodeID].(map[string]any)
		if !ok || !homieID(nodeID) {
			wrong.add("node %.40q is none", nodeID)
			continue
		}
		node := homieNode{id: nodeID, topic: topic + "/" + nodeID, name: text(o, "name"), kind: text(o, "type")}
		properties, ok := o["properties"].(map[string]any)
		if v, there := o["properties"]; there && v != nil && !ok {
			wrong.add("node %.40q: properties is no object", nodeID)
		}
		for _, propertyID := range slices.Sorted(maps.Keys(properties)) {
			if len(node.properties) > MaxProperties {
				break
			}
			o, ok := properties[propertyID].(map[string]any)
			if !ok || !homieID(propertyID) {
				wrong.add("%.40s/%.40s is no property", nodeID, propertyID)
				continue
			}
			node.properties = append(node.properties, homieProperty{
				id: propertyID, name: text(o, "name"), datatype: text(o, "datatype"), format: text(o, "format"), unit: text(o, "unit"),
				settable: flag(o, "settable", false), event: !flag(o, "retained", true),
			})
		}
		if len(h.all) <= MaxProperties {
			h.node(node, &wrong)
		}
	}
	for _, alert := range d.alerts {
		h.add(Property{
			Name: "alert_" + homieName(alert), Kind: Sensor, Class: "problem", Diagnostic: true,
			Reports: []Report{{topic + "/$alert/" + alert, whole}},
		})
	}
	if d.logs {
		p := Property{Name: "log", Kind: Event, Diagnostic: true}
		for _, level := range []string{"debug", "info", "warn", "error", "fatal"} {
			p.Reports = append(p.Reports, Report{topic + "/$log/" + level, happening(whole)})
		}
		h.add(p)
	}
	one := Device{
		ID: homieDeviceID(d.base, d.id), Via: "homie", Name: cmp.Or(text(d.description, "name"), d.id), Sleepy: d.sleepy,
		Properties: h.all, Identity: homieIdentity(d.id, ""),
		Available: Availability{Reports: []Report{{topic + "/$state", homieState}}},
	}
	if root := text(d.description, "root"); root != "" && root != d.id {
		if homieID(root) && !strings.Contains(root, "/") {
			// A will tells of the root alone that it is lost, and all below it are with it.
			one.Available = Availability{Mode: All, Reports: append(one.Available.Reports, Report{d.base + "/5/" + root + "/$state", homieRoot})}
		} else {
			wrong.add("root %.40q is no id", root)
		}
	}
	return one, wrong.err()
}

// homieRoot reads the state of a root for its children: they are where they say, unless it
// is lost.
func homieRoot(p *Payload) (any, bool, error) {
	if len(p.Payload) == 0 {
		return nil, false, nil
	}
	return string(p.Payload) != "lost", true, nil
}

// homieIdentity is the address of the network interface: many devices have it as their id.
func homieIdentity(id, mac string) []string {
	if mac == "" {
		mac = id
	}
	mac = MAC(mac)
	if len(mac) != len("mac:")+12 {
		return nil
	}
	for _, c := range mac[len("mac:"):] {
		if !strings.ContainsRune("0123456789abcdef", c) {
			return nil
		}
	}
	return []string{mac}
}

// homieFaults are what is wrong with a description, the first few.
type homieFaults struct {
	all  []error
	more int
}

func (f *homieFaults) add(format string, args ...any) {
	if len(f.all) >= 5 {
		f.more++
		return
	}
	f.all = append(f.all, fmt.Errorf(format, args...))
}

func (f *homieFaults) err() error {
	if len(f.all) == 0 {
		return nil
	}
	texts := make([]string, len(f.all))
	for i, e := range f.all {
		texts[i] = e.Error()
	}
	text := strings.Join(texts, "; ")
	if f.more > 0 {
		text += fmt.Sprintf("; and %d more", f.more)
	}
	return errors.New(text)
}

// homie4 is one device of version 4 or 3: its attributes as they were sent, by their topics
// below the device's.
type homie4 struct {
	base, id   string
	attributes map[string]string
	sleepy     bool
	shown      bool
	stale      bool
	digest     uint64 // of what it was shown as
}

// maxHomieAttributes bounds those of one device.
const maxHomieAttributes = MaxProperties*6 + maxHomieNodes*4 + 10

func (c *homie) take4(levels []string, m *Payload) (Found, error) {
	base, id := levels[0], levels[1]
	cut := len(base) + len(id) + 2
	key, attribute := m.Topic[:cut-1], m.Topic[cut:]
	for _, level := range levels[2 : len(levels)-1] {
		if !homieID(level) && level != "$fw" {
			return Found{}, nil
		}
	}
	d := c.four[key]
	if d == nil {
		if len(m.Payload) == 0 {
			return Found{}, nil
		}
		if len(c.four) >= MaxDevices {
			return Found{}, errors.New("there are too many devices already")
		}
		d = &homie4{base: base, id: id, attributes: make(map[string]string)}
		c.four[key] = d
	}
	old, had := d.attributes[attribute]
	if had && old == string(m.Payload) {
		return Found{}, nil
	}
	if !had && len(d.attributes) >= maxHomieAttributes {
		return Found{}, errors.New("the device has too many attributes")
	}
	if len(m.Payload) == 0 && attribute != "$nodes" && !strings.HasSuffix(attribute, "/$properties") {
		delete(d.attributes, attribute)
		switch {
		case len(d.attributes) == 0:
			delete(c.four, key)
		case attribute != "$homie" && attribute != "$state" && attribute != "$online":
			d.stale = true
			return c.show4(d)
		}
		if !d.shown || attribute != "$homie" && attribute != "$state" && attribute != "$online" {
			return Found{}, nil
		}
		d.shown = false
		if five := c.five[base+"/5/"+id]; five != nil && five.shown {
			return Found{}, nil
		}
		return Found{Gone: []string{homieDeviceID(base, id)}}, nil
	}
	if attribute == "$state" {
		if _, ok := homieThere[m.Text()]; !ok {
			return Found{}, fmt.Errorf("%.40q is no state: want init, ready, disconnected, sleeping, lost or alert", m.Text())
		}
		if m.Text() == "sleeping" && !d.sleepy {
			d.sleepy, d.stale = true, true
		}
	}
	d.attributes[attribute] = m.Text()
	if attribute != "$state" && attribute != "$online" {
		d.stale = true
	}
	return c.show4(d)
}

// show4 gives a device that has told all, if it is another than it was.
func (c *homie) show4(d *homie4) (Found, error) {
	state := cmp.Or(d.attributes["$state"], d.attributes["$online"])
	if five := c.five[d.base+"/5/"+d.id]; five != nil && five.shown {
		return Found{}, nil // it speaks the newer version too
	}
	if state == "" || state == "init" || d.attributes["$homie"] == "" || d.shown && !d.stale {
		return Found{}, nil
	}
	d.stale = false
	one, digest, err := d.device()
	if d.shown && digest == d.digest || !d.shown && len(one.Properties) == 0 {
		return Found{}, err
	}
	d.shown, d.digest = true, digest
	return Found{Devices: []Device{one}}, err
}

func (d *homie4) device() (Device, uint64, error) {
	var wrong homieFaults
	topic := d.base + "/" + d.id
	h := homieBuild{topic: topic}
	var hash maphash.Hash
	hash.SetSeed(homieSeed)
	old := d.attributes["$homie"] < "4" && !strings.HasPrefix(d.attributes["$homie"], "1")
	for entry := range strings.SplitSeq(d.attributes["$nodes"], ",") {
		id, array := strings.CutSuffix(strings.TrimSpace(entry), "[]")
		if !homieID(id) {
			if id != "" {
				wrong.add("node %.40q is none", id)
			}
			continue
		}
		node := homieNode{id: id, name: d.attributes[id+"/$name"], kind: d.attributes[id+"/$type"]}
		for entry := range strings.SplitSeq(d.attributes[id+"/$properties"], ",") {
			propertyID, settable := strings.CutSuffix(strings.TrimSpace(entry), ":settable") // version 2
			if !homieID(propertyID) {
				if propertyID != "" {
					wrong.add("property %.40q is none", propertyID)
				}
				continue
			}
			at := id + "/" + propertyID + "/"
			p := homieProperty{
				id: propertyID, name: d.attributes[at+"$name"], datatype: d.attributes[at+"$datatype"], format: d.attributes[at+"$format"], unit: d.attributes[at+"$unit"],
				settable: settable || d.attributes[at+"$settable"] == "true", event: d.attributes[at+"$retained"] == "false",
			}
			if p.datatype == "" && old {
				p.datatype = "string"
			}
			if p.datatype == "" || p.format == "" && (p.datatype == "enum" || p.datatype == "color") {
				continue // it is not all there yet
			}
			if len(node.properties) > MaxProperties {
				break
			}
			node.properties = append(node.properties, p)
		}
		first, last := 0, 0
		if array {
			if _, err := fmt.Sscanf(d.attributes[id+"/$array"], "%d-%d", &first, &last); err != nil || first < 0 || last < first || last-first > maxHomieNodes {
				continue
			}
		}
		for i := first; i <= last && len(h.all) <= MaxProperties; i++ {
			n := node
			if array {
				n.id = id + "_" + strconv.Itoa(i)
				n.name = d.attributes[n.id+"/$name"]
			}
			n.topic = topic + "/" + n.id
			fmt.Fprintf(&hash, "%+v\n", n)
			h.node(n, &wrong)
		}
	}
	one := Device{
		ID: homieDeviceID(d.base, d.id), Via: "homie", Name: cmp.Or(d.attributes["$name"], d.id), Version: d.attributes["$fw/version"], Sleepy: d.sleepy,
		Properties: h.all, Identity: homieIdentity(d.id, d.attributes["$mac"]),
	}
	state := "$state"
	if d.attributes[state] == "" {
		state = "$online"
	}
	one.Available.Reports = []Report{{topic + "/" + state, homieState}}
	fmt.Fprintf(&hash, "%q %q %q %s %t", one.Name, one.Version, one.Identity, state, one.Sleepy)
	return one, hash.Sum64(), wrong.err()
}

// homieNode and homieProperty are what either version says of them.
type homieNode struct {
	id, topic  string
	name, kind string
	properties []homieProperty
}

type homieProperty struct {
	id, name               string
	datatype, format, unit string
	settable, event        bool
}

// A homieBuild is a device being put together.
type homieBuild struct {
	topic   string
	five    bool
	targets map[string]bool
	all     []Property
	used    map[string]bool
}

func (h *homieBuild) add(p Property) {
	if h.used == nil {
		h.used = make(map[string]bool)
	}
	name := p.Name
	for n := 2; h.used[p.Name]; n++ {
		p.Name = name + "_" + strconv.Itoa(n)
	}
	h.used[p.Name] = true
	h.all = append(h.all, p)
}

// homieName makes of an id a property's name, which has a-z, 0-9 and _.
func homieName(id string) string {
	var b strings.Builder
	for _, c := range []byte(strings.ToLower(id)) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			b.WriteByte('_')
		}
	}
	return b.String()
}

// node adds the properties of a node. The convention says of none what it is to people, so
// that of a switch is told by the words in the node's id, type and name.
func (h *homieBuild) node(n homieNode, wrong *homieFaults) {
	words := strings.ToLower(n.id + " " + n.kind + " " + n.name)
	main := Switch
	switch {
	case containsAny(words, "light", "lamp", "dimmer", "bulb"), hasWord(words, "led"):
		main = Light
	case hasWord(words, "fan"), containsAny(words, "ventilat"):
		main = Fan
	case containsAny(words, "valve"):
		main = Valve
	}
	of := ""
	// What switches the node comes before its parts.
	slices.SortStableFunc(n.properties, func(a, b homieProperty) int { return a.rank() - b.rank() })
	for _, p := range n.properties {
		q, err := h.property(n, p, main)
		if err != nil {
			wrong.add("%.40s/%.40s: %w", n.id, p.id, err)
			continue
		}
		if q.Kind == main && main != Switch && of == "" {
			h.add(q)
			of = h.all[len(h.all)-1].Name
			continue
		}
		if of != "" && q.Set != nil && q.Kind != Event && q.Kind != main {
			q.Of = of
		}
		h.add(q)
		if h.targets[n.id+"/"+p.id] {
			h.add(Property{
				Name: q.Name + "_target", Kind: Sensor, Of: h.all[len(h.all)-1].Name, Unit: q.Unit, Diagnostic: true,
				Reports: []Report{{q.Reports[0].Topic + "/$target", q.Reports[0].Read}},
			})
		}
	}
}

func (p homieProperty) rank() int {
	if p.datatype == "boolean" && p.settable && !p.event {
		return 0
	}
	return 1
}

func hasWord(text, word string) bool {
	return slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return r < 'a' || r > 'z' }), word)
}

func containsAny(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// homieUnits are the recommended ones that people write otherwise.
var homieUnits = map[string]string{"#": "", "MK⁻¹": "mired"}

// property gives one property, or why the convention has it ignored.
func (h *homieBuild) property(n homieNode, p homieProperty, main Kind) (Property, error) {
	unit := plainUnit(p.unit)
	if u, ok := homieUnits[unit]; ok {
		unit = u
	}
	q := Property{Name: homieName(n.id) + "_" + homieName(p.id), Label: p.name, Unit: unit}
	if n.id == p.id {
		q.Name = homieName(n.id)
	}
	if n.name != "" && p.name != "" && !strings.Contains(strings.ToLower(p.name), strings.ToLower(n.name)) {
		q.Label = n.name + " " + p.name
	}
	if len(q.Label) > maxHomieLabel {
		q.Label = strings.ToValidUTF8(q.Label[:maxHomieLabel], "")
	}
	topic := n.topic + "/" + p.id
	read, encode, err := h.datatype(&q, p, main)
	if err != nil {
		return Property{}, err
	}
	if p.event {
		// It happens, and leaves no value.
		q.Kind, q.Range, q.Class, q.Unit = Event, nil, "", ""
		value := read
		read = then(value, func(v any) (any, error) {
			switch v {
			case true:
				return "true", nil
			case false:
				return nil, nil // a button is let go
			}
			text := devices.Text(v)
			if text == "" || strings.EqualFold(text, "none") || strings.EqualFold(text, "idle") {
				return nil, nil
			}
			return text, nil
		})
	} else {
		homieClass(&q, p.id)
	}
	q.Reports = []Report{{topic, read}}
	if p.settable {
		q.Set = &Set{Topic: topic + "/set", Encode: encode, QoS: 1}
		switch {
		case p.event:
			q.Set.QoS = 0 // late is wrong here
			q.Set.Encode = homieEvent(encode, p)
		case h.five:
			q.Set.QoS = 2
		}
	}
	return q, nil
}

// homieEvent encodes what is told as an event, which is text, into the property's datatype.
func homieEvent(encode func(any) (string, error), p homieProperty) func(any) (string, error) {
	return func(v any) (string, error) {
		switch p.datatype {
		case "boolean":
			on, ok := devices.Bool(v)
			if !ok {
				return "", fmt.Errorf("want true or false, not %q", devices.Text(v))
			}
			return encode(on)
		case "integer", "float", "duration":
			f, err := toNumber(v)
			if err != nil {
				return "", err
			}
			return encode(f)
		case "enum":
			if text := devices.Text(v); !slices.Contains(strings.Split(p.format, ","), text) {
				return "", fmt.Errorf("want one of %s, not %q", p.format, text)
			}
		}
		return encode(v)
	}
}

// homieText reads a payload; the empty text is sent as a byte 0.
func homieText(p *Payload) (any, bool, error) {
	if len(p.Payload) == 0 {
		return nil, false, nil // the topic is deleted
	}
	if len(p.Payload) == 1 && p.Payload[0] == 0 {
		return "", true, nil
	}
	return string(p.Payload), true, nil
}

// datatype sets the kind of q and what goes with it.
func (h *homieBuild) datatype(q *Property, p homieProperty, main Kind) (read Reader, encode func(v any) (string, error), err error) {
	kind := func(settable, only Kind) {
		q.Kind = only
		if p.settable {
			q.Kind = settable
		}
	}
	switch p.datatype {
	case "boolean":
		if p.format != "" && len(strings.Split(p.format, ",")) != 2 {
			return nil, nil, fmt.Errorf("the format %.60q does not name the two values of a boolean", p.format)
		}
		kind(main, BinarySensor)
		read = then(homieText, func(v any) (any, error) {
			switch v {
			case "true":
				return true, nil
			case "false":
				return false, nil
			}
			return nil, fmt.Errorf("%.40q is neither true nor false", v)
		})
		return read, saying("true", "false", ""), nil

	case "integer", "float":
		limits, err := homieRange(p.format)
		if err != nil {
			return nil, nil, err
		}
		whole := p.datatype == "integer"
		kind(Number, Sensor)
		factor := 1.0
		low, high := limits.Min, limits.Max
		bounded := low > -math.MaxFloat64 && high < math.MaxFloat64
		if bounded && low < high {
			q.Range = &limits
			if low == 0 && homiePercent[p.id] && (p.unit == "" || p.unit == "%") {
				q.Unit = "%"
				if high != 100 {
					factor = 100 / high
					q.Range = &Range{Min: 0, Max: 100}
				}
			}
		}
		if !p.settable && factor == 1 {
			q.Range = nil
		}
		read = then(homieText, func(v any) (any, error) {
			text := v.(string)
			if whole {
				if _, err := strconv.ParseInt(text, 10, 64); err != nil {
					return nil, fmt.Errorf("%.40q is no whole number", text)
				}
			}
			f, err := toNumber(text)
			if err != nil {
				return nil, err
			}
			if factor != 1 {
				f = tidy(f * factor)
			}
			return f, nil
		})
		return read, func(v any) (string, error) {
			f, err := toNumber(v)
			if err != nil {
				return "", err
			}
			f = tidy(f / factor)
			if whole {
				f = math.Round(f)
			}
			if f < low || f > high {
				return "", fmt.Errorf("%s is not within %s", short(f), p.format)
			}
			return strconv.FormatFloat(f, 'f', -1, 64), nil
		}, nil

	case "enum":
		q.Options = strings.Split(p.format, ",")
		if p.format == "" || slices.Contains(q.Options, "") {
			return nil, nil, fmt.Errorf("the format %.60q does not name the values of an enum", p.format)
		}
		if len(q.Options) > MaxProperties {
			return nil, nil, errors.New("the format names too many values")
		}
		kind(Select, Sensor)
		options := q.Options
		return then(homieText, func(v any) (any, error) {
			if !slices.Contains(options, v.(string)) {
				return nil, fmt.Errorf("%.40q is none of %.100s", v, p.format)
			}
			return v, nil
		}), plain, nil

	case "color":
		formats := strings.Split(p.format, ",")
		for _, f := range formats {
			if f != "rgb" && f != "hsv" && f != "xyz" {
				return nil, nil, fmt.Errorf("the format %.60q names no colours: want rgb, hsv or xyz", p.format)
			}
		}
		kind(Text, Sensor)
		q.Class = "color"
		return then(homieText, func(v any) (any, error) { return homieColour(v.(string), formats[0], h.five) }),
			func(v any) (string, error) { return homieColourOf(v, formats, h.five) }, nil

	case "datetime":
		kind(Text, Sensor)
		q.Class = "timestamp"
		return homieText, homiePlain, nil

	case "duration":
		kind(Number, Sensor)
		q.Class, q.Unit = "duration", "s"
		return then(homieText, func(v any) (any, error) { return homieDuration(v.(string)) }),
			func(v any) (string, error) {
				f, err := toNumber(v)
				if err != nil || f < 0 {
					return "", fmt.Errorf("%v is no duration in seconds", v)
				}
				return "PT" + strconv.FormatFloat(f, 'f', -1, 64) + "S", nil
			}, nil

	case "json":
		kind(Text, Sensor)
		q.Class = "json"
		return func(p *Payload) (any, bool, error) {
				if len(p.Payload) == 0 {
					return nil, false, nil
				}
				return at()(p)
			}, func(v any) (string, error) {
				text := devices.Text(v)
				doc, err := devices.DecodeJSON([]byte(text))
				if err != nil {
					return "", errNoJSON
				}
				switch doc.(type) {
				case map[string]any, []any:
					return text, nil
				}
				return "", errors.New("want an object or an array of JSON")
			}, nil

	case "string":
		kind(Text, Sensor)
		return homieText, homiePlain, nil
	case "":
		return nil, nil, errors.New("it has no datatype")
	}
	return nil, nil, fmt.Errorf("the datatype %.40q is none", p.datatype)
}

// homiePlain encodes text; the empty one is a byte 0, for an empty payload deletes a topic.
func homiePlain(v any) (string, error) {
	return cmp.Or(devices.Text(v), "\x00"), nil
}

// homiePercent are the ids of what is told in % here, whatever the device's range.
var homiePercent = map[string]bool{
	"brightness": true, "dim": true, "dimmer": true, "dimming": true, "intensity": true, "position": true, "speed": true, "level": true,
}

// homieRange reads "min:max:step", of which each may be missing.
func homieRange(format string) (Range, error) {
	r := Range{Min: -math.MaxFloat64, Max: math.MaxFloat64}
	if format == "" || format == ":" {
		return r, nil
	}
	parts := strings.Split(format, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return r, fmt.Errorf("the format %.60q is no range such as 0:100", format)
	}
	for i, to := range []*float64{&r.Min, &r.Max, &r.Step}[:len(parts)] {
		if parts[i] == "" {
			continue
		}
		f, err := toNumber(parts[i])
		if err != nil {
			return r, fmt.Errorf("the format %.60q is no range such as 0:100", format)
		}
		*to = f
	}
	if r.Min > r.Max || r.Step < 0 {
		return r, fmt.Errorf("the format %.60q is a range that nothing is in", format)
	}
	return r, nil
}

// homieClasses tell the class of a reading by its unit, or else by a word in its id.
var (
	homieUnitClasses = map[string]string{
		"°C": "temperature", "°F": "temperature", "V": "voltage", "A": "current", "W": "power", "kW": "power", "kWh": "energy", "Wh": "energy",
		"Hz": "frequency", "lx": "illuminance", "Pa": "pressure", "hPa": "pressure", "psi": "pressure", "dBm": "signal_strength",
	}
	homieWordClasses = [][2]string{
		{"humidity", "humidity"}, {"battery", "battery"}, {"co2", "carbon_dioxide"}, {"moisture", "moisture"},
	}
	homieBinaryClasses = [][2]string{
		{"motion", "motion"}, {"occupan", "occupancy"}, {"presence", "presence"}, {"door", "door"}, {"window", "window"}, {"contact", "opening"},
		{"smoke", "smoke"}, {"leak", "moisture"}, {"flood", "moisture"}, {"tamper", "tamper"}, {"vibration", "vibration"}, {"lowbat", "battery"}, {"low-bat", "battery"},
	}
)

func homieClass(q *Property, id string) {
	id = strings.ToLower(id)
	list := homieWordClasses
	switch q.Kind {
	case BinarySensor:
		list = homieBinaryClasses
	case Sensor, Number:
		if class := homieUnitClasses[q.Unit]; class != "" && q.Class == "" {
			q.Class = class
		}
	default:
		return
	}
	for _, c := range list {
		if q.Class == "" && strings.Contains(id, c[0]) {
			q.Class = c[1]
		}
	}
	if q.Class == "battery" || q.Class == "signal_strength" || q.Kind == Sensor && (strings.Contains(id, "rssi") || strings.Contains(id, "signal")) {
		q.Diagnostic = true
	}
}

// homieColour reads a colour: version 5 begins with its format, version 4 has one only.
func homieColour(text, format string, five bool) (any, error) {
	if five {
		var ok bool
		if format, text, ok = strings.Cut(text, ","); !ok {
			return nil, fmt.Errorf("%.40q is no colour", format)
		}
	}
	parts := strings.Split(text, ",")
	numbers := make([]float64, 0, 3)
	for _, part := range parts {
		f, err := toNumber(part)
		if err != nil || len(numbers) == 3 {
			return nil, fmt.Errorf("%.40q is no colour", text)
		}
		numbers = append(numbers, f)
	}
	switch {
	case format == "rgb" && len(numbers) == 3:
		return rgbText(numbers[0], numbers[1], numbers[2]), nil
	case format == "hsv" && len(numbers) == 3:
		r, g, b := fromHSV(numbers[0], numbers[1], numbers[2])
		return rgbText(r, g, b), nil
	case format == "xyz" && len(numbers) == 2:
		return "xyz," + text, nil
	}
	return nil, fmt.Errorf("%.40q is no colour", text)
}

// homieColourOf encodes #rrggbb, or r,g,b, in the format that the device likes best; what
// names a format that it has is sent as it is.
func homieColourOf(v any, formats []string, five bool) (string, error) {
	text := strings.TrimSpace(devices.Text(v))
	for _, f := range formats {
		if rest, ok := strings.CutPrefix(text, f+","); ok {
			if five {
				return text, nil
			}
			return rest, nil
		}
	}
	r, g, b, err := rgbOf(v)
	if err != nil {
		return "", err
	}
	prefix := ""
	for _, f := range formats {
		if five {
			prefix = f + ","
		}
		switch f {
		case "rgb":
			return fmt.Sprintf("%s%d,%d,%d", prefix, r, g, b), nil
		case "hsv":
			h, s, v := toHSV(float64(r), float64(g), float64(b))
			return fmt.Sprintf("%s%.0f,%.0f,%.0f", prefix, h, s, v), nil
		}
	}
	return "", errors.New(`it takes colours such as "xyz,0.25,0.34" only`)
}

// fromHSV turns a hue in degrees, saturation and value in %, into red, green and blue from 0
// to 255.
func fromHSV(h, s, v float64) (r, g, b float64) {
	s, v = s/100, v/100
	f := func(n float64) float64 {
		k := math.Mod(n+h/60, 6)
		return 255 * (v - v*s*max(0, min(k, 4-k, 1)))
	}
	return f(5), f(3), f(1)
}

func toHSV(r, g, b float64) (h, s, v float64) {
	high, low := max(r, g, b), min(r, g, b)
	d := high - low
	switch {
	case d == 0:
	case high == r:
		h = math.Mod((g-b)/d+6, 6)
	case high == g:
		h = (b-r)/d + 2
	default:
		h = (r-g)/d + 4
	}
	if high > 0 {
		s = d / high
	}
	return h * 60, s * 100, high / 255 * 100
}

// homieDuration reads PT12H5M46S as seconds.
func homieDuration(text string) (any, error) {
	bad := fmt.Errorf("%.40q is no duration such as PT5M", text)
	rest, ok := strings.CutPrefix(text, "PT")
	if !ok || rest == "" {
		return nil, bad
	}
	total := 0.0
	for _, unit := range []struct {
		letter  string
		seconds float64
	}{{"H", 3600}, {"M", 60}, {"S", 1}} {
		n, after, ok := strings.Cut(rest, unit.letter)
		if !ok {
			continue
		}
		f, err := toNumber(n)
		if err != nil || f < 0 {
			return nil, bad
		}
		total += f * unit.seconds
		rest = after
	}
	if rest != "" {
		return nil, bad
	}
	return tidy(total), nil
}
