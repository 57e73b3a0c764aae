package broker

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestMQTTSession(t *testing.T) {
	storyOf(t, "a kept session has its subscriptions and what came meanwhile", []byte{3, 4, 5}, func(w *world, v byte) {
		c := w.connect("c", v, kept)
		if c.connack.SessionPresent {
			w.Error("a session before the first")
		}
		c.subscribe(1, 1, "a", "b")
		w.drop(c)
		pub := w.connect("pub", v)
		pub.tell("a", "1", 1)
		pub.tell("b", "2", 2)
		c = w.connect("c", v, kept)
		// MQTT 3.1 has no such flag, and no client of it would look.
		if v > 3 && !c.connack.SessionPresent { // [MQTT-3.2.2-3]
			w.Error("no session")
		}
		c.hear("a 1 q1")
		c.hear("b 2 q1")
		pub.tell("a", "3", 1)
		c.hear("a 3 q1")
		c.quiet()
	})

	// A client that says goodbye owes the same acknowledgements as one that breaks off.
	storyOf(t, "what was not acknowledged before a DISCONNECT comes again", versions, func(w *world, v byte) {
		c := w.connect("c", v, kept)
		c.subscribe(1, 2, "a/#")
		c.publish("a/b", "1", 1, 1) // its own messages too
		c.publish("a/c", "2", 2, 2)
		var ids []uint16
		for acks := 0; acks < 2 || len(ids) < 2; {
			pk, err := c.receive()
			switch {
			case err != nil:
				w.Fatal(err)
			case pk.FixedHeader.Type == packets.Publish:
				ids = append(ids, pk.PacketID)
			case pk.FixedHeader.Type == packets.Pubrec:
				c.ack(packets.Pubrel, pk.PacketID)
			default:
				acks++ // PUBACK and PUBCOMP
			}
		}
		c.disconnect()
		c = w.connect("c", v, kept)
		for i, s := range []string{"a/b 1 q1", "a/c 2 q2"} {
			if pk := c.hear(s); pk.PacketID != ids[i] || !pk.FixedHeader.Dup {
				w.Errorf("%s, want id %d and DUP", show(pk), ids[i])
			}
		}
		c.quiet()
		c.disconnect()
		w.connect("c", v, kept).quiet()
	})

	storyOf(t, "a clean start has nothing, and leaves nothing", []byte{4, 5}, func(w *world, v byte) {
		c := w.connect("c", v, kept)
		c.subscribe(1, 1, "a")
		w.drop(c)
		pub := w.connect("pub", v)
		pub.tell("a", "1", 1)
		c = w.connect("c", v)
		if c.connack.SessionPresent { // [MQTT-3.2.2-2]
			w.Error("a session")
		}
		pub.tell("a", "2", 1)
		c.quiet()
		c.subscribe(1, 1, "a")
		c.disconnect()
		if w.present("c", v) {
			w.Error("the session outlived its connection")
		}
	})

	story(t, "5: clean start of a session that is kept", func(w *world) {
		c := w.connect("c", 5, expiry(60))
		c.subscribe(1, 1, "a")
		w.drop(c)
		w.connect("pub", 5).tell("a", "1", 1)
		c = w.connect("c", 5, resume, expiry(60))
		if !c.connack.SessionPresent {
			w.Error("no session")
		}
		c.hear("a 1 q1")
	})

	// [MQTT-4.1.0-2]
	for _, c := range []struct {
		name          string
		connect, last uint32 // 0 of last: DISCONNECT does not say
		after         time.Duration
		present       bool
	}{
		{"before it expires", 5, 0, 3 * time.Second, true},
		{"after", 2, 0, 5 * time.Second, false},
		{"a day later", 100_000, 0, 24 * time.Hour, true},
		{"never is after a day still not", 0xffffffff, 0, 24 * time.Hour, true},
		{"DISCONNECT prolongs it", 1, 60, 5 * time.Second, true},
		{"DISCONNECT shortens it", 600, 1, 5 * time.Second, false},
	} {
		story(t, "5: session expiry, "+c.name, func(w *world) {
			cl := w.connect("c", 5, expiry(c.connect))
			// 3.2.2.3.2: a server that keeps it another time says so.
			if p := cl.connack.Properties; p.SessionExpiryIntervalFlag && p.SessionExpiryInterval < uint32(c.after/time.Second) && c.present {
				w.Fatalf("the server keeps it for %d s", p.SessionExpiryInterval)
			}
			cl.subscribe(1, 1, "a")
			if c.last > 0 {
				cl.disconnect(expiry(c.last))
			} else {
				cl.disconnect()
			}
			w.pass(c.after)
			if got := w.present("c", 5, resume, expiry(60)); got != c.present {
				w.Errorf("present: %v", got)
			}
		})
	}

	story(t, "5: a session of expiry 0 ends with its connection", func(w *world) {
		c := w.connect("c", 5, resume)
		c.subscribe(1, 1, "a")
		w.drop(c)
		if w.present("c", 5) {
			w.Error("present")
		}
		c = w.connect("c", 5, expiry(60))
		c.subscribe(1, 1, "a")
		c.disconnect(expiry(0))
		if w.present("c", 5) {
			w.Error("present, though DISCONNECT said 0")
		}
	})

	// 3.14.2.2.2
	story(t, "5: DISCONNECT cannot give a session an expiry that had none", func(w *world) {
		sub := w.connect("sub", 5)
		sub.subscribe(1, 0, "lwt")
		c := w.connect("c", 5, lwt("lwt", "gone", 0, 0))
		bye := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ProtocolVersion: 5}
		expiry(60)(&bye)
		c.utter(encode(bye))
		wantReason(c, 0x82)
		sub.wantMessage("lwt gone") // for it is no DISCONNECT
		if w.present("c", 5) {
			w.Error("present")
		}
	})

	story(t, "5: a session is kept as long as CONNACK says, and no longer", func(w *world) {
		c := w.connect("c", 5, expiry(0xffffffff))
		c.subscribe(1, 1, "a")
		p := c.connack.Properties
		w.drop(c)
		if !p.SessionExpiryIntervalFlag || p.SessionExpiryInterval > 30*24*3600 {
			w.Skip("it is kept for long")
		}
		w.pass(time.Duration(p.SessionExpiryInterval)*time.Second + time.Minute)
		if w.present("c", 5) {
			w.Error("present")
		}
	})

	// A session of 3.1.1 is one of MQTT 5 that never expires, and the other way round.
	story(t, "a client that was updated to MQTT 5 finds its session", func(w *world) {
		c := w.connect("c", 4, kept)
		c.subscribe(1, 1, "a")
		w.drop(c)
		w.connect("pub", 5).tell("a", "1", 1)
		c = w.connect("c", 5, kept)
		if !c.connack.SessionPresent {
			w.Fatal("no session")
		}
		c.hear("a 1 q1")
		w.drop(c)
		c = w.connect("c", 4, kept)
		if !c.connack.SessionPresent {
			w.Fatal("no session after the way back")
		}
		w.connect("pub", 5).tell("a", "2", 1)
		c.hear("a 2 q1")
	})
}

