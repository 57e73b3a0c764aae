// Package broker is an MQTT broker, 3.1.1 and 5, over TCP, Unix sockets and
// WebSocket. It knows MQTT and nothing of houses.
//
// A [Broker] takes connections from its listeners ([Broker.Prepare]) or by hand
// ([Broker.Attach]). Every message that is published, by a client, as a client's
// will or with [Broker.Publish], is handed to Options.Receive, given to the
// clients that subscribe to it, kept if it is retained, and only then
// acknowledged.
//
// # What it promises
//
//   - A QoS 1 or 2 message is acknowledged after Receive has returned and after it
//     was handed on. Receive holds the acknowledgement back by not returning; the
//     client waits, nobody else does. QoS 2 calls Receive once per message, also
//     when a client of a kept session sends it again after a reconnect.
//   - A retained value of a topic that was quiet (nothing of it written for 5
//     minutes) is on disk before a QoS 1 or 2 publisher gets its acknowledgement,
//     and so is a deletion. A topic that changes more often is written every 5
//     minutes: after a power cut it may come back up to 5 minutes old. The same
//     value again costs the disk nothing. When the disk refuses, the publisher
//     waits and everybody else goes on.
//   - Retained values keep their QoS and their MQTT 5 properties: content type,
//     response topic, correlation data, payload format, user properties and
//     expiry.
//   - One connection harms only itself. What makes the decoder panic ends that
//     connection; packets are limited to 1 MiB, topics and filters to 1024 bytes
//     and 32 levels, the listeners to 512 connections, kept sessions to 2048, and
//     CONNECT must have come within 10 seconds.
//   - A client that does not read is never waited for. 64 KiB and 256 messages wait
//     for it; what comes on top is dropped for it and counted, whatever its QoS;
//     when nothing moves for 30 seconds its connection is closed.
//   - A client that connects with the id of another replaces it only after the
//     other has ended wholly, its will included: first the will's "offline", then
//     the new connection's "online".
//
// # What is refused
//
// Clients may not publish to topics that begin with $, nor to what
// Options.MayPublish refuses; the same for wills. An MQTT 5 client is told "Not
// authorized" in the acknowledgement. MQTT 3.1.1 has no word for that but ending
// the connection, and a device that is disconnected connects again and sends the
// same, for ever; so its message is acknowledged, dropped and counted, as
// Mosquitto does. A topic or filter beyond the limits, or one that is none, is a
// fault of the device and ends the connection. $SYS does not exist.
//
// # What it does not promise yet
//
//   - Sessions, subscriptions and queued QoS 1 and 2 messages do not survive a
//     restart. Clients have to subscribe again, which all do that see "session
//     present" missing.
//   - Messages queued for a client that is away (1000 at most, for 7 days at most)
//     may be sent out of order.
//   - Wills are not sent when the broker itself closes: nobody knows then whether
//     the clients live.
//   - There are no logins, so there is no listening beyond this machine.
package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/store"
)

const (
	maxPacket       = 1 << 20 // bytes
	maxTopic        = 1024    // bytes of a topic or filter
	maxLevels       = 32      // levels of a topic or filter
	maxAliases      = 16      // topic aliases a client may use
	maxSessions     = 2048    // connected or kept
	maxQueued       = 1000    // messages that wait for one client to acknowledge or return
	maxPending      = 256     // messages that wait for one client's socket
	maxUnreleased   = 1024    // QoS 2 messages of one client between PUBREC and PUBREL
	sessionLifetime = 7 * 24 * time.Hour
	connectTimeout  = 10 * time.Second // for CONNECT, and for a replaced client to end
)

// ErrClosed is returned by what comes after Close.
var ErrClosed = errors.New("the broker is closed")

// A Message is what is published.
type Message struct {
	Topic   string
	Payload []byte // not to be changed
	QoS     byte
	// Retain is the flag as it was published. It is set on live messages too: see
	// Retained for what was found at start.
	Retain bool
	// Origin is what the hub gave to Publish, and nil for every client's message.
	Origin any
}

// Options for Open.
type Options struct {
	// Store keeps the retained values. Nil: they live in memory only.
	Store *store.Store

	// Receive gets every message, on its publisher's goroutine. It may block to hold
	// back the acknowledgement of QoS 1 and 2; for QoS 0 it should not. When ctx
	// ends (the broker closes, or the client's connection was ended) it must return,
	// and the message counts as not taken: it is not handed on and, as it was not
	// acknowledged, a client that cares sends it again. It must not call Close. Nil:
	// messages go to clients only.
	Receive func(ctx context.Context, m Message)

	// MayPublish says whether clients may publish to a topic. Nil: all but $ topics.
	MayPublish func(topic string) bool

	Log *slog.Logger // nil: silent
}

