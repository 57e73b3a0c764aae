package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestMQTTPublish(t *testing.T) {
	storyOf(t, "a message goes on as it came", versions, func(w *world, v byte) {
		sub, pub := w.connect("sub", v), w.connect("pub", v)
		sub.subscribe(1, 2, "#")
		for _, payload := range []string{"", "x", "\x00\xff\x80", strings.Repeat("y", 127), strings.Repeat("y", 16384)} {
			for qos := range byte(3) {
				pub.tell("a/ü/ /b", payload, qos)
				sub.hear("a/ü/ /b " + payload + []string{"", " q1", " q2"}[qos])
			}
		}
	})

	storyOf(t, "nobody subscribes", []byte{4, 5}, func(w *world, v byte) {
		pub := w.connect("pub", v)
		for qos := range byte(3) {
			if code := pub.tell("a", "1", qos); code != 0 && code != 0x10 {
				w.Errorf("QoS %d: reason %#x", qos, code)
			}
		}
	})

	storyOf(t, "between versions", versions, func(w *world, v byte) {
		sub := w.connect("sub", v)
		sub.subscribe(1, 1, "a")
		for _, other := range versions {
			pub := w.connect("pub", other)
			pub.tell("a", "1", 1, func(pk *packets.Packet) {
				if other == 5 {
					pk.Properties.User = []packets.UserProperty{{Key: "k", Val: "v"}}
				}
			})
			if got := sub.hear("a 1 q1"); v == 5 && (len(got.Properties.User) > 0) != (other == 5) {
				w.Errorf("from %d: %+v", other, got.Properties.User)
			}
		}
	})

	// The client's DUP is about its own sending [MQTT-3.3.1-3].
	storyOf(t, "DUP is not handed on", versions, func(w *world, v byte) {
		sub, pub := w.connect("sub", v), w.connect("pub", v)
		sub.subscribe(1, 2, "a")
		for qos := byte(1); qos < 3; qos++ {
			pub.tell("a", "1", qos, dup)
			if sub.hear("a 1 q" + string('0'+qos)).FixedHeader.Dup {
				w.Error("DUP")
			}
		}
	})

	// [MQTT-4.3.2-5]: after its PUBACK a message with the same id is another one.
	storyOf(t, "QoS 1, the same id again", versions, func(w *world, v byte) {
		sub, pub := w.connect("sub", v), w.connect("pub", v)
		sub.subscribe(1, 1, "a")
		for _, f := range []func(*packets.Packet){func(*packets.Packet) {}, dup} {
			pub.publish("a", "1", 1, 5, f)
			pub.want(packets.Puback)
			sub.hear("a 1 q1")
		}
	})

	// [MQTT-4.3.3-10] [MQTT-4.3.3-12]
	storyOf(t, "QoS 2, sent again before and after it was released", versions, func(w *world, v byte) {
		sub, pub := w.connect("sub", v), w.connect("pub", v)
		sub.subscribe(1, 0, "a")
		for range 3 {
			pub.publish("a", "1", 2, 5)
			pub.want(packets.Pubrec)
			pub.publish("a", "1", 2, 5, dup)
			pub.want(packets.Pubrec)
			pub.ack(packets.Pubrel, 5)
			if pk := pub.want(packets.Pubcomp); pk.PacketID != 5 || pk.ReasonCode != 0 {
				w.Errorf("%s", show(pk))
			}
			sub.wantMessage("a 1")
		}
		pub.ack(packets.Pubrel, 5) // PUBCOMP was lost
		if pk := pub.want(packets.Pubcomp); pk.PacketID != 5 || v == 5 && pk.ReasonCode != 0x92 {
			w.Errorf("%s", show(pk))
		}
		sub.quiet()
	})

	storyOf(t, "QoS 2 goes on after a reconnect", versions, func(w *world, v byte) {
		sub, pub := w.connect("sub", v), w.connect("pub", v, kept)
		sub.subscribe(1, 0, "a")
		pub.publish("a", "1", 2, 5)
		pub.publish("a", "2", 2, 6)
		pub.want(packets.Pubrec)
		pub.want(packets.Pubrec)
		w.drop(pub)
		pub = w.connect("pub", v, kept)
		pub.publish("a", "1", 2, 5, dup)
		pub.want(packets.Pubrec)
		for id := uint16(5); id < 7; id++ {
			pub.ack(packets.Pubrel, id)
			if pk := pub.want(packets.Pubcomp); pk.PacketID != id || pk.ReasonCode != 0 {
				w.Errorf("%s", show(pk))
			}
		}
		sub.wantMessage("a 1")
		sub.wantMessage("a 2")
		sub.quiet()
	})

	storyOf(t, "QoS 2 to a subscriber, step by step over reconnects", versions, func(w *world, v byte) {
		sub := w.connect("sub", v, kept)
		sub.subscribe(1, 2, "a")
		w.connect("pub", v).tell("a", "1", 2)
		first := sub.wantMessage("a 1 q2")
		again := func() {
			w.drop(sub)
			sub = w.connect("sub", v, kept)
		}
		again()
		pk := sub.wantMessage("a 1 q2")
		if pk.PacketID != first.PacketID || !pk.FixedHeader.Dup {
			w.Errorf("%s, want id %d", show(pk), first.PacketID)
		}
		sub.ack(packets.Pubrec, pk.PacketID)
		sub.want(packets.Pubrel)
		again()
		if rel := sub.want(packets.Pubrel); rel.PacketID != pk.PacketID { // [MQTT-4.3.3-6] [MQTT-4.4.0-1]
			w.Errorf("%s", show(rel))
		}
		sub.ack(packets.Pubcomp, pk.PacketID)
		w.settle()
		again()
		sub.quiet()
	})

	// [MQTT-4.4.0-2]
	story(t, "5: a subscriber that refuses has had it", func(w *world) {
		sub := w.connect("sub", 5, kept, receiveMaximum(1))
		sub.subscribe(1, 2, "a")
		pub := w.connect("pub", 5)
		for qos := byte(1); qos < 3; qos++ {
			pub.tell("a", "1", qos)
			pk := sub.wantMessage("a 1 q" + string('0'+qos))
			kind := []byte{packets.Puback, packets.Pubrec}[qos-1]
			sub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: pk.PacketID, ReasonCode: 0x83})
			sub.quiet()
		}
		w.drop(sub)
		w.connect("sub", 5, kept).quiet()
	})

	storyOf(t, "acknowledgements of what was never sent", versions, func(w *world, v byte) {
		c := w.connect("c", v)
		c.ack(packets.Puback, 9)
		c.ack(packets.Pubcomp, 9)
		c.ack(packets.Pubrec, 9)
		if v == 5 { // 3.6.2.1
			if pk := c.want(packets.Pubrel); pk.PacketID != 9 || pk.ReasonCode != 0x92 {
				w.Errorf("%s", show(pk))
			}
			c.quiet()
			return
		}
		// 3.1.1 says nothing; a PUBREL ends it on both sides.
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		if pk, _ := c.receive(); pk.FixedHeader.Type == packets.Pubrel {
			c.want(packets.Pingresp)
		} else if pk.FixedHeader.Type != packets.Pingresp {
			w.Errorf("%s", show(pk))
		}
	})

	// [MQTT-4.6.0-2] and its like for a server
	storyOf(t, "acknowledgements leave in the order of their messages", versions, func(w *world, v byte) {
		pub := w.connect("pub", v)
		var all []byte
		for i := range uint16(30) {
			pk := publishPacket("a", "1", byte(1+i%2), 100-i)
			pk.ProtocolVersion = v
			all = append(all, encode(pk)...)
		}
		pub.utter(all)
		for i := range uint16(30) {
			if pk := pub.want([]byte{packets.Puback, packets.Pubrec}[i%2]); pk.PacketID != 100-i {
				w.Fatalf("%d: %s", i, show(pk))
			}
		}
	})
}

