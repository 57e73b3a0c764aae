package test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// MQTT as it is on the wire, 3.1.1 and 5: as much of it as it takes to be a client
// whose session outlives connections and crashes, and to see what the library of
// other tests would hide, such as the DUP flag and a message that comes twice.
const (
	CONNECT = 1 + iota
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	_
	_
	PINGREQ
	PINGRESP
	DISCONNECT
)

const noSpace = 0x97 // version 5: quota exceeded

type packet struct {
	kind, flags byte
	id          uint16
	topic       string
	payload     string
	code        byte // reason, or return code
	present     bool // CONNACK: there is a session
}

func (p packet) qos() byte { return p.flags >> 1 & 3 }
func (p packet) dup() bool { return p.flags&8 != 0 }

func text(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// wire is the packet's bytes.
func (p packet) wire(version byte) []byte {
	var body []byte
	switch p.kind {
	case PUBLISH:
		body = text(body, p.topic)
		if p.qos() > 0 {
			body = binary.BigEndian.AppendUint16(body, p.id)
		}
		if version == 5 {
			body = append(body, 0)
		}
		body = append(body, p.payload...)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		body = binary.BigEndian.AppendUint16(body, p.id)
		if p.kind == PUBREL {
			p.flags = 2
		}
	case SUBSCRIBE:
		p.flags = 2
		body = binary.BigEndian.AppendUint16(body, p.id)
		if version == 5 {
			body = append(body, 0)
		}
		body = append(text(body, p.topic), p.code)
	}
	return frame(p.kind<<4|p.flags, body)
}

func frame(first byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

// readPacket reads one, and takes a malformed one for an error.
func readPacket(r *bufio.Reader, version byte) (p packet, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return p, err
	}
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return p, err
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return p, err
	}
	p.kind, p.flags = first>>4, first&15
	short := false
	take := func(n int) []byte {
		if n > len(b) {
			short = true
			return make([]byte, n)
		}
		taken := b[:n]
		b = b[n:]
		return taken
	}
	properties := func() {
		if version == 5 {
			n, size := binary.Uvarint(b)
			if size <= 0 {
				short = true
				return
			}
			take(size)
			take(int(n))
		}
	}
	switch p.kind {
	case CONNACK:
		p.present = take(1)[0] == 1
		p.code = take(1)[0]
	case PUBLISH:
		p.topic = string(take(int(binary.BigEndian.Uint16(take(2)))))
		if p.qos() > 0 {
			p.id = binary.BigEndian.Uint16(take(2))
		}
		properties()
		p.payload = string(b)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p.id = binary.BigEndian.Uint16(take(2))
		if len(b) > 0 {
			p.code = take(1)[0]
		}
	case SUBACK:
		p.id = binary.BigEndian.Uint16(take(2))
		properties()
		p.code = take(1)[0]
	case DISCONNECT:
		if len(b) > 0 {
			p.code = take(1)[0]
		}
	case PINGRESP:
	default:
		return p, fmt.Errorf("packet of type %d, which no server sends", p.kind)
	}
	if short {
		return p, fmt.Errorf("packet of type %d ends too early", p.kind)
	}
	return p, nil
}

// A peer is a client with its session, which it keeps as the specification demands
// through lost connections and crashes of the server.
type peer struct {
	id      string
	version byte // 4 or 5
	kept    bool
	// got is called for each message, but for a QoS 2 one that comes again while
	// the first is not released. acked is called when the server has taken over the
	// responsibility for a message, or with a reason that it has not.
	got   func(packet)
	acked func(p packet, code byte)

	mu     sync.Mutex
	conn   net.Conn
	ended  chan struct{} // closed when the connection's reader has returned
	why    error         // of that
	begun  bool          // the server should know the session
	last   uint16        // packet id
	out    []*outgoing   // not completed, oldest first
	in     map[uint16]bool
	subbed chan byte
}

type outgoing struct {
	packet
	received bool // PUBREC has come
}

// connect begins a connection; clean forgets the session on both sides. What had not
// been completed is sent again.
func (p *peer) connect(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	body := append(text(nil, "MQTT"), p.version, 0, 0, 0)
	clean := byte(2)
	if p.kept {
		clean = 0
	}
	body[7] = clean
	switch {
	case p.version == 5 && p.kept:
		body = append(body, 5, 0x11, 0, 0, 0x0e, 0x10) // for an hour
	case p.version == 5:
		body = append(body, 0)
	}
	if _, err := conn.Write(frame(CONNECT<<4, text(body, p.id))); err != nil {
		conn.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	r := bufio.NewReader(conn)
	ack, err := readPacket(r, p.version)
	stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
	case ack.kind != CONNACK || ack.code != 0:
		err = fmt.Errorf("%s: CONNECT is answered by a packet of type %d with code %#x", p.id, ack.kind, ack.code)
	case p.kept && p.begun && !ack.present:
		err = fmt.Errorf("%s: %w", p.id, errSessionLost)
	}
	if err != nil {
		conn.Close()
		return err
	}
	if !p.kept || !ack.present {
		p.out, p.in = nil, map[uint16]bool{}
	}
	p.begun = true
	p.conn, p.ended, p.subbed = conn, make(chan struct{}), make(chan byte, 1)
	for _, o := range p.out {
		again := o.packet
		if again.flags |= 8; o.received {
			again = packet{kind: PUBREL, id: o.id}
		}
		p.write(again)
	}
	go p.read(r, conn, p.ended)
	return nil
}

