package catalog

// Zigbee2MQTT, as its documentation tells (zigbee2mqtt.io, docs/guide: usage/exposes.md,
// usage/mqtt_topics_and_messages.md, usage/groups.md, usage/scenes.md,
// configuration/device-availability.md) and its sources of version 2 do
// (lib/extension/bridge.ts, publish.ts, availability.ts; zigbee-herdsman-converters
// src/lib/exposes.ts).
//
// BASE/bridge/devices lists all devices, retained, and what each exposes: the bits of
// access are 1 for reported in BASE/NAME, 2 for told by BASE/NAME/set, 4 for asked by
// BASE/NAME/get. BASE/bridge/groups lists the groups, which have what their members
// have. BASE is "zigbee2mqtt" or whatever the owner made it, so there may be several;
// names may hold slashes.
//
// Whether devices say that they can be reached is up to the owner, and BASE/bridge/info
// tells it. Without that, BASE/NAME/availability is believed once it has been seen: to
// wait for what never comes would make every device unavailable.

import (
	"bytes"
	"cmp"
	"encoding/json"
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

type zigbee2mqtt struct {
	seed    maphash.Seed
	bridges map[string]*z2mBridge
	things  map[string]*z2mThing // by BASE/NAME
	seen    map[string]bool      // BASE/NAMEs that have said whether they are there
}

type z2mBridge struct {
	base    string
	id      string            // what the ids of its devices begin with
	taken   map[string]uint64 // the hash of each payload that was taken whole, by the end of its topic
	devices map[string]*z2mThing
	groups  map[string]*z2mThing

	informed     bool // bridge/info has come
	availability bool
	of           map[string]bool // availability of devices that have a setting of their own
	attributes   bool            // each property has a topic of its own, and there is no JSON
}

// A z2mThing is a device or a group.
type z2mThing struct {
	bridge   *z2mBridge
	id       string
	key      string // among those of its bridge
	name     string
	ieee     string // "" for a group
	hash     uint64 // of what announced it
	rev      int    // another for each announcement that says another thing
	disabled bool
	facts    z2mFact
	doc      map[string]any
	exposes  []any
	joint    []any // those of exposes that a group has too
	members  []z2mMember
	shown    string // what was last made of it
}

type z2mMember struct {
	ieee     string
	endpoint string
}

const (
	z2mMaxSeen    = 2 * MaxDevices
	z2mMaxMembers = 100       // of a group
	z2mMaxEntry   = 256 << 10 // bytes of a device in the list

	// What is taken of a list in one go, so that nobody waits long for its end.
	z2mPartBytes      = 32 << 10
	z2mPartProperties = 200
)

func newZigbee2MQTT() *zigbee2mqtt {
	return &zigbee2mqtt{
		seed:    maphash.MakeSeed(),
		bridges: make(map[string]*z2mBridge),
		things:  make(map[string]*z2mThing),
		seen:    make(map[string]bool),
	}
}

func (*zigbee2mqtt) filters() []string {
	return []string{
		"+/bridge/devices", "+/bridge/groups", "+/bridge/info",
		"+/+/bridge/devices", "+/+/bridge/groups", "+/+/bridge/info",
		"+/+/availability", "+/+/+/availability", "+/+/+/+/availability",
	}
}

func (w *zigbee2mqtt) take(m *Payload) (Found, error) {
	i := strings.LastIndexByte(m.Topic, '/')
	if i < 0 {
		return Found{}, nil
	}
	over, what := m.Topic[:i], m.Topic[i+1:]
	if what == "availability" {
		return w.heard(over, len(m.Payload) > 0), nil
	}
	base, ok := strings.CutSuffix(over, "/bridge")
	if !ok {
		return Found{}, nil
	}
	b := w.bridges[base]
	if b == nil {
		// Others have topics of this form too. A bridge is one that lists devices.
		if what != "devices" && what != "groups" && what != "info" || len(w.bridges) >= 32 || len(m.Payload) == 0 {
			return Found{}, nil
		}
		b = &z2mBridge{base: base, id: "zigbee2mqtt/", taken: make(map[string]uint64),
			devices: make(map[string]*z2mThing), groups: make(map[string]*z2mThing)}
		if base != "zigbee2mqtt" {
			b.id += base + "/"
		}
		w.bridges[base] = b
	}
	hash := maphash.Bytes(w.seed, m.Payload)
	if before, ok := b.taken[what]; ok && before == hash {
		return Found{}, nil
	}
	delete(b.taken, what)
	whole := func() { b.taken[what] = hash }
	switch what {
	case "devices":
		return w.list(b, b.devices, m.Payload, b.device, whole)
	case "groups":
		return w.list(b, b.groups, m.Payload, b.group, whole)
	}
	err := b.info(m)
	return w.changed(b, nil, err, whole)
}

// heard notes that a device has said whether it is there, or that this was taken back.
func (w *zigbee2mqtt) heard(name string, says bool) Found {
	if w.seen[name] == says {
		return Found{}
	}
	t := w.things[name]
	if !says {
		delete(w.seen, name)
	} else if t == nil && len(w.seen) >= z2mMaxSeen {
		return Found{}
	} else {
		w.seen[name] = true
	}
	if t == nil {
		return Found{}
	}
	var found Found
	for _, one := range append([]*z2mThing{t}, sortedThings(t.bridge.groups)...) {
		if d, ok := w.look(one); ok {
			found.Devices = append(found.Devices, d)
		}
	}
	return found
}

// list takes the list of all devices or groups, in parts. Those that are not in it any more
// are gone, unless it is broken or an entry can't be read, which may be theirs. whole is called when it was taken and
// nothing was wrong.
func (w *zigbee2mqtt) list(b *z2mBridge, known map[string]*z2mThing, payload []byte, read func(map[string]any) (string, *z2mThing, error), whole func()) (Found, error) {
	elements, broken := jsonElements(payload, MaxDevices)
	if len(bytes.TrimSpace(payload)) == 0 {
		elements, broken = nil, nil // the owner has taken the retained list away
	}
	var wrong mistakes
	if broken != nil {
		wrong.add("%w", broken)
	}
	byHash := make(map[uint64]*z2mThing, len(known))
	for _, t := range known {
		byHash[t.hash] = t
	}
	there := make(map[string]bool, len(elements))
	unsure := broken != nil // something can't be read, and nobody knows which device it is
	entry := func(i int, e []byte, hash uint64) {
		if len(e) > z2mMaxEntry {
			wrong.add("the entry %d of the list is longer than %d bytes", i, z2mMaxEntry)
			unsure = true
			return
		}
		object, ok := z2mEntry(e)
		if !ok {
			wrong.add("the entry %d of the list is no JSON object", i)
			unsure = true
			return
		}
		key, t, err := read(object)
		if err != nil {
			wrong.add("the entry %d of the list %w", i, err)
			unsure = unsure || t == nil
		}
		if t == nil {
			return
		}
		if there[t.id] {
			wrong.add("%s is in the list twice", t.name)
			return
		}
		there[t.id] = true
		t.bridge, t.key, t.hash, t.rev = b, key, hash, 1
		if before := known[key]; before != nil {
			t.rev = before.rev + 1
			t.shown = before.shown
			if sameJSON(before.exposes, t.exposes) && sameJSON(z2mScenes(before.doc), z2mScenes(t.doc)) {
				t.rev = before.rev
			}
			w.forget(before)
		}
		known[key] = t
		w.things[b.base+"/"+t.name] = t
	}
	next := 0
	var part func() (Found, error)
	part = func() (Found, error) {
		for read := 0; next < len(elements); next++ {
			if read > z2mPartBytes {
				return Found{Rest: part}, nil
			}
			e := elements[next]
			hash := maphash.Bytes(w.seed, e)
			if t := byHash[hash]; t != nil && !there[t.id] {
				there[t.id] = true
				continue
			}
			entry(next, e, hash)
			read += len(e)
		}
		var gone []string
		if !unsure {
			for key, t := range known {
				if !there[t.id] {
					w.forget(t)
					delete(known, key)
					gone = append(gone, t.id)
				}
			}
			slices.Sort(gone)
		}
		return w.changed(b, gone, wrong.err(), whole)
	}
	return part()
}

// z2mEntry decodes what is needed of a device or group in a list, which is a third of it.
func z2mEntry(text []byte) (entry map[string]any, ok bool) {
	var d devices.Document
	if err := d.Scan(text, maxValues); err != nil || !d.Root().IsObject() {
		return nil, false
	}
	some := func(n devices.Node, keys ...string) map[string]any {
		m := make(map[string]any, len(keys))
		for _, key := range keys {
			if v, ok := n.Key(key); ok {
				m[key] = v.Decode()
			}
		}
		return m
	}
	root := d.Root()
	entry = some(root, "ieee_address", "type", "friendly_name", "disabled", "manufacturer", "model_id", "software_build_id", "power_source",
		"id", "members", "scenes")
	if definition, ok := root.Key("definition"); ok && definition.IsObject() {
		entry["definition"] = some(definition, "vendor", "model", "exposes")
	}
	if endpoints, ok := root.Key("endpoints"); ok && endpoints.IsObject() {
		named := make(map[string]any)
		for name, e := range endpoints.All() {
			named[name] = some(e, "name", "scenes")
		}
		entry["endpoints"] = named
	}
	return entry, true
}

func (w *zigbee2mqtt) forget(t *z2mThing) {
	if name := t.bridge.base + "/" + t.name; w.things[name] == t {
		delete(w.things, name)
	}
}

var errName = errors.New("has a name that can't be in a topic")

func (b *z2mBridge) device(doc map[string]any) (string, *z2mThing, error) {
	ieee, _ := doc["ieee_address"].(string)
	kind, _ := doc["type"].(string)
	switch {
	case strings.EqualFold(kind, "Coordinator"):
		return "", nil, nil
	case ieee == "":
		return "", nil, errors.New("has no ieee_address")
	case !inTopic(ieee):
		return "", nil, errors.New("has an ieee_address that is none")
	}
	t := &z2mThing{id: b.id + ieee, ieee: ieee, name: ieee, doc: doc, facts: z2mFacts(doc)}
	if name, _ := doc["friendly_name"].(string); name != "" {
		t.name = name
	}
	if !inTopic(t.name) {
		return "", nil, errName
	}
	t.disabled, _ = doc["disabled"].(bool)
	definition, _ := doc["definition"].(map[string]any)
	switch exposes := definition["exposes"].(type) {
	case []any:
		t.exposes = exposes
		for _, e := range exposes {
			switch lookup(e, "type") {
			case "light", "switch", "lock", "cover":
				t.joint = append(t.joint, e)
			}
		}
	case nil:
	default:
		return ieee, t, errors.New("has exposes that are no list")
	}
	return ieee, t, nil
}

func (b *z2mBridge) group(doc map[string]any) (string, *z2mThing, error) {
	id, ok := doc["id"].(json.Number)
	if !ok {
		return "", nil, errors.New("has no id")
	}
	t := &z2mThing{id: b.id + "group_" + id.String(), name: id.String(), doc: doc}
	if name, _ := doc["friendly_name"].(string); name != "" {
		t.name = name
	}
	if !inTopic(t.name) {
		return "", nil, errName
	}
	members, _ := doc["members"].([]any)
	for _, m := range members {
		m, _ := m.(map[string]any)
		ieee, _ := m["ieee_address"].(string)
		endpoint, _ := m["endpoint"].(json.Number)
		member := z2mMember{ieee, endpoint.String()}
		if ieee != "" && len(t.members) < z2mMaxMembers && !slices.Contains(t.members, member) {
			t.members = append(t.members, member)
		}
	}
	if len(t.members) == 0 {
		return "", nil, nil // Zigbee2MQTT always has one for remotes, which is empty
	}
	return id.String(), t, nil
}

// inTopic says whether text can be a part of a topic to publish on.
func inTopic(text string) bool {
	return text != "" && len(text) <= devices.MaxTopic/2 && !strings.ContainsAny(text, "+#\x00")
}

func (b *z2mBridge) info(m *Payload) error {
	b.informed, b.availability, b.of, b.attributes = false, false, nil, false
	if len(m.Payload) == 0 {
		return nil
	}
	// It holds a schema of all settings, too, which is most of it.
	if err := m.scan(); err != nil {
		return err
	}
	config, ok := m.json.Root().Key("config")
	if !ok || string(config.Text()) == "null" {
		return nil // an older one, which does not tell
	}
	if !config.IsObject() {
		return errors.New("its config is no JSON object")
	}
	setting := func(path ...any) any {
		if n, ok := config.At(path); ok {
			return n.Decode()
		}
		return nil
	}
	b.informed = true
	if on, ok := z2mAvailability(setting("availability")); ok {
		b.availability = on
	} else if timeout, err := toNumber(plain1(setting("advanced", "availability_timeout"))); err == nil {
		b.availability = timeout > 0
	}
	b.attributes = setting("advanced", "output") == "attribute"
	each, ok := config.Key("devices")
	if !ok || !each.IsObject() {
		return nil
	}
	for ieee, s := range each.All() {
		own, ok := s.Key("availability")
		if !ok {
			continue
		}
		if on, ok := z2mAvailability(own.Decode()); ok {
			if b.of == nil {
				b.of = make(map[string]bool)
			}
			b.of[ieee] = on
		}
	}
	return nil
}

// z2mAvailability reads a setting: true, {"enabled":true} and, before version 2, {...}.
func z2mAvailability(v any) (on, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case map[string]any:
		if enabled, ok := v["enabled"].(bool); ok {
			return enabled, true
		}
		return true, true
	}
	return false, false
}