// A Broker is open. Its methods may be called from any goroutine.
type Broker struct {
	receive    func(ctx context.Context, m Message)
	mayPublish func(topic string) bool
	log        *slog.Logger
	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	wg         sync.WaitGroup // everything begin let through
	server     *mqtt.Server   // codec, subscriptions, sessions and what is sent to clients
	self       *mqtt.Client   // in whose name messages enter server
	retained   *retained
	accepted   slots

	received, refused, lost atomic.Int64

	reload    sync.Mutex // held by Prepare, Commit, Addrs and Close
	listeners []*listener

	mu       sync.Mutex
	closed   bool
	conns    map[*conn]bool
	sessions map[string]*session // by client id
	wills    map[string]delayed  // by client id
}

// A session is what the broker itself knows of a client id.
type session struct {
	owner    *conn           // its connection; nil while the client is away
	received map[uint16]bool // QoS 2 messages of the client that it has not released
}

// A delayed will waits for its client to come back.
type delayed struct {
	packet packets.Packet
	due    time.Time
}

// Open makes a broker with the retained values of the store. It listens nowhere
// before the first Prepare and Commit.
func Open(opt Options) (*Broker, error) {
	log := cmp.Or(opt.Log, slog.New(slog.DiscardHandler))
	limits := mqtt.NewDefaultServerCapabilities()
	limits.MaximumMessageExpiryInterval = 0 // else it drops what is a day old, or what a wrong clock says is
	limits.MaximumClientWritesPending = maxPending
	limits.MaximumSessionExpiryInterval = uint32(sessionLifetime / time.Second)
	limits.MaximumPacketSize = maxPacket
	limits.MaximumInflight = maxQueued
	limits.TopicAliasMaximum = maxAliases
	limits.RetainAvailable = 0 // not the library's business: see retained.go
	limits.Compatibilities.ObscureNotAuthorized = true
	limits.Compatibilities.PassiveClientDisconnect = true
	limits.Compatibilities.NoInheritedPropertiesOnAck = true

	b := &Broker{
		receive:    opt.Receive,
		mayPublish: opt.MayPublish,
		log:        log,
		conns:      map[*conn]bool{},
		sessions:   map[string]*session{},
		wills:      map[string]delayed{},
		server: mqtt.New(&mqtt.Options{
			Capabilities:           limits,
			Logger:                 slog.New(quiet{log.Handler()}),
			SysTopicResendInterval: math.MaxInt32,
		}),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if err := b.server.AddHook(&gate{b: b}, nil); err != nil {
		return nil, err
	}
	// No client can have this id: a NUL is malformed.
	b.self = b.server.NewClient(nil, "", "\x00hub", true)
	b.self.Properties.ProtocolVersion = 5
	b.retained = openRetained(opt.Store, log)

	// The library's own event loop is never started. It would only publish $SYS and
	// keep house, and keepHouse does that without its faults.
	b.wg.Go(b.keepHouse)
	return b, nil
}

// Close ends the listeners and all connections, once what was published before
// has gone out to those who read, and returns when every goroutine of the broker
// has ended. It does not close the store.
func (b *Broker) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.settle()
	b.cancel()

	b.reload.Lock()
	var closing sync.WaitGroup
	for _, l := range b.listeners {
		closing.Go(func() { l.close(packets.ErrServerShuttingDown) })
	}
	b.listeners = nil
	b.endAll(nil, packets.ErrServerShuttingDown)
	closing.Wait()
	b.reload.Unlock()
	b.wg.Wait()
	return nil
}

// settle lets what was published last go out to the clients: it returns when for
// a moment none was sent anything, but soon in any case. The library's queues
// can't be asked whether they are empty.
func (b *Broker) settle() {
	const moment, most = 10 * time.Millisecond, 100 * time.Millisecond
	for end := time.Now().Add(most); time.Now().Before(end); {
		b.mu.Lock()
		idle := len(b.conns) == 0
		b.mu.Unlock()
		before := atomic.LoadInt64(&b.server.Info.PacketsSent)
		if idle {
			return
		}
		time.Sleep(moment)
		if atomic.LoadInt64(&b.server.Info.PacketsSent) == before {
			return
		}
	}
}

