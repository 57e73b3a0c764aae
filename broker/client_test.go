package broker

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A client speaks MQTT packet by packet, so that a story can say what is sent
// when, and see that something has not come. Whatever it is sent it holds to the
// specification (strict_test.go), whether the story cares or not.
type client struct {
	t       testing.TB
	nc      net.Conn
	r       *bufio.Reader
	version byte

	connack  packets.Packet
	patience time.Duration // how long it waits for a packet; 0: 10 s
	settle   func()        // returns when all that is on its way has arrived

	limits  packets.Properties // what it said in CONNECT that it takes
	aliases map[uint16]string  // the server's
	unacked map[uint16]byte    // the server's messages by packet id, and their QoS
	early   []packets.Packet   // came before a PUBREL that was waited for
}

func speak(t testing.TB, nc net.Conn, version byte) *client {
	return &client{t: t, nc: nc, r: bufio.NewReader(nc), version: version}
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
	return speak(t, here, version)
}

func connectPacket(id string, version byte, change ...func(*packets.Packet)) packets.Packet {
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Connect},
		ProtocolVersion: version,
		Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), ClientIdentifier: id, Clean: true, Keepalive: 60,
		},
	}
	if version == 3 {
		pk.Connect.ProtocolName = []byte("MQIsdp")
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
	c.connect(id, change...)
	return c
}

