package broker

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A ClientStatus is what the broker knows of one client id.
type ClientStatus struct {
	ID            string
	User          string // "" without a login
	Version       byte   // of MQTT: 3 is 3.1, 4 is 3.1.1, 5
	Connected     bool
	Address       string        // where it comes or came from
	Listener      string        // as in broker.listen
	Since         time.Time     // connected or away since then
	LastSeen      time.Time     // its last packet
	KeepAlive     time.Duration // how long it may be silent, as it asked for; 0: for ever
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
	now := time.Now()
	all := make([]ClientStatus, 0, len(b.sessions))
	for _, s := range b.sessions {
		all = append(all, s.status(now))
	}
	slices.SortFunc(all, byClient)
	return all
}

// Subscriptions are the filters of a client, sorted, at most so many; with $share/GROUP/ where
// they are shared.
func (b *Broker) Subscriptions(id string, most int) (filters []string) {
	b.mu.Lock()
	if s := b.sessions[id]; s != nil {
		filters = slices.Collect(maps.Keys(s.subs))
	}
	b.mu.Unlock()
	slices.Sort(filters)
	return filters[:min(len(filters), most)]
}

// Disconnect ends the connection of a client, which may come again. False: there is none. A
// connection of the process itself is not ended.
func (b *Broker) Disconnect(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[id]
	if s == nil || s.owner == nil || s.user == itself {
		return false
	}
	s.owner.end(packets.ErrAdministrativeAction)
	return true
}

// A RetainedStatus is one retained value.
type RetainedStatus struct {
	Message
	Client string    // who published it; "" for the hub, and if it was found at start
	At     time.Time // when; zero if it was found at start
	Expiry time.Time // zero: never
}

// RetainedValues lists the retained values of topics that match filter, sorted by
// topic.
func (b *Broker) RetainedValues(filter string) []RetainedStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	var all []RetainedStatus
	b.values.Match(filter, func(topic string, v *value) bool {
		if m := v.message.Load(); m != nil && !m.expired(now) {
			all = append(all, RetainedStatus{
				Message: Message{Topic: topic, Payload: m.payload, QoS: m.qos, Retain: true, Rights: b.rightsNow(m.by)},
				Client:  m.from, At: m.at, Expiry: m.expires,
			})
		}
		return true
	})
	slices.SortFunc(all, func(a, b RetainedStatus) int { return strings.Compare(a.Topic, b.Topic) })
	return all
}

// ClearRetained deletes the retained values of topics that match filter, and tells
// those who subscribe, as an empty retained message of a client would. It returns
// how many, when that is on disk, or an error when the disk refused.
func (b *Broker) ClearRetained(ctx context.Context, filter string) (n int, err error) {
	for _, v := range b.RetainedValues(filter) {
		if err := b.Publish(Message{Topic: v.Topic, QoS: v.QoS, Retain: true}); err != nil {
			return n, err
		}
		n++
	}
	if b.store == nil || n == 0 {
		return n, nil
	}
	return n, b.store.Sync(ctx)
}
