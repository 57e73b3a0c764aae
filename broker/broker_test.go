package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/store"
)

func openStore(t *testing.T, dir string, fs store.FS) *store.Store {
	t.Helper()
	st, err := store.Open(dir, store.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// heard collects what Receive got.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) receive(m Message) func() <-chan struct{} {
	return func() <-chan struct{} { h.note(m); return nil }
}

func (h *heard) note(m Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := fmt.Sprintf("%s %s q%d", m.Topic, m.Payload, m.QoS)
	if m.Retain {
		s += " r"
	}
	if m.Origin != nil {
		s += fmt.Sprintf(" from %v", m.Origin)
	}
	h.all = append(h.all, s)
}

func (h *heard) want(t *testing.T, want ...string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.all, want) {
		t.Fatalf("Receive got %q, want %q", h.all, want)
	}
	h.all = nil
}

func TestMessagesGoToReceiveAndToSubscribers(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h heard
				b := open(t, Options{Receive: h.receive})
				defer b.Close()
				sub := connect(t, b, "sub", version)
				if codes := sub.subscribe(1, 2, "hall/+", "#"); !slices.Equal(codes, []byte{2, 2}) {
					t.Fatal(codes)
				}
				pub := connect(t, b, "pub", version)
				pub.publish("hall/light", "on", 0, 0)
				sub.wantMessage("hall/light on")

				pub.publish("hall/light", "off", 1, 7)
				if ack := pub.want(packets.Puback); ack.PacketID != 7 || ack.ReasonCode != 0 {
					t.Fatal(ack)
				}
				sub.ack(packets.Puback, sub.wantMessage("hall/light off q1").PacketID)

				pub.publish("hall/light", "dim", 2, 8)
				pub.want(packets.Pubrec)
				pub.publish("hall/light", "dim", 2, 8, func(pk *packets.Packet) { pk.FixedHeader.Dup = true })
				if ack := pub.want(packets.Pubrec); ack.ReasonCode != 0 {
					t.Fatal("sent again:", ack)
				}
				pub.ack(packets.Pubrel, 8)
				pub.want(packets.Pubcomp)
				id := sub.wantMessage("hall/light dim q2").PacketID
				sub.ack(packets.Pubrec, id)
				sub.want(packets.Pubrel)
				sub.ack(packets.Pubcomp, id)

				if err := b.Publish(Message{Topic: "hall/bell", Payload: []byte("1"), QoS: 1, Origin: "rule bell"}); err != nil {
					t.Fatal(err)
				}
				sub.wantMessage("hall/bell 1 q1")
				h.want(t, "hall/light on q0", "hall/light off q1", "hall/light dim q2", "hall/bell 1 q1 from rule bell")
				sub.alive()
				pub.alive()
			})
		})
	}
}

