package broker

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A client that subscribes without end, and reads nothing, costs others neither time
// nor memory.
func TestAFloodOfSubscriptions(t *testing.T) {
	b := open(t, Options{})
	for i := range 10_000 {
		if err := b.Publish(Message{Topic: fmt.Sprintf("a/%d/b", i), Payload: []byte("1"), Retain: true}); err != nil {
			t.Fatal(err)
		}
	}
	var same, different []packets.Subscription
	for range 20_000 {
		same = append(same, packets.Subscription{Filter: "#"})
	}
	for i := range 200 {
		f := packets.Subscription{Filter: "+/+/b"}
		if i%2 == 0 {
			f.Filter = fmt.Sprintf("$share/%d/#", i)
		}
		different = append(different, f)
	}
	for name, filters := range map[string][]packets.Subscription{"the same filter": same, "in many packets": different} {
		t.Run(name, func(t *testing.T) {
			c, other := connect(t, b, "c", 4), connect(t, b, "other", 4)
			other.alive()
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			one := encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, ProtocolVersion: 4, PacketID: 1, Filters: filters})
			c.utter(bytes.Repeat(one, 1+20_000/len(filters)))
			var longest time.Duration
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				begun := time.Now()
				other.tell("x", "1", 1)
				longest = max(longest, time.Since(begun))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			t.Logf("the longest publish took %v, %d KiB", longest, used>>10)
			if longest > 2*time.Second {
				t.Errorf("a publish took %v", longest)
			}
			if used > 20<<20 {
				t.Errorf("it cost %d MiB", used>>20)
			}
		})
	}
}
