package broker

import (
	"bytes"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// A gate stands between the decoder and the library's server. All that clients
// publish ends here: it is checked, taken and acknowledged by us, and the server
// sees none of it. So the acknowledgement can wait for Receive and the disk, and
// packet ids of clients never meet those of the server, which keeps both kinds in
// one table and loses messages when they are equal. What is left to the server is
// CONNECT, subscriptions, and sending to subscribers.
type gate struct {
	mqtt.HookBase
	b *Broker
}

// gateState is what the gate knows of one connection. It belongs to the goroutine
// that reads, unless said otherwise.
type gateState struct {
	id        string       // the client's, once it is known
	cl        *mqtt.Client // set with session
	session   *session     // nil: CONNECT was not accepted
	connected bool         // CONNECT was read
	refusal   *packets.Code
	will      *packets.Packet
	willDelay time.Duration
	oldWill   *packets.Packet // of the session this one replaces
	aliases   map[uint16]string
	window    int // how many messages the client takes unacknowledged; constant after CONNECT
	ackID     uint16
	existed   []bool // of the filters of the SUBSCRIBE being processed
	catchUps  []catchUp
}

func (g *gate) ID() string { return "gate" }

func (g *gate) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablished, mqtt.OnPacketRead,
		mqtt.OnPacketEncode, mqtt.OnPacketProcessed, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnPublish:
		return true
	}
	return false
}

// nothing is a packet the server does nothing with: it has no message of id 0.
func nothing(pk packets.Packet) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, ProtocolVersion: pk.ProtocolVersion}
}

// OnPacketRead sees every packet before the server does. Only the one error it
// returns ends the connection; the server would go on after any other.
func (g *gate) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c := cl.Net.Conn.(*conn)
	c.way.pace.pause(c.ctx, pk.FixedHeader.Type)
	switch pk.FixedHeader.Type {
	case packets.Connect:
		if !c.connected {
			c.connected = true
			c.readConnect(&pk)
		}
	case packets.Publish:
		if code := g.publish(c, cl, &pk); code != packets.CodeSuccess {
			return pk, g.fail(cl, code)
		}
		return nothing(pk), nil
	case packets.Pubrel:
		reason := packets.CodeSuccess
		if !c.session.received[pk.PacketID] {
			reason = packets.ErrPacketIdentifierNotFound
		}
		delete(c.session.received, pk.PacketID)
		if g.answer(cl, packets.Pubcomp, pk.PacketID, reason) != nil {
			return pk, packets.ErrRejectPacket
		}
		return nothing(pk), nil
	case packets.Puback, packets.Pubcomp:
		c.messageDone(pk.PacketID)
	case packets.Pubrec:
		if pk.ReasonCode >= packets.ErrUnspecifiedError.Code {
			c.messageDone(pk.PacketID)
		}
	case packets.Subscribe, packets.Unsubscribe:
		for _, s := range pk.Filters {
			if s.Filter != "" && topicFault(s.Filter, true) != "" {
				return pk, g.fail(cl, packets.ErrTopicFilterInvalid)
			}
		}
		if pk.PacketID == 0 {
			return pk, g.fail(cl, packets.ErrProtocolViolationNoPacketID)
		}
		// The server refuses an id that equals one of its own messages; it gets none.
		c.ackID = pk.PacketID
		pk.PacketID = 0
		pk.FixedHeader.Qos = 0
	case packets.Disconnect:
		if pk.ReasonCode == packets.CodeDisconnect.Code {
			c.will = nil
		}
	}
	return pk, nil
}

// fail ends a connection: MQTT 5 clients are told why.
func (g *gate) fail(cl *mqtt.Client, code packets.Code) error {
	if cl.Properties.ProtocolVersion == 5 && code.Code >= packets.ErrUnspecifiedError.Code {
		g.b.server.DisconnectClient(cl, code)
	}
	g.b.log.Warn("broker: ending a connection", "client", cl.ID, "from", cl.Net.Remote, "why", code.Reason)
	return packets.ErrRejectPacket
}

