package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

const (
	maxUnsent   = 64 << 10               // bytes that wait for a socket before packets do
	stalledFor  = 30 * time.Second       // a write that takes longer ends the connection
	lastWords   = 250 * time.Millisecond // for what still has to be sent when a connection is closed
	maxCatchUps = 1024                   // subscriptions of a client whose retained values it has not got yet
)

// A conn is one client's connection as the library sees it: a net.Conn whose
// Write never blocks. The library writes with a lock held that publishers need;
// so one client that does not read would hold up all who publish to it. Here
// packets wait before the lock (waitForRoom), and bytes in out.
type conn struct {
	net.Conn // the real one
	b        *Broker
	from     *listener // nil: by hand
	way      entrance
	ctx      context.Context
	cancel   context.CancelCauseFunc
	client   atomic.Pointer[mqtt.Client] // set when the session is established
	done     chan struct{}               // closed when all of this connection has ended
	sent     chan struct{}               // closed when the socket is

	mu       sync.Mutex
	changed  *sync.Cond // of what follows
	out      []byte     // to be sent
	closed   bool
	unacked  map[uint16]bool // QoS 1 and 2 messages sent and not acknowledged
	catchUp  []catchUp       // retained values still to be sent
	behind   bool            // a goroutine does that
	catching sync.WaitGroup  // and it is this one

	gateState // of the goroutine that reads
}

// Attach serves one connection until it ends, and closes it.
func (b *Broker) Attach(nc net.Conn) { b.serve(nc, entrance{local: true}) }

// serve is where the listeners lead a connection, too.
func (b *Broker) serve(nc net.Conn, e entrance) {
	from := e.listener
	if !b.begin() {
		nc.Close()
		return
	}
	defer b.wg.Done()
	c := &conn{
		Conn: nc, b: b, from: from, way: e,
		done: make(chan struct{}), sent: make(chan struct{}),
		unacked: map[uint16]bool{},
	}
	c.changed = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancelCause(b.ctx)
	defer close(c.done)

	b.mu.Lock()
	b.conns[c] = true
	late := b.closed || from != nil && from.isClosed()
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	go c.send()
	if late { // whoever ends all connections may not have seen this one
		c.Close()
	}

	if e.due.IsZero() {
		e.due = time.Now().Add(b.limits.Load().connectWithin)
	}
	nc.SetReadDeadline(e.due)
	err := c.run()
	c.Close()
	<-c.sent
	c.catching.Wait()
	c.leave()
	b.log.Debug("broker: connection ended", "from", c.RemoteAddr().String(), "client", c.id, "err", err)
}

// run lets the library serve the connection. What makes it panic, such as the
// SUBSCRIBE of 10 bytes, ends this connection only.
func (c *conn) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			c.b.log.Error("broker: a packet made the server panic, its connection is closed",
				"from", c.RemoteAddr().String(), "client", c.id, "panic", r, "stack", string(debug.Stack()))
		}
	}()
	return c.b.server.EstablishConnection("", c)
}

// end ends the connection from outside, with a reason for MQTT 5 clients.
func (c *conn) end(why packets.Code) {
	if cl := c.client.Load(); cl != nil {
		if cl.Properties.ProtocolVersion == 5 {
			c.b.server.DisconnectClient(cl, why)
		}
		cl.Stop(why)
	}
	c.cancel(why)
	c.Close()
}

// claim makes c the connection of its client id, when the one before has ended.
func (c *conn) claim(clean bool) error {
	timeout := time.NewTimer(claimTimeout)
	defer timeout.Stop()
	for {
		old, err := c.tryClaim(clean)
		if old == nil {
			return err
		}
		old.end(packets.ErrSessionTakenOver)
		select {
		case <-old.done:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-timeout.C:
			return errors.New("the connection it replaces does not end")
		}
	}
}

func (c *conn) tryClaim(clean bool) (old *conn, err error) {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[c.id]
	if s != nil && s.owner != nil {
		return s.owner, nil
	}
	if s == nil && len(b.sessions) >= maxSessions {
		return nil, errTooManySessions
	}
	existing, ok := b.server.Clients.Get(c.id)
	if s == nil || clean || !ok || existing.Properties.Clean && existing.Properties.ProtocolVersion < 5 {
		s = &session{received: map[uint16]bool{}}
		b.sessions[c.id] = s
	}
	s.owner = c
	c.session = s
	if w, ok := b.wills[c.id]; ok {
		delete(b.wills, c.id)
		if clean { // the session the will belongs to is over
			c.oldWill = &w.packet
		}
	}
	return nil, nil
}

var errTooManySessions = errors.New("too many sessions")