// lookup is what is at a path of keys; nil if nothing is.
func lookup(doc any, keys ...string) any {
	for _, k := range keys {
		m, _ := doc.(map[string]any)
		doc = m[k]
	}
	return doc
}

// tells says whether a thing tells whether it is there.
func (w *zigbee2mqtt) tells(t *z2mThing) bool {
	b := t.bridge
	if t.ieee == "" { // where all its members do
		for _, m := range t.members {
			if d := b.devices[m.ieee]; d == nil || !w.tells(d) {
				return !b.informed && w.seen[b.base+"/"+t.name]
			}
		}
		return true
	}
	if t.disabled {
		return false
	}
	if on, ok := b.of[t.ieee]; ok {
		return on
	}
	if b.informed {
		return b.availability
	}
	return w.seen[b.base+"/"+t.name]
}

// changed gives those devices and groups of a bridge that are another since they were
// last given, in parts, the first with what is gone and the last with what was wrong. If
// nothing was, it calls whole.
func (w *zigbee2mqtt) changed(b *z2mBridge, gone []string, wrong error, whole func()) (Found, error) {
	all := append(sortedThings(b.devices), sortedThings(b.groups)...)
	next := 0
	var part func() (Found, error)
	part = func() (found Found, err error) {
		for made := 0; next < len(all); next++ {
			if made >= z2mPartProperties {
				found.Rest = part
				return found, nil
			}
			if t := all[next]; t == b.devices[t.key] || t == b.groups[t.key] { // as long as it is there
				if d, ok := w.look(t); ok {
					found.Devices = append(found.Devices, d)
					made += 10 + len(d.Properties)
				}
			}
		}
		if wrong == nil {
			whole()
		}
		return found, wrong
	}
	found, err := part()
	found.Gone = gone
	return found, err
}