func TestMQTTProperties(t *testing.T) {
	all := packets.Properties{
		PayloadFormat: 1, PayloadFormatFlag: true, ContentType: "text/plain", ResponseTopic: "answer/ü", CorrelationData: []byte{0, 255, 1},
		User: []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: "2"}, {Key: "b", Val: "1"}, {Key: "", Val: ""}},
	}
	with := func(pk *packets.Packet) { pk.Properties = all }
	// [MQTT-3.3.2-4] -15 -16 -17 -18 -20
	story(t, "they go on as they came", func(w *world) {
		live, away, pub := w.connect("live", 5), w.connect("away", 5, kept), w.connect("pub", 5)
		live.subscribe(1, 2, "a")
		away.subscribe(1, 2, "a")
		w.drop(away)
		for qos := range byte(3) {
			pub.tell("a", "x", qos, with, retain)
			wantProperties(w, live.hear("a x"+[]string{"", " q1", " q2"}[qos]), all)
		}
		away = w.connect("away", 5, kept)
		for qos := byte(0); qos < 2; {
			pk := away.want(packets.Publish) // QoS 0 may have been queued, or not
			qos = pk.FixedHeader.Qos
			wantProperties(w, pk, all)
			away.acknowledge(pk)
		}
		late := w.connect("late", 5)
		late.subscribe(1, 2, "a")
		wantProperties(w, late.hear("a x q2 r"), all)
	})

	story(t, "payload format 0, and an empty content type, are not the same as none", func(w *world) {
		sub, pub := w.connect("sub", 5), w.connect("pub", 5)
		sub.subscribe(1, 0, "a")
		pub.write(raw(0x30, text("a"), properties([]byte{1, 0})))
		if p := sub.wantMessage("a ").Properties; p.PayloadFormat != 0 {
			w.Errorf("%+v", p)
		}
	})

	// 3.3.2.3.2: the receiver MAY check.
	story(t, "a payload that is not the UTF-8 it says", func(w *world) {
		sub, pub := w.connect("sub", 5), w.connect("pub", 5)
		sub.subscribe(1, 0, "a")
		pub.publish("a", "\xff", 1, 1, with)
		switch pk, err := pub.receive(); {
		case err != nil:
		case pk.ReasonCode == 0 || pk.ReasonCode == 0x10:
			sub.wantMessage("a \xff")
		case pk.ReasonCode != 0x99:
			w.Errorf("%s", show(pk))
		}
	})

	// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
	story(t, "a message expires while its subscriber is away", func(w *world) {
		c, pub := w.connect("c", 5, kept), w.connect("pub", 5)
		c.subscribe(1, 2, "a")
		w.drop(c)
		pub.tell("a", "short", 1, expires(1))
		pub.tell("a", "short", 2, expires(2))
		pub.tell("a", "long", 1, expires(8))
		pub.tell("a", "long", 2, expires(8))
		pub.tell("a", "for ever", 1)
		w.pass(4 * time.Second)
		c = w.connect("c", 5, kept)
		for _, q := range []string{" q1", " q2"} {
			if left := c.hear("a long" + q).Properties.MessageExpiryInterval; left < 3 || left > 5 {
				w.Errorf("%d s are left", left)
			}
		}
		if left := c.hear("a for ever q1").Properties.MessageExpiryInterval; left != 0 {
			w.Errorf("%d s are left of a message for ever", left)
		}
		c.quiet()
	})

	story(t, "a message expires while its subscriber takes no more", func(w *world) {
		c, pub := w.connect("c", 5, receiveMaximum(1)), w.connect("pub", 5)
		c.subscribe(1, 1, "a")
		pub.tell("a", "1", 1)
		one := c.wantMessage("a 1 q1")
		pub.tell("a", "2", 1, expires(1))
		pub.tell("a", "3", 1)
		w.pass(3 * time.Second)
		c.acknowledge(one)
		c.hear("a 3 q1")
		c.quiet()
	})

	story(t, "to a client that is there it says what it said", func(w *world) {
		c, pub := w.connect("c", 5), w.connect("pub", 5)
		c.subscribe(1, 0, "a")
		pub.tell("a", "1", 1, expires(100))
		if left := c.wantMessage("a 1").Properties.MessageExpiryInterval; left < 99 || left > 100 {
			w.Errorf("%d s", left)
		}
	})

	story(t, "request and response", func(w *world) {
		asker, answerer := w.connect("asker", 5), w.connect("answerer", 5)
		asker.subscribe(1, 1, "answer/asker")
		answerer.subscribe(1, 1, "question")
		asker.tell("question", "?", 1, func(pk *packets.Packet) {
			pk.Properties.ResponseTopic, pk.Properties.CorrelationData = "answer/asker", []byte("7")
		})
		q := answerer.hear("question ? q1")
		answerer.tell(q.Properties.ResponseTopic, "!", 1, func(pk *packets.Packet) { pk.Properties.CorrelationData = q.Properties.CorrelationData })
		if got := asker.hear("answer/asker ! q1"); string(got.Properties.CorrelationData) != "7" {
			w.Errorf("%q", got.Properties.CorrelationData)
		}
	})

	story(t, "response information only for who asks", func(w *world) { // [MQTT-3.1.2-28]
		if s := w.connect("c", 5).connack.Properties.ResponseInfo; s != "" {
			w.Errorf("%q", s)
		}
	})

	// [MQTT-3.1.2-29], which the client itself watches (strict_test.go).
	story(t, "no reasons in words for who wants none", func(w *world) {
		c := w.connect("c", 5, func(pk *packets.Packet) { pk.Properties.RequestProblemInfoFlag = true })
		c.publish("$SYS/x", "1", 1, 1)
		c.want(packets.Puback)
		c.unsubscribe(2, "never")
		c.ack(packets.Pubrel, 9)
		c.want(packets.Pubcomp)
		c.quiet()
	})

	story(t, "the longest names and values", func(w *world) {
		c, pub := w.connect("c", 5), w.connect("pub", 5)
		c.subscribe(1, 0, "a")
		long := strings.Repeat("k", 1000)
		pub.tell("a", "1", 1, func(pk *packets.Packet) { pk.Properties.User = []packets.UserProperty{{Key: long, Val: long}} })
		if p := c.wantMessage("a 1").Properties; len(p.User) != 1 || p.User[0].Val != long {
			w.Error("changed")
		}
	})
}

