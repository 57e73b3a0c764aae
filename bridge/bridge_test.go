package bridge_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"hearth/bridge"
	"hearth/broker"
	"hearth/config"
	"hearth/store"
)

// A house has a broker, bridges and a log. Its address is its name: others dial it
// by that over a pipe, unless the line is cut.
type house struct {
	t       *testing.T
	name    string
	broker  *broker.Broker
	bridges *bridge.Bridges
	net     *network
	dir     string // of the store; "": it is all in memory
	store   *store.Store
	text    string
	log     bytes.Buffer
	logging sync.Mutex

	mu    sync.Mutex
	kept  map[string][]byte
	state map[string]string // what Available was told
}

// A network is houses that can reach each other.
type network struct {
	t      *testing.T
	mu     sync.Mutex
	houses map[string]func(net.Conn) // by address
	cut    map[string]bool
	conns  map[string][]net.Conn // by address
	dials  map[string]int
	frays  int64 // bytes after which a connection that is dialled now breaks; 0: it holds
}

// frayed is a connection that breaks after so many bytes.
type frayed struct {
	net.Conn
	left atomic.Int64
}

func (f *frayed) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if f.left.Add(-int64(n)) < 0 {
		f.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (f *frayed) Write(b []byte) (int, error) {
	if f.left.Add(-int64(len(b))) < 0 {
		f.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	return f.Conn.Write(b)
}

// fray lets connections that are dialled from now on break after so many bytes.
func (n *network) fray(bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frays = bytes
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, houses: map[string]func(net.Conn){}, cut: map[string]bool{}, conns: map[string][]net.Conn{}, dials: map[string]int{}}
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials[address]++
	serve := n.houses[address]
	switch {
	case n.cut[address]:
		return nil, errors.New("connection refused")
	case serve == nil:
		return nil, &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}
	}
	here, there := net.Pipe()
	n.conns[address] = append(n.conns[address], here)
	go serve(there)
	if n.frays > 0 {
		f := &frayed{Conn: here}
		f.left.Store(n.frays)
		return f, nil
	}
	return here, nil
}

func (n *network) dialled(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[address]
}

// down cuts all lines to a house, up lets them be dialled again.
func (n *network) down(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[address] = true
	for _, c := range n.conns[address] {
		c.Close()
	}
	n.conns[address] = nil
}

func (n *network) up(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, address)
}

// house makes one; what is in text are its bridges.
func (n *network) house(name, text string) *house {
	n.t.Helper()
	return n.keptHouse(name, "", text)
}

// keptHouse is a house that keeps what it has in dir.
func (n *network) keptHouse(name, dir, text string) *house {
	n.t.Helper()
	h := &house{t: n.t, name: name, net: n, dir: dir, text: text, kept: map[string][]byte{}, state: map[string]string{}}
	h.open()
	n.t.Cleanup(h.close)
	return h
}

// restart closes a house and opens it again.
func (h *house) restart() {
	h.t.Helper()
	h.close()
	h.open()
}

func (h *house) open() {
	n, name := h.net, h.name
	h.t.Helper()
	if h.dir != "" {
		st, err := store.Open(h.dir, store.Options{})
		if err != nil {
			h.t.Fatal(err)
		}
		h.store = st
	}
	b, err := broker.Open(broker.Options{Store: h.store, Log: slog.New(slog.NewTextHandler(n.t.Output(), nil)).With("house", name)})
	if err != nil {
		n.t.Fatal(err)
	}
	h.broker = b
	if err := b.Publish(broker.Message{Topic: bridge.HouseTopic, Payload: []byte(name), Retain: true}); err != nil {
		n.t.Fatal(err)
	}
	h.bridges = bridge.New(bridge.Options{
		Local: func() net.Conn {
			here, there := net.Pipe()
			go b.Attach(there)
			return here
		},
		House: name,
		Will:  "hearth/status",
		Dir:   n.t.TempDir(),
		Available: func(bridge string, online, gone bool) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.state[bridge] = map[bool]string{true: "online", false: "offline"}[online]
			if gone {
				h.state[bridge] = "gone"
			}
		},
		Keep: func(bridge string, value []byte) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.kept[bridge] = value; value == nil {
				delete(h.kept, bridge)
			}
		},
		Kept: func() map[string][]byte {
			h.mu.Lock()
			defer h.mu.Unlock()
			return maps.Clone(h.kept)
		},
		Dial: n.dial,
		Log:  slog.New(slog.NewTextHandler(h, nil)),
	})
	n.mu.Lock()
	n.houses[name+":1883"] = b.Attach
	n.mu.Unlock()
	h.reload(h.text)
}

func (h *house) close() {
	h.bridges.Close()
	h.broker.Close()
	if h.store != nil {
		if err := h.store.Close(); err != nil {
			h.t.Error(err)
		}
		h.store = nil
	}
}

// Write takes lines of the log.
func (h *house) Write(p []byte) (int, error) {
	h.logging.Lock()
	defer h.logging.Unlock()
	fmt.Fprintf(h.t.Output(), "%s: %s", h.name, p)
	return h.log.Write(p)
}

