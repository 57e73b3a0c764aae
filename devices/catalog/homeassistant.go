package catalog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"
)

// Home Assistant's MQTT discovery, as its page "MQTT" (home-assistant.io, integrations/mqtt,
// of 2025.10) and its sources of that time (homeassistant/components/mqtt) describe it:
//
//	homeassistant/<component>/[<node id>/]<object id>/config   one component
//	homeassistant/device/[<node id>/]<object id>/config        a device with all it has
//
// A component says nothing of the device that it belongs to but names: an identifier or a
// connection. What shares one of them is one device here. What has none is a device of its
// own. An empty message takes away what the topic brought.
//
// All of that may stand below one level more, garage/homeassistant/…: so it comes over a bridge
// that puts garage/ before the topics of another house. Then all topics that are named in it
// are below garage/ here, too.
//
// What a component is becomes properties in homeassistant_components.go.

// newHomeassistant gives the convention, which has heard nothing yet.
func newHomeassistant() *homeassistant {
	return &homeassistant{
		seed:   maphash.MakeSeed(),
		topics: make(map[string]*haTopic),
		groups: make(map[string]*haGroup),
		unique: make(map[string][]*haEntity),
		past:   make(map[string][]string),
		claims: make(map[string][]string),
	}
}

// Limits of what strangers may make it remember.
const (
	haMaxEntities = 10_000    // in all
	haMaxMembers  = 300       // of one device: what is sorted and named for each message that changes it
	haMaxBytes    = 64 << 20  // of all announcements that are remembered
	haMaxName     = 200       // bytes of an identifier
	haMaxSize     = 256 << 10 // of an announcement: 300 components with long names
	haMaxParts    = 20_000    // of its JSON, which is what it costs
)

type homeassistant struct {
	seed     maphash.Seed
	topics   map[string]*haTopic    // that brought something
	groups   map[string]*haGroup    // by what identifies a device
	unique   map[string][]*haEntity // by component and unique_id
	past     map[string][]string    // by what identifies a device: topics that told of it before the hub started, and have not since
	claims   map[string][]string    // the keys of past, by those topics
	seq      int                    // of the newest entity
	entities int
	bytes    int
}

// haTopic is what a topic has announced.
type haTopic struct {
	by       announcer
	sum      uint64 // of the payload
	size     int
	err      error
	entities []*haEntity
}

// haGroup is a device: what shares identifiers.
type haGroup struct {
	members []*haEntity
	id      string // of the device as it was given last; "" if it was not
}

// haEntity is one component that was announced.
type haEntity struct {
	topic, key string // where; key is that within a device's message
	by         *announcer
	component  string
	unique     string // names it wherever it is announced
	device     haDevice
	seq        int
	moving     bool // its announcer has said that another topic will have it
	group      *haGroup

	properties []Property // the main one is named ""; the others are named by their part, and Of "."
	rank       int        // the lower the more it is what the device is for
	naming     haNaming
	of         string // the name of the device that the next three are right for
	label      string // as people read it, without that
	base, alt  string // the names for its main property
	available  Availability
	ways       string // of available, as text, to compare
}

// haDevice is the block "device".
type haDevice struct {
	keys                              []string // all that identify it
	id                                string
	name, room, maker, model, version string
	identity                          []string
	none                              bool // there is no such block
}

var haFilters = []string{
	"homeassistant/+/+/config", "homeassistant/+/+/+/config",
	"+/homeassistant/+/+/config", "+/homeassistant/+/+/+/config",
}

func (h *homeassistant) filters() []string { return haFilters }