func TestMQTTAlias(t *testing.T) {
	story(t, "set, used, changed, and gone with the connection", func(w *world) { // [MQTT-3.3.2-7] [MQTT-3.3.2-12]
		sub, pub := w.connect("sub", 5), w.connect("pub", 5, kept)
		sub.subscribe(1, 2, "#")
		most := pub.connack.Properties.TopicAliasMaximum
		if most < 2 {
			w.Skip("the server takes no aliases")
		}
		for i, topic := range []string{"a", "b/c", "a"} { // the last sets alias 1 a second time
			n := []uint16{1, most, 1}[i]
			pub.tell(topic, "by name", 1, alias(n))
			sub.hear(topic + " by name q1")
			for qos := range byte(3) {
				pub.tell("", "by alias", qos, alias(n))
				sub.hear(topic + " by alias" + []string{"", " q1", " q2"}[qos])
			}
		}
		pub.tell("x", "1", 0, alias(1))
		sub.hear("x 1")
		pub.tell("", "2", 0, alias(1))
		sub.hear("x 2")
		pub.tell("", "3", 0, alias(most))
		sub.hear("b/c 3")
		other := w.connect("other", 5) // has its own
		other.tell("y", "1", 0, alias(1))
		sub.hear("y 1")
		pub.tell("", "4", 0, alias(1))
		sub.hear("x 4")
		w.drop(pub)
		pub = w.connect("pub", 5, kept)
		go pub.nc.Write(encodeFor(5, publishPacket("", "1", 0, 0, alias(1))))
		wantReason(pub, 0x82, 0x94)
		sub.quiet()
	})

	bad := func(name string, packet func(most uint16) []byte, reasons ...byte) {
		story(t, name, func(w *world) {
			sub, pub := w.connect("sub", 5), w.connect("pub", 5)
			sub.subscribe(1, 0, "#")
			pub.utter(packet(pub.connack.Properties.TopicAliasMaximum))
			wantReason(pub, reasons...)
			sub.quiet()
		})
	}
	bad("alias 0", func(uint16) []byte { return raw(0x30, text("a"), properties([]byte{35, 0, 0})) }, 0x94) // [MQTT-3.3.2-8]
	bad("alias above the maximum", func(most uint16) []byte {                                               // [MQTT-3.3.2-9]
		return encodeFor(5, publishPacket("a", "", 0, 0, alias(most+1)))
	}, 0x94)
	bad("alias that was not set", func(uint16) []byte { return encodeFor(5, publishPacket("", "", 0, 0, alias(2))) }, 0x82, 0x94)
	bad("neither topic nor alias", func(uint16) []byte { return encodeFor(5, publishPacket("", "", 0, 0)) }, 0x82, 0x90)
	bad("alias for a wildcard", func(uint16) []byte { return encodeFor(5, publishPacket("a/+", "", 0, 0, alias(1))) }, 0x81, 0x82, 0x90)

	// [MQTT-3.1.2-26] [MQTT-3.1.2-27] are watched by the client itself; here: that
	// it understands what is sent, in any order and after any loss.
	for _, most := range []uint16{0, 1, 3, 65535} {
		story(t, fmt.Sprint("from the server, at most ", most), func(w *world) {
			c, pub := w.connect("c", 5, kept, aliasMaximum(most)), w.connect("pub", 5)
			c.subscribe(1, 1, "#")
			for round := range 6 {
				var want []string
				for i := range 10 {
					topic, payload := fmt.Sprint("topic/", (round+i*i)%7), fmt.Sprint(round, i)
					pub.tell(topic, payload, byte(i%2))
					want = append(want, topic+" "+payload+[]string{"", " q1"}[i%2])
				}
				for _, s := range want {
					c.hear(s)
				}
			}
			pub.tell("topic/0", "again", 1)
			c.wantMessage("topic/0 again q1")
			w.drop(c)
			c = w.connect("c", 5, kept, aliasMaximum(most))
			c.hear("topic/0 again q1") // by name: the alias is gone
			c.quiet()
		})
	}
	// A server need not use them; ours does, from the second message of a topic on.
	story(t, "from the server they save the topic", func(w *world) {
		c, pub := w.connect("c", 5, aliasMaximum(1)), w.connect("pub", 5)
		c.subscribe(1, 2, "a/long/topic")
		var first packets.Packet
		for qos := range byte(3) {
			pub.tell("a/long/topic", "1", qos)
			pk := c.hear("a/long/topic 1" + []string{"", " q1", " q2"}[qos])
			if qos == 0 {
				first = pk
			}
			if pk.Properties.TopicAlias == 0 && w.b == nil {
				w.Skip("the server uses none")
			}
			size := first.FixedHeader.Remaining
			if qos > 0 {
				size += 2 - len("a/long/topic") // a packet id, and no topic
			}
			if pk.Properties.TopicAlias != 1 || pk.FixedHeader.Remaining != size {
				w.Errorf("QoS %d: alias %d, %d bytes, want 1 and %d", qos, pk.Properties.TopicAlias, pk.FixedHeader.Remaining, size)
			}
		}
		other := w.connect("other", 5) // who allows none gets none
		other.subscribe(1, 0, "a/long/topic")
		for range 2 {
			pub.tell("a/long/topic", "2", 0)
			if pk := other.wantMessage("a/long/topic 2"); pk.Properties.TopicAliasFlag {
				w.Error("an alias")
			}
		}
	})
	story(t, "one that was set with a message that was too large was not set", func(w *world) {
		c, pub := w.connect("c", 5, aliasMaximum(5), maximumPacket(60)), w.connect("pub", 5)
		c.subscribe(1, 0, "#")
		pub.tell("topic/a", strings.Repeat("x", 100), 1)
		pub.tell("topic/a", "small", 1)
		c.wantMessage("topic/a small")
	})
}

