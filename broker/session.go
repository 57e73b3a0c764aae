package broker

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
	"hearth/store"
)

// A session is what the broker keeps for one client id: its subscriptions and what
// it has to be told. It outlives its connection if the client asked for that; then
// all of it is in the store.
type session struct {
	b    *Broker
	id   string
	num  uint32 // stands for the id in the keys of the store
	user string

	// Guarded by Broker.mu.
	subs      map[string]*subscription // by filter, with its $share/NAME/
	version   byte
	kept      bool          // has records in the store
	record    []byte        // of the session itself, as the store has it
	expiry    time.Duration // how long it is kept when its client is away
	away      time.Duration // how long it had been away when it was found at the start
	since     time.Time     // connected or away since then
	address   string        // where the client comes or came from
	listener  string
	owner     *conn    // its connection; nil: the client is away
	will      *message // waits for the client to come back; nil: none
	willDelay time.Duration
	willTimer *time.Timer
	expires   *time.Timer // runs while the client is away
	hit       hit         // of the message being routed

	unsure atomic.Int32 // records of it and of subs are on their way to the disk

	mu       sync.Mutex           // after Broker.mu, before that of a conn
	conn     *conn                // what can be sent to; nil before CONNACK and while the client is away
	rights   *access.Rights       // changed with Broker.mu held too
	waiting  []*delivery          // not sent yet, oldest first
	flight   []*delivery          // QoS 1 and 2, sent and not acknowledged, oldest first
	byID     map[uint16]*delivery // QoS 1 and 2, waiting or in flight
	stale    time.Time            // nothing that waits expires before; zero: nothing does
	lastID   uint16
	plain    gauge // waiting at QoS 0
	sure     gauge // waiting or in flight at QoS 1 and 2
	catchUp  []catchUp
	told     int                      // retained values of catchUp at QoS 1 and 2, sent and not acknowledged
	owes     map[string]*subscription // by name: the record says that there is such a value to come
	catching bool                     // a retained value was sent last: now it is the turn of what waits
	sentTo   uint64                   // messages of this number or less may have been sent, as its record says
	received map[uint16]uint32        // QoS 2 messages of the client that it has not released, by the connection on which they came last; 0: found at the start
	turn     uint32                   // number of the connection
	open     int                      // of received, those that came on it

	lastSeen                          time.Time
	nReceived, nSent, nDrop, nRefused int64
}

// A gauge counts messages and their bytes.
type gauge struct {
	n     int
	bytes int
}

func (g gauge) full(lim *limits) bool { return g.n >= lim.queue || g.bytes >= lim.queueBytes }

// A subscription never changes; a client that subscribes again gets another.
type subscription struct {
	filter   string // without $share/NAME/
	share    string // "" if it is not shared
	qos      byte
	noLocal  bool
	asIs     bool // retain as published
	handling byte // of retained values
	id       int  // 0: none
}

// A delivery is one message on its way to one session, or at QoS 0 to many: nothing
// of such a one changes. The fields below the line are guarded by session.mu.
type delivery struct {
	m      *message
	qos    byte
	retain bool
	subs   []int // subscription identifiers

	id        uint16
	sent      bool // or may have been, before a crash
	released  bool // PUBREC came, PUBREL goes
	ofCatchUp bool
	recorded  bool // has a record in the store
	committed bool // which is on disk
	marked    bool // which says that it may have been sent
}

// A catchUp is what a new subscription has to be told of retained values: those
// that have not changed since then. What comes later reaches it as a live message.
// They are looked for when it is their turn: so it costs nothing to subscribe, again
// and again, and only who reads what comes is searched for.
type catchUp struct {
	sub    *subscription
	before uint64 // messages of the subscription's own time have this number or more
	owes   bool   // the record of the subscription says that one of them is to come at QoS 1 or 2
	found  bool
	values []*value
}

// A hit collects the subscriptions of a session that a message matches: it is sent
// once, at the highest QoS of them.
type hit struct {
	seq  uint64 // of the message
	qos  byte
	asIs bool
	subs []int
}