func sortedThings(known map[string]*z2mThing) (all []*z2mThing) {
	for _, key := range slices.Sorted(maps.Keys(known)) {
		all = append(all, known[key])
	}
	return all
}

// look gives a device or group if it is another since it was last given.
func (w *zigbee2mqtt) look(t *z2mThing) (Device, bool) {
	tells := w.tells(t)
	shown := fmt.Sprintf("%q %d %v %v %+v", t.name, t.rev, tells, t.bridge.attributes, t.facts)
	for _, m := range t.members {
		if d := t.bridge.devices[m.ieee]; d != nil {
			shown += fmt.Sprintf(" %s/%s %d", m.ieee, m.endpoint, d.rev)
		}
	}
	if shown == t.shown {
		return Device{}, false
	}
	t.shown = shown
	return t.make(tells), true
}

type z2mFact struct {
	Maker, Model, Version string
	Sleepy                bool
}

func z2mFacts(doc map[string]any) (f z2mFact) {
	text := func(keys ...string) string {
		s, _ := lookup(doc, keys...).(string)
		return strings.TrimSpace(strings.Trim(s, "\x00"))
	}
	f.Maker = cmp.Or(text("definition", "vendor"), text("manufacturer"))
	f.Model = cmp.Or(text("definition", "model"), text("model_id"))
	f.Version = text("software_build_id")
	f.Sleepy = strings.EqualFold(text("power_source"), "Battery")
	return f
}

// z2mScenes are the lists of scenes of a device or group.
func z2mScenes(doc map[string]any) []any {
	all := []any{doc["scenes"]}
	endpoints, _ := doc["endpoints"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(endpoints)) {
		if scenes, _ := lookup(endpoints[key], "scenes").([]any); len(scenes) > 0 {
			all = append(all, lookup(endpoints[key], "name"), scenes)
		}
	}
	return all
}