// [MQTT-3.1.4-3]
func TestMQTTTakeover(t *testing.T) {
	storyOf(t, "the new one is served, the old one is told", []byte{3, 4, 5}, func(w *world, v byte) {
		old := w.connect("c", v)
		old.subscribe(1, 0, "a")
		c := w.attach(v)
		c.send(connectPacket("c", v))
		if why := old.wantEnd(); v == 5 && why != 0x8e {
			w.Errorf("reason %#x", why)
		}
		if c.want(packets.Connack); c.connack.SessionPresent {
			w.Error("a session, after a clean one")
		}
		c.subscribe(1, 0, "b")
		pub := w.connect("pub", v)
		pub.tell("a", "1", 1)
		pub.tell("b", "2", 1)
		c.wantMessage("b 2")
		c.quiet()
	})

	storyOf(t, "of a kept session: what was not acknowledged comes again", []byte{3, 4, 5}, func(w *world, v byte) {
		old := w.connect("c", v, kept)
		old.subscribe(1, 2, "a")
		pub := w.connect("pub", v)
		for _, s := range []string{"1", "2", "3"} {
			pub.tell("a", s, 1)
		}
		one := old.wantMessage("a 1 q1")
		two := old.wantMessage("a 2 q1")
		old.wantMessage("a 3 q1")
		old.ack(packets.Puback, one.PacketID)
		w.settle()
		c := w.attach(v)
		c.send(connectPacket("c", v, kept))
		old.wantEnd()
		if c.want(packets.Connack); v > 3 && !c.connack.SessionPresent {
			w.Fatal("no session")
		}
		again := c.hear("a 2 q1")
		if again.PacketID != two.PacketID || !again.FixedHeader.Dup { // [MQTT-4.4.0-1] [MQTT-3.3.1-1]
			w.Errorf("id %d, dup %v, want id %d and DUP", again.PacketID, again.FixedHeader.Dup, two.PacketID)
		}
		c.hear("a 3 q1")
		c.quiet()
	})

	storyOf(t, "the will of the old one comes before what the new one says", []byte{3, 4, 5}, func(w *world, v byte) {
		sub := w.connect("sub", v)
		sub.subscribe(1, 1, "c/#")
		old := w.connect("c", v, lwt("c/state", "offline", 1, 0), retainedWill)
		old.tell("c/state", "online", 1, retain)
		sub.hear("c/state online q1")
		c := w.attach(v)
		c.send(connectPacket("c", v))
		old.wantEnd()
		c.want(packets.Connack)
		c.tell("c/state", "online", 1, retain)
		sub.hear("c/state offline q1")
		sub.hear("c/state online q1")
		late := w.connect("late", v)
		late.subscribe(1, 1, "c/state")
		late.hear("c/state online q1 r")
	})

	story(t, "5: a delayed will is not sent when its session goes on", func(w *world) { // [MQTT-3.1.3-9]
		sub := w.connect("sub", 5, keepalive(0))
		sub.subscribe(1, 1, "lwt", "marker")
		old := w.connect("c", 5, kept, lwt("lwt", "gone", 1, 2))
		c := w.attach(5)
		c.send(connectPacket("c", 5, kept))
		old.wantEnd()
		c.want(packets.Connack)
		w.pass(5 * time.Second)
		c.tell("marker", "", 1)
		sub.hear("marker  q1")
	})

	// 3.1.3.2.2: or the session ends; which a clean start makes it do.
	story(t, "5: a delayed will is sent when its session does not go on", func(w *world) {
		sub := w.connect("sub", 5)
		sub.subscribe(1, 1, "lwt")
		old := w.connect("c", 5, kept, lwt("lwt", "gone", 1, 600))
		c := w.attach(5)
		c.send(connectPacket("c", 5))
		old.wantEnd()
		c.want(packets.Connack)
		sub.hear("lwt gone q1")
	})

	storyOf(t, "many at once: one is left, and it is served", []byte{4, 5}, func(w *world, v byte) {
		pub := w.connect("pub", v)
		var all []*client
		for range 20 {
			c := w.attach(v)
			c.send(connectPacket("c", v))
			all = append(all, c)
		}
		last := make(chan *client)
		for _, c := range all {
			go func() {
				for {
					pk, err := c.receive()
					if err != nil || pk.FixedHeader.Type == packets.Disconnect {
						last <- nil
						return
					}
					if pk.FixedHeader.Type == packets.Pingresp {
						last <- c
						return
					}
				}
			}()
		}
		w.settle()
		for _, c := range all {
			go c.nc.Write(encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}}))
		}
		var left []*client
		for range all {
			if c := <-last; c != nil {
				left = append(left, c)
			}
		}
		if len(left) != 1 {
			w.Fatalf("%d are left", len(left))
		}
		left[0].subscribe(1, 1, "a")
		pub.tell("a", "1", 1)
		left[0].hear("a 1 q1")
	})
}