func TestOwnPublishIsChecked(t *testing.T) {
	b := open(t, Options{})
	for _, topic := range []string{"", "a/+", "#", "$SYS/x", strings.Repeat("a", 1025), strings.Repeat("/", 32), "a\x00", "\xff"} {
		if err := b.Publish(Message{Topic: topic}); err == nil {
			t.Errorf("%q was published", topic)
		}
	}
	b.Close()
	if err := b.Publish(Message{Topic: "a"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestReceiveHoldsBackAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := make(chan struct{})
		b := open(t, Options{Receive: func(m Message) func() <-chan struct{} {
			return func() <-chan struct{} {
				if m.QoS == 0 {
					return nil
				}
				return room
			}
		}})
		defer b.Close()
		one, two := connect(t, b, "one", 4), connect(t, b, "two", 5)
		sub := connect(t, b, "sub", 4)
		sub.subscribe(1, 0, "#")
		one.publish("a", "1", 1, 1)
		two.publish("a", "2", 2, 1)
		synctest.Wait()
		time.Sleep(5 * time.Minute / 60) // their keep-alive goes on after the wait
		three := connect(t, b, "three", 4)
		three.publish("b", "3", 0, 0)
		got := []string{describe(sub.want(packets.Publish)), describe(sub.want(packets.Publish))}
		slices.Sort(got)
		if !slices.Equal(got, []string{"a 1", "a 2"}) {
			t.Fatal(got)
		}
		sub.wantMessage("b 3")

		// A publisher that is replaced while it waits is not acknowledged, and goes on.
		again := connect(t, b, "one", 4)
		again.publish("c", "4", 0, 0)
		sub.wantMessage("c 4")
		close(room)
		two.want(packets.Pubrec)
		again.publish("c", "5", 1, 7)
		if id := again.want(packets.Puback).PacketID; id != 7 {
			t.Fatal("acknowledged", id)
		}
	})
}
func TestRetainedValuesComeBackWhole(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir, nil)
	b := open(t, Options{Store: st})
	c := connect(t, b, "c", 5)
	c.publish("lamp/state", "on", 1, 1, retain, func(pk *packets.Packet) {
		pk.Properties = packets.Properties{
			ContentType: "text/plain", ResponseTopic: "re", CorrelationData: []byte("x"),
			PayloadFormat: 1, PayloadFormatFlag: true, MessageExpiryInterval: 3600,
			User: []packets.UserProperty{{Key: "room", Val: "hall"}},
		}
	})
	c.want(packets.Puback)
	c.publish("lamp/gone", "1", 1, 2, retain)
	c.want(packets.Puback)
	c.publish("lamp/gone", "", 1, 3, retain)
	c.want(packets.Puback)
	if err := b.Publish(Message{Topic: "lamp/own", Payload: []byte("2"), QoS: 2, Retain: true}); err != nil {
		t.Fatal(err)
	}
	b.Close()
	st.Close()

	b = open(t, Options{Store: openStore(t, dir, nil)})
	var found []string
	for m := range b.Retained() {
		found = append(found, fmt.Sprintf("%s %s q%d %v", m.Topic, m.Payload, m.QoS, m.Retain))
	}
	if want := []string{"lamp/own 2 q2 true", "lamp/state on q1 true"}; !slices.Equal(found, want) {
		t.Fatalf("retained %q, want %q", found, want)
	}
	late := connect(t, b, "late", 5)
	late.subscribe(1, 1, "lamp/#")
	late.wantMessage("lamp/own 2 q1 r")
	pk := late.wantMessage("lamp/state on q1 r")
	p := pk.Properties
	if p.ContentType != "text/plain" || p.ResponseTopic != "re" || string(p.CorrelationData) != "x" || p.PayloadFormat != 1 ||
		len(p.User) != 1 || p.User[0].Val != "hall" || p.MessageExpiryInterval < 3500 || p.MessageExpiryInterval > 3600 {
		t.Fatalf("%+v", p)
	}
	late.alive()
}

func TestAcknowledgementWaitsForTheDisk(t *testing.T) {
	disk := &store.Faulty{}
	dir := t.TempDir()
	st := openStore(t, dir, disk)
	var h heard
	b := open(t, Options{Store: st, Receive: h.receive})
	sub := connect(t, b, "sub", 4)
	sub.subscribe(1, 0, "#")
	disk.FailWrites(errors.New("read-only"))
	pub := connect(t, b, "pub", 4)
	pub.publish("a", "1", 1, 1, retain)
	sub.wantMessage("a 1") // subscribers do not wait for the disk
	h.want(t, "a 1 q1 r")
	for st.Trouble() == nil {
		time.Sleep(time.Millisecond) // until the store has met the refusal
	}

	other := connect(t, b, "other", 4)
	other.publish("b", "2", 0, 0, retain)
	sub.wantMessage("b 2")
	other.publish("c", "3", 1, 1) // not retained: nothing to write
	other.want(packets.Puback)
	sub.wantMessage("c 3")
	if err := b.Publish(Message{Topic: "d", Payload: []byte("4"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	sub.wantMessage("d 4")

	disk.FailWrites(nil)
	pub.want(packets.Puback)
	pub.publish("a", "", 1, 2, retain)
	pub.want(packets.Puback)
	st.Close()
	got := 0
	for range openStore(t, dir, nil).Each(store.Retained) {
		got++
	}
	if got != 2 { // b and d
		t.Fatalf("%d values on disk", got)
	}
}

func TestChattyTopicIsWrittenEveryFiveMinutes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		disk := &store.Faulty{}
		st := openStore(t, dir, disk)
		defer st.Close()
		b := open(t, Options{Store: st})
		defer b.Close()
		c := connect(t, b, "c", 4, patient)
		c.publish("a", "first", 1, 1, retain)
		c.want(packets.Puback)
		before := disk.Counts().Syncs
		for i := range 514 { // an hour
			time.Sleep(7 * time.Second)
			c.publish("a", fmt.Sprint(i), 1, 1, retain)
			c.want(packets.Puback)
		}
		syncs := disk.Counts().Syncs - before
		if syncs < 11 || syncs > 14 {
			t.Errorf("%d syncs in an hour, want 12", syncs)
		}
		time.Sleep(6 * time.Minute)
		if n := disk.Counts().Syncs - before; n != syncs+1 && n != syncs {
			t.Errorf("%d more syncs", n-syncs)
		}
		c.publish("a", "same", 1, 1, retain)
		c.want(packets.Puback)
		before = disk.Counts().Syncs
		time.Sleep(time.Hour)
		c.publish("a", "same", 1, 1, retain) // what is there already
		c.want(packets.Puback)
		if n := disk.Counts().Syncs - before; n != 0 {
			t.Errorf("the same value cost %d syncs", n)
		}
	})
}

