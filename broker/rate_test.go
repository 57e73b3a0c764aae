package broker

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"
)

// A street is a listener beyond this machine: who comes says from where.
type street struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (s *street) Accept() (net.Conn, error) {
	select {
	case nc := <-s.conns:
		return nc, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *street) Close() error   { close(s.closed); return nil }
func (s *street) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1883} }

// A visitor's connection has addresses.
type visitor struct {
	net.Conn
	from, to netip.AddrPort
}

func (v visitor) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(v.from) }
func (v visitor) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(v.to) }

// visit opens the door to a street, with limits.
func visit(t *testing.T, b *Broker, cfg Limits) (from func(addr string) *client) {
	s := &street{conns: make(chan net.Conn), closed: make(chan struct{})}
	l := &listener{b: b, address: address{"tcp", "192.0.2.1:1883"}, net: s, closed: make(chan struct{}), conns: map[*accepted]bool{}}
	b.use(Config{Limits: cfg}, nil)
	b.reload.Lock()
	b.listeners = append(b.listeners, l)
	b.reload.Unlock()
	l.start()
	return func(addr string) *client {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close() })
		s.conns <- visitor{there, netip.AddrPortFrom(netip.MustParseAddr(addr), 40000), netip.MustParseAddrPort("192.0.2.1:1883")}
		return speak(t, here, 4)
	}
}

// in connects, or says that the door was shut.
func (c *client) in(id string) bool {
	if _, err := c.nc.Write(encode(connectPacket(id, c.version))); err != nil {
		return false
	}
	pk, err := c.receive()
	return err == nil && pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == 0
}

func TestConnectionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		b := open(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer b.Close()
		from := visit(t, b, Limits{Connections: 5, AddressConnections: 2})
		one, two := from("192.0.2.10"), from("192.0.2.10")
		if !one.in("one") || !two.in("two") {
			t.Fatal("refused")
		}
		// The third of an address, but not of this machine, is refused.
		if from("192.0.2.10").in("three") || from("::ffff:192.0.2.10").in("three") {
			t.Error("an address has more connections than it may")
		}
		// IPv6 counts by its /64.
		six := []*client{from("2001:db8::1"), from("2001:db8::2")}
		if !six[0].in("six") || !six[1].in("seven") || from("2001:db8::3").in("eight") {
			t.Error("a network of IPv6 is not one address")
		}
		if !from("127.0.0.1").in("claims to be of this machine") {
			t.Fatal("refused")
		}
		if b.way("claims to be of this machine").local {
			t.Error("who claims to come from 127.0.0.1 is believed")
		}
		if from("192.0.2.11").in("too many") {
			t.Error("more connections than there may be")
		}
		one.nc.Close()
		synctest.Wait()
		if !from("192.0.2.11").in("now") {
			t.Error("refused, though one has gone")
		}
		two.alive()
		if !log.has("broker.limits.address_connections\" from=192.0.2.10") || !log.has("broker.limits.connections") {
			t.Error(log.String())
		}
	})
}

func TestConnectionsComeTooFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		b := open(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer b.Close()
		from := visit(t, b, Limits{})
		try := func(addr string, n int) (in int) {
			for i := range n {
				c := from(addr)
				if c.in(fmt.Sprint(addr, i)) {
					in++
				}
				c.nc.Close()
				synctest.Wait()
			}
			return in
		}
		if n := try("192.0.2.10", 300); n != 100 { // 5 seconds' worth of 20 a second
			t.Errorf("%d of 300 came in at once", n)
		}
		if n := try("192.0.2.11", 1); n != 1 {
			t.Error("another address is refused too")
		}
		time.Sleep(2 * time.Second)
		if n := try("192.0.2.10", 100); n != 40 {
			t.Errorf("%d of 100 came in after two seconds", n)
		}
		// A flood is two lines, not 260.
		if n := strings.Count(log.String(), "address_connects"); n != 2 {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
		if !log.has("times=200") { // the other 199 of the first, and this one
			t.Error(log.String())
		}
		// Who has gone and owes nothing is forgotten when others come.
		time.Sleep(time.Minute)
		for i := range 200 {
			from(fmt.Sprintf("198.51.100.%d", i)).nc.Close()
			synctest.Wait()
			time.Sleep(time.Second)
		}
		b.neighbours.mu.Lock()
		defer b.neighbours.mu.Unlock()
		if n := len(b.neighbours.all); n > 64 {
			t.Errorf("%d neighbours are remembered", n)
		}
	})
}