// logged is how many lines of the log contain text.
func (h *house) logged(text string) int {
	h.logging.Lock()
	defer h.logging.Unlock()
	n := 0
	for line := range strings.Lines(h.log.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (h *house) reload(text string) {
	h.t.Helper()
	h.bridges.Prepare(parse(h.t, text)).Commit()
}

func (h *house) available(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state[name]
}

func parse(t *testing.T, text string) bridge.Config {
	t.Helper()
	var cfg bridge.Config
	if err := config.Parse("config.toml", []byte(text), &cfg).Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (h *house) status(name string) bridge.Status {
	h.t.Helper()
	for _, s := range h.bridges.Status() {
		if s.Name == name {
			return s
		}
	}
	h.t.Fatalf("%s has no bridge %s", h.name, name)
	return bridge.Status{}
}

func (h *house) linked(name string) {
	h.t.Helper()
	eventually(h.t, func() bool { return h.status(name).Connected }, "%s: bridge %s is linked", h.name, name)
}

// eventually waits until f holds, for a minute: of virtual time where the test has
// that, and else of what is left of the test's.
func eventually(t *testing.T, f func() bool, format string, args ...any) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); {
		if time.Now().After(end) {
			t.Fatalf("never: "+format, args...)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A listener is a client that subscribes with QoS 1.
type listener struct {
	t      *testing.T
	client *paho.Client
	mu     sync.Mutex
	heard  []*paho.Publish
}

// listen gives a client of a house that hears filters.
func (h *house) listen(id string, filters ...string) *listener {
	h.t.Helper()
	here, there := net.Pipe()
	go h.broker.Attach(there)
	l := &listener{t: h.t}
	l.client = paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(here), OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.heard = append(l.heard, p.Packet)
			return true, nil
		},
	}})
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	if _, err := l.client.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.client.Disconnect(&paho.Disconnect{}) })
	for _, f := range filters {
		if _, err := l.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f, QoS: 2, RetainAsPublished: true}}}); err != nil {
			h.t.Fatal(err)
		}
	}
	return l
}

func (l *listener) publish(p *paho.Publish) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	if _, err := l.client.Publish(ctx, p); err != nil {
		l.t.Fatal(err)
	}
}

func (l *listener) say(topic, payload string) {
	l.t.Helper()
	l.publish(&paho.Publish{Topic: topic, Payload: []byte(payload), QoS: 1})
}

// all is what was heard, as "topic payload".
func (l *listener) all() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.heard {
		all = append(all, p.Topic+" "+string(p.Payload))
	}
	return all
}

// hears waits until just that was heard.
func (l *listener) hears(want ...string) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); len(l.all()) < len(want) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if got := l.all(); !slices.Equal(got, want) {
		l.t.Errorf("heard %d: %.900q, want %d: %.900q", len(got), got, len(want), want)
	}
}

func (l *listener) packet(i int) *paho.Publish {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[i]
}

// A button on one Pi switches a relay on another, and the relay's state comes back.
func TestAButtonOnOnePiSwitchesARelayOnAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		garage := n.house("garage", "")
		home := n.house("home", `
			[bridge.garage]
			address = "garage:1883"
			topics = [
			  { filter = "hall/button/#", direction = "out" },
			  { filter = "relay/+/state", direction = "in", local_prefix = "garage/" },
			]`)
		home.linked("garage")

		relay := garage.listen("relay", "hall/button/press")
		eyes := home.listen("eyes", "garage/#")
		button := home.listen("button")
		button.say("hall/button/press", "single")
		relay.hears("hall/button/press single")
		relay.say("relay/1/state", "on")
		eyes.hears("garage/relay/1/state on")
		button.say("hall/lamp", "on") // is nobody's business there
		synctest.Wait()

		s := home.status("garage")
		if s.In != 1 || s.Out != 1 || s.Dropped+s.Refused+s.Circled != 0 || s.Waiting != 0 || s.Why != "" || s.Address != "garage:1883" {
			t.Errorf("status %+v", s)
		}
		if got := home.available("garage"); got != "online" {
			t.Errorf("the bridge is %q", got)
		}
		if n := home.logged(""); n != 1 || home.logged("linked to the other broker") != 1 {
			t.Errorf("%d lines of log, want one", n)
		}

		// The other Pi is switched off.
		n.down("garage:1883")
		eventually(t, func() bool { return home.available("garage") == "offline" }, "the bridge says that it is offline")
		if s := home.status("garage"); s.Connected || s.Why == "" {
			t.Errorf("status %+v", s)
		}
	})
}

