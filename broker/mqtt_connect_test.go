package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestMQTTConnect(t *testing.T) {
	storyOf(t, "a client is accepted, pings and leaves", versions, func(w *world, v byte) {
		c := w.connect("c", v)
		if c.connack.SessionPresent {
			w.Error("a session it never had")
		}
		c.alive()
		c.disconnect()
	})

	// 23 letters and digits must do [MQTT-3.1.3-5]; ours takes more.
	for _, id := range []string{"0123456789abcdefghijABC", strings.Repeat("x", 200), "küche/licht 1", "+", "#", "$SYS", "a b"} {
		storyOf(t, fmt.Sprintf("id %.30q", id), versions, func(w *world, v byte) { w.connect(id, v).alive() })
	}

	story(t, "3.1.1 gives a client without an id one of its own", func(w *world) {
		one, two := w.connect("", 4), w.connect("", 4)
		one.quiet()
		two.quiet()
	})

	// [MQTT-3.1.3-8] of 3.1.1
	storyOf(t, "no id and a session to be kept", []byte{3, 4}, func(w *world, v byte) {
		c := w.attach(v)
		c.send(connectPacket("", v, resume))
		if c.wantEnd() != 2 {
			w.Error("want return code 2")
		}
	})

	// [MQTT-3.1.3-7] [MQTT-3.2.2-16]
	story(t, "5 tells a client without an id which it got, and knows it by that", func(w *world) {
		one, two := w.connect("", 5, kept), w.connect("", 5)
		a, b := one.connack.Properties.AssignedClientID, two.connack.Properties.AssignedClientID
		if a == "" || b == "" || a == b {
			w.Fatalf("assigned %q and %q", a, b)
		}
		one.subscribe(1, 1, "a")
		w.drop(one)
		if !w.present(a, 5) {
			w.Error("its session is not found by the id")
		}
		if id := w.connect("own", 5).connack.Properties.AssignedClientID; id != "" {
			w.Errorf("a client with an id was assigned %q", id)
		}
	})

	storyOf(t, "a second CONNECT ends the connection, and its will is sent", versions, func(w *world, v byte) {
		sub := w.connect("sub", 4)
		sub.subscribe(1, 0, "lwt")
		c := w.connect("c", v, lwt("lwt", "gone", 0, 0))
		c.utter(encode(connectPacketOf("c", v)))
		wantReason(c, 0x82) // [MQTT-3.1.0-2]
		sub.wantMessage("lwt gone")
	})

	// [MQTT-3.1.0-1]; and [MQTT-3.2.0-1]: nothing may be answered.
	for kind := byte(0); kind < 16; kind++ {
		if kind == packets.Connect {
			continue
		}
		story(t, fmt.Sprintf("the first packet is of type %d", kind), func(w *world) {
			c := w.attach(5)
			c.utter(raw(kind<<4|map[byte]byte{packets.Subscribe: 2, packets.Unsubscribe: 2, packets.Pubrel: 2}[kind], []byte{0, 1, 0, 0}))
			if got := c.last(); len(got) > 0 {
				w.Errorf("got % x", got)
			}
		})
	}

	story(t, "CONNECT in pieces", func(w *world) {
		c := w.attach(4)
		for _, b := range encode(connectPacketOf("c", 4)) {
			c.write([]byte{b})
		}
		c.want(packets.Connack)
		c.alive()
	})

	// MQTT 3.1.1, 3.1.4: a client may send before it has CONNACK.
	storyOf(t, "what a client sends before it has CONNACK is done", versions, func(w *world, v byte) {
		c := w.attach(v)
		sub := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 9, ProtocolVersion: v,
			Filters: packets.Subscriptions{{Filter: "a"}}}
		hello := publishPacket("a", "1", 0, 0)
		hello.ProtocolVersion = v
		c.limits, c.aliases, c.unacked = packets.Properties{}, map[uint16]string{}, map[uint16]byte{}
		c.utter(slices.Concat(encode(connectPacketOf("c", v)), encode(sub), encode(hello)))
		c.want(packets.Connack)
		c.want(packets.Suback)
		c.wantMessage("a 1")
	})
}

// connectPacketOf is connectPacket as it goes over the wire.
func connectPacketOf(id string, version byte, change ...func(*packets.Packet)) packets.Packet {
	return connectPacket(id, version, change...)
}