// A flooder is slowed down to its rate; another client is not, of the same address
// or not.
func TestAFlooderIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got atomic.Int64
		b := open(t, Options{Receive: counted(map[string]*atomic.Int64{"flood": &got}), Log: slog.New(slog.DiscardHandler)})
		defer b.Close()
		messages := 100
		from := visit(t, b, Limits{Messages: &messages})
		flooder, good := from("192.0.2.10"), from("192.0.2.10")
		if !flooder.in("flooder") || !good.in("good") {
			t.Fatal("refused")
		}
		good.subscribe(1, 0, "good")
		start := time.Now()
		packet := encode(publishPacket("flood", "x", 0, 0))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := flooder.nc.Write(packet); err != nil {
					return
				}
			}
		}()
		for range 20 {
			asked := time.Now()
			good.publish("good", "x", 1, 1)
			var kinds [2]byte
			for i := range kinds {
				pk, err := good.receive()
				if err != nil {
					t.Fatal(err)
				}
				kinds[i] = pk.FixedHeader.Type
			}
			if d := time.Since(asked); d > 0 || kinds[0] == kinds[1] {
				t.Fatalf("it took %v: %v", d, kinds)
			}
			time.Sleep(time.Second)
		}
		flooder.nc.Close()
		<-done
		// 4 seconds' worth at once, and 100 a second; CONNECT is one of them.
		want := 400 + 100*int64(time.Since(start)/time.Second)
		if n := got.Load(); n < want-10 || n > want+10 {
			t.Errorf("%d messages of the flooder in %v, want %d", n, time.Since(start), want)
		}
	})
}

// The clients of one address share a rate, and what one has used stays used when
// it comes back.
func TestAnAddressIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got, other atomic.Int64
		b := open(t, Options{Receive: counted(map[string]*atomic.Int64{"flood": &got, "other": &other}), Log: slog.New(slog.DiscardHandler)})
		defer b.Close()
		messages := 100
		from := visit(t, b, Limits{Messages: new(int), AddressMessages: &messages})
		flood := func(c *client, topic string) {
			packet := encode(publishPacket(topic, "x", 0, 0))
			for {
				if _, err := c.nc.Write(packet); err != nil {
					return
				}
			}
		}
		start := time.Now()
		var all []*client
		for i := range 3 {
			c := from("192.0.2.10")
			if !c.in(fmt.Sprint("flooder", i)) {
				t.Fatal("refused")
			}
			go flood(c, "flood")
			all = append(all, c)
		}
		calm := from("192.0.2.11")
		calm.in("calm")
		go flood(calm, "other")
		for range 10 {
			time.Sleep(time.Second)
			all[0].nc.Close()
			synctest.Wait()
			back := from("192.0.2.10")
			go back.in("flooder0")
			all[0] = back
			synctest.Wait()
		}
		for _, c := range append(all, calm) {
			c.nc.Close()
		}
		synctest.Wait()
		want := 400 + 100*int64(time.Since(start)/time.Second)
		if n := got.Load(); n > want || n < want/2 {
			t.Errorf("%d messages of the address in %v, want at most %d", n, time.Since(start), want)
		}
		if n := other.Load(); n < want-10 || n > want {
			t.Errorf("%d messages of the other, want %d", n, want)
		}
	})
}

// In no stretch of time more than the rate allows with its burst, and no less than
// the rate if there is always more to come.
func TestPacer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lim := defaultLimits()
		lim.messages = float64(rapid.IntRange(1, 2000).Draw(t, "rate"))
		lim.burst = float64(rapid.IntRange(1, 60).Draw(t, "burst"))
		var p atomic.Pointer[limits]
		p.Store(&lim)
		pace := &pacer{limits: &p}
		now := time.Now()
		var taken []time.Time
		for range rapid.IntRange(1, 300).Draw(t, "packets") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "after")) * time.Millisecond * time.Duration(rapid.IntRange(0, 1).Draw(t, "idle")))
			now = now.Add(pace.wait(now))
			taken = append(taken, now)
		}
		for i := range taken {
			for j := i; j < len(taken); j++ {
				most := lim.messages*(taken[j].Sub(taken[i]).Seconds()+lim.burst) + 1.001
				if n := float64(j - i + 1); n > most {
					t.Fatalf("%v packets in %v", n, taken[j].Sub(taken[i]))
				}
			}
		}
	})
	var none *pacer
	if none.wait(time.Now()) != 0 {
		t.Error("nobody's pace is slow")
	}
	unlimited := defaultLimits()
	unlimited.messages, unlimited.addressMessages = 0, 0
	var p atomic.Pointer[limits]
	p.Store(&unlimited)
	pace := &pacer{limits: &p, neighbour: &neighbour{}}
	now := time.Now()
	for range 100_000 {
		if pace.wait(now) != 0 {
			t.Fatal("no limit slows")
		}
	}
}

// counted is a Receive that counts the messages of topics.
func counted(topics map[string]*atomic.Int64) func(Message) func() <-chan struct{} {
	return func(m Message) func() <-chan struct{} {
		if n := topics[m.Topic]; n != nil {
			n.Add(1)
		}
		return nil
	}
}
