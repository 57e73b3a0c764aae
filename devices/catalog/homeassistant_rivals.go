package catalog

import (
	"fmt"
	"slices"
)

// Who names an identifier of a device in Home Assistant's convention is a part of it: he may
// add to it, rename it, say that it is away, or make one of several. That is for those only who
// might as well have published what they join: the announcements of a device are of people who may
// publish to each other's topics.
//
// Of two that may not, the one counts that may publish to the other's topic, whichever came first:
// a broker gives what is retained in any order. If neither may, the first counts, also in the
// next life of the hub.

// haMaxKeys is how many keys of a device are kept, to know it again.
const haMaxKeys = 20

// rivals are the topics that are put out by what is announced now, or it is refused.
func (h *homeassistant) rivals(now *haTopic) (out []string, err error) {
	for _, other := range h.beside(now) {
		switch {
		case !now.by.mayTo(other.topic):
			return nil, haRefused(other.topic)
		case !other.mayTo(now.by.topic):
			out = append(out, other.topic)
		}
	}
	return out, nil
}

// beside are the others whose announcements one would be together with, each once.
func (h *homeassistant) beside(now *haTopic) (all []announcer) {
	seen := map[string]bool{now.by.topic: true}
	put := func(a announcer) {
		if !seen[a.topic] {
			seen[a.topic] = true
			all = append(all, a)
		}
	}
	groups := make(map[*haGroup]bool)
	for _, key := range now.entities[0].device.keys { // which are those of all its entities
		if g := h.groups[key]; g != nil && !groups[g] {
			groups[g] = true
			for _, m := range g.members {
				put(*m.by)
			}
		}
		if past := h.past[key]; !slices.Contains(past, now.by.topic) {
			for _, topic := range past {
				put(announcer{topic: topic})
			}
		}
	}
	for _, e := range now.entities {
		for _, twin := range h.unique[e.unique] {
			put(*twin.by)
		}
	}
	return all
}

func haRefused(by string) error {
	return fmt.Errorf("it is about what %s announces, and counts only if who announces it may publish there, too", clip(by, 100))
}

// putOut takes away what a topic announced, because of another.
func (h *homeassistant) putOut(topic, by string, change *haChange) {
	h.exchange(topic, h.topics[topic], nil, change)
	change.faults = append(change.faults, Fault{Topic: topic, Why: haRefused(by).Error()})
}

// restoreDevice is told before all announcements what a device was in the last life of the hub.
func (h *homeassistant) restoreDevice(t tellers) {
	if len(t.Keys) == 0 { // it is another convention's
		return
	}
	for _, key := range t.Keys {
		h.past[key] = t.Topics
	}
	for _, topic := range t.Topics {
		h.claims[topic] = append(h.claims[topic], t.Keys...)
	}
}

// forgetPast is for a topic that has told something since, or is empty now.
func (h *homeassistant) forgetPast(topic string) {
	for _, key := range h.claims[topic] {
		if left := slices.DeleteFunc(slices.Clone(h.past[key]), func(t string) bool { return t == topic }); len(left) == 0 {
			delete(h.past, key)
		} else {
			h.past[key] = left
		}
	}
	delete(h.claims, topic)
}

// forgetTellers is for a device that nobody knows any more.
func (h *homeassistant) forgetTellers(t tellers) {
	for _, topic := range t.Topics {
		h.forgetPast(topic)
	}
}

// rejudge is for a topic whose announcer has other rights now.
func (h *homeassistant) rejudge(by announcer) Found {
	own := h.topics[by.topic]
	if own == nil {
		return Found{}
	}
	own.by.may = by.may
	change := newHAChange()
	for _, other := range h.beside(own) {
		their := h.topics[other.topic]
		if their == nil {
			continue
		}
		mine, theirs := own.by.mayTo(other.topic), other.mayTo(by.topic)
		switch {
		case mine && theirs:
		case mine, !theirs && own.entities[0].seq < their.entities[0].seq:
			h.putOut(other.topic, by.topic, change)
		default:
			h.putOut(by.topic, other.topic, change)
			return h.found(change)
		}
	}
	return h.found(change)
}
