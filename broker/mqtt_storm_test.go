package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// These go over real sockets, where what was sent may be lost with a connection.

var silent = slog.New(slog.DiscardHandler)

// dialled gives a connected client over TCP.
func dialled(t *testing.T, addr, id string, version byte, change ...func(*packets.Packet)) *client {
	t.Helper()
	c := speak(t, dial(t, addr), version)
	c.connect(id, change...)
	return c
}

// A client that comes back at once with its id always hears what it subscribes to.
func TestThousandReconnectsNoneIsDeaf(t *testing.T) {
	b := open(t, Options{Log: silent})
	addr := listen(t, b, "127.0.0.1:0")[0]
	pub := dialled(t, addr, "pub", 4)
	for i := range 1000 {
		version := byte(4 + i%2)
		c := dialled(t, addr, "same", version)
		c.subscribe(1, byte(i%3), "a")
		pub.tell("a", fmt.Sprint(i), 1)
		c.hear(fmt.Sprintf("a %d%s", i, []string{"", " q1", " q1"}[i%3]))
		switch i % 4 {
		case 0:
			c.disconnect()
		case 1:
			c.nc.Close()
		} // else the next one takes over
	}
}

// Exactly once, though both sides lose their connection again and again, wherever
// the handshake is.
func TestQoS2ExactlyOnceOver100Reconnects(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			b := open(t, Options{Log: silent})
			addr := listen(t, b, "127.0.0.1:0")[0]
			rnd := rand.New(rand.NewPCG(1, uint64(version)))

			const messages, breaks = 400, 100
			left := breaks
			pub := &qos2Publisher{addr: addr, version: version, unacked: map[uint16]int{}, released: map[uint16]bool{}}
			sub := &qos2Subscriber{addr: addr, version: version, known: map[uint16]bool{}}
			sub.connect(t)
			sub.c.subscribe(1, 2, "count")
			pub.connect(t)
			for pub.done < messages || len(sub.got) < messages || len(sub.known) > 0 {
				// Neither ever waits for more than one packet, so that a break can come anywhere.
				if pub.done < messages {
					pub.step(t, messages)
				}
				if pub.sent > len(sub.got) || len(sub.known) > 0 {
					sub.step(t, pub.done)
				}
				if left > 0 && rnd.IntN(6) == 0 {
					left--
					if rnd.IntN(2) == 0 {
						if rnd.IntN(2) == 0 { // else the new one takes over
							pub.c.nc.Close()
						}
						pub.connect(t)
					} else {
						if rnd.IntN(2) == 0 {
							sub.c.nc.Close()
						}
						sub.connect(t)
					}
				}
			}
			if left > 0 {
				t.Errorf("only %d breaks", breaks-left)
			}
			seen := map[string]int{}
			for _, s := range sub.got {
				seen[s]++
			}
			for i := range messages {
				if n := seen[fmt.Sprint(i)]; n != 1 {
					t.Errorf("message %d came %d times", i, n)
				}
			}
			sub.c.alive()
		})
	}
}

// A qos2Publisher publishes 0, 1, 2 and so on, up to four at a time.
type qos2Publisher struct {
	addr       string
	version    byte
	c          *client
	next       uint16         // packet id
	unacked    map[uint16]int // PUBREC has not come: the number
	released   map[uint16]bool
	order      []uint16
	sent, done int
}

func (p *qos2Publisher) connect(t *testing.T) {
	p.c = dialled(t, p.addr, "publisher", p.version, kept)
	if p.sent > 0 && !p.c.connack.SessionPresent {
		t.Fatal("the publisher has no session")
	}
	for _, id := range p.order { // again, in order
		if i, ok := p.unacked[id]; ok {
			p.c.publish("count", fmt.Sprint(i), 2, id, dup)
		}
	}
	for _, id := range p.order {
		if p.released[id] {
			p.c.ack(packets.Pubrel, id)
		}
	}
}

func (p *qos2Publisher) step(t *testing.T, messages int) {
	t.Helper()
	for len(p.order) < 4 && p.sent < messages {
		p.next = p.next%50 + 1
		id := p.next
		p.unacked[id] = p.sent
		p.order = append(p.order, id)
		p.c.publish("count", fmt.Sprint(p.sent), 2, id)
		p.sent++
	}
	pk, err := p.c.receive()
	if err != nil {
		t.Fatal("publisher:", err)
	}
	id := pk.PacketID
	switch pk.FixedHeader.Type {
	case packets.Pubrec:
		if _, ok := p.unacked[id]; ok {
			delete(p.unacked, id)
			p.released[id] = true
		}
		p.c.ack(packets.Pubrel, id)
	case packets.Pubcomp:
		if !p.released[id] {
			return // it came twice, for PUBREL was sent twice
		}
		delete(p.released, id)
		for i, o := range p.order {
			if o == id {
				p.order = append(p.order[:i], p.order[i+1:]...)
				break
			}
		}
		p.done++
	default:
		t.Fatal("publisher:", show(pk))
	}
}

// A qos2Subscriber takes each message once, as method A of the specification's 4.3.3.
type qos2Subscriber struct {
	addr    string
	version byte
	c       *client
	known   map[uint16]bool // PUBREL has not come
	got     []string
}