// wantReason wants the connection to end, and MQTT 5 clients to be told why.
// [MQTT-4.13.1-1] and 4.13.1: a server should, and ours does.
func wantReason(c *client, reasons ...byte) {
	c.t.Helper()
	got := c.wantEnd()
	if c.version == 5 && !slices.Contains(reasons, got) {
		c.t.Errorf("ended with reason %#x, want %#x", got, reasons)
	}
}

// A CONNECT that is not accepted is answered with a code that says so, or with
// nothing where -1 is among the codes, and the connection ends. Nobody else is
// harmed.
func TestMQTTConnectRefused(t *testing.T) {
	with := func(name string, level, flags byte, rest ...[]byte) []byte {
		return raw(0x10, slices.Concat([][]byte{text(name), {level, flags, 0, 60}}, rest)...)
	}
	id, none := text("c"), []byte{0}
	v4 := func(flags byte, rest ...[]byte) []byte { return with("MQTT", 4, flags, rest...) }
	v5 := func(flags byte, rest ...[]byte) []byte { return with("MQTT", 5, flags, rest...) }
	props := func(p ...byte) []byte { return v5(2, properties(p), id) }
	p16 := func(k byte, n ...byte) []byte { return append([]byte{k}, n...) }
	wills := func(p []byte) []byte { return v5(6, none, id, properties(p), text("t"), text("p")) }
	silent, malformed := []int{-1}, []int{-1, 0x81, 0x82}
	user := p16(38, 0, 1, 'k', 0, 1, 'v')

	for _, c := range []struct {
		name   string
		packet []byte
		codes  []int
	}{
		{"name hj", with("hj", 4, 2, id), []int{-1, 1, 0x84}},
		{"name mqtt", with("mqtt", 5, 2, none, id), []int{-1, 1, 0x81, 0x82, 0x84}},
		{"name MQTTT", with("MQTTT", 4, 2, id), []int{-1, 1, 0x84}},
		{"no name", with("", 4, 2, id), []int{-1, 1, 0x84}},
		{"MQIsdp of level 4", with("MQIsdp", 4, 2, id), []int{-1, 1, 0x84}},
		// [MQTT-3.1.2-2] of 3.1.1: return code 1. A client of MQTT 6 reads either.
		{"level 0", with("MQTT", 0, 2, id), []int{1}},
		{"level 3", with("MQTT", 3, 2, id), []int{1}},
		{"level 6", with("MQTT", 6, 2, none, id), []int{1, 0x84}},
		{"level 255", with("MQTT", 255, 2, none, id), []int{1, 0x84}},
		// Mosquitto's bridges ask for this first, and for 3.1.1 after a 1.
		{"level 4 of a bridge", with("MQTT", 0x84, 2, id), []int{1, 0}},
		{"reserved flag", v4(3, id), silent},
		{"reserved flag, MQTT 5", v5(3, none, id), malformed}, // [MQTT-3.1.2-3]
		{"will QoS 3", v4(0x1e, id, text("t"), text("p")), silent},
		{"will QoS 3, MQTT 5", v5(0x1e, none, id, none, text("t"), text("p")), malformed}, // [MQTT-3.1.2-12]
		{"will QoS without a will", v4(0x0a, id), silent},
		{"will QoS without a will, MQTT 5", v5(0x0a, none, id), malformed}, // [MQTT-3.1.2-11]
		{"will retain without a will", v4(0x22, id), silent},
		{"will retain without a will, MQTT 5", v5(0x22, none, id), malformed}, // [MQTT-3.1.2-13]
		{"will without a topic", v4(6, id, text(""), text("p")), silent},
		{"will to a wildcard", v4(6, id, text("a/#"), text("p")), silent},
		{"will to a wildcard, MQTT 5", v5(6, none, id, none, text("+"), text("p")), []int{-1, 0x81, 0x82, 0x90}},
		{"password without a user", v4(0x42, id, text("secret")), []int{-1, 4, 5}}, // [MQTT-3.1.2-22] of 3.1.1
		{"a user that is missing", v4(0x82, id), silent},                           // [MQTT-3.1.2-17]
		{"a password that is missing", v4(0xc2, id, text("u")), silent},            // [MQTT-3.1.2-19]
		{"a password that is missing, MQTT 5", v5(0xc2, none, id, text("u")), malformed},
		{"a user that is no UTF-8", v4(0x82, id, text("\xff")), []int{-1, 4, 5}}, // [MQTT-3.1.3-12]
		{"an id that is no UTF-8", v4(2, text("\xff")), []int{-1, 2}},            // [MQTT-3.1.3-4]
		{"an id with NUL", v4(2, text("a\x00")), []int{-1, 2}},
		{"an id with a surrogate", v4(2, text("\xed\xa0\x80")), []int{-1, 2}},
		{"an id with NUL, MQTT 5", v5(2, none, text("a\x00")), []int{-1, 0x81, 0x82, 0x85}},
		{"id is cut short", v4(2, []byte{0, 5, 'c'}), silent},
		{"no id at all", v4(2), silent},
		{"no flags", raw(0x10, text("MQTT"), []byte{4}), silent},
		{"nothing", raw(0x10), silent},
		{"bytes too many", v4(2, id, []byte("xx")), silent},
		{"bytes too many, MQTT 5", v5(2, none, id, []byte("xx")), malformed},
		{"flags of the packet", append([]byte{0x11}, v4(2, id)[1:]...), silent}, // [MQTT-2.1.3-1]
		{"a length without end", []byte{0x10, 0xff, 0xff, 0xff, 0xff, 0x01}, silent},

		{"properties longer than the packet", v5(2, []byte{40, 17}, id), malformed},
		{"an unknown property", props(99, 1), malformed},
		{"topic alias", props(35, 0, 1), malformed},
		{"receive maximum 0", props(33, 0, 0), malformed},
		{"maximum packet size 0", props(39, 0, 0, 0, 0), malformed},
		{"receive maximum twice", props(33, 0, 1, 33, 0, 1), malformed},
		{"session expiry twice", props(17, 0, 0, 0, 1, 17, 0, 0, 0, 1), malformed},
		{"topic alias maximum twice", props(34, 0, 1, 34, 0, 1), malformed},
		{"request problem information 2", props(23, 2), malformed},
		{"request response information 2", props(25, 2), malformed},
		{"user property that is no UTF-8", props(38, 0, 1, 'k', 0, 1, 0xff), malformed},
		{"user property cut short", props(38, 0, 1, 'k'), malformed},
		{"authentication data without a method", props(22, 0, 1, 'x'), []int{-1, 0x81, 0x82, 0x8c}},
		{"a method that does not exist", props(21, 0, 1, 'x'), []int{0x8c, 0x87}}, // [MQTT-4.12.0-1]
		{"a property of the will in CONNECT", props(24, 0, 0, 0, 1), malformed},
		{"a property of CONNECT in the will", wills(p16(17, 0, 0, 0, 1)), malformed},
		{"will delay twice", wills(p16(24, 0, 0, 0, 1, 24, 0, 0, 0, 1)), malformed},
		{"payload format 2 of the will", wills(p16(1, 2)), []int{-1, 0x81, 0x82, 0x99}},
		{"properties of the will too long", v5(6, none, id, []byte{99}, user, text("t"), text("p")), malformed},
	} {
		story(t, c.name, func(w *world) {
			good := w.connect("good", 4)
			evil := w.attach(5)
			evil.utter(c.packet)
			if slices.Contains(c.codes, 0) {
				evil.nc.SetReadDeadline(time.Now().Add(time.Second))
				if first, _ := evil.r.ReadByte(); first != 0x20 {
					w.Error("no CONNACK")
				}
				return
			}
			got := evil.last()
			code := -1
			if len(got) > 0 {
				if len(got) < 4 || got[0] != 0x20 || got[2] != 0 || len(got) != 2+int(got[1]) {
					w.Fatalf("got % x, want one CONNACK", got)
				}
				code = int(got[3])
			}
			if !slices.Contains(c.codes, code) {
				w.Errorf("code %#x, want one of %#x", code, c.codes)
			}
			good.quiet()
		})
	}
}