func (t *z2mThing) make(tells bool) Device {
	b := t.bridge
	topic := b.base + "/" + t.name
	d := Device{ID: t.id, Via: "zigbee2mqtt", Name: t.name, Address: t.name}
	if t.ieee != "" {
		d.Maker, d.Model, d.Version, d.Sleepy = t.facts.Maker, t.facts.Model, t.facts.Version, t.facts.Sleepy
		d.Identity = []string{IEEE(t.ieee)}
	} else {
		d.Model = "group"
	}
	d.Available = Availability{Mode: All, Reports: []Report{{b.base + "/bridge/state", z2mOnline}}}
	if tells {
		d.Available.Reports = append(d.Available.Reports, Report{topic + "/availability", z2mOnline})
	}
	x := &z2mBuilder{topic: topic, attributes: b.attributes, names: make(map[string]bool), mains: make(map[string]string)}
	exposes := t.exposes
	if t.ieee == "" {
		exposes = b.ofMembers(t)
	}
	covers := 0
	for _, v := range exposes {
		if lookup(v, "type") == "cover" {
			covers++
		}
	}
	for _, v := range exposes {
		if name := lookup(v, "name"); covers == 1 && (name == "motor_state" || name == "moving") {
			e, _ := z2mParse(v)
			x.motor = e.property
		}
	}
	for _, v := range exposes {
		if e, ok := z2mParse(v); ok && len(x.names) <= MaxProperties {
			x.add(e, nil, "", 0)
		}
	}
	x.scenes(t.doc)
	d.Properties = slices.Concat(x.ranked[z2mActs], x.ranked[z2mHappens], x.ranked[z2mIs], x.ranked[z2mAbout])
	return d
}

// ofMembers are the lights, switches, locks and covers that all members of a group
// together make. A group reports without the names of endpoints.
func (b *z2mBridge) ofMembers(t *z2mThing) []any {
	var order []string
	byType := make(map[string]map[string]any)
	for _, m := range t.members {
		d := b.devices[m.ieee]
		if d == nil {
			continue
		}
		endpoint, _ := lookup(d.doc, "endpoints", m.endpoint, "name").(string)
		for _, v := range d.joint {
			e, ok := z2mParse(v)
			if !ok || endpoint != "" && e.endpoint != "" && e.endpoint != endpoint {
				continue
			}
			if e.typ == "switch" || e.typ == "lock" { // those that are a setting, such as auto_lock, are none of a group
				if !slices.ContainsFunc(e.features, func(f any) bool {
					g, _ := z2mParse(f)
					return g.name == "state" && g.bare() == "state"
				}) {
					continue
				}
			}
			one := byType[e.typ]
			if one == nil {
				one = map[string]any{"type": e.typ, "features": []any{}}
				byType[e.typ] = one
				order = append(order, e.typ)
			}
			features := one["features"].([]any)
			for _, v := range e.features {
				f, ok := z2mParse(v)
				if !ok || f.endpoint != "" && endpoint == "" && e.endpoint == "" {
					continue
				}
				if !z2mOfGroups[f.name] {
					continue
				}
				doc := maps.Clone(v.(map[string]any))
				doc["property"] = f.bare()
				delete(doc, "endpoint")
				at := slices.IndexFunc(features, func(g any) bool { return g.(map[string]any)["name"] == f.name })
				if at < 0 {
					features = append(features, doc)
					continue
				}
				if f.name == "color_temp" { // what all of them can
					both := maps.Clone(features[at].(map[string]any))
					both["value_min"] = larger(both["value_min"], doc["value_min"], 1)
					both["value_max"] = larger(both["value_max"], doc["value_max"], -1)
					features[at] = both
				}
			}
			one["features"] = features
		}
	}
	var all []any
	for _, typ := range order {
		all = append(all, byType[typ])
	}
	return all
}

// z2mOfGroups are the features that groups have.
var z2mOfGroups = map[string]bool{
	"state": true, "brightness": true, "color_temp": true, "color_xy": true, "color_hs": true,
	"position": true, "tilt": true, "lock_state": true,
}

// larger is the larger of two numbers; the smaller, if sign is -1.
func larger(a, b any, sign float64) any {
	x, errX := toNumber(plain1(a))
	y, errY := toNumber(plain1(b))
	switch {
	case errY != nil || errX == nil && sign*x >= sign*y:
		return a
	}
	return b
}

// z2mExpose is an entry of exposes, or a feature of one.
type z2mExpose struct {
	typ, name, label, property, endpoint, unit, category string

	access          int
	on, off, toggle any
	min, max, step  float64 // not a number: not said
	values          []any
	presets         []any
	features        []any
	asValve         bool
}

const (
	z2mState = 1 << iota
	z2mSet
	z2mGet
)

func z2mParse(v any) (e z2mExpose, ok bool) {
	doc, ok := v.(map[string]any)
	if !ok {
		return e, false
	}
	text := func(key string) string { s, _ := doc[key].(string); return s }
	num := func(key string) float64 {
		n, ok := doc[key].(json.Number)
		f, err := n.Float64()
		if !ok || err != nil {
			return math.NaN()
		}
		return f
	}
	e = z2mExpose{
		typ: text("type"), name: text("name"), label: text("label"), property: text("property"),
		endpoint: text("endpoint"), unit: plainUnit(text("unit")), category: text("category"),
		on: plain1(doc["value_on"]), off: plain1(doc["value_off"]), toggle: plain1(doc["value_toggle"]),
		min: num("value_min"), max: num("value_max"), step: num("value_step"),
		asValve: lookup(doc["homeassistant"], "type") == "valve",
	}
	if e.property == "" {
		e.property = e.name
	}
	if access := num("access"); access >= 0 && access <= 7 {
		e.access = int(access)
	}
	e.values, _ = doc["values"].([]any)
	e.features, _ = doc["features"].([]any)
	switch presets := doc["presets"].(type) {
	case []any:
		e.presets = presets
	case map[string]any: // a copied list, in versions before 2
		for _, key := range slices.Sorted(maps.Keys(presets)) {
			e.presets = append(e.presets, presets[key])
		}
	}
	return e, e.typ != ""
}

// bare is the property without the name of its endpoint.
func (e *z2mExpose) bare() string {
	if e.endpoint != "" {
		return strings.TrimSuffix(e.property, "_"+e.endpoint)
	}
	return e.property
}

