package bridge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	maxPacket    = 1 << 20          // bytes of a packet that comes
	window       = 64               // messages on the way in one direction
	answerWithin = 10 * time.Second // for a connection, and for CONNACK
	stalledFor   = 30 * time.Second // a write that takes longer ends the connection
	lastWords    = 250 * time.Millisecond
)

// A link is one MQTT connection. What comes is read off in; what is sent waits in a
// buffer for a goroutine of its own, so that neither side of a bridge ever waits
// for the other one's socket.
type link struct {
	conn    net.Conn
	version byte
	present bool // the session was there
	server  server
	in      chan packet
	ctx     context.Context // ends with the connection; its cause says why
	end     context.CancelCauseFunc
	wg      sync.WaitGroup
	sent    chan struct{} // poked when the buffer has been written

	mu     sync.Mutex
	wake   *sync.Cond
	out    []byte
	closed bool
}

// A refusal is a CONNACK that says no.
type refusal struct {
	code    byte
	version byte
	reason  string // what the broker says itself
}

func (r *refusal) Error() string {
	text := words(r.code, r.version)
	if r.reason != "" {
		text += fmt.Sprintf(" (%q)", r.reason)
	}
	return text
}

// unsupported says that the broker does not speak this version.
func (r *refusal) unsupported() bool { return r.code == 0x84 || r.code == 1 }

// connect logs in over conn, which is closed if that fails.
func connect(ctx context.Context, conn net.Conn, version byte, l login) (*link, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(answerWithin))
	r := bufio.NewReader(conn)
	p, err := func() (packet, error) {
		if _, err := conn.Write(appendConnect(nil, version, l)); err != nil {
			return packet{}, err
		}
		return readPacket(r, version, maxPacket)
	}()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case hungUp(err):
		err = errors.New("it closed the connection before it answered: is it an MQTT broker?")
	case errors.Is(err, errMalformed):
		err = errors.New("it answered with what is not MQTT")
	case err != nil:
	case p.kind != kindConnack:
		err = fmt.Errorf("it answered with a packet of kind %d: is it an MQTT broker?", p.kind)
	case p.code != 0:
		err = &refusal{p.code, version, p.reason}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	k := &link{conn: conn, version: version, present: p.present, server: p.server, in: make(chan packet), sent: make(chan struct{}, 1)}
	k.wake = sync.NewCond(&k.mu)
	k.ctx, k.end = context.WithCancelCause(context.Background())
	alive := time.Duration(l.alive) * time.Second
	if s := p.server.keepalive; s > 0 {
		alive = time.Duration(s) * time.Second
	}
	k.wg.Go(func() { k.read(r, alive) })
	k.wg.Go(k.write)
	if alive > 0 {
		k.wg.Go(func() { k.ping(alive) })
	}
	return k, nil
}

var errHungUp = errors.New("it closed the connection")

// hungUp says whether the other end has closed a connection.
func hungUp(err error) bool {
	return slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.EPIPE},
		func(end error) bool { return errors.Is(err, end) })
}

// receive is how many unacknowledged messages may be sent.
func (k *link) receive() int {
	if k.server.receive > 0 {
		return min(window, int(k.server.receive))
	}
	return window
}

// maxQoS is the highest that may be sent.
func (k *link) maxQoS() byte {
	if k.server.maxQoS&0x80 != 0 {
		return k.server.maxQoS & 1
	}
	return 2
}

// takes says whether a message is not too large.
func (k *link) takes(m *message) bool {
	return k.server.maxPacket == 0 || m.size() <= int(k.server.maxPacket)
}

// read hands on what comes. Whoever reads in may pause; that counts as hearing
// nothing only once it goes on.
func (k *link) read(r *bufio.Reader, alive time.Duration) {
	for {
		if alive > 0 {
			k.conn.SetReadDeadline(time.Now().Add(alive * 3 / 2))
		}
		p, err := readPacket(r, k.version, maxPacket)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				err = fmt.Errorf("nothing was heard for %v", alive*3/2)
			} else if hungUp(err) {
				err = errHungUp
			}
			k.fail(err)
			return
		}
		select {
		case k.in <- p:
		case <-k.ctx.Done():
			return
		}
	}
}

func (k *link) ping(alive time.Duration) {
	tick := time.NewTicker(alive)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			k.send(appendPing)
		case <-k.ctx.Done():
			return
		}
	}
}

// send appends to what is to be sent.
func (k *link) send(packet func([]byte) []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.out = packet(k.out)
		k.wake.Signal()
	}
}

// buffered is how many bytes wait to be sent.
func (k *link) buffered() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.out)
}

// write sends, and closes the connection in the end.
func (k *link) write() {
	defer k.conn.Close()
	for {
		k.mu.Lock()
		for len(k.out) == 0 && !k.closed {
			k.wake.Wait()
		}
		if len(k.out) == 0 {
			k.mu.Unlock()
			return
		}
		out := k.out
		k.out = nil
		if !k.closed {
			k.conn.SetWriteDeadline(time.Now().Add(stalledFor))
		}
		k.mu.Unlock()
		if _, err := k.conn.Write(out); err != nil {
			if hungUp(err) {
				err = errHungUp
			}
			k.fail(err)
			return
		}
		select {
		case k.sent <- struct{}{}:
		default:
		}
	}
}

// fail ends the connection at once; the first reason counts.
func (k *link) fail(err error) {
	k.end(err)
	k.mu.Lock()
	k.closed, k.out = true, nil
	k.wake.Signal()
	k.mu.Unlock()
	k.conn.Close()
}

// close says goodbye and returns when all of the link has ended. With forget its
// session ends too. With will that is sent all the same.
func (k *link) close(forget, will bool) {
	k.send(func(b []byte) []byte { return appendDisconnect(b, k.version, forget, will) })
	k.mu.Lock()
	if !k.closed {
		k.closed = true
		k.conn.SetWriteDeadline(time.Now().Add(lastWords))
		k.wake.Signal()
	}
	k.mu.Unlock()
	k.end(net.ErrClosed)
	k.wg.Wait()
}

// words says what a broker's code means.
func words(code, version byte) string {
	if version < 5 && code < 0x80 {
		code = map[byte]byte{1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}[code]
	}
	if text, ok := meaning[code]; ok {
		return text
	}
	return fmt.Sprintf("reason 0x%02x", code)
}

var meaning = map[byte]string{
	0x00: "it said goodbye",
	0x80: "it does not say why",
	0x81: "it could not read a packet",
	0x82: "it says the protocol was not kept",
	0x83: "it is valid, but not accepted",
	0x84: "it does not speak this version of MQTT",
	0x85: "it does not accept the client id",
	0x86: "user or password is wrong",
	0x87: "not authorized",
	0x88: "it is not available now",
	0x89: "it is busy",
	0x8a: "banned",
	0x8b: "it is stopping",
	0x8c: "it wants another way to log in",
	0x8d: "it heard nothing for too long",
	0x8e: "another client came with the same client id",
	0x8f: "it does not accept the filter",
	0x90: "it does not accept the topic",
	0x93: "too many messages at once",
	0x95: "the message is too large",
	0x96: "too many messages in a short time",
	0x97: "a limit is exceeded",
	0x98: "an administrator ended it",
	0x99: "the payload is not of the form it claims to be",
	0x9a: "it keeps no retained messages",
	0x9b: "it does not serve this quality of service",
	0x9c: "it says to use another server",
	0x9d: "it has moved to another server",
	0x9e: "it has no shared subscriptions",
	0x9f: "too many connections in a short time",
	0xa2: "it has no subscriptions with wildcards",
}