// leave does what is due after the connection has ended: the will, and the
// session unless it is kept.
func (c *conn) leave() {
	b := c.b
	if c.session == nil {
		return
	}
	p := &c.cl.Properties
	var kept time.Duration
	switch {
	case p.ProtocolVersion == 5:
		kept = min(sessionLifetime, time.Duration(p.Props.SessionExpiryInterval)*time.Second)
	case !p.Clean:
		kept = sessionLifetime
	}
	if c.will != nil && b.ctx.Err() == nil {
		if delay := min(kept, c.willDelay); delay > 0 {
			b.mu.Lock()
			b.wills[c.id] = delayed{*c.will, time.Now().Add(delay)}
			b.mu.Unlock()
		} else {
			b.sendWill(*c.will, c.id)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.session.owner = nil
	if _, ok := b.server.Clients.Get(c.id); kept == 0 || !ok {
		b.forget(c.id, c.cl)
	}
}

// Write takes p to be sent.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.out = append(c.out, p...)
	c.changed.Broadcast()
	return len(p), nil
}

// SetDeadline is the library's keep-alive. It counts for reading; writing has a
// limit of its own.
func (c *conn) SetDeadline(t time.Time) error { return c.Conn.SetReadDeadline(t) }

// Close lets what was written be sent, for a moment, and then closes the socket.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.Conn.SetWriteDeadline(time.Now().Add(lastWords))
		c.cancel(net.ErrClosed)
		c.changed.Broadcast()
	}
	return nil
}

// send writes to the socket, and closes it in the end.
func (c *conn) send() {
	defer close(c.sent)
	defer c.Conn.Close()
	defer c.Close()
	var spare []byte
	for {
		c.mu.Lock()
		for len(c.out) == 0 && !c.closed {
			c.changed.Wait()
		}
		if len(c.out) == 0 {
			c.mu.Unlock()
			return
		}
		out := c.out
		c.out = spare[:0]
		if !c.closed {
			c.Conn.SetWriteDeadline(time.Now().Add(stalledFor))
		}
		c.changed.Broadcast()
		c.mu.Unlock()
		if _, err := c.Conn.Write(out); err != nil {
			return
		}
		spare = nil
		if cap(out) <= 4<<10 {
			spare = out // a quiet connection needs no more, and keeps no more
		}
	}
}

// waitForRoom returns when the client has taken enough of what was sent: bytes
// for all packets, and acknowledgements of messages if it limits them.
func (c *conn) waitForRoom(message bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && (len(c.out) >= maxUnsent || message && len(c.unacked) >= c.window) {
		c.changed.Wait()
	}
}

// messageSent counts a QoS 1 or 2 message that is on its way.
func (c *conn) messageSent(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unacked[id] = true
}

// messageDone is its acknowledgement.
func (c *conn) messageDone(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.unacked, id)
	c.changed.Broadcast()
}

// A catchUp is a new subscription and the topics that had a value when it was
// made: what comes later reaches it as a live message.
type catchUp struct {
	sub    packets.Subscription
	topics []string
}

// sendRetained sends the retained values of new subscriptions, at the client's
// pace: more of them than its queue takes are nothing unusual. It returns at once.
func (c *conn) sendRetained(subs []catchUp) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.catchUp)+len(subs) > maxCatchUps {
		return packets.ErrQuotaExceeded
	}
	c.catchUp = append(c.catchUp, subs...)
	if !c.behind && len(c.catchUp) > 0 {
		c.behind = true
		c.catching.Go(c.catchUpAll)
	}
	return nil
}

func (c *conn) catchUpAll() {
	for {
		c.mu.Lock()
		if c.closed || len(c.catchUp) == 0 {
			c.catchUp, c.behind = nil, false
			c.mu.Unlock()
			return
		}
		next := c.catchUp[0]
		c.catchUp = c.catchUp[1:]
		c.mu.Unlock()
		for _, topic := range next.topics {
			c.waitForRoom(next.sub.Qos > 0)
			if !c.sendValue(topic, next.sub) {
				break
			}
		}
	}
}

// sendValue sends the newest value of a topic. The values are locked meanwhile:
// else a newer one could overtake it, and the client would end with the old one.
func (c *conn) sendValue(topic string, sub packets.Subscription) (goOn bool) {
	r := c.b.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	pk, ok := r.getLocked(topic)
	if !ok {
		return true
	}
	pk.Origin = ofRetained
	pk.Created = time.Now().Unix()
	pk.FixedHeader.Qos = min(pk.FixedHeader.Qos, sub.Qos)
	if sub.Identifier > 0 {
		pk.Properties.SubscriptionIdentifier = []int{sub.Identifier}
	}
	cl := c.cl
	if pk.FixedHeader.Qos > 0 {
		if cl.State.Inflight.Len() >= maxQueued {
			c.b.lost.Add(1)
			return true
		}
		id, err := cl.NextPacketID()
		if err != nil {
			c.b.lost.Add(1)
			return true
		}
		pk.PacketID = uint16(id)
		cl.State.Inflight.Set(pk)
	}
	if err := cl.WritePacket(pk); err != nil {
		if pk.FixedHeader.Qos > 0 && errors.Is(err, packets.ErrPacketTooLarge) {
			cl.State.Inflight.Delete(pk.PacketID)
		}
		return errors.Is(err, packets.ErrPacketTooLarge)
	}
	return true
}

// ofRetained is the origin of packets that sendValue sends.
const ofRetained = "\x00retained"
