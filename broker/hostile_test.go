package broker

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

// What clients can do to the memory, the processor and the log of the broker.

// heap is how much lives in memory.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // for what was in pools at the first
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A timeless connection has no deadlines, whose timers would be in the way here.
type timeless struct{ net.Conn }

func (timeless) SetReadDeadline(time.Time) error  { return nil }
func (timeless) SetWriteDeadline(time.Time) error { return nil }

// A client that comes and goes all week costs what its session costs.
func TestReconnectsLeaveNothingBehind(t *testing.T) {
	b := open(t, Options{Log: slog.New(slog.DiscardHandler)})
	hello := encode(connectPacket("restless", 4, kept, keepalive(0)))
	again := func(n int) {
		for range n {
			here, there := net.Pipe()
			go b.Attach(timeless{there})
			if _, err := here.Write(hello); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(here, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			here.Close()
		}
	}
	again(100)
	before := heap()
	const n = 5000
	again(n)
	if used := heap() - before; used > 100*n {
		t.Errorf("each time costs %d bytes", used/n)
	}
}

// A small retained value does not keep the large one before it in memory, in whose packet
// its topic came first; nor does the topic alias of a subscriber.
func TestATopicDoesNotKeepItsFirstMessage(t *testing.T) {
	b := open(t, Options{Store: openStore(t, t.TempDir(), nil)})
	sub := connect(t, b, "sub", 5, func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum = 16 })
	sub.subscribe(1, 0, "alias/#")
	pub := connect(t, b, "pub", 4)
	before := heap()
	for i := range 100 {
		for _, payload := range []string{strings.Repeat("x", 200_000), "1"} {
			topic := fmt.Sprint("big/", i)
			if i < 16 {
				topic = fmt.Sprint("alias/", i)
			}
			pub.send(publishPacket(topic, payload, 1, 1, func(pk *packets.Packet) { pk.FixedHeader.Retain = true }))
			pub.want(packets.Puback)
			if i < 16 {
				sub.want(packets.Publish)
			}
		}
	}
	if used := heap() - before; used > 2<<20 {
		t.Errorf("100 retained values of a byte take %d KiB", used>>10)
	}
}

// Thousands of sessions that nobody comes back to, as of clients that make up an id
// each time, take what the limit of all queues says, with all that a small message costs.
func TestSmallMessagesForManyWhoAreAway(t *testing.T) {
	b := open(t, Options{Log: slog.New(slog.DiscardHandler)})
	lim := *b.limits.Load()
	lim.queuedBytes = 4 << 20
	b.limits.Store(&lim)
	for i := range 200 {
		c := connect(t, b, fmt.Sprint("lost", i), 4, kept)
		c.subscribe(1, 1, "#")
		c.nc.Close()
	}
	pub := connect(t, b, "pub", 4)
	before := heap()
	for range 1000 {
		pub.tell("t", "21.5", 1)
	}
	if used := heap() - before; used > 6<<20 {
		t.Errorf("what waits takes %d KiB", used>>10)
	}
	if n := b.Stats().Dropped; n == 0 || n > 190_000 {
		t.Errorf("%d messages were dropped", n)
	}
}

// Sessions without number don't subscribe without bounds, and a newcomer has its share.
func TestAllSubscriptionsAreLimited(t *testing.T) {
	b := open(t, Options{Log: slog.New(slog.DiscardHandler)})
	lim := *b.limits.Load()
	lim.allSubs = 300
	b.limits.Store(&lim)
	var filters []packets.Subscription
	for i := range 100 {
		filters = append(filters, packets.Subscription{Filter: fmt.Sprint("a/", i)})
	}
	all := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: filters}
	granted := func(c *client) (n int) {
		c.send(all)
		for _, code := range c.want(packets.Suback).ReasonCodes {
			if code == 0 {
				n++
			} else if code != packets.ErrQuotaExceeded.Code {
				t.Fatalf("SUBACK %#x", code)
			}
		}
		return n
	}
	for i, want := range []int{100, 100, 100, 75, 60} {
		if n := granted(connect(t, b, fmt.Sprint("lost", i), 5, kept)); n != want {
			t.Errorf("%d has %d subscriptions, want %d", i, n, want)
		}
	}
	// Again what it has, and what others gave up.
	if n := granted(connect(t, b, "lost0", 5, kept)); n != 100 {
		t.Errorf("%d of the 100 that it has", n)
	}
	for i := range 5 {
		connect(t, b, fmt.Sprint("lost", i), 5) // a clean start
	}
	if n := granted(connect(t, b, "new", 5)); n != 100 || b.nSubs != 100 {
		t.Errorf("%d granted, %d there", n, b.nSubs)
	}
}

