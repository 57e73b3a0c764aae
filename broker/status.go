package broker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A ClientStatus is what the broker knows of one client id.
type ClientStatus struct {
	ID            string
	User          string // "" without a login
	Version       byte   // of MQTT: 3 is 3.1, 4 is 3.1.1, 5
	Connected     bool
	Address       string    // where it comes or came from
	Listener      string    // as in broker.listen
	Since         time.Time // connected or away since then
	LastSeen      time.Time // its last packet
	Subscriptions int
	Queued        int           // messages that wait to be sent to it
	QueuedBytes   int64         // of topics and payloads
	Unacked       int           // sent and not acknowledged yet
	Received      int64         // messages it published, since the hub started
	Sent          int64         // messages sent to it
	Dropped       int64         // messages not sent to it, because too many waited
	Refused       int64         // what it was not allowed to publish
	ExpiresIn     time.Duration // of a session whose client is away; 0 while it is connected
}

// Clients lists all sessions, connected or kept, sorted by client id.
func (b *Broker) Clients() []ClientStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []ClientStatus
	for id, s := range b.sessions {
		c := ClientStatus{ID: id, Connected: s.owner != nil}
		if c.Connected {
			c.Address = s.owner.RemoteAddr().String()
			if s.owner.from != nil {
				c.Listener = s.owner.from.address.String()
			}
		}
		if cl, ok := b.server.Clients.Get(id); ok {
			c.Version = cl.Properties.ProtocolVersion
			c.Subscriptions = cl.State.Subscriptions.Len()
			c.Unacked = cl.State.Inflight.Len()
			if stopped := cl.StopTime(); stopped != 0 && !c.Connected {
				c.Since = time.Unix(stopped, 0)
				c.ExpiresIn = max(0, time.Until(c.Since.Add(lifetime(cl))))
			}
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(x, y ClientStatus) int { return cmp.Compare(x.ID, y.ID) })
	return all
}

// A RetainedStatus is one retained value.
type RetainedStatus struct {
	Message
	Client string    // who published it, "" for the hub
	At     time.Time // when; zero if it was found at start
	Expiry time.Time // zero: never
}

// RetainedValues lists the retained values of topics that match filter, sorted by
// topic.
func (b *Broker) RetainedValues(filter string) []RetainedStatus {
	var all []RetainedStatus
	for _, topic := range b.retained.match(filter) {
		pk, ok := b.retained.get(topic)
		if !ok {
			continue
		}
		v := RetainedStatus{Message: Message{Topic: topic, Payload: pk.Payload, QoS: pk.FixedHeader.Qos, Retain: true}}
		if pk.Expiry != 0 {
			v.Expiry = time.Unix(pk.Expiry, 0)
		}
		all = append(all, v)
	}
	return all
}

// ClearRetained deletes the retained values of topics that match filter, and tells
// those who subscribe, as an empty retained message of a client would. It returns
// how many, when that is on disk, or an error when the disk refused.
func (b *Broker) ClearRetained(filter string) (n int, err error) {
	if !b.begin() {
		return 0, ErrClosed
	}
	defer b.wg.Done()
	for _, topic := range b.retained.match(filter) {
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true}, TopicName: topic}
		if err := b.take(b.ctx, pk, b.self.ID, nil, true); err != nil {
			return n, fmt.Errorf("clear %q: %w", topic, err)
		}
		n++
	}
	return n, nil
}
