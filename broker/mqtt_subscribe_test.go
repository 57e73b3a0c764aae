package broker

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestMQTTRetained(t *testing.T) {
	storyOf(t, "kept, replaced, cleared", versions, func(w *world, v byte) {
		live, pub := w.connect("live", v), w.connect("pub", v)
		live.subscribe(1, 0, "a")
		now := func(want ...string) {
			w.Helper()
			c := w.connect("late", v)
			c.subscribe(1, 2, "a")
			for _, s := range want {
				c.hear(s)
			}
			c.quiet()
			c.disconnect()
		}
		now()
		for qos := range byte(3) {
			s := string('0' + qos)
			pub.tell("a", s, qos, retain)
			live.wantMessage("a " + s) // live: without the flag [MQTT-3.3.1-12]
			now("a " + s + []string{"", " q1", " q2"}[qos] + " r")
		}
		pub.tell("a", "by the way", 1) // [MQTT-3.3.1-8]
		live.wantMessage("a by the way")
		now("a 2 q2 r")
		pub.tell("a", "", 1, retain) // [MQTT-3.3.1-6]
		live.wantMessage("a ")
		now()
		pub.tell("a", "", 0, retain) // [MQTT-3.3.1-7]
		live.wantMessage("a ")
		now()
		pub.tell("a", "again", 0, retain)
		pub.disconnect() // a value is no part of a session
		now("a again r")
	})

	storyOf(t, "at the QoS of the subscription at most", versions, func(w *world, v byte) { // [MQTT-3.8.4-8]
		w.connect("pub", v).tell("a", "1", 2, retain)
		for qos := range byte(3) {
			c := w.connect("c", v)
			c.subscribe(1, qos, "a")
			c.hear("a 1" + []string{"", " q1", " q2"}[qos] + " r")
		}
	})

	storyOf(t, "all that match, each once", versions, func(w *world, v byte) {
		pub := w.connect("pub", v)
		for _, topic := range []string{"a", "a/b", "a/b/c", "a/x/c", "b", "/", "a/"} {
			pub.tell(topic, "1", 1, retain)
		}
		c := w.connect("c", v)
		c.subscribe(1, 0, "a/+/c")
		wantAll(c, "a/b/c 1 r", "a/x/c 1 r")
		c.subscribe(2, 0, "a/#")
		wantAll(c, "a 1 r", "a/b 1 r", "a/b/c 1 r", "a/x/c 1 r", "a/ 1 r")
		c.subscribe(3, 0, "+")
		wantAll(c, "a 1 r", "b 1 r")
		c.subscribe(4, 0, "+/+")
		wantAll(c, "a/b 1 r", "/ 1 r", "a/ 1 r")
	})

	// [MQTT-3.8.4-3]: the same subscription again gets them again.
	storyOf(t, "again with the same filter", versions, func(w *world, v byte) {
		w.connect("pub", v).tell("a", "1", 1, retain)
		c := w.connect("c", v)
		for id := range uint16(3) {
			c.subscribe(id+1, 0, "a")
			c.wantMessage("a 1 r")
		}
		w.connect("pub", v).tell("a", "2", 0)
		c.wantMessage("a 2") // and is one subscription
		c.quiet()
	})

	storyOf(t, "several filters in one SUBSCRIBE each get theirs", versions, func(w *world, v byte) { // [MQTT-3.8.4-5]
		w.connect("pub", v).tell("a/b", "1", 1, retain)
		c := w.connect("c", v)
		c.subscribe(1, 0, "a/b", "a/+", "x")
		wantAll(c, "a/b 1 r", "a/b 1 r")
	})

	// [MQTT-3.3.1-9] to -11
	for handling, c := range [][2]int{{1, 1}, {1, 0}, {0, 0}} {
		story(t, fmt.Sprint("5: retain handling ", handling), func(w *world) {
			w.connect("pub", 5).tell("a", "1", 1, retain)
			cl := w.connect("c", 5, kept)
			sub := func(id uint16, times int) {
				w.Helper()
				cl.subscribeTo(id, []packets.Subscription{{Filter: "a", RetainHandling: byte(handling)}})
				wantAll(cl, slices.Repeat([]string{"a 1 r"}, times)...)
			}
			sub(1, c[0])
			sub(2, c[1])
			w.drop(cl)
			cl = w.connect("c", 5, kept)
			sub(3, c[1]) // the subscription exists, it is the session's
			cl.unsubscribe(4, "a")
			sub(5, c[0])
		})
	}

	story(t, "5: retain as published", func(w *world) { // [MQTT-3.3.1-13]
		c, pub := w.connect("c", 5), w.connect("pub", 5)
		c.subscribeTo(1, []packets.Subscription{{Filter: "a", RetainAsPublished: true}})
		pub.tell("a", "1", 0, retain)
		pub.tell("a", "2", 0)
		c.wantMessage("a 1 r")
		c.wantMessage("a 2")
	})

	story(t, "5: identifiers come with them", func(w *world) {
		w.connect("pub", 5).tell("a", "1", 1, retain)
		c := w.connect("c", 5)
		c.subscribeTo(1, []packets.Subscription{{Filter: "a"}}, identifier(7))
		if ids := c.wantMessage("a 1 r").Properties.SubscriptionIdentifier; !slices.Equal(ids, []int{7}) {
			w.Errorf("%v", ids)
		}
	})

	story(t, "5: not for a shared subscription", func(w *world) { // 3.3.1.3
		w.connect("pub", 5).tell("a", "1", 1, retain)
		c := w.connect("c", 5)
		c.subscribe(1, 0, "$share/g/a")
		c.quiet()
	})

	story(t, "5: they expire, and say how long they have", func(w *world) {
		w.connect("pub", 5).tell("a", "1", 0, retain, expires(6))
		w.pass(2 * time.Second)
		c := w.connect("c", 5)
		c.subscribe(1, 0, "a")
		if left := c.wantMessage("a 1 r").Properties.MessageExpiryInterval; left < 3 || left > 4 {
			w.Errorf("%d s are left", left)
		}
		w.pass(6 * time.Second)
		c.subscribe(2, 0, "a")
		c.quiet()
	})
}