// The link is down for a day while both sides have 500 things to say, and both
// restart meanwhile. When it is back, and breaks again and again, all arrive on the
// other side, in order; and both restart once more while half of it has passed.
func TestALinkThatIsDownForADay(t *testing.T) {
	const most = 500
	hereDir, thereDir := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		there := n.keptHouse("there", thereDir, "")
		here := n.keptHouse("here", hereDir, `
			[bridge.b]
			address = "there:1883"
			topics = [{ filter = "out/#", direction = "out" }, { filter = "in/#", direction = "in" }, { filter = "once/#", direction = "out", qos = 2 }]`)
		here.linked("b")
		n.down("there:1883")
		say := func(from, to int) {
			t.Helper()
			h, th := here.listen("h"), there.listen("t")
			for i := from; i < to; i++ {
				h.say("out/x", fmt.Sprint(i))
				h.publish(&paho.Publish{Topic: "once/x", Payload: []byte(fmt.Sprint(i)), QoS: 2})
				th.say("in/x", fmt.Sprint(i))
			}
		}
		say(0, most/2)
		here.restart()
		there.restart()
		time.Sleep(24 * time.Hour)
		say(most/2, most)
		if s := here.status("b"); s.Connected || s.In+s.Out != 0 {
			t.Errorf("status %+v", s)
		}

		var heard [2][]string
		n.fray(5000)
		for round := range 3 {
			lh, lt := here.listen("lh", "in/#"), there.listen("lt", "out/#", "once/#")
			n.up("there:1883")
			switch round {
			case 0, 1: // it breaks in the middle, a few times
				for before := n.dialled("there:1883"); n.dialled("there:1883") < before+3; {
					time.Sleep(time.Second)
				}
				n.down("there:1883")
			case 2:
				n.fray(0)
				time.Sleep(5 * time.Minute)
			}
			synctest.Wait()
			heard[0], heard[1] = append(heard[0], lh.all()...), append(heard[1], lt.all()...)
			if passed := len(heard[0]) + len(heard[1]); round < 2 && (passed < 20*(round+1) || passed > 3*most-20) {
				t.Errorf("after round %d %d messages have passed: no break in the middle", round, passed)
			}
			switch round {
			case 0:
				there.restart()
			case 1:
				here.restart()
				heard[1] = append(heard[1], "restart")
			}
		}
		for _, c := range []struct {
			topic string
			heard []string
			again bool // a message may come twice
		}{{"in/x", heard[0], true}, {"out/x", heard[1], true}, {"once/x", heard[1], false}} {
			next, all, restarted := 0, 0, false
			for _, s := range c.heard {
				text, ok := strings.CutPrefix(s, c.topic+" ")
				if !ok {
					// What it had half done before a restart may come once more.
					restarted = restarted || s == "restart"
					continue
				}
				all++
				i, _ := strconv.Atoi(text)
				if i > next || i < next && !c.again && !restarted {
					t.Errorf("%s: %d came, want %d", c.topic, i, next)
				}
				if i < next { // it was sent again, and what follows it is too
					restarted = false
				}
				next = i + 1
			}
			if next != most {
				t.Errorf("%s: the last was %d, want %d", c.topic, next-1, most-1)
			}
			t.Logf("%s: %d messages came of %d", c.topic, all, most)
		}
		if s := here.status("b"); s.Dropped+s.Refused+s.Circled != 0 || s.Waiting != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// Messages keep all that MQTT 5 says with them.
func TestPropertiesPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		there := n.house("there", "")
		here := n.house("here", `
			[bridge.b]
			address = "there:1883"
			topics = [
			  { filter = "ask/#", direction = "out", remote_prefix = "here/" },
			  { filter = "answer/#", direction = "in", remote_prefix = "here/" },
			]`)
		here.linked("b")
		server := there.listen("server", "here/ask/#")
		format, expiry := byte(1), uint32(300)
		client := here.listen("client")
		client.publish(&paho.Publish{Topic: "ask/time", Payload: []byte("?"), QoS: 1, Properties: &paho.PublishProperties{
			PayloadFormat: &format, MessageExpiry: &expiry, ContentType: "text/plain", ResponseTopic: "answer/1", CorrelationData: []byte{0, 1},
			User: paho.UserProperties{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}},
		}})
		server.hears("here/ask/time ?")
		p := server.packet(0).Properties
		if p.ContentType != "text/plain" || p.ResponseTopic != "here/answer/1" || !bytes.Equal(p.CorrelationData, []byte{0, 1}) ||
			p.PayloadFormat == nil || *p.PayloadFormat != 1 || p.MessageExpiry == nil || *p.MessageExpiry > 300 || *p.MessageExpiry < 290 {
			t.Errorf("it came as %+v", p)
		}
		if want := (paho.UserProperties{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}, {Key: "hearth-via", Value: "here"}}); !slices.Equal(p.User, want) {
			t.Errorf("user properties %v, want %v", p.User, want)
		}
	})
}

// Two houses that are bridged both ways, and three in a ring: each message is
// delivered once everywhere, and stops.
func TestNothingGoesRoundInCircles(t *testing.T) {
	both := func(name, to string) string {
		return fmt.Sprintf("[bridge.%s]\naddress = \"%s:1883\"\ntopics = [{ filter = \"x/#\", direction = \"both\" }]\n", name, to)
	}
	out := func(name, to string) string { return strings.Replace(both(name, to), "both", "out", 1) }
	for _, c := range []struct {
		name   string
		houses map[string]string
	}{
		{"one bridge both ways", map[string]string{"a": both("b", "b"), "b": ""}},
		{"a bridge on either side", map[string]string{"a": out("b", "b"), "b": out("a", "a")}},
		{"a ring", map[string]string{"a": out("b", "b"), "b": out("c", "c"), "c": out("a", "a")}},
		{"a row both ways", map[string]string{"a": both("b", "b"), "b": both("c", "c"), "c": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				houses := map[string]*house{}
				for _, name := range slices.Sorted(maps.Keys(c.houses)) {
					houses[name] = n.house(name, c.houses[name])
				}
				listeners := map[string]*listener{}
				for name, h := range houses {
					for _, s := range h.bridges.Status() {
						h.linked(s.Name)
					}
					listeners[name] = h.listen("listener", "x/#")
				}
				var want []string
				for _, name := range slices.Sorted(maps.Keys(houses)) {
					listeners[name].say("x/y", "from "+name)
					time.Sleep(time.Minute)
					want = append(want, "x/y from "+name)
				}
				for name := range houses {
					if got := listeners[name].all(); !slices.Equal(got, want) {
						t.Errorf("%s heard %q, want %q", name, got, want)
					}
				}
			})
		})
	}
}

// Eight houses are as far as a message goes, even if no house knows its own name.
func TestAMessagePassesEightHousesAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		there := n.house("there", "")
		here := n.house("here", "[bridge.b]\naddress = \"there:1883\"\ntopics = [{ filter = \"#\", direction = \"out\" }]")
		here.linked("b")
		l := there.listen("l", "far/#")
		c := here.listen("c")
		for _, hops := range []int{7, 8, 1} {
			p := &paho.Publish{Topic: "far/" + fmt.Sprint(hops), QoS: 1, Properties: &paho.PublishProperties{}}
			for i := range hops {
				p.Properties.User.Add("hearth-via", fmt.Sprint("h", i))
			}
			c.publish(p)
		}
		l.hears("far/7 ", "far/1 ")
		if s := here.status("b"); s.Circled != 1 {
			t.Errorf("circled %d, want 1", s.Circled)
		}
	})
}

