package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/topic"
	"hearth/store"
)

// handle does what a packet after CONNECT asks. An error ends the connection.
func (c *conn) handle(pk *packets.Packet) error {
	if err := c.waitForRoom(); err != nil {
		return err
	}
	s := c.session
	switch pk.FixedHeader.Type {
	case packets.Publish:
		return c.publish(pk)
	case packets.Puback, packets.Pubcomp:
		c.settled(s.acknowledged(pk.PacketID))
	case packets.Pubrec:
		c.pubrec(pk)
	case packets.Pubrel:
		c.pubrel(pk)
	case packets.Subscribe:
		return c.subscribe(pk)
	case packets.Unsubscribe:
		return c.unsubscribe(pk)
	case packets.Pingreq:
		c.say(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingresp}})
	case packets.Disconnect:
		return c.disconnect(pk)
	case packets.Connect:
		return packets.ErrProtocolViolationSecondConnect
	default: // AUTH without a method, and what only a broker says
		return packets.ErrProtocolViolation
	}
	return nil
}

// settled is called for each acknowledgement of the client. One that answers nothing, or
// nothing new, counts as a packet: a flood of them would take all the processor has.
func (c *conn) settled(something bool) {
	if !something {
		c.from.pace.pause(c.ctx)
	}
}

// publish takes a message of the client.
func (c *conn) publish(pk *packets.Packet) error {
	if err := wait(c.ctx, c.hold); err != nil {
		return err
	}
	c.hold = nil
	if err := c.resolve(pk); err != nil {
		return err
	}
	b, s := c.b, c.session
	kind := packets.Puback
	if pk.FixedHeader.Qos == 2 {
		kind = packets.Pubrec
	}
	s.mu.Lock()
	s.nReceived++
	s.lastSeen = time.Now()
	rights := s.rights
	s.mu.Unlock()
	if !b.mayPublish(rights, pk.TopicName) {
		b.refused.Add(1)
		if n := s.refuse(); n&(n-1) == 0 {
			b.mention(slog.LevelWarn, "a client published what it may not", "", "client", c.id, "user", c.user, "topic", pk.TopicName, "times", n)
		}
		// MQTT 3 has no word for that but ending the connection, and a device that is
		// disconnected connects again and sends the same, for ever.
		if pk.FixedHeader.Qos > 0 {
			a := c.promise(byte(kind), pk.PacketID, false)
			a.code = packets.ErrNotAuthorized.Code
			if pk.FixedHeader.Qos == 2 && c.version < 5 {
				s.receive(pk.PacketID, true) // so that its PUBREL is known
			}
			a.settle()
		}
		return nil
	}
	found := c.user == itself && b.mark != "" && takeMark(&pk.Properties, b.mark)
	m := messageOf(pk, c.id, time.Now())
	m.rights, m.found = rights, found
	if m.retain && c.user != itself {
		m.by = &publisher{c.user, c.id}
	}
	if pk.FixedHeader.Qos == 0 {
		c.hold = b.send(m, nil)
		return nil
	}

	var note *store.Record
	if pk.FixedHeader.Qos == 2 {
		again := s.receive(pk.PacketID, pk.FixedHeader.Dup)
		note = b.unreleased(s, pk.PacketID)
		if again {
			a := c.promise(byte(kind), pk.PacketID, false)
			if note == nil {
				a.settle()
				return nil
			}
			b.store.Put(*note, 0, func(err error) {
				if err == nil {
					a.settle()
				}
			})
			return nil
		}
	}
	a := c.promise(byte(kind), pk.PacketID, true)
	m.ack.Store(a)
	c.hold = b.send(m, note)
	if kind == packets.Pubrec && a.refused() {
		c.forget(pk.PacketID)
	}
	if c.hold == nil {
		a.letGo()
		return nil
	}
	// The hub has no room. The client goes on, but for what it publishes next.
	hold := c.hold
	c.writer.Go(func() {
		if wait(c.ctx, hold) == nil {
			a.letGo()
		}
	})
	return nil
}

// pubrel ends a QoS 2 message of the client, which may give the packet id to its next
// one when it hears so. That is on disk first: else the next, which is sent again after
// a crash, would be taken for this one, acknowledged and dropped.
func (c *conn) pubrel(pk *packets.Packet) {
	b, s := c.b, c.session
	answer := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubcomp}, PacketID: pk.PacketID}
	known := s.release(pk.PacketID)
	c.settled(known)
	if !known {
		answer.ReasonCode = packets.ErrPacketIdentifierNotFound.Code
	} else if note := b.unreleased(s, pk.PacketID); note != nil {
		note.Value = nil
		b.store.Put(*note, 0, func(err error) {
			if err == nil {
				c.say(answer)
			}
		})
		return
	}
	c.say(answer)
}