func (h *homeassistant) take(m *Payload) (Found, error) {
	old := h.topics[m.Topic]
	if len(bytes.TrimSpace(m.Payload)) == 0 {
		return h.replace(m.Topic, old, nil), nil
	}
	sum := maphash.Bytes(h.seed, m.Payload)
	if old != nil && old.sum == sum && old.size == len(m.Payload) {
		old.by.may = m.May
		return Found{}, old.err
	}
	place, err := haTopicOf(m.Topic)
	if err != nil {
		return Found{}, err
	}
	if len(m.Payload) > haMaxSize {
		return Found{}, fmt.Errorf("it has %d bytes, want at most %d", len(m.Payload), haMaxSize)
	}
	if bytes.Count(m.Payload, []byte(","))+bytes.Count(m.Payload, []byte("["))+bytes.Count(m.Payload, []byte("{")) > haMaxParts {
		return Found{}, errors.New("it has too many parts")
	}
	doc, err := m.JSON()
	if err != nil {
		return Found{}, err
	}
	message, ok := doc.(map[string]any)
	switch {
	case !ok:
		return Found{}, errors.New("it is no JSON object")
	case len(message) == 0: // which is as good as empty to Home Assistant
		return h.replace(m.Topic, old, nil), nil
	}
	message = haExpand(message, haLong())
	if moves, _ := message["migrate_discovery"].(bool); moves {
		return h.move(old, sum, len(m.Payload)), nil
	}
	entities, err := haRead(place, message)
	switch {
	case len(entities) == 0 && err == nil && place.component == "device": // all that it had is gone
		return h.replace(m.Topic, old, nil), nil
	case len(entities) == 0:
		return Found{}, err // what was understood before still counts
	}
	now := &haTopic{by: announcer{m.Topic, m.May}, sum: sum, size: len(m.Payload), entities: entities, err: err}
	entitiesThen, bytesThen := h.entities+len(entities), h.bytes+now.size
	if old != nil {
		entitiesThen, bytesThen = entitiesThen-len(old.entities), bytesThen-old.size
	}
	if entitiesThen > haMaxEntities || bytesThen > haMaxBytes {
		return Found{}, errors.New("too much is announced already")
	}
	for _, e := range entities {
		e.topic, e.by = m.Topic, &now.by
	}
	out, err := h.rivals(now)
	if err != nil {
		return Found{}, err
	}
	change := newHAChange()
	for _, other := range out {
		h.putOut(other, now.by.topic, change)
	}
	h.exchange(m.Topic, old, now, change)
	return h.found(change), now.err
}

// A haPlace is what a topic says.
type haPlace struct {
	component, node, object string
	under                   string // "garage/", before all topics; mostly ""
}

func haTopicOf(topic string) (place haPlace, err error) {
	if !strings.HasPrefix(topic, "homeassistant/") {
		before, rest, _ := strings.Cut(topic, "/")
		place.under, topic = before+"/", rest
	}
	levels := strings.Split(topic, "/")
	for _, l := range levels[1:] {
		if strings.ContainsFunc(l, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
		}) || l == "" {
			return haPlace{}, fmt.Errorf("a level of its topic is %.40q: want a-z, A-Z, 0-9, _ and -", l)
		}
	}
	place.component, place.object = levels[1], levels[2]
	if len(levels) == 5 {
		place.node, place.object = levels[2], levels[3]
	}
	return place, nil
}

// haRead reads an announcement. The entities are those that are of use.
func haRead(place haPlace, message map[string]any) ([]*haEntity, error) {
	if place.component != "device" {
		if base, ok := message["~"].(string); ok {
			haBase(message, base)
		}
		e, err := haEntityOf(place, place.component, "", message, message)
		if e == nil {
			return nil, err
		}
		return []*haEntity{e}, err
	}
	components, ok := message["components"].(map[string]any)
	if !ok {
		return nil, errors.New("it has no components, which a device's message needs")
	}
	var wrong []string
	if message["origin"] == nil {
		wrong = append(wrong, "it has no origin, which a device's message needs")
	}
	if message["device"] == nil {
		wrong = append(wrong, "it has no device, which a device's message needs")
	}
	keys := slices.Sorted(maps.Keys(components))
	if len(keys) > haMaxMembers {
		wrong = append(wrong, fmt.Sprintf("it has %d components, and those beyond %d are left out", len(keys), haMaxMembers))
		keys = keys[:haMaxMembers]
	}
	var all []*haEntity
	for _, key := range keys {
		options, ok := components[key].(map[string]any)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("component %.40q is no object", key))
			continue
		}
		options = haExpand(options, haLong())
		platform := haText(options["platform"])
		if platform == "" {
			wrong = append(wrong, fmt.Sprintf("component %.40q has no platform", key))
			continue
		}
		if len(options) == 1 {
			continue // this one is gone
		}
		for _, shared := range haShared {
			v, ok := message[shared]
			if _, own := options[shared]; ok && !own && !haOwnAvailability(shared, options) {
				options[shared] = v
			}
		}
		if base, ok := options["~"].(string); ok {
			haBase(options, base)
		} else if base, ok := message["~"].(string); ok {
			haBase(options, base)
			options["~"] = base
		}
		e, err := haEntityOf(place, platform, key, options, message)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("component %.40q: %v", key, err))
		}
		if e != nil {
			all = append(all, e)
		}
	}
	return all, haWrong(wrong)
}

