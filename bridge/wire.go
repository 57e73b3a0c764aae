package bridge

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The packets of MQTT that a client sends and gets, in versions 3.1.1 (4) and 5.
// What comes from a remote is not trusted: a packet is read only up to a size, and
// one that breaks the rules is an error, never a guess.

// Kinds of packets.
const (
	kindConnect     byte = 1
	kindConnack     byte = 2
	kindPublish     byte = 3
	kindPuback      byte = 4
	kindPubrec      byte = 5
	kindPubrel      byte = 6
	kindPubcomp     byte = 7
	kindSubscribe   byte = 8
	kindSuback      byte = 9
	kindUnsubscribe byte = 10
	kindUnsuback    byte = 11
	kindPingreq     byte = 12
	kindPingresp    byte = 13
	kindDisconnect  byte = 14
)

// A message is what PUBLISH carries, with all that is to reach the other side.
type message struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
	properties
}

// properties are those of MQTT 5 that a message keeps on its way.
type properties struct {
	format      byte // 1: the payload is text
	expiry      uint32
	expires     bool // expiry is given
	contentType string
	response    string // topic for the answer
	correlation []byte // nil: none
	user        []pair // user properties, in order
}

type pair struct{ key, value string }

// A packet is one that came.
type packet struct {
	kind    byte
	id      uint16
	dup     bool
	message        // of PUBLISH
	large   bool   // PUBLISH: there is more than was to be read, of which only topic and id are here
	present bool   // CONNACK: the session is there
	numbers byte   // of PUBLISH: bit n is set if a subscription with the identifier n brought it
	code    byte   // CONNACK, acknowledgements, DISCONNECT
	codes   []byte // SUBACK
	server  server // CONNACK
	reason  string // what the broker says of code, if anything
}

// server is what a broker says of itself in CONNACK; zero values are MQTT's
// defaults.
type server struct {
	receive   uint16 // unacknowledged messages it takes
	maxPacket uint32
	maxQoS    byte
	noRetain  bool
	noWild    bool
	noNumbers bool // subscriptions can't have identifiers
	keepalive uint16
	session   uint32 // seconds; only with limited
	limited   bool   // it keeps the session for less than was asked
}

var errMalformed = errors.New("a packet that is none")

// readPacket reads one packet of at most limit bytes. Of a larger PUBLISH it reads what
// it takes to acknowledge it: a remote that does not know the limit has it retained,
// maybe, and would send it again and again.
func readPacket(r *bufio.Reader, version byte, limit int) (packet, error) {
	first, err := r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	length, shift := 0, 0
	for {
		b, err := r.ReadByte()
		if err != nil {
			return packet{}, noEOF(err)
		}
		length |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift += 7; shift > 21 {
			return packet{}, errMalformed
		}
	}
	if length > limit && first>>4 == kindPublish {
		return readLarge(r, first, length)
	}
	if length > limit {
		return packet{}, fmt.Errorf("a packet of %d bytes, more than %d", length, limit)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return packet{}, noEOF(err)
	}
	return decode(first, body, version)
}