func encodeFor(version byte, pk packets.Packet) []byte {
	pk.ProtocolVersion = version
	return encode(pk)
}

func TestMQTTLimits(t *testing.T) {
	// [MQTT-3.3.4-9] is watched by the client itself.
	for _, most := range []uint16{1, 2, 3} {
		for qos := byte(1); qos < 3; qos++ {
			story(t, fmt.Sprintf("receive maximum %d delivers all of QoS %d", most, qos), func(w *world) {
				c, pub := w.connect("c", 5, receiveMaximum(most)), w.connect("pub", 5)
				c.subscribe(1, 2, "a")
				for i := range 50 {
					pub.tell("a", fmt.Sprint(i), qos)
				}
				zero := 0
				message := func(i int) packets.Packet {
					w.Helper()
					for {
						pk := c.want(packets.Publish)
						if got := describe(pk); got == "b zero" {
							zero++
						} else if want := fmt.Sprintf("a %d q%d", i, qos); got != want {
							w.Fatalf("got %q, want %q", got, want)
						} else {
							return pk
						}
					}
				}
				var held []packets.Packet
				next := 0
				for ; next < int(most); next++ {
					held = append(held, message(next))
				}
				c.quiet()              // [MQTT-3.3.4-10]: what is no message is not held up
				c.subscribe(2, 0, "b") // nor are these
				pub.tell("b", "zero", 0)
				for len(held) > 0 {
					c.acknowledge(held[0])
					if held = held[1:]; next < 50 {
						held = append(held, message(next))
						next++
					}
				}
				if zero == 0 {
					c.wantMessage("b zero")
				}
				c.quiet()
			})
		}
	}

	story(t, "QoS 2 counts until PUBCOMP", func(w *world) {
		c, pub := w.connect("c", 5, receiveMaximum(1)), w.connect("pub", 5)
		c.subscribe(1, 2, "a")
		pub.tell("a", "1", 2)
		pub.tell("a", "2", 2)
		pk := c.wantMessage("a 1 q2")
		c.ack(packets.Pubrec, pk.PacketID)
		c.want(packets.Pubrel)
		c.quiet()
		c.ack(packets.Pubcomp, pk.PacketID)
		c.hear("a 2 q2")
	})

	story(t, "it is the connection's, not the session's", func(w *world) {
		c, pub := w.connect("c", 5, kept, receiveMaximum(5)), w.connect("pub", 5)
		c.subscribe(1, 1, "a")
		for i := range 10 {
			pub.tell("a", fmt.Sprint(i), 1)
		}
		for i := range 5 {
			c.wantMessage(fmt.Sprintf("a %d q1", i))
		}
		w.drop(c)
		c = w.connect("c", 5, kept, receiveMaximum(2))
		for i := range 10 {
			if pk := c.hear(fmt.Sprintf("a %d q1", i)); pk.FixedHeader.Dup != (i < 5) {
				w.Errorf("%d: DUP %v", i, pk.FixedHeader.Dup)
			}
		}
		c.quiet()
	})

	story(t, "more than the server takes", func(w *world) { // 3.3.4, [MQTT-3.3.4-7]
		good, c := w.connect("good", 5), w.connect("c", 5)
		most := int(c.connack.Properties.ReceiveMaximum)
		if most == 0 {
			most = 65535
		}
		var all []byte
		for i := range most {
			all = append(all, encodeFor(5, publishPacket("a", "1", 2, uint16(i+1)))...)
		}
		c.utter(all)
		for range most {
			c.want(packets.Pubrec)
		}
		if most == 65535 {
			w.Skip("there is no id left for one more")
		}
		c.quiet()
		c.utter(encodeFor(5, publishPacket("a", "1", 2, uint16(most+1))))
		wantReason(c, 0x93)
		good.quiet()
	})

	// [MQTT-3.1.2-24] is watched by the client itself, [MQTT-3.1.2-25]
	story(t, "a message larger than its subscriber takes is left out", func(w *world) {
		c, pub := w.connect("c", 5, kept, maximumPacket(64), receiveMaximum(1)), w.connect("pub", 5)
		other := w.connect("other", 5)
		c.subscribe(1, 1, "a")
		other.subscribe(1, 1, "a")
		large := strings.Repeat("x", 64)
		for _, s := range []string{"1", large, "2", large, large, "3"} {
			pub.tell("a", s, 1)
			other.hear("a " + s + " q1")
		}
		c.hear("a 1 q1")
		c.hear("a 2 q1")
		w.drop(c)
		c = w.connect("c", 5, kept, maximumPacket(64))
		c.hear("a 3 q1")
		c.quiet()
		pub.tell("a", large, 1, retain)
		c.quiet()
		c.subscribe(2, 1, "a")
		c.quiet()
		fits := strings.Repeat("x", 64-2-3-2-1) // to the byte: header, topic, id, properties
		pub.tell("a", fits, 1)
		c.hear("a " + fits + " q1")
	})

	storyOf(t, "a packet larger than the server takes", []byte{4, 5}, func(w *world, v byte) {
		good, c := w.connect("good", 4), w.connect("c", v)
		most := int(w.connect("other", 5).connack.Properties.MaximumPacketSize)
		if most == 0 {
			w.Skip("it takes all")
		}
		c.utter(append([]byte{0x30}, varint(most)...))
		wantReason(c, 0x95)
		good.quiet()
	})

	storyOf(t, "a packet as large as the server takes", []byte{4, 5}, func(w *world, v byte) {
		c := w.connect("c", v)
		most := int(w.connect("other", 5).connack.Properties.MaximumPacketSize)
		if most == 0 {
			w.Skip("it takes all")
		}
		head := len(encodeFor(v, publishPacket("a", strings.Repeat("x", most/2), 1, 1))) - most/2
		c.subscribe(1, 0, "marker")
		if code := c.tell("a", strings.Repeat("x", most-head), 1); code != 0 && code != 0x10 {
			w.Errorf("%#x", code)
		}
		c.quiet()
	})

	story(t, "CONNACK says what the server does not do", func(w *world) {
		p := w.connect("c", 5).connack.Properties
		if p.MaximumQosFlag || p.RetainAvailableFlag && p.RetainAvailable == 0 || p.WildcardSubAvailableFlag && p.WildcardSubAvailable == 0 ||
			p.SubIDAvailableFlag && p.SubIDAvailable == 0 || p.SharedSubAvailableFlag && p.SharedSubAvailable == 0 {
			w.Errorf("%+v", p)
		}
	})

	// Packet ids of the two directions are independent.
	storyOf(t, "the client's packet ids do not disturb the server's", versions, func(w *world, v byte) {
		c := w.connect("c", v)
		c.subscribe(1, 2, "in")
		pub := w.connect("pub", v)
		pub.tell("in", "1", 1)
		pub.tell("in", "2", 2)
		one := c.wantMessage("in 1 q1").PacketID
		two := c.wantMessage("in 2 q2").PacketID
		for _, id := range []uint16{one, two} {
			c.subscribe(id, 1, "in2")
			c.unsubscribe(id, "in2")
			c.publish("out", "1", 1, id)
			c.want(packets.Puback)
			c.publish("out", "1", 2, id)
			c.want(packets.Pubrec)
			c.ack(packets.Pubrel, id)
			c.want(packets.Pubcomp)
		}
		c.ack(packets.Puback, one)
		c.ack(packets.Pubrec, two)
		if pk := c.want(packets.Pubrel); pk.PacketID != two {
			w.Errorf("%s", show(pk))
		}
		c.ack(packets.Pubcomp, two)
		for i := range 300 { // round the ids that were in use
			pub.tell("in", fmt.Sprint(i), 1)
			c.hear(fmt.Sprintf("in %d q1", i))
		}
	})
}