// wantAll wants these messages in any order, and no other.
func wantAll(c *client, want ...string) {
	c.t.Helper()
	var got []string
	for range want {
		pk := c.want(packets.Publish)
		got = append(got, describe(pk))
		c.acknowledge(pk)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		c.t.Fatalf("got %q, want %q", got, want)
	}
	c.quiet()
}

func TestMQTTSubscribe(t *testing.T) {
	storyOf(t, "SUBACK has a code for each filter, in order", versions, func(w *world, v byte) { // [MQTT-3.9.3-1]
		c := w.connect("c", v)
		codes := c.subscribeTo(0xffff, []packets.Subscription{{Filter: "a", Qos: 2}, {Filter: "b"}, {Filter: "c/#", Qos: 1}, {Filter: "d", Qos: 2}})
		if !bytes.Equal(codes, []byte{2, 0, 1, 2}) {
			w.Errorf("% x", codes)
		}
	})

	// [MQTT-3.8.4-8]: the lower of the two.
	storyOf(t, "QoS of messages", versions, func(w *world, v byte) {
		pub := w.connect("pub", v)
		for sub := range byte(3) {
			c := w.connect("c", v)
			c.subscribe(1, sub, "a")
			for qos := range byte(3) {
				pub.tell("a", "1", qos)
				c.hear("a 1" + []string{"", " q1", " q2"}[min(qos, sub)])
			}
			c.quiet()
		}
	})

	storyOf(t, "one filter again replaces the subscription", versions, func(w *world, v byte) { // [MQTT-3.8.4-3]
		c, pub := w.connect("c", v), w.connect("pub", v)
		c.subscribe(1, 2, "a")
		c.subscribe(2, 0, "a")
		pub.tell("a", "1", 2)
		c.hear("a 1")
		c.quiet()
		c.unsubscribe(3, "a")
		pub.tell("a", "2", 2)
		c.quiet()
	})

	// [MQTT-3.3.4-2]: once at the highest QoS, or once each.
	storyOf(t, "filters that overlap", versions, func(w *world, v byte) {
		c, pub := w.connect("c", v), w.connect("pub", v)
		c.subscribe(1, 0, "a/#")
		c.subscribe(2, 2, "a/+")
		c.subscribe(3, 1, "+/b")
		pub.tell("a/b", "1", 2)
		pub.tell("a/marker", "", 0)
		var got []string
		for {
			pk := c.want(packets.Publish)
			if pk.TopicName == "a/marker" {
				break
			}
			got = append(got, describe(pk))
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"a/b 1 q2"}) && !slices.Equal(got, []string{"a/b 1", "a/b 1 q1", "a/b 1 q2"}) {
			w.Errorf("got %q", got)
		}
	})

	story(t, "5: no local", func(w *world) { // [MQTT-3.8.3-3]
		c, other := w.connect("c", 5), w.connect("other", 5)
		c.subscribeTo(1, []packets.Subscription{{Filter: "a", NoLocal: true, Qos: 1}})
		other.subscribeTo(1, []packets.Subscription{{Filter: "a", NoLocal: true, Qos: 1}})
		c.tell("a", "1", 1)
		other.hear("a 1 q1")
		c.quiet()
		other.tell("a", "2", 1)
		c.hear("a 2 q1")
		other.quiet()
		c.subscribe(2, 1, "a")
		c.publish("a", "3", 0, 0)
		c.wantMessage("a 3")
	})

	story(t, "5: no local beside another subscription that matches", func(w *world) {
		c := w.connect("c", 5)
		c.subscribeTo(1, []packets.Subscription{{Filter: "a/b", NoLocal: true}})
		c.subscribe(2, 0, "a/#")
		c.publish("a/b", "1", 0, 0)
		c.wantMessage("a/b 1")
		c.quiet()
	})

	story(t, "5: no local and the will", func(w *world) {
		// The will is published for a client that has gone; who comes back as it is a new connection of the same id.
		c, sub := w.connect("c", 5, kept, lwt("a", "gone", 1, 0)), w.connect("sub", 5)
		sub.subscribe(1, 1, "a")
		c.subscribeTo(1, []packets.Subscription{{Filter: "a", NoLocal: true, Qos: 1}})
		w.drop(c)
		sub.hear("a gone q1")
		w.connect("c", 5, kept).quiet()
	})

	story(t, "5: no local on a shared subscription is an error", func(w *world) { // [MQTT-3.8.3-4]
		c := w.connect("c", 5)
		c.utter(encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, ProtocolVersion: 5, PacketID: 1,
			Filters: packets.Subscriptions{{Filter: "$share/g/a", NoLocal: true}}}))
		wantReason(c, 0x82)
	})

	story(t, "5: identifiers", func(w *world) { // [MQTT-3.3.4-3] to -5
		c, pub := w.connect("c", 5), w.connect("pub", 5)
		c.subscribeTo(1, []packets.Subscription{{Filter: "a/b"}}, identifier(1))
		c.subscribeTo(2, []packets.Subscription{{Filter: "a/+"}}, identifier(268435455))
		c.subscribe(3, 0, "a/#")
		c.subscribeTo(4, []packets.Subscription{{Filter: "x"}}, identifier(9))
		ids := func() (all []int) {
			w.Helper()
			for _, pk := range c.rest() {
				all = append(all, pk.Properties.SubscriptionIdentifier...)
			}
			slices.Sort(all)
			return all
		}
		pub.tell("a/b", "1", 0)
		if got := ids(); !slices.Equal(got, []int{1, 268435455}) {
			w.Error(got)
		}
		c.subscribeTo(5, []packets.Subscription{{Filter: "a/b"}}, identifier(3)) // replaces
		c.subscribe(6, 0, "a/+")                                                 // takes it away
		pub.tell("a/b", "2", 0)
		if got := ids(); !slices.Equal(got, []int{3}) {
			w.Error(got)
		}
		c.unsubscribe(7, "a/b")
		pub.tell("a/b", "3", 0)
		if got := ids(); len(got) > 0 {
			w.Error(got)
		}
	})

	story(t, "5: identifiers are a part of the session", func(w *world) {
		c := w.connect("c", 5, kept)
		c.subscribeTo(1, []packets.Subscription{{Filter: "a", Qos: 1}}, identifier(5))
		w.drop(c)
		w.connect("pub", 5).tell("a", "1", 1)
		c = w.connect("c", 5, kept)
		if ids := c.hear("a 1 q1").Properties.SubscriptionIdentifier; !slices.Equal(ids, []int{5}) {
			w.Error(ids)
		}
	})

	storyOf(t, "UNSUBSCRIBE", versions, func(w *world, v byte) {
		c, pub := w.connect("c", v), w.connect("pub", v)
		c.subscribe(1, 1, "a", "b", "a/#")
		codes := c.unsubscribe(0xfffe, "a", "never", "a/+", "b")
		if v == 5 && !bytes.Equal(codes, []byte{0, 0x11, 0x11, 0}) { // [MQTT-3.11.3-1]
			w.Errorf("% x", codes)
		}
		pub.tell("b", "1", 1)
		pub.tell("a", "2", 1) // a/# matches a
		c.hear("a 2 q1")
		c.quiet()
		c.unsubscribe(3, "a/#")
		pub.tell("a", "3", 1)
		c.quiet()
	})

	storyOf(t, "UNSUBSCRIBE does not take back what was sent", []byte{4, 5}, func(w *world, v byte) { // [MQTT-3.10.4-3]
		c := w.connect("c", v, kept)
		c.subscribe(1, 1, "a")
		w.connect("pub", v).tell("a", "1", 1)
		c.wantMessage("a 1 q1")
		c.unsubscribe(2, "a")
		w.drop(c)
		c = w.connect("c", v, kept)
		if !c.hear("a 1 q1").FixedHeader.Dup {
			w.Error("without DUP")
		}
		c.quiet()
	})
}

