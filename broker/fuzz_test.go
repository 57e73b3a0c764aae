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
			message("a", "1", 0, 0, retain), message("a", "", 2, 1, retain), message("$x", "1", 1, 1),
			message(strings.Repeat("/", 99), "1", 1, 1),
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
	for qos := range byte(3) {
		record, _ := encodeRetained(message("a/b", "x", qos, 0, func(pk *packets.Packet) {
			pk.Properties.ContentType = "t"
			pk.Properties.MessageExpiryInterval = 10
			pk.Properties.User = []packets.UserProperty{{Key: "k", Val: "v"}}
		}))
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		pk, err := decodeRetained(record)
		if err != nil {
			return
		}
		again, _ := encodeRetained(pk)
		twice, err := decodeRetained(again)
		if err != nil || twice.TopicName != pk.TopicName || string(twice.Payload) != string(pk.Payload) || twice.FixedHeader.Qos != pk.FixedHeader.Qos {
			t.Fatalf("%v: %+v became %+v", err, pk, twice)
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

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a", "a/b", false}, {"a/+", "a/b", true}, {"a/+", "a", false},
		{"a/+", "a/", true}, {"+", "a", true}, {"+", "/a", false}, {"+/+", "/a", true}, {"/+", "/a", true},
		{"#", "a/b/c", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"+/b/#", "a/b", true},
		{"#", "$SYS/a", false}, {"+/a", "$SYS/a", false}, {"$SYS/#", "$SYS/a", true}, {"a/b/#", "a", false}, {"a//b", "a//b", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("%q matches %q: %v", c.filter, c.topic, got)
		}
	}
}
