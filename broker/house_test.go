package broker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/store"
	"hearth/store/storetest"
)

// A house with a card: what is on it decides what a broker finds after a power cut.
type house struct {
	*testing.T
	card *storetest.Card
	st   *store.Store
	b    *Broker
}

// housed runs f with a broker that has a card, in a bubble.
func housed(t *testing.T, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{T: t}
		h.start(storetest.NewCard())
		defer func() { h.stop() }()
		f(h)
	})
}

func (h *house) start(card *storetest.Card) {
	h.Helper()
	h.card = card
	st, err := store.Open("/data", store.Options{FS: card})
	if err != nil {
		h.Fatal(err)
	}
	h.st, h.b = st, open(h, Options{Store: st})
}

func (h *house) stop() {
	h.b.Close()
	h.st.Close()
}

// slow makes the card take so long for what is written next.
func (h *house) slow(d time.Duration) {
	synctest.Wait()
	h.card.SyncTakes = d
}

// cut cuts the power, and starts again with what is on the card.
func (h *house) cut() {
	h.Helper()
	synctest.Wait()
	card := h.card.Cut(nil)
	h.stop()
	h.start(card)
}

// restart ends the broker properly, and starts another.
func (h *house) restart() {
	h.Helper()
	h.stop()
	h.start(h.card)
}

func (h *house) connect(id string, version byte, change ...func(*packets.Packet)) *client {
	h.Helper()
	c := connect(h, h.b, id, version, append(change, keepalive(0))...)
	c.settle = synctest.Wait
	return c
}

// drop breaks a connection.
func (h *house) drop(c *client) {
	c.nc.Close()
	synctest.Wait()
}

// The numbers of messages go on where they were, so that what comes after a restart is
// not taken for what was sent before it.
func TestOnlyWhatWasSentIsADuplicateAfterTwoRestarts(t *testing.T) {
	housed(t, func(h *house) {
		h.drop(subscribed(h.connect("c", 4, kept), 1, "a"))
		pub := h.connect("pub", 4)
		for i := range 10 {
			pub.tell("a", fmt.Sprint(i), 1)
		}
		c := h.connect("c", 4, kept) // they have waited, and now are sent
		for i := range 10 {
			c.hear(fmt.Sprintf("a %d q1", i))
		}
		h.drop(c)
		time.Sleep(2 * time.Second)
		h.restart()
		h.connect("pub", 4).tell("a", "new", 1)
		h.restart()
		c = h.connect("c", 4, kept)
		if pk := c.wantMessage("a new q1"); pk.FixedHeader.Dup {
			t.Error("it is a duplicate, though it was never sent")
		}
	})
}

func subscribed(c *client, qos byte, filters ...string) *client {
	c.t.Helper()
	c.subscribe(1, qos, filters...)
	return c
}

// A client may give the packet id to its next message as soon as it has PUBCOMP.
func TestAPacketIDIsFreeWhenTheClientHearsSo(t *testing.T) {
	housed(t, func(h *house) {
		sub := h.connect("sub", 4, kept)
		sub.subscribe(1, 1, "a")
		pub := h.connect("pub", 4, kept)
		pub.tell("a", "first", 2)
		sub.hear("a first q1")
		h.cut() // while the client sends its next
		sub, pub = h.connect("sub", 4, kept), h.connect("pub", 4, kept)
		pub.tell("a", "second", 2, dup) // of which the broker had not heard
		for _, pk := range sub.rest() {
			if string(pk.Payload) == "second" {
				return
			}
		}
		t.Error("the second message was acknowledged, and nobody got it")
	})
}

// What the disk refused is no more under way after a restart.
func TestWhatTheDiskRefusedIsOverAfterARestart(t *testing.T) {
	disk := &store.Faulty{}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st := openStore(t, dir, disk)
		b := open(t, Options{Store: st})
		sub := connect(t, b, "sub", 4, kept, patient)
		sub.subscribe(1, 1, "a")
		pub := connect(t, b, "pub", 5, kept, patient)
		disk.FailWrites(errors.New("full"))
		for id := range uint16(100) {
			pub.publish("a", "1", 2, id+1)
			if code := pub.want(packets.Pubrec).ReasonCode; code != packets.ErrQuotaExceeded.Code {
				t.Fatalf("PUBREC %#x", code)
			}
			sub.wantMessage("a 1 q1")
		}
		disk.FailWrites(nil)
		time.Sleep(time.Minute)
		b.Close()
		st.Close()
		st = openStore(t, dir, disk)
		defer st.Close()
		for key := range st.Each(store.Unreleased) {
			t.Fatalf("%x is still under way", key)
		}
	})
}