// haShared are the options of a device's message that count for all its components.
var haShared = []string{
	"availability", "availability_mode", "availability_template", "availability_topic", "payload_available", "payload_not_available",
	"state_topic", "command_topic", "qos", "encoding",
}

// haOwnAvailability says that a component has another form of availability than the shared
// one, which it may not have besides.
func haOwnAvailability(shared string, options map[string]any) bool {
	switch shared {
	case "availability":
		return options["availability_topic"] != nil
	case "availability_topic":
		return options["availability"] != nil
	}
	return false
}

func haWrong(wrong []string) error {
	const most = 3
	switch {
	case len(wrong) == 0:
		return nil
	case len(wrong) > most:
		wrong = append(slices.Clone(wrong[:most]), fmt.Sprintf("and %d more", len(wrong)-most))
	}
	return errors.New(strings.Join(wrong, "; "))
}

// haEntityOf reads the options of one component. The device is told of in message. nil is
// a component that is of no use here.
func haEntityOf(place haPlace, component, key string, options, message map[string]any) (*haEntity, error) {
	describe, ok := haComponents[component]
	if !ok {
		return nil, fmt.Errorf("there is no component %.40q", component)
	}
	if describe == nil {
		return nil, nil
	}
	c := &haComponent{options: options, under: place.under, component: component}
	c.device, c.label = haDeviceOf(c, message, component, place, haText(options["unique_id"]))
	c.esphome = haIsESPHome(message)
	describe(c)
	if len(c.properties) == 0 {
		return nil, haWrong(append(c.wrong, "it names no topic that "+component+" needs"))
	}
	e := &haEntity{key: key, component: component, device: c.device}
	e.available = c.availability()
	for _, r := range e.available.Reports {
		e.ways += r.Topic + " "
	}
	e.ways += string(e.available.Mode) + haText(options["payload_available"]) + haText(options["availability_template"])
	switch { // within its device: ESPHome's are not as unique as they should be
	case component == "device_automation":
		e.unique = strings.Join([]string{component, c.device.id, c.text("type"), c.text("subtype"), c.text("topic"), c.text("payload")}, "\x00")
	case options["unique_id"] == nil:
		e.unique = strings.Join([]string{component, place.node, place.object, key}, "\x00")
	default:
		e.unique = strings.Join([]string{component, c.device.id, haText(options["unique_id"])}, "\x00")
	}
	c.finish(e, place, message)
	return e, haWrong(c.wrong)
}

// haDeviceOf reads the block "device". label is the component's own name; "" if it has none.
func haDeviceOf(c *haComponent, message map[string]any, component string, place haPlace, unique string) (d haDevice, label string) {
	label, _ = message["name"].(string)
	if own, ok := c.options["name"].(string); ok {
		label = own
	}
	block, ok := message["device"].(map[string]any)
	if ok {
		block = haExpand(block, haLongDevice())
		d = haDevice{
			name: haText(block["name"]), room: haText(block["suggested_area"]), maker: haText(block["manufacturer"]),
			model: haText(block["model"]), version: haText(block["sw_version"]),
		}
		d.model = cmp.Or(d.model, haText(block["model_id"]))
		for _, id := range haList(block["identifiers"]) {
			if id = cutTo(id, haMaxName); id == "" {
				continue
			}
			d.id = cmp.Or(d.id, id)
			d.keys = append(d.keys, "id:"+id)
			d.identify(haIdentity(id))
		}
		pairs, _ := block["connections"].([]any)
		if len(pairs) == 2 && haText(pairs[0]) != "" { // one, not in a list
			pairs = []any{any(pairs)}
		}
		for _, pair := range pairs {
			p := haList(pair)
			if len(p) != 2 || p[1] == "" {
				c.fault("a connection of its device is no pair of a kind and an address")
				continue
			}
			address := strings.ToLower(cutTo(p[1], haMaxName))
			d.keys = append(d.keys, p[0]+":"+address)
			if d.id == "" {
				d.id = p[0] + ":" + address
			}
			if p[0] == "mac" || p[0] == "bluetooth" || p[0] == "zigbee" {
				d.identify(haAddress(address))
			}
		}
		if d.id == "" {
			c.fault("its device has neither identifiers nor connections")
		}
	} else if message["device"] != nil {
		c.fault("its device is no object")
	}
	if d.id == "" { // it is a device of its own
		d.none = true
		d.id = component + "." + place.object
		if place.node != "" {
			d.id = component + "." + place.node + "_" + place.object
		}
		if place.component == "device" {
			d.id = place.object
		} else if unique != "" {
			d.id = component + "." + cutTo(unique, haMaxName)
		}
		d.keys = []string{"id:" + d.id}
		if d.name == "" && place.component != "device" {
			d.name = cmp.Or(label, place.object)
			label = ""
		}
	} else if !slices.Contains(d.keys, "id:"+d.id) {
		d.keys = append(d.keys, "id:"+d.id)
	}
	return d, label
}

