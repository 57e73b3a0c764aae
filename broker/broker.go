// Package broker is an MQTT broker: 3.1, 3.1.1 and 5, over TCP, TLS, WebSocket and
// Unix sockets. It knows MQTT and nothing of houses.
//
// A [Broker] takes connections from its listeners ([Broker.Prepare]) or by hand
// ([Broker.Attach]). The codec of packets is mochi-mqtt's (package packets, each
// decode guarded: wire.go); connections, sessions, delivery, what is kept, access and
// the index of topics are our own.
//
// # What it promises
//
//   - Acknowledged means kept. A QoS 1 or 2 message for a kept session, its
//     subscriptions, the session itself and unfinished deliveries are on disk before
//     the acknowledgement leaves, with one sync for all that wait. What its
//     subscribers have acknowledged meanwhile needs no disk and costs none.
//   - A retained value of a topic that was quiet is on disk before a QoS 1 or 2
//     publisher gets its acknowledgement, and so is a deletion. A topic that changes
//     more often than Config.RetainedInterval is written once an interval: after a
//     power cut it may come back as old as that. The same value again costs nothing.
//   - A disk that refuses gets no false acknowledgement: MQTT 5 clients are told
//     "quota exceeded", older ones nothing until the disk takes it after all. The
//     message goes its way meanwhile; QoS 0 and the hub go on.
//   - Order. All messages of the broker are in one order, and subscribers, the hub,
//     the retained values and the disk see it: also through the queue of a client
//     that was away, a restart, and a connection that took over another.
//   - One connection harms only itself. A client that does not read, floods or sends
//     slowly is waited for by nobody. What waits for a client is bounded by count and
//     bytes; what comes on top is dropped for it and counted.
//   - QoS 2 is exactly once, over reconnects and restarts, for a client that keeps its
//     session and its packet ids.
//   - Nobody may do what no rule allows: see package access. The same check stands
//     before publish, will, subscribe and each delivery.
//
// # How it is built
//
// Broker.mu orders everything ([Broker.send]): it is held for moments, and never
// while anything is read or written. A session (session.go) has a lock of its own
// for what waits to be sent, a connection (conn.go) one for what it still has to say.
// They are taken in this order: Broker.mu, session.mu, conn.mu. The store's done
// functions take only the last two.
//
// # What clients are told
//
// Clients may not publish to topics that begin with $, nor to what the rules or
// Options.MayPublish refuse; the same for wills. An MQTT 5 client is told "Not
// authorized" in the acknowledgement. MQTT 3 has no word for that but ending the
// connection, and a device that is disconnected connects again and sends the same,
// for ever; so its message is acknowledged, dropped and counted. A topic beyond the
// limits, or one that is none, is a fault of the device and ends the connection.
package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
	"hearth/broker/topic"
	"hearth/store"
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
	// Rights are those of the client that published it, nil for the hub. Of a retained
	// value they are those that its publisher has by now.
	Rights *access.Rights
	// ReplyTo is the topic on which an MQTT 5 client wants to be answered, and Correlation
	// what it wants to find in the answer. The hub may give its own messages a Correlation.
	ReplyTo     string
	Correlation []byte
	// Found says that a connection of the process itself found it retained at another
	// broker, and it was not published just now: see Options.Found.
	Found bool
}

// Options for Open.
type Options struct {
	// Store keeps what must survive. Nil: it all lives in memory only.
	Store *store.Store

	// Door says who may connect and what they may do. Nil: everybody may do
	// everything, as tests want it.
	Door *access.Door

	// Receive looks at every message on its publisher's goroutine, before the message
	// has its place in the order of all, and returns what takes it in then; nil if it
	// does not want it. That is called in the order of the messages, holds up the
	// broker, and so must not wait, nor call the broker. It returns nil, or a channel that is closed when
	// there is room for more: until then the publisher's acknowledgement is held back,
	// and it is not read from. Nil: messages go to clients only.
	Receive func(m Message) (take func() (hold <-chan struct{}))

	// MayPublish says whether clients may publish to a topic, whatever their rights.
	// Nil: all but $ topics.
	MayPublish func(topic string) bool

	// Client is told, in order, of each client that has connected, and of each that has
	// gone: as whom it logged in, and from where. It is called on the goroutine of the
	// connection, and must not wait. Nil: nobody is.
	Client func(id, user, address string, here bool)

	// Found is the key of a user property with which connections of the process itself
	// mark what they found elsewhere. It is taken off and passed on as Message.Found
	// alone, so that a value which is found again is the same value. "": none.
	Found string

	Log *slog.Logger // nil: silent
}