// A retained value outlives the connection of who published it, and does not keep it in
// memory.
func TestAValueDoesNotKeepItsPublishersConnection(t *testing.T) {
	st := openStore(t, t.TempDir(), nil)
	b := open(t, Options{Store: st})
	c := connect(t, b, "c", 4)
	c.tell("a", "1", 1, retain)
	b.mu.Lock()
	var there weak.Pointer[conn]
	for c := range b.conns {
		there = weak.Make(c)
	}
	b.mu.Unlock()
	c.disconnect()
	for range 100 {
		if runtime.GC(); there.Value() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it is still there")
}

// [MQTT-3.1.4-5] A clean start ends the session there was, and sends the will it waited
// with: also if the connection that asked for it is taken over before it has CONNACK.
func TestTheWillOfASessionThatIsReplacedIsNotLost(t *testing.T) {
	housed(t, func(h *house) {
		sub := h.connect("sub", 5)
		sub.subscribe(1, 0, "lwt")
		h.drop(h.connect("c", 5, expiry(600), will("lwt", "gone", 0, 600)))
		h.slow(time.Second)
		first := attach(h, h.b, 5)
		first.send(connectPacket("c", 5, expiry(600)))
		synctest.Wait()
		h.connect("c", 5, expiry(600))
		sub.wantMessage("lwt gone")
	})
}

// Who said goodbye has no will, also if the house goes to sleep at that moment.
func TestGoodbyeWhileTheBrokerCloses(t *testing.T) {
	housed(t, func(h *house) {
		c := h.connect("c", 4, kept, will("lwt", "gone", 0, 0))
		h.b.mu.Lock()
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
		h.b.closed = true // as Close begins
		h.b.mu.Unlock()
		h.restart()
		sub := h.connect("sub", 4)
		sub.subscribe(1, 0, "lwt")
		time.Sleep(time.Hour)
		sub.quiet()
	})
}

// What was asked for on one connection may still be on its way to the disk when it is
// asked for again on the next.
func TestAskedAgainIsNotYetOnDisk(t *testing.T) {
	housed(t, func(h *house) {
		h.drop(h.connect("other", 4, kept)) // the store has a file with room
		h.slow(10 * time.Second)
		c := attach(h, h.b, 4)
		c.send(connectPacket("c", 4, kept, keepalive(0)))
		synctest.Wait()
		again := attach(h, h.b, 4)
		again.patience = time.Minute
		again.connect("c", kept, keepalive(0))
		if left := h.card.Cut(nil); len(kindsOn(h, left, store.Session)) != 2 {
			t.Error("CONNACK came before the session was on disk")
		}
		subscribe := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: []packets.Subscription{{Filter: "a", Qos: 1}}}
		again.send(subscribe)
		h.drop(again)
		h.slow(10 * time.Second)
		again = attach(h, h.b, 4)
		again.patience = time.Minute
		again.connect("c", kept, keepalive(0))
		again.send(subscribe)
		again.want(packets.Suback)
		if left := h.card.Cut(nil); len(kindsOn(h, left, store.Subscription)) != 1 {
			t.Error("SUBACK came before the subscription was on disk")
		}
		h.slow(0)
	})
}

// kindsOn gives the keys of a kind that are on a card.
func kindsOn(h *house, card *storetest.Card, kind store.Kind) (keys []string) {
	h.Helper()
	st, err := store.Open("/data", store.Options{FS: card})
	if err != nil {
		h.Fatal(err)
	}
	defer st.Close()
	for key := range st.Each(kind) {
		keys = append(keys, key)
	}
	return keys
}

// A power cut in the middle of a commit leaves any part of it. What it leaves of a QoS 2
// message must not be that it has come, without the message.
func TestHalfACommitIsNone(t *testing.T) {
	for seed := range uint64(50) {
		housed(t, func(h *house) {
			sub := h.connect("sub", 4, kept)
			sub.subscribe(1, 2, "a")
			pub := h.connect("pub", 4, kept)
			pub.tell("a", "first", 2)
			sub.hear("a first q2")
			time.Sleep(time.Minute)
			h.slow(time.Second)
			pub.publish("a", strings.Repeat("x", 2000), 2, 5)
			time.Sleep(time.Second / 2)
			random := rand.New(rand.NewPCG(seed, 0))
			card := h.card.Cut(func() bool { return random.IntN(2) == 0 })
			h.stop()
			h.start(card)
			sub, pub = h.connect("sub", 4, kept), h.connect("pub", 4, kept)
			pub.publish("a", strings.Repeat("x", 2000), 2, 5, dup)
			pub.want(packets.Pubrec)
			if n := len(sub.rest()); n != 1 {
				t.Errorf("seed %d: it came %d times", seed, n)
			}
		})
	}
}