// begin lets something start that Close will wait for, unless it is too late. It
// ends with b.wg.Done.
func (b *Broker) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.wg.Add(1)
	return true
}

// endAll ends the connections of a listener, or with nil all, and returns when
// they have ended.
func (b *Broker) endAll(l *listener, why packets.Code) {
	b.mu.Lock()
	conns := slices.Collect(maps.Keys(b.conns))
	b.mu.Unlock()
	conns = slices.DeleteFunc(conns, func(c *conn) bool { return l != nil && c.from != l })
	for _, c := range conns {
		c.end(why)
	}
	for _, c := range conns {
		<-c.done
	}
}

// Publish publishes in the hub's own name, to any topic but $ ones. It never
// waits for a disk or a client, only for Receive. QoS is what subscribers get at
// most. After an error nothing was published.
func (b *Broker) Publish(m Message) error {
	if why := topicFault(m.Topic, false); why != "" {
		return fmt.Errorf("publish to %q: %s", m.Topic, why)
	}
	switch {
	case m.Topic[0] == '$':
		return fmt.Errorf("publish to %q: topics with $ are not for messages", m.Topic)
	case m.QoS > 2:
		return fmt.Errorf("publish to %q: QoS %d does not exist", m.Topic, m.QoS)
	case len(m.Payload) > maxPacket:
		return fmt.Errorf("publish to %q: %d bytes are more than %d", m.Topic, len(m.Payload), maxPacket)
	}
	if !b.begin() {
		return fmt.Errorf("publish to %q: %w", m.Topic, ErrClosed)
	}
	defer b.wg.Done()
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: m.QoS, Retain: m.Retain},
		TopicName:   m.Topic,
		Payload:     m.Payload,
	}
	if err := b.take(b.ctx, pk, b.self.ID, m.Origin, false); err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	return nil
}

// take is the way of every message: to the store if it is retained, to Receive and
// to the subscribers. With durable it returns when the disk has it, if it must.
// from is the publisher's client id.
func (b *Broker) take(ctx context.Context, pk packets.Packet, from string, origin any, durable bool) error {
	b.received.Add(1)
	var c change
	if pk.FixedHeader.Retain {
		c = changeBy(pk)
		b.retained.ahead(c)
	}
	if b.receive != nil {
		b.receive(ctx, Message{
			Topic:   strings.Clone(pk.TopicName), // it is a part of the packet, and may be kept long
			Payload: pk.Payload,
			QoS:     pk.FixedHeader.Qos,
			Retain:  pk.FixedHeader.Retain,
			Origin:  origin,
		})
		if pk.FixedHeader.Qos > 0 && ctx.Err() != nil {
			if pk.FixedHeader.Retain {
				b.retained.takeBack(c.topic)
			}
			return context.Cause(ctx)
		}
	}
	if !pk.FixedHeader.Retain {
		b.deliver(pk, from)
		return nil
	}
	committed := b.retained.keep(c, func() { b.deliver(pk, from) })
	if !durable || committed == nil {
		return nil
	}
	select {
	case err := <-committed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// deliver hands a message to all who subscribe to it. It does not block.
func (b *Broker) deliver(pk packets.Packet, from string) {
	pk.Connect.ClientIdentifier = from // for the gate, which makes it the packet's origin
	pk.PacketID = 0
	if pk.FixedHeader.Qos > 0 {
		pk.PacketID = 1 // any; each subscriber gets its own
	}
	if err := b.server.InjectPacket(b.self, pk); err != nil {
		b.log.Error("broker: deliver", "topic", pk.TopicName, "err", err)
	}
}

// Heard reports whether anybody subscribes to topic now: a client that is
// connected, or one whose session is kept while it is away.
func (b *Broker) Heard(topic string) bool {
	to := b.server.Topics.Subscribers(topic)
	return len(to.Subscriptions)+len(to.Shared) > 0
}

// Retained gives the retained messages, sorted by topic.
func (b *Broker) Retained() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for _, topic := range b.retained.match("#") {
			pk, ok := b.retained.get(topic)
			if ok && !yield(Message{Topic: topic, Payload: pk.Payload, QoS: pk.FixedHeader.Qos, Retain: true}) {
				return
			}
		}
	}
}

// Stats are counts since Open, but for the first three, which are of now.
type Stats struct {
	Clients  int64 // connected
	Sessions int64 // connected, or kept for a client that is away
	Retained int64 // topics with a retained value
	Received int64 // messages published, by clients and by the hub
	Sent     int64 // messages sent to clients
	Dropped  int64 // messages not sent to a client because too many wait for it
	Refused  int64 // messages and wills clients may not publish
}

