package broker

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzConnection: whatever clients send, in whatever order, the process lives, no
// goroutine is left (the bubble sees to that), and another client is served, is sent
// nothing that MQTT does not allow (strict_test.go), and hears what it subscribes to.
//
// The input is a program: each byte chooses what is done next, and with which
// values. So packets are mostly right, and wrong in one place.
func FuzzConnection(f *testing.F) {
	for _, program := range fuzzSeeds() {
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		watchdog := time.AfterFunc(20*time.Second, func() {
			debug.SetTraceback("all")
			panic("it hangs")
		})
		defer watchdog.Stop()
		synctest.Test(t, func(t *testing.T) {
			b := open(t, Options{Log: silent})
			defer b.Close()
			good := connect(t, b, "one who never does any harm", 5, aliasMaximum(3), receiveMaximum(5), maximumPacket(4096), keepalive(0))
			good.settle = synctest.Wait
			good.subscribe(1, 2, "#")
			good.subscribeTo(2, []packets.Subscription{{Filter: "a/#", Qos: 1, RetainAsPublished: true}}, identifier(7))

			p := &fuzzProgram{t: t, b: b, good: good, rest: program}
			for steps := 0; len(p.rest) > 0 && steps < 60; steps++ {
				p.step()
				good.rest()
			}
			for _, c := range p.clients {
				if c != nil {
					c.Close()
				}
			}
			good.rest()
			good.subscribe(3, 0, "still/alive")
			if err := b.Publish(Message{Topic: "still/alive", Payload: []byte("yes")}); err != nil {
				t.Fatal(err)
			}
			for all := good.rest(); ; all = all[1:] {
				if len(all) == 0 {
					t.Fatal("the good client hears nothing")
				}
				if all[0].TopicName == "still/alive" {
					break
				}
			}
		})
	})
}

// A fuzzProgram has up to four clients, who share two ids.
type fuzzProgram struct {
	t       *testing.T
	b       *Broker
	good    *client
	rest    []byte
	clients [4]net.Conn
	version [4]byte
}

// next gives a number below n.
func (p *fuzzProgram) next(n int) int {
	if len(p.rest) == 0 {
		return 0
	}
	v := int(p.rest[0])
	p.rest = p.rest[1:]
	return v % n
}

func (p *fuzzProgram) flag() bool { return p.next(2) == 1 }

// bytes gives a few of the program's own.
func (p *fuzzProgram) bytes(most int) []byte {
	n := min(p.next(most+1), len(p.rest))
	v := p.rest[:n]
	p.rest = p.rest[n:]
	return v
}

func (p *fuzzProgram) text(choices ...string) string {
	if i := p.next(len(choices) + 1); i < len(choices) {
		return choices[i]
	}
	return string(p.bytes(20))
}

func (p *fuzzProgram) topic() string {
	return p.text("a", "a/b", "a/b/c", "b", "/", "$x", "", "a/+", strings.Repeat("/", 40))
}

func (p *fuzzProgram) filter() string {
	return p.text("a", "a/b", "#", "+/b", "a/#", "$share/g/a", "$share/g/#", "$share/h/+/b", "$SYS/#", "a/#/b", "$share//a")
}