func (d *haDevice) identify(identity string) {
	if identity != "" && !slices.Contains(d.identity, identity) {
		d.identity = append(d.identity, identity)
	}
}

// haWithout is a name without the name of the device before it.
func haWithout(name, device string) string {
	if len(name) < len(device) || device == "" || !strings.EqualFold(name[:len(device)], device) {
		return name
	}
	rest := name[len(device):]
	if rest != "" && !strings.ContainsAny(rest[:1], " _-:.") {
		return name
	}
	if rest = strings.TrimLeft(rest, " _-:."); rest == "" {
		return ""
	}
	return sentence(rest)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// haIdentity finds an address in an identifier: "zigbee2mqtt_0x00158d00018255df",
// "shellyplus1pm-a8032abe54dc", "5C:CF:7F:3D:5E:26"; "" if it has none.
func haIdentity(id string) string {
	if i := strings.Index(id, "0x"); i >= 0 && len(id) >= i+18 && allHex(id[i+2:i+18]) && (len(id) == i+18 || !isHex(id[i+18])) {
		return IEEE(id[i : i+18])
	}
	if address := haAddress(id); address != "" && strings.ContainsAny(id, ":-") {
		return address
	}
	words := strings.FieldsFunc(id, func(r rune) bool { return r == '-' || r == '_' || r == ' ' || r == '/' || r == '.' || r == ':' })
	for _, w := range words {
		// Twelve digits alone are some number: an address of digits only is rare.
		if len(w) == 12 && allHex(w) && (strings.ContainsAny(w, "abcdefABCDEF") || strings.HasPrefix(id, "shelly")) {
			return MAC(w)
		}
	}
	return ""
}

// haAddress is the address of a connection.
func haAddress(address string) string {
	plain := strings.NewReplacer(":", "", "-", "").Replace(address)
	switch {
	case len(plain) == 12 && allHex(plain):
		return MAC(plain)
	case len(plain) == 16 && allHex(plain):
		return IEEE("0x" + plain)
	case len(plain) == 18 && strings.HasPrefix(plain, "0x") && allHex(plain[2:]):
		return IEEE(plain)
	}
	return ""
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func allHex(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}

func haIsESPHome(message map[string]any) bool {
	block, ok := message["device"].(map[string]any)
	if !ok {
		return false
	}
	version := cmp.Or(haText(block["sw"]), haText(block["sw_version"]))
	return strings.Contains(version, "ESPHome") || strings.Contains(version, "esphome") || strings.Contains(version, "(config hash 0x")
}

// haChange is what one message changes.
type haChange struct {
	groups map[*haGroup]bool
	ids    map[string]bool // of the devices before it
	faults []Fault         // of other topics
}

func newHAChange() *haChange {
	return &haChange{groups: make(map[*haGroup]bool), ids: make(map[string]bool)}
}

func (c *haChange) touch(g *haGroup) {
	if g == nil || c.groups[g] {
		return
	}
	c.groups[g] = true
	if g.id != "" {
		c.ids[g.id] = true
	}
}

// replace puts what a topic announces now in place of what it did.
func (h *homeassistant) replace(topic string, old, now *haTopic) Found {
	h.forgetPast(topic)
	if old == nil && now == nil {
		return Found{}
	}
	change := newHAChange()
	h.exchange(topic, old, now, change)
	return h.found(change)
}

func (h *homeassistant) exchange(topic string, old, now *haTopic, change *haChange) {
	if old != nil {
		h.bytes -= old.size
		h.remove(old.entities, change)
		delete(h.topics, topic)
	}
	if now != nil {
		h.forgetPast(topic)
		kept := now.entities[:0]
		for _, e := range now.entities {
			if h.add(e, change) {
				kept = append(kept, e)
			} else {
				now.err = errors.Join(now.err, fmt.Errorf("the device %.60s has too many components", e.device.id))
			}
		}
		if now.entities = kept; len(kept) > 0 {
			h.topics[topic] = now
			h.bytes += now.size
		}
	}
}

// move takes note that another topic will have what a topic announced.
func (h *homeassistant) move(old *haTopic, sum uint64, size int) Found {
	if old == nil {
		return Found{}
	}
	h.bytes += size - old.size
	old.sum, old.size, old.err = sum, size, nil
	change := newHAChange()
	for _, e := range old.entities {
		e.moving = true
		if len(h.unique[e.unique]) > 1 {
			for _, twin := range h.unique[e.unique] {
				change.touch(twin.group)
			}
		}
	}
	return h.found(change)
}

// add puts an entity to the device that it belongs to, unless that has too many.
func (h *homeassistant) add(e *haEntity, change *haChange) bool {
	members := 0
	seen := make(map[*haGroup]bool, 1)
	for _, key := range e.device.keys {
		if g := h.groups[key]; g != nil && !seen[g] {
			seen[g] = true
			members += len(g.members)
		}
	}
	if members >= haMaxMembers {
		return false
	}
	h.enter(e, nil, change)
	h.seq++
	e.seq = h.seq
	h.entities++
	for _, twin := range h.unique[e.unique] {
		change.touch(twin.group)
	}
	h.unique[e.unique] = append(h.unique[e.unique], e)
	return true
}

// remove takes entities away. What they held together falls apart.
func (h *homeassistant) remove(gone []*haEntity, change *haChange) {
	groups := make(map[*haGroup]bool)
	left := make(map[*haEntity]bool, len(gone))
	for _, e := range gone {
		left[e] = true
		groups[e.group] = true
		h.entities--
		twins := h.unique[e.unique]
		for _, twin := range twins {
			change.touch(twin.group)
		}
		if twins = slices.DeleteFunc(twins, func(t *haEntity) bool { return t == e }); len(twins) == 0 {
			delete(h.unique, e.unique)
		} else {
			h.unique[e.unique] = twins
		}
	}
	for g := range groups {
		change.touch(g)
		members := g.members
		g.members = nil
		for _, m := range members {
			for _, key := range m.device.keys {
				delete(h.groups, key)
			}
		}
		for _, m := range members {
			if !left[m] {
				h.enter(m, g, change)
			}
		}
	}
}

// enter puts an entity into the group that has a key of it, and makes one of several. If none
// has, it goes into empty, if that is so, or a new one.
func (h *homeassistant) enter(e *haEntity, empty *haGroup, change *haChange) {
	var g *haGroup
	for _, key := range e.device.keys {
		other := h.groups[key]
		switch {
		case other == nil || other == g:
		case g == nil:
			g = other
		default:
			if len(other.members) > len(g.members) {
				g, other = other, g
			}
			change.touch(other)
			for _, member := range other.members {
				h.join(member, g)
			}
			other.members = nil
		}
	}
	if g == nil {
		if g = empty; g == nil || len(g.members) > 0 {
			g = &haGroup{}
		}
	}
	change.touch(g)
	h.join(e, g)
}

func (h *homeassistant) join(e *haEntity, g *haGroup) {
	e.group = g
	g.members = append(g.members, e)
	for _, key := range e.device.keys {
		h.groups[key] = g
	}
}

// best is the one of several announcements of a component that counts: the newest of
// those that do not move.
func (h *homeassistant) best(unique string) *haEntity {
	var best *haEntity
	for _, e := range h.unique[unique] {
		if best == nil || best.moving && !e.moving || best.moving == e.moving && e.seq > best.seq {
			best = e
		}
	}
	return best
}

func (h *homeassistant) found(change *haChange) Found {
	f := Found{Faults: change.faults}
	now := make(map[string]bool)
	for g := range change.groups {
		d, ok := h.deviceOf(g)
		if g.id = d.ID; ok {
			now[d.ID] = true
			f.Devices = append(f.Devices, d)
		}
	}
	slices.SortFunc(f.Devices, func(a, b Device) int { return cmp.Compare(a.ID, b.ID) })
	for _, id := range slices.Sorted(maps.Keys(change.ids)) {
		if !now[id] {
			f.Gone = append(f.Gone, id)
		}
	}
	return f
}

// deviceOf puts a device together. It is the same whatever the order was in which its parts came.
func (h *homeassistant) deviceOf(g *haGroup) (Device, bool) {
	var parts []*haEntity
	for _, e := range g.members {
		if h.best(e.unique) == e {
			parts = append(parts, e)
		}
	}
	if len(parts) == 0 {
		return Device{}, false
	}
	slices.SortFunc(parts, func(a, b *haEntity) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.key, b.key))
	})
	d := Device{Via: "homeassistant"}
	for _, e := range parts {
		if n := len(d.told); n > 0 && d.told[n-1].topic == e.topic {
			continue // and all of one topic have the same keys
		}
		d.told = append(d.told, e.by)
		for _, key := range e.device.keys[:min(len(e.device.keys), haMaxKeys)] {
			if len(d.keys) < haMaxKeys && !slices.Contains(d.keys, key) {
				d.keys = append(d.keys, key)
			}
		}
	}
	var newest struct{ name, room, maker, model, version int }
	take := func(into *string, at *int, value string, seq int) {
		if value != "" && seq > *at {
			*into, *at = value, seq
		}
	}
	id := parts[0].device.id
	ways := make(map[string]int)
	for _, e := range parts {
		id = min(id, e.device.id)
		take(&d.Name, &newest.name, e.device.name, e.seq)
		take(&d.Room, &newest.room, e.device.room, e.seq)
		take(&d.Maker, &newest.maker, e.device.maker, e.seq)
		take(&d.Model, &newest.model, e.device.model, e.seq)
		take(&d.Version, &newest.version, e.device.version, e.seq)
		for _, identity := range e.device.identity {
			if !slices.Contains(d.Identity, identity) {
				d.Identity = append(d.Identity, identity)
			}
		}
		ways[e.ways]++
	}
	d.ID = "homeassistant/" + id
	d.Name = cmp.Or(d.Name, id)
	slices.Sort(d.Identity)

	// Each component has its own, and nearly always all have the same.
	most, way := 0, ""
	for _, e := range parts {
		if n := ways[e.ways]; n > most && len(e.available.Reports) > 0 {
			most, way, d.Available = n, e.ways, e.available
		}
	}

	for _, e := range parts {
		if e.of != d.Name || e.base == "" {
			e.of = d.Name
			e.label = haWithout(e.naming.label, d.Name)
			e.base, e.alt = e.naming.names(e.label, d.Name)
		}
	}
	slices.SortStableFunc(parts, func(a, b *haEntity) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), -compareBool(a.label == "", b.label == "")) // what bears the device's name comes first
	})
	names := make(map[string]int) // of properties, their place
	for _, e := range parts {
		if e.component == "device_automation" {
			haTrigger(&d, names, e)
			continue
		}
		base := e.base
		for n := 1; haTakes(names, base, e); n++ {
			switch {
			case n == 1 && !strings.HasSuffix(base, e.component):
				base = e.base + "_" + e.component
			case n == 2 && e.alt != "":
				base = e.alt
			default:
				base = fmt.Sprint(e.base, "_", n)
			}
		}
		for _, p := range e.properties {
			if e.ways != "" && len(e.available.Reports) > 0 && e.ways != way {
				p.Available = &e.available
			}
			switch part := strings.TrimPrefix(p.Name, "="); {
			case p.Of == "" && part == "":
				p.Label = e.label
			case e.label == "" || strings.EqualFold(e.label, part):
				p.Label = sentence(part)
			default:
				p.Label = e.label + " " + strings.ToLower(sentence(part))
			}
			if p.Of == "." {
				p.Of = base
			}
			p.Name, p.by = haPart(base, p.Name), e.by
			own := p.Name
			for n := 2; ; n++ { // two parts of one may be read from one key
				if _, taken := names[p.Name]; !taken {
					break
				}
				p.Name = fmt.Sprint(own, "_", n)
			}
			names[p.Name] = len(d.Properties)
			d.Properties = append(d.Properties, p)
		}
	}
	return d, true
}

