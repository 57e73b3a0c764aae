package announce

import "maps"

// Said is what Home Assistant has been told of a house, as it has to be kept over restarts:
// what is no more can be taken back only by who knows that it was. The zero value is of a
// house of which nothing was said.
type Said struct {
	Topic string            `json:"topic,omitempty"`
	Has   map[string]string `json:"has,omitempty"`  // components: platforms by keys
	Gone  map[string]string `json:"gone,omitempty"` // those that are taken away in the message that is retained now
}

// A Message is one to be published, retained. An empty payload takes the one before away.
type Message struct {
	Topic   string
	Payload []byte
}

// Say is what to publish so that Home Assistant knows the house as it is, and what has been
// said then. Where announcing is off all is taken back.
//
// What is gone stays in the message until [Said.Heard], and not for one message only: Home
// Assistant may be away when something is removed, and it may go on for weeks without a
// restart of its own.
func (s Said) Say(c Config, h House) (Said, []Message) {
	var all []Message
	now := Said{Topic: c.Topic(h.ID)}
	if s.Topic != "" && (!c.On() || s.Topic != now.Topic) {
		all = append(all, Message{Topic: s.Topic})
		s = Said{} // which takes what was gone too
	}
	if !c.On() {
		return Said{}, all
	}
	now.Has = h.components()
	now.Gone = make(map[string]string)
	maps.Copy(now.Gone, s.Gone)
	maps.Copy(now.Gone, s.Has)
	for key := range now.Has {
		delete(now.Gone, key)
	}
	return now, append(all, Message{now.Topic, h.payload(now.Gone)})
}

// Heard is what has been said once Home Assistant has heard it: what was gone need not be
// said any more.
func (s Said) Heard() Said {
	s.Gone = nil
	return s
}