func (p *fuzzProgram) step() {
	i := p.next(len(p.clients))
	if p.clients[i] == nil {
		here, there := net.Pipe()
		p.clients[i] = here
		p.t.Cleanup(func() { here.Close() })
		go p.b.Attach(there)
		if p.next(8) > 0 { // else it does not read
			go io.Copy(io.Discard, here)
		}
		p.version[i] = []byte{4, 5, 3, 5, 0}[p.next(5)]
		if p.version[i] > 0 {
			p.send(i, p.connect(p.version[i]))
			return
		}
		p.version[i] = 5 // it does not say CONNECT
	}
	pk := packets.Packet{PacketID: uint16(p.next(6)), ProtocolVersion: p.version[i]}
	switch kind := p.next(16); kind {
	case 0: // no packet at all
		p.write(i, p.bytes(60))
		return
	case 1:
		p.clients[i].Close()
		p.clients[i] = nil
		synctest.Wait()
		return
	case 2:
		for left := []int{1, 6, 60, 180}[p.next(4)]; left > 0; left -= 10 {
			time.Sleep(time.Duration(min(left, 10)) * time.Second)
			p.good.rest() // or it would be one that does not read
		}
		return
	case 3, 4, 5, 6:
		pk.FixedHeader = packets.FixedHeader{Type: packets.Publish, Qos: byte(p.next(3)), Retain: p.flag(), Dup: p.flag()}
		if pk.FixedHeader.Qos > 0 && pk.PacketID == 0 {
			pk.PacketID = 1
		}
		pk.TopicName, pk.Payload = p.topic(), p.bytes(30)
		if p.next(16) == 0 {
			pk.Payload = make([]byte, 5000)
		}
		p.properties(&pk.Properties)
		if p.flag() {
			alias(uint16(p.next(4)))(&pk)
		}
	case 7, 8:
		pk.FixedHeader.Type = packets.Subscribe
		for range p.next(4) {
			pk.Filters = append(pk.Filters, packets.Subscription{
				Filter: p.filter(), Qos: byte(p.next(3)), NoLocal: p.flag(), RetainAsPublished: p.flag(), RetainHandling: byte(p.next(4)),
			})
		}
		if p.flag() {
			identifier(p.next(4))(&pk)
		}
		pk.PacketID++
	case 9:
		pk.FixedHeader.Type = packets.Unsubscribe
		for range p.next(4) {
			pk.Filters = append(pk.Filters, packets.Subscription{Filter: p.filter()})
		}
		pk.PacketID++
	case 10:
		pk.FixedHeader.Type, pk.ReasonCode = packets.Disconnect, byte(p.next(256))
		if p.flag() {
			expiry(uint32(p.next(10)))(&pk)
		}
	case 11:
		pk.FixedHeader.Type = packets.Pingreq
	case 12:
		p.send(i, p.connect(p.version[i])) // again
		return
	case 13:
		pk.FixedHeader.Type, pk.ReasonCode = packets.Auth, byte(p.next(256))
	default:
		pk.FixedHeader.Type = []byte{packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp}[p.next(4)]
		pk.ReasonCode = []byte{0, 0, 0x92, 0x83}[p.next(4)]
	}
	p.send(i, pk)
}

func (p *fuzzProgram) connect(version byte) packets.Packet {
	pk := connectPacket(p.text("one", "two", "one", "two", ""), version)
	pk.Connect.Clean = p.flag()
	pk.Connect.Keepalive = uint16(p.next(5))
	if p.flag() {
		expiry([]uint32{0, 1, 5, 100, 0xffffffff}[p.next(5)])(&pk)
		pk.Properties.ReceiveMaximum = uint16(p.next(4))
		pk.Properties.MaximumPacketSize = uint32(p.next(60))
		pk.Properties.TopicAliasMaximum = uint16(p.next(3))
		pk.Properties.RequestProblemInfo, pk.Properties.RequestProblemInfoFlag = byte(p.next(3)), p.flag()
	}
	if p.flag() {
		w := &pk.Connect
		w.WillFlag, w.WillTopic, w.WillPayload, w.WillQos, w.WillRetain = true, p.topic(), p.bytes(10), byte(p.next(4)), p.flag()
		w.WillProperties.WillDelayInterval = uint32(p.next(10))
		p.properties(&w.WillProperties)
	}
	if p.flag() {
		pk.Connect.UsernameFlag, pk.Connect.Username = true, p.bytes(10)
		pk.Connect.PasswordFlag, pk.Connect.Password = p.flag(), []byte("x")
	}
	return pk
}

func (p *fuzzProgram) properties(to *packets.Properties) {
	if !p.flag() {
		return
	}
	to.PayloadFormat, to.PayloadFormatFlag = byte(p.next(3)), p.flag()
	to.ContentType, to.ResponseTopic = p.text("", "text"), p.text("", "answer")
	to.CorrelationData, to.MessageExpiryInterval = p.bytes(4), uint32(p.next(4))
	for range p.next(3) {
		to.User = append(to.User, packets.UserProperty{Key: p.text("k"), Val: p.text("v")})
	}
}