// haTakes says that a name for an entity's properties is taken.
func haTakes(names map[string]int, base string, e *haEntity) bool {
	return slices.ContainsFunc(e.properties, func(p Property) bool {
		_, taken := names[haPart(base, p.Name)]
		return taken
	})
}

// haPart is the name of a part of a property: "brightness" of "state", "ceiling_brightness"
// of "ceiling", "brightness_l1" of "state_l1".
func haPart(base, part string) string {
	switch end, endpoint := strings.CutPrefix(base, "state_"); {
	case part == "":
		return base
	case part[0] == '=':
		return part[1:]
	case base == "state" || base == "mode" || base == "system_mode" || base == "fan_state":
		return part
	case endpoint:
		return part + "_" + end
	}
	return base + "_" + part
}

// haTrigger adds one thing that may happen to the event it is one of.
func haTrigger(d *Device, names map[string]int, e *haEntity) {
	name, p := e.naming.object, e.properties[0]
	p.Label = sentence(name)
	if at, taken := names[name]; taken {
		if event := &d.Properties[at]; event.Kind == Event {
			if !slices.Contains(event.Options, p.Options[0]) {
				event.Options = append(slices.Clip(event.Options), p.Options[0])
			}
			event.Reports = append(slices.Clip(event.Reports), p.Reports...)
			event.Raw = cmp.Or(event.Raw, p.Raw)
			return
		}
		name += "_event"
		if _, taken := names[name]; taken {
			return
		}
	}
	p.Name, p.by = name, e.by
	names[name] = len(d.Properties)
	d.Properties = append(d.Properties, p)
}