func (s *qos2Subscriber) connect(t *testing.T) {
	again := s.c != nil
	s.c = dialled(t, s.addr, "subscriber", s.version, kept)
	if again && !s.c.connack.SessionPresent {
		t.Fatal("the subscriber has no session")
	}
}

func (s *qos2Subscriber) step(t *testing.T, atLeast int) {
	t.Helper()
	// Only what is sure to come is waited for.
	if len(s.known) == 0 && len(s.got) >= atLeast {
		return
	}
	pk, err := s.c.receive()
	if err != nil {
		t.Fatal("subscriber:", err)
	}
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if !s.known[pk.PacketID] {
			s.got = append(s.got, string(pk.Payload))
		} else if !pk.FixedHeader.Dup {
			t.Fatalf("id %d is used for another message", pk.PacketID)
		}
		s.known[pk.PacketID] = true
		s.c.ack(packets.Pubrec, pk.PacketID)
	case packets.Pubrel:
		delete(s.known, pk.PacketID)
		s.c.ack(packets.Pubcomp, pk.PacketID)
	default:
		t.Fatal("subscriber:", show(pk))
	}
}

// A client that is at fault learns why, also if it reads and answers only now: a
// socket that is closed with something unread in it refuses what is sent to it.
func TestLastWordsArrive(t *testing.T) {
	b := open(t, Options{Log: silent})
	for _, addr := range listen(t, b, "127.0.0.1:0", "unix://"+t.TempDir()+"/s") {
		for range 20 {
			c := dialled(t, addr, "c", 5)
			most := int(c.connack.Properties.ReceiveMaximum)
			var all []byte
			for i := range most + 1 {
				all = append(all, encodeFor(5, publishPacket("a", "1", 2, uint16(i+1)))...)
			}
			c.write(append(all, bytes.Repeat(raw(0xc0), 1000)...))
			for i := range most {
				if pk := c.want(packets.Pubrec); pk.PacketID != uint16(i+1) {
					t.Fatal(show(pk))
				}
				c.ack(packets.Pubrel, uint16(i+1))
			}
			if pk := c.want(packets.Disconnect); pk.ReasonCode != 0x93 {
				t.Fatal(show(pk))
			}
			c.nc.Close()
		}
	}
}

// A thousand rounds of all a client does, and the process is as it was.
func TestSoak(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	b := open(t, Options{Log: silent})
	addrs := listen(t, b, "127.0.0.1:0", "ws://localhost:0", "unix://"+t.TempDir()+"/s")
	round := func(i int) {
		addr, version := addrs[i%len(addrs)], byte(4+i%2)
		id := fmt.Sprint("c", i%7)
		c := dialled(t, addr, id, version, lwt("soak/lwt", id, 0, 0))
		c.subscribe(1, 1, "soak/"+id, "soak/+/x")
		for qos := range byte(3) {
			c.publish("soak/"+id, fmt.Sprint(i), qos, uint16(qos))
		}
		for range 3 { // the acknowledgements and its own messages, in any order
			var pk packets.Packet
			for {
				var err error
				if pk, err = c.receive(); err != nil {
					t.Fatal(err)
				}
				if pk.FixedHeader.Type == packets.Publish {
					break
				}
				if pk.FixedHeader.Type == packets.Pubrec {
					c.ack(packets.Pubrel, pk.PacketID)
				}
			}
			if pk.FixedHeader.Qos > 0 {
				c.ack(packets.Puback, pk.PacketID)
			}
		}
		again := dialled(t, addrs[(i+1)%len(addrs)], id, version)
		c.wantEnd()
		if i%2 == 0 {
			again.disconnect()
		}
		again.nc.Close()
		c.nc.Close()
	}
	for i := range 10 {
		round(i)
	}
	goroutines, descriptors := runtime.NumGoroutine(), openFiles(t)
	for i := range rounds {
		round(i)
	}
	// The last connections end a moment after their clients have gone.
	var n, fds int
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if n, fds = runtime.NumGoroutine(), openFiles(t); n <= goroutines && fds <= descriptors {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	t.Fatalf("%d goroutines before, %d after; %d descriptors before, %d after\n%s", goroutines, n, descriptors, fds,
		stacks[:runtime.Stack(stacks, true)])
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc:", err)
	}
	return len(all)
}

// What waits for a client that is away is bounded, and the newest is what is left
// out or the oldest, but never something between; in order either way.
func TestQueueOfAnAbsentClientHasAnEnd(t *testing.T) {
	story(t, "more than it holds", func(w *world) {
		c := w.connect("c", 4, kept)
		c.subscribe(1, 1, "a")
		w.drop(c)
		pub := w.connect("pub", 4)
		const many = 12_000
		var number [4]byte
		for i := range uint32(many) {
			binary.BigEndian.PutUint32(number[:], i)
			pub.tell("a", string(number[:]), 1)
		}
		c = w.connect("c", 4, kept)
		last, n := int64(-1), 0
		for _, pk := range c.rest() {
			i := int64(binary.BigEndian.Uint32(pk.Payload))
			if last >= 0 && i != last+1 {
				w.Fatalf("%d after %d", i, last)
			}
			last = i
			n++
		}
		if n < 100 || n == many {
			w.Errorf("%d of %d came", n, many)
		}
	})
}