type z2mBuilder struct {
	topic      string
	attributes bool
	motor      string            // the property that tells how a cover moves
	names      map[string]bool   // those that are taken
	mains      map[string]string // the light of each endpoint
	ranked     [4][]Property     // actuators, presses, what is measured, what is about the device
}

const (
	z2mActs = iota
	z2mHappens
	z2mIs
	z2mAbout
)

// add makes the properties of an expose that is at a path.
func (x *z2mBuilder) add(e z2mExpose, path []any, of string, depth int) {
	if depth > 4 {
		return
	}
	switch e.typ {
	case "light", "switch", "cover", "lock", "climate", "fan":
		x.specific(e)
		return
	}
	if e.property == "" {
		return
	}
	path = append(slices.Clip(path), e.property)
	if e.typ == "composite" && depth == 0 && (e.name == "color_xy" || e.name == "color_hs") {
		x.color(e, path, of)
		return
	}
	if e.typ == "composite" {
		told := e.access&z2mSet != 0
		for _, v := range e.features {
			f, ok := z2mParse(v)
			if !ok {
				continue
			}
			told = told || f.access&z2mSet != 0
			x.add(f, path, of, depth+1)
		}
		if told { // some of it makes sense only together: a code and whose it is
			e.access |= z2mSet
			x.put(x.property(e, path, of), e, z2mIs)
		}
		return
	}
	rank := z2mIs
	if e.name == "effect" && of == "" {
		of = x.mains[e.endpoint]
	}
	if of != "" || e.typ == "binary" && e.bare() == "state" && e.access&z2mSet != 0 {
		rank = z2mActs
	}
	x.put(x.property(e, path, of), e, rank)
}

func (x *z2mBuilder) put(p Property, e z2mExpose, rank int) {
	if p.Kind == "" || len(x.names) > MaxProperties {
		return
	}
	if x.names[p.Name] {
		return // the same is exposed twice: local_temperature of the climate and beside it
	}
	x.names[p.Name] = true
	switch {
	case p.Diagnostic:
		rank = z2mAbout
	case p.Kind == Event:
		rank = z2mHappens
	}
	x.ranked[rank] = append(x.ranked[rank], p)
}

// specific makes the main property of a light, a cover, ..., and then its parts.
func (x *z2mBuilder) specific(e z2mExpose) {
	main := "state"
	if e.typ == "climate" {
		main = "system_mode"
	}
	of := ""
	var parts []z2mExpose
	for _, v := range e.features {
		f, ok := z2mParse(v)
		if !ok || f.property == "" {
			continue
		}
		if f.name != main || of != "" {
			parts = append(parts, f)
			continue
		}
		p := x.property(f, []any{f.property}, "")
		switch e.typ {
		case "light":
			p.Kind = Light
			x.mains[e.endpoint] = p.Name
		case "switch":
			p.Kind = Switch
			if f.access&z2mSet == 0 {
				p.Kind = BinarySensor
			}
			if e.label != "" && f.bare() != "state" {
				p.Label = e.label
			}
		case "fan":
			p.Kind = Fan
		case "cover":
			x.cover(&p, f, parts, e)
		case "lock":
			x.lock(&p, f)
		case "climate":
			p.Kind = Climate
		}
		of = p.Name
		rank := z2mActs
		if (e.typ == "switch" || e.typ == "lock") && f.bare() != "state" { // a setting: away_mode, child_lock
			rank = z2mIs
		}
		x.put(p, f, rank)
	}
	for _, f := range parts {
		path := []any{f.property}
		switch {
		case f.typ == "composite":
			x.add(f, nil, of, 0)
		case e.typ == "light" && f.name == "brightness":
			x.put(x.percent(x.property(f, path, of), f, 254), f, z2mActs)
		case e.typ == "fan" && f.name == "speed":
			x.put(x.percent(x.property(f, path, of), f, 254), f, z2mActs)
		default:
			x.put(x.property(f, path, of), f, z2mActs)
		}
	}
}