// admit takes d in, if the limits allow, without sending it yet. It gives it the
// packet id that it keeps.
func (s *session) admit(d *delivery, lim *limits) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.qos == 0 && s.conn == nil {
		return false
	}
	if !s.fits(d, lim) {
		if s.discard(time.Now()); !s.fits(d, lim) {
			s.drop()
			return false
		}
	}
	if d.qos == 0 {
		s.plain.n++
		s.plain.bytes += d.m.size()
		return true
	}
	s.count(d, 1)
	s.name(d)
	return true
}

// fits says whether the limits allow another delivery. That of all queues together is
// for those with more than their share of it: else a few clients that are away could take
// the messages of those that are here. b.mu and s.mu are held.
func (s *session) fits(d *delivery, lim *limits) bool {
	size := d.m.size()
	if d.qos == 0 {
		return s.plain.n < lim.queue && s.plain.bytes+size <= lim.queueBytes
	}
	all := s.b.queued.Load() + (s.b.nQueued.Load()+1)*besides + int64(size)
	own := int64(s.sure.bytes) + int64(s.sure.n+1)*besides + int64(size)
	return s.sure.n < lim.queue && s.sure.bytes+size <= lim.queueBytes &&
		(all <= lim.queuedBytes || own <= lim.queuedBytes/int64(max(1, len(s.b.sessions))))
}

// besides is what a delivery that waits takes besides topic and payload, its records
// among it. Of a reading that is most: a thousand sessions that nobody comes back to
// would take ten times what their messages have in bytes.
const besides = 256

// count counts a QoS 1 or 2 delivery that waits, or with -1 does not any more.
func (s *session) count(d *delivery, n int) {
	size := n * d.m.size()
	s.sure.n += n
	s.sure.bytes += size
	s.b.queued.Add(int64(size))
	s.b.nQueued.Add(int64(n))
}

// discard forgets what expired before it was sent. s.mu is held.
func (s *session) discard(now time.Time) {
	if s.stale.IsZero() || now.Before(s.stale) {
		return
	}
	s.stale = time.Time{}
	s.waiting = slices.DeleteFunc(s.waiting, func(d *delivery) bool {
		switch {
		case d.sent || !d.m.expired(now):
			s.expects(d)
			return false
		case d.qos > 0:
			s.finish(d)
		default:
			s.plain.n--
			s.plain.bytes -= d.m.size()
		}
		return true
	})
}

// expects notes when something that waits expires. s.mu is held.
func (s *session) expects(d *delivery) {
	if at := d.m.expires; !at.IsZero() && !d.sent && (s.stale.IsZero() || at.Before(s.stale)) {
		s.stale = at
	}
}

// name gives a delivery a packet id that no other of the session has: there are
// fewer of those than ids.
func (s *session) name(d *delivery) {
	if s.byID == nil {
		s.byID = map[uint16]*delivery{}
	}
	for {
		s.lastID++
		if s.lastID != 0 && s.byID[s.lastID] == nil {
			d.id = s.lastID
			s.byID[d.id] = d
			return
		}
	}
}

// drop counts a message that the session will not get. s.mu is held.
func (s *session) drop() {
	s.nDrop++
	s.b.dropped.Add(1)
	if s.nDrop&(s.nDrop-1) == 0 { // 1, 2, 4, 8...: a flood of drops is no flood of lines
		s.b.mention(slog.LevelWarn, "too much waits for a client, dropping messages for it", "", "client", s.id, "waiting", s.plain.n+s.sure.n, "dropped", s.nDrop)
	}
}

// push queues what was admitted, and has it sent.
func (s *session) push(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, d)
	s.expects(d)
	s.conn.kick()
}

// commit notes that the records of d are on disk: QoS 2 is not sent before, or it
// could be sent again under another packet id after a crash.
func (s *session) commit(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.committed = true
	s.conn.kick()
}