// send sends a packet, or what is left of it.
func (p *fuzzProgram) send(i int, pk packets.Packet) {
	pk.ProtocolVersion = p.version[i]
	b := encode(pk)
	switch p.next(16) {
	case 0: // a byte is another
		b[p.next(len(b))] = byte(p.next(256))
	case 1: // it is cut short
		b = b[:p.next(len(b)+1)]
	case 2: // bytes are missing in the middle
		at := p.next(len(b))
		b = append(b[:at:at], b[min(len(b), at+1+p.next(4)):]...)
	case 3: // there are some too many
		at := p.next(len(b))
		b = append(append(b[:at:at], p.bytes(4)...), b[at:]...)
	case 4: // it comes in two pieces
		at := p.next(len(b))
		p.write(i, b[:at])
		b = b[at:]
	case 5: // twice
		b = append(b[:len(b):len(b)], b...)
	}
	p.write(i, b)
}

func (p *fuzzProgram) write(i int, b []byte) {
	if p.clients[i] == nil {
		return
	}
	p.clients[i].SetWriteDeadline(time.Now().Add(time.Second)) // the server may be done with it
	if _, err := p.clients[i].Write(b); err != nil {
		p.clients[i].Close()
		p.clients[i] = nil
	}
	synctest.Wait()
}

// fuzzSeeds are programs that do what clients do: each kind of step with each
// version, and what harmed mochi.
func fuzzSeeds() (all [][]byte) {
	evil := []byte{0x82, 8, 0, 1, 0, 0, 3, 'a', '/', 'b'}
	for version := range byte(5) {
		start := []byte{0, 1, version, 0, 1, 4, 0, 0, 0, 9} // a client of id "one"
		all = append(all, append(append(start[:len(start):len(start)], 0, 1, 0, byte(len(evil))), evil...))
		for kind := range byte(16) {
			all = append(all, append(start[:len(start):len(start)], 0, 2, kind, 1, 1, 1, 1, 1, 3, 4, 5, 9, 9, 0, 3, kind, 2, 2, 2, 0, 2, 7, 1, 0, 1))
		}
	}
	return append(all, []byte("00000000000000000000000000000"), []byte("7Az1Bx2Cy3Dw4Ev5Fu6Gt7Hs8Ir9Jq0Kp1Lo2Mn3"))
}

// FuzzRetained: any record gives a message that encodes to the same record, or an
// error.
func FuzzRetained(f *testing.F) {
	now := time.Unix(1e9, 0)
	for qos := range byte(3) {
		pk := publishPacket("a/b", "x", qos, 0, func(pk *packets.Packet) {
			pk.Properties.ContentType = "t"
			pk.Properties.MessageExpiryInterval = 10
			pk.Properties.User = []packets.UserProperty{{Key: "k", Val: "v"}}
		})
		m := messageOf(&pk, "", now)
		f.Add(encodeValue(m, now))
		m.by = &publisher{"anna", "tablet"}
		f.Add(encodeValue(m, now))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		m, err := decodeValue(record, now)
		if err != nil || m.expired(now) {
			return
		}
		twice, err := decodeValue(encodeValue(m, now), now)
		if err != nil || !sameValue(twice, m) && m.expires.IsZero() || !twice.expires.Equal(m.expires) || len(m.props) < 3 && string(m.props) != string(twice.props) ||
			(m.by == nil) != (twice.by == nil) || m.by != nil && *m.by != *twice.by {
			t.Fatalf("%v: %+v became %+v", err, m, twice)
		}
	})
}

// FuzzAddress: any text is an address that reads the same again, or a mistake.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1:1883", "ws://[::1]:0", "unix:///a", "tls://x", "localhost:1", "://", "[::1%lo]:1", "wss://0.0.0.0:8084", ":1883", "[::]:1", "[::ffff:0.0.0.0]:1", "hearth.local:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAddress(s)
		if err != nil {
			return
		}
		if again, err := parseAddress(a.String()); err != nil || again != a {
			t.Fatalf("%q: %v became %v, %v", s, a, again, err)
		}
		if b := (address{"tcp", "0.0.0.0:1883"}); a.overlaps(b) != b.overlaps(a) {
			t.Fatalf("%v overlaps %v only one way round", a, b)
		}
	})
}

// FuzzForwarded: whatever a proxy says of its client, it is not of this machine.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "127.0.0.1, ::1", "::ffff:127.0.0.1%lo", ",", "unknown"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := &http.Request{Header: http.Header{"X-Forwarded-For": {s}}}
		if from, local := forwarded(r, netip.IPv6Unspecified()); local || !from.IsValid() || from.Is4In6() {
			t.Fatalf("%q: %v, %v", s, from, local)
		}
	})
}