// connect sends CONNECT and wants it to be accepted.
func (c *client) connect(id string, change ...func(*packets.Packet)) {
	c.t.Helper()
	c.send(connectPacket(id, c.version, change...))
	if c.want(packets.Connack); c.connack.ReasonCode != 0 {
		c.t.Fatalf("%s: CONNACK %#x", id, c.connack.ReasonCode)
	}
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
	case packets.Auth:
		err = pk.AuthEncode(&b)
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (c *client) send(pk packets.Packet) {
	c.t.Helper()
	pk.ProtocolVersion = c.version
	switch pk.FixedHeader.Type {
	case packets.Connect:
		c.limits, c.aliases, c.unacked = pk.Properties, map[uint16]string{}, map[uint16]byte{}
	case packets.Puback, packets.Pubcomp:
		delete(c.unacked, pk.PacketID)
	case packets.Pubrec:
		if pk.ReasonCode >= 0x80 {
			delete(c.unacked, pk.PacketID)
		}
	}
	c.write(encode(pk))
}

// write sends bytes as they are.
func (c *client) write(p []byte) {
	c.t.Helper()
	c.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.nc.Write(p); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// utter sends bytes to a server that may hang up in the middle.
func (c *client) utter(p []byte) {
	go func() {
		c.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
		c.nc.Write(p)
	}()
}

func (c *client) receive() (pk packets.Packet, err error) {
	c.t.Helper()
	if len(c.early) > 0 {
		pk, c.early = c.early[0], c.early[1:]
		return pk, nil
	}
	return c.read()
}

func (c *client) read() (pk packets.Packet, err error) {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(cmp.Or(c.patience, 10*time.Second)))
	first, err := c.r.ReadByte()
	if err != nil {
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
	if fault := c.fault(first, body); fault != "" {
		c.t.Errorf("the server sent %s: % x, which is wrong: %s", packets.PacketNames[first>>4], append([]byte{first}, body...), fault)
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining, pk.ProtocolVersion = n, c.version
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
		c.connack = pk
	case packets.Publish:
		err = pk.PublishDecode(body)
		if pk.TopicName == "" {
			pk.TopicName = c.aliases[pk.Properties.TopicAlias]
		}
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
		if n == 1 {
			pk.ReasonCode = body[0] // mochi's decoder passes over it
		}
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
		c.t.Fatalf("got %s, want %s", show(pk), packets.PacketNames[kind])
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

func show(pk packets.Packet) string {
	s := packets.PacketNames[pk.FixedHeader.Type]
	if pk.FixedHeader.Type == packets.Publish {
		return fmt.Sprintf("%s %q, id %d, dup %v", s, describe(pk), pk.PacketID, pk.FixedHeader.Dup)
	}
	return fmt.Sprintf("%s of %d, reason %#x %x", s, pk.PacketID, pk.ReasonCode, pk.ReasonCodes)
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

// wantEnd reads until the connection ends, and gives the reason of a DISCONNECT
// (or of a CONNACK that refuses), which is the last packet.
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
		if reason != 0 {
			c.t.Fatalf("after the end came %s", show(pk))
		}
		if pk.FixedHeader.Type == packets.Disconnect || pk.FixedHeader.Type == packets.Connack {
			reason = pk.ReasonCode
		}
	}
}

// alive shows that the connection still works, and that nothing else came.
func (c *client) alive() {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	c.want(packets.Pingresp)
}

// quiet shows that nothing came, and nothing is on its way.
func (c *client) quiet() {
	c.t.Helper()
	c.settle()
	c.alive()
}

// rest gives the messages that are there or on their way, acknowledged. An answer
// to a ping may overtake what waits, but not what is being written: after one that
// nothing came before there is no more.
func (c *client) rest() (all []packets.Packet) {
	c.t.Helper()
	for {
		had := len(all)
		c.settle()
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		for {
			pk, err := c.receive()
			if err != nil {
				c.t.Fatal(err)
			}
			if pk.FixedHeader.Type == packets.Pingresp {
				break
			}
			if pk.FixedHeader.Type != packets.Publish {
				c.t.Fatalf("got %s", show(pk))
			}
			all = append(all, pk)
			c.acknowledge(pk)
		}
		if len(all) == had {
			return all
		}
	}
}

// disconnect says goodbye and waits until the server has hung up.
func (c *client) disconnect(change ...func(*packets.Packet)) {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}
	for _, f := range change {
		f(&pk)
	}
	c.send(pk)
	if _, err := c.receive(); err == nil {
		c.t.Fatal("something came after DISCONNECT")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the server does not hang up after DISCONNECT")
	}
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

// tell publishes and waits for the acknowledgement, whose reason it gives.
func (c *client) tell(topic, payload string, qos byte, change ...func(*packets.Packet)) (reason byte) {
	c.t.Helper()
	const id = 0x7fff
	c.publish(topic, payload, qos, id*uint16(min(qos, 1)), change...)
	switch qos {
	case 1:
		return c.want(packets.Puback).ReasonCode
	case 2:
		if reason = c.want(packets.Pubrec).ReasonCode; reason < 0x80 {
			c.ack(packets.Pubrel, id)
			c.want(packets.Pubcomp)
		}
	}
	return reason
}

// hear is wantMessage and its acknowledgement.
func (c *client) hear(want string) packets.Packet {
	c.t.Helper()
	pk := c.wantMessage(want)
	c.acknowledge(pk)
	return pk
}

// acknowledge says all that a message's QoS asks for.
func (c *client) acknowledge(pk packets.Packet) {
	c.t.Helper()
	switch pk.FixedHeader.Qos {
	case 1:
		c.ack(packets.Puback, pk.PacketID)
	case 2:
		c.ack(packets.Pubrec, pk.PacketID)
		for {
			rel, err := c.read()
			if err != nil {
				c.t.Fatalf("waiting for PUBREL: %v", err)
			}
			if rel.FixedHeader.Type == packets.Pubrel && rel.PacketID == pk.PacketID {
				break
			}
			c.early = append(c.early, rel)
		}
		c.ack(packets.Pubcomp, pk.PacketID)
	}
}

// subscribe returns the reason codes.
func (c *client) subscribe(id uint16, qos byte, filters ...string) []byte {
	c.t.Helper()
	var subs []packets.Subscription
	for _, f := range filters {
		subs = append(subs, packets.Subscription{Filter: f, Qos: qos})
	}
	return c.subscribeTo(id, subs)
}

// subscribeTo is subscribe with all that can be said.
func (c *client) subscribeTo(id uint16, subs []packets.Subscription, change ...func(*packets.Packet)) []byte {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: id, Filters: subs}
	for _, f := range change {
		f(&pk)
	}
	c.send(pk)
	ack := c.want(packets.Suback)
	if ack.PacketID != id || len(ack.ReasonCodes) != len(subs) {
		c.t.Fatalf("SUBACK of %d with % x, want %d with %d codes", ack.PacketID, ack.ReasonCodes, id, len(subs))
	}
	return ack.ReasonCodes
}

// unsubscribe returns the reason codes.
func (c *client) unsubscribe(id uint16, filters ...string) []byte {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: id}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f})
	}
	c.send(pk)
	ack := c.want(packets.Unsuback)
	if ack.PacketID != id || c.version == 5 && len(ack.ReasonCodes) != len(filters) {
		c.t.Fatalf("UNSUBACK of %d with % x, want %d with %d codes", ack.PacketID, ack.ReasonCodes, id, len(filters))
	}
	return ack.ReasonCodes
}