// [MQTT-4.7.1-1] to [MQTT-4.7.3-4]
func TestMQTTMatching(t *testing.T) {
	topics := []string{"a", "a/b", "a/b/c", "/a", "/", "//", "a/", "/a/b", "A", "b", "a b", "ä/ö", "b/a/c"}
	for filter, want := range map[string]string{
		"a": "a", "a/b": "a/b", "a/+": "a/b a/", "a/#": "a a/b a/b/c a/", "+": "a A b a_b", "+/+": "a/b /a / a/ ä/ö", "#": "*",
		"/+": "/a /", "/#": "/a / // /a/b", "+/b": "a/b", "+/#": "*", "+/b/#": "a/b a/b/c", "+/+/+": "a/b/c // /a/b b/a/c", "//": "//",
		"/": "/", "a/b/#": "a/b a/b/c", "A": "A", "+/a": "/a", "+/": "/ a/", "a b": "a_b", "ä/+": "ä/ö", "+/a/+": "/a/b b/a/c",
	} {
		story(t, filter, func(w *world) {
			c, pub := w.connect("c", 4), w.connect("pub", 4)
			c.subscribe(1, 0, filter)
			var all []string
			for _, topic := range topics {
				if want == "*" || slices.Contains(strings.Fields(want), strings.ReplaceAll(topic, " ", "_")) {
					all = append(all, topic+" x")
				}
				pub.tell(topic, "x", 1)
			}
			wantAll(c, all...)
		})
	}

	// [MQTT-4.7.2-1]. Ours refuses what clients publish there.
	storyOf(t, "wildcards do not match what begins with $", versions, func(w *world, v byte) {
		c, pub := w.connect("c", v), w.connect("pub", v)
		c.subscribe(1, 0, "#", "+/x", "+")
		pub.tell("$test/x", "1", 1)
		pub.tell("$SYS/x", "1", 1)
		pub.tell("marker", "", 0)
		for c.want(packets.Publish).TopicName != "marker" {
			w.Error("it came")
		}
	})

	story(t, "$SYS tells of the broker", func(w *world) {
		c := w.connect("c", 4, keepalive(0))
		c.patience = 15 * time.Second
		c.subscribe(1, 0, "$SYS/#")
		if pk := c.want(packets.Publish); !strings.HasPrefix(pk.TopicName, "$SYS/") {
			w.Error(pk.TopicName)
		}
	})

	// A filter that is none: an error of the packet, or refused in SUBACK.
	for _, filter := range []string{"", "a/#/b", "a#", "#a", "a/#b", "+a", "a+", "a/+b/c", "a/b+", "##", "++", "#/", "$share/g/a#",
		"$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a", "$share", "$share/"} {
		storyOf(t, fmt.Sprintf("filter %q", filter), []byte{4, 5}, func(w *world, v byte) {
			if strings.HasPrefix(filter, "$share") && v < 5 {
				return // 3.1.1 does not know it
			}
			good := w.connect("good", 4)
			c := w.connect("c", v)
			c.utter(encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, ProtocolVersion: v, PacketID: 1,
				Filters: packets.Subscriptions{{Filter: filter}}}))
			pk, err := c.receive()
			switch {
			case err == nil && pk.FixedHeader.Type == packets.Suback:
				if len(pk.ReasonCodes) != 1 || v < 5 && pk.ReasonCodes[0] != 0x80 || v == 5 && !slices.Contains([]byte{0x80, 0x8f}, pk.ReasonCodes[0]) {
					w.Errorf("SUBACK % x", pk.ReasonCodes)
				}
			case err == nil && pk.FixedHeader.Type == packets.Disconnect:
				if !slices.Contains([]byte{0x81, 0x82, 0x8f}, pk.ReasonCode) {
					w.Errorf("DISCONNECT %#x", pk.ReasonCode)
				}
			case err == nil:
				w.Errorf("got %s", show(pk))
			}
			good.quiet()
		})
	}
}