// Stats counts.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	sessions := len(b.sessions)
	b.mu.Unlock()
	info := b.server.Info
	return Stats{
		Clients:  atomic.LoadInt64(&info.ClientsConnected),
		Sessions: int64(sessions),
		Retained: int64(b.retained.len()),
		Received: b.received.Load(),
		Sent:     atomic.LoadInt64(&info.MessagesSent),
		Dropped:  atomic.LoadInt64(&info.MessagesDropped) + atomic.LoadInt64(&info.InflightDropped) + b.lost.Load(),
		Refused:  b.refused.Load(),
	}
}

// keepHouse lets things expire: sessions, messages, and the delay of wills.
func (b *Broker) keepHouse() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		b.retained.sweep(now.Unix())
		for id, cl := range b.server.Clients.GetAll() {
			cl.ClearExpiredInflights(now.Unix(), 0)
			b.expireSession(id, cl, now)
		}
		for id, w := range b.dueWills(now) {
			// In a goroutine, for Receive may block.
			if b.begin() {
				go func() {
					defer b.wg.Done()
					b.sendWill(w, id)
				}()
			}
		}
	}
}

func (b *Broker) expireSession(id string, cl *mqtt.Client, now time.Time) {
	stopped := cl.StopTime()
	if stopped == 0 {
		return
	}
	if now.Before(time.Unix(stopped, 0).Add(lifetime(cl))) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sessions[id]; s != nil && s.owner == nil {
		b.forget(id, cl)
	}
}

// lifetime is how long the session of a client is kept while it is away.
func lifetime(cl *mqtt.Client) time.Duration {
	if cl.Properties.ProtocolVersion == 5 {
		return min(sessionLifetime, time.Duration(cl.Properties.Props.SessionExpiryInterval)*time.Second)
	}
	return sessionLifetime
}

// forget ends a session whose connection is gone. b.mu is held.
func (b *Broker) forget(id string, cl *mqtt.Client) {
	if current, ok := b.server.Clients.Get(id); ok && current == cl {
		cl.ClearInflights()
		b.server.UnsubscribeClient(cl)
		b.server.Clients.Delete(id)
	}
	delete(b.sessions, id)
}

func (b *Broker) dueWills(now time.Time) map[string]packets.Packet {
	b.mu.Lock()
	defer b.mu.Unlock()
	due := map[string]packets.Packet{}
	for id, w := range b.wills {
		if !now.Before(w.due) {
			due[id] = w.packet
			delete(b.wills, id)
		}
	}
	return due
}

// sendWill publishes the will of a client that is gone.
func (b *Broker) sendWill(pk packets.Packet, id string) {
	if !b.allowed(pk.TopicName) {
		b.refused.Add(1)
		b.log.Warn("broker: refused a will", "client", id, "topic", pk.TopicName)
		return
	}
	if err := b.take(b.ctx, pk, id, nil, false); err != nil {
		b.log.Debug("broker: will", "client", id, "topic", pk.TopicName, "err", err)
	}
}

// allowed says whether clients may publish to a topic.
func (b *Broker) allowed(topic string) bool {
	return topic[0] != '$' && (b.mayPublish == nil || b.mayPublish(topic))
}

// topicFault says what is wrong with a topic, or a filter; "" is nothing.
func topicFault(topic string, filter bool) string {
	switch {
	case topic == "":
		return "it is empty"
	case len(topic) > maxTopic:
		return fmt.Sprintf("it is longer than %d bytes", maxTopic)
	case strings.Count(topic, "/") >= maxLevels:
		return fmt.Sprintf("it has more than %d levels", maxLevels)
	case !filter && strings.ContainsAny(topic, "+#"):
		return "wildcards are for subscribing"
	case !utf8.ValidString(topic) || strings.ContainsRune(topic, 0):
		return "it is no valid text"
	}
	return ""
}

// quiet hands on the library's log at debug level, without the packets in it:
// they may hold a password.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, slog.LevelDebug, "mqtt: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Value.Any().(type) {
		case packets.Packet, *packets.Packet, mqtt.Will:
		default:
			out.AddAttrs(a)
		}
		return true
	})
	return q.Handler.Handle(ctx, out)
}

func (q quiet) WithAttrs(as []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(as)} }
func (q quiet) WithGroup(name string) slog.Handler    { return quiet{q.Handler.WithGroup(name)} }