// property makes one of a generic expose. Its kind is "" if there is nothing to it.
func (x *z2mBuilder) property(e z2mExpose, path []any, of string) Property {
	p := Property{Name: snakeName(path...), Label: e.label, Of: of, Unit: e.unit}
	if p.Label == "" {
		p.Label = sentence(path...)
	} else if len(path) > 1 {
		p.Label = sentence(path[:len(path)-1]...) + ": " + p.Label
	}
	if e.endpoint != "" && !strings.Contains(p.Label, e.endpoint) {
		p.Label += " " + e.endpoint
	}
	p.Class = z2mClass(e)
	p.Diagnostic = e.category == "config" || e.category == "diagnostic" || z2mAboutDevice(e, path)
	told := e.access&z2mSet != 0
	var read func(r Reader) Reader
	var encode func(v any) (string, error)
	switch e.typ {
	case "binary":
		p.Kind, p.Unit = BinarySensor, ""
		if told {
			p.Kind = Switch
			if on, _ := e.on.(string); e.asValve || e.name == "state" && strings.EqualFold(on, "OPEN") {
				p.Kind = Valve
			}
		}
		read = func(r Reader) Reader { return z2mBool(r, e.on, e.off) }
		encode = z2mSay(e)
	case "numeric":
		p.Kind = Sensor
		if told {
			p.Kind = Number
			if e.min <= e.max {
				p.Range = &Range{Min: e.min, Max: e.max}
				if e.step > 0 {
					p.Range.Step = e.step
				}
			}
		}
		presets := make(map[string]any)
		for _, v := range e.presets {
			name, _ := lookup(v, "name").(string)
			if value := plain1(lookup(v, "value")); name != "" && value != nil {
				presets[name] = value
				if told {
					p.Options = append(p.Options, name)
				}
			}
		}
		read = func(r Reader) Reader { return z2mNumber(r, presets) }
		encode = func(v any) (string, error) {
			if name, ok := v.(string); ok {
				if value, ok := presets[name]; ok {
					return jsonText(value), nil
				}
				return "", fmt.Errorf("%.40q is no number", name)
			}
			return jsonText(v), nil
		}
	case "enum":
		byText := make(map[string]any)
		for _, v := range e.values {
			v = plain1(v)
			if text := textOf(v); text != "" {
				if _, twice := byText[text]; !twice {
					p.Options = append(p.Options, text)
				}
				byText[text] = v
			}
		}
		p.Unit = ""
		read = text
		encode = func(v any) (string, error) {
			if v, ok := byText[textOf(v)]; ok {
				return jsonText(v), nil
			}
			return jsonText(v), nil
		}
		switch {
		case e.name == "action" && !told:
			p.Kind, p.Diagnostic = Event, false
			read = func(r Reader) Reader { return z2mAction(r) }
		case told && len(p.Options) == 1:
			p.Kind = Button
			only := jsonText(byText[p.Options[0]])
			encode = func(any) (string, error) { return only, nil }
			e.access &^= z2mState
		case told:
			p.Kind = Select
		default:
			p.Kind = Sensor
		}
	case "text":
		p.Kind, p.Unit = Sensor, ""
		if e.name == "action" && !told {
			p.Kind = Event
			read = func(r Reader) Reader { return z2mAction(r) }
			break
		}
		if told {
			p.Kind = Text
		}
		read = text
		encode = func(v any) (string, error) { return jsonText(textOf(v)), nil }
	case "list", "composite":
		p.Kind, p.Unit = Sensor, ""
		read = object
		if told { // as JSON
			p.Kind, p.Class = Text, "json"
			read = func(r Reader) Reader {
				return then(object(r), func(v any) (any, error) { return devices.Text(v), nil })
			}
			encode = asJSON
		}
	default:
		return Property{}
	}
	if e.access&z2mState != 0 {
		p.Reports = []Report{x.report(path, read)}
	}
	if told {
		p.Set = x.set(path, encode)
	}
	if e.access&z2mGet != 0 {
		p.Get = x.get(path)
	}
	if p.Reports == nil && p.Set == nil {
		return Property{}
	}
	return p
}

func (x *z2mBuilder) report(path []any, read func(Reader) Reader) Report {
	if !x.attributes {
		return Report{x.topic, read(z2mAt(path))}
	}
	topic := x.topic + "/"
	for i, step := range path {
		if i > 0 {
			topic += "-"
		}
		topic += fmt.Sprint(step)
	}
	return Report{topic, read(scalar)}
}

// z2mAt reads a place of what a device reports. The payload is empty when what was
// retained is taken back.
func z2mAt(path []any) Reader {
	r := at(path...)
	return func(p *Payload) (any, bool, error) {
		if len(p.Payload) == 0 {
			return nil, false, nil
		}
		return r(p)
	}
}

// scalar reads a payload that is a JSON number or boolean, or else text. Empty is nothing.
func scalar(p *Payload) (any, bool, error) {
	text := p.Text()
	switch text {
	case "":
		return nil, false, nil
	case "true", "false":
		return text == "true", true, nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return f, true, nil
	}
	return text, true, nil
}

func (x *z2mBuilder) set(path []any, encode func(v any) (string, error)) *Set {
	head, tail := jsonPath(path)
	return &Set{Topic: x.topic + "/set", Encode: func(v any) (string, error) {
		value, err := encode(v)
		if err != nil {
			return "", err
		}
		return head + value + tail, nil
	}}
}

func (x *z2mBuilder) get(path []any) *Message {
	head, tail := jsonPath(path)
	return &Message{Topic: x.topic + "/get", Payload: head + `""` + tail}
}

// jsonPath is what stands before and after the value at a path of keys.
func jsonPath(path []any) (head, tail string) {
	for _, step := range path {
		head += "{" + jsonText(step) + ":"
		tail += "}"
	}
	return head, tail
}

// percent makes a property one in %, of what has a largest value of its own.
func (x *z2mBuilder) percent(p Property, e z2mExpose, most float64) Property {
	if e.max > 0 {
		most = e.max
	}
	p.Unit, p.Options = "%", nil
	if e.access&z2mState != 0 {
		p.Reports = []Report{x.report([]any{e.property}, func(r Reader) Reader { return percentOf(r, most) })}
	}
	if p.Set != nil {
		p.Range = &Range{Min: 0, Max: 100, Step: 1}
		p.Set = x.set([]any{e.property}, func(v any) (string, error) { return ofPercent(v, most) })
	}
	return p
}

// percentOf reads a number from 0 to most as %, in whole ones, so that it comes back as
// it was told. What is on is never 0 %.
func percentOf(r Reader, most float64) Reader {
	return then(number(r, 1), func(v any) (any, error) {
		f := v.(float64)
		p := math.Round(f * 100 / most)
		if f > 0 {
			p = max(p, 1)
		}
		return min(max(p, 0), 100), nil
	})
}

func ofPercent(v any, most float64) (string, error) {
	f, err := toNumber(v)
	if err != nil {
		return "", err
	}
	n := math.Round(f * most / 100)
	if f > 0 {
		n = max(n, 1)
	}
	return devices.Text(n), nil
}