// 4.8.2
func TestMQTTShared(t *testing.T) {
	count := func(c *client) int {
		c.t.Helper()
		return len(c.rest())
	}
	story(t, "each message goes to one member, and each member gets some", func(w *world) {
		var members []*client
		for _, id := range []string{"a", "b", "c"} {
			c := w.connect(id, 5)
			c.subscribe(1, 1, "$share/g/job/+")
			members = append(members, c)
		}
		pub := w.connect("pub", 5)
		for range 30 {
			pub.tell("job/x", "1", 1)
		}
		sum := 0
		for _, c := range members {
			n := count(c)
			if n < 5 {
				w.Errorf("one got %d of 30", n)
			}
			sum += n
		}
		if sum != 30 {
			w.Errorf("%d messages, want 30", sum)
		}
	})

	story(t, "groups and others do not take from each other", func(w *world) {
		g, h, all := w.connect("g", 5), w.connect("h", 5), w.connect("all", 5)
		g.subscribe(1, 0, "$share/g/a")
		h.subscribe(1, 0, "$share/h/a")
		all.subscribe(1, 0, "a")
		both := w.connect("both", 5)
		both.subscribe(1, 0, "a", "$share/i/a")
		pub := w.connect("pub", 5)
		for range 6 {
			pub.tell("a", "1", 1)
		}
		for _, c := range []*client{g, h, all} {
			if n := count(c); n != 6 {
				w.Errorf("%d messages, want 6", n)
			}
		}
		if n := count(both); n != 6 && n != 12 {
			w.Errorf("both: %d messages", n)
		}
	})

	story(t, "a member leaves", func(w *world) {
		one, two, three := w.connect("one", 5), w.connect("two", 5), w.connect("three", 5)
		for _, c := range []*client{one, two, three} {
			c.subscribe(1, 1, "$share/g/a")
		}
		pub := w.connect("pub", 5)
		one.disconnect()
		if codes := two.unsubscribe(2, "$share/g/a", "a"); !bytes.Equal(codes, []byte{0, 0x11}) {
			w.Errorf("% x", codes)
		}
		for range 10 {
			pub.tell("a", "1", 1)
		}
		if n := count(three); n != 10 {
			w.Errorf("who is left got %d of 10", n)
		}
		if n := count(two); n != 0 {
			w.Errorf("who left got %d", n)
		}
		three.disconnect()
		if code := pub.tell("a", "1", 1); code != 0 && code != 0x10 {
			w.Errorf("%#x", code)
		}
	})

	story(t, "at the QoS of the member", func(w *world) { // [MQTT-4.8.2-3]
		c, pub := w.connect("c", 5), w.connect("pub", 5)
		c.subscribeTo(1, []packets.Subscription{{Filter: "$share/g/a", Qos: 1}}, identifier(4))
		pub.tell("a", "1", 2)
		if ids := c.hear("a 1 q1").Properties.SubscriptionIdentifier; !slices.Equal(ids, []int{4}) {
			w.Error(ids)
		}
	})

	story(t, "a member that is away gets what it was sent when it returns", func(w *world) { // [MQTT-4.8.2-4]
		c, pub := w.connect("c", 5, kept), w.connect("pub", 5)
		c.subscribe(1, 1, "$share/g/a")
		pub.tell("a", "1", 1)
		c.wantMessage("a 1 q1")
		w.drop(c)
		c = w.connect("c", 5, kept)
		if !c.hear("a 1 q1").FixedHeader.Dup {
			w.Error("without DUP")
		}
	})

	story(t, "a member that refuses a message has had it", func(w *world) { // [MQTT-4.8.2-6]
		one, two, pub := w.connect("one", 5), w.connect("two", 5), w.connect("pub", 5)
		one.subscribe(1, 1, "$share/g/a")
		pub.tell("a", "1", 1)
		two.subscribe(1, 1, "$share/g/a")
		pk := one.wantMessage("a 1 q1")
		one.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID, ReasonCode: 0x83})
		two.quiet()
		one.quiet()
	})
}
