package catalog

import (
	"slices"

	"hearth/devices"
)

// A device says itself on which topics it wants to be told something, and the hub may
// publish to all. So one that a guest's client announces could have the hub open the
// garage when somebody switches "the lamp". A topic for commands counts only if whoever
// announced it may publish there.

// An announcer is who announced something on a topic.
type announcer struct {
	topic string
	may   func(topic string) bool // as Message.May
}

// mayTo says whether the announcer may publish to a topic.
func (a announcer) mayTo(topic string) bool { return a.may == nil || topic == a.topic || a.may(topic) }

// A want is a topic to which a device wants its commands.
type want struct {
	by    string // the topic of the announcement that says so, if its convention tells them apart
	topic string
}

// A verdict is on one of them.
type verdict struct {
	by string // the topic of the announcement that was judged; "": it was refused before the hub started
	ok bool
}

// judge decides on the topics of a device. Each is judged by the announcement that names it,
// or names it first where the convention can't tell which did, and by later ones on the same
// topic: somebody else's announcement, which may well be trusted, does not vouch for it. Where
// nobody knows any more who announced it, what was refused before stays refused.
func (c *Catalog) judge(d *Device, by announcer) {
	before := c.verdicts[d.ID]
	now := make(map[want]verdict)
	for w, a := range d.wants() {
		if a == nil {
			a = &by
		}
		v, known := before[w]
		if old, refused := before[want{topic: w.topic}]; !known && refused && old.by == "" {
			v, known = old, true
		}
		switch {
		case a.may == nil && !known:
			v = verdict{by: a.topic, ok: true}
		case a.may == nil && v.by == "":
			v.by = a.topic
		case a.may == nil:
		case !known || v.by == a.topic || v.by == "":
			v = verdict{by: a.topic, ok: a.may(w.topic)}
		}
		now[w] = v
	}
	for w, v := range before { // what it wanted before the hub started may be announced yet
		if _, told := now[w]; v.by == "" && !told && !slices.ContainsFunc(d.commandTopics(), func(topic string) bool { return topic == w.topic }) {
			now[w] = v
		}
	}
	c.setVerdicts(d.ID, now)
}

// setVerdicts takes note of the verdicts on a device, nil: it is gone.
func (c *Catalog) setVerdicts(id string, now map[want]verdict) {
	for _, v := range c.verdicts[id] {
		if ids := c.judged[v.by]; ids != nil {
			if delete(ids, id); len(ids) == 0 {
				delete(c.judged, v.by)
			}
		}
	}
	delete(c.verdicts, id)
	delete(c.suspects, id)
	if len(now) == 0 {
		return
	}
	c.verdicts[id] = now
	for _, v := range now {
		if c.judged[v.by] == nil {
			c.judged[v.by] = make(map[string]bool)
		}
		c.judged[v.by][id] = true
		if !v.ok {
			c.suspects[id] = true
		}
	}
}

// again judges what was refused of an announcement that comes once more, and may say
// nothing new: the right to it may be new. It reports whether it is.
func (c *Catalog) again(by announcer) (changed bool) {
	return by.may != nil && c.anew(by, false)
}

// anew judges what an announcement wants once more; both ways, or only what was refused.
func (c *Catalog) anew(by announcer, both bool) (changed bool) {
	for id := range c.judged[by.topic] {
		if !both && !c.suspects[id] {
			continue
		}
		suspect := false
		for w, v := range c.verdicts[id] {
			if v.by == by.topic && (both || !v.ok) {
				if ok := by.mayTo(w.topic); ok != v.ok {
					v.ok = ok
					c.verdicts[id][w] = v
					c.touch(id)
					changed = true
				}
			}
			suspect = suspect || !v.ok
		}
		if delete(c.suspects, id); suspect {
			c.suspects[id] = true
		}
	}
	return changed
}