// readLarge reads of a PUBLISH the topic and the id, and skips the rest.
func readLarge(r *bufio.Reader, first byte, length int) (packet, error) {
	head := make([]byte, 2, 2+65535+2)
	if _, err := io.ReadFull(r, head); err != nil {
		return packet{}, noEOF(err)
	}
	n := 2 + int(binary.BigEndian.Uint16(head))
	if first>>1&3 > 0 {
		n += 2
	}
	if n > length {
		return packet{}, errMalformed
	}
	head = head[:n]
	if _, err := io.ReadFull(r, head[2:]); err != nil {
		return packet{}, noEOF(err)
	}
	if _, err := io.CopyN(io.Discard, r, int64(length-n)); err != nil {
		return packet{}, noEOF(err)
	}
	p, err := decode(first, head, 4) // the properties, which come next, are among the rest
	p.large = true
	return p, err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decode takes a packet apart. The result keeps body.
func decode(first byte, body []byte, version byte) (packet, error) {
	p := packet{kind: first >> 4}
	r := reader{rest: body}
	if flags := first & 0x0f; p.kind != kindPublish && flags != map[byte]byte{kindPubrel: 2}[p.kind] {
		return p, errMalformed
	}
	switch p.kind {
	case kindConnack:
		p.present = r.byte()&1 == 1
		p.code = r.byte()
		// A broker that speaks only 3.1.1 says so in its own form.
		if version == 5 && len(r.rest) > 0 {
			r.properties(&p)
		}
	case kindPublish:
		p.dup, p.qos, p.retain = first&8 != 0, first>>1&3, first&1 != 0
		p.topic = r.text()
		if p.qos > 0 {
			p.id = r.uint16()
		}
		if version == 5 {
			r.properties(&p)
		}
		p.payload, r.rest = r.rest, nil
		if p.qos > 2 || p.qos > 0 && p.id == 0 || strings.ContainsAny(p.topic, "+#") {
			r.bad = true
		}
	case kindPuback, kindPubrec, kindPubrel, kindPubcomp:
		p.id = r.uint16()
		if version == 5 && len(r.rest) > 0 {
			p.code = r.byte()
			if len(r.rest) > 0 {
				r.properties(&p)
			}
		}
	case kindSuback, kindUnsuback:
		p.id = r.uint16()
		if version == 5 {
			r.properties(&p)
		}
		p.codes, r.rest = r.rest, nil
	case kindPingresp:
	case kindDisconnect:
		if version != 5 {
			r.bad = true
		}
		if len(r.rest) > 0 {
			p.code = r.byte()
			if len(r.rest) > 0 {
				r.properties(&p)
			}
		}
	default: // AUTH included: it was not asked for
		r.bad = true
	}
	if r.bad || len(r.rest) > 0 {
		return p, errMalformed
	}
	return p, nil
}

// A reader takes values off a packet; after one that is not there, bad is set and
// all are zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, min(n, 4))
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

func (r *reader) bytes() []byte {
	n := int(r.uint16())
	if r.bad {
		return nil
	}
	return r.take(n)
}

func (r *reader) text() string {
	b := r.bytes()
	if r.bad {
		return ""
	}
	if !utf8.Valid(b) || strings.IndexByte(string(b), 0) >= 0 {
		r.bad = true
	}
	return string(b)
}

func (r *reader) varint() (n int) {
	for shift := 0; shift <= 21; shift += 7 {
		b := r.byte()
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
	r.bad = true
	return 0
}

// properties reads those of a packet. What is of no use here is skipped.
func (r *reader) properties(p *packet) {
	all := reader{rest: r.take(r.varint())}
	if r.bad {
		return
	}
	for len(all.rest) > 0 {
		switch all.byte() {
		case 0x01:
			p.format = all.byte()
		case 0x02:
			p.expiry, p.expires = all.uint32(), true
		case 0x03:
			p.contentType = all.text()
		case 0x08:
			p.response = all.text()
		case 0x09:
			p.correlation = all.bytes()
		case 0x0b:
			if n := all.varint(); n < 8 {
				p.numbers |= 1 << n
			}
		case 0x11:
			p.server.session, p.server.limited = all.uint32(), true
		case 0x12, 0x15, 0x1a, 0x1c: // assigned client id, authentication, response information, another server
			all.text()
		case 0x13:
			p.server.keepalive = all.uint16()
		case 0x16:
			all.bytes()
		case 0x1f:
			p.reason = all.text()
		case 0x21:
			p.server.receive = all.uint16()
		case 0x22: // topic alias maximum: none is used
			all.uint16()
		case 0x23: // a topic alias, which was not allowed
			all.bad = true
		case 0x24:
			p.server.maxQoS = all.byte()
			if p.server.maxQoS > 1 {
				all.bad = true
			}
			p.server.maxQoS |= 0x80 // it was given
		case 0x25:
			p.server.noRetain = all.byte() == 0
		case 0x26:
			p.user = append(p.user, pair{all.text(), all.text()})
		case 0x27:
			p.server.maxPacket = all.uint32()
		case 0x28:
			p.server.noWild = all.byte() == 0
		case 0x29:
			p.server.noNumbers = all.byte() == 0
		case 0x2a:
			all.byte()
		default:
			all.bad = true
		}
	}
	r.bad = r.bad || all.bad
}

// What follows appends packets to b.

func appendUint16(b []byte, n uint16) []byte { return binary.BigEndian.AppendUint16(b, n) }
func appendUint32(b []byte, n uint32) []byte { return binary.BigEndian.AppendUint32(b, n) }

func appendText[T string | []byte](b []byte, s T) []byte {
	b = appendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendVarint(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// appendPacket appends a packet of that first byte and body.
func appendPacket(b []byte, first byte, body []byte) []byte {
	b = append(b, first)
	b = appendVarint(b, len(body))
	return append(b, body...)
}

// login is what CONNECT says.
type login struct {
	client   string
	user     string
	password []byte // nil: none
	clean    bool
	alive    uint16 // seconds
	session  uint32 // seconds
	receive  uint16
	will     string // topic that is told "offline", retained, when the client is lost; "": none
}

// willDelay is how many seconds a client may be lost before its will is sent.
const willDelay = 10

func appendConnect(b []byte, version byte, l login) []byte {
	body := appendText(nil, "MQTT")
	body = append(body, version)
	var flags byte
	if l.clean {
		flags |= 0x02
	}
	if l.password != nil {
		flags |= 0x40
	}
	if l.user != "" {
		flags |= 0x80
	}
	if l.will != "" {
		flags |= 0x04 | 1<<3 | 0x20 // QoS 1, retained
	}
	body = append(body, flags)
	body = appendUint16(body, l.alive)
	if version == 5 {
		props := append([]byte{0x11}, appendUint32(nil, l.session)...)
		props = appendUint16(append(props, 0x21), l.receive)
		props = appendUint32(append(props, 0x27), maxPacket)
		body = appendVarint(body, len(props))
		body = append(body, props...)
	}
	body = appendText(body, l.client)
	if l.will != "" {
		if version == 5 {
			body = appendUint32(append(body, 5, 0x18), willDelay)
		}
		body = appendText(body, l.will)
		body = appendText(body, "offline")
	}
	if l.user != "" {
		body = appendText(body, l.user)
	}
	if l.password != nil {
		body = appendText(body, l.password)
	}
	return appendPacket(b, kindConnect<<4, body)
}

func appendPublish(b []byte, version byte, m *message, id uint16, dup bool) []byte {
	first := kindPublish<<4 | m.qos<<1
	if dup {
		first |= 8
	}
	if m.retain {
		first |= 1
	}
	head := appendText(nil, m.topic)
	if m.qos > 0 {
		head = appendUint16(head, id)
	}
	if version == 5 {
		props := m.append(nil)
		head = appendVarint(head, len(props))
		head = append(head, props...)
	}
	b = append(b, first)
	b = appendVarint(b, len(head)+len(m.payload))
	b = append(b, head...)
	return append(b, m.payload...)
}

func (p *properties) append(b []byte) []byte {
	if p.format != 0 {
		b = append(b, 0x01, p.format)
	}
	if p.expires {
		b = appendUint32(append(b, 0x02), p.expiry)
	}
	if p.contentType != "" {
		b = appendText(append(b, 0x03), p.contentType)
	}
	if p.response != "" {
		b = appendText(append(b, 0x08), p.response)
	}
	if p.correlation != nil {
		b = appendText(append(b, 0x09), p.correlation)
	}
	for _, u := range p.user {
		b = appendText(append(b, 0x26), u.key)
		b = appendText(b, u.value)
	}
	return b
}

// size is how many bytes PUBLISH of m has at most.
func (m *message) size() int {
	n := len(m.topic) + len(m.payload) + len(m.contentType) + len(m.response) + len(m.correlation) + 40
	for _, u := range m.user {
		n += 5 + len(u.key) + len(u.value)
	}
	return n
}

// appendAck appends an acknowledgement that says yes.
func appendAck(b []byte, kind byte, id uint16) []byte {
	first := kind << 4
	if kind == kindPubrel {
		first |= 2
	}
	return append(b, first, 2, byte(id>>8), byte(id))
}

// A subscription is one of SUBSCRIBE. handling says when the retained values are
// wanted: 0 now, 1 if it is new, 2 never.
type subscription struct {
	filter   string
	qos      byte
	handling byte
	echo     bool // what this client publishes itself is wanted too
	plain    bool // the retain flag of messages that are not found, but new, is not wanted
}

// appendSubscribe appends SUBSCRIBE. number is the identifier of the subscriptions;
// 0: they have none.
func appendSubscribe(b []byte, version byte, id uint16, number byte, subs []subscription) []byte {
	body := appendUint16(nil, id)
	switch {
	case version == 5 && number > 0:
		body = append(body, 2, 0x0b, number)
	case version == 5:
		body = append(body, 0)
	}
	for _, s := range subs {
		body = appendText(body, s.filter)
		options := s.qos
		if version == 5 {
			options |= s.handling << 4
			if !s.plain {
				options |= 1 << 3 // the retain flag stays as it was published
			}
			if !s.echo {
				options |= 1 << 2
			}
		}
		body = append(body, options)
	}
	return appendPacket(b, kindSubscribe<<4|2, body)
}

func appendUnsubscribe(b []byte, version byte, id uint16, filters []string) []byte {
	body := appendUint16(nil, id)
	if version == 5 {
		body = append(body, 0)
	}
	for _, f := range filters {
		body = appendText(body, f)
	}
	return appendPacket(b, kindUnsubscribe<<4|2, body)
}

func appendPing(b []byte) []byte { return append(b, kindPingreq<<4, 0) }

// appendDisconnect says goodbye; with forget the session ends too. With will the
// broker is to send that, for which MQTT 3.1.1 has no word but to say nothing.
func appendDisconnect(b []byte, version byte, forget, will bool) []byte {
	code := byte(0)
	if will {
		code = 0x04
	}
	switch {
	case version < 5 && will:
		return b
	case version == 5 && forget:
		return append(b, kindDisconnect<<4, 7, code, 5, 0x11, 0, 0, 0, 0)
	case version == 5 && will:
		return append(b, kindDisconnect<<4, 1, code)
	}
	return append(b, kindDisconnect<<4, 0)
}
