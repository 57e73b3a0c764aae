package hub

import (
	"slices"
	"strings"
	"time"

	"hearth/bridge"
	"hearth/broker"
	"hearth/config"
	"hearth/control"
)

// Broker is the [broker] table: the hub's own broker, or with Connect another one,
// which people have already. Then the own one has no listeners: it stays as what
// keeps the hub's queue and sessions, and one bridge takes all to the other and back.
type Broker struct {
	broker.Config
	Connect *bridge.Connect `toml:"connect" eg:"\"mqtt://mosquitto.lan:1883\""`
}

// ofClients are keys of [broker] that are about clients (users and roles are of the page,
// too), and ofTheirLimits those of
// [broker.limits]: where those come to another broker it is that one's business.
var (
	ofClients     = []string{"listen", "origins", "tls", "anonymous"}
	ofTheirLimits = []string{"connect_timeout", "connect_packet", "subscriptions", "aliases", "receive_maximum", "send_maximum", "all_subscriptions",
		"keepalive", "stalled", "sessions", "connections", "address_connections", "address_connects", "messages", "address_messages", "burst"}
)

// Check says what makes no sense together with Connect.
func (b Broker) Check(at config.Place) {
	if b.Connect == nil {
		return
	}
	for _, key := range ofClients {
		if where := at.Key(key); where.Given() {
			where.OfKey().Mistake("the hub is a client of another broker, by broker.connect, so nobody comes to it: say this there, and leave it out here")
		}
	}
	for _, key := range ofTheirLimits {
		if where := at.Key("limits").Key(key); where.Given() {
			where.OfKey().Mistake("the hub is a client of another broker, by broker.connect, so nobody comes to it; what counts here is packet, topic, levels, queue, queue_bytes, all_queue_bytes, session_expiry, retained and retained_bytes")
		}
	}
}

// ownBroker is how the hub's own broker is to be.
func (c *Config) ownBroker() broker.Config {
	own := c.Broker.Config
	own.Closed = c.Broker.Connect != nil
	return own
}

// links are the bridges, that to the house's broker included.
func (c *Config) links() bridge.Config {
	if c.Broker.Connect == nil {
		return c.Bridges
	}
	return bridge.Config{Bridge: append(slices.Clone(c.Bridge), c.Broker.Connect.Bridge())}
}

// passes says what is exchanged with the house's broker. What the hub says of itself it
// alone says, so of hearth/ only commands come in; and how the link is doing is
// nobody's business at its other end.
func passes(topic string, out bool) bool {
	if out {
		return !strings.HasPrefix(topic, "hearth/bridge/")
	}
	return !strings.HasPrefix(topic, "hearth/") || isControl(topic)
}

// How the hub is linked to the house's broker.
const (
	itsOwn int32 = iota
	unlinked
	linked
)

// noteLink is told by the bridge to the house's broker whether it has a link.
func (h *Hub) noteLink(online, gone bool) {
	is := unlinked
	switch {
	case gone:
		is = itsOwn
	case online:
		is = linked
	}
	if h.link.Swap(is) == is {
		return
	}
	h.inbox.always(&item{control: h.tellAll})
}

// heard reports whether somebody hears a topic. Who subscribes at another broker
// the hub does not know: there it is whether there is a link.
func (h *Hub) heard(topic string) bool {
	if is := h.link.Load(); is != itsOwn {
		return is == linked
	}
	return h.broker.Heard(topic)
}

// Elsewhere is how the link to the house's broker is doing, if that is another one.
func (h *Hub) Elsewhere() (s bridge.Status, ok bool) {
	if h.link.Load() == itsOwn {
		return s, false
	}
	for _, s := range h.bridges.Status() {
		if s.Name == bridge.ConnectName {
			return s, true
		}
	}
	return s, false
}

// Broker is the same for an administrator.
func (d desk) Broker() control.Broker {
	s, ok := d.Elsewhere()
	if !ok {
		return control.Broker{}
	}
	b := control.Broker{Address: s.Address, Connected: s.Connected, Since: s.Since, Why: s.Why, In: s.In, Out: s.Out, Dropped: s.Dropped, Refused: s.Refused}
	for _, c := range d.broker.Clients() {
		if c.ID == bridge.LocalID(bridge.ConnectName) {
			b.Queued, b.QueuedBytes = c.Queued+c.Unacked, c.QueuedBytes
			b.Dropped += c.Dropped
		}
	}
	return b
}

// linkTrouble is what people are told of a link that is down; "" if none is.
func (h *Hub) linkTrouble() string {
	s, ok := h.Elsewhere()
	if !ok || s.Connected {
		return ""
	}
	return "no link to the broker " + s.Address + " since " + s.Since.In(h.cfg.zone()).Format(time.DateTime) + ": " + s.Why
}
