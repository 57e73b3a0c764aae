package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
	"hearth/broker/topic"
)

// A message is one that was published, on its way to any number of sessions. What
// is not atomic never changes once it has its place in the order.
type message struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool   // as it was published
	props   []byte // those that are passed on, encoded; nil: none
	expires time.Time
	from    string // client id of the publisher, "" for the hub
	origin  any
	rights  *access.Rights // of its publisher, until the hub has it
	found   bool           // see Message
	by      *publisher     // nil: the hub, or a bridge, or what an older version kept
	at      time.Time
	// lifetime is what a will waits with: its time begins when it is sent.
	lifetime time.Duration
	seq      uint64 // its place among all messages of this broker

	ack   atomic.Pointer[ack] // nil: nobody waits for one, or not any more
	needs bool                // it needs the disk, whatever the subscribers do
	owed  atomic.Int32        // deliveries to kept sessions that have a record in the store
}

// A publisher is the client whose message a retained value is. What it may do is looked up
// when somebody asks: a device that announces itself on a retained topic may have the hub
// publish only what it may publish itself, also when the hub finds it at a start.
type publisher struct{ user, client string }

// rightsNow gives what the publisher of a retained value may do by now, nil for the hub.
func (b *Broker) rightsNow(p *publisher) *access.Rights {
	if p == nil {
		return nil
	}
	if r := b.rightsOf(p.user, p.client); r != nil {
		return r
	}
	return new(access.Rights) // the user exists no more
}

// size is what a message counts in the limits: bytes of topic, payload and properties.
func (m *message) size() int { return len(m.topic) + len(m.payload) + len(m.props) }

func (m *message) expired(now time.Time) bool { return !m.expires.IsZero() && !now.Before(m.expires) }

// settle acknowledges: the message is as safe as it has to be. It lets go of its
// publisher's connection, for it may itself be kept long.
func (m *message) settle() {
	if a := m.ack.Swap(nil); a != nil {
		a.settle()
	}
}

// messageOf makes the message of a PUBLISH. It shares the packet's memory.
func messageOf(pk *packets.Packet, from string, now time.Time) *message {
	m := &message{
		topic:   pk.TopicName,
		payload: pk.Payload,
		qos:     pk.FixedHeader.Qos,
		retain:  pk.FixedHeader.Retain,
		props:   passedOn(&pk.Properties),
		from:    from,
		at:      now,
	}
	if n := pk.Properties.MessageExpiryInterval; n > 0 {
		m.expires = now.Add(time.Duration(n) * time.Second)
	}
	return m
}

// takeMark takes the user property of that key off, and says whether it was there.
func takeMark(p *packets.Properties, key string) bool {
	i := slices.IndexFunc(p.User, func(u packets.UserProperty) bool { return u.Key == key })
	if i < 0 {
		return false
	}
	p.User = slices.Delete(p.User, i, i+1)
	return true
}

// The properties of PUBLISH, MQTT 5 section 3.3.2.3.
const (
	propPayloadFormat  = 1
	propMessageExpiry  = 2
	propContentType    = 3
	propResponseTopic  = 8
	propCorrelation    = 9
	propSubscriptionID = 11
	propTopicAlias     = 35
	propUser           = 38
)

// passedOn encodes the properties that a broker hands on as they are: all but the
// expiry, which shrinks, the topic alias and the subscription identifiers.
func passedOn(p *packets.Properties) (b []byte) {
	if p.PayloadFormatFlag {
		b = append(b, propPayloadFormat, p.PayloadFormat)
	}
	if p.ContentType != "" {
		b = appendText(append(b, propContentType), p.ContentType)
	}
	if p.ResponseTopic != "" {
		b = appendText(append(b, propResponseTopic), p.ResponseTopic)
	}
	if len(p.CorrelationData) > 0 {
		b = appendText(append(b, propCorrelation), p.CorrelationData)
	}
	for _, u := range p.User {
		b = appendText(appendText(append(b, propUser), u.Key), u.Val)
	}
	return b
}

// asksFor is what passedOn has encoded of an answer that is wanted.
func asksFor(props []byte) (topic string, correlation []byte) {
	text := func(from int) []byte {
		n := int(binary.BigEndian.Uint16(props[from:])) + 2
		of := props[from+2 : from+n]
		props = props[from+n:]
		return of
	}
	for len(props) > 0 {
		switch props[0] {
		case propPayloadFormat:
			props = props[2:]
		case propContentType:
			text(1)
		case propResponseTopic:
			topic = string(text(1))
		case propCorrelation:
			return topic, slices.Clone(text(1))
		default: // what users add is the last
			return topic, nil
		}
	}
	return topic, nil
}

