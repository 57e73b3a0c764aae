package broker

import (
	"io"
	"net"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzConnection: whatever bytes arrive, after a CONNECT or instead of one, the
// process lives and another client is served.
func FuzzConnection(f *testing.F) {
	will := connectPacket("w", 5, will("w", "x", 1, 3))
	f.Add(byte(4), []byte{0x82, 8, 0, 1, 0, 0, 3, 'a', '/', 'b'})
	f.Add(byte(5), []byte{0x82, 8, 0, 1, 0, 0, 3, 'a', '/', 'b'})
	f.Add(byte(0), encode(will))
	f.Add(byte(5), encode(will))
	for _, version := range []byte{4, 5} {
		for _, pk := range []packets.Packet{
			publishPacket("a", "1", 0, 0, retain), publishPacket("a", "", 2, 1, retain), publishPacket("$x", "1", 1, 1),
			publishPacket(strings.Repeat("/", 99), "1", 1, 1),
			{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "#", Qos: 2}, {Filter: "$share/g/a"}}},
			{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "#"}}},
			{FixedHeader: packets.FixedHeader{Type: packets.Pubrel}, PacketID: 1},
			{FixedHeader: packets.FixedHeader{Type: packets.Pubrec}, PacketID: 1},
			{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}},
		} {
			pk.ProtocolVersion = version
			f.Add(version, encode(pk))
		}
	}
	f.Fuzz(func(t *testing.T, version byte, data []byte) {
		watchdog := time.AfterFunc(20*time.Second, func() {
			debug.SetTraceback("all")
			panic("it hangs")
		})
		defer watchdog.Stop()
		b := open(t, Options{})
		defer b.Close()
		good := connect(t, b, "good", 4)
		here, there := net.Pipe()
		ended := make(chan struct{})
		go func() { b.Attach(there); close(ended) }()
		go io.Copy(io.Discard, here)
		if version == 4 || version == 5 {
			here.Write(encode(connectPacket("evil", version)))
		}
		here.Write(data)
		here.Close()
		<-ended
		good.subscribe(1, 0, "still/alive")
		b.Publish(Message{Topic: "still/alive", Payload: []byte("yes")})
		for {
			if pk := good.want(packets.Publish); pk.TopicName == "still/alive" && string(pk.Payload) == "yes" {
				break
			}
		}
	})
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
		f.Add(encodeMessage(messageOf(&pk, "", now), now))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		m, err := decodeMessage(record, now)
		if err != nil || m.expired(now) {
			return
		}
		twice, err := decodeMessage(encodeMessage(m, now), now)
		if err != nil || !sameValue(twice, m) && m.expires.IsZero() || !twice.expires.Equal(m.expires) || len(m.props) < 3 && string(m.props) != string(twice.props) {
			t.Fatalf("%v: %+v became %+v", err, m, twice)
		}
	})
}

// FuzzAddress: any text is an address that reads the same again, or a mistake.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1:1883", "ws://[::1]:0", "unix:///a", "tls://x", "localhost:1", "://", "[::1%lo]:1"} {
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
	})
}
