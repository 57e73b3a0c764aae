package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// MQTT 3.1.1 as it is on the wire, with as little around it as possible: a client
// library would cost more than what is measured.
const (
	connack = 2
	publish = 3
	puback  = 4
	suback  = 9
)

func frame(first byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

func text(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// connectPacket is a CONNECT without keepalive; clean: without a session that is kept.
func connectPacket(id string, clean bool) []byte {
	b := append(text(nil, "MQTT"), 4, 0, 0, 0)
	if clean {
		b[7] = 2
	}
	return frame(0x10, text(b, id))
}

func subscribePacket(filter string, qos byte) []byte {
	return frame(0x82, append(text([]byte{0, 1}, filter), qos))
}

// publishPacket is a PUBLISH of 100 bytes of payload, of which the first eight are
// stamp. With QoS 1 id is its packet id.
func publishPacket(topic string, qos byte, id uint16, stamp int64) []byte {
	b := text(make([]byte, 0, 256), topic)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(stamp))
	b = append(b, make([]byte, 92)...)
	return frame(0x30|qos<<1, b)
}

var begun = time.Now()

// now is the time that goes into a message and is compared when it arrives.
func now() int64 { return int64(time.Since(begun)) }

// A client is one connection, to be used by one goroutine that reads and one that
// writes.
type client struct {
	nc   net.Conn
	r    *bufio.Reader
	body []byte
	id   uint16
}

const patience = 15 * time.Second

func dial(addr, id string, clean bool) (*client, error) {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, r: bufio.NewReaderSize(nc, 64<<10)}
	nc.SetDeadline(time.Now().Add(patience))
	defer nc.SetDeadline(time.Time{})
	if _, err := nc.Write(connectPacket(id, clean)); err != nil {
		nc.Close()
		return nil, err
	}
	if first, body, err := c.next(); err != nil || first>>4 != connack || body[1] != 0 {
		nc.Close()
		return nil, fmt.Errorf("%s: the answer to CONNECT is %#x % x: %v", id, first, body, err)
	}
	return c, nil
}

func (c *client) subscribe(filter string, qos byte) error {
	c.nc.SetDeadline(time.Now().Add(patience))
	defer c.nc.SetDeadline(time.Time{})
	if _, err := c.nc.Write(subscribePacket(filter, qos)); err != nil {
		return err
	}
	if first, body, err := c.next(); err != nil || first>>4 != suback || body[2] > 2 {
		return fmt.Errorf("the answer to SUBSCRIBE is %#x % x: %v", first, body, err)
	}
	return nil
}

func (c *client) publish(topic string, qos byte, stamp int64) error {
	if c.id++; c.id == 0 {
		c.id = 1
	}
	_, err := c.nc.Write(publishPacket(topic, qos, c.id, stamp))
	return err
}

// next reads a packet. Its body is good until the next.
func (c *client) next() (first byte, body []byte, err error) {
	if first, err = c.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		return 0, nil, err
	}
	if uint64(cap(c.body)) < n {
		c.body = make([]byte, n)
	}
	body = c.body[:n]
	_, err = io.ReadFull(c.r, body)
	return first, body, err
}

// receive reads packets until the connection ends, acknowledges messages of QoS 1
// when there is nothing more to be read at once, and hands on the stamp of each, or
// the packet id of an acknowledgement.
func (c *client) receive(message func(stamp int64), acked func(id uint16)) error {
	var out []byte
	for {
		if len(out) > 0 && (c.r.Buffered() == 0 || len(out) > 16<<10) {
			if _, err := c.nc.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
		first, body, err := c.next()
		if err != nil {
			return err
		}
		switch first >> 4 {
		case publish:
			at := 2 + int(binary.BigEndian.Uint16(body))
			if first&6 != 0 {
				out = append(out, puback<<4, 2, body[at], body[at+1])
				at += 2
			}
			if message != nil {
				message(int64(binary.BigEndian.Uint64(body[at:])))
			}
		case puback:
			if acked != nil {
				acked(binary.BigEndian.Uint16(body))
			}
		}
	}
}

// A crowd is thousands of connections of which nobody reads packets: it counts their
// bytes, in one goroutine. A goroutine for each would cost this process more than
// the broker.
type crowd struct {
	addr  *unix.SockaddrInet4
	epoll int
	fds   []int
	got   map[int]int64 // bytes by socket
	total int64
	gone  int // sockets that the broker has closed
	buf   []byte
}

func newCrowd(addr string) (*crowd, error) {
	tcp, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	c := &crowd{addr: &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(tcp.IP.To4())}, got: map[int]int64{}, buf: make([]byte, 256<<10)}
	c.epoll, err = unix.EpollCreate1(0)
	return c, err
}

// join adds a socket that sends say, and has read as many bytes as the answer has.
func (c *crowd) join(say []byte, answer int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	c.fds = append(c.fds, fd)
	if err := unix.Connect(fd, c.addr); err != nil {
		return fmt.Errorf("connection %d: %w", len(c.fds), err)
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if len(say) > 0 {
		if _, err := unix.Write(fd, say); err != nil {
			return err
		}
	}
	for answer > 0 {
		n, err := unix.Read(fd, c.buf[:answer])
		if err != nil || n == 0 {
			return fmt.Errorf("connection %d: the broker closed it: %v", len(c.fds), err)
		}
		answer -= n
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// member adds a connected client with one subscription at QoS 0.
func (c *crowd) member(id, filter string) error {
	return c.join(append(connectPacket(id, true), subscribePacket(filter, 0)...), 4+5)
}

// look reads what is there, or comes within d.
func (c *crowd) look(d time.Duration) error {
	var events [512]unix.EpollEvent
	n, err := unix.EpollWait(c.epoll, events[:], int(d.Milliseconds()))
	if err == unix.EINTR {
		return nil
	}
	for _, e := range events[:max(n, 0)] {
		fd := int(e.Fd)
		n, err := unix.Read(fd, c.buf)
		switch {
		case n > 0:
			c.got[fd] += int64(n)
			c.total += int64(n)
		case err != unix.EAGAIN && err != unix.EINTR:
			c.gone++
			unix.EpollCtl(c.epoll, unix.EPOLL_CTL_DEL, fd, nil)
		}
	}
	return err
}

func (c *crowd) close() {
	for _, fd := range c.fds {
		unix.Close(fd)
	}
	unix.Close(c.epoll)
}