// answer acknowledges. To 3.1.1 clients every answer is a success.
func (g *gate) answer(cl *mqtt.Client, kind byte, id uint16, code packets.Code) error {
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id, ReasonCode: code.Code}
	if code.Code >= packets.ErrUnspecifiedError.Code {
		ack.Properties.ReasonString = code.Reason
	}
	return cl.WritePacket(ack)
}

// readConnect takes out of CONNECT what the server is not to care for: the will,
// which it would send unchecked; topic aliases to the client, which it counts as
// known to the client even when the message that told of one was dropped; and the
// client's receive maximum, whose bookkeeping can lock up the whole server.
func (c *conn) readConnect(pk *packets.Packet) {
	pk.Properties.TopicAliasMaximum = 0
	c.window = maxQueued / 2 // beyond maxQueued retained values would be dropped, not waited with
	if n := int(pk.Properties.ReceiveMaximum); n > 0 {
		c.window = min(c.window, max(1, n-1)) // two goroutines send, and may both see the last place free
	}
	pk.Properties.ReceiveMaximum = 0

	p := &pk.Connect
	if !p.WillFlag || p.WillQos > 2 || p.WillTopic == "" {
		return // the server knows what is wrong with it, if anything is
	}
	if topicFault(p.WillTopic, false) != "" {
		c.refusal = &packets.ErrTopicNameInvalid
	}
	c.willDelay = time.Duration(p.WillProperties.WillDelayInterval) * time.Second
	c.will = &packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: p.WillQos, Retain: p.WillRetain},
		TopicName:   p.WillTopic,
		Payload:     p.WillPayload,
		Properties:  p.WillProperties.Copy(false),
	}
	p.WillFlag, p.WillRetain, p.WillQos, p.WillTopic, p.WillPayload = false, false, 0, "", nil
	p.WillProperties = packets.Properties{}
}

// OnConnect sees a valid CONNECT before it is accepted.
func (g *gate) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c := cl.Net.Conn.(*conn)
	c.id = cl.ID
	if c.refusal != nil {
		return g.refuse(cl, *c.refusal)
	}
	c.cl = cl
	if err := c.claim(pk.Connect.Clean); err != nil {
		g.b.log.Warn("broker: a client cannot connect", "client", c.id, "err", err)
		return g.refuse(cl, packets.ErrServerBusy)
	}
	if c.oldWill != nil {
		g.b.sendWill(*c.oldWill, c.id)
		c.oldWill = nil
	}
	return nil
}

func (g *gate) refuse(cl *mqtt.Client, code packets.Code) error {
	answer := code
	if cl.Properties.ProtocolVersion < 5 {
		answer = packets.Err3ServerUnavailable
	}
	g.b.server.SendConnack(cl, answer, false, nil)
	return code
}

func (g *gate) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck is asked for subscribing and sending only.
func (g *gate) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

func (g *gate) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	c := cl.Net.Conn.(*conn)
	c.client.Store(cl)
	select {
	case <-c.ctx.Done(): // end did not know the client yet
		cl.Stop(packets.ErrServerShuttingDown)
	default:
	}
}

// publish takes a client's message and acknowledges it. Another code than success
// ends the connection.
func (g *gate) publish(c *conn, cl *mqtt.Client, pk *packets.Packet) packets.Code {
	if code := pk.PublishValidate(maxAliases); code != packets.CodeSuccess {
		return code
	}
	if alias := pk.Properties.TopicAlias; alias > 0 {
		if pk.TopicName == "" {
			if pk.TopicName = c.aliases[alias]; pk.TopicName == "" {
				return packets.ErrProtocolViolationNoTopic
			}
		} else if topicFault(pk.TopicName, false) == "" {
			if c.aliases == nil {
				c.aliases = map[uint16]string{}
			}
			c.aliases[alias] = strings.Clone(pk.TopicName)
		}
		pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 0, false
	}
	if topicFault(pk.TopicName, false) != "" {
		return packets.ErrTopicNameInvalid
	}

	ack, id := packets.Puback, pk.PacketID
	if pk.FixedHeader.Qos == 2 {
		ack = packets.Pubrec
		if c.session.received[id] { // sent again: we have it
			return g.acknowledge(cl, ack, id, packets.CodeSuccess)
		}
		if len(c.session.received) >= maxUnreleased {
			return packets.ErrReceiveMaximum
		}
	}
	if !g.b.allowed(pk.TopicName) {
		g.b.refused.Add(1)
		g.b.log.Debug("broker: refused a message", "client", cl.ID, "topic", pk.TopicName)
		code := packets.ErrNotAuthorized
		if cl.Properties.ProtocolVersion != 5 {
			code = packets.CodeSuccess
		}
		if pk.FixedHeader.Qos == 0 {
			return packets.CodeSuccess
		}
		return g.acknowledge(cl, ack, id, code)
	}
	err := g.b.take(c.ctx, *pk, cl.ID, nil, pk.FixedHeader.Qos > 0)
	if pk.FixedHeader.Qos == 0 {
		return packets.CodeSuccess
	}
	if err != nil { // the client, or the broker, is gone
		return packets.ErrServerShuttingDown
	}
	if pk.FixedHeader.Qos == 2 {
		c.session.received[id] = true
	}
	return g.acknowledge(cl, ack, id, packets.CodeSuccess)
}