// afterCrash is the retained value that a crash at this moment would leave.
func afterCrash(t *testing.T, dir, topic string) string {
	log, err := os.ReadFile(filepath.Join(dir, "hearth.log"))
	if err != nil {
		t.Error(err)
	}
	left := t.TempDir()
	if err := os.WriteFile(filepath.Join(left, "hearth.log"), log, 0o600); err != nil {
		t.Error(err)
	}
	st, err := store.Open(left, store.Options{})
	if err != nil {
		t.Error(err)
		return ""
	}
	defer st.Close()
	b, err := Open(Options{Store: st})
	if err != nil {
		t.Error(err)
		return ""
	}
	defer b.Close()
	return valueOf(b, topic)
}

// valueOf is the retained payload of a topic, "" if there is none.
func valueOf(b *Broker, topic string) string {
	for _, v := range b.RetainedValues(topic) {
		return string(v.Payload)
	}
	return ""
}

// The hub may have on disk what came of a message before the message has gone out.
// The first is of a quiet topic, those behind it of one that may be written late.
func TestWhatCameOfAValueIsNotOnDiskBeforeIt(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir, nil)
	b := open(t, Options{Store: st, Receive: func(m Message) func() <-chan struct{} {
		return func() <-chan struct{} {
			st.Put(store.Record{Kind: store.Engine, Key: "rule", Value: []byte("heard " + string(m.Payload))}, 0, nil)
			if err := st.Sync(t.Context()); err != nil {
				t.Error(err)
			}
			if got := afterCrash(t, dir, "lwt"); got != string(m.Payload) {
				t.Errorf("the rule has heard %q, and a crash leaves %q", m.Payload, got)
			}
			return nil
		}
	}})
	c := connect(t, b, "c", 4, patient)
	for i, payload := range []string{"Online", "Offline", "Online", "", "Offline"} {
		c.publish("lwt", payload, 1, uint16(i+1), retain)
		c.want(packets.Puback)
	}
	c.publish("lwt", "Online", 0, 0, retain)
	c.alive()
	if err := b.Publish(Message{Topic: "lwt", Payload: []byte("Offline"), Retain: true}); err != nil {
		t.Fatal(err)
	}
}

func TestTwoPublishersOneTopic(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir, nil)
	b := open(t, Options{Store: st})
	var wg sync.WaitGroup
	for n := range 4 {
		c := connect(t, b, fmt.Sprint(n), 4)
		wg.Go(func() {
			for i := range 100 {
				c.publish("a", fmt.Sprint(n, "-", i), 1, 1, retain)
				c.want(packets.Puback)
			}
		})
	}
	wg.Wait()
	inMemory := valueOf(b, "a")
	b.Close()
	st.Close()
	b = open(t, Options{Store: openStore(t, dir, nil)})
	if onDisk := valueOf(b, "a"); inMemory == "" || inMemory != onDisk {
		t.Fatalf("memory has %q, the disk %q", inMemory, onDisk)
	}
}

func TestManyRetainedValuesAllArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		for i := range 3000 {
			b.Publish(Message{Topic: fmt.Sprintf("t/%04d", i), Payload: make([]byte, 100), Retain: true, QoS: 1})
		}
		c := connect(t, b, "c", 5, func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 20 })
		c.subscribe(1, 1, "t/#")
		for i := range 3000 {
			pk := c.want(packets.Publish)
			if want := fmt.Sprintf("t/%04d", i); pk.TopicName != want {
				t.Fatalf("got %s, want %s", pk.TopicName, want)
			}
			c.ack(packets.Puback, pk.PacketID)
		}
		c.alive()
	})
}

func TestRetainedValueExpires(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st := openStore(t, dir, nil)
		defer st.Close()
		b := open(t, Options{Store: st})
		defer b.Close()
		c := connect(t, b, "c", 5)
		c.publish("a", "1", 1, 1, retain, func(pk *packets.Packet) { pk.Properties.MessageExpiryInterval = 60 })
		c.want(packets.Puback)
		c.publish("b", "2", 1, 1, retain)
		c.want(packets.Puback)
		time.Sleep(40 * 24 * time.Second)
		c.nc.Close()
		time.Sleep(48 * time.Hour)
		var left []string
		for topic := range st.Each(store.Retained) {
			left = append(left, topic)
		}
		if !slices.Equal(left, []string{"b"}) || b.Stats().Retained != 1 {
			t.Fatal(left, b.Stats())
		}
	})
}

// patient is a client without keep-alive.
func patient(pk *packets.Packet) { pk.Connect.Keepalive = 0 }

func will(topic, payload string, qos byte, delay uint32) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		p := &pk.Connect
		p.WillFlag, p.WillTopic, p.WillPayload, p.WillQos, p.WillRetain = true, topic, []byte(payload), qos, true
		p.WillProperties.WillDelayInterval = delay
		if delay > 0 {
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
		}
	}
}

func TestWills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		b := open(t, Options{Receive: h.receive, MayPublish: func(topic string) bool { return topic != "secret" }})
		defer b.Close()
		connect(t, b, "cut off", 4, will("lwt/1", "offline", 1, 0)).nc.Close()
		synctest.Wait()
		h.want(t, "lwt/1 offline q1 r")

		c := connect(t, b, "polite", 5, will("lwt/2", "offline", 1, 0))
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
		c.wantEnd()
		c = connect(t, b, "wants it", 5, will("lwt/3", "offline", 1, 0))
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: 4})
		c.wantEnd()
		connect(t, b, "sly", 4, will("secret", "x", 1, 0)).nc.Close()
		synctest.Wait()
		h.want(t, "lwt/3 offline q1 r")
		if n := b.Stats().Refused; n != 1 {
			t.Errorf("refused %d", n)
		}

		// The will of a replaced connection comes before what the new one says.
		connect(t, b, "hasty", 4, will("lwt/4", "offline", 1, 0))
		again := connect(t, b, "hasty", 4, patient, will("lwt/4", "offline", 1, 0))
		again.publish("lwt/4", "online", 1, 1)
		again.want(packets.Puback)
		synctest.Wait()
		h.want(t, "lwt/4 offline q1 r", "lwt/4 online q1")

		// A delayed will waits, and not for one that comes back.
		resume := func(pk *packets.Packet) { pk.Connect.Clean = false }
		connect(t, b, "slow", 5, will("lwt/5", "offline", 0, 60), resume).nc.Close()
		time.Sleep(50 * time.Second)
		c = connect(t, b, "slow", 5, will("lwt/5", "offline", 0, 60), resume)
		time.Sleep(50 * time.Second)
		h.want(t)
		c.nc.Close()
		time.Sleep(62 * time.Second)
		h.want(t, "lwt/5 offline q0 r")
		if valueOf(b, "lwt/5") != "offline" {
			t.Error("the will was not retained")
		}

		bad := attach(t, b, 5)
		bad.send(connectPacket("bad", 5, will("a/#", "x", 0, 0)))
		if ack := bad.want(packets.Connack); ack.ReasonCode != packets.ErrTopicNameInvalid.Code {
			t.Error(ack.ReasonCode)
		}
	})
}