// resolve checks a PUBLISH and gives it the topic its alias stands for.
func (c *conn) resolve(pk *packets.Packet) error {
	if code := pk.PublishValidate(uint16(c.lim.aliases)); code != packets.CodeSuccess {
		return code
	}
	if c.version == 5 && pk.FixedHeader.Qos > 0 && c.unanswered() >= c.lim.receive {
		return packets.ErrReceiveMaximum // [MQTT-3.3.4-9]
	}
	if c.version < 5 && pk.FixedHeader.Qos == 2 && c.session.unreleased() >= c.lim.receive {
		return fmt.Errorf("%d QoS 2 messages are not released: %w", c.lim.receive, packets.ErrReceiveMaximum)
	}
	if alias := pk.Properties.TopicAlias; alias > 0 {
		if pk.TopicName == "" {
			known, ok := c.aliases[alias]
			if !ok {
				return packets.ErrProtocolViolationNoTopic
			}
			pk.TopicName = known
			return nil
		}
		if c.aliases == nil {
			c.aliases = map[uint16]string{}
		}
		c.aliases[alias] = strings.Clone(pk.TopicName)
	}
	if why := topic.Fault(pk.TopicName, false, c.lim.topic, c.lim.levels); why != "" {
		return fmt.Errorf("publish to a topic of %d bytes: %s: %w", len(pk.TopicName), why, packets.ErrTopicNameInvalid)
	}
	return nil
}

// unanswered counts the client's QoS 1 and 2 messages under way, as its receive
// maximum does.
func (c *conn) unanswered() int {
	n := c.session.unreleased()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.acks {
		if a.kind == packets.Puback {
			n++
		}
	}
	return n
}

func (s *session) refuse() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nRefused++
	return s.nRefused
}

// pubrec is the first of a subscriber's two acknowledgements of QoS 2.
func (c *conn) pubrec(pk *packets.Packet) {
	if pk.ReasonCode >= packets.ErrUnspecifiedError.Code {
		c.settled(c.session.acknowledged(pk.PacketID)) // the client refuses it [MQTT-4.3.3-4]
		return
	}
	answer := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel}, PacketID: pk.PacketID}
	d, known, again := c.session.releasing(pk.PacketID)
	c.settled(known && !again)
	switch {
	case !known:
		answer.ReasonCode = packets.ErrPacketIdentifierNotFound.Code
	case d != nil:
		c.b.store.Put(store.Record{Kind: store.Queued, Key: queuedKey(c.session.num, d.m.seq), Value: d.encode(true)}, 0, func(err error) {
			if err == nil {
				c.say(answer)
			}
		})
		return
	}
	c.say(answer)
}

// subscribe makes subscriptions, and answers when they are on disk if they have to be.
func (c *conn) subscribe(pk *packets.Packet) error {
	if pk.PacketID == 0 {
		return packets.ErrProtocolViolationNoPacketID
	}
	if code := pk.SubscribeValidate(); code != packets.CodeSuccess {
		return code
	}
	if ids := pk.Properties.SubscriptionIdentifier; len(ids) > 0 && ids[0] == 0 {
		return packets.ErrProtocolViolation // [MQTT-3.8.2.1.2]
	}
	b, s := c.b, c.session
	answer := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Suback}, PacketID: pk.PacketID}
	type made struct {
		name string
		old  *subscription
		at   int // of answer.ReasonCodes
	}
	var ups []catchUp
	var records []store.Record
	var changed []made
	promised := map[string]bool{}  // by filter: a retained value reaches it at QoS 1 or 2
	for _, f := range pk.Filters { // there may be thousands
		name := strings.Clone(f.Filter)
		b.mu.Lock()
		sub, code, err := c.subscription(name, f)
		if err != nil {
			b.mu.Unlock()
			return err
		}
		old := s.subs[name]
		if code == packets.CodeSuccess && old == nil && len(s.subs) >= c.lim.subscriptions {
			code = packets.ErrQuotaExceeded
			b.complain(slog.LevelWarn, "a client wants too many subscriptions", "client", c.id, "limit", c.lim.subscriptions)
		}
		if all := b.limits.Load().allSubs; code == packets.CodeSuccess && old == nil && b.nSubs >= all && len(s.subs) >= all/max(1, len(b.sessions)) {
			code = packets.ErrQuotaExceeded
			b.complain(slog.LevelWarn, "all clients together have too many subscriptions, refusing one to a client with more than its share",
				"client", c.id, "limit", all)
		}
		if code != packets.CodeSuccess {
			b.mu.Unlock()
			if n := s.refuse(); n&(n-1) == 0 {
				b.log.Warn("broker: a client's subscription is refused", "client", c.id, "user", c.user, "filter", f.Filter, "why", code.Reason, "times", n)
			}
			answer.ReasonCodes = append(answer.ReasonCodes, c.failure(code))
			continue
		}
		isNew, tell := b.subscribe(s, name, sub)
		stored, owes := s.kept && b.store != nil, false
		if tell && stored && sub.qos > 0 {
			if _, known := promised[name]; !known {
				promised[name] = b.promises(s, sub)
			}
			owes = promised[name]
		}
		if tell {
			ups = append(ups, catchUp{sub: sub, before: b.seq + 1, owes: owes})
		}
		if stored && (isNew || owes || s.unsure.Load() > 0) {
			records = append(records, store.Record{Kind: store.Subscription, Key: subscriptionKey(s.num, name), Value: sub.encode(owes)})
			changed = append(changed, made{name, old, len(answer.ReasonCodes)})
		}
		b.mu.Unlock()
		answer.ReasonCodes = append(answer.ReasonCodes, sub.qos)
	}
	var committed <-chan error
	if len(records) > 0 {
		committed = b.commit(s, records, 0)
	}
	if err := b.await(c.ctx, committed); err != nil {
		if !errors.Is(err, errRefused) {
			return err
		}
		b.mu.Lock()
		for _, m := range slices.Backward(changed) {
			b.unsubscribe(s, m.name)
			back := store.Record{Kind: store.Subscription, Key: subscriptionKey(s.num, m.name)}
			if m.old != nil {
				b.subscribe(s, m.name, m.old)
				back.Value = m.old.encode(false)
			}
			b.store.Put(back, 0, nil)
			answer.ReasonCodes[m.at] = c.failure(packets.ErrQuotaExceeded)
			ups = nil
		}
		b.mu.Unlock()
	}
	c.say(answer)
	if len(ups) > 0 {
		s.follow(ups)
	}
	return nil
}