// What is odd and right.
func TestMQTTConnectAccepted(t *testing.T) {
	id, none := text("c"), []byte{0}
	for name, packet := range map[string][]byte{
		"will with an empty payload":         raw(0x10, text("MQTT"), []byte{4, 6, 0, 60}, id, text("t"), text("")),
		"will with an empty payload, MQTT 5": raw(0x10, text("MQTT"), []byte{5, 6, 0, 60}, none, id, none, text("t"), text("")),
		"all that CONNECT of 5 can say": raw(0x10, text("MQTT"), []byte{5, 0x36, 0, 60},
			properties([]byte{17, 0, 0, 0, 9, 33, 0, 9, 39, 0, 0, 9, 9, 34, 0, 9, 25, 1, 23, 1, 38, 0, 0, 0, 0, 38, 0, 0, 0, 0}), id,
			properties([]byte{24, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 9, 3, 0, 1, 't', 8, 0, 1, 'r', 9, 0, 1, 'c', 38, 0, 1, 'k', 0, 1, 'v'}),
			text("t"), text("p")),
		"an id with U+FEFF": raw(0x10, text("MQTT"), []byte{4, 2, 0, 60}, text("\ufeffc")), // [MQTT-1.5.4-3]
	} {
		story(t, name, func(w *world) {
			c := w.attach(packet[8])
			c.limits, c.aliases, c.unacked = packets.Properties{}, map[uint16]string{}, map[uint16]byte{}
			c.write(packet)
			if pk := c.want(packets.Connack); pk.ReasonCode != 0 {
				w.Errorf("CONNACK %#x", pk.ReasonCode)
			}
			c.alive()
		})
	}
}

