package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestMQTTQuota(t *testing.T) {
	// 4.9: the quota is of the connection. What was under way when one broke is sent again
	// on the next, all of it.
	storyOf(t, "as many QoS 2 messages as may be under way, and the connection breaks", []byte{4, 5}, func(w *world, v byte) {
		c := w.connect("c", v, kept)
		most := int(c.connack.Properties.ReceiveMaximum)
		if most == 0 || most > 512 {
			most = 512
		}
		for round := range 3 {
			if round > 0 {
				w.drop(c)
				c = w.connect("c", v, kept)
			}
			for id := range most {
				if round == 0 {
					c.publish("a", "1", 2, uint16(id+1))
				} else {
					c.publish("a", "1", 2, uint16(id+1), dup)
				}
				if code := c.want(packets.Pubrec).ReasonCode; code >= 0x80 {
					w.Fatalf("PUBREC %#x", code)
				}
			}
		}
		for id := range most {
			c.ack(packets.Pubrel, uint16(id+1))
			c.want(packets.Pubcomp)
		}
		c.publish("a", "2", 2, 1)
		c.want(packets.Pubrec)
	})

	story(t, "5: more than may be under way", func(w *world) {
		c := w.connect("c", 5, kept)
		most := int(c.connack.Properties.ReceiveMaximum)
		if most == 0 || most > 1000 {
			w.Skip("it takes them all")
		}
		for id := range most {
			c.publish("a", "1", 2, uint16(id+1))
			c.want(packets.Pubrec)
		}
		c.publish("a", "1", 2, uint16(most+1))
		wantReason(c, packets.ErrReceiveMaximum.Code)
	})

	// [MQTT-4.3.3-9]
	story(t, "5: a PUBREC with an error ends the exchange", func(w *world) {
		if w.b == nil {
			w.Skip("its limits are not ours")
		}
		lim := *w.b.limits.Load()
		lim.retained = 1
		w.b.limits.Store(&lim)
		sub := w.connect("sub", 5)
		sub.subscribe(1, 0, "#")
		c := w.connect("c", 5)
		for i := range 600 { // more than may be under way
			c.publish(fmt.Sprint("a/", i), "1", 2, 7, retain)
			sub.wantMessage(fmt.Sprintf("a/%d 1", i))
			if code := c.want(packets.Pubrec).ReasonCode; i > 0 && code != packets.ErrQuotaExceeded.Code {
				w.Fatalf("PUBREC %#x of message %d", code, i)
			} else if i == 0 {
				c.ack(packets.Pubrel, 7)
				c.want(packets.Pubcomp)
			}
		}
		c.publish("a", "another", 2, 7)
		if code := c.want(packets.Pubrec).ReasonCode; code >= 0x80 {
			w.Errorf("PUBREC %#x", code)
		}
		sub.wantMessage("a another")
	})
}

func TestMQTTExpiredInTheQueue(t *testing.T) {
	// What nobody wants any more takes no place from what somebody does.
	storyOf(t, "a queue full of what has expired", []byte{4, 5}, func(w *world, v byte) {
		if w.b == nil {
			w.Skip("its limits are not ours")
		}
		sub := w.connect("sub", v, kept)
		sub.subscribe(1, 1, "a")
		w.drop(sub)
		pub := w.connect("pub", 5, keepalive(0))
		for range w.b.limits.Load().queue {
			pub.tell("a", "old", 1, expires(60))
		}
		pub.tell("a", "too much", 1)
		w.pass(2 * time.Minute)
		pub.tell("a", "new", 1)
		if n := w.b.Stats().QueuedBytes; n != 4 {
			w.Errorf("%d bytes wait", n)
		}
		sub = w.connect("sub", v, kept)
		sub.hear("a new q1")
		sub.quiet()
	})
}

func TestMQTTLastBytes(t *testing.T) {
	// An alias takes some bytes at first, which may be too many.
	story(t, "5: a message that is as large as the client takes", func(w *world) {
		plain := w.connect("plain", 5)
		plain.subscribe(1, 1, "a")
		sub := w.connect("sub", 5, maximumPacket(40), aliasMaximum(5))
		sub.subscribe(1, 1, "a")
		pub := w.connect("pub", 5)
		payload := "12345678901234567890123456789012"
		pub.tell("a", payload, 1) // 2 of the header, 3 of the topic, 2 of the id, 1 of the properties
		plain.hear("a " + payload + " q1")
		sub.hear("a " + payload + " q1")
		pub.tell("a", payload+"3", 1)
		pub.tell("a", "1", 1)
		sub.hear("a 1 q1")
	})
}

func TestMQTTSharedAndFull(t *testing.T) {
	// A member that takes nothing any more costs the others nothing, and no message.
	storyOf(t, "a member of a group whose queue is full", []byte{4, 5}, func(w *world, v byte) {
		if w.b == nil {
			w.Skip("its limits are not ours")
		}
		lim := *w.b.limits.Load()
		lim.queue = 10
		w.b.limits.Store(&lim)
		stuck := w.connect("stuck", v, keepalive(0))
		stuck.subscribe(1, 1, "$share/g/a")
		well := w.connect("well", v, keepalive(0))
		well.subscribe(1, 1, "$share/g/a")
		pub := w.connect("pub", v, keepalive(0))
		got := 0
		for range 20 { // so much at a time that both have to wait
			for range 5 {
				pub.tell("a", "1", 1)
			}
			got += len(well.rest())
		}
		if n := w.b.Stats().Dropped; n != 0 || got < 90 {
			w.Errorf("%d arrived, %d were dropped", got, n)
		}
	})
}

func TestQueuesOfOthers(t *testing.T) {
	// The limit of all queues is for those that are full, not for who keeps up.
	story(t, "clients that are away have filled the queues of all", func(w *world) {
		if w.b == nil {
			w.Skip("its limits are not ours")
		}
		lim := *w.b.limits.Load()
		lim.queuedBytes = 100_000
		w.b.limits.Store(&lim)
		for i := range 4 {
			c := w.connect(fmt.Sprint("away", i), 4, kept)
			c.subscribe(1, 1, "#")
			w.drop(c)
		}
		pub := w.connect("pub", 4, keepalive(0))
		for range 50 {
			pub.tell("a", strings.Repeat("x", 1000), 1)
		}
		sub := w.connect("sub", 4, keepalive(0))
		sub.subscribe(1, 1, "#")
		for i := range 200 {
			pub.tell("b", fmt.Sprint(i), 1)
			sub.hear(fmt.Sprintf("b %d q1", i))
		}
		if n := w.b.Stats().QueuedBytes; n > 2*100_000 {
			w.Errorf("%d bytes wait", n)
		}
	})
}
