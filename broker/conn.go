package broker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
	"hearth/store"
)

const (
	maxUnsent = 64 << 10               // bytes of answers that wait for a client that does not read
	chunk     = 16 << 10               // bytes that have to go out within limits.stalled
	lastWords = 500 * time.Millisecond // for what is still to be said to a connection that ends
)

// A conn is one connection. One goroutine reads from it and does what the client
// asks; another, which exists only while there is something to send, is the only one
// that writes. So whoever has something for the client leaves it here and goes on.
type conn struct {
	b    *Broker
	nc   net.Conn
	from entrance
	r    *bufio.Reader
	lim  *limits
	done chan struct{} // closed when all of it has ended

	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc

	// Set by CONNECT.
	id        string
	user      string
	table     *access.Table // by which it was let in
	stamp     string        // of its password
	version   byte
	clean     bool // of the CONNECT
	session   *session
	window    int // QoS 1 and 2 messages the client takes unacknowledged
	maxPacket int // bytes the client takes; 0: any
	keepAlive time.Duration
	will      *message
	oldWill   *message // of the session this one replaced
	entered   bool     // Options.Client was told that it is here
	willDelay time.Duration
	expiry    time.Duration // of the session

	// Of the reading goroutine.
	aliases map[uint16]string // the client's
	hold    <-chan struct{}   // it may publish again when this is closed; nil: now

	outAliases map[string]uint16 // guarded by session.mu
	maxAliases int

	mu      sync.Mutex
	room    sync.Cond // something was sent or acknowledged, or the connection ends
	out     []byte    // answers that are not sent yet
	acks    []*ack    // in the order of what they answer
	more    bool      // the session has something
	writing bool      // the writing goroutine exists
	greeted bool      // CONNACK said so
	ending  bool
	spoke   bool // something was written since settle looked
	writer  sync.WaitGroup
}

// An ack is an acknowledgement that is due. They leave in the order of what they
// answer [MQTT-4.6.0-2], each when its message is safe.
type ack struct {
	c     *conn
	kind  byte // packets.Puback or Pubrec
	id    uint16
	code  byte // guarded by c.mu, as is what follows
	ready bool
	held  bool // the hub wants it to wait
}

func (b *Broker) newConn(nc net.Conn, e entrance) *conn {
	c := &conn{b: b, nc: nc, from: e, lim: b.limits.Load(), done: make(chan struct{})}
	c.room.L = &c.mu
	c.ctx, c.cancel = context.WithCancelCause(b.ctx)
	return c
}

// kick has the session's messages sent.
func (c *conn) kick() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more = true
	c.start()
}

// say sends an answer.
func (c *conn) say(pk packets.Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		pk.ProtocolVersion = c.version
		c.out = appendPacket(c.out, pk)
		c.greeted = c.greeted || pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == packets.CodeSuccess.Code
		c.start()
	}
}

// start starts the writing goroutine. c.mu is held.
func (c *conn) start() {
	if !c.writing && !c.ending {
		c.writing = true
		c.writer.Go(c.write)
	}
}

var batches = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// write sends what there is, and returns.
func (c *conn) write() {
	buf := batches.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= 2*batch {
			*buf = (*buf)[:0]
			batches.Put(buf)
		}
	}()
	for {
		c.mu.Lock()
		b := append((*buf)[:0], c.out...)
		if c.out = c.out[:0]; cap(c.out) > 512 {
			c.out = nil // a quiet connection needs no more, and keeps no more
		}
		more, ending := c.more, c.ending
		c.more = false
		c.spoke = true
		c.room.Broadcast()
		if len(b) == 0 && (!more || ending) {
			c.writing = false
			c.mu.Unlock()
			if _, ok := c.nc.(halfCloser); ending && !ok {
				c.nc.Close()
			}
			return
		}
		c.mu.Unlock()

		if more && !ending && c.session != nil {
			c.session.search()
			var rest bool
			if b, rest = c.session.fill(c, b, time.Now()); rest {
				c.mu.Lock()
				c.more = true
				c.mu.Unlock()
			}
		}
		*buf = b
		for len(b) > 0 {
			n := min(len(b), chunk)
			if !c.deadline() {
				n = len(b) // the last words have their own limit
			}
			if _, err := c.nc.Write(b[:n]); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					err = errStalled
				}
				c.cancel(err)
				c.nc.Close()
				c.mu.Lock()
				c.ending = true
				c.writing = false
				c.room.Broadcast()
				c.mu.Unlock()
				return
			}
			b = b[n:]
		}
	}
}