// An acknowledgement that answers nothing, or once more the same, counts as a packet.
func TestAFloodOfAcknowledgements(t *testing.T) {
	for _, kind := range []byte{packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp} {
		t.Run(packets.PacketNames[kind], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t, Options{Log: slog.New(slog.DiscardHandler)})
				defer b.Close()
				messages := 100
				c := visit(t, b, Limits{Messages: &messages})("192.0.2.10")
				if !c.in("c") {
					t.Fatal("refused")
				}
				start := time.Now()
				go io.Copy(io.Discard, c.r)
				one := encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, ProtocolVersion: 4, PacketID: 7})
				for range 2000 { // 400 at once, and 100 a second
					if _, err := c.nc.Write(one); err != nil {
						t.Fatal(err)
					}
				}
				if d := time.Since(start); d < 14*time.Second || d > 17*time.Second {
					t.Errorf("2000 took %v", d)
				}
			})
		})
	}
}

// The same PUBREC again is one of them.
func TestAFloodOfOnePubrec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{Log: slog.New(slog.DiscardHandler)})
		defer b.Close()
		messages := 100
		c := visit(t, b, Limits{Messages: &messages})("192.0.2.10")
		c.connect("c")
		c.subscribe(1, 2, "a")
		if err := b.Publish(Message{Topic: "a", Payload: []byte("1"), QoS: 2}); err != nil {
			t.Fatal(err)
		}
		id := c.want(packets.Publish).PacketID
		go io.Copy(io.Discard, c.r)
		start := time.Now()
		for range 2000 {
			c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrec}, PacketID: id})
		}
		if d := time.Since(start); d < 14*time.Second || d > 17*time.Second {
			t.Errorf("2000 took %v", d)
		}
	})
}

// The pings of a WebSocket count as packets.
func TestAFloodOfWebSocketPings(t *testing.T) {
	b := open(t, Options{Log: slog.New(slog.DiscardHandler)})
	messages := 50
	ch, err := b.Prepare(Config{Listen: []string{"ws://127.0.0.1:0"}, Limits: Limits{Messages: &messages}})
	if err != nil {
		t.Fatal(err)
	}
	ch.Commit()
	ws, _, err := websocket.Dial(t.Context(), b.Addrs()[0], &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	nc := websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	if _, err := nc.Write(encode(connectPacket("c", 4))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	ctx := ws.CloseRead(t.Context())
	start := time.Now()
	for range 250 { // 200 at once, and 50 a second
		if err := ws.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("250 pings took %v", d)
	}
}

// Two devices with one id put each other out for ever. That is told, and does not fill
// the log; nor do long names.
func TestTwoDevicesWithOneIDDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		b := open(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer b.Close()
		id := "twin" + strings.Repeat("x", 1000)
		var before *client
		for range 1000 {
			c := connect(t, b, id, 4)
			if before != nil {
				before.nc.Close()
			}
			before = c
			time.Sleep(10 * time.Millisecond)
		}
		// Twenty at once, and one a second with how many there were.
		if n := strings.Count(log.String(), "a connection ended"); n < 25 || n > 31 {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
		if !log.has("others=99") || len(log.String()) > 31*500 {
			t.Errorf("%d bytes: %s", len(log.String()), log.String()[:2000])
		}
		// Another trouble is told beside it.
		c := connect(t, b, "broken", 4)
		c.utter(bytes.Repeat([]byte{0xff}, 6))
		synctest.Wait()
		if !log.has("client=broken") {
			t.Error("what else goes wrong is not told")
		}
	})
}

// A message that was sent is sent again after it has expired, and not with an expiry of
// 136 years.
func TestAMessageThatExpiredOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{Log: slog.New(slog.DiscardHandler)})
		defer b.Close()
		sub := connect(t, b, "sub", 5, kept)
		sub.subscribe(1, 1, "a")
		pub := connect(t, b, "pub", 5)
		pub.send(publishPacket("a", "1", 1, 1, func(pk *packets.Packet) { pk.Properties.MessageExpiryInterval = 2 }))
		sub.want(packets.Publish)
		sub.nc.Close()
		time.Sleep(10 * time.Second)
		again := connect(t, b, "sub", 5, kept).want(packets.Publish)
		if n := again.Properties.MessageExpiryInterval; n != 1 {
			t.Errorf("it expires in %d seconds", n)
		}
	})
}
