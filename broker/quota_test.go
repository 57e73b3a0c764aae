package broker

import (
	"testing"

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
}