var errStalled = errors.New("it took nothing of what was sent to it")

// deadline gives the next write its time, unless the connection ends.
func (c *conn) deadline() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.nc.SetWriteDeadline(time.Now().Add(c.lim.stalled))
	}
	return !c.ending
}

// end ends the connection: what was answered is still sent, an MQTT 5 client is told
// why, and the reading goroutine does the rest. It does not wait.
func (c *conn) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	var code packets.Code
	if errors.As(why, &code) && c.greeted && c.version == 5 && code.Code >= packets.ErrUnspecifiedError.Code {
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ProtocolVersion: 5, ReasonCode: code.Code}
		pk.Properties.ReasonString = code.Reason
		if c.maxPacket == 0 || len(code.Reason)+16 <= c.maxPacket {
			c.out = appendPacket(c.out, pk)
		}
	}
	c.cancel(why)
	now := time.Now()
	c.nc.SetWriteDeadline(now.Add(lastWords))
	if _, ok := c.nc.(halfCloser); ok { // a WebSocket would close with its read; it is closed after the last words
		c.nc.SetReadDeadline(now)
	}
	c.start()
	c.ending = true
	c.room.Broadcast()
}

// A halfCloser can say that nothing more comes, and still read.
type halfCloser interface{ CloseWrite() error }

// linger reads on for a moment after the last words, if there was a fault to tell: a
// socket that is closed with something unread in it takes them back.
func (c *conn) linger(why error) {
	nc, ok := c.nc.(halfCloser)
	var code packets.Code
	if !ok || !errors.As(why, &code) || code.Code < packets.ErrUnspecifiedError.Code || errors.Is(why, packets.ErrServerShuttingDown) ||
		nc.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(lastWords))
	io.CopyN(io.Discard, c.nc, 16<<20)
}

// read reads and does what it says until the connection ends, and returns why.
func (c *conn) read() error {
	var deadline time.Time // as it was set last
	for {
		if c.keepAlive > 0 {
			// A minute's accuracy in ten: setting it each time costs more than decoding.
			if d := time.Now().Add(c.keepAlive); d.Sub(deadline) > c.keepAlive/16 {
				deadline = d
				c.nc.SetReadDeadline(d)
				if c.ctx.Err() != nil { // end had set it
					return context.Cause(c.ctx)
				}
			}
		}
		// It waits here and not in next: a packet takes a kilobyte of stack, and without
		// it the stacks of thousands that say nothing shrink to the half.
		waited := c.r.Buffered() == 0
		first, err := c.r.Peek(1)
		if err != nil {
			return c.unread(err)
		}
		if waited && first[0]>>4 == packets.Publish {
			// Of connections that have something at once the runtime wakes the last first.
			// Who subscribed a moment before, on another connection, goes ahead.
			runtime.Gosched()
		}
		if err := c.next(); err != nil {
			return err
		}
	}
}

// next reads a packet and does what it says.
func (c *conn) next() error {
	var pk packets.Packet
	if err := readPacket(c.r, &pk, c.version, c.lim.packet); err != nil {
		return c.unread(err)
	}
	if !isAck(pk.FixedHeader.Type) {
		c.from.pace.pause(c.ctx)
	}
	return c.handle(&pk)
}

// unread says why nothing more can be read.
func (c *conn) unread(err error) error {
	switch {
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return packets.ErrKeepAliveTimeout
	}
	return err
}

// waitForRoom returns when the client has taken enough of what was answered, and
// when the acknowledgements it waits for are below the limit. So who does not read,
// or sends faster than the disk commits, is not read from.
func (c *conn) waitForRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ending && (len(c.out) > maxUnsent || len(c.acks) >= c.lim.receive) {
		c.room.Wait()
	}
	if c.ending {
		return context.Cause(c.ctx)
	}
	return nil
}