// A Broker is open. Its methods may be called from any goroutine.
type Broker struct {
	store   *store.Store // nil: memory only
	door    *access.Door
	receive func(m Message) func() <-chan struct{}
	allowed func(topic string) bool
	client  func(id, user, address string, here bool)
	mark    string // see Options.Found
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup // everything begin let through
	begun   time.Time      // value.committed counts from here, by the monotonic clock
	doors

	received, sent, refused, dropped atomic.Int64
	queued, nQueued                  atomic.Int64 // bytes that wait at QoS 1 and 2, and messages

	reload    sync.Mutex // held by Prepare, Commit, Addrs and Close
	listeners []*listener

	mu       sync.Mutex
	closed   bool
	conns    map[*conn]bool
	sessions map[string]*session // by client id
	lastNum  uint32              // of a session
	seq      uint64              // of the newest message

	subs   topic.Subscribers[*session, *subscription]
	groups topic.Subscribers[*group, struct{}]
	shares map[string]*group // by $share/NAME/FILTER
	sys    int               // subscriptions to $SYS
	nSubs  int               // all subscriptions

	values        topic.Values[*value]
	nRetained     int
	retainedBytes int64
	overRetained  int64
	expiring      bool // some value expires

	// Kept from one send to the next for their memory.
	hits    []*session
	records []store.Record
	owing   []owed
}

// Open makes a broker with what the store has. It listens nowhere before the first
// Prepare and Commit.
func Open(opt Options) (*Broker, error) {
	b := &Broker{
		store:    opt.Store,
		door:     opt.Door,
		receive:  opt.Receive,
		allowed:  opt.MayPublish,
		client:   opt.Client,
		mark:     opt.Found,
		log:      cmp.Or(opt.Log, slog.New(slog.DiscardHandler)),
		begun:    time.Now().Add(-1),
		conns:    map[*conn]bool{},
		sessions: map[string]*session{},
		shares:   map[string]*group{},
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.doors.open()
	b.mu.Lock()
	now := time.Now()
	b.restoreRetained(now)
	b.restore(now)
	b.mu.Unlock()
	if b.store != nil {
		b.store.OnTrouble(b.onTrouble)
	}
	b.wg.Go(b.keepHouse)
	return b, nil
}

// Close ends the listeners and all connections, once what was published before
// has gone out to those who read, and returns when every goroutine of the broker
// has ended. It does not close the store.
func (b *Broker) Close() error {
	b.settle()
	b.mu.Lock()
	b.closed = true
	for _, s := range b.sessions {
		s.stopTimers()
	}
	b.mu.Unlock()

	b.reload.Lock()
	var closing sync.WaitGroup
	for _, l := range b.listeners {
		closing.Go(func() { l.close(packets.ErrServerShuttingDown) })
	}
	b.listeners = nil
	b.endAll(nil, packets.ErrServerShuttingDown)
	closing.Wait()
	b.cancel()
	b.reload.Unlock()
	b.wg.Wait()
	return nil
}

// settle lets what was published last go out to the clients: it returns when for
// a moment none was sent anything, but soon in any case.
func (b *Broker) settle() {
	const moment, most = 5 * time.Millisecond, 100 * time.Millisecond
	for end := time.Now().Add(most); time.Now().Before(end); {
		b.mu.Lock()
		conns := slices.Collect(maps.Keys(b.conns))
		b.mu.Unlock()
		busy := false
		for _, c := range conns {
			c.mu.Lock()
			busy = busy || c.writing || c.spoke
			c.spoke = false
			c.mu.Unlock()
		}
		if !busy {
			return
		}
		time.Sleep(moment)
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
	conns = slices.DeleteFunc(conns, func(c *conn) bool { return l != nil && c.from.listener != l })
	for _, c := range conns {
		c.end(why)
	}
	for _, c := range conns {
		<-c.done
	}
}

// Publish publishes in the hub's own name, to any topic but $ ones. It never
// waits for a disk or a client, only for room in the hub. QoS is what subscribers get
// at most. After an error nothing was published, unless it is that the broker closed
// while there was no room.
func (b *Broker) Publish(m Message) error { return b.publish(m, nil) }

// PublishAs publishes in the name of a user, whose rights m has: what follows from the
// message is judged by them, and by those that the user has later. Whether the user may
// publish it, the caller has judged.
func (b *Broker) PublishAs(user string, m Message) error {
	return b.publish(m, &publisher{user: user})
}

func (b *Broker) publish(m Message, by *publisher) error {
	lim := b.limits.Load()
	if why := topic.Fault(m.Topic, false, lim.topic, lim.levels); why != "" {
		return fmt.Errorf("publish to %q: %s", m.Topic, why)
	}
	switch {
	case m.Topic[0] == '$':
		return fmt.Errorf("publish to %q: topics with $ are not for messages", m.Topic)
	case m.QoS > 2:
		return fmt.Errorf("publish to %q: QoS %d does not exist", m.Topic, m.QoS)
	case len(m.Payload) > lim.packet:
		return fmt.Errorf("publish to %q: %d bytes are more than %d", m.Topic, len(m.Payload), lim.packet)
	}
	if !b.begin() {
		return fmt.Errorf("publish to %q: %w", m.Topic, ErrClosed)
	}
	defer b.wg.Done()
	hold := b.send(&message{
		topic: m.Topic, payload: m.Payload, qos: m.QoS, retain: m.Retain, origin: m.Origin, rights: m.Rights, by: by, at: time.Now(),
		props: passedOn(&packets.Properties{CorrelationData: m.Correlation}),
	}, nil)
	if err := wait(b.ctx, hold); err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	return nil
}

// Heard reports whether anybody subscribes to topic now: a client that is
// connected, or one whose session is kept while it is away.
func (b *Broker) Heard(topic string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.subs.Any(topic) || b.groups.Any(topic)
}

// Retained gives the retained messages, sorted by topic, as they are when the loop
// begins.
func (b *Broker) Retained() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for _, v := range b.RetainedValues("#") {
			if !yield(v.Message) {
				return
			}
		}
	}
}