// outlook reports whether what is pushed now will be sent now, and whether it is
// likely to be acknowledged at once.
func (s *session) outlook() (sent, soon bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent = s.conn != nil
	return sent, sent && len(s.waiting) == 0 && len(s.flight) < s.conn.window/2
}

// unwait takes the oldest that waits out of its gauge. s.mu is held.
func (s *session) unwait() {
	d := s.waiting[0]
	s.waiting[0] = nil
	if s.waiting = s.waiting[1:]; len(s.waiting) == 0 {
		s.waiting = nil
	}
	if d.qos == 0 {
		s.plain.n--
		s.plain.bytes -= d.m.size()
	}
}

// finish forgets a QoS 1 or 2 delivery, which is neither waiting nor in flight any
// more. s.mu is held.
func (s *session) finish(d *delivery) {
	if s.byID[d.id] != d {
		return
	}
	delete(s.byID, d.id)
	s.count(d, -1)
	if d.recorded {
		s.b.forget(s, d)
	}
	if d.ofCatchUp {
		s.told--
		s.caughtUp()
	}
}

// batch is about how much is written to a socket at once.
const batch = 64 << 10

// fill appends to b what can be sent to c now; there may be more.
func (s *session) fill(c *conn, b []byte, now time.Time) (_ []byte, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return b, false
	}
	for len(b) < batch {
		d, retained := s.next(now)
		switch {
		case d == nil:
			s.caughtUp()
			return b, len(s.catchUp) > 0 && !s.catchUp[0].found
		case d.m.expired(now) && !d.sent:
			// nobody wants it any more
		case !s.rights.Receive(d.m.topic):
			// it may not have it any more, or never might
		default:
			if d.qos > 0 && (len(s.flight) >= c.window || d.recorded && d.qos == 2 && !d.committed) {
				return b, false // an acknowledgement or the commit goes on from here
			}
			start := len(b)
			if b = c.appendMessage(b, d, now); len(b) == start {
				break // larger than the client takes; to it, it does not exist
			}
			s.nSent++
			s.b.sent.Add(1)
			s.took(retained)
			if d.qos > 0 {
				if retained {
					s.count(d, 1)
					d.ofCatchUp = true
					s.told++
				}
				d.sent = true
				s.mark(d)
				s.flight = append(s.flight, d)
			}
			continue
		}
		s.took(retained)
		if d.qos > 0 && !retained {
			s.finish(d)
		} else if d.qos > 0 {
			delete(s.byID, d.id)
		}
	}
	return b, true
}

// mark tells the store that a delivery has been sent, so that it is sent again as a
// duplicate after a crash [MQTT-3.3.1-1]; for one that had waited for the client the
// session's record says so. s.mu is held.
func (s *session) mark(d *delivery) {
	if d.recorded && !d.marked && d.m.seq > s.sentTo {
		d.marked = true
		s.b.store.Put(store.Record{Kind: store.Queued, Key: queuedKey(s.num, d.m.seq), Value: d.encode(true)}, forgetWithin, nil)
	}
}

// next is what is to be sent next, without taking it: what waits and retained
// values by turns. s.mu is held.
func (s *session) next(now time.Time) (d *delivery, retained bool) {
	if len(s.waiting) > 0 && (s.catching || len(s.catchUp) == 0) {
		return s.waiting[0], false
	}
	for len(s.catchUp) > 0 {
		up := &s.catchUp[0]
		if !up.found {
			break
		}
		if len(up.values) == 0 {
			if s.catchUp = s.catchUp[1:]; len(s.catchUp) == 0 {
				s.catchUp = nil
			}
			continue
		}
		m := up.values[0].message.Load()
		if m == nil || m.seq >= up.before || m.expired(now) {
			up.values = up.values[1:]
			continue
		}
		d := &delivery{m: m, qos: min(m.qos, up.sub.qos), retain: true}
		if up.sub.id > 0 {
			d.subs = []int{up.sub.id}
		}
		if d.qos > 0 {
			if len(s.flight) >= s.conn.window {
				break // and it is made again then
			}
			s.name(d)
		}
		return d, true
	}
	if len(s.waiting) > 0 {
		return s.waiting[0], false
	}
	return nil, false
}