// promise puts an acknowledgement into the order.
func (c *conn) promise(kind byte, id uint16, held bool) *ack {
	a := &ack{c: c, kind: kind, id: id, held: held}
	c.mu.Lock()
	c.acks = append(c.acks, a)
	c.mu.Unlock()
	return a
}

// settle lets an acknowledgement go: its message is as safe as it has to be.
func (a *ack) settle() {
	c := a.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !a.ready {
		a.ready = true
		c.flush()
	}
}

// refuse tells an MQTT 5 client that the disk refuses its message. An older one has
// no word for that; it waits until the disk takes it after all.
func (a *ack) refuse() {
	c := a.c
	if c.version < 5 {
		return
	}
	c.mu.Lock()
	refused := !a.ready
	if refused {
		a.ready, a.code = true, packets.ErrQuotaExceeded.Code
		c.flush()
	}
	c.mu.Unlock()
	if refused && a.kind == packets.Pubrec {
		c.forget(a.id)
	}
}

// forget ends the exchange of a QoS 2 message that is refused [MQTT-4.3.3-9].
func (c *conn) forget(id uint16) {
	c.session.release(id)
	if c.b.store != nil {
		c.b.store.Put(store.Record{Kind: store.Unreleased, Key: unreleasedKey(c.session.num, id)}, forgetWithin, nil)
	}
}

func (a *ack) refused() bool {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	return a.code >= packets.ErrUnspecifiedError.Code
}

// quota says that what it acknowledges is beyond a limit. It comes before settle.
func (a *ack) quota() {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.code = packets.ErrQuotaExceeded.Code
}

// letGo ends a hold.
func (a *ack) letGo() {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.held = false
	a.c.flush()
}

// flush sends the acknowledgements that are due and whose turn it is. c.mu is held.
func (c *conn) flush() {
	sent := 0
	for _, a := range c.acks {
		if !a.ready || a.held {
			break
		}
		sent++
		if !c.ending {
			if c.version == 5 && a.code != 0 {
				c.out = appendPacket(c.out, packets.Packet{FixedHeader: packets.FixedHeader{Type: a.kind}, ProtocolVersion: 5, PacketID: a.id, ReasonCode: a.code})
			} else {
				c.out = append(c.out, a.kind<<4, 2, byte(a.id>>8), byte(a.id))
			}
		}
	}
	if sent == 0 {
		return
	}
	clear(c.acks[:sent])
	if c.acks = c.acks[sent:]; len(c.acks) == 0 {
		c.acks = nil
	}
	c.room.Broadcast()
	c.start()
}

// refuseAll tells an MQTT 5 client that the disk refuses what waits for it.
func (c *conn) refuseAll() {
	c.mu.Lock()
	waiting := append([]*ack(nil), c.acks...)
	c.mu.Unlock()
	for _, a := range waiting {
		a.refuse()
	}
}

// appendMessage encodes a delivery; nothing is appended if it is larger than the
// client takes. session.mu is held.
func (c *conn) appendMessage(b []byte, d *delivery, now time.Time) []byte {
	f := form{version: c.version, qos: d.qos, dup: d.sent && d.qos > 0, retain: d.retain, id: d.id, subs: d.subs}
	fresh := false
	if c.maxAliases > 0 {
		if f.alias = c.outAliases[d.m.topic]; f.alias > 0 {
			f.bare = true
		} else if len(c.outAliases) < c.maxAliases {
			f.alias, fresh = uint16(len(c.outAliases)+1), true
		}
	}
	start := len(b)
	b = appendPublish(b, d.m, f, now)
	if c.maxPacket > 0 && len(b)-start > c.maxPacket && fresh {
		f.alias, fresh = 0, false // which took some bytes
		b = appendPublish(b[:start], d.m, f, now)
	}
	if c.maxPacket > 0 && len(b)-start > c.maxPacket {
		return b[:start]
	}
	if fresh {
		if c.outAliases == nil {
			c.outAliases = map[string]uint16{}
		}
		c.outAliases[strings.Clone(d.m.topic)] = f.alias // it is a part of a packet
	}
	return b
}

// quiet says whether an error is how connections end every day.
func quiet(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}
