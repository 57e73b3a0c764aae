package broker

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/store"
)

// found is what the store of a folder has of sessions.
func found(t *testing.T, dir string) (keys []string) {
	t.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, kind := range []store.Kind{store.Session, store.Subscription, store.Queued, store.Body, store.Unreleased} {
		for key := range st.Each(kind) {
			keys = append(keys, fmt.Sprintf("%v %q", kind, key))
		}
	}
	return keys
}

func TestASessionThatEndsLeavesNothingInTheStore(t *testing.T) {
	ends := map[string]func(*testing.T, *Broker){
		"by a clean start": func(t *testing.T, b *Broker) { connect(t, b, "phone", 5) },
		"by its expiry":    func(*testing.T, *Broker) { time.Sleep(2 * time.Hour) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				st := openStore(t, dir, nil)
				b := open(t, Options{Store: st})
				phone := connect(t, b, "phone", 5, kept)
				phone.subscribe(1, 2, "door/#", "bell")
				phone.publish("own", "1", 2, 9)
				phone.want(packets.Pubrec) // and it never releases that
				phone.nc.Close()
				door := connect(t, b, "door", 5)
				door.publish("door/front", "open", 1, 1)
				door.want(packets.Puback)
				door.publish("bell", "rings", 2, 2)
				door.want(packets.Pubrec)
				door.nc.Close()
				end(t, b)
				b.Close()
				st.Close()
			})
			if keys := found(t, dir); len(keys) > 0 {
				t.Errorf("in the store are %v", keys)
			}
		})
	}
}

// A display subscribes, and the power goes before it has acknowledged all that it is
// told of retained values. It finds its session there and does not subscribe again.
func TestRetainedValuesOwedToASessionSurviveACrash(t *testing.T) {
	narrow := receiveMaximum(2)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st := openStore(t, dir, nil)
		b := open(t, Options{Store: st})
		sensor := connect(t, b, "sensor", 5)
		for i := range 5 {
			sensor.publish(fmt.Sprint("room/", i), "20", 1, uint16(i+1), retain)
			sensor.want(packets.Puback)
		}
		display := connect(t, b, "display", 5, kept, narrow)
		display.subscribe(1, 1, "room/+")
		display.ack(packets.Puback, display.want(packets.Publish).PacketID)
		display.want(packets.Publish)
		display.want(packets.Publish)
		time.Sleep(time.Minute)
		b.Close() // as a crash: it writes nothing
		st.Close()

		st = openStore(t, dir, nil)
		b = open(t, Options{Store: st})
		display = connect(t, b, "display", 5, kept, narrow)
		if !display.connack.SessionPresent {
			t.Fatal("no session")
		}
		var topics []string
		for range 5 {
			pk := display.want(packets.Publish)
			topics = append(topics, pk.TopicName)
			display.ack(packets.Puback, pk.PacketID)
		}
		slices.Sort(topics)
		if want := []string{"room/0", "room/1", "room/2", "room/3", "room/4"}; !slices.Equal(topics, want) {
			t.Errorf("the display is told of %v, want %v", topics, want)
		}
		display.alive()
		time.Sleep(time.Minute)
		b.Close()
		st.Close()

		// Now it has all, and is not told again.
		st = openStore(t, dir, nil)
		b = open(t, Options{Store: st})
		display = connect(t, b, "display", 5, kept, narrow)
		display.alive()
		b.Close()
		st.Close()
	})
}