// took takes what next gave. s.mu is held.
func (s *session) took(retained bool) {
	s.catching = retained
	if retained {
		s.catchUp[0].values = s.catchUp[0].values[1:]
	} else {
		s.unwait()
	}
}

// acknowledged is PUBACK, PUBREC with an error, or PUBCOMP. It reports whether there is
// such a message.
func (s *session) acknowledged(id uint16) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.flight, func(d *delivery) bool { return d.id == id })
	if i < 0 {
		return false // of a message that expired meanwhile, or the client is confused
	}
	d := s.flight[i]
	s.flight = slices.Delete(s.flight, i, i+1)
	if len(s.flight) == 0 {
		s.flight = nil
	}
	s.finish(d)
	if len(s.waiting) > 0 || len(s.catchUp) > 0 {
		s.conn.kick()
	}
	return true
}

// releasing is PUBREC: the client has the message, and PUBREL has to say that it
// will not be sent again; after a crash too, so that is on disk first. It reports
// whether there is such a message, and whether that was known, and gives what has to be
// written, if anything.
func (s *session) releasing(id uint16) (d *delivery, known, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d = s.byID[id]
	if d == nil || d.qos != 2 || !d.sent {
		return nil, false, false
	}
	again = d.released
	d.released = true
	if !d.recorded {
		d = nil
	}
	return d, true, again
}

// join gives the session to a connection, which sends again what is in flight. It
// returns what that connection has to say first. b.mu is held.
func (s *session) join(c *conn, now time.Time) (pubrels []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
	s.turn, s.open = s.turn+1, 0
	s.lastSeen = now
	var again []*delivery
	var released []*delivery
	for _, d := range s.flight {
		if d.released {
			released = append(released, d)
			pubrels = appendPacket(pubrels, packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel}, ProtocolVersion: c.version, PacketID: d.id})
		} else {
			again = append(again, d)
		}
	}
	s.flight = released
	s.waiting = append(again, s.waiting...)
	return pubrels
}

// part takes the session from its connection. What is at QoS 0 is lost with it. b.mu
// is held.
func (s *session) part() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = nil
	s.waiting = slices.DeleteFunc(s.waiting, func(d *delivery) bool { return d.qos == 0 })
	s.waiting = slices.Clip(s.waiting)
	s.plain = gauge{}
	s.lastSeen = time.Now()
}

// clear forgets everything that waits or is in flight.
func (s *session) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.byID {
		s.finish(d)
	}
	s.waiting, s.flight, s.byID, s.catchUp, s.owes, s.received = nil, nil, nil, nil, nil, nil
	s.plain, s.open = gauge{}, 0
}

// follow sends the retained values of new subscriptions, at the client's pace: anew, if
// it has been at those of the same filter.
func (s *session) follow(ups []catchUp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := map[string]int{}
	for i, up := range ups {
		last[up.sub.filter] = i
	}
	s.catchUp = slices.DeleteFunc(s.catchUp, func(up catchUp) bool { _, again := last[up.sub.filter]; return again })
	for i, up := range ups {
		if last[up.sub.filter] == i {
			s.catchUp = append(s.catchUp, up)
			if up.owes {
				s.owe(up.sub)
			}
		}
	}
	s.conn.kick()
}

// unfollow ends that for a subscription that is no more.
func (s *session) unfollow(filter string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp = slices.DeleteFunc(s.catchUp, func(up catchUp) bool { return up.sub.filter == filter })
}

// search finds what the next catch-ups are about, so much that it fills a batch.
func (s *session) search() {
	const enough = 1000
	for {
		s.mu.Lock()
		i, n := 0, 0
		for i < len(s.catchUp) && s.catchUp[i].found {
			n += len(s.catchUp[i].values)
			i++
		}
		idle := i == len(s.catchUp) || n >= enough
		s.mu.Unlock()
		if idle {
			return
		}
		s.b.mu.Lock() // for each anew
		s.mu.Lock()
		if i < len(s.catchUp) && !s.catchUp[i].found {
			up := &s.catchUp[i]
			s.b.values.Match(up.sub.filter, func(_ string, v *value) bool {
				if m := v.message.Load(); m != nil && m.seq < up.before {
					up.values = append(up.values, v)
				}
				return true
			})
			up.found = true
		}
		s.mu.Unlock()
		s.b.mu.Unlock()
	}
}