var errSessionLost = errors.New("the server does not know the session any more")

// write sends a packet. What goes wrong the reader will meet, too. p.mu is held.
func (p *peer) write(q packet) {
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(q.wire(p.version)); err != nil {
		p.conn.Close()
	}
}

func (p *peer) read(r *bufio.Reader, conn net.Conn, ended chan struct{}) {
	defer close(ended)
	defer conn.Close()
	for {
		q, err := readPacket(r, p.version)
		if err == nil {
			err = p.handle(q)
		}
		if err != nil {
			p.mu.Lock()
			p.why = err
			p.mu.Unlock()
			return
		}
	}
}

func (p *peer) handle(q packet) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.out, func(o *outgoing) bool { return o.id == q.id })
	switch q.kind {
	case PUBLISH:
		switch q.qos() {
		case 0:
			p.got(q)
		case 1:
			p.got(q)
			p.write(packet{kind: PUBACK, id: q.id})
		case 2:
			if !p.in[q.id] {
				p.in[q.id] = true
				p.got(q)
			}
			p.write(packet{kind: PUBREC, id: q.id})
		}
	case PUBREL:
		delete(p.in, q.id)
		p.write(packet{kind: PUBCOMP, id: q.id})
	case PUBACK, PUBREC:
		if at < 0 {
			// A PUBREC may come again after a PUBREL that was lost.
			if q.kind == PUBREC {
				p.write(packet{kind: PUBREL, id: q.id})
				return nil
			}
			return fmt.Errorf("PUBACK for packet %d, which was not sent", q.id)
		}
		o := p.out[at]
		if want := [3]byte{0, PUBACK, PUBREC}[o.qos()]; q.kind != want {
			return fmt.Errorf("packet %d of QoS %d is answered by a packet of type %d", q.id, o.qos(), q.kind)
		}
		if !o.received {
			p.acked(o.packet, q.code)
		}
		if q.kind == PUBACK || q.code >= 0x80 {
			p.out = slices.Delete(p.out, at, at+1)
			return nil
		}
		o.received = true
		p.write(packet{kind: PUBREL, id: q.id})
	case PUBCOMP:
		if at >= 0 {
			p.out = slices.Delete(p.out, at, at+1)
		}
	case SUBACK:
		p.subbed <- q.code
	case DISCONNECT:
		return fmt.Errorf("the server says DISCONNECT with reason %#x", q.code)
	}
	return nil
}

// publish sends a message, and does not wait for its acknowledgement.
func (p *peer) publish(topic, payload string, qos byte, retain bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := packet{kind: PUBLISH, flags: qos << 1, topic: topic, payload: payload}
	if retain {
		q.flags |= 1
	}
	if qos > 0 {
		q.id = p.freeID()
		p.out = append(p.out, &outgoing{packet: q})
	}
	p.write(q)
}

func (p *peer) freeID() uint16 {
	for {
		p.last++
		if p.last != 0 && !slices.ContainsFunc(p.out, func(o *outgoing) bool { return o.id == p.last }) {
			return p.last
		}
	}
}

// unacknowledged is how many messages the server has not taken yet.
func (p *peer) unacknowledged() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.out {
		if !o.received {
			n++
		}
	}
	return n
}

func (p *peer) subscribe(ctx context.Context, filter string, qos byte) error {
	p.mu.Lock()
	p.write(packet{kind: SUBSCRIBE, id: p.freeID(), topic: filter, code: qos})
	subbed, ended := p.subbed, p.ended
	p.mu.Unlock()
	select {
	case code := <-subbed:
		if code != qos {
			return fmt.Errorf("%s: SUBSCRIBE to %s with QoS %d is answered by %#x", p.id, filter, qos, code)
		}
		return nil
	case <-ended:
		return fmt.Errorf("%s: subscribe to %s: %w", p.id, filter, p.reason())
	case <-ctx.Done():
		return fmt.Errorf("%s: subscribe to %s: %w", p.id, filter, ctx.Err())
	}
}

// gone is closed when the connection has ended, for the reason that reason gives then.
func (p *peer) gone() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

func (p *peer) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why
}

// leave ends the connection, politely or not; the session stays.
func (p *peer) leave(politely bool) {
	p.mu.Lock()
	conn, ended := p.conn, p.ended
	if conn != nil && politely {
		p.write(packet{kind: DISCONNECT})
	}
	p.mu.Unlock()
	if conn == nil {
		return
	}
	if !politely {
		conn.Close()
	}
	select {
	case <-ended:
	case <-time.After(time.Second):
		conn.Close()
		<-ended
	}
}
