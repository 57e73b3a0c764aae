package catalog

import (
	"maps"
	"slices"
)

// A device says itself on which topics it wants to be told something, and the hub may
// publish to all. So one that a guest's client announces could have the hub open the
// garage when somebody switches "the lamp". A topic for commands counts only if whoever
// announced it may publish there.

// A verdict is on one topic to which a device wants its commands.
type verdict struct {
	by string // the topic of the announcement that named it first
	ok bool
}

// judge decides on the topics of a device. Each is judged by the announcement that names it
// first, and by later ones on the same topic: somebody else's announcement, which may well be
// trusted, does not vouch for it. Who announced what is found at the start is not known any
// more; of that what was refused before stays refused, until it is announced anew.
func (c *Catalog) judge(d *Device, by string, may func(topic string) bool) {
	before := c.verdicts[d.ID]
	now := make(map[string]verdict)
	for _, topic := range d.commandTopics() {
		v, known := before[topic]
		switch {
		case may == nil && !known:
			v = verdict{by: by, ok: true}
		case may == nil && v.by == "":
			v.by = by
		case may == nil:
		case !known || v.by == by || v.by == "":
			v = verdict{by: by, ok: may(topic)}
		}
		now[topic] = v
	}
	c.verdicts[d.ID] = now
	if slices.ContainsFunc(slices.Collect(maps.Values(now)), func(v verdict) bool { return !v.ok }) {
		c.suspects[d.ID] = true
	} else {
		delete(c.suspects, d.ID)
	}
}

// again judges what was refused of an announcement that comes once more, and may say
// nothing new: the right to it may be new. It reports whether it is.
func (c *Catalog) again(by string, may func(topic string) bool) (changed bool) {
	if may == nil {
		return false
	}
	for id := range c.suspects {
		for topic, v := range c.verdicts[id] {
			if !v.ok && v.by == by && may(topic) {
				c.verdicts[id][topic] = verdict{by: by, ok: true}
				c.touch(id)
				changed = true
			}
		}
	}
	return changed
}

// trusted is a device without the commands that were refused.
func (c *Catalog) trusted(d Device) Device {
	if !c.suspects[d.ID] {
		return d
	}
	refused := func(topic string) bool { v, known := c.verdicts[d.ID][topic]; return known && !v.ok }
	d.Properties = slices.Clone(d.Properties)
	for i := range d.Properties {
		p := &d.Properties[i]
		if p.Set != nil && (refused(p.Set.Topic) || p.Set.On != nil && refused(p.Set.On.Topic)) {
			p.Set = nil
		}
		if p.Get != nil && refused(p.Get.Topic) {
			p.Get = nil
		}
	}
	d.Denied = nil
	for topic, v := range c.verdicts[d.ID] {
		if !v.ok {
			d.Denied = append(d.Denied, topic)
		}
	}
	slices.Sort(d.Denied)
	return d
}

// commandTopics are those on which the device wants to be told or asked something.
func (d *Device) commandTopics() (all []string) {
	for _, p := range d.Properties {
		if p.Set != nil {
			all = append(all, p.Set.Topic)
			if p.Set.On != nil {
				all = append(all, p.Set.On.Topic)
			}
		}
		if p.Get != nil {
			all = append(all, p.Get.Topic)
		}
	}
	return all
}

// refuse notes what was refused before the hub started.
func (c *Catalog) refuse(id string, topics []string) {
	for _, topic := range topics {
		if c.verdicts[id] == nil {
			c.verdicts[id] = make(map[string]verdict)
		}
		c.verdicts[id][topic] = verdict{}
		c.suspects[id] = true
	}
}