// A retained value at QoS 1 is promised like any other message, but a record for each
// would be a write for each whenever a device subscribes anew. So the record of the
// subscription says that some are to come, and after a crash all are sent again.

// promises says whether a retained value reaches a new subscription at QoS 1 or 2. While
// the client has not been told of those before, it is as it was. b.mu is held.
func (b *Broker) promises(s *session, sub *subscription) (owes bool) {
	s.mu.Lock()
	i := slices.IndexFunc(s.catchUp, func(up catchUp) bool { return up.sub.filter == sub.filter })
	if i >= 0 {
		owes = s.catchUp[i].owes
	}
	s.mu.Unlock()
	if i >= 0 {
		return owes
	}
	b.values.Match(sub.filter, func(_ string, v *value) bool {
		m := v.message.Load()
		owes = m != nil && m.qos > 0
		return !owes
	})
	return owes
}

// owe notes that the record of a subscription says so. s.mu is held.
func (s *session) owe(sub *subscription) {
	if s.owes == nil {
		s.owes = map[string]*subscription{}
	}
	s.owes[sub.filter] = sub
}

// owesNoMore is for a subscription that ends or is replaced.
func (s *session) owesNoMore(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owes, name)
}

// caughtUp tells the store when the client has all it was owed. s.mu is held.
func (s *session) caughtUp() {
	if len(s.owes) == 0 || len(s.catchUp) > 0 || s.told > 0 {
		return
	}
	for name, sub := range s.owes {
		s.b.store.Put(store.Record{Kind: store.Subscription, Key: subscriptionKey(s.num, name), Value: sub.encode(false)}, forgetWithin, nil)
	}
	s.owes = nil
}

// The publisher's side of QoS 2.

// receive notes the packet id of a QoS 2 message, and reports whether it is that of
// one that was received before.
func (s *session) receive(id uint16, dup bool) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// After a crash the disk may still know a message whose release it missed. A
	// client that sends again says DUP [MQTT-3.3.1-1].
	turn, ok := s.received[id]
	if s.received == nil {
		s.received = map[uint16]uint32{}
	}
	if s.received[id] = s.turn; turn != s.turn {
		s.open++
	}
	return ok && (dup || turn > 0)
}

func (s *session) release(id uint16) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	turn, known := s.received[id]
	if delete(s.received, id); known && turn == s.turn {
		s.open--
	}
	return known
}

// unreleased counts the QoS 2 messages under way on this connection. Those of an earlier
// one do not count: they are sent again, or the client knows no more of them.
func (s *session) unreleased() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// status is what can be told of the session. b.mu is held.
func (s *session) status(now time.Time) ClientStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ClientStatus{
		ID: s.id, User: s.user, Version: s.version, Connected: s.owner != nil,
		Address: s.address, Listener: s.listener, Since: s.since.Add(-s.away), LastSeen: s.lastSeen,
		Subscriptions: len(s.subs),
		Queued:        s.plain.n + s.sure.n - len(s.flight),
		Unacked:       len(s.flight),
		Received:      s.nReceived, Sent: s.nSent, Dropped: s.nDrop, Refused: s.nRefused,
	}
	for _, d := range s.waiting {
		st.QueuedBytes += int64(d.m.size())
	}
	if s.owner != nil {
		st.KeepAlive = s.owner.keepAlive * 2 / 3 // of which it has one and a half
	} else {
		st.ExpiresIn = max(0, s.expiry-s.away-now.Sub(s.since))
	}
	return st
}

func byClient(a, b ClientStatus) int { return cmp.Compare(a.ID, b.ID) }