func appendText[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendLength is MQTT's variable byte integer.
func appendLength(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func lengthSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// A form is how a message is sent this time.
type form struct {
	version byte
	qos     byte
	dup     bool
	retain  bool
	id      uint16 // packet id, for QoS 1 and 2
	alias   uint16 // 0: none
	bare    bool   // the alias stands for the topic
	subs    []int  // subscription identifiers
}

// appendPublish appends m as a PUBLISH packet.
func appendPublish(b []byte, m *message, f form, now time.Time) []byte {
	name := m.topic
	if f.bare {
		name = ""
	}
	size := 2 + len(name) + len(m.payload)
	if f.qos > 0 {
		size += 2
	}
	props := 0
	var left uint32 // seconds until it expires
	if f.version == 5 {
		props = len(m.props)
		if !m.expires.IsZero() {
			// What was sent before is sent again even if it has expired.
			left = uint32(max(1, (m.expires.Sub(now)+time.Second-1)/time.Second))
			props += 5
		}
		if f.alias > 0 {
			props += 3
		}
		for _, id := range f.subs {
			props += 1 + lengthSize(id)
		}
		size += lengthSize(props) + props
	}
	first := byte(packets.Publish<<4) | f.qos<<1
	if f.dup {
		first |= 8
	}
	if f.retain {
		first |= 1
	}
	b = appendLength(append(b, first), size)
	b = appendText(b, name)
	if f.qos > 0 {
		b = binary.BigEndian.AppendUint16(b, f.id)
	}
	if f.version == 5 {
		b = appendLength(b, props)
		if left > 0 {
			b = binary.BigEndian.AppendUint32(append(b, propMessageExpiry), left)
		}
		if f.alias > 0 {
			b = binary.BigEndian.AppendUint16(append(b, propTopicAlias), f.alias)
		}
		for _, id := range f.subs {
			b = appendLength(append(b, propSubscriptionID), id)
		}
		b = append(b, m.props...)
	}
	return append(b, m.payload...)
}

// A message in the store is the MQTT 5 PUBLISH that would bring it to a client,
// after two fields of our own:
//
//	1 byte    format, 1
//	8 bytes   when it expires, Unix seconds, big endian; 0: never
//	rest      the PUBLISH packet, packet id 1 if it needs one; its expiry interval
//	          is what was left when it was written
//
// The interval bounds what is left at a start whose clock is behind, as a Pi's is.
const messageFormat = 1

func encodeMessage(m *message, now time.Time) []byte {
	b := make([]byte, 9, 9+16+m.size())
	b[0] = messageFormat
	if !m.expires.IsZero() {
		binary.BigEndian.PutUint64(b[1:], uint64(now.Add(m.expires.Sub(now)).Unix()))
	}
	return appendPublish(b, m, form{version: 5, qos: m.qos, retain: m.retain, id: 1}, now)
}

// A retained value in the store is a message, after its publisher if that is a client:
//
//	1 byte    format, 2
//	2 bytes   length of the user's name, big endian, and the name
//	2 bytes   length of the client id, and the id
const valueFormat = 2

func encodeValue(m *message, now time.Time) []byte {
	if m.by == nil {
		return encodeMessage(m, now)
	}
	b := []byte{valueFormat}
	for _, text := range []string{m.by.user, m.by.client} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
	}
	return append(b, encodeMessage(m, now)...)
}

func decodeValue(record []byte, now time.Time) (*message, error) {
	var by *publisher
	if len(record) > 0 && record[0] == valueFormat {
		r := reader{b: record[1:]}
		by = &publisher{user: string(r.bytes(int(r.u16())))}
		by.client = string(r.bytes(int(r.u16())))
		if r.bad {
			return nil, errMessage
		}
		record = r.b
	}
	m, err := decodeMessage(record, now)
	if err == nil {
		m.by = by
	}
	return m, err
}

var errMessage = errors.New("not a message of this format")

// decodeMessage gives the message a record holds. It shares the record's bytes.
func decodeMessage(record []byte, now time.Time) (*message, error) {
	if len(record) < 11 || record[0] != messageFormat {
		return nil, errMessage
	}
	expiry := binary.BigEndian.Uint64(record[1:])
	if expiry > math.MaxInt64 {
		return nil, errMessage
	}
	var pk packets.Packet
	pk.ProtocolVersion = 5
	if err := pk.FixedHeader.Decode(record[9]); err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	body := bytes.NewReader(record[10:])
	n, _, err := packets.DecodeLength(body)
	if err != nil || n != body.Len() || pk.FixedHeader.Type != packets.Publish {
		return nil, errMessage
	}
	pk.FixedHeader.Remaining = n
	if err := decode(&pk, record[len(record)-n:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errMessage, err)
	}
	// The limits may have been others when it was written.
	if topic.Fault(pk.TopicName, false, math.MaxUint16, math.MaxUint16) != "" {
		return nil, errMessage
	}
	m := messageOf(&pk, "", now)
	m.at = time.Time{}
	if expiry > 0 {
		left := min(time.Unix(int64(expiry), 0).Sub(now), math.MaxUint32*time.Second) // the longest that MQTT knows
		if !m.expires.IsZero() {
			left = min(left, m.expires.Sub(now))
		}
		m.expires = now.Add(max(left, -time.Hour))
	}
	return m, nil
}