// The last word of a connection that breaks is said before its client is let in
// again, whose word it would undo.
func TestWillBeforeTheClientIsBack(t *testing.T) {
	for name, change := range map[string]func(*packets.Packet){"clean": func(*packets.Packet) {}, "kept": kept} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				var asked atomic.Int32
				b := open(t, Options{Log: silent, MayPublish: func(topic string) bool {
					if topic == "c/state" && asked.Add(1) == 2 { // at CONNECT, and when it is sent
						<-gate
					}
					return true
				}})
				defer b.Close()
				sub := connect(t, b, "sub", 4)
				sub.subscribe(1, 0, "c/state")
				old := connect(t, b, "c", 4, change, lwt("c/state", "offline", 0, 0), retainedWill)
				old.nc.Close()
				synctest.Wait()
				c, back := attach(t, b, 4), make(chan struct{})
				go func() {
					defer close(back)
					c.connect("c", change)
					c.publish("c/state", "online", 0, 0, retain)
				}()
				synctest.Wait()
				close(gate)
				<-back
				sub.wantMessage("c/state offline")
				sub.wantMessage("c/state online")
				late := connect(t, b, "late", 4)
				late.subscribe(1, 0, "c/state")
				late.wantMessage("c/state online r")
			})
		})
	}
}

func TestRefusedTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		b := open(t, Options{Receive: h.receive, MayPublish: func(topic string) bool { return !strings.HasSuffix(topic, "/state") }})
		defer b.Close()
		old, five := connect(t, b, "old", 4), connect(t, b, "five", 5)
		for _, topic := range []string{"x/state", "$SYS/broker", "$other"} {
			for _, c := range []*client{old, five} {
				c.publish(topic, "1", 0, 0, retain)
				c.publish(topic, "1", 1, 1, retain)
				one := c.want(packets.Puback).ReasonCode
				c.publish(topic, "1", 2, 2, retain)
				two := c.want(packets.Pubrec).ReasonCode
				want := byte(0)
				if c == five {
					want = packets.ErrNotAuthorized.Code
				} else {
					c.ack(packets.Pubrel, 2)
					c.want(packets.Pubcomp)
				}
				if one != want || two != want {
					t.Errorf("%s, version %d: %#x %#x", topic, c.version, one, two)
				}
			}
		}
		// An alias does not help.
		alias := func(pk *packets.Packet) { pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 3, true }
		five.publish("x/state", "1", 1, 1, alias)
		five.want(packets.Puback)
		five.publish("", "1", 1, 1, alias)
		if ack := five.want(packets.Puback); ack.ReasonCode != packets.ErrNotAuthorized.Code {
			t.Error("by alias:", ack.ReasonCode)
		}
		h.want(t)
		if s := b.Stats(); s.Refused != 20 || s.Retained != 0 {
			t.Errorf("%+v", s)
		}
		old.alive()
		five.alive()
	})
}