// What both sides had retained is exchanged when the bridge is first linked: where
// both have a value they agree on one, and nothing comes back.
func TestRetainedValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		there := n.house("there", "")
		retain := func(h *house, topic, value string) {
			if err := h.broker.Publish(broker.Message{Topic: topic, Payload: []byte(value), QoS: 1, Retain: true}); err != nil {
				t.Fatal(err)
			}
		}
		retain(there, "x/both", "theirs")
		retain(there, "x/theirs", "1")
		here := n.house("here", "")
		retain(here, "x/both", "ours")
		retain(here, "x/ours", "2")
		retain(here, "plain/found", "no")
		live := there.listen("live", "x/#", "plain/#")
		here.reload(`
			[bridge.b]
			address = "there:1883"
			topics = [{ filter = "x/#", direction = "both" }, { filter = "plain/#", direction = "out", retain = false }]`)
		here.linked("b")
		time.Sleep(time.Minute)
		retain(here, "plain/live", "yes")
		retain(here, "x/live", "3")
		retain(here, "x/ours", "")
		time.Sleep(time.Minute)

		values := func(h *house) (all []string) {
			for m := range h.broker.Retained() {
				if m.Topic != bridge.HouseTopic {
					all = append(all, m.Topic+" "+string(m.Payload))
				}
			}
			slices.Sort(all)
			return all
		}
		all := values(there)
		if !slices.Equal(all, []string{"x/both theirs", "x/live 3", "x/theirs 1"}) && !slices.Equal(all, []string{"x/both ours", "x/live 3", "x/theirs 1"}) {
			t.Errorf("there are %q", all)
		}
		if got, want := values(here), append([]string{"plain/found no", "plain/live yes"}, all...); !slices.Equal(got, want) {
			t.Errorf("here are %q, want %q", got, want)
		}
		got := slices.DeleteFunc(live.all(), func(s string) bool { return s == "x/both ours" }) // if that is what they agreed on
		slices.Sort(got)
		if want := []string{"plain/live yes", "x/both theirs", "x/live 3", "x/ours ", "x/ours 2", "x/theirs 1"}; !slices.Equal(got, want) {
			t.Errorf("there was heard %q, want %q", got, want)
		}
	})
}