func (g *gate) acknowledge(cl *mqtt.Client, kind byte, id uint16, code packets.Code) packets.Code {
	if g.answer(cl, kind, id, code) != nil {
		return packets.ErrServerShuttingDown
	}
	return packets.CodeSuccess
}

// OnPublish sees what deliver injects, and nothing else.
func (g *gate) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	pk.Origin = pk.Connect.ClientIdentifier
	return pk, nil
}

func (g *gate) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := cl.Net.Conn.(*conn)
	c.existed = c.existed[:0]
	for _, s := range pk.Filters {
		_, existed := cl.State.Subscriptions.Get(s.Filter)
		c.existed = append(c.existed, existed)
	}
	return pk
}

// OnSubscribed notes which retained values new subscriptions want. SUBACK has not
// been written yet.
func (g *gate) OnSubscribed(cl *mqtt.Client, pk packets.Packet, reasons []byte) {
	c := cl.Net.Conn.(*conn)
	c.catchUps = nil
	for i, s := range pk.Filters {
		switch {
		case reasons[i] >= packets.ErrUnspecifiedError.Code, mqtt.IsSharedFilter(s.Filter):
		case s.RetainHandling == 2, s.RetainHandling == 1 && c.existed[i]:
		default:
			c.catchUps = append(c.catchUps, catchUp{s, g.b.retained.match(s.Filter)})
		}
	}
}

// OnPacketProcessed comes after SUBACK was written.
func (g *gate) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, err error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || pk.FixedHeader.Type != packets.Subscribe || err != nil {
		return
	}
	if err := c.sendRetained(c.catchUps); err != nil {
		g.fail(cl, packets.ErrQuotaExceeded)
		cl.Stop(err)
	}
	c.catchUps = nil
}

// OnPacketEncode sees every packet before it is written, on whichever goroutine
// writes. It must not panic: nothing would catch it in the library's own.
func (g *gate) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return pk
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		if pk.ReasonCode == packets.CodeSuccess.Code {
			pk.Properties.MaximumPacketSize = maxPacket
			pk.Properties.TopicAliasMaximum = maxAliases
		}
	case packets.Suback, packets.Unsuback:
		pk.PacketID = c.ackID
		c.waitForRoom(false)
	case packets.Publish:
		// Before the session is established the goroutine that would read the
		// acknowledgements sends itself, what a kept session had not got yet.
		if pk.Origin != ofRetained && c.client.Load() != nil {
			c.waitForRoom(pk.FixedHeader.Qos > 0)
		}
		if pk.FixedHeader.Qos > 0 && fits(pk) {
			c.messageSent(pk.PacketID)
		}
	case packets.Disconnect:
		// Also from other goroutines, which must not wait.
	default:
		c.waitForRoom(false)
	}
	return pk
}

// fits says whether a message is not beyond what its client takes: one that is
// will not be sent, and so never be acknowledged.
func fits(pk packets.Packet) bool {
	if pk.Mods.MaxSize == 0 {
		return true
	}
	var b bytes.Buffer
	return pk.PublishEncode(&b) == nil && b.Len() <= int(pk.Mods.MaxSize)
}
