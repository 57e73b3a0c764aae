package broker

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What no client may send ends its connection, MQTT 5 clients are told why, its
// will is sent, and nobody else notices. [MQTT-4.13.1-1]; 3.1.1, 4.8
func TestMQTTMalformed(t *testing.T) {
	both, only4, only5 := []byte{4, 5}, []byte{4}, []byte{5}
	none := []byte{0}
	id := []byte{0, 1}
	publish5 := func(p ...byte) []byte { return raw(0x30, text("a"), properties(p), []byte("x")) }
	for _, c := range []struct {
		name     string
		versions []byte
		packet   []byte
		reasons  []byte // nil: 0x81 or 0x82
	}{
		{"type 0", both, []byte{0, 0}, nil},
		{"a length of five bytes", both, []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, []byte{0x81, 0x82, 0x95}},

		{"PUBLISH of QoS 3", both, raw(0x36, text("a"), id, none), nil}, // [MQTT-3.3.1-4]
		{"PUBLISH with id 0", both, raw(0x32, text("a"), []byte{0, 0}, none), nil},
		{"PUBLISH of nothing", both, raw(0x30), nil},
		{"PUBLISH, its topic cut short", both, raw(0x30, []byte{0, 5, 'a'}), nil},
		{"PUBLISH, its id cut short", both, raw(0x32, text("a"), []byte{0}), nil},
		{"PUBLISH without a topic", only4, raw(0x30, text("")), nil}, // [MQTT-4.7.3-1]
		{"PUBLISH to +", only4, raw(0x30, text("a/+")), nil},         // [MQTT-3.3.2-2]
		{"PUBLISH to +, MQTT 5", only5, raw(0x30, text("a/+"), none), []byte{0x81, 0x82, 0x90}},
		{"PUBLISH to #", only5, raw(0x30, text("#"), none), []byte{0x81, 0x82, 0x90}},
		{"PUBLISH to NUL", only4, raw(0x30, text("a\x00b")), nil}, // [MQTT-1.5.4-2]
		{"PUBLISH to NUL, MQTT 5", only5, raw(0x30, text("a\x00b"), none), []byte{0x81, 0x82, 0x90}},
		{"PUBLISH to a surrogate", only4, raw(0x30, text("\xed\xa0\x80")), nil}, // [MQTT-1.5.4-1]
		{"PUBLISH to a surrogate, MQTT 5", only5, raw(0x30, text("\xed\xa0\x80"), none), []byte{0x81, 0x82, 0x90}},
		{"PUBLISH to an overlong code", only4, raw(0x30, text("\xc0\x80")), nil},
		{"PUBLISH to half a code", only5, raw(0x30, text("\xe2\x82"), none), []byte{0x81, 0x82, 0x90}},
		{"PUBLISH, properties too long", only5, raw(0x30, text("a"), []byte{9, 1, 0}), nil},
		{"PUBLISH, a length of properties of five bytes", only5, raw(0x30, text("a"), []byte{0x80, 0x80, 0x80, 0x80, 0x01}), nil},
		{"PUBLISH without properties", only5, raw(0x30, text("a")), nil},
		{"PUBLISH, unknown property", only5, publish5(0x7f), nil},
		{"PUBLISH, property of CONNECT", only5, publish5(17, 0, 0, 0, 1), nil},
		{"PUBLISH, property cut short", only5, publish5(2, 0, 0), nil},
		{"PUBLISH, content type twice", only5, publish5(3, 0, 1, 'a', 3, 0, 1, 'a'), nil},
		{"PUBLISH, expiry twice", only5, publish5(2, 0, 0, 0, 1, 2, 0, 0, 0, 1), nil},
		{"PUBLISH, alias twice", only5, publish5(35, 0, 1, 35, 0, 1), nil},
		{"PUBLISH, payload format 2", only5, publish5(1, 2), []byte{0x81, 0x82, 0x99}},
		{"PUBLISH, content type that is no UTF-8", only5, publish5(3, 0, 1, 0xff), nil},   // [MQTT-3.3.2-19]
		{"PUBLISH, response topic that is no UTF-8", only5, publish5(8, 0, 1, 0xff), nil}, // [MQTT-3.3.2-13]
		{"PUBLISH, response topic with a wildcard", only5, publish5(8, 0, 1, '#'), []byte{0x81, 0x82, 0x90}},
		{"PUBLISH, user property that is no UTF-8", only5, publish5(38, 0, 1, 0xff, 0, 0), nil},
		{"PUBLISH, subscription identifier", only5, publish5(11, 1), nil}, // [MQTT-3.3.4-6]

		{"PUBACK of nothing", both, raw(0x40), nil},
		{"PUBACK of half an id", both, raw(0x40, none), nil},
		{"PUBACK with flags", both, raw(0x41, id), nil}, // [MQTT-2.1.3-1]
		{"PUBREC with flags", both, raw(0x52, id), nil},
		{"PUBREL without its flags", both, raw(0x60, id), nil}, // [MQTT-3.6.1-1]
		{"PUBREL of nothing", both, raw(0x62), nil},
		{"PUBCOMP with flags", both, raw(0x71, id), nil},
		{"PUBACK with bytes too many", only4, raw(0x40, id, none), nil},
		{"PUBACK, property of PUBLISH", only5, raw(0x40, id, none, properties([]byte{1, 0})), nil},
		{"PUBACK, reason string twice", only5, raw(0x40, id, none, properties([]byte{31, 0, 0, 31, 0, 0})), nil},
		{"PUBACK, properties too long", only5, raw(0x40, id, none, []byte{9}), nil},

		{"SUBSCRIBE without its flags", only4, raw(0x80, id, text("a"), none), nil}, // [MQTT-3.8.1-1]
		{"SUBSCRIBE without its flags, MQTT 5", only5, raw(0x80, id, none, text("a"), none), nil},
		{"SUBSCRIBE with id 0", only4, raw(0x82, []byte{0, 0}, text("a"), none), nil},
		{"SUBSCRIBE with id 0, MQTT 5", only5, raw(0x82, []byte{0, 0}, none, text("a"), none), nil},
		{"SUBSCRIBE to nothing", only4, raw(0x82, id), nil}, // [MQTT-3.8.3-2]
		{"SUBSCRIBE to nothing, MQTT 5", only5, raw(0x82, id, none), nil},
		{"SUBSCRIBE without options", only4, raw(0x82, id, text("a")), nil},
		{"SUBSCRIBE without options, MQTT 5", only5, raw(0x82, id, none, text("a")), nil},
		{"SUBSCRIBE of 10 bytes that killed mochi", both, []byte{0x82, 8, 0, 1, 0, 0, 3, 'a', '/', 'b'}, nil},
		{"SUBSCRIBE for QoS 3", only4, raw(0x82, id, text("a"), []byte{3}), nil},
		{"SUBSCRIBE for QoS 3, MQTT 5", only5, raw(0x82, id, none, text("a"), []byte{3}), nil},
		{"SUBSCRIBE with options of MQTT 5", only4, raw(0x82, id, text("a"), []byte{4}), nil},
		{"SUBSCRIBE with reserved options", only5, raw(0x82, id, none, text("a"), []byte{0x40}), nil}, // [MQTT-3.8.3-5]
		{"SUBSCRIBE with retain handling 3", only5, raw(0x82, id, none, text("a"), []byte{0x30}), nil},
		{"SUBSCRIBE, its filter cut short", only4, raw(0x82, id, []byte{0, 9, 'a'}), nil},
		{"SUBSCRIBE, its second filter cut short", only4, raw(0x82, id, text("a"), none, none), nil},
		{"SUBSCRIBE to NUL", only4, raw(0x82, id, text("a\x00"), none), nil},
		{"SUBSCRIBE to what is no UTF-8", only5, raw(0x82, id, none, text("\xff"), none), []byte{0x81, 0x82, 0x8f}},
		{"SUBSCRIBE, identifier 0", only5, raw(0x82, id, properties([]byte{11, 0}), text("a"), none), nil},
		{"SUBSCRIBE, two identifiers", only5, raw(0x82, id, properties([]byte{11, 1, 11, 2}), text("a"), none), nil},
		{"SUBSCRIBE, identifier of five bytes", only5, raw(0x82, id, properties([]byte{11, 0x80, 0x80, 0x80, 0x80, 1}), text("a"), none), nil},
		{"SUBSCRIBE, property of PUBLISH", only5, raw(0x82, id, properties([]byte{1, 0}), text("a"), none), nil},

		{"UNSUBSCRIBE without its flags", only4, raw(0xa0, id, text("a")), nil}, // [MQTT-3.10.1-1]
		{"UNSUBSCRIBE with id 0", only4, raw(0xa2, []byte{0, 0}, text("a")), nil},
		{"UNSUBSCRIBE from nothing", only4, raw(0xa2, id), nil}, // [MQTT-3.10.3-2]
		{"UNSUBSCRIBE from nothing, MQTT 5", only5, raw(0xa2, id, none), nil},
		{"UNSUBSCRIBE cut short", only5, raw(0xa2, id, none, []byte{0, 9, 'a'}), nil},
		{"UNSUBSCRIBE from what is no UTF-8", only5, raw(0xa2, id, none, text("\xff")), []byte{0x81, 0x82, 0x8f}}, // [MQTT-3.10.3-1]

		{"PINGREQ with flags", both, raw(0xc1), nil},
		{"PINGREQ with bytes", both, raw(0xc0, none), nil},
		{"DISCONNECT with flags", both, raw(0xe1), nil}, // [MQTT-3.14.1-1]
		{"DISCONNECT with bytes", only4, raw(0xe0, none), nil},
		{"DISCONNECT, property of CONNECT", only5, raw(0xe0, none, properties([]byte{33, 0, 1})), nil},
		{"DISCONNECT, session expiry twice", only5, raw(0xe0, none, properties([]byte{17, 0, 0, 0, 0, 17, 0, 0, 0, 0})), nil},

		{"CONNACK from a client", both, raw(0x20, none, none, none), nil},
		{"SUBACK from a client", both, raw(0x90, id, none), nil},
		{"UNSUBACK from a client", both, raw(0xb0, id, none), nil},
		{"PINGRESP from a client", both, raw(0xd0), nil},
		{"AUTH in MQTT 3.1.1", only4, raw(0xf0), nil},
		{"AUTH without a method", only5, raw(0xf0, []byte{0x18}, none), []byte{0x81, 0x82, 0x8c}}, // [MQTT-4.12.0-7]
		{"AUTH with a method", only5, raw(0xf0, []byte{0x19}, properties([]byte{21, 0, 1, 'x'})), []byte{0x81, 0x82, 0x8c}},
		{"AUTH of nothing", only5, raw(0xf0), []byte{0x81, 0x82, 0x8c}},
		{"AUTH with flags", only5, raw(0xf1), []byte{0x81, 0x82, 0x8c}},
	} {
		storyOf(t, c.name, c.versions, func(w *world, v byte) {
			good := w.connect("good", 4)
			good.subscribe(1, 0, "#")
			evil := w.connect("evil", v, lwt("lwt", "gone", 0, 0))
			evil.utter(c.packet)
			reasons := c.reasons
			if reasons == nil {
				reasons = []byte{0x81, 0x82}
			}
			wantReason(evil, reasons...)
			good.wantMessage("lwt gone")
			good.quiet()
		})
	}
}