// What can't be reached is tried less and less often, and one line tells of it.
func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(net.Conn) // nil: the host is unknown
		log   string
	}{
		{"an unknown host", nil, "no host has this name: look at address of bridge.b"},
		{"a remote that closes at once", func(c net.Conn) { c.Close() }, "it closed the connection before it answered"},
		{"a remote that closes once it has accepted", func(c net.Conn) {
			if _, err := packets.ReadPacket(c); err == nil {
				c.Write([]byte{0x20, 3, 0, 0, 0})
			}
			c.Close()
		}, "it closed the connection"},
		{"a wrong password", func(c net.Conn) {
			if _, err := packets.ReadPacket(c); err == nil {
				c.Write([]byte{0x20, 3, 0, 0x86, 0})
			}
			c.Close()
		}, "user or password is wrong; look at user and password of bridge.b"},
		{"no MQTT at all", func(c net.Conn) {
			packets.ReadPacket(c)
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"))
			c.Close()
		}, "it answered with what is not MQTT"},
		{"a remote that says nothing", func(c net.Conn) { packets.ReadPacket(c); packets.ReadPacket(c); c.Close() }, "i/o timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				if c.serve != nil {
					n.houses["there:1883"] = c.serve
				}
				here := n.house("here", "[bridge.b]\naddress = \"there:1883\"\nuser = \"u\"\npassword = \"p\"\ntopics = [{ filter = \"x\", direction = \"out\" }]")
				time.Sleep(time.Second)
				if here.logged(c.log) != 1 && c.name != "a remote that says nothing" {
					t.Errorf("a second later the log has not %q once", c.log)
				}
				if d := n.dialled("there:1883"); d < 1 || d > 4 {
					t.Errorf("%d attempts in the first second", d)
				}
				time.Sleep(time.Hour)
				if d := n.dialled("there:1883"); d < 50 || d > 150 {
					t.Errorf("%d attempts in an hour", d)
				}
				if here.logged(c.log) != 1 || here.logged("") != 1 {
					t.Errorf("after an hour the log has %d lines, %d of them with %q", here.logged(""), here.logged(c.log), c.log)
				}
				if s := here.status("b"); s.Connected || !strings.Contains(s.Why, c.log) {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

// A remote is one that the test plays itself, with another MQTT library.
type remote struct {
	t       *testing.T
	connack packets.Properties
	present bool

	// With mu held:
	answer  func(c net.Conn, p *packets.Publish) // nil: acknowledges
	release func(id uint16)                      // of QoS 2
	denies  map[string]bool                      // filters that nobody may subscribe to
	after   func(c net.Conn, p packets.Packet)   // is called when SUBSCRIBE was answered, and before PINGREQ is
	parting []byte                               // reasons of DISCONNECT
	grants  []string                             // those that were subscribed to

	mu       sync.Mutex
	got      []string
	connects int
}

func (r *remote) serve(c net.Conn) {
	defer c.Close()
	for {
		pk, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		switch p := pk.Content.(type) {
		case *packets.Connect:
			r.mu.Lock()
			r.connects++
			r.mu.Unlock()
			reply(c, &packets.Connack{SessionPresent: r.present, Properties: &r.connack})
		case *packets.Subscribe:
			reasons := make([]byte, len(p.Subscriptions))
			r.mu.Lock()
			for i, s := range p.Subscriptions {
				if r.denies[s.Topic] {
					reasons[i] = 0x87
				} else {
					r.grants = append(r.grants, s.Topic)
				}
			}
			r.mu.Unlock()
			reply(c, &packets.Suback{PacketID: p.PacketID, Reasons: reasons, Properties: &packets.Properties{}})
			if r.after != nil {
				r.after(c, p)
			}
		case *packets.Disconnect:
			r.mu.Lock()
			r.parting = append(r.parting, p.ReasonCode)
			r.mu.Unlock()
		case *packets.Pingreq:
			if r.after != nil {
				r.after(c, p)
			}
			reply(c, packets.NewControlPacket(packets.PINGRESP))
		case *packets.Publish:
			r.mu.Lock()
			r.got = append(r.got, p.Topic+" "+string(p.Payload))
			if r.answer != nil {
				r.answer(c, p)
			} else {
				puback(c, p, 0)
			}
			r.mu.Unlock()
		case *packets.Pubrel:
			r.mu.Lock()
			if r.release != nil {
				r.release(p.PacketID)
			}
			r.mu.Unlock()
			reply(c, &packets.Pubcomp{PacketID: p.PacketID, Properties: &packets.Properties{}})
		}
	}
}

// reply sends a packet with one write.
func reply(c net.Conn, p io.WriterTo) {
	var b bytes.Buffer
	p.WriteTo(&b)
	c.Write(b.Bytes())
}

func puback(c net.Conn, p *packets.Publish, code byte) {
	reply(c, &packets.Puback{PacketID: p.PacketID, ReasonCode: code, Properties: &packets.Properties{}})
}

func (r *remote) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// useAsBroker makes a remote the broker of a house.
func (h *house) useAsBroker(address string) {
	c := bridge.Connect{Server: bridge.Server{Address: address}}
	h.bridges.Prepare(bridge.Config{Bridge: config.Table[bridge.Remote]{c.Bridge()}}).Commit()
	h.linked(bridge.ConnectName)
}

// tells publishes to a client that subscribed with that identifier.
func tells(c net.Conn, topic string, retain bool, identifier int, user ...packets.User) {
	reply(c, &packets.Publish{Topic: topic, Payload: []byte("x"), Retain: retain, Properties: &packets.Properties{SubscriptionIdentifier: &identifier, User: user}})
}

// found are the topics of the messages that were heard, and which are said to be found
// there.
func (l *listener) found() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.heard {
		found := slices.ContainsFunc(p.Properties.User, func(u paho.UserProperty) bool { return u.Key == bridge.Found })
		all = append(all, p.Topic+map[bool]string{true: ", found"}[found])
	}
	return all
}

// What is found at the house's broker is told from what is published there, whether
// that broker tells by the identifier of the subscription or looks it up too late; also
// between the two subscriptions, and whatever a message says of itself.
func TestWhatIsFoundAndWhatIsPublished(t *testing.T) {
	for name, late := range map[string]bool{"the identifier is that of the subscription": false, "the identifier is that of a later subscription": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				r := &remote{t: t}
				var conn net.Conn
				r.after = func(c net.Conn, pk packets.Packet) {
					p, ok := pk.(*packets.Subscribe)
					if !ok || p.Properties.SubscriptionIdentifier == nil {
						return
					}
					switch id := *p.Properties.SubscriptionIdentifier; id {
					case 1:
						if !late {
							tells(c, "there/before", true, id)
							tells(c, "there/before", p.Subscriptions[0].RetainAsPublished, id) // is published just now
						}
					case 2:
						conn = c
						if late {
							tells(c, "there/before", true, id)
						}
					}
				}
				n.houses["there:1883"] = r.serve
				here := n.house("here", "")
				l := here.listen("l", "live/#", "there/#")
				here.useAsBroker("there:1883")
				time.Sleep(3 * time.Second)
				if late {
					tells(conn, "there/late", true, 2)
				}
				time.Sleep(time.Minute)
				tells(conn, "live/retained", true, 2)
				tells(conn, "live/posing", false, 2, packets.User{Key: bridge.Found})
				time.Sleep(time.Second)
				want := []string{"there/before, found", "there/before", "live/retained", "live/posing"}
				if late {
					want[1] = "there/late, found"
				}
				if got := l.found(); !slices.Equal(got, want) {
					t.Errorf("heard %q, want %q", got, want)
				}
			})
		})
	}
}

// A broker that has much retained is slow to tell all of it. One message that is larger
// than the house reads is left out, and does not end the connection.
func TestABrokerThatHasMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		r := &remote{t: t}
		r.after = func(c net.Conn, pk packets.Packet) {
			if _, ok := pk.(*packets.Pingreq); !ok {
				return
			}
			id := 1
			reply(c, &packets.Publish{Topic: "a/film", Payload: make([]byte, 3<<20), Retain: true, Properties: &packets.Properties{SubscriptionIdentifier: &id}})
			for i := range 10 {
				time.Sleep(5 * time.Second)
				tells(c, fmt.Sprintf("a/%d", i), true, 1)
			}
			r.after = nil
		}
		n.houses["there:1883"] = r.serve
		here := n.house("here", "")
		l := here.listen("l", "a/#")
		here.useAsBroker("there:1883")
		time.Sleep(time.Second)
		if got := len(l.all()); got != 10 || r.connects != 1 {
			t.Errorf("%d messages on %d connections, want 10 on 1", got, r.connects)
		}
		if here.logged("the message is too large") != 1 {
			t.Error("nothing is said of the large one")
		}
	})
}

// What this house has no room to retain it hears once all the same.
func TestABrokerThatHasMoreThanTheHouseRetains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		there, here := n.house("there", ""), n.house("here", "")
		change, err := here.broker.Prepare(broker.Config{Closed: true, Limits: broker.Limits{Retained: 3}})
		if err != nil {
			t.Fatal(err)
		}
		change.Commit()
		l := here.listen("l", "a/#")
		here.useAsBroker("there:1883")
		c, want := there.listen("c"), []string(nil)
		for i := range 10 {
			c.publish(&paho.Publish{Topic: fmt.Sprintf("a/%d", i), Payload: []byte("x"), QoS: 1, Retain: true})
			want = append(want, fmt.Sprintf("a/%d x", i))
		}
		time.Sleep(time.Hour)
		l.hears(want...)
		if n.dialled("there:1883") != 1 {
			t.Errorf("%d connections", n.dialled("there:1883"))
		}
	})
}