func (x *z2mBuilder) cover(p *Property, f z2mExpose, before []z2mExpose, e z2mExpose) {
	p.Kind, p.Options = Cover, nil
	position := ""
	for _, v := range e.features {
		if g, ok := z2mParse(v); ok && g.name == "position" && g.access&z2mState != 0 {
			position = g.property
		}
	}
	moves := z2mAt([]any{x.motor})
	state := coverWord(z2mAt([]any{f.property}))
	if position != "" && f.access&z2mState == 0 {
		state = coverAt(z2mAt([]any{position}))
	}
	if !x.attributes && (f.access&z2mState != 0 || position != "") {
		p.Reports = []Report{{x.topic, func(m *Payload) (any, bool, error) {
			if x.motor != "" {
				if v, ok, _ := moves(m); ok {
					if word := z2mMoves[strings.ToLower(textOf(v))]; word != "" {
						return word, true, nil
					}
				}
			}
			return state(m)
		}}}
	} else if f.access&z2mState != 0 {
		p.Reports = []Report{x.report([]any{f.property}, coverWord)}
	}
	if f.access&z2mSet == 0 {
		return
	}
	words := map[string]string{"open": "OPEN", "close": "CLOSE", "stop": "STOP"}
	for _, v := range append(slices.Clip(f.values), f.on, f.off) {
		word := textOf(plain1(v))
		if _, ok := words[strings.ToLower(word)]; ok {
			words[strings.ToLower(word)] = word
		}
	}
	p.Set = x.set([]any{f.property}, func(v any) (string, error) { return jsonText(words[textOf(v)]), nil })
}

// z2mMoves are the words for how a motor moves.
var z2mMoves = map[string]string{
	"opening": "opening", "open": "opening", "forward": "opening", "up": "opening", "rising": "opening",
	"closing": "closing", "close": "closing", "backward": "closing", "back": "closing",
	"reverse": "closing", "down": "closing", "declining": "closing",
}

// coverWord reads the state of a cover in the words of any.
func coverWord(r Reader) Reader {
	return words(r, map[string]any{
		"open": "open", "opened": "open", "close": "closed", "closed": "closed", "opening": "opening",
		"closing": "closing", "stop": "stopped", "stopped": "stopped", "pause": "stopped", "paused": "stopped",
	})
}

// coverAt reads the state of a cover from its position.
func coverAt(r Reader) Reader {
	return then(number(r, 1), func(v any) (any, error) {
		if v.(float64) <= 0 {
			return "closed", nil
		}
		return "open", nil
	})
}

func (x *z2mBuilder) lock(p *Property, f z2mExpose) {
	p.Kind, p.Options = Lock, nil
	if f.access&z2mState != 0 {
		p.Reports = []Report{x.report([]any{f.property}, func(r Reader) Reader {
			return then(z2mBool(r, f.on, f.off), func(v any) (any, error) {
				if v == true {
					return "locked", nil
				}
				return "unlocked", nil
			})
		})}
	}
	if p.Set != nil {
		p.Set = x.set([]any{f.property}, func(v any) (string, error) {
			switch v {
			case "lock":
				return jsonText(f.on), nil
			case "unlock":
				return jsonText(f.off), nil
			}
			return "", fmt.Errorf("%s takes lock or unlock, not %q", p.Name, textOf(v))
		})
	}
}

// color makes the colour of a light: "#ff8800". Its brightness is not in it.
func (x *z2mBuilder) color(e z2mExpose, path []any, of string) {
	access := e.access
	ask := ""
	for _, v := range e.features {
		if f, ok := z2mParse(v); ok {
			access |= f.access
			if ask != "" {
				ask += ","
			}
			ask += jsonText(f.property) + `:""`
		}
	}
	p := Property{Name: snakeName(path...), Label: "Color", Kind: Text, Of: of, Class: "color"}
	if e.endpoint != "" {
		p.Label += " " + e.endpoint
	}
	if access&z2mState != 0 && !x.attributes {
		p.Reports = []Report{x.report(path, z2mColor)}
	}
	if access&z2mSet != 0 {
		p.Set = x.set(path, func(v any) (string, error) {
			r, g, b, err := hexColor(v)
			if err != nil {
				if parts, wrong := asJSON(v); wrong == nil { // {"x":0.4,"y":0.4}
					return parts, nil
				}
				return "", err
			}
			return fmt.Sprintf(`{"hex":"#%02x%02x%02x"}`, r, g, b), nil
		})
	}
	if access&z2mGet != 0 {
		head, tail := jsonPath(path)
		p.Get = &Message{Topic: x.topic + "/get", Payload: head + "{" + ask + "}" + tail}
	}
	x.put(p, e, z2mActs)
}

// z2mColor reads {"x":0.7,"y":0.3} or {"hue":0,"saturation":100}, whichever is there.
func z2mColor(r Reader) Reader {
	return then(r, func(v any) (any, error) {
		m, _ := v.(map[string]any)
		num := func(key string) (float64, bool) {
			f, err := toNumber(plain1(m[key]))
			return f, err == nil
		}
		if hue, ok := num("hue"); ok {
			if saturation, ok := num("saturation"); ok {
				return hsColor(hue, saturation), nil
			}
		}
		if a, ok := num("x"); ok {
			if b, ok := num("y"); ok {
				return xyColor(a, b), nil
			}
		}
		return nil, nil
	})
}

func (x *z2mBuilder) scenes(doc map[string]any) {
	lists := z2mScenes(doc)
	add := func(list any, endpoint string) {
		scenes, _ := list.([]any)
		for _, s := range scenes {
			id, ok := lookup(s, "id").(json.Number)
			if !ok {
				continue
			}
			name, _ := lookup(s, "name").(string)
			topic, suffix := x.topic, ""
			if endpoint != "" {
				topic, suffix = x.topic+"/"+endpoint, "_"+endpoint
			}
			payload := `{"scene_recall":` + id.String() + `}`
			x.put(Property{Name: snakeName("scene_" + id.String() + suffix), Label: cmp.Or(name, "Scene "+id.String()), Kind: Button,
				Set: &Set{Topic: topic + "/set", Encode: func(any) (string, error) { return payload, nil }}}, z2mExpose{}, z2mIs)
		}
	}
	add(lists[0], "")
	for i := 1; i+1 < len(lists); i += 2 {
		endpoint, _ := lists[i].(string)
		if endpoint == "default" || endpoint != "" && !inTopic(endpoint) {
			endpoint = ""
		}
		add(lists[i+1], endpoint)
	}
}