// trusted is a device without the commands that were refused.
func (c *Catalog) trusted(d Device) Device {
	if !c.suspects[d.ID] {
		return d
	}
	refused := func(p *Property, topic string) bool {
		v, known := c.verdicts[d.ID][p.wants(topic)]
		return known && !v.ok
	}
	d.Properties = slices.Clone(d.Properties)
	for i := range d.Properties {
		p := &d.Properties[i]
		if p.Set != nil && (refused(p, p.Set.Topic) || p.Set.On != nil && refused(p, p.Set.On.Topic)) {
			p.Set = nil
		}
		if p.Get != nil && refused(p, p.Get.Topic) {
			p.Get = nil
		}
	}
	d.Denied = nil
	for w, v := range c.verdicts[d.ID] {
		if !v.ok {
			d.Denied = append(d.Denied, w.topic)
		}
	}
	slices.Sort(d.Denied)
	d.Denied = slices.Compact(d.Denied)
	return d
}

// commandTopics are those on which the property wants to be told or asked something.
func (p *Property) commandTopics() (all []string) {
	if p.Set != nil {
		all = append(all, p.Set.Topic)
		if p.Set.On != nil {
			all = append(all, p.Set.On.Topic)
		}
	}
	if p.Get != nil {
		all = append(all, p.Get.Topic)
	}
	return all
}

// commandTopics are those of all properties.
func (d *Device) commandTopics() (all []string) {
	for i := range d.Properties {
		all = append(all, d.Properties[i].commandTopics()...)
	}
	return all
}

func (p *Property) wants(topic string) want {
	if p.by == nil {
		return want{topic: topic}
	}
	return want{p.by.topic, topic}
}

// wants are the topics to which a device wants its commands, and who said so; nil: its convention
// can't tell.
func (d *Device) wants() map[want]*announcer {
	all := make(map[want]*announcer)
	for i := range d.Properties {
		p := &d.Properties[i]
		for _, topic := range p.commandTopics() {
			all[p.wants(topic)] = p.by
		}
	}
	return all
}

// refuse notes what was refused before the hub started.
func (c *Catalog) refuse(id string, topics []string) {
	if len(topics) == 0 {
		return
	}
	now := make(map[want]verdict)
	for w, v := range c.verdicts[id] {
		now[w] = v
	}
	for _, topic := range topics {
		now[want{topic: topic}] = verdict{}
	}
	c.setVerdicts(id, now)
}

// rejudge judges what a topic announced by the rights that its announcer has now.
func (c *Catalog) rejudge(by announcer) (changed bool) {
	for _, w := range c.ways {
		if w, ok := w.convention.(interface{ rejudge(by announcer) Found }); ok {
			changed = c.found(w.rejudge(by), &devices.Message{Topic: by.topic, May: by.may}) || changed
		}
	}
	for _, d := range c.known {
		for _, a := range d.told {
			if a.topic == by.topic {
				a.may = by.may
				changed = true // it may be merged with another, or not any more
			}
		}
	}
	return c.anew(by, true) || changed
}

// tellers is who told of a device, as it is kept.
type tellers struct {
	Topics []string `json:"topics"`
	Keys   []string `json:"keys,omitempty"` // by which its convention knows the device
}

func (t tellers) announcers() (all []*announcer) {
	for _, topic := range t.Topics {
		all = append(all, &announcer{topic: topic})
	}
	return all
}

func (c *Catalog) tellers(id string) tellers {
	d := c.known[id]
	t := tellers{Keys: d.keys}
	for _, a := range d.told {
		t.Topics = append(t.Topics, a.topic)
	}
	slices.Sort(t.Topics)
	return t
}

// restore takes up who told of a device before the hub started.
func (c *Catalog) restore(id string, t tellers) {
	c.past[id] = t
	for _, w := range c.ways {
		if w, ok := w.convention.(interface{ restoreDevice(t tellers) }); ok {
			w.restoreDevice(t)
		}
	}
}

// forgetTellers is for a device of which the house knows nothing any more.
func (c *Catalog) forgetTellers(id string, t tellers) {
	delete(c.past, id)
	for _, w := range c.ways {
		if w, ok := w.convention.(interface{ forgetTellers(t tellers) }); ok {
			w.forgetTellers(t)
		}
	}
}