// A house that leaves its broker without having said so, or that is stopped before
// that has it, is said to be gone by its will.
func TestTheWillOfAHouseThatIsStopped(t *testing.T) {
	for name, c := range map[string]struct {
		stop  func(h *house)
		takes bool   // the remote acknowledges
		want  []byte // reasons of DISCONNECT; a plain goodbye has none
	}{
		"stopped":                      {func(h *house) { h.bridges.Close() }, true, nil},
		"stopped while messages wait":  {func(h *house) { h.bridges.Close() }, false, []byte{4}},
		"another broker":               {func(h *house) { h.useAsBroker("elsewhere:1883") }, true, []byte{4}},
		"none":                         {func(h *house) { h.reload("") }, true, []byte{4}},
		"a bridge, whose will is none": {func(h *house) { h.reload(outX); h.linked("b"); h.bridges.Close() }, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				r, other := &remote{t: t}, &remote{t: t}
				if !c.takes {
					r.answer = func(net.Conn, *packets.Publish) {}
				}
				n.houses["there:1883"], n.houses["elsewhere:1883"] = r.serve, other.serve
				here := n.house("here", "")
				if strings.HasPrefix(name, "a bridge") {
					c.stop(here)
				} else {
					here.useAsBroker("there:1883")
					here.listen("c").say("x/1", "last")
					c.stop(here)
				}
				time.Sleep(time.Second)
				r.mu.Lock()
				defer r.mu.Unlock()
				if !slices.Equal(r.parting, c.want) {
					t.Errorf("it said goodbye with %v, want %v", r.parting, c.want)
				}
			})
		})
	}
}

const outX = "[bridge.b]\naddress = \"there:1883\"\ntopics = [{ filter = \"x/#\", direction = \"out\", qos = 2 }]"

// What the remote refuses for good blocks nothing behind it.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		size := uint32(300)
		r := &remote{t: t, connack: packets.Properties{MaximumPacketSize: &size}}
		r.answer = func(c net.Conn, p *packets.Publish) {
			code := byte(0)
			if strings.HasPrefix(p.Topic, "x/secret") {
				code = 0x87
			}
			puback(c, p, code)
		}
		n.houses["there:1883"] = r.serve
		here := n.house("here", outX)
		here.linked("b")
		c := here.listen("c")
		for i := range 3 {
			c.say("x/secret/1", fmt.Sprint(i))
			c.say("x/large", strings.Repeat("x", 300))
			c.say("x/open", fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		want := []string{"x/secret/1 0", "x/open 0", "x/secret/1 1", "x/open 1", "x/secret/1 2", "x/open 2"}
		if got := r.all(); !slices.Equal(got, want) {
			t.Errorf("there came %q, want %q", got, want)
		}
		if s := here.status("b"); s.Refused != 6 || s.Out != 3 || !s.Connected || s.Waiting != 0 {
			t.Errorf("status %+v", s)
		}
		if here.logged("not authorized") != 1 || here.logged("the message is too large") != 1 || r.connects != 1 {
			t.Error("each refusal is to be logged once, on one connection")
		}
	})
}

// The bridge's user gets a right later than the bridge asks for it.
func TestASubscriptionThatIsRefusedIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		r := &remote{t: t, denies: map[string]bool{"gate/#": true}}
		n.houses["there:1883"] = r.serve
		here := n.house("here", "[bridge.b]\naddress = \"there:1883\"\ntopics = [{ filter = \"gate/#\", direction = \"in\" }, { filter = \"bell\", direction = \"in\" }]")
		here.linked("b")
		time.Sleep(10 * time.Minute)
		granted := func() (all []string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return slices.DeleteFunc(slices.Clone(r.grants), func(f string) bool { return f == bridge.HouseTopic })
		}
		if got := granted(); !slices.Equal(got, []string{"bell"}) {
			t.Errorf("granted %q", got)
		}
		if here.logged("does not accept the subscription") != 1 {
			t.Error("it is to be logged once")
		}
		r.mu.Lock()
		r.denies = nil
		r.mu.Unlock()
		time.Sleep(10 * time.Minute)
		if got := granted(); !slices.Equal(got, []string{"bell", "gate/#"}) {
			t.Errorf("granted %q", got)
		}
		if r.connects != 1 {
			t.Errorf("%d connections", r.connects)
		}
	})
}

// A remote that ends the connection over a message gets the others, and not that
// one for ever. A disk that is full for a while costs nothing.
func TestARemoteThatEndsTheConnectionOverAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		r := &remote{t: t, present: true}
		full := true
		var taken []string
		r.answer = func(c net.Conn, p *packets.Publish) {
			switch {
			case string(p.Payload) == "3":
				reply(c, &packets.Disconnect{ReasonCode: 0x99, Properties: &packets.Properties{}})
				c.Close()
			case string(p.Payload) == "5" && full:
				full = false
				puback(c, p, 0x97)
			default:
				taken = append(taken, string(p.Payload))
				puback(c, p, 0)
			}
		}
		n.houses["there:1883"] = r.serve
		n.down("there:1883")
		here := n.house("here", outX)
		time.Sleep(time.Second)
		c := here.listen("c")
		for i := range 8 {
			c.say("x/1", fmt.Sprint(i))
		}
		n.up("there:1883")
		time.Sleep(5 * time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		slices.Sort(taken) // what was cut off comes again
		if got, want := slices.Compact(taken), []string{"0", "1", "2", "4", "5", "6", "7"}; !slices.Equal(got, want) {
			t.Errorf("it took %q, want %q", got, want)
		}
		if s := here.status("b"); s.Refused != 1 || !s.Connected || s.Waiting != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// No more are on the way than the remote wants.
func TestReceiveMaximum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		most := uint16(3)
		r := &remote{t: t, connack: packets.Properties{ReceiveMaximum: &most}}
		open, seen := 0, 0
		var mu sync.Mutex
		r.answer = func(c net.Conn, p *packets.Publish) {
			mu.Lock()
			defer mu.Unlock()
			open++
			seen = max(seen, open)
			time.AfterFunc(time.Second, func() {
				mu.Lock()
				defer mu.Unlock()
				open--
				puback(c, p, 0)
			})
		}
		n.houses["there:1883"] = r.serve
		here := n.house("here", outX)
		here.linked("b")
		c := here.listen("c")
		var want []string
		for i := range 20 {
			c.say("x/1", fmt.Sprint(i))
			want = append(want, fmt.Sprint("x/1 ", i))
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if got := r.all(); !slices.Equal(got, want) || seen != 3 {
			t.Errorf("there came %q, %d at once; want %q, 3 at once", got, seen, want)
		}
	})
}