// failure is the reason code of a filter that is refused.
func (c *conn) failure(code packets.Code) byte {
	if c.version < 5 {
		return packets.ErrUnspecifiedError.Code
	}
	return code.Code
}

// subscription reads what is asked for; err ends the connection, code is for the
// acknowledgement.
func (c *conn) subscription(name string, f packets.Subscription) (sub *subscription, code packets.Code, err error) {
	share, filter, ok := topic.Share(name)
	switch {
	case !ok:
		return nil, packets.ErrTopicFilterInvalid, nil
	case share != "" && f.NoLocal:
		return nil, code, packets.ErrProtocolViolationInvalidSharedNoLocal // [MQTT-3.8.3-4]
	case f.RetainHandling > 2:
		return nil, code, packets.ErrProtocolViolation // section 3.8.3.1
	case topic.Fault(filter, true, c.lim.topic, c.lim.levels) != "":
		return nil, packets.ErrTopicFilterInvalid, nil
	case !c.session.rights.Subscribe(filter):
		if c.session.rights.Excepted(filter) {
			return nil, packets.ErrUnspecifiedError, nil // docs/decisions.md
		}
		return nil, packets.ErrNotAuthorized, nil
	}
	return &subscription{
		filter: filter, share: share, qos: f.Qos, noLocal: f.NoLocal, asIs: f.RetainAsPublished, handling: f.RetainHandling, id: f.Identifier,
	}, packets.CodeSuccess, nil
}

// unsubscribe ends subscriptions.
func (c *conn) unsubscribe(pk *packets.Packet) error {
	if pk.PacketID == 0 || len(pk.Filters) == 0 {
		return packets.ErrProtocolViolation
	}
	b, s := c.b, c.session
	answer := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsuback}, PacketID: pk.PacketID}
	var records []store.Record
	b.mu.Lock()
	for _, f := range pk.Filters {
		code := packets.CodeSuccess
		if !b.unsubscribe(s, f.Filter) {
			code = packets.CodeNoSubscriptionExisted
		} else if s.kept && b.store != nil {
			records = append(records, store.Record{Kind: store.Subscription, Key: subscriptionKey(s.num, f.Filter)})
		}
		answer.ReasonCodes = append(answer.ReasonCodes, code.Code)
	}
	var committed chan error
	if len(records) > 0 {
		committed = make(chan error, 1)
		b.store.PutAll(records, 0, func(err error) { committed <- err })
	}
	b.mu.Unlock()
	// A disk that refuses costs no more than what would be sent after a crash.
	if err := b.await(c.ctx, committed); err != nil && !errors.Is(err, errRefused) {
		return err
	}
	c.say(answer)
	return nil
}

// errLeft ends the connection of a client that says goodbye.
var errLeft = packets.Code{Code: packets.CodeDisconnect.Code, Reason: "it said goodbye"}

func (c *conn) disconnect(pk *packets.Packet) error {
	if p := &pk.Properties; c.version == 5 && p.SessionExpiryIntervalFlag {
		if c.expiry == 0 && p.SessionExpiryInterval > 0 {
			return packets.ErrProtocolViolationZeroNonZeroExpiry // [MQTT-3.14.2-2]
		}
		c.expiry = min(time.Duration(p.SessionExpiryInterval)*time.Second, c.lim.sessionExpiry)
	}
	if pk.ReasonCode == packets.CodeDisconnect.Code {
		c.will = nil // [MQTT-3.14.4-3]
	}
	return errLeft
}
