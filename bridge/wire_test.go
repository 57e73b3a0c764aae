package bridge

import (
	"bufio"
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

// What another library reads of a message is what went in, and the other way round.
func TestAnotherLibraryUnderstands(t *testing.T) {
	m := message{topic: "a/b", payload: []byte("hello"), qos: 1, retain: true, properties: properties{
		format: 1, expiry: 0, expires: true, contentType: "text/plain", response: "a/c", correlation: []byte{}, user: []pair{{"k", "v"}, {"k", ""}},
	}}
	wire := appendPublish(nil, 5, &m, 7, true)
	pk, err := packets.ReadPacket(bytes.NewReader(wire))
	if err != nil {
		t.Fatal(err)
	}
	p := pk.Content.(*packets.Publish)
	if p.Topic != "a/b" || string(p.Payload) != "hello" || p.QoS != 1 || !p.Retain || !p.Duplicate || p.PacketID != 7 ||
		*p.Properties.PayloadFormat != 1 || *p.Properties.MessageExpiry != 0 || p.Properties.ContentType != "text/plain" ||
		p.Properties.ResponseTopic != "a/c" || len(p.Properties.User) != 2 {
		t.Errorf("it reads %v", p)
	}
	back, err := readPacket(bufio.NewReader(bytes.NewReader(wire)), 5, maxPacket)
	if err != nil || !reflect.DeepEqual(back.message, m) || back.id != 7 || !back.dup {
		t.Errorf("back comes %+v, %v; want %+v", back, err, m)
	}
	if n := m.size(); n < len(wire) {
		t.Errorf("size %d is less than the %d bytes it has", n, len(wire))
	}

	wire = appendConnect(nil, 5, login{client: "c", user: "u", password: []byte("p"), alive: 60, session: 100, receive: 9})
	if pk, err = packets.ReadPacket(bytes.NewReader(wire)); err != nil {
		t.Fatal(err)
	}
	c := pk.Content.(*packets.Connect)
	if c.ClientID != "c" || c.Username != "u" || string(c.Password) != "p" || c.KeepAlive != 60 || c.CleanStart || *c.Properties.SessionExpiryInterval != 100 || *c.Properties.ReceiveMaximum != 9 {
		t.Errorf("it reads %v", c)
	}
	wire = appendSubscribe(nil, 5, 3, 0, []subscription{{"a/#", 2, 1, false, false}, {"b", 0, 2, true, false}})
	if pk, err = packets.ReadPacket(bytes.NewReader(wire)); err != nil {
		t.Fatal(err)
	}
	subs := pk.Content.(*packets.Subscribe).Subscriptions
	if a, b := subs[0], subs[1]; len(subs) != 2 || a.QoS != 2 || !a.NoLocal || !a.RetainAsPublished || a.RetainHandling != 1 || b.Topic != "b" || b.NoLocal || b.RetainHandling != 2 {
		t.Errorf("it reads %v", subs)
	}

	var b bytes.Buffer
	receive, qos, size, no := uint16(5), byte(1), uint32(1000), byte(0)
	(&packets.Connack{SessionPresent: true, Properties: &packets.Properties{ReceiveMaximum: &receive, MaximumQOS: &qos, MaximumPacketSize: &size, RetainAvailable: &no, ReasonString: "why"}}).WriteTo(&b)
	got, err := readPacket(bufio.NewReader(&b), 5, maxPacket)
	if want := (server{receive: 5, maxPacket: 1000, maxQoS: 0x81, noRetain: true}); err != nil || got.server != want || !got.present || got.reason != "why" {
		t.Errorf("CONNACK comes as %+v, %v", got, err)
	}
}

// Whatever a remote sends is a packet or an error, of no more than was allowed; and
// a message that was understood is understood again when it is sent on.
func FuzzReadPacket(f *testing.F) {
	f.Add([]byte{0x20, 3, 0, 0, 0}, true)
	f.Add([]byte{0x20, 2, 0, 1}, true)
	f.Add([]byte{0x90, 4, 0, 1, 0, 0x80}, true)
	f.Add([]byte{0xe0, 2, 0x8d, 0}, true)
	f.Add([]byte{0x62, 2, 0, 1}, false)
	m := message{topic: "a/b", payload: []byte("x"), qos: 2, properties: properties{correlation: []byte{1}, user: []pair{{"a", "b"}}}}
	f.Add(appendPublish(nil, 5, &m, 1, false), true)
	f.Add(appendPublish(nil, 4, &m, 1, false), false)
	f.Fuzz(func(t *testing.T, b []byte, five bool) {
		version := byte(4)
		if five {
			version = 5
		}
		p, err := readPacket(bufio.NewReader(bytes.NewReader(b)), version, 1000)
		if err != nil || p.kind != kindPublish {
			return
		}
		if len(p.payload) > 1000 {
			t.Errorf("%d bytes", len(p.payload))
		}
		wire := appendPublish(nil, version, &p.message, p.id, p.dup)
		again, err := readPacket(bufio.NewReader(bytes.NewReader(wire)), version, maxPacket)
		if err != nil || again.topic != p.topic || !bytes.Equal(again.payload, p.payload) || !reflect.DeepEqual(again.properties, p.properties) {
			t.Errorf("%+v is sent on as %+v, %v", p, again, err)
		}
		if p.size() < len(wire) {
			t.Errorf("size %d is less than the %d bytes it has", p.size(), len(wire))
		}
	})
}

// A topic that passes one way comes back as itself the other way, and no topic
// passes that the filter does not name.
func FuzzTopics(f *testing.F) {
	f.Add("garage/#", "", "cellar/", "garage/door")
	f.Add("+/state", "a/", "b/", "a/x/state")
	f.Add("#", "", "", "$SYS/x")
	f.Add("a/#", "p/", "", "p/a")
	f.Fuzz(func(t *testing.T, filter, local, remote, topic string) {
		line := Topic{Filter: filter, LocalPrefix: local, RemotePrefix: remote}
		there, ok := line.toRemote(topic)
		if ok {
			back, is := line.toLocal(there)
			if !is || back != topic {
				t.Errorf("%q is %q there and %q, %v back here", topic, there, back, is)
			}
			if !strings.HasPrefix(topic, local) || !strings.HasPrefix(there, remote) {
				t.Errorf("%q is %q there", topic, there)
			}
		}
		if here, ok := line.toLocal(topic); ok {
			if back, is := line.toRemote(here); !is || back != topic {
				t.Errorf("%q is %q here and %q, %v back there", topic, here, back, is)
			}
		}
	})
}