// Stats are counts since Open, but for the first four, which are of now.
type Stats struct {
	Clients     int64 // connected
	Sessions    int64 // connected, or kept for a client that is away
	Retained    int64 // topics with a retained value
	QueuedBytes int64 // of QoS 1 and 2 messages that wait for clients
	Received    int64 // messages published, by clients and by the hub
	Sent        int64 // messages sent to clients
	Dropped     int64 // messages not sent to a client because too many wait for it
	Refused     int64 // messages and wills clients may not publish
}

// Stats counts.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := Stats{
		Sessions:    int64(len(b.sessions)),
		Retained:    int64(b.nRetained),
		QueuedBytes: b.queued.Load(),
		Received:    b.received.Load(),
		Sent:        b.sent.Load(),
		Dropped:     b.dropped.Load(),
		Refused:     b.refused.Load(),
	}
	for _, s := range b.sessions {
		if s.owner != nil {
			st.Clients++
		}
	}
	return st
}

// keepHouse does what is due now and then.
func (b *Broker) keepHouse() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-b.ctx.Done():
			return
		case now := <-tick.C:
			b.mu.Lock()
			if b.expiring || n%60 == 0 {
				b.sweep(now)
			}
			if n%60 == 0 {
				b.discard(now)
			}
			if b.store != nil && n%600 == 0 {
				b.ages(now)
			}
			b.mu.Unlock()
			if n%sysEvery == 0 {
				b.publishSys(now)
			}
		}
	}
}

// discard forgets what expired while it waited for clients. b.mu is held.
func (b *Broker) discard(now time.Time) {
	for _, s := range b.sessions {
		s.mu.Lock()
		s.discard(now)
		s.mu.Unlock()
	}
}

// errRefused is why await returns when the disk refuses.
var errRefused = errors.New("the disk refuses")

// await returns when committed says so, with errRefused when the disk refuses, or with
// why ctx has ended.
func (b *Broker) await(ctx context.Context, committed <-chan error) error {
	if committed == nil {
		return nil
	}
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-committed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			if b.store.Trouble() != nil {
				return errRefused
			}
		}
	}
}

// onTrouble is told when the disk begins to refuse, and with nil when it takes
// everything again.
func (b *Broker) onTrouble(err error) {
	if err == nil {
		return
	}
	b.mu.Lock()
	conns := slices.Collect(maps.Keys(b.conns))
	b.mu.Unlock()
	for _, c := range conns {
		c.refuseAll()
	}
}
