package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Reason codes a server may send to MQTT 5 clients, by packet.
var serverReasons = map[byte][]byte{
	packets.Connack: {0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c,
		0x9d, 0x9f},
	packets.Puback:   {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	packets.Pubrec:   {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
	packets.Pubrel:   {0, 0x92},
	packets.Pubcomp:  {0, 0x92},
	packets.Suback:   {0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2},
	packets.Unsuback: {0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91},
	packets.Disconnect: {0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
		0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2},
}

// Properties a server may send, by packet.
var serverProperties = map[byte][]byte{
	packets.Connack:    {17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42},
	packets.Publish:    {1, 2, 3, 8, 9, 11, 35, 38},
	packets.Puback:     {31, 38},
	packets.Pubrec:     {31, 38},
	packets.Pubrel:     {31, 38},
	packets.Pubcomp:    {31, 38},
	packets.Suback:     {31, 38},
	packets.Unsuback:   {31, 38},
	packets.Disconnect: {28, 31, 38}, // no session expiry from a server [MQTT-3.14.2-2]
}

// fault says what is wrong with a packet from the server, "" if nothing is: its
// form, and whether it keeps to what this client said it takes.
func (c *client) fault(first byte, body []byte) string {
	kind, flags := first>>4, first&15
	size := 1 + len(body)
	for n := len(body); ; n >>= 7 {
		size++
		if n < 128 {
			break
		}
	}
	if most := c.limits.MaximumPacketSize; most > 0 && size > int(most) {
		return fmt.Sprintf("%d bytes are more than the client takes [MQTT-3.1.2-24]", size)
	}
	r := &octets{b: body}
	if kind == packets.Publish {
		return c.messageFault(r, flags)
	}
	if want := map[byte]byte{packets.Pubrel: 2}[kind]; flags != want {
		return fmt.Sprintf("flags %d [MQTT-2.2.2-1]", flags)
	}
	var code []byte
	switch kind {
	case packets.Connack:
		present := r.byte()
		code = []byte{r.byte()}
		switch {
		case present > 1:
			return "reserved flags of CONNACK [MQTT-3.2.2-1]"
		case present == 1 && code[0] != 0:
			return "a refusal with a session [MQTT-3.2.2-6]"
		case c.version < 5 && code[0] > 5:
			return "a return code MQTT 3.1.1 does not know"
		}
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		if r.uint16() == 0 {
			return "packet id 0"
		}
		if c.version < 5 || len(r.b) == 0 {
			return r.end()
		}
		code = []byte{r.byte()}
		if len(r.b) == 0 {
			break
		}
	case packets.Suback, packets.Unsuback:
		r.uint16()
	case packets.Pingresp:
		return r.end()
	case packets.Disconnect:
		if c.version < 5 {
			return "MQTT 3.1.1 has no DISCONNECT from the server"
		}
		if len(r.b) == 0 {
			return ""
		}
		code = []byte{r.byte()}
	default:
		return "no packet of a server"
	}
	if c.version == 5 && (len(r.b) > 0 || kind == packets.Connack) {
		if why := c.propertiesFault(r, kind); why != "" {
			return why
		}
	}
	switch kind {
	case packets.Suback:
		code, r.b = r.b, nil
		if c.version < 5 && slices.ContainsFunc(code, func(b byte) bool { return b > 2 && b != 0x80 }) {
			return "a return code MQTT 3.1.1 does not know [MQTT-3.9.3-2]"
		}
	case packets.Unsuback:
		if c.version == 5 {
			code, r.b = r.b, nil
		}
	}
	for _, b := range code {
		if c.version == 5 && !slices.Contains(serverReasons[kind], b) {
			return fmt.Sprintf("reason %#x does not belong here", b)
		}
	}
	return r.end()
}

func (c *client) messageFault(r *octets, flags byte) string {
	qos, dup := flags>>1&3, flags&8 != 0
	topic := r.string()
	var id uint16
	switch {
	case qos == 3:
		return "QoS 3 [MQTT-3.3.1-4]"
	case qos == 0 && dup:
		return "QoS 0 with DUP [MQTT-3.3.1-2]"
	case strings.ContainsAny(topic, "+#"):
		return "wildcards in a topic [MQTT-3.3.2-2]"
	}
	if qos > 0 {
		if id = r.uint16(); id == 0 {
			return "packet id 0 [MQTT-2.2.1-3]"
		}
	}
	if c.version == 5 {
		if why := c.propertiesFault(r, packets.Publish); why != "" {
			return why
		}
		alias := r.alias
		switch {
		case alias > c.limits.TopicAliasMaximum:
			return fmt.Sprintf("topic alias %d, the client takes %d [MQTT-3.1.2-26]", alias, c.limits.TopicAliasMaximum)
		case topic == "" && c.aliases[alias] == "":
			return "no topic, nor an alias that stands for one"
		case alias > 0 && topic != "":
			c.aliases[alias] = topic
		}
	} else if topic == "" {
		return "no topic"
	}
	if r.bad {
		return "it is cut short"
	}
	if qos == 0 {
		return ""
	}
	if _, ok := c.unacked[id]; ok {
		return fmt.Sprintf("packet id %d is in use [MQTT-2.2.1-4]", id)
	}
	c.unacked[id] = qos
	if most := c.limits.ReceiveMaximum; most > 0 && len(c.unacked) > int(most) {
		return fmt.Sprintf("%d messages are unacknowledged, the client takes %d [MQTT-3.3.4-9]", len(c.unacked), most)
	}
	return ""
}

// propertiesFault reads the properties of a packet.
func (c *client) propertiesFault(r *octets, kind byte) string {
	n := r.varint()
	if r.bad || n > len(r.b) {
		return "the length of its properties"
	}
	p := &octets{b: r.b[:n]}
	r.b = r.b[n:]
	seen := map[byte]bool{}
	for len(p.b) > 0 && !p.bad {
		k := p.byte()
		if !slices.Contains(serverProperties[kind], k) {
			return fmt.Sprintf("property %d does not belong here", k)
		}
		if seen[k] && k != packets.PropUser && k != packets.PropSubscriptionIdentifier {
			return fmt.Sprintf("property %d twice", k)
		}
		seen[k] = true
		switch k {
		case 1, 36, 37, 40, 41, 42:
			if p.byte() > 1 {
				return fmt.Sprintf("property %d is 0 or 1", k)
			}
		case 19, 33, 34, 35:
			v := p.uint16()
			if v == 0 && (k == 33 || k == 35) {
				return fmt.Sprintf("property %d is 0", k)
			}
			if k == 35 {
				r.alias = v
			}
		case 2, 17, 39:
			if v := p.uint16(); p.uint16() == 0 && v == 0 && k == 39 {
				return "maximum packet size 0"
			}
		case 11:
			if p.varint() == 0 {
				return "subscription identifier 0"
			}
		case 9, 22:
			p.bytes()
		case packets.PropUser:
			p.string()
			p.string()
		default:
			p.string()
		}
		// [MQTT-3.1.2-29]
		if (k == packets.PropUser || k == packets.PropReasonString) && c.limits.RequestProblemInfoFlag && c.limits.RequestProblemInfo == 0 &&
			kind != packets.Publish && kind != packets.Connack && kind != packets.Disconnect {
			return "a reason string or user property the client did not ask for"
		}
	}
	if p.bad {
		return "a property is cut short, or no UTF-8"
	}
	return ""
}

// octets reads MQTT's basic types.
type octets struct {
	b     []byte
	bad   bool
	alias uint16
}

func (r *octets) take(n int) []byte {
	if n > len(r.b) {
		r.bad = true
		r.b = nil
		return make([]byte, n)
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *octets) byte() byte     { return r.take(1)[0] }
func (r *octets) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *octets) bytes() []byte  { return r.take(int(r.uint16())) }

func (r *octets) string() string {
	p := r.bytes()
	if !r.bad && (!utf8.Valid(p) || bytes.IndexByte(p, 0) >= 0) { // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
		r.bad = true
	}
	return string(p)
}

func (r *octets) varint() (n int) {
	for shift := 0; ; shift += 7 {
		b := r.byte()
		n |= int(b&127) << shift
		if b < 128 || shift == 21 {
			return n
		}
	}
}

func (r *octets) end() string {
	switch {
	case r.bad:
		return "it is cut short"
	case len(r.b) > 0:
		return "bytes too many"
	}
	return ""
}