// z2mOnline reads online, {"state":"online"}; the payload is empty when it was taken back.
func z2mOnline(p *Payload) (any, bool, error) {
	switch {
	case len(p.Payload) == 0:
		return nil, false, nil
	case p.Payload[0] == '{':
		return z2mOnlineJSON(p)
	}
	return z2mOnlineText(p)
}

var z2mOnlineJSON, z2mOnlineText = online(at("state")), online(whole)

// z2mBool reads what stands for on and off, whatever that is in JSON.
func z2mBool(r Reader, on, off any) Reader {
	onText, offText := textOf(on), textOf(off)
	return then(r, func(v any) (any, error) {
		switch text := textOf(v); {
		case v == on || strings.EqualFold(text, onText) && onText != "":
			return true, nil
		case v == off || strings.EqualFold(text, offText) && offText != "":
			return false, nil
		}
		if _, fixed := on.(bool); !fixed {
			if b, ok := devices.Bool(v); ok {
				return b, nil
			}
		}
		return nil, fmt.Errorf("%.40q is neither %s nor %s", textOf(v), onText, offText)
	})
}

func z2mSay(e z2mExpose) func(v any) (string, error) {
	on, off, toggle := e.on, e.off, ""
	if on == nil && off == nil {
		on, off = "ON", "OFF"
	}
	if e.toggle != nil {
		toggle = jsonText(e.toggle)
	}
	return saying(jsonText(on), jsonText(off), toggle)
}

// z2mNumber reads a number; the word of a preset is none, but nothing wrong.
func z2mNumber(r Reader, presets map[string]any) Reader {
	return then(r, func(v any) (any, error) {
		f, err := toNumber(v)
		if err == nil {
			return sameNumber(v, tidy(f)), nil
		}
		for _, preset := range presets {
			if v == preset {
				return nil, nil
			}
		}
		return nil, err
	})
}

// z2mAction reads what was pressed. "" is sent after each by older versions.
func z2mAction(r Reader) Reader {
	return then(happening(r), func(v any) (any, error) {
		if v == "idle" {
			return nil, nil
		}
		return v, nil
	})
}

// z2mClass is what Home Assistant would call it. A door's contact is true when it is open.
func z2mClass(e z2mExpose) string {
	switch e.unit {
	case "Wh", "kWh":
		return "energy"
	case "mA", "A":
		return "current"
	case "mW", "W", "kW":
		return "power"
	}
	if e.name == "voc" && (e.unit == "ppb" || e.unit == "ppm") {
		return "volatile_organic_compounds_parts"
	}
	if class := z2mClasses[e.typ][e.name]; class != "" {
		return class
	}
	if e.typ == "numeric" && e.unit == "°C" && !strings.Contains(e.name, "calibration") {
		return "temperature"
	}
	return ""
}

var z2mClasses = map[string]map[string]string{
	"binary": {
		"battery_low": "battery", "carbon_monoxide": "carbon_monoxide", "consumer_connected": "plug",
		"contact": "door", "garage_door_contact": "garage_door", "gas": "gas", "moving": "moving",
		"noise_detected": "sound", "occupancy": "occupancy", "motion": "motion", "presence": "occupancy",
		"rain": "moisture", "rain_status": "moisture", "smoke": "smoke", "sos": "safety", "tamper": "tamper",
		"valve_alarm": "problem", "valve_state": "opening", "vibration": "vibration", "water_leak": "moisture",
		"window": "window", "window_open": "window",
	},
	"numeric": {
		"ac_frequency": "frequency", "apparent_temperature": "temperature", "aqi": "aqi", "battery": "battery",
		"battery_voltage": "voltage", "co2": "carbon_dioxide", "co": "carbon_monoxide", "device_temperature": "temperature",
		"distance": "distance", "flow": "volume_flow_rate", "humidity": "humidity", "illuminance": "illuminance",
		"illuminance_lux": "illuminance", "noise": "sound_pressure", "pm1": "pm1", "pm10": "pm10", "pm25": "pm25",
		"power_factor": "power_factor", "power_apparent": "apparent_power", "power_reactive": "reactive_power",
		"precipitation": "precipitation", "pressure": "atmospheric_pressure", "rain_rate": "precipitation_intensity",
		"soil_moisture": "moisture", "temperature": "temperature", "voc": "volatile_organic_compounds",
		"voltage": "voltage", "voltage_phase_b": "voltage", "voltage_phase_c": "voltage", "water_consumed": "water",
		"wind_speed": "wind_speed", "gust_speed": "wind_speed",
	},
	"enum": {"identify": "identify", "restart": "restart"},
}

// z2mAboutDevice says what is about the device where an older version does not.
func z2mAboutDevice(e z2mExpose, path []any) bool {
	if path[0] == "update" || len(path) > 1 && e.access&z2mSet != 0 && path[0] != "warning" {
		return true
	}
	name := e.name
	if name == "state" { // of a switch or lock that is a setting
		name = e.bare()
	}
	for _, part := range []string{"calibration", "precision", "startup", "_led", "led_", "indicator", "sensitivity", "_timeout", "power_outage", "power_on_behavior", "sampling", "_lockout"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	switch name {
	case "battery", "battery2", "battery_low", "battery_state", "linkquality", "battery_voltage", "device_temperature", "cpu_temperature",
		"internalTemperature", "last_seen", "update_available", "update", "requested_brightness_level", "requested_brightness_percent",
		"trigger_count", "test", "identify", "backlight_mode", "backlight_auto_dim", "child_lock", "button_lock", "auto_lock",
		"window_detection", "valve_detection", "temperature_display_mode", "temperature_unit", "operation_mode", "device_mode", "switch_type",
		"motor_direction", "motor_reversal", "invert_cover", "min_brightness", "max_brightness", "level_config", "color_options",
		"min_temperature", "max_temperature", "action_transaction_id", "detection_interval", "restart", "power_type":
		return true
	case "voltage":
		return e.unit == "mV"
	}
	return false
}