func retainedWill(pk *packets.Packet) { pk.Connect.WillRetain = true }

func TestMQTTWill(t *testing.T) {
	// [MQTT-3.1.2-8] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
	for _, qos := range []byte{0, 1, 2} {
		storyOf(t, "it is sent when the connection breaks, QoS "+string('0'+qos), versions, func(w *world, v byte) {
			sub := w.connect("sub", v)
			sub.subscribe(1, 2, "lwt/#")
			plain := w.connect("plain", v, lwt("lwt/plain", "gone", qos, 0))
			kept := w.connect("kept", v, lwt("lwt/kept", "gone", qos, 0), retainedWill)
			q := map[byte]string{1: " q1", 2: " q2"}[qos]
			w.drop(plain)
			sub.hear("lwt/plain gone" + q)
			w.drop(kept)
			sub.hear("lwt/kept gone" + q)
			late := w.connect("late", v)
			late.subscribe(1, 2, "lwt/#")
			late.hear("lwt/kept gone" + q + " r")
			late.quiet()
		})
	}

	storyOf(t, "DISCONNECT takes it back", versions, func(w *world, v byte) { // [MQTT-3.14.4-3]
		sub := w.connect("sub", v)
		sub.subscribe(1, 0, "#")
		w.connect("c", v, lwt("lwt", "gone", 1, 0)).disconnect()
		w.pass(2 * time.Second)
		w.drop(w.connect("c", v)) // and it is not the next one's either
		sub.quiet()
	})

	for _, code := range []byte{0x04, 0x81, 0x96} {
		story(t, "5: DISCONNECT that does not say it is normal sends it", func(w *world) {
			sub := w.connect("sub", 5)
			sub.subscribe(1, 0, "#")
			w.connect("c", 5, lwt("lwt", "gone", 1, 0)).disconnect(reason(code))
			sub.wantMessage("lwt gone")
		})
	}

	story(t, "5: DISCONNECT 0x04 of one byte", func(w *world) {
		sub := w.connect("sub", 5)
		sub.subscribe(1, 0, "#")
		c := w.connect("c", 5, lwt("lwt", "gone", 1, 0))
		c.write([]byte{0xe0, 1, 4})
		c.wantEnd()
		sub.wantMessage("lwt gone")
	})

	storyOf(t, "an error of the client sends it", versions, func(w *world, v byte) {
		sub := w.connect("sub", v)
		sub.subscribe(1, 0, "#")
		c := w.connect("c", v, lwt("lwt", "gone", 1, 0))
		c.utter([]byte{0x36, 4, 0, 1, 'a', 0})
		c.wantEnd()
		sub.wantMessage("lwt gone")
	})

	storyOf(t, "an empty one is sent, and clears a retained value", versions, func(w *world, v byte) {
		sub := w.connect("sub", v)
		sub.subscribe(1, 0, "state")
		c := w.connect("c", v, lwt("state", "", 0, 0), retainedWill)
		c.tell("state", "here", 1, retain)
		sub.wantMessage("state here")
		w.drop(c)
		sub.wantMessage("state ")
		late := w.connect("late", v)
		late.subscribe(1, 0, "state")
		late.quiet()
	})

	story(t, "5: with its properties", func(w *world) {
		sub := w.connect("sub", 5)
		sub.subscribe(1, 0, "lwt")
		c := w.connect("c", 5, lwt("lwt", "gone", 1, 0), func(pk *packets.Packet) {
			p := &pk.Connect.WillProperties
			p.PayloadFormat, p.PayloadFormatFlag, p.ContentType, p.ResponseTopic = 1, true, "text", "answer"
			p.CorrelationData, p.MessageExpiryInterval = []byte{0, 1}, 100
			p.User = []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: "2"}, {Key: "b", Val: "3"}}
		})
		w.drop(c)
		wantProperties(w, sub.wantMessage("lwt gone"), packets.Properties{
			PayloadFormat: 1, ContentType: "text", ResponseTopic: "answer", CorrelationData: []byte{0, 1}, MessageExpiryInterval: 100,
			User: []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: "2"}, {Key: "b", Val: "3"}},
		})
	})

	// [MQTT-3.1.2-8]: after the delay or when the session ends, whichever is first.
	for _, c := range []struct {
		name          string
		delay, expiry uint32
		after         time.Duration
	}{
		{"its delay", 3, 60, 3 * time.Second},
		{"the end of the session, before its delay", 600, 3, 3 * time.Second},
		{"no session", 600, 0, 0},
	} {
		story(t, "5: it waits for "+c.name, func(w *world) {
			sub := w.connect("sub", 5, keepalive(0))
			sub.subscribe(1, 0, "lwt")
			cl := w.connect("c", 5, expiry(c.expiry), lwt("lwt", "gone", 1, c.delay))
			start := time.Now()
			cl.nc.Close()
			sub.wantMessage("lwt gone")
			if d := time.Since(start); d < c.after-time.Second/2 || d > c.after+1500*time.Millisecond {
				w.Errorf("after %v, want %v", d, c.after)
			}
		})
	}

	story(t, "5: who comes back within the delay was never gone", func(w *world) { // [MQTT-3.1.3-9]
		sub := w.connect("sub", 5, keepalive(0))
		sub.subscribe(1, 0, "lwt")
		w.drop(w.connect("c", 5, kept, lwt("lwt", "gone", 1, 4)))
		w.pass(2 * time.Second)
		c := w.connect("c", 5, kept)
		w.pass(5 * time.Second)
		sub.quiet()
		w.drop(c) // without a will this time
		w.pass(5 * time.Second)
		sub.quiet()
	})

	story(t, "5: who starts anew within the delay was", func(w *world) {
		sub := w.connect("sub", 5)
		sub.subscribe(1, 0, "lwt")
		w.drop(w.connect("c", 5, kept, lwt("lwt", "gone", 1, 600)))
		w.connect("c", 5)
		sub.wantMessage("lwt gone")
		sub.quiet()
	})

	story(t, "5: DISCONNECT 0x04 with a delay", func(w *world) {
		sub := w.connect("sub", 5, keepalive(0))
		sub.subscribe(1, 0, "lwt")
		start := time.Now()
		w.connect("c", 5, kept, lwt("lwt", "gone", 1, 3)).disconnect(reason(4))
		sub.wantMessage("lwt gone")
		if d := time.Since(start); d < 2500*time.Millisecond || d > 5*time.Second {
			w.Errorf("after %v", d)
		}
	})
}

// wantProperties compares those of an application message.
func wantProperties(w *world, pk packets.Packet, want packets.Properties) {
	w.Helper()
	got := pk.Properties
	if got.PayloadFormat != want.PayloadFormat || got.ContentType != want.ContentType || got.ResponseTopic != want.ResponseTopic ||
		!bytes.Equal(got.CorrelationData, want.CorrelationData) || got.MessageExpiryInterval != want.MessageExpiryInterval ||
		!slices.Equal(got.User, want.User) {
		w.Errorf("got  %+v\nwant %+v", got, want)
	}
}
