// Package catalog knows the devices of a house from what they say of themselves.
//
// Zigbee2MQTT, Tasmota, Shelly, ESPHome and Homie devices, and all that speak Home
// Assistant's discovery, announce over MQTT what they are, each in a way of its own.
// The package turns that into one form: a [Device] with its [Property]s, where each
// is reported and how it is told something. Each way is a convention, in a file of
// its own, with its source.
//
// A [Catalog] takes announcements and holds the devices. An [Index], made of it, takes
// what devices report and gives values; it never changes, so any goroutine may use it.
// Nothing here starts a goroutine, reads a clock or opens a file, and no message makes
// it fail: what makes no sense is counted by its topic, and costs only itself.
package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"hearth/devices"
)

// Limits of what strangers may make the hub remember.
const (
	MaxDevices    = 2000    // of all conventions together
	MaxProperties = 200     // of one device
	MaxAll        = 20_000  // properties of all devices: each costs some 3 kB
	MaxPayload    = 1 << 20 // bytes of an announcement: a bridge lists all its devices in one

	maxID      = 1000     // bytes
	maxText    = 300      // of a name, or of what is wrong
	maxOptions = 16 << 10 // of the options of one property together; more are as good as none
)

// A convention turns announcements into devices. It remembers what it needs of them.
type convention interface {
	// filters are the MQTT filters of the topics on which devices announce themselves.
	filters() []string

	// take is given each message of those topics, most of which may say nothing new. The
	// error says what is wrong with it; what could be used of it is used all the same.
	take(m *Payload) (Found, error)
}

// A way is a convention with its filters.
type way struct {
	convention
	topics []string
}

// Found is what comes of an announcement.
type Found struct {
	Devices []Device  // as they are now, whole
	Gone    []string  // ids of those that exist no more
	Ask     []Message // to be published, so that a device says more
	Faults  []Fault   // of other topics, whose announcements do not count any more

	// Rest takes the next part of an announcement that is long; nil: all of it was taken.
	Rest func() (Found, error)
}

// A remainder is what is left of an announcement.
type remainder struct {
	devices.Message
	take  func() (Found, error)
	wrong bool // what was taken of it
}

// A Catalog holds the devices that have announced themselves. One goroutine owns it.
type Catalog struct {
	ways   []way
	known  map[string]Device
	faults faults

	properties int // of all in known

	verdicts map[string]map[want]verdict // by id: where a device wants its commands
	suspects map[string]bool             // ids of those with a topic that was refused
	judged   map[string]map[string]bool  // ids of those with verdicts on an announcement, by its topic
	past     map[string]tellers          // by id: who told of a device before the hub started, until it is announced
	wrong    bool                        // the last message, or part of one, was not taken whole

	touched map[string]bool // ids that a message told of since the owner last cleared it
	last    []string        // ids that the last message, or part of one, told of
	gone    []string        // ids that one took away since the owner last cleared it
	rest    []remainder     // one of a topic
}

// New gives an empty catalog that knows all conventions.
func New() *Catalog {
	c := &Catalog{
		known: make(map[string]Device), touched: make(map[string]bool),
		verdicts: make(map[string]map[want]verdict), suspects: make(map[string]bool), judged: make(map[string]map[string]bool),
		past: make(map[string]tellers),
	}
	for _, w := range conventions() {
		c.ways = append(c.ways, way{w, w.filters()})
	}
	return c
}