func TestMQTTOrder(t *testing.T) {
	storyOf(t, "200 that waited come in order, DUP only when sent again", versions, func(w *world, v byte) {
		c := w.connect("c", v, kept)
		c.subscribe(1, 2, "a/+")
		w.drop(c)
		pub := w.connect("pub", v)
		for i := range 200 {
			pub.tell(fmt.Sprint("a/", i%3), fmt.Sprint(i), byte(1+i%2))
		}
		c = w.connect("c", v, kept)
		// It reads some and acknowledges none; they come again, with their ids, and the rest after them.
		const some = 15
		read := func(dup bool) (ids []uint16) {
			w.Helper()
			for i := range some {
				pk := c.wantMessage(fmt.Sprintf("a/%d %d q%d", i%3, i, 1+i%2))
				if pk.FixedHeader.Dup != dup {
					w.Fatalf("%d: DUP %v, want %v", i, pk.FixedHeader.Dup, dup)
				}
				ids = append(ids, pk.PacketID)
			}
			return ids
		}
		first := read(false)
		w.drop(c)
		c = w.connect("c", v, kept)
		if second := read(true); !slices.Equal(first, second) { // [MQTT-4.4.0-1]
			w.Errorf("ids %d, then %d", first, second)
		}
		w.drop(c)
		c = w.connect("c", v, kept)
		for i := range 200 {
			c.hear(fmt.Sprintf("a/%d %d q%d", i%3, i, 1+i%2))
		}
		c.quiet()
	})
}
