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
// What is gone stays in the message until [Said.Heard], and not for one message only: Home
// Assistant may be away when something is removed, and it may go on for weeks without a
// restart of its own.
func (s Said) Say(c Config, h House) (Said, []Message) {
	apart := make(map[string]Said)
	say := func(d device) []Message {
		said, messages := s.Apart[d.id].say(c, h, d)
		if said.Topic != "" {
			apart[d.id] = said
		}
		return messages
	}
	var all []Message
	are := make(map[string]bool)
	for _, a := range h.Apart {
		are[h.beside(a).id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(s.Apart)) {
		if !are[id] {
			all = append(all, say(device{id: id})...)
		}
	}
	now, messages := s.say(c, h, h.itself())
	all = append(all, messages...)
	for _, a := range h.Apart {
		all = append(all, say(h.beside(a))...)
	}
	if len(apart) > 0 {
		now.Apart = apart
	}
	return now, all
}

// say is Say for one device, of which s was said.
func (s Said) say(c Config, h House, d device) (Said, []Message) {
	var all []Message
	now := Said{Topic: c.Topic(d.id)}
	if s.Topic != "" && (!c.On() || s.Topic != now.Topic) {
		all = append(all, Message{Topic: s.Topic})
		s = Said{} // which takes what was gone too
	}
	if !c.On() {
		return Said{}, all
	}
	now.Has = d.components()
	now.Gone = make(map[string]string)
	maps.Copy(now.Gone, s.Gone)
	maps.Copy(now.Gone, s.Has)
	for key := range now.Has {
		delete(now.Gone, key)
	}
	switch {
	case len(now.Has)+len(now.Gone) > 0:
		return now, append(all, Message{now.Topic, h.payload(d, now.Gone)})
	case s.Topic != "": // all of it was heard to be gone
		all = append(all, Message{Topic: s.Topic})
	}
	return Said{}, all
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