// Filters are those of all topics that Take is for.
func (c *Catalog) Filters() []string {
	var all []string
	for _, w := range c.ways {
		all = append(all, w.topics...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Take learns from a message. changed says whether there is another or a new device, or
// one is gone; ask is what to publish. Of a long message it takes the first part, and
// Rest the others.
func (c *Catalog) Take(m devices.Message) (changed bool, ask []Message) {
	p := &Payload{Message: m}
	c.last = nil
	c.rest = slices.DeleteFunc(c.rest, func(r remainder) bool { return r.Topic == m.Topic }) // what is newer tells all
	c.wrong = false
	if len(m.Payload) > MaxPayload {
		c.faults.add(m.Topic, "it has more than a MiB")
		return false, nil
	}
	for _, w := range c.ways {
		if !slices.ContainsFunc(w.topics, func(f string) bool { return devices.MatchTopic(f, m.Topic) }) {
			continue
		}
		found, err := w.take(p)
		if err != nil {
			c.refusePart(m.Topic, err.Error())
		}
		for _, a := range found.Ask {
			if m.May == nil || m.May(a.Topic) {
				ask = append(ask, a)
			}
		}
		changed = c.found(found, &m) || changed
		if found.Rest != nil {
			c.rest = append(c.rest, remainder{m, found.Rest, c.wrong})
		}
	}
	if !c.wrong && !c.Waits(m.Topic) {
		c.faults.mend(m.Topic)
	}
	return c.again(announcer{m.Topic, m.May}) || changed, ask
}

// Waits says whether Rest has something to do with a topic, or with any if that is "".
func (c *Catalog) Waits(topic string) bool {
	return slices.ContainsFunc(c.rest, func(r remainder) bool { return topic == "" || r.Topic == topic })
}

// Rest takes another part of a long message, and gives its topic. changed is that of Take.
func (c *Catalog) Rest() (topic string, changed bool) {
	if len(c.rest) == 0 {
		return "", false
	}
	r := c.rest[0]
	c.rest = c.rest[1:]
	c.last = nil
	found, err := r.take()
	c.wrong = r.wrong
	if err != nil {
		c.refusePart(r.Topic, err.Error())
	}
	changed = c.found(found, &r.Message)
	switch {
	case found.Rest != nil:
		c.rest = append(c.rest, remainder{r.Message, found.Rest, c.wrong})
	case !c.wrong:
		c.faults.mend(r.Topic)
	}
	return r.Topic, changed
}

// found takes up what an announcement, or a part of it, tells.
func (c *Catalog) found(found Found, by *devices.Message) (changed bool) {
	for _, d := range found.Devices {
		changed = c.put(d, by) || changed
	}
	for _, f := range found.Faults {
		c.faults.add(f.Topic, f.Why)
	}
	for _, id := range found.Gone {
		if d, ok := c.known[id]; ok && (len(d.keys) > 0 || c.mayTell(d.told, by)) {
			c.properties -= len(d.Properties)
			delete(c.known, id)
			c.setVerdicts(id, nil)
			c.touch(id)
			c.gone = append(c.gone, id)
			changed = true
		}
	}
	return changed
}

func (c *Catalog) put(d Device, by *devices.Message) bool {
	topic := by.Topic
	before, ok := c.known[d.ID]
	if !ok {
		before.told = c.past[d.ID].announcers()
	}
	switch { // a convention with keys has looked at that itself
	case len(d.keys) > 0:
	case !c.mayTell(before.told, by):
		return false
	default:
		d.told = tell(before.told, announcer{topic, by.May})
	}
	if !ok && len(c.known) >= MaxDevices {
		c.refusePart(topic, "there are too many devices already")
		return false
	}
	if len(d.ID) > maxID {
		c.refusePart(topic, "the device's id is too long")
		return false
	}
	if len(d.Properties) > MaxProperties {
		c.refusePart(topic, "the device "+d.ID+" has too many properties, and the last are left out")
		d.Properties = d.Properties[:MaxProperties]
	}
	d.bound()
	all := c.properties + len(d.Properties) - len(c.known[d.ID].Properties)
	if all > MaxAll {
		c.refusePart(topic, fmt.Sprintf("all devices together would have more than %d properties", MaxAll))
		return false
	}
	c.properties = all
	c.judge(&d, announcer{by.Topic, by.May})
	c.known[d.ID] = d
	delete(c.past, d.ID)
	c.touch(d.ID)
	return true
}

// refusePart notes that the message, or part of one, that is being taken was not taken whole.
func (c *Catalog) refusePart(topic, why string) {
	c.faults.add(topic, why)
	c.wrong = true
}

// maxTold is how many topics are remembered of those that told of a device.
const maxTold = 8

// mayTell says whether a message may tell of a device of which others told, and counts it
// as wrong if not: its publisher has to have the right to publish what they did.
func (c *Catalog) mayTell(told []*announcer, by *devices.Message) bool {
	for _, a := range told {
		if a.topic != by.Topic && by.May != nil && !by.May(a.topic) {
			c.refusePart(by.Topic, haRefused(a.topic).Error())
			return false
		}
	}
	return true
}

// tell adds one to those that told of a device.
func tell(told []*announcer, by announcer) []*announcer {
	told = slices.DeleteFunc(slices.Clone(told), func(a *announcer) bool { return a.topic == by.topic || !a.mayTo(by.topic) })
	if len(told) < maxTold {
		told = append(told, &by)
	}
	return told
}

func (c *Catalog) touch(id string) {
	c.touched[id] = true
	c.last = append(c.last, id)
}

// forget takes a device out, and has its convention take its next announcement for news, if
// it can.
func (c *Catalog) forget(id string) {
	c.properties -= len(c.known[id].Properties)
	delete(c.known, id)
	delete(c.past, id)
	c.setVerdicts(id, nil)
	c.touched[id] = true
	for _, w := range c.ways {
		if w, ok := w.convention.(interface{ forgetDevice(id string) }); ok {
			w.forgetDevice(id)
		}
	}
}

// bound cuts what a stranger made too long. It is remembered, kept and shown.
func (d *Device) bound() {
	for _, text := range []*string{&d.Name, &d.Room, &d.Maker, &d.Model, &d.Version} {
		*text = clip(*text, maxText)
	}
	d.Properties = slices.DeleteFunc(slices.Clone(d.Properties), func(p Property) bool { return len(p.Name) > maxText })
	for i := range d.Properties {
		p := &d.Properties[i]
		for _, text := range []*string{&p.Label, &p.Class, &p.Unit, &p.Raw} {
			*text = clip(*text, maxText)
		}
		if size := 0; slices.ContainsFunc(p.Options, func(o string) bool { size += len(o); return size > maxOptions }) {
			p.Options = nil
		}
		if r := p.Range; r != nil && (math.IsNaN(r.Min+r.Max+r.Step) || math.IsInf(r.Min, 0) || math.IsInf(r.Max, 0) || math.IsInf(r.Step, 0)) {
			p.Range = nil // JSON has no such numbers
		}
	}
}

// clip cuts text to so many bytes, between two characters.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// Faults lists what could not be understood, by topic. others counts the messages of topics beyond
// those that are remembered.
func (c *Catalog) Faults() (all []Fault, others int) { return c.faults.all(new(faults)) }

// Devices lists all, by id. One that is seen by two conventions is there once, as the
// one that is closer to it tells of it; what only the other knows is added.
func (c *Catalog) Devices() []Device {
	all := slices.SortedFunc(maps.Values(c.known), func(a, b Device) int { return cmp.Compare(a.ID, b.ID) })
	for i := range all {
		all[i] = c.trusted(all[i])
	}
	return merged(all)
}