func TestHostileConnectionsHarmOnlyThemselves(t *testing.T) {
	slashes := strings.Repeat("/", 60000)
	for name, evil := range map[string]func(c *client){
		"subscribe of 10 bytes": func(c *client) { c.nc.Write([]byte{0x82, 8, 0, 1, 0, 0, 3, 'a', '/', 'b'}) },
		"slashes":               func(c *client) { c.publish(slashes, "", 1, 1) },
		"too large":             func(c *client) { c.nc.Write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}) },
		"wildcard":              func(c *client) { c.publish("a/+", "", 1, 1) },
		"unknown alias": func(c *client) {
			c.publish("", "", 0, 0, func(pk *packets.Packet) { pk.Properties.TopicAlias = 5; pk.Properties.TopicAliasFlag = true })
		},
		"alias too high": func(c *client) {
			c.publish("a", "", 0, 0, func(pk *packets.Packet) { pk.Properties.TopicAlias = 17; pk.Properties.TopicAliasFlag = true })
		},
		"connect again":     func(c *client) { c.send(connectPacket("evil", 5)) },
		"a server's packet": func(c *client) { c.nc.Write([]byte{0x20, 3, 0, 0, 0}) },
		"no packet":         func(c *client) { c.nc.Write([]byte{0x00, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t, Options{})
				defer b.Close()
				good := connect(t, b, "good", 4)
				good.subscribe(1, 0, "#")
				c := connect(t, b, "evil", 5, will("evil/lwt", "gone", 0, 0))
				go evil(c)
				c.wantEnd()
				good.wantMessage("evil/lwt gone")
				good.alive()
				synctest.Wait()
				if s := b.Stats(); s.Clients != 1 || s.Sessions != 1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestConnectMustCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		c := attach(t, b, 4)
		start := time.Now()
		c.nc.Write([]byte{0x10, 30})
		if _, err := c.r.ReadByte(); err == nil {
			t.Fatal("something came")
		}
		if d := time.Since(start); d != b.limits.Load().connectWithin {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestStalledSubscriberHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		stalled := connect(t, b, "stalled", 4, patient)
		stalled.subscribe(1, 1, "#")
		good := connect(t, b, "good", 4)
		good.subscribe(1, 1, "#")
		pub := connect(t, b, "pub", 4)
		start := time.Now()
		for range 6000 {
			pub.publish("a", strings.Repeat("x", 1000), 1, 1)
			pub.want(packets.Puback)
			good.ack(packets.Puback, good.want(packets.Publish).PacketID)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("others waited %v", d)
		}
		if n := b.Stats().Dropped; n != 6000-int64(b.limits.Load().queueBytes/1001) {
			t.Errorf("dropped %d", n)
		}
		time.Sleep(b.limits.Load().stalled + time.Second)
		if n := b.Stats().Clients; n != 2 {
			t.Errorf("%d clients, want the stalled one gone", n)
		}
	})
}

// Packet ids of the two directions are independent.
func TestPacketIDsDoNotCollide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		c := connect(t, b, "c", 5)
		c.subscribe(1, 2, "in")
		b.Publish(Message{Topic: "in", Payload: []byte("x"), QoS: 1})
		id := c.wantMessage("in x q1").PacketID
		if codes := c.subscribe(id, 0, "other"); codes[0] != 0 {
			t.Errorf("SUBSCRIBE with the id of a message: %#x", codes[0])
		}
		c.publish("out", "1", 2, id)
		c.want(packets.Pubrec)
		c.ack(packets.Puback, id) // of the server's message, not of ours
		c.publish("out", "1", 2, id)
		c.want(packets.Pubrec)
		c.ack(packets.Pubrel, id)
		c.want(packets.Pubcomp)
		if n := b.Stats().Received; n != 2 {
			t.Errorf("%d messages, want 2", n)
		}
	})
}

func TestKeptSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		b := open(t, Options{Receive: h.receive})
		defer b.Close()
		keep := func(pk *packets.Packet) { pk.Connect.Clean = false }
		c := connect(t, b, "c", 4, keep)
		c.subscribe(1, 1, "in")
		c.publish("out", "1", 2, 9)
		c.want(packets.Pubrec)
		c.nc.Close()
		synctest.Wait()
		b.Publish(Message{Topic: "in", Payload: []byte("missed"), QoS: 1, Origin: "hub"})
		c = attach(t, b, 4)
		c.send(connectPacket("c", 4, keep))
		if !c.want(packets.Connack).SessionPresent {
			t.Fatal("no session")
		}
		c.ack(packets.Puback, c.wantMessage("in missed q1").PacketID)
		c.publish("out", "1", 2, 9) // its PUBREC was lost
		c.want(packets.Pubrec)
		c.ack(packets.Pubrel, 9)
		c.want(packets.Pubcomp)
		h.want(t, "out 1 q2", "in missed q1 from hub")

		c.nc.Close()
		time.Sleep(b.limits.Load().sessionExpiry + 2*time.Second)
		if s := b.Stats(); s.Sessions != 0 || b.Heard("in") {
			t.Errorf("after its lifetime: %+v", s)
		}
	})
}

// A client that comes back at once with its id always hears what it subscribes to.
func TestHastyReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, Options{})
		defer b.Close()
		for i := range 300 {
			c := connect(t, b, "same", 4)
			c.subscribe(1, 0, "a")
			b.Publish(Message{Topic: "a", Payload: []byte(fmt.Sprint(i))})
			c.wantMessage(fmt.Sprint("a ", i))
		}
	})
}