// QoS 2 passes once, whenever the link breaks: each message is cut off before its
// PUBREC, or after it.
func TestQoS2PassesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		r := &remote{t: t, present: true}
		held := map[uint16]bool{} // as a broker's session has it
		var taken []string
		seen := map[string]int{}
		r.answer = func(c net.Conn, p *packets.Publish) {
			if !held[p.PacketID] {
				held[p.PacketID] = true
				taken = append(taken, string(p.Payload))
			}
			if seen[string(p.Payload)]++; seen[string(p.Payload)] == 1 {
				c.Close() // it has it, and could not say so
				return
			}
			reply(c, &packets.Pubrec{PacketID: p.PacketID, Properties: &packets.Properties{}})
			if seen[string(p.Payload)] == 2 && len(taken)%2 == 0 {
				c.Close() // the PUBREL will have to come again
			}
		}
		r.release = func(id uint16) { delete(held, id) }
		n.houses["there:1883"] = r.serve
		here := n.house("here", outX)
		here.linked("b")
		c := here.listen("c")
		var want []string
		for i := range 20 {
			c.publish(&paho.Publish{Topic: "x/1", Payload: []byte(fmt.Sprint(i)), QoS: 2})
			want = append(want, fmt.Sprint(i))
			time.Sleep(5 * time.Minute)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if !slices.Equal(taken, want) {
			t.Errorf("it took %q, want %q", taken, want)
		}
		if len(held) != 0 {
			t.Errorf("%d ids were not released", len(held))
		}
	})
}

// A reload leaves alone what is the same, changes what changed, and what is gone
// leaves nothing behind.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		b, c := n.house("b", ""), n.house("c", "")
		toB := "[bridge.b]\naddress = \"b:1883\"\ntopics = [{ filter = \"x/#\", direction = \"both\" }]\n"
		toC := "[bridge.c]\naddress = \"c:1883\"\ntopics = [{ filter = \"%s/#\", direction = \"both\" }]\n"
		a := n.house("a", toB+fmt.Sprintf(toC, "x"))
		a.linked("b")
		a.linked("c")
		time.Sleep(time.Second)
		since := a.status("b").Since

		time.Sleep(time.Minute)
		a.reload(toB + fmt.Sprintf(toC, "y"))
		a.linked("c")
		time.Sleep(time.Second)
		if s := a.status("b"); s.Since != since || n.dialled("b:1883") != 1 {
			t.Errorf("the bridge that did not change was touched: %+v", s)
		}
		lb, lc, la := b.listen("l", "x/#", "y/#"), c.listen("l", "x/#", "y/#"), a.listen("l", "x/#", "y/#")
		la.say("x/1", "for b")
		la.say("y/1", "for c")
		lc.hears("y/1 for c")
		lc.say("x/2", "for nobody")
		lc.say("y/2", "for a")
		time.Sleep(time.Second)
		lb.hears("x/1 for b")
		lc.hears("y/1 for c", "x/2 for nobody", "y/2 for a")
		la.hears("x/1 for b", "y/1 for c", "y/2 for a")

		before := a.broker.Stats().Sessions
		a.reload(toB)
		if got := a.available("c"); got != "gone" {
			t.Errorf("the availability of the bridge that is gone is %q", got)
		}
		time.Sleep(time.Second)
		if after := a.broker.Stats().Sessions; after != before-1 {
			t.Errorf("%d sessions, want %d: that of the bridge is to end with it", after, before-1)
		}
		if s := c.broker.Stats().Sessions; s != 1 {
			t.Errorf("the other broker has %d sessions, want the listener's alone", s)
		}
		if len(a.kept) != 1 {
			t.Errorf("kept is %v", a.kept)
		}
	})
}

// An own 3.1.1 client speaks to a remote that knows nothing newer, and its echo is
// taken for what it is.
func TestARemoteThatSpeaksOnly311(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		there := n.house("there", "")
		n.houses["there:1883"] = func(c net.Conn) {
			// A door before a broker that lets 3.1.1 in only.
			hello := make([]byte, 200) // all of CONNECT, which is written at once
			k, err := c.Read(hello)
			if err != nil {
				return
			}
			if hello[8] == 5 {
				c.Write([]byte{0x20, 2, 0, 1})
				c.Close()
				return
			}
			there.broker.Attach(&prefixed{Conn: c, first: hello[:k]})
		}
		here := n.house("here", "[bridge.b]\naddress = \"there:1883\"\ntopics = [{ filter = \"x/#\", direction = \"both\", qos = 2 }]")
		here.linked("b")
		lh, lt := here.listen("l", "x/#"), there.listen("l", "x/#")
		lh.say("x/1", "from here")
		time.Sleep(time.Second)
		lt.say("x/2", "from there")
		time.Sleep(time.Minute)
		want := []string{"x/1 from here", "x/2 from there"}
		lh.hears(want...)
		lt.hears(want...)
		if here.logged("version=3.1.1") != 1 {
			t.Error("the log does not tell the version")
		}
	})
}