// [MQTT-3.1.2-22]: a client that is silent for 1.5 times its keepalive is gone.
func TestMQTTKeepalive(t *testing.T) {
	within := func(w *world, since time.Time, want time.Duration) {
		w.Helper()
		// A broker that looks once in a while may be late, not early.
		if d := time.Since(since); d < want-10*time.Millisecond || d > want+want/2+2*time.Second {
			w.Errorf("gone after %v, want %v", d, want)
		}
	}
	storyOf(t, "silence", versions, func(w *world, v byte) {
		sub := w.connect("sub", 4, keepalive(0))
		sub.patience = time.Hour
		sub.subscribe(1, 0, "lwt")
		c := w.connect("c", v, keepalive(4), lwt("lwt", "gone", 0, 0))
		start := time.Now()
		sub.wantMessage("lwt gone")
		within(w, start, 6*time.Second)
		if why := c.wantEnd(); v == 5 && why != 0x8d {
			w.Errorf("reason %#x, want 0x8d", why)
		}
	})
	storyOf(t, "pings and messages keep it", versions, func(w *world, v byte) {
		c := w.connect("c", v, keepalive(2))
		for range 4 {
			w.pass(2900 * time.Millisecond)
			c.alive()
			w.pass(2900 * time.Millisecond)
			c.publish("a", "1", 0, 0)
		}
		c.alive()
	})
	// What the server sends does not keep a client.
	storyOf(t, "being sent to does not count", []byte{4, 5}, func(w *world, v byte) {
		pub := w.connect("pub", 4, keepalive(0))
		c := w.connect("c", v, keepalive(2))
		c.subscribe(1, 0, "a")
		start := time.Now()
		for time.Since(start) < 20*time.Second {
			pub.publish("a", "1", 0, 0)
			if _, err := c.receive(); err != nil {
				break
			}
			w.pass(500 * time.Millisecond)
			if time.Since(start) > 6*time.Second {
				break
			}
		}
		w.pass(time.Second)
		start = time.Now()
		c.wantEnd()
		if time.Since(start) > time.Second {
			w.Error("it is still connected")
		}
	})
	storyOf(t, "keepalive 0 is for ever", []byte{3, 4}, func(w *world, v byte) {
		c := w.connect("c", v, keepalive(0))
		w.pass(24 * time.Hour)
		c.alive()
	})
	// [MQTT-3.2.2-21] [MQTT-3.2.2-22]
	for _, asked := range []uint16{0, 10, 120, 65535} {
		story(t, fmt.Sprint("the server's keepalive, asked for ", asked), func(w *world) {
			sub := w.connect("sub", 4, keepalive(0))
			sub.patience = 1000 * time.Hour
			sub.subscribe(1, 0, "lwt")
			c := w.connect("c", 5, keepalive(asked), lwt("lwt", "gone", 0, 0))
			holds := asked
			if p := c.connack.Properties; p.ServerKeepAliveFlag {
				holds = p.ServerKeepAlive
			}
			start := time.Now()
			if holds == 0 {
				w.pass(24 * time.Hour)
				c.alive()
				return
			}
			if w.b == nil {
				w.Skip("too long for a broker in real time")
			}
			sub.wantMessage("lwt gone")
			within(w, start, time.Duration(holds)*1500*time.Millisecond)
		})
	}
}
