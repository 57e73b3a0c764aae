package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What the library's decoder lets pass is looked for here, before it decodes: it
// reads properties beyond their end, takes the last of two where one is allowed, and
// any value. Most of that would be passed on to subscribers, who may hang up on it.

// fault gives what is wrong with the form of a packet's body, nil if that is left to
// the decoder.
func fault(pk *packets.Packet, body []byte) error {
	f := &fields{b: body}
	v5 := pk.ProtocolVersion == 5
	switch kind := pk.FixedHeader.Type; kind {
	case packets.Connect:
		return f.connect()
	case packets.Publish:
		f.bytes()
		if pk.FixedHeader.Qos > 0 {
			f.uint16()
		}
		if v5 {
			f.properties(kind)
		}
		return f.err // the rest is payload
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		f.uint16()
		if v5 && len(f.b) > 0 {
			f.byte()
			if len(f.b) > 0 {
				f.properties(kind)
			}
		}
	case packets.Subscribe:
		f.uint16()
		if v5 {
			f.properties(kind)
		}
		for len(f.b) > 0 {
			f.bytes()
			if options := f.byte(); v5 && (options>>6 != 0 || options>>4&3 == 3) || !v5 && options > 2 {
				f.wrong(packets.ErrMalformedPacket, "the options of a subscription are %#02x", options) // [MQTT-3.8.3-5]
			}
		}
	case packets.Pingreq:
	case packets.Disconnect:
		if v5 && len(f.b) > 0 {
			f.byte()
			if len(f.b) > 0 {
				f.properties(kind)
			}
		}
	case packets.Unsubscribe:
		if f.uint16(); v5 {
			f.properties(kind)
		}
		return f.err
	default:
		return nil
	}
	return f.end()
}

// fields reads the fields of a packet until one is wrong.
type fields struct {
	b   []byte
	err error
}

func (f *fields) wrong(code packets.Code, format string, args ...any) {
	if f.err == nil {
		f.err = packets.Code{Code: code.Code, Reason: code.Reason + ": " + fmt.Sprintf(format, args...)}
		f.b = nil
	}
}

func (f *fields) take(n int) []byte {
	if n > len(f.b) {
		f.wrong(packets.ErrMalformedPacket, "it is cut short")
		return make([]byte, min(n, 4)) // nobody looks at more of it
	}
	p := f.b[:n]
	f.b = f.b[n:]
	return p
}

func (f *fields) byte() byte     { return f.take(1)[0] }
func (f *fields) uint16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) uint32() uint32 { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) bytes() []byte  { return f.take(int(f.uint16())) }

func (f *fields) text() []byte {
	p := f.bytes()
	if f.err == nil && (!utf8.Valid(p) || bytes.IndexByte(p, 0) >= 0) { // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
		f.wrong(packets.ErrMalformedPacket, "a text that is no UTF-8, or has a NUL")
	}
	return p
}

// length is a variable byte integer.
func (f *fields) length() (n int) {
	for shift := 0; shift < 28; shift += 7 {
		b := f.byte()
		n |= int(b&127) << shift
		if b < 128 {
			return n
		}
	}
	f.wrong(packets.ErrMalformedPacket, "a length of more than four bytes")
	return 0
}

func (f *fields) end() error {
	if len(f.b) > 0 {
		f.wrong(packets.ErrMalformedPacket, "%d bytes too many", len(f.b))
	}
	return f.err
}

func (f *fields) connect() error {
	f.bytes() // the name, which is for the decoder
	version, flags := f.byte(), f.byte()
	f.uint16()
	if f.err != nil || version < 3 || version > 5 {
		return f.err // whatever it is, it is not ours to judge
	}
	will, password, user := flags&4 != 0, flags&0x40 != 0, flags&0x80 != 0
	switch {
	case !will && flags&0x38 != 0: // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
		f.wrong(packets.ErrMalformedPacket, "the QoS of a will that is none")
	case version < 5 && password && !user: // [MQTT-3.1.2-22] of 3.1.1
		f.wrong(packets.ErrMalformedPacket, "a password without a user")
	}
	if version == 5 {
		f.properties(packets.Connect)
	}
	f.text()
	if will {
		if version == 5 {
			f.properties(packets.WillProperties)
		}
		f.text()
		f.bytes()
	}
	if user {
		f.text() // [MQTT-3.1.3-12]
	}
	if password {
		f.bytes()
	}
	return f.end()
}

// properties reads the properties of a packet. Whether each belongs into it is for
// the decoder to say.
func (f *fields) properties(kind byte) {
	p := &fields{b: f.take(f.length())}
	if f.err != nil {
		return
	}
	var seen uint64
	for len(p.b) > 0 {
		k := p.byte()
		if k > 42 {
			p.wrong(packets.ErrMalformedPacket, "property %d does not exist", k)
			break
		}
		if bit := uint64(1) << k; k != packets.PropUser && seen&bit != 0 {
			p.wrong(packets.ErrProtocolViolation, "property %d is there twice", k)
		} else {
			seen |= bit
		}
		bad := false
		switch k {
		case packets.PropPayloadFormat, packets.PropRequestProblemInfo, packets.PropRequestResponseInfo:
			bad = p.byte() > 1
		case packets.PropMessageExpiryInterval, packets.PropSessionExpiryInterval, packets.PropWillDelayInterval:
			p.uint32()
		case packets.PropMaximumPacketSize:
			bad = p.uint32() == 0
		case packets.PropReceiveMaximum:
			bad = p.uint16() == 0
		case packets.PropServerKeepAlive, packets.PropTopicAliasMaximum, packets.PropTopicAlias:
			p.uint16()
		case packets.PropMaximumQos, packets.PropRetainAvailable, packets.PropWildcardSubAvailable, packets.PropSubIDAvailable,
			packets.PropSharedSubAvailable:
			p.byte()
		case packets.PropSubscriptionIdentifier:
			bad = p.length() == 0
		case packets.PropCorrelationData, packets.PropAuthenticationData:
			p.bytes()
		case packets.PropResponseTopic:
			bad = strings.ContainsAny(string(p.text()), "+#") // [MQTT-3.3.2-14]
		case packets.PropUser:
			p.text()
			p.text()
		default:
			p.text()
		}
		if bad {
			p.wrong(packets.ErrProtocolViolation, "property %d has a value that it may not have", k)
		}
	}
	if seen&(1<<packets.PropAuthenticationData) != 0 && seen&(1<<packets.PropAuthenticationMethod) == 0 && kind == packets.Connect {
		p.wrong(packets.ErrProtocolViolation, "authentication data without a method")
	}
	if p.err != nil && f.err == nil {
		f.err, f.b = p.err, nil
	}
}
