package broker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A client speaks MQTT packet by packet, so that a story can say what is sent
// when, and see that something has not come.
type client struct {
	t       testing.TB
	nc      net.Conn
	r       *bufio.Reader
	version byte
}

func open(t testing.TB, opt Options) *Broker {
	t.Helper()
	if opt.Log == nil {
		opt.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	b, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// attach gives an unconnected client over a pipe.
func attach(t testing.TB, b *Broker, version byte) *client {
	here, there := net.Pipe()
	go b.Attach(there)
	t.Cleanup(func() { here.Close() })
	return &client{t, here, bufio.NewReader(here), version}
}

func connectPacket(id string, version byte, change ...func(*packets.Packet)) packets.Packet {
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Connect},
		ProtocolVersion: version,
		Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), ClientIdentifier: id, Clean: true, Keepalive: 60,
		},
	}
	for _, f := range change {
		f(&pk)
	}
	return pk
}

// connect gives a client that is connected over a pipe.
func connect(t testing.TB, b *Broker, id string, version byte, change ...func(*packets.Packet)) *client {
	t.Helper()
	c := attach(t, b, version)
	c.send(connectPacket(id, version, change...))
	if pk := c.want(packets.Connack); pk.ReasonCode != 0 {
		t.Fatalf("%s: CONNACK %#x", id, pk.ReasonCode)
	}
	return c
}

func encode(pk packets.Packet) []byte {
	var b bytes.Buffer
	var err error
	pk.Mods.AllowResponseInfo = true
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Pubrec:
		err = pk.PubrecEncode(&b)
	case packets.Pubrel:
		pk.FixedHeader.Qos = 1
		err = pk.PubrelEncode(&b)
	case packets.Pubcomp:
		err = pk.PubcompEncode(&b)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&b)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&b)
	case packets.Pingreq:
		err = pk.PingreqEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (c *client) send(pk packets.Packet) {
	c.t.Helper()
	pk.ProtocolVersion = c.version
	c.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.nc.Write(encode(pk)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) receive() (pk packets.Packet, err error) {
	c.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	first, err := c.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	n, _, err := packets.DecodeLength(c.r)
	if err != nil {
		return pk, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining, pk.ProtocolVersion = n, c.version
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pubcomp:
		err = pk.PubcompDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	return pk, err
}

// want gives the next packet, which is of that kind.
func (c *client) want(kind byte) packets.Packet {
	c.t.Helper()
	pk, err := c.receive()
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", packets.PacketNames[kind], err)
	}
	if pk.FixedHeader.Type != kind {
		c.t.Fatalf("got %s %+v, want %s", packets.PacketNames[pk.FixedHeader.Type], pk, packets.PacketNames[kind])
	}
	return pk
}

// wantMessage gives the next packet, which is that message: "topic payload q1 r".
func (c *client) wantMessage(want string) packets.Packet {
	c.t.Helper()
	pk := c.want(packets.Publish)
	if got := describe(pk); got != want {
		c.t.Fatalf("got message %q, want %q", got, want)
	}
	return pk
}

func describe(pk packets.Packet) string {
	s := fmt.Sprintf("%s %s", pk.TopicName, pk.Payload)
	if q := pk.FixedHeader.Qos; q > 0 {
		s += fmt.Sprintf(" q%d", q)
	}
	if pk.FixedHeader.Retain {
		s += " r"
	}
	return s
}

// wantEnd reads until the connection ends, and gives the reason of a DISCONNECT.
func (c *client) wantEnd() (reason byte) {
	c.t.Helper()
	for {
		pk, err := c.receive()
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			c.t.Fatal("the connection does not end")
		}
		if err != nil {
			return reason
		}
		reason = pk.ReasonCode
	}
}

// alive shows that the connection still works, and that nothing else came.
func (c *client) alive() {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	c.want(packets.Pingresp)
}

func publishPacket(topic, payload string, qos byte, id uint16, change ...func(*packets.Packet)) packets.Packet {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos},
		TopicName:   topic, Payload: []byte(payload), PacketID: id,
	}
	for _, f := range change {
		f(&pk)
	}
	return pk
}

func retain(pk *packets.Packet) { pk.FixedHeader.Retain = true }

func (c *client) publish(topic, payload string, qos byte, id uint16, change ...func(*packets.Packet)) {
	c.t.Helper()
	c.send(publishPacket(topic, payload, qos, id, change...))
}

func (c *client) ack(kind byte, id uint16) {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id})
}

// subscribe returns the reason codes.
func (c *client) subscribe(id uint16, qos byte, filters ...string) []byte {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: id}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: qos})
	}
	c.send(pk)
	ack := c.want(packets.Suback)
	if ack.PacketID != id {
		c.t.Fatalf("SUBACK of %d, want %d", ack.PacketID, id)
	}
	return ack.ReasonCodes
}