// availability reads where a component's availability is told.
func (c *haComponent) availability() Availability {
	a := Availability{Mode: Latest}
	switch mode := Mode(c.text("availability_mode")); mode {
	case All, Any, Latest:
		a.Mode = mode
	case "":
	default:
		c.fault(fmt.Sprintf("availability_mode is %.40q: want all, any or latest", string(mode)))
	}
	if list, ok := c.options["availability"]; ok {
		entries, isList := list.([]any)
		if !isList {
			entries = []any{list}
		}
		for i, entry := range entries {
			if i == 20 {
				c.fault("it has more than 20 topics of availability")
				break
			}
			options, ok := entry.(map[string]any)
			if !ok {
				c.fault("an entry of availability is no object")
				continue
			}
			one := &haComponent{options: haExpand(options, haLong()), under: c.under}
			if base, ok := c.options["~"].(string); ok {
				haBase(one.options, base)
			}
			one.there(&a, "topic", "value_template")
			c.wrong = append(c.wrong, one.wrong...)
		}
		return a
	}
	c.there(&a, "availability_topic", "availability_template")
	return a
}

func (c *haComponent) there(a *Availability, topicKey, templateKey string) {
	from := c.hear(topicKey, templateKey)
	if from.topic == "" {
		return
	}
	if from.raw != "" { // nobody could tell what the payload means
		c.fault(from.raw)
		return
	}
	yes, hasYes := c.option("payload_available", "online")
	no, hasNo := c.option("payload_not_available", "offline")
	a.Reports = append(a.Reports, Report{from.topic, haThere(from, yes, no, !hasYes && !hasNo)})
}

// haThere reads an availability. Where bridges changed from "online" to
// {"state":"online"}, or back, they announce the one and some send the other.
func haThere(from haSource, yes, no string, loose bool) Reader {
	strict := haEither(from.read, yes, no, false)
	if !loose {
		return strict
	}
	plain, state := online(whole), online(at("state"))
	return func(p *Payload) (any, bool, error) {
		v, ok, err := strict(p)
		if ok {
			return v, true, nil
		}
		if there, ok, otherErr := plain(p); ok && otherErr == nil {
			return there, true, nil
		}
		if err != nil && bytes.HasPrefix(bytes.TrimSpace(p.Payload), []byte("{")) {
			if there, ok, otherErr := state(p); ok && otherErr == nil {
				return there, true, nil
			}
		}
		return nil, false, err
	}
}

func cutTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

func seconds(f float64) time.Duration {
	if !(f > 0 && f < 1e9) {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}