// What is odd and right.
func TestMQTTWellFormed(t *testing.T) {
	none, id := []byte{0}, []byte{0, 1}
	for _, c := range []struct {
		name   string
		packet []byte
		answer byte // 0: nothing
	}{
		{"PUBLISH to U+FEFF", raw(0x30, text("\ufeffa"), none), packets.Publish}, // [MQTT-1.5.4-3]
		{"PUBACK of 2 bytes", raw(0x40, id), 0},
		{"PUBACK of 3 bytes", raw(0x40, id, none), 0},
		{"PUBACK with all", raw(0x40, id, none, properties([]byte{31, 0, 1, 'x', 38, 0, 0, 0, 0, 38, 0, 0, 0, 0})), 0},
		{"PUBREL with all", raw(0x62, id, []byte{0x92}, properties([]byte{31, 0, 1, 'x'})), packets.Pubcomp},
		{"SUBSCRIBE with user properties", raw(0x82, id, properties([]byte{38, 0, 1, 'k', 0, 0}), text("a"), none), packets.Suback},
		{"UNSUBSCRIBE with user properties", raw(0xa2, id, properties([]byte{38, 0, 1, 'k', 0, 0}), text("a")), packets.Unsuback},
		{"the same user property twice", raw(0x30, text("a"), properties([]byte{38, 0, 0, 0, 0, 38, 0, 0, 0, 0})), packets.Publish},
	} {
		story(t, c.name, func(w *world) {
			cl := w.connect("c", 5)
			if c.answer == packets.Publish {
				cl.subscribe(1, 0, "#")
			}
			cl.write(c.packet)
			if c.answer != 0 {
				cl.want(c.answer)
			}
			cl.quiet()
		})
	}
	for name, packet := range map[string][]byte{
		"short": raw(0xe0), "with a reason": raw(0xe0, none),
		"with all": raw(0xe0, none, properties([]byte{17, 0, 0, 0, 0, 31, 0, 1, 'x', 38, 0, 0, 0, 0})),
	} {
		story(t, "DISCONNECT "+name, func(w *world) {
			sub := w.connect("sub", 5)
			sub.subscribe(1, 0, "#")
			c := w.connect("c", 5, kept, lwt("lwt", "gone", 0, 0))
			c.utter(packet)
			if why := c.wantEnd(); why != 0 {
				w.Errorf("reason %#x", why)
			}
			sub.quiet()
		})
	}
	story(t, "what is said after DISCONNECT is not heard", func(w *world) {
		sub := w.connect("sub", 5)
		sub.subscribe(1, 0, "#")
		c := w.connect("c", 5)
		c.utter(append(raw(0xe0), encodeFor(5, publishPacket("a", "late", 0, 0))...))
		c.wantEnd()
		sub.quiet()
	})
	storyOf(t, "every packet byte by byte", versions, func(w *world, v byte) {
		c := w.connect("c", v)
		for _, pk := range []packets.Packet{
			{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "a", Qos: 1}}},
			publishPacket("a", "some text", 1, 2),
		} {
			for _, b := range encodeFor(v, pk) {
				c.write([]byte{b})
			}
		}
		c.want(packets.Suback)
		got := []byte{c.mustRead(), c.mustRead()} // PUBACK and the message, in any order
		if got[0]+got[1] != packets.Puback+packets.Publish {
			w.Errorf("%d", got)
		}
	})
}

func (c *client) mustRead() byte {
	c.t.Helper()
	pk, err := c.receive()
	if err != nil {
		c.t.Fatal(err)
	}
	return pk.FixedHeader.Type
}