// An address without a port has the usual one.
func TestAddressesWithoutAPort(t *testing.T) {
	for address, want := range map[string]string{
		"broker.lan":               "broker.lan:1883",
		"mqtt://broker.lan":        "broker.lan:1883",
		"mqtt://broker.lan:1884":   "broker.lan:1884",
		"mqtts://broker.lan":       "broker.lan:8883",
		"tls://192.168.1.5":        "192.168.1.5:8883",
		"[fe80::1]":                "[fe80::1]:1883",
		"tls://[fe80::1]:8884":     "[fe80::1]:8884",
		"ws://broker.lan/mqtt":     "broker.lan:80",
		"wss://broker.lan":         "broker.lan:443",
		"ws://broker.lan:9001":     "broker.lan:9001",
		"unix:///run/mqtt.sock":    "/run/mqtt.sock",
		"unix:///run/mqtt:18.sock": "/run/mqtt:18.sock",
	} {
		synctest.Test(t, func(t *testing.T) {
			dialled := make(chan string, 1)
			n := newNetwork(t)
			h := n.house("here", "")
			h.bridges.Close()
			h.bridges = bridge.New(bridge.Options{
				Local: func() net.Conn {
					here, there := net.Pipe()
					go h.broker.Attach(there)
					return here
				},
				House: "here", Available: func(string, bool, bool) {},
				Keep: func(string, []byte) {}, Kept: func() map[string][]byte { return nil },
				Dial: func(_ context.Context, _, at string) (net.Conn, error) {
					select {
					case dialled <- at:
					default:
					}
					return nil, errors.New("nobody is there")
				},
			})
			h.reload("[bridge.b]\naddress = \"" + address + "\"\ntopics = [{ filter = \"x\", direction = \"out\" }]")
			if got := <-dialled; got != want {
				t.Errorf("%s is dialled as %s, want %s", address, got, want)
			}
		})
	}
}

type prefixed struct {
	net.Conn
	first []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// Over TLS with a certificate authority of one's own, and over WebSocket and a Unix
// socket, on real sockets.
func TestTheWaysToARemote(t *testing.T) {
	dir := t.TempDir()
	ca, cert := authority(t, dir)
	n := newNetwork(t)
	there := n.house("there", "")
	socket := filepath.Join(dir, "mqtt.sock")
	change, err := there.broker.Prepare(broker.Config{Listen: []string{"127.0.0.1:0", "ws://127.0.0.1:0", "unix://" + socket}})
	if err != nil {
		t.Fatal(err)
	}
	change.Commit()
	addrs := there.broker.Addrs()
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := secure.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { there.broker.Attach(c) })
		}
	})
	t.Cleanup(func() { secure.Close(); there.close(); serving.Wait() })
	port := secure.Addr().(*net.TCPAddr).Port

	for name, c := range map[string]struct{ text, why string }{
		"tcp":          {`address = "` + addrs[0] + `"`, ""},
		"websocket":    {`address = "` + addrs[1] + `"`, ""},
		"unix":         {`address = "` + addrs[2] + `"`, ""},
		"tls":          {fmt.Sprintf("address = \"tls://127.0.0.1:%d\"\ntls = { ca = %q, server_name = \"broker.lan\" }", port, ca), ""},
		"another CA":   {fmt.Sprintf("address = \"tls://127.0.0.1:%d\"\ntls = { server_name = \"broker.lan\" }", port), "its certificate is signed by nobody who is known here"},
		"a wrong name": {fmt.Sprintf("address = \"tls://127.0.0.1:%d\"\ntls = { ca = %q }", port, ca), "certificate"},
		"no CA file":   {fmt.Sprintf("address = \"tls://127.0.0.1:%d\"\ntls = { ca = \"none.pem\" }", port), "none.pem: no such file"},
		"not TLS":      {`address = "tls://` + addrs[0] + `"`, "does it speak TLS there?"},
	} {
		t.Run(name, func(t *testing.T) {
			topic := strings.ReplaceAll(name, " ", "_")
			here := newNetwork(t)
			// Each is another client: one by Attach is of another user.
			h := here.realHouse("here"+topic, "[bridge.b]\n"+c.text+"\ntopics = [{ filter = \""+topic+"/#\", direction = \"out\" }]")
			if c.why != "" {
				eventually(t, func() bool { return strings.Contains(h.status("b").Why, c.why) }, "%q is why", c.why)
				return
			}
			h.linked("b")
			l := there.listen("l-"+topic, topic+"/#")
			h.listen("c").say(topic+"/x", "1")
			l.hears(topic + "/x 1")
		})
	}
}

// realHouse is a house whose bridges dial real addresses.
func (n *network) realHouse(name, text string) *house {
	h := n.house(name, "")
	h.bridges.Close()
	h.bridges = bridge.New(bridge.Options{
		Local: func() net.Conn {
			here, there := net.Pipe()
			go h.broker.Attach(there)
			return here
		},
		House: name, Dir: n.t.TempDir(),
		Available: func(string, bool, bool) {},
		Keep:      func(string, []byte) {}, Kept: func() map[string][]byte { return nil },
		Log: slog.New(slog.NewTextHandler(h, nil)),
	})
	h.reload(text)
	return h
}

// authority makes a CA in a file and a certificate of it for broker.lan.
func authority(t *testing.T, dir string) (file string, cert tls.Certificate) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the house"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker.lan"}, DNSNames: []string{"broker.lan"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
