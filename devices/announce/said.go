package announce

import (
	"maps"
	"slices"
)

// Said is what Home Assistant has been told of a house, as it has to be kept over restarts:
// what is no more can be taken back only by who knows that it was. The zero value is of a
// house of which nothing was said.
type Said struct {
	Topic string            `json:"topic,omitempty"`
	Has   map[string]string `json:"has,omitempty"`  // components: platforms by keys
	Gone  map[string]string `json:"gone,omitempty"` // those that are taken away in the message that is retained now

	Apart map[string]Said `json:"apart,omitempty"` // the same of what is a device of its own, by its id
}

// A Message is one to be published, retained. An empty payload takes the one before away.
type Message struct {
	Topic   string
	Payload []byte
}

// Say is what to publish, in this order, so that Home Assistant knows the house as it is, and
// what has been said then. Where announcing is off all is taken back.
//
// What loses a part to another device says so first, and without what is new to it: that may
// still be elsewhere, as when two devices swap. Only then is all said whole, the house before
// what is reached via it.
//
// What is gone stays in the message until [Said.Heard], and not for one message only: Home
// Assistant may be away when something is removed, and it may go on for weeks without a
// restart of its own.
func (s Said) Say(c Config, h House) (Said, []Message) {
	devices := s.devices(h)
	at := make(map[string]string) // ids of devices, by the keys of the parts that they have now
	for _, d := range devices {
		for key := range d.components() {
			at[key] = d.id
		}
	}
	var now Said
	var first, whole []Message
	apart := make(map[string]Said)
	for _, d := range devices {
		said := s.Apart[d.id]
		if d.id == h.ID {
			said = s
		}
		if said.Topic != "" && (!c.On() || said.Topic != c.Topic(d.id)) {
			first = append(first, Message{Topic: said.Topic})
			said = Said{} // which takes what was gone too
		}
		if !c.On() {
			continue
		}
		loses, rest := false, d
		for key := range said.Has {
			loses = loses || at[key] != "" && at[key] != d.id
		}
		var messages []Message
		if loses {
			isNew := func(p Part) bool { return said.Has[p.key()] == "" }
			rest.parts = slices.DeleteFunc(slices.Clone(d.parts), isNew)
			said, messages = said.say(c, h, rest)
			first = append(first, messages...)
		}
		if !loses || len(rest.parts) < len(d.parts) {
			said, messages = said.say(c, h, d)
			whole = append(whole, messages...)
		}
		switch {
		case d.id == h.ID:
			now = said
		case said.Topic != "":
			apart[d.id] = said
		}
	}
	if len(apart) > 0 {
		now.Apart = apart
	}
	return now, append(first, whole...)
}

// devices are all of the house, behind those that it had: of these nothing is left.
func (s Said) devices(h House) (all []device) {
	are := []device{h.itself()}
	for _, a := range h.Apart {
		are = append(are, h.beside(a))
	}
	for _, id := range slices.Sorted(maps.Keys(s.Apart)) {
		if !slices.ContainsFunc(are, func(d device) bool { return d.id == id }) {
			all = append(all, device{id: id})
		}
	}
	return append(all, are...)
}

// say is what to publish of one device, of which s was said on the same topic if at all.
func (s Said) say(c Config, h House, d device) (Said, []Message) {
	now := Said{Topic: c.Topic(d.id), Has: d.components(), Gone: make(map[string]string)}
	maps.Copy(now.Gone, s.Gone)
	maps.Copy(now.Gone, s.Has)
	for key := range now.Has {
		delete(now.Gone, key)
	}
	switch {
	case len(now.Has)+len(now.Gone) > 0:
		return now, []Message{{now.Topic, h.payload(d, now.Gone)}}
	case s.Topic != "": // all of it was heard to be gone
		return Said{}, []Message{{Topic: s.Topic}}
	}
	return Said{}, nil
}

// Heard is what has been said once Home Assistant has heard it: what was gone need not be
// said any more.
func (s Said) Heard() Said {
	s.Gone, s.Apart = nil, maps.Clone(s.Apart)
	for id, said := range s.Apart {
		s.Apart[id] = said.Heard()
	}
	return s
}

// Topics are those on which something is said.
func (s Said) Topics() (all []string) {
	if s.Topic != "" {
		all = append(all, s.Topic)
	}
	for _, said := range s.Apart {
		all = append(all, said.Topic)
	}
	return all
}
